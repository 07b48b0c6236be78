//! The config log: one append-only log that holds every connector and every wish about it, in the keys and JSON of
//! Connect's config topic.
//!
//! **Invariant:** every record in the log is valid. Writers validate against a position and append with
//! [`ConfigLog::append_if`]; a writer that was overtaken gets [`Appended::Conflict`], reads on and decides again. So
//! replay needs no judgement.

mod file;
mod memory;
mod record;

use std::fmt;

use klamm_connect_api::BoxFuture;
use tokio::sync::watch;

pub use file::FileConfigLog;
pub use memory::MemoryConfigLog;
pub use record::{ConfigRecord, Restart, TargetState};

/// Number of records that a log holds: the position of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition(pub u64);

/// Outcome of a conditional append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The records are durable; this is the new end.
    At(LogPosition),
    /// Somebody else wrote first; this is the present end, and nothing was written.
    Conflict(LogPosition),
}

/// Why the log cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigLogError {
    /// The file system refused.
    #[error("config log `{path}` cannot be {verb}: check the disk and the permissions of `state.dir`")]
    Io {
        /// The file.
        path: String,
        /// What was tried, as a participle.
        verb: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A record in the middle of the file does not read back. A torn record at the end is not an error: it was never
    /// acknowledged and is cut off.
    #[error(
        "config log `{path}` is damaged at line {line} ({what}): restore the file from a backup, or move it away to start \
         without connectors"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// An append-only log of [`ConfigRecord`]s.
pub trait ConfigLog: Send + Sync + fmt::Debug {
    /// The records from `position` on, in order, and the end after them.
    ///
    /// # Errors
    /// If the log cannot be read.
    fn read(&self, position: LogPosition) -> BoxFuture<'_, Result<(Vec<ConfigRecord>, LogPosition), ConfigLogError>>;

    /// Appends all of `records` if the log still ends at `expected_end`, else nothing. When it answers
    /// [`Appended::At`] the records survive a crash.
    ///
    /// # Errors
    /// If the log cannot be written; it is then unknown whether the records are in it, and reading tells.
    fn append_if(
        &self,
        expected_end: LogPosition,
        records: Vec<ConfigRecord>,
    ) -> BoxFuture<'_, Result<Appended, ConfigLogError>>;

    /// Follows the end of the log.
    fn end(&self) -> watch::Receiver<LogPosition>;
}
