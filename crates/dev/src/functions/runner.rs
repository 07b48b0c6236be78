//! Who may run now, and in which environment.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;
use super::config::FunctionsConfig;
use super::environment::{Ended, Environment, Request};
use super::function::{self, Function, Version};
use super::happening::{Call, CallOutcome, Happening, Watcher};
use crate::api::InvocationType;

/// Bytes of all events that wait or run.
const QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// All functions, their idle environments and the tasks that work for them.
#[derive(Debug)]
pub(super) struct Runner {
    /// What the ARN of a function begins with.
    pub(super) arn_of_functions: String,
    functions: Vec<Arc<Function>>,
    by_name: HashMap<Arc<str>, Arc<Function>>,
    pub(super) watcher: Watcher,
    /// Oldest first.
    idle: Mutex<VecDeque<Idle>>,
    idle_limit: usize,
    idle_timeout: Duration,
    /// Events that may wait or run, by count and by size.
    pub(super) queue: Arc<Semaphore>,
    pub(super) queue_bytes: Arc<Semaphore>,
    queue_limit: usize,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Idle {
    environment: Environment,
    since: Instant,
}

/// How a call is told about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) invocation_type: InvocationType,
    pub(super) number: u32,
}

impl Runner {
    pub(super) fn try_new(config: FunctionsConfig, stop: CancellationToken) -> Result<Self, StartError> {
        let functions = function::resolve(&config)?;
        let queue_limit = config.queued_events.min(Semaphore::MAX_PERMITS);
        Ok(Self {
            arn_of_functions: function::arn_of_functions(&config),
            by_name: functions
                .iter()
                .map(|function| (Arc::clone(&function.name), Arc::clone(function)))
                .collect(),
            functions,
            watcher: config.watcher,
            idle: Mutex::default(),
            idle_limit: config.concurrency.max(1),
            idle_timeout: config.idle_timeout,
            queue: Arc::new(Semaphore::new(queue_limit)),
            queue_limit,
            queue_bytes: Arc::new(Semaphore::new(QUEUED_BYTES)),
            tasks: TaskTracker::new(),
            stop,
        })
    }

    pub(super) fn functions(&self) -> &[Arc<Function>] {
        &self.functions
    }

    pub(super) fn function(&self, name: &str) -> Option<&Arc<Function>> {
        self.by_name.get(name)
    }

    pub(super) fn waiting_events(&self) -> usize {
        self.queue_limit - self.queue.available_permits()
    }

    /// Runs a task until it ends or everything does.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            // Dropped when everything ends; what it holds, processes included, ends with it.
            stop.run_until_cancelled_owned(task).await;
        });
    }

    /// Runs a call in a task of its own, so that it goes on when its caller goes away, as in Lambda. `hold` is dropped
    /// when the call has ended: what lets it run.
    pub(super) fn run(
        self: &Arc<Self>,
        version: &Arc<Version>,
        request: Request,
        attempt: Attempt,
        hold: impl Send + 'static,
    ) -> oneshot::Receiver<Ended> {
        let (done, ended) = oneshot::channel();
        let (runner, version) = (Arc::clone(self), Arc::clone(version));
        self.spawn(async move {
            runner.watcher.tell(&Happening::Started {
                function: Arc::clone(&version.function),
                invocation_type: attempt.invocation_type,
            });
            let mut environment = runner.take(&version);
            let end = environment.run(&request, &runner.watcher).await;
            drop(hold);
            runner.told(&version, &request, attempt, &end);
            // A caller that has gone away misses only its own answer.
            drop(done.send(end));
            runner.put_back(environment).await;
        });
        ended
    }

    fn told(&self, version: &Version, request: &Request, attempt: Attempt, ended: &Ended) {
        let call = Call {
            function: Arc::clone(&version.function),
            version: Arc::clone(&version.number),
            request_id: Arc::clone(&request.request_id),
            invocation_type: attempt.invocation_type,
            attempt: attempt.number,
            payload: request.payload.clone(),
            duration: ended.duration,
            init: ended.init,
            outcome: ended.outcome.clone(),
        };
        self.watcher.tell(&Happening::Called(call));
    }

    /// Held for a few lines, never across an await.
    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The environment that was used last, so that those that are not needed grow old; a new one if none is idle.
    fn take(&self, version: &Arc<Version>) -> Environment {
        let mut idle = self.idle();
        let found = idle.iter().rposition(|idle| idle.environment.is_of(version));
        found
            .and_then(|index| idle.remove(index))
            .map_or_else(|| Environment::new(Arc::clone(version)), |idle| idle.environment)
    }

    async fn put_back(&self, environment: Environment) {
        let oldest = {
            let mut idle = self.idle();
            idle.push_back(Idle {
                environment,
                since: Instant::now(),
            });
            if idle.len() > self.idle_limit {
                idle.pop_front()
            } else {
                None
            }
        };
        if let Some(mut oldest) = oldest {
            oldest.environment.end().await;
        }
    }

    pub(super) async fn warm_up(self: &Arc<Self>) -> Result<(), StartError> {
        let mut loading = JoinSet::new();
        let versions = self.functions.iter().flat_map(|function| &function.versions);
        for (index, version) in versions.enumerate() {
            let (runner, version) = (Arc::clone(self), Arc::clone(version));
            loading.spawn(async move {
                let mut environment = runner.take(&version);
                let loaded = environment.load(&runner.watcher).await;
                runner.put_back(environment).await;
                loaded.map_err(|document| {
                    let error = StartError::Load {
                        function: version.function.to_string(),
                        what: summary(&document),
                    };
                    (index, error)
                })
            });
        }
        let ended = loading.join_all().await;
        let first = ended
            .into_iter()
            .filter_map(Result::err)
            .min_by_key(|(index, _)| *index);
        first.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Waits until all tasks and processes are gone, after `stop` was cancelled.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        let idle = std::mem::take(&mut *self.idle());
        let mut ending = JoinSet::new();
        for mut idle in idle {
            ending.spawn(async move { idle.environment.end().await });
        }
        while ending.join_next().await.is_some() {}
    }
}

/// Ends environments that have been idle for long. Runs until everything ends.
pub(super) async fn reap(runner: Arc<Runner>) {
    let timeout = runner.idle_timeout;
    let mut ticks = tokio::time::interval((timeout / 4).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        loop {
            let old = runner.idle().pop_front_if(|idle| idle.since.elapsed() >= timeout);
            let Some(mut old) = old else { break };
            old.environment.end().await;
        }
    }
}

/// A function error on one line: type, text, and the place, if it names one.
pub(super) fn summary(document: &[u8]) -> String {
    /// As Python's and Node's runtimes write it, and ours.
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Document {
        error_type: Option<String>,
        error_message: Option<String>,
        stack_trace: Vec<String>,
        trace: Vec<String>,
    }
    // A runtime may write what it likes.
    let document: Document = serde_json::from_slice(document).unwrap_or_default();
    let kind = document.error_type.unwrap_or_else(|| "error".to_owned());
    let message = document.error_message.unwrap_or_default();
    let message = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = message.collect::<Vec<_>>().join(" ");
    // The innermost call: Python names it last, Node first.
    let python = document.stack_trace.last().and_then(|frame| frame.lines().next());
    let node = document.trace.iter().find(|line| line.trim_start().starts_with("at "));
    match python.or(node.map(String::as_str)) {
        Some(place) => format!("{kind}: {message} ({})", place.trim()),
        None => format!("{kind}: {message}"),
    }
}

impl CallOutcome {
    /// The function error on one line, if it is one.
    #[must_use]
    pub fn error_summary(&self) -> Option<String> {
        match self {
            Self::Success(_) => None,
            Self::FunctionError(document) => Some(summary(document)),
        }
    }
}
