//! `MaskField`: hides fields behind the empty value of their type, or a text.

use std::sync::Arc;

use bigdecimal::BigDecimal;
use klamm_connect_api::config::Validator;
use klamm_connect_api::logical::{Logical, decimal_scale};
use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, Map, ParsedConfig, Record, SchemaRef,
    SmolStr, Transform, Value,
};
use klamm_java_compat::number;

use crate::field_path::FieldSyntax;
use crate::fields::{FieldTree, Missing, Plan};
use crate::part::{Nulls, Part, PartTransform, distinct_names, names_key};
use crate::schema_cache::SchemaCache;

const FIELDS: &str = "fields";
const REPLACEMENT: &str = "replacement";

#[derive(Debug)]
pub(super) struct MaskField {
    part: Part,
    fields: FieldTree<()>,
    mask: Mask,
    nulls: Nulls,
    plans: SchemaCache<Arc<Plan<()>>>,
}

#[derive(Debug)]
enum Mask {
    Empty,
    Text { text: SmolStr, number: Option<BigDecimal> },
}

impl PartTransform for MaskField {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(names_key(FIELDS, Importance::High, "Names of fields to mask."))
            .key(
                ConfigKey::new(
                    REPLACEMENT,
                    ConfigType::String,
                    Importance::Low,
                    "Text that stands in for the values of all fields, which have to be numbers or strings then.",
                )
                .optional()
                .validator(Validator::new(|text| match text {
                    "" => Err("String must be non-empty".to_owned()),
                    _ => Ok(()),
                })),
            )
            .key(Nulls::key())
            .key(FieldSyntax::key())
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let syntax = FieldSyntax::of(config);
        let mut fields = FieldTree::default();
        for name in distinct_names(config, FIELDS)? {
            fields.add(FIELDS, &syntax.path(FIELDS, name)?, ())?;
        }
        let mask = match config.str(REPLACEMENT) {
            Some(text) => Mask::Text {
                text: text.into(),
                number: number::parse_decimal(text),
            },
            None => Mask::Empty,
        };
        Ok(Self {
            part,
            fields,
            mask,
            nulls: Nulls::of(config),
            plans: SchemaCache::default(),
        })
    }
}

impl Mask {
    fn masked(&self, value: &Value) -> Result<Value, DataError> {
        match self {
            Self::Empty => emptied(value),
            Self::Text { text, number } => replaced(value, text, number.as_ref()),
        }
    }

    /// A Decimal takes on the scale of its schema. Connect leaves it at the scale of the mask, and no converter can
    /// write it then.
    fn masked_with_schema(&self, schema: &SchemaRef, value: &Value) -> Result<Value, DataError> {
        let masked = self.masked(value)?;
        match (&masked, Logical::of(schema), decimal_scale(schema)) {
            (Value::Decimal(number), Some(Logical::Decimal), Some(scale)) => rescaled(number, scale),
            _ => Ok(masked),
        }
    }
}

/// Digits beyond the scale are cut off, as those of integers are.
///
/// # Errors
/// More zeros than anybody can mean.
fn rescaled(number: &BigDecimal, scale: i32) -> Result<Value, DataError> {
    const MOST_ZEROS: i64 = 1000;
    let (_, own) = number.as_bigint_and_exponent();
    if i64::from(scale) - own > MOST_ZEROS {
        return Err(DataError::data(format!(
            "the replacement is too large for the scale {scale} of the field"
        )));
    }
    Ok(Value::Decimal(Box::new(number.with_scale(i64::from(scale)))))
}

fn emptied(value: &Value) -> Result<Value, DataError> {
    Ok(match value {
        Value::Null => Value::Null,
        Value::Boolean(_) => Value::Boolean(false),
        Value::Int8(_) => Value::Int8(0),
        Value::Int16(_) => Value::Int16(0),
        Value::Int32(_) => Value::Int32(0),
        Value::Int64(_) => Value::Int64(0),
        Value::Float32(_) => Value::Float32(0.0),
        Value::Float64(_) => Value::Float64(0.0),
        Value::String(_) => Value::String(SmolStr::default()),
        Value::Decimal(_) => Value::Decimal(Box::new(BigDecimal::from(0))),
        Value::Instant(_) => Value::Instant(0),
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Map(_) => Value::Map(Map::new()),
        Value::Bytes(_) | Value::Struct(_) => {
            return Err(DataError::data(format!(
                "a value of type {} cannot be masked",
                value.type_name()
            )));
        }
    })
}

/// Integers are the low bits of the number's integral part.
#[expect(clippy::cast_possible_truncation, reason = "as in Connect")]
fn replaced(value: &Value, text: &SmolStr, number: Option<&BigDecimal>) -> Result<Value, DataError> {
    let number = || {
        number.ok_or_else(|| {
            DataError::data(format!(
                "the replacement is no number, and stands in for a value of type {}",
                value.type_name()
            ))
        })
    };
    let integer = || number().map(number::decimal_to_i64);
    Ok(match value {
        Value::Null => Value::Null,
        Value::String(_) => Value::String(text.clone()),
        Value::Int8(_) => Value::Int8(integer()? as i8),
        Value::Int16(_) => Value::Int16(integer()? as i16),
        Value::Int32(_) => Value::Int32(integer()? as i32),
        Value::Int64(_) => Value::Int64(integer()?),
        // Connect reads a double first.
        Value::Float32(_) => Value::Float32(number::decimal_to_f64(number()?) as f32),
        Value::Float64(_) => Value::Float64(number::decimal_to_f64(number()?)),
        Value::Decimal(_) => Value::Decimal(Box::new(number()?.clone())),
        Value::Boolean(_)
        | Value::Bytes(_)
        | Value::Instant(_)
        | Value::Array(_)
        | Value::Map(_)
        | Value::Struct(_) => {
            return Err(DataError::data(format!(
                "a value of type {} cannot be masked with a replacement",
                value.type_name()
            )));
        }
    })
}

impl Transform for MaskField {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        match (&data.schema, &mut data.value) {
            (None, Value::Map(map)) => self
                .fields
                .change_map(map, Missing::Added, &|(), value| self.mask.masked(value))?,
            (Some(_), Value::Struct(source)) => {
                let plan = self.plans.get(source.schema(), |schema| {
                    Plan::in_place(schema, &self.fields).map(Arc::new)
                })?;
                let masked = plan.apply(source, self.nulls, &|(), schema, value| {
                    self.mask.masked_with_schema(schema, &value)
                })?;
                **source = masked;
            }
            (schema, value) => return Err(self.part.neither_map_nor_struct(schema.is_some(), value)),
        }
        Ok(Some(record))
    }
}
