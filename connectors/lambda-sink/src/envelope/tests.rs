use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use klamm_connect_api::{
    DataError, Datum, DatumCodec, Map, Natural, Origin, Schema, SchemaAndValue, TimestampType, TopicPartition, Value,
    logical,
};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::Schemaless;

/// JSON as a converter leaves it: checked, and written unchanged.
#[derive(Debug)]
struct JsonText;

impl DatumCodec for JsonText {
    fn decode(&self, bytes: &Bytes) -> Result<SchemaAndValue, DataError> {
        match serde_json::from_slice(bytes) {
            Ok(serde_json::Value::Object(members)) => {
                let mut map = Map::new();
                for (name, value) in members {
                    map.insert(Value::String(name.into()), Value::String(value.to_string().into()));
                }
                Ok(SchemaAndValue::schemaless(Value::Map(map)))
            }
            _ => Err(DataError::data("no object")),
        }
    }

    fn write_json(&self, bytes: &Bytes, _: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        out.extend_from_slice(bytes);
        Ok(())
    }
}

/// A codec whose bytes turn out to be unreadable.
#[derive(Debug)]
struct Unreadable;

impl DatumCodec for Unreadable {
    fn decode(&self, _bytes: &Bytes) -> Result<SchemaAndValue, DataError> {
        Err(DataError::data("unreadable"))
    }

    fn write_json(&self, _: &Bytes, _: Rendering, _: &mut Vec<u8>) -> Result<(), DataError> {
        Err(DataError::data("unreadable"))
    }
}

fn encoded(text: &'static str) -> Datum {
    Datum::Encoded {
        bytes: Bytes::from_static(text.as_bytes()),
        codec: Arc::new(JsonText),
    }
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

fn schemaless(value: Value) -> Datum {
    SchemaAndValue::schemaless(value).into()
}

fn with_schema(value: Value) -> Datum {
    SchemaAndValue::new(Schema::string(), value).into()
}

fn origin(topic: &str, partition: i32, offset: i64) -> Origin {
    Origin {
        topic_partition: TopicPartition::new(topic, partition),
        offset,
    }
}

fn record(key: Datum, value: Datum) -> Record {
    let mut record = Record::new(origin("orders", 3, 42), key, value);
    record.timestamp = Some(1_700_000_000_123);
    record.timestamp_type = TimestampType::CreateTime;
    record
}

fn confluent() -> EventFormat {
    EventFormat::Confluent(Schemaless::Json)
}

fn escaped() -> EventFormat {
    EventFormat::Confluent(Schemaless::EscapedJson)
}

fn esm() -> EventFormat {
    EventFormat::Esm {
        source_arn: None,
        bootstrap_servers: "b1:9092,b2:9092".to_owned(),
    }
}

fn payload(format: &EventFormat, records: &[Record]) -> String {
    let mut builder = payload_builder(format);
    for record in records {
        builder.push(record.origin(), &encode(format, Rendering::Connect, record).unwrap());
    }
    String::from_utf8(builder.finish().to_vec()).unwrap()
}

fn map_a1() -> Value {
    let mut map = Map::new();
    map.insert(text("a"), Value::Int64(1));
    Value::Map(map)
}

#[test]
fn the_confluent_payload_is_an_array_of_one_member_objects() {
    let records = [
        record(encoded(r#""k1""#), encoded(r#"{"a": 1}"#)),
        record(Datum::NULL, Datum::NULL),
    ];
    assert_eq!(
        payload(&confluent(), &records),
        concat!(
            r#"[{"payload":{"timestamp":1700000000123,"topic":"orders","partition":3,"offset":42,"key":"k1","value":{"a": 1}}},"#,
            r#"{"payload":{"timestamp":1700000000123,"topic":"orders","partition":3,"offset":42,"key":null,"value":null}}]"#,
        ),
        "bytes that no transform touched go through unchanged"
    );
}

#[test]
fn keys_and_values_are_rendered_as_the_record_converter_says() {
    let cases: Vec<(Datum, &str, &str, &str)> = vec![
        // datum, JsonKeyValueConverter, EscapedJsonKeyValueConverter, why
        (Datum::NULL, "null", "null", "a tombstone"),
        (
            with_schema(text("x")),
            r#""x""#,
            r#""x""#,
            "a schema gives the same with both",
        ),
        (
            schemaless(text("x")),
            r#""x""#,
            r#""\"x\"""#,
            "schemaless text is escaped JSON text",
        ),
        (schemaless(Value::Int64(-7)), "-7", r#""-7""#, "schemaless number"),
        (
            schemaless(map_a1()),
            r#"{"a":1}"#,
            r#""{\"a\":1}""#,
            "real JSON, or JSON in a string",
        ),
        (
            schemaless(Value::Bytes(Bytes::from_static(b"\xff\x00"))),
            r#""/wA=""#,
            r#""\"/wA=\"""#,
            "bytes are base64",
        ),
        (
            schemaless(text("a\"b\n")),
            r#""a\"b\n""#,
            r#""\"a\\\"b\\n\"""#,
            "escapes are escaped again",
        ),
        (
            encoded(r#"{"b":2}"#),
            r#"{"b":2}"#,
            r#""{\"b\":\"2\"}""#,
            "a lazy datum is looked at to know its schema",
        ),
    ];
    for (datum, json, escaped_json, why) in cases {
        for (format, wanted) in [(confluent(), json), (escaped(), escaped_json)] {
            let found = payload(&format, &[record(Datum::NULL, datum.clone())]);
            let wanted = format!(
                r#"[{{"payload":{{"timestamp":1700000000123,"topic":"orders","partition":3,"offset":42,"key":null,"value":{wanted}}}}}]"#
            );
            assert_eq!(found, wanted, "{why}");
        }
    }
}

#[test]
fn confluents_topic_is_the_transformed_one_and_its_offset_that_of_the_origin() {
    let mut renamed = record(Datum::NULL, Datum::NULL);
    renamed.topic = "re\"named".into();
    renamed.partition = None;
    renamed.timestamp = None;
    assert_eq!(
        payload(&confluent(), &[renamed]),
        r#"[{"payload":{"timestamp":null,"topic":"re\"named","partition":3,"offset":42,"key":null,"value":null}}]"#
    );
}

#[test]
fn the_esm_event_groups_by_partition_and_keeps_headers() {
    let mut first = record(encoded("q1"), encoded("{}"));
    first
        .headers
        .add("trace", schemaless(Value::Bytes(Bytes::from_static(b"ab\xff"))));
    first.headers.add("trace", encoded("c"));
    first.headers.add("none", Datum::NULL);
    let mut other = Record::new(origin("orders", 4, 7), Datum::NULL, Datum::NULL);
    other.timestamp_type = TimestampType::LogAppendTime;
    other.timestamp = Some(5);
    let last = record(schemaless(text("k")), schemaless(map_a1()));
    let event: serde_json::Value = serde_json::from_str(&payload(&esm(), &[first, other, last])).unwrap();
    assert_eq!(
        event,
        json!({
            "eventSource": "SelfManagedKafka",
            "bootstrapServers": "b1:9092,b2:9092",
            "records": {
                "orders-3": [
                    {
                        "topic": "orders", "partition": 3, "offset": 42, "timestamp": 1_700_000_000_123_i64,
                        "timestampType": "CREATE_TIME", "key": BASE64.encode("q1"), "value": BASE64.encode("{}"),
                        "headers": [{"trace": [97, 98, 255]}, {"trace": [99]}, {"none": null}],
                    },
                    {
                        "topic": "orders", "partition": 3, "offset": 42, "timestamp": 1_700_000_000_123_i64,
                        "timestampType": "CREATE_TIME", "key": BASE64.encode("k"), "value": BASE64.encode(r#"{"a":1}"#),
                        "headers": [],
                    },
                ],
                "orders-4": [{
                    "topic": "orders", "partition": 4, "offset": 7, "timestamp": 5, "timestampType": "LOG_APPEND_TIME",
                    "value": null, "headers": [],
                }],
            },
        })
    );
}

#[test]
fn with_an_arn_the_esm_event_is_that_of_a_managed_cluster() {
    let format = EventFormat::Esm {
        source_arn: Some("arn:aws:kafka:x".to_owned()),
        bootstrap_servers: String::new(),
    };
    assert_eq!(
        payload(&format, &[]),
        r#"{"eventSource":"aws:kafka","eventSourceArn":"arn:aws:kafka:x","bootstrapServers":"","records":{}}"#
    );
}

#[test]
fn a_datum_that_cannot_be_read_is_reported_with_its_place() {
    let unreadable = || Datum::Encoded {
        bytes: Bytes::from_static(b"?"),
        codec: Arc::new(Unreadable),
    };
    assert!(matches!(
        encode(&confluent(), Rendering::Connect, &record(unreadable(), Datum::NULL)),
        Err(EncodeError::Key(_))
    ));
    assert!(matches!(
        encode(&confluent(), Rendering::Connect, &record(Datum::NULL, unreadable())),
        Err(EncodeError::Value(_))
    ));
    assert!(matches!(
        encode(&escaped(), Rendering::Connect, &record(Datum::NULL, unreadable())),
        Err(EncodeError::Value(_))
    ));
    assert!(
        encode(&esm(), Rendering::Connect, &record(unreadable(), unreadable())).is_ok(),
        "the event has the bytes as they are"
    );
}

#[test]
fn keys_values_and_headers_are_written_in_the_routes_rendering() {
    let timestamp = || SchemaAndValue::new(logical::timestamp().build().unwrap(), Value::Instant(0)).into();
    let mut record = record(timestamp(), timestamp());
    record.headers.add("at", timestamp());
    let iso = r#""1970-01-01T00:00:00.000Z""#;
    let cases = [(Rendering::Connect, "0"), (Rendering::Natural(Natural::default()), iso)];
    for (rendering, wanted) in cases {
        for format in [confluent(), escaped()] {
            let bytes = encode(&format, rendering, &record).unwrap().bytes;
            let text = String::from_utf8(bytes).unwrap();
            assert!(
                text.ends_with(&format!(r#""key":{wanted},"value":{wanted}}}}}"#)),
                "{text}"
            );
        }
        let json: serde_json::Value =
            serde_json::from_slice(&encode(&esm(), rendering, &record).unwrap().bytes).unwrap();
        assert_eq!(json["key"], BASE64.encode(wanted));
        assert_eq!(json["value"], BASE64.encode(wanted));
        assert_eq!(json["headers"][0]["at"], json!(wanted.as_bytes()));
    }
}

/// Bytes that only a schema elsewhere explains.
#[derive(Debug)]
struct NeedsSchema(Value);

impl DatumCodec for NeedsSchema {
    fn is_self_contained(&self) -> bool {
        false
    }

    fn decode(&self, _: &Bytes) -> Result<SchemaAndValue, DataError> {
        Ok(SchemaAndValue::schemaless(self.0.clone()))
    }

    fn write_json(&self, bytes: &Bytes, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        klamm_connect_api::json::write(&self.decode(bytes)?, rendering, out)
    }
}

#[test]
fn the_esm_event_has_json_where_the_bytes_say_nothing_alone() {
    let cases: [(Value, &[u8], &str); 4] = [
        (Value::Int64(3), b"3", "JSON"),
        (
            text("abc"),
            b"abc",
            "a text without quotes, as if a transform had looked at it",
        ),
        (
            Value::Bytes(vec![1, 2].into()),
            &[1, 2],
            "bytes, not their base64 text once more",
        ),
        (Value::Array(vec![text("a")]), b"[\"a\"]", "JSON with text in it"),
    ];
    for (value, wanted, why) in cases {
        let value = Datum::Encoded {
            bytes: Bytes::from_static(&[1, 2, 3]),
            codec: Arc::new(NeedsSchema(value)),
        };
        let bytes = encode(&esm(), Rendering::Connect, &record(Datum::NULL, value))
            .unwrap()
            .bytes;
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["value"], BASE64.encode(wanted), "{why}");
    }
}

fn any_datum() -> impl Strategy<Value = Datum> {
    prop_oneof![
        Just(Datum::NULL),
        any::<String>().prop_map(|s| schemaless(text(&s))),
        any::<String>().prop_map(|s| with_schema(text(&s))),
        proptest::collection::vec(any::<u8>(), 0..64).prop_map(|b| schemaless(Value::Bytes(b.into()))),
        any::<i64>().prop_map(|n| schemaless(Value::Int64(n))),
        any::<f64>().prop_map(|n| schemaless(Value::Float64(n))),
        Just(encoded(r#"{"a":[1,"x"]}"#)),
    ]
}

prop_compose! {
    fn any_record()(
        topic in "[a-z.\"\\\\\u{1}é]{1,8}",
        partition in any::<i32>(),
        offset in any::<i64>(),
        timestamp in any::<Option<i64>>(),
        key in any_datum(),
        value in any_datum(),
        headers in proptest::collection::vec((any::<String>(), any_datum()), 0..4),
    ) -> Record {
        let mut record = Record::new(origin(&topic, partition, offset), key, value);
        record.timestamp = timestamp;
        for (name, value) in headers {
            record.headers.add(name, value);
        }
        record
    }
}

proptest! {
    #[test]
    fn any_payload_is_json_and_within_its_announced_size(
        records in proptest::collection::vec(any_record(), 0..8),
        rounds in 1..3usize,
    ) {
        for format in [confluent(), escaped(), esm()] {
            let mut builder = payload_builder(&format);
            // The builder is used again after each payload.
            for _ in 0..rounds {
                let mut bound = builder.overhead();
                for record in &records {
                    let encoded = encode(&format, Rendering::Connect, record).unwrap();
                    bound += builder.cost(record.origin(), &encoded);
                    builder.push(record.origin(), &encoded);
                }
                let body = builder.finish();
                prop_assert!(body.len() <= bound, "{} > {bound}", body.len());
                let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let carried = match &json {
                    serde_json::Value::Array(payloads) => payloads.len(),
                    event => event["records"].as_object().unwrap().values().map(|r| r.as_array().unwrap().len()).sum(),
                };
                prop_assert_eq!(carried, records.len());
            }
        }
    }

    #[test]
    fn any_answer_of_a_function_is_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let call = Call {
            route: klamm_connect_api::sink::RouteIndex(0),
            body: Bytes::new(),
            origins: [origin("t", 0, 0)].into(),
        };
        let _answer = partial_answer(&esm(), &call, &body);
    }
}
