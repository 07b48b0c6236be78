//! How data of a schema is read: its messages as the settings want them, with what Connect and JSON make of each field
//! worked out beforehand.
#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Arc;

use klamm_connect_api::{DataError, SchemaType, Semantic, SmolStr, Value};

use super::planner::Planner;
use super::types::{EnumId, MessageId, Types};
use super::wire::Wire;
use crate::json_text::Literal;
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

    /// Whether the number has no sign although its Connect type has one.
    pub(super) fn is_unsigned(self) -> bool {
        matches!(self, Self::Uint64 | Self::Fixed64)
    }

    /// What Confluent's converter calls the type where the Connect type does not tell it.
    pub(super) fn type_name(self) -> Option<&'static str> {
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
    pub(super) fn message(self) -> Option<MessageId> {
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
    Value {
        value: Value,
        json: Box<[u8]>,
        /// In the natural rendering, where that differs.
        natural: Option<Box<[u8]>>,
    },
    /// A message of which nothing is there.
    Message,
}

impl Absent {
    pub(super) fn null() -> Self {
        Self::Value {
            value: Value::Null,
            json: Box::from(*b"null"),
            natural: None,
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
    /// What it stands for in the natural rendering, if it is no object there.
    pub(super) semantic: Option<Semantic>,
    /// If it is the entry of a map.
    pub(super) entry: Option<Entry>,
    /// A way through the schema comes back to it: at least one message of each circle has this.
    pub(super) is_head: bool,
    /// How it is written while it is read, if the order of its fields is that of its members.
    pub(super) steps: Option<Box<[Step]>>,
    pub(super) by_number: ByNumber,
}

impl Message {
    /// The field of that number, with its position.
    #[inline]
    pub(super) fn field(&self, number: u32) -> Option<(usize, &Field)> {
        let index = self.by_number.position(number)?;
        Some((index, self.fields.get(index)?))
    }
}

/// A field of a message that is written while it is read.
#[derive(Debug)]
pub(super) struct Step {
    /// What stands in front of a value of it.
    pub(super) tag: u32,
    /// What stands in front of a run of elements; the same if there are none.
    pub(super) run_tag: u32,
    pub(super) node: Node,
    pub(super) is_repeated: bool,
    /// Its name as JSON with what stands around it: `{"a":` or `,"b":`.
    pub(super) name: Literal,
    /// The same with what stands for a value that is not there; none if it has to be there.
    pub(super) absent: Option<Literal>,
}

/// Positions of fields by their number, as far as the numbers are dense; the others are in order.
#[derive(Debug)]
pub(super) struct ByNumber {
    dense: Box<[u16]>,
    sparse: Box<[(u32, u16)]>,
}

/// No field.
const NONE: u16 = u16::MAX;

impl ByNumber {
    /// Of fields that have these numbers; none if they are too many.
    pub(super) fn try_new(numbers: impl ExactSizeIterator<Item = u32> + Clone) -> Option<Self> {
        let count = u16::try_from(numbers.len()).ok().filter(|count| *count < NONE)?;
        let most = numbers.clone().max().map_or(0, |number| number as usize + 1);
        let mut dense = vec![NONE; most.min(usize::from(count) * 2 + 16)];
        let mut sparse = Vec::new();
        for (number, index) in numbers.zip(0..count) {
            match dense.get_mut(number as usize) {
                Some(slot) => *slot = index,
                None => sparse.push((number, index)),
            }
        }
        sparse.sort_unstable();
        Some(Self {
            dense: dense.into(),
            sparse: sparse.into(),
        })
    }

    #[inline]
    fn position(&self, number: u32) -> Option<usize> {
        let index = match self.dense.get(number as usize) {
            Some(index) => *index,
            None => match self.sparse.binary_search_by_key(&number, |(number, _)| *number) {
                Ok(found) => self.sparse.get(found)?.1,
                Err(_) => return None,
            },
        };
        (index != NONE).then_some(usize::from(index))
    }
}

#[derive(Debug)]
pub(super) struct Enum {
    pub(super) name: Arc<str>,
    /// Names and numbers as declared.
    pub(super) declared: Vec<(String, i32)>,
    /// Its one value stands for null in the natural rendering.
    pub(super) is_null: bool,
    /// In Java the name of a number that has none begins with this.
    pub(super) unknown: String,
    /// By number; of several names for one number the first.
    pub(super) symbols: Vec<Symbol>,
}

#[derive(Debug)]
pub(super) struct Symbol {
    pub(super) number: i32,
    pub(super) text: SmolStr,
    pub(super) json: Literal,
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
        let planner = Planner::new(types, options);
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
