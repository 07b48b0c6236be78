//! `TopicNameToField`: adds the topic as a field.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, Schema, SchemaRef,
    Transform, Value,
};

use crate::fields::{carried_over, with_fields};
use crate::part::{Part, PartTransform};
use crate::schema_cache::SchemaCache;

const FIELD: &str = "field";

#[derive(Debug)]
pub(super) struct TopicNameToField {
    part: Part,
    field: Arc<str>,
    schemas: SchemaCache<SchemaRef>,
}

impl PartTransform for TopicNameToField {
    fn config_def() -> ConfigDef {
        ConfigDef::new().key(
            ConfigKey::new(
                FIELD,
                ConfigType::String,
                Importance::High,
                "Name of the field that takes the topic. One that is there already is replaced.",
            )
            .validator(Validator::non_empty()),
        )
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        Ok(Self {
            part,
            field: config.str(FIELD).unwrap_or_default().into(),
            schemas: SchemaCache::default(),
        })
    }
}

impl Transform for TopicNameToField {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let topic = Value::from(&record.topic);
        let data = self.part.of(&mut record).decoded()?;
        match (&data.schema, &mut data.value) {
            (_, Value::Null) => {}
            (None, Value::Map(map)) => {
                map.insert(&self.field, topic);
            }
            (Some(_), Value::Struct(source)) => {
                let schema = self.schemas.get(source.schema(), |schema| {
                    let text = Schema::builder(klamm_connect_api::SchemaType::String)
                        .doc("Topic name")
                        .build()?;
                    with_fields(schema, &[(Arc::clone(&self.field), text)])
                })?;
                let mut changed = carried_over(source, &schema)?;
                changed.put(&self.field, topic)?;
                data.schema = Some(schema);
                data.value = Value::Struct(Box::new(changed));
            }
            (schema, value) => return Err(self.part.neither_map_nor_struct(schema.is_some(), value)),
        }
        Ok(Some(record))
    }
}
