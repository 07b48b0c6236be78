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
    encoded.size_bytes() + original.map_or(0, Bytes::len) + RECORD_OVERHEAD_BYTES
}

/// The partition was revoked or lost, the engine has stopped or failed, or an earlier push was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("partition {topic_partition} takes no more records: it was revoked, or delivery has ended")]
pub struct IntakeClosed {
    /// The partition.
    pub topic_partition: TopicPartition,
}

/// Why records were not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// No more records are taken in.
    #[error(transparent)]
    Closed(#[from] IntakeClosed),
    /// The worker's memory is short and the partition stands still, so what waited there was given back. Neither these
    /// records nor those from `position` on are held any more: they are to be pushed again, best once the partition
    /// moves ([`Intake::moved`]).
    #[error("read again from offset {position}: the records that waited were given back")]
    Rewound {
        /// The offset to read next.
        position: i64,
    },
}

/// Takes in the records of one assignment of one partition.
#[derive(Debug)]
pub struct Intake {
    pub(crate) handle: Arc<PartitionHandle>,
    pub(crate) commands: mpsc::Sender<Command>,
    /// Set while a chunk is on its way in: what a cancelled push held is a gap that no commit may pass.
    pub(crate) has_gap: bool,
    /// Rewinds that the reader knows of.
    pub(crate) rewinds: u64,
}

impl Intake {
    /// Takes in records, in offset order, once there is room for them. `position` is what the reader reads next,
    /// past these records and past control, aborted and filtered ones; it may come without records.
    ///
    /// # Errors
    /// The partition was revoked or lost, the engine has stopped or failed, or an earlier push was cancelled; or the
    /// reader has to go back.
    ///
    /// # Cancel safety
    /// Nothing is lost silently: if the future is dropped before it resolves, none of the records was taken in, and
    /// the intake is closed for good, so that nothing is ever committed past them.
    pub async fn push(&mut self, records: Vec<Delivery>, position: i64) -> Result<(), PushError> {
        if self.has_gap {
            return Err(self.closed().into());
        }
        self.has_gap = true;
        let room = Room {
            records: records.len(),
            bytes: records.iter().map(Delivery::size_bytes).sum(),
            window: records.len(),
        };
        let handle = Arc::clone(&self.handle);
        let reservation = match reserve(&handle, room, self.rewinds).await {
            Ok(reservation) => reservation,
            Err(Refused::Closed) => return Err(self.closed().into()),
            Err(Refused::Rewound) => return Err(self.go_back()),
        };
        let Ok(permit) = self.commands.reserve().await else {
            return Err(self.closed().into());
        };
        if handle.rewound(self.rewinds).is_some() {
            drop((permit, reservation));
            return Err(self.go_back());
        }
        reservation.keep();
        permit.send(Command::Records {
            handle: Arc::clone(&self.handle),
            records,
            room,
            position,
            rewinds: self.rewinds,
        });
        self.has_gap = false;
        Ok(())
    }

    /// Waits until records were given back, as [`PushError::Rewound`] tells who pushes, and answers with the offset to
    /// read next. A reader that has nothing to push has to wait for this, too.
    ///
    /// # Cancel safety
    /// Safe: it is told again until it was told.
    pub async fn rewound(&mut self) -> i64 {
        loop {
            if let Some(position) = self.take_rewind() {
                return position;
            }
            self.handle.rewinding().await;
        }
    }

    /// Waits, after a rewind, until a record is done or none is held any more: then it is worth reading on.
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub async fn moved(&mut self) {
        while !self.handle.has_moved() {
            self.handle.freed().await;
        }
    }

    /// None of the records was taken in, so there is no gap.
    fn go_back(&mut self) -> PushError {
        self.has_gap = false;
        match self.take_rewind() {
            Some(position) => PushError::Rewound { position },
            None => self.closed().into(),
        }
    }

    fn take_rewind(&mut self) -> Option<i64> {
        let (rewinds, position) = self.handle.rewound(self.rewinds)?;
        self.rewinds = rewinds;
        Some(position)
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

/// Why there is no room, and will be none.
enum Refused {
    Closed,
    Rewound,
}

async fn reserve(handle: &PartitionHandle, room: Room, rewinds: u64) -> Result<Reservation<'_>, Refused> {
    let is_first = loop {
        match handle.try_enter(room, rewinds) {
            Admission::First => break true,
            Admission::More => break false,
            Admission::Full => handle.freed().await,
            Admission::Closed => return Err(Refused::Closed),
            Admission::Rewound => return Err(Refused::Rewound),
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
                        return Err(Refused::Closed);
                    }
                    if handle.rewound(rewinds).is_some() {
                        return Err(Refused::Rewound);
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
    Ok(reservation)
}
