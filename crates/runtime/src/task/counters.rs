use std::sync::atomic::{AtomicU64, Ordering};

use super::tally::Tally;

/// What became of a task's records before delivery. Each record of an assignment is counted once, when it is handed over,
/// also if delivery gives it back and it is read again.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    read: AtomicU64,
    filtered: AtomicU64,
    skipped: AtomicU64,
}

impl Counters {
    /// Records were handed over.
    pub(crate) fn add(&self, tally: Tally) {
        let Tally {
            read,
            filtered,
            skipped,
        } = tally;
        self.read.fetch_add(read, Ordering::Relaxed);
        self.filtered.fetch_add(filtered, Ordering::Relaxed);
        self.skipped.fetch_add(skipped, Ordering::Relaxed);
    }

    /// Records read, filtered and skipped so far.
    pub(crate) fn totals(&self) -> (u64, u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.read), load(&self.filtered), load(&self.skipped))
    }
}
