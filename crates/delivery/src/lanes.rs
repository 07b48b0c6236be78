//! The lanes of one partition on one route: which record may enter a batch now.
//!
//! One rule for all orderings: a batch takes records from lanes that nothing else holds, and holds them until its last
//! record of the lane is settled. A lane is the partition, a key in it, or the record itself.

use std::collections::{HashMap, VecDeque};

use klamm_connect_api::delivery::Ordering;

use crate::batch::{BatchId, Item};

/// Records of one partition that wait for one route.
#[derive(Debug)]
pub(crate) struct Lanes {
    kind: Kind,
    /// Records whose lane has not been looked at, in offset order.
    arrived: VecDeque<Item>,
}

#[derive(Debug)]
enum Kind {
    /// One lane.
    Partition(Hold),
    Key(KeyLanes),
    /// Every record is a lane, so nothing ever waits.
    None,
}

/// Who holds a lane: records of one batch that are not settled.
#[derive(Debug, Default)]
struct Hold {
    records: usize,
    batch: Option<BatchId>,
}

impl Hold {
    fn admits(&self, batch: BatchId) -> bool {
        self.records == 0 || self.batch == Some(batch)
    }

    fn add(&mut self, batch: BatchId) {
        self.records += 1;
        self.batch = Some(batch);
    }

    /// True if the lane is free now.
    fn settle(&mut self) -> bool {
        debug_assert!(self.records > 0, "a record is settled once");
        self.records = self.records.saturating_sub(1);
        self.records == 0
    }
}

/// Only lanes that are held or have parked records are here. Of one lane, parked records are older than arrived ones:
/// a record is parked only when all older ones of its lane are parked or held, so each moves at most once.
#[derive(Debug, Default)]
struct KeyLanes {
    lanes: HashMap<u64, KeyLane>,
    /// Keys of lanes that have parked records and became free.
    free: VecDeque<u64>,
}

#[derive(Debug, Default)]
struct KeyLane {
    hold: Hold,
    parked: VecDeque<Item>,
    is_listed_free: bool,
}

/// Where the next record is.
#[derive(Debug, Clone, Copy)]
enum Next {
    Arrived,
    Parked(u64),
}

impl Lanes {
    pub(crate) fn new(ordering: Ordering) -> Self {
        Self {
            kind: match ordering {
                Ordering::Partition => Kind::Partition(Hold::default()),
                Ordering::Key => Kind::Key(KeyLanes::default()),
                Ordering::None => Kind::None,
            },
            arrived: VecDeque::new(),
        }
    }

    pub(crate) fn arrive(&mut self, item: Item) {
        self.arrived.push_back(item);
    }

    /// The next record that the batch may take. A record whose lane is held is set aside on the way.
    fn next(&mut self, batch: BatchId) -> Option<Next> {
        match &mut self.kind {
            Kind::None => (!self.arrived.is_empty()).then_some(Next::Arrived),
            Kind::Partition(hold) => (!self.arrived.is_empty() && hold.admits(batch)).then_some(Next::Arrived),
            Kind::Key(keys) => keys.next(&mut self.arrived, batch),
        }
    }

    /// Whether the batch could take a record now.
    pub(crate) fn has_next(&mut self, batch: BatchId) -> bool {
        self.next(batch).is_some()
    }

    /// Takes the next record if `admit` agrees.
    pub(crate) fn take_if(&mut self, batch: BatchId, admit: impl FnOnce(&Item) -> bool) -> Option<Item> {
        let next = self.next(batch)?;
        match (&mut self.kind, next) {
            (Kind::Key(keys), Next::Parked(key)) => {
                let lane = keys.lanes.get_mut(&key)?;
                let item = lane.parked.pop_front_if(|item| admit(item))?;
                lane.hold.add(batch);
                Some(item)
            }
            (kind, _) => {
                let item = self.arrived.pop_front_if(|item| admit(item))?;
                match kind {
                    Kind::None => {}
                    Kind::Partition(hold) => hold.add(batch),
                    Kind::Key(keys) => {
                        if let Some(key) = item.key_hash {
                            keys.lanes.entry(key).or_default().hold.add(batch);
                        }
                    }
                }
                Some(item)
            }
        }
    }

    /// A record that was taken is settled. True if that freed a lane.
    pub(crate) fn settle(&mut self, key_hash: Option<u64>) -> bool {
        match &mut self.kind {
            Kind::None => false,
            Kind::Partition(hold) => hold.settle(),
            Kind::Key(keys) => key_hash.is_some_and(|key| keys.settle(key)),
        }
    }

    /// Takes out the records that wait from `offset` on.
    pub(crate) fn take_from(&mut self, offset: i64, taken: &mut Vec<Item>) {
        take_from(&mut self.arrived, offset, taken);
        if let Kind::Key(KeyLanes { lanes, free }) = &mut self.kind {
            lanes.retain(|_, lane| {
                take_from(&mut lane.parked, offset, taken);
                lane.hold.records > 0 || !lane.parked.is_empty()
            });
            free.retain(|key| lanes.contains_key(key));
        }
    }

    /// Takes out everything that waits, and frees all lanes.
    pub(crate) fn clear(&mut self, waiting: &mut Vec<Item>) {
        waiting.extend(std::mem::take(&mut self.arrived));
        match &mut self.kind {
            Kind::Partition(hold) => *hold = Hold::default(),
            Kind::Key(keys) => {
                waiting.extend(std::mem::take(keys).lanes.into_values().flat_map(|lane| lane.parked));
            }
            Kind::None => {}
        }
    }
}

fn take_from(waiting: &mut VecDeque<Item>, offset: i64, taken: &mut Vec<Item>) {
    taken.extend(std::iter::from_fn(|| {
        waiting.pop_back_if(|item| item.origin.offset >= offset)
    }));
}

impl KeyLanes {
    fn next(&mut self, arrived: &mut VecDeque<Item>, batch: BatchId) -> Option<Next> {
        while let Some(&key) = self.free.front() {
            let lane = self.lanes.get_mut(&key);
            if let Some(lane) = lane {
                if !lane.parked.is_empty() && lane.hold.admits(batch) {
                    return Some(Next::Parked(key));
                }
                // Held again, or emptied: `settle` lists it again when it has to.
                lane.is_listed_free = false;
            }
            self.free.pop_front();
        }
        while let Some(item) = arrived.front() {
            let held = item.key_hash.and_then(|key| self.lanes.get_mut(&key));
            match held {
                Some(lane) if !lane.parked.is_empty() || !lane.hold.admits(batch) => {
                    lane.parked.extend(arrived.pop_front());
                }
                _ => return Some(Next::Arrived),
            }
        }
        None
    }

    fn settle(&mut self, key: u64) -> bool {
        let Some(lane) = self.lanes.get_mut(&key) else {
            debug_assert!(false, "a held lane is known");
            return false;
        };
        if !lane.hold.settle() {
            return false;
        }
        if lane.parked.is_empty() {
            self.lanes.remove(&key);
        } else if !lane.is_listed_free {
            lane.is_listed_free = true;
            self.free.push_back(key);
        }
        true
    }
}
