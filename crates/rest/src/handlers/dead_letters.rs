//! The dead letters of a connector: what is there, a look at some, and the way back.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use klamm_runtime::{DeadLettersError, Peek};

use super::{Answer, Api};
use crate::answers::json;
use crate::body;
use crate::dead_letters::{LetterAnswer, QueuesAnswer, RedriveAnswer};
use crate::error::ApiError;
use crate::route::{flag, number};

/// Letters in one look, if it says nothing else, and at most.
const LETTERS: usize = 20;
const MAX_LETTERS: usize = 100;

impl Api {
    pub(super) async fn dead_letters(&self, name: &str) -> Answer {
        let queues = self.about.dead_letters.list(name).await?;
        Ok(json(StatusCode::OK, &QueuesAnswer::new(queues)))
    }

    pub(super) async fn peek(&self, name: &str, parameters: &[(String, String)]) -> Answer {
        let shows_payload = flag(parameters, "payload", false);
        if shows_payload && !self.herder.worker().shows_payloads {
            let text = "Payloads are not shown by this worker: set its property `rest.show.payloads=true`, or leave \
                        `payload` out";
            return Err(ApiError::new(StatusCode::FORBIDDEN, text));
        }
        let peek = Peek {
            partition: number(parameters, "partition")?,
            offset: number(parameters, "offset")?,
            limit: number(parameters, "limit")?.unwrap_or(LETTERS).min(MAX_LETTERS),
        };
        let letters = self.about.dead_letters.peek(name, peek).await?;
        let letters = letters
            .into_iter()
            .map(|letter| LetterAnswer::new(letter, shows_payload));
        Ok(json(StatusCode::OK, &letters.collect::<Vec<_>>()))
    }

    pub(super) async fn redrive(&self, name: &str, body: Body) -> Answer {
        let redrive = body::redrive(&body::read(body).await?)?;
        let status = self.about.dead_letters.redrive(name, redrive).await?;
        let code = if redrive.dry_run {
            StatusCode::OK
        } else {
            StatusCode::ACCEPTED
        };
        Ok(json(code, &RedriveAnswer::new(&status)))
    }

    pub(super) fn redrive_status(&self, name: &str) -> Answer {
        self.herder.connector(name)?;
        let status = self.about.dead_letters.redrive_status(name);
        let status = status.ok_or_else(|| {
            let text = format!("No redrive of connector {name} since the worker started");
            ApiError::new(StatusCode::NOT_FOUND, text)
        })?;
        Ok(json(StatusCode::OK, &RedriveAnswer::new(&status)))
    }

    pub(super) fn stop_redrive(&self, name: &str) -> Result<Response, ApiError> {
        self.herder.connector(name)?;
        if self.about.dead_letters.stop_redrive(name) {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let text = format!("No redrive of connector {name} is under way");
        Err(ApiError::new(StatusCode::NOT_FOUND, text))
    }
}

impl From<DeadLettersError> for ApiError {
    fn from(error: DeadLettersError) -> Self {
        let status = match error {
            DeadLettersError::NotFound(_) => StatusCode::NOT_FOUND,
            DeadLettersError::Refused(_) => StatusCode::BAD_REQUEST,
            DeadLettersError::Busy(_) => StatusCode::CONFLICT,
            DeadLettersError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}
