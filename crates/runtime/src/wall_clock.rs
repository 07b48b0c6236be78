//! The one place where the time of day enters.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch, for the age of records. Never used to measure a wait.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the time of day enters; tests of delivery pass their own"
)]
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
