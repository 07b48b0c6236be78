//! The actor's state of one route: what is ready to go, what waits, and whether the destination can be used.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::delivery::{DeliverySettings, Ordering};
use klamm_connect_api::sink::PayloadBuilder;
use tokio::time::Instant;

use crate::batch::{BatchId, OpenBatch, Part};
use crate::breaker::Breaker;
use crate::lanes::Lanes;
use crate::limit::Gate;

/// At most one line about skipped records of a route in this time.
const SKIP_LOG: Duration = Duration::from_secs(1);
/// At most one line about outages of a route in this time, and one for each such time that an outage lasts.
pub(crate) const OUTAGE_LOG: Duration = Duration::from_secs(60);

pub(crate) struct RouteState {
    pub(crate) name: Arc<str>,
    pub(crate) destination: Arc<str>,
    pub(crate) settings: DeliverySettings,
    /// Only tells costs here; each call builds its payload with one of its own.
    pub(crate) builder: Box<dyn PayloadBuilder>,
    pub(crate) overhead_bytes: usize,
    pub(crate) permits: Permits,
    pub(crate) gate: Gate,
    pub(crate) breaker: Breaker,
    /// Parts that may go now.
    pub(crate) ready: VecDeque<Part>,
    /// Parts that may go later; the number keeps parts of the same time apart and in order.
    pub(crate) waiting: BTreeMap<(Instant, u64), Waiting>,
    /// Partitions whose lanes may have records to take, each once.
    pub(crate) active: VecDeque<usize>,
    /// Partitions whose open batch waits for company (scope `partition`).
    pub(crate) lingering: BTreeSet<(Instant, usize)>,
    /// The open batch of scope `route`.
    pub(crate) open: OpenBatch,
    /// Records held for this route, wherever they are.
    pub(crate) items: usize,
    /// Of these, on their way to be kept as dead letters or with their answers.
    pub(crate) letters: usize,
    /// No call starts: too many answers wait to be kept.
    pub(crate) is_held_back: bool,
    /// When the last line about an outage was written, be it this one or an earlier one.
    pub(crate) outage_told: Option<Instant>,
    /// This outage has a line, so its end gets one too.
    pub(crate) is_outage_told: bool,
    /// Not after the first time when a part of `ready` or `waiting` runs out of `retry.timeout`.
    pub(crate) expires: Option<Instant>,
    /// When this route next needs attention without anything happening.
    pub(crate) due: Option<Instant>,
    pub(crate) is_touched: bool,
    skip_logged: Option<Instant>,
    skips_held_back: u64,
}

impl fmt::Debug for RouteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteState")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A part that is not to be sent yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) part: Part,
    pub(crate) cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The records failed: it waits its time.
    Records,
    /// The destination is throttled or unreachable: it waits until an outage is over, at most its time.
    Destination,
}

/// The route's own leave to call: one permit for each call in flight, given back before any backoff. Those that routes
/// share come after it, from the [`Gate`].
#[derive(Debug)]
pub(crate) struct Permits {
    in_flight: usize,
    max: usize,
}

impl Permits {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            in_flight: 0,
            max: max.max(1),
        }
    }

    pub(crate) fn is_free(&self) -> bool {
        self.in_flight < self.max
    }

    pub(crate) fn free(&self) -> usize {
        self.max.saturating_sub(self.in_flight)
    }

    pub(crate) fn take(&mut self) {
        self.in_flight += 1;
    }

    pub(crate) fn give_back(&mut self) {
        self.in_flight -= 1;
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }
}

/// One partition's records for one route.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) lanes: Lanes,
    /// The open batch of scope `partition`.
    pub(crate) open: OpenBatch,
    /// It stands in [`RouteState::active`].
    pub(crate) is_active: bool,
    /// It stands in [`RouteState::lingering`] under this time.
    pub(crate) linger_until: Option<Instant>,
}

impl RouteState {
    pub(crate) fn new(
        name: Arc<str>,
        destination: Arc<str>,
        mut settings: DeliverySettings,
        builder: Box<dyn PayloadBuilder>,
        gate: Gate,
        open: BatchId,
    ) -> Self {
        // A call of no records would never end the queue.
        settings.batch_records = settings.batch_records.max(1);
        Self {
            name,
            destination,
            overhead_bytes: builder.overhead(),
            builder,
            permits: Permits::new(settings.max_in_flight),
            gate,
            breaker: Breaker::default(),
            settings,
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            active: VecDeque::new(),
            lingering: BTreeSet::new(),
            open: OpenBatch::new(open),
            items: 0,
            letters: 0,
            is_held_back: false,
            outage_told: None,
            is_outage_told: false,
            expires: None,
            due: None,
            is_touched: false,
            skip_logged: None,
            skips_held_back: 0,
        }
    }

    /// Whether there may be something to send now. While the breaker is open only probes go, and while the engine ends
    /// not even these: calls that take long to fail would hold the end, one after the other. Those that are out may still
    /// show that the outage is over.
    pub(crate) fn has_candidate(&self, is_ending: bool, now: Instant) -> bool {
        let has_lingered = |oldest: Instant| is_ending || oldest + self.settings.linger <= now;
        let is_at_hand =
            !self.ready.is_empty() || !self.active.is_empty() || self.open.oldest().is_some_and(has_lingered);
        match self.breaker.probe_at() {
            None => is_at_hand,
            Some(probe_at) => !is_ending && probe_at <= now && (is_at_hand || !self.waiting.is_empty()),
        }
    }

    /// Whether what is at hand goes to the error policy in place of the destination, unless it is a probe.
    pub(crate) fn skips(&self) -> bool {
        !self.settings.is_required && self.breaker.is_open()
    }

    /// How many calls it could send at once, or more: what it does not need it gives back.
    pub(crate) fn wanted_calls(&self) -> usize {
        if self.breaker.is_open() {
            return 1;
        }
        let lanes = match self.settings.ordering {
            Ordering::Partition => self.active.len(),
            Ordering::Key | Ordering::None => self.items,
        };
        (self.ready.len() + lanes).min(self.permits.free())
    }

    /// Whether what it holds waits for a destination that takes nothing, or wants to be left alone.
    pub(crate) fn waits_for_destination(&self) -> bool {
        self.breaker.is_open() || self.gate.waits().is_some_and(|waits| waits.until.is_some())
    }

    /// A part that goes to `ready` or `waiting` may run out of time there.
    pub(crate) fn watch_expiry(&mut self, part: &Part) {
        if let (Some(timeout), Some(first_call)) = (self.settings.retry.timeout, part.first_call) {
            let at = first_call + timeout;
            self.expires = Some(self.expires.map_or(at, |expires| expires.min(at)));
        }
    }

    pub(crate) fn is_expired(&self, part: &Part, now: Instant) -> bool {
        match (self.settings.retry.timeout, part.first_call) {
            (Some(timeout), Some(first_call)) => first_call + timeout <= now,
            _ => false,
        }
    }

    /// Parts that ran out of time, with those that only wait taken out of their queues.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<Part> {
        let Some(timeout) = self.settings.retry.timeout else {
            return Vec::new();
        };
        if self.expires.is_none_or(|expires| expires > now) {
            return Vec::new();
        }
        let has_expired = |part: &Part| part.first_call.is_some_and(|first| first + timeout <= now);
        let mut expired: Vec<_> = self
            .waiting
            .extract_if(.., |_, waiting| has_expired(&waiting.part))
            .map(|(_, waiting)| waiting.part)
            .collect();
        let (late, ready) = std::mem::take(&mut self.ready)
            .into_iter()
            .partition(|part| has_expired(part));
        self.ready = ready;
        expired.extend::<VecDeque<_>>(late);
        self.expires = self
            .waiting
            .values()
            .map(|waiting| &waiting.part)
            .chain(&self.ready)
            .filter_map(|part| part.first_call)
            .min()
            .map(|first| first + timeout);
        expired
    }

    /// When this route needs attention next if nothing happens. Nothing is due that needs a permit while none is free:
    /// the end of a call is then the next event. While the engine ends, an outage starts no call at all.
    pub(crate) fn next_due(&self, is_ending: bool) -> Option<Instant> {
        let due = min(self.waiting.keys().next().map(|(at, _)| *at), self.expires);
        let due = min(
            due,
            self.outage_told
                .filter(|_| self.breaker.is_open())
                .map(|told| told + OUTAGE_LOG),
        );
        let lingers = min(
            self.lingering.first().map(|(at, _)| *at),
            self.open.oldest().map(|oldest| oldest + self.settings.linger),
        );
        // Nothing is at hand, and the next record that has lingered is the probe or goes to the error policy.
        if self.skips() && !self.is_held_back {
            return min(due, lingers);
        }
        if !self.permits.is_free() || self.is_held_back || is_ending && self.breaker.is_open() {
            return due;
        }
        if let Some(waits) = self.gate.waits() {
            return min(due, waits.until);
        }
        let Some(probe_at) = self.breaker.probe_at() else {
            return min(due, lingers);
        };
        // With nothing at hand, the next record that has lingered is the probe.
        let has_candidate = !(self.ready.is_empty() && self.waiting.is_empty() && self.active.is_empty());
        let probe = if has_candidate {
            Some(probe_at)
        } else {
            lingers.map(|at| at.max(probe_at))
        };
        min(due, probe)
    }

    /// Whether a line about a skipped record may be written now, and how many were held back before it.
    pub(crate) fn may_log_skip(&mut self, now: Instant) -> Option<u64> {
        if self.skip_logged.is_some_and(|last| now < last + SKIP_LOG) {
            self.skips_held_back += 1;
            return None;
        }
        self.skip_logged = Some(now);
        Some(std::mem::take(&mut self.skips_held_back))
    }
}

fn min(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
