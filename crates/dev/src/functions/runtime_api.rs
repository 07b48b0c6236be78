//! The Runtime API: what a runtime library asks and tells over HTTP, as messages to the process's owner.
//!
//! Source: AWS Lambda Developer Guide, "Using the Lambda runtime API for custom runtimes". Each process has a port of its
//! own, since requests do not say which process sends them.

use std::convert::Infallible;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::http::Answer;
use crate::api::receive;

/// AWS's 6 MB and 100 bytes.
pub(super) const RESPONSE_LIMIT_BYTES: u64 = 6 * 1024 * 1024 + 100;

/// A call as the runtime gets it.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// What a runtime wants or tells.
#[derive(Debug)]
pub(super) enum Message {
    /// It is ready for a call.
    Next(oneshot::Sender<Work>),
    /// A call was answered.
    Response {
        request_id: String,
        /// None if it is above the limit.
        body: Option<Bytes>,
        taken: oneshot::Sender<Taken>,
    },
    /// A call failed.
    Error {
        request_id: String,
        kind: Option<String>,
        body: Bytes,
        taken: oneshot::Sender<Taken>,
    },
    /// The handler cannot be loaded.
    InitError { body: Bytes, taken: oneshot::Sender<Taken> },
}

/// What the runtime is told about its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    TooLarge,
    /// No call with this id runs.
    UnknownId,
}

/// Serves the API of one process.
#[derive(Clone, Debug)]
pub(super) struct Service {
    messages: mpsc::Sender<Message>,
}

impl Service {
    /// The owner takes the messages; few wait, as a runtime does one thing at a time.
    pub(super) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (messages, received) = mpsc::channel(4);
        (Self { messages }, received)
    }

    async fn next(&self) -> Answer {
        let (work, given) = oneshot::channel();
        if self.messages.send(Message::Next(work)).await.is_err() {
            return error(StatusCode::GONE, "InvalidStateTransition", "this environment has ended");
        }
        match given.await {
            Ok(work) => {
                let mut answer = Response::new(Full::new(work.payload));
                *answer.headers_mut() = work.headers;
                answer
            }
            Err(_refused) => error(
                StatusCode::FORBIDDEN,
                "InvalidStateTransition",
                "the call before was not answered",
            ),
        }
    }

    async fn tell(&self, message: Message, taken: oneshot::Receiver<Taken>) -> Answer {
        let sent = self.messages.send(message).await.is_ok();
        match taken.await {
            Ok(Taken::Yes) => json_answer(StatusCode::ACCEPTED, &json!({"status": "OK"})),
            Ok(Taken::TooLarge) => error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                &format!("Exceeded maximum allowed payload size ({RESPONSE_LIMIT_BYTES} bytes)."),
            ),
            Ok(Taken::UnknownId) => error(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
            Err(_gone) => {
                debug_assert!(sent || self.messages.is_closed(), "an open channel takes messages");
                error(StatusCode::GONE, "InvalidStateTransition", "this environment has ended")
            }
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let Some(path) = parts.uri.path().strip_prefix("/2018-06-01/runtime/") else {
            return unknown();
        };
        if parts.method == Method::GET && path == "invocation/next" {
            return self.next().await;
        }
        let told = path.strip_prefix("invocation/").and_then(|rest| rest.rsplit_once('/'));
        let is_known = path == "init/error" || matches!(told, Some((_, "response" | "error")));
        if parts.method != Method::POST || !is_known {
            return unknown();
        }
        let Ok(received) = receive(body, true, RESPONSE_LIMIT_BYTES).await else {
            return error(StatusCode::BAD_REQUEST, "TruncatedBody", "the body ended early");
        };
        let (taken, is_taken) = oneshot::channel();
        let body = (received.size <= RESPONSE_LIMIT_BYTES).then_some(received.bytes);
        let message = match told {
            Some((request_id, "response")) => Message::Response {
                request_id: request_id.to_owned(),
                body,
                taken,
            },
            Some((request_id, _error)) => Message::Error {
                request_id: request_id.to_owned(),
                kind: parts
                    .headers
                    .get("lambda-runtime-function-error-type")
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned),
                body: body.unwrap_or_default(),
                taken,
            },
            None => Message::InitError {
                body: body.unwrap_or_default(),
                taken,
            },
        };
        self.tell(message, is_taken).await
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

fn unknown() -> Answer {
    error(
        StatusCode::NOT_FOUND,
        "NotFound",
        "the Runtime API has no such resource",
    )
}

fn error(status: StatusCode, kind: &str, message: &str) -> Answer {
    json_answer(status, &json!({"errorType": kind, "errorMessage": message}))
}

fn json_answer(status: StatusCode, body: &serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, json);
    answer
}
