//! `ExtractTopic`: takes the topic from a key, a value, one of its fields, or a header.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, SchemaAndValue,
    Transform, TransformPlugin, Value,
};
use klamm_java_compat::number;

use crate::part::{Part, PartTransform, plugin};

const FIELD: &str = "field";
const FORMAT: &str = "field.format";
const SKIP: &str = "skip.missing.or.null";

pub(super) fn header_transform() -> TransformPlugin {
    plugin(
        "io.confluent.connect.transforms.ExtractTopic$Header",
        || {
            let field = ConfigKey::new(FIELD, ConfigType::String, Importance::Medium, "The name of the header.");
            ConfigDef::new()
                .key(field.validator(Validator::non_empty()))
                .key(format_key())
                .key(skip_key())
        },
        |config| {
            Ok(Arc::new(ExtractTopic {
                source: Source::Header(config.str(FIELD).unwrap_or_default().into()),
                skips: config.bool(SKIP).unwrap_or(false),
            }))
        },
    )
}

fn format_key() -> ConfigKey {
    ConfigKey::new(
        FORMAT,
        ConfigType::String,
        Importance::Medium,
        "How `field` is read: `PLAIN`, the name of a field at the top. (Confluent's `JSON_PATH` is not supported.)",
    )
    .default("PLAIN")
    .validator(Validator::one_of(&["PLAIN"]))
}

fn skip_key() -> ConfigKey {
    ConfigKey::new(
        SKIP,
        ConfigType::Boolean,
        Importance::Low,
        "Whether a record without the field keeps its topic, where it would fail otherwise.",
    )
    .default("false")
}

#[derive(Debug)]
enum Source {
    Whole(Part),
    Field(Part, Arc<str>),
    Header(Arc<str>),
}

#[derive(Debug)]
pub(super) struct ExtractTopic {
    source: Source,
    skips: bool,
}

impl PartTransform for ExtractTopic {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    FIELD,
                    ConfigType::String,
                    Importance::Medium,
                    "The field that holds the topic; empty for the whole key or value.",
                )
                .default(""),
            )
            .key(format_key())
            .key(skip_key())
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let source = match config.str(FIELD).unwrap_or_default() {
            "" => Source::Whole(part),
            field => Source::Field(part, field.into()),
        };
        Ok(Self {
            source,
            skips: config.bool(SKIP).unwrap_or(false),
        })
    }
}

impl Source {
    fn value(&self, record: &mut Record) -> Result<Value, DataError> {
        let (part, field) = match self {
            Self::Whole(part) => return Ok(part.of(record).decoded()?.value.clone()),
            Self::Header(name) => {
                let header = record.headers.last(name);
                return header.map_or(Ok(Value::Null), |header| Ok(header.value.decode()?.value));
            }
            Self::Field(part, field) => (*part, field),
        };
        let SchemaAndValue { schema, value } = part.of(record).decoded()?;
        match value {
            Value::Null => Ok(Value::Null),
            Value::Map(map) => Ok(map.get(field).cloned().unwrap_or(Value::Null)),
            Value::Struct(data) => Ok(data.get(field).cloned().unwrap_or(Value::Null)),
            other => Err(part.neither_map_nor_struct(schema.is_some(), other)),
        }
    }

    fn described(&self) -> String {
        match self {
            Self::Whole(part) => format!("the {}", part.name()),
            Self::Field(part, field) => format!("field `{field}` of the {}", part.name()),
            Self::Header(name) => format!("header `{name}`"),
        }
    }
}

impl Transform for ExtractTopic {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let topic = match self.source.value(&mut record)? {
            Value::Null => None,
            Value::String(text) => Some(text),
            Value::Boolean(value) => Some(value.to_string().into()),
            Value::Int8(number) => Some(number.to_string().into()),
            Value::Int16(number) => Some(number.to_string().into()),
            Value::Int32(number) => Some(number.to_string().into()),
            Value::Int64(number) => Some(number.to_string().into()),
            Value::Float32(number) => Some(number::f32_to_string(number).into()),
            Value::Float64(number) => Some(number::f64_to_string(number).into()),
            other => {
                let message = format!("{} is no topic: {}", self.source.described(), other.type_name());
                return Err(DataError::data(message));
            }
        };
        match topic.filter(|topic: &Arc<str>| !topic.trim().is_empty()) {
            Some(topic) => record.topic = topic,
            None if self.skips => {}
            None => {
                let message = format!("{} is missing, null or empty", self.source.described());
                return Err(DataError::data(message));
            }
        }
        Ok(Some(record))
    }
}
