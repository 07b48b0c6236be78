//! Connectors that reach Kafka their own way, and brokers that ask who is there.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use klamm_dev::{Answer, FakeLambda};
use klamm_tests::account::has_all;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Map, Value, json};
use support::create;

/// The connector's own client settings for a listener of the broker.
fn with_overrides(mut config: Value, prefix: &str, settings: &[(&str, &str)]) -> Value {
    let config_map: &mut Map<String, Value> = config.as_object_mut().unwrap();
    for (key, value) in settings {
        config_map.insert(format!("{prefix}{key}"), json!(value));
    }
    config
}

#[tokio::test]
async fn a_connector_reads_another_cluster_than_its_worker_and_leaves_its_group_there_after_a_kill() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f").respond(Answer::success("null"));
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic("elsewhere", 2).await.unwrap();
    let mut produced = producer.produce_json("elsewhere", 2, 0..100, CODECS[0]).await.unwrap();
    // Nobody listens where the worker itself would go.
    let worker = Worker::builder("127.0.0.1:1").start().await.unwrap();
    let config = lambda_sink(&lambda, "elsewhere", &[("aws.lambda.function.name", "f")]);
    let config = with_overrides(
        config,
        "consumer.override.",
        &[("bootstrap.servers", kafka.bootstrap())],
    );
    let created = worker
        .rest()
        .put("/connectors/elsewhere/config", &config)
        .await
        .unwrap();
    created.expect(201).unwrap();
    lambda
        .wait_for("the first records", |log| has_all(log, "f", "elsewhere", &produced))
        .await
        .unwrap();

    let worker = worker.kill().await.unwrap().start().await.unwrap();
    produced.extend(
        producer
            .produce_json("elsewhere", 2, 1_000..1_100, CODECS[0])
            .await
            .unwrap(),
    );
    lambda
        .wait_for("the records after the kill", |log| {
            has_all(log, "f", "elsewhere", &produced)
        })
        .await
        .unwrap();
    let log = worker.log();
    assert!(log.contains("a member of the last run left its group"), "{log}");
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn the_worker_decides_which_client_settings_are_the_connectors() {
    let lambda = FakeLambda::start().await.unwrap();
    let worker = Worker::builder("127.0.0.1:1")
        .property("connector.client.config.override.policy", "Principal")
        .start()
        .await
        .unwrap();
    let config = lambda_sink(&lambda, "t", &[("aws.lambda.function.name", "f")]);
    let config = with_overrides(config, "consumer.override.", &[("bootstrap.servers", "b:1")]);
    let refused = worker.rest().put("/connectors/c/config", &config).await.unwrap();
    let message = refused.expect(400).unwrap()["message"].to_string();
    assert!(
        message.contains("The 'Principal' policy does not allow 'bootstrap.servers' to be overridden"),
        "{message}"
    );
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_secured_worker_delivers_and_so_does_a_connector_that_is_somebody_else() {
    let Some(kafka) = Broker::own(&["--auth"]) else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("f").respond(Answer::success("null"));
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let mut produced = Vec::new();
    for topic in ["open", "of-bob"] {
        producer.create_topic(topic, 2).await.unwrap();
        produced.push(producer.produce_json(topic, 2, 0..100, CODECS[0]).await.unwrap());
    }
    // From here on alice may not read this one; topics without an ACL are open to all.
    let acl = [
        "--add",
        "--allow-principal",
        "User:bob",
        "--operation",
        "Read",
        "--topic",
        "of-bob",
    ];
    kafka.tool("acls", &acl).await.unwrap();

    let server = kafka.server();
    let worker = Worker::builder(server.value("KAFKA_BOOTSTRAP_SASLSSL").unwrap());
    let secured = [
        ("security.protocol", "SASL_SSL"),
        ("ssl.truststore.type", "PEM"),
        (
            "ssl.truststore.location",
            &format!("{}/ca.crt", server.value("KAFKA_CERTS").unwrap()),
        ),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" \
             password=\"alice-secret\";",
        ),
    ];
    let worker = secured
        .into_iter()
        .fold(worker, |worker, (key, value)| worker.property(key, value));
    let worker = worker.start().await.unwrap();
    let function = [("aws.lambda.function.name", "f")];
    let bob = [
        ("sasl.mechanism", "PLAIN"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"bob\" \
             password=\"p@ss\\\"w=rd,; x\";",
        ),
    ];
    create(&worker, "alice", &lambda_sink(&lambda, "open", &function)).await;
    let of_bob = with_overrides(lambda_sink(&lambda, "of-bob", &function), "consumer.override.", &bob);
    create(&worker, "bob", &of_bob).await;
    lambda
        .wait_for("the records of both", |log| {
            has_all(log, "f", "open", &produced[0]) && has_all(log, "f", "of-bob", &produced[1])
        })
        .await
        .unwrap();

    // The password of a login that is refused is changed at the broker: nobody has to restart anything.
    let admin = [
        ("sasl.mechanism", "SCRAM-SHA-256"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"admin\" \
             password=\"new-secret\";",
        ),
    ];
    let late = with_overrides(lambda_sink(&lambda, "late", &function), "consumer.override.", &admin);
    producer.create_topic("late", 1).await.unwrap();
    let late_records = producer.produce_json("late", 1, 0..10, CODECS[0]).await.unwrap();
    create(&worker, "late", &late).await;
    // It waits, and says why: a password may be put right at the broker.
    let told = "waiting for Kafka: login to Kafka at ";
    let trace = wait::until("the status to say why", wait::LIMIT, || async {
        let status = worker.rest().get("/connectors/late/status").await.ok()?.json();
        let task = &status["tasks"][0];
        let trace = task["trace"].as_str()?.to_owned();
        (task["state"] == "RUNNING" && trace.starts_with(told)).then_some(trace)
    })
    .await
    .unwrap();
    assert!(trace.contains("as `admin` failed (SASL_SSL, SCRAM-SHA-256)"), "{trace}");
    let user = ["--alter", "--entity-type", "users", "--entity-name", "admin"];
    let password = ["--add-config", "SCRAM-SHA-256=[password=new-secret]"];
    kafka.tool("configs", &[&user[..], &password].concat()).await.unwrap();
    lambda
        .wait_for("the late records", |log| has_all(log, "f", "late", &late_records))
        .await
        .unwrap();
    wait::until("nothing more to say", wait::LIMIT, || async {
        let status = worker.rest().get("/connectors/late/status").await.ok()?.json();
        status["tasks"][0]["trace"].is_null().then_some(())
    })
    .await
    .unwrap();

    let log = worker.log();
    assert!(!log.contains("-secret") && !log.contains("p@ss"), "{log}");
    worker.terminate().await.unwrap();
}
