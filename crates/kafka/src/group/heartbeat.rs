//! Staying a member while something else goes on.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::HeartbeatRequest;
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use crate::KafkaError;
use crate::client::group_id;
use crate::error::code_of;

/// Why a membership cannot go on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disturbance {
    /// The group rebalances: give up, commit, join again.
    Rebalance,
    /// The coordinator does not know this member or generation any more: everything is lost.
    Fenced {
        /// Whether the member id itself is void.
        forget_member: bool,
    },
    /// Another process took over the `group.instance.id`.
    Replaced,
}

/// What a group error means for the membership; `None` if it says nothing about it.
pub(super) fn disturbance(code: ResponseError) -> Option<Disturbance> {
    match code {
        ResponseError::RebalanceInProgress => Some(Disturbance::Rebalance),
        ResponseError::IllegalGeneration => Some(Disturbance::Fenced { forget_member: false }),
        ResponseError::UnknownMemberId => Some(Disturbance::Fenced { forget_member: true }),
        ResponseError::FencedInstanceId => Some(Disturbance::Replaced),
        _ => None,
    }
}

/// Whether a rebalance interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum During {
    /// Yes.
    Membership,
    /// No: it is already being dealt with.
    Rebalance,
}

impl Shared {
    /// Does `work` with heartbeats beside it. Ends early when the membership cannot go on as it is.
    pub(super) async fn alive<T>(&self, during: During, work: impl Future<Output = T>) -> Result<T, Disturbance> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            disturbance = self.heartbeats(during) => Err(disturbance),
        }
    }

    async fn heartbeats(&self, during: During) -> Disturbance {
        let interval = self.config.heartbeat_interval;
        let mut next = Instant::now() + interval;
        loop {
            sleep_until(next).await;
            next = Instant::now() + interval;
            match self.heartbeat().await {
                Ok(None) => {}
                Ok(Some(Disturbance::Rebalance)) if during == During::Rebalance => {}
                Ok(Some(disturbance)) => return disturbance,
                // Kafka away does not end a membership: when it is back, it may still know us; if not, it says so.
                Err(err) => {
                    let error = crate::client::chain(&err);
                    tracing::debug!(group = %self.config.group_id, error, "heartbeat failed");
                    if matches!(err, KafkaError::ShutDown) {
                        return std::future::pending().await; // the member's task is about to end
                    }
                    // Not a whole interval later, as the session runs on.
                    next = Instant::now() + interval.min(self.client.config().retry_backoff);
                }
            }
        }
    }

    async fn heartbeat(&self) -> Result<Option<Disturbance>, KafkaError> {
        let identity = self.identity();
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.config.group_id))
            .with_generation_id(identity.generation)
            .with_member_id(StrBytes::from_string(identity.member_id))
            .with_group_instance_id(self.instance_id());
        let response = self.client.request_coordinator(&self.config.group_id, &request).await?;
        match code_of(response.error_code) {
            None => Ok(None),
            Some(code) => match disturbance(code) {
                Some(disturbance) => Ok(Some(disturbance)),
                None => {
                    self.client.coordinator_answered(&self.config.group_id, code);
                    Err(KafkaError::broker(
                        format!("heartbeat of group `{}`", self.config.group_id),
                        code,
                    ))
                }
            },
        }
    }
}
