//! What partitions wait for before they can go on, such as a schema registry that does not answer.

use std::collections::BTreeMap;

use klamm_connect_api::TopicPartition;
use tokio::sync::watch;

/// What the partitions of a task wait for.
#[derive(Debug)]
pub(super) struct Waits {
    board: watch::Sender<BTreeMap<TopicPartition, String>>,
    changes: watch::Receiver<BTreeMap<TopicPartition, String>>,
}

impl Waits {
    pub(super) fn new() -> Self {
        let (board, changes) = watch::channel(BTreeMap::new());
        Self { board, changes }
    }

    /// Where one partition says what it waits for.
    pub(super) fn of(&self, partition: &TopicPartition) -> PartitionWait {
        PartitionWait {
            board: self.board.clone(),
            partition: partition.clone(),
        }
    }

    /// Waits until a partition starts or ends to wait.
    ///
    /// # Cancel safety
    /// Safe: a change that was not returned is returned next time.
    pub(super) async fn changed(&mut self) {
        // Never an error: the other end is held here too.
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What the first of them waits for, and how many there are.
    pub(super) fn text(&self) -> Option<String> {
        let board = self.board.borrow();
        let (partition, reason) = board.first_key_value()?;
        let others = match board.len() {
            1 => String::new(),
            count => format!(" ({} more partitions wait)", count - 1),
        };
        Some(format!(
            "partition {partition} waits and tries again, no record is skipped: {reason}{others}"
        ))
    }
}

/// Shows what a partition waits for, until it is dropped.
#[derive(Debug)]
pub(super) struct PartitionWait {
    board: watch::Sender<BTreeMap<TopicPartition, String>>,
    partition: TopicPartition,
}

impl PartitionWait {
    /// The partition waits for this.
    pub(super) fn set(&self, reason: String) {
        self.board.send_if_modified(|board| {
            let before = board.insert(self.partition.clone(), reason.clone());
            before != Some(reason)
        });
    }

    /// The partition goes on.
    pub(super) fn clear(&self) {
        self.board
            .send_if_modified(|board| board.remove(&self.partition).is_some());
    }
}

impl Drop for PartitionWait {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_status_says_what_is_waited_for_until_it_is_over() {
        let mut waits = Waits::new();
        let (first, second) = (TopicPartition::new("a", 0), TopicPartition::new("a", 1));
        let (one, other) = (waits.of(&first), waits.of(&second));
        assert_eq!(waits.text(), None);
        other.set("registry away".to_owned());
        waits.changed().await;
        one.set("registry away".to_owned());
        waits.changed().await;
        assert_eq!(
            waits.text().unwrap(),
            "partition a-0 waits and tries again, no record is skipped: registry away (1 more partitions wait)"
        );
        one.clear();
        waits.changed().await;
        drop(other);
        waits.changed().await;
        assert_eq!(waits.text(), None);
    }
}
