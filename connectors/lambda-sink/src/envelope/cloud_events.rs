//! CloudEvents 1.0 in the structured mode of their JSON format, one event or a batch
//! (<https://github.com/cloudevents/spec>: `spec.md` 1.0.2, `formats/json-format.md`, and the extensions `dataref`,
//! `partitioning` and `distributed-tracing`).
//!
//! Topic, partition and offset in the attributes are those of the record as consumed, so that source and id together
//! name an event once, whatever a transform does to the topic.

use bytes::Bytes;
use klamm_aws::object_uri;
use klamm_connect_api::sink::{EncodeError, Encoded};
use klamm_connect_api::{
    DataError, Datum, Decimals, Natural, Origin, Record, Rendering, Semantic, Timestamps, Unit, Value, json,
};

use super::claim::{self, Content, Reference};
use super::{size_hint, write_integer};
use crate::config::CloudEventAttributes;
use crate::template::{Piece, Placeholder, Template};

/// What stands around the attributes and the data.
const FIXED_BYTES: usize = 300;

/// Times as RFC 3339 has them.
const ISO: Rendering = Rendering::Natural(Natural {
    decimals: Decimals::String,
    timestamps: Timestamps::Iso,
});
/// The milliseconds of 9999-12-31T23:59:59.999Z and 0000-01-01T00:00:00Z: RFC 3339 has years of four digits.
const TIMES: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

pub(super) fn encode(
    attributes: &CloudEventAttributes,
    rendering: Rendering,
    record: &Record,
    reference: Option<&Reference>,
) -> Result<Encoded, EncodeError> {
    let mut out = Vec::with_capacity(FIXED_BYTES + 2 * size_hint(&record.key) + size_hint(&record.value));
    let key = key_text(rendering, &record.key).map_err(EncodeError::Key)?;
    let origin = record.origin();
    out.extend_from_slice(br#"{"specversion":"1.0""#);
    write_attribute("id", &attributes.id, origin, key.as_deref(), &mut out);
    write_attribute("source", &attributes.source, origin, key.as_deref(), &mut out);
    write_attribute("type", &attributes.event_type, origin, key.as_deref(), &mut out);
    if let Some(subject) = &attributes.subject {
        write_attribute("subject", subject, origin, key.as_deref(), &mut out);
    }
    if let Some(timestamp) = record.timestamp.filter(|timestamp| TIMES.contains(timestamp)) {
        out.extend_from_slice(br#","time":"#);
        json::write_time(Semantic::Timestamp(Unit::Millis), timestamp, ISO, &mut out);
    }
    if let Some(key) = key.filter(|key| !key.is_empty()) {
        out.extend_from_slice(br#","partitionkey":""#);
        out.extend_from_slice(&key);
        out.push(b'"');
    }
    for name in ["traceparent", "tracestate"] {
        if let Some(header) = record.headers.last(name) {
            write_header(name, rendering, &header.value, &mut out).map_err(EncodeError::Header)?;
        }
    }
    match reference {
        None => write_data(rendering, &record.value, &mut out).map_err(EncodeError::Value)?,
        Some(reference) => write_reference(reference, &mut out),
    }
    out.push(b'}');
    Ok(out.into())
}

/// `,"<name>":"…"`; nothing if the text would be empty or asks for a key that the record has not.
fn write_attribute(name: &str, template: &Template, origin: &Origin, key: Option<&[u8]>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    let text = out.len();
    for piece in template.pieces() {
        match piece {
            Piece::Literal(literal) => write_unquoted(literal, out),
            Piece::FilledIn(Placeholder::Topic) => write_unquoted(origin.topic_partition.topic(), out),
            Piece::FilledIn(Placeholder::Partition) => write_integer(origin.topic_partition.partition(), out),
            Piece::FilledIn(Placeholder::Offset) => write_integer(origin.offset, out),
            Piece::FilledIn(Placeholder::Key) => match key {
                Some(key) => out.extend_from_slice(key),
                None => return out.truncate(start),
            },
        }
    }
    if out.len() == text {
        return out.truncate(start);
    }
    out.push(b'"');
}

/// Text as it stands between the quotes of a JSON string.
fn write_unquoted(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    json::write_string(text, out);
    out.pop();
    out.remove(start);
}

/// The key as it stands between the quotes of a JSON string: a text itself, bytes in base64, anything else as its JSON.
fn key_text(rendering: Rendering, key: &Datum) -> Result<Option<Vec<u8>>, DataError> {
    let mut text = Vec::with_capacity(size_hint(key));
    key.write_json(rendering, &mut text)?;
    // JSON that nobody touched may have spaces around it.
    let text = text.trim_ascii();
    if text == b"null" {
        return Ok(None);
    }
    if let [b'"', inner @ .., b'"'] = text {
        return Ok(Some(inner.to_vec()));
    }
    let json = std::str::from_utf8(text).map_err(|_| DataError::data("JSON text is not UTF-8"))?;
    let mut quoted = Vec::with_capacity(text.len() + 16);
    write_unquoted(json, &mut quoted);
    Ok(Some(quoted))
}

/// A header that holds a text is an attribute of its own.
fn write_header(name: &str, rendering: Rendering, value: &Datum, out: &mut Vec<u8>) -> Result<(), DataError> {
    super::esm::with_bytes(rendering, value, |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes)
            && !text.is_empty()
        {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            json::write_string(text, out);
        }
    })?;
    Ok(())
}

/// `data` with JSON, `data_base64` with bytes, neither for a tombstone.
fn write_data(rendering: Rendering, value: &Datum, out: &mut Vec<u8>) -> Result<(), DataError> {
    let start = out.len();
    out.extend_from_slice(br#","datacontenttype":"application/json","data":"#);
    let text = out.len();
    value.write_json(rendering, out)?;
    let shown = out.get(text..).unwrap_or_default();
    if shown == b"null" {
        out.truncate(start);
    } else if bytes_shown(value, shown)?.is_some() {
        let base64 = out.split_off(text);
        out.truncate(start);
        out.extend_from_slice(br#","datacontenttype":"application/octet-stream","data_base64":"#);
        out.extend_from_slice(&base64);
    }
    Ok(())
}

/// The bytes that JSON shows in base64. A text of JSON may stand for bytes, which only the value tells, and the rendering
/// may show what bytes stand for.
fn bytes_shown(value: &Datum, shown: &[u8]) -> Result<Option<Bytes>, DataError> {
    if shown.first() != Some(&b'"') {
        return Ok(None);
    }
    let Value::Bytes(bytes) = value.decode()?.value else {
        return Ok(None);
    };
    let mut base64 = Vec::with_capacity(shown.len());
    json::write_base64(&bytes, &mut base64);
    Ok((base64 == shown).then_some(bytes))
}

/// The value alone, as `data` or decoded from `data_base64`.
pub(super) fn content(rendering: Rendering, value: &Datum) -> Result<Option<Content>, DataError> {
    let mut text = Vec::new();
    value.write_json(rendering, &mut text)?;
    if text == b"null" {
        return Ok(None);
    }
    Ok(Some(match bytes_shown(value, &text)? {
        Some(bytes) => Content {
            bytes: bytes.to_vec(),
            content_type: claim::BYTES,
        },
        None => Content {
            bytes: text,
            content_type: claim::JSON,
        },
    }))
}

/// The extension `dataref` in place of the data, with what tells whether it is that.
fn write_reference(reference: &Reference, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","datacontenttype":"#);
    json::write_string(reference.content_type, out);
    out.extend_from_slice(br#","dataref":"#);
    json::write_string(&object_uri(&reference.bucket, &reference.key), out);
    out.extend_from_slice(br#","datarefsize":"#);
    write_integer(reference.size, out);
    out.extend_from_slice(br#","datarefsha256":"#);
    json::write_string(&reference.sha256, out);
}
