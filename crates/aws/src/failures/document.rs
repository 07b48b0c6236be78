//! The document of a failed record: that of Lambda's event source mapping for Kafka, for one record, with Connect's
//! stage, class and message behind it.

use std::collections::BTreeMap;

use klamm_connect_api::failures::FailedRecord;
use klamm_connect_api::{Timestamp, json};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Longest text of a failure in a document; the rest is cut off.
const MESSAGE_BYTES: usize = 8 * 1024;

/// Whether a document holds the record itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    Always,
    /// Only if the document is within the limit with it.
    WhereItFits,
    Never,
}

/// A document's text.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) text: String,
    pub(super) has_payload: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    request_context: RequestContext<'a>,
    response_context: Option<ResponseContext<'a>>,
    version: &'static str,
    timestamp: String,
    #[serde(rename = "KafkaBatchInfo")]
    kafka_batch_info: KafkaBatchInfo<'a>,
    error_context: ErrorContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: Option<&'a str>,
    function_arn: Option<&'a str>,
    condition: &'static str,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext<'a> {
    status_code: u16,
    executed_version: Option<&'a str>,
    function_error: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KafkaBatchInfo<'a> {
    batch_size: u32,
    event_source_arn: Option<&'a str>,
    bootstrap_servers: &'a str,
    payload_size: usize,
    records_info: BTreeMap<String, RecordsInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordsInfo {
    first_record_offset: String,
    last_record_offset: String,
    first_record_timestamp: Option<String>,
    last_record_timestamp: Option<String>,
}

#[derive(Serialize)]
struct ErrorContext<'a> {
    connector: &'a str,
    task: u32,
    route: Option<&'a str>,
    stage: &'a str,
    class: String,
    message: String,
}

pub(super) fn write(record: &FailedRecord, payload: Payload, limit_bytes: usize) -> Document {
    let event = event(record);
    let with = |payload: Option<&str>| text(record, event.len(), payload);
    let (text, has_payload) = match payload {
        Payload::Never => (with(None), false),
        Payload::Always => (with(Some(&event)), true),
        // A document is longer than its payload.
        Payload::WhereItFits if event.len() > limit_bytes => (with(None), false),
        Payload::WhereItFits => {
            let text = with(Some(&event));
            if text.len() <= limit_bytes {
                (text, true)
            } else {
                (with(None), false)
            }
        }
    };
    Document { text, has_payload }
}

fn text(record: &FailedRecord, payload_size: usize, payload: Option<&str>) -> String {
    let delivery = record.delivery.as_ref();
    let answered = delivery.and_then(|delivery| delivery.answered.as_ref());
    let offset = record.origin.offset.to_string();
    let at = record.timestamp.and_then(iso);
    let info = RecordsInfo {
        first_record_offset: offset.clone(),
        last_record_offset: offset,
        first_record_timestamp: at.clone(),
        last_record_timestamp: at,
    };
    let of = &record.origin.topic_partition;
    let fields = Fields {
        request_context: RequestContext {
            request_id: delivery.and_then(|delivery| delivery.request_id.as_deref()),
            function_arn: delivery.map(|delivery| &*delivery.resource),
            condition: condition(record),
            approximate_invoke_count: delivery.map_or(0, |delivery| delivery.attempts),
        },
        response_context: answered.map(|answered| ResponseContext {
            status_code: answered.status,
            executed_version: answered.version.as_deref(),
            function_error: answered.function_error.as_deref(),
        }),
        version: "1.0",
        timestamp: iso(record.failed_at).unwrap_or_default(),
        kafka_batch_info: KafkaBatchInfo {
            batch_size: 1,
            event_source_arn: None,
            bootstrap_servers: &record.bootstrap_servers,
            payload_size,
            records_info: BTreeMap::from([(format!("{}-{}", of.topic(), of.partition()), info)]),
        },
        error_context: ErrorContext {
            connector: &record.connector,
            task: record.task,
            route: delivery.map(|delivery| &*delivery.route),
            stage: &record.stage,
            class: plain(&record.class),
            message: plain(&record.message),
        },
        payload,
    };
    serde_json::to_string(&fields).expect("texts, numbers and maps with text keys are JSON")
}

/// AWS's words where it has some.
fn condition(record: &FailedRecord) -> &'static str {
    match (&*record.stage, &*record.class) {
        ("KEY_CONVERTER" | "VALUE_CONVERTER" | "HEADER_CONVERTER", _) => "DESERIALIZATION_ERROR",
        ("TRANSFORMATION", _) => "TransformationFailed",
        (_, "RecordTooLarge") => "MaximumPayloadSizeExceeded",
        (_, "RecordTooOld") => "RecordAgeExceeded",
        _ if record.delivery.is_none() => "NoDestination",
        _ => "RetryAttemptsExhausted",
    }
}

fn iso(milliseconds: Timestamp) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()?;
    time.format(&Rfc3339).ok()
}

/// Cut, and without what SQS does not take in a message: it allows the characters of XML only.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        let c = match c {
            '\t' | '\n' | '\r' => ' ',
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => '\u{fffd}',
            c => c,
        };
        if plain.len() + c.len_utf8() > MESSAGE_BYTES {
            break;
        }
        plain.push(c);
    }
    plain
}

/// The record as the event source mapping hands it to a function, byte for byte.
fn event(record: &FailedRecord) -> String {
    let of = &record.origin.topic_partition;
    let mut out = Vec::with_capacity(512 + record.value.as_ref().map_or(0, |value| value.len() * 4 / 3));
    out.extend_from_slice(br#"{"eventSource":"aws:SelfManagedKafka","bootstrapServers":"#);
    json::write_string(&record.bootstrap_servers, &mut out);
    out.extend_from_slice(br#","records":{"#);
    json::write_string(&format!("{}-{}", of.topic(), of.partition()), &mut out);
    out.extend_from_slice(br#":[{"topic":"#);
    json::write_string(of.topic(), &mut out);
    let numbers = format!(r#","partition":{},"offset":{}"#, of.partition(), record.origin.offset);
    out.extend_from_slice(numbers.as_bytes());
    if let Some(timestamp) = record.timestamp {
        let kind = record.timestamp_type.constant_name();
        out.extend_from_slice(format!(r#","timestamp":{timestamp},"timestampType":"{kind}""#).as_bytes());
    }
    for (name, bytes) in [("key", &record.key), ("value", &record.value)] {
        if let Some(bytes) = bytes {
            out.extend_from_slice(format!(r#","{name}":"#).as_bytes());
            json::write_base64(bytes, &mut out);
        }
    }
    out.extend_from_slice(br#","headers":["#);
    for (index, (key, value)) in record.headers.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        json::write_string(&String::from_utf8_lossy(key), &mut out);
        match value {
            None => out.extend_from_slice(b":null"),
            Some(bytes) => {
                let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
                out.extend_from_slice(format!(":[{}]", numbers.join(",")).as_bytes());
            }
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}]}}");
    String::from_utf8(out).expect("JSON text of UTF-8 strings, base64 and digits")
}
