//! Kafka Connect's REST API over the Herder.
