//! Routes of the Lambda sink in a running worker: conditions, functions by topic, shadows, and the preflight.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use klamm_dev::payload::each_of_confluent;
use klamm_dev::{Answer, Exception, FakeLambda, Log, Outcome};
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use support::{create, tasks_are};

/// Offsets of the records that a function accepted, in order.
fn offsets(log: &Log, function: &str) -> Vec<i64> {
    let mut offsets = Vec::new();
    for call in log.invocations_of(function) {
        if call.outcome == Outcome::Accepted {
            each_of_confluent(&call.body, |record| offsets.push(record.offset)).unwrap();
        }
    }
    offsets.sort_unstable();
    offsets
}

#[tokio::test]
async fn conditions_share_a_topic_and_shadows_and_filtered_records_hold_no_offsets() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    for function in ["routes-seven", "routes-others", "routes-each-routes_t"] {
        lambda.function(function);
    }
    // A shadow that never works.
    lambda
        .function("routes-shadow")
        .respond(Answer::exception(Exception::AccessDeniedException));
    producer.create_topic("routes_t", 1).await.unwrap();
    producer.produce_json("routes_t", 1, 0..10, CODECS[0]).await.unwrap();

    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("predicates", "seven"),
        ("predicates.seven.type", "EventPattern"),
        ("predicates.seven.pattern", r#"{"offset":[7]}"#),
        ("routes", "seven,others,each,shadow"),
        ("routes.seven.topics", "routes_t"),
        ("routes.seven.function", "routes-seven"),
        ("routes.seven.predicate", "seven"),
        ("routes.others.topics", "routes_t"),
        ("routes.others.function", "routes-others"),
        ("routes.others.pattern", r#"{"offset":[{"numeric":["<",7]}]}"#),
        ("routes.each.topics.regex", "routes_.*"),
        ("routes.each.function", "routes-each-${topic}"),
        ("routes.each.function.allow", "routes-each-.*"),
        ("routes.shadow.topics", "routes_t"),
        ("routes.shadow.function", "routes-shadow"),
        ("routes.shadow.required", "false"),
    ];
    create(&worker, "routes", &lambda_sink(&lambda, "routes_t", &settings)).await;
    lambda
        .wait_for("every record in the functions that want it", |log| {
            offsets(log, "routes-seven") == [7]
                && offsets(log, "routes-others") == [0, 1, 2, 3, 4, 5, 6]
                && offsets(log, "routes-each-routes_t").len() == 10
                && log.counts("routes-shadow").calls > 0
        })
        .await
        .unwrap();
    let committed = wait::until("all offsets to be committed", wait::LIMIT, || async {
        let groups = kafka
            .tool("groups", &["--describe", "--group", "connect-routes"])
            .await
            .ok()?;
        let row = groups.lines().find(|line| line.contains("routes_t "))?;
        (row.split_whitespace().nth(3) == Some("10")).then_some(())
    });
    committed.await.unwrap();
    tasks_are(&worker, "routes", &["RUNNING"]).await;
}

#[tokio::test]
async fn a_configuration_whose_functions_refuse_calls_is_not_stored() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("preflight-fn");
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "preflight-fn:live"),
        ("aws.lambda.preflight", "true"),
    ];
    let config = lambda_sink(&lambda, "preflight", &settings);
    lambda.remove_function("preflight-fn");
    let answer = worker
        .rest()
        .put("/connectors/preflight/config", &config)
        .await
        .unwrap()
        .expect(400)
        .unwrap();
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.contains("`aws.lambda.function.name`: ResourceNotFoundException: function `preflight-fn:live`"),
        "{message}"
    );
    lambda.function("preflight-fn");
    create(&worker, "preflight", &config).await;
    tasks_are(&worker, "preflight", &["RUNNING"]).await;

    // A start refuses nothing: the function may come back.
    lambda.remove_function("preflight-fn");
    worker
        .rest()
        .post(
            "/connectors/preflight/restart?includeTasks=true",
            &serde_json::Value::Null,
        )
        .await
        .unwrap()
        .expect(202)
        .unwrap();
    let told = wait::until("the preflight to be told", wait::LIMIT, || async {
        worker
            .log()
            .contains("a destination may not take deliveries")
            .then_some(())
    });
    told.await.unwrap();
    tasks_are(&worker, "preflight", &["RUNNING"]).await;
}
