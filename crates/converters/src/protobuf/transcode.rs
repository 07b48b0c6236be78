//! Protobuf data as JSON text, without values in between.
#![warn(clippy::indexing_slicing)]

use bigdecimal::num_bigint::BigInt;
use klamm_connect_api::{DataError, SchemaType, java_number, json};

use super::plan::{Absent, Branch, Entry, Field, Member, Message, Node, Plan, Scalar};
use super::read::{integer, no_elements, strict};
use super::scan::{Chain, Entries, Frame, Parts, Scanner, float, number32};
use super::types::MessageId;
use crate::charset::utf8;

/// Writes the data of a plan as JSON, the same bytes that Connect's `JsonConverter` writes for its Connect data.
///
/// [`Writer::message`] and [`Writer::node`] are on the stack once for each level, so what has no others inside it is
/// written by functions of its own.
pub(super) struct Writer<'a> {
    pub(super) scanner: Scanner<'a>,
}

impl<'a> Writer<'a> {
    pub(super) fn try_new(plan: &'a Plan, payload: &'a [u8]) -> Result<Self, DataError> {
        Ok(Self {
            scanner: Scanner::try_new(plan, payload)?,
        })
    }

    /// Appends the record's message.
    pub(super) fn root(&mut self, id: MessageId, out: &mut Vec<u8>) -> Result<(), DataError> {
        let parts = self.scanner.whole();
        self.message(id, parts, out)
    }

    fn message(&mut self, id: MessageId, parts: Parts, out: &mut Vec<u8>) -> Result<(), DataError> {
        let plan = self.scanner.plan;
        let message = plan.message(id);
        let frame = self.scanner.open(id, parts)?;
        let mut before = b'{';
        for member in &message.members {
            out.push(before);
            before = b',';
            match member {
                Member::Field { index, json } => {
                    out.extend_from_slice(json);
                    self.named_field(frame, message, *index, out)?;
                }
                Member::Union {
                    name,
                    slot,
                    json,
                    branches,
                    ..
                } => {
                    out.extend_from_slice(json);
                    self.union(frame, message, *slot, branches, out)
                        .map_err(|error| error.at(&format!("field `{name}`")))?;
                }
            }
        }
        if message.members.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
        self.scanner.close(frame);
        Ok(())
    }

    fn union(
        &mut self,
        frame: Frame,
        message: &Message,
        slot: usize,
        branches: &[Branch],
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let set = self.scanner.slot(frame, slot).field();
        let Some(branch) = set.and_then(|set| branches.iter().find(|branch| branch.index == set)) else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        out.extend_from_slice(&branch.before);
        if let Some(field) = message.fields.get(branch.index) {
            self.field(frame, branch.index, field, &field.absent, out)
                .map_err(|error| error.at(&format!("branch `{}`", field.name)))?;
        }
        out.extend_from_slice(&branch.after);
        Ok(())
    }

    #[inline]
    fn named_field(
        &mut self,
        frame: Frame,
        message: &Message,
        index: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let Some(field) = message.fields.get(index) else {
            return Ok(());
        };
        match self.field(frame, index, field, &field.absent, out) {
            Ok(()) => Ok(()),
            Err(error) => Err(error.at(&format!("field `{}`", field.name))),
        }
    }

    #[inline]
    fn field(
        &mut self,
        frame: Frame,
        index: usize,
        field: &Field,
        absent: &Absent,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let slot = self.scanner.slot(frame, field.slot);
        if !slot.holds(index) {
            return match absent {
                Absent::Value { json, .. } => {
                    out.extend_from_slice(json);
                    Ok(())
                }
                Absent::Message => self.node(field.node, Parts::Absent, out),
            };
        }
        match field.node {
            Node::Entry(id) if field.is_repeated => self.map(id, slot.chain(), out),
            node if field.is_repeated => self.list(node, slot.chain(), out),
            Node::Scalar(scalar, schema_type) => self.scalar(scalar, schema_type, slot.raw, out),
            node => self.node(node, Parts::Chain(slot.chain()), out),
        }
    }

    /// A value that is a message on the wire.
    fn node(&mut self, node: Node, parts: Parts, out: &mut Vec<u8>) -> Result<(), DataError> {
        match node {
            Node::Message(id) | Node::Entry(id) => self.message(id, parts, out),
            node => self.logical(node, parts, out),
        }
    }

    fn logical(&mut self, node: Node, parts: Parts, out: &mut Vec<u8>) -> Result<(), DataError> {
        match node {
            Node::Wrapper(id, scalar, schema_type) => {
                let raw = self.scanner.wrapped(id, parts)?;
                return self.scalar(scalar, schema_type, raw, out);
            }
            Node::Timestamp(id) => number(self.scanner.timestamp(id, parts)?, out),
            Node::Date(id) => number(self.scanner.date(id, parts)?, out),
            Node::Time(id) => number(self.scanner.time_of_day(id, parts)?, out),
            Node::Decimal { message, scale, .. } => {
                let decimal = self.scanner.decimal(message, parts)?;
                if decimal.scale != scale {
                    return Err(DataError::data(format!(
                        "the Decimal has scale {} where its schema has scale {scale}",
                        decimal.scale
                    )));
                }
                self::decimal(decimal.unscaled, out);
            }
            Node::Message(_) | Node::Entry(_) | Node::Scalar(..) => {}
        }
        Ok(())
    }

    fn list(&mut self, node: Node, mut chain: Chain, out: &mut Vec<u8>) -> Result<(), DataError> {
        out.push(b'[');
        let start = out.len();
        let mut count = 0_usize;
        while let Some(link) = self.scanner.next(&mut chain) {
            let written = match node {
                Node::Scalar(scalar, schema_type) if link.is_packed => {
                    self.run(scalar, schema_type, link.raw, start, &mut count, out)
                }
                node => {
                    separate(start, out);
                    match node {
                        Node::Scalar(scalar, schema_type) => self.scalar(scalar, schema_type, link.raw, out),
                        node => self.node(node, link.parts(), out),
                    }
                }
            };
            if let Err(error) = written {
                return Err(error.at(&format!("element {count}")));
            }
            count = count.saturating_add(usize::from(!link.is_packed));
        }
        out.push(b']');
        Ok(())
    }

    /// Elements that stand in one run of bytes.
    fn run(
        &self,
        scalar: Scalar,
        schema_type: SchemaType,
        raw: u64,
        start: usize,
        count: &mut usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let mut run = self.scanner.run(raw);
        while let Some(raw) = self.scanner.unpack(scalar, &mut run)? {
            separate(start, out);
            self.scalar(scalar, schema_type, raw, out)?;
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    fn map(&mut self, id: MessageId, chain: Chain, out: &mut Vec<u8>) -> Result<(), DataError> {
        let plan = self.scanner.plan;
        let message = plan.message(id);
        let ([key, value], Some(entry)) = (message.fields.as_slice(), &message.entry) else {
            return Err(no_elements());
        };
        let entries = self.scanner.open_entries(id, chain)?;
        let (open, close) = if entry.is_object { (b'{', b'}') } else { (b'[', b']') };
        out.push(open);
        self.entries(entries, entry, key, value, out)?;
        out.push(close);
        self.scanner.close_entries(entries);
        Ok(())
    }

    fn entries(
        &mut self,
        entries: Entries,
        entry: &Entry,
        key: &Field,
        value: &Field,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let start = out.len();
        for index in 0..entries.count() {
            let Some(frame) = self.scanner.entry(entries, index) else {
                continue;
            };
            separate(start, out);
            if !entry.is_object {
                out.push(b'[');
            }
            self.field(frame, 0, key, &entry.key, out)
                .map_err(|error| error.at("map key"))?;
            out.push(if entry.is_object { b':' } else { b',' });
            self.field(frame, 1, value, &entry.value, out)
                .map_err(|error| error.at("map value"))?;
            if !entry.is_object {
                out.push(b']');
            }
        }
        Ok(())
    }

    #[inline]
    fn scalar(
        &self,
        scalar: Scalar,
        schema_type: SchemaType,
        raw: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        match scalar {
            Scalar::String { is_strict: true } => json::write_string(strict(self.scanner.bytes(raw))?, out),
            Scalar::String { is_strict: false } => json::write_string(&utf8(self.scanner.bytes(raw)), out),
            Scalar::Bytes => json::write_base64(self.scanner.bytes(raw), out),
            Scalar::Bool => out.extend_from_slice(if raw != 0 { b"true" } else { b"false" }),
            Scalar::Double => {
                let number = f64::from_bits(raw);
                real(number.is_finite(), out, |out| java_number::write_f64(number, out));
            }
            Scalar::Float => {
                let number = float(raw);
                real(number.is_finite(), out, |out| java_number::write_f32(number, out));
            }
            Scalar::Enum { id, .. } if schema_type == SchemaType::String => {
                let (number, declared) = (number32(raw), self.scanner.plan.enumeration(id));
                match declared.symbol(number) {
                    Some(symbol) => out.extend_from_slice(&symbol.json),
                    None => json::write_string(&declared.unknown(number), out),
                }
            }
            Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32 => {
                if schema_type != SchemaType::Int32 {
                    integer(schema_type, raw.cast_signed())?;
                }
                number(raw.cast_signed(), out);
            }
            Scalar::Int64
            | Scalar::Uint64
            | Scalar::Fixed64
            | Scalar::Fixed32
            | Scalar::Uint32
            | Scalar::Enum { .. }
            | Scalar::Sfixed64
            | Scalar::Sint64 => number(raw.cast_signed(), out),
        }
        Ok(())
    }
}

/// A comma, unless nothing was written since `start`.
#[inline]
fn separate(start: usize, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b',');
    }
}

#[inline]
fn number(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn real(is_number: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if is_number {
        return write(out);
    }
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// Base64 of the shortest two's complement, as Java writes it: bytes that only repeat the sign go.
fn decimal(bytes: &[u8], out: &mut Vec<u8>) {
    let repeats_sign = matches!(bytes, [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..]);
    if repeats_sign {
        json::write_base64(&BigInt::from_signed_bytes_be(bytes).to_signed_bytes_be(), out);
    } else {
        json::write_base64(bytes, out);
    }
}
