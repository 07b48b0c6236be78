use std::sync::Arc;

use klamm_connect_api::{
    Datum, Origin, RawConfig, Record, Rendering, Schema, SchemaAndValue, Struct, TopicPartition, Value,
};
use klamm_converters::parse_json;

use crate::{Chain, predicates, transforms};

fn json(text: &str) -> SchemaAndValue {
    SchemaAndValue::schemaless(parse_json(text).unwrap())
}

/// The record after a transform, written `Class key=value …`; none if it was dropped.
fn apply(transform: &str, key: SchemaAndValue, value: SchemaAndValue) -> Result<Option<Record>, String> {
    let mut words = transform.split(' ');
    let class = words.next().unwrap_or_default();
    let publisher = match class.split('$').next().unwrap_or_default() {
        "PatternFilter" | "SetNull" | "TopicNameToField" => "com.github.jcustenborder.kafka.connect.transform.common",
        _ => "io.aiven.kafka.connect.transforms",
    };
    let mut raw = RawConfig::from([
        ("transforms".to_owned(), "t".to_owned()),
        ("transforms.t.type".to_owned(), format!("{publisher}.{class}")),
    ]);
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        raw.insert(format!("transforms.t.{key}"), value.to_owned());
    }
    let origin = Origin {
        topic_partition: TopicPartition::new("orders", 0),
        offset: 7,
    };
    let record = Record::new(origin, Datum::from(key), Datum::from(value));
    let chain = Chain::build(&raw, &transforms(), &predicates()).map_err(|errors| errors.to_string())?;
    chain.apply(record).map_err(|error| error.to_string())
}

fn written(datum: &Datum) -> String {
    let mut out = Vec::new();
    datum.write_json(Rendering::Connect, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn filters_keep_what_they_say() {
    let (kept, dropped) = (Some(true), Some(false));
    let cases = [
        // transform, value, fate; none is an error, why
        (
            "FilterByFieldValue$Value field.name=a field.value=x",
            r#"{"a":"x"}"#,
            kept,
            "equal",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=x",
            r#"{"a":"y"}"#,
            dropped,
            "not equal",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=x",
            r#"{}"#,
            dropped,
            "missing is no match",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=x field.value.matches=false",
            r#"{}"#,
            kept,
            "and so kept by the opposite",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=5",
            r#"{"a":5}"#,
            dropped,
            "int8 is not int64",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=3000000000",
            r#"{"a":3000000000}"#,
            kept,
            "int64 is",
        ),
        (
            "FilterByFieldValue$Value field.name=a.b field.value=true",
            r#"{"a":{"b":true}}"#,
            kept,
            "nested",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value.pattern=^[0-9]$",
            r#"{"a":5}"#,
            kept,
            "as text",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value.pattern=b",
            r#"{"a":"abc"}"#,
            kept,
            "found anywhere",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value.pattern=b",
            r#"{"a":[1]}"#,
            None,
            "no single value",
        ),
        (
            "FilterByFieldValue$Value field.value=x",
            r#""x""#,
            kept,
            "the whole value",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=x",
            "null",
            kept,
            "null passes",
        ),
        (
            "FilterByFieldValue$Value field.name=a field.value=x",
            "5",
            None,
            "no fields",
        ),
        (
            "PatternFilter$Value fields=a,b pattern=x.*",
            r#"{"b":"xy"}"#,
            dropped,
            "matches",
        ),
        (
            "PatternFilter$Value fields=a,b pattern=x",
            r#"{"b":"xy"}"#,
            kept,
            "as a whole",
        ),
        (
            "PatternFilter$Value fields=a pattern=5",
            r#"{"a":5}"#,
            kept,
            "texts only",
        ),
        ("PatternFilter$Value fields=a pattern=x", "null", kept, "null passes"),
        (
            "PatternFilter$Value pattern=.*",
            r#"{"a":"x"}"#,
            kept,
            "no fields are looked at",
        ),
    ];
    for (transform, value, fate, why) in cases {
        let got = apply(transform, SchemaAndValue::NULL, json(value));
        let got = got.map(|record| record.is_some()).ok();
        assert_eq!(got, fate, "{transform} on {value}: {why}");
    }
}

#[test]
fn keys_topics_and_nulls_go_where_they_are_sent() {
    let cases = [
        // transform, key, value, key and value afterwards
        (
            "KeyToValue key.fields=*",
            r#""k""#,
            r#"{"a":1}"#,
            Some((r#""k""#, r#"{"a":1,"_key":"k"}"#)),
        ),
        (
            "KeyToValue key.fields=id,n value.fields=a",
            r#"{"id":5}"#,
            r#"{"a":1}"#,
            Some((r#"{"id":5}"#, r#"{"a":5,"n":null}"#)),
        ),
        ("KeyToValue key.fields=id", r#""k""#, r#"{"a":1}"#, None),
        ("KeyToValue key.fields=a,b value.fields=c,c", "{}", "{}", None),
        (
            "TopicNameToField$Value field=t",
            "1",
            r#"{"a":1}"#,
            Some(("1", r#"{"a":1,"t":"orders"}"#)),
        ),
        (
            "TopicNameToField$Key field=t",
            r#"{"t":1}"#,
            "1",
            Some((r#"{"t":"orders"}"#, "1")),
        ),
        ("TopicNameToField$Value field=t", "1", "null", Some(("1", "null"))),
        ("SetNull$Key", "1", "2", Some(("null", "2"))),
        ("MakeTombstone", "1", "2", Some(("1", "null"))),
    ];
    for (transform, key, value, wanted) in cases {
        let got = apply(transform, json(key), json(value)).ok().flatten();
        let got = got.map(|record| (written(&record.key), written(&record.value)));
        let got = got.as_ref().map(|(key, value)| (key.as_str(), value.as_str()));
        assert_eq!(got, wanted, "{transform} on {key} and {value}");
    }
}

#[test]
fn structs_take_fields_of_the_key_with_their_schemas() {
    let key_schema = Schema::structure().field("id", Schema::int32()).build().unwrap();
    let mut key = Struct::try_new(Arc::clone(&key_schema)).unwrap();
    key.put("id", Value::Int32(5)).unwrap();
    let value_schema = Schema::structure()
        .name("V")
        .field("id", Schema::string())
        .field("a", Schema::optional_string())
        .build()
        .unwrap();
    let mut value = Struct::try_new(Arc::clone(&value_schema)).unwrap();
    value.put("id", Value::from("x")).unwrap();
    let record = apply(
        "KeyToValue key.fields=id,* value.fields=id",
        SchemaAndValue::new(key_schema, Value::Struct(Box::new(key))),
        SchemaAndValue::new(value_schema, Value::Struct(Box::new(value))),
    );
    let record = record.unwrap().unwrap();
    let data = record.value.decode().unwrap();
    data.value.validate(data.schema.as_ref().unwrap()).unwrap();
    assert_eq!(data.schema.unwrap().name(), Some("V"));
    assert_eq!(written(&record.value), r#"{"id":5,"a":null,"_key":{"id":5}}"#);
}
