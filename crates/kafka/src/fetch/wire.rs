//! What the broker remembers of a fetch session, and the next request of it (KIP-227).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchResponse;
use uuid::Uuid;

use crate::TopicPartition;
use crate::error::code_of;

/// A partition as the broker is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) topic_id: Option<Uuid>,
}

/// A partition of the session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) ask: Ask,
    /// The reader's ticket at that time: an answer for another one is stale.
    pub(super) ticket: u64,
    /// When the partition was served last; the broker begins with those that waited longest.
    pub(super) turn: u64,
    /// The broker remembers something else, or nothing.
    is_news: bool,
    /// The broker remembers the partition.
    is_known: bool,
}

/// The session as it shall be, and what of that the broker does not know yet. Its work grows with what changes only.
#[derive(Debug, Default)]
pub(super) struct Wire {
    id: i32,
    /// 0 starts a new session, which also ends the one with `id`.
    epoch: i32,
    held: HashMap<TopicPartition, Held>,
    /// Partitions with news, perhaps more than once.
    news: Vec<TopicPartition>,
    /// What the broker remembers and shall forget, by the id it knows.
    gone: HashSet<(TopicPartition, Option<Uuid>)>,
}

/// A request without what depends on the negotiated version.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    pub(super) asks: Vec<(TopicPartition, Ask)>,
    pub(super) forgotten: Vec<(TopicPartition, Option<Uuid>)>,
    /// All partitions that the answer may carry, for bounding it.
    pub(super) partitions: usize,
    pub(super) max_wait: Duration,
}

impl Plan {
    /// A request outside of any session.
    pub(super) fn sessionless(wanted: Vec<(TopicPartition, Ask)>, max_wait: Duration) -> Self {
        Self {
            session_id: 0,
            session_epoch: -1,
            partitions: wanted.len(),
            asks: wanted,
            forgotten: Vec::new(),
            max_wait,
        }
    }
}

impl Wire {
    /// The partition as the request in flight has it, or the last one had.
    pub(super) fn held(&self, partition: &TopicPartition) -> Option<&Held> {
        self.held.get(partition)
    }

    /// Whether the session holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// From the next request on the session holds the partition so.
    pub(super) fn hold(&mut self, partition: &TopicPartition, ask: Ask, ticket: u64, turn: u64) {
        let mut held = Held {
            ask,
            ticket,
            turn,
            is_news: true,
            is_known: false,
        };
        match self.held.get_mut(partition) {
            Some(old) if old.ask == ask => {
                (old.ticket, old.turn) = (ticket, turn);
                return;
            }
            Some(old) if old.ask.topic_id == ask.topic_id => held.is_known = old.is_known,
            Some(old) if old.is_known => {
                self.gone.insert((partition.clone(), old.ask.topic_id));
            }
            Some(_) | None => {}
        }
        // Perhaps it comes back before the broker was told to forget it.
        held.is_known |= self.gone.remove(&(partition.clone(), ask.topic_id));
        self.held.insert(partition.clone(), held);
        self.news.push(partition.clone());
    }

    /// From the next request on the session does not hold the partition.
    pub(super) fn release(&mut self, partition: &TopicPartition) {
        if let Some(old) = self.held.remove(partition)
            && old.is_known
        {
            self.gone.insert((partition.clone(), old.ask.topic_id));
        }
    }

    /// The next request of the session: only what changed since the last.
    pub(super) fn plan(&mut self, max_wait: Duration) -> Plan {
        let news = std::mem::take(&mut self.news);
        let gone = std::mem::take(&mut self.gone);
        let mut plan = Plan {
            session_id: self.id,
            session_epoch: self.epoch,
            asks: Vec::new(),
            forgotten: Vec::new(),
            partitions: self.held.len(),
            max_wait,
        };
        if self.epoch == 0 {
            let mut all: Vec<_> = self.held.iter_mut().collect();
            all.sort_unstable_by_key(|(_, held)| held.turn);
            for (partition, held) in all {
                (held.is_news, held.is_known) = (false, true);
                plan.asks.push((partition.clone(), held.ask));
            }
            return plan;
        }
        for partition in news {
            if let Some(held) = self.held.get_mut(&partition).filter(|held| held.is_news) {
                (held.is_news, held.is_known) = (false, true);
                plan.asks.push((partition, held.ask));
            }
        }
        plan.forgotten = gone.into_iter().collect();
        plan
    }

    /// Takes note of the answer; an error means that the answer carries nothing.
    pub(super) fn answered(&mut self, response: &FetchResponse) -> Result<(), ResponseError> {
        match code_of(response.error_code) {
            None if response.session_id == 0 => {
                // The broker has no room for the session: every request names everything.
                (self.id, self.epoch) = (0, 0);
                Ok(())
            }
            None => {
                self.id = response.session_id;
                self.epoch = self.epoch.checked_add(1).unwrap_or(1);
                Ok(())
            }
            Some(ResponseError::FetchSessionIdNotFound) => {
                (self.id, self.epoch) = (0, 0);
                Err(ResponseError::FetchSessionIdNotFound)
            }
            Some(code) => {
                self.epoch = 0;
                Err(code)
            }
        }
    }

    /// The answer never came: what the broker remembers is unknown.
    pub(super) fn lost(&mut self) {
        self.epoch = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ask(offset: i64) -> Ask {
        Ask {
            offset,
            leader_epoch: 0,
            topic_id: None,
        }
    }

    fn names(asks: &[(TopicPartition, Ask)]) -> Vec<(i32, i64)> {
        asks.iter()
            .map(|(partition, ask)| (partition.partition, ask.offset))
            .collect()
    }

    #[test]
    fn a_session_sends_only_what_changed() {
        let wait = Duration::from_millis(1);
        let [a, b] = [0, 1].map(|index| TopicPartition::new("t", index));
        let created = FetchResponse::default().with_session_id(7);
        let mut wire = Wire::default();

        wire.hold(&b, ask(1), 0, 2);
        wire.hold(&a, ask(1), 0, 1);
        let plan = wire.plan(wait);
        assert_eq!(
            (plan.session_id, plan.session_epoch, names(&plan.asks)),
            (0, 0, vec![(0, 1), (1, 1)]),
            "whoever waited longest comes first"
        );
        wire.answered(&created).unwrap();

        wire.hold(&a, ask(1), 5, 1);
        wire.hold(&b, ask(5), 0, 3);
        let plan = wire.plan(wait);
        assert_eq!(
            (plan.session_id, plan.session_epoch, names(&plan.asks)),
            (7, 1, vec![(1, 5)]),
            "b moved on"
        );
        assert!(plan.forgotten.is_empty());
        assert_eq!(wire.held(&a).unwrap().ticket, 5, "a new ticket needs no request");
        wire.answered(&created).unwrap();

        wire.release(&a);
        let plan = wire.plan(wait);
        assert_eq!(
            (plan.session_epoch, names(&plan.asks), plan.forgotten),
            (2, vec![], vec![(a.clone(), None)])
        );
        wire.answered(&created).unwrap();

        wire.hold(&a, ask(1), 0, 4);
        let plan = wire.plan(wait);
        assert_eq!(names(&plan.asks), [(0, 1)], "a comes back with its offset");
        wire.lost();
        wire.release(&a);
        let plan = wire.plan(wait);
        assert_eq!(
            (plan.session_id, plan.session_epoch, names(&plan.asks)),
            (7, 0, vec![(1, 5)]),
            "a new session"
        );
        assert!(plan.forgotten.is_empty());

        let gone = FetchResponse::default().with_error_code(ResponseError::FetchSessionIdNotFound.code());
        wire.answered(&gone).unwrap_err();
        let plan = wire.plan(wait);
        assert_eq!((plan.session_id, plan.session_epoch, plan.asks.len()), (0, 0, 1));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Hold(i32, i64, u128),
        Release(i32),
        Request,
        Fail,
        Evict,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_i32, 0..3_i64, 1..3_u128).prop_map(|(p, offset, id)| Step::Hold(p, offset, id)),
            2 => (0..4_i32).prop_map(Step::Release),
            3 => Just(Step::Request),
            1 => Just(Step::Fail),
            1 => Just(Step::Evict),
        ]
    }

    proptest! {
        /// After every request a broker that follows KIP-227 remembers exactly what the session shall hold.
        #[test]
        fn the_broker_always_knows_what_is_held(steps in prop::collection::vec(step(), 1..80)) {
            let mut wire = Wire::default();
            // By topic id, as a broker keeps them; and what we hold, by name.
            let mut broker: BTreeMap<(Option<Uuid>, i32), i64> = BTreeMap::new();
            let mut wanted: BTreeMap<i32, (i64, Option<Uuid>)> = BTreeMap::new();
            let mut turn = 0;
            for step in steps {
                match step {
                    Step::Hold(index, offset, id) => {
                        turn += 1;
                        let topic_id = Some(Uuid::from_u128(id));
                        let ask = Ask { offset, leader_epoch: 0, topic_id };
                        wire.hold(&TopicPartition::new("t", index), ask, 0, turn);
                        wanted.insert(index, (offset, topic_id));
                    }
                    Step::Release(index) => {
                        wire.release(&TopicPartition::new("t", index));
                        wanted.remove(&index);
                    }
                    Step::Fail => {
                        wire.plan(Duration::ZERO);
                        wire.lost();
                    }
                    Step::Evict => {
                        wire.plan(Duration::ZERO);
                        let gone = FetchResponse::default()
                            .with_error_code(ResponseError::FetchSessionIdNotFound.code());
                        wire.answered(&gone).unwrap_err();
                    }
                    Step::Request => {
                        let plan = wire.plan(Duration::ZERO);
                        if plan.session_epoch == 0 {
                            broker.clear();
                        }
                        for (partition, ask) in &plan.asks {
                            broker.insert((ask.topic_id, partition.partition), ask.offset);
                        }
                        // A broker adds first and forgets then.
                        for (partition, topic_id) in &plan.forgotten {
                            let forgotten = broker.remove(&(*topic_id, partition.partition));
                            prop_assert!(forgotten.is_some(), "{partition} was not known");
                        }
                        wire.answered(&FetchResponse::default().with_session_id(7)).unwrap();
                        let held: BTreeMap<_, _> = wanted
                            .iter()
                            .map(|(index, (offset, topic_id))| ((*topic_id, *index), *offset))
                            .collect();
                        prop_assert_eq!(&broker, &held);
                    }
                }
            }
        }
    }
}
