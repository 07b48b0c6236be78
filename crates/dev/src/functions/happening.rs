//! What whoever watches functions is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

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
    /// A call was given to an environment.
    Started {
        /// The function.
        function: Arc<str>,
        /// How it was called.
        invocation_type: InvocationType,
    },
    /// A call ended.
    Called(Call),
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
    /// What it was called with.
    pub payload: Bytes,
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

/// Who is told what happens.
///
/// It is called where it happens: it must be quick, must not block, and keeps what it wants to keep.
#[derive(Clone, Default)]
pub struct Watcher(Option<Arc<Watch>>);

type Watch = dyn Fn(&Happening) + Send + Sync;

impl Watcher {
    /// Calls `watch` with everything that happens.
    pub fn new(watch: impl Fn(&Happening) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(watch)))
    }

    pub(super) fn tell(&self, happening: &Happening) {
        if let Some(watch) = &self.0 {
            watch(happening);
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watcher" } else { "Nobody" })
    }
}
