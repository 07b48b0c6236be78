//! Writes records to one topic, and sees to it that the topic is there.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use klamm_kafka::{
    ClusterHealth, Existing, KafkaClient, KafkaError, NewTopic, ProduceError, ProduceRecord, Producer, ResponseError,
};
use tokio::time::timeout;
use tracing::info;

use super::patience::{Patience, Task, Trouble};
use crate::clusters::Cluster;
use crate::config::KeptTopic;

/// Longest wait for an answer about the topic, for the status.
const LOOK: Duration = Duration::from_secs(2);

/// One topic of a task, and the producer that writes there.
pub(super) struct TopicWriter {
    topic: NewTopic,
    /// Settings of the topic begin with this.
    settings: &'static str,
    producer: Arc<Producer>,
    /// Keeps the connections.
    cluster: Arc<Cluster>,
    /// Whether the topic was there when it was last looked for. Held while it is looked for, so that one does.
    is_there: tokio::sync::Mutex<bool>,
    patience: Patience,
}

impl fmt::Debug for TopicWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicWriter")
            .field("topic", &self.topic.name)
            .finish_non_exhaustive()
    }
}

/// A record that the topic refused, and why.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) index: usize,
    pub(super) message: String,
}

/// Why a write did not succeed.
#[derive(Debug)]
enum WriteError {
    /// Of the topic, so of all records.
    Topic(KafkaError),
    /// Of the record with this index.
    Record { index: usize, source: ProduceError },
}

impl TopicWriter {
    /// A writer; nothing is asked of Kafka yet.
    pub(super) fn new(config: &KeptTopic, producer: Arc<Producer>, cluster: Arc<Cluster>, patience: Patience) -> Self {
        Self {
            topic: NewTopic::new(Arc::clone(&config.topic))
                .with_partitions(config.partitions)
                .with_replication_factor(config.replication_factor),
            settings: config.settings,
            producer,
            cluster,
            is_there: tokio::sync::Mutex::new(false),
            patience,
        }
    }

    /// Makes the topic unless it is there, as Connect does when a task starts. Waits for what may pass.
    ///
    /// # Errors
    /// The trace of a task whose topic is refused.
    pub(super) async fn open(&self) -> Result<(), String> {
        let attempt = || async { self.find_topic().await.map_err(|error| self.trouble(error.into())) };
        let opened = self.patience.persist(attempt, || self.look()).await;
        opened.map_err(|error| self.refusal(&error))
    }

    /// A record for this topic without anything in it.
    pub(super) fn record(&self) -> ProduceRecord {
        ProduceRecord::new(Arc::clone(&self.topic.name))
    }

    /// Writes the records in this order, and resolves when all are acknowledged. `shorter` is asked for a shorter form of
    /// a record that is too large. A failure may have records written twice; the last copies stand in this order.
    ///
    /// # Errors
    /// The first that is refused for good.
    ///
    /// # Cancel safety
    /// Once the future is dropped, no write starts that had not started.
    pub(super) async fn write(
        &self,
        records: Vec<ProduceRecord>,
        shorter: impl Fn(&ProduceRecord) -> Option<ProduceRecord> + Send + Sync,
    ) -> Result<(), Refused> {
        // What is acknowledged is not written again when others of the write are.
        let left = Mutex::new(records.into_iter().enumerate().collect::<Vec<_>>());
        let left = || left.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, shorter) = (&left, &shorter);
        // One that is too large is cut where it stands, and so is whatever is as large. Says whether that changed anything.
        let cut = |index: usize, error: &ProduceError| {
            let mut left = left();
            let refused = left.iter().find(|(other, _)| *other == index);
            let (ProduceError::TooLarge { .. }, Some((_, refused))) = (error, refused) else {
                return false;
            };
            let size = size_of(refused);
            let mut is_cut = false;
            for (other, record) in left.iter_mut().filter(|(_, record)| size_of(record) >= size) {
                if let Some(short) = shorter(record) {
                    *record = short;
                    is_cut |= *other == index;
                }
            }
            is_cut
        };
        let cut = &cut;
        let attempt = || async move {
            self.find_topic().await.map_err(|error| self.trouble(error.into()))?;
            loop {
                let mut deliveries = Vec::new();
                let mut failure = None;
                let indices: Vec<usize> = left().iter().map(|(index, _)| *index).collect();
                for index in indices {
                    let found = left()
                        .iter()
                        .find(|(other, _)| *other == index)
                        .map(|(_, record)| record.clone());
                    let Some(record) = found else { continue };
                    match self.producer.enqueue_while_wanted(record).await {
                        Ok(delivery) => deliveries.push((index, delivery)),
                        Err(source) => {
                            failure = Some((index, source));
                            break;
                        }
                    }
                }
                // What stands behind a record that failed is written again behind it: dropping its delivery takes it back
                // unless it is on its way, and what is written twice is last in order.
                for (index, delivery) in deliveries {
                    match delivery.await {
                        Ok(_) => left().retain(|(other, _)| *other != index),
                        Err(source) => {
                            failure = Some((index, source));
                            break;
                        }
                    }
                }
                match failure {
                    None => return Ok(()),
                    Some((index, source)) if cut(index, &source) => {}
                    Some((index, source)) => {
                        let error = WriteError::Record { index, source };
                        return Err(self.trouble(error).or_forget(self).await);
                    }
                }
            }
        };
        self.patience
            .persist(attempt, || self.look())
            .await
            .map_err(|error| Refused {
                index: match &error {
                    WriteError::Topic(_) => left().first().map_or(0, |(index, _)| *index),
                    WriteError::Record { index, .. } => *index,
                },
                message: self.refusal(&error),
            })
    }

    /// What follows from a failure.
    fn trouble(&self, error: WriteError) -> Trouble<WriteError> {
        match &error {
            WriteError::Topic(KafkaError::ShutDown) => Trouble::WorkerEnds,
            // A producer also closes when its own task has died: that must not be waited for.
            WriteError::Record {
                source: ProduceError::Closed { .. },
                ..
            } if self.cluster.client.is_shut_down() => Trouble::WorkerEnds,
            _ if error.is_retriable() => Trouble::Passing(error.text()),
            _ => Trouble::Final(error),
        }
    }

    /// Why nothing is acknowledged, as far as known. A producer that waits does not tell; who asks for the topic learns
    /// whether the cluster is there.
    async fn look(&self) -> String {
        let client = &self.cluster.client;
        match timeout(LOOK, client.topic(&self.topic.name)).await {
            Ok(Ok(Some(_))) => "no acknowledgement yet".to_owned(),
            Ok(Ok(None)) => "the topic is not there".to_owned(),
            Ok(Err(error)) => crate::chain(&error),
            Err(_) => match &*client.health().borrow() {
                ClusterHealth::Unreachable { error, .. } => crate::chain(error),
                ClusterHealth::Idle | ClusterHealth::Reachable => "no answer yet".to_owned(),
            },
        }
    }

    async fn find_topic(&self) -> Result<(), KafkaError> {
        let mut is_there = self.is_there.lock().await;
        if *is_there {
            return Ok(());
        }
        let client: &KafkaClient = &self.cluster.client;
        // Who may write to the topic may not be allowed to create topics.
        if client.topic(&self.topic.name).await?.is_none() {
            client.ensure_topic(&self.topic, Existing::MayDiffer).await?;
            let Task { connector, number } = self.patience.task();
            let place = self.patience.name();
            info!(connector = &**connector, task = number, place, "topic created");
        }
        *is_there = true;
        Ok(())
    }

    fn refusal(&self, error: &WriteError) -> String {
        let name = self.patience.name();
        let said = error.text();
        match error {
            WriteError::Topic(error) if error.code() == Some(ResponseError::InvalidReplicationFactor) => format!(
                "{name} cannot be created with {} replicas: {said}: set `{}.replication.factor` to what the cluster has, or \
                 create the topic",
                self.topic.replication_factor.unwrap_or_default(),
                self.settings
            ),
            WriteError::Topic(_) => format!("{name} cannot be used: {said}"),
            WriteError::Record {
                source: ProduceError::TooLarge { .. },
                ..
            } => format!(
                "{name} does not take the record: {said}: raise `producer.override.max.request.size`, and the topic's \
                 `max.message.bytes`, above it"
            ),
            WriteError::Record {
                source: ProduceError::Closed { .. },
                ..
            } => format!("{name} is not written to any more: {said}: restart the task, and report it"),
            WriteError::Record { .. } => format!("{name} does not take the record: {said}"),
        }
    }
}

/// What makes it as long as it is.
fn size_of(record: &ProduceRecord) -> usize {
    let headers = record.headers.iter();
    let headers = headers.map(|(name, value)| name.len() + value.as_ref().map_or(0, Bytes::len));
    let of = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    of(&record.key) + of(&record.value) + headers.sum::<usize>()
}

impl Trouble<WriteError> {
    /// The topic may have been deleted: then the next attempt makes it anew.
    async fn or_forget(self, writer: &TopicWriter) -> Self {
        if matches!(self, Self::Passing(_)) {
            *writer.is_there.lock().await = false;
        }
        self
    }
}

impl From<KafkaError> for WriteError {
    fn from(error: KafkaError) -> Self {
        Self::Topic(error)
    }
}

impl WriteError {
    /// What Kafka said.
    fn text(&self) -> String {
        match self {
            Self::Topic(error) => crate::chain(error),
            Self::Record { source, .. } => crate::chain(source),
        }
    }

    /// Whether it may pass.
    fn is_retriable(&self) -> bool {
        match self {
            Self::Topic(error) => error.is_retriable(),
            Self::Record { source, .. } => source.is_retriable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use klamm_kafka::{ByteBudget, ClientConfig, ProducerConfig, WriteOutcome};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::clusters::Clusters;
    use crate::task::waits::Waits;

    fn writer(clusters: &Clusters) -> TopicWriter {
        let client = ClientConfig::new(["127.0.0.1:1".to_owned()]);
        let cluster = clusters.of(&client);
        let producer = Arc::new(Producer::new(&cluster.client, ProducerConfig::default()));
        let config = KeptTopic {
            topic: "dlq".into(),
            partitions: 1,
            replication_factor: 1,
            settings: "errors.deadletterqueue.topic",
            client,
            producer: ProducerConfig::default(),
        };
        let task = Task {
            connector: "c".into(),
            number: 0,
        };
        let wait = Waits::new().of_keeper("dead letter queue `dlq`");
        let patience = Patience::new(
            task,
            "dead letter queue `dlq`".to_owned(),
            wait,
            StdRng::seed_from_u64(1),
        );
        TopicWriter::new(&config, producer, cluster, patience)
    }

    #[tokio::test]
    async fn a_producer_that_closed_by_itself_is_an_error_and_one_of_a_worker_that_ends_is_not() {
        let net = tokio::runtime::Handle::current();
        let clusters = Clusters::new(ClientConfig::new(["127.0.0.1:1"]), net, Arc::new(ByteBudget::new(1024)));
        let writer = writer(&clusters);
        let closed = || WriteError::Record {
            index: 0,
            source: ProduceError::Closed {
                outcome: WriteOutcome::Unknown,
            },
        };
        let Trouble::Final(error) = writer.trouble(closed()) else {
            panic!("waited for");
        };
        let message = writer.refusal(&error);
        assert!(
            message.contains("dead letter queue `dlq` is not written to any more"),
            "{message}"
        );
        assert!(message.contains("restart the task"), "{message}");
        clusters.shutdown().await;
        assert!(matches!(writer.trouble(closed()), Trouble::WorkerEnds));
    }
}
