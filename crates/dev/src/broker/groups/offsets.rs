//! What a group has committed, and what transactions will commit.

use std::collections::{BTreeMap, HashMap};

/// Where a group goes on in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) committed_ms: i64,
}

pub(crate) type TopicPartition = (String, i32);

#[derive(Debug, Default)]
pub(crate) struct Offsets {
    committed: BTreeMap<TopicPartition, Committed>,
    /// By producer id.
    pending: HashMap<i64, BTreeMap<TopicPartition, Committed>>,
}

impl Offsets {
    pub(crate) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    pub(crate) fn commit(&mut self, of: TopicPartition, committed: Committed) {
        self.committed.insert(of, committed);
    }

    /// To be committed when the producer's transaction is.
    pub(crate) fn add_pending(&mut self, producer_id: i64, of: TopicPartition, committed: Committed) {
        self.pending.entry(producer_id).or_default().insert(of, committed);
    }

    pub(crate) fn end_transaction(&mut self, producer_id: i64, commits: bool) {
        let pending = self.pending.remove(&producer_id).unwrap_or_default();
        if commits {
            self.committed.extend(pending);
        }
    }

    pub(crate) fn get(&self, of: &TopicPartition) -> Option<&Committed> {
        self.committed.get(of)
    }

    pub(crate) fn all(&self) -> &BTreeMap<TopicPartition, Committed> {
        &self.committed
    }

    /// Whether a transaction is going to change it.
    pub(crate) fn is_unstable(&self, of: &TopicPartition) -> bool {
        self.pending.values().any(|pending| pending.contains_key(of))
    }

    pub(crate) fn remove(&mut self, of: &TopicPartition) {
        self.committed.remove(of);
    }

    pub(crate) fn remove_topic(&mut self, topic: &str) {
        self.committed.retain(|(of, _), _| of != topic);
        for pending in self.pending.values_mut() {
            pending.retain(|(of, _), _| of != topic);
        }
    }
}
