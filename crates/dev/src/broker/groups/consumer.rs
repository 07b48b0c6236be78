//! A group by KIP-848: members say what they want and own, the broker says what they get.
//!
//! Three epochs: of the group, which every change of membership or topics raises; of the target assignment, which
//! follows at the next heartbeat; and of each member, which reaches the target's once it gave back what is no longer
//! its own. A partition is given to a member when nobody else holds it, and held until its owner says that it let go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::ResponseError;
use regex::Regex;
use tokio::time::Instant;
use uuid::Uuid;

use super::assignor::{Assignor, Subscriber};
use super::classic::Client;

#[cfg(test)]
mod tests;

const MAX_MEMBERS: usize = 10_000;
/// A member's last heartbeat.
const LEAVES: i32 = -1;
/// A static member's last heartbeat before it comes back (KIP-345).
const LEAVES_FOR_A_WHILE: i32 = -2;

pub(crate) type Assignment = BTreeMap<Uuid, BTreeSet<i32>>;

/// What the group sees of the topics.
pub(crate) trait Topics {
    /// Changes with every topic that is made, deleted or grown.
    fn version(&self) -> u64;
    fn names(&self) -> Vec<String>;
    fn partitions_of(&self, name: &str) -> Option<(Uuid, i32)>;
}

#[derive(Clone, Debug)]
pub(crate) struct Beat {
    pub(crate) client: Client,
    pub(crate) member_id: String,
    pub(crate) epoch: i32,
    pub(crate) instance_id: Option<String>,
    pub(crate) rack: Option<String>,
    pub(crate) rebalance_timeout: Option<Duration>,
    pub(crate) topics: Option<BTreeSet<String>>,
    pub(crate) regex: Option<String>,
    pub(crate) assignor: Option<String>,
    pub(crate) owned: Option<Assignment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BeatAnswer {
    pub(crate) member_id: String,
    pub(crate) epoch: i32,
    /// `None`: as it was.
    pub(crate) assignment: Option<Assignment>,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) client: Client,
    pub(crate) instance_id: Option<String>,
    pub(crate) rack: Option<String>,
    pub(crate) epoch: i32,
    pub(crate) topics: BTreeSet<String>,
    pub(crate) regex: Option<String>,
    /// What it may read.
    pub(crate) assigned: Assignment,
    previous_epoch: i32,
    assignor: Option<Assignor>,
    pattern: Option<Regex>,
    rebalance_timeout: Duration,
    /// What it has to give back, and until when.
    revoking: Assignment,
    revoke_until: Option<Instant>,
    /// What it was told to have.
    told: Assignment,
    expires: Instant,
    /// A static member that will come back.
    is_away: bool,
}

impl Member {
    fn holds(&self, topic: Uuid, partition: i32) -> bool {
        contains(&self.assigned, topic, partition) || contains(&self.revoking, topic, partition)
    }

    fn subscription(&self, topics: &impl Topics) -> BTreeMap<String, (Uuid, i32)> {
        let matching = self.pattern.iter().flat_map(|pattern| {
            let names = topics.names().into_iter();
            names.filter(|name| pattern.is_match(name))
        });
        let names = self.topics.iter().cloned().chain(matching);
        names
            .filter_map(|name| topics.partitions_of(&name).map(|of| (name, of)))
            .collect()
    }
}

/// Why a heartbeat was refused.
pub(crate) type Refused = (ResponseError, String);

#[derive(Debug, Default)]
pub(crate) struct ConsumerGroup {
    pub(crate) epoch: i32,
    pub(crate) target_epoch: i32,
    members: BTreeMap<String, Member>,
    target: BTreeMap<String, Assignment>,
    seen: BTreeMap<String, (Uuid, i32)>,
    seen_version: Option<u64>,
}

impl ConsumerGroup {
    pub(crate) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    pub(crate) fn target_of(&self, member: &str) -> Assignment {
        self.target.get(member).cloned().unwrap_or_default()
    }

    pub(crate) fn state(&self) -> &'static str {
        let is_settled = |member: &Member| member.epoch == self.target_epoch && member.revoking.is_empty();
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.iter().all(|(id, member)| {
            is_settled(member)
                && (member.is_away || self.target.get(id).is_none_or(|target| *target == member.assigned))
        }) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    pub(crate) fn assignor(&self) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for assignor in self.members.values().filter_map(|member| member.assignor) {
            *votes.entry(assignor).or_default() += 1;
        }
        let best = votes.into_iter().max_by_key(|(_, votes)| *votes);
        best.map_or(Assignor::Uniform, |(assignor, _)| assignor)
    }

    /// # Errors
    /// The member is not known, not the current one, or asks for what there is not.
    pub(crate) fn heartbeat(
        &mut self,
        beat: Beat,
        topics: &impl Topics,
        session_timeout: Duration,
        now: Instant,
    ) -> Result<BeatAnswer, Refused> {
        self.advance(now);
        match beat.epoch {
            LEAVES | LEAVES_FOR_A_WHILE => self.leave(&beat),
            0 => {
                let id = beat.member_id.clone();
                let wants_all = true;
                self.take_in(&beat, now)?;
                self.serve(&id, beat, topics, session_timeout, wants_all, now)
            }
            _ => {
                let id = beat.member_id.clone();
                self.check(&beat)?;
                let wants_all = beat.owned.is_some() && beat.topics.is_some();
                self.serve(&id, beat, topics, session_timeout, wants_all, now)
            }
        }
    }

    fn check(&self, beat: &Beat) -> Result<(), Refused> {
        let member = self
            .members
            .get(&beat.member_id)
            .ok_or_else(|| unknown(&beat.member_id))?;
        if let Some(instance) = &beat.instance_id
            && self.holder_of(instance).is_some_and(|holder| *holder != beat.member_id)
        {
            let reason = format!("Static member {} was fenced by another.", beat.member_id);
            return Err((ResponseError::FencedInstanceId, reason));
        }
        // The answer that raised the epoch may have got lost.
        let is_behind = beat.epoch == member.previous_epoch
            && beat
                .owned
                .as_ref()
                .is_some_and(|owned| is_within(owned, &member.assigned));
        if beat.epoch == member.epoch || is_behind {
            return Ok(());
        }
        let reason = format!(
            "The consumer group member has a different member epoch ({}) from the one known by the group coordinator ({}).",
            beat.epoch, member.epoch
        );
        Err((ResponseError::FencedMemberEpoch, reason))
    }

    fn holder_of(&self, instance: &str) -> Option<&String> {
        let holds = |member: &Member| member.instance_id.as_deref() == Some(instance);
        self.members.iter().find(|(_, member)| holds(member)).map(|(id, _)| id)
    }

    /// A member joins, joins again after it was fenced, or comes back as the static member that it was.
    fn take_in(&mut self, beat: &Beat, now: Instant) -> Result<(), Refused> {
        let invalid = |reason: &str| Err((ResponseError::InvalidRequest, reason.to_owned()));
        if beat.member_id.is_empty() {
            return invalid("MemberId can't be empty.");
        }
        if beat.rebalance_timeout.is_none() {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        // No topics at all are a subscription as well: a client may be waiting for the first that matches.
        if beat.topics.is_none() && beat.regex.is_none() {
            return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when joining.");
        }
        if self.members.contains_key(&beat.member_id) {
            return Ok(());
        }
        let mut member = Member {
            client: beat.client.clone(),
            instance_id: beat.instance_id.clone(),
            rack: None,
            epoch: 0,
            topics: BTreeSet::new(),
            regex: None,
            assigned: Assignment::new(),
            previous_epoch: 0,
            assignor: None,
            pattern: None,
            rebalance_timeout: Duration::ZERO,
            revoking: Assignment::new(),
            revoke_until: None,
            told: Assignment::new(),
            expires: now,
            is_away: false,
        };
        let former = beat
            .instance_id
            .as_deref()
            .and_then(|instance| self.holder_of(instance))
            .cloned();
        if let Some(former) = former {
            if self.members.get(&former).is_some_and(|member| !member.is_away) {
                let reason = format!("Static member {} is still in the group.", beat.member_id);
                return Err((ResponseError::UnreleasedInstanceId, reason));
            }
            if let Some(before) = self.members.remove(&former) {
                member.assigned = before.assigned;
                member.topics = before.topics;
                member.regex = before.regex;
                member.pattern = before.pattern;
                member.assignor = before.assignor;
                member.epoch = before.previous_epoch;
            }
            if let Some(target) = self.target.remove(&former) {
                self.target.insert(beat.member_id.clone(), target);
            }
        } else {
            if self.members.len() >= MAX_MEMBERS {
                return Err((ResponseError::GroupMaxSizeReached, "The group is full.".to_owned()));
            }
            self.epoch = self.epoch.saturating_add(1);
        }
        self.members.insert(beat.member_id.clone(), member);
        Ok(())
    }

    fn serve(
        &mut self,
        id: &str,
        beat: Beat,
        topics: &impl Topics,
        session_timeout: Duration,
        wants_all: bool,
        now: Instant,
    ) -> Result<BeatAnswer, Refused> {
        let owned = beat.owned.clone();
        let joins = beat.epoch == 0;
        let changed = self.update(id, beat, session_timeout, now)?;
        self.refresh(changed, topics);
        if self.epoch > self.target_epoch {
            self.retarget(topics);
        }
        self.reconcile(id, if joins { Some(Assignment::new()) } else { owned }, now);
        let member = self.members.get_mut(id).ok_or_else(|| unknown(id))?;
        let tells = wants_all || member.told != member.assigned;
        if tells {
            member.told.clone_from(&member.assigned);
        }
        Ok(BeatAnswer {
            member_id: id.to_owned(),
            epoch: member.epoch,
            assignment: tells.then(|| member.assigned.clone()),
        })
    }

    /// Takes over what the heartbeat says. Whether the subscription is another.
    fn update(&mut self, id: &str, beat: Beat, session_timeout: Duration, now: Instant) -> Result<bool, Refused> {
        let assignor = match beat.assignor.as_deref() {
            None => None,
            Some(name) => Some(Assignor::of_name(name).ok_or_else(|| {
                let reason = format!("ServerAssignor {name} is not supported. Supported assignors: uniform, range.");
                (ResponseError::UnsupportedAssignor, reason)
            })?),
        };
        let pattern = match beat.regex.as_deref() {
            None | Some("") => None,
            Some(regex) => Some(Regex::new(&format!("^(?:{regex})$")).map_err(|_| {
                let reason = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression.");
                (ResponseError::InvalidRegularExpression, reason)
            })?),
        };
        let member = self.members.get_mut(id).ok_or_else(|| unknown(id))?;
        member.client = beat.client;
        member.expires = now + session_timeout;
        member.is_away = false;
        if beat.rack.is_some() {
            member.rack = beat.rack;
        }
        if let Some(timeout) = beat.rebalance_timeout {
            member.rebalance_timeout = timeout;
        }
        let mut changed = false;
        if let Some(topics) = beat.topics {
            changed |= topics != member.topics;
            member.topics = topics;
        }
        if let Some(regex) = beat.regex {
            let regex = Some(regex).filter(|regex| !regex.is_empty());
            changed |= regex != member.regex;
            member.regex = regex;
            member.pattern = pattern;
        }
        if assignor.is_some() {
            changed |= assignor != member.assignor;
            member.assignor = assignor;
        }
        Ok(changed)
    }

    /// Raises the epoch if a subscription, or a topic that is subscribed to, is another than before.
    fn refresh(&mut self, changed: bool, topics: &impl Topics) {
        let version = Some(topics.version());
        if !changed && self.seen_version == version {
            return;
        }
        let subscriptions = self.members.values().map(|member| member.subscription(topics));
        let seen: BTreeMap<_, _> = subscriptions.flatten().collect();
        if changed || seen != self.seen {
            self.epoch = self.epoch.saturating_add(1);
        }
        self.seen = seen;
        self.seen_version = version;
    }

    fn retarget(&mut self, topics: &impl Topics) {
        let subscribers = self.members.iter().map(|(id, member)| Subscriber {
            id: id.clone(),
            order: member.instance_id.clone().unwrap_or_else(|| id.clone()),
            topics: member.subscription(topics).into_values().collect(),
            has: self.target.get(id).cloned().unwrap_or_default(),
        });
        self.target = self.assignor().assign(&subscribers.collect::<Vec<_>>());
        self.target_epoch = self.epoch;
    }

    /// Brings a member as near to its target as the others let it. `owned`: what it says that it has, if it says so.
    fn reconcile(&mut self, id: &str, owned: Option<Assignment>, now: Instant) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        if !member.revoking.is_empty() {
            // Until it says that it let go, it waits.
            let has_let_go = owned.is_some_and(|owned| !intersects(&owned, &member.revoking));
            if !has_let_go {
                return;
            }
        }
        let target = self.target.get(id).cloned().unwrap_or_default();
        let (mut kept, mut revoking, mut added) = (Assignment::new(), Assignment::new(), Assignment::new());
        for (topic, partition) in each(&member.assigned) {
            let to = if contains(&target, topic, partition) {
                &mut kept
            } else {
                &mut revoking
            };
            to.entry(topic).or_default().insert(partition);
        }
        for (topic, partition) in each(&target) {
            let others = || self.members.iter().filter(|(other, _)| *other != id);
            if !contains(&kept, topic, partition) && !others().any(|(_, other)| other.holds(topic, partition)) {
                added.entry(topic).or_default().insert(partition);
            }
        }
        let target_epoch = self.target_epoch;
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.revoking = Assignment::new();
        member.revoke_until = None;
        // A member that was told nothing yet has nothing to give back.
        if !revoking.is_empty() && intersects(&revoking, &member.told) && member.epoch > 0 {
            member.assigned = kept;
            member.revoking = revoking;
            member.revoke_until = Some(now + member.rebalance_timeout);
            return;
        }
        for (topic, partitions) in added {
            kept.entry(topic).or_default().extend(partitions);
        }
        member.assigned = kept;
        if member.epoch != target_epoch {
            member.previous_epoch = member.epoch;
            member.epoch = target_epoch;
        }
    }

    fn leave(&mut self, beat: &Beat) -> Result<BeatAnswer, Refused> {
        let id = match (&beat.instance_id, beat.member_id.as_str()) {
            (Some(instance), "") => self.holder_of(instance).cloned().unwrap_or_default(),
            (_, id) => id.to_owned(),
        };
        let member = self.members.get_mut(&id).ok_or_else(|| unknown(&id))?;
        if beat.epoch == LEAVES_FOR_A_WHILE && member.instance_id.is_some() {
            member.is_away = true;
            member.previous_epoch = member.epoch;
            member.epoch = LEAVES_FOR_A_WHILE;
            member.revoking = Assignment::new();
            member.revoke_until = None;
            member.told = Assignment::new();
        } else {
            self.remove(&id);
        }
        Ok(BeatAnswer {
            member_id: id,
            epoch: beat.epoch,
            assignment: None,
        })
    }

    fn remove(&mut self, id: &str) {
        self.members.remove(id);
        self.target.remove(id);
        self.epoch = self.epoch.saturating_add(1);
    }

    /// Who is silent for too long, or does not let go in time, is out.
    pub(crate) fn advance(&mut self, now: Instant) {
        let is_over = |member: &Member| member.expires <= now || member.revoke_until.is_some_and(|until| until <= now);
        let gone: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| is_over(member))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.remove(&id);
        }
    }

    /// When somebody will be out if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let of_member = |member: &Member| member.revoke_until.into_iter().chain([member.expires]).min();
        self.members.values().filter_map(of_member).min()
    }

    /// # Errors
    /// The member is not in the group, or not with this epoch.
    pub(crate) fn check_commit(&self, member_id: &str, epoch: i32) -> Result<(), ResponseError> {
        if member_id.is_empty() && epoch < 0 {
            return if self.members.is_empty() {
                Ok(())
            } else {
                Err(ResponseError::UnknownMemberId)
            };
        }
        let member = self.members.get(member_id).ok_or(ResponseError::UnknownMemberId)?;
        if member.epoch == epoch {
            Ok(())
        } else {
            Err(ResponseError::StaleMemberEpoch)
        }
    }

    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        let wants = |member: &Member| {
            member.topics.contains(topic) || member.pattern.as_ref().is_some_and(|pattern| pattern.is_match(topic))
        };
        self.members.values().any(wants)
    }
}

fn unknown(id: &str) -> Refused {
    (
        ResponseError::UnknownMemberId,
        format!("Member {id} is not a member of group."),
    )
}

pub(crate) fn each(assignment: &Assignment) -> impl Iterator<Item = (Uuid, i32)> {
    assignment
        .iter()
        .flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)))
}

pub(crate) fn contains(assignment: &Assignment, topic: Uuid, partition: i32) -> bool {
    assignment
        .get(&topic)
        .is_some_and(|partitions| partitions.contains(&partition))
}

fn intersects(a: &Assignment, b: &Assignment) -> bool {
    each(a).any(|(topic, partition)| contains(b, topic, partition))
}

fn is_within(a: &Assignment, b: &Assignment) -> bool {
    each(a).all(|(topic, partition)| contains(b, topic, partition))
}
