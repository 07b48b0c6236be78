//! The payload of Nordstrom's connector: key and value with the names and versions of their schemas, and where the
//! record comes from; an object, or an array of them.
//!
//! `PlainPayloadFormatter` gives keys and values as the text of Java's `toString`, `JsonPayloadFormatter` as JSON.

use std::borrow::Cow;

use klamm_connect_api::sink::{EncodeError, Encoded};
use klamm_connect_api::{DataError, Datum, Record, Rendering, SchemaAndValue, TimestampType, json};

use super::{java_text, json_schema, size_hint, write_integer};
use crate::config::{Formatter, SchemaVisibility};

/// What stands around topic, key and value: member names, punctuation and three integers.
const FIXED_BYTES: usize = 220;

pub(super) fn encode(formatter: Formatter, rendering: Rendering, record: &Record) -> Result<Encoded, EncodeError> {
    let origin = record.origin();
    let capacity = FIXED_BYTES + record.topic.len() + size_hint(&record.key) + size_hint(&record.value);
    let mut out = Vec::with_capacity(capacity);
    let (key, value) = match formatter {
        Formatter::Plain => (None, None),
        Formatter::Json { key, value } => (Some(key), Some(value)),
    };
    out.push(b'{');
    write_datum("key", key, rendering, &record.key, &mut out).map_err(EncodeError::Key)?;
    out.push(b',');
    write_datum("value", value, rendering, &record.value, &mut out).map_err(EncodeError::Value)?;
    out.extend_from_slice(br#","topic":"#);
    json::write_string(&record.topic, &mut out);
    out.extend_from_slice(br#","partition":"#);
    write_integer(
        record.partition.unwrap_or_else(|| origin.topic_partition.partition()),
        &mut out,
    );
    out.extend_from_slice(br#","offset":"#);
    write_integer(origin.offset, &mut out);
    out.extend_from_slice(br#","timestamp":"#);
    write_integer(record.timestamp.unwrap_or(0), &mut out);
    out.extend_from_slice(br#","timestampTypeName":""#);
    out.extend_from_slice(type_name(record.timestamp_type).as_bytes());
    out.extend_from_slice(b"\"}");
    Ok(out.into())
}

/// The name that Kafka's `TimestampType` has for people.
fn type_name(timestamp_type: TimestampType) -> &'static str {
    match timestamp_type {
        TimestampType::NoTimestampType => "NoTimestampType",
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

/// `"key":…,"keySchemaName":…,"keySchemaVersion":…`. No visibility is the plain formatter.
fn write_datum(
    name: &str,
    visibility: Option<SchemaVisibility>,
    rendering: Rendering,
    datum: &Datum,
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    // Nobody asks for the schema, so nothing has to be decoded for it.
    if visibility == Some(SchemaVisibility::None) {
        datum.write_json(rendering, out)?;
        write_schema(name, None, out);
        return Ok(());
    }
    let data = decoded(datum)?;
    match visibility {
        None => json::write_string(&java_text::to_string(&data)?, out),
        Some(visibility) => write_json(visibility, rendering, &data, out)?,
    }
    write_schema(name, Some(&data), out);
    Ok(())
}

fn decoded(datum: &Datum) -> Result<Cow<'_, SchemaAndValue>, DataError> {
    Ok(match datum {
        Datum::Decoded(data) => Cow::Borrowed(data),
        Datum::Encoded { .. } => Cow::Owned(datum.decode()?),
    })
}

fn write_json(
    visibility: SchemaVisibility,
    rendering: Rendering,
    data: &SchemaAndValue,
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    match (visibility, &data.schema) {
        (SchemaVisibility::All, Some(schema)) => {
            out.extend_from_slice(br#"{"schema":"#);
            json_schema::write(schema, rendering, out)?;
            out.extend_from_slice(br#","payload":"#);
            json::write(data, rendering, out)?;
            out.push(b'}');
            Ok(())
        }
        _ => json::write(data, rendering, out),
    }
}

/// A value alone: the text of the plain formatter, the JSON of the other.
pub(super) fn content(formatter: Formatter, rendering: Rendering, value: &Datum) -> Result<Vec<u8>, DataError> {
    let visibility = match formatter {
        Formatter::Plain => return Ok(java_text::to_string(&*decoded(value)?)?.into_bytes()),
        Formatter::Json { value, .. } => value,
    };
    let mut out = Vec::new();
    if visibility == SchemaVisibility::None {
        value.write_json(rendering, &mut out)?;
    } else {
        write_json(visibility, rendering, &*decoded(value)?, &mut out)?;
    }
    Ok(out)
}

fn write_schema(name: &str, data: Option<&SchemaAndValue>, out: &mut Vec<u8>) {
    let schema = data.and_then(|data| data.schema.as_deref());
    write_member(name, "SchemaName", schema.and_then(|schema| schema.name()), out);
    let version = schema.and_then(|schema| schema.version());
    let version = version.map(|version| version.to_string());
    write_member(name, "SchemaVersion", version.as_deref(), out);
}

/// `,"<name><part>":"<text>"`, or null.
fn write_member(name: &str, part: &str, text: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(part.as_bytes());
    out.extend_from_slice(b"\":");
    match text {
        Some(text) => json::write_string(text, out),
        None => out.extend_from_slice(b"null"),
    }
}
