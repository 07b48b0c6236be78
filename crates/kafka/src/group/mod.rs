//! Membership of groups: consumers by the classic protocol or by KIP-848, and groups of any other type.
//!
//! [`GroupMember`] reports differences only: what to give up, what came, what is lost. It keeps its membership alive
//! whatever its user does; only an unanswered [`GroupEvent::Revoke`] ends it, after the rebalance time-out.
//! [`CoordinatedGroup`] leaves it to its user what an assignment means.
//!
//! **Owns** heartbeats, joining, the assignment as leader, commits. **Does not know** what is read or delivered.
//! **Invariant:** a partition is committed only while it is assigned, and only by the assignment that it was read under.

mod assignor;
mod classic;
mod classic_consumer;
mod commit;
mod coordinated;
mod events;
mod handover;
mod membership;
mod server_assigned;
mod subscription;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use crate::client::lock;
use crate::{ConsumerConfig, GroupProtocol, KafkaClient};
use classic_consumer::ClassicConsumer;
use events::Feed;
use handover::{Handover, Shared};
use membership::Membership;
use server_assigned::ServerAssigned;

pub(crate) use assignor::decode_assignment;
pub use commit::CommitError;
pub use coordinated::{CoordinatedEvent, CoordinatedEvents, CoordinatedGroup, GroupPeer, Leadership};
pub use events::{Assigned, GroupEvent, GroupEvents, MemberPhase, MemberState, RevokeAck};
pub use membership::GroupConfig;
pub use subscription::{Subscription, SubscriptionError};

/// Reads what other members send through the coordinator, as subscription and as assignment.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_member_bytes(bytes: &bytes::Bytes) -> Result<usize, String> {
    let assignment = decode_assignment(bytes).map(|partitions| partitions.len());
    let claim = assignor::decode_subscription(bytes).map_err(|err| err.to_string())?;
    Ok(claim.topics.len() + claim.owned.len() + assignment.unwrap_or(0))
}

/// Events that wait for the user; more are held back, heartbeats go on.
const EVENTS: usize = 8;

/// A member of a consumer group.
///
/// Dropping it leaves the group in the background; [`GroupMember::leave`] waits for that.
#[derive(Debug)]
pub struct GroupMember {
    shared: Arc<Shared>,
    /// Closed when the member's task has ended.
    ended: watch::Receiver<()>,
}

impl GroupMember {
    /// Joins the group of `config` and goes on doing so, whatever happens to Kafka.
    pub fn join(client: &Arc<KafkaClient>, config: ConsumerConfig, subscription: Subscription) -> (Self, GroupEvents) {
        let (events, receiver) = mpsc::channel(EVENTS);
        let (alive, ended) = watch::channel(());
        let membership = Membership::new(client, GroupConfig::of_consumer(&config));
        let states = membership.state.subscribe();
        let shared = Arc::new(Shared {
            membership: Arc::clone(&membership),
            config,
            owned: Mutex::new(BTreeMap::new()),
            is_textless: AtomicBool::new(false),
        });
        let handover = Handover {
            shared: Arc::clone(&shared),
            events,
        };
        let protocol = shared.config.protocol.clone();
        client.spawn(async move {
            let shared = Arc::clone(&handover.shared);
            match protocol {
                GroupProtocol::Classic { assignors } => {
                    let mut consumer = ClassicConsumer::new(handover, subscription, assignors);
                    classic::run(&membership, &mut consumer).await;
                }
                GroupProtocol::Consumer { remote_assignor } => {
                    ServerAssigned::new(handover, subscription, remote_assignor).run().await;
                }
            }
            lock(&shared.owned).clear();
            drop(alive);
        });
        (Self { shared, ended }, GroupEvents::new(Feed::new(receiver, states)))
    }

    /// The group.
    pub fn group_id(&self) -> &Arc<str> {
        &self.shared.config.group_id
    }

    /// What the member is doing now.
    pub fn state(&self) -> MemberState {
        self.shared.membership.state.borrow().clone()
    }

    /// Leaves the group and waits until that is done; commit before. A static member stays a member until its session
    /// expires, so that a restart finds its partitions again (KIP-345).
    ///
    /// # Cancel safety
    /// Safe: leaving goes on.
    pub async fn leave(self) {
        self.shared.membership.leave.cancel();
        let mut ended = self.ended.clone();
        // Nothing is ever sent: an error means that the task has ended.
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        self.shared.membership.leave.cancel();
    }
}
