//! Takes the trace context of a batch's first record to the call that sends the batch.
//!
//! The engine knows payloads only, so it travels inside of what the engine sees: in front of each encoded record, and in
//! front of the payload, from which `split_trace` takes it off before it is sent.

use bytes::Bytes;
use klamm_connect_api::sink::{Encoded, PayloadBuilder};
use klamm_connect_api::{Datum, Origin, Record, Value};

use crate::batch::Trace;

/// Longer ones are left out: W3C asks for 512 characters of state to be passed on.
const MAX_BYTES: usize = 600;
const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// Between the two, as neither can hold it.
const SEPARATOR: char = '\n';

/// The record with its trace context in front: two bytes of length, then the text.
pub(crate) fn with_trace(record: &Record, encoded: Encoded) -> Encoded {
    let mut trace = header(record, PARENT).unwrap_or_default();
    if !trace.is_empty() {
        trace.push(SEPARATOR);
        trace.push_str(&header(record, STATE).unwrap_or_default());
    }
    if trace.len() > MAX_BYTES {
        trace.clear();
    }
    let length = u16::try_from(trace.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(2 + trace.len() + encoded.bytes.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(trace.as_bytes());
    bytes.extend_from_slice(&encoded.bytes);
    Encoded { bytes, ..encoded }
}

/// A header that holds a short visible text.
fn header(record: &Record, name: &str) -> Option<String> {
    let header = record.headers.last(name)?;
    let text = match &header.value {
        Datum::Encoded { bytes, .. } => std::str::from_utf8(bytes).ok()?.to_owned(),
        Datum::Decoded(data) => match &data.value {
            Value::String(text) => text.to_string(),
            Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.to_owned(),
            _ => return None,
        },
    };
    let is_visible = |byte: u8| (0x20..0x7f).contains(&byte);
    (text.len() <= MAX_BYTES && text.bytes().all(is_visible)).then_some(text)
}

/// The trace context in front of bytes, and the length of both.
fn front(bytes: &[u8]) -> (&[u8], usize) {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return (&[], bytes.len());
    };
    let length = usize::from(u16::from_be_bytes(*length));
    match rest.get(..length) {
        Some(trace) => (trace, 2 + length),
        None => (&[], 2),
    }
}

/// The trace context of a payload's first record, and the payload that is sent.
pub(crate) fn split_trace(body: &Bytes) -> (Option<Trace<'_>>, Bytes) {
    let (trace, length) = front(body);
    let text = std::str::from_utf8(trace)
        .ok()
        .and_then(|text| text.split_once(SEPARATOR));
    let trace = text.map(|(parent, state)| Trace { parent, state });
    (trace, body.slice(length..))
}

/// Takes the trace context off the records and puts that of the first one in front of the payload.
pub(crate) fn traced(inner: Box<dyn PayloadBuilder>) -> Box<dyn PayloadBuilder> {
    Box::new(Traced { inner, first: None })
}

struct Traced {
    inner: Box<dyn PayloadBuilder>,
    /// What stands in front of the first record.
    first: Option<Vec<u8>>,
}

impl PayloadBuilder for Traced {
    fn expect(&mut self, bytes: usize) {
        self.inner.expect(bytes);
    }

    fn cost(&self, origin: &Origin, record: &Encoded) -> usize {
        // What stands in front counts as if it were sent, which covers the payload's own front.
        self.inner.cost(origin, record)
    }

    fn push(&mut self, origin: &Origin, record: &Encoded) {
        let (_, length) = front(&record.bytes);
        let (front, record) = record.bytes.split_at(length);
        self.first.get_or_insert_with(|| front.to_vec());
        self.inner.push(origin, &record.to_vec().into());
    }

    fn finish(&mut self) -> Bytes {
        let mut body = self.first.take().unwrap_or_else(|| vec![0, 0]);
        let payload = self.inner.finish();
        body.reserve(payload.len());
        body.extend_from_slice(&payload);
        Bytes::from(body)
    }

    fn overhead(&self) -> usize {
        self.inner.overhead() + 2
    }
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::{SchemaAndValue, TopicPartition};

    use super::super::array::ArrayBuilder;
    use super::*;
    use crate::config::Packing;

    fn record(headers: &[(&str, &str)]) -> Record {
        let origin = Origin {
            topic_partition: TopicPartition::new("t", 0),
            offset: 0,
        };
        let mut record = Record::new(origin, Datum::NULL, Datum::NULL);
        for (name, value) in headers {
            record
                .headers
                .add(*name, SchemaAndValue::schemaless(Value::String((*value).into())));
        }
        record
    }

    #[test]
    fn the_first_records_trace_context_goes_with_the_payload_and_not_into_it() {
        let long = "x".repeat(MAX_BYTES);
        let parent = Trace {
            parent: "p1",
            state: "",
        };
        let both = Trace {
            parent: "p1",
            state: "s=1",
        };
        let other = record(&[(PARENT, "p2")]);
        let cases = [
            (
                record(&[(PARENT, "p0"), (PARENT, "p1")]),
                Some(parent),
                "the last header of a name counts",
            ),
            (record(&[(PARENT, "p1"), (STATE, "s=1")]), Some(both), "with its state"),
            (record(&[(STATE, "s=1")]), None, "a state alone says nothing"),
            (record(&[]), None, "none, although the next record has one"),
            (record(&[(PARENT, "p\u{e9}")]), None, "no visible ASCII"),
            (record(&[(PARENT, "p1"), (STATE, &long)]), None, "too long"),
        ];
        for (first, wanted, why) in cases {
            let mut builder = traced(Box::new(ArrayBuilder::new(Packing::Array)));
            let mut bound = builder.overhead();
            for record in [&first, &other] {
                let encoded = with_trace(record, b"{}".to_vec().into());
                bound += builder.cost(record.origin(), &encoded);
                builder.push(record.origin(), &encoded);
            }
            let body = builder.finish();
            assert!(body.len() <= bound, "{why}");
            let (trace, payload) = split_trace(&body);
            assert_eq!(trace, wanted, "{why}");
            assert_eq!(&payload[..], b"[{},{}]", "{why}");
            let next = builder.finish();
            let (trace, payload) = split_trace(&next);
            assert_eq!(
                (trace, &payload[..]),
                (None, &b"[]"[..]),
                "the next payload begins anew"
            );
        }
    }
}
