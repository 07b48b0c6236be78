//! The contract between a sink and the delivery engine.
//!
//! A sink gives the engine five things: the routes of a record, the encoding of one record, a [`PayloadBuilder`], the
//! sending of a payload, and a [`Verdict`] on the answer. Lanes, batches, timers, retries, limits and the ledger are
//! the engine's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::BoxFuture;
use crate::config::{ConfigDef, ParsedConfig, RawConfig};
use crate::delivery::{DeliverySettings, ErrorPolicy};
use crate::error::{ConfigError, ConfigErrors, DataError, DataErrorKind};
use crate::plugin::{PluginInfo, Predicate};
use crate::record::{Origin, Record, Timestamp};

/// A kind of sink that users name in `connector.class`.
pub trait SinkConnector: Send + Sync + fmt::Debug {
    /// Names and version.
    fn info(&self) -> &PluginInfo;

    /// The connector's own settings. They may depend on the configuration: a list of aliases brings a set of keys for
    /// each, and a class name may bring other defaults.
    fn config_def(&self, raw: &RawConfig) -> ConfigDef;

    /// Checks that go beyond single keys, on a configuration whose single keys were parsed. `parsed` holds only the
    /// keys without an error.
    fn validate(&self, raw: &RawConfig, parsed: &ParsedConfig) -> Vec<ConfigError>;

    /// What the configuration sets without effect, what it leaves to a default that surprises, and what was probably meant:
    /// nothing that keeps the connector from running.
    fn notices(&self, _raw: &RawConfig) -> Vec<ConfigError> {
        Vec::new()
    }

    /// As [`SinkConnector::preflight`], whatever the configuration says about that: somebody asks.
    ///
    /// # Cancel safety
    /// Safe: nothing is delivered.
    fn probe<'a>(&'a self, context: SinkContext<'a>) -> BoxFuture<'a, Vec<PreflightError>> {
        self.preflight(context)
    }

    /// Asks the destinations whether they would take deliveries, where the configuration wants that known beforehand:
    /// when it is checked or stored, and when the connector starts, which only writes to the log what comes of it.
    ///
    /// # Cancel safety
    /// Safe: nothing is delivered.
    fn preflight<'a>(&'a self, _context: SinkContext<'a>) -> BoxFuture<'a, Vec<PreflightError>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Makes the sink of one task. It does no I/O: clients connect when the first record is sent.
    ///
    /// # Errors
    /// What [`SinkConnector::validate`] would have found, or what only shows when clients are built.
    fn open(&self, context: SinkContext<'_>) -> Result<Arc<dyn Sink>, ConfigErrors>;
}

/// Why deliveries would not be accepted, or not as wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreflightError {
    /// What is wrong, under the setting that leads there.
    pub error: ConfigError,
    /// Whether no delivery would be accepted until somebody changes something: the configuration is refused then.
    pub is_certain: bool,
}

/// What a sink is opened with.
#[derive(Debug, Clone, Copy)]
pub struct SinkContext<'a> {
    /// Name of the connector.
    pub connector: &'a str,
    /// Number of the task.
    pub task: u32,
    /// The configuration as it was given.
    pub raw: &'a RawConfig,
    /// The parsed configuration.
    pub config: &'a ParsedConfig,
    /// The predicates that the configuration declares in `predicates`, by name.
    pub predicates: &'a Predicates,
    /// Bootstrap servers of the cluster that the records come from, `host:port` each.
    pub bootstrap_servers: &'a [Arc<str>],
    /// Whether anybody keeps what destinations answer: if so, accepted calls are told as [`Verdict::Answered`].
    pub keeps_results: bool,
}

/// Predicates by the name under which a configuration declares them.
pub type Predicates = BTreeMap<String, Arc<dyn Predicate>>;

/// Index of a route in [`Sink::routes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteIndex(pub usize);

/// One destination with the settings under which records are delivered to it.
#[derive(Debug, Clone)]
pub struct Route {
    /// The alias by which settings, status, logs and metrics name it; unique within its sink.
    pub name: Arc<str>,
    /// The destination in words for people, such as a function's name and invocation type.
    pub destination: Arc<str>,
    /// The destination's own name, such as a function's ARN.
    pub resource: Arc<str>,
    /// How records are delivered.
    pub delivery: DeliverySettings,
    /// By what its destination is limited.
    pub limits: LimitKeys,
}

/// Names what is limited as one: routes with the same key share a limit, whatever connector of the worker they belong to.
///
/// The engine only compares it. It is never shown, since it may tell whose credentials are used.
///
/// ```
/// use klamm_connect_api::sink::LimitKey;
///
/// let key = LimitKey::new("AKIA… eu-central-1 orders");
/// assert_eq!(key, LimitKey::new("AKIA… eu-central-1 orders"));
/// assert_eq!(format!("{key:?}"), "LimitKey(***)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LimitKey(Arc<str>);

impl LimitKey {
    /// The key that this text stands for.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LimitKey(***)")
    }
}

/// What slows a route down when it is told [`Verdict::Throttled`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitKeys {
    /// The destination itself: [`ThrottleScope::Function`]. It names the account, too.
    pub function: LimitKey,
    /// All destinations behind the same access: [`ThrottleScope::Account`] and [`ThrottleScope::Caller`].
    pub account: LimitKey,
}

/// One record encoded for one route: the piece of a payload that the record adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The piece, without separators.
    pub bytes: Vec<u8>,
    /// What the piece refers to in place of holding it: see [`Sink::store`].
    pub attachment: Option<Arc<Attachment>>,
}

impl From<Vec<u8>> for Encoded {
    /// A piece that holds all there is of its record.
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            attachment: None,
        }
    }
}

impl Encoded {
    /// Memory that it takes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let attached = self.attachment.as_ref();
        self.bytes.len() + attached.map_or(0, |attachment| attachment.content.len())
    }
}

/// A part of a record that does not travel with the call, but is stored before it.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Where it is stored: the same for the same content of the same record, so that storing it again changes nothing.
    pub name: String,
    /// Media type of the content.
    pub content_type: &'static str,
    /// What is stored.
    pub content: Bytes,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment")
            .field("name", &self.name)
            .field("bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

/// Packs encoded records into the body of one call.
pub trait PayloadBuilder: Send {
    /// Tells before the first record that the body will have about so many bytes: one that has room for them need not
    /// grow.
    fn expect(&mut self, _bytes: usize) {}

    /// Upper bound of the bytes that [`PayloadBuilder::push`] of this record adds, separators included.
    fn cost(&self, origin: &Origin, record: &Encoded) -> usize;

    /// Adds a record. Records of one lane arrive in offset order.
    fn push(&mut self, origin: &Origin, record: &Encoded);

    /// The body, at most the sum of all costs plus [`PayloadBuilder::overhead`] long. The builder is empty again.
    fn finish(&mut self) -> Bytes;

    /// Upper bound of the bytes that an empty payload has: brackets and envelope.
    fn overhead(&self) -> usize;
}

/// One call to a destination.
#[derive(Debug, Clone)]
pub struct Call {
    /// The route.
    pub route: RouteIndex,
    /// The body that the route's [`PayloadBuilder`] finished.
    pub body: Bytes,
    /// The records in the body, in the order they were pushed.
    pub origins: Arc<[Origin]>,
    /// Their timestamps as consumed: a topic that is made again has the coordinates once more, but not these.
    pub timestamps: Arc<[Option<Timestamp>]>,
}

/// What the calls of a route took, as far as its destination says so.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteUsage {
    /// Calls for which the destination said what it bills.
    pub billed_calls: u64,
    /// Time that it bills for them.
    pub billed: Duration,
    /// What they cost by the prices that the configuration names, in the currency of these; none without prices.
    pub estimated_cost: Option<f64>,
}

/// The sink of one task.
pub trait Sink: Send + Sync + fmt::Debug {
    /// The routes, at least one. The list does not change.
    fn routes(&self) -> &[Route];

    /// Appends the routes that the record goes to. None at all means that it was filtered on purpose, and it counts
    /// as done. `record` is `mut` only so that a lazy datum that is looked at is decoded once.
    ///
    /// # Errors
    /// If the record can go nowhere, or has to be decoded for the answer and cannot be.
    fn route(&self, record: &mut Record, routes: &mut Vec<RouteIndex>) -> Result<(), RouteError>;

    /// Encodes a record for a route.
    ///
    /// # Errors
    /// A lazy datum that cannot be decoded, or a value that has no form in the payload.
    fn encode(&self, route: RouteIndex, record: &Record) -> Result<Encoded, EncodeError>;

    /// A builder of payloads for a route.
    fn payload_builder(&self, route: RouteIndex) -> Box<dyn PayloadBuilder>;

    /// Stores what the records of a call refer to ([`Encoded::attachment`]). The call is sent when this is done, and the
    /// time that it takes is not the call's. Ends by itself, within minutes.
    ///
    /// # Errors
    /// The verdict on the call, which is not sent.
    ///
    /// # Cancel safety
    /// Safe: what was stored is stored again with the next call.
    fn store<'a>(
        &'a self,
        _route: RouteIndex,
        _attachments: &'a [Arc<Attachment>],
    ) -> BoxFuture<'a, Result<(), Verdict>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Sends a payload and judges the answer. Dropping the future abandons the call: whether the destination did the
    /// work is then unknown.
    fn send(&self, call: Call) -> BoxFuture<'_, Verdict>;

    /// What the calls of a route took since the sink was made; none if its destination does not say.
    fn usage(&self, _route: RouteIndex) -> Option<RouteUsage> {
        None
    }

    /// What happens to a record that has no route.
    fn unrouted_policy(&self) -> ErrorPolicy;
}

/// Why a record has no routes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Nothing takes a record of this topic. The message says how to name a destination for it.
    #[error("{0}")]
    NoRoute(String),
    /// A lazy datum had to be decoded and could not be.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl RouteError {
    /// Whether the record can be looked at when its converter has fetched what it lacks: see
    /// [`NotReady`](crate::DataErrorKind::NotReady).
    #[must_use]
    pub fn is_not_ready(&self) -> bool {
        match self {
            Self::NoRoute(_) => false,
            Self::Encode(error) => error.data_error().kind() == DataErrorKind::NotReady,
        }
    }
}

/// Which lazy part of a record could not be read while it was encoded, so that the failure is reported with the stage
/// and class of that part's converter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The key
    #[error("{0}")]
    Key(DataError),
    /// The value
    #[error("{0}")]
    Value(DataError),
    /// A header
    #[error("{0}")]
    Header(DataError),
}

impl EncodeError {
    /// The failure itself.
    #[must_use]
    pub fn data_error(&self) -> &DataError {
        match self {
            Self::Key(error) | Self::Value(error) | Self::Header(error) => error,
        }
    }
}

/// Why a call or a record in it was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The destination's name of the failure, such as `TooManyRequestsException` or a function's `errorType`. From a
    /// bounded set as far as the destination is well-behaved; at most 256 bytes.
    pub class: Arc<str>,
    /// What failed and what to do, for logs and status; never holds a payload or a function's answer.
    pub message: Arc<str>,
    /// The destination's id of the call, for finding it in its logs.
    pub request_id: Option<Arc<str>>,
    /// What the destination answered, if it did.
    pub answered: Option<Arc<Answered>>,
}

/// What a destination answered to a call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Status code.
    pub status: u16,
    /// Which version of the destination ran, if it says so.
    pub version: Option<Arc<str>>,
    /// The destination's own kind of failure, such as Lambda's `Unhandled`; none if it did not run or did not fail.
    pub function_error: Option<Arc<str>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)?;
        match &self.request_id {
            Some(id) => write!(f, " (request id {id})"),
            None => Ok(()),
        }
    }
}

/// Whom a throttle slows down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThrottleScope {
    /// The function alone.
    Function,
    /// All functions of the account and region.
    Account,
    /// The caller, whatever it calls.
    Caller,
}

/// What is known of the work when a call failed in a way that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The destination did not run: the failure does not count as an attempt of the records.
    NotRun,
    /// What stands in front of the destination failed, and does not say how far it came: not an attempt, but a second
    /// delivery is possible.
    Unknown,
    /// The destination ran and failed, or may have run: it counts as an attempt, and a second delivery is possible.
    MayHaveRun,
}

/// The judgement on one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every record was accepted.
    Accepted,
    /// Every record was accepted but those of `rest`, and somebody keeps what the destination said about them: a record
    /// is done when its result is kept.
    Answered {
        /// JSON texts by index into [`Call::origins`], as many as there are records; none for one without a result.
        results: Vec<Option<Bytes>>,
        /// The records to be sent again and why, as in [`Verdict::PartlyAccepted`].
        rest: Option<(Vec<usize>, Failure)>,
    },
    /// Every record was accepted but those named here, by index into [`Call::origins`], ascending, without
    /// repetition.
    PartlyAccepted {
        /// The records to be sent again.
        failed: Vec<usize>,
        /// Why.
        failure: Failure,
    },
    /// The call failed in a way that may pass.
    Retry {
        /// The destination's own wish for the delay, if it has one.
        after: Option<Duration>,
        /// Whether it counts as an attempt.
        outcome: Outcome,
        /// Why.
        failure: Failure,
    },
    /// The destination ran and failed on these records: counted, retried, then split down to the record.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Too much at once. Not an attempt, never splits a batch.
    Throttled {
        /// Whom it slows down.
        by: ThrottleScope,
        /// The destination's own wish for the delay, if it has one.
        after: Option<Duration>,
        /// Why.
        failure: Failure,
        /// What is to be shown first if this lasts and not one call passes: what it then most likely is, and what to do.
        lasting: Option<&'static str>,
    },
    /// The content is refused: split at once, and a single record goes to the error policy at once.
    Poison {
        /// Why.
        failure: Failure,
    },
    /// The destination cannot be used until somebody changes something: pause the route, probe slowly, say so.
    Unusable {
        /// Why, and what to do.
        failure: Failure,
    },
}
