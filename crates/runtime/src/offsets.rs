//! The offsets of connectors in their consumer groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::{BoxFuture, RawConfig};
use klamm_kafka::{IsolationLevel, KafkaClient, KafkaError, OffsetSpec, OffsetToCommit, ResponseError, TopicPartition};
use tokio::time::Instant;

use crate::clusters::{Cluster, Clusters};
use crate::config::{ConnectorConfig, WorkerConfig};
use crate::herder::{GroupOf, NewOffset, OffsetChange, Offsets, OffsetsError, PartitionOffset};
use crate::plugins::Plugins;

/// How often it is asked whether a group has become empty.
const LOOK: Duration = Duration::from_millis(250);

/// Reads and moves consumer groups, over the connections that the connectors themselves use.
#[derive(Debug)]
pub(crate) struct GroupOffsets {
    pub(crate) worker: WorkerConfig,
    pub(crate) plugins: Plugins,
    pub(crate) clusters: Arc<Clusters>,
}

/// A connector's group.
struct Group {
    cluster: Arc<Cluster>,
    id: Arc<str>,
}

impl GroupOffsets {
    fn group(&self, of: GroupOf<'_>) -> Result<Group, OffsetsError> {
        let raw: &RawConfig = of.config;
        let (client, id) =
            ConnectorConfig::group(of.connector, raw, &self.worker, &self.plugins).map_err(OffsetsError::Failed)?;
        Ok(Group {
            cluster: self.clusters.of(&client),
            id: id.into(),
        })
    }
}

impl Group {
    fn client(&self) -> &KafkaClient {
        &self.cluster.client
    }

    /// Waits until the group has no members.
    async fn empty(&self, deadline: Instant, failed: &str) -> Result<(), OffsetsError> {
        loop {
            let described = self.client().describe_groups(std::slice::from_ref(&self.id)).await;
            let described = described.and_then(|groups| groups.into_iter().map(|(_, group)| group).next().transpose());
            let found = match described {
                Ok(None) => return Ok(()),
                Ok(Some(found)) if found.members.is_empty() => return Ok(()),
                Ok(Some(found)) => found,
                Err(error) if is_missing(&error) => return Ok(()),
                Err(error) => return Err(failure(failed, &error)),
            };
            if Instant::now() >= deadline {
                let members = found
                    .members
                    .iter()
                    .map(|member| format!("{} at {}", member.client_id, member.host.trim_start_matches('/')));
                return Err(OffsetsError::Failed(format!(
                    "{failed}: group {} still has members ({}). Either the connector's tasks have not stopped yet, it was \
                     resumed meanwhile, or another worker or client is in its group: end that one and try again, nothing \
                     was changed",
                    self.id,
                    members.collect::<Vec<_>>().join(", ")
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The partitions that the changes mean, all of which exist. Of two changes for a partition the last one counts.
    async fn wanted(
        &self,
        changes: &[OffsetChange],
        failed: &str,
    ) -> Result<BTreeMap<TopicPartition, NewOffset>, OffsetsError> {
        let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
        for topic in changes.iter().map(|change| &*change.topic).collect::<BTreeSet<_>>() {
            let found = self
                .client()
                .topic(topic)
                .await
                .map_err(|error| failure(failed, &error))?;
            let found = found.filter(|found| found.partitions > 0).ok_or_else(|| {
                OffsetsError::Refused(format!("{failed}: topic {topic} does not exist, nothing was changed"))
            })?;
            counts.insert(topic, found.partitions);
        }
        let mut wanted = BTreeMap::new();
        for change in changes {
            let count = counts.get(&*change.topic).copied().unwrap_or_default();
            let partitions = match change.partition {
                None => 0..count,
                Some(partition) if (0..count).contains(&partition) => partition..partition + 1,
                Some(partition) => {
                    return Err(OffsetsError::Refused(format!(
                        "{failed}: topic {} has the partitions 0 to {}, there is no partition {partition}, nothing was \
                         changed",
                        change.topic,
                        count - 1
                    )));
                }
            };
            if let NewOffset::At(offset) = change.to
                && offset < 0
            {
                return Err(OffsetsError::Refused(format!(
                    "{failed}: offset {offset} of topic {} is negative, nothing was changed",
                    change.topic
                )));
            }
            for partition in partitions {
                wanted.insert(TopicPartition::new(&*change.topic, partition), change.to);
            }
        }
        Ok(wanted)
    }

    /// The offset of each partition that is to be set.
    async fn resolved(
        &self,
        wanted: &BTreeMap<TopicPartition, NewOffset>,
    ) -> Result<BTreeMap<TopicPartition, i64>, KafkaError> {
        let mut offsets = BTreeMap::new();
        let mut times: BTreeMap<i64, Vec<TopicPartition>> = BTreeMap::new();
        for (partition, to) in wanted {
            match to {
                NewOffset::At(offset) => drop(offsets.insert(partition.clone(), *offset)),
                NewOffset::Time(time) => times.entry(*time).or_default().push(partition.clone()),
                NewOffset::Reset => {}
            }
        }
        for (time, partitions) in times {
            let listed = |spec| {
                self.client()
                    .list_offsets(&partitions, spec, IsolationLevel::ReadUncommitted)
            };
            let (found, ends) = (
                listed(OffsetSpec::Timestamp(time)).await?,
                listed(OffsetSpec::Latest).await?,
            );
            for partition in &partitions {
                let offset = [&found, &ends]
                    .into_iter()
                    .find_map(|listed| listed.get(partition)?.offset);
                offsets.extend(offset.map(|offset| (partition.clone(), offset)));
            }
        }
        Ok(offsets)
    }

    async fn set(&self, offsets: &BTreeMap<TopicPartition, i64>) -> Result<(), KafkaError> {
        if offsets.is_empty() {
            return Ok(());
        }
        // Without metadata: what was done beyond the old offset means nothing at the new one.
        let commit = |(partition, offset): (&TopicPartition, &i64)| OffsetToCommit {
            topic: Arc::clone(&partition.topic),
            partition: partition.partition,
            offset: *offset,
            leader_epoch: None,
            metadata: String::new(),
        };
        self.client()
            .alter_group_offsets(&self.id, offsets.iter().map(commit).collect())
            .await
    }

    async fn forget(&self, wanted: &BTreeMap<TopicPartition, NewOffset>) -> Result<(), KafkaError> {
        let forgotten: Vec<TopicPartition> = wanted
            .iter()
            .filter(|(_, to)| **to == NewOffset::Reset)
            .map(|(partition, _)| partition.clone())
            .collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        match self.client().delete_group_offsets(&self.id, &forgotten).await {
            // Nothing was ever committed.
            Err(error) if is_missing(&error) => Ok(()),
            deleted => deleted,
        }
    }
}

impl Offsets for GroupOffsets {
    fn committed<'a>(&'a self, of: GroupOf<'a>) -> BoxFuture<'a, Result<Vec<PartitionOffset>, OffsetsError>> {
        Box::pin(async move {
            let failed = format!(
                "Failed to retrieve consumer group offsets for sink connector {}",
                of.connector
            );
            let group = self.group(of)?;
            let committed = match group.client().group_offsets(&group.id).await {
                Err(error) if is_missing(&error) => BTreeMap::new(),
                committed => committed.map_err(|error| failure(&failed, &error))?,
            };
            let listed = committed
                .into_iter()
                .map(|(partition, committed)| (partition, committed.offset));
            Ok(shown(listed))
        })
    }

    fn alter<'a>(
        &'a self,
        of: GroupOf<'a>,
        changes: &'a [OffsetChange],
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<PartitionOffset>, OffsetsError>> {
        Box::pin(async move {
            let failed = format!("Failed to alter consumer group offsets for connector {}", of.connector);
            let group = self.group(of)?;
            let wanted = group.wanted(changes, &failed).await?;
            group.empty(deadline, &failed).await?;
            let done = async {
                let offsets = group.resolved(&wanted).await?;
                group.set(&offsets).await?;
                group.forget(&wanted).await?;
                Ok(offsets)
            };
            let offsets = done.await.map_err(|error| failure(&failed, &error))?;
            Ok(shown(offsets.into_iter()))
        })
    }

    fn reset<'a>(&'a self, of: GroupOf<'a>, deadline: Instant) -> BoxFuture<'a, Result<(), OffsetsError>> {
        Box::pin(async move {
            let failed = format!("Failed to reset consumer group offsets for connector {}", of.connector);
            let group = self.group(of)?;
            group.empty(deadline, &failed).await?;
            let deleted = group.client().delete_groups(std::slice::from_ref(&group.id)).await;
            let deleted = deleted.and_then(|groups| groups.into_iter().try_for_each(|(_, result)| result));
            match deleted {
                Err(error) if !is_missing(&error) => Err(failure(&failed, &error)),
                Ok(()) | Err(_) => Ok(()),
            }
        })
    }
}

fn shown(offsets: impl Iterator<Item = (TopicPartition, i64)>) -> Vec<PartitionOffset> {
    let shown = offsets.map(|(partition, offset)| PartitionOffset {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        offset,
    });
    shown.collect()
}

/// Whether Kafka knows no such group.
fn is_missing(error: &KafkaError) -> bool {
    error.code() == Some(ResponseError::GroupIdNotFound)
}

fn failure(failed: &str, error: &KafkaError) -> OffsetsError {
    OffsetsError::Failed(format!("{failed}: {}", crate::chain(error)))
}
