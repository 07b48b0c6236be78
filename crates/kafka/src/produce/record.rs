//! What is written, and where it ended up.

use std::sync::Arc;

use bytes::Bytes;

/// A record to write.
///
/// ```
/// let mut record = klamm_kafka::ProduceRecord::new("orders");
/// record.value = Some("{}".into());
/// record.headers.push(("source".into(), None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRecord {
    /// Name of the topic, which must exist.
    pub topic: Arc<str>,
    /// The partition; `None` chooses as Kafka's producer does: by the hash of the key, else one partition for a batch's
    /// worth of bytes, then another.
    pub partition: Option<i32>,
    /// Milliseconds since 1970; `None` is now.
    pub timestamp: Option<i64>,
    /// The key, any bytes.
    pub key: Option<Bytes>,
    /// The value, any bytes; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Written as they are: in order, with duplicates, nulls, and keys of any bytes.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

impl ProduceRecord {
    /// A record without key, value and headers.
    pub fn new(topic: impl Into<Arc<str>>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            timestamp: None,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }
}

/// Where a record is, once every replica that `acks` asks for has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Index of the partition.
    pub partition: i32,
    /// Its offset; `None` when the broker only knows that it has the record already.
    pub offset: Option<i64>,
    /// Its timestamp, milliseconds since 1970: the broker's in a topic with LogAppendTime.
    pub timestamp: i64,
}

/// Milliseconds since 1970, for records without a timestamp.
pub(super) fn now_ms() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a record's default timestamp is the wall clock's, as in Kafka's producer; nothing decides by it"
    )]
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
