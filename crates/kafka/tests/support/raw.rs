//! Single requests over a plain socket, for what rskafka does not offer: batches as we like them, transactions, topic
//! settings.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::yield_now;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest,
    ProducerId, RequestHeader, ResponseHeader, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use super::broker;
use super::encode::TestBatch;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

/// One request on a connection of its own.
pub fn call<R: Request>(version: i16, request: &R) -> R::Response {
    call_at(broker().bootstrap.split(',').next().unwrap(), version, request).unwrap()
}

/// One request to one broker, which has ten seconds for it.
pub fn call_at<R: Request>(address: &str, version: i16, request: &R) -> std::io::Result<R::Response> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(text("test")));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version)).unwrap();
    request.encode(&mut body, version).unwrap();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&u32::try_from(body.len()).unwrap().to_be_bytes())?;
    stream.write_all(&body)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut answer)?;
    let mut answer = Bytes::from(answer);
    ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
    Ok(R::Response::decode(&mut answer, version).unwrap())
}

/// Appends a batch, whichever broker leads the partition and however long the cluster takes to have a leader.
pub fn produce_somehow(topic: &str, partition: i32, batch: &TestBatch) {
    let request = produce_request(None, topic, partition, batch);
    for address in broker().bootstrap.split(',').cycle() {
        let answer = call_at(address, 8, &request);
        if answer.is_ok_and(|answer| answer.responses[0].partition_responses[0].error_code == 0) {
            return;
        }
        yield_now();
    }
}

fn produce_request(transaction: Option<&str>, topic: &str, partition: i32, batch: &TestBatch) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(Bytes::from(batch.encode())));
    let data = TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(transaction.map(|id| TransactionalId(text(id))))
        .with_acks(-1)
        .with_timeout_ms(5_000)
        .with_topic_data(vec![data])
}

pub fn create_topic(topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    assert_eq!(try_create_topic(topic, partitions, configs), None);
}

/// The error code, if any. Records of the tests are old, so retention is off.
pub fn try_create_topic(topic: &str, partitions: i32, configs: &[(&str, &str)]) -> Option<ResponseError> {
    let config = |(key, value): &(&str, &str)| {
        CreatableTopicConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)))
    };
    let creatable = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs.iter().chain(&[("retention.ms", "-1")]).map(config).collect());
    let response = call(
        5,
        &CreateTopicsRequest::default()
            .with_topics(vec![creatable])
            .with_timeout_ms(10_000),
    );
    ResponseError::try_from_code(response.topics[0].error_code)
}

/// Creates a topic with these replicas for each partition, the preferred leader first.
pub fn create_topic_on(topic: &str, replicas: &[&[i32]], configs: &[(&str, &str)]) {
    let config = |(key, value): &(&str, &str)| {
        CreatableTopicConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)))
    };
    let assignments = (0..).zip(replicas).map(|(index, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(brokers.iter().copied().map(BrokerId).collect())
    });
    let creatable = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(assignments.collect())
        .with_configs(configs.iter().chain(&[("retention.ms", "-1")]).map(config).collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![creatable])
        .with_timeout_ms(10_000);
    let response = call(5, &request);
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
}

/// Moves the log start of a partition to `offset`, on a cluster of one broker.
pub fn delete_records(topic: &str, partition: i32, offset: i64) {
    let partition = DeleteRecordsPartition::default()
        .with_partition_index(partition)
        .with_offset(offset);
    let topic = DeleteRecordsTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    let response = call(2, &request);
    assert_eq!(response.topics[0].partitions[0].error_code, 0, "{response:?}");
}

pub fn add_partitions(topic: &str, count: i32) {
    let more = CreatePartitionsTopic::default()
        .with_name(name(topic))
        .with_count(count)
        .with_assignments(None);
    let response = call(
        2,
        &CreatePartitionsRequest::default()
            .with_topics(vec![more])
            .with_timeout_ms(10_000),
    );
    assert_eq!(response.results[0].error_code, 0, "{response:?}");
}

pub fn delete_topic(topic: &str) {
    let state = DeleteTopicState::default().with_name(Some(name(topic)));
    let response = call(
        6,
        &DeleteTopicsRequest::default()
            .with_topics(vec![state])
            .with_timeout_ms(10_000),
    );
    assert_eq!(response.responses[0].error_code, 0, "{response:?}");
}

/// Appends a batch to partition 0; waits while the partition is being made.
pub fn produce(topic: &str, batch: &TestBatch) -> i64 {
    produce_in(None, topic, batch)
}

fn produce_in(transaction: Option<&str>, topic: &str, batch: &TestBatch) -> i64 {
    loop {
        let request = produce_request(transaction, topic, 0, batch);
        let response = call(8, &request);
        let answer = &response.responses[0].partition_responses[0];
        match ResponseError::try_from_code(answer.error_code) {
            None => return answer.base_offset,
            Some(code) if code.is_retriable() => yield_now(),
            Some(code) => panic!("{code:?}"),
        }
    }
}

/// Appends a batch over one broker, which has to lead the partition; the error code, if it answers with one.
pub fn produce_at(
    node: usize,
    topic: &str,
    partition: i32,
    batch: &TestBatch,
) -> std::io::Result<Option<ResponseError>> {
    let address = broker().bootstrap.split(',').nth(node - 1).unwrap();
    let answer = call_at(address, 8, &produce_request(None, topic, partition, batch))?;
    let code = answer.responses[0].partition_responses[0].error_code;
    Ok(ResponseError::try_from_code(code))
}

/// Leader and number of in-sync replicas of each partition, as broker `node` sees it.
pub fn leaders(node: usize, topic: &str) -> std::io::Result<Vec<(i32, usize)>> {
    let address = broker().bootstrap.split(',').nth(node - 1).unwrap();
    let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let answer = call_at(address, 9, &MetadataRequest::default().with_topics(Some(vec![asked])))?;
    let mut partitions: Vec<_> = answer.topics[0].partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    Ok(partitions
        .into_iter()
        .map(|partition| (partition.leader_id.0, partition.isr_nodes.len()))
        .collect())
}

/// The coordinator of a group, as broker `node` sees it.
pub fn coordinator(node: usize, group: &str) -> std::io::Result<i32> {
    let address = broker().bootstrap.split(',').nth(node - 1).unwrap();
    let answer = call_at(address, 3, &FindCoordinatorRequest::default().with_key(text(group)))?;
    Ok(answer.node_id.0)
}

/// A producer id for an idempotent writer.
pub fn producer_id() -> i64 {
    loop {
        let init = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let response = call(4, &init);
        if response.error_code == 0 {
            return response.producer_id.0;
        }
        yield_now();
    }
}

/// A transactional producer.
#[derive(Debug)]
pub struct Transactions {
    id: String,
    producer: (i64, i16),
    sequence: i32,
}

impl Transactions {
    pub fn new(id: &str) -> Self {
        loop {
            let find = FindCoordinatorRequest::default().with_key(text(id)).with_key_type(1);
            if call(3, &find).error_code == 0 {
                let init = InitProducerIdRequest::default()
                    .with_transactional_id(Some(TransactionalId(text(id))))
                    .with_transaction_timeout_ms(60_000)
                    .with_producer_id(ProducerId(-1))
                    .with_producer_epoch(-1);
                let response = call(4, &init);
                if response.error_code == 0 {
                    return Self {
                        id: id.to_owned(),
                        producer: (response.producer_id.0, response.producer_epoch),
                        sequence: 0,
                    };
                }
            }
            yield_now();
        }
    }

    /// Appends a batch to partition 0 within the open transaction, which begins with the first.
    pub fn produce(&mut self, topic: &str, mut batch: TestBatch) -> i64 {
        loop {
            let topics = AddPartitionsToTxnTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![0]);
            let add = AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(TransactionalId(text(&self.id)))
                .with_v3_and_below_producer_id(ProducerId(self.producer.0))
                .with_v3_and_below_producer_epoch(self.producer.1)
                .with_v3_and_below_topics(vec![topics]);
            let response = call(3, &add);
            let code = response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
            match ResponseError::try_from_code(code) {
                None => break,
                Some(code) if code.is_retriable() => yield_now(),
                Some(ResponseError::ConcurrentTransactions) => yield_now(),
                Some(code) => panic!("{code:?}"),
            }
        }
        batch.is_transactional = true;
        batch.producer = (self.producer.0, self.producer.1, self.sequence);
        self.sequence += i32::try_from(batch.records.len()).unwrap();
        produce_in(Some(&self.id), topic, &batch)
    }

    pub fn end(&mut self, is_committed: bool) {
        loop {
            let end = EndTxnRequest::default()
                .with_transactional_id(TransactionalId(text(&self.id)))
                .with_producer_id(ProducerId(self.producer.0))
                .with_producer_epoch(self.producer.1)
                .with_committed(is_committed);
            match ResponseError::try_from_code(call(3, &end).error_code) {
                None => return,
                Some(code) if code.is_retriable() => yield_now(),
                Some(ResponseError::ConcurrentTransactions) => yield_now(),
                Some(code) => panic!("{code:?}"),
            }
        }
    }
}
