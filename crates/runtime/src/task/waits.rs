//! What partitions wait for before they can go on, such as a schema registry that does not answer.

use std::collections::BTreeMap;

use klamm_connect_api::TopicPartition;
use tokio::sync::watch;

/// What the partitions of a task wait for.
#[derive(Debug)]
pub(super) struct Waits {
    board: watch::Sender<Board>,
    changes: watch::Receiver<Board>,
}

#[derive(Debug, Default)]
struct Board {
    partitions: BTreeMap<TopicPartition, String>,
    /// What the places wait for where records are kept, by their names.
    keepers: BTreeMap<String, String>,
}

impl Waits {
    pub(super) fn new() -> Self {
        let (board, changes) = watch::channel(Board::default());
        Self { board, changes }
    }

    /// Where one partition says what it waits for.
    pub(super) fn of(&self, partition: &TopicPartition) -> PartitionWait {
        PartitionWait {
            board: self.board.clone(),
            partition: partition.clone(),
        }
    }

    /// Where a place that keeps records says what it waits for.
    pub(super) fn of_keeper(&self, name: &str) -> KeeperWait {
        KeeperWait {
            board: self.board.clone(),
            name: name.to_owned(),
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

    /// What the first partition waits for, and how many do; and what is waited for where records are kept.
    pub(super) fn text(&self) -> Option<String> {
        let board = self.board.borrow();
        let partition = board.partitions.first_key_value().map(|(partition, reason)| {
            let others = match board.partitions.len() {
                1 => String::new(),
                count => format!(" ({} more partitions wait)", count - 1),
            };
            format!("partition {partition} waits and tries again, no record is skipped: {reason}{others}")
        });
        let keepers = board
            .keepers
            .iter()
            .map(|(name, reason)| format!("records wait for {name}, none is skipped: {reason}"));
        let texts: Vec<String> = partition.into_iter().chain(keepers).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

/// Shows what a partition waits for, until it is dropped.
#[derive(Debug)]
pub(super) struct PartitionWait {
    board: watch::Sender<Board>,
    partition: TopicPartition,
}

impl PartitionWait {
    /// The partition waits for this.
    pub(super) fn set(&self, reason: String) {
        self.board.send_if_modified(|board| {
            let before = board.partitions.insert(self.partition.clone(), reason.clone());
            before != Some(reason)
        });
    }

    /// The partition goes on.
    pub(super) fn clear(&self) {
        self.board
            .send_if_modified(|board| board.partitions.remove(&self.partition).is_some());
    }
}

impl Drop for PartitionWait {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Shows what a place that keeps records waits for.
#[derive(Debug)]
pub(super) struct KeeperWait {
    board: watch::Sender<Board>,
    name: String,
}

impl KeeperWait {
    /// It waits for this.
    pub(super) fn set(&self, reason: String) {
        self.board.send_if_modified(|board| {
            let before = board.keepers.insert(self.name.clone(), reason.clone());
            before != Some(reason)
        });
    }

    /// It goes on.
    pub(super) fn clear(&self) {
        self.board
            .send_if_modified(|board| board.keepers.remove(&self.name).is_some());
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

        let queue = waits.of_keeper("dead letter queue `dlq`");
        queue.set("it is away".to_owned());
        waits.changed().await;
        assert_eq!(
            waits.text().unwrap(),
            "records wait for dead letter queue `dlq`, none is skipped: it is away"
        );
        queue.clear();
        waits.changed().await;
        assert_eq!(waits.text(), None);
    }
}
