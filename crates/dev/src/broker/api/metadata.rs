//! Metadata, and what superseded it for describing topics.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, MetadataRequest, MetadataResponse,
};

use super::super::cluster::{NewTopic, Node, Topic, TopicRef, check_name};
use super::super::configs::TopicConfigs;
use super::super::partition::Partition;
use super::super::wire::text;
use super::Call;

/// READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS: nobody is forbidden anything.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// Topics or partitions that one answer describes.
const MAX_DESCRIBED: usize = 2_000;

pub(super) async fn metadata(call: &Call<'_>, request: MetadataRequest) -> MetadataResponse {
    let all = || {
        let topics = call.cluster.topics();
        topics.iter().map(|topic| described(call, topic)).collect::<Vec<_>>()
    };
    let mut topics = match &request.topics {
        None => all(),
        Some(asked) if asked.is_empty() && call.version == 0 => all(),
        Some(asked) => {
            let creates = call.version < 4 || request.allow_auto_topic_creation;
            let one = |asked: &kafka_protocol::messages::metadata_request::MetadataRequestTopic| {
                let name = asked.name.as_ref().map(|name| name.to_string());
                let reference = match &name {
                    Some(name) => TopicRef::Name(name.clone()),
                    None => TopicRef::Id(asked.topic_id),
                };
                match found(call, &reference, creates) {
                    Ok(topic) => described(call, &topic),
                    Err(code) => MetadataResponseTopic::default()
                        .with_error_code(code.code())
                        .with_topic_id(asked.topic_id)
                        .with_name(
                            asked
                                .name
                                .clone()
                                .or_else(|| (call.version < 12).then(Default::default)),
                        ),
                }
            };
            asked.iter().map(one).collect()
        }
    };
    if request.include_topic_authorized_operations {
        for topic in &mut topics {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let brokers = call.cluster.live_nodes().into_iter().map(|node| {
        MetadataResponseBroker::default()
            .with_node_id(node.id.into())
            .with_host(text(&call.cluster.settings.host.to_string()))
            .with_port(i32::from(node.port))
            .with_rack(Some(text(&node.rack())))
    });
    let mut response = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(&call.cluster.id)))
        .with_controller_id(call.cluster.controller().into())
        .with_topics(topics);
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn found(call: &Call<'_>, topic: &TopicRef, creates: bool) -> Result<Arc<Topic>, ResponseError> {
    call.check_fault()?;
    match (call.cluster.find(topic), topic) {
        (Err(_), TopicRef::Name(name)) if check_name(name).is_err() => Err(ResponseError::InvalidTopicException),
        (Err(_), TopicRef::Name(name)) if creates && call.cluster.settings.auto_create_topics => {
            let new = NewTopic {
                name: name.clone(),
                partitions: -1,
                replication_factor: -1,
                configs: TopicConfigs::default(),
            };
            match call.cluster.create_topic(&new) {
                // Somebody else was faster.
                Err((ResponseError::TopicAlreadyExists, _)) => call.cluster.find(topic),
                made => made.map_err(|(code, _)| code),
            }
        }
        (found, _) => found,
    }
}

fn described(call: &Call<'_>, topic: &Topic) -> MetadataResponseTopic {
    let nodes = call.cluster.nodes();
    let partitions = topic.partitions().into_iter().map(|partition| {
        let places = Places::of(&partition, &nodes);
        let code = places.leader.map_or(ResponseError::LeaderNotAvailable.code(), |_| 0);
        MetadataResponsePartition::default()
            .with_error_code(code)
            .with_partition_index(partition.index)
            .with_leader_id(places.leader.unwrap_or(-1).into())
            .with_leader_epoch(places.leader_epoch)
            .with_replica_nodes(places.replicas)
            .with_isr_nodes(places.in_sync)
            .with_offline_replicas(places.offline)
    });
    MetadataResponseTopic::default()
        .with_error_code(super::code_of(&call.check_fault()))
        .with_name(Some(text(&topic.name).into()))
        .with_topic_id(topic.id)
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.collect())
}

struct Places {
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<BrokerId>,
    in_sync: Vec<BrokerId>,
    offline: Vec<BrokerId>,
}

impl Places {
    fn of(partition: &Partition, nodes: &[Node]) -> Self {
        let state = partition.lock();
        let is_up = |id: &i32| nodes.iter().any(|node| node.id == *id && node.is_up);
        let (in_sync, offline): (Vec<i32>, Vec<i32>) = partition.replicas.iter().copied().partition(is_up);
        let ids = |ids: Vec<i32>| ids.into_iter().map(BrokerId).collect();
        Self {
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            replicas: ids(partition.replicas.clone()),
            in_sync: ids(in_sync),
            offline: ids(offline),
        }
    }
}

pub(super) async fn describe_topic_partitions(
    call: &Call<'_>,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let nodes = call.cluster.nodes();
    let mut names: Vec<String> = request.topics.iter().map(|topic| topic.name.to_string()).collect();
    let lists_all = names.is_empty();
    if lists_all {
        names = call.cluster.topics().iter().map(|topic| topic.name.clone()).collect();
    }
    names.sort_unstable();
    let cursor = request
        .cursor
        .map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index));
    let mut left = usize::try_from(request.response_partition_limit)
        .unwrap_or(MAX_DESCRIBED)
        .clamp(1, MAX_DESCRIBED);
    let mut topics = Vec::new();
    let mut next = None;
    for name in names {
        let first = match &cursor {
            Some((at, _)) if name < *at => continue,
            Some((at, partition)) if name == *at => *partition,
            _ => 0,
        };
        if left == 0 {
            next = Some((name, first));
            break;
        }
        let topic = DescribeTopicPartitionsResponseTopic::default().with_name(Some(text(&name).into()));
        let found = call
            .check_fault()
            .and_then(|()| call.cluster.find(&TopicRef::Name(name.clone())));
        let found = match found {
            Ok(found) => found,
            Err(code) => {
                topics.push(topic.with_error_code(code.code()));
                left -= 1;
                continue;
            }
        };
        let all = found.partitions();
        let from = all.iter().filter(|partition| partition.index >= first);
        let partitions: Vec<_> = from.take(left).map(|partition| listed(partition, &nodes)).collect();
        left -= partitions.len();
        let described_to = first.saturating_add(super::super::wire::count(partitions.len()));
        topics.push(
            topic
                .with_topic_id(found.id)
                .with_is_internal(found.is_internal())
                .with_topic_authorized_operations(TOPIC_OPERATIONS)
                .with_partitions(partitions),
        );
        if described_to < super::super::wire::count(all.len()) {
            next = Some((name, described_to));
            break;
        }
    }
    let cursor = next.map(|(name, partition)| {
        Cursor::default()
            .with_topic_name(text(&name).into())
            .with_partition_index(partition)
    });
    DescribeTopicPartitionsResponse::default()
        .with_topics(topics)
        .with_next_cursor(cursor)
}

fn listed(partition: &Partition, nodes: &[Node]) -> DescribeTopicPartitionsResponsePartition {
    let places = Places::of(partition, nodes);
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(partition.index)
        .with_leader_id(places.leader.unwrap_or(-1).into())
        .with_leader_epoch(places.leader_epoch)
        .with_replica_nodes(places.replicas)
        .with_isr_nodes(places.in_sync)
        .with_offline_replicas(places.offline)
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}
