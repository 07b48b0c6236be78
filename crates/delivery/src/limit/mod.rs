//! The limits that routes share, whatever engine they belong to: one for each function, one for each account.
//!
//! A route asks its [`Gate`] before each call, after it has a permit of its own: function first, then account, always in
//! this order, and who waits for a function holds nothing, so nobody waits for somebody who waits for him. It passes at
//! once, or takes a place in line and is woken when it is its turn. What it got, the [`Passage`], goes back with the
//! answer of the call.

mod adaptive;
mod turns;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use klamm_connect_api::sink::{Failure, LimitKey, LimitKeys, ThrottleScope};
use tokio::sync::Notify;
use tokio::time::Instant;

use adaptive::{Adaptive, Stamp};
use turns::Turns;

/// Bounds of the limits that adapt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    /// Most calls of a function at once (`delivery.limit.function.max`).
    pub function_max: usize,
    /// Most calls of an account at once (`delivery.limit.account.max`).
    pub account_max: usize,
    /// Whether round trips that get longer lower the limit of a function (`delivery.limit.latency`).
    pub by_latency: bool,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            function_max: 10_000,
            account_max: 10_000,
            by_latency: false,
        }
    }
}

/// The limits of a worker, shared by its engines. Holds on to none that no route uses, so there are never more than two
/// for each route.
///
/// Both kinds start fully open. A call that is throttled lowers the limit that its answer names, the function's or the
/// account's, by 30 % of what was in flight, at most once in a round trip; a round trip without a throttle in which
/// somebody had to wait raises it by one. No limit falls below one call.
#[derive(Debug)]
pub struct WorkerLimits {
    settings: LimitSettings,
    functions: Mutex<HashMap<LimitKey, Weak<Limit>>>,
    accounts: Mutex<HashMap<LimitKey, Weak<Limit>>>,
    next_seat: AtomicU64,
}

impl WorkerLimits {
    /// No limits yet: they come with the routes.
    #[must_use]
    pub fn new(settings: LimitSettings) -> Self {
        Self {
            settings,
            functions: Mutex::default(),
            accounts: Mutex::default(),
            next_seat: AtomicU64::new(0),
        }
    }

    /// Limits that some route uses: of functions, and of accounts.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        let count = |known: &Mutex<HashMap<LimitKey, Weak<Limit>>>| {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.values().filter(|limit| limit.strong_count() > 0).count()
        };
        (count(&self.functions), count(&self.accounts))
    }

    /// The gate of a route. `wake` tells that [`Gate::try_pass`] may have another answer.
    pub(crate) fn gate(&self, keys: &LimitKeys, connector: &Arc<str>, wake: &Arc<Notify>) -> Gate {
        let LimitSettings {
            function_max,
            account_max,
            by_latency,
        } = self.settings;
        // The time that one function takes says nothing about the others of its account.
        let function = shared(&self.functions, &keys.function, || {
            Adaptive::new(function_max, by_latency)
        });
        let account = shared(&self.accounts, &keys.account, || Adaptive::new(account_max, false));
        let seat = |limit| Seat {
            limit,
            id: self.next_seat.fetch_add(1, Ordering::Relaxed),
            connector: Arc::clone(connector),
            wake: Arc::clone(wake),
            is_in_line: false,
        };
        Gate {
            function: seat(function),
            account: seat(account),
            held: None,
            waits: None,
        }
    }
}

fn shared(known: &Mutex<HashMap<LimitKey, Weak<Limit>>>, key: &LimitKey, new: impl FnOnce() -> Adaptive) -> Arc<Limit> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|_, limit| limit.strong_count() > 0);
    if let Some(limit) = known.get(key).and_then(Weak::upgrade) {
        return limit;
    }
    let limit = Arc::new(Limit(Mutex::new(State {
        adaptive: new(),
        turns: Turns::default(),
        granted: HashMap::new(),
    })));
    known.insert(key.clone(), Arc::downgrade(&limit));
    limit
}

/// One limit with those who wait for it. Its lock is held for a few lines, never across an await.
#[derive(Debug)]
pub(crate) struct Limit(Mutex<State>);

#[derive(Debug)]
struct State {
    adaptive: Adaptive,
    turns: Turns,
    /// Waiters whose turn has come, until they fetch their leave.
    granted: HashMap<u64, Vec<Stamp>>,
}

impl State {
    /// Lets go whose turn it is.
    fn serve(&mut self, now: Instant) {
        while self.adaptive.admits(now) {
            let Some(seat) = self.turns.serve() else { return };
            self.granted.entry(seat).or_default().push(self.adaptive.take(now));
        }
        if !self.turns.is_empty() {
            self.adaptive.want();
        }
    }
}

impl Limit {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether routes wait for it, because of throttles and not of its maximum.
    pub(crate) fn holds_back(&self, now: Instant) -> bool {
        let state = self.state();
        !state.turns.is_empty() && state.adaptive.view(now).throttled.is_some()
    }

    pub(crate) fn status(&self, now: Instant) -> LimitStatus {
        let state = self.state();
        let view = state.adaptive.view(now);
        LimitStatus {
            limit: view.limit,
            max: view.max,
            calls_in_flight: view.in_flight,
            routes_waiting: state.turns.len(),
            closed_for: view.closed_for,
            throttled: view.throttled.map(|(since, failure)| LimitThrottled {
                since,
                failure: failure.clone(),
            }),
        }
    }
}

/// How a limit is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitStatus {
    /// Most calls at once now.
    pub limit: usize,
    /// What it may grow to.
    pub max: usize,
    /// Calls of all routes that share it.
    pub calls_in_flight: usize,
    /// Routes that wait for it.
    pub routes_waiting: usize,
    /// For how long its destination wants to be left alone.
    pub closed_for: Option<Duration>,
    /// It was throttled within the last minute.
    pub throttled: Option<LimitThrottled>,
}

/// The throttles that a limit follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitThrottled {
    /// For how long there has not been a minute without one.
    pub since: Duration,
    /// The last one.
    pub failure: Failure,
}

/// A route's place at a limit.
#[derive(Debug)]
struct Seat {
    limit: Arc<Limit>,
    id: u64,
    connector: Arc<str>,
    wake: Arc<Notify>,
    is_in_line: bool,
}

impl Seat {
    /// Leave for a call, or a place in line for `wanted` calls; then the answer is when to ask again though nobody was
    /// woken, if ever.
    fn try_take(&mut self, wanted: usize, now: Instant) -> Result<Permit, Option<Instant>> {
        let mut state = self.limit.state();
        state.serve(now);
        let granted = state.granted.get_mut(&self.id).and_then(Vec::pop);
        // Nobody waits if it still admits one.
        let stamp = match granted {
            None if state.adaptive.admits(now) => Some(state.adaptive.take(now)),
            granted => granted,
        };
        if let Some(stamp) = stamp {
            drop(state);
            return Ok(Permit {
                limit: Arc::clone(&self.limit),
                stamp,
            });
        }
        self.is_in_line = true;
        state.turns.want(&self.connector, self.id, wanted, &self.wake);
        state.adaptive.want();
        Err(state.adaptive.look_at(now))
    }

    /// Gives back its place, and what was granted and not fetched.
    fn leave(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_in_line) {
            let mut state = self.limit.state();
            state.turns.remove(&self.connector, self.id);
            for _ in state.granted.remove(&self.id).into_iter().flatten() {
                state.adaptive.give_back();
            }
            state.serve(now);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave(Instant::now());
    }
}

/// Leave of one limit for one call; given back when dropped.
#[derive(Debug)]
struct Permit {
    limit: Arc<Limit>,
    stamp: Stamp,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.limit.state();
        state.adaptive.give_back();
        state.serve(Instant::now());
    }
}

/// A route's way through the limits that it shares.
#[derive(Debug)]
pub(crate) struct Gate {
    function: Seat,
    account: Seat,
    /// Has passed the function's limit, and waits for the account's.
    held: Option<Permit>,
    waits: Option<Waits>,
}

/// A place in line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    /// When to ask again though nobody was woken: the destination wants to be left alone until then.
    pub(crate) until: Option<Instant>,
}

impl Gate {
    /// Passes, or takes a place in line for `wanted` calls. The place stays, with the turns that came meanwhile, until the
    /// gate is left.
    pub(crate) fn try_pass(&mut self, wanted: usize, now: Instant) -> Option<Passage> {
        let passed = self.pass(wanted, now);
        self.waits = passed.as_ref().err().map(|until| Waits { until: *until });
        passed.ok()
    }

    fn pass(&mut self, wanted: usize, now: Instant) -> Result<Passage, Option<Instant>> {
        let function = match self.held.take() {
            Some(held) => held,
            None => self
                .function
                .try_take(wanted, now)
                .inspect_err(|_| self.account.leave(now))?,
        };
        match self.account.try_take(wanted, now) {
            Ok(account) => Ok(Passage {
                function,
                account,
                started: now,
            }),
            Err(until) => {
                // One call is ready for its turn; others may have the function meanwhile.
                self.held = Some(function);
                self.function.leave(now);
                Err(until)
            }
        }
    }

    /// Nothing more is to be sent now.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.waits = None;
        self.held = None;
        self.function.leave(now);
        self.account.leave(now);
    }

    /// Whether it has a place in line.
    pub(crate) fn waits(&self) -> Option<Waits> {
        self.waits
    }

    /// For the status: the function's limit, and the account's.
    pub(crate) fn limits(&self) -> (Arc<Limit>, Arc<Limit>) {
        (Arc::clone(&self.function.limit), Arc::clone(&self.account.limit))
    }
}

/// Leave of all limits for one call.
#[derive(Debug)]
pub(crate) struct Passage {
    function: Permit,
    account: Permit,
    started: Instant,
}

/// What the answer to a call tells about limits.
#[derive(Debug)]
pub(crate) enum Signal<'a> {
    /// The destination took the call, whatever came of it.
    Took,
    Throttled {
        by: ThrottleScope,
        after: Option<Duration>,
        failure: &'a Failure,
    },
    Nothing,
}

impl Passage {
    /// Gives leave back, and has the limits learn from the answer.
    pub(crate) fn end(self, signal: &Signal<'_>, now: Instant) {
        let Self {
            function,
            account,
            started,
        } = &self;
        match *signal {
            Signal::Took => {
                let round_trip = now.saturating_duration_since(*started);
                for Permit { limit, stamp } in [function, account] {
                    limit.state().adaptive.took(*stamp, round_trip, now);
                }
            }
            Signal::Throttled { by, after, failure } => {
                let Permit { limit, stamp } = match by {
                    ThrottleScope::Function => function,
                    ThrottleScope::Account | ThrottleScope::Caller => account,
                };
                let mut state = limit.state();
                state.adaptive.throttled(*stamp, after, failure, now);
                // Whoever waits must learn until when, since nobody else may come to open it again.
                state.turns.wake_all();
            }
            Signal::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(function_max: usize, account_max: usize) -> WorkerLimits {
        WorkerLimits::new(LimitSettings {
            function_max,
            account_max,
            by_latency: false,
        })
    }

    fn keys(function: &str) -> LimitKeys {
        LimitKeys {
            function: LimitKey::new(function),
            account: LimitKey::new("account"),
        }
    }

    fn gate(limits: &WorkerLimits, function: &str, connector: &str) -> (Gate, Arc<Notify>) {
        let wake = Arc::new(Notify::new());
        (limits.gate(&keys(function), &connector.into(), &wake), wake)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_learns_that_a_limit_is_closed_and_until_when() {
        let limits = limits(1, 10);
        let now = Instant::now();
        let (mut a, _) = gate(&limits, "f", "a");
        let (mut b, b_wake) = gate(&limits, "f", "b");
        let passage = a.try_pass(1, now).unwrap();
        assert!(b.try_pass(1, now).is_none());
        assert_eq!(b.waits().unwrap().until, None);
        let failure = Failure {
            class: "TooMany".into(),
            message: "scripted".into(),
            request_id: None,
            answered: None,
        };
        let after = Duration::from_secs(60);
        let signal = Signal::Throttled {
            by: ThrottleScope::Function,
            after: Some(after),
            failure: &failure,
        };
        passage.end(&signal, now);
        // Its connector is stopped: it never asks again.
        drop(a);
        let woken = tokio::time::timeout(Duration::from_secs(1), b_wake.notified()).await;
        assert!(woken.is_ok(), "nobody told it");
        assert!(b.try_pass(1, now).is_none());
        let until = b.waits().unwrap().until;
        assert!(until.is_some_and(|at| at > now && at <= now + after), "{until:?}");
        assert!(b.try_pass(1, now + after).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken_in_turn_and_nobody_overtakes() {
        let limits = limits(1, 10);
        let now = Instant::now();
        let (mut a, _) = gate(&limits, "f", "a");
        let (mut b, b_wake) = gate(&limits, "f", "b");
        let (mut c, _) = gate(&limits, "f", "c");
        let passage = a.try_pass(1, now).unwrap();
        assert!(b.try_pass(1, now).is_none() && c.try_pass(1, now).is_none());
        passage.end(&Signal::Took, now);
        b_wake.notified().await;
        assert!(a.try_pass(1, now).is_none(), "it is the turn of `b`");
        assert!(b.try_pass(1, now).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_in_line_goes_to_the_next() {
        let limits = limits(10, 1);
        let now = Instant::now();
        let (mut a, _) = gate(&limits, "f", "a");
        let (mut b, _) = gate(&limits, "f", "b");
        let (mut c, c_wake) = gate(&limits, "g", "c");
        let passage = a.try_pass(1, now).unwrap();
        assert!(b.try_pass(1, now).is_none() && c.try_pass(1, now).is_none());
        let (function, account) = b.limits();
        assert_eq!(function.status(now).calls_in_flight, 2, "`b` has passed its function");
        drop(passage);
        b.leave(now);
        c_wake.notified().await;
        assert!(c.try_pass(1, now).is_some());
        drop((a, b, c));
        assert_eq!(function.status(now).calls_in_flight, 0);
        assert_eq!(
            (account.status(now).calls_in_flight, account.status(now).routes_waiting),
            (0, 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_lowers_the_limit_that_it_names() {
        let cases = [
            (ThrottleScope::Function, (1, 10), "the function's own"),
            (ThrottleScope::Account, (10, 1), "the account's"),
            (ThrottleScope::Caller, (10, 1), "the caller is the account's access"),
        ];
        for (by, wanted, why) in cases {
            let limits = limits(10, 10);
            let now = Instant::now();
            let (mut a, _) = gate(&limits, "f", "a");
            let (other, _) = gate(&limits, "g", "b");
            let failure = Failure {
                class: "TooMany".into(),
                message: "scripted".into(),
                request_id: None,
                answered: None,
            };
            let signal = Signal::Throttled {
                by,
                after: None,
                failure: &failure,
            };
            a.try_pass(1, now).unwrap().end(&signal, now);
            let (function, account) = a.limits();
            assert_eq!((function.status(now).limit, account.status(now).limit), wanted, "{why}");
            assert_eq!(other.limits().0.status(now).limit, 10, "another function: {why}");
            assert_eq!(other.limits().1.status(now).limit, wanted.1, "the same account: {why}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn limits_go_with_the_last_route_that_uses_them() {
        let limits = limits(10, 10);
        let one = gate(&limits, "f", "a");
        let two = gate(&limits, "f", "b");
        let three = gate(&limits, "g", "b");
        assert_eq!(limits.in_use(), (2, 1));
        drop((one, three));
        assert_eq!(limits.in_use(), (1, 1));
        drop(two);
        assert_eq!(limits.in_use(), (0, 0));
        for connector in 0..100 {
            drop(gate(&limits, &connector.to_string(), "a"));
        }
        assert!(limits.functions.lock().unwrap().len() <= 1, "nor are their names kept");
    }
}
