//! The assignors of the broker for groups by KIP-848.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uuid::Uuid;

use super::consumer::{Assignment, each};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Assignor {
    /// Partitions by the numbers, topic by topic: the same to the same members as long as nobody comes or goes.
    Range,
    /// As many to each as to any other, and no more moves than that takes.
    Uniform,
}

/// A member as the assignors see it.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) id: String,
    /// What it is sorted by.
    pub(crate) order: String,
    /// Topics with the number of their partitions.
    pub(crate) topics: BTreeMap<Uuid, i32>,
    /// What it is to have so far.
    pub(crate) has: Assignment,
}

impl Assignor {
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        match name {
            "range" => Some(Self::Range),
            "uniform" => Some(Self::Uniform),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Uniform => "uniform",
        }
    }

    pub(crate) fn assign(self, subscribers: &[Subscriber]) -> BTreeMap<String, Assignment> {
        match self {
            Self::Range => range(subscribers),
            Self::Uniform => uniform(subscribers),
        }
    }
}

fn topics(subscribers: &[Subscriber]) -> BTreeMap<Uuid, i32> {
    subscribers
        .iter()
        .flat_map(|subscriber| subscriber.topics.clone())
        .collect()
}

fn range(subscribers: &[Subscriber]) -> BTreeMap<String, Assignment> {
    let mut assigned: BTreeMap<String, Assignment> = subscribers
        .iter()
        .map(|subscriber| (subscriber.id.clone(), Assignment::new()))
        .collect();
    for (topic, partitions) in topics(subscribers) {
        let mut takers: Vec<_> = subscribers
            .iter()
            .filter(|taker| taker.topics.contains_key(&topic))
            .collect();
        takers.sort_by(|a, b| a.order.cmp(&b.order));
        let mut left = i32::try_from(takers.len()).unwrap_or(i32::MAX);
        let mut next = 0;
        for taker in takers {
            // The first ones get one more when it does not divide.
            let share = (partitions - next + left - 1).checked_div(left).unwrap_or(0);
            let own: BTreeSet<i32> = (next..next.saturating_add(share).min(partitions)).collect();
            next = next.saturating_add(share).min(partitions);
            left -= 1;
            if let (false, Some(assignment)) = (own.is_empty(), assigned.get_mut(&taker.id)) {
                assignment.insert(topic, own);
            }
        }
    }
    assigned
}

fn uniform(subscribers: &[Subscriber]) -> BTreeMap<String, Assignment> {
    let all = topics(subscribers);
    let mut taken = BTreeSet::new();
    let mut own: Vec<BTreeSet<(Uuid, i32)>> = Vec::with_capacity(subscribers.len());
    for subscriber in subscribers {
        let stays =
            |(topic, partition): &(Uuid, i32)| subscriber.topics.get(topic).is_some_and(|count| partition < count);
        own.push(
            each(&subscriber.has)
                .filter(stays)
                .filter(|of| taken.insert(*of))
                .collect(),
        );
    }
    for (topic, count) in &all {
        for partition in 0..*count {
            if taken.contains(&(*topic, partition)) {
                continue;
            }
            let takers = (0..subscribers.len()).filter(|at| wants(subscribers, *at, *topic));
            let least = takers.min_by_key(|at| own.get(*at).map_or(usize::MAX, BTreeSet::len));
            if let Some(own) = least.and_then(|at| own.get_mut(at)) {
                own.insert((*topic, partition));
            }
        }
    }
    while balance_one(subscribers, &mut own) {}
    let mut assigned = BTreeMap::new();
    for (subscriber, own) in subscribers.iter().zip(own) {
        let mut assignment = Assignment::new();
        for (topic, partition) in own {
            assignment.entry(topic).or_default().insert(partition);
        }
        assigned.insert(subscriber.id.clone(), assignment);
    }
    assigned
}

fn wants(subscribers: &[Subscriber], at: usize, topic: Uuid) -> bool {
    subscribers
        .get(at)
        .is_some_and(|subscriber| subscriber.topics.contains_key(&topic))
}

/// Takes one partition from a member to one that has at least two less, by way of others if they want different topics.
/// Every time the sum of the squares gets smaller, so there is an end.
fn balance_one(subscribers: &[Subscriber], own: &mut [BTreeSet<(Uuid, i32)>]) -> bool {
    let mut order: Vec<(usize, usize)> = own.iter().map(BTreeSet::len).zip(0..).collect();
    order.sort_unstable();
    let most = order.last().map_or(0, |(most, _)| *most);
    let receivers = order.iter().take_while(|(has, _)| has.saturating_add(2) <= most);
    for (has, receiver) in receivers {
        let Some(steps) = way_to(*receiver, has.saturating_add(2), subscribers, own) else {
            continue;
        };
        for step in steps {
            if let Some(own) = own.get_mut(step.from) {
                own.remove(&step.partition);
            }
            if let Some(own) = own.get_mut(step.to) {
                own.insert(step.partition);
            }
        }
        return true;
    }
    false
}

/// A partition that one member gives to another.
#[derive(Clone, Copy, Debug)]
struct Step {
    from: usize,
    partition: (Uuid, i32),
    to: usize,
}

/// Who gives what to whom so that one with at least `enough` has one less, and the receiver one more.
fn way_to(
    receiver: usize,
    enough: usize,
    subscribers: &[Subscriber],
    own: &[BTreeSet<(Uuid, i32)>],
) -> Option<Vec<Step>> {
    // For each member that was met: what it would give to whom.
    let mut gives: BTreeMap<usize, Step> = BTreeMap::new();
    let mut queue = VecDeque::from([receiver]);
    while let Some(to) = queue.pop_front() {
        for (from, has) in own.iter().enumerate() {
            if from == receiver || gives.contains_key(&from) {
                continue;
            }
            let Some(partition) = has.iter().rev().find(|(topic, _)| wants(subscribers, to, *topic)) else {
                continue;
            };
            let partition = *partition;
            gives.insert(from, Step { from, partition, to });
            if has.len() >= enough {
                let mut steps = Vec::new();
                let mut at = from;
                while let Some(step) = gives.get(&at) {
                    steps.push(*step);
                    at = step.to;
                }
                return Some(steps);
            }
            queue.push_back(from);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::consumer::contains;
    use super::*;

    fn subscriber(id: &str, topics: &[(u128, i32)]) -> Subscriber {
        Subscriber {
            id: id.to_owned(),
            order: id.to_owned(),
            topics: topics
                .iter()
                .map(|(id, count)| (Uuid::from_u128(*id), *count))
                .collect(),
            has: Assignment::new(),
        }
    }

    fn counts(assigned: &BTreeMap<String, Assignment>) -> Vec<usize> {
        assigned.values().map(|assignment| each(assignment).count()).collect()
    }

    #[test]
    fn range_gives_neighbours_to_the_same_member() {
        let assigned = Assignor::Range.assign(&[subscriber("a", &[(1, 5)]), subscriber("b", &[(1, 5)])]);
        assert_eq!(each(&assigned["a"]).map(|(_, p)| p).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(each(&assigned["b"]).map(|(_, p)| p).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn uniform_moves_no_more_than_it_must() {
        let mut a = subscriber("a", &[(1, 7)]);
        let first = Assignor::Uniform.assign(std::slice::from_ref(&a));
        assert_eq!(counts(&first), [7]);
        a.has = first["a"].clone();
        let second = Assignor::Uniform.assign(&[a.clone(), subscriber("b", &[(1, 7)])]);
        assert_eq!(counts(&second), [4, 3]);
        assert!(each(&second["a"]).all(|(topic, partition)| contains(&a.has, topic, partition)));
    }

    #[test]
    fn uniform_respects_who_wants_what() {
        let subscribers = [
            subscriber("a", &[(1, 4)]),
            subscriber("b", &[(1, 4), (2, 4)]),
            subscriber("c", &[(2, 4), (3, 1)]),
        ];
        let assigned = Assignor::Uniform.assign(&subscribers);
        assert_eq!(counts(&assigned).iter().sum::<usize>(), 9);
        assert!(
            counts(&assigned).iter().all(|count| *count == 3),
            "{:?}",
            counts(&assigned)
        );
    }
}
