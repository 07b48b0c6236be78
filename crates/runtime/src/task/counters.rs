use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pipeline::RecordFailure;
use crate::observation::LastError;

use super::tally::Tally;

/// What became of a task's records before delivery. Each record of an assignment is counted once, when it is handed over,
/// also if delivery gives it back and it is read again.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    read: AtomicU64,
    filtered: AtomicU64,
    skipped: AtomicU64,
    commits: AtomicU64,
    failed_commits: AtomicU64,
    /// Locked for each failed record and for a look, never for a record that passes.
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    /// By stage and class: as many as a configuration has converters and transforms.
    by_place: BTreeMap<(&'static str, &'static str), u64>,
    last: Option<LastError>,
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

    /// A record failed before delivery, whatever follows.
    pub(crate) fn failed(&self, failure: &RecordFailure) {
        let mut failures = self.failures();
        let place = (failure.stage.name(), failure.class);
        *failures.by_place.entry(place).or_default() += 1;
        failures.last = Some(LastError {
            at: crate::wall_clock::now_ms(),
            origin: Some(failure.origin.clone()),
            records: 1,
            stage: failure.stage.name(),
            route: None,
            class: failure.error.kind().java_class().into(),
            message: failure.error.to_string().into(),
            advice: failure.advice().to_owned(),
        });
    }

    /// A commit was acknowledged, or was not.
    pub(crate) fn committed(&self, is_acknowledged: bool) {
        let counter = if is_acknowledged {
            &self.commits
        } else {
            &self.failed_commits
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Records read, filtered and skipped so far.
    pub(crate) fn totals(&self) -> (u64, u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.read), load(&self.filtered), load(&self.skipped))
    }

    /// Commits that were acknowledged, and those that were not.
    pub(crate) fn commits(&self) -> (u64, u64) {
        (
            self.commits.load(Ordering::Relaxed),
            self.failed_commits.load(Ordering::Relaxed),
        )
    }

    /// Records that failed before delivery by stage and class, and the last of them.
    pub(crate) fn failures_so_far(&self) -> (BTreeMap<(&'static str, &'static str), u64>, Option<LastError>) {
        let failures = self.failures();
        (failures.by_place.clone(), failures.last.clone())
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
