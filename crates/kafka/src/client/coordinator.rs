//! Requests to the broker that coordinates a group.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, FindCoordinatorRequest, GroupId, LeaveGroupRequest, LeaveGroupResponse,
};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{KafkaClient, Purpose, SILENCE, host_port, lock};
use crate::KafkaError;
use crate::backoff::Backoff;
use crate::connection::{Connection, api_name};
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
        match codes.filter_map(code_of).next() {
            None => Ok(()),
            // It may be a member by KIP-848, which leaves in another way.
            Some(ResponseError::UnknownMemberId) => self.leave_server_assigned(&connection, group, member_id).await,
            Some(code) => Err(self.leaving(group, code)),
        }
    }

    async fn leave_server_assigned(
        &self,
        connection: &Connection,
        group: &Arc<str>,
        member_id: &str,
    ) -> Result<(), KafkaError> {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(group))
            .with_member_id(StrBytes::from_string(member_id.to_owned()))
            .with_member_epoch(-1);
        let response = match connection.request(&request, self.config.request_timeout).await {
            // Then nobody is.
            Err(KafkaError::UnsupportedVersion { .. }) => return Ok(()),
            other => other?,
        };
        match code_of(response.error_code) {
            None
            | Some(
                ResponseError::UnknownMemberId | ResponseError::GroupIdNotFound | ResponseError::UnsupportedVersion,
            ) => Ok(()),
            Some(code) => Err(self.leaving(group, code)),
        }
    }

    /// Address of the group's coordinator, as far as known, else asked: one attempt. Whoever asks while a question is
    /// under way is part of the next one, so that a thousand groups ask twice and not a thousand times.
    pub(crate) async fn coordinator(&self, group: &Arc<str>) -> Result<Arc<str>, KafkaError> {
        let coordinators = &self.coordinators;
        if let Some(known) = coordinators.known(group) {
            return Ok(known);
        }
        let asked_at = {
            let mut wanted = lock(&coordinators.wanted);
            wanted.groups.insert(Arc::clone(group));
            wanted.round
        };
        let mut last = coordinators.turn.lock().await;
        if let Some(known) = coordinators.known(group) {
            return Ok(known);
        }
        if last.round > asked_at
            && let Some(err) = last.failures.get(group)
        {
            return Err(err.clone());
        }
        let groups = {
            let mut wanted = lock(&coordinators.wanted);
            wanted.round += 1;
            last.round = wanted.round;
            // Taken by a round that was given up half-way, or that others failed in.
            wanted.groups.insert(Arc::clone(group));
            std::mem::take(&mut wanted.groups)
        };
        last.failures.clear();
        let mut found = self.find_coordinators(CoordinatorOf::Group, &groups).await;
        for (group, place) in &found {
            match place {
                Ok(address) => drop(lock(&coordinators.known).insert(Arc::clone(group), Arc::clone(address))),
                Err(err) => drop(last.failures.insert(Arc::clone(group), err.clone())),
            }
        }
        let own = found.remove(group);
        own.unwrap_or_else(|| self.not_found(CoordinatorOf::Group, group, ResponseError::CoordinatorNotAvailable))
    }

    /// Address of a coordinator, asked now: one attempt.
    pub(crate) async fn find_coordinator(&self, of: CoordinatorOf, key: &Arc<str>) -> Result<Arc<str>, KafkaError> {
        let mut found = self.find_coordinators(of, &BTreeSet::from([Arc::clone(key)])).await;
        found
            .remove(key)
            .unwrap_or_else(|| self.not_found(of, key, ResponseError::CoordinatorNotAvailable))
    }

    /// Asks the brokers in turn until one answers; while one keeps silent the next as well, so that one which hangs does
    /// not hold all groups up for `request.timeout.ms`. The first answer counts for all keys: a group that it does not
    /// know must not keep the others waiting, and is asked about again by whoever wants it, from the next broker on.
    async fn find_coordinators(&self, of: CoordinatorOf, keys: &BTreeSet<Arc<str>>) -> Found {
        let keys: Vec<_> = keys.iter().cloned().collect();
        let mut candidates = self.metadata.candidates(&self.config.bootstrap_servers);
        let first = &self.coordinators.first;
        let skipped = first.load(Ordering::Relaxed) % candidates.len().max(1);
        candidates.rotate_left(skipped);
        let mut candidates = candidates.into_iter();
        let mut attempts = FuturesUnordered::new();
        let mut last = KafkaError::ShutDown;
        loop {
            if let Some(candidate) = candidates.next() {
                let keys = &keys;
                let timeout = self.config.request_timeout;
                attempts.push(async move { self.find_coordinators_at(&candidate, of, keys, timeout).await });
            } else if attempts.is_empty() {
                let failed = keys.iter().map(|key| (Arc::clone(key), Err(last.clone())));
                return failed.collect();
            }
            let has_more = candidates.len() > 0;
            tokio::select! {
                Some(answer) = attempts.next() => match answer {
                    Ok(found) => {
                        let is_known = |key: &Arc<str>| !matches!(found.get(key), None | Some(Err(KafkaError::Broker { .. })));
                        if !keys.iter().all(is_known) {
                            first.fetch_add(1, Ordering::Relaxed);
                        }
                        return found;
                    }
                    Err(err) => last = err,
                },
                () = sleep(SILENCE), if has_more => {}
            }
        }
    }

    async fn find_coordinators_at(
        &self,
        at: &Arc<str>,
        of: CoordinatorOf,
        keys: &[Arc<str>],
        timeout: Duration,
    ) -> Result<Found, KafkaError> {
        let connection = self.link(at, Purpose::Admin).get(at).await?;
        // The form changed with version 4, and brokers may differ: the version is only known per connection.
        let version = connection.version::<FindCoordinatorRequest>(i16::MAX)?;
        // Version 0 (before 0.11) knows groups only, and has no field for the kind: the default is a group.
        let request = match of {
            CoordinatorOf::Group => FindCoordinatorRequest::default(),
            CoordinatorOf::Transactions => FindCoordinatorRequest::default().with_key_type(1),
        };
        let text = |key: &Arc<str>| StrBytes::from_string(key.to_string());
        let mut found = Found::new();
        if version >= 4 {
            let request = request.with_coordinator_keys(keys.iter().map(text).collect());
            let response = connection.request_version(&request, version, timeout).await?;
            for answer in &response.coordinators {
                let key: Arc<str> = answer.key.as_str().into();
                let place = self.place(of, &key, answer.error_code, &answer.host, answer.port);
                found.insert(key, place);
            }
        } else {
            for key in keys {
                let request = request.clone().with_key(text(key));
                let answer = connection.request_version(&request, version, timeout).await?;
                let place = self.place(of, key, answer.error_code, &answer.host, answer.port);
                found.insert(Arc::clone(key), place);
            }
        }
        Ok(found)
    }

    /// One attempt at the coordinator over the connection that commits share.
    pub(crate) async fn request_coordinator<R: Request>(
        &self,
        group: &Arc<str>,
        request: &R,
    ) -> Result<R::Response, KafkaError> {
        let timeout = self.config.request_timeout;
        self.request_coordinator_as(None, group, Purpose::Coordinator, request, timeout)
            .await
    }

    /// One attempt at the coordinator, in the name of a member's own `client.id` if it has one. All of it takes `timeout`
    /// at most: a coordinator that hangs is forgotten then, also if it did not get as far as a connection.
    pub(crate) async fn request_coordinator_as<R: Request>(
        &self,
        client_id: Option<&Arc<str>>,
        group: &Arc<str>,
        purpose: Purpose,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, KafkaError> {
        let deadline = Instant::now() + timeout;
        let attempt = async {
            let address = self.coordinator(group).await?;
            let connection = self.link(&address, purpose).get(&address).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            connection.request_as(client_id, request, left).await
        };
        let result = timeout_at(deadline, attempt).await.unwrap_or_else(|_| {
            let known = self.coordinators.known(group);
            Err(KafkaError::TimedOut {
                address: known.unwrap_or_else(|| self.config.bootstrap_servers.join(",").into()),
                api: api_name(R::KEY),
                after: timeout,
            })
        });
        self.check_coordinator(group, result)
    }

    /// One attempt at the coordinator over a connection that nothing else uses, in the name of a member's `client.id`.
    ///
    /// The answer may take minutes. Meanwhile the coordinator is asked, at least every two times `silence`, whether it
    /// is one still: if it keeps silent for so long, or names another broker, there will be none.
    pub(crate) async fn park_at_coordinator<R: Request>(
        &self,
        client_id: Option<&Arc<str>>,
        group: &Arc<str>,
        request: &R,
        timeout: Duration,
        silence: Duration,
    ) -> Result<R::Response, KafkaError> {
        let address = self.coordinator(group).await?;
        let result = tokio::select! {
            biased;
            answer = self.request_parking(&address, client_id, request, timeout) => answer,
            gone = self.coordinator_gone(&address, group, silence) => Err(gone),
        };
        self.check_coordinator(group, result)
    }

    /// Ends when the broker at `address` coordinates the group no longer, or keeps silent.
    async fn coordinator_gone(&self, address: &Arc<str>, group: &Arc<str>, silence: Duration) -> KafkaError {
        let groups = [Arc::clone(group)];
        loop {
            sleep(silence).await;
            let asked = self.find_coordinators_at(address, CoordinatorOf::Group, &groups, silence);
            match timeout(silence, asked).await {
                // An error is no news: it may not know for a moment.
                Ok(Ok(found)) => match found.get(group) {
                    Some(Ok(now)) if now != address => {
                        return KafkaError::Disconnected {
                            address: Arc::clone(address),
                            reason: format!("group `{group}` is coordinated at {now} by now").into(),
                        };
                    }
                    _ => {}
                },
                Ok(Err(err @ KafkaError::TimedOut { .. })) => return err,
                // Of a connection that is gone the kernel tells, also under the call.
                Ok(Err(_)) => {}
                Err(_) => {
                    return KafkaError::TimedOut {
                        address: Arc::clone(address),
                        api: "FindCoordinator",
                        after: silence,
                    };
                }
            }
        }
    }

    /// Forgets the coordinator when it turns out to be the wrong one or not to answer.
    pub(crate) fn check_coordinator<T>(
        &self,
        group: &Arc<str>,
        result: Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        match &result {
            Ok(_) => {}
            Err(err) => match err.code() {
                Some(code) => self.coordinator_answered(group, code),
                None => self.forget_coordinator(group),
            },
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
        lock(&self.coordinators.known).remove(group);
    }

    fn place(
        &self,
        of: CoordinatorOf,
        key: &Arc<str>,
        error_code: i16,
        host: &str,
        port: i32,
    ) -> Result<Arc<str>, KafkaError> {
        match code_of(error_code) {
            Some(code) => self.not_found(of, key, code),
            None => Ok(host_port(host, port)),
        }
    }

    fn not_found(&self, of: CoordinatorOf, key: &Arc<str>, code: ResponseError) -> Result<Arc<str>, KafkaError> {
        // DESCRIBE is enough to be told, but of no use without WRITE in the second case.
        let (operation, resource) = match of {
            CoordinatorOf::Group => ("DESCRIBE", format!("group `{key}`")),
            CoordinatorOf::Transactions => ("WRITE", format!("transactional id `{key}`")),
        };
        let what = format!("finding the coordinator of {resource}");
        Err(self.refused(what, operation, resource, code))
    }

    fn leaving(&self, group: &Arc<str>, code: ResponseError) -> KafkaError {
        let resource = format!("group `{group}`");
        self.refused(format!("leaving {resource}"), "READ", resource, code)
    }
}

/// Which broker coordinates which group.
#[derive(Debug, Default)]
pub(super) struct Coordinators {
    known: Mutex<HashMap<Arc<str>, Arc<str>>>,
    wanted: Mutex<Wanted>,
    /// Which broker is asked first, from the most promising on: another one after each that does not know a group.
    first: AtomicUsize,
    /// Held while a question is under way.
    turn: tokio::sync::Mutex<LastRound>,
}

/// What the next question is about.
#[derive(Debug, Default)]
struct Wanted {
    groups: BTreeSet<Arc<str>>,
    /// Number of the last question.
    round: u64,
}

/// How the last question ended for those who are not known.
#[derive(Debug, Default)]
struct LastRound {
    round: u64,
    failures: Found<KafkaError>,
}

/// Addresses by group.
type Found<T = Result<Arc<str>, KafkaError>> = HashMap<Arc<str>, T>;

impl Coordinators {
    fn known(&self, group: &Arc<str>) -> Option<Arc<str>> {
        lock(&self.known).get(group).cloned()
    }
}

pub(crate) fn group_id(group: &Arc<str>) -> GroupId {
    GroupId(StrBytes::from_string(group.to_string()))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::HeartbeatRequest;

    use super::*;
    use crate::ClientConfig;

    // A process that is stopped still has a kernel that takes connections. Only the request had a time-out, so the
    // handshake before it took 30 s, longer than most sessions.
    #[tokio::test]
    async fn a_coordinator_that_hangs_during_the_handshake_is_forgotten_in_time() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: Arc<str> = silent.local_addr().unwrap().to_string().into();
        let client = KafkaClient::new(
            ClientConfig::new([Arc::clone(&address)]),
            tokio::runtime::Handle::current(),
        );
        let group: Arc<str> = "g".into();
        lock(&client.coordinators.known).insert(Arc::clone(&group), Arc::clone(&address));
        let request = HeartbeatRequest::default();
        let asked =
            client.request_coordinator_as(None, &group, Purpose::Heartbeats, &request, Duration::from_millis(50));
        let failure = tokio::time::timeout(Duration::from_secs(5), asked)
            .await
            .unwrap()
            .unwrap_err();
        let wanted = format!("Kafka at {address} did not answer Heartbeat within 50 ms");
        assert_eq!(failure.to_string(), wanted);
        assert_eq!(client.coordinators.known(&group), None);
        client.shutdown().await;
    }
}
