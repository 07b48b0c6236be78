//! `ExtractTopic`: takes the topic from a key, a value, one of its fields, or a header.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record,
    SchemaAndValue, SmolStr, Transform, TransformPlugin, Value,
};
use klamm_java_compat::number;

use crate::field_path::{FieldPath, FieldSyntax};
use crate::json_path::{JsonPath, Selection, Stop};
use crate::part::{Nulls, Part, PartTransform, plugin};

const FIELD: &str = "field";
const FORMAT: &str = "field.format";
const FIELD_NAME: &str = "field.name";
const SKIP: &str = "skip.missing.or.null";

pub(super) fn header_transform() -> TransformPlugin {
    plugin(
        "io.confluent.connect.transforms.ExtractTopic$Header",
        || {
            let field = ConfigKey::new(FIELD, ConfigType::String, Importance::Medium, "The name of the header.");
            ConfigDef::new()
                .key(field.validator(Validator::non_empty()))
                .key(format_key(
                    "How `field` is read: `PLAIN`, the header's name.",
                    &["PLAIN"],
                ))
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

/// Aiven's variant: `field.name` instead of `field`, with dots between nested fields, and no other format.
pub(super) fn aiven() -> [TransformPlugin; 2] {
    [
        plugin(
            "io.aiven.kafka.connect.transforms.ExtractTopic$Key",
            aiven_def,
            |config| Ok(Arc::new(ExtractTopic::aiven(Part::Key, config)?)),
        ),
        plugin(
            "io.aiven.kafka.connect.transforms.ExtractTopic$Value",
            aiven_def,
            |config| Ok(Arc::new(ExtractTopic::aiven(Part::Value, config)?)),
        ),
    ]
}

fn aiven_def() -> ConfigDef {
    let field = ConfigKey::new(
        FIELD_NAME,
        ConfigType::String,
        Importance::High,
        "The field that holds the topic, with dots between nested ones; empty for the whole key or value.",
    );
    ConfigDef::new().key(field.optional()).key(skip_key())
}

fn format_key(documentation: &str, formats: &'static [&'static str]) -> ConfigKey {
    ConfigKey::new(FORMAT, ConfigType::String, Importance::Medium, documentation)
        .default("PLAIN")
        .validator(Validator::one_of(formats))
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
    Nested(Part, FieldPath),
    Path(Part, JsonPath),
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
            .key(format_key(
                "How `field` is read: `PLAIN`, the name of a field at the top, or `JSON_PATH`, a path such as \
                 `$.meta['topic']` in the dialect of Jayway's JsonPath that names one field.",
                &["PLAIN", "JSON_PATH"],
            ))
            .key(skip_key())
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let is_path = config
            .str(FORMAT)
            .is_some_and(|format| format.eq_ignore_ascii_case("JSON_PATH"));
        let source = match config.str(FIELD).unwrap_or_default() {
            "" => Source::Whole(part),
            path if is_path => Source::Path(
                part,
                one_field(path).map_err(|message| ConfigError::new(FIELD, message))?,
            ),
            field => Source::Field(part, field.into()),
        };
        Ok(Self {
            source,
            skips: config.bool(SKIP).unwrap_or(false),
        })
    }
}

impl ExtractTopic {
    fn aiven(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let source = match config.str(FIELD_NAME).unwrap_or_default() {
            "" => Source::Whole(part),
            path => Source::Nested(part, FieldSyntax::V2.path(FIELD_NAME, path)?),
        };
        Ok(Self {
            source,
            skips: config.bool(SKIP).unwrap_or(false),
        })
    }
}

/// A path that names one field.
fn one_field(text: &str) -> Result<JsonPath, String> {
    let path =
        JsonPath::parse(text).map_err(|error| format!("Invalid value {text} for configuration {FIELD}: {error}"))?;
    if path.is_definite() {
        Ok(path)
    } else {
        Err(format!(
            "Invalid value {text} for configuration {FIELD}: the path may select several values, and a topic is one"
        ))
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
            Self::Path(part, path) => {
                return match path.select(&part.of(record).decoded()?.value) {
                    Ok(Selection::One(value)) => Ok(value.into_owned()),
                    Ok(Selection::Many(_)) | Err(Stop::NotFound | Stop::Unfit(_)) => Ok(Value::Null),
                    Err(Stop::Failed(why)) => Err(DataError::data(format!("{}: {why}", self.described()))),
                };
            }
            Self::Nested(part, path) => {
                let SchemaAndValue { schema, value } = part.of(record).decoded()?;
                return match value {
                    Value::Map(map) => path.in_map(map),
                    Value::Struct(data) => path.in_struct(data, Nulls::Replaced),
                    // Null fails here even where missing fields are skipped, as it does with Aiven.
                    other => Err(part.neither_map_nor_struct(schema.is_some(), other)),
                };
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
            Self::Nested(part, path) => format!("field `{path}` of the {}", part.name()),
            Self::Path(part, path) => format!("`{path}` of the {}", part.name()),
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
        match topic.filter(|topic: &SmolStr| !topic.trim().is_empty()) {
            Some(topic) => record.topic = topic.into(),
            None if self.skips => {}
            None => {
                let message = format!("{} is missing, null or empty", self.source.described());
                return Err(DataError::data(message));
            }
        }
        Ok(Some(record))
    }
}
