//! Records of a real Kafka, with their schemas in a scripted registry that is away for a while, or refuses; and records of
//! Confluent's own serializers.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_dev::FakeLambda;
use klamm_tests::account::accepted;
use klamm_tests::clients::serialized;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::process::{Server, or_skip, testbed};
use klamm_tests::produce::{CODECS, Producer, now};
use klamm_tests::rest::Rest;
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use rskafka::record::Record;
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

/// With their schema's id in front, and with its GUID in a header.
#[tokio::test]
async fn what_confluents_own_serializers_write_is_read() {
    let Some(kafka) = Broker::shared() else { return };
    let Some(registry) = or_skip("the scripted registry", Server::registry_mock(&[])) else {
        return;
    };
    let url = registry.value("SCHEMA_REGISTRY_URL").unwrap();
    let written = serialized(url).await.unwrap();
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let avro = |by: &str| {
        format!(
            r#"{{"id":7,"name":"é","price":"BOI=","at":1714558830123,"note":null,"by":{by},"counts":{{"k":1}},"key":"00000000-0000-0000-0000-000000000007"}}"#
        )
    };
    let one_of = "io.confluent.connect.json.OneOf.field";
    let json = format!(r#"{{"id":7,"name":"é","by":{{"{one_of}.0":null,"{one_of}.1":9}},"tags":["a"]}}"#);
    let protobuf = r#"{"by_0":{"card":null,"voucher":9},"id":7,"name":"é","numbers":[-1,1]}"#.to_owned();
    let cases = [
        (
            "avro",
            "io.confluent.connect.avro.AvroConverter",
            [
                avro(r#"{"Card":{"number":"4"},"int":null}"#),
                avro(r#"{"Card":null,"int":5}"#),
            ],
        ),
        (
            "json",
            "io.confluent.connect.json.JsonSchemaConverter",
            [json.clone(), json],
        ),
        (
            "protobuf",
            "io.confluent.connect.protobuf.ProtobufConverter",
            [protobuf.clone(), protobuf],
        ),
    ];
    let bytes = |text: &Value| BASE64.decode(text.as_str().unwrap()).unwrap();
    for (format, class, wanted) in cases {
        let topic = format!("serialized-{format}");
        lambda.function(&topic);
        producer.create_topic(&topic, 1).await.unwrap();
        let records: Vec<Record> = written
            .iter()
            .filter(|record| record["topic"] == format)
            .map(|record| Record {
                key: None,
                value: Some(bytes(&record["value"])),
                headers: record["headers"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|header| (header[0].as_str().unwrap().to_owned(), bytes(&header[1])))
                    .collect(),
                timestamp: now(),
            })
            .collect();
        assert!(records.len() == 2 && records[0].headers.is_empty() && records[1].headers.len() == 1);
        producer.produce_records(&topic, 0, records, CODECS[0]).await.unwrap();
        let settings = [
            ("aws.lambda.function.name", topic.as_str()),
            ("aws.lambda.batch.size", "1"),
            ("value.converter", class),
            ("value.converter.schema.registry.url", url),
        ];
        create(&worker, &topic, &lambda_sink(&lambda, &topic, &settings)).await;
        lambda
            .wait_for("both records", |log| accepted(log, &topic, &topic).len() == 2)
            .await
            .unwrap();
        lambda.with_log(|log| {
            for (call, wanted) in log.invocations_of(&topic).zip(&wanted) {
                let body = String::from_utf8_lossy(&call.body);
                assert!(body.contains(wanted), "no {wanted} in: {body}");
            }
        });
    }
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn refused_credentials_fail_the_task_with_who_asked_where_and_the_answer() {
    let Some(kafka) = Broker::shared() else { return };
    let schemas = testbed().join("../golden/schema-registry/avro.jsonl");
    let started = Server::registry_mock(&["--basic", "key:right", schemas.to_str().unwrap()]);
    let Some(registry) = or_skip("the scripted registry", started) else {
        return;
    };
    let url = registry.value("SCHEMA_REGISTRY_URL").unwrap();
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("refused-fn");
    producer.create_topic("avro-refused", 1).await.unwrap();
    let value = BASE64.decode(case("avro-record")["base64"].as_str().unwrap()).unwrap();
    let records = vec![(None, Some(value))];
    producer.produce("avro-refused", 0, records, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "refused-fn"),
        ("value.converter", "io.confluent.connect.avro.AvroConverter"),
        ("value.converter.schema.registry.url", url),
        ("value.converter.basic.auth.credentials.source", "USER_INFO"),
        ("value.converter.basic.auth.user.info", "key:sesame"),
    ];
    create(&worker, "refused", &lambda_sink(&lambda, "avro-refused", &settings)).await;
    let status = tasks_are(&worker, "refused", &["FAILED"]).await;
    let trace = status["tasks"][0]["trace"].as_str().unwrap();
    for wanted in [
        "avro-refused-0@0",
        url,
        "answered 401",
        "with basic authentication as `key`",
        "Unauthorized (error code 401)",
        "Check `basic.auth.user.info`",
    ] {
        assert!(trace.contains(wanted), "no {wanted} in: {trace}");
    }
    assert!(!trace.contains("sesame"), "{trace}");
    lambda.with_log(|log| assert!(accepted(log, "refused-fn", "avro-refused").is_empty()));
    worker.terminate().await.unwrap();
}
