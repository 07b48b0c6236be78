//! Golden data: Connect data in the JSON encoding of its JSON converter, read exactly.

use std::mem::discriminant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use klamm_connect_api::logical::{Logical, decimal_scale};
use klamm_connect_api::{Map, Schema, SchemaAndValue, SchemaRef, SchemaType, Struct, Value};
use serde_json::Value as Json;

const DAY_MS: i64 = 86_400_000;

/// `{"schema": S, "payload": P}`
pub(crate) fn data(json: &Json) -> SchemaAndValue {
    let schema = schema(&json["schema"]);
    let value = value(schema.as_ref(), &json["payload"]);
    SchemaAndValue { schema, value }
}

pub(crate) fn bytes(base64: &Json) -> Vec<u8> {
    BASE64.decode(base64.as_str().unwrap()).unwrap()
}

fn schema(json: &Json) -> Option<SchemaRef> {
    let object = json.as_object()?;
    let mut builder = match object["type"].as_str().unwrap() {
        "boolean" => Schema::builder(SchemaType::Boolean),
        "int8" => Schema::builder(SchemaType::Int8),
        "int16" => Schema::builder(SchemaType::Int16),
        "int32" => Schema::builder(SchemaType::Int32),
        "int64" => Schema::builder(SchemaType::Int64),
        "float" => Schema::builder(SchemaType::Float32),
        "double" => Schema::builder(SchemaType::Float64),
        "string" => Schema::builder(SchemaType::String),
        "bytes" => Schema::builder(SchemaType::Bytes),
        "array" => Schema::array_of(schema(&object["items"])),
        "map" => Schema::map_of(schema(&object["keys"]), schema(&object["values"])),
        "struct" => object["fields"]
            .as_array()
            .unwrap()
            .iter()
            .fold(Schema::structure(), |builder, field| {
                builder.field(field["field"].as_str().unwrap(), schema(field).unwrap())
            }),
        other => panic!("schema type {other}"),
    };
    builder = builder.with_optional(json["optional"] == Json::Bool(true));
    if let Some(name) = json["name"].as_str() {
        builder = builder.name(name);
    }
    if let Some(version) = json["version"].as_i64() {
        builder = builder.version(i32::try_from(version).unwrap());
    }
    if let Some(doc) = json["doc"].as_str() {
        builder = builder.doc(doc);
    }
    for (key, value) in json["parameters"].as_object().into_iter().flatten() {
        builder = builder.parameter(key, value.as_str().unwrap());
    }
    let plain = builder.clone().build().unwrap();
    if let Some(default) = object.get("default") {
        builder = builder.default_value(value(Some(&plain), default));
    }
    Some(builder.build().unwrap())
}

fn float(json: &Json) -> f64 {
    match json.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        _ => json.as_f64().unwrap(),
    }
}

fn value(schema: Option<&SchemaRef>, json: &Json) -> Value {
    let Some(schema) = schema else {
        return schemaless(json);
    };
    if json.is_null() {
        return Value::Null;
    }
    let integer = || json.as_i64().unwrap();
    match Logical::of(schema) {
        Some(Logical::Decimal) => {
            let unscaled = BigInt::from_signed_bytes_be(&bytes(json));
            let scale = i64::from(decimal_scale(schema).unwrap());
            return Value::Decimal(Box::new(BigDecimal::new(unscaled, scale)));
        }
        Some(Logical::Date) => return Value::Instant(integer() * DAY_MS),
        Some(Logical::Time | Logical::Timestamp) => return Value::Instant(integer()),
        None => {}
    }
    match schema.schema_type() {
        SchemaType::Int8 => Value::Int8(i8::try_from(integer()).unwrap()),
        SchemaType::Int16 => Value::Int16(i16::try_from(integer()).unwrap()),
        SchemaType::Int32 => Value::Int32(i32::try_from(integer()).unwrap()),
        SchemaType::Int64 => Value::Int64(integer()),
        #[expect(clippy::cast_possible_truncation, reason = "rounded, as the cases say")]
        SchemaType::Float32 => Value::Float32(float(json) as f32),
        SchemaType::Float64 => Value::Float64(float(json)),
        SchemaType::Boolean => Value::Boolean(json.as_bool().unwrap()),
        SchemaType::String => Value::from(json.as_str().unwrap()),
        SchemaType::Bytes => Value::Bytes(bytes(json).into()),
        SchemaType::Array => {
            let items = json.as_array().unwrap().iter();
            Value::Array(items.map(|item| value(schema.value_schema(), item)).collect())
        }
        SchemaType::Map => Value::Map(map(schema, json)),
        SchemaType::Struct => {
            let mut data = Struct::try_new(SchemaRef::clone(schema)).unwrap();
            for (index, field) in schema.fields().iter().enumerate() {
                data.set_unchecked(index, value(Some(&field.schema), &json[&*field.name]));
            }
            Value::Struct(Box::new(data))
        }
    }
}

fn map(schema: &Schema, json: &Json) -> Map {
    let (keys, values) = (schema.key_schema(), schema.value_schema());
    match json {
        Json::Object(members) => members
            .iter()
            .map(|(key, member)| (Value::from(key.as_str()), value(values, member)))
            .collect(),
        Json::Array(pairs) => pairs
            .iter()
            .map(|pair| (value(keys, &pair[0]), value(values, &pair[1])))
            .collect(),
        other => panic!("a map written as {other}"),
    }
}

fn schemaless(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Int64(integer),
            None => Value::Float64(number.as_f64().unwrap()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::Array(items.iter().map(schemaless).collect()),
        Json::Object(members) => Value::Map(
            members
                .iter()
                .map(|(key, member)| (Value::from(key.as_str()), schemaless(member)))
                .collect(),
        ),
    }
}

/// Whether the data is what the case wants: numbers by value, with a schema also of its width.
pub(crate) fn same(got: &SchemaAndValue, wanted: &SchemaAndValue) -> bool {
    let is_typed = got.schema.as_ref().is_some_and(|schema| fully_typed(schema));
    got.schema == wanted.schema && alike(&got.value, &wanted.value, is_typed)
}

fn fully_typed(schema: &Schema) -> bool {
    match schema.schema_type() {
        SchemaType::Array => schema.value_schema().is_some_and(|of| fully_typed(of)),
        SchemaType::Map => [schema.key_schema(), schema.value_schema()]
            .iter()
            .all(|of| of.is_some_and(|of| fully_typed(of))),
        SchemaType::Struct => schema.fields().iter().all(|field| fully_typed(&field.schema)),
        _ => true,
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers are compared by value")]
fn number(value: &Value) -> Option<f64> {
    Some(match value {
        Value::Int8(number) => f64::from(*number),
        Value::Int16(number) => f64::from(*number),
        Value::Int32(number) => f64::from(*number),
        Value::Int64(number) => *number as f64,
        Value::Float32(number) => f64::from(*number),
        Value::Float64(number) => *number,
        _ => return None,
    })
}

fn not_finite(number: f64) -> &'static str {
    match number {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        number if number.is_nan() => "NaN",
        _ => "",
    }
}

#[expect(clippy::float_cmp, reason = "numbers are compared by value")]
fn alike(got: &Value, wanted: &Value, is_typed: bool) -> bool {
    match (got, wanted) {
        (Value::Float32(_) | Value::Float64(_), Value::String(wanted)) if !is_typed => {
            number(got).is_some_and(|got| **wanted == *not_finite(got))
        }
        #[expect(clippy::cast_possible_truncation, reason = "rounded, as the cases say")]
        (Value::Float32(got), Value::Float64(wanted)) if !is_typed => *got == *wanted as f32,
        (Value::Array(got), Value::Array(wanted)) => {
            got.len() == wanted.len() && got.iter().zip(wanted).all(|(got, wanted)| alike(got, wanted, is_typed))
        }
        (Value::Map(got), Value::Map(wanted)) => {
            let has = |key: &Value, got: &Value| {
                wanted
                    .iter()
                    .any(|(name, wanted)| alike(key, name, is_typed) && alike(got, wanted, is_typed))
            };
            got.len() == wanted.len() && got.iter().all(|(key, got)| has(key, got))
        }
        (Value::Struct(got), Value::Struct(wanted)) => {
            let mut values = got.values().iter().zip(wanted.values());
            got.schema() == wanted.schema() && values.all(|(got, wanted)| alike(got, wanted, is_typed))
        }
        (got, wanted) if got == wanted => true,
        _ if is_typed && discriminant(got) != discriminant(wanted) => false,
        (Value::Int64(_), Value::Int64(_)) => false,
        _ => match (number(got), number(wanted)) {
            (Some(got), Some(wanted)) => got == wanted,
            _ => false,
        },
    }
}
