//! Transactions (KIP-98, KIP-890): records that become visible to `read_committed` together or not at all, written by
//! one owner of a name at a time.
//!
//! Ready => Open by the first [`Transaction::send`] => Ready by commit or abort. A transaction that is dropped, or whose
//! end failed, leaves Open: the next [`TransactionalProducer::begin`] aborts it. Fenced is final.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::coordinator::{End, TransactionCoordinator};
use super::error::WriteOutcome;
use super::exchange::JoinBy;
use super::lane::{Identity, Wanted};
use super::sender::Command;
use super::{Delivery, ProduceError, ProduceRecord, Producer, RecordMetadata};
use crate::records::{BATCH_OVERHEAD_BYTES, max_encoded_len};
use crate::{KafkaClient, KafkaError, ProducerConfig, TopicPartition};

/// The owner of a `transactional.id`: whoever starts later with the same name fences it.
///
/// Needs brokers from Kafka 2.5 on (KIP-360); where the cluster has `transaction.version` 2 (Kafka 4.0), partitions join
/// by being written to, and each transaction has an epoch of its own.
#[derive(Debug)]
pub struct TransactionalProducer {
    producer: Producer,
    coordinator: TransactionCoordinator,
    id: Arc<str>,
    identity: Identity,
    join_by: JoinBy,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No transaction is open.
    Ready,
    /// Something was, or may have been, written in a transaction that is not known to have ended.
    Open,
    /// Another owner took over.
    Fenced,
}

/// An open transaction; dropping it gives it up, and the next [`TransactionalProducer::begin`] aborts it.
#[derive(Debug)]
#[must_use = "a transaction that is not committed is aborted"]
pub struct Transaction<'a> {
    owner: &'a mut TransactionalProducer,
    deliveries: Vec<Delivery>,
    partitions: BTreeSet<TopicPartition>,
}

impl TransactionalProducer {
    /// Becomes the owner of `config.transactional_id`: earlier owners are fenced, and a transaction that one of them left
    /// open is aborted.
    ///
    /// # Errors
    /// [`ProduceError::Coordinator`] after `max.block.ms`, on a refusal, or when there is no `transactional.id`.
    pub async fn start(client: &Arc<KafkaClient>, config: ProducerConfig) -> Result<Self, ProduceError> {
        let Some(id) = config.transactional_id.clone() else {
            return Err(ProduceError::Coordinator {
                what: "starting a transactional producer".to_owned(),
                outcome: WriteOutcome::NotWritten,
                source: KafkaError::broker("`transactional.id` is not set", ResponseError::InvalidRequest),
            });
        };
        let config = ProducerConfig {
            idempotence: true,
            acks: crate::Acks::All,
            ..config
        };
        let mut coordinator =
            TransactionCoordinator::new(Arc::clone(client), Arc::new(config.clone()), Arc::clone(&id));
        let join_by = coordinator.join_by().await?;
        let identity = coordinator.init(None).await?;
        let mut owner = Self {
            producer: Producer::with_config(client, config),
            coordinator,
            id,
            identity,
            join_by,
            phase: Phase::Ready,
        };
        owner.identify(identity).await?;
        Ok(owner)
    }

    /// The name that this producer owns.
    pub fn transactional_id(&self) -> &Arc<str> {
        &self.id
    }

    /// Begins a transaction; one that was given up is aborted first.
    ///
    /// # Errors
    /// [`ProduceError::Fenced`] once another owner took over; else when the abort fails.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, ProduceError> {
        match self.phase {
            Phase::Ready => {}
            Phase::Open => self.abort().await?,
            Phase::Fenced => return Err(self.fenced()),
        }
        Ok(Transaction {
            owner: self,
            deliveries: Vec::new(),
            partitions: BTreeSet::new(),
        })
    }

    fn fenced(&self) -> ProduceError {
        ProduceError::Fenced {
            transactional_id: Arc::clone(&self.id),
        }
    }

    /// Remembers a failure that is final.
    fn note<T>(&mut self, result: Result<T, ProduceError>) -> Result<T, ProduceError> {
        if matches!(result, Err(ProduceError::Fenced { .. })) {
            self.phase = Phase::Fenced;
        }
        result
    }

    async fn identify(&mut self, identity: Identity) -> Result<(), ProduceError> {
        self.identity = identity;
        let command = Command::Identify(identity, self.join_by);
        let sent = self.producer.commands.send(command).await;
        sent.map_err(|_| ProduceError::Closed {
            outcome: WriteOutcome::NotWritten,
        })
    }

    /// Drops what is not sent, waits for what is, and aborts. Afterwards the producer writes under a new epoch, so that
    /// nothing late can become part of the next transaction.
    async fn abort(&mut self) -> Result<(), ProduceError> {
        let (done, settled) = oneshot::channel();
        if self.producer.commands.send(Command::Abandon(done)).await.is_ok() {
            // An error means that the task has ended, and then everything has its outcome.
            drop(settled.await);
        }
        let ended = self.coordinator.end(self.identity, End::Abort, self.join_by).await;
        let next = match self.note(ended) {
            Ok(Some(next)) => next,
            Ok(None) => self.init().await?,
            // Nothing had reached the coordinator, or the transaction had ended after all.
            Err(ProduceError::Coordinator { source, .. }) if source.code() == Some(ResponseError::InvalidTxnState) => {
                self.init().await?
            }
            Err(err) => return Err(err),
        };
        self.identify(next).await?;
        self.phase = Phase::Ready;
        Ok(())
    }

    /// Aborts because of `failure`, and says so. When the abort fails too, the next transaction tries it again.
    async fn give_up(&mut self, failure: ProduceError) -> ProduceError {
        if matches!(failure, ProduceError::Fenced { .. }) {
            self.phase = Phase::Fenced;
            return failure;
        }
        match self.abort().await {
            Ok(()) | Err(ProduceError::Coordinator { .. }) => ProduceError::Aborted {
                transactional_id: Arc::clone(&self.id),
                source: Arc::new(failure),
            },
            Err(err) => err,
        }
    }

    async fn init(&mut self) -> Result<Identity, ProduceError> {
        let next = self.coordinator.init(Some(self.identity)).await;
        self.note(next)
    }

    /// Ends the producer; a transaction that was given up is aborted by the coordinator after
    /// `transaction.timeout.ms`, or when the next owner starts.
    pub async fn close(self) {
        self.producer.close().await;
    }
}

impl Transaction<'_> {
    /// Takes `record` for writing in this transaction, behind those before it; [`Transaction::commit`] tells where it
    /// ended up.
    ///
    /// # Errors
    /// When the record cannot be taken; the transaction may go on without it.
    pub async fn send(&mut self, record: ProduceRecord) -> Result<(), ProduceError> {
        let owner = &mut *self.owner;
        let deadline = Instant::now() + owner.producer.config.max_block;
        let size = max_encoded_len(&record);
        owner
            .producer
            .check_size(&record, size.saturating_add(BATCH_OVERHEAD_BYTES))?;
        let index = owner.producer.partition(&record, size, deadline).await?;
        let partition = TopicPartition::new(Arc::clone(&record.topic), index);
        owner.phase = Phase::Open;
        if owner.join_by == JoinBy::Asking && !self.partitions.contains(&partition) {
            let added = owner.coordinator.add(owner.identity, &partition).await;
            owner.note(added)?;
        }
        self.partitions.insert(partition);
        let delivery = owner
            .producer
            .enqueue_at(record, index, size, Wanted::Always, deadline)
            .await?;
        self.deliveries.push(delivery);
        Ok(())
    }

    /// Commits: where each record is, in the order of sending.
    ///
    /// # Errors
    /// [`ProduceError::Aborted`] when a record could not be written: then none is visible. [`ProduceError::Fenced`]
    /// once another owner took over. [`ProduceError::Coordinator`] with [`WriteOutcome::Unknown`] when the coordinator
    /// was asked to commit and never answered: read the topic to know.
    ///
    /// # Cancel safety
    /// The transaction may or may not be committed.
    pub async fn commit(self) -> Result<Vec<RecordMetadata>, ProduceError> {
        let owner = self.owner;
        if owner.phase == Phase::Ready {
            return Ok(Vec::new());
        }
        owner.producer.flush().await;
        let mut written = Vec::with_capacity(self.deliveries.len());
        let mut failure = None;
        for delivery in self.deliveries {
            match delivery.await {
                Ok(metadata) => written.push(metadata),
                Err(err) => failure = failure.or(Some(err)),
            }
        }
        if let Some(failure) = failure {
            return Err(owner.give_up(failure).await);
        }
        let ended = owner.coordinator.end(owner.identity, End::Commit, owner.join_by).await;
        match owner.note(ended) {
            Ok(next) => {
                owner.phase = Phase::Ready;
                if let Some(next) = next {
                    owner.identify(next).await?;
                }
                Ok(written)
            }
            Err(err) if is_abortable(&err) => Err(owner.give_up(err).await),
            Err(err) => Err(err),
        }
    }

    /// Aborts: no record of the transaction will be visible to `read_committed`.
    ///
    /// # Errors
    /// When the coordinator does not confirm it; it aborts by itself after `transaction.timeout.ms`.
    pub async fn abort(self) -> Result<(), ProduceError> {
        match self.owner.phase {
            Phase::Ready => Ok(()),
            Phase::Open => self.owner.abort().await,
            Phase::Fenced => Err(self.owner.fenced()),
        }
    }
}

/// Whether the coordinator asks for an abort (KIP-890).
fn is_abortable(err: &ProduceError) -> bool {
    match err {
        ProduceError::Coordinator { source, .. } => source.code() == Some(ResponseError::TransactionAbortable),
        _ => false,
    }
}
