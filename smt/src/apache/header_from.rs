//! `HeaderFrom`: moves or copies fields of a key or value into headers.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record,
    SchemaAndValue, Transform, Value,
};

use crate::field_path::{FieldPath, FieldSyntax};
use crate::fields::{FieldTree, Keep, Plan};
use crate::part::{Nulls, Part, PartTransform, non_empty_list};
use crate::schema_cache::SchemaCache;

const FIELDS: &str = "fields";
const HEADERS: &str = "headers";
const OPERATION: &str = "operation";

#[derive(Debug)]
enum Operation {
    Copy,
    /// The fields, which are removed.
    Move(FieldTree<()>),
}

#[derive(Debug)]
pub(super) struct HeaderFrom {
    part: Part,
    /// Each with the name of its header.
    fields: Vec<(FieldPath, Arc<str>)>,
    operation: Operation,
    nulls: Nulls,
    plans: SchemaCache<Arc<Plan<()>>>,
}

impl PartTransform for HeaderFrom {
    fn config_def() -> ConfigDef {
        let list = |name, documentation| ConfigKey::new(name, ConfigType::List, Importance::High, documentation);
        ConfigDef::new()
            .key(list(
                FIELDS,
                "Field names whose values are to be copied or moved to headers.",
            ))
            .key(list(HEADERS, "Header names, in the order of the fields."))
            .key(
                ConfigKey::new(
                    OPERATION,
                    ConfigType::String,
                    Importance::High,
                    "`move` removes the fields, `copy` keeps them.",
                )
                .validator(Validator::new(|text| match text {
                    "move" | "copy" => Ok(()),
                    _ => Err("String must be one of: move, copy".to_owned()),
                }))
                .recommended(["move", "copy"]),
            )
            .key(Nulls::key())
            .key(FieldSyntax::key())
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let syntax = FieldSyntax::of(config);
        let empty = [FIELDS, HEADERS]
            .into_iter()
            .filter_map(|key| non_empty_list(config, key).err());
        ConfigErrors::check(empty.flatten().collect())?;
        let (names, headers) = (config.list(FIELDS), config.list(HEADERS));
        if names.len() != headers.len() {
            let message = format!(
                "'{FIELDS}' config must have the same number of elements as '{HEADERS}' config: there are {} and {}",
                names.len(),
                headers.len()
            );
            return Err(ConfigError::new(FIELDS, message).into());
        }
        let mut fields = Vec::new();
        for (name, header) in names.iter().zip(headers) {
            fields.push((syntax.path(FIELDS, name)?, Arc::from(header.as_str())));
        }
        let operation = match config.str(OPERATION) {
            Some("move") => {
                let mut moved = FieldTree::default();
                for (path, _) in &fields {
                    moved.add(FIELDS, path, ())?;
                }
                Operation::Move(moved)
            }
            _ => Operation::Copy,
        };
        Ok(Self {
            part,
            fields,
            operation,
            nulls: Nulls::of(config),
            plans: SchemaCache::default(),
        })
    }
}

impl Transform for HeaderFrom {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        let mut headers = Vec::with_capacity(self.fields.len());
        match (&data.schema, &mut data.value) {
            (None, Value::Map(map)) => {
                for (path, _) in &self.fields {
                    headers.push(SchemaAndValue::schemaless(path.in_map(map)?));
                }
                if let Operation::Move(fields) = &self.operation {
                    fields.remove_from_map(map);
                }
            }
            (Some(_), Value::Struct(source)) => {
                for (path, _) in &self.fields {
                    let Some(schema) = path.in_schema(source.schema())? else {
                        return Err(DataError::data(format!(
                            "the {} has no field `{path}`",
                            self.part.name()
                        )));
                    };
                    let value = path.in_struct(source, self.nulls)?;
                    if value.is_null() && !schema.is_optional() {
                        return Err(DataError::data(format!(
                            "field `{path}` is null and required, which no header can be"
                        )));
                    }
                    headers.push(SchemaAndValue::new(Arc::clone(schema), value));
                }
                if let Operation::Move(fields) = &self.operation {
                    let unchanged: crate::fields::ChangeValue<'_, ()> = &|(), _, value| Ok(value);
                    let plan = self.plans.get(source.schema(), |schema| {
                        Plan::build(schema, fields, Keep::Basics, &|(), _| Ok(None), unchanged).map(Arc::new)
                    })?;
                    let changed = plan.apply(source, self.nulls, unchanged)?;
                    data.schema = Some(Arc::clone(&plan.schema));
                    data.value = Value::Struct(Box::new(changed));
                }
            }
            (schema, value) => return Err(self.part.neither_map_nor_struct(schema.is_some(), value)),
        }
        for ((_, name), value) in self.fields.iter().zip(headers) {
            record.headers.add(Arc::clone(name), value);
        }
        Ok(Some(record))
    }
}
