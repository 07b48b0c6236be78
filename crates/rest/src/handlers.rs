//! What each resource does with a request.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use klamm_connect_api::{PluginInfo, PluginKind};
use klamm_runtime::{
    ConnectorInfo, ConnectorStatus, Herder, HerderError, Preview, PreviewRecord, Put, Restart, StepsJson,
    SubmittedConfig, TargetState, connector_config_def,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::About;
use crate::answers::{
    ConnectorAnswer, Definition, Expanded, ExpandedConnectors, HealthAnswer, PluginAnswer, RootAnswer, StatusAnswer,
    TaskAnswer, TaskStatusAnswer, ValidationAnswer, json, json_text,
};
use crate::body;
use crate::error::ApiError;
use crate::route::{Resource, flag, query};

/// How long a request may take, as in Connect.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// How long the records of a preview may take together, waiting for a registry included.
const PREVIEW_TIMEOUT: Duration = Duration::from_secs(60);
/// What the outcomes of a preview may take.
const MAX_OUTCOMES_BYTES: usize = 16 * 1024 * 1024;
/// Previews at once; others wait.
const MAX_PREVIEWS: usize = 4;

/// What a name in a `Location` must not hold as it is, so that the location can be requested. Connect leaves `/` and
/// `%` as they are, and cannot serve the location then.
const LOCATION: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b';')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

pub(crate) struct Api {
    herder: Herder,
    about: About,
    /// What previews take in memory is bounded by their number.
    previews: Semaphore,
}

type Answer = Result<Response, ApiError>;

impl Api {
    pub(crate) fn new(herder: Herder, about: About) -> Self {
        Self {
            herder,
            about,
            previews: Semaphore::new(MAX_PREVIEWS),
        }
    }

    /// Answers any request.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response {
        let is_head = request.method() == Method::HEAD;
        let result = tokio::time::timeout(REQUEST_TIMEOUT, self.dispatch(request)).await;
        let timed_out = || Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Request timed out"));
        let response = result
            .unwrap_or_else(|_| timed_out())
            .unwrap_or_else(IntoResponse::into_response);
        if is_head { without_body(response) } else { response }
    }

    async fn dispatch(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let resource = Resource::of(head.uri.path())?;
        if head.method == Method::OPTIONS {
            return options(&resource);
        }
        let method = if head.method == Method::HEAD {
            Method::GET
        } else {
            head.method
        };
        if !resource.methods().contains(&method) {
            return Err(ApiError::plain(StatusCode::METHOD_NOT_ALLOWED));
        }
        let takes_body = method == Method::POST || method == Method::PUT;
        if takes_body && !body.is_end_stream() && !is_json(&head.headers) {
            let refused = ApiError::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            let has_type = head.headers.contains_key(header::CONTENT_TYPE);
            return Err(if has_type { refused } else { refused.with_content_type() });
        }
        if !accepts_json(&head.headers) {
            return Err(ApiError::plain(StatusCode::NOT_ACCEPTABLE));
        }
        let parameters = query(head.uri.query().unwrap_or_default());
        match resource {
            Resource::Root => Ok(self.root()),
            Resource::Health => Ok(health()),
            Resource::Connectors if method == Method::POST => self.create(&head.headers, body).await,
            Resource::Connectors => Ok(self.connectors(&parameters)),
            Resource::Connector(name) if method == Method::DELETE => {
                self.herder.delete(&name).await?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            Resource::Connector(name) => Ok(json(StatusCode::OK, &self.info(self.herder.connector(&name)?))),
            Resource::Config(name) if method == Method::PUT => self.put_config(&name, &head.headers, body).await,
            Resource::Config(name) => Ok(json(StatusCode::OK, &self.herder.connector(&name)?.config)),
            Resource::Status(name) => Ok(json(StatusCode::OK, &self.status(&name)?)),
            Resource::Restart(name) => self.restart(&name, &parameters).await,
            Resource::Pause(name) => self.target(&name, TargetState::Paused, StatusCode::ACCEPTED).await,
            Resource::Resume(name) => self.target(&name, TargetState::Started, StatusCode::ACCEPTED).await,
            Resource::Stop(name) => self.target(&name, TargetState::Stopped, StatusCode::NO_CONTENT).await,
            Resource::Preview(name) => self.preview(&name, &parameters, body).await,
            Resource::Tasks(name) => self.tasks(&name),
            Resource::TaskStatus(name, task) => self.task_status(&name, task),
            Resource::TaskRestart(name, task) => self.restart_task(&name, task).await,
            Resource::Plugins => Ok(self.plugins(flag(&parameters, "connectorsOnly", true))),
            Resource::PluginConfig(name) => self.plugin_config(&name),
            Resource::PluginValidate(kind) => self.validate(&kind, body).await,
            Resource::PluginPreview(kind) => self.preview_proposed(&kind, &parameters, body).await,
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

    fn connectors(&self, parameters: &[(String, String)]) -> Response {
        let names = self.herder.connectors();
        let asks = |value: &str| parameters.iter().any(|(key, given)| key == "expand" && given == value);
        if !parameters.iter().any(|(key, _)| key == "expand") {
            return json(StatusCode::OK, &names);
        }
        let expand = |name: &str| -> Result<Expanded, HerderError> {
            Ok(Expanded {
                info: asks("info")
                    .then(|| self.herder.connector(name).map(|info| self.info(info)))
                    .transpose()?,
                status: asks("status").then(|| self.status(name)).transpose()?,
            })
        };
        // One that was deleted meanwhile, or has no status yet, is left out, as in Connect.
        let expanded: ExpandedConnectors = names
            .into_iter()
            .filter_map(|name| expand(&name).ok().map(|expanded| (name, expanded)))
            .collect();
        json(StatusCode::OK, &expanded)
    }

    async fn create(&self, headers: &HeaderMap, body: Body) -> Answer {
        let create = body::create(&body::read(body).await?)?;
        let info = self
            .herder
            .create(&create.name, create.config, create.initial_state)
            .await?;
        Ok(self.created(headers, info))
    }

    async fn put_config(&self, name: &str, headers: &HeaderMap, body: Body) -> Answer {
        let config = body::config(&body::read(body).await?)?;
        match self.herder.put_config(name, config).await? {
            (Put::Created, info) => Ok(self.created(headers, info)),
            (Put::Updated, info) => Ok(json(StatusCode::OK, &self.info(info))),
        }
    }

    fn created(&self, headers: &HeaderMap, info: ConnectorInfo) -> Response {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let base = host.map(|host| format!("http://{host}")).unwrap_or_default();
        let location = format!("{base}/connectors/{}", utf8_percent_encode(&info.name, LOCATION));
        // A new connector has no tasks yet; those of a deleted one of the same name may still be ending.
        let info = ConnectorInfo {
            tasks: Vec::new(),
            ..info
        };
        let mut response = json(StatusCode::CREATED, &self.info(info));
        // Printable ASCII after encoding; a host that is none was refused before.
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }

    async fn target(&self, name: &str, target: TargetState, done: StatusCode) -> Answer {
        self.herder.set_target_state(name, target).await?;
        Ok(done.into_response())
    }

    async fn restart(&self, name: &str, parameters: &[(String, String)]) -> Answer {
        let restart = Restart {
            include_tasks: flag(parameters, "includeTasks", false),
            only_failed: flag(parameters, "onlyFailed", false),
        };
        if !restart.include_tasks && !restart.only_failed {
            self.herder.restart_connector(name).await?;
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let status = self.herder.restart(name, restart).await?;
        Ok(json(StatusCode::ACCEPTED, &self.shown(name, status)))
    }

    async fn restart_task(&self, name: &str, task: i32) -> Answer {
        let number = u32::try_from(task);
        let number =
            number.map_err(|_| ApiError::new(StatusCode::NOT_FOUND, format!("Unknown task: {name}-{task}")))?;
        self.herder.restart_task(name, number).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    fn tasks(&self, name: &str) -> Answer {
        let tasks = self.herder.task_configs(name)?;
        let tasks: Vec<TaskAnswer> = tasks
            .into_iter()
            .map(|(task, config)| TaskAnswer::new(name, task, config))
            .collect();
        Ok(json(StatusCode::OK, &tasks))
    }

    fn task_status(&self, name: &str, task: i32) -> Answer {
        let unknown = || ApiError::new(StatusCode::NOT_FOUND, format!("No status found for task {name}-{task}"));
        let number = u32::try_from(task).map_err(|_| unknown())?;
        let status = self.herder.task_status(name, number)?;
        let version = self.herder.status(name)?.version;
        Ok(json(
            StatusCode::OK,
            &TaskStatusAnswer::new(number, status, version, &self.about.worker_id),
        ))
    }

    fn plugins(&self, connectors_only: bool) -> Response {
        let infos = self
            .herder
            .plugins()
            .infos()
            .filter(|info| !connectors_only || info.kind == PluginKind::Sink);
        json(StatusCode::OK, &infos.map(PluginAnswer::new).collect::<Vec<_>>())
    }

    fn plugin_config(&self, name: &str) -> Answer {
        let info = self.herder.plugin(name)?;
        let unknown = || ApiError::new(StatusCode::NOT_FOUND, format!("Unknown plugin {name}."));
        let own = self.herder.plugins().config_def(name).ok_or_else(unknown)?;
        // A connector has the settings of every connector as well.
        let common = (info.kind == PluginKind::Sink).then(|| connector_config_def(self.herder.plugins()));
        let keys = own.keys().iter().chain(common.iter().flat_map(|common| common.keys()));
        Ok(json(StatusCode::OK, &Definition::list(keys)))
    }

    async fn validate(&self, kind: &str, body: Body) -> Answer {
        let config = body::config(&body::read(body).await?)?;
        let class = class_of_kind(&config, kind)?;
        let validation = self.herder.validate(config).await?;
        Ok(json(StatusCode::OK, &ValidationAnswer::new(class, &validation)))
    }

    async fn preview(&self, name: &str, parameters: &[(String, String)], body: Body) -> Answer {
        let body::Preview { config, records } = body::preview(&body::read(body).await?)?;
        let preview = self.herder.preview(name, config)?;
        self.outcomes(&preview, &records, flag(parameters, "explain", false))
            .await
    }

    async fn preview_proposed(&self, kind: &str, parameters: &[(String, String)], body: Body) -> Answer {
        self.herder.plugin(kind)?;
        let body::Preview { config, records } = body::preview(&body::read(body).await?)?;
        let missing = || ApiError::bad_request("Field `config` is missing: it holds the connector's settings");
        let config = config.ok_or_else(missing)?;
        class_of_kind(&config, kind)?;
        let preview = self.herder.preview_config(config);
        self.outcomes(&preview, &records, flag(parameters, "explain", false))
            .await
    }

    /// The outcome of each record, in order.
    async fn outcomes(&self, preview: &Preview, records: &[Box<RawValue>], explain: bool) -> Answer {
        let mut done = 0;
        let run = async {
            // Never closed.
            let _turn = self.previews.acquire().await;
            let mut outcomes = String::from("[");
            for record in records {
                if done > 0 {
                    outcomes.push(',');
                }
                outcomes.push_str(&outcome(preview, record, explain).await);
                done += 1;
                if outcomes.len() > MAX_OUTCOMES_BYTES {
                    let text = format!(
                        "The outcomes take more than {MAX_OUTCOMES_BYTES} bytes after {done} of {} records: send fewer",
                        records.len()
                    );
                    return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text));
                }
                // Transforms do not wait; others want their turn as well.
                tokio::task::yield_now().await;
            }
            outcomes.push(']');
            Ok(json_text(outcomes))
        };
        let ended = tokio::time::timeout(PREVIEW_TIMEOUT, run).await;
        ended.unwrap_or_else(|_| {
            let text = format!(
                "The preview did not end within {} s, {done} of {} records are done: send fewer, and see whether the schema \
                 registry answers",
                PREVIEW_TIMEOUT.as_secs(),
                records.len()
            );
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text))
        })
    }

    fn info(&self, info: ConnectorInfo) -> ConnectorAnswer {
        let kind = kind(self.plugin(&info));
        ConnectorAnswer::new(info, kind)
    }

    fn status(&self, name: &str) -> Result<StatusAnswer, HerderError> {
        Ok(self.shown(name, self.herder.status(name)?))
    }

    fn shown(&self, name: &str, mut status: ConnectorStatus) -> StatusAnswer {
        let plugin = self.herder.connector(name).ok().and_then(|info| self.plugin(&info));
        // One that is stopped has no plugin running: then it is the version that would run.
        status.version = status.version.or(plugin.map(|plugin| plugin.version));
        StatusAnswer::new(name, status, kind(plugin), &self.about.worker_id)
    }

    /// None for a connector whose class this worker does not have.
    fn plugin(&self, info: &ConnectorInfo) -> Option<&PluginInfo> {
        let class = info.config.get("connector.class")?;
        self.herder.plugins().sink(class.trim()).map(|sink| sink.info())
    }
}

/// One outcome as JSON.
async fn outcome(preview: &Preview, record: &RawValue, explain: bool) -> String {
    let record = match PreviewRecord::parse(record.get().as_bytes()) {
        Ok(record) => record,
        Err(message) => return preview.run_bad_input(&message).to_json(),
    };
    if !explain {
        return preview.run(&record).await.to_json();
    }
    let mut steps = StepsJson::default();
    let outcome = preview.run_observed(&record, &mut |step| steps.add(&step)).await;
    outcome.to_json_with(&steps)
}

/// The class of a configuration that was sent for connectors of `kind`; empty if it has none.
fn class_of_kind(config: &SubmittedConfig, kind: &str) -> Result<String, ApiError> {
    let class = config.get("connector.class").cloned().flatten().unwrap_or_default();
    let short = |name: &str| name.strip_suffix("Connector").unwrap_or(name).to_owned();
    if !class.is_empty() && !short(&class).ends_with(&short(kind)) {
        let text = format!("Included connector type {class} does not match request type {kind}");
        return Err(ApiError::bad_request(text));
    }
    Ok(class)
}

fn kind(plugin: Option<&PluginInfo>) -> &'static str {
    plugin.map_or("unknown", |plugin| plugin.kind.name())
}

fn health() -> Response {
    // The API is served only once the herder has read the config log, and its reads wait for nobody.
    let message = "Worker has completed startup and is ready to handle requests.";
    json(
        StatusCode::OK,
        &HealthAnswer {
            status: "healthy",
            message,
        },
    )
}

fn options(resource: &Resource) -> Answer {
    let allowed = resource.allowed();
    let allow = HeaderValue::from_str(&allowed).map_err(|_| ApiError::plain(StatusCode::INTERNAL_SERVER_ERROR))?;
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
