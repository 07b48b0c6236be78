//! The herder through its public face: a real config log, real validation, and tasks that do what a test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klamm_connect_api::sink::{PreflightError, Sink, SinkConnector, SinkContext};
use klamm_connect_api::{
    BoxFuture, ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, Importance, ParsedConfig, PluginInfo,
    PluginKind, RawConfig,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::config_log::{LogPosition, MemoryConfigLog};

#[derive(Debug)]
struct FakeSink(PluginInfo);

impl SinkConnector for FakeSink {
    fn info(&self) -> &PluginInfo {
        &self.0
    }

    fn config_def(&self, _raw: &RawConfig) -> ConfigDef {
        ConfigDef::new()
            .key(ConfigKey::new(
                "target",
                ConfigType::String,
                Importance::High,
                "Where to.",
            ))
            .key(ConfigKey::new("target.token", ConfigType::Password, Importance::High, "How to get in.").optional())
    }

    fn validate(&self, _raw: &RawConfig, _parsed: &ParsedConfig) -> Vec<ConfigError> {
        Vec::new()
    }

    fn preflight<'a>(&'a self, context: SinkContext<'a>) -> BoxFuture<'a, Vec<PreflightError>> {
        let target = context.config.str("target");
        let found = ["refuses", "is away"]
            .contains(&target.unwrap_or_default())
            .then(|| PreflightError {
                error: ConfigError::new("target", format!("takes nothing from {}", context.connector)),
                is_certain: target == Some("refuses"),
            });
        Box::pin(std::future::ready(found.into_iter().collect()))
    }

    fn open(&self, _context: SinkContext<'_>) -> Result<Arc<dyn Sink>, ConfigErrors> {
        unreachable!("the fake tasks open no sink")
    }
}

/// What the fake tasks were told, and what they do.
#[derive(Debug, Default)]
struct FakeTasks {
    /// `name-task config#topics control`, in order.
    log: Mutex<Vec<String>>,
    /// Tasks that fail as soon as they run.
    failing: Mutex<Vec<String>>,
    /// Tasks that panic as soon as they run, and connectors that panic when they are planned.
    panicking: Mutex<Vec<String>>,
    /// Tasks that do not stop.
    stubborn: Mutex<Vec<String>>,
    changed: tokio::sync::Notify,
}

impl FakeTasks {
    fn note(&self, line: String) {
        self.log.lock().unwrap().push(line);
        self.changed.notify_waiters();
    }

    fn is(list: &Mutex<Vec<String>>, name: &str) -> bool {
        list.lock().unwrap().iter().any(|listed| listed == name)
    }
}

#[derive(Debug, Clone)]
struct Fake(Arc<FakeTasks>);

impl Tasks for Fake {
    fn plan(&self, connector: &str, config: &RawConfig) -> Result<TaskPlan, String> {
        assert!(!FakeTasks::is(&self.0.panicking, connector), "plugin bug");
        let tasks = config.get("tasks.max").map_or(1, |max| max.parse().unwrap());
        let restart = match config.get("task.restart.policy").map(String::as_str) {
            Some("backoff") => RestartPolicy::Backoff,
            _ => RestartPolicy::None,
        };
        Ok(TaskPlan {
            tasks,
            version: "1",
            restart,
        })
    }

    fn run(
        &self,
        spec: TaskSpec,
        mut control: watch::Receiver<TaskControl>,
        report: TaskReport,
    ) -> BoxFuture<'static, Result<(), String>> {
        let fake = Arc::clone(&self.0);
        Box::pin(async move {
            let name = format!("{}-{}", spec.connector, spec.task);
            fake.note(format!("{name} starts with {}", spec.config["topics"]));
            if FakeTasks::is(&fake.failing, &name) {
                return Err("boom".to_owned());
            }
            assert!(!FakeTasks::is(&fake.panicking, &name), "plugin bug");
            loop {
                let wanted = *control.borrow_and_update();
                match wanted {
                    TaskControl::Run => report.set(InstanceStatus::of(State::Running)),
                    TaskControl::Pause => report.set(InstanceStatus::of(State::Paused)),
                    TaskControl::Stop if FakeTasks::is(&fake.stubborn, &name) => std::future::pending().await,
                    TaskControl::Stop => break,
                }
                if control.changed().await.is_err() {
                    break;
                }
            }
            fake.note(format!("{name} ended"));
            Ok(())
        })
    }
}

/// A Kafka that is away.
struct NoOffsets;

impl Offsets for NoOffsets {
    fn committed<'a>(&'a self, _: GroupOf<'a>) -> BoxFuture<'a, Result<Vec<PartitionOffset>, OffsetsError>> {
        Box::pin(std::future::ready(Err(OffsetsError::Failed("away".to_owned()))))
    }

    fn alter<'a>(
        &'a self,
        group: GroupOf<'a>,
        _: &'a [OffsetChange],
        _: Instant,
    ) -> BoxFuture<'a, Result<Vec<PartitionOffset>, OffsetsError>> {
        self.committed(group)
    }

    fn reset<'a>(&'a self, _: GroupOf<'a>, _: Instant) -> BoxFuture<'a, Result<(), OffsetsError>> {
        Box::pin(std::future::ready(Err(OffsetsError::Failed("away".to_owned()))))
    }
}

fn no_offsets() -> Arc<dyn Offsets> {
    Arc::new(NoOffsets)
}

struct World {
    herder: Herder,
    fake: Arc<FakeTasks>,
    log: Arc<MemoryConfigLog>,
}

fn plugins() -> Plugins {
    let info = PluginInfo {
        kind: PluginKind::Sink,
        class: "io.acme.FakeSinkConnector",
        aliases: &[],
        version: "1",
    };
    Plugins::new()
        .with_sink(Arc::new(FakeSink(info)))
        .with_converters(klamm_converters::converters())
        .with_header_converters(klamm_converters::header_converters())
}

async fn world_on(log: Arc<MemoryConfigLog>) -> World {
    let raw = RawConfig::from([("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned())]);
    let worker = WorkerConfig::from_properties(&raw).unwrap();
    let fake = Arc::new(FakeTasks::default());
    let dyn_log: Arc<dyn ConfigLog> = Arc::<MemoryConfigLog>::clone(&log);
    let herder = Herder::open(
        worker,
        plugins(),
        dyn_log,
        Arc::new(Fake(Arc::clone(&fake))),
        no_offsets(),
    )
    .await
    .unwrap();
    herder.begin().await;
    World { herder, fake, log }
}

async fn world() -> World {
    world_on(Arc::new(MemoryConfigLog::new())).await
}

fn config(entries: &[(&str, &str)]) -> SubmittedConfig {
    let mut config: SubmittedConfig = [("connector.class", "FakeSink"), ("topics", "t"), ("target", "x")]
        .map(|(key, value)| (key.to_owned(), Some(value.to_owned())))
        .into();
    config.extend(
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))),
    );
    config
}

impl World {
    fn summary(&self, name: &str) -> String {
        match self.herder.status(name) {
            Err(error) => error.to_string(),
            Ok(status) => {
                let tasks: Vec<&str> = status.tasks.values().map(|task| task.state.name()).collect();
                format!("{} {}", status.connector.state.name(), tasks.join(" "))
                    .trim_end()
                    .to_owned()
            }
        }
    }

    /// Waits until the connector's states read as wanted. Time is paused: a state that never comes ends the test.
    async fn wait(&self, name: &str, wanted: &str) {
        let reached = async {
            while self.summary(name) != wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let result = tokio::time::timeout(Duration::from_secs(600), reached).await;
        assert!(result.is_ok(), "{name} is {}, not {wanted}", self.summary(name));
    }

    /// Waits until the tasks have noted so many lines since the last look, and returns them.
    async fn lines(&self, count: usize) -> Vec<String> {
        let reached = async {
            loop {
                let changed = self.fake.changed.notified();
                if self.fake.log.lock().unwrap().len() >= count {
                    return;
                }
                changed.await;
            }
        };
        let result = tokio::time::timeout(Duration::from_secs(3600), reached).await;
        assert!(
            result.is_ok(),
            "{:?} are not {count} lines",
            self.fake.log.lock().unwrap()
        );
        self.log()
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.fake.log.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_lives_through_all_its_states() {
    let world = world().await;
    let info = world
        .herder
        .create("a", config(&[("tasks.max", "2")]), None)
        .await
        .unwrap();
    assert_eq!(info.config["name"], "a");
    world.wait("a", "RUNNING RUNNING RUNNING").await;
    world.herder.set_target_state("a", TargetState::Paused).await.unwrap();
    world.wait("a", "PAUSED PAUSED PAUSED").await;
    world.herder.set_target_state("a", TargetState::Started).await.unwrap();
    world.wait("a", "RUNNING RUNNING RUNNING").await;
    world.herder.set_target_state("a", TargetState::Stopped).await.unwrap();
    world.wait("a", "STOPPED").await;
    world.herder.set_target_state("a", TargetState::Started).await.unwrap();
    world.wait("a", "RUNNING RUNNING RUNNING").await;
    world.herder.delete("a").await.unwrap();
    assert_eq!(world.summary("a"), "No status found for connector a");
    assert_eq!(world.herder.connectors(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn created_stopped_never_runs_and_created_paused_has_no_tasks() {
    let world = world().await;
    world
        .herder
        .create("s", config(&[]), Some(TargetState::Stopped))
        .await
        .unwrap();
    world.wait("s", "STOPPED").await;
    world
        .herder
        .create("p", config(&[]), Some(TargetState::Paused))
        .await
        .unwrap();
    world.wait("p", "PAUSED").await;
    assert_eq!(world.log(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_stops_the_old_tasks_before_new_ones_start() {
    let world = world().await;
    world.herder.create("a", config(&[]), None).await.unwrap();
    world.wait("a", "RUNNING RUNNING").await;
    let (put, _) = world
        .herder
        .put_config("a", config(&[("topics", "u"), ("tasks.max", "2")]))
        .await
        .unwrap();
    assert_eq!(put, Put::Updated);
    world.wait("a", "RUNNING RUNNING RUNNING").await;
    assert_eq!(
        world.lines(4).await,
        [
            "a-0 starts with t",
            "a-0 ended",
            "a-0 starts with u",
            "a-1 starts with u"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_connector_recreated_at_once_waits_for_the_tasks_of_its_namesake() {
    let world = world().await;
    world.herder.create("a", config(&[]), None).await.unwrap();
    world.wait("a", "RUNNING RUNNING").await;
    world.herder.delete("a").await.unwrap();
    world
        .herder
        .create("a", config(&[("topics", "u")]), None)
        .await
        .unwrap();
    world.wait("a", "RUNNING RUNNING").await;
    assert_eq!(
        world.lines(3).await,
        ["a-0 starts with t", "a-0 ended", "a-0 starts with u"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_or_panicking_task_fails_alone_and_can_be_restarted() {
    let world = world().await;
    world.fake.failing.lock().unwrap().push("a-0".to_owned());
    world.fake.panicking.lock().unwrap().push("a-1".to_owned());
    world
        .herder
        .create("a", config(&[("tasks.max", "3")]), None)
        .await
        .unwrap();
    world.wait("a", "RUNNING FAILED FAILED RUNNING").await;
    assert_eq!(world.herder.task_status("a", 0).unwrap().trace.as_deref(), Some("boom"));
    let trace = world.herder.task_status("a", 1).unwrap().trace.unwrap();
    assert_eq!(
        trace,
        "a plugin panicked, and standard error says where; please report this"
    );

    world.fake.failing.lock().unwrap().clear();
    world.fake.panicking.lock().unwrap().clear();
    world.log();
    let restart = Restart {
        include_tasks: true,
        only_failed: true,
    };
    let planned = world.herder.restart("a", restart).await.unwrap();
    let states: Vec<State> = planned.tasks.values().map(|task| task.state).collect();
    assert_eq!(states, [State::Restarting, State::Restarting, State::Running]);
    world.wait("a", "RUNNING RUNNING RUNNING RUNNING").await;
    assert_eq!(
        world.lines(2).await,
        ["a-0 starts with t", "a-1 starts with t"],
        "the healthy task was left alone"
    );

    world.herder.restart_task("a", 2).await.unwrap();
    world.wait("a", "RUNNING RUNNING RUNNING RUNNING").await;
    assert_eq!(world.lines(2).await, ["a-2 ended", "a-2 starts with t"]);
    let error = world.herder.restart_task("a", 3).await.unwrap_err();
    assert_eq!(error.to_string(), "Unknown task: a-3");
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_starts_again_by_itself_if_that_is_wished() {
    let world = world().await;
    world.fake.failing.lock().unwrap().push("a-0".to_owned());
    let settings = config(&[("tasks.max", "2"), ("task.restart.policy", "backoff")]);
    let created = tokio::time::Instant::now();
    world.herder.create("a", settings, None).await.unwrap();
    world.wait("a", "RUNNING FAILED RUNNING").await;
    let trace = world.herder.task_status("a", 0).unwrap().trace.unwrap();
    assert_eq!(
        trace,
        "boom (`task.restart.policy=backoff`: it starts again 60 s after its failure)"
    );
    let mut starts = Vec::new();
    world.lines(2).await;
    while starts.len() < 8 {
        let lines = world.lines(1).await;
        assert_eq!(lines, ["a-0 starts with t"], "the healthy task is left alone");
        starts.push(created.elapsed().as_secs() / 60);
    }
    assert_eq!(starts, [1, 3, 7, 15, 31, 61, 91, 121], "minutes");

    // A person's restart counts as mended, and a stop ends it.
    world.herder.restart_task("a", 0).await.unwrap();
    world.wait("a", "RUNNING FAILED RUNNING").await;
    let trace = world.herder.task_status("a", 0).unwrap().trace.unwrap();
    assert!(trace.contains("60 s after"), "{trace}");
    world.herder.set_target_state("a", TargetState::Stopped).await.unwrap();
    world.wait("a", "STOPPED").await;
    world.log();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.log(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_connector_whose_plugin_panics_at_its_start_fails_and_can_be_restarted() {
    let world = world().await;
    world.fake.panicking.lock().unwrap().push("a".to_owned());
    world.herder.create("a", config(&[]), None).await.unwrap();
    world.wait("a", "FAILED").await;
    let trace = world.herder.status("a").unwrap().connector.trace.unwrap();
    assert_eq!(
        trace,
        "a plugin panicked, and standard error says where; please report this"
    );
    world.fake.panicking.lock().unwrap().clear();
    world.herder.restart_connector("a").await.unwrap();
    world.wait("a", "RUNNING RUNNING").await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_aborted_and_delays_no_other_connector() {
    let world = world().await;
    world.fake.stubborn.lock().unwrap().push("a-0".to_owned());
    world.herder.create("a", config(&[]), None).await.unwrap();
    world.herder.create("b", config(&[]), None).await.unwrap();
    world.wait("a", "RUNNING RUNNING").await;
    world.wait("b", "RUNNING RUNNING").await;
    let before = tokio::time::Instant::now();
    world.herder.set_target_state("a", TargetState::Stopped).await.unwrap();
    world.herder.set_target_state("b", TargetState::Stopped).await.unwrap();
    world.wait("b", "STOPPED").await;
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "b waited for a: {:?}",
        before.elapsed()
    );
    world.wait("a", "STOPPED").await;
    assert!(
        before.elapsed() >= Duration::from_secs(25),
        "a had its time: {:?}",
        before.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_life_of_the_worker_goes_on_with_what_the_log_holds() {
    let first = world().await;
    first.herder.create("a", config(&[]), None).await.unwrap();
    first.herder.create("b", config(&[]), None).await.unwrap();
    first.herder.set_target_state("b", TargetState::Stopped).await.unwrap();
    first.herder.create("c", config(&[]), None).await.unwrap();
    first.herder.delete("c").await.unwrap();
    let second = world_on(Arc::clone(&first.log)).await;
    second.wait("a", "RUNNING RUNNING").await;
    second.wait("b", "STOPPED").await;
    assert_eq!(second.herder.connectors(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn two_herders_on_one_log_see_each_others_changes() {
    let first = world().await;
    let second = world_on(Arc::clone(&first.log)).await;
    let follower = second.herder.clone();
    let mut follow = tokio::task::JoinSet::new();
    follow.spawn(async move { follower.follow().await });
    first.herder.create("a", config(&[]), None).await.unwrap();
    second.wait("a", "RUNNING RUNNING").await;
    let error = second.herder.create("a", config(&[]), None).await.unwrap_err();
    assert_eq!(error.to_string(), "Connector a already exists");
    second.herder.delete("a").await.unwrap();
    assert_eq!(first.herder.create("a", config(&[]), None).await.unwrap().name, "a");
}

#[tokio::test(start_paused = true)]
async fn a_bad_configuration_is_refused_with_each_key_and_what_is_accepted() {
    let world = world().await;
    let mut bad = config(&[
        ("tasks.max", "x"),
        ("errors.tolerance", "some"),
        ("value.converter", "Nope"),
        ("consumer.override.auto.offset.reset", "sometimes"),
        ("consumer.override.bootstrap.servers", "here"),
        ("producer.override.linger.ms", "soon"),
        ("errors.deadletterqueue.topic.replication.factor", "many"),
    ]);
    bad.remove("target");
    bad.insert("topics.regex".to_owned(), Some("t.*".to_owned()));
    bad.insert("spare".to_owned(), None);
    let error = world.herder.create("a", bad, None).await.unwrap_err();
    assert_eq!(error.kind(), HerderErrorKind::BadRequest);
    let text = error.to_string();
    for wanted in [
        "contains the following 11 error(s)",
        "`tasks.max`: Invalid value x for configuration tasks.max: Not a number of type INT",
        "`errors.tolerance`: Invalid value some for configuration errors.tolerance: Value must be one of: none, all",
        "`value.converter`: Invalid value Nope for configuration value.converter: Class Nope could not be found",
        "`consumer.override.auto.offset.reset`: ",
        "`producer.override.linger.ms`: `linger.ms=soon` is not valid: ",
        "`consumer.override.bootstrap.servers`: `bootstrap.servers=here` is not valid: each address is `host:port`",
        "earliest",
        "`errors.deadletterqueue.topic.replication.factor`: Invalid value many for configuration",
        "`target`: Missing required configuration \"target\" which has no default value.",
        "`topics`: ",
        "`topics.regex`: ",
        "`spare`: Null value can not be supplied as the configuration value.",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
    }
    assert_eq!(world.herder.connectors(), Vec::<String>::new());

    let unknown = config(&[("connector.class", "Nope")]);
    let error = world.herder.create("a", unknown, None).await.unwrap_err().to_string();
    assert!(
        error.contains("available connectors are: io.acme.FakeSinkConnector"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_format_chooses_the_converter_unless_a_class_is_set() {
    let world = world().await;
    let accepted: [&[(&str, &str)]; 4] = [
        &[
            ("input.data.format", "AVRO"),
            ("schema.registry.url", "http://127.0.0.1:1"),
        ],
        &[
            ("input.data.format", "json_sr"),
            ("value.converter.schema.registry.url", "http://127.0.0.1:1"),
        ],
        &[("input.data.format", "STRING"), ("input.key.format", "BYTES")],
        &[
            ("input.data.format", "JSON"),
            ("value.converter", "JsonConverter"),
            ("value.converter.schemas.enable", "false"),
        ],
    ];
    for (index, entries) in accepted.iter().enumerate() {
        let name = format!("c{index}");
        let created = world.herder.create(&name, config(entries), None).await;
        assert!(created.is_ok(), "{entries:?}: {created:?}");
    }
    let refused: [(&[(&str, &str)], &str); 3] = [
        (
            &[("input.data.format", "XML")],
            "`input.data.format`: Invalid value XML for configuration input.data.format: Value must be one of: AVRO, JSON_SR, \
             PROTOBUF, JSON, STRING, BYTES",
        ),
        (
            &[("input.data.format", "AVRO"), ("value.converter", "StringConverter")],
            "`input.data.format`: AVRO is read by io.confluent.connect.avro.AvroConverter, and `value.converter` is \
             org.apache.kafka.connect.storage.StringConverter: leave one of them out",
        ),
        (
            &[("input.key.format", "AVRO")],
            "`key.converter.schema.registry.url`: Missing required configuration",
        ),
    ];
    for (entries, wanted) in refused {
        let error = world
            .herder
            .create("x", config(entries), None)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted), "no {wanted:?} in:\n{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_connectors_of_one_consumer_group_are_refused() {
    let world = world().await;
    world.herder.create("a", config(&[]), None).await.unwrap();
    let same = config(&[("consumer.override.group.id", "connect-a")]);
    let error = world.herder.create("b", same, None).await.unwrap_err().to_string();
    assert!(
        error.contains("`consumer.override.group.id`: Consumer group connect-a is in use by connector a"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn secrets_are_masked_and_the_mask_keeps_them() {
    let world = world().await;
    let info = world
        .herder
        .create("a", config(&[("target.token", "s3cret")]), None)
        .await
        .unwrap();
    assert_eq!(info.config["target.token"], "[hidden]");
    let edited = config(&[("target.token", "[hidden]"), ("topics", "u")]);
    world.herder.put_config("a", edited).await.unwrap();
    let (records, _) = world.log.read(LogPosition(0)).await.unwrap();
    let stored: Vec<BTreeMap<String, String>> = records
        .into_iter()
        .filter_map(|record| match record {
            ConfigRecord::Connector { config, .. } => config,
            _ => None,
        })
        .collect();
    assert_eq!(stored[1]["target.token"], "s3cret", "the mask stood for it");
    assert_eq!(stored[1]["topics"], "u");
    let error = world
        .herder
        .create("b", config(&[("target.token", "[hidden]")]), None)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`target.token`: `[hidden]` stands for a stored secret"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn applying_the_same_file_again_changes_nothing() {
    let world = world().await;
    world.herder.apply("a", config(&[]), None).await.unwrap();
    world.wait("a", "RUNNING RUNNING").await;
    world.herder.apply("a", config(&[]), None).await.unwrap();
    world.herder.apply("a", config(&[("topics", "u")]), None).await.unwrap();
    world.wait("a", "RUNNING RUNNING").await;
    assert_eq!(
        world.lines(3).await,
        ["a-0 starts with t", "a-0 ended", "a-0 starts with u"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_changed_before_the_begin_never_runs_as_it_was() {
    let first = world().await;
    first.herder.create("a", config(&[]), None).await.unwrap();
    let raw = RawConfig::from([("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned())]);
    let worker = WorkerConfig::from_properties(&raw).unwrap();
    let fake = Arc::new(FakeTasks::default());
    let log: Arc<dyn ConfigLog> = Arc::<MemoryConfigLog>::clone(&first.log);
    let herder = Herder::open(worker, plugins(), log, Arc::new(Fake(Arc::clone(&fake))), no_offsets())
        .await
        .unwrap();
    herder.apply("a", config(&[("topics", "u")]), None).await.unwrap();
    herder.begin().await;
    let second = World {
        herder,
        fake,
        log: first.log,
    };
    assert_eq!(second.lines(1).await, ["a-0 starts with u"]);
}

// Ten tries were not enough for a hundred at once, and the last ones got 409.
#[tokio::test(start_paused = true)]
async fn requests_to_one_worker_never_conflict() {
    let world = world().await;
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..100 {
        let herder = world.herder.clone();
        let name = format!("c{number}");
        requests.spawn(async move {
            herder.create(&name, config(&[]), None).await?;
            herder.put_config("shared", config(&[])).await.map(drop)
        });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(world.herder.connectors().len(), 101);
}

#[tokio::test(start_paused = true)]
async fn a_patch_changes_what_it_names_and_creates_nothing() {
    let world = world().await;
    let patch = |changes: &[(&str, Option<&str>)]| -> SubmittedConfig {
        let changes = changes.iter();
        changes
            .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
            .collect()
    };
    let absent = world.herder.patch_config("a", patch(&[])).await.unwrap_err();
    assert_eq!(absent.to_string(), "Connector a not found");
    let stored = config(&[("x", "1"), ("target.token", "s3cret")]);
    world
        .herder
        .create("a", stored, Some(TargetState::Stopped))
        .await
        .unwrap();
    let changes = patch(&[("x", None), ("y", Some("2")), ("target.token", Some("[hidden]"))]);
    let info = world.herder.patch_config("a", changes).await.unwrap();
    assert_eq!(info.config.get("x"), None);
    assert_eq!((info.config["y"].as_str(), info.config["topics"].as_str()), ("2", "t"));
    let token = world.herder.entry("a").unwrap().config["target.token"].clone();
    assert_eq!(token, "s3cret", "the mask stands for what is stored");
    for (changes, wanted) in [
        (patch(&[("target", None)]), "Missing required configuration \"target\""),
        (
            patch(&[("name", Some("b"))]),
            "doesn't match connector name in the URL (a)",
        ),
        (patch(&[("connector.class", None)]), "contains no connector type"),
    ] {
        let refused = world.herder.patch_config("a", changes).await.unwrap_err();
        assert_eq!(refused.kind(), HerderErrorKind::BadRequest);
        assert!(refused.to_string().contains(wanted), "{refused}");
    }
    assert_eq!(world.herder.connector("a").unwrap().config, info.config, "as it was");
}

#[tokio::test(start_paused = true)]
async fn offsets_are_changed_once_the_tasks_of_a_stopped_connector_have_ended() {
    let world = world().await;
    let missing = world.herder.reset_offsets("a").await.unwrap_err();
    assert_eq!(missing.kind(), HerderErrorKind::NotFound);
    world.fake.stubborn.lock().unwrap().push("a-0".to_owned());
    world.herder.create("a", config(&[]), None).await.unwrap();
    world.wait("a", "RUNNING RUNNING").await;
    let running = world.herder.reset_offsets("a").await.unwrap_err();
    assert!(
        running.to_string().contains("must be in the STOPPED state"),
        "{running}"
    );
    world.herder.set_target_state("a", TargetState::Stopped).await.unwrap();
    let before = Instant::now();
    let away = world.herder.reset_offsets("a").await.unwrap_err();
    assert_eq!(
        (away.kind(), away.to_string().as_str()),
        (HerderErrorKind::Internal, "away"),
        "Kafka was asked"
    );
    assert!(
        before.elapsed() >= Duration::from_secs(30),
        "not before the task was gone: it does not stop, and was aborted"
    );
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_every_task_and_refuses_further_requests() {
    let world = world().await;
    world
        .herder
        .create("a", config(&[("tasks.max", "2")]), None)
        .await
        .unwrap();
    world.wait("a", "RUNNING RUNNING RUNNING").await;
    world.herder.shutdown(Duration::from_secs(30)).await;
    let mut log = world.log();
    log.sort();
    assert_eq!(
        log,
        ["a-0 ended", "a-0 starts with t", "a-1 ended", "a-1 starts with t"]
    );
    let error = world.herder.create("b", config(&[]), None).await.unwrap_err();
    assert_eq!(error.to_string(), "Worker is shutting down");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_its_destinations_refuse_is_told_so_and_not_stored() {
    let world = world().await;
    let refused = config(&[("target", "refuses")]);
    let error = world.herder.create("a", refused.clone(), None).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("1 error(s):\n`target`: takes nothing from a"), "{text}");
    assert_eq!(world.herder.connectors(), Vec::<String>::new());

    let mut named = refused;
    named.insert("name".to_owned(), Some("a".to_owned()));
    let validation = world.herder.validate(named.clone()).await.unwrap();
    assert_eq!(validation.error_count(), 1);

    // What is wrong anyway is told without asking anybody.
    named.insert("topics".to_owned(), None);
    let error = world.herder.create("a", named, None).await.unwrap_err().to_string();
    assert!(!error.contains("takes nothing"), "{error}");

    world.herder.create("a", config(&[]), None).await.unwrap();
    let error = world
        .herder
        .put_config("a", config(&[("target", "refuses")]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("takes nothing"), "{error}");
    assert_eq!(
        world.herder.connector("a").unwrap().config["target"],
        "x",
        "it runs on as it was"
    );
    // A destination that is away today is no reason to refuse what is right.
    let away = config(&[("target", "is away")]);
    world.herder.put_config("a", away).await.unwrap();
}
