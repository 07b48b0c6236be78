//! `Flatten`: brings the fields inside of maps and structs to the top, under the names of all levels.

use std::sync::Arc;

use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, Map, ParsedConfig, Record, Schema,
    SchemaBuilder, SchemaRef, SchemaType, Struct, Transform, Value,
};

use crate::part::{Part, PartTransform, basics};
use crate::schema_cache::SchemaCache;

const DELIMITER: &str = "delimiter";

#[derive(Debug)]
pub(super) struct Flatten {
    part: Part,
    delimiter: String,
    schemas: SchemaCache<SchemaRef>,
}

impl PartTransform for Flatten {
    fn config_def() -> ConfigDef {
        ConfigDef::new().key(
            ConfigKey::new(
                DELIMITER,
                ConfigType::String,
                Importance::Medium,
                "Text between the names of the levels.",
            )
            .default("."),
        )
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        Ok(Self {
            part,
            delimiter: config.str(DELIMITER).unwrap_or_default().to_owned(),
            schemas: SchemaCache::default(),
        })
    }
}

impl Flatten {
    fn name(&self, prefix: &str, name: &str) -> String {
        // Connect takes an empty name for the top level.
        if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}{}{name}", self.delimiter)
        }
    }

    /// Of two fields that get one name the later one wins.
    fn flatten_map(&self, prefix: &str, source: Map, into: &mut Map) -> Result<(), DataError> {
        for (key, value) in source {
            let Value::String(key) = key else {
                return Err(DataError::data(format!(
                    "a key has to be a string, and is: {}",
                    key.type_name()
                )));
            };
            let name = self.name(prefix, &key);
            match value {
                Value::Map(inner) => self.flatten_map(&name, inner, into)?,
                Value::Decimal(_) | Value::Instant(_) | Value::Struct(_) => {
                    return Err(DataError::data(format!(
                        "field `{name}`: {} without a schema cannot be flattened",
                        value.type_name()
                    )));
                }
                value => {
                    into.insert(name, value);
                }
            }
        }
        Ok(())
    }

    fn schema(&self, source: &SchemaRef) -> Result<SchemaRef, DataError> {
        let default = match source.default() {
            Some(Value::Struct(default)) => Some(&**default),
            _ => None,
        };
        self.fields("", source, basics(source), source.is_optional(), default)?
            .build()
    }

    /// A field is optional if anything above it is, and its default is the one that the default of a struct above it
    /// holds if it has none itself.
    fn fields(
        &self,
        prefix: &str,
        source: &Schema,
        mut builder: SchemaBuilder,
        is_optional: bool,
        default: Option<&Struct>,
    ) -> Result<SchemaBuilder, DataError> {
        for field in source.fields() {
            let name = self.name(prefix, &field.name);
            let is_optional = is_optional || field.schema.is_optional();
            let of_parent = default.and_then(|default| default.get(&field.name));
            let default = field.schema.default().or(of_parent.filter(|value| !value.is_null()));
            match field.schema.schema_type() {
                SchemaType::Struct => {
                    let default = match default {
                        Some(Value::Struct(default)) => Some(&**default),
                        _ => None,
                    };
                    builder = self.fields(&name, &field.schema, builder, is_optional, default)?;
                }
                SchemaType::Map => {
                    return Err(DataError::data(format!(
                        "field `{name}`: a map with a schema cannot be flattened"
                    )));
                }
                _ => {
                    let leaf = field.schema.to_builder().with_optional(is_optional);
                    let leaf = match default {
                        Some(default) => leaf.default_value(default.clone()),
                        None => leaf.without_default(),
                    };
                    builder = builder.field(name, leaf.build()?);
                }
            }
        }
        Ok(builder)
    }

    /// The leaves come in the order of the schema, so the next one goes to the field `at`.
    fn flatten_struct(source: &Struct, at: &mut usize, into: &mut Struct) -> Result<(), DataError> {
        for (field, value) in source.schema().fields().iter().zip(source.values()) {
            if field.schema.schema_type() == SchemaType::Struct {
                match value {
                    Value::Struct(inner) => Self::flatten_struct(inner, at, into)?,
                    // Its fields stay null.
                    _ => *at += leaves(&field.schema),
                }
                continue;
            }
            let value = match (value, field.schema.default()) {
                (Value::Null, Some(default)) => default,
                (value, _) => value,
            };
            let target = into.schema().fields().get(*at);
            if let Some(target) = target.filter(|target| value.is_null() && !target.schema.is_optional()) {
                return Err(DataError::data(format!("field `{}` is required and null", target.name)));
            }
            into.set_unchecked(*at, value.clone());
            *at += 1;
        }
        Ok(())
    }
}

fn leaves(schema: &Schema) -> usize {
    let of_field = |schema: &Schema| match schema.schema_type() {
        SchemaType::Struct => leaves(schema),
        _ => 1,
    };
    schema.fields().iter().map(|field| of_field(&field.schema)).sum()
}

impl Transform for Flatten {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        match (&data.schema, &mut data.value) {
            (_, Value::Null) => {}
            (None, Value::Map(map)) => {
                let mut flat = Map::new();
                self.flatten_map("", std::mem::take(map), &mut flat)?;
                data.value = Value::Map(flat);
            }
            (Some(_), Value::Struct(source)) => {
                let schema = self.schemas.get(source.schema(), |schema| self.schema(schema))?;
                let mut flat = Struct::try_new(Arc::clone(&schema))?;
                Self::flatten_struct(source, &mut 0, &mut flat)?;
                data.schema = Some(schema);
                data.value = Value::Struct(Box::new(flat));
            }
            (schema, value) => return Err(self.part.neither_map_nor_struct(schema.is_some(), value)),
        }
        Ok(Some(record))
    }
}
