//! The dead letter queue of a connector, from outside: what is there, a look at some of it, and the way back.
//!
//! **Owns** reading dead letters, and the tasks that redrive them.
//! **Does not know** how dead letters come to be: that is `task/letters`. It reads only what their headers say.
//! **Invariants:** a redrive writes only to topics that the connector reads; a record that comes back after a redrive is
//! not redriven again; a position is committed after everything before it was acknowledged.
//!
//! `letter` tells what a record of the queue is → `queue` reads it in bounded pieces → `redrive` writes what may go back.

mod letter;
mod queue;
mod redrive;

use std::fmt;

use bytes::Bytes;
use klamm_connect_api::{BoxFuture, Timestamp};

pub(crate) use queue::KafkaDeadLetters;

/// Looks into dead letter queues and redrives them.
pub trait DeadLetters: Send + Sync + fmt::Debug {
    /// Where the connector's failed records go, and how many are there.
    ///
    /// # Errors
    /// See [`DeadLettersError`].
    fn list<'a>(&'a self, connector: &'a str) -> BoxFuture<'a, Result<DeadLetterQueues, DeadLettersError>>;

    /// Some dead letters of the connector, in the order of their offsets.
    ///
    /// # Errors
    /// See [`DeadLettersError`].
    fn peek<'a>(&'a self, connector: &'a str, peek: Peek) -> BoxFuture<'a, Result<Vec<DeadLetter>, DeadLettersError>>;

    /// Begins to write dead letters to the topics that they came from; or, as a dry run, counts what would be written.
    /// Goes on where the last redrive of the connector ended.
    ///
    /// # Errors
    /// See [`DeadLettersError`]; one of the connector is under way, or too many are.
    fn redrive<'a>(
        &'a self,
        connector: &'a str,
        redrive: Redrive,
    ) -> BoxFuture<'a, Result<RedriveStatus, DeadLettersError>>;

    /// How the last redrive of the connector is or was, since the start of the worker.
    fn redrive_status(&self, connector: &str) -> Option<RedriveStatus>;

    /// Ends the redrive of the connector after what it has written last. Says whether there was one under way.
    fn stop_redrive(&self, connector: &str) -> bool;

    /// Ends all of them.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// Why dead letters cannot be looked at or redriven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadLettersError {
    /// There is no such connector, queue or partition.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense for this connector.
    #[error("{0}")]
    Refused(String),
    /// One is under way.
    #[error("{0}")]
    Busy(String),
    /// Kafka is away or refuses.
    #[error("{0}")]
    Unavailable(String),
}

/// Where the failed records of a connector go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterQueues {
    /// The topic, if one is configured.
    pub topic: Option<DeadLetterTopic>,
    /// Places that are no topics, in words; they are read with their own tools.
    pub destinations: Vec<String>,
}

/// The topic of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterTopic {
    /// Its name.
    pub name: String,
    /// Whether it exists.
    pub exists: bool,
    /// Whether letters tell where they came from, without which they cannot be redriven.
    pub has_context_headers: bool,
    /// The consumer group that keeps how far redrives came.
    pub group: String,
    /// Its partitions.
    pub partitions: Vec<DeadLetterPartition>,
}

/// A partition of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterPartition {
    /// Its number.
    pub partition: i32,
    /// The first offset that is there.
    pub start: i64,
    /// The offset after the last one.
    pub end: i64,
    /// Where the next redrive begins.
    pub redriven: i64,
}

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peek {
    /// A partition; all of them without it.
    pub partition: Option<i32>,
    /// Where to begin; without it where the next redrive would.
    pub offset: Option<i64>,
    /// Most letters.
    pub limit: usize,
}

/// A record of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The original's timestamp.
    pub timestamp: Option<Timestamp>,
    /// What its headers say; none where they were not written.
    pub error: Option<LetterError>,
    /// How often the record was redriven before it came here.
    pub redrives: u32,
    /// The original's key.
    pub key: Option<Bytes>,
    /// The original's value.
    pub value: Option<Bytes>,
    /// The original's headers.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Why a record is in the queue. Texts of headers, so nothing in them is certain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterError {
    /// Where it was consumed from.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// By which connector.
    pub connector: String,
    /// In which stage it failed.
    pub stage: String,
    /// Connect's exception, or the error's name.
    pub exception: String,
    /// What failed.
    pub message: String,
    /// The route whose delivery was given up.
    pub route: Option<String>,
    /// Its function.
    pub function: Option<String>,
    /// Calls that counted.
    pub attempts: Option<String>,
    /// Of the last call.
    pub request_id: Option<String>,
}

/// How to redrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redrive {
    /// Count, and write nothing.
    pub dry_run: bool,
    /// Most records a second.
    pub records_per_second: u32,
    /// Most records; all that are there at the beginning without it.
    pub max_records: Option<u64>,
    /// A record that came back so often is left in the queue.
    pub max_redrives: u32,
}

/// How a redrive is, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedriveStatus {
    /// Whether it goes on.
    pub state: RedriveState,
    /// As it was asked for.
    pub redrive: Redrive,
    /// When it began, in milliseconds since the epoch.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Records of the queue that were there at the beginning, before it.
    pub found: u64,
    /// Of these, offsets that were passed.
    pub passed: u64,
    /// Records that were written and acknowledged; in a dry run those that would be.
    pub redriven: u64,
    /// Records that had come back after a redrive, and stay.
    pub returned: u64,
    /// Records of other connectors that share the queue.
    pub of_others: u64,
    /// Records without the headers that tell where they came from.
    pub without_origin: u64,
    /// Records from topics that the connector does not read any more.
    pub of_other_topics: u64,
    /// Records that Kafka does not take back: too large with their new header, say, or their topic is gone.
    pub refused: u64,
}

/// Whether a redrive goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedriveState {
    /// It does.
    Running,
    /// Everything was passed, or as much as was asked for.
    Done,
    /// Somebody stopped it, or the worker ended. The next one goes on there.
    Stopped,
    /// It cannot go on, for this reason. The next one tries again there.
    Failed(String),
}
