//! Counts of values by size, cheap enough for every call.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds for the duration of calls, in microseconds: from a function beside the worker to the longest that runs.
pub(crate) const CALL_MICROS: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
];
/// Upper bounds for the records of a call.
pub(crate) const CALL_RECORDS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

/// How many values were at most how large, since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Upper bounds, ascending, each with the number of values up to it and above the bound before.
    pub buckets: Vec<(u64, u64)>,
    /// Values above the last bound.
    pub above: u64,
    /// Sum of all values.
    pub sum: u64,
}

impl Distribution {
    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum::<u64>() + self.above
    }
}

/// A [`Distribution`] that values are added to, from any thread, without a lock.
#[derive(Debug)]
pub(crate) struct Counts {
    bounds: &'static [u64],
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Counts {
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    pub(crate) fn add(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Distribution {
        let mut counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        Distribution {
            buckets: self.bounds.iter().copied().zip(counts.by_ref()).collect(),
            above: self.counts.last().map_or(0, |above| above.load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_under_the_first_bound_that_is_not_below_it() {
        let counts = Counts::new(&[1, 5, 10]);
        for value in [0, 1, 2, 5, 6, 10, 11, 1_000] {
            counts.add(value);
        }
        let read = counts.read();
        assert_eq!(read.buckets, [(1, 2), (5, 2), (10, 2)]);
        assert_eq!((read.above, read.count(), read.sum), (2, 8, 1_035));
        assert!(CALL_MICROS.is_sorted() && CALL_RECORDS.is_sorted());
    }
}
