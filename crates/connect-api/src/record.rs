use std::fmt;
use std::sync::Arc;

use crate::datum::Datum;
use crate::headers::Headers;

/// A partition of a topic. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition(Arc<(Arc<str>, i32)>);

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self(Arc::new((topic.into(), partition)))
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.0.0
    }

    /// The topic's name, shared.
    #[must_use]
    pub fn topic_arc(&self) -> &Arc<str> {
        &self.0.0
    }

    /// The partition's number.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.0.1
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic(), self.partition())
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a record was consumed from. No transform can change it; commits, ledgers and logs use nothing else
/// (KIP-793's original topic, partition and offset).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The topic-partition as consumed.
    pub topic_partition: TopicPartition,
    /// The offset in it.
    pub offset: i64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.topic_partition, self.offset)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Milliseconds since the epoch.
pub type Timestamp = i64;

/// Who set a record's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// Nobody: the record has none.
    NoTimestampType,
    /// The producer (`CreateTime`).
    CreateTime,
    /// The broker when it appended the record (`LogAppendTime`).
    LogAppendTime,
}

impl TimestampType {
    /// The constant name that payload formats write, such as `CREATE_TIME`.
    #[must_use]
    pub fn constant_name(self) -> &'static str {
        match self {
            Self::NoTimestampType => "NO_TIMESTAMP_TYPE",
            Self::CreateTime => "CREATE_TIME",
            Self::LogAppendTime => "LOG_APPEND_TIME",
        }
    }
}

/// A record on its way from a topic to a sink. Cheap to clone: the bytes are shared.
///
/// Transforms may change everything but the [`Origin`].
#[derive(Debug, Clone)]
pub struct Record {
    /// Topic, which a transform such as `RegexRouter` may have changed.
    pub topic: Arc<str>,
    /// Partition, or none if a transform removed it.
    pub partition: Option<i32>,
    /// Timestamp in milliseconds since the epoch; none if the record has none (-1 on the wire).
    pub timestamp: Option<Timestamp>,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    /// The key.
    pub key: Datum,
    /// The value; null is a tombstone.
    pub value: Datum,
    /// The headers, in order, with duplicates.
    pub headers: Headers,
    origin: Origin,
}

impl Record {
    /// A record as it was consumed: its topic and partition are those of `origin`.
    #[must_use]
    pub fn new(origin: Origin, key: Datum, value: Datum) -> Self {
        Self {
            topic: Arc::clone(origin.topic_partition.topic_arc()),
            partition: Some(origin.topic_partition.partition()),
            timestamp: None,
            timestamp_type: TimestampType::NoTimestampType,
            key,
            value,
            headers: Headers::default(),
            origin,
        }
    }

    /// Where the record was consumed from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}
