//! Kafka's `cooperative-sticky`: an even share for everybody, as little moved as that takes, and nothing handed over
//! before its owner gave it up (KIP-429).
//!
//! The shares need not be those that Java's assignor would give: only the leader's count, and any member can lead.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Claimant, Counts, Shares};
use crate::TopicPartition;

pub(super) fn share(members: &[&Claimant], counts: &Counts) -> Shares {
    let mut balance = Balance::new(members, counts);
    let kept = balance.keep(members, counts);
    balance.give_rest(counts, &kept);
    balance.even_out();
    let mut shares = balance.shares;
    hold_back(&mut shares, &kept, members);
    shares
}

/// Takes away what another member still has: it is given when that member joins again without it.
fn hold_back(shares: &mut Shares, kept: &Kept, members: &[&Claimant]) {
    let owned: HashSet<&TopicPartition> = members.iter().flat_map(|member| &member.claim.owned).collect();
    for (place, share) in shares.iter_mut().enumerate() {
        share.retain(|partition| kept.get(partition) == Some(&place) || !owned.contains(partition));
    }
}

/// Who may keep what he has, by place of the member.
type Kept = HashMap<TopicPartition, usize>;

/// Members by (number of partitions, place), the least loaded first.
type ByLoad = BTreeSet<(usize, usize)>;

/// Members are numbered by their place in the order of members.
struct Balance {
    shares: Shares,
    /// What each member was given in this round only: it moves before what the member already had.
    fresh: Shares,
    all: ByLoad,
    /// Topics that the same members want are of one class: what moves within it can move to any of its members.
    classes: Vec<ByLoad>,
    class_of: HashMap<Arc<str>, usize>,
    /// The classes that each member is in.
    memberships: Vec<Vec<usize>>,
}

impl Balance {
    fn new(members: &[&Claimant], counts: &Counts) -> Self {
        let mut takers_of: Vec<Vec<usize>> = Vec::new();
        let mut known: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut class_of = HashMap::new();
        for topic in counts.keys() {
            let wants = |place: &usize| members[*place].claim.topics.contains(topic);
            let takers: Vec<usize> = (0..members.len()).filter(wants).collect();
            if !takers.is_empty() {
                let class = *known.entry(takers.clone()).or_insert_with(|| {
                    takers_of.push(takers);
                    takers_of.len() - 1
                });
                class_of.insert(Arc::clone(topic), class);
            }
        }
        let mut memberships = vec![Vec::new(); members.len()];
        for (class, takers) in takers_of.iter().enumerate() {
            for place in takers {
                memberships[*place].push(class);
            }
        }
        let unloaded = |places: Vec<usize>| places.into_iter().map(|place| (0, place)).collect::<ByLoad>();
        Self {
            shares: vec![BTreeSet::new(); members.len()],
            fresh: vec![BTreeSet::new(); members.len()],
            all: unloaded((0..members.len()).collect()),
            classes: takers_of.into_iter().map(unloaded).collect(),
            class_of,
            memberships,
        }
    }

    /// Adds to or takes from a member's share, and keeps the members in order.
    fn change(&mut self, place: usize, change: impl FnOnce(&mut BTreeSet<TopicPartition>)) {
        let before = self.shares[place].len();
        change(&mut self.shares[place]);
        let after = self.shares[place].len();
        let classes = self.memberships[place].iter();
        let reorder = |order: &mut ByLoad| {
            order.remove(&(before, place));
            order.insert((after, place));
        };
        reorder(&mut self.all);
        for class in classes {
            reorder(&mut self.classes[*class]);
        }
    }

    /// Everybody keeps what he has of what he still wants. Of two claims the younger counts, of two of one generation
    /// neither: one of them is wrong, and both have to give the partition up.
    fn keep(&mut self, members: &[&Claimant], counts: &Counts) -> Kept {
        struct Best {
            generation: i32,
            place: usize,
            is_contested: bool,
        }
        let mut claims: HashMap<&TopicPartition, Best> = HashMap::new();
        for (place, member) in members.iter().enumerate() {
            let best = Best {
                generation: member.claim.generation.unwrap_or(-1),
                place,
                is_contested: false,
            };
            for partition in &member.claim.owned {
                match claims.get_mut(partition) {
                    Some(known) if known.generation > best.generation => {}
                    Some(known) if known.generation == best.generation => known.is_contested = true,
                    _ => drop(claims.insert(partition, Best { ..best })),
                }
            }
        }
        let is_wanted = |(partition, best): &(&TopicPartition, Best)| {
            let exists = counts
                .get(&partition.topic)
                .is_some_and(|count| (0..*count).contains(&partition.partition));
            exists && !best.is_contested && members[best.place].claim.topics.contains(&partition.topic)
        };
        let kept = claims.into_iter().filter(is_wanted);
        let kept: Kept = kept.map(|(partition, best)| (partition.clone(), best.place)).collect();
        for (partition, place) in &kept {
            self.change(*place, |share| _ = share.insert(partition.clone()));
        }
        kept
    }

    /// Gives what nobody keeps to those who have least, topics that few want first.
    fn give_rest(&mut self, counts: &Counts, kept: &Kept) {
        let mut topics: Vec<(usize, &Arc<str>, i32)> = counts
            .iter()
            .filter_map(|(topic, count)| Some((*self.class_of.get(topic)?, topic, *count)))
            .collect();
        topics.sort_by_key(|(class, topic, _)| (self.classes[*class].len(), *topic));
        for (class, topic, count) in topics {
            for index in 0..count {
                let partition = TopicPartition::new(Arc::clone(topic), index);
                if kept.contains_key(&partition) {
                    continue;
                }
                if let Some((_, place)) = self.classes[class].first().copied() {
                    self.fresh[place].insert(partition.clone());
                    self.change(place, |share| _ = share.insert(partition));
                }
            }
        }
    }

    /// Moves partitions from those who have most to those who have least, until no move makes it more even. Each move
    /// makes the sum of squares smaller, so this ends.
    fn even_out(&mut self) {
        while let Some((partition, from, to)) = self.best_move() {
            self.change(from, |share| _ = share.remove(&partition));
            self.fresh[from].remove(&partition);
            self.fresh[to].insert(partition.clone());
            self.change(to, |share| _ = share.insert(partition));
        }
    }

    fn best_move(&self) -> Option<(TopicPartition, usize, usize)> {
        self.all.iter().rev().find_map(|(load, from)| {
            let takers = self.memberships[*from]
                .iter()
                .filter_map(|class| Some((*self.classes[*class].first()?, *class)));
            // What is left needs two partitions less, or the move would only swap the two.
            let mut takers: Vec<_> = takers.filter(|((least, _), _)| least + 2 <= *load).collect();
            takers.sort_unstable();
            takers.into_iter().find_map(|((_, to), class)| {
                let is_of_class = |partition: &&TopicPartition| self.class_of.get(&partition.topic) == Some(&class);
                let movable = |share: &BTreeSet<TopicPartition>| share.iter().rev().find(is_of_class).cloned();
                let partition = movable(&self.fresh[*from]).or_else(|| movable(&self.shares[*from]))?;
                Some((partition, *from, to))
            })
        })
    }
}
