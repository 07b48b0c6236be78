//! Settings of the client, under Kafka's own names.
//!
//! A wrong value of a known key is an error; a key that this client does not know, or that only means something to a
//! Java client, is reported and otherwise ignored.

mod client;
mod consumer;
mod producer;
mod properties;

pub use client::ClientConfig;
pub use consumer::{Assignor, ConsumerConfig, FetchSettings, GroupProtocol, IsolationLevel, OffsetReset};
pub use producer::{Acks, Compression, ProducerConfig};
pub use properties::{ConfigError, UnknownKey, ignored_property_names, property_names};
pub(crate) use properties::{Properties, invalid};
