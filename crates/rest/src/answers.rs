//! The shapes of the answers, field by field as Connect names them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use klamm_connect_api::{ConfigKey, ConfigType, PluginInfo, RawConfig};
use klamm_runtime::{
    ConnectorInfo, ConnectorStatus, InstanceStatus, LogLine, Logger, MASK, PartitionOffset, ValidatedKey, Validation,
};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A response with a JSON body.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // The shapes of this crate have text keys and no failing serializer, so this cannot fail; were it to, the client
    // hears of it.
    let (status, bytes) = match serde_json::to_vec(body) {
        Ok(bytes) => (status, bytes),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
    };
    let mut response = json_text(bytes);
    *response.status_mut() = status;
    response
}

/// A response with a body that is JSON already.
pub(crate) fn json_text(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `GET /`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RootAnswer<'a> {
    pub(crate) version: &'a str,
    pub(crate) commit: &'a str,
    pub(crate) kafka_cluster_id: Option<String>,
}

/// `GET /health`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HealthAnswer {
    pub(crate) status: &'static str,
    pub(crate) message: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct TaskId {
    connector: String,
    task: u32,
}

/// A connector.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectorAnswer {
    name: String,
    config: RawConfig,
    tasks: Vec<TaskId>,
    #[serde(rename = "type")]
    kind: &'static str,
    /// What became of the `initial_offsets` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    offsets_status: Option<&'static str>,
}

impl ConnectorAnswer {
    pub(crate) fn new(info: ConnectorInfo, kind: &'static str) -> Self {
        let tasks = info
            .tasks
            .into_iter()
            .map(|task| TaskId {
                connector: info.name.clone(),
                task,
            })
            .collect();
        Self {
            name: info.name,
            config: info.config,
            tasks,
            kind,
            offsets_status: None,
        }
    }

    pub(crate) fn with_offsets_status(self, offsets_status: Option<&'static str>) -> Self {
        Self { offsets_status, ..self }
    }
}

/// A task with its configuration.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TaskAnswer {
    id: TaskId,
    config: RawConfig,
}

impl TaskAnswer {
    pub(crate) fn new(connector: &str, task: u32, config: RawConfig) -> Self {
        Self {
            id: TaskId {
                connector: connector.to_owned(),
                task,
            },
            config,
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct Instance {
    state: &'static str,
    worker_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

impl Instance {
    fn new(status: InstanceStatus, version: Option<&'static str>, worker_id: &str) -> Self {
        let trace = status.trace.filter(|trace| !trace.is_empty());
        Self {
            state: status.state.name(),
            worker_id: worker_id.to_owned(),
            version,
            trace,
        }
    }
}

/// State of a task.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TaskStatusAnswer {
    id: u32,
    #[serde(flatten)]
    instance: Instance,
}

impl TaskStatusAnswer {
    pub(crate) fn new(id: u32, status: InstanceStatus, version: Option<&'static str>, worker_id: &str) -> Self {
        Self {
            id,
            instance: Instance::new(status, version, worker_id),
        }
    }
}

/// State of a connector and its tasks.
#[derive(Serialize, JsonSchema)]
pub(crate) struct StatusAnswer {
    name: String,
    connector: Instance,
    tasks: Vec<TaskStatusAnswer>,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl StatusAnswer {
    pub(crate) fn new(name: &str, status: ConnectorStatus, kind: &'static str, worker_id: &str) -> Self {
        let version = status.version;
        let task = |(id, status)| TaskStatusAnswer::new(id, status, version, worker_id);
        Self {
            name: name.to_owned(),
            connector: Instance::new(status.connector, version, worker_id),
            tasks: status.tasks.into_iter().map(task).collect(),
            kind,
        }
    }
}

/// A connector in `GET /connectors?expand=…`: only what was asked for.
#[derive(Serialize, JsonSchema, Default)]
pub(crate) struct Expanded {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) info: Option<ConnectorAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<StatusAnswer>,
}

/// `GET /connectors?expand=…`.
pub(crate) type ExpandedConnectors = BTreeMap<String, Expanded>;

/// `GET /connectors/{name}/topics`.
pub(crate) type TopicsAnswer<'a> = BTreeMap<&'a str, ActiveTopicsAnswer>;

/// The topics that a connector has read from.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ActiveTopicsAnswer {
    pub(crate) topics: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Partition {
    kafka_topic: String,
    kafka_partition: i32,
}

#[derive(Serialize, JsonSchema)]
struct Offset {
    kafka_offset: i64,
}

#[derive(Serialize, JsonSchema)]
struct OffsetAnswer {
    partition: Partition,
    offset: Offset,
}

/// `GET` and `PUT /connectors/{name}/offsets`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OffsetsAnswer {
    offsets: Vec<OffsetAnswer>,
}

impl OffsetsAnswer {
    pub(crate) fn new(offsets: Vec<PartitionOffset>) -> Self {
        let shown = offsets.into_iter().map(|offset| OffsetAnswer {
            partition: Partition {
                kafka_topic: offset.topic,
                kafka_partition: offset.partition,
            },
            offset: Offset {
                kafka_offset: offset.offset,
            },
        });
        Self {
            offsets: shown.collect(),
        }
    }
}

/// What was done, in words.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MessageAnswer {
    pub(crate) message: &'static str,
}

/// A logger in `GET /admin/loggers`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LoggerAnswer {
    level: &'static str,
    last_modified: Option<i64>,
}

impl From<Logger> for LoggerAnswer {
    fn from(logger: Logger) -> Self {
        Self {
            level: logger.level.name(),
            last_modified: logger.last_modified,
        }
    }
}

/// `GET /connectors/{name}/logs`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LogsAnswer<'a> {
    lines: Vec<LogLineAnswer<'a>>,
    /// What to send as `after` to go on.
    next: u64,
}

#[derive(Serialize, JsonSchema)]
struct LogLineAnswer<'a> {
    sequence: u64,
    at: String,
    level: &'a str,
    logger: &'a str,
    message: &'a str,
    fields: &'a BTreeMap<&'static str, String>,
}

impl<'a> LogsAnswer<'a> {
    pub(crate) fn new(lines: &'a [LogLine], next: u64) -> Self {
        let at = |ms: i64| {
            let nanoseconds = i128::from(ms) * 1_000_000;
            let at = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok();
            at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
        };
        let line = |line: &'a LogLine| LogLineAnswer {
            sequence: line.sequence,
            at: at(line.at_ms),
            level: line.level,
            logger: line.logger,
            message: &line.message,
            fields: &line.fields,
        };
        Self {
            lines: lines.iter().map(line).collect(),
            next,
        }
    }
}

/// A plugin in `GET /connector-plugins`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PluginAnswer {
    class: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    version: &'static str,
}

impl PluginAnswer {
    pub(crate) fn new(info: &PluginInfo) -> Self {
        Self {
            class: info.class,
            kind: info.kind.name(),
            version: info.version,
        }
    }
}

/// The definition of a key. Connect wrote `order` until 4.1 and writes `order_in_group` since: both are there.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Definition {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    required: bool,
    default_value: Option<String>,
    importance: &'static str,
    documentation: String,
    group: String,
    order: usize,
    order_in_group: usize,
    width: &'static str,
    display_name: String,
    dependents: [&'static str; 0],
}

impl Definition {
    fn new(key: &ConfigKey, group: &str, order: usize) -> Self {
        let is_secret = key.config_type == ConfigType::Password;
        Self {
            name: key.name.clone(),
            kind: key.config_type.name(),
            required: key.required,
            default_value: key
                .default
                .clone()
                .map(|default| if is_secret { MASK.to_owned() } else { default }),
            importance: key.importance.name(),
            documentation: key.documentation.clone(),
            group: group.to_owned(),
            order,
            order_in_group: order,
            width: key.width.name(),
            display_name: key.display_name.clone(),
            dependents: [],
        }
    }

    /// Definitions in order, numbered within their groups from 1.
    pub(crate) fn list<'a>(keys: impl IntoIterator<Item = &'a ConfigKey>) -> Vec<Self> {
        let mut orders: HashMap<&str, usize> = HashMap::new();
        let numbered = keys.into_iter().map(|key| {
            let order = orders.entry(key.group).or_default();
            *order += 1;
            Self::new(key, key.group, *order)
        });
        numbered.collect()
    }
}

#[derive(Serialize, JsonSchema)]
struct ValueAnswer {
    name: String,
    value: Option<String>,
    recommended_values: Vec<String>,
    errors: Vec<String>,
    visible: bool,
}

#[derive(Serialize, JsonSchema)]
struct ConfigAnswer {
    definition: Option<Definition>,
    value: ValueAnswer,
}

impl ConfigAnswer {
    fn new(key: &ValidatedKey) -> Self {
        let definition = key.definition.as_ref();
        Self {
            definition: definition.map(|definition| Definition::new(definition, &key.group, key.order_in_group)),
            value: ValueAnswer {
                name: key.name.clone(),
                value: key.value.clone(),
                recommended_values: definition
                    .map(|definition| definition.recommended.clone())
                    .unwrap_or_default(),
                errors: key.errors.clone(),
                visible: true,
            },
        }
    }
}

/// `PUT /connector-plugins/{type}/config/validate`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ValidationAnswer {
    name: String,
    error_count: usize,
    groups: Vec<String>,
    configs: Vec<ConfigAnswer>,
}

impl ValidationAnswer {
    pub(crate) fn new(class: String, validation: &Validation) -> Self {
        let mut seen = BTreeSet::new();
        let groups = validation.keys().iter().map(|key| &key.group);
        Self {
            name: class,
            error_count: validation.error_count(),
            groups: groups
                .filter(|group| !group.is_empty() && seen.insert(*group))
                .cloned()
                .collect(),
            configs: validation.keys().iter().map(ConfigAnswer::new).collect(),
        }
    }
}
