//! What records refer to is stored before the call that carries them, and held within the bounds of memory.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]
#![allow(clippy::cast_sign_loss, reason = "offsets of tests are small and positive")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering as Atomic};

use klamm_connect_api::delivery::{DeliverySettings, ErrorPolicy};
use klamm_connect_api::sink::Verdict;
use klamm_delivery::{MemoryBudget as _, PartitionLimits, RouteHealth};
use support::*;
use tokio::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_call_goes_out_when_all_that_its_records_refer_to_is_stored() {
    let sink = FakeSink::new(vec![settings()], |_| now(Verdict::Accepted));
    sink.set_store(|_| (Duration::from_secs(3), Ok(())));
    let seen = std::sync::Arc::clone(&sink);
    sink.set_script(move |call| {
        let all = call.offsets().iter().all(|offset| {
            let name = (0, offset.to_string());
            *offset % 2 == 1 || seen.log(|log| log.stored.contains(&name))
        });
        assert!(all, "sent before it was stored");
        now(Verdict::Accepted)
    });
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let records = records(0, 0..4).into_iter();
    let records = records.map(|record| {
        if record.origin.offset % 2 == 0 {
            attached(record, 10)
        } else {
            record
        }
    });
    intake.push(records.collect(), 4).await.unwrap();
    world.committable(0, 4).await;
    assert_eq!(sink.calls().len(), 1);
    assert_eq!(sink.calls()[0].at_ms, 3000);
}

// The time that storing takes was the call's: a function that answers within its time-out was given up.
#[tokio::test(start_paused = true)]
async fn storing_takes_nothing_from_the_time_of_the_call() {
    let settings = DeliverySettings {
        call_timeout: Duration::from_secs(5),
        ..settings()
    };
    let sink = FakeSink::new(vec![settings], |_| {
        Reply::After(Duration::from_secs(4), Verdict::Accepted)
    });
    sink.set_store(|_| (Duration::from_secs(8), Ok(())));
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(vec![attached(record(0, 0), 10)], 1).await.unwrap();
    world.committable(0, 1).await;
    assert_eq!(world.engine.status().routes[0].possible_duplicates, 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_no_attempt_and_no_call_and_is_waited_for() {
    let settings = DeliverySettings {
        error_policy: ErrorPolicy::Fail,
        ..settings()
    };
    let sink = FakeSink::new(vec![settings], |_| now(Verdict::Accepted));
    let tries = AtomicUsize::new(0);
    sink.set_store(move |_| {
        let is_away = tries.fetch_add(1, Atomic::Relaxed) < 20;
        (Duration::ZERO, if is_away { Err(unreachable()) } else { Ok(()) })
    });
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(vec![attached(record(0, 0), 10)], 1).await.unwrap();
    for _ in 0..10_000 {
        if matches!(world.engine.status().routes[0].health, RouteHealth::Unreachable { .. }) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(sink.calls().is_empty());
    world.committable(0, 1).await;
    assert_eq!(sink.calls().len(), 1, "more tries than it has attempts");
    assert_eq!(world.engine.status().routes[0].health, RouteHealth::Up);
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_stored_counts_as_memory_and_one_record_of_any_size_passes() {
    let sink = FakeSink::new(vec![settings()], |_| now(Verdict::Accepted));
    sink.set_store(|_| (Duration::from_secs(60), Ok(())));
    let limits = PartitionLimits {
        buffer_bytes: 1 << 20,
        ..PartitionLimits::default()
    };
    let world = World::with(&sink, limits, 2 << 20, 1);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(vec![attached(record(0, 0), 50 << 20)], 1).await.unwrap();
    assert!(world.memory.used_bytes() > 50 << 20, "{}", world.memory.used_bytes());
    let next = intake.push(vec![attached(record(0, 1), 10)], 2);
    let waits = tokio::time::timeout(Duration::from_secs(30), next).await;
    assert!(waits.is_err(), "no room beside it");
    world.committable(0, 1).await;
    assert_eq!(world.memory.used_bytes(), 0, "all is given back");
    assert!(!world.memory.is_short());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_given_up_gives_back_what_was_to_be_stored() {
    let settings = DeliverySettings {
        error_policy: ErrorPolicy::DeadLetter,
        ..settings()
    };
    let sink = FakeSink::new(vec![settings], |_| now(Verdict::Accepted));
    sink.set_store(|_| (Duration::ZERO, Err(poison())));
    let world = World::new(&sink);
    world.letters.set_script(|_| LetterReply::After(Duration::from_secs(9)));
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let record = with_original(attached(record(0, 0), 1 << 20));
    intake.push(vec![record], 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let held = world.memory.used_bytes();
    assert!(held < 1000, "its letter needs the original only: {held}");
    world.committable(0, 1).await;
    assert_eq!(world.memory.used_bytes(), 0);
    assert_eq!(world.letters.kept_offsets(0), [0]);
    assert!(sink.calls().is_empty());
}
