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
const AVRO: &str = "com.amazonaws.services.schemaregistry.kafkaconnect.AWSKafkaAvroConverter";
const JSON: &str = "com.amazonaws.services.schemaregistry.kafkaconnect.jsonschema.JsonSchemaConverter";
const PROTOBUF: &str = "com.amazonaws.services.schemaregistry.kafkaconnect.protobuf.ProtobufSchemaConverter";

/// Answers requests of Glue and of a registry; keeps what was asked.
struct Registries {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Registries {
    async fn start() -> Self {
        Self::of("AVRO", SCHEMA).await
    }

    /// Registries whose only schema is this one.
    async fn of(format: &'static str, schema: &'static str) -> Self {
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
                            (200, json!({ "schema": schema, "schemaType": format }))
                        } else if text.contains("09090909") {
                            (
                                400,
                                json!({"__type": "EntityNotFoundException", "Message": "not found"}),
                            )
                        } else {
                            (
                                200,
                                json!({"SchemaDefinition": schema, "DataFormat": format, "VersionNumber": 1}),
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
        self.converter_of(AVRO, &[&[("avroRecordType", "GENERIC_RECORD")], entries].concat())
    }

    fn converter_of(&self, class: &str, entries: &[(&str, &str)]) -> Arc<dyn Converter> {
        let plugin = klamm_converters::converters()
            .into_iter()
            .find(|plugin| plugin.info.class == class)
            .unwrap();
        let common = [
            ("region", "eu-west-1"),
            ("endpoint", self.url.as_str()),
            ("registry.name", "r"),
            ("schemaName", "orders"),
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

const NATURAL: Rendering = Rendering::Natural(Natural {
    decimals: klamm_connect_api::Decimals::String,
    timestamps: klamm_connect_api::Timestamps::Iso,
});

#[tokio::test]
async fn json_is_read_as_by_awss_converter() {
    let schema = r#"{"$schema":"http://json-schema.org/draft-07/schema#","title":"Order","type":"object","properties":{
        "id":{"type":"integer","connect.index":0},
        "small":{"type":"integer","connect.type":"int8","connect.index":1},
        "note":{"oneOf":[{"type":"null"},{"type":"string"}]},
        "u":{"oneOf":[{"type":"integer","connect.type":"int32"},{"type":"string"}]},
        "day":{"type":"integer","connect.type":"int32","connect.name":"org.apache.kafka.connect.data.Date","connect.version":1},
        "price":{"type":"string","connect.type":"bytes","connect.name":"org.apache.kafka.connect.data.Decimal","connect.parameters":{"scale":"2"}},
        "state":{"enum":["NEW","PAID"],"type":"string"},
        "tags":{"type":"array","items":{"type":"string"}},
        "by":{"type":"array","connect.type":"map","items":{"type":"object","properties":{"key":{"type":"integer"},"value":{"type":"string"}}}},
        "sub":{"type":"object","connect.name":"com.example.Sub","connect.doc":"d","properties":{"x":{"type":"number"}}}}}"#;
    let registries = Registries::of("JSON", schema).await;
    let converter = registries.converter_of(
        JSON,
        &[
            ("jacksonDeserializationFeatures", "FAIL_ON_UNKNOWN_PROPERTIES"),
            ("connect.meta.data", "true"),
        ],
    );
    let payload = br#"{"id":7,"small":1,"note":null,"u":5,"day":19844,"price":"BOI=","state":"PAID","tags":["a"],"by":[{"key":1,"value":"x"}],"sub":{"x":1.5,"unknown":1}}"#;
    let connect = r#"{"id":7,"small":1,"note":null,"u":{"field1":5,"field2":null},"day":19844,"price":"BOI=","state":"PAID","tags":["a"],"by":[[1,"x"]],"sub":{"x":1.5}}"#;
    let natural = r#"{"id":7,"small":1,"note":null,"u":5,"day":"2024-05-01","price":"12.50","state":"PAID","tags":["a"],"by":{"1":"x"},"sub":{"x":1.5}}"#;
    for bytes in [glue([7; 16], 0, payload), glue([7; 16], 5, &deflated(payload))] {
        assert_eq!(
            json(&*converter, &bytes, Rendering::Connect).await.as_deref(),
            Ok(connect)
        );
        assert_eq!(json(&*converter, &bytes, NATURAL).await.as_deref(), Ok(natural));
    }
    let datum = converter
        .to_connect("orders", &[], Some(&glue([7; 16], 0, payload)))
        .unwrap();
    let schema = datum.decode().unwrap().schema.unwrap();
    let field = |name: &str| &schema.field(name).unwrap().schema;
    assert_eq!(schema.name(), None, "AWS's converter has no use for a title");
    assert_eq!(field("u").name(), Some("oneOf"));
    assert_eq!(
        (field("sub").name(), field("sub").doc()),
        (Some("com.example.Sub"), Some("d"))
    );
    assert!(field("note").is_optional() && !field("id").is_optional());
    let symbols = "com.amazonaws.services.schemaregistry.kafkaconnect.jsonschema.Enum.PAID";
    assert_eq!(field("state").parameters()[symbols], "PAID");
    // Confluent's settings that help with schemas that were not written by a converter.
    let lenient = registries.converter_of(JSON, &[("use.optional.for.nonrequired", "true")]);
    let bytes = glue([7; 16], 0, br#"{"id":7}"#);
    let error = json(&*converter, &bytes, Rendering::Connect).await.unwrap_err();
    assert!(error.to_string().contains("field `small`"), "{error}");
    assert!(
        json(&*lenient, &bytes, Rendering::Connect)
            .await
            .unwrap()
            .contains(r#""small":null"#)
    );
    let strict = registries.converter_of(JSON, &[("json.fail.invalid.schema", "true")]);
    let wrong = glue([7; 16], 0, br#"{"id":"x"}"#);
    let error = json(&*strict, &wrong, Rendering::Connect).await.unwrap_err();
    assert!(error.to_string().contains("/id breaks `"), "{error}");
}

const PROTO: &str = r#"syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "additionalTypes/decimal.proto";
message Order {
  uint32 id = 1;
  oneof method { string card = 2; int32 voucher = 3; }
  optional string note = 4;
  Address address = 5;
  map<string, int32> counts = 6;
  repeated sint64 numbers = 7;
  State state = 8;
  google.protobuf.Timestamp at = 9;
  google.protobuf.StringValue name = 10;
  additionalTypes.Decimal price = 11;
  message Address { string city = 1; Order back = 2; }
  enum State { NEW = 0; PAID = 1; }
}
message Also { string a = 1; }
"#;

/// The index of each message: `shop.Also`, `shop.Order`, `shop.Order.Address`, `shop.Order.CountsEntry`.
#[tokio::test]
async fn protobuf_is_read_as_by_awss_converter() {
    let registries = Registries::of("PROTOBUF", PROTO).await;
    let converter = registries.converter_of(PROTOBUF, &[("protobufMessageType", "DYNAMIC_MESSAGE")]);
    let full: &[u8] = &[
        &[1_u8, 8, 7, 0x18, 9][..],
        &[0x22, 1, b'n', 0x2a, 3, 0x0a, 1, b'B'],
        &[0x32, 5, 0x0a, 1, b'k', 0x10, 5],
        &[0x3a, 2, 1, 2, 0x40, 1, 0x4a, 2, 0x08, 1],
        &[0x52, 3, 0x0a, 1, b'x', 0x5a, 4, 0x08, 12, 0x18, 4],
    ]
    .concat();
    let whole = r#"{"id":7,"method":{"card":null,"voucher":9},"note":"n","address":{"city":"B","back":null},"counts":{"k":5},"numbers":[-1,1],"state":"PAID","at":1000,"name":{"value":"x"},"price":{"units":12,"fraction":0,"precision":4,"scale":0}}"#;
    let nothing = r#"{"id":0,"method":{"card":null,"voucher":null},"note":null,"address":{"city":"","back":null},"counts":{},"numbers":[],"state":"NEW","at":0,"name":{"value":""},"price":{"units":0,"fraction":0,"precision":0,"scale":0}}"#;
    let natural = r#"{"id":7,"voucher":9,"note":"n","address":{"city":"B","back":null},"counts":{"k":5},"numbers":[-1,1],"state":"PAID","at":"1970-01-01T00:00:01.000Z","name":{"value":"x"},"price":{"units":12,"fraction":0,"precision":4,"scale":0}}"#;
    let cases: [(&[u8], Rendering, &str); 6] = [
        (full, Rendering::Connect, whole),
        (full, NATURAL, natural),
        (&[1], Rendering::Connect, nothing),
        (&[0, 0x0a, 1, b'a'], Rendering::Connect, r#"{"a":"a"}"#),
        (&[2, 0x0a, 1, b'B'], Rendering::Connect, r#"{"city":"B","back":null}"#),
        (
            &[3, 0x0a, 1, b'k', 0x10, 2],
            Rendering::Connect,
            r#"{"key":"k","value":2}"#,
        ),
    ];
    for (payload, rendering, wanted) in cases {
        for bytes in [glue([7; 16], 0, payload), glue([7; 16], 5, &deflated(payload))] {
            assert_eq!(json(&*converter, &bytes, rendering).await.as_deref(), Ok(wanted));
        }
    }
    let datum = converter
        .to_connect("orders", &[], Some(&glue([7; 16], 0, &[1])))
        .unwrap();
    let schema = datum.decode().unwrap().schema.unwrap();
    let field = |name: &str| &schema.field(name).unwrap().schema;
    assert_eq!((schema.name(), schema.version()), (Some("Order"), Some(1)));
    assert_eq!(schema.parameters()["protobuf.package"], "shop");
    assert_eq!(field("address").name(), Some("shop.Order.Address"));
    assert_eq!(
        (field("method").name(), &*field("method").parameters()["protobuf.type"]),
        (Some("method"), "oneof")
    );
    assert_eq!(field("id").parameters()["protobuf.type"], "UINT32");
    assert_eq!(field("id").parameters()["protobuf.tag"], "1");
    assert_eq!(field("state").parameters()["PROTOBUF_ENUM_VALUE.PAID"], "1");
    assert_eq!(field("state").parameters()["ENUM_NAME"], "shop.Order.State");
    assert!(!field("id").is_optional() && field("note").is_optional() && field("numbers").is_optional());
    for (payload, wanted) in [
        (&[9_u8][..], "has no message at [9]"),
        (&[], "it ends within its message indexes"),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "more than five bytes"),
    ] {
        let error = json(&*converter, &glue([7; 16], 0, payload), Rendering::Connect)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn protobuf_of_confluents_serializer_is_read_by_the_second_registry() {
    let registries = Registries::of("PROTOBUF", PROTO).await;
    let converter = registries.converter_of(
        PROTOBUF,
        &[
            (
                "secondaryDeserializer",
                "io.confluent.kafka.serializers.protobuf.KafkaProtobufDeserializer",
            ),
            ("schema.registry.url", &registries.url),
        ],
    );
    // A path there: the second message of the file, which comes first by name.
    let bytes = Bytes::from_static(&[0, 0, 0, 0, 5, 2, 2, 0x0a, 1, b'a']);
    assert_eq!(
        json(&*converter, &bytes, Rendering::Connect).await.as_deref(),
        Ok(r#"{"a":"a"}"#)
    );
}

#[test]
fn awss_converters_are_told_apart_by_their_short_names() {
    let plugins = klamm_converters::converters();
    let position = |class: &str| plugins.iter().position(|plugin| plugin.info.class == class).unwrap();
    // The first one that answers to a name is taken: `JsonSchemaConverter` stays Confluent's.
    assert!(position("io.confluent.connect.json.JsonSchemaConverter") < position(JSON));
    assert!(
        plugins[position(JSON)]
            .info
            .aliases
            .contains(&"AWSKafkaJsonSchemaConverter")
    );
    assert!(
        plugins[position(PROTOBUF)]
            .info
            .aliases
            .contains(&"AWSKafkaProtobufConverter")
    );
}
