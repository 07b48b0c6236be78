//! A line of input as a record to write: the JSON that `topic read` prints, or text.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use klamm_kafka::ProduceRecord;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// How lines are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A line that begins with `{` is JSON, any other text.
    Either,
    /// Every line is JSON.
    Json,
    /// Every line is text.
    Text,
}

/// What `topic read --json` prints. Key and value must be there, so that an object of other meaning is not taken for a
/// tombstone; where the record was is ignored, but for its partition.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow, deserialize_with = "present")]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "present")]
    value: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    headers: Vec<Header<'a>>,
    #[serde(default)]
    partition: Option<i32>,
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(default, rename = "topic")]
    _topic: Option<IgnoredAny>,
    #[serde(default, rename = "offset")]
    _offset: Option<IgnoredAny>,
    #[serde(default, rename = "timestampType")]
    _timestamp_type: Option<IgnoredAny>,
    #[serde(default, rename = "leaderEpoch")]
    _leader_epoch: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Header<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "present")]
    value: Option<Cow<'a, str>>,
    #[serde(default)]
    key_lossy: bool,
    #[serde(default, borrow)]
    key_base64: Option<Cow<'a, str>>,
}

/// Null is a value, a missing field is not.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    Option::deserialize(deserializer)
}

/// The record that a line means.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(topic: &Arc<str>, line: &[u8], form: Form) -> anyhow::Result<ProduceRecord> {
    let is_json = match form {
        Form::Either => line.first() == Some(&b'{'),
        Form::Json => true,
        Form::Text => false,
    };
    if is_json {
        json(topic, line)
    } else {
        Ok(text(topic, line))
    }
}

fn json(topic: &Arc<str>, line: &[u8]) -> anyhow::Result<ProduceRecord> {
    let line: Line<'_> =
        serde_json::from_slice(line).context("not a record as `topic read --json` prints it (text needs `--text`)")?;
    let mut headers = Vec::with_capacity(line.headers.len());
    for header in line.headers {
        let key = match header.key_base64 {
            Some(bytes) => decoded("keyBase64", &bytes)?,
            None if header.key_lossy => bail!(
                "the key of header `{}` is not what it was: read with `--header-key-bytes` to keep it",
                header.key
            ),
            None => Bytes::from(header.key.into_owned()),
        };
        headers.push((key, optional("headers.value", header.value)?));
    }
    Ok(ProduceRecord {
        partition: line.partition,
        timestamp: line.timestamp,
        key: optional("key", line.key)?,
        value: optional("value", line.value)?,
        headers,
        ..ProduceRecord::new(Arc::clone(topic))
    })
}

fn optional(field: &str, text: Option<Cow<'_, str>>) -> anyhow::Result<Option<Bytes>> {
    text.map(|text| decoded(field, &text)).transpose()
}

fn decoded(field: &str, text: &str) -> anyhow::Result<Bytes> {
    let bytes = BASE64.decode(text);
    Ok(bytes.with_context(|| format!("`{field}` is not base64"))?.into())
}

/// The value, or key and value with a tab between.
fn text(topic: &Arc<str>, line: &[u8]) -> ProduceRecord {
    let mut parts = line.splitn(2, |byte| *byte == b'\t');
    let first = parts.next().map(Bytes::copy_from_slice);
    let (key, value) = match parts.next() {
        Some(value) => (first, Some(Bytes::copy_from_slice(value))),
        None => (None, first),
    };
    ProduceRecord {
        key,
        value,
        ..ProduceRecord::new(Arc::clone(topic))
    }
}

#[cfg(test)]
mod tests {
    use klamm_kafka::{ConsumedRecord, TimestampType, TopicPartition};

    use super::*;
    use crate::tools::record::{HeaderKeys, write_json};

    fn topic() -> Arc<str> {
        Arc::from("to")
    }

    #[test]
    fn what_read_prints_is_the_same_record() {
        let consumed = ConsumedRecord {
            offset: 7,
            timestamp: 1_700_000_000_123,
            timestamp_type: TimestampType::CreateTime,
            key: None,
            value: Some(Bytes::from_static(b"\xff\0")),
            headers: vec![
                (Bytes::from_static(b"a\"\\\n"), Some(Bytes::new())),
                (Bytes::from_static(b"a\"\\\n"), None),
                (Bytes::from_static(b"\xffx"), Some(Bytes::from_static(b"1"))),
            ],
            leader_epoch: Some(3),
        };
        let mut line = Vec::new();
        write_json(&TopicPartition::new("from", 2), &consumed, HeaderKeys::Exact, &mut line);
        let record = parse(&topic(), &line, Form::Either).unwrap();
        let wanted = ProduceRecord {
            topic: topic(),
            partition: Some(2),
            timestamp: Some(consumed.timestamp),
            key: consumed.key,
            value: consumed.value,
            headers: consumed.headers,
        };
        assert_eq!(record, wanted);
    }

    #[test]
    fn text_is_a_value_or_key_and_value() {
        let cases = [
            ("v", Form::Either, None, "v"),
            ("k\tv\tw", Form::Either, Some("k"), "v\tw"),
            ("\t", Form::Text, Some(""), ""),
            ("", Form::Either, None, ""),
            ("{\"a\":1}", Form::Text, None, "{\"a\":1}"),
        ];
        for (line, form, key, value) in cases {
            let record = parse(&topic(), line.as_bytes(), form).unwrap();
            let wanted = (key.map(str::as_bytes), Some(value.as_bytes()));
            assert_eq!((record.key.as_deref(), record.value.as_deref()), wanted, "{line:?}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let cases = [
            (
                r#"{"a":1}"#,
                "not a record as `topic read --json` prints it (text needs `--text`): unknown field `a`",
            ),
            (r#"{"key":null}"#, "missing field `value`"),
            (
                r#"{"key":null,"value":"?"}"#,
                "`value` is not base64: Invalid symbol 63, offset 0.",
            ),
            (
                r#"{"key":null,"value":null,"headers":[{"key":"x","value":null,"keyLossy":true}]}"#,
                "the key of header `x` is not what it was: read with `--header-key-bytes` to keep it",
            ),
            ("[]", "invalid length 0"),
        ];
        for (line, wanted) in cases {
            let error = parse(&topic(), line.as_bytes(), Form::Json).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }
}
