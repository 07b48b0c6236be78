//! A consumer by KIP-848: the broker decides who has what, and heartbeats carry everything.
//!
//! Two things go on side by side: heartbeats tell the coordinator what we want and have, and bring what we shall have;
//! reconciling takes back and hands out until we have it.
//! **Invariant:** what the user holds is among what was reported as owned, so the coordinator gives it to nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::consumer_group_heartbeat_response::Assignment;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::classic::{Disturbance, LEAVE_TIMEOUT, disturbance};
use super::classic_consumer::stable;
use super::handover::Handover;
use super::membership::{FIRST_WAIT, LONGEST_WAIT, Membership, jittered, millis};
use super::{MemberPhase, Subscription};
use crate::backoff::Backoff;
use crate::client::{Purpose, TopicInterest, chain, group_id, lock, topic_name};
use crate::error::code_of;
use crate::{KafkaError, TopicPartition};

/// Epoch of a member that joins.
const JOIN: i32 = 0;
/// Epoch of a member that leaves.
const LEAVE: i32 = -1;
/// Epoch of a static member that goes and may come back under its instance id.
const LEAVE_FOR_NOW: i32 = -2;
/// Between two looks for a topic that does not exist.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// Partitions by topic id, as the protocol has them.
type ById = BTreeMap<Uuid, BTreeSet<i32>>;

pub(super) struct ServerAssigned {
    handover: Handover,
    subscription: Subscription,
    remote_assignor: Option<Arc<str>>,
    _interest: TopicInterest,
    /// What we shall have, as of the last heartbeat that said so; `None` until the first.
    target: watch::Sender<Option<ById>>,
    /// What we own, as the coordinator is told.
    reported: Mutex<ById>,
    /// There is something to tell before the next heartbeat is due.
    due: Notify,
}

/// What a heartbeat tells, in so far as it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    topics: BTreeSet<Arc<str>>,
    owned: ById,
}

impl ServerAssigned {
    pub(super) fn new(handover: Handover, subscription: Subscription, remote_assignor: Option<Arc<str>>) -> Self {
        Self {
            _interest: subscription.interest(&handover.shared.membership.client),
            handover,
            subscription,
            remote_assignor,
            target: watch::Sender::new(None),
            reported: Mutex::default(),
            due: Notify::new(),
        }
    }

    fn membership(&self) -> &Membership {
        &self.handover.shared.membership
    }

    pub(super) async fn run(self) {
        let membership = self.membership();
        tokio::select! {
            biased;
            () = membership.leave.cancelled() => {}
            // Ends only when another process took the instance id over: then there is nothing to leave.
            () = self.live() => return,
        }
        // Also while it joins: the coordinator may have taken it in already. One that it does not know may leave, too.
        if membership.identity().generation >= JOIN {
            let group = &membership.config.group_id;
            match timeout(LEAVE_TIMEOUT, self.leave()).await {
                Ok(Ok(_)) => {}
                Ok(Err(err)) => tracing::debug!(%group, error = %chain(&err), "leave failed"),
                Err(_) => tracing::debug!(%group, "leave was not answered in time"),
            }
        }
        membership.become_known(|identity| identity.generation = -1);
        membership.announce(MemberPhase::Left, "left the group");
    }

    async fn leave(&self) -> Result<ConsumerGroupHeartbeatResponse, KafkaError> {
        let membership = self.membership();
        let epoch = match membership.config.group_instance_id {
            Some(_) => LEAVE_FOR_NOW,
            None => LEAVE,
        };
        membership.ask(Purpose::Heartbeats, &self.heartbeat(epoch)).await
    }

    /// Joining => member => (Fenced: lose) => joining; Replaced => the end.
    async fn live(&self) {
        let membership = self.membership();
        membership.reach_kafka().await;
        // Kept for life: since Kafka 4.0 it is the member that chooses its id (KIP-1082).
        let member_id = Uuid::from_u128(StdRng::from_os_rng().random());
        membership.become_known(|identity| identity.member_id = member_id.to_string());
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            membership.become_known(|identity| identity.generation = JOIN);
            membership.announce(MemberPhase::Joining, "joining the group");
            self.target.send_replace(None);
            lock(&self.reported).clear();
            let disturbance = tokio::select! {
                biased;
                disturbance = self.heartbeats() => disturbance,
                never = self.reconcile() => match never {},
            };
            let group = &membership.config.group_id;
            tracing::warn!(%group, ?disturbance, "membership lost");
            if self.target.borrow().is_some() {
                backoff.reset(); // it was a member: the next loss is another story
            }
            membership.become_known(|identity| identity.generation = -1);
            self.handover.lose_all().await;
            if disturbance == Disturbance::Replaced {
                let detail = "another process joined with the same `group.instance.id`: give each its own";
                membership.announce(MemberPhase::Fenced, detail);
                return;
            }
            sleep(backoff.next()).await;
        }
    }

    /// Heartbeats until the membership cannot go on as it is.
    async fn heartbeats(&self) -> Disturbance {
        let membership = self.membership();
        let client = &membership.client;
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut changes = client.metadata().changes();
        // What the coordinator knows of us. Nothing after a failure, as it may or may not have got the last.
        let mut told: Option<Told> = None;
        loop {
            changes.borrow_and_update();
            let now = Told {
                topics: self.wanted(),
                owned: lock(&self.reported).clone(),
            };
            let request = self.telling(&now, told.as_ref());
            let failure = match membership.ask(Purpose::Heartbeats, &request).await {
                Ok(response) => match code_of(response.error_code) {
                    None => {
                        backoff.reset();
                        let was_told = told.replace(now);
                        self.answered(&response, was_told.is_none());
                        let interval = u64::try_from(response.heartbeat_interval_ms).unwrap_or_default();
                        let wait = jittered(Duration::from_millis(interval).max(FIRST_WAIT));
                        let changed = async {
                            // The sender lives in the client.
                            while told.as_ref().is_some_and(|told| told.topics == self.wanted()) {
                                drop(changes.changed().await);
                            }
                        };
                        tokio::select! {
                            () = sleep(wait) => {}
                            () = self.due.notified() => {}
                            () = changed => {}
                        }
                        continue;
                    }
                    Some(code) => match disturbance(code) {
                        Some(disturbance) => return disturbance,
                        None => membership.refused("heartbeat of", code),
                    },
                },
                Err(KafkaError::ShutDown) => return std::future::pending().await, // the task is about to end
                Err(err) => err,
            };
            told = None;
            // An outage does not end a membership; what Kafka refuses is to be seen.
            if membership.identity().generation == JOIN || failure.code().is_some_and(|code| !code.is_retriable()) {
                membership.announce_failure(&failure);
            }
            sleep(backoff.next()).await;
        }
    }

    fn wanted(&self) -> BTreeSet<Arc<str>> {
        self.subscription.resolve(&self.membership().client.metadata().topics())
    }

    fn heartbeat(&self, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        let membership = self.membership();
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(&membership.config.group_id))
            .with_member_id(StrBytes::from_string(membership.identity().member_id))
            .with_member_epoch(epoch)
            .with_instance_id(membership.instance_id())
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(None)
    }

    /// A heartbeat with what changed; with everything if nothing is known to have been told.
    fn telling(&self, now: &Told, told: Option<&Told>) -> ConsumerGroupHeartbeatRequest {
        let membership = self.membership();
        let mut request = self.heartbeat(membership.identity().generation);
        if told.is_none() {
            let text = |text: &Arc<str>| StrBytes::from_string(text.to_string());
            request.rebalance_timeout_ms = millis(membership.config.rebalance_timeout);
            request.server_assignor = self.remote_assignor.as_ref().map(text);
            request.rack_id = self.handover.shared.config.fetch.client_rack.as_ref().map(text);
        }
        if told.is_none_or(|told| told.topics != now.topics) {
            request.subscribed_topic_names = Some(now.topics.iter().map(topic_name).collect());
        }
        if told.is_none_or(|told| told.owned != now.owned) {
            let owned = now.owned.iter().map(|(id, partitions)| {
                TopicPartitions::default()
                    .with_topic_id(*id)
                    .with_partitions(partitions.iter().copied().collect())
            });
            request.topic_partitions = Some(owned.collect());
        }
        request
    }

    fn answered(&self, response: &ConsumerGroupHeartbeatResponse, is_first: bool) {
        self.membership().become_known(|identity| {
            identity.generation = response.member_epoch;
            if let Some(id) = response.member_id.as_ref().filter(|id| !id.is_empty()) {
                identity.member_id = id.to_string();
            }
        });
        let assignment = response.assignment.as_ref().map(by_id);
        self.target.send_if_modified(|target| match assignment {
            Some(assignment) if target.as_ref() != Some(&assignment) => {
                *target = Some(assignment);
                true
            }
            // After a failure the state is to be shown anew.
            _ => is_first && target.is_some(),
        });
    }

    /// Brings what the user holds in line with the newest target, again and again.
    async fn reconcile(&self) -> Infallible {
        let mut target = self.target.subscribe();
        loop {
            let newest = target.borrow_and_update().clone();
            let Some(newest) = newest else {
                // The sender is ours.
                drop(target.changed().await);
                continue;
            };
            let held = self.handover.held();
            let goes = &held - &self.named(&newest);
            self.handover.take_back(goes).await;
            // Reported before it is handed out, so that nobody else is given it meanwhile.
            let is_news = *lock(&self.reported) != newest;
            *lock(&self.reported) = newest.clone();
            if is_news {
                self.due.notify_one();
            }
            tokio::select! {
                () = self.hand_out(&newest) => {}
                Ok(()) = target.changed() => target.mark_changed(),
            }
        }
    }

    /// Hands out what of the target the user does not hold yet; stays until a topic of the target changes.
    ///
    /// # Cancel safety
    /// Safe: what was not handed out was never the user's.
    async fn hand_out(&self, target: &ById) {
        let membership = self.membership();
        let client = &membership.client;
        let mut changes = client.metadata().changes();
        let mut backoff = Backoff::new(FIRST_LOOK, LONGEST_WAIT);
        loop {
            changes.borrow_and_update();
            // The new topic is the coordinator's to assign: its id is not in the target yet.
            self.handover.lose_replaced().await;
            let named = self.named(target);
            let held = self.handover.held();
            if !held.is_subset(&named) {
                return; // a topic is gone
            }
            self.handover.give(&(&named - &held)).await;
            let missing = self.subscription.missing(&client.metadata().topics());
            let detail = match self.subscription.denied(client) {
                Some(denied) => denied.to_string(),
                None => stable(self.handover.held().len(), &missing),
            };
            membership.announce(MemberPhase::Stable, detail);
            let is_unknown = named.len() < target.values().map(BTreeSet::len).sum();
            tokio::select! {
                // The sender lives in the client.
                Ok(()) = changes.changed() => {}
                () = sleep(backoff.next()), if is_unknown || !missing.is_empty() => client.request_refresh(),
            }
        }
    }

    /// The partitions of those topics whose names are known by now.
    fn named(&self, target: &ById) -> BTreeSet<TopicPartition> {
        let topics = self.membership().client.metadata().topics();
        let mut named = BTreeSet::new();
        for topic in topics.iter() {
            let partitions = topic.id.and_then(|id| target.get(&id)).into_iter().flatten();
            named.extend(partitions.map(|partition| TopicPartition::new(Arc::clone(&topic.name), *partition)));
        }
        named
    }
}

fn by_id(assignment: &Assignment) -> ById {
    let topics = assignment.topic_partitions.iter();
    topics
        .map(|topic| (topic.topic_id, topic.partitions.iter().copied().collect()))
        .collect()
}
