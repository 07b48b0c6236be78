//! Offsets: where partitions begin and end, and what groups have committed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, OffsetFetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::coordinator::group_id;
use super::{KafkaClient, Leader, Purpose};
use crate::backoff::Backoff;
use crate::error::code_of;
use crate::{Committed, IsolationLevel, KafkaError, ListedOffset, OffsetSpec, TopicPartition};

/// What was found for each partition that has something.
pub(crate) type CommittedOffsets = HashMap<TopicPartition, Committed>;

impl KafkaClient {
    /// The asked offset of each partition; lag is [`OffsetSpec::Latest`] minus what is committed.
    ///
    /// # Errors
    /// The first partition that cannot be answered within `default.api.timeout.ms`, or at all.
    pub async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel,
    ) -> Result<HashMap<TopicPartition, ListedOffset>, KafkaError> {
        let mut topics: Vec<_> = partitions
            .iter()
            .map(|partition| Arc::clone(&partition.topic))
            .collect();
        topics.dedup();
        let _interest = self.interest(topics);
        let mut backoff = Backoff::new(self.config.retry_backoff, self.config.retry_backoff_max);
        let mut found = HashMap::with_capacity(partitions.len());
        let mut last: Option<KafkaError> = None;
        let attempts = async {
            loop {
                if last.is_some() || partitions.iter().any(|p| self.metadata.leader(p).is_none()) {
                    self.refreshed().await?;
                }
                last = None;
                let mut by_node: BTreeMap<i32, Vec<(TopicPartition, Leader)>> = BTreeMap::new();
                for partition in partitions.iter().filter(|partition| !found.contains_key(*partition)) {
                    match self.metadata.leader(partition) {
                        Some(leader) => by_node
                            .entry(leader.node)
                            .or_default()
                            .push((partition.clone(), leader)),
                        None => match self.denied(&partition.topic) {
                            Some(denied) => return Err(denied),
                            None => last = Some(KafkaError::NoLeader(partition.clone())),
                        },
                    }
                }
                for (node, wanted) in by_node {
                    match self.list_offsets_at(node, &wanted, spec, isolation).await {
                        Ok(answers) => {
                            for (partition, answer) in answers {
                                match answer {
                                    Ok(offset) => drop(found.insert(partition, offset)),
                                    Err(err) if err.is_retriable() => last = Some(err),
                                    Err(err) => return Err(err),
                                }
                            }
                        }
                        Err(err) if err.is_retriable() => last = Some(err),
                        Err(err) => return Err(err),
                    }
                }
                if last.is_none() {
                    return Ok(());
                }
                tokio::time::sleep(backoff.next()).await;
            }
        };
        let outcome = self.within(attempts, "ListOffsets").await;
        match (outcome, last) {
            (Err(_), Some(last)) => Err(last),
            (outcome, _) => outcome?.map(|()| found),
        }
    }

    /// One attempt at one broker.
    pub(crate) async fn list_offsets_at(
        &self,
        node: i32,
        wanted: &[(TopicPartition, Leader)],
        spec: OffsetSpec,
        isolation: IsolationLevel,
    ) -> Result<Vec<(TopicPartition, Result<ListedOffset, KafkaError>)>, KafkaError> {
        let timestamp = match spec {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::Timestamp(ms) => ms,
        };
        let mut topics: BTreeMap<&Arc<str>, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (partition, leader) in wanted {
            let asked = ListOffsetsPartition::default()
                .with_partition_index(partition.partition)
                .with_current_leader_epoch(leader.epoch)
                .with_timestamp(timestamp);
            topics.entry(&partition.topic).or_default().push(asked);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            ListOffsetsTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions)
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(match isolation {
                IsolationLevel::ReadUncommitted => 0,
                IsolationLevel::ReadCommitted => 1,
            })
            .with_topics(topics.collect());
        let response = self.request_to(node, &request).await?;
        let mut answers = Vec::with_capacity(wanted.len());
        for topic in &response.topics {
            let name: Arc<str> = topic.name.as_str().into();
            for answer in &topic.partitions {
                let partition = TopicPartition::new(Arc::clone(&name), answer.partition_index);
                let result = match code_of(answer.error_code) {
                    Some(code) => {
                        let what = format!("listing offsets of {partition}");
                        Err(self.refused(what, "DESCRIBE", format!("topic `{name}`"), code))
                    }
                    None => Ok(ListedOffset {
                        offset: Some(answer.offset).filter(|offset| *offset >= 0),
                        leader_epoch: Some(answer.leader_epoch).filter(|epoch| *epoch >= 0),
                    }),
                };
                answers.push((partition, result));
            }
        }
        Ok(answers)
    }

    /// What `group` has committed for `partitions`, or for everything when `None`; partitions without a commit are
    /// absent.
    ///
    /// # Errors
    /// A refusal by Kafka, or a time-out after `default.api.timeout.ms` without a coordinator.
    pub async fn fetch_committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<HashMap<TopicPartition, Committed>, KafkaError> {
        let group: Arc<str> = group.into();
        let mut backoff = Backoff::new(self.config.retry_backoff, self.config.retry_backoff_max);
        let attempts = async {
            loop {
                match self.fetch_committed_once(&group, partitions).await {
                    Err(err) if err.is_retriable() => tokio::time::sleep(backoff.next()).await,
                    other => return other,
                }
            }
        };
        self.within(attempts, "OffsetFetch").await?
    }

    /// One attempt of [`KafkaClient::fetch_committed`]. Offsets that a transaction is about to change count as not
    /// available yet (KIP-447).
    pub(crate) async fn fetch_committed_once(
        &self,
        group: &Arc<str>,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<CommittedOffsets, KafkaError> {
        let address = self.coordinator(group).await?;
        let result = self.fetch_committed_at(&address, group, partitions).await;
        self.check_coordinator(group, result)
    }

    async fn fetch_committed_at(
        &self,
        address: &Arc<str>,
        group: &Arc<str>,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<CommittedOffsets, KafkaError> {
        let connection = self.link(address, Purpose::Coordinator).get(address).await?;
        let version = connection.version::<OffsetFetchRequest>(i16::MAX)?;
        let topics = partitions.map(|partitions| {
            let mut topics: BTreeMap<&Arc<str>, Vec<i32>> = BTreeMap::new();
            for partition in partitions {
                topics.entry(&partition.topic).or_default().push(partition.partition);
            }
            topics
        });
        let mut request = OffsetFetchRequest::default().with_require_stable(version >= 7);
        if version >= 8 {
            let topics = topics.map(|topics| {
                let topics = topics.into_iter().map(|(topic, indexes)| {
                    OffsetFetchRequestTopics::default()
                        .with_name(topic_name(topic))
                        .with_partition_indexes(indexes)
                });
                topics.collect()
            });
            request.groups = vec![
                OffsetFetchRequestGroup::default()
                    .with_group_id(group_id(group))
                    .with_topics(topics),
            ];
        } else {
            request.group_id = group_id(group);
            request.topics = topics.map(|topics| {
                let topics = topics.into_iter().map(|(topic, indexes)| {
                    OffsetFetchRequestTopic::default()
                        .with_name(topic_name(topic))
                        .with_partition_indexes(indexes)
                });
                topics.collect()
            });
        }
        let response = connection
            .request_version(&request, version, self.config.request_timeout)
            .await?;
        let codes = std::iter::once(response.error_code).chain(response.groups.iter().map(|g| g.error_code));
        if let Some(code) = codes.filter_map(code_of).next() {
            let resource = format!("group `{group}`");
            let what = format!("fetching committed offsets of {resource}");
            return Err(self.refused(what, "DESCRIBE", resource, code));
        }
        // The same fields in two shapes: (topic, partition, offset, epoch, metadata, code).
        let old = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|p| {
                (
                    &topic.name,
                    p.partition_index,
                    p.committed_offset,
                    p.committed_leader_epoch,
                    &p.metadata,
                    p.error_code,
                )
            })
        });
        let new = response
            .groups
            .iter()
            .flat_map(|group| &group.topics)
            .flat_map(|topic| {
                topic.partitions.iter().map(|p| {
                    (
                        &topic.name,
                        p.partition_index,
                        p.committed_offset,
                        p.committed_leader_epoch,
                        &p.metadata,
                        p.error_code,
                    )
                })
            });
        let mut committed = HashMap::new();
        for (topic, partition, offset, epoch, metadata, code) in old.chain(new) {
            let partition = TopicPartition::new(topic.as_str(), partition);
            match code_of(code) {
                // A topic that is not there (yet) has nothing committed.
                Some(ResponseError::UnknownTopicOrPartition) => {}
                Some(code) => {
                    let what = format!("fetching the committed offset of {partition}");
                    return Err(self.refused(what, "DESCRIBE", format!("topic `{}`", partition.topic), code));
                }
                None if offset < 0 => {}
                None => {
                    let found = Committed {
                        offset,
                        leader_epoch: Some(epoch).filter(|epoch| *epoch >= 0),
                        metadata: metadata.as_ref().map(|text| text.to_string()).unwrap_or_default(),
                    };
                    committed.insert(partition, found);
                }
            }
        }
        Ok(committed)
    }
}

pub(crate) fn topic_name(topic: &Arc<str>) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_string()))
}
