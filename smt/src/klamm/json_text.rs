//! `ParseJson` and `WriteJson`: fields, or a whole key or value, from JSON text to what it holds, and back.

use std::sync::Arc;

use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, Rendering, Schema,
    SchemaAndValue, SchemaRef, Transform, Value, json,
};
use klamm_converters::parse_json;

use crate::field_path::FieldSyntax;
use crate::fields::{FieldTree, Keep, Missing, Plan};
use crate::part::{Nulls, Part, PartTransform, names_key, no_duplicates};
use crate::schema_cache::SchemaCache;

const FIELDS: &str = "fields";

fn fields_key(documentation: &str) -> ConfigKey {
    names_key(FIELDS, Importance::High, documentation).default("")
}

/// Dots lead into nested fields here from the start: there is no older meaning to keep.
fn syntax_key() -> ConfigKey {
    ConfigKey::new(
        FieldSyntax::KEY,
        ConfigType::String,
        Importance::Low,
        "How field names are read: `V2` takes paths such as `a.b`, in which backticks enclose names that hold dots; `V1` \
         takes them literally, at the top level.",
    )
    .default("V2")
    .validator(FieldSyntax::validator())
}

/// The fields; none for the whole key or value.
fn fields(config: &ParsedConfig) -> Result<Option<FieldTree<()>>, ConfigErrors> {
    let names = config.list(FIELDS);
    no_duplicates(names, FIELDS)?;
    let syntax = FieldSyntax::of(config);
    let mut fields = FieldTree::default();
    for name in names {
        fields.add(FIELDS, &syntax.path(FIELDS, name)?, ())?;
    }
    Ok((!names.is_empty()).then_some(fields))
}

#[derive(Debug)]
pub(super) struct ParseJson {
    part: Part,
    fields: Option<FieldTree<()>>,
}

impl PartTransform for ParseJson {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(fields_key(
                "Fields whose text is JSON and becomes what it holds: objects, lists, numbers; empty for the whole key or \
                 value. Null stays null, missing fields stay missing, and anything but JSON text fails the record. \
                 Integers beyond 64 bits lose their high bits, as with JsonConverter. A key or value with a schema loses \
                 it, and is then what JsonConverter without schemas writes of it.",
            ))
            .key(syntax_key())
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        Ok(Self {
            part,
            fields: fields(config)?,
        })
    }
}

fn parsed(value: &Value) -> Result<Value, DataError> {
    match value {
        Value::Null => Ok(Value::Null),
        Value::String(text) => parse_json(text),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => parse_json(text),
            Err(_) => Err(DataError::data("not JSON: the bytes are not UTF-8")),
        },
        other => Err(DataError::data(format!(
            "only text can hold JSON, and this is: {}",
            other.type_name()
        ))),
    }
}

impl Transform for ParseJson {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        if data.value.is_null() {
            return Ok(Some(record));
        }
        let Some(fields) = &self.fields else {
            let value = parsed(&data.value).map_err(|error| error.at(&format!("the {}", self.part.name())))?;
            *data = SchemaAndValue::schemaless(value);
            return Ok(Some(record));
        };
        if data.schema.is_some() {
            if !matches!(data.value, Value::Struct(_)) {
                return Err(self.part.neither_map_nor_struct(true, &data.value));
            }
            *data = SchemaAndValue::schemaless(without_schema(data)?);
        }
        match &mut data.value {
            Value::Map(map) => fields.change_map(map, Missing::Left, &|(), value| parsed(value))?,
            other => return Err(self.part.neither_map_nor_struct(false, other)),
        }
        Ok(Some(record))
    }
}

/// The value as `JsonConverter` without schemas would write and read it again: Decimals and bytes are base64, dates
/// numbers, defaults stand in for null.
fn without_schema(data: &SchemaAndValue) -> Result<Value, DataError> {
    parse_json(&written(data)?)
}

fn written(data: &SchemaAndValue) -> Result<String, DataError> {
    let mut out = Vec::new();
    json::write(data, Rendering::Connect, &mut out)?;
    String::from_utf8(out).map_err(|_| DataError::data("the JSON text is not UTF-8"))
}

#[derive(Debug)]
pub(super) struct WriteJson {
    part: Part,
    fields: Option<FieldTree<()>>,
    plans: SchemaCache<Arc<Plan<()>>>,
}

impl PartTransform for WriteJson {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(fields_key(
                "Fields that become JSON text, as JsonConverter without schemas writes it; empty for the whole key or \
                 value. Null stays null and missing fields stay missing. With a schema the field is a string, optional as \
                 it was.",
            ))
            .key(syntax_key())
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        Ok(Self {
            part,
            fields: fields(config)?,
            plans: SchemaCache::default(),
        })
    }
}

fn text(schema: Option<&SchemaRef>, value: Value) -> Result<Value, DataError> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let data = SchemaAndValue {
        schema: schema.cloned(),
        value,
    };
    written(&data).map(Value::from)
}

fn text_schema(schema: &SchemaRef) -> SchemaRef {
    if schema.is_optional() {
        Schema::optional_string()
    } else {
        Schema::string()
    }
}

impl Transform for WriteJson {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        if data.value.is_null() {
            return Ok(Some(record));
        }
        let change = |(): &(), schema: &SchemaRef, value: Value| text(Some(schema), value);
        match (&self.fields, &data.schema, &mut data.value) {
            (None, schema, value) => {
                let written = text(schema.as_ref(), std::mem::replace(value, Value::Null));
                let written = written.map_err(|error| error.at(&format!("the {}", self.part.name())))?;
                *data = SchemaAndValue {
                    schema: schema.as_ref().map(text_schema),
                    value: written,
                };
            }
            (Some(fields), None, Value::Map(map)) => {
                fields.change_map(map, Missing::Left, &|(), value| text(None, value.clone()))?;
            }
            (Some(fields), Some(_), Value::Struct(source)) => {
                let plan = self.plans.get(source.schema(), |schema| {
                    let leaf = |(): &(), schema: &SchemaRef| Ok(Some(text_schema(schema)));
                    Plan::build(schema, fields, Keep::All, &leaf, &change).map(Arc::new)
                })?;
                let changed = plan.apply(source, Nulls::Replaced, &change)?;
                data.schema = Some(Arc::clone(&plan.schema));
                data.value = Value::Struct(Box::new(changed));
            }
            (Some(_), schema, value) => return Err(self.part.neither_map_nor_struct(schema.is_some(), value)),
        }
        Ok(Some(record))
    }
}
