//! Records of a real Kafka arrive in functions: once without faults, at least once with them, in order, all of them.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::collections::BTreeMap;

use klamm_dev::payload::each_of_confluent;
use klamm_dev::{Answer, Exception, FakeLambda, Gate, InvocationType, ThrottleReason};
use klamm_tests::account::{accepted, has_all, positions};
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use support::{create, tasks_are};

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
    producer.create_topic("backlog", 8).await.unwrap();
    producer.produce_json("backlog", 8, 0..16_000, CODECS[0]).await.unwrap();
    let gate = Gate::new();
    lambda
        .function("backlog-fn")
        .respond(Answer::function_error("ValueError", "no").held_by(&gate));
    let worker = Worker::builder(kafka.bootstrap())
        .property("delivery.buffer.records", "600")
        .env("KLAMM_LOG", "info,klamm_runtime=debug")
        .start()
        .await
        .unwrap();
    let settings = [
        ("aws.lambda.function.name", "backlog-fn"),
        ("delivery.retry.max.attempts", "2"),
    ];
    create(&worker, "backlog", &lambda_sink(&lambda, "backlog", &settings)).await;
    // Every partition's reader waits for room when delivery fails.
    wait::until("every reader to wait", wait::LIMIT, || async {
        let waiting = worker.log().matches("fetched records are given back").count();
        (waiting == 8).then_some(())
    })
    .await
    .unwrap();
    gate.open();
    let status = tasks_are(&worker, "backlog", &["FAILED"]).await;
    let trace = status["tasks"][0]["trace"].as_str().unwrap();
    assert!(
        trace.contains("record backlog-") && trace.contains("ValueError"),
        "{trace}"
    );
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
    // FAILED shows at once; what came before the record is delivered and committed meanwhile.
    let committed = wait::until("the commit to end at the poison record", wait::LIMIT, || async {
        let groups = kafka
            .tool("groups", &["--describe", "--group", "connect-poison"])
            .await
            .ok()?;
        let row = groups.lines().find(|line| line.contains("poison "))?;
        (row.split_whitespace().nth(3) == Some("2")).then_some(())
    });
    committed.await.unwrap();
    lambda.with_log(|log| {
        let times = accepted(log, "poison-fn", "poison");
        assert_eq!(
            times.keys().copied().collect::<Vec<_>>(),
            [(0, 0), (0, 1)],
            "what came before it is delivered, nothing after it"
        );
    });

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

// A task that waited for a throttled function showed RUNNING and not a word.
#[tokio::test]
async fn what_a_task_waits_for_is_in_its_status_until_it_is_over() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    let throttled = Answer::throttled(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded, None);
    lambda.function("busy-fn").respond_with(move |_| throttled.clone());
    producer.create_topic("busy", 1).await.unwrap();
    let produced = producer.produce_json("busy", 1, 0..10, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let config = lambda_sink(&lambda, "busy", &[("aws.lambda.function.name", "busy-fn")]);
    create(&worker, "busy", &config).await;
    let trace = async || {
        let status = worker.rest().get("/connectors/busy/status").await.ok()?.json();
        assert_eq!(status["connector"]["state"], "RUNNING");
        Some(status["tasks"][0]["trace"].as_str().unwrap_or_default().to_owned())
    };
    let told = wait::until("the task to say what it waits for", wait::LIMIT, || async {
        trace().await.filter(|trace| !trace.is_empty())
    });
    let told = told.await.unwrap();
    for wanted in ["busy-fn", "is throttled", "no record is skipped"] {
        assert!(told.contains(wanted), "no {wanted} in: {told}");
    }
    lambda.function("busy-fn").respond_with(|_| Answer::success("null"));
    lambda
        .wait_for("every record", |log| has_all(log, "busy-fn", "busy", &produced))
        .await
        .unwrap();
    let over = wait::until("the task to wait no more", wait::LIMIT, || async {
        trace().await.filter(String::is_empty)
    });
    over.await.unwrap();
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
