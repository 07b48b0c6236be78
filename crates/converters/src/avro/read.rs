//! Avro data as Connect values.
#![warn(clippy::indexing_slicing)]

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use bytes::Bytes;
use klamm_connect_api::logical;
use klamm_connect_api::{DataError, Map, SchemaRef, SchemaType, Struct, Value};

use super::cursor::{Blocks, Cursor};
use super::plan::{Branch, Node, NodeId, Plan, RecordField};
use crate::charset::utf8;

pub(super) const DAY_MS: i64 = 86_400_000;

/// Reads values of a plan.
pub(super) struct Reader<'a> {
    pub(super) plan: &'a Plan,
    pub(super) cursor: Cursor<'a>,
    /// The whole payload, of which values of type bytes keep a part.
    pub(super) payload: &'a Bytes,
}

impl Reader<'_> {
    /// The value at the cursor. What has others inside it is read by functions of their own: this one is on the stack
    /// once for each level, so it is kept small.
    pub(super) fn value(&mut self, id: NodeId, schema: &SchemaRef) -> Result<Value, DataError> {
        let plan = self.plan;
        match plan.node(id) {
            Node::Record(fields) => self.record(fields, schema),
            Node::Array(items) => self.array(*items, schema),
            Node::Map(values) => self.map(*values, schema),
            Node::Entries { key, value, .. } => self.entries(*key, *value, schema),
            Node::Union(branches) => self.union(branches, schema),
            Node::Nullable { null_branch, other, .. } => {
                if self.cursor.index(2, "branch")? == *null_branch {
                    Ok(Value::Null)
                } else {
                    self.value(*other, schema)
                }
            }
            Node::Single(inner) => {
                self.cursor.index(1, "branch")?;
                self.value(*inner, schema)
            }
            scalar => self.scalar(scalar),
        }
    }

    fn scalar(&mut self, node: &Node) -> Result<Value, DataError> {
        let cursor = &mut self.cursor;
        Ok(match node {
            Node::Boolean => Value::Boolean(cursor.boolean()?),
            Node::Int(schema_type, _) => int(*schema_type, i64::from(cursor.int()?))?,
            Node::Long(_) => Value::Int64(cursor.long()?),
            Node::Float => Value::Float32(cursor.float()?),
            Node::Double => Value::Float64(cursor.double()?),
            Node::Bytes => Value::Bytes(self.payload.slice_ref(cursor.bytes()?)),
            Node::Fixed(size, _) => Value::Bytes(self.payload.slice_ref(cursor.fixed(*size)?)),
            Node::String => Value::from(&*utf8(cursor.bytes()?)),
            Node::Decimal { size, scale } => unscaled(decimal_bytes(cursor, *size)?, *scale)?,
            Node::Date => Value::Instant(i64::from(cursor.int()?) * DAY_MS),
            Node::Time => Value::Instant(time(cursor.int()?)?),
            Node::Timestamp => Value::Instant(cursor.long()?),
            Node::Enum(symbols) => {
                let index = cursor.index(symbols.len(), "symbol")?;
                match symbols.get(index) {
                    Some(symbol) => Value::String(symbol.text.clone()),
                    None => Value::Null,
                }
            }
            Node::Array(_)
            | Node::Map(_)
            | Node::Entries { .. }
            | Node::Record(_)
            | Node::Nullable { .. }
            | Node::Single(_)
            | Node::Union(_)
            | Node::Pending => return Err(DataError::data("a type that was not worked out")),
        })
    }

    fn record(&mut self, fields: &[RecordField], schema: &SchemaRef) -> Result<Value, DataError> {
        self.cursor.enter()?;
        let mut data = Struct::try_new(SchemaRef::clone(schema))?;
        for (index, (field, connect)) in fields.iter().zip(schema.fields()).enumerate() {
            match self.value(field.node, &connect.schema) {
                Ok(value) => data.set_unchecked(index, value),
                Err(error) => return Err(error.at(&format!("field `{}`", field.name))),
            }
        }
        self.cursor.leave();
        Ok(Value::Struct(Box::new(data)))
    }

    fn union(&mut self, branches: &[Branch], schema: &SchemaRef) -> Result<Value, DataError> {
        let Some(Branch::Value { node, field, .. }) = branches.get(self.cursor.index(branches.len(), "branch")?) else {
            return Ok(Value::Null);
        };
        let Some(connect) = schema.fields().get(*field) else {
            return Ok(Value::Null);
        };
        self.cursor.enter()?;
        let mut data = Struct::try_new(SchemaRef::clone(schema))?;
        match self.value(*node, &connect.schema) {
            Ok(value) => data.set_unchecked(*field, value),
            Err(error) => return Err(error.at(&format!("branch `{}`", connect.name))),
        }
        self.cursor.leave();
        Ok(Value::Struct(Box::new(data)))
    }

    fn array(&mut self, items: NodeId, schema: &SchemaRef) -> Result<Value, DataError> {
        let of = schema.value_schema().ok_or_else(no_elements)?;
        let (mut blocks, mut values) = (Blocks::default(), Vec::new());
        self.cursor.enter()?;
        while self.cursor.next_item(&mut blocks)? {
            let value = self
                .value(items, of)
                .map_err(|error| error.at(&format!("element {}", values.len())))?;
            values.push(value);
        }
        self.cursor.leave();
        Ok(Value::Array(values))
    }

    fn map(&mut self, values: NodeId, schema: &SchemaRef) -> Result<Value, DataError> {
        let of = schema.value_schema().ok_or_else(no_elements)?;
        let (mut blocks, mut map) = (Blocks::default(), Map::new());
        self.cursor.enter()?;
        while self.cursor.next_item(&mut blocks)? {
            let key = Value::from(&*utf8(self.cursor.bytes()?));
            map.insert(key, self.value(values, of).map_err(|error| error.at("map value"))?);
        }
        self.cursor.leave();
        Ok(Value::Map(map))
    }

    fn entries(&mut self, key: NodeId, value: NodeId, schema: &SchemaRef) -> Result<Value, DataError> {
        let (keys, values) = schema.key_schema().zip(schema.value_schema()).ok_or_else(no_elements)?;
        let (mut blocks, mut map) = (Blocks::default(), Map::new());
        self.cursor.enter()?;
        while self.cursor.next_item(&mut blocks)? {
            let key = self.value(key, keys).map_err(|error| error.at("map key"))?;
            map.insert(key, self.value(value, values).map_err(|error| error.at("map value"))?);
        }
        self.cursor.leave();
        Ok(Value::Map(map))
    }
}

fn no_elements() -> DataError {
    DataError::data("a schema without element types")
}

/// An int of the width that Connect has for it.
pub(super) fn int(schema_type: SchemaType, number: i64) -> Result<Value, DataError> {
    let fitting = match schema_type {
        SchemaType::Int8 => i8::try_from(number).map(Value::Int8),
        SchemaType::Int16 => i16::try_from(number).map(Value::Int16),
        _ => i32::try_from(number).map(Value::Int32),
    };
    fitting.map_err(|_| DataError::data(format!("a number that is no {schema_type} is declared as one")))
}

pub(super) fn time(ms: i32) -> Result<i64, DataError> {
    // The end of the day is accepted, as in Connect.
    match i64::from(ms) {
        ms @ 0..=DAY_MS => Ok(ms),
        _ => Err(DataError::data("a time that is not within a day")),
    }
}

pub(super) fn decimal_bytes<'a>(cursor: &mut Cursor<'a>, size: Option<usize>) -> Result<&'a [u8], DataError> {
    let bytes = match size {
        None => cursor.bytes()?,
        Some(size) => cursor.fixed(size)?,
    };
    if bytes.is_empty() {
        return Err(DataError::data("a decimal without bytes"));
    }
    Ok(bytes)
}

fn unscaled(bytes: &[u8], scale: i32) -> Result<Value, DataError> {
    if bytes.is_empty() {
        return Err(DataError::data("a decimal without bytes"));
    }
    let decimal = BigDecimal::new(BigInt::from_signed_bytes_be(bytes), i64::from(scale));
    Ok(Value::Decimal(Box::new(decimal)))
}

/// The Decimal of a schema that has `bytes` as its unscaled value.
pub(super) fn decimal(schema: &SchemaRef, bytes: &[u8]) -> Result<Value, DataError> {
    let scale = logical::decimal_scale(schema)
        .ok_or_else(|| DataError::data("the Decimal schema has no parameter `scale` with a number"))?;
    unscaled(bytes, scale)
}
