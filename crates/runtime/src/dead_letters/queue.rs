//! Reads the topic of a connector's dead letters, in bounded pieces.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use klamm_connect_api::BoxFuture;
use klamm_kafka::{
    AssignmentEpoch, FetchedSection, IsolationLevel, KafkaError, OffsetReset, OffsetSpec, PartitionReader,
    PartitionRequest, StartPosition, Subscription, TopicPartition,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::letter::read;
use super::redrive::Job;
use super::{
    DeadLetter, DeadLetterPartition, DeadLetterQueues, DeadLetterTopic, DeadLetters, DeadLettersError, Peek, Redrive,
    RedriveStatus,
};
use crate::clusters::{Cluster, Clusters};
use crate::config::{ConnectorConfig, KeptTopic, LettersConfig};
use crate::herder::Herder;

/// How long Kafka may take to answer a look.
const WITHIN: Duration = Duration::from_secs(15);

/// Looks at once, and bytes of letters that end a look: they are in memory until the answer is written.
const LOOKS: usize = 2;
const LOOK_BYTES: usize = 16 * 1024 * 1024;

/// Dead letter queues on the clusters of the connectors.
pub(crate) struct KafkaDeadLetters {
    herder: Herder,
    clusters: Arc<Clusters>,
    pub(super) jobs: Mutex<HashMap<String, Arc<Job>>>,
    looks: Semaphore,
    /// Held from the look whether a redrive is under way until the new one is known.
    pub(super) begins: tokio::sync::Mutex<()>,
    pub(super) tasks: Mutex<JoinSet<()>>,
    pub(super) stop: CancellationToken,
}

impl fmt::Debug for KafkaDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaDeadLetters").finish_non_exhaustive()
    }
}

/// The queue of one connector.
pub(super) struct Queue {
    pub(super) connector: String,
    pub(super) topic: KeptTopic,
    has_context_headers: bool,
    /// Where the queue is.
    pub(super) cluster: Arc<Cluster>,
    /// Where the records came from.
    pub(super) source: Arc<Cluster>,
    /// Which topics the connector reads.
    pub(super) subscription: Subscription,
    settings: Arc<klamm_kafka::FetchSettings>,
}

impl KafkaDeadLetters {
    pub(crate) fn new(herder: Herder, clusters: Arc<Clusters>) -> Self {
        Self {
            herder,
            clusters,
            jobs: Mutex::default(),
            looks: Semaphore::new(LOOKS),
            begins: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Whether there is a connector of this name.
    pub(super) fn is_known(&self, connector: &str) -> bool {
        self.herder.connector(connector).is_ok()
    }

    /// Tells whether the connector is still there.
    pub(super) fn existence_of(&self, connector: &str) -> impl Fn() -> bool + Send + use<> {
        let (herder, connector) = (self.herder.clone(), connector.to_owned());
        move || herder.connector(&connector).is_ok()
    }

    /// Ends all redrives at once.
    pub(crate) fn abort(&self) {
        self.stop.cancel();
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    async fn config(&self, connector: &str) -> Result<ConnectorConfig, DeadLettersError> {
        let parsed = self.herder.parsed_config(connector).await;
        let unknown = |error: crate::HerderError| DeadLettersError::NotFound(error.to_string());
        parsed.map_err(unknown)?.map_err(DeadLettersError::Refused)
    }

    fn queue_of(&self, connector: &str, config: &ConnectorConfig) -> Option<Queue> {
        let LettersConfig {
            dead_letters,
            has_context_headers,
            ..
        } = &config.letters;
        let topic = dead_letters.clone()?;
        Some(Queue {
            connector: connector.to_owned(),
            cluster: self.clusters.of(&topic.client),
            source: self.clusters.of(&config.client),
            subscription: config.subscription.clone(),
            settings: Arc::clone(&config.consumer.fetch),
            has_context_headers: *has_context_headers,
            topic,
        })
    }

    pub(super) async fn queue(&self, connector: &str) -> Result<Queue, DeadLettersError> {
        let config = self.config(connector).await?;
        self.queue_of(connector, &config).ok_or_else(|| {
            let text =
                format!("Connector {connector} has no dead letter topic: set `errors.deadletterqueue.topic.name`");
            DeadLettersError::Refused(text)
        })
    }
}

impl Queue {
    /// The group that keeps how far redrives came.
    pub(super) fn group(&self) -> String {
        format!("klamm-redrive-{}", self.connector)
    }

    pub(super) fn says_where_from(&self) -> bool {
        self.has_context_headers
    }

    /// The partitions; none if there is no such topic.
    pub(super) async fn partitions(&self) -> Result<Option<Vec<DeadLetterPartition>>, DeadLettersError> {
        let asking = async {
            let client = &self.cluster.client;
            let Some(topic) = client.topic(&self.topic.topic).await? else {
                return Ok(None);
            };
            let partitions: Vec<_> = (0..topic.partitions)
                .map(|partition| TopicPartition::new(Arc::clone(&self.topic.topic), partition))
                .collect();
            let isolation = IsolationLevel::ReadUncommitted;
            let starts = client
                .list_offsets(&partitions, OffsetSpec::Earliest, isolation)
                .await?;
            let ends = client.list_offsets(&partitions, OffsetSpec::Latest, isolation).await?;
            let redriven = client.group_offsets(&self.group()).await?;
            let of = |partition: &TopicPartition| {
                let start = starts.get(partition).and_then(|listed| listed.offset).unwrap_or(0);
                let end = ends.get(partition).and_then(|listed| listed.offset).unwrap_or(start);
                DeadLetterPartition {
                    partition: partition.partition,
                    start,
                    end,
                    // A topic that was made again or cleaned up begins elsewhere.
                    redriven: redriven
                        .get(partition)
                        .map_or(start, |committed| committed.offset)
                        .clamp(start, end),
                }
            };
            Ok(Some(partitions.iter().map(of).collect()))
        };
        answered(asking).await
    }

    /// Reads a partition from `offset` on.
    pub(super) fn reader(&self, partition: i32, offset: i64) -> PartitionReader {
        self.cluster.pool.open(PartitionRequest {
            topic: Arc::clone(&self.topic.topic),
            topic_id: None,
            partition,
            start: StartPosition::Offset(offset),
            reset: OffsetReset::Earliest,
            settings: Arc::clone(&self.settings),
            epoch: AssignmentEpoch::next(),
        })
    }

    async fn peek(&self, peek: Peek) -> Result<Vec<DeadLetter>, DeadLettersError> {
        let missing = || DeadLettersError::NotFound(format!("Topic {} does not exist", self.topic.topic));
        let partitions = self.partitions().await?.ok_or_else(missing)?;
        let chosen: Vec<DeadLetterPartition> = partitions
            .into_iter()
            .filter(|found| peek.partition.is_none_or(|wanted| wanted == found.partition))
            .collect();
        if let (Some(partition), true) = (peek.partition, chosen.is_empty()) {
            let text = format!("Topic {} has no partition {partition}", self.topic.topic);
            return Err(DeadLettersError::NotFound(text));
        }
        let mut seen = Seen::new(peek.limit);
        for found in chosen {
            let from = peek.offset.unwrap_or(found.redriven).max(found.start);
            if from >= found.end || seen.is_full() {
                continue;
            }
            let mut reader = self.reader(found.partition, from);
            let mut position = from;
            while position < found.end && !seen.is_full() {
                let section = reader.next().await.map_err(|error| unavailable(&error))?;
                position = section.next_offset();
                self.take(&section, found.partition, found.end, &mut seen)?;
            }
        }
        Ok(seen.letters)
    }

    /// Takes letters of this connector, and those that do not say whose they are.
    fn take(
        &self,
        section: &FetchedSection,
        partition: i32,
        end: i64,
        seen: &mut Seen,
    ) -> Result<(), DeadLettersError> {
        for record in section.records() {
            let record = record.map_err(|error| unavailable(&error))?;
            if record.offset >= end || seen.is_full() {
                break;
            }
            // A slice would keep the whole answer of the fetch.
            let letter = read(partition, record.detached());
            let is_own = letter
                .error
                .as_ref()
                .is_none_or(|error| error.connector == self.connector);
            if is_own {
                seen.keep(letter);
            }
        }
        Ok(())
    }
}

/// The letters of one look.
#[derive(Debug)]
struct Seen {
    letters: Vec<DeadLetter>,
    limit: usize,
    bytes: usize,
}

impl Seen {
    fn new(limit: usize) -> Self {
        Self {
            letters: Vec::new(),
            limit,
            bytes: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.letters.len() >= self.limit || self.bytes >= LOOK_BYTES
    }

    fn keep(&mut self, letter: DeadLetter) {
        let size = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = letter.headers.iter().map(|(key, value)| key.len() + size(value));
        self.bytes += size(&letter.key) + size(&letter.value) + headers.sum::<usize>();
        self.letters.push(letter);
    }
}

/// An answer of Kafka in time.
pub(super) async fn answered<T>(asking: impl Future<Output = Result<T, KafkaError>>) -> Result<T, DeadLettersError> {
    match timeout(WITHIN, asking).await {
        Ok(answer) => answer.map_err(|error| unavailable(&error)),
        Err(_) => Err(DeadLettersError::Unavailable(format!(
            "Kafka did not answer within {} s: try again once it can be reached",
            WITHIN.as_secs()
        ))),
    }
}

pub(super) fn unavailable(error: &dyn std::error::Error) -> DeadLettersError {
    DeadLettersError::Unavailable(format!("the dead letters cannot be read: {}", crate::chain(error)))
}

impl DeadLetters for KafkaDeadLetters {
    fn list<'a>(&'a self, connector: &'a str) -> BoxFuture<'a, Result<DeadLetterQueues, DeadLettersError>> {
        Box::pin(async move {
            let config = self.config(connector).await?;
            let destinations = config.letters.destinations.iter();
            let destinations = destinations.map(|destination| destination.name().to_owned()).collect();
            let Some(queue) = self.queue_of(connector, &config) else {
                return Ok(DeadLetterQueues {
                    topic: None,
                    destinations,
                });
            };
            let partitions = queue.partitions().await?;
            let topic = DeadLetterTopic {
                name: queue.topic.topic.to_string(),
                exists: partitions.is_some(),
                has_context_headers: queue.has_context_headers,
                group: queue.group(),
                partitions: partitions.unwrap_or_default(),
            };
            Ok(DeadLetterQueues {
                topic: Some(topic),
                destinations,
            })
        })
    }

    fn peek<'a>(&'a self, connector: &'a str, peek: Peek) -> BoxFuture<'a, Result<Vec<DeadLetter>, DeadLettersError>> {
        Box::pin(async move {
            let queue = self.queue(connector).await?;
            let late = || DeadLettersError::Unavailable(format!("no answer within {} s", WITHIN.as_secs()));
            // Never closed; who waits for a turn holds nothing.
            let _turn = self.looks.acquire().await;
            timeout(WITHIN, queue.peek(peek)).await.unwrap_or_else(|_| Err(late()))
        })
    }

    fn redrive<'a>(
        &'a self,
        connector: &'a str,
        redrive: Redrive,
    ) -> BoxFuture<'a, Result<RedriveStatus, DeadLettersError>> {
        Box::pin(self.begin_redrive(connector, redrive))
    }

    fn redrive_status(&self, connector: &str) -> Option<RedriveStatus> {
        self.job(connector).map(|job| job.status())
    }

    fn stop_redrive(&self, connector: &str) -> bool {
        self.job(connector).is_some_and(|job| job.stop())
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end_redrives())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_ends_with_its_letters_or_its_bytes() {
        let letter = |bytes: usize| DeadLetter {
            partition: 0,
            offset: 0,
            timestamp: None,
            error: None,
            redrives: 0,
            key: None,
            value: Some(Bytes::from(vec![0; bytes])),
            headers: vec![(Bytes::from_static(b"h"), None)],
        };
        let kept = |bytes: usize| {
            let mut seen = Seen::new(3);
            while !seen.is_full() {
                seen.keep(letter(bytes));
            }
            seen.letters.len()
        };
        assert_eq!((kept(10), kept(LOOK_BYTES / 2), kept(LOOK_BYTES)), (3, 2, 1));
    }
}
