//! What was asked, and what came of it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use crate::api::InvocationType;

/// One call.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Position in the order of arrival, from 0, over all functions.
    pub sequence: u64,
    /// The bare name, also when an ARN was asked for.
    pub function: Arc<str>,
    /// The function as asked for, decoded: a name, a name with qualifier, or an ARN.
    pub requested: Arc<str>,
    /// Version or alias, from the name or from `?Qualifier=`.
    pub qualifier: Option<String>,
    /// Synchronous, asynchronous or dry.
    pub invocation_type: InvocationType,
    /// The payload; empty when nothing is recorded and no closure looks at it.
    pub body: Bytes,
    /// The headers of the request.
    pub headers: HeaderMap,
    /// When the request had been read.
    pub received_at: Instant,
}

impl Invocation {
    /// The `x-amzn-RequestId` of the answer.
    pub fn request_id(&self) -> String {
        request_id(self.sequence)
    }
}

/// Unique within a server, in the shape of a UUID.
pub(super) fn request_id(sequence: u64) -> String {
    format!(
        "{:08x}-0000-4000-8000-{:012x}",
        sequence >> 48,
        sequence & 0xffff_ffff_ffff
    )
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Not answered yet.
    Pending,
    /// 200, 202 or 204 without function error.
    Accepted,
    /// 200 with `X-Amz-Function-Error`.
    FunctionError,
    /// Any other status.
    Refused(u16),
    /// The connection was closed, reset, or ended within the answer, as scripted.
    Broken,
    /// The caller went away before the answer.
    Abandoned,
}

/// How much is remembered of each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// Whole invocations, of which the newest `limit` are kept. Payloads are checked to be JSON.
    Full {
        /// Invocations kept.
        limit: usize,
    },
    /// Counters only, for benchmarks: payloads are drained unread unless a closure answers.
    CountOnly,
}

/// A recorded call; dereferences to its [`Invocation`].
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The call.
    pub invocation: Arc<Invocation>,
    /// What came of it so far.
    pub outcome: Outcome,
}

impl Deref for Recorded {
    type Target = Invocation;
    fn deref(&self) -> &Invocation {
        &self.invocation
    }
}

/// Counters of one function, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that arrived.
    pub calls: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Calls that ended as [`Outcome::Accepted`].
    pub accepted: u64,
    /// Calls that ended in any other way.
    pub failed: u64,
    /// Calls that are not answered yet.
    pub in_flight: u64,
    /// The most calls that were in flight at once.
    pub peak_in_flight: u64,
}

impl Counts {
    fn begin(&mut self, payload_bytes: u64) {
        self.calls += 1;
        self.payload_bytes += payload_bytes;
        self.in_flight += 1;
        self.peak_in_flight = self.peak_in_flight.max(self.in_flight);
    }

    fn end(&mut self, outcome: Outcome) {
        self.in_flight -= 1;
        match outcome {
            Outcome::Accepted => self.accepted += 1,
            Outcome::Pending | Outcome::FunctionError | Outcome::Refused(_) | Outcome::Broken | Outcome::Abandoned => {
                self.failed += 1;
            }
        }
    }
}

const FUNCTIONS_COUNTED: usize = 10_000;

/// All calls of a server, and counters.
#[derive(Debug)]
pub struct Log {
    recording: Recording,
    total: Counts,
    functions: BTreeMap<Arc<str>, Counts>,
    recorded: VecDeque<Recorded>,
    forgotten: u64,
}

impl Log {
    pub(super) fn new(recording: Recording) -> Self {
        Self {
            recording,
            total: Counts::default(),
            functions: BTreeMap::new(),
            recorded: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// Counters over all functions, unknown ones included.
    pub fn total(&self) -> Counts {
        self.total
    }

    /// Counters of a function, by its bare name; zero when it was never called.
    pub fn counts(&self, function: &str) -> Counts {
        self.functions.get(function).copied().unwrap_or_default()
    }

    /// Recorded calls in order of arrival.
    pub fn invocations(&self) -> impl Iterator<Item = &Recorded> {
        self.recorded.iter()
    }

    /// Recorded calls of a function in order of arrival.
    pub fn invocations_of(&self, function: &str) -> impl Iterator<Item = &Recorded> {
        self.recorded
            .iter()
            .filter(move |recorded| &*recorded.function == function)
    }

    /// Calls that are no longer recorded because the limit was reached. A test that accounts for every record checks
    /// that it is 0.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.total.calls
    }

    pub(super) fn keeps_bodies(&self) -> bool {
        matches!(self.recording, Recording::Full { limit } if limit > 0)
    }

    pub(super) fn begin(&mut self, invocation: &Arc<Invocation>, payload_bytes: u64) {
        self.total.begin(payload_bytes);
        if let Some(counts) = self.functions.get_mut(&invocation.function) {
            counts.begin(payload_bytes);
        } else if self.functions.len() < FUNCTIONS_COUNTED {
            // Beyond the bound, names that no test registered count in the total only.
            let counts = self.functions.entry(Arc::clone(&invocation.function)).or_default();
            counts.begin(payload_bytes);
        }
        match self.recording {
            Recording::CountOnly => {}
            Recording::Full { limit } => {
                self.recorded.push_back(Recorded {
                    invocation: Arc::clone(invocation),
                    outcome: Outcome::Pending,
                });
                while self.recorded.len() > limit {
                    self.recorded.pop_front();
                    self.forgotten += 1;
                }
            }
        }
    }

    pub(super) fn end(&mut self, invocation: &Invocation, outcome: Outcome) {
        self.total.end(outcome);
        if let Some(counts) = self.functions.get_mut(&invocation.function) {
            counts.end(outcome);
        }
        // Every call is recorded, in order, so that its place follows from its sequence.
        let first = self.recorded.front().map_or(0, |recorded| recorded.sequence);
        let place = invocation
            .sequence
            .checked_sub(first)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(recorded) = place.and_then(|place| self.recorded.get_mut(place)) {
            recorded.outcome = outcome;
        }
    }

    /// One line for the message of a wait that failed.
    pub(super) fn summary(&self) -> String {
        let mut text = format!("{} calls", self.total.calls);
        for (function, counts) in &self.functions {
            // Writing to a String cannot fail.
            let _infallible = write!(
                text,
                "; {function}: {} calls, {} accepted, {} failed, {} in flight",
                counts.calls, counts.accepted, counts.failed, counts.in_flight
            );
        }
        text
    }
}
