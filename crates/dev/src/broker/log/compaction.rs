//! Compaction by key: of each key the last record stays, and of a tombstone nothing after a while.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::super::batch::{self, Header};
use super::super::records;
use super::{Aborted, Log, Stored, bytes_of};

/// When a log is compacted and what goes, from the topic's settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompactionRules {
    pub(crate) min_dirty_ratio: f64,
    pub(crate) min_lag_ms: i64,
    pub(crate) max_lag_ms: i64,
    pub(crate) delete_retention_ms: i64,
}

impl Log {
    /// Whether enough was written since the last compaction.
    pub(crate) fn needs_compaction(&self, rules: &CompactionRules, now_ms: i64) -> bool {
        let cleaned_to = self.compacted_to.unwrap_or(self.start_offset);
        let end = self.compactable_end(rules, now_ms);
        let dirty = self.batches.range(self.index_of(cleaned_to)..);
        let dirty = dirty.take_while(|stored| stored.header.last_offset() < end);
        let (mut bytes, mut oldest) = (0_u64, i64::MAX);
        for stored in dirty {
            bytes = bytes.saturating_add(bytes_of(stored));
            oldest = oldest.min(stored.header.max_timestamp);
        }
        if bytes == 0 {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = bytes as f64 / self.size.max(1) as f64;
        ratio >= rules.min_dirty_ratio || now_ms.saturating_sub(oldest) >= rules.max_lag_ms
    }

    /// As Kafka leaves its newest segment alone, the newest batch stays as it is; so does what is not decided yet, and
    /// what is too young.
    fn compactable_end(&self, rules: &CompactionRules, now_ms: i64) -> i64 {
        let newest = self
            .batches
            .back()
            .map_or(self.end_offset, |back| back.header.base_offset);
        let young = self
            .batches
            .iter()
            .find(|stored| now_ms.saturating_sub(stored.header.max_timestamp) < rules.min_lag_ms)
            .map_or(i64::MAX, |stored| stored.header.base_offset);
        newest.min(young).min(self.last_stable_offset())
    }

    /// Compacts. Returns whether anything went.
    pub(crate) fn compact(&mut self, rules: &CompactionRules, now_ms: i64) -> bool {
        let end = self.compactable_end(rules, now_ms);
        let last = self.last_offsets();
        let mut kept = VecDeque::with_capacity(self.batches.len());
        let mut changed = false;
        for stored in std::mem::take(&mut self.batches) {
            if stored.header.is_control() || stored.header.last_offset() >= end {
                kept.push_back(stored);
                continue;
            }
            if is_aborted(&self.aborted, &stored.header) {
                changed = true;
                continue;
            }
            let stays = |offset: i64, key: &[u8], is_tombstone: bool, timestamp_ms: i64| {
                let is_last = last.get(key).is_none_or(|last| *last <= offset);
                let is_gone = is_tombstone && now_ms.saturating_sub(timestamp_ms) >= rules.delete_retention_ms;
                is_last && !is_gone
            };
            match thin(&stored, stays) {
                Thinned::Whole => kept.push_back(stored),
                Thinned::Less(less) => {
                    changed = true;
                    kept.push_back(less);
                }
                Thinned::Empty => changed = true,
            }
        }
        self.size = kept.iter().map(bytes_of).sum();
        self.batches = kept;
        // Nothing is left that they would hide.
        self.aborted.retain(|aborted| aborted.last_offset >= end);
        self.compacted_to = Some(end);
        changed
    }

    /// Of each key the offset of its last record that is not aborted.
    fn last_offsets(&self) -> HashMap<Box<[u8]>, i64> {
        let mut last = HashMap::new();
        let stable = self.last_stable_offset();
        for stored in &self.batches {
            let header = &stored.header;
            if header.is_control() || header.base_offset >= stable || is_aborted(&self.aborted, header) {
                continue;
            }
            let Ok(body) = records::expand(&stored.bytes, header) else {
                continue;
            };
            // What cannot be read stays, and says nothing of others.
            records::for_each(&body, header, |record| {
                if let Some(key) = record.key {
                    let offset = header.base_offset.saturating_add(i64::from(record.offset_delta));
                    last.insert(key.into(), offset);
                }
                true
            })
            .ok();
        }
        last
    }
}

fn is_aborted(aborted: &[Aborted], header: &Header) -> bool {
    header.is_transactional()
        && aborted.iter().any(|of| {
            of.producer_id == header.producer_id && (of.first_offset..=of.last_offset).contains(&header.base_offset)
        })
}

enum Thinned {
    Whole,
    Less(Stored),
    Empty,
}

fn thin(stored: &Stored, stays: impl Fn(i64, &[u8], bool, i64) -> bool) -> Thinned {
    let header = &stored.header;
    let Ok(body) = records::expand(&stored.bytes, header) else {
        return Thinned::Whole;
    };
    let (mut left, mut count) = (Vec::new(), 0_i32);
    let read = records::for_each(&body, header, |record| {
        let offset = header.base_offset.saturating_add(i64::from(record.offset_delta));
        let timestamp_ms = if header.has_log_append_time() {
            header.max_timestamp
        } else {
            header.base_timestamp.saturating_add(record.timestamp_delta)
        };
        if record
            .key
            .is_none_or(|key| stays(offset, key, record.is_tombstone, timestamp_ms))
        {
            left.extend_from_slice(record.raw);
            count = count.saturating_add(1);
        }
        true
    });
    if read.is_err() || count == header.records {
        return Thinned::Whole;
    }
    if count == 0 {
        return Thinned::Empty;
    }
    let rebuilt = batch::rebuild(&stored.bytes, header, count, &left).map(|bytes| bytes.freeze());
    match rebuilt.and_then(|bytes: Bytes| Header::parse(&bytes).ok().map(|header| Stored { header, bytes })) {
        Some(less) => Thinned::Less(less),
        None => Thinned::Whole,
    }
}
