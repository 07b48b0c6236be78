//! Records that were done out of order stay done: the commit says so beside the offset, and whoever reads on sends only
//! what is missing.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use klamm_dev::payload::each_of_confluent;
use klamm_dev::{Answer, FakeLambda, Gate};
use klamm_tests::account::{accepted, has_all, positions};
use klamm_tests::clients;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Produced, Producer};
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};
use support::{create, tasks_are};

const RECORDS: usize = 200;
const END: i64 = 200;
/// The record that holds the commit back.
const STUCK: i64 = 100;

/// What the group has committed for partition 0, as a client of its own sees it.
async fn committed(kafka: &Broker, group: &str, topic: &str) -> Value {
    let op = json!({"op": "committed", "group": group, "topic": topic, "partition": 0});
    clients::python(kafka.bootstrap(), &[op]).await.unwrap().remove(0)
}

/// Waits for a commit that the test likes.
async fn until_committed(kafka: &Broker, group: &str, topic: &str, is_wanted: impl Fn(i64, &str) -> bool) -> Value {
    wait::until("the commit", wait::LIMIT, || async {
        let found = committed(kafka, group, topic).await;
        let (offset, metadata) = (found["offset"].as_i64()?, found["metadata"].as_str()?);
        is_wanted(offset, metadata).then_some(found.clone())
    })
    .await
    .unwrap()
}

/// The bytes after the fingerprint of each of two routes with one range of less than 128 offsets.
fn routes(metadata: &str) -> Vec<[u8; 3]> {
    let text = metadata.strip_prefix("k1:").unwrap_or_default();
    let bytes = BASE64.decode(text).unwrap();
    let routes = bytes.get(28..).unwrap_or_default().chunks_exact(11);
    routes.map(|route| route[8..].try_into().unwrap()).collect()
}

/// `stuck` never answers for one record of the partition, until the gate opens; `free` takes all.
fn functions(lambda: &FakeLambda) -> Gate {
    let gate = Gate::new();
    let held = gate.clone();
    lambda.function("stuck").respond_with(move |call| {
        let mut is_held = false;
        each_of_confluent(&call.body, |record| is_held |= record.offset == STUCK).unwrap();
        let answer = Answer::success("null");
        if is_held { answer.held_by(&held) } else { answer }
    });
    lambda.function("free");
    gate
}

/// A worker that has delivered all but the stuck record.
async fn all_but_one(kafka: &Broker, lambda: &FakeLambda, name: &str) -> (Worker, Vec<Produced>) {
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic(name, 1).await.unwrap();
    let ids = 0..RECORDS as u64;
    let produced = producer.produce_json(name, 1, ids, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap())
        .property("offset.flush.interval.ms", "100")
        .start()
        .await
        .unwrap();
    let map = format!("{name};stuck,{name};free");
    let settings = [
        ("aws.lambda.configuration.mode", "multiple"),
        ("aws.lambda.topic2function.map", &map),
        ("delivery.ordering", "none"),
        ("delivery.batch.size", "1"),
        // An answer that never comes is no reason to call again.
        ("aws.lambda.socket.timeout", "300000"),
    ];
    create(&worker, name, &lambda_sink(lambda, name, &settings)).await;
    lambda
        .wait_for("all but the stuck record", |log| {
            accepted(log, "stuck", name).len() == RECORDS - 1 && has_all(log, "free", name, &produced)
        })
        .await
        .unwrap();
    (worker, produced)
}

#[tokio::test]
async fn after_a_kill_only_what_is_missing_is_sent() {
    let Some(kafka) = Broker::shared() else { return };
    let (topic, group) = ("resume", "connect-resume");
    let lambda = FakeLambda::start().await.unwrap();
    let gate = functions(&lambda);
    let (worker, produced) = all_but_one(kafka, &lambda, topic).await;
    // `stuck` has all but one record, `free` has all.
    until_committed(kafka, group, topic, |offset, metadata| {
        let ends = [[1, 1, 99], [1, 0, 100]];
        offset == STUCK && ends.iter().all(|end| routes(metadata).contains(end))
    })
    .await;
    let worker = worker.kill().await.unwrap();
    gate.open();
    let worker = worker.start().await.unwrap();
    until_committed(kafka, group, topic, |offset, metadata| {
        offset == END && metadata.is_empty()
    })
    .await;
    tasks_are(&worker, topic, &["RUNNING"]).await;
    worker.terminate().await.unwrap();
    lambda.with_log(|log| {
        for function in ["stuck", "free"] {
            let times = accepted(log, function, topic);
            assert_eq!(times.len(), positions(&produced).len(), "{function} lacks records");
            let again: Vec<_> = times
                .iter()
                .filter(|(position, times)| **times > 1 && (function == "free" || position.1 != STUCK))
                .collect();
            assert!(again.is_empty(), "{function} got records again: {again:?}");
        }
    });
}

#[tokio::test]
async fn a_broker_that_takes_no_text_still_gets_the_offsets() {
    let Some(kafka) = Broker::own(&["--set", "offset.metadata.max.bytes=8"]) else {
        return;
    };
    let (topic, group) = ("textless", "connect-textless");
    let lambda = FakeLambda::start().await.unwrap();
    let gate = functions(&lambda);
    let (worker, _) = all_but_one(&kafka, &lambda, topic).await;
    // There is much to say beside this offset.
    until_committed(&kafka, group, topic, |offset, metadata| {
        offset == STUCK && metadata.is_empty()
    })
    .await;
    gate.open();
    until_committed(&kafka, group, topic, |offset, _| offset == END).await;
    worker.terminate().await.unwrap();
}
