//! A consumed record as one piece of memory, for what may have to be written about it.
//!
//! A copy: a slice would keep the whole response of the fetch alive for as long as the record is undone. The form never
//! leaves the process.

use bytes::{BufMut, Bytes, BytesMut};
use klamm_connect_api::TimestampType;
use klamm_kafka::ConsumedRecord;

use crate::task::pipeline;

/// Header key and value as Kafka has them: any bytes, and the value may be null.
pub(super) type RawHeader = (Bytes, Option<Bytes>);

/// Stands for null where a length is expected.
const NULL: u64 = u64::MAX;

/// The parts of a record that are kept exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Original {
    /// None if the record had none.
    pub(super) timestamp: Option<i64>,
    pub(super) timestamp_type: TimestampType,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    /// The key as JSON text, for reports.
    pub(super) json_key: Option<Bytes>,
    /// Why it failed before delivery.
    pub(super) context: Option<Context>,
    pub(super) headers: Vec<RawHeader>,
}

/// Why a record failed before delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) stage: Bytes,
    pub(super) class: Bytes,
    pub(super) exception: Bytes,
    pub(super) message: Bytes,
}

impl Context {
    fn parts(&self) -> [&Bytes; 4] {
        [&self.stage, &self.class, &self.exception, &self.message]
    }
}

/// What of a record is kept beside key, timestamp and headers.
#[derive(Debug, Default)]
pub(super) struct Keep<'a> {
    pub(super) value: bool,
    pub(super) json_key: Option<Bytes>,
    pub(super) context: Option<&'a Context>,
}

pub(super) fn pack(record: &ConsumedRecord, keep: &Keep<'_>) -> Bytes {
    let value = record.value.as_ref().filter(|_| keep.value);
    let context = || keep.context.map(Context::parts).into_iter().flatten();
    let part = |part: Option<&Bytes>| 8 + part.map_or(0, Bytes::len);
    let headers = record.headers.iter();
    let header_bytes = headers.map(|(key, value)| part(Some(key)) + part(value.as_ref()));
    let size = 8
        + 1
        + part(record.key.as_ref())
        + part(value)
        + part(keep.json_key.as_ref())
        + 1
        + context().map(|text| part(Some(text))).sum::<usize>()
        + header_bytes.sum::<usize>();
    let mut packed = BytesMut::with_capacity(size);
    packed.put_i64(record.timestamp);
    packed.put_u8(match pipeline::timestamp_type(record) {
        TimestampType::NoTimestampType => 0,
        TimestampType::CreateTime => 1,
        TimestampType::LogAppendTime => 2,
    });
    put(&mut packed, record.key.as_ref());
    put(&mut packed, value);
    put(&mut packed, keep.json_key.as_ref());
    packed.put_u8(u8::from(keep.context.is_some()));
    for text in context() {
        put(&mut packed, Some(text));
    }
    for (key, value) in &record.headers {
        put(&mut packed, Some(key));
        put(&mut packed, value.as_ref());
    }
    debug_assert_eq!(packed.len(), size, "one allocation of the right size");
    packed.freeze()
}

/// What [`pack`] was given; its parts are slices. None for bytes that [`pack`] did not make.
pub(super) fn unpack(mut packed: Bytes) -> Option<Original> {
    let timestamp = i64::from_be_bytes(take(&mut packed, 8)?.as_ref().try_into().ok()?);
    let timestamp_type = match take(&mut packed, 1)?.first()? {
        0 => TimestampType::NoTimestampType,
        1 => TimestampType::CreateTime,
        2 => TimestampType::LogAppendTime,
        _ => return None,
    };
    let key = get(&mut packed)?;
    let value = get(&mut packed)?;
    let json_key = get(&mut packed)?;
    let context = match take(&mut packed, 1)?.first()? {
        0 => None,
        _ => Some(Context {
            stage: get(&mut packed)??,
            class: get(&mut packed)??,
            exception: get(&mut packed)??,
            message: get(&mut packed)??,
        }),
    };
    let mut headers = Vec::new();
    while !packed.is_empty() {
        headers.push((get(&mut packed)??, get(&mut packed)?));
    }
    Some(Original {
        // Kafka writes "no timestamp" as -1.
        timestamp: (timestamp >= 0).then_some(timestamp),
        timestamp_type,
        key,
        value,
        json_key,
        context,
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
            timestamp_type: klamm_kafka::TimestampType::CreateTime,
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
            keeps_value in any::<bool>(),
            json_key in option::of(bytes()),
            context in option::of([bytes(), bytes(), bytes(), bytes()]),
            headers in vec((bytes(), option::of(bytes())), 0..5),
        ) {
            let mut record = record(timestamp, key.clone(), value.clone());
            record.headers = headers.clone();
            let context = context.map(|[stage, class, exception, message]| Context { stage, class, exception, message });
            let keep = Keep { value: keeps_value, json_key: json_key.clone(), context: context.as_ref() };
            let original = unpack(pack(&record, &keep)).unwrap();
            let timestamp_type = if timestamp < 0 { TimestampType::NoTimestampType } else { TimestampType::CreateTime };
            prop_assert_eq!(original, Original {
                timestamp: Some(timestamp).filter(|t| *t >= 0),
                timestamp_type,
                key,
                value: value.filter(|_| keeps_value),
                json_key,
                context,
                headers,
            });
        }

        #[test]
        fn other_bytes_are_no_record_or_another_one(bytes in vec(any::<u8>(), 0..100)) {
            drop(unpack(bytes.into()));
        }
    }
}
