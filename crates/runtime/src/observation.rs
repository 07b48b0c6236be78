//! What tasks show of themselves beyond Connect's states: for the status extension and for metrics.
//!
//! Counters live in the task and are read when somebody looks, so that nothing is kept up for a thousand connectors that
//! nobody looks at.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::sink::RouteUsage;
use klamm_connect_api::{BoxFuture, Origin, Timestamp, TopicPartition};
use klamm_delivery::RouteStatus;

use crate::herder::InstanceStatus;

/// A running task, to be looked at.
pub trait TaskView: Send + Sync + fmt::Debug {
    /// How the task is now. Waits for nobody.
    fn snapshot(&self) -> TaskSnapshot;

    /// Asks Kafka where the logs end that the task does not fetch at present, so that the lag of a task that stands still
    /// is true. What cannot be answered soon stays as it was.
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    fn refresh(&self) -> BoxFuture<'_, ()>;
}

/// How a task is. Counters start with the task.
#[derive(Debug, Clone, Default)]
pub struct TaskSnapshot {
    /// When it was taken, in milliseconds since the epoch.
    pub at: Timestamp,
    /// What the task waits for, each with its reason.
    pub waits_for: Vec<String>,
    /// What became of records.
    pub records: RecordCounts,
    /// Records that failed before delivery, by stage and by class of the converter or transform.
    pub failures: BTreeMap<(&'static str, &'static str), u64>,
    /// The last error about records.
    pub last_error: Option<LastError>,
    /// Commits that Kafka acknowledged.
    pub commits: u64,
    /// Commits that it did not.
    pub failed_commits: u64,
    /// The partitions that are assigned, in order.
    pub partitions: Vec<PartitionSnapshot>,
    /// The routes, in the sink's order.
    pub routes: Vec<RouteSnapshot>,
}

impl TaskSnapshot {
    /// Records between what is done and the ends of the logs, of the partitions whose ends are known.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        let known: Vec<u64> = self.partitions.iter().filter_map(PartitionSnapshot::lag).collect();
        (!known.is_empty()).then(|| known.iter().sum())
    }

    /// Age of the oldest record that is not done.
    #[must_use]
    pub fn oldest_undone_age(&self) -> Option<Duration> {
        self.partitions
            .iter()
            .filter_map(|partition| partition.oldest_undone_age)
            .max()
    }
}

/// What became of a task's records. Those of routes are counted once for each route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Came from Kafka.
    pub read: u64,
    /// Were dropped by a transform, or wanted by no route.
    pub filtered: u64,
    /// Failed before delivery and were skipped, as tolerated.
    pub skipped: u64,
    /// Failed before delivery, and their dead letters were acknowledged.
    pub dead_lettered: u64,
    /// Failed the task.
    pub failed: u64,
    /// Had been settled by an earlier assignment, once per route: not sent again.
    pub resumed: u64,
    /// Were given back undone, once per route: revoked, lost or left at the end.
    pub given_back: u64,
    /// Were answered after their partition was given away, once per route.
    pub late: u64,
}

/// A partition of a task.
#[derive(Debug, Clone)]
pub struct PartitionSnapshot {
    /// Which.
    pub topic_partition: TopicPartition,
    /// Every record before it is done.
    pub done: i64,
    /// The end of the log, if it is known.
    pub end: Option<i64>,
    /// The oldest record that is not done.
    pub oldest_undone: Option<i64>,
    /// Time since that record came in.
    pub oldest_undone_age: Option<Duration>,
    /// Records that came in and are not done.
    pub undone_records: usize,
    /// Bytes that are held for them.
    pub undone_bytes: usize,
}

impl PartitionSnapshot {
    /// Records, holes included, between what is done and the end of the log.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        let lag = self.end?.saturating_sub(self.done).max(0);
        u64::try_from(lag).ok()
    }
}

/// A route of a task.
#[derive(Debug, Clone)]
pub struct RouteSnapshot {
    /// The destination's own name, such as a function's ARN.
    pub resource: Arc<str>,
    /// What the delivery engine knows.
    pub status: RouteStatus,
    /// What the sink knows.
    pub usage: Option<RouteUsage>,
}

/// The last error about records, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When, in milliseconds since the epoch.
    pub at: Timestamp,
    /// The first of the records that it was about.
    pub origin: Option<Origin>,
    /// How many they were.
    pub records: usize,
    /// Where it happened, in Connect's words, such as `VALUE_CONVERTER` or `TASK_PUT`.
    pub stage: &'static str,
    /// The route, if it happened on one.
    pub route: Option<Arc<str>>,
    /// Name of the failure.
    pub class: Arc<str>,
    /// What happened; never holds a payload.
    pub message: Arc<str>,
    /// What to do.
    pub advice: String,
}

/// A task of a connector: Connect's state, and what lies behind it.
#[derive(Debug, Clone)]
pub struct TaskObservation {
    /// Its state.
    pub status: InstanceStatus,
    /// How often it was started again under the present configuration.
    pub restarts: u32,
    /// When it starts again by itself, in milliseconds since the epoch.
    pub next_restart: Option<Timestamp>,
    /// How it is, or was when it ended; none before it has begun.
    pub snapshot: Option<TaskSnapshot>,
}

/// A connector with its tasks.
#[derive(Debug, Clone)]
pub struct ConnectorObservation {
    /// Its state.
    pub status: InstanceStatus,
    /// Its tasks by number.
    pub tasks: BTreeMap<u32, TaskObservation>,
}

/// What a worker's shares are used for.
#[derive(Debug, Clone, Default)]
pub struct WorkerSnapshot {
    /// Bytes of `worker.buffer.bytes` for what was fetched.
    pub fetch_memory: MemoryUse,
    /// Bytes of `worker.buffer.bytes` for what waits for its delivery.
    pub delivery_memory: MemoryUse,
    /// Kafka clusters that are connected to, by distinct settings.
    pub clusters: usize,
    /// Of these, those that cannot be reached at present.
    pub unreachable_clusters: usize,
    /// Fetch requests that were answered, of all clusters.
    pub fetches: u64,
    /// Bytes of records that were fetched.
    pub fetched_bytes: u64,
}

/// Bytes in use, and their bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// In use.
    pub used: usize,
    /// The bound.
    pub bound: usize,
}
