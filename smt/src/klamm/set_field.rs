//! `SetField`: sets a field to a text that is put together from what the record holds.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, Schema,
    SchemaRef, Struct, Transform, Value,
};

use super::template::Template;
use crate::fields::{carried_over, with_fields};
use crate::part::{Part, PartTransform};
use crate::schema_cache::SchemaCache;

const FIELD: &str = "field";
const TEMPLATE: &str = "template";
const MISSING: &str = "missing.or.null.behavior";

#[derive(Debug)]
pub(super) struct SetField {
    part: Part,
    field: Arc<str>,
    template: Template,
    missing: Missing,
    schemas: SchemaCache<SchemaRef>,
}

/// What follows from a place of the template that is missing or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Fail,
    /// The field is null.
    Null,
    /// The record stays as it is.
    Skip,
}

impl PartTransform for SetField {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    FIELD,
                    ConfigType::String,
                    Importance::High,
                    "Name of the field, at the top of the key or value. One that is there already is replaced. With a \
                     schema the field is an optional string.",
                )
                .validator(Validator::non_empty()),
            )
            .key(
                ConfigKey::new(
                    TEMPLATE,
                    ConfigType::String,
                    Importance::High,
                    "The field's text. `${topic}`, `${partition}`, `${offset}`, `${timestamp}` (milliseconds), `${key}`, \
                     `${value}`, `${key.FIELD}`, `${value.FIELD}` and `${headers.NAME}` stand for what the record holds \
                     there; nested fields have dots between them, and backticks around a name that holds one. `$${` is \
                     the text `${`.",
                )
                .validator(Validator::new(|text| Template::parse(text).map(|_| ()))),
            )
            .key(
                ConfigKey::new(
                    MISSING,
                    ConfigType::String,
                    Importance::Medium,
                    "What happens if something that the template names is missing or null: the record fails (`fail`), the \
                     field is null (`null`), or the record stays as it is (`skip`).",
                )
                .default("fail")
                .validator(Validator::one_of(&["fail", "null", "skip"])),
            )
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let template = Template::parse(config.str(TEMPLATE).unwrap_or_default())
            .map_err(|message| ConfigError::new(TEMPLATE, message))?;
        Ok(Self {
            part,
            field: config.str(FIELD).unwrap_or_default().into(),
            template,
            missing: match config.str(MISSING).unwrap_or_default().to_ascii_lowercase().as_str() {
                "null" => Missing::Null,
                "skip" => Missing::Skip,
                _ => Missing::Fail,
            },
            schemas: SchemaCache::default(),
        })
    }
}

impl SetField {
    /// The struct with the field, which stands in its old place or at the end.
    fn structure(&self, source: &Struct, value: Value) -> Result<Struct, DataError> {
        let schema = self.schemas.get(source.schema(), |schema| {
            with_fields(schema, &[(Arc::clone(&self.field), Schema::optional_string())])
        })?;
        let mut changed = carried_over(source, &schema)?;
        changed.put(&self.field, value)?;
        Ok(changed)
    }
}

impl Transform for SetField {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        if self.part.of(&mut record).is_null()? {
            return Ok(Some(record));
        }
        let value = match (self.template.expand(&mut record)?, self.missing) {
            (Ok(text), _) => Value::from(text),
            (Err(_), Missing::Null) => Value::Null,
            (Err(_), Missing::Skip) => return Ok(Some(record)),
            (Err(place), Missing::Fail) => {
                let message = format!(
                    "`${{{place}}}` is missing or null, and the text of field `{}` needs it: `{MISSING}` says what else \
                     to do than to fail",
                    self.field
                );
                return Err(DataError::data(message));
            }
        };
        let data = self.part.of(&mut record).decoded()?;
        match (&data.schema, &mut data.value) {
            (None, Value::Map(map)) => {
                map.insert(&self.field, value);
            }
            (Some(_), Value::Struct(source)) => {
                let changed = self.structure(source, value)?;
                data.schema = Some(Arc::clone(changed.schema()));
                data.value = Value::Struct(Box::new(changed));
            }
            (schema, value) => return Err(self.part.neither_map_nor_struct(schema.is_some(), value)),
        }
        Ok(Some(record))
    }
}
