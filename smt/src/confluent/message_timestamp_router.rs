//! `MessageTimestampRouter`: puts the day that a field of the value names into the topic.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record,
    Transform, TransformPlugin, Value,
};
use klamm_java_compat::DateFormat;

use crate::part::{Part, non_empty_list, plugin};
use crate::wall_clock;

const TOPIC_FORMAT: &str = "topic.format";
const KEYS: &str = "message.timestamp.keys";
const MESSAGE_FORMAT: &str = "message.timestamp.format";
const TIMESTAMP_FORMAT: &str = "topic.timestamp.format";

pub(super) fn transform() -> TransformPlugin {
    plugin(
        "io.confluent.connect.transforms.MessageTimestampRouter",
        config_def,
        |config| Ok(Arc::new(MessageTimestampRouter::try_new(config)?)),
    )
}

fn config_def() -> ConfigDef {
    let text = |name, documentation: &str| ConfigKey::new(name, ConfigType::String, Importance::High, documentation);
    let pattern = |key: ConfigKey| {
        key.validator(Validator::new(|pattern| {
            DateFormat::try_new(pattern, 0)
                .map(|_| ())
                .map_err(|error| error.to_string())
        }))
    };
    ConfigDef::new()
        .key(
            text(
                TOPIC_FORMAT,
                "The topic's new name, in which `${topic}` and `${timestamp}` stand for the topic and the timestamp.",
            )
            .default("${topic}-${timestamp}"),
        )
        .key(ConfigKey::new(
            KEYS,
            ConfigType::List,
            Importance::High,
            "Fields that may hold the timestamp: the first one that is there counts.",
        ))
        .key(pattern(
            text(
                MESSAGE_FORMAT,
                "A `SimpleDateFormat` pattern of the field's text; empty for milliseconds since the epoch.",
            )
            .default(""),
        ))
        .key(pattern(
            text(
                TIMESTAMP_FORMAT,
                "A `SimpleDateFormat` pattern for the timestamp in the topic. The time zone is UTC.",
            )
            .default("yyyyMMdd"),
        ))
}

#[derive(Debug)]
struct MessageTimestampRouter {
    topic: String,
    fields: Vec<String>,
    message: Option<DateFormat>,
    timestamp: DateFormat,
}

impl MessageTimestampRouter {
    fn try_new(config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let format = |key: &str| {
            DateFormat::try_new(config.str(key).unwrap_or_default(), wall_clock::now_ms())
                .map_err(|error| ConfigError::new(key, error.to_string()))
        };
        let has_format = config.str(MESSAGE_FORMAT).is_some_and(|pattern| !pattern.is_empty());
        Ok(Self {
            topic: config.str(TOPIC_FORMAT).unwrap_or_default().to_owned(),
            fields: non_empty_list(config, KEYS)?.to_vec(),
            message: has_format.then(|| format(MESSAGE_FORMAT)).transpose()?,
            timestamp: format(TIMESTAMP_FORMAT)?,
        })
    }

    fn instant(&self, value: &Value) -> Option<i64> {
        match (&self.message, value) {
            (_, Value::Instant(ms) | Value::Int64(ms)) => Some(*ms),
            (Some(format), Value::String(text)) => format.parse(text),
            (None, Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

impl Transform for MessageTimestampRouter {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = record.value.decoded()?;
        let map = match &data.value {
            Value::Map(map) => map,
            other => return Err(Part::Value.neither_map_nor_struct(false, other)),
        };
        let field = self.fields.iter().find_map(|name| {
            let value = map.get(name).filter(|value| !value.is_null());
            value.map(|value| (name, value))
        });
        let Some((name, value)) = field else {
            return Err(DataError::data(format!(
                "the value has none of the fields {}",
                self.fields.join(", ")
            )));
        };
        let Some(ms) = self.instant(value) else {
            return Err(DataError::data(format!(
                "field `{name}` is no timestamp of the form in `{MESSAGE_FORMAT}`"
            )));
        };
        let topic = self.topic.replace("${topic}", &record.topic);
        record.topic = topic.replace("${timestamp}", &self.timestamp.format(ms)).into();
        Ok(Some(record))
    }
}
