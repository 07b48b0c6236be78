//! Workers, tasks and topics come and go; no record is lost, and an orderly end delivers none twice.
#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::time::Duration;

use klamm_dev::payload::each_of_confluent;
use klamm_dev::{Answer, FakeLambda, Gate, Outcome, ThrottleReason};
use klamm_tests::account::{accepted, has_all, positions};
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use support::{create, tasks_are};

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

#[tokio::test]
async fn records_that_are_given_back_for_want_of_room_are_delivered_once() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    let gate = Gate::new();
    lambda
        .function("room-fn")
        .respond(Answer::success("null").after(Duration::from_millis(100)).held_by(&gate));
    producer.create_topic("room", 1).await.unwrap();
    let produced = producer.produce_json("room", 1, 0..4_000, CODECS[0]).await.unwrap();
    // Room for less than what one fetch brings, so that its reader waits in the middle of it.
    let worker = Worker::builder(kafka.bootstrap())
        .property("delivery.buffer.records", "600")
        .env("KLAMM_LOG", "info,klamm_runtime=debug")
        .start()
        .await
        .unwrap();
    let settings = [
        ("aws.lambda.function.name", "room-fn"),
        ("aws.lambda.batch.size", "100"),
    ];
    create(&worker, "room", &lambda_sink(&lambda, "room", &settings)).await;
    wait::until("fetched records to be given back", wait::LIMIT, || async {
        worker.log().contains("fetched records are given back").then_some(())
    })
    .await
    .unwrap();
    gate.open();
    let delivered = lambda.wait_for("every record", |log| has_all(log, "room-fn", "room", &produced));
    if let Err(error) = delivered.await {
        panic!("{error}\n{}", worker.log());
    }
    lambda.with_log(|log| {
        let times = accepted(log, "room-fn", "room");
        assert!(
            times.values().all(|times| *times == 1),
            "delivered twice without a fault"
        );
    });
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_topic_that_is_made_again_is_read_from_its_start() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("again-fn");
    producer.create_topic("again", 1).await.unwrap();
    let first = producer.produce_json("again", 1, 0..10, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    create(
        &worker,
        "again",
        &lambda_sink(&lambda, "again", &[("aws.lambda.function.name", "again-fn")]),
    )
    .await;
    lambda
        .wait_for("the first records", |log| has_all(log, "again-fn", "again", &first))
        .await
        .unwrap();
    let before = lambda.with_log(|log| log.invocations().count());
    kafka.tool("topics", &["--delete", "--topic", "again"]).await.unwrap();
    kafka
        .tool("topics", &["--create", "--topic", "again", "--partitions", "1"])
        .await
        .unwrap();
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let second = producer.produce_json("again", 1, 100..105, CODECS[0]).await.unwrap();
    let delivered = lambda.wait_for("the records of the new topic", |log| {
        let mut offsets = Vec::new();
        for call in log
            .invocations()
            .skip(before)
            .filter(|call| call.outcome == Outcome::Accepted)
        {
            each_of_confluent(&call.body, |record| offsets.push(record.offset)).unwrap();
        }
        second.iter().all(|record| offsets.contains(&record.offset))
    });
    if let Err(error) = delivered.await {
        panic!("{error}\n{}", worker.log());
    }
    tasks_are(&worker, "again", &["RUNNING"]).await;
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_stop_during_a_rebalance_does_not_wait_for_a_function_that_hangs() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    let gate = Gate::new();
    lambda
        .function("hang-fn")
        .respond(Answer::success("null").held_by(&gate));
    producer.create_topic("hang", 2).await.unwrap();
    let produced = producer.produce_json("hang", 2, 0..10, CODECS[0]).await.unwrap();
    let config = lambda_sink(&lambda, "hang", &[("aws.lambda.function.name", "hang-fn")]);
    let first = Worker::builder(kafka.bootstrap())
        .property("task.shutdown.graceful.timeout.ms", "1000")
        .env("KLAMM_LOG", "info,klamm_runtime=debug")
        .start()
        .await
        .unwrap();
    create(&first, "hang", &config).await;
    lambda
        .wait_for("calls in flight", |log| log.total().in_flight == 2)
        .await
        .unwrap();
    let second = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    create(&second, "hang", &config).await;
    wait::until("the rebalance to revoke partitions", wait::LIMIT, || async {
        first.log().contains("partitions are being revoked").then_some(())
    })
    .await
    .unwrap();
    first.signal("TERM").await.unwrap();
    let (status, settings) = first.ended().await.unwrap();
    assert!(status.success(), "{status}\n{}", settings.log());
    assert!(!settings.log().contains("did not end in time"), "{}", settings.log());
    gate.open();
    lambda
        .wait_for("every record from the other worker", |log| {
            has_all(log, "hang-fn", "hang", &produced)
        })
        .await
        .unwrap();
    second.terminate().await.unwrap();
}
