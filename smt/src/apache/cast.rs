//! `Cast`: turns fields, or a whole key or value, into another primitive type.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_connect_api::config::Validator;
use klamm_connect_api::logical::Logical;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, Schema,
    SchemaRef, SchemaType, Transform, Value,
};
use klamm_java_compat::{instant_to_string, number};

use crate::field_path::FieldSyntax;
use crate::fields::{FieldTree, Keep, Missing, Plan};
use crate::part::{Nulls, Part, PartTransform, non_empty_list};
use crate::schema_cache::SchemaCache;

const SPEC: &str = "spec";
const DAY_MS: i64 = 86_400_000;

/// A type that can be cast to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    String,
}

impl Target {
    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name.trim().to_ascii_lowercase().as_str() {
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "float32" => Self::Float32,
            "float64" => Self::Float64,
            "boolean" => Self::Boolean,
            "string" => Self::String,
            other => {
                return Err(format!(
                    "cannot cast to `{other}`: there are int8, int16, int32, int64, float32, float64, boolean and \
                     string"
                ));
            }
        })
    }

    fn schema_type(self) -> SchemaType {
        match self {
            Self::Int8 => SchemaType::Int8,
            Self::Int16 => SchemaType::Int16,
            Self::Int32 => SchemaType::Int32,
            Self::Int64 => SchemaType::Int64,
            Self::Float32 => SchemaType::Float32,
            Self::Float64 => SchemaType::Float64,
            Self::Boolean => SchemaType::Boolean,
            Self::String => SchemaType::String,
        }
    }
}

/// `field:type`, or a type for the whole value. Java splits at `:` and forgets empty parts at the end.
fn mapping(text: &str) -> Result<(Option<&str>, Target), String> {
    let mut parts = text.trim_end_matches(':').split(':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(target), None) => Ok((Some(name.trim()), Target::parse(target)?)),
        (Some(target), None, _) => Ok((None, Target::parse(target)?)),
        _ => Err(format!("Invalid cast: {text}; it has the form field:type")),
    }
}

#[derive(Debug)]
enum What {
    Whole(Target),
    Fields(FieldTree<Target>),
}

#[derive(Debug)]
pub(super) struct Cast {
    part: Part,
    what: What,
    nulls: Nulls,
    plans: SchemaCache<Arc<Plan<Target>>>,
    /// For casts of the whole value.
    schemas: SchemaCache<SchemaRef>,
}

impl PartTransform for Cast {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    SPEC,
                    ConfigType::List,
                    Importance::High,
                    "Fields and the types to cast them to: `field:type`, separated by commas; or one type for the whole \
                     key or value. Types are int8, int16, int32, int64, float32, float64, boolean and string. Bytes can \
                     only be cast to string.",
                )
                .validator(Validator::new(|item| mapping(item).map(|_| ()))),
            )
            .key(Nulls::key())
            .key(FieldSyntax::key())
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let syntax = FieldSyntax::of(config);
        let spec = non_empty_list(config, SPEC)?;
        let mut tree = FieldTree::default();
        let mut whole = None;
        for item in spec {
            match mapping(item).map_err(|message| ConfigError::new(SPEC, message))? {
                (Some(name), target) => tree.add(SPEC, &syntax.path(SPEC, name)?, target)?,
                (None, target) => whole = Some(target),
            }
        }
        let what = match whole {
            Some(target) if spec.len() == 1 => What::Whole(target),
            None => What::Fields(tree),
            Some(_) => {
                let message = "a type for the whole value has to be the only entry: name the field of each type";
                return Err(ConfigError::new(SPEC, message).into());
            }
        };
        Ok(Self {
            part,
            what,
            nulls: Nulls::of(config),
            plans: SchemaCache::default(),
            schemas: SchemaCache::default(),
        })
    }
}

/// A field loses name, version, doc and parameters: they were those of another type.
fn field_schema(target: Target, schema: &SchemaRef) -> Result<SchemaRef, DataError> {
    let builder = Schema::builder(target.schema_type()).with_optional(schema.is_optional());
    match schema.default() {
        Some(default) => builder.default_value(cast(target, Some(schema), default)?).build(),
        None => builder.build(),
    }
}

/// A whole value keeps them, as in Connect: a Timestamp as text is called Timestamp still.
fn whole_schema(target: Target, schema: &SchemaRef) -> Result<SchemaRef, DataError> {
    let builder = Schema::builder(target.schema_type())
        .basics_of(schema)
        .with_optional(schema.is_optional());
    match schema.default() {
        // Its class may not be that of the name; Connect refuses that too.
        Some(default) => builder.default_value(cast(target, Some(schema), default)?).build(),
        None => builder.build(),
    }
}

impl Transform for Cast {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        match (&self.what, &data.schema, &mut data.value) {
            (_, _, Value::Null) => {}
            (What::Whole(target), None, value) => data.value = cast(*target, None, value)?,
            (What::Whole(target), Some(schema), value) => {
                let changed = self.schemas.get(schema, |schema| whole_schema(*target, schema))?;
                data.value = cast(*target, Some(schema), value)?;
                data.schema = Some(changed);
            }
            (What::Fields(tree), None, Value::Map(map)) => {
                tree.change_map(map, Missing::Added, &|target, value| cast(*target, None, value))?;
            }
            (What::Fields(tree), Some(_), Value::Struct(source)) => {
                let change = |target: &Target, schema: &SchemaRef, value: Value| cast(*target, Some(schema), &value);
                let plan = self.plans.get(source.schema(), |schema| {
                    let leaf = |target: &Target, schema: &SchemaRef| field_schema(*target, schema).map(Some);
                    Plan::build(schema, tree, Keep::All, &leaf, &change).map(Arc::new)
                })?;
                let changed = plan.apply(source, self.nulls, &change)?;
                data.schema = Some(Arc::clone(&plan.schema));
                data.value = Value::Struct(Box::new(changed));
            }
            (What::Fields(_), schema, value) => return Err(self.part.neither_map_nor_struct(schema.is_some(), value)),
        }
        Ok(Some(record))
    }
}

/// What a value is to a cast.
#[derive(Clone, Copy)]
enum Input<'a> {
    Integer(i64),
    Float32(f32),
    Float64(f64),
    Decimal(&'a bigdecimal::BigDecimal),
    Boolean(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    Instant(i64),
}

impl<'a> Input<'a> {
    fn of(schema: Option<&SchemaRef>, value: &'a Value) -> Result<Self, DataError> {
        let unsupported = |what: &str| Err(DataError::data(format!("cannot cast {what}")));
        if let Some(schema) = schema
            && !schema.schema_type().is_primitive()
        {
            return unsupported(schema.schema_type().name());
        }
        Ok(match value {
            Value::Boolean(value) => Self::Boolean(*value),
            Value::Int8(value) => Self::Integer(i64::from(*value)),
            Value::Int16(value) => Self::Integer(i64::from(*value)),
            Value::Int32(value) => Self::Integer(i64::from(*value)),
            Value::Int64(value) => Self::Integer(*value),
            Value::Float32(value) => Self::Float32(*value),
            Value::Float64(value) => Self::Float64(*value),
            Value::String(value) => Self::Text(value),
            Value::Bytes(value) => Self::Bytes(value),
            Value::Decimal(value) if schema.is_some() => Self::Decimal(value),
            Value::Instant(value) if schema.is_some() => Self::Instant(*value),
            Value::Decimal(_) | Value::Instant(_) => {
                return unsupported(&format!("{} without a schema", value.type_name()));
            }
            Value::Null | Value::Array(_) | Value::Map(_) | Value::Struct(_) => {
                return unsupported(value.type_name());
            }
        })
    }

    /// Dates count as their days, times and timestamps as their milliseconds.
    fn encoded(self, schema: Option<&SchemaRef>) -> Result<Self, DataError> {
        let Self::Instant(ms) = self else {
            return Ok(self);
        };
        let error = |message: &str| Err(DataError::data(message));
        match schema.and_then(|schema| Logical::of(schema)) {
            Some(Logical::Date) if ms % DAY_MS == 0 => Ok(Self::Integer(ms / DAY_MS)),
            Some(Logical::Date) => error("a Date may not have a time of day other than 0"),
            Some(Logical::Time) if (0..=DAY_MS).contains(&ms) => Ok(Self::Integer(ms)),
            Some(Logical::Time) => error("a Time may not have a day other than 1970-01-01"),
            Some(Logical::Timestamp) => Ok(Self::Integer(ms)),
            Some(Logical::Decimal) | None => error("an instant whose schema is no Date, Time or Timestamp"),
        }
    }
}

fn cast(target: Target, schema: Option<&SchemaRef>, value: &Value) -> Result<Value, DataError> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let input = Input::of(schema, value)?;
    if target == Target::String {
        return Ok(match input {
            Input::Text(_) => value.clone(),
            input => Value::from(to_text(input)),
        });
    }
    let input = input.encoded(schema)?;
    let number = match input {
        Input::Text(text) => return parsed(target, text),
        Input::Bytes(_) => return Err(DataError::data("bytes can only be cast to string")),
        number => number,
    };
    Ok(narrowed(target, number))
}

fn to_text(input: Input<'_>) -> String {
    match input {
        Input::Integer(number) => number.to_string(),
        Input::Float32(number) => number::f32_to_string(number),
        Input::Float64(number) => number::f64_to_string(number),
        Input::Decimal(number) => number::decimal_to_string(number),
        Input::Boolean(value) => value.to_string(),
        Input::Text(text) => text.to_owned(),
        Input::Bytes(bytes) => BASE64.encode(bytes),
        Input::Instant(ms) => instant_to_string(ms),
    }
}

/// Text is parsed in the range of the target.
fn parsed(target: Target, text: &str) -> Result<Value, DataError> {
    let integer = || number::parse_i64(text);
    let value = match target {
        Target::Int8 => integer().and_then(|number| number.try_into().ok()).map(Value::Int8),
        Target::Int16 => integer().and_then(|number| number.try_into().ok()).map(Value::Int16),
        Target::Int32 => integer().and_then(|number| number.try_into().ok()).map(Value::Int32),
        Target::Int64 => integer().map(Value::Int64),
        Target::Float32 => number::parse_f32(text).map(Value::Float32),
        Target::Float64 => number::parse_f64(text).map(Value::Float64),
        Target::Boolean => Some(Value::Boolean(text.eq_ignore_ascii_case("true"))),
        Target::String => Some(Value::from(text)),
    };
    value.ok_or_else(|| {
        DataError::data(format!(
            "the text is no number of type {}, or out of its range",
            target.schema_type()
        ))
    })
}

/// Java's narrowing: integers keep their low bits; floats are cut off at the point and saturate at 32 or 64 bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "this is what the cast is for"
)]
fn narrowed(target: Target, number: Input<'_>) -> Value {
    let long = || match number {
        Input::Integer(number) | Input::Instant(number) => number,
        Input::Float32(number) => number as i64,
        Input::Float64(number) => number as i64,
        Input::Decimal(number) => number::decimal_to_i64(number),
        Input::Boolean(value) => i64::from(value),
        // Neither gets here: both are dealt with before.
        Input::Text(_) | Input::Bytes(_) => 0,
    };
    // Of floats the narrow integers are the low bits of the 32-bit one.
    let int = || match number {
        Input::Float32(number) => number as i32,
        Input::Float64(number) => number as i32,
        _ => long() as i32,
    };
    match target {
        Target::Int8 => Value::Int8(int() as i8),
        Target::Int16 => Value::Int16(int() as i16),
        Target::Int32 => Value::Int32(int()),
        Target::Int64 => Value::Int64(long()),
        Target::Float32 => Value::Float32(match number {
            Input::Float32(number) => number,
            Input::Float64(number) => number as f32,
            Input::Decimal(number) => number::decimal_to_f32(number),
            _ => long() as f32,
        }),
        Target::Float64 => Value::Float64(match number {
            Input::Float32(number) => f64::from(number),
            Input::Float64(number) => number,
            Input::Decimal(number) => number::decimal_to_f64(number),
            _ => long() as f64,
        }),
        Target::Boolean => Value::Boolean(long() != 0),
        Target::String => Value::from(to_text(number)),
    }
}
