//! One connector: brings what runs in line with what the config log wishes.
//!
//! Each connector has a supervisor of its own, so a connector that takes long to stop delays no other.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use klamm_connect_api::config::KeysOnly;
use klamm_connect_api::provider::Asker;
use klamm_connect_api::{BoxFuture, RawConfig};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::state::ConnectorEntry;
use super::status::{InstanceStatus, State, StatusBoard, TaskReport};
use super::topics::ActiveTopics;
use crate::config::{Providers, Resolved};
use crate::config_log::{Restart, TargetState};

/// What the supervisor of a connector asks of the world outside the herder: to check a configuration and to run a
/// task. Tests put a fake in its place.
pub trait Tasks: Send + Sync + 'static {
    /// Number of tasks and plugin version of a configuration.
    ///
    /// # Errors
    /// The trace of a connector that cannot start: every key that is wrong.
    fn plan(&self, connector: &str, config: &RawConfig) -> Result<TaskPlan, String>;

    /// Runs a task until its control says [`TaskControl::Stop`] or it fails. It reports its states itself, but for the
    /// end.
    ///
    /// # Errors
    /// The trace of a task that failed.
    fn run(
        &self,
        spec: TaskSpec,
        control: watch::Receiver<TaskControl>,
        report: TaskReport,
    ) -> BoxFuture<'static, Result<(), String>>;
}

/// What a configuration asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskPlan {
    /// Number of tasks.
    pub tasks: u32,
    /// Version of the connector plugin.
    pub version: &'static str,
    /// What follows the failure of a task.
    pub restart: RestartPolicy,
}

/// `task.restart.policy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// It stays FAILED until a person restarts it, as in Connect.
    #[default]
    None,
    /// It starts again after a minute, which doubles with each failure up to half an hour.
    Backoff,
}

const FIRST_RESTART: Duration = Duration::from_secs(60);
/// Also how long a task must have run for its earlier failures to be forgotten.
const LAST_RESTART: Duration = Duration::from_secs(30 * 60);

/// One task to run.
#[derive(Clone)]
pub struct TaskSpec {
    /// Name of the connector.
    pub connector: Arc<str>,
    /// Number of the task.
    pub task: u32,
    /// Configuration of the connector.
    pub config: Arc<RawConfig>,
}

impl fmt::Debug for TaskSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSpec")
            .field("connector", &self.connector)
            .field("task", &self.task)
            .field("config", &KeysOnly(&self.config))
            .finish()
    }
}

/// What a task is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskControl {
    /// Consume.
    Run,
    /// Keep the partitions, consume nothing.
    Pause,
    /// Finish what is in flight, commit, leave the group, end.
    Stop,
}

/// A restart that was asked for. The sender hears when it is done.
#[derive(Debug)]
pub(crate) enum Command {
    /// Connector and tasks as the flags say.
    Restart(Restart),
    /// The connector alone, as Connect's oldest form of restart does.
    RestartConnector(oneshot::Sender<()>),
    /// One task.
    RestartTask(u32, oneshot::Sender<bool>),
}

struct RunningTask {
    number: u32,
    control: watch::Sender<TaskControl>,
    abort: AbortHandle,
    started: Instant,
}

/// A task that failed and starts again by itself.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    failures: u32,
    /// None while it runs.
    restart_at: Option<Instant>,
}

struct TaskEnd {
    number: u32,
    result: Result<(), String>,
}

pub(crate) struct Supervisor {
    pub(crate) name: Arc<str>,
    pub(crate) tasks: Arc<dyn Tasks>,
    pub(crate) board: StatusBoard,
    /// How long a task may take to stop before it is aborted.
    pub(crate) stop_timeout: Duration,
    pub(crate) topics: Arc<ActiveTopics>,
    /// What the references of a configuration stand for.
    pub(crate) providers: Providers,
}

/// How soon a reference that stands for nothing is looked at again, if that may pass.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What a look at the values of config providers came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// Everything runs on.
    Same,
    /// The connector and all its tasks were started anew.
    StartedAnew,
}

enum Event {
    /// The wish changed, or the herder is gone.
    Desired(Result<(), watch::error::RecvError>),
    Command(Option<Command>),
    TaskEnded(Id, TaskEnd),
    /// The time of failed tasks has come.
    RestartDue,
    /// Values of config providers may have changed.
    LookDue,
}

impl Supervisor {
    /// Runs until `desired` holds none (the connector was deleted) or its sender is gone (the worker ends); then
    /// everything is stopped and the connector is off the board.
    pub(crate) async fn run(
        self,
        mut desired: watch::Receiver<Option<ConnectorEntry>>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let mut connector = Connector {
            supervisor: self,
            running: Vec::new(),
            joins: JoinSet::new(),
            version: 0,
            plan: None,
            resolved: Resolved::default(),
            look_at: None,
            recovering: BTreeMap::new(),
        };
        loop {
            let wish = desired.borrow_and_update().clone();
            let Some(wish) = wish else { break };
            connector.reconcile(&wish).await;
            let restart_at = connector.restart_at();
            let restart = sleep_until(restart_at.unwrap_or_else(Instant::now));
            let look_at = connector.look_at;
            let look = sleep_until(look_at.unwrap_or_else(Instant::now));
            let event = tokio::select! {
                changed = desired.changed() => Event::Desired(changed),
                command = commands.recv() => Event::Command(command),
                Some(end) = connector.joins.join_next_with_id() => match end {
                    Ok((id, end)) => Event::TaskEnded(id, end),
                    Err(_) => continue, // aborted by us
                },
                () = restart, if restart_at.is_some() => Event::RestartDue,
                () = look, if look_at.is_some() => Event::LookDue,
            };
            match event {
                Event::Desired(Ok(())) => {}
                Event::Desired(Err(_)) | Event::Command(None) => break,
                Event::Command(Some(command)) => connector.command(command, &wish).await,
                Event::TaskEnded(id, end) => connector.ended(id, end),
                Event::RestartDue => connector.recover(&wish).await,
                Event::LookDue => drop(connector.look(&wish).await),
            }
        }
        connector.stop_tasks(|_| true).await;
        connector.supervisor.board.remove(&connector.supervisor.name);
    }
}

struct Connector {
    supervisor: Supervisor,
    running: Vec<RunningTask>,
    joins: JoinSet<TaskEnd>,
    /// Version of the configuration that `plan` was made from; 0 is none.
    version: u64,
    plan: Option<(TaskPlan, Arc<RawConfig>)>,
    /// What it was made from, with the values of config providers.
    resolved: Resolved,
    /// When to look whether these changed.
    look_at: Option<Instant>,
    /// By number of the task.
    recovering: BTreeMap<u32, Recovery>,
}

impl Connector {
    async fn reconcile(&mut self, wish: &ConnectorEntry) {
        match wish.target {
            TargetState::Stopped => {
                self.stop_tasks(|_| true).await;
                self.recovering.clear();
                self.forget_plan();
                self.show(State::Stopped);
            }
            TargetState::Paused => {
                // Tasks are not made while a connector is paused: an edited configuration shows after the resume.
                self.control_all(TaskControl::Pause);
                let has_failed = self.plan.is_none() && self.version != 0;
                if !has_failed {
                    self.show(State::Paused);
                }
            }
            TargetState::Started => {
                if self.version != wish.version {
                    self.stop_tasks(|_| true).await;
                    self.recovering.clear();
                    self.supervisor.board.clear_tasks(&self.supervisor.name);
                    self.version = wish.version;
                    self.start(wish).await;
                }
                self.control_all(TaskControl::Run);
                if self.plan.is_some() {
                    self.show(State::Running);
                }
            }
        }
    }

    async fn start(&mut self, wish: &ConnectorEntry) {
        let resolved = self.resolve(wish).await;
        self.start_with(wish, resolved);
    }

    async fn resolve(&self, wish: &ConnectorEntry) -> Resolved {
        self.supervisor.providers.resolve(&wish.config, Asker::Connector).await
    }

    /// Looks whether values of config providers changed, and starts the connector anew if they did. What is not there at
    /// the moment changes nothing: who has a value goes on with it.
    async fn look(&mut self, wish: &ConnectorEntry) -> Looked {
        if wish.target == TargetState::Paused {
            // Tasks are not made while a connector is paused.
            self.look_at = self.look_at.map(|_| Instant::now() + LOOK_AGAIN);
            return Looked::Same;
        }
        let now = self.resolve(wish).await;
        let name = Arc::clone(&self.supervisor.name);
        if self.plan.is_some() {
            if let Some(missing) = now.missing.first() {
                warn!(connector = %name, setting = missing.key, error = missing.message, "a config provider has no value any more, the last one stays in use");
                self.look_at = Some(Instant::now() + LOOK_AGAIN);
                return Looked::Same;
            }
            if now.config == self.resolved.config {
                self.look_at = next_look(wish, &now);
                return Looked::Same;
            }
            info!(connector = %name, "values of config providers changed, the connector starts anew");
        }
        self.stop_tasks(|_| true).await;
        self.recovering.clear();
        self.supervisor.board.clear_tasks(&name);
        self.start_with(wish, now);
        Looked::StartedAnew
    }

    fn start_with(&mut self, wish: &ConnectorEntry, resolved: Resolved) {
        let name = Arc::clone(&self.supervisor.name);
        self.look_at = next_look(wish, &resolved);
        self.resolved = resolved;
        let resolved = &self.resolved;
        let plan = if resolved.missing.is_empty() {
            let tasks = &self.supervisor.tasks;
            let plan = std::panic::catch_unwind(AssertUnwindSafe(|| tasks.plan(&name, &resolved.config)));
            plan.unwrap_or_else(|_| Err(panic_trace()))
                .map_err(|trace| resolved.hide(&trace))
        } else {
            let lines = resolved.errors();
            Err(lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        };
        match plan {
            Ok(plan) => {
                self.plan = Some((plan, Arc::new(resolved.config.clone())));
                // Tasks are shown below their connector, which may be new.
                self.show(State::Running);
                info!(connector = %name, tasks = plan.tasks, "connector starts");
                for number in 0..plan.tasks {
                    self.start_task(number);
                }
            }
            Err(trace) => {
                self.plan = None;
                error!(connector = %name, error = %trace, "connector cannot start");
                self.supervisor
                    .board
                    .set_connector(&name, None, InstanceStatus::failed(trace));
            }
        }
    }

    fn start_task(&mut self, number: u32) {
        let Some((_, config)) = &self.plan else { return };
        let connector = Arc::clone(&self.supervisor.name);
        let spec = TaskSpec {
            connector: Arc::clone(&connector),
            task: number,
            config: Arc::clone(config),
        };
        let (control, controlled) = watch::channel(TaskControl::Run);
        let report = TaskReport {
            board: self.supervisor.board.clone(),
            topics: Arc::clone(&self.supervisor.topics),
            connector,
            task: number,
        };
        report.set(InstanceStatus::of(State::Running));
        report.board.views.starts(&report.connector, number);
        let tasks = Arc::clone(&self.supervisor.tasks);
        let run = async move {
            // Plugins are other people's code: a panic while one is opened must fail this task only.
            let run = AssertUnwindSafe(async move { tasks.run(spec, controlled, report).await });
            let result = run.catch_unwind().await.unwrap_or_else(|_| Err(panic_trace()));
            TaskEnd { number, result }
        };
        let abort = self.joins.spawn(run);
        self.running.push(RunningTask {
            number,
            control,
            abort,
            started: Instant::now(),
        });
    }

    fn ended(&mut self, id: Id, end: TaskEnd) {
        let Some(place) = self.running.iter().position(|task| task.abort.id() == id) else {
            return; // it ended just as it was aborted; another one may run under its number
        };
        let started = self.running.remove(place).started;
        let name = &self.supervisor.name;
        let views = self.supervisor.board.views.clone();
        let Err(trace) = end.result else {
            return views.ends(name, end.number, None);
        };
        // A sink may quote a setting in its words.
        let trace = self.resolved.hide(&trace);
        let policy = self.plan.as_ref().map(|(plan, _)| plan.restart);
        let trace = if policy == Some(RestartPolicy::Backoff) {
            let wait = self.recover_later(end.number, started);
            let name = &self.supervisor.name;
            let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            let next_restart = crate::wall_clock::now_ms().saturating_add(wait_ms);
            views.ends(name, end.number, Some(next_restart));
            error!(connector = %name, task = end.number, error = %trace, wait_s = wait.as_secs(), "task failed, it starts again by itself");
            format!(
                "{trace} (`task.restart.policy=backoff`: it starts again {} s after its failure)",
                wait.as_secs()
            )
        } else {
            error!(connector = %name, task = end.number, error = %trace, "task failed, restart it once the cause is mended");
            views.ends(name, end.number, None);
            trace
        };
        let name = &self.supervisor.name;
        self.supervisor
            .board
            .set_task(name, end.number, InstanceStatus::failed(trace));
    }

    /// Notes that a failed task starts again, and tells how long after now.
    fn recover_later(&mut self, number: u32, started: Instant) -> Duration {
        let now = Instant::now();
        let recovery = self.recovering.entry(number).or_insert(Recovery {
            failures: 0,
            restart_at: None,
        });
        if now.duration_since(started) >= LAST_RESTART {
            recovery.failures = 0;
        }
        let factor = 1_u32.checked_shl(recovery.failures).unwrap_or(u32::MAX);
        let wait = FIRST_RESTART.saturating_mul(factor).min(LAST_RESTART);
        recovery.failures = recovery.failures.saturating_add(1);
        recovery.restart_at = Some(now + wait);
        wait
    }

    /// When the next failed task starts again.
    fn restart_at(&self) -> Option<Instant> {
        self.recovering
            .values()
            .filter_map(|recovery| recovery.restart_at)
            .min()
    }

    /// Starts the failed tasks whose time has come.
    async fn recover(&mut self, wish: &ConnectorEntry) {
        let now = Instant::now();
        let due: Vec<u32> = self
            .recovering
            .iter_mut()
            .filter(|(_, recovery)| recovery.restart_at.is_some_and(|at| at <= now))
            .map(|(number, recovery)| {
                recovery.restart_at = None;
                *number
            })
            .collect();
        info!(connector = %self.supervisor.name, tasks = ?due, "failed tasks start again");
        self.restart_tasks(&due, wish).await;
    }

    async fn command(&mut self, command: Command, wish: &ConnectorEntry) {
        match command {
            Command::Restart(restart) => {
                let name = &self.supervisor.name;
                let failed = |task: u32| {
                    self.supervisor
                        .board
                        .task(name, task)
                        .is_none_or(|status| status.state == State::Failed)
                };
                if self.plan.is_none() && self.version != 0 {
                    self.version = 0; // the connector failed: `reconcile` starts it again
                } else if restart.include_tasks && wish.target != TargetState::Stopped {
                    let tasks = self.plan.as_ref().map_or(0, |(plan, _)| plan.tasks);
                    let chosen: Vec<u32> = (0..tasks)
                        .filter(|task| !restart.only_failed || failed(*task))
                        .collect();
                    self.restart_by_hand(&chosen, wish).await;
                }
            }
            Command::RestartConnector(done) => {
                if self.plan.is_none() {
                    self.version = 0;
                }
                // The one who asked may have gone away: nothing depends on the answer.
                done.send(()).ok();
            }
            Command::RestartTask(number, done) => {
                let exists = self.plan.as_ref().is_some_and(|(plan, _)| number < plan.tasks);
                if exists {
                    self.restart_by_hand(&[number], wish).await;
                }
                done.send(exists).ok();
            }
        }
    }

    /// A person has mended the cause: earlier failures do not count.
    async fn restart_by_hand(&mut self, numbers: &[u32], wish: &ConnectorEntry) {
        // What may have been mended is a secret.
        if self.look(wish).await == Looked::StartedAnew {
            return;
        }
        self.restart_tasks(numbers, wish).await;
        self.recovering.retain(|number, _| !numbers.contains(number));
    }

    async fn restart_tasks(&mut self, numbers: &[u32], wish: &ConnectorEntry) {
        for number in numbers {
            let status = InstanceStatus::of(State::Restarting);
            self.supervisor.board.set_task(&self.supervisor.name, *number, status);
        }
        self.stop_tasks(|task| numbers.contains(&task)).await;
        for number in numbers {
            self.start_task(*number);
        }
        if wish.target == TargetState::Paused {
            self.control_all(TaskControl::Pause);
        }
    }

    /// Stops the chosen tasks, all at once, and waits until they ended. One that takes longer than the stop time-out is
    /// aborted: its records are delivered again by whoever gets its partitions.
    async fn stop_tasks(&mut self, chosen: impl Fn(u32) -> bool) {
        let waiting = |running: &[RunningTask]| running.iter().any(|task| chosen(task.number));
        for task in self.running.iter().filter(|task| chosen(task.number)) {
            task.control.send_replace(TaskControl::Stop);
        }
        let deadline = Instant::now() + self.supervisor.stop_timeout;
        while waiting(&self.running) {
            match tokio::time::timeout_at(deadline, self.joins.join_next_with_id()).await {
                Ok(Some(Ok((id, end)))) => self.ended(id, end),
                Ok(Some(Err(_))) => {}
                Ok(None) => break,
                Err(_) => {
                    for task in self.running.iter().filter(|task| chosen(task.number)) {
                        warn!(connector = %self.supervisor.name, task = task.number, "task did not stop in time and was aborted: records in flight will be delivered again");
                        task.abort.abort();
                        self.supervisor
                            .board
                            .views
                            .ends(&self.supervisor.name, task.number, None);
                    }
                    self.running.retain(|task| !chosen(task.number));
                }
            }
        }
    }

    fn control_all(&self, control: TaskControl) {
        for task in &self.running {
            task.control
                .send_if_modified(|present| std::mem::replace(present, control) != control);
        }
    }

    fn forget_plan(&mut self) {
        self.plan = None;
        self.resolved = Resolved::default();
        self.look_at = None;
        self.version = 0;
        self.supervisor.board.clear_tasks(&self.supervisor.name);
    }

    fn show(&self, state: State) {
        let version = self.plan.as_ref().map(|(plan, _)| plan.version);
        self.supervisor
            .board
            .set_connector(&self.supervisor.name, version, InstanceStatus::of(state));
    }
}

/// When to look again at what the references of a connector stand for, if that is wanted.
fn next_look(wish: &ConnectorEntry, resolved: &Resolved) -> Option<Instant> {
    let may_pass = resolved.missing.iter().any(|missing| missing.may_pass);
    let is_wanted = wish
        .config
        .get("config.action.reload")
        .is_none_or(|action| action.trim() != "none");
    let lease = resolved.lease.filter(|_| is_wanted);
    let wait = if may_pass { Some(LOOK_AGAIN) } else { lease };
    wait.map(|wait| Instant::now() + wait)
}

fn panic_trace() -> String {
    format!("a plugin {}", crate::PANICKED)
}
