//! What a member tells its user.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::{AssignmentEpoch, Committed, TopicPartition};

/// What happened to the membership.
#[derive(Debug)]
pub enum GroupEvent {
    /// Finish with these partitions, commit, then acknowledge. The member waits up to the rebalance time-out.
    Revoke {
        /// What to give up.
        partitions: Vec<TopicPartition>,
        /// To be called (or dropped) when it is given up.
        ack: RevokeAck,
    },
    /// These partitions came.
    Assign {
        /// What came.
        partitions: Vec<Assigned>,
    },
    /// These partitions belong to others already: drop everything, commit nothing.
    Lost {
        /// What is gone.
        partitions: Vec<TopicPartition>,
    },
    /// The member does something else now. Only the newest state is reported.
    State(MemberState),
}

/// A partition that came with an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// The topic's id, if the brokers know ids.
    pub topic_id: Option<Uuid>,
    /// Index of the partition.
    pub partition: i32,
    /// What the group has committed, if anything.
    pub committed: Option<Committed>,
    /// Tells this assignment from earlier ones of the same partition.
    pub epoch: AssignmentEpoch,
}

/// Lets the member go on with the rebalance. Dropping it does the same.
#[derive(Debug)]
pub struct RevokeAck(pub(super) oneshot::Sender<()>);

impl RevokeAck {
    /// The partitions are given up: nothing more will be committed for them.
    pub fn done(self) {
        // The member may have stopped waiting: then the partitions were reported as lost.
        let _gone = self.0.send(());
    }
}

/// What a member is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberPhase {
    /// Becoming a member, or taking part in a rebalance.
    #[default]
    Joining,
    /// A member with an assignment, which may be empty.
    Stable,
    /// Something is in the way; the detail says what. It is tried again.
    Waiting,
    /// Another process uses the same `group.instance.id`. The member has ended.
    Fenced,
    /// The member has left.
    Left,
}

/// What a member is doing, in detail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberState {
    /// What it is doing.
    pub phase: MemberPhase,
    /// In words, for a status.
    pub detail: String,
    /// Its id, as soon as the coordinator gave one. To be kept where a next life of the process finds it, for
    /// [`KafkaClient::leave_stale_member`](crate::KafkaClient::leave_stale_member).
    pub member_id: Option<Arc<str>>,
    /// The generation it belongs to.
    pub generation: Option<i32>,
}

impl From<MemberState> for GroupEvent {
    fn from(state: MemberState) -> Self {
        Self::State(state)
    }
}

/// The events of one member, in order.
#[derive(Debug)]
pub struct GroupEvents(Feed<GroupEvent>);

impl GroupEvents {
    pub(super) fn new(feed: Feed<GroupEvent>) -> Self {
        Self(feed)
    }

    /// The next event; `None` when the member has ended.
    ///
    /// # Cancel safety
    /// Safe: an event is returned or stays.
    pub async fn recv(&mut self) -> Option<GroupEvent> {
        self.0.recv().await
    }
}

/// Events in order, and between them the newest state.
#[derive(Debug)]
pub(super) struct Feed<E> {
    events: mpsc::Receiver<E>,
    states: watch::Receiver<MemberState>,
    states_ended: bool,
}

impl<E: From<MemberState>> Feed<E> {
    pub(super) fn new(events: mpsc::Receiver<E>, states: watch::Receiver<MemberState>) -> Self {
        Self {
            events,
            states,
            states_ended: false,
        }
    }

    /// # Cancel safety
    /// Safe: an event is returned or stays.
    pub(super) async fn recv(&mut self) -> Option<E> {
        loop {
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Some(event) => return Some(event),
                    // The last state is worth telling: it says why the member has ended.
                    None if !self.states_ended => {
                        self.states_ended = true;
                        return Some(self.states.borrow_and_update().clone().into());
                    }
                    None => return None,
                },
                changed = self.states.changed(), if !self.states_ended => match changed {
                    Ok(()) => return Some(self.states.borrow_and_update().clone().into()),
                    Err(_) => self.states_ended = true,
                },
            }
        }
    }
}
