//! Connect data from `{"schema", "payload"}`: the encoding of the JSON converter, read exactly: nothing is replaced by a
//! default, and null may stand anywhere.
//!
//! Errors name the place and never the value. The JSON reader bounds the nesting.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use klamm_connect_api::logical::{Logical, decimal_scale};
use klamm_connect_api::{Map, Schema, SchemaAndValue, SchemaBuilder, SchemaRef, SchemaType, Struct, Value};
use serde_json::Value as Json;

pub(super) const DAY_MS: i64 = 86_400_000;

/// The data of an object with `payload`, and `schema` unless there is none.
pub(super) fn data(json: &Json) -> Result<SchemaAndValue, String> {
    let object = json.as_object().ok_or("must be an object")?;
    if let Some(unknown) = object.keys().find(|key| !["schema", "payload"].contains(&key.as_str())) {
        return Err(format!(
            "has an unknown member `{unknown}` beside `schema` and `payload`"
        ));
    }
    let payload = object.get("payload").ok_or("has no `payload`")?;
    let schema = schema(object.get("schema").unwrap_or(&Json::Null)).map_err(|error| at("schema", &error))?;
    let value = value(schema.as_ref(), payload).map_err(|error| at("payload", &error))?;
    Ok(SchemaAndValue { schema, value })
}

/// The bytes of a text of base64.
pub(super) fn bytes(json: &Json) -> Result<Vec<u8>, String> {
    let text = json.as_str().ok_or("must be a text of base64")?;
    BASE64
        .decode(text)
        .map_err(|error| format!("is not base64: {}", no_value(&error)))
}

fn no_value(error: &base64::DecodeError) -> String {
    match error {
        base64::DecodeError::InvalidByte(offset, _) | base64::DecodeError::InvalidLastSymbol(offset, _) => {
            format!("invalid symbol at offset {offset}")
        }
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => error.to_string(),
    }
}

/// Puts a place in front of what is wrong there.
pub(super) fn at(place: &str, error: &str) -> String {
    if error.starts_with(['.', '[']) {
        format!("{place}{error}")
    } else {
        format!("{place} {error}")
    }
}

fn in_member(name: &str) -> impl Fn(String) -> String {
    move |error| at(&format!(".{name}"), &error)
}

fn in_item(index: usize) -> impl Fn(String) -> String {
    move |error| at(&format!("[{index}]"), &error)
}

fn schema(json: &Json) -> Result<Option<SchemaRef>, String> {
    if json.is_null() {
        return Ok(None);
    }
    let member = |name: &str| json.get(name).filter(|value| !value.is_null());
    let text = |name: &'static str| {
        let text = member(name).map(|value| value.as_str().ok_or_else(|| format!(".{name} must be a text")));
        text.transpose()
    };
    let inner = |name: &'static str| schema(json.get(name).unwrap_or(&Json::Null)).map_err(in_member(name));
    if !json.is_object() {
        return Err("must be an object or null".to_owned());
    }
    let mut builder = match text("type")?.ok_or("has no `type`")? {
        "boolean" => Schema::builder(SchemaType::Boolean),
        "int8" => Schema::builder(SchemaType::Int8),
        "int16" => Schema::builder(SchemaType::Int16),
        "int32" => Schema::builder(SchemaType::Int32),
        "int64" => Schema::builder(SchemaType::Int64),
        "float" => Schema::builder(SchemaType::Float32),
        "double" => Schema::builder(SchemaType::Float64),
        "string" => Schema::builder(SchemaType::String),
        "bytes" => Schema::builder(SchemaType::Bytes),
        "array" => Schema::array_of(inner("items")?),
        "map" => Schema::map_of(inner("keys")?, inner("values")?),
        "struct" => structure(member("fields"))?,
        _ => {
            return Err(
                ".type is none of boolean, int8, int16, int32, int64, float, double, string, bytes, array, map, struct"
                    .to_owned(),
            );
        }
    };
    let optional = member("optional").map(|value| value.as_bool().ok_or(".optional must be true or false"));
    builder = builder.with_optional(optional.transpose()?.unwrap_or(false));
    if let Some(name) = text("name")? {
        builder = builder.name(name);
    }
    if let Some(version) = member("version") {
        let version = version.as_i64().and_then(|version| i32::try_from(version).ok());
        builder = builder.version(version.ok_or(".version must be a 32-bit integer")?);
    }
    if let Some(doc) = text("doc")? {
        builder = builder.doc(doc);
    }
    if let Some(parameters) = member("parameters") {
        for (key, value) in parameters.as_object().ok_or(".parameters must be an object")? {
            let value = value
                .as_str()
                .ok_or_else(|| format!(".parameters.{key} must be a text"))?;
            builder = builder.parameter(key, value);
        }
    }
    let built = |builder: SchemaBuilder| builder.build().map_err(|error| format!("is refused: {error}"));
    let Some(default) = member("default") else {
        return built(builder).map(Some);
    };
    let plain = built(builder.clone())?;
    let default = value(Some(&plain), default).map_err(in_member("default"))?;
    built(builder.default_value(default)).map(Some)
}

fn structure(fields: Option<&Json>) -> Result<SchemaBuilder, String> {
    let fields = fields
        .and_then(Json::as_array)
        .ok_or(".fields must be an array of schemas, each with its name in `field`")?;
    let mut builder = Schema::structure();
    for (index, field) in fields.iter().enumerate() {
        let place = format!(".fields[{index}]");
        let name = field.get("field").and_then(Json::as_str);
        let name = name.ok_or_else(|| format!("{place} has no `field` with its name"))?;
        let of = schema(field).map_err(|error| at(&place, &error))?;
        builder = builder.field(name, of.ok_or_else(|| format!("{place} has no schema"))?);
    }
    Ok(builder)
}

fn value(schema: Option<&SchemaRef>, json: &Json) -> Result<Value, String> {
    let Some(schema) = schema else {
        return Ok(schemaless(json));
    };
    if json.is_null() {
        return Ok(Value::Null);
    }
    let instant =
        |unit: i64| integer(json).and_then(|number| number.checked_mul(unit).ok_or_else(|| out_of_range("date")));
    match Logical::of(schema) {
        Some(Logical::Decimal) => {
            let scale = decimal_scale(schema).ok_or("is a Decimal whose schema has no parameter `scale`")?;
            let unscaled = BigInt::from_signed_bytes_be(&bytes(json)?);
            return Ok(Value::Decimal(Box::new(BigDecimal::new(unscaled, i64::from(scale)))));
        }
        Some(Logical::Date) => return instant(DAY_MS).map(Value::Instant),
        Some(Logical::Time | Logical::Timestamp) => return instant(1).map(Value::Instant),
        None => {}
    }
    Ok(match schema.schema_type() {
        SchemaType::Int8 => Value::Int8(integer(json)?.try_into().map_err(|_| out_of_range("int8"))?),
        SchemaType::Int16 => Value::Int16(integer(json)?.try_into().map_err(|_| out_of_range("int16"))?),
        SchemaType::Int32 => Value::Int32(integer(json)?.try_into().map_err(|_| out_of_range("int32"))?),
        SchemaType::Int64 => Value::Int64(integer(json)?),
        #[expect(clippy::cast_possible_truncation, reason = "a FLOAT32 is the nearest to the number")]
        SchemaType::Float32 => Value::Float32(float(json)? as f32),
        SchemaType::Float64 => Value::Float64(float(json)?),
        SchemaType::Boolean => Value::Boolean(json.as_bool().ok_or("must be true or false")?),
        SchemaType::String => Value::from(json.as_str().ok_or("must be a text")?),
        SchemaType::Bytes => Value::Bytes(bytes(json)?.into()),
        SchemaType::Array => {
            let items = json.as_array().ok_or("must be an array")?.iter().enumerate();
            let item = |(index, item)| value(schema.value_schema(), item).map_err(in_item(index));
            Value::Array(items.map(item).collect::<Result<_, _>>()?)
        }
        SchemaType::Map => Value::Map(map(schema, json)?),
        SchemaType::Struct => return structured(schema, json),
    })
}

fn structured(schema: &SchemaRef, json: &Json) -> Result<Value, String> {
    let members = json.as_object().ok_or("must be an object")?;
    let mut data = Struct::try_new(SchemaRef::clone(schema)).map_err(|error| error.to_string())?;
    for (name, member) in members {
        let index = schema.field_index(name);
        let index = index.ok_or_else(|| format!(".{name} is no field of the schema"))?;
        let of = schema.fields().get(index).map(|field| &field.schema);
        data.set_unchecked(index, value(of, member).map_err(in_member(name))?);
    }
    Ok(Value::Struct(Box::new(data)))
}

fn map(schema: &Schema, json: &Json) -> Result<Map, String> {
    let (keys, values) = (schema.key_schema(), schema.value_schema());
    match json {
        Json::Object(members) => {
            let entry = |(key, member): (&String, &Json)| {
                let key_json = Json::String(key.clone());
                Ok((
                    value(keys, &key_json).map_err(in_member(key))?,
                    value(values, member).map_err(in_member(key))?,
                ))
            };
            members.iter().map(entry).collect()
        }
        Json::Array(pairs) => {
            let entry = |(index, pair): (usize, &Json)| match pair.as_array().map(Vec::as_slice) {
                Some([key, member]) => Ok((
                    value(keys, key).map_err(in_item(index))?,
                    value(values, member).map_err(in_item(index))?,
                )),
                _ => Err(format!("[{index}] must be a pair of key and value")),
            };
            pairs.iter().enumerate().map(entry).collect()
        }
        _ => Err("must be an object, or an array of pairs".to_owned()),
    }
}

fn schemaless(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Int64(integer),
            None => Value::Float64(number.as_f64().unwrap_or(f64::NAN)),
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

fn integer(json: &Json) -> Result<i64, String> {
    json.as_i64().ok_or_else(|| "must be a 64-bit integer".to_owned())
}

fn out_of_range(of: &str) -> String {
    format!("is beyond the range of {of}")
}

fn float(json: &Json) -> Result<f64, String> {
    match json.as_str() {
        Some("NaN") => Ok(f64::NAN),
        Some("Infinity") => Ok(f64::INFINITY),
        Some("-Infinity") => Ok(f64::NEG_INFINITY),
        _ => json
            .as_f64()
            .ok_or_else(|| "must be a number, \"NaN\", \"Infinity\" or \"-Infinity\"".to_owned()),
    }
}
