//! `HeaderToField`: adds headers as fields.

use std::sync::Arc;

use bigdecimal::BigDecimal;
use klamm_connect_api::config::Validator;
use klamm_connect_api::logical::{self, Logical};
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, Schema,
    SchemaAndValue, SchemaRef, SchemaType, Struct, Transform, Value,
};
use klamm_java_compat::{literal, number};

use crate::part::{Nulls, Part, PartTransform, basics, copied};
use crate::schema_cache::SchemaCache;

const MAPPINGS: &str = "header.mappings";
const DAY_MS: i64 = 86_400_000;
/// Scales of Decimals that can be named.
const SCALES: std::ops::Range<i32> = 0..50;
/// Places by which a number is brought to the scale of its field, at most: more would take time and memory, and nobody
/// means them.
const MOST_PLACES: u64 = 1000;

#[derive(Debug)]
pub(super) struct HeaderToField {
    part: Part,
    mappings: Vec<Mapping>,
    schemas: SchemaCache<SchemaRef>,
}

#[derive(Debug)]
struct Mapping {
    header: String,
    target: Target,
    schema: SchemaRef,
    field: Arc<str>,
}

/// What a header becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    String,
    Decimal { scale: i32 },
    Date,
    Time,
    Timestamp,
}

impl Target {
    /// By its name in the settings, such as `INT64(Timestamp)` or `BYTES(Decimal[scale=2])`, in any case; the names of
    /// logical types with or without their package.
    fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let (base, logical) = match name.split_once('(') {
            None => (name.as_str(), None),
            Some((base, rest)) => (base, Some(rest.strip_suffix(')')?)),
        };
        let logical = logical.map(|name| name.strip_prefix("org.apache.kafka.connect.data.").unwrap_or(name));
        Some(match (base, logical) {
            ("boolean", None) => Self::Boolean,
            ("int8", None) => Self::Int8,
            ("int16", None) => Self::Int16,
            ("int32", None) => Self::Int32,
            ("int64", None) => Self::Int64,
            ("float32", None) => Self::Float32,
            ("float64", None) => Self::Float64,
            ("string", None) => Self::String,
            ("int32", Some("date")) => Self::Date,
            ("int32", Some("time")) => Self::Time,
            ("int64", Some("timestamp")) => Self::Timestamp,
            ("bytes", Some(decimal)) => {
                let digits = decimal.strip_prefix("decimal[scale=")?.strip_suffix(']')?;
                let scale = digits.parse().ok().filter(|scale| SCALES.contains(scale))?;
                // Not `+2` or `02`.
                (digits == scale.to_string()).then_some(Self::Decimal { scale })?
            }
            _ => return None,
        })
    }

    fn schema(self) -> Result<SchemaRef, DataError> {
        let builder = match self {
            Self::Boolean => Schema::builder(SchemaType::Boolean),
            Self::Int8 => Schema::builder(SchemaType::Int8),
            Self::Int16 => Schema::builder(SchemaType::Int16),
            Self::Int32 => Schema::builder(SchemaType::Int32),
            Self::Int64 => Schema::builder(SchemaType::Int64),
            Self::Float32 => Schema::builder(SchemaType::Float32),
            Self::Float64 => Schema::builder(SchemaType::Float64),
            Self::String => Schema::builder(SchemaType::String),
            Self::Decimal { scale } => logical::decimal(scale),
            Self::Date => logical::date(),
            Self::Time => logical::time(),
            Self::Timestamp => logical::timestamp(),
        };
        builder.with_optional(true).build()
    }

    /// What Connect's `Values.convertTo…` makes of a header, but for Decimals, which take on the scale of the field:
    /// Connect leaves them at their own, and no converter can write them then.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "as in Connect: integers keep their low bits, floats are rounded"
    )]
    fn convert(self, header: &SchemaAndValue) -> Result<Value, DataError> {
        match (self, &header.value) {
            (Self::Decimal { .. } | Self::Date | Self::Time | Self::Timestamp, Value::Null) => {
                return Err(no_form(&header.value));
            }
            (_, Value::Null) => return Ok(Value::Null),
            (Self::Boolean, Value::Boolean(_)) => return Ok(header.value.clone()),
            (Self::Boolean, Value::String(text)) => {
                if let Value::Boolean(value) = literal::parse(text).value {
                    return Ok(Value::Boolean(value));
                }
            }
            (Self::Float32, Value::Float32(_)) => return Ok(header.value.clone()),
            (Self::Date | Self::Time | Self::Timestamp, Value::Instant(ms)) => {
                if let Some(ms) = self.of_instant(*ms, header.schema.as_ref()) {
                    return Ok(Value::Instant(ms));
                }
            }
            (Self::Date | Self::Time | Self::Timestamp, Value::String(text)) => {
                // Only numbers are taken: a text that is a date is refused, as in Connect.
                let parsed = SchemaAndValue::schemaless(literal::parse(text).value);
                return self.of_number(integer(&parsed)?);
            }
            _ => {}
        }
        Ok(match self {
            Self::Boolean => Value::Boolean(integer(header)? != 0),
            Self::Int8 => Value::Int8(integer(header)? as i8),
            Self::Int16 => Value::Int16(integer(header)? as i16),
            Self::Int32 => Value::Int32(integer(header)? as i32),
            Self::Int64 => Value::Int64(integer(header)?),
            Self::Float32 => Value::Float32(float(header)? as f32),
            Self::Float64 => Value::Float64(float(header)?),
            Self::String => literal::to_text(&header.value).map_or(Value::Null, Value::from),
            Self::Decimal { scale } => Value::Decimal(Box::new(decimal(header, scale)?)),
            Self::Date | Self::Time | Self::Timestamp => self.of_number(integer(header)?)?,
        })
    }

    /// The instant of this type that another one stands for; none if its number does.
    #[expect(clippy::cast_possible_truncation, reason = "as in Connect")]
    fn of_instant(self, ms: i64, schema: Option<&SchemaRef>) -> Option<i64> {
        let Some(logical) = schema.and_then(|schema| Logical::of(schema)) else {
            return Some(ms);
        };
        match (self, logical) {
            (Self::Date, Logical::Timestamp) => Some(i64::from((ms / DAY_MS) as i32) * DAY_MS),
            (Self::Time, Logical::Timestamp) => Some(ms.rem_euclid(DAY_MS)),
            (Self::Date, Logical::Date) | (Self::Time, Logical::Time) | (Self::Timestamp, _) => Some(ms),
            _ => None,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "as in Connect")]
    fn of_number(self, number: i64) -> Result<Value, DataError> {
        match self {
            Self::Date => Ok(Value::Instant(i64::from(number as i32) * DAY_MS)),
            Self::Time => match i64::from(number as i32) {
                ms @ 0..=DAY_MS => Ok(Value::Instant(ms)),
                _ => Err(DataError::data("the number is no time of a day in milliseconds")),
            },
            _ => Ok(Value::Instant(number)),
        }
    }
}

fn no_form(value: &Value) -> DataError {
    DataError::data(format!(
        "{} cannot be converted to the type of the field",
        value.type_name()
    ))
}

fn digits(text: &str) -> Result<BigDecimal, DataError> {
    number::parse_decimal(text).ok_or_else(|| DataError::data("the text is no number"))
}

/// `Values.asLong`
#[expect(clippy::cast_possible_truncation, reason = "as in Java: saturating")]
fn integer(header: &SchemaAndValue) -> Result<i64, DataError> {
    Ok(match &header.value {
        Value::Int8(number) => i64::from(*number),
        Value::Int16(number) => i64::from(*number),
        Value::Int32(number) => i64::from(*number),
        Value::Int64(number) => *number,
        Value::Float32(number) => *number as i64,
        Value::Float64(number) => *number as i64,
        Value::Decimal(number) => number::decimal_to_i64(number),
        Value::String(text) => number::decimal_to_i64(&digits(text)?),
        Value::Instant(ms) => match header.schema.as_ref().and_then(|schema| Logical::of(schema)) {
            Some(Logical::Date) => ms.div_euclid(DAY_MS),
            Some(Logical::Time | Logical::Timestamp) => *ms,
            Some(Logical::Decimal) | None => return Err(no_form(&header.value)),
        },
        other => return Err(no_form(other)),
    })
}

/// `Values.asDouble`
#[expect(clippy::cast_precision_loss, reason = "as in Java: the nearest")]
fn float(header: &SchemaAndValue) -> Result<f64, DataError> {
    Ok(match &header.value {
        Value::Float32(number) => f64::from(*number),
        Value::Float64(number) => *number,
        Value::Decimal(number) => number::decimal_to_f64(number),
        Value::String(text) => number::decimal_to_f64(&digits(text)?),
        _ => integer(header)? as f64,
    })
}

/// The number with `scale` places, if it has no digits beyond them.
fn decimal(header: &SchemaAndValue, scale: i32) -> Result<BigDecimal, DataError> {
    let number = match &header.value {
        Value::Decimal(number) => (**number).clone(),
        Value::Bytes(bytes) => BigDecimal::new(
            bigdecimal::num_bigint::BigInt::from_signed_bytes_be(bytes),
            i64::from(scale),
        ),
        Value::String(text) => digits(text)?,
        // As a double, integers too, and of that the shortest digits, as in Connect.
        Value::Int8(_)
        | Value::Int16(_)
        | Value::Int32(_)
        | Value::Int64(_)
        | Value::Float32(_)
        | Value::Float64(_) => digits(&number::f64_to_string(float(header)?))?,
        other => return Err(no_form(other)),
    };
    let (_, own) = number.as_bigint_and_exponent();
    let scale = i64::from(scale);
    let rescaled = (own.abs_diff(scale) <= MOST_PLACES).then(|| number.with_scale(scale));
    rescaled
        .filter(|rescaled| number::compare_decimals(rescaled, &number).is_eq())
        .ok_or_else(|| DataError::data(format!("the number does not fit the scale {scale} of the field")))
}

impl Mapping {
    /// `header:TYPE` or `header:TYPE:field`. Java forgets empty parts at the end.
    fn parse(mapping: &str) -> Result<Self, String> {
        let parts: Vec<&str> = mapping.trim_end_matches(':').split(':').collect();
        let (header, name, field) = match *parts.as_slice() {
            [header, name] => (header.trim(), name.trim(), header.trim()),
            [header, name, field] => (header.trim(), name.trim(), field),
            _ => return Err(format!("`{mapping}` has not the form header:TYPE or header:TYPE:field")),
        };
        let target = Target::of(name).ok_or_else(|| {
            format!(
                "`{mapping}`: there is no type `{name}`; there are STRING, BOOLEAN, INT8, INT16, INT32, INT64, FLOAT32, \
                 FLOAT64, INT32(Date), INT32(Time), INT64(Timestamp) and BYTES(Decimal[scale=0]) up to scale 49"
            )
        })?;
        if field.is_empty() {
            return Err(format!("`{mapping}` names no field"));
        }
        Ok(Self {
            header: header.to_owned(),
            target,
            schema: target.schema().map_err(|error| error.to_string())?,
            field: field.into(),
        })
    }
}

impl PartTransform for HeaderToField {
    fn config_def() -> ConfigDef {
        ConfigDef::new().key(
            ConfigKey::new(
                MAPPINGS,
                ConfigType::List,
                Importance::High,
                "What becomes of which header: `header:TYPE`, or `header:TYPE:field` for a field of another name. The types \
                 are STRING, BOOLEAN, INT8, INT16, INT32, INT64, FLOAT32, FLOAT64, INT32(Date), INT32(Time), \
                 INT64(Timestamp) and BYTES(Decimal[scale=2]). Of several headers of one name the last one counts; a \
                 missing one gives null. Only structs are taken.",
            )
            .validator(Validator::new(|mapping| Mapping::parse(mapping).map(|_| ()))),
        )
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let mappings = config.list(MAPPINGS).iter();
        let mappings = mappings
            .map(|mapping| Mapping::parse(mapping).map_err(|message| ConfigError::new(MAPPINGS, message)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            part,
            mappings,
            schemas: SchemaCache::default(),
        })
    }
}

impl HeaderToField {
    fn extended(&self, schema: &Schema) -> Result<SchemaRef, DataError> {
        let mut builder = basics(schema).with_optional(schema.is_optional());
        for field in schema.fields() {
            builder = builder.field(Arc::clone(&field.name), Arc::clone(&field.schema));
        }
        for mapping in &self.mappings {
            builder = builder.field(Arc::clone(&mapping.field), Arc::clone(&mapping.schema));
        }
        builder.build()
    }

    fn values(&self, record: &Record) -> Result<Vec<Value>, DataError> {
        let mappings = self.mappings.iter();
        let values = mappings.map(|mapping| match record.headers.last(&mapping.header) {
            None => Ok(Value::Null),
            Some(header) => header
                .value
                .decode()
                .and_then(|header| mapping.target.convert(&header))
                .map_err(|error| error.at(&format!("header `{}`", mapping.header))),
        });
        values.collect()
    }
}

impl Transform for HeaderToField {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        let source = match (&data.schema, &data.value) {
            (None, Value::Null) => return Ok(Some(record)),
            (Some(_), Value::Struct(source)) => source.clone(),
            (_, value) => {
                return Err(DataError::data(format!(
                    "the {} has to be a struct with a schema, and is: {}",
                    self.part.name(),
                    value.type_name()
                )));
            }
        };
        let schema = self.schemas.get(source.schema(), |schema| self.extended(schema))?;
        let mut changed = Struct::try_new(Arc::clone(&schema))?;
        let fields = source.schema().fields().len();
        for index in 0..fields {
            changed.set_unchecked(index, copied(&source, index, Nulls::Replaced)?);
        }
        for (index, value) in self.values(&record)?.into_iter().enumerate() {
            changed.set_unchecked(fields + index, value);
        }
        *self.part.of(&mut record) = SchemaAndValue::new(schema, Value::Struct(Box::new(changed))).into();
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests;
