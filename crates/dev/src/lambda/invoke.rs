//! One call: request to admission to answer.
//!
//! Source of paths, headers, statuses and limits: AWS Lambda API Reference, "Invoke", and Developer Guide, "Quotas".

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use super::answer::{Answer, Kind};
use super::body::AnswerBody;
use super::log::{Invocation, Outcome, Recording};
use super::server::Cut;
use super::{Responder, Shared, signature};
use crate::api::{self, Exception, InvocationType, Received, Target, ThrottleReason, receive, split_name};

/// Answers one request, or cuts its connection when the script says so.
///
/// # Cancel safety
/// Safe: a call whose caller went away is logged as abandoned.
pub(super) async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Response<AnswerBody>, Cut> {
    let (parts, body) = request.into_parts();
    if let Some(function) = configuration_of(&parts) {
        return respond(
            configuration(shared, &parts, &function),
            InvocationType::RequestResponse,
            "$LATEST",
            "not-an-invocation",
        );
    }
    let target = match Target::parse(&parts) {
        Ok(target) => target,
        Err(refusal) => {
            return respond(
                refusal.into(),
                InvocationType::RequestResponse,
                "$LATEST",
                "not-an-invocation",
            );
        }
    };
    let limit = target.invocation_type.limit_bytes();
    let wishes = shared.wishes(&target.function);
    let received = if wishes.close_unread {
        Received {
            size: 0,
            bytes: Bytes::new(),
        }
    } else {
        receive(body, wishes.body, limit)
            .await
            .map_err(|_unreadable| Cut::Unreadable)?
    };
    let refusal = refuse(shared, &target, &parts, &received, limit).err();
    let call = Call::admit(shared, target, parts, received, refusal);
    let invocation_type = call.invocation.invocation_type;

    let answer = match &call.plan {
        Responder::Fixed(answer) => Cow::Borrowed(answer),
        Responder::Closure(respond) => Cow::Owned(respond(&call.invocation)),
    };
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    if let Some(gate) = &answer.gate {
        gate.passed().await;
    }
    let outcome = outcome(&answer.kind, invocation_type);
    let answer = answer.into_owned();
    let version = executed_version(call.invocation.qualifier.as_deref()).to_owned();
    let id = call.invocation.request_id();
    call.end(outcome);
    respond(answer, invocation_type, &version, &id)
}

/// The function whose configuration is asked for, if that is what the request asks.
fn configuration_of(parts: &Parts) -> Option<String> {
    let path = parts.uri.path().strip_prefix("/2015-03-31/functions/")?;
    let name = path
        .strip_suffix("/configuration")
        .filter(|_| parts.method == Method::GET)?;
    let name = percent_decode_str(name).decode_utf8().ok()?;
    Some(split_name(&name).0.to_owned())
}

/// `GetFunctionConfiguration`, as far as callers look at it.
fn configuration(shared: &Shared, parts: &Parts, function: &str) -> Answer {
    if let Some(credentials) = &shared.credentials
        && let Err(refusal) = signature::verify(credentials, parts, &Bytes::new())
    {
        return refusal;
    }
    let state = shared.lock();
    match state.functions.get(function).map(|function| function.time_out_s) {
        Some(Some(seconds)) => Answer::success(format!("{{\"Timeout\":{seconds}}}")),
        Some(None) => Answer::exception(Exception::AccessDeniedException),
        None => Answer::exception(Exception::ResourceNotFoundException),
    }
}

/// The refusals that need no knowledge of the function.
fn refuse(shared: &Shared, target: &Target, parts: &Parts, received: &Received, limit: u64) -> Result<(), Answer> {
    if received.size > limit {
        return Err(target.too_large(received.size).into());
    }
    if let Some(credentials) = &shared.credentials {
        signature::verify(credentials, parts, &received.bytes)?;
    }
    let checked = matches!(shared.recording, Recording::Full { .. }) && !received.bytes.is_empty();
    if checked {
        api::check_json(&received.bytes)?;
    }
    Ok(())
}

/// What a function needs to be told before the body is read.
struct Wishes {
    body: bool,
    close_unread: bool,
}

impl Shared {
    fn wishes(&self, function: &str) -> Wishes {
        let state = self.lock();
        let keeps = state.log.keeps_bodies() || self.credentials.is_some();
        let Some(function) = state.functions.get(function) else {
            return Wishes {
                body: keeps,
                close_unread: false,
            };
        };
        let closure = matches!(function.default, Responder::Closure(_));
        let fixed = match &function.default {
            Responder::Fixed(answer) => Some(answer),
            Responder::Closure(_) => None,
        };
        let next = function.script.front().or(fixed);
        let close_unread = next.is_some_and(|answer| matches!(answer.kind, Kind::CloseUnread));
        Wishes {
            body: keeps || closure,
            close_unread,
        }
    }
}

/// A call that was logged; ends as abandoned when it is dropped.
struct Call<'s> {
    shared: &'s Arc<Shared>,
    invocation: Arc<Invocation>,
    plan: Responder,
    /// Whether it holds a piece of its function's concurrency.
    running: bool,
    outcome: Outcome,
}

impl<'s> Call<'s> {
    fn admit(
        shared: &'s Arc<Shared>,
        target: Target,
        parts: Parts,
        received: Received,
        refusal: Option<Answer>,
    ) -> Self {
        let mut state = shared.lock();
        let invocation = Arc::new(Invocation {
            sequence: state.log.next_sequence(),
            function: target.function,
            requested: target.requested,
            qualifier: target.qualifier,
            invocation_type: target.invocation_type,
            body: received.bytes,
            headers: parts.headers,
            received_at: Instant::now(),
        });
        state.log.begin(&invocation, received.size);
        let mut running = false;
        let plan = match (refusal, state.functions.get_mut(&invocation.function)) {
            (Some(refusal), _) => Responder::Fixed(refusal),
            (None, None) => Responder::Fixed(not_found(&invocation)),
            (None, Some(function)) => {
                if invocation.invocation_type == InvocationType::DryRun {
                    // The function does not run, so its own answers do not come; who may not call it is told so.
                    match &function.default {
                        Responder::Fixed(refusal) if is_refusal(refusal) => Responder::Fixed(refusal.clone()),
                        Responder::Fixed(_) | Responder::Closure(_) => Responder::Fixed(Answer::success("")),
                    }
                } else if invocation.invocation_type == InvocationType::RequestResponse
                    && function.concurrency.is_some_and(|limit| function.running >= limit)
                {
                    let reason = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
                    Responder::Fixed(Answer::throttled(reason, None))
                } else {
                    running = true;
                    function.running += 1;
                    function
                        .script
                        .pop_front()
                        .map_or_else(|| function.default.clone(), Responder::Fixed)
                }
            }
        };
        drop(state);
        shared.changed.notify_waiters();
        Self {
            shared,
            invocation,
            plan,
            running,
            outcome: Outcome::Abandoned,
        }
    }

    fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.log.end(&self.invocation, self.outcome);
        if self.running
            && let Some(function) = state.functions.get_mut(&self.invocation.function)
        {
            // The function may have been removed and made anew meanwhile.
            function.running = function.running.saturating_sub(1);
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

fn not_found(invocation: &Invocation) -> Answer {
    let arn = if invocation.requested.starts_with("arn:") {
        invocation.requested.to_string()
    } else {
        let qualifier = invocation
            .qualifier
            .as_deref()
            .map_or_else(String::new, |qualifier| format!(":{qualifier}"));
        format!(
            "arn:aws:lambda:us-east-1:000000000000:function:{}{qualifier}",
            invocation.function
        )
    };
    Answer::exception_with(
        Exception::ResourceNotFoundException,
        &format!("Function not found: {arn}"),
    )
}

/// A number is a version; an alias points to version 1 here.
fn executed_version(qualifier: Option<&str>) -> &str {
    match qualifier {
        None => "$LATEST",
        Some(version) if version.starts_with('$') || version.bytes().all(|byte| byte.is_ascii_digit()) => version,
        Some(_alias) => "1",
    }
}

fn is_refusal(answer: &Answer) -> bool {
    matches!(answer.kind, Kind::Status(status, _) if !status.is_success())
}

fn outcome(kind: &Kind, invocation_type: InvocationType) -> Outcome {
    match kind {
        Kind::Success(_) => Outcome::Accepted,
        Kind::FunctionError(_) if invocation_type == InvocationType::RequestResponse => Outcome::FunctionError,
        Kind::FunctionError(_) => Outcome::Accepted,
        Kind::Status(status, _) if status.is_success() => Outcome::Accepted,
        Kind::Status(status, _) => Outcome::Refused(status.as_u16()),
        Kind::CloseUnread | Kind::Close | Kind::Reset | Kind::Half(_) => Outcome::Broken,
    }
}

fn respond(
    answer: Answer,
    invocation_type: InvocationType,
    version: &str,
    request_id: &str,
) -> Result<Response<AnswerBody>, Cut> {
    let is_function_error = matches!(answer.kind, Kind::FunctionError(_));
    let (status, body) = match answer.kind {
        Kind::CloseUnread | Kind::Close => return Err(Cut::Close),
        Kind::Reset => return Err(Cut::Reset),
        Kind::Half(bytes) => (StatusCode::OK, AnswerBody::half(&bytes)),
        Kind::Status(status, bytes) => (status, AnswerBody::whole(bytes)),
        Kind::Success(bytes) | Kind::FunctionError(bytes) => match invocation_type {
            InvocationType::RequestResponse => (StatusCode::OK, AnswerBody::whole(bytes)),
            InvocationType::Event => (StatusCode::ACCEPTED, AnswerBody::whole(Bytes::new())),
            InvocationType::DryRun => (StatusCode::NO_CONTENT, AnswerBody::whole(Bytes::new())),
        },
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    // Names come from the request line, where a value that is no header value cannot be told apart from none.
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    if status == StatusCode::OK {
        if let Ok(version) = HeaderValue::from_str(version) {
            headers.insert("x-amz-executed-version", version);
        }
        if is_function_error {
            headers.insert("x-amz-function-error", HeaderValue::from_static("Unhandled"));
        }
    }
    for (name, value) in answer.headers {
        headers.append(name, value);
    }
    Ok(response)
}
