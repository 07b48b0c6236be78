//! `PatternFilter`: drops records in which a text matches a pattern.

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, DataErrorKind, Importance, ParsedConfig,
    Record, Transform, Value,
};
use klamm_java_compat::Pattern;

use crate::part::{Part, PartTransform};

const PATTERN: &str = "pattern";
const FIELDS: &str = "fields";

#[derive(Debug)]
pub(super) struct PatternFilter {
    part: Part,
    pattern: Pattern,
    fields: Vec<String>,
}

impl PartTransform for PatternFilter {
    fn config_def() -> ConfigDef {
        let is_pattern = |text: &str| Pattern::try_new(text).map(|_| ()).map_err(|error| error.to_string());
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    PATTERN,
                    ConfigType::String,
                    Importance::High,
                    "A Java regular expression. A record is dropped if the whole text of one of the fields matches.",
                )
                .validator(Validator::new(is_pattern)),
            )
            .key(
                ConfigKey::new(
                    FIELDS,
                    ConfigType::List,
                    Importance::High,
                    "Names of the fields, at the top of the key or value. Those that hold no text are not looked at.",
                )
                .default(""),
            )
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let pattern = Pattern::try_new(config.str(PATTERN).unwrap_or_default())
            .map_err(|error| ConfigError::new(PATTERN, error.to_string()))?;
        Ok(Self {
            part,
            pattern,
            fields: config.list(FIELDS).to_vec(),
        })
    }
}

impl Transform for PatternFilter {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let value = &self.part.of(&mut record).decoded()?.value;
        for name in &self.fields {
            let field = match value {
                Value::Map(map) => map.get(name),
                Value::Struct(data) => data.get_without_default(name),
                _ => None,
            };
            let Some(text) = field.and_then(Value::as_str) else {
                continue;
            };
            let matches = self.pattern.matches(text).map_err(|error| {
                DataError::new(DataErrorKind::Other, error.to_string()).at(&format!("field `{name}`"))
            })?;
            if matches {
                return Ok(None);
            }
        }
        Ok(Some(record))
    }
}
