//! JSON as Connect data of a schema.
//!
//! A primitive of another JSON type than its schema is read as Connect reads it, by Jackson's coercions: a string where
//! a number is declared is 0, anything but a boolean is false, anything but a string is null. An integer that does not
//! fit its type is an error all the same: Connect would cut it.
#![warn(clippy::indexing_slicing)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use bytes::Bytes;
use klamm_connect_api::logical::{self, Logical};
use klamm_connect_api::{DataError, Map, SchemaRef, SchemaType, Struct, Value};

use super::scan::{Kind, Number, Scanner};

const DAY_MS: i64 = 86_400_000;

/// What stands for null in a field that has a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NullWithDefault {
    Default,
    Null,
}

/// The value of `schema` that begins at the scanner's place. Recursion is bounded by the scanner.
pub(super) fn read(
    schema: &SchemaRef,
    scanner: &mut Scanner<'_>,
    null_with_default: NullWithDefault,
) -> Result<Value, DataError> {
    let kind = scanner.kind()?;
    if kind == Kind::Null {
        scanner.null()?;
        return null(schema, scanner, null_with_default);
    }
    if let Some(logical) = Logical::of(schema) {
        return logical_value(logical, schema, kind, scanner);
    }
    match (schema.schema_type(), kind) {
        (SchemaType::Int8, Kind::Number) => integer(scanner.number()?, schema, i8::try_from).map(Value::Int8),
        (SchemaType::Int16, Kind::Number) => integer(scanner.number()?, schema, i16::try_from).map(Value::Int16),
        (SchemaType::Int32, Kind::Number) => integer(scanner.number()?, schema, i32::try_from).map(Value::Int32),
        (SchemaType::Int64, Kind::Number) => integer(scanner.number()?, schema, i64::try_from).map(Value::Int64),
        (SchemaType::Float32, Kind::Number) => float(scanner.number()?.text).map(Value::Float32),
        (SchemaType::Float64, Kind::Number) => float(scanner.number()?.text).map(Value::Float64),
        (SchemaType::Float32, Kind::String) => Ok(Value::Float32(not_a_number(&scanner.string()?))),
        (SchemaType::Float64, Kind::String) => Ok(Value::Float64(not_a_number(&scanner.string()?).into())),
        (SchemaType::Boolean, Kind::Boolean) => scanner.boolean().map(Value::Boolean),
        (SchemaType::String, Kind::String) => Ok(Value::from(&*scanner.string()?)),
        (SchemaType::Bytes, Kind::String) => base64(&scanner.string()?).map(|bytes| Value::Bytes(Bytes::from(bytes))),
        (
            SchemaType::Int8
            | SchemaType::Int16
            | SchemaType::Int32
            | SchemaType::Int64
            | SchemaType::Float32
            | SchemaType::Float64
            | SchemaType::Boolean
            | SchemaType::String
            | SchemaType::Bytes,
            _,
        ) => {
            scanner.skip()?;
            Ok(coerced(schema.schema_type()))
        }
        (SchemaType::Array, Kind::Array) => array(schema, scanner, null_with_default),
        (SchemaType::Array, Kind::Object) => members_as_array(schema, scanner, null_with_default),
        (SchemaType::Array, _) => {
            scanner.skip()?;
            Ok(Value::Array(Vec::new()))
        }
        (SchemaType::Map, Kind::Object) if has_string_keys(schema) => string_map(schema, scanner, null_with_default),
        (SchemaType::Map, Kind::Array) if !has_string_keys(schema) => pair_map(schema, scanner, null_with_default),
        (SchemaType::Struct, Kind::Object) => structure(schema, scanner, null_with_default),
        _ => Err(unfit(schema, kind)),
    }
}

fn null(schema: &SchemaRef, scanner: &mut Scanner<'_>, null_with_default: NullWithDefault) -> Result<Value, DataError> {
    match schema.default() {
        Some(default) if null_with_default == NullWithDefault::Default => {
            scanner.count_default(schema)?;
            Ok(default.clone())
        }
        _ if schema.is_optional() => Ok(Value::Null),
        _ => Err(unfit_null(schema)),
    }
}

fn unfit_null(schema: &SchemaRef) -> DataError {
    DataError::data(format!("null for a required {}", schema.schema_type()))
}

fn unfit(schema: &SchemaRef, kind: Kind) -> DataError {
    let declared = schema.name().unwrap_or(schema.schema_type().name());
    let wanted = match schema.schema_type() {
        SchemaType::Map if has_string_keys(schema) => " (an object)",
        SchemaType::Map => " (an array of pairs, as its keys are not strings)",
        _ => "",
    };
    DataError::data(format!("{} where {declared}{wanted} is declared", kind.name()))
}

fn integer<T, E>(number: Number<'_>, schema: &SchemaRef, narrow: fn(i64) -> Result<T, E>) -> Result<T, DataError> {
    whole(number).and_then(|wide| narrow(wide).ok()).ok_or_else(|| {
        DataError::data(format!(
            "a number that is no {} is declared as one",
            schema.schema_type()
        ))
    })
}

/// The number without its fraction, as in Connect, if 64 bits hold it.
pub(crate) fn whole(number: Number<'_>) -> Option<i64> {
    if !number.text.contains(['e', 'E']) {
        return number.text.split('.').next()?.parse().ok();
    }
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float: f64 = number.text.parse().ok()?;
    if float.abs() > EXACT {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^53; the fraction goes")]
    Some(float as i64)
}

fn float<T: std::str::FromStr>(text: &str) -> Result<T, DataError> {
    text.parse()
        .map_err(|_| DataError::data("a number that cannot be read"))
}

/// What Connect writes for the numbers that JSON does not have; other texts are 0.
fn not_a_number(text: &str) -> f32 {
    match text {
        "NaN" => f32::NAN,
        "Infinity" => f32::INFINITY,
        "-Infinity" => f32::NEG_INFINITY,
        _ => 0.0,
    }
}

/// What Jackson makes of a value of another JSON type.
fn coerced(schema_type: SchemaType) -> Value {
    match schema_type {
        SchemaType::Int8 => Value::Int8(0),
        SchemaType::Int16 => Value::Int16(0),
        SchemaType::Int32 => Value::Int32(0),
        SchemaType::Int64 => Value::Int64(0),
        SchemaType::Float32 => Value::Float32(0.0),
        SchemaType::Float64 => Value::Float64(0.0),
        SchemaType::Boolean => Value::Boolean(false),
        SchemaType::String | SchemaType::Bytes | SchemaType::Array | SchemaType::Map | SchemaType::Struct => {
            Value::Null
        }
    }
}

fn base64(text: &str) -> Result<Vec<u8>, DataError> {
    BASE64
        .decode(text)
        .map_err(|error| DataError::data(format!("bytes are declared, but the string is not base64: {error}")))
}

fn array(schema: &SchemaRef, scanner: &mut Scanner<'_>, nulls: NullWithDefault) -> Result<Value, DataError> {
    let of = schema.value_schema().ok_or_else(|| unfit(schema, Kind::Array))?;
    scanner.enter_array()?;
    let mut items = Vec::new();
    while scanner.next_element(items.is_empty())? {
        items.push(read(of, scanner, nulls).map_err(|error| error.at("array element"))?);
    }
    Ok(Value::Array(items))
}

/// Connect goes through the children of the node, whatever it is.
fn members_as_array(schema: &SchemaRef, scanner: &mut Scanner<'_>, nulls: NullWithDefault) -> Result<Value, DataError> {
    let of = schema.value_schema().ok_or_else(|| unfit(schema, Kind::Object))?;
    scanner.enter_object()?;
    let mut items = Vec::new();
    while scanner.next_member(items.is_empty())?.is_some() {
        items.push(read(of, scanner, nulls).map_err(|error| error.at("array element"))?);
    }
    Ok(Value::Array(items))
}

fn has_string_keys(schema: &SchemaRef) -> bool {
    schema
        .key_schema()
        .is_some_and(|keys| keys.schema_type() == SchemaType::String)
}

fn string_map(schema: &SchemaRef, scanner: &mut Scanner<'_>, nulls: NullWithDefault) -> Result<Value, DataError> {
    let of = schema.value_schema().ok_or_else(|| unfit(schema, Kind::Object))?;
    scanner.enter_object()?;
    let mut map = Map::new();
    let mut is_first = true;
    while let Some(name) = scanner.next_member(is_first)? {
        is_first = false;
        map.insert(&*name, read(of, scanner, nulls).map_err(|error| error.at("map value"))?);
    }
    Ok(Value::Map(map))
}

fn pair_map(schema: &SchemaRef, scanner: &mut Scanner<'_>, nulls: NullWithDefault) -> Result<Value, DataError> {
    let (Some(keys), Some(values)) = (schema.key_schema(), schema.value_schema()) else {
        return Err(unfit(schema, Kind::Array));
    };
    let no_pair = || DataError::data("a map with other keys than strings is an array of [key, value] pairs");
    scanner.enter_array()?;
    let mut map = Map::new();
    let mut is_first = true;
    while scanner.next_element(is_first)? {
        is_first = false;
        if scanner.kind()? != Kind::Array {
            return Err(no_pair());
        }
        scanner.enter_array()?;
        if !scanner.next_element(true)? {
            return Err(no_pair());
        }
        let key = read(keys, scanner, nulls).map_err(|error| error.at("map key"))?;
        if !scanner.next_element(false)? {
            return Err(no_pair());
        }
        let value = read(values, scanner, nulls).map_err(|error| error.at("map value"))?;
        if scanner.next_element(false)? {
            return Err(no_pair());
        }
        map.insert(key, value);
    }
    Ok(Value::Map(map))
}

/// Unknown members are ignored, missing ones are null.
fn structure(schema: &SchemaRef, scanner: &mut Scanner<'_>, nulls: NullWithDefault) -> Result<Value, DataError> {
    scanner.enter_object()?;
    scanner.count_fields(schema.fields().len())?;
    let mut values: Vec<Option<Value>> = vec![None; schema.fields().len()];
    let mut is_first = true;
    while let Some(name) = scanner.next_member(is_first)? {
        is_first = false;
        let Some((index, field)) = schema
            .field_index(&name)
            .and_then(|index| Some((index, schema.fields().get(index)?)))
        else {
            scanner.skip()?;
            continue;
        };
        let value = read(&field.schema, scanner, nulls)
            .and_then(|value| match value {
                Value::Null if !field.schema.is_optional() => Err(unfit_null(&field.schema)),
                value => Ok(value),
            })
            .map_err(|error| error.at(&format!("field `{name}`")))?;
        if let Some(slot) = values.get_mut(index) {
            *slot = Some(value);
        }
    }
    let mut data = Struct::try_new(SchemaRef::clone(schema))?;
    for (index, (field, value)) in schema.fields().iter().zip(values).enumerate() {
        let value = match value {
            Some(value) => value,
            None => {
                null(&field.schema, scanner, nulls).map_err(|error| error.at(&format!("field `{}`", field.name)))?
            }
        };
        data.set_unchecked(index, value);
    }
    Ok(Value::Struct(Box::new(data)))
}

/// The name of the schema alone chooses the logical type, as in Connect; the base type is not looked at.
fn logical_value(
    logical: Logical,
    schema: &SchemaRef,
    kind: Kind,
    scanner: &mut Scanner<'_>,
) -> Result<Value, DataError> {
    match (logical, kind) {
        // A number keeps the scale that it is written with.
        (Logical::Decimal, Kind::Number) => {
            let decimal: BigDecimal = float(scanner.number()?.text)?;
            Ok(Value::Decimal(Box::new(decimal)))
        }
        (Logical::Decimal, Kind::String) => decimal(schema, &scanner.string()?),
        (Logical::Date, Kind::Number) => {
            let days = integer_of(logical, scanner.number()?, i64::from(i32::MIN)..=i64::from(i32::MAX))?;
            Ok(Value::Instant(days * DAY_MS))
        }
        // The end of the day is accepted, as in Connect.
        (Logical::Time, Kind::Number) => integer_of(logical, scanner.number()?, 0..=DAY_MS).map(Value::Instant),
        (Logical::Timestamp, Kind::Number) => {
            integer_of(logical, scanner.number()?, i64::MIN..=i64::MAX).map(Value::Instant)
        }
        _ => Err(unfit(schema, kind)),
    }
}

fn integer_of(logical: Logical, number: Number<'_>, range: std::ops::RangeInclusive<i64>) -> Result<i64, DataError> {
    let value: Option<i64> = if number.is_integer {
        number.text.parse().ok()
    } else {
        None
    };
    value.filter(|value| range.contains(value)).ok_or_else(|| {
        DataError::data(format!(
            "a number where {logical:?} takes an integer from {} to {}",
            range.start(),
            range.end()
        ))
    })
}

fn decimal(schema: &SchemaRef, text: &str) -> Result<Value, DataError> {
    let unscaled = base64(text)?;
    if unscaled.is_empty() {
        return Err(DataError::data("a Decimal takes at least one byte"));
    }
    let scale = logical::decimal_scale(schema)
        .ok_or_else(|| DataError::data("the Decimal schema has no parameter `scale` with a number"))?;
    let decimal = BigDecimal::new(BigInt::from_signed_bytes_be(&unscaled), i64::from(scale));
    Ok(Value::Decimal(Box::new(decimal)))
}
