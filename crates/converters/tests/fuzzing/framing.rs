//! What stands in front of a payload: Confluent's prefix or header, AWS's header with or without zlib.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use klamm_connect_api::RawHeader;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::check::{Check, Record};
use super::damage::damaged;

/// A payload with its schema's id.
pub(crate) struct Frame {
    pub(crate) headers: Vec<RawHeader>,
    pub(crate) bytes: Bytes,
    pub(crate) inflated: usize,
}

/// Names the schema in one of the ways that converters know.
pub(crate) fn frame(id: i32, payload: &[u8], is_glue: bool, rng: &mut StdRng) -> Frame {
    let guid = uuid::Uuid::from_u128(u128::from(id.unsigned_abs()));
    if is_glue {
        let is_compressed = rng.random_bool(0.2);
        let (mark, body) = if is_compressed {
            (5, deflated(payload))
        } else {
            (0, payload.to_vec())
        };
        return Frame {
            headers: Vec::new(),
            bytes: Bytes::from([&[3, mark][..], guid.as_bytes(), &body].concat()),
            inflated: payload.len(),
        };
    }
    let by_id = [&[0][..], &id.to_be_bytes()].concat();
    let by_guid = [&[1][..], guid.as_bytes()].concat();
    let name = if rng.random_bool(0.8) { by_id } else { by_guid };
    // Message indexes of Protobuf stand behind the id, wherever that is, so only what has none moves to the header.
    Frame {
        headers: Vec::new(),
        bytes: Bytes::from([&name, payload].concat()),
        inflated: payload.len(),
    }
}

pub(crate) fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(payload).unwrap();
    encoder.finish().unwrap()
}

const CLASSES: [(&str, bool); 4] = [
    ("io.confluent.connect.avro.AvroConverter", false),
    ("io.confluent.connect.json.JsonSchemaConverter", false),
    (
        "com.amazonaws.services.schemaregistry.kafkaconnect.AWSKafkaAvroConverter",
        true,
    ),
    (
        "com.amazonaws.services.schemaregistry.kafkaconnect.jsonschema.JsonSchemaConverter",
        true,
    ),
];

/// A record of a plain schema, whose frame is damaged.
pub(crate) fn run(check: &mut Check, rng: &mut StdRng) -> Result<(), String> {
    let (class, is_glue) = *CLASSES.choose(rng).unwrap();
    let is_avro = class.contains("vro");
    let (schema_type, schema) = if is_avro {
        ("AVRO", r#"{"type":"array","items":"string"}"#)
    } else {
        ("JSON", r#"{"type":"array","items":{"type":"string"}}"#)
    };
    let payload: &[u8] = if is_avro {
        &[4, 2, b'a', 2, b'b', 0]
    } else {
        br#"["a","b"]"#
    };
    let places = [
        "DualSchemaIdDeserializer",
        "PrefixSchemaIdDeserializer",
        "HeaderSchemaIdDeserializer",
    ];
    let mut settings = vec![("value.schema.id.deserializer", *places.choose(rng).unwrap())];
    if is_glue && rng.random() {
        settings.push((
            "secondaryDeserializer",
            "io.confluent.kafka.serializers.KafkaAvroDeserializer",
        ));
    }
    let (converter, settings) = check.converter(class, &settings);
    let id = check.registry.add(schema_type, schema.to_owned(), None);
    for _ in 0..10 {
        let Frame { mut headers, bytes, .. } = frame(id, payload, is_glue, rng);
        let mut bytes = bytes.to_vec();
        if rng.random_bool(0.3) {
            // The id in the header, with something behind it.
            let (name, rest) = bytes.split_at(5.min(bytes.len()));
            let mut value = name.to_vec();
            if rng.random() {
                value = damaged(&value, rng);
            }
            headers.push((
                Bytes::from_static(b"__value_schema_id"),
                rng.random_bool(0.9).then(|| Bytes::from(value)),
            ));
            bytes = rest.to_vec();
        }
        let mut inflated = payload.len();
        if is_glue && rng.random_bool(0.1) {
            // Far more than it is long.
            inflated = 1 << rng.random_range(10..25);
            bytes = [&bytes[..18.min(bytes.len())], &deflated(&vec![0; inflated])].concat();
            bytes[1] = 5;
        }
        if rng.random_bool(0.7) {
            bytes = damaged(&bytes, rng);
        }
        check.read(&Record {
            converter: &converter,
            settings: &settings,
            schema,
            headers: &headers,
            bytes: Bytes::from(bytes),
            inflated: inflated.max(1 << 20),
            is_passed_on: false,
        })?;
    }
    Ok(())
}
