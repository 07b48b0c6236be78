//! How the tasks of this worker can be looked at, beside their states on the board.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_connect_api::Timestamp;

use crate::observation::{LastError, TaskSnapshot, TaskView};

/// What there is to see of each task. Written by those who run it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Views(Arc<Mutex<BTreeMap<String, BTreeMap<u32, Watched>>>>);

/// One task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    starts: u32,
    next_restart: Option<Timestamp>,
    view: Option<Arc<dyn TaskView>>,
    /// How it was when it ended last.
    last: Option<TaskSnapshot>,
}

impl Watched {
    pub(crate) fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }

    pub(crate) fn next_restart(&self) -> Option<Timestamp> {
        self.next_restart
    }

    pub(crate) fn view(&self) -> Option<&Arc<dyn TaskView>> {
        self.view.as_ref()
    }

    /// How the task is, or was when it ended.
    pub(crate) fn snapshot(&self) -> Option<TaskSnapshot> {
        let Some(view) = &self.view else {
            return self.last.clone();
        };
        let mut snapshot = view.snapshot();
        if snapshot.last_error.is_none() {
            snapshot.last_error = self.last_error();
        }
        Some(snapshot)
    }

    fn last_error(&self) -> Option<LastError> {
        self.last.as_ref().and_then(|last| last.last_error.clone())
    }
}

impl Views {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<u32, Watched>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, connector: &str) -> BTreeMap<u32, Watched> {
        self.lock().get(connector).cloned().unwrap_or_default()
    }

    /// The task starts, perhaps once more.
    pub(crate) fn starts(&self, connector: &str, task: u32) {
        let mut views = self.lock();
        let watched = views.entry(connector.to_owned()).or_default().entry(task).or_default();
        watched.starts = watched.starts.saturating_add(1);
        watched.next_restart = None;
        watched.view = None;
    }

    pub(crate) fn shows(&self, connector: &str, task: u32, view: Arc<dyn TaskView>) {
        if let Some(watched) = self.lock().get_mut(connector).and_then(|tasks| tasks.get_mut(&task)) {
            watched.view = Some(view);
        }
    }

    /// The task has ended, and perhaps starts again by itself. What it was stays to be seen, but holds nothing of it.
    pub(crate) fn ends(&self, connector: &str, task: u32, next_restart: Option<Timestamp>) {
        let find = |views: &mut BTreeMap<String, BTreeMap<u32, Watched>>| {
            let watched = views.get_mut(connector)?.get_mut(&task)?;
            watched.next_restart = next_restart;
            watched.view.take()
        };
        let view = find(&mut self.lock());
        // Not under the lock, which every look at any task takes.
        let Some(view) = view else { return };
        let mut last = view.snapshot();
        last.partitions.clear();
        last.waits_for.clear();
        if let Some(watched) = self.lock().get_mut(connector).and_then(|tasks| tasks.get_mut(&task)) {
            last.last_error = last.last_error.or(watched.last_error());
            watched.last = Some(last);
        }
    }

    /// The connector's tasks are gone: it was stopped, deleted or configured anew.
    pub(crate) fn forget(&self, connector: &str) {
        self.lock().remove(connector);
    }
}
