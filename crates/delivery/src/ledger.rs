//! Which offsets of a partition arrived and are not done: complete out of order, commit in order.

use std::collections::VecDeque;
use std::ops::Range;

use klamm_connect_api::sink::RouteIndex;
use tokio::time::Instant;

/// Routes of one partition whose progress is told apart. Beyond them a record is done all the same, but what they have
/// settled is not in [`Progress`].
const TOLD_APART: usize = u64::BITS as usize;

/// Ranges of one route in [`Progress`]; those after them are left out.
const RANGES: usize = 1_024;

/// What the routes of a partition have settled beyond its committable offset: with it, who reads on from that offset
/// need not send a route again what it has. Leaving something out only means that it is sent again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// By route, in no order, each once and with at least one range.
    pub routes: Vec<RouteProgress>,
}

/// One route's part of [`Progress`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteProgress {
    /// The route; none stands for the dead letters of records that failed before they had one.
    pub route: Option<RouteIndex>,
    /// Offsets that the route has settled, or that are done on all of theirs: ascending, disjoint, none empty.
    pub done: Vec<Range<i64>>,
}

impl Progress {
    /// The offset after the last one that is settled.
    #[must_use]
    pub fn end(&self) -> Option<i64> {
        let ends = self.routes.iter().filter_map(|route| route.done.last());
        ends.map(|range| range.end).max()
    }
}

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
    /// The routes that are told apart; a place here is a bit of [`Pending::told`].
    ways: Vec<Way>,
    /// Another number whenever [`Ledger::progress`] may be another.
    revision: u64,
}

/// One route's side of a ledger.
#[derive(Debug)]
struct Way {
    route: Option<RouteIndex>,
    /// Settled before this assignment, from the position on.
    settled: VecDeque<Range<i64>>,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    arrived: Instant,
    /// Routes that have not settled the record.
    pending: Pending,
    /// Routes that it went to, of those that are told apart.
    routed: u64,
}

impl Entry {
    /// Whether this route need not get the record again. Not if it went elsewhere and is not done there: what has
    /// become of it may be decided anew, a conversion that failed may succeed.
    fn is_settled(&self, bit: Bit) -> bool {
        self.pending.is_done() || self.routed & bit.0 != 0 && self.pending.told & bit.0 == 0
    }
}

/// Routes that a record waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    told: u64,
    untold: u32,
    /// Routes that settled it before this assignment.
    had: u64,
}

impl Pending {
    /// It waits for this route, too.
    pub(crate) fn add(&mut self, bit: Bit) {
        match bit.0 {
            0 => self.untold += 1,
            told => self.told |= told,
        }
    }

    /// This route settled it before this assignment.
    pub(crate) fn add_settled(&mut self, bit: Bit) {
        self.had |= bit.0;
    }

    pub(crate) fn is_done(self) -> bool {
        self.told == 0 && self.untold == 0
    }

    /// False if it did not wait for it.
    fn remove(&mut self, bit: Bit) -> bool {
        let before = *self;
        match bit.0 {
            0 => self.untold = self.untold.saturating_sub(1),
            told => self.told &= !told,
        }
        *self != before
    }
}

/// A route as its partition's ledger knows it; zero if it is not told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bit(u64);

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
    /// Of a partition that is read from `position` on, with what was settled beyond it before.
    pub(crate) fn new(position: i64, settled: Progress) -> Self {
        let ways = settled.routes.into_iter().take(TOLD_APART).map(|route| {
            let mut end = position;
            let mut settled = VecDeque::with_capacity(route.done.len());
            for range in route.done {
                // What is not in order was not written by a ledger.
                if range.start < end || range.is_empty() {
                    break;
                }
                end = range.end;
                settled.push_back(range);
            }
            Way {
                route: route.route,
                settled,
            }
        });
        Self {
            entries: VecDeque::new(),
            first: 0,
            position,
            ways: ways.collect(),
            revision: 0,
        }
    }

    /// The route's bit; it gets one if there is one left.
    pub(crate) fn bit(&mut self, route: Option<RouteIndex>) -> Bit {
        let place = match self.ways.iter().position(|way| way.route == route) {
            Some(place) => place,
            None if self.ways.len() < TOLD_APART => {
                self.ways.push(Way {
                    route,
                    settled: VecDeque::new(),
                });
                self.ways.len() - 1
            }
            None => return Bit(0),
        };
        Bit(1 << place)
    }

    /// Whether there is anything to ask [`Ledger::is_settled`] for.
    pub(crate) fn resumes(&self) -> bool {
        self.ways.iter().any(|way| !way.settled.is_empty())
    }

    /// Whether the route settled this offset before this assignment. To be asked in the order of offsets, before the
    /// offset arrives.
    pub(crate) fn is_settled(&mut self, route: Option<RouteIndex>, offset: i64) -> bool {
        let way = self.ways.iter_mut().find(|way| way.route == route);
        let Some(way) = way.filter(|way| !way.settled.is_empty()) else {
            return false;
        };
        while way.settled.pop_front_if(|range| range.end <= offset).is_some() {}
        way.settled.front().is_some_and(|range| range.start <= offset)
    }

    /// Notes a record that these routes must settle; with none it is done at once.
    pub(crate) fn arrive(&mut self, offset: i64, pending: Pending, now: Instant) -> Result<Ticket, OutOfOrder> {
        if offset < self.position {
            return Err(OutOfOrder {
                expected: self.position,
            });
        }
        self.position = offset + 1;
        let ticket = Ticket(self.first + self.entries.len() as u64);
        if !pending.is_done() || !self.entries.is_empty() {
            self.entries.push_back(Entry {
                offset,
                arrived: now,
                pending,
                routed: pending.told | pending.had,
            });
            self.revision += u64::from(pending.is_done());
        }
        Ok(ticket)
    }

    /// The reader has come to `position`, past control, aborted and compacted records.
    pub(crate) fn advance(&mut self, position: i64) {
        self.position = self.position.max(position);
    }

    /// One route has settled the record. True if it was the last one.
    pub(crate) fn complete(&mut self, ticket: Ticket, bit: Bit) -> bool {
        let entry = ticket
            .0
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| self.entries.get_mut(index));
        let Some(entry) = entry.filter(|entry| !entry.pending.is_done()) else {
            debug_assert!(false, "a ticket is completed once per route");
            return false;
        };
        let has_waited = entry.pending.remove(bit);
        debug_assert!(has_waited, "a ticket is completed by the routes it arrived with");
        self.revision += 1;
        if !entry.pending.is_done() {
            return false;
        }
        while self.entries.pop_front_if(|entry| entry.pending.is_done()).is_some() {
            self.first += 1;
        }
        true
    }

    /// Forgets what arrived from `offset` on, none of it settled by a route: it will arrive again. Answers with how many
    /// records were undone, and how many leave the window.
    pub(crate) fn forget_from(&mut self, offset: i64) -> (usize, usize) {
        let (mut undone, mut entries) = (0, 0);
        while let Some(entry) = self.entries.pop_back_if(|entry| entry.offset >= offset) {
            undone += usize::from(!entry.pending.is_done());
            entries += 1;
        }
        self.position = self.position.min(offset);
        (undone, entries)
    }

    /// The offset to read next if everything before it is done, and nothing after it.
    pub(crate) fn commit(&self) -> i64 {
        self.entries.front().map_or(self.position, |entry| entry.offset)
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// What is settled beyond [`Ledger::commit`].
    pub(crate) fn progress(&self) -> Progress {
        let route = |(place, way): (usize, &Way)| {
            let done = self.done_beyond_commit(Bit(1 << place), way);
            (!done.is_empty()).then_some(RouteProgress { route: way.route, done })
        };
        Progress {
            routes: self.ways.iter().enumerate().filter_map(route).collect(),
        }
    }

    fn done_beyond_commit(&self, bit: Bit, way: &Way) -> Vec<Range<i64>> {
        let mut done: Vec<Range<i64>> = Vec::new();
        let mut goes_on = false;
        for entry in &self.entries {
            if !entry.is_settled(bit) {
                goes_on = false;
                continue;
            }
            let is_full = done.len() == RANGES;
            match done.last_mut() {
                // Over offsets between them, too: they hold nothing, or nothing that may be read.
                Some(range) if goes_on => range.end = entry.offset + 1,
                _ if is_full => return done,
                _ => done.push(entry.offset..entry.offset + 1),
            }
            goes_on = true;
        }
        for range in &way.settled {
            let range = range.start.max(self.position)..range.end;
            let is_full = done.len() == RANGES;
            match done.last_mut() {
                _ if range.is_empty() => {}
                Some(last) if last.end == range.start => last.end = range.end,
                _ if is_full => return done,
                _ => done.push(range),
            }
        }
        done
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
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// What is undone, by offset, with the routes that are missing.
    #[derive(Default)]
    struct Naive {
        undone: BTreeMap<i64, BTreeSet<usize>>,
        /// Where each record that was read went.
        read: BTreeMap<i64, BTreeSet<usize>>,
        position: i64,
    }

    impl Naive {
        fn commit(&self) -> i64 {
            self.undone.keys().next().copied().unwrap_or(self.position)
        }

        /// The route got it, or it is done.
        fn is_settled(&self, route: usize, offset: i64) -> bool {
            self.undone
                .get(&offset)
                .is_none_or(|missing| self.read[&offset].contains(&route) && !missing.contains(&route))
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Arrive {
            gap: i64,
            routes: BTreeSet<usize>,
        },
        Advance {
            by: i64,
        },
        /// Completes one route of some undone record.
        Complete {
            which: usize,
            route: usize,
        },
        /// Forgets what no route has settled, at the end.
        Forget,
    }

    fn step(routes: usize) -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4_i64, prop::collection::btree_set(0..routes, 0..3)).prop_map(|(gap, routes)| Step::Arrive { gap, routes }),
            1 => (0..5_i64).prop_map(|by| Step::Advance { by }),
            3 => any::<(usize, usize)>().prop_map(|(which, route)| Step::Complete { which, route }),
            1 => Just(Step::Forget),
        ]
    }

    fn pending(ledger: &mut Ledger, routes: &BTreeSet<usize>) -> Pending {
        let mut pending = Pending::default();
        for route in routes {
            pending.add(ledger.bit(Some(RouteIndex(*route))));
        }
        pending
    }

    fn holds(progress: &Progress, route: usize, offset: i64) -> bool {
        let of = progress.routes.iter().find(|of| of.route == Some(RouteIndex(route)));
        of.is_some_and(|of| of.done.iter().any(|range| range.contains(&offset)))
    }

    fn check(ledger: &Ledger, naive: &Naive) -> Result<(), TestCaseError> {
        prop_assert_eq!(ledger.commit(), naive.commit());
        prop_assert_eq!(
            ledger.oldest().map(|oldest| oldest.offset),
            naive.undone.keys().next().copied()
        );
        prop_assert!(ledger.window() >= naive.undone.len());
        Ok(())
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_naive_model(
            start in 0..100_i64,
            steps in prop_oneof![Just(3), Just(90)].prop_flat_map(|routes| prop::collection::vec(step(routes), 0..200)),
        ) {
            let now = Instant::now();
            let mut ledger = Ledger::new(start, Progress::default());
            let mut naive = Naive { position: start, ..Naive::default() };
            let mut tickets: BTreeMap<i64, Ticket> = BTreeMap::new();
            // One past the last record that a route has settled.
            let mut settled_to = start;
            for step in steps {
                match step {
                    Step::Arrive { gap, routes } => {
                        let offset = naive.position + gap;
                        let pending = pending(&mut ledger, &routes);
                        let ticket = ledger.arrive(offset, pending, now).unwrap();
                        naive.position = offset + 1;
                        naive.read.insert(offset, routes.clone());
                        if !routes.is_empty() {
                            naive.undone.insert(offset, routes);
                            tickets.insert(offset, ticket);
                        }
                    }
                    Step::Advance { by } => {
                        naive.position += by;
                        ledger.advance(naive.position);
                    }
                    Step::Forget => {
                        // What comes before the oldest undone record is committed.
                        let Some((&oldest, _)) = naive.undone.iter().next() else { continue };
                        let from = settled_to.max(oldest + 1);
                        let forgotten = naive.undone.split_off(&from).len();
                        tickets.split_off(&from);
                        naive.read.retain(|offset, _| *offset < from);
                        naive.position = naive.position.min(from);
                        let window = ledger.window();
                        let (undone, entries) = ledger.forget_from(from);
                        prop_assert_eq!((undone, entries), (forgotten, window - ledger.window()));
                    }
                    Step::Complete { which, route } => {
                        let Some((&offset, missing)) = naive.undone.iter_mut().nth(which % tickets.len().max(1)) else {
                            continue;
                        };
                        let Some(route) = missing.iter().copied().nth(route % missing.len()) else { continue };
                        missing.remove(&route);
                        settled_to = settled_to.max(offset + 1);
                        let is_done = missing.is_empty();
                        let bit = ledger.bit(Some(RouteIndex(route)));
                        prop_assert_eq!(ledger.complete(tickets[&offset], bit), is_done);
                        if is_done {
                            naive.undone.remove(&offset);
                            tickets.remove(&offset);
                        }
                    }
                }
                check(&ledger, &naive)?;
            }
            let progress = ledger.progress();
            let routes: Vec<usize> = ledger.ways.iter().map(|way| way.route.unwrap().0).collect();
            let again: Vec<i64> = naive.read.keys().copied().filter(|offset| *offset >= naive.commit()).collect();
            for offset in &again {
                for route in &routes {
                    let is_settled = naive.is_settled(*route, *offset);
                    prop_assert_eq!(holds(&progress, *route, *offset), is_settled, "route {} offset {}", route, offset);
                }
            }
            for route in &progress.routes {
                prop_assert!(route.done.iter().all(|range| range.start >= naive.commit() && range.end <= naive.position && !range.is_empty()));
                prop_assert!(route.done.is_sorted_by(|a, b| a.end < b.start));
            }

            // Read again from the commit on, wherever a record goes now: a route gets it unless it has it, or it is done.
            // In the middle nothing is forgotten.
            let mut second = Ledger::new(naive.commit(), progress.clone());
            prop_assert_eq!(&second.progress(), &progress);
            for (index, offset) in again.iter().copied().enumerate() {
                let asked = if index % 3 == 0 { routes.iter().copied().collect() } else { naive.read[&offset].clone() };
                let told: BTreeSet<usize> = asked.into_iter().filter(|route| routes.contains(route)).collect();
                let missing: BTreeSet<usize> = told.iter().copied().filter(|route| !second.is_settled(Some(RouteIndex(*route)), offset)).collect();
                let wanted: BTreeSet<usize> = told.iter().copied().filter(|route| !naive.is_settled(*route, offset)).collect();
                prop_assert_eq!(&missing, &wanted, "offset {}", offset);
                let mut pending = pending(&mut second, &missing);
                for route in told.difference(&missing) {
                    pending.add_settled(second.bit(Some(RouteIndex(*route))));
                }
                second.arrive(offset, pending, now).unwrap();
                if index != again.len() / 2 {
                    continue;
                }
                let progress = second.progress();
                for (other, offset) in again.iter().enumerate().filter(|(_, offset)| **offset >= second.commit()) {
                    // Of what was asked again, only what a route had counts, or what is done by now.
                    for route in routes.iter().filter(|route| other > index || naive.read[offset].contains(route)) {
                        prop_assert_eq!(holds(&progress, *route, *offset), naive.is_settled(*route, *offset), "route {} offset {}", route, offset);
                    }
                }
            }
        }
    }

    #[test]
    fn an_offset_that_goes_back_is_refused() {
        let now = Instant::now();
        let mut ledger = Ledger::new(10, Progress::default());
        let pending = pending(&mut ledger, &BTreeSet::from([0]));
        assert_eq!(ledger.arrive(9, pending, now), Err(OutOfOrder { expected: 10 }));
        ledger.arrive(10, pending, now).unwrap();
        assert_eq!(ledger.arrive(10, pending, now), Err(OutOfOrder { expected: 11 }));
    }

    #[test]
    fn a_record_that_waits_elsewhere_is_settled_for_no_other_route() {
        let now = Instant::now();
        let mut ledger = Ledger::new(10, Progress::default());
        // Its dead letter is on its way; the route has the next one.
        let letter = ledger.bit(None);
        let mut pending = Pending::default();
        pending.add(letter);
        ledger.arrive(10, pending, now).unwrap();
        let routed = ledger.bit(Some(RouteIndex(0)));
        let mut pending = Pending::default();
        pending.add(routed);
        let ticket = ledger.arrive(11, pending, now).unwrap();
        ledger.complete(ticket, routed);

        let mut again = Ledger::new(ledger.commit(), ledger.progress());
        assert!(!again.is_settled(Some(RouteIndex(0)), 10), "now it can be converted");
        assert!(again.is_settled(Some(RouteIndex(0)), 11));
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one range of offsets is meant")]
    fn progress_that_no_ledger_wrote_counts_as_far_as_it_is_in_order() {
        let done = |done: &[Range<i64>]| Progress {
            routes: vec![RouteProgress {
                route: None,
                done: done.to_vec(),
            }],
        };
        for (given, kept) in [
            (done(&[12..14, 20..21]), done(&[12..14, 20..21])),
            (done(&[12..14, 13..21]), done(&[12..14])),
            (done(&[9..14]), Progress::default()),
            (done(&[12..12, 14..15]), Progress::default()),
        ] {
            assert_eq!(Ledger::new(10, given).progress(), kept);
        }
    }
}
