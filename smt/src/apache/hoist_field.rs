//! `HoistField`: wraps a key or value in a map or struct with one field.

use std::sync::Arc;

use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, Map, ParsedConfig, Record, Schema,
    SchemaRef, Struct, Transform, Value,
};

use crate::part::{Part, PartTransform};
use crate::schema_cache::SchemaCache;

const FIELD: &str = "field";

#[derive(Debug)]
pub(super) struct HoistField {
    part: Part,
    field: Arc<str>,
    schemas: SchemaCache<SchemaRef>,
}

impl PartTransform for HoistField {
    fn config_def() -> ConfigDef {
        ConfigDef::new().key(ConfigKey::new(
            FIELD,
            ConfigType::String,
            Importance::Medium,
            "Name of the single field of the new struct or map.",
        ))
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        Ok(Self {
            part,
            field: config.str(FIELD).unwrap_or_default().into(),
            schemas: SchemaCache::default(),
        })
    }
}

impl Transform for HoistField {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        let value = std::mem::replace(&mut data.value, Value::Null);
        let Some(schema) = &data.schema else {
            // Null too: a tombstone is none afterwards, as in Connect.
            let mut map = Map::new();
            map.insert(&self.field, value);
            data.value = Value::Map(map);
            return Ok(Some(record));
        };
        if value.is_null() && !schema.is_optional() {
            return Err(DataError::data(format!("field `{}` is required and null", self.field)));
        }
        let wrapped = self.schemas.get(schema, |schema| {
            Schema::structure()
                .field(Arc::clone(&self.field), Arc::clone(schema))
                .build()
        })?;
        let mut hoisted = Struct::try_new(Arc::clone(&wrapped))?;
        hoisted.set_unchecked(0, value);
        data.schema = Some(wrapped);
        data.value = Value::Struct(Box::new(hoisted));
        Ok(Some(record))
    }
}
