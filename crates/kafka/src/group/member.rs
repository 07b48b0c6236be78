//! The task behind a member: joins, hands out what came, waits, gives up, joins again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::assignor::{self, MemberTopics};
use super::heartbeat::{Disturbance, During, disturbance};
use super::{Assigned, GroupEvent, MemberPhase, RevokeAck, Shared, Subscription};
use crate::backoff::Backoff;
use crate::client::{TopicInterest, chain, group_id, lock};
use crate::error::code_of;
use crate::{AssignmentEpoch, Assignor, ClusterHealth, KafkaError, TopicPartition};

const PROTOCOL_TYPE: StrBytes = StrBytes::from_static_str("consumer");
/// How long leaving may take: the session expires anyway.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts to join, and between two looks for a topic that does not exist.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

pub(super) struct Member {
    shared: Arc<Shared>,
    subscription: Subscription,
    events: mpsc::Sender<GroupEvent>,
    /// What the user holds.
    held: Vec<TopicPartition>,
}

/// One generation's membership.
struct Joined {
    /// What we subscribed to.
    topics: BTreeSet<Arc<str>>,
    partitions: Vec<TopicPartition>,
    /// As the leader: what the assignment was made of. A change asks for another.
    basis: Option<Basis>,
}

struct Basis {
    counts: BTreeMap<Arc<str>, i32>,
    topics: Vec<Arc<str>>,
    _interest: TopicInterest,
}

/// Why joining did not work out.
enum NotJoined {
    Disturbed(Disturbance),
    Failed(KafkaError),
    /// The coordinator gave a member id and wants to see it in another request.
    Again,
}

impl From<KafkaError> for NotJoined {
    fn from(err: KafkaError) -> Self {
        Self::Failed(err)
    }
}

impl Member {
    pub(super) fn new(shared: Arc<Shared>, subscription: Subscription, events: mpsc::Sender<GroupEvent>) -> Self {
        Self {
            shared,
            subscription,
            events,
            held: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _interest = self.subscription.interest(&shared.client);
        tokio::select! {
            biased;
            () = shared.leave.cancelled() => {}
            // Ends only when another process took the instance id over: then there is nothing to leave.
            () = self.live() => return,
        }
        let identity = shared.identity();
        lock(&shared.identity).owned.clear();
        if !identity.member_id.is_empty() && shared.config.group_instance_id.is_none() {
            let leave = shared.client.leave_group(&shared.config.group_id, &identity.member_id);
            match timeout(LEAVE_TIMEOUT, leave).await {
                Ok(Ok(())) => {}
                Ok(Err(err)) => tracing::debug!(group = %shared.config.group_id, error = %chain(&err), "leave failed"),
                Err(_) => tracing::debug!(group = %shared.config.group_id, "leave was not answered in time"),
            }
        }
        shared.announce(MemberPhase::Left, "left the group");
    }

    /// Joining => Stable => (Rebalance: revoke | Fenced: lost) => Joining; Replaced => the end.
    async fn live(&mut self) {
        self.reach_kafka().await;
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            self.shared.announce(MemberPhase::Joining, "joining the group");
            let disturbance = match self.join().await {
                Ok(joined) => {
                    backoff.reset();
                    match self.serve(joined).await {
                        Ok(()) => Disturbance::Rebalance,
                        Err(disturbance) => disturbance,
                    }
                }
                Err(NotJoined::Again) => continue,
                Err(NotJoined::Disturbed(Disturbance::Rebalance)) => {
                    sleep(backoff.next()).await;
                    continue;
                }
                Err(NotJoined::Disturbed(disturbance)) => {
                    sleep(backoff.next()).await;
                    disturbance
                }
                Err(NotJoined::Failed(err)) => {
                    let detail = advice(&err);
                    tracing::debug!(group = %self.shared.config.group_id, error = %detail, "cannot join yet");
                    self.shared.announce(MemberPhase::Waiting, detail);
                    sleep(backoff.next()).await;
                    continue;
                }
            };
            let disturbance = match disturbance {
                Disturbance::Rebalance => match self.give_up().await {
                    Ok(()) => continue,
                    Err(disturbance) => disturbance,
                },
                other => other,
            };
            self.lose(disturbance).await;
            if disturbance == Disturbance::Replaced {
                let detail = "another process joined with the same `group.instance.id`: give each its own";
                self.shared.announce(MemberPhase::Fenced, detail);
                return;
            }
        }
    }

    /// Waits for the first metadata, and says so.
    async fn reach_kafka(&self) {
        let client = &self.shared.client;
        let mut health = client.health();
        let refreshed = client.refreshed();
        tokio::pin!(refreshed);
        loop {
            tokio::select! {
                // An error means shutdown, which ends this task by its token.
                _ = &mut refreshed => return,
                Ok(()) = health.changed() => {
                    let now = health.borrow_and_update().clone();
                    if matches!(now, ClusterHealth::Unreachable { .. }) {
                        self.shared.announce(MemberPhase::Waiting, now.to_string());
                    }
                }
            }
        }
    }

    /// One attempt to become part of a generation.
    async fn join(&mut self) -> Result<Joined, NotJoined> {
        let shared = Arc::clone(&self.shared);
        let (client, config) = (&shared.client, &shared.config);
        let topics = self.subscription.resolve(&client.metadata().topics());
        let protocol = match config.assignor {
            Assignor::Range => StrBytes::from_static_str("range"),
        };
        // The coordinator answers when all members are in, at the latest after the rebalance time-out.
        let patience = config.rebalance_timeout + Duration::from_secs(10);
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&config.group_id))
            .with_session_timeout_ms(millis(config.session_timeout))
            .with_rebalance_timeout_ms(millis(config.rebalance_timeout))
            .with_member_id(StrBytes::from_string(shared.identity().member_id))
            .with_group_instance_id(shared.instance_id())
            .with_protocol_type(PROTOCOL_TYPE)
            .with_protocols(vec![
                JoinGroupRequestProtocol::default()
                    .with_name(protocol.clone())
                    .with_metadata(assignor::encode_subscription(&topics)?),
            ]);
        let response = client.park_at_coordinator(&config.group_id, &request, patience).await?;
        if let Some(code) = code_of(response.error_code) {
            if code == ResponseError::MemberIdRequired {
                lock(&shared.identity).member_id = response.member_id.to_string();
                return Err(NotJoined::Again);
            }
            return Err(self.not_joined("joining", code));
        }
        {
            let mut identity = lock(&shared.identity);
            identity.member_id = response.member_id.to_string();
            identity.generation = response.generation_id;
            identity.owned.clear();
        }
        shared.announce(MemberPhase::Joining, "waiting for the assignment");

        let (assignments, basis) = if response.leader == response.member_id && !response.skip_assignment {
            let (assignments, basis) = self.lead(&response).await?;
            (assignments, Some(basis))
        } else {
            (Vec::new(), None)
        };
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&config.group_id))
            .with_generation_id(response.generation_id)
            .with_member_id(response.member_id.clone())
            .with_group_instance_id(shared.instance_id())
            .with_protocol_type(Some(PROTOCOL_TYPE))
            .with_protocol_name(Some(protocol))
            .with_assignments(assignments);
        let response = client.park_at_coordinator(&config.group_id, &request, patience).await?;
        if let Some(code) = code_of(response.error_code) {
            return Err(self.not_joined("getting the assignment", code));
        }
        let partitions = assignor::decode_assignment(&response.assignment).map_err(|err| KafkaError::Malformed {
            address: "the group's leader".into(),
            api: "SyncGroup",
            reason: err.to_string(),
        })?;
        Ok(Joined {
            topics,
            partitions,
            basis,
        })
    }

    fn not_joined(&self, what: &str, code: ResponseError) -> NotJoined {
        let group = &self.shared.config.group_id;
        match disturbance(code) {
            Some(disturbance) => NotJoined::Disturbed(disturbance),
            None => {
                self.shared.client.coordinator_answered(group, code);
                NotJoined::Failed(KafkaError::broker(format!("{what} of group `{group}`"), code))
            }
        }
    }

    /// The leader's work: shares the partitions out among all members.
    async fn lead(&self, response: &JoinGroupResponse) -> Result<(Vec<SyncGroupRequestAssignment>, Basis), KafkaError> {
        let client = &self.shared.client;
        let mut members = Vec::with_capacity(response.members.len());
        for member in &response.members {
            // A member that cannot be understood gets nothing, rather than stopping all.
            let topics = assignor::decode_subscription(&member.metadata).unwrap_or_else(|err| {
                tracing::warn!(member = %member.member_id, error = %err, "subscription of a group member is unreadable");
                BTreeSet::new()
            });
            members.push(MemberTopics {
                member_id: member.member_id.to_string(),
                instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
                topics,
            });
        }
        let wanted: BTreeSet<Arc<str>> = members
            .iter()
            .flat_map(|member| member.topics.iter().cloned())
            .collect();
        let topics: Vec<_> = wanted.into_iter().collect();
        let interest = client.interest(topics.iter().cloned());
        if self.counts(&topics).len() < topics.len() {
            client.refreshed().await?;
        }
        let counts = self.counts(&topics);
        let mut assignments = Vec::with_capacity(members.len());
        for (member_id, partitions) in assignor::range(&members, &counts) {
            let assignment = assignor::encode_assignment(&partitions)?;
            let member_id = StrBytes::from_string(member_id);
            assignments.push(
                SyncGroupRequestAssignment::default()
                    .with_member_id(member_id)
                    .with_assignment(assignment),
            );
        }
        let basis = Basis {
            counts,
            topics,
            _interest: interest,
        };
        Ok((assignments, basis))
    }

    /// Number of partitions of those topics that exist.
    fn counts(&self, topics: &[Arc<str>]) -> BTreeMap<Arc<str>, i32> {
        let known = topics
            .iter()
            .filter_map(|topic| self.shared.client.metadata().topic(topic));
        known.map(|info| (info.name, info.partitions)).collect()
    }

    /// Hands out the assignment and stays until something changes: `Ok` when our own wishes did.
    async fn serve(&mut self, joined: Joined) -> Result<(), Disturbance> {
        let shared = Arc::clone(&self.shared);
        if !joined.partitions.is_empty() {
            let committed = shared
                .alive(During::Membership, self.committed(&joined.partitions))
                .await?;
            let assigned = joined.partitions.iter().map(|partition| {
                let epoch = AssignmentEpoch::next();
                Assigned {
                    topic: Arc::clone(&partition.topic),
                    topic_id: shared
                        .client
                        .metadata()
                        .topic(&partition.topic)
                        .and_then(|info| info.id),
                    partition: partition.partition,
                    committed: committed.get(partition).cloned(),
                    epoch,
                }
            });
            let event = GroupEvent::Assign {
                partitions: assigned.collect(),
            };
            lock(&shared.identity).owned = joined.partitions.iter().cloned().collect();
            // Interrupted while the user is busy, the event was not sent, and the user holds nothing.
            let sent = shared.alive(During::Membership, self.events.send(event)).await;
            if sent.is_err() {
                lock(&shared.identity).owned.clear();
            }
            if sent?.is_err() {
                // Nobody listens any more: give the partitions to others.
                shared.leave.cancel();
            }
            self.held = joined.partitions.clone();
        }
        shared.alive(During::Membership, self.wishes_changed(&joined)).await
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> crate::client::CommittedOffsets {
        let (client, group) = (&self.shared.client, &self.shared.config.group_id);
        let mut backoff = Backoff::new(client.config().retry_backoff, LONGEST_WAIT);
        loop {
            match client.fetch_committed_once(group, Some(partitions)).await {
                Ok(committed) => return committed,
                Err(err) => {
                    // Starting without knowing the commit would read again from the start: wait, and say so.
                    self.shared.announce(MemberPhase::Waiting, advice(&err));
                    sleep(backoff.next()).await;
                }
            }
        }
    }

    /// Watches the metadata until what we subscribe to, or as the leader what we share out, is something else.
    async fn wishes_changed(&self, joined: &Joined) {
        let client = &self.shared.client;
        let mut changes = client.metadata().changes();
        let mut backoff = Backoff::new(Duration::from_millis(250), LONGEST_WAIT);
        loop {
            changes.borrow_and_update();
            let existing = client.metadata().topics();
            if self.subscription.resolve(&existing) != joined.topics {
                return;
            }
            if joined
                .basis
                .as_ref()
                .is_some_and(|basis| self.counts(&basis.topics) != basis.counts)
            {
                return;
            }
            let missing = self.subscription.missing(&existing);
            let number = joined.partitions.len();
            if missing.is_empty() {
                self.shared
                    .announce(MemberPhase::Stable, format!("{number} partitions assigned"));
            } else {
                let missing = missing.join(", ");
                let detail = format!("{number} partitions assigned, waiting for topic {missing} to be created");
                self.shared.announce(MemberPhase::Stable, detail);
            }
            tokio::select! {
                // The sender lives in the client.
                Ok(()) = changes.changed() => {}
                () = sleep(backoff.next()), if self.has_missing(&existing) => client.request_refresh(),
            }
        }
    }

    fn has_missing(&self, existing: &[crate::TopicInfo]) -> bool {
        !self.subscription.missing(existing).is_empty()
    }

    /// Eager protocol: everything is given up before joining again. Waits for the user, and no longer than others do.
    async fn give_up(&mut self) -> Result<(), Disturbance> {
        let shared = Arc::clone(&self.shared);
        if self.held.is_empty() {
            return Ok(());
        }
        shared.announce(MemberPhase::Joining, "giving up partitions for a rebalance");
        let config = &shared.config;
        let patience = config.revoke_timeout();
        let (ack, acknowledged) = oneshot::channel();
        let event = GroupEvent::Revoke {
            partitions: self.held.clone(),
            ack: RevokeAck(ack),
        };
        let events = &self.events;
        let handed_over = async move {
            if events.send(event).await.is_ok() {
                // An error means that the acknowledgement was dropped, which is one.
                drop(acknowledged.await);
            }
        };
        let waited = shared.alive(During::Rebalance, timeout(patience, handed_over)).await?;
        lock(&shared.identity).owned.clear();
        let held = std::mem::take(&mut self.held);
        if waited.is_err() {
            let after_s = patience.as_secs();
            tracing::warn!(group = %config.group_id, after_s, "partitions were not given up in time and are lost");
            self.tell_lost(held).await;
        }
        Ok(())
    }

    async fn lose(&mut self, disturbance: Disturbance) {
        {
            let mut identity = lock(&self.shared.identity);
            identity.owned.clear();
            identity.generation = -1;
            if disturbance == (Disturbance::Fenced { forget_member: true }) {
                identity.member_id.clear();
            }
        }
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            tracing::warn!(group = %self.shared.config.group_id, ?disturbance, "membership lost");
            self.tell_lost(held).await;
        }
    }

    async fn tell_lost(&self, partitions: Vec<TopicPartition>) {
        // If nobody listens, nobody has to be told.
        drop(self.events.send(GroupEvent::Lost { partitions }).await);
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// The failure, and what to do where a person can do something.
fn advice(err: &KafkaError) -> String {
    let hint = match err.code() {
        Some(ResponseError::InconsistentGroupProtocol) => {
            ": other members use another `partition.assignment.strategy`; set them to `range`, or use another `group.id`"
        }
        Some(ResponseError::InvalidSessionTimeout) => {
            ": set `session.timeout.ms` between the broker's `group.min.session.timeout.ms` and \
             `group.max.session.timeout.ms`"
        }
        Some(ResponseError::GroupAuthorizationFailed) => ": grant the principal READ on the group",
        Some(ResponseError::GroupMaxSizeReached) => ": the broker's `group.max.size` is reached",
        _ => "",
    };
    format!("{}{hint}", chain(err))
}
