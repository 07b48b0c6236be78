//! Which records a payload carries: topic, partition and offset of each, read as a stream.
//!
//! For tests that account for every record. Values are skipped without being built.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Where a record of a payload comes from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
pub struct Coordinates<'a> {
    /// The topic.
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    /// The partition.
    pub partition: i32,
    /// The offset of the record in its partition.
    pub offset: i64,
}

/// Calls `each` for every record of a payload in Confluent's format, `[{"payload": {"topic", "partition", "offset", …}}, …]`.
///
/// # Errors
/// The payload is not of that format. `each` may have seen the records before the fault.
///
/// ```
/// let body = br#"[{"payload":{"timestamp":1,"topic":"orders","partition":0,"offset":7,"key":"k","value":{"a":[1]}}}]"#;
/// let mut offsets = Vec::new();
/// klamm_dev::payload::each_of_confluent(body, |record| offsets.push(record.offset))?;
/// assert_eq!(offsets, [7]);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn each_of_confluent<'a>(body: &'a [u8], mut each: impl FnMut(Coordinates<'a>)) -> Result<(), serde_json::Error> {
    #[derive(Deserialize)]
    struct Element<'a> {
        #[serde(borrow)]
        payload: Coordinates<'a>,
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    deserializer.deserialize_seq(Each(
        |element: Element<'a>| each(element.payload),
        std::marker::PhantomData,
    ))?;
    deserializer.end()
}

/// Calls `each` for every record of an event of the Lambda event source mapping for Kafka,
/// `{"records": {"orders-0": [{"topic", "partition", "offset", …}, …]}, …}`.
///
/// # Errors
/// The payload is not of that format. `each` may have seen the records before the fault.
pub fn each_of_esm<'a>(body: &'a [u8], each: impl FnMut(Coordinates<'a>)) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    deserializer.deserialize_map(Event(each))?;
    deserializer.end()
}

/// Visits a sequence, or the values of a map of sequences, and hands each element over.
struct Each<F, T>(F, std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<F, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            (self.0)(element);
        }
        Ok(())
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Each<F, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

struct Event<F>(F);

impl<'de, F: FnMut(Coordinates<'de>)> Visitor<'de> for Event<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event with the member `records`")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            if name == "records" {
                seen = true;
                members.next_value_seed(Records(&mut self.0))?;
            } else {
                members.next_value::<serde::de::IgnoredAny>()?;
            }
        }
        if seen {
            Ok(())
        } else {
            Err(serde::de::Error::missing_field("records"))
        }
    }
}

struct Records<'f, F>(&'f mut F);

impl<'de, F: FnMut(Coordinates<'de>)> DeserializeSeed<'de> for Records<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Coordinates<'de>)> Visitor<'de> for Records<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("arrays of records by topic-partition")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_key::<serde::de::IgnoredAny>()?.is_some() {
            members.next_value_seed(Each(&mut *self.0, std::marker::PhantomData))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confluent(body: &str) -> Result<Vec<(String, i32, i64)>, serde_json::Error> {
        let mut seen = Vec::new();
        each_of_confluent(body.as_bytes(), |c| {
            seen.push((c.topic.into_owned(), c.partition, c.offset));
        })?;
        Ok(seen)
    }

    #[test]
    fn every_record_of_a_confluent_payload_is_named_once() {
        let body = r#"[{"payload":{"topic":"a","partition":1,"offset":5,"value":null}},
                       {"payload":{"key":"\u00e9","offset":6,"topic":"\u00e9t\u00e9","partition":0,"value":{"topic":"no"}}}]"#;
        assert_eq!(
            confluent(body).unwrap(),
            [("a".to_owned(), 1, 5), ("été".to_owned(), 0, 6)]
        );
    }

    #[test]
    fn what_is_not_a_confluent_payload_is_an_error() {
        for body in [
            "",
            "{}",
            r#"[{"topic":"a"}]"#,
            r#"[{"payload":{"topic":"a","partition":0}}]"#,
            "[] x",
        ] {
            assert!(confluent(body).is_err(), "{body:?} was taken");
        }
    }

    #[test]
    fn every_record_of_an_event_source_mapping_event_is_named_once() {
        let body = br#"{"eventSource":"aws:kafka","records":{
            "a-0":[{"topic":"a","partition":0,"offset":7,"key":"azE="},{"topic":"a","partition":0,"offset":8}],
            "a-1":[{"topic":"a","partition":1,"offset":0,"headers":[{"h":[1]}]}]}}"#;
        let mut seen = Vec::new();
        each_of_esm(body, |c| seen.push((c.partition, c.offset))).unwrap();
        assert_eq!(seen, [(0, 7), (0, 8), (1, 0)]);
        assert!(each_of_esm(b"{}", |_| ()).is_err());
    }
}
