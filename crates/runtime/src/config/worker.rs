use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use klamm_connect_api::config::{KeysOnly, Scope, Validator};
use klamm_connect_api::{ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, Importance, RawConfig};
use klamm_delivery::LimitSettings;
use klamm_kafka::{ClientConfig, ConsumerConfig, ProducerConfig, UnknownKey};

use super::connector::check_worker;
use super::overrides::OverridePolicy;
use super::providers::Providers;
use super::rest::{RestConfig, rest_keys};
use super::{config_error_key, stripped};
use crate::plugins::Plugins;

/// Settings of a worker, parsed.
#[derive(Clone)]
pub struct WorkerConfig {
    /// Connection to Kafka, from the keys without a prefix.
    pub(crate) client: ClientConfig,
    /// The keys that `client` was read from.
    client_settings: RawConfig,
    /// `config.providers`
    pub(crate) providers: Providers,
    /// `connector.client.config.override.policy`
    pub(crate) override_policy: OverridePolicy,
    /// What the REST API is served with.
    pub rest: RestConfig,
    /// `state.dir`; none keeps everything in memory.
    pub(crate) state_dir: Option<PathBuf>,
    /// `offset.flush.interval.ms`
    pub(crate) commit_interval: Duration,
    /// `task.shutdown.graceful.timeout.ms`, for all tasks together.
    pub(crate) shutdown_timeout: Duration,
    /// `worker.buffer.bytes`
    pub(crate) buffer_bytes: usize,
    /// `delivery.buffer.bytes`, per partition
    pub(crate) partition_buffer_bytes: usize,
    /// `delivery.buffer.records`, per partition
    pub(crate) partition_buffer_records: usize,
    /// `delivery.window.records`, per partition
    pub(crate) partition_window_records: usize,
    /// `rest.show.payloads`
    pub shows_payloads: bool,
    /// `delivery.limit.*`
    pub(crate) limits: LimitSettings,
    /// `topic.tracking.enable`
    pub(crate) tracks_topics: bool,
    /// `topic.tracking.allow.reset`
    pub(crate) resets_topics: bool,
    /// Everything as given: converters with their sub-keys and `consumer.*` are read from here for each connector.
    pub(crate) raw: RawConfig,
    /// One line each, for the log: keys that mean nothing here.
    warnings: Vec<String>,
}

impl fmt::Debug for WorkerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerConfig")
            .field("listeners", &self.rest.listeners)
            .field("state_dir", &self.state_dir)
            .field("raw", &KeysOnly(&self.raw))
            .finish_non_exhaustive()
    }
}

/// Keys of Kafka Connect's worker that only make sense for a JVM, for source connectors or for internal topics that
/// are not used here. A trailing dot stands for every key below it.
const JAVA_ONLY: &[&str] = &[
    "admin.",
    "client.dns.lookup",
    "config.storage.",
    "connect.protocol",
    "exactly.once.source.support",
    "inter.worker.",
    "internal.key.converter",
    "internal.key.converter.",
    "internal.value.converter",
    "internal.value.converter.",
    "metric.reporters",
    "metrics.",
    "offset.flush.timeout.ms",
    "offset.storage.",
    "plugin.discovery",
    "plugin.path",
    "scheduled.rebalance.max.delay.ms",
    "status.storage.",
    "task.shutdown.",
    "topic.creation.enable",
    "worker.sync.timeout.ms",
    "worker.unsync.backoff.ms",
];

/// The settings of a worker that are its own: those of the Kafka connection, of the converters and of the consumers
/// keep their Kafka names and are read by their owners.
#[must_use]
pub fn worker_config_def() -> ConfigDef {
    let key = |name: &str, config_type, importance, doc: &str| ConfigKey::new(name, config_type, importance, doc);
    ConfigDef::new()
        .key(key(
            "bootstrap.servers",
            ConfigType::List,
            Importance::High,
            "Brokers to connect to first, `host:port` with commas between them.",
        ))
        .with(rest_keys())
        .key(
            key(
                "config.providers",
                ConfigType::List,
                Importance::Medium,
                "Config providers by names of your choice, with `config.providers.<name>.class` and \
                 `config.providers.<name>.param.*`. Configurations refer to their values as `${name:path:key}`.",
            )
            .default(""),
        )
        .key(
            key(
                "rest.show.payloads",
                ConfigType::Boolean,
                Importance::Low,
                "Whether the REST API may show keys, values and headers of dead letters to who asks with `?payload=true`.",
            )
            .default("false"),
        )
        .key(
            key(
                "state.dir",
                ConfigType::String,
                Importance::High,
                "Directory that keeps connectors and target states; locked by one process.",
            )
            .default("./klamm-data")
            .validator(Validator::non_empty()),
        )
        .key(
            key(
                "key.converter",
                ConfigType::Class,
                Importance::High,
                "Converter of record keys for connectors that name none; its settings follow under `key.converter.`.",
            )
            .default("org.apache.kafka.connect.storage.StringConverter"),
        )
        .key(
            key(
                "value.converter",
                ConfigType::Class,
                Importance::High,
                "Converter of record values for connectors that name none; its settings follow under `value.converter.`.",
            )
            .default("org.apache.kafka.connect.json.JsonConverter"),
        )
        .key(
            key(
                "header.converter",
                ConfigType::Class,
                Importance::Low,
                "Converter of header values for connectors that name none.",
            )
            .default("org.apache.kafka.connect.storage.SimpleHeaderConverter"),
        )
        .key(
            key(
                "offset.flush.interval.ms",
                ConfigType::Long,
                Importance::Medium,
                "Longest time between a record's delivery and the commit of its offset, in milliseconds.",
            )
            .default("1000")
            .validator(Validator::at_least(1)),
        )
        .key(
            key(
                "task.shutdown.graceful.timeout.ms",
                ConfigType::Long,
                Importance::Medium,
                "How long tasks may finish what is in flight when the worker ends, all together, in milliseconds.",
            )
            .default("25000")
            .validator(Validator::at_least(0)),
        )
        .key(
            key(
                "worker.buffer.bytes",
                ConfigType::Long,
                Importance::Medium,
                "Records in memory, all connectors together, in bytes. Kafka is the buffer beyond it.",
            )
            .default("67108864")
            .validator(Validator::at_least(1 << 20)),
        )
        .key(
            key("delivery.buffer.bytes", ConfigType::Long, Importance::Low, "Encoded records in memory per partition, in bytes.")
                .default("4194304")
                .validator(Validator::at_least(1)),
        )
        .key(
            key("delivery.buffer.records", ConfigType::Int, Importance::Low, "Records in memory per partition.")
                .default("20000")
                .validator(Validator::at_least(1)),
        )
        .key(
            key(
                "delivery.window.records",
                ConfigType::Int,
                Importance::Low,
                "Most records of a partition between the oldest one that is not done and the newest one read.",
            )
            .default("100000")
            .validator(Validator::at_least(1)),
        )
        .key(
            key(
                "delivery.limit.function.max",
                ConfigType::Int,
                Importance::Low,
                "Most calls of a function at once, from all connectors of the worker. The limit adapts below it.",
            )
            .default("10000")
            .validator(Validator::at_least(1)),
        )
        .key(
            key(
                "delivery.limit.account.max",
                ConfigType::Int,
                Importance::Low,
                "Most calls of an account in a region at once, from all connectors of the worker. The limit adapts below it.",
            )
            .default("10000")
            .validator(Validator::at_least(1)),
        )
        .key(
            key(
                "delivery.limit.latency",
                ConfigType::Boolean,
                Importance::Low,
                "Whether calls that take more than twice as long as the fastest lower the limit of their function. Throttles \
                 always do.",
            )
            .default("false"),
        )
        .key(
            key(
                "topic.tracking.enable",
                ConfigType::Boolean,
                Importance::Low,
                "Whether the worker keeps which topics each connector has read from, for `GET /connectors/{name}/topics`.",
            )
            .default("true"),
        )
        .key(
            key(
                "topic.tracking.allow.reset",
                ConfigType::Boolean,
                Importance::Low,
                "Whether `PUT /connectors/{name}/topics/reset` may forget them.",
            )
            .default("true"),
        )
        .key(
            key(
                "connector.client.config.override.policy",
                ConfigType::String,
                Importance::Medium,
                "Which client settings connectors may set for themselves with `consumer.override.*` and \
                 `producer.override.*`: `All`, `None`, `Principal` (`security.protocol`, `sasl.mechanism`, \
                 `sasl.jaas.config`), or `Allowlist`.",
            )
            .default("All")
            .validator(Validator::new(|policy| OverridePolicy::parse(policy, &[]).map(drop))),
        )
        .key(
            key(
                "connector.client.config.override.allowlist",
                ConfigType::List,
                Importance::Medium,
                "Client settings that connectors may set for themselves under the `Allowlist` policy.",
            )
            .default(""),
        )
        .key(
            key(
                "group.id",
                ConfigType::String,
                Importance::Low,
                "Name of a cluster of workers. This version runs workers alone: leave it out.",
            )
            .optional()
            .validator(Validator::new(|_| {
                Err("clusters of workers are not supported yet: leave `group.id` out; several workers that run a connector \
                     of one name share its partitions"
                    .to_owned())
            })),
        )
}

impl WorkerConfig {
    /// Reads the settings of a worker.
    ///
    /// # Errors
    /// Every known key with a wrong value. Unknown keys are [warnings](Self::warnings).
    pub fn from_properties(raw: &RawConfig) -> Result<Self, ConfigErrors> {
        let def = worker_config_def();
        let evaluated = def.evaluate(raw);
        let mut errors = evaluated.errors();
        let own: Vec<&str> = def.keys().iter().map(|key| key.name.as_str()).collect();
        let client_settings = client_properties(raw, &own);
        let client = match ClientConfig::from_properties(&client_settings) {
            Ok((client, ignored)) => Some((client, ignored)),
            Err(error) => {
                let key = config_error_key(&error);
                if !errors.iter().any(|known| known.key == key) {
                    errors.push(ConfigError::new(key, error.to_string()));
                }
                None
            }
        };
        ConfigErrors::check(errors)?;
        let Some((client, ignored)) = client else {
            unreachable!("its error is among those checked above")
        };
        let config = Scope::new(&evaluated.parsed, "");
        let rest = RestConfig::try_new(config, raw)?;
        let warnings = rest.warnings();
        let millis = |key| config.millis(key).unwrap_or_default();
        let size = |key| config.usize(key).unwrap_or_default();
        Ok(Self {
            client,
            client_settings,
            providers: Providers::default(),
            // The default was checked above along with what is given.
            override_policy: config
                .str("connector.client.config.override.policy")
                .and_then(|policy| {
                    OverridePolicy::parse(policy, config.list("connector.client.config.override.allowlist")).ok()
                })
                .unwrap_or(OverridePolicy::None),
            rest,
            state_dir: config.str("state.dir").map(PathBuf::from),
            commit_interval: millis("offset.flush.interval.ms"),
            shutdown_timeout: millis("task.shutdown.graceful.timeout.ms"),
            buffer_bytes: size("worker.buffer.bytes"),
            partition_buffer_bytes: size("delivery.buffer.bytes"),
            partition_buffer_records: size("delivery.buffer.records"),
            partition_window_records: size("delivery.window.records"),
            shows_payloads: config.bool("rest.show.payloads").unwrap_or_default(),
            limits: LimitSettings {
                function_max: size("delivery.limit.function.max"),
                account_max: size("delivery.limit.account.max"),
                by_latency: config.bool("delivery.limit.latency").unwrap_or_default(),
            },
            tracks_topics: config.bool("topic.tracking.enable").unwrap_or(true),
            resets_topics: config.bool("topic.tracking.allow.reset").unwrap_or(true),
            raw: with_defaults(raw, &def),
            warnings: ignored
                .iter()
                .map(|ignored| ignored_line("", ignored))
                .chain(client_warnings(raw))
                .chain(warnings)
                .collect(),
        })
    }

    /// Keeps connectors, target states and member ids in memory only, whatever `state.dir` says: for services that
    /// bring their connectors along at every start.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.state_dir = None;
        self
    }

    /// Has connectors refer to the values of these config providers. The worker's own references are resolved by
    /// [`Providers::resolve_worker`], before its settings are read.
    #[must_use]
    pub fn with_providers(mut self, providers: Providers) -> Self {
        self.providers = providers;
        self
    }

    /// Checks the converters and consumer settings that the worker sets for all its connectors.
    ///
    /// # Errors
    /// Each key that is wrong, with what is accepted.
    pub fn check_plugins(&self, plugins: &Plugins) -> Result<(), ConfigErrors> {
        check_worker(self, plugins)
    }

    /// How long one task may take to stop: its share of the shutdown time-out, and then the final commit.
    pub(crate) fn stop_timeout(&self) -> Duration {
        self.shutdown_timeout + Duration::from_secs(5)
    }

    /// One line for each key that has no meaning here, to be logged at start.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// What configures the connection: everything that is neither the worker's own nor under a prefix of somebody else's.
fn client_properties(raw: &RawConfig, own: &[&str]) -> RawConfig {
    let owned = |key: &str| own.contains(&key) && key != "bootstrap.servers";
    let prefixed = |key: &str| {
        [
            "key.converter.",
            "value.converter.",
            "header.converter.",
            "consumer.",
            "producer.",
            "config.providers.",
        ]
        .iter()
        .any(|prefix| key.starts_with(prefix))
    };
    let client = raw.iter().filter(|(key, _)| !owned(key) && !prefixed(key));
    client.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn with_defaults(raw: &RawConfig, def: &ConfigDef) -> RawConfig {
    let mut raw = raw.clone();
    for key in def.keys().iter().filter(|key| key.name.ends_with(".converter")) {
        let is_default = !raw.contains_key(&key.name);
        if let (true, Some(default)) = (is_default, &key.default) {
            raw.insert(key.name.clone(), default.clone());
            if key.name == "value.converter" {
                // Connect's own default, `true`, is what newcomers trip over first: a default converter reads plain JSON.
                raw.entry("value.converter.schemas.enable".to_owned())
                    .or_insert_with(|| "false".to_owned());
            }
        }
    }
    raw
}

/// Lines for what is ignored among the settings for all consumers and producers.
fn client_warnings(raw: &RawConfig) -> Vec<String> {
    let mut consumer = stripped(raw, "consumer.");
    consumer
        .entry("group.id".to_owned())
        .or_insert_with(|| "any".to_owned());
    // Wrong values are refused where plugins are checked.
    let consumer = ConsumerConfig::from_properties(&consumer).map(|(_, ignored)| ignored);
    let producer = ProducerConfig::from_properties(&stripped(raw, "producer.")).map(|(_, ignored)| ignored);
    let lines = [("consumer.", consumer), ("producer.", producer)].map(|(prefix, ignored)| {
        let ignored = ignored.unwrap_or_default();
        ignored.iter().map(|key| ignored_line(prefix, key)).collect::<Vec<_>>()
    });
    lines.concat()
}

/// The line for a key that is accepted and means nothing here.
pub(super) fn ignored_line(prefix: &str, ignored: &UnknownKey) -> String {
    let key = &ignored.key;
    let java_only = JAVA_ONLY.iter().any(|known| {
        if known.ends_with('.') {
            key.starts_with(known)
        } else {
            key == known
        }
    });
    if ignored.java_only || java_only {
        format!("`{prefix}{key}` has no meaning for this worker and is ignored")
    } else {
        format!("`{prefix}{key}` is not a setting of this worker and is ignored: check the spelling")
    }
}

impl WorkerConfig {
    /// `consumer.*` without the prefix.
    pub(crate) fn consumer(&self) -> RawConfig {
        stripped(&self.raw, "consumer.")
    }

    /// The settings of the worker's connection to Kafka.
    pub(super) fn client_settings(&self) -> &RawConfig {
        &self.client_settings
    }
}
