//! Golden cases of a schema registry, recorded from Confluent's converters, against the scripted registry of
//! `tests/testbed`.
//!
//! A case that Klamm deliberately answers otherwise stands in `tests/golden/deviations.json`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::type_complexity, reason = "tables of cases")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use klamm_connect_api::{
    ConfigErrors, Converter, ConverterRole, DataError, DataErrorKind, Datum, RawConfig, RawHeader, Rendering,
    SchemaAndValue, SchemaRef, SchemaType, json,
};
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

/// The converters whose cases have to run.
const READY: [&str; 3] = [
    "io.confluent.connect.avro.AvroConverter",
    JSON_SCHEMA,
    "io.confluent.connect.protobuf.ProtobufConverter",
];

const JSON_SCHEMA: &str = "io.confluent.connect.json.JsonSchemaConverter";

/// The files, and how many of their cases have to run; a floor only goes up.
const FILES: [(&str, usize); 9] = [
    ("avro", 72),
    ("avro-from-connect", 7),
    ("avro-guid", 4),
    ("json", 37),
    ("json-from-connect", 6),
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

/// The scripted registry.
struct Mock {
    url: String,
    dir: TempDir,
}

impl Mock {
    /// With the schemas of all files.
    async fn start() -> Self {
        Self::start_with(&FILES.map(|(file, _)| file)).await
    }

    async fn start_with(files: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let golden = root().join("tests/golden/schema-registry");
        let files = files.iter().map(|file| golden.join(format!("{file}.jsonl")));
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

/// An envelope with the fields of structs in the order of their names.
fn sorted(json: &Json) -> Json {
    match json {
        Json::Array(items) => Json::Array(items.iter().map(sorted).collect()),
        Json::Object(members) => {
            let sorted_members = members.iter().map(|(name, value)| {
                let mut value = sorted(value);
                if let (true, Some(fields)) = (name == "fields", value.as_array_mut()) {
                    fields.sort_by_key(|field| field["field"].to_string());
                }
                (name.clone(), value)
            });
            let sorted_members: BTreeMap<String, Json> = sorted_members.collect();
            Json::Object(sorted_members.into_iter().collect())
        }
        other => other.clone(),
    }
}

/// Connect data as the envelope of the golden cases, sorted.
fn envelope_of(data: &SchemaAndValue) -> Json {
    let mut payload = Vec::new();
    json::write(data, Rendering::Connect, &mut payload).unwrap();
    let payload: Json = serde_json::from_slice(&payload).unwrap();
    let schema = data.schema.as_ref().map_or(Json::Null, schema_json);
    sorted(&serde_json::json!({"schema": schema, "payload": payload}))
}

fn schema_json(schema: &SchemaRef) -> Json {
    let type_name = match schema.schema_type() {
        SchemaType::Float32 => "float",
        SchemaType::Float64 => "double",
        other => other.name(),
    };
    let mut json = serde_json::json!({"type": type_name, "optional": schema.is_optional()});
    let mut set = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            json[key] = value;
        }
    };
    set("name", schema.name().map(Json::from));
    set("version", schema.version().map(Json::from));
    set("doc", schema.doc().map(Json::from));
    let parameters = schema.parameters();
    set(
        "parameters",
        (!parameters.is_empty()).then(|| {
            parameters
                .iter()
                .map(|(key, value)| (key.clone(), Json::from(value.as_str())))
                .collect()
        }),
    );
    set(
        "default",
        schema.default().map(|default| {
            let mut text = Vec::new();
            json::write(
                &SchemaAndValue::new(SchemaRef::clone(schema), default.clone()),
                Rendering::Connect,
                &mut text,
            )
            .unwrap();
            serde_json::from_slice(&text).unwrap()
        }),
    );
    set("keys", schema.key_schema().map(schema_json));
    let elements = if schema.schema_type() == SchemaType::Map {
        "values"
    } else {
        "items"
    };
    set(elements, schema.value_schema().map(schema_json));
    if schema.schema_type() == SchemaType::Struct {
        let fields = schema.fields().iter().map(|field| {
            let mut json = schema_json(&field.schema);
            json["field"] = Json::from(&*field.name);
            json
        });
        set("fields", Some(fields.collect()));
    }
    json
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

    /// How what a datum says of its schema differs from the id in front of its bytes.
    fn metadata_differs(&self, datum: &Datum) -> Option<String> {
        let Datum::Encoded { codec, .. } = datum else {
            return None;
        };
        let Some(metadata) = codec.schema_metadata() else {
            return Some("says nothing of its schema".to_owned());
        };
        let format = match self.class.as_str() {
            JSON_SCHEMA => "JSON",
            class if class.contains("Avro") => "AVRO",
            _ => "PROTOBUF",
        };
        let has_headers = !self.json["headers"].as_array().unwrap().is_empty();
        let is_fixed = self.settings.keys().any(|key| key.starts_with("use.schema."));
        let bytes = bytes_of(&self.json["base64"])?;
        let id = match bytes.first_chunk::<5>() {
            Some([0, id @ ..]) if !has_headers && !is_fixed => i32::from_be_bytes(*id).to_string(),
            _ => metadata.schema_id.to_string(),
        };
        let is_right = metadata.data_format == format && *metadata.schema_id == id && !id.is_empty();
        (!is_right).then(|| format!("says {metadata:?}, wanted {format} {id}"))
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
        if let Some(wrong) = self.metadata_differs(datum) {
            return Some(wrong);
        }
        let data = datum.decode().unwrap();
        // A recursive schema has no envelope; null itself has no schema.
        if let Some(envelope) = self.json.get("expect").filter(|expect| !expect.is_null()) {
            let wanted = expected_data(envelope);
            let is_same = if self.class == JSON_SCHEMA {
                // Its structs have the order of a hash table there.
                envelope_of(&data) == sorted(envelope)
            } else {
                data == wanted
            };
            if !is_same {
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
        let is_free = self.class == JSON_SCHEMA
            || wanted.contains("\\u")
            || self.json["expect"].to_string().contains(r#""type":"map""#);
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

#[tokio::test]
async fn a_schema_whose_version_cannot_be_had_is_read_without_it() {
    let mock = Mock::start().await;
    let text = golden("schema-registry/avro.jsonl");
    let json: Json = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let case = Case::read(&json, &mock.url);
    let version = |datum: Datum| datum.decode().unwrap().schema.unwrap().version();
    assert_eq!(version(case.run().await.unwrap()), Some(1));
    let away = serde_json::json!({"match": "^/subjects/", "status": 503});
    mock.ask("POST", "/_faults", &away.to_string()).await;
    assert_eq!(version(case.run().await.unwrap()), None);
    mock.ask("DELETE", "/_faults", "").await;
    let refused = serde_json::json!({"match": "^/subjects/", "status": 403});
    mock.ask("POST", "/_faults", &refused.to_string()).await;
    assert_eq!(case.run().await.unwrap_err().kind(), DataErrorKind::Config);
}

impl Mock {
    /// Registers a schema and gives its id.
    async fn register(&self, subject: &str, schema_type: &str, schema: &str, references: Json) -> i32 {
        let body = serde_json::json!({"schemaType": schema_type, "schema": schema, "references": references});
        let path = format!("/subjects/{subject}/versions");
        let answer: Json = serde_json::from_str(&self.ask("POST", &path, &body.to_string()).await).unwrap();
        i32::try_from(answer["id"].as_i64().unwrap()).unwrap()
    }

    fn converter(&self, class: &str, entries: &[(&str, &str)]) -> Arc<dyn Converter> {
        let mut settings = RawConfig::from([
            ("schema.registry.url".to_owned(), self.url.clone()),
            ("retries.wait.ms".to_owned(), "1".to_owned()),
            ("max.retries".to_owned(), "1".to_owned()),
        ]);
        settings.extend(
            entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        create(class, &settings, ConverterRole::Value).unwrap()
    }
}

const AVRO: &str = "io.confluent.connect.avro.AvroConverter";

fn framed(id: i32, payload: &[u8]) -> Bytes {
    Bytes::from([&[0], &id.to_be_bytes()[..], payload].concat())
}

async fn json_of(converter: &dyn Converter, topic: &str, bytes: &Bytes) -> Result<String, DataError> {
    let datum = convert(converter, topic, &[], Some(bytes)).await?;
    datum.decode()?;
    let mut out = Vec::new();
    datum.write_json(Rendering::Connect, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn data_is_brought_to_the_latest_version_of_its_subject() {
    let mock = Mock::start_with(&["avro-guid"]).await;
    let record = |fields: &str| format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
    let old = r#"{"name":"a","type":"int"},{"name":"gone","type":"string"}"#;
    let new = r#"{"name":"b","type":"string","default":"x"},{"name":"z","type":"long","aliases":["a"]}"#;
    let avro = mock
        .register("av-value", "AVRO", &record(old), serde_json::json!([]))
        .await;
    mock.register("av-value", "AVRO", &record(new), serde_json::json!([]))
        .await;
    let json = mock
        .register(
            "js-value",
            "JSON",
            r#"{"properties":{"a":{"type":"integer"}}}"#,
            serde_json::json!([]),
        )
        .await;
    let later = r#"{"properties":{"a":{"type":"number"},"b":{"type":"string","default":"x"}}}"#;
    mock.register("js-value", "JSON", later, serde_json::json!([])).await;
    let avro = framed(avro, &[2, 2, b'g']);
    let json = framed(json, br#"{"a":1}"#);
    let later_record = serde_json::json!({"schema": record(new), "id": 1, "subject": "av-value", "version": 2});
    let fault = serde_json::json!({
        "match": "/subjects/av-value/metadata\\?key=major&value=2$", "status": 200, "body": later_record
    });
    mock.ask("POST", "/_faults", &fault.to_string()).await;
    let latest: &[(&str, &str)] = &[("use.latest.version", "true")];
    let with_metadata: &[(&str, &str)] = &[("use.latest.with.metadata", "major=2")];
    let id_is_not_looked_at: &[(&str, &str)] = &[("use.schema.id", "999999")];
    let cases: [(&str, &str, &Bytes, &[(&str, &str)], &str); 6] = [
        (AVRO, "av", &avro, &[], r#"{"a":1,"gone":"g"}"#),
        (AVRO, "av", &avro, latest, r#"{"b":"x","z":1}"#),
        (AVRO, "av", &avro, with_metadata, r#"{"b":"x","z":1}"#),
        (AVRO, "av", &avro, id_is_not_looked_at, r#"{"a":1,"gone":"g"}"#),
        (JSON_SCHEMA, "js", &json, &[], r#"{"a":1}"#),
        (JSON_SCHEMA, "js", &json, latest, r#"{"a":1.0,"b":"x"}"#),
    ];
    for (class, topic, bytes, settings, wanted) in cases {
        let converter = mock.converter(class, settings);
        let got = json_of(&*converter, topic, bytes).await;
        assert_eq!(got.unwrap(), wanted, "{class} {settings:?}");
    }
}

#[tokio::test]
async fn the_latest_version_is_kept_as_long_as_the_settings_say() {
    let mock = Mock::start_with(&["avro-guid"]).await;
    let text = |fields: &str| format!(r#"{{"properties":{{"a":{{"type":"integer"}}{fields}}}}}"#);
    let id = mock.register("t-value", "JSON", &text(""), serde_json::json!([])).await;
    let bytes = framed(id, br#"{"a":1}"#);
    let once = mock.converter(JSON_SCHEMA, &[("use.latest.version", "true")]);
    let again = mock.converter(
        JSON_SCHEMA,
        &[("use.latest.version", "true"), ("latest.cache.ttl.sec", "0")],
    );
    for converter in [&once, &again] {
        let got = json_of(&**converter, "t", &bytes).await;
        assert_eq!(got.unwrap(), r#"{"a":1}"#, "also where it is looked for again at once");
    }
    let later = text(r#","b":{"type":"boolean","default":true}"#);
    mock.register("t-value", "JSON", &later, serde_json::json!([])).await;
    assert_eq!(json_of(&*once, "t", &bytes).await.unwrap(), r#"{"a":1}"#);
    let renewed = async {
        while json_of(&*again, "t", &bytes).await.unwrap() != r#"{"a":1,"b":true}"# {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), renewed)
        .await
        .unwrap();
}

#[tokio::test]
async fn records_name_their_schema_where_the_settings_say() {
    let mock = Mock::start_with(&["avro-guid"]).await;
    let id = mock
        .register("t-value", "JSON", r#"{"type":"integer"}"#, serde_json::json!([]))
        .await;
    let text_id = id.to_string();
    let class = |name: &str| format!("io.confluent.kafka.serializers.schema.id.{name}");
    let key = "value.schema.id.deserializer";
    let fixed = class("ConfigSchemaIdDeserializer");
    let converter = mock.converter(JSON_SCHEMA, &[(key, &fixed), ("use.schema.id", &text_id)]);
    assert_eq!(json_of(&*converter, "t", &Bytes::from_static(b"5")).await.unwrap(), "5");
    let header: Vec<RawHeader> = vec![(Bytes::from_static(b"__value_schema_id"), Some(framed(id, &[])))];
    let prefix = mock.converter(JSON_SCHEMA, &[(key, &class("PrefixSchemaIdDeserializer"))]);
    let both = framed(id, b"5");
    assert!(convert(&*prefix, "t", &header, Some(&both)).await.is_ok());
    let in_header = mock.converter(JSON_SCHEMA, &[(key, &class("HeaderSchemaIdDeserializer"))]);
    assert!(
        convert(&*in_header, "t", &header, Some(&Bytes::from_static(b"5")))
            .await
            .is_ok()
    );
    let error = convert(&*in_header, "t", &[], Some(&both)).await.unwrap_err();
    assert!(error.to_string().contains("no header `__value_schema_id`"), "{error}");
    let settings = RawConfig::from([
        ("schema.registry.url".to_owned(), mock.url.clone()),
        (key.to_owned(), fixed),
    ]);
    let error = create(JSON_SCHEMA, &settings, ConverterRole::Value)
        .map(drop)
        .unwrap_err();
    assert!(error.as_slice()[0].to_string().contains("use.schema.id"), "{error:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_record_names_schema_subject_and_place() {
    let mock = Mock::start_with(&["avro-guid"]).await;
    let none = || serde_json::json!([]);
    let circle = |subject: &str| serde_json::json!([{"name": "x", "subject": subject, "version": 1}]);
    let record = r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"array","items":"int"}}]}"#;
    let object = r#"{"title":"R","properties":{"a":{"type":"array","items":{"type":"integer"}}}}"#;
    let list = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;
    let nested = r##"{"title":"L","properties":{"n":{"oneOf":[{"type":"null"},{"$ref":"#"}]}}}"##;
    let deep_json = format!("{}null{}", r#"{"n":"#.repeat(100), "}".repeat(100));
    let deep_avro: Vec<u8> = std::iter::repeat_n(2, 99).chain([0]).collect();
    let cases: [(&str, &str, &str, &[u8], &str, &[u8], &str, &[u8]); 2] = [
        (AVRO, "AVRO", record, &[2, 0xff], "field `a`", &[9, 9], list, &deep_avro),
        (
            JSON_SCHEMA,
            "JSON",
            object,
            br#"{"a":[1.5e"#,
            "JSON Schema `R`",
            br#"{"a":[null]}"#,
            nested,
            deep_json.as_bytes(),
        ),
    ];
    for (class, schema_type, schema, truncated, place, unfit, deep_schema, deep) in cases {
        let subject = |name: &str| format!("{name}-{schema_type}-value");
        let topic = |name: &str| format!("{name}-{schema_type}");
        let id = mock.register(&subject("t"), schema_type, schema, none()).await;
        let broken = mock.register(&subject("broken"), schema_type, "{", none()).await;
        let first = mock
            .register(&subject("first"), schema_type, schema, circle(&subject("second")))
            .await;
        mock.register(&subject("second"), schema_type, schema, circle(&subject("first")))
            .await;
        let deep_id = mock.register(&subject("deep"), schema_type, deep_schema, none()).await;
        let converter = mock.converter(class, &[]);
        let named = |id: i32, name: &str| format!("schema id {id} (subject {}", subject(name));
        let failures = [
            (
                "t",
                Bytes::from_static(b"{}"),
                vec!["unknown magic byte 123".to_owned()],
            ),
            (
                "t",
                Bytes::from_static(&[0, 0, 1]),
                vec!["3 bytes are too short".to_owned()],
            ),
            (
                "t",
                framed(999_999, b"{}"),
                vec![named(999_999, "t"), "404".to_owned(), mock.url.clone()],
            ),
            ("t", framed(id, truncated), vec![named(id, "t"), place.to_owned()]),
            ("t", framed(id, unfit), vec![named(id, "t"), "field `a`".to_owned()]),
            (
                "broken",
                framed(broken, b"{}"),
                vec![named(broken, "broken"), "not JSON".to_owned()],
            ),
            (
                "first",
                framed(first, b"{}"),
                vec![subject("first"), "refers to itself".to_owned()],
            ),
        ];
        for (name, bytes, wanted) in failures {
            let error = json_of(&*converter, &topic(name), &bytes).await.unwrap_err();
            assert!(
                matches!(error.kind(), DataErrorKind::Data | DataErrorKind::Serialization),
                "{error:?}"
            );
            for wanted in wanted {
                assert!(error.to_string().contains(&wanted), "no {wanted:?} in: {error}");
            }
        }
        let read = json_of(&*converter, &topic("deep"), &framed(deep_id, deep))
            .await
            .unwrap();
        assert_eq!(read.matches(r#""n""#).count(), 100, "{class}");
    }
}

#[tokio::test]
async fn refused_credentials_say_who_asked_and_what_the_registry_answered() {
    let mock = Mock::start_with(&["avro-guid"]).await;
    let fault = serde_json::json!({
        "match": "/schemas/ids/", "status": 403, "body": {"error_code": 40301, "message": "no read on t-value"}
    });
    mock.ask("POST", "/_faults", &fault.to_string()).await;
    for class in [AVRO, JSON_SCHEMA] {
        let settings = [
            ("basic.auth.credentials.source", "USER_INFO"),
            ("basic.auth.user.info", "me:s3cret"),
        ];
        let converter = mock.converter(class, &settings);
        let error = json_of(&*converter, "t", &framed(1, b"5")).await.unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::Config);
        for wanted in [
            mock.url.as_str(),
            "403",
            "with basic authentication as `me`",
            "no read on t-value",
            "basic.auth",
        ] {
            assert!(error.to_string().contains(wanted), "no {wanted:?} in: {error}");
        }
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
