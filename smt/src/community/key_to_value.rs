//! `KeyToValue`: copies fields of the key, or the whole key, into the value.

use std::sync::Arc;

use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, Schema,
    SchemaAndValue, SchemaRef, SchemaType, Transform, TransformPlugin, Value,
};

use crate::fields::{carried_over, with_fields};
use crate::part::{Part, non_empty_list, plugin};
use crate::schema_cache::SchemaCache;

const KEY_FIELDS: &str = "key.fields";
const VALUE_FIELDS: &str = "value.fields";
const WHOLE: &str = "*";
const WHOLE_NAME: &str = "_key";

pub(super) fn transform() -> TransformPlugin {
    plugin("io.aiven.kafka.connect.transforms.KeyToValue", config_def, |config| {
        Ok(Arc::new(KeyToValue::try_new(config)?))
    })
}

fn config_def() -> ConfigDef {
    ConfigDef::new()
        .key(ConfigKey::new(
            KEY_FIELDS,
            ConfigType::List,
            Importance::High,
            "Fields of the key to copy into the value; `*` for the whole key.",
        ))
        .key(
            ConfigKey::new(
                VALUE_FIELDS,
                ConfigType::List,
                Importance::High,
                "Their names in the value, in the order of `key.fields`; where the list is shorter, or has `*`, the names \
                 of the key's fields, and `_key` for the whole key. Fields that are there already are replaced.",
            )
            .default(""),
        )
}

#[derive(Debug)]
struct KeyToValue {
    copies: Vec<Copy>,
    schemas: SchemaCache<(SchemaRef, SchemaRef)>,
}

#[derive(Debug)]
struct Copy {
    source: Source,
    name: Arc<str>,
}

#[derive(Debug)]
enum Source {
    Whole,
    Field(Arc<str>),
}

impl KeyToValue {
    fn try_new(config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let names = config.list(VALUE_FIELDS);
        let mut copies: Vec<Copy> = Vec::new();
        for (index, field) in non_empty_list(config, KEY_FIELDS)?.iter().enumerate() {
            let name = match names.get(index).unwrap_or(field).as_str() {
                WHOLE => WHOLE_NAME,
                name => name,
            };
            if copies.iter().any(|copy| &*copy.name == name) {
                let message = format!("more than one field of the key is copied to `{name}`: name each differently");
                return Err(ConfigError::new(VALUE_FIELDS, message).into());
            }
            copies.push(Copy {
                source: match field.as_str() {
                    WHOLE => Source::Whole,
                    field => Source::Field(field.into()),
                },
                name: name.into(),
            });
        }
        Ok(Self {
            copies,
            schemas: SchemaCache::default(),
        })
    }

    /// The value's schema with the copies.
    fn schema(&self, key: &SchemaRef, value: &SchemaRef) -> Result<SchemaRef, DataError> {
        let make = |value: &SchemaRef| {
            let copies = self.copies.iter().map(|copy| {
                let schema = match &copy.source {
                    Source::Whole => key,
                    Source::Field(name) => &key.field(name).ok_or_else(|| missing(name))?.schema,
                };
                Ok((Arc::clone(&copy.name), Arc::clone(schema)))
            });
            with_fields(value, &copies.collect::<Result<Vec<_>, DataError>>()?)
        };
        let (of, known) = self.schemas.get(value, |value| Ok((Arc::clone(key), make(value)?)))?;
        // Keys of one topic have one schema as a rule.
        if Schema::same(&of, key) { Ok(known) } else { make(value) }
    }
}

fn missing(name: &str) -> DataError {
    DataError::data(format!("the key has no field `{name}`"))
}

impl Source {
    fn value(&self, key: &Value) -> Result<Value, DataError> {
        match (self, key) {
            (Self::Whole, key) => Ok(key.clone()),
            (Self::Field(name), Value::Map(map)) => Ok(map.get(name).cloned().unwrap_or(Value::Null)),
            (Self::Field(name), Value::Struct(data)) => data.get(name).cloned().ok_or_else(|| missing(name)),
            (Self::Field(name), other) => Err(DataError::data(format!(
                "the key has no field `{name}`: it is no map and no struct, but: {}",
                other.type_name()
            ))),
        }
    }
}

/// The schema that a key without one has in a struct.
fn inferred(key: &Value) -> Result<SchemaRef, DataError> {
    let schema_type = match key {
        Value::String(_) => SchemaType::String,
        Value::Boolean(_) => SchemaType::Boolean,
        Value::Int8(_) => SchemaType::Int8,
        Value::Int16(_) => SchemaType::Int16,
        Value::Int32(_) => SchemaType::Int32,
        Value::Int64(_) => SchemaType::Int64,
        Value::Float32(_) => SchemaType::Float32,
        Value::Float64(_) => SchemaType::Float64,
        other => {
            return Err(DataError::data(format!(
                "the value has a schema, and the key has none that could go into it: it is: {}",
                other.type_name()
            )));
        }
    };
    Schema::builder(schema_type).optional().build()
}

impl Transform for KeyToValue {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let SchemaAndValue {
            schema: key_schema,
            value: key,
        } = record.key.decoded()?.clone();
        let data = record.value.decoded()?;
        match (&data.schema, &mut data.value) {
            (None, Value::Map(map)) => {
                for copy in &self.copies {
                    map.insert(&copy.name, copy.source.value(&key)?);
                }
            }
            (Some(_), Value::Struct(source)) => {
                let key_schema = key_schema.map_or_else(|| inferred(&key), Ok)?;
                let schema = self.schema(&key_schema, source.schema())?;
                let mut changed = carried_over(source, &schema)?;
                for copy in &self.copies {
                    changed.put(&copy.name, copy.source.value(&key)?)?;
                }
                data.schema = Some(schema);
                data.value = Value::Struct(Box::new(changed));
            }
            (schema, value) => return Err(Part::Value.neither_map_nor_struct(schema.is_some(), value)),
        }
        Ok(Some(record))
    }
}
