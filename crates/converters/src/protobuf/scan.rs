//! Finds what a message holds: of each field the last value, of a oneof the last field, of lists and of messages that
//! come in parts everything, in the order of the bytes.
//!
//! Nothing is taken apart twice and nothing allocated per field: a message gets a row of slots on a stack, one for each
//! field or oneof, and what a slot cannot hold is chained behind it.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashSet;

use klamm_connect_api::DataError;

use super::plan::{Field, Message, Node, Plan, Scalar};
use super::types::MessageId;
use super::wire::{Cursor, Fault, MAX_DEPTH, Span, Wire, malformed};
use crate::failure::Failure;
use crate::json_text::Part;

/// Fields that may be written for a record besides one for each of its bytes: most fields of a message may be absent,
/// which takes no bytes and is written all the same.
const FIELDS: usize = 1_000_000;
/// Entries of a map whose keys are compared one by one.
const FEW_ENTRIES: usize = 8;

const NONE: u32 = u32::MAX;
/// The field of a slot whose map entry gave way to a later one of the same key.
const SUPERSEDED: u32 = u32::MAX - 1;

/// What was found of a field or of a oneof.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Position of the field, or none.
    field: u32,
    head: u32,
    tail: u32,
    /// A number as [`Scalar`] has it, or a [`Span`].
    pub(super) raw: u64,
}

impl Slot {
    const EMPTY: Self = Self {
        field: NONE,
        head: NONE,
        tail: NONE,
        raw: 0,
    };

    /// Position of the field that was found, if one was.
    #[inline]
    pub(super) fn field(&self) -> Option<usize> {
        (self.field != NONE).then_some(self.field as usize)
    }

    #[inline]
    pub(super) fn holds(&self, index: usize) -> bool {
        self.field as usize == index
    }

    pub(super) fn is_superseded(&self) -> bool {
        self.field == SUPERSEDED
    }

    /// All that was found of a list or message.
    pub(super) fn chain(&self) -> Chain {
        Chain(self.head)
    }
}

/// Occurrences of one field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain(u32);

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) raw: u64,
    /// The value is the span of a run of elements.
    pub(super) is_packed: bool,
    next: u32,
}

/// The bytes of a message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parts {
    /// A message that is not there.
    Absent,
    One(Span),
    Chain(Chain),
}

/// A message that was scanned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    slots: usize,
    links: usize,
    is_head: bool,
}

/// The entries of a map, which were scanned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entries {
    frame: Frame,
    count: usize,
    stride: usize,
}

#[derive(Debug)]
pub(super) struct Scanner<'a> {
    pub(super) plan: &'a Plan,
    payload: &'a [u8],
    slots: Vec<Slot>,
    links: Vec<Link>,
    depth: usize,
    heads: usize,
    /// How deep messages that refer to themselves were inside each other.
    deepest: usize,
    fields_left: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn try_new(plan: &'a Plan, payload: &'a [u8]) -> Result<Self, DataError> {
        if u32::try_from(payload.len()).is_err() {
            return Err(malformed("more than 4 GiB"));
        }
        Ok(Self {
            plan,
            payload,
            slots: Vec::new(),
            links: Vec::new(),
            depth: 0,
            heads: 0,
            deepest: 0,
            fields_left: payload.len().saturating_add(FIELDS),
        })
    }

    pub(super) fn whole(&self) -> Parts {
        Parts::One(Cursor::over(self.payload).remaining())
    }

    pub(super) fn deepest(&self) -> usize {
        self.deepest
    }

    pub(super) fn bytes(&self, raw: u64) -> &'a [u8] {
        Span::of_raw(raw).of(self.payload)
    }

    #[inline]
    pub(super) fn part(&self, raw: u64) -> Part<'a> {
        Span::of_raw(raw).part(self.payload)
    }

    pub(super) fn cursor(&self, span: Span) -> Cursor<'a> {
        Cursor::new(self.payload, span)
    }

    /// The bytes of a message that is there and comes in one part.
    pub(super) fn single(&self, parts: Parts) -> Option<Span> {
        match parts {
            Parts::Absent => None,
            Parts::One(span) => Some(span),
            Parts::Chain(mut chain) => {
                let link = self.next(&mut chain)?;
                self.next(&mut chain).is_none().then_some(Span::of_raw(link.raw))
            }
        }
    }

    /// Reads a message. Every call is followed by one of [`Scanner::close`], unless the record is given up.
    pub(super) fn open(&mut self, id: MessageId, parts: Parts) -> Result<Frame, DataError> {
        let plan = self.plan;
        let message = plan.message(id);
        self.enter(message)?;
        if self.slots.capacity() == 0 {
            self.slots.reserve(64);
            self.links.reserve(64);
        }
        let frame = Frame {
            slots: self.slots.len(),
            links: self.links.len(),
            is_head: message.is_head,
        };
        self.slots
            .resize(frame.slots.saturating_add(message.slots), Slot::EMPTY);
        match parts {
            Parts::Absent => return Ok(frame),
            Parts::One(span) => self.scan(message, frame, span)?,
            Parts::Chain(mut chain) => {
                while let Some(link) = self.next(&mut chain) {
                    self.scan(message, frame, Span::of_raw(link.raw))?;
                }
            }
        }
        for index in &message.required {
            if let Some(field) = message.fields.get(*index)
                && self.slot(frame, field.slot).field().is_none()
            {
                return Err(malformed(&format!("the required field `{}` is missing", field.name)));
            }
        }
        Ok(frame)
    }

    pub(super) fn close(&mut self, frame: Frame) {
        self.slots.truncate(frame.slots);
        self.links.truncate(frame.links);
        self.leave(frame.is_head);
    }

    /// Counts a message that is read. Every call is followed by one of [`Scanner::leave`], unless the record is given up.
    #[inline]
    pub(super) fn enter(&mut self, message: &Message) -> Result<(), Failure> {
        // The record's own message does not count.
        if self.depth > MAX_DEPTH {
            return Err(Fault::TooDeep.into());
        }
        self.depth = self.depth.saturating_add(1);
        if message.is_head {
            self.heads = self.heads.saturating_add(1);
            self.deepest = self.deepest.max(self.heads);
        }
        let left = self.fields_left.checked_sub(message.fields.len());
        self.fields_left = left.ok_or_else(too_many_fields)?;
        Ok(())
    }

    #[inline]
    pub(super) fn leave(&mut self, is_head: bool) {
        self.depth = self.depth.saturating_sub(1);
        if is_head {
            self.heads = self.heads.saturating_sub(1);
        }
    }

    #[inline]
    pub(super) fn slot(&self, frame: Frame, slot: usize) -> Slot {
        self.slots
            .get(frame.slots.saturating_add(slot))
            .copied()
            .unwrap_or(Slot::EMPTY)
    }

    #[inline]
    pub(super) fn next(&self, chain: &mut Chain) -> Option<Link> {
        let link = self.links.get(chain.0 as usize)?;
        chain.0 = link.next;
        Some(*link)
    }

    /// Takes the next element out of a run of them.
    #[inline]
    pub(super) fn unpack(&self, scalar: Scalar, run: &mut Cursor<'a>) -> Result<Option<u64>, Fault> {
        while !run.is_done() {
            let raw = value(scalar, run)?;
            if self.counts(scalar, raw) {
                return Ok(Some(raw));
            }
        }
        Ok(None)
    }

    pub(super) fn run(&self, raw: u64) -> Cursor<'a> {
        Cursor::new(self.payload, Span::of_raw(raw))
    }

    /// Whether a value is one of its type, which only those of closed enums may not be.
    #[inline]
    pub(super) fn counts(&self, scalar: Scalar, raw: u64) -> bool {
        match scalar {
            Scalar::Enum { id, is_closed: true } => self.plan.enumeration(id).symbol(number32(raw)).is_some(),
            _ => true,
        }
    }

    fn scan(&mut self, message: &Message, frame: Frame, span: Span) -> Result<(), DataError> {
        let mut cursor = Cursor::new(self.payload, span);
        while !cursor.is_done() {
            let (number, wire) = cursor.tag()?;
            match message.field(number) {
                Some((index, field)) if wire == field.wire => {
                    if let Err(error) = self.found(frame, index, field, &mut cursor) {
                        return Err(DataError::from(error).at(&format!("field `{}`", field.name)));
                    }
                }
                Some((index, field)) if wire == Wire::Length && field.is_packable() => {
                    let run = cursor.length()?;
                    self.keep(frame, index, field, run.raw(), true);
                }
                // An unknown field, or one that was written as another type.
                _ => cursor.skip(number, wire, self.depth)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn found(&mut self, frame: Frame, index: usize, field: &Field, cursor: &mut Cursor<'a>) -> Result<(), Fault> {
        let raw = match field.node {
            Node::Scalar(scalar, _) => {
                let raw = value(scalar, cursor)?;
                if !self.counts(scalar, raw) {
                    return Ok(());
                }
                raw
            }
            _ if field.wire == Wire::Group => cursor.group(field.number, self.depth)?.raw(),
            _ => cursor.length()?.raw(),
        };
        self.keep(frame, index, field, raw, false);
        Ok(())
    }

    #[inline]
    fn keep(&mut self, frame: Frame, index: usize, field: &Field, raw: u64, is_packed: bool) {
        let Some(slot) = self.slots.get_mut(frame.slots.saturating_add(field.slot)) else {
            return;
        };
        // A payload has fewer values than bytes, so their numbers fit.
        let index = u32::try_from(index).unwrap_or(NONE);
        if field.is_chain {
            let next = u32::try_from(self.links.len()).unwrap_or(NONE);
            // Another field of the oneof gives way.
            if slot.field != index || slot.head == NONE {
                slot.head = next;
            } else if let Some(tail) = self.links.get_mut(slot.tail as usize) {
                tail.next = next;
            }
            slot.tail = next;
            self.links.push(Link {
                raw,
                is_packed,
                next: NONE,
            });
        } else {
            slot.raw = raw;
        }
        slot.field = index;
    }

    /// Reads the entries of a map. Of several with the same key the last one counts. Every call is followed by one of
    /// [`Scanner::close_entries`].
    pub(super) fn open_entries(&mut self, id: MessageId, mut chain: Chain) -> Result<Entries, DataError> {
        let plan = self.plan;
        let message = plan.message(id);
        let frame = Frame {
            slots: self.slots.len(),
            links: self.links.len(),
            is_head: message.is_head,
        };
        let mut count = 0_usize;
        while let Some(link) = self.next(&mut chain) {
            let entry = self.open(id, Parts::One(Span::of_raw(link.raw)))?;
            self.leave(entry.is_head);
            count = count.saturating_add(1);
        }
        // What is inside of an entry is deeper than the entry.
        self.depth = self.depth.saturating_add(1);
        if message.is_head {
            self.heads = self.heads.saturating_add(1);
        }
        let entries = Entries {
            frame,
            count,
            stride: message.slots,
        };
        if count > 1
            && let Some(Node::Scalar(key, _)) = message.fields.first().map(|key| key.node)
        {
            self.supersede(entries, key);
        }
        Ok(entries)
    }

    pub(super) fn close_entries(&mut self, entries: Entries) {
        self.close(entries.frame);
    }

    /// The frame of an entry, unless a later one has the same key.
    pub(super) fn entry(&self, entries: Entries, index: usize) -> Option<Frame> {
        let frame = entries.frame(index)?;
        (!self.slot(frame, 0).is_superseded()).then_some(frame)
    }

    fn supersede(&mut self, entries: Entries, key: Scalar) {
        if entries.count <= FEW_ENTRIES {
            for index in 0..entries.count {
                let later = index.saturating_add(1)..entries.count;
                let own = self.key(entries, index, key);
                if later.into_iter().any(|later| self.key(entries, later, key) == own) {
                    self.mark_superseded(entries, index);
                }
            }
            return;
        }
        let mut seen = HashSet::with_capacity(entries.count);
        for index in (0..entries.count).rev() {
            if !seen.insert(self.key(entries, index, key)) {
                self.mark_superseded(entries, index);
            }
        }
    }

    /// A key as far as it has to be told from others; absent is what it is by default: 0, false or empty.
    fn key(&self, entries: Entries, index: usize, key: Scalar) -> Key<'a> {
        let raw = entries.frame(index).map_or(0, |frame| self.slot(frame, 0).raw);
        match key {
            Scalar::String { .. } | Scalar::Bytes => Key::Bytes(self.bytes(raw)),
            Scalar::Double if f64::from_bits(raw).is_nan() => Key::Number(f64::NAN.to_bits()),
            Scalar::Float if float(raw).is_nan() => Key::Number(u64::from(f32::NAN.to_bits())),
            _ => Key::Number(raw),
        }
    }

    fn mark_superseded(&mut self, entries: Entries, index: usize) {
        if let Some(frame) = entries.frame(index)
            && let Some(slot) = self.slots.get_mut(frame.slots)
        {
            slot.field = SUPERSEDED;
        }
    }
}

#[cold]
fn too_many_fields() -> Failure {
    DataError::data("more fields, most of them absent, than a record can be written with").into()
}

#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Entries {
    pub(super) fn count(self) -> usize {
        self.count
    }

    fn frame(self, index: usize) -> Option<Frame> {
        Some(Frame {
            slots: index.checked_mul(self.stride)?.checked_add(self.frame.slots)?,
            ..self.frame
        })
    }
}

/// The next value: a number in 64 bits, sign extended; of floats the bits; or a span.
#[inline]
pub(super) fn value(scalar: Scalar, cursor: &mut Cursor<'_>) -> Result<u64, Fault> {
    let extended = |number: i32| i64::from(number).cast_unsigned();
    Ok(match scalar {
        Scalar::String { .. } | Scalar::Bytes => cursor.length()?.raw(),
        Scalar::Int64 | Scalar::Uint64 => cursor.varint()?,
        Scalar::Int32 | Scalar::Enum { .. } => extended(number32(cursor.varint()?)),
        Scalar::Uint32 => u64::from(number32(cursor.varint()?).cast_unsigned()),
        Scalar::Bool => u64::from(cursor.varint()? != 0),
        Scalar::Sint64 => {
            let number = cursor.varint()?;
            (number >> 1) ^ (number & 1).wrapping_neg()
        }
        Scalar::Sint32 => {
            let number = number32(cursor.varint()?).cast_unsigned();
            extended(((number >> 1) ^ (number & 1).wrapping_neg()).cast_signed())
        }
        Scalar::Double | Scalar::Fixed64 | Scalar::Sfixed64 => cursor.fixed64()?,
        Scalar::Float | Scalar::Fixed32 => u64::from(cursor.fixed32()?),
        Scalar::Sfixed32 => extended(cursor.fixed32()?.cast_signed()),
    })
}

/// The low 32 bits of a raw value, which is all that numbers of 32 bits have.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "Protobuf drops the upper bits")]
pub(super) fn number32(raw: u64) -> i32 {
    (raw as u32).cast_signed()
}

/// The raw value of a float.
#[inline]
pub(super) fn float(raw: u64) -> f32 {
    f32::from_bits(number32(raw).cast_unsigned())
}

impl Link {
    /// The value as the bytes of a message.
    pub(super) fn parts(&self) -> Parts {
        Parts::One(Span::of_raw(self.raw))
    }
}
