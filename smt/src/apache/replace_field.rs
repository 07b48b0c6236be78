//! `ReplaceField`: keeps, drops and renames fields of a key or value.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, Map, ParsedConfig, Record,
    Schema, SchemaRef, Struct, Transform, Value,
};
use tracing::warn;

use crate::part::{Nulls, Part, PartTransform, basics, copied, names_key, no_duplicates};
use crate::schema_cache::SchemaCache;

const EXCLUDE: &str = "exclude";
const INCLUDE: &str = "include";
const RENAMES: &str = "renames";
/// Names up to Kafka 3.9. Kafka 4 ignores them without a word, and so keeps what was to be dropped.
const BLACKLIST: &str = "blacklist";
const WHITELIST: &str = "whitelist";

/// Java splits at `:` and forgets empty parts at the end.
fn rename(mapping: &str) -> Result<(&str, &str), String> {
    let mut parts = mapping.trim_end_matches(':').split(':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(old), Some(new), None) => Ok((old, new)),
        _ => Err(format!("Invalid rename mapping: {mapping}; it has the form old:new")),
    }
}

#[derive(Debug)]
pub(super) struct ReplaceField {
    part: Part,
    exclude: HashSet<Arc<str>>,
    include: HashSet<Arc<str>>,
    /// New names by old ones.
    renames: HashMap<Arc<str>, Arc<str>>,
    /// Old names by new ones.
    sources: HashMap<Arc<str>, Arc<str>>,
    nulls: Nulls,
    plans: SchemaCache<Arc<Plan>>,
}

/// How structs of one schema are changed.
#[derive(Debug)]
struct Plan {
    schema: SchemaRef,
    fields: Vec<FieldPlan>,
}

#[derive(Debug)]
struct FieldPlan {
    /// Index of the field that the value comes from.
    source: usize,
    /// The value has been checked against another schema than that of the field it goes to.
    must_check: bool,
}

impl PartTransform for ReplaceField {
    fn config_def() -> ConfigDef {
        let list = |name, importance, documentation: &str| {
            ConfigKey::new(name, ConfigType::List, importance, documentation).default("")
        };
        let names = |name, documentation| names_key(name, Importance::Medium, documentation).default("");
        ConfigDef::new()
            .key(names(
                EXCLUDE,
                "Fields to exclude. This takes precedence over the fields to include.",
            ))
            .key(names(
                INCLUDE,
                "Fields to include. If specified, only these fields will be used.",
            ))
            .key(
                list(
                    RENAMES,
                    Importance::Medium,
                    "Field rename mappings: `old:new`, separated by commas.",
                )
                .validator(Validator::new(|item| rename(item).map(|_| ()))),
            )
            .key(Nulls::key())
            .key(list(
                BLACKLIST,
                Importance::Low,
                "Deprecated name of `exclude`, which wins.",
            ))
            .key(list(
                WHITELIST,
                Importance::Low,
                "Deprecated name of `include`, which wins.",
            ))
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        for mapping in config.list(RENAMES) {
            let (old, new) = rename(mapping).map_err(|message| ConfigError::new(RENAMES, message))?;
            // The last new name of a field counts.
            pairs.retain(|(known, _)| **known != *old);
            pairs.push((old.into(), new.into()));
        }
        let sources = pairs.iter().map(|(old, new)| (Arc::clone(new), Arc::clone(old)));
        let sources = sources.collect();
        let renames = pairs.into_iter().collect();
        Ok(Self {
            part,
            exclude: names(config, EXCLUDE, BLACKLIST)?,
            include: names(config, INCLUDE, WHITELIST)?,
            renames,
            sources,
            nulls: Nulls::of(config),
            plans: SchemaCache::default(),
        })
    }
}

impl ReplaceField {
    fn keeps(&self, name: &str) -> bool {
        !self.exclude.contains(name) && (self.include.is_empty() || self.include.contains(name))
    }

    /// In the order of the input; where two fields get one name the later one wins.
    fn change(&self, map: &mut Map) {
        map.retain(|key, _| key.as_str().is_some_and(|name| self.keeps(name)));
        if !self.renames.is_empty() {
            map.rename(|key| self.renames.get(key.as_str()?).map(Value::from));
        }
    }

    fn structure(&self, source: &Struct) -> Result<Struct, DataError> {
        let plan = self.plans.get(source.schema(), |schema| self.plan(schema))?;
        let mut data = Struct::try_new(Arc::clone(&plan.schema))?;
        for (index, field) in plan.fields.iter().enumerate() {
            let value = copied(source, field.source, self.nulls)?;
            if field.must_check {
                let target = &plan.schema.fields()[index];
                value
                    .validate(&target.schema)
                    .map_err(|error| error.at(&format!("field `{}`", target.name)))?;
            }
            data.set_unchecked(index, value);
        }
        Ok(data)
    }

    /// As Connect does it: an output field takes its value from the field that its name is a rename of, whether or not
    /// it was that field that was renamed.
    fn plan(&self, schema: &SchemaRef) -> Result<Arc<Plan>, DataError> {
        let mut builder = basics(schema);
        for field in schema.fields().iter().filter(|field| self.keeps(&field.name)) {
            let name = self.renames.get(&field.name).unwrap_or(&field.name);
            builder = builder.field(Arc::clone(name), Arc::clone(&field.schema));
        }
        let changed = builder.build()?;
        let fields = changed.fields().iter().map(|field| {
            let source = self.sources.get(&field.name).unwrap_or(&field.name);
            let Some(index) = schema.field_index(source) else {
                return Err(DataError::data(format!(
                    "field `{}` takes its value from `{source}` by `renames`, and there is no field `{source}`",
                    field.name
                )));
            };
            Ok(FieldPlan {
                source: index,
                must_check: !Schema::same(&schema.fields()[index].schema, &field.schema),
            })
        });
        let fields = fields.collect::<Result<_, _>>()?;
        Ok(Arc::new(Plan {
            schema: changed,
            fields,
        }))
    }
}

fn names(config: &ParsedConfig, key: &str, deprecated: &str) -> Result<HashSet<Arc<str>>, ConfigErrors> {
    let list = match (config.list(key), config.list(deprecated)) {
        ([], []) => return Ok(HashSet::default()),
        ([], old) => {
            warn!(setting = deprecated, use_instead = key, "a deprecated setting is used");
            old
        }
        (list, _) => list,
    };
    no_duplicates(list, key)?;
    let names: HashSet<Arc<str>> = list.iter().map(|name| name.as_str().into()).collect();
    Ok(names)
}

impl Transform for ReplaceField {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        match (&data.schema, &mut data.value) {
            (_, Value::Null) => {}
            (None, Value::Map(map)) => self.change(map),
            (Some(_), Value::Struct(source)) => {
                let changed = self.structure(source)?;
                data.schema = Some(Arc::clone(changed.schema()));
                data.value = Value::Struct(Box::new(changed));
            }
            (schema, value) => return Err(self.part.neither_map_nor_struct(schema.is_some(), value)),
        }
        Ok(Some(record))
    }
}
