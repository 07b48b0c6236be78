//! Avro records of a real Kafka, with their schemas in a scripted registry that is away for a while.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_dev::FakeLambda;
use klamm_tests::account::accepted;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::process::{Server, or_skip, testbed};
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::rest::Rest;
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};
use support::{create, tasks_are};

/// The golden case of a record with its schema in the registry.
fn case(id: &str) -> Value {
    let cases = std::fs::read_to_string(testbed().join("../golden/schema-registry/avro.jsonl")).unwrap();
    let mut cases = cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    cases.find(|case| case["id"] == id).unwrap()
}

#[tokio::test]
async fn a_registry_that_is_away_holds_a_partition_up_and_costs_no_record() {
    let Some(kafka) = Broker::shared() else { return };
    let schemas = testbed().join("../golden/schema-registry/avro.jsonl");
    let started = Server::registry_mock(&[schemas.to_str().unwrap()]);
    let Some(registry) = or_skip("the scripted registry", started) else {
        return;
    };
    let url = registry.value("SCHEMA_REGISTRY_URL").unwrap();
    let mock = Rest::new(url);
    let away = json!({"match": "/schemas/", "status": 503});
    mock.post("/_faults", &away).await.unwrap().expect(200).unwrap();

    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("avro-fn");
    producer.create_topic("avro-away", 1).await.unwrap();
    let value = |id: &str| Some(BASE64.decode(case(id)["base64"].as_str().unwrap()).unwrap());
    let records = vec![(None, value("avro-record")), (None, value("avro-all-primitives"))];
    producer.produce("avro-away", 0, records, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "avro-fn"),
        ("aws.lambda.batch.size", "1"),
        ("errors.tolerance", "all"),
        ("value.converter", "io.confluent.connect.avro.AvroConverter"),
        ("value.converter.schema.registry.url", url),
        ("value.converter.retries.wait.ms", "10"),
    ];
    create(&worker, "avro", &lambda_sink(&lambda, "avro-away", &settings)).await;
    let shown = wait::until("the status to say what is waited for", wait::LIMIT, || async {
        let status = worker.rest().get("/connectors/avro/status").await.ok()?.json();
        let task = &status["tasks"][0];
        let trace = task["trace"].as_str()?;
        (task["state"] == "RUNNING").then(|| trace.to_owned())
    });
    let trace = shown.await.unwrap();
    for wanted in [
        "partition avro-away-0 waits",
        "no record is skipped",
        url,
        "503",
        "schema id 100001",
    ] {
        assert!(trace.contains(wanted), "no {wanted} in: {trace}");
    }
    lambda.with_log(|log| assert!(accepted(log, "avro-fn", "avro-away").is_empty()));

    mock.delete("/_faults").await.unwrap().expect(200).unwrap();
    lambda
        .wait_for("both records", |log| accepted(log, "avro-fn", "avro-away").len() == 2)
        .await
        .unwrap();
    lambda.with_log(|log| {
        let bodies: Vec<String> = log
            .invocations_of("avro-fn")
            .map(|call| String::from_utf8_lossy(&call.body).into_owned())
            .collect();
        for (body, id) in bodies.iter().zip(["avro-record", "avro-all-primitives"]) {
            let case = case(id);
            let wanted = case["expect_json_text"].as_str().unwrap();
            assert!(body.contains(wanted), "no {wanted} in: {body}");
        }
    });
    let status = tasks_are(&worker, "avro", &["RUNNING"]).await;
    assert_eq!(
        status["tasks"][0]["trace"],
        Value::Null,
        "nothing is waited for any more: {status}"
    );
    worker.terminate().await.unwrap();
}
