//! Kafka Connect's REST API over the Herder.
//!
//! **Owns** paths, status codes, JSON shapes and error bodies as Apache Kafka Connect has them, and the HTTP server.
//! **Does not know** how a connector runs, Kafka, or any destination: it asks the [`Herder`].
//! **Invariants:** nothing is answered before it is clear who asks and whether he may; every error has the body `{"error_code", "message"}`; no answer holds the value of a secret; what a
//! client sends is bounded in size and time, and so is the number of clients.
#![forbid(unsafe_code)]

mod answers;
mod auth;
mod body;
mod clients;
mod cors;
mod dead_letters;
mod error;
mod extensions;
mod guard;
mod handlers;
mod metrics;
mod openapi;
mod operations;
mod reload;
mod response_headers;
mod room;
mod route;
mod server;
mod version;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use klamm_runtime::{DeadLetters, Herder, LiveChecks, LogBook, LogLevels, WorkerSnapshot};

pub use auth::user_line;
pub use error::RestError;
pub use metrics::{MetricInfo, metrics};
pub use openapi::openapi;
pub use server::RestServer;

/// What the worker says about itself.
#[derive(Clone)]
pub struct About {
    /// Version of the worker.
    pub version: &'static str,
    /// Commit it was built from.
    pub commit: &'static str,
    /// The worker's `host:port` in every status.
    pub worker_id: String,
    /// Id of the Kafka cluster; none until it is known.
    pub kafka_cluster_id: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// What the worker's shares are used for.
    pub observe: Arc<dyn Fn() -> WorkerSnapshot + Send + Sync>,
    /// What asks the world whether configurations would work.
    pub live_checks: Arc<dyn LiveChecks>,
    /// What looks into dead letter queues.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// What is logged; without it `/admin/loggers` is not there.
    pub log_levels: Option<LogLevels>,
    /// What was logged of connectors; without it `/connectors/{name}/logs` is not there.
    pub log_book: Option<LogBook>,
}

impl fmt::Debug for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("About")
            .field("version", &self.version)
            .field("worker_id", &self.worker_id)
            .finish_non_exhaustive()
    }
}

/// The API as a service, without a server around it.
///
/// Paths are matched by hand, not by axum: Connect's rules for slashes, escapes and matrix parameters, and its answers
/// without a content type, are not axum's.
pub fn router(herder: Herder, about: About) -> Router {
    let api = Arc::new(handlers::Api::new(herder, about));
    Router::new().fallback(move |request| {
        let api = Arc::clone(&api);
        async move { api.answer(request).await }
    })
}
