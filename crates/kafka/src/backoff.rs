//! Waits between attempts: exponential, jittered, capped.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Doubles from `first` to `max`; each wait is drawn from the upper half of its step, so that clients that lost the
/// same broker do not come back in step (as Kafka's clients do it, with ±20 %).
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    attempt: u32,
    rng: StdRng,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            attempt: 0,
            rng: StdRng::from_os_rng(),
        }
    }

    /// The wait before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let step = self
            .first
            .saturating_mul(2_u32.saturating_pow(self.attempt.min(20)))
            .min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        step.mul_f64(self.rng.random_range(0.5..=1.0))
    }

    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_start_over_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        for attempt in 0..40_u32 {
            let step = Duration::from_millis(100)
                .saturating_mul(1 << attempt.min(10))
                .min(Duration::from_secs(5));
            let wait = backoff.next();
            assert!(
                wait <= step && wait >= step / 2,
                "attempt {attempt}: {wait:?} of {step:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
