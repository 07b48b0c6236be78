//! The Connect schema of a message, as Confluent's converter makes it, or AWS's for Glue.
#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Arc;

use klamm_connect_api::{DataError, Schema, SchemaBuilder, SchemaRef, SchemaType, Semantic, logical};

use super::plan::{Enum, Field, Member, Message, Node, Options, Plan, Scalar};
use super::types::MessageId;
use crate::registry::{Vendor, unrolled};

const TAG: &str = "io.confluent.connect.protobuf.Tag";
const TYPE: &str = "io.confluent.connect.protobuf.Type";
const ENUM: &str = "io.confluent.connect.protobuf.Enum";
const UNION: &str = "io.confluent.connect.protobuf.Union.";
const GENERALIZED_ENUM: &str = "org.apache.kafka.connect.data.Enum";
const GENERALIZED_UNION: &str = "org.apache.kafka.connect.data.Union";
/// AWS's names.
mod glue {
    pub(super) const TAG: &str = "protobuf.tag";
    pub(super) const TYPE: &str = "protobuf.type";
    pub(super) const PACKAGE: &str = "protobuf.package";
    pub(super) const ENUM: &str = "ENUM_NAME";
    pub(super) const SYMBOL: &str = "PROTOBUF_ENUM_VALUE.";
    pub(super) const VERSION: i32 = 1;
}
const PRECISION: &str = "connect.decimal.precision";
/// Messages inside each other, at most, as far as they do not refer to themselves.
const MAX_DEPTH: usize = 300;
/// Fields of a schema, at most: those of a message count for each field that holds it, and once more for each time
/// that a schema that refers to itself is unrolled.
const MAX_FIELDS: usize = 500_000;

/// The messages that a message holds, in an order in which their schemas can be made without going deep.
#[derive(Debug)]
pub(super) struct Order {
    /// The heads anywhere; of the others each after those that it holds.
    inner_first: Vec<MessageId>,
    /// Whether a message among them refers to itself.
    pub(super) is_recursive: bool,
}

impl Order {
    pub(super) fn try_of(plan: &Plan, root: MessageId) -> Result<Self, DataError> {
        let mut order = Self {
            inner_first: Vec::new(),
            is_recursive: false,
        };
        // How deep messages are inside of a message that was gone through; none while it is.
        let mut depths: HashMap<MessageId, Option<usize>> = HashMap::new();
        // No circle goes past its head, so neither do the searches: they begin again with what a head holds.
        let mut starts = vec![root];
        while let Some(start) = starts.pop() {
            // What is left to do: enter a message, or leave it.
            let mut stack = vec![(start, true)];
            while let Some((id, enters)) = stack.pop() {
                if !enters {
                    let inner = plan.inner(id).filter(|inner| !plan.message(*inner).is_head);
                    let deepest = inner.filter_map(|inner| depths.get(&inner).copied().flatten()).max();
                    let depth = deepest.map_or(0, |depth| depth + 1);
                    if depth > MAX_DEPTH {
                        return Err(DataError::data(format!(
                            "the Protobuf schema is nested more than {MAX_DEPTH} levels deep"
                        )));
                    }
                    depths.insert(id, Some(depth));
                    order.inner_first.push(id);
                    continue;
                }
                if depths.contains_key(&id) {
                    continue;
                }
                depths.insert(id, None);
                if plan.message(id).is_head {
                    order.is_recursive = true;
                    order.inner_first.push(id);
                    starts.extend(plan.inner(id));
                } else {
                    stack.push((id, false));
                    stack.extend(plan.inner(id).map(|inner| (inner, true)));
                }
            }
        }
        Ok(order)
    }
}

/// Makes schemas. Where a message refers to itself its schema is unrolled: Connect schemas here are trees.
pub(super) struct Builder<'a> {
    plan: &'a Plan,
    options: &'a Options,
    /// The struct of a message as it is in every place, by how often it may still be unrolled.
    built: HashMap<(MessageId, usize), SchemaBuilder>,
    fields_left: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(plan: &'a Plan, options: &'a Options) -> Self {
        Self {
            plan,
            options,
            built: HashMap::new(),
            fields_left: MAX_FIELDS,
        }
    }

    /// The schema of `root`. Messages that refer to themselves are unrolled `unroll` times; what would be deeper is a
    /// struct without fields.
    ///
    /// # Errors
    /// If fields have the same name, or are too many.
    pub(super) fn build(
        mut self,
        order: &Order,
        root: MessageId,
        version: Option<i32>,
        unroll: usize,
    ) -> Result<SchemaRef, DataError> {
        unrolled::check(order.inner_first.len(), unroll)?;
        for unroll in 0..=unroll {
            // A head holds what was made for one time less, so it does not have to wait for what it holds.
            for heads in [true, false] {
                for id in &order.inner_first {
                    let message = self.plan.message(*id);
                    if message.is_head == heads {
                        let inner = if heads { unroll.checked_sub(1) } else { Some(unroll) };
                        let built = self.message(message, inner)?;
                        self.built.insert((*id, unroll), built);
                    }
                }
            }
        }
        let mut builder = self.structure(root, unroll)?;
        if self.is_glue() {
            builder = builder
                .name(Arc::clone(&self.plan.message(root).short))
                .version(glue::VERSION)
                .parameter(glue::PACKAGE, &*self.plan.package);
        }
        if let Some(version) = version {
            builder = builder.version(version);
        }
        builder.build()
    }

    fn is_glue(&self) -> bool {
        self.options.vendor == Vendor::Glue
    }

    /// The struct of a message, for one more place that it stands in.
    fn structure(&mut self, id: MessageId, unroll: usize) -> Result<SchemaBuilder, DataError> {
        self.take(self.plan.message(id).members.len())?;
        self.built
            .get(&(id, unroll))
            .cloned()
            .ok_or_else(|| DataError::data("a message whose schema was not made"))
    }

    fn take(&mut self, fields: usize) -> Result<(), DataError> {
        self.fields_left = self.fields_left.checked_sub(fields).ok_or_else(|| {
            DataError::data(format!(
                "the Connect schema of the Protobuf schema has more than {MAX_FIELDS} fields"
            ))
        })?;
        Ok(())
    }

    fn message(&mut self, message: &'a Message, unroll: Option<usize>) -> Result<SchemaBuilder, DataError> {
        let mut builder = Schema::structure().name(Arc::clone(&message.name));
        if let Some(semantic) = message.semantic {
            builder = builder.semantic(semantic);
        }
        let Some(unroll) = unroll else {
            return Ok(builder);
        };
        let at = |error: DataError, name: &str| error.at(&format!("message `{}`, field `{name}`", message.full));
        for member in &message.members {
            builder = match member {
                Member::Field { index, .. } => match message.fields.get(*index) {
                    Some(field) => {
                        let schema = self.field(field, unroll).map_err(|error| at(error, &field.name))?;
                        builder.field(Arc::clone(&field.name), schema)
                    }
                    None => builder,
                },
                Member::Union(union) => {
                    let mut schema = Schema::structure().optional();
                    schema = if self.is_glue() {
                        schema.name(Arc::clone(&union.oneof)).parameter(glue::TYPE, "oneof")
                    } else if union.is_generalized {
                        schema
                            .name(Arc::clone(&union.oneof))
                            .parameter(GENERALIZED_UNION, &*union.oneof)
                    } else {
                        schema.name(format!("{UNION}{}", union.oneof))
                    };
                    for field in union
                        .branches
                        .iter()
                        .filter_map(|branch| message.fields.get(branch.index))
                    {
                        let branch = self.field(field, unroll).map_err(|error| at(error, &field.name))?;
                        schema = schema.field(Arc::clone(&field.name), branch);
                    }
                    let schema = schema.build().map_err(|error| at(error, &union.name))?;
                    builder.field(Arc::clone(&union.name), schema)
                }
            };
        }
        Ok(builder)
    }

    fn field(&mut self, field: &Field, unroll: usize) -> Result<SchemaRef, DataError> {
        let mut builder = match field.node {
            Node::Entry(id) if field.is_repeated => self.map(id, unroll)?,
            node if field.is_repeated => {
                let items = self.node(node, field.type_name, unroll)?;
                Schema::array(items.with_optional(!self.is_glue()).build()?)
            }
            node => self.node(node, field.type_name, unroll)?,
        };
        builder = builder.with_optional(field.is_optional);
        let tag = if self.is_glue() { glue::TAG } else { TAG };
        builder.parameter(tag, field.number.to_string()).build()
    }

    fn map(&mut self, entry: MessageId, unroll: usize) -> Result<SchemaBuilder, DataError> {
        let message = self.plan.message(entry);
        let ([key, value], Some(map)) = (message.fields.as_slice(), &message.entry) else {
            return Err(super::read::no_elements());
        };
        let (key, value) = (self.field(key, unroll)?, self.field(value, unroll)?);
        if self.is_glue() {
            let optional = |schema: &SchemaRef| schema.to_builder().optional().build();
            return Ok(Schema::map(optional(&key)?, optional(&value)?));
        }
        let builder = Schema::map(key, value);
        Ok(builder.name(Arc::clone(&map.map_name)))
    }

    fn node(&mut self, node: Node, type_name: Option<&'static str>, unroll: usize) -> Result<SchemaBuilder, DataError> {
        Ok(match node {
            Node::Scalar(scalar, schema_type) | Node::Wrapper(_, scalar, schema_type) => {
                if let Scalar::Enum { id, .. } = scalar {
                    self.take(self.plan.enumeration(id).declared.len())?;
                }
                self.take(1)?;
                self.scalar(scalar, schema_type, type_name)
            }
            Node::Timestamp(_) => logical::timestamp(),
            Node::Date(_) => logical::date(),
            Node::Time(_) => logical::time(),
            Node::Decimal { scale, precision, .. } => {
                let builder = logical::decimal(scale);
                match precision {
                    Some(precision) => builder.parameter(PRECISION, precision.to_string()),
                    None => builder,
                }
            }
            Node::Message(id) | Node::Entry(id) => self.structure(id, unroll)?,
        })
    }

    fn scalar(&self, scalar: Scalar, schema_type: SchemaType, type_name: Option<&'static str>) -> SchemaBuilder {
        let mut builder = Schema::builder(schema_type);
        if let Some(type_name) = type_name {
            builder = if self.is_glue() {
                builder.parameter(glue::TYPE, type_name.to_ascii_uppercase())
            } else {
                builder.parameter(TYPE, type_name)
            };
        }
        match scalar {
            Scalar::Enum { id, .. } => self.enumeration(builder, self.plan.enumeration(id)),
            _ if scalar.is_unsigned() => builder.semantic(Semantic::Unsigned),
            _ => builder,
        }
    }

    fn enumeration(&self, mut builder: SchemaBuilder, declared: &Enum) -> SchemaBuilder {
        if declared.is_null {
            builder = builder.semantic(Semantic::Null);
        }
        if self.is_glue() {
            builder = builder.parameter(glue::TYPE, "enum");
            for (name, number) in &declared.declared {
                builder = builder.parameter(format!("{}{name}", glue::SYMBOL), number.to_string());
            }
            return builder.parameter(glue::ENUM, &*declared.name);
        }
        let key = if self.options.generalized {
            GENERALIZED_ENUM
        } else {
            ENUM
        };
        builder = builder.name(Arc::clone(&declared.name)).parameter(key, &*declared.name);
        for (name, number) in &declared.declared {
            builder = builder.parameter(format!("{key}.{name}"), number.to_string());
        }
        builder
    }
}
