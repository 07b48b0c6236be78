//! `TimestampRouter`: puts the day of a record into its topic.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigKey, ConfigType, DataError, Importance, Record, Transform, TransformPlugin,
};
use klamm_java_compat::DateFormat;

use crate::part::plugin;
use crate::wall_clock;

const TOPIC_FORMAT: &str = "topic.format";
const TIMESTAMP_FORMAT: &str = "timestamp.format";

pub(super) fn transform() -> TransformPlugin {
    plugin(
        "org.apache.kafka.connect.transforms.TimestampRouter",
        config_def,
        |config| {
            let pattern = config.str(TIMESTAMP_FORMAT).unwrap_or_default();
            let timestamp = DateFormat::try_new(pattern, wall_clock::now_ms())
                .map_err(|error| ConfigError::new(TIMESTAMP_FORMAT, error.to_string()))?;
            Ok(Arc::new(TimestampRouter {
                topic: config.str(TOPIC_FORMAT).unwrap_or_default().to_owned(),
                timestamp,
            }))
        },
    )
}

fn config_def() -> ConfigDef {
    ConfigDef::new()
        .key(
            ConfigKey::new(
                TOPIC_FORMAT,
                ConfigType::String,
                Importance::High,
                "The topic's new name, in which `${topic}` and `${timestamp}` stand for the topic and the timestamp.",
            )
            .default("${topic}-${timestamp}"),
        )
        .key(
            ConfigKey::new(
                TIMESTAMP_FORMAT,
                ConfigType::String,
                Importance::High,
                "A `SimpleDateFormat` pattern for the timestamp. The time zone is UTC.",
            )
            .default("yyyyMMdd")
            // Connect notices a bad pattern with the first record.
            .validator(Validator::new(|pattern| {
                DateFormat::try_new(pattern, 0)
                    .map(|_| ())
                    .map_err(|error| error.to_string())
            })),
        )
}

#[derive(Debug)]
struct TimestampRouter {
    topic: String,
    timestamp: DateFormat,
}

impl Transform for TimestampRouter {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let Some(ms) = record.timestamp else {
            return Err(DataError::data("the record has no timestamp"));
        };
        let topic = self.topic.replace("${topic}", &record.topic);
        record.topic = topic.replace("${timestamp}", &self.timestamp.format(ms)).into();
        Ok(Some(record))
    }
}
