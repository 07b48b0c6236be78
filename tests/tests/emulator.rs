//! One round against a Lambda emulator that is not ours, with real Python handlers.
#![allow(clippy::unwrap_used, reason = "test code")]

use klamm_tests::kafka::Broker;
use klamm_tests::lambda_emulator::Emulator;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};

/// Appends the ids that it gets to the file it is told.
const COLLECT: &str = r#"
import json, os
def handler(event, context):
    with open(os.environ["OUT"], "a") as out:
        for record in event:
            out.write("%d\n" % record["payload"]["value"]["id"])
    return {"records": len(event)}
"#;

const FAIL: &str = r#"
def handler(event, context):
    raise ValueError("always")
"#;

fn connector(emulator: &Emulator, topic: &str, function: &str, invocation_type: &str) -> Value {
    json!({
        "connector.class": "AwsLambdaSink",
        "topics": topic,
        "aws.lambda.function.name": function,
        "aws.lambda.invocation.type": invocation_type,
        "aws.lambda.endpoint": emulator.endpoint(),
        "aws.lambda.region": "us-east-1",
        "aws.access.key.id": "test",
        "aws.secret.access.key": "test",
        "delivery.retry.backoff.ms": "10",
        "delivery.retry.max.attempts": "2",
    })
}

#[tokio::test]
async fn sync_async_function_error_and_missing_function() {
    let (Some(kafka), Some(emulator)) = (Broker::shared(), Emulator::shared()) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic("emulated", 2).await.unwrap();
    producer.produce_json("emulated", 2, 0..40, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    for how in ["sync", "async"] {
        let out = dir.path().join(how);
        let function = format!("collect-{how}");
        emulator
            .create(&function, COLLECT, &["--env", &format!("OUT={}", out.display())])
            .await
            .unwrap();
        let config = connector(emulator, "emulated", &function, how);
        worker
            .rest()
            .put(&format!("/connectors/{function}/config"), &config)
            .await
            .unwrap()
            .expect(201)
            .unwrap();
        wait::until(&format!("all records in {function}"), wait::LIMIT, || async {
            let mut ids: Vec<u64> = std::fs::read_to_string(&out)
                .ok()?
                .lines()
                .map(|line| line.parse().unwrap())
                .collect();
            ids.sort_unstable();
            (ids == (0..40).collect::<Vec<_>>()).then_some(())
        })
        .await
        .unwrap();
    }

    emulator.create("always-fails", FAIL, &[]).await.unwrap();
    let config = connector(emulator, "emulated", "always-fails", "sync");
    worker
        .rest()
        .put("/connectors/fails/config", &config)
        .await
        .unwrap()
        .expect(201)
        .unwrap();
    let trace = wait::until("the task to fail", wait::LIMIT, || async {
        let status = worker.rest().get("/connectors/fails/status").await.ok()?.json();
        status["tasks"][0]["trace"].as_str().map(str::to_owned)
    })
    .await
    .unwrap();
    assert!(trace.contains("always-fails") && trace.contains("emulated-"), "{trace}");

    let config = connector(emulator, "emulated", "nobody", "sync");
    worker
        .rest()
        .put("/connectors/missing/config", &config)
        .await
        .unwrap()
        .expect(201)
        .unwrap();
    wait::until("the log to name the missing function", wait::LIMIT, || async {
        let log = worker.log();
        (log.contains("function `nobody`") && log.contains("create the function")).then_some(())
    })
    .await
    .unwrap();
    worker.terminate().await.unwrap();
}
