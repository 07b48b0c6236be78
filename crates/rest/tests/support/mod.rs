//! A worker with tasks that do nothing, behind the REST API. Its sink answers to the class that the transcript of
//! Apache Kafka Connect was recorded with.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use http_body_util::BodyExt;
use klamm_connect_api::sink::{Sink, SinkConnector, SinkContext};
use klamm_connect_api::{
    BoxFuture, ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, Importance, ParsedConfig, PluginInfo,
    PluginKind, RawConfig,
};
use klamm_rest::About;
use klamm_runtime::{
    Herder, InstanceStatus, MemoryConfigLog, Plugins, RestartPolicy, State, TaskControl, TaskPlan, TaskReport,
    TaskSpec, Tasks, WorkerConfig,
};
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt;

const INFO: PluginInfo = PluginInfo {
    kind: PluginKind::Sink,
    class: "org.apache.kafka.connect.file.FileStreamSinkConnector",
    aliases: &[],
    version: "4.3.1",
};

#[derive(Debug)]
struct FakeSink;

impl SinkConnector for FakeSink {
    fn info(&self) -> &PluginInfo {
        &INFO
    }

    fn config_def(&self, _raw: &RawConfig) -> ConfigDef {
        let key = |name, kind| ConfigKey::new(name, kind, Importance::High, "For the test.").optional();
        ConfigDef::new()
            .key(key("file", ConfigType::String))
            .key(key("file.key", ConfigType::Password))
    }

    fn validate(&self, raw: &RawConfig, _parsed: &ParsedConfig) -> Vec<ConfigError> {
        // A plugin that quotes a secret in its error: the API hides it.
        let bad = raw.get("file.key").filter(|key| key.starts_with("bad"));
        bad.map(|key| ConfigError::new("file.key", format!("{key} is no key")))
            .into_iter()
            .collect()
    }

    fn open(&self, _context: SinkContext<'_>) -> Result<Arc<dyn Sink>, ConfigErrors> {
        unreachable!("the fake tasks open no sink")
    }
}

/// Tasks run, pause and stop as told; those of a connector with `file=boom` fail.
#[derive(Debug)]
struct FakeTasks;

impl Tasks for FakeTasks {
    fn plan(&self, _connector: &str, config: &RawConfig) -> Result<TaskPlan, String> {
        let tasks = config.get("tasks.max").map_or(1, |max| max.trim().parse().unwrap());
        Ok(TaskPlan {
            tasks,
            version: INFO.version,
            restart: RestartPolicy::None,
        })
    }

    fn run(
        &self,
        spec: TaskSpec,
        mut control: watch::Receiver<TaskControl>,
        report: TaskReport,
    ) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            if spec.config.get("file").is_some_and(|file| file == "boom") {
                return Err("boom at t-0@7".to_owned());
            }
            loop {
                match *control.borrow_and_update() {
                    TaskControl::Run => report.set(InstanceStatus::of(State::Running)),
                    TaskControl::Pause => report.set(InstanceStatus::of(State::Paused)),
                    TaskControl::Stop => return Ok(()),
                }
                if control.changed().await.is_err() {
                    return Ok(());
                }
            }
        })
    }
}

/// A herder on a config log in memory.
pub async fn herder() -> Herder {
    let raw = RawConfig::from([("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned())]);
    let plugins = Plugins::new()
        .with_sink(Arc::new(FakeSink))
        .with_converters(klamm_converters::converters())
        .with_header_converters(klamm_converters::header_converters());
    let worker = WorkerConfig::from_properties(&raw).unwrap();
    let herder = Herder::open(worker, plugins, Arc::new(MemoryConfigLog::new()), Arc::new(FakeTasks))
        .await
        .unwrap();
    herder.begin().await;
    herder
}

/// The worker as the transcript shows it.
pub fn about() -> About {
    About {
        version: "4.3.1",
        commit: "26b251a451ce941d",
        worker_id: "127.0.0.1:22083".to_owned(),
        kafka_cluster_id: Arc::new(|| Some("ulUgrlepTaeTSp84OMNrVQ".to_owned())),
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<String>,
    pub location: Option<String>,
    /// JSON where it is some, else the text; null if empty.
    pub body: Value,
}

/// Sends one request.
pub async fn send(
    router: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:22083");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response: Response = router
        .clone()
        .oneshot(request.body(body.into()).unwrap())
        .await
        .unwrap();
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let (status, content_type, location) = (response.status().as_u16(), header("content-type"), header("location"));
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = || Value::String(String::from_utf8(bytes.to_vec()).unwrap());
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).unwrap_or_else(|_| text())
    };
    Answer {
        status,
        content_type,
        location,
        body,
    }
}
