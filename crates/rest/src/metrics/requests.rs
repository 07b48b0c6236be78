//! Requests of the REST API, by method and kind of answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
/// What any other method counts under.
const OTHER: &str = "other";
const KINDS: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts of requests. Added to without a lock.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    counts: [[AtomicU64; KINDS.len()]; METHODS.len() + 1],
    micros: [AtomicU64; METHODS.len() + 1],
}

/// Requests of one method with one kind of answer, and how long all of the method took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestCounts {
    pub(crate) method: &'static str,
    /// By kind of answer, those that came up.
    pub(crate) answers: Vec<(&'static str, u64)>,
    pub(crate) took: Duration,
}

impl Requests {
    /// A request was answered.
    pub(crate) fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        let place = METHODS.iter().position(|known| *known == method.as_str());
        let place = place.unwrap_or(METHODS.len());
        let kind = usize::from(status.as_u16() / 100).clamp(1, KINDS.len()) - 1;
        if let (Some(counts), Some(micros)) = (self.counts.get(place), self.micros.get(place)) {
            if let Some(count) = counts.get(kind) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            micros.fetch_add(took, Ordering::Relaxed);
        }
    }

    /// The methods that came up.
    pub(crate) fn read(&self) -> Vec<RequestCounts> {
        let methods = METHODS.into_iter().chain([OTHER]);
        let rows = methods.zip(&self.counts).zip(&self.micros);
        rows.map(|((method, counts), micros)| RequestCounts {
            method,
            answers: KINDS
                .into_iter()
                .zip(counts)
                .map(|(kind, count)| (kind, count.load(Ordering::Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            took: Duration::from_micros(micros.load(Ordering::Relaxed)),
        })
        .filter(|row| !row.answers.is_empty())
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_count_by_method_and_kind_and_unknown_methods_are_one() {
        let requests = Requests::default();
        let took = Duration::from_millis(2);
        requests.answered(&Method::GET, StatusCode::OK, took);
        requests.answered(&Method::GET, StatusCode::NOT_FOUND, took);
        requests.answered(&Method::GET, StatusCode::CREATED, took);
        for method in ["BREW", "WHEN"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            requests.answered(&method, StatusCode::METHOD_NOT_ALLOWED, took);
        }
        let row = |method, answers, ms| RequestCounts {
            method,
            answers,
            took: Duration::from_millis(ms),
        };
        assert_eq!(
            requests.read(),
            [
                row("GET", vec![("2xx", 2), ("4xx", 1)], 6),
                row("other", vec![("4xx", 2)], 4)
            ]
        );
    }
}
