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
