//! `TimestampConverter`: turns timestamps into text, numbers, dates and times, and back.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::logical::{self, Logical};
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, DataErrorKind, Importance, ParsedConfig,
    Record, Schema, SchemaRef, SchemaType, Transform, Value,
};
use klamm_java_compat::DateFormat;
use tracing::warn;

use crate::field_path::FieldSyntax;
use crate::fields::{FieldTree, Keep, Missing, Plan};
use crate::part::{Nulls, Part, PartTransform};
use crate::schema_cache::SchemaCache;
use crate::wall_clock;

const FIELD: &str = "field";
const TARGET: &str = "target.type";
const FORMAT: &str = "format";
const PRECISION: &str = "unix.precision";
const TARGETS: [&str; 5] = ["string", "unix", "Date", "Time", "Timestamp"];
const PRECISIONS: [&str; 4] = ["nanoseconds", "microseconds", "milliseconds", "seconds"];
const DAY_MS: i64 = 86_400_000;

/// A form of a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Unix,
    Date,
    Time,
    Timestamp,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precision {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Precision {
    /// Beyond the range the result is the end of it; what is finer than a millisecond is cut off towards zero.
    fn to_ms(self, number: i64) -> i64 {
        match self {
            Self::Seconds => number.saturating_mul(1000),
            Self::Milliseconds => number,
            Self::Microseconds => number / 1000,
            Self::Nanoseconds => number / 1_000_000,
        }
    }

    fn of_ms(self, ms: i64) -> i64 {
        match self {
            Self::Seconds => ms / 1000,
            Self::Milliseconds => ms,
            Self::Microseconds => ms.saturating_mul(1000),
            Self::Nanoseconds => ms.saturating_mul(1_000_000),
        }
    }
}

#[derive(Debug)]
struct Conversion {
    target: Form,
    format: Option<(DateFormat, Arc<str>)>,
    precision: Precision,
}

#[derive(Debug)]
pub(super) struct TimestampConverter {
    part: Part,
    /// None for the whole key or value.
    field: Option<FieldTree<()>>,
    conversion: Conversion,
    nulls: Nulls,
    plans: SchemaCache<Arc<Plan<()>>>,
}

fn one_of(names: &'static [&'static str]) -> Validator {
    Validator::new(move |text| {
        if names.contains(&text) {
            Ok(())
        } else {
            Err(format!("String must be one of: {}", names.join(", ")))
        }
    })
}

impl PartTransform for TimestampConverter {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    FIELD,
                    ConfigType::String,
                    Importance::High,
                    "The field containing the timestamp, or empty if the entire value is a timestamp.",
                )
                .default(""),
            )
            .key(
                ConfigKey::new(
                    TARGET,
                    ConfigType::String,
                    Importance::High,
                    "The desired timestamp representation: string, unix, Date, Time, or Timestamp.",
                )
                .validator(one_of(&TARGETS))
                .recommended(TARGETS),
            )
            .key(
                ConfigKey::new(
                    FORMAT,
                    ConfigType::String,
                    Importance::Medium,
                    "A `SimpleDateFormat` pattern, by which text is written if the target is string, and read if the \
                     timestamp is text. The time zone is UTC.",
                )
                .default("")
                .validator(Validator::new(|pattern| {
                    DateFormat::try_new(pattern, 0)
                        .map(|_| ())
                        .map_err(|error| error.to_string())
                })),
            )
            .key(
                ConfigKey::new(
                    PRECISION,
                    ConfigType::String,
                    Importance::Low,
                    "What a number counts: seconds, milliseconds, microseconds, or nanoseconds. Parts of a millisecond \
                     are lost.",
                )
                .default("milliseconds")
                .validator(one_of(&PRECISIONS))
                .recommended(PRECISIONS),
            )
            .key(Nulls::key())
            .key(FieldSyntax::key())
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let target = match config.str(TARGET) {
            Some("string") => Form::Text,
            Some("unix") => Form::Unix,
            Some("Date") => Form::Date,
            Some("Time") => Form::Time,
            _ => Form::Timestamp,
        };
        let format = match config.str(FORMAT).unwrap_or_default() {
            "" if target == Form::Text => {
                let message = format!("text needs a pattern: set `{FORMAT}` where `{TARGET}` is string");
                return Err(ConfigError::new(FORMAT, message).into());
            }
            "" => None,
            pattern => Some((date_format(pattern)?, Arc::from(pattern))),
        };
        let precision = match config.str(PRECISION) {
            Some("seconds") => Precision::Seconds,
            Some("microseconds") => Precision::Microseconds,
            Some("nanoseconds") => Precision::Nanoseconds,
            _ => Precision::Milliseconds,
        };
        let field = match config.str(FIELD).unwrap_or_default() {
            "" => None,
            name => {
                let mut tree = FieldTree::default();
                tree.add(FIELD, &FieldSyntax::of(config).path(FIELD, name)?, ())?;
                Some(tree)
            }
        };
        Ok(Self {
            part,
            field,
            conversion: Conversion {
                target,
                format,
                precision,
            },
            nulls: Nulls::of(config),
            plans: SchemaCache::default(),
        })
    }
}

fn date_format(pattern: &str) -> Result<DateFormat, ConfigErrors> {
    if pattern.contains("SSSS") {
        warn!(
            setting = FORMAT,
            pattern, "`S` counts milliseconds however often it stands: microseconds are read as milliseconds"
        );
    }
    DateFormat::try_new(pattern, wall_clock::now_ms())
        .map_err(|error| ConfigError::new(FORMAT, error.to_string()).into())
}

impl Conversion {
    fn schema(&self, is_optional: bool) -> Result<SchemaRef, DataError> {
        let builder = match self.target {
            Form::Text => Schema::builder(SchemaType::String),
            Form::Unix => Schema::builder(SchemaType::Int64),
            Form::Date => logical::date(),
            Form::Time => logical::time(),
            Form::Timestamp => logical::timestamp(),
        };
        builder.with_optional(is_optional).build()
    }

    /// By the schema if there is one, else by the value.
    fn convert(&self, form: Form, value: &Value) -> Result<Value, DataError> {
        let mismatch = |wanted: &str| {
            Err(DataError::data(format!(
                "a timestamp has to be {wanted}, and is: {}",
                value.type_name()
            )))
        };
        let ms = match (form, value) {
            (_, Value::Null) => return Ok(Value::Null),
            (Form::Text, Value::String(text)) => self.parsed(text)?,
            (Form::Unix, Value::Int64(number)) => self.precision.to_ms(*number),
            (Form::Date | Form::Time | Form::Timestamp, Value::Instant(ms)) => *ms,
            (Form::Text, _) => return mismatch("a string"),
            (Form::Unix, _) => return mismatch("an int64"),
            (Form::Date | Form::Time | Form::Timestamp, _) => return mismatch("an instant"),
        };
        Ok(match (self.target, &self.format) {
            (Form::Text, Some((format, _))) => Value::from(format.format(ms)),
            // A target of text without a pattern was refused.
            (Form::Text, None) => Value::Null,
            (Form::Unix, _) => Value::Int64(self.precision.of_ms(ms)),
            (Form::Date, _) => Value::Instant(ms - ms.rem_euclid(DAY_MS)),
            (Form::Time, _) => Value::Instant(ms.rem_euclid(DAY_MS)),
            (Form::Timestamp, _) => Value::Instant(ms),
        })
    }

    fn parsed(&self, text: &str) -> Result<i64, DataError> {
        let Some((format, pattern)) = &self.format else {
            let message = format!("the timestamp is text, and `{FORMAT}` does not say how to read it");
            return Err(DataError::data(message));
        };
        format
            .parse(text)
            .ok_or_else(|| DataError::data(format!("the timestamp does not match the pattern `{pattern}`")))
    }

    fn convert_schemaless(&self, value: &Value) -> Result<Value, DataError> {
        let form = match value {
            Value::Null => return Ok(Value::Null),
            Value::Instant(_) => Form::Timestamp,
            Value::Int64(_) => Form::Unix,
            Value::String(_) => Form::Text,
            other => {
                return Err(DataError::data(format!(
                    "a timestamp has to be an int64, a string or an instant, and is: {}",
                    other.type_name()
                )));
            }
        };
        self.convert(form, value)
    }
}

fn form_of(schema: &SchemaRef) -> Result<Form, DataError> {
    match (Logical::of(schema), schema.schema_type()) {
        (Some(Logical::Timestamp), _) => Ok(Form::Timestamp),
        (Some(Logical::Date), _) => Ok(Form::Date),
        (Some(Logical::Time), _) => Ok(Form::Time),
        (_, SchemaType::String) => Ok(Form::Text),
        (_, SchemaType::Int64) => Ok(Form::Unix),
        (_, other) => {
            let message = format!("a schema of type {other} is no known form of a timestamp");
            Err(DataError::new(DataErrorKind::Other, message))
        }
    }
}

impl Transform for TimestampConverter {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        let conversion = &self.conversion;
        let change = |(): &(), schema: &SchemaRef, value: Value| conversion.convert(form_of(schema)?, &value);
        match (&self.field, &data.schema, &mut data.value) {
            (_, None, Value::Null) => {}
            (None, None, value) => data.value = conversion.convert_schemaless(value)?,
            (None, Some(schema), value) => {
                data.value = conversion.convert(form_of(schema)?, value)?;
                data.schema = Some(conversion.schema(schema.is_optional())?);
            }
            (Some(tree), None, Value::Map(map)) => {
                tree.change_map(map, Missing::Added, &|(), value| conversion.convert_schemaless(value))?;
            }
            (Some(tree), Some(schema), value @ (Value::Null | Value::Struct(_))) => {
                let schema = match value {
                    Value::Struct(source) => source.schema(),
                    _ => schema,
                };
                let plan = self.plans.get(schema, |schema| {
                    let leaf = |(): &(), schema: &SchemaRef| conversion.schema(schema.is_optional()).map(Some);
                    Plan::build(schema, tree, Keep::All, &leaf, &change).map(Arc::new)
                })?;
                if let Value::Struct(source) = value {
                    **source = plan.apply(source, self.nulls, &change)?;
                }
                data.schema = Some(Arc::clone(&plan.schema));
            }
            (Some(_), schema, value) => return Err(self.part.neither_map_nor_struct(schema.is_some(), value)),
        }
        Ok(Some(record))
    }
}
