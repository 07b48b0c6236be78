//! Membership of a consumer group, by the classic protocol.
//!
//! [`GroupMember`] reports differences only: what to give up, what came, what is lost. It keeps its membership alive
//! whatever its user does; only an unanswered [`GroupEvent::Revoke`] ends it, after the rebalance time-out.
//!
//! **Owns** heartbeats, joining, the assignment as leader, commits. **Does not know** what is read or delivered.
//! **Invariant:** a partition is committed only while it is assigned, and within the generation that assigned it.

mod assignor;
mod commit;
mod events;
mod heartbeat;
mod member;
mod subscription;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use kafka_protocol::protocol::StrBytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::client::lock;
use crate::{ConsumerConfig, KafkaClient, TopicPartition};

pub use commit::CommitError;
pub use events::{Assigned, GroupEvent, GroupEvents, MemberPhase, MemberState, RevokeAck};
pub use subscription::{Subscription, SubscriptionError};

/// Reads what other members send through the coordinator, as subscription and as assignment.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_member_bytes(bytes: &bytes::Bytes) -> Result<usize, String> {
    let assignment = assignor::decode_assignment(bytes).map(|partitions| partitions.len());
    let topics = assignor::decode_subscription(bytes).map_err(|err| err.to_string())?;
    Ok(topics.len() + assignment.unwrap_or(0))
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

/// What the member's task and its handle share.
#[derive(Debug)]
struct Shared {
    client: Arc<KafkaClient>,
    config: ConsumerConfig,
    identity: Mutex<Identity>,
    state: watch::Sender<MemberState>,
    leave: CancellationToken,
}

/// Who the member is to the coordinator, and what it may commit.
#[derive(Clone, Debug, Default)]
struct Identity {
    /// Empty until the coordinator gave one.
    member_id: String,
    /// −1 outside of a generation, as the protocol writes it.
    generation: i32,
    owned: HashSet<TopicPartition>,
}

impl GroupMember {
    /// Joins the group of `config` and goes on doing so, whatever happens to Kafka.
    pub fn join(client: &Arc<KafkaClient>, config: ConsumerConfig, subscription: Subscription) -> (Self, GroupEvents) {
        let (events, receiver) = mpsc::channel(EVENTS);
        let (alive, ended) = watch::channel(());
        let shared = Arc::new(Shared {
            client: Arc::clone(client),
            config,
            identity: Mutex::new(Identity {
                generation: -1,
                ..Identity::default()
            }),
            state: watch::Sender::new(MemberState::default()),
            leave: client.stop().child_token(),
        });
        let states = shared.state.subscribe();
        let task = member::Member::new(Arc::clone(&shared), subscription, events);
        client.spawn(async move {
            task.run().await;
            drop(alive);
        });
        (Self { shared, ended }, GroupEvents::new(receiver, states))
    }

    /// The group.
    pub fn group_id(&self) -> &Arc<str> {
        &self.shared.config.group_id
    }

    /// What the member is doing now.
    pub fn state(&self) -> MemberState {
        self.shared.state.borrow().clone()
    }

    /// Leaves the group and waits until that is done; commit before. A static member stays a member until its session
    /// expires, so that a restart finds its partitions again (KIP-345).
    ///
    /// # Cancel safety
    /// Safe: leaving goes on.
    pub async fn leave(self) {
        self.shared.leave.cancel();
        let mut ended = self.ended.clone();
        // Nothing is ever sent: an error means that the task has ended.
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        self.shared.leave.cancel();
    }
}

impl Shared {
    fn identity(&self) -> Identity {
        lock(&self.identity).clone()
    }

    fn instance_id(&self) -> Option<StrBytes> {
        self.config
            .group_instance_id
            .as_ref()
            .map(|id| StrBytes::from_string(id.to_string()))
    }

    /// Publishes what the member is doing.
    fn announce(&self, phase: MemberPhase, detail: impl Into<String>) {
        let (member_id, generation) = {
            let identity = lock(&self.identity);
            (identity.member_id.clone(), identity.generation)
        };
        let state = MemberState {
            phase,
            detail: detail.into(),
            member_id: Some(member_id).filter(|id| !id.is_empty()).map(Into::into),
            generation: Some(generation).filter(|generation| *generation >= 0),
        };
        self.state.send_if_modified(|old| {
            let changed = *old != state;
            *old = state;
            changed
        });
    }
}
