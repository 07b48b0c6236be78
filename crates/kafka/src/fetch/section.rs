//! What one partition got out of one response.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::LeaderEpochs;
use super::budget::Reservation;
use crate::records::{AbortedTransaction, Records, batch_epochs};
use crate::{AssignmentEpoch, IsolationLevel, TopicPartition};

/// What one partition got out of one response: undecoded batches, and where the partition stands.
#[derive(Debug)]
pub struct FetchedSection {
    /// Where the records come from.
    pub partition: TopicPartition,
    /// The assignment that it was asked for.
    pub epoch: AssignmentEpoch,
    /// One past the last record that all in-sync replicas have.
    pub high_watermark: i64,
    /// One past the last record that no open transaction holds back.
    pub last_stable_offset: i64,
    /// The first offset that still exists.
    pub log_start_offset: i64,
    /// Id of the broker that sent it: the leader, or a replica nearby (KIP-392).
    pub node: i32,
    pub(super) start_offset: i64,
    /// Leader epoch of the last batch.
    pub(super) last_epoch: Option<i32>,
    pub(super) next_offset: i64,
    pub(super) records: Bytes,
    pub(super) aborted: Vec<AbortedTransaction>,
    pub(super) isolation: IsolationLevel,
    pub(super) check_crcs: bool,
    pub(super) reservation: Reservation,
    pub(super) share: Option<Share>,
}

impl FetchedSection {
    /// The offset that was asked for; earlier records are skipped.
    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// Where to read on when everything in the section is done: past control batches, aborted records and holes.
    ///
    /// Committed, it lets the lag reach 0.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Size of the undecoded batches, which is what the section is charged with.
    pub fn len_bytes(&self) -> usize {
        self.records.len()
    }

    /// Decodes record by record, on the caller's thread. Keys, values and headers are slices that keep the section's
    /// bytes alive (or those of a decompressed batch).
    pub fn records(&self) -> Records {
        Records::new(
            self.partition.clone(),
            self.records.clone(),
            self.start_offset,
            self.isolation,
            &self.aborted,
            self.check_crcs,
        )
    }

    /// Leader epoch of the section's last record, if the broker writes epochs.
    pub fn last_leader_epoch(&self) -> Option<i32> {
        self.last_epoch
    }

    /// Tells which epochs the records were written in; walks the batch headers only.
    pub(super) fn note_epochs(&self, epochs: &LeaderEpochs) {
        let mut last = None;
        for (first, epoch) in batch_epochs(&self.records) {
            if last != Some(epoch) {
                epochs.note(first.max(self.start_offset), epoch);
                last = Some(epoch);
            }
        }
    }

    /// Takes the charge over, for records that live longer than the section; what is left is charged with nothing.
    pub fn take_reservation(&mut self) -> Reservation {
        let held = self.reservation.bytes();
        self.reservation.split(held)
    }

    /// Whether most of the response around this section is no longer needed.
    pub(super) fn is_mostly_alone(&self) -> bool {
        self.share
            .as_ref()
            .is_some_and(|share| share.response.live.load(Ordering::Relaxed) * 2 < share.response.total)
    }

    /// Lets go of the response by copying the section out of it.
    pub(super) fn copy_out(&mut self) {
        if self.share.is_some() {
            self.records = Bytes::copy_from_slice(&self.records);
            self.share = None;
        }
    }
}

/// A response whose sections share one buffer.
#[derive(Debug)]
pub(super) struct Response {
    total: usize,
    live: AtomicUsize,
}

/// One section's part of a response.
#[derive(Debug)]
pub(super) struct Share {
    response: Arc<Response>,
    bytes: usize,
}

impl Response {
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            live: AtomicUsize::new(0),
        })
    }

    pub(super) fn share(self: &Arc<Self>, bytes: usize) -> Share {
        self.live.fetch_add(bytes, Ordering::Relaxed);
        Share {
            response: Arc::clone(self),
            bytes,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.response.live.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
