//! Counters of a pool, for metrics and tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a [`FetchPool`](super::FetchPool) has asked and got since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchStats {
    /// Fetch requests that were answered.
    pub fetches: u64,
    /// Partitions named in requests; those that a session holds unchanged are not named again (KIP-227).
    pub asked: u64,
    /// Sections handed to readers.
    pub sections: u64,
    /// Bytes of records received, also of those that nobody wanted any more.
    pub bytes: u64,
    /// Times that the broker for a partition was looked for: at its start, and whenever leader or replica may be others.
    pub routes: u64,
    /// Visits to single partitions by the bookkeeping of sessions: what the pool's own work grows with.
    pub visits: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) fetches: AtomicU64,
    pub(super) asked: AtomicU64,
    pub(super) sections: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) routes: AtomicU64,
    pub(super) visits: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> FetchStats {
        FetchStats {
            fetches: self.fetches.load(Ordering::Relaxed),
            asked: self.asked.load(Ordering::Relaxed),
            sections: self.sections.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            routes: self.routes.load(Ordering::Relaxed),
            visits: self.visits.load(Ordering::Relaxed),
        }
    }
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
}
