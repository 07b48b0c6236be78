//! What is logged (KIP-495, KIP-976).

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use klamm_runtime::{LogLevel, LogLevels};
use tracing::info;

use super::{Answer, Api};
use crate::answers::{LoggerAnswer, json};
use crate::body;
use crate::error::ApiError;
use crate::route::parameter;

impl Api {
    pub(super) fn loggers(&self) -> Answer {
        let loggers = self.log_levels()?.all().into_iter();
        let shown: BTreeMap<String, LoggerAnswer> = loggers.map(|(name, logger)| (name, logger.into())).collect();
        Ok(json(StatusCode::OK, &shown))
    }

    pub(super) fn logger(&self, name: &str) -> Answer {
        let unknown = || ApiError::new(StatusCode::NOT_FOUND, format!("Logger {name} not found."));
        let logger = self.log_levels()?.get(name).ok_or_else(unknown)?;
        Ok(json(StatusCode::OK, &LoggerAnswer::from(logger)))
    }

    pub(super) async fn set_logger(&self, name: &str, parameters: &[(String, String)], body: Body) -> Answer {
        let levels = self.log_levels()?;
        let wanted = body::level(&body::read(body).await?)?;
        let level = LogLevel::parse(&wanted)
            .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, format!("invalid log level '{wanted}'.")))?;
        let changed = levels.set(name, level).ok_or_else(|| {
            ApiError::bad_request("Too many loggers have a level of their own: set one that is above them")
        })?;
        info!(logger = name, level = level.name(), "log level set");
        // This worker is all of its cluster; Connect's answer for a cluster has no body.
        let is_cluster = parameter(parameters, "scope").is_some_and(|scope| scope.eq_ignore_ascii_case("cluster"));
        if is_cluster {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Ok(json(StatusCode::OK, &changed))
    }

    fn log_levels(&self) -> Result<&LogLevels, ApiError> {
        let levels = self.about.log_levels.as_ref();
        levels.ok_or_else(|| ApiError::plain(StatusCode::NOT_FOUND))
    }
}
