//! What every kind of member has: a group, an identity there, a state to show.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::{Request, StrBytes};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{MemberPhase, MemberState};
use crate::client::{Purpose, chain, lock};
use crate::{ClusterHealth, ConsumerConfig, KafkaClient, KafkaError};

/// Between two attempts at something that the member cannot go on without.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(100);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How to be a member of a group of the classic protocol; names, meanings and defaults are those of Kafka's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.id`.
    pub group_id: Arc<str>,
    /// What the group is for, such as `consumer` or `connect`. Members of another type are refused.
    pub protocol_type: Arc<str>,
    /// `client.id`, if the member has its own: brokers show it with the member.
    pub client_id: Option<Arc<str>>,
    /// `group.instance.id`: a name that survives restarts makes the member static (KIP-345).
    pub group_instance_id: Option<Arc<str>>,
    /// `session.timeout.ms` (15,000): the coordinator drops a member that is silent for so long.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms` (3,000).
    pub heartbeat_interval: Duration,
    /// `rebalance.timeout.ms` (60,000, as Connect has it): how long the others wait for a member to join a rebalance.
    pub rebalance_timeout: Duration,
}

impl GroupConfig {
    /// The defaults, for group `group_id` of type `protocol_type`.
    pub fn new(group_id: impl Into<Arc<str>>, protocol_type: impl Into<Arc<str>>) -> Self {
        Self {
            group_id: group_id.into(),
            protocol_type: protocol_type.into(),
            client_id: None,
            group_instance_id: None,
            session_timeout: Duration::from_secs(15),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(60),
        }
    }

    pub(super) fn of_consumer(config: &ConsumerConfig) -> Self {
        Self {
            group_id: Arc::clone(&config.group_id),
            protocol_type: Arc::from("consumer"),
            client_id: config.client_id.clone(),
            group_instance_id: config.group_instance_id.clone(),
            session_timeout: config.session_timeout,
            heartbeat_interval: config.heartbeat_interval,
            rebalance_timeout: config.rebalance_timeout,
        }
    }
}

/// A member's place in its group, shared by its task and its handles.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) client: Arc<KafkaClient>,
    pub(super) config: GroupConfig,
    identity: Mutex<Identity>,
    pub(super) state: watch::Sender<MemberState>,
    pub(super) leave: CancellationToken,
}

/// Who the member is to the coordinator.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// Empty until there is one.
    pub(super) member_id: String,
    /// The generation, or the member epoch under KIP-848. −1 while it is no member, as the protocol writes it.
    pub(super) generation: i32,
    /// It is on its way into the next generation: the coordinator may be there already.
    pub(super) is_joining: bool,
}

impl Membership {
    pub(super) fn new(client: &Arc<KafkaClient>, config: GroupConfig) -> Arc<Self> {
        Arc::new(Self {
            client: Arc::clone(client),
            config,
            identity: Mutex::new(Identity {
                member_id: String::new(),
                generation: -1,
                is_joining: false,
            }),
            state: watch::Sender::new(MemberState::default()),
            leave: client.stop().child_token(),
        })
    }

    pub(super) fn identity(&self) -> Identity {
        lock(&self.identity).clone()
    }

    pub(super) fn become_known(&self, change: impl FnOnce(&mut Identity)) {
        change(&mut lock(&self.identity));
    }

    /// One attempt at the coordinator, in this member's name.
    pub(super) async fn ask<R: Request>(&self, purpose: Purpose, request: &R) -> Result<R::Response, KafkaError> {
        let config = &self.config;
        let client_id = config.client_id.as_ref();
        self.client
            .request_coordinator_as(client_id, &config.group_id, purpose, request, self.patience())
            .await
    }

    /// A coordinator that hangs is to be noticed before the session ends, not after.
    fn patience(&self) -> Duration {
        self.client
            .config()
            .request_timeout
            .min(self.config.session_timeout / 2)
    }

    /// One attempt at a call that the coordinator answers when all members are in, at the latest after the rebalance
    /// time-out.
    pub(super) async fn ask_and_wait<R: Request>(&self, request: &R) -> Result<R::Response, KafkaError> {
        let config = &self.config;
        let (client_id, timeout) = (
            config.client_id.as_ref(),
            config.rebalance_timeout + Duration::from_secs(10),
        );
        self.client
            .park_at_coordinator(client_id, &config.group_id, request, timeout, self.patience())
            .await
    }

    pub(super) fn instance_id(&self) -> Option<StrBytes> {
        self.config
            .group_instance_id
            .as_ref()
            .map(|id| StrBytes::from_string(id.to_string()))
    }

    /// A broker's refusal of what the member does, naming the group.
    pub(super) fn refused(&self, what: &str, code: ResponseError) -> KafkaError {
        let group = &self.config.group_id;
        self.client.coordinator_answered(group, code);
        let (operation, resource) = match code {
            // A heartbeat of KIP-848 names them.
            ResponseError::TopicAuthorizationFailed => ("DESCRIBE", "the topics of its subscription".to_owned()),
            _ => ("READ", format!("group `{group}`")),
        };
        let what = format!("{what} group `{group}`");
        self.client.refused(what, operation, resource, code)
    }

    /// Publishes what the member is doing.
    pub(super) fn announce(&self, phase: MemberPhase, detail: impl Into<String>) {
        let identity = self.identity();
        let state = MemberState {
            phase,
            detail: detail.into(),
            member_id: Some(identity.member_id).filter(|id| !id.is_empty()).map(Into::into),
            generation: Some(identity.generation).filter(|generation| *generation >= 0),
        };
        self.state.send_if_modified(|old| {
            let changed = *old != state;
            *old = state;
            changed
        });
    }

    /// Publishes what is in the way.
    pub(super) fn announce_failure(&self, err: &KafkaError) {
        let detail = advice(err);
        tracing::debug!(group = %self.config.group_id, error = detail, "group member waits");
        self.announce(MemberPhase::Waiting, detail);
    }

    /// Waits for the first metadata, and says so.
    pub(super) async fn reach_kafka(&self) {
        let mut health = self.client.health();
        let refreshed = self.client.refreshed();
        tokio::pin!(refreshed);
        loop {
            tokio::select! {
                // An error means shutdown, which ends the member's task by its token.
                _ = &mut refreshed => return,
                Ok(()) = health.changed() => {
                    let now = health.borrow_and_update().clone();
                    if matches!(now, ClusterHealth::Unreachable { .. }) {
                        self.announce(MemberPhase::Waiting, now.to_string());
                    }
                }
            }
        }
    }
}

pub(super) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// A part of a heartbeat interval, drawn anew each time, so that the heartbeats of many members do not go out together.
pub(super) fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(StdRng::from_os_rng().random_range(0.8..=1.0))
}

/// The failure, and what to do where a person can do something.
fn advice(err: &KafkaError) -> String {
    let hint = match (err, err.code()) {
        (
            KafkaError::UnsupportedVersion {
                api: "ConsumerGroupHeartbeat",
                ..
            },
            _,
        )
        | (_, Some(ResponseError::UnsupportedVersion)) => {
            ": `group.protocol=consumer` needs Kafka 4.0 with the feature `group.version=1`; else set \
             `group.protocol=classic`"
        }
        (_, Some(ResponseError::InconsistentGroupProtocol)) => {
            ": other members use another protocol type, or share no `partition.assignment.strategy` with this one; \
             set `range,cooperative-sticky` next to Java consumers with their defaults, or use another `group.id`"
        }
        (_, Some(ResponseError::InvalidSessionTimeout)) => {
            ": set `session.timeout.ms` between the broker's `group.min.session.timeout.ms` and \
             `group.max.session.timeout.ms`"
        }
        (_, Some(ResponseError::GroupMaxSizeReached)) => ": the broker's bound on members of a group is reached",
        (_, Some(ResponseError::UnsupportedAssignor)) => {
            ": set `group.remote.assignor` to one of the broker's `group.consumer.assignors`, or remove it"
        }
        (_, Some(ResponseError::UnreleasedInstanceId)) => {
            ": another member has this `group.instance.id`; if it is gone, its session will expire, else give each its \
             own"
        }
        (_, Some(ResponseError::GroupIdNotFound)) => {
            ": its members use the classic protocol and the broker's `group.consumer.migration.policy` does not let \
             it change; set `group.protocol=classic`, or use another `group.id`"
        }
        _ => "",
    };
    format!("{}{hint}", chain(err))
}
