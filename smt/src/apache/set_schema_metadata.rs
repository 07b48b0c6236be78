//! `SetSchemaMetadata`: gives the schema of a key or value another name or version.

use std::sync::Arc;

use klamm_connect_api::logical::Logical;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record,
    SchemaRef, Struct, Transform, Value,
};

use crate::part::{Nulls, Part, PartTransform, copied};
use crate::schema_cache::SchemaCache;

const NAME: &str = "schema.name";
const VERSION: &str = "schema.version";

#[derive(Debug)]
pub(super) struct SetSchemaMetadata {
    part: Part,
    name: Option<Arc<str>>,
    version: Option<i32>,
    nulls: Nulls,
    schemas: SchemaCache<SchemaRef>,
}

impl PartTransform for SetSchemaMetadata {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(ConfigKey::new(NAME, ConfigType::String, Importance::High, "Schema name to set.").optional())
            .key(ConfigKey::new(VERSION, ConfigType::Int, Importance::High, "Schema version to set.").optional())
            .key(Nulls::key())
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let name = config.str(NAME).map(Arc::from);
        let version = config.int(VERSION).and_then(|version| i32::try_from(version).ok());
        if name.is_none() && version.is_none() {
            let message = format!("neither schema name nor version configured: set `{NAME}` or `{VERSION}`");
            return Err(ConfigError::new("type", message).into());
        }
        Ok(Self {
            part,
            name,
            version,
            nulls: Nulls::of(config),
            schemas: SchemaCache::default(),
        })
    }
}

impl SetSchemaMetadata {
    /// Everything else stays; a default struct is bound to the new schema.
    fn renamed(&self, schema: &SchemaRef) -> Result<SchemaRef, DataError> {
        let mut builder = schema.to_builder().without_default();
        if let Some(name) = &self.name {
            builder = builder.name(Arc::clone(name));
        }
        if let Some(version) = self.version {
            builder = builder.version(version);
        }
        let Some(default) = schema.default() else {
            return builder.build();
        };
        let default = match default {
            Value::Struct(default) => {
                let mut bound = Struct::try_new(builder.clone().build()?)?;
                for (index, value) in default.values().iter().enumerate() {
                    bound.set_unchecked(index, value.clone());
                }
                Value::Struct(Box::new(bound))
            }
            other => other.clone(),
        };
        builder.default_value(default).build()
    }
}

impl Transform for SetSchemaMetadata {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        let Some(schema) = &data.schema else {
            return match &data.value {
                Value::Null => Ok(Some(record)),
                other => Err(DataError::data(format!(
                    "the {} needs a schema, and is: {} without one",
                    self.part.name(),
                    other.type_name()
                ))),
            };
        };
        let renamed = self.schemas.get(schema, |schema| self.renamed(schema))?;
        if matches!(data.value, Value::Decimal(_) | Value::Instant(_)) && Logical::of(&renamed).is_none() {
            return Err(DataError::data(format!(
                "without its name the {} would be {} where its schema says {}",
                self.part.name(),
                data.value.type_name(),
                renamed.schema_type()
            )));
        }
        if let Value::Struct(source) = &mut data.value {
            let mut bound = Struct::try_new(Arc::clone(&renamed))?;
            for index in 0..source.values().len() {
                bound.set_unchecked(index, copied(source, index, self.nulls)?);
            }
            **source = bound;
        }
        data.schema = Some(renamed);
        Ok(Some(record))
    }
}
