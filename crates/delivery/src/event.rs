//! What an engine tells its owner.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::Origin;
use klamm_connect_api::sink::Failure;

/// Something that the owner of an engine must act on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineEvent {
    /// The task has failed: nothing more is sent, every intake is closed. Comes at most once.
    Failed(TaskFailure),
    /// No route could be used for 60 s. The engine goes on probing.
    AllRoutesUnusable {
        /// The route whose failure is shown: the one that has been unusable longest.
        route: Arc<str>,
        /// Why, and what to do.
        failure: Failure,
    },
    /// A probe succeeded after [`EngineEvent::AllRoutesUnusable`].
    Usable {
        /// The route that can be used again.
        route: Arc<str>,
    },
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFailure {
    /// The record, the first one if it was a whole batch; its offset is not committed. None if no single record is
    /// to blame.
    pub origin: Option<Origin>,
    /// Records that share the fate.
    pub records: usize,
    /// The route; empty if none is to blame.
    pub route: Arc<str>,
    /// The destination in words for people.
    pub destination: Arc<str>,
    /// Counted calls that the record was part of.
    pub attempts: u32,
    /// Time since the record was first sent; zero if it never was.
    pub elapsed: Duration,
    /// What happened, and what to do.
    pub failure: Failure,
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) if self.records > 1 => {
                write!(f, "{} records from {origin} on", self.records)?;
            }
            Some(origin) => write!(f, "record {origin}")?,
            None => f.write_str("delivery")?,
        }
        if self.route.is_empty() {
            return write!(f, " failed: {}", self.failure);
        }
        write!(
            f,
            " failed on route `{}` ({}) after {} attempts: {}",
            self.route, self.destination, self.attempts, self.failure
        )
    }
}

impl std::error::Error for TaskFailure {}
