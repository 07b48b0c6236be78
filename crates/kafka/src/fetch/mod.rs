//! Reading partitions: one pool for a worker, whatever the number of its readers.
//!
//! A [`FetchPool`] groups the open readers by broker and settings into incremental fetch sessions (KIP-227). A
//! partition is asked for only while its reader has room, so a slow reader costs the others nothing.
//!
//! **Owns** sessions, positions while they are open, the prefetch of one section per reader.
//! **Does not know** groups and commits: the caller says where to start.
//! **Invariant:** what was asked for before a seek or for a dropped reader is never delivered.

mod accept;
mod budget;
mod epochs;
mod intake;
mod request;
mod router;
mod section;
mod session;
mod stats;
mod wire;

use std::sync::{Arc, Weak};

use kafka_protocol::ResponseError;
use uuid::Uuid;

use crate::client::TopicInterest;
use crate::{AssignmentEpoch, FetchSettings, IsolationLevel, KafkaClient, KafkaError, OffsetReset, TopicPartition};
use intake::{Intake, Position};
use router::Router;

pub use budget::{Account, ByteBudget, FetchBudget, Reservation};
pub use epochs::LeaderEpochs;
pub use section::FetchedSection;
pub use stats::FetchStats;

/// Where a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// At this offset, as it is.
    Offset(i64),
    /// At a committed offset. With the leader epoch that was committed the leader's log is checked first: whether it
    /// still holds the records before that offset, or was cut and written anew since (KIP-320).
    Committed {
        /// The offset to read next.
        offset: i64,
        /// Leader epoch of the last record before `offset`, if the committer knew it.
        leader_epoch: Option<i32>,
    },
    /// At the oldest record.
    Earliest,
    /// At the end.
    Latest,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct PartitionRequest {
    /// Name of the topic; it need not exist yet.
    pub topic: Arc<str>,
    /// The topic's id, if known: a topic that was made again under the same name is then noticed.
    pub topic_id: Option<Uuid>,
    /// Index of the partition.
    pub partition: i32,
    /// Where to start.
    pub start: StartPosition,
    /// Where to go when the position does not exist (any more).
    pub reset: OffsetReset,
    /// How to fetch; readers with equal settings share sessions.
    pub settings: Arc<FetchSettings>,
    /// Goes into every section.
    pub epoch: AssignmentEpoch,
}

/// Why a reader cannot go on by itself. Everything that may pass is retried inside.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The position does not exist and there is no policy for that.
    #[error(
        "{partition}@{offset} does not exist (any more): set `auto.offset.reset` to `earliest` or `latest`, or commit \
         an offset between the log's start and end"
    )]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The offset that was asked for.
        offset: i64,
    },
    /// The log was cut before the position, and there is no policy for that.
    #[error(
        "{partition}@{offset} was cut off the log: {}, so records that were read before are lost or replaced (unclean \
         leader election?): set `auto.offset.reset` to `earliest` or `latest`, or commit an offset to go on from",
        diverging(.diverged)
    )]
    LogTruncated {
        /// The partition.
        partition: TopicPartition,
        /// The offset that was to be read next.
        offset: i64,
        /// Where the log took another way: the last leader epoch that it shares with what was read, and the offset
        /// behind that epoch's last record. `None` if it shares nothing any more.
        diverged: Option<(i32, i64)>,
    },
    /// The topic was deleted and made again, and there is no policy for that.
    #[error("topic `{topic}` was deleted and created again: set `auto.offset.reset` to read it from its start")]
    TopicRecreated {
        /// The topic.
        topic: Arc<str>,
    },
    /// Reading is not allowed.
    #[error("topic `{topic}` cannot be read")]
    TopicAuthorization {
        /// The topic.
        topic: Arc<str>,
        /// Who lacks which permission: READ, or DESCRIBE (which READ includes).
        #[source]
        source: KafkaError,
    },
    /// The broker found the bytes damaged, or sent such that make no sense.
    #[error("records at {partition}@{offset} are damaged: {reason}")]
    Corrupt {
        /// The partition.
        partition: TopicPartition,
        /// The offset that was asked for.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// The broker refuses for a reason that will not pass.
    #[error("{partition} cannot be read")]
    Refused {
        /// The partition.
        partition: TopicPartition,
        /// What the broker said.
        #[source]
        source: KafkaError,
    },
    /// The client was shut down.
    #[error("the Kafka client is shut down")]
    ShutDown,
}

fn diverging(diverged: &Option<(i32, i64)>) -> String {
    match diverged {
        Some((epoch, offset)) => {
            format!("what was read and what is there part at offset {offset}, leader epoch {epoch}")
        }
        None => "nothing of what was read is there any more".to_owned(),
    }
}

/// All reading of a worker.
#[derive(Clone, Debug)]
pub struct FetchPool {
    client: Arc<KafkaClient>,
    router: Arc<Router>,
}

impl FetchPool {
    /// A pool whose responses are paid for out of `budget`.
    ///
    /// Its tasks end with [`KafkaClient::shutdown`], or when pool and readers are dropped.
    pub fn new(client: Arc<KafkaClient>, budget: Arc<dyn FetchBudget>) -> Self {
        let router = Router::start(&client, budget);
        Self { client, router }
    }

    /// What was asked and answered so far.
    pub fn stats(&self) -> FetchStats {
        self.router.stats()
    }

    /// Starts to read a partition. Never fails: the first section, or what is wrong, comes out of the reader.
    pub fn open(&self, request: PartitionRequest) -> PartitionReader {
        let interest = self.client.interest([Arc::clone(&request.topic)]);
        let intake = Arc::new(Intake::new(&request));
        self.router.submit(Arc::clone(&intake));
        PartitionReader {
            intake,
            client: Arc::clone(&self.client),
            epochs: LeaderEpochs::starting(request.start),
            _router: Arc::clone(&self.router),
            _interest: interest,
        }
    }
}

/// An open partition. Dropping it ends the reading.
#[derive(Debug)]
pub struct PartitionReader {
    intake: Arc<Intake>,
    client: Arc<KafkaClient>,
    epochs: LeaderEpochs,
    /// Keeps the pool alive.
    _router: Arc<Router>,
    _interest: TopicInterest,
}

impl PartitionReader {
    /// The next section, in offset order; waits until there is one. Calling it again after an error tries again.
    ///
    /// # Errors
    /// Only what needs a person or a policy; the rest is retried inside.
    ///
    /// # Cancel safety
    /// Safe: a section stays in the reader until it is returned.
    pub async fn next(&mut self) -> Result<FetchedSection, FetchError> {
        loop {
            let arrived = self.intake.arrived.notified();
            if let Some(next) = self.intake.take() {
                if let Ok(section) = &next {
                    section.note_epochs(&self.epochs);
                }
                return next;
            }
            tokio::select! {
                () = arrived => {}
                () = self.client.stop().cancelled() => return Err(FetchError::ShutDown),
            }
        }
    }

    /// Waits until it is known where the reading starts, which `Earliest` and `Latest` must ask the leader for.
    ///
    /// # Errors
    /// As [`PartitionReader::next`].
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub async fn started(&mut self) -> Result<i64, FetchError> {
        loop {
            let arrived = self.intake.arrived.notified();
            if let Some(failure) = self.intake.take_failure() {
                return Err(failure);
            }
            if let Some(position) = self.intake.position() {
                return Ok(position);
            }
            tokio::select! {
                () = arrived => {}
                () = self.client.stop().cancelled() => return Err(FetchError::ShutDown),
            }
        }
    }

    /// Goes on at `offset`; what was fetched before is dropped.
    pub fn seek(&mut self, offset: i64) {
        // If it is known, a log that is cut meanwhile is noticed (KIP-320).
        let epoch = self.epochs.before(offset);
        self.intake.update(|state| {
            state.go_to(Position::At(offset), epoch);
            state.ready = None;
            state.failure = None;
            state.is_shelved = false;
        });
        self.intake.retry.notify_one();
    }

    /// Stops fetching after what is on its way; [`PartitionReader::next`] waits until resumed.
    pub fn pause(&mut self) {
        self.intake.update(|state| state.is_paused = true);
    }

    /// Ends a pause.
    pub fn resume(&mut self) {
        self.intake.update(|state| {
            state.is_paused = false;
            state.is_urgent = true;
        });
        self.intake.arrived.notify_one();
    }

    /// Offset that the next section starts at; `None` until `Earliest` or `Latest` is resolved.
    pub fn position(&self) -> Option<i64> {
        self.intake.position()
    }

    /// High watermark and last stable offset as of the last answer, also of an empty one.
    pub fn watermarks(&self) -> Option<(i64, i64)> {
        self.intake.state().watermarks
    }

    /// Where the log ends, for whoever shows how far the reader is behind.
    pub fn log_end(&self) -> LogEnd {
        LogEnd(Arc::downgrade(&self.intake))
    }

    /// Leader epochs of the records that were returned, for commits.
    pub fn leader_epochs(&self) -> LeaderEpochs {
        self.epochs.clone()
    }

    /// The partition.
    pub fn partition(&self) -> &TopicPartition {
        &self.intake.partition
    }
}

/// Where the log of an open partition ends, as of its last fetch. Keeps nothing open.
#[derive(Clone, Debug)]
pub struct LogEnd(Weak<Intake>);

impl LogEnd {
    /// The offset after the last record that may be read under `isolation.level`, and whether the partition is being
    /// fetched, so that the offset is as new as it can be. `None` before the first answer and after the reader's end.
    pub fn last_known(&self) -> Option<(i64, bool)> {
        let intake = self.0.upgrade()?;
        let state = intake.state();
        let (high_watermark, last_stable) = state.watermarks?;
        let end = match intake.settings.isolation_level {
            IsolationLevel::ReadUncommitted => high_watermark,
            IsolationLevel::ReadCommitted => last_stable,
        };
        Some((end, state.wants().is_some()))
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        self.intake.closed.cancel();
        // Taken under the lock that sets it: either this leaves, or the session sees the closed reader.
        let home = self.intake.state().home.take();
        if let Some(home) = home {
            home.session.leave(&self.intake.partition);
        }
        // The waiting section may hold memory that others wait for.
        self.intake.state().ready = None;
    }
}

/// What to do about a partition's error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// Ask the metadata again and find the leader anew.
    Reroute,
    /// Apply `auto.offset.reset`.
    Reset,
    /// Tell the reader.
    Tell,
}

fn remedy(code: ResponseError) -> Remedy {
    match code {
        ResponseError::OffsetOutOfRange => Remedy::Reset,
        ResponseError::TopicAuthorizationFailed | ResponseError::CorruptMessage => Remedy::Tell,
        // Leader moved, its epoch is another than ours (either way), topic gone, made again or not there yet, disk
        // trouble, unknown codes: the metadata knows, or will.
        _ => Remedy::Reroute,
    }
}
