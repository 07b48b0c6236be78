//! Groups whose members decide for themselves what an assignment means, such as workers.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::protocol::StrBytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::classic::{self, ClassicProtocol, Disturbance, During, Round, Trouble};
use super::events::Feed;
use super::membership::Membership;
use super::{EVENTS, GroupConfig, MemberPhase, MemberState};
use crate::{KafkaClient, KafkaError};

/// A member of a group of the classic protocol whose metadata and assignments are bytes to Kafka.
///
/// One of the members leads: it is given everybody's metadata and says what each member gets. Dropping the handle
/// leaves the group in the background; [`CoordinatedGroup::leave`] waits for that.
#[derive(Debug)]
pub struct CoordinatedGroup {
    membership: Arc<Membership>,
    protocols: watch::Sender<Vec<(Arc<str>, Bytes)>>,
    /// Closed when the member's task has ended.
    ended: watch::Receiver<()>,
}

/// What happened to the membership.
#[derive(Debug)]
pub enum CoordinatedEvent {
    /// This member leads the new generation, which waits for its assignments.
    Lead(Leadership),
    /// The new generation is complete, and the assignment of the one before is void.
    Assigned {
        /// What the leader has for this member.
        assignment: Bytes,
        /// The generation.
        generation: i32,
        /// The protocol that all members offer.
        protocol: Arc<str>,
        /// Id of the leading member.
        leader: Arc<str>,
        /// Id of this member.
        member_id: Arc<str>,
    },
    /// The membership is lost, and the assignment with it; the member joins again.
    Lost,
    /// The member does something else now. Only the newest state is reported.
    State(MemberState),
}

impl From<MemberState> for CoordinatedEvent {
    fn from(state: MemberState) -> Self {
        Self::State(state)
    }
}

/// A member as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPeer {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`, if it is static.
    pub group_instance_id: Option<Arc<str>>,
    /// What it joined with.
    pub metadata: Bytes,
}

/// The leader's task. Dropping it without an answer begins another round.
#[derive(Debug)]
pub struct Leadership {
    /// The generation.
    pub generation: i32,
    /// The protocol that all members offer.
    pub protocol: Arc<str>,
    /// All members, this one among them.
    pub members: Vec<GroupPeer>,
    answer: oneshot::Sender<Vec<(Arc<str>, Bytes)>>,
}

impl Leadership {
    /// Gives each member, by id, its assignment; members that are not named get none.
    pub fn assign(self, assignments: Vec<(Arc<str>, Bytes)>) {
        // The round may be over: then there is another to come.
        drop(self.answer.send(assignments));
    }
}

/// The events of one member, in order.
#[derive(Debug)]
pub struct CoordinatedEvents(Feed<CoordinatedEvent>);

impl CoordinatedEvents {
    /// The next event; `None` when the member has ended.
    ///
    /// # Cancel safety
    /// Safe: an event is returned or stays.
    pub async fn recv(&mut self) -> Option<CoordinatedEvent> {
        self.0.recv().await
    }
}

impl CoordinatedGroup {
    /// Joins the group and goes on doing so, whatever happens to Kafka. `protocols` are names with this member's
    /// metadata, the preferred first; the group takes one that all members offer.
    pub fn join(
        client: &Arc<KafkaClient>,
        config: GroupConfig,
        protocols: Vec<(Arc<str>, Bytes)>,
    ) -> (Self, CoordinatedEvents) {
        let (events, receiver) = mpsc::channel(EVENTS);
        let (alive, ended) = watch::channel(());
        let (protocols, offered) = watch::channel(protocols);
        let membership = Membership::new(client, config);
        let feed = Feed::new(receiver, membership.state.subscribe());
        let mut opaque = Opaque {
            membership: Arc::clone(&membership),
            protocols: offered,
            events,
            is_assigned: false,
        };
        let task = Arc::clone(&membership);
        client.spawn(async move {
            classic::run(&task, &mut opaque).await;
            drop(alive);
        });
        let group = Self {
            membership,
            protocols,
            ended,
        };
        (group, CoordinatedEvents(feed))
    }

    /// Joins again with other metadata, which makes a new generation. With the same metadata it does so, too: the
    /// leader's way to ask for a new round.
    pub fn rejoin(&self, protocols: Vec<(Arc<str>, Bytes)>) {
        self.protocols.send_replace(protocols);
    }

    /// The group.
    pub fn group_id(&self) -> &Arc<str> {
        &self.membership.config.group_id
    }

    /// What the member is doing now.
    pub fn state(&self) -> MemberState {
        self.membership.state.borrow().clone()
    }

    /// Leaves the group and waits until that is done. A static member stays a member until its session expires.
    ///
    /// # Cancel safety
    /// Safe: leaving goes on.
    pub async fn leave(self) {
        self.membership.leave.cancel();
        let mut ended = self.ended.clone();
        // Nothing is ever sent: an error means that the task has ended.
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for CoordinatedGroup {
    fn drop(&mut self) {
        self.membership.leave.cancel();
    }
}

struct Opaque {
    membership: Arc<Membership>,
    protocols: watch::Receiver<Vec<(Arc<str>, Bytes)>>,
    events: mpsc::Sender<CoordinatedEvent>,
    is_assigned: bool,
}

impl Opaque {
    /// # Cancel safety
    /// The event is sent or not.
    async fn tell(&self, event: CoordinatedEvent) {
        if self.events.send(event).await.is_err() {
            // Nobody listens any more.
            self.membership.leave.cancel();
        }
    }
}

impl ClassicProtocol for Opaque {
    fn protocols(&mut self) -> Result<Vec<(StrBytes, Bytes)>, KafkaError> {
        let offered = self.protocols.borrow_and_update();
        let offer = |(name, metadata): &(Arc<str>, Bytes)| (StrBytes::from_string(name.to_string()), metadata.clone());
        Ok(offered.iter().map(offer).collect())
    }

    async fn lead(
        &mut self,
        round: &Round,
        members: Vec<JoinGroupResponseMember>,
    ) -> Result<Vec<(StrBytes, Bytes)>, Trouble> {
        if round.keeps_assignment {
            return Ok(Vec::new());
        }
        let peer = |member: JoinGroupResponseMember| GroupPeer {
            member_id: member.member_id.as_str().into(),
            group_instance_id: member.group_instance_id.map(|id| id.as_str().into()),
            metadata: member.metadata,
        };
        let (answer, answered) = oneshot::channel();
        let leadership = Leadership {
            generation: round.generation,
            protocol: round.protocol.as_str().into(),
            members: members.into_iter().map(peer).collect(),
            answer,
        };
        let led = async {
            self.tell(CoordinatedEvent::Lead(leadership)).await;
            answered.await
        };
        let led = timeout(self.membership.config.rebalance_timeout, led);
        match self.membership.alive(During::Rebalance, led).await? {
            Ok(Ok(shares)) => {
                let share = |(id, share): (Arc<str>, Bytes)| (StrBytes::from_string(id.to_string()), share);
                Ok(shares.into_iter().map(share).collect())
            }
            Ok(Err(_)) | Err(_) => Err(Disturbance::Rebalance.into()),
        }
    }

    async fn serve(&mut self, round: Round, assignment: Bytes) -> Result<(), Trouble> {
        let membership = Arc::clone(&self.membership);
        let event = CoordinatedEvent::Assigned {
            assignment,
            generation: round.generation,
            protocol: round.protocol.as_str().into(),
            leader: round.leader.as_str().into(),
            member_id: membership.identity().member_id.into(),
        };
        membership.alive(During::Membership, self.tell(event)).await?;
        self.is_assigned = true;
        membership.announce(MemberPhase::Stable, "a member of the group");
        let changed = async {
            if self.protocols.changed().await.is_err() {
                // The handle is gone, and with it the wish to be a member.
                std::future::pending::<()>().await;
            }
        };
        membership.alive(During::Membership, changed).await?;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<(), Disturbance> {
        Ok(())
    }

    async fn lose(&mut self) {
        if std::mem::take(&mut self.is_assigned) {
            self.tell(CoordinatedEvent::Lost).await;
        }
    }
}
