//! The one place where the time of day and randomness enter.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Time since the epoch. Never used to measure a wait.
#[expect(
    clippy::disallowed_methods,
    reason = "deadlines and log lines of real functions are in time of day"
)]
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The time of day in UTC, to the second.
pub(super) fn timestamp() -> String {
    let seconds = i64::try_from(now().as_secs()).unwrap_or(0);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// A new request id.
pub(super) fn request_id() -> String {
    let random: [u8; 16] = StdRng::from_os_rng().random();
    uuid::Builder::from_random_bytes(random).into_uuid().to_string()
}

/// A new `X-Amzn-Trace-Id`, as Lambda makes one for a caller that sends none: not sampled.
pub(super) fn trace_id() -> String {
    let mut random = StdRng::from_os_rng();
    let (root, parent): (u128, u64) = (random.random::<u128>() >> 32, random.random());
    format!(
        "Root=1-{:08x}-{root:024x};Parent={parent:016x};Sampled=0",
        now().as_secs()
    )
}
