//! Engines that share a worker's memory: one that stands still gives back what others need.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]
#![allow(clippy::cast_sign_loss, reason = "offsets of tests are small and positive")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::time::Duration;

use klamm_connect_api::delivery::{DeliverySettings, Ordering};
use klamm_connect_api::sink::Verdict;
use klamm_delivery::{
    Engine, LimitSettings, MemoryBudget as _, PartitionLimits, PushError, WorkerLimits, WorkerMemory,
};
use support::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const MEMORY: usize = 400_000;
const RECORD: usize = 1_000;
/// With what the engine counts for it.
const RECORD_IN_MEMORY: usize = RECORD + 128;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Reads a partition's `records` in chunks, and again what it gets back. Ends when all are done.
async fn read(engine: Engine, partition: i32, records: i64, chunk: i64) {
    let mut intake = engine.assign(tp(partition), 1, 0);
    let mut offset = 0;
    loop {
        if offset < records {
            let end = (offset + chunk).min(records);
            let chunk = (offset..end)
                .map(|offset| sized(partition, offset, &[0], RECORD))
                .collect();
            match intake.push(chunk, end).await {
                Ok(()) => offset = end,
                Err(PushError::Rewound { position }) => {
                    offset = position;
                    intake.moved().await;
                }
                Err(error) => panic!("{error}"),
            }
            continue;
        }
        let is_done = async {
            let is_done = |engine: &Engine| {
                let partitions = engine.status().partitions;
                partitions
                    .iter()
                    .any(|of| of.topic_partition == tp(partition) && of.committable == records)
            };
            while !is_done(&engine) {
                sleep(ms(10)).await;
            }
        };
        tokio::select! {
            position = intake.rewound() => {
                offset = position;
                intake.moved().await;
            }
            () = is_done => return,
        }
    }
}

struct Worker {
    memory: Arc<WorkerMemory>,
    limits: Arc<WorkerLimits>,
}

impl Worker {
    fn new() -> Self {
        Self {
            memory: Arc::new(WorkerMemory::new(MEMORY)),
            limits: Arc::new(WorkerLimits::new(LimitSettings::default())),
        }
    }

    fn connector(&self, name: &str, sink: &Arc<FakeSink>) -> World {
        let limits = PartitionLimits {
            buffer_bytes: MEMORY / 4,
            ..PartitionLimits::default()
        };
        World::on_worker(sink, name, limits, &self.memory, &self.limits, 3)
    }
}

fn settings_of(ordering: Ordering) -> DeliverySettings {
    DeliverySettings {
        ordering,
        batch_records: 10,
        ..settings()
    }
}

/// How long a connector needs for its backlog.
async fn deliver_healthy(worker: &Worker) -> Duration {
    let sink = FakeSink::new(vec![settings_of(Ordering::None)], |_| {
        Reply::After(ms(20), Verdict::Accepted)
    });
    let world = worker.connector("healthy", &sink);
    let started = Instant::now();
    read(world.engine.clone(), 0, 10_000, 10).await;
    world.assert_no_violations();
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_stuck_connector_with_a_big_backlog_does_not_slow_another_one() {
    let alone = deliver_healthy(&Worker::new()).await;
    for ordering in [Ordering::Partition, Ordering::None] {
        let worker = Worker::new();
        let is_stuck = Arc::new(AtomicBool::new(true));
        let stuck = Arc::clone(&is_stuck);
        let sink = FakeSink::new(vec![settings_of(ordering)], move |_| {
            Reply::After(
                ms(5),
                match stuck.load(Atomic::Relaxed) {
                    true => unreachable(),
                    false => Verdict::Accepted,
                },
            )
        });
        let world = worker.connector("stuck", &sink);
        let mut readers = JoinSet::new();
        for partition in 0..8 {
            readers.spawn(read(world.engine.clone(), partition, 2_000, 50));
        }
        sleep(ms(2_000)).await;
        assert!(
            worker.memory.used_bytes() > MEMORY * 3 / 4,
            "the stuck connector holds the memory"
        );
        let beside = deliver_healthy(&worker).await;
        assert!(
            beside < alone + ms(7_000),
            "{ordering:?}: {beside:?}, and {alone:?} alone"
        );
        let held = worker.memory.used_bytes();
        assert!(held < MEMORY / 2, "{ordering:?}: {held} bytes still held");
        assert!(held >= 8 * RECORD_IN_MEMORY, "every partition holds what it sends");

        is_stuck.store(false, Atomic::Relaxed);
        readers.join_all().await;
        sink.log(|log| {
            assert_eq!(log.accepted.len(), 8 * 2_000, "{ordering:?}: nothing is lost");
            assert!(
                log.accepted.values().all(|times| *times == 1),
                "{ordering:?}: nothing goes twice"
            );
        });
        world.assert_no_violations();
        let status = world.engine.status();
        assert_eq!(status.routes[0].delivered_records, 16_000);
        assert!(status.rewound_records > 0);
        assert_eq!(status.dropped_records, 0, "nothing was revoked");
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_still_keeps_its_memory_as_long_as_nobody_needs_it() {
    let worker = Worker::new();
    let sink = FakeSink::new(vec![settings_of(Ordering::Partition)], |_| now(unreachable()));
    let world = worker.connector("stuck", &sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let chunk = (0..50).map(|offset| sized(0, offset, &[0], RECORD)).collect();
    intake.push(chunk, 50).await.unwrap();
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.engine.status().dropped_records, 0);
    assert_eq!(worker.memory.used_bytes(), 50 * RECORD_IN_MEMORY);
}

/// What one route has delivered already would go there twice.
#[tokio::test(start_paused = true)]
async fn records_that_another_route_has_delivered_are_not_given_back() {
    let worker = Worker::new();
    let sink = FakeSink::new(vec![settings_of(Ordering::Partition); 2], |seen| {
        now(if seen.route == 0 {
            unreachable()
        } else {
            Verdict::Accepted
        })
    });
    let world = worker.connector("stuck", &sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    // The last ten go to the stuck route alone.
    let routes = |offset| if offset < 40 { [0, 1].as_slice() } else { &[0] };
    let chunk = (0..50).map(|offset| sized(0, offset, routes(offset), RECORD)).collect();
    intake.push(chunk, 50).await.unwrap();
    sink.until("the other route is done", |log| log.accepted.len() == 40)
        .await;
    let _healthy = deliver_short_of_memory(&worker).await;
    assert_eq!(intake.rewound().await, 40);
    assert_eq!(world.engine.status().partitions[0].buffered_records, 40);
}

/// A connector that fills what is left of the memory, and waits for more.
async fn deliver_short_of_memory(worker: &Worker) -> (World, JoinSet<()>) {
    let sink = FakeSink::new(vec![settings_of(Ordering::Partition)], |_| Reply::Hang);
    let world = worker.connector("greedy", &sink);
    let mut readers = JoinSet::new();
    for partition in 0..8 {
        readers.spawn(read(world.engine.clone(), partition, 2_000, 50));
    }
    sleep(ms(6_000)).await;
    (world, readers)
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_was_idle_does_not_stand_still() {
    let worker = Worker::new();
    let sink = FakeSink::new(vec![settings_of(Ordering::Partition)], |_| Reply::Hang);
    let world = worker.connector("idle", &sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let chunk =
        |offsets: std::ops::Range<i64>| offsets.map(|offset| sized(0, offset, &[0], RECORD)).collect::<Vec<_>>();
    // Its entry is made, and it is done with everything.
    intake.push(Vec::new(), 1).await.unwrap();
    sleep(ms(60_000)).await;
    // Somebody waits for memory that others hold.
    worker.memory.acquire_over(MEMORY);
    let memory = Arc::clone(&worker.memory);
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { memory.acquire(1).await });
    sleep(ms(1)).await;
    intake.push(chunk(1..51), 51).await.unwrap();
    let given_back = tokio::time::timeout(ms(4_000), intake.rewound()).await;
    assert!(given_back.is_err(), "at once, at {given_back:?}");
    // In a call, and after it nothing moves.
    let given_back = tokio::time::timeout(ms(4_000), intake.rewound()).await;
    assert_eq!(given_back, Ok(11));
}
