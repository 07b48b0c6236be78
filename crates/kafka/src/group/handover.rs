//! Handing partitions to the user and taking them back, whichever protocol decides about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::membership::{FIRST_WAIT, LONGEST_WAIT, Membership};
use super::{Assigned, GroupEvent, MemberPhase, RevokeAck};
use crate::backoff::Backoff;
use crate::client::{CommittedOffsets, lock};
use crate::{AssignmentEpoch, Committed, ConsumerConfig, TopicPartition};

/// What a consumer's task and its handle share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) membership: Arc<Membership>,
    pub(super) config: ConsumerConfig,
    /// What the user holds, and may commit.
    pub(super) owned: Mutex<BTreeMap<TopicPartition, Owned>>,
    /// The broker has found the metadata of a commit too long.
    pub(super) is_textless: AtomicBool,
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
        let partitions: Vec<TopicPartition> = partitions.iter().cloned().collect();
        let committed = self.committed(&partitions).await;
        self.hand_over(partitions, committed).await;
    }

    /// Hands out partitions of topics that were made again while the user held them. Nobody has read them yet, and a
    /// commit that came too late for the old topic may stand under the new one's name: they start at offset 0.
    ///
    /// # Cancel safety
    /// As [`Handover::give`].
    pub(super) async fn give_anew(&self, partitions: &BTreeSet<TopicPartition>) {
        if partitions.is_empty() {
            return;
        }
        let unread = || Committed {
            offset: 0,
            leader_epoch: None,
            metadata: String::new(),
        };
        let committed = partitions.iter().map(|partition| (partition.clone(), unread()));
        let committed = committed.collect();
        self.hand_over(partitions.iter().cloned().collect(), committed).await;
    }

    async fn hand_over(&self, partitions: Vec<TopicPartition>, mut committed: CommittedOffsets) {
        let membership = &self.shared.membership;
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

    /// A topic that was deleted and made again under its name is another: what the user holds of the old one is lost.
    /// Returns what that was.
    ///
    /// # Cancel safety
    /// Safe: it is lost and the user is told, or neither.
    pub(super) async fn lose_replaced(&self) -> BTreeSet<TopicPartition> {
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
        replaced
    }

    /// Everything is gone.
    pub(super) async fn lose_all(&self) {
        self.lose(&self.held()).await;
    }

    async fn lose(&self, partitions: &BTreeSet<TopicPartition>) {
        if partitions.is_empty() {
            return;
        }
        // If nobody listens, nobody has to be told.
        let permit = self.events.reserve().await.ok();
        lock(&self.shared.owned).retain(|partition, _| !partitions.contains(partition));
        if let Some(permit) = permit {
            let partitions = partitions.iter().cloned().collect();
            permit.send(GroupEvent::Lost { partitions });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::membership::GroupConfig;
    use super::*;
    use crate::{ClientConfig, KafkaClient};

    #[tokio::test]
    async fn a_loss_is_told_even_if_the_first_attempt_to_tell_was_given_up() {
        let client = KafkaClient::new(ClientConfig::new(["127.0.0.1:1"]), tokio::runtime::Handle::current());
        let config = ConsumerConfig::new("g");
        let partition = TopicPartition::new("t", 0);
        let own = Owned {
            epoch: AssignmentEpoch::next(),
            topic_id: None,
        };
        let (events, mut seen) = mpsc::channel(1);
        let handover = Handover {
            shared: Arc::new(Shared {
                membership: Membership::new(&client, GroupConfig::of_consumer(&config)),
                config,
                owned: Mutex::new(BTreeMap::from([(partition.clone(), own)])),
                is_textless: AtomicBool::new(false),
            }),
            events,
        };
        let earlier = GroupEvent::Assign { partitions: Vec::new() };
        handover.events.try_send(earlier).unwrap();
        assert!(
            handover.lose_all().now_or_never().is_none(),
            "there is no room for the event"
        );
        assert_eq!(
            handover.held(),
            BTreeSet::from([partition.clone()]),
            "so the user holds it"
        );
        seen.recv().await.unwrap();
        handover.lose_all().await;
        assert!(handover.held().is_empty());
        let Some(GroupEvent::Lost { partitions }) = seen.recv().await else {
            panic!("nobody told the user");
        };
        assert_eq!(partitions, [partition]);
        client.shutdown().await;
    }
}
