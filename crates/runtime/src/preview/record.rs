//! A record to preview: as a line of JSON, or as it came from Kafka.

use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::{Origin, RawHeader, SchemaAndValue, TimestampType, TopicPartition};
use klamm_kafka::ConsumedRecord;
use serde_json::Value as Json;

use super::read::{at, bytes, data};
use crate::task::pipeline::{self, timestamp};

const MEMBERS: [&str; 9] = [
    "topic",
    "partition",
    "offset",
    "timestamp",
    "timestampType",
    "key",
    "value",
    "headers",
    "originalTopic",
];

/// A record that a preview starts with.
#[derive(Debug, Clone)]
pub struct PreviewRecord {
    pub(super) origin: Origin,
    /// Another one than the origin's only in a record that went through a chain before.
    pub(super) topic: Arc<str>,
    pub(super) timestamp: Option<i64>,
    pub(super) timestamp_type: TimestampType,
    pub(super) key: PreviewDatum,
    pub(super) value: PreviewDatum,
    pub(super) headers: Vec<(Bytes, PreviewDatum)>,
}

/// A key, a value or a header's value.
#[derive(Debug, Clone)]
pub(super) enum PreviewDatum {
    /// What stands on the wire, and goes through the converter.
    Raw(Option<Bytes>),
    /// The null of a line. It stands for none on the wire where a converter is configured, and for null itself where the
    /// configuration leaves converters out.
    Null,
    /// Data that no converter sees.
    Data(SchemaAndValue),
}

impl PreviewDatum {
    fn read(json: &Json) -> Result<Self, String> {
        if json.is_null() {
            return Ok(Self::Null);
        }
        let object = json.as_object();
        let object = object.ok_or("must be null, {\"base64\": …} or {\"schema\": …, \"payload\": …}")?;
        match object.get("base64") {
            Some(text) if object.len() == 1 => Ok(Self::Raw(Some(
                bytes(text).map_err(|error| at(".base64", &error))?.into(),
            ))),
            Some(_) => Err("has other members beside `base64`".to_owned()),
            None => data(json).map(Self::Data),
        }
    }
}

impl PreviewRecord {
    /// The record that a line of JSON describes: `topic` and `value` must be there, and `partition`, `offset`,
    /// `timestamp`, `timestampType`, `key`, `headers` and `originalTopic` may be.
    ///
    /// # Errors
    /// What is wrong with it, without the values it has.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let json: Json = serde_json::from_slice(json).map_err(|error| {
            // The parser's own words quote no value: it reads into anything.
            format!("the line is not valid JSON: {error}")
        })?;
        let object = json.as_object().ok_or("a record is a JSON object")?;
        if let Some(unknown) = object.keys().find(|key| !MEMBERS.contains(&key.as_str())) {
            return Err(format!(
                "the record has an unknown member `{unknown}`: accepted are {}",
                MEMBERS.join(", ")
            ));
        }
        let member = |name: &str| object.get(name).filter(|value| !value.is_null());
        let text = |name: &str| {
            let text = member(name).map(|value| value.as_str().ok_or_else(|| format!("`{name}` must be a text")));
            text.transpose()
        };
        let integer = |name: &str| {
            let number = member(name).map(|value| value.as_i64().ok_or_else(|| format!("`{name}` must be an integer")));
            number.transpose()
        };
        let datum = |name: &str| {
            PreviewDatum::read(object.get(name).unwrap_or(&Json::Null))
                .map_err(|error| at(&format!("`{name}`"), &error))
        };
        let topic: Arc<str> = text("topic")?.ok_or("the record has no `topic`")?.into();
        if !object.contains_key("value") {
            return Err("the record has no `value`: null is a tombstone".to_owned());
        }
        let partition = i32::try_from(integer("partition")?.unwrap_or(0));
        let partition = partition.map_err(|_| "`partition` must be a 32-bit integer")?;
        let timestamp = integer("timestamp")?;
        let original: Arc<str> = match text("originalTopic")? {
            Some(original) => original.into(),
            None => Arc::clone(&topic),
        };
        Ok(Self {
            origin: Origin {
                topic_partition: TopicPartition::new(original, partition),
                offset: integer("offset")?.unwrap_or(0),
            },
            topic,
            timestamp,
            timestamp_type: match text("timestampType")? {
                Some(name) => timestamp_type(name)?,
                None if timestamp.is_some() => TimestampType::CreateTime,
                None => TimestampType::NoTimestampType,
            },
            key: datum("key")?,
            value: datum("value")?,
            headers: headers(member("headers"))?,
        })
    }

    /// A record as it was consumed.
    #[must_use]
    pub fn consumed(topic_partition: TopicPartition, consumed: &ConsumedRecord) -> Self {
        let raw = |bytes: &Option<Bytes>| PreviewDatum::Raw(bytes.clone());
        Self {
            topic: Arc::clone(topic_partition.topic_arc()),
            origin: Origin {
                topic_partition,
                offset: consumed.offset,
            },
            timestamp: timestamp(consumed),
            timestamp_type: pipeline::timestamp_type(consumed),
            key: raw(&consumed.key),
            value: raw(&consumed.value),
            headers: consumed
                .headers
                .iter()
                .map(|(key, value)| (key.clone(), raw(value)))
                .collect(),
        }
    }

    /// Where the record is.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The headers as converters of keys and values see them: those of the wire.
    pub(super) fn raw_headers(&self) -> Vec<RawHeader> {
        let raw = |(key, value): &(Bytes, PreviewDatum)| match value {
            PreviewDatum::Raw(value) => Some((key.clone(), value.clone())),
            PreviewDatum::Null => Some((key.clone(), None)),
            PreviewDatum::Data(_) => None,
        };
        self.headers.iter().filter_map(raw).collect()
    }
}

fn timestamp_type(name: &str) -> Result<TimestampType, String> {
    let types = [
        TimestampType::CreateTime,
        TimestampType::LogAppendTime,
        TimestampType::NoTimestampType,
    ];
    let found = types.into_iter().find(|kind| kind.constant_name() == name);
    found.ok_or_else(|| {
        let names = types.map(TimestampType::constant_name);
        format!("`timestampType` must be one of {}", names.join(", "))
    })
}

fn headers(json: Option<&Json>) -> Result<Vec<(Bytes, PreviewDatum)>, String> {
    let Some(json) = json else {
        return Ok(Vec::new());
    };
    let headers = json.as_array().ok_or("`headers` must be an array")?;
    let header = |(index, header): (usize, &Json)| {
        let place = format!("`headers[{index}]`");
        let name = header.get("name").and_then(Json::as_str);
        let name = name.ok_or_else(|| format!("{place} must be an object with the text `name`, and `value`"))?;
        let value = header
            .get("value")
            .ok_or_else(|| format!("{place} has no `value`"))
            .and_then(|value| PreviewDatum::read(value).map_err(|error| at(&place, &error)))?;
        Ok((Bytes::from(name.to_owned()), value))
    };
    headers.iter().enumerate().map(header).collect()
}
