//! From the bytes of a section to records.

use std::collections::HashSet;

use bytes::Bytes;

use super::batch::{Batch, next_batch};
use super::compression::decompress;
use super::cursor::{Cursor, be};
use super::{ConsumedRecord, DecodeError, DecodeReason, TimestampType};
use crate::{IsolationLevel, TopicPartition};

/// A transaction that was aborted, as a fetch response lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose transaction.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
}

/// The records of a section, decoded as they are asked for.
///
/// Skips what lies below the start offset (a batch is always sent whole), control batches, and under `read_committed`
/// the records of aborted transactions. After an error it ends.
#[derive(Debug)]
pub struct Records {
    partition: TopicPartition,
    rest: Bytes,
    from: i64,
    check_crcs: bool,
    open: Option<OpenBatch>,
    aborted: Aborted,
    next_offset: i64,
}

/// A header takes two bytes on the wire and 56 in memory, so a record of nothing else must not run away.
const MAX_HEADERS: usize = 100_000;

/// A batch being read.
#[derive(Debug)]
struct OpenBatch {
    body: Bytes,
    at: usize,
    left: i32,
    base_offset: i64,
    last_offset: i64,
    base_timestamp: i64,
    /// The broker's clock, which stands for every record of the batch.
    append_time: Option<i64>,
    leader_epoch: Option<i32>,
}

impl Records {
    /// Reads the batches in `section` from offset `from` on.
    ///
    /// `aborted` is what the fetch response listed; it is ignored unless `isolation` is `read_committed`.
    pub fn new(
        partition: TopicPartition,
        section: Bytes,
        from: i64,
        isolation: IsolationLevel,
        aborted: &[AbortedTransaction],
        check_crcs: bool,
    ) -> Self {
        Self {
            partition,
            rest: section,
            from,
            check_crcs,
            open: None,
            aborted: match isolation {
                IsolationLevel::ReadUncommitted => Aborted::default(),
                IsolationLevel::ReadCommitted => Aborted::new(aborted),
            },
            next_offset: from,
        }
    }

    /// Where to read on: behind everything that was returned or skipped so far.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    fn fail(&mut self, offset: i64, reason: DecodeReason) -> Option<Result<ConsumedRecord, DecodeError>> {
        self.rest = Bytes::new();
        self.open = None;
        Some(Err(DecodeError {
            partition: self.partition.clone(),
            offset,
            reason,
        }))
    }

    /// Opens the next batch that holds records to return.
    fn open_next(&mut self) -> Result<bool, (i64, DecodeReason)> {
        loop {
            let batch = next_batch(&mut self.rest, self.check_crcs)
                .map_err(|(offset, reason)| (offset.unwrap_or(self.next_offset), reason))?;
            let Some(batch) = batch else {
                return Ok(false);
            };
            let skipped = batch.last_offset < self.from
                || self
                    .aborted
                    .covers(&batch)
                    .map_err(|reason| (batch.base_offset, reason))?
                || batch.is_control
                || batch.count == 0;
            if skipped {
                self.next_offset = self.next_offset.max(batch.last_offset.saturating_add(1));
                continue;
            }
            let body = decompress(batch.codec, &batch.body).map_err(|reason| (batch.base_offset, reason))?;
            self.open = Some(OpenBatch {
                body,
                at: 0,
                left: batch.count,
                base_offset: batch.base_offset,
                last_offset: batch.last_offset,
                base_timestamp: batch.base_timestamp,
                append_time: match batch.timestamp_type {
                    TimestampType::CreateTime => None,
                    TimestampType::LogAppendTime => Some(batch.max_timestamp),
                },
                leader_epoch: batch.leader_epoch,
            });
            return Ok(true);
        }
    }
}

impl Iterator for Records {
    type Item = Result<ConsumedRecord, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(open) = &mut self.open else {
                match self.open_next() {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err((offset, reason)) => return self.fail(offset, reason),
                }
            };
            if open.left == 0 {
                if open.at != open.body.len() {
                    let offset = self.next_offset;
                    return self.fail(
                        offset,
                        DecodeReason::Malformed("a batch goes on behind its last record"),
                    );
                }
                self.next_offset = self.next_offset.max(open.last_offset.saturating_add(1));
                self.open = None;
                continue;
            }
            match open.record() {
                Ok(record) if record.offset < self.from => {}
                // What counts on offsets that grow would count such a record as done already.
                Ok(record) if record.offset < self.next_offset => {
                    let offset = self.next_offset;
                    return self.fail(
                        offset,
                        DecodeReason::Malformed("a record's offset is not above the one before"),
                    );
                }
                Ok(record) => {
                    self.next_offset = record.offset.saturating_add(1);
                    return Some(Ok(record));
                }
                Err(reason) => {
                    let offset = self.next_offset.max(open.base_offset);
                    return self.fail(offset, reason);
                }
            }
        }
    }
}

impl std::iter::FusedIterator for Records {}

impl OpenBatch {
    #[inline]
    fn record(&mut self) -> Result<ConsumedRecord, DecodeReason> {
        let mut cursor = Cursor::new(&self.body, self.at);
        let length =
            usize::try_from(cursor.varint()?).map_err(|_| DecodeReason::Malformed("a record has a negative length"))?;
        let end = cursor.at().saturating_add(length);
        let _attributes = cursor.u8()?;
        let timestamp_delta = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        let key = cursor.nullable()?;
        let value = cursor.nullable()?;
        let header_count = cursor.varint()?;
        let mut headers = Vec::new();
        if header_count != 0 {
            let count = usize::try_from(header_count)
                .map_err(|_| DecodeReason::Malformed("a record has a negative number of headers"))?;
            if count > MAX_HEADERS {
                return Err(DecodeReason::Malformed("a record has more than 100,000 headers"));
            }
            // A header takes at least two bytes: a false count reserves no more than the record's size explains.
            headers.reserve_exact(count.min(length / 2));
            for _ in 0..count {
                let name = cursor
                    .nullable()?
                    .ok_or(DecodeReason::Malformed("a header has no key"))?;
                let value = cursor.nullable()?.map(|range| self.body.slice(range));
                headers.push((self.body.slice(name), value));
            }
        }
        if cursor.at() != end {
            return Err(DecodeReason::Malformed("a record's length does not fit its fields"));
        }
        let record = ConsumedRecord {
            offset: self.base_offset.saturating_add(i64::from(offset_delta)),
            timestamp: self
                .append_time
                .unwrap_or_else(|| self.base_timestamp.saturating_add(timestamp_delta)),
            timestamp_type: match self.append_time {
                Some(_) => TimestampType::LogAppendTime,
                None => TimestampType::CreateTime,
            },
            key: key.map(|range| self.body.slice(range)),
            value: value.map(|range| self.body.slice(range)),
            headers,
            leader_epoch: self.leader_epoch,
        };
        if offset_delta < 0 || record.offset > self.last_offset {
            return Err(DecodeReason::Malformed("a record's offset lies outside its batch"));
        }
        self.at = end;
        self.left = self.left.saturating_sub(1);
        Ok(record)
    }
}

/// Follows aborted transactions through a section.
///
/// A producer's batches are aborted from the transaction's first offset up to its ABORT marker.
#[derive(Debug, Default)]
struct Aborted {
    is_on: bool,
    /// By falling first offset: the next one is last.
    ahead: Vec<AbortedTransaction>,
    inside: HashSet<i64>,
}

impl Aborted {
    fn new(listed: &[AbortedTransaction]) -> Self {
        let mut ahead = listed.to_vec();
        ahead.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self {
            is_on: true,
            ahead,
            inside: HashSet::new(),
        }
    }

    /// Whether `batch` belongs to an aborted transaction; takes note of transactions that begin and end with it.
    fn covers(&mut self, batch: &Batch) -> Result<bool, DecodeReason> {
        if !self.is_on || batch.producer_id < 0 {
            return Ok(false);
        }
        while let Some(transaction) = self.ahead.pop_if(|ahead| ahead.first_offset <= batch.last_offset) {
            self.inside.insert(transaction.producer_id);
        }
        if batch.is_control {
            if is_abort_marker(batch)? {
                self.inside.remove(&batch.producer_id);
            }
            return Ok(false);
        }
        Ok(batch.is_transactional && self.inside.contains(&batch.producer_id))
    }
}

/// A control batch holds one record, whose key is version (int16) and type (int16): 0 aborts, 1 commits.
fn is_abort_marker(batch: &Batch) -> Result<bool, DecodeReason> {
    if batch.count == 0 {
        return Ok(false); // compacted away; only the header is kept
    }
    let body = decompress(batch.codec, &batch.body)?;
    let mut cursor = Cursor::new(&body, 0);
    let _length = cursor.varint()?;
    let _attributes = cursor.u8()?;
    let _timestamp_delta = cursor.varlong()?;
    let _offset_delta = cursor.varint()?;
    let key = cursor.nullable()?.and_then(|range| body.get(range));
    let kind = key.and_then(|key| be(key, 2)).map(i16::from_be_bytes);
    kind.map(|kind| kind == 0)
        .ok_or(DecodeReason::Malformed("a control record has no type"))
}
