//! Transforms on generated schemas and values: whatever comes, they answer with a record, nothing, or an error.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::sync::Arc;

use bigdecimal::BigDecimal;
use klamm_connect_api::{
    Datum, Map, Origin, RawConfig, Record, Schema, SchemaAndValue, SchemaRef, SchemaType, Struct, TopicPartition,
    Value, logical,
};
use klamm_smt::Chain;
use proptest::collection::vec;
use proptest::prelude::*;

const NAMES: [&str; 6] = ["a", "b", "a.b", "", "é", "at"];

/// Each is a transform with its settings; field names are those of the generated data.
const TRANSFORMS: [&str; 46] = [
    "Cast$Value spec=a:int8,b:string",
    "Cast$Value spec=a.b:float32,at:boolean field.syntax.version=V2",
    "Cast$Value spec=int64",
    "Cast$Key spec=string",
    "DropHeaders headers=a",
    "ExtractField$Value field=a.b field.syntax.version=V2",
    "ExtractField$Key field=a",
    "Flatten$Value delimiter=.",
    "HeaderFrom$Value fields=a,b headers=x,y operation=move",
    "HeaderFrom$Value fields=a.b headers=x operation=move field.syntax.version=V2",
    "HoistField$Value field=h",
    "InsertField$Value topic.field=t timestamp.field=at",
    "InsertField$Key static.field=a static.value=v",
    "InsertHeader header=h value.literal=[1,2.5]",
    "MaskField$Value fields=a,b",
    "MaskField$Value fields=a.b,at replacement=7.9 field.syntax.version=V2",
    "ReplaceField$Value exclude=a renames=b:c",
    "SetSchemaMetadata$Value schema.name=N",
    "TimestampConverter$Value field=at target.type=string format=yyyy-MM-dd",
    "TimestampConverter$Value target.type=unix format=HH:mm unix.precision=nanoseconds",
    "TimestampConverter$Value field=a.b target.type=Date field.syntax.version=V2",
    "TimestampRouter topic.format=${topic}_${timestamp}",
    "ValueToKey fields=a,b",
    "ValueToKey fields=a.b field.syntax.version=V2",
    "io.confluent.connect.transforms.Drop$Value schema.behavior=force_optional",
    "io.confluent.connect.transforms.ExtractTopic$Value field=a skip.missing.or.null=true",
    "io.confluent.connect.transforms.ExtractTopic$Value field=$.a['b'] field.format=JSON_PATH",
    "io.confluent.connect.transforms.Filter$Key filter.type=exclude filter.condition=$..a[?(@.length()>1)]",
    "io.confluent.connect.transforms.Filter$Value filter.type=include missing.or.null.behavior=include \
     filter.condition=$[?(@.a>1||@.b=~/[a-z]*/||@..at!=null)]",
    "io.confluent.connect.transforms.Filter$Value filter.type=exclude filter.condition=$.a.b",
    "io.confluent.connect.transforms.GzipDecompress$Value",
    "io.confluent.connect.transforms.MessageTimestampRouter message.timestamp.keys=a,at",
    "io.confluent.connect.transforms.TombstoneHandler behavior=fail",
    "io.aiven.kafka.connect.transforms.ExtractTopic$Value field.name=a.b",
    "io.aiven.kafka.connect.transforms.FilterByFieldValue$Value field.name=a.b field.value.pattern=[0-9]",
    "io.aiven.kafka.connect.transforms.FilterByFieldValue$Key field.name=a field.value=1",
    "io.aiven.kafka.connect.transforms.KeyToValue key.fields=a,* value.fields=b",
    "io.aiven.kafka.connect.transforms.MakeTombstone",
    "com.github.jcustenborder.kafka.connect.transform.common.PatternFilter$Value fields=a,b pattern=[0-9]+",
    "com.github.jcustenborder.kafka.connect.transform.common.TopicNameToField$Value field=b",
    "io.debezium.transforms.ExtractNewRecordState add.fields=op delete.tombstone.handling.mode=rewrite",
    "io.debezium.transforms.HeaderToValue headers=h,i fields=h,a.b operation=move",
    "io.klamm.transforms.ParseJson$Value fields=b,a.b",
    "io.klamm.transforms.ParseJson$Value",
    "io.klamm.transforms.SetField$Value field=a template=${key.a.b}-${value.at}-${topic} missing.or.null.behavior=null",
    "io.klamm.transforms.WriteJson$Value fields=a,`a.b`",
];

/// Patterns that look at the generated data in every way.
const PATTERNS: [&str; 4] = [
    r#"{"value":{"a":[{"exists":false},{"numeric":[">",0]}],"b":{"a":[{"prefix":"1"}]}}}"#,
    r#"{"$or":[{"key":{"a.b":[{"anything-but":[1,"x"]}]}},{"value":[null,true,1.5,{"wildcard":"*0*"}]}]}"#,
    r#"{"headers":{"h":[{"exists":true}]},"topic":[{"suffix":"s"}],"timestamp":[{"numeric":["<=",5]}]}"#,
    r#"{"value":{"at":[{"cidr":"::/0"},{"equals-ignore-case":"t"}]},"partition":[3],"offset":[42]}"#,
];

fn chain(transforms: &[&str]) -> Chain {
    let mut raw = RawConfig::new();
    let aliases: Vec<String> = (0..transforms.len()).map(|i| format!("t{i}")).collect();
    raw.insert("transforms".to_owned(), aliases.join(","));
    for (alias, transform) in aliases.iter().zip(transforms) {
        let mut words = transform.split(' ');
        let class = match words.next().unwrap() {
            class if class.contains('.') => class.to_owned(),
            class => format!("org.apache.kafka.connect.transforms.{class}"),
        };
        raw.insert(format!("transforms.{alias}.type"), class);
        for word in words {
            let (key, value) = word.split_once('=').unwrap();
            raw.insert(format!("transforms.{alias}.{key}"), value.to_owned());
        }
    }
    build(&raw)
}

fn build(raw: &RawConfig) -> Chain {
    Chain::build(raw, &klamm_smt::transforms(), &klamm_smt::predicates()).unwrap()
}

/// Drops the records that match.
fn filter(pattern: &str) -> Chain {
    let settings = [
        ("transforms", "f"),
        ("transforms.f.type", "Filter"),
        ("transforms.f.predicate", "p"),
        ("predicates", "p"),
        ("predicates.p.type", "io.klamm.transforms.predicates.EventPattern"),
        ("predicates.p.pattern", pattern),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
    build(&RawConfig::from(settings))
}

fn schemaless() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(Value::Int64),
        any::<f64>().prop_map(Value::Float64),
        any::<f32>().prop_map(Value::Float32),
        "[-0-9:T.e]{0,12}".prop_map(Value::from),
        vec(any::<u8>(), 0..6).prop_map(|bytes| Value::Bytes(bytes.into())),
        any::<i64>().prop_map(Value::Instant),
        (any::<i64>(), -400_i64..400).prop_map(|(digits, scale)| decimal(digits, scale)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((prop::sample::select(&NAMES[..]), inner), 0..5).prop_map(|entries| {
                Value::Map(
                    entries
                        .into_iter()
                        .map(|(key, value)| (Value::from(key), value))
                        .collect::<Map>(),
                )
            }),
        ]
    })
}

fn decimal(digits: i64, scale: i64) -> Value {
    Value::Decimal(Box::new(BigDecimal::new(digits.into(), scale)))
}

/// A schema and one of its values.
fn typed() -> impl Strategy<Value = (SchemaRef, Value)> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|value| (Schema::boolean(), Value::Boolean(value))),
        any::<i8>().prop_map(|value| (Schema::int8(), Value::Int8(value))),
        any::<i32>().prop_map(|value| (Schema::int32(), Value::Int32(value))),
        any::<i64>().prop_map(|value| (Schema::int64(), Value::Int64(value))),
        any::<f32>().prop_map(|value| (Schema::float32(), Value::Float32(value))),
        any::<f64>().prop_map(|value| (Schema::float64(), Value::Float64(value))),
        "[-0-9:T.e]{0,12}".prop_map(|text| (Schema::string(), Value::from(text))),
        vec(any::<u8>(), 0..6).prop_map(|bytes| (Schema::bytes(), Value::Bytes(bytes.into()))),
        any::<i64>().prop_map(|ms| (logical::timestamp().build().unwrap(), Value::Instant(ms))),
        (-90_000_i64..90_000).prop_map(|days| (logical::date().build().unwrap(), Value::Instant(days * 86_400_000))),
        (0_i64..86_400_000).prop_map(|ms| (logical::time().build().unwrap(), Value::Instant(ms))),
        any::<i64>().prop_map(|digits| (logical::decimal(2).build().unwrap(), decimal(digits, 2))),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        let field = (prop::sample::select(&NAMES[..]), inner.clone(), any::<u8>());
        prop_oneof![
            inner.prop_map(|(schema, value)| (Schema::array(schema).build().unwrap(), Value::Array(vec![value]))),
            vec(field, 0..5).prop_map(structure),
        ]
    })
}

/// Fields are required, optional, null, or have a default, as `kind` says.
fn structure(fields: Vec<(&'static str, (SchemaRef, Value), u8)>) -> (SchemaRef, Value) {
    let mut builder = Schema::structure().name("S").version(2);
    let mut values: Vec<Value> = Vec::new();
    let mut known: Vec<&str> = vec![""];
    for (name, (schema, value), kind) in fields {
        if known.contains(&name) {
            continue;
        }
        known.push(name);
        let field = schema.to_builder().with_optional(kind & 1 == 1);
        let has_default = kind & 2 == 2 && schema.schema_type() != SchemaType::Struct;
        let field = if has_default {
            field.default_value(value.clone())
        } else {
            field
        };
        let field = field.build().unwrap();
        let is_null = kind & 12 == 12 && (field.is_optional() || has_default);
        // A struct is bound to the schema that declares it.
        let value = match value {
            _ if is_null => Value::Null,
            Value::Struct(inner) => bound(&field, &inner),
            value => value,
        };
        builder = builder.field(name, field);
        values.push(value);
    }
    let schema = builder.build().unwrap();
    let mut data = Struct::try_new(Arc::clone(&schema)).unwrap();
    for (index, value) in values.into_iter().enumerate() {
        data.set_unchecked(index, value);
    }
    (schema, Value::Struct(Box::new(data)))
}

fn bound(schema: &SchemaRef, source: &Struct) -> Value {
    let mut data = Struct::try_new(Arc::clone(schema)).unwrap();
    for (index, value) in source.values().iter().enumerate() {
        data.set_unchecked(index, value.clone());
    }
    Value::Struct(Box::new(data))
}

fn record(value: SchemaAndValue, timestamp: Option<i64>) -> Record {
    let origin = Origin {
        topic_partition: TopicPartition::new("orders", 3),
        offset: 42,
    };
    let mut record = Record::new(origin, Datum::from(value.clone()), Datum::from(value));
    record.timestamp = timestamp;
    record
        .headers
        .add("h", SchemaAndValue::new(Schema::int32(), Value::Int32(1)));
    record
        .headers
        .add("i", SchemaAndValue::new(Schema::optional_string(), Value::Null));
    record
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn schemaless_data_passes_or_fails_with_an_error(
        value in schemaless(),
        timestamp: Option<i64>,
        transforms in vec(prop::sample::select(&TRANSFORMS[..]), 1..4),
    ) {
        let record = record(SchemaAndValue::schemaless(value), timestamp);
        let origin = record.origin().clone();
        if let Ok(Some(record)) = chain(&transforms).apply(record) {
            prop_assert_eq!(record.origin(), &origin);
        }
    }

    #[test]
    fn patterns_answer_on_any_data(
        value in schemaless(),
        (schema, typed) in typed(),
        timestamp: Option<i64>,
        pattern in prop::sample::select(&PATTERNS[..]),
    ) {
        let mut record = record(SchemaAndValue::schemaless(value), timestamp);
        record.key = Datum::from(SchemaAndValue::new(schema, typed));
        record.headers.add("h", SchemaAndValue::NULL);
        prop_assert!(filter(pattern).apply(record).is_ok());
    }

    #[test]
    fn data_with_a_schema_still_fits_its_schema(
        (schema, value) in typed(),
        timestamp: Option<i64>,
        transform in prop::sample::select(&TRANSFORMS[..]),
    ) {
        let input = record(SchemaAndValue::new(schema, value), timestamp);
        if let Ok(Some(mut record)) = chain(&[transform]).apply(input) {
            for header in record.headers.iter() {
                let data = header.value.decode().unwrap();
                prop_assert!(data.schema.is_none_or(|schema| data.value.validate(&schema).is_ok()));
            }
            let data = record.value.decoded().unwrap();
            let Some(schema) = data.schema.clone() else {
                // Some transforms take the schema away with the value, or because JSON text has none.
                return Ok(());
            };
            // Null in a required field is left to whoever writes the record, and a cast to text keeps the old name.
            if !data.value.is_null() && !transform.starts_with("Cast$Value spec=int64") {
                prop_assert!(data.value.validate(&schema).is_ok(), "{transform}: {data:?}");
            }
        }
    }
}
