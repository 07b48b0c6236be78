//! A record as a line: the JSON that scripts read, and a text for people.

use klamm_connect_api::json::{write_base64, write_string};
use klamm_kafka::{ConsumedRecord, TimestampType, TopicPartition};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How the keys of headers are written that are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderKeys {
    /// With replacement characters, and `"keyLossy": true`.
    Lossy,
    /// Besides, their bytes in `keyBase64`, which `topic write` takes.
    Exact,
}

/// Appends the record as one JSON object and a line feed.
pub(crate) fn write_json(at: &TopicPartition, record: &ConsumedRecord, keys: HeaderKeys, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"topic":"#);
    write_string(&at.topic, out);
    out.extend_from_slice(br#","partition":"#);
    number(at.partition, out);
    out.extend_from_slice(br#","offset":"#);
    number(record.offset, out);
    out.extend_from_slice(br#","timestamp":"#);
    number(record.timestamp, out);
    out.extend_from_slice(br#","timestampType":""#);
    out.extend_from_slice(match record.timestamp_type {
        _ if record.timestamp < 0 => b"none".as_slice(),
        TimestampType::CreateTime => b"CreateTime",
        TimestampType::LogAppendTime => b"LogAppendTime",
    });
    out.extend_from_slice(br#"","key":"#);
    bytes(record.key.as_deref(), out);
    out.extend_from_slice(br#","value":"#);
    bytes(record.value.as_deref(), out);
    out.extend_from_slice(br#","headers":["#);
    for (i, (key, value)) in record.headers.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        header(key, value.as_deref(), keys, out);
    }
    out.extend_from_slice(br#"],"leaderEpoch":"#);
    match record.leader_epoch {
        Some(epoch) => number(epoch, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b"}\n");
}

fn header(key: &[u8], value: Option<&[u8]>, keys: HeaderKeys, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"key":"#);
    let text = std::str::from_utf8(key);
    match text {
        Ok(text) => write_string(text, out),
        Err(_) => write_string(&String::from_utf8_lossy(key), out),
    }
    out.extend_from_slice(br#","value":"#);
    bytes(value, out);
    if text.is_err() {
        out.extend_from_slice(br#","keyLossy":true"#);
        if keys == HeaderKeys::Exact {
            out.extend_from_slice(br#","keyBase64":"#);
            write_base64(key, out);
        }
    }
    out.push(b'}');
}

fn bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => write_base64(bytes, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn number(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends the record as a line for people: place, time, key, value, headers, with tabs between. Null is `null`.
pub(crate) fn write_text(at: &TopicPartition, record: &ConsumedRecord, out: &mut Vec<u8>) {
    out.extend_from_slice(at.topic.as_bytes());
    out.push(b'-');
    number(at.partition, out);
    out.push(b'@');
    number(record.offset, out);
    out.push(b'\t');
    time(record.timestamp, out);
    for field in [&record.key, &record.value] {
        out.push(b'\t');
        readable(field.as_deref(), out);
    }
    for (key, value) in &record.headers {
        out.push(b'\t');
        readable(Some(key), out);
        out.push(b'=');
        readable(value.as_deref(), out);
    }
    out.push(b'\n');
}

fn time(timestamp: i64, out: &mut Vec<u8>) {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(timestamp) * 1_000_000).ok();
    let text = time
        .filter(|_| timestamp >= 0)
        .and_then(|time| time.format(&Rfc3339).ok());
    match text {
        Some(text) => out.extend_from_slice(text.as_bytes()),
        // Absent, or beyond the year 9999.
        None => number(timestamp, out),
    }
}

/// Text as it is; bytes that are none, and characters that would break the line, escaped.
fn readable(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(bytes) = bytes else {
        out.extend_from_slice(b"null");
        return;
    };
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || character == '\\' {
                out.extend(character.escape_default().to_string().bytes());
            } else {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;

    fn record() -> ConsumedRecord {
        ConsumedRecord {
            offset: 7,
            timestamp: 1_700_000_000_123,
            timestamp_type: TimestampType::CreateTime,
            key: Some(Bytes::from_static(b"k\t1")),
            value: Some(Bytes::from_static(b"\xff\xfev")),
            headers: vec![
                (Bytes::from_static(b"a\"b"), Some(Bytes::from_static(b"1"))),
                (Bytes::from_static(b"a\"b"), None),
                (Bytes::from_static(b"\xffx"), Some(Bytes::new())),
            ],
            leader_epoch: Some(3),
        }
    }

    fn json_of(record: &ConsumedRecord, keys: HeaderKeys) -> Value {
        let mut line = Vec::new();
        write_json(&TopicPartition::new("t", 2), record, keys, &mut line);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn json_keeps_nulls_empties_duplicates_and_any_bytes_apart() {
        let wanted = json!({
            "topic": "t", "partition": 2, "offset": 7, "timestamp": 1_700_000_000_123_i64, "timestampType": "CreateTime",
            "key": "awkx", "value": "//52",
            "headers": [
                {"key": "a\"b", "value": "MQ=="},
                {"key": "a\"b", "value": null},
                {"key": "\u{fffd}x", "value": "", "keyLossy": true},
            ],
            "leaderEpoch": 3,
        });
        assert_eq!(json_of(&record(), HeaderKeys::Lossy), wanted);

        let mut with_bytes = wanted;
        with_bytes["headers"][2]["keyBase64"] = json!("/3g=");
        assert_eq!(json_of(&record(), HeaderKeys::Exact), with_bytes);
    }

    #[test]
    fn json_says_what_is_absent() {
        let bare = ConsumedRecord {
            timestamp: -1,
            key: None,
            value: Some(Bytes::new()),
            headers: Vec::new(),
            leader_epoch: None,
            ..record()
        };
        let wanted = json!({
            "topic": "t", "partition": 2, "offset": 7, "timestamp": -1, "timestampType": "none",
            "key": null, "value": "", "headers": [], "leaderEpoch": null,
        });
        assert_eq!(json_of(&bare, HeaderKeys::Lossy), wanted);
        let stamped = ConsumedRecord {
            timestamp_type: TimestampType::LogAppendTime,
            ..record()
        };
        assert_eq!(
            json_of(&stamped, HeaderKeys::Lossy)["timestampType"],
            json!("LogAppendTime")
        );
    }

    #[test]
    fn text_shows_every_byte_on_one_line() {
        let mut line = Vec::new();
        write_text(&TopicPartition::new("t", 2), &record(), &mut line);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "t-2@7\t2023-11-14T22:13:20.123Z\tk\\t1\t\\xff\\xfev\ta\"b=1\ta\"b=null\t\\xffx=\n"
        );
    }
}
