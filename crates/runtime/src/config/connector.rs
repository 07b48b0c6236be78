use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::config::Validator;
use klamm_connect_api::config::Width;
use klamm_connect_api::sink::SinkConnector;
use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, Converter, ConverterRole, HeaderConverter, Importance,
    ParsedConfig, RawConfig,
};
use klamm_kafka::{ConsumerConfig, Subscription};
use klamm_smt::Chain;

use super::worker::ignored_line;
use super::{SubmittedConfig, Validation, WorkerConfig, config_error_key, stripped};
use crate::plugins::Plugins;

/// What happens to a record that cannot be converted or transformed (`errors.*`, KIP-298).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorHandling {
    /// `errors.tolerance`
    pub(crate) tolerance: Tolerance,
    /// `errors.retry.timeout`: how long what may pass is tried again; none is for ever.
    pub(crate) retry_timeout: Option<Duration>,
    /// `errors.retry.delay.max.ms`
    pub(crate) retry_delay_max: Duration,
    /// `errors.log.enable`
    pub(crate) log: bool,
    /// `errors.log.include.messages`: whether the log line names topic-partition, offset and timestamp. Never payload.
    pub(crate) log_messages: bool,
}

/// `errors.tolerance`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// A bad record fails its task.
    None,
    /// A bad record is skipped and counted.
    All,
}

/// A connector's configuration, parsed, with its converters and transforms made.
#[derive(Debug)]
pub(crate) struct ConnectorConfig {
    pub(crate) sink: Arc<dyn SinkConnector>,
    pub(crate) sink_config: ParsedConfig,
    pub(crate) tasks_max: u32,
    pub(crate) subscription: Subscription,
    pub(crate) consumer: ConsumerConfig,
    pub(crate) key_converter: (&'static str, Arc<dyn Converter>),
    pub(crate) value_converter: (&'static str, Arc<dyn Converter>),
    pub(crate) header_converter: (&'static str, Arc<dyn HeaderConverter>),
    pub(crate) chain: Chain,
    pub(crate) errors: ErrorHandling,
    /// One line for each key that is accepted and means nothing here.
    pub(crate) warnings: Vec<String>,
}

const ONE_OF_TOPICS: &str = "Must configure one of topics or topics.regex";

fn common_def(plugins: &Plugins) -> ConfigDef {
    let key = |name: &str, config_type, importance, doc: &str| ConfigKey::new(name, config_type, importance, doc);
    let converters: Vec<&str> = plugins.converters().iter().map(|plugin| plugin.info.class).collect();
    let header_converters: Vec<&str> = plugins
        .header_converters()
        .iter()
        .map(|plugin| plugin.info.class)
        .collect();
    ConfigDef::new()
        .key(
            key("name", ConfigType::String, Importance::High, "Name of the connector; unique.")
                .validator(Validator::new(check_name))
                .display("Connector name", Width::Medium),
        )
        .key(
            key("connector.class", ConfigType::String, Importance::High, "Class name or alias of the connector.")
                .display("Connector class", Width::Long),
        )
        .key(
            key("tasks.max", ConfigType::Int, Importance::High, "Most tasks of this connector. One task can use every call that its routes allow; more tasks spread the partitions over workers.")
                .default("1")
                .validator(Validator::between(1, 10_000))
                .display("Tasks max", Width::Short),
        )
        .key(
            key("key.converter", ConfigType::Class, Importance::Low, "Converter of record keys; the worker's if not set.")
                .optional()
                .recommended(converters.clone())
                .display("Key converter class", Width::Short),
        )
        .key(
            key("value.converter", ConfigType::Class, Importance::Low, "Converter of record values; the worker's if not set.")
                .optional()
                .recommended(converters)
                .display("Value converter class", Width::Short),
        )
        .key(
            key("header.converter", ConfigType::Class, Importance::Low, "Converter of header values; the worker's if not set.")
                .optional()
                .recommended(header_converters)
                .display("Header converter class", Width::Short),
        )
        .key(
            key("config.action.reload", ConfigType::String, Importance::Low, "What follows a change of an outside configuration: `restart` or `none`.")
                .default("restart")
                .validator(Validator::one_of(&["none", "restart"]))
                .display("Reload Action", Width::Medium),
        )
}

fn error_def() -> ConfigDef {
    let key = |name: &str, config_type, doc: &str| {
        ConfigKey::new(name, config_type, Importance::Medium, doc).group("Error Handling")
    };
    ConfigDef::new()
        .key(
            key("errors.retry.timeout", ConfigType::Long, "How long a conversion or transform that may pass is tried again, in milliseconds; -1 is for ever.")
                .default("0")
                .validator(Validator::at_least(-1))
                .display("Retry Timeout for Errors", Width::Medium),
        )
        .key(
            key("errors.retry.delay.max.ms", ConfigType::Long, "Longest delay between two such tries, in milliseconds.")
                .default("60000")
                .validator(Validator::at_least(1))
                .display("Maximum Delay Between Retries for Errors", Width::Medium),
        )
        .key(
            key("errors.tolerance", ConfigType::String, "What happens to a record that cannot be converted or transformed: `none` fails the task, `all` skips the record.")
                .default("none")
                .validator(Validator::one_of(&["none", "all"]))
                .display("Error Tolerance", Width::Short),
        )
        .key(
            key("errors.log.enable", ConfigType::Boolean, "Whether each such record has a line in the log.")
                .default("false")
                .display("Log Errors", Width::Short),
        )
        .key(
            key("errors.log.include.messages", ConfigType::Boolean, "Whether the line names topic, partition, offset and timestamp of the record.")
                .default("false")
                .display("Log Error Details", Width::Short),
        )
}

fn sink_def() -> ConfigDef {
    ConfigDef::new()
        .key(
            ConfigKey::new("topics", ConfigType::List, Importance::High, "Topics to consume, with commas between them.")
                .default("")
                .display("Topics", Width::Long),
        )
        .key(
            ConfigKey::new("topics.regex", ConfigType::String, Importance::High, "Java regular expression that matches the whole name of each topic to consume.")
                .default("")
                .display("Topics regex", Width::Long),
        )
        .key(
            ConfigKey::new("errors.deadletterqueue.topic.name", ConfigType::String, Importance::Medium, "Topic for records that cannot be converted or transformed. Not supported by this version: leave it out.")
                .group("Error Handling")
                .default("")
                .validator(Validator::new(|topic| {
                    if topic.is_empty() {
                        Ok(())
                    } else {
                        Err("dead letter queues are not supported by this version: leave the key out; `errors.tolerance=none` \
                             keeps every record"
                            .to_owned())
                    }
                }))
                .display("Dead Letter Queue Topic Name", Width::Medium),
        )
}

/// The settings that every connector has, whatever its class.
#[must_use]
pub fn connector_config_def(plugins: &Plugins) -> ConfigDef {
    let keys = [
        common_def(plugins),
        klamm_smt::chain_config_def(),
        error_def(),
        sink_def(),
    ];
    ConfigDef::new().with(keys.iter().flat_map(|def| def.keys().iter().cloned()))
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("String may not be empty".to_owned());
    }
    let control: Vec<String> = name
        .chars()
        .filter(|c| (*c as u32) < 32 || *c as u32 == 127)
        .map(|c| (c as u32).to_string())
        .collect();
    if control.is_empty() {
        return Ok(());
    }
    Err(format!(
        "String may not contain control sequences but had the following ASCII chars: {}",
        control.join(", ")
    ))
}

/// The consumer group of a connector: `connect-<name>`, or what `consumer.override.group.id` says.
pub(crate) fn effective_group_id(name: &str, raw: &RawConfig, worker: &WorkerConfig) -> String {
    let own = raw
        .get("consumer.override.group.id")
        .cloned()
        .or_else(|| worker.consumer().get("group.id").cloned());
    own.unwrap_or_else(|| format!("connect-{name}"))
}

/// Checks a whole configuration and makes what it names. One way for `validate`, for creation and for the start of the
/// connector, so that none of them accepts what another refuses.
struct Check<'a> {
    raw: &'a RawConfig,
    worker: &'a WorkerConfig,
    plugins: &'a Plugins,
    validation: Validation,
    /// One line for each key that is accepted and means nothing here.
    warnings: Vec<String>,
}

impl ConnectorConfig {
    /// What is right and wrong with a configuration. A value that is null is an error of its key.
    ///
    /// # Errors
    /// The connector class is missing or unknown, so that nothing else can be said.
    pub(crate) fn validate(
        submitted: &SubmittedConfig,
        worker: &WorkerConfig,
        plugins: &Plugins,
    ) -> Result<Validation, String> {
        let raw = submitted
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
            .collect();
        let (mut validation, _) = Self::check(&raw, worker, plugins)?;
        for (key, _) in submitted
            .iter()
            .filter(|(_, value)| value.as_deref().is_some_and(names_a_provider))
        {
            // As a literal it would reach whoever takes the secret.
            validation.error(
                key,
                "config providers (`${provider:…}`) are not supported by this version: give the value itself",
            );
        }
        for (key, _) in submitted.iter().filter(|(_, value)| value.is_none()) {
            validation.error(key, "Null value can not be supplied as the configuration value.");
        }
        Ok(validation)
    }

    /// The parsed configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, a line each.
    pub(crate) fn parse(raw: &RawConfig, worker: &WorkerConfig, plugins: &Plugins) -> Result<Self, String> {
        let (validation, config) = Self::check(raw, worker, plugins)?;
        match (validation.check(), config) {
            (Ok(()), Some(config)) => Ok(config),
            (Ok(()), None) => Err("the configuration is incomplete".to_owned()),
            (Err(errors), _) => {
                let lines: Vec<String> = errors.as_slice().iter().map(ToString::to_string).collect();
                Err(lines.join("\n"))
            }
        }
    }

    fn check(raw: &RawConfig, worker: &WorkerConfig, plugins: &Plugins) -> Result<(Validation, Option<Self>), String> {
        let class = raw
            .get("connector.class")
            .map(|class| class.trim())
            .filter(|class| !class.is_empty());
        let class = class.ok_or("Connector config contains no connector type: set `connector.class`")?;
        let sink = plugins.sink(class).ok_or_else(|| {
            format!(
                "Failed to find any class that implements Connector and which name matches {class}, available connectors \
                 are: {}",
                plugins.sink_classes()
            )
        })?;
        let mut check = Check {
            raw,
            worker,
            plugins,
            validation: Validation::default(),
            warnings: Vec::new(),
        };
        let config = check.run(sink);
        Ok((check.validation, config))
    }
}

/// Checks what the worker sets for all its connectors: converters and consumers.
///
/// # Errors
/// Everything that is wrong, under the worker's keys.
pub(super) fn check_worker(worker: &WorkerConfig, plugins: &Plugins) -> Result<(), ConfigErrors> {
    let raw = RawConfig::new();
    let mut check = Check {
        raw: &raw,
        worker,
        plugins,
        validation: Validation::default(),
        warnings: Vec::new(),
    };
    check.converter("key.converter", ConverterRole::Key);
    check.converter("value.converter", ConverterRole::Value);
    check.header_converter();
    check.consumer();
    check.validation.check()
}

impl Check<'_> {
    fn run(&mut self, sink: &Arc<dyn SinkConnector>) -> Option<ConnectorConfig> {
        let common = self.add(&common_def(self.plugins));
        self.add(&klamm_smt::chain_config_def());
        let errors = self.add(&error_def());
        let topics = self.add(&sink_def());
        let chain = self.chain();
        let key_converter = self.converter("key.converter", ConverterRole::Key);
        let value_converter = self.converter("value.converter", ConverterRole::Value);
        let header_converter = self.header_converter();
        let consumer = self.consumer();
        let subscription = self.subscription(&topics);

        let def = sink.config_def(self.raw);
        let sink_config = self.add(&def);
        for error in sink.validate(self.raw, &sink_config) {
            self.validation.error(&error.key, error.message);
        }
        Some(ConnectorConfig {
            warnings: std::mem::take(&mut self.warnings),
            sink: Arc::clone(sink),
            sink_config,
            tasks_max: common.usize("tasks.max").and_then(|tasks| u32::try_from(tasks).ok())?,
            subscription: subscription?,
            consumer: consumer?,
            key_converter: key_converter?,
            value_converter: value_converter?,
            header_converter: header_converter?,
            chain: chain?,
            errors: ErrorHandling {
                tolerance: match errors.str("errors.tolerance") {
                    Some(text) if text.eq_ignore_ascii_case("all") => Tolerance::All,
                    _ => Tolerance::None,
                },
                retry_timeout: errors.millis("errors.retry.timeout"),
                retry_delay_max: errors
                    .millis("errors.retry.delay.max.ms")
                    .unwrap_or(Duration::from_secs(60)),
                log: errors.bool("errors.log.enable").unwrap_or_default(),
                log_messages: errors.bool("errors.log.include.messages").unwrap_or_default(),
            },
        })
    }

    fn add(&mut self, def: &ConfigDef) -> ParsedConfig {
        let evaluated = def.evaluate(self.raw);
        self.validation.add("", None, &evaluated);
        evaluated.parsed
    }

    fn chain(&mut self) -> Option<Chain> {
        let evaluation = klamm_smt::evaluate(self.raw, self.plugins.transforms(), self.plugins.predicates());
        for key in evaluation.keys {
            self.validation.add_key(key.key, key.group, key.value, key.errors);
        }
        self.validation.errors("", evaluation.errors);
        evaluation.chain
    }

    fn converter(&mut self, key: &'static str, role: ConverterRole) -> Option<(&'static str, Arc<dyn Converter>)> {
        let (class, settings, listed) = self.named(key)?;
        let Some(plugin) = self.plugins.converter(&class) else {
            let known: Vec<&str> = self
                .plugins
                .converters()
                .iter()
                .map(|plugin| plugin.info.class)
                .collect();
            self.unknown_class(key, &class, &known);
            return None;
        };
        let (def, info, create) = ((plugin.config_def)(), plugin.info.clone(), plugin.create);
        let parsed = self.plugin_settings(key, listed, &def, &settings)?;
        match create(&parsed, role) {
            Ok(converter) => Some((info.class, converter)),
            Err(errors) => self.plugin_errors(key, errors),
        }
    }

    fn header_converter(&mut self) -> Option<(&'static str, Arc<dyn HeaderConverter>)> {
        let key = "header.converter";
        let (class, settings, listed) = self.named(key)?;
        let Some(plugin) = self.plugins.header_converter(&class) else {
            let known: Vec<&str> = self
                .plugins
                .header_converters()
                .iter()
                .map(|plugin| plugin.info.class)
                .collect();
            self.unknown_class(key, &class, &known);
            return None;
        };
        let (def, info, create) = ((plugin.config_def)(), plugin.info.clone(), plugin.create);
        let parsed = self.plugin_settings(key, listed, &def, &settings)?;
        match create(&parsed) {
            Ok(converter) => Some((info.class, converter)),
            Err(errors) => self.plugin_errors(key, errors),
        }
    }

    /// Class and settings of a converter: the connector's own if it names a class, else the worker's. Never mixed, as
    /// in Connect. The flag says whether the settings are the connector's, to be listed in a validation.
    fn named(&self, key: &str) -> Option<(String, RawConfig, bool)> {
        let own = self.raw.get(key).filter(|class| !class.trim().is_empty());
        let (class, from, listed) = match own {
            Some(class) => (class, self.raw, true),
            None => (self.worker.raw.get(key)?, &self.worker.raw, false),
        };
        Some((class.trim().to_owned(), stripped(from, &format!("{key}.")), listed))
    }

    fn unknown_class(&mut self, key: &str, class: &str, known: &[&str]) {
        let message = format!(
            "Invalid value {class} for configuration {key}: Class {class} could not be found, available are: {}",
            known.join(", ")
        );
        self.validation.error(key, message);
    }

    fn plugin_settings(
        &mut self,
        key: &str,
        listed: bool,
        def: &ConfigDef,
        settings: &RawConfig,
    ) -> Option<ParsedConfig> {
        let prefix = format!("{key}.");
        let evaluated = def.evaluate(settings);
        if listed {
            self.validation.add(&prefix, None, &evaluated);
        } else {
            self.validation.errors(&prefix, evaluated.errors());
        }
        evaluated.errors().is_empty().then_some(evaluated.parsed)
    }

    fn plugin_errors<T>(&mut self, key: &str, errors: ConfigErrors) -> Option<T> {
        self.validation.errors(&format!("{key}."), errors);
        None
    }

    fn consumer(&mut self) -> Option<ConsumerConfig> {
        let name = self.raw.get("name").map(|name| name.trim()).unwrap_or_default();
        let overrides = stripped(self.raw, "consumer.override.");
        let mut settings = RawConfig::from([
            ("group.id".to_owned(), format!("connect-{name}")),
            ("client.id".to_owned(), format!("connector-consumer-{name}")),
        ]);
        settings.extend(self.worker.consumer());
        settings.extend(overrides.clone());
        for key in overrides.keys().filter(|key| is_connection_setting(key)) {
            self.validation.error(
                &format!("consumer.override.{key}"),
                "a connection of a connector's own is not supported by this version: set it on the worker, without \
                 `consumer.override.`",
            );
        }
        match ConsumerConfig::from_properties(&settings) {
            Ok((consumer, ignored)) => {
                let overridden = ignored
                    .into_iter()
                    .filter(|ignored| overrides.contains_key(&ignored.key));
                self.warnings
                    .extend(overridden.map(|ignored| ignored_line("consumer.override.", &ignored)));
                Some(consumer)
            }
            Err(error) => {
                let key = config_error_key(&error);
                let prefix = if overrides.contains_key(&key) {
                    "consumer.override."
                } else {
                    "consumer."
                };
                self.validation.error(&format!("{prefix}{key}"), error.to_string());
                None
            }
        }
    }

    fn subscription(&mut self, parsed: &ParsedConfig) -> Option<Subscription> {
        let topics: Vec<&String> = parsed.list("topics").iter().filter(|topic| !topic.is_empty()).collect();
        let regex = parsed.str("topics.regex").unwrap_or_default();
        match (topics.is_empty(), regex.is_empty()) {
            (true, true) => {
                self.validation.error("topics", ONE_OF_TOPICS);
                self.validation.error("topics.regex", ONE_OF_TOPICS);
                None
            }
            (false, false) => {
                let message =
                    "topics and topics.regex are mutually exclusive options, but both are set: keep one of them";
                self.validation.error("topics", message);
                self.validation.error("topics.regex", message);
                None
            }
            (false, true) => Some(Subscription::topics(topics.into_iter().map(String::as_str))),
            (true, false) => match Subscription::pattern(regex) {
                Ok(subscription) => Some(subscription),
                Err(error) => {
                    self.validation.error("topics.regex", error.to_string());
                    None
                }
            },
        }
    }
}

/// Whether the value refers to a config provider (KIP-297): `${provider:[path:]key}`.
fn names_a_provider(value: &str) -> bool {
    value
        .split("${")
        .skip(1)
        .any(|rest| rest.split_once('}').is_some_and(|(inside, _)| inside.contains(':')))
}

/// Settings that belong to the connection, which all connectors of a worker share.
fn is_connection_setting(key: &str) -> bool {
    key == "bootstrap.servers"
        || ["security.", "sasl.", "ssl."]
            .iter()
            .any(|prefix| key.starts_with(prefix))
}
