//! A partition: its log behind its lock, its leader, and those who wait for records.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::BytesMut;
use kafka_protocol::ResponseError;
use tokio::sync::Notify;

use super::batch::{Ending, Header};
use super::configs::TopicConfigs;
use super::lock;
use super::log::{Appended, Log};
use super::storage::LogFile;

/// Bytes of a topic's logs, and of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    topic: Arc<AtomicU64>,
    total: Arc<AtomicU64>,
}

impl Usage {
    pub(crate) fn new(total: &Arc<AtomicU64>) -> Self {
        Self {
            topic: Arc::default(),
            total: Arc::clone(total),
        }
    }

    pub(crate) fn topic(&self) -> u64 {
        self.topic.load(Ordering::Relaxed)
    }

    fn change(&self, before: u64, after: u64) {
        for sum in [&self.topic, &self.total] {
            if after >= before {
                sum.fetch_add(after - before, Ordering::Relaxed);
            } else {
                sum.fetch_sub(before - after, Ordering::Relaxed);
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) index: i32,
    /// Nodes that may lead it.
    pub(crate) replicas: Vec<i32>,
    usage: Usage,
    state: Mutex<State>,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) leader: Option<i32>,
    pub(crate) leader_epoch: i32,
    pub(crate) log: Log,
    file: Option<LogFile>,
    waiting: Vec<(u64, Arc<Notify>)>,
    is_deleted: bool,
}

impl Partition {
    pub(crate) fn new(index: i32, replicas: Vec<i32>, usage: Usage, log: Log, file: Option<LogFile>) -> Self {
        usage.change(0, log.size());
        let leader_epoch = log.epochs().last().map_or(-1, |(epoch, _)| *epoch);
        Self {
            index,
            replicas,
            usage,
            state: Mutex::new(State {
                leader: None,
                leader_epoch,
                log,
                file,
                waiting: Vec::new(),
                is_deleted: false,
            }),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The log as `node` may serve it.
    ///
    /// # Errors
    /// Another node leads, or the client's idea of the leader is another (`None`: it has none).
    pub(crate) fn led_by(&self, node: i32, known_epoch: Option<i32>) -> Result<MutexGuard<'_, State>, ResponseError> {
        let state = self.lock();
        if state.is_deleted {
            return Err(ResponseError::UnknownTopicOrPartition);
        }
        if state.leader != Some(node) {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        match known_epoch {
            Some(epoch) if epoch < state.leader_epoch => Err(ResponseError::FencedLeaderEpoch),
            Some(epoch) if epoch > state.leader_epoch => Err(ResponseError::UnknownLeaderEpoch),
            _ => Ok(state),
        }
    }

    /// Appends a checked batch of a client, and wakes who waits for it.
    ///
    /// # Errors
    /// See [`Partition::led_by`] and [`Log::append`]; or the data directory cannot be written.
    pub(crate) fn append(
        &self,
        node: i32,
        batch: BytesMut,
        header: Header,
        configs: &TopicConfigs,
        now_ms: i64,
    ) -> Result<(Appended, i64), ResponseError> {
        let mut state = self.led_by(node, None)?;
        let before = state.log.size();
        let epoch = state.leader_epoch;
        let appended = state.log.append(batch, header, configs.timestamps(), epoch, now_ms)?;
        let saved = if appended.is_duplicate {
            Ok(())
        } else {
            state.save_last()
        };
        let begun = state.log.start_offset();
        if let Some(limit) = configs.retention_bytes().filter(|_| configs.is_deleted()) {
            state.log.drop_front(|size, header| is_over(size, header, limit));
        }
        let start = state.log.start_offset();
        if start != begun {
            state.rewrite();
        }
        self.usage.change(before, state.log.size());
        state.wake();
        saved.map(|()| (appended, start))
    }

    /// Ends a producer's transaction here. Markers come from the coordinator, whoever leads.
    pub(crate) fn end_transaction(&self, producer_id: i64, producer_epoch: i16, ending: Ending, now_ms: i64) {
        let mut state = self.lock();
        if state.is_deleted {
            return;
        }
        let before = state.log.size();
        let epoch = state.leader_epoch;
        state
            .log
            .append_marker(producer_id, producer_epoch, ending, epoch, now_ms);
        if let Err(err) = state.save_last() {
            tracing::warn!(partition = self.index, error = %err, "the end of a transaction is not in the data directory");
        }
        self.usage.change(before, state.log.size());
        state.wake();
    }

    /// Aborts whatever is open.
    pub(crate) fn abort_open(&self, now_ms: i64) {
        let mut producers = self.lock().log.producers();
        producers.retain(|producer| producer.transaction_start.is_some());
        for producer in producers {
            self.end_transaction(producer.producer_id, producer.epoch, Ending::Abort, now_ms);
        }
    }

    /// Changes the log by other means than appending, and returns what `change` does.
    pub(crate) fn maintain<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let mut state = self.lock();
        let before = (state.log.size(), state.log.start_offset());
        let result = change(&mut state.log);
        let after = (state.log.size(), state.log.start_offset());
        if before != after {
            self.usage.change(before.0, after.0);
            state.rewrite();
        }
        result
    }

    /// Takes records from `offset` on away, and begins a new epoch.
    pub(crate) fn truncate(&self, offset: i64, now_ms: i64) {
        let mut state = self.lock();
        let before = state.log.size();
        state.log.truncate(offset, now_ms);
        self.usage.change(before, state.log.size());
        state.leader_epoch = state.leader_epoch.saturating_add(1);
        let epoch = state.leader_epoch;
        state.log.begin_epoch(epoch);
        state.replace();
        state.wake();
    }

    /// Gives the lead to `leader`, in a new epoch.
    pub(crate) fn lead(&self, leader: Option<i32>) {
        let mut state = self.lock();
        if state.leader == leader {
            return;
        }
        state.leader = leader;
        state.leader_epoch = state.leader_epoch.saturating_add(1);
        let epoch = state.leader_epoch;
        if leader.is_some() {
            state.log.begin_epoch(epoch);
        }
        state.wake();
    }

    /// The topic is gone.
    pub(crate) fn delete(&self) {
        let mut state = self.lock();
        state.is_deleted = true;
        self.usage.change(state.log.size(), 0);
        state.log = Log::default();
        state.file = None;
        state.wake();
    }

    /// Wakes `waiter` when something changes, until [`Partition::forget`].
    pub(crate) fn wait(&self, id: u64, waiter: &Arc<Notify>) {
        self.lock().waiting.push((id, Arc::clone(waiter)));
    }

    pub(crate) fn forget(&self, id: u64) {
        self.lock().waiting.retain(|(waiting, _)| *waiting != id);
    }
}

impl State {
    fn wake(&self) {
        for (_, waiter) in &self.waiting {
            waiter.notify_one();
        }
    }

    /// Writes the batch that was appended last to the data directory, if there is one.
    fn save_last(&mut self) -> Result<(), ResponseError> {
        let (Some(file), Some(last)) = (self.file.as_mut(), self.log.last_batch()) else {
            return Ok(());
        };
        file.append(last).map_err(|err| {
            tracing::warn!(error = %err, "cannot write to the data directory");
            ResponseError::KafkaStorageError
        })
    }

    /// Writes all of a log that was changed at its end.
    fn replace(&mut self) {
        if let Some(file) = self.file.as_mut()
            && let Err(err) = file.replace(&self.log)
        {
            tracing::warn!(error = %err, "cannot write to the data directory");
        }
    }

    /// Brings the data directory in line with a log that lost records.
    fn rewrite(&mut self) {
        if let Some(file) = self.file.as_mut()
            && let Err(err) = file.rewrite(&self.log)
        {
            tracing::warn!(error = %err, "cannot write to the data directory");
        }
    }
}

/// Whether a log of this size has to lose its first batch: never more than is needed, and never all of it.
pub(crate) fn is_over(size: u64, first: &Header, limit: u64) -> bool {
    let first = u64::try_from(first.size).unwrap_or(u64::MAX);
    size > limit && size > first
}
