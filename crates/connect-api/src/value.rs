use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bigdecimal::BigDecimal;
use bytes::Bytes;
use smol_str::SmolStr;

use crate::error::DataError;
use crate::logical::Logical;
use crate::map::Map;
use crate::schema::{Schema, SchemaRef, SchemaType};

/// A value of Connect's data model, with or without a schema beside it.
///
/// Equality and hashing follow Java's: floats by their bits (so 0 differs from -0), all NaN alike, decimals with their
/// scale.
#[derive(Debug, Clone)]
pub enum Value {
    /// No value.
    Null,
    /// BOOLEAN
    Boolean(bool),
    /// INT8
    Int8(i8),
    /// INT16
    Int16(i16),
    /// INT32
    Int32(i32),
    /// INT64
    Int64(i64),
    /// FLOAT32
    Float32(f32),
    /// FLOAT64
    Float64(f64),
    /// STRING; a short one is held in place, a long one is shared.
    String(SmolStr),
    /// BYTES
    Bytes(Bytes),
    /// The value of a Decimal schema, scale kept.
    Decimal(Box<BigDecimal>),
    /// The value of a Date, Time or Timestamp schema: milliseconds since the epoch. Connect holds all three in one
    /// class, so without a schema they cannot be told apart.
    Instant(i64),
    /// ARRAY
    Array(Vec<Self>),
    /// MAP, and the object of schemaless data.
    Map(Map),
    /// STRUCT, bound to its schema.
    Struct(Box<Struct>),
}

/// The value of a struct schema: one slot per field. A slot that was never set is [`Value::Null`].
#[derive(Debug, Clone)]
pub struct Struct {
    schema: SchemaRef,
    values: Vec<Value>,
}

impl Struct {
    /// An empty struct of `schema`.
    ///
    /// # Errors
    /// If `schema` is not of type STRUCT.
    pub fn try_new(schema: SchemaRef) -> Result<Self, DataError> {
        if schema.schema_type() != SchemaType::Struct {
            return Err(DataError::data(format!(
                "not a struct schema: {}",
                schema.schema_type()
            )));
        }
        let values = vec![Value::Null; schema.fields().len()];
        Ok(Self { schema, values })
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Sets a field after checking the value against the field's schema. Null needs an optional field: a default
    /// alone does not allow it, as in Connect.
    ///
    /// # Errors
    /// If there is no such field, or the value does not fit it.
    pub fn put(&mut self, name: &str, value: Value) -> Result<(), DataError> {
        let Some(index) = self.schema.field_index(name) else {
            return Err(DataError::data(format!("`{name}` is not a field of the schema")));
        };
        let field_schema = &self.schema.fields()[index].schema;
        match (&value, field_schema.is_optional()) {
            (Value::Null, true) => {}
            (Value::Null, false) => {
                return Err(DataError::data(format!(
                    "field `{name}` is required and may not be null"
                )));
            }
            _ => value
                .validate(field_schema)
                .map_err(|e| e.at(&format!("field `{name}`")))?,
        }
        self.values[index] = value;
        Ok(())
    }

    /// Sets the field at `index` without a check, for readers that built the value from the field's own schema.
    /// An index out of range is ignored.
    pub fn set_unchecked(&mut self, index: usize, value: Value) {
        if let Some(slot) = self.values.get_mut(index) {
            *slot = value;
        }
    }

    /// The stored value of a field, its default not substituted.
    #[must_use]
    pub fn get_without_default(&self, name: &str) -> Option<&Value> {
        self.schema.field_index(name).map(|index| &self.values[index])
    }

    /// The value of a field; its default if the stored value is null and there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let index = self.schema.field_index(name)?;
        match &self.values[index] {
            Value::Null => Some(self.schema.fields()[index].schema.default().unwrap_or(&Value::Null)),
            value => Some(value),
        }
    }

    /// The stored values in field order.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Checks every field: null needs optional or a default.
    ///
    /// # Errors
    /// The first field that does not fit, with its name.
    pub fn validate(&self) -> Result<(), DataError> {
        for (field, value) in self.schema.fields().iter().zip(&self.values) {
            let allowed = field.schema.is_optional() || field.schema.default().is_some();
            if matches!(value, Value::Null) && allowed {
                continue;
            }
            value
                .validate(&field.schema)
                .map_err(|e| e.at(&format!("field `{}`", field.name)))?;
        }
        Ok(())
    }
}

impl PartialEq for Struct {
    fn eq(&self, other: &Self) -> bool {
        Schema::same(&self.schema, &other.schema) && self.values == other.values
    }
}

impl Value {
    /// A word for the kind of value, for error texts.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "boolean",
            Self::Int8(_) => "int8",
            Self::Int16(_) => "int16",
            Self::Int32(_) => "int32",
            Self::Int64(_) => "int64",
            Self::Float32(_) => "float32",
            Self::Float64(_) => "float64",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Decimal(_) => "decimal",
            Self::Instant(_) => "instant",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Struct(_) => "struct",
        }
    }

    /// Whether this is [`Value::Null`].
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a STRING.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Checks the value against a schema the way Connect's `ConnectSchema.validateValue` does: the logical type's
    /// class by schema name first, then the base type; null only if the schema is optional; no widening.
    ///
    /// # Errors
    /// What does not fit, with the field path.
    pub fn validate(&self, schema: &Schema) -> Result<(), DataError> {
        let fits = match (self, Logical::of(schema)) {
            (Self::Null, _) => {
                return if schema.is_optional() {
                    Ok(())
                } else {
                    Err(DataError::data(format!("null for a required {}", described(schema))))
                };
            }
            (Self::Decimal(_), logical) => logical == Some(Logical::Decimal),
            (Self::Instant(_), logical) => !matches!(logical, None | Some(Logical::Decimal)),
            (_, Some(_)) => false,
            (_, None) => return self.validate_base(schema),
        };
        if fits { Ok(()) } else { Err(self.mismatch(schema)) }
    }

    fn validate_base(&self, schema: &Schema) -> Result<(), DataError> {
        match (self, schema.schema_type()) {
            (Self::Boolean(_), SchemaType::Boolean)
            | (Self::Int8(_), SchemaType::Int8)
            | (Self::Int16(_), SchemaType::Int16)
            | (Self::Int32(_), SchemaType::Int32)
            | (Self::Int64(_), SchemaType::Int64)
            | (Self::Float32(_), SchemaType::Float32)
            | (Self::Float64(_), SchemaType::Float64)
            | (Self::String(_), SchemaType::String)
            | (Self::Bytes(_), SchemaType::Bytes) => Ok(()),
            (Self::Array(items), SchemaType::Array) => {
                let Some(of) = schema.value_schema() else {
                    return Ok(());
                };
                items
                    .iter()
                    .try_for_each(|item| item.validate(of))
                    .map_err(|e| e.at("array element"))
            }
            (Self::Map(map), SchemaType::Map) => map.iter().try_for_each(|(key, value)| {
                schema
                    .key_schema()
                    .map_or(Ok(()), |of| key.validate(of))
                    .map_err(|e| e.at("map key"))?;
                schema
                    .value_schema()
                    .map_or(Ok(()), |of| value.validate(of))
                    .map_err(|e| e.at("map value"))
            }),
            (Self::Struct(data), SchemaType::Struct) => {
                if !schema.accepts_struct_of(data.schema()) {
                    return Err(DataError::data(
                        "the struct's schema differs from the one declared here",
                    ));
                }
                data.validate()
            }
            _ => Err(self.mismatch(schema)),
        }
    }

    fn mismatch(&self, schema: &Schema) -> DataError {
        DataError::data(format!("{} where {} is declared", self.type_name(), described(schema)))
    }
}

fn described(schema: &Schema) -> String {
    match schema.name() {
        Some(name) => format!("{} ({name})", schema.schema_type()),
        None => schema.schema_type().to_string(),
    }
}

/// Java's `Float.floatToIntBits`.
fn float_bits(number: f32) -> u32 {
    if number.is_nan() { f32::NAN } else { number }.to_bits()
}

/// Java's `Double.doubleToLongBits`.
fn double_bits(number: f64) -> u64 {
    if number.is_nan() { f64::NAN } else { number }.to_bits()
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::Int8(a), Self::Int8(b)) => a == b,
            (Self::Int16(a), Self::Int16(b)) => a == b,
            (Self::Int32(a), Self::Int32(b)) => a == b,
            (Self::Int64(a), Self::Int64(b)) | (Self::Instant(a), Self::Instant(b)) => a == b,
            (Self::Float32(a), Self::Float32(b)) => float_bits(*a) == float_bits(*b),
            (Self::Float64(a), Self::Float64(b)) => double_bits(*a) == double_bits(*b),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Decimal(a), Self::Decimal(b)) => a.as_bigint_and_exponent() == b.as_bigint_and_exponent(),
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Struct(a), Self::Struct(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

/// Goes into the hash of a STRING before its text, so that one can be looked for by the text alone.
pub(crate) const STRING_TAG: u8 = 0xff;

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::String(_) => STRING_TAG.hash(state),
            other => std::mem::discriminant(other).hash(state),
        }
        match self {
            Self::Null => {}
            Self::Boolean(v) => v.hash(state),
            Self::Int8(v) => v.hash(state),
            Self::Int16(v) => v.hash(state),
            Self::Int32(v) => v.hash(state),
            Self::Int64(v) | Self::Instant(v) => v.hash(state),
            Self::Float32(v) => float_bits(*v).hash(state),
            Self::Float64(v) => double_bits(*v).hash(state),
            Self::String(v) => v.hash(state),
            Self::Bytes(v) => v.hash(state),
            Self::Decimal(v) => v.as_bigint_and_exponent().hash(state),
            Self::Array(v) => v.hash(state),
            Self::Map(v) => v.hash(state),
            Self::Struct(v) => v.values.hash(state),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(SmolStr::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(SmolStr::from(text))
    }
}

impl From<&Arc<str>> for Value {
    fn from(text: &Arc<str>) -> Self {
        Self::String(SmolStr::from(Arc::clone(text)))
    }
}

impl From<SmolStr> for Value {
    fn from(text: SmolStr) -> Self {
        Self::String(text)
    }
}
