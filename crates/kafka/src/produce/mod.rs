//! Writing records: batched for each partition, acknowledged by every replica in sync, without duplicates or
//! reordering by retries, and in transactions where a name is given.
//!
//! The way of a record: [`Producer::enqueue`] chooses the partition and waits for room → the sender's task adds it to
//! its lane's open batch → full or lingered, the batch gets sequence numbers and goes out with others to its broker →
//! the answer, or what is known without one, goes to the [`Delivery`].
//!
//! **Owns** batches, sequence numbers, producer ids, transactions. **Does not know** connectors or why a record is
//! written.
//! **Invariants**
//! - Records of a partition are in the log in the order in which they were enqueued, and each once, whatever happens
//!   to connections and leaders.
//! - Every record gets its outcome, at the latest `delivery.timeout.ms` after it was enqueued; when it is not known
//!   whether it was written, the error says so.
//! - At most `buffer.memory` bytes of records wait for acknowledgement.

mod coordinator;
mod error;
mod exchange;
mod identity;
mod lane;
mod partitioner;
mod record;
mod sender;
mod transaction;
mod verdict;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use crate::client::{TopicInterest, lock, topic_name};
use crate::error::code_of;
use crate::records::{BATCH_OVERHEAD_BYTES, max_encoded_len};
use crate::{KafkaClient, KafkaError, ProducerConfig};

pub use error::{ProduceError, WriteOutcome};
pub use record::{ProduceRecord, RecordMetadata};
pub use transaction::{Transaction, TransactionalProducer};

use lane::{Waiter, Wanted};
use partitioner::{Sticky, partition_of};
use sender::{Command, Enqueued, Sender};

/// Records that wait for the sender's task; their bytes are bounded by `buffer.memory`.
const QUEUE: usize = 1024;

/// Writes records to one cluster. Made once and shared.
///
/// Needs brokers from Kafka 0.11 on; zstd from 2.1. Its task ends when it was dropped and all that was enqueued has its
/// outcome, or with [`KafkaClient::shutdown`].
#[derive(Debug)]
pub struct Producer {
    client: Arc<KafkaClient>,
    config: Arc<ProducerConfig>,
    commands: mpsc::Sender<Command>,
    /// `buffer.memory`, a permit a byte.
    room: Arc<Semaphore>,
    sticky: Mutex<Sticky>,
    /// Keeps the topics in the metadata.
    interest: Mutex<HashMap<Arc<str>, TopicInterest>>,
}

/// The outcome of an enqueued record, once it is known. Dropping it takes nothing back, unless the record was enqueued
/// by [`Producer::enqueue_while_wanted`].
#[derive(Debug)]
pub struct Delivery {
    done: oneshot::Receiver<Result<RecordMetadata, ProduceError>>,
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let closed = ProduceError::Closed {
            outcome: WriteOutcome::Unknown,
        };
        Pin::new(&mut self.done)
            .poll(cx)
            .map(|done| done.unwrap_or(Err(closed)))
    }
}

impl Producer {
    /// A producer of `client`'s cluster. Does not connect yet.
    ///
    /// `transactional.id` is for [`TransactionalProducer`] and ignored here.
    pub fn new(client: &Arc<KafkaClient>, config: ProducerConfig) -> Self {
        Self::with_config(
            client,
            ProducerConfig {
                transactional_id: None,
                ..config
            },
        )
    }

    fn with_config(client: &Arc<KafkaClient>, config: ProducerConfig) -> Self {
        let config = Arc::new(config);
        let (commands, receiver) = mpsc::channel(QUEUE);
        client.spawn(Sender::new(Arc::clone(client), Arc::clone(&config), receiver).run());
        Self {
            client: Arc::clone(client),
            room: Arc::new(Semaphore::new(config.buffer_memory.min(Semaphore::MAX_PERMITS))),
            sticky: Mutex::new(Sticky::new(config.batch_size)),
            interest: Mutex::default(),
            commands,
            config,
        }
    }

    /// The settings.
    pub fn config(&self) -> &ProducerConfig {
        &self.config
    }

    /// Writes `record` and waits until it is acknowledged.
    ///
    /// To write many records in order without waiting for each, [`Producer::enqueue`] them.
    ///
    /// # Errors
    /// See [`ProduceError`]; [`ProduceError::outcome`] tells whether the record may have been written.
    ///
    /// # Cancel safety
    /// The record may or may not be written.
    pub async fn send(&self, record: ProduceRecord) -> Result<RecordMetadata, ProduceError> {
        self.enqueue(record).await?.await
    }

    /// Takes `record` for writing: once this returns it has its place behind the records that were enqueued before.
    ///
    /// Waits up to `max.block.ms` while the topic is unknown or `buffer.memory` is used up.
    ///
    /// # Errors
    /// When the record cannot be taken; then it is not written.
    ///
    /// # Cancel safety
    /// Safe: the record is taken as a whole or not at all.
    pub async fn enqueue(&self, record: ProduceRecord) -> Result<Delivery, ProduceError> {
        self.take(record, Wanted::Always).await
    }

    /// As [`Producer::enqueue`], but the record is only written while somebody waits for it: once its [`Delivery`] was
    /// dropped, no attempt to write it starts, unless others of its batch are waited for.
    ///
    /// # Errors
    /// As [`Producer::enqueue`].
    ///
    /// # Cancel safety
    /// Safe: the record is not written.
    pub async fn enqueue_while_wanted(&self, record: ProduceRecord) -> Result<Delivery, ProduceError> {
        self.take(record, Wanted::WhileAwaited).await
    }

    async fn take(&self, record: ProduceRecord, wanted: Wanted) -> Result<Delivery, ProduceError> {
        let deadline = Instant::now() + self.config.max_block;
        let size = max_encoded_len(&record);
        self.check_size(&record, size.saturating_add(BATCH_OVERHEAD_BYTES))?;
        let partition = self.partition(&record, size, deadline).await?;
        self.enqueue_at(record, partition, size, wanted, deadline).await
    }

    async fn enqueue_at(
        &self,
        record: ProduceRecord,
        partition: i32,
        size: usize,
        wanted: Wanted,
        deadline: Instant,
    ) -> Result<Delivery, ProduceError> {
        let closed = || ProduceError::Closed {
            outcome: WriteOutcome::NotWritten,
        };
        let permits = u32::try_from(size).unwrap_or(u32::MAX);
        let room = timeout_at(deadline, Arc::clone(&self.room).acquire_many_owned(permits));
        let room = room.await.map_err(|_| ProduceError::BufferFull {
            topic: Arc::clone(&record.topic),
            after: self.config.max_block,
            buffer_memory: self.config.buffer_memory,
        })?;
        let (done, outcome) = oneshot::channel();
        let enqueued = Enqueued {
            partition,
            room: room.map_err(|_| closed())?,
            waiter: Waiter {
                timestamp: record.timestamp.unwrap_or_else(record::now_ms),
                wanted,
                done,
            },
            record,
        };
        let command = Command::Record(Box::new(enqueued));
        self.commands.send(command).await.map_err(|_| closed())?;
        Ok(Delivery { done: outcome })
    }

    /// Sends incomplete batches at once, and waits until everything enqueued before has its outcome.
    ///
    /// # Cancel safety
    /// Safe: the batches are sent.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        // An error means that the task has ended, and then everything has its outcome.
        if self.commands.send(Command::Flush(done)).await.is_ok() {
            drop(flushed.await);
        }
    }

    /// Writes what was enqueued, then ends.
    pub async fn close(self) {
        self.flush().await;
    }

    fn check_size(&self, record: &ProduceRecord, size: usize) -> Result<(), ProduceError> {
        let limits = [
            (self.config.max_request_size, "the producer's `max.request.size`"),
            (self.config.buffer_memory, "the producer's `buffer.memory`"),
        ];
        match limits.into_iter().find(|(limit, _)| size > *limit) {
            None => Ok(()),
            Some((limit, setting)) => Err(ProduceError::TooLarge {
                topic: Arc::clone(&record.topic),
                size,
                limit: Some(limit),
                setting,
            }),
        }
    }

    /// The partition for `record`, which exists.
    async fn partition(&self, record: &ProduceRecord, size: usize, deadline: Instant) -> Result<i32, ProduceError> {
        let wanted = record.partition;
        let partitions = self.partitions(&record.topic, wanted.unwrap_or(0), deadline).await?;
        match (wanted, &record.key) {
            (Some(partition), _) if (0..partitions).contains(&partition) => Ok(partition),
            (Some(partition), _) => Err(ProduceError::UnknownPartition {
                topic: Arc::clone(&record.topic),
                partition,
                partitions,
            }),
            (None, Some(key)) => Ok(partition_of(key, partitions)),
            (None, None) => Ok(lock(&self.sticky).choose(&record.topic, size, partitions)),
        }
    }

    /// How many partitions `topic` has; asks again while that is none, and once if `wanted` is not among them.
    async fn partitions(&self, topic: &Arc<str>, wanted: i32, deadline: Instant) -> Result<i32, ProduceError> {
        let known = || self.client.metadata().topic(topic).map_or(0, |topic| topic.partitions);
        lock(&self.interest)
            .entry(Arc::clone(topic))
            .or_insert_with(|| self.client.interest([Arc::clone(topic)]));
        if known() > wanted.max(0) {
            return Ok(known());
        }
        let asking = async {
            loop {
                self.client.refreshed().await?;
                if known() > 0 {
                    return Ok(known());
                }
                self.check_topic(topic).await?;
                sleep(self.client.config().retry_backoff).await;
            }
        };
        match timeout_at(deadline, asking).await {
            Ok(Ok(partitions)) => return Ok(partitions),
            Ok(Err(KafkaError::ShutDown)) => {
                return Err(ProduceError::Closed {
                    outcome: WriteOutcome::NotWritten,
                });
            }
            Ok(Err(source)) => {
                return Err(ProduceError::Topic {
                    topic: Arc::clone(topic),
                    source,
                });
            }
            Err(_) => {}
        }
        Err(ProduceError::UnknownTopic {
            topic: Arc::clone(topic),
            after: self.config.max_block,
        })
    }

    /// Whether waiting for `topic` is of no use: the metadata only know that it is not there.
    async fn check_topic(&self, topic: &Arc<str>) -> Result<(), KafkaError> {
        let name = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![name]))
            .with_allow_auto_topic_creation(false);
        let Ok(response) = self.client.request_any(&request).await else {
            return Ok(()); // whoever refreshes the metadata says so
        };
        let code = response.topics.first().and_then(|topic| code_of(topic.error_code));
        match code.filter(|code| !code.is_retriable()) {
            None => Ok(()),
            Some(code) => {
                let resource = format!("topic `{topic}`");
                Err(self
                    .client
                    .refused(format!("DESCRIBE on {resource}"), "DESCRIBE", resource, code))
            }
        }
    }
}
