//! What became of calls: a line for whoever reads, counters for whoever watches.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_dev::functions::{Call, CallOutcome, Happening};
use klamm_dev::{InvocationType, payload};
use tokio::sync::mpsc;

/// An answer is shown up to here.
const SHOWN_BYTES: usize = 200;

/// Counts what happens and writes a line about it.
#[derive(Debug)]
pub(super) struct Board {
    lines: mpsc::Sender<String>,
    /// Lines that nobody had time for.
    missed: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    routes: BTreeMap<(Arc<str>, &'static str), RouteRow>,
    connectors: BTreeMap<String, ConnectorRow>,
    /// Events that were given up.
    dropped_events: u64,
    /// Grows with all that happens.
    changes: u64,
}

/// Calls of one function in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RouteRow {
    pub(super) calls: u64,
    pub(super) in_flight: u64,
    pub(super) delivered_records: u64,
    pub(super) failed_calls: u64,
}

/// How far a connector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectorRow {
    /// In Connect's words.
    pub(super) state: &'static str,
    /// Records that it has done.
    pub(super) done: i64,
    /// Records that wait or are on their way.
    pub(super) left: i64,
}

impl Board {
    pub(super) fn new(lines: mpsc::Sender<String>) -> Self {
        Self {
            lines,
            missed: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// Held for a few lines, never across an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a line, if there is time for it: what happens never waits for a terminal.
    pub(super) fn line(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that were not shown since the last time.
    pub(super) fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }

    pub(super) fn happened(&self, happening: &Happening) {
        let line = match happening {
            Happening::Line { function, text } => format!("{function} | {text}"),
            Happening::Started {
                function,
                invocation_type,
            } => {
                let mut state = self.lock();
                state.changes += 1;
                state.row(function, *invocation_type).in_flight += 1;
                return;
            }
            Happening::Called(call) => {
                let records = records(&call.payload);
                let mut state = self.lock();
                state.changes += 1;
                let row = state.row(&call.function, call.invocation_type);
                row.calls += 1;
                row.in_flight = row.in_flight.saturating_sub(1);
                match &call.outcome {
                    CallOutcome::Success(_) => row.delivered_records += records.values().sum::<u64>(),
                    CallOutcome::FunctionError(_) => row.failed_calls += 1,
                }
                drop(state);
                called(call, &records)
            }
            Happening::Reloaded { function } => format!("{function}: the code changed, the new one runs"),
            Happening::EventRetry {
                function,
                attempt,
                delay,
                ..
            } => format!("{function}: the event is tried again in {delay:?}, attempt {attempt}"),
            Happening::EventDropped { function, reason, .. } => {
                let mut state = self.lock();
                state.changes += 1;
                state.dropped_events += 1;
                drop(state);
                format!("{function}: an event is given up: {reason}")
            }
            _ => return,
        };
        self.line(line);
    }

    pub(super) fn set_connector(&self, name: &str, row: ConnectorRow) {
        let mut state = self.lock();
        if state.connectors.get(name) != Some(&row) {
            state.connectors.insert(name.to_owned(), row);
            state.changes += 1;
        }
    }

    /// Grows with all that happens.
    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    pub(super) fn dropped_events(&self) -> u64 {
        self.lock().dropped_events
    }

    /// Whether a call runs.
    pub(super) fn is_busy(&self) -> bool {
        self.lock().routes.values().any(|row| row.in_flight > 0)
    }

    /// The view: a line for each connector and each route.
    pub(super) fn view(&self) -> Vec<String> {
        let state = self.lock();
        let connectors = state.connectors.iter().map(|(name, row)| {
            format!("{name:24} {:10} done {:<8} left {}", row.state, row.done, row.left)
        });
        let routes = state.routes.iter().map(|((function, how), row)| {
            format!(
                "{function:24} {how:10} delivered {:<8} in flight {:<4} calls {:<6} failed {}",
                row.delivered_records, row.in_flight, row.calls, row.failed_calls
            )
        });
        connectors.chain(routes).collect()
    }
}

impl State {
    fn row(&mut self, function: &Arc<str>, how: InvocationType) -> &mut RouteRow {
        self.routes.entry((Arc::clone(function), word(how))).or_default()
    }
}

fn word(how: InvocationType) -> &'static str {
    match how {
        InvocationType::RequestResponse => "sync",
        InvocationType::Event => "async",
        InvocationType::DryRun => "dry run",
    }
}

/// Records of a payload by topic-partition; none if it is of another format.
fn records(payload: &[u8]) -> BTreeMap<String, u64> {
    let mut records = BTreeMap::new();
    let mut count = |at: payload::Coordinates<'_>| {
        *records.entry(format!("{}-{}", at.topic, at.partition)).or_default() += 1;
    };
    let read = if payload.first() == Some(&b'[') {
        payload::each_of_confluent(payload, &mut count)
    } else {
        payload::each_of_esm(payload, &mut count)
    };
    if read.is_err() {
        records.clear();
    }
    records
}

fn called(call: &Call, records: &BTreeMap<String, u64>) -> String {
    let what = if records.is_empty() {
        format!("{} bytes", call.payload.len())
    } else {
        let each = records.iter().map(|(at, count)| {
            let word = if *count == 1 { "record" } else { "records" };
            format!("{count} {word} of {at}")
        });
        each.collect::<Vec<_>>().join(" and ")
    };
    let to = format!("{} ({})", call.function, word(call.invocation_type));
    match &call.outcome {
        CallOutcome::Success(answer) if answer.is_empty() || &**answer == b"null" => format!("delivered {what} to {to}"),
        CallOutcome::Success(answer) => {
            format!("delivered {what} to {to}\n{} => {}", call.function, shown(answer))
        }
        CallOutcome::FunctionError(_) => {
            let error = call.outcome.error_summary().unwrap_or_default();
            format!("failed {what} to {to}: {error}")
        }
    }
}

/// The beginning of an answer, on one line.
fn shown(answer: &[u8]) -> String {
    let (begin, dots) = match answer.get(..SHOWN_BYTES) {
        Some(begin) if answer.len() > SHOWN_BYTES => (begin, "…"),
        _ => (answer, ""),
    };
    let text = String::from_utf8_lossy(begin);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text + dots
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn call(payload: &'static str, how: InvocationType, outcome: CallOutcome) -> Call {
        Call {
            function: "f".into(),
            version: "$LATEST".into(),
            request_id: "i".into(),
            invocation_type: how,
            attempt: 1,
            payload: payload.into(),
            duration: Duration::ZERO,
            init: None,
            outcome,
        }
    }

    #[test]
    fn a_call_is_a_line_and_counts() {
        let confluent = r#"[{"payload":{"topic":"t","partition":0,"offset":1}},{"payload":{"topic":"t","partition":0,"offset":2}},{"payload":{"topic":"u","partition":1,"offset":0}}]"#;
        let esm = r#"{"records":{"t-0":[{"topic":"t","partition":0,"offset":1}]}}"#;
        let good = |text: &'static str| CallOutcome::Success(text.into());
        let bad = CallOutcome::FunctionError(r#"{"errorType":"E","errorMessage":"m"}"#.into());
        let (sync, event) = (InvocationType::RequestResponse, InvocationType::Event);
        let cases = [
            (call(confluent, sync, good("null")), "delivered 2 records of t-0 and 1 record of u-1 to f (sync)"),
            (call(esm, event, good("")), "delivered 1 record of t-0 to f (async)"),
            (call("{\"a\":1}", sync, good("{\"b\":\n1}")), "delivered 7 bytes to f (sync)\nf => {\"b\": 1}"),
            (call(esm, sync, bad), "failed 1 record of t-0 to f (sync): E: m"),
        ];
        let (lines, mut shown) = mpsc::channel(3);
        let board = Board::new(lines);
        for (call, wanted) in &cases {
            board.happened(&Happening::Called(call.clone()));
            if let Ok(line) = shown.try_recv() {
                assert_eq!(line, *wanted);
            }
        }
        let retry = Happening::EventRetry {
            function: "f".into(),
            request_id: "i".into(),
            attempt: 2,
            delay: Duration::from_secs(1),
        };
        for _ in 0..5 {
            board.happened(&retry);
        }
        assert_eq!(shown.try_recv().unwrap(), "f: the event is tried again in 1s, attempt 2");
        assert_eq!(board.missed(), 2, "a full queue costs lines, not time");
        let view = board.view();
        assert_eq!(view.len(), 2, "{view:?}");
        assert!(view[1].contains("delivered 3 ") && view[1].ends_with("calls 3      failed 1"), "{view:?}");
    }
}
