//! How to write: batching, acknowledgement, transactions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::properties::{ConfigError, Properties, UnknownKey, invalid, unknown_keys};

/// `compression.type`: how batches are compressed before they are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip; the level from 1 to 9 is `compression.gzip.level` (6).
    Gzip(u32),
    /// Snappy, in the framing of the Java client.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard at its fastest level. Needs brokers from 2.1 on (KIP-110).
    Zstd,
}

/// `acks`: who must have a batch before it counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// `1`: the leader alone; a leader that fails right after loses the record. Not with `enable.idempotence`.
    Leader,
    /// `all` or `-1`: every replica in sync.
    #[default]
    All,
}

/// How a producer writes; names, meanings and defaults are those of Kafka's producer.
///
/// ```
/// let mut config = klamm_kafka::ProducerConfig::default();
/// config.compression = klamm_kafka::Compression::Lz4;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// `acks` (`all`).
    pub acks: Acks,
    /// `enable.idempotence` (true): no duplicates and no reordering by retries (KIP-98). Without it a retry may write
    /// twice; order is kept by one batch in flight for each partition.
    pub idempotence: bool,
    /// `compression.type` (`none`).
    pub compression: Compression,
    /// `batch.size` (16,384): a batch that has reached this many bytes before compression is not added to; a larger
    /// record makes a batch of its own.
    pub batch_size: usize,
    /// `linger.ms` (5): longest wait for more records before an incomplete batch is sent.
    pub linger: Duration,
    /// `max.request.size` (1,048,576): bound in bytes of a record and of a request, before compression.
    pub max_request_size: usize,
    /// `buffer.memory` (33,554,432): bytes that may wait for acknowledgement; then sending waits.
    pub buffer_memory: usize,
    /// `delivery.timeout.ms` (120,000): the outcome of a record is told at the latest so long after it was enqueued.
    pub delivery_timeout: Duration,
    /// `request.timeout.ms` (30,000): how long a broker may take for an answer.
    pub request_timeout: Duration,
    /// `max.in.flight.requests.per.connection` (5): from 1 to 5, which is as far as brokers remember batches.
    pub max_in_flight: usize,
    /// `max.block.ms` (60,000): longest wait for an unknown topic or for room in `buffer.memory`.
    pub max_block: Duration,
    /// `retries` (2,147,483,647): attempts after the first, within `delivery.timeout.ms`.
    pub retries: u32,
    /// `transactional.id`: who this producer is across restarts; a later one of the same name fences it.
    pub transactional_id: Option<Arc<str>>,
    /// `transaction.timeout.ms` (60,000): the coordinator aborts a transaction that is open for longer.
    pub transaction_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotence: true,
            compression: Compression::None,
            batch_size: 16 * 1024,
            linger: Duration::from_millis(5),
            max_request_size: 1024 * 1024,
            buffer_memory: 32 * 1024 * 1024,
            delivery_timeout: Duration::from_secs(120),
            request_timeout: Duration::from_secs(30),
            max_in_flight: 5,
            max_block: Duration::from_secs(60),
            retries: 2_147_483_647,
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
        }
    }
}

impl ProducerConfig {
    /// Reads the settings, and tells which keys nobody reads.
    ///
    /// # Errors
    /// The first key whose value is not accepted, alone or together with the others.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<(Self, Vec<UnknownKey>), ConfigError> {
        let p = Properties(properties);
        let acks = acks(&p)?;
        let idempotence = idempotence(&p, acks)?;
        let config = Self {
            acks,
            idempotence,
            compression: compression(&p)?,
            batch_size: bytes(&p, "batch.size", 16 * 1024, 0)?,
            linger: p.millis("linger.ms", 5, 0)?,
            max_request_size: bytes(&p, "max.request.size", 1024 * 1024, 1)?,
            buffer_memory: bytes(&p, "buffer.memory", 32 * 1024 * 1024, 1)?,
            delivery_timeout: p.millis("delivery.timeout.ms", 120_000, 1)?,
            request_timeout: p.millis("request.timeout.ms", 30_000, 1)?,
            max_in_flight: in_flight(&p)?,
            max_block: p.millis("max.block.ms", 60_000, 0)?,
            retries: p.int("retries", i32::MAX, 0)?.unsigned_abs(),
            transactional_id: p.text("transactional.id").map(Into::into),
            transaction_timeout: p.millis("transaction.timeout.ms", 60_000, 1)?,
        };
        if config.transactional_id.is_some() && !config.idempotence {
            return Err(invalid(
                "enable.idempotence",
                "false",
                "`transactional.id` needs `true`",
            ));
        }
        if config.delivery_timeout < config.linger + config.request_timeout {
            return Err(invalid(
                "delivery.timeout.ms",
                &config.delivery_timeout.as_millis().to_string(),
                format!(
                    "at least `linger.ms` ({}) and `request.timeout.ms` ({}) together",
                    config.linger.as_millis(),
                    config.request_timeout.as_millis()
                ),
            ));
        }
        Ok((config, unknown_keys(properties)))
    }
}

fn bytes(p: &Properties<'_>, key: &str, default: i32, min: i32) -> Result<usize, ConfigError> {
    let value = p.int(key, default, min)?;
    usize::try_from(value).map_err(|_| invalid(key, &value.to_string(), "a number of bytes"))
}

fn acks(p: &Properties<'_>) -> Result<Acks, ConfigError> {
    match p.text("acks") {
        None | Some("all" | "-1") => Ok(Acks::All),
        Some("1") => Ok(Acks::Leader),
        Some(value) => Err(invalid(
            "acks",
            value,
            "accepted: `all`, `1`; without acknowledgement (`0`) nobody could tell what was written",
        )),
    }
}

/// Kafka's rule: on by default, quietly off when `acks` rules it out, an error when it was asked for as well.
fn idempotence(p: &Properties<'_>, acks: Acks) -> Result<bool, ConfigError> {
    let is_asked_for = p.boolean("enable.idempotence", true)?;
    match acks {
        Acks::All => Ok(is_asked_for),
        Acks::Leader if p.text("enable.idempotence").is_some() && is_asked_for => {
            Err(invalid("acks", "1", "`enable.idempotence=true` needs `all`"))
        }
        Acks::Leader => Ok(false),
    }
}

fn in_flight(p: &Properties<'_>) -> Result<usize, ConfigError> {
    let key = "max.in.flight.requests.per.connection";
    let value = p.int(key, 5, 1)?;
    match usize::try_from(value) {
        Ok(number @ 1..=5) => Ok(number),
        _ => Err(invalid(
            key,
            &value.to_string(),
            "from 1 to 5: brokers tell no more batches from repeated ones",
        )),
    }
}

fn compression(p: &Properties<'_>) -> Result<Compression, ConfigError> {
    let level = p.int("compression.gzip.level", -1, -1)?;
    let level = match u32::try_from(level) {
        Err(_) => 6, // -1 asks for zlib's default
        Ok(level @ 1..=9) => level,
        Ok(_) => {
            return Err(invalid(
                "compression.gzip.level",
                &level.to_string(),
                "from 1 to 9, or -1",
            ));
        }
    };
    p.choice(
        "compression.type",
        &[
            ("none", Compression::None),
            ("gzip", Compression::Gzip(level)),
            ("snappy", Compression::Snappy),
            ("lz4", Compression::Lz4),
            ("zstd", Compression::Zstd),
        ],
        Compression::None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<(ProducerConfig, Vec<UnknownKey>), ConfigError> {
        ProducerConfig::from_properties(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn no_settings_are_the_defaults() {
        assert_eq!(parse(&[]).unwrap().0, ProducerConfig::default());
    }

    #[test]
    fn wrong_values_are_refused_with_key_value_and_what_is_accepted() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (
                &[("acks", "0")],
                "`acks=0` is not valid: accepted: `all`, `1`; without acknowledgement (`0`) nobody could tell what \
                 was written",
            ),
            (
                &[("acks", "1"), ("enable.idempotence", "true")],
                "`acks=1` is not valid: `enable.idempotence=true` needs `all`",
            ),
            (
                &[("enable.idempotence", "false"), ("transactional.id", "t")],
                "`enable.idempotence=false` is not valid: `transactional.id` needs `true`",
            ),
            (
                &[("max.in.flight.requests.per.connection", "6")],
                "`max.in.flight.requests.per.connection=6` is not valid: from 1 to 5: brokers tell no more batches \
                 from repeated ones",
            ),
            (
                &[("delivery.timeout.ms", "30000")],
                "`delivery.timeout.ms=30000` is not valid: at least `linger.ms` (5) and `request.timeout.ms` (30000) \
                 together",
            ),
            (
                &[("compression.type", "brotli")],
                "`compression.type=brotli` is not valid: accepted: `none`, `gzip`, `snappy`, `lz4`, `zstd`",
            ),
            (
                &[("compression.type", "gzip"), ("compression.gzip.level", "12")],
                "`compression.gzip.level=12` is not valid: from 1 to 9, or -1",
            ),
        ];
        for (pairs, wanted) in cases {
            assert_eq!(parse(pairs).unwrap_err().to_string(), *wanted, "{pairs:?}");
        }
    }

    #[test]
    fn settings_are_read_and_java_only_keys_are_told_apart() {
        let (config, unknown) = parse(&[
            ("acks", "1"),
            ("compression.type", "gzip"),
            ("compression.gzip.level", "9"),
            ("compression.zstd.level", "3"),
            ("key.serializer", "x"),
            ("bootstrap.servers", "a client key is no unknown key"),
            ("linger", "7"),
        ])
        .unwrap();
        assert_eq!(
            (config.acks, config.idempotence, config.compression),
            (Acks::Leader, false, Compression::Gzip(9))
        );
        let told: Vec<_> = unknown.iter().map(|u| (u.key.as_str(), u.java_only)).collect();
        assert_eq!(
            told,
            [
                ("compression.zstd.level", true),
                ("key.serializer", true),
                ("linger", false)
            ]
        );
    }
}
