//! The metrics, one by one. `docs/metrics.md` is generated from this table.

use std::time::Duration;

use klamm_runtime::{ConnectorObservation, InstanceStatus, RouteSnapshot, State, TaskObservation, TaskSnapshot};

use super::{Family, Kind, Samples, Scrape};
use crate::extensions::state;

const NONE: &[&str] = &[];
const TASK: &[&str] = &["connector", "task"];
const ROUTE: &[&str] = &["connector", "task", "route", "function"];

const STATES: [State; 6] = [
    State::Running,
    State::Paused,
    State::Stopped,
    State::Failed,
    State::Restarting,
    State::Unassigned,
];

/// Microseconds in seconds.
const MICROS: f64 = 1e-6;

/// A metric of the worker.
const fn worker(name: &'static str, kind: Kind, help: &'static str, samples: Read) -> Family {
    family(name, kind, NONE, help, samples)
}

/// A metric of each task.
const fn task(name: &'static str, kind: Kind, help: &'static str, samples: Read) -> Family {
    family(name, kind, TASK, help, samples)
}

/// A metric of each route of each task.
const fn route(name: &'static str, kind: Kind, help: &'static str, samples: Read) -> Family {
    family(name, kind, ROUTE, help, samples)
}

type Read = fn(&Scrape, &mut Samples<'_>);

const fn family(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    samples: Read,
) -> Family {
    Family {
        name,
        kind,
        labels,
        help,
        samples,
    }
}

use Kind::{Counter, Gauge, Histogram};

pub(super) const FAMILIES: &[Family] = &[
    family(
        "klamm_build_info",
        Gauge,
        &["version", "commit"],
        "1, with the version that runs",
        |scrape, out| out.count(&[scrape.version, scrape.commit], 1),
    ),
    worker(
        "klamm_uptime_seconds",
        Gauge,
        "Time since the REST API began to answer",
        |scrape, out| {
            out.amount(&[], scrape.uptime.as_secs_f64());
        },
    ),
    worker(
        "klamm_process_resident_memory_bytes",
        Gauge,
        "Resident memory of the process; Linux only",
        |scrape, out| {
            if let Some(process) = &scrape.process {
                out.count(&[], process.resident_bytes);
            }
        },
    ),
    worker(
        "klamm_process_cpu_seconds",
        Counter,
        "CPU time of the process in user and kernel mode; Linux only",
        |scrape, out| {
            if let Some(process) = &scrape.process {
                out.amount(&[], process.cpu_seconds);
            }
        },
    ),
    worker(
        "klamm_process_open_files",
        Gauge,
        "Files and sockets that the process has open: connections to Kafka, functions and clients; Linux only",
        |scrape, out| {
            if let Some(process) = &scrape.process {
                out.count(&[], process.open_files);
            }
        },
    ),
    worker(
        "klamm_fetch_memory_bytes",
        Gauge,
        "The half of `worker.buffer.bytes` for fetched records: bytes in use",
        |scrape, out| out.size(&[], scrape.worker.fetch_memory.used),
    ),
    worker(
        "klamm_fetch_memory_limit_bytes",
        Gauge,
        "The half of `worker.buffer.bytes` for fetched records: the bound",
        |scrape, out| out.size(&[], scrape.worker.fetch_memory.bound),
    ),
    worker(
        "klamm_delivery_memory_bytes",
        Gauge,
        "The half of `worker.buffer.bytes` for records that wait for their delivery: bytes in use",
        |scrape, out| out.size(&[], scrape.worker.delivery_memory.used),
    ),
    worker(
        "klamm_delivery_memory_limit_bytes",
        Gauge,
        "The half of `worker.buffer.bytes` for records that wait for their delivery: the bound",
        |scrape, out| out.size(&[], scrape.worker.delivery_memory.bound),
    ),
    worker(
        "klamm_kafka_clusters",
        Gauge,
        "Kafka clusters that are connected to, by distinct settings",
        |scrape, out| out.size(&[], scrape.worker.clusters),
    ),
    worker(
        "klamm_kafka_unreachable_clusters",
        Gauge,
        "Of these, clusters that cannot be reached now",
        |scrape, out| out.size(&[], scrape.worker.unreachable_clusters),
    ),
    worker(
        "klamm_kafka_fetches",
        Counter,
        "Fetch requests that Kafka answered; those of a cluster that no connector uses any more no longer count",
        |scrape, out| out.count(&[], scrape.worker.fetches),
    ),
    worker(
        "klamm_kafka_fetched_bytes",
        Counter,
        "Bytes of records that Kafka sent; those of a cluster that no connector uses any more no longer count",
        |scrape, out| out.count(&[], scrape.worker.fetched_bytes),
    ),
    family(
        "klamm_rest_requests",
        Counter,
        &["method", "status"],
        "Requests that the REST API answered, by method and kind of status, such as `2xx`",
        |scrape, out| {
            for row in &scrape.requests {
                for (status, count) in &row.answers {
                    out.count(&[row.method, status], *count);
                }
            }
        },
    ),
    family(
        "klamm_rest_request_duration_seconds",
        Counter,
        &["method"],
        "Time that these requests took, together",
        |scrape, out| {
            for row in &scrape.requests {
                out.amount(&[row.method], row.took.as_secs_f64());
            }
        },
    ),
    family(
        "klamm_connectors",
        Gauge,
        &["state"],
        "Connectors in each state",
        |scrape, out| {
            by_state(out, scrape.connectors.values().map(|connector| connector.status.state));
        },
    ),
    family(
        "klamm_tasks",
        Gauge,
        &["state"],
        "Tasks in each state",
        |scrape, out| {
            let tasks = scrape
                .connectors
                .values()
                .flat_map(|connector| connector.tasks.values());
            by_state(out, tasks.map(|task| task.status.state));
        },
    ),
    family(
        "klamm_connector_state",
        Gauge,
        &["connector", "state"],
        "1 for the state that the connector is in",
        |scrape, out| {
            for (name, connector) in &scrape.connectors {
                out.count(&[name, state_of(&connector.status)], 1);
            }
        },
    ),
    family(
        "klamm_task_state",
        Gauge,
        &["connector", "task", "state"],
        "1 for the state that the task is in",
        |scrape, out| {
            each_task(scrape, |name, number, task| {
                out.count(&[name, number, state_of(&task.status)], 1);
            });
        },
    ),
    task(
        "klamm_task_restarts",
        Counter,
        "How often the task was started again under its present configuration",
        |scrape, out| {
            each_task(scrape, |name, number, task| {
                out.count(&[name, number], u64::from(task.restarts));
            });
        },
    ),
    task(
        "klamm_task_waits",
        Gauge,
        "Things that the running task waits for, such as Kafka, a registry or a function; its status names them",
        |scrape, out| each(scrape, |labels, task| out.size(labels, task.waits_for.len())),
    ),
    task(
        "klamm_task_partitions",
        Gauge,
        "Partitions that the task reads",
        |scrape, out| {
            each(scrape, |labels, task| out.size(labels, task.partitions.len()));
        },
    ),
    task(
        "klamm_task_lag_records",
        Gauge,
        "Offsets between what is done and the ends of the task's partitions, together; the status has each partition's",
        |scrape, out| {
            each(scrape, |labels, task| {
                if let Some(lag) = task.lag() {
                    out.count(labels, lag);
                }
            });
        },
    ),
    task(
        "klamm_task_oldest_undone_age_seconds",
        Gauge,
        "Time since the oldest record came in that is not done; 0 if there is none",
        |scrape, out| {
            each(scrape, |labels, task| {
                out.amount(labels, task.oldest_undone_age().unwrap_or(Duration::ZERO).as_secs_f64());
            });
        },
    ),
    task(
        "klamm_task_undone_records",
        Gauge,
        "Records that came in and are not done",
        |scrape, out| {
            each(scrape, |labels, task| {
                out.size(
                    labels,
                    task.partitions.iter().map(|partition| partition.undone_records).sum(),
                );
            });
        },
    ),
    task(
        "klamm_task_undone_bytes",
        Gauge,
        "Bytes that are held for them",
        |scrape, out| {
            each(scrape, |labels, task| {
                out.size(
                    labels,
                    task.partitions.iter().map(|partition| partition.undone_bytes).sum(),
                );
            });
        },
    ),
    task(
        "klamm_task_read_records",
        Counter,
        "Records that came from Kafka",
        |scrape, out| {
            each(scrape, |labels, task| out.count(labels, task.records.read));
        },
    ),
    task(
        "klamm_task_filtered_records",
        Counter,
        "Records that a transform dropped, or that no route wanted",
        |scrape, out| each(scrape, |labels, task| out.count(labels, task.records.filtered)),
    ),
    task(
        "klamm_task_skipped_records",
        Counter,
        "Records that could not be converted or transformed and were skipped, as `errors.tolerance=all` asks",
        |scrape, out| each(scrape, |labels, task| out.count(labels, task.records.skipped)),
    ),
    task(
        "klamm_task_dead_lettered_records",
        Counter,
        "Records that could not be converted or transformed and whose dead letters were acknowledged",
        |scrape, out| each(scrape, |labels, task| out.count(labels, task.records.dead_lettered)),
    ),
    task(
        "klamm_task_failed_records",
        Counter,
        "Records that failed the task in delivery",
        |scrape, out| {
            each(scrape, |labels, task| out.count(labels, task.records.failed));
        },
    ),
    task(
        "klamm_task_resumed_records",
        Counter,
        "Records that were not sent again since an earlier assignment had settled them, once per route",
        |scrape, out| each(scrape, |labels, task| out.count(labels, task.records.resumed)),
    ),
    task(
        "klamm_task_given_back_records",
        Counter,
        "Records that were given back undone, once per route: whoever reads them next delivers them",
        |scrape, out| each(scrape, |labels, task| out.count(labels, task.records.given_back)),
    ),
    family(
        "klamm_task_conversion_errors",
        Counter,
        &["connector", "task", "stage"],
        "Records that failed before delivery, by Connect's name of the stage, such as `VALUE_CONVERTER`",
        |scrape, out| {
            each_task(scrape, |name, number, task| {
                let mut by_stage = std::collections::BTreeMap::<&str, u64>::new();
                for ((stage, _), records) in task.snapshot.iter().flat_map(|task| &task.failures) {
                    *by_stage.entry(stage).or_default() += records;
                }
                for (stage, records) in by_stage {
                    out.count(&[name, number, stage], records);
                }
            });
        },
    ),
    task(
        "klamm_task_commits",
        Counter,
        "Commits that Kafka acknowledged",
        |scrape, out| {
            each(scrape, |labels, task| out.count(labels, task.commits));
        },
    ),
    task(
        "klamm_task_failed_commits",
        Counter,
        "Commits that Kafka did not acknowledge: their offsets go out with the next one",
        |scrape, out| each(scrape, |labels, task| out.count(labels, task.failed_commits)),
    ),
    family(
        "klamm_route_state",
        Gauge,
        &["connector", "task", "route", "function", "state"],
        "1 for what the route's function is: `up`, `throttled`, `unreachable` or `unusable`",
        |scrape, out| {
            each_route(scrape, |labels, route| {
                let [connector, task, name, function] = labels;
                out.count(&[connector, task, name, function, state(&route.status.health)], 1);
            });
        },
    ),
    route(
        "klamm_route_calls",
        Counter,
        "Calls that were started",
        |scrape, out| {
            each_route(scrape, |labels, route| out.count(&labels, route.status.calls));
        },
    ),
    route(
        "klamm_route_retried_calls",
        Counter,
        "Of these, calls that sent records again",
        |scrape, out| {
            each_route(scrape, |labels, route| out.count(&labels, route.status.retried_calls));
        },
    ),
    route(
        "klamm_route_throttled_calls",
        Counter,
        "Calls that were throttled",
        |scrape, out| {
            each_route(scrape, |labels, route| out.count(&labels, route.status.throttled_calls));
        },
    ),
    route(
        "klamm_route_failures",
        Counter,
        "Calls that failed, throttles and parts of batches included, and records refused without a call; the status has them \
         by class",
        |scrape, out| {
            each_route(scrape, |labels, route| {
                out.count(&labels, route.status.failures.values().sum());
            });
        },
    ),
    route(
        "klamm_route_calls_in_flight",
        Gauge,
        "Calls that wait for their answer",
        |scrape, out| {
            each_route(scrape, |labels, route| out.size(&labels, route.status.calls_in_flight));
        },
    ),
    route(
        "klamm_route_batches_waiting",
        Gauge,
        "Batches that wait to be sent again",
        |scrape, out| {
            each_route(scrape, |labels, route| out.size(&labels, route.status.batches_waiting));
        },
    ),
    route(
        "klamm_route_letters_waiting",
        Gauge,
        "Records whose dead letter or result is not acknowledged yet",
        |scrape, out| each_route(scrape, |labels, route| out.size(&labels, route.status.letters_waiting)),
    ),
    route(
        "klamm_route_delivered_records",
        Counter,
        "Records that were accepted",
        |scrape, out| {
            each_route(scrape, |labels, route| {
                out.count(&labels, route.status.delivered_records);
            });
        },
    ),
    route(
        "klamm_route_skipped_records",
        Counter,
        "Records that were skipped when their attempts ran out",
        |scrape, out| each_route(scrape, |labels, route| out.count(&labels, route.status.skipped_records)),
    ),
    route(
        "klamm_route_dead_lettered_records",
        Counter,
        "Records whose attempts ran out and whose dead letters were acknowledged",
        |scrape, out| {
            each_route(scrape, |labels, route| {
                out.count(&labels, route.status.dead_lettered_records);
            });
        },
    ),
    route(
        "klamm_route_possible_duplicates",
        Counter,
        "Records whose call ended without an answer, so that they may be delivered twice",
        |scrape, out| {
            each_route(scrape, |labels, route| {
                out.count(&labels, route.status.possible_duplicates);
            });
        },
    ),
    route(
        "klamm_route_call_duration_seconds",
        Histogram,
        "Time from the start of a call to its answer or failure",
        |scrape, out| {
            each_route(scrape, |labels, route| {
                out.distribution(&labels, &route.status.call_micros, MICROS);
            });
        },
    ),
    route(
        "klamm_route_call_records",
        Histogram,
        "Records in a call",
        |scrape, out| {
            each_route(scrape, |labels, route| {
                out.distribution(&labels, &route.status.call_records, 1.0);
            });
        },
    ),
    route(
        "klamm_route_function_limit_calls",
        Gauge,
        "Calls that the function takes at once now, from all routes of the worker",
        |scrape, out| {
            each_route(scrape, |labels, route| {
                out.size(&labels, route.status.function_limit.limit);
            });
        },
    ),
    route(
        "klamm_route_account_limit_calls",
        Gauge,
        "Calls that the function's account and region take at once now, from all routes of the worker",
        |scrape, out| {
            each_route(scrape, |labels, route| {
                out.size(&labels, route.status.account_limit.limit);
            });
        },
    ),
    route(
        "klamm_route_billed_seconds",
        Counter,
        "Time that the function's calls are billed for, where `aws.lambda.log.tail` asks for it",
        |scrape, out| {
            each_route(scrape, |labels, route| {
                if let Some(usage) = &route.usage {
                    out.amount(&labels, usage.billed.as_secs_f64());
                }
            });
        },
    ),
    route(
        "klamm_route_estimated_cost",
        Counter,
        "What these calls cost by `aws.lambda.price.request` and `aws.lambda.price.gb.second`, in the currency of these",
        |scrape, out| {
            each_route(scrape, |labels, route| {
                if let Some(cost) = route.usage.as_ref().and_then(|usage| usage.estimated_cost) {
                    out.amount(&labels, cost);
                }
            });
        },
    ),
];

fn state_of(status: &InstanceStatus) -> &'static str {
    status.state.name()
}

fn by_state(out: &mut Samples<'_>, states: impl Iterator<Item = State> + Clone) {
    for state in STATES {
        let count = states.clone().filter(|found| *found == state).count();
        out.size(&[state.name()], count);
    }
}

/// Visits every task, with its connector's name and its own number.
fn each_task(scrape: &Scrape, mut visit: impl FnMut(&str, &str, &TaskObservation)) {
    for (name, ConnectorObservation { tasks, .. }) in &scrape.connectors {
        for (number, task) in tasks {
            visit(name, &number.to_string(), task);
        }
    }
}

/// Visits every task that has begun, with its labels.
fn each(scrape: &Scrape, mut visit: impl FnMut(&[&str], &TaskSnapshot)) {
    each_task(scrape, |name, number, task| {
        if let Some(task) = &task.snapshot {
            visit(&[name, number], task);
        }
    });
}

/// Visits every route of every task, with its labels.
fn each_route(scrape: &Scrape, mut visit: impl FnMut([&str; 4], &RouteSnapshot)) {
    each_task(scrape, |name, number, task| {
        for route in task.snapshot.iter().flat_map(|task| &task.routes) {
            visit([name, number, &route.status.name, &route.resource], route);
        }
    });
}
