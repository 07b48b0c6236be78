//! What a partition knows of those who write to it: sequences of idempotent producers, open transactions.

use std::collections::{BTreeMap, HashMap, VecDeque};

use kafka_protocol::ResponseError;

use super::super::batch::Header;

/// Batches of a producer that are recognised when they come again, as in Kafka.
const REMEMBERED: usize = 5;
/// Producers that are remembered in a partition; beyond, those go that wrote least lately.
const MAX_PRODUCERS: usize = 10_000;
/// A producer that wrote nothing for so long is forgotten (`producer.id.expiration.ms`).
const EXPIRATION_MS: i64 = 24 * 3600 * 1000;

/// How a batch continues what its producer wrote before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sequenced {
    Next,
    /// It is in the log at this offset.
    Duplicate(i64),
}

/// What is shown of a producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProducerSnapshot {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) last_sequence: i32,
    pub(crate) last_timestamp_ms: i64,
    pub(crate) transaction_start: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Written>,
    transaction_start: Option<i64>,
    last_written_ms: i64,
}

#[derive(Debug, Default)]
pub(super) struct Producers {
    known: HashMap<i64, Producer>,
    /// First offset of each open transaction, and whose it is.
    open: BTreeMap<i64, i64>,
}

impl Producers {
    pub(super) fn first_open_offset(&self) -> Option<i64> {
        self.open.first_key_value().map(|(offset, _)| *offset)
    }

    /// # Errors
    /// The batch does not continue what its producer wrote.
    pub(super) fn check(&self, header: &Header) -> Result<Sequenced, ResponseError> {
        if header.producer_id < 0 {
            return Ok(Sequenced::Next);
        }
        // A producer that is not known here may have written long ago.
        let Some(producer) = self.known.get(&header.producer_id) else {
            return Ok(Sequenced::Next);
        };
        if header.producer_epoch < producer.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if header.producer_epoch > producer.epoch {
            return match header.base_sequence {
                0 => Ok(Sequenced::Next),
                _ => Err(ResponseError::OutOfOrderSequenceNumber),
            };
        }
        let last_sequence = sequence_after(header.base_sequence, header.last_offset_delta);
        let known = producer
            .batches
            .iter()
            .find(|written| written.first_sequence == header.base_sequence && written.last_sequence == last_sequence);
        if let Some(known) = known {
            return Ok(Sequenced::Duplicate(known.base_offset));
        }
        match producer.batches.back() {
            Some(last) if header.base_sequence != sequence_after(last.last_sequence, 1) => {
                Err(ResponseError::OutOfOrderSequenceNumber)
            }
            // A new epoch that has only ended a transaction so far begins again.
            None if header.base_sequence != 0 => Err(ResponseError::OutOfOrderSequenceNumber),
            _ => Ok(Sequenced::Next),
        }
    }

    /// A batch that is written at the offset in its header.
    pub(super) fn note(&mut self, header: &Header, now_ms: i64) {
        if header.producer_id < 0 {
            return;
        }
        let producer = self.producer(header, now_ms);
        if producer.batches.len() >= REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Written {
            first_sequence: header.base_sequence,
            last_sequence: sequence_after(header.base_sequence, header.last_offset_delta),
            base_offset: header.base_offset,
        });
        if header.is_transactional() && producer.transaction_start.is_none() {
            producer.transaction_start = Some(header.base_offset);
            self.open.insert(header.base_offset, header.producer_id);
        }
    }

    /// The end of a transaction; returns where it began, if it wrote here.
    pub(super) fn end_transaction(&mut self, marker: &Header, now_ms: i64) -> Option<i64> {
        let started = self.producer(marker, now_ms).transaction_start.take()?;
        self.open.remove(&started);
        Some(started)
    }

    fn producer(&mut self, header: &Header, now_ms: i64) -> &mut Producer {
        if self.known.len() >= MAX_PRODUCERS && !self.known.contains_key(&header.producer_id) {
            self.forget_oldest();
        }
        let producer = self.known.entry(header.producer_id).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            batches: VecDeque::new(),
            transaction_start: None,
            last_written_ms: now_ms,
        });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        producer.last_written_ms = now_ms;
        producer
    }

    fn forget_oldest(&mut self) {
        let idle = self
            .known
            .iter()
            .filter(|(_, producer)| producer.transaction_start.is_none());
        let oldest = idle
            .min_by_key(|(_, producer)| producer.last_written_ms)
            .map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn forget_idle(&mut self, now_ms: i64) {
        self.known.retain(|_, producer| {
            producer.transaction_start.is_some() || now_ms.saturating_sub(producer.last_written_ms) < EXPIRATION_MS
        });
    }

    pub(super) fn snapshot(&self) -> Vec<ProducerSnapshot> {
        self.known
            .iter()
            .map(|(id, producer)| ProducerSnapshot {
                producer_id: *id,
                epoch: producer.epoch,
                last_sequence: producer.batches.back().map_or(-1, |last| last.last_sequence),
                last_timestamp_ms: producer.last_written_ms,
                transaction_start: producer.transaction_start,
            })
            .collect()
    }
}

/// Sequences go from 2³¹−1 on to 0.
fn sequence_after(sequence: i32, count: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(count);
    i32::try_from(sum & i64::from(i32::MAX)).unwrap_or(0)
}
