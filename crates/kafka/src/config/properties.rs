//! Reading typed values out of properties.

use std::collections::BTreeMap;
use std::time::Duration;

/// A property that the client cannot use as it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The value is not one of those that the key accepts.
    #[error("`{key}={value}` is not valid: {accepted}")]
    Invalid {
        /// The property.
        key: String,
        /// Its value as given.
        value: String,
        /// What would be accepted.
        accepted: String,
    },
    /// A property without which nothing works.
    #[error("`{key}` is missing: {accepted}")]
    Missing {
        /// The property.
        key: String,
        /// What would be accepted.
        accepted: String,
    },
}

/// A key that was ignored; worth one line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// The property.
    pub key: String,
    /// Whether a Java client would know it; otherwise it may be a typing error.
    pub java_only: bool,
}

/// Every key that this client reads, for telling the unknown ones.
pub(super) const KNOWN: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "batch.size",
    "bootstrap.servers",
    "buffer.memory",
    "check.crcs",
    "client.id",
    "client.rack",
    "compression.gzip.level",
    "compression.type",
    "connections.max.idle.ms",
    "default.api.timeout.ms",
    "delivery.timeout.ms",
    "enable.idempotence",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "linger.ms",
    "max.block.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "max.request.size",
    "metadata.max.age.ms",
    "partition.assignment.strategy",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retries",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.connect.timeout.ms",
    "sasl.login.read.timeout.ms",
    "sasl.login.refresh.buffer.seconds",
    "sasl.login.refresh.min.period.seconds",
    "sasl.login.refresh.window.factor",
    "sasl.login.refresh.window.jitter",
    "sasl.login.retry.backoff.max.ms",
    "sasl.login.retry.backoff.ms",
    "sasl.mechanism",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.header.urlencode",
    "sasl.oauthbearer.jwt.retriever.class",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.scope.claim.name",
    "sasl.oauthbearer.sub.claim.name",
    "sasl.oauthbearer.token.endpoint.url",
    "security.protocol",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "ssl.cipher.suites",
    "ssl.enabled.protocols",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.protocol",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Keys of the Java clients that have no meaning here. A trailing dot stands for every key below it.
const JAVA_ONLY: &[&str] = &[
    "allow.auto.create.topics",
    "auto.commit.interval.ms",
    "auto.include.jmx.reporter",
    "client.dns.lookup",
    "compression.lz4.level",
    "compression.zstd.level",
    "config.providers",
    "config.providers.",
    "enable.auto.commit",
    "enable.metrics.push",
    "exclude.internal.topics",
    "interceptor.classes",
    "key.deserializer",
    "key.serializer",
    "max.poll.records",
    "metadata.max.idle.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "metric.reporters",
    "metrics.",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "partitioner.class",
    "partitioner.ignore.keys",
    "receive.buffer.bytes",
    "sasl.client.callback.handler.class",
    "sasl.kerberos.",
    "sasl.login.class",
    "sasl.oauthbearer.",
    "security.providers",
    "send.buffer.bytes",
    "socket.connection.setup.timeout.max.ms",
    "ssl.engine.factory.class",
    "ssl.keymanager.algorithm",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "transaction.two.phase.commit.enable",
    "value.deserializer",
    "value.serializer",
];

/// Every key that this client reads, sorted.
pub fn property_names() -> &'static [&'static str] {
    KNOWN
}

/// Keys of the Java clients that are accepted and mean nothing here, sorted; a trailing dot stands for every key below.
pub fn ignored_property_names() -> &'static [&'static str] {
    JAVA_ONLY
}

/// The keys among `properties` that nobody reads.
pub(super) fn unknown_keys(properties: &BTreeMap<String, String>) -> Vec<UnknownKey> {
    properties
        .keys()
        .filter(|key| !KNOWN.contains(&key.as_str()))
        .map(|key| UnknownKey {
            key: key.clone(),
            java_only: JAVA_ONLY.iter().any(|java| match java.strip_suffix('.') {
                Some(_) => key.starts_with(java),
                None => key == java,
            }),
        })
        .collect()
}

/// Typed access to the properties.
pub(crate) struct Properties<'a>(pub(crate) &'a BTreeMap<String, String>);

impl Properties<'_> {
    /// The trimmed value; an empty one counts as absent.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        debug_assert!(KNOWN.contains(&key), "{key} is not among the known keys");
        self.0
            .get(key)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// The value as it stands, even if it is empty.
    pub(crate) fn verbatim(&self, key: &str) -> Option<&str> {
        debug_assert!(KNOWN.contains(&key), "{key} is not among the known keys");
        self.0.get(key).map(String::as_str)
    }

    /// What is set under a prefix.
    pub(crate) fn under(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let set = self.0.iter().filter(move |(key, _)| key.starts_with(prefix));
        set.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// A factor, in thousandths.
    pub(crate) fn permille(
        &self,
        key: &str,
        default: u32,
        accepted: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, ConfigError> {
        let Some(value) = self.text(key) else {
            return Ok(default);
        };
        let found = value.parse::<f64>().ok();
        // A factor of a second in milliseconds: whole numbers, so that settings can be compared and hashed.
        let found = found.and_then(|factor| Duration::try_from_secs_f64(factor).ok());
        let found = found.and_then(|factor| u32::try_from(factor.as_millis()).ok());
        found.filter(|permille| accepted.contains(permille)).ok_or_else(|| {
            let (from, to) = (
                f64::from(*accepted.start()) / 1000.0,
                f64::from(*accepted.end()) / 1000.0,
            );
            invalid(key, value, format!("a number from {from} to {to}"))
        })
    }

    pub(crate) fn int(&self, key: &str, default: i32, min: i32) -> Result<i32, ConfigError> {
        let Some(value) = self.text(key) else {
            return Ok(default);
        };
        match value.parse::<i32>() {
            Ok(number) if number >= min => Ok(number),
            _ => Err(invalid(
                key,
                value,
                format!("a whole number from {min} to {}", i32::MAX),
            )),
        }
    }

    pub(crate) fn millis(&self, key: &str, default_ms: u64, min_ms: u64) -> Result<Duration, ConfigError> {
        let Some(value) = self.text(key) else {
            return Ok(Duration::from_millis(default_ms));
        };
        match value.parse::<u64>() {
            // i32::MAX ms, as the protocol carries time-outs as int32
            Ok(ms) if ms >= min_ms && ms <= 2_147_483_647 => Ok(Duration::from_millis(ms)),
            _ => Err(invalid(
                key,
                value,
                format!("milliseconds from {min_ms} to {}", i32::MAX),
            )),
        }
    }

    pub(crate) fn boolean(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.text(key) {
            None => Ok(default),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
            Some(value) => Err(invalid(key, value, "`true` or `false`")),
        }
    }

    /// One of a fixed set of names; case does not matter.
    pub(crate) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)], default: T) -> Result<T, ConfigError> {
        let Some(value) = self.text(key) else {
            return Ok(default);
        };
        let names = || {
            choices
                .iter()
                .map(|(name, _)| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        choices
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(value))
            .map(|(_, choice)| *choice)
            .ok_or_else(|| invalid(key, value, format!("accepted: {}", names())))
    }
}

pub(crate) fn invalid(key: &str, value: &str, accepted: impl Into<String>) -> ConfigError {
    ConfigError::Invalid {
        key: key.to_owned(),
        value: value.to_owned(),
        accepted: accepted.into(),
    }
}
