//! Protobuf data as Connect values.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use bytes::Bytes;
use klamm_connect_api::{DataError, Map, SchemaRef, SchemaType, Struct, Value};

use super::logical::date_ms;
use super::plan::{Absent, Field, Member, Node, Plan, Scalar, Unset};
use super::scan::{Chain, Frame, Parts, Scanner, float, number32};
use super::types::MessageId;
use super::wire::malformed;
use crate::charset::utf8;

/// Reads values of a plan.
pub(super) struct Reader<'a> {
    scanner: Scanner<'a>,
    /// The whole payload, of which values of type bytes keep a part.
    payload: &'a Bytes,
}

impl<'a> Reader<'a> {
    pub(super) fn try_new(plan: &'a Plan, payload: &'a Bytes) -> Result<Self, DataError> {
        Ok(Self {
            scanner: Scanner::try_new(plan, payload)?,
            payload,
        })
    }

    /// The record's message.
    pub(super) fn root(&mut self, id: MessageId, schema: &SchemaRef) -> Result<Value, DataError> {
        let parts = self.scanner.whole();
        self.message(id, parts, schema)
    }

    fn message(&mut self, id: MessageId, parts: Parts, schema: &SchemaRef) -> Result<Value, DataError> {
        let plan = self.scanner.plan;
        let message = plan.message(id);
        let frame = self.scanner.open(id, parts)?;
        let mut data = Struct::try_new(SchemaRef::clone(schema))?;
        for (position, (member, connect)) in message.members.iter().zip(schema.fields()).enumerate() {
            let value = match member {
                Member::Field { index, .. } => match message.fields.get(*index) {
                    Some(field) => self.member(frame, *index, field, &connect.schema),
                    None => Ok(Value::Null),
                },
                Member::Union(union) => {
                    let set = self.scanner.slot(frame, union.slot).field();
                    match set.and_then(|set| union.branches.iter().position(|branch| branch.index == set)) {
                        Some(branch) => self.union(frame, &message.fields, set, branch, &connect.schema),
                        None => match union.unset {
                            Unset::Null => Ok(Value::Null),
                            Unset::Struct(_) => Struct::try_new(SchemaRef::clone(&connect.schema))
                                .map(|data| Value::Struct(Box::new(data))),
                        },
                    }
                }
            };
            match value {
                Ok(value) => data.set_unchecked(position, value),
                Err(error) => return Err(error.at(&format!("field `{}`", connect.name))),
            }
        }
        self.scanner.close(frame);
        Ok(Value::Struct(Box::new(data)))
    }

    fn union(
        &mut self,
        frame: Frame,
        fields: &[Field],
        set: Option<usize>,
        branch: usize,
        schema: &SchemaRef,
    ) -> Result<Value, DataError> {
        let mut data = Struct::try_new(SchemaRef::clone(schema))?;
        if let Some(index) = set
            && let Some(field) = fields.get(index)
            && let Some(connect) = schema.fields().get(branch)
        {
            let value = self
                .member(frame, index, field, &connect.schema)
                .map_err(|error| error.at(&format!("branch `{}`", field.name)))?;
            data.set_unchecked(branch, value);
        }
        Ok(Value::Struct(Box::new(data)))
    }

    fn member(&mut self, frame: Frame, index: usize, field: &Field, schema: &SchemaRef) -> Result<Value, DataError> {
        let slot = self.scanner.slot(frame, field.slot);
        match field.node {
            Node::Entry(id) if field.is_repeated => self.map(id, slot.chain(), schema),
            node if field.is_repeated => self.list(node, slot.chain(), schema),
            node if !slot.holds(index) => self.absent(&field.absent, node, schema),
            Node::Scalar(scalar, schema_type) => self.scalar(scalar, schema_type, slot.raw),
            node => self.node(node, Parts::Chain(slot.chain()), schema),
        }
    }

    fn absent(&mut self, absent: &Absent, node: Node, schema: &SchemaRef) -> Result<Value, DataError> {
        match absent {
            Absent::Value { value, .. } => Ok(value.clone()),
            Absent::Message => self.node(node, Parts::Absent, schema),
        }
    }

    /// A value that is a message on the wire.
    fn node(&mut self, node: Node, parts: Parts, schema: &SchemaRef) -> Result<Value, DataError> {
        match node {
            Node::Message(id) | Node::Entry(id) => self.message(id, parts, schema),
            Node::Wrapper(id, scalar, schema_type) => {
                let raw = self.scanner.wrapped(id, parts)?;
                self.scalar(scalar, schema_type, raw)
            }
            Node::Timestamp(id) => self.scanner.timestamp(id, parts).map(Value::Instant),
            Node::Date(id) => self.scanner.date(id, parts).map(|days| Value::Instant(date_ms(days))),
            Node::Time(id) => self.scanner.time_of_day(id, parts).map(Value::Instant),
            Node::Decimal { message, .. } => {
                let decimal = self.scanner.decimal(message, parts)?;
                let unscaled = BigInt::from_signed_bytes_be(decimal.unscaled);
                let decimal = BigDecimal::new(unscaled, i64::from(decimal.scale));
                Ok(Value::Decimal(Box::new(decimal)))
            }
            Node::Scalar(..) => Ok(Value::Null),
        }
    }

    fn list(&mut self, node: Node, mut chain: Chain, schema: &SchemaRef) -> Result<Value, DataError> {
        let of = schema.value_schema().ok_or_else(no_elements)?;
        let mut values = Vec::new();
        while let Some(link) = self.scanner.next(&mut chain) {
            let at = |error: DataError, count: usize| error.at(&format!("element {count}"));
            match node {
                Node::Scalar(scalar, schema_type) if link.is_packed => {
                    let mut run = self.scanner.run(link.raw);
                    loop {
                        let next = self.scanner.unpack(scalar, &mut run);
                        let Some(raw) = next.map_err(|fault| at(fault.into(), values.len()))? else {
                            break;
                        };
                        let value = self.scalar(scalar, schema_type, raw);
                        values.push(value.map_err(|error| at(error, values.len()))?);
                    }
                }
                Node::Scalar(scalar, schema_type) => {
                    let value = self.scalar(scalar, schema_type, link.raw);
                    values.push(value.map_err(|error| at(error, values.len()))?);
                }
                node => {
                    let value = self.node(node, link.parts(), of);
                    values.push(value.map_err(|error| at(error, values.len()))?);
                }
            }
        }
        Ok(Value::Array(values))
    }

    fn map(&mut self, id: MessageId, chain: Chain, schema: &SchemaRef) -> Result<Value, DataError> {
        let plan = self.scanner.plan;
        let message = plan.message(id);
        let (keys, of) = schema.key_schema().zip(schema.value_schema()).ok_or_else(no_elements)?;
        let ([key, value], Some(entry)) = (message.fields.as_slice(), &message.entry) else {
            return Err(no_elements());
        };
        let entries = self.scanner.open_entries(id, chain)?;
        let mut map = Map::new();
        for index in 0..entries.count() {
            let Some(frame) = self.scanner.entry(entries, index) else {
                continue;
            };
            let key = self
                .entry_member(frame, 0, key, &entry.key, keys)
                .map_err(|error| error.at("map key"))?;
            let value = self
                .entry_member(frame, 1, value, &entry.value, of)
                .map_err(|error| error.at("map value"))?;
            map.insert(key, value);
        }
        self.scanner.close_entries(entries);
        Ok(Value::Map(map))
    }

    fn entry_member(
        &mut self,
        frame: Frame,
        index: usize,
        field: &Field,
        absent: &Absent,
        schema: &SchemaRef,
    ) -> Result<Value, DataError> {
        if self.scanner.slot(frame, field.slot).holds(index) {
            self.member(frame, index, field, schema)
        } else {
            self.absent(absent, field.node, schema)
        }
    }

    fn scalar(&self, scalar: Scalar, schema_type: SchemaType, raw: u64) -> Result<Value, DataError> {
        Ok(match scalar {
            Scalar::Double => Value::Float64(f64::from_bits(raw)),
            Scalar::Float => Value::Float32(float(raw)),
            Scalar::Bool => Value::Boolean(raw != 0),
            Scalar::String { is_strict: true } => Value::from(strict(self.scanner.bytes(raw))?),
            Scalar::String { is_strict: false } => Value::from(&*utf8(self.scanner.bytes(raw))),
            Scalar::Bytes => Value::Bytes(self.payload.slice_ref(self.scanner.bytes(raw))),
            Scalar::Enum { id, .. } if schema_type == SchemaType::String => {
                let (number, declared) = (number32(raw), self.scanner.plan.enumeration(id));
                match declared.symbol(number) {
                    Some(symbol) => Value::String(std::sync::Arc::clone(&symbol.text)),
                    None => Value::from(declared.unknown(number)),
                }
            }
            Scalar::Int64
            | Scalar::Uint64
            | Scalar::Int32
            | Scalar::Fixed64
            | Scalar::Fixed32
            | Scalar::Uint32
            | Scalar::Enum { .. }
            | Scalar::Sfixed32
            | Scalar::Sfixed64
            | Scalar::Sint32
            | Scalar::Sint64 => integer(schema_type, raw.cast_signed())?,
        })
    }
}

/// A number of the width that Connect has for it.
pub(super) fn integer(schema_type: SchemaType, number: i64) -> Result<Value, DataError> {
    let fitting = match schema_type {
        SchemaType::Int8 => i8::try_from(number).map(Value::Int8),
        SchemaType::Int16 => i16::try_from(number).map(Value::Int16),
        SchemaType::Int32 => i32::try_from(number).map(Value::Int32),
        _ => Ok(Value::Int64(number)),
    };
    fitting.map_err(|_| DataError::data(format!("a number that is no {schema_type} is declared as one")))
}

pub(super) fn strict(bytes: &[u8]) -> Result<&str, DataError> {
    std::str::from_utf8(bytes).map_err(|_| malformed("a string that is no UTF-8"))
}

#[cold]
pub(super) fn no_elements() -> DataError {
    DataError::data("a schema without element types")
}
