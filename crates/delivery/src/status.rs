//! What an engine shows of itself, and the counters behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use klamm_connect_api::sink::{Failure, ThrottleScope};
use klamm_connect_api::{Origin, Timestamp, TopicPartition};
use tokio::time::Instant;

use crate::distribution::{CALL_MICROS, CALL_RECORDS, Counts, Distribution};
use crate::limit::{Gate, Limit, LimitStatus};

/// Names of failures that are counted by themselves. A destination names them, so there may be any number.
const FAILURE_CLASSES: usize = 50;
/// What further ones are counted under.
const OTHER_CLASSES: &str = "other";

/// A snapshot of an engine.
#[derive(Debug, Clone)]
pub struct EngineStatus {
    /// The routes, in the sink's order.
    pub routes: Vec<RouteStatus>,
    /// The partitions that are assigned, in no order.
    pub partitions: Vec<PartitionStatus>,
    /// Records that had no route, since the start.
    pub filtered_records: u64,
    /// Records that an earlier assignment had settled, once per route: not sent again.
    pub resumed_records: u64,
    /// Dead letters of records that failed before delivery, once they were acknowledged.
    pub dead_lettered_records: u64,
    /// Records whose failure failed the task.
    pub failed_records: u64,
    /// Records taken in and given back undone: revoked, lost or left at shutdown, once per route.
    pub dropped_records: u64,
    /// Records given back to their reader, as others need the memory ([`PushError::Rewound`](crate::PushError::Rewound)), once
    /// per route. They are pushed again.
    pub rewound_records: u64,
    /// Records whose answer came after their partition was given away, once per route. They were not committed.
    pub late_records: u64,
}

/// Whether a route can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteHealth {
    /// Yes.
    Up,
    /// The destination says that it is too much.
    Throttled {
        /// Whom it slows down.
        by: ThrottleScope,
        /// For how long it has said so.
        since: Duration,
        /// The last answer.
        failure: Failure,
    },
    /// Calls fail before the destination runs.
    Unreachable {
        /// For how long.
        since: Duration,
        /// The last failure.
        failure: Failure,
    },
    /// Somebody must change something; probed slowly.
    Unusable {
        /// For how long.
        since: Duration,
        /// Why, and what to do.
        failure: Failure,
    },
}

/// A route's part of [`EngineStatus`]. Counters start with the engine.
#[derive(Debug, Clone)]
pub struct RouteStatus {
    /// Alias.
    pub name: Arc<str>,
    /// The destination in words for people.
    pub destination: Arc<str>,
    /// Whether it can be used: the state of its breaker, which is open unless this is [`RouteHealth::Up`].
    pub health: RouteHealth,
    /// How many calls its function takes, from all routes of the worker.
    pub function_limit: LimitStatus,
    /// The same of its account.
    pub account_limit: LimitStatus,
    /// Whether it has something to send and waits for one of these limits.
    pub waits_for_limit: bool,
    /// Calls that wait for their answer.
    pub calls_in_flight: usize,
    /// Batches, and parts of batches, that wait to be sent again.
    pub batches_waiting: usize,
    /// Calls that were started.
    pub calls: u64,
    /// Of these, calls that sent records again.
    pub retried_calls: u64,
    /// Calls that were throttled.
    pub throttled_calls: u64,
    /// Records that were accepted.
    pub delivered_records: u64,
    /// Records that the error policy skipped.
    pub skipped_records: u64,
    /// Records given up whose dead letter was acknowledged.
    pub dead_lettered_records: u64,
    /// Records given up or accepted whose dead letter or result is not acknowledged yet.
    pub letters_waiting: usize,
    /// Records whose outcome a call left unknown (time-out, reset), so that they may be delivered twice.
    pub possible_duplicates: u64,
    /// Calls that failed, and records that were given up without one, by the failure's class; of very many classes the
    /// later ones are `other`.
    pub failures: BTreeMap<Arc<str>, u64>,
    /// The last of them.
    pub last_failure: Option<LastFailure>,
    /// Microseconds from the start of a call to its end.
    pub call_micros: Distribution,
    /// Records of a call.
    pub call_records: Distribution,
}

/// The last failure of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// When, in milliseconds since the epoch.
    pub at: Timestamp,
    /// The first of the records that it was about.
    pub origin: Option<Origin>,
    /// How many they were.
    pub records: usize,
    /// What happened.
    pub failure: Failure,
}

/// What failed on a route.
#[derive(Debug, Default)]
struct Failures {
    by_class: BTreeMap<Arc<str>, u64>,
    last: Option<LastFailure>,
}

/// A partition's part of [`EngineStatus`].
#[derive(Debug, Clone)]
pub struct PartitionStatus {
    /// Which.
    pub topic_partition: TopicPartition,
    /// Epoch of its assignment.
    pub epoch: u64,
    /// What may be committed: the offset to read next.
    pub committable: i64,
    /// The oldest offset that is not done.
    pub oldest_undone: Option<i64>,
    /// Time since that record came in.
    pub oldest_undone_age: Option<Duration>,
    /// Records that are not done.
    pub buffered_records: usize,
    /// Bytes that are held for them.
    pub buffered_bytes: usize,
}

/// Why the breaker of a route is open.
#[derive(Debug, Clone)]
pub(crate) enum Outage {
    Throttled(ThrottleScope),
    Unreachable,
    Unusable,
}

impl Outage {
    /// For logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Throttled(_) => "throttled",
            Self::Unreachable => "unreachable",
            Self::Unusable => "unusable",
        }
    }
}

/// What the actor publishes of a route.
#[derive(Debug)]
pub(crate) struct RouteBoard {
    pub(crate) name: Arc<str>,
    pub(crate) destination: Arc<str>,
    outage: Mutex<Option<(Outage, Instant, Failure)>>,
    limits: (Arc<Limit>, Arc<Limit>),
    pub(crate) waits_for_limit: AtomicBool,
    pub(crate) calls_in_flight: AtomicUsize,
    pub(crate) batches_waiting: AtomicUsize,
    pub(crate) calls: AtomicU64,
    pub(crate) retried_calls: AtomicU64,
    pub(crate) throttled_calls: AtomicU64,
    pub(crate) delivered_records: AtomicU64,
    pub(crate) skipped_records: AtomicU64,
    pub(crate) dead_lettered_records: AtomicU64,
    pub(crate) letters_waiting: AtomicUsize,
    pub(crate) possible_duplicates: AtomicU64,
    /// Locked for each failure and for a look, never for a call that passes.
    failures: Mutex<Failures>,
    pub(crate) call_micros: Counts,
    pub(crate) call_records: Counts,
}

impl RouteBoard {
    pub(crate) fn new(name: Arc<str>, destination: Arc<str>, gate: &Gate) -> Self {
        Self {
            name,
            destination,
            outage: Mutex::new(None),
            limits: gate.limits(),
            waits_for_limit: AtomicBool::new(false),
            calls_in_flight: AtomicUsize::new(0),
            batches_waiting: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            retried_calls: AtomicU64::new(0),
            throttled_calls: AtomicU64::new(0),
            delivered_records: AtomicU64::new(0),
            skipped_records: AtomicU64::new(0),
            dead_lettered_records: AtomicU64::new(0),
            letters_waiting: AtomicUsize::new(0),
            possible_duplicates: AtomicU64::new(0),
            failures: Mutex::default(),
            call_micros: Counts::new(CALL_MICROS),
            call_records: Counts::new(CALL_RECORDS),
        }
    }

    /// Counts a failure and shows it as the last one.
    pub(crate) fn fails(&self, last: LastFailure) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let class = &last.failure.class;
        let is_known = failures.by_class.contains_key(class) || failures.by_class.len() < FAILURE_CLASSES;
        let class = if is_known {
            Arc::clone(class)
        } else {
            OTHER_CLASSES.into()
        };
        *failures.by_class.entry(class).or_default() += 1;
        failures.last = Some(last);
    }

    pub(crate) fn set_outage(&self, outage: Option<(Outage, Instant, Failure)>) {
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = outage;
    }

    /// Why the route is not up.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.as_ref().map(|(_, _, failure)| failure.clone())
    }

    pub(crate) fn is_slowed_down(&self, now: Instant) -> bool {
        let (function, account) = &self.limits;
        self.waits_for_limit.load(Ordering::Relaxed) && (function.holds_back(now) || account.holds_back(now))
    }

    pub(crate) fn status(&self, now: Instant) -> RouteStatus {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (failures, last_failure) = {
            let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            (failures.by_class.clone(), failures.last.clone())
        };
        RouteStatus {
            name: Arc::clone(&self.name),
            destination: Arc::clone(&self.destination),
            health: match outage {
                None => RouteHealth::Up,
                Some((outage, since, failure)) => {
                    let since = now.saturating_duration_since(since);
                    match outage {
                        Outage::Throttled(by) => RouteHealth::Throttled { by, since, failure },
                        Outage::Unreachable => RouteHealth::Unreachable { since, failure },
                        Outage::Unusable => RouteHealth::Unusable { since, failure },
                    }
                }
            },
            function_limit: self.limits.0.status(now),
            account_limit: self.limits.1.status(now),
            waits_for_limit: self.waits_for_limit.load(Ordering::Relaxed),
            calls_in_flight: self.calls_in_flight.load(Ordering::Relaxed),
            batches_waiting: self.batches_waiting.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
            retried_calls: self.retried_calls.load(Ordering::Relaxed),
            throttled_calls: self.throttled_calls.load(Ordering::Relaxed),
            delivered_records: self.delivered_records.load(Ordering::Relaxed),
            skipped_records: self.skipped_records.load(Ordering::Relaxed),
            dead_lettered_records: self.dead_lettered_records.load(Ordering::Relaxed),
            letters_waiting: self.letters_waiting.load(Ordering::Relaxed),
            possible_duplicates: self.possible_duplicates.load(Ordering::Relaxed),
            failures,
            last_failure,
            call_micros: self.call_micros.read(),
            call_records: self.call_records.read(),
        }
    }
}

/// Counts one more. Relaxed: counters order nothing.
pub(crate) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}
