//! Handing partitions to the user and taking them back, whichever protocol decides about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::membership::{FIRST_WAIT, LONGEST_WAIT, Membership};
use super::{Assigned, GroupEvent, MemberPhase, RevokeAck};
use crate::backoff::Backoff;
use crate::client::{CommittedOffsets, lock};
use crate::{AssignmentEpoch, ConsumerConfig, TopicPartition};

/// What a consumer's task and its handle share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) membership: Arc<Membership>,
    pub(super) config: ConsumerConfig,
    /// What the user holds, and may commit.
    pub(super) owned: Mutex<BTreeMap<TopicPartition, Owned>>,
}

/// A partition that the user holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) epoch: AssignmentEpoch,
    pub(super) topic_id: Option<Uuid>,
}

/// The task's side of the events.
pub(super) struct Handover {
    pub(super) shared: Arc<Shared>,
    pub(super) events: mpsc::Sender<GroupEvent>,
}

impl Handover {
    /// What the user holds.
    pub(super) fn held(&self) -> BTreeSet<TopicPartition> {
        lock(&self.shared.owned).keys().cloned().collect()
    }

    /// Hands out partitions with their commits.
    ///
    /// # Cancel safety
    /// Safe: the user gets all of them or none.
    pub(super) async fn give(&self, partitions: &BTreeSet<TopicPartition>) {
        if partitions.is_empty() {
            return;
        }
        let membership = &self.shared.membership;
        let partitions: Vec<TopicPartition> = partitions.iter().cloned().collect();
        let mut committed = self.committed(&partitions).await;
        let Ok(permit) = self.events.reserve().await else {
            // Nobody listens any more: give the partitions to others.
            membership.leave.cancel();
            return;
        };
        let mut owned = lock(&self.shared.owned);
        let mut assigned = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let topic = membership.client.metadata().topic(&partition.topic);
            let own = Owned {
                epoch: AssignmentEpoch::next(),
                topic_id: topic.and_then(|info| info.id),
            };
            assigned.push(Assigned {
                topic: Arc::clone(&partition.topic),
                topic_id: own.topic_id,
                partition: partition.partition,
                committed: committed.remove(&partition),
                epoch: own.epoch,
            });
            owned.insert(partition, own);
        }
        permit.send(GroupEvent::Assign { partitions: assigned });
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> CommittedOffsets {
        let membership = &self.shared.membership;
        let (client, group) = (&membership.client, &membership.config.group_id);
        let mut backoff = Backoff::new(client.config().retry_backoff, LONGEST_WAIT);
        loop {
            match client.fetch_committed_once(group, Some(partitions)).await {
                Ok(committed) => return committed,
                Err(err) => {
                    // Starting without knowing the commit would read again from the start: wait, and say so.
                    membership.announce_failure(&err);
                    sleep(backoff.next().max(FIRST_WAIT)).await;
                }
            }
        }
    }

    /// Waits until the user gave these partitions up, and no longer than others wait. What he did not give up in time
    /// is lost.
    ///
    /// # Cancel safety
    /// The user holds them still.
    pub(super) async fn take_back(&self, partitions: BTreeSet<TopicPartition>) {
        if partitions.is_empty() {
            return;
        }
        let Shared { membership, config, .. } = &*self.shared;
        membership.announce(MemberPhase::Joining, "giving up partitions for a rebalance");
        let patience = config.revoke_timeout();
        let (ack, acknowledged) = oneshot::channel();
        let event = GroupEvent::Revoke {
            partitions: partitions.iter().cloned().collect(),
            ack: RevokeAck(ack),
        };
        let handed_over = async {
            if self.events.send(event).await.is_ok() {
                // An error means that the acknowledgement was dropped, which is one.
                drop(acknowledged.await);
            }
        };
        let waited = timeout(patience, handed_over).await;
        if waited.is_err() {
            let after_s = patience.as_secs();
            tracing::warn!(group = %config.group_id, after_s, "partitions were not given up in time and are lost");
            self.lose(&partitions).await;
        } else {
            lock(&self.shared.owned).retain(|partition, _| !partitions.contains(partition));
        }
    }

    /// A topic that was deleted and made again under its name is another: what the user holds of the old one is lost,
    /// and the same partitions of the new one are handed out.
    ///
    /// # Cancel safety
    /// Between the two steps the partitions are nobody's until the next assignment.
    pub(super) async fn renew(&self) {
        let metadata = self.shared.membership.client.metadata();
        let is_another = |(partition, own): &(&TopicPartition, &Owned)| {
            let now = metadata.topic(&partition.topic).and_then(|topic| topic.id);
            matches!((own.topic_id, now), (Some(old), Some(now)) if old != now)
        };
        let replaced: BTreeSet<TopicPartition> = {
            let owned = lock(&self.shared.owned);
            owned
                .iter()
                .filter(is_another)
                .map(|(partition, _)| partition.clone())
                .collect()
        };
        self.lose(&replaced).await;
        self.give(&replaced).await;
    }

    /// Everything is gone.
    pub(super) async fn lose_all(&self) {
        self.lose(&self.held()).await;
    }

    async fn lose(&self, partitions: &BTreeSet<TopicPartition>) {
        if partitions.is_empty() {
            return;
        }
        lock(&self.shared.owned).retain(|partition, _| !partitions.contains(partition));
        let partitions = partitions.iter().cloned().collect();
        // If nobody listens, nobody has to be told.
        drop(self.events.send(GroupEvent::Lost { partitions }).await);
    }
}
