//! JSON as Connect data of a schema, the way Confluent's converter reads it.
//!
//! A scalar of another JSON type than declared is read by Jackson's coercions: a string where a number is declared is
//! 0, anything but a boolean is false, anything but a string is null. An integer that does not fit its type is an error
//! all the same: Confluent's converter would cut it. Whoever wants wrong types refused sets `json.fail.invalid.schema`.
#![warn(clippy::indexing_slicing)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use bytes::Bytes;
use klamm_connect_api::logical::{self, Logical};
use klamm_connect_api::{DataError, Map, Schema, SchemaRef, SchemaType, Struct, Value};

use super::connect::{ADDITIONAL, is_union};
use super::variant;
use crate::json::scan::{Kind, Number, Scanner};
use crate::json::whole;

const DAY_MS: i64 = 86_400_000;

/// The value of `schema` that begins at the scanner's place.
///
/// It is on the stack once for each level, so what holds no others is read by functions of its own.
pub(super) fn value(schema: &SchemaRef, scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    let kind = scanner.kind()?;
    if kind == Kind::Null {
        scanner.null()?;
        scanner.count_default(schema)?;
        return null(schema);
    }
    if Logical::of(schema).is_some() || schema.name() == Some(variant::NAME) {
        return named(schema, kind, scanner);
    }
    match (schema.schema_type(), kind) {
        (SchemaType::Array, Kind::Array) => array(schema, scanner),
        (SchemaType::Array, Kind::Object) => members_as_array(schema, scanner),
        (SchemaType::Array, _) => {
            scanner.skip()?;
            Ok(Value::Array(Vec::new()))
        }
        (SchemaType::Map, Kind::Object) if is_object_map(schema) => string_map(schema, scanner),
        (SchemaType::Map, Kind::Array) if !is_object_map(schema) => entry_map(schema, scanner),
        (SchemaType::Struct, _) if is_union(schema) => union(schema, kind, scanner),
        (SchemaType::Struct, Kind::Object) => structure(schema, scanner),
        (SchemaType::Map | SchemaType::Struct, _) => Err(unfit(schema, kind)),
        _ => scalar(schema, kind, scanner),
    }
}

/// What stands for null, and for a member that is missing.
pub(super) fn null(schema: &Schema) -> Result<Value, DataError> {
    match schema.default() {
        Some(default) => Ok(default.clone()),
        None if schema.is_optional() => Ok(Value::Null),
        None => Err(DataError::data(format!(
            "nothing for a required {} without a default",
            schema.name().unwrap_or(schema.schema_type().name())
        ))),
    }
}

fn unfit(schema: &Schema, kind: Kind) -> DataError {
    let declared = schema.name().unwrap_or(schema.schema_type().name());
    DataError::data(format!("{} where {declared} is declared", kind.name()))
}

/// A value of a primitive type, coerced if it is of another one.
pub(super) fn scalar(schema: &SchemaRef, kind: Kind, scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    let schema_type = schema.schema_type();
    match (schema_type, kind) {
        (SchemaType::Boolean, Kind::Boolean) => return scanner.boolean().map(Value::Boolean),
        (SchemaType::String, Kind::String) => return Ok(Value::from(&*scanner.string()?)),
        (SchemaType::Bytes, Kind::String) => {
            return base64(&scanner.string()?).map(|bytes| Value::Bytes(Bytes::from(bytes)));
        }
        (SchemaType::Int8 | SchemaType::Int16 | SchemaType::Int32 | SchemaType::Int64, Kind::Number) => {
            return integer(scanner.number()?, schema_type);
        }
        // Java's decimals, from which it makes floats, have no negative zero.
        (SchemaType::Float32, Kind::Number) => {
            return float(scanner.number()?.text).map(|n: f32| Value::Float32(n + 0.0));
        }
        (SchemaType::Float64, Kind::Number) => {
            return float(scanner.number()?.text).map(|n: f64| Value::Float64(n + 0.0));
        }
        _ => scanner.skip()?,
    }
    Ok(match schema_type {
        SchemaType::Int8 => Value::Int8(0),
        SchemaType::Int16 => Value::Int16(0),
        SchemaType::Int32 => Value::Int32(0),
        SchemaType::Int64 => Value::Int64(0),
        SchemaType::Float32 => Value::Float32(0.0),
        SchemaType::Float64 => Value::Float64(0.0),
        SchemaType::Boolean => Value::Boolean(false),
        // As if it were null.
        SchemaType::String => null(schema).map_err(|_| unfit(schema, kind))?,
        SchemaType::Bytes | SchemaType::Array | SchemaType::Map | SchemaType::Struct => {
            return Err(unfit(schema, kind));
        }
    })
}

fn integer(number: Number<'_>, schema_type: SchemaType) -> Result<Value, DataError> {
    let fitting = whole(number).and_then(|wide| match schema_type {
        SchemaType::Int8 => i8::try_from(wide).ok().map(Value::Int8),
        SchemaType::Int16 => i16::try_from(wide).ok().map(Value::Int16),
        SchemaType::Int32 => i32::try_from(wide).ok().map(Value::Int32),
        _ => Some(Value::Int64(wide)),
    });
    fitting.ok_or_else(|| DataError::data(format!("a number that is no {schema_type} is declared as one")))
}

fn float<T: std::str::FromStr>(text: &str) -> Result<T, DataError> {
    text.parse()
        .map_err(|_| DataError::data("a number that cannot be read"))
}

fn base64(text: &str) -> Result<Vec<u8>, DataError> {
    BASE64
        .decode(text)
        .map_err(|error| DataError::data(format!("bytes are declared, but the string is not base64: {error}")))
}

/// Logical types, by the name of the schema alone, as in Confluent's converter.
fn named(schema: &SchemaRef, kind: Kind, scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    let Some(logical) = Logical::of(schema) else {
        return variant::read(schema, scanner);
    };
    match (logical, kind) {
        (Logical::Decimal, Kind::Number) => scaled(schema, scanner.number()?.text),
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
    let value: Option<i64> = number.text.parse().ok().filter(|_| number.is_integer);
    value.filter(|value| range.contains(value)).ok_or_else(|| {
        DataError::data(format!(
            "a number where {logical:?} takes an integer from {} to {}",
            range.start(),
            range.end()
        ))
    })
}

fn scale(schema: &SchemaRef) -> Result<i64, DataError> {
    logical::decimal_scale(schema)
        .map(i64::from)
        .ok_or_else(|| DataError::data("the Decimal schema has no parameter `scale` with a number"))
}

/// A number with the scale of its schema, if it has no more places than that. Confluent's converter leaves it at its own
/// scale, and no converter can write it then.
fn scaled(schema: &SchemaRef, text: &str) -> Result<Value, DataError> {
    /// Digits that may have to be added.
    const MOST: u64 = 2000;
    let decimal: BigDecimal = float(text)?;
    let scale = scale(schema)?;
    let added = scale.saturating_sub(decimal.as_bigint_and_exponent().1);
    let scaled = (added.unsigned_abs() <= MOST).then(|| decimal.with_scale(scale));
    match scaled.filter(|scaled| *scaled == decimal) {
        Some(scaled) => Ok(Value::Decimal(Box::new(scaled))),
        None => Err(DataError::data(format!(
            "a number that is no Decimal of scale {scale} is declared as one"
        ))),
    }
}

fn decimal(schema: &SchemaRef, text: &str) -> Result<Value, DataError> {
    let unscaled = base64(text)?;
    if unscaled.is_empty() {
        return Err(DataError::data("a Decimal takes at least one byte"));
    }
    let decimal = BigDecimal::new(BigInt::from_signed_bytes_be(&unscaled), scale(schema)?);
    Ok(Value::Decimal(Box::new(decimal)))
}

fn no_elements() -> DataError {
    DataError::data("a schema without element types")
}

fn array(schema: &SchemaRef, scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    let of = schema.value_schema().ok_or_else(no_elements)?;
    scanner.enter_array()?;
    let mut items = Vec::new();
    while scanner.next_element(items.is_empty())? {
        let item = value(of, scanner).map_err(|error| error.at(&format!("element {}", items.len())))?;
        items.push(item);
    }
    Ok(Value::Array(items))
}

/// Confluent's converter goes through the children of the node, whatever it is.
fn members_as_array(schema: &SchemaRef, scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    let of = schema.value_schema().ok_or_else(no_elements)?;
    let mut items = Map::new();
    scanner.enter_object()?;
    let mut is_first = true;
    while let Some(name) = scanner.next_member(is_first)? {
        is_first = false;
        items.insert(&*name, value(of, scanner).map_err(|error| error.at("map value"))?);
    }
    Ok(Value::Array(items.iter().map(|(_, item)| item.clone()).collect()))
}

/// Whether a map is written as an object, or else as an array of entries with key and value.
pub(super) fn is_object_map(schema: &Schema) -> bool {
    schema
        .key_schema()
        .is_some_and(|keys| keys.schema_type() == SchemaType::String && !keys.is_optional())
}

fn string_map(schema: &SchemaRef, scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    let of = schema.value_schema().ok_or_else(no_elements)?;
    scanner.enter_object()?;
    let mut map = Map::new();
    let mut is_first = true;
    while let Some(name) = scanner.next_member(is_first)? {
        is_first = false;
        map.insert(&*name, value(of, scanner).map_err(|error| error.at("map value"))?);
    }
    Ok(Value::Map(map))
}

fn entry_map(schema: &SchemaRef, scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    let (keys, values) = schema.key_schema().zip(schema.value_schema()).ok_or_else(no_elements)?;
    scanner.enter_array()?;
    let mut map = Map::new();
    let mut is_first = true;
    while scanner.next_element(is_first)? {
        is_first = false;
        let (key, value) = entry(keys, values, scanner)?;
        map.insert(key, value);
    }
    Ok(Value::Map(map))
}

fn entry(keys: &SchemaRef, values: &SchemaRef, scanner: &mut Scanner<'_>) -> Result<(Value, Value), DataError> {
    let no_entry = || DataError::data("a map with other keys than strings is an array of {\"key\":…, \"value\":…}");
    if scanner.kind()? != Kind::Object {
        return Err(no_entry());
    }
    scanner.enter_object()?;
    let (mut key, mut of_key) = (None, None);
    let mut is_first = true;
    while let Some(name) = scanner.next_member(is_first)? {
        is_first = false;
        match &*name {
            "key" => key = Some(value(keys, scanner).map_err(|error| error.at("map key"))?),
            "value" => of_key = Some(value(values, scanner).map_err(|error| error.at("map value"))?),
            _ => return Err(no_entry()),
        }
    }
    key.zip(of_key).ok_or_else(no_entry)
}

/// Unknown members are ignored or kept beside, missing ones are null; of equal names the last counts.
fn structure(schema: &SchemaRef, scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    scanner.count_fields(schema.fields().len())?;
    let mut values: Vec<Option<Value>> = vec![None; schema.fields().len()];
    let additional = schema.field(ADDITIONAL).and_then(|field| field.schema.value_schema());
    let mut kept = Map::new();
    scanner.enter_object()?;
    let mut is_first = true;
    while let Some(name) = scanner.next_member(is_first)? {
        is_first = false;
        let known = schema
            .field_index(&name)
            .and_then(|index| Some((schema.fields().get(index)?, values.get_mut(index)?)));
        match (known, additional) {
            (Some((field, slot)), _) if additional.is_none() || &*field.name != ADDITIONAL => {
                *slot = Some(value(&field.schema, scanner).map_err(|error| error.at(&format!("field `{name}`")))?);
            }
            (_, Some(of)) => {
                let value = value(of, scanner).map_err(|error| error.at("map value"))?;
                kept.insert(&*name, value);
            }
            (_, None) => scanner.skip()?,
        }
    }
    let mut data = Struct::try_new(SchemaRef::clone(schema))?;
    let mut kept = Some(kept).filter(|kept| !kept.is_empty());
    for (index, (field, value)) in schema.fields().iter().zip(values).enumerate() {
        let value = match value {
            Some(value) => value,
            None if additional.is_some() && &*field.name == ADDITIONAL => kept.take().map_or(Value::Null, Value::Map),
            None => scanner
                .count_default(&field.schema)
                .and_then(|()| null(&field.schema))
                .map_err(|error| error.at(&format!("field `{}`", field.name)))?,
        };
        data.set_unchecked(index, value);
    }
    Ok(Value::Struct(Box::new(data)))
}

fn union(schema: &SchemaRef, kind: Kind, scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    let fields = schema.fields();
    scanner.count_fields(fields.len())?;
    let type_of = |index: usize| fields.get(index).map(|field| field.schema.schema_type());
    let has = |index: usize, name: &str| {
        let field = fields.get(index);
        field.is_some_and(|field| field.schema.field_index(name).is_some())
    };
    let chosen = choose(scanner, kind, fields.len(), type_of, has)?;
    let (index, field) = chosen
        .and_then(|index| Some((index, fields.get(index)?)))
        .ok_or_else(|| DataError::data(format!("{} is none of the {} alternatives", kind.name(), fields.len())))?;
    let value = value(&field.schema, scanner).map_err(|error| error.at(&format!("branch {index}")))?;
    let mut data = Struct::try_new(SchemaRef::clone(schema))?;
    data.set_unchecked(index, value);
    Ok(Value::Struct(Box::new(data)))
}

/// The branch of a union that a value is of: the first whose type fits, or else the struct that has most of the names
/// of the object. Leaves the scanner where it is.
pub(super) fn choose(
    scanner: &Scanner<'_>,
    kind: Kind,
    branches: usize,
    type_of: impl Fn(usize) -> Option<SchemaType>,
    has: impl Fn(usize, &str) -> bool,
) -> Result<Option<usize>, DataError> {
    let mut ahead = scanner.clone();
    let is_integer = kind == Kind::Number && ahead.number()?.is_integer;
    let fits = |index: usize| match type_of(index) {
        Some(SchemaType::Int8 | SchemaType::Int16 | SchemaType::Int32 | SchemaType::Int64) => is_integer,
        Some(SchemaType::Float32 | SchemaType::Float64) => kind == Kind::Number,
        Some(SchemaType::Boolean) => kind == Kind::Boolean,
        Some(SchemaType::String) => kind == Kind::String,
        Some(SchemaType::Bytes) => kind == Kind::Number && !is_integer,
        Some(SchemaType::Array) => kind == Kind::Array,
        Some(SchemaType::Map) => matches!(kind, Kind::Object | Kind::Array),
        Some(SchemaType::Struct) | None => false,
    };
    if let Some(first) = (0..branches).find(|index| fits(*index)) {
        return Ok(Some(first));
    }
    let mut candidates: Vec<(usize, usize)> = (0..branches)
        .filter(|index| kind == Kind::Object && type_of(*index) == Some(SchemaType::Struct))
        .map(|index| (index, 0))
        .collect();
    if candidates.len() > 1 {
        let mut seen = std::collections::HashSet::new();
        ahead.enter_object()?;
        let mut is_first = true;
        while let Some(name) = ahead.next_member(is_first)? {
            is_first = false;
            ahead.skip()?;
            for (index, count) in &mut candidates {
                *count += usize::from(has(*index, &name) && !seen.contains(&name));
            }
            seen.insert(name);
        }
    }
    let best = candidates.iter().map(|(_, count)| *count).max();
    Ok(candidates
        .iter()
        .find(|(_, count)| Some(*count) == best)
        .map(|(index, _)| *index))
}
