//! Payload -> answer: one HTTP request to the Invoke API, signed, without retries.

mod client;
mod clients;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use klamm_aws::{CannotSign, NoCredentials};
use klamm_connect_api::BoxFuture;
use tokio::time::Instant;

use crate::config::InvocationType;
use crate::usage::Billed;
pub(crate) use clients::Clients;

/// How a client calls the functions of a route.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) invocation: InvocationType,
    /// `X-Amz-Tenant-Id`
    pub(crate) tenant_id: Option<HeaderValue>,
    /// Credentials and a connection have to be there within this time. It is shorter than a call may take, so that an
    /// endpoint that is away is told from a function that takes too long.
    pub(crate) send_within: Duration,
    /// Bytes of an answer that are read; the rest is skipped.
    pub(crate) answer_bytes: usize,
    /// `X-Amz-Log-Type: Tail`
    pub(crate) asks_log: bool,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) target: &'a Target,
    /// Path and query, which name the function.
    pub(crate) path_and_query: &'a str,
    /// `X-Amz-Client-Context`
    pub(crate) client_context: Option<HeaderValue>,
    /// `X-Amz-Durable-Execution-Name`
    pub(crate) execution_name: Option<HeaderValue>,
    pub(crate) body: Bytes,
}

/// Calls functions of one endpoint.
pub(crate) trait Invoke: Send + Sync + fmt::Debug {
    /// Sends one payload, once.
    ///
    /// # Cancel safety
    /// Safe: the connection is given up, and whether the function runs is unknown.
    fn invoke<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Answer, InvokeError>>;

    /// The function's configuration (`GetFunctionConfiguration`); `path_and_query` names it.
    fn describe<'a>(&'a self, path_and_query: &'a str) -> BoxFuture<'a, Result<Answer, InvokeError>>;

    /// The endpoint refused the credentials of a call that was sent then. Says whether the next call will use new ones.
    fn refuse_credentials(&self, sent_at: Instant) -> bool;
}

/// What the Invoke API answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `X-Amz-Function-Error` is present: the function failed, whatever the status says.
    pub(crate) function_error: bool,
    /// `x-amzn-ErrorType`, as sent.
    pub(crate) error_type: Option<String>,
    pub(crate) request_id: Option<String>,
    /// `X-Amz-Executed-Version`
    pub(crate) executed_version: Option<String>,
    /// `Retry-After` in seconds.
    pub(crate) retry_after: Option<Duration>,
    /// What `X-Amz-Log-Result` says of the call.
    pub(crate) billed: Option<Billed>,
    /// The body's beginning.
    pub(crate) body: Bytes,
    /// Length of the whole body.
    pub(crate) body_bytes: usize,
}

impl Answer {
    /// Whether the whole body was read.
    pub(crate) fn is_whole(&self) -> bool {
        self.body.len() == self.body_bytes
    }
}

/// Why there is no answer. The texts end up in logs and status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvokeError {
    /// There are no credentials to sign with.
    #[error("no AWS credentials: {0}")]
    Credentials(String),
    /// The request was not sent.
    #[error("endpoint {endpoint} cannot be reached: {reason}")]
    Connect { endpoint: String, reason: String },
    /// The connection broke after the request, or parts of it, was sent: the function may have run.
    #[error("connection to {endpoint} broke before an answer was complete: {reason}")]
    Broken { endpoint: String, reason: String },
    /// The request cannot be made at all.
    #[error("the request cannot be made: {0}")]
    Request(String),
}

impl From<NoCredentials> for InvokeError {
    fn from(NoCredentials(why): NoCredentials) -> Self {
        Self::Credentials(why)
    }
}

impl From<CannotSign> for InvokeError {
    fn from(CannotSign(why): CannotSign) -> Self {
        Self::Request(why)
    }
}
