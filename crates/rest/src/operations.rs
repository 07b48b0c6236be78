//! Every operation of the API, in one table: requests are matched with it, and the OpenAPI document is made of it.

use axum::http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::answers::{
    ConnectorAnswer, Definition, ExpandedConnectors, HealthAnswer, LoggerAnswer, LogsAnswer, MessageAnswer,
    OffsetsAnswer, PluginAnswer, RootAnswer, StatusAnswer, TaskAnswer, TaskStatusAnswer, TopicsAnswer,
    ValidationAnswer,
};
use crate::dead_letters::{LetterAnswer, QueuesAnswer, RedriveAnswer};
use crate::error::ApiError;
use crate::extensions::{Extended, HealthExtension, StatusExtension, ValidationExtension};
use crate::route::{Resource, task_number};

/// A path with what can be done there.
pub(crate) struct Path {
    /// Parts in braces are names.
    pub(crate) template: &'static str,
    resource: fn(Names) -> Result<Resource, ApiError>,
    /// In the order in which `OPTIONS` lists the methods.
    pub(crate) operations: &'static [Operation],
}

/// What a client can ask for.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) query: &'static [Query],
    /// An example, and what it may hold.
    pub(crate) body: Option<Body>,
    pub(crate) answers: &'static [Answer],
}

/// A parameter of a query.
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) doc: &'static str,
}

/// What is sent along.
#[derive(Clone, Copy)]
pub(crate) struct Body {
    pub(crate) doc: &'static str,
    /// JSON text.
    pub(crate) schema: &'static str,
    /// JSON text.
    pub(crate) example: &'static str,
    pub(crate) is_required: bool,
}

/// What comes back if all is well.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) doc: &'static str,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    None,
    Json(fn(&mut SchemaGenerator) -> Schema),
    Text,
}

/// The names in a path, in order.
pub(crate) struct Names(std::vec::IntoIter<String>);

impl Names {
    /// The table has as many braces as its functions take names.
    fn next(&mut self) -> String {
        self.0.next().unwrap_or_default()
    }
}

impl Path {
    /// The path that `segments` follow, and the resource that is meant.
    ///
    /// # Errors
    /// 404 where there is none.
    pub(crate) fn of(segments: &[String]) -> Result<(&'static Self, Resource), ApiError> {
        let found = PATHS.iter().find_map(|path| Some((path, path.names(segments)?)));
        let (path, names) = found.ok_or_else(|| ApiError::plain(StatusCode::NOT_FOUND))?;
        Ok((path, (path.resource)(Names(names.into_iter()))?))
    }

    fn names(&self, segments: &[String]) -> Option<Vec<String>> {
        let parts = self.parts();
        let mut names = Vec::new();
        let mut given = segments.iter();
        for part in parts {
            let segment = given.next()?;
            if part.starts_with('{') {
                names.push(segment.clone());
            } else if part != segment {
                return None;
            }
        }
        given.next().is_none().then_some(names)
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &'static str> {
        self.template.split('/').filter(|part| !part.is_empty())
    }

    /// Whether the resource answers this method, besides HEAD and OPTIONS.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        self.operations.iter().any(|operation| operation.method == method)
    }

    /// The methods as `OPTIONS` lists them.
    pub(crate) fn allowed(&self) -> String {
        let head = self.takes(&Method::GET).then_some("HEAD");
        let own = self.operations.iter().map(|operation| operation.method.as_str());
        let names: Vec<&str> = head.into_iter().chain(own).chain(["OPTIONS"]).collect();
        names.join(", ")
    }
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn json<T: JsonSchema>(status: u16, doc: &'static str) -> Answer {
    Answer {
        status,
        doc,
        content: Content::Json(schema::<T>),
    }
}

const fn empty(status: u16, doc: &'static str) -> Answer {
    Answer {
        status,
        doc,
        content: Content::None,
    }
}

const fn operation(
    method: Method,
    id: &'static str,
    summary: &'static str,
    query: &'static [Query],
    body: Option<Body>,
    answers: &'static [Answer],
) -> Operation {
    Operation {
        method,
        id,
        summary,
        query,
        body,
        answers,
    }
}

const fn flag(name: &'static str, doc: &'static str) -> Query {
    Query {
        name,
        kind: "boolean",
        doc,
    }
}

const fn count(name: &'static str, doc: &'static str) -> Query {
    Query {
        name,
        kind: "integer",
        doc,
    }
}

const fn word(name: &'static str, doc: &'static str) -> Query {
    Query {
        name,
        kind: "string",
        doc,
    }
}

const NONE: &[Query] = &[];
const EXTENSIONS: Query = flag(
    "extensions",
    "Whether the answer has `extensions`, which Connect does not have",
);
const EXPLAIN: &[Query] = &[flag("explain", "Whether each step is told")];

const CONFIG_SCHEMA: &str = r#"{"type":"object","additionalProperties":{"type":["string","number","boolean","null"]}}"#;
const CONFIG_EXAMPLE: &str = r#"{"connector.class":"io.confluent.connect.aws.lambda.AwsLambdaSinkConnector","topics":"orders","aws.lambda.function.name":"order-fn"}"#;

const CONFIG: Option<Body> = Some(Body {
    doc: "The connector's settings",
    schema: CONFIG_SCHEMA,
    example: CONFIG_EXAMPLE,
    is_required: true,
});

const CREATE: Option<Body> = Some(Body {
    doc: "Name and settings, and how it begins",
    schema: r#"{"type":"object","required":["config"],"additionalProperties":false,"properties":{
        "name":{"type":"string"},
        "config":{"type":"object","additionalProperties":{"type":["string","number","boolean","null"]}},
        "initial_state":{"type":["string","null"],"enum":["RUNNING","PAUSED","STOPPED",null]},
        "initial_offsets":{"type":["array","null"],"items":{"type":"object"}}}}"#,
    example: r#"{"name":"orders","config":{"connector.class":"io.confluent.connect.aws.lambda.AwsLambdaSinkConnector","topics":"orders","aws.lambda.function.name":"order-fn"}}"#,
    is_required: true,
});

const PATCH: Option<Body> = Some(Body {
    doc: "Settings that change; null takes one away",
    schema: CONFIG_SCHEMA,
    example: r#"{"delivery.batch.size":"100","delivery.linger.ms":null}"#,
    is_required: true,
});

const OFFSETS: Option<Body> = Some(Body {
    doc: "Where to go on in single partitions; an offset that is null forgets it",
    schema: r#"{"type":"object","required":["offsets"],"properties":{"offsets":{"type":"array","items":{"type":"object",
        "required":["partition","offset"],"properties":{
        "partition":{"type":"object","properties":{"kafka_topic":{"type":"string"},"kafka_partition":{"type":["integer","string"]}}},
        "offset":{"type":["object","null"],"properties":{"kafka_offset":{"type":["integer","string"]}}}}}}}}"#,
    example: r#"{"offsets":[{"partition":{"kafka_topic":"orders","kafka_partition":0},"offset":{"kafka_offset":42}}]}"#,
    is_required: true,
});

const TIMES: Option<Body> = Some(Body {
    doc: "From which time on to go on, of partitions or whole topics",
    schema: r#"{"type":"object"}"#,
    example: r#"{"offsets":[{"partition":{"kafka_topic":"orders"},"offset":{"timestamp":"2026-01-02T03:04:05Z"}}]}"#,
    is_required: true,
});

const LEVEL: Option<Body> = Some(Body {
    doc: "The level",
    schema: r#"{"type":"object","required":["level"],"properties":{"level":{"type":"string"}}}"#,
    example: r#"{"level":"DEBUG"}"#,
    is_required: true,
});

const PREVIEW: Option<Body> = Some(Body {
    doc: "At most 100 records, as `klamm preview` takes them, and other settings to try them with",
    schema: r#"{"type":"object","required":["records"],"additionalProperties":false,"properties":{
        "config":{"type":["object","null"],"additionalProperties":{"type":["string","number","boolean","null"]}},
        "records":{"type":"array","maxItems":100}}}"#,
    example: r#"{"config":{"connector.class":"AwsLambdaSink","value.converter":"org.apache.kafka.connect.json.JsonConverter","value.converter.schemas.enable":"false"},"records":[{"topic":"orders","value":{"base64":"eyJpZCI6MX0="}}]}"#,
    is_required: true,
});

const REDRIVE: Option<Body> = Some(Body {
    doc: "How; empty is as by default",
    schema: r#"{"type":"object","additionalProperties":false,"properties":{"dry_run":{"type":"boolean","default":false},
        "records_per_second":{"type":"integer","minimum":1,"default":100},
        "max_records":{"type":["integer","null"],"minimum":0},"max_redrives":{"type":"integer","minimum":0,"default":1}}}"#,
    example: r#"{"dry_run":true}"#,
    is_required: false,
});

type Outcomes = Vec<serde_json::Value>;
type Loggers = std::collections::BTreeMap<String, LoggerAnswer>;
type Config = std::collections::BTreeMap<String, String>;

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const DELETE: Method = Method::DELETE;

/// The table. Of two paths that both match, the first counts.
pub(crate) static PATHS: &[Path] = &[
    Path {
        template: "/",
        resource: |_| Ok(Resource::Root),
        operations: &[operation(
            GET,
            "getWorker",
            "Version of the worker and id of its Kafka cluster",
            NONE,
            None,
            &[json::<RootAnswer<'static>>(200, "The worker")],
        )],
    },
    Path {
        template: "/health",
        resource: |_| Ok(Resource::Health),
        operations: &[operation(
            GET,
            "getHealth",
            "Whether the worker is ready and alive; 500 if its control plane does not move for 10 s",
            &[EXTENSIONS],
            None,
            &[json::<Extended<HealthAnswer, HealthExtension>>(200, "It is")],
        )],
    },
    Path {
        template: "/metrics",
        resource: |_| Ok(Resource::Metrics),
        operations: &[operation(
            GET,
            "getMetrics",
            "Metrics in Prometheus' text format",
            NONE,
            None,
            &[Answer {
                status: 200,
                doc: "The metrics",
                content: Content::Text,
            }],
        )],
    },
    Path {
        template: "/openapi.json",
        resource: |_| Ok(Resource::OpenApi),
        operations: &[operation(
            GET,
            "getOpenApi",
            "This API as an OpenAPI 3.1 document",
            NONE,
            None,
            &[json::<serde_json::Value>(200, "The document")],
        )],
    },
    Path {
        template: "/connectors",
        resource: |_| Ok(Resource::Connectors),
        operations: &[
            operation(
                POST,
                "createConnector",
                "Creates a connector",
                NONE,
                CREATE,
                &[json::<ConnectorAnswer>(201, "It was created")],
            ),
            operation(
                GET,
                "getConnectors",
                "Names of all connectors, or what `expand` asks for by name",
                &[word("expand", "`info` or `status`; may stand twice")],
                None,
                &[json::<ConnectorsAnswer>(200, "The connectors")],
            ),
        ],
    },
    Path {
        template: "/connectors/{connector}",
        resource: |mut names| Ok(Resource::Connector(names.next())),
        operations: &[
            operation(
                DELETE,
                "deleteConnector",
                "Deletes a connector; its offsets stay",
                NONE,
                None,
                &[empty(204, "It is deleted")],
            ),
            operation(
                GET,
                "getConnector",
                "A connector with its settings, secrets masked",
                NONE,
                None,
                &[json::<ConnectorAnswer>(200, "The connector")],
            ),
        ],
    },
    Path {
        template: "/connectors/{connector}/config",
        resource: |mut names| Ok(Resource::Config(names.next())),
        operations: &[
            operation(
                GET,
                "getConfig",
                "The settings of a connector, secrets masked",
                NONE,
                None,
                &[json::<Config>(200, "The settings")],
            ),
            operation(
                PUT,
                "putConfig",
                "Creates a connector, or replaces its settings; a mask keeps the stored secret",
                NONE,
                CONFIG,
                &[
                    json::<ConnectorAnswer>(200, "They were replaced"),
                    json::<ConnectorAnswer>(201, "It was created"),
                ],
            ),
            operation(
                Method::PATCH,
                "patchConfig",
                "Changes single settings",
                NONE,
                PATCH,
                &[json::<ConnectorAnswer>(200, "They were changed")],
            ),
        ],
    },
    Path {
        template: "/connectors/{connector}/status",
        resource: |mut names| Ok(Resource::Status(names.next())),
        operations: &[operation(
            GET,
            "getStatus",
            "States of a connector and its tasks; with `extensions` lag, ages, errors and what routes do",
            &[EXTENSIONS],
            None,
            &[json::<Extended<StatusAnswer, StatusExtension>>(200, "The states")],
        )],
    },
    Path {
        template: "/connectors/{connector}/restart",
        resource: |mut names| Ok(Resource::Restart(names.next())),
        operations: &[operation(
            POST,
            "restartConnector",
            "Restarts a connector, and its tasks as the flags say",
            &[
                flag("includeTasks", "Whether tasks are restarted, too"),
                flag("onlyFailed", "Whether only what has failed is"),
            ],
            None,
            &[
                json::<StatusAnswer>(202, "What is being restarted, with flags"),
                empty(204, "It was restarted, without flags"),
            ],
        )],
    },
    Path {
        template: "/connectors/{connector}/pause",
        resource: |mut names| Ok(Resource::Pause(names.next())),
        operations: &[operation(
            PUT,
            "pauseConnector",
            "Pauses a connector: its tasks keep their partitions and read nothing",
            NONE,
            None,
            &[empty(202, "It will be paused")],
        )],
    },
    Path {
        template: "/connectors/{connector}/resume",
        resource: |mut names| Ok(Resource::Resume(names.next())),
        operations: &[operation(
            PUT,
            "resumeConnector",
            "Lets a paused or stopped connector run",
            NONE,
            None,
            &[empty(202, "It will run")],
        )],
    },
    Path {
        template: "/connectors/{connector}/stop",
        resource: |mut names| Ok(Resource::Stop(names.next())),
        operations: &[operation(
            PUT,
            "stopConnector",
            "Stops a connector: its tasks end",
            NONE,
            None,
            &[empty(204, "It will be stopped")],
        )],
    },
    Path {
        template: "/connectors/{connector}/preview",
        resource: |mut names| Ok(Resource::Preview(names.next())),
        operations: &[operation(
            POST,
            "previewRecords",
            "What the connector's converters and transforms make of records",
            EXPLAIN,
            PREVIEW,
            &[json::<Outcomes>(200, "An outcome for each record")],
        )],
    },
    Path {
        template: "/connectors/{connector}/dead-letters",
        resource: |mut names| Ok(Resource::DeadLetters(names.next())),
        operations: &[operation(
            GET,
            "getDeadLetters",
            "Where the connector's failed records go, and how many are there",
            NONE,
            None,
            &[json::<QueuesAnswer>(200, "The queues")],
        )],
    },
    Path {
        template: "/connectors/{connector}/dead-letters/records",
        resource: |mut names| Ok(Resource::DeadLetterRecords(names.next())),
        operations: &[operation(
            GET,
            "peekDeadLetters",
            "Some dead letters of the connector",
            &[
                count("partition", "Only those of this partition"),
                count("offset", "From this offset on; else from where the next redrive begins"),
                count("limit", "Most letters, 20 if it is not set, never more than 100"),
                flag(
                    "payload",
                    "Whether keys, values and headers are shown; needs the worker's `rest.show.payloads=true`",
                ),
            ],
            None,
            &[json::<Vec<LetterAnswer>>(200, "The letters")],
        )],
    },
    Path {
        template: "/connectors/{connector}/dead-letters/redrive",
        resource: |mut names| Ok(Resource::Redrive(names.next())),
        operations: &[
            operation(
                POST,
                "redriveDeadLetters",
                "Writes dead letters back to the topics that they came from, or counts what would be",
                NONE,
                REDRIVE,
                &[
                    json::<RedriveAnswer>(200, "What a dry run found"),
                    json::<RedriveAnswer>(202, "It begins"),
                ],
            ),
            operation(
                GET,
                "getRedrive",
                "How the last redrive is",
                NONE,
                None,
                &[json::<RedriveAnswer>(200, "The redrive")],
            ),
            operation(
                DELETE,
                "stopRedrive",
                "Ends the redrive that is under way; the next one goes on there",
                NONE,
                None,
                &[empty(204, "It ends")],
            ),
        ],
    },
    Path {
        template: "/connectors/{connector}/tasks",
        resource: |mut names| Ok(Resource::Tasks(names.next())),
        operations: &[operation(
            GET,
            "getTasks",
            "The tasks of a connector with their settings",
            NONE,
            None,
            &[json::<Vec<TaskAnswer>>(200, "The tasks")],
        )],
    },
    Path {
        template: "/connectors/{connector}/tasks/{task}/status",
        resource: |mut names| {
            let name = names.next();
            Ok(Resource::TaskStatus(name, task_number(&names.next())?))
        },
        operations: &[operation(
            GET,
            "getTaskStatus",
            "State of a task",
            NONE,
            None,
            &[json::<TaskStatusAnswer>(200, "The state")],
        )],
    },
    Path {
        template: "/connectors/{connector}/tasks/{task}/restart",
        resource: |mut names| {
            let name = names.next();
            Ok(Resource::TaskRestart(name, task_number(&names.next())?))
        },
        operations: &[operation(
            POST,
            "restartTask",
            "Restarts a task",
            NONE,
            None,
            &[empty(204, "It was restarted")],
        )],
    },
    Path {
        template: "/connectors/{connector}/topics",
        resource: |mut names| Ok(Resource::Topics(names.next())),
        operations: &[operation(
            GET,
            "getTopics",
            "The topics that the connector has read from",
            NONE,
            None,
            &[json::<TopicsAnswer<'static>>(200, "The topics")],
        )],
    },
    Path {
        template: "/connectors/{connector}/topics/reset",
        resource: |mut names| Ok(Resource::TopicsReset(names.next())),
        operations: &[operation(
            PUT,
            "resetTopics",
            "Forgets which topics the connector has read from",
            NONE,
            None,
            &[empty(200, "They are forgotten")],
        )],
    },
    Path {
        template: "/connectors/{connector}/offsets",
        resource: |mut names| Ok(Resource::Offsets(names.next())),
        operations: &[
            operation(
                GET,
                "getOffsets",
                "Where the connector reads next",
                NONE,
                None,
                &[json::<OffsetsAnswer>(200, "The offsets")],
            ),
            operation(
                Method::PATCH,
                "alterOffsets",
                "Moves a stopped connector",
                NONE,
                OFFSETS,
                &[json::<MessageAnswer>(200, "It was moved")],
            ),
            operation(
                PUT,
                "seekOffsets",
                "Moves a stopped connector to where timestamps lead",
                NONE,
                TIMES,
                &[json::<OffsetsAnswer>(200, "Where that is")],
            ),
            operation(
                DELETE,
                "resetOffsets",
                "Forgets where a stopped connector was",
                NONE,
                None,
                &[json::<MessageAnswer>(200, "It is forgotten")],
            ),
        ],
    },
    Path {
        template: "/connectors/{connector}/logs",
        resource: |mut names| Ok(Resource::Logs(names.next())),
        operations: &[operation(
            GET,
            "getLogs",
            "What the worker has logged about the connector since its start, the newest lines",
            &[
                count("limit", "Lines at most: 100, or up to 1000"),
                count("after", "Only lines after this one: `next` of the answer before"),
            ],
            None,
            &[json::<LogsAnswer<'static>>(200, "The lines, the oldest first")],
        )],
    },
    Path {
        template: "/connector-plugins",
        resource: |_| Ok(Resource::Plugins),
        operations: &[operation(
            GET,
            "getPlugins",
            "The plugins",
            &[flag(
                "connectorsOnly",
                "Whether only connectors are listed; the default",
            )],
            None,
            &[json::<Vec<PluginAnswer>>(200, "The plugins")],
        )],
    },
    Path {
        template: "/connector-plugins/{plugin}/config",
        resource: |mut names| Ok(Resource::PluginConfig(names.next())),
        operations: &[operation(
            GET,
            "getPluginConfig",
            "The settings of a plugin",
            &[word("version", "Which version of it")],
            None,
            &[json::<Vec<Definition>>(200, "The settings")],
        )],
    },
    Path {
        template: "/connector-plugins/{plugin}/config/validate",
        resource: |mut names| Ok(Resource::PluginValidate(names.next())),
        operations: &[operation(
            PUT,
            "validateConfig",
            "What is right and wrong with settings, key by key",
            &[
                EXTENSIONS,
                flag(
                    "live",
                    "Whether Kafka, topics, registries and functions are asked, for some seconds; implies `extensions`",
                ),
            ],
            CONFIG,
            &[json::<Extended<ValidationAnswer, ValidationExtension>>(
                200,
                "What is right and wrong",
            )],
        )],
    },
    Path {
        template: "/connector-plugins/{plugin}/config/preview",
        resource: |mut names| Ok(Resource::PluginPreview(names.next())),
        operations: &[operation(
            POST,
            "previewProposed",
            "What the converters and transforms of settings make of records",
            EXPLAIN,
            PREVIEW,
            &[json::<Outcomes>(200, "An outcome for each record")],
        )],
    },
    Path {
        template: "/admin/loggers",
        resource: |_| Ok(Resource::Loggers),
        operations: &[operation(
            GET,
            "getLoggers",
            "The loggers that have a level of their own",
            NONE,
            None,
            &[json::<Loggers>(200, "The loggers")],
        )],
    },
    Path {
        template: "/admin/loggers/{logger}",
        resource: |mut names| Ok(Resource::Logger(names.next())),
        operations: &[
            operation(
                GET,
                "getLogger",
                "The level of a logger",
                NONE,
                None,
                &[json::<LoggerAnswer>(200, "The level")],
            ),
            operation(
                PUT,
                "setLogger",
                "Sets the level of a logger and those below it",
                &[word("scope", "`worker` or `cluster`")],
                LEVEL,
                &[
                    json::<Vec<String>>(200, "The loggers that changed"),
                    empty(204, "They changed, in the scope `cluster`"),
                ],
            ),
        ],
    },
];

/// Names, or objects by name where `expand` asks for them.
#[derive(serde::Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used: the two answers are made apart")]
enum ConnectorsAnswer {
    Names(Vec<String>),
    Expanded(ExpandedConnectors),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_table_leads_to_its_own_operations() {
        for path in PATHS {
            let segments: Vec<String> = path
                .parts()
                .map(|part| if part == "{task}" { "0" } else { part })
                .map(|part| part.trim_matches(['{', '}']).to_owned())
                .collect();
            let (found, _) = Path::of(&segments).unwrap();
            assert_eq!(found.template, path.template);
            for (index, operation) in path.operations.iter().enumerate() {
                let before = path.operations.iter().take(index);
                assert!(
                    before.into_iter().all(|other| other.method != operation.method),
                    "{}",
                    path.template
                );
            }
        }
    }
}
