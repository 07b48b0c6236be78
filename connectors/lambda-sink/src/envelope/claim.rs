//! What stands in the place of a value that waits in S3, and the value as it waits there.

use klamm_connect_api::sink::{EncodeError, Encoded};
use klamm_connect_api::{DataError, Datum, Map, Record, Rendering, SchemaAndValue, Value, json};

use super::{cloud_events, encode, esm, nordstrom};
use crate::config::{EventFormat, Formatter, PayloadPlan};

/// A value as a function would have got it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: &'static str,
}

pub(super) const JSON: &str = "application/json";
pub(super) const BYTES: &str = "application/octet-stream";
const TEXT: &str = "text/plain; charset=utf-8";

/// Where a value waits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) size: usize,
    pub(crate) content_type: &'static str,
    /// In hexadecimal digits.
    pub(crate) sha256: String,
}

/// The value alone, as a payload of the plan would hold it, but for base64 and for quotes around JSON; none for null.
///
/// # Errors
/// A value that cannot be decoded or has no form in the payload.
pub(crate) fn content(plan: &PayloadPlan, record: &Record) -> Result<Option<Content>, EncodeError> {
    read(plan, &record.value).map_err(EncodeError::Value)
}

fn read(plan: &PayloadPlan, value: &Datum) -> Result<Option<Content>, DataError> {
    let rendering = plan.rendering;
    let as_json = |bytes: Vec<u8>| {
        let is_null = bytes.trim_ascii() == b"null";
        (!is_null).then_some(Content {
            bytes,
            content_type: JSON,
        })
    };
    match &plan.format {
        EventFormat::Confluent(_) | EventFormat::Raw => {
            let mut text = Vec::new();
            value.write_json(rendering, &mut text)?;
            Ok(as_json(text))
        }
        EventFormat::Esm { .. } => {
            let bytes = esm::with_bytes(rendering, value, <[u8]>::to_vec)?;
            Ok(bytes.map(|bytes| Content {
                bytes,
                content_type: BYTES,
            }))
        }
        EventFormat::Nordstrom(formatter) => {
            if value.is_absent() {
                return Ok(None);
            }
            let content = nordstrom::content(*formatter, rendering, value)?;
            Ok(match formatter {
                Formatter::Plain => Some(Content {
                    bytes: content,
                    content_type: TEXT,
                }),
                Formatter::Json { .. } => as_json(content),
            })
        }
        EventFormat::CloudEvents(_) => cloud_events::content(rendering, value),
    }
}

/// Encodes a record with the reference in its value's place.
///
/// # Errors
/// As `encode`, of key and headers.
pub(crate) fn encode_reference(
    plan: &PayloadPlan,
    record: &Record,
    reference: &Reference,
) -> Result<Encoded, EncodeError> {
    if let EventFormat::CloudEvents(attributes) = &plan.format {
        return cloud_events::encode(attributes, plan.rendering, record, Some(reference));
    }
    let in_place = Value::Map(Map::from_iter([(text("claimCheck"), reference.value()?)]));
    let mut in_place = SchemaAndValue::schemaless(in_place);
    // There a value is a text, and that of a map has no quotes to read it by.
    if plan.format == EventFormat::Nordstrom(Formatter::Plain) {
        let mut json = Vec::new();
        json::write(&in_place, Rendering::Connect, &mut json).map_err(EncodeError::Value)?;
        in_place.value = text(&String::from_utf8_lossy(&json));
    }
    let mut referring = record.clone();
    referring.value = in_place.into();
    encode(plan, &referring)
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

impl Reference {
    fn value(&self) -> Result<Value, EncodeError> {
        let size = i64::try_from(self.size);
        let size =
            size.map_err(|_| EncodeError::Value(DataError::data("a value of more bytes than can be counted")))?;
        Ok(Value::Map(Map::from_iter([
            (text("bucket"), text(&self.bucket)),
            (text("key"), text(&self.key)),
            (text("size"), Value::Int64(size)),
            (text("contentType"), text(self.content_type)),
            (text("sha256"), text(&self.sha256)),
        ])))
    }
}
