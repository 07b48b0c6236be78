//! `HeaderToValue`: moves or copies headers into fields of the value.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, Schema,
    SchemaAndValue, SchemaRef, SchemaType, Struct, Transform, TransformPlugin, Value,
};

use crate::field_path::no_container;
use crate::part::{Nulls, Part, basics, copied, names_key, non_empty_list, plugin};
use crate::schema_cache::SchemaCache;

const HEADERS: &str = "headers";
const FIELDS: &str = "fields";
const OPERATION: &str = "operation";

pub(super) fn transform() -> TransformPlugin {
    plugin("io.debezium.transforms.HeaderToValue", config_def, |config| {
        Ok(Arc::new(HeaderToValue::try_new(config)?))
    })
}

fn config_def() -> ConfigDef {
    ConfigDef::new()
        .key(names_key(
            HEADERS,
            Importance::High,
            "Names of the headers. Those that a record lacks are left out; a record without any stays as it is.",
        ))
        .key(names_key(
            FIELDS,
            Importance::High,
            "Names of the new fields of the value, which has to be a struct, one for each header; with dots for fields of \
             structs in it.",
        ))
        .key(
            ConfigKey::new(
                OPERATION,
                ConfigType::String,
                Importance::High,
                "`move` removes the headers, `copy` leaves them.",
            )
            .validator(Validator::one_of(&["move", "copy"])),
        )
}

#[derive(Debug)]
struct HeaderToValue {
    /// Names of headers with the paths of their fields.
    moves: Vec<(Arc<str>, Vec<Arc<str>>)>,
    removes: bool,
    schemas: SchemaCache<(Vec<SchemaRef>, SchemaRef)>,
}

/// A field to add: the path that is left, its schema and its value.
type Addition<'a> = (&'a [Arc<str>], SchemaRef, Value);

impl HeaderToValue {
    fn try_new(config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let headers = non_empty_list(config, HEADERS)?;
        let fields = non_empty_list(config, FIELDS)?;
        if headers.len() != fields.len() {
            let message = format!("'{FIELDS}' and '{HEADERS}' must have the same number of elements");
            return Err(ConfigError::new(FIELDS, message).into());
        }
        let moves = headers.iter().zip(fields).map(|(header, field)| {
            let path = field.split('.').map(Arc::from).collect();
            (Arc::from(header.as_str()), path)
        });
        Ok(Self {
            moves: moves.collect(),
            removes: config
                .str(OPERATION)
                .is_some_and(|text| text.eq_ignore_ascii_case("move")),
            schemas: SchemaCache::default(),
        })
    }

    fn additions(&self, record: &Record) -> Result<Vec<Addition<'_>>, DataError> {
        let mut additions = Vec::new();
        for (name, path) in &self.moves {
            let mut headers = record.headers.iter().filter(|header| header.key == *name);
            let Some(header) = headers.next() else {
                continue;
            };
            if headers.next().is_some() {
                return Err(DataError::data(format!(
                    "there are several headers `{name}`, and one field"
                )));
            }
            let SchemaAndValue { schema, value } = header.value.decode()?;
            let schema = schema
                .ok_or_else(|| DataError::data(format!("header `{name}` has no schema, which its field needs")))?;
            additions.push((path.as_slice(), schema, value));
        }
        Ok(additions)
    }

    /// The schema with the additions. Headers of one name have one schema as a rule.
    fn schema(&self, of: &SchemaRef, additions: &[Addition<'_>]) -> Result<SchemaRef, DataError> {
        let make = |of: &SchemaRef| extended(of, additions);
        let schemas = || additions.iter().map(|(_, schema, _)| schema);
        let (known, schema) = self
            .schemas
            .get(of, |of| Ok((schemas().cloned().collect(), make(of)?)))?;
        let is_same = known.len() == additions.len() && known.iter().zip(schemas()).all(|(a, b)| Schema::same(a, b));
        if is_same { Ok(schema) } else { make(of) }
    }
}

/// The additions that belong below `name`, each a step further.
fn below<'a>(additions: &[Addition<'a>], name: &str) -> Vec<Addition<'a>> {
    let below = additions.iter().filter_map(|(path, schema, value)| match path {
        [first, rest @ ..] if **first == *name && !rest.is_empty() => Some((rest, Arc::clone(schema), value.clone())),
        _ => None,
    });
    below.collect()
}

fn extended(of: &SchemaRef, additions: &[Addition<'_>]) -> Result<SchemaRef, DataError> {
    let mut builder = basics(of);
    for field in of.fields() {
        let below = below(additions, &field.name);
        let schema = match field.schema.schema_type() {
            _ if below.is_empty() => Arc::clone(&field.schema),
            SchemaType::Struct => extended(&field.schema, &below).map_err(|error| at(&field.name, error))?,
            other => return Err(at(&field.name, DataError::data(format!("a {other} has no fields")))),
        };
        builder = builder.field(Arc::clone(&field.name), schema);
    }
    for (path, schema, _) in additions {
        match path {
            [name] => builder = builder.field(Arc::clone(name), Arc::clone(schema)),
            [name, ..] if of.field(name).is_none() => {
                return Err(DataError::data(format!(
                    "there is no field `{name}` to add another one to"
                )));
            }
            _ => {}
        }
    }
    builder.build()
}

fn at(name: &str, error: DataError) -> DataError {
    error.at(&format!("field `{name}`"))
}

fn filled(source: &Struct, schema: &SchemaRef, additions: &[Addition<'_>]) -> Result<Struct, DataError> {
    let mut data = Struct::try_new(Arc::clone(schema))?;
    for (index, field) in source.schema().fields().iter().enumerate() {
        let below = below(additions, &field.name);
        let value = match copied(source, index, Nulls::Replaced)? {
            value if below.is_empty() => value,
            Value::Struct(inner) => {
                let inner = filled(&inner, &schema.fields()[index].schema, &below);
                Value::Struct(Box::new(inner.map_err(|error| at(&field.name, error))?))
            }
            Value::Null => Value::Null,
            other => return Err(no_container(&field.name, "a struct", &other)),
        };
        data.set_unchecked(index, value);
    }
    for (path, _, value) in additions {
        if let [name] = path {
            data.put(name, value.clone())?;
        }
    }
    Ok(data)
}

impl Transform for HeaderToValue {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        if record.value.is_null()? {
            return Ok(Some(record));
        }
        let additions = self.additions(&record)?;
        let data = record.value.decoded()?;
        let (Some(_), Value::Struct(source)) = (&data.schema, &data.value) else {
            return Err(Part::Value.neither_map_nor_struct(true, &data.value));
        };
        if additions.is_empty() {
            return Ok(Some(record));
        }
        let schema = self.schema(source.schema(), &additions)?;
        let changed = filled(source, &schema, &additions)?;
        *data = SchemaAndValue::new(schema, Value::Struct(Box::new(changed)));
        if self.removes {
            self.moves.iter().for_each(|(name, _)| record.headers.remove(name));
        }
        Ok(Some(record))
    }
}
