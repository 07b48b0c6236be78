//! The control plane of a worker: takes wishes from users, writes them to the config log, and has a supervisor per
//! connector bring what runs in line with it.
//!
//! A request is validated against the state up to a position and appended only if nothing came in between, so every
//! record in the log is valid. Reads answer from the replayed state and never wait for a task.

mod error;
mod offsets;
mod replica;
mod state;
mod status;
mod supervisor;
mod topics;
mod views;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use klamm_connect_api::provider::Asker;
use klamm_connect_api::sink::PreflightError;
use klamm_connect_api::{ConfigError, ConfigErrors, PluginInfo, RawConfig};
use tokio::sync::{Mutex, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use error::{HerderError, HerderErrorKind};
pub use offsets::{GroupOf, NewOffset, OffsetChange, Offsets, OffsetsError, PartitionOffset};
pub use status::{ConnectorStatus, InstanceStatus, State, TaskReport};
pub use supervisor::{RestartPolicy, TaskControl, TaskPlan, TaskSpec, Tasks};
pub use topics::{ActiveTopic, ActiveTopics};

use crate::config::{
    ConnectorConfig, Conversion, Resolved, Secrets, SubmittedConfig, Validation, WorkerConfig, effective_group_id,
    mask, unmask, unmask_for_trial,
};
use crate::config_log::{ConfigLog, ConfigLogError, ConfigRecord, Restart, TargetState};
use crate::observation::{ConnectorObservation, TaskObservation, TaskView};
use crate::plugins::Plugins;
use crate::preview::Preview;
use replica::Replica;
use state::{ConfigState, ConnectorEntry};
use status::StatusBoard;
use supervisor::Command;
use views::Watched;

/// How long a look at connectors waits for Kafka, together.
const REFRESH_WITHIN: Duration = Duration::from_secs(2);
/// Tasks for which Kafka is asked at once.
const REFRESHED_AT_ONCE: usize = 16;

/// A connector as `GET /connectors/{c}` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorInfo {
    /// Name.
    pub name: String,
    /// Configuration, secrets masked.
    pub config: RawConfig,
    /// Numbers of its tasks.
    pub tasks: Vec<u32>,
}

/// Whether [`Herder::put_config`] made a connector or changed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// There was none of that name.
    Created,
    /// There was one.
    Updated,
}

/// The control plane of a worker. Cheap to clone.
#[derive(Clone)]
pub struct Herder {
    shared: Arc<Shared>,
}

struct Shared {
    worker: WorkerConfig,
    plugins: Plugins,
    log: Arc<dyn ConfigLog>,
    tasks: Arc<dyn Tasks>,
    offsets: Arc<dyn Offsets>,
    board: StatusBoard,
    /// What the connectors that run have read from.
    topics: RwLock<HashMap<String, Arc<ActiveTopics>>>,
    /// What has been replayed; read by every GET.
    state: RwLock<ConfigState>,
    /// Whoever decides on the state and appends holds this, so that requests to one worker never conflict.
    writing: Mutex<()>,
    /// Whoever reads on in the log holds this.
    replica: Mutex<Replica>,
    /// Ends everything at once.
    abort: CancellationToken,
}

impl std::fmt::Debug for Herder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Herder").finish_non_exhaustive()
    }
}

impl Herder {
    /// Replays the log. Nothing runs before [`Herder::begin`], so that what is changed until then never runs as it was.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn open(
        worker: WorkerConfig,
        plugins: Plugins,
        log: Arc<dyn ConfigLog>,
        tasks: Arc<dyn Tasks>,
        offsets: Arc<dyn Offsets>,
    ) -> Result<Self, ConfigLogError> {
        let shared = Shared {
            worker,
            plugins,
            log,
            tasks,
            offsets,
            board: StatusBoard::default(),
            topics: RwLock::default(),
            state: RwLock::default(),
            writing: Mutex::default(),
            replica: Mutex::default(),
            abort: CancellationToken::new(),
        };
        let herder = Self {
            shared: Arc::new(shared),
        };
        herder.replay().await?;
        Ok(herder)
    }

    /// The plugins.
    #[must_use]
    pub fn plugins(&self) -> &Plugins {
        &self.shared.plugins
    }

    /// The worker's settings.
    #[must_use]
    pub fn worker(&self) -> &WorkerConfig {
        &self.shared.worker
    }

    /// Names of all connectors, sorted.
    #[must_use]
    pub fn connectors(&self) -> Vec<String> {
        self.with_state(|state| state.connectors().keys().cloned().collect())
    }

    /// A connector.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn connector(&self, name: &str) -> Result<ConnectorInfo, HerderError> {
        let entry = self.entry(name)?;
        let tasks = self
            .shared
            .board
            .get(name)
            .map(|status| status.tasks.into_keys().collect())
            .unwrap_or_default();
        Ok(ConnectorInfo {
            name: name.to_owned(),
            config: if self.shared.worker.rest.show_secrets {
                entry.config.as_ref().clone()
            } else {
                mask(&entry.config, &self.shared.plugins)
            },
            tasks,
        })
    }

    /// State of a connector and its tasks.
    ///
    /// # Errors
    /// There is no such connector, or it has not been started yet.
    pub fn status(&self, name: &str) -> Result<ConnectorStatus, HerderError> {
        let status = self.entry(name).ok().and_then(|_| self.shared.board.get(name));
        status.ok_or_else(|| HerderError::NotFound(format!("No status found for connector {name}")))
    }

    /// State of a task.
    ///
    /// # Errors
    /// There is no such task.
    pub fn task_status(&self, name: &str, task: u32) -> Result<InstanceStatus, HerderError> {
        let status = self.entry(name).ok().and_then(|_| self.shared.board.task(name, task));
        status.ok_or_else(|| HerderError::NotFound(format!("No status found for task {name}-{task}")))
    }

    /// State of a connector and its tasks, with what lies behind it. Kafka is asked where the logs end of tasks that stand
    /// still, for at most 2 s.
    ///
    /// # Errors
    /// As [`Herder::status`].
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub async fn observe(&self, name: &str) -> Result<ConnectorObservation, HerderError> {
        let status = self.status(name)?;
        self.refresh(&[name.to_owned()]).await;
        Ok(self.observation(name, status))
    }

    /// The same of every connector that has a status, by name.
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub async fn observe_all(&self) -> BTreeMap<String, ConnectorObservation> {
        let names = self.connectors();
        self.refresh(&names).await;
        let observe = |name: String| {
            let status = self.status(&name).ok()?;
            let observation = self.observation(&name, status);
            Some((name, observation))
        };
        names.into_iter().filter_map(observe).collect()
    }

    /// Returns once no change of connectors is under way any more: at once, unless the config log hangs.
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub async fn responds(&self) {
        drop(self.shared.replica.lock().await);
    }

    async fn refresh(&self, names: &[String]) {
        let watched = names
            .iter()
            .flat_map(|name| self.shared.board.views.of(name).into_values());
        let views: Vec<Arc<dyn TaskView>> = watched.filter_map(|watched| watched.view().cloned()).collect();
        let refreshing = futures_util::stream::iter(views).for_each_concurrent(REFRESHED_AT_ONCE, |view| async move {
            view.refresh().await;
        });
        // What is not known by then is shown as it was.
        tokio::time::timeout(REFRESH_WITHIN, refreshing).await.ok();
    }

    fn observation(&self, name: &str, status: ConnectorStatus) -> ConnectorObservation {
        let watched = self.shared.board.views.of(name);
        let task = |(number, status): (u32, InstanceStatus)| {
            let watched = watched.get(&number);
            let observation = TaskObservation {
                status,
                restarts: watched.map_or(0, Watched::restarts),
                next_restart: watched.and_then(Watched::next_restart),
                snapshot: watched.and_then(Watched::snapshot),
            };
            (number, observation)
        };
        ConnectorObservation {
            status: status.connector,
            tasks: status.tasks.into_iter().map(task).collect(),
        }
    }

    /// The configuration of each task: the connector's, secrets masked.
    ///
    /// # Errors
    /// There is no such connector.
    pub fn task_configs(&self, name: &str) -> Result<Vec<(u32, RawConfig)>, HerderError> {
        let info = self.connector(name)?;
        Ok(info.tasks.into_iter().map(|task| (task, info.config.clone())).collect())
    }

    /// Creates a connector.
    ///
    /// # Errors
    /// The name is taken, or the configuration is wrong.
    pub async fn create(
        &self,
        name: &str,
        config: SubmittedConfig,
        initial_state: Option<TargetState>,
    ) -> Result<ConnectorInfo, HerderError> {
        let wish = ConfigWish::Replace(config);
        self.write_config(name, &wish, |state| new_connector(name, initial_state, state))
            .await?;
        info!(connector = name, "connector created");
        self.connector(name)
    }

    /// Creates a connector that begins at these offsets (KIP-995). What refuses the connector refuses it before its group
    /// is moved.
    ///
    /// # Errors
    /// As [`Herder::create`] and [`Herder::alter_offsets`].
    pub async fn create_at(
        &self,
        name: &str,
        config: SubmittedConfig,
        initial_state: Option<TargetState>,
        offsets: &[OffsetChange],
    ) -> Result<ConnectorInfo, HerderError> {
        let wish = ConfigWish::Replace(config.clone());
        let resolved = self.resolve_wish(name, &wish).await?;
        self.check_preflight(name, &resolved).await?;
        self.with_state(|state| {
            self.valid_config(name, &wish, &resolved, state)?;
            new_connector(name, initial_state, state)
        })?;
        self.initial_offsets(name, &resolved.resolved, offsets).await?;
        self.create(name, config, initial_state).await
    }

    /// Creates a connector, or replaces the configuration of the one of that name. A target state is kept. An equal
    /// configuration still restarts the tasks, as in Connect.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub async fn put_config(&self, name: &str, config: SubmittedConfig) -> Result<(Put, ConnectorInfo), HerderError> {
        // Connect answers with the tasks from before the change.
        let tasks = self.connector(name).map(|info| info.tasks).unwrap_or_default();
        let mut put = Put::Created;
        self.write_config(name, &ConfigWish::Replace(config), |state| {
            put = if state.get(name).is_some() {
                Put::Updated
            } else {
                Put::Created
            };
            Ok(None)
        })
        .await?;
        info!(connector = name, ?put, "connector configured");
        Ok((
            put,
            ConnectorInfo {
                tasks,
                ..self.connector(name)?
            },
        ))
    }

    /// Changes some settings of a connector: a value of none takes the setting away, and what is not named stays (KIP-477).
    ///
    /// # Errors
    /// There is no such connector, or the configuration would be wrong.
    pub async fn patch_config(&self, name: &str, changes: SubmittedConfig) -> Result<ConnectorInfo, HerderError> {
        let tasks = self.connector(name)?.tasks;
        self.write_config(name, &ConfigWish::Patch(changes), |_| Ok(None))
            .await?;
        info!(connector = name, "connector configured by a patch");
        Ok(ConnectorInfo {
            tasks,
            ..self.connector(name)?
        })
    }

    /// Creates the connector or replaces its configuration, unless it has this very configuration already: what a
    /// connector file on the command line asks for.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub async fn apply(
        &self,
        name: &str,
        config: SubmittedConfig,
        initial_state: Option<TargetState>,
    ) -> Result<(), HerderError> {
        let named = self.named(name, config.clone())?;
        let stored = self.entry(name).ok().map(|entry| entry.config);
        let is_same = stored.as_ref().is_some_and(|stored| {
            stored.len() == named.len()
                && stored
                    .iter()
                    .all(|(key, value)| named.get(key) == Some(&Some(value.clone())))
        });
        match stored {
            Some(_) if is_same => Ok(()),
            Some(_) => self.put_config(name, config).await.map(drop),
            None => self.create(name, config, initial_state).await.map(drop),
        }
    }

    /// Deletes a connector. Its consumer group and offsets stay, as in Connect.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn delete(&self, name: &str) -> Result<(), HerderError> {
        self.write(|state| {
            state.get(name).ok_or_else(|| not_found(name))?;
            Ok(vec![
                ConfigRecord::Connector {
                    name: name.to_owned(),
                    config: None,
                },
                ConfigRecord::TargetState {
                    name: name.to_owned(),
                    state: None,
                },
            ])
        })
        .await?;
        info!(connector = name, "connector deleted");
        Ok(())
    }

    /// Says what a connector is to do.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn set_target_state(&self, name: &str, target: TargetState) -> Result<(), HerderError> {
        self.write(|state| {
            state
                .get(name)
                .ok_or_else(|| HerderError::NotFound(format!("Unknown connector {name}")))?;
            Ok(vec![ConfigRecord::TargetState {
                name: name.to_owned(),
                state: Some(target),
            }])
        })
        .await?;
        info!(connector = name, state = ?target, "target state set");
        Ok(())
    }

    /// Restarts connector and tasks as the flags say, and answers with the states that follow from the request: RESTARTING
    /// where something is restarted.
    ///
    /// # Errors
    /// There is no such connector, or it has not been started yet.
    pub async fn restart(&self, name: &str, restart: Restart) -> Result<ConnectorStatus, HerderError> {
        self.entry(name)
            .map_err(|_| HerderError::NotFound(format!("Unknown connector: {name}")))?;
        let status = self.shared.board.get(name);
        let mut status =
            status.ok_or_else(|| HerderError::NotFound(format!("Status for connector {name} not found")))?;
        let plan = |instance: &mut InstanceStatus| {
            if !restart.only_failed || instance.state == State::Failed {
                instance.state = State::Restarting;
            }
        };
        plan(&mut status.connector);
        if restart.include_tasks {
            status.tasks.values_mut().for_each(plan);
        }
        self.write(|_| {
            Ok(vec![ConfigRecord::Restart {
                name: name.to_owned(),
                restart,
            }])
        })
        .await?;
        Ok(status)
    }

    /// Restarts the connector alone and waits until it was done.
    ///
    /// # Errors
    /// There is no such connector.
    pub async fn restart_connector(&self, name: &str) -> Result<(), HerderError> {
        self.entry(name)
            .map_err(|_| HerderError::NotFound(format!("Unknown connector: {name}")))?;
        let (done, restarted) = oneshot::channel();
        self.command(name, Command::RestartConnector(done)).await?;
        restarted.await.map_err(|_| HerderError::ShuttingDown)
    }

    /// Restarts a task and waits until it was stopped and started.
    ///
    /// # Errors
    /// There is no such connector or task.
    pub async fn restart_task(&self, name: &str, task: u32) -> Result<(), HerderError> {
        self.entry(name)
            .map_err(|_| HerderError::NotFound(format!("Unknown connector: {name}")))?;
        let (done, restarted) = oneshot::channel();
        self.command(name, Command::RestartTask(task, done)).await?;
        if restarted.await.map_err(|_| HerderError::ShuttingDown)? {
            Ok(())
        } else {
            Err(HerderError::NotFound(format!("Unknown task: {name}-{task}")))
        }
    }

    /// What is right and wrong with a configuration, key by key. A mask stands for the secret that a connector of the
    /// same name has stored.
    ///
    /// # Errors
    /// The connector class is missing or unknown.
    pub async fn validate(&self, mut config: SubmittedConfig) -> Result<Validation, HerderError> {
        let name = config.get("name").cloned().flatten().unwrap_or_default();
        let stored = self.entry(name.trim()).ok().map(|entry| entry.config);
        // Nothing is stored here that an audit would find, so a stored secret goes nowhere but where it was meant to go.
        let may_ask = unmask_for_trial(&mut config.clone(), stored.as_deref()).is_ok();
        let masks = unmask(&mut config, stored.as_deref());
        let references = given(&config);
        let resolved = self.resolve(&references).await;
        let mut validation = self.check(&config, &resolved)?;
        if let Err(errors) = masks {
            validation.errors("", errors);
        }
        self.with_state(|state| self.check_group(&mut validation, name.trim(), &config, state));
        if validation.error_count() == 0 && resolved.missing.is_empty() && may_ask {
            validation.errors("", self.preflight(name.trim(), &resolved).await);
        }
        self.conceal(&mut validation, &references, &resolved);
        Ok(validation)
    }

    /// A configuration that is tried out, with what its masks and references stand for, parsed. A stored secret goes nowhere
    /// but where it was meant to go: see `unmask_for_trial`.
    ///
    /// # Errors
    /// The connector class is missing or unknown; inside, everything that is wrong.
    pub(crate) async fn trial(
        &self,
        mut config: SubmittedConfig,
    ) -> Result<Result<(Resolved, ConnectorConfig), String>, HerderError> {
        let name = config.get("name").cloned().flatten().unwrap_or_default();
        let stored = self.entry(name.trim()).ok().map(|entry| entry.config);
        if let Err(errors) = unmask_for_trial(&mut config, stored.as_deref()) {
            return Ok(Err(errors.to_string()));
        }
        let resolved = self.resolve(&given(&config)).await;
        let mut validation = self.check(&config, &resolved)?;
        validation.errors("", resolved.errors());
        if let Err(errors) = validation.check() {
            let keys: Vec<String> = errors
                .as_slice()
                .iter()
                .map(|error| format!("`{}`", error.key))
                .collect();
            return Ok(Err(keys.join(", ")));
        }
        match ConnectorConfig::parse(&resolved.config, &self.shared.worker, &self.shared.plugins) {
            Ok(parsed) => Ok(Ok((resolved, parsed))),
            Err(error) => Ok(Err(resolved.hide(&error))),
        }
    }

    /// A preview with the configuration of a connector, or with another one for it: a mask stands for the secret that the
    /// connector has stored.
    ///
    /// # Errors
    /// There is no such connector.
    pub async fn preview(&self, name: &str, proposed: Option<SubmittedConfig>) -> Result<Preview, HerderError> {
        let stored = self.entry(name)?.config;
        let config = proposed.unwrap_or_else(|| {
            let stored = stored.iter();
            stored.map(|(key, value)| (key.clone(), Some(value.clone()))).collect()
        });
        Ok(self.preview_with(config, Some(&stored)).await)
    }

    /// A preview with a configuration that belongs to no connector.
    #[must_use]
    pub async fn preview_config(&self, config: SubmittedConfig) -> Preview {
        self.preview_with(config, None).await
    }

    async fn preview_with(&self, config: SubmittedConfig, stored: Option<&RawConfig>) -> Preview {
        let (worker, plugins) = (&self.shared.worker, &self.shared.plugins);
        // A mask that stands for nothing is no matter where the preview does not look.
        let mut config = Conversion::settings(config, plugins);
        if let Err(errors) = unmask_for_trial(&mut config, stored) {
            return Preview::refused(errors);
        }
        let outside = Conversion::outside_references(&config);
        let outside = outside.filter_map(|key| Some((key.clone(), config.get(key)?.clone()?)));
        let resolved = self.resolve(&outside.collect()).await;
        if let Err(errors) = ConfigErrors::check(resolved.errors()) {
            return Preview::refused(errors);
        }
        config.extend(resolved.config.into_iter().map(|(key, value)| (key, Some(value))));
        Preview::of_values(&config, worker, plugins)
    }

    /// The topics that a connector has read from, sorted. None for one that there is not, as in Connect.
    ///
    /// # Errors
    /// The worker does not track them.
    pub fn active_topics(&self, name: &str) -> Result<Vec<String>, HerderError> {
        if !self.shared.worker.tracks_topics {
            return Err(HerderError::Forbidden("Topic tracking is disabled."));
        }
        let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        Ok(topics.get(name).map(|topics| topics.list()).unwrap_or_default())
    }

    /// Forgets which topics a connector has read from.
    ///
    /// # Errors
    /// The worker does not track them, or does not let them be reset.
    pub fn reset_active_topics(&self, name: &str) -> Result<(), HerderError> {
        if !self.shared.worker.tracks_topics {
            return Err(HerderError::Forbidden("Topic tracking is disabled."));
        }
        if !self.shared.worker.resets_topics {
            return Err(HerderError::Forbidden("Topic tracking reset is disabled."));
        }
        let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(topics) = topics.get(name) {
            topics.reset();
        }
        Ok(())
    }

    /// The plugin that a connector runs; none if there is no such connector, or this worker does not have its class.
    #[must_use]
    pub fn connector_plugin(&self, connector: &str) -> Option<&PluginInfo> {
        let config = self.entry(connector).ok()?.config;
        let class = config.get("connector.class")?.trim();
        self.shared.plugins.sink(class).map(|sink| sink.info())
    }

    /// The plugin that `name` means, of whatever kind.
    ///
    /// # Errors
    /// There is none.
    pub fn plugin(&self, name: &str) -> Result<&PluginInfo, HerderError> {
        self.shared
            .plugins
            .find(name)
            .ok_or_else(|| HerderError::NotFound(format!("Unknown plugin {name}.")))
    }

    /// The configuration of a connector, with its secrets, as its tasks have it.
    ///
    /// # Errors
    /// There is no such connector; inside, everything that is wrong with its configuration.
    pub(crate) async fn parsed_config(&self, name: &str) -> Result<Result<ConnectorConfig, String>, HerderError> {
        let stored = self.stored_values(name).await?;
        let parsed = ConnectorConfig::parse(&stored.config, &self.shared.worker, &self.shared.plugins);
        Ok(parsed.map_err(|error| stored.hide(&error)))
    }

    fn with_state<T>(&self, read: impl FnOnce(&ConfigState) -> T) -> T {
        read(&self.shared.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn entry(&self, name: &str) -> Result<ConnectorEntry, HerderError> {
        self.with_state(|state| state.get(name).cloned())
            .ok_or_else(|| not_found(name))
    }

    /// Fills in `name`, or refuses another one.
    fn named(&self, name: &str, mut config: SubmittedConfig) -> Result<SubmittedConfig, HerderError> {
        match config.get("name").cloned().flatten() {
            Some(given) if given != name => Err(HerderError::BadRequest(format!(
                "Connector name configuration ({given}) doesn't match connector name in the URL ({name})"
            ))),
            _ => {
                config.insert("name".to_owned(), Some(name.to_owned()));
                Ok(config)
            }
        }
    }

    /// The whole configuration that is wished for, masks left in it.
    fn wished(&self, name: &str, wish: &ConfigWish, state: &ConfigState) -> Result<SubmittedConfig, HerderError> {
        match wish {
            ConfigWish::Replace(config) => self.named(name, config.clone()),
            ConfigWish::Patch(changes) => {
                let stored = state.get(name).ok_or_else(|| not_found(name))?;
                let mut config: SubmittedConfig = stored
                    .config
                    .iter()
                    .map(|(key, value)| (key.clone(), Some(value.clone())))
                    .collect();
                for (key, value) in changes {
                    match value {
                        Some(_) => drop(config.insert(key.clone(), value.clone())),
                        None => drop(config.remove(key)),
                    }
                }
                self.named(name, config)
            }
        }
    }

    /// What a wish comes to on the present state, with what its references stand for.
    async fn resolve_wish(&self, name: &str, wish: &ConfigWish) -> Result<ResolvedWish, HerderError> {
        let (mut config, stored) = self.with_state(|state| {
            let stored = state.get(name).map(|entry| Arc::clone(&entry.config));
            self.wished(name, wish, state).map(|config| (config, stored))
        })?;
        let has_all = unmask(&mut config, stored.as_deref()).is_ok();
        let references = given(&config);
        let resolved = self.resolve(&references).await;
        Ok(ResolvedWish {
            has_all: has_all && resolved.missing.is_empty(),
            references,
            resolved,
        })
    }

    /// The configuration that is wished for, if there is nothing wrong with it.
    fn valid_config(
        &self,
        name: &str,
        wish: &ConfigWish,
        resolved: &ResolvedWish,
        state: &ConfigState,
    ) -> Result<RawConfig, HerderError> {
        let mut config = self.wished(name, wish, state)?;
        let masks = unmask(&mut config, state.get(name).map(|entry| &*entry.config));
        if given(&config) != resolved.references {
            // What is stored changed meanwhile, and with it what was resolved.
            return Err(HerderError::Conflict);
        }
        let mut validation = self.check(&config, &resolved.resolved)?;
        if let Err(errors) = masks {
            validation.errors("", errors);
        }
        self.check_group(&mut validation, name, &config, state);
        self.conceal(&mut validation, &resolved.references, &resolved.resolved);
        validation
            .check()
            .map_err(|errors| refused(validation.error_count(), errors.as_slice()))?;
        Ok(given(&config))
    }

    /// `first` may refuse, and may have a record written before the configuration.
    async fn write_config(
        &self,
        name: &str,
        wish: &ConfigWish,
        mut first: impl FnMut(&ConfigState) -> Result<Option<ConfigRecord>, HerderError>,
    ) -> Result<(), HerderError> {
        let resolved = self.resolve_wish(name, wish).await?;
        self.check_preflight(name, &resolved).await?;
        self.write(|state| {
            let config = self.valid_config(name, wish, &resolved, state)?;
            let first = first(state)?;
            let record = ConfigRecord::Connector {
                name: name.to_owned(),
                config: Some(config),
            };
            Ok(first.into_iter().chain([record]).collect())
        })
        .await
    }

    /// Refuses a configuration whose destinations would refuse its deliveries, if it wants to know that beforehand.
    async fn check_preflight(&self, name: &str, wish: &ResolvedWish) -> Result<(), HerderError> {
        // What stands for nothing is refused with all that is wrong without asking anybody.
        if !wish.has_all {
            return Ok(());
        }
        let resolved = &wish.resolved;
        let errors = self.preflight(name, resolved).await;
        if errors.is_empty() {
            return Ok(());
        }
        let hidden = |error: &ConfigError| ConfigError::new(error.key.clone(), resolved.hide(&error.message));
        Err(refused(errors.len(), &errors.iter().map(hidden).collect::<Vec<_>>()))
    }

    async fn resolve(&self, config: &RawConfig) -> Resolved {
        self.shared.worker.providers.resolve(config, Asker::Connector).await
    }

    /// The stored configuration of a connector with what its references stand for.
    async fn stored_values(&self, name: &str) -> Result<Resolved, HerderError> {
        let stored = self.entry(name)?.config;
        let resolved = self.resolve(&stored).await;
        match ConfigErrors::check(resolved.errors()) {
            Ok(()) => Ok(resolved),
            Err(errors) => Err(HerderError::BadRequest(errors.to_string())),
        }
    }

    /// What is right and wrong with the values of a configuration; they are still to be concealed.
    fn check(&self, config: &SubmittedConfig, resolved: &Resolved) -> Result<Validation, HerderError> {
        let value = |(key, value): (&String, &Option<String>)| {
            let value = value
                .as_ref()
                .map(|value| resolved.config.get(key).unwrap_or(value).clone());
            (key.clone(), value)
        };
        let values: SubmittedConfig = config.iter().map(value).collect();
        ConnectorConfig::validate(&values, &self.shared.worker, &self.shared.plugins)
            .map_err(|text| HerderError::BadRequest(resolved.hide(&text)))
    }

    /// Masks secrets, and puts references back in the place of what they stand for.
    fn conceal(&self, validation: &mut Validation, references: &RawConfig, resolved: &Resolved) {
        let secrets = Secrets::of(&resolved.config, &self.shared.plugins);
        validation.mask(&secrets);
        validation.unresolve(references, resolved, &secrets);
    }

    /// What is certainly wrong, as the sink learns from its destinations; what else they say goes to the log. Nothing for a
    /// configuration that is wrong without asking them.
    async fn preflight(&self, name: &str, resolved: &Resolved) -> Vec<ConfigError> {
        let raw = &resolved.config;
        let Ok(config) = ConnectorConfig::parse(raw, &self.shared.worker, &self.shared.plugins) else {
            return Vec::new();
        };
        let found = config.preflight(name, 0, raw).await;
        let (certain, uncertain): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.is_certain);
        for PreflightError { error, .. } in uncertain {
            warn!(
                connector = name,
                setting = error.key,
                error = resolved.hide(&error.message),
                "a destination may not take deliveries"
            );
        }
        certain.into_iter().map(|found| found.error).collect()
    }

    /// Two connectors in one consumer group would take each other's partitions.
    fn check_group(&self, validation: &mut Validation, name: &str, config: &SubmittedConfig, state: &ConfigState) {
        let raw = given(config);
        let group = effective_group_id(name, &raw, &self.shared.worker);
        let other = state.connectors().iter().find(|(other, entry)| {
            *other != name && effective_group_id(other, &entry.config, &self.shared.worker) == group
        });
        if let Some((other, _)) = other {
            let key = if raw.contains_key("consumer.override.group.id") {
                "consumer.override.group.id"
            } else {
                "name"
            };
            validation.error(
                key,
                format!("Consumer group {group} is in use by connector {other}: choose another one"),
            );
        }
    }
}

/// What a configuration is to become.
enum ConfigWish {
    /// This one.
    Replace(SubmittedConfig),
    /// The stored one with these changes.
    Patch(SubmittedConfig),
}

/// What is written before the configuration of a new connector: the target state goes first, so that the connector never
/// runs if it is not to.
fn new_connector(
    name: &str,
    initial_state: Option<TargetState>,
    state: &ConfigState,
) -> Result<Option<ConfigRecord>, HerderError> {
    match state.get(name) {
        Some(_) => Err(HerderError::AlreadyExists(name.to_owned())),
        None => Ok(initial_state.map(|state| ConfigRecord::TargetState {
            name: name.to_owned(),
            state: Some(state),
        })),
    }
}

/// What is asked for, with what it refers to.
struct ResolvedWish {
    /// The configuration, with its references; a mask that stands for nothing is still in it.
    references: RawConfig,
    resolved: Resolved,
    /// Whether every mask and every reference stands for something.
    has_all: bool,
}

/// The entries that have a value.
fn given(config: &SubmittedConfig) -> RawConfig {
    config
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
        .collect()
}

fn not_found(name: &str) -> HerderError {
    HerderError::NotFound(format!("Connector {name} not found"))
}

fn refused(count: usize, errors: &[ConfigError]) -> HerderError {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    HerderError::BadRequest(format!(
        "Connector configuration is invalid and contains the following {count} error(s):\n{}\nYou can also find the above \
         list of errors at the endpoint `/connector-plugins/{{connectorType}}/config/validate`",
        lines.join("\n")
    ))
}

#[cfg(test)]
mod tests;
