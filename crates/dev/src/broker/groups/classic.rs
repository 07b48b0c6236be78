//! A group by the classic protocol: members agree by joining, their leader assigns, all of them sync.
//!
//! ```text
//! Empty ── join ──> Preparing ── all joined, or the time is over ──> Completing ── leader synced ──> Stable
//!   ^                   ^  └── nobody left ──> Empty                     │                             │
//!   └─── last leaves ───┴───────── join, leave, expiry, new metadata ────┴─────────────────────────────┘
//! ```
//! It has no clock and no socket: the time comes with every call, answers go out by the sender that came with the
//! question. What members send each other is opaque.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Members and candidates of one group.
const MAX_MEMBERS: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Empty,
    Preparing { until: Instant, not_before: Instant },
    Completing { until: Instant },
    Stable,
}

/// Who a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) host: String,
}

/// How a client refers to a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    /// Empty: not known yet.
    pub(crate) member_id: &'a str,
    pub(crate) instance_id: Option<&'a str>,
}

#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) client: Client,
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// Since version 4: a member without id gets one first, and joins with it (KIP-394).
    pub(crate) takes_id_first: bool,
    /// Since version 9: a leader that comes back is told that there is nothing to assign (KIP-814).
    pub(crate) takes_skipped_assignment: bool,
    /// An id for a member that has none.
    pub(crate) new_member_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) member_id: String,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) skips_assignment: bool,
    /// For the leader: ids, instances, metadata.
    pub(crate) members: Vec<(String, Option<String>, Bytes)>,
}

/// Why a join failed, and the id to join with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotJoined {
    pub(crate) error: ResponseError,
    pub(crate) member_id: String,
}

pub(crate) type JoinAnswer = Result<Joined, NotJoined>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

pub(crate) type SyncAnswer = Result<Synced, ResponseError>;

#[derive(Clone, Debug)]
pub(crate) struct Sync {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) assignments: Vec<(String, Bytes)>,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) client: Client,
    pub(crate) instance_id: Option<String>,
    pub(crate) assignment: Bytes,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    protocols: Vec<(String, Bytes)>,
    expires: Instant,
    joining: Option<oneshot::Sender<JoinAnswer>>,
    syncing: Option<oneshot::Sender<SyncAnswer>>,
}

impl Member {
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    fn heard(&mut self, now: Instant) {
        self.expires = now + self.session_timeout;
    }

    fn is_parked(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    fn answer_join(&mut self, answer: JoinAnswer) {
        if let Some(joining) = self.joining.take() {
            // Whoever asked may be gone; its session tells.
            joining.send(answer).ok();
        }
    }

    fn answer_sync(&mut self, answer: SyncAnswer) {
        if let Some(syncing) = self.syncing.take() {
            syncing.send(answer).ok();
        }
    }
}

#[derive(Debug)]
pub(crate) struct ClassicGroup {
    phase: Phase,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    instances: HashMap<String, String>,
    /// Ids that were given out and did not join yet, and until when they may.
    pending: HashMap<String, Instant>,
}

impl Default for ClassicGroup {
    fn default() -> Self {
        Self {
            phase: Phase::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            instances: HashMap::new(),
            pending: HashMap::new(),
        }
    }
}

impl ClassicGroup {
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    pub(crate) fn has_members(&self) -> bool {
        !self.members.is_empty() || !self.pending.is_empty()
    }

    /// A member wants to be in the next generation. The answer comes by `reply`, now or when all have joined.
    pub(crate) fn join(
        &mut self,
        join: Join,
        initial_delay: Duration,
        now: Instant,
        reply: oneshot::Sender<JoinAnswer>,
    ) {
        if let Err((error, member_id, reply)) = self.try_join(join, initial_delay, now, reply) {
            reply.send(Err(NotJoined { error, member_id })).ok();
        }
        self.advance(now);
    }

    fn try_join(
        &mut self,
        join: Join,
        initial_delay: Duration,
        now: Instant,
        reply: oneshot::Sender<JoinAnswer>,
    ) -> Result<(), (ResponseError, String, oneshot::Sender<JoinAnswer>)> {
        let id = join.member_id.clone();
        if !self.fits(&join) {
            return Err((ResponseError::InconsistentGroupProtocol, id, reply));
        }
        if self.members.len() + self.pending.len() >= MAX_MEMBERS && !self.members.contains_key(&id) {
            return Err((ResponseError::GroupMaxSizeReached, id, reply));
        }
        if id.is_empty() {
            if let Some(instance) = &join.instance_id {
                if let Some(old) = self.instances.get(instance).cloned() {
                    self.replace_static(&old, join, now, reply);
                    return Ok(());
                }
            } else if join.takes_id_first {
                self.pending
                    .insert(join.new_member_id.clone(), now + join.session_timeout);
                return Err((ResponseError::MemberIdRequired, join.new_member_id, reply));
            }
            let id = join.new_member_id.clone();
            self.add(id, join, initial_delay, now, reply);
            return Ok(());
        }
        if self.pending.remove(&id).is_some() {
            self.add(id, join, initial_delay, now, reply);
            return Ok(());
        }
        let identity = Identity {
            member_id: &id,
            instance_id: join.instance_id.as_deref(),
        };
        if let Err(error) = self.check_identity(identity) {
            return Err((error, id, reply));
        }
        let is_leader = self.leader == id;
        let current = self.joined(&id, is_leader && !matches!(self.phase, Phase::Stable));
        let phase = self.phase;
        let Some(member) = self.members.get_mut(&id) else {
            return Err((ResponseError::UnknownMemberId, id, reply));
        };
        member.heard(now);
        let is_same = member.protocols == join.protocols;
        // An answer that got lost is given again; a leader that joins a stable group asks for a new assignment.
        let repeats = match phase {
            Phase::Completing { .. } => is_same,
            Phase::Stable => is_same && !is_leader,
            Phase::Empty | Phase::Preparing { .. } => false,
        };
        member.protocols = join.protocols;
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        member.client = join.client;
        if repeats {
            reply.send(Ok(current)).ok();
            return Ok(());
        }
        member.answer_join(Err(NotJoined {
            error: ResponseError::UnknownMemberId,
            member_id: id,
        }));
        member.joining = Some(reply);
        self.prepare(Duration::ZERO, now);
        Ok(())
    }

    /// Whether a member of this sort can be in the group.
    fn fits(&self, join: &Join) -> bool {
        if join.protocols.is_empty() || join.protocol_type.is_empty() {
            return false;
        }
        // A static member takes the place of its former self.
        let former = join
            .instance_id
            .as_ref()
            .and_then(|instance| self.instances.get(instance));
        let is_own = |id: &String| *id == join.member_id || Some(id) == former;
        let others = || {
            self.members
                .iter()
                .filter(|(id, _)| !is_own(id))
                .map(|(_, member)| member)
        };
        if others().next().is_none() {
            return true;
        }
        let all_have = |name: &String| others().all(|member| member.protocols.iter().any(|(has, _)| has == name));
        self.protocol_type == join.protocol_type && join.protocols.iter().any(|(name, _)| all_have(name))
    }

    fn add(
        &mut self,
        id: String,
        join: Join,
        initial_delay: Duration,
        now: Instant,
        reply: oneshot::Sender<JoinAnswer>,
    ) {
        if self.members.is_empty() {
            self.protocol_type = join.protocol_type;
        }
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        let member = Member {
            client: join.client,
            instance_id: join.instance_id,
            assignment: Bytes::new(),
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols,
            expires: now + join.session_timeout,
            joining: Some(reply),
            syncing: None,
        };
        self.members.insert(id, member);
        let delay = if self.phase == Phase::Empty {
            initial_delay
        } else {
            Duration::ZERO
        };
        self.prepare(delay, now);
    }

    /// A static member comes back without its id (KIP-345): it takes the place of its former self, and as long as the
    /// group's protocol stays, nobody else notices. What it wants may differ from before, as in Kafka.
    fn replace_static(&mut self, old: &str, join: Join, now: Instant, reply: oneshot::Sender<JoinAnswer>) {
        let Some(mut member) = self.members.remove(old) else {
            return;
        };
        let id = join.new_member_id;
        let fenced = ResponseError::FencedInstanceId;
        member.answer_join(Err(NotJoined {
            error: fenced,
            member_id: old.to_owned(),
        }));
        member.answer_sync(Err(fenced));
        member.protocols = join.protocols;
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        member.client = join.client;
        member.heard(now);
        if let Some(instance) = join.instance_id {
            self.instances.insert(instance, id.clone());
        }
        let was_leader = self.leader == old;
        self.members.insert(id.clone(), member);
        if was_leader {
            self.leader.clone_from(&id);
        }
        let keeps_protocol = self.vote() == self.protocol;
        if self.phase == Phase::Stable && keeps_protocol {
            let skips = join.takes_skipped_assignment && was_leader;
            let mut joined = self.joined(&id, skips);
            joined.skips_assignment = skips;
            if was_leader && !skips {
                // Told that another leads, it does not assign.
                old.clone_into(&mut joined.leader);
            }
            reply.send(Ok(joined)).ok();
            return;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.joining = Some(reply);
        }
        self.prepare(Duration::ZERO, now);
    }

    fn joined(&self, id: &str, with_members: bool) -> Joined {
        let members = self.members.iter().map(|(id, member)| {
            let metadata = member.metadata(&self.protocol);
            (id.clone(), member.instance_id.clone(), metadata)
        });
        Joined {
            member_id: id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            skips_assignment: false,
            members: if with_members { members.collect() } else { Vec::new() },
        }
    }

    /// Empty, Completing, Stable => Preparing. Who waits for an assignment is told to join again.
    fn prepare(&mut self, initial_delay: Duration, now: Instant) {
        if matches!(self.phase, Phase::Preparing { .. }) {
            return;
        }
        for member in self.members.values_mut() {
            if member.syncing.is_some() {
                member.heard(now);
                member.answer_sync(Err(ResponseError::RebalanceInProgress));
            }
        }
        let longest = self.members.values().map(|member| member.rebalance_timeout).max();
        self.phase = Phase::Preparing {
            until: now + longest.unwrap_or_default().max(initial_delay),
            not_before: now + initial_delay,
        };
    }

    /// Does what is due. Called after every change, and when the time comes that [`ClassicGroup::next_deadline`] says.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.pending.retain(|_, until| *until > now);
        self.expire(now);
        match self.phase {
            Phase::Preparing { until, not_before } => {
                let has_all = self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some());
                if (has_all && now >= not_before) || now >= until {
                    self.complete_join(now);
                }
            }
            Phase::Completing { until } if now >= until => {
                // Who did not come for its assignment is gone.
                self.remove_all(|member| member.syncing.is_none());
                self.rebalance(now);
            }
            Phase::Empty | Phase::Completing { .. } | Phase::Stable => {}
        }
    }

    /// Members that were not heard of in time are out. A parked request keeps its member alive.
    fn expire(&mut self, now: Instant) {
        let before = self.members.len();
        self.remove_all(|member| !member.is_parked() && member.expires <= now);
        if self.members.len() < before {
            self.rebalance(now);
        }
    }

    fn remove_all(&mut self, goes: impl Fn(&Member) -> bool) {
        let gone: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| goes(member))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &str) {
        let Some(mut member) = self.members.remove(id) else {
            return;
        };
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        let error = ResponseError::UnknownMemberId;
        member.answer_join(Err(NotJoined {
            error,
            member_id: id.to_owned(),
        }));
        member.answer_sync(Err(error));
        if self.leader == id {
            self.leader.clear();
        }
    }

    /// Somebody went.
    fn rebalance(&mut self, now: Instant) {
        self.prepare(Duration::ZERO, now);
        if self.members.is_empty() {
            self.complete_join(now);
        }
    }

    /// Preparing => Completing, or Empty. Static members stay although they did not join.
    fn complete_join(&mut self, now: Instant) {
        self.remove_all(|member| member.joining.is_none() && member.instance_id.is_none());
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.protocol.clear();
            self.leader.clear();
            return;
        }
        let leads = |id: &String| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if !leads(&self.leader) {
            let next = self.members.iter().find(|(_, member)| member.joining.is_some());
            if let Some((id, _)) = next.or_else(|| self.members.iter().next()) {
                self.leader = id.clone();
            }
        }
        self.protocol = self.vote();
        let longest = self.members.values().map(|member| member.rebalance_timeout).max();
        self.phase = Phase::Completing {
            until: now + longest.unwrap_or_default(),
        };
        let answers: Vec<_> = self
            .members
            .keys()
            .map(|id| (id.clone(), self.joined(id, *id == self.leader)))
            .collect();
        for (id, joined) in answers {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = Bytes::new();
                member.heard(now);
                member.answer_join(Ok(joined));
            }
        }
    }

    /// The protocol that most members prefer among those that all have; of equal ones the first by name.
    fn vote(&self) -> String {
        let all_have = |name: &String| {
            let has = |member: &Member| member.protocols.iter().any(|(has, _)| has == name);
            self.members.values().all(has)
        };
        let mut votes: BTreeMap<&String, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| all_have(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let best = votes.into_iter().rev().max_by_key(|(_, votes)| *votes);
        best.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    /// A member comes for its assignment, the leader with all of them.
    pub(crate) fn sync(&mut self, sync: Sync, now: Instant, reply: oneshot::Sender<SyncAnswer>) {
        if let Err(error) = self.check_sync(&sync) {
            reply.send(Err(error)).ok();
            return;
        }
        let synced = self.synced(&sync.member_id);
        let Some(member) = self.members.get_mut(&sync.member_id) else {
            return;
        };
        member.heard(now);
        if self.phase == Phase::Stable {
            reply.send(Ok(synced)).ok();
            return;
        }
        member.answer_sync(Err(ResponseError::UnknownMemberId));
        member.syncing = Some(reply);
        if self.leader == sync.member_id {
            self.assign(sync.assignments, now);
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), ResponseError> {
        let identity = Identity {
            member_id: &sync.member_id,
            instance_id: sync.instance_id.as_deref(),
        };
        self.check_member(identity, sync.generation)?;
        let differs = |wanted: &Option<String>, known: &str| wanted.as_deref().is_some_and(|wanted| wanted != known);
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match self.phase {
            Phase::Empty => Err(ResponseError::UnknownMemberId),
            Phase::Preparing { .. } => Err(ResponseError::RebalanceInProgress),
            Phase::Completing { .. } | Phase::Stable => Ok(()),
        }
    }

    /// Completing => Stable.
    fn assign(&mut self, assignments: Vec<(String, Bytes)>, now: Instant) {
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        self.phase = Phase::Stable;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let synced = self.synced(&id);
            if let Some(member) = self.members.get_mut(&id) {
                member.heard(now);
                member.answer_sync(Ok(synced));
            }
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self
                .members
                .get(id)
                .map(|member| member.assignment.clone())
                .unwrap_or_default(),
        }
    }

    /// # Errors
    /// The member does not belong to the generation, or has to join the next.
    pub(crate) fn heartbeat(
        &mut self,
        identity: Identity<'_>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.check_member(identity, generation)?;
        if let Some(member) = self.members.get_mut(identity.member_id) {
            member.heard(now);
        }
        match self.phase {
            Phase::Empty => Err(ResponseError::UnknownMemberId),
            Phase::Preparing { .. } => Err(ResponseError::RebalanceInProgress),
            Phase::Completing { .. } | Phase::Stable => Ok(()),
        }
    }

    /// A member goes, named by its id or its instance.
    ///
    /// # Errors
    /// There is no such member.
    pub(crate) fn leave(&mut self, identity: Identity<'_>, now: Instant) -> Result<(), ResponseError> {
        if self.pending.remove(identity.member_id).is_some() {
            self.advance(now);
            return Ok(());
        }
        let id = match (identity.member_id, identity.instance_id) {
            ("", Some(instance)) => self
                .instances
                .get(instance)
                .ok_or(ResponseError::UnknownMemberId)?
                .clone(),
            (id, _) => {
                self.check_identity(identity)?;
                id.to_owned()
            }
        };
        self.remove(&id);
        self.rebalance(now);
        self.advance(now);
        Ok(())
    }

    /// Whether offsets may be committed; that is a sign of life as well.
    ///
    /// # Errors
    /// Not by this member, or not now.
    pub(crate) fn check_commit(
        &mut self,
        identity: Identity<'_>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        if generation < 0 && identity.member_id.is_empty() && identity.instance_id.is_none() {
            // Whoever assigns partitions to itself commits to groups without members.
            return match self.phase {
                Phase::Empty => Ok(()),
                Phase::Preparing { .. } | Phase::Completing { .. } | Phase::Stable => {
                    Err(ResponseError::UnknownMemberId)
                }
            };
        }
        self.check_member(identity, generation)?;
        if let Some(member) = self.members.get_mut(identity.member_id) {
            member.heard(now);
        }
        match self.phase {
            Phase::Completing { .. } => Err(ResponseError::RebalanceInProgress),
            Phase::Empty => Err(ResponseError::UnknownMemberId),
            Phase::Preparing { .. } | Phase::Stable => Ok(()),
        }
    }

    fn check_member(&self, identity: Identity<'_>, generation: i32) -> Result<(), ResponseError> {
        self.check_identity(identity)?;
        if generation == self.generation {
            Ok(())
        } else {
            Err(ResponseError::IllegalGeneration)
        }
    }

    fn check_identity(&self, identity: Identity<'_>) -> Result<(), ResponseError> {
        if let Some(instance) = identity.instance_id {
            match self.instances.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(id) if id != identity.member_id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(identity.member_id) {
            Ok(())
        } else {
            Err(ResponseError::UnknownMemberId)
        }
    }

    /// When something will be due if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Preparing { until, not_before } => {
                let has_all = self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some());
                Some(if has_all { not_before.min(until) } else { until })
            }
            Phase::Completing { until } => Some(until),
            Phase::Empty | Phase::Stable => None,
        };
        let silent = self.members.values().filter(|member| !member.is_parked());
        let expiries = silent
            .map(|member| member.expires)
            .chain(self.pending.values().copied());
        phase.into_iter().chain(expiries).min()
    }
}
