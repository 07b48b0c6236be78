//! The Invoke API: request to answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;

use super::environment::{self, Ended};
use super::function::{Function, Version};
use super::happening::CallOutcome;
use super::http::Answer;
use super::runner::{Attempt, Runner};
use super::{clock, describe, events};
use crate::api::{Exception, InvocationType, Refusal, Target, ThrottleReason, check_json, receive};

/// Lambda's limit for `X-Amz-Client-Context`, encoded.
const CLIENT_CONTEXT_BYTES: usize = 3_583;
/// What a throttled caller is told to wait.
const RETRY_AFTER_SECONDS: u32 = 1;

#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) runner: Arc<Runner>,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let runner = Arc::clone(&self.runner);
        Box::pin(async move {
            let request_id: Arc<str> = clock::request_id().into();
            let answer = answer(&runner, request, &request_id).await.unwrap_or_else(refusal);
            Ok(with(answer, "x-amzn-requestid", &request_id))
        })
    }
}

async fn answer(runner: &Arc<Runner>, request: Request<Incoming>, request_id: &Arc<str>) -> Result<Answer, Refusal> {
    let (parts, body) = request.into_parts();
    // A page of another site in the developer's browser must not run his functions. SDKs and tools send no `Origin`.
    if parts.headers.contains_key(header::ORIGIN) {
        let text = "requests of web pages are refused: call the function from a program";
        return Err(Refusal::Exception(Exception::AccessDeniedException, text.to_owned()));
    }
    if parts.method == Method::GET {
        return describe::answer(runner, &parts);
    }
    let target = Target::parse(&parts)?;
    let limit = target.invocation_type.limit_bytes();
    let received = receive(body, true, limit).await.map_err(|_unreadable| {
        let text = "the request could not be read to its end".to_owned();
        Refusal::Exception(Exception::InvalidRequestContentException, text)
    })?;
    if received.size > limit {
        return Err(target.too_large(received.size));
    }
    let (function, version) = find(runner, &target)?;
    check_json(&received.bytes)?;
    let client_context = client_context(&parts)?;
    let trace_id = match parts
        .headers
        .get("x-amzn-trace-id")
        .and_then(|value| value.to_str().ok())
    {
        Some(trace_id) => trace_id.to_owned(),
        None => clock::trace_id(),
    };
    let request = environment::Request {
        request_id: Arc::clone(request_id),
        arn: match &target.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", function.arn),
            None => function.arn.clone(),
        },
        // What a function gets that is called with nothing.
        payload: if received.bytes.is_empty() {
            Bytes::from_static(b"{}")
        } else {
            received.bytes
        },
        trace_id: trace_id.clone(),
        client_context: client_context.filter(|_| target.invocation_type == InvocationType::RequestResponse),
    };
    let answer = match target.invocation_type {
        InvocationType::DryRun => empty(StatusCode::NO_CONTENT),
        InvocationType::Event => match events::Place::take(runner, request.payload.len()) {
            Some(place) => {
                let (function, version) = (Arc::clone(function), Arc::clone(version));
                runner.spawn(events::deliver(Arc::clone(runner), function, version, request, place));
                empty(StatusCode::ACCEPTED)
            }
            None => throttled(ThrottleReason::FunctionInvocationRateLimitExceeded),
        },
        InvocationType::RequestResponse => {
            let Ok(slot) = Arc::clone(&function.slots).try_acquire_owned() else {
                return Ok(throttled(match function.config.reserved_concurrency {
                    Some(_) => ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded,
                    None => ThrottleReason::ConcurrentInvocationLimitExceeded,
                }));
            };
            let attempt = Attempt {
                invocation_type: target.invocation_type,
                number: 1,
            };
            let ended = runner.run(version, request, attempt, slot).await;
            called(&parts, version, ended.map_err(|_stopped| stopped())?)
        }
    };
    Ok(with(answer, "x-amzn-trace-id", &trace_id))
}

fn stopped() -> Refusal {
    Refusal::Exception(
        Exception::ServiceException,
        "the functions are being stopped".to_owned(),
    )
}

/// The function and version that are called.
pub(super) fn find<'r>(runner: &'r Runner, target: &Target) -> Result<(&'r Arc<Function>, &'r Arc<Version>), Refusal> {
    let function = runner.function(&target.function);
    let found = function.and_then(|function| Some((function, function.version(target.qualifier.as_deref())?)));
    found.ok_or_else(|| not_found(runner, &target.function, target.qualifier.as_deref()))
}

pub(super) fn not_found(runner: &Runner, name: &str, qualifier: Option<&str>) -> Refusal {
    let qualifier = qualifier.map_or_else(String::new, |qualifier| format!(":{qualifier}"));
    let text = format!("Function not found: {}:{name}{qualifier}", runner.arn_of_functions);
    Refusal::Exception(Exception::ResourceNotFoundException, text)
}

fn client_context(parts: &Parts) -> Result<Option<String>, Refusal> {
    let Some(encoded) = parts.headers.get("x-amz-client-context") else {
        return Ok(None);
    };
    let wrong = |text: &str| Refusal::Exception(Exception::InvalidRequestContentException, text.to_owned());
    if encoded.len() > CLIENT_CONTEXT_BYTES {
        return Err(wrong("Client context is larger than 3583 bytes."));
    }
    let json = BASE64.decode(encoded.as_bytes()).ok();
    let object = json.and_then(|json| serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&json).ok());
    let object = object.ok_or_else(|| wrong("Client context must be a valid Base64-encoded JSON object."))?;
    // Written anew on one line and in ASCII: it goes on as a header.
    let text = serde_json::Value::Object(object).to_string();
    Ok(Some(escape(&text)))
}

/// The same JSON in ASCII.
fn escape(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text += &format!("\\u{unit:04x}");
            }
        }
    }
    text
}

fn called(parts: &Parts, version: &Version, ended: Ended) -> Answer {
    let body = match ended.outcome {
        CallOutcome::Success(body) | CallOutcome::FunctionError(body) => body,
    };
    let mut answer = json(StatusCode::OK, body);
    answer = with(answer, "x-amz-executed-version", &version.number);
    if let Some(kind) = ended.error_kind {
        answer = with(answer, "x-amz-function-error", kind);
    }
    if parts.headers.get("x-amz-log-type").is_some_and(|value| value == "Tail") {
        answer = with(answer, "x-amz-log-result", &BASE64.encode(ended.log_tail));
    }
    answer
}

fn throttled(reason: ThrottleReason) -> Answer {
    let document = reason.document(Some(RETRY_AFTER_SECONDS));
    let answer = exception(Exception::TooManyRequestsException, &document);
    with(answer, "retry-after", &RETRY_AFTER_SECONDS.to_string())
}

fn refusal(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::UnknownOperation => json(
            StatusCode::FORBIDDEN,
            Bytes::from_static(Refusal::UNKNOWN_OPERATION.as_bytes()),
        ),
        Refusal::Exception(kind, message) => exception(kind, &kind.document(&message)),
    }
}

fn exception(exception: Exception, document: &serde_json::Value) -> Answer {
    let answer = json(exception.status(), document.to_string().into());
    with(answer, "x-amzn-errortype", exception.name())
}

pub(super) fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

fn empty(status: StatusCode) -> Answer {
    json(status, Bytes::new())
}

fn with(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    // Texts that came in are from headers, ours are ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(HeaderName::from_static(name), value);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_context_goes_on_as_the_same_json_in_ascii() {
        let original = "{\"custom\":{\"é\":\"a\u{1f600}\u{7f}\"}}";
        let escaped = escape(original);
        assert!(HeaderValue::from_str(&escaped).is_ok(), "{escaped}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&escaped), value(original));
    }
}
