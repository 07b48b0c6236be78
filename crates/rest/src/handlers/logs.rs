//! What the worker has logged about a connector. Not in Connect.

use axum::http::StatusCode;

use super::{Answer, Api};
use crate::answers::{LogsAnswer, json};
use crate::error::ApiError;
use crate::route::parameter;

/// Lines in an answer at most.
const MAX_LINES: usize = 1_000;

impl Api {
    pub(super) fn logs(&self, name: &str, parameters: &[(String, String)]) -> Answer {
        // Only who may see the connector sees what is said of it.
        self.herder.connector(name)?;
        let book = self.about.log_book.as_ref();
        let book = book.ok_or_else(|| ApiError::plain(StatusCode::NOT_FOUND))?;
        let limit = number(parameters, "limit", 100)?;
        let after = number(parameters, "after", 0)?;
        let (lines, newest) = book.of(name, after, usize::try_from(limit).unwrap_or(MAX_LINES).min(MAX_LINES));
        Ok(json(StatusCode::OK, &LogsAnswer::new(&lines, newest)))
    }
}

fn number(parameters: &[(String, String)], name: &str, default: u64) -> Result<u64, ApiError> {
    match parameter(parameters, name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| ApiError::bad_request(format!("Parameter `{name}` must be a whole number from 0 on"))),
    }
}
