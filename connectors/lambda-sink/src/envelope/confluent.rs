//! Confluent's payload: an array of `{"payload": {"timestamp", "topic", "partition", "offset", "key", "value"}}`.
//!
//! Data without a schema is real JSON, where Confluent's default converter writes text that functions have to parse
//! again; `EscapedJsonKeyValueConverter` gives that text.

use klamm_connect_api::sink::{EncodeError, Encoded};
use klamm_connect_api::{DataError, Datum, Record, Rendering, SchemaAndValue, json};

use super::{size_hint, write_integer};
use crate::config::Schemaless;

/// What stands around topic, key and value: member names, punctuation and three integers.
const FIXED_BYTES: usize = 140;

pub(super) fn encode(schemaless: Schemaless, rendering: Rendering, record: &Record) -> Result<Encoded, EncodeError> {
    let origin = record.origin();
    let capacity = FIXED_BYTES + record.topic.len() + size_hint(&record.key) + size_hint(&record.value);
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(br#"{"payload":{"timestamp":"#);
    match record.timestamp {
        Some(timestamp) => write_integer(timestamp, &mut out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(br#","topic":"#);
    json::write_string(&record.topic, &mut out);
    out.extend_from_slice(br#","partition":"#);
    write_integer(
        record.partition.unwrap_or_else(|| origin.topic_partition.partition()),
        &mut out,
    );
    out.extend_from_slice(br#","offset":"#);
    write_integer(origin.offset, &mut out);
    out.extend_from_slice(br#","key":"#);
    write_datum(schemaless, rendering, &record.key, &mut out).map_err(EncodeError::Key)?;
    out.extend_from_slice(br#","value":"#);
    write_datum(schemaless, rendering, &record.value, &mut out).map_err(EncodeError::Value)?;
    out.extend_from_slice(b"}}");
    Ok(out.into())
}

fn write_datum(
    schemaless: Schemaless,
    rendering: Rendering,
    datum: &Datum,
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    match schemaless {
        Schemaless::Json => datum.write_json(rendering, out),
        Schemaless::EscapedJson => match datum {
            Datum::Decoded(data) => write_escaped(data, rendering, out),
            // Only the value itself tells whether it has a schema.
            Datum::Encoded { .. } => write_escaped(&datum.decode()?, rendering, out),
        },
    }
}

fn write_escaped(data: &SchemaAndValue, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
    if data.schema.is_some() || data.value.is_null() {
        return json::write(data, rendering, out);
    }
    let mut text = Vec::with_capacity(128);
    json::write(data, rendering, &mut text)?;
    let text = std::str::from_utf8(&text).map_err(|_| DataError::data("JSON text is not UTF-8"))?;
    json::write_string(text, out);
    Ok(())
}
