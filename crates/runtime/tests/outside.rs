//! What the settings of connectors reach outside of themselves, through the public face of the herder: values of config
//! providers, and nothing that a login module or a file of the worker would give away.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klamm_connect_api::provider::{Asker, ConfigProvider, ConfigProviderPlugin, NotProvided, Provided};
use klamm_connect_api::sink::{PreflightError, Sink, SinkConnector, SinkContext};
use klamm_connect_api::{
    BoxFuture, ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, Importance, ParsedConfig, PluginInfo,
    PluginKind, RawConfig, Secret,
};
use klamm_runtime::{
    ConfigLog, GroupOf, Herder, InstanceStatus, LogPosition, MemoryConfigLog, OffsetChange, Offsets, OffsetsError,
    PartitionOffset, Plugins, Providers, RestartPolicy, State, SubmittedConfig, TaskControl, TaskPlan, TaskReport,
    TaskSpec, Tasks, WorkerConfig,
};
use tokio::sync::watch;
use tokio::time::Instant;

/// What the provider has: a value, or why not.
type Values = Arc<Mutex<BTreeMap<String, Result<String, NotProvided>>>>;

#[derive(Debug, Clone, Default)]
struct Vault(Values);

impl Vault {
    fn set(&self, key: &str, value: Result<&str, NotProvided>) {
        self.0.lock().unwrap().insert(key.to_owned(), value.map(str::to_owned));
    }
}

impl ConfigProviderPlugin for Vault {
    fn classes(&self) -> &'static [&'static str] {
        &["io.acme.VaultConfigProvider"]
    }

    fn open(&self, _params: &RawConfig) -> Result<Arc<dyn ConfigProvider>, ConfigErrors> {
        Ok(Arc::new(self.clone()))
    }
}

impl ConfigProvider for Vault {
    fn get<'a>(&'a self, _path: &'a str, key: &'a str, _asker: Asker) -> BoxFuture<'a, Result<Provided, NotProvided>> {
        let gone = || Err(NotProvided::Refused("nothing is there".to_owned()));
        let got = self.0.lock().unwrap().get(key).cloned().unwrap_or_else(gone);
        let got = got.map(|value| Provided {
            value: Secret::new(value),
            lease: Some(Duration::from_secs(60)),
        });
        Box::pin(std::future::ready(got))
    }
}

const INFO: PluginInfo = PluginInfo {
    kind: PluginKind::Sink,
    class: "io.acme.AcmeSinkConnector",
    aliases: &[],
    version: "1",
};

/// Notes what its preflights would send where: target and token.
#[derive(Debug, Clone, Default)]
struct AcmeSink(Arc<Mutex<Vec<(String, String)>>>);

impl SinkConnector for AcmeSink {
    fn info(&self) -> &PluginInfo {
        &INFO
    }

    fn config_def(&self, _raw: &RawConfig) -> ConfigDef {
        let key = |name, kind| ConfigKey::new(name, kind, Importance::High, "For the test.").optional();
        ConfigDef::new()
            .key(key("target", ConfigType::String))
            .key(key("token", ConfigType::Password))
            .key(key("limit", ConfigType::Int))
    }

    fn validate(&self, raw: &RawConfig, _parsed: &ParsedConfig) -> Vec<ConfigError> {
        // A plugin that quotes one setting in the error of another.
        let bad = raw.get("target").filter(|target| target.starts_with("bad"));
        bad.map(|target| ConfigError::new("limit", format!("{target} has none")))
            .into_iter()
            .collect()
    }

    fn preflight<'a>(&'a self, context: SinkContext<'a>) -> BoxFuture<'a, Vec<PreflightError>> {
        let setting = |key: &str| context.raw[key].clone();
        self.0.lock().unwrap().push((setting("target"), setting("token")));
        Box::pin(std::future::ready(Vec::new()))
    }

    fn open(&self, _context: SinkContext<'_>) -> Result<Arc<dyn Sink>, ConfigErrors> {
        unreachable!("the fake tasks open no sink")
    }
}

/// Notes the tokens that tasks start with; one with the target `boom` fails and quotes its token.
#[derive(Debug, Clone, Default)]
struct FakeTasks(Arc<Mutex<Vec<String>>>);

impl FakeTasks {
    fn started(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Tasks for FakeTasks {
    fn plan(&self, _connector: &str, _config: &RawConfig) -> Result<TaskPlan, String> {
        Ok(TaskPlan {
            tasks: 1,
            version: "1",
            restart: RestartPolicy::None,
        })
    }

    fn run(
        &self,
        spec: TaskSpec,
        mut control: watch::Receiver<TaskControl>,
        report: TaskReport,
    ) -> BoxFuture<'static, Result<(), String>> {
        let started = Arc::clone(&self.0);
        Box::pin(async move {
            let token = spec.config["token"].clone();
            started.lock().unwrap().push(token.clone());
            if spec.config["target"] == "boom" {
                return Err(format!("{token} was refused"));
            }
            report.set(InstanceStatus::of(State::Running));
            while *control.borrow_and_update() != TaskControl::Stop && control.changed().await.is_ok() {}
            Ok(())
        })
    }
}

/// Says which token it was asked with, in the place of a topic.
#[derive(Debug)]
struct FakeOffsets;

impl Offsets for FakeOffsets {
    fn committed<'a>(&'a self, group: GroupOf<'a>) -> BoxFuture<'a, Result<Vec<PartitionOffset>, OffsetsError>> {
        let asked = PartitionOffset {
            topic: group.config["token"].clone(),
            partition: 0,
            offset: 0,
        };
        Box::pin(std::future::ready(Ok(vec![asked])))
    }

    fn alter<'a>(
        &'a self,
        group: GroupOf<'a>,
        _: &'a [OffsetChange],
        _: Instant,
    ) -> BoxFuture<'a, Result<Vec<PartitionOffset>, OffsetsError>> {
        self.committed(group)
    }

    fn reset<'a>(&'a self, group: GroupOf<'a>, _: Instant) -> BoxFuture<'a, Result<(), OffsetsError>> {
        let refused = OffsetsError::Failed(format!("{} opens no group", group.config["token"]));
        Box::pin(std::future::ready(Err(refused)))
    }
}

struct World {
    herder: Herder,
    vault: Vault,
    tasks: FakeTasks,
    log: Arc<MemoryConfigLog>,
    sink: AcmeSink,
}

async fn world() -> World {
    let vault = Vault::default();
    let raw = RawConfig::from(
        [
            ("bootstrap.servers", "127.0.0.1:1"),
            ("config.providers", "vault"),
            ("config.providers.vault.class", "VaultConfigProvider"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let sink = AcmeSink::default();
    let plugins = Plugins::new()
        .with_sink(Arc::new(sink.clone()))
        .with_config_providers([Arc::new(vault.clone()) as Arc<dyn ConfigProviderPlugin>])
        .with_converters(klamm_converters::converters())
        .with_header_converters(klamm_converters::header_converters());
    let providers = Providers::open(&raw, &plugins).unwrap();
    let worker = WorkerConfig::from_properties(&raw).unwrap().with_providers(providers);
    let (log, tasks) = (Arc::new(MemoryConfigLog::new()), FakeTasks::default());
    let (stored, running) = (Arc::clone(&log) as Arc<dyn ConfigLog>, Arc::new(tasks.clone()));
    let herder = Herder::open(worker, plugins, stored, running, Arc::new(FakeOffsets))
        .await
        .unwrap();
    herder.begin().await;
    World {
        herder,
        vault,
        tasks,
        log,
        sink,
    }
}

fn config(more: &[(&str, &str)]) -> SubmittedConfig {
    let mut config = BTreeMap::from(
        [
            ("connector.class", "AcmeSink"),
            ("topics", "t"),
            ("target", "here"),
            ("token", "${vault:a:token}"),
        ]
        .map(|(key, value)| (key.to_owned(), Some(value.to_owned()))),
    );
    config.extend(
        more.iter()
            .map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))),
    );
    config
}

/// Time is paused and passes only while everyone waits: a state that does not come never ends the wait but this.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let reached = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(600), reached).await;
    assert!(reached.is_ok(), "{what}");
}

#[tokio::test(start_paused = true)]
async fn tasks_get_values_and_everybody_else_references() {
    let world = world().await;
    world.vault.set("token", Ok("s3cret"));
    world.vault.set("url", Ok("elsewhere"));
    let more = [("target", "${vault:a:url}"), ("transforms", "")];
    let info = world.herder.create("c", config(&more), None).await.unwrap();
    assert_eq!(info.config["token"], "${vault:a:token}");
    until("the task starts", || world.tasks.started() == ["s3cret"]).await;
    assert_eq!(world.herder.connector("c").unwrap().config["target"], "${vault:a:url}");
    let (records, _) = world.log.read(LogPosition(0)).await.unwrap();
    let stored = records
        .iter()
        .map(|record| record.encode().1.to_string())
        .collect::<String>();
    assert!(stored.contains("${vault:a:token}") && !stored.contains("s3cret") && !stored.contains("elsewhere"));
    let asked = world.herder.offsets("c").await.unwrap();
    assert_eq!(
        asked[0].topic, "s3cret",
        "whoever asks Kafka for the connector has its secrets"
    );
    // What was answered can be sent back.
    let back = info.config.into_iter().map(|(key, value)| (key, Some(value))).collect();
    world.herder.put_config("c", back).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn validation_looks_at_values_and_shows_references() {
    let world = world().await;
    world.vault.set("token", Ok("s3cret"));
    world.vault.set("limit", Ok("n0number"));
    world.vault.set("bad", Ok("bad-target"));
    let more = [
        ("name", "c"),
        ("limit", "${vault:a:limit}"),
        ("target", "${vault:a:bad}"),
        ("topics", "${vault:a:gone}"),
    ];
    let validation = world.herder.validate(config(&more)).await.unwrap();
    let key = |name: &str| validation.keys().iter().find(|key| key.name == name).unwrap();
    assert_eq!(key("token").value.as_deref(), Some("${vault:a:token}"));
    assert_eq!(key("limit").value.as_deref(), Some("${vault:a:limit}"));
    assert_eq!(
        key("limit").errors,
        ["what the config provider has for this setting is not valid for it"]
    );
    assert_eq!(
        key("topics").errors,
        ["`${vault:a:gone}` stands for nothing: nothing is there"]
    );
    let all = format!("{validation:?}");
    for value in ["s3cret", "n0number", "bad-target"] {
        assert!(!all.contains(value), "{value}: {all}");
    }
    let error = world
        .herder
        .create("c", config(&more), None)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("`topics`: ") || error.contains("topics"), "{error}");
    assert!(
        error.contains("${vault:a:gone}") && !error.contains("s3cret") && !error.contains("n0number"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_validation_sends_a_stored_secret_nowhere_else() {
    let world = world().await;
    world
        .herder
        .create("c", config(&[("token", "s3cret")]), None)
        .await
        .unwrap();
    let asked = || std::mem::take(&mut *world.sink.0.lock().unwrap());
    asked();
    let masked = |target| config(&[("name", "c"), ("token", "[hidden]"), ("target", target)]);
    let validation = world.herder.validate(masked("elsewhere")).await.unwrap();
    assert_eq!((validation.error_count(), asked()), (0, Vec::new()));
    world.herder.validate(masked("here")).await.unwrap();
    assert_eq!(asked(), [("here".to_owned(), "s3cret".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn errors_of_offsets_quote_the_reference() {
    let world = world().await;
    world.vault.set("token", Ok("s3cret\n"));
    world.herder.create("c", config(&[]), None).await.unwrap();
    world
        .herder
        .set_target_state("c", klamm_runtime::TargetState::Stopped)
        .await
        .unwrap();
    let error = world.herder.reset_offsets("c").await.unwrap_err().to_string();
    assert!(error.contains("${vault:a:token} opens no group"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_another_setting_quotes_the_reference() {
    let world = world().await;
    world.vault.set("token", Ok("s3cret"));
    world.vault.set("bad", Ok("bad-target"));
    let more = [("name", "c"), ("target", "${vault:a:bad}"), ("limit", "1")];
    let validation = world.herder.validate(config(&more)).await.unwrap();
    let limit = validation.keys().iter().find(|key| key.name == "limit").unwrap();
    assert_eq!(limit.errors, ["${vault:a:bad} has none"]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_value_starts_the_connector_anew_and_an_unchanged_one_does_not() {
    let world = world().await;
    world.vault.set("token", Ok("first"));
    world.herder.create("c", config(&[]), None).await.unwrap();
    world
        .herder
        .create("still", config(&[("config.action.reload", "none")]), None)
        .await
        .unwrap();
    until("both start", || world.tasks.started().len() == 2).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(world.tasks.started(), ["first", "first"], "nothing changed");
    world.vault.set("token", Ok("second"));
    until("the change is seen", || world.tasks.started().len() == 3).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(
        world.tasks.started(),
        ["first", "first", "second"],
        "once, and not the one that wants no reload"
    );
    world.vault.set("token", Err(NotProvided::Now("away".to_owned())));
    tokio::time::sleep(Duration::from_secs(300)).await;
    world
        .vault
        .set("token", Err(NotProvided::Refused("deleted".to_owned())));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(world.tasks.started().len(), 3, "who has a value goes on with it");
    assert_eq!(world.herder.status("c").unwrap().connector.state, State::Running);
    world.vault.set("token", Ok("third"));
    world.herder.restart_task("still", 0).await.unwrap();
    until("a restart by hand takes the new value", || {
        world.tasks.started().ends_with(&["third".to_owned()])
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_delays_the_start_and_one_that_refuses_fails_it() {
    let world = world().await;
    world.vault.set("token", Ok("s3cret"));
    world
        .herder
        .create("c", config(&[]), Some(klamm_runtime::TargetState::Stopped))
        .await
        .unwrap();
    world.vault.set("token", Err(NotProvided::Now("away".to_owned())));
    world
        .herder
        .set_target_state("c", klamm_runtime::TargetState::Started)
        .await
        .unwrap();
    let state = || world.herder.status("c").map(|status| status.connector);
    until("it fails", || {
        state().is_ok_and(|connector| connector.state == State::Failed)
    })
    .await;
    let trace = state().unwrap().trace.unwrap();
    assert!(
        trace.contains("token") && trace.contains("`${vault:a:token}` stands for nothing: away"),
        "{trace}"
    );
    world.vault.set("token", Ok("s3cret"));
    until("it starts by itself", || {
        state().is_ok_and(|connector| connector.state == State::Running)
    })
    .await;
    assert_eq!(world.tasks.started(), ["s3cret"]);
}

#[tokio::test(start_paused = true)]
async fn a_trace_holds_references_in_place_of_values() {
    let world = world().await;
    world.vault.set("token", Ok("s3cret"));
    world
        .herder
        .create("c", config(&[("target", "boom")]), None)
        .await
        .unwrap();
    let trace = || world.herder.task_status("c", 0).ok().and_then(|status| status.trace);
    until("it fails", || trace().is_some()).await;
    assert_eq!(trace().unwrap(), "${vault:a:token} was refused");
}

// CVE-2023-25194: a connector's `sasl.jaas.config` had Java's worker load a class of anybody's choice, by way of JNDI.
// CVE-2025-27817: its token endpoint had the worker read files and ask URLs.
#[tokio::test(start_paused = true)]
async fn no_override_has_the_worker_load_code_or_send_its_files() {
    let world = world().await;
    world.vault.set("token", Ok("s3cret"));
    let ldap = "user.provider.url=\"ldap://127.0.0.1:1389/x\" useFirstPass=\"true\" group.provider.url=\"xxx\"";
    let jndi = format!("com.sun.security.auth.module.JndiLoginModule required {ldap};");
    let key_store =
        "com.sun.security.auth.module.KeyStoreLoginModule required keyStoreURL=\"http://127.0.0.1:1\";".to_owned();
    let ldap_module =
        "com.sun.security.auth.module.LdapLoginModule required userProvider=\"ldap://127.0.0.1:1\";".to_owned();
    let two = format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"a\" password=\"b\"; {jndi}"
    );
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule";
    for role in ["consumer.override.", "producer.override."] {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER", "AWS_MSK_IAM"] {
            for jaas in [&jndi, &key_store, &ldap_module, &two] {
                let protocol = format!("{role}security.protocol");
                let (mechanism_key, jaas_key) = (format!("{role}sasl.mechanism"), format!("{role}sasl.jaas.config"));
                let dead = ("errors.deadletterqueue.topic.name", "dlq");
                let more = [
                    (&*protocol, "SASL_PLAINTEXT"),
                    (&*mechanism_key, mechanism),
                    (&*jaas_key, jaas.as_str()),
                    dead,
                ];
                let refused = world
                    .herder
                    .create("c", config(&more), None)
                    .await
                    .unwrap_err()
                    .to_string();
                assert!(refused.contains(&jaas_key), "{mechanism} {jaas}: {refused}");
                assert!(
                    !refused.contains("ldap://") && !refused.contains("useFirstPass"),
                    "no part of it: {refused}"
                );
            }
        }
    }
    for url in ["file:/etc/passwd", "FILE:///etc/passwd", " file:///etc/passwd"] {
        let more = [
            ("consumer.override.security.protocol", "SASL_PLAINTEXT"),
            ("consumer.override.sasl.mechanism", "OAUTHBEARER"),
            ("consumer.override.sasl.oauthbearer.token.endpoint.url", url),
            ("consumer.override.bootstrap.servers", "127.0.0.1:1"),
        ];
        let refused = world
            .herder
            .create("c", config(&more), None)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("a connector cannot have a file of the worker sent as a token"),
            "{refused}"
        );
    }
    // The module itself, spelt right, is what the others are not.
    let right = format!("{plain} required username=\"a\" password=\"b\";");
    let more = [
        ("consumer.override.security.protocol", "SASL_PLAINTEXT"),
        ("consumer.override.sasl.mechanism", "PLAIN"),
        ("consumer.override.sasl.jaas.config", right.as_str()),
    ];
    let info = world.herder.create("c", config(&more), None).await.unwrap();
    assert_eq!(info.config["consumer.override.sasl.jaas.config"], "[hidden]");
}
