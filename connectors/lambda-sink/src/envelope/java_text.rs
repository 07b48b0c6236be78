//! Values as the text of Java's `toString`, which is what Nordstrom's plain formatter writes.
//!
//! Bytes are base64: Java would write an object's address, which says nothing.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use klamm_connect_api::{DataError, SchemaAndValue, Value};
use klamm_java_compat::{DateFormat, number};

/// Deeper ones are refused: they would run the stack out.
const MAX_DEPTH: usize = 200;

/// `java.util.Date.toString` in UTC.
static DATE: LazyLock<Option<DateFormat>> =
    LazyLock::new(|| DateFormat::try_new("EEE MMM dd HH:mm:ss 'UTC' yyyy", 0).ok());

/// The text of a value; the empty text for null.
pub(super) fn to_string(data: &SchemaAndValue) -> Result<String, DataError> {
    let mut out = String::new();
    if !data.value.is_null() {
        write(&data.value, 0, &mut out)?;
    }
    Ok(out)
}

fn write(value: &Value, depth: usize, out: &mut String) -> Result<(), DataError> {
    if depth > MAX_DEPTH {
        return Err(DataError::data(format!(
            "the value is nested more than {MAX_DEPTH} levels deep"
        )));
    }
    let number = |out: &mut String, number: i64| write!(out, "{number}").map_err(no_room);
    match value {
        Value::Null => out.push_str("null"),
        Value::Boolean(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int8(n) => number(out, i64::from(*n))?,
        Value::Int16(n) => number(out, i64::from(*n))?,
        Value::Int32(n) => number(out, i64::from(*n))?,
        Value::Int64(n) => number(out, *n)?,
        Value::Float32(n) => out.push_str(&number::f32_to_string(*n)),
        Value::Float64(n) => out.push_str(&number::f64_to_string(*n)),
        Value::String(text) => out.push_str(text),
        Value::Bytes(bytes) => STANDARD.encode_string(bytes, out),
        Value::Decimal(decimal) => out.push_str(&number::decimal_to_string(decimal)),
        Value::Instant(ms) => match &*DATE {
            Some(format) => out.push_str(&format.format(*ms)),
            None => number(out, *ms)?,
        },
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write(item, depth + 1, out)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write(key, depth + 1, out)?;
                out.push('=');
                write(value, depth + 1, out)?;
            }
            out.push('}');
        }
        Value::Struct(data) => {
            out.push_str("Struct{");
            let fields = data.schema().fields().iter().zip(data.values());
            for (index, (field, value)) in fields.filter(|(_, value)| !value.is_null()).enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&field.name);
                out.push('=');
                write(value, depth + 1, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn no_room(_: std::fmt::Error) -> DataError {
    DataError::data("the value has no text")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use klamm_connect_api::{Map, Schema, Struct};

    use super::*;

    fn text(value: Value) -> String {
        to_string(&SchemaAndValue::schemaless(value)).unwrap()
    }

    #[test]
    fn values_read_as_java_prints_them() {
        let schema = Schema::structure()
            .field("a", Schema::int32())
            .field("b", Schema::optional_string())
            .field("c", Schema::string())
            .build()
            .unwrap();
        let mut data = Struct::try_new(schema).unwrap();
        data.put("a", Value::Int32(1)).unwrap();
        data.put("c", Value::String("x".into())).unwrap();
        let map: Map = [
            (Value::String("k".into()), Value::Null),
            (
                Value::Int8(2),
                Value::Array(vec![Value::Float64(1.0), Value::Boolean(true)]),
            ),
        ]
        .into_iter()
        .collect();
        let cases = [
            (Value::Null, "", "null has no text"),
            (Value::String("plain".into()), "plain", "no quotes"),
            (Value::Int64(-7), "-7", "a number"),
            (Value::Float32(1e10), "1.0E10", "Java's exponents"),
            (
                Value::Decimal(Box::new("12.50".parse().unwrap())),
                "12.50",
                "scale kept",
            ),
            (Value::Instant(0), "Thu Jan 01 00:00:00 UTC 1970", "a Date"),
            (Value::Bytes(Bytes::from_static(b"\xff")), "/w==", "not an address"),
            (Value::Map(map), "{k=null, 2=[1.0, true]}", "a map and a list"),
            (
                Value::Struct(Box::new(data)),
                "Struct{a=1,c=x}",
                "a struct without its nulls",
            ),
        ];
        for (value, wanted, why) in cases {
            assert_eq!(text(value), wanted, "{why}");
        }
        let deep = (0..=MAX_DEPTH).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(
            to_string(&SchemaAndValue::schemaless(deep)).is_err(),
            "the stack has an end"
        );
    }
}
