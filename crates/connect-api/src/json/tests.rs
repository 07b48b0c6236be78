use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::schema::Schema;
use crate::value::Struct;

fn json(data: &SchemaAndValue) -> Result<String, String> {
    let mut out = Vec::new();
    write(data, Rendering::Connect, &mut out).map_err(|error| error.to_string())?;
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

fn natural(data: &SchemaAndValue, decimals: Decimals, timestamps: Timestamps) -> Result<String, String> {
    let mut out = Vec::new();
    let rendering = Rendering::Natural(Natural { decimals, timestamps });
    write(data, rendering, &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn decimals_have_their_digits() {
    let cases = [
        // unscaled, scale, digits
        ("1250", 2, "12.50"),
        ("-1", 1, "-0.1"),
        ("0", 2, "0.00"),
        ("0", -3, "0"),
        ("7", 0, "7"),
        ("7", -3, "7000"),
        ("5", 8, "0.00000005"),
        ("-12", 101, "-12E-101"),
        ("12", -101, "12E101"),
        ("12", i32::MIN, "12E2147483648"),
        ("12", i32::MAX, "12E-2147483647"),
    ];
    for (unscaled, scale, wanted) in cases {
        let unscaled: BigInt = unscaled.parse().unwrap();
        let schema = logical::decimal(scale).build().unwrap();
        let value = Value::Decimal(Box::new(BigDecimal::new(unscaled, scale.into())));
        let data = SchemaAndValue::new(schema, value);
        let number = natural(&data, Decimals::Number, Timestamps::Iso);
        assert_eq!(number.as_deref(), Ok(wanted), "{scale}");
        let text = natural(&data, Decimals::String, Timestamps::Iso);
        assert_eq!(text, Ok(format!("\"{wanted}\"")), "{scale}");
    }
    let long = "9".repeat(200);
    let digits = |scale: i32| {
        let mut out = Vec::new();
        write_digits(&long.parse().unwrap(), scale, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(digits(199), format!("9.{}", "9".repeat(199)), "no zeros are added");
    assert_eq!(digits(200), format!("{long}E-200"));
}

#[test]
fn decimals_without_end_are_refused_in_digits() {
    let unscaled = BigInt::from_signed_bytes_be(&[0x7f; 4097]);
    let data = SchemaAndValue::new(
        logical::decimal(0).build().unwrap(),
        Value::Decimal(Box::new(BigDecimal::new(unscaled, 0))),
    );
    let refused = natural(&data, Decimals::Number, Timestamps::Iso);
    assert_eq!(
        refused.unwrap_err(),
        "a Decimal of more than 4096 bytes is not written in digits"
    );
    assert!(json(&data).is_ok(), "its base64 is as long as its bytes");
}

#[test]
fn maps_are_objects_if_their_keys_make_names() {
    let map = |keys: Vec<Value>| Value::Map(keys.into_iter().map(|key| (key, Value::Null)).collect());
    let composite = Value::Array(Vec::new());
    let cases = [
        (
            map(vec![Value::Boolean(true), Value::Boolean(false)]),
            r#"{"true":null,"false":null}"#,
        ),
        (map(vec![Value::Float64(1.0)]), r#"{"1.0":null}"#),
        (map(vec![Value::Bytes(Bytes::from_static(&[1]))]), r#"{"AQ==":null}"#),
        (map(vec![Value::Int64(1), Value::from("1")]), r#"[[1,null],["1",null]]"#),
        (map(vec![composite]), "[[[],null]]"),
        (map(Vec::new()), "{}"),
    ];
    for (value, wanted) in cases {
        let data = SchemaAndValue::schemaless(value);
        assert_eq!(natural(&data, Decimals::String, Timestamps::Iso).as_deref(), Ok(wanted));
    }
    let dates = Schema::map(logical::date().optional().build().unwrap(), Schema::optional_int8());
    let entries: Map = [(Value::Instant(DAY_MS), Value::Null), (Value::Null, Value::Null)]
        .into_iter()
        .collect();
    let data = SchemaAndValue::new(dates.build().unwrap(), Value::Map(entries));
    let iso = natural(&data, Decimals::String, Timestamps::Iso);
    assert_eq!(iso.as_deref(), Ok(r#"{"1970-01-02":null,"null":null}"#));
    let epoch = natural(&data, Decimals::String, Timestamps::Epoch);
    assert_eq!(epoch.as_deref(), Ok(r#"{"1":null,"null":null}"#));
}

/// A union inside a union, of which the inner one says so by its parameter.
#[test]
fn unions_are_unwrapped_wherever_they_stand() {
    let inner = Schema::structure()
        .optional()
        .name("connect_union_0")
        .parameter("org.apache.kafka.connect.data.Union", "connect_union_0")
        .field("connect_union_field_0", Schema::optional_string())
        .build()
        .unwrap();
    let outer = Schema::structure()
        .name("io.confluent.connect.protobuf.Union.o")
        .field("first", Schema::optional_string())
        .field("second", SchemaRef::clone(&inner))
        .build()
        .unwrap();
    let mut value = Struct::try_new(inner).unwrap();
    value.put("connect_union_field_0", Value::from("a")).unwrap();
    let mut data = Struct::try_new(SchemaRef::clone(&outer)).unwrap();
    data.put("second", Value::Struct(Box::new(value))).unwrap();
    let data = SchemaAndValue::new(outer, Value::Struct(Box::new(data)));
    let written = natural(&data, Decimals::String, Timestamps::Iso);
    assert_eq!(written.as_deref(), Ok(r#""a""#));
}

/// What InsertField makes of a union: it keeps the name and has one field more.
#[test]
fn a_struct_made_of_a_union_is_written_whole() {
    let unions = [
        Schema::structure().name("io.confluent.connect.avro.Union"),
        Schema::structure().name("io.confluent.connect.protobuf.Union.o"),
        Schema::structure().parameter("org.apache.kafka.connect.data.Union", "connect_union_0"),
        Schema::structure().semantic(Semantic::Held),
    ];
    for union in unions {
        let union = union.field("string", Schema::optional_string()).build().unwrap();
        let mut schema = Schema::structure().basics_of(&union);
        for name in ["string", "topic"] {
            schema = schema.field(name, Schema::optional_string());
        }
        let schema = schema.build().unwrap();
        let mut data = Struct::try_new(SchemaRef::clone(&schema)).unwrap();
        data.put("string", Value::from("a")).unwrap();
        data.put("topic", Value::from("t")).unwrap();
        let value = Value::Struct(Box::new(data));
        let written = natural(
            &SchemaAndValue::new(SchemaRef::clone(&schema), value.clone()),
            Decimals::String,
            Timestamps::Iso,
        );
        assert_eq!(written.as_deref(), Ok(r#"{"string":"a","topic":"t"}"#));
        let outer = Schema::structure().field("o", schema).build().unwrap();
        let mut data = Struct::try_new(SchemaRef::clone(&outer)).unwrap();
        data.put("o", value).unwrap();
        let written = natural(
            &SchemaAndValue::new(outer, Value::Struct(Box::new(data))),
            Decimals::String,
            Timestamps::Iso,
        );
        assert_eq!(written.as_deref(), Ok(r#"{"o":{"string":"a","topic":"t"}}"#));
    }
}

#[test]
fn what_a_schema_notes_beside_its_type_does_not_make_it_another() {
    let plain = Schema::int64();
    let noted = Schema::builder(SchemaType::Int64)
        .semantic(Semantic::Timestamp(Unit::Micros))
        .build()
        .unwrap();
    assert_eq!(plain, noted);
    let kept = noted.to_builder().optional().build().unwrap();
    assert_eq!(kept.semantic(), noted.semantic());
    let data = SchemaAndValue::new(noted, Value::Int64(1));
    let iso = natural(&data, Decimals::String, Timestamps::Iso);
    assert_eq!(iso.as_deref(), Ok(r#""1970-01-01T00:00:00.000001Z""#));
    assert_eq!(json(&data).as_deref(), Ok("1"));
    let debezium = Schema::builder(SchemaType::Int64).name("io.debezium.time.MicroTimestamp");
    let data = SchemaAndValue::new(debezium.build().unwrap(), Value::Int64(-1));
    let iso = natural(&data, Decimals::String, Timestamps::Iso);
    assert_eq!(iso.as_deref(), Ok(r#""1969-12-31T23:59:59.999999""#));
}

proptest! {
    #[test]
    fn strings_are_escaped_like_byte_by_byte(text in "(?s)[\\x00-\\x7f\u{80}-\u{2ff}\"\\\\]{0,40}") {
        let mut naive = vec![b'"'];
        for byte in text.bytes() {
            if byte < 0x20 || byte == b'"' || byte == b'\\' { escape(byte, &mut naive) } else { naive.push(byte) }
        }
        naive.push(b'"');
        let mut out = Vec::new();
        write_string(&text, &mut out);
        prop_assert_eq!(out, naive);
    }
}

#[test]
fn the_plain_part_of_a_string_ends_at_the_first_byte_that_does_not_stand_for_itself() {
    for length in 0..50 {
        let plain = "xé~\u{7f}".bytes().cycle().take(length).collect::<Vec<u8>>();
        assert_eq!(plain_prefix(&plain), length);
        for first in 0..length {
            for byte in [b'"', b'\\', 0, 0x1f] {
                let mut bytes = plain.clone();
                bytes[first] = byte;
                // What comes after the first one is no matter.
                bytes[length - 1] = if first == length - 1 { byte } else { b'"' };
                assert_eq!(plain_prefix(&bytes), first, "{bytes:?}");
            }
        }
    }
}
