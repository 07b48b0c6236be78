//! What whoever watches functions is told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::api::InvocationType;

/// Something that happened to a function.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Happening {
    /// A line that a handler wrote to standard output or standard error.
    Line {
        /// The function.
        function: Arc<str>,
        /// The line, without its end; cut at 16 KiB.
        text: Arc<str>,
    },
    /// A call ended.
    Called(Arc<Call>),
    /// The code changed: the next call runs the new one.
    Reloaded {
        /// The function.
        function: Arc<str>,
    },
    /// An event failed and will be tried again.
    EventRetry {
        /// The function.
        function: Arc<str>,
        /// The event's request id.
        request_id: Arc<str>,
        /// The attempt that comes, the first being 1.
        attempt: u32,
        /// The wait before it.
        delay: Duration,
    },
    /// An event was given up; in Lambda it would go to the on-failure destination.
    EventDropped {
        /// The function.
        function: Arc<str>,
        /// The event's request id.
        request_id: Arc<str>,
        /// Why.
        reason: &'static str,
    },
}

/// A call that ended.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function's bare name.
    pub function: Arc<str>,
    /// The version that ran.
    pub version: Arc<str>,
    /// The request id.
    pub request_id: Arc<str>,
    /// How it was called.
    pub invocation_type: InvocationType,
    /// The attempt, the first being 1.
    pub attempt: u32,
    /// Bytes of the payload.
    pub payload_bytes: usize,
    /// How long the handler ran.
    pub duration: Duration,
    /// How long it took to load, if this call started the process.
    pub init: Option<Duration>,
    /// How it ended.
    pub outcome: CallOutcome,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// The function's answer.
    Success(Bytes),
    /// The document of a function error, with `errorType` and `errorMessage`.
    FunctionError(Bytes),
}

/// Tells all who listen, if any.
pub(super) type Happenings = broadcast::Sender<Happening>;

/// Happenings that a slow listener may be behind.
pub(super) const BEHIND: usize = 4_096;

pub(super) fn tell(happenings: &Happenings, happening: Happening) {
    // An error says that nobody listens.
    drop(happenings.send(happening));
}
