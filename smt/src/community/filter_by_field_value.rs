//! `FilterByFieldValue`: keeps records in which a field has a value, or matches a pattern.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, DataErrorKind, Importance, ParsedConfig,
    Record, Transform, Value,
};
use klamm_java_compat::{Pattern, instant_to_string, literal, number};

use crate::part::{Part, PartTransform};

const NAME: &str = "field.name";
const VALUE: &str = "field.value";
const PATTERN: &str = "field.value.pattern";
const MATCHES: &str = "field.value.matches";

#[derive(Debug)]
pub(super) struct FilterByFieldValue {
    part: Part,
    /// None for the whole key or value.
    field: Option<String>,
    condition: Condition,
    keeps_matching: bool,
}

#[derive(Debug)]
enum Condition {
    Equals(Value),
    /// The pattern matches somewhere in the text.
    Finds(Box<Pattern>),
}

impl PartTransform for FilterByFieldValue {
    fn config_def() -> ConfigDef {
        let text = |name, documentation: &str| {
            ConfigKey::new(name, ConfigType::String, Importance::High, documentation).optional()
        };
        let is_pattern = |text: &str| Pattern::try_new(text).map(|_| ()).map_err(|error| error.to_string());
        ConfigDef::new()
            .key(text(
                NAME,
                "The field, with dots between nested ones; empty for the whole key or value.",
            ))
            .key(text(
                VALUE,
                "The value that a record is kept for, read as header values are: a number has the smallest type that holds \
                 it, and equals only fields of that type. Set either this or `field.value.pattern`.",
            ))
            .key(
                text(
                    PATTERN,
                    "A Java regular expression that a record is kept for if it matches anywhere in the text of the field.",
                )
                .validator(Validator::new(is_pattern)),
            )
            .key(
                ConfigKey::new(
                    MATCHES,
                    ConfigType::Boolean,
                    Importance::Medium,
                    "Whether records that match are kept (`true`) or those that do not.",
                )
                .default("true"),
            )
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let pattern = config.str(PATTERN).filter(|pattern| !pattern.is_empty());
        let condition = match (config.str(VALUE), pattern) {
            (Some(text), None) => Condition::Equals(literal::parse(text).value),
            (None, Some(pattern)) => {
                let pattern =
                    Pattern::try_new(pattern).map_err(|error| ConfigError::new(PATTERN, error.to_string()))?;
                Condition::Finds(Box::new(pattern))
            }
            _ => {
                let message = format!("either `{VALUE}` or `{PATTERN}` has to be set");
                return Err(ConfigError::new(VALUE, message).into());
            }
        };
        let name = config.str(NAME).filter(|name| !name.is_empty());
        Ok(Self {
            part,
            field: name.map(str::to_owned),
            condition,
            keeps_matching: config.bool(MATCHES).unwrap_or(true),
        })
    }
}

impl Condition {
    fn holds(&self, value: &Value) -> Result<bool, DataError> {
        match self {
            Self::Equals(wanted) => Ok(value == wanted),
            Self::Finds(pattern) => match text(value)? {
                Some(text) => pattern
                    .is_found_in(&text)
                    .map_err(|error| DataError::new(DataErrorKind::Other, error.to_string())),
                None => Ok(false),
            },
        }
    }
}

/// The text that a pattern is looked for in; none of null.
fn text(value: &Value) -> Result<Option<String>, DataError> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Int8(number) => number.to_string(),
        Value::Int16(number) => number.to_string(),
        Value::Int32(number) => number.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Float32(number) => number::f32_to_string(*number),
        Value::Float64(number) => number::f64_to_string(*number),
        Value::Decimal(decimal) => number::decimal_to_string(decimal),
        Value::Instant(ms) => instant_to_string(*ms),
        Value::Bytes(bytes) => BASE64.encode(bytes),
        Value::Array(_) | Value::Map(_) | Value::Struct(_) => {
            return Err(DataError::data(format!(
                "a pattern takes a single value, and this is: {}",
                value.type_name()
            )));
        }
    }))
}

/// The value at a path; null if anything on it is missing.
fn field<'a>(value: &'a Value, path: &str) -> &'a Value {
    let mut value = value;
    let mut rest = path;
    loop {
        // A dot at the start belongs to the name.
        let (name, below) = match rest.split_once('.') {
            Some((name, below)) if !name.is_empty() => (name, Some(below)),
            _ => (rest, None),
        };
        let found = match value {
            Value::Map(map) => map.get(name),
            Value::Struct(data) => data.get(name),
            _ => None,
        };
        match (found, below) {
            (Some(found), Some(below)) => (value, rest) = (found, below),
            (found, _) => return found.unwrap_or(&Value::Null),
        }
    }
}

impl Transform for FilterByFieldValue {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        if data.value.is_null() {
            return Ok(Some(record));
        }
        let matches = match &self.field {
            None => self.condition.holds(&data.value),
            Some(path) => match &data.value {
                Value::Map(_) | Value::Struct(_) => {
                    let holds = self.condition.holds(field(&data.value, path));
                    holds.map_err(|error| error.at(&format!("field `{path}`")))
                }
                other => Err(self.part.neither_map_nor_struct(data.schema.is_some(), other)),
            },
        }?;
        Ok((matches == self.keeps_matching).then_some(record))
    }
}
