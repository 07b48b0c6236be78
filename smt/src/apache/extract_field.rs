//! `ExtractField`: replaces a key or value by one of its fields.

use std::sync::Arc;

use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, DataError, DataErrorKind, Importance, ParsedConfig, Record,
    Transform, Value,
};

use crate::field_path::{FieldPath, FieldSyntax};
use crate::part::{Nulls, Part, PartTransform};

const FIELD: &str = "field";

#[derive(Debug)]
pub(super) struct ExtractField {
    part: Part,
    path: FieldPath,
    nulls: Nulls,
}

impl PartTransform for ExtractField {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(ConfigKey::new(
                FIELD,
                ConfigType::String,
                Importance::Medium,
                "Field name to extract.",
            ))
            .key(Nulls::key())
            .key(FieldSyntax::key())
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        Ok(Self {
            part,
            path: FieldSyntax::of(config).path(FIELD, config.str(FIELD).unwrap_or_default())?,
            nulls: Nulls::of(config),
        })
    }
}

impl Transform for ExtractField {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        match (&data.schema, &data.value) {
            (None, Value::Null) => {}
            (None, Value::Map(map)) => data.value = self.path.in_map(map)?,
            (Some(schema), Value::Null | Value::Struct(_)) => {
                // A null value still takes on the schema of the field.
                let Some(field) = self.path.in_schema(schema)? else {
                    let message = format!("the {} has no field `{}`", self.part.name(), self.path);
                    return Err(DataError::new(DataErrorKind::Other, message));
                };
                let field = Arc::clone(field);
                if let Value::Struct(source) = &data.value {
                    data.value = self.path.in_struct(source, self.nulls)?;
                }
                data.schema = Some(field);
            }
            (schema, value) => return Err(self.part.neither_map_nor_struct(schema.is_some(), value)),
        }
        Ok(Some(record))
    }
}
