//! Protobuf data as JSON text, without values in between.
#![warn(clippy::indexing_slicing)]

use bigdecimal::num_bigint::BigInt;
use klamm_connect_api::{DataError, Rendering, SchemaType, Semantic, Unit, Value, java_number, json};

use super::plan::{Absent, Field, Member, Message, Node, Plan, Scalar, Union, Unset};
use super::read::{integer, no_elements, strict};
use super::scan::{Chain, Entries, Frame, Parts, Scanner, float, number32};
use super::types::MessageId;
use crate::charset::utf8;
use crate::failure::Failure;
use crate::json_text::{Part, write_boolean, write_integer};

/// Appends the message `root` as JSON, the same bytes that [`json::write`] makes of its Connect data.
pub(super) fn write(
    plan: &Plan,
    root: MessageId,
    payload: &[u8],
    rendering: Rendering,
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    let start = out.len();
    // Whatever is not as serializers write it, wrong bytes included, is found a second time by the way that takes it all
    // and says what is wrong. Once for the record, so that messages inside each other do not try again and again.
    if Writer::try_new(plan, payload, rendering, Way::Stream)?
        .root(root, out)
        .is_ok()
    {
        return Ok(());
    }
    out.truncate(start);
    Ok(Writer::try_new(plan, payload, rendering, Way::Scan)?.root(root, out)?)
}

/// How messages are read that could be written while they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By [`Writer::stream`].
    Stream,
    /// As any other message.
    Scan,
}

/// Writes the data of a plan.
///
/// [`Writer::message`] and [`Writer::node`] are on the stack once for each level, so what has no others inside it is
/// written by functions of its own.
pub(super) struct Writer<'a> {
    pub(super) scanner: Scanner<'a>,
    rendering: Rendering,
    way: Way,
    /// Where the record begins in the output.
    start: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn try_new(
        plan: &'a Plan,
        payload: &'a [u8],
        rendering: Rendering,
        way: Way,
    ) -> Result<Self, DataError> {
        Ok(Self {
            scanner: Scanner::try_new(plan, payload)?,
            rendering,
            way,
            start: 0,
        })
    }

    #[inline]
    fn is_natural(&self) -> bool {
        self.rendering.natural().is_some()
    }

    /// Appends the record's message.
    pub(super) fn root(&mut self, id: MessageId, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.start = out.len();
        let parts = self.scanner.whole();
        self.message(id, parts, out)?;
        Ok(json::check_length(self.start, out)?)
    }

    fn message(&mut self, id: MessageId, parts: Parts, out: &mut Vec<u8>) -> Result<(), Failure> {
        let plan = self.scanner.plan;
        let message = plan.message(id);
        json::check_length(self.start, out)?;
        if let Some(semantic) = message.semantic
            && self.is_natural()
            && self.noted(semantic, id, parts, out)?
        {
            return Ok(());
        }
        if self.way == Way::Stream
            && let Some(steps) = &message.steps
            && let Some(span) = self.scanner.single(parts)
        {
            return self.stream(message, steps, span, out);
        }
        let frame = self.scanner.open(id, parts)?;
        out.push(b'{');
        let start = out.len();
        for member in &message.members {
            match member {
                Member::Field { index, json } => {
                    begin(json, start, out);
                    self.named_field(frame, message, *index, out)?;
                }
                Member::Union(union) => self
                    .union(frame, message, union, start, out)
                    .map_err(|error| error.at(&format!("field `{}`", union.name)))?,
            }
        }
        out.push(b'}');
        self.scanner.close(frame);
        Ok(())
    }

    /// What a message stands for, if it stands for anything.
    fn noted(&mut self, semantic: Semantic, id: MessageId, parts: Parts, out: &mut Vec<u8>) -> Result<bool, Failure> {
        match semantic {
            Semantic::Held => {
                let message = self.scanner.plan.message(id);
                let frame = self.scanner.open(id, parts)?;
                self.held(frame, message, out)?;
                self.scanner.close(frame);
                Ok(true)
            }
            Semantic::Seconds => {
                let (seconds, nanos) = self.scanner.seconds(id, parts)?;
                Ok(json::write_seconds(seconds, nanos, out))
            }
            Semantic::FieldMask => {
                let frame = self.scanner.open(id, parts)?;
                let mut chain = self.scanner.slot(frame, 0).chain();
                let paths = std::iter::from_fn(|| self.scanner.next(&mut chain))
                    .map(|link| strict(self.scanner.bytes(link.raw)))
                    .collect::<Result<Vec<_>, _>>()?;
                self.scanner.close(frame);
                Ok(json::write_field_mask(paths.into_iter(), out))
            }
            _ => Ok(false),
        }
    }

    /// The value of the field that is set.
    fn held(&mut self, frame: Frame, message: &Message, out: &mut Vec<u8>) -> Result<(), Failure> {
        for member in &message.members {
            let index = match member {
                Member::Field { index, .. } => Some(*index),
                Member::Union(union) => self.scanner.slot(frame, union.slot).field(),
            };
            let Some((index, field)) = index.and_then(|index| Some((index, message.fields.get(index)?))) else {
                continue;
            };
            let is_there = field.is_repeated
                || self.scanner.slot(frame, field.slot).holds(index)
                || !matches!(field.absent, Absent::Value { value: Value::Null, .. });
            if is_there {
                return self.named_field(frame, message, index, out);
            }
        }
        out.extend_from_slice(b"null");
        Ok(())
    }

    /// A oneof: a struct of its own or, in the natural rendering, the field that is set.
    fn union(
        &mut self,
        frame: Frame,
        message: &Message,
        union: &Union,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let set = self.scanner.slot(frame, union.slot).field();
        let branch = set.and_then(|set| union.branches.iter().find(|branch| branch.index == set));
        let is_struct = !self.is_natural();
        let is_member = is_struct || union.is_generalized;
        if is_member {
            begin(&union.json, start, out);
        }
        let Some(branch) = branch else {
            if is_member {
                match &union.unset {
                    Unset::Struct(json) if is_struct => out.extend_from_slice(json),
                    Unset::Struct(_) | Unset::Null => out.extend_from_slice(b"null"),
                }
            }
            return Ok(());
        };
        if is_struct {
            out.extend_from_slice(&branch.before);
        } else if !is_member {
            begin(&branch.json, start, out);
        }
        if let Some(field) = message.fields.get(branch.index) {
            self.field(frame, branch.index, field, &field.absent, out)
                .map_err(|error| error.at(&format!("branch `{}`", field.name)))?;
        }
        if is_struct {
            out.extend_from_slice(&branch.after);
        }
        Ok(())
    }

    #[inline]
    fn named_field(&mut self, frame: Frame, message: &Message, index: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
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
    ) -> Result<(), Failure> {
        let slot = self.scanner.slot(frame, field.slot);
        match field.node {
            Node::Entry(id) if field.is_repeated => self.map(id, slot.chain(), out),
            node if field.is_repeated => self.list(node, slot.chain(), out),
            node if !slot.holds(index) => match absent {
                Absent::Value { json, natural, .. } => {
                    let natural = natural.as_deref().filter(|_| self.is_natural());
                    out.extend_from_slice(natural.unwrap_or(json));
                    Ok(())
                }
                Absent::Message => self.node(node, Parts::Absent, out),
            },
            Node::Scalar(scalar, schema_type) => self.scalar(scalar, schema_type, slot.raw, out),
            node => self.node(node, Parts::Chain(slot.chain()), out),
        }
    }

    /// A value that is a message on the wire.
    pub(super) fn node(&mut self, node: Node, parts: Parts, out: &mut Vec<u8>) -> Result<(), Failure> {
        match node {
            Node::Message(id) | Node::Entry(id) => self.message(id, parts, out),
            node => self.logical(node, parts, out),
        }
    }

    fn logical(&mut self, node: Node, parts: Parts, out: &mut Vec<u8>) -> Result<(), Failure> {
        match node {
            Node::Wrapper(id, scalar, schema_type) => {
                let raw = self.scanner.wrapped(id, parts)?;
                return self.scalar(scalar, schema_type, raw, out);
            }
            Node::Timestamp(id) => {
                let ms = self.scanner.timestamp(id, parts)?;
                json::write_time(Semantic::Timestamp(Unit::Millis), ms, self.rendering, out);
            }
            Node::Date(id) => {
                let days = self.scanner.date(id, parts)?;
                json::write_time(Semantic::Date, days, self.rendering, out);
            }
            Node::Time(id) => {
                let ms = self.scanner.time_of_day(id, parts)?;
                json::write_time(Semantic::Time(Unit::Millis), ms, self.rendering, out);
            }
            Node::Decimal { message, scale, .. } => {
                let decimal = self.scanner.decimal(message, parts)?;
                if decimal.scale != scale {
                    return Err(other_scale(decimal.scale, scale));
                }
                let unscaled = BigInt::from_signed_bytes_be(decimal.unscaled);
                json::write_decimal(&unscaled, scale, self.rendering, out)?;
            }
            Node::Message(_) | Node::Entry(_) | Node::Scalar(..) => {}
        }
        Ok(())
    }

    fn list(&mut self, node: Node, mut chain: Chain, out: &mut Vec<u8>) -> Result<(), Failure> {
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
    ) -> Result<(), Failure> {
        let mut run = self.scanner.run(raw);
        while let Some(raw) = self.scanner.unpack(scalar, &mut run)? {
            separate(start, out);
            self.scalar(scalar, schema_type, raw, out)?;
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    fn map(&mut self, id: MessageId, chain: Chain, out: &mut Vec<u8>) -> Result<(), Failure> {
        let plan = self.scanner.plan;
        let message = plan.message(id);
        let ([key, value], Some(entry)) = (message.fields.as_slice(), &message.entry) else {
            return Err(no_elements().into());
        };
        let entries = self.scanner.open_entries(id, chain)?;
        // A key is text, a number, a boolean or bytes: all of them can name a member.
        let is_object = entry.is_object || self.is_natural();
        out.push(if is_object { b'{' } else { b'[' });
        self.entries(entries, is_object, (key, &entry.key), (value, &entry.value), out)?;
        out.push(if is_object { b'}' } else { b']' });
        self.scanner.close_entries(entries);
        Ok(())
    }

    fn entries(
        &mut self,
        entries: Entries,
        is_object: bool,
        (key, no_key): (&Field, &Absent),
        (value, no_value): (&Field, &Absent),
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let start = out.len();
        for index in 0..entries.count() {
            let Some(frame) = self.scanner.entry(entries, index) else {
                continue;
            };
            separate(start, out);
            if !is_object {
                out.push(b'[');
            }
            let name = out.len();
            self.field(frame, 0, key, no_key, out)
                .map_err(|error| error.at("map key"))?;
            if is_object {
                json::quote_from(name, out);
            }
            out.push(if is_object { b':' } else { b',' });
            self.field(frame, 1, value, no_value, out)
                .map_err(|error| error.at("map value"))?;
            if !is_object {
                out.push(b']');
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn scalar(
        &self,
        scalar: Scalar,
        schema_type: SchemaType,
        raw: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match scalar {
            Scalar::String { is_strict } => text(self.scanner.part(raw), is_strict, out)?,
            Scalar::Bytes => json::write_base64(self.scanner.bytes(raw), out),
            Scalar::Bool => write_boolean(raw != 0, out),
            Scalar::Double => {
                let number = f64::from_bits(raw);
                real(number.is_finite(), out, |out| java_number::write_f64(number, out));
            }
            Scalar::Float => {
                let number = float(raw);
                real(number.is_finite(), out, |out| java_number::write_f32(number, out));
            }
            Scalar::Enum { id, .. } if self.is_natural() && self.scanner.plan.enumeration(id).is_null => {
                out.extend_from_slice(b"null");
            }
            Scalar::Uint64 | Scalar::Fixed64 if self.is_natural() => json::write_unsigned(raw.cast_signed(), out),
            Scalar::Enum { id, .. } if schema_type == SchemaType::String => {
                let (number, declared) = (number32(raw), self.scanner.plan.enumeration(id));
                json::check_length(self.start, out)?;
                match declared.symbol(number) {
                    Some(symbol) => symbol.json.write(out),
                    None => json::write_string(&declared.unknown(number), out),
                }
            }
            Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32 => {
                if schema_type != SchemaType::Int32 {
                    integer(schema_type, raw.cast_signed())?;
                }
                write_integer(raw.cast_signed(), out);
            }
            Scalar::Int64
            | Scalar::Uint64
            | Scalar::Fixed64
            | Scalar::Fixed32
            | Scalar::Uint32
            | Scalar::Enum { .. }
            | Scalar::Sfixed64
            | Scalar::Sint64 => write_integer(raw.cast_signed(), out),
        }
        Ok(())
    }
}

/// The name of a member, which has a comma in front, unless nothing was written since `start`.
#[inline]
fn begin(json: &[u8], start: usize, out: &mut Vec<u8>) {
    let from = usize::from(out.len() == start);
    out.extend_from_slice(json.get(from..).unwrap_or_default());
}

/// A comma, unless nothing was written since `start`.
#[inline]
pub(super) fn separate(start: usize, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b',');
    }
}

/// A string that has to be UTF-8, or of which what is not is replaced.
#[inline]
pub(super) fn text(part: Part<'_>, is_strict: bool, out: &mut Vec<u8>) -> Result<(), Failure> {
    if part.write_plain(out) {
        return Ok(());
    }
    if is_strict {
        json::write_string(strict(part.bytes())?, out);
    } else {
        json::write_string(&utf8(part.bytes()), out);
    }
    Ok(())
}

#[cold]
fn other_scale(scale: i32, wanted: i32) -> Failure {
    DataError::data(format!(
        "the Decimal has scale {scale} where its schema has scale {wanted}"
    ))
    .into()
}

fn real(is_number: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if is_number {
        return write(out);
    }
    out.push(b'"');
    write(out);
    out.push(b'"');
}
