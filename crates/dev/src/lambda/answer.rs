//! What a function answers, as a value that a script can hold.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::api::{Exception, Refusal, ThrottleReason};

/// One answer to one call.
///
/// To an asynchronous call (`Event`) a success or a function error is a plain 202: the caller never learns how the
/// function ended.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) kind: Kind,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) delay: Duration,
    pub(super) gate: Option<Gate>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Success(Bytes),
    FunctionError(Bytes),
    Status(StatusCode, Bytes),
    CloseUnread,
    Close,
    Reset,
    Half(Bytes),
}

impl Answer {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            headers: Vec::new(),
            delay: Duration::ZERO,
            gate: None,
        }
    }

    /// 200 with this body, which should be JSON.
    pub fn success(body: impl Into<Bytes>) -> Self {
        Self::new(Kind::Success(body.into()))
    }

    /// 200 with `X-Amz-Function-Error: Unhandled` and an error document with this `errorType` and `errorMessage`.
    pub fn function_error(error_type: &str, message: &str) -> Self {
        let document = json!({"errorMessage": message, "errorType": error_type, "stackTrace": []});
        Self::new(Kind::FunctionError(document.to_string().into()))
    }

    /// An exception with its status, its `x-amzn-ErrorType` and a text that says it is scripted.
    pub fn exception(exception: Exception) -> Self {
        Self::exception_with(exception, &format!("scripted {}", exception.name()))
    }

    /// An exception with its status, its `x-amzn-ErrorType` and this text.
    pub fn exception_with(exception: Exception, message: &str) -> Self {
        Self::error_body(exception, &exception.document(message))
    }

    /// 429 with a `Reason`, and with the time to wait both as `Retry-After` and as `retryAfterSeconds`, as AWS sends it.
    pub fn throttled(reason: ThrottleReason, retry_after_seconds: Option<u32>) -> Self {
        let body = reason.document(retry_after_seconds);
        let mut answer = Self::error_body(Exception::TooManyRequestsException, &body);
        if let Some(seconds) = retry_after_seconds {
            answer.headers.push((http::header::RETRY_AFTER, seconds.into()));
        }
        answer
    }

    fn error_body(exception: Exception, body: &serde_json::Value) -> Self {
        let mut answer = Self::new(Kind::Status(exception.status(), body.to_string().into()));
        let name = HeaderValue::from_static(exception.name());
        answer.headers.push((HeaderName::from_static("x-amzn-errortype"), name));
        answer
    }

    /// Any status with any body, such as the 503 page of a load balancer.
    pub fn status(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(Kind::Status(status, body.into()))
    }

    /// The connection is closed before the body of the request was read.
    pub fn close_unread() -> Self {
        Self::new(Kind::CloseUnread)
    }

    /// The connection is closed in order after the request was read: the caller does not know what happened.
    pub fn close() -> Self {
        Self::new(Kind::Close)
    }

    /// The connection is reset after the request was read: the caller does not know what happened.
    pub fn reset() -> Self {
        Self::new(Kind::Reset)
    }

    /// 200 with the first half of this body, then the end of the connection.
    pub fn half(body: impl Into<Bytes>) -> Self {
        Self::new(Kind::Half(body.into()))
    }

    /// Waits this long before answering, in tokio's time.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Waits until the gate is open before answering.
    #[must_use]
    pub fn held_by(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownOperation => Self::status(StatusCode::FORBIDDEN, Refusal::UNKNOWN_OPERATION),
            Refusal::Exception(exception, message) => Self::exception_with(exception, &message),
        }
    }
}

/// Holds answers back until it is opened; clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    opened: CancellationToken,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets every answer out that waits now or comes later.
    pub fn open(&self) {
        self.opened.cancel();
    }

    pub(super) async fn passed(&self) {
        self.opened.cancelled().await;
    }
}
