//! The Connect schema of a JSON Schema, as Confluent's converter makes it.
//!
//! It is worked out as a graph first, because a JSON Schema may refer to itself and a Connect schema here may not: that
//! is unrolled from the graph as deep as the data needs it.
#![warn(clippy::indexing_slicing)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;
use klamm_connect_api::{DataError, DataErrorKind, Schema, SchemaBuilder, SchemaRef, SchemaType, Value};

use super::document::{Json, Node as JsonNode, Object};
use super::read;
use super::types::{Criterion, Kind, MAX_DEPTH, ObjectType, Type, TypeId, Types};
use super::variant;
use crate::json::scan::Scanner;
use crate::registry::{Vendor, unrolled};

pub(super) type NodeId = usize;

const UNION: &str = "io.confluent.connect.json.OneOf";
const ENUM: &str = "io.confluent.connect.json.Enum";
const ID: &str = "io.confluent.connect.json.Id";
const GLUE_UNION: &str = "oneOf";
/// Marks that struct, whose name others may have as well.
const GLUE_UNION_MARK: &str = "com.amazonaws.services.schemaregistry.kafkaconnect.jsonschema.OneOf";
const GLUE_ENUM: &str = "com.amazonaws.services.schemaregistry.kafkaconnect.jsonschema.Enum";
const GENERALIZED_UNION: &str = "org.apache.kafka.connect.data.Union";
const GENERALIZED_ENUM: &str = "org.apache.kafka.connect.data.Enum";
const GENERALIZED_PREFIX: &str = "connect_union_";
/// Holds the members that a schema does not name.
pub(super) const ADDITIONAL: &str = "__connect_additional_properties__";
/// Nodes of one schema, at most: a reference is worked out anew in each place, unless it leads to an object.
const MAX_NODES: usize = 20_000;

/// The settings of Confluent's `JsonSchemaData` that matter when data is read, and whether it is Confluent's at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) vendor: Vendor,
    pub(super) optional_for_nonrequired: bool,
    pub(super) generalized: bool,
    pub(super) preserve_additional: bool,
}

/// One Connect schema in one place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    optional: bool,
    name: Option<String>,
    version: Option<i32>,
    doc: Option<String>,
    parameters: IndexMap<String, String>,
    /// The JSON text of the default.
    default: Option<String>,
    /// What marks a struct that is referred to again.
    id: Option<u32>,
    /// The first place of a struct shows its mark only if it had parameters when it was finished.
    shows_id: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// Only while the node is worked out.
    Pending,
    Scalar(SchemaType),
    Array(NodeId),
    Map {
        keys: NodeId,
        values: NodeId,
    },
    Struct(Vec<(Arc<str>, NodeId)>),
    Union(Vec<(Arc<str>, NodeId)>),
    /// Any value, in the binary form of a Variant.
    Variant,
    /// The same struct as there, in another place.
    Again(NodeId),
}

impl Node {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            optional: false,
            name: None,
            version: None,
            doc: None,
            parameters: IndexMap::new(),
            default: None,
            id: None,
            shows_id: false,
        }
    }
}

/// The schema of any JSON Schema.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    pub(super) root: NodeId,
    /// Nodes inside of which the same node comes again.
    pub(super) heads: HashSet<NodeId>,
    /// All nodes, what is inside before what it is inside of.
    inner_first: Vec<NodeId>,
}

impl Graph {
    pub(super) fn build(types: &Types<'_, '_>, options: Options, version: Option<i32>) -> Result<Self, DataError> {
        let mut builder = Builder {
            types,
            options,
            nodes: Vec::new(),
            structs: HashMap::new(),
            open: HashMap::new(),
            standing: HashMap::new(),
            unions: 0,
            ids: 0,
            depth: 0,
        };
        let root = builder.node(types.root, version, false)?;
        let mut graph = Self {
            nodes: builder.nodes,
            root,
            heads: HashSet::new(),
            inner_first: Vec::new(),
        };
        graph.order(root, &mut HashMap::new(), 0)?;
        Ok(graph)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    #[expect(clippy::indexing_slicing, reason = "ids are handed out by `Builder::push` only")]
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// The node that says what data looks like: a struct in another place is the struct.
    pub(super) fn shape(&self, id: NodeId) -> (NodeId, &Shape) {
        match &self.node(id).shape {
            Shape::Again(of) => (*of, &self.node(*of).shape),
            shape => (id, shape),
        }
    }

    fn inside(&self, id: NodeId) -> Vec<NodeId> {
        match &self.node(id).shape {
            Shape::Pending | Shape::Scalar(_) | Shape::Variant => Vec::new(),
            Shape::Array(of) | Shape::Again(of) => vec![*of],
            Shape::Map { keys, values } => vec![*keys, *values],
            Shape::Struct(fields) | Shape::Union(fields) => fields.iter().map(|(_, id)| *id).collect(),
        }
    }

    /// Finds heads and order. The map has the depth at which a node is open, none once it is finished.
    fn order(
        &mut self,
        id: NodeId,
        seen: &mut HashMap<NodeId, Option<usize>>,
        choices_from: usize,
    ) -> Result<(), DataError> {
        let depth = seen.len();
        match seen.get(&id) {
            Some(None) => return Ok(()),
            Some(Some(opened)) => {
                if *opened >= choices_from {
                    return Err(circular());
                }
                self.heads.insert(id);
                return Ok(());
            }
            None => {}
        }
        seen.insert(id, Some(depth));
        // A way around that passes no object, array or map reads nothing: it would never end.
        let is_choice = matches!(self.node(id).shape, Shape::Union(_) | Shape::Again(_));
        let choices_from = if is_choice { choices_from } else { depth + 1 };
        for inside in self.inside(id) {
            self.order(inside, seen, choices_from)?;
        }
        seen.insert(id, None);
        self.inner_first.push(id);
        Ok(())
    }

    /// The Connect schema of a node; what comes inside of itself is unrolled `unroll` times, and a struct without fields
    /// below that.
    pub(super) fn schemas(&self, unroll: usize) -> Result<Schemas<'_>, DataError> {
        unrolled::check(self.inner_first.len(), unroll)?;
        let mut schemas = Schemas {
            graph: self,
            unroll,
            built: HashMap::new(),
        };
        for unroll in 0..=unroll {
            for id in &self.inner_first {
                schemas.schema(*id, unroll)?;
            }
        }
        Ok(schemas)
    }
}

fn circular() -> DataError {
    DataError::data("the JSON Schema refers to itself without an object or array in between: no data is ever of it")
}

/// Connect schemas by node and by how often they may still be unrolled.
#[derive(Debug)]
pub(super) struct Schemas<'g> {
    graph: &'g Graph,
    unroll: usize,
    built: HashMap<(NodeId, usize), SchemaRef>,
}

impl Schemas<'_> {
    pub(super) fn of(&mut self, id: NodeId) -> Result<SchemaRef, DataError> {
        self.schema(id, self.unroll)
    }

    fn schema(&mut self, id: NodeId, unroll: usize) -> Result<SchemaRef, DataError> {
        if let Some(built) = self.built.get(&(id, unroll)) {
            return Ok(SchemaRef::clone(built));
        }
        let graph = self.graph;
        let node = graph.node(id);
        let below = if graph.heads.contains(&id) {
            unroll.checked_sub(1)
        } else {
            Some(unroll)
        };
        let schema = match (&node.shape, below) {
            (Shape::Again(of), _) => {
                let of = self.schema(*of, unroll)?;
                self.again(node, &of, graph.shape(id).0)?
            }
            (Shape::Pending, _) | (_, None) => self.finish(node, Schema::structure())?,
            (shape, Some(below)) => {
                let builder = self.builder(shape, below)?;
                self.finish(node, builder)?
            }
        };
        self.built.insert((id, unroll), SchemaRef::clone(&schema));
        Ok(schema)
    }

    fn builder(&mut self, shape: &Shape, unroll: usize) -> Result<SchemaBuilder, DataError> {
        Ok(match shape {
            Shape::Scalar(schema_type) => Schema::builder(*schema_type),
            Shape::Array(items) => Schema::array(self.schema(*items, unroll)?),
            Shape::Map { keys, values } => Schema::map(self.schema(*keys, unroll)?, self.schema(*values, unroll)?),
            Shape::Struct(fields) | Shape::Union(fields) => {
                let mut builder = Schema::structure();
                for (name, id) in fields {
                    builder = builder.field(Arc::clone(name), self.schema(*id, unroll)?);
                }
                builder
            }
            Shape::Variant => variant::builder(),
            Shape::Pending | Shape::Again(_) => return Err(circular()),
        })
    }

    /// The struct of another place: only whether it is optional, and its mark, are its own.
    fn again(&self, node: &Node, of: &SchemaRef, target: NodeId) -> Result<SchemaRef, DataError> {
        let mut builder = of.to_builder().with_optional(node.optional);
        if let Some(id) = self.graph.node(target).id {
            builder = builder.parameter(ID, format!("#id{id}"));
        }
        builder.build()
    }

    fn finish(&self, node: &Node, mut builder: SchemaBuilder) -> Result<SchemaRef, DataError> {
        if let Some(name) = &node.name {
            builder = builder.name(name.as_str());
        }
        if let Some(version) = node.version {
            builder = builder.version(version);
        }
        if let Some(doc) = &node.doc {
            builder = builder.doc(doc.as_str());
        }
        for (key, value) in &node.parameters {
            builder = builder.parameter(key, value);
        }
        if let Some(id) = node.id.filter(|_| node.shows_id) {
            builder = builder.parameter(ID, format!("#id{id}"));
        }
        let schema = builder.with_optional(node.optional).build()?;
        let Some(default) = &node.default else {
            return Ok(schema);
        };
        let unfit = |error: DataError| error.at("`default` of the JSON Schema");
        match read::value(&schema, &mut Scanner::new(default)).map_err(unfit)? {
            Value::Null => Ok(schema),
            value => schema.to_builder().default_value(value).build().map_err(unfit),
        }
    }
}

struct Builder<'t, 'd, 'a> {
    types: &'t Types<'d, 'a>,
    options: Options,
    nodes: Vec<Node>,
    /// Objects that have a node already: they are not worked out again.
    structs: HashMap<TypeId, NodeId>,
    /// Types other than objects that are being worked out.
    open: HashMap<(TypeId, bool), NodeId>,
    /// Types that are another one, with the number of nodes when they were met.
    standing: HashMap<(TypeId, bool), usize>,
    unions: u32,
    ids: u32,
    depth: usize,
}

impl<'d, 'a> Builder<'_, 'd, 'a> {
    fn push(&mut self, node: Node) -> Result<NodeId, DataError> {
        if self.nodes.len() >= MAX_NODES {
            return Err(DataError::data(format!(
                "the JSON Schema has more than {MAX_NODES} types, counting what is referred to in each place"
            )));
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn change(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(id) {
            change(node);
        }
    }

    /// The node of a type in one place. `version` is the schema's own in its subject, for the root.
    fn node(&mut self, id: TypeId, version: Option<i32>, optional: bool) -> Result<NodeId, DataError> {
        if self.depth > MAX_DEPTH {
            return Err(DataError::data(format!(
                "the JSON Schema is nested more than {MAX_DEPTH} levels deep"
            )));
        }
        if let Some(open) = self.open.get(&(id, optional)) {
            // Arrays of themselves and the like.
            return Ok(*open);
        }
        self.depth += 1;
        let node = self.work_out(id, version, optional)?;
        self.depth -= 1;
        Ok(node)
    }

    fn work_out(&mut self, id: TypeId, version: Option<i32>, optional: bool) -> Result<NodeId, DataError> {
        let types = self.types;
        let type_ = types.get(id);
        match &type_.kind {
            Kind::Reference(target) => return self.stand_in(id, *target, version, optional),
            Kind::Combined {
                how: Criterion::All,
                parts,
            } => return self.all_of(id, parts, version, optional),
            Kind::Combined { how, parts } => {
                let number = self.unions;
                self.unions += 1;
                let others: Vec<TypeId> = parts.iter().copied().filter(|part| !self.is_null(*part)).collect();
                let may_unwrap = self.options.vendor == Vendor::Confluent || *how == Criterion::One;
                if let ([other], 2, true) = (others.as_slice(), parts.len(), may_unwrap) {
                    return self.stand_in(id, *other, version, true);
                }
                if parts.len() == 2 && others.is_empty() {
                    return Err(unsupported("null alone"));
                }
                return self.union(id, &others, others.len() < parts.len(), number, version, optional);
            }
            Kind::Object(object) if !is_map(type_)? => return self.structure(id, object, version, optional),
            _ => {}
        }
        let node = self.push(Node::new(Shape::Pending))?;
        self.open.insert((id, optional), node);
        let shape = self.shape(type_, node)?;
        self.open.remove(&(id, optional));
        self.change(node, |node| node.shape = shape);
        self.attributes(node, type_, version, optional)?;
        Ok(node)
    }

    fn is_null(&self, id: TypeId) -> bool {
        matches!(self.types.get(id).kind, Kind::Null)
    }

    /// A type that is another one: what it says about itself does not count.
    fn stand_in(&mut self, id: TypeId, of: TypeId, version: Option<i32>, optional: bool) -> Result<NodeId, DataError> {
        if let Some(known) = self.structs.get(&of).copied() {
            if !matches!(self.types.get(id).kind, Kind::Reference(_)) {
                return self.node(of, version, optional);
            }
            if self.options.vendor == Vendor::Confluent {
                self.ids += 1;
                let number = self.ids;
                self.change(known, |node| node.id = Some(number));
            }
            let mut again = Node::new(Shape::Again(known));
            again.optional = optional;
            return self.push(again);
        }
        // To come here again without a node in between would go on for ever.
        let before = self.standing.insert((id, optional), self.nodes.len());
        if before == Some(self.nodes.len()) {
            return Err(circular());
        }
        let node = self.node(of, version, optional)?;
        self.standing.remove(&(id, optional));
        Ok(node)
    }

    /// Scalars, arrays and maps.
    fn shape(&mut self, type_: &Type<'d, 'a>, node: NodeId) -> Result<Shape, DataError> {
        let connect_type = text_attribute(type_, "connect.type")?;
        Ok(match &type_.kind {
            Kind::Boolean => Shape::Scalar(SchemaType::Boolean),
            Kind::String if connect_type == Some("bytes") => Shape::Scalar(SchemaType::Bytes),
            Kind::String => Shape::Scalar(SchemaType::String),
            Kind::Number { is_integer } => Shape::Scalar(number(*is_integer, connect_type)?),
            Kind::Enum(symbols) => {
                let key = match self.options.vendor {
                    Vendor::Glue => GLUE_ENUM,
                    Vendor::Confluent if self.options.generalized => GENERALIZED_ENUM,
                    Vendor::Confluent => ENUM,
                };
                let generalized = self.options.generalized;
                self.change(node, |node| {
                    node.parameters.insert(key.to_owned(), String::new());
                    for (index, symbol) in symbols.iter().enumerate() {
                        let value = if generalized { index.to_string() } else { symbol.clone() };
                        node.parameters.insert(format!("{key}.{symbol}"), value);
                    }
                });
                Shape::Scalar(SchemaType::String)
            }
            Kind::Array { items } => {
                let items = items.ok_or_else(|| DataError::data("an array without a schema for its items"))?;
                match (&self.types.get(items).kind, connect_type) {
                    (Kind::Object(entry), Some("map")) => {
                        let part = |name: &str| {
                            let found = entry.properties.iter().find(|(property, _)| *property == name);
                            found.map(|(_, id)| *id).ok_or_else(|| {
                                DataError::data(format!("a map whose entries have no property `{name}`"))
                            })
                        };
                        Shape::Map {
                            keys: self.node(part("key")?, None, false)?,
                            values: self.node(part("value")?, None, false)?,
                        }
                    }
                    _ => Shape::Array(self.node(items, None, false).map_err(|error| error.at("`items`"))?),
                }
            }
            Kind::Object(object) => {
                let values = object
                    .additional
                    .ok_or_else(|| DataError::data("a map without a schema in `additionalProperties`"))?;
                Shape::Map {
                    keys: self.push(Node::new(Shape::Scalar(SchemaType::String)))?,
                    values: self
                        .node(values, None, false)
                        .map_err(|error| error.at("`additionalProperties`"))?,
                }
            }
            Kind::Any => Shape::Variant,
            Kind::Null => return Err(unsupported("null alone")),
            Kind::Const => return Err(unsupported("`const` without a type")),
            Kind::Other(keyword) => return Err(unsupported(&format!("`{keyword}` without a type"))),
            Kind::Combined { .. } | Kind::Reference(_) | Kind::Pending => return Err(circular()),
        })
    }

    fn structure(
        &mut self,
        id: TypeId,
        object: &ObjectType<'d>,
        version: Option<i32>,
        optional: bool,
    ) -> Result<NodeId, DataError> {
        let node = self.push(Node::new(Shape::Pending))?;
        self.structs.insert(id, node);
        let mut properties: Vec<(Option<i64>, &str, TypeId)> = Vec::with_capacity(object.properties.len());
        for (name, property) in &object.properties {
            properties.push((index(self.types.get(*property))?, name, *property));
        }
        // Those without an index follow in the order of the document.
        properties.sort_by_key(|(index, ..)| index.unwrap_or(i64::MAX));
        let optional_for_nonrequired = self.options.optional_for_nonrequired;
        let fields = properties
            .into_iter()
            .map(|(_, name, id)| (name, id, optional_for_nonrequired && !object.required.contains(name)));
        let fields = self.fields(fields, object.admits_additional)?;
        self.change(node, |node| node.shape = Shape::Struct(fields));
        self.attributes(node, self.types.get(id), version, optional)?;
        Ok(node)
    }

    fn fields<'f>(
        &mut self,
        properties: impl Iterator<Item = (&'f str, TypeId, bool)>,
        admits_additional: bool,
    ) -> Result<Vec<(Arc<str>, NodeId)>, DataError> {
        let mut fields = Vec::new();
        for (name, id, optional) in properties {
            if self.options.preserve_additional && name == ADDITIONAL {
                return Err(DataError::data(format!(
                    "a property is called `{ADDITIONAL}`, which preserve.additional.properties=true needs itself"
                )));
            }
            let node = self
                .node(id, None, optional)
                .map_err(|error| error.at(&format!("property `{name}`")))?;
            fields.push((Arc::from(name), node));
        }
        if self.options.preserve_additional && admits_additional {
            let keys = self.push(Node::new(Shape::Scalar(SchemaType::String)))?;
            let mut any = Node::new(Shape::Variant);
            any.name = Some(variant::NAME.to_owned());
            any.optional = true;
            let values = self.push(any)?;
            let mut map = Node::new(Shape::Map { keys, values });
            map.optional = true;
            fields.push((Arc::from(ADDITIONAL), self.push(map)?));
        }
        Ok(fields)
    }

    fn union(
        &mut self,
        id: TypeId,
        branches: &[TypeId],
        has_null: bool,
        number: u32,
        version: Option<i32>,
        optional: bool,
    ) -> Result<NodeId, DataError> {
        let node = self.push(Node::new(Shape::Pending))?;
        self.open.insert((id, optional), node);
        let generalized = self.options.generalized;
        let mut fields = Vec::with_capacity(branches.len());
        for (index, branch) in branches.iter().enumerate() {
            let name = match self.options.vendor {
                Vendor::Glue => format!("field{}", index + 1),
                Vendor::Confluent if generalized => format!("{GENERALIZED_PREFIX}field_{index}"),
                Vendor::Confluent => format!("{UNION}.field.{index}"),
            };
            let branch = self
                .node(*branch, None, true)
                .map_err(|error| error.at(&format!("branch {index}")))?;
            fields.push((Arc::from(name), branch));
        }
        self.open.remove(&(id, optional));
        let vendor = self.options.vendor;
        self.change(node, |node| {
            node.shape = Shape::Union(fields);
            match vendor {
                Vendor::Glue => {
                    node.parameters.insert(GLUE_UNION_MARK.to_owned(), String::new());
                    node.name = Some(GLUE_UNION.to_owned());
                }
                Vendor::Confluent if generalized => {
                    let name = format!("{GENERALIZED_PREFIX}{number}");
                    node.parameters.insert(GENERALIZED_UNION.to_owned(), name.clone());
                    node.name = Some(name);
                }
                Vendor::Confluent => node.name = Some(UNION.to_owned()),
            }
        });
        self.attributes(node, self.types.get(id), version, optional || has_null)?;
        Ok(node)
    }

    /// All parts together: one struct of all properties, or the part that says most about the type.
    fn all_of(
        &mut self,
        id: TypeId,
        parts: &[TypeId],
        version: Option<i32>,
        optional: bool,
    ) -> Result<NodeId, DataError> {
        let mut properties = IndexMap::new();
        for part in parts {
            self.collect(*part, &mut properties, &mut HashSet::new())?;
        }
        if !properties.is_empty() {
            let node = self.push(Node::new(Shape::Pending))?;
            self.structs.insert(id, node);
            let optional_for_nonrequired = self.options.optional_for_nonrequired;
            let fields = properties
                .into_iter()
                .map(|(name, (id, is_required))| (name, id, optional_for_nonrequired && !is_required));
            let fields = self.fields(fields, true)?;
            self.change(node, |node| {
                node.shape = Shape::Struct(fields);
                node.optional = optional;
                node.shows_id = node.id.is_some();
            });
            return Ok(node);
        }
        let last = |wanted: fn(&Kind<'_>) -> bool| parts.iter().copied().rfind(|id| wanted(&self.types.get(*id).kind));
        let string = last(|kind| matches!(kind, Kind::String));
        let number = last(|kind| matches!(kind, Kind::Number { .. }));
        let chosen = if let Some(combined) = last(|kind| matches!(kind, Kind::Combined { .. })) {
            Some(combined)
        } else if last(|kind| matches!(kind, Kind::Const)).is_some() {
            string.or(number)
        } else if let Some(symbols) = last(|kind| matches!(kind, Kind::Enum(_))) {
            string.map(|_| symbols).or(number)
        } else if string.is_some() {
            number.or(string)
        } else {
            last(|kind| matches!(kind, Kind::Reference(_)))
        };
        let chosen = chosen.ok_or_else(|| unsupported("this combination of keywords"))?;
        if matches!(self.types.get(chosen).kind, Kind::Reference(_)) {
            return self.node(chosen, version, optional);
        }
        self.stand_in(id, chosen, version, optional)
    }

    fn collect(
        &self,
        id: TypeId,
        properties: &mut IndexMap<&'d str, (TypeId, bool)>,
        visited: &mut HashSet<TypeId>,
    ) -> Result<(), DataError> {
        if !visited.insert(id) {
            return Ok(());
        }
        if visited.len() > MAX_NODES {
            return Err(unsupported("this combination of keywords"));
        }
        match &self.types.get(id).kind {
            Kind::Combined {
                how: Criterion::All,
                parts,
            } => parts
                .iter()
                .try_for_each(|part| self.collect(*part, properties, visited)),
            Kind::Object(object) => {
                for (name, id) in &object.properties {
                    properties.insert(name, (*id, object.required.contains(name)));
                }
                Ok(())
            }
            Kind::Reference(target) => self.collect(*target, properties, visited),
            _ => Ok(()),
        }
    }

    /// Adds what the schema object says besides its type.
    fn attributes(
        &mut self,
        id: NodeId,
        type_: &Type<'d, 'a>,
        version: Option<i32>,
        optional: bool,
    ) -> Result<(), DataError> {
        let own_version = match attribute(type_, "connect.version") {
            None => None,
            Some(json) => Some(
                json.raw
                    .parse()
                    .map_err(|_| DataError::data("`connect.version` of the JSON Schema is no integer"))?,
            ),
        };
        let mut parameters = Vec::new();
        if let Some(json) = attribute(type_, "connect.parameters") {
            let wrong = || DataError::data("`connect.parameters` of the JSON Schema is no object of texts");
            for (name, value) in json.as_object().ok_or_else(wrong)? {
                parameters.push((name.to_string(), value.as_str().ok_or_else(wrong)?.to_owned()));
            }
        }
        let text = |key| attribute(type_, key).and_then(Json::as_str).map(str::to_owned);
        let (title, doc) = match self.options.vendor {
            Vendor::Confluent => (text("title"), text("description")),
            Vendor::Glue => (text("connect.name"), text("connect.doc")),
        };
        let default = attribute(type_, "default").map(|json| json.raw.to_owned());
        let is_any = matches!(type_.kind, Kind::Any);
        self.change(id, |node| {
            if is_any {
                node.name = Some(variant::NAME.to_owned());
            }
            if node.name.is_none() {
                node.name = title;
            }
            node.version = own_version.or(version);
            node.doc = doc;
            node.parameters.extend(parameters);
            node.default = default;
            node.optional = optional;
            node.shows_id = node.id.is_some() || !node.parameters.is_empty();
        });
        Ok(())
    }
}

fn unsupported(what: &str) -> DataError {
    DataError::new(
        DataErrorKind::Data,
        format!("the JSON Schema has {what}, which has no Connect schema: give it a type"),
    )
}

fn attribute<'d, 'a>(type_: &Type<'d, 'a>, key: &str) -> Option<&'d Json<'a>> {
    let source: &'d Object<'a> = type_.source?;
    source.get(key)
}

fn text_attribute<'d>(type_: &Type<'d, '_>, key: &str) -> Result<Option<&'d str>, DataError> {
    match attribute(type_, key) {
        None => Ok(None),
        Some(json) => match json.as_str() {
            Some(text) => Ok(Some(text)),
            None => Err(DataError::data(format!("`{key}` of the JSON Schema is no text"))),
        },
    }
}

fn is_map(type_: &Type<'_, '_>) -> Result<bool, DataError> {
    Ok(text_attribute(type_, "connect.type")? == Some("map"))
}

fn index(type_: &Type<'_, '_>) -> Result<Option<i64>, DataError> {
    match attribute(type_, "connect.index") {
        None => Ok(None),
        Some(json) => match (&json.node, json.raw.parse()) {
            (JsonNode::Number, Ok(index)) => Ok(Some(index)),
            _ => Err(DataError::data("`connect.index` of the JSON Schema is no integer")),
        },
    }
}

fn number(is_integer: bool, connect_type: Option<&str>) -> Result<SchemaType, DataError> {
    Ok(match connect_type {
        None if is_integer => SchemaType::Int64,
        None | Some("float64") => SchemaType::Float64,
        Some("int8") => SchemaType::Int8,
        Some("int16") => SchemaType::Int16,
        Some("int32") => SchemaType::Int32,
        Some("int64") => SchemaType::Int64,
        Some("float32") => SchemaType::Float32,
        // Decimals.
        Some("bytes") => SchemaType::Bytes,
        Some(other) => {
            return Err(DataError::data(format!(
                "`connect.type` of a number is `{other}`, which is no type of numbers"
            )));
        }
    })
}

/// Whether a struct schema stands for a choice between its fields.
pub(super) fn is_union(schema: &Schema) -> bool {
    schema.name() == Some(UNION)
        || schema.parameters().contains_key(GENERALIZED_UNION)
        || schema.parameters().contains_key(GLUE_UNION_MARK)
}
