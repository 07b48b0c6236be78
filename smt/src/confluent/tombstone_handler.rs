//! `TombstoneHandler` of Confluent and of Aiven: drops tombstones, or fails at them.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, Transform, TransformPlugin,
};
use tracing::{debug, warn};

use crate::part::plugin;

const BEHAVIOR: &str = "behavior";

pub(super) fn confluent() -> TransformPlugin {
    plugin(
        "io.confluent.connect.transforms.TombstoneHandler",
        || {
            ConfigDef::new().key(
                key("Tombstones are dropped with a line in the log (`warn`) or without (`ignore`), or `fail`.")
                    .default("warn")
                    .validator(Validator::one_of(&["ignore", "warn", "fail"])),
            )
        },
        |config| Ok(Arc::new(TombstoneHandler::new(config))),
    )
}

pub(super) fn aiven() -> TransformPlugin {
    plugin(
        "io.aiven.kafka.connect.transforms.TombstoneHandler",
        || {
            ConfigDef::new().key(
                key("Tombstones are dropped with a line in the log (`drop_warn`) or without (`drop_silent`), or `fail`.")
                    .validator(Validator::one_of(&["drop_silent", "drop_warn", "fail"])),
            )
        },
        |config| Ok(Arc::new(TombstoneHandler::new(config))),
    )
}

fn key(documentation: &str) -> ConfigKey {
    ConfigKey::new(BEHAVIOR, ConfigType::String, Importance::Medium, documentation)
}

#[derive(Debug)]
enum TombstoneHandler {
    Ignore,
    Warn,
    Fail,
}

impl TombstoneHandler {
    fn new(config: &ParsedConfig) -> Self {
        match config.str(BEHAVIOR).unwrap_or_default().to_ascii_lowercase().as_str() {
            "ignore" | "drop_silent" => Self::Ignore,
            "fail" => Self::Fail,
            _ => Self::Warn,
        }
    }
}

impl Transform for TombstoneHandler {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        if !record.value.is_null()? {
            return Ok(Some(record));
        }
        let origin = record.origin();
        let (topic, partition, offset) = (
            origin.topic_partition.topic(),
            origin.topic_partition.partition(),
            origin.offset,
        );
        match self {
            Self::Ignore => debug!(topic, partition, offset, "a tombstone is dropped"),
            Self::Warn => warn!(topic, partition, offset, "a tombstone is dropped"),
            Self::Fail => {
                let message = format!("the record is a tombstone, and `{BEHAVIOR}` is fail");
                return Err(DataError::data(message));
            }
        }
        Ok(None)
    }
}
