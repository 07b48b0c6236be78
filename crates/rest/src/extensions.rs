//! What answers say beyond Connect's members, only where `?extensions=true` asks for it.

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_connect_api::ConfigError;
use klamm_runtime::{
    ConnectorObservation, Herder, LastError, LimitStatus, LiveCheck, MemoryUse, PartitionSnapshot, RouteHealth,
    RouteSnapshot, TaskObservation, TaskSnapshot, Validation, WorkerSnapshot,
};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An answer of Connect with one member more.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Extended<T, E> {
    #[serde(flatten)]
    answer: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<E>,
}

impl<T, E> Extended<T, E> {
    pub(crate) fn new(answer: T, extensions: Option<E>) -> Self {
        Self { answer, extensions }
    }
}

/// `extensions` of `GET /health`: what whoever is on call looks at first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HealthExtension {
    kafka_clusters: usize,
    unreachable_kafka_clusters: usize,
    /// By state.
    connectors: BTreeMap<&'static str, usize>,
    tasks: BTreeMap<&'static str, usize>,
    fetch_memory: MemoryExtension,
    delivery_memory: MemoryExtension,
}

#[derive(Serialize, JsonSchema)]
struct MemoryExtension {
    used_bytes: usize,
    limit_bytes: usize,
}

impl HealthExtension {
    pub(crate) fn new(herder: &Herder, worker: &WorkerSnapshot) -> Self {
        let names = herder.connectors();
        let (mut connectors, mut tasks) = (BTreeMap::new(), BTreeMap::new());
        // One that was created just now has no status yet.
        for status in names.iter().filter_map(|name| herder.status(name).ok()) {
            *connectors.entry(status.connector.state.name()).or_default() += 1;
            for task in status.tasks.values() {
                *tasks.entry(task.state.name()).or_default() += 1;
            }
        }
        let memory = |memory: MemoryUse| MemoryExtension {
            used_bytes: memory.used,
            limit_bytes: memory.bound,
        };
        Self {
            kafka_clusters: worker.clusters,
            unreachable_kafka_clusters: worker.unreachable_clusters,
            connectors,
            tasks,
            fetch_memory: memory(worker.fetch_memory),
            delivery_memory: memory(worker.delivery_memory),
        }
    }
}

/// `extensions` of a connector's status.
#[derive(Serialize, JsonSchema)]
pub(crate) struct StatusExtension {
    tasks: Vec<TaskExtension>,
}

impl StatusExtension {
    pub(crate) fn new(observation: &ConnectorObservation) -> Self {
        let task = |(id, task): (&u32, &TaskObservation)| TaskExtension::new(*id, task);
        Self {
            tasks: observation.tasks.iter().map(task).collect(),
        }
    }
}

/// `extensions` of a validation.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ValidationExtension {
    warning_count: usize,
    warnings: Vec<WarningExtension>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Vec<LiveExtension>>,
}

/// Keeps the connector from nothing, and is probably not meant.
#[derive(Serialize, JsonSchema)]
struct WarningExtension {
    /// None if it is about no single setting.
    name: Option<String>,
    message: String,
}

/// What came of asking.
#[derive(Serialize, JsonSchema)]
struct LiveExtension {
    check: &'static str,
    subject: String,
    ok: bool,
    message: String,
}

impl ValidationExtension {
    pub(crate) fn new(validation: &Validation, live: Option<Vec<LiveCheck>>) -> Self {
        let warning = |warning: &ConfigError| WarningExtension {
            name: (!warning.key.is_empty()).then(|| warning.key.clone()),
            message: warning.message.clone(),
        };
        let line = |line: LiveCheck| {
            let (ok, message) = match line.outcome {
                Ok(message) => (true, message),
                Err(message) => (false, message),
            };
            LiveExtension {
                check: line.check,
                subject: line.subject,
                ok,
                message,
            }
        };
        Self {
            warning_count: validation.warnings().len(),
            warnings: validation.warnings().iter().map(warning).collect(),
            live: live.map(|live| live.into_iter().map(line).collect()),
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct TaskExtension {
    id: u32,
    restarts: u32,
    next_restart_at: Option<String>,
    #[serde(flatten)]
    running: Option<RunningTask>,
}

impl TaskExtension {
    fn new(id: u32, task: &TaskObservation) -> Self {
        Self {
            id,
            restarts: task.restarts,
            next_restart_at: task.next_restart.and_then(instant),
            running: task.snapshot.as_ref().map(RunningTask::new),
        }
    }
}

/// A task that has begun, as it is or was at its end.
#[derive(Serialize, JsonSchema)]
struct RunningTask {
    observed_at: Option<String>,
    waits_for: Vec<String>,
    /// None while no log's end is known.
    lag: Option<u64>,
    oldest_undone_age_ms: Option<u64>,
    undone_records: usize,
    undone_bytes: usize,
    calls_in_flight: usize,
    throttled_since: Option<String>,
    last_error: Option<ErrorExtension>,
    records: RecordsExtension,
    failures: Vec<StageFailures>,
    commits: CommitsExtension,
    partitions: Vec<PartitionExtension>,
    routes: Vec<RouteExtension>,
}

impl RunningTask {
    fn new(task: &TaskSnapshot) -> Self {
        let throttled = task.routes.iter().filter_map(throttled_for).max();
        let records = task.records;
        Self {
            observed_at: instant(task.at),
            waits_for: task.waits_for.clone(),
            lag: task.lag(),
            oldest_undone_age_ms: task.oldest_undone_age().map(millis),
            undone_records: task.partitions.iter().map(|partition| partition.undone_records).sum(),
            undone_bytes: task.partitions.iter().map(|partition| partition.undone_bytes).sum(),
            calls_in_flight: task.routes.iter().map(|route| route.status.calls_in_flight).sum(),
            throttled_since: throttled.and_then(|throttled| since(task.at, throttled)),
            last_error: task.last_error.as_ref().map(ErrorExtension::new),
            records: RecordsExtension {
                read: records.read,
                filtered: records.filtered,
                skipped: records.skipped,
                dead_lettered: records.dead_lettered,
                failed: records.failed,
                resumed: records.resumed,
                given_back: records.given_back,
                late: records.late,
            },
            failures: task
                .failures
                .iter()
                .map(|((stage, class), records)| StageFailures {
                    stage,
                    class,
                    records: *records,
                })
                .collect(),
            commits: CommitsExtension {
                acknowledged: task.commits,
                failed: task.failed_commits,
            },
            partitions: task.partitions.iter().map(PartitionExtension::new).collect(),
            routes: task
                .routes
                .iter()
                .map(|route| RouteExtension::new(route, task.at))
                .collect(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct ErrorExtension {
    at: Option<String>,
    /// `topic-partition@offset`
    origin: Option<String>,
    records: usize,
    stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    class: String,
    message: String,
    advice: String,
}

impl ErrorExtension {
    fn new(error: &LastError) -> Self {
        Self {
            at: instant(error.at),
            origin: error.origin.as_ref().map(ToString::to_string),
            records: error.records,
            stage: error.stage,
            route: error.route.as_ref().map(ToString::to_string),
            class: error.class.to_string(),
            message: error.message.to_string(),
            advice: error.advice.clone(),
        }
    }
}

/// Before delivery, and what routes have in common.
#[derive(Serialize, JsonSchema)]
struct RecordsExtension {
    read: u64,
    filtered: u64,
    skipped: u64,
    dead_lettered: u64,
    failed: u64,
    resumed: u64,
    given_back: u64,
    late: u64,
}

#[derive(Serialize, JsonSchema)]
struct StageFailures {
    stage: &'static str,
    class: &'static str,
    records: u64,
}

#[derive(Serialize, JsonSchema)]
struct CommitsExtension {
    acknowledged: u64,
    failed: u64,
}

#[derive(Serialize, JsonSchema)]
struct PartitionExtension {
    topic: String,
    partition: i32,
    /// Every record before it is done.
    done_offset: i64,
    end_offset: Option<i64>,
    lag: Option<u64>,
    oldest_undone_offset: Option<i64>,
    oldest_undone_age_ms: Option<u64>,
    undone_records: usize,
    undone_bytes: usize,
}

impl PartitionExtension {
    fn new(partition: &PartitionSnapshot) -> Self {
        Self {
            topic: partition.topic_partition.topic().to_owned(),
            partition: partition.topic_partition.partition(),
            done_offset: partition.done,
            end_offset: partition.end,
            lag: partition.lag(),
            oldest_undone_offset: partition.oldest_undone,
            oldest_undone_age_ms: partition.oldest_undone_age.map(millis),
            undone_records: partition.undone_records,
            undone_bytes: partition.undone_bytes,
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct RouteExtension {
    name: String,
    destination: String,
    /// `up`, `throttled`, `unreachable` or `unusable`.
    state: &'static str,
    state_since: Option<String>,
    reason: Option<String>,
    calls_in_flight: usize,
    batches_waiting: usize,
    letters_waiting: usize,
    invocations: u64,
    retried_invocations: u64,
    throttled_invocations: u64,
    records: RouteRecords,
    failures: BTreeMap<String, u64>,
    possible_duplicates: u64,
    function_limit: LimitExtension,
    account_limit: LimitExtension,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageExtension>,
}

#[derive(Serialize, JsonSchema)]
struct RouteRecords {
    delivered: u64,
    skipped: u64,
    dead_lettered: u64,
}

/// What a limit that routes share lets through.
#[derive(Serialize, JsonSchema)]
struct LimitExtension {
    limit: usize,
    max: usize,
    calls_in_flight: usize,
    routes_waiting: usize,
    closed_for_ms: Option<u64>,
    throttled_since: Option<String>,
}

/// What the destination bills.
#[derive(Serialize, JsonSchema)]
struct UsageExtension {
    billed_invocations: u64,
    billed_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_cost: Option<f64>,
}

impl RouteExtension {
    fn new(route: &RouteSnapshot, at: i64) -> Self {
        let status = &route.status;
        let down = match &status.health {
            RouteHealth::Up => None,
            RouteHealth::Throttled { since, failure, .. }
            | RouteHealth::Unreachable { since, failure }
            | RouteHealth::Unusable { since, failure } => Some((*since, failure)),
        };
        let limit = |limit: &LimitStatus| LimitExtension {
            limit: limit.limit,
            max: limit.max,
            calls_in_flight: limit.calls_in_flight,
            routes_waiting: limit.routes_waiting,
            closed_for_ms: limit.closed_for.map(millis),
            throttled_since: limit
                .throttled
                .as_ref()
                .and_then(|throttled| since(at, throttled.since)),
        };
        Self {
            name: status.name.to_string(),
            destination: status.destination.to_string(),
            state: state(&status.health),
            state_since: down.and_then(|(for_so_long, _)| since(at, for_so_long)),
            reason: down.map(|(_, failure)| failure.to_string()),
            calls_in_flight: status.calls_in_flight,
            batches_waiting: status.batches_waiting,
            letters_waiting: status.letters_waiting,
            invocations: status.calls,
            retried_invocations: status.retried_calls,
            throttled_invocations: status.throttled_calls,
            records: RouteRecords {
                delivered: status.delivered_records,
                skipped: status.skipped_records,
                dead_lettered: status.dead_lettered_records,
            },
            failures: status
                .failures
                .iter()
                .map(|(class, count)| (class.to_string(), *count))
                .collect(),
            possible_duplicates: status.possible_duplicates,
            function_limit: limit(&status.function_limit),
            account_limit: limit(&status.account_limit),
            usage: route.usage.as_ref().map(|usage| UsageExtension {
                billed_invocations: usage.billed_calls,
                billed_ms: millis(usage.billed),
                estimated_cost: usage.estimated_cost,
            }),
        }
    }
}

/// The name of a route's state.
pub(crate) fn state(health: &RouteHealth) -> &'static str {
    match health {
        RouteHealth::Up => "up",
        RouteHealth::Throttled { .. } => "throttled",
        RouteHealth::Unreachable { .. } => "unreachable",
        RouteHealth::Unusable { .. } => "unusable",
    }
}

/// For how long a route has been throttled, by itself or by a limit that it shares.
fn throttled_for(route: &RouteSnapshot) -> Option<Duration> {
    let own = match &route.status.health {
        RouteHealth::Throttled { since, .. } => Some(*since),
        RouteHealth::Up | RouteHealth::Unreachable { .. } | RouteHealth::Unusable { .. } => None,
    };
    let limits = [&route.status.function_limit, &route.status.account_limit];
    let limits = limits.into_iter().filter(|limit| limit.routes_waiting > 0);
    let of_limits = limits.filter_map(|limit| Some(limit.throttled.as_ref()?.since));
    own.into_iter().chain(of_limits).max()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn since(at: i64, for_so_long: Duration) -> Option<String> {
    instant(at.saturating_sub_unsigned(millis(for_so_long)))
}

/// Milliseconds since the epoch as `2026-01-02T03:04:05.678Z`; none beyond the calendar.
pub(crate) fn instant(millis: i64) -> Option<String> {
    let nanos = i128::from(millis) * 1_000_000;
    let instant = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
    instant.format(&Rfc3339).ok()
}
