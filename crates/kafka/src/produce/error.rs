//! Why a record was not written, or is not known to be.

use std::sync::Arc;
use std::time::Duration;

use crate::{KafkaError, TopicPartition};

/// What is known about a record whose sending failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is not in the log.
    NotWritten,
    /// It may be in the log: a request with it was sent and never answered.
    Unknown,
}

impl std::fmt::Display for WriteOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotWritten => "the record was not written",
            Self::Unknown => "whether the record was written is not known",
        })
    }
}

/// A record that was not written, or is not known to be; or a transaction that failed. Cheap to clone.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// The record is larger than a limit allows.
    #[error(
        "a record for topic `{topic}` takes {size} bytes, more than {setting} allows{}",
        .limit.map(|limit| format!(" ({limit})")).unwrap_or_default()
    )]
    TooLarge {
        /// Name of the topic.
        topic: Arc<str>,
        /// Bytes of the record in a batch of its own, before compression.
        size: usize,
        /// The limit in bytes; `None` when the broker did not tell.
        limit: Option<usize>,
        /// The setting that limits, and whose it is.
        setting: &'static str,
    },
    /// The topic did not exist for `max.block.ms`.
    #[error("topic `{topic}` did not exist within {} ms (`max.block.ms`): create it first", .after.as_millis())]
    UnknownTopic {
        /// Name of the topic.
        topic: Arc<str>,
        /// The time that was given.
        after: Duration,
    },
    /// Kafka does not let this principal see the topic, or there can be none of that name.
    #[error("topic `{topic}` cannot be written to: the record was not written")]
    Topic {
        /// Name of the topic.
        topic: Arc<str>,
        /// What Kafka said.
        #[source]
        source: KafkaError,
    },
    /// The topic has fewer partitions.
    #[error("topic `{topic}` has {partitions} partitions, there is no partition {partition}")]
    UnknownPartition {
        /// Name of the topic.
        topic: Arc<str>,
        /// The partition asked for.
        partition: i32,
        /// How many there are.
        partitions: i32,
    },
    /// Too much waits for acknowledgement already.
    #[error(
        "a record for topic `{topic}` found no room within {} ms (`max.block.ms`): {buffer_memory} bytes \
         (`buffer.memory`) wait for Kafka",
        .after.as_millis()
    )]
    BufferFull {
        /// Name of the topic.
        topic: Arc<str>,
        /// The time that was given.
        after: Duration,
        /// The bound in bytes.
        buffer_memory: usize,
    },
    /// Kafka did not acknowledge in time.
    #[error("{partition}: not acknowledged within {} ms (`delivery.timeout.ms`): {outcome}", .after.as_millis())]
    TimedOut {
        /// Where the record should go.
        partition: TopicPartition,
        /// The time that was given.
        after: Duration,
        /// What is known about the record.
        outcome: WriteOutcome,
        /// The last failure, if there was one.
        #[source]
        source: Option<KafkaError>,
    },
    /// Kafka does not take the record, and will not.
    #[error("{partition}: {outcome}")]
    Refused {
        /// Where the record should go.
        partition: TopicPartition,
        /// What is known about the record.
        outcome: WriteOutcome,
        /// What Kafka said.
        #[source]
        source: KafkaError,
    },
    /// Another producer with this name took over, or the coordinator gave this one up.
    #[error(
        "`transactional.id={transactional_id}` is fenced: another producer started with it, or a transaction was open \
         for longer than `transaction.timeout.ms`; make sure that only one uses it, and start again"
    )]
    Fenced {
        /// The name.
        transactional_id: Arc<str>,
    },
    /// The transaction cannot be committed; it was or will be aborted.
    #[error("transaction of `{transactional_id}` failed and is aborted")]
    Aborted {
        /// The producer's name.
        transactional_id: Arc<str>,
        /// The first failure.
        #[source]
        source: Arc<Self>,
    },
    /// A request to the transaction coordinator failed, or the producer could not begin.
    #[error("{what}: {outcome}")]
    Coordinator {
        /// What was asked.
        what: String,
        /// What is known about the records of the transaction.
        outcome: WriteOutcome,
        /// The failure.
        #[source]
        source: KafkaError,
    },
    /// The producer or its client was closed.
    #[error("the producer is closed: {outcome}")]
    Closed {
        /// What is known about the record.
        outcome: WriteOutcome,
    },
}

impl ProduceError {
    /// Whether sending the same record again may help. After an unknown outcome it may also write it twice.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::UnknownTopic { .. } | Self::BufferFull { .. } | Self::TimedOut { .. } | Self::Aborted { .. } => true,
            Self::Refused { source, .. } | Self::Coordinator { source, .. } | Self::Topic { source, .. } => {
                source.is_retriable()
            }
            Self::TooLarge { .. } | Self::UnknownPartition { .. } | Self::Fenced { .. } | Self::Closed { .. } => false,
        }
    }

    /// What is known about the record.
    pub fn outcome(&self) -> WriteOutcome {
        match self {
            Self::TimedOut { outcome, .. }
            | Self::Refused { outcome, .. }
            | Self::Coordinator { outcome, .. }
            | Self::Closed { outcome } => *outcome,
            Self::TooLarge { .. }
            | Self::UnknownTopic { .. }
            | Self::Topic { .. }
            | Self::UnknownPartition { .. }
            | Self::BufferFull { .. }
            | Self::Fenced { .. }
            | Self::Aborted { .. } => WriteOutcome::NotWritten,
        }
    }
}
