//! How data of a schema is read: its types, with what Connect and JSON make of them worked out beforehand.
#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Arc;

use klamm_connect_api::logical::{self, Logical};
use klamm_connect_api::{
    DataError, Rendering, Schema, SchemaAndValue, SchemaRef, SchemaType, Semantic, SmolStr, Value, json,
};

use super::connect::{MAX_DEPTH, Options, Order, SimpleUnion, map_entry, simple_union};
use super::schema::{Kind, TypeId, Types};
use crate::json_text::{Literal, UnionText};

pub(super) type NodeId = usize;

/// One way to read a type, in the place where it stands.
#[derive(Debug)]
pub(super) enum Node {
    Boolean,
    /// An int of INT8, INT16 or INT32.
    Int(SchemaType, Option<Semantic>),
    Long(Option<Semantic>),
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize, Option<Semantic>),
    /// Bytes, or a fixed of that size.
    Decimal {
        size: Option<usize>,
        scale: i32,
    },
    Date,
    Time,
    Timestamp,
    Enum(Vec<Symbol>),
    Array(NodeId),
    Map(NodeId),
    /// An array of entries that is a map.
    Entries {
        key: NodeId,
        value: NodeId,
        keys: Keys,
    },
    Record(Vec<RecordField>),
    /// A union of null and one type.
    Nullable {
        null_branch: usize,
        other: NodeId,
        null: Null,
    },
    /// A union of one type that is that type.
    Single(NodeId),
    Union(Vec<Branch>),
    /// Not worked out yet: only while the plan is made.
    Pending,
}

/// The keys of a map that is an array of entries: they decide whether it is an object in JSON or a list of pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    Text,
    Primitive,
    Composite,
}

impl Keys {
    fn of(schema: &Schema) -> Self {
        match schema.schema_type() {
            SchemaType::String => Self::Text,
            other if other.is_primitive() => Self::Primitive,
            _ => Self::Composite,
        }
    }

    pub(super) fn make_an_object(self, rendering: Rendering) -> bool {
        match self {
            Self::Text => true,
            Self::Primitive => rendering.natural().is_some(),
            Self::Composite => false,
        }
    }
}

/// What JSON has for null in a place: the default, if there is one.
#[derive(Debug)]
pub(super) struct Null {
    connect: Literal,
    /// The place's schema, if it has a default.
    with_default: Option<SchemaRef>,
}

impl Null {
    fn of(schema: &SchemaRef) -> Result<Self, DataError> {
        let mut connect = Vec::new();
        write_null(schema, Rendering::Connect, &mut connect)?;
        Ok(Self {
            connect: Literal::new(&connect),
            with_default: schema.default().map(|_| SchemaRef::clone(schema)),
        })
    }

    #[inline]
    pub(super) fn write(&self, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
        match &self.with_default {
            Some(schema) if rendering != Rendering::Connect => write_null(schema, rendering, out),
            _ => {
                self.connect.write(out);
                Ok(())
            }
        }
    }
}

fn write_null(schema: &SchemaRef, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
    json::write(
        &SchemaAndValue::new(SchemaRef::clone(schema), Value::Null),
        rendering,
        out,
    )
}

#[derive(Debug)]
pub(super) struct Symbol {
    pub(super) text: SmolStr,
    pub(super) json: Literal,
}

#[derive(Debug)]
pub(super) struct RecordField {
    pub(super) name: Arc<str>,
    pub(super) node: NodeId,
    /// The name with what stands before and after it: `{"a":` or `,"b":`.
    pub(super) json: Literal,
}

/// A branch of a union that is a struct.
#[derive(Debug)]
pub(super) enum Branch {
    Null(Null),
    Value {
        node: NodeId,
        /// Its field in the struct.
        field: usize,
        /// What stands around its value where the union is written as the struct.
        before: Box<[u8]>,
        after: Box<[u8]>,
    },
}

/// The nodes of a schema.
#[derive(Debug)]
pub(super) struct Plan {
    nodes: Vec<Node>,
    pub(super) root: NodeId,
    /// The root is `bytes`, which is written without its length.
    pub(super) is_raw: bool,
}

impl Plan {
    #[expect(clippy::indexing_slicing, reason = "ids are handed out by `Planner::push` only")]
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }
}

/// Makes a plan.
pub(super) struct Planner<'a> {
    types: &'a Types,
    options: &'a Options,
    nodes: Vec<Node>,
    /// Records that have a node already, by type and by the schema of their place.
    records: HashMap<(TypeId, *const Schema), NodeId>,
    order: &'a Order,
    /// Records that refer to themselves, by type alone: their schema differs with each level.
    recursive: HashMap<TypeId, NodeId>,
    depth: usize,
    union_text: UnionText,
}

impl<'a> Planner<'a> {
    pub(super) fn new(types: &'a Types, options: &'a Options, order: &'a Order) -> Self {
        Self {
            types,
            options,
            nodes: Vec::new(),
            records: HashMap::new(),
            order,
            recursive: HashMap::new(),
            depth: 0,
            union_text: UnionText::default(),
        }
    }

    /// The plan for data of type `root`, whose Connect schema is `schema`.
    pub(super) fn plan(mut self, root: TypeId, schema: &SchemaRef) -> Result<Plan, DataError> {
        let is_raw = matches!(self.types.get(root).kind, Kind::Bytes);
        let root = self.node(root, schema)?;
        Ok(Plan {
            nodes: self.nodes,
            root,
            is_raw,
        })
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn node(&mut self, id: TypeId, schema: &SchemaRef) -> Result<NodeId, DataError> {
        if self.depth > MAX_DEPTH {
            return Err(DataError::data(format!(
                "the Avro schema is nested more than {MAX_DEPTH} levels deep"
            )));
        }
        self.depth += 1;
        let node = self.plan_of(id, schema)?;
        self.depth -= 1;
        Ok(node)
    }

    fn plan_of(&mut self, id: TypeId, schema: &SchemaRef) -> Result<NodeId, DataError> {
        let types = self.types;
        let unfit = || {
            let declared = schema.name().unwrap_or(schema.schema_type().name());
            DataError::data(format!("an Avro {} cannot be a {declared}", types.get(id).kind.word()))
        };
        let logical = Logical::of(schema);
        let node = match &types.get(id).kind {
            Kind::Null => return Err(unfit()),
            Kind::Boolean => Node::Boolean,
            Kind::Int => match logical {
                None => {
                    // Of smaller numbers only the digits are written.
                    let semantic = Semantic::of(schema).filter(|_| schema.schema_type() == SchemaType::Int32);
                    Node::Int(schema.schema_type(), semantic)
                }
                Some(Logical::Date) => Node::Date,
                Some(Logical::Time) => Node::Time,
                Some(Logical::Timestamp | Logical::Decimal) => return Err(unfit()),
            },
            Kind::Long => match logical {
                None => Node::Long(Semantic::of(schema)),
                Some(Logical::Timestamp) => Node::Timestamp,
                Some(Logical::Date | Logical::Time | Logical::Decimal) => return Err(unfit()),
            },
            Kind::Float => Node::Float,
            Kind::Double => Node::Double,
            Kind::String => Node::String,
            Kind::Bytes => match logical {
                None => Node::Bytes,
                Some(_) => decimal(schema, None).ok_or_else(unfit)?,
            },
            Kind::Fixed { size, .. } => match logical {
                None => Node::Fixed(*size, Semantic::of(schema)),
                Some(_) => decimal(schema, Some(*size)).ok_or_else(unfit)?,
            },
            Kind::Enum { symbols, .. } => Node::Enum(symbols.iter().map(|symbol| self::symbol(symbol)).collect()),
            Kind::Array(items) => match map_entry(types, *items, self.options)? {
                Some((key, value)) => {
                    let (keys, values) = schema.key_schema().zip(schema.value_schema()).ok_or_else(unfit)?;
                    Node::Entries {
                        key: self.node(key.type_id, keys)?,
                        value: self.node(value.type_id, values)?,
                        keys: Keys::of(keys),
                    }
                }
                None => Node::Array(self.node(*items, schema.value_schema().ok_or_else(unfit)?)?),
            },
            Kind::Map(values) => Node::Map(self.node(*values, schema.value_schema().ok_or_else(unfit)?)?),
            Kind::Record { .. } => return self.record(id, schema),
            Kind::Union(branches) => match simple_union(types, branches, self.options) {
                Some(SimpleUnion::Single(inner)) => Node::Single(self.node(inner, schema)?),
                Some(SimpleUnion::Nullable(inner)) => Node::Nullable {
                    null_branch: usize::from(branches.first() == Some(&inner)),
                    null: Null::of(schema)?,
                    other: self.node(inner, schema)?,
                },
                None => Node::Union(self.branches(branches, schema)?),
            },
        };
        Ok(self.push(node))
    }

    fn record(&mut self, id: TypeId, schema: &SchemaRef) -> Result<NodeId, DataError> {
        let key = (id, Arc::as_ptr(schema));
        let known = self.recursive.get(&id).or_else(|| self.records.get(&key));
        if let Some(known) = known {
            return Ok(*known);
        }
        let node = self.push(Node::Pending);
        if self.order.heads.contains(&id) {
            self.recursive.insert(id, node);
        } else {
            self.records.insert(key, node);
        }
        let Kind::Record { fields, .. } = &self.types.get(id).kind else {
            return Ok(node);
        };
        let mut planned = Vec::with_capacity(fields.len());
        for (index, (field, connect)) in fields.iter().zip(schema.fields()).enumerate() {
            let mut text = if index == 0 { b"{".to_vec() } else { b",".to_vec() };
            json::write_string(&field.name, &mut text);
            text.push(b':');
            planned.push(RecordField {
                name: Arc::clone(&connect.name),
                node: self
                    .node(field.type_id, &connect.schema)
                    .map_err(|error| error.at(&format!("field `{}`", field.name)))?,
                json: Literal::new(&text),
            });
        }
        if let Some(slot) = self.nodes.get_mut(node) {
            *slot = Node::Record(planned);
        }
        Ok(node)
    }

    fn branches(&mut self, branches: &[TypeId], schema: &SchemaRef) -> Result<Vec<Branch>, DataError> {
        let mut names = Vec::new();
        let mut nulls = Vec::new();
        for field in schema.fields() {
            let mut name = Vec::new();
            json::write_string(&field.name, &mut name);
            name.push(b':');
            names.push(name);
            let mut null = Vec::new();
            write_null(&field.schema, Rendering::Connect, &mut null)?;
            nulls.push(null);
        }
        // Confluent's converter finds the field by the value's class: a fixed is bytes too, if they come first.
        let bytes_field = branches
            .iter()
            .filter(|id| !matches!(self.types.get(**id).kind, Kind::Null))
            .position(|id| matches!(self.types.get(*id).kind, Kind::Bytes));
        let mut planned = Vec::with_capacity(branches.len());
        let mut next_field = 0;
        for id in branches {
            let kind = &self.types.get(*id).kind;
            if matches!(kind, Kind::Null) {
                planned.push(Branch::Null(Null::of(schema)?));
                continue;
            }
            let own = next_field;
            next_field += 1;
            let field = match (kind, bytes_field) {
                (Kind::Fixed { .. }, Some(bytes)) if bytes < own => bytes,
                _ => own,
            };
            let Some(connect) = schema.fields().get(field) else {
                return Err(DataError::data("a union whose struct lacks a branch"));
            };
            let (mut before, mut after) = (vec![b'{'], Vec::new());
            for (index, (name, null)) in names.iter().zip(&nulls).enumerate() {
                let text = if index <= field { &mut before } else { &mut after };
                if index > 0 {
                    text.push(b',');
                }
                text.extend_from_slice(name);
                if index != field {
                    text.extend_from_slice(null);
                }
            }
            after.push(b'}');
            self.union_text
                .take(before.len() + after.len(), schema.name().unwrap_or("without a name"))?;
            planned.push(Branch::Value {
                node: self.node(*id, &connect.schema)?,
                field,
                before: before.into(),
                after: after.into(),
            });
        }
        Ok(planned)
    }
}

fn decimal(schema: &SchemaRef, size: Option<usize>) -> Option<Node> {
    if Logical::of(schema) != Some(Logical::Decimal) {
        return None;
    }
    logical::decimal_scale(schema).map(|scale| Node::Decimal { size, scale })
}

fn symbol(text: &str) -> Symbol {
    let mut json = Vec::new();
    json::write_string(text, &mut json);
    Symbol {
        text: text.into(),
        json: Literal::new(&json),
    }
}
