//! The engine through its public face, one behaviour a test, under paused time.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]
#![allow(clippy::cast_sign_loss, reason = "offsets of tests are small and positive")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::Duration;

use klamm_connect_api::delivery::{BatchScope, DeliverySettings, ErrorPolicy, Ordering};
use klamm_connect_api::sink::{ThrottleScope, Verdict};
use klamm_delivery::{EngineEvent, PartitionLimits, Progress, RouteHealth};
use support::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn with(change: impl FnOnce(&mut DeliverySettings)) -> Vec<DeliverySettings> {
    let mut settings = settings();
    change(&mut settings);
    vec![settings]
}

/// Answers `bad` while a call holds one of these offsets.
fn refuse(bad: &'static [i64], verdict: Verdict) -> impl FnMut(&Seen) -> Reply {
    move |seen| {
        let is_bad = seen.records.iter().any(|(_, offset)| bad.contains(offset));
        now(if is_bad { verdict.clone() } else { Verdict::Accepted })
    }
}

#[tokio::test(start_paused = true)]
async fn one_record_leaves_at_once() {
    let sink = FakeSink::new(with(|_| {}), |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 5)
        .push(records(0, 5..6), 6)
        .await
        .unwrap();
    world.committable(0, 6).await;
    assert_eq!(sink.calls()[0].at_ms, 0);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_becomes_full_batches_and_a_rest() {
    let sink = FakeSink::new(with(|s| s.batch_records = 4), |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..10), 10)
        .await
        .unwrap();
    world.committable(0, 10).await;
    let sizes: Vec<_> = sink.calls().iter().map(|call| call.records.len()).collect();
    assert_eq!(sizes, [4, 4, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_ends_before_the_byte_limit() {
    // Brackets and three records of 10 bytes with their commas: 2 + 3 * 11 = 35.
    let sink = FakeSink::new(with(|s| s.batch_bytes = 35), |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..7), 7)
        .await
        .unwrap();
    world.committable(0, 7).await;
    let sizes: Vec<_> = sink.calls().iter().map(|call| call.bytes).collect();
    assert_eq!(sizes, [35, 35, 13]);
}

#[tokio::test(start_paused = true)]
async fn a_record_too_large_for_any_call_goes_to_the_policy_and_the_others_are_delivered() {
    let sink = FakeSink::new(with(|s| s.batch_bytes = 35), |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let chunk = vec![record(0, 0), sized(0, 1, &[0], 33), record(0, 2)];
    intake.push(chunk, 3).await.unwrap();
    world.committable(0, 3).await;
    let route = &world.engine.status().routes[0];
    assert_eq!((route.delivered_records, route.skipped_records), (2, 1));
    assert_eq!(sink.calls().iter().flat_map(Seen::offsets).collect::<Vec<_>>(), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn linger_counts_from_the_oldest_record() {
    let sink = FakeSink::new(with(|s| s.linger = ms(50)), |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..1), 1).await.unwrap();
    tokio::time::sleep(ms(30)).await;
    intake.push(records(0, 1..2), 2).await.unwrap();
    world.committable(0, 2).await;
    let calls = sink.calls();
    assert_eq!(calls.len(), 1);
    assert!((50..=51).contains(&calls[0].at_ms), "sent at {} ms", calls[0].at_ms);
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_linger() {
    let sink = FakeSink::new(with(|s| (s.linger, s.batch_records) = (ms(50), 3)), |_| {
        now(Verdict::Accepted)
    });
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..4), 4)
        .await
        .unwrap();
    world.committable(0, 4).await;
    let calls: Vec<_> = sink
        .calls()
        .iter()
        .map(|call| (call.at_ms / 10, call.records.len()))
        .collect();
    assert_eq!(calls, [(0, 3), (5, 1)]);
}

#[tokio::test(start_paused = true)]
async fn scope_route_mixes_partitions_in_one_call() {
    let sink = FakeSink::new(
        with(|s| (s.linger, s.batch_scope) = (ms(20), BatchScope::Route)),
        |_| now(Verdict::Accepted),
    );
    let world = World::new(&sink);
    let (mut a, mut b) = (world.engine.assign(tp(0), 1, 0), world.engine.assign(tp(1), 1, 0));
    a.push(records(0, 0..2), 2).await.unwrap();
    b.push(records(1, 0..2), 2).await.unwrap();
    a.push(records(0, 2..3), 3).await.unwrap();
    world.committable(0, 3).await;
    world.committable(1, 2).await;
    let calls = sink.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0].records.len(), 5);
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn ordering_partition_sends_one_call_of_a_partition_at_a_time() {
    let script = |_: &Seen| Reply::After(ms(10), Verdict::Accepted);
    let sink = FakeSink::new(with(|s| s.batch_records = 1), script);
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..3), 3)
        .await
        .unwrap();
    world
        .engine
        .assign(tp(1), 1, 0)
        .push(records(1, 0..3), 3)
        .await
        .unwrap();
    world.committable(0, 3).await;
    world.committable(1, 3).await;
    let starts: Vec<_> = sink.calls().iter().map(|call| call.at_ms / 10).collect();
    assert_eq!(starts, [0, 0, 1, 1, 2, 2]);
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn ordering_none_uses_all_permits() {
    let script = |_: &Seen| Reply::After(ms(10), Verdict::Accepted);
    let sink = FakeSink::new(
        with(|s| (s.batch_records, s.max_in_flight, s.ordering) = (1, 4, Ordering::None)),
        script,
    );
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..6), 6)
        .await
        .unwrap();
    world.committable(0, 6).await;
    let starts: Vec<_> = sink.calls().iter().map(|call| call.at_ms / 10).collect();
    assert_eq!(starts, [0, 0, 0, 0, 1, 1]);
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_slow_key_does_not_hold_other_keys() {
    let slow = key_of(0);
    let script = move |seen: &Seen| {
        let is_slow = seen.records.iter().any(|(_, offset)| key_of(*offset) == slow);
        Reply::After(if is_slow { ms(1000) } else { ms(1) }, Verdict::Accepted)
    };
    let sink = FakeSink::new(with(|s| (s.batch_records, s.ordering) = (1, Ordering::Key)), script);
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..20), 20)
        .await
        .unwrap();
    sink.until("the fast keys", |log| log.accepted.len() >= 17).await;
    assert!(sink.calls().last().unwrap().at_ms < 1000);
    world.committable(0, 20).await;
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn bisection_finds_exactly_the_poison_records() {
    for ordering in [Ordering::Partition, Ordering::Key, Ordering::None] {
        let sink = FakeSink::new(with(|s| s.ordering = ordering), refuse(&[3, 41, 42, 99], poison()));
        let world = World::new(&sink);
        world
            .engine
            .assign(tp(0), 1, 0)
            .push(records(0, 0..100), 100)
            .await
            .unwrap();
        world.committable(0, 100).await;
        let route = &world.engine.status().routes[0];
        assert_eq!(
            (route.delivered_records, route.skipped_records),
            (96, 4),
            "{ordering:?}"
        );
        sink.log(|log| {
            assert!(log.accepted.values().all(|times| *times == 1), "{ordering:?}");
            assert!(
                ![3, 41, 42, 99]
                    .iter()
                    .any(|bad| log.accepted.contains_key(&(0, 0, *bad)))
            );
        });
        assert!(
            sink.calls().iter().all(|call| call.at_ms == 0),
            "poison waits for nothing"
        );
        world.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_batch_gets_one_retry_then_its_pieces_go_at_once() {
    let sink = FakeSink::new(with(|s| s.retry.max_attempts = 6), refuse(&[2], failed()));
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..4), 4)
        .await
        .unwrap();
    world.committable(0, 4).await;
    let calls: Vec<_> = sink.calls().iter().map(Seen::offsets).collect();
    let wanted: Vec<Vec<i64>> = vec![
        vec![0, 1, 2, 3],
        vec![0, 1, 2, 3],
        vec![0, 1],
        vec![2, 3],
        vec![2], // its fourth call
        vec![2],
        vec![2], // its sixth and last
        vec![3],
    ];
    assert_eq!(calls, wanted);
    let times: Vec<_> = sink.calls().iter().map(|call| call.at_ms).collect();
    assert!(
        times[1..5].iter().all(|at| *at == times[1]),
        "pieces go without backoff: {times:?}"
    );
    let route = &world.engine.status().routes[0];
    assert_eq!((route.delivered_records, route.skipped_records), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn without_bisection_the_batch_spends_the_attempts() {
    let sink = FakeSink::new(with(|s| s.bisect = false), refuse(&[2], failed()));
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..4), 4).await.unwrap();
    world.committable(0, 4).await;
    assert_eq!(sink.calls().len(), 5);
    assert_eq!(world.engine.status().routes[0].skipped_records, 4);
}

#[tokio::test(start_paused = true)]
async fn backoff_stays_under_its_growing_bound() {
    let sink = FakeSink::new(
        with(|s| (s.retry.max_attempts, s.retry.backoff_max) = (12, ms(1000))),
        refuse(&[0], failed()),
    );
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..1), 1)
        .await
        .unwrap();
    world.committable(0, 1).await;
    let times: Vec<_> = sink.calls().iter().map(|call| call.at_ms).collect();
    assert_eq!(times.len(), 12);
    let bounds = [200, 400, 800, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000];
    for ((pair, bound), attempt) in times.windows(2).zip(bounds).zip(1..) {
        assert!(
            pair[1] - pair[0] <= bound + 1,
            "delay {attempt} of {times:?} is above {bound}"
        );
    }
    assert!(times[11] > 500, "delays are drawn, not zero: {times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_costs_no_attempt_and_may_have_delivered() {
    let mut calls = 0;
    let script = move |_: &Seen| {
        calls += 1;
        now(match calls {
            1..=9 => Verdict::Retry {
                after: None,
                outcome: klamm_connect_api::sink::Outcome::Unknown,
                failure: failure("ServiceException"),
            },
            _ => Verdict::Accepted,
        })
    };
    let sink = FakeSink::new(with(|settings| settings.retry.max_attempts = 2), script);
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..3), 3)
        .await
        .unwrap();
    world.committable(0, 3).await;
    let status = world.engine.status();
    assert_eq!(status.routes[0].delivered_records, 3);
    assert_eq!(status.routes[0].possible_duplicates, 9 * 3);
}

#[tokio::test(start_paused = true)]
async fn the_destinations_wish_for_a_delay_is_honoured_up_to_five_minutes() {
    for (wish, at_ms) in [(Duration::from_secs(40), 40_000), (Duration::from_secs(3600), 300_000)] {
        let mut calls = 0;
        let script = move |_: &Seen| {
            calls += 1;
            now(if calls == 1 {
                Verdict::Retry {
                    after: Some(wish),
                    outcome: klamm_connect_api::sink::Outcome::MayHaveRun,
                    failure: failure("Reset"),
                }
            } else {
                Verdict::Accepted
            })
        };
        let sink = FakeSink::new(with(|_| {}), script);
        let world = World::new(&sink);
        world
            .engine
            .assign(tp(0), 1, 0)
            .push(records(0, 0..1), 1)
            .await
            .unwrap();
        world.committable(0, 1).await;
        let second = sink.calls()[1].at_ms;
        assert!(
            (at_ms..=at_ms + 1).contains(&second),
            "sent again at {second}, wanted {at_ms}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn throttles_do_not_count_as_attempts_and_never_split() {
    let mut calls = 0;
    let script = move |_: &Seen| {
        calls += 1;
        now(if calls <= 20 { throttled() } else { Verdict::Accepted })
    };
    let sink = FakeSink::new(with(|_| {}), script);
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..4), 4)
        .await
        .unwrap();
    world.committable(0, 4).await;
    let calls = sink.calls();
    assert_eq!(calls.len(), 21);
    assert!(calls.iter().all(|call| call.records.len() == 4));
    let probes = calls.windows(2).all(|pair| pair[1].at_ms - pair[0].at_ms <= 5001);
    assert!(probes, "a probe every 5 s: {calls:?}");
    assert_eq!(world.engine.status().routes[0].throttled_calls, 20);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_succeeds_ends_all_waits_and_no_new_batch_goes_before() {
    let is_down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let script = move |_: &Seen| {
        let wait_an_hour = throttled_by(ThrottleScope::Account, Some(Duration::from_secs(280)));
        now(if down.load(Atomic::Relaxed) {
            wait_an_hour
        } else {
            Verdict::Accepted
        })
    };
    let sink = FakeSink::new(with(|_| {}), script);
    let world = World::new(&sink);
    for partition in 0..4 {
        world
            .engine
            .assign(tp(partition), 1, 0)
            .push(records(partition, 0..1), 1)
            .await
            .unwrap();
    }
    sink.until("all are throttled once", |log| log.calls.len() == 4).await;
    world
        .engine
        .assign(tp(4), 1, 0)
        .push(records(4, 0..1), 1)
        .await
        .unwrap();
    sink.until("two probes", |log| log.calls.len() == 6).await;
    assert!(sink.calls().iter().all(|call| call.partition != 4));
    assert!(matches!(
        world.engine.status().routes[0].health,
        RouteHealth::Throttled { .. }
    ));
    is_down.store(false, Atomic::Relaxed);
    for partition in 0..5 {
        world.committable(partition, 1).await;
    }
    let times: Vec<_> = sink.calls()[4..].iter().map(|call| call.at_ms / 100).collect();
    assert_eq!(times, [50, 100, 150, 150, 150, 150, 150]);
    assert_eq!(world.engine.status().routes[0].health, RouteHealth::Up);
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_retry_timeout_goes_to_the_policy() {
    let sink = FakeSink::new(with(|s| s.retry.timeout = Some(Duration::from_secs(60))), |_| {
        now(unreachable())
    });
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..4), 4)
        .await
        .unwrap();
    let started = tokio::time::Instant::now();
    world.committable(0, 4).await;
    let elapsed = started.elapsed().as_secs();
    assert_eq!(elapsed, 60);
    assert_eq!(world.engine.status().routes[0].skipped_records, 4);
}

#[tokio::test(start_paused = true)]
async fn records_that_are_too_old_go_to_the_policy_without_a_call() {
    let sink = FakeSink::new(with(|s| s.record_max_age = Some(ms(1000))), |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    // Timestamps are the offsets: at 1,002 ms the records 0 and 1 are too old.
    world.clock.store(1002, Atomic::Relaxed);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..5), 5)
        .await
        .unwrap();
    world.committable(0, 5).await;
    assert_eq!(sink.calls()[0].offsets(), [2, 3, 4]);
    assert_eq!(world.engine.status().routes[0].skipped_records, 2);
}

#[tokio::test(start_paused = true)]
async fn only_the_named_records_are_sent_again_in_order() {
    let mut calls = 0;
    let script = move |_: &Seen| {
        calls += 1;
        now(if calls == 1 {
            Verdict::PartlyAccepted {
                failed: vec![1, 3],
                failure: failure("Item"),
            }
        } else {
            Verdict::Accepted
        })
    };
    let sink = FakeSink::new(with(|_| {}), script);
    sink.log(|log| log.has_restarts = true);
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..5), 5).await.unwrap();
    sink.until("the first call", |log| log.calls.len() == 1).await;
    intake.push(records(0, 5..6), 6).await.unwrap();
    sink.until("the first answer", |log| log.accepted.len() >= 3).await;
    assert!(world.offset_of(0) <= Some(1), "the first named record holds the offset");
    world.committable(0, 6).await;
    let seen: Vec<_> = sink.calls().iter().map(Seen::offsets).collect();
    let tail: Vec<i64> = seen[1..].concat();
    assert_eq!(seen[1], [1, 3], "{seen:?}");
    assert_eq!(tail, [1, 3, 5], "the lane stays locked until they are settled");
}

#[tokio::test(start_paused = true)]
async fn indices_that_name_nothing_count_as_a_failure_of_all() {
    let mut calls = 0;
    let script = move |_: &Seen| {
        calls += 1;
        now(if calls == 1 {
            Verdict::PartlyAccepted {
                failed: vec![7],
                failure: failure("Item"),
            }
        } else {
            Verdict::Accepted
        })
    };
    let sink = FakeSink::new(with(|_| {}), script);
    sink.log(|log| log.has_restarts = true);
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..3), 3)
        .await
        .unwrap();
    world.committable(0, 3).await;
    assert_eq!(sink.calls()[1].offsets(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_answer_times_out_and_counts_as_possible_duplicate() {
    let mut calls = 0;
    let script = move |_: &Seen| {
        calls += 1;
        if calls == 1 {
            Reply::Hang
        } else {
            now(Verdict::Accepted)
        }
    };
    let sink = FakeSink::new(with(|_| {}), script);
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..3), 3)
        .await
        .unwrap();
    world.committable(0, 3).await;
    let at = sink.calls()[1].at_ms;
    assert!((50_000..50_300).contains(&at), "{at}");
    assert_eq!(world.engine.status().routes[0].possible_duplicates, 3);
}

#[tokio::test(start_paused = true)]
async fn policy_fail_stops_the_task_and_keeps_the_offset() {
    let sink = FakeSink::new(
        with(|s| (s.error_policy, s.retry.max_attempts) = (ErrorPolicy::Fail, 2)),
        refuse(&[1], failed()),
    );
    let mut world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..3), 3).await.unwrap();
    let Some(EngineEvent::Failed(failure)) = world.events.recv().await else {
        panic!("wanted a failure")
    };
    assert_eq!(
        failure.to_string(),
        "record orders-0@1 failed on route `route-0` (function-0) after 4 attempts: FunctionError: scripted"
    );
    assert!(intake.push(records(0, 3..4), 4).await.is_err());
    let commits = world.engine.shutdown(ms(1000)).await;
    assert_eq!(offset_in(&commits, 0), Some(1));
    assert!(
        !sink.calls().iter().any(|call| call.offsets() == [2]),
        "nothing is sent after the failure"
    );
    assert_eq!(world.engine.status().failed_records, 1);
}

#[tokio::test(start_paused = true)]
async fn an_unusable_route_is_probed_slowly_and_the_owner_is_told() {
    let is_down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let sink = FakeSink::new(with(|_| {}), move |_| {
        now(if down.load(Atomic::Relaxed) {
            unusable()
        } else {
            Verdict::Accepted
        })
    });
    let mut world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..1), 1).await.unwrap();
    let event = world.events.recv().await;
    assert!(
        matches!(&event, Some(EngineEvent::AllRoutesUnusable { failure, .. }) if &*failure.class == "ResourceNotFound")
    );
    let times: Vec<_> = sink.calls().iter().map(|call| call.at_ms / 1000).collect();
    assert!(times == [0, 30] || times == [0, 30, 60], "{times:?}");
    assert!(matches!(
        world.engine.status().routes[0].health,
        RouteHealth::Unusable { .. }
    ));
    is_down.store(false, Atomic::Relaxed);
    assert!(matches!(world.events.recv().await, Some(EngineEvent::Usable { .. })));
    world.committable(0, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_only_throttled_is_unusable_no_more() {
    let sink = FakeSink::new(with(|_| {}), |_| now(unusable()));
    let mut world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..1), 1).await.unwrap();
    let told = world.events.recv().await;
    assert!(matches!(told, Some(EngineEvent::AllRoutesUnusable { .. })), "{told:?}");
    sink.set_script(|_| now(throttled()));
    let told = tokio::time::timeout(ms(60_000), world.events.recv()).await.unwrap();
    assert!(matches!(told, Some(EngineEvent::Usable { .. })), "{told:?}");
    assert!(matches!(
        world.engine.status().routes[0].health,
        RouteHealth::Throttled { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn one_usable_route_keeps_the_task_running() {
    let sink = FakeSink::new(vec![settings(), settings()], |seen| {
        now(if seen.route == 0 { unusable() } else { Verdict::Accepted })
    });
    let mut world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake
        .push(vec![sized(0, 0, &[0], 5), sized(0, 1, &[1], 5)], 2)
        .await
        .unwrap();
    sink.until("ten probes", |log| log.calls.len() > 10).await;
    assert!(world.events.try_recv().is_err());
    assert_eq!(world.offset_of(0), Some(0), "the stuck route holds the offset");
    assert_eq!(world.engine.status().routes[1].delivered_records, 1);
}

fn shadow() -> DeliverySettings {
    let mut settings = settings();
    (settings.is_required, settings.bisect, settings.retry.max_attempts) = (false, false, 1);
    settings
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_not_required_skips_records_in_an_outage_and_slows_nobody() {
    for (verdict, most_calls) in [(unreachable(), 30), (unusable(), 4), (throttled(), 30)] {
        let is_down = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let down = Arc::clone(&is_down);
        let sink = FakeSink::new(vec![settings(), shadow()], move |seen| match seen.route {
            1 if down.load(Atomic::Relaxed) => Reply::After(ms(1000), verdict.clone()),
            _ => now(Verdict::Accepted),
        });
        let mut world = World::new(&sink);
        let mut intake = world.engine.assign(tp(0), 1, 0);
        let mut offset = 0;
        let mut held = Vec::new();
        for _ in 0..100 {
            intake
                .push(vec![sized(0, offset, &[0, 1], 5)], offset + 1)
                .await
                .unwrap();
            offset += 1;
            let pushed = tokio::time::Instant::now();
            world.committable(0, offset).await;
            held.push(pushed.elapsed().as_millis());
            tokio::time::sleep(ms(500)).await;
        }
        // One or two calls show that it is away; later ones are probes.
        let calls = sink.calls().iter().filter(|call| call.route == 1).count();
        let slow = held.iter().filter(|ms| **ms > 1).count();
        assert!((2..=most_calls).contains(&calls), "{calls} calls");
        assert_eq!(slow, calls, "only records of a call are waited for: {held:?}");
        let status = world.engine.status();
        assert_eq!(
            (status.routes[0].delivered_records, status.routes[1].skipped_records),
            (100, 100)
        );
        assert!(world.events.try_recv().is_err(), "the task is fine");
        is_down.store(false, Atomic::Relaxed);
        tokio::time::sleep(Duration::from_secs(31)).await;
        for _ in 0..2 {
            intake
                .push(vec![sized(0, offset, &[0, 1], 5)], offset + 1)
                .await
                .unwrap();
            offset += 1;
            world.committable(0, offset).await;
        }
        let status = world.engine.status();
        assert_eq!(
            status.routes[1].delivered_records, 2,
            "the probe, and what came after it"
        );
        assert_eq!(status.routes[1].health, RouteHealth::Up);
    }
}

// Each of its calls held the partition until its time-out, one after the other.
#[tokio::test(start_paused = true)]
async fn a_route_that_is_not_required_and_never_answers_holds_a_record_now_and_then_only() {
    let mut hanging = shadow();
    hanging.call_timeout = Duration::from_secs(10);
    let sink = FakeSink::new(vec![settings(), hanging], |seen| match seen.route {
        1 => Reply::Hang,
        _ => now(Verdict::Accepted),
    });
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    for offset in 0..100 {
        intake
            .push(vec![sized(0, offset, &[0, 1], 5)], offset + 1)
            .await
            .unwrap();
        world.committable(0, offset + 1).await;
        tokio::time::sleep(ms(500)).await;
    }
    let calls = sink.calls().iter().filter(|call| call.route == 1).count();
    assert!((2..=30).contains(&calls), "{calls} calls");
    let status = world.engine.status();
    assert_eq!(status.routes[1].skipped_records, 100);
    assert!(matches!(status.routes[1].health, RouteHealth::Unreachable { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_a_route_that_is_not_required_held_goes_when_its_outage_begins() {
    let mut slow = shadow();
    (slow.batch_records, slow.linger, slow.max_in_flight) = (2, ms(100), 1);
    slow.ordering = Ordering::None;
    let sink = FakeSink::new(vec![slow], |_| Reply::After(ms(1000), unreachable()));
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..9), 9).await.unwrap();
    let started = tokio::time::Instant::now();
    world.committable(0, 9).await;
    assert!(
        (2000..=2001).contains(&started.elapsed().as_millis()),
        "after two calls, all at once"
    );
    assert_eq!(sink.calls().len(), 2);
    sink.set_script(|_| Reply::Hang);
    tokio::time::sleep(Duration::from_secs(5)).await;
    intake.push(records(0, 9..12), 12).await.unwrap();
    sink.until("the probe", |log| log.calls.len() == 3).await;
    let started = tokio::time::Instant::now();
    while world.engine.status().routes[0].skipped_records < 10 {
        tokio::time::sleep(ms(10)).await;
    }
    assert!(
        started.elapsed() <= ms(120),
        "what lingers beside the probe is skipped in its time"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_of_a_route_that_is_not_required_is_not_split() {
    let sink = FakeSink::new(vec![shadow()], |_| now(poison()));
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..9), 9).await.unwrap();
    world.committable(0, 9).await;
    assert_eq!(sink.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_two_routes_is_done_when_both_have_accepted_it() {
    let sink = FakeSink::new(vec![settings(), settings()], |seen| {
        Reply::After(if seen.route == 1 { ms(500) } else { ms(1) }, Verdict::Accepted)
    });
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(vec![sized(0, 0, &[0, 1], 5)], 1)
        .await
        .unwrap();
    sink.until("the first route", |log| log.accepted.len() == 1).await;
    assert_eq!(world.offset_of(0), Some(0));
    world.committable(0, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_sink_fails_the_task_only() {
    let sink = FakeSink::new(with(|_| {}), |_| Reply::Panic);
    let mut world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..1), 1).await.unwrap();
    let Some(EngineEvent::Failed(failure)) = world.events.recv().await else {
        panic!("wanted a failure")
    };
    assert_eq!(&*failure.failure.class, "Panic");
    assert!(failure.to_string().contains("the sink panicked"), "{failure}");
    assert!(
        !failure.to_string().contains("scripted"),
        "its words may hold data: {failure}"
    );
    assert_eq!(failure.origin.unwrap().offset, 0);
    world.engine.shutdown(ms(1000)).await;
    assert!(world.actors.join_next().await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_payload_builder_fails_the_task_only() {
    let sink = FakeSink::new(with(|_| {}), |_| now(Verdict::Accepted));
    let mut world = World::new(&sink);
    let mut bad = record(0, 0);
    bad.routes[0].1.bytes = PANIC_ON_COST.to_vec();
    world.engine.assign(tp(0), 1, 0).push(vec![bad], 1).await.unwrap();
    assert!(matches!(world.events.recv().await, Some(EngineEvent::Failed(_))));
    assert_eq!(offset_in(&world.engine.shutdown(ms(1000)).await, 0), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_back_fails_the_task() {
    let sink = FakeSink::new(with(|_| {}), |_| now(Verdict::Accepted));
    let mut world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 10);
    intake.push(records(0, 9..10), 11).await.unwrap();
    let Some(EngineEvent::Failed(failure)) = world.events.recv().await else {
        panic!("wanted a failure")
    };
    assert_eq!(&*failure.failure.class, "OffsetOrder");
}

#[tokio::test(start_paused = true)]
async fn filtered_records_and_gaps_move_the_commit() {
    let sink = FakeSink::new(with(|_| {}), |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(vec![sized(0, 3, &[], 0)], 10).await.unwrap();
    world.committable(0, 10).await;
    intake.push(Vec::new(), 25).await.unwrap();
    world.committable(0, 25).await;
    assert_eq!(world.engine.status().filtered_records, 1);
    assert!(sink.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_not_acknowledged_is_committable_again() {
    let sink = FakeSink::new(with(|_| {}), |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    let _intake = world.engine.assign(tp(0), 7, 40);
    let first = world.engine.committable();
    assert_eq!((first.len(), first[0].offset, first[0].epoch), (1, 40, 7));
    assert_eq!(world.engine.committable(), first);
    world.engine.committed(&first);
    assert!(world.engine.committable().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_owner_is_woken_after_enough_done_records() {
    let sink = FakeSink::new(with(|s| s.batch_records = 1), |_| {
        Reply::After(ms(1), Verdict::Accepted)
    });
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let push = async { intake.push(records(0, 0..50), 50).await.unwrap() };
    tokio::join!(push, world.engine.done_records(30));
    let done = world.offset_of(0).unwrap();
    assert!((30..50).contains(&done), "{done}");
}

#[tokio::test(start_paused = true)]
async fn revoke_waits_for_calls_and_starts_none() {
    let sink = FakeSink::new(with(|s| s.batch_records = 2), |_| {
        Reply::After(ms(100), Verdict::Accepted)
    });
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..6), 6).await.unwrap();
    sink.until("the first call", |log| log.calls.len() == 1).await;
    let started = tokio::time::Instant::now();
    let commits = world.engine.revoke(vec![tp(0)], ms(5000)).await;
    assert!(started.elapsed() <= ms(101), "it waits for the call, not for its time");
    assert_eq!(offset_in(&commits, 0), Some(2));
    assert!(intake.push(records(0, 6..7), 7).await.is_err());
    tokio::time::sleep(ms(1000)).await;
    assert_eq!(sink.calls().len(), 1);
    assert_eq!(world.engine.status().dropped_records, 4);
    drop(intake);
    assert_eq!(world.memory.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_of_a_revoked_partition_is_not_sent_again() {
    let sink = FakeSink::new(with(|_| {}), |_| Reply::After(ms(100), throttled()));
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..6), 6).await.unwrap();
    sink.until("the first call", |log| log.calls.len() == 1).await;
    let commits = world.engine.revoke(vec![tp(0)], ms(5000)).await;
    assert_eq!(offset_in(&commits, 0), Some(0));
    tokio::time::sleep(ms(20_000)).await;
    assert_eq!(sink.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn late_answers_are_counted_and_not_committed() {
    let sink = FakeSink::new(with(|_| {}), |_| Reply::After(ms(3000), Verdict::Accepted));
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..6), 6).await.unwrap();
    sink.until("the call", |log| log.calls.len() == 1).await;
    let commits = world.engine.revoke(vec![tp(0)], ms(1000)).await;
    assert_eq!(offset_in(&commits, 0), Some(0));
    let _again = world.engine.assign(tp(0), 2, 0);
    sink.until("the late answer", |log| log.accepted.len() == 6).await;
    tokio::time::sleep(ms(10)).await;
    assert_eq!(world.offset_of(0), Some(0));
    assert_eq!(world.engine.status().late_records, 6);
    assert_eq!(world.memory.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_sends_what_lingers() {
    let sink = FakeSink::new(with(|s| s.linger = Duration::from_secs(60)), |_| {
        Reply::After(ms(10), Verdict::Accepted)
    });
    let mut world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..3), 3).await.unwrap();
    let commits = world.engine.shutdown(ms(5000)).await;
    assert_eq!(offset_in(&commits, 0), Some(3));
    assert!(sink.calls()[0].at_ms < 100);
    assert!(world.actors.join_next().await.unwrap().is_ok(), "the actor has ended");
    assert_eq!(world.memory.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_in_time_and_commits_what_is_done() {
    let sink = FakeSink::new(with(|s| s.batch_records = 1), |seen| {
        if seen.offsets() == [2] {
            Reply::Hang
        } else {
            now(Verdict::Accepted)
        }
    });
    let mut world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..5), 5).await.unwrap();
    let started = tokio::time::Instant::now();
    let commits = world.engine.shutdown(ms(2000)).await;
    assert_eq!(offset_in(&commits, 0), Some(2));
    assert!(started.elapsed() <= ms(2001));
    assert!(world.actors.join_next().await.unwrap().is_ok());
    assert_eq!(world.memory.used_bytes(), 0);
}

/// Stops waited their whole time-out for destinations that took nothing anyway.
#[tokio::test(start_paused = true)]
async fn an_outage_does_not_hold_a_shutdown() {
    for (verdict, why) in [
        (throttled(), "throttled"),
        (unreachable(), "unreachable"),
        (unusable(), "unusable"),
    ] {
        let sink = FakeSink::new(with(|s| s.batch_records = 1), move |seen| {
            now(if seen.offsets()[0] < 2 {
                Verdict::Accepted
            } else {
                verdict.clone()
            })
        });
        let mut world = World::new(&sink);
        let mut intake = world.engine.assign(tp(0), 1, 0);
        intake.push(records(0, 0..5), 5).await.unwrap();
        // Record 2 waits for the destination when the shutdown comes, 3 and 4 behind it in their lane. One failure may be a
        // coincidence, two in a row are an outage.
        let calls = if why == "unusable" { 3 } else { 4 };
        sink.until(why, |log| log.calls.len() == calls).await;
        let started = tokio::time::Instant::now();
        let commits = world.engine.shutdown(ms(25_000)).await;
        assert!(started.elapsed() < ms(10), "{why}: took {:?}", started.elapsed());
        assert_eq!(offset_in(&commits, 0), Some(2), "{why}");
        assert_eq!(sink.calls().len(), calls, "{why}");
        assert_eq!(world.engine.status().dropped_records, 3, "{why}");
        assert!(world.actors.join_next().await.unwrap().is_ok(), "{why}");
        assert_eq!(world.memory.used_bytes(), 0, "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_healthy_routes_and_sends_nothing_into_an_outage() {
    let sink = FakeSink::new(vec![settings(), settings()], |seen| match seen.route {
        0 => Reply::After(ms(5), unreachable()),
        _ if seen.at_ms < 1000 => Reply::After(ms(500), failed()),
        _ => now(Verdict::Accepted),
    });
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let deliveries = vec![sized(0, 0, &[1], 10), sized(0, 1, &[0], 10), sized(0, 2, &[1], 10)];
    intake.push(deliveries, 3).await.unwrap();
    sink.until("route 0 is in an outage", |log| {
        log.calls.len() == 3 && log.calls_in_flight[&0] == 0
    })
    .await;
    let started = tokio::time::Instant::now();
    let commits = world.engine.shutdown(ms(25_000)).await;
    assert!(
        started.elapsed() < ms(5000),
        "only the backoff of route 1: took {:?}",
        started.elapsed()
    );
    assert_eq!(offset_in(&commits, 0), Some(1), "record 1 is undone");
    assert_eq!(world.engine.status().routes[1].delivered_records, 2);
    assert_eq!(world.engine.status().dropped_records, 1);
    assert_eq!(sink.calls().iter().filter(|seen| seen.route == 0).count(), 2);
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_out_may_still_end_an_outage_during_a_shutdown() {
    let sink = FakeSink::new(with(|s| s.ordering = Ordering::None), |seen| match seen.at_ms {
        0 if seen.partition == 0 => Reply::After(ms(10), throttled()),
        0 => Reply::After(ms(300), Verdict::Accepted),
        _ => now(Verdict::Accepted),
    });
    let world = World::new(&sink);
    for partition in 0..2 {
        let mut intake = world.engine.assign(tp(partition), 1, 0);
        intake.push(records(partition, 0..2), 2).await.unwrap();
    }
    sink.until("both are out", |log| log.calls.len() == 2).await;
    let commits = world.engine.shutdown(ms(25_000)).await;
    assert_eq!((offset_in(&commits, 0), offset_in(&commits, 1)), (Some(2), Some(2)));
    assert_eq!(world.engine.status().dropped_records, 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handles_ends_the_engine_and_gives_memory_back() {
    let sink = FakeSink::new(with(|_| {}), |_| Reply::Hang);
    let World {
        engine,
        events,
        memory,
        mut actors,
        ..
    } = World::new(&sink);
    let mut intake = engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..5), 5).await.unwrap();
    sink.until("the call", |log| log.calls.len() == 1).await;
    drop((engine, intake, events));
    assert!(actors.join_next().await.unwrap().is_ok());
    assert_eq!(memory.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_partition_makes_the_reader_wait() {
    let limits = PartitionLimits {
        buffer_records: 10,
        ..PartitionLimits::default()
    };
    let sink = FakeSink::new(with(|_| {}), |_| Reply::After(ms(100), Verdict::Accepted));
    let world = World::with(&sink, limits, 64 << 20, 1);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..8), 8).await.unwrap();
    let started = tokio::time::Instant::now();
    intake.push(records(0, 8..12), 12).await.unwrap();
    assert!(started.elapsed() >= ms(100));
    // A partition that holds nothing takes a chunk of any size.
    world.committable(0, 12).await;
    intake.push(records(0, 12..50), 50).await.unwrap();
    world.committable(0, 50).await;
}

#[tokio::test(start_paused = true)]
async fn done_records_behind_an_undone_one_fill_the_window() {
    let limits = PartitionLimits {
        window_records: 20,
        ..PartitionLimits::default()
    };
    let sink = FakeSink::new(with(|s| (s.ordering, s.batch_records) = (Ordering::None, 1)), |seen| {
        if seen.offsets() == [0] {
            Reply::After(Duration::from_secs(30), Verdict::Accepted)
        } else {
            now(Verdict::Accepted)
        }
    });
    let world = World::with(&sink, limits, 64 << 20, 1);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..20), 20).await.unwrap();
    let started = tokio::time::Instant::now();
    intake.push(records(0, 20..21), 21).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(29));
}

#[tokio::test(start_paused = true)]
async fn at_the_workers_bound_every_partition_still_moves_one_chunk() {
    let sink = FakeSink::new(with(|s| s.batch_records = 1), |seen| {
        if seen.partition == 0 {
            Reply::Hang
        } else {
            Reply::After(ms(5), Verdict::Accepted)
        }
    });
    let world = World::with(&sink, PartitionLimits::default(), 500, 1);
    let (mut stuck, mut live) = (world.engine.assign(tp(0), 1, 0), world.engine.assign(tp(1), 1, 0));
    stuck.push(records(0, 0..3), 3).await.unwrap();
    let blocked = tokio::time::timeout(ms(1000), stuck.push(records(0, 3..6), 6)).await;
    assert!(blocked.is_err(), "the bound is reached");
    for offset in 0..20 {
        live.push(records(1, offset..offset + 1), offset + 1).await.unwrap();
    }
    world.committable(1, 20).await;
    assert!(world.memory.used_bytes() <= 500 + 3 * 138);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_push_closes_the_intake_so_that_nothing_is_skipped() {
    let limits = PartitionLimits {
        buffer_records: 1,
        ..PartitionLimits::default()
    };
    let sink = FakeSink::new(with(|_| {}), |_| Reply::After(ms(100), Verdict::Accepted));
    let world = World::with(&sink, limits, 64 << 20, 1);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..1), 1).await.unwrap();
    assert!(
        tokio::time::timeout(ms(1), intake.push(records(0, 1..2), 2))
            .await
            .is_err()
    );
    world.committable(0, 1).await;
    assert!(intake.push(records(0, 2..3), 3).await.is_err());
    tokio::time::sleep(ms(500)).await;
    assert_eq!(world.offset_of(0), Some(1));
}

#[tokio::test(start_paused = true)]
async fn an_assignment_without_revocation_replaces_the_old_one() {
    let sink = FakeSink::new(with(|s| s.batch_records = 1), |_| {
        Reply::After(ms(100), Verdict::Accepted)
    });
    let world = World::new(&sink);
    let mut old = world.engine.assign(tp(0), 1, 0);
    old.push(records(0, 0..5), 5).await.unwrap();
    sink.until("the first call", |log| log.calls.len() == 1).await;
    let mut new = world.engine.assign(tp(0), 2, 3);
    assert!(old.push(records(0, 5..6), 6).await.is_err());
    new.push(records(0, 3..4), 4).await.unwrap();
    world.committable(0, 4).await;
    let seen: Vec<_> = sink.calls().iter().flat_map(Seen::offsets).collect();
    assert_eq!(seen, [0, 3], "what the old assignment held is dropped");
}

#[tokio::test(start_paused = true)]
async fn a_push_that_waits_ends_when_the_actor_is_aborted() {
    let limits = PartitionLimits {
        buffer_records: 1,
        ..PartitionLimits::default()
    };
    let sink = FakeSink::new(with(|_| {}), |_| Reply::Hang);
    let mut world = World::with(&sink, limits, 64 << 20, 1);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..1), 1).await.unwrap();
    let push = intake.push(records(0, 1..2), 2);
    let abort = async {
        sink.until("the call", |log| log.calls.len() == 1).await;
        world.actors.shutdown().await;
    };
    assert!(tokio::join!(push, abort).0.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_record_left_alone_by_a_revocation_still_gets_its_own_call() {
    let sink = FakeSink::new(
        with(|s| (s.batch_scope, s.linger) = (BatchScope::Route, ms(10))),
        |seen| {
            let verdict = if seen.records.len() > 1 {
                poison()
            } else {
                Verdict::Accepted
            };
            Reply::After(ms(100), verdict)
        },
    );
    let world = World::new(&sink);
    let (mut leaving, mut staying) = (world.engine.assign(tp(0), 1, 0), world.engine.assign(tp(1), 1, 0));
    leaving.push(records(0, 0..3), 3).await.unwrap();
    staying.push(records(1, 0..1), 1).await.unwrap();
    sink.until("the call", |log| log.calls.len() == 1).await;
    world.engine.revoke(vec![tp(0)], ms(1000)).await;
    world.committable(1, 1).await;
    assert_eq!(sink.calls()[1].records, [(1, 0)]);
    assert_eq!(world.engine.status().routes[0].delivered_records, 1);
}

#[tokio::test(start_paused = true)]
async fn a_push_cancelled_before_the_full_queue_gives_its_room_back() {
    use futures_util::FutureExt;
    let sink = FakeSink::new(with(|_| {}), |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    // Without a yield the actor takes nothing out, so the queue fills.
    tokio::task::unconstrained(async {
        for position in 0.. {
            let mut other = world.engine.assign(tp(1), 1, position);
            if other.push(Vec::new(), position).now_or_never().is_none() {
                break;
            }
        }
        assert!(intake.push(records(0, 0..1), 1).now_or_never().is_none());
    })
    .await;
    assert_eq!(world.memory.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn records_that_are_done_at_once_take_no_place_in_the_window() {
    let limits = PartitionLimits {
        window_records: 20,
        ..PartitionLimits::default()
    };
    let sink = FakeSink::new(with(|_| {}), |_| {
        Reply::After(Duration::from_secs(30), Verdict::Accepted)
    });
    let world = World::with(&sink, limits, 64 << 20, 1);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake
        .push((0..19).map(|offset| sized(0, offset, &[], 0)).collect(), 19)
        .await
        .unwrap();
    world.committable(0, 19).await;
    intake.push(records(0, 19..20), 20).await.unwrap();
    let started = tokio::time::Instant::now();
    intake.push(records(0, 20..21), 21).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_throttled_route_is_not_unusable() {
    let mut calls = 0;
    let sink = FakeSink::new(with(|_| {}), move |_| {
        calls += 1;
        now(if calls == 1 { unusable() } else { throttled() })
    });
    let mut world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..1), 1).await.unwrap();
    sink.until("two minutes", |log| {
        log.calls.last().is_some_and(|call| call.at_ms > 120_000)
    })
    .await;
    assert!(world.events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn what_was_settled_beyond_the_commit_is_not_sent_again() {
    // Route 0 takes all but offset 1, route 1 nothing yet.
    let two = vec![with(|s| (s.ordering, s.batch_records) = (Ordering::None, 1)).remove(0); 2];
    let sink = FakeSink::new(two.clone(), |seen| match (seen.route, &seen.offsets()[..]) {
        (0, [1]) | (1, _) => Reply::Hang,
        _ => now(Verdict::Accepted),
    });
    let world = World::new(&sink);
    let chunk = || (0..6).map(|offset| sized(0, offset, &[0, 1], 10)).collect::<Vec<_>>();
    world.engine.assign(tp(0), 1, 0).push(chunk(), 6).await.unwrap();
    sink.until("all but one", |log| log.accepted.len() == 5).await;
    let committed = world.engine.shutdown(ms(10)).await.remove(0);
    assert_eq!(committed.offset, 0);
    assert_eq!(committed.progress.routes.len(), 1);
    assert_eq!(committed.progress.routes[0].done, [0..1, 2..6]);

    let sink = FakeSink::new(two, |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    let mut intake = world.engine.resume(tp(0), 1, 0, committed.progress.clone());
    // Before anything is read, the same is committed again.
    assert_eq!(world.engine.committable()[0].progress, committed.progress);
    intake.push(chunk(), 6).await.unwrap();
    world.committable(0, 6).await;
    let of = |route| {
        sink.log(|log| {
            log.accepted
                .keys()
                .filter(|key| key.0 == route)
                .map(|key| key.2)
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(of(0), [1]);
    assert_eq!(of(1), [0, 1, 2, 3, 4, 5]);
    let status = world.engine.status();
    assert_eq!(status.resumed_records, 5);
    assert_eq!(status.partitions[0].buffered_bytes, 0);
    assert_eq!(status.filtered_records, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_settled_stays_settled_through_another_life_that_is_stuck() {
    let two = vec![with(|s| (s.ordering, s.batch_records) = (Ordering::None, 1)).remove(0); 2];
    let chunk = || (0..4).map(|offset| sized(0, offset, &[0, 1], 10)).collect::<Vec<_>>();
    let stuck = |seen: &Seen| {
        if seen.route == 1 {
            Reply::Hang
        } else {
            now(Verdict::Accepted)
        }
    };
    let mut settled = Progress::default();
    for life in 0..3 {
        let sink = FakeSink::new(two.clone(), stuck);
        let world = World::new(&sink);
        let mut intake = world.engine.resume(tp(0), 1, 0, settled);
        intake.push(chunk(), 4).await.unwrap();
        sink.until("route 1 to be stuck", |log| log.calls_in_flight.get(&1) == Some(&4))
            .await;
        let calls = sink.calls().iter().filter(|call| call.route == 0).count();
        assert_eq!(calls, if life == 0 { 4 } else { 0 }, "life {life}");
        let committed = world.engine.shutdown(ms(10)).await.remove(0);
        assert_eq!((committed.offset, committed.progress.end()), (0, Some(4)));
        settled = committed.progress;
    }
}

#[tokio::test(start_paused = true)]
async fn progress_alone_is_worth_a_commit() {
    let sink = FakeSink::new(with(|s| (s.ordering, s.batch_records) = (Ordering::None, 1)), |seen| {
        if seen.offsets() == [0] {
            Reply::Hang
        } else {
            now(Verdict::Accepted)
        }
    });
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..1), 1).await.unwrap();
    let started = world.engine.committable();
    world.engine.committed(&started);
    assert_eq!(world.engine.committable(), []);
    intake.push(records(0, 1..3), 3).await.unwrap();
    sink.until("the others", |log| log.accepted.len() == 2).await;
    tokio::time::sleep(ms(1)).await;
    let next = world.engine.committable();
    let done = &next[0].progress.routes[0].done;
    assert_eq!((next[0].offset, done.len(), done[0].clone()), (0, 1, 1..3));
    world.engine.committed(&next);
    assert_eq!(world.engine.committable(), []);
}

#[tokio::test(start_paused = true)]
async fn a_stop_starts_no_call_whose_answer_it_may_not_wait_for() {
    let settings = with(|s| (s.ordering, s.batch_records, s.max_in_flight) = (Ordering::None, 1, 2));
    let sink = FakeSink::new(settings, |_| Reply::After(ms(2_000), Verdict::Accepted));
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..100), 100)
        .await
        .unwrap();
    sink.until("calls", |log| log.calls.len() == 2).await;
    let stopped = tokio::time::Instant::now();
    world.engine.shutdown(ms(10_000)).await;
    assert!(
        (ms(4_000)..ms(8_000)).contains(&stopped.elapsed()),
        "{:?}",
        stopped.elapsed()
    );
    assert!(sink.log(|log| log.unknown.is_empty() && log.calls.len() == log.accepted.len()));
}

#[tokio::test(start_paused = true)]
async fn calls_are_measured_and_failures_counted_by_class_with_the_last_one_shown() {
    let sink = FakeSink::new(
        with(|s| {
            s.batch_records = 2;
            s.retry.max_attempts = 1;
            s.error_policy = ErrorPolicy::Ignore;
        }),
        refuse(&[1], failed()),
    );
    let world = World::new(&sink);
    world
        .engine
        .assign(tp(0), 1, 0)
        .push(records(0, 0..4), 4)
        .await
        .unwrap();
    world.committable(0, 4).await;
    let monitor = world.engine.monitor();
    let route = &monitor.status().routes[0];
    let calls = sink.calls();
    let failing = calls.iter().filter(|call| call.offsets().contains(&1)).count() as u64;
    assert!(failing >= 2, "as a pair, and alone");
    let counted: Vec<_> = route.failures.iter().map(|(class, count)| (&**class, *count)).collect();
    assert_eq!((counted, route.skipped_records), (vec![("FunctionError", failing)], 1));
    let last = route.last_failure.as_ref().unwrap();
    assert_eq!(
        (last.origin.as_ref().unwrap().offset, last.records),
        (1, 1),
        "the record that is bad"
    );
    let sent: usize = calls.iter().map(|call| call.records.len()).sum();
    assert_eq!(
        (route.call_records.count(), route.call_records.sum),
        (route.calls, sent as u64)
    );
    assert_eq!(route.call_micros.count(), route.calls);
}
