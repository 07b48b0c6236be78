//! The classic protocol, whatever a group is for: join, get an assignment, stay, join again.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{HeartbeatRequest, JoinGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::MemberPhase;
use super::membership::{FIRST_WAIT, LONGEST_WAIT, Membership, jittered, millis};
use crate::KafkaError;
use crate::backoff::Backoff;
use crate::client::{Purpose, chain, group_id};
use crate::error::code_of;

/// How long leaving may take: the session expires anyway.
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a group of the classic protocol is for.
pub(super) trait ClassicProtocol: Send {
    /// Names and metadata to join with, the preferred first.
    fn protocols(&mut self) -> Result<Vec<(StrBytes, Bytes)>, KafkaError>;

    /// The leader's work: what each member is told, by member id.
    fn lead(
        &mut self,
        round: &Round,
        members: Vec<JoinGroupResponseMember>,
    ) -> impl Future<Output = Result<Vec<(StrBytes, Bytes)>, Trouble>> + Send;

    /// Lives by the assignment, with heartbeats; `Ok` when another is wanted.
    fn serve(&mut self, round: Round, assignment: Bytes) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Gives up what must be given up before joining again.
    fn prepare(&mut self) -> impl Future<Output = Result<(), Disturbance>> + Send;

    /// The membership is lost, and everything with it.
    fn lose(&mut self) -> impl Future<Output = ()> + Send;
}

/// One generation, as the coordinator made it.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) generation: i32,
    /// The protocol that all members offer.
    pub(super) protocol: StrBytes,
    pub(super) leader: StrBytes,
    /// The coordinator has the assignment already: a static member came back, and as the leader only watches.
    pub(super) keeps_assignment: bool,
}

/// Why a membership cannot go on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disturbance {
    /// The group rebalances: give up, commit, join again.
    Rebalance,
    /// The coordinator does not know this member or generation any more: everything is lost.
    Fenced {
        /// Whether the member id itself is void.
        forget_member: bool,
    },
    /// Another process took over the `group.instance.id`.
    Replaced,
}

/// Why a generation ended, or did not come about.
pub(super) enum Trouble {
    Disturbed(Disturbance),
    Failed(KafkaError),
    /// The coordinator gave a member id and wants to see it in another request.
    Again,
}

impl From<KafkaError> for Trouble {
    fn from(err: KafkaError) -> Self {
        Self::Failed(err)
    }
}

impl From<Disturbance> for Trouble {
    fn from(disturbance: Disturbance) -> Self {
        Self::Disturbed(disturbance)
    }
}

/// What a group error means for the membership; `None` if it says nothing about it.
pub(super) fn disturbance(code: ResponseError) -> Option<Disturbance> {
    match code {
        ResponseError::RebalanceInProgress => Some(Disturbance::Rebalance),
        ResponseError::IllegalGeneration => Some(Disturbance::Fenced { forget_member: false }),
        // KIP-848 rejoins with the same member id.
        ResponseError::FencedMemberEpoch => Some(Disturbance::Fenced { forget_member: false }),
        ResponseError::UnknownMemberId => Some(Disturbance::Fenced { forget_member: true }),
        ResponseError::FencedInstanceId => Some(Disturbance::Replaced),
        _ => None,
    }
}

/// Whether a rebalance interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum During {
    /// Yes.
    Membership,
    /// No: it is already being dealt with.
    Rebalance,
}

/// Is a member until it shall leave, and leaves.
pub(super) async fn run(membership: &Membership, protocol: &mut impl ClassicProtocol) {
    tokio::select! {
        biased;
        () = membership.leave.cancelled() => {}
        // Ends only when another process took the instance id over: then there is nothing to leave.
        () = live(membership, protocol) => return,
    }
    let identity = membership.identity();
    membership.become_known(|identity| identity.generation = -1);
    // A static member stays one until its session expires: a restart finds its assignment again.
    if !identity.member_id.is_empty() && membership.config.group_instance_id.is_none() {
        let group = &membership.config.group_id;
        let leave = membership.client.leave_group(group, &identity.member_id);
        match timeout(LEAVE_TIMEOUT, leave).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => tracing::debug!(%group, error = %chain(&err), "leave failed"),
            Err(_) => tracing::debug!(%group, "leave was not answered in time"),
        }
    }
    membership.announce(MemberPhase::Left, "left the group");
}

/// Joining => serving => (Rebalance: prepare | Fenced: lose) => joining; Replaced => the end.
async fn live(membership: &Membership, protocol: &mut impl ClassicProtocol) {
    membership.reach_kafka().await;
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        membership.announce(MemberPhase::Joining, "joining the group");
        match generation(membership, protocol, &mut backoff).await {
            Ok(()) | Err(Trouble::Again) => continue,
            Err(Trouble::Failed(err)) => membership.announce_failure(&err),
            // Nothing is lost: the others began the next round before this one was complete.
            Err(Trouble::Disturbed(Disturbance::Rebalance)) => {}
            Err(Trouble::Disturbed(disturbance)) => {
                let group = &membership.config.group_id;
                tracing::warn!(%group, ?disturbance, "membership lost");
                membership.become_known(|identity| {
                    identity.generation = -1;
                    identity.is_joining = false;
                    if disturbance == (Disturbance::Fenced { forget_member: true }) {
                        identity.member_id.clear();
                    }
                });
                protocol.lose().await;
                if disturbance == Disturbance::Replaced {
                    let detail = "another process joined with the same `group.instance.id`: give each its own";
                    membership.announce(MemberPhase::Fenced, detail);
                    return;
                }
            }
        }
        sleep(backoff.next()).await;
    }
}

/// From joining to the end of a generation: `Ok` when the next is to be joined.
async fn generation(
    membership: &Membership,
    protocol: &mut impl ClassicProtocol,
    backoff: &mut Backoff,
) -> Result<(), Trouble> {
    let (round, members) = membership.join_group(protocol.protocols()?).await?;
    membership.announce(MemberPhase::Joining, "waiting for the assignment");
    let shares = match members {
        Some(members) => protocol.lead(&round, members).await?,
        None => Vec::new(),
    };
    let assignment = membership.sync_group(&round, shares).await?;
    backoff.reset();
    match protocol.serve(round, assignment).await {
        Ok(()) | Err(Trouble::Disturbed(Disturbance::Rebalance)) => Ok(protocol.prepare().await?),
        Err(trouble) => Err(trouble),
    }
}

impl Membership {
    /// One attempt to become part of a generation; with the members, if this one leads.
    async fn join_group(
        &self,
        protocols: Vec<(StrBytes, Bytes)>,
    ) -> Result<(Round, Option<Vec<JoinGroupResponseMember>>), Trouble> {
        let config = &self.config;
        let offered = protocols.into_iter().map(|(name, metadata)| {
            JoinGroupRequestProtocol::default()
                .with_name(name)
                .with_metadata(metadata)
        });
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&config.group_id))
            .with_session_timeout_ms(millis(config.session_timeout))
            .with_rebalance_timeout_ms(millis(config.rebalance_timeout))
            .with_member_id(StrBytes::from_string(self.identity().member_id))
            .with_group_instance_id(self.instance_id())
            .with_protocol_type(self.protocol_type())
            .with_protocols(offered.collect());
        self.become_known(|identity| identity.is_joining = true);
        let response = self.ask_and_wait(&request).await?;
        if let Some(code) = code_of(response.error_code) {
            if code == ResponseError::MemberIdRequired {
                self.become_known(|identity| identity.member_id = response.member_id.to_string());
                return Err(Trouble::Again);
            }
            return Err(self.trouble("joining", code));
        }
        self.become_known(|identity| {
            identity.member_id = response.member_id.to_string();
            identity.generation = response.generation_id;
        });
        let leads = response.leader == response.member_id;
        let round = Round {
            generation: response.generation_id,
            protocol: response.protocol_name.unwrap_or_default(),
            leader: response.leader,
            keeps_assignment: response.skip_assignment,
        };
        Ok((round, leads.then_some(response.members)))
    }

    /// One attempt to get the assignment, and as the leader to give it.
    async fn sync_group(&self, round: &Round, shares: Vec<(StrBytes, Bytes)>) -> Result<Bytes, Trouble> {
        let config = &self.config;
        let shares = shares.into_iter().map(|(member_id, share)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(member_id)
                .with_assignment(share)
        });
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&config.group_id))
            .with_generation_id(round.generation)
            .with_member_id(StrBytes::from_string(self.identity().member_id))
            .with_group_instance_id(self.instance_id())
            .with_protocol_type(Some(self.protocol_type()))
            .with_protocol_name(Some(round.protocol.clone()))
            .with_assignments(shares.collect());
        let response = self.ask_and_wait(&request).await?;
        match code_of(response.error_code) {
            Some(code) => Err(self.trouble("getting the assignment from", code)),
            None => {
                self.become_known(|identity| identity.is_joining = false);
                Ok(response.assignment)
            }
        }
    }

    fn protocol_type(&self) -> StrBytes {
        StrBytes::from_string(self.config.protocol_type.to_string())
    }

    fn trouble(&self, what: &str, code: ResponseError) -> Trouble {
        match disturbance(code) {
            Some(disturbance) => Trouble::Disturbed(disturbance),
            None => Trouble::Failed(self.refused(what, code)),
        }
    }

    /// Does `work` with heartbeats beside it. Ends early when the membership cannot go on as it is.
    pub(super) async fn alive<T>(&self, during: During, work: impl Future<Output = T>) -> Result<T, Disturbance> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            disturbance = self.heartbeats(during) => Err(disturbance),
        }
    }

    async fn heartbeats(&self, during: During) -> Disturbance {
        let interval = self.config.heartbeat_interval;
        let mut next = Instant::now() + jittered(interval);
        loop {
            sleep_until(next).await;
            next = Instant::now() + jittered(interval);
            match self.heartbeat().await {
                Ok(None) => {}
                Ok(Some(Disturbance::Rebalance)) if during == During::Rebalance => {}
                Ok(Some(disturbance)) => return disturbance,
                // Kafka away does not end a membership: when it is back, it may still know us; if not, it says so.
                Err(err) => {
                    let error = chain(&err);
                    tracing::debug!(group = %self.config.group_id, error, "heartbeat failed");
                    if matches!(err, KafkaError::ShutDown) {
                        return std::future::pending().await; // the member's task is about to end
                    }
                    // Not a whole interval later, as the session runs on.
                    next = Instant::now() + interval.min(self.client.config().retry_backoff);
                }
            }
        }
    }

    async fn heartbeat(&self) -> Result<Option<Disturbance>, KafkaError> {
        let identity = self.identity();
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.config.group_id))
            .with_generation_id(identity.generation)
            .with_member_id(StrBytes::from_string(identity.member_id))
            .with_group_instance_id(self.instance_id());
        let response = self.ask(Purpose::Heartbeats, &request).await?;
        match code_of(response.error_code) {
            None => Ok(None),
            Some(code) => match disturbance(code) {
                Some(disturbance) => Ok(Some(disturbance)),
                None => Err(self.refused("heartbeat of", code)),
            },
        }
    }
}
