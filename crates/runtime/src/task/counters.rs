use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a task's records before delivery. Each record is counted where its fate is decided.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    read: AtomicU64,
    filtered: AtomicU64,
    skipped: AtomicU64,
}

impl Counters {
    /// Records came from Kafka.
    pub(crate) fn read(&self, records: u64) {
        self.read.fetch_add(records, Ordering::Relaxed);
    }

    /// Records were dropped by a transform or by the routes, as configured.
    pub(crate) fn filtered(&self, records: u64) {
        self.filtered.fetch_add(records, Ordering::Relaxed);
    }

    /// Records failed and were skipped, as tolerated.
    pub(crate) fn skipped(&self, records: u64) {
        self.skipped.fetch_add(records, Ordering::Relaxed);
    }

    /// Records read, filtered and skipped so far.
    pub(crate) fn totals(&self) -> (u64, u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.read), load(&self.filtered), load(&self.skipped))
    }
}
