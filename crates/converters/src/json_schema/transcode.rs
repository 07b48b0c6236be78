//! JSON of the wire as the JSON that Connect writes, without values in between.
#![warn(clippy::indexing_slicing)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;
use klamm_connect_api::json::{self, MAX_DEPTH};
use klamm_connect_api::logical::Logical;
use klamm_connect_api::{DataError, Rendering, SchemaAndValue, SchemaRef, SchemaType, Value, java_number};

use super::connect::{Graph, NodeId, Schemas, Shape};
use super::read;
use crate::json::scan::{Kind, Scanner, inner_values};
use crate::json_text::UnionText;

/// How each node of a graph is written.
#[derive(Debug)]
pub(super) struct Plan {
    steps: Vec<Step>,
    root: NodeId,
}

#[derive(Debug)]
struct Step {
    what: What,
    /// What stands for null: a default or `null`; none if the value is required.
    null: Option<Box<[u8]>>,
    /// Values inside of that default.
    null_values: usize,
    /// Reads what has no way of its own here.
    schema: SchemaRef,
}

#[derive(Debug)]
enum What {
    Boolean,
    Long,
    Float,
    Double,
    String,
    /// By way of a value.
    ByValue,
    Array(NodeId),
    ObjectMap(NodeId),
    EntryMap {
        keys: SchemaRef,
        values: NodeId,
        /// Written as an object, though it is read as entries: its keys are optional strings.
        is_object: bool,
    },
    Struct(Members),
    Union(Vec<Branch>),
    /// The struct of another node.
    Again(NodeId),
}

#[derive(Debug)]
struct Members {
    fields: Vec<Member>,
    index: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Member {
    name: Arc<str>,
    /// The name with what stands around it: `"a":`.
    json: Box<[u8]>,
    node: NodeId,
}

#[derive(Debug)]
struct Branch {
    node: NodeId,
    schema_type: SchemaType,
    /// The names of its fields.
    names: HashSet<Arc<str>>,
    before: Box<[u8]>,
    after: Box<[u8]>,
}

impl Plan {
    pub(super) fn new(graph: &Graph, schemas: &mut Schemas<'_>) -> Result<Self, DataError> {
        let mut steps = Vec::new();
        for id in 0..graph.len() {
            let schema = schemas.of(id)?;
            let mut null = Vec::new();
            let data = SchemaAndValue::new(SchemaRef::clone(&schema), Value::Null);
            let null = json::write(&data, Rendering::Connect, &mut null)
                .ok()
                .map(|()| null.into_boxed_slice());
            steps.push(Step {
                what: What::ByValue,
                null,
                null_values: schema.default().map_or(0, inner_values),
                schema,
            });
        }
        let mut plan = Self {
            steps,
            root: graph.root,
        };
        let union_text = UnionText::default();
        for id in 0..graph.len() {
            let what = plan.what(graph, id, &union_text)?;
            if let Some(step) = plan.steps.get_mut(id) {
                step.what = what;
            }
        }
        Ok(plan)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "ids are those of the graph, which has a step for each"
    )]
    fn step(&self, id: NodeId) -> &Step {
        &self.steps[id]
    }

    fn what(&self, graph: &Graph, id: NodeId, union_text: &UnionText) -> Result<What, DataError> {
        let schema = &self.step(id).schema;
        if Logical::of(schema).is_some() {
            return Ok(What::ByValue);
        }
        Ok(match &graph.node(id).shape {
            Shape::Scalar(SchemaType::Boolean) => What::Boolean,
            Shape::Scalar(SchemaType::Int64) => What::Long,
            Shape::Scalar(SchemaType::Float32) => What::Float,
            Shape::Scalar(SchemaType::Float64) => What::Double,
            Shape::Scalar(SchemaType::String) => What::String,
            Shape::Scalar(_) | Shape::Variant | Shape::Pending => What::ByValue,
            Shape::Array(items) => What::Array(*items),
            Shape::Map { values, .. } if read::is_object_map(schema) => What::ObjectMap(*values),
            Shape::Map { keys, values } => {
                let keys = SchemaRef::clone(&self.step(*keys).schema);
                What::EntryMap {
                    is_object: keys.schema_type() == SchemaType::String,
                    keys,
                    values: *values,
                }
            }
            Shape::Struct(fields) => What::Struct(Members {
                index: fields
                    .iter()
                    .enumerate()
                    .map(|(index, (name, _))| (Arc::clone(name), index))
                    .collect(),
                fields: fields
                    .iter()
                    .map(|(name, node)| Member {
                        name: Arc::clone(name),
                        json: prefix(name),
                        node: *node,
                    })
                    .collect(),
            }),
            Shape::Union(fields) => {
                let name = schema.name().unwrap_or("without a name");
                What::Union(self.branches(graph, fields, name, union_text)?)
            }
            Shape::Again(of) => What::Again(*of),
        })
    }

    fn branches(
        &self,
        graph: &Graph,
        fields: &[(Arc<str>, NodeId)],
        union: &str,
        union_text: &UnionText,
    ) -> Result<Vec<Branch>, DataError> {
        let mut branches = Vec::with_capacity(fields.len());
        for (chosen, (_, node)) in fields.iter().enumerate() {
            let (mut before, mut after) = (vec![b'{'], Vec::new());
            for (index, (name, node)) in fields.iter().enumerate() {
                let text = if index <= chosen { &mut before } else { &mut after };
                if index > 0 {
                    text.push(b',');
                }
                text.extend_from_slice(&prefix(name));
                if index != chosen {
                    text.extend_from_slice(self.step(*node).null.as_deref().unwrap_or(b"null"));
                }
            }
            after.push(b'}');
            union_text.take(before.len() + after.len(), union)?;
            let names = match graph.shape(*node).1 {
                Shape::Struct(fields) | Shape::Union(fields) => {
                    fields.iter().map(|(name, _)| Arc::clone(name)).collect()
                }
                Shape::Variant => ["metadata", "value"].into_iter().map(Arc::from).collect(),
                _ => HashSet::new(),
            };
            branches.push(Branch {
                node: *node,
                schema_type: self.step(*node).schema.schema_type(),
                names,
                before: before.into(),
                after: after.into(),
            });
        }
        Ok(branches)
    }

    /// Appends the value at the scanner's place, the same bytes that Connect's `JsonConverter` writes for its data.
    pub(super) fn write(&self, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
        let mut writer = Writer {
            plan: self,
            slots: Vec::new(),
            start: out.len(),
        };
        writer.value(self.root, scanner, out, 0)?;
        json::check_length(writer.start, out)
    }
}

fn prefix(name: &str) -> Box<[u8]> {
    let mut text = Vec::new();
    json::write_string(name, &mut text);
    text.push(b':');
    text.into()
}

struct Writer<'p> {
    plan: &'p Plan,
    /// Where the values of fields stand in the output, for all structs that are open.
    slots: Vec<Option<(usize, usize)>>,
    /// Where the record begins in the output.
    start: usize,
}

impl<'p> Writer<'p> {
    /// It is on the stack once for each level, so what holds others is written by functions of their own.
    fn value(
        &mut self,
        id: NodeId,
        scanner: &mut Scanner<'_>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), DataError> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        json::check_length(self.start, out)?;
        let step = self.plan.step(id);
        let kind = scanner.kind()?;
        if kind == Kind::Null {
            scanner.null()?;
            return write_null(step, scanner, out);
        }
        match (&step.what, kind) {
            (What::String, Kind::String) => {
                let start = scanner.at();
                match scanner.string()? {
                    // Without escapes the text is what Connect writes.
                    std::borrow::Cow::Borrowed(_) => out.extend_from_slice(scanner.text_from(start).as_bytes()),
                    std::borrow::Cow::Owned(text) => json::write_string(&text, out),
                }
                Ok(())
            }
            (What::Boolean, Kind::Boolean) => {
                out.extend_from_slice(if scanner.boolean()? { b"true" } else { b"false" });
                Ok(())
            }
            (What::Long, Kind::Number) => long(step, scanner, out),
            (
                What::Struct(_)
                | What::Union(_)
                | What::Again(_)
                | What::Array(_)
                | What::ObjectMap(_)
                | What::EntryMap { .. },
                _,
            ) => self.container(&step.what, kind, scanner, out, depth),
            _ => by_value(step, kind, scanner, out),
        }
    }

    fn container(
        &mut self,
        what: &'p What,
        kind: Kind,
        scanner: &mut Scanner<'_>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), DataError> {
        match (what, kind) {
            (What::Struct(members), Kind::Object) => self.structure(members, scanner, out, depth),
            (What::Array(items), Kind::Array) => self.array(*items, scanner, out, depth),
            (What::Array(items), Kind::Object) => {
                let named = self.named(*items, scanner, out, depth)?;
                named.write(out, b'[', b']', |_, _| {});
                Ok(())
            }
            (What::Array(_), _) => {
                scanner.skip()?;
                out.extend_from_slice(b"[]");
                Ok(())
            }
            (What::ObjectMap(values), Kind::Object) => {
                let named = self.named(*values, scanner, out, depth)?;
                named.write(out, b'{', b'}', |name, out| {
                    json::write_string(name, out);
                    out.push(b':');
                });
                Ok(())
            }
            (
                What::EntryMap {
                    keys,
                    values,
                    is_object,
                },
                Kind::Array,
            ) => self.entries(keys, *values, *is_object, scanner, out, depth),
            (What::Union(branches), _) => self.union(branches, kind, scanner, out, depth),
            (What::Again(of), _) => self.container(&self.plan.step(*of).what, kind, scanner, out, depth),
            _ => Err(DataError::data(format!(
                "{} where another type is declared",
                kind.name()
            ))),
        }
    }

    fn array(
        &mut self,
        items: NodeId,
        scanner: &mut Scanner<'_>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), DataError> {
        scanner.enter_array()?;
        out.push(b'[');
        let mut count = 0;
        while scanner.next_element(count == 0)? {
            if count > 0 {
                out.push(b',');
            }
            if let Err(error) = self.value(items, scanner, out, depth + 1) {
                return Err(error.at(&format!("element {count}")));
            }
            count += 1;
        }
        out.push(b']');
        Ok(())
    }

    /// Fields go out in the order of the schema. As long as they come in that order too they are written in place;
    /// otherwise they are put in order at the end.
    fn structure(
        &mut self,
        members: &'p Members,
        scanner: &mut Scanner<'_>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), DataError> {
        let fields = members.fields.as_slice();
        scanner.count_fields(fields.len())?;
        let (start, first_slot) = (out.len(), self.slots.len());
        self.slots.resize(first_slot + fields.len(), None);
        out.push(b'{');
        let (mut written, mut is_in_order) = (0, true);
        let mut is_first = true;
        scanner.enter_object()?;
        while let Some(name) = scanner.next_member(is_first)? {
            is_first = false;
            let index = match fields.get(written) {
                Some(field) if *field.name == *name => written,
                _ => match members.index.get(&*name) {
                    Some(index) => *index,
                    None => {
                        scanner.skip()?;
                        continue;
                    }
                },
            };
            is_in_order = is_in_order && index >= written && self.fill(fields, written..index, scanner, out)?;
            let Some(field) = fields.get(index) else { continue };
            if is_in_order {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&field.json);
                written = index + 1;
            }
            let from = out.len();
            if let Err(error) = self.value(field.node, scanner, out, depth + 1) {
                return Err(error.at(&format!("field `{}`", field.name)));
            }
            if let Some(slot) = self.slots.get_mut(first_slot + index) {
                *slot = Some((from, out.len()));
            }
        }
        if !is_in_order || !self.fill(fields, written..fields.len(), scanner, out)? {
            self.put_in_order(fields, start, first_slot, scanner, out)?;
        }
        out.push(b'}');
        self.slots.truncate(first_slot);
        Ok(())
    }

    /// Writes what stands for missing fields; false, and nothing written, if one of them is required.
    fn fill(
        &self,
        fields: &[Member],
        missing: std::ops::Range<usize>,
        scanner: &mut Scanner<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, DataError> {
        let missing_from = missing.start;
        let missing = fields.get(missing).unwrap_or_default();
        if missing.iter().any(|field| self.plan.step(field.node).null.is_none()) {
            return Ok(false);
        }
        for (index, field) in missing.iter().enumerate() {
            if missing_from + index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&field.json);
            write_null(self.plan.step(field.node), scanner, out)?;
            json::check_length(self.start, out)?;
        }
        Ok(true)
    }

    fn put_in_order(
        &self,
        fields: &[Member],
        start: usize,
        first_slot: usize,
        scanner: &mut Scanner<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let mut ordered = Vec::with_capacity(out.len() - start);
        ordered.push(b'{');
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                ordered.push(b',');
            }
            ordered.extend_from_slice(&field.json);
            match self.slots.get(first_slot + index).copied().flatten() {
                Some((from, to)) => ordered.extend_from_slice(out.get(from..to).unwrap_or_default()),
                None => {
                    let step = self.plan.step(field.node);
                    write_null(step, scanner, &mut ordered)
                        .map_err(|error| error.at(&format!("field `{}`", field.name)))?;
                }
            }
        }
        out.truncate(start);
        out.extend_from_slice(&ordered);
        Ok(())
    }

    fn union(
        &mut self,
        branches: &'p [Branch],
        kind: Kind,
        scanner: &mut Scanner<'_>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), DataError> {
        let type_of = |index: usize| branches.get(index).map(|branch| branch.schema_type);
        let has = |index: usize, name: &str| branches.get(index).is_some_and(|branch| branch.names.contains(name));
        scanner.count_fields(branches.len())?;
        let chosen = read::choose(scanner, kind, branches.len(), type_of, has)?;
        let (index, branch) = chosen
            .and_then(|index| Some((index, branches.get(index)?)))
            .ok_or_else(|| {
                DataError::data(format!(
                    "{} is none of the {} alternatives",
                    kind.name(),
                    branches.len()
                ))
            })?;
        out.extend_from_slice(&branch.before);
        if let Err(error) = self.value(branch.node, scanner, out, depth + 1) {
            return Err(error.at(&format!("branch {index}")));
        }
        out.extend_from_slice(&branch.after);
        Ok(())
    }

    /// The members of an object, each name once: written to the output one after the other, to be taken from there.
    fn named(
        &mut self,
        values: NodeId,
        scanner: &mut Scanner<'_>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<Named, DataError> {
        let mut named = Named {
            start: out.len(),
            members: IndexMap::new(),
        };
        scanner.enter_object()?;
        let mut is_first = true;
        while let Some(name) = scanner.next_member(is_first)? {
            is_first = false;
            let from = out.len();
            if let Err(error) = self.value(values, scanner, out, depth + 1) {
                return Err(error.at("map value"));
            }
            named.members.insert(name.into_owned(), (from, out.len()));
        }
        Ok(named)
    }

    fn entries(
        &mut self,
        keys: &SchemaRef,
        values: NodeId,
        is_object: bool,
        scanner: &mut Scanner<'_>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), DataError> {
        let no_entry = || DataError::data("a map with other keys than strings is an array of {\"key\":…, \"value\":…}");
        let start = out.len();
        let mut entries: IndexMap<Value, (usize, usize)> = IndexMap::new();
        scanner.enter_array()?;
        let mut is_first = true;
        while scanner.next_element(is_first)? {
            is_first = false;
            if scanner.kind()? != Kind::Object {
                return Err(no_entry());
            }
            let (mut key, mut value) = (None, None);
            let mut is_first = true;
            scanner.enter_object()?;
            while let Some(name) = scanner.next_member(is_first)? {
                is_first = false;
                match &*name {
                    "key" => key = Some(read::value(keys, scanner).map_err(|error| error.at("map key"))?),
                    "value" => {
                        let from = out.len();
                        let inside = depth + if is_object { 1 } else { 2 };
                        if let Err(error) = self.value(values, scanner, out, inside) {
                            return Err(error.at("map value"));
                        }
                        value = Some((from, out.len()));
                    }
                    _ => return Err(no_entry()),
                }
            }
            let (key, value) = key.zip(value).ok_or_else(no_entry)?;
            entries.insert(key, value);
        }
        let mut text = Vec::with_capacity(out.len() - start);
        text.push(if is_object { b'{' } else { b'[' });
        for (index, (key, (from, to))) in entries.into_iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            if is_object {
                json::write_string(key.as_str().unwrap_or("null"), &mut text);
                text.push(b':');
            } else {
                text.push(b'[');
                json::write(
                    &SchemaAndValue::new(SchemaRef::clone(keys), key),
                    Rendering::Connect,
                    &mut text,
                )?;
                text.push(b',');
            }
            text.extend_from_slice(out.get(from..to).unwrap_or_default());
            if !is_object {
                text.push(b']');
            }
        }
        text.push(if is_object { b'}' } else { b']' });
        out.truncate(start);
        out.extend_from_slice(&text);
        Ok(())
    }
}

/// Members of an object whose values stand in the output.
struct Named {
    start: usize,
    members: IndexMap<String, (usize, usize)>,
}

impl Named {
    fn write(self, out: &mut Vec<u8>, open: u8, close: u8, name: impl Fn(&str, &mut Vec<u8>)) {
        let mut text = Vec::with_capacity(out.len() - self.start);
        text.push(open);
        for (index, (key, (from, to))) in self.members.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            name(key, &mut text);
            text.extend_from_slice(out.get(*from..*to).unwrap_or_default());
        }
        text.push(close);
        out.truncate(self.start);
        out.extend_from_slice(&text);
    }
}

#[cold]
fn too_deep() -> DataError {
    DataError::data(format!("the value is nested more than {MAX_DEPTH} levels deep"))
}

fn write_null(step: &Step, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
    scanner.count_fields(step.null_values)?;
    match &step.null {
        Some(text) => {
            out.extend_from_slice(text);
            Ok(())
        }
        None => read::null(&step.schema).map(|_| ()),
    }
}

/// An integer that is written as it is read, if it certainly fits.
fn long(step: &Step, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
    let mut ahead = scanner.clone();
    let number = ahead.number()?;
    if !number.is_integer || number.text.len() > 18 || number.text == "-0" {
        return by_value(step, Kind::Number, scanner, out);
    }
    *scanner = ahead;
    out.extend_from_slice(number.text.as_bytes());
    Ok(())
}

fn by_value(step: &Step, kind: Kind, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
    let value = match step.what {
        What::ByValue => read::value(&step.schema, scanner)?,
        _ => read::scalar(&step.schema, kind, scanner)?,
    };
    match value {
        Value::Float64(number) if number.is_finite() => {
            java_number::write_f64(number, out);
            Ok(())
        }
        value => json::write(
            &SchemaAndValue::new(SchemaRef::clone(&step.schema), value),
            Rendering::Connect,
            out,
        ),
    }
}
