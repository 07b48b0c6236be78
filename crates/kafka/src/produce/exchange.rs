//! One Produce request: compress, send in turn, wait for the answer.

use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot;

use super::error::WriteOutcome;
use super::lane::Sending;
use crate::client::{Leader, Purpose, topic_name};
use crate::connection::Connection;
use crate::error::code_of;
use crate::{Acks, Compression, KafkaClient, KafkaError, ProducerConfig, TopicPartition};

/// The last version that names topics; the next goes by topic id. Version 12 (Kafka 4.0) adds partitions to a
/// transaction by itself (KIP-890).
const MAX_VERSION: i16 = 12;
/// The last version in which it does not, for clusters whose `transaction.version` is below 2.
const MAX_VERSION_TV1: i16 = 11;

/// How a partition becomes part of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum JoinBy {
    /// By AddPartitionsToTxn, before it is written to.
    #[default]
    Asking,
    /// By being written to (`transaction.version` 2, KIP-890).
    Writing,
}

/// A request to one broker.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) client: Arc<KafkaClient>,
    pub(super) config: Arc<ProducerConfig>,
    pub(super) node: i32,
    pub(super) join_by: JoinBy,
    /// Where it comes from and what it carries; one batch for each partition.
    pub(super) sendings: Vec<(usize, Sending)>,
    /// The connection of the request before this one, once that is on its way; absent for the first.
    pub(super) turn: Option<oneshot::Receiver<Connection>>,
    /// Tells the next.
    pub(super) begun: oneshot::Sender<Connection>,
}

/// What came of the request, for each lane and ordinal.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) node: i32,
    pub(super) answers: Vec<(usize, u64, Answer)>,
}

#[derive(Debug)]
pub(super) enum Answer {
    Broker(PartitionProduceResponse),
    /// No answer.
    Failed {
        failure: KafkaError,
        outcome: WriteOutcome,
    },
}

impl Exchange {
    pub(super) async fn run(mut self) -> Answered {
        let node = self.node;
        let sendings = std::mem::take(&mut self.sendings);
        let origins: Vec<_> = sendings
            .iter()
            .map(|(lane, sending)| (*lane, sending.ordinal, sending.partition.clone()))
            .collect();
        let answers = match self.send(sendings).await {
            Ok(response) => self.answers(origins, response),
            Err((failure, outcome)) => {
                let failed = |(lane, ordinal, _)| {
                    let failure = failure.clone();
                    (lane, ordinal, Answer::Failed { failure, outcome })
                };
                origins.into_iter().map(failed).collect()
            }
        };
        Answered { node, answers }
    }

    async fn send(&mut self, sendings: Vec<(usize, Sending)>) -> Result<ProduceResponse, (KafkaError, WriteOutcome)> {
        let not_written = |failure| (failure, WriteOutcome::NotWritten);
        let request = self.request(sendings).await.map_err(not_written)?;
        let connection = self.connection().await.map_err(not_written)?;
        let is_tv1 = self.config.transactional_id.is_some() && self.join_by == JoinBy::Asking;
        let version = connection
            .version::<ProduceRequest>(if is_tv1 { MAX_VERSION_TV1 } else { MAX_VERSION })
            .map_err(not_written)?;
        let answer = connection
            .begin(&request, version, self.config.request_timeout)
            .await
            .map_err(not_written)?;
        drop(request);
        let (begun, _) = oneshot::channel();
        // The next request may be gone with the producer.
        drop(std::mem::replace(&mut self.begun, begun).send(connection));
        answer.await.map_err(|failure| (failure, WriteOutcome::Unknown))
    }

    /// The connection on which this request follows the one before it, so that batches arrive in the order of their
    /// sequence numbers.
    async fn connection(&mut self) -> Result<Connection, KafkaError> {
        let address = self
            .client
            .metadata()
            .broker(self.node)
            .ok_or(KafkaError::UnknownBroker(self.node))?;
        let Some(turn) = self.turn.take() else {
            return self.client.link(&address, Purpose::Produce).get(&address).await;
        };
        let closed = || KafkaError::Disconnected {
            address: Arc::clone(&address),
            reason: Arc::from("the request before this one did not get through"),
        };
        turn.await
            .ok()
            .filter(|connection| !connection.is_closed())
            .ok_or_else(closed)
    }

    async fn request(&self, sendings: Vec<(usize, Sending)>) -> Result<ProduceRequest, KafkaError> {
        let compression = self.config.compression;
        let encode = move || {
            let encoded = sendings.into_iter().map(|(_, sending)| {
                let batch = sending.records.encode(compression, sending.stamp)?;
                Ok::<_, std::io::Error>((sending.partition, batch))
            });
            encoded.collect::<Result<Vec<_>, _>>()
        };
        let encoded = match compression {
            Compression::None => encode(),
            // Too long for a thread that serves sockets.
            Compression::Gzip(_) | Compression::Snappy | Compression::Lz4 | Compression::Zstd => {
                let compressed = tokio::task::spawn_blocking(encode).await;
                compressed.unwrap_or_else(|err| Err(std::io::Error::other(err)))
            }
        };
        let encoded = encoded.map_err(|err| KafkaError::Encode {
            api: "Produce",
            version: 2, // of the record batch
            reason: err.to_string(),
        })?;
        let mut topics: Vec<TopicProduceData> = Vec::new();
        let mut places: HashMap<Arc<str>, usize> = HashMap::new();
        for (partition, batch) in encoded {
            let data = PartitionProduceData::default()
                .with_index(partition.partition)
                .with_records(Some(batch));
            let place = *places.entry(Arc::clone(&partition.topic)).or_insert_with(|| {
                topics.push(TopicProduceData::default().with_name(topic_name(&partition.topic)));
                topics.len().saturating_sub(1)
            });
            if let Some(topic) = topics.get_mut(place) {
                topic.partition_data.push(data);
            }
        }
        let timeout_ms = i32::try_from(self.config.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let transactional_id = self.config.transactional_id.as_ref();
        Ok(ProduceRequest::default()
            .with_transactional_id(transactional_id.map(transactional))
            .with_acks(match self.config.acks {
                Acks::All => -1,
                Acks::Leader => 1,
            })
            .with_timeout_ms(timeout_ms)
            .with_topic_data(topics))
    }

    fn answers(
        &self,
        origins: Vec<(usize, u64, TopicPartition)>,
        response: ProduceResponse,
    ) -> Vec<(usize, u64, Answer)> {
        let mut found: HashMap<TopicPartition, PartitionProduceResponse> = HashMap::new();
        for topic in response.responses {
            let name: Arc<str> = topic.name.as_str().into();
            for answer in topic.partition_responses {
                let partition = TopicPartition::new(Arc::clone(&name), answer.index);
                // Who leads now, if the broker says so (KIP-951).
                if code_of(answer.error_code).is_some() && answer.current_leader.leader_id.0 >= 0 {
                    let leader = Leader {
                        node: answer.current_leader.leader_id.0,
                        epoch: answer.current_leader.leader_epoch,
                    };
                    self.client.metadata().learn_leader(&partition, leader);
                }
                found.insert(partition, answer);
            }
        }
        let answer = |(lane, ordinal, partition): (usize, u64, TopicPartition)| {
            let answer = match found.remove(&partition) {
                Some(answer) => Answer::Broker(answer),
                None => Answer::Failed {
                    failure: KafkaError::Malformed {
                        address: self.client.metadata().broker(self.node).unwrap_or_else(|| "?".into()),
                        api: "Produce",
                        reason: format!("it says nothing about {partition}"),
                    },
                    outcome: WriteOutcome::Unknown,
                },
            };
            (lane, ordinal, answer)
        };
        origins.into_iter().map(answer).collect()
    }
}

pub(super) fn transactional(id: &Arc<str>) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_string()))
}
