//! The broker is killed in the middle of a stream and comes back: every record is in the log once, in order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "test code"
)]

#[path = "../support/mod.rs"]
mod support;

/// Brokers of the cluster under test.
pub const BROKERS: u32 = 1;

use std::sync::Arc;
use std::time::Duration;

use klamm_kafka::{
    Compression, Existing, FetchSettings, IsolationLevel, NewTopic, ProduceError, ProduceRecord, Producer,
    ProducerConfig, StartPosition, TransactionalProducer, WriteOutcome,
};
use support::{PATIENCE, broker, client, from, offsets, pool, read_to};

const PARTITIONS: i32 = 3;
/// Records that are acknowledged before and after the broker dies.
const EACH_SIDE: usize = 3_000;

fn record(topic: &str, partition: i32, value: String) -> ProduceRecord {
    let mut record = ProduceRecord::new(topic);
    record.partition = Some(partition);
    record.value = Some(value.into());
    record
}

/// One test, since all of it needs the one broker to itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_neither_loses_nor_doubles_nor_reorders() {
    let client = client();
    let topic = NewTopic::new("t").with_partitions(PARTITIONS);
    client.ensure_topic(&topic, Existing::MayDiffer).await.unwrap();
    // Small batches, so that many are in flight when the broker dies.
    let config = ProducerConfig {
        batch_size: 1_000,
        linger: Duration::ZERO,
        compression: Compression::Lz4,
        buffer_memory: 300_000,
        request_timeout: Duration::from_secs(5),
        ..ProducerConfig::default()
    };
    let producer = Arc::new(Producer::new(&client, config.clone()));
    let (told, mut acknowledged) = tokio::sync::mpsc::channel(100_000);
    let stop = tokio_util::sync::CancellationToken::new();
    let writing = {
        let (producer, stop) = (Arc::clone(&producer), stop.clone());
        tokio::task::JoinSet::from_iter([async move {
            let mut counts = [0_usize; 3];
            let mut total = 0;
            while !stop.is_cancelled() {
                let partition = total % counts.len();
                let value = counts[partition].to_string();
                let index = i32::try_from(partition).unwrap();
                let delivery = producer.enqueue(record("t", index, value)).await.unwrap();
                told.send((counts[partition], delivery)).await.unwrap();
                counts[partition] += 1;
                total += 1;
            }
            counts
        }])
    };
    let mut await_acknowledged = async |count: usize| {
        for _ in 0..count {
            let (number, delivery) = acknowledged.recv().await.unwrap();
            let metadata = tokio::time::timeout(PATIENCE, delivery).await.unwrap().unwrap();
            assert_eq!(
                metadata.offset,
                Some(i64::try_from(number).unwrap()),
                "in order, without gaps"
            );
        }
    };
    await_acknowledged(EACH_SIDE).await;
    broker().run(&["kill", "1"]);
    broker().run(&["start", "1"]);
    await_acknowledged(EACH_SIDE).await;
    stop.cancel();
    let counts = writing.join_all().await[0];
    producer.flush().await;
    for (partition, count) in (0..).zip(counts) {
        let mut request = from("t", StartPosition::Earliest);
        request.partition = partition;
        let count = i64::try_from(count).unwrap();
        let mut reader = pool(&client).open(request);
        let found = read_to(&mut reader, count).await;
        assert_eq!(offsets(&found), (0..count).collect::<Vec<_>>(), "nothing twice");
        for (number, found) in found.iter().enumerate() {
            assert_eq!(found.value.as_ref().unwrap(), number.to_string().as_bytes(), "in order");
        }
    }

    an_outcome_that_nobody_knows_is_said_so(&config).await;
    transactions_of_older_clusters_work().await;
    client.shutdown().await;
}

/// A broker that stands still takes the request and does not answer.
async fn an_outcome_that_nobody_knows_is_said_so(config: &ProducerConfig) {
    let client = client();
    let config = ProducerConfig {
        request_timeout: Duration::from_millis(300),
        delivery_timeout: Duration::from_millis(1_000),
        ..config.clone()
    };
    let producer = Producer::new(&client, config);
    producer.send(record("t", 0, "before".to_owned())).await.unwrap();
    broker().run(&["pause", "1"]);
    let err = producer.send(record("t", 0, "lost?".to_owned())).await.unwrap_err();
    broker().run(&["resume", "1"]);
    assert_eq!(
        err.to_string(),
        "t-0: not acknowledged within 1000 ms (`delivery.timeout.ms`): whether the record was written is not known"
    );
    assert_eq!(err.outcome(), WriteOutcome::Unknown);
    assert!(matches!(err, ProduceError::TimedOut { .. }));
    // Whichever it was, the sequence goes on.
    let patient = async { while producer.send(record("t", 0, "after".to_owned())).await.is_err() {} };
    tokio::time::timeout(PATIENCE, patient).await.unwrap();
    client.shutdown().await;
}

/// `transaction.version` 1: partitions are added by a request of their own, and epochs stay.
async fn transactions_of_older_clusters_work() {
    broker().run(&["features", "downgrade", "--feature", "transaction.version=1"]);
    let client = client();
    let topic = NewTopic::new("old").with_partitions(2);
    client.ensure_topic(&topic, Existing::MayDiffer).await.unwrap();
    let config = ProducerConfig {
        transactional_id: Some("old".into()),
        ..ProducerConfig::default()
    };
    let mut owner = TransactionalProducer::start(&client, config).await.unwrap();
    let mut end = 0;
    for round in 0..4 {
        let mut transaction = owner.begin().await.unwrap();
        transaction.send(record("old", 0, format!("{round} a"))).await.unwrap();
        transaction.send(record("old", 0, format!("{round} b"))).await.unwrap();
        transaction.send(record("old", 1, format!("{round} c"))).await.unwrap();
        if round % 2 == 0 {
            let written = transaction.commit().await.unwrap();
            assert_eq!(written.len(), 3);
            end = written[1].offset.unwrap() + 1;
        } else {
            transaction.abort().await.unwrap();
        }
    }
    let mut request = from("old", StartPosition::Earliest);
    request.settings = Arc::new(FetchSettings {
        isolation_level: IsolationLevel::ReadCommitted,
        ..FetchSettings::default()
    });
    let mut reader = pool(&client).open(request);
    let found = read_to(&mut reader, end).await;
    let found: Vec<_> = found.iter().map(|record| record.value.clone().unwrap()).collect();
    assert_eq!(found, ["0 a", "0 b", "2 a", "2 b"]);
    client.shutdown().await;
}
