//! What becomes of answers that are kept, and of skipped records that are reported, under paused time.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]
#![allow(clippy::cast_sign_loss, reason = "offsets of tests are small and positive")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use klamm_connect_api::delivery::{DeliverySettings, ErrorPolicy, Ordering};
use klamm_connect_api::sink::Verdict;
use klamm_delivery::{About, Delivery, EngineEvent, PartitionLimits};
use support::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const AWAY: LetterReply = LetterReply::After(Duration::from_secs(100_000));

fn with(change: impl FnOnce(&mut DeliverySettings)) -> Vec<DeliverySettings> {
    let mut settings = settings();
    change(&mut settings);
    vec![settings]
}

/// Answers each record with its offset.
fn answered(seen: &Seen) -> Verdict {
    let results = seen
        .offsets()
        .into_iter()
        .map(|offset| Some(Bytes::from(offset.to_string())));
    Verdict::Answered {
        results: results.collect(),
        rest: None,
    }
}

fn originals(partition: i32, offsets: std::ops::Range<i64>) -> Vec<Delivery> {
    records(partition, offsets).into_iter().map(with_original).collect()
}

/// Offsets and results that were kept, in order.
fn kept(world: &World) -> Vec<(i64, String)> {
    let letters = world.letters.kept();
    let of = |letter: &klamm_delivery::Letter| match &letter.about {
        About::Answered { result, .. } => (letter.origin.offset, String::from_utf8(result.to_vec()).unwrap()),
        other => panic!("{other:?}"),
    };
    letters.iter().map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn every_accepted_record_is_done_when_its_answer_is_kept() {
    for ordering in [Ordering::Partition, Ordering::Key, Ordering::None] {
        let sink = FakeSink::new(with(|s| s.ordering = ordering), |seen| now(answered(seen)));
        let world = World::new(&sink);
        world.letters.set_script(|_| LetterReply::After(ms(50)));
        let mut intake = world.engine.assign(tp(0), 1, 0);
        intake.push(originals(0, 0..250), 250).await.unwrap();
        sink.until("a call", |log| !log.accepted.is_empty()).await;
        assert_eq!(world.offset_of(0), Some(0), "{ordering:?}: accepted is not done");
        world.committable(0, 250).await;
        if ordering == Ordering::Partition {
            let starts: Vec<u64> = sink.calls().iter().map(|call| call.at_ms).collect();
            let are_apart = starts.windows(2).all(|pair| pair[1] >= pair[0] + 50);
            assert!(are_apart, "a lane is held until its answers are kept: {starts:?}");
        }
        let mut found = kept(&world);
        found.sort_unstable();
        let wanted: Vec<(i64, String)> = (0..250).map(|offset| (offset, offset.to_string())).collect();
        assert_eq!(found, wanted, "{ordering:?}");
        let status = world.engine.status();
        assert_eq!(
            (status.routes[0].delivered_records, status.routes[0].letters_waiting),
            (250, 0)
        );
        assert_eq!(
            world.memory.used_bytes(),
            0,
            "{ordering:?}: what answers took is given back"
        );
        world.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_a_partial_success_are_kept_and_the_rest_is_sent_again() {
    let script = |seen: &Seen| {
        let offsets = seen.offsets();
        let is_first = offsets.len() > 1;
        let failed: Vec<usize> = (0..offsets.len()).filter(|index| is_first && *index == 1).collect();
        now(Verdict::Answered {
            results: offsets
                .iter()
                .map(|offset| Some(Bytes::from(offset.to_string())))
                .collect(),
            rest: (!failed.is_empty()).then(|| (failed, failure("BatchItemFailures"))),
        })
    };
    let sink = FakeSink::new(with(|_| {}), script);
    // A partial success lets later records pass earlier ones.
    sink.log(|log| log.has_restarts = true);
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(originals(0, 0..4), 4).await.unwrap();
    world.committable(0, 4).await;
    let offsets: Vec<i64> = kept(&world).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, [0, 2, 3, 1]);
    assert_eq!(sink.calls_of(0, 0, 1).len(), 2);
    assert_eq!(sink.calls_of(0, 0, 2).len(), 1);
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_takes_stop_the_calls_within_the_bounds() {
    let limits = PartitionLimits {
        buffer_bytes: 200_000,
        ..PartitionLimits::default()
    };
    let large = |seen: &Seen| {
        let results = seen
            .offsets()
            .into_iter()
            .map(|_| Some(Bytes::from(vec![b'1'; 50_000])));
        now(Verdict::Answered {
            results: results.collect(),
            rest: None,
        })
    };
    let settings = with(|s| {
        s.ordering = Ordering::None;
        s.batch_records = 1;
        s.max_in_flight = 2;
    });
    let sink = FakeSink::new(settings, large);
    let world = World::with(&sink, limits, 64 << 20, 1);
    world.letters.set_script(|_| AWAY);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(originals(0, 0..500), 500).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let calls = sink.calls().len();
    assert!((4..=6).contains(&calls), "{calls} calls while no answer is kept");
    // The bound, and the answers of the calls that were out when it was reached.
    let held = world.memory.used_bytes();
    assert!(held < 200_000 + 2 * 50_000 + 500 * 200, "{held} bytes are held");
    // What waits for a keeper does not hold a stop for long, and is read again.
    let done = world.engine.shutdown(Duration::from_secs(60)).await;
    assert!(done.iter().all(|done| done.offset == 0), "{done:?}");
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn an_orderly_leave_keeps_the_answers_of_calls_that_were_out() {
    for is_stop in [false, true] {
        // Longer than letters are waited for when the leave begins.
        let script = |seen: &Seen| Reply::After(ms(10_000), answered(seen));
        let sink = FakeSink::new(with(|s| s.batch_records = 200), script);
        let world = World::new(&sink);
        world.letters.set_script(|_| LetterReply::After(ms(2_000)));
        let mut intake = world.engine.assign(tp(0), 1, 0);
        intake.push(originals(0, 0..150), 150).await.unwrap();
        sink.until("a call", |log| !log.calls.is_empty()).await;
        let limit = Duration::from_secs(30);
        let done = if is_stop {
            world.engine.shutdown(limit).await
        } else {
            world.engine.revoke(vec![tp(0)], limit).await
        };
        assert_eq!(offset_in(&done, 0), Some(150), "the call that was out is done");
        assert_eq!(kept(&world).len(), 150);
        world.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_refused_fails_the_task_and_commits_nothing_of_it() {
    let sink = FakeSink::new(with(|_| {}), |seen| now(answered(seen)));
    let mut world = World::new(&sink);
    world.letters.set_script(|_| LetterReply::Refuse(0));
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(originals(0, 0..3), 3).await.unwrap();
    let Some(EngineEvent::Failed(failed)) = world.events.recv().await else {
        panic!("no failure");
    };
    assert_eq!((&*failed.failure.class, failed.records), ("ResultRefused", 1));
    let done = world.engine.shutdown(Duration::from_secs(10)).await;
    assert!(done.iter().all(|done| done.offset == 0), "{done:?}");
    assert_eq!(world.memory.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_answers_for_other_records_fails_its_task() {
    let script = |_: &Seen| {
        now(Verdict::Answered {
            results: vec![None],
            rest: None,
        })
    };
    let sink = FakeSink::new(with(|_| {}), script);
    let mut world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(originals(0, 0..3), 3).await.unwrap();
    let Some(EngineEvent::Failed(failed)) = world.events.recv().await else {
        panic!("no failure");
    };
    assert_eq!(&*failed.failure.class, "ResultCount");
}

#[tokio::test(start_paused = true)]
async fn a_skipped_record_is_reported_before_it_is_done_if_that_is_asked_for() {
    for is_reporting in [true, false] {
        let refuse = |seen: &Seen| {
            now(if seen.offsets().contains(&1) {
                poison()
            } else {
                Verdict::Accepted
            })
        };
        let sink = FakeSink::new(with(|s| s.error_policy = ErrorPolicy::Log), refuse);
        let world = if is_reporting {
            World::reporting(&sink)
        } else {
            World::new(&sink)
        };
        world.letters.set_script(|_| LetterReply::After(ms(500)));
        let mut intake = world.engine.assign(tp(0), 1, 0);
        intake.push(originals(0, 0..4), 4).await.unwrap();
        if is_reporting {
            sink.until("the first record", |log| log.accepted.contains_key(&(0, 0, 0)))
                .await;
            tokio::time::sleep(ms(400)).await;
            assert_eq!(world.offset_of(0), Some(1), "not done before it is reported");
        }
        world.committable(0, 4).await;
        let letters = world.letters.kept();
        assert_eq!(letters.len(), usize::from(is_reporting));
        if let [letter] = letters.as_slice() {
            assert!(matches!(&letter.about, About::Skipped(given_up) if &*given_up.failure.class == "Poison"));
        }
        let route = &world.engine.status().routes[0];
        assert_eq!((route.skipped_records, route.dead_lettered_records), (1, 0));
        world.assert_no_violations();
    }
}
