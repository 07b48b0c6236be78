//! The sample records of a dev file, on their way into their topics.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use klamm_dev::world::{SampleRecord, Topic};
use klamm_kafka::{ProduceRecord, Producer};

use crate::tools::Cluster;

/// Writes all of them, and returns how many there are once they are acknowledged.
///
/// # Errors
/// The first that was not taken, by its place.
pub(super) async fn write(cluster: &Cluster, topics: &[Topic]) -> anyhow::Result<usize> {
    let producer = Producer::new(cluster.client(), cluster.producer_config(None)?);
    let mut waiting = Vec::new();
    for topic in topics {
        let name: Arc<str> = topic.name.as_str().into();
        for sample in &topic.records {
            let delivery = producer
                .enqueue(record(&name, sample))
                .await
                .with_context(|| sample.place.clone())?;
            waiting.push((delivery, &sample.place));
        }
    }
    producer.flush().await;
    let samples = waiting.len();
    for (delivery, place) in waiting {
        delivery.await.with_context(|| place.clone())?;
    }
    producer.close().await;
    Ok(samples)
}

fn record(topic: &Arc<str>, sample: &SampleRecord) -> ProduceRecord {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().map(Bytes::from);
    let headers = sample.headers.iter();
    ProduceRecord {
        key: bytes(&sample.key),
        value: bytes(&sample.value),
        partition: sample.partition,
        headers: headers
            .map(|(key, value)| (key.clone().into(), Some(value.clone().into())))
            .collect(),
        ..ProduceRecord::new(Arc::clone(topic))
    }
}
