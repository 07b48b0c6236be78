//! `ValueToKey`: makes a new key of fields of the value.

use std::sync::Arc;

use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, DataError, Importance, Map, ParsedConfig, Record, Schema, SchemaAndValue,
    SchemaRef, Struct, Transform, TransformPlugin, Value,
};

use crate::field_path::{FieldPath, FieldSyntax};
use crate::part::{Nulls, Part, distinct_names, names_key, plugin};
use crate::schema_cache::SchemaCache;

const FIELDS: &str = "fields";

pub(super) fn transform() -> TransformPlugin {
    plugin(
        "org.apache.kafka.connect.transforms.ValueToKey",
        || {
            ConfigDef::new()
                .key(names_key(
                    FIELDS,
                    Importance::High,
                    "Field names on the record value to extract as the record key. Of a path the key's field has the \
                     last name.",
                ))
                .key(Nulls::key())
                .key(FieldSyntax::key())
        },
        |config| Ok(Arc::new(ValueToKey::try_new(config)?)),
    )
}

#[derive(Debug)]
struct ValueToKey {
    fields: Vec<FieldPath>,
    nulls: Nulls,
    schemas: SchemaCache<SchemaRef>,
}

impl ValueToKey {
    fn try_new(config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let syntax = FieldSyntax::of(config);
        let mut fields: Vec<FieldPath> = Vec::new();
        for name in distinct_names(config, FIELDS)? {
            let path = syntax.path(FIELDS, name)?;
            if fields.iter().any(|known| known.last() == path.last()) {
                let message = format!("two fields would have the name `{}` in the key", path.last());
                return Err(ConfigError::new(FIELDS, message).into());
            }
            fields.push(path);
        }
        Ok(Self {
            fields,
            nulls: Nulls::of(config),
            schemas: SchemaCache::default(),
        })
    }

    fn schema(&self, value: &SchemaRef) -> Result<SchemaRef, DataError> {
        let mut builder = Schema::structure();
        for path in &self.fields {
            let Some(schema) = path.in_schema(value)? else {
                return Err(DataError::data(format!("the value has no field `{path}`")));
            };
            builder = builder.field(Arc::clone(path.last()), Arc::clone(schema));
        }
        builder.build()
    }

    fn key(&self, source: &Struct) -> Result<SchemaAndValue, DataError> {
        let schema = self.schemas.get(source.schema(), |schema| self.schema(schema))?;
        let mut key = Struct::try_new(Arc::clone(&schema))?;
        for (index, path) in self.fields.iter().enumerate() {
            let value = path.in_struct(source, self.nulls)?;
            if value.is_null() && !schema.fields()[index].schema.is_optional() {
                return Err(DataError::data(format!("field `{path}` is required and null")));
            }
            key.set_unchecked(index, value);
        }
        Ok(SchemaAndValue::new(schema, Value::Struct(Box::new(key))))
    }
}

impl Transform for ValueToKey {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = record.value.decoded()?;
        let key = match (&data.schema, &data.value) {
            (None, Value::Map(map)) => {
                let mut key = Map::new();
                for path in &self.fields {
                    key.insert(path.last(), path.in_map(map)?);
                }
                SchemaAndValue::schemaless(Value::Map(key))
            }
            (Some(_), Value::Struct(source)) => self.key(source)?,
            (schema, value) => return Err(Part::Value.neither_map_nor_struct(schema.is_some(), value)),
        };
        record.key = key.into();
        Ok(Some(record))
    }
}
