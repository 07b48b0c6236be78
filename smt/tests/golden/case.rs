//! One case: its configuration, its record, and what becomes of it.

use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::{
    ConfigErrors, Converter, ConverterRole, DataError, DataErrorKind, Datum, HeaderConverter, Origin, PluginInfo,
    RawConfig, Record, Rendering, TimestampType, TopicPartition,
};
use klamm_smt::{Chain, StageError};
use serde_json::Value as Json;

use crate::data::{bytes, data, same};

/// What became of a case.
#[derive(Debug)]
pub(crate) enum Outcome {
    Config(ConfigErrors),
    Convert { part: &'static str, error: DataError },
    Transform(StageError),
    Dropped,
    Record(Box<Record>),
}

pub(crate) fn run(case: &Json) -> Outcome {
    let config: RawConfig = case["config"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    match Task::build(&config) {
        Ok(task) => task.process(&case["record"]),
        Err(errors) => Outcome::Config(errors),
    }
}

/// Converters and chain of a case, as a sink task has them.
struct Task {
    key: Option<Arc<dyn Converter>>,
    value: Option<Arc<dyn Converter>>,
    header: Arc<dyn HeaderConverter>,
    chain: Chain,
}

fn answers_to(info: &PluginInfo, name: &str) -> bool {
    let simple = info.class.rsplit('.').next().unwrap();
    [info.class, simple].contains(&name) || simple.strip_suffix("Converter") == Some(name)
}

fn settings(config: &RawConfig, prefix: &str) -> RawConfig {
    config
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone())))
        .collect()
}

fn prefixed(errors: ConfigErrors, prefix: &str) -> ConfigErrors {
    let errors = errors.into_iter().map(|mut error| {
        error.key = format!("{prefix}{}", error.key);
        error
    });
    ConfigErrors::check(errors.collect()).unwrap_err()
}

fn unknown(key: &str, class: &str) -> ConfigErrors {
    klamm_connect_api::ConfigError::new(key, format!("Class {class} could not be found.")).into()
}

impl Task {
    fn build(config: &RawConfig) -> Result<Self, ConfigErrors> {
        let converter = |key: &str, role| {
            let Some(class) = config.get(key) else {
                return Ok(None);
            };
            let plugin = klamm_converters::converters()
                .into_iter()
                .find(|plugin| answers_to(&plugin.info, class))
                .ok_or_else(|| unknown(key, class))?;
            let prefix = format!("{key}.");
            (plugin.config_def)()
                .parse(&settings(config, &prefix))
                .and_then(|parsed| (plugin.create)(&parsed, role))
                .map(Some)
                .map_err(|errors| prefixed(errors, &prefix))
        };
        let class = config
            .get("header.converter")
            .map_or("SimpleHeaderConverter", String::as_str);
        let plugin = klamm_converters::header_converters()
            .into_iter()
            .find(|plugin| answers_to(&plugin.info, class))
            .ok_or_else(|| unknown("header.converter", class))?;
        let parsed = (plugin.config_def)()
            .parse(&settings(config, "header.converter."))
            .map_err(|errors| prefixed(errors, "header.converter."))?;
        Ok(Self {
            key: converter("key.converter", ConverterRole::Key)?,
            value: converter("value.converter", ConverterRole::Value)?,
            header: (plugin.create)(&parsed)?,
            chain: Chain::build(config, &klamm_smt::transforms(), &klamm_smt::predicates())?,
        })
    }

    fn process(&self, json: &Json) -> Outcome {
        let record = match self.convert(json) {
            Ok(record) => record,
            Err((part, error)) => return Outcome::Convert { part, error },
        };
        let origin = record.origin().clone();
        match self.chain.apply(record) {
            Ok(Some(record)) => {
                assert_eq!(record.origin(), &origin, "no transform changes the origin");
                Outcome::Record(Box::new(record))
            }
            Ok(None) => Outcome::Dropped,
            Err(error) => Outcome::Transform(error),
        }
    }

    fn convert(&self, json: &Json) -> Result<Record, (&'static str, DataError)> {
        let topic = json["topic"].as_str().unwrap();
        let partition = i32::try_from(json["partition"].as_i64().unwrap()).unwrap();
        let convert = |part, converter: &Option<Arc<dyn Converter>>| {
            let raw = raw(&json[part]);
            let datum = match (raw, converter) {
                (Err(datum), _) => Ok(datum),
                (Ok(bytes), Some(converter)) => converter.to_connect(topic, &[], bytes.as_ref()),
                (Ok(None), None) => Ok(Datum::NULL),
                (Ok(Some(_)), None) => panic!("bytes without a converter"),
            };
            decodes(datum).map_err(|error| (part, error))
        };
        let origin = Origin {
            topic_partition: TopicPartition::new(topic, partition),
            offset: json["offset"].as_i64().unwrap(),
        };
        let mut record = Record::new(origin, convert("key", &self.key)?, convert("value", &self.value)?);
        record.timestamp = json["timestamp"].as_i64();
        record.timestamp_type = timestamp_type(json);
        for header in json["headers"].as_array().unwrap() {
            let name = header["name"].as_str().unwrap();
            let datum = match raw(&header["value"]) {
                Err(datum) => Ok(datum),
                Ok(bytes) => self.header.to_connect_header(topic, name, bytes.as_ref()),
            };
            record
                .headers
                .add(name, decodes(datum).map_err(|error| ("headers", error))?);
        }
        Ok(record)
    }
}

/// A codec may report late what its converter left open.
fn decodes(datum: Result<Datum, DataError>) -> Result<Datum, DataError> {
    let datum = datum?;
    datum.decode()?;
    Ok(datum)
}

/// The bytes that a converter gets, or data that is there already.
fn raw(json: &Json) -> Result<Option<Bytes>, Datum> {
    match json.get("base64") {
        Some(base64) => Ok(Some(bytes(base64).into())),
        None if json.is_null() => Ok(None),
        None => Err(data(json).into()),
    }
}

fn timestamp_type(json: &Json) -> TimestampType {
    match json["timestampType"].as_str().unwrap() {
        "CREATE_TIME" => TimestampType::CreateTime,
        "LOG_APPEND_TIME" => TimestampType::LogAppendTime,
        "NO_TIMESTAMP_TYPE" => TimestampType::NoTimestampType,
        other => panic!("timestamp type {other}"),
    }
}

impl Outcome {
    /// How this differs from what a case expects; none if it does not.
    pub(crate) fn differs_from(&self, expect: &Json) -> Option<String> {
        let is_met = match self {
            Self::Dropped => expect["dropped"] == Json::Bool(true),
            Self::Record(record) => {
                if let Some(wanted) = expect.get("record") {
                    return record_differs(record, wanted);
                }
                expect["error"]["stage"] == "encode" && is_refused(record, &expect["error"])
            }
            Self::Config(errors) => {
                expect["error"]["stage"] == "config"
                    && expect["error"]["errors"]
                        .as_object()
                        .into_iter()
                        .flatten()
                        .all(|(key, _)| errors.as_slice().iter().any(|error| error.key == *key))
            }
            Self::Convert { part, error } => {
                expect["error"]["stage"] == "convert"
                    && expect["error"]["part"] == *part
                    && is_of_class(error, &expect["error"])
            }
            Self::Transform(failure) => {
                expect["error"]["stage"] == "transform"
                    && expect["error"]["transform"] == *failure.alias
                    && is_of_class(&failure.error, &expect["error"])
            }
        };
        (!is_met).then(|| format!("wanted {expect}, got {self:?}"))
    }
}

/// Classes of Java itself are accidents; those of Kafka count.
fn is_of_class(error: &DataError, expected: &Json) -> bool {
    let class = expected["class"].as_str().unwrap();
    class.starts_with("java.") || class == error.kind().java_class() || error.kind() == DataErrorKind::Other
}

/// Whether the part of the record that Connect cannot write cannot be written here either.
fn is_refused(record: &Record, error: &Json) -> bool {
    let cannot = |datum: &Datum| datum.write_json(Rendering::Connect, &mut Vec::new()).is_err();
    match error["part"].as_str().unwrap() {
        "key" => cannot(&record.key),
        "value" => cannot(&record.value),
        _ => record.headers.iter().any(|header| cannot(&header.value)),
    }
}

fn record_differs(record: &Record, wanted: &Json) -> Option<String> {
    let origin = record.origin();
    let differs =
        |what: &str, got: &dyn std::fmt::Debug, wanted: &Json| Some(format!("{what}: got {got:?}, wanted {wanted}"));
    if wanted["topic"] != *record.topic {
        return differs("topic", &record.topic, &wanted["topic"]);
    }
    if wanted
        .get("originalTopic")
        .is_some_and(|topic| topic != origin.topic_partition.topic())
    {
        return differs("origin", origin, &wanted["originalTopic"]);
    }
    if wanted["partition"].as_i64() != record.partition.map(i64::from) || wanted["offset"] != origin.offset {
        return differs("partition or offset", record, wanted);
    }
    if wanted["timestamp"].as_i64() != record.timestamp || record.timestamp_type != timestamp_type(wanted) {
        return differs("timestamp", &record.timestamp, &wanted["timestamp"]);
    }
    let headers = wanted["headers"].as_array().unwrap();
    if headers.len() != record.headers.len() {
        return differs("headers", &record.headers, &wanted["headers"]);
    }
    let names = record.headers.iter().zip(headers);
    if !names.clone().all(|(got, wanted)| wanted["name"] == *got.key) {
        return differs("header names", &record.headers, &wanted["headers"]);
    }
    let headers = names.map(|(got, wanted)| ("header", &got.value, &wanted["value"]));
    let parts = [
        ("key", &record.key, &wanted["key"]),
        ("value", &record.value, &wanted["value"]),
    ];
    for (part, datum, wanted) in parts.into_iter().chain(headers) {
        let got = datum.decode().unwrap();
        if !same(&got, &data(wanted)) {
            return differs(part, &got, wanted);
        }
        let mut written = Vec::new();
        if let Err(error) = datum.write_json(Rendering::Connect, &mut written) {
            return Some(format!("{part} cannot be written: {error}"));
        }
        serde_json::from_slice::<&serde_json::value::RawValue>(&written)
            .unwrap_or_else(|error| panic!("{part}: {error}"));
    }
    None
}
