//! Commits, fenced by generation and ownership.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::OffsetCommitRequest;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep, timeout_at};

use super::GroupMember;
use super::classic::{Disturbance, disturbance};
use crate::backoff::Backoff;
use crate::client::{Purpose, group_id, lock, topic_name};
use crate::error::code_of;
use crate::{AssignmentEpoch, KafkaError, OffsetToCommit, TopicPartition};

/// Why a commit did not happen (or is not known to have happened).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The partition belongs to somebody else now: drop it, do not commit again.
    #[error("{partition} is not assigned to this member of group `{group}` any more: nothing was committed")]
    Fenced {
        /// The group.
        group: Arc<str>,
        /// The first of the partitions.
        partition: TopicPartition,
    },
    /// Kafka did not take it in time; commit again.
    #[error("offsets of {} partitions of group `{group}` could not be committed yet", .partitions.len())]
    Unavailable {
        /// The group.
        group: Arc<str>,
        /// The partitions that are not committed; the others of the commit are.
        partitions: Vec<TopicPartition>,
        /// The last failure.
        #[source]
        source: KafkaError,
    },
    /// Kafka does not accept it, and will not.
    #[error("offset of {partition} cannot be committed by group `{group}`")]
    Refused {
        /// The group.
        group: Arc<str>,
        /// The partition.
        partition: TopicPartition,
        /// What Kafka said.
        #[source]
        source: KafkaError,
    },
}

impl CommitError {
    /// Whether the same commit may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the partitions are no longer this member's.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }
}

impl GroupMember {
    /// Commits the offsets; tries again for up to `request.timeout.ms` where that may help. Metadata that the broker finds
    /// too long is left out.
    ///
    /// # Errors
    /// See [`CommitError`]. Of several partitions some may have been committed.
    ///
    /// # Cancel safety
    /// The commit may or may not have happened, as with a lost answer. A later one overrides it.
    pub async fn commit(&self, offsets: Vec<OffsetToCommit>) -> Result<(), CommitError> {
        let membership = &self.shared.membership;
        let (client, group) = (&membership.client, &membership.config.group_id);
        let deadline = Instant::now() + client.config().request_timeout;
        let mut backoff = Backoff::new(client.config().retry_backoff, client.config().retry_backoff_max);
        let mut left = offsets;
        let epochs = self.epochs(&left)?;
        while !left.is_empty() {
            // Another epoch is another assignment: what was read under the earlier one is not ours to commit. The
            // generation may be another, as long as the partition stayed.
            let now = self.epochs(&left)?;
            if let Some((partition, _)) = now
                .iter()
                .find(|(partition, epoch)| epochs.get(partition) != Some(epoch))
            {
                return Err(self.fenced(partition.clone()));
            }
            let identity = membership.identity();
            let generation = identity.generation;
            if let Some(first) = left.first().filter(|_| generation < 0) {
                return Err(self.fenced(partition_of(first)));
            }
            let (gone, offered): (Vec<_>, Vec<_>) = left.iter().partition(|offset| self.is_topic_gone(offset));
            if offered.is_empty() {
                let partitions: Vec<_> = left.iter().map(partition_of).collect();
                let source = gone_topic(&partitions);
                let group = Arc::clone(group);
                return Err(CommitError::Unavailable {
                    group,
                    partitions,
                    source,
                });
            }
            let request = request(group, &offered)
                .with_generation_id_or_member_epoch(generation)
                .with_member_id(StrBytes::from_string(identity.member_id))
                .with_group_instance_id(membership.instance_id());
            let failure = match membership.ask(Purpose::Coordinator, &request).await {
                Err(err) => err,
                Ok(response) => {
                    let mut failed: Vec<TopicPartition> = gone.into_iter().map(partition_of).collect();
                    let mut failure = (!failed.is_empty()).then(|| gone_topic(&failed));
                    let mut too_long: Vec<TopicPartition> = Vec::new();
                    for topic in &response.topics {
                        for answer in &topic.partitions {
                            let Some(code) = code_of(answer.error_code) else {
                                continue;
                            };
                            let partition = TopicPartition::new(topic.name.as_str(), answer.partition_index);
                            client.coordinator_answered(group, code);
                            let resource = match code {
                                ResponseError::TopicAuthorizationFailed => format!("topic `{}`", partition.topic),
                                _ => format!("group `{group}`"),
                            };
                            let err = client.refused(format!("committing {partition}"), "READ", resource, code);
                            // On the way into another generation the coordinator may be ahead of us.
                            let now = membership.identity();
                            let is_moving = now.is_joining || now.generation != generation;
                            match fate(code, is_moving) {
                                Fate::WithoutMetadata => {
                                    failure = Some(err);
                                    failed.push(partition.clone());
                                    too_long.push(partition);
                                }
                                Fate::Fenced => return Err(self.fenced(partition)),
                                Fate::Retry => {
                                    failure = Some(err);
                                    failed.push(partition);
                                }
                                Fate::Refused => {
                                    return Err(CommitError::Refused {
                                        group: Arc::clone(group),
                                        partition,
                                        source: err,
                                    });
                                }
                            }
                        }
                    }
                    left.retain(|offset| {
                        failed
                            .iter()
                            .any(|p| p.topic == offset.topic && p.partition == offset.partition)
                    });
                    for offset in left
                        .iter_mut()
                        .filter(|offset| too_long.contains(&partition_of(offset)))
                    {
                        offset.metadata.clear();
                    }
                    match failure {
                        None => return Ok(()),
                        Some(failure) => failure,
                    }
                }
            };
            let wait = backoff.next();
            let is_over = Instant::now() + wait >= deadline || matches!(failure, KafkaError::ShutDown);
            if is_over {
                return Err(CommitError::Unavailable {
                    group: Arc::clone(group),
                    partitions: left.iter().map(partition_of).collect(),
                    source: failure,
                });
            }
            if failure.code() == Some(ResponseError::UnknownTopicOrPartition) {
                // It may be another topic by the next attempt. An error is the shutdown, or the time is over.
                drop(timeout_at(deadline, client.refreshed()).await);
            }
            sleep(wait).await;
        }
        Ok(())
    }

    /// Whether the topic is not there any more, or is another one under the same name, whose offsets these are not.
    fn is_topic_gone(&self, offset: &OffsetToCommit) -> bool {
        let owned = lock(&self.shared.owned);
        let assigned = owned.get(&partition_of(offset)).and_then(|own| own.topic_id);
        let now = self.shared.membership.client.metadata().topic(&offset.topic);
        assigned.is_some() && now.and_then(|topic| topic.id) != assigned
    }

    /// The assignment of each partition, as long as all are assigned.
    fn epochs(&self, offsets: &[OffsetToCommit]) -> Result<HashMap<TopicPartition, AssignmentEpoch>, CommitError> {
        let owned = lock(&self.shared.owned);
        let epoch = |offset: &OffsetToCommit| {
            let partition = partition_of(offset);
            match owned.get(&partition) {
                Some(own) => Ok((partition, own.epoch)),
                None => Err(self.fenced(partition)),
            }
        };
        offsets.iter().map(epoch).collect()
    }

    fn fenced(&self, partition: TopicPartition) -> CommitError {
        let group = Arc::clone(self.group_id());
        CommitError::Fenced { group, partition }
    }
}

fn partition_of(offset: &OffsetToCommit) -> TopicPartition {
    TopicPartition::new(Arc::clone(&offset.topic), offset.partition)
}

fn gone_topic(partitions: &[TopicPartition]) -> KafkaError {
    let topics: BTreeSet<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
    let topics: Vec<_> = topics.into_iter().collect();
    let what = format!("committing offsets of {}, deleted meanwhile", topics.join(", "));
    KafkaError::broker(what, ResponseError::UnknownTopicOrPartition)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fenced,
    Retry,
    /// The broker's `offset.metadata.max.bytes` is lower than usual: the offset counts, the text beside it does not.
    WithoutMetadata,
    Refused,
}

fn fate(code: ResponseError, is_moving: bool) -> Fate {
    match disturbance(code) {
        // The group waits for members to join: the commit counts again once that is over, if we are still in.
        Some(Disturbance::Rebalance) => Fate::Retry,
        Some(Disturbance::Fenced { .. }) if is_moving => Fate::Retry,
        Some(Disturbance::Fenced { .. } | Disturbance::Replaced) => Fate::Fenced,
        // KIP-848: the next heartbeat brings the newer epoch.
        None if code == ResponseError::StaleMemberEpoch => Fate::Retry,
        None if code == ResponseError::OffsetMetadataTooLarge => Fate::WithoutMetadata,
        None if code.is_retriable() => Fate::Retry,
        None => Fate::Refused,
    }
}

fn request(group: &Arc<str>, offsets: &[&OffsetToCommit]) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&Arc<str>, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for offset in offsets {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(offset.partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(offset.leader_epoch.unwrap_or(-1))
            .with_committed_metadata(Some(StrBytes::from_string(offset.metadata.clone())));
        topics.entry(&offset.topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions)
    });
    OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_topics(topics.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_fate() {
        let cases = [
            (
                ResponseError::IllegalGeneration,
                Fate::Fenced,
                "another generation owns the partitions",
            ),
            (ResponseError::UnknownMemberId, Fate::Fenced, "the session expired"),
            (
                ResponseError::FencedMemberEpoch,
                Fate::Fenced,
                "the broker dropped the member",
            ),
            (
                ResponseError::StaleMemberEpoch,
                Fate::Retry,
                "the next heartbeat brings the newer one",
            ),
            (
                ResponseError::FencedInstanceId,
                Fate::Fenced,
                "another process took over",
            ),
            (
                ResponseError::RebalanceInProgress,
                Fate::Retry,
                "the rebalance may keep us",
            ),
            (ResponseError::NotCoordinator, Fate::Retry, "the coordinator moved"),
            (
                ResponseError::OffsetMetadataTooLarge,
                Fate::WithoutMetadata,
                "the offset alone is taken",
            ),
            (
                ResponseError::CoordinatorLoadInProgress,
                Fate::Retry,
                "the coordinator is starting",
            ),
            (
                ResponseError::OffsetMetadataTooLarge,
                Fate::Refused,
                "the same bytes are too large for ever",
            ),
            (
                ResponseError::GroupAuthorizationFailed,
                Fate::Refused,
                "a person must grant it",
            ),
        ];
        for (code, wanted, why) in cases {
            assert_eq!(fate(code, false), wanted, "{why}");
        }
        let moving = fate(ResponseError::IllegalGeneration, true);
        assert_eq!(moving, Fate::Retry, "the coordinator is in the next generation already");
    }
}
