//! Writes numbered records all the time, each once, whatever happens to the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::encode::{TestBatch, TestRecord};
use crate::support::{now_ms, raw};
use crate::{PARTITIONS, TOPIC};

/// A writer for each partition. Record number n has offset n: an idempotent producer writes nothing twice.
pub struct Writer {
    stop: Arc<AtomicBool>,
    partitions: JoinSet<(usize, i64)>,
}

impl Writer {
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut partitions = JoinSet::new();
        for (index, partition) in (0..PARTITIONS).enumerate() {
            let stop = Arc::clone(&stop);
            partitions.spawn(async move { (index, write(partition, stop).await) });
        }
        Self { stop, partitions }
    }

    /// How many records each partition has in the end.
    pub async fn stop(self) -> Vec<i64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = self.partitions.join_all().await;
        written.sort_unstable();
        written.into_iter().map(|(_, records)| records).collect()
    }
}

async fn write(partition: i32, stop: Arc<AtomicBool>) -> i64 {
    const BATCH: i32 = 5;
    let producer = tokio::task::spawn_blocking(raw::producer_id).await.unwrap();
    let mut written = 0_i32;
    let mut node = 1;
    while !stop.load(Ordering::Relaxed) {
        let records = (written..written + BATCH).map(|number| TestRecord {
            value: Some(number.to_string().into_bytes()),
            ..TestRecord::default()
        });
        let mut batch = TestBatch::new(0, records.collect());
        batch.producer = (producer, 0, written);
        (batch.base_timestamp, batch.max_timestamp) = (now_ms(), now_ms());
        let batch = Arc::new(batch);
        // The same batch until somebody has it: a broker that has it already says so, and that is success.
        loop {
            let attempt = Arc::clone(&batch);
            let answer = tokio::task::spawn_blocking(move || raw::produce_at(node, TOPIC, partition, &attempt));
            match answer.await.unwrap() {
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => node = node % 3 + 1,
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // the pace of a retry
        }
        written += BATCH;
        tokio::time::sleep(Duration::from_millis(20)).await; // the pace of the load
    }
    i64::from(written)
}
