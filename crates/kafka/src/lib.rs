//! The Kafka client: connections, metadata, fetch, groups, offsets.
