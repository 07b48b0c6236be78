//! AWS's converter names, on a scripted Glue and a scripted registry of Confluent's kind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use klamm_connect_api::{Converter, ConverterRole, DataError, DataErrorKind, Natural, RawConfig, Rendering};
use serde_json::json;
use std::io::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const SCHEMA: &str = r#"{"type":"record","name":"R","doc":"d","fields":[{"name":"u","type":["string","int"]},{"name":"one","type":["string"]},{"name":"f","type":{"type":"fixed","name":"F","size":1}},{"name":"e","type":{"type":"enum","name":"E","symbols":["A"]}}]}"#;
/// `u` = 2, `one` = "a", `f` = 9, `e` = A.
const PAYLOAD: &[u8] = &[2, 4, 0, 2, b'a', 9, 0];
const GONE: [u8; 16] = [9; 16];

/// Answers requests of Glue and of a registry; keeps what was asked.
struct Registries {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Registries {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let log = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let log = Arc::clone(&log);
                connections.spawn(async move {
                    let mut bytes = Vec::new();
                    loop {
                        let mut chunk = [0; 4096];
                        match stream.read(&mut chunk).await {
                            Ok(0) | Err(_) => return,
                            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                        }
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        let is_whole = text.starts_with("GET ") && text.ends_with("\r\n\r\n") || text.ends_with('}');
                        if !is_whole {
                            continue;
                        }
                        bytes.clear();
                        log.lock().unwrap().push(text.lines().next().unwrap().to_owned());
                        let (status, body) = if text.starts_with("GET ") {
                            (200, json!({ "schema": SCHEMA }))
                        } else if text.contains("09090909") {
                            (
                                400,
                                json!({"__type": "EntityNotFoundException", "Message": "not found"}),
                            )
                        } else {
                            (
                                200,
                                json!({"SchemaDefinition": SCHEMA, "DataFormat": "AVRO", "VersionNumber": 1}),
                            )
                        };
                        let body = body.to_string();
                        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self {
            url,
            asked,
            _tasks: tasks,
        }
    }

    fn converter(&self, entries: &[(&str, &str)]) -> Arc<dyn Converter> {
        let plugin = klamm_converters::converters()
            .into_iter()
            .find(|plugin| {
                plugin.info.class == "com.amazonaws.services.schemaregistry.kafkaconnect.AWSKafkaAvroConverter"
            })
            .unwrap();
        let common = [
            ("region", "eu-west-1"),
            ("endpoint", self.url.as_str()),
            ("registry.name", "r"),
            ("schemaName", "orders"),
            ("avroRecordType", "GENERIC_RECORD"),
            ("schemaAutoRegistrationEnabled", "true"),
            ("aws.access.key.id", "a"),
            ("aws.secret.access.key", "b"),
        ];
        let raw: RawConfig = common
            .iter()
            .chain(entries)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let parsed = (plugin.config_def)().parse(&raw).unwrap();
        (plugin.create)(&parsed, ConverterRole::Value).unwrap()
    }
}

fn glue(id: [u8; 16], compression: u8, payload: &[u8]) -> Bytes {
    Bytes::from([&[3, compression][..], &id, payload].concat())
}

fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(payload).unwrap();
    encoder.finish().unwrap()
}

async fn json(converter: &dyn Converter, bytes: &Bytes, rendering: Rendering) -> Result<String, DataError> {
    let datum = match converter.to_connect("orders", &[], Some(bytes)) {
        Err(error) if error.kind() == DataErrorKind::NotReady => {
            converter.prepare("orders", &[], Some(bytes)).await?;
            converter.to_connect("orders", &[], Some(bytes))?
        }
        outcome => outcome?,
    };
    let (mut straight, mut by_values) = (Vec::new(), Vec::new());
    datum.write_json(rendering, &mut straight)?;
    klamm_connect_api::json::write(&datum.decode()?, rendering, &mut by_values)?;
    assert_eq!(straight, by_values);
    Ok(String::from_utf8(straight).unwrap())
}

#[tokio::test]
async fn records_are_read_as_by_awss_converter() {
    let registries = Registries::start().await;
    let converter = registries.converter(&[]);
    let wanted = r#"{"u":{"string":null,"int":2},"one":{"string":"a"},"f":"CQ==","e":"A"}"#;
    for bytes in [glue([7; 16], 0, PAYLOAD), glue([7; 16], 5, &deflated(PAYLOAD))] {
        assert_eq!(
            json(&*converter, &bytes, Rendering::Connect).await.as_deref(),
            Ok(wanted)
        );
        let natural = json(&*converter, &bytes, Rendering::Natural(Natural::default())).await;
        assert_eq!(natural.as_deref(), Ok(r#"{"u":2,"one":"a","f":"CQ==","e":"A"}"#));
    }
    assert_eq!(registries.asked.lock().unwrap().len(), 1, "the schema is kept");
    let bytes = glue([7; 16], 0, PAYLOAD);
    let datum = converter.to_connect("orders", &[], Some(&bytes)).unwrap();
    let schema = datum.decode().unwrap().schema.unwrap();
    let namespace = "com.amazonaws.services.schemaregistry.kafkaconnect.avrodata";
    assert_eq!(schema.version(), None);
    assert_eq!(schema.parameters()[&format!("{namespace}.record.doc")], "d");
    let field = |name: &str| &schema.field(name).unwrap().schema;
    assert_eq!(field("u").name(), Some(&*format!("{namespace}.Union")));
    assert_eq!((field("f").name(), field("f").parameters().len()), (None, 0));
    assert_eq!(field("e").parameters()[&format!("{namespace}.Enum")], "E");
}

#[tokio::test]
async fn records_of_confluents_serializer_are_read_by_the_second_registry() {
    let registries = Registries::start().await;
    let converter = registries.converter(&[
        (
            "secondaryDeserializer",
            "io.confluent.kafka.serializers.KafkaAvroDeserializer",
        ),
        ("schema.registry.url", &registries.url),
    ]);
    for bytes in [
        glue([7; 16], 0, PAYLOAD),
        Bytes::from([&[0, 0, 0, 0, 5][..], PAYLOAD].concat()),
    ] {
        let natural = json(&*converter, &bytes, Rendering::Natural(Natural::default())).await;
        assert_eq!(natural.as_deref(), Ok(r#"{"u":2,"one":"a","f":"CQ==","e":"A"}"#));
    }
    let asked = registries.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        ["POST / HTTP/1.1", "GET /schemas/ids/5?subject=orders-value HTTP/1.1"]
    );
}

#[tokio::test]
async fn what_cannot_be_read_says_why() {
    let registries = Registries::start().await;
    let converter = registries.converter(&[]);
    let bomb = deflated(&vec![0; 17 * 1024 * 1024]);
    let cases = [
        (
            Bytes::from([&[0, 0, 0, 0, 5][..], PAYLOAD].concat()),
            DataErrorKind::Serialization,
            "set `secondaryDeserializer`",
        ),
        (
            glue(GONE, 0, PAYLOAD),
            DataErrorKind::Data,
            "has no schema version id 09090909-0909-0909-0909-090909090909",
        ),
        (
            glue([7; 16], 5, &bomb),
            DataErrorKind::Serialization,
            "more than 16777216 bytes",
        ),
        (
            glue([7; 16], 0, &[2]),
            DataErrorKind::Serialization,
            "schema version id 07070707-0707-0707-0707-070707070707 (Avro `R`): field `u`",
        ),
    ];
    for (bytes, kind, wanted) in cases {
        let error = json(&*converter, &bytes, Rendering::Connect).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(wanted), "{error}");
    }
}
