//! A worker: its clusters, one herder, and the threads under them.

use std::sync::Arc;
use std::time::Duration;

use klamm_delivery::WorkerMemory;
use klamm_kafka::{ByteBudget, ClusterHealth};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::clusters::{Cluster, Clusters};
use crate::config::WorkerConfig;
use crate::config_log::{ConfigLog, ConfigLogError, FileConfigLog, MemoryConfigLog};
use crate::dead_letters::{DeadLetters, KafkaDeadLetters};
use crate::herder::Herder;
use crate::live_checks::{LiveChecks, WorldChecks};
use crate::observation::{MemoryUse, WorkerSnapshot};
use crate::offsets::GroupOffsets;
use crate::plugins::Plugins;
use crate::state_dir::{StateDir, StateDirError};
use crate::task::SinkTasks;

/// What shutdown may take beyond the tasks' own time-out: final commits and leaving the groups.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(5);

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `state.dir` cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The config log cannot be read.
    #[error(transparent)]
    ConfigLog(#[from] ConfigLogError),
    /// The operating system gives no thread.
    #[error("the network thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// A running worker without its REST API.
///
/// Dropping it aborts everything at once: records in flight will be delivered again. [`Worker::shutdown`] ends it
/// without that.
#[derive(Debug)]
pub struct Worker {
    herder: Herder,
    clusters: Arc<Clusters>,
    /// What was fetched, and what waits for its delivery.
    memory: (Arc<ByteBudget>, Arc<WorkerMemory>),
    dead_letters: Arc<KafkaDeadLetters>,
    net: NetThread,
    shutdown_timeout: Duration,
    tasks: JoinSet<()>,
}

impl Worker {
    /// Starts a worker on the present tokio runtime and replays the config log. Connectors run from [`Worker::begin`] on.
    /// Does not wait for Kafka.
    ///
    /// # Errors
    /// `state.dir` is in use or not usable, or the config log is damaged.
    pub async fn start(config: WorkerConfig, plugins: Plugins) -> Result<Self, StartError> {
        let state_dir = config
            .state_dir
            .as_deref()
            .map(StateDir::try_open)
            .transpose()?
            .map(Arc::new);
        let log: Arc<dyn ConfigLog> = match &state_dir {
            Some(dir) => Arc::new(FileConfigLog::try_open(dir.config_log())?),
            None => Arc::new(MemoryConfigLog::new()),
        };
        let net = NetThread::start().map_err(StartError::Thread)?;
        // Half of the buffer is for what was fetched, half for what was encoded: a fetch that waits for memory must not
        // wait for records that wait for a fetch.
        let half = config.buffer_bytes / 2;
        let fetched = Arc::new(ByteBudget::new(half));
        let clusters = Arc::new(Clusters::new(
            config.client.clone(),
            net.handle.clone(),
            Arc::<ByteBudget>::clone(&fetched),
        ));
        let mut tasks = JoinSet::new();

        let shutdown_timeout = config.shutdown_timeout;
        let memory = Arc::new(WorkerMemory::new(half));
        let sink_tasks = SinkTasks::new(
            config.clone(),
            plugins.clone(),
            Arc::clone(&clusters),
            Arc::clone(&memory),
            state_dir,
        );
        let offsets = GroupOffsets {
            worker: config.clone(),
            plugins: plugins.clone(),
            clusters: Arc::clone(&clusters),
        };
        let herder = Herder::open(config, plugins, log, Arc::new(sink_tasks), Arc::new(offsets)).await?;
        let dead_letters = Arc::new(KafkaDeadLetters::new(herder.clone(), Arc::clone(&clusters)));
        let follower = herder.clone();
        tasks.spawn(async move { follower.follow().await });
        Ok(Self {
            herder,
            clusters,
            memory: (fetched, memory),
            dead_letters,
            net,
            shutdown_timeout,
            tasks,
        })
    }

    /// Starts the connectors.
    pub async fn begin(&self) {
        self.herder.begin().await;
    }

    /// Creates, changes and watches connectors.
    #[must_use]
    pub fn herder(&self) -> &Herder {
        &self.herder
    }

    /// Tells the id of the Kafka cluster, once it is known.
    #[must_use]
    pub fn cluster_id(&self) -> Arc<dyn Fn() -> Option<String> + Send + Sync> {
        let clusters = Arc::clone(&self.clusters);
        Arc::new(move || clusters.client().cluster_id().map(|id| id.to_string()))
    }

    /// Asks the world whether configurations would work.
    #[must_use]
    pub fn live_checks(&self) -> Arc<dyn LiveChecks> {
        Arc::new(WorldChecks {
            herder: self.herder.clone(),
            clusters: Arc::clone(&self.clusters),
        })
    }

    /// Looks into dead letter queues, and redrives them.
    #[must_use]
    pub fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        Arc::<KafkaDeadLetters>::clone(&self.dead_letters)
    }

    /// Tells what the worker's shares are used for.
    #[must_use]
    pub fn observe(&self) -> Arc<dyn Fn() -> WorkerSnapshot + Send + Sync> {
        let clusters = Arc::clone(&self.clusters);
        let (fetched, encoded) = (Arc::clone(&self.memory.0), Arc::clone(&self.memory.1));
        Arc::new(move || {
            let clusters = clusters.all();
            let stats = clusters.iter().map(|cluster| cluster.pool.stats());
            let (fetches, fetched_bytes) = stats.fold((0, 0), |(fetches, bytes), stats| {
                (fetches + stats.fetches, bytes + stats.bytes)
            });
            let is_away = |cluster: &&Arc<Cluster>| {
                matches!(*cluster.client.health().borrow(), ClusterHealth::Unreachable { .. })
            };
            WorkerSnapshot {
                // Both halves are of one size.
                fetch_memory: MemoryUse {
                    used: encoded.bound_bytes().saturating_sub(fetched.free_bytes()),
                    bound: encoded.bound_bytes(),
                },
                delivery_memory: MemoryUse {
                    used: encoded.used_bytes(),
                    bound: encoded.bound_bytes(),
                },
                clusters: clusters.len(),
                unreachable_clusters: clusters.iter().filter(is_away).count(),
                fetches,
                fetched_bytes,
            }
        })
    }

    /// Ends the worker: tasks finish what is in flight, commit and leave their groups.
    pub async fn shutdown(mut self) {
        self.dead_letters.shutdown().await;
        self.herder.shutdown(self.shutdown_timeout + SHUTDOWN_MARGIN).await;
        self.tasks.shutdown().await;
        self.clusters.shutdown().await;
        self.net.stop.cancel();
        info!("all tasks ended");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Herders may live on elsewhere, and their tasks with them.
        self.herder.abort();
        self.dead_letters.abort();
    }
}

/// The thread of sockets, heartbeats and group state. No plugin code runs on it, so a slow converter or function never
/// costs a membership.
#[derive(Debug)]
struct NetThread {
    handle: tokio::runtime::Handle,
    stop: CancellationToken,
}

impl NetThread {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        std::thread::Builder::new()
            .name("klamm-net".to_owned())
            .spawn(move || runtime.block_on(stopped.cancelled()))?;
        Ok(Self { handle, stop })
    }
}

impl Drop for NetThread {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
