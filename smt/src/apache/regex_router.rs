//! `RegexRouter`: renames the topic of a record.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, DataErrorKind, Importance, ParsedConfig,
    Record, Transform, TransformPlugin,
};
use klamm_java_compat::{MatchError, Pattern, Replacement};

use crate::part::plugin;

const REGEX: &str = "regex";
const REPLACEMENT: &str = "replacement";

pub(super) fn transform() -> TransformPlugin {
    plugin(
        "org.apache.kafka.connect.transforms.RegexRouter",
        config_def,
        |config| Ok(Arc::new(RegexRouter::try_new(config)?)),
    )
}

fn config_def() -> ConfigDef {
    ConfigDef::new()
        .key(
            ConfigKey::new(
                REGEX,
                ConfigType::String,
                Importance::High,
                "Regular expression to use for matching.",
            )
            .validator(Validator::new(|text| match Pattern::try_new(text) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            })),
        )
        .key(ConfigKey::new(
            REPLACEMENT,
            ConfigType::String,
            Importance::High,
            "Replacement string.",
        ))
}

/// If the pattern matches the whole topic, its first match is replaced; that may be shorter than the topic.
#[derive(Debug)]
struct RegexRouter {
    pattern: Pattern,
    replacement: Replacement,
}

impl RegexRouter {
    fn try_new(config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let pattern = Pattern::try_new(config.str(REGEX).unwrap_or_default())
            .map_err(|error| ConfigError::new(REGEX, error.to_string()))?;
        // Connect notices a bad replacement when the first topic matches.
        let replacement = pattern
            .replacement(config.str(REPLACEMENT).unwrap_or_default())
            .map_err(|error| ConfigError::new(REPLACEMENT, error.to_string()))?;
        Ok(Self { pattern, replacement })
    }

    fn renamed(&self, topic: &str) -> Result<Option<String>, MatchError> {
        if self.pattern.matches(topic)? {
            self.pattern.replace_first(topic, &self.replacement).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl Transform for RegexRouter {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let renamed = self
            .renamed(&record.topic)
            .map_err(|error| DataError::new(DataErrorKind::Other, error.to_string()))?;
        if let Some(topic) = renamed {
            record.topic = topic.into();
        }
        Ok(Some(record))
    }
}
