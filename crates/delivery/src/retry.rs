//! What becomes of records whose call failed: the rules of attempts, backoff and splitting.

use std::time::Duration;

use klamm_connect_api::delivery::{DeliverySettings, RetrySettings};
use rand::Rng;

use crate::batch::{Part, Stage};

/// Longest delay that a destination may ask for.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What a failed part does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is sent again after a backoff.
    Backoff,
    /// Its pieces are sent, each at once.
    Split,
    /// The error policy decides.
    GiveUp,
}

/// After a call that counts as an attempt, which `part.attempts` includes.
///
/// A batch gets one retry as a whole; then it is split, and its pieces are split at once; only a record that stands
/// alone spends all its attempts. Without bisection the whole batch spends them.
pub(crate) fn after_attempt(part: &Part, settings: &DeliverySettings) -> Next {
    let may_try_again = part.attempts < settings.retry.max_attempts;
    let stands_alone = part.items.len() == 1 || !settings.bisect;
    if stands_alone {
        return if may_try_again { Next::Backoff } else { Next::GiveUp };
    }
    match part.stage {
        Stage::Whole if part.attempts < 2 && may_try_again => Next::Backoff,
        Stage::Whole | Stage::Piece => Next::Split,
    }
}

/// After the content was refused: split whatever `delivery.bisect` says, since the destination did not run.
pub(crate) fn after_refusal(part: &Part) -> Next {
    if part.items.len() == 1 {
        Next::GiveUp
    } else {
        Next::Split
    }
}

/// Exponential backoff with full jitter: between zero and a bound that doubles with each delay up to the cap. A
/// destination's own wish is honoured up to [`MAX_RETRY_AFTER`].
pub(crate) fn delay(retry: &RetrySettings, delays: u32, after: Option<Duration>, rng: &mut impl Rng) -> Duration {
    let factor = 2_u32.saturating_pow(delays);
    let bound = retry.backoff.saturating_mul(factor).min(retry.backoff_max);
    let drawn = bound.mul_f64(rng.random::<f64>());
    drawn.max(after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::delivery::{BatchScope, ErrorPolicy, Ordering};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::batch::tests::{item, part_of};

    fn settings(max_attempts: u32, bisect: bool) -> DeliverySettings {
        DeliverySettings {
            ordering: Ordering::Partition,
            batch_records: 10,
            batch_bytes: 1000,
            batch_scope: BatchScope::Partition,
            linger: Duration::ZERO,
            max_in_flight: 1,
            call_timeout: Duration::from_secs(1),
            retry: RetrySettings {
                max_attempts,
                timeout: None,
                backoff: Duration::from_millis(200),
                backoff_max: Duration::from_secs(30),
            },
            record_max_age: None,
            bisect,
            error_policy: ErrorPolicy::Fail,
            is_required: true,
        }
    }

    #[test]
    fn what_follows_a_counted_failure() {
        use Next::{Backoff, GiveUp, Split};
        let cases = [
            // records, stage, attempts, max, bisect, wanted, why
            (3, Stage::Whole, 1, 5, true, Backoff, "one retry as a whole"),
            (3, Stage::Whole, 2, 5, true, Split, "the retry failed too"),
            (
                3,
                Stage::Whole,
                1,
                1,
                true,
                Split,
                "no retry is allowed, but the good records are saved",
            ),
            (3, Stage::Piece, 3, 5, true, Split, "a piece gets one attempt"),
            (
                3,
                Stage::Piece,
                9,
                5,
                true,
                Split,
                "only a record alone runs out of attempts",
            ),
            (
                1,
                Stage::Piece,
                4,
                5,
                true,
                Backoff,
                "a record alone spends its attempts",
            ),
            (
                1,
                Stage::Piece,
                5,
                5,
                true,
                GiveUp,
                "they count the calls it was part of",
            ),
            (1, Stage::Whole, 1, 1, true, GiveUp, "one attempt is one attempt"),
            (
                3,
                Stage::Whole,
                2,
                5,
                false,
                Backoff,
                "without bisection the batch spends them",
            ),
            (3, Stage::Whole, 5, 5, false, GiveUp, "and runs out as a whole"),
        ];
        for (records, stage, attempts, max, bisect, wanted, why) in cases {
            let mut part = part_of((0..records).map(|offset| item(0, offset, None)).collect());
            part.stage = stage;
            part.attempts = attempts;
            assert_eq!(after_attempt(&part, &settings(max, bisect)), wanted, "{why}");
        }
    }

    #[test]
    fn delays_have_a_growing_bound_with_full_jitter() {
        let retry = settings(5, true).retry;
        let seconds = Duration::from_secs;
        let cases = [
            // delays before, destination's wish, least, most, why
            (0, None, 0, 200, "the first bound is the base"),
            (3, None, 0, 1600, "it doubles"),
            (50, None, 0, 30_000, "capped, and no overflow"),
            (0, Some(seconds(3)), 3000, 3000, "the wish is a minimum"),
            (0, Some(seconds(9999)), 300_000, 300_000, "which is capped"),
        ];
        let mut rng = StdRng::seed_from_u64(7);
        for (delays, after, least, most, why) in cases {
            let drawn: Vec<u128> = (0..200)
                .map(|_| delay(&retry, delays, after, &mut rng).as_millis())
                .collect();
            assert!(drawn.iter().all(|ms| (least..=most).contains(ms)), "{why}: {drawn:?}");
            if after.is_none() {
                assert!(drawn.iter().any(|ms| *ms < most / 4), "{why}: full jitter goes low");
                assert!(
                    drawn.iter().any(|ms| *ms > most * 3 / 4),
                    "{why}: full jitter goes high"
                );
            }
        }
    }
}
