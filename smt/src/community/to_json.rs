//! `ToJSON`: a whole key or value becomes JSON text.

use klamm_connect_api::config::Validator;
use klamm_connect_api::logical::Logical;
use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, Rendering, Schema,
    SchemaAndValue, SchemaRef, SchemaType, Transform, Value, json,
};

use crate::part::{Part, PartTransform};

const OUTPUT: &str = "output.schema.type";
const SCHEMAS_ENABLE: &str = "schemas.enable";

#[derive(Debug)]
pub(super) struct ToJson {
    part: Part,
    output: Output,
    has_envelope: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    String,
    Bytes,
}

impl PartTransform for ToJson {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    OUTPUT,
                    ConfigType::String,
                    Importance::Medium,
                    "Whether the JSON text is a STRING or BYTES.",
                )
                .default("STRING")
                .validator(Validator::new(|text| match text {
                    "STRING" | "BYTES" => Ok(()),
                    _ => Err("String must be one of: STRING, BYTES".to_owned()),
                })),
            )
            .key(
                ConfigKey::new(
                    SCHEMAS_ENABLE,
                    ConfigType::Boolean,
                    Importance::Medium,
                    "Whether the text is an envelope of schema and payload, as JsonConverter writes it.",
                )
                .default("false"),
            )
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        Ok(Self {
            part,
            output: match config.str(OUTPUT) {
                Some("BYTES") => Output::Bytes,
                _ => Output::String,
            },
            has_envelope: config.bool(SCHEMAS_ENABLE).unwrap_or_default(),
        })
    }
}

impl ToJson {
    fn written(&self, data: &SchemaAndValue) -> Result<SchemaAndValue, DataError> {
        let mut out = Vec::new();
        if self.has_envelope {
            json::write_envelope(data, &mut out)?;
        } else {
            json::write(data, Rendering::Connect, &mut out)?;
        }
        Ok(match self.output {
            Output::Bytes => SchemaAndValue::new(optional(SchemaType::Bytes)?, Value::Bytes(out.into())),
            Output::String => {
                let text = String::from_utf8(out).map_err(|_| DataError::data("the JSON text is not UTF-8"))?;
                SchemaAndValue::new(optional(SchemaType::String)?, Value::from(text))
            }
        })
    }
}

fn optional(schema_type: SchemaType) -> Result<SchemaRef, DataError> {
    Schema::builder(schema_type).optional().build()
}

impl Transform for ToJson {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        let schema_type = data.schema.as_ref().map(|schema| schema.schema_type());
        let is_logical = data.schema.as_ref().is_some_and(|schema| Logical::of(schema).is_some());
        match (schema_type, &mut data.value) {
            (None, Value::Null) => {}
            // A map is written as one without a schema, whatever its own.
            (_, Value::Map(_)) => {
                data.schema = None;
                *data = self.written(data)?;
            }
            // Null is the text `null` here.
            (Some(SchemaType::Struct), _) => *data = self.written(data)?,
            // Text and bytes stay as they are.
            (Some(SchemaType::String | SchemaType::Bytes), _) if !is_logical => {}
            (None, Value::String(_)) => data.schema = Some(optional(SchemaType::String)?),
            (None, Value::Bytes(_)) => data.schema = Some(optional(SchemaType::Bytes)?),
            (_, other) => {
                return Err(DataError::data(format!(
                    "the {} has to be a struct, a map, a string or bytes, and is: {}",
                    self.part.name(),
                    other.type_name()
                )));
            }
        }
        Ok(Some(record))
    }
}
