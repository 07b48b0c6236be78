//! A consumer by the classic protocol: subscribes, shares out as the leader, hands over what changed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::protocol::StrBytes;
use tokio::time::sleep;

use super::assignor::{self, Claim, Claimant, Counts};
use super::classic::{ClassicProtocol, Disturbance, During, Round, Trouble};
use super::handover::{Handover, Shared};
use super::membership::LONGEST_WAIT;
use super::{MemberPhase, Subscription};
use crate::backoff::Backoff;
use crate::client::{TopicInterest, lock};
use crate::{Assignor, KafkaError, TopicInfo, TopicPartition};

/// Between two looks for a topic that does not exist.
const FIRST_LOOK: Duration = Duration::from_millis(250);

pub(super) struct ClassicConsumer {
    handover: Handover,
    subscription: Subscription,
    assignors: Vec<Assignor>,
    _interest: TopicInterest,
    /// What we joined with.
    topics: BTreeSet<Arc<str>>,
    /// The last generation whose assignment we have.
    generation: Option<i32>,
    /// As the leader: what the assignment was made of. A change asks for another.
    basis: Option<Basis>,
    /// Lost with topics that were made again, and not handed out since.
    unread: Mutex<BTreeSet<TopicPartition>>,
}

struct Basis {
    topics: Vec<Arc<str>>,
    counts: Counts,
    _interest: TopicInterest,
}

impl ClassicConsumer {
    pub(super) fn new(handover: Handover, subscription: Subscription, assignors: Vec<Assignor>) -> Self {
        Self {
            _interest: subscription.interest(&handover.shared.membership.client),
            handover,
            subscription,
            assignors,
            topics: BTreeSet::new(),
            generation: None,
            basis: None,
            unread: Mutex::default(),
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handover.shared
    }

    /// Whether partitions are kept through a rebalance. All assignors that are offered must allow it, as the members
    /// of a group may only change over one assignor at a time (KIP-429).
    fn is_cooperative(&self) -> bool {
        let allows = |assignor: &Assignor| match assignor {
            Assignor::CooperativeSticky => true,
            Assignor::Range | Assignor::RoundRobin => false,
        };
        self.assignors.iter().all(allows)
    }

    fn existing(&self) -> Arc<[TopicInfo]> {
        self.shared().membership.client.metadata().topics()
    }

    /// Number of partitions of those topics that exist.
    fn counts(&self, topics: &[Arc<str>]) -> Counts {
        let metadata = self.shared().membership.client.metadata();
        let known = topics.iter().filter_map(|topic| metadata.topic(topic));
        known.map(|info| (info.name, info.partitions)).collect()
    }

    /// Hands out what came, and what was lost with its old topic from the new one's start: whatever is committed there is
    /// not of this topic.
    ///
    /// # Cancel safety
    /// Safe: what was not handed out is still to come.
    async fn hand_out(&self, came: &BTreeSet<TopicPartition>) {
        let unread = &*lock(&self.unread) & came;
        self.handover.give_anew(&unread).await;
        // In one step with the above. What else there was went to other members.
        lock(&self.unread).clear();
        self.handover.give(&(came - &unread)).await;
    }

    /// Watches the metadata until what we subscribe to, or as the leader what we share out, is something else.
    async fn wishes_changed(&self) {
        let membership = &self.shared().membership;
        let client = &membership.client;
        let mut changes = client.metadata().changes();
        let mut backoff = Backoff::new(FIRST_LOOK, LONGEST_WAIT);
        loop {
            changes.borrow_and_update();
            let replaced = self.handover.lose_replaced().await;
            lock(&self.unread).extend(replaced);
            let unread = lock(&self.unread).clone();
            self.hand_out(&unread).await;
            let existing = self.existing();
            if self.subscription.resolve(&existing) != self.topics {
                return;
            }
            let is_outdated = |basis: &Basis| self.counts(&basis.topics) != basis.counts;
            if self.basis.as_ref().is_some_and(is_outdated) {
                return;
            }
            let missing = self.subscription.missing(&existing);
            let detail = match self.subscription.denied(client) {
                Some(denied) => denied.to_string(),
                None => stable(self.handover.held().len(), &missing),
            };
            membership.announce(MemberPhase::Stable, detail);
            tokio::select! {
                // The sender lives in the client.
                Ok(()) = changes.changed() => {}
                () = sleep(backoff.next()), if !missing.is_empty() => client.request_refresh(),
            }
        }
    }
}

/// What a member with an assignment says.
pub(super) fn stable(partitions: usize, missing: &[String]) -> String {
    if missing.is_empty() {
        return format!("{partitions} partitions assigned");
    }
    let missing = missing.join(", ");
    format!("{partitions} partitions assigned, waiting for topic {missing} to be created")
}

impl ClassicProtocol for ClassicConsumer {
    fn protocols(&mut self) -> Result<Vec<(StrBytes, Bytes)>, KafkaError> {
        self.topics = self.subscription.resolve(&self.existing());
        let claim = Claim {
            topics: self.topics.clone(),
            owned: self.handover.held(),
            generation: self.generation,
            rack: self.shared().config.fetch.client_rack.clone(),
        };
        let metadata = assignor::encode_subscription(&claim)?;
        let named = |assignor: &Assignor| (StrBytes::from_static_str(assignor.name()), metadata.clone());
        Ok(self.assignors.iter().map(named).collect())
    }

    async fn lead(
        &mut self,
        round: &Round,
        members: Vec<JoinGroupResponseMember>,
    ) -> Result<Vec<(StrBytes, Bytes)>, Trouble> {
        let chosen = |assignor: &&Assignor| assignor.name() == round.protocol.as_str();
        let Some(assignor) = self.assignors.iter().find(chosen).copied() else {
            let reason = format!("`{}` is no assignor that this member offered", round.protocol);
            let address = "the group's coordinator".into();
            let api = "JoinGroup";
            return Err(KafkaError::Malformed { address, api, reason }.into());
        };
        let claimant = |member: JoinGroupResponseMember| {
            Claimant {
            // A member that cannot be understood gets nothing, rather than stopping all.
            claim: assignor::decode_subscription(&member.metadata).unwrap_or_else(|err| {
                tracing::warn!(member = %member.member_id, error = %err, "subscription of a group member is unreadable");
                Claim::default()
            }),
            member_id: member.member_id.to_string(),
            instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        }
        };
        let members: Vec<Claimant> = members.into_iter().map(claimant).collect();
        let wanted: BTreeSet<&Arc<str>> = members.iter().flat_map(|member| &member.claim.topics).collect();
        let topics: Vec<Arc<str>> = wanted.into_iter().cloned().collect();
        let client = &self.shared().membership.client;
        let interest = client.interest(topics.iter().cloned());
        if self.counts(&topics).len() < topics.len() {
            client.refreshed().await?;
        }
        let counts = self.counts(&topics);
        let mut shares = Vec::with_capacity(members.len());
        if !round.keeps_assignment {
            for (member_id, partitions) in assignor::assign(assignor, &members, &counts) {
                let share = assignor::encode_assignment(&partitions)?;
                shares.push((StrBytes::from_string(member_id), share));
            }
        }
        self.basis = Some(Basis {
            topics,
            counts,
            _interest: interest,
        });
        Ok(shares)
    }

    /// What came is handed out first, then what goes is taken back: the others wait for it, so we join again at once.
    async fn serve(&mut self, round: Round, assignment: Bytes) -> Result<(), Trouble> {
        let membership = Arc::clone(&self.shared().membership);
        if round.leader.as_str() != membership.identity().member_id {
            self.basis = None;
        }
        let target = assignor::decode_assignment(&assignment).map_err(|err| KafkaError::Malformed {
            address: "the group's leader".into(),
            api: "SyncGroup",
            reason: err.to_string(),
        })?;
        self.generation = Some(round.generation);
        let held = self.handover.held();
        let came = &target - &held;
        let goes = &held - &target;
        membership.alive(During::Membership, self.hand_out(&came)).await?;
        if !goes.is_empty() {
            membership
                .alive(During::Rebalance, self.handover.take_back(goes))
                .await?;
            return Ok(());
        }
        membership.alive(During::Membership, self.wishes_changed()).await?;
        Ok(())
    }

    /// The eager protocol gives up everything before joining again. Waits for the user, and no longer than others do.
    async fn prepare(&mut self) -> Result<(), Disturbance> {
        if self.is_cooperative() {
            return Ok(());
        }
        let everything = self.handover.take_back(self.handover.held());
        self.shared().membership.alive(During::Rebalance, everything).await
    }

    async fn lose(&mut self) {
        self.generation = None;
        self.basis = None;
        self.handover.lose_all().await;
    }
}
