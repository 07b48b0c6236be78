//! `ExtractNewRecordState`: takes the row out of a change event of Debezium.

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, DataErrorKind, Datum, Headers, Importance,
    ParsedConfig, Record, Schema, SchemaAndValue, SchemaRef, Struct, Transform, TransformPlugin, Value,
};
use tracing::warn;

use super::field_reference::FieldReference;
use crate::field_path::no_container;
use crate::part::{Nulls, basics, copied, plugin};
use crate::schema_cache::SchemaCache;

const MODE: &str = "delete.tombstone.handling.mode";
const MODES: [&str; 5] = [
    "drop",
    "tombstone",
    "rewrite",
    "rewrite-with-tombstone",
    "delete-to-tombstone",
];
/// Names up to Debezium 2.4. Debezium 3 ignores them without a word.
const DROP_TOMBSTONES: &str = "drop.tombstones";
const DELETE_MODE: &str = "delete.handling.mode";
const DELETE_MODES: [&str; 3] = ["drop", "none", "rewrite"];
const ROUTE_BY: &str = "route.by.field";
const ADD_FIELDS: &str = "add.fields";
const ADD_FIELDS_PREFIX: &str = "add.fields.prefix";
const ADD_HEADERS: &str = "add.headers";
const ADD_HEADERS_PREFIX: &str = "add.headers.prefix";
const DROP_HEADER: &str = "drop.fields.header.name";
const DROP_FROM_KEY: &str = "drop.fields.from.key";
const DROP_COMPATIBLE: &str = "drop.fields.keep.schema.compatible";
const DELETED: &str = "__deleted";

pub(super) fn transform() -> TransformPlugin {
    let mut transform = plugin("io.debezium.transforms.ExtractNewRecordState", config_def, |config| {
        Ok(Arc::new(ExtractNewRecordState::try_new(config)?))
    });
    transform.info.aliases = &["io.debezium.transforms.UnwrapFromEnvelope"];
    transform
}

fn config_def() -> ConfigDef {
    let text = |name, documentation: &str| ConfigKey::new(name, ConfigType::String, Importance::Low, documentation);
    let list = |name, documentation: &str| {
        ConfigKey::new(name, ConfigType::List, Importance::Low, documentation)
            .default("")
            .validator(Validator::new(|entry| FieldReference::parse("", entry).map(|_| ())))
    };
    let flag = |name, default, documentation: &str| {
        ConfigKey::new(name, ConfigType::Boolean, Importance::Low, documentation).default(default)
    };
    ConfigDef::new()
        .key(
            ConfigKey::new(
                MODE,
                ConfigType::String,
                Importance::Medium,
                "What becomes of deletes and of the tombstones that follow them: `drop` drops both; `tombstone` (the \
                 default) makes deletes tombstones and drops the tombstones; `rewrite` keeps the deleted row with \
                 `__deleted` and drops the tombstones, `rewrite-with-tombstone` keeps both; `delete-to-tombstone` makes \
                 deletes tombstones without a schema and drops the tombstones.",
            )
            .optional()
            .validator(Validator::one_of(&MODES))
            .recommended(MODES),
        )
        .key(text(ROUTE_BY, "The column whose text becomes the topic.").default(""))
        .key(text(ADD_FIELDS_PREFIX, "Put in front of the names of added fields.").default("__"))
        .key(list(
            ADD_FIELDS,
            "Metadata to add to the value, such as `op,table,source.ts_ms:event_time`.",
        ))
        .key(text(ADD_HEADERS_PREFIX, "Put in front of the names of added headers.").default("__"))
        .key(list(ADD_HEADERS, "Metadata to add as headers, as `add.fields`."))
        .key(text(DROP_HEADER, "A header that holds a list of the fields to remove.").optional())
        .key(flag(DROP_FROM_KEY, "false", "Whether these fields are removed from the key as well."))
        .key(flag(
            DROP_COMPATIBLE,
            "true",
            "Whether only optional fields are removed, so that schemas stay compatible.",
        ))
        .key(Nulls::key())
        .key(
            ConfigKey::new(
                DROP_TOMBSTONES,
                ConfigType::Boolean,
                Importance::Low,
                "Debezium up to 2.4: whether tombstones are dropped (the default). Counts where \
                 `delete.tombstone.handling.mode` is not set and this or `delete.handling.mode` is.",
            )
            .optional(),
        )
        .key(
            text(
                DELETE_MODE,
                "Debezium up to 2.4: `drop` (the default) drops deletes, `none` makes them null, `rewrite` keeps the deleted row with \
                 `__deleted`.",
            )
            .optional()
            .validator(Validator::one_of(&DELETE_MODES)),
        )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deletes {
    Drop,
    /// Null with the schema of the row.
    Null,
    /// Null without a schema.
    Tombstone,
    /// The row as it was, with `__deleted`.
    Rewrite,
}

#[derive(Debug)]
struct ExtractNewRecordState {
    deletes: Deletes,
    drops_tombstones: bool,
    route_by: Option<Arc<str>>,
    fields: Vec<FieldReference>,
    headers: Vec<FieldReference>,
    drop: Option<DropFields>,
    nulls: Nulls,
    upserts: SchemaCache<Arc<Plan>>,
    rewritten: SchemaCache<Arc<Plan>>,
}

#[derive(Debug)]
struct DropFields {
    header: Arc<str>,
    from_key: bool,
    /// Only optional fields.
    is_compatible: bool,
}

/// How the row of one envelope schema is put together.
#[derive(Debug)]
struct Plan {
    schema: SchemaRef,
    slots: Vec<Slot>,
    /// Whether the row is copied to leave fields out.
    drops: bool,
}

#[derive(Debug)]
enum Slot {
    Column(usize),
    Deleted,
    Added(FieldReference),
}

impl ExtractNewRecordState {
    fn try_new(config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let references = |key: &str, prefix: &str| {
            let prefix = config.str(prefix).unwrap_or_default();
            let entries = config.list(key).iter().filter(|entry| !entry.is_empty());
            let parsed = entries.map(|entry| FieldReference::parse(prefix, entry));
            parsed
                .collect::<Result<Vec<_>, _>>()
                .map_err(|message| ConfigError::new(key, message))
        };
        let (deletes, drops_tombstones) = handling(config);
        let drop = config.str(DROP_HEADER).filter(|header| !header.is_empty());
        Ok(Self {
            deletes,
            drops_tombstones,
            route_by: config.str(ROUTE_BY).filter(|field| !field.is_empty()).map(Arc::from),
            fields: references(ADD_FIELDS, ADD_FIELDS_PREFIX)?,
            headers: references(ADD_HEADERS, ADD_HEADERS_PREFIX)?,
            drop: drop.map(|header| DropFields {
                header: header.into(),
                from_key: config.bool(DROP_FROM_KEY).unwrap_or(false),
                is_compatible: config.bool(DROP_COMPATIBLE).unwrap_or(true),
            }),
            nulls: Nulls::of(config),
            upserts: SchemaCache::default(),
            rewritten: SchemaCache::default(),
        })
    }

    fn add_headers(&self, headers: &mut Headers, envelope: &Struct) -> Result<(), DataError> {
        for reference in &self.headers {
            if let Some(schema) = reference.schema(envelope.schema())? {
                let value = SchemaAndValue::new(schema, reference.value(envelope)?);
                headers.add(Arc::clone(&reference.new_name), value);
            }
        }
        Ok(())
    }

    /// Of a tombstone only the operation is known.
    fn tombstone(&self, mut record: Record) -> Option<Record> {
        for reference in self.headers.iter().filter(|reference| &*reference.field == "op") {
            let value = SchemaAndValue::new(Schema::string(), Value::from("d"));
            record.headers.add(Arc::clone(&reference.new_name), value);
        }
        (!self.drops_tombstones).then_some(record)
    }

    /// `nulls` says whether a default of the column counts.
    fn route(&self, record: &mut Record, row: &Struct, nulls: Nulls) -> Result<(), DataError> {
        let Some(column) = &self.route_by else {
            return Ok(());
        };
        let value = match nulls {
            Nulls::Replaced => row.get(column),
            Nulls::Kept => row.get_without_default(column),
        };
        match value {
            Some(Value::String(topic)) if topic.trim().is_empty() => {}
            Some(Value::String(topic)) => record.topic = topic.as_str().into(),
            Some(Value::Null) if row.schema().field(column).is_some_and(|field| is_text(&field.schema)) => {}
            Some(other) => return Err(no_container(column, "a string", other)),
            None => return Err(DataError::data(format!("the row has no column `{column}` to route by"))),
        }
        Ok(())
    }

    fn upsert(&self, mut record: Record, envelope: &Struct, after: &Struct) -> Result<Record, DataError> {
        let is_rewrite = self.deletes == Deletes::Rewrite;
        // The mark that a row is not deleted comes first, and with it the defaults.
        let nulls = if is_rewrite { self.nulls } else { Nulls::Kept };
        self.route(&mut record, after, nulls)?;
        let names = self.fields_to_drop(&record)?;
        let row = self.row(envelope, after, is_rewrite.then_some("false"), &names)?;
        self.drop_from_key(&mut record, &names)?;
        record.value = row.into();
        Ok(record)
    }

    fn delete(&self, mut record: Record, envelope: &Struct, before: &Struct) -> Result<Option<Record>, DataError> {
        if self.deletes == Deletes::Drop {
            return Ok(None);
        }
        self.route(&mut record, before, Nulls::Kept)?;
        let names = self.fields_to_drop(&record)?;
        let value = match self.deletes {
            Deletes::Rewrite => self.row(envelope, before, Some("true"), &names)?.into(),
            Deletes::Null => SchemaAndValue {
                schema: envelope.schema().field("after").map(|field| Arc::clone(&field.schema)),
                value: Value::Null,
            }
            .into(),
            Deletes::Drop | Deletes::Tombstone => Datum::NULL,
        };
        self.drop_from_key(&mut record, &names)?;
        record.value = value;
        Ok(Some(record))
    }

    /// The row with what is added, without what is dropped. `deleted` is the text of `__deleted`.
    fn row(
        &self,
        envelope: &Struct,
        columns: &Struct,
        deleted: Option<&'static str>,
        names: &[Arc<str>],
    ) -> Result<SchemaAndValue, DataError> {
        let is_delete = deleted == Some("true");
        let make = |schema: &SchemaRef| self.plan(schema, columns.schema(), deleted, names).map(Arc::new);
        let plan = match (names, is_delete) {
            ([_, ..], _) => make(envelope.schema())?,
            ([], true) => self.rewritten.get(envelope.schema(), make)?,
            ([], false) => self.upserts.get(envelope.schema(), make)?,
        };
        // As upstream, where these two are done by other transforms with settings of their own.
        let nulls = match deleted {
            _ if plan.drops => Nulls::Replaced,
            Some(_) => self.nulls,
            None => Nulls::Kept,
        };
        let mut row = Struct::try_new(Arc::clone(&plan.schema))?;
        for (index, slot) in plan.slots.iter().enumerate() {
            let value = match slot {
                Slot::Column(column) => copied(columns, *column, nulls)?,
                Slot::Deleted => Value::from(deleted.unwrap_or_default()),
                Slot::Added(reference) => reference.value(envelope)?,
            };
            row.set_unchecked(index, value);
        }
        Ok(SchemaAndValue::new(
            Arc::clone(&plan.schema),
            Value::Struct(Box::new(row)),
        ))
    }

    fn plan(
        &self,
        envelope: &SchemaRef,
        columns: &SchemaRef,
        deleted: Option<&'static str>,
        names: &[Arc<str>],
    ) -> Result<Plan, DataError> {
        let is_compatible = self.drop.as_ref().is_some_and(|drop| drop.is_compatible);
        let is_dropped = |name: &str, schema: &Schema| {
            names.iter().any(|dropped| **dropped == *name) && (schema.is_optional() || !is_compatible)
        };
        let mut fields: Vec<(Arc<str>, SchemaRef, Slot)> = Vec::new();
        for (index, field) in columns.fields().iter().enumerate() {
            fields.push((Arc::clone(&field.name), Arc::clone(&field.schema), Slot::Column(index)));
        }
        if deleted.is_some() {
            fields.push((DELETED.into(), Schema::optional_string(), Slot::Deleted));
        }
        // What is added to a deleted row is added after the others have been dropped.
        let is_delete = deleted == Some("true");
        let mut added: Vec<(Arc<str>, SchemaRef, Slot)> = Vec::new();
        for reference in &self.fields {
            if let Some(schema) = reference.schema(envelope)? {
                added.push((Arc::clone(&reference.new_name), schema, Slot::Added(reference.clone())));
            }
        }
        if !is_delete {
            fields.append(&mut added);
        }
        let count = fields.len();
        fields.retain(|(name, schema, _)| !is_dropped(name, schema));
        // Without that condition Debezium copies the row even if there is nothing to leave out.
        let drops = fields.len() < count || (!is_compatible && !names.is_empty());
        fields.append(&mut added);
        let mut builder = basics(columns);
        let mut slots = Vec::with_capacity(fields.len());
        for (name, schema, slot) in fields {
            builder = builder.field(name, schema);
            slots.push(slot);
        }
        Ok(Plan {
            schema: builder.build()?,
            slots,
            drops,
        })
    }

    /// What the header of the record names.
    fn fields_to_drop(&self, record: &Record) -> Result<Vec<Arc<str>>, DataError> {
        let header = self
            .drop
            .as_ref()
            .and_then(|drop| record.headers.iter().find(|header| header.key == drop.header));
        let Some(header) = header else {
            return Ok(Vec::new());
        };
        let not_a_list = || {
            let message = format!("header `{}` has to hold a list of field names", header.key);
            DataError::new(DataErrorKind::Other, message)
        };
        match header.value.decode()?.value {
            Value::Null => Ok(Vec::new()),
            Value::Array(names) => {
                let names = names.into_iter().map(|name| match name {
                    Value::String(name) => Ok(name.into()),
                    _ => Err(not_a_list()),
                });
                names.collect()
            }
            _ => Err(not_a_list()),
        }
    }

    fn drop_from_key(&self, record: &mut Record, names: &[Arc<str>]) -> Result<(), DataError> {
        let Some(drop) = self.drop.as_ref().filter(|drop| drop.from_key && !names.is_empty()) else {
            return Ok(());
        };
        let data = record.key.decoded()?;
        match &mut data.value {
            Value::Map(map) if data.schema.is_none() => names.iter().for_each(|name| {
                map.remove(name);
            }),
            Value::Struct(key) => {
                let kept = key.schema().fields().iter().enumerate().filter(|(_, field)| {
                    !names.contains(&field.name) || (drop.is_compatible && !field.schema.is_optional())
                });
                let kept: Vec<usize> = kept.map(|(index, _)| index).collect();
                if kept.len() == key.values().len() {
                    return Ok(());
                }
                let mut builder = basics(key.schema());
                for index in &kept {
                    let field = &key.schema().fields()[*index];
                    builder = builder.field(Arc::clone(&field.name), Arc::clone(&field.schema));
                }
                let mut changed = Struct::try_new(builder.build()?)?;
                for (to, from) in kept.into_iter().enumerate() {
                    changed.set_unchecked(to, copied(key, from, Nulls::Replaced)?);
                }
                data.schema = Some(Arc::clone(changed.schema()));
                data.value = Value::Struct(Box::new(changed));
            }
            _ => {}
        }
        Ok(())
    }
}

/// What becomes of deletes, and whether tombstones are dropped.
fn handling(config: &ParsedConfig) -> (Deletes, bool) {
    let is_old = config.str(DELETE_MODE).is_some() || config.bool(DROP_TOMBSTONES).is_some();
    match config.str(MODE).map(str::to_ascii_lowercase).as_deref() {
        Some("drop") => (Deletes::Drop, true),
        Some("rewrite") => (Deletes::Rewrite, true),
        Some("rewrite-with-tombstone") => (Deletes::Rewrite, false),
        Some("delete-to-tombstone") => (Deletes::Tombstone, true),
        None if is_old => {
            warn!(
                setting = DELETE_MODE,
                use_instead = MODE,
                "deprecated settings are used"
            );
            let deletes = match config.str(DELETE_MODE).map(str::to_ascii_lowercase).as_deref() {
                Some("none") => Deletes::Null,
                Some("rewrite") => Deletes::Rewrite,
                _ => Deletes::Drop,
            };
            (deletes, config.bool(DROP_TOMBSTONES).unwrap_or(true))
        }
        _ => (Deletes::Null, true),
    }
}

fn is_text(schema: &Schema) -> bool {
    schema.schema_type() == klamm_connect_api::SchemaType::String
}

/// The row in a field of the envelope; none if it is null.
fn row_in<'a>(envelope: &'a Struct, field: &str) -> Result<Option<&'a Struct>, DataError> {
    match envelope.get(field) {
        Some(Value::Struct(row)) => Ok(Some(row)),
        Some(Value::Null) => Ok(None),
        Some(other) => Err(no_container(field, "a struct", other)),
        None => {
            let message = format!("the envelope has no field `{field}`");
            Err(DataError::new(DataErrorKind::Other, message))
        }
    }
}

impl Transform for ExtractNewRecordState {
    fn apply(&self, mut record: Record) -> Result<Option<Record>, DataError> {
        let data = record.value.decoded()?;
        if data.value.is_null() {
            return Ok(self.tombstone(record));
        }
        let is_envelope = data.schema.as_ref().and_then(|schema| schema.name());
        if !is_envelope.is_some_and(|name| name.ends_with(".Envelope")) {
            return Ok(Some(record));
        }
        let envelope = match std::mem::replace(&mut data.value, Value::Null) {
            Value::Struct(envelope) => envelope,
            other => {
                let message = format!("the value is called an envelope, and is: {}", other.type_name());
                return Err(DataError::data(message));
            }
        };
        self.add_headers(&mut record.headers, &envelope)?;
        match row_in(&envelope, "after")? {
            Some(after) => self.upsert(record, &envelope, after).map(Some),
            None => match row_in(&envelope, "before")? {
                Some(before) => self.delete(record, &envelope, before),
                // A truncated table.
                None => Ok(None),
            },
        }
    }
}
