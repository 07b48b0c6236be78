//! `Drop`: makes a key or value null.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, SchemaRef, Transform,
    Value,
};

use crate::part::{Part, PartTransform};
use crate::schema_cache::SchemaCache;

const BEHAVIOR: &str = "schema.behavior";
const BEHAVIORS: [&str; 4] = ["nullify", "retain", "validate", "force_optional"];

/// What becomes of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behavior {
    Nullify,
    Retain,
    Validate,
    ForceOptional,
}

#[derive(Debug)]
pub(super) struct Drop {
    part: Part,
    behavior: Behavior,
    schemas: SchemaCache<SchemaRef>,
}

impl PartTransform for Drop {
    fn config_def() -> ConfigDef {
        ConfigDef::new().key(
            ConfigKey::new(
                BEHAVIOR,
                ConfigType::String,
                Importance::Medium,
                "What becomes of the schema: `nullify` removes it, `retain` keeps it even if it is required, `validate` \
                 is an error unless it is optional, `force_optional` makes it optional.",
            )
            .default("nullify")
            .validator(Validator::one_of(&BEHAVIORS))
            .recommended(BEHAVIORS),
        )
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let behavior = match config.str(BEHAVIOR).unwrap_or_default().to_ascii_lowercase().as_str() {
            "retain" => Behavior::Retain,
            "validate" => Behavior::Validate,
            "force_optional" => Behavior::ForceOptional,
            _ => Behavior::Nullify,
        };
        Ok(Self {
            part,
            behavior,
            schemas: SchemaCache::default(),
        })
    }
}

impl Transform for Drop {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let datum = self.part.of(&mut record);
        if self.behavior == Behavior::Nullify {
            *datum = klamm_connect_api::Datum::NULL;
            return Ok(Some(record));
        }
        let data = datum.decoded()?;
        if let Some(schema) = data.schema.as_ref().filter(|schema| !schema.is_optional()) {
            match self.behavior {
                Behavior::Validate => {
                    let message = format!(
                        "the {} cannot be dropped: its schema is required; `{BEHAVIOR}` says what else may become of it",
                        self.part.name()
                    );
                    return Err(DataError::data(message));
                }
                Behavior::ForceOptional => {
                    let optional = self
                        .schemas
                        .get(schema, |schema| schema.to_builder().optional().build())?;
                    data.schema = Some(Arc::clone(&optional));
                }
                Behavior::Nullify | Behavior::Retain => {}
            }
        }
        data.value = Value::Null;
        Ok(Some(record))
    }
}
