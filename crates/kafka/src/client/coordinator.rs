//! Requests to the broker that coordinates a group.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, LeaveGroupRequest, LeaveGroupResponse};
use kafka_protocol::protocol::{Request, StrBytes};

use super::{KafkaClient, Purpose, lock};
use crate::KafkaError;
use crate::backoff::Backoff;
use crate::error::code_of;

/// What a coordinator looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CoordinatorOf {
    /// The members and offsets of a group.
    Group,
    /// The transactions of a transactional id.
    Transactions,
}

impl KafkaClient {
    /// Tells the coordinator that `member_id` is gone, so that the group need not wait for its session to expire.
    ///
    /// For members that an earlier life of this process left behind. A member that is already gone is fine.
    ///
    /// # Errors
    /// A refusal by Kafka, or a time-out after `default.api.timeout.ms` without a coordinator.
    pub async fn leave_stale_member(&self, group: &str, member_id: &str) -> Result<(), KafkaError> {
        let group: Arc<str> = group.into();
        let mut backoff = Backoff::new(self.config.retry_backoff, self.config.retry_backoff_max);
        let attempts = async {
            loop {
                match self.leave_group(&group, member_id).await {
                    Err(err) if err.is_retriable() => tokio::time::sleep(backoff.next()).await,
                    other => return other,
                }
            }
        };
        self.within(attempts, "LeaveGroup").await?
    }

    /// One attempt to leave.
    pub(crate) async fn leave_group(&self, group: &Arc<str>, member_id: &str) -> Result<(), KafkaError> {
        let address = self.coordinator(group).await?;
        let result = self.leave_at(&address, group, member_id).await;
        self.check_coordinator(group, result)
    }

    async fn leave_at(&self, address: &Arc<str>, group: &Arc<str>, member_id: &str) -> Result<(), KafkaError> {
        let connection = self.link(address, Purpose::Coordinator).get(address).await?;
        let version = connection.version::<LeaveGroupRequest>(i16::MAX)?;
        let member = StrBytes::from_string(member_id.to_owned());
        let request = LeaveGroupRequest::default().with_group_id(group_id(group));
        let request = if version >= 3 {
            request.with_members(vec![MemberIdentity::default().with_member_id(member)])
        } else {
            request.with_member_id(member)
        };
        let response: LeaveGroupResponse = connection
            .request_version(&request, version, self.config.request_timeout)
            .await?;
        let codes = std::iter::once(response.error_code).chain(response.members.iter().map(|m| m.error_code));
        match codes
            .filter_map(code_of)
            .find(|code| *code != ResponseError::UnknownMemberId)
        {
            None => Ok(()),
            Some(code) => Err(KafkaError::broker(format!("leaving group `{group}`"), code)),
        }
    }

    /// Address of the group's coordinator, as far as known, else asked: one attempt.
    pub(crate) async fn coordinator(&self, group: &Arc<str>) -> Result<Arc<str>, KafkaError> {
        if let Some(known) = lock(&self.coordinators).get(group) {
            return Ok(Arc::clone(known));
        }
        let address = self.find_coordinator(CoordinatorOf::Group, group).await?;
        lock(&self.coordinators).insert(Arc::clone(group), Arc::clone(&address));
        Ok(address)
    }

    /// Address of a coordinator, asked now: one attempt at each broker that is known.
    pub(crate) async fn find_coordinator(&self, of: CoordinatorOf, key: &Arc<str>) -> Result<Arc<str>, KafkaError> {
        let mut last = KafkaError::ShutDown;
        // The form changed with version 4, and brokers may differ: the version is only known per connection.
        for candidate in self.metadata.candidates(&self.config.bootstrap_servers) {
            match self.find_coordinator_at(&candidate, of, key).await {
                Ok(address) => return Ok(address),
                Err(err) => last = err,
            }
        }
        Err(last)
    }

    async fn find_coordinator_at(
        &self,
        at: &Arc<str>,
        of: CoordinatorOf,
        name: &Arc<str>,
    ) -> Result<Arc<str>, KafkaError> {
        let connection = self.link(at, Purpose::Admin).get(at).await?;
        let version = connection.version::<FindCoordinatorRequest>(i16::MAX)?;
        let key = StrBytes::from_string(name.to_string());
        let (kind, what) = match of {
            CoordinatorOf::Group => (0, "group"),
            CoordinatorOf::Transactions => (1, "transactional id"),
        };
        let request = if version >= 4 {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![key])
        } else {
            FindCoordinatorRequest::default().with_key(key)
        };
        // Version 0 (before 0.11) knows groups only, and has no field for the kind.
        let request = if kind > 0 { request.with_key_type(kind) } else { request };
        let response = connection
            .request_version(&request, version, self.config.request_timeout)
            .await?;
        let (code, host, port) = match response.coordinators.first() {
            Some(found) => (found.error_code, &found.host, found.port),
            None => (response.error_code, &response.host, response.port),
        };
        match code_of(code) {
            Some(code) => Err(KafkaError::broker(
                format!("finding the coordinator of {what} `{name}`"),
                code,
            )),
            None if host.contains(':') => Ok(format!("[{host}]:{port}").into()),
            None => Ok(format!("{host}:{port}").into()),
        }
    }

    /// One attempt at the coordinator over the connection that its heartbeats and commits share.
    pub(crate) async fn request_coordinator<R: Request>(
        &self,
        group: &Arc<str>,
        request: &R,
    ) -> Result<R::Response, KafkaError> {
        let address = self.coordinator(group).await?;
        let result = self.request_at(&address, Purpose::Coordinator, request).await;
        self.check_coordinator(group, result)
    }

    /// One attempt at the coordinator over a connection that nothing else uses.
    pub(crate) async fn park_at_coordinator<R: Request>(
        &self,
        group: &Arc<str>,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, KafkaError> {
        let address = self.coordinator(group).await?;
        let result = self.request_parking(&address, request, timeout).await;
        self.check_coordinator(group, result)
    }

    /// Forgets the coordinator when it turns out to be the wrong one or not to answer.
    pub(crate) fn check_coordinator<T>(
        &self,
        group: &Arc<str>,
        result: Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        match &result {
            Ok(_) => {}
            Err(KafkaError::Broker { code, .. }) => self.coordinator_answered(group, *code),
            Err(_) => self.forget_coordinator(group),
        }
        result
    }

    /// To be called with every error code of a coordinator's answer.
    pub(crate) fn coordinator_answered(&self, group: &Arc<str>, code: ResponseError) {
        if matches!(
            code,
            ResponseError::NotCoordinator | ResponseError::CoordinatorNotAvailable
        ) {
            self.forget_coordinator(group);
        }
    }

    fn forget_coordinator(&self, group: &Arc<str>) {
        lock(&self.coordinators).remove(group);
    }
}

pub(crate) fn group_id(group: &Arc<str>) -> GroupId {
    GroupId(StrBytes::from_string(group.to_string()))
}
