//! Names shared by every part of the client: partitions, epochs, start positions, committed offsets.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A partition of a topic; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Index of the partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Tells one assignment of a partition from the next: whatever carries an older epoch is stale.
///
/// Unique within the process and growing; it never goes to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssignmentEpoch(u64);

impl AssignmentEpoch {
    /// An epoch that no earlier call returned.
    pub fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// The bare number, for logs.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset to read next.
    pub offset: i64,
    /// Leader epoch of the last record before `offset`, if the committer knew it.
    pub leader_epoch: Option<i32>,
    /// The committer's own text; empty if there is none.
    pub metadata: String,
}

/// One partition's share of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Index of the partition.
    pub partition: i32,
    /// The offset to read next: one past the last record that is done.
    pub offset: i64,
    /// Leader epoch of the last record before `offset`, if known.
    pub leader_epoch: Option<i32>,
    /// Kept with the offset; the broker's bound is `offset.metadata.max.bytes` (4,096).
    pub metadata: String,
}

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first offset that still exists.
    Earliest,
    /// The end: the high watermark, or the last stable offset under `read_committed`.
    Latest,
    /// The first record at or after this time, milliseconds since 1970.
    Timestamp(i64),
}

/// Answer to an [`OffsetSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` when no record is that young ([`OffsetSpec::Timestamp`] only).
    pub offset: Option<i64>,
    /// Leader epoch of that offset, if the broker told.
    pub leader_epoch: Option<i32>,
}
