//! Values too large for a call wait in S3, read by a client that is not ours, and functions get a reference.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use klamm_dev::{Answer, FakeLambda, Outcome};
use klamm_tests::clients::python;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::lambda_emulator::Emulator;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{committed, create, is_refused, tasks_are};

const TOPIC: &str = "claim-in";
/// Above what any call takes.
const LARGE: usize = 20_000_000;

fn value(id: u64, bytes: usize) -> Vec<u8> {
    json!({ "id": id, "text": "x".repeat(bytes) }).to_string().into_bytes()
}

/// Waits until the task's status says why it waits.
async fn trace_says(worker: &Worker, connector: &str, wanted: &[&str]) {
    let shown = wait::until("the status to say what is waited for", wait::LIMIT, || async {
        let path = format!("/connectors/{connector}/status");
        let status = worker.rest().get(&path).await.ok()?.json();
        let task = &status["tasks"][0];
        let trace = task["trace"].as_str()?;
        let is_told = task["state"] == "RUNNING" && wanted.iter().all(|part| trace.contains(part));
        is_told.then_some(())
    });
    shown
        .await
        .unwrap_or_else(|error| panic!("{wanted:?}: {error:#}\n{}", worker.log()));
}

#[tokio::test]
async fn a_record_of_any_size_arrives_by_its_reference_once_its_value_is_stored() {
    let (Some(kafka), Some(emulator)) = (Broker::shared(), Emulator::own()) else {
        return;
    };
    let lambda = FakeLambda::start().await.unwrap();
    let failures = AtomicUsize::new(0);
    // Fails on its first call with a reference: the record is stored and sent again.
    lambda.function("claim-fn").respond_with(move |invocation| {
        let has_reference = String::from_utf8_lossy(&invocation.body).contains("claimCheck");
        if has_reference && failures.fetch_add(1, Ordering::Relaxed) == 0 {
            Answer::function_error("ValueError", "not yet")
        } else {
            Answer::success("null")
        }
    });
    let config = json!({ "max.message.bytes": "40000000" });
    let create_topic = json!({ "op": "create", "topic": TOPIC, "config": config });
    python(kafka.bootstrap(), &[create_topic]).await.unwrap();
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let large = value(1, LARGE);
    for value in [Some(value(0, 10)), Some(large.clone()), Some(value(2, 10)), None] {
        let record = (Some(b"k".to_vec()), value);
        producer.produce(TOPIC, 0, vec![record], CODECS[0]).await.unwrap();
    }
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "claim-fn"),
        ("delivery.batch.size", "1"),
        ("claim.check.destination", "s3://klamm-claims/large"),
        ("claim.check.endpoint", emulator.endpoint()),
        ("claim.check.region", "us-east-1"),
    ];
    create(&worker, "claims", &lambda_sink(&lambda, TOPIC, &settings)).await;
    tasks_are(&worker, "claims", &["RUNNING"]).await;

    // Nothing is sent, skipped or failed while there is no bucket, and the status says what to do.
    let advice = "create it, or correct `claim.check.destination`";
    trace_says(&worker, "claims", &["claim-fn", "S3 bucket `klamm-claims`", advice]).await;
    committed(kafka, "connect-claims", TOPIC, "0", "1").await;
    let calls = lambda.with_log(|log| log.invocations_of("claim-fn").count());
    assert_eq!(calls, 1, "the record before it");
    emulator.make("bucket", "klamm-claims").await.unwrap();
    committed(kafka, "connect-claims", TOPIC, "0", "4").await;

    let value_of = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()[0]["payload"]["value"].clone();
    let values: Vec<Value> = lambda.with_log(|log| {
        let calls = log.invocations_of("claim-fn");
        let accepted = calls.filter(|call| call.outcome == Outcome::Accepted);
        accepted.map(|call| value_of(&call.body)).collect()
    });
    assert_eq!(values.len(), 4);
    assert_eq!(
        (&values[0]["id"], &values[2]["id"], &values[3]),
        (&json!(0), &json!(2), &Value::Null)
    );
    let sha256 = Sha256::digest(&large).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    let key = format!("large/claims/{TOPIC}/0/00000000000000000001-claim-fn-{}", &sha256[..16]);
    assert_eq!(
        values[1],
        json!({ "claimCheck": {
            "bucket": "klamm-claims", "key": key, "size": large.len(), "contentType": "application/json", "sha256": sha256,
        } })
    );
    let objects = emulator.objects("klamm-claims").await.unwrap();
    let [(name, content)] = objects.as_slice() else {
        panic!("{} objects", objects.len());
    };
    assert_eq!(*name, key, "stored again, it overwrote itself");
    assert!(content.as_bytes() == large, "the value as it was produced");
}

#[tokio::test]
async fn a_bucket_that_is_away_is_waited_for_and_wrong_settings_are_refused() {
    let (Some(kafka), Some(emulator)) = (Broker::shared(), Emulator::own()) else {
        return;
    };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("claim-away-fn");
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic("claim-away", 1).await.unwrap();
    emulator.make("bucket", "klamm-away").await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "claim-away-fn"),
        ("behavior.on.error", "fail"),
        ("event.format", "cloudevents"),
        ("claim.check.destination", "arn:aws:s3:::klamm-away"),
        ("claim.check.min.bytes", "10000"),
        ("claim.check.endpoint", emulator.endpoint()),
        ("claim.check.region", "us-east-1"),
    ];
    let mut config = lambda_sink(&lambda, "claim-away", &settings);
    let changed = |key: &str, value: Value| {
        let mut config = config.clone();
        config[key] = value;
        config
    };
    let queue = changed("claim.check.destination", json!("arn:aws:sqs:us-east-1:123456789012:q"));
    is_refused(&worker, &queue, "claim.check.destination", "it names no bucket").await;
    let alone = changed("claim.check.destination", json!(""));
    let mut alone = alone.as_object().unwrap().clone();
    alone.remove("claim.check.region");
    alone.remove("claim.check.endpoint");
    let alone = Value::Object(alone);
    is_refused(
        &worker,
        &alone,
        "claim.check.min.bytes",
        "no effect without `claim.check.destination`",
    )
    .await;

    // Nobody listens there.
    config["claim.check.endpoint"] = json!("http://127.0.0.1:1");
    create(&worker, "claims-away", &config).await;
    tasks_are(&worker, "claims-away", &["RUNNING"]).await;
    for bytes in [20_000, 10] {
        let record = (Some(b"k".to_vec()), Some(value(0, bytes)));
        producer
            .produce("claim-away", 0, vec![record], CODECS[0])
            .await
            .unwrap();
    }
    trace_says(&worker, "claims-away", &["cannot be reached", "S3 bucket `klamm-away`"]).await;
    let path = "/connectors/claims-away/config";
    config["claim.check.endpoint"] = json!(emulator.endpoint());
    worker.rest().put(path, &config).await.unwrap().expect(200).unwrap();
    committed(kafka, "connect-claims-away", "claim-away", "0", "2").await;
    let events: Vec<Value> = lambda.with_log(|log| {
        let calls = log.invocations_of("claim-away-fn");
        calls
            .flat_map(|call| serde_json::from_slice::<Vec<Value>>(&call.body).unwrap())
            .collect()
    });
    let [large, small] = events.as_slice() else {
        panic!("{events:#?}");
    };
    assert!(small["data"].is_object(), "{small}");
    let objects = emulator.objects("klamm-away").await.unwrap();
    let [(key, content)] = objects.as_slice() else {
        panic!("{} objects", objects.len());
    };
    assert_eq!(large["dataref"], json!(format!("s3://klamm-away/{key}")));
    assert_eq!(large["datarefsize"], json!(content.len()));
    assert_eq!(large.get("data"), None);
}
