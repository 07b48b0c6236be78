//! A consumed record as one piece of memory, for the dead letter that it may become.
//!
//! A copy: a slice would keep the whole response of the fetch alive for as long as the record is undone. The form never
//! leaves the process.

use bytes::{BufMut, Bytes, BytesMut};
use klamm_kafka::ConsumedRecord;

/// Header key and value as Kafka has them: any bytes, and the value may be null.
pub(super) type RawHeader = (Bytes, Option<Bytes>);

/// Stands for null where a length is expected.
const NULL: u64 = u64::MAX;

/// The parts of a record that a dead letter keeps exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Original {
    /// None if the record had none.
    pub(super) timestamp: Option<i64>,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<RawHeader>,
}

/// A record, with more headers behind its own.
pub(super) fn pack(record: &ConsumedRecord, more: &[RawHeader]) -> Bytes {
    let headers = || record.headers.iter().chain(more);
    let part = |part: Option<&Bytes>| 8 + part.map_or(0, Bytes::len);
    let header_bytes = headers().map(|(key, value)| part(Some(key)) + part(value.as_ref()));
    let size = 8 + part(record.key.as_ref()) + part(record.value.as_ref()) + header_bytes.sum::<usize>();
    let mut packed = BytesMut::with_capacity(size);
    packed.put_i64(record.timestamp);
    put(&mut packed, record.key.as_ref());
    put(&mut packed, record.value.as_ref());
    for (key, value) in headers() {
        put(&mut packed, Some(key));
        put(&mut packed, value.as_ref());
    }
    debug_assert_eq!(packed.len(), size, "one allocation of the right size");
    packed.freeze()
}

/// What [`pack`] was given; its parts are slices. None for bytes that [`pack`] did not make.
pub(super) fn unpack(mut packed: Bytes) -> Option<Original> {
    let timestamp = i64::from_be_bytes(take(&mut packed, 8)?.as_ref().try_into().ok()?);
    let key = get(&mut packed)?;
    let value = get(&mut packed)?;
    let mut headers = Vec::new();
    while !packed.is_empty() {
        headers.push((get(&mut packed)??, get(&mut packed)?));
    }
    Some(Original {
        // Kafka writes "no timestamp" as -1.
        timestamp: (timestamp >= 0).then_some(timestamp),
        key,
        value,
        headers,
    })
}

fn put(packed: &mut BytesMut, part: Option<&Bytes>) {
    match part {
        None => packed.put_u64(NULL),
        Some(part) => {
            packed.put_u64(part.len() as u64);
            packed.put_slice(part);
        }
    }
}

fn get(packed: &mut Bytes) -> Option<Option<Bytes>> {
    match u64::from_be_bytes(take(packed, 8)?.as_ref().try_into().ok()?) {
        NULL => Some(None),
        length => take(packed, usize::try_from(length).ok()?).map(Some),
    }
}

fn take(packed: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= packed.len()).then(|| packed.split_to(length))
}

#[cfg(test)]
pub(super) mod tests {
    use klamm_kafka::TimestampType;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    pub(crate) fn record(timestamp: i64, key: Option<Bytes>, value: Option<Bytes>) -> ConsumedRecord {
        ConsumedRecord {
            offset: 7,
            timestamp,
            timestamp_type: TimestampType::CreateTime,
            key,
            value,
            headers: Vec::new(),
            leader_epoch: None,
        }
    }

    proptest! {
        #[test]
        fn every_record_comes_back_as_it_was(
            timestamp in -1..i64::MAX,
            key in option::of(bytes()),
            value in option::of(bytes()),
            headers in vec((bytes(), option::of(bytes())), 0..5),
            more in vec((bytes(), option::of(bytes())), 0..3),
        ) {
            let mut record = record(timestamp, key.clone(), value.clone());
            record.headers = headers.clone();
            let original = unpack(pack(&record, &more)).unwrap();
            let headers = [headers, more].concat();
            prop_assert_eq!(original, Original { timestamp: Some(timestamp).filter(|t| *t >= 0), key, value, headers });
        }

        #[test]
        fn other_bytes_are_no_record_or_another_one(bytes in vec(any::<u8>(), 0..100)) {
            drop(unpack(bytes.into()));
        }
    }
}
