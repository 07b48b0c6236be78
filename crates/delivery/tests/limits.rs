//! Limits that adapt, breakers, and how connectors share what a function takes.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]
#![allow(clippy::cast_sign_loss, reason = "offsets of tests are small and positive")]

mod support;

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klamm_connect_api::delivery::{DeliverySettings, Ordering};
use klamm_connect_api::sink::{ThrottleScope, Verdict};
use klamm_delivery::{
    Delivery, Intake, LimitSettings, LimitStatus, PartitionLimits, RouteHealth, RouteStatus, WorkerLimits, WorkerMemory,
};
use support::*;
use tokio::time::{Instant, sleep};

const KEYS: u64 = 1_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn many_keys(offset: i64) -> Option<u64> {
    Some(offset as u64 % KEYS)
}

fn keyed(offsets: Range<i64>) -> Vec<Delivery> {
    let with_key = |mut delivery: Delivery| {
        delivery.key_hash = many_keys(delivery.origin.offset);
        delivery
    };
    records(0, offsets).into_iter().map(with_key).collect()
}

fn by_key(in_flight: usize) -> DeliverySettings {
    DeliverySettings {
        ordering: Ordering::Key,
        batch_records: 10,
        max_in_flight: in_flight,
        ..settings()
    }
}

fn shape(function_of: fn(usize) -> usize) -> Shape {
    Shape {
        key_of: many_keys,
        function_of,
    }
}

/// A worker's engines, by connector.
struct Worker {
    limits: Arc<WorkerLimits>,
    memory: Arc<WorkerMemory>,
}

impl Worker {
    fn new() -> Self {
        Self::with(LimitSettings::default())
    }

    fn with(settings: LimitSettings) -> Self {
        Self {
            limits: Arc::new(WorkerLimits::new(settings)),
            memory: Arc::new(WorkerMemory::new(256 << 20)),
        }
    }

    fn connector(&self, name: &str, sink: &Arc<FakeSink>) -> World {
        let limits = PartitionLimits {
            buffer_records: 100_000,
            buffer_bytes: 128 << 20,
            window_records: 100_000,
        };
        World::on_worker(sink, name, limits, &self.memory, &self.limits, 7)
    }
}

/// A backlog of single records in partition 0, dealt out to the routes.
async fn backlog(world: &World, records: i64, routes: usize) -> Intake {
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let deal = |offset: i64| sized(0, offset, &[usize::try_from(offset).unwrap() % routes], 10);
    intake.push((0..records).map(deal).collect(), records).await.unwrap();
    intake
}

fn single(in_flight: usize) -> DeliverySettings {
    DeliverySettings {
        ordering: Ordering::None,
        batch_records: 1,
        max_in_flight: in_flight,
        ..settings()
    }
}

fn limits_of(world: &World, route: usize) -> (LimitStatus, LimitStatus) {
    let route = world.engine.status().routes.swap_remove(route);
    (route.function_limit, route.account_limit)
}

fn delivered(world: &World) -> u64 {
    world
        .engine
        .status()
        .routes
        .iter()
        .map(|route| route.delivered_records)
        .sum()
}

#[tokio::test(start_paused = true)]
async fn one_partition_of_many_keys_uses_the_whole_limit_when_there_is_load_and_one_call_when_there_is_not() {
    let capacity = Capacity::new(1_000, ThrottleScope::Function);
    let sink = FakeSink::shaped(vec![by_key(64)], shape(|route| route), limited(&capacity, ms(50)));
    let world = Worker::new().connector("test", &sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    let most = || std::mem::take(&mut capacity.lock().unwrap().most);
    let trickle = async |intake: &mut Intake, from: i64| {
        for offset in from..from + 20 {
            intake.push(keyed(offset..offset + 1), offset + 1).await.unwrap();
            world.committable(0, offset + 1).await;
        }
    };
    trickle(&mut intake, 0).await;
    let before = most();
    let started = Instant::now();
    intake.push(keyed(20..50_020), 50_020).await.unwrap();
    world.committable(0, 50_020).await;
    let took = started.elapsed();
    let under_load = most();
    trickle(&mut intake, 50_020).await;
    let after = most();
    assert_eq!((before, under_load, after), (1, 64, 1));
    // 5,000 calls of 50 ms, 64 at a time: 3,906 ms.
    assert!(took < ms(3_906 * 105 / 100), "{took:?}");
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn under_partial_throttling_calls_stay_near_what_the_function_takes() {
    let capacity = Capacity::new(10, ThrottleScope::Function);
    let sink = FakeSink::new(vec![single(64)], limited(&capacity, ms(20)));
    let world = Worker::new().connector("test", &sink);
    let _intake = backlog(&world, 20_000, 1).await;
    sleep(ms(5_000)).await;
    let (taken, refused) = (delivered(&world), capacity.lock().unwrap().throttled as u64);
    // 10 at a time of 20 ms are 2,500 in 5 s.
    assert!(taken > 2_000, "{taken} delivered, {refused} throttled");
    assert!(refused < taken / 10, "{taken} delivered, {refused} throttled");
    let (function, account) = limits_of(&world, 0);
    assert!((7..=11).contains(&function.limit), "{function:?}");
    assert_eq!(account.limit, account.max, "only the limit that the answer names");
    let throttled = function.throttled.unwrap();
    assert!(throttled.since > ms(4_000), "{throttled:?}");
    assert_eq!(
        world.engine.status().routes[0].health,
        RouteHealth::Up,
        "it is no outage"
    );
    world.assert_no_violations();
}

/// One success let everything go that waited: the function was throttled again at once.
#[tokio::test(start_paused = true)]
async fn after_an_outage_calls_come_back_one_by_one() {
    let capacity = Capacity::new(0, ThrottleScope::Function);
    let sink = FakeSink::new(vec![single(64)], limited(&capacity, ms(20)));
    let world = Worker::new().connector("test", &sink);
    let _intake = backlog(&world, 20_000, 1).await;
    sleep(ms(20_000)).await;
    let calls = sink.calls();
    let late = calls.iter().filter(|call| call.at_ms > 1_000).count();
    assert!((3..=12).contains(&late), "only probes go: {late} in 19 s");
    let gaps = calls.windows(2).all(|pair| pair[1].at_ms - pair[0].at_ms <= 5_001);
    assert!(gaps, "one every 5 s");
    assert!(matches!(
        world.engine.status().routes[0].health,
        RouteHealth::Throttled { .. }
    ));
    {
        let mut capacity = capacity.lock().unwrap();
        (capacity.calls, capacity.most, capacity.throttled) = (1_000, 0, 0);
    }
    sink.until("the end of the outage", |log| log.accepted.len() > 1).await;
    sleep(ms(200)).await;
    let most = capacity.lock().unwrap().most;
    assert!((5..=14).contains(&most), "{most} calls at once after ten round trips");
    sleep(ms(4_000)).await;
    assert_eq!(capacity.lock().unwrap().most, 64, "all of them in the end");
    assert_eq!(capacity.lock().unwrap().throttled, 0);
    world.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn connectors_get_the_same_share_of_a_function_however_many_routes_they_have() {
    let capacity = Capacity::new(8, ThrottleScope::Function);
    let worker = Worker::new();
    let one = FakeSink::shaped(vec![single(64)], shape(|_| 0), limited(&capacity, ms(20)));
    let three = FakeSink::shaped(vec![single(64); 3], shape(|_| 0), limited(&capacity, ms(20)));
    let (a, b) = (worker.connector("a", &one), worker.connector("b", &three));
    let _intakes = (backlog(&a, 10_000, 1).await, backlog(&b, 30_000, 3).await);
    let by_route = |world: &World| -> Vec<u64> {
        let routes = world.engine.status().routes;
        routes.iter().map(|route| route.delivered_records).collect()
    };
    sleep(ms(1_000)).await;
    let before = (delivered(&a), delivered(&b), by_route(&b));
    sleep(ms(10_000)).await;
    let (of_a, of_b) = (delivered(&a) - before.0, delivered(&b) - before.1);
    assert!(of_a + of_b > 3_000, "{of_a} and {of_b} of 4,000");
    assert!(of_a.abs_diff(of_b) < (of_a + of_b) / 10, "{of_a} and {of_b}");
    let routes: Vec<u64> = by_route(&b)
        .iter()
        .zip(before.2)
        .map(|(after, before)| after - before)
        .collect();
    let (least, most) = (routes.iter().min().unwrap(), routes.iter().max().unwrap());
    assert!(most - least <= most / 5, "routes take turns, too: {routes:?}");
    assert_eq!(limits_of(&a, 0).0.max, 10_000);
    assert_eq!(worker.limits.in_use(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_throttled_slows_all_its_functions_together() {
    let capacity = Capacity::new(6, ThrottleScope::Account);
    let worker = Worker::new();
    // Two functions of the first connector, a third of the second.
    let two = FakeSink::shaped(vec![single(64); 2], shape(|route| route), limited(&capacity, ms(20)));
    let third = FakeSink::shaped(vec![single(64)], shape(|_| 2), limited(&capacity, ms(20)));
    let (a, b) = (worker.connector("a", &two), worker.connector("b", &third));
    let _intakes = (backlog(&a, 20_000, 2).await, backlog(&b, 10_000, 1).await);
    sleep(ms(2_000)).await;
    let before = (delivered(&a), delivered(&b), capacity.lock().unwrap().throttled as u64);
    sleep(ms(10_000)).await;
    let (of_a, of_b) = (delivered(&a) - before.0, delivered(&b) - before.1);
    let refused = capacity.lock().unwrap().throttled as u64 - before.2;
    assert!(of_a + of_b > 2_200, "{of_a} and {of_b} of 3,000");
    assert!(
        of_a.abs_diff(of_b) < (of_a + of_b) / 10,
        "by connector: {of_a} and {of_b}"
    );
    assert!(refused < (of_a + of_b) / 10, "{refused} refused");
    let (function, account) = limits_of(&b, 0);
    assert_eq!(function.limit, function.max, "no function was throttled itself");
    assert!((4..=7).contains(&account.limit), "{account:?}");
    assert_eq!(account, limits_of(&a, 1).1, "it is the same limit");
    assert_eq!(worker.limits.in_use(), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn the_settings_bound_what_all_connectors_send_to_a_function() {
    let capacity = Capacity::new(1_000, ThrottleScope::Function);
    let worker = Worker::with(LimitSettings {
        function_max: 5,
        ..LimitSettings::default()
    });
    let sinks = [(); 2].map(|()| FakeSink::shaped(vec![single(64)], shape(|_| 0), limited(&capacity, ms(20))));
    let worlds = [worker.connector("a", &sinks[0]), worker.connector("b", &sinks[1])];
    let _intakes = (backlog(&worlds[0], 500, 1).await, backlog(&worlds[1], 500, 1).await);
    for world in &worlds {
        world.committable(0, 500).await;
    }
    assert_eq!(capacity.lock().unwrap().most, 5);
}

#[tokio::test(start_paused = true)]
async fn a_route_whose_function_takes_nothing_does_not_slow_the_others() {
    let worker = Worker::new();
    let sink = FakeSink::new(vec![single(64); 2], |seen| match seen.route {
        0 => Reply::After(ms(2), unreachable()),
        _ => Reply::After(ms(20), Verdict::Accepted),
    });
    let world = worker.connector("a", &sink);
    let _intake = backlog(&world, 20_000, 2).await;
    sleep(ms(5_000)).await;
    let status = world.engine.status();
    assert!(matches!(status.routes[0].health, RouteHealth::Unreachable { .. }));
    let delivered = status.routes[1].delivered_records;
    // 64 at a time of 20 ms are 16,000 in 5 s; all 10,000 of the route.
    assert_eq!(delivered, 10_000);
    assert_eq!(status.routes[0].function_limit.limit, 10_000, "no throttle, no limit");
}

#[tokio::test(start_paused = true)]
async fn a_throttle_that_never_ends_is_shown_as_what_it_most_likely_is() {
    let sink = FakeSink::new(vec![settings()], |_| now(throttled()));
    let world = World::new(&sink);
    let _intake = backlog(&world, 10, 1).await;
    let message = || match &world.engine.status().routes[0].health {
        RouteHealth::Throttled { failure, .. } => failure.message.to_string(),
        health => panic!("{health:?}"),
    };
    sleep(ms(20_000)).await;
    assert_eq!(message(), "scripted", "it may still pass");
    sleep(ms(20_000)).await;
    assert_eq!(message(), "switched off; scripted");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_wants_to_be_left_alone_gets_probes_only_whoever_calls_it() {
    let worker = Worker::new();
    let open = Arc::new(Mutex::new(false));
    let script = |open: &Arc<Mutex<bool>>| {
        let open = Arc::clone(open);
        move |_: &Seen| match *open.lock().unwrap() {
            true => Reply::After(ms(5), Verdict::Accepted),
            false => Reply::After(
                ms(5),
                throttled_by(ThrottleScope::Function, Some(Duration::from_secs(120))),
            ),
        }
    };
    let sinks = [(); 2].map(|()| FakeSink::shaped(vec![single(64)], shape(|_| 0), script(&open)));
    let a = worker.connector("a", &sinks[0]);
    let _first = backlog(&a, 100, 1).await;
    sinks[0].until("a throttle", |log| !log.calls.is_empty()).await;
    sleep(ms(100)).await;
    // It has not been throttled itself, and yet waits.
    let b = worker.connector("b", &sinks[1]);
    let _second = backlog(&b, 100, 1).await;
    sleep(ms(30_000)).await;
    let late = |sink: &Arc<FakeSink>| sink.calls().iter().filter(|call| call.at_ms > 100).count();
    let (of_a, of_b) = (late(&sinks[0]), late(&sinks[1]));
    assert!((4..=7).contains(&(of_a + of_b)), "one every 5 s: {of_a} and {of_b}");
    assert!(of_a >= 2 && of_b >= 2, "in turn: {of_a} and {of_b}");
    *open.lock().unwrap() = true;
    let started = Instant::now();
    a.committable(0, 100).await;
    b.committable(0, 100).await;
    assert!(started.elapsed() < ms(7_000), "the success of one ends the wait of all");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_engines_that_ended() {
    let capacity = Capacity::new(3, ThrottleScope::Function);
    let worker = Worker::new();
    for round in 0..5 {
        let sink = FakeSink::shaped(vec![single(64); 2], shape(|route| route), limited(&capacity, ms(20)));
        let mut world = worker.connector(&format!("connector-{round}"), &sink);
        let intake = backlog(&world, 1_000, 2).await;
        sleep(ms(100)).await;
        world.engine.shutdown(ms(10)).await;
        world.actors.join_next().await.unwrap().unwrap();
        drop((world, intake));
        // Calls that were abandoned give their permits back when they are dropped.
        tokio::task::yield_now().await;
    }
    assert_eq!(worker.limits.in_use(), (0, 0));
}

// Whether anybody needs its records or not, what a route is told concerns all who call the function.
#[tokio::test(start_paused = true)]
async fn throttles_of_a_route_that_is_not_required_lower_the_limits_that_it_shares() {
    for by in [ThrottleScope::Function, ThrottleScope::Account] {
        let mut shadow = settings();
        (shadow.is_required, shadow.retry.max_attempts) = (false, 1);
        let sink = FakeSink::shaped(vec![settings(), shadow], shape(|_| 0), move |seen| match seen.route {
            1 => now(throttled_by(by, Some(ms(2000)))),
            _ => now(Verdict::Accepted),
        });
        let world = World::new(&sink);
        let mut intake = world.engine.assign(tp(0), 1, 0);
        intake.push(vec![sized(0, 0, &[1], 5)], 1).await.unwrap();
        world.committable(0, 1).await;
        let status = world.engine.status();
        let RouteStatus {
            function_limit,
            account_limit,
            ..
        } = &status.routes[0];
        let (told, other) = match by {
            ThrottleScope::Function => (function_limit, account_limit),
            ThrottleScope::Account | ThrottleScope::Caller => (account_limit, function_limit),
        };
        assert!(
            told.throttled.is_some() && told.closed_for.is_some(),
            "{by:?}: {told:?}"
        );
        assert!(other.throttled.is_none(), "{by:?}: {other:?}");
        assert_eq!(status.routes[1].throttled_calls, 1);
    }
}

// The account's throttle was told of a route that had nothing to send.
#[tokio::test(start_paused = true)]
async fn only_a_route_that_has_something_to_send_waits_for_a_limit() {
    let mut busy = settings();
    busy.ordering = Ordering::None;
    busy.batch_records = 1;
    let sink = FakeSink::new(vec![busy, settings()], |_| {
        now(throttled_by(ThrottleScope::Account, Some(ms(20_000))))
    });
    let world = World::new(&sink);
    let mut intake = world.engine.assign(tp(0), 1, 0);
    intake.push(records(0, 0..20), 20).await.unwrap();
    sleep(ms(10)).await;
    let waits: Vec<bool> = world
        .engine
        .status()
        .routes
        .iter()
        .map(|route| route.waits_for_limit)
        .collect();
    assert_eq!(waits, [true, false]);
}
