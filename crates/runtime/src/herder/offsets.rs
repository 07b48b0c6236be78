//! The offsets of connectors (KIP-875): where they are, and being moved while they are stopped.

use std::time::Duration;

use klamm_connect_api::{BoxFuture, RawConfig};
use tokio::time::Instant;

use super::error::HerderError;
use super::{Herder, State, not_found};
use crate::config::Resolved;
use crate::config_log::TargetState;

/// How long the tasks of a stopped connector, and whatever else is in its group, may take to leave it.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(50);

/// Where a connector reads next in a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionOffset {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// The offset of the record to read next.
    pub offset: i64,
}

/// Where a connector is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewOffset {
    /// At this offset.
    At(i64),
    /// At the first record that is not older than this, milliseconds since 1970; at the end if there is none.
    Time(i64),
    /// Where `auto.offset.reset` says: what was committed is forgotten.
    Reset,
}

/// A wish to move a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetChange {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition; none is every partition of the topic.
    pub partition: Option<i32>,
    /// Where to.
    pub to: NewOffset,
}

/// Whose offsets are meant.
#[derive(Debug, Clone, Copy)]
pub struct GroupOf<'a> {
    /// Name of the connector.
    pub connector: &'a str,
    /// Its configuration.
    pub config: &'a RawConfig,
}

/// Why offsets cannot be read or moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OffsetsError {
    /// The wish makes no sense: there is no such partition, say.
    Refused(String),
    /// Kafka is away or refuses, or somebody is in the group.
    Failed(String),
}

impl From<OffsetsError> for HerderError {
    fn from(error: OffsetsError) -> Self {
        match error {
            OffsetsError::Refused(text) => Self::BadRequest(text),
            OffsetsError::Failed(text) => Self::Offsets(text),
        }
    }
}

/// What the herder asks of Kafka: the offsets in the consumer groups of connectors. Tests put a fake in its place.
pub trait Offsets: Send + Sync + 'static {
    /// What is committed, by topic and partition.
    ///
    /// # Errors
    /// Kafka is away or refuses.
    fn committed<'a>(&'a self, group: GroupOf<'a>) -> BoxFuture<'a, Result<Vec<PartitionOffset>, OffsetsError>>;

    /// Moves the group, once it has no members. All changes are checked before the first is made; of two for a partition
    /// the last one counts. Returns what was set.
    ///
    /// # Errors
    /// A wish that makes no sense; a group that still has members at the deadline.
    fn alter<'a>(
        &'a self,
        group: GroupOf<'a>,
        changes: &'a [OffsetChange],
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<PartitionOffset>, OffsetsError>>;

    /// Deletes the group, once it has no members; one that is not there is fine.
    ///
    /// # Errors
    /// As [`Offsets::alter`].
    fn reset<'a>(&'a self, group: GroupOf<'a>, deadline: Instant) -> BoxFuture<'a, Result<(), OffsetsError>>;
}

/// As an answer, in which no value of a reference stands.
fn hidden(error: OffsetsError, resolved: &Resolved) -> HerderError {
    match error {
        OffsetsError::Refused(text) => OffsetsError::Refused(resolved.hide(&text)),
        OffsetsError::Failed(text) => OffsetsError::Failed(resolved.hide(&text)),
    }
    .into()
}

impl Herder {
    /// What the connector has committed, by topic and partition.
    ///
    /// # Errors
    /// There is no such connector; Kafka is away or refuses.
    pub async fn offsets(&self, name: &str) -> Result<Vec<PartitionOffset>, HerderError> {
        let stored = self.stored_values(name).await?;
        let group = GroupOf {
            connector: name,
            config: &stored.config,
        };
        let committed = self.shared.offsets.committed(group).await;
        committed.map_err(|error| hidden(error, &stored))
    }

    /// Whether the offsets of a connector may be changed: it is there, and is to be stopped.
    ///
    /// # Errors
    /// If not, in Connect's words.
    pub fn check_stopped(&self, name: &str) -> Result<(), HerderError> {
        let target = self.with_state(|state| state.get(name).map(|entry| entry.target));
        match target.ok_or_else(|| not_found(name))? {
            TargetState::Stopped => Ok(()),
            TargetState::Started | TargetState::Paused => Err(HerderError::BadRequest(format!(
                "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the \
                 specified connector by issuing a 'PUT' request to the '/connectors/{name}/stop' endpoint"
            ))),
        }
    }

    /// Moves a stopped connector, once its tasks have ended, and tells what was set.
    ///
    /// # Errors
    /// It is not there or not stopped, a wish makes no sense, or somebody stays in its group.
    pub async fn alter_offsets(
        &self,
        name: &str,
        changes: &[OffsetChange],
    ) -> Result<Vec<PartitionOffset>, HerderError> {
        self.check_stopped(name)?;
        let stored = self.stored_values(name).await?;
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        self.tasks_ended(name, deadline).await?;
        let group = GroupOf {
            connector: name,
            config: &stored.config,
        };
        let altered = self.shared.offsets.alter(group, changes, deadline).await;
        altered.map_err(|error| hidden(error, &stored))
    }

    /// Forgets what a stopped connector has committed, once its tasks have ended.
    ///
    /// # Errors
    /// As [`Herder::alter_offsets`].
    pub async fn reset_offsets(&self, name: &str) -> Result<(), HerderError> {
        self.check_stopped(name)?;
        let stored = self.stored_values(name).await?;
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        self.tasks_ended(name, deadline).await?;
        let group = GroupOf {
            connector: name,
            config: &stored.config,
        };
        let reset = self.shared.offsets.reset(group, deadline).await;
        reset.map_err(|error| hidden(error, &stored))
    }

    /// Moves the group of a connector that is about to be created.
    pub(super) async fn initial_offsets(
        &self,
        name: &str,
        resolved: &Resolved,
        changes: &[OffsetChange],
    ) -> Result<(), HerderError> {
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        let group = GroupOf {
            connector: name,
            config: &resolved.config,
        };
        let altered = self.shared.offsets.alter(group, changes, deadline).await;
        altered.map(drop).map_err(|error| hidden(error, resolved))
    }

    /// Waits until no task of a stopped connector runs here any more: one that is about to join would find its group
    /// moved, or join while it is being moved.
    async fn tasks_ended(&self, name: &str, deadline: Instant) -> Result<(), HerderError> {
        loop {
            self.check_stopped(name)?;
            let status = self.shared.board.get(name);
            if status.is_some_and(|status| status.connector.state == State::Stopped && status.tasks.is_empty()) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(HerderError::Offsets(format!(
                    "Failed to modify the offsets of connector {name}: its tasks have not stopped within {} s, or the \
                     connector was resumed meanwhile. Try again: nothing was changed",
                    LEAVE_TIMEOUT.as_secs()
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
