//! Failed records arrive in SQS, SNS and S3, read by a client that is not ours; nothing is lost while these are away.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use klamm_dev::{Answer, FakeLambda};
use klamm_tests::account::accepted;
use klamm_tests::clients::python;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::lambda_emulator::Emulator;
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};
use support::{b64, committed, create, tasks_are};

fn record(partition: i32, value: &str) -> Value {
    json!({ "partition": partition, "key": b64("k"), "value": b64(value), "headers": [{ "key": "h", "value": b64("x") }] })
}

/// A function that refuses poison.
fn poisoned(lambda: &FakeLambda, function: &str) {
    lambda.function(function).respond_with(|invocation| {
        if String::from_utf8_lossy(&invocation.body).contains("\"poison\":true") {
            Answer::function_error("ValueError", "secret answer")
        } else {
            Answer::success("null")
        }
    });
}

/// What a destination holds; messages are taken out.
async fn documents(emulator: &Emulator, kind: &str, name: &str) -> Vec<Value> {
    let texts = if kind == "bucket" {
        let objects = emulator.objects(name).await.unwrap();
        objects.into_iter().map(|(_, text)| text).collect()
    } else {
        emulator.messages(name).await.unwrap()
    };
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

async fn a_destination_that_is_away_holds_its_partition(kind: &str) {
    let (Some(kafka), Some(emulator)) = (Broker::shared(), Emulator::own()) else {
        return;
    };
    let lambda = FakeLambda::start().await.unwrap();
    let (function, topic, connector) = (format!("{kind}-fn"), format!("{kind}-in"), format!("to-{kind}"));
    let group = format!("connect-{connector}");
    poisoned(&lambda, &function);
    let arn = emulator.make(kind, "klamm-failed").await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", &*function),
        ("delivery.retry.max.attempts", "2"),
        ("behavior.on.error", "dlq"),
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.destination", &arn),
        ("errors.deadletterqueue.destination.endpoint", emulator.endpoint()),
        // An ARN of a bucket does not tell it.
        ("errors.deadletterqueue.destination.region", "us-east-1"),
    ];
    let create_topic = json!({ "op": "create", "topic": topic, "partitions": 2 });
    python(kafka.bootstrap(), &[create_topic]).await.unwrap();
    create(&worker, &connector, &lambda_sink(&lambda, &topic, &settings)).await;
    tasks_are(&worker, &connector, &["RUNNING"]).await;

    emulator.pause().await.unwrap();
    let mut records = vec![
        record(0, "{\"id\":0}"),
        record(0, "{\"poison\":true}"),
        record(0, "{broken"),
    ];
    records.extend((3..20).map(|n| record(0, &format!("{{\"id\":{n}}}"))));
    records.extend((0..20).map(|n| record(1, &format!("{{\"id\":{n}}}"))));
    let produce = json!({ "op": "produce", "topic": topic, "records": records });
    python(kafka.bootstrap(), &[produce]).await.unwrap();
    let shown = wait::until("the status to say what is waited for", wait::LIMIT, || async {
        let path = format!("/connectors/{connector}/status");
        let status = worker.rest().get(&path).await.ok()?.json();
        let task = &status["tasks"][0];
        (task["state"] == "RUNNING").then(|| task["trace"].as_str().map(str::to_owned))?
    });
    let trace = shown
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", worker.log()));
    assert!(
        trace.contains("klamm-failed") && trace.contains("none is skipped"),
        "{trace}"
    );
    // Acknowledged first, committed then; other partitions go on.
    committed(kafka, &group, &topic, "0", "1").await;
    committed(kafka, &group, &topic, "1", "20").await;

    emulator.resume().await.unwrap();
    committed(kafka, &group, &topic, "0", "20").await;
    let mut found = documents(&emulator, kind, "klamm-failed").await;
    let part = format!("{topic}-0");
    let offset = |document: &Value| {
        let info = &document["KafkaBatchInfo"]["recordsInfo"][&part];
        info["firstRecordOffset"].as_str().unwrap().parse::<i64>().unwrap()
    };
    found.sort_by_key(offset);
    // A request that was out while nothing answered may have been sent again.
    found.dedup_by_key(|document| offset(document));
    let [poison, broken] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((offset(poison), offset(broken)), (1, 2));
    assert_eq!(poison["requestContext"]["condition"], "RetryAttemptsExhausted");
    assert_eq!(poison["requestContext"]["functionArn"], function);
    assert_eq!(poison["responseContext"]["functionError"], "Unhandled");
    assert_eq!(poison["errorContext"]["class"], "ValueError");
    assert_eq!(broken["requestContext"]["condition"], "DESERIALIZATION_ERROR");
    assert_eq!(broken["errorContext"]["stage"], "VALUE_CONVERTER");
    if kind == "bucket" {
        let event: Value = serde_json::from_str(broken["payload"].as_str().unwrap()).unwrap();
        let original = &event["records"][&part][0];
        assert_eq!(
            (&original["key"], &original["value"]),
            (&json!(b64("k")), &json!(b64("{broken")))
        );
        assert_eq!(original["headers"], json!([{ "h": [120] }]));
    } else {
        assert_eq!(poison["payload"], Value::Null, "metadata only");
    }
    lambda.with_log(|log| {
        let times = accepted(log, &function, &topic);
        assert_eq!(times.len(), 38, "every good record is delivered");
    });
    wait::until("the status to be clear", wait::LIMIT, || async {
        let path = format!("/connectors/{connector}/status");
        let status = worker.rest().get(&path).await.ok()?.json();
        (status["tasks"][0]["trace"] == Value::Null).then_some(())
    })
    .await
    .unwrap();
    let log = worker.terminate().await.unwrap().log();
    assert!(!log.contains("secret answer"), "a function's answer reached the log");
}

#[tokio::test]
async fn a_queue_that_is_away_holds_its_partition_and_loses_nothing() {
    a_destination_that_is_away_holds_its_partition("queue").await;
}

#[tokio::test]
async fn a_topic_that_is_away_holds_its_partition_and_loses_nothing() {
    a_destination_that_is_away_holds_its_partition("topic").await;
}

#[tokio::test]
async fn a_bucket_that_is_away_holds_its_partition_and_loses_nothing() {
    a_destination_that_is_away_holds_its_partition("bucket").await;
}

#[tokio::test]
async fn a_large_record_is_whole_in_a_bucket_and_left_out_of_a_message() {
    let (Some(kafka), Some(emulator)) = (Broker::shared(), Emulator::shared()) else {
        return;
    };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("large-fn");
    let value = format!("{{broken {}", "x".repeat(900_000));
    let ops = [
        json!({ "op": "create", "topic": "large-in" }),
        json!({ "op": "produce", "topic": "large-in", "records": [{ "value": b64(&value) }, { "value": b64("{broken") }] }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    for kind in ["queue", "bucket"] {
        let name = format!("large-{kind}");
        let arn = emulator.make(kind, &name).await.unwrap();
        let settings = [
            ("aws.lambda.function.name", "large-fn"),
            ("errors.tolerance", "all"),
            ("errors.deadletterqueue.destination", &*arn),
            ("errors.deadletterqueue.destination.endpoint", emulator.endpoint()),
            ("errors.deadletterqueue.destination.region", "us-east-1"),
            ("errors.deadletterqueue.destination.payload.enable", "true"),
        ];
        create(&worker, &name, &lambda_sink(&lambda, "large-in", &settings)).await;
        committed(kafka, &format!("connect-{name}"), "large-in", "0", "2").await;
        let mut found = documents(emulator, kind, &name).await;
        found.sort_by_key(|document| document["KafkaBatchInfo"]["payloadSize"].as_u64());
        let [small, large] = found.as_slice() else {
            panic!("{} documents", found.len());
        };
        assert!(small["payload"].is_string(), "{kind}: it fits");
        assert!(large["KafkaBatchInfo"]["payloadSize"].as_u64().unwrap() > 1_200_000);
        match large["payload"].as_str() {
            None => assert_eq!(kind, "queue", "longer than a message"),
            Some(payload) => {
                assert_eq!(kind, "bucket");
                assert!(payload.contains(&b64(&value)), "the whole record");
            }
        }
    }
    worker.terminate().await.unwrap();
}

/// Answers every request as AWS does without a permission.
fn forbidding() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok();
            let error = r#"{"__type":"com.amazonaws.sqs#AccessDenied","message":"User: u is not authorized to perform: sqs:sendmessage"}"#;
            let head = format!(
                "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                error.len()
            );
            reader.get_mut().write_all(format!("{head}{error}").as_bytes()).ok();
        }
    });
    endpoint
}

#[tokio::test]
async fn what_a_destination_refuses_fails_the_task_and_says_what_to_change() {
    let (Some(kafka), Some(emulator)) = (Broker::shared(), Emulator::shared()) else {
        return;
    };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("denied-fn");
    let ops = [
        json!({ "op": "create", "topic": "denied-in" }),
        json!({ "op": "produce", "topic": "denied-in", "records": [{ "value": b64("{\"id\":0}") }, { "value": b64("{broken") }] }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let forbidding = forbidding();
    let cases = [
        // connector, endpoint, destination, texts
        (
            "denied",
            &*forbidding,
            "arn:aws:sqs:us-east-1:000000000000:locked",
            [
                "SQS queue `locked` in us-east-1",
                "not authorized",
                "grant `sqs:SendMessage`",
            ],
        ),
        (
            "missing-queue",
            emulator.endpoint(),
            "arn:aws:sqs:us-east-1:000000000000:nowhere",
            ["SQS queue `nowhere`", "create it", "errors.deadletterqueue.destination"],
        ),
        (
            "missing-bucket",
            emulator.endpoint(),
            "s3://klamm-nowhere/x",
            ["S3 bucket `klamm-nowhere` in us-east-1", "NoSuchBucket", "create it"],
        ),
    ];
    for (connector, endpoint, destination, wanted) in cases {
        let settings = [
            ("aws.lambda.function.name", "denied-fn"),
            ("errors.tolerance", "all"),
            ("errors.deadletterqueue.destination", destination),
            ("errors.deadletterqueue.destination.endpoint", endpoint),
            ("errors.deadletterqueue.destination.region", "us-east-1"),
        ];
        create(&worker, connector, &lambda_sink(&lambda, "denied-in", &settings)).await;
        let status = tasks_are(&worker, connector, &["FAILED"]).await;
        let trace = status["tasks"][0]["trace"].as_str().unwrap();
        for wanted in wanted.iter().chain(&["denied-in-0@1"]) {
            assert!(trace.contains(wanted), "no {wanted} in: {trace}");
        }
        committed(kafka, &format!("connect-{connector}"), "denied-in", "0", "1").await;
    }
    worker.terminate().await.unwrap();
}
