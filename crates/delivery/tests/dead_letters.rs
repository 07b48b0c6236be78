//! What becomes of records that are given up under `dlq`, one behaviour a test, under paused time.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]
#![allow(clippy::cast_sign_loss, reason = "offsets of tests are small and positive")]

mod support;

use std::time::Duration;

use klamm_connect_api::delivery::{DeliverySettings, ErrorPolicy, Ordering};
use klamm_connect_api::sink::Verdict;
use klamm_delivery::{Delivery, EngineEvent, PartitionLimits, Progress};
use support::*;
use tokio::time::Instant;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Longer than any test: the queue takes nothing.
const AWAY: LetterReply = LetterReply::After(Duration::from_secs(100_000));

fn with(change: impl FnOnce(&mut DeliverySettings)) -> Vec<DeliverySettings> {
    let mut settings = settings();
    settings.error_policy = ErrorPolicy::DeadLetter;
    change(&mut settings);
    vec![settings]
}

/// Refuses the content of these offsets.
fn refuse(bad: &'static [i64]) -> impl FnMut(&Seen) -> Reply {
    move |seen| {
        let is_bad = seen.records.iter().any(|(_, offset)| bad.contains(offset));
        now(if is_bad { poison() } else { Verdict::Accepted })
    }
}

fn originals(partition: i32, offsets: std::ops::Range<i64>) -> Vec<Delivery> {
    records(partition, offsets).into_iter().map(with_original).collect()
}

#[tokio::test(start_paused = true)]
async fn exactly_the_poison_records_of_a_batch_become_dead_letters() {
    for ordering in [Ordering::Partition, Ordering::Key, Ordering::None] {
        let sink = FakeSink::new(with(|s| s.ordering = ordering), refuse(&[3, 41, 42, 99]));
        let world = World::new(&sink);
        let mut intake = world.engine.assign(tp(0), 1, 0);
        intake.push(originals(0, 0..100), 100).await.unwrap();
        world.committable(0, 100).await;
        let mut kept = world.letters.kept_offsets(0);
        kept.sort_unstable();
        assert_eq!(kept, [3, 41, 42, 99], "{ordering:?}");
        sink.log(|log| {
            assert!(log.accepted.values().all(|times| *times == 1), "{ordering:?}");
            assert_eq!(log.accepted.len(), 96);
        });
        let status = world.engine.status();
        let route = &status.routes[0];
        let counts = (
            route.delivered_records,
            route.skipped_records,
            route.dead_lettered_records,
        );
        assert_eq!(counts, (96, 0, 4), "{ordering:?}");
        assert_eq!((status.dead_lettered_records, route.letters_waiting), (0, 0));
        let letter = &world.letters.kept()[0];
        let given_up = letter.about.given_up().unwrap();
        assert_eq!((&*given_up.route, &*given_up.destination), ("route-0", "function-0"));
        assert_eq!(&*given_up.failure.class, "Poison");
        world.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_letter_tells_how_often_its_record_was_tried() {
    let script = |seen: &Seen| {
        now(if seen.offsets().contains(&1) {
            failed()
        } else {
            Verdict::Accepted
        })
    };
    let sink = FakeSink::new(with(|s| s.retry.max_attempts = 4), script);
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(originals(0, 0..4), 4).await.unwrap();
    world.committable(0, 4).await;
    let kept = world.letters.kept();
    assert_eq!(world.letters.kept_offsets(0), [1]);
    assert_eq!(kept[0].about.given_up().unwrap().attempts, 4);
    assert_eq!(
        sink.calls_of(0, 0, 1).len(),
        4,
        "attempts count the calls it was part of"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lane_is_held_until_its_letter_is_acknowledged() {
    let sink = FakeSink::new(with(|s| s.batch_records = 4), refuse(&[1]));
    let world = World::new(&sink);
    world.letters.set_script(|_| LetterReply::After(ms(700)));
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let mut other = world.engine.assign(tp(1), 1, 0);
    intake.push(originals(0, 0..8), 8).await.unwrap();
    // Offset 1 is poison in every partition; this one has none.
    other.push(originals(1, 10..14), 14).await.unwrap();
    tokio::time::sleep(ms(500)).await;
    assert_eq!(world.offset_of(0), Some(1), "not done before it is acknowledged");
    assert_eq!(world.offset_of(1), Some(14), "other lanes go on");
    assert_eq!(world.engine.status().routes[0].letters_waiting, 1);
    world.committable(0, 8).await;
    for offset in 2..8 {
        let (call, _) = sink.calls_of(0, 0, offset).into_iter().last().unwrap();
        assert!(
            call.at_ms >= 700,
            "{offset} was sent before the letter of its lane was acknowledged"
        );
    }
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn records_that_failed_before_delivery_are_done_when_their_letters_are() {
    let sink = FakeSink::new(with(|_| {}), |_| now(Verdict::Accepted));
    let world = World::new(&sink);
    world.letters.set_script(|_| LetterReply::After(ms(100)));
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let mut chunk = vec![record(0, 0)];
    chunk.extend((1..351).map(|offset| undeliverable(0, offset)));
    chunk.push(record(0, 351));
    intake.push(chunk, 352).await.unwrap();
    sink.until("the good records", |log| log.accepted.len() == 2).await;
    assert_eq!(
        world.offset_of(0),
        Some(1),
        "no commit passes a letter that is not acknowledged"
    );
    let before = Instant::now();
    world.committable(0, 352).await;
    assert!(before.elapsed() <= ms(410), "a hundred at once: {:?}", before.elapsed());
    assert_eq!(world.letters.kept_offsets(0), (1..351).collect::<Vec<_>>(), "in order");
    let status = world.engine.status();
    assert_eq!((status.dead_lettered_records, status.filtered_records), (350, 0));
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn while_the_queue_is_away_the_partition_waits_within_its_bounds_and_loses_nothing() {
    let limits = PartitionLimits {
        buffer_records: 50,
        buffer_bytes: 8_000,
        window_records: 1_000,
    };
    let sink = FakeSink::new(with(|_| {}), refuse(&[3]));
    let world = World::with(&sink, limits, 1 << 20, 1);
    let mut outage = Some(Duration::from_secs(60));
    world
        .letters
        .set_script(move |_| LetterReply::After(outage.take().unwrap_or_default()));
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(originals(0, 0..20), 20).await.unwrap();
    sink.until("the poison record alone", |log| {
        log.calls.iter().any(|call| call.offsets() == [3])
    })
    .await;
    let behind = (20..45).map(|offset| undeliverable(0, offset)).collect();
    intake.push(behind, 45).await.unwrap();
    let (partition, held) = {
        let push = intake.push(originals(0, 45..70), 70);
        let mut push = std::pin::pin!(push);
        assert!(
            tokio::time::timeout(Duration::from_secs(50), &mut push).await.is_err(),
            "no room meanwhile"
        );
        let held = (world.engine.status().partitions[0].clone(), world.memory.used_bytes());
        push.await.unwrap();
        held
    };
    assert_eq!((partition.committable, partition.buffered_records), (3, 17 + 25));
    assert!(held <= 8_000 + 25 * 160, "{held} bytes are held");
    world.committable(0, 70).await;
    let mut wanted = vec![3];
    wanted.extend(20..45);
    assert_eq!(world.letters.kept_offsets(0), wanted);
    assert_eq!(world.memory.used_bytes(), 0);
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_refused_letter_fails_the_task_and_its_offset_is_not_committed() {
    let sink = FakeSink::new(with(|_| {}), refuse(&[3]));
    let mut world = World::new(&sink);
    world.letters.set_script(|_| LetterReply::Refuse(0));
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(originals(0, 0..20), 20).await.unwrap();
    let Some(EngineEvent::Failed(failure)) = world.events.recv().await else {
        panic!("the task fails")
    };
    let text = failure.to_string();
    for wanted in [
        "record orders-0@3",
        "route-0",
        "DeadLetterRefused: scripted refusal",
        "given up for: Poison",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
    let commits = world.engine.shutdown(Duration::from_secs(10)).await;
    assert_eq!(offset_in(&commits, 0), Some(3));
    assert_eq!(world.engine.status().failed_records, 1);
    world.actors.join_next().await.unwrap().unwrap();
    assert_eq!(world.memory.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_refused_one_of_many_letters_is_named() {
    let sink = FakeSink::new(with(|_| {}), |_| now(Verdict::Accepted));
    let mut world = World::new(&sink);
    world.letters.set_script(|_| LetterReply::Refuse(2));
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake
        .push((0..5).map(|offset| undeliverable(0, offset)).collect(), 5)
        .await
        .unwrap();
    let Some(EngineEvent::Failed(failure)) = world.events.recv().await else {
        panic!("the task fails")
    };
    assert_eq!(
        failure.to_string(),
        "record orders-0@2 failed: DeadLetterRefused: scripted refusal"
    );
    let commits = world.engine.shutdown(Duration::from_secs(10)).await;
    assert_eq!(offset_in(&commits, 0), Some(0));
    let status = world.engine.status();
    assert_eq!((status.failed_records, status.dropped_records), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_letters_are_written_fails_the_task() {
    let sink = FakeSink::new(with(|_| {}), refuse(&[0]));
    let mut world = World::new(&sink);
    world.letters.set_script(|_| LetterReply::Panic);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(originals(0, 0..1), 1).await.unwrap();
    let Some(EngineEvent::Failed(failure)) = world.events.recv().await else {
        panic!("the task fails")
    };
    assert!(failure.to_string().contains("writing letters panicked"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_waits_shortly_for_letters_and_none_is_written_afterwards() {
    for (takes, kept, why) in [
        (ms(3_000), vec![3], "a queue that answers is waited for"),
        (ms(60_000), vec![], "one that does not is not"),
    ] {
        let sink = FakeSink::new(with(|_| {}), refuse(&[3, 5]));
        let world = World::new(&sink);
        world.letters.set_script(move |_| LetterReply::After(takes));
        let mut intake = world.engine.assign(tp(0), 1, 0);
        intake.push(originals(0, 0..10), 10).await.unwrap();
        sink.until("the poison record alone", |log| {
            log.calls.iter().any(|call| call.offsets() == [3])
        })
        .await;
        let before = Instant::now();
        let commits = world.engine.revoke(vec![tp(0)], Duration::from_secs(50)).await;
        assert!(before.elapsed() <= ms(5_001), "{why}: {:?}", before.elapsed());
        let done = i64::try_from(kept.len()).unwrap();
        assert_eq!(offset_in(&commits, 0), Some(3 + done), "{why}");
        sink.log(|log| log.away.insert(0));
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(world.letters.kept_offsets(0), kept, "{why}");
        assert_eq!(world.memory.used_bytes(), 0, "{why}");
        assert_eq!(
            world.engine.status().dropped_records,
            u64::try_from(7 - done).unwrap(),
            "{why}"
        );
        world.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn letters_of_a_lost_partition_are_taken_back_at_once() {
    let sink = FakeSink::new(with(|_| {}), refuse(&[0]));
    let world = World::new(&sink);
    world.letters.set_script(|_| AWAY);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(originals(0, 0..1), 1).await.unwrap();
    sink.until("the poison record", |log| !log.calls.is_empty()).await;
    tokio::time::sleep(ms(10)).await;
    let before = Instant::now();
    world.engine.lost(vec![tp(0)]).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(world.memory.used_bytes(), 0);
    // It comes back: its letter is written anew, while nothing of the first write is left.
    world.letters.set_script(|_| LetterReply::After(Duration::ZERO));
    let mut intake = world.engine.assign(tp(0), 2, 0);
    sink.log(|log| log.restart(0, &Progress::default()));
    intake.push(originals(0, 0..1), 1).await.unwrap();
    world.committable(0, 1).await;
    assert_eq!(world.letters.kept_offsets(0), [0]);
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_queue_that_takes_nothing() {
    let sink = FakeSink::new(with(|s| s.batch_records = 1), refuse(&[3]));
    let mut world = World::new(&sink);
    world.letters.set_script(|_| AWAY);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(originals(0, 0..10), 10).await.unwrap();
    let mut other = world.engine.assign(tp(1), 1, 0);
    other
        .push(vec![with_original(record(1, 10)), undeliverable(1, 11)], 12)
        .await
        .unwrap();
    sink.until("the poison record", |log| {
        log.calls.iter().any(|call| call.offsets() == [3])
    })
    .await;
    let before = Instant::now();
    let commits = world.engine.shutdown(Duration::from_secs(25)).await;
    assert!(before.elapsed() <= ms(5_001), "{:?}", before.elapsed());
    assert_eq!((offset_in(&commits, 0), offset_in(&commits, 1)), (Some(3), Some(11)));
    world.actors.join_next().await.unwrap().unwrap();
    assert_eq!(world.memory.used_bytes(), 0);
    assert_eq!(world.engine.status().dropped_records, 8);
    world.assert_no_violations();
}
