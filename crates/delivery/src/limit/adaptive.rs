//! How many calls a destination takes at once, learned from its answers: additive increase, multiplicative decrease.
//!
//! No clock, no lock, no waiting: `now` comes in, and the caller acts on what comes out.

use std::time::Duration;

use klamm_connect_api::sink::Failure;
use tokio::time::Instant;

use crate::breaker::PROBE;

/// A throttle that old says nothing about now.
const RECENT: Duration = Duration::from_secs(60);
/// Round trips that take so many times the lowest one lower a limit that goes by latency.
const SLOW: f64 = 2.0;
/// What is left of a limit that falls.
const FALL: f64 = 0.7;
/// The lowest round trip is that of one to two such times: a function that got slower for good is not held down for ever.
const LOWEST_FOR: Duration = Duration::from_secs(300);

/// A limit that adapts, between 1 and its maximum.
#[derive(Debug)]
pub(super) struct Adaptive {
    max: usize,
    limit: usize,
    in_flight: usize,
    /// How often it fell. Answers to calls that were sent before it fell last are about what was then.
    falls: u64,
    round: Round,
    latency: Option<Latency>,
    /// The destination asked to be left alone until then.
    closed_until: Option<Instant>,
    last_taken: Option<Instant>,
    throttles: Option<Throttles>,
}

/// A call's leave, as the limit knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    falls: u64,
    /// Calls that were out then, this one included.
    in_flight: usize,
}

/// A round trip: it is over when as many calls were answered as were out at most.
#[derive(Debug, Default)]
struct Round {
    answered: usize,
    most_in_flight: usize,
    /// Somebody had to wait for this limit.
    is_wanted: bool,
    took: Duration,
}

/// The row of throttles that the last one belongs to.
#[derive(Debug)]
struct Throttles {
    first: Instant,
    last: Instant,
    failure: Failure,
}

/// Lowest round trips of this time and of the one before.
#[derive(Debug, Default)]
struct Latency {
    since: Option<Instant>,
    lowest: Option<Duration>,
    lowest_before: Option<Duration>,
}

/// What [`crate::LimitStatus`] is made of.
pub(super) struct View<'a> {
    pub(super) limit: usize,
    pub(super) max: usize,
    pub(super) in_flight: usize,
    pub(super) closed_for: Option<Duration>,
    pub(super) throttled: Option<(Duration, &'a Failure)>,
}

impl Adaptive {
    /// Fully open.
    pub(super) fn new(max: usize, by_latency: bool) -> Self {
        let max = max.max(1);
        Self {
            max,
            limit: max,
            in_flight: 0,
            falls: 0,
            round: Round::default(),
            latency: by_latency.then(Latency::default),
            closed_until: None,
            last_taken: None,
            throttles: None,
        }
    }

    /// Whether one more call may go. While the destination wants to be left alone, one goes in [`PROBE`].
    pub(super) fn admits(&self, now: Instant) -> bool {
        let is_open = self.closed_until.is_none_or(|until| until <= now)
            || self.last_taken.is_none_or(|last| last + PROBE <= now);
        is_open && self.in_flight < self.limit
    }

    /// When [`Adaptive::admits`] may change without a call ending.
    pub(super) fn look_at(&self, now: Instant) -> Option<Instant> {
        let until = self.closed_until.filter(|until| *until > now)?;
        let probe = self.last_taken.map(|last| last + PROBE).filter(|probe| *probe > now);
        Some(probe.map_or(until, |probe| probe.min(until)))
    }

    pub(super) fn take(&mut self, now: Instant) -> Stamp {
        self.in_flight += 1;
        self.round.most_in_flight = self.round.most_in_flight.max(self.in_flight);
        self.last_taken = Some(now);
        Stamp {
            falls: self.falls,
            in_flight: self.in_flight,
        }
    }

    /// After [`Adaptive::took`] or [`Adaptive::throttled`], if the answer says anything.
    pub(super) fn give_back(&mut self) {
        self.in_flight -= 1;
    }

    /// Somebody has to wait.
    pub(super) fn want(&mut self) {
        self.round.is_wanted = true;
    }

    /// The destination took the call, whatever came of it.
    pub(super) fn took(&mut self, stamp: Stamp, round_trip: Duration, now: Instant) {
        if stamp.falls != self.falls {
            return;
        }
        self.closed_until = None;
        self.round.answered += 1;
        self.round.took += round_trip;
        if let Some(latency) = &mut self.latency {
            latency.note(round_trip, now);
        }
        if self.round.answered < self.round.most_in_flight {
            return;
        }
        let mean = self.round.took.div_f64(float(self.round.answered));
        match self.latency.as_ref().and_then(|latency| latency.gradient(mean)) {
            Some(gradient) if gradient < 1.0 => self.fall(self.round.most_in_flight, gradient.max(FALL)),
            _ => {
                if self.round.is_wanted {
                    self.limit = (self.limit + 1).min(self.max);
                }
                self.begin_round();
            }
        }
    }

    /// The destination said that this is too much.
    pub(super) fn throttled(&mut self, stamp: Stamp, after: Option<Duration>, failure: &Failure, now: Instant) {
        let first = self.recent_throttles(now).map_or(now, |throttles| throttles.first);
        self.throttles = Some(Throttles {
            first,
            last: now,
            failure: failure.clone(),
        });
        let is_news = stamp.falls == self.falls;
        if is_news {
            // From what was really out, when it was sent or now: a limit that nobody reached says nothing.
            self.fall(stamp.in_flight.max(self.in_flight), FALL);
        }
        // An old answer opens nothing that closed meanwhile, and closes nothing that opened.
        if is_news || self.closed_until.is_some() {
            self.closed_until = self.closed_until.max(after.map(|after| now + after));
        }
    }

    fn fall(&mut self, in_flight: usize, factor: f64) {
        let from = self.limit.min(in_flight);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a count of calls, not negative"
        )]
        let to = (float(from) * factor) as usize;
        self.limit = to.max(1);
        self.falls += 1;
        self.begin_round();
    }

    fn begin_round(&mut self) {
        self.round = Round {
            most_in_flight: self.in_flight.min(self.limit),
            ..Round::default()
        };
    }

    fn recent_throttles(&self, now: Instant) -> Option<&Throttles> {
        self.throttles
            .as_ref()
            .filter(|throttles| throttles.last + RECENT > now)
    }

    pub(super) fn view(&self, now: Instant) -> View<'_> {
        let until = self.closed_until.filter(|until| *until > now);
        View {
            limit: self.limit,
            max: self.max,
            in_flight: self.in_flight,
            closed_for: until.map(|until| until - now),
            throttled: self
                .recent_throttles(now)
                .map(|throttles| (now.saturating_duration_since(throttles.first), &throttles.failure)),
        }
    }
}

impl Latency {
    fn note(&mut self, round_trip: Duration, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if now >= since + LOWEST_FOR {
            self.since = Some(now);
            self.lowest_before = self.lowest.take();
        }
        self.lowest = Some(self.lowest.map_or(round_trip, |lowest| lowest.min(round_trip)));
    }

    /// How far round trips of this length are from what is still fine; 1 and more if they are.
    fn gradient(&self, mean: Duration) -> Option<f64> {
        let lowest = self.lowest.into_iter().chain(self.lowest_before).min()?;
        (!mean.is_zero()).then(|| SLOW * lowest.as_secs_f64() / mean.as_secs_f64())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of calls")]
fn float(calls: usize) -> f64 {
    calls as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn failure() -> Failure {
        Failure {
            class: "TooMany".into(),
            message: "scripted".into(),
            request_id: None,
            answered: None,
        }
    }

    /// Fills the limit, and answers all calls; those above `capacity` with a throttle.
    fn round(limit: &mut Adaptive, capacity: usize, now: Instant) {
        let mut stamps = Vec::new();
        while limit.admits(now) {
            stamps.push(limit.take(now));
        }
        limit.want();
        for (index, stamp) in stamps.into_iter().enumerate() {
            if index < capacity {
                limit.took(stamp, ms(10), now);
            } else {
                limit.throttled(stamp, None, &failure(), now);
            }
            limit.give_back();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_falls_once_and_grows_by_one_in_a_round_trip() {
        let now = Instant::now();
        let mut limit = Adaptive::new(100, false);
        let steps = [
            // capacity, limit after the round trip, why
            (100, 100, "the maximum stays"),
            (
                50,
                35,
                "30 % less of the 51 that were out with the first that was refused",
            ),
            (50, 36, "one more for each round trip"),
            (50, 37, "and again"),
            (37, 38, "while all pass"),
            (37, 26, "the 38th was refused"),
            (0, 18, "however many were refused"),
            (0, 12, "once in each round trip"),
            (0, 8, ""),
            (0, 5, ""),
            (0, 3, ""),
            (0, 2, ""),
            (0, 1, "never below one"),
            (0, 1, "never below one"),
            (9, 2, "from there it grows again"),
        ];
        for (step, (capacity, wanted, why)) in steps.into_iter().enumerate() {
            round(&mut limit, capacity, now);
            assert_eq!((limit.limit, limit.in_flight), (wanted, 0), "step {step}: {why}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_falls_from_what_was_out_and_grows_only_if_somebody_waits() {
        let now = Instant::now();
        let mut limit = Adaptive::new(1000, false);
        let stamps: Vec<_> = (0..10).map(|_| limit.take(now)).collect();
        limit.throttled(stamps[0], None, &failure(), now);
        assert_eq!(limit.limit, 7, "of the 10 that were out");
        for stamp in &stamps[1..] {
            limit.throttled(*stamp, None, &failure(), now);
        }
        assert_eq!(limit.limit, 7, "they were sent before it fell");
        stamps.iter().for_each(|_| limit.give_back());
        for _ in 0..50 {
            let stamp = limit.take(now);
            limit.took(stamp, ms(1), now);
            limit.give_back();
        }
        assert_eq!(limit.limit, 7, "nobody needs more");
    }

    #[tokio::test(start_paused = true)]
    async fn the_destinations_wish_closes_it_but_for_probes_and_a_success_opens_it() {
        let start = Instant::now();
        let mut limit = Adaptive::new(10, false);
        let old = limit.take(start);
        let stamp = limit.take(start);
        limit.throttled(stamp, Some(Duration::from_secs(60)), &failure(), start);
        limit.give_back();
        limit.took(old, ms(1), start);
        limit.give_back();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(!limit.admits(at(4_999)), "a success of before says nothing");
        assert_eq!(limit.look_at(start), Some(at(5_000)), "then a probe may go");
        assert!(limit.admits(at(5_000)));
        let probe = limit.take(at(5_000));
        assert!(!limit.admits(at(5_000)), "one probe at a time");
        limit.throttled(probe, None, &failure(), at(5_100));
        limit.give_back();
        assert_eq!(
            limit.view(at(5_100)).closed_for,
            Some(Duration::from_millis(54_900)),
            "it is still closed"
        );
        let probe = limit.take(at(10_000));
        limit.took(probe, ms(1), at(10_001));
        limit.give_back();
        assert!(limit.admits(at(10_001)), "the success of a probe opens it");
        assert_eq!(limit.look_at(at(10_001)), None);
        let throttled = limit.view(at(10_001)).throttled.map(|(since, _)| since);
        assert_eq!(
            throttled,
            Some(Duration::from_millis(10_001)),
            "since the first of them"
        );
        assert!(limit.view(at(65_100)).throttled.is_none(), "a minute without one");
    }

    #[tokio::test(start_paused = true)]
    async fn latency_lowers_it_only_if_that_is_asked_for() {
        let start = Instant::now();
        for (by_latency, wanted) in [(false, [20, 20, 21, 22]), (true, [20, 20, 14, 15])] {
            let mut limit = Adaptive::new(1000, by_latency);
            limit.limit = 20;
            let mut trip = |round_trip, is_wanted: bool| {
                let stamps: Vec<_> = std::iter::from_fn(|| limit.admits(start).then(|| limit.take(start))).collect();
                if is_wanted {
                    limit.want();
                }
                for stamp in stamps {
                    limit.took(stamp, round_trip, start);
                    limit.give_back();
                }
                limit.limit
            };
            // The lowest; less than twice as long; more than that; fine again.
            let limits = [
                trip(ms(10), false),
                trip(ms(19), false),
                trip(ms(40), true),
                trip(ms(15), true),
            ];
            assert_eq!(limits, wanted, "by latency: {by_latency}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_got_slower_for_good_becomes_the_new_measure() {
        let start = Instant::now();
        let mut latency = Latency::default();
        latency.note(ms(10), start);
        assert!(latency.gradient(ms(40)).unwrap() < 1.0);
        latency.note(ms(40), start + LOWEST_FOR);
        assert!(latency.gradient(ms(40)).unwrap() < 1.0, "the last time still counts");
        latency.note(ms(40), start + LOWEST_FOR * 2);
        assert!(latency.gradient(ms(40)).unwrap() >= 1.0);
    }
}
