//! The Connect schema of an Avro schema, as Confluent's converter makes it.
#![warn(clippy::indexing_slicing)]

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use klamm_connect_api::logical::{self, Logical};
use klamm_connect_api::{DataError, Map, Schema, SchemaBuilder, SchemaRef, SchemaType, Semantic, Struct, Unit, Value};
use tracing::warn;

use super::schema::{Field, Kind, Name, Type, TypeId, Types};
use crate::registry::unrolled;

const GENERALIZED_UNION: &str = "org.apache.kafka.connect.data.Union";
const GENERALIZED_ENUM: &str = "org.apache.kafka.connect.data.Enum";
const GENERALIZED_PREFIX: &str = "connect_union_";
const MAP_ENTRY: &str = "MapEntry";
const FIXED_SIZE: &str = "connect.fixed.size";
const PRECISION: &str = "connect.decimal.precision";
/// A precision that is not worth a parameter.
const PRECISION_DEFAULT: i64 = 64;
const DAY_MS: i64 = 86_400_000;
/// Types inside each other, at most: also through references.
pub(super) const MAX_DEPTH: usize = 300;

/// Whose `AvroData` a schema is made like. That of AWS's converters was split off from an older one of Confluent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Confluent,
    Glue,
}

impl Dialect {
    fn namespace(self) -> &'static str {
        match self {
            Self::Confluent => "io.confluent.connect.avro",
            Self::Glue => "com.amazonaws.services.schemaregistry.kafkaconnect.avrodata",
        }
    }

    fn in_namespace(self, name: &str) -> String {
        format!("{}.{name}", self.namespace())
    }

    /// The name that a type has in Connect. For AWS a fixed has none.
    fn name(self, kind: &Kind) -> Option<&Name> {
        match (self, kind) {
            (Self::Glue, Kind::Fixed { .. }) => None,
            _ => kind.name(),
        }
    }
}

/// The settings of Confluent's `AvroData` that matter when data is read.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "settings that are on or off, each on its own"
)]
pub(super) struct Options {
    pub(super) dialect: Dialect,
    pub(super) enhanced: bool,
    pub(super) meta_data: bool,
    pub(super) flatten_singletons: bool,
    pub(super) generalized: bool,
    pub(super) discard_type_doc_default: bool,
}

/// Where a record type refers to itself, its schema is unrolled: Connect schemas here are trees.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    types: &'a Types,
    options: &'a Options,
    order: &'a Order,
    /// What was built already, by type, whether it is optional, and how often it may still be unrolled.
    built: HashMap<(TypeId, bool, usize), SchemaRef>,
    depth: usize,
}

/// What the place of a type adds to it.
#[derive(Default, Clone, Copy)]
struct Place<'a> {
    optional: bool,
    default: Option<&'a Value>,
    doc: Option<&'a str>,
    version: Option<i32>,
    /// How often a record may still be unrolled below here.
    unroll: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(types: &'a Types, options: &'a Options, order: &'a Order) -> Self {
        Self {
            types,
            options,
            order,
            built: HashMap::new(),
            depth: 0,
        }
    }

    /// The schema of `root`. Records that refer to themselves are unrolled `unroll` times; what would be deeper is a
    /// struct without fields.
    ///
    /// # Errors
    /// If a type has no Connect schema, or they would be too many.
    pub(super) fn build(mut self, root: TypeId, version: Option<i32>, unroll: usize) -> Result<SchemaRef, DataError> {
        unrolled::check(self.order.inner_first.len(), unroll)?;
        for unroll in 0..=unroll {
            for id in &self.order.inner_first {
                for optional in [false, true] {
                    let place = Place {
                        optional,
                        unroll,
                        ..Place::default()
                    };
                    // What has no schema of its own is reported from where it stands.
                    if self.schema(*id, place).is_err() {
                        self.depth = 0;
                    }
                }
            }
        }
        let place = Place {
            version,
            unroll,
            ..Place::default()
        };
        self.schema(root, place)
    }

    fn schema(&mut self, id: TypeId, place: Place<'a>) -> Result<SchemaRef, DataError> {
        let is_plain = place.default.is_none() && place.doc.is_none() && place.version.is_none();
        let key = (id, place.optional, place.unroll);
        if is_plain && let Some(built) = self.built.get(&key) {
            return Ok(SchemaRef::clone(built));
        }
        if self.depth > MAX_DEPTH {
            return Err(DataError::data(format!(
                "the Avro schema is nested more than {MAX_DEPTH} levels deep"
            )));
        }
        self.depth += 1;
        let built = self.make(id, place)?;
        self.depth -= 1;
        if is_plain {
            self.built.insert(key, SchemaRef::clone(&built));
        }
        Ok(built)
    }

    fn make(&mut self, id: TypeId, mut place: Place<'a>) -> Result<SchemaRef, DataError> {
        let types = self.types;
        let avro = types.get(id);
        let below = Place {
            unroll: place.unroll,
            ..Place::default()
        };
        let builder = match &avro.kind {
            Kind::Array(items) => self.array(*items, below)?,
            Kind::Map(values) => self.map(*values, below)?,
            Kind::Record { name, fields } => {
                let has_room = if self.order.heads.contains(&id) {
                    let has_room = place.unroll > 0;
                    place.unroll = place.unroll.saturating_sub(1);
                    has_room
                } else {
                    true
                };
                let fields: &[Field] = if has_room { fields } else { &[] };
                self.record(avro, name, fields, place.unroll)?
            }
            Kind::Union(branches) => match simple_union(types, branches, self.options) {
                Some(SimpleUnion::Nullable(inner)) => {
                    let inner_place = Place {
                        optional: true,
                        doc: place.doc,
                        ..below
                    };
                    return self.schema(inner, inner_place);
                }
                Some(SimpleUnion::Single(inner)) => {
                    return self.schema(
                        inner,
                        Place {
                            doc: place.doc,
                            ..below
                        },
                    );
                }
                None => self.union(id, branches, below)?,
            },
            _ => self.scalar(avro)?,
        };
        self.finish(avro, builder, place)
    }

    fn array(&mut self, items: TypeId, below: Place<'a>) -> Result<SchemaBuilder, DataError> {
        Ok(match map_entry(self.types, items, self.options)? {
            Some((key, value)) => Schema::map(self.schema(key.type_id, below)?, self.schema(value.type_id, below)?),
            None => Schema::array(self.schema(items, below)?),
        })
    }

    fn map(&mut self, values: TypeId, below: Place<'a>) -> Result<SchemaBuilder, DataError> {
        Ok(Schema::map(Schema::string(), self.schema(values, below)?))
    }

    fn scalar(&self, avro: &Type) -> Result<SchemaBuilder, DataError> {
        Ok(match &avro.kind {
            Kind::Boolean => Schema::builder(SchemaType::Boolean),
            Kind::Float => Schema::builder(SchemaType::Float32),
            Kind::Double => Schema::builder(SchemaType::Float64),
            Kind::String => Schema::builder(SchemaType::String),
            Kind::Int => int(avro)?,
            Kind::Long if is_logical(avro, "timestamp-millis") => logical::timestamp(),
            Kind::Long => noted(Schema::builder(SchemaType::Int64), avro),
            Kind::Bytes => bytes(avro)?,
            Kind::Fixed { size, .. } => {
                let builder = noted(bytes(avro)?, avro);
                match self.options.dialect {
                    Dialect::Confluent => builder.parameter(FIXED_SIZE, size.to_string()),
                    Dialect::Glue => builder,
                }
            }
            Kind::Enum { name, symbols } => self.enumeration(avro, name, symbols),
            Kind::Null | Kind::Array(_) | Kind::Map(_) | Kind::Record { .. } | Kind::Union(_) => {
                return Err(DataError::data(
                    "a type null that is no part of a union has no Connect schema",
                ));
            }
        })
    }

    fn record(
        &mut self,
        avro: &Type,
        name: &Name,
        fields: &'a [Field],
        unroll: usize,
    ) -> Result<SchemaBuilder, DataError> {
        let mut builder = Schema::structure();
        let documents = self.options.meta_data && !self.options.discard_type_doc_default;
        if documents && let Some(doc) = avro.text("doc") {
            builder = builder.parameter(self.options.dialect.in_namespace("record.doc"), doc);
        }
        for field in fields {
            if documents && let Some(doc) = &field.doc {
                let key = self.options.dialect.in_namespace("field.doc.");
                builder = builder.parameter(format!("{key}{}", field.name), doc);
            }
            let place = Place {
                default: field.default.as_ref(),
                // Only looked at with this setting; without it equal types stay shared.
                doc: field.doc.as_deref().filter(|_| self.options.discard_type_doc_default),
                unroll,
                ..Place::default()
            };
            let schema = self
                .schema(field.type_id, place)
                .map_err(|error| error.at(&format!("record `{}`, field `{}`", name.full(), field.name)))?;
            builder = builder.field(field.name.as_str(), schema);
        }
        Ok(builder)
    }

    fn enumeration(&self, avro: &Type, name: &Name, symbols: &[String]) -> SchemaBuilder {
        let discards = self.options.discard_type_doc_default;
        let in_namespace = |name| self.options.dialect.in_namespace(name);
        let mut builder = Schema::builder(SchemaType::String);
        if self.options.meta_data {
            if let Some(doc) = avro.text("doc") {
                let key = if discards {
                    "connect.enum.doc".to_owned()
                } else {
                    format!("{}{}", in_namespace("enum.doc."), name.short)
                };
                builder = builder.parameter(key, doc);
            }
            if let Some(default) = avro.text("default").filter(|_| !discards) {
                builder = builder.parameter(format!("{}{}", in_namespace("enum.default."), name.short), default);
            }
        }
        let key = if self.options.generalized {
            GENERALIZED_ENUM.to_owned()
        } else {
            in_namespace("Enum")
        };
        builder = builder.parameter(key.as_str(), name.full());
        for (index, symbol) in symbols.iter().enumerate() {
            let value = if self.options.generalized {
                index.to_string()
            } else {
                symbol.clone()
            };
            builder = builder.parameter(format!("{key}.{symbol}"), value);
        }
        builder
    }

    fn union(&mut self, id: TypeId, branches: &'a [TypeId], below: Place<'a>) -> Result<SchemaBuilder, DataError> {
        let mut builder = Schema::structure();
        builder = if self.options.generalized {
            let number = self.order.unions.get(&id).copied().unwrap_or_default();
            let name = format!("{GENERALIZED_PREFIX}{number}");
            builder.parameter(GENERALIZED_UNION, name.as_str()).name(name)
        } else {
            builder.name(self.options.dialect.in_namespace("Union"))
        };
        let mut names = HashSet::new();
        for (index, branch) in branches.iter().enumerate() {
            let kind = &self.types.get(*branch).kind;
            if matches!(kind, Kind::Null) {
                builder = builder.optional();
                continue;
            }
            let name = branch_name(kind, index, self.options);
            if !names.insert(name.clone()) {
                return Err(DataError::data(format!(
                    "several branches of a union are the field `{name}` in Connect: set \
                     enhanced.avro.schema.support=true, which names them with their namespace"
                )));
            }
            let place = Place {
                optional: true,
                ..below
            };
            builder = builder.field(name, self.schema(*branch, place)?);
        }
        Ok(builder)
    }

    /// Adds what Connect's own attributes, the name and the place say.
    fn finish(&self, avro: &Type, mut builder: SchemaBuilder, place: Place<'_>) -> Result<SchemaRef, DataError> {
        let Options {
            meta_data,
            discard_type_doc_default: discards,
            ..
        } = *self.options;
        if discards {
            let type_doc = avro.text("doc").filter(|_| avro.kind.name().is_some());
            if let Some(doc) = place.doc.or(type_doc).or_else(|| avro.text("connect.doc")) {
                builder = builder.doc(doc);
            }
            if let Some(doc) = type_doc.filter(|_| meta_data) {
                builder = builder.parameter("connect.record.doc", doc);
            }
        } else if let Some(doc) = avro.text("connect.doc").filter(|_| meta_data) {
            builder = builder.doc(doc);
        }
        let plain = builder.clone().build()?;
        builder = version(avro, &plain, builder, place.version)?;
        match avro.attribute("connect.parameters").filter(|_| meta_data) {
            None => {}
            Some(Value::Map(parameters)) => {
                for (name, value) in parameters.iter() {
                    let Some((name, value)) = name.as_str().zip(value.as_str()) else {
                        return Err(DataError::data("a value in `connect.parameters` is not text"));
                    };
                    builder = builder.parameter(name, value);
                }
            }
            Some(_) => return Err(DataError::data("`connect.parameters` is no object")),
        }
        for (name, value) in avro.attributes().filter(|(name, _)| name.starts_with("avro")) {
            builder = builder.parameter(name, attribute_text(value));
        }
        builder = name(avro, &plain, builder, self.options.dialect)?;
        let connect_default = avro.attribute("connect.default");
        let default = place.default.or(connect_default);
        if place.default.is_some() && connect_default.is_none() && meta_data && !discards {
            builder = builder.parameter(self.options.dialect.in_namespace("field.default"), "true");
        }
        if place.optional {
            builder = builder.optional();
        }
        let schema = builder.build()?;
        let Some(default) = default else {
            return Ok(schema);
        };
        // A default that does not fit is left out, as in Confluent's converter.
        let with_default = Defaults(self)
            .value(avro, &schema, default)
            .and_then(|value| match value {
                Value::Null => Ok(SchemaRef::clone(&schema)),
                value => schema.to_builder().default_value(value).build(),
            });
        Ok(with_default.unwrap_or_else(|error| {
            warn!(%error, "a default of an Avro schema does not fit its type and is left out");
            schema
        }))
    }
}

fn version(
    avro: &Type,
    plain: &Schema,
    builder: SchemaBuilder,
    from_subject: Option<i32>,
) -> Result<SchemaBuilder, DataError> {
    let given = match avro.attribute("connect.version") {
        None => None,
        Some(Value::Int64(version)) => Some(i32::try_from(*version).unwrap_or(-1)),
        Some(_) => return Err(DataError::data("`connect.version` is not an integer")),
    };
    match (given.or(from_subject).filter(|version| *version >= 0), plain.version()) {
        (None, _) => Ok(builder),
        (Some(version), None) => Ok(builder.version(version)),
        // A logical type has a version of its own. That of the subject does not change it.
        (Some(version), Some(own)) if version == own || given.is_none() => Ok(builder),
        (Some(version), Some(own)) => Err(DataError::data(format!(
            "`connect.version` is {version}, and the logical type has version {own}"
        ))),
    }
}

fn name(avro: &Type, plain: &Schema, builder: SchemaBuilder, dialect: Dialect) -> Result<SchemaBuilder, DataError> {
    let given = match avro.attribute("connect.name") {
        None => None,
        Some(Value::String(name)) => Some(name.to_string()),
        Some(_) => return Err(DataError::data("`connect.name` is not text")),
    };
    let is_given = given.is_some();
    let name = given
        .or_else(|| dialect.name(&avro.kind).map(Name::full))
        // Records that stand for a struct without a name begin with it.
        .filter(|name| !name.starts_with(&dialect.in_namespace("ConnectDefault")));
    match (name, plain.name()) {
        (None, _) => Ok(builder),
        (Some(name), None) => Ok(builder.name(name)),
        // A decimal that is a fixed keeps the name of the logical type.
        (Some(name), Some(own)) if name == own || !is_given => Ok(builder),
        (Some(name), Some(own)) => Err(DataError::data(format!(
            "`connect.name` is {name}, and the logical type is {own}"
        ))),
    }
}

fn is_logical(avro: &Type, name: &str) -> bool {
    avro.text("logicalType")
        .is_some_and(|logical| logical.eq_ignore_ascii_case(name))
}

/// Notes what the values of a logical type stand for that is none in Connect.
fn noted(builder: SchemaBuilder, avro: &Type) -> SchemaBuilder {
    let name = avro.text("logicalType").unwrap_or_default().to_ascii_lowercase();
    let semantic = match (&avro.kind, name.as_str()) {
        (Kind::Long, "time-micros") => Semantic::Time(Unit::Micros),
        (Kind::Long, "timestamp-micros") => Semantic::Timestamp(Unit::Micros),
        (Kind::Long, "timestamp-nanos") => Semantic::Timestamp(Unit::Nanos),
        (Kind::Long, "local-timestamp-millis") => Semantic::LocalTimestamp(Unit::Millis),
        (Kind::Long, "local-timestamp-micros") => Semantic::LocalTimestamp(Unit::Micros),
        (Kind::Long, "local-timestamp-nanos") => Semantic::LocalTimestamp(Unit::Nanos),
        (Kind::Fixed { size: 16, .. }, "uuid") => Semantic::Uuid,
        (Kind::Fixed { size: 12, .. }, "duration") => Semantic::Duration,
        _ => return builder,
    };
    builder.semantic(semantic)
}

fn int(avro: &Type) -> Result<SchemaBuilder, DataError> {
    let schema_type = match (avro.text("logicalType"), avro.text("connect.type")) {
        (Some(logical), _) if logical.eq_ignore_ascii_case("date") => return Ok(logical::date()),
        (Some(logical), _) if logical.eq_ignore_ascii_case("time-millis") => return Ok(logical::time()),
        (Some(_), _) | (None, None) => SchemaType::Int32,
        (None, Some("int8")) => SchemaType::Int8,
        (None, Some("int16")) => SchemaType::Int16,
        (None, Some(_)) => {
            return Err(DataError::data(
                "`connect.type` of an Avro int is neither int8 nor int16",
            ));
        }
    };
    Ok(Schema::builder(schema_type))
}

fn bytes(avro: &Type) -> Result<SchemaBuilder, DataError> {
    if !is_logical(avro, "decimal") {
        return Ok(Schema::builder(SchemaType::Bytes));
    }
    let scale = match avro.attribute("scale") {
        Some(Value::Int64(scale)) => i32::try_from(*scale).unwrap_or_default(),
        _ => 0,
    };
    let builder = logical::decimal(scale);
    match avro.attribute("precision") {
        None | Some(Value::Int64(PRECISION_DEFAULT)) => Ok(builder),
        Some(Value::Int64(precision)) => Ok(builder.parameter(PRECISION, precision.to_string())),
        Some(_) => Err(DataError::data("the `precision` of an Avro decimal is not an integer")),
    }
}

fn attribute_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        other => {
            let mut json = Vec::new();
            let written = klamm_connect_api::json::write(
                &klamm_connect_api::SchemaAndValue::schemaless(other.clone()),
                klamm_connect_api::Rendering::Connect,
                &mut json,
            );
            written
                .ok()
                .and_then(|()| String::from_utf8(json).ok())
                .unwrap_or_default()
        }
    }
}

/// A union that is no struct in Connect.
pub(super) enum SimpleUnion {
    /// Null and one other type.
    Nullable(TypeId),
    /// One type only.
    Single(TypeId),
}

pub(super) fn simple_union(types: &Types, branches: &[TypeId], options: &Options) -> Option<SimpleUnion> {
    let is_null = |id: &TypeId| matches!(types.get(*id).kind, Kind::Null);
    match branches {
        [one] if options.flatten_singletons => Some(SimpleUnion::Single(*one)),
        [null, other] | [other, null] if is_null(null) && !is_null(other) => Some(SimpleUnion::Nullable(*other)),
        _ => None,
    }
}

/// The field of a union's struct that a branch is.
fn branch_name(kind: &Kind, index: usize, options: &Options) -> String {
    match options.dialect.name(kind) {
        _ if options.generalized => format!("{GENERALIZED_PREFIX}field_{index}"),
        Some(name) if options.enhanced => name.full(),
        Some(name) => name.short.clone(),
        None => kind.word().to_owned(),
    }
}

/// Key and value of the record that stands for the entry of a map whose keys are not strings.
pub(super) fn map_entry<'a>(
    types: &'a Types,
    items: TypeId,
    options: &Options,
) -> Result<Option<(&'a Field, &'a Field)>, DataError> {
    let avro = types.get(items);
    let Kind::Record { name, fields } = &avro.kind else {
        return Ok(None);
    };
    let is_entry = (name.namespace == options.dialect.namespace() && name.short == MAP_ENTRY)
        || avro.text("connect.internal.type") == Some(MAP_ENTRY);
    if !is_entry {
        return Ok(None);
    }
    match fields.as_slice() {
        [key, value] if key.name == "key" && value.name == "value" => Ok(Some((key, value))),
        _ => Err(DataError::data(format!(
            "the Avro type `{}` stands for the entry of a map and has other fields than `key` and `value`",
            name.full()
        ))),
    }
}

/// The types of a schema in an order in which they can be worked out without going deep.
#[derive(Debug)]
pub(super) struct Order {
    /// Each type after those that it holds, as far as it does not hold itself.
    inner_first: Vec<TypeId>,
    /// Records in which a way through the schema comes back to where it was: at least one for each circle.
    pub(super) heads: HashSet<TypeId>,
    /// Unions, numbered in the order in which they are written.
    unions: HashMap<TypeId, usize>,
}

impl Order {
    pub(super) fn of(types: &Types, root: TypeId) -> Self {
        let mut order = Self {
            inner_first: Vec::new(),
            heads: HashSet::new(),
            unions: HashMap::new(),
        };
        // Whether what a type holds has been gone through.
        let mut is_done = HashMap::new();
        // What is left to do: enter a type, or leave it.
        let mut stack = vec![(root, true)];
        while let Some((id, enters)) = stack.pop() {
            if !enters {
                is_done.insert(id, true);
                order.inner_first.push(id);
                continue;
            }
            match is_done.get(&id) {
                Some(true) => continue,
                Some(false) => {
                    order.heads.insert(id);
                    continue;
                }
                None => {}
            }
            is_done.insert(id, false);
            stack.push((id, false));
            match &types.get(id).kind {
                Kind::Array(of) | Kind::Map(of) => stack.push((*of, true)),
                Kind::Record { fields, .. } => stack.extend(fields.iter().rev().map(|field| (field.type_id, true))),
                Kind::Union(branches) => {
                    order.unions.insert(id, order.unions.len());
                    stack.extend(branches.iter().rev().map(|branch| (*branch, true)));
                }
                _ => {}
            }
        }
        order
    }
}

/// Defaults as the schema writes them.
struct Defaults<'b, 'a>(&'b Builder<'a>);

impl Defaults<'_, '_> {
    fn value(&self, avro: &Type, schema: &SchemaRef, json: &Value) -> Result<Value, DataError> {
        let types = self.0.types;
        let plain = self.without_logical(types, avro, schema, json)?;
        let converted = match (Logical::of(schema), plain) {
            (None, plain) => plain,
            (Some(Logical::Decimal), Value::Bytes(bytes)) => super::read::decimal(schema, &bytes)?,
            (Some(Logical::Date), Value::Int32(days)) => Value::Instant(i64::from(days) * DAY_MS),
            (Some(Logical::Time), Value::Int32(ms)) => Value::Instant(i64::from(ms)),
            (Some(Logical::Timestamp), Value::Int64(ms)) => Value::Instant(ms),
            (Some(_), other) => other,
        };
        Ok(converted)
    }

    fn without_logical(
        &self,
        types: &Types,
        avro: &Type,
        schema: &SchemaRef,
        json: &Value,
    ) -> Result<Value, DataError> {
        let unfit = || {
            DataError::data(format!(
                "{} as the default of an Avro {}",
                json.type_name(),
                avro.kind.word()
            ))
        };
        #[expect(clippy::cast_precision_loss, reason = "a default of a floating-point type")]
        let float = || match json {
            Value::Int64(number) => Ok(*number as f64),
            Value::Float64(number) => Ok(*number),
            Value::String(text) => match &**text {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                _ => Err(unfit()),
            },
            _ => Err(unfit()),
        };
        match (&avro.kind, json) {
            (Kind::Null, Value::Null) => Ok(Value::Null),
            (Kind::Boolean, Value::Boolean(value)) => Ok(Value::Boolean(*value)),
            (Kind::Int, Value::Int64(number)) => super::read::int(schema.schema_type(), *number),
            (Kind::Long, Value::Int64(number)) => Ok(Value::Int64(*number)),
            #[expect(clippy::cast_possible_truncation, reason = "rounded to the type's width")]
            (Kind::Float, _) => Ok(Value::Float32(float()? as f32)),
            (Kind::Double, _) => Ok(Value::Float64(float()?)),
            (Kind::String | Kind::Enum { .. }, Value::String(_)) => Ok(json.clone()),
            // Each character stands for the byte of its number.
            (Kind::Bytes | Kind::Fixed { .. }, Value::String(text)) => text
                .chars()
                .map(|char| u8::try_from(char).map_err(|_| unfit()))
                .collect::<Result<Vec<u8>, _>>()
                .map(|bytes| Value::Bytes(Bytes::from(bytes))),
            (Kind::Array(items), Value::Array(values)) => {
                let of = schema.value_schema().ok_or_else(unfit)?;
                let items = types.get(*items);
                let values = values.iter().map(|value| self.value(items, of, value));
                Ok(Value::Array(values.collect::<Result<_, _>>()?))
            }
            (Kind::Map(values), Value::Map(entries)) => {
                let of = schema.value_schema().ok_or_else(unfit)?;
                let values = types.get(*values);
                let entries = entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), self.value(values, of, value)?)));
                Ok(Value::Map(entries.collect::<Result<Map, DataError>>()?))
            }
            (Kind::Record { fields, .. }, Value::Map(members)) => {
                let mut data = Struct::try_new(SchemaRef::clone(schema))?;
                for (index, (field, connect)) in fields.iter().zip(schema.fields()).enumerate() {
                    let Some(json) = members.get(&field.name).or(field.default.as_ref()) else {
                        continue;
                    };
                    let value = self.value(types.get(field.type_id), &connect.schema, json)?;
                    data.set_unchecked(index, value);
                }
                Ok(Value::Struct(Box::new(data)))
            }
            (Kind::Union(branches), _) => {
                // A default is of the first branch.
                let Some(first) = branches.first().map(|id| types.get(*id)) else {
                    return Err(unfit());
                };
                if json.is_null() || matches!(first.kind, Kind::Null) {
                    return Ok(Value::Null);
                }
                match simple_union(types, branches, self.0.options) {
                    Some(_) => self.value(first, schema, json),
                    None => {
                        let field = schema.fields().first().ok_or_else(unfit)?;
                        let mut data = Struct::try_new(SchemaRef::clone(schema))?;
                        data.set_unchecked(0, self.value(first, &field.schema, json)?);
                        Ok(Value::Struct(Box::new(data)))
                    }
                }
            }
            _ => Err(unfit()),
        }
    }
}
