//! What runs: the states that `GET /connectors/{c}/status` shows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::topics::{ActiveTopic, ActiveTopics};
use super::views::Views;
use crate::observation::TaskView;

/// State of a connector or a task, in Connect's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Known, and not running on any worker.
    Unassigned,
    /// Running; a task also while it waits for Kafka or for its function.
    Running,
    /// Paused by its target state.
    Paused,
    /// Stopped by its target state; no tasks exist.
    Stopped,
    /// Failed; the trace says why and what to do.
    Failed,
    /// Between stop and start of an asked-for restart.
    Restarting,
}

impl State {
    /// Connect's upper-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unassigned => "UNASSIGNED",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
            Self::Restarting => "RESTARTING",
        }
    }
}

/// State of a connector or a task with what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceStatus {
    /// State.
    pub state: State,
    /// Why it failed and what to do; of a running task what it waits for, if it waits.
    pub trace: Option<String>,
}

impl InstanceStatus {
    /// A state without a trace.
    #[must_use]
    pub fn of(state: State) -> Self {
        Self { state, trace: None }
    }

    /// RUNNING, with what it waits for if there is something.
    #[must_use]
    pub fn running(waits_for: Option<String>) -> Self {
        Self {
            state: State::Running,
            trace: waits_for,
        }
    }

    /// FAILED with its trace.
    #[must_use]
    pub fn failed(trace: impl Into<String>) -> Self {
        Self {
            state: State::Failed,
            trace: Some(trace.into()),
        }
    }
}

/// State of a connector and its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorStatus {
    /// The connector.
    pub connector: InstanceStatus,
    /// Its tasks by number.
    pub tasks: BTreeMap<u32, InstanceStatus>,
    /// Version of the plugin.
    pub version: Option<&'static str>,
}

/// The states of everything this worker runs. Written by those who run it, read by the REST API.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatusBoard {
    states: Arc<Mutex<BTreeMap<String, ConnectorStatus>>>,
    pub(crate) views: Views,
}

impl StatusBoard {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, ConnectorStatus>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, name: &str) -> Option<ConnectorStatus> {
        self.lock().get(name).cloned()
    }

    pub(crate) fn set_connector(&self, name: &str, version: Option<&'static str>, status: InstanceStatus) {
        let mut board = self.lock();
        match board.get_mut(name) {
            Some(entry) => {
                entry.connector = status;
                entry.version = version;
            }
            None => {
                let entry = ConnectorStatus {
                    connector: status,
                    tasks: BTreeMap::new(),
                    version,
                };
                board.insert(name.to_owned(), entry);
            }
        }
    }

    pub(crate) fn set_task(&self, name: &str, task: u32, status: InstanceStatus) {
        if let Some(entry) = self.lock().get_mut(name) {
            entry.tasks.insert(task, status);
        }
    }

    pub(crate) fn task(&self, name: &str, task: u32) -> Option<InstanceStatus> {
        self.lock().get(name)?.tasks.get(&task).cloned()
    }

    pub(crate) fn clear_tasks(&self, name: &str) {
        if let Some(entry) = self.lock().get_mut(name) {
            entry.tasks.clear();
        }
        self.views.forget(name);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.lock().remove(name);
        self.views.forget(name);
    }
}

/// Where a running task says how it is.
#[derive(Debug, Clone)]
pub struct TaskReport {
    pub(crate) board: StatusBoard,
    pub(crate) topics: Arc<ActiveTopics>,
    pub(crate) connector: Arc<str>,
    pub(crate) task: u32,
}

impl TaskReport {
    /// Shows the task in a state.
    pub fn set(&self, status: InstanceStatus) {
        self.board.set_task(&self.connector, self.task, status);
    }

    /// Lets the task be looked at until it ends.
    pub fn shows(&self, view: Arc<dyn TaskView>) {
        self.board.views.shows(&self.connector, self.task, view);
    }

    /// Where a reader of `topic` says that it has read something.
    #[must_use]
    pub fn active_topic(&self, topic: &str) -> ActiveTopic {
        ActiveTopic::new(Arc::clone(&self.topics), topic)
    }
}
