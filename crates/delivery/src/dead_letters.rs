//! Records that are given up but not lost: what the engine hands over, and to whom.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::sink::Failure;
use klamm_connect_api::{BoxFuture, Origin};

/// Keeps records that were given up. The owner of an engine implements it; the engine knows no queue.
///
/// The engine hands over the records of a partition in offset order of each lane, at most [`LETTERS_AT_ONCE`] in one
/// write and one write of a partition at a time. Until a write resolves its records are not done and hold their lanes.
pub trait DeadLetters: Send + Sync + fmt::Debug {
    /// Writes the records of one partition in this order, and resolves when all of them are durable. What may pass is
    /// waited for, however long that takes.
    ///
    /// # Errors
    /// A record that is refused for good, which fails the task.
    ///
    /// # Cancel safety
    /// Once the future is dropped, no write starts that had not started.
    fn write(&self, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LetterRefused>>;
}

/// Most records in one write.
pub const LETTERS_AT_ONCE: usize = 100;

/// A record that was given up.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Where it was consumed from.
    pub origin: Origin,
    /// What the owner of the engine gave it as [`Delivery::original`](crate::Delivery::original) or
    /// [`Delivery::dead_letter`](crate::Delivery::dead_letter).
    pub record: Bytes,
    /// Why it was given up; none if it failed before delivery, whose letter is complete.
    pub given_up: Option<Arc<GivenUp>>,
}

/// Why delivery of a record was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The route.
    pub route: Arc<str>,
    /// The destination in words for people.
    pub destination: Arc<str>,
    /// Counted calls that the record was part of.
    pub attempts: u32,
    /// What the last call came to.
    pub failure: Failure,
}

/// A dead letter that will not be taken, however often it is tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LetterRefused {
    /// Which of the letters of the write.
    pub index: usize,
    /// Why, and what to do.
    pub message: String,
}
