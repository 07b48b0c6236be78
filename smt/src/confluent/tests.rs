use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use klamm_connect_api::{
    Datum, Map, Origin, RawConfig, Record, Schema, SchemaAndValue, SchemaRef, TopicPartition, Value,
};

use crate::{Chain, StageError, predicates, transforms};

fn apply(transform: &str, record: Record) -> Result<Option<Record>, StageError> {
    let mut words = transform.split(' ');
    let mut raw = RawConfig::new();
    raw.insert("transforms".to_owned(), "t".to_owned());
    let class = words.next().unwrap_or_default();
    let class = match class.starts_with("io.") {
        true => class.to_owned(),
        false => format!("io.confluent.connect.transforms.{class}"),
    };
    raw.insert("transforms.t.type".to_owned(), class);
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        raw.insert(format!("transforms.t.{key}"), value.to_owned());
    }
    let chain = Chain::build(&raw, &transforms(), &predicates()).unwrap_or_else(|errors| panic!("{errors}"));
    chain.apply(record)
}

fn record(key: SchemaAndValue, value: SchemaAndValue) -> Record {
    let origin = Origin {
        topic_partition: TopicPartition::new("bar", 0),
        offset: 7,
    };
    Record::new(origin, Datum::from(key), Datum::from(value))
}

fn map(entries: &[(&str, Value)]) -> SchemaAndValue {
    let entries = entries.iter().map(|(key, value)| (Value::from(*key), value.clone()));
    SchemaAndValue::schemaless(Value::Map(entries.collect::<Map>()))
}

#[test]
fn drop_says_what_becomes_of_the_schema() {
    let null = |schema: Option<SchemaRef>| SchemaAndValue {
        schema,
        value: Value::Null,
    };
    let cases = [
        ("Drop$Key", Schema::int32(), Some(null(None))),
        (
            "Drop$Key schema.behavior=retain",
            Schema::int32(),
            Some(null(Some(Schema::int32()))),
        ),
        (
            "Drop$Key schema.behavior=force_optional",
            Schema::int32(),
            Some(null(Some(Schema::optional_int32()))),
        ),
        ("Drop$Key schema.behavior=validate", Schema::int32(), None),
        (
            "Drop$Key schema.behavior=validate",
            Schema::optional_int32(),
            Some(null(Some(Schema::optional_int32()))),
        ),
    ];
    for (transform, schema, wanted) in cases {
        let record = record(SchemaAndValue::new(schema, Value::Int32(24)), SchemaAndValue::NULL);
        let got = apply(transform, record).ok().flatten();
        assert_eq!(got.map(|record| record.key.decode().unwrap()), wanted, "{transform}");
    }
}

#[test]
fn tombstones_are_dropped_or_fail() {
    let value = |is_tombstone| match is_tombstone {
        true => SchemaAndValue::new(Schema::optional_string(), Value::Null),
        false => map(&[]),
    };
    let cases = [
        ("TombstoneHandler", true, Ok(false)),
        ("TombstoneHandler behavior=ignore", true, Ok(false)),
        ("TombstoneHandler behavior=fail", true, Err(())),
        ("TombstoneHandler behavior=fail", false, Ok(true)),
        (
            "io.aiven.kafka.connect.transforms.TombstoneHandler behavior=drop_silent",
            true,
            Ok(false),
        ),
    ];
    for (transform, is_tombstone, wanted) in cases {
        let got = apply(transform, record(SchemaAndValue::NULL, value(is_tombstone)));
        assert_eq!(
            got.map(|record| record.is_some()).map_err(|_| ()),
            wanted,
            "{transform}"
        );
    }
}

#[test]
fn topics_are_taken_from_fields_keys_and_headers() {
    let text = |text: &str| Value::from(text);
    let cases = [
        ("ExtractTopic$Value field=dst", map(&[("dst", text("a"))]), Some("a")),
        ("ExtractTopic$Value field=dst", map(&[]), None),
        (
            "ExtractTopic$Value field=dst skip.missing.or.null=true",
            map(&[]),
            Some("bar"),
        ),
        (
            "ExtractTopic$Value field=dst",
            map(&[("dst", Value::Int64(5))]),
            Some("5"),
        ),
        (
            "ExtractTopic$Value field=dst",
            map(&[("dst", Value::Array(Vec::new()))]),
            None,
        ),
        ("ExtractTopic$Key", map(&[]), Some("k")),
        ("ExtractTopic$Header field=h", map(&[]), Some("q")),
        (
            "MessageTimestampRouter topic.format=foo-${topic}-${timestamp} message.timestamp.keys=timestamp,time,ts \
             message.timestamp.format=yyyy-MM-dd topic.timestamp.format=yyyy.MM.dd",
            map(&[("time", text("2019-08-06"))]),
            Some("foo-bar-2019.08.06"),
        ),
        (
            "MessageTimestampRouter message.timestamp.keys=ts",
            map(&[("ts", Value::Int64(1_714_558_830_123))]),
            Some("bar-20240501"),
        ),
        ("MessageTimestampRouter message.timestamp.keys=ts", map(&[]), None),
    ];
    for (transform, value, wanted) in cases {
        let mut record = record(SchemaAndValue::schemaless(text("k")), value);
        record.headers.add("h", SchemaAndValue::schemaless(text("q")));
        let got = apply(transform, record).ok().flatten();
        assert_eq!(
            got.map(|record| record.topic.to_string()).as_deref(),
            wanted,
            "{transform}"
        );
    }
}

#[test]
fn gzip_is_unpacked_in_all_its_members() {
    let packed = |text: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let bytes = |bytes: Vec<u8>| Value::Bytes(bytes.into());
    let cases = [
        (
            bytes([packed(b"ab"), packed(b"c")].concat()),
            Some(bytes(b"abc".to_vec())),
        ),
        (Value::Null, Some(Value::Null)),
        (bytes(b"plain".to_vec()), None),
        (Value::from("text"), None),
    ];
    for (value, wanted) in cases {
        let got = apply(
            "GzipDecompress$Value",
            record(SchemaAndValue::NULL, SchemaAndValue::schemaless(value)),
        );
        assert_eq!(
            got.ok().flatten().map(|record| record.value.decode().unwrap().value),
            wanted
        );
    }
}
