//! A running task as it is looked at from outside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klamm_connect_api::delivery::ErrorPolicy;
use klamm_connect_api::sink::{Route, RouteIndex, Sink};
use klamm_connect_api::{BoxFuture, TopicPartition};
use klamm_delivery::{EngineMonitor, RouteHealth, RouteStatus};
use klamm_kafka::{IsolationLevel, KafkaClient, LogEnd, OffsetSpec};
use tokio::time::{Instant, timeout};

use super::counters::Counters;
use super::pipeline::Stage;
use crate::observation::{LastError, PartitionSnapshot, RecordCounts, RouteSnapshot, TaskSnapshot, TaskView};

/// How long Kafka may take to say where logs end.
const REFRESH_WITHIN: Duration = Duration::from_secs(2);
/// It is asked at most this often for a task, however many look.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// What a task shows.
#[derive(Debug)]
pub(super) struct View {
    monitor: EngineMonitor,
    sink: Arc<dyn Sink>,
    counters: Arc<Counters>,
    client: Arc<KafkaClient>,
    isolation: IsolationLevel,
    ends: Mutex<HashMap<TopicPartition, End>>,
    waits: Mutex<Vec<String>>,
    refreshed: Mutex<Option<Instant>>,
}

/// Where a log ends.
#[derive(Debug)]
struct End {
    fetched: LogEnd,
    /// As Kafka was asked while nothing was fetched.
    asked: Option<i64>,
}

impl End {
    fn offset(&self) -> Option<i64> {
        match self.fetched.last_known() {
            Some((end, true)) => Some(end),
            Some((end, false)) => Some(self.asked.map_or(end, |asked| asked.max(end))),
            None => self.asked,
        }
    }

    fn is_current(&self) -> bool {
        self.fetched.last_known().is_some_and(|(_, is_fetched)| is_fetched)
    }
}

impl View {
    pub(super) fn new(
        monitor: EngineMonitor,
        sink: Arc<dyn Sink>,
        counters: Arc<Counters>,
        client: Arc<KafkaClient>,
        isolation: IsolationLevel,
    ) -> Self {
        Self {
            monitor,
            sink,
            counters,
            client,
            isolation,
            ends: Mutex::default(),
            waits: Mutex::default(),
            refreshed: Mutex::default(),
        }
    }

    /// A partition is read from now on.
    pub(super) fn reads(&self, partition: TopicPartition, end: LogEnd) {
        let end = End {
            fetched: end,
            asked: None,
        };
        lock(&self.ends).insert(partition, end);
    }

    /// Partitions were given up.
    pub(super) fn forget(&self, partitions: &[TopicPartition]) {
        let mut ends = lock(&self.ends);
        for partition in partitions {
            ends.remove(partition);
        }
    }

    /// The task waits for this.
    pub(super) fn waits(&self, waits: Vec<String>) {
        *lock(&self.waits) = waits;
    }

    async fn ask(&self, partitions: Vec<klamm_kafka::TopicPartition>) {
        let asking = self
            .client
            .list_offsets(&partitions, OffsetSpec::Latest, self.isolation);
        // Whatever keeps Kafka from answering is in the task's status.
        let Ok(Ok(found)) = timeout(REFRESH_WITHIN, asking).await else {
            return;
        };
        let mut ends = lock(&self.ends);
        for (partition, listed) in found {
            let key = TopicPartition::new(Arc::clone(&partition.topic), partition.partition);
            if let Some(end) = ends.get_mut(&key) {
                end.asked = listed.offset;
            }
        }
    }
}

impl TaskView for View {
    fn snapshot(&self) -> TaskSnapshot {
        let status = self.monitor.status();
        let (read, filtered, skipped) = self.counters.totals();
        let (failures, last_before) = self.counters.failures_so_far();
        let (commits, failed_commits) = self.counters.commits();
        let ends = lock(&self.ends);
        let mut partitions: Vec<PartitionSnapshot> = status
            .partitions
            .into_iter()
            .map(|partition| PartitionSnapshot {
                end: ends.get(&partition.topic_partition).and_then(End::offset),
                topic_partition: partition.topic_partition,
                done: partition.committable,
                oldest_undone: partition.oldest_undone,
                oldest_undone_age: partition.oldest_undone_age,
                undone_records: partition.buffered_records,
                undone_bytes: partition.buffered_bytes,
            })
            .collect();
        drop(ends);
        partitions.sort_unstable_by(|a, b| a.topic_partition.cmp(&b.topic_partition));
        let routes = self.sink.routes().iter().zip(status.routes).enumerate();
        let routes: Vec<RouteSnapshot> = routes
            .map(|(index, (route, status))| RouteSnapshot {
                resource: Arc::clone(&route.resource),
                status,
                usage: self.sink.usage(RouteIndex(index)),
            })
            .collect();
        let of_routes = self.sink.routes().iter().zip(&routes);
        let last_error = of_routes
            .filter_map(|(route, shown)| last_error(route, &shown.status))
            .chain(last_before)
            .max_by_key(|error| error.at);
        TaskSnapshot {
            at: crate::wall_clock::now_ms(),
            waits_for: lock(&self.waits).clone(),
            records: RecordCounts {
                read,
                filtered,
                skipped,
                dead_lettered: status.dead_lettered_records,
                failed: status.failed_records,
                resumed: status.resumed_records,
                given_back: status.dropped_records,
                late: status.late_records,
            },
            failures,
            last_error,
            commits,
            failed_commits,
            partitions,
            routes,
        }
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let now = Instant::now();
            {
                let mut refreshed = lock(&self.refreshed);
                if refreshed.is_some_and(|last| now.duration_since(last) < REFRESH_EVERY) {
                    return;
                }
                *refreshed = Some(now);
            }
            let stale: Vec<_> = lock(&self.ends)
                .iter()
                .filter(|(_, end)| !end.is_current())
                .map(|(partition, _)| {
                    klamm_kafka::TopicPartition::new(Arc::clone(partition.topic_arc()), partition.partition())
                })
                .collect();
            if !stale.is_empty() {
                self.ask(stale).await;
            }
        })
    }
}

fn last_error(route: &Route, status: &RouteStatus) -> Option<LastError> {
    let last = status.last_failure.as_ref()?;
    Some(LastError {
        at: last.at,
        origin: last.origin.clone(),
        records: last.records,
        stage: Stage::TaskPut.name(),
        route: Some(Arc::clone(&route.name)),
        class: Arc::clone(&last.failure.class),
        message: Arc::clone(&last.failure.message),
        advice: advice(route, status, last.failure.request_id.as_deref()),
    })
}

/// What follows from a failure on a route, and what a person can do about it.
fn advice(route: &Route, status: &RouteStatus, request_id: Option<&str>) -> String {
    let follows = match &status.health {
        RouteHealth::Unusable { .. } => {
            "mend what the message names: until then the route is probed every 30 s, and no record is lost"
        }
        RouteHealth::Throttled { .. } => {
            "nothing is lost and it passes by itself; if it lasts, raise the concurrency that the destination may use"
        }
        RouteHealth::Unreachable { .. } => {
            "nothing is lost and it passes by itself; if it lasts, check the network and the destination's endpoint"
        }
        RouteHealth::Up => match route.delivery.error_policy {
            ErrorPolicy::Fail => {
                "it is tried again; if `delivery.retry.max.attempts` run out the task fails: mend the destination, or set \
                 `behavior.on.error=dlq` to put such records aside"
            }
            ErrorPolicy::Log | ErrorPolicy::Ignore => {
                "it is tried again; if `delivery.retry.max.attempts` run out its records are skipped: set \
                 `behavior.on.error=dlq` to keep them"
            }
            ErrorPolicy::DeadLetter => {
                "it is tried again; if `delivery.retry.max.attempts` run out its records go to the dead letter queue: redrive \
                 them once the destination is mended"
            }
        },
    };
    match request_id {
        Some(id) => format!("{follows}; the destination's own log has more under request id {id}"),
        None => follows.to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
