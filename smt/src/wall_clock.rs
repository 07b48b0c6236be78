//! The current time, which years of two digits are read relative to.

/// Milliseconds since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "asked once, when a transform is made: SimpleDateFormat fixes its century then"
)]
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}
