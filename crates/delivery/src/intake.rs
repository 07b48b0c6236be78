//! How records come in.

use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::sink::{Encoded, RouteIndex};
use klamm_connect_api::{Origin, Timestamp, TopicPartition};
use smallvec::SmallVec;
use tokio::sync::mpsc;

use crate::actor::Command;
use crate::partition::{Admission, PartitionHandle, Room};

/// Where one record goes, with its piece of the payload for each route. Most records go to one.
pub type Destinations = SmallVec<[(RouteIndex, Encoded); 1]>;

/// Memory that a record takes beside its encoded bytes, per route, in bytes.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 128;

/// One record to deliver.
#[derive(Debug)]
pub struct Delivery {
    /// Where it was consumed from. Its topic-partition is the intake's.
    pub origin: Origin,
    /// Its timestamp, for `delivery.record.max.age.ms`.
    pub timestamp: Option<Timestamp>,
    /// Hash of its key, for `delivery.ordering=key`; none if it has no key, and it is then ordered with nothing.
    pub key_hash: Option<u64>,
    /// Where it goes, each route at most once. Empty without a `dead_letter`: filtered or skipped before, done at once.
    pub routes: Destinations,
    /// The record as it came, for the dead letters of routes under [`ErrorPolicy::DeadLetter`]; opaque here. Needed if
    /// one of its routes has that policy, and held as long as the record is undone.
    ///
    /// [`ErrorPolicy::DeadLetter`]: klamm_connect_api::delivery::ErrorPolicy::DeadLetter
    pub original: Option<Bytes>,
    /// The record failed before delivery: its complete dead letter, opaque here. It is done when that is acknowledged.
    pub dead_letter: Option<Bytes>,
}

impl Delivery {
    /// Memory that it takes as long as it is undone.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let original = self.original.as_ref();
        let routes = self.routes.iter().map(|(_, encoded)| size_bytes(encoded, original));
        let letter = self
            .dead_letter
            .as_ref()
            .map(|letter| letter.len() + RECORD_OVERHEAD_BYTES);
        routes.sum::<usize>() + letter.unwrap_or_default()
    }
}

/// Routes share the bytes of an original; it counts for each all the same, so that each can let go of it by itself.
pub(crate) fn size_bytes(encoded: &Encoded, original: Option<&Bytes>) -> usize {
    encoded.bytes.len() + original.map_or(0, Bytes::len) + RECORD_OVERHEAD_BYTES
}

/// The partition was revoked or lost, the engine has stopped or failed, or an earlier push was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("partition {topic_partition} takes no more records: it was revoked, or delivery has ended")]
pub struct IntakeClosed {
    /// The partition.
    pub topic_partition: TopicPartition,
}

/// Takes in the records of one assignment of one partition.
#[derive(Debug)]
pub struct Intake {
    pub(crate) handle: Arc<PartitionHandle>,
    pub(crate) commands: mpsc::Sender<Command>,
    /// Set while a chunk is on its way in: what a cancelled push held is a gap that no commit may pass.
    pub(crate) has_gap: bool,
}

impl Intake {
    /// Takes in records, in offset order, once there is room for them. `position` is what the reader reads next,
    /// past these records and past control, aborted and filtered ones; it may come without records.
    ///
    /// # Errors
    /// The partition was revoked or lost, the engine has stopped or failed, or an earlier push was cancelled.
    ///
    /// # Cancel safety
    /// Nothing is lost silently: if the future is dropped before it resolves, none of the records was taken in, and
    /// the intake is closed for good, so that nothing is ever committed past them.
    pub async fn push(&mut self, records: Vec<Delivery>, position: i64) -> Result<(), IntakeClosed> {
        if self.has_gap {
            return Err(self.closed());
        }
        self.has_gap = true;
        let room = Room {
            records: records.len(),
            bytes: records.iter().map(Delivery::size_bytes).sum(),
            window: records.len(),
        };
        let Some(reservation) = reserve(&self.handle, room).await else {
            return Err(self.closed());
        };
        let Ok(permit) = self.commands.reserve().await else {
            return Err(self.closed());
        };
        reservation.keep();
        permit.send(Command::Records {
            handle: Arc::clone(&self.handle),
            records,
            room,
            position,
        });
        self.has_gap = false;
        Ok(())
    }

    /// The partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.handle.topic_partition
    }

    /// The offset before which everything is done.
    #[must_use]
    pub fn committable(&self) -> i64 {
        self.handle.commit()
    }

    /// Epoch of the assignment.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.handle.epoch
    }

    fn closed(&self) -> IntakeClosed {
        IntakeClosed {
            topic_partition: self.handle.topic_partition.clone(),
        }
    }
}

/// Room in the partition and memory of the worker; given back when dropped.
struct Reservation<'a> {
    handle: &'a PartitionHandle,
    room: Room,
    has_memory: bool,
    is_kept: bool,
}

impl Reservation<'_> {
    /// The room now belongs to the records.
    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        match (self.is_kept, self.has_memory) {
            (true, _) => {}
            (false, true) => self.handle.release(self.room),
            (false, false) => self.handle.leave(self.room),
        }
    }
}

/// None if the intake was closed meanwhile.
async fn reserve(handle: &PartitionHandle, room: Room) -> Option<Reservation<'_>> {
    let is_first = loop {
        match handle.try_enter(room) {
            Admission::First => break true,
            Admission::More => break false,
            Admission::Full => handle.freed().await,
            Admission::Closed => return None,
        }
    };
    let mut reservation = Reservation {
        handle,
        room,
        has_memory: false,
        is_kept: false,
    };
    let memory = handle.memory();
    if is_first {
        if !memory.try_acquire(room.bytes) {
            memory.acquire_over(room.bytes);
        }
    } else if !memory.try_acquire(room.bytes) {
        let mut acquired = memory.acquire(room.bytes);
        loop {
            tokio::select! {
                biased;
                () = &mut acquired => break,
                () = handle.freed() => {
                    if handle.is_closed() {
                        return None;
                    }
                    // The others were settled while this chunk waited: it is now the one that a partition may hold.
                    if handle.holds_only(room) {
                        memory.acquire_over(room.bytes);
                        break;
                    }
                }
            }
        }
    }
    reservation.has_memory = true;
    Some(reservation)
}
