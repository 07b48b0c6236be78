//! Batches: open ones that fill, and parts that are sent, retried and split.

use std::collections::HashMap;

use bytes::Bytes;
use klamm_connect_api::Origin;
use klamm_connect_api::Timestamp;
use klamm_connect_api::delivery::Ordering;
use klamm_connect_api::sink::{Encoded, Failure};
use tokio::time::Instant;

use crate::intake::size_bytes;
use crate::ledger::Ticket;

/// A record on its way to one route.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) origin: Origin,
    pub(crate) encoded: Encoded,
    /// For its dead letter.
    pub(crate) original: Option<Bytes>,
    pub(crate) ticket: Ticket,
    /// Index of the partition's entry in the actor.
    pub(crate) partition: usize,
    pub(crate) key_hash: Option<u64>,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) arrived: Instant,
}

impl Item {
    pub(crate) fn size_bytes(&self) -> usize {
        size_bytes(&self.encoded, self.original.as_ref())
    }
}

/// Names an open batch, so that a lane knows who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchId(pub(crate) u64);

/// A batch that fills. Its lanes are held from the first record on.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    pub(crate) id: BatchId,
    pub(crate) items: Vec<Item>,
    /// Upper bound of the payload's bytes.
    pub(crate) payload_bytes: usize,
    /// A record did not fit.
    pub(crate) is_full: bool,
    oldest: Option<Instant>,
}

impl OpenBatch {
    pub(crate) fn new(id: BatchId) -> Self {
        Self {
            id,
            items: Vec::new(),
            payload_bytes: 0,
            is_full: false,
            oldest: None,
        }
    }

    pub(crate) fn push(&mut self, item: Item, cost_bytes: usize) {
        self.oldest = Some(self.oldest.map_or(item.arrived, |oldest| oldest.min(item.arrived)));
        self.payload_bytes += cost_bytes;
        self.items.push(item);
    }

    /// When its oldest record came in.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.oldest
    }

    /// Takes the records out; the batch is empty and has a new name.
    pub(crate) fn take(&mut self, next: BatchId) -> Vec<Item> {
        std::mem::replace(self, Self::new(next)).items
    }

    /// Takes out the records of a partition. One of them may have been the oldest, or the largest: both bounds stay,
    /// which only makes the batch leave earlier or smaller.
    pub(crate) fn forget(&mut self, partition: usize) -> Vec<Item> {
        let forgotten = self.items.extract_if(.., |item| item.partition == partition).collect();
        if self.items.is_empty() {
            *self = Self::new(self.id);
        }
        forgotten
    }
}

/// A sealed batch, or what is left of one.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) route: usize,
    pub(crate) items: Vec<Item>,
    /// Calls that these records were part of and that count as attempts.
    pub(crate) attempts: u32,
    /// Delays in a row, for the backoff's exponent.
    pub(crate) delays: u32,
    pub(crate) stage: Stage,
    /// When the batch was first sent.
    pub(crate) first_call: Option<Instant>,
    /// What the last call came to.
    pub(crate) last_failure: Option<Failure>,
    /// Later pieces of the same lane, the next one last. They go when this part is settled.
    pub(crate) followers: Vec<Self>,
}

/// Where a part comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// As it was sealed, or what is left of it after a partial success.
    Whole,
    /// A piece of a batch that was split.
    Piece,
}

impl Part {
    pub(crate) fn sealed(route: usize, items: Vec<Item>) -> Self {
        Self {
            route,
            items,
            attempts: 0,
            delays: 0,
            stage: Stage::Whole,
            first_call: None,
            last_failure: None,
            followers: Vec::new(),
        }
    }

    fn piece(&self, items: Vec<Item>) -> Self {
        Self {
            route: self.route,
            items,
            attempts: self.attempts,
            delays: 0,
            stage: Stage::Piece,
            first_call: self.first_call,
            last_failure: self.last_failure.clone(),
            followers: Vec::new(),
        }
    }

    /// Splits a part into pieces: by partition, else between lanes, else a lane in half. Only the halves
    /// of one lane wait for each other; all others may go at the same time. A single record is a piece of its own.
    pub(crate) fn split(mut self, ordering: Ordering) -> Vec<Self> {
        if self.items.len() == 1 {
            self.stage = Stage::Piece;
            return vec![self];
        }
        let items = std::mem::take(&mut self.items);
        match divide(items, ordering) {
            Division::Independent(groups) => {
                debug_assert!(self.followers.is_empty(), "only pieces of a single lane have followers");
                groups.into_iter().map(|items| self.piece(items)).collect()
            }
            Division::OneLane(first, second) => {
                let mut next = self.piece(first);
                next.followers = std::mem::take(&mut self.followers);
                next.followers.push(self.piece(second));
                vec![next]
            }
        }
    }

    /// The part that may go when this one is settled.
    pub(crate) fn next_of_lane(&mut self) -> Option<Self> {
        let mut next = self.followers.pop()?;
        debug_assert!(next.followers.is_empty(), "a follower waits alone");
        next.followers = std::mem::take(&mut self.followers);
        Some(next)
    }
}

#[derive(Debug)]
enum Division {
    /// They share no lane.
    Independent(Vec<Vec<Item>>),
    /// In offset order.
    OneLane(Vec<Item>, Vec<Item>),
}

fn divide(mut items: Vec<Item>, ordering: Ordering) -> Division {
    if items.iter().any(|item| item.partition != items[0].partition) {
        // Stable: offset order stays.
        items.sort_by_key(|item| item.partition);
        let mut groups: Vec<Vec<Item>> = Vec::new();
        for item in items {
            match groups.last_mut() {
                Some(group) if group[0].partition == item.partition => group.push(item),
                _ => groups.push(vec![item]),
            }
        }
        return Division::Independent(groups);
    }
    let half = items.len() / 2;
    match ordering {
        Ordering::Partition => {
            let second = items.split_off(half);
            Division::OneLane(items, second)
        }
        Ordering::None => {
            let second = items.split_off(half);
            Division::Independent(vec![items, second])
        }
        Ordering::Key => divide_between_keys(items),
    }
}

/// Whole lanes, in the order of their first records, until the first group has half of the records.
fn divide_between_keys(mut items: Vec<Item>) -> Division {
    let half = items.len() / 2;
    let mut lane_sizes: Vec<usize> = Vec::new();
    let mut lane_of_key: HashMap<u64, usize> = HashMap::new();
    let lanes: Vec<usize> = items
        .iter()
        .map(|item| {
            let new = lane_sizes.len();
            let lane = item.key_hash.map_or(new, |key| *lane_of_key.entry(key).or_insert(new));
            if lane == new {
                lane_sizes.push(0);
            }
            lane_sizes[lane] += 1;
            lane
        })
        .collect();
    if lane_sizes.len() == 1 {
        let second = items.split_off(half);
        return Division::OneLane(items, second);
    }
    let mut lanes_in_first = 0;
    let mut records_in_first = 0;
    while lanes_in_first + 1 < lane_sizes.len() && records_in_first < half {
        records_in_first += lane_sizes[lanes_in_first];
        lanes_in_first += 1;
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (item, lane) in items.into_iter().zip(lanes) {
        if lane < lanes_in_first {
            first.push(item);
        } else {
            second.push(item);
        }
    }
    Division::Independent(vec![first, second])
}

#[cfg(test)]
pub(crate) mod tests {
    use klamm_connect_api::TopicPartition;

    use super::*;
    use crate::ledger::{Ledger, Pending, Progress};

    pub(crate) fn item(partition: usize, offset: i64, key_hash: Option<u64>) -> Item {
        let now = Instant::now();
        Item {
            origin: Origin {
                topic_partition: TopicPartition::new("orders", i32::try_from(partition).unwrap()),
                offset,
            },
            encoded: Encoded::from(Vec::new()),
            original: None,
            ticket: Ledger::new(offset, Progress::default())
                .arrive(offset, Pending::default(), now)
                .unwrap(),
            partition,
            key_hash,
            timestamp: None,
            arrived: now,
        }
    }

    pub(crate) fn part_of(items: Vec<Item>) -> Part {
        Part::sealed(0, items)
    }

    fn offsets(part: &Part) -> Vec<i64> {
        part.items.iter().map(|item| item.origin.offset).collect()
    }

    fn pieces(items: Vec<Item>, ordering: Ordering) -> Vec<Vec<i64>> {
        part_of(items).split(ordering).iter().map(offsets).collect()
    }

    #[test]
    fn a_batch_is_split_first_by_partition() {
        let items = vec![item(1, 5, None), item(0, 7, None), item(1, 6, None)];
        assert_eq!(pieces(items, Ordering::Partition), [vec![7], vec![5, 6]]);
    }

    #[test]
    fn keys_stay_together_and_may_go_in_parallel() {
        let keys = [Some(1), Some(2), Some(1), None, Some(3), Some(2)];
        let items = keys
            .into_iter()
            .zip(0..)
            .map(|(key, offset)| item(0, offset, key))
            .collect();
        assert_eq!(pieces(items, Ordering::Key), [vec![0, 1, 2, 5], vec![3, 4]]);
    }

    #[test]
    fn pieces_of_one_lane_follow_each_other_in_offset_order() {
        let items = (0..8).map(|offset| item(0, offset, Some(1))).collect();
        let mut parts = part_of(items).split(Ordering::Key);
        let mut seen = Vec::new();
        while let Some(mut part) = parts.pop() {
            assert!(parts.is_empty(), "one at a time");
            if part.items.len() > 1 {
                parts = part.split(Ordering::Key);
            } else {
                seen.extend(offsets(&part));
                parts.extend(part.next_of_lane());
            }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn without_order_the_halves_go_in_parallel() {
        let items = (0..5).map(|offset| item(0, offset, None)).collect();
        assert_eq!(pieces(items, Ordering::None), [vec![0, 1], vec![2, 3, 4]]);
    }
}
