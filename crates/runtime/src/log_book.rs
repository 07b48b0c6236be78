//! The newest lines of the log, by connector.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::wall_clock::now_ms;

/// Lines that are kept, of all connectors.
const LINES: usize = 10_000;
/// Bytes of text that are kept.
const BYTES: usize = 8 * 1024 * 1024;

/// A line of the log that names a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Counts the lines of this worker's life, from 1.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: &'static str,
    /// The part of the worker.
    pub logger: &'static str,
    /// The connector that it names.
    pub connector: String,
    /// What happened.
    pub message: String,
    /// The other values of the line, by name.
    pub fields: BTreeMap<&'static str, String>,
}

impl LogLine {
    fn bytes(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.connector.len() + self.message.len() + fields
    }
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<LogLine>,
    bytes: usize,
    written: u64,
}

/// What the worker has logged about connectors, for people who cannot read its standard error. Clones share it.
///
/// It forgets the oldest lines, and everything with the process.
#[derive(Debug, Clone, Default)]
pub struct LogBook(Arc<Mutex<Lines>>);

impl LogBook {
    /// Keeps a line; its number and its time are given here.
    pub fn write(&self, mut line: LogLine) {
        let mut lines = self.lines();
        lines.written += 1;
        line.sequence = lines.written;
        line.at_ms = now_ms();
        lines.bytes += line.bytes();
        lines.kept.push_back(line);
        while lines.kept.len() > LINES || lines.bytes > BYTES {
            let Some(oldest) = lines.kept.pop_front() else { return };
            lines.bytes -= oldest.bytes();
        }
    }

    /// The newest `limit` lines of a connector after the line `after`, the oldest of them first; and the number of the
    /// newest line of all, to go on from.
    #[must_use]
    pub fn of(&self, connector: &str, after: u64, limit: usize) -> (Vec<LogLine>, u64) {
        let lines = self.lines();
        let newest = lines.kept.iter().rev().take_while(|line| line.sequence > after);
        let mut found: Vec<_> = newest
            .filter(|line| line.connector == connector)
            .take(limit)
            .cloned()
            .collect();
        found.reverse();
        (found, lines.written)
    }

    /// Held for a few lines, never across an await; a panic under the lock leaves whole lines.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(connector: &str, message: &str) -> LogLine {
        LogLine {
            sequence: 0,
            at_ms: 0,
            level: "INFO",
            logger: "test",
            connector: connector.to_owned(),
            message: message.to_owned(),
            fields: BTreeMap::new(),
        }
    }

    fn messages(found: &(Vec<LogLine>, u64)) -> Vec<&str> {
        found.0.iter().map(|line| line.message.as_str()).collect()
    }

    #[test]
    fn the_newest_lines_of_a_connector_come_in_their_order() {
        let book = LogBook::default();
        for (connector, message) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")] {
            book.write(line(connector, message));
        }
        assert_eq!(messages(&book.of("a", 0, 2)), ["3", "4"]);
        let (_, next) = book.of("a", 0, 2);
        book.write(line("a", "5"));
        assert_eq!(messages(&book.of("a", next, 10)), ["5"], "goes on after what was told");
        assert_eq!(messages(&book.of("c", 0, 10)), [""; 0]);
    }

    #[test]
    fn lines_and_bytes_are_bounded() {
        let book = LogBook::default();
        for n in 0..LINES + 5 {
            book.write(line("a", &n.to_string()));
        }
        assert_eq!(book.of("a", 0, usize::MAX).0.len(), LINES);
        assert_eq!(messages(&book.of("a", 0, usize::MAX))[0], "5");
        book.write(line("a", &"x".repeat(BYTES)));
        assert_eq!(
            book.of("a", 0, usize::MAX).0.len(),
            0,
            "one that is larger than everything is not kept"
        );
        assert_eq!(book.lines().bytes, 0);
    }
}
