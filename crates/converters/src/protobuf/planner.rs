//! Makes a plan: what Connect and JSON make of the messages and fields that a schema declares.
#![warn(clippy::indexing_slicing)]

use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::{DataError, SchemaType, Semantic, Value, java_number, json};

use super::plan::{
    Absent, Branch, ByNumber, Entry, Enum, Field, Member, Message, Node, Options, Scalar, Step, Symbol, Union, Unset,
};
use super::types::{self, Kind, MessageId, Types};
use super::wire::Wire;
use crate::json_text::{Literal, UnionText};
use crate::registry::Vendor;

/// Makes a plan.
pub(super) struct Planner<'a> {
    types: &'a Types,
    options: &'a Options,
    union_text: UnionText,
}

impl<'a> Planner<'a> {
    pub(super) fn new(types: &'a Types, options: &'a Options) -> Self {
        Self {
            types,
            options,
            union_text: UnionText::default(),
        }
    }

    pub(super) fn message(&self, declared: &types::Message) -> Result<Message, DataError> {
        let by_number = ByNumber::try_new(declared.fields.iter().map(|field| field.number)).ok_or_else(|| {
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
        let members = self.members(declared, &fields)?;
        let required: Vec<usize> = (0..fields.len())
            .zip(&declared.fields)
            .filter(|(_, field)| field.is_required)
            .map(|(index, _)| index)
            .collect();
        Ok(Message {
            full: declared.full.clone(),
            name: self.schema_name(&declared.name, &declared.full),
            short: Arc::from(declared.name.as_str()),
            steps: steps(declared, &fields, &required),
            fields,
            members,
            slots,
            required,
            semantic: semantic(declared),
            entry: self.entry(declared)?,
            is_head: false,
            by_number,
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
        let is = |kinds: &[Kind]| is_of(message, kinds);
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
        let natural = match (scalar, &value) {
            (Scalar::Enum { id, .. }, _) if self.types.enumeration(id).full == NULL_VALUE => Some(b"null".to_vec()),
            (scalar, Value::Int64(number @ ..0)) if scalar.is_unsigned() => {
                Some(number.cast_unsigned().to_string().into_bytes())
            }
            _ => None,
        };
        Ok(Absent::Value {
            value,
            json: out.into(),
            natural: natural.map(Vec::into_boxed_slice),
        })
    }

    /// The struct's members: its oneofs, then the other fields. AWS's converter has a oneof where its first field stands.
    fn members(&self, declared: &types::Message, fields: &[Field]) -> Result<Vec<Member>, DataError> {
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
                        members.push(Member::Union(self.union(declared, oneof, fields)?));
                    }
                    Some(_) => {}
                }
            }
            return Ok(members);
        }
        for oneof in 0..declared.oneofs.len() {
            if self.options.flatten_unions {
                let of_oneof = declared.fields.iter().enumerate();
                let of_oneof = of_oneof.filter(|(_, field)| field.oneof == Some(oneof));
                members.extend(of_oneof.map(|(index, field)| plain(index, field)));
            } else {
                members.push(Member::Union(self.union(declared, oneof, fields)?));
            }
        }
        let others = declared.fields.iter().enumerate();
        let others = others.filter(|(_, field)| field.oneof.is_none());
        members.extend(others.map(|(index, field)| plain(index, field)));
        Ok(members)
    }

    fn union(&self, declared: &types::Message, oneof: usize, fields: &[Field]) -> Result<Union, DataError> {
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
        Ok(Union {
            slot: oneof,
            json: member_name(&union_name).into(),
            name: Arc::from(union_name),
            oneof: Arc::from(oneof_name),
            unset: match self.options.vendor {
                Vendor::Confluent => Unset::Null,
                Vendor::Glue => Unset::Struct(all_null(&of_oneof, fields)),
            },
            is_generalized: self.options.generalized,
            branches: self.branches(&of_oneof, fields, oneof_name)?,
        })
    }

    fn branches(&self, of_oneof: &[usize], fields: &[Field], oneof: &str) -> Result<Vec<Branch>, DataError> {
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
            self.union_text.take(before.len() + after.len(), oneof)?;
            Ok(Branch {
                index: *index,
                json: names.get(chosen).cloned().unwrap_or_default().into(),
                before: before.into(),
                after: after.into(),
            })
        };
        of_oneof.iter().enumerate().map(branch).collect()
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

    pub(super) fn enumeration(&self, declared: &types::Enum) -> Enum {
        let mut symbols: Vec<Symbol> = declared
            .values
            .iter()
            .map(|(name, number)| {
                let mut json = Vec::new();
                json::write_string(name, &mut json);
                Symbol {
                    number: *number,
                    text: name.as_str().into(),
                    json: Literal::new(&json),
                }
            })
            .collect();
        symbols.sort_by_key(|symbol| symbol.number);
        symbols.dedup_by_key(|symbol| symbol.number);
        Enum {
            name: self.schema_name(&declared.name, &declared.full),
            declared: declared.values.clone(),
            is_null: declared.full == NULL_VALUE,
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

const NULL_VALUE: &str = "google.protobuf.NullValue";

/// Whether the fields of a message are of these kinds, numbered from 1, and each stands for itself.
fn is_of(message: &types::Message, kinds: &[Kind]) -> bool {
    let mut fields = (1_u32..).zip(kinds).zip(&message.fields);
    message.fields.len() == kinds.len()
        && fields.all(|((number, kind), field)| {
            field.number == number && field.kind == *kind && !field.is_repeated && field.oneof.is_none()
        })
}

/// What a message stands for in the natural rendering, as in Protobuf's JSON.
fn semantic(message: &types::Message) -> Option<Semantic> {
    match message.full.strip_prefix("google.protobuf.")? {
        "Duration" if is_of(message, &[Kind::Int64, Kind::Int32]) => Some(Semantic::Seconds),
        "FieldMask" => match message.fields.as_slice() {
            [paths] if paths.is_repeated && paths.kind == Kind::String => Some(Semantic::FieldMask),
            _ => None,
        },
        "Struct" | "Value" | "ListValue" => Some(Semantic::Held),
        name => wrapped(name)
            .filter(|kind| is_of(message, &[*kind]))
            .map(|_| Semantic::Held),
    }
}

/// How a message is written while it is read: possible if its fields are written in the order of their numbers, as every
/// serializer does, that is the order of its members, and each member stands for itself.
fn steps(declared: &types::Message, fields: &[Field], required: &[usize]) -> Option<Box<[Step]>> {
    let mut steps = Vec::with_capacity(fields.len());
    let mut last = 0;
    for (index, (declared, field)) in declared.fields.iter().zip(fields).enumerate() {
        let is_map = field.is_repeated && matches!(field.node, Node::Entry(_));
        if declared.oneof.is_some() || is_map || field.wire == Wire::Group || field.number <= last {
            return None;
        }
        last = field.number;
        let mut name = member_name(&field.name);
        if index == 0 {
            *name.first_mut()? = b'{';
        }
        let absent = match &field.absent {
            _ if required.contains(&index) => None,
            _ if field.is_repeated => Some(b"[]".as_slice()),
            Absent::Value {
                json, natural: None, ..
            } => Some(&**json),
            Absent::Value { natural: Some(_), .. } | Absent::Message => return None,
        };
        let tag = field.wire.tag(field.number);
        let run_tag = if field.is_packable() {
            Wire::Length.tag(field.number)
        } else {
            tag
        };
        steps.push(Step {
            tag,
            run_tag,
            node: field.node,
            is_repeated: field.is_repeated,
            absent: absent.map(|absent| Literal::new(&[name.as_slice(), absent].concat())),
            name: Literal::new(&name),
        });
    }
    Some(steps.into())
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
