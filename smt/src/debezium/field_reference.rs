use std::sync::Arc;

use klamm_connect_api::{DataError, Schema, SchemaRef, Struct, Value};

use crate::field_path::no_container;

/// An entry of `add.fields` and `add.headers`: `name`, `struct.name`, or one of these with `:newname`.
#[derive(Debug, Clone)]
pub(super) struct FieldReference {
    /// The struct of the envelope that holds the field; none for the envelope itself.
    parent: Option<Arc<str>>,
    pub(super) field: Arc<str>,
    pub(super) new_name: Arc<str>,
}

impl FieldReference {
    pub(super) fn parse(prefix: &str, entry: &str) -> Result<Self, String> {
        let mut parts = entry.trim_end_matches(':').split(':');
        let (Some(path), renamed, None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!(
                "Unexpected field name: {entry}; it has the form struct.name:newname"
            ));
        };
        let mut steps = path.trim_end_matches('.').split('.');
        let first = steps.next().unwrap_or_default();
        let (parent, field, name) = match steps.next() {
            Some(field) => (Some(first), field, format!("{first}_{field}")),
            None => (parent_of(first), first, first.to_owned()),
        };
        Ok(Self {
            parent: parent.map(Arc::from),
            field: field.into(),
            new_name: format!("{prefix}{}", renamed.unwrap_or(&name)).into(),
        })
    }

    /// The schema of the field, made optional; none if neither its struct nor the envelope has it.
    ///
    /// # Errors
    /// If the envelope does not have the struct.
    pub(super) fn schema(&self, envelope: &Schema) -> Result<Option<SchemaRef>, DataError> {
        let parent = match &self.parent {
            None => envelope,
            Some(parent) => match envelope.field(parent) {
                Some(field) => &*field.schema,
                None => return Err(DataError::data(format!("the envelope has no field `{parent}`"))),
            },
        };
        let Some(field) = parent.field(&self.field).or_else(|| envelope.field(&self.field)) else {
            return Ok(None);
        };
        field.schema.to_builder().optional().without_default().build().map(Some)
    }

    /// The stored value; null if the struct is.
    ///
    /// # Errors
    /// If the struct is none.
    pub(super) fn value(&self, envelope: &Struct) -> Result<Value, DataError> {
        let parent = match &self.parent {
            None => envelope,
            Some(name) => match envelope.get_without_default(name) {
                None | Some(Value::Null) => return Ok(Value::Null),
                Some(Value::Struct(parent)) => parent,
                Some(other) => return Err(no_container(name, "a struct", other)),
            },
        };
        let value = parent.get_without_default(&self.field);
        let value = value.or_else(|| envelope.get_without_default(&self.field));
        Ok(value.cloned().unwrap_or(Value::Null))
    }
}

/// Where a name without a struct is looked for.
fn parent_of(field: &str) -> Option<&'static str> {
    match field {
        "op" | "ts_ms" | "ts_us" | "ts_ns" => None,
        "id" | "data_collection_order" | "total_order" => Some("transaction"),
        "updateDescription" => Some("updateDescription"),
        _ => Some("source"),
    }
}
