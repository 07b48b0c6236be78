//! CPU per record and per call of the engine, with a sink that accepts at once. One thread, and the time is what the
//! kernel counts for it, so that other load on the machine does not show.
//! Includes the copying of the payload, since each call builds one.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use klamm_connect_api::delivery::{BatchScope, DeliverySettings, ErrorPolicy, Ordering, RetrySettings};
use klamm_connect_api::sink::{
    Call, EncodeError, Encoded, LimitKey, LimitKeys, PayloadBuilder, Route, RouteError, RouteIndex, Sink, Verdict,
};
use klamm_connect_api::{BoxFuture, Origin, Record, TopicPartition};
use klamm_delivery::{Delivery, Engine, EngineConfig, LimitSettings, PartitionLimits, WorkerLimits, WorkerMemory};
use tokio::task::JoinSet;

const PARTITIONS: i32 = 8;
const CHUNK: usize = 500;

#[derive(Debug)]
struct Accepting {
    routes: Vec<Route>,
}

impl Sink for Accepting {
    fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn route(&self, _: &mut Record, _: &mut Vec<RouteIndex>) -> Result<(), RouteError> {
        Ok(())
    }

    fn encode(&self, _: RouteIndex, _: &Record) -> Result<Encoded, EncodeError> {
        Ok(Encoded::from(Vec::new()))
    }

    fn payload_builder(&self, _: RouteIndex) -> Box<dyn PayloadBuilder> {
        Box::new(Joined(Vec::new()))
    }

    fn send(&self, _: Call) -> BoxFuture<'_, Verdict> {
        Box::pin(async {
            tokio::task::yield_now().await;
            Verdict::Accepted
        })
    }

    fn unrouted_policy(&self) -> ErrorPolicy {
        ErrorPolicy::Fail
    }
}

struct Joined(Vec<u8>);

impl PayloadBuilder for Joined {
    fn cost(&self, _: &Origin, record: &Encoded) -> usize {
        record.bytes.len() + 1
    }

    fn push(&mut self, _: &Origin, record: &Encoded) {
        self.0.extend_from_slice(&record.bytes);
        self.0.push(b',');
    }

    fn finish(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.0))
    }

    fn overhead(&self) -> usize {
        0
    }
}

fn settings(ordering: Ordering, batch_records: usize) -> DeliverySettings {
    DeliverySettings {
        ordering,
        batch_records,
        batch_bytes: 6 * 1024 * 1024,
        batch_scope: BatchScope::Partition,
        linger: Duration::ZERO,
        max_in_flight: 64,
        call_timeout: Duration::from_secs(50),
        retry: RetrySettings {
            max_attempts: 5,
            timeout: None,
            backoff: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
        },
        record_max_age: None,
        bisect: true,
        error_policy: ErrorPolicy::Fail,
        is_required: true,
    }
}

fn chunks(total: usize, size: usize) -> Vec<(i32, Vec<Delivery>)> {
    let per_partition = total / usize::try_from(PARTITIONS).unwrap();
    let mut chunks = Vec::new();
    for first in (0..per_partition).step_by(CHUNK) {
        for partition in 0..PARTITIONS {
            let tp = TopicPartition::new("orders", partition);
            let records = (first..(first + CHUNK).min(per_partition))
                .map(|offset| Delivery {
                    origin: Origin {
                        topic_partition: tp.clone(),
                        offset: i64::try_from(offset).unwrap(),
                    },
                    timestamp: None,
                    key_hash: Some((offset as u64 % 5000).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
                    routes: std::iter::once((RouteIndex(0), Encoded::from(vec![b'x'; size]))).collect(),
                    original: None,
                    dead_letter: None,
                })
                .collect();
            chunks.push((partition, records));
        }
    }
    chunks
}

async fn run(settings: DeliverySettings, chunks: Vec<(i32, Vec<Delivery>)>, total: usize) -> Duration {
    let sink = Arc::new(Accepting {
        routes: vec![Route {
            name: "r".into(),
            destination: "nowhere".into(),
            resource: "nowhere".into(),
            delivery: settings,
            limits: LimitKeys {
                function: LimitKey::new("function"),
                account: LimitKey::new("account"),
            },
        }],
    });
    let mut actors = JoinSet::new();
    let config = EngineConfig {
        connector: "bench".into(),
        task: 0,
        limits: PartitionLimits::default(),
        worker_limits: Arc::new(WorkerLimits::new(LimitSettings::default())),
        seed: 1,
        wall_clock: Arc::new(|| 0),
        letters: None,
        reports_skipped: false,
    };
    let (engine, _events) = Engine::start(config, sink, Arc::new(WorkerMemory::new(64 << 20)), &mut actors);
    let mut intakes: Vec<_> = (0..PARTITIONS)
        .map(|partition| engine.assign(TopicPartition::new("orders", partition), 1, 0))
        .collect();
    let started = cpu_time();
    for (partition, records) in chunks {
        let position = records.last().unwrap().origin.offset + 1;
        intakes[usize::try_from(partition).unwrap()]
            .push(records, position)
            .await
            .unwrap();
    }
    engine.done_records(total as u64).await;
    let elapsed = cpu_time() - started;
    engine.shutdown(Duration::from_secs(1)).await;
    elapsed
}

/// CPU time of this thread (Linux: the first field of its `schedstat`, in nanoseconds).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split_ascii_whitespace().next().unwrap().parse().unwrap())
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut measure = |group: &str, batch: usize, size: usize, total: usize| {
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(total as u64)).sample_size(10);
        for ordering in [Ordering::Partition, Ordering::Key, Ordering::None] {
            group.bench_function(BenchmarkId::from_parameter(format!("{ordering:?}")), |bencher| {
                bencher.iter_custom(|iterations| {
                    (0..iterations)
                        .map(|_| runtime.block_on(run(settings(ordering, batch), chunks(total, size), total)))
                        .sum()
                });
            });
        }
        group.finish();
    };
    measure("batch_100_of_1_kb", 100, 1024, 40_000);
    measure("batch_100_of_16_bytes", 100, 16, 40_000);
    measure("batch_1_of_1_kb", 1, 1024, 40_000);
}

criterion_group!(engine, benches);
criterion_main!(engine);
