//! Active topics (KIP-558).

use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::{Answer, Api};
use crate::answers::{ActiveTopicsAnswer, TopicsAnswer, json};

impl Api {
    pub(super) fn topics(&self, name: &str) -> Answer {
        let topics = self.herder.active_topics(name)?;
        let answer = TopicsAnswer::from([(name, ActiveTopicsAnswer { topics })]);
        Ok(json(StatusCode::OK, &answer))
    }

    pub(super) fn reset_topics(&self, name: &str) -> Answer {
        self.herder.reset_active_topics(name)?;
        Ok(StatusCode::ACCEPTED.into_response())
    }
}
