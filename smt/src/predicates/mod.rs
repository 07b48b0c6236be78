//! The predicates: those of Apache Kafka Connect (`org.apache.kafka.connect.transforms.predicates`), and our own.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, DataErrorKind, Importance, ParsedConfig,
    PluginInfo, PluginKind, Predicate, PredicatePlugin, Record,
};
use klamm_java_compat::Pattern;

use crate::{VERSION, klamm};

const NAME: &str = "name";
const PATTERN: &str = "pattern";

/// The predicates, as they can be named in `predicates.<alias>.type`.
#[must_use]
pub fn predicates() -> Vec<PredicatePlugin> {
    vec![
        klamm::predicate(),
        plugin(
            "org.apache.kafka.connect.transforms.predicates.HasHeaderKey",
            has_header_key_def,
            |config| Ok(Arc::new(HasHeaderKey(config.str(NAME).unwrap_or_default().to_owned()))),
        ),
        plugin(
            "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone",
            ConfigDef::new,
            |_| Ok(Arc::new(RecordIsTombstone)),
        ),
        plugin(
            "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
            topic_name_matches_def,
            |config| {
                let pattern = Pattern::try_new(config.str(PATTERN).unwrap_or_default())
                    .map_err(|error| ConfigError::new(PATTERN, error.to_string()))?;
                Ok(Arc::new(TopicNameMatches(pattern)))
            },
        ),
    ]
}

pub(crate) fn plugin(
    class: &'static str,
    config_def: fn() -> ConfigDef,
    create: fn(&ParsedConfig) -> Result<Arc<dyn Predicate>, ConfigErrors>,
) -> PredicatePlugin {
    PredicatePlugin {
        info: PluginInfo {
            kind: PluginKind::Predicate,
            class,
            aliases: &[],
            version: VERSION,
        },
        config_def,
        create,
    }
}

fn non_empty(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("String must be non-empty".to_owned());
    }
    Ok(())
}

fn has_header_key_def() -> ConfigDef {
    ConfigDef::new().key(
        ConfigKey::new(NAME, ConfigType::String, Importance::Medium, "The header name.")
            .validator(Validator::new(non_empty)),
    )
}

fn topic_name_matches_def() -> ConfigDef {
    let is_pattern = |text: &str| {
        non_empty(text)?;
        Pattern::try_new(text).map(|_| ()).map_err(|error| error.to_string())
    };
    ConfigDef::new().key(
        ConfigKey::new(
            PATTERN,
            ConfigType::String,
            Importance::Medium,
            "A Java regular expression for matching against the name of a record's topic.",
        )
        .validator(Validator::new(is_pattern)),
    )
}

/// True for records with a header of that name, whatever its value.
#[derive(Debug)]
struct HasHeaderKey(String);

impl Predicate for HasHeaderKey {
    fn test(&self, record: &mut Record) -> Result<bool, DataError> {
        Ok(record.headers.contains(&self.0))
    }
}

/// True for records whose value is null.
#[derive(Debug)]
struct RecordIsTombstone;

impl Predicate for RecordIsTombstone {
    fn test(&self, record: &mut Record) -> Result<bool, DataError> {
        record.value.is_null()
    }
}

/// True for records whose topic, as the stages before have left it, matches as a whole.
#[derive(Debug)]
struct TopicNameMatches(Pattern);

impl Predicate for TopicNameMatches {
    fn test(&self, record: &mut Record) -> Result<bool, DataError> {
        self.0
            .matches(&record.topic)
            .map_err(|error| DataError::new(DataErrorKind::Other, error.to_string()))
    }
}
