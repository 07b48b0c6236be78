//! Gives memory back that others want: records that wait in partitions that stand still are read again later.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::{Actor, Phase};
use crate::partition::Room;
use crate::status::count;

/// A partition in which no record was done for so long stands still.
const STANDS_STILL: Duration = Duration::from_secs(5);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

impl Actor {
    pub(super) fn reclaim(&mut self) {
        self.reclaim_at = self.now + LOOK;
        if self.has_failed || self.ending.is_some() {
            return;
        }
        let stands_still = |(_, partition): &(usize, &super::Partition)| {
            partition.phase == Phase::Running
                && partition.moved_at + STANDS_STILL <= self.now
                && partition.handle.memory().is_short()
        };
        let still: Vec<usize> = self
            .partitions
            .iter()
            .filter(stands_still)
            .map(|(index, _)| index)
            .collect();
        for index in still {
            self.rewind(index);
        }
    }

    /// Lets go of the records of a partition behind the last one that ever was in a batch, and has the reader go back. The
    /// oldest record stays, so that the partition moves as soon as its destination does.
    ///
    /// Nothing is sent twice for it: no route has been sent any of these records.
    fn rewind(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        let handle = Arc::clone(&partition.handle);
        let Some(oldest) = handle.ledger().oldest() else {
            return;
        };
        let position = partition.taken_to.max(oldest.offset) + 1;
        let (mut dropped, mut bytes) = (0, 0);
        for (queue, route) in partition.queues.iter_mut().zip(&mut self.routes) {
            let mut taken = Vec::new();
            queue.lanes.take_from(position, &mut taken);
            bytes += taken.iter().map(crate::batch::Item::size_bytes).sum::<usize>();
            route.items -= taken.len();
            dropped += taken.len();
        }
        if dropped == 0 {
            return;
        }
        let (records, window) = handle.ledger().forget_from(position);
        let freed = Room { records, bytes, window };
        partition.held.records -= freed.records;
        partition.held.bytes -= freed.bytes;
        partition.held.window -= freed.window;
        partition.rewinds += 1;
        handle.rewind(position, freed);
        count(&self.shared.rewound_records, dropped);
        let (connector, task) = (&*self.config.connector, self.config.task);
        debug!(connector, task, partition = %handle.topic_partition, position, records,
            "records that wait in a partition that stands still are given back, others need the memory");
    }
}
