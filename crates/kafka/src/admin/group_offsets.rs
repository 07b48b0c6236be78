//! Offsets of groups from outside: how far they are, moving and deleting them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetDeleteRequest};

use super::{PerItem, text, topic_name};
use crate::client::group_id;
use crate::error::code_of;
use crate::{Committed, IsolationLevel, KafkaClient, KafkaError, OffsetSpec, OffsetToCommit, TopicPartition};

/// How far a group is in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Index of the partition.
    pub partition: i32,
    /// The offset that the group reads next; `None` when it has committed none.
    pub committed: Option<i64>,
    /// The offset behind the last record; `None` when the partition does not exist (any more).
    pub log_end: Option<i64>,
    /// Offsets between the two, an upper bound of the records left: compaction and transactions leave holes. `None`
    /// when either is unknown.
    pub lag: Option<i64>,
}

impl KafkaClient {
    /// Everything that `group` has committed, by partition.
    ///
    /// # Errors
    /// A refusal by Kafka, or `default.api.timeout.ms` without a coordinator.
    pub async fn group_offsets(&self, group: &str) -> Result<BTreeMap<TopicPartition, Committed>, KafkaError> {
        Ok(self.fetch_committed(group, None).await?.into_iter().collect())
    }

    /// How far `group` is in every partition that it has committed or that is assigned to a member; one request to
    /// each broker that leads some of them.
    ///
    /// # Errors
    /// A refusal by Kafka, a group that does not exist, or `default.api.timeout.ms` without an answer.
    pub async fn group_lag(&self, group: &str) -> Result<Vec<PartitionLag>, KafkaError> {
        let name: Arc<str> = group.into();
        let mut members = Vec::new();
        for (_, described) in self.describe_groups(std::slice::from_ref(&name)).await? {
            members = described?.members;
        }
        let committed = self.group_offsets(group).await?;
        let assigned = members.iter().filter_map(|member| member.assignment.as_ref()).flatten();
        let partitions: BTreeSet<_> = committed.keys().chain(assigned).cloned().collect();
        let topics: BTreeSet<_> = partitions
            .iter()
            .map(|partition| Arc::clone(&partition.topic))
            .collect();
        let _interest = self.interest(topics);
        self.within(self.refreshed(), "Metadata").await??;
        let exists = |partition: &&TopicPartition| {
            let topic = self.metadata().topic(&partition.topic);
            topic.is_some_and(|topic| partition.partition < topic.partitions)
        };
        let existing: Vec<_> = partitions.iter().filter(exists).cloned().collect();
        let ends = self
            .list_offsets(&existing, OffsetSpec::Latest, IsolationLevel::ReadUncommitted)
            .await?;
        let lag = |partition: TopicPartition| {
            let committed = committed.get(&partition).map(|committed| committed.offset);
            let log_end = ends.get(&partition).and_then(|listed| listed.offset);
            PartitionLag {
                committed,
                log_end,
                lag: committed
                    .zip(log_end)
                    .map(|(committed, end)| end.saturating_sub(committed).max(0)),
                topic: partition.topic,
                partition: partition.partition,
            }
        };
        Ok(partitions.into_iter().map(lag).collect())
    }

    /// Moves the offsets of a group that has no members; a group that does not exist comes to be.
    ///
    /// # Errors
    /// [`KafkaError::GroupNotEmpty`] while it has members; else the first partition that Kafka refuses, others may
    /// have been moved.
    pub async fn alter_group_offsets(&self, group: &str, offsets: Vec<OffsetToCommit>) -> Result<(), KafkaError> {
        let name: Arc<str> = group.into();
        let partition_of = |offset: &OffsetToCommit| TopicPartition::new(Arc::clone(&offset.topic), offset.partition);
        let partitions = offsets.iter().map(partition_of).collect();
        let (name, offsets) = (&name, &offsets);
        let answers = self
            .for_each("OffsetCommit", partitions, |left: Vec<TopicPartition>| async move {
                let wanted = offsets.iter().filter(|offset| left.contains(&partition_of(offset)));
                let request = commit_request(name, wanted);
                let response = self.request_coordinator(name, &request).await?;
                let mut answers = PerItem::new();
                for topic in &response.topics {
                    let topic_name: Arc<str> = topic.name.as_str().into();
                    for answer in &topic.partitions {
                        let partition = TopicPartition::new(Arc::clone(&topic_name), answer.partition_index);
                        let result = self.group_answer(name, &partition, "altering the offset", answer.error_code);
                        answers.push((partition, result));
                    }
                }
                Ok(answers)
            })
            .await?;
        self.all_or_first(name, answers).await
    }

    /// Forgets what a group without members has committed for these partitions; ones without a commit are fine.
    /// Needs OffsetDelete (Kafka 2.4).
    ///
    /// # Errors
    /// [`KafkaError::GroupNotEmpty`] while members read the topic; else the first partition that Kafka refuses,
    /// others may have been deleted.
    pub async fn delete_group_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        let name: Arc<str> = group.into();
        let name = &name;
        let answers = self
            .for_each(
                "OffsetDelete",
                partitions.to_vec(),
                |left: Vec<TopicPartition>| async move {
                    let request = delete_request(name, &left);
                    let response = self.request_coordinator(name, &request).await?;
                    if let Some(code) = code_of(response.error_code) {
                        self.coordinator_answered(name, code);
                        return Err(self.refused_saying("DELETE", &format!("group `{name}`"), None, code));
                    }
                    let mut answers = PerItem::new();
                    for topic in &response.topics {
                        let topic_name: Arc<str> = topic.name.as_str().into();
                        for answer in &topic.partitions {
                            let partition = TopicPartition::new(Arc::clone(&topic_name), answer.partition_index);
                            let result = self.group_answer(name, &partition, "deleting the offset", answer.error_code);
                            answers.push((partition, result));
                        }
                    }
                    Ok(answers)
                },
            )
            .await;
        match answers {
            Ok(answers) => self.all_or_first(name, answers).await,
            Err(err) => Err(self.explain_members(name, err).await),
        }
    }

    fn group_answer(
        &self,
        group: &Arc<str>,
        partition: &TopicPartition,
        what: &str,
        error_code: i16,
    ) -> Result<(), KafkaError> {
        let Some(code) = code_of(error_code) else { return Ok(()) };
        self.coordinator_answered(group, code);
        let resource = match code {
            ResponseError::TopicAuthorizationFailed => format!("topic `{}`", partition.topic),
            _ => format!("group `{group}`"),
        };
        Err(self.refused(
            format!("{what} of {partition} in group `{group}`"),
            "READ",
            resource,
            code,
        ))
    }

    async fn all_or_first(&self, group: &Arc<str>, answers: PerItem<TopicPartition, ()>) -> Result<(), KafkaError> {
        match answers.into_iter().find_map(|(_, result)| result.err()) {
            None => Ok(()),
            Some(err) => Err(self.explain_members(group, err).await),
        }
    }

    /// Turns a refusal for the sake of the members into one that names them.
    pub(super) async fn explain_members(&self, group: &Arc<str>, err: KafkaError) -> KafkaError {
        let is_for_members = matches!(
            err.code(),
            Some(
                ResponseError::NonEmptyGroup
                    | ResponseError::UnknownMemberId
                    | ResponseError::GroupSubscribedToTopic
                    | ResponseError::StaleMemberEpoch
                    | ResponseError::IllegalGeneration
            )
        );
        if !is_for_members {
            return err;
        }
        match self.describe_group_once(group).await {
            Ok(found) => KafkaError::GroupNotEmpty {
                group: Arc::clone(group),
                state: found.state,
                members: found
                    .members
                    .iter()
                    .map(|member| format!("{} at {}", member.client_id, member.host.trim_start_matches('/')).into())
                    .collect(),
            },
            Err(_) => err,
        }
    }
}

fn commit_request<'a>(group: &Arc<str>, offsets: impl Iterator<Item = &'a OffsetToCommit>) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&Arc<str>, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for offset in offsets {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(offset.partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(offset.leader_epoch.unwrap_or(-1))
            .with_committed_metadata(Some(text(&offset.metadata)));
        topics.entry(&offset.topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions)
    });
    // No generation and no member: accepted only while nobody else is there.
    OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics.collect())
}

fn delete_request(group: &Arc<str>, partitions: &[TopicPartition]) -> OffsetDeleteRequest {
    let mut topics: BTreeMap<&Arc<str>, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
    for partition in partitions {
        let index = OffsetDeleteRequestPartition::default().with_partition_index(partition.partition);
        topics.entry(&partition.topic).or_default().push(index);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        OffsetDeleteRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions)
    });
    OffsetDeleteRequest::default()
        .with_group_id(group_id(group))
        .with_topics(topics.collect())
}
