//! One partition, from where to where, until its end is reached.
//!
//! The last offsets may be transaction markers, or compacted away, so that no record ever says "this is the end".

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use klamm_kafka::{
    AssignmentEpoch, FetchError, FetchPool, FetchSettings, FetchedSection, IsolationLevel, OffsetReset, OffsetSpec,
    PartitionRequest, StartPosition, TopicPartition, Uuid,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::cluster::Cluster;
use super::note;

/// A partition that is silent for so long before its end is looked at closely; doubles up to [`SILENCE_MAX`].
const SILENCE: Duration = Duration::from_millis(500);
const SILENCE_MAX: Duration = Duration::from_secs(8);

/// How long the close look may take before the leader is asked what is wrong.
const LOOK: Duration = Duration::from_secs(3);

/// The close look has no event for an answer without records.
const GLANCE: Duration = Duration::from_millis(10);

/// What the scans of one reading share.
#[derive(Debug)]
pub(crate) struct Scanner {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) pool: FetchPool,
    pub(crate) topic_id: Option<Uuid>,
    pub(crate) settings: Arc<FetchSettings>,
    /// As `settings`, but the leader answers at once and itself.
    pub(crate) close_settings: Arc<FetchSettings>,
    /// One look at a time: the answer is then full only of what was looked for.
    pub(crate) looks: Semaphore,
}

/// What one partition gives, or what ends the reading.
pub(crate) type Found = anyhow::Result<FetchedSection>;

/// Reads `partition` from `start` up to `end`, for ever without one; ends early when nobody listens any more.
pub(crate) async fn scan(
    scanner: Arc<Scanner>,
    partition: TopicPartition,
    start: i64,
    end: Option<i64>,
    found: mpsc::Sender<Found>,
) {
    if let Err(error) = scanner.follow(&partition, start, end, &found).await {
        found.send(Err(error)).await.ok();
    }
}

impl Scanner {
    async fn follow(
        &self,
        partition: &TopicPartition,
        start: i64,
        mut end: Option<i64>,
        found: &mpsc::Sender<Found>,
    ) -> anyhow::Result<()> {
        let mut reader = self.pool.open(self.request(partition, start, &self.settings));
        let mut position = start;
        let mut silence = SILENCE;
        while end.is_none_or(|end| position < end) {
            match timeout(silence, reader.next()).await {
                Ok(Ok(section)) => {
                    silence = SILENCE;
                    position = section.next_offset();
                    if found.send(Ok(section)).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(Err(FetchError::OffsetOutOfRange { .. })) => {
                    let first = self.offset(partition, OffsetSpec::Earliest).await?;
                    if first <= position {
                        return Err(anyhow!(
                            "{partition}@{position} does not exist any more: the log was cut"
                        ));
                    }
                    // Retention, or somebody deleted records.
                    note(&format!(
                        "{partition}: offsets {position} to {} were deleted while they were read",
                        first - 1
                    ));
                    position = first;
                    reader.seek(first);
                }
                Ok(Err(FetchError::TopicRecreated { topic })) => {
                    return Err(anyhow!(
                        "topic `{topic}` was deleted and created again while it was read"
                    ));
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {
                    silence = (silence * 2).min(SILENCE_MAX);
                    if let Some(wanted) = end {
                        end = Some(self.look(partition, position, wanted).await?);
                    }
                }
            }
        }
        Ok(())
    }

    /// Where the reading ends, seen closely: `position` when nothing is left up to `end`.
    async fn look(&self, partition: &TopicPartition, position: i64, end: i64) -> anyhow::Result<i64> {
        let _turn = self.looks.acquire().await.context("the reading has ended")?;
        // A reader of its own, in a session of its own: an answer to it is about this position, and an empty one means
        // that there is nothing, not that other partitions have filled the response.
        let mut reader = self.pool.open(self.request(partition, position, &self.close_settings));
        let looking = async {
            loop {
                if let Ok(next) = timeout(GLANCE, reader.next()).await {
                    // There are records, or an error: both come out of the other reader, too.
                    drop(next);
                    return end;
                }
                let Some((high_watermark, last_stable_offset)) = reader.watermarks() else {
                    continue;
                };
                let reached = match self.close_settings.isolation_level {
                    IsolationLevel::ReadUncommitted => high_watermark,
                    IsolationLevel::ReadCommitted => last_stable_offset,
                };
                // Records come together with the watermarks, so another look at the reader settles it.
                if reached >= end && timeout(Duration::ZERO, reader.next()).await.is_err() {
                    return position;
                }
            }
        };
        match timeout(LOOK, looking).await {
            Ok(end) => Ok(end),
            // Its leader says why not; if it says nothing wrong, an unclean election may have cut the log.
            Err(_) => Ok(self.offset(partition, OffsetSpec::Latest).await?.min(end)),
        }
    }

    async fn offset(&self, partition: &TopicPartition, spec: OffsetSpec) -> anyhow::Result<i64> {
        let listed = self
            .cluster
            .client()
            .list_offsets(std::slice::from_ref(partition), spec, self.settings.isolation_level)
            .await;
        if listed.is_err()
            && let Ok(None) = self.cluster.client().topic(&partition.topic).await
        {
            return Err(anyhow!("topic `{}` was deleted while it was read", partition.topic));
        }
        let listed = self.cluster.told(listed)?;
        let offset = listed.get(partition).and_then(|listed| listed.offset);
        offset.with_context(|| format!("{partition} has no offset"))
    }

    fn request(&self, partition: &TopicPartition, start: i64, settings: &Arc<FetchSettings>) -> PartitionRequest {
        PartitionRequest {
            topic: Arc::clone(&partition.topic),
            topic_id: self.topic_id,
            partition: partition.partition,
            start: StartPosition::Offset(start),
            reset: OffsetReset::None,
            settings: Arc::clone(settings),
            epoch: AssignmentEpoch::next(),
        }
    }
}
