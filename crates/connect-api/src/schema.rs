use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::{DataError, DataErrorKind};
use crate::semantic::Semantic;
use crate::value::Value;

/// A shared schema. Compare with [`Schema::same`], which tests the pointer first.
pub type SchemaRef = Arc<Schema>;

/// The types of Connect's data model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemaType {
    /// 8-bit signed integer
    Int8,
    /// 16-bit signed integer
    Int16,
    /// 32-bit signed integer
    Int32,
    /// 64-bit signed integer
    Int64,
    /// IEEE 754 single
    Float32,
    /// IEEE 754 double
    Float64,
    /// true or false
    Boolean,
    /// UTF-8 text
    String,
    /// raw bytes
    Bytes,
    /// list of one element type
    Array,
    /// map with one key type and one value type
    Map,
    /// named fields in order
    Struct,
}

impl SchemaType {
    /// Connect's lower-case name, as it stands in the JSON form of a schema (`float` types excepted) and in `Cast`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Array => "array",
            Self::Map => "map",
            Self::Struct => "struct",
        }
    }

    /// Whether the type has no schemas inside it.
    #[must_use]
    pub fn is_primitive(self) -> bool {
        !matches!(self, Self::Array | Self::Map | Self::Struct)
    }
}

impl fmt::Display for SchemaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A named member of a struct schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Name, unique in its struct.
    pub name: Arc<str>,
    /// Type of the field's values.
    pub schema: SchemaRef,
}

/// Describes values: type, whether null is allowed, default, and descriptive attributes.
///
/// Equality is deep over all attributes that Connect knows: [`Schema::semantic`] does not count.
#[derive(Clone, PartialEq)]
pub struct Schema {
    schema_type: SchemaType,
    optional: bool,
    default: Option<Value>,
    name: Option<Arc<str>>,
    version: Option<i32>,
    doc: Option<Arc<str>>,
    parameters: IndexMap<String, String>,
    inner: Inner,
    semantic: Uncompared,
}

/// A semantic, equal to any other: it does not make a schema another one.
#[derive(Clone, Copy)]
struct Uncompared(Option<Semantic>);

impl PartialEq for Uncompared {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Clone, PartialEq)]
enum Inner {
    Primitive,
    /// Without an element schema the elements are schemaless.
    Array(Option<SchemaRef>),
    /// As arrays, for keys and values.
    Map {
        keys: Option<SchemaRef>,
        values: Option<SchemaRef>,
    },
    Struct {
        fields: Vec<Field>,
        index: HashMap<Arc<str>, usize>,
    },
}

impl Schema {
    /// Starts a schema of a primitive type, or of a struct whose fields follow.
    ///
    /// Arrays and maps start with [`Schema::array`] and [`Schema::map`], which name their element types.
    #[must_use]
    pub fn builder(schema_type: SchemaType) -> SchemaBuilder {
        let inner = match schema_type {
            SchemaType::Struct => Inner::Struct {
                fields: Vec::new(),
                index: HashMap::new(),
            },
            _ => Inner::Primitive,
        };
        SchemaBuilder::new(schema_type, inner)
    }

    /// Starts a struct schema.
    #[must_use]
    pub fn structure() -> SchemaBuilder {
        Self::builder(SchemaType::Struct)
    }

    /// Starts an array schema.
    #[must_use]
    pub fn array(items: SchemaRef) -> SchemaBuilder {
        Self::array_of(Some(items))
    }

    /// Starts an array schema; without an element schema its elements are schemaless, as in a header `[1,"a"]`.
    #[must_use]
    pub fn array_of(items: Option<SchemaRef>) -> SchemaBuilder {
        SchemaBuilder::new(SchemaType::Array, Inner::Array(items))
    }

    /// Starts a map schema.
    #[must_use]
    pub fn map(keys: SchemaRef, values: SchemaRef) -> SchemaBuilder {
        Self::map_of(Some(keys), Some(values))
    }

    /// Starts a map schema; keys and values without a schema are schemaless, as in a header `{}`.
    #[must_use]
    pub fn map_of(keys: Option<SchemaRef>, values: Option<SchemaRef>) -> SchemaBuilder {
        SchemaBuilder::new(SchemaType::Map, Inner::Map { keys, values })
    }

    /// The type.
    #[must_use]
    pub fn schema_type(&self) -> SchemaType {
        self.schema_type
    }

    /// Whether null is a valid value.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.optional
    }

    /// The value that stands in for null.
    #[must_use]
    pub fn default(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// The name; for some names a [logical type](crate::logical).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> Option<i32> {
        self.version
    }

    /// The documentation.
    #[must_use]
    pub fn doc(&self) -> Option<&str> {
        self.doc.as_deref()
    }

    /// The parameters, in the order they were given.
    #[must_use]
    pub fn parameters(&self) -> &IndexMap<String, String> {
        &self.parameters
    }

    /// What values stand for where no logical type of Connect says it, as noted by the reader of their format.
    #[must_use]
    pub fn semantic(&self) -> Option<Semantic> {
        self.semantic.0
    }

    /// The fields of a struct, in order; empty for other types.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match &self.inner {
            Inner::Struct { fields, .. } => fields,
            Inner::Primitive | Inner::Array(_) | Inner::Map { .. } => &[],
        }
    }

    /// Position of the field `name` in [`Schema::fields`].
    #[must_use]
    pub fn field_index(&self, name: &str) -> Option<usize> {
        match &self.inner {
            Inner::Struct { index, .. } => index.get(name).copied(),
            Inner::Primitive | Inner::Array(_) | Inner::Map { .. } => None,
        }
    }

    /// The field `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.field_index(name).and_then(|i| self.fields().get(i))
    }

    /// Element type of an array, value type of a map.
    #[must_use]
    pub fn value_schema(&self) -> Option<&SchemaRef> {
        match &self.inner {
            Inner::Array(items) => items.as_ref(),
            Inner::Map { values, .. } => values.as_ref(),
            Inner::Primitive | Inner::Struct { .. } => None,
        }
    }

    /// Key type of a map.
    #[must_use]
    pub fn key_schema(&self) -> Option<&SchemaRef> {
        match &self.inner {
            Inner::Map { keys, .. } => keys.as_ref(),
            Inner::Primitive | Inner::Array(_) | Inner::Struct { .. } => None,
        }
    }

    /// Deep equality that tests the pointer first.
    #[must_use]
    pub fn same(a: &SchemaRef, b: &SchemaRef) -> bool {
        Arc::ptr_eq(a, b) || a == b
    }

    /// Whether a struct that is bound to `bound` is a value of this schema. A default struct is bound to its own schema
    /// without the default, so that attribute does not count.
    #[must_use]
    pub fn accepts_struct_of(&self, bound: &Self) -> bool {
        std::ptr::eq(self, bound)
            || (self.schema_type == bound.schema_type
                && self.inner == bound.inner
                && self.optional == bound.optional
                && self.name == bound.name
                && self.version == bound.version
                && self.doc == bound.doc
                && self.parameters == bound.parameters)
    }

    /// A builder that starts with this schema's type, element types and fields, and all its attributes.
    #[must_use]
    pub fn to_builder(&self) -> SchemaBuilder {
        SchemaBuilder {
            schema: self.clone(),
            error: None,
        }
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Schema");
        out.field("type", &self.schema_type);
        if self.optional {
            out.field("optional", &true);
        }
        if let Some(default) = &self.default {
            out.field("default", default);
        }
        if let Some(name) = &self.name {
            out.field("name", name);
        }
        if let Some(version) = &self.version {
            out.field("version", version);
        }
        if let Some(doc) = &self.doc {
            out.field("doc", doc);
        }
        if !self.parameters.is_empty() {
            out.field("parameters", &self.parameters);
        }
        match &self.inner {
            Inner::Primitive => {}
            Inner::Array(items) => {
                out.field("items", items);
            }
            Inner::Map { keys, values } => {
                out.field("keys", keys).field("values", values);
            }
            Inner::Struct { fields, .. } => {
                out.field("fields", fields);
            }
        }
        out.finish()
    }
}

/// Collects the attributes of a [`Schema`]; the first mistake is reported by [`SchemaBuilder::build`].
#[derive(Debug, Clone)]
pub struct SchemaBuilder {
    schema: Schema,
    error: Option<DataError>,
}

impl SchemaBuilder {
    fn new(schema_type: SchemaType, inner: Inner) -> Self {
        let schema = Schema {
            schema_type,
            optional: false,
            default: None,
            name: None,
            version: None,
            doc: None,
            parameters: IndexMap::new(),
            inner,
            semantic: Uncompared(None),
        };
        Self { schema, error: None }
    }

    /// Allows null.
    #[must_use]
    pub fn optional(self) -> Self {
        self.with_optional(true)
    }

    /// Allows null or not.
    #[must_use]
    pub fn with_optional(mut self, optional: bool) -> Self {
        self.schema.optional = optional;
        self
    }

    /// The value that stands in for null. It is checked against the finished schema by [`SchemaBuilder::build`].
    #[must_use]
    pub fn default_value(mut self, value: Value) -> Self {
        self.schema.default = Some(value);
        self
    }

    /// Removes the default.
    #[must_use]
    pub fn without_default(mut self) -> Self {
        self.schema.default = None;
        self
    }

    /// Names the schema.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.schema.name = Some(name.into());
        self
    }

    /// Sets the version.
    #[must_use]
    pub fn version(mut self, version: i32) -> Self {
        self.schema.version = Some(version);
        self
    }

    /// Sets the documentation.
    #[must_use]
    pub fn doc(mut self, doc: impl Into<Arc<str>>) -> Self {
        self.schema.doc = Some(doc.into());
        self
    }

    /// Adds or replaces a parameter.
    #[must_use]
    pub fn parameter(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.schema.parameters.insert(key.into(), value.into());
        self
    }

    /// Notes what values stand for. Connect has no place for it: it stays with the schema through transforms that keep
    /// it, and shows in the natural rendering alone.
    #[must_use]
    pub fn semantic(mut self, semantic: Semantic) -> Self {
        self.schema.semantic = Uncompared(Some(semantic));
        self
    }

    /// Takes name, version, doc and parameters from `source`, and neither optional nor default: what nearly every
    /// struct-rewriting transform of Connect copies. A struct made so stands for itself: a transform may give it fields
    /// that no union has.
    #[must_use]
    pub fn basics_of(mut self, source: &Schema) -> Self {
        self.schema.name.clone_from(&source.name);
        self.schema.version = source.version;
        self.schema.doc.clone_from(&source.doc);
        self.schema.parameters.clone_from(&source.parameters);
        if self.schema.schema_type() == SchemaType::Struct {
            self.schema.semantic = Uncompared(Some(Semantic::Rewritten));
        }
        self
    }

    /// Adds a field to a struct.
    #[must_use]
    pub fn field(mut self, name: impl Into<Arc<str>>, schema: SchemaRef) -> Self {
        let name = name.into();
        let problem = match &mut self.schema.inner {
            Inner::Struct { fields, index } => {
                if name.is_empty() {
                    Some("a field name may not be empty".to_owned())
                } else if index.contains_key(&name) {
                    Some(format!("the struct already has a field `{name}`"))
                } else {
                    index.insert(Arc::clone(&name), fields.len());
                    fields.push(Field { name, schema });
                    None
                }
            }
            Inner::Primitive | Inner::Array(_) | Inner::Map { .. } => Some(format!(
                "a schema of type {} has no field `{name}`",
                self.schema.schema_type
            )),
        };
        if let Some(message) = problem {
            self.error
                .get_or_insert(DataError::new(DataErrorKind::SchemaBuilder, message));
        }
        self
    }

    /// The finished schema.
    ///
    /// # Errors
    /// The first mistake made while building: an empty or repeated field name, a field on another type than a
    /// struct, an array or map without element types, or a default that does not fit
    /// ([`DataErrorKind::SchemaBuilder`]).
    pub fn build(self) -> Result<SchemaRef, DataError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let schema = self.schema;
        let needs_elements = matches!(schema.schema_type, SchemaType::Array | SchemaType::Map);
        if needs_elements && matches!(schema.inner, Inner::Primitive) {
            let message = format!("a schema of type {} needs its element schemas", schema.schema_type);
            return Err(DataError::new(DataErrorKind::SchemaBuilder, message));
        }
        if let Some(default) = &schema.default {
            default.validate(&schema).map_err(|error| {
                DataError::new(DataErrorKind::SchemaBuilder, format!("invalid default value: {error}"))
            })?;
        }
        Ok(Arc::new(schema))
    }
}

macro_rules! primitives {
    ($($(#[$doc:meta])* $required:ident, $optional:ident => $schema_type:ident;)*) => {
        /// Shared schemas of the primitive types without attributes.
        impl Schema {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $required() -> SchemaRef {
                    static SCHEMA: std::sync::OnceLock<SchemaRef> = std::sync::OnceLock::new();
                    Arc::clone(SCHEMA.get_or_init(|| Arc::new(Self::builder(SchemaType::$schema_type).schema)))
                }

                $(#[$doc])*
                /// Null is allowed.
                #[must_use]
                pub fn $optional() -> SchemaRef {
                    static SCHEMA: std::sync::OnceLock<SchemaRef> = std::sync::OnceLock::new();
                    Arc::clone(SCHEMA.get_or_init(|| Arc::new(Self::builder(SchemaType::$schema_type).optional().schema)))
                }
            )*
        }
    };
}

primitives! {
    /// The plain INT8 schema.
    int8, optional_int8 => Int8;
    /// The plain INT16 schema.
    int16, optional_int16 => Int16;
    /// The plain INT32 schema.
    int32, optional_int32 => Int32;
    /// The plain INT64 schema.
    int64, optional_int64 => Int64;
    /// The plain FLOAT32 schema.
    float32, optional_float32 => Float32;
    /// The plain FLOAT64 schema.
    float64, optional_float64 => Float64;
    /// The plain BOOLEAN schema.
    boolean, optional_boolean => Boolean;
    /// The plain STRING schema.
    string, optional_string => String;
    /// The plain BYTES schema.
    bytes, optional_bytes => Bytes;
}
