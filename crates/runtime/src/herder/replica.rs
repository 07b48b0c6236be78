//! From wishes to supervisors: appending to the config log, following it, and having one supervisor per connector.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::error;

use super::Herder;
use super::error::HerderError;
use super::state::{Change, ConfigState, ConnectorEntry};
use super::supervisor::{Command, Supervisor};
use super::topics::ActiveTopics;
use crate::config_log::{Appended, ConfigLogError, ConfigRecord, LogPosition};

/// How often a request that is overtaken by other processes starts over before it is refused.
const APPEND_TRIES: usize = 10;
/// Restarts that may wait for one connector.
const COMMANDS: usize = 16;

/// What follows from the replayed state: one supervisor per connector.
#[derive(Default)]
pub(super) struct Replica {
    position: LogPosition,
    supervisors: HashMap<String, Handle>,
    /// Wishes of deleted connectors whose tasks may still be ending: one of the same name waits for them.
    ending: HashMap<String, watch::Sender<Option<ConnectorEntry>>>,
    joins: JoinSet<()>,
    phase: Phase,
}

/// Where a herder is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// Wishes are taken and nothing runs yet: opened => begun.
    #[default]
    Opened,
    /// What is wished for runs: begun => shut down.
    Begun,
    /// No more wishes.
    ShutDown,
}

struct Handle {
    desired: watch::Sender<Option<ConnectorEntry>>,
    commands: mpsc::Sender<Command>,
}

impl Herder {
    /// Starts what the log wishes for.
    pub async fn begin(&self) {
        let mut replica = self.shared.replica.lock().await;
        if replica.phase == Phase::Opened {
            replica.phase = Phase::Begun;
            for name in self.connectors() {
                self.act(&mut replica, Change::Connector(name));
            }
        }
    }

    /// Follows the log until the worker ends, so that what others write takes effect here.
    pub async fn follow(&self) {
        let mut end = self.shared.log.end();
        loop {
            // First what was written between the replay and here.
            if let Err(error) = self.catch_up().await {
                error!(%error, "config log cannot be read, what others change does not take effect");
            }
            if end.changed().await.is_err() {
                return;
            }
        }
    }

    /// Stops every connector, all at once: what is in flight is finished and committed within `timeout`, all together.
    pub async fn shutdown(&self, timeout: Duration) {
        let mut joins = {
            let mut replica = self.shared.replica.lock().await;
            replica.phase = Phase::ShutDown;
            replica.supervisors.clear();
            std::mem::take(&mut replica.joins)
        };
        let ended = tokio::time::timeout(timeout, async { while joins.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            error!(
                timeout_ms = timeout.as_millis(),
                "tasks did not end in time: records in flight will be delivered again"
            );
            joins.shutdown().await;
        }
    }

    /// Ends every connector at once: records in flight will be delivered again.
    pub(crate) fn abort(&self) {
        self.shared.abort.cancel();
    }

    /// Decides on the present state what to write, and starts over when others wrote meanwhile.
    pub(super) async fn write(
        &self,
        mut decide: impl FnMut(&ConfigState) -> Result<Vec<ConfigRecord>, HerderError>,
    ) -> Result<(), HerderError> {
        let _turn = self.shared.writing.lock().await;
        for _ in 0..APPEND_TRIES {
            let position = self.catch_up().await?;
            let records = self.with_state(&mut decide)?;
            match self.shared.log.append_if(position, records).await? {
                Appended::At(_) => {
                    self.catch_up().await?;
                    return Ok(());
                }
                Appended::Conflict(_) => {}
            }
        }
        Err(HerderError::Conflict)
    }

    pub(super) async fn command(&self, name: &str, command: Command) -> Result<(), HerderError> {
        let commands = self
            .shared
            .replica
            .lock()
            .await
            .supervisors
            .get(name)
            .map(|handle| handle.commands.clone());
        let commands = commands.ok_or(HerderError::ShuttingDown)?;
        commands.send(command).await.map_err(|_| HerderError::ShuttingDown)
    }

    /// Applies everything in the log, without acting upon old wishes to restart.
    pub(super) async fn replay(&self) -> Result<(), ConfigLogError> {
        let mut replica = self.shared.replica.lock().await;
        let (records, end) = self.shared.log.read(replica.position).await?;
        let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            state.apply(record);
        }
        replica.position = end;
        Ok(())
    }

    async fn catch_up(&self) -> Result<LogPosition, HerderError> {
        let mut replica = self.shared.replica.lock().await;
        if replica.phase == Phase::ShutDown {
            return Err(HerderError::ShuttingDown);
        }
        let (records, end) = self.shared.log.read(replica.position).await?;
        for record in records {
            let change = self
                .shared
                .state
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .apply(record);
            self.act(&mut replica, change);
        }
        replica.position = end;
        Ok(end)
    }

    fn act(&self, replica: &mut Replica, change: Change) {
        if replica.phase != Phase::Begun {
            return;
        }
        while replica.joins.try_join_next().is_some() {}
        replica.ending.retain(|_, desired| !desired.is_closed());
        match change {
            Change::Connector(name) => {
                let entry = self.with_state(|state| state.get(&name).cloned());
                match (replica.supervisors.get(&name), entry) {
                    (Some(handle), Some(entry)) => drop(handle.desired.send_replace(Some(entry))),
                    (Some(_), None) => {
                        if let Some(handle) = replica.supervisors.remove(&name) {
                            handle.desired.send_replace(None);
                            // A namesake that is created at once must not show these tasks while they end.
                            self.shared.board.remove(&name);
                            self.topics().remove(&name);
                            replica.ending.insert(name, handle.desired);
                        }
                    }
                    (None, Some(entry)) => self.supervise(replica, name, entry),
                    (None, None) => {}
                }
            }
            Change::Restart(name, restart) => {
                if let Some(handle) = replica.supervisors.get(&name) {
                    // A full queue means that restarts of this connector are already waiting.
                    drop(handle.commands.try_send(Command::Restart(restart)));
                }
            }
        }
    }

    fn topics(&self) -> RwLockWriteGuard<'_, HashMap<String, Arc<ActiveTopics>>> {
        self.shared.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn supervise(&self, replica: &mut Replica, name: String, entry: ConnectorEntry) {
        let (desired, wishes) = watch::channel(Some(entry));
        let (commands, received) = mpsc::channel(COMMANDS);
        let supervisor = Supervisor {
            name: Arc::from(name.as_str()),
            tasks: Arc::clone(&self.shared.tasks),
            board: self.shared.board.clone(),
            stop_timeout: self.shared.worker.stop_timeout(),
            topics: Arc::clone(self.topics().entry(name.clone()).or_default()),
            providers: self.shared.worker.providers.clone(),
        };
        let before = replica.ending.remove(&name);
        let abort = self.shared.abort.clone();
        replica.joins.spawn(async move {
            let supervise = async {
                if let Some(before) = before {
                    before.closed().await;
                }
                supervisor.run(wishes, received).await;
            };
            // Dropping the supervisor aborts its tasks.
            abort.run_until_cancelled(supervise).await;
        });
        replica.supervisors.insert(name, Handle { desired, commands });
    }
}
