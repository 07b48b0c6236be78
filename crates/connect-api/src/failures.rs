//! The contract between the runtime and destinations of failed records that are no Kafka topics.
//!
//! The runtime decides which records go there, tries again what may pass, and holds a record's offset until it is taken.
//! A destination writes one record, once, and says what came of it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::BoxFuture;
use crate::config::{ConfigDef, ParsedConfig, RawConfig};
use crate::error::ConfigError;
use crate::plugin::RawHeader;
use crate::record::{Origin, Timestamp, TimestampType};
use crate::sink::Answered;

/// A kind of destinations that connectors can name in their configuration, whatever their sink.
pub trait FailureDestinations: Send + Sync + fmt::Debug {
    /// The settings. One of them is [`FailureDestinations::key`].
    fn config_def(&self) -> ConfigDef;

    /// The setting that names a destination.
    fn key(&self) -> &'static str;

    /// The destination that a configuration names, if it names one. Does no I/O. `parsed` holds only the keys of
    /// [`FailureDestinations::config_def`] that have no error; the connector's own settings are in `raw`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn open(
        &self,
        raw: &RawConfig,
        parsed: &ParsedConfig,
    ) -> Result<Option<Arc<dyn FailureDestination>>, Vec<ConfigError>>;
}

/// One place for failed records.
pub trait FailureDestination: Send + Sync + fmt::Debug {
    /// What it is and where, for people.
    fn name(&self) -> &str;

    /// Writes one record, once, and resolves when it is durable.
    ///
    /// # Errors
    /// It was not taken, or nobody knows.
    ///
    /// # Cancel safety
    /// Whether the record was written is then unknown.
    fn write<'a>(&'a self, record: &'a FailedRecord) -> BoxFuture<'a, Result<(), NotTaken>>;
}

/// Why a destination did not take a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// May pass: away, throttled, or credentials that are being renewed.
    #[error("{0}")]
    Now(String),
    /// A person has to change something; the text says what.
    #[error("{0}")]
    Refused(String),
}

/// A record that cannot be converted, transformed or delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedRecord {
    /// Name of the connector.
    pub connector: Arc<str>,
    /// Number of the task.
    pub task: u32,
    /// `bootstrap.servers` of the cluster that it was consumed from.
    pub bootstrap_servers: Arc<str>,
    /// When it was given up, in milliseconds since the epoch.
    pub failed_at: Timestamp,
    /// Where it was consumed from.
    pub origin: Origin,
    /// Its timestamp, if it has one.
    pub timestamp: Option<Timestamp>,
    /// Whose clock the timestamp comes from.
    pub timestamp_type: TimestampType,
    /// The key as it was consumed.
    pub key: Option<Bytes>,
    /// The value as it was consumed.
    pub value: Option<Bytes>,
    /// The headers as they were consumed.
    pub headers: Vec<RawHeader>,
    /// What failed, in Connect's words, such as `VALUE_CONVERTER` or `TASK_PUT`.
    pub stage: Arc<str>,
    /// Name of the failure, such as an exception's or a function's `errorType`.
    pub class: Arc<str>,
    /// What failed; never holds the payload.
    pub message: Arc<str>,
    /// The delivery that was given up; none if it failed before.
    pub delivery: Option<FailedDelivery>,
}

/// A delivery that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedDelivery {
    /// The route.
    pub route: Arc<str>,
    /// The route's [`resource`](crate::sink::Route::resource).
    pub resource: Arc<str>,
    /// Calls that the record was part of and that count.
    pub attempts: u32,
    /// The destination's id of the last call.
    pub request_id: Option<Arc<str>>,
    /// What the destination answered to the last call, if it did.
    pub answered: Option<Arc<Answered>>,
}
