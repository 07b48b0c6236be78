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
    /// What the dead letter queue waits for.
    queue: Option<String>,
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

    /// Where the dead letter queue says what it waits for.
    pub(super) fn of_queue(&self) -> QueueWait {
        QueueWait {
            board: self.board.clone(),
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

    /// What the first partition waits for, and how many do; and what the dead letter queue waits for.
    pub(super) fn text(&self) -> Option<String> {
        let board = self.board.borrow();
        let partition = board.partitions.first_key_value().map(|(partition, reason)| {
            let others = match board.partitions.len() {
                1 => String::new(),
                count => format!(" ({} more partitions wait)", count - 1),
            };
            format!("partition {partition} waits and tries again, no record is skipped: {reason}{others}")
        });
        let queue = board
            .queue
            .as_ref()
            .map(|reason| format!("failed records wait for their dead letter queue, none is skipped: {reason}"));
        let texts: Vec<String> = partition.into_iter().chain(queue).collect();
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

/// Shows what the dead letter queue waits for.
#[derive(Debug)]
pub(super) struct QueueWait {
    board: watch::Sender<Board>,
}

impl QueueWait {
    /// It waits for this.
    pub(super) fn set(&self, reason: String) {
        self.board.send_if_modified(|board| {
            let before = board.queue.replace(reason.clone());
            before != Some(reason)
        });
    }

    /// It goes on.
    pub(super) fn clear(&self) {
        self.board.send_if_modified(|board| board.queue.take().is_some());
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

        let queue = waits.of_queue();
        queue.set("`dlq` is away".to_owned());
        waits.changed().await;
        assert_eq!(
            waits.text().unwrap(),
            "failed records wait for their dead letter queue, none is skipped: `dlq` is away"
        );
        queue.clear();
        waits.changed().await;
        assert_eq!(waits.text(), None);
    }
}
