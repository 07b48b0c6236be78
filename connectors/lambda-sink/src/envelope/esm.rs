//! The event of Lambda's own event source mapping for Kafka (Developer Guide, "Using Lambda with self-managed Apache Kafka" and "Amazon MSK").
//!
//! Topic, partition and offset are those of the record as consumed: functions build the identifiers of
//! `batchItemFailures` from them.

use bytes::Bytes;
use klamm_connect_api::sink::{EncodeError, Encoded, PayloadBuilder};
use klamm_connect_api::{DataError, Datum, Origin, Record, Rendering, TopicPartition, Value, json};

use super::write_integer;

/// What stands around topic, key, value and headers.
const FIXED_BYTES: usize = 160;

pub(super) fn encode(rendering: Rendering, record: &Record) -> Result<Encoded, EncodeError> {
    let origin = record.origin();
    let topic = origin.topic_partition.topic();
    let capacity =
        FIXED_BYTES + topic.len() + size_hint(&record.key) + size_hint(&record.value) + record.headers.len() * 64;
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(br#"{"topic":"#);
    json::write_string(topic, &mut out);
    out.extend_from_slice(br#","partition":"#);
    write_integer(origin.topic_partition.partition(), &mut out);
    out.extend_from_slice(br#","offset":"#);
    write_integer(origin.offset, &mut out);
    out.extend_from_slice(br#","timestamp":"#);
    // -1 is what the wire has for a record without a timestamp.
    write_integer(record.timestamp.unwrap_or(-1), &mut out);
    out.extend_from_slice(br#","timestampType":""#);
    out.extend_from_slice(record.timestamp_type.constant_name().as_bytes());
    out.push(b'"');
    if !record.key.is_absent() {
        out.extend_from_slice(br#","key":"#);
        write_datum(rendering, &record.key, &mut out).map_err(EncodeError::Key)?;
    }
    out.extend_from_slice(br#","value":"#);
    write_datum(rendering, &record.value, &mut out).map_err(EncodeError::Value)?;
    out.extend_from_slice(br#","headers":["#);
    for (index, header) in record.headers.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        json::write_string(&header.key, &mut out);
        out.push(b':');
        write_header(rendering, &header.value, &mut out).map_err(EncodeError::Header)?;
        out.push(b'}');
    }
    out.push(b']');
    write_metadata("keySchemaMetadata", &record.key, &mut out);
    write_metadata("valueSchemaMetadata", &record.value, &mut out);
    out.push(b'}');
    Ok(out.into())
}

/// Which schema of a registry a datum was written with; nothing for one that a transform decoded.
fn write_metadata(name: &str, datum: &Datum, out: &mut Vec<u8>) {
    let Datum::Encoded { codec, .. } = datum else { return };
    let Some(metadata) = codec.schema_metadata() else {
        return;
    };
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(br#"":{"dataFormat":""#);
    out.extend_from_slice(metadata.data_format.as_bytes());
    out.extend_from_slice(br#"","schemaId":"#);
    json::write_string(&metadata.schema_id, out);
    out.push(b'}');
}

fn size_hint(datum: &Datum) -> usize {
    match datum {
        Datum::Encoded { bytes, .. } => bytes.len().div_ceil(3) * 4,
        Datum::Decoded(data) if data.value.is_null() => 4,
        Datum::Decoded(_) => 128,
    }
}

fn write_datum(rendering: Rendering, datum: &Datum, out: &mut Vec<u8>) -> Result<(), DataError> {
    match with_bytes(rendering, datum, |bytes| json::write_base64(bytes, out))? {
        Some(()) => {}
        None => out.extend_from_slice(b"null"),
    }
    Ok(())
}

/// A header's bytes as an array of integers from 0 to 255, which `byte[]` and unsigned readers both take.
fn write_header(rendering: Rendering, datum: &Datum, out: &mut Vec<u8>) -> Result<(), DataError> {
    let written = with_bytes(rendering, datum, |bytes| {
        out.push(b'[');
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_integer(*byte, out);
        }
        out.push(b']');
    })?;
    if written.is_none() {
        out.extend_from_slice(b"null");
    }
    Ok(())
}

/// Shows `use_bytes` the bytes of a datum: those of the wire where no transform touched it and they need no schema from
/// elsewhere, else a value's own bytes, a text's UTF-8, or the JSON text of anything else. None for null.
pub(super) fn with_bytes<T>(
    rendering: Rendering,
    datum: &Datum,
    use_bytes: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, DataError> {
    let mut text = Vec::with_capacity(128);
    match datum {
        Datum::Encoded { bytes, codec } if codec.is_self_contained() => return Ok(Some(use_bytes(bytes))),
        Datum::Encoded { .. } => {
            datum.write_json(rendering, &mut text)?;
            // Objects, lists, numbers. A text may be the JSON form of text or of bytes, which only the value tells.
            if text.first() != Some(&b'"') && text != b"null" {
                return Ok(Some(use_bytes(&text)));
            }
            text.clear();
        }
        Datum::Decoded(_) => {}
    }
    let data = datum.decode()?;
    match &data.value {
        Value::Null => Ok(None),
        Value::Bytes(bytes) => Ok(Some(use_bytes(bytes))),
        Value::String(text) => Ok(Some(use_bytes(text.as_bytes()))),
        _ => {
            json::write(&data, rendering, &mut text)?;
            Ok(Some(use_bytes(&text)))
        }
    }
}

/// Groups records by topic-partition.
#[derive(Debug)]
pub(super) struct Builder {
    /// The event up to and with the brace that opens `records`.
    head: Vec<u8>,
    /// A topic-partition's records with commas between them, in the order of first arrival.
    groups: Vec<(TopicPartition, Vec<u8>)>,
}

impl Builder {
    pub(super) fn new(source_arn: Option<&str>, bootstrap_servers: &str) -> Self {
        let mut head = Vec::new();
        match source_arn {
            Some(arn) => {
                head.extend_from_slice(br#"{"eventSource":"aws:kafka","eventSourceArn":"#);
                json::write_string(arn, &mut head);
            }
            None => head.extend_from_slice(br#"{"eventSource":"aws:SelfManagedKafka""#),
        }
        head.extend_from_slice(br#","bootstrapServers":"#);
        json::write_string(bootstrap_servers, &mut head);
        head.extend_from_slice(br#","records":{"#);
        Self {
            head,
            groups: Vec::new(),
        }
    }

    /// `"<topic>-<partition>":[` … `],`: the name at most with every byte of the topic escaped (`\u001f`).
    fn group_bytes(topic_partition: &TopicPartition) -> usize {
        6 * topic_partition.topic().len() + 12 + 7
    }
}

impl PayloadBuilder for Builder {
    fn cost(&self, origin: &Origin, record: &Encoded) -> usize {
        // The record may be the first of its partition.
        record.bytes.len() + 1 + Self::group_bytes(&origin.topic_partition)
    }

    fn push(&mut self, origin: &Origin, record: &Encoded) {
        // Batches hold a partition or a few; the last one is nearly always the one.
        match self
            .groups
            .iter_mut()
            .rev()
            .find(|(known, _)| *known == origin.topic_partition)
        {
            Some((_, records)) => {
                records.push(b',');
                records.extend_from_slice(&record.bytes);
            }
            None => self.groups.push((origin.topic_partition.clone(), record.bytes.clone())),
        }
    }

    fn finish(&mut self) -> Bytes {
        let size = self
            .groups
            .iter()
            .map(|(topic_partition, records)| records.len() + Self::group_bytes(topic_partition))
            .sum::<usize>();
        let mut body = Vec::with_capacity(self.head.len() + size + 2);
        body.extend_from_slice(&self.head);
        for (index, (topic_partition, records)) in self.groups.drain(..).enumerate() {
            if index > 0 {
                body.push(b',');
            }
            json::write_string(&topic_partition.to_string(), &mut body);
            body.extend_from_slice(b":[");
            body.extend_from_slice(&records);
            body.push(b']');
        }
        body.extend_from_slice(b"}}");
        Bytes::from(body)
    }

    fn overhead(&self) -> usize {
        self.head.len() + 2
    }
}
