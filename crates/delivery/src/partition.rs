//! The part of a partition's state that its intake, the actor and readers of the status share.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use klamm_connect_api::TopicPartition;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::{Committable, PartitionLimits};
use crate::ledger::Ledger;
use crate::memory::MemoryBudget;
use crate::status::PartitionStatus;

/// One assignment of one partition.
#[derive(Debug)]
pub(crate) struct PartitionHandle {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) epoch: u64,
    /// Set by the actor alone.
    pub(crate) slot: OnceLock<Slot>,
    /// An assignment that was never revoked.
    replaces: Mutex<Option<Arc<Self>>>,
    limits: PartitionLimits,
    memory: Arc<dyn MemoryBudget>,
    /// Written by the actor alone, read when it is committed.
    ledger: Mutex<Ledger>,
    state: Mutex<State>,
    freed: Notify,
    rewound: Notify,
}

/// Where the actor keeps its part of the state. Created when the first chunk comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Index of its entry.
    Entry(usize),
    /// It was given back before a chunk came.
    GivenBack,
}

/// Held for a few lines at a time, never across an await.
#[derive(Debug)]
struct State {
    is_closed: bool,
    /// Undone records, from the reservation of their room on.
    records: usize,
    bytes: usize,
    /// Records from the oldest undone one on, done ones included.
    window: usize,
    /// What the broker has acknowledged: the offset, and the revision of its ledger.
    confirmed: Option<(i64, u64)>,
    rewinds: Rewinds,
}

/// How often the actor let go of records that are to be read again.
#[derive(Debug, Default)]
struct Rewinds {
    count: u64,
    /// Where the last one went.
    position: i64,
    /// A record was done since.
    has_moved: bool,
}

/// Room that a chunk of records takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) window: usize,
}

/// Answer to a wish for room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Room is taken, and nothing else was held.
    First,
    /// Room is taken.
    More,
    Full,
    Closed,
    /// The reader has to go back first.
    Rewound,
}

impl PartitionHandle {
    pub(crate) fn new(
        topic_partition: TopicPartition,
        epoch: u64,
        ledger: Ledger,
        limits: PartitionLimits,
        memory: Arc<dyn MemoryBudget>,
        replaces: Option<Arc<Self>>,
    ) -> Self {
        Self {
            topic_partition,
            epoch,
            slot: OnceLock::new(),
            replaces: Mutex::new(replaces),
            limits,
            memory,
            ledger: Mutex::new(ledger),
            state: Mutex::new(State {
                is_closed: false,
                records: 0,
                bytes: 0,
                window: 0,
                confirmed: None,
                rewinds: Rewinds::default(),
            }),
            freed: Notify::new(),
            rewound: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held for one chunk or one outcome, never across an await.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The assignment that this one takes the place of, once.
    pub(crate) fn replaced(&self) -> Option<Arc<Self>> {
        self.replaces.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes room in the partition; the worker's memory is a second step.
    pub(crate) fn try_enter(&self, room: Room, rewinds: u64) -> Admission {
        let mut state = self.state();
        if state.is_closed {
            return Admission::Closed;
        }
        if state.rewinds.count != rewinds {
            return Admission::Rewound;
        }
        let is_first = state.records == 0;
        let fits = state.records + room.records <= self.limits.buffer_records
            && state.bytes + room.bytes <= self.limits.buffer_bytes
            && state.window + room.window <= self.limits.window_records;
        if !is_first && !fits {
            return Admission::Full;
        }
        state.records += room.records;
        state.bytes += room.bytes;
        state.window += room.window;
        if is_first { Admission::First } else { Admission::More }
    }

    /// Whether nothing but `room` is held.
    pub(crate) fn holds_only(&self, room: Room) -> bool {
        self.state().records == room.records
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Records from `position` on are given back to the reader, with their room: what it has read since is void.
    pub(crate) fn rewind(&self, position: i64, room: Room) {
        {
            let rewinds = &mut self.state().rewinds;
            rewinds.count += 1;
            rewinds.position = position;
            rewinds.has_moved = false;
        }
        // Afterwards: whoever waits for the room must see that it is void.
        self.release(room);
        self.rewound.notify_one();
    }

    /// A record was done.
    pub(crate) fn moved(&self) {
        self.state().rewinds.has_moved = true;
    }

    /// How often that happened, and where the last one went, if it happened more often than `seen`.
    pub(crate) fn rewound(&self, seen: u64) -> Option<(u64, i64)> {
        let rewinds = &self.state().rewinds;
        (rewinds.count != seen).then_some((rewinds.count, rewinds.position))
    }

    /// Waits until [`PartitionHandle::rewound`] may have another answer.
    pub(crate) async fn rewinding(&self) {
        self.rewound.notified().await;
    }

    /// Whether a record was done since the last rewind, or none is held.
    pub(crate) fn has_moved(&self) -> bool {
        let state = self.state();
        state.is_closed || state.records == 0 || state.rewinds.has_moved
    }

    /// Gives back room that was taken without memory.
    pub(crate) fn leave(&self, room: Room) {
        let mut state = self.state();
        state.records -= room.records;
        state.bytes -= room.bytes;
        state.window -= room.window;
        drop(state);
        self.freed.notify_one();
    }

    /// Gives back room and its memory.
    pub(crate) fn release(&self, room: Room) {
        if room != Room::default() {
            self.leave(room);
            self.memory.release(room.bytes);
        }
    }

    /// Takes bytes whether or not there is room: answers come when they come. What is read next waits for them.
    pub(crate) fn take_over(&self, bytes: usize) {
        self.state().bytes += bytes;
        self.memory.acquire_over(bytes);
    }

    /// Waits until room was given back or the intake was closed since the last wait.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    pub(crate) fn memory(&self) -> &dyn MemoryBudget {
        &*self.memory
    }

    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.freed.notify_one();
    }

    /// What may be committed, if the broker has not acknowledged it yet.
    pub(crate) fn committable(&self) -> Option<Committable> {
        let confirmed = self.state().confirmed;
        let ledger = self.ledger();
        let (offset, revision) = (ledger.commit(), ledger.revision());
        (confirmed != Some((offset, revision))).then(|| Committable {
            topic_partition: self.topic_partition.clone(),
            epoch: self.epoch,
            offset,
            progress: ledger.progress(),
            revision,
        })
    }

    /// Everything before it is done.
    pub(crate) fn commit(&self) -> i64 {
        self.ledger().commit()
    }

    pub(crate) fn confirm(&self, offset: i64, revision: u64) {
        self.state().confirmed = Some((offset, revision));
    }

    pub(crate) fn status(&self, now: Instant) -> PartitionStatus {
        let (committable, oldest) = {
            let ledger = self.ledger();
            (ledger.commit(), ledger.oldest())
        };
        let state = self.state();
        PartitionStatus {
            topic_partition: self.topic_partition.clone(),
            epoch: self.epoch,
            committable,
            oldest_undone: oldest.map(|oldest| oldest.offset),
            oldest_undone_age: oldest.map(|oldest| now.saturating_duration_since(oldest.arrived)),
            buffered_records: state.records,
            buffered_bytes: state.bytes,
        }
    }
}

/// Whatever is still held when the last owner goes, the worker gets back.
impl Drop for PartitionHandle {
    fn drop(&mut self) {
        let bytes = self.state().bytes;
        self.memory.release(bytes);
    }
}
