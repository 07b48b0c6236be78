//! `InsertField`: adds where a record comes from, its timestamp, or a fixed text to its key or value.

use std::sync::Arc;

use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Datum, Importance, Map, ParsedConfig,
    Record, Schema, SchemaRef, SchemaType, SmolStr, Struct, Transform, Value, logical,
};

use crate::part::{Nulls, Part, PartTransform, basics, copied};
use crate::schema_cache::SchemaCache;

const TOPIC: &str = "topic.field";
const PARTITION: &str = "partition.field";
const OFFSET: &str = "offset.field";
const TIMESTAMP: &str = "timestamp.field";
const STATIC_FIELD: &str = "static.field";
const STATIC_VALUE: &str = "static.value";

/// What is inserted.
#[derive(Debug, Clone)]
enum Source {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Text(SmolStr),
}

impl Source {
    /// None if the record does not have it.
    fn value(&self, record: &Record) -> Option<Value> {
        match self {
            Self::Topic => Some(Value::from(&record.topic)),
            Self::Partition => record.partition.map(Value::Int32),
            Self::Offset => Some(Value::Int64(record.origin().offset)),
            Self::Timestamp => record.timestamp.map(Value::Instant),
            Self::Text(text) => Some(Value::String(text.clone())),
        }
    }

    fn schema(&self, is_optional: bool) -> Result<SchemaRef, DataError> {
        let builder = match self {
            Self::Topic | Self::Text(_) => Schema::builder(SchemaType::String),
            Self::Partition => Schema::builder(SchemaType::Int32),
            Self::Offset => Schema::builder(SchemaType::Int64),
            Self::Timestamp => logical::timestamp(),
        };
        builder.with_optional(is_optional).build()
    }
}

#[derive(Debug)]
struct Insertion {
    name: Arc<str>,
    is_optional: bool,
    source: Source,
}

impl Insertion {
    fn new(spec: &str, source: Source) -> Self {
        let (name, is_optional) = match (spec.strip_suffix('?'), spec.strip_suffix('!')) {
            (Some(name), _) => (name, true),
            (None, Some(name)) => (name, false),
            (None, None) => (spec, true),
        };
        Self {
            name: name.into(),
            is_optional,
            source,
        }
    }
}

#[derive(Debug)]
pub(super) struct InsertField {
    part: Part,
    insertions: Vec<Insertion>,
    nulls: Nulls,
    schemas: SchemaCache<SchemaRef>,
}

impl PartTransform for InsertField {
    fn config_def() -> ConfigDef {
        let field = |name, what: &str| {
            let documentation = format!(
                "Field name for {what}. Suffix with `!` to make this a required field, or `?` to keep it optional (the \
                 default)."
            );
            ConfigKey::new(name, ConfigType::String, Importance::Medium, documentation).optional()
        };
        ConfigDef::new()
            .key(field(TOPIC, "the record's topic"))
            .key(field(PARTITION, "the record's partition"))
            .key(field(OFFSET, "the record's offset"))
            .key(field(TIMESTAMP, "the record's timestamp"))
            .key(field(STATIC_FIELD, "a fixed text"))
            .key(
                ConfigKey::new(
                    STATIC_VALUE,
                    ConfigType::String,
                    Importance::Medium,
                    "The text for `static.field`.",
                )
                .optional(),
            )
            .key(Nulls::key())
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let mut insertions = Vec::new();
        let sources = [
            (TOPIC, Source::Topic),
            (PARTITION, Source::Partition),
            (OFFSET, Source::Offset),
            (TIMESTAMP, Source::Timestamp),
        ];
        for (key, source) in sources {
            insertions.extend(config.str(key).map(|spec| Insertion::new(spec, source)));
        }
        if let Some(spec) = config.str(STATIC_FIELD) {
            let Some(text) = config.str(STATIC_VALUE) else {
                let message = format!("`{STATIC_FIELD}` is set to `{spec}`: set its text here");
                return Err(ConfigError::new(STATIC_VALUE, message).into());
            };
            insertions.push(Insertion::new(spec, Source::Text(text.into())));
        }
        if insertions.is_empty() {
            let message = format!(
                "no field insertion configured: set at least one of `{TOPIC}`, `{PARTITION}`, `{OFFSET}`, \
                 `{TIMESTAMP}` and `{STATIC_FIELD}`"
            );
            return Err(ConfigError::new("type", message).into());
        }
        Ok(Self {
            part,
            insertions,
            nulls: Nulls::of(config),
            schemas: SchemaCache::default(),
        })
    }
}

impl InsertField {
    fn add_to(&self, map: &mut Map, record: &Record) {
        for insertion in &self.insertions {
            let value = match insertion.source.value(record) {
                // Without a schema nothing would say what an instant is.
                Some(Value::Instant(ms)) => Value::Int64(ms),
                Some(value) => value,
                None => continue,
            };
            map.insert(&insertion.name, value);
        }
    }

    fn with_fields(&self, source: &Struct, record: &Record) -> Result<Struct, DataError> {
        let schema = self.schemas.get(source.schema(), |schema| self.extended(schema))?;
        let mut data = Struct::try_new(schema)?;
        let fields = source.schema().fields().len();
        for index in 0..fields {
            data.set_unchecked(index, copied(source, index, self.nulls)?);
        }
        for (index, insertion) in self.insertions.iter().enumerate() {
            // A required timestamp stays unset if the record has none, as in Connect: whoever writes it will complain.
            let value = insertion.source.value(record);
            data.set_unchecked(fields + index, value.unwrap_or(Value::Null));
        }
        Ok(data)
    }

    fn extended(&self, schema: &Schema) -> Result<SchemaRef, DataError> {
        let mut builder = basics(schema);
        for field in schema.fields() {
            builder = builder.field(Arc::clone(&field.name), Arc::clone(&field.schema));
        }
        for insertion in &self.insertions {
            let schema = insertion.source.schema(insertion.is_optional)?;
            builder = builder.field(Arc::clone(&insertion.name), schema);
        }
        builder.build()
    }
}

impl Transform for InsertField {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        // Out of the record, which is looked at meanwhile.
        let mut datum = std::mem::replace(self.part.of(&mut record), Datum::NULL);
        let data = datum.decoded()?;
        match (&data.schema, &mut data.value) {
            (_, Value::Null) => {}
            (None, Value::Map(map)) => self.add_to(map, &record),
            (Some(_), Value::Struct(source)) => {
                let changed = self.with_fields(source, &record)?;
                data.schema = Some(Arc::clone(changed.schema()));
                data.value = Value::Struct(Box::new(changed));
            }
            (schema, value) => return Err(self.part.neither_map_nor_struct(schema.is_some(), value)),
        }
        *self.part.of(&mut record) = datum;
        Ok(Some(record))
    }
}
