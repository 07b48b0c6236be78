//! Writes numbered records all the time, each once, whatever happens to the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use klamm_kafka::{KafkaClient, ProduceRecord, Producer, ProducerConfig};
use tokio::task::JoinSet;

use crate::support::encode::{TestBatch, TestRecord};
use crate::support::{now_ms, raw};
use crate::{PARTITIONS, TOPIC};

/// Longer than all that happens to the cluster.
const PATIENCE: Duration = Duration::from_secs(600);
/// The first partitions are written by our producer, the others over plain sockets.
const BY_PRODUCER: i32 = 3;

/// A writer for each partition. Record number n has offset n: an idempotent producer writes nothing twice.
pub struct Writer {
    stop: Arc<AtomicBool>,
    partitions: JoinSet<(usize, i64)>,
    client: Arc<KafkaClient>,
}

impl Writer {
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = crate::client();
        let config = ProducerConfig {
            // Each record is a batch, so that as many are in flight as may be.
            batch_size: 1,
            linger: Duration::ZERO,
            request_timeout: Duration::from_secs(3),
            // While nothing is acknowledged little is taken; nothing is given up.
            buffer_memory: 100_000,
            max_block: PATIENCE,
            delivery_timeout: PATIENCE,
            ..ProducerConfig::default()
        };
        let producer = Arc::new(Producer::new(&client, config));
        let mut partitions = JoinSet::new();
        for (index, partition) in (0..PARTITIONS).enumerate() {
            let (stop, producer) = (Arc::clone(&stop), Arc::clone(&producer));
            partitions.spawn(async move {
                let written = if partition < BY_PRODUCER {
                    produce(partition, &producer, &stop).await
                } else {
                    write(partition, &stop).await
                };
                (index, written)
            });
        }
        Self {
            stop,
            partitions,
            client,
        }
    }

    /// How many records each partition has in the end.
    pub async fn stop(self) -> Vec<i64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = self.partitions.join_all().await;
        self.client.shutdown().await;
        written.sort_unstable();
        written.into_iter().map(|(_, records)| records).collect()
    }
}

/// By our producer, five batches at a time.
async fn produce(partition: i32, producer: &Producer, stop: &AtomicBool) -> i64 {
    let mut deliveries = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..5 {
            let mut record = ProduceRecord::new(TOPIC);
            record.partition = Some(partition);
            record.value = Some(deliveries.len().to_string().into());
            deliveries.push(producer.enqueue(record).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // the pace of the load
    }
    let mut written = 0;
    for delivery in deliveries {
        let offset = delivery.await.unwrap().offset;
        // A broker that was asked again may only know that it has the batch.
        assert!(
            offset.is_none_or(|offset| offset == written),
            "partition {partition}: {offset:?} for {written}"
        );
        written += 1;
    }
    written
}

/// Over a plain socket for each batch.
async fn write(partition: i32, stop: &AtomicBool) -> i64 {
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
