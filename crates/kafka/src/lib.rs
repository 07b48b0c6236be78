//! The Kafka client: connections, metadata, fetch, groups, offsets. Pure Rust, on the generated messages of the
//! `kafka-protocol` crate.
//!
//! **Owns** sockets, time-outs and reconnects, metadata and leader changes, fetch sessions, record batches, the
//! membership of consumer groups.
//! **Does not know** converters, connectors, delivery. No user code ever runs on its tasks, which all live on the
//! runtime that [`KafkaClient::new`] is given ("net").
//!
//! The way in: [`KafkaClient::new`] → [`GroupMember::join`] gives [`GroupEvents`] → each [`Assigned`] partition becomes
//! [`FetchPool::open`] → [`PartitionReader::next`] gives a [`FetchedSection`] → [`FetchedSection::records`] decodes on
//! the caller's thread → [`GroupMember::commit`].
//!
//! **Invariants**
//! - Kafka being away fails nothing: it is waited for, and [`KafkaClient::health`] says so.
//! - Older metadata never replaces newer.
//! - A section that was asked for before a seek, or for an earlier assignment, is never delivered.
//! - Every wait, queue and buffer has a bound; every task ends with [`KafkaClient::shutdown`].

#![forbid(unsafe_code)]

mod admin;
mod backoff;
mod client;
mod config;
mod connection;
mod error;
mod fetch;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod produce;
pub mod records;
mod security;
mod types;

pub use admin::{
    BrokerInfo, ClusterInfo, ConfigChange, ConfigEntry, ConfigResource, ConfigSource, CreatedTopic, DeleteUpTo,
    Existing, GroupDescription, GroupType, ListedGroup, MemberDescription, NewTopic, PartitionLag, PerItem, Submission,
};
pub use client::{ClusterHealth, KafkaClient, TopicInfo};
pub use config::{
    Acks, Assignor, ClientConfig, Compression, ConfigError, ConsumerConfig, FetchSettings, GroupProtocol,
    IsolationLevel, OffsetReset, ProducerConfig, UnknownKey, ignored_property_names, property_names,
};
pub use error::KafkaError;
pub use fetch::{
    Account, ByteBudget, FetchBudget, FetchError, FetchPool, FetchStats, FetchedSection, LeaderEpochs, LogEnd,
    PartitionReader, PartitionRequest, Reservation, StartPosition,
};
pub use group::{
    Assigned, CommitError, CoordinatedEvent, CoordinatedEvents, CoordinatedGroup, GroupConfig, GroupEvent, GroupEvents,
    GroupMember, GroupPeer, Leadership, MemberPhase, MemberState, RevokeAck, Subscription, SubscriptionError,
};
pub use kafka_protocol::ResponseError;
pub use produce::{
    Delivery, ProduceError, ProduceRecord, Producer, RecordMetadata, Transaction, TransactionalProducer, WriteOutcome,
};
pub use records::{ConsumedRecord, DecodeError, TimestampType};
pub use security::{Principal, Secret, SecurityConfig, SecurityProtocol};
pub use types::{AssignmentEpoch, Committed, ListedOffset, OffsetSpec, OffsetToCommit, TopicPartition};
pub use uuid::Uuid;
