//! Golden cases of a schema registry, recorded from Confluent's converters, against the scripted registry of
//! `tests/testbed`.
//!
//! A case that Klamm deliberately answers otherwise stands in `tests/golden/deviations.json`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use klamm_connect_api::{
    ConfigErrors, Converter, ConverterRole, DataError, DataErrorKind, Datum, RawConfig, RawHeader, Rendering,
    SchemaAndValue, json,
};
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

/// The converters whose cases have to run.
const READY: [&str; 2] = [
    "io.confluent.connect.avro.AvroConverter",
    "io.confluent.connect.protobuf.ProtobufConverter",
];

/// The files, and how many of their cases have to run; a floor only goes up.
const FILES: [(&str, usize); 7] = [
    ("avro", 72),
    ("avro-from-connect", 7),
    ("avro-guid", 4),
    ("protobuf", 32),
    ("protobuf-from-connect", 5),
    ("protobuf-guid", 2),
    ("broken", 24),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden(file: &str) -> String {
    let path = root().join("tests/golden").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The scripted registry, with the schemas of all files.
struct Mock {
    url: String,
    dir: TempDir,
}

impl Mock {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let files = FILES.map(|(file, _)| root().join(format!("tests/golden/schema-registry/{file}.jsonl")));
        let log = dir.path().join("out");
        let status = Command::new(root().join("tests/testbed/registry"))
            .arg("mock")
            .arg("--dir")
            .arg(dir.path())
            .args(files)
            .stdout(fs::File::create(&log).unwrap())
            .status()
            .await
            .unwrap();
        assert!(status.success(), "the scripted registry does not start");
        let text = fs::read_to_string(log).unwrap();
        let url = text.split('\'').nth(1).unwrap().to_owned();
        Self { url, dir }
    }

    /// A request of the test's own paths.
    async fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let down = std::process::Command::new(root().join("tests/testbed/registry"))
            .args(["down", "--dir"])
            .arg(self.dir.path())
            .status();
        assert!(down.unwrap().success(), "the scripted registry does not stop");
    }
}

fn create(class: &str, settings: &RawConfig, role: ConverterRole) -> Result<Arc<dyn Converter>, ConfigErrors> {
    let plugin = klamm_converters::converters()
        .into_iter()
        .find(|plugin| plugin.info.class == class)
        .unwrap_or_else(|| panic!("no converter {class}"));
    let parsed = (plugin.config_def)().parse(settings)?;
    (plugin.create)(&parsed, role)
}

/// What a partition does with a converter.
async fn convert(
    converter: &dyn Converter,
    topic: &str,
    headers: &[RawHeader],
    bytes: Option<&Bytes>,
) -> Result<Datum, DataError> {
    match converter.to_connect(topic, headers, bytes) {
        Err(error) if error.kind() == DataErrorKind::NotReady => {
            converter.prepare(topic, headers, bytes).await?;
            converter.to_connect(topic, headers, bytes)
        }
        outcome => outcome,
    }
}

/// The case's Connect data, read by `JsonConverter` from its envelope.
fn expected_data(envelope: &Json) -> SchemaAndValue {
    let settings = RawConfig::from([("replace.null.with.default".to_owned(), "false".to_owned())]);
    let class = "org.apache.kafka.connect.json.JsonConverter";
    let json = create(class, &settings, ConverterRole::Value).unwrap();
    let bytes = Bytes::from(envelope.to_string());
    json.to_connect("t", &[], Some(&bytes)).unwrap().decode().unwrap()
}

fn bytes_of(json: &Json) -> Option<Bytes> {
    json.as_str().map(|text| Bytes::from(BASE64.decode(text).unwrap()))
}

struct Case<'a> {
    json: &'a Json,
    role: ConverterRole,
    class: String,
    settings: RawConfig,
}

impl<'a> Case<'a> {
    fn read(json: &'a Json, url: &str) -> Self {
        let config = json["config"].as_object().unwrap();
        let (role, name) = if config.contains_key("key.converter") {
            (ConverterRole::Key, "key.converter")
        } else {
            (ConverterRole::Value, "value.converter")
        };
        let mut settings: RawConfig = config
            .iter()
            .filter_map(|(key, value)| {
                let key = key.strip_prefix(name)?.strip_prefix('.')?;
                Some((
                    key.to_owned(),
                    value.as_str().unwrap().replace("${SCHEMA_REGISTRY_URL}", url),
                ))
            })
            .collect();
        settings.insert("retries.wait.ms".to_owned(), "1".to_owned());
        settings.insert("schema.version.lookup".to_owned(), "true".to_owned());
        Self {
            json,
            role,
            class: config[name].as_str().unwrap().to_owned(),
            settings,
        }
    }

    async fn run(&self) -> Result<Datum, DataError> {
        let converter = create(&self.class, &self.settings, self.role).unwrap();
        let headers: Vec<RawHeader> = self.json["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|header| {
                (
                    Bytes::from(header[0].as_str().unwrap().to_owned()),
                    bytes_of(&header[1]),
                )
            })
            .collect();
        let bytes = bytes_of(&self.json["base64"]);
        let datum = convert(
            &*converter,
            self.json["topic"].as_str().unwrap(),
            &headers,
            bytes.as_ref(),
        )
        .await?;
        datum.decode()?;
        Ok(datum)
    }

    /// How the outcome differs from the case.
    fn differs(&self, outcome: &Result<Datum, DataError>) -> Option<String> {
        let wanted_error = self.json.get("expect_error").filter(|error| !error.is_null());
        let datum = match (outcome, wanted_error) {
            (Err(error), Some(wanted)) => return error_differs(error, wanted),
            (Err(error), None) => return Some(format!("fails: {error}")),
            (Ok(datum), Some(wanted)) => return Some(format!("wanted {wanted}, got {datum:?}")),
            (Ok(datum), None) => datum,
        };
        let data = datum.decode().unwrap();
        // A recursive schema has no envelope; null itself has no schema.
        if let Some(envelope) = self.json.get("expect").filter(|expect| !expect.is_null()) {
            let wanted = expected_data(envelope);
            if data != wanted {
                return Some(format!("got {data:?}\nwanted {wanted:?}"));
            }
        }
        let mut straight = Vec::new();
        datum.write_json(Rendering::Connect, &mut straight).unwrap();
        let mut by_values = Vec::new();
        json::write(&data, Rendering::Connect, &mut by_values).unwrap();
        if straight != by_values {
            let (straight, by_values) = (String::from_utf8_lossy(&straight), String::from_utf8_lossy(&by_values));
            return Some(format!("straight {straight}\nby values {by_values}"));
        }
        if self.json["expect"].to_string().contains("connect.data.Decimal") {
            // The cases write decimals as numbers; their values were compared above.
            return None;
        }
        let wanted = self.json["expect_json_text"].as_str()?;
        let got = String::from_utf8(straight).unwrap();
        let parse = |text: &str| serde_json::from_str::<Json>(text).unwrap();
        // Jackson escapes characters beyond the basic plane, and the order of a map's entries is by chance.
        let is_free = wanted.contains("\\u") || self.json["expect"].to_string().contains(r#""type":"map""#);
        let is_same = if is_free {
            parse(&got) == parse(wanted)
        } else {
            got == wanted
        };
        (!is_same).then(|| format!("got {got}\nwanted {wanted}"))
    }
}

fn error_differs(error: &DataError, wanted: &Json) -> Option<String> {
    let class = wanted["class"][0].as_str().unwrap();
    let has = |name: &str| class.ends_with(name);
    let temporary = [
        "RetriableException",
        "NetworkException",
        "ThrottlingQuotaExceededException",
        "DisconnectException",
    ];
    let is_same = match error.kind() {
        DataErrorKind::Data | DataErrorKind::Serialization | DataErrorKind::SchemaBuilder => {
            has("DataException") || has("OutOfMemoryError") || has("UncheckedExecutionException")
        }
        DataErrorKind::Config => has("ConfigException"),
        DataErrorKind::Retriable => temporary.iter().any(|name| has(name)),
        DataErrorKind::NotReady | DataErrorKind::Other => false,
    };
    (!is_same).then(|| format!("got {:?}: {error}\nwanted {class}", error.kind()))
}

#[tokio::test]
async fn records_are_read_as_by_confluents_converters() {
    let mock = Mock::start().await;
    let mut deviations: BTreeMap<String, Json> = serde_json::from_str(&golden("deviations.json")).unwrap();
    let mut failures = Vec::new();
    for (file, floor) in FILES {
        let mut ran = 0;
        for line in golden(&format!("schema-registry/{file}.jsonl")).lines() {
            let json: Json = serde_json::from_str(line).unwrap();
            let case = Case::read(&json, &mock.url);
            if !READY.contains(&case.class.as_str()) {
                continue;
            }
            ran += 1;
            let faults = json.get("faults").and_then(Json::as_array).cloned().unwrap_or_default();
            for fault in &faults {
                mock.ask("POST", "/_faults", &fault.to_string()).await;
            }
            let outcome = case.run().await;
            if !faults.is_empty() {
                mock.ask("DELETE", "/_faults", "").await;
            }
            let id = json["id"].as_str().unwrap();
            match (deviations.remove(id), case.differs(&outcome)) {
                (None, None) | (Some(_), Some(_)) => {}
                (None, Some(difference)) => failures.push(format!("{id}: {difference}")),
                (Some(_), None) => failures.push(format!("{id}: is no deviation any more, remove it from the list")),
            }
        }
        assert!(ran >= floor, "{file}: only {ran} cases ran, {floor} have to");
    }
    assert!(
        failures.is_empty(),
        "{} cases fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[tokio::test]
async fn a_version_is_only_asked_for_if_it_is_wanted() {
    let mock = Mock::start().await;
    let text = golden("schema-registry/avro.jsonl");
    let json: Json = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let mut case = Case::read(&json, &mock.url);
    case.settings.remove("schema.version.lookup");
    let data = case.run().await.unwrap().decode().unwrap();
    assert_eq!(data.schema.unwrap().version(), None);
    let requests: Json = serde_json::from_str(&mock.ask("GET", "/_requests", "").await).unwrap();
    let paths: Vec<&str> = requests
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|request| request["path"].as_str())
        .collect();
    assert_eq!(paths, ["/schemas/ids/100001?subject=avro-record-value"]);
}
