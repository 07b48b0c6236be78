use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use klamm_connect_api::{
    Datum, Map, Origin, RawConfig, Record, Schema, SchemaAndValue, SchemaRef, TopicPartition, Value,
};

use crate::{Chain, StageError, predicates, transforms};

fn raw(class: &str, settings: &[(&str, &str)]) -> RawConfig {
    let own = settings
        .iter()
        .map(|(key, value)| (format!("transforms.t.{key}"), (*value).to_owned()));
    let chain = [("transforms", "t"), ("transforms.t.type", class)];
    let chain = chain.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    chain.chain(own).collect()
}

fn build(raw: &RawConfig) -> Chain {
    Chain::build(raw, &transforms(), &predicates()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn apply(transform: &str, record: Record) -> Result<Option<Record>, StageError> {
    let mut words = transform.split(' ');
    let class = words.next().unwrap_or_default();
    let class = match class.contains('.') {
        true => class.to_owned(),
        false => format!("io.confluent.connect.transforms.{class}"),
    };
    let settings: Vec<_> = words.filter_map(|word| word.split_once('=')).collect();
    build(&raw(&class, &settings)).apply(record)
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
        (
            "ExtractTopic$Value field=$[\"f1\"]['f3'] field.format=JSON_PATH",
            map(&[("f1", map(&[("f3", text("z"))]).value)]),
            Some("z"),
        ),
        (
            "ExtractTopic$Value field=$.f1.f3 field.format=JSON_PATH",
            map(&[("f1", text("z"))]),
            None,
        ),
        (
            "ExtractTopic$Value field=f1.f3 field.format=json_path skip.missing.or.null=true",
            map(&[]),
            Some("bar"),
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

const R: &str = r#"{"shop":"us","n":5,"nul":null,"key":{"nestedKey":"value1"},"items":[{"p":1},{"p":20}]}"#;

#[test]
fn records_are_kept_or_dropped_by_a_path() {
    let value = |text: &str| SchemaAndValue::schemaless(klamm_converters::parse_json(text).unwrap());
    let (kept, dropped, fails) = (Ok(true), Ok(false), Err(()));
    let cases = [
        // condition, type, missing or null, value, fate
        ("$[?(@.shop == 'us')]", "include", "fail", R, kept),
        ("$[?(@.shop == 'us')]", "exclude", "fail", R, dropped),
        ("$[?(@.absent == 1)]", "include", "fail", R, dropped),
        ("$[?(@.absent == 1)]", "exclude", "fail", R, kept),
        ("$.absent", "include", "exclude", R, dropped),
        ("$.absent", "include", "fail", R, fails),
        ("$.absent[?(@.x == 1)]", "exclude", "include", R, kept),
        ("$.nul", "include", "include", R, kept),
        ("$.nul", "exclude", "fail", R, fails),
        ("$.key.nestedKey", "include", "exclude", R, kept),
        ("$.key.nestedKey", "EXCLUDE", "include", R, dropped),
        ("$.shop[?(@.x == 1)]", "include", "exclude", R, dropped),
        ("$.items[?(@.p > 10)]", "include", "fail", R, kept),
        ("$.items[?(@.p > 100)]", "include", "fail", R, dropped),
        (
            "$.key[?(@.nestedKey == \"value1\" || @.nestedKey == 'v2')]",
            "include",
            "fail",
            R,
            kept,
        ),
        ("$[?(@.a)]", "include", "exclude", "null", dropped),
        ("$[?(@.a)]", "include", "fail", "null", fails),
        ("$[?(@.a)]", "include", "include", "\"text\"", kept),
        ("$[?(@.n > 4 && @.shop =~ /u.*/)]", "include", "fail", R, kept),
        ("$[?(@.shop =~ /((u|s)+)+\\1\\1x/)]", "include", "include", R, dropped),
    ];
    for (condition, kind, missing, json, fate) in cases {
        let transform = raw(
            "io.confluent.connect.transforms.Filter$Value",
            &[
                ("filter.condition", condition),
                ("filter.type", kind),
                ("missing.or.null.behavior", missing),
            ],
        );
        let got = build(&transform).apply(record(SchemaAndValue::NULL, value(json)));
        let got = got.map(|record| record.is_some()).map_err(|_| ());
        assert_eq!(got, fate, "{condition} {kind} {missing} {json}");
    }
}

#[test]
fn a_path_is_followed_through_structs() {
    let inner = Schema::structure()
        .field("state", Schema::string())
        .field(
            "n",
            Schema::builder(klamm_connect_api::SchemaType::Int32)
                .default_value(Value::Int32(5))
                .build()
                .unwrap(),
        )
        .build()
        .unwrap();
    let outer = Schema::structure().field("after", Arc::clone(&inner)).build().unwrap();
    let mut after = klamm_connect_api::Struct::try_new(inner).unwrap();
    after.put("state", Value::from("paid")).unwrap();
    let mut value = klamm_connect_api::Struct::try_new(Arc::clone(&outer)).unwrap();
    value.put("after", Value::Struct(Box::new(after))).unwrap();
    let record = record(
        SchemaAndValue::NULL,
        SchemaAndValue::new(outer, Value::Struct(Box::new(value))),
    );
    let cases = [
        ("$.after[?(@.state == 'paid' && @.n == 5)]", true),
        ("$[?(@.after.state == 'new')]", false),
    ];
    for (condition, kept) in cases {
        let transform = raw(
            "io.confluent.connect.transforms.Filter$Value",
            &[("filter.condition", condition), ("filter.type", "include")],
        );
        let got = build(&transform).apply(record.clone()).unwrap();
        assert_eq!(got.is_some(), kept, "{condition}");
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
