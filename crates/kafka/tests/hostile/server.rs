//! A broker that follows a script: honest answers to the first questions of a client, and any bytes in between.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, MetadataRequest, MetadataResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, ResponseHeader, SyncGroupRequest, SyncGroupResponse,
    TopicName,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

/// What the server does instead of answering.
#[derive(Clone, Debug)]
pub enum Bad {
    HangUp,
    /// Nothing, with the connection left open.
    Silence,
    /// Nothing, neither to this nor to what comes after it over the connection.
    Stuck,
    /// These bytes, as they are.
    Bytes(&'static [u8]),
    /// The honest answer, cut off in the middle; then it hangs up.
    CutOff,
    /// The honest answer with a shorter body, under a length that fits.
    Short,
    OtherCorrelation,
    /// The honest answer twice.
    Twice,
    /// This body behind the right length and correlation id.
    Body(&'static [u8]),
}

/// Which of the requests of an API, counted from 0, are answered how.
pub type Script = Arc<dyn Fn(ApiKey, usize) -> Option<Bad> + Send + Sync>;

pub struct Server {
    pub address: SocketAddr,
    /// When connections came in.
    pub accepted: Arc<Mutex<Vec<Instant>>>,
    _tasks: JoinSet<()>,
}

struct Shared {
    address: SocketAddr,
    script: Script,
    /// What partition 0 of topic `t` holds.
    records: Bytes,
    asked: [AtomicUsize; 100],
}

impl Server {
    pub async fn start(records: Bytes, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let times = Arc::clone(&accepted);
        let shared = Arc::new(Shared {
            address,
            script,
            records,
            asked: std::array::from_fn(|_| AtomicUsize::new(0)),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                times.lock().unwrap().push(Instant::now());
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    // The client may hang up at any time.
                    drop(shared.serve(stream).await);
                });
            }
        });
        Self {
            address,
            accepted,
            _tasks: tasks,
        }
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let length = stream.read_u32().await?;
            let mut request = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut request).await?;
            let mut request = Bytes::from(request);
            let api = ApiKey::try_from(request.get_i16()).unwrap();
            let (version, correlation) = (request.get_i16(), request.get_i32());
            let count = self.asked[api as usize].fetch_add(1, Ordering::SeqCst);
            let honest = self.answer(api, version, correlation);
            match (self.script)(api, count) {
                None => stream.write_all(&framed(&honest)).await?,
                Some(Bad::HangUp) => return Ok(()),
                Some(Bad::Silence) => {}
                Some(Bad::Stuck) => std::future::pending().await,
                Some(Bad::Bytes(bytes)) => stream.write_all(bytes).await?,
                Some(Bad::CutOff) => {
                    let framed = framed(&honest);
                    return stream.write_all(&framed[..framed.len() / 2]).await;
                }
                Some(Bad::Short) => stream.write_all(&framed(&honest[..honest.len() - 3])).await?,
                Some(Bad::OtherCorrelation) => {
                    let other = self.answer(api, version, correlation ^ 1);
                    stream.write_all(&framed(&other)).await?;
                }
                Some(Bad::Twice) => stream.write_all(&framed(&honest).repeat(2)).await?,
                Some(Bad::Body(body)) => {
                    let mut answer = correlation.to_be_bytes().to_vec();
                    answer.extend(body);
                    stream.write_all(&framed(&answer)).await?;
                }
            }
        }
    }

    /// Correlation id and body of the honest answer.
    fn answer(&self, api: ApiKey, version: i16, correlation: i32) -> Vec<u8> {
        const TOPIC: Uuid = Uuid::from_u128(7);
        let name = || TopicName(StrBytes::from_static_str("t"));
        match api {
            ApiKey::ApiVersions => {
                let key = |api: ApiKey, min, max| {
                    ApiVersion::default()
                        .with_api_key(api as i16)
                        .with_min_version(min)
                        .with_max_version(max)
                };
                let keys = vec![
                    key(ApiKey::ApiVersions, 0, 4),
                    key(ApiKey::Metadata, 0, 12),
                    key(ApiKey::Fetch, 4, 17),
                    key(ApiKey::FindCoordinator, 0, 4),
                    key(ApiKey::OffsetFetch, 8, 9),
                    key(ApiKey::OffsetCommit, 8, 8),
                    key(ApiKey::JoinGroup, 5, 5),
                    key(ApiKey::SyncGroup, 3, 3),
                    key(ApiKey::Heartbeat, 3, 3),
                    key(ApiKey::LeaveGroup, 3, 3),
                ];
                encoded::<ApiVersionsRequest>(
                    &ApiVersionsResponse::default().with_api_keys(keys),
                    version,
                    correlation,
                )
            }
            ApiKey::Metadata => {
                let broker = MetadataResponseBroker::default()
                    .with_node_id(1.into())
                    .with_host(StrBytes::from_string(self.address.ip().to_string()))
                    .with_port(self.address.port().into());
                let partition = MetadataResponsePartition::default().with_leader_id(1.into());
                let topic = MetadataResponseTopic::default()
                    .with_name(Some(name()))
                    .with_topic_id(TOPIC)
                    .with_partitions(vec![partition]);
                let response = MetadataResponse::default()
                    .with_brokers(vec![broker])
                    .with_cluster_id(Some(StrBytes::from_static_str("hostile")))
                    .with_topics(vec![topic]);
                encoded::<MetadataRequest>(&response, version, correlation)
            }
            ApiKey::Fetch => {
                let data = PartitionData::default()
                    .with_high_watermark(1_000)
                    .with_last_stable_offset(1_000)
                    .with_records(Some(self.records.clone()));
                let topic = FetchableTopicResponse::default()
                    .with_topic(name())
                    .with_topic_id(TOPIC)
                    .with_partitions(vec![data]);
                encoded::<FetchRequest>(
                    &FetchResponse::default().with_responses(vec![topic]),
                    version,
                    correlation,
                )
            }
            ApiKey::FindCoordinator => {
                let found = Coordinator::default()
                    .with_key(StrBytes::from_static_str("g"))
                    .with_host(StrBytes::from_string(self.address.ip().to_string()))
                    .with_port(self.address.port().into());
                let response = FindCoordinatorResponse::default().with_coordinators(vec![found]);
                encoded::<FindCoordinatorRequest>(&response, version, correlation)
            }
            // Member `m` of a group that another leads; it has `t-0`.
            ApiKey::JoinGroup => {
                let response = JoinGroupResponse::default()
                    .with_generation_id(1)
                    .with_protocol_name(Some(StrBytes::from_static_str("cooperative-sticky")))
                    .with_leader(StrBytes::from_static_str("other"))
                    .with_member_id(StrBytes::from_static_str("m"));
                encoded::<JoinGroupRequest>(&response, version, correlation)
            }
            ApiKey::SyncGroup => {
                // Version 0: one topic of one partition, no user data.
                const ASSIGNMENT: &[u8] = b"\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\xff\xff\xff\xff";
                let response = SyncGroupResponse::default().with_assignment(Bytes::from_static(ASSIGNMENT));
                encoded::<SyncGroupRequest>(&response, version, correlation)
            }
            ApiKey::Heartbeat => encoded::<HeartbeatRequest>(&HeartbeatResponse::default(), version, correlation),
            ApiKey::LeaveGroup => encoded::<LeaveGroupRequest>(&LeaveGroupResponse::default(), version, correlation),
            ApiKey::OffsetCommit => {
                encoded::<OffsetCommitRequest>(&OffsetCommitResponse::default(), version, correlation)
            }
            ApiKey::OffsetFetch => encoded::<OffsetFetchRequest>(&OffsetFetchResponse::default(), version, correlation),
            other => panic!("the script has no answer to {other:?}"),
        }
    }
}

fn encoded<R: Request>(response: &R::Response, version: i16, correlation: i32) -> Vec<u8> {
    let mut out = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut out, R::Response::header_version(version)).unwrap();
    response.encode(&mut out, version).unwrap();
    out.to_vec()
}

fn framed(answer: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(answer.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(answer);
    frame
}
