//! What the engine hands over to be kept before a record is done: records that are given up, and answers.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::sink::Failure;
use klamm_connect_api::{BoxFuture, Origin};

/// Keeps records that were given up, and what destinations answered. The owner of an engine implements it; the engine
/// knows no queue and no topic.
///
/// The engine hands over the letters of a partition in offset order of each lane, at most [`LETTERS_AT_ONCE`] in one
/// write and one write of a partition at a time. Until a write resolves its records are not done and hold their lanes.
pub trait Letters: Send + Sync + fmt::Debug {
    /// Writes the letters of one partition in this order, and resolves when all of them are durable. What may pass is
    /// waited for, however long that takes.
    ///
    /// # Errors
    /// A letter that is refused for good, which fails the task.
    ///
    /// # Cancel safety
    /// Once the future is dropped, no write starts that had not started.
    fn write(&self, letters: Vec<Letter>) -> BoxFuture<'_, Result<(), LetterRefused>>;
}

/// Most letters in one write.
pub const LETTERS_AT_ONCE: usize = 100;

/// A record with the reason why it is handed over.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Where it was consumed from.
    pub origin: Origin,
    /// What the owner of the engine gave it as [`Delivery::original`](crate::Delivery::original) or
    /// [`Delivery::dead_letter`](crate::Delivery::dead_letter).
    pub record: Bytes,
    /// Why.
    pub about: About,
}

/// Why a record is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// It failed before delivery: its letter is complete.
    Failed,
    /// Its delivery was given up under [`ErrorPolicy::DeadLetter`].
    ///
    /// [`ErrorPolicy::DeadLetter`]: klamm_connect_api::delivery::ErrorPolicy::DeadLetter
    GivenUp(Arc<GivenUp>),
    /// Its delivery was given up under [`ErrorPolicy::Log`], and [`EngineConfig::reports_skipped`] asks for it.
    ///
    /// [`ErrorPolicy::Log`]: klamm_connect_api::delivery::ErrorPolicy::Log
    /// [`EngineConfig::reports_skipped`]: crate::EngineConfig::reports_skipped
    Skipped(Arc<GivenUp>),
    /// It was accepted.
    Answered {
        /// The route.
        route: Arc<str>,
        /// What the destination said, as [`Verdict::Answered`] has it.
        ///
        /// [`Verdict::Answered`]: klamm_connect_api::sink::Verdict::Answered
        result: Bytes,
    },
}

impl About {
    /// The delivery that was given up.
    #[must_use]
    pub fn given_up(&self) -> Option<&Arc<GivenUp>> {
        match self {
            Self::GivenUp(given_up) | Self::Skipped(given_up) => Some(given_up),
            Self::Failed | Self::Answered { .. } => None,
        }
    }
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

/// A letter that will not be taken, however often it is tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LetterRefused {
    /// Which of the letters of the write.
    pub index: usize,
    /// Why, and what to do.
    pub message: String,
}
