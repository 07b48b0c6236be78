//! How the worker and its connectors are: health, metrics, and what a status says beyond Connect's members.

use std::time::Duration;

use axum::http::StatusCode;

use super::{Answer, Api};
use crate::answers::{HealthAnswer, json};
use crate::error::ApiError;
use crate::extensions::{Extended, HealthExtension, StatusExtension};
use crate::metrics::{Scrape, answer};
use crate::route::flag;

/// How long the control plane may take to show that it is alive, as in Connect.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the answer may hold more than Connect's members.
pub(super) fn wants_extensions(parameters: &[(String, String)]) -> bool {
    flag(parameters, "extensions", false)
}

impl Api {
    /// KIP-1017. The API is served only once the worker has started, so nobody is told that it is starting.
    pub(super) async fn health(&self, parameters: &[(String, String)]) -> Answer {
        let is_alive = tokio::time::timeout(HEALTH_TIMEOUT, self.herder.responds())
            .await
            .is_ok();
        let (status, health) = if is_alive {
            let message = "Worker has completed startup and is ready to handle requests.";
            (
                StatusCode::OK,
                HealthAnswer {
                    status: "healthy",
                    message,
                },
            )
        } else {
            let message = "Worker was unable to handle this request and may be unable to handle other requests: a change of \
                           its connectors has been under way for at least 10 s.";
            let status = "unhealthy";
            (StatusCode::INTERNAL_SERVER_ERROR, HealthAnswer { status, message })
        };
        let extensions =
            wants_extensions(parameters).then(|| HealthExtension::new(&self.herder, &(self.about.observe)()));
        Ok(json(status, &Extended::new(health, extensions)))
    }

    pub(super) async fn metrics(&self) -> Answer {
        // One at a time: what a scrape takes in memory and CPU grows with the connectors. Never closed.
        let _turn = self.scrapes.acquire().await;
        let scrape = Scrape::new(
            (self.about.version, self.about.commit),
            self.started.elapsed(),
            (self.about.observe)(),
            self.herder.observe_all().await,
            self.requests.read(),
        );
        let text = tokio::task::spawn_blocking(|| scrape.text()).await;
        let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The metrics cannot be written");
        Ok(answer(text.map_err(failed)?))
    }

    pub(super) async fn connector_status(&self, name: &str, parameters: &[(String, String)]) -> Answer {
        if !wants_extensions(parameters) {
            return Ok(json(StatusCode::OK, &self.status(name)?));
        }
        let observation = self.herder.observe(name).await?;
        let extensions = StatusExtension::new(&observation);
        Ok(json(
            StatusCode::OK,
            &Extended::new(self.status(name)?, Some(extensions)),
        ))
    }
}
