//! Schemas as Connect's `JsonConverter` writes them beside a payload.

use super::{Writer, separated, write_integer, write_string};
use crate::datum::SchemaAndValue;
use crate::error::DataError;
use crate::rendering::Rendering;
use crate::schema::{Field, SchemaRef, SchemaType};
use crate::value::Value;

/// Bytes of a schema that is written out, at most. Schemas that refer to themselves share their parts, and written out
/// they may have no end to speak of.
pub const MAX_SCHEMA_BYTES: usize = 4 * 1024 * 1024;

/// Writes the default of a schema.
pub type WriteDefault<'a> = &'a dyn Fn(&SchemaRef, &Value, &mut Vec<u8>) -> Result<(), DataError>;

/// The name that a type has in a schema's JSON form.
#[must_use]
pub fn schema_type_name(schema_type: SchemaType) -> &'static str {
    match schema_type {
        SchemaType::Int8 => "int8",
        SchemaType::Int16 => "int16",
        SchemaType::Int32 => "int32",
        SchemaType::Int64 => "int64",
        SchemaType::Float32 => "float",
        SchemaType::Float64 => "double",
        SchemaType::Boolean => "boolean",
        SchemaType::String => "string",
        SchemaType::Bytes => "bytes",
        SchemaType::Array => "array",
        SchemaType::Map => "map",
        SchemaType::Struct => "struct",
    }
}

/// Appends the value in an envelope, `{"schema":...,"payload":...}`: what `JsonConverter` with `schemas.enable=true`
/// writes. On an error `out` may hold a part of the text; the caller cuts it off.
///
/// # Errors
/// As [`super::write`], and a schema of more than [`MAX_SCHEMA_BYTES`].
pub fn write_envelope(data: &SchemaAndValue, out: &mut Vec<u8>) -> Result<(), DataError> {
    let writer = Writer {
        start: out.len(),
        rendering: Rendering::Connect,
    };
    out.extend_from_slice(b"{\"schema\":");
    match &data.schema {
        Some(schema) => {
            let default =
                |schema: &SchemaRef, value: &Value, out: &mut Vec<u8>| writer.value(Some(schema), value, out, 0);
            write_schema(schema, &default, out)?;
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"payload\":");
    writer.value(data.schema.as_ref(), &data.value, out, 0)?;
    out.push(b'}');
    Ok(())
}

/// Appends a schema in its JSON form.
///
/// # Errors
/// What `write_default` reports; more than [`MAX_SCHEMA_BYTES`].
pub fn write_schema(schema: &SchemaRef, write_default: WriteDefault<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
    let limit = out.len().saturating_add(MAX_SCHEMA_BYTES);
    SchemaWriter { limit, write_default }.schema(schema, None, out)
}

#[derive(Clone, Copy)]
struct SchemaWriter<'a> {
    /// Length of the output that ends it.
    limit: usize,
    write_default: WriteDefault<'a>,
}

impl SchemaWriter<'_> {
    /// The members come in the converter's order; a field's name is the last of them.
    fn schema(self, schema: &SchemaRef, field: Option<&Field>, out: &mut Vec<u8>) -> Result<(), DataError> {
        if out.len() > self.limit {
            return Err(DataError::data(format!(
                "the schema, written out, has more than {MAX_SCHEMA_BYTES} bytes"
            )));
        }
        out.extend_from_slice(b"{\"type\":");
        write_string(schema_type_name(schema.schema_type()), out);
        match schema.schema_type() {
            SchemaType::Struct => {
                out.extend_from_slice(b",\"fields\":[");
                separated(schema.fields(), out, |field, out| {
                    self.schema(&field.schema, Some(field), out)
                })?;
                out.push(b']');
            }
            SchemaType::Array => self.inner(b",\"items\":", schema.value_schema(), out)?,
            SchemaType::Map => {
                self.inner(b",\"keys\":", schema.key_schema(), out)?;
                self.inner(b",\"values\":", schema.value_schema(), out)?;
            }
            _ => {}
        }
        let optional: &[u8] = if schema.is_optional() { b"true" } else { b"false" };
        out.extend_from_slice(b",\"optional\":");
        out.extend_from_slice(optional);
        if let Some(name) = schema.name() {
            text(b",\"name\":", name, out);
        }
        if let Some(version) = schema.version() {
            out.extend_from_slice(b",\"version\":");
            write_integer(i64::from(version), out);
        }
        if let Some(doc) = schema.doc() {
            text(b",\"doc\":", doc, out);
        }
        if !schema.parameters().is_empty() {
            out.extend_from_slice(b",\"parameters\":{");
            separated(schema.parameters(), out, |(key, value), out| {
                write_string(key, out);
                text(b":", value, out);
                Ok(())
            })?;
            out.push(b'}');
        }
        if let Some(default) = schema.default() {
            out.extend_from_slice(b",\"default\":");
            (self.write_default)(schema, default, out)?;
        }
        if let Some(field) = field {
            text(b",\"field\":", &field.name, out);
        }
        out.push(b'}');
        Ok(())
    }

    fn inner(self, member: &[u8], schema: Option<&SchemaRef>, out: &mut Vec<u8>) -> Result<(), DataError> {
        out.extend_from_slice(member);
        match schema {
            Some(schema) => self.schema(schema, None, out),
            None => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        }
    }
}

fn text(member: &[u8], text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(member);
    write_string(text, out);
}
