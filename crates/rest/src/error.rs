//! What can go wrong, and the status it becomes.

use std::io;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use klamm_runtime::{HerderError, HerderErrorKind};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answers::json;

/// Why the REST API cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on `{listener}`: free the port, or set another one in `listeners`")]
    Bind {
        /// The listener as given.
        listener: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A setting, or a file that it names, is wrong.
    #[error("`{key}`: {what}")]
    Setting {
        /// The setting, or what its keys begin with.
        key: String,
        /// What is wrong.
        what: String,
    },
}

/// A refusal with Connect's error body.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    /// Connect sends no content type with what it refuses before it has found out which resource is meant.
    has_content_type: bool,
}

/// What every refusal and failure has as its body.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ErrorBody<'a> {
    error_code: u16,
    message: &'a str,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            has_content_type: true,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A refusal that says no more than its status does: `HTTP 404 Not Found`.
    pub(crate) fn plain(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        Self {
            status,
            message: format!("HTTP {} {reason}", status.as_u16()),
            has_content_type: false,
        }
    }

    /// The same error where Connect had already found the resource.
    pub(crate) fn with_content_type(self) -> Self {
        Self {
            has_content_type: true,
            ..self
        }
    }
}

impl From<HerderError> for ApiError {
    fn from(error: HerderError) -> Self {
        let status = match error.kind() {
            HerderErrorKind::NotFound => StatusCode::NOT_FOUND,
            HerderErrorKind::Conflict => StatusCode::CONFLICT,
            HerderErrorKind::Forbidden => StatusCode::FORBIDDEN,
            HerderErrorKind::BadRequest => StatusCode::BAD_REQUEST,
            HerderErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error_code: self.status.as_u16(),
            message: &self.message,
        };
        let mut response = json(self.status, &body);
        if !self.has_content_type {
            response.headers_mut().remove(axum::http::header::CONTENT_TYPE);
        }
        response
    }
}
