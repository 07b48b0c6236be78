//! What a record of a dead letter queue says of itself, and what is written when it goes back.

use bytes::Bytes;
use klamm_kafka::{ConsumedRecord, ProduceRecord};

use super::{DeadLetter, LetterError};

type RawHeader = (Bytes, Option<Bytes>);

/// The first of the headers that a dead letter has behind the record's own.
const FIRST: &str = "__connect.errors.topic";
/// How often a record was redriven: a header of the record itself, so that it comes along if the record fails again.
pub(super) const REDRIVES: &str = "__klamm.redrives";

/// Takes a record of the queue apart.
pub(super) fn read(partition: i32, record: ConsumedRecord) -> DeadLetter {
    // A record that came from a dead letter queue itself has such headers twice: the last ones are about this queue.
    let own = record.headers.iter().rposition(|(key, _)| key == FIRST);
    let (headers, context) = record.headers.split_at(own.unwrap_or(record.headers.len()));
    DeadLetter {
        partition,
        offset: record.offset,
        timestamp: (record.timestamp >= 0).then_some(record.timestamp),
        error: own.and_then(|_| error(context)),
        redrives: text(headers, REDRIVES).and_then(|text| text.parse().ok()).unwrap_or(0),
        headers: headers.to_vec(),
        key: record.key,
        value: record.value,
    }
}

/// None if it does not say where the record was consumed from.
fn error(context: &[RawHeader]) -> Option<LetterError> {
    let text = |key| text(context, key);
    let some = |key| text(key).unwrap_or_default();
    Some(LetterError {
        topic: text(FIRST)?,
        partition: text("__connect.errors.partition")?.parse().ok()?,
        offset: text("__connect.errors.offset")?.parse().ok()?,
        connector: some("__connect.errors.connector.name"),
        stage: some("__connect.errors.stage"),
        exception: some("__connect.errors.exception.class.name"),
        message: some("__connect.errors.exception.message"),
        route: text("__klamm.errors.route"),
        function: text("__klamm.errors.function"),
        attempts: text("__klamm.errors.attempts"),
        request_id: text("__klamm.errors.request.id"),
    })
}

/// The last header of this name as text.
fn text(headers: &[RawHeader], key: &str) -> Option<String> {
    let (_, value) = headers.iter().rfind(|(name, _)| name == key)?;
    Some(String::from_utf8_lossy(value.as_ref()?).into_owned())
}

/// The original, with one header more that counts how often it was redriven. `partition` is where it was consumed from,
/// if that is still there.
pub(super) fn original(letter: DeadLetter, error: &LetterError, partition: Option<i32>) -> ProduceRecord {
    let mut record = ProduceRecord::new(error.topic.as_str());
    record.partition = partition;
    record.timestamp = letter.timestamp;
    record.key = letter.key;
    record.value = letter.value;
    record.headers = letter.headers;
    record.headers.retain(|(key, _)| key != REDRIVES);
    let redrives = letter.redrives.saturating_add(1).to_string();
    record
        .headers
        .push((Bytes::from_static(REDRIVES.as_bytes()), Some(Bytes::from(redrives))));
    record
}

#[cfg(test)]
mod tests {
    use klamm_kafka::TimestampType;

    use super::*;

    fn record(headers: &[(&'static str, Option<&'static str>)]) -> ConsumedRecord {
        ConsumedRecord {
            offset: 5,
            timestamp: 17,
            timestamp_type: TimestampType::CreateTime,
            key: Some(Bytes::from_static(b"k")),
            value: None,
            headers: headers
                .iter()
                .map(|(key, value)| (Bytes::from_static(key.as_bytes()), value.map(Bytes::from)))
                .collect(),
            leader_epoch: None,
        }
    }

    const CONTEXT: [(&str, Option<&str>); 4] = [
        ("__connect.errors.topic", Some("orders")),
        ("__connect.errors.partition", Some("7")),
        ("__connect.errors.offset", Some("42")),
        ("__connect.errors.connector.name", Some("c")),
    ];

    #[test]
    fn the_original_comes_back_byte_for_byte_with_a_count() {
        let own = [("a", Some("1")), ("a", None), ("", Some(""))];
        let headers: Vec<_> = own.into_iter().chain(CONTEXT).collect();
        let letter = read(3, record(&headers));
        let error = letter.error.clone().unwrap();
        assert_eq!((&*error.topic, error.partition, error.offset), ("orders", 7, 42));
        let written = original(letter, &error, Some(7));
        let count = (Bytes::from_static(REDRIVES.as_bytes()), Some(Bytes::from_static(b"1")));
        let wanted: Vec<_> = record(&own).headers.into_iter().chain([count]).collect();
        assert_eq!(written.headers, wanted);
        assert_eq!(
            (
                &*written.topic,
                written.partition,
                written.timestamp,
                written.key,
                written.value
            ),
            ("orders", Some(7), Some(17), Some(Bytes::from_static(b"k")), None)
        );
    }

    #[test]
    fn a_record_that_was_a_dead_letter_itself_keeps_those_headers() {
        let before = [("__connect.errors.topic", Some("elsewhere"))];
        let headers: Vec<_> = before.into_iter().chain(CONTEXT).collect();
        let letter = read(0, record(&headers));
        assert_eq!(letter.error.unwrap().topic, "orders");
        assert_eq!(letter.headers, record(&before).headers);
    }

    #[test]
    fn what_does_not_say_where_it_came_from_has_no_error_and_counts_survive() {
        assert_eq!(read(0, record(&[("a", None)])).error, None);
        assert_eq!(read(0, record(&CONTEXT[..2])).error, None, "no offset");
        let broken = [CONTEXT[0], ("__connect.errors.partition", Some("many")), CONTEXT[2]];
        assert_eq!(read(0, record(&broken)).error, None, "no number");
        let again: Vec<_> = [(REDRIVES, Some("1"))].into_iter().chain(CONTEXT).collect();
        let letter = read(0, record(&again));
        assert_eq!(letter.redrives, 1);
        let error = letter.error.clone().unwrap();
        let written = original(letter, &error, None);
        assert_eq!(
            written.headers,
            record(&[(REDRIVES, Some("2"))]).headers,
            "one count, the new one"
        );
    }
}
