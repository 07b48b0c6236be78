//! Connectors that reach Kafka their own way, and brokers that ask who is there.
#![allow(clippy::unwrap_used, reason = "test code")]

use klamm_dev::{Answer, FakeLambda};
use klamm_tests::account::has_all;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::worker::Worker;
use serde_json::{Map, Value, json};

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
