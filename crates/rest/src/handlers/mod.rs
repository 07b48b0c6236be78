//! What each resource does with a request: the rules of HTTP here, each kind of resource in a module of its own.

mod connectors;
mod dead_letters;
mod loggers;
mod logs;
mod observe;
mod offsets;
mod plugins;
mod preview;
mod tasks;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use klamm_runtime::{Herder, TargetState};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::About;
use crate::answers::{RootAnswer, json};
use crate::auth::Role;
use crate::error::ApiError;
use crate::metrics::Requests;
use crate::openapi::openapi;
use crate::operations::Path;
use crate::route::{Resource, find, flag, query};

/// How long a request may take, as in Connect.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

pub(crate) struct Api {
    herder: Herder,
    about: About,
    /// What previews take in memory and threads is bounded by their number.
    previews: Arc<Semaphore>,
    scrapes: Semaphore,
    live_checks: Semaphore,
    started: Instant,
    requests: Requests,
}

type Answer = Result<Response, ApiError>;

impl Api {
    pub(crate) fn new(herder: Herder, about: About) -> Self {
        Self {
            herder,
            about,
            previews: Arc::new(Semaphore::new(preview::MAX_PREVIEWS)),
            scrapes: Semaphore::new(1),
            live_checks: Semaphore::new(plugins::MAX_LIVE_CHECKS),
            started: Instant::now(),
            requests: Requests::default(),
        }
    }

    /// Answers any request.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response {
        let method = request.method().clone();
        let started = Instant::now();
        let result = tokio::time::timeout(REQUEST_TIMEOUT, self.dispatch(request)).await;
        let timed_out = || Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Request timed out"));
        let response = result
            .unwrap_or_else(|_| timed_out())
            .unwrap_or_else(IntoResponse::into_response);
        self.requests.answered(&method, response.status(), started.elapsed());
        if method == Method::HEAD {
            without_body(response)
        } else {
            response
        }
    }

    async fn dispatch(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let (path, resource) = find(head.uri.path())?;
        if head.method == Method::OPTIONS {
            return options(path);
        }
        let method = if head.method == Method::HEAD {
            Method::GET
        } else {
            head.method
        };
        if !path.takes(&method) {
            return Err(ApiError::plain(StatusCode::METHOD_NOT_ALLOWED));
        }
        let takes_body = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
        if takes_body && !body.is_end_stream() && !is_json(&head.headers) {
            let refused = ApiError::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            let has_type = head.headers.contains_key(header::CONTENT_TYPE);
            return Err(if has_type { refused } else { refused.with_content_type() });
        }
        if resource != Resource::Metrics && !accepts_json(&head.headers) {
            return Err(ApiError::plain(StatusCode::NOT_ACCEPTABLE));
        }
        let parameters = query(head.uri.query().unwrap_or_default());
        match resource {
            Resource::Root => Ok(self.root()),
            Resource::Health => self.health(&parameters).await,
            Resource::Metrics => self.metrics().await,
            Resource::OpenApi => Ok(json(StatusCode::OK, &openapi(self.about.version))),
            Resource::Connectors if method == Method::POST => self.create(&head.headers, body).await,
            Resource::Connectors => Ok(self.connectors(&parameters)),
            Resource::Connector(name) if method == Method::DELETE => {
                self.herder.delete(&name).await?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            Resource::Connector(name) => Ok(json(StatusCode::OK, &self.info(self.herder.connector(&name)?))),
            Resource::Config(name) if method == Method::PUT => self.put_config(&name, &head.headers, body).await,
            Resource::Config(name) if method == Method::PATCH => self.patch_config(&name, body).await,
            Resource::Config(name) => Ok(json(StatusCode::OK, &self.herder.connector(&name)?.config)),
            Resource::Status(name) => self.connector_status(&name, &parameters).await,
            Resource::Restart(name) => self.restart(&name, &parameters).await,
            Resource::Pause(name) => self.target(&name, TargetState::Paused, StatusCode::ACCEPTED).await,
            Resource::Resume(name) => self.target(&name, TargetState::Started, StatusCode::ACCEPTED).await,
            Resource::Stop(name) => self.target(&name, TargetState::Stopped, StatusCode::NO_CONTENT).await,
            Resource::DeadLetters(name) => self.dead_letters(&name).await,
            Resource::DeadLetterRecords(name) => self.peek(&name, &parameters).await,
            Resource::Redrive(name) if method == Method::POST => self.redrive(&name, body).await,
            Resource::Redrive(name) if method == Method::DELETE => self.stop_redrive(&name),
            Resource::Redrive(name) => self.redrive_status(&name),
            Resource::Preview(name) => {
                let role = head.extensions.get::<Role>().copied();
                self.preview(&name, &parameters, role, body).await
            }
            Resource::Tasks(name) => self.tasks(&name),
            Resource::TaskStatus(name, task) => self.task_status(&name, task),
            Resource::TaskRestart(name, task) => self.restart_task(&name, task).await,
            Resource::Topics(name) => self.topics(&name),
            Resource::TopicsReset(name) => self.reset_topics(&name),
            Resource::Offsets(name) => match method {
                Method::PATCH => self.alter_offsets(&name, body).await,
                Method::PUT => self.seek_offsets(&name, body).await,
                Method::DELETE => self.reset_offsets(&name).await,
                _ => self.offsets(&name).await,
            },
            Resource::Logs(name) => self.logs(&name, &parameters),
            Resource::Plugins => Ok(self.plugins(flag(&parameters, "connectorsOnly", true))),
            Resource::PluginConfig(name) => self.plugin_config(&name, &parameters),
            Resource::PluginValidate(kind) => self.validate(&kind, &parameters, body).await,
            Resource::PluginPreview(kind) => self.preview_proposed(&kind, &parameters, body).await,
            Resource::Loggers => self.loggers(),
            Resource::Logger(logger) if method == Method::PUT => self.set_logger(&logger, &parameters, body).await,
            Resource::Logger(logger) => self.logger(&logger),
        }
    }

    fn root(&self) -> Response {
        let About { version, commit, .. } = self.about;
        json(
            StatusCode::OK,
            &RootAnswer {
                version,
                commit,
                kafka_cluster_id: (self.about.kafka_cluster_id)(),
            },
        )
    }
}

fn options(path: &Path) -> Answer {
    let allowed = path.allowed();
    let allow = HeaderValue::from_str(&allowed.replace(' ', ""))
        .map_err(|_| ApiError::plain(StatusCode::INTERNAL_SERVER_ERROR))?;
    let plain = HeaderValue::from_static("text/plain");
    Ok(([(header::ALLOW, allow), (header::CONTENT_TYPE, plain)], allowed).into_response())
}

fn without_body(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, Body::empty())
}

fn media_type(text: &str) -> String {
    text.split(';').next().unwrap_or(text).trim().to_ascii_lowercase()
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    given.is_some_and(|given| media_type(given) == "application/json")
}

/// Whether `Accept` is absent or has room for JSON.
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let accepts = |range: &str| {
        let is_zero = |parameter: &str| {
            let quality = parameter
                .trim()
                .strip_prefix("q=")
                .and_then(|quality| quality.trim().parse::<f32>().ok());
            quality == Some(0.0)
        };
        let is_refused = range.split(';').skip(1).any(is_zero);
        !is_refused
            && matches!(
                media_type(range).as_str(),
                "application/json" | "application/*" | "*/*" | "*"
            )
    };
    !headers.contains_key(header::ACCEPT) || ranges.any(accepts)
}
