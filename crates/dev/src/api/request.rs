//! The request of an Invoke: who is called, how, and with what, read under bounds.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Method};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use percent_encoding::percent_decode_str;

use super::exception::Exception;

/// Beyond this the rest of a request stays unread and its connection is closed.
const DRAINED_BYTES: u64 = 64 * 1024 * 1024;

/// `X-Amz-Invocation-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InvocationType {
    /// Synchronous: 200 with the function's answer.
    RequestResponse,
    /// Asynchronous: 202 once the event is queued.
    Event,
    /// Checks parameters and permission only: 204.
    DryRun,
}

impl InvocationType {
    /// The largest payload: "6 MB" (AWS counts in units of 1,024 KiB), and 1 MiB for events since October 2025.
    pub(crate) fn limit_bytes(self) -> u64 {
        match self {
            Self::RequestResponse | Self::DryRun => 6 * 1024 * 1024,
            Self::Event => 1024 * 1024,
        }
    }
}

/// A request that is refused before any function is looked at.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Neither path nor method belong to the API: 403.
    UnknownOperation,
    Exception(Exception, String),
}

impl Refusal {
    pub(crate) const UNKNOWN_OPERATION: &str =
        "{\"message\":\"Unable to determine service/operation name to be authorized\"}";

    fn invalid(text: impl Into<String>) -> Self {
        Self::Exception(Exception::InvalidParameterValueException, text.into())
    }
}

/// What is asked for, from path, query and headers.
pub(crate) struct Target {
    /// The bare name.
    pub(crate) function: Arc<str>,
    /// The name as it was given.
    pub(crate) requested: Arc<str>,
    pub(crate) qualifier: Option<String>,
    pub(crate) invocation_type: InvocationType,
}

impl Target {
    pub(crate) fn parse(parts: &Parts) -> Result<Self, Refusal> {
        let name = parts
            .uri
            .path()
            .strip_prefix("/2015-03-31/functions/")
            .and_then(|rest| rest.strip_suffix("/invocations"))
            .filter(|name| parts.method == Method::POST && !name.is_empty() && !name.contains('/'))
            .ok_or(Refusal::UnknownOperation)?;
        let requested = percent_decode_str(name)
            .decode_utf8()
            .map_err(|_utf8| Refusal::invalid("function name is not UTF-8"))?;
        let invocation_type = match parts.headers.get("x-amz-invocation-type").map(HeaderValue::as_bytes) {
            None | Some(b"RequestResponse") => InvocationType::RequestResponse,
            Some(b"Event") => InvocationType::Event,
            Some(b"DryRun") => InvocationType::DryRun,
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                return Err(Refusal::invalid(format!(
                    "'{other}' is not one of Event, RequestResponse, DryRun"
                )));
            }
        };
        let (function, in_name) = split_name(&requested);
        let in_query = qualifier(parts);
        if let (Some(in_name), Some(in_query)) = (in_name, &in_query)
            && in_name != in_query
        {
            return Err(Refusal::invalid(
                "The derived qualifier from the function name does not match the specified qualifier.",
            ));
        }
        let qualifier = in_query.or_else(|| in_name.map(str::to_owned));
        Ok(Self {
            function: function.into(),
            requested: requested.as_ref().into(),
            qualifier,
            invocation_type,
        })
    }

    /// The refusal of a payload of this size, which is above the limit.
    pub(crate) fn too_large(&self, size: u64) -> Refusal {
        let limit = self.invocation_type.limit_bytes();
        let text = match self.invocation_type {
            InvocationType::Event => {
                format!("{size} byte payload is too large for the Event invocation type (limit {limit} bytes)")
            }
            InvocationType::RequestResponse | InvocationType::DryRun => {
                format!("Request must be smaller than {limit} bytes for the InvokeFunction operation")
            }
        };
        Refusal::Exception(Exception::RequestTooLargeException, text)
    }
}

/// `Qualifier` of the query.
pub(crate) fn qualifier(parts: &Parts) -> Option<String> {
    let value = parts
        .uri
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("Qualifier="))?;
    percent_decode_str(value).decode_utf8().ok().map(Cow::into_owned)
}

/// The bare name and the qualifier of a name, `name:qualifier`, `account:function:name` or an ARN.
pub(crate) fn split_name(requested: &str) -> (&str, Option<&str>) {
    let tail = match requested.split_once(":function:") {
        Some((_before, tail)) => tail,
        None => requested.strip_prefix("function:").unwrap_or(requested),
    };
    match tail.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (tail, None),
    }
}

/// Refuses what is not JSON. Nothing at all is fine.
pub(crate) fn check_json(payload: &[u8]) -> Result<(), Refusal> {
    if payload.is_empty() {
        return Ok(());
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(payload)
        .map(drop)
        .map_err(|err| {
            let text = format!("Could not parse request body into json: {err}");
            Refusal::Exception(Exception::InvalidRequestContentException, text)
        })
}

/// A request body as far as it was wanted.
pub(crate) struct Received {
    pub(crate) size: u64,
    /// Empty when it was not wanted, or when it is larger than the limit.
    pub(crate) bytes: Bytes,
}

/// Reads a body to its end; keeps it if `wanted` and not larger than `limit`.
pub(crate) async fn receive(mut body: Incoming, wanted: bool, limit: u64) -> Result<Received, hyper::Error> {
    let mut size = 0;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        size += data.len() as u64;
        if size > DRAINED_BYTES {
            break;
        }
        if !wanted || size > limit {
            continue;
        }
        // A small body is one frame and is kept as it is.
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(
                    usize::try_from(body.size_hint().lower().min(limit)).unwrap_or(0) + first.len() + data.len(),
                );
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    let bytes = if !wanted || size > limit {
        Bytes::new()
    } else if rest.is_empty() {
        first
    } else {
        rest.freeze()
    };
    Ok(Received { size, bytes })
}
