//! Deleting records from the start of partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

use super::{CONTROLLER_TIMEOUT_MS, PerItem, topic_name};
use crate::error::code_of;
use crate::{KafkaClient, KafkaError, TopicPartition};

/// Up to where records are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteUpTo {
    /// All below this offset.
    Offset(i64),
    /// All that every replica in sync has.
    End,
}

impl KafkaClient {
    /// Deletes records at the start of partitions; the offset at which each starts from then on.
    ///
    /// # Errors
    /// When nothing could be asked; each partition has its own result. A compacted topic refuses (POLICY_VIOLATION).
    pub async fn delete_records(
        &self,
        partitions: &[(TopicPartition, DeleteUpTo)],
    ) -> Result<PerItem<TopicPartition, i64>, KafkaError> {
        let names = partitions.iter().map(|(partition, _)| partition.clone()).collect();
        let topics = partitions.iter().map(|(partition, _)| Arc::clone(&partition.topic));
        let _interest = self.interest(topics);
        self.for_each("DeleteRecords", names, |left: Vec<TopicPartition>| async move {
            self.refreshed().await?;
            let mut answers = PerItem::new();
            let mut by_node: BTreeMap<i32, BTreeMap<&Arc<str>, Vec<DeleteRecordsPartition>>> = BTreeMap::new();
            for (partition, up_to) in partitions.iter().filter(|(partition, _)| left.contains(partition)) {
                let Some(leader) = self.metadata().leader(partition) else {
                    // A topic that does not exist will not come to be; a partition without a leader may get one.
                    let code = match self.metadata().topic(&partition.topic) {
                        Some(topic) if partition.partition < topic.partitions => {
                            kafka_protocol::ResponseError::LeaderNotAvailable
                        }
                        _ => kafka_protocol::ResponseError::UnknownTopicOrPartition,
                    };
                    answers.push((
                        partition.clone(),
                        Err(self.refused_saying("DELETE", &resource(partition), None, code)),
                    ));
                    continue;
                };
                let deleted = DeleteRecordsPartition::default()
                    .with_partition_index(partition.partition)
                    .with_offset(match up_to {
                        DeleteUpTo::Offset(offset) => *offset,
                        DeleteUpTo::End => -1,
                    });
                let topics = by_node.entry(leader.node).or_default();
                topics.entry(&partition.topic).or_default().push(deleted);
            }
            for (node, topics) in by_node {
                let topics = topics.into_iter().map(|(topic, partitions)| {
                    DeleteRecordsTopic::default()
                        .with_name(topic_name(topic))
                        .with_partitions(partitions)
                });
                let request = DeleteRecordsRequest::default()
                    .with_topics(topics.collect())
                    .with_timeout_ms(CONTROLLER_TIMEOUT_MS);
                let response = self.request_to(node, &request).await?;
                for topic in &response.topics {
                    let name: Arc<str> = topic.name.as_str().into();
                    for answer in &topic.partitions {
                        let partition = TopicPartition::new(Arc::clone(&name), answer.partition_index);
                        let result = match code_of(answer.error_code) {
                            Some(code) => Err(self.refused_saying("DELETE", &resource(&partition), None, code)),
                            None => Ok(answer.low_watermark),
                        };
                        answers.push((partition, result));
                    }
                }
            }
            Ok(answers)
        })
        .await
    }
}

fn resource(partition: &TopicPartition) -> String {
    format!("topic `{}` (partition {})", partition.topic, partition.partition)
}
