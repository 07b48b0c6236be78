//! Which offsets of a partition arrived and are not done: complete out of order, commit in order.

use std::collections::VecDeque;

use tokio::time::Instant;

/// The ledger of one assignment of a partition.
///
/// Only offsets that arrived count, so compaction holes and aborted records never hold a commit back.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Offsets from the oldest undone one on, done ones included. The first is never done.
    entries: VecDeque<Entry>,
    /// Ticket of the first entry.
    first: u64,
    /// What the reader reads next.
    position: i64,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    arrived: Instant,
    /// Routes that have not settled the record.
    pending: u32,
}

/// Names a record in its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// The oldest record that is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Oldest {
    pub(crate) offset: i64,
    pub(crate) arrived: Instant,
}

/// An offset came that is not above all before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OutOfOrder {
    pub(crate) expected: i64,
}

impl Ledger {
    pub(crate) fn new(position: i64) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            position,
        }
    }

    /// Notes a record that `routes` routes must settle; with none it is done at once.
    pub(crate) fn arrive(&mut self, offset: i64, routes: u32, now: Instant) -> Result<Ticket, OutOfOrder> {
        if offset < self.position {
            return Err(OutOfOrder {
                expected: self.position,
            });
        }
        self.position = offset + 1;
        let ticket = Ticket(self.first + self.entries.len() as u64);
        if routes > 0 || !self.entries.is_empty() {
            self.entries.push_back(Entry {
                offset,
                arrived: now,
                pending: routes,
            });
        }
        Ok(ticket)
    }

    /// The reader has come to `position`, past control, aborted and compacted records.
    pub(crate) fn advance(&mut self, position: i64) {
        self.position = self.position.max(position);
    }

    /// One route has settled the record. True if it was the last one.
    pub(crate) fn complete(&mut self, ticket: Ticket) -> bool {
        let entry = ticket
            .0
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| self.entries.get_mut(index))
            .filter(|entry| entry.pending > 0);
        let Some(entry) = entry else {
            debug_assert!(false, "a ticket is completed once per route");
            return false;
        };
        entry.pending -= 1;
        if entry.pending > 0 {
            return false;
        }
        while self.entries.front().is_some_and(|entry| entry.pending == 0) {
            self.entries.pop_front();
            self.first += 1;
        }
        true
    }

    /// The offset to read next if everything before it is done, and nothing after it.
    pub(crate) fn commit(&self) -> i64 {
        self.entries.front().map_or(self.position, |entry| entry.offset)
    }

    pub(crate) fn oldest(&self) -> Option<Oldest> {
        self.entries.front().map(|entry| Oldest {
            offset: entry.offset,
            arrived: entry.arrived,
        })
    }

    /// Records from the oldest undone one on, done ones included.
    pub(crate) fn window(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What is undone, by offset, with the routes that are missing.
    struct Naive {
        undone: BTreeMap<i64, u32>,
        position: i64,
    }

    impl Naive {
        fn commit(&self) -> i64 {
            self.undone.keys().next().copied().unwrap_or(self.position)
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Arrive {
            gap: i64,
            routes: u32,
        },
        Advance {
            by: i64,
        },
        /// Completes one route of some undone record.
        Complete {
            which: usize,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4_i64, 0..3_u32).prop_map(|(gap, routes)| Step::Arrive { gap, routes }),
            1 => (0..5_i64).prop_map(|by| Step::Advance { by }),
            3 => any::<usize>().prop_map(|which| Step::Complete { which }),
        ]
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_naive_model(start in 0..100_i64, steps in prop::collection::vec(step(), 0..200)) {
            let now = Instant::now();
            let mut ledger = Ledger::new(start);
            let mut naive = Naive { undone: BTreeMap::new(), position: start };
            let mut tickets: BTreeMap<i64, Ticket> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Arrive { gap, routes } => {
                        let offset = naive.position + gap;
                        let ticket = ledger.arrive(offset, routes, now).unwrap();
                        naive.position = offset + 1;
                        if routes > 0 {
                            naive.undone.insert(offset, routes);
                            tickets.insert(offset, ticket);
                        }
                    }
                    Step::Advance { by } => {
                        naive.position += by;
                        ledger.advance(naive.position);
                    }
                    Step::Complete { which } => {
                        let Some((&offset, missing)) = naive.undone.iter_mut().nth(which % tickets.len().max(1)) else {
                            continue;
                        };
                        *missing -= 1;
                        let is_done = *missing == 0;
                        prop_assert_eq!(ledger.complete(tickets[&offset]), is_done);
                        if is_done {
                            naive.undone.remove(&offset);
                            tickets.remove(&offset);
                        }
                    }
                }
                prop_assert_eq!(ledger.commit(), naive.commit());
                prop_assert_eq!(ledger.oldest().map(|oldest| oldest.offset), naive.undone.keys().next().copied());
                prop_assert!(ledger.window() >= naive.undone.len());
            }
        }
    }

    #[test]
    fn an_offset_that_goes_back_is_refused() {
        let mut ledger = Ledger::new(10);
        assert_eq!(ledger.arrive(9, 1, Instant::now()), Err(OutOfOrder { expected: 10 }));
        ledger.arrive(10, 1, Instant::now()).unwrap();
        assert_eq!(ledger.arrive(10, 1, Instant::now()), Err(OutOfOrder { expected: 11 }));
    }
}
