//! What a function's calls took, as the end of its log says (`aws.lambda.log.tail`).
//!
//! Lambda ends the log of each call with a line such as
//! `REPORT RequestId: … Duration: 12.34 ms Billed Duration: 13 ms Memory Size: 512 MB …`. Nothing else of the log is read:
//! the rest is the function's own and may hold the records.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_connect_api::sink::RouteUsage;

/// Bytes of the header that are read: Lambda sends at most 4 KiB of log.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// What calls cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Prices {
    /// `aws.lambda.price.request`
    pub(crate) request: f64,
    /// `aws.lambda.price.gb.second`
    pub(crate) gb_second: f64,
}

/// What one call took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Billed {
    pub(crate) millis: u64,
    /// Memory that the function has.
    pub(crate) memory_mb: u64,
}

impl Billed {
    /// Reads `X-Amz-Log-Result`. None where the line is missing or cannot be read.
    pub(crate) fn read(header: &[u8]) -> Option<Self> {
        if header.len() > MAX_HEADER_BYTES {
            return None;
        }
        let log = BASE64.decode(header).ok()?;
        let log = String::from_utf8_lossy(&log);
        // Written by Lambda after everything that the function itself wrote.
        let report = log.lines().rev().find(|line| line.starts_with("REPORT RequestId:"))?;
        let number = |name: &str, unit: &str| {
            let (_, rest) = report.split_once(name)?;
            let (number, _) = rest.split_once(unit)?;
            number.trim().parse().ok()
        };
        Some(Self {
            millis: number("Billed Duration:", "ms")?,
            memory_mb: number("Memory Size:", "MB")?,
        })
    }
}

/// What the calls of one function took so far.
#[derive(Debug)]
pub(crate) struct Usage {
    prices: Option<Prices>,
    calls: AtomicU64,
    millis: AtomicU64,
    /// Milliseconds times MB, which is what is paid for.
    mb_millis: AtomicU64,
}

impl Usage {
    pub(crate) fn new(prices: Option<Prices>) -> Self {
        Self {
            prices,
            calls: AtomicU64::new(0),
            millis: AtomicU64::new(0),
            mb_millis: AtomicU64::new(0),
        }
    }

    pub(crate) fn add(&self, billed: Billed) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.millis.fetch_add(billed.millis, Ordering::Relaxed);
        let mb_millis = billed.millis.saturating_mul(billed.memory_mb);
        self.mb_millis.fetch_add(mb_millis, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> RouteUsage {
        let calls = self.calls.load(Ordering::Relaxed);
        let millis = self.millis.load(Ordering::Relaxed);
        RouteUsage {
            billed_calls: calls,
            billed: Duration::from_millis(millis),
            estimated_cost: self.prices.map(|prices| {
                let gb_seconds = number(self.mb_millis.load(Ordering::Relaxed)) / 1024.0 / 1000.0;
                number(calls) * prices.request + gb_seconds * prices.gb_second
            }),
        }
    }
}

/// Exact up to 2^53, which no bill comes to.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(log: &str) -> String {
        BASE64.encode(log)
    }

    #[test]
    fn the_last_report_of_a_log_says_what_is_billed() {
        let report = "REPORT RequestId: 8f5\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 512 MB\tMax Memory \
                      Used: 40 MB\tInit Duration: 100.1 ms\t\n";
        let of_function = "REPORT RequestId: x\tBilled Duration: 1 ms\tMemory Size: 1 MB\n";
        let billed = Some(Billed {
            millis: 13,
            memory_mb: 512,
        });
        let cases = [
            (
                header(&format!("START\nhello\nEND\n{report}")),
                billed,
                "as Lambda writes it",
            ),
            (
                header(&format!("{of_function}{report}")),
                billed,
                "what a function writes does not count",
            ),
            (header("START\nhello"), None, "the line was cut off"),
            (
                header("REPORT RequestId: x\tBilled Duration: many ms"),
                None,
                "no number",
            ),
            ("%%%".to_owned(), None, "no base64"),
            (header(&"x".repeat(20_000)), None, "longer than Lambda sends"),
        ];
        for (header, wanted, why) in cases {
            assert_eq!(Billed::read(header.as_bytes()), wanted, "{why}");
        }
    }

    #[test]
    fn an_estimate_is_calls_and_memory_over_time() {
        let prices = Prices {
            request: 0.5,
            gb_second: 2.0,
        };
        let usage = Usage::new(Some(prices));
        for millis in [1_000, 3_000] {
            usage.add(Billed { millis, memory_mb: 512 });
        }
        let read = usage.read();
        assert_eq!((read.billed_calls, read.billed), (2, Duration::from_secs(4)));
        assert_eq!(read.estimated_cost, Some(2.0 * 0.5 + 2.0 * 2.0), "4 s of half a GB");
        assert_eq!(Usage::new(None).read().estimated_cost, None, "no price, no estimate");
    }
}
