//! Records that were done out of order stay done: the commit says so beside the offset, and whoever reads on sends only
//! what is missing.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use klamm_dev::payload::each_of_confluent;
use klamm_dev::{Answer, FakeLambda, Gate, Log};
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

/// The bytes after the fingerprint of each of two routes with one range below 256 offsets.
fn routes(metadata: &str) -> Vec<[u8; 4]> {
    let text = metadata.strip_prefix("k1:").unwrap_or_default();
    let bytes = BASE64.decode(text).unwrap();
    let routes = bytes.get(28..).unwrap_or_default().chunks_exact(12);
    routes.map(|route| route[8..].try_into().unwrap()).collect()
}

fn holds_first(body: &[u8]) -> bool {
    let mut holds = false;
    each_of_confluent(body, |record| holds |= record.offset == 0).unwrap();
    holds
}

/// `stuck` never answers for the first record of a partition, until the gate opens; `free` takes all.
fn functions(lambda: &FakeLambda) -> Gate {
    let gate = Gate::new();
    let held = gate.clone();
    lambda.function("stuck").respond_with(move |call| {
        let answer = Answer::success("null");
        if holds_first(&call.body) {
            answer.held_by(&held)
        } else {
            answer
        }
    });
    lambda.function("free");
    gate
}

fn is_all_but_one(log: &Log, topic: &str, produced: &[Produced]) -> bool {
    accepted(log, "stuck", topic).len() == RECORDS - 1 && has_all(log, "free", topic, produced)
}

fn settings(topic: &str) -> Vec<(&'static str, String)> {
    vec![
        ("aws.lambda.configuration.mode", "multiple".to_owned()),
        ("aws.lambda.topic2function.map", format!("{topic};stuck,{topic};free")),
        ("delivery.ordering", "none".to_owned()),
        ("delivery.batch.size", "1".to_owned()),
        // An answer that never comes is no reason to call again.
        ("aws.lambda.socket.timeout", "300000".to_owned()),
    ]
}

async fn produce(kafka: &Broker, topic: &str) -> Vec<Produced> {
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic(topic, 1).await.unwrap();
    producer
        .produce_json(topic, 1, 0..RECORDS as u64, CODECS[0])
        .await
        .unwrap()
}

#[tokio::test]
async fn after_a_kill_only_what_is_missing_is_sent() {
    let Some(kafka) = Broker::shared() else { return };
    let (topic, group) = ("resume", "connect-resume");
    let lambda = FakeLambda::start().await.unwrap();
    let gate = functions(&lambda);
    let produced = produce(kafka, topic).await;
    let worker = Worker::builder(kafka.bootstrap())
        .property("offset.flush.interval.ms", "100")
        .start()
        .await
        .unwrap();
    let settings = settings(topic);
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    create(&worker, "resume", &lambda_sink(&lambda, topic, &settings)).await;
    lambda
        .wait_for("all but the stuck record", |log| is_all_but_one(log, topic, &produced))
        .await
        .unwrap();
    // `stuck` has all but the first record, `free` has all.
    until_committed(kafka, group, topic, |offset, metadata| {
        let ends = [[1, 1, 199, 1], [1, 0, 200, 1]];
        offset == 0 && ends.iter().all(|end| routes(metadata).contains(end))
    })
    .await;
    let worker = worker.kill().await.unwrap();
    gate.open();
    let worker = worker.start().await.unwrap();
    until_committed(kafka, group, topic, |offset, metadata| {
        offset == END && metadata.is_empty()
    })
    .await;
    tasks_are(&worker, "resume", &["RUNNING"]).await;
    worker.terminate().await.unwrap();
    lambda.with_log(|log| {
        for function in ["stuck", "free"] {
            let times = accepted(log, function, topic);
            assert_eq!(times.len(), positions(&produced).len(), "{function} lacks records");
            let again: Vec<_> = times
                .iter()
                .filter(|(position, times)| **times > 1 && position.1 > 0)
                .collect();
            assert!(again.is_empty(), "{function} got records again: {again:?}");
        }
        assert_eq!(accepted(log, "free", topic).values().max(), Some(&1));
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
    let produced = produce(&kafka, topic).await;
    let worker = Worker::builder(kafka.bootstrap())
        .property("offset.flush.interval.ms", "100")
        .start()
        .await
        .unwrap();
    let settings = settings(topic);
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    create(&worker, "textless", &lambda_sink(&lambda, topic, &settings)).await;
    lambda
        .wait_for("all but the stuck record", |log| is_all_but_one(log, topic, &produced))
        .await
        .unwrap();
    until_committed(&kafka, group, topic, |offset, _| offset == 0).await;
    gate.open();
    until_committed(&kafka, group, topic, |offset, _| offset == END).await;
    worker.terminate().await.unwrap();
}
