//! The requests: which are served, in which versions, by what.

mod cluster;
mod committed;
mod configs;
mod consumer_groups;
mod fetch;
mod groups;
mod membership;
mod metadata;
mod offsets;
mod produce;
#[cfg(test)]
mod tests;
mod topics;
mod transactions;

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use kafka_protocol::protocol::{Message, VersionRange};

use super::cluster::Cluster;
use super::groups::classic::Client;
use super::wire::{Envelope, Unanswerable, decode, encode, text};

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    cluster: &'a Cluster,
    node: i32,
    version: i16,
    client: Client,
    fault: Option<ResponseError>,
    is_silent: AtomicBool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        cluster: &'a Cluster,
        node: i32,
        envelope: &Envelope,
        client: Client,
        fault: Option<ResponseError>,
    ) -> Self {
        Self {
            cluster,
            node,
            version: envelope.version,
            client,
            fault,
            is_silent: AtomicBool::new(false),
        }
    }

    /// Every handler asks this first, wherever its response has room for a code.
    ///
    /// # Errors
    /// The fault that was injected.
    fn check_fault(&self) -> Result<(), ResponseError> {
        self.fault.map_or(Ok(()), Err)
    }

    /// # Errors
    /// A fault, or another node coordinates this group or transactional id.
    fn check_coordinator(&self, key: &str) -> Result<(), ResponseError> {
        self.check_fault()?;
        self.cluster.check_coordinator(key, self.node)
    }

    /// The client does not want an answer.
    fn stay_silent(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }
}

/// The code in a message.
fn code_of<T>(result: &Result<T, ResponseError>) -> i16 {
    match result {
        Ok(_) => 0,
        Err(error) => error.code(),
    }
}

macro_rules! apis {
    ($( $key:ident($request:ident) by $handler:path, )*) => {
        /// Every request that is served, in all versions that the messages have.
        const SERVED: &[(ApiKey, VersionRange)] = &[
            $( (ApiKey::$key, <kafka_protocol::messages::$request as Message>::VERSIONS), )*
        ];

        /// Answers a request; `None`: no answer is wanted.
        ///
        /// # Errors
        /// The request is not served, or cannot be read: the connection ends, as with any broker.
        pub(crate) async fn answer(call: &Call<'_>, envelope: &Envelope) -> Result<Option<BytesMut>, Unanswerable> {
            let (api, version) = (envelope.api, envelope.version);
            let served = SERVED.iter().find(|(served, _)| *served == api);
            let is_served = served.is_some_and(|(_, range)| (range.min..=range.max).contains(&version));
            if api == ApiKey::ApiVersions && !is_served {
                // Whoever asks in a version that is not known is told in one that all know.
                let asked_as = Envelope { version: 0, body: bytes::Bytes::new(), client_id: String::new(), ..*envelope };
                let refused = versions().with_error_code(ResponseError::UnsupportedVersion.code());
                return encode(&refused, &asked_as).map(Some);
            }
            if !is_served {
                return Err(Unanswerable::Version { api, version });
            }
            let answer = match api {
                $( ApiKey::$key => {
                    let request: kafka_protocol::messages::$request = decode(&envelope.body, api, version)?;
                    // Boxed, so that the connection is not as large as the largest of all of them.
                    let response = Box::pin($handler(call, request)).await;
                    encode(&response, envelope)?
                } )*
                _ => return Err(Unanswerable::Version { api, version }),
            };
            Ok((!call.is_silent.load(Ordering::Relaxed)).then_some(answer))
        }
    };
}

apis! {
    Produce(ProduceRequest) by produce::produce,
    Fetch(FetchRequest) by fetch::fetch,
    ListOffsets(ListOffsetsRequest) by offsets::list,
    Metadata(MetadataRequest) by metadata::metadata,
    OffsetCommit(OffsetCommitRequest) by committed::commit,
    OffsetFetch(OffsetFetchRequest) by committed::fetch,
    FindCoordinator(FindCoordinatorRequest) by cluster::find_coordinator,
    JoinGroup(JoinGroupRequest) by membership::join,
    Heartbeat(HeartbeatRequest) by membership::heartbeat,
    LeaveGroup(LeaveGroupRequest) by membership::leave,
    SyncGroup(SyncGroupRequest) by membership::sync,
    DescribeGroups(DescribeGroupsRequest) by groups::describe,
    ListGroups(ListGroupsRequest) by groups::list,
    ApiVersions(ApiVersionsRequest) by api_versions,
    CreateTopics(CreateTopicsRequest) by topics::create,
    DeleteTopics(DeleteTopicsRequest) by topics::delete,
    DeleteRecords(DeleteRecordsRequest) by offsets::delete_records,
    InitProducerId(InitProducerIdRequest) by transactions::init,
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest) by offsets::epoch_end,
    AddPartitionsToTxn(AddPartitionsToTxnRequest) by transactions::add_partitions,
    AddOffsetsToTxn(AddOffsetsToTxnRequest) by transactions::add_offsets,
    EndTxn(EndTxnRequest) by transactions::end,
    TxnOffsetCommit(TxnOffsetCommitRequest) by transactions::commit_offsets,
    DescribeConfigs(DescribeConfigsRequest) by configs::describe,
    AlterConfigs(AlterConfigsRequest) by configs::alter,
    CreatePartitions(CreatePartitionsRequest) by topics::create_partitions,
    DeleteGroups(DeleteGroupsRequest) by groups::delete,
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest) by configs::alter_incrementally,
    OffsetDelete(OffsetDeleteRequest) by committed::delete,
    DescribeCluster(DescribeClusterRequest) by cluster::describe,
    DescribeProducers(DescribeProducersRequest) by transactions::describe_producers,
    DescribeTransactions(DescribeTransactionsRequest) by transactions::describe,
    ListTransactions(ListTransactionsRequest) by transactions::list,
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest) by consumer_groups::heartbeat,
    ConsumerGroupDescribe(ConsumerGroupDescribeRequest) by consumer_groups::describe,
    DescribeTopicPartitions(DescribeTopicPartitionsRequest) by metadata::describe_topic_partitions,
}

async fn api_versions(call: &Call<'_>, _request: kafka_protocol::messages::ApiVersionsRequest) -> ApiVersionsResponse {
    versions().with_error_code(code_of(&call.check_fault()))
}

fn versions() -> ApiVersionsResponse {
    // Groups by KIP-848 and transactions that raise their epoch (KIP-890), as a cluster of today has them.
    let features = [("group.version", 1), ("transaction.version", 2)];
    let apis = SERVED.iter().map(|(key, range)| {
        ApiVersion::default()
            .with_api_key(*key as i16)
            .with_min_version(range.min)
            .with_max_version(range.max)
    });
    let supported = features.map(|(name, level)| {
        SupportedFeatureKey::default()
            .with_name(text(name))
            .with_min_version(0)
            .with_max_version(level)
    });
    let finalized = features.map(|(name, level)| {
        FinalizedFeatureKey::default()
            .with_name(text(name))
            .with_min_version_level(level)
            .with_max_version_level(level)
    });
    ApiVersionsResponse::default()
        .with_api_keys(apis.collect())
        .with_supported_features(supported.to_vec())
        .with_finalized_features(finalized.to_vec())
        .with_finalized_features_epoch(0)
}
