//! What a connector keeps of records: dead letters, reports, forwarded results.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::failures::FailureDestination;
use klamm_connect_api::{ConfigDef, ConfigKey, ConfigType, Importance, ParsedConfig};
use klamm_kafka::{ClientConfig, ProducerConfig};

/// A topic that a connector writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptTopic {
    pub(crate) topic: Arc<str>,
    /// If the topic has to be made.
    pub(crate) partitions: i32,
    /// If the topic has to be made.
    pub(crate) replication_factor: i16,
    /// The topic's settings begin with this.
    pub(crate) settings: &'static str,
    /// Where the topic is: the worker's cluster, unless settings of the producer say otherwise.
    pub(crate) client: ClientConfig,
    pub(crate) producer: ProducerConfig,
}

/// How a key or value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportFormat {
    String,
    Json,
}

/// A topic with what goes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportConfig {
    pub(crate) topic: KeptTopic,
    pub(crate) key_format: ReportFormat,
    pub(crate) value_format: ReportFormat,
}

/// Everything that a connector keeps.
#[derive(Debug, Clone, Default)]
pub(crate) struct LettersConfig {
    /// `errors.deadletterqueue.topic.*`
    pub(crate) dead_letters: Option<KeptTopic>,
    /// `errors.deadletterqueue.context.headers.enable`
    pub(crate) has_context_headers: bool,
    /// Destinations of failed records beside it.
    pub(crate) destinations: Vec<Arc<dyn FailureDestination>>,
    /// `reporter.result.topic.*`
    pub(crate) results: Option<ReportConfig>,
    /// `reporter.error.topic.*`
    pub(crate) errors: Option<ReportConfig>,
    /// `results.forward.*`
    pub(crate) forward: Option<ReportConfig>,
}

impl LettersConfig {
    /// Whether failed records have a place.
    pub(crate) fn keeps_failures(&self) -> bool {
        self.dead_letters.is_some() || !self.destinations.is_empty()
    }

    /// Whether what destinations answer has a place.
    pub(crate) fn keeps_results(&self) -> bool {
        self.results.is_some() || self.forward.is_some()
    }

    pub(crate) fn keeps_anything(&self) -> bool {
        self.keeps_failures() || self.keeps_results() || self.errors.is_some()
    }
}

const REPORTER: &str = "Reporter";

/// `reporter.*` and `results.*`
pub(super) fn report_def() -> ConfigDef {
    ConfigDef::new()
        .with([key(
            "reporter.bootstrap.servers",
            ConfigType::List,
            "Kafka brokers that reports go to. Default: the worker's, or what `producer.override.*` says. \
             `reporter.producer.*` are further settings of the producer.",
        )
        .optional()])
        .with(topic_keys(
            "reporter.result.topic",
            "what functions answer, one record for each record that was accepted",
        ))
        .with(format_keys("reporter.result.topic"))
        .with(topic_keys(
            "reporter.error.topic",
            "why records were given up under `behavior.on.error=log` or `dlq`",
        ))
        .with(format_keys("reporter.error.topic"))
        .with(topic_keys(
            "results.forward.topic",
            "what functions answer, with key, headers and timestamp of the record that it is about",
        ))
        .with([format_key(
            "results.forward.value.format",
            "`json`: the answer as it is; `string`: a JSON string without its quotes.",
            "json",
        )])
}

fn key(name: &str, config_type: ConfigType, doc: &str) -> ConfigKey {
    ConfigKey::new(name, config_type, Importance::Medium, doc).group(REPORTER)
}

fn topic_keys(prefix: &str, what: &str) -> [ConfigKey; 3] {
    [
        key(
            &format!("{prefix}.name"),
            ConfigType::String,
            &format!("Topic for {what}; `${{connector}}` is the connector's name. Empty: none."),
        )
        .default(""),
        key(
            &format!("{prefix}.replication.factor"),
            ConfigType::Short,
            "Replicas of that topic if it has to be made; -1 is the broker's default.",
        )
        .default("3")
        .validator(Validator::at_least(-1)),
        key(
            &format!("{prefix}.partitions"),
            ConfigType::Int,
            "Partitions of that topic if it has to be made.",
        )
        .default("1")
        .validator(Validator::between(1, 100_000)),
    ]
}

fn format_keys(prefix: &str) -> [ConfigKey; 2] {
    [
        format_key(
            &format!("{prefix}.key.format"),
            "The record's key: `string` as text, `json` as JSON.",
            "string",
        ),
        format_key(
            &format!("{prefix}.value.format"),
            "`string` or `json`: results are the same JSON text in both, an error is its message or a JSON object.",
            "string",
        ),
    ]
}

fn format_key(name: &str, doc: &str, default: &str) -> ConfigKey {
    key(name, ConfigType::String, doc)
        .default(default)
        .validator(Validator::one_of(&["string", "json"]))
        .recommended(["string", "json"])
}

/// A topic by its settings, for a connector of that name; none if it is not named.
pub(super) fn topic(
    parsed: &ParsedConfig,
    settings: &'static str,
    connector: &str,
    (client, producer): (&ClientConfig, &ProducerConfig),
) -> Option<KeptTopic> {
    let name = parsed.str(&format!("{settings}.name"))?.trim();
    let number = |setting: &str| parsed.int(&format!("{settings}.{setting}"));
    (!name.is_empty()).then(|| KeptTopic {
        topic: name.replace("${connector}", connector).into(),
        partitions: number("partitions")
            .and_then(|count| i32::try_from(count).ok())
            .unwrap_or(1),
        replication_factor: number("replication.factor")
            .and_then(|factor| i16::try_from(factor).ok())
            .unwrap_or(3),
        settings,
        client: client.clone(),
        producer: producer.clone(),
    })
}

/// A format by its setting.
pub(super) fn format(parsed: &ParsedConfig, key: &str) -> ReportFormat {
    match parsed.str(key) {
        Some(text) if text.eq_ignore_ascii_case("json") => ReportFormat::Json,
        _ => ReportFormat::String,
    }
}
