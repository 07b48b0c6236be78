//! Commits of a task: one outstanding at a time, due after an interval or a number of done records.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::TopicPartition;
use klamm_delivery::{Committable, Engine};
use klamm_kafka::{CommitError, GroupMember, LeaderEpochs, OffsetToCommit, Uuid};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::counters::Counters;
use super::progress::{self, Fingerprints, HandedOver, LogPosition};

/// Done records after which a commit does not wait for the interval: bounds what a crash delivers again.
const DONE_RECORDS: u64 = 5_000;

/// Characters of metadata in one commit, shared by its partitions: a broker writes all of it as one batch, which its
/// `max.message.bytes` bounds (1 MiB by default).
const METADATA_BYTES: usize = 256 * 1024;

/// When the next commit is due, and the one that is under way.
pub(super) struct Commits {
    interval: Duration,
    next: Instant,
    outstanding: JoinSet<(Vec<Committable>, Result<(), CommitError>)>,
    partitions: HashMap<TopicPartition, Tracked>,
    fingerprints: Arc<Fingerprints>,
    counters: Arc<Counters>,
}

/// What a partition's commits carry beside the offset.
pub(super) struct Tracked {
    /// What tells, with a committed offset, whether the log was cut behind it later.
    pub(super) epochs: LeaderEpochs,
    pub(super) topic_id: Option<Uuid>,
    pub(super) handed_over: HandedOver,
}

impl Commits {
    pub(super) fn new(interval: Duration, fingerprints: Arc<Fingerprints>, counters: Arc<Counters>) -> Self {
        Self {
            interval,
            next: Instant::now() + interval,
            outstanding: JoinSet::new(),
            partitions: HashMap::new(),
            fingerprints,
            counters,
        }
    }

    /// Commits of this partition carry this from now on.
    pub(super) fn track(&mut self, partition: TopicPartition, tracked: Tracked) {
        self.partitions.insert(partition, tracked);
    }

    /// The partitions were given up or lost.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.partitions.remove(partition);
        }
    }

    /// Waits until a commit is due and none is outstanding.
    ///
    /// # Cancel safety
    /// Safe: an answer that arrives is noted in the same step.
    pub(super) async fn due(&mut self, engine: &Engine) {
        self.settle(engine).await;
        tokio::select! {
            () = sleep_until(self.next) => {}
            () = engine.done_records(DONE_RECORDS) => {}
        }
    }

    /// Starts a commit of what is done and not acknowledged yet.
    pub(super) fn start(&mut self, member: &Arc<GroupMember>, engine: &Engine) {
        self.next = Instant::now() + self.interval;
        let offsets = engine.committable();
        if offsets.is_empty() {
            return;
        }
        let member = Arc::clone(member);
        let commits = self.to_commit(&offsets);
        self.outstanding.spawn(async move {
            let result = member.commit(commits).await;
            (offsets, result)
        });
    }

    /// Commits and waits for the answer, after the one that is outstanding: for partitions that are given up.
    pub(super) async fn now(&mut self, member: &GroupMember, engine: &Engine, offsets: Vec<Committable>) {
        self.settle(engine).await;
        if !offsets.is_empty() {
            let result = member.commit(self.to_commit(&offsets)).await;
            self.note(engine, offsets, result);
        }
    }

    fn to_commit(&self, offsets: &[Committable]) -> Vec<OffsetToCommit> {
        let with_progress = offsets.iter().filter(|done| !done.progress.routes.is_empty()).count();
        let most = METADATA_BYTES / with_progress.max(1);
        let commit = |done: &Committable| {
            let partition = &done.topic_partition;
            let tracked = self.partitions.get(partition);
            OffsetToCommit {
                topic: Arc::clone(partition.topic_arc()),
                partition: partition.partition(),
                offset: done.offset,
                leader_epoch: tracked.and_then(|tracked| tracked.epochs.before(done.offset)),
                metadata: tracked
                    .and_then(|tracked| self.metadata(done, tracked, most))
                    .unwrap_or_default(),
            }
        };
        offsets.iter().map(commit).collect()
    }

    /// None if it could not be told from that of another topic of the name, or of a log that was cut.
    fn metadata(&self, done: &Committable, tracked: &Tracked, most: usize) -> Option<String> {
        let position = LogPosition {
            topic_id: tracked.topic_id?,
            leader_epoch: tracked.handed_over.leader_epoch(done.epoch)?,
            offset: done.offset,
        };
        Some(progress::write(&done.progress, position, &self.fingerprints, most))
    }

    async fn settle(&mut self, engine: &Engine) {
        while let Some(ended) = self.outstanding.join_next().await {
            match ended {
                Ok((offsets, result)) => self.note(engine, offsets, result),
                Err(error) => warn!(%error, "a commit ended badly, its offsets go out with the next one"),
            }
        }
    }

    fn note(&self, engine: &Engine, offsets: Vec<Committable>, result: Result<(), CommitError>) {
        self.counters.committed(result.is_ok());
        note(engine, offsets, result);
    }
}

fn note(engine: &Engine, mut offsets: Vec<Committable>, result: Result<(), CommitError>) {
    if let Err(error) = result {
        // What was not acknowledged is among the next commit's offsets.
        match &error {
            CommitError::Unavailable { partitions, .. } => offsets.retain(|offset| {
                let of = &offset.topic_partition;
                !partitions
                    .iter()
                    .any(|left| *left.topic == *of.topic() && left.partition == of.partition())
            }),
            _ => offsets.clear(),
        }
        warn!(
            error = %crate::chain(&error),
            "offsets not committed: after a crash these records are delivered again"
        );
    }
    debug!(partitions = offsets.len(), "offsets committed");
    engine.committed(&offsets);
}
