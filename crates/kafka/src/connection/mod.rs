//! One connection to one broker: correlation, pipelining, time-outs, negotiated versions.
//!
//! **Owns** the socket and what is in flight on it. **Does not know** topics, groups or retries.
//! A broker answers the requests of a connection one at a time and in order, so the caller decides what may wait
//! behind what by choosing the connection.
//! **Invariant:** an answer is matched by order and correlation id; any surprise closes the connection.

pub(crate) mod answer;
mod authenticate;
mod dial;
mod link;
mod serve;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Encodable, Request, StrBytes, VersionRange};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::KafkaError;
pub(crate) use dial::{Dialer, FRAME_SLACK_BYTES};
pub(crate) use link::Link;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use serve::Frames;

/// Requests of one connection that may wait for the socket.
const QUEUE: usize = 64;

/// A request on its way to the task that owns the socket.
struct Outgoing {
    correlation_id: i32,
    /// The whole frame, length included.
    frame: Bytes,
    api: &'static str,
    timeout: Duration,
    deadline: Instant,
    /// The frame of the answer behind its length.
    answer: oneshot::Sender<Result<Bytes, KafkaError>>,
}

/// A handle on an open connection; the connection closes when the last handle is dropped and nothing is in flight.
#[derive(Clone)]
pub(crate) struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    address: Arc<str>,
    client_id: StrBytes,
    versions: Vec<(i16, VersionRange)>,
    correlation: std::sync::atomic::AtomicI32,
    requests: mpsc::Sender<Outgoing>,
    end: End,
}

/// Why the socket was closed, for requests that come later: set by the task that owns it, before it takes no more.
#[derive(Clone, Debug, Default)]
struct End(Arc<OnceLock<Arc<str>>>);

impl End {
    fn set(&self, reason: &Arc<str>) {
        self.0.get_or_init(|| Arc::clone(reason));
    }

    fn error(&self, address: &Arc<str>) -> KafkaError {
        KafkaError::Disconnected {
            address: Arc::clone(address),
            reason: self
                .0
                .get()
                .map_or_else(|| Arc::from("it was closed before the request"), Arc::clone),
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.inner.address)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Whether the socket is gone; a request would fail.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.requests.is_closed()
    }

    /// The version in which `R` goes over this connection, at most `max`.
    pub(crate) fn version<R: Request>(&self, max: i16) -> Result<i16, KafkaError> {
        let offered = self
            .inner
            .versions
            .iter()
            .find(|(key, _)| *key == R::KEY)
            .map(|(_, range)| *range);
        let ours = R::VERSIONS.intersect(&<R::Response as kafka_protocol::protocol::Message>::VERSIONS);
        let common = offered.map(|offered| ours.intersect(&offered));
        match common {
            Some(range) if !range.is_empty() && range.min <= max => Ok(range.max.min(max)),
            _ => Err(KafkaError::UnsupportedVersion {
                address: Arc::clone(&self.inner.address),
                api: api_name(R::KEY),
                offered: offered.map_or_else(|| "none".to_owned(), |range| range.to_string()),
                needed: ours.to_string(),
            }),
        }
    }

    /// Sends `request` and waits for its answer.
    ///
    /// # Cancel safety
    /// Safe: the answer is dropped when it comes.
    pub(crate) async fn request<R: Request>(&self, request: &R, timeout: Duration) -> Result<R::Response, KafkaError> {
        self.request_version(request, self.version::<R>(i16::MAX)?, timeout)
            .await
    }

    /// [`Connection::request`] in the name of another `client.id` than the connection's.
    pub(crate) async fn request_as<R: Request>(
        &self,
        client_id: Option<&Arc<str>>,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, KafkaError> {
        let client_id = client_id.map(|id| StrBytes::from_string(id.to_string()));
        let client_id = client_id.as_ref().unwrap_or(&self.inner.client_id);
        let version = self.version::<R>(i16::MAX)?;
        self.begin_as(client_id, request, version, timeout).await?.await
    }

    /// [`Connection::request`] in a version that [`Connection::version`] returned.
    pub(crate) async fn request_version<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<R::Response, KafkaError> {
        self.begin(request, version, timeout).await?.await
    }

    /// Queues `request` behind those of earlier calls; what comes back waits for the answer.
    ///
    /// For requests whose order on the wire counts: once this returns, a later call goes out later.
    pub(crate) async fn begin<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<impl Future<Output = Result<R::Response, KafkaError>> + use<R>, KafkaError> {
        self.begin_as(&self.inner.client_id, request, version, timeout).await
    }

    async fn begin_as<R: Request>(
        &self,
        client_id: &StrBytes,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<impl Future<Output = Result<R::Response, KafkaError>> + use<R>, KafkaError> {
        let api = api_name(R::KEY);
        // Correlation ids only need to differ among the requests in flight, so wrapping is fine.
        let correlation_id = self
            .inner
            .correlation
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let frame = encode(request, version, correlation_id, client_id)?;
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing {
            correlation_id,
            frame,
            api,
            timeout,
            deadline: Instant::now() + timeout,
            answer,
        };
        let (address, end) = (Arc::clone(&self.inner.address), self.inner.end.clone());
        self.inner
            .requests
            .send(outgoing)
            .await
            .map_err(|_| end.error(&address))?;
        Ok(async move {
            let body = answered.await.map_err(|_| end.error(&address))??;
            answer::decode::<R>(&body, version).map_err(|reason| KafkaError::Malformed { address, api, reason })
        })
    }
}

/// The frame of a request, length included.
fn encode<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &StrBytes,
) -> Result<Bytes, KafkaError> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(client_id.clone()));
    let failed = |reason: String| KafkaError::Encode {
        api: api_name(R::KEY),
        version,
        reason,
    };
    let mut frame = BytesMut::with_capacity(256);
    frame.put_i32(0);
    header
        .encode(&mut frame, R::header_version(version))
        .map_err(|err| failed(err.to_string()))?;
    request
        .encode(&mut frame, version)
        .map_err(|err| failed(err.to_string()))?;
    let length = i32::try_from(frame.len() - 4).map_err(|_| failed("larger than 2 GiB".to_owned()))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// Kafka's name of an API, for messages.
pub(crate) fn api_name(key: i16) -> &'static str {
    match ApiKey::try_from(key) {
        Ok(ApiKey::Produce) => "Produce",
        Ok(ApiKey::DescribeGroups) => "DescribeGroups",
        Ok(ApiKey::ListGroups) => "ListGroups",
        Ok(ApiKey::CreateTopics) => "CreateTopics",
        Ok(ApiKey::DeleteTopics) => "DeleteTopics",
        Ok(ApiKey::DeleteRecords) => "DeleteRecords",
        Ok(ApiKey::InitProducerId) => "InitProducerId",
        Ok(ApiKey::AddPartitionsToTxn) => "AddPartitionsToTxn",
        Ok(ApiKey::EndTxn) => "EndTxn",
        Ok(ApiKey::DescribeConfigs) => "DescribeConfigs",
        Ok(ApiKey::CreatePartitions) => "CreatePartitions",
        Ok(ApiKey::DeleteGroups) => "DeleteGroups",
        Ok(ApiKey::ElectLeaders) => "ElectLeaders",
        Ok(ApiKey::IncrementalAlterConfigs) => "IncrementalAlterConfigs",
        Ok(ApiKey::OffsetDelete) => "OffsetDelete",
        Ok(ApiKey::DescribeCluster) => "DescribeCluster",
        Ok(ApiKey::ConsumerGroupDescribe) => "ConsumerGroupDescribe",
        Ok(ApiKey::ShareGroupDescribe) => "ShareGroupDescribe",
        Ok(ApiKey::Fetch) => "Fetch",
        Ok(ApiKey::ListOffsets) => "ListOffsets",
        Ok(ApiKey::OffsetForLeaderEpoch) => "OffsetForLeaderEpoch",
        Ok(ApiKey::Metadata) => "Metadata",
        Ok(ApiKey::OffsetCommit) => "OffsetCommit",
        Ok(ApiKey::OffsetFetch) => "OffsetFetch",
        Ok(ApiKey::FindCoordinator) => "FindCoordinator",
        Ok(ApiKey::ConsumerGroupHeartbeat) => "ConsumerGroupHeartbeat",
        Ok(ApiKey::JoinGroup) => "JoinGroup",
        Ok(ApiKey::Heartbeat) => "Heartbeat",
        Ok(ApiKey::LeaveGroup) => "LeaveGroup",
        Ok(ApiKey::SyncGroup) => "SyncGroup",
        Ok(ApiKey::ApiVersions) => "ApiVersions",
        Ok(ApiKey::SaslHandshake) => "SaslHandshake",
        Ok(ApiKey::SaslAuthenticate) => "SaslAuthenticate",
        _ => "request",
    }
}
