use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::schema::Schema;
use crate::value::Struct;

fn json(data: &SchemaAndValue) -> Result<String, String> {
    let mut out = Vec::new();
    write(data, &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

fn schemaless(value: Value) -> Result<String, String> {
    json(&SchemaAndValue::schemaless(value))
}

fn typed(schema: SchemaRef, value: Value) -> Result<String, String> {
    json(&SchemaAndValue::new(schema, value))
}

#[test]
fn values_without_a_schema() {
    let pairs: Map = [(Value::Int64(1), Value::from("a")), (Value::from("b"), Value::Null)]
        .into_iter()
        .collect();
    let cases = [
        (Value::Null, "null"),
        (Value::Boolean(true), "true"),
        (Value::Int8(-5), "-5"),
        (Value::Int64(i64::MIN), "-9223372036854775808"),
        (Value::Float64(1e10), "1.0E10"),
        (Value::Float32(0.1), "0.1"),
        (Value::Float64(f64::NAN), "\"NaN\""),
        (Value::Float32(f32::NEG_INFINITY), "\"-Infinity\""),
        (Value::from("a\"b\\c\n\u{1}\u{7f}é"), "\"a\\\"b\\\\c\\n\\u0001\u{7f}é\""),
        (Value::Bytes(Bytes::from_static(&[1, 2])), "\"AQI=\""),
        (Value::Array(vec![Value::Int64(1), Value::Array(Vec::new())]), "[1,[]]"),
        (Value::Map(Map::new()), "{}"),
        (Value::Map(pairs), "[[1,\"a\"],[\"b\",null]]"),
    ];
    for (value, wanted) in cases {
        assert_eq!(schemaless(value).unwrap(), wanted);
    }
}

#[test]
fn a_struct_is_an_object_in_field_order_with_defaults() {
    let schema = Schema::structure()
        .field("z", Schema::int32())
        .field(
            "note",
            Schema::builder(SchemaType::String)
                .optional()
                .default_value(Value::from("n/a"))
                .build()
                .unwrap(),
        )
        .field("a", Schema::optional_string())
        .build()
        .unwrap();
    let mut data = Struct::try_new(SchemaRef::clone(&schema)).unwrap();
    data.put("z", Value::Int32(1)).unwrap();
    assert_eq!(
        typed(schema, Value::Struct(Box::new(data))).unwrap(),
        r#"{"z":1,"note":"n/a","a":null}"#
    );
}

#[test]
fn logical_types_are_written_by_their_schema() {
    let decimal = |text: &str| Value::Decimal(Box::new(text.parse().unwrap()));
    let cases = [
        (logical::decimal(2), decimal("12.50"), Ok("\"BOI=\"")),
        (logical::decimal(1), decimal("-0.1"), Ok("\"/w==\"")),
        (
            logical::decimal(2),
            decimal("12.5"),
            Err("the Decimal has scale 1 where its schema has scale 2"),
        ),
        (logical::date(), Value::Instant(-DAY_MS), Ok("-1")),
        (
            logical::date(),
            Value::Instant(1),
            Err("a Date may not have a time of day other than 0"),
        ),
        (logical::time(), Value::Instant(DAY_MS), Ok("86400000")),
        (
            logical::time(),
            Value::Instant(DAY_MS + 1),
            Err("a Time may not have a day other than 1970-01-01"),
        ),
        (logical::timestamp(), Value::Instant(-7), Ok("-7")),
        (
            logical::timestamp(),
            Value::Int64(7),
            Err("int64 where org.apache.kafka.connect.data.Timestamp is declared"),
        ),
    ];
    for (schema, value, wanted) in cases {
        let got = typed(schema.build().unwrap(), value);
        assert_eq!(got.as_deref().map_err(String::as_str), wanted);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let deep = (0..=MAX_DEPTH).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    let cases = [
        (
            schemaless(Value::Instant(0)),
            "an instant without a schema that names it has no JSON form",
        ),
        (
            typed(Schema::string(), Value::Null),
            "null for a required string without a default",
        ),
        (typed(Schema::int32(), Value::Int64(1)), "int64 where int32 is declared"),
        (schemaless(deep), "the value is nested more than 1000 levels deep"),
    ];
    for (got, wanted) in cases {
        assert_eq!(got.unwrap_err(), wanted);
    }
}

#[test]
fn a_map_with_other_keys_than_strings_is_a_list_of_pairs() {
    let schema = Schema::map(Schema::int32(), Schema::string()).build().unwrap();
    let map: Map = [(Value::Int32(1), Value::from("a"))].into_iter().collect();
    assert_eq!(typed(schema, Value::Map(map)).unwrap(), r#"[[1,"a"]]"#);
}

proptest! {
    #[test]
    fn strings_are_escaped_like_byte_by_byte(text in "(?s)[\\x00-\\x7f\u{80}-\u{2ff}\"\\\\]{0,40}") {
        let mut naive = vec![b'"'];
        for byte in text.bytes() {
            if must_escape(byte) { escape(byte, &mut naive) } else { naive.push(byte) }
        }
        naive.push(b'"');
        let mut out = Vec::new();
        write_string(&text, &mut out);
        prop_assert_eq!(out, naive);
    }
}
