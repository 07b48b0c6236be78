//! Every request in every version: answered, or refused, and always written.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest,
    OffsetFetchRequest, ProduceRequest, add_partitions_to_txn_request, create_topics_request, delete_topics_request,
    describe_configs_request, fetch_request, join_group_request, leave_group_request, list_offsets_request,
    metadata_request, offset_fetch_request, produce_request,
};
use kafka_protocol::protocol::encode_request_header_into_buffer;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::broker::batch::{self, Ending};
use crate::broker::cluster::NewTopic;
use crate::broker::configs::TopicConfigs;
use crate::broker::settings::Settings;

fn cluster() -> Cluster {
    let cluster = Cluster::open(Settings::default(), &[1]).unwrap();
    let new = NewTopic {
        name: "t".to_owned(),
        partitions: 2,
        replication_factor: 1,
        configs: TopicConfigs::default(),
    };
    cluster.create_topic(&new).unwrap();
    cluster
}

/// Every request in every version, with nothing in it, as a frame.
fn frames() -> Vec<BytesMut> {
    let mut frames = Vec::new();
    for (api, range) in SERVED {
        for version in range.min..=range.max {
            let header = kafka_protocol::messages::RequestHeader::default()
                .with_request_api_key(*api as i16)
                .with_request_api_version(version);
            let mut out = BytesMut::new();
            encode_request_header_into_buffer(&mut out, &header).unwrap();
            // Zeros are empty texts and arrays, or in the flexible versions null ones.
            out.extend([0; 48]);
            frames.push(out);
        }
    }
    frames
}

async fn answered(cluster: &Cluster, frame: Bytes) -> Result<Option<BytesMut>, Unanswerable> {
    let envelope = Envelope::parse(frame)?;
    let call = Call::new(cluster, 1, &envelope, Client::default(), None);
    // A member may be parked for good, as nobody drives the groups here.
    let answer = tokio::time::timeout(Duration::from_secs(3600), answer(&call, &envelope)).await;
    answer.unwrap_or(Ok(None))
}

#[tokio::test(start_paused = true)]
async fn damaged_requests_are_answered_or_refused_in_every_version() {
    let cluster = cluster();
    let mut random = StdRng::seed_from_u64(1);
    let frames = frames();
    assert!(frames.len() > 150);
    let mut answers = 0;
    for frame in &frames {
        for _ in 0..40 {
            let mut frame = frame.clone();
            for _ in 0..random.random_range(0..6) {
                let at = random.random_range(4..frame.len());
                frame[at] = match random.random_range(0..4) {
                    0 => 0xff,
                    1 => 0x80,
                    2 => random.random_range(0..5),
                    _ => random.random(),
                };
            }
            let cut = random.random_range(frame.len() / 2..=frame.len());
            match answered(&cluster, frame.freeze().slice(..cut)).await {
                Ok(Some(_)) => answers += 1,
                Err(err @ Unanswerable::Answer { .. }) => panic!("{err}"),
                Ok(None) | Err(_) => {}
            }
        }
    }
    assert!(
        answers > 1_000,
        "only {answers} of the damaged requests were still requests"
    );
}

#[tokio::test]
async fn a_version_that_is_not_known_is_answered_in_one_that_is() {
    let mut out = BytesMut::new();
    bytes::BufMut::put_slice(&mut out, &[0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xff, 0]);
    let answer = answered(&cluster(), out.freeze()).await.unwrap().unwrap();
    // Length, correlation id, code, and the versions.
    assert_eq!(answer[4..10], [0, 0, 0, 5, 0, 35]);
    assert!(answer.len() > 100);
}

/// Whatever is answered has to be writable in the version that was asked in.
#[tokio::test(start_paused = true)]
async fn full_answers_can_be_written_in_every_version() {
    let cluster = cluster();
    let name = || text("t");
    for fault in [
        None,
        Some(ResponseError::NotLeaderOrFollower),
        Some(ResponseError::NotCoordinator),
    ] {
        let asked = |api: ApiKey| {
            let range = SERVED.iter().find(|(served, _)| *served == api).unwrap().1;
            range.min..=range.max
        };
        for node in [1, 2] {
            for version in asked(ApiKey::Metadata) {
                let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name().into()));
                let unknown = metadata_request::MetadataRequestTopic::default().with_name(Some(text("?").into()));
                let request = MetadataRequest::default().with_topics(Some(vec![topic, unknown]));
                writable(&cluster, node, fault, ApiKey::Metadata, version, &request).await;
            }
            for version in asked(ApiKey::ListOffsets) {
                let partition = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
                let topic = list_offsets_request::ListOffsetsTopic::default()
                    .with_name(name().into())
                    .with_partitions(vec![partition]);
                let request = ListOffsetsRequest::default().with_topics(vec![topic]);
                writable(&cluster, node, fault, ApiKey::ListOffsets, version, &request).await;
            }
            for version in asked(ApiKey::Fetch) {
                let partition = fetch_request::FetchPartition::default().with_partition_max_bytes(1000);
                let mut topic = fetch_request::FetchTopic::default().with_partitions(vec![partition]);
                if version >= 13 {
                    topic.topic_id = cluster.topic("t").unwrap().id;
                } else {
                    topic.topic = name().into();
                }
                let mut request = FetchRequest::default().with_topics(vec![topic]).with_max_bytes(1000);
                if version >= 7 {
                    request.session_epoch = 0;
                }
                writable(&cluster, node, fault, ApiKey::Fetch, version, &request).await;
            }
            for version in asked(ApiKey::Produce) {
                let data = produce_request::PartitionProduceData::default().with_records(Some(Bytes::new()));
                let mut topic = produce_request::TopicProduceData::default().with_partition_data(vec![data]);
                if version >= 13 {
                    topic.topic_id = cluster.topic("t").unwrap().id;
                } else {
                    topic.name = name().into();
                }
                let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]);
                writable(&cluster, node, fault, ApiKey::Produce, version, &request).await;
            }
            for version in asked(ApiKey::FindCoordinator) {
                let request = if version < 4 {
                    FindCoordinatorRequest::default().with_key(name())
                } else {
                    FindCoordinatorRequest::default().with_coordinator_keys(vec![name()])
                };
                writable(&cluster, node, fault, ApiKey::FindCoordinator, version, &request).await;
            }
            for version in asked(ApiKey::JoinGroup) {
                let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(name());
                let request = JoinGroupRequest::default()
                    .with_group_id(text(&format!("g{version}")).into())
                    .with_session_timeout_ms(6000)
                    .with_protocol_type(text("consumer"))
                    .with_protocols(vec![protocol]);
                writable(&cluster, node, fault, ApiKey::JoinGroup, version, &request).await;
            }
            for version in asked(ApiKey::DescribeGroups) {
                let groups = ["g0", "?"].map(|id| text(id).into()).to_vec();
                let request = DescribeGroupsRequest::default()
                    .with_groups(groups)
                    .with_include_authorized_operations(version >= 3);
                writable(&cluster, node, fault, ApiKey::DescribeGroups, version, &request).await;
            }
            for version in asked(ApiKey::OffsetFetch) {
                let request = if version < 8 {
                    let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
                        .with_name(name().into())
                        .with_partition_indexes(vec![1]);
                    OffsetFetchRequest::default()
                        .with_group_id(name().into())
                        .with_topics(Some(vec![topic]))
                } else {
                    let topic = offset_fetch_request::OffsetFetchRequestTopics::default()
                        .with_name(name().into())
                        .with_partition_indexes(vec![1]);
                    let group = offset_fetch_request::OffsetFetchRequestGroup::default()
                        .with_group_id(name().into())
                        .with_topics(Some(vec![topic]));
                    OffsetFetchRequest::default().with_groups(vec![group])
                };
                writable(&cluster, node, fault, ApiKey::OffsetFetch, version, &request).await;
            }
            for version in asked(ApiKey::CreateTopics) {
                let topics = [format!("made-{version}-{node}"), "t".to_owned()].map(|name| {
                    create_topics_request::CreatableTopic::default()
                        .with_name(text(&name).into())
                        .with_num_partitions(1)
                        .with_replication_factor(1)
                });
                let request = CreateTopicsRequest::default().with_topics(topics.to_vec());
                writable(&cluster, node, fault, ApiKey::CreateTopics, version, &request).await;
            }
            for version in asked(ApiKey::DeleteTopics) {
                let names = [format!("made-{version}-{node}"), "?".to_owned()];
                let request = if version < 6 {
                    let names = names.map(|name| text(&name).into()).to_vec();
                    DeleteTopicsRequest::default().with_topic_names(names)
                } else {
                    let topics = names.map(|name| {
                        delete_topics_request::DeleteTopicState::default().with_name(Some(text(&name).into()))
                    });
                    DeleteTopicsRequest::default().with_topics(topics.to_vec())
                };
                writable(&cluster, node, fault, ApiKey::DeleteTopics, version, &request).await;
            }
            for version in asked(ApiKey::DescribeConfigs) {
                let resources = [("t", 2), ("1", 4), ("?", 2)].map(|(name, kind)| {
                    describe_configs_request::DescribeConfigsResource::default()
                        .with_resource_name(text(name))
                        .with_resource_type(kind)
                        .with_configuration_keys(None)
                });
                let request = DescribeConfigsRequest::default()
                    .with_resources(resources.to_vec())
                    .with_include_synonyms(true);
                writable(&cluster, node, fault, ApiKey::DescribeConfigs, version, &request).await;
            }
            for version in asked(ApiKey::LeaveGroup) {
                let request = LeaveGroupRequest::default().with_group_id(name().into());
                let request = if version < 3 {
                    request.with_member_id(name())
                } else {
                    let member = leave_group_request::MemberIdentity::default().with_member_id(name());
                    request.with_members(vec![member])
                };
                writable(&cluster, node, fault, ApiKey::LeaveGroup, version, &request).await;
            }
            for version in asked(ApiKey::AddPartitionsToTxn) {
                let topic = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
                    .with_name(name().into())
                    .with_partitions(vec![0, 7]);
                let request = if version < 4 {
                    AddPartitionsToTxnRequest::default()
                        .with_v3_and_below_transactional_id(name().into())
                        .with_v3_and_below_topics(vec![topic])
                } else {
                    let transaction = add_partitions_to_txn_request::AddPartitionsToTxnTransaction::default()
                        .with_transactional_id(name().into())
                        .with_topics(vec![topic]);
                    AddPartitionsToTxnRequest::default().with_transactions(vec![transaction])
                };
                writable(&cluster, node, fault, ApiKey::AddPartitionsToTxn, version, &request).await;
            }
            for version in asked(ApiKey::InitProducerId) {
                let request = InitProducerIdRequest::default()
                    .with_transactional_id(Some(name().into()))
                    .with_transaction_timeout_ms(1000);
                writable(&cluster, node, fault, ApiKey::InitProducerId, version, &request).await;
            }
            for version in asked(ApiKey::EndTxn) {
                let request = EndTxnRequest::default().with_transactional_id(name().into());
                writable(&cluster, node, fault, ApiKey::EndTxn, version, &request).await;
            }
            for version in asked(ApiKey::ListGroups) {
                writable(
                    &cluster,
                    node,
                    fault,
                    ApiKey::ListGroups,
                    version,
                    &ListGroupsRequest::default(),
                )
                .await;
            }
            for version in asked(ApiKey::DescribeCluster) {
                let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
                writable(&cluster, node, fault, ApiKey::DescribeCluster, version, &request).await;
            }
        }
    }
}

async fn writable<R: kafka_protocol::protocol::Encodable>(
    cluster: &Cluster,
    node: i32,
    fault: Option<ResponseError>,
    api: ApiKey,
    version: i16,
    request: &R,
) {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap();
    let envelope = Envelope {
        api,
        version,
        correlation_id: 1,
        client_id: String::new(),
        body: body.freeze(),
    };
    let call = Call::new(cluster, node, &envelope, Client::default(), fault);
    let answer = tokio::time::timeout(Duration::from_secs(3600), answer(&call, &envelope)).await;
    if let Ok(answer) = answer {
        answer.unwrap_or_else(|err| panic!("{api:?} version {version}: {err}"));
    }
}

#[test]
fn no_request_is_served_twice() {
    let mut keys: Vec<i16> = SERVED.iter().map(|(api, _)| *api as i16).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), SERVED.len());
}

#[tokio::test]
async fn batches_that_are_damaged_or_no_clients_business_are_refused() {
    let cluster = cluster();
    let marker = batch::marker(1, 0, Ending::Commit, 0);
    let damaged = |at: usize| {
        let mut batch = marker.clone();
        batch[at] ^= 1;
        batch.freeze()
    };
    let cases = [
        (marker.clone().freeze(), ResponseError::InvalidRecord, "a control batch"),
        (
            damaged(65),
            ResponseError::CorruptMessage,
            "a record does not match the checksum",
        ),
        (damaged(18), ResponseError::CorruptMessage, "nor does the checksum"),
        (
            damaged(16),
            ResponseError::UnsupportedForMessageFormat,
            "an older format",
        ),
        (
            [marker.clone(), marker.clone()].concat().into(),
            ResponseError::InvalidRecord,
            "two batches",
        ),
        (
            marker.clone().freeze().slice(..70),
            ResponseError::CorruptMessage,
            "a part",
        ),
        (Bytes::new(), ResponseError::CorruptMessage, "nothing"),
    ];
    for (records, wanted, why) in cases {
        let data = produce_request::PartitionProduceData::default().with_records(Some(records));
        let topic = produce_request::TopicProduceData::default()
            .with_name(text("t").into())
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]);
        let envelope = Envelope {
            api: ApiKey::Produce,
            version: 9,
            correlation_id: 1,
            client_id: String::new(),
            body: Bytes::new(),
        };
        let call = Call::new(&cluster, 1, &envelope, Client::default(), None);
        let response = produce::produce(&call, request).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, wanted.code(), "{why}: {:?}", answer.error_message);
    }
    assert_eq!(cluster.total_bytes(), 0);
}
