//! A worker with tasks that deliver nothing, behind the REST API. Its sink answers to the class that the transcript of
//! Apache Kafka Connect was recorded with, and its Kafka is a script: topics that grow, groups that commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use http_body_util::BodyExt;
use klamm_connect_api::sink::{Failure, RouteUsage, Sink, SinkConnector, SinkContext, ThrottleScope};
use klamm_connect_api::{
    BoxFuture, ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, ConverterPlugin, Importance, Origin,
    ParsedConfig, PluginInfo, PluginKind, RawConfig, TopicPartition,
};
use klamm_rest::About;
use klamm_runtime::{
    DeadLetter, DeadLetterPartition, DeadLetterQueues, DeadLetterTopic, DeadLetters, DeadLettersError, Distribution,
    GroupOf, Herder, HerderError, InstanceStatus, LastError, LetterError, LimitStatus, LiveCheck, LiveChecks, LogBook,
    LogLevel, LogLevels, MemoryConfigLog, NewOffset, OffsetChange, Offsets, OffsetsError, PartitionOffset,
    PartitionSnapshot, Peek, Plugins, Redrive, RedriveState, RedriveStatus, RestartPolicy, RouteHealth, RouteSnapshot,
    RouteStatus, State, SubmittedConfig, TaskControl, TaskPlan, TaskReport, TaskSnapshot, TaskSpec, TaskView, Tasks,
    WorkerConfig, WorkerSnapshot,
};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
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

    fn notices(&self, raw: &RawConfig) -> Vec<ConfigError> {
        let odd = raw.keys().filter(|key| key.starts_with("fiel"));
        odd.map(|key| ConfigError::new(key, "there is no such setting: did you mean `file`?"))
            .collect()
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

/// Offsets by topic and partition.
type Positions = BTreeMap<(String, i32), i64>;

#[derive(Debug, Default)]
struct Script {
    ends: Positions,
    /// By connector.
    committed: BTreeMap<String, Positions>,
}

/// A cluster of the test's own making.
#[derive(Debug, Clone)]
pub struct ScriptedKafka(watch::Sender<Script>);

impl ScriptedKafka {
    pub fn new() -> Self {
        Self(watch::Sender::new(Script::default()))
    }

    /// Lets a partition grow.
    pub fn produce(&self, topic: &str, partition: i32, records: i64) {
        self.0.send_modify(|script| {
            *script.ends.entry((topic.to_owned(), partition)).or_default() += records;
        });
    }

    /// Has a connector read and commit all there is, and tells of which topics there was something.
    fn consume(&self, connector: &str, topics: &str) -> Vec<String> {
        let mut read = Vec::new();
        self.0.send_if_modified(|script| {
            let committed = script.committed.entry(connector.to_owned()).or_default();
            for (partition, end) in &script.ends {
                let is_wanted = topics.split(',').any(|topic| topic == partition.0);
                if is_wanted && committed.get(partition).copied().unwrap_or_default() < *end {
                    committed.insert(partition.clone(), *end);
                    read.push(partition.0.clone());
                }
            }
            !read.is_empty()
        });
        read
    }
}

impl Offsets for ScriptedKafka {
    fn committed<'a>(&'a self, group: GroupOf<'a>) -> BoxFuture<'a, Result<Vec<PartitionOffset>, OffsetsError>> {
        let script = self.0.borrow();
        let committed = script.committed.get(group.connector).into_iter().flatten();
        let listed = committed.map(|((topic, partition), offset)| PartitionOffset {
            topic: topic.clone(),
            partition: *partition,
            offset: *offset,
        });
        Box::pin(std::future::ready(Ok(listed.collect())))
    }

    fn alter<'a>(
        &'a self,
        group: GroupOf<'a>,
        changes: &'a [OffsetChange],
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<PartitionOffset>, OffsetsError>> {
        self.0.send_modify(|script| {
            let committed = script.committed.entry(group.connector.to_owned()).or_default();
            for change in changes {
                let partition = (change.topic.clone(), change.partition.unwrap());
                match change.to {
                    NewOffset::At(offset) => drop(committed.insert(partition, offset)),
                    NewOffset::Reset => drop(committed.remove(&partition)),
                    NewOffset::Time(_) => unreachable!("the script has no times"),
                }
            }
        });
        self.committed(group)
    }

    fn reset<'a>(&'a self, group: GroupOf<'a>, _deadline: Instant) -> BoxFuture<'a, Result<(), OffsetsError>> {
        self.0
            .send_modify(|script| drop(script.committed.remove(group.connector)));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Tasks run, pause and stop as told, and read what the script produces; those of a connector with `file=boom` fail.
#[derive(Debug)]
struct FakeTasks(ScriptedKafka);

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
        let kafka = self.0.clone();
        Box::pin(async move {
            if spec.config.get("file").is_some_and(|file| file == "boom") {
                return Err("boom at t-0@7".to_owned());
            }
            let topics = spec.config.get("topics").cloned().unwrap_or_default();
            let mut grown = kafka.0.subscribe();
            loop {
                match *control.borrow_and_update() {
                    TaskControl::Run => {
                        report.shows(Arc::new(FakeView));
                        report.set(InstanceStatus::of(State::Running));
                        grown.mark_unchanged();
                        for topic in kafka.consume(&spec.connector, &topics) {
                            report.active_topic(&topic).note();
                        }
                    }
                    TaskControl::Pause => report.set(InstanceStatus::of(State::Paused)),
                    TaskControl::Stop => return Ok(()),
                }
                tokio::select! {
                    changed = control.changed() => if changed.is_err() {
                        return Ok(());
                    },
                    Ok(()) = grown.changed() => {}
                }
            }
        })
    }
}

/// How a task made up by the tests is.
#[derive(Debug)]
struct FakeView;

impl TaskView for FakeView {
    fn snapshot(&self) -> TaskSnapshot {
        const AT: i64 = 1_767_323_045_000;
        let failure = Failure {
            class: "ValueError".into(),
            message: "the function failed".into(),
            request_id: None,
            answered: None,
        };
        let limit = || LimitStatus {
            limit: 7,
            max: 100,
            calls_in_flight: 2,
            routes_waiting: 0,
            closed_for: None,
            throttled: None,
        };
        let partition = |number, end| PartitionSnapshot {
            topic_partition: TopicPartition::new("t", number),
            done: 42,
            end,
            oldest_undone: end.map(|_| 42),
            oldest_undone_age: end.map(|_| Duration::from_millis(1_500)),
            undone_records: end.map_or(0, |_| 3),
            undone_bytes: end.map_or(0, |_| 300),
        };
        let status = RouteStatus {
            name: "r".into(),
            destination: "fn (sync)".into(),
            health: RouteHealth::Throttled {
                by: ThrottleScope::Function,
                since: Duration::from_secs(10),
                failure,
            },
            function_limit: limit(),
            account_limit: limit(),
            waits_for_limit: true,
            calls_in_flight: 2,
            batches_waiting: 1,
            calls: 9,
            retried_calls: 3,
            throttled_calls: 1,
            delivered_records: 90,
            skipped_records: 0,
            dead_lettered_records: 0,
            letters_waiting: 0,
            possible_duplicates: 0,
            failures: BTreeMap::from([("ValueError".into(), 3)]),
            last_failure: None,
            call_micros: Distribution {
                buckets: vec![(1_000, 1), (5_000, 1), (10_000, 1)],
                above: 0,
                sum: 8_500,
            },
            call_records: Distribution::default(),
        };
        TaskSnapshot {
            at: AT,
            waits_for: vec!["route `r` waits".to_owned()],
            failures: BTreeMap::from([(("VALUE_CONVERTER", "a"), 1), (("VALUE_CONVERTER", "b"), 3)]),
            last_error: Some(LastError {
                at: AT - 1_000,
                origin: Some(Origin {
                    topic_partition: TopicPartition::new("t", 0),
                    offset: 42,
                }),
                records: 2,
                stage: "TASK_PUT",
                route: Some("r".into()),
                class: "ValueError".into(),
                message: "the function failed".into(),
                advice: "mend it".to_owned(),
            }),
            commits: 5,
            failed_commits: 1,
            partitions: vec![partition(0, Some(100)), partition(1, None)],
            routes: vec![RouteSnapshot {
                resource: "fn".into(),
                status,
                usage: Some(RouteUsage {
                    billed_calls: 7,
                    billed: Duration::from_millis(700),
                    estimated_cost: Some(0.25),
                }),
            }],
            ..TaskSnapshot::default()
        }
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Finds what a test wants to see.
#[derive(Debug)]
struct FakeLiveChecks;

impl LiveChecks for FakeLiveChecks {
    fn check(&self, config: SubmittedConfig) -> BoxFuture<'_, Result<Vec<LiveCheck>, HerderError>> {
        let topics = config["topics"].clone().unwrap();
        let line = |check, subject: String, outcome| LiveCheck {
            check,
            subject,
            outcome,
        };
        Box::pin(std::future::ready(Ok(vec![
            line("kafka", "b:1".to_owned(), Ok("3 brokers".to_owned())),
            line("topic", topics, Err("does not exist".to_owned())),
        ])))
    }
}

/// Knows the dead letters of connector `a`, and remembers nothing.
#[derive(Debug)]
struct FakeDeadLetters;

fn letter() -> DeadLetter {
    DeadLetter {
        partition: 0,
        offset: 7,
        timestamp: Some(1_767_323_045_000),
        error: Some(LetterError {
            topic: "t".to_owned(),
            partition: 0,
            offset: 42,
            connector: "a".to_owned(),
            stage: "TASK_PUT".to_owned(),
            exception: "ValueError".to_owned(),
            message: "the function failed".to_owned(),
            route: Some("r".to_owned()),
            ..LetterError::default()
        }),
        redrives: 1,
        key: None,
        value: Some("s3cret".into()),
        headers: vec![("h".into(), Some("s3cret".into()))],
    }
}

impl DeadLetters for FakeDeadLetters {
    fn list<'a>(&'a self, connector: &'a str) -> BoxFuture<'a, Result<DeadLetterQueues, DeadLettersError>> {
        let known = (connector == "a").then(|| DeadLetterQueues {
            topic: Some(DeadLetterTopic {
                name: "dlq".to_owned(),
                exists: true,
                has_context_headers: true,
                group: "klamm-redrive-a".to_owned(),
                partitions: vec![DeadLetterPartition {
                    partition: 0,
                    start: 2,
                    end: 10,
                    redriven: 5,
                }],
            }),
            destinations: vec!["SQS queue q".to_owned()],
        });
        let unknown = || DeadLettersError::NotFound(format!("Connector {connector} not found"));
        Box::pin(std::future::ready(known.ok_or_else(unknown)))
    }

    fn peek<'a>(&'a self, _connector: &'a str, peek: Peek) -> BoxFuture<'a, Result<Vec<DeadLetter>, DeadLettersError>> {
        Box::pin(std::future::ready(Ok(vec![letter(); peek.limit])))
    }

    fn redrive<'a>(
        &'a self,
        connector: &'a str,
        redrive: Redrive,
    ) -> BoxFuture<'a, Result<RedriveStatus, DeadLettersError>> {
        let status = RedriveStatus {
            redrive,
            ..self.redrive_status(connector).unwrap()
        };
        Box::pin(std::future::ready(Ok(status)))
    }

    fn redrive_status(&self, _connector: &str) -> Option<RedriveStatus> {
        Some(RedriveStatus {
            state: RedriveState::Failed("Kafka is away".to_owned()),
            redrive: Redrive {
                dry_run: false,
                records_per_second: 100,
                max_records: None,
                max_redrives: 1,
            },
            started: 1_767_323_045_000,
            ended: None,
            found: 5,
            passed: 4,
            redriven: 1,
            returned: 3,
            of_others: 0,
            without_origin: 0,
            of_other_topics: 0,
            refused: 0,
        })
    }

    fn stop_redrive(&self, _connector: &str) -> bool {
        true
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A herder on a config log in memory.
pub async fn herder() -> Herder {
    herder_with(Vec::new()).await
}

/// One that knows further converters.
pub async fn herder_with(converters: Vec<ConverterPlugin>) -> Herder {
    herder_of(converters, &[], &ScriptedKafka::new()).await
}

/// One with settings of its own, whose connectors read what is produced to `kafka`.
pub async fn herder_of(converters: Vec<ConverterPlugin>, settings: &[(&str, &str)], kafka: &ScriptedKafka) -> Herder {
    let servers = [("bootstrap.servers", "127.0.0.1:1")];
    let settings = servers.iter().chain(settings);
    let raw: RawConfig = settings
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let plugins = Plugins::new()
        .with_sink(Arc::new(FakeSink))
        .with_converters(klamm_converters::converters())
        .with_converters(converters)
        .with_header_converters(klamm_converters::header_converters())
        .with_transforms(klamm_smt::transforms())
        .with_predicates(klamm_smt::predicates());
    let worker = WorkerConfig::from_properties(&raw).unwrap();
    let herder = Herder::open(
        worker,
        plugins,
        Arc::new(MemoryConfigLog::new()),
        Arc::new(FakeTasks(kafka.clone())),
        Arc::new(kafka.clone()),
    )
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
        observe: Arc::new(WorkerSnapshot::default),
        dead_letters: Arc::new(FakeDeadLetters),
        live_checks: Arc::new(FakeLiveChecks),
        log_book: Some(LogBook::default()),
        log_levels: Some(LogLevels::new(
            LogLevel::Info,
            [("aws_config".to_owned(), LogLevel::Error)],
        )),
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<String>,
    pub location: Option<String>,
    pub allow: Option<String>,
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
    let (status, content_type) = (response.status().as_u16(), header("content-type"));
    let (location, allow) = (header("location"), header("allow"));
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
        allow,
        body,
    }
}
