//! Dead letters go back to where they came from, byte for byte, once; read by clients that are not ours.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use klamm_dev::{Answer, FakeLambda};
use klamm_tests::clients::python;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};
use support::{b64, committed, create, filled, tasks_are};

const SETTINGS: [(&str, &str); 6] = [
    ("aws.lambda.batch.size", "10"),
    ("delivery.retry.max.attempts", "1"),
    ("behavior.on.error", "dlq"),
    ("errors.deadletterqueue.topic.replication.factor", "1"),
    ("errors.deadletterqueue.context.headers.enable", "true"),
    ("aws.lambda.function.name", "redrive-fn"),
];

/// A function that fails on records with `"bad"` until it is mended, and for ever on those with `"worse"`.
fn function(lambda: &FakeLambda) -> Arc<AtomicBool> {
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    lambda.function("redrive-fn").respond_with(move |invocation| {
        let body = String::from_utf8_lossy(&invocation.body);
        if body.contains("worse") || body.contains("bad") && !mended.load(Ordering::SeqCst) {
            Answer::function_error("ValueError", "no")
        } else {
            Answer::success("null")
        }
    });
    is_mended
}

async fn read(bootstrap: &str, topic: &str) -> Vec<Value> {
    python(bootstrap, &[json!({ "op": "read", "topic": topic })])
        .await
        .unwrap()
}

async fn begin(worker: &Worker, connector: &str, body: &Value, status: u16) -> Value {
    let path = format!("/connectors/{connector}/dead-letters/redrive");
    worker.rest().post(&path, body).await.unwrap().expect(status).unwrap()
}

/// Waits until the redrive has this state.
async fn ended(worker: &Worker, connector: &str, state: &str) -> Value {
    let path = format!("/connectors/{connector}/dead-letters/redrive");
    let reached = wait::until("the redrive to end", wait::LIMIT, || async {
        let status = worker.rest().get(&path).await.ok()?.json();
        (status["state"] != "RUNNING").then_some(status)
    });
    let status = reached.await.unwrap();
    assert_eq!(status["state"], state, "{status}\n{}", worker.log());
    status
}

#[tokio::test]
async fn letters_go_back_byte_for_byte_and_what_fails_again_stays() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    let is_mended = function(&lambda);
    let odd = json!([
        { "key": "h", "value": b64([0, 255, 10]) }, { "key": "h", "value": null },
        { "key": "__connect.errors.topic", "value": b64("elsewhere") },
    ]);
    let base = klamm_tests::produce::now().timestamp_millis() - 1_000_000;
    let records: Vec<Value> = (0..10_i64)
        .map(|n| {
            let value = match n {
                3 | 6 | 7 => format!("{{\"id\":{n},\"bad\":1}}"),
                8 => format!("{{\"id\":{n},\"worse\":1}}"),
                _ => format!("{{\"id\":{n}}}"),
            };
            let key = if n == 6 {
                Value::Null
            } else {
                json!(b64(format!("k{n}")))
            };
            let headers = if n == 7 { odd.clone() } else { json!([]) };
            json!({ "partition": n % 2, "key": key, "value": b64(value), "headers": headers, "timestamp": base + n })
        })
        .collect();
    let ops = [
        json!({ "op": "create", "topic": "redrive-in", "partitions": 2, "config": { "retention.ms": "-1" } }),
        json!({ "op": "produce", "topic": "redrive-in", "records": records }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let mut config = lambda_sink(&lambda, "redrive-in", &SETTINGS);
    config["errors.deadletterqueue.topic.name"] = "redrive-dlq".into();
    create(&worker, "redrive", &config).await;
    let letters = filled(kafka.bootstrap(), "redrive-dlq", 4).await;
    committed(kafka, "connect-redrive", "redrive-in", "0", "5").await;
    committed(kafka, "connect-redrive", "redrive-in", "1", "5").await;

    // What anybody may have written into the queue: another connector's letter, one that names a topic that is not read,
    // one that says nothing.
    let header = |key: &str, value: &str| json!({ "key": key, "value": b64(value) });
    let forged = |topic: &str, connector: &str| {
        json!([
            header("__connect.errors.topic", topic),
            header("__connect.errors.partition", "0"),
            header("__connect.errors.offset", "0"),
            header("__connect.errors.connector.name", connector),
        ])
    };
    let strangers: Vec<Value> = [
        forged("redrive-in", "other"),
        forged("redrive-dlq", "redrive"),
        json!([]),
    ]
    .into_iter()
    .map(|headers| json!({ "partition": 0, "key": null, "value": b64("{}"), "headers": headers, "timestamp": base }))
    .collect();
    let op = json!({ "op": "produce", "topic": "redrive-dlq", "records": strangers });
    python(kafka.bootstrap(), &[op]).await.unwrap();

    let list = worker
        .rest()
        .get("/connectors/redrive/dead-letters")
        .await
        .unwrap()
        .json();
    assert_eq!(
        (
            &list["topics"][0]["name"],
            &list["topics"][0]["records"],
            &list["topics"][0]["not_redriven"]
        ),
        (&json!("redrive-dlq"), &json!(7), &json!(7)),
        "{list}"
    );
    let peeked = worker
        .rest()
        .get("/connectors/redrive/dead-letters/records")
        .await
        .unwrap();
    let found: Vec<Value> = peeked.json().as_array().unwrap().clone();
    assert_eq!(found.len(), 6, "those of other connectors are not shown: {found:?}");
    let origins: Vec<&str> = found
        .iter()
        .take(4)
        .map(|letter| letter["origin"].as_str().unwrap())
        .collect();
    for wanted in ["redrive-in-1@1", "redrive-in-0@3", "redrive-in-1@3", "redrive-in-0@4"] {
        assert!(origins.contains(&wanted), "{wanted} among {origins:?}");
    }
    assert_eq!(found[0]["error"]["exception"], "ValueError");
    assert!(!peeked.text.contains("worse"), "no payload");

    let dry = begin(&worker, "redrive", &json!({ "dry_run": true }), 200).await;
    let skipped =
        json!({ "returned": 0, "of_other_connectors": 1, "of_other_topics": 1, "without_origin": 1, "refused": 0 });
    assert_eq!(
        (&dry["redriven"], &dry["skipped"], &dry["state"]),
        (&json!(4), &skipped, &json!("DONE"))
    );
    assert_eq!(
        read(kafka.bootstrap(), "redrive-in").await.len(),
        10,
        "a dry run writes nothing"
    );

    is_mended.store(true, Ordering::SeqCst);
    begin(&worker, "redrive", &json!({ "records_per_second": 1000 }), 202).await;
    let done = ended(&worker, "redrive", "DONE").await;
    assert_eq!(
        (&done["redriven"], &done["passed"], &done["skipped"]),
        (&json!(4), &json!(7), &skipped)
    );

    let source = read(kafka.bootstrap(), "redrive-in").await;
    assert_eq!(source.len(), 14);
    let is_new = |record: &&Value| record["offset"].as_i64().unwrap() >= 5;
    for written in source.iter().filter(is_new) {
        let original = source
            .iter()
            .find(|record| !is_new(record) && record["value"] == written["value"])
            .unwrap();
        for part in ["partition", "key", "value", "timestamp"] {
            assert_eq!(written[part], original[part], "{part} of {written}");
        }
        let (count, own) = written["headers"].as_array().unwrap().split_last().unwrap();
        assert_eq!(json!(own), original["headers"], "headers of {written}");
        assert_eq!(count, &header("__klamm.redrives", "1"));
    }

    // The three that are mended are delivered; the fourth comes back, and stays.
    committed(kafka, "connect-redrive", "redrive-in", "0", "7").await;
    committed(kafka, "connect-redrive", "redrive-in", "1", "7").await;
    let after = filled(kafka.bootstrap(), "redrive-dlq", letters.len() + strangers.len() + 1).await;
    assert_eq!(after.len(), 8);
    begin(&worker, "redrive", &json!({}), 202).await;
    let again = ended(&worker, "redrive", "DONE").await;
    assert_eq!(
        (&again["redriven"], &again["skipped"]["returned"]),
        (&json!(0), &json!(1)),
        "{again}"
    );
    assert_eq!(read(kafka.bootstrap(), "redrive-in").await.len(), 14);

    // What the worker tells of all this.
    let status = worker
        .rest()
        .get("/connectors/redrive/status?extensions=true")
        .await
        .unwrap()
        .json();
    let task = &status["extensions"]["tasks"][0];
    assert_eq!(
        (&task["lag"], &task["records"]["read"]),
        (&json!(0), &json!(14)),
        "{task}"
    );
    assert_eq!(
        (&task["last_error"]["class"], &task["last_error"]["origin"]),
        (&json!("ValueError"), &json!("redrive-in-0@6")),
        "{task}"
    );
    let route = &task["routes"][0];
    assert_eq!(
        route["records"],
        json!({ "delivered": 9, "skipped": 0, "dead_lettered": 5 }),
        "{route}"
    );
    let metrics = worker.rest().get("/metrics").await.unwrap().text;
    let series = "klamm_route_dead_lettered_records_total{connector=\"redrive\",task=\"0\",route=\"redrive-fn\",function=\"redrive-fn\"} 5";
    assert!(metrics.contains(series), "{metrics}");
    tasks_are(&worker, "redrive", &["RUNNING"]).await;
}

#[tokio::test]
async fn a_redrive_that_the_end_of_the_worker_cuts_short_goes_on_where_it_was() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    let is_mended = function(&lambda);
    // Recent ones: letters keep their timestamps, and topics their records only so long.
    let base = klamm_tests::produce::now().timestamp_millis() - 1_000;
    let record = |n: i64| {
        let value = b64(format!("{{\"id\":{n},\"bad\":1}}"));
        json!({ "partition": 0, "key": null, "value": value, "headers": [], "timestamp": base + n })
    };
    let records: Vec<Value> = (0..6).map(record).collect();
    let ops = [
        json!({ "op": "create", "topic": "resumed-in", "partitions": 1, "config": { "retention.ms": "-1" } }),
        json!({ "op": "produce", "topic": "resumed-in", "records": records }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let mut config = lambda_sink(&lambda, "resumed-in", &SETTINGS);
    config["errors.deadletterqueue.topic.name"] = "resumed-dlq".into();
    create(&worker, "resumed", &config).await;
    filled(kafka.bootstrap(), "resumed-dlq", 6).await;
    is_mended.store(true, Ordering::SeqCst);

    begin(&worker, "resumed", &json!({ "records_per_second": 1 }), 202).await;
    let busy = worker
        .rest()
        .post("/connectors/resumed/dead-letters/redrive", &json!({}))
        .await
        .unwrap();
    assert_eq!(busy.status, 409, "{}", busy.text);
    filled(kafka.bootstrap(), "resumed-in", 8).await;
    let stopped = worker.terminate().await.unwrap();
    let before = read(kafka.bootstrap(), "resumed-in").await.len();
    assert!((8..12).contains(&before), "it was cut short after {before}");

    let worker = stopped.start().await.unwrap();
    begin(&worker, "resumed", &json!({ "records_per_second": 1000 }), 202).await;
    ended(&worker, "resumed", "DONE").await;
    let values: Vec<String> = read(kafka.bootstrap(), "resumed-in")
        .await
        .iter()
        .map(|record| record["value"].to_string())
        .collect();
    assert_eq!(values.len(), 12, "each went back once");
    assert_eq!(values[..6], values[6..], "in their order");
}

#[tokio::test]
async fn a_letter_that_is_not_taken_back_holds_up_no_other() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    let is_mended = function(&lambda);
    let bootstrap = kafka.bootstrap();
    let base = klamm_tests::produce::now().timestamp_millis() - 1_000_000;
    let record = |n: i64| {
        let text = "x".repeat(if n == 1 { 5_000 } else { 10 });
        let value = format!("{{\"id\":{n},\"bad\":\"{text}\"}}");
        json!({ "partition": 0, "key": b64("k"), "value": b64(value), "headers": [], "timestamp": base + n })
    };
    let ops = [
        json!({ "op": "create", "topic": "back-in", "partitions": 1, "config": { "retention.ms": "-1" } }),
        json!({ "op": "produce", "topic": "back-in", "records": (0..3).map(record).collect::<Vec<_>>() }),
    ];
    python(bootstrap, &ops).await.unwrap();
    let worker = Worker::builder(bootstrap).start().await.unwrap();
    let mut config = lambda_sink(&lambda, "back-in", &SETTINGS);
    config.as_object_mut().unwrap().remove("topics");
    config["topics.regex"] = "back-in.*".into();
    config["errors.deadletterqueue.topic.name"] = "back-dlq".into();
    create(&worker, "back", &config).await;
    filled(bootstrap, "back-dlq", 3).await;
    committed(kafka, "connect-back", "back-in", "0", "3").await;
    // Of a topic that the connector would read, and that is gone.
    let header = |key: &str, value: &str| json!({ "key": key, "value": b64(value) });
    let headers = json!([
        header("__connect.errors.topic", "back-in-gone"),
        header("__connect.errors.partition", "0"),
        header("__connect.errors.offset", "0"),
        header("__connect.errors.connector.name", "back"),
    ]);
    let gone = json!({ "partition": 0, "key": null, "value": b64("{}"), "headers": headers, "timestamp": base });
    python(
        bootstrap,
        &[json!({ "op": "produce", "topic": "back-dlq", "records": [gone] })],
    )
    .await
    .unwrap();
    let smaller = [
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        "back-in",
        "--add-config",
        "max.message.bytes=1000",
    ];
    kafka.tool("configs", &smaller).await.unwrap();
    is_mended.store(true, Ordering::SeqCst);

    begin(&worker, "back", &json!({}), 202).await;
    let status = ended(&worker, "back", "DONE").await;
    assert_eq!(
        (&status["redriven"], &status["skipped"]["refused"]),
        (&json!(2), &json!(2)),
        "{status}"
    );
    let back = read(bootstrap, "back-in").await;
    assert_eq!(back.len(), 5, "two came back, each once");
    begin(&worker, "back", &json!({}), 202).await;
    let again = ended(&worker, "back", "DONE").await;
    assert_eq!(again["redriven"], 0, "what was passed is passed: {again}");
    worker.terminate().await.unwrap();
}
