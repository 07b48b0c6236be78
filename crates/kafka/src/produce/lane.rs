//! One partition's batches: which may be sent, in which order, under which sequence numbers (KIP-98, KIP-360).
//!
//! A batch is open while records are added, then queued, then in flight; a failed attempt puts it back in its place.
//! **Invariants**
//! - Batches reach the log in the order of their ordinals: none is sent while a later one is in flight.
//! - A sequence number stays with its batch until the broker has said that it did not write it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::error::WriteOutcome;
use super::{ProduceError, ProduceRecord, RecordMetadata};
use crate::backoff::Backoff;
use crate::records::{PlainRecords, RecordsBuilder, Stamp};
use crate::{KafkaError, ProducerConfig, TopicPartition};

/// Batches are numbered in these steps, so that halves of halves find their places in between.
pub(super) const ORDINAL_SPAN: u64 = 1 << 24;

/// Who writes, to the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
}

/// Somebody who waits for a record's outcome.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) timestamp: i64,
    pub(super) wanted: Wanted,
    pub(super) done: oneshot::Sender<Result<RecordMetadata, ProduceError>>,
}

impl Waiter {
    fn is_gone(&self) -> bool {
        self.wanted == Wanted::WhileAwaited && self.done.is_closed()
    }
}

/// For how long a record is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Always,
    /// Until nobody waits for its outcome any more.
    WhileAwaited,
}

/// A batch to which records are still added.
#[derive(Debug)]
struct Open {
    records: RecordsBuilder,
    waiters: Vec<Waiter>,
    room: OwnedSemaphorePermit,
    due: Instant,
    deadline: Instant,
}

/// A batch that is complete.
#[derive(Debug)]
pub(super) struct Batch {
    /// Place among all batches of the producer; the numbers up to `ordinal + span` are free for its parts.
    ordinal: u64,
    span: u64,
    pub(super) records: PlainRecords,
    /// Empty once they were told that time is up.
    waiters: Vec<Waiter>,
    /// The share of `buffer.memory` that it holds.
    room: OwnedSemaphorePermit,
    deadline: Instant,
    attempts: u32,
    sequence: Option<i32>,
    /// Of all attempts so far.
    outcome: WriteOutcome,
    last_failure: Option<KafkaError>,
}

/// A batch on its way to the broker.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) partition: TopicPartition,
    pub(super) ordinal: u64,
    pub(super) records: PlainRecords,
    pub(super) stamp: Option<Stamp>,
}

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Settled {
    /// In the log.
    Written {
        base_offset: Option<i64>,
        append_time: Option<i64>,
    },
    /// To be sent again, unless time or attempts are used up.
    Retry { failure: KafkaError, outcome: WriteOutcome },
    /// The broker lost track of the sequence, and did not write it: start over in a new epoch.
    Bump { failure: KafkaError },
    /// Too large as a whole, not written.
    Split { failure: KafkaError },
    /// It will not be written (again).
    Refused { failure: KafkaError, outcome: WriteOutcome },
    /// Nor will any other.
    Failed(ProduceError),
}

#[derive(Debug)]
pub(super) struct Lane {
    partition: TopicPartition,
    open: Option<Open>,
    /// By ordinal.
    queue: VecDeque<Batch>,
    /// By ordinal.
    in_flight: VecDeque<Batch>,
    identity: Option<Identity>,
    /// Producer id whose epochs are used up here.
    used_up: Option<i64>,
    next_sequence: i32,
    /// Whether the leader has acknowledged a batch of this identity. Before, it takes any sequence number for the
    /// first, so that a second batch must not overtake.
    is_known: bool,
    wants_bump: bool,
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl Lane {
    pub(super) fn new(partition: TopicPartition, backoff: Backoff) -> Self {
        Self {
            partition,
            open: None,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            identity: None,
            used_up: None,
            next_sequence: 0,
            is_known: false,
            wants_bump: false,
            not_before: None,
            backoff,
        }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Whether nothing waits here, neither to be sent nor for an answer.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_none() && self.queue.is_empty() && self.in_flight.is_empty()
    }

    /// Ordinal of the oldest complete batch.
    pub(super) fn oldest(&self) -> Option<u64> {
        let fronts = [self.queue.front(), self.in_flight.front()];
        fronts.into_iter().flatten().map(|batch| batch.ordinal).min()
    }

    /// Adds a record to the open batch, or to a new one if it is full.
    pub(super) fn push(
        &mut self,
        record: &ProduceRecord,
        waiter: Waiter,
        room: OwnedSemaphorePermit,
        ordinals: &mut u64,
        config: &ProducerConfig,
    ) {
        // The permit is an upper bound of the record's size.
        let is_full = |open: &Open| open.records.len().saturating_add(room.num_permits()) > config.batch_size;
        if self.open.as_ref().is_some_and(is_full) {
            self.seal(ordinals);
        }
        let timestamp = waiter.timestamp;
        let open = match &mut self.open {
            Some(open) => {
                open.room.merge(room);
                open.waiters.push(waiter);
                open
            }
            None => {
                let now = Instant::now();
                self.open.insert(Open {
                    records: RecordsBuilder::default(),
                    waiters: vec![waiter],
                    room,
                    due: now + config.linger,
                    deadline: now + config.delivery_timeout,
                })
            }
        };
        open.records.push(record, timestamp);
        if open.records.len() >= config.batch_size {
            self.seal(ordinals);
        }
    }

    /// Completes the open batch.
    pub(super) fn seal(&mut self, ordinals: &mut u64) {
        let Some(open) = self.open.take() else { return };
        *ordinals = ordinals.saturating_add(ORDINAL_SPAN);
        self.queue.push_back(Batch {
            ordinal: *ordinals,
            span: ORDINAL_SPAN,
            records: open.records.build(),
            waiters: open.waiters,
            room: open.room,
            deadline: open.deadline,
            attempts: 0,
            sequence: None,
            outcome: WriteOutcome::NotWritten,
            last_failure: None,
        });
    }

    /// Completes the open batch if it has lingered.
    pub(super) fn seal_due(&mut self, now: Instant, ordinals: &mut u64) {
        if self.open.as_ref().is_some_and(|open| open.due <= now) {
            self.seal(ordinals);
        }
    }

    /// When something happens here by itself next.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        let batches = self.queue.iter().chain(&self.in_flight);
        let deadlines = batches
            .filter(|batch| !batch.waiters.is_empty())
            .map(|batch| batch.deadline);
        let due = self.open.as_ref().map(|open| open.due);
        deadlines.chain(due).chain(self.not_before).filter(|at| *at > now).min()
    }

    /// Whether a new producer id is needed before the next batch.
    pub(super) fn needs_identity(&self) -> bool {
        self.identity.is_none() && !self.queue.is_empty()
    }

    /// Whether `identity` is no epoch that this lane has used up.
    pub(super) fn accepts(&self, identity: Identity) -> bool {
        self.used_up != Some(identity.producer_id)
    }

    /// Gives up the identity and its sequence numbers for another; nothing may be in flight.
    pub(super) fn identify(&mut self, identity: Identity) {
        if self.identity == Some(identity) {
            return;
        }
        self.identity = Some(identity);
        self.next_sequence = 0;
        self.is_known = false;
        for batch in &mut self.queue {
            batch.sequence = None;
        }
    }

    /// Bytes of the batch that [`Lane::take`] would return.
    pub(super) fn ready(&mut self, now: Instant, config: &ProducerConfig) -> Option<usize> {
        if self.not_before.is_some_and(|at| at > now) {
            return None;
        }
        self.bump_if_wanted();
        let front = self.queue.front()?;
        // The broker refuses what does not follow the sequence, but only of a producer that it knows, and it tells only
        // the last five batches from new ones: a batch that may be written already must not fall behind those, so what
        // was sent before goes alone. Without idempotence the broker refuses nothing.
        let is_repeated = front.attempts > 0 || self.in_flight.iter().any(|batch| batch.attempts > 1);
        let limit = if config.idempotence && self.is_known && !is_repeated {
            config.max_in_flight
        } else {
            1
        };
        let is_in_order = self.in_flight.back().is_none_or(|last| last.ordinal < front.ordinal);
        let may = is_in_order
            && self.in_flight.len() < limit
            && !self.wants_bump
            && (self.identity.is_some() || !config.idempotence);
        may.then(|| front.records.len())
    }

    /// The next batch to send, if [`Lane::ready`]; it is in flight from now on.
    pub(super) fn take(&mut self, config: &ProducerConfig) -> Option<Sending> {
        let mut batch = self.queue.pop_front()?;
        let identity = self.identity.filter(|_| config.idempotence);
        let stamp = identity.map(|identity| {
            let sequence = *batch.sequence.get_or_insert_with(|| {
                let next = sequence_after(self.next_sequence, batch.records.count());
                std::mem::replace(&mut self.next_sequence, next)
            });
            Stamp {
                producer_id: identity.producer_id,
                epoch: identity.epoch,
                sequence,
                is_transactional: config.transactional_id.is_some(),
            }
        });
        batch.attempts = batch.attempts.saturating_add(1);
        let sending = Sending {
            partition: self.partition.clone(),
            ordinal: batch.ordinal,
            records: batch.records.clone(),
            stamp,
        };
        self.in_flight.push_back(batch);
        Some(sending)
    }

    /// Whether every earlier batch of the lane has its outcome.
    pub(super) fn is_head(&self, ordinal: u64) -> bool {
        self.oldest() == Some(ordinal)
    }

    /// Takes note of the answer to an attempt.
    pub(super) fn settle(&mut self, ordinal: u64, settled: Settled, config: &ProducerConfig) {
        let at = self.in_flight.iter().position(|batch| batch.ordinal == ordinal);
        let Some(mut batch) = at.and_then(|at| self.in_flight.remove(at)) else {
            return;
        };
        match settled {
            Settled::Written {
                base_offset,
                append_time,
            } => {
                self.is_known = true;
                self.not_before = None;
                self.backoff.reset();
                for (index, waiter) in (0_i64..).zip(batch.waiters) {
                    let metadata = RecordMetadata {
                        partition: self.partition.partition,
                        offset: base_offset.map(|base| base.saturating_add(index)),
                        timestamp: append_time.unwrap_or(waiter.timestamp),
                    };
                    drop(waiter.done.send(Ok(metadata))); // whoever enqueued it may not care
                }
            }
            Settled::Retry { failure, outcome } => {
                if outcome == WriteOutcome::Unknown {
                    batch.outcome = WriteOutcome::Unknown;
                }
                self.again(batch, failure, config);
            }
            Settled::Bump { failure } => {
                self.wants_bump = true;
                batch.outcome = WriteOutcome::NotWritten;
                self.again(batch, failure, config);
            }
            Settled::Split { failure } => self.split(batch, failure),
            Settled::Refused { failure, outcome } => self.refuse(batch, failure, outcome),
            Settled::Failed(err) => self.give_up(batch, &err),
        }
    }

    /// Puts a batch back in its place, unless nobody waits for it any more or its attempts are used up.
    fn again(&mut self, mut batch: Batch, failure: KafkaError, config: &ProducerConfig) {
        if batch.waiters.is_empty() {
            self.forget(&batch);
            return;
        }
        if batch.attempts > config.retries {
            self.refuse(batch, failure, WriteOutcome::NotWritten);
            return;
        }
        batch.last_failure = Some(failure);
        self.not_before = Some(Instant::now() + self.backoff.next());
        self.put_back(batch);
    }

    fn put_back(&mut self, batch: Batch) {
        let at = self.queue.partition_point(|queued| queued.ordinal <= batch.ordinal);
        self.queue.insert(at, batch);
    }

    /// Fails a batch for what Kafka said; an earlier attempt without an answer stays unknown.
    fn refuse(&mut self, mut batch: Batch, source: KafkaError, outcome: WriteOutcome) {
        if outcome == WriteOutcome::Unknown {
            batch.outcome = WriteOutcome::Unknown;
        }
        let err = ProduceError::Refused {
            partition: self.partition.clone(),
            outcome: batch.outcome,
            source,
        };
        self.give_up(batch, &err);
    }

    /// Halves a batch that the broker finds too large. Together the halves keep its place and its sequence numbers.
    fn split(&mut self, mut batch: Batch, failure: KafkaError) {
        if batch.waiters.is_empty() {
            self.forget(&batch);
            return;
        }
        if batch.records.count() < 2 {
            let err = ProduceError::TooLarge {
                topic: Arc::clone(&self.partition.topic),
                size: batch.records.len(),
                limit: None,
                setting: "`max.message.bytes` of the topic (else `message.max.bytes` of the broker)",
            };
            self.give_up(batch, &err);
            return;
        }
        let halves = batch.records.halves(&self.partition).ok();
        let room = batch.room.split(batch.room.num_permits() / 2);
        let (Some([first, second]), Some(room)) = (halves, room) else {
            self.refuse(batch, failure, WriteOutcome::NotWritten);
            return;
        };
        let count = first.count();
        let at = usize::try_from(count).unwrap_or(0).min(batch.waiters.len());
        let span = batch.span / 2;
        let second = Batch {
            ordinal: batch.ordinal.saturating_add(span),
            span,
            records: second,
            waiters: batch.waiters.split_off(at),
            room,
            deadline: batch.deadline,
            attempts: 0,
            sequence: batch.sequence.map(|sequence| sequence_after(sequence, count)),
            outcome: WriteOutcome::NotWritten,
            last_failure: None,
        };
        let first = Batch {
            span,
            records: first,
            attempts: 0,
            outcome: WriteOutcome::NotWritten,
            ..batch
        };
        self.put_back(first);
        self.put_back(second);
    }

    /// Tells everybody that the batch failed.
    fn give_up(&mut self, mut batch: Batch, err: &ProduceError) {
        for waiter in batch.waiters.drain(..) {
            drop(waiter.done.send(Err(err.clone())));
        }
        self.forget(&batch);
    }

    /// A batch that is not sent again leaves a gap in the sequence. If it was the last, its numbers are used again;
    /// else the broker refuses its successor, which bumps the epoch.
    fn forget(&mut self, batch: &Batch) {
        let is_last = |other: &Batch| other.sequence.is_none() || other.ordinal < batch.ordinal;
        if let Some(sequence) = batch.sequence
            && batch.outcome == WriteOutcome::NotWritten
            && self.queue.iter().chain(&self.in_flight).all(is_last)
        {
            self.next_sequence = sequence;
        }
    }

    /// A new epoch for this partition, once nothing is in flight: its sequence starts at zero, and whatever an earlier
    /// attempt may still bring to the broker is fenced.
    fn bump_if_wanted(&mut self) {
        if !self.wants_bump || !self.in_flight.is_empty() {
            return;
        }
        self.wants_bump = false;
        let bumped = self.identity.and_then(|identity| {
            let epoch = identity.epoch.checked_add(1)?;
            Some(Identity { epoch, ..identity })
        });
        match bumped {
            Some(identity) => self.identify(identity),
            // Epochs are used up: another producer id.
            None => {
                self.used_up = self.identity.take().map(|identity| identity.producer_id);
                self.queue.iter_mut().for_each(|batch| batch.sequence = None);
            }
        }
    }

    /// Tells those whose `delivery.timeout.ms` is over, and forgets batches that nobody wants any more. What is in flight
    /// stays, for the sequence's sake.
    pub(super) fn expire(&mut self, now: Instant, config: &ProducerConfig) {
        self.open.take_if(|open| open.waiters.iter().all(Waiter::is_gone));
        let unwanted = |batch: &Batch| batch.waiters.iter().all(Waiter::is_gone);
        while let Some(at) = self.queue.iter().rposition(unwanted) {
            self.queue.remove(at).inspect(|batch| self.forget(batch));
        }
        let partition = self.partition.clone();
        let timed_out = |batch: &Batch, outcome| ProduceError::TimedOut {
            partition: partition.clone(),
            after: config.delivery_timeout,
            outcome,
            source: batch.last_failure.clone(),
        };
        while let Some(batch) = self.queue.pop_front_if(|batch| batch.deadline <= now) {
            let err = timed_out(&batch, batch.outcome);
            self.give_up(batch, &err);
        }
        for batch in self.in_flight.iter_mut().filter(|batch| batch.deadline <= now) {
            let err = timed_out(batch, WriteOutcome::Unknown);
            for waiter in batch.waiters.drain(..) {
                drop(waiter.done.send(Err(err.clone())));
            }
        }
    }

    /// Fails everything that is not in flight.
    pub(super) fn fail_queued(
        &mut self,
        ordinals: &mut u64,
        err: impl Fn(&TopicPartition, WriteOutcome) -> ProduceError,
    ) {
        self.seal(ordinals);
        while let Some(batch) = self.queue.pop_back() {
            let err = err(&self.partition, batch.outcome);
            self.give_up(batch, &err);
        }
    }

    /// Fails everything: the end.
    pub(super) fn fail_all(&mut self, ordinals: &mut u64, err: impl Fn(&TopicPartition, WriteOutcome) -> ProduceError) {
        while let Some(batch) = self.in_flight.pop_back() {
            let err = err(&self.partition, WriteOutcome::Unknown);
            self.give_up(batch, &err);
        }
        self.fail_queued(ordinals, err);
    }
}

/// Sequence numbers wrap from 2^31 - 1 to 0.
fn sequence_after(sequence: i32, count: i32) -> i32 {
    sequence.wrapping_add(count) & i32::MAX
}

#[cfg(test)]
mod tests;
