//! What a large backlog and aborted transactions do to a worker: nothing.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use klamm_dev::{Answer, FakeLambda, Recording};
use klamm_tests::account::accepted;
use klamm_tests::clients::python;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::json;
use support::create;

const BACKLOG: usize = 200_000;
const PARTITIONS: i32 = 4;
/// A backlog of 200 MB that was read as it comes would take more than this.
const MOST_RESIDENT: u64 = 128 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_slow_functions_stays_in_kafka_and_a_stop_ends_in_time() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic("backlog", PARTITIONS).await.unwrap();
    let value = json!({ "text": "x".repeat(1_000) }).to_string().into_bytes();
    for partition in 0..PARTITIONS {
        let records = vec![(None, Some(value.clone())); BACKLOG / 4];
        producer
            .produce("backlog", partition, records, CODECS[2])
            .await
            .unwrap();
    }
    let lambda = FakeLambda::builder()
        .recording(Recording::CountOnly)
        .start()
        .await
        .unwrap();
    lambda
        .function("slow")
        .respond_with(|_| Answer::success("null").after(Duration::from_secs(2)));

    let worker = Worker::builder(kafka.bootstrap())
        .property("worker.buffer.bytes", "16777216")
        .property("task.shutdown.graceful.timeout.ms", "10000")
        .start()
        .await
        .unwrap();
    let settings = [
        ("aws.lambda.function.name", "slow"),
        ("delivery.ordering", "none"),
        ("delivery.max.in.flight", "16"),
    ];
    create(&worker, "backlog", &lambda_sink(&lambda, "backlog", &settings)).await;
    let mut resident = 0;
    wait::until("a hundred calls", wait::LIMIT, || {
        resident = worker.resident_bytes().unwrap().max(resident);
        let is_reached = lambda.with_log(|log| log.total().accepted >= 100);
        async move { is_reached.then_some(()) }
    })
    .await
    .unwrap();
    assert!(resident <= MOST_RESIDENT, "{resident} bytes resident");
    assert_eq!(lambda.with_log(|log| log.total().peak_in_flight), 16);
    // Whatever was called is waited for.
    let settings = worker.terminate().await.unwrap();
    let total = lambda.with_log(|log| log.total());
    assert_eq!((total.failed, total.in_flight), (0, 0), "{}", settings.log());
}

#[tokio::test]
async fn of_aborted_transactions_nothing_is_delivered() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("committed-only");
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic("transactions", 1).await.unwrap();
    let transaction = |id: &str, end: &str, count: usize| {
        let records = vec![json!({"key": null, "value": "eyJhIjoxfQ==", "headers": []}); count];
        json!({
            "op": "produce", "topic": "transactions", "partition": 0, "transaction": end,
            "config": {"transactional.id": id}, "records": records,
        })
    };
    let ops = [
        transaction("one", "commit", 10),
        transaction("two", "abort", 300),
        transaction("one", "commit", 20),
        transaction("two", "abort", 5),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "committed-only"),
        ("consumer.override.isolation.level", "read_committed"),
    ];
    create(
        &worker,
        "transactions",
        &lambda_sink(&lambda, "transactions", &settings),
    )
    .await;
    // Past the markers and the aborted records at the end: lag reaches 0.
    let end = 10 + 1 + 300 + 1 + 20 + 1 + 5 + 1;
    wait::until("the commit", wait::LIMIT, || async {
        let op = json!({"op": "committed", "group": "connect-transactions", "topic": "transactions", "partition": 0});
        let committed = python(kafka.bootstrap(), &[op]).await.ok()?;
        (committed[0]["offset"] == end).then_some(())
    })
    .await
    .unwrap();
    let offsets: BTreeSet<i64> = lambda.with_log(|log| {
        accepted(log, "committed-only", "transactions")
            .keys()
            .map(|(_, offset)| *offset)
            .collect()
    });
    let wanted: BTreeSet<i64> = (0..10).chain(312..332).collect();
    assert_eq!(offsets, wanted);
}
