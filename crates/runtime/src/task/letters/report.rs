//! What reports say: results and errors in the shape of Confluent's reporter, and results that are forwarded.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use klamm_connect_api::{Origin, json};
use klamm_delivery::GivenUp;
use klamm_kafka::ProduceRecord;

use super::original::{Original, RawHeader};
use crate::config::ReportFormat;

/// The result of a record: `{"timestamp", "offset", "partition", "topic", "result"}`.
pub(super) fn of_result(
    mut record: ProduceRecord,
    origin: &Origin,
    original: &Original,
    result: &Bytes,
    key_format: ReportFormat,
) -> ProduceRecord {
    let mut value = Vec::with_capacity(result.len() + 128);
    let timestamp = original
        .timestamp
        .map_or_else(|| "null".to_owned(), |at| at.to_string());
    let numbers = format!(
        r#"{{"timestamp":{timestamp},"offset":{},"partition":{},"topic":"#,
        origin.offset,
        origin.topic_partition.partition()
    );
    value.extend_from_slice(numbers.as_bytes());
    json::write_string(origin.topic_partition.topic(), &mut value);
    value.extend_from_slice(br#","result":"#);
    value.extend_from_slice(result);
    value.push(b'}');
    record.key = key(original, key_format);
    record.value = Some(value.into());
    record.headers = input_headers(origin, original);
    record
}

/// The failure of a record: its text, or a JSON object.
pub(super) fn of_error(
    mut record: ProduceRecord,
    origin: &Origin,
    original: &Original,
    given_up: &GivenUp,
    key_format: ReportFormat,
    value_format: ReportFormat,
) -> ProduceRecord {
    let failure = &given_up.failure;
    record.key = key(original, key_format);
    record.value = Some(match value_format {
        ReportFormat::String => Bytes::from(failure.message.to_string()),
        ReportFormat::Json => {
            let document = serde_json::json!({
                "class": &*failure.class,
                "message": &*failure.message,
                "route": &*given_up.route,
                "destination": &*given_up.destination,
                "attempts": given_up.attempts,
                "requestId": failure.request_id.as_deref(),
            });
            Bytes::from(document.to_string())
        }
    });
    record.headers = input_headers(origin, original);
    record.headers.push(header("error_class", failure.class.to_string()));
    record
        .headers
        .push(header("error_message", failure.message.to_string()));
    record
}

/// A result in the place of the value; none if there is nothing to forward.
pub(super) fn forwarded(
    mut record: ProduceRecord,
    original: Original,
    result: &Bytes,
    format: ReportFormat,
) -> Option<ProduceRecord> {
    if result.as_ref() == b"null" {
        return None;
    }
    record.timestamp = original.timestamp;
    record.key = original.key;
    record.headers = original.headers;
    record.value = Some(match format {
        ReportFormat::Json => result.clone(),
        ReportFormat::String => text(result),
    });
    Some(record)
}

/// The source's key.
fn key(original: &Original, format: ReportFormat) -> Option<Bytes> {
    let json = original.json_key.as_ref().filter(|key| key.as_ref() != b"null")?;
    Some(match format {
        ReportFormat::Json => json.clone(),
        ReportFormat::String => text(json),
    })
}

/// A JSON string's text; of anything else the JSON.
fn text(json: &Bytes) -> Bytes {
    match serde_json::from_slice::<Cow<'_, str>>(json) {
        Ok(text) => Bytes::from(text.into_owned()),
        Err(_) => json.clone(),
    }
}

/// Where the record was consumed from, as text.
fn input_headers(origin: &Origin, original: &Original) -> Vec<RawHeader> {
    let mut timestamp = String::new();
    if let Some(at) = original.timestamp {
        // Writing to a string cannot fail.
        write!(timestamp, "{at}").ok();
    }
    vec![
        header("input_record_offset", origin.offset.to_string()),
        header("input_record_timestamp", timestamp),
        header("input_record_partition", origin.topic_partition.partition().to_string()),
        header("input_record_topic", origin.topic_partition.topic().to_owned()),
    ]
}

fn header(key: &'static str, value: String) -> RawHeader {
    (Bytes::from_static(key.as_bytes()), Some(Bytes::from(value)))
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::sink::Failure;
    use klamm_connect_api::{TimestampType, TopicPartition};

    use super::*;

    fn origin() -> Origin {
        Origin {
            topic_partition: TopicPartition::new("orders", 3),
            offset: 42,
        }
    }

    fn original(json_key: Option<&'static str>) -> Original {
        Original {
            timestamp: Some(1_700_000_000_123),
            timestamp_type: TimestampType::CreateTime,
            key: Some(Bytes::from_static(b"\xffk")),
            value: None,
            json_key: json_key.map(Bytes::from),
            context: None,
            headers: vec![(Bytes::from_static(b"trace"), None)],
        }
    }

    fn headers(record: &ProduceRecord) -> Vec<(&str, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        let headers = record.headers.iter();
        headers
            .map(|(key, value)| (text(key), text(value.as_ref().unwrap())))
            .collect()
    }

    const INPUT: [(&str, &str); 4] = [
        ("input_record_offset", "42"),
        ("input_record_timestamp", "1700000000123"),
        ("input_record_partition", "3"),
        ("input_record_topic", "orders"),
    ];

    #[test]
    fn a_result_has_confluents_shape() {
        let cases = [
            // key as JSON, format, wanted, why
            (
                Some("\"a\\\"b\""),
                ReportFormat::String,
                Some("a\"b"),
                "a text is written as it is",
            ),
            (
                Some("\"a\\\"b\""),
                ReportFormat::Json,
                Some("\"a\\\"b\""),
                "and with quotes as JSON",
            ),
            (
                Some("{\"id\":1}"),
                ReportFormat::String,
                Some("{\"id\":1}"),
                "what is no text is JSON",
            ),
            (Some("null"), ReportFormat::Json, None, "no key"),
            (None, ReportFormat::String, None, "no key"),
        ];
        for (json_key, format, wanted, why) in cases {
            let result = Bytes::from_static(b"{\"ok\":true}");
            let record = of_result(ProduceRecord::new("r"), &origin(), &original(json_key), &result, format);
            assert_eq!(
                record.value.as_deref(),
                Some(
                    &br#"{"timestamp":1700000000123,"offset":42,"partition":3,"topic":"orders","result":{"ok":true}}"#
                        [..]
                )
            );
            assert_eq!(headers(&record), INPUT);
            assert_eq!(record.key.as_deref(), wanted.map(str::as_bytes), "{why}");
        }
    }

    #[test]
    fn an_error_is_its_text_or_an_object() {
        let given_up = GivenUp {
            route: "audit".into(),
            destination: "audit-fn (sync)".into(),
            attempts: 5,
            failure: Failure {
                class: "ValueError".into(),
                message: "it failed".into(),
                request_id: Some("r-1".into()),
                answered: None,
            },
        };
        let of = |format| {
            let key = ReportFormat::String;
            of_error(
                ProduceRecord::new("e"),
                &origin(),
                &original(Some("\"k\"")),
                &given_up,
                key,
                format,
            )
        };
        let record = of(ReportFormat::String);
        assert_eq!(record.value.as_deref(), Some(&b"it failed"[..]));
        assert_eq!(
            headers(&record)[4..],
            [("error_class", "ValueError"), ("error_message", "it failed")]
        );
        let document: serde_json::Value =
            serde_json::from_slice(of(ReportFormat::Json).value.as_ref().unwrap()).unwrap();
        assert_eq!(document["class"], "ValueError");
        assert_eq!(document["requestId"], "r-1");
        assert_eq!(document["attempts"], 5);
    }

    #[test]
    fn a_forwarded_result_keeps_key_headers_and_timestamp() {
        let result = Bytes::from_static(b"\"done\"");
        let forward = |result: &Bytes, format| forwarded(ProduceRecord::new("f"), original(None), result, format);
        let record = forward(&result, ReportFormat::String).unwrap();
        assert_eq!(record.value.as_deref(), Some(&b"done"[..]));
        assert_eq!(record.key.as_deref(), Some(&b"\xffk"[..]));
        assert_eq!(record.headers, [(Bytes::from_static(b"trace"), None)]);
        assert_eq!(record.timestamp, Some(1_700_000_000_123));
        assert_eq!(forward(&result, ReportFormat::Json).unwrap().value, Some(result));
        assert_eq!(
            forward(&Bytes::from_static(b"null"), ReportFormat::Json),
            None,
            "nothing to forward"
        );
    }
}
