//! Offsets and active topics over the REST API, on a real Kafka: what is set is what a connector reads next.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use klamm_dev::FakeLambda;
use klamm_tests::account::accepted;
use klamm_tests::clients;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer, now};
use klamm_tests::rest::Reply;
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use rskafka::record::Record;
use serde_json::{Value, json};
use support::{create, tasks_are};

const ALTERED: &str = "The offsets for this connector have been altered successfully";

fn entry(topic: &str, partition: i32, offset: &Value) -> Value {
    json!({"partition": {"kafka_topic": topic, "kafka_partition": partition}, "offset": offset})
}

fn at(offset: i64) -> Value {
    json!({ "kafka_offset": offset })
}

async fn patch(worker: &Worker, name: &str, entries: &[Value]) -> Reply {
    let body = json!({ "offsets": entries });
    let path = format!("/connectors/{name}/offsets");
    worker.rest().send(Method::PATCH, &path, Some(&body)).await.unwrap()
}

/// Partition and offset, as `GET` shows them.
async fn offsets(worker: &Worker, name: &str) -> BTreeMap<i64, i64> {
    let path = format!("/connectors/{name}/offsets");
    let body = worker.rest().get(&path).await.unwrap().expect(200).unwrap();
    let entries = body["offsets"].as_array().unwrap().iter();
    let pair = |entry: &Value| {
        let partition = entry["partition"]["kafka_partition"].as_i64().unwrap();
        (partition, entry["offset"]["kafka_offset"].as_i64().unwrap())
    };
    entries.map(pair).collect()
}

async fn until_offsets(worker: &Worker, name: &str, wanted: &[(i64, i64)]) {
    let wanted: BTreeMap<i64, i64> = wanted.iter().copied().collect();
    let what = format!("{name} to be at {wanted:?}");
    let reached = wait::until(&what, wait::LIMIT, || async {
        (offsets(worker, name).await == wanted).then_some(())
    });
    if let Err(error) = reached.await {
        panic!("{error:#}\n{}", worker.log());
    }
}

async fn put(worker: &Worker, name: &str, what: &str, status: u16) {
    let path = format!("/connectors/{name}/{what}");
    worker.rest().put(&path, &Value::Null).await.unwrap().expect(status).unwrap();
}

fn message(reply: &Reply, status: u16) -> String {
    reply.expect(status).unwrap()["message"].as_str().unwrap().to_owned()
}

/// A worker that commits soon.
async fn worker(kafka: &Broker) -> Worker {
    let builder = Worker::builder(kafka.bootstrap()).property("offset.flush.interval.ms", "100");
    builder.start().await.unwrap()
}

/// How often each record was accepted.
async fn deliveries(lambda: &FakeLambda, topic: &str, count: usize) -> BTreeMap<(i32, i64), usize> {
    lambda
        .wait_for("the deliveries", |log| {
            accepted(log, "f", topic).values().sum::<usize>() >= count
        })
        .await
        .unwrap();
    lambda.with_log(|log| accepted(log, "f", topic))
}

#[tokio::test]
async fn a_stopped_connector_goes_on_where_its_offsets_were_set() {
    let Some(kafka) = Broker::shared() else { return };
    let name = "rest-offsets";
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f");
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic(name, 2).await.unwrap();
    producer.produce_json(name, 2, 0..20, CODECS[0]).await.unwrap();
    let worker = worker(kafka).await;
    create(&worker, name, &lambda_sink(&lambda, name, &[("aws.lambda.function.name", "f")])).await;
    until_offsets(&worker, name, &[(0, 10), (1, 10)]).await;
    let topics = worker.rest().get(&format!("/connectors/{name}/topics")).await.unwrap();
    assert_eq!(topics.expect(200).unwrap(), json!({name: {"topics": [name]}}));
    put(&worker, name, "topics/reset", 202).await;

    let running = message(&patch(&worker, name, &[entry(name, 0, &at(5))]).await, 400);
    assert!(running.contains("must be in the STOPPED state"), "{running}");
    // Its task may still be leaving: the change waits for that.
    put(&worker, name, "stop", 204).await;
    let set = patch(&worker, name, &[entry(name, 0, &at(7)), entry(name, 1, &Value::Null)]).await;
    assert_eq!(message(&set, 200), ALTERED);
    assert_eq!(offsets(&worker, name).await, [(0, 7)].into());
    let op = json!({"op": "committed", "group": format!("connect-{name}"), "topic": name, "partition": 0});
    let committed = clients::python(kafka.bootstrap(), &[op]).await.unwrap().remove(0);
    assert_eq!((&committed["offset"], &committed["metadata"]), (&json!(7), &json!("")));

    let refused = [
        (entry("no-such-topic", 0, &at(1)), "topic no-such-topic does not exist"),
        (entry(name, 2, &at(1)), "there is no partition 2"),
        (entry(name, -1, &Value::Null), "there is no partition -1"),
        (entry(name, 0, &at(-1)), "offset -1 of topic rest-offsets is negative"),
    ];
    for (bad, wanted) in refused {
        let said = message(&patch(&worker, name, &[entry(name, 0, &at(9)), bad]).await, 400);
        assert!(said.contains(wanted), "{said}");
    }
    assert_eq!(offsets(&worker, name).await, [(0, 7)].into(), "one bad entry refuses all");

    put(&worker, name, "resume", 202).await;
    let times = deliveries(&lambda, name, 20 + 3 + 10).await;
    for ((partition, offset), times) in times {
        let wanted = if partition == 1 || offset >= 7 { 2 } else { 1 };
        assert_eq!(times, wanted, "{partition}@{offset}");
    }
    until_offsets(&worker, name, &[(0, 10), (1, 10)]).await;

    put(&worker, name, "stop", 204).await;
    let path = format!("/connectors/{name}/offsets");
    for _ in 0..2 {
        let reset = worker.rest().delete(&path).await.unwrap();
        assert!(message(&reset, 200).contains("reset successfully"));
    }
    assert!(offsets(&worker, name).await.is_empty());
    let forgotten = patch(&worker, name, &[entry(name, 0, &Value::Null)]).await;
    assert_eq!(message(&forgotten, 200), ALTERED, "there is no group any more");
}

#[tokio::test]
async fn offsets_are_set_by_time_and_told() {
    let Some(kafka) = Broker::shared() else { return };
    let name = "rest-offsets-time";
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f");
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic(name, 2).await.unwrap();
    let start = now();
    let record = |second: i64| Record {
        key: None,
        value: Some(b"{}".to_vec()),
        headers: BTreeMap::new(),
        timestamp: start - Duration::from_secs(60) + Duration::from_secs(u64::try_from(second).unwrap()),
    };
    let records = (0..10).map(record).collect();
    producer.produce_records(name, 0, records, CODECS[0]).await.unwrap();
    let worker = worker(kafka).await;
    let config = lambda_sink(&lambda, name, &[("aws.lambda.function.name", "f")]);
    create(&worker, name, &config).await;
    until_offsets(&worker, name, &[(0, 10)]).await;
    put(&worker, name, "stop", 204).await;
    let time = (start - Duration::from_secs(56)).timestamp_millis();
    let body = json!({"offsets": [{"partition": {"kafka_topic": name}, "timestamp": time}]});
    let path = format!("/connectors/{name}/offsets");
    let set = worker.rest().put(&path, &body).await.unwrap().expect(200).unwrap();
    let told = |partition: i32, offset: i64| json!({"partition": {"kafka_topic": name, "kafka_partition": partition}, "offset": {"kafka_offset": offset}});
    assert_eq!(set, json!({"offsets": [told(0, 4), told(1, 0)]}), "where nothing is so young, the end");
    assert_eq!(offsets(&worker, name).await, [(0, 4), (1, 0)].into());
    put(&worker, name, "resume", 202).await;
    let times = deliveries(&lambda, name, 16).await;
    let twice = |offset: i64| times[&(0, offset)] == 2;
    assert!((0..10).all(|offset| twice(offset) == (offset >= 4)), "{times:?}");
}

#[tokio::test]
async fn a_new_connector_begins_at_its_initial_offsets() {
    let Some(kafka) = Broker::shared() else { return };
    let name = "rest-offsets-initial";
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f");
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic(name, 1).await.unwrap();
    producer.produce_json(name, 1, 0..10, CODECS[0]).await.unwrap();
    let worker = worker(kafka).await;
    let config = lambda_sink(&lambda, name, &[("aws.lambda.function.name", "f")]);
    let body = |partition: i32| json!({"name": name, "config": config, "initial_offsets": [entry(name, partition, &at(6))]});
    let refused = worker.rest().post("/connectors", &body(3)).await.unwrap();
    assert!(message(&refused, 400).contains("there is no partition 3"));
    assert_eq!(worker.rest().get("/connectors").await.unwrap().json(), json!([]), "it was not created");
    let created = worker.rest().post("/connectors", &body(0)).await.unwrap();
    assert_eq!(created.expect(201).unwrap()["offsets_status"], ALTERED);
    until_offsets(&worker, name, &[(0, 10)]).await;
    let times = deliveries(&lambda, name, 4).await;
    assert_eq!(times, (6..10).map(|offset| ((0, offset), 1)).collect());
    let again = worker.rest().post("/connectors", &body(0)).await.unwrap();
    assert!(message(&again, 409).contains("already exists"));
}

#[tokio::test]
async fn a_change_waits_for_others_to_leave_the_group() {
    let Some(kafka) = Broker::shared() else { return };
    let name = "rest-offsets-shared";
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f");
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic(name, 2).await.unwrap();
    let (stopped, other) = (worker(kafka).await, worker(kafka).await);
    let config = lambda_sink(&lambda, name, &[("aws.lambda.function.name", "f")]);
    for worker in [&stopped, &other] {
        create(worker, name, &config).await;
        tasks_are(worker, name, &["RUNNING"]).await;
    }
    producer.produce_json(name, 2, 0..20, CODECS[0]).await.unwrap();
    until_offsets(&stopped, name, &[(0, 10), (1, 10)]).await;
    put(&stopped, name, "stop", 204).await;
    let change = async { patch(&stopped, name, &[entry(name, 0, &at(3))]).await };
    let mut change = std::pin::pin!(change);
    // The other worker is still a member after many looks.
    let early = tokio::time::timeout(Duration::from_secs(2), change.as_mut()).await;
    assert!(early.is_err(), "{early:?}");
    let (set, ended) = tokio::join!(change, other.terminate());
    ended.unwrap();
    assert_eq!(message(&set, 200), ALTERED);
    assert_eq!(offsets(&stopped, name).await, [(0, 3), (1, 10)].into());
}
