//! Offsets of groups: committed, fetched, deleted.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};

use super::super::clock::now_ms;
use super::super::cluster::TopicRef;
use super::super::groups::classic::Identity;
use super::super::groups::offsets::{Committed, TopicPartition};
use super::super::groups::{Committer, Group, Membership};
use super::super::wire::text;
use super::Call;

/// As Kafka bounds it (`offset.metadata.max.bytes`).
pub(super) const MAX_METADATA: usize = 4096;
/// Since this version one request asks for many groups.
const MANY_GROUPS: i16 = 8;

pub(super) async fn commit(call: &Call<'_>, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let group = request.group_id.to_string();
    let mut offsets = Vec::new();
    let mut refused = BTreeMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let of = (topic.name.to_string(), partition.partition_index);
            let metadata = partition
                .committed_metadata
                .as_ref()
                .map(|text| text.to_string())
                .unwrap_or_default();
            if let Err(code) = check_partition(call, &of, &metadata) {
                refused.insert(of, code);
                continue;
            }
            let committed = Committed {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata,
                committed_ms: now_ms(),
            };
            offsets.push((of, committed));
        }
    }
    let by = Committer {
        identity: Identity {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
        },
        generation: request.generation_id_or_member_epoch,
    };
    let result = call
        .check_coordinator(&group)
        .and_then(|()| call.cluster.groups.commit(&group, by, offsets))
        .map_err(|code| as_commit_error(code, call.version));
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let of = (topic.name.to_string(), partition.partition_index);
            let own = refused.get(&of).map_or(Ok(()), |code| Err(*code));
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(super::code_of(&result.and(own)))
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// Clients of before KIP-848 know no stale epoch.
fn as_commit_error(code: ResponseError, version: i16) -> ResponseError {
    match code {
        ResponseError::StaleMemberEpoch if version < 9 => ResponseError::IllegalGeneration,
        other => other,
    }
}

pub(super) fn check_partition(call: &Call<'_>, of: &TopicPartition, metadata: &str) -> Result<(), ResponseError> {
    if metadata.len() > MAX_METADATA {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    call.cluster
        .find_partition(&TopicRef::Name(of.0.clone()), of.1)
        .map(drop)
}

/// What a group has committed of the partitions of a topic.
type OfTopic = Vec<(i32, Result<Option<Committed>, ResponseError>)>;
/// Of the topics that are asked for, or of all.
type Found = BTreeMap<String, OfTopic>;

pub(super) async fn fetch(call: &Call<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if call.version < MANY_GROUPS {
        let asked = request.topics.map(|topics| {
            let topics = topics.into_iter();
            topics
                .map(|topic| (topic.name.to_string(), topic.partition_indexes))
                .collect()
        });
        return match find(call, &request.group_id, asked, request.require_stable, None) {
            Ok(found) => OffsetFetchResponse::default().with_topics(found.into_iter().map(topic_of_one).collect()),
            Err(code) => OffsetFetchResponse::default().with_error_code(code.code()),
        };
    }
    let groups = request.groups.into_iter().map(|group| {
        let asked = group.topics.map(|topics| {
            let topics = topics.into_iter();
            topics
                .map(|topic| (topic.name.to_string(), topic.partition_indexes))
                .collect()
        });
        let member = group.member_id.as_ref().map(|id| (id.to_string(), group.member_epoch));
        let found = find(call, &group.group_id, asked, request.require_stable, member);
        let response = OffsetFetchResponseGroup::default().with_group_id(group.group_id);
        match found {
            Ok(found) => response.with_topics(found.into_iter().map(topic_of_many).collect()),
            Err(code) => response.with_error_code(code.code()),
        }
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

fn find(
    call: &Call<'_>,
    group: &str,
    asked: Option<Vec<(String, Vec<i32>)>>,
    requires_stable: bool,
    member: Option<(String, i32)>,
) -> Result<Found, ResponseError> {
    call.check_coordinator(group)?;
    let show = |group: &Group| {
        if let (Some((id, epoch)), Membership::Consumer(members)) = (&member, &group.membership)
            && *epoch >= 0
        {
            members.check_commit(id, *epoch)?;
        }
        let one = |of: TopicPartition| {
            if requires_stable && group.offsets.is_unstable(&of) {
                return Err(ResponseError::UnstableOffsetCommit);
            }
            Ok(group.offsets.get(&of).cloned())
        };
        let mut found = Found::new();
        match &asked {
            Some(asked) => {
                for (topic, partitions) in asked {
                    let all = partitions
                        .iter()
                        .map(|partition| (*partition, one((topic.clone(), *partition))));
                    found.entry(topic.clone()).or_default().extend(all);
                }
            }
            None => {
                for (topic, partition) in group.offsets.all().keys() {
                    let committed = one((topic.clone(), *partition));
                    found.entry(topic.clone()).or_default().push((*partition, committed));
                }
            }
        }
        Ok(found)
    };
    let none = Group::default();
    call.cluster.groups.with(group, show).unwrap_or_else(|| show(&none))
}

/// Offset, epoch, metadata and code.
fn fields(found: Result<Option<Committed>, ResponseError>) -> (i64, i32, String, i16) {
    match found {
        Ok(Some(found)) => (found.offset, found.leader_epoch, found.metadata, 0),
        Ok(None) => (-1, -1, String::new(), 0),
        Err(code) => (-1, -1, String::new(), code.code()),
    }
}

fn topic_of_one((topic, found): (String, OfTopic)) -> OffsetFetchResponseTopic {
    let partitions = found.into_iter().map(|(partition, found)| {
        let (offset, epoch, metadata, code) = fields(found);
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(Some(text(&metadata)))
            .with_error_code(code)
    });
    OffsetFetchResponseTopic::default()
        .with_name(text(&topic).into())
        .with_partitions(partitions.collect())
}

fn topic_of_many((topic, found): (String, OfTopic)) -> OffsetFetchResponseTopics {
    let partitions = found.into_iter().map(|(partition, found)| {
        let (offset, epoch, metadata, code) = fields(found);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(Some(text(&metadata)))
            .with_error_code(code)
    });
    OffsetFetchResponseTopics::default()
        .with_name(text(&topic).into())
        .with_partitions(partitions.collect())
}

pub(super) async fn delete(call: &Call<'_>, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let group = request.group_id.to_string();
    let of: Vec<TopicPartition> = request
        .topics
        .iter()
        .flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|partition| (topic.name.to_string(), partition.partition_index))
        })
        .collect();
    let deleted = call
        .check_coordinator(&group)
        .and_then(|()| call.cluster.groups.delete_offsets(&group, &of));
    let results = match deleted {
        Ok(results) => results,
        Err(code) => return OffsetDeleteResponse::default().with_error_code(code.code()),
    };
    let mut results = results.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .zip(results.by_ref())
            .map(|(partition, result)| {
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(super::code_of(&result))
            });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
