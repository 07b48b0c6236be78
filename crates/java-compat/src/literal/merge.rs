//! The common schema of the elements of an array or map literal.
//!
//! Connect converts the elements to the common type one level deep and announces it for all levels; here every level
//! is converted.

use std::sync::Arc;

use klamm_connect_api::{Map, Schema, SchemaAndValue, SchemaRef, SchemaType, Value};

/// A value inside of an array or map literal.
#[derive(Debug)]
pub(super) struct Element(pub(super) SchemaAndValue);

impl From<SchemaAndValue> for Element {
    fn from(data: SchemaAndValue) -> Self {
        Self(data)
    }
}

impl Element {
    pub(super) fn is_null(&self) -> bool {
        self.0.value.is_null()
    }
}

/// An array; none if nulls stand beside values, which makes the whole text a string.
pub(super) fn array(items: Vec<Element>) -> Option<Element> {
    let (of, values) = unify(items)?;
    let schema = Schema::array_of(of).build().ok()?;
    Some(SchemaAndValue::new(schema, Value::Array(values)).into())
}

/// A map; none if nulls stand beside values. Without a common type of the keys its values have no schema either, as
/// in Connect.
pub(super) fn map(keys: Vec<Element>, values: Vec<Element>) -> Option<Element> {
    let (keys_of, keys) = unify(keys)?;
    let (values_of, values) = unify(values)?;
    let values_of = values_of.filter(|_| keys_of.is_some());
    let schema = Schema::map_of(keys_of, values_of).build().ok()?;
    let map: Map = keys.into_iter().zip(values).collect();
    Some(SchemaAndValue::new(schema, Value::Map(map)).into())
}

/// The common schema, if there is one, and the values converted to it.
fn unify(items: Vec<Element>) -> Option<(Option<SchemaRef>, Vec<Value>)> {
    let nulls = items.iter().filter(|item| item.is_null()).count();
    if nulls > 0 && nulls < items.len() {
        return None;
    }
    let mut schemas = items.iter().map(|Element(data)| data.schema.clone());
    let first = schemas.next().flatten();
    let common = schemas.fold(first, |common, schema| merged(&common?, &schema?));
    let values = items
        .into_iter()
        .map(|Element(data)| match &common {
            Some(common) => converted(data.value, common),
            None => data.value,
        })
        .collect();
    Some((common, values))
}

fn rank(schema: &Schema) -> Option<usize> {
    const LADDER: [SchemaType; 6] = [
        SchemaType::Int8,
        SchemaType::Int16,
        SchemaType::Int32,
        SchemaType::Int64,
        SchemaType::Float32,
        SchemaType::Float64,
    ];
    LADDER
        .iter()
        .position(|rung| *rung == schema.schema_type())
        .filter(|_| schema.name().is_none())
}

/// The schema that values of both can be converted to.
fn merged(a: &SchemaRef, b: &SchemaRef) -> Option<SchemaRef> {
    if Schema::same(a, b) {
        return Some(Arc::clone(a));
    }
    if let (Some(rank_a), Some(rank_b)) = (rank(a), rank(b)) {
        return Some(Arc::clone(if rank_a >= rank_b { a } else { b }));
    }
    let inner = |a: Option<&SchemaRef>, b: Option<&SchemaRef>| merged(a?, b?);
    match (a.schema_type(), b.schema_type()) {
        (SchemaType::Array, SchemaType::Array) => {
            Schema::array_of(inner(a.value_schema(), b.value_schema())).build().ok()
        }
        (SchemaType::Map, SchemaType::Map) => {
            let keys = inner(a.key_schema(), b.key_schema());
            let values = inner(a.value_schema(), b.value_schema()).filter(|_| keys.is_some());
            Schema::map_of(keys, values).build().ok()
        }
        _ => None,
    }
}

fn converted(value: Value, schema: &SchemaRef) -> Value {
    match (value, schema.schema_type()) {
        (Value::Array(items), SchemaType::Array) => match schema.value_schema() {
            Some(of) => Value::Array(items.into_iter().map(|item| converted(item, of)).collect()),
            None => Value::Array(items),
        },
        (Value::Map(map), SchemaType::Map) => {
            let each = |value, of: Option<&SchemaRef>| match of {
                Some(of) => converted(value, of),
                None => value,
            };
            let entries = map.into_iter();
            let (keys, values) = (schema.key_schema(), schema.value_schema());
            Value::Map(
                entries
                    .map(|(key, value)| (each(key, keys), each(value, values)))
                    .collect(),
            )
        }
        (value, target) if rank(schema).is_some() => widened(value, target),
        (value, _) => value,
    }
}

/// A number as a wider one.
#[expect(
    clippy::cast_precision_loss,
    reason = "the ladder goes from INT64 to FLOAT32, as in Connect"
)]
fn widened(value: Value, target: SchemaType) -> Value {
    let integer = match value {
        Value::Int8(number) => i64::from(number),
        Value::Int16(number) => i64::from(number),
        Value::Int32(number) => i64::from(number),
        Value::Int64(number) => number,
        Value::Float32(number) if target == SchemaType::Float64 => return Value::Float64(f64::from(number)),
        other => return other,
    };
    match target {
        SchemaType::Int16 => i16::try_from(integer).map_or(value, Value::Int16),
        SchemaType::Int32 => i32::try_from(integer).map_or(value, Value::Int32),
        SchemaType::Int64 => Value::Int64(integer),
        SchemaType::Float32 => Value::Float32(integer as f32),
        SchemaType::Float64 => Value::Float64(integer as f64),
        _ => value,
    }
}
