//! How records are delivered to a route: the settings every sink shares, with the definition they are parsed from.

use std::time::Duration;

use crate::config::{ConfigKey, ConfigType, Importance, ParsedConfig, Scope, Validator};
use crate::error::ConfigError;

/// Which records must not overtake each other (`delivery.ordering`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ordering {
    /// Those of a topic-partition: at most one batch of a partition is in flight per route.
    Partition,
    /// Those of a partition with the same key: at most one batch holding a given key is in flight. A record without a
    /// key is ordered with nothing.
    Key,
    /// None.
    None,
}

/// What a batch may mix (`delivery.batch.scope`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchScope {
    /// Records of one topic-partition: one bad partition never touches another.
    Partition,
    /// Any records of the route: fills calls better at low rates.
    Route,
}

/// What happens to a record whose attempts ran out (`behavior.on.error`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorPolicy {
    /// The task fails and the record's offset is not committed.
    Fail,
    /// The record is skipped with a line in the log, and counted.
    Log,
    /// The record is skipped and counted.
    Ignore,
    /// The record goes to the dead letter queue, and is done when that has acknowledged it.
    DeadLetter,
}

/// When and how often a call is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySettings {
    /// Calls that a single record may be part of and fail, the first one included
    /// (`delivery.retry.max.attempts`). Throttles and outages do not count.
    pub max_attempts: u32,
    /// Total time for a batch since its first call, throttles and outages included; none is for ever
    /// (`delivery.retry.timeout.ms`).
    pub timeout: Option<Duration>,
    /// First upper bound of the delay, which is drawn between zero and the bound (`delivery.retry.backoff.ms`).
    pub backoff: Duration,
    /// Cap of the bound (`delivery.retry.backoff.max.ms`).
    pub backoff_max: Duration,
}

/// The delivery settings of one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverySettings {
    /// Which records must not overtake each other.
    pub ordering: Ordering,
    /// Most records in a call, at least 1 (`delivery.batch.size`).
    pub batch_records: usize,
    /// Most bytes in a call, never above the destination's limit (`delivery.batch.bytes`).
    pub batch_bytes: usize,
    /// What a batch may mix.
    pub batch_scope: BatchScope,
    /// Longest wait before an incomplete batch is sent, counted from its oldest record (`delivery.linger.ms`).
    ///
    /// Zero sends as soon as a permit is free. Named after the Kafka producer's `linger.ms`.
    pub linger: Duration,
    /// Most calls at once (`delivery.max.in.flight`).
    pub max_in_flight: usize,
    /// Longest wait for an answer. The outcome of a call that takes longer is unknown.
    pub call_timeout: Duration,
    /// Retries.
    pub retry: RetrySettings,
    /// Records older than this when they are about to be sent go to the error policy; none is no limit
    /// (`delivery.record.max.age.ms`).
    pub record_max_age: Option<Duration>,
    /// Whether a batch whose function fails is split (`delivery.bisect`).
    pub bisect: bool,
    /// What happens when attempts run out (`behavior.on.error`).
    pub error_policy: ErrorPolicy,
    /// Whether records wait for a destination that takes nothing. Those of a route that is not required go to the error
    /// policy instead, so that the routes beside it go on.
    pub is_required: bool,
}

/// What a destination adds to the shared definition.
#[derive(Debug, Clone)]
pub struct DeliveryDefaults {
    /// Order when `delivery.ordering` is not set.
    pub ordering: Ordering,
    /// Hard limit of a call's bytes: default and maximum of `delivery.batch.bytes`.
    pub batch_bytes_limit: usize,
    /// See [`DeliverySettings::call_timeout`].
    pub call_timeout: Duration,
}

const GROUP: &str = "Delivery";

/// The keys that every sink has, under their settled names. `batch_size_aliases` are the sink's own older names of
/// `delivery.batch.size`; `error_policy` is the default of `behavior.on.error`.
#[must_use]
pub fn config_keys(batch_size_aliases: &'static [&'static str], error_policy: &'static str) -> Vec<ConfigKey> {
    let key =
        |name: &str, config_type, doc: &str| ConfigKey::new(name, config_type, Importance::Medium, doc).group(GROUP);
    vec![
        key(
            "delivery.ordering",
            ConfigType::String,
            "Which records must not overtake each other: `partition` (those of a topic-partition), `key` (those with the \
             same key in a partition) or `none`. Default: `partition` for synchronous, `none` for asynchronous delivery.",
        )
        .validator(Validator::one_of(&["partition", "key", "none"]))
        .optional(),
        key("delivery.batch.size", ConfigType::Int, "Most records in a call.")
            .default("20")
            .validator(Validator::at_least(1))
            .aliases(batch_size_aliases),
        key("delivery.batch.bytes", ConfigType::Int, "Most bytes in a call. Default and maximum: the destination's limit.")
            .validator(Validator::at_least(1))
            .optional(),
        key(
            "delivery.batch.scope",
            ConfigType::String,
            "What a call may mix: records of one `partition`, or any records of the `route`.",
        )
        .default("partition")
        .validator(Validator::one_of(&["partition", "route"])),
        key("delivery.linger.ms", ConfigType::Long, "Longest wait of a record for a fuller call, in milliseconds.")
            .default("0")
            .validator(Validator::at_least(0)),
        key("delivery.max.in.flight", ConfigType::Int, "Most calls of a route at once.")
            .default("64")
            .validator(Validator::at_least(1)),
        key(
            "delivery.retry.max.attempts",
            ConfigType::Int,
            "Calls that a single record may be part of and fail before the error policy decides. Throttles and outages \
             do not count.",
        )
        .default("5")
        .validator(Validator::at_least(1)),
        key(
            "delivery.retry.timeout.ms",
            ConfigType::Long,
            "Total time for a batch since its first call, throttles and outages included, in milliseconds; -1 is for ever.",
        )
        .default("-1")
        .validator(Validator::at_least(-1)),
        key("delivery.retry.backoff.ms", ConfigType::Long, "First upper bound of the random delay before a retry, in milliseconds.")
            .default("200")
            .validator(Validator::at_least(1)),
        key("delivery.retry.backoff.max.ms", ConfigType::Long, "Cap of the random delay before a retry, in milliseconds.")
            .default("30000")
            .validator(Validator::at_least(1)),
        key(
            "delivery.record.max.age.ms",
            ConfigType::Long,
            "Records older than this go to the error policy, in milliseconds; -1 is no limit.",
        )
        .default("-1")
        .validator(Validator::at_least(-1)),
        key("delivery.bisect", ConfigType::Boolean, "Whether a batch whose function fails is split until the bad record stands alone.")
            .default("true"),
        key(
            ErrorPolicy::KEY,
            ConfigType::String,
            "What happens to a record whose attempts ran out: `fail` the task, skip it with a line in the `log`, `ignore` \
             it, or `dlq`: write it to `errors.deadletterqueue.topic.name` or `errors.deadletterqueue.destination`.",
        )
        .default(error_policy)
        .validator(Validator::one_of(&["fail", "log", "ignore", "dlq"])),
    ]
}

impl DeliverySettings {
    /// Reads the settings of one route: `config` looks at the route's own keys first.
    ///
    /// # Errors
    /// A value that the destination does not allow, named by the key that it was given under.
    pub fn from_config(config: &Scope<'_>, defaults: &DeliveryDefaults) -> Result<Self, ConfigError> {
        let batch_bytes = config
            .usize("delivery.batch.bytes")
            .unwrap_or(defaults.batch_bytes_limit);
        if batch_bytes > defaults.batch_bytes_limit {
            return Err(ConfigError::new(
                config.key("delivery.batch.bytes"),
                format!(
                    "{batch_bytes} is above the {} bytes that the destination takes in a call",
                    defaults.batch_bytes_limit
                ),
            ));
        }
        Ok(Self {
            ordering: match config.str("delivery.ordering") {
                Some("partition") => Ordering::Partition,
                Some("key") => Ordering::Key,
                Some("none") => Ordering::None,
                _ => defaults.ordering,
            },
            batch_records: config.usize("delivery.batch.size").unwrap_or(20),
            batch_bytes,
            batch_scope: match config.str("delivery.batch.scope") {
                Some("route") => BatchScope::Route,
                _ => BatchScope::Partition,
            },
            linger: config.millis("delivery.linger.ms").unwrap_or_default(),
            max_in_flight: config.usize("delivery.max.in.flight").unwrap_or(64),
            call_timeout: defaults.call_timeout,
            retry: RetrySettings {
                max_attempts: config
                    .usize("delivery.retry.max.attempts")
                    .and_then(|n| u32::try_from(n).ok())
                    .unwrap_or(5),
                timeout: config.millis("delivery.retry.timeout.ms"),
                backoff: config
                    .millis("delivery.retry.backoff.ms")
                    .unwrap_or(Duration::from_millis(200)),
                backoff_max: config
                    .millis("delivery.retry.backoff.max.ms")
                    .unwrap_or(Duration::from_secs(30)),
            },
            record_max_age: config.millis("delivery.record.max.age.ms"),
            bisect: config.bool("delivery.bisect").unwrap_or(true),
            error_policy: ErrorPolicy::from_config(config),
            is_required: true,
        })
    }
}

impl ErrorPolicy {
    /// The setting, also under the prefix of a route.
    pub const KEY: &'static str = "behavior.on.error";

    /// A key of the configuration, the connector's or a route's, that names [`ErrorPolicy::DeadLetter`].
    #[must_use]
    pub fn dead_letter_key(config: &ParsedConfig) -> Option<&str> {
        let named = |(key, text): &(&str, &str)| {
            let is_policy = key
                .strip_suffix(Self::KEY)
                .is_some_and(|route| route.is_empty() || route.ends_with('.'));
            is_policy && *text == "dlq"
        };
        config.texts().filter(named).map(|(key, _)| key).min()
    }

    /// The policy that `behavior.on.error` names; `fail` if it is not set.
    #[must_use]
    pub fn from_config(config: &Scope<'_>) -> Self {
        match config.str(Self::KEY) {
            Some("log") => Self::Log,
            Some("ignore") => Self::Ignore,
            Some("dlq") => Self::DeadLetter,
            _ => Self::Fail,
        }
    }
}

impl ParsedConfig {
    /// The connector-wide view: no route's keys.
    #[must_use]
    pub fn scope(&self) -> Scope<'_> {
        Scope::new(self, "")
    }
}
