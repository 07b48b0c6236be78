//! The engine on several threads and real time: no wake-up is lost at any of its bounds.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]
#![allow(clippy::cast_sign_loss, reason = "offsets of tests are small and positive")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::delivery::Ordering;
use klamm_connect_api::sink::Verdict;
use klamm_delivery::PartitionLimits;
use support::*;
use tokio::task::JoinSet;

const PARTITIONS: i32 = 12;
const RECORDS: i64 = 1500;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_at_the_bounds() {
    for ordering in [Ordering::Partition, Ordering::Key, Ordering::None] {
        let mut settings = settings();
        (settings.ordering, settings.batch_records, settings.max_in_flight) = (ordering, 7, 3);
        let sink = FakeSink::new(vec![settings], |_| now(Verdict::Accepted));
        let limits = PartitionLimits {
            buffer_records: 40,
            buffer_bytes: 1 << 20,
            window_records: 60,
        };
        let mut world = World::with(&sink, limits, 20_000, 1);
        let engine = Arc::new(world.engine.clone());
        let mut readers = JoinSet::new();
        for partition in 0..PARTITIONS {
            let mut intake = engine.assign(tp(partition), 1, 0);
            readers.spawn(async move {
                let mut offset = 0;
                while offset < RECORDS {
                    let end = (offset + 1 + offset % 13).min(RECORDS);
                    intake.push(records(partition, offset..end), end).await.unwrap();
                    offset = end;
                }
                intake
            });
        }
        let all = async {
            let intakes = readers.join_all().await;
            engine.done_records((RECORDS * i64::from(PARTITIONS)) as u64).await;
            intakes
        };
        let intakes = tokio::time::timeout(Duration::from_secs(120), all)
            .await
            .unwrap_or_else(|_| panic!("stuck: {:#?}", world.engine.status()));
        for partition in 0..PARTITIONS {
            assert_eq!(world.offset_of(partition), Some(RECORDS), "{ordering:?}");
        }
        world.assert_no_violations();
        world.engine.shutdown(Duration::from_secs(1)).await;
        assert!(world.actors.join_next().await.unwrap().is_ok());
        drop(intakes);
        assert_eq!(world.memory.used_bytes(), 0);
    }
}
