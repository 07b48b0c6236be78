//! How data of a schema is read: its messages as the settings want them, with what Connect and JSON make of each field
//! worked out beforehand.
#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::{DataError, SchemaType, SmolStr, Value, java_number, json};

use super::types::{self, EnumId, Kind, MessageId, Types};
use super::wire::Wire;
use crate::registry::Vendor;

/// The settings of Confluent's `ProtobufData` that matter when data is read, and whether it is Confluent's at all.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "settings that are on or off, each on its own"
)]
pub(super) struct Options {
    pub(super) vendor: Vendor,
    pub(super) enhanced: bool,
    pub(super) generalized: bool,
    pub(super) int_for_enums: bool,
    pub(super) optional_for_nullables: bool,
    pub(super) optional_for_proto2: bool,
    pub(super) wrapper_for_nullables: bool,
    pub(super) wrapper_for_raw_primitives: bool,
    pub(super) struct_for_nulls: bool,
    pub(super) index_for_unions: bool,
    pub(super) flatten_unions: bool,
}

/// A value without others inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Double,
    Float,
    Int64,
    Uint64,
    Int32,
    Fixed64,
    Fixed32,
    Bool,
    /// Text that has to be UTF-8, or of which what is not is replaced.
    String {
        is_strict: bool,
    },
    Bytes,
    Uint32,
    /// Of a closed one, other numbers than those declared are as good as absent.
    Enum {
        id: EnumId,
        is_closed: bool,
    },
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
}

impl Scalar {
    pub(super) fn wire(self) -> Wire {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => Wire::Fixed64,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => Wire::Fixed32,
            Self::String { .. } | Self::Bytes => Wire::Length,
            Self::Int64
            | Self::Uint64
            | Self::Int32
            | Self::Bool
            | Self::Uint32
            | Self::Enum { .. }
            | Self::Sint32
            | Self::Sint64 => Wire::Varint,
        }
    }

    /// What Confluent's converter calls the type where the Connect type does not tell it.
    fn type_name(self) -> Option<&'static str> {
        match self {
            Self::Uint32 => Some("uint32"),
            Self::Uint64 => Some("uint64"),
            Self::Sint32 => Some("sint32"),
            Self::Sint64 => Some("sint64"),
            Self::Fixed32 => Some("fixed32"),
            Self::Fixed64 => Some("fixed64"),
            Self::Sfixed32 => Some("sfixed32"),
            Self::Sfixed64 => Some("sfixed64"),
            Self::Double
            | Self::Float
            | Self::Int64
            | Self::Int32
            | Self::Bool
            | Self::String { .. }
            | Self::Bytes
            | Self::Enum { .. } => None,
        }
    }
}

/// How the value of a field is read, or each of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// The type is one of Connect's for it.
    Scalar(Scalar, SchemaType),
    /// A message that stands for the value in its one field.
    Wrapper(MessageId, Scalar, SchemaType),
    Timestamp(MessageId),
    Date(MessageId),
    Time(MessageId),
    Decimal {
        message: MessageId,
        scale: i32,
        precision: Option<i32>,
    },
    Message(MessageId),
    /// The entry of a map: fields key and value.
    Entry(MessageId),
}

impl Node {
    /// The message that stands for the value on the wire.
    fn message(self) -> Option<MessageId> {
        match self {
            Self::Scalar(..) => None,
            Self::Wrapper(id, ..)
            | Self::Timestamp(id)
            | Self::Date(id)
            | Self::Time(id)
            | Self::Decimal { message: id, .. }
            | Self::Message(id)
            | Self::Entry(id) => Some(id),
        }
    }
}

/// What stands for a field that is not there.
#[derive(Debug)]
pub(super) enum Absent {
    /// A value: null, zero, the declared default.
    Value { value: Value, json: Box<[u8]> },
    /// A message of which nothing is there.
    Message,
}

impl Absent {
    fn null() -> Self {
        Self::Value {
            value: Value::Null,
            json: Box::from(*b"null"),
        }
    }
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: Arc<str>,
    pub(super) number: u32,
    pub(super) node: Node,
    pub(super) is_repeated: bool,
    pub(super) wire: Wire,
    /// Which of the message's slots holds what was read of it.
    pub(super) slot: usize,
    /// Every occurrence is kept: the elements of a list, the parts of a message.
    pub(super) is_chain: bool,
    pub(super) absent: Absent,
    /// Whether its Connect schema allows null.
    pub(super) is_optional: bool,
    pub(super) type_name: Option<&'static str>,
}

impl Field {
    /// Elements that may stand in one run of bytes, without a tag each.
    pub(super) fn is_packable(&self) -> bool {
        self.is_repeated && self.wire != Wire::Length && self.wire != Wire::Group
    }
}

/// A member of the struct that a message is.
#[derive(Debug)]
pub(super) enum Member {
    Field {
        /// In [`Message::fields`].
        index: usize,
        /// The name as JSON, with a comma before and a colon after it.
        json: Box<[u8]>,
    },
    /// A oneof as a struct of its own.
    Union(Union),
}

#[derive(Debug)]
pub(super) struct Union {
    /// Of the struct's field, and of the oneof.
    pub(super) name: Arc<str>,
    pub(super) oneof: Arc<str>,
    pub(super) slot: usize,
    /// The field's name as JSON, with a comma before and a colon after it.
    pub(super) json: Box<[u8]>,
    /// What stands for it when nothing is set.
    pub(super) unset: Unset,
    /// It is marked as in all formats, so that the natural rendering cannot tell that it is Protobuf's.
    pub(super) is_generalized: bool,
    pub(super) branches: Vec<Branch>,
}

/// What stands for a oneof of which nothing is set.
#[derive(Debug)]
pub(super) enum Unset {
    Null,
    /// Its struct with nothing in it, with that as JSON.
    Struct(Box<[u8]>),
}

/// A field of a oneof.
#[derive(Debug)]
pub(super) struct Branch {
    /// In [`Message::fields`].
    pub(super) index: usize,
    /// The name as JSON, with a comma before and a colon after it.
    pub(super) json: Box<[u8]>,
    /// What stands before and after its value in the struct.
    pub(super) before: Box<[u8]>,
    pub(super) after: Box<[u8]>,
}

/// What the entry of a map has beside its fields.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name of the map's Connect schema.
    pub(super) map_name: Arc<str>,
    /// What stands for a key and a value that are not there: never null.
    pub(super) key: Absent,
    pub(super) value: Absent,
    /// As JSON an object rather than a list of pairs.
    pub(super) is_object: bool,
}

#[derive(Debug)]
pub(super) struct Message {
    /// For errors.
    pub(super) full: String,
    /// The name of its Connect schema.
    pub(super) name: Arc<str>,
    /// Its own name, without package and outer messages.
    pub(super) short: Arc<str>,
    pub(super) fields: Vec<Field>,
    pub(super) members: Vec<Member>,
    pub(super) slots: usize,
    /// Fields without which the message is none.
    pub(super) required: Vec<usize>,
    /// If it is the entry of a map.
    pub(super) entry: Option<Entry>,
    /// A way through the schema comes back to it: at least one message of each circle has this.
    pub(super) is_head: bool,
    /// Positions of fields by their number, as far as the numbers are dense; the others are in `sparse`, in order.
    dense: Box<[u16]>,
    sparse: Box<[(u32, u16)]>,
}

/// No field.
const NONE: u16 = u16::MAX;

impl Message {
    /// The field of that number, with its position.
    #[inline]
    pub(super) fn field(&self, number: u32) -> Option<(usize, &Field)> {
        let index = match self.dense.get(number as usize) {
            Some(index) => *index,
            None => match self.sparse.binary_search_by_key(&number, |(number, _)| *number) {
                Ok(found) => self.sparse.get(found)?.1,
                Err(_) => return None,
            },
        };
        let index = usize::from(index);
        Some((index, self.fields.get(index)?))
    }
}

#[derive(Debug)]
pub(super) struct Enum {
    pub(super) name: Arc<str>,
    /// Names and numbers as declared.
    pub(super) declared: Vec<(String, i32)>,
    /// In Java the name of a number that has none begins with this.
    unknown: String,
    /// By number; of several names for one number the first.
    symbols: Vec<Symbol>,
}

#[derive(Debug)]
pub(super) struct Symbol {
    number: i32,
    pub(super) text: SmolStr,
    pub(super) json: Box<[u8]>,
}

impl Enum {
    #[inline]
    pub(super) fn symbol(&self, number: i32) -> Option<&Symbol> {
        // Most enums number their values from 0 without gaps.
        if let Some(symbol) = usize::try_from(number).ok().and_then(|index| self.symbols.get(index))
            && symbol.number == number
        {
            return Some(symbol);
        }
        let found = self
            .symbols
            .binary_search_by_key(&number, |symbol| symbol.number)
            .ok()?;
        self.symbols.get(found)
    }

    /// The name of a number that has none.
    pub(super) fn unknown(&self, number: i32) -> String {
        format!("{}{number}", self.unknown)
    }
}

/// The messages of a schema.
#[derive(Debug)]
pub(super) struct Plan {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    /// The package of the schema's own file.
    pub(super) package: Arc<str>,
}

impl Plan {
    #[expect(
        clippy::indexing_slicing,
        reason = "ids come from the types that the plan was made of"
    )]
    pub(super) fn message(&self, id: MessageId) -> &Message {
        &self.messages[id]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "ids come from the types that the plan was made of"
    )]
    pub(super) fn enumeration(&self, id: EnumId) -> &Enum {
        &self.enums[id]
    }

    pub(super) fn new(types: &Types, options: &Options) -> Result<Self, DataError> {
        let planner = Planner { types, options };
        let mut plan = Self {
            messages: types
                .messages
                .iter()
                .map(|message| planner.message(message))
                .collect::<Result<_, _>>()?,
            enums: types
                .enums
                .iter()
                .map(|declared| planner.enumeration(declared))
                .collect(),
            package: Arc::from(types.package.as_str()),
        };
        plan.mark_heads();
        if options.vendor == Vendor::Glue {
            plan.end_circles();
        }
        Ok(plan)
    }

    /// Lets null stand for an absent message where a message of which nothing is there would hold itself.
    fn end_circles(&mut self) {
        let is_head: Vec<bool> = self.messages.iter().map(|message| message.is_head).collect();
        for field in self.messages.iter_mut().flat_map(|message| &mut message.fields) {
            if let (Node::Message(id), Absent::Message) = (field.node, &field.absent)
                && is_head.get(id) == Some(&true)
            {
                field.absent = Absent::null();
                field.is_optional = true;
            }
        }
    }

    /// Marks a message on each circle, and those only in which a search meets a message that it is still inside of.
    fn mark_heads(&mut self) {
        let mut is_done: HashMap<MessageId, bool> = HashMap::new();
        for start in 0..self.messages.len() {
            let mut stack = vec![(start, true)];
            while let Some((id, enters)) = stack.pop() {
                if !enters {
                    is_done.insert(id, true);
                    continue;
                }
                match is_done.get(&id) {
                    Some(true) => continue,
                    Some(false) => {
                        if let Some(message) = self.messages.get_mut(id) {
                            message.is_head = true;
                        }
                        continue;
                    }
                    None => {}
                }
                is_done.insert(id, false);
                stack.push((id, false));
                stack.extend(self.inner(id).map(|inner| (inner, true)));
            }
        }
    }

    /// The messages that are structs, or entries of maps, in a message.
    pub(super) fn inner(&self, id: MessageId) -> impl Iterator<Item = MessageId> {
        self.message(id).fields.iter().filter_map(|field| match field.node {
            Node::Message(id) | Node::Entry(id) => Some(id),
            _ => None,
        })
    }
}

struct Planner<'a> {
    types: &'a Types,
    options: &'a Options,
}

impl Planner<'_> {
    fn message(&self, declared: &types::Message) -> Result<Message, DataError> {
        let count = u16::try_from(declared.fields.len())
            .ok()
            .filter(|count| *count < NONE)
            .ok_or_else(|| {
                let count = declared.fields.len();
                DataError::data(format!("message `{}` has {count} fields, too many", declared.full))
            })?;
        let mut slots = declared.oneofs.len();
        let mut fields = Vec::with_capacity(declared.fields.len());
        for field in &declared.fields {
            // The fields of a oneof share a slot.
            let slot = field.oneof.unwrap_or_else(|| {
                slots += 1;
                slots - 1
            });
            let planned = self
                .field(field, slot)
                .map_err(|error| error.at(&format!("message `{}`, field `{}`", declared.full, field.name)))?;
            fields.push(planned);
        }
        let members = self.members(declared, &fields);
        let required = (0..fields.len())
            .zip(&declared.fields)
            .filter(|(_, field)| field.is_required)
            .map(|(index, _)| index)
            .collect();
        let by_number = || fields.iter().map(|field| field.number).zip(0..count);
        let dense_end = usize::from(count).saturating_mul(2).saturating_add(16);
        let mut dense =
            vec![NONE; dense_end.min(by_number().map(|(number, _)| number as usize + 1).max().unwrap_or(0))];
        let mut sparse = Vec::new();
        for (number, index) in by_number() {
            match dense.get_mut(number as usize) {
                Some(slot) => *slot = index,
                None => sparse.push((number, index)),
            }
        }
        sparse.sort_unstable();
        Ok(Message {
            full: declared.full.clone(),
            name: self.schema_name(&declared.name, &declared.full),
            short: Arc::from(declared.name.as_str()),
            fields,
            members,
            slots,
            required,
            entry: self.entry(declared)?,
            is_head: false,
            dense: dense.into(),
            sparse: sparse.into(),
        })
    }

    fn field(&self, field: &types::Field, slot: usize) -> Result<Field, DataError> {
        let node = self.node(field)?;
        let message = node.message();
        let wire = match (field.kind, node) {
            (Kind::Group(_), _) => Wire::Group,
            (_, Node::Scalar(scalar, _)) => scalar.wire(),
            _ => Wire::Length,
        };
        let type_name = match node {
            Node::Scalar(scalar, _) => scalar.type_name(),
            _ => None,
        };
        let options = self.options;
        let is_optional = match options.vendor {
            Vendor::Confluent => {
                let can_be_required = message.is_none() && !field.is_repeated && field.oneof.is_none();
                let wants_required = options.optional_for_nullables || options.wrapper_for_nullables;
                !can_be_required || !wants_required || self.tells_absent(field)
            }
            // There is no date that nothing could stand for.
            Vendor::Glue => {
                let is_map = field.is_repeated && matches!(node, Node::Entry(_));
                !is_map && field.is_repeated
                    || field.oneof.is_some()
                    || is_called_optional(field)
                    || matches!(node, Node::Date(_))
            }
        };
        Ok(Field {
            name: Arc::from(field.name.as_str()),
            number: field.number,
            node,
            is_repeated: field.is_repeated,
            wire,
            slot,
            is_chain: field.is_repeated || message.is_some(),
            absent: self.absent(field, node)?,
            is_optional,
            type_name,
        })
    }

    /// Whether a field without a message in it tells that it is absent, rather than being zero then.
    fn tells_absent(&self, field: &types::Field) -> bool {
        field.is_proto3_optional || (field.is_proto2 && !field.is_required && self.options.optional_for_proto2)
    }

    fn node(&self, field: &types::Field) -> Result<Node, DataError> {
        let scalar = match field.kind {
            Kind::Message(id) => return self.message_node(id, field),
            Kind::Group(id) => return Ok(Node::Message(id)),
            Kind::Double => Scalar::Double,
            Kind::Float => Scalar::Float,
            Kind::Int64 => Scalar::Int64,
            Kind::Uint64 => Scalar::Uint64,
            Kind::Int32 => Scalar::Int32,
            Kind::Fixed64 => Scalar::Fixed64,
            Kind::Fixed32 => Scalar::Fixed32,
            Kind::Bool => Scalar::Bool,
            Kind::String => Scalar::String {
                is_strict: !field.is_proto2,
            },
            Kind::Bytes => Scalar::Bytes,
            Kind::Uint32 => Scalar::Uint32,
            Kind::Enum(id) => Scalar::Enum {
                id,
                is_closed: field.is_closed,
            },
            Kind::Sfixed32 => Scalar::Sfixed32,
            Kind::Sfixed64 => Scalar::Sfixed64,
            Kind::Sint32 => Scalar::Sint32,
            Kind::Sint64 => Scalar::Sint64,
        };
        Ok(Node::Scalar(scalar, self.schema_type(scalar, field)))
    }

    fn schema_type(&self, scalar: Scalar, field: &types::Field) -> SchemaType {
        match scalar {
            Scalar::Double => SchemaType::Float64,
            Scalar::Float => SchemaType::Float32,
            Scalar::Bool => SchemaType::Boolean,
            Scalar::String { .. } => SchemaType::String,
            Scalar::Bytes => SchemaType::Bytes,
            Scalar::Enum { .. } if self.options.int_for_enums => SchemaType::Int32,
            Scalar::Enum { .. } => SchemaType::String,
            Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32 => {
                match field.params.get("connect.type").map(String::as_str) {
                    Some("int8") => SchemaType::Int8,
                    Some("int16") => SchemaType::Int16,
                    _ => SchemaType::Int32,
                }
            }
            // Java has no unsigned numbers: those of 32 bits get 64, those of 64 bits may turn negative.
            Scalar::Uint32
            | Scalar::Fixed32
            | Scalar::Int64
            | Scalar::Uint64
            | Scalar::Fixed64
            | Scalar::Sfixed64
            | Scalar::Sint64 => SchemaType::Int64,
        }
    }

    fn message_node(&self, id: MessageId, field: &types::Field) -> Result<Node, DataError> {
        let message = self.types.message(id);
        if field.is_repeated && self.is_entry(message) {
            return Ok(Node::Entry(id));
        }
        let is = |kinds: &[Kind]| {
            message.fields.len() == kinds.len()
                && (1_u32..)
                    .zip(kinds)
                    .zip(&message.fields)
                    .all(|((number, kind), field)| {
                        field.number == number && field.kind == *kind && !field.is_repeated && field.oneof.is_none()
                    })
        };
        let node = match message.full.as_str() {
            "google.protobuf.Timestamp" if is(&[Kind::Int64, Kind::Int32]) => Node::Timestamp(id),
            "google.type.Date" if is(&[Kind::Int32; 3]) => Node::Date(id),
            "google.type.TimeOfDay" if is(&[Kind::Int32; 4]) => Node::Time(id),
            "confluent.type.Decimal" if is(&[Kind::Bytes, Kind::Uint32, Kind::Int32]) => {
                let number = |name| field.params.get(name).and_then(|text| text.trim().parse().ok());
                Node::Decimal {
                    message: id,
                    scale: number("scale").unwrap_or(0),
                    precision: number("precision"),
                }
            }
            full => match full.strip_prefix("google.protobuf.").and_then(wrapped) {
                Some(kind) if is(&[kind]) && self.options.unwraps() => match message.fields.first() {
                    Some(value) => match self.node(value)? {
                        Node::Scalar(scalar, schema_type) => Node::Wrapper(id, scalar, schema_type),
                        _ => Node::Message(id),
                    },
                    None => Node::Message(id),
                },
                _ => Node::Message(id),
            },
        };
        Ok(node)
    }

    fn entry(&self, declared: &types::Message) -> Result<Option<Entry>, DataError> {
        let [key, value] = declared.fields.as_slice() else {
            return Ok(None);
        };
        if !self.is_entry(declared) {
            return Ok(None);
        }
        let is_object = match self.node(key)? {
            Node::Scalar(_, schema_type) => schema_type == SchemaType::String,
            _ => false,
        };
        let default = |field: &types::Field| match self.node(field)? {
            Node::Scalar(scalar, schema_type) => self.default(field, scalar, schema_type),
            _ => Ok(Absent::Message),
        };
        Ok(Some(Entry {
            map_name: Arc::from(map_name(&declared.name)),
            key: default(key)?,
            value: default(value)?,
            is_object,
        }))
    }

    fn absent(&self, field: &types::Field, node: Node) -> Result<Absent, DataError> {
        if self.options.vendor == Vendor::Glue {
            return match node {
                _ if field.is_repeated || field.oneof.is_some() || is_called_optional(field) => Ok(Absent::null()),
                Node::Date(_) => Ok(Absent::null()),
                Node::Scalar(scalar, schema_type) => self.default(field, scalar, schema_type),
                _ => Ok(Absent::Message),
            };
        }
        let makes_nulls = !self.options.struct_for_nulls;
        match node {
            // Lists and maps are empty, which needs nothing in their place.
            _ if field.is_repeated || field.oneof.is_some() => Ok(Absent::null()),
            // There is no date and no decimal that nothing could stand for.
            Node::Date(_) | Node::Decimal { .. } => Ok(Absent::null()),
            Node::Scalar(..) if self.tells_absent(field) && makes_nulls => Ok(Absent::null()),
            Node::Scalar(scalar, schema_type) => self.default(field, scalar, schema_type),
            _ if makes_nulls => Ok(Absent::null()),
            _ => Ok(Absent::Message),
        }
    }

    /// The value of a field that is not there and does not tell so.
    fn default(&self, field: &types::Field, scalar: Scalar, schema_type: SchemaType) -> Result<Absent, DataError> {
        let text = field.default.as_deref();
        let unfit = || {
            let kind = scalar.type_name().unwrap_or(schema_type.name());
            DataError::data(format!("its default is no {kind}"))
        };
        let value = match (scalar, text) {
            (Scalar::Enum { id, .. }, _) => {
                let values = &self.types.enumeration(id).values;
                let chosen = match text {
                    Some(text) => values.iter().find(|(name, _)| name == text),
                    None => values.first(),
                };
                let (name, number) = chosen.ok_or_else(unfit)?;
                match schema_type {
                    SchemaType::String => Value::from(name.as_str()),
                    _ => Value::Int32(*number),
                }
            }
            (Scalar::String { .. }, text) => Value::from(text.unwrap_or_default()),
            (Scalar::Bytes, text) => Value::Bytes(unescaped(text.unwrap_or_default())),
            (Scalar::Bool, text) => Value::Boolean(text.unwrap_or("false").parse().map_err(|_| unfit())?),
            (Scalar::Float, text) => Value::Float32(text.unwrap_or("0").parse().map_err(|_| unfit())?),
            (Scalar::Double, text) => Value::Float64(text.unwrap_or("0").parse().map_err(|_| unfit())?),
            (Scalar::Uint64 | Scalar::Fixed64, text) => {
                let number: u64 = text.unwrap_or("0").parse().map_err(|_| unfit())?;
                Value::Int64(number.cast_signed())
            }
            (_, text) => {
                let number: i64 = text.unwrap_or("0").parse().map_err(|_| unfit())?;
                super::read::integer(schema_type, number)?
            }
        };
        let mut out = Vec::new();
        match &value {
            Value::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Value::Float32(number) if number.is_finite() => java_number::write_f32(*number, &mut out),
            Value::Float64(number) if number.is_finite() => java_number::write_f64(*number, &mut out),
            Value::Float32(number) => quoted(&mut out, |out| java_number::write_f32(*number, out)),
            Value::Float64(number) => quoted(&mut out, |out| java_number::write_f64(*number, out)),
            Value::String(text) => json::write_string(text, &mut out),
            Value::Bytes(bytes) => json::write_base64(bytes, &mut out),
            Value::Int8(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Int16(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Int32(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Int64(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Null
            | Value::Decimal(_)
            | Value::Instant(_)
            | Value::Array(_)
            | Value::Map(_)
            | Value::Struct(_) => return Err(unfit()),
        }
        Ok(Absent::Value {
            value,
            json: out.into(),
        })
    }

    /// The struct's members: its oneofs, then the other fields. AWS's converter has a oneof where its first field stands.
    fn members(&self, declared: &types::Message, fields: &[Field]) -> Vec<Member> {
        let plain = |index: usize, field: &types::Field| Member::Field {
            index,
            json: member_name(&field.name).into(),
        };
        let mut members = Vec::new();
        if self.options.vendor == Vendor::Glue {
            let mut has_union = vec![false; declared.oneofs.len()];
            for (index, field) in declared.fields.iter().enumerate() {
                match field.oneof.map(|oneof| (oneof, has_union.get_mut(oneof))) {
                    None => members.push(plain(index, field)),
                    Some((oneof, Some(is_there @ false))) => {
                        *is_there = true;
                        members.push(Member::Union(self.union(declared, oneof, fields)));
                    }
                    Some(_) => {}
                }
            }
            return members;
        }
        for oneof in 0..declared.oneofs.len() {
            if self.options.flatten_unions {
                let of_oneof = declared.fields.iter().enumerate();
                let of_oneof = of_oneof.filter(|(_, field)| field.oneof == Some(oneof));
                members.extend(of_oneof.map(|(index, field)| plain(index, field)));
            } else {
                members.push(Member::Union(self.union(declared, oneof, fields)));
            }
        }
        let others = declared.fields.iter().enumerate();
        let others = others.filter(|(_, field)| field.oneof.is_none());
        members.extend(others.map(|(index, field)| plain(index, field)));
        members
    }

    fn union(&self, declared: &types::Message, oneof: usize, fields: &[Field]) -> Union {
        let of_oneof: Vec<usize> = (0..fields.len())
            .zip(&declared.fields)
            .filter(|(_, field)| field.oneof == Some(oneof))
            .map(|(index, _)| index)
            .collect();
        let oneof_name = declared.oneofs.get(oneof).map_or("", String::as_str);
        let union_name = if self.options.index_for_unions {
            format!("{oneof_name}_{oneof}")
        } else {
            oneof_name.to_owned()
        };
        Union {
            slot: oneof,
            json: member_name(&union_name).into(),
            name: Arc::from(union_name),
            oneof: Arc::from(oneof_name),
            unset: match self.options.vendor {
                Vendor::Confluent => Unset::Null,
                Vendor::Glue => Unset::Struct(all_null(&of_oneof, fields)),
            },
            is_generalized: self.options.generalized,
            branches: branches(&of_oneof, fields),
        }
    }

    fn schema_name(&self, short: &str, full: &str) -> Arc<str> {
        let is_full = self.options.enhanced || self.options.vendor == Vendor::Glue;
        Arc::from(if is_full { full } else { short })
    }

    /// Whether lists of the message are maps: entries of Protobuf's maps, and those that Confluent's converter writes
    /// for Connect maps with other keys than Protobuf allows.
    fn is_entry(&self, message: &types::Message) -> bool {
        if self.options.vendor == Vendor::Glue && !message.is_map_entry {
            return false;
        }
        let is_plain = |field: &types::Field| !field.is_repeated && field.oneof.is_none();
        match message.fields.as_slice() {
            [key, value] => {
                message.name.ends_with("Entry")
                    && key.name == "key"
                    && value.name == "value"
                    && is_plain(key)
                    && is_plain(value)
                    // Two messages cannot be compared by what stands on the wire.
                    && !matches!(key.kind, Kind::Message(_) | Kind::Group(_))
            }
            _ => false,
        }
    }

    fn enumeration(&self, declared: &types::Enum) -> Enum {
        let mut symbols: Vec<Symbol> = declared
            .values
            .iter()
            .map(|(name, number)| {
                let mut json = Vec::new();
                json::write_string(name, &mut json);
                Symbol {
                    number: *number,
                    text: name.as_str().into(),
                    json: json.into(),
                }
            })
            .collect();
        symbols.sort_by_key(|symbol| symbol.number);
        symbols.dedup_by_key(|symbol| symbol.number);
        Enum {
            name: self.schema_name(&declared.name, &declared.full),
            declared: declared.values.clone(),
            unknown: format!("UNKNOWN_ENUM_VALUE_{}_", declared.name),
            symbols,
        }
    }
}

impl Options {
    /// Whether a wrapper's message stands for the value in it.
    fn unwraps(&self) -> bool {
        self.wrapper_for_nullables || self.wrapper_for_raw_primitives
    }
}

fn member_name(name: &str) -> Vec<u8> {
    let mut json = vec![b','];
    json::write_string(name, &mut json);
    json.push(b':');
    json
}

fn branches(of_oneof: &[usize], fields: &[Field]) -> Vec<Branch> {
    let names: Vec<Vec<u8>> = of_oneof
        .iter()
        .filter_map(|index| fields.get(*index))
        .map(|field| member_name(&field.name))
        .collect();
    let branch = |(chosen, index): (usize, &usize)| {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (position, name) in names.iter().enumerate() {
            let text = if position <= chosen { &mut before } else { &mut after };
            text.extend_from_slice(name);
            if position != chosen {
                text.extend_from_slice(b"null");
            }
        }
        // In place of the first comma.
        if let Some(first) = before.first_mut() {
            *first = b'{';
        }
        after.push(b'}');
        Branch {
            index: *index,
            json: names.get(chosen).cloned().unwrap_or_default().into(),
            before: before.into(),
            after: after.into(),
        }
    };
    of_oneof.iter().enumerate().map(branch).collect()
}

/// The struct of a oneof of which nothing is set.
fn all_null(of_oneof: &[usize], fields: &[Field]) -> Box<[u8]> {
    let mut json = Vec::new();
    for field in of_oneof.iter().filter_map(|index| fields.get(*index)) {
        json.extend_from_slice(&member_name(&field.name));
        json.extend_from_slice(b"null");
    }
    // In place of the first comma.
    if let Some(first) = json.first_mut() {
        *first = b'{';
    }
    json.push(b'}');
    json.into()
}

/// Whether the word `optional` stands before a field, which then tells zero from absent.
fn is_called_optional(field: &types::Field) -> bool {
    let is_plain = !field.is_required && !field.is_repeated && field.oneof.is_none();
    field.is_proto3_optional || field.is_proto2 && is_plain
}

/// The name that a map has in Connect: that of its entry without the end, words in lower case with `_` between.
fn map_name(entry: &str) -> String {
    let mut name = String::new();
    for (index, char) in entry.strip_suffix("Entry").unwrap_or(entry).char_indices() {
        if index > 0 && char.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(char.to_ascii_lowercase());
    }
    name
}

fn wrapped(name: &str) -> Option<Kind> {
    Some(match name {
        "DoubleValue" => Kind::Double,
        "FloatValue" => Kind::Float,
        "Int64Value" => Kind::Int64,
        "UInt64Value" => Kind::Uint64,
        "Int32Value" => Kind::Int32,
        "UInt32Value" => Kind::Uint32,
        "BoolValue" => Kind::Bool,
        "StringValue" => Kind::String,
        "BytesValue" => Kind::Bytes,
        _ => return None,
    })
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// The bytes of a default, in which others than printable characters are written as in C.
fn unescaped(text: &str) -> Bytes {
    let mut bytes = Vec::new();
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digits = |rest: &mut std::iter::Peekable<std::str::Bytes<'_>>, first: u32, radix: u32, count: usize| {
            let mut number = first;
            for _ in 0..count {
                let digit = rest.peek().and_then(|byte| char::from(*byte).to_digit(radix));
                let Some(digit) = digit else { break };
                number = number * radix + digit;
                rest.next();
            }
            u8::try_from(number & 0xff).unwrap_or_default()
        };
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'a') => 0x07,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'v') => 0x0b,
            Some(b'x' | b'X') => digits(&mut rest, 0, 16, 2),
            Some(digit @ b'0'..=b'7') => digits(&mut rest, u32::from(digit - b'0'), 8, 2),
            Some(other) => other,
            None => b'\\',
        });
    }
    Bytes::from(bytes)
}
