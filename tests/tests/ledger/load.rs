//! Keyed records at a steady rate, whatever the brokers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use klamm_tests::produce::{CODECS, KeyValue, Producer};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{PARTITIONS, TOPIC};

pub const KEYS: u64 = 1_000;
const TICK: Duration = Duration::from_millis(100);

/// A running producer.
#[derive(Debug)]
pub struct LoadTask {
    is_over: Arc<AtomicBool>,
    /// The one task.
    task: JoinSet<u64>,
}

fn record(key: u64, id: u64, is_poison: bool) -> KeyValue {
    let poison = if is_poison { r#","poison":true"# } else { "" };
    let value = format!(r#"{{"key":{key},"id":{id}{poison}}}"#);
    (Some(format!("key-{key}").into_bytes()), Some(value.into_bytes()))
}

fn partition_of(key: u64) -> i32 {
    i32::try_from(key % u64::from(PARTITIONS.unsigned_abs())).unwrap()
}

/// Sends until the brokers have acknowledged: what they took without saying so stands in the log twice.
async fn send(bootstrap: &str, producer: &mut Option<Producer>, partition: i32, records: Vec<KeyValue>) -> Vec<i64> {
    loop {
        if producer.is_none() {
            *producer = Producer::connect(bootstrap).await.ok();
        }
        if let Some(connected) = producer {
            match connected.produce(TOPIC, partition, records.clone(), CODECS[2]).await {
                Ok(offsets) => return offsets,
                Err(_) => *producer = None,
            }
        }
        sleep(TICK).await;
    }
}

impl LoadTask {
    /// So many records a second, over all keys.
    pub fn start(bootstrap: &str, per_second: u64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (bootstrap, over) = (bootstrap.to_owned(), Arc::clone(&is_over));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut producer = None;
            let mut sent = 0;
            let mut ticks = interval(TICK);
            // After an outage the load comes at its rate, not all at once.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !over.load(Ordering::SeqCst) {
                ticks.tick().await;
                let ids = sent..sent + per_second / 10;
                for partition in 0..PARTITIONS {
                    let of_partition = ids.clone().filter(|id| partition_of(id % KEYS) == partition);
                    let records: Vec<_> = of_partition.map(|id| record(id % KEYS, id, false)).collect();
                    send(&bootstrap, &mut producer, partition, records).await;
                }
                sent = ids.end;
            }
            sent
        });
        Self { is_over, task }
    }

    /// Ends the load and returns how many records it was.
    pub async fn stop(mut self) -> u64 {
        self.is_over.store(true, Ordering::SeqCst);
        self.task.join_next().await.unwrap().unwrap()
    }
}

/// One record that no function can take, in each partition; returns where they stand.
pub async fn poison(bootstrap: &str) -> Vec<(i32, i64)> {
    let mut producer = None;
    let mut positions = Vec::new();
    for partition in 0..PARTITIONS {
        let key = u64::from(partition.unsigned_abs());
        let offsets = send(bootstrap, &mut producer, partition, vec![record(key, u64::MAX, true)]).await;
        positions.extend(offsets.into_iter().map(|offset| (partition, offset)));
    }
    positions
}
