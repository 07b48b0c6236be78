use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use klamm_connect_api::{
    DataError, DatumCodec, Map, Natural, Origin, Rendering, Schema, SchemaAndValue, SchemaMetadata, Struct,
    TimestampType, TopicPartition, Value, logical,
};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::{CloudEventAttributes, Formatter, SchemaVisibility, Schemaless};
use crate::template::{Placeholder, Template};

/// JSON as a converter leaves it: checked, and written unchanged.
#[derive(Debug)]
struct JsonText;

impl DatumCodec for JsonText {
    fn decode(&self, bytes: &Bytes) -> Result<SchemaAndValue, DataError> {
        let json = serde_json::from_slice(bytes).map_err(|_| DataError::data("no JSON"))?;
        Ok(SchemaAndValue::schemaless(value_of(json)))
    }

    fn write_json(&self, bytes: &Bytes, _: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        out.extend_from_slice(bytes);
        Ok(())
    }
}

fn value_of(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Boolean(flag),
        serde_json::Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Value::Float64(number.as_f64().unwrap()), Value::Int64),
        serde_json::Value::String(text) => Value::String(text.into()),
        serde_json::Value::Array(items) => Value::Array(items.into_iter().map(value_of).collect()),
        serde_json::Value::Object(members) => {
            let entries = members.into_iter();
            Value::Map(
                entries
                    .map(|(name, value)| (Value::String(name.into()), value_of(value)))
                    .collect(),
            )
        }
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

const SERVERS: &str = "b1:9092,b2:9092";

fn plan(format: EventFormat) -> PayloadPlan {
    PayloadPlan {
        format,
        rendering: Rendering::Connect,
        packing: Packing::Array,
        compression: Compression::None,
    }
}

fn confluent() -> PayloadPlan {
    plan(EventFormat::Confluent(Schemaless::Json))
}

fn escaped() -> PayloadPlan {
    plan(EventFormat::Confluent(Schemaless::EscapedJson))
}

fn esm() -> PayloadPlan {
    plan(EventFormat::Esm { source_arn: None })
}

fn nordstrom(formatter: Formatter) -> PayloadPlan {
    plan(EventFormat::Nordstrom(formatter))
}

fn nordstrom_json(visibility: SchemaVisibility) -> PayloadPlan {
    nordstrom(Formatter::Json {
        key: visibility,
        value: visibility,
    })
}

fn cloud_events() -> PayloadPlan {
    use Placeholder::{Key, Offset, Partition, Topic};
    let template = |text| Template::parse(text, &[Topic, Partition, Offset, Key]).unwrap();
    plan(EventFormat::CloudEvents(Box::new(CloudEventAttributes {
        id: template("${topic}-${partition}-${offset}"),
        source: template("kafka:${topic}"),
        event_type: template("kafka.record"),
        subject: Some(template("${key}")),
    })))
}

/// Every format, as an array and, where there is that, as one record.
fn all() -> Vec<PayloadPlan> {
    let mut plans = vec![
        confluent(),
        escaped(),
        esm(),
        nordstrom(Formatter::Plain),
        nordstrom_json(SchemaVisibility::None),
        nordstrom_json(SchemaVisibility::Min),
        nordstrom_json(SchemaVisibility::All),
        plan(EventFormat::Raw),
        cloud_events(),
    ];
    let compressed = plans.clone().into_iter().map(|plan| PayloadPlan {
        compression: Compression::Gzip,
        ..plan
    });
    plans.extend(compressed);
    plans
}

fn one(plan: PayloadPlan) -> PayloadPlan {
    PayloadPlan {
        packing: Packing::One,
        ..plan
    }
}

fn payload(plan: &PayloadPlan, records: &[Record]) -> String {
    let mut builder = payload_builder(plan, SERVERS);
    for record in records {
        builder.push(record.origin(), &encode(plan, record).unwrap());
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
            r#""{\"b\":2}""#,
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
            "eventSource": "aws:SelfManagedKafka",
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
    let format = plan(EventFormat::Esm {
        source_arn: Some("arn:aws:kafka:x".to_owned()),
    });
    assert_eq!(
        payload(&format, &[]),
        r#"{"eventSource":"aws:kafka","eventSourceArn":"arn:aws:kafka:x","bootstrapServers":"b1:9092,b2:9092","records":{}}"#
    );
}

#[test]
fn a_datum_that_cannot_be_read_is_reported_with_its_place() {
    let unreadable = || Datum::Encoded {
        bytes: Bytes::from_static(b"?"),
        codec: Arc::new(Unreadable),
    };
    assert!(matches!(
        encode(&confluent(), &record(unreadable(), Datum::NULL)),
        Err(EncodeError::Key(_))
    ));
    assert!(matches!(
        encode(&confluent(), &record(Datum::NULL, unreadable())),
        Err(EncodeError::Value(_))
    ));
    assert!(matches!(
        encode(&escaped(), &record(Datum::NULL, unreadable())),
        Err(EncodeError::Value(_))
    ));
    assert!(
        encode(&esm(), &record(unreadable(), unreadable())).is_ok(),
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
            let bytes = encode(&PayloadPlan { rendering, ..format }, &record).unwrap().bytes;
            let text = String::from_utf8(bytes).unwrap();
            assert!(
                text.ends_with(&format!(r#""key":{wanted},"value":{wanted}}}}}"#)),
                "{text}"
            );
        }
        let json: serde_json::Value =
            serde_json::from_slice(&encode(&PayloadPlan { rendering, ..esm() }, &record).unwrap().bytes).unwrap();
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
        let bytes = encode(&esm(), &record(Datum::NULL, value)).unwrap().bytes;
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["value"], BASE64.encode(wanted), "{why}");
    }
}

/// Records that formats stumble over.
fn awkward() -> Vec<Record> {
    let order = Schema::structure()
        .name("com.acme.Order")
        .version(2)
        .field("id", Schema::int64())
        .field("note", Schema::optional_string())
        .build()
        .unwrap();
    let mut data = Struct::try_new(Arc::clone(&order)).unwrap();
    data.put("id", Value::Int64(7)).unwrap();
    let order: Datum = SchemaAndValue::new(order, Value::Struct(Box::new(data))).into();
    let bytes = |bytes: &'static [u8]| schemaless(Value::Bytes(Bytes::from_static(bytes)));
    let mut with_headers = record(schemaless(text("k\"1")), schemaless(map_a1()));
    with_headers
        .headers
        .add("trace", schemaless(Value::Bytes(Bytes::from_static(b"ab"))));
    with_headers.headers.add("trace", bytes(b"\xff"));
    with_headers.headers.add("trace", Datum::NULL);
    with_headers.headers.add(
        "traceparent",
        schemaless(text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
    );
    vec![
        // a struct with its schema
        record(with_schema(text("k1")), order),
        // JSON that nobody touched
        record(encoded(r#""k1""#), encoded(r#"{"a": [1, null]}"#)),
        // headers, twice and null
        with_headers,
        // a tombstone with a binary key
        record(bytes(b"\x00\xff"), Datum::NULL),
        // no key, and bytes
        record(Datum::NULL, bytes(b"\x01\x02\x03")),
        // numbers
        record(schemaless(Value::Int64(5)), schemaless(Value::Float64(1e21))),
    ]
}

/// The payloads of awkward records, one each.
fn shown(plan: &PayloadPlan) -> Vec<String> {
    let plan = one(plan.clone());
    awkward()
        .iter()
        .map(|record| payload(&plan, std::slice::from_ref(record)))
        .collect()
}

const COORDINATES: &str =
    r#""topic":"orders","partition":3,"offset":42,"timestamp":1700000000123,"timestampTypeName":"CreateTime"}"#;

#[test]
fn nordstroms_plain_payload_has_the_text_that_java_prints() {
    let none = r#""keySchemaName":null,"keySchemaVersion":null"#;
    let no_value = r#""valueSchemaName":null,"valueSchemaVersion":null"#;
    let wanted = [
        format!(
            r#"{{"key":"k1",{none},"value":"Struct{{id=7}}","valueSchemaName":"com.acme.Order","valueSchemaVersion":"2",{COORDINATES}"#
        ),
        format!(r#"{{"key":"k1",{none},"value":"{{a=[1, null]}}",{no_value},{COORDINATES}"#),
        format!(r#"{{"key":"k\"1",{none},"value":"{{a=1}}",{no_value},{COORDINATES}"#),
        format!(r#"{{"key":"AP8=",{none},"value":"",{no_value},{COORDINATES}"#),
        format!(r#"{{"key":"",{none},"value":"AQID",{no_value},{COORDINATES}"#),
        format!(r#"{{"key":"5",{none},"value":"1.0E21",{no_value},{COORDINATES}"#),
    ];
    assert_eq!(shown(&nordstrom(Formatter::Plain)), wanted);
    let mut bare = record(Datum::NULL, Datum::NULL);
    bare.timestamp = None;
    bare.timestamp_type = TimestampType::NoTimestampType;
    let array = payload(&nordstrom(Formatter::Plain), &[bare.clone(), bare]);
    let json: serde_json::Value = serde_json::from_str(&array).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2, "a batch is an array");
    assert_eq!(json[0]["timestamp"], 0, "a Java long has no null");
    assert_eq!(json[0]["timestampTypeName"], "NoTimestampType");
}

#[test]
fn nordstroms_json_payload_shows_as_much_of_schemas_as_it_may() {
    let none = r#""keySchemaName":null,"keySchemaVersion":null"#;
    let order = r#"{"id":7,"note":null}"#;
    let schema = concat!(
        r#"{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},"#,
        r#"{"type":"string","optional":true,"field":"note"}],"optional":false,"name":"com.acme.Order","version":2}"#
    );
    let named = r#""valueSchemaName":"com.acme.Order","valueSchemaVersion":"2""#;
    let cases = [
        (
            SchemaVisibility::None,
            format!(
                r#"{{"key":"k1",{none},"value":{order},"valueSchemaName":null,"valueSchemaVersion":null,{COORDINATES}"#
            ),
        ),
        (
            SchemaVisibility::Min,
            format!(r#"{{"key":"k1",{none},"value":{order},{named},{COORDINATES}"#),
        ),
        (
            SchemaVisibility::All,
            format!(
                r#"{{"key":{{"schema":{{"type":"string","optional":false}},"payload":"k1"}},{none},"value":{{"schema":{schema},"payload":{order}}},{named},{COORDINATES}"#
            ),
        ),
    ];
    for (visibility, wanted) in cases {
        let record = awkward().swap_remove(0);
        assert_eq!(
            payload(&one(nordstrom_json(visibility)), &[record]),
            wanted,
            "{visibility:?}"
        );
    }
    let no_value = r#""valueSchemaName":null,"valueSchemaVersion":null"#;
    let others = shown(&nordstrom_json(SchemaVisibility::None));
    let wanted = [
        format!(r#"{{"key":"k1",{none},"value":{{"a": [1, null]}},{no_value},{COORDINATES}"#),
        format!(r#"{{"key":"k\"1",{none},"value":{{"a":1}},{no_value},{COORDINATES}"#),
        format!(r#"{{"key":"AP8=",{none},"value":null,{no_value},{COORDINATES}"#),
        format!(r#"{{"key":null,{none},"value":"AQID",{no_value},{COORDINATES}"#),
        format!(r#"{{"key":5,{none},"value":1.0E21,{no_value},{COORDINATES}"#),
    ];
    assert_eq!(others[1..], wanted);
}

#[test]
fn the_raw_payload_is_the_value_or_an_array_of_values() {
    let plan = plan(EventFormat::Raw);
    assert_eq!(
        shown(&plan),
        [
            r#"{"id":7,"note":null}"#,
            r#"{"a": [1, null]}"#,
            r#"{"a":1}"#,
            "null",
            r#""AQID""#,
            "1.0E21"
        ]
    );
    let records = awkward();
    assert_eq!(payload(&plan, &records[1..4]), r#"[{"a": [1, null]},{"a":1},null]"#);
    assert_eq!(payload(&one(plan), &records[2..3]), r#"{"a":1}"#);
}

#[test]
fn cloud_events_have_the_attributes_of_their_specification() {
    let head = r#"{"specversion":"1.0","id":"orders-3-42","source":"kafka:orders","type":"kafka.record""#;
    let time = r#""time":"2023-11-14T22:13:20.123Z""#;
    let json = r#""datacontenttype":"application/json","data""#;
    let trace = r#""traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01""#;
    let bytes = r#""datacontenttype":"application/octet-stream","data_base64":"AQID""#;
    let wanted = [
        format!(r#"{head},"subject":"k1",{time},"partitionkey":"k1",{json}:{{"id":7,"note":null}}}}"#),
        format!(r#"{head},"subject":"k1",{time},"partitionkey":"k1",{json}:{{"a": [1, null]}}}}"#),
        format!(r#"{head},"subject":"k\"1",{time},"partitionkey":"k\"1",{trace},{json}:{{"a":1}}}}"#),
        format!(r#"{head},"subject":"AP8=",{time},"partitionkey":"AP8="}}"#),
        format!("{head},{time},{bytes}}}"),
        format!(r#"{head},"subject":"5",{time},"partitionkey":"5",{json}:1.0E21}}"#),
    ];
    assert_eq!(shown(&cloud_events()), wanted);
    let records = awkward();
    assert_eq!(
        payload(&cloud_events(), &records[3..5]),
        format!("[{},{}]", wanted[3], wanted[4]),
        "a batch is an array of events"
    );
}

#[test]
fn a_cloud_event_is_named_by_where_it_was_consumed_and_leaves_out_what_it_has_not() {
    let mut renamed = record(encoded(r#"{"a":"b"}"#), schemaless(text("x")));
    renamed.topic = "elsewhere".into();
    renamed.timestamp = Some(i64::MAX);
    assert_eq!(
        payload(&one(cloud_events()), &[renamed]),
        concat!(
            r#"{"specversion":"1.0","id":"orders-3-42","source":"kafka:orders","type":"kafka.record","#,
            r#""subject":"{\"a\":\"b\"}","partitionkey":"{\"a\":\"b\"}","datacontenttype":"application/json","data":"x"}"#
        ),
        "a year of five digits is no time of CloudEvents"
    );
    // A decimal is bytes in Connect's rendering, and digits in the natural one.
    let price = || {
        let schema = logical::decimal(2).build().unwrap();
        SchemaAndValue::new(schema, Value::Decimal(Box::new("12.50".parse().unwrap()))).into()
    };
    let natural = PayloadPlan {
        rendering: Rendering::Natural(Natural::default()),
        ..one(cloud_events())
    };
    let event = payload(&natural, &[record(Datum::NULL, price())]);
    assert!(event.ends_with(r#""data":"12.50"}"#), "{event}");
}

/// Bytes of a schema that a registry has.
#[derive(Debug)]
struct Registered(SchemaMetadata);

impl DatumCodec for Registered {
    fn is_self_contained(&self) -> bool {
        false
    }

    fn schema_metadata(&self) -> Option<&SchemaMetadata> {
        Some(&self.0)
    }

    fn decode(&self, _: &Bytes) -> Result<SchemaAndValue, DataError> {
        Ok(SchemaAndValue::schemaless(map_a1()))
    }

    fn write_json(&self, _: &Bytes, _: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        out.extend_from_slice(br#"{"a":1}"#);
        Ok(())
    }
}

#[test]
fn the_esm_event_says_which_schemas_a_registry_has() {
    let value = Datum::Encoded {
        bytes: Bytes::from_static(b"?"),
        codec: Arc::new(Registered(SchemaMetadata {
            data_format: "AVRO",
            schema_id: "17".into(),
        })),
    };
    let event: serde_json::Value = serde_json::from_str(&payload(&esm(), &[record(encoded("k"), value)])).unwrap();
    let first = &event["records"]["orders-3"][0];
    assert_eq!(
        first["valueSchemaMetadata"],
        json!({"dataFormat": "AVRO", "schemaId": "17"})
    );
    assert_eq!(
        first["value"],
        BASE64.encode(r#"{"a":1}"#),
        "JSON, as Lambda's own mapping decodes it"
    );
    assert_eq!(first.get("keySchemaMetadata"), None, "a key without a registry");
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
        for format in all() {
            let mut builder = payload_builder(&format, SERVERS);
            // The builder is used again after each payload.
            for _ in 0..rounds {
                let mut bound = builder.overhead();
                for record in &records {
                    let encoded = encode(&format, record).unwrap();
                    bound += builder.cost(record.origin(), &encoded);
                    builder.push(record.origin(), &encoded);
                }
                let body = builder.finish();
                if format.compression == Compression::Gzip {
                    let sent = compress(&body).unwrap();
                    prop_assert!(sent.len() <= bound, "{} > {bound}", sent.len());
                } else {
                    prop_assert!(body.len() <= bound, "{} > {bound}", body.len());
                }
                let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let carried = match &json {
                    serde_json::Value::Array(items) => items.len(),
                    event => event["records"].as_object().unwrap().values().map(|r| r.as_array().unwrap().len()).sum(),
                };
                prop_assert_eq!(carried, records.len());
            }
        }
    }

    #[test]
    fn one_record_alone_is_json_and_within_its_announced_size(record in any_record()) {
        for format in all() {
            let format = one(format);
            let mut builder = payload_builder(&format, SERVERS);
            let encoded = encode(&format, &record).unwrap();
            let bound = builder.overhead() + builder.cost(record.origin(), &encoded);
            builder.push(record.origin(), &encoded);
            let body = builder.finish();
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
            let sent = if format.compression == Compression::Gzip { compress(&body).unwrap() } else { body };
            prop_assert!(sent.len() <= bound, "{} > {bound}", sent.len());
        }
    }
}

/// What a function gets of a record whose value waits in S3, and what waits there.
#[test]
fn a_reference_stands_in_the_values_place_in_every_format() {
    let reference = |content: &Content| Reference {
        bucket: "b".to_owned(),
        key: "p/c/orders/3/42-r-ab".to_owned(),
        size: content.bytes.len(),
        content_type: content.content_type,
        sha256: "ab".to_owned(),
    };
    let in_place = |size: usize, content_type: &str| {
        json!({ "claimCheck": {
            "bucket": "b", "key": "p/c/orders/3/42-r-ab", "size": size, "contentType": content_type, "sha256": "ab",
        } })
    };
    let (json_type, bytes_type, text_type) = (
        "application/json",
        "application/octet-stream",
        "text/plain; charset=utf-8",
    );
    let large = || encoded(r#"{"id":7}"#);
    let with_schema = || with_schema(text("x"));
    let bytes = || schemaless(Value::Bytes(Bytes::from_static(b"\x00\xff")));
    type Find = fn(&serde_json::Value) -> serde_json::Value;
    let of_confluent: Find = |record| record["payload"]["value"].clone();
    let escaped_json: Find = |record| serde_json::from_str(record["payload"]["value"].as_str().unwrap()).unwrap();
    let of_esm: Find = |record| {
        let bytes = BASE64.decode(record["value"].as_str().unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let value: Find = |record| record["value"].clone();
    let text_of_json: Find = |record| serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
    let whole: Find = serde_json::Value::clone;
    let schema = br#"{"schema":{"type":"string","optional":false},"payload":"x"}"#;
    type Case<'a> = (PayloadPlan, Datum, Find, &'a [u8], &'a str, &'a str);
    let cases: [Case<'_>; 10] = [
        (confluent(), large(), of_confluent, br#"{"id":7}"#, json_type, "JSON"),
        (
            escaped(),
            large(),
            escaped_json,
            br#"{"id":7}"#,
            json_type,
            "the JSON itself waits, not a text of it",
        ),
        (
            esm(),
            large(),
            of_esm,
            br#"{"id":7}"#,
            bytes_type,
            "the bytes without base64",
        ),
        (esm(), bytes(), of_esm, b"\x00\xff", bytes_type, "any bytes"),
        (
            plan(EventFormat::Raw),
            large(),
            whole,
            br#"{"id":7}"#,
            json_type,
            "the value alone",
        ),
        (
            nordstrom(Formatter::Plain),
            large(),
            text_of_json,
            b"{id=7}",
            text_type,
            "a text in a text's place",
        ),
        (
            nordstrom_json(SchemaVisibility::None),
            large(),
            value,
            br#"{"id":7}"#,
            json_type,
            "JSON",
        ),
        (
            nordstrom_json(SchemaVisibility::Min),
            large(),
            value,
            br#"{"id":7}"#,
            json_type,
            "JSON",
        ),
        (
            nordstrom_json(SchemaVisibility::All),
            with_schema(),
            value,
            schema,
            json_type,
            "with its schema",
        ),
        (
            nordstrom_json(SchemaVisibility::All),
            large(),
            value,
            br#"{"id":7}"#,
            json_type,
            "without one",
        ),
    ];
    for (plan, datum, find, wanted, content_type, why) in cases {
        let record = record(schemaless(text("k1")), datum);
        let content = content(&plan, &record).unwrap().unwrap();
        assert_eq!((&*content.bytes, content.content_type), (wanted, content_type), "{why}");
        let encoded = encode_reference(&plan, &record, &reference(&content)).unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&encoded.bytes).unwrap();
        assert_eq!(find(&shown), in_place(wanted.len(), content_type), "{why}: {shown}");
        assert!(content_of_null(&plan).is_none(), "a tombstone stays one: {why}");
    }
    for (datum, wanted, content_type) in [
        (large(), &br#"{"id":7}"#[..], json_type),
        (bytes(), b"\x00\xff", bytes_type),
    ] {
        let record = record(schemaless(text("k1")), datum);
        let content = content(&cloud_events(), &record).unwrap().unwrap();
        assert_eq!((&*content.bytes, content.content_type), (wanted, content_type));
        let encoded = encode_reference(&cloud_events(), &record, &reference(&content)).unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&encoded.bytes).unwrap();
        assert_eq!(
            shown,
            json!({
                "specversion": "1.0", "id": "orders-3-42", "source": "kafka:orders", "type": "kafka.record", "subject": "k1",
                "time": "2023-11-14T22:13:20.123Z", "partitionkey": "k1", "datacontenttype": content_type,
                "dataref": "s3://b/p/c/orders/3/42-r-ab", "datarefsize": wanted.len(), "datarefsha256": "ab",
            })
        );
    }
}

fn content_of_null(plan: &PayloadPlan) -> Option<Content> {
    content(plan, &record(schemaless(text("k1")), Datum::NULL)).unwrap()
}
