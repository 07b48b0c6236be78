//! Everything at once: a function that fails in every way, a worker that is killed, a broker that is killed. Nothing is
//! lost, and the order of a partition holds among first deliveries.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_dev::payload::each_of_confluent;
use klamm_dev::{Answer, Exception, FakeLambda, Outcome, ThrottleReason};
use klamm_tests::account::{accepted, positions};
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Produced, Producer};
use klamm_tests::worker::Worker;

const TOPIC: &str = "chaos";
const FUNCTION: &str = "chaos-fn";
const PARTITIONS: i32 = 4;

/// The answer to a call: faults in fixed shares, spread by a hash of the call's number, so that a run can be repeated.
fn answer(call: u64) -> Answer {
    let spread = call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let answer = match spread % 100 {
        0..5 => Answer::throttled(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded, None),
        5..7 => Answer::exception(Exception::ServiceException),
        7..9 => Answer::function_error("ValueError", "by chance"),
        9 => Answer::reset(),
        10 => Answer::half("{\"a\""),
        11 => Answer::close_unread(),
        _ => Answer::success("null"),
    };
    answer.after(Duration::from_millis(spread % 5))
}

/// Leaves the worker with more to do than it has done: produces records, and returns as soon as some of the calls that
/// they need were made. The calls are counted from before the first record, so however fast the worker is, they come.
async fn amid_a_backlog(kafka: &Broker, lambda: &FakeLambda, first_id: u64) -> Vec<Produced> {
    let calls = lambda.with_log(|log| log.total().accepted);
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    let ids = first_id..first_id + 1_000;
    let produced = producer.produce_json(TOPIC, PARTITIONS, ids, CODECS[2]).await.unwrap();
    lambda
        .wait_for("calls to go on", |log| log.total().accepted > calls + 15)
        .await
        .unwrap();
    produced
}

#[tokio::test]
async fn nothing_is_lost_and_order_holds_through_faults_kills_and_restarts() {
    let Some(kafka) = Broker::own(&[]) else { return };
    let lambda = FakeLambda::start().await.unwrap();
    lambda
        .function(FUNCTION)
        .respond_with(|invocation| answer(invocation.sequence));
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic(TOPIC, PARTITIONS).await.unwrap();
    drop(producer);

    let mut worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let settings = [
        ("aws.lambda.function.name", FUNCTION),
        ("delivery.retry.max.attempts", "50"),
    ];
    let config = lambda_sink(&lambda, TOPIC, &settings);
    worker
        .rest()
        .put("/connectors/chaos/config", &config)
        .await
        .unwrap()
        .expect(201)
        .unwrap();
    let mut produced = Vec::new();
    for round in 1..=3_u64 {
        produced.extend(amid_a_backlog(&kafka, &lambda, round * 20_000).await);
        worker = worker.kill().await.unwrap().start().await.unwrap();
        produced.extend(amid_a_backlog(&kafka, &lambda, round * 20_000 + 10_000).await);
        kafka.kill(1).await.unwrap();
        kafka.start_again(1).await.unwrap();
    }
    let wanted = positions(&produced);
    let all = lambda.wait_for("every record", |log| {
        log.total().in_flight == 0 && accepted(log, FUNCTION, TOPIC).len() == wanted.len()
    });
    if let Err(error) = all.await {
        let times = lambda.with_log(|log| accepted(log, FUNCTION, TOPIC));
        let lost: Vec<_> = wanted
            .iter()
            .filter(|position| !times.contains_key(position))
            .take(5)
            .collect();
        panic!("{error}\nnot delivered: {lost:?} …\n{}", worker.log());
    }
    worker.terminate().await.unwrap();

    lambda.with_log(|log| {
        let mut newest: BTreeMap<i32, i64> = BTreeMap::new();
        let calls = log
            .invocations_of(FUNCTION)
            .filter(|call| call.outcome == Outcome::Accepted);
        for call in calls {
            each_of_confluent(&call.body, |record| {
                let newest = newest.entry(record.partition).or_insert(-1);
                assert!(
                    record.offset <= *newest + 1,
                    "partition {}: {} came after {newest}",
                    record.partition,
                    record.offset
                );
                *newest = record.offset.max(*newest);
            })
            .unwrap();
        }
    });
}
