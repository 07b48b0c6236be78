//! The dead letter queue of a task: a Kafka topic for records that cannot be converted, transformed or delivered
//! (`errors.deadletterqueue.*`, KIP-298).
//!
//! **Owns** the topic, the producer, the form of a dead letter. **Does not know** who gave a record up, nor what follows.
//! **Invariants:** key, value, headers and timestamp are those of the consumed record, byte for byte; what may pass is
//! waited for and shown, never an error.

mod headers;
mod original;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use klamm_connect_api::{BoxFuture, Origin};
use klamm_delivery::{DeadLetter, DeadLetters, GivenUp, LetterRefused};
use klamm_kafka::{
    ClusterHealth, ConsumedRecord, Existing, KafkaClient, KafkaError, NewTopic, ProduceError, ProduceRecord, Producer,
    ResponseError,
};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::pipeline::RecordFailure;
use super::waits::QueueWait;
use crate::clusters::Cluster;
use crate::config::DeadLetterConfig;

/// A write that takes longer is worth a word in the status.
const WORTH_TELLING: Duration = Duration::from_secs(5);
/// Longest wait for an answer about the topic, for the status.
const LOOK: Duration = Duration::from_secs(2);
/// First wait before a write that failed is tried again; doubles.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Longest of these waits.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// At most one line about a queue that takes nothing in this time.
const WAIT_LOG: Duration = Duration::from_secs(60);

/// The dead letter queue of one task.
pub(super) struct DeadLetterQueue {
    topic: NewTopic,
    has_context_headers: bool,
    connector: Arc<str>,
    task: u32,
    producer: Producer,
    /// Keeps the connections.
    cluster: Arc<Cluster>,
    /// Whether the topic was there when it was last looked for. Held while it is looked for, so that one does.
    is_there: tokio::sync::Mutex<bool>,
    wait: QueueWait,
    /// Writes that wait longer than is worth a word.
    stalled: AtomicUsize,
    /// When the last line about waiting was written.
    told: std::sync::Mutex<Option<Instant>>,
    rng: std::sync::Mutex<StdRng>,
}

impl fmt::Debug for DeadLetterQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterQueue")
            .field("topic", &self.topic.name)
            .finish_non_exhaustive()
    }
}

/// Why a write did not succeed.
#[derive(Debug)]
enum WriteError {
    /// Of the topic, so of all records.
    Topic(KafkaError),
    /// Of the record with this index.
    Record { index: usize, source: ProduceError },
}

impl DeadLetterQueue {
    /// The queue of a task; nothing is asked of Kafka yet.
    pub(super) fn new(
        config: &DeadLetterConfig,
        cluster: Arc<Cluster>,
        connector: Arc<str>,
        task: u32,
        wait: QueueWait,
        rng: StdRng,
    ) -> Self {
        let topic = NewTopic::new(Arc::clone(&config.topic))
            .with_partitions(1)
            .with_replication_factor(config.replication_factor);
        Self {
            topic,
            has_context_headers: config.has_context_headers,
            connector,
            task,
            producer: Producer::new(&cluster.client, config.producer.clone()),
            cluster,
            is_there: tokio::sync::Mutex::new(false),
            wait,
            stalled: AtomicUsize::new(0),
            told: std::sync::Mutex::default(),
            rng: std::sync::Mutex::new(rng),
        }
    }

    /// Makes the topic unless it is there, as Connect does when a task starts. Waits for what may pass.
    ///
    /// # Errors
    /// The trace of a task whose topic is refused.
    pub(super) async fn open(&self) -> Result<(), String> {
        let opened = self.persist(|| async { Ok(self.find_topic().await?) }).await;
        opened.map_err(|error| self.refusal(&error))
    }

    /// A record as routes that give up need it: see [`klamm_delivery::Delivery::original`].
    pub(super) fn keep(&self, record: &ConsumedRecord) -> Bytes {
        original::pack(record, &[])
    }

    /// The dead letter of a record that failed before delivery: see [`klamm_delivery::Delivery::dead_letter`].
    pub(super) fn letter(&self, record: &ConsumedRecord, failure: &RecordFailure) -> Bytes {
        let context = if self.has_context_headers {
            headers::of_failure(self.who(), failure)
        } else {
            Vec::new()
        };
        original::pack(record, &context)
    }

    fn who(&self) -> headers::Task<'_> {
        headers::Task {
            connector: &self.connector,
            number: self.task,
        }
    }

    /// What is written to the topic. Kafka's producer chooses the partition, by the key.
    fn record(&self, origin: &Origin, packed: Bytes, given_up: Option<&GivenUp>) -> ProduceRecord {
        let original = original::unpack(packed).expect("packed by `keep` or `letter`");
        let mut record = ProduceRecord {
            topic: Arc::clone(&self.topic.name),
            partition: None,
            timestamp: original.timestamp,
            key: original.key,
            value: original.value,
            headers: original.headers,
        };
        if let Some(given_up) = given_up
            && self.has_context_headers
        {
            record
                .headers
                .extend(headers::of_delivery(self.who(), origin, given_up));
        }
        record
    }

    /// Tries until it succeeds or is refused for good; meanwhile the status says what is waited for.
    async fn persist<F>(&self, attempt: impl Fn() -> F) -> Result<(), WriteError>
    where
        F: Future<Output = Result<(), WriteError>>,
    {
        let mut stall = Stall {
            queue: self,
            since: Instant::now(),
            is_told: false,
        };
        let mut delay = RETRY_DELAY;
        loop {
            let outcome = {
                let mut attempt = std::pin::pin!(attempt());
                loop {
                    tokio::select! {
                        outcome = &mut attempt => break outcome,
                        reason = self.look() => stall.tell(&reason),
                    }
                }
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if error.is_end() => return std::future::pending().await,
                Err(error) if !error.is_retriable() => return Err(error),
                Err(error) => {
                    // It may have been deleted: then the next attempt makes it anew.
                    *self.is_there.lock().await = false;
                    stall.tell(&error.text());
                }
            }
            let drawn = self
                .rng
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .random_range(delay / 2..=delay);
            sleep(drawn).await;
            delay = delay.saturating_mul(2).min(RETRY_DELAY_MAX);
        }
    }

    /// After a while, why nothing is acknowledged, as far as known. A producer that waits does not tell; who asks for the
    /// topic learns whether the cluster is there.
    async fn look(&self) -> String {
        sleep(WORTH_TELLING).await;
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
            let (connector, task, topic) = (&*self.connector, self.task, &*self.topic.name);
            info!(connector, task, topic, "dead letter queue created");
        }
        *is_there = true;
        Ok(())
    }

    fn refusal(&self, error: &WriteError) -> String {
        let topic = &self.topic.name;
        let said = error.text();
        match error {
            WriteError::Topic(error) if error.code() == Some(ResponseError::InvalidReplicationFactor) => format!(
                "dead letter queue `{topic}` cannot be created with {} replicas: {said}: set \
                 `errors.deadletterqueue.topic.replication.factor` to what the cluster has, or create the topic",
                self.topic.replication_factor.unwrap_or_default()
            ),
            WriteError::Topic(_) => format!("dead letter queue `{topic}` cannot be used: {said}"),
            WriteError::Record { .. } => format!("dead letter queue `{topic}` does not take the record: {said}"),
        }
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

    /// Whether the worker ends, and this task with it.
    fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Topic(KafkaError::ShutDown)
                | Self::Record {
                    source: ProduceError::Closed { .. },
                    ..
                }
        )
    }
}

impl DeadLetters for DeadLetterQueue {
    fn write(&self, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LetterRefused>> {
        Box::pin(async move {
            // What is acknowledged is not written again when others of the write are.
            let left = std::sync::Mutex::new((0..letters.len()).collect::<Vec<usize>>());
            let left = || left.lock().unwrap_or_else(PoisonError::into_inner);
            let (letters, left) = (&letters, &left);
            let attempt = || async move {
                self.find_topic().await?;
                let indices: Vec<usize> = left().clone();
                let mut deliveries = Vec::new();
                let mut failure = None;
                for index in indices {
                    let DeadLetter {
                        origin,
                        record,
                        given_up,
                    } = &letters[index];
                    let record = self.record(origin, record.clone(), given_up.as_deref());
                    match self.producer.enqueue_while_wanted(record).await {
                        Ok(delivery) => deliveries.push((index, delivery)),
                        Err(source) => {
                            failure = Some(WriteError::Record { index, source });
                            break;
                        }
                    }
                }
                for (index, delivery) in deliveries {
                    match delivery.await {
                        Ok(_) => left().retain(|other| *other != index),
                        // One that is refused decides, whatever may pass for the others.
                        Err(source) if failure.as_ref().is_none_or(WriteError::is_retriable) => {
                            failure = Some(WriteError::Record { index, source });
                        }
                        Err(_) => {}
                    }
                }
                failure.map_or(Ok(()), Err)
            };
            self.persist(attempt).await.map_err(|error| LetterRefused {
                index: match &error {
                    WriteError::Topic(_) => left().first().copied().unwrap_or_default(),
                    WriteError::Record { index, .. } => *index,
                },
                message: self.refusal(&error),
            })
        })
    }
}

/// A write that waits, until it is dropped.
struct Stall<'a> {
    queue: &'a DeadLetterQueue,
    since: Instant,
    is_told: bool,
}

impl Stall<'_> {
    /// Shows in the status what is waited for; in the log once in a while.
    fn tell(&mut self, reason: &str) {
        let queue = self.queue;
        let waited = self.since.elapsed();
        if waited < WORTH_TELLING {
            return;
        }
        if !std::mem::replace(&mut self.is_told, true) {
            queue.stalled.fetch_add(1, Ordering::SeqCst);
        }
        let topic = &*queue.topic.name;
        queue.wait.set(format!("dead letter queue `{topic}`: {reason}"));
        let now = Instant::now();
        let mut told = queue.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|last| now >= last + WAIT_LOG) {
            *told = Some(now);
            let (connector, task) = (&*queue.connector, queue.task);
            let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            warn!(
                connector,
                task,
                topic,
                waited_ms,
                error = reason,
                "dead letters wait for their topic"
            );
        }
    }
}

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        if self.is_told && self.queue.stalled.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.queue.wait.clear();
        }
    }
}
