//! The bytes that members of a consumer group exchange (Kafka's ConsumerProtocol).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition as OwnedTopic;
use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::Claim;
use crate::client::topic_name;
use crate::{KafkaError, TopicPartition};

/// A member's subscription, for the leader, in version 3. Later versions only append fields, so that older members read
/// the front of it.
pub(in crate::group) fn encode_subscription(claim: &Claim) -> Result<Bytes, KafkaError> {
    let text = |text: &Arc<str>| StrBytes::from_string(text.to_string());
    let owned = by_topic(&claim.owned).into_iter().map(|(topic, partitions)| {
        OwnedTopic::default()
            .with_topic(topic_name(topic))
            .with_partitions(partitions)
    });
    let generation = claim.generation.unwrap_or(-1);
    let mut user_data = BytesMut::new();
    // Where members of Kafka before 3.4 look for the generation.
    user_data.put_i32(generation);
    let subscription = ConsumerProtocolSubscription::default()
        .with_topics(claim.topics.iter().map(text).collect())
        .with_user_data(Some(user_data.freeze()))
        .with_owned_partitions(owned.collect())
        .with_generation_id(generation)
        .with_rack_id(claim.rack.as_ref().map(text));
    versioned(3, &subscription)
}

/// What another member subscribed to and claims, of whatever version.
pub(in crate::group) fn decode_subscription(metadata: &Bytes) -> Result<Claim, Malformed> {
    let mut body = metadata.clone();
    let version = body.try_get_i16()?;
    let mut claim = Claim::default();
    for _ in 0..body.try_get_i32()? {
        claim.topics.insert(string(&mut body)?);
    }
    let mut user_data = bytes(&mut body)?;
    if version >= 1 {
        claim.owned = partitions(&mut body)?;
    }
    let generation = if version >= 2 {
        body.try_get_i32()?
    } else {
        // Older cooperative-sticky members have it here; with others these bytes mean something else, and they own
        // nothing.
        user_data.try_get_i32().unwrap_or(-1)
    };
    claim.generation = Some(generation).filter(|generation| *generation >= 0);
    if version >= 3 {
        claim.rack = nullable_string(&mut body)?;
    }
    Ok(claim)
}

/// A member's partitions, from the leader.
pub(in crate::group) fn encode_assignment(partitions: &BTreeSet<TopicPartition>) -> Result<Bytes, KafkaError> {
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        AssignedTopic::default()
            .with_topic(topic_name(topic))
            .with_partitions(partitions)
    });
    versioned(
        1,
        &ConsumerProtocolAssignment::default().with_assigned_partitions(topics.collect()),
    )
}

/// The partitions that the leader gave a member. No bytes at all mean none: the rebalance is not over.
pub(crate) fn decode_assignment(assignment: &Bytes) -> Result<BTreeSet<TopicPartition>, Malformed> {
    if assignment.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut body = assignment.clone();
    let _version = body.try_get_i16()?;
    partitions(&mut body)
}

/// Bytes from another member that do not follow the consumer protocol.
#[derive(Debug, thiserror::Error)]
#[error("it does not follow the consumer protocol")]
pub(crate) struct Malformed;

impl From<bytes::TryGetError> for Malformed {
    fn from(_: bytes::TryGetError) -> Self {
        Self
    }
}

fn by_topic(partitions: &BTreeSet<TopicPartition>) -> BTreeMap<&Arc<str>, Vec<i32>> {
    let mut topics: BTreeMap<&Arc<str>, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    topics
}

// Read by hand: the bytes come from other members, and the generated decoders reserve whatever a count claims.
fn partitions(body: &mut Bytes) -> Result<BTreeSet<TopicPartition>, Malformed> {
    let mut partitions = BTreeSet::new();
    for _ in 0..body.try_get_i32()? {
        let topic = string(body)?;
        for _ in 0..body.try_get_i32()? {
            partitions.insert(TopicPartition::new(Arc::clone(&topic), body.try_get_i32()?));
        }
    }
    Ok(partitions)
}

fn string(body: &mut Bytes) -> Result<Arc<str>, Malformed> {
    nullable_string(body)?.ok_or(Malformed)
}

fn nullable_string(body: &mut Bytes) -> Result<Option<Arc<str>>, Malformed> {
    let length = body.try_get_i16()?;
    let text = split(body, length.into())?;
    let text = text.map(|text| std::str::from_utf8(&text).map(Arc::from));
    text.transpose().map_err(|_| Malformed)
}

fn bytes(body: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = body.try_get_i32()?;
    Ok(split(body, length)?.unwrap_or_default())
}

/// That many bytes; −1 stands for null.
fn split(body: &mut Bytes, length: i32) -> Result<Option<Bytes>, Malformed> {
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| Malformed)?;
    if length > body.len() {
        return Err(Malformed);
    }
    Ok(Some(body.split_to(length)))
}

fn versioned(version: i16, message: &impl Encodable) -> Result<Bytes, KafkaError> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    message.encode(&mut bytes, version).map_err(|err| KafkaError::Encode {
        api: "consumer protocol",
        version,
        reason: err.to_string(),
    })?;
    Ok(bytes.freeze())
}
