use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::delivery::ErrorPolicy;
use klamm_connect_api::sink::{Predicates, PreflightError, SinkConnector, SinkContext};
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, Converter, ConverterRole, HeaderConverter, ParsedConfig, PluginInfo,
    RawConfig,
};
use klamm_kafka::{ClientConfig, ConsumerConfig, ProducerConfig, Subscription, UnknownKey};
use klamm_smt::Chain;

use super::definition::{KEY_FORMAT, VALUE_FORMAT, common_def, error_def, sink_def};
use super::format::{self, InputFormat};
use super::letters::{self, LettersConfig, ReportConfig, report_def};
use super::providers::has_reference;
use super::warnings;
use super::worker::ignored_line;
use super::{Secrets, SubmittedConfig, Validation, WorkerConfig, config_error_key, stripped};
use crate::herder::RestartPolicy;
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
    /// A bad record goes to the dead letter queue; without one it is skipped and counted.
    All,
}

/// A plugin with its class.
pub(crate) type Made<T> = (&'static str, Arc<T>);

/// A connector's configuration, parsed, with its converters and transforms made.
#[derive(Debug)]
pub(crate) struct ConnectorConfig {
    pub(crate) sink: Arc<dyn SinkConnector>,
    pub(crate) sink_config: ParsedConfig,
    pub(crate) tasks_max: u32,
    pub(crate) restart: RestartPolicy,
    pub(crate) subscription: Subscription,
    /// Where it reads: the worker's cluster, unless `consumer.*` says otherwise.
    pub(crate) client: ClientConfig,
    pub(crate) consumer: ConsumerConfig,
    pub(crate) key_converter: Made<dyn Converter>,
    pub(crate) value_converter: Made<dyn Converter>,
    pub(crate) header_converter: Made<dyn HeaderConverter>,
    pub(crate) chain: Chain,
    /// Those that `predicates` declares, for transforms and for the sink.
    pub(crate) predicates: Predicates,
    pub(crate) errors: ErrorHandling,
    pub(crate) letters: LettersConfig,
    /// One line for each key that is accepted and means nothing here.
    pub(crate) warnings: Vec<String>,
}

const DEAD_LETTER_TOPIC: &str = "errors.deadletterqueue.topic.name";
/// `bootstrap.servers` of reports, under Confluent's name.
pub(super) const REPORTER_SERVERS: &str = "reporter.bootstrap.servers";
const ONE_OF_TOPICS: &str = "Must configure one of topics or topics.regex";

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
    /// Whether somebody looks at the versions of schemas: converters look them up then, unless told not to.
    shows_versions: bool,
}

/// Setting of converters that would have to ask for a schema's version.
const VERSION_LOOKUP: &str = "schema.version.lookup";

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
        let (mut validation, _) = Self::check(&given(submitted), worker, plugins)?;
        check_values(submitted, &mut validation);
        Ok(validation)
    }

    /// The parsed configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, a line each, without secrets.
    pub(crate) fn parse(raw: &RawConfig, worker: &WorkerConfig, plugins: &Plugins) -> Result<Self, String> {
        let (mut validation, config) = Self::check(raw, worker, plugins)?;
        validation.mask(&Secrets::of(raw, plugins));
        match (validation.check(), config) {
            (Ok(()), Some(config)) => Ok(config),
            (Ok(()), None) => Err("the configuration is incomplete".to_owned()),
            (Err(errors), _) => {
                let lines: Vec<String> = errors.as_slice().iter().map(ToString::to_string).collect();
                Err(lines.join("\n"))
            }
        }
    }

    /// Where a connector reads, and in which consumer group, whatever else its configuration says.
    ///
    /// # Errors
    /// What is wrong with its client settings, without secrets.
    pub(crate) fn group(
        connector: &str,
        raw: &RawConfig,
        worker: &WorkerConfig,
        plugins: &Plugins,
    ) -> Result<(ClientConfig, String), String> {
        let mut check = Check {
            raw,
            worker,
            plugins,
            validation: Validation::default(),
            warnings: Vec::new(),
            shows_versions: false,
        };
        let client = check.connection(ClientRole::Consumer);
        check.validation.mask(&Secrets::of(raw, plugins));
        check.validation.check().map_err(|errors| errors.to_string())?;
        let client = client.ok_or("the client settings are incomplete")?;
        Ok((client, effective_group_id(connector, raw, worker)))
    }

    /// What the sink learns from its destinations about this configuration, if it asks for that.
    pub(crate) async fn preflight(&self, connector: &str, task: u32, raw: &RawConfig) -> Vec<PreflightError> {
        self.sink.preflight(self.sink_context(connector, task, raw)).await
    }

    /// What the sink is opened with.
    pub(crate) fn sink_context<'a>(&'a self, connector: &'a str, task: u32, raw: &'a RawConfig) -> SinkContext<'a> {
        SinkContext {
            connector,
            task,
            raw,
            config: &self.sink_config,
            predicates: &self.predicates,
            bootstrap_servers: &self.client.bootstrap_servers,
            keeps_results: self.letters.keeps_results(),
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
            shows_versions: false,
        };
        let config = check.run(sink);
        let mut validation = check.validation;
        let lines = config.as_ref().map_or(&check.warnings, |config| &config.warnings);
        validation.warn(lines.iter().map(|line| warnings::of_line(line)));
        validation.warn(sink.notices(raw));
        if let Some(config) = &config {
            validation.warn(warnings::across_keys(raw, config));
        }
        Ok((validation, config))
    }
}

/// The converters and transforms of a configuration: what a preview needs.
#[derive(Debug)]
pub(crate) struct Conversion {
    pub(crate) key_converter: ConfiguredConverter,
    pub(crate) value_converter: ConfiguredConverter,
    pub(crate) header_converter: Arc<dyn HeaderConverter>,
    pub(crate) chain: Chain,
    /// Settings that change nothing.
    pub(crate) warnings: Vec<String>,
}

/// A converter, and whether it is the worker's because the connector names none.
#[derive(Debug)]
pub(crate) struct ConfiguredConverter {
    pub(crate) converter: Arc<dyn Converter>,
    pub(crate) is_workers: bool,
}

impl Conversion {
    fn defs(plugins: &Plugins) -> [ConfigDef; 3] {
        [common_def(plugins), klamm_smt::chain_config_def(), error_def()]
    }

    /// The settings that count here.
    pub(crate) fn settings(mut submitted: SubmittedConfig, plugins: &Plugins) -> SubmittedConfig {
        let prefixes = [
            "transforms.",
            "predicates.",
            "key.converter.",
            "value.converter.",
            "header.converter.",
        ];
        let defs = Self::defs(plugins);
        let has_format = submitted.contains_key(KEY_FORMAT) || submitted.contains_key(VALUE_FORMAT);
        submitted.retain(|key, _| {
            let is_defined = defs
                .iter()
                .flat_map(ConfigDef::keys)
                .any(|defined| defined.name == *key);
            is_defined || prefixes.iter().any(|prefix| key.starts_with(prefix)) || has_format && format::is_shared(key)
        });
        submitted
    }

    /// The settings that refer to config providers and are no transform's: what transforms are given shows in outcomes.
    pub(crate) fn outside_references(submitted: &SubmittedConfig) -> impl Iterator<Item = &String> {
        let is_transform = |key: &str| key.starts_with("transforms") || key.starts_with("predicates");
        let outside = submitted
            .iter()
            .filter(move |(key, value)| !is_transform(key) && value.as_deref().is_some_and(has_reference));
        outside.map(|(key, _)| key)
    }

    /// Reads them, and checks the settings that every connector has. What belongs to the sink or to Kafka is left alone.
    ///
    /// # Errors
    /// Everything that is wrong, secrets masked.
    pub(crate) fn parse(
        submitted: &SubmittedConfig,
        worker: &WorkerConfig,
        plugins: &Plugins,
    ) -> Result<Self, ConfigErrors> {
        let submitted = Self::settings(submitted.clone(), plugins);
        let raw = given(&submitted);
        let mut check = Check {
            raw: &raw,
            worker,
            plugins,
            validation: Validation::default(),
            warnings: Vec::new(),
            shows_versions: true,
        };
        for def in Self::defs(plugins) {
            // A name is needed to run, not to preview.
            let keys = def
                .keys()
                .iter()
                .filter(|key| !key.required || raw.contains_key(&key.name));
            check.add(&ConfigDef::new().with(keys.cloned()));
        }
        let (chain, _) = check.chain();
        let key_converter = check.converter("key.converter", ConverterRole::Key);
        let value_converter = check.converter("value.converter", ConverterRole::Value);
        let header_converter = check.header_converter();
        let (mut validation, warnings) = (check.validation, check.warnings);
        check_values(&submitted, &mut validation);
        validation.mask(&Secrets::of(&raw, plugins));
        validation.check()?;
        let is_workers = |class: &str, format: &str| !raw.contains_key(class) && !raw.contains_key(format);
        match (key_converter, value_converter, header_converter, chain) {
            (Some((_, key)), Some((_, value)), Some((_, header_converter)), Some(chain)) => Ok(Self {
                key_converter: ConfiguredConverter {
                    converter: key,
                    is_workers: is_workers("key.converter", KEY_FORMAT),
                },
                value_converter: ConfiguredConverter {
                    converter: value,
                    is_workers: is_workers("value.converter", VALUE_FORMAT),
                },
                header_converter,
                chain,
                warnings,
            }),
            _ => Err(ConfigError::new("", "the configuration is incomplete").into()),
        }
    }
}

/// The entries that have a value.
fn given(submitted: &SubmittedConfig) -> RawConfig {
    let given = submitted.iter();
    given
        .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
        .collect()
}

/// Puts errors at values that mean nothing, whatever their keys.
fn check_values(submitted: &SubmittedConfig, validation: &mut Validation) {
    for (key, _) in submitted.iter().filter(|(_, value)| value.is_none()) {
        validation.error(key, "Null value can not be supplied as the configuration value.");
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
        shows_versions: false,
    };
    check.converter("key.converter", ConverterRole::Key);
    check.converter("value.converter", ConverterRole::Value);
    check.header_converter();
    check.connection(ClientRole::Consumer);
    check.consumer();
    check.producer();
    check.validation.check()
}

impl Check<'_> {
    fn run(&mut self, sink: &Arc<dyn SinkConnector>) -> Option<ConnectorConfig> {
        let common = self.add(&common_def(self.plugins));
        self.add(&klamm_smt::chain_config_def());
        self.validation.set_version("connector", sink.info().version);
        for converter in ["key.converter", "value.converter", "header.converter"] {
            if let Some(class) = self.worker.raw.get(converter) {
                self.validation.set_default(converter, class);
            }
        }
        let errors = self.add(&error_def());
        let topics = self.add(&sink_def());
        let (chain, predicates) = self.chain();
        let key_converter = self.converter("key.converter", ConverterRole::Key);
        let value_converter = self.converter("value.converter", ConverterRole::Value);
        let header_converter = self.header_converter();
        self.overrides();
        let client = self.connection(ClientRole::Consumer);
        let consumer = self.consumer();
        let producer = self.producer();
        let subscription = self.subscription(&topics);
        let letters = self.letters(&topics, producer, subscription.as_ref());

        let def = sink.config_def(self.raw);
        let sink_config = self.add(&def);
        for error in sink.validate(self.raw, &sink_config) {
            self.validation.error(&error.key, error.message);
        }
        let names_a_place = letters.keeps_failures() || self.names_a_destination();
        if let Some(key) = ErrorPolicy::dead_letter_key(&sink_config).filter(|_| !names_a_place) {
            let destinations = self.plugins.failure_destinations().iter();
            let others: String = destinations.map(|kind| format!(" or `{}`", kind.key())).collect();
            let message = format!(
                "`{key}=dlq` needs a place for the records that are given up: set `{DEAD_LETTER_TOPIC}`{others}"
            );
            self.validation.error(DEAD_LETTER_TOPIC, message);
        }
        Some(ConnectorConfig {
            warnings: std::mem::take(&mut self.warnings),
            sink: Arc::clone(sink),
            sink_config,
            tasks_max: common.usize("tasks.max").and_then(|tasks| u32::try_from(tasks).ok())?,
            restart: match common.str("task.restart.policy")? {
                "backoff" => RestartPolicy::Backoff,
                _ => RestartPolicy::None,
            },
            subscription: subscription?,
            client: client?,
            consumer: consumer?,
            key_converter: key_converter?,
            value_converter: value_converter?,
            header_converter: header_converter?,
            chain: chain?,
            predicates,
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
            letters,
        })
    }

    /// What is kept of records, and where.
    fn letters(
        &mut self,
        sink_keys: &ParsedConfig,
        producer: Option<(ClientConfig, ProducerConfig)>,
        subscription: Option<&Subscription>,
    ) -> LettersConfig {
        let reports = self.add(&report_def());
        let connector = self.raw.get("name").map(|name| name.trim()).unwrap_or_default();
        let mut config = LettersConfig {
            has_context_headers: sink_keys
                .bool("errors.deadletterqueue.context.headers.enable")
                .unwrap_or_default(),
            ..LettersConfig::default()
        };
        for kind in self.plugins.failure_destinations() {
            let parsed = self.add(&kind.config_def());
            match kind.open(self.raw, &parsed) {
                Ok(destination) => config.destinations.extend(destination),
                Err(errors) => {
                    for error in errors {
                        self.validation.error(&error.key, error.message);
                    }
                }
            }
        }
        if let Some((client, producer)) = &producer {
            let by = (client, producer);
            config.dead_letters = letters::topic(sink_keys, "errors.deadletterqueue.topic", connector, by);
            config.forward =
                letters::topic(&reports, "results.forward.topic", connector, by).map(|topic| ReportConfig {
                    topic,
                    // The key is the source's, byte for byte.
                    key_format: letters::ReportFormat::String,
                    value_format: letters::format(&reports, "results.forward.value.format"),
                });
        }
        if ["reporter.result.topic.name", "reporter.error.topic.name"]
            .iter()
            .any(|key| reports.str(key).is_some_and(|name| !name.trim().is_empty()))
            && let Some((client, producer)) = self.reporter()
        {
            let report = |settings: &'static str| {
                letters::topic(&reports, settings, connector, (&client, &producer)).map(|topic| ReportConfig {
                    topic,
                    key_format: letters::format(&reports, &format!("{settings}.key.format")),
                    value_format: letters::format(&reports, &format!("{settings}.value.format")),
                })
            };
            config.results = report("reporter.result.topic");
            config.errors = report("reporter.error.topic");
        }
        self.check_reports();
        if let Some(dead) = &config.dead_letters {
            self.dead_letters_are_no_input(&dead.topic, sink_keys, subscription);
        }
        for report in [&config.results, &config.errors, &config.forward].into_iter().flatten() {
            let topic = &report.topic;
            if subscription.is_some_and(|subscription| subscription.includes(&topic.topic)) {
                let message = format!(
                    "topic `{}` is also an input of the connector, so that what is written there would come back: name another \
                     topic, or take it out of `topics`",
                    topic.topic
                );
                self.validation.error(&format!("{}.name", topic.settings), message);
            }
        }
        config
    }

    /// Settings of Confluent's reporter that would change what is written.
    fn check_reports(&mut self) {
        for (key, value) in self.raw {
            let is_schemas = key.starts_with("reporter.") && key.ends_with(".format.schemas.enable");
            if is_schemas && !value.trim().eq_ignore_ascii_case("false") {
                let message = "reports are JSON without schemas: leave this out, or set `false`";
                self.validation.error(key, message);
            }
        }
    }

    /// Whether a destination beside the dead letter queue is named, rightly or not.
    fn names_a_destination(&self) -> bool {
        let mut kinds = self.plugins.failure_destinations().iter();
        kinds.any(|kind| self.raw.get(kind.key()).is_some_and(|name| !name.trim().is_empty()))
    }

    fn add(&mut self, def: &ConfigDef) -> ParsedConfig {
        let evaluated = def.evaluate(self.raw);
        self.validation.add("", None, &evaluated);
        evaluated.parsed
    }

    fn chain(&mut self) -> (Option<Chain>, Predicates) {
        let evaluation = klamm_smt::evaluate(self.raw, self.plugins.transforms(), self.plugins.predicates());
        for key in evaluation.keys {
            self.validation.add_key(key.key, key.group, key.value, key.errors);
        }
        self.validation.errors("", evaluation.errors);
        self.warnings.extend(evaluation.warnings);
        (evaluation.chain, evaluation.predicates)
    }

    fn converter(&mut self, key: &'static str, role: ConverterRole) -> Option<Made<dyn Converter>> {
        let plugins = self.plugins;
        let (class, mut settings, listed) = self.named(key)?;
        let Some(plugin) = plugins.converter(&class) else {
            return self.unknown_class(key, &class, plugins.converters().iter().map(|plugin| &plugin.info));
        };
        if listed {
            self.check_format(key, plugin.info.class);
        }
        let def = (plugin.config_def)();
        if self.shows_versions && def.keys().iter().any(|defined| defined.name == VERSION_LOOKUP) {
            let lookup = settings.entry(VERSION_LOOKUP.to_owned());
            lookup.or_insert_with(|| "true".to_owned());
        }
        let parsed = self.plugin_settings(key, listed, &def, &settings)?;
        self.made(key, &plugin.info, (plugin.create)(&parsed, role))
    }

    fn header_converter(&mut self) -> Option<Made<dyn HeaderConverter>> {
        let (key, plugins) = ("header.converter", self.plugins);
        let (class, settings, listed) = self.named(key)?;
        let Some(plugin) = plugins.header_converter(&class) else {
            return self.unknown_class(
                key,
                &class,
                plugins.header_converters().iter().map(|plugin| &plugin.info),
            );
        };
        let parsed = self.plugin_settings(key, listed, &(plugin.config_def)(), &settings)?;
        self.made(key, &plugin.info, (plugin.create)(&parsed))
    }

    /// Class and settings of a converter: the connector's own if it names a class, else the worker's. Never mixed, as
    /// in Connect. The flag says whether the settings are the connector's, to be listed in a validation.
    fn named(&self, key: &str) -> Option<(String, RawConfig, bool)> {
        // An empty class is one that is not there, not a wish for the worker's: as in Connect.
        let (class, from, listed) = match (self.raw.get(key), self.format(key)) {
            (Some(class), _) => (class, self.raw, true),
            (None, Some((_, format))) => {
                let settings = format.settings(key, self.raw, &self.worker.raw);
                return Some((format.class().to_owned(), settings, true));
            }
            (None, None) => (self.worker.raw.get(key)?, &self.worker.raw, false),
        };
        Some((class.trim().to_owned(), stripped(from, &format!("{key}.")), listed))
    }

    /// Cloud's format for the converter, with its key.
    fn format(&self, converter: &str) -> Option<(&'static str, InputFormat)> {
        let key = match converter {
            "key.converter" => KEY_FORMAT,
            "value.converter" => VALUE_FORMAT,
            _ => return None,
        };
        InputFormat::of(self.raw.get(key)?).map(|format| (key, format))
    }

    /// A class goes before a format, but they may not say different things.
    fn check_format(&mut self, converter: &str, class: &str) {
        let Some((key, format)) = self.format(converter) else {
            return;
        };
        let means = self.plugins.converter(format.class()).map(|plugin| plugin.info.class);
        if means == Some(class) {
            return;
        }
        let name = self.raw.get(key).map(String::as_str).unwrap_or_default();
        self.validation.error(
            key,
            format!(
                "{} is read by {}, and `{converter}` is {class}: leave one of them out",
                name.trim(),
                format.class()
            ),
        );
    }

    fn unknown_class<'p, T>(
        &mut self,
        key: &str,
        class: &str,
        known: impl Iterator<Item = &'p PluginInfo>,
    ) -> Option<T> {
        let known: Vec<&str> = known.map(|info| info.class).collect();
        let message = format!(
            "Invalid value {class} for configuration {key}: Class {class} could not be found. Available are: {}",
            known.join(", ")
        );
        self.validation.error(key, message);
        self.validation.forget_value(key);
        None
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
            self.warnings.extend(warnings::unknown_settings(self.raw, &prefix, def));
            self.validation.add(&prefix, None, &evaluated);
        } else {
            self.validation.errors(&prefix, evaluated.errors());
        }
        evaluated.errors().is_empty().then_some(evaluated.parsed)
    }

    fn made<T: ?Sized>(
        &mut self,
        key: &str,
        info: &PluginInfo,
        created: Result<Arc<T>, ConfigErrors>,
    ) -> Option<Made<T>> {
        match created {
            Ok(converter) => {
                self.validation.set_version(key, info.version);
                Some((info.class, converter))
            }
            Err(errors) => {
                self.validation.errors(&format!("{key}."), errors);
                None
            }
        }
    }

    fn consumer(&mut self) -> Option<ConsumerConfig> {
        let name = self.raw.get("name").map(|name| name.trim()).unwrap_or_default();
        let mut settings = RawConfig::from([
            ("group.id".to_owned(), format!("connect-{name}")),
            ("client.id".to_owned(), format!("connector-consumer-{name}")),
        ]);
        let client = ClientRole::Consumer;
        settings.extend(client.set_by_worker(self.worker));
        settings.extend(client.set_by_connector(self.raw));
        let consumer = ConsumerConfig::from_properties(&settings);
        self.client_settings(client, consumer)
    }

    /// What connectors write to Kafka goes through this: dead letters and reports. Wrong settings are told when the
    /// connector is made, not with the first dead letter.
    fn producer(&mut self) -> Option<(ClientConfig, ProducerConfig)> {
        let client = ClientRole::Producer;
        let mut settings = client.set_by_worker(self.worker);
        settings.extend(client.set_by_connector(self.raw));
        let producer = ProducerConfig::from_properties(&settings);
        let producer = self.client_settings(client, producer);
        self.connection(client).zip(producer)
    }

    /// The producer of reports: as other producers of the connector, under `reporter.bootstrap.servers` and
    /// `reporter.producer.*`.
    fn reporter(&mut self) -> Option<(ClientConfig, ProducerConfig)> {
        let client = ClientRole::Reporter;
        let mut settings = client.set_by_worker(self.worker);
        settings.extend(client.set_by_connector(self.raw));
        let producer = ProducerConfig::from_properties(&settings);
        let producer = self.client_settings(client, producer);
        self.connection(client).zip(producer)
    }

    /// Where a client connects: as the worker does, unless the worker's or the connector's own settings for such clients
    /// say otherwise; the last one wins.
    fn connection(&mut self, client: ClientRole) -> Option<ClientConfig> {
        let mut own = client.set_by_worker(self.worker);
        own.extend(client.set_by_connector(self.raw));
        own.retain(|key, _| ClientConfig::is_connection_key(key));
        if own.is_empty() {
            return Some(self.worker.client.clone());
        }
        let mut settings = self.worker.client_settings().clone();
        settings.extend(own);
        let config = ClientConfig::from_properties(&settings).map(|(config, _)| (config, Vec::new()));
        self.client_settings(client, config)
    }

    /// The settings of a Kafka client, or why they are refused, under the key that the user wrote or would have to write.
    fn client_settings<T>(
        &mut self,
        client: ClientRole,
        parsed: Result<(T, Vec<UnknownKey>), klamm_kafka::ConfigError>,
    ) -> Option<T> {
        let overrides = client.own(self.raw);
        match parsed {
            Ok((config, ignored)) => {
                let overridden = ignored
                    .into_iter()
                    .filter(|ignored| overrides.contains_key(&ignored.key));
                self.warnings
                    .extend(overridden.map(|ignored| ignored_line(client.override_prefix(), &ignored)));
                Some(config)
            }
            Err(error) => {
                let key = config_error_key(&error);
                if client == ClientRole::Reporter {
                    // What reports share with other producers was told of those.
                    let own = if key == "bootstrap.servers" && self.raw.contains_key(REPORTER_SERVERS) {
                        Some(REPORTER_SERVERS.to_owned())
                    } else {
                        let is_own = overrides.contains_key(&key);
                        is_own.then(|| format!("{}{key}", client.override_prefix()))
                    };
                    if let Some(own) = own {
                        self.validation.error(&own, error.to_string());
                    }
                    return None;
                }
                let by_worker = client.set_by_worker(self.worker);
                let prefix = if overrides.contains_key(&key) {
                    client.override_prefix()
                } else if by_worker.contains_key(&key) {
                    client.prefix()
                } else if self.worker.client_settings().contains_key(&key) {
                    ""
                } else if !overrides.is_empty() {
                    client.override_prefix()
                } else {
                    client.prefix()
                };
                self.validation.error(&format!("{prefix}{key}"), error.to_string());
                None
            }
        }
    }

    fn overrides(&mut self) {
        for (key, reason) in self.worker.override_policy.refused(self.raw) {
            self.validation.error(&key, reason);
        }
    }

    /// A dead letter that comes back as an input goes round for ever. Connect's texts.
    fn dead_letters_are_no_input(&mut self, topic: &str, parsed: &ParsedConfig, subscription: Option<&Subscription>) {
        if !subscription.is_some_and(|subscription| subscription.includes(topic)) {
            return;
        }
        let regex = parsed.str("topics.regex").unwrap_or_default();
        if regex.is_empty() {
            let message = format!(
                "The DLQ topic '{topic}' may not be included in the list of topics ('topics=[{}]') consumed by the connector",
                parsed.list("topics").join(", ")
            );
            self.validation.error("topics", message);
        } else {
            let message = format!(
                "The DLQ topic '{topic}' may not be included in the regex matching topics ('topics.regex={regex}') consumed \
                 by the connector"
            );
            self.validation.error("topics.regex", message);
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
                let message = "topics and topics.regex are mutually exclusive options, but both are set.";
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

/// What a Kafka client of a connector is for; its settings have their own prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientRole {
    Consumer,
    Producer,
    /// A producer with settings of its own on top.
    Reporter,
}

impl ClientRole {
    /// Prefix of the worker's settings for all such clients.
    fn prefix(self) -> &'static str {
        match self {
            Self::Consumer => "consumer.",
            Self::Producer | Self::Reporter => "producer.",
        }
    }

    /// Prefix of a connector's own settings.
    fn override_prefix(self) -> &'static str {
        match self {
            Self::Consumer => "consumer.override.",
            Self::Producer => "producer.override.",
            Self::Reporter => "reporter.producer.",
        }
    }

    fn set_by_worker(self, worker: &WorkerConfig) -> RawConfig {
        stripped(&worker.raw, self.prefix())
    }

    /// What the connector sets for such clients alone.
    fn own(self, connector: &RawConfig) -> RawConfig {
        stripped(connector, self.override_prefix())
    }

    fn set_by_connector(self, connector: &RawConfig) -> RawConfig {
        let own = self.own(connector);
        if self != Self::Reporter {
            return own;
        }
        let mut settings = Self::Producer.set_by_connector(connector);
        settings.extend(own);
        let servers = connector
            .get(REPORTER_SERVERS)
            .filter(|servers| !servers.trim().is_empty());
        settings.extend(servers.map(|servers| ("bootstrap.servers".to_owned(), servers.clone())));
        settings
    }
}
