//! Records of a real Kafka arrive in functions: once without faults, at least once with them, in order, all of them.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_dev::payload::each_of_confluent;
use klamm_dev::{Answer, Exception, FakeLambda, Gate, InvocationType, Outcome, ThrottleReason};
use klamm_tests::account::{accepted, has_all, positions};
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::wait;
use klamm_tests::worker::Worker;

/// Waits until the connector's tasks show these states.
async fn tasks_are(worker: &Worker, connector: &str, wanted: &[&str]) -> serde_json::Value {
    let path = format!("/connectors/{connector}/status");
    let what = format!("tasks of {connector} to be {wanted:?}");
    let reached = wait::until(&what, wait::LIMIT, || async {
        let status = worker.rest().get(&path).await.ok()?.json();
        let states: Vec<&str> = status["tasks"]
            .as_array()?
            .iter()
            .map(|task| task["state"].as_str().unwrap())
            .collect();
        (states == wanted).then_some(status)
    });
    match reached.await {
        Ok(status) => status,
        Err(error) => panic!("{error:#}\n{}", worker.log()),
    }
}

async fn create(worker: &Worker, name: &str, config: &serde_json::Value) {
    worker
        .rest()
        .put(&format!("/connectors/{name}/config"), config)
        .await
        .unwrap()
        .expect(201)
        .unwrap();
}

#[tokio::test]
async fn topics_go_to_the_functions_of_the_map_sync_and_async() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    for function in ["map-a", "map-b", "map-both", "map-async"] {
        lambda.function(function);
    }
    for topic in ["map.a", "map.b"] {
        producer.create_topic(topic, 2).await.unwrap();
    }
    let a = producer.produce_json("map.a", 2, 0..300, CODECS[4]).await.unwrap();
    let b = producer.produce_json("map.b", 2, 0..200, CODECS[2]).await.unwrap();

    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let map = "map.a;map-a,map.b;map-b:live,map.a;map-both,map.b;map-both";
    let settings = [
        ("aws.lambda.configuration.mode", "multiple"),
        ("aws.lambda.topic2function.map", map),
        ("aws.lambda.batch.size", "50"),
    ];
    create(&worker, "map-sync", &lambda_sink(&lambda, "map.a,map.b", &settings)).await;
    let settings = [
        ("aws.lambda.function.name", "map-async"),
        ("aws.lambda.invocation.type", "async"),
    ];
    create(&worker, "map-async", &lambda_sink(&lambda, "map.a", &settings)).await;
    lambda
        .wait_for("every record in each of its functions", |log| {
            has_all(log, "map-a", "map.a", &a)
                && has_all(log, "map-b", "map.b", &b)
                && has_all(log, "map-both", "map.a", &a)
                && has_all(log, "map-both", "map.b", &b)
                && has_all(log, "map-async", "map.a", &a)
        })
        .await
        .unwrap();
    lambda.with_log(|log| {
        for (function, topic, produced) in [
            ("map-a", "map.a", &a),
            ("map-b", "map.b", &b),
            ("map-both", "map.a", &a),
            ("map-both", "map.b", &b),
            ("map-async", "map.a", &a),
        ] {
            let times = accepted(log, function, topic);
            assert_eq!(
                times.len(),
                positions(produced).len(),
                "{function} got records that were not produced"
            );
            assert!(
                times.values().all(|times| *times == 1),
                "{function} got records twice without a fault"
            );
        }
        assert!(
            accepted(log, "map-a", "map.b").is_empty(),
            "a function got a topic that is not its own"
        );
        assert!(
            log.invocations_of("map-b")
                .all(|call| call.qualifier.as_deref() == Some("live"))
        );
        assert!(
            log.invocations_of("map-async")
                .all(|call| call.invocation_type == InvocationType::Event)
        );
        assert!(
            log.invocations_of("map-a")
                .all(|call| call.invocation_type == InvocationType::RequestResponse)
        );
        // Sync keeps the order of each partition: offsets only grow from call to call.
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        for call in log.invocations_of("map-a") {
            each_of_confluent(&call.body, |record| {
                let before = last.insert(record.partition, record.offset);
                assert!(
                    before.is_none_or(|before| before < record.offset),
                    "partition {} went back",
                    record.partition
                );
            })
            .unwrap();
        }
        let largest = log.invocations_of("map-a").map(|call| count(&call.body)).max();
        assert_eq!(largest, Some(50), "batches fill up to aws.lambda.batch.size");
    });

    // Committed to the end: a restart delivers nothing again.
    let settings = worker.terminate().await.unwrap();
    let calls = lambda.with_log(|log| log.total().calls);
    let worker = settings.start().await.unwrap();
    tasks_are(&worker, "map-sync", &["RUNNING"]).await;
    let more = producer.produce_json("map.a", 2, 300..302, CODECS[0]).await.unwrap();
    lambda
        .wait_for("the new records", |log| {
            has_all(log, "map-a", "map.a", &more)
                && has_all(log, "map-both", "map.a", &more)
                && has_all(log, "map-async", "map.a", &more)
        })
        .await
        .unwrap();
    let after = lambda.with_log(|log| log.total().calls);
    assert!(
        after - calls <= 6,
        "{} calls for two new records: some were delivered again",
        after - calls
    );
    worker.terminate().await.unwrap();
}

fn count(body: &[u8]) -> usize {
    let mut records = 0;
    each_of_confluent(body, |_| records += 1).unwrap();
    records
}

#[tokio::test]
async fn function_errors_throttles_and_outages_lose_nothing() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    producer.create_topic("faults", 3).await.unwrap();
    let produced = producer.produce_json("faults", 3, 0..600, CODECS[0]).await.unwrap();
    lambda.function("faults-fn").script([
        Answer::throttled(
            ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded,
            Some(0),
        ),
        Answer::exception(Exception::ServiceException),
        Answer::function_error("ValueError", "no"),
        Answer::success("null"),
        Answer::close_unread(),
        Answer::reset(),
        Answer::half("{\"a\":"),
        Answer::exception(Exception::ResourceConflictException),
        Answer::function_error("Sandbox.Timedout", "timed out after 3.00 seconds"),
    ]);
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "faults-fn"),
        ("aws.lambda.batch.size", "40"),
    ];
    create(&worker, "faults", &lambda_sink(&lambda, "faults", &settings)).await;
    lambda
        .wait_for("every record", |log| has_all(log, "faults-fn", "faults", &produced))
        .await
        .unwrap();
    tasks_are(&worker, "faults", &["RUNNING"]).await;
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn one_bad_record_is_found_and_its_neighbours_are_delivered() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    producer.create_topic("bad", 1).await.unwrap();
    let produced = producer.produce_json("bad", 1, 0..64, CODECS[0]).await.unwrap();
    lambda.function("bad-fn").respond_with(|invocation| {
        let text = String::from_utf8_lossy(&invocation.body).into_owned();
        if text.contains("\"id\":37,") {
            Answer::function_error("ValueError", "record 37")
        } else {
            Answer::success("null")
        }
    });
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "bad-fn"),
        ("aws.lambda.batch.size", "64"),
        ("delivery.retry.max.attempts", "8"),
        ("behavior.on.error", "log"),
    ];
    create(&worker, "bad", &lambda_sink(&lambda, "bad", &settings)).await;
    let good: Vec<_> = produced.iter().copied().filter(|record| record.id != 37).collect();
    let later = producer.produce_json("bad", 1, 64..80, CODECS[0]).await.unwrap();
    lambda
        .wait_for("all but the bad record", |log| {
            has_all(log, "bad-fn", "bad", &good) && has_all(log, "bad-fn", "bad", &later)
        })
        .await
        .unwrap();
    lambda.with_log(|log| {
        let times = accepted(log, "bad-fn", "bad");
        assert!(!times.contains_key(&(0, 37)));
        assert!(
            times.values().all(|times| *times == 1),
            "a good record was delivered twice"
        );
    });
    assert!(
        worker.log().contains("topic=\"bad\" partition=0 offset=37"),
        "the skipped record is named in the log"
    );
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_function_that_fails_for_good_fails_the_task_and_commits_nothing_of_it() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    producer.create_topic("failing", 1).await.unwrap();
    let produced = producer.produce_json("failing", 1, 0..10, CODECS[0]).await.unwrap();
    let function = lambda.function("failing-fn");
    function.respond(Answer::function_error("ValueError", "secret answer"));
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "failing-fn"),
        ("delivery.retry.max.attempts", "3"),
    ];
    create(&worker, "failing", &lambda_sink(&lambda, "failing", &settings)).await;
    let status = tasks_are(&worker, "failing", &["FAILED"]).await;
    let trace = status["tasks"][0]["trace"].as_str().unwrap();
    assert!(
        trace.contains("failing-0@0") && trace.contains("failing-fn") && trace.contains("ValueError"),
        "{trace}"
    );
    assert!(
        !worker.log().contains("secret answer"),
        "a function's answer reached the log"
    );
    assert_eq!(status["connector"]["state"], "RUNNING");

    function.respond(Answer::success("null"));
    worker
        .rest()
        .post(
            "/connectors/failing/restart?includeTasks=true&onlyFailed=true",
            &serde_json::Value::Null,
        )
        .await
        .unwrap()
        .expect(202)
        .unwrap();
    lambda
        .wait_for("every record after the restart", |log| {
            has_all(log, "failing-fn", "failing", &produced)
        })
        .await
        .unwrap();
    tasks_are(&worker, "failing", &["RUNNING"]).await;
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_failure_amid_a_backlog_is_the_trace_that_is_shown() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    producer.create_topic("backlog", 4).await.unwrap();
    // Far more than the partitions may hold, so that their readers wait for room when delivery fails.
    for partition in 0..4 {
        let record = (
            None,
            Some(format!("{{\"text\":\"{}\"}}", "x".repeat(8_000)).into_bytes()),
        );
        producer
            .produce("backlog", partition, vec![record; 2_000], CODECS[4])
            .await
            .unwrap();
    }
    lambda
        .function("backlog-fn")
        .respond(Answer::function_error("ValueError", "no").after(Duration::from_millis(50)));
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "backlog-fn"),
        ("delivery.retry.max.attempts", "2"),
    ];
    create(&worker, "backlog", &lambda_sink(&lambda, "backlog", &settings)).await;
    let status = tasks_are(&worker, "backlog", &["FAILED"]).await;
    let trace = status["tasks"][0]["trace"].as_str().unwrap();
    assert!(
        trace.contains("record backlog-") && trace.contains("ValueError"),
        "{trace}"
    );
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_group_that_starts_at_the_end_skips_nothing_that_comes_while_it_is_away() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("end-fn");
    producer.create_topic("end", 1).await.unwrap();
    producer.produce_json("end", 1, 0..5, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", "end-fn"),
        ("consumer.override.auto.offset.reset", "latest"),
    ];
    create(&worker, "end", &lambda_sink(&lambda, "end", &settings)).await;
    wait::until("the start position to be committed", wait::LIMIT, || async {
        let committed = kafka
            .tool("groups", &["--describe", "--group", "connect-end"])
            .await
            .ok()?;
        let row: Vec<String> = committed
            .lines()
            .find(|line| line.contains("end "))?
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        (row.get(3).map(String::as_str) == Some("5")).then_some(())
    })
    .await
    .unwrap();
    let settings = worker.kill().await.unwrap();
    let away = producer.produce_json("end", 1, 5..10, CODECS[0]).await.unwrap();
    let worker = settings.start().await.unwrap();
    lambda
        .wait_for("what came while the worker was away", |log| {
            has_all(log, "end-fn", "end", &away)
        })
        .await
        .unwrap();
    lambda.with_log(|log| assert_eq!(accepted(log, "end-fn", "end").len(), 5, "nothing from before the start"));
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_destination_that_takes_nothing() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    let limit = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
    let function = lambda.function("off-fn");
    function.respond(Answer::throttled(limit, None));
    producer.create_topic("off", 1).await.unwrap();
    let produced = producer.produce_json("off", 1, 0..50, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    create(
        &worker,
        "off",
        &lambda_sink(&lambda, "off", &[("aws.lambda.function.name", "off-fn")]),
    )
    .await;
    lambda
        .wait_for("a throttled call", |log| log.total().failed > 2)
        .await
        .unwrap();
    worker
        .rest()
        .put("/connectors/off/stop", &serde_json::Value::Null)
        .await
        .unwrap()
        .expect(204)
        .unwrap();
    let before = std::time::Duration::from_secs(20);
    wait::until("the task to stop", before, || async {
        let status = worker.rest().get("/connectors/off/status").await.ok()?.json();
        (status["tasks"] == serde_json::json!([])).then_some(())
    })
    .await
    .unwrap();
    function.respond(Answer::success("null"));
    worker
        .rest()
        .put("/connectors/off/resume", &serde_json::Value::Null)
        .await
        .unwrap()
        .expect(202)
        .unwrap();
    lambda
        .wait_for("every record", |log| has_all(log, "off-fn", "off", &produced))
        .await
        .unwrap();
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_poison_record_fails_the_task_or_is_skipped_as_tolerated() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("poison-fn");
    producer.create_topic("poison", 1).await.unwrap();
    let good = |id: u64| (None, Some(format!("{{\"id\":{id}}}").into_bytes()));
    let records = vec![good(0), good(1), (None, Some(b"{broken".to_vec())), good(3)];
    producer.produce("poison", 0, records, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [("aws.lambda.function.name", "poison-fn")];
    create(&worker, "poison", &lambda_sink(&lambda, "poison", &settings)).await;
    let status = tasks_are(&worker, "poison", &["FAILED"]).await;
    let trace = status["tasks"][0]["trace"].as_str().unwrap();
    for wanted in [
        "poison-0@2",
        "VALUE_CONVERTER",
        "org.apache.kafka.connect.json.JsonConverter",
        "errors.tolerance=all",
    ] {
        assert!(trace.contains(wanted), "no {wanted} in: {trace}");
    }
    assert!(!trace.contains("broken"), "the payload is in the trace: {trace}");
    lambda.with_log(|log| {
        let times = accepted(log, "poison-fn", "poison");
        assert_eq!(
            times.keys().copied().collect::<Vec<_>>(),
            [(0, 0), (0, 1)],
            "what came before it is delivered, nothing after it"
        );
    });
    let committed = kafka
        .tool("groups", &["--describe", "--group", "connect-poison"])
        .await
        .unwrap();
    let row: Vec<&str> = committed
        .lines()
        .find(|line| line.contains("poison "))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(row[3], "2", "the poison record's offset is not committed: {committed}");

    let settings = [
        ("aws.lambda.function.name", "poison-fn"),
        ("errors.tolerance", "all"),
        ("errors.log.enable", "true"),
        ("errors.log.include.messages", "true"),
    ];
    let config = lambda_sink(&lambda, "poison", &settings);
    worker
        .rest()
        .put("/connectors/poison/config", &config)
        .await
        .unwrap()
        .expect(200)
        .unwrap();
    lambda
        .wait_for("the record after it", |log| {
            accepted(log, "poison-fn", "poison").contains_key(&(0, 3))
        })
        .await
        .unwrap();
    assert!(
        worker.log().contains("poison-0@2"),
        "the skipped record is named in the log"
    );
    lambda.with_log(|log| assert!(accepted(log, "poison-fn", "poison").values().all(|times| *times == 1)));
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_missing_or_forbidden_function_pauses_its_route_and_says_what_to_do() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("there");
    lambda
        .function("forbidden")
        .respond(Answer::exception(Exception::AccessDeniedException));
    for topic in ["missing.a", "missing.b"] {
        producer.create_topic(topic, 1).await.unwrap();
    }
    producer.produce_json("missing.a", 1, 0..5, CODECS[0]).await.unwrap();
    let b = producer.produce_json("missing.b", 1, 0..5, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.configuration.mode", "multiple"),
        (
            "aws.lambda.topic2function.map",
            "missing.a;not-there,missing.a;forbidden,missing.b;there",
        ),
    ];
    create(
        &worker,
        "missing",
        &lambda_sink(&lambda, "missing.a,missing.b", &settings),
    )
    .await;
    lambda
        .wait_for("the other route to run on", |log| {
            has_all(log, "there", "missing.b", &b)
        })
        .await
        .unwrap();
    let named = wait::until("the log to name functions and permission", wait::LIMIT, || async {
        let log = worker.log();
        let wanted = [
            "function `not-there`",
            "create the function",
            "function `forbidden`",
            "lambda:InvokeFunction",
        ];
        wanted.iter().all(|text| log.contains(text)).then_some(())
    });
    if let Err(error) = named.await {
        panic!("{error:#}\n{}", worker.log());
    }
    tasks_are(&worker, "missing", &["RUNNING"]).await;
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_worker_killed_under_load_delivers_every_record_after_its_restart() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    lambda
        .function("killed-fn")
        .respond(Answer::success("null").after(Duration::from_millis(5)));
    producer.create_topic("killed", 4).await.unwrap();
    let mut produced = producer.produce_json("killed", 4, 0..4_000, CODECS[0]).await.unwrap();
    let mut worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [("aws.lambda.function.name", "killed-fn"), ("tasks.max", "2")];
    create(&worker, "killed", &lambda_sink(&lambda, "killed", &settings)).await;
    for life in 1..=3_u64 {
        let calls = lambda.with_log(|log| log.total().calls);
        lambda
            .wait_for("some calls of this life", |log| log.total().calls > calls + 20)
            .await
            .unwrap();
        let settings = worker.kill().await.unwrap();
        produced.extend(
            producer
                .produce_json("killed", 4, life * 10_000..life * 10_000 + 1_000, CODECS[0])
                .await
                .unwrap(),
        );
        worker = settings.start().await.unwrap();
    }
    let wanted = positions(&produced).len();
    lambda
        .wait_for("every record", |log| {
            log.total().accepted > 50 && accepted(log, "killed-fn", "killed").len() == wanted
        })
        .await
        .unwrap();
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn two_workers_share_the_partitions_and_one_leaving_loses_nothing() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    lambda
        .function("shared-fn")
        .respond(Answer::success("null").after(Duration::from_millis(2)));
    producer.create_topic("shared", 4).await.unwrap();
    let config = lambda_sink(&lambda, "shared", &[("aws.lambda.function.name", "shared-fn")]);
    let first = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    create(&first, "shared", &config).await;
    let second = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    create(&second, "shared", &config).await;
    // Both have partitions: each names its own in its log.
    for worker in [&first, &second] {
        wait::until("both workers to have partitions", wait::LIMIT, || async {
            worker.log().contains("partition assigned").then_some(())
        })
        .await
        .unwrap();
    }
    let mut produced = producer.produce_json("shared", 4, 0..2_000, CODECS[0]).await.unwrap();
    lambda
        .wait_for("some calls", |log| log.total().accepted > 20)
        .await
        .unwrap();
    second.terminate().await.unwrap();
    produced.extend(
        producer
            .produce_json("shared", 4, 2_000..3_000, CODECS[0])
            .await
            .unwrap(),
    );
    let wanted = positions(&produced).len();
    lambda
        .wait_for("every record", |log| {
            accepted(log, "shared-fn", "shared").len() == wanted
        })
        .await
        .unwrap();
    lambda.with_log(|log| {
        let twice = accepted(log, "shared-fn", "shared")
            .values()
            .filter(|times| **times > 1)
            .count();
        assert_eq!(twice, 0, "an orderly leave delivers nothing twice");
    });
    first.terminate().await.unwrap();
}

#[tokio::test]
async fn a_worker_waits_for_kafka_at_start_and_later() {
    let Some(kafka) = Broker::own(&[]) else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic("away", 1).await.unwrap();
    let before = producer.produce_json("away", 1, 0..10, CODECS[0]).await.unwrap();
    drop(producer);
    kafka.stop(1).await.unwrap();

    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("away-fn");
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    create(
        &worker,
        "away",
        &lambda_sink(&lambda, "away", &[("aws.lambda.function.name", "away-fn")]),
    )
    .await;
    wait::until("the worker to say that Kafka is away", wait::LIMIT, || async {
        worker.log().contains(kafka.bootstrap()).then_some(())
    })
    .await
    .unwrap();
    tasks_are(&worker, "away", &["RUNNING"]).await;
    kafka.start_again(1).await.unwrap();
    lambda
        .wait_for("the records after Kafka came", |log| {
            has_all(log, "away-fn", "away", &before)
        })
        .await
        .unwrap();

    kafka.kill(1).await.unwrap();
    kafka.start_again(1).await.unwrap();
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let after = producer.produce_json("away", 1, 10..20, CODECS[0]).await.unwrap();
    lambda
        .wait_for("the records after Kafka came back", |log| {
            has_all(log, "away-fn", "away", &after)
        })
        .await
        .unwrap();
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_graceful_end_finishes_what_is_in_flight_and_commits_it() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    let gate = Gate::new();
    lambda
        .function("graceful-fn")
        .respond(Answer::success("null").held_by(&gate));
    producer.create_topic("graceful", 1).await.unwrap();
    producer.produce_json("graceful", 1, 0..5, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    create(
        &worker,
        "graceful",
        &lambda_sink(&lambda, "graceful", &[("aws.lambda.function.name", "graceful-fn")]),
    )
    .await;
    lambda
        .wait_for("a call in flight", |log| log.total().in_flight > 0)
        .await
        .unwrap();
    worker.signal("TERM").await.unwrap();
    wait::until("the worker to end", wait::LIMIT, || async {
        worker.log().contains("worker ends").then_some(())
    })
    .await
    .unwrap();
    // A signal of another kind, such as that of a terminal, is no impatience.
    worker.signal("INT").await.unwrap();
    gate.open();
    let (status, settings) = worker.ended().await.unwrap();
    assert!(status.success(), "{status}\n{}", settings.log());
    lambda.with_log(|log| {
        assert!(
            log.invocations().all(|call| call.outcome == Outcome::Accepted),
            "a call was abandoned"
        );
    });
    let delivered = lambda.with_log(|log| accepted(log, "graceful-fn", "graceful").len());
    assert_eq!(delivered, 5);

    let worker = settings.start().await.unwrap();
    let more = producer.produce_json("graceful", 1, 5..6, CODECS[0]).await.unwrap();
    lambda
        .wait_for("the next record", |log| has_all(log, "graceful-fn", "graceful", &more))
        .await
        .unwrap();
    lambda.with_log(|log| {
        let times = accepted(log, "graceful-fn", "graceful");
        assert!(
            times.values().all(|times| *times == 1),
            "delivered again after a graceful end: {times:?}"
        );
    });
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_second_signal_of_the_same_kind_cuts_the_end_short() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    let gate = Gate::new();
    lambda
        .function("cut-fn")
        .respond(Answer::success("null").held_by(&gate));
    producer.create_topic("cut", 1).await.unwrap();
    producer.produce_json("cut", 1, 0..5, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    create(
        &worker,
        "cut",
        &lambda_sink(&lambda, "cut", &[("aws.lambda.function.name", "cut-fn")]),
    )
    .await;
    lambda
        .wait_for("a call in flight", |log| log.total().in_flight > 0)
        .await
        .unwrap();
    worker.signal("TERM").await.unwrap();
    wait::until("the worker to end", wait::LIMIT, || async {
        worker.log().contains("worker ends").then_some(())
    })
    .await
    .unwrap();
    worker.signal("TERM").await.unwrap();
    let (status, settings) = worker.ended().await.unwrap();
    assert_eq!(status.code(), Some(4), "{}", settings.log());
}

#[tokio::test]
async fn topics_may_come_later_by_name_and_by_pattern_and_may_grow() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    for function in ["later-fn", "pattern-fn"] {
        lambda.function(function);
    }
    let worker = Worker::builder(kafka.bootstrap())
        .property("metadata.max.age.ms", "1000")
        .start()
        .await
        .unwrap();
    create(
        &worker,
        "later",
        &lambda_sink(&lambda, "later.named", &[("aws.lambda.function.name", "later-fn")]),
    )
    .await;
    let mut pattern = lambda_sink(
        &lambda,
        "",
        &[
            ("aws.lambda.function.name", "pattern-fn"),
            ("topics.regex", "later\\.p.*"),
        ],
    );
    pattern.as_object_mut().unwrap().remove("topics");
    create(&worker, "pattern", &pattern).await;
    tasks_are(&worker, "later", &["RUNNING"]).await;
    producer.create_topic("later.named", 1).await.unwrap();
    producer.create_topic("later.pattern", 1).await.unwrap();
    let named = producer.produce_json("later.named", 1, 0..5, CODECS[0]).await.unwrap();
    let matched = producer
        .produce_json("later.pattern", 1, 0..5, CODECS[0])
        .await
        .unwrap();
    lambda
        .wait_for("topics that came later", |log| {
            has_all(log, "later-fn", "later.named", &named) && has_all(log, "pattern-fn", "later.pattern", &matched)
        })
        .await
        .unwrap();
    kafka
        .tool("topics", &["--alter", "--topic", "later.named", "--partitions", "3"])
        .await
        .unwrap();
    // rskafka keeps the metadata that it has: a new client sees the new partitions.
    wait::until("the new partitions to have leaders", wait::LIMIT, || async {
        let producer = Producer::connect(kafka.bootstrap()).await.ok()?;
        producer.produce("later.named", 2, Vec::new(), CODECS[0]).await.ok()
    })
    .await
    .unwrap();
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let grown = producer.produce_json("later.named", 3, 5..20, CODECS[0]).await.unwrap();
    lambda
        .wait_for("partitions that came later", |log| {
            has_all(log, "later-fn", "later.named", &grown)
        })
        .await
        .unwrap();
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_paused_connector_delivers_nothing_until_it_is_resumed() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("paused-fn");
    lambda.function("running-fn");
    producer.create_topic("paused", 1).await.unwrap();
    let first = producer.produce_json("paused", 1, 0..5, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    create(
        &worker,
        "paused",
        &lambda_sink(&lambda, "paused", &[("aws.lambda.function.name", "paused-fn")]),
    )
    .await;
    create(
        &worker,
        "running",
        &lambda_sink(&lambda, "paused", &[("aws.lambda.function.name", "running-fn")]),
    )
    .await;
    lambda
        .wait_for("the first records", |log| has_all(log, "paused-fn", "paused", &first))
        .await
        .unwrap();
    worker
        .rest()
        .put("/connectors/paused/pause", &serde_json::Value::Null)
        .await
        .unwrap()
        .expect(202)
        .unwrap();
    tasks_are(&worker, "paused", &["PAUSED"]).await;
    let second = producer.produce_json("paused", 1, 5..10, CODECS[0]).await.unwrap();
    lambda
        .wait_for("the other connector to run on", |log| {
            has_all(log, "running-fn", "paused", &second)
        })
        .await
        .unwrap();
    lambda.with_log(|log| assert_eq!(accepted(log, "paused-fn", "paused").len(), 5, "delivered while paused"));
    worker
        .rest()
        .put("/connectors/paused/resume", &serde_json::Value::Null)
        .await
        .unwrap()
        .expect(202)
        .unwrap();
    lambda
        .wait_for("the rest after the resume", |log| {
            has_all(log, "paused-fn", "paused", &second)
        })
        .await
        .unwrap();

    worker
        .rest()
        .put("/connectors/paused/stop", &serde_json::Value::Null)
        .await
        .unwrap()
        .expect(204)
        .unwrap();
    tasks_are(&worker, "paused", &[]).await;
    let third = producer.produce_json("paused", 1, 10..15, CODECS[0]).await.unwrap();
    lambda
        .wait_for("the other connector to run on", |log| {
            has_all(log, "running-fn", "paused", &third)
        })
        .await
        .unwrap();
    worker
        .rest()
        .put("/connectors/paused/resume", &serde_json::Value::Null)
        .await
        .unwrap()
        .expect(202)
        .unwrap();
    lambda
        .wait_for("the rest after the stop", |log| {
            has_all(log, "paused-fn", "paused", &third)
        })
        .await
        .unwrap();
    lambda.with_log(|log| assert!(accepted(log, "paused-fn", "paused").values().all(|times| *times == 1)));
    worker.terminate().await.unwrap();
}
