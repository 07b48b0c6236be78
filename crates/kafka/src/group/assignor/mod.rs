//! How the leader of a classic group shares partitions out among its members.

mod sticky;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Assignor, TopicPartition};

pub(crate) use wire::decode_assignment;
pub(super) use wire::{decode_subscription, encode_assignment, encode_subscription};

/// What a member wants and has, as it tells the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) topics: BTreeSet<Arc<str>>,
    /// What it keeps through the rebalance. Empty for members that gave up everything (the eager protocol).
    pub(super) owned: BTreeSet<TopicPartition>,
    /// The generation that `owned` is from, if the member tells: of two claims the younger counts.
    pub(super) generation: Option<i32>,
    /// `client.rack`.
    pub(super) rack: Option<Arc<str>>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claimant {
    pub(super) member_id: String,
    pub(super) instance_id: Option<String>,
    pub(super) claim: Claim,
}

/// Number of partitions of each topic that exists.
pub(super) type Counts = BTreeMap<Arc<str>, i32>;
/// Partitions by member id; every member is there.
pub(super) type Assignments = BTreeMap<String, BTreeSet<TopicPartition>>;

/// Shares the partitions out. Each goes to one member that wants its topic, except those that a cooperative member has
/// to give up first: they go to nobody until its next join.
pub(super) fn assign(assignor: Assignor, members: &[Claimant], counts: &Counts) -> Assignments {
    // Kafka's order of members: those with an instance id first and by it, the others by member id.
    let mut members: Vec<&Claimant> = members.iter().collect();
    members.sort_by_key(|member| (member.instance_id.is_none(), &member.instance_id, &member.member_id));
    let shares = match assignor {
        Assignor::Range => range(&members, counts),
        Assignor::RoundRobin => round_robin(&members, counts),
        Assignor::CooperativeSticky => sticky::share(&members, counts),
    };
    let ids = members.iter().map(|member| member.member_id.clone());
    ids.zip(shares).collect()
}

type Shares = Vec<BTreeSet<TopicPartition>>;

/// Each topic by itself: its partitions in runs over the members that want it, the first members getting one more
/// where it does not divide evenly (Kafka's `RangeAssignor`, without racks).
fn range(members: &[&Claimant], counts: &Counts) -> Shares {
    let mut shares = vec![BTreeSet::new(); members.len()];
    for (topic, count) in counts {
        let wants = |member: &&Claimant| member.claim.topics.contains(topic);
        let takers: Vec<_> = shares
            .iter_mut()
            .zip(members)
            .filter(|(_, member)| wants(member))
            .collect();
        let Some(number) = i32::try_from(takers.len()).ok().filter(|number| *number > 0) else {
            continue;
        };
        let mut next = 0;
        for (place, (share, _)) in (0..number).zip(takers) {
            let length = count / number + i32::from(place < count % number);
            share.extend((next..next + length).map(|index| TopicPartition::new(Arc::clone(topic), index)));
            next += length;
        }
    }
    shares
}

/// All partitions in order of topic and index, each to the next member in turn that wants its topic (Kafka's
/// `RoundRobinAssignor`).
fn round_robin(members: &[&Claimant], counts: &Counts) -> Shares {
    let mut shares = vec![BTreeSet::new(); members.len()];
    let mut turn = 0;
    for (topic, count) in counts {
        if !members.iter().any(|member| member.claim.topics.contains(topic)) {
            continue;
        }
        let mut given = 0;
        while given < *count {
            let place = turn % members.len();
            turn = place + 1;
            if let (Some(member), Some(share)) = (members.get(place), shares.get_mut(place))
                && member.claim.topics.contains(topic)
            {
                share.insert(TopicPartition::new(Arc::clone(topic), given));
                given += 1;
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests;
