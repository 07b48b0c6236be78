//! `BytesToString`: bytes become text, in fields of a struct or as a whole key or value.

use std::sync::Arc;

use foldhash::HashSet;
use klamm_connect_api::config::Validator;
use klamm_connect_api::logical::Logical;
use klamm_connect_api::{
    ConfigDef, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, ParsedConfig, Record, Schema, SchemaRef,
    SchemaType, Struct, Transform, Value,
};
use klamm_converters::Charset;

use crate::part::{Nulls, Part, PartTransform, copied};
use crate::schema_cache::SchemaCache;

const CHARSET: &str = "charset";
const FIELDS: &str = "fields";

#[derive(Debug)]
pub(super) struct BytesToString {
    part: Part,
    charset: Charset,
    fields: HashSet<Arc<str>>,
    schemas: SchemaCache<SchemaRef>,
}

impl PartTransform for BytesToString {
    fn config_def() -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    CHARSET,
                    ConfigType::String,
                    Importance::High,
                    "Charset of the bytes. What is malformed in it becomes U+FFFD.",
                )
                .default("UTF-8")
                .validator(Validator::new(Charset::check)),
            )
            .key(
                ConfigKey::new(
                    FIELDS,
                    ConfigType::List,
                    Importance::High,
                    "Fields of a struct that become text. A key or value that is bytes itself becomes text whatever stands \
                     here.",
                )
                .default(""),
            )
    }

    fn try_new(part: Part, config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let charset = config.str(CHARSET).and_then(Charset::of);
        let fields = config.list(FIELDS).iter().map(|name| name.as_str().into());
        Ok(Self {
            part,
            charset: charset.unwrap_or(Charset::Utf8),
            fields: fields.collect(),
            schemas: SchemaCache::default(),
        })
    }
}

/// The schema of a text that was bytes: nothing but optional is kept.
fn text_schema(is_optional: bool) -> Result<SchemaRef, DataError> {
    Schema::builder(SchemaType::String).with_optional(is_optional).build()
}

impl BytesToString {
    fn text(&self, bytes: &[u8]) -> Value {
        Value::from(&*self.charset.decode(bytes))
    }

    /// Of the struct's own attributes only its name and whether it is optional are kept, as in the original.
    fn changed(&self, schema: &Schema) -> Result<SchemaRef, DataError> {
        let mut builder = Schema::structure().with_optional(schema.is_optional());
        if let Some(name) = schema.name().filter(|name| !name.is_empty()) {
            builder = builder.name(name);
        }
        for field in schema.fields() {
            let is_changed = self.fields.contains(&field.name);
            if is_changed && (field.schema.schema_type() != SchemaType::Bytes || Logical::of(&field.schema).is_some()) {
                return Err(DataError::data(format!("field `{}` does not hold bytes", field.name)));
            }
            let changed = if is_changed {
                text_schema(field.schema.is_optional())?
            } else {
                Arc::clone(&field.schema)
            };
            builder = builder.field(Arc::clone(&field.name), changed);
        }
        builder.build()
    }

    fn structure(&self, source: &Struct) -> Result<Struct, DataError> {
        let schema = self.schemas.get(source.schema(), |schema| self.changed(schema))?;
        let mut changed = Struct::try_new(Arc::clone(&schema))?;
        for (index, field) in schema.fields().iter().enumerate() {
            // Null in one of the fields stays null, whatever its default.
            let nulls = if self.fields.contains(&field.name) {
                Nulls::Kept
            } else {
                Nulls::Replaced
            };
            let value = match copied(source, index, nulls)? {
                Value::Bytes(bytes) if self.fields.contains(&field.name) => self.text(&bytes),
                value => value,
            };
            changed.set_unchecked(index, value);
        }
        Ok(changed)
    }
}

impl Transform for BytesToString {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = self.part.of(&mut record).decoded()?;
        let is_bytes = data
            .schema
            .as_ref()
            .is_none_or(|schema| schema.schema_type() == SchemaType::Bytes && Logical::of(schema).is_none());
        let is_optional = data.schema.as_ref().is_none_or(|schema| schema.is_optional());
        let has_default = data.schema.as_ref().is_some_and(|schema| schema.default().is_some());
        match (&data.schema, &data.value) {
            (None, Value::Null) => {}
            (_, Value::Bytes(bytes)) if is_bytes => {
                data.value = self.text(bytes);
                data.schema = Some(text_schema(is_optional)?);
            }
            // The original fails on a default, which is bytes.
            (Some(_), Value::Null) if is_bytes && !has_default => data.schema = Some(text_schema(is_optional)?),
            (Some(_), Value::Struct(source)) => {
                let changed = self.structure(source)?;
                data.schema = Some(Arc::clone(changed.schema()));
                data.value = Value::Struct(Box::new(changed));
            }
            (_, other) => {
                return Err(DataError::data(format!(
                    "the {} has to be bytes, or a struct with a schema, and is: {}",
                    self.part.name(),
                    other.type_name()
                )));
            }
        }
        Ok(Some(record))
    }
}
