//! The log of one partition: batches as they arrived, what is known of their producers and transactions, and the
//! leader epochs. Nobody but its partition's lock reaches it.

mod compaction;
mod producers;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;

pub(crate) use compaction::CompactionRules;
pub(crate) use producers::ProducerSnapshot;
use producers::{Producers, Sequenced};

use super::batch::{self, Ending, Header};
use super::records;

/// What a consumer may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    Uncommitted,
    Committed,
}

impl Isolation {
    pub(crate) fn of_level(level: i8) -> Self {
        if level == 1 { Self::Committed } else { Self::Uncommitted }
    }
}

/// A batch in the log.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) header: Header,
    pub(crate) bytes: Bytes,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// `None`: the producer's own times stand.
    pub(crate) log_append_time_ms: Option<i64>,
    /// The log has the batch since an earlier attempt.
    pub(crate) is_duplicate: bool,
}

/// Whose time a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timestamps {
    Create,
    Append,
}

/// A producer's aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    /// Of the marker.
    pub(crate) last_offset: i64,
}

/// What a fetch finds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    pub(crate) batches: Vec<Bytes>,
    pub(crate) size: usize,
    pub(crate) aborted: Vec<Aborted>,
}

/// A record that was looked up by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) leader_epoch: i32,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    batches: VecDeque<Stored>,
    size: u64,
    start_offset: i64,
    end_offset: i64,
    /// Epochs and where they begin, in order.
    epochs: Vec<(i32, i64)>,
    producers: Producers,
    aborted: Vec<Aborted>,
    /// End of what was compacted last.
    compacted_to: Option<i64>,
}

impl Log {
    pub(crate) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// One past the last record. Nothing is replicated, so this is the high watermark as well.
    pub(crate) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// Where the first transaction begins that has not ended.
    pub(crate) fn last_stable_offset(&self) -> i64 {
        self.producers.first_open_offset().unwrap_or(self.end_offset)
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn batches(&self) -> impl Iterator<Item = &Stored> {
        self.batches.iter()
    }

    pub(crate) fn batch_count(&self) -> usize {
        self.batches.len()
    }

    pub(crate) fn last_batch(&self) -> Option<&Stored> {
        self.batches.back()
    }

    pub(crate) fn epochs(&self) -> &[(i32, i64)] {
        &self.epochs
    }

    pub(crate) fn producers(&self) -> Vec<ProducerSnapshot> {
        self.producers.snapshot()
    }

    /// A leader begins. Epochs only grow.
    pub(crate) fn begin_epoch(&mut self, epoch: i32) {
        match self.epochs.last_mut() {
            Some(last) if last.0 >= epoch => {}
            // An epoch in which nothing was written leaves no trace.
            Some(last) if last.1 == self.end_offset => last.0 = epoch,
            _ => self.epochs.push((epoch, self.end_offset)),
        }
    }

    /// Appends a checked batch of a client.
    ///
    /// # Errors
    /// What the producer is to be told: its sequence or its epoch is wrong.
    pub(crate) fn append(
        &mut self,
        mut batch: BytesMut,
        mut header: Header,
        timestamps: Timestamps,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, ResponseError> {
        let log_append_time_ms = match timestamps {
            Timestamps::Create => None,
            Timestamps::Append => {
                batch::stamp(&mut batch, &mut header, now_ms);
                Some(now_ms)
            }
        };
        header.base_offset = self.end_offset;
        header.leader_epoch = leader_epoch;
        match self.producers.check(&header)? {
            Sequenced::Duplicate(base_offset) => {
                return Ok(Appended {
                    base_offset,
                    log_append_time_ms,
                    is_duplicate: true,
                });
            }
            Sequenced::Next => {}
        }
        self.producers.note(&header, now_ms);
        batch::place(&mut batch, header.base_offset, leader_epoch);
        self.push(Stored {
            header,
            bytes: batch.freeze(),
        });
        Ok(Appended {
            base_offset: header.base_offset,
            log_append_time_ms,
            is_duplicate: false,
        })
    }

    /// Ends a producer's transaction.
    pub(crate) fn append_marker(
        &mut self,
        producer_id: i64,
        producer_epoch: i16,
        ending: Ending,
        leader_epoch: i32,
        now_ms: i64,
    ) {
        let mut marker = batch::marker(producer_id, producer_epoch, ending, now_ms);
        batch::place(&mut marker, self.end_offset, leader_epoch);
        if let Ok(header) = Header::parse(&marker) {
            self.end_transaction(&header, ending, now_ms);
            self.push(Stored {
                header,
                bytes: marker.freeze(),
            });
        }
    }

    /// Takes a batch that was stored before, offsets and all. Whatever does not continue the log is not taken.
    pub(crate) fn restore(&mut self, bytes: Bytes, header: Header, now_ms: i64) -> bool {
        if header.base_offset < self.end_offset || header.last_offset_delta < 0 {
            return false;
        }
        if self.batches.is_empty() && self.end_offset == 0 {
            self.start_offset = header.base_offset;
        }
        if self.epochs.last().is_none_or(|last| last.0 < header.leader_epoch) {
            self.epochs.push((header.leader_epoch, header.base_offset));
        }
        if header.is_control() {
            let ending = records::expand(&bytes, &header)
                .ok()
                .and_then(|body| ending_of(&body, &header));
            if let Some(ending) = ending {
                self.end_transaction(&header, ending, now_ms);
            }
        } else {
            self.producers.note(&header, now_ms);
        }
        self.push(Stored { header, bytes });
        true
    }

    fn end_transaction(&mut self, marker: &Header, ending: Ending, now_ms: i64) {
        let first_offset = self.producers.end_transaction(marker, now_ms);
        if let (Some(first_offset), Ending::Abort) = (first_offset, ending) {
            self.aborted.push(Aborted {
                producer_id: marker.producer_id,
                first_offset,
                last_offset: marker.base_offset,
            });
        }
    }

    fn push(&mut self, stored: Stored) {
        self.end_offset = stored.header.last_offset().saturating_add(1);
        self.size = self.size.saturating_add(bytes_of(&stored));
        self.batches.push_back(stored);
    }

    /// What a consumer at `offset` gets: whole batches, at least one if `limit` is not none and there is one.
    ///
    /// # Errors
    /// The offset is not in the log.
    pub(crate) fn read(
        &self,
        offset: i64,
        limit: usize,
        takes_any_first: bool,
        isolation: Isolation,
    ) -> Result<Slice, ResponseError> {
        if !(self.start_offset..=self.end_offset).contains(&offset) {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let end = match isolation {
            Isolation::Uncommitted => self.end_offset,
            Isolation::Committed => self.last_stable_offset(),
        };
        let mut slice = Slice::default();
        let mut upper = offset;
        let first = self.index_of(offset);
        for stored in self.batches.range(first..) {
            let size = slice.size.saturating_add(stored.bytes.len());
            let fits = size <= limit || (slice.batches.is_empty() && takes_any_first);
            if stored.header.base_offset >= end || !fits {
                break;
            }
            slice.batches.push(stored.bytes.clone());
            slice.size = size;
            upper = stored.header.last_offset();
        }
        if isolation == Isolation::Committed && !slice.batches.is_empty() {
            let overlaps = |of: &&Aborted| of.last_offset >= offset && of.first_offset <= upper;
            slice.aborted = self.aborted.iter().filter(overlaps).copied().collect();
        }
        Ok(slice)
    }

    /// The first batch that holds `offset` or something behind it.
    fn index_of(&self, offset: i64) -> usize {
        self.batches
            .partition_point(|stored| stored.header.last_offset() < offset)
    }

    /// The first record at or after this time.
    pub(crate) fn find_time(&self, timestamp_ms: i64, isolation: Isolation) -> Option<Found> {
        let end = match isolation {
            Isolation::Uncommitted => self.end_offset,
            Isolation::Committed => self.last_stable_offset(),
        };
        self.batches
            .iter()
            .take_while(|stored| stored.header.base_offset < end)
            .filter(|stored| stored.header.max_timestamp >= timestamp_ms && !stored.header.is_control())
            .find_map(|stored| self.find_in(stored, |at| at >= timestamp_ms))
    }

    /// The first of the records with the largest time.
    pub(crate) fn find_max_timestamp(&self) -> Option<Found> {
        let data = self.batches.iter().filter(|stored| !stored.header.is_control());
        // Of equal ones the first.
        let latest = data.rev().max_by_key(|stored| stored.header.max_timestamp)?;
        self.find_in(latest, |at| at >= latest.header.max_timestamp)
    }

    fn find_in(&self, stored: &Stored, is_wanted: impl Fn(i64) -> bool) -> Option<Found> {
        let header = &stored.header;
        let found = |offset, timestamp_ms| Found {
            offset,
            timestamp_ms,
            leader_epoch: header.leader_epoch,
        };
        if header.has_log_append_time() {
            return is_wanted(header.max_timestamp)
                .then(|| found(header.base_offset.max(self.start_offset), header.max_timestamp));
        }
        let body = records::expand(&stored.bytes, header).ok()?;
        let mut first = None;
        // A batch that cannot be read to its end is no reason to hide what was found before.
        records::for_each(&body, header, |record| {
            let offset = header.base_offset.saturating_add(i64::from(record.offset_delta));
            let timestamp_ms = header.base_timestamp.saturating_add(record.timestamp_delta);
            if offset >= self.start_offset && is_wanted(timestamp_ms) {
                first = Some(found(offset, timestamp_ms));
            }
            first.is_none()
        })
        .ok();
        first
    }

    /// The last epoch up to this one and where it ends (KIP-101, KIP-320); `None` if nothing is known of it.
    pub(crate) fn epoch_end(&self, epoch: i32) -> Option<(i32, i64)> {
        let next = self.epochs.partition_point(|(known, _)| *known <= epoch);
        match (
            next.checked_sub(1).and_then(|at| self.epochs.get(at)),
            self.epochs.get(next),
        ) {
            (Some((last, _)), None) if *last == epoch => Some((epoch, self.end_offset)),
            (_, None) => None,
            (Some((floor, _)), Some((_, end))) => Some((*floor, *end)),
            (None, Some((_, end))) => Some((epoch, *end)),
        }
    }

    /// The epoch in which the record at `offset` was written.
    pub(crate) fn epoch_of(&self, offset: i64) -> i32 {
        let next = self.epochs.partition_point(|(_, start)| *start <= offset);
        next.checked_sub(1)
            .and_then(|at| self.epochs.get(at))
            .map_or(-1, |(epoch, _)| *epoch)
    }

    /// The log begins at `offset` from now on (DeleteRecords). Batches that hold something behind it stay.
    ///
    /// # Errors
    /// It is behind the end.
    pub(crate) fn delete_before(&mut self, offset: i64) -> Result<(), ResponseError> {
        if offset > self.end_offset {
            return Err(ResponseError::OffsetOutOfRange);
        }
        if offset > self.start_offset {
            self.start_offset = offset;
            while self
                .batches
                .front()
                .is_some_and(|front| front.header.last_offset() < offset)
            {
                self.pop_front();
            }
            self.forget_before_start();
        }
        Ok(())
    }

    /// Drops batches from the front while `is_over` says so of the log's size and the batch.
    pub(crate) fn drop_front(&mut self, is_over: impl Fn(u64, &Header) -> bool) {
        let mut dropped = false;
        while let Some(front) = self.batches.front()
            && is_over(self.size, &front.header)
        {
            self.pop_front();
            dropped = true;
        }
        if dropped {
            let next = self
                .batches
                .front()
                .map_or(self.end_offset, |front| front.header.base_offset);
            self.start_offset = self.start_offset.max(next);
            self.forget_before_start();
        }
    }

    /// Takes back everything from `offset` on, as a new leader that never had it would. For fault injection.
    pub(crate) fn truncate(&mut self, offset: i64, now_ms: i64) {
        let kept: Vec<Stored> = self
            .batches
            .iter()
            .take_while(|stored| stored.header.last_offset() < offset)
            .cloned()
            .collect();
        let epochs: Vec<_> = self
            .epochs
            .iter()
            .copied()
            .filter(|(_, start)| *start < offset)
            .collect();
        let start_offset = self.start_offset;
        *self = Self {
            start_offset,
            end_offset: start_offset,
            ..Self::default()
        };
        for stored in kept {
            self.restore(stored.bytes, stored.header, now_ms);
        }
        self.start_offset = start_offset;
        self.epochs = epochs;
    }

    /// Forgets producers that wrote nothing for long.
    pub(crate) fn forget_idle_producers(&mut self, now_ms: i64) {
        self.producers.forget_idle(now_ms);
    }

    /// Sets the start of a log that is being restored.
    pub(crate) fn restore_start(&mut self, start_offset: i64) {
        self.start_offset = self.start_offset.max(start_offset);
        self.end_offset = self.end_offset.max(self.start_offset);
    }

    fn pop_front(&mut self) {
        if let Some(front) = self.batches.pop_front() {
            self.size = self.size.saturating_sub(bytes_of(&front));
        }
    }

    fn forget_before_start(&mut self) {
        let start = self.start_offset;
        self.aborted.retain(|aborted| aborted.last_offset >= start);
        // The epoch in which the first record was written begins with it.
        let first = self.epochs.partition_point(|(_, at)| *at <= start);
        self.epochs.drain(..first.saturating_sub(1));
        if let Some(epoch) = self.epochs.first_mut() {
            epoch.1 = epoch.1.max(start);
        }
    }
}

fn bytes_of(stored: &Stored) -> u64 {
    u64::try_from(stored.bytes.len()).unwrap_or(u64::MAX)
}

/// What a marker says, by the last byte of its key.
fn ending_of(body: &[u8], header: &Header) -> Option<Ending> {
    let mut ending = None;
    records::for_each(body, header, |record| {
        ending = match record.key {
            Some([_, _, _, 0]) => Some(Ending::Abort),
            Some([_, _, _, 1]) => Some(Ending::Commit),
            _ => None,
        };
        false
    })
    .ok()?;
    ending
}
