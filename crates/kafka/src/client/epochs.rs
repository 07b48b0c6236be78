//! Where a leader epoch ends in the log: what tells a reader that the log was cut behind its back (KIP-320).

use std::sync::Arc;

use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest};

use super::{KafkaClient, Leader, Purpose, topic_name};
use crate::error::code_of;
use crate::{KafkaError, TopicPartition};

/// The largest epoch of the leader's log that is not above the one asked for, and the offset behind its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochEnd {
    pub(crate) epoch: i32,
    pub(crate) offset: i64,
}

impl KafkaClient {
    /// One attempt at the leader. `Ok(None)` when the log holds nothing of `epoch` or before; `Err` with
    /// [`KafkaError::UnsupportedVersion`] from brokers before 2.3, which answer this to other brokers only.
    pub(crate) async fn epoch_end(
        &self,
        partition: &TopicPartition,
        leader: Leader,
        epoch: i32,
    ) -> Result<Option<EpochEnd>, KafkaError> {
        let asked = OffsetForLeaderPartition::default()
            .with_partition(partition.partition)
            .with_current_leader_epoch(leader.epoch)
            .with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(topic_name(&partition.topic))
            .with_partitions(vec![asked]);
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic]);
        let unknown = KafkaError::UnknownBroker(leader.node);
        let address = self.metadata.broker(leader.node).ok_or(unknown)?;
        let connection = self.link(&address, Purpose::Admin).get(&address).await?;
        let version = connection.version::<OffsetForLeaderEpochRequest>(i16::MAX)?;
        if version < 3 {
            return Err(KafkaError::UnsupportedVersion {
                address: Arc::clone(&address),
                api: "OffsetForLeaderEpoch",
                offered: format!("up to {version}"),
                needed: "3..4".to_owned(),
            });
        }
        let response = connection
            .request_version(&request, version, self.config.request_timeout)
            .await?;
        let answer = response
            .topics
            .iter()
            .filter(|topic| topic.topic.as_str() == &*partition.topic)
            .flat_map(|topic| &topic.partitions)
            .find(|answer| answer.partition == partition.partition)
            .ok_or_else(|| KafkaError::NoLeader(partition.clone()))?;
        match code_of(answer.error_code) {
            Some(code) => {
                let what = format!("asking where leader epoch {epoch} of {partition} ends");
                Err(self.refused(what, "DESCRIBE", format!("topic `{}`", partition.topic), code))
            }
            None if answer.leader_epoch < 0 || answer.end_offset < 0 => Ok(None),
            None => Ok(Some(EpochEnd {
                epoch: answer.leader_epoch,
                offset: answer.end_offset,
            })),
        }
    }
}
