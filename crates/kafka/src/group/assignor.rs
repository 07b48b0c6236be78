//! Kafka's `range` assignor, and the bytes that members exchange about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use kafka_protocol::protocol::{Encodable, StrBytes};

use crate::client::topic_name;
use crate::{KafkaError, TopicPartition};

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemberTopics {
    pub(super) member_id: String,
    /// Static members come first, in the order of their names.
    pub(super) instance_id: Option<String>,
    pub(super) topics: BTreeSet<Arc<str>>,
}

pub(super) type Assignments = BTreeMap<String, Vec<TopicPartition>>;

/// Shares out each topic by itself: its partitions in runs over the members that want it, the first members getting
/// one more where it does not divide evenly.
pub(super) fn range(members: &[MemberTopics], partitions: &BTreeMap<Arc<str>, i32>) -> Assignments {
    let mut assignments: Assignments = members
        .iter()
        .map(|member| (member.member_id.clone(), Vec::new()))
        .collect();
    for (topic, count) in partitions {
        let mut takers: Vec<_> = members.iter().filter(|member| member.topics.contains(topic)).collect();
        // Kafka's order of members: those with an instance id first and by it, the others by member id.
        takers.sort_by_key(|member| (member.instance_id.is_none(), &member.instance_id, &member.member_id));
        let Some(number) = i32::try_from(takers.len()).ok().filter(|number| *number > 0) else {
            continue;
        };
        let mut next = 0;
        for (place, member) in (0..number).zip(&takers) {
            let share = count / number + i32::from(place < count % number);
            let run = (next..next + share).map(|index| TopicPartition::new(Arc::clone(topic), index));
            if let Some(own) = assignments.get_mut(&member.member_id) {
                own.extend(run);
            }
            next += share;
        }
    }
    assignments
}

/// A member's subscription, for the leader. Version 1 of the consumer protocol, which every member can read.
pub(super) fn encode_subscription(topics: &BTreeSet<Arc<str>>) -> Result<Bytes, KafkaError> {
    let topics = topics
        .iter()
        .map(|topic| StrBytes::from_string(topic.to_string()))
        .collect();
    versioned(1, &ConsumerProtocolSubscription::default().with_topics(topics))
}

/// The topics in a member's subscription. Later versions only append fields, so the front of any can be read.
pub(super) fn decode_subscription(metadata: &Bytes) -> Result<BTreeSet<Arc<str>>, Malformed> {
    let mut body = metadata.clone();
    let _version = body.try_get_i16()?;
    let count = body.try_get_i32()?;
    (0..count).map(|_| string(&mut body)).collect()
}

/// A member's partitions, from the leader.
pub(super) fn encode_assignment(partitions: &[TopicPartition]) -> Result<Bytes, KafkaError> {
    let mut topics: BTreeMap<&Arc<str>, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        AssignedTopic::default()
            .with_topic(topic_name(topic))
            .with_partitions(partitions)
    });
    versioned(
        1,
        &ConsumerProtocolAssignment::default().with_assigned_partitions(topics.collect()),
    )
}

/// The partitions that the leader gave us. No bytes at all mean none.
pub(super) fn decode_assignment(assignment: &Bytes) -> Result<Vec<TopicPartition>, Malformed> {
    let mut partitions = Vec::new();
    if assignment.is_empty() {
        return Ok(partitions);
    }
    let mut body = assignment.clone();
    let _version = body.try_get_i16()?;
    for _ in 0..body.try_get_i32()? {
        let topic = string(&mut body)?;
        for _ in 0..body.try_get_i32()? {
            partitions.push(TopicPartition::new(Arc::clone(&topic), body.try_get_i32()?));
        }
    }
    partitions.sort();
    partitions.dedup();
    Ok(partitions)
}

/// Bytes from another member that do not follow the consumer protocol.
#[derive(Debug, thiserror::Error)]
#[error("it does not follow the consumer protocol")]
pub(super) struct Malformed;

impl From<bytes::TryGetError> for Malformed {
    fn from(_: bytes::TryGetError) -> Self {
        Self
    }
}

// Read by hand: the bytes come from other members, and the generated decoders reserve whatever a count claims.
fn string(body: &mut Bytes) -> Result<Arc<str>, Malformed> {
    let length = usize::try_from(body.try_get_i16()?).map_err(|_| Malformed)?;
    if length > body.len() {
        return Err(Malformed);
    }
    std::str::from_utf8(&body.split_to(length))
        .map(Arc::from)
        .map_err(|_| Malformed)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(id: &str, instance: Option<&str>, topics: &[&str]) -> MemberTopics {
        MemberTopics {
            member_id: id.to_owned(),
            instance_id: instance.map(str::to_owned),
            topics: topics.iter().map(|topic| Arc::from(*topic)).collect(),
        }
    }

    fn shared(members: &[MemberTopics], topics: &[(&str, i32)]) -> BTreeMap<String, Vec<String>> {
        let topics = topics
            .iter()
            .map(|(topic, count)| (Arc::from(*topic), *count))
            .collect();
        let assignments = range(members, &topics).into_iter();
        assignments
            .map(|(id, own)| (id, own.iter().map(ToString::to_string).collect()))
            .collect()
    }

    #[test]
    fn range_shares_out_as_kafka_documents_it() {
        // The example of RangeAssignor's documentation.
        let both = [member("C0", None, &["t0", "t1"]), member("C1", None, &["t0", "t1"])];
        let out = shared(&both, &[("t0", 3), ("t1", 3)]);
        assert_eq!(out["C0"], ["t0-0", "t0-1", "t1-0", "t1-1"]);
        assert_eq!(out["C1"], ["t0-2", "t1-2"]);

        let mixed = [
            member("a", None, &["t0"]),
            member("b", Some("z"), &["t0", "t1"]),
            member("c", Some("y"), &["t0"]),
            member("d", None, &[]),
        ];
        let out = shared(&mixed, &[("t0", 4), ("t1", 2), ("unwanted", 9)]);
        assert_eq!(out["c"], ["t0-0", "t0-1"], "static members first, by instance id");
        assert_eq!(out["b"], ["t0-2", "t1-0", "t1-1"], "alone on t1");
        assert_eq!(out["a"], ["t0-3"]);
        assert!(out["d"].is_empty());
    }

    proptest! {
        #[test]
        fn range_gives_every_partition_to_one_taker_and_splits_evenly(
            wants in prop::collection::vec(prop::collection::btree_set(0_u8..4, 0..4), 1..6),
            counts in prop::collection::vec(0_i32..20, 4),
        ) {
            let members: Vec<_> = wants.iter().enumerate().map(|(i, wants)| MemberTopics {
                member_id: format!("m{i}"),
                instance_id: (i % 2 == 0).then(|| format!("i{i}")),
                topics: wants.iter().map(|t| Arc::from(format!("t{t}"))).collect(),
            }).collect();
            let topics: BTreeMap<Arc<str>, i32> =
                counts.iter().enumerate().map(|(t, count)| (Arc::from(format!("t{t}")), *count)).collect();
            let out = range(&members, &topics);
            for (topic, count) in &topics {
                let takers: Vec<_> = members.iter().filter(|m| m.topics.contains(topic)).collect();
                let mut given: Vec<i32> = Vec::new();
                let mut sizes = Vec::new();
                for member in &members {
                    let own = out[&member.member_id].iter().filter(|p| p.topic == *topic);
                    let own: Vec<_> = own.map(|p| p.partition).collect();
                    prop_assert!(own.is_empty() || member.topics.contains(topic));
                    if member.topics.contains(topic) { sizes.push(own.len()); }
                    given.extend(own);
                }
                given.sort_unstable();
                let wanted: Vec<_> = if takers.is_empty() { Vec::new() } else { (0..*count).collect() };
                prop_assert_eq!(given, wanted);
                if let (Some(min), Some(max)) = (sizes.iter().min(), sizes.iter().max()) {
                    prop_assert!(max - min <= 1);
                }
            }
        }

        #[test]
        fn what_members_exchange_comes_back(topics in prop::collection::btree_set("[a-z]{1,5}", 0..5)) {
            let topics: BTreeSet<Arc<str>> = topics.into_iter().map(Arc::from).collect();
            prop_assert_eq!(decode_subscription(&encode_subscription(&topics).unwrap()).unwrap(), topics.clone());
            let partitions: Vec<_> = topics.iter().map(|topic| TopicPartition::new(Arc::clone(topic), 3)).collect();
            prop_assert_eq!(decode_assignment(&encode_assignment(&partitions).unwrap()).unwrap(), partitions);
        }

        #[test]
        fn hostile_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let bytes = Bytes::from(bytes);
            drop(decode_subscription(&bytes));
            drop(decode_assignment(&bytes));
        }
    }
}
