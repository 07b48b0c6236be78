//! The dev file: what a local world consists of.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::entries::Entries;
use crate::functions::FunctionConfig;

/// The name of a dev file in its folder.
pub const FILE_NAME: &str = "klamm.dev.json";

/// Why a dev file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not a dev file; the text says where and what.
    #[error("{path}{place}: {what}")]
    Invalid {
        /// The file.
        path: String,
        /// `:LINE: KEY`, as far as it is known.
        place: String,
        /// What is wrong and what is accepted.
        what: String,
    },
}

/// What a local world consists of.
#[derive(Debug)]
#[non_exhaustive]
pub struct DevFile {
    /// The file itself.
    pub path: PathBuf,
    /// Its folder: every path in it begins here.
    pub root: PathBuf,
    /// Ports that are wanted.
    pub ports: Ports,
    /// The functions, in the file's order.
    pub functions: Vec<FunctionConfig>,
    /// The topics, in the file's order.
    pub topics: Vec<Topic>,
    /// The connectors.
    pub connectors: Vec<ConnectorSource>,
    /// Properties of the worker beside those that the world sets.
    pub worker: BTreeMap<String, String>,
}

/// Ports on loopback; 0 takes a free one.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Ports {
    /// Of the broker.
    pub kafka: Option<u16>,
    /// Of the functions' endpoint.
    pub functions: Option<u16>,
    /// Of the REST API.
    pub rest: Option<u16>,
}

/// A topic that the world makes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// Its settings, such as `cleanup.policy`.
    pub settings: Vec<(String, String)>,
    /// Its sample records.
    pub records: Vec<SampleRecord>,
}

/// A record that the world writes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampleRecord {
    /// The place to name if it is not taken: `FILE:LINE`, or its key in the dev file.
    pub place: String,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its partition; none lets the producer choose.
    pub partition: Option<i32>,
}

/// Where a connector's configuration comes from.
#[derive(Debug, PartialEq, Eq)]
pub enum ConnectorSource {
    /// A file: `.properties`, flat JSON, or the shape of `POST /connectors`.
    File(PathBuf),
    /// The dev file itself, by its name there.
    Inline {
        /// Its name.
        name: String,
        /// Its configuration.
        config: Map<String, Value>,
    },
}

impl DevFile {
    /// Reads a dev file, or the one in a folder, and the files of sample records that it names.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let path = if path.is_dir() {
            path.join(FILE_NAME)
        } else {
            path.to_owned()
        };
        let text = read(&path)?;
        let root = path.parent().map(Path::to_owned).unwrap_or_default();
        Self::parse(path, root, &text)
    }

    fn parse(path: PathBuf, root: PathBuf, text: &str) -> Result<Self, FileError> {
        // Serde would take an array for an object without names.
        if !text.trim_start().starts_with('{') {
            return Err(invalid(&path, Some(1), "", "a dev file is a JSON object"));
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let file: File = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let key = error.path().to_string();
            let inner = error.inner();
            invalid(&path, Some(inner.line()), &key, without_place(inner))
        })?;
        deserializer
            .end()
            .map_err(|error| invalid(&path, Some(error.line()), "", "something stands behind its end"))?;
        let functions = file
            .functions
            .0
            .into_iter()
            .map(|(name, function)| function.config(name));
        let topics = file.topics.0.into_iter();
        let topics = topics.map(|(name, topic)| topic.checked(&path, &root, name));
        let connectors = file.connectors.0.into_iter();
        let connectors = connectors.map(|(name, connector)| connector.source(&root, name));
        Ok(Self {
            ports: file.ports,
            functions: functions.collect(),
            topics: topics.collect::<Result<_, _>>()?,
            connectors: connectors.collect(),
            worker: file.worker.0.into_iter().map(|(key, value)| (key, value.0)).collect(),
            path,
            root,
        })
    }
}

fn read(path: &Path) -> Result<String, FileError> {
    let unreadable = |source| FileError::Unreadable {
        path: path.display().to_string(),
        source,
    };
    let bytes = std::fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| invalid(path, None, "", "it is not UTF-8 text"))
}

/// serde_json writes the place behind its text; here it stands in front.
fn without_place(error: &serde_json::Error) -> String {
    let said = error.to_string();
    said.rsplit_once(" at line ")
        .map_or(said.as_str(), |(what, _)| what)
        .to_owned()
}

fn invalid(path: &Path, line: Option<usize>, key: &str, what: impl Into<String>) -> FileError {
    let line = line.map_or_else(String::new, |line| format!(":{line}"));
    // The path of the whole document is a dot.
    let key = if key.is_empty() || key == "." {
        String::new()
    } else {
        format!(": {key}")
    };
    FileError::Invalid {
        path: path.display().to_string(),
        place: line + &key,
        what: what.into(),
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct File {
    ports: Ports,
    functions: Entries<Function>,
    topics: Entries<TopicEntry>,
    connectors: Entries<Connector>,
    worker: Entries<Text>,
}

/// A setting: text, or what reads as one.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            value @ (Value::Bool(_) | Value::Number(_)) => Ok(Self(value.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(D::Error::custom("a setting is text, a number, true or false"))
            }
        }
    }
}

/// A function: its handler alone, or an object.
struct Function(FunctionEntry);

/// The names are those that people know from the Serverless Framework and from Lambda.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FunctionEntry {
    handler: OneOf,
    runtime: Option<String>,
    /// Seconds.
    timeout: Option<f64>,
    memory_size: Option<u32>,
    #[serde(default)]
    environment: Entries<Text>,
    reserved_concurrency: Option<u32>,
    #[serde(default)]
    versions: BTreeMap<u32, String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    maximum_retry_attempts: Option<u32>,
    /// Seconds.
    retry_delay: Option<f64>,
    /// Seconds.
    maximum_event_age: Option<f64>,
}

/// A handler, or several of which the first runs whose runtime is there.
struct OneOf {
    first: String,
    others: Vec<String>,
}

impl<'de> Deserialize<'de> for OneOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let handlers = match Value::deserialize(deserializer)? {
            Value::String(handler) => vec![handler],
            Value::Array(handlers) => {
                let text = |handler: Value| handler.as_str().map(str::to_owned);
                handlers.into_iter().map(text).collect::<Option<_>>().unwrap_or_default()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        };
        let mut handlers = handlers.into_iter();
        let first = handlers.next().ok_or_else(|| {
            D::Error::custom("a handler is a text such as \"app.py:handler\", or an array of such texts")
        })?;
        Ok(Self {
            first,
            others: handlers.collect(),
        })
    }
}

impl<'de> Deserialize<'de> for Function {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Function;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a handler, such as \"app.py:handler\", or an object with `handler`")
            }

            fn visit_str<E: serde::de::Error>(self, handler: &str) -> Result<Function, E> {
                let only = MapAccessDeserializer::new(serde::de::value::MapDeserializer::<_, E>::new(std::iter::once(
                    ("handler", handler),
                )));
                FunctionEntry::deserialize(only).map(Function)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Function, A::Error> {
                let entry = FunctionEntry::deserialize(MapAccessDeserializer::new(map))?;
                for (name, seconds) in [
                    ("timeout", entry.timeout),
                    ("retryDelay", entry.retry_delay),
                    ("maximumEventAge", entry.maximum_event_age),
                ] {
                    if let Some(seconds) = seconds
                        && Duration::try_from_secs_f64(seconds).is_err()
                    {
                        return Err(A::Error::custom(format_args!(
                            "`{name}` is a number of seconds, not {seconds}"
                        )));
                    }
                }
                Ok(Function(entry))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Function {
    fn config(self, name: String) -> FunctionConfig {
        let entry = self.0;
        let mut config = FunctionConfig::new(name, entry.handler.first);
        config.alternatives = entry.handler.others;
        // The numbers were checked when they were read.
        let seconds = |seconds: Option<f64>| seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        config.runtime = entry.runtime;
        config.timeout = seconds(entry.timeout).unwrap_or(config.timeout);
        config.memory_mb = entry.memory_size.unwrap_or(config.memory_mb);
        config.environment = entry
            .environment
            .0
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect();
        config.reserved_concurrency = entry.reserved_concurrency;
        config.versions = entry.versions;
        config.aliases = entry.aliases;
        config.event_retries = entry.maximum_retry_attempts.unwrap_or(config.event_retries);
        config.event_retry_delay = seconds(entry.retry_delay).unwrap_or(config.event_retry_delay);
        config.event_max_age = seconds(entry.maximum_event_age).unwrap_or(config.event_max_age);
        config
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TopicEntry {
    partitions: i32,
    settings: Entries<Text>,
    records: Records,
}

impl Default for TopicEntry {
    fn default() -> Self {
        Self {
            partitions: 1,
            settings: Entries::default(),
            records: Records::default(),
        }
    }
}

impl TopicEntry {
    fn checked(self, path: &Path, root: &Path, name: String) -> Result<Topic, FileError> {
        let key = format!("topics.{name}");
        if self.partitions < 1 {
            let key = format!("{key}.partitions");
            return Err(invalid(path, None, &key, "a topic has at least one partition"));
        }
        let records = match self.records {
            Records::None => Vec::new(),
            Records::Inline(records) => (0..)
                .zip(records)
                .map(|(index, record): (usize, _)| record.at(format!("{}: {key}.records[{index}]", path.display())))
                .collect(),
            Records::File(file) => {
                let file = root.join(file);
                let text = read(&file)?;
                let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
                lines
                    .map(|(number, line)| {
                        let record: Record = serde_json::from_str(line)
                            .map_err(|error| invalid(&file, Some(number), "", without_place(&error)))?;
                        Ok(record.at(format!("{}:{number}", file.display())))
                    })
                    .collect::<Result<_, _>>()?
            }
        };
        Ok(Topic {
            name,
            partitions: self.partitions,
            settings: self.settings.0.into_iter().map(|(key, value)| (key, value.0)).collect(),
            records,
        })
    }
}

/// Sample records: the name of a file with a line each, or the records themselves.
#[derive(Default)]
enum Records {
    #[default]
    None,
    File(String),
    Inline(Vec<Record>),
}

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Records;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a file, or an array of records")
            }

            fn visit_str<E: serde::de::Error>(self, file: &str) -> Result<Records, E> {
                Ok(Records::File(file.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, records: A) -> Result<Records, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(records)).map(Records::Inline)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A sample record with its key and value as bytes.
struct Record {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    partition: Option<i32>,
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// As it is written.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase", rename = "Record")]
        struct Entry {
            #[serde(default, deserialize_with = "present")]
            key: Option<Value>,
            key_base64: Option<String>,
            #[serde(default, deserialize_with = "present")]
            value: Option<Value>,
            value_base64: Option<String>,
            #[serde(default)]
            headers: Entries<Text>,
            partition: Option<i32>,
        }

        let entry = Entry::deserialize(deserializer)?;
        if entry.value.is_none() && entry.value_base64.is_none() {
            return Err(D::Error::missing_field("value"));
        }
        let headers = entry.headers.0.into_iter();
        Ok(Self {
            key: bytes("key", entry.key, entry.key_base64)?,
            value: bytes("value", entry.value, entry.value_base64)?,
            headers: headers.map(|(key, value)| (key, value.0.into_bytes())).collect(),
            partition: entry.partition,
        })
    }
}

/// Null is a value, a missing member is not.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Text stands for itself, whatever else is JSON is written as JSON, and null is nothing.
fn bytes<E: serde::de::Error>(name: &str, plain: Option<Value>, base64: Option<String>) -> Result<Option<Vec<u8>>, E> {
    match (plain, base64) {
        (Some(_), Some(_)) => Err(E::custom(format_args!("both `{name}` and `{name}Base64` are there"))),
        (None, Some(text)) => BASE64
            .decode(text)
            .map(Some)
            .map_err(|error| E::custom(format_args!("`{name}Base64` is not base64: {error}"))),
        (None | Some(Value::Null), None) => Ok(None),
        (Some(Value::String(text)), None) => Ok(Some(text.into_bytes())),
        (Some(json @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))), None) => {
            Ok(Some(json.to_string().into_bytes()))
        }
    }
}

impl Record {
    fn at(self, place: String) -> SampleRecord {
        SampleRecord {
            place,
            key: self.key,
            value: self.value,
            headers: self.headers,
            partition: self.partition,
        }
    }
}

/// A connector: the name of its file, or its configuration.
enum Connector {
    File(String),
    Inline(Map<String, Value>),
}

impl<'de> Deserialize<'de> for Connector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(file) => Ok(Self::File(file)),
            Value::Object(config) => Ok(Self::Inline(config)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(D::Error::custom(
                "a connector is the name of its file, or an object of settings",
            )),
        }
    }
}

impl Connector {
    fn source(self, root: &Path, name: String) -> ConnectorSource {
        match self {
            Self::File(file) => ConnectorSource::File(root.join(file)),
            Self::Inline(config) => ConnectorSource::Inline { name, config },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DevFile, String> {
        let parsed = DevFile::parse(PathBuf::from("d/klamm.dev.json"), PathBuf::from("d"), text);
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn everything_in_a_dev_file_is_read() {
        let file = parse(
            r#"{
              "ports": {"rest": 0},
              "functions": {
                "a": "a.py:handler",
                "b": {"handler": ["b.handler", "b.mjs:handler"], "timeout": 0.5, "memorySize": 256, "environment": {"N": 1, "T": "t"},
                      "reservedConcurrency": 2, "versions": {"1": "b1.handler"}, "aliases": {"prod": "1"},
                      "maximumRetryAttempts": 0, "retryDelay": 0.1, "maximumEventAge": 60, "runtime": "python3"}
              },
              "topics": {
                "t": {"partitions": 2, "settings": {"cleanup.policy": "compact"},
                      "records": [{"key": "k", "value": {"b": 1, "a": null}, "headers": {"h": "x"}, "partition": 1},
                                  {"value": null}, {"value": "text"}, {"key": 5, "value": [1]},
                                  {"keyBase64": "aw==", "valueBase64": "dg=="}]},
                "u": {}
              },
              "connectors": {"c": {"topics": "t", "tasks.max": 1}, "f": "f.json"},
              "worker": {"offset.flush.interval.ms": 100}
            }"#,
        )
        .unwrap();
        assert_eq!(
            file.ports,
            Ports {
                rest: Some(0),
                ..Ports::default()
            }
        );
        let [a, b] = &file.functions[..] else {
            panic!("two functions")
        };
        assert_eq!(
            (&*a.name, &*a.handler, a.timeout),
            ("a", "a.py:handler", Duration::from_secs(3))
        );
        assert_eq!((&*b.handler, &b.alternatives[..]), ("b.handler", &["b.mjs:handler".to_owned()][..]));
        assert_eq!(
            (b.timeout, b.memory_mb, b.reserved_concurrency),
            (Duration::from_millis(500), 256, Some(2))
        );
        assert_eq!((b.event_retries, b.event_max_age), (0, Duration::from_secs(60)));
        assert_eq!(
            (&*b.versions[&1], &*b.aliases["prod"], &*b.environment["N"]),
            ("b1.handler", "1", "1")
        );
        let [t, u] = &file.topics[..] else { panic!("two topics") };
        assert_eq!((t.partitions, u.partitions, u.records.len()), (2, 1, 0));
        let texts = |record: &SampleRecord| {
            let text = |bytes: &Option<Vec<u8>>| bytes.clone().map(|bytes| String::from_utf8(bytes).unwrap());
            (text(&record.key), text(&record.value))
        };
        let some = |text: &str| Some(text.to_owned());
        let wanted = [
            (some("k"), some(r#"{"b":1,"a":null}"#)),
            (None, None),
            (None, some("text")),
            (some("5"), some("[1]")),
            (some("k"), some("v")),
        ];
        assert_eq!(t.records.iter().map(texts).collect::<Vec<_>>(), wanted);
        assert_eq!(t.records[0].place, "d/klamm.dev.json: topics.t.records[0]");
        assert_eq!(
            (&t.records[0].headers[..], t.records[0].partition),
            (&[("h".to_owned(), b"x".to_vec())][..], Some(1))
        );
        assert_eq!(file.connectors[1], ConnectorSource::File(PathBuf::from("d/f.json")));
        assert_eq!(file.worker["offset.flush.interval.ms"], "100");
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_key() {
        let cases = [
            (
                "{\n\"topics\": {,}}",
                "d/klamm.dev.json:2: topics.?: key must be a string",
            ),
            (
                "{\n\n\"topic\": {}}",
                "d/klamm.dev.json:3: topic: unknown field `topic`, expected one of `ports`, `functions`, `topics`, `connectors`, `worker`",
            ),
            (
                "{\"functions\": {\n\"a\": {\"handler\": \"a.py:h\",\n\"timeout\": \"long\"}}}",
                "d/klamm.dev.json:3: functions.a.timeout: invalid type: string \"long\", expected f64",
            ),
            (
                "{\"functions\": {\"a\": {}}}",
                "d/klamm.dev.json:1: functions.a: missing field `handler`",
            ),
            (
                "{\"functions\": {\"a\": {\"handler\": \"x\", \"timeout\": -1}}}",
                "d/klamm.dev.json:1: functions.a: `timeout` is a number of seconds, not -1",
            ),
            (
                "{\"functions\": {\"a\": 1}}",
                "d/klamm.dev.json:1: functions.a: invalid type: integer `1`, expected a handler, such as \"app.py:handler\", or an object with `handler`",
            ),
            (
                "{\"topics\": {\"t\": {},\n\"t\": {}}}",
                "d/klamm.dev.json:2: topics: `t` is there twice",
            ),
            (
                "{\"topics\": {\"t\": {\"records\": [{\"value\": 1},\n{\"valeu\": 1}]}}}",
                "d/klamm.dev.json:2: topics.t.records[1].valeu: unknown field `valeu`, expected one of `key`, `keyBase64`, `value`, `valueBase64`, `headers`, `partition`",
            ),
            (
                "{\"topics\": {\"t\": {\"records\": [{\"key\": 1}]}}}",
                "d/klamm.dev.json:1: topics.t.records[0]: missing field `value`",
            ),
            (
                "{\"topics\": {\"t\": {\"records\": [{\"value\": 1, \"valueBase64\": \"\"}]}}}",
                "d/klamm.dev.json:1: topics.t.records[0]: both `value` and `valueBase64` are there",
            ),
            (
                "{\"topics\": {\"t\": {\"records\": [{\"valueBase64\": \"?\"}]}}}",
                "d/klamm.dev.json:1: topics.t.records[0]: `valueBase64` is not base64: Invalid symbol 63, offset 0.",
            ),
            (
                "{\"topics\": {\"t\": {\"partitions\": 0}}}",
                "d/klamm.dev.json: topics.t.partitions: a topic has at least one partition",
            ),
            ("{} {}", "d/klamm.dev.json:1: something stands behind its end"),
            ("[]", "d/klamm.dev.json:1: a dev file is a JSON object"),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse(text).unwrap_err(), wanted);
        }
        assert_eq!(
            parse(r#"{"topics": {"t": {"records": "none.jsonl"}}}"#).unwrap_err(),
            "d/none.jsonl cannot be read"
        );
    }

    #[test]
    fn a_record_in_a_file_is_named_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join(FILE_NAME),
            r#"{"topics": {"t": {"records": "r.jsonl"}}}"#,
        )
        .unwrap();
        std::fs::write(folder.path().join("r.jsonl"), "{\"value\": 1}\n\n{\"key\": 1}\n").unwrap();
        let error = DevFile::read(folder.path()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{}/r.jsonl:3: missing field `value`", folder.path().display())
        );
    }
}
