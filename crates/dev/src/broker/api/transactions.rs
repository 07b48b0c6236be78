//! Producer ids and transactions.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState as DescribedTransaction};
use kafka_protocol::messages::list_transactions_response::TransactionState as ListedTransaction;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest,
    ListTransactionsResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use super::super::batch::Ending;
use super::super::clock::now_ms;
use super::super::cluster::TopicRef;
use super::super::groups::Committer;
use super::super::groups::classic::Identity;
use super::super::groups::offsets::Committed;
use super::super::partition::Partition;
use super::super::transactions::{Producer, TransactionSnapshot};
use super::super::wire::text;
use super::{Call, committed};

/// Since this version brokers ask each other about many transactions; clients stay below.
const MANY_TRANSACTIONS: i16 = 4;
/// Since these versions the end of a transaction raises the epoch, and offsets make their group part of it (KIP-890).
const RAISES_EPOCH: i16 = 5;
const ADDS_GROUP: i16 = 5;
/// Before, a fenced producer is told so by an older name.
const KNOWS_FENCED: i16 = 2;

pub(super) async fn init(call: &Call<'_>, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let current = Some(Producer {
        id: request.producer_id.0,
        epoch: request.producer_epoch,
    })
    .filter(|producer| producer.id >= 0);
    let made = match request.transactional_id.as_deref() {
        None => call.check_fault().map(|()| call.cluster.transactions.new_producer()),
        Some(id) => call.check_coordinator(id).and_then(|()| {
            let timeout_ms = request.transaction_timeout_ms;
            call.cluster
                .transactions
                .init(call.cluster, id, timeout_ms, current, now_ms())
        }),
    };
    let response = InitProducerIdResponse::default();
    match made {
        Ok(producer) => response
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch),
        Err(code) => response
            .with_error_code(code.code())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1),
    }
}

/// Partitions of a transaction, each with what was found of it.
type Named = Vec<(String, Vec<(i32, Result<Arc<Partition>, ResponseError>)>)>;

pub(super) async fn add_partitions(call: &Call<'_>, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    if call.version < MANY_TRANSACTIONS {
        let producer = Producer {
            id: request.v3_and_below_producer_id.0,
            epoch: request.v3_and_below_producer_epoch,
        };
        let id = request.v3_and_below_transactional_id.as_str();
        let results = added(call, id, producer, &request.v3_and_below_topics, false);
        return AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results);
    }
    let results = request.transactions.into_iter().map(|transaction| {
        let producer = Producer {
            id: transaction.producer_id.0,
            epoch: transaction.producer_epoch,
        };
        let id = transaction.transactional_id.as_str();
        let results = added(call, id, producer, &transaction.topics, transaction.verify_only);
        AddPartitionsToTxnResult::default()
            .with_transactional_id(transaction.transactional_id)
            .with_topic_results(results)
    });
    AddPartitionsToTxnResponse::default().with_results_by_transaction(results.collect())
}

fn added(
    call: &Call<'_>,
    id: &str,
    producer: Producer,
    topics: &[AddPartitionsToTxnTopic],
    verifies_only: bool,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let find = |topic: &AddPartitionsToTxnTopic, index: i32| {
        let reference = TopicRef::Name(topic.name.to_string());
        call.cluster
            .find_partition(&reference, index)
            .map(|(_, partition)| partition)
    };
    let named: Named = topics
        .iter()
        .map(|topic| {
            let found = topic.partitions.iter().map(|index| (*index, find(topic, *index)));
            (topic.name.to_string(), found.collect())
        })
        .collect();
    let all_exist = named
        .iter()
        .all(|(_, found)| found.iter().all(|(_, found)| found.is_ok()));
    let wanted = named.iter().flat_map(|(topic, found)| {
        let found = found.iter();
        found.filter_map(|(index, found)| Some(((topic.clone(), *index), Arc::clone(found.as_ref().ok()?))))
    });
    let outcome = call.check_coordinator(id).and_then(|()| {
        let transactions = &call.cluster.transactions;
        if verifies_only {
            wanted
                .map(|(of, _)| of)
                .try_for_each(|of| transactions.verify(id, producer, &of))
        } else if all_exist {
            transactions.add_partitions(id, producer, wanted, now_ms())
        } else {
            // All or none.
            Err(ResponseError::OperationNotAttempted)
        }
    });
    let outcome = outcome.map_err(|code| fenced_as_known(code, call.version, KNOWS_FENCED));
    let results = named.into_iter().map(|(topic, found)| {
        let partitions = found.into_iter().map(|(index, found)| {
            let own = found.map(drop).and(outcome);
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(index)
                .with_partition_error_code(super::code_of(&own))
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(text(&topic).into())
            .with_results_by_partition(partitions.collect())
    });
    results.collect()
}

fn fenced_as_known(code: ResponseError, version: i16, knows: i16) -> ResponseError {
    match code {
        ResponseError::ProducerFenced if version < knows => ResponseError::InvalidProducerEpoch,
        other => other,
    }
}

pub(super) async fn add_offsets(call: &Call<'_>, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let id = request.transactional_id.as_str();
    let producer = Producer {
        id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let added = call
        .check_coordinator(id)
        .and_then(|()| {
            let transactions = &call.cluster.transactions;
            transactions.add_group(id, producer, &request.group_id, now_ms())
        })
        .map_err(|code| fenced_as_known(code, call.version, KNOWS_FENCED));
    AddOffsetsToTxnResponse::default().with_error_code(super::code_of(&added))
}

pub(super) async fn end(call: &Call<'_>, request: EndTxnRequest) -> EndTxnResponse {
    let id = request.transactional_id.as_str();
    let producer = Producer {
        id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let ending = if request.committed {
        Ending::Commit
    } else {
        Ending::Abort
    };
    let raises_epoch = call.version >= RAISES_EPOCH;
    let ended = call
        .check_coordinator(id)
        .and_then(|()| {
            let transactions = &call.cluster.transactions;
            transactions.end(call.cluster, id, producer, ending, raises_epoch, now_ms())
        })
        .map_err(|code| fenced_as_known(code, call.version, KNOWS_FENCED));
    let response = EndTxnResponse::default().with_error_code(super::code_of(&ended));
    match ended {
        Ok(next) if raises_epoch => response
            .with_producer_id(next.id.into())
            .with_producer_epoch(next.epoch),
        _ => response,
    }
}

pub(super) async fn commit_offsets(call: &Call<'_>, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let (id, group) = (request.transactional_id.as_str(), request.group_id.as_str());
    let producer = Producer {
        id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let mut offsets = Vec::new();
    let mut refused = std::collections::BTreeMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let of = (topic.name.to_string(), partition.partition_index);
            let metadata = partition
                .committed_metadata
                .as_ref()
                .map(|text| text.to_string())
                .unwrap_or_default();
            if let Err(code) = committed::check_partition(call, &of, &metadata) {
                refused.insert(of, code);
                continue;
            }
            let committed = Committed {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata,
                committed_ms: now_ms(),
            };
            offsets.push((of, committed));
        }
    }
    let by = Committer {
        identity: Identity {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
        },
        generation: request.generation_id,
    };
    let result = call.check_coordinator(group).and_then(|()| {
        let adds = call.version >= ADDS_GROUP;
        let commit = || call.cluster.groups.commit_pending(group, by, producer.id, offsets);
        let transactions = &call.cluster.transactions;
        transactions.within_group(id, producer, group, adds, now_ms(), commit)
    });
    let result = result.map_err(|code| match code {
        ResponseError::StaleMemberEpoch => ResponseError::IllegalGeneration,
        other => other,
    });
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let of = (topic.name.to_string(), partition.partition_index);
            let own = refused.get(&of).map_or(Ok(()), |code| Err(*code));
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(super::code_of(&result.and(own)))
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

pub(super) async fn describe_producers(
    call: &Call<'_>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            let reference = TopicRef::Name(topic.name.to_string());
            let found = call
                .check_fault()
                .and_then(|()| call.cluster.find_partition(&reference, *index))
                .and_then(|(_, partition)| Ok(partition.led_by(call.node, None)?.log.producers()));
            let response = PartitionResponse::default()
                .with_partition_index(*index)
                .with_error_code(super::code_of(&found));
            let producers = found.unwrap_or_default().into_iter().map(|producer| {
                ProducerState::default()
                    .with_producer_id(producer.producer_id.into())
                    .with_producer_epoch(i32::from(producer.epoch))
                    .with_last_sequence(producer.last_sequence)
                    .with_last_timestamp(producer.last_timestamp_ms)
                    .with_coordinator_epoch(0)
                    .with_current_txn_start_offset(producer.transaction_start.unwrap_or(-1))
            });
            response.with_active_producers(producers.collect())
        });
        let partitions = partitions.collect();
        TopicResponse::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn own(call: &Call<'_>) -> Vec<TransactionSnapshot> {
    let all = call.cluster.transactions.snapshot().into_iter();
    all.filter(|transaction| call.cluster.check_coordinator(&transaction.id, call.node).is_ok())
        .collect()
}

pub(super) async fn list(call: &Call<'_>, request: ListTransactionsRequest) -> ListTransactionsResponse {
    let response = ListTransactionsResponse::default().with_error_code(super::code_of(&call.check_fault()));
    let is_wanted = |transaction: &TransactionSnapshot| {
        let states = &request.state_filters;
        let ids = &request.producer_id_filters;
        let runs_ms = transaction
            .started_ms
            .map_or(0, |started| now_ms().saturating_sub(started));
        (states.is_empty() || states.iter().any(|state| state.as_str() == transaction.state))
            && (ids.is_empty() || ids.iter().any(|id| id.0 == transaction.producer.id))
            && (request.duration_filter < 0 || runs_ms >= request.duration_filter)
    };
    let listed = own(call).into_iter().filter(is_wanted).map(|transaction| {
        ListedTransaction::default()
            .with_transactional_id(text(&transaction.id).into())
            .with_producer_id(transaction.producer.id.into())
            .with_transaction_state(text(transaction.state))
    });
    response.with_transaction_states(listed.collect())
}

pub(super) async fn describe(call: &Call<'_>, request: DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let all = own(call);
    let described = request.transactional_ids.into_iter().map(|id| {
        let found = call.check_coordinator(&id).and_then(|()| {
            let found = all.iter().find(|transaction| transaction.id == id.as_str());
            found.ok_or(ResponseError::TransactionalIdNotFound)
        });
        let state = DescribedTransaction::default()
            .with_error_code(super::code_of(&found))
            .with_transactional_id(id);
        let Ok(found) = found else {
            return state;
        };
        let mut topics: Vec<TopicData> = Vec::new();
        for (topic, partition) in &found.partitions {
            match topics.last_mut() {
                Some(last) if last.topic.as_str() == topic => last.partitions.push(*partition),
                _ => topics.push(
                    TopicData::default()
                        .with_topic(text(topic).into())
                        .with_partitions(vec![*partition]),
                ),
            }
        }
        state
            .with_transaction_state(text(found.state))
            .with_transaction_timeout_ms(found.timeout_ms)
            .with_transaction_start_time_ms(found.started_ms.unwrap_or(-1))
            .with_producer_id(found.producer.id.into())
            .with_producer_epoch(found.producer.epoch)
            .with_topics(topics)
    });
    DescribeTransactionsResponse::default().with_transaction_states(described.collect())
}
