//! Confluent's payload: an array of `{"payload": {"timestamp", "topic", "partition", "offset", "key", "value"}}`.
//!
//! Data without a schema is real JSON, where Confluent's default converter writes text that functions have to parse
//! again; `EscapedJsonKeyValueConverter` gives that text.

use bytes::Bytes;
use klamm_connect_api::sink::{EncodeError, Encoded, PayloadBuilder};
use klamm_connect_api::{DataError, Datum, Origin, Record, Rendering, SchemaAndValue, json};

use super::write_integer;
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
    Ok(Encoded { bytes: out })
}

/// Bytes that a datum will probably take, so that the common record is written without growing the buffer.
fn size_hint(datum: &Datum) -> usize {
    match datum {
        Datum::Encoded { bytes, .. } => bytes.len(),
        Datum::Decoded(data) if data.value.is_null() => 4,
        Datum::Decoded(_) => 128,
    }
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

/// Joins records to an array.
#[derive(Debug)]
pub(super) struct Builder {
    /// The opening bracket and the records so far; empty when there are none.
    body: Vec<u8>,
    /// Length of the last body, which the next one probably has.
    expected: usize,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            body: Vec::new(),
            expected: 0,
        }
    }
}

impl PayloadBuilder for Builder {
    fn cost(&self, _origin: &Origin, record: &Encoded) -> usize {
        record.bytes.len() + 1
    }

    fn push(&mut self, _origin: &Origin, record: &Encoded) {
        if self.body.is_empty() {
            self.body.reserve(self.expected.max(record.bytes.len() + 2));
        }
        self.body.push(if self.body.is_empty() { b'[' } else { b',' });
        self.body.extend_from_slice(&record.bytes);
    }

    fn finish(&mut self) -> Bytes {
        if self.body.is_empty() {
            self.body.push(b'[');
        }
        self.body.push(b']');
        self.expected = self.body.len();
        Bytes::from(std::mem::take(&mut self.body))
    }

    fn overhead(&self) -> usize {
        2
    }
}
