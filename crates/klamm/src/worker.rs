//! A worker with its REST API, for the binary and for services that embed it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use klamm_aws::FailureQueues;
use klamm_connect_api::ConfigErrors;
use klamm_connect_api::config::KeysOnly;
use klamm_lambda_sink::{Environment, LambdaSinkConnector};
use klamm_rest::{About, RestError, RestServer};
use klamm_runtime::{
    Herder, HerderError, LogBook, LogLevels, Plugins, Providers, SubmittedConfig, TargetState, WorkerConfig,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, warn};

use crate::files::ConnectorFile;

/// Every plugin that ships.
#[must_use]
pub fn plugins() -> Plugins {
    plugins_in(Environment::process())
}

/// Every plugin that ships, in surroundings of another making.
#[must_use]
pub fn plugins_in(environment: Environment) -> Plugins {
    let lambda = LambdaSinkConnector::new(environment.clone()).with_patterns(klamm_smt::event_pattern());
    Plugins::new()
        .with_sink(Arc::new(lambda))
        .with_config_providers(klamm_aws::config_providers(&environment))
        .with_failure_destinations(Arc::new(FailureQueues::new(environment)))
        .with_converters(klamm_converters::converters())
        .with_header_converters(klamm_converters::header_converters())
        .with_transforms(klamm_smt::transforms())
        .with_predicates(klamm_smt::predicates())
}

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting of the worker is wrong; the source names all of them.
    #[error("the worker's settings are not valid")]
    Config(#[from] ConfigErrors),
    /// `state.dir` cannot be used, or what it holds is damaged.
    #[error(transparent)]
    Runtime(#[from] klamm_runtime::StartError),
    /// The operating system gives no thread.
    #[error("the thread of the REST API cannot be started")]
    Thread(#[source] std::io::Error),
    /// The REST API cannot listen.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// A connector that was given at the start is refused.
    #[error("connector {name} cannot be created")]
    Connector {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: HerderError,
    },
}

/// What a worker is started with.
#[derive(Default)]
pub struct WorkerBuilder {
    properties: BTreeMap<String, String>,
    connectors: Vec<ConnectorFile>,
    plugins: Option<Plugins>,
    log_levels: Option<LogLevels>,
    log_book: Option<LogBook>,
    has_rest: bool,
    is_in_memory: bool,
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("properties", &KeysOnly(&self.properties))
            .field("connectors", &self.connectors)
            .finish_non_exhaustive()
    }
}

impl WorkerBuilder {
    /// Sets a property of the worker, by Kafka Connect's name.
    #[must_use]
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(key.into(), value.into());
        self
    }

    /// Sets several properties.
    #[must_use]
    pub fn properties(mut self, properties: impl IntoIterator<Item = (String, String)>) -> Self {
        self.properties.extend(properties);
        self
    }

    /// A connector that is there when the worker is ready: created, or its stored configuration replaced. An unchanged
    /// one is left as it is.
    #[must_use]
    pub fn connector<K: Into<String>, V: Into<String>>(
        self,
        name: impl Into<String>,
        config: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let config: SubmittedConfig = config
            .into_iter()
            .map(|(key, value)| (key.into(), Some(value.into())))
            .collect();
        self.connector_file(ConnectorFile {
            name: name.into(),
            config,
            initial_state: None::<TargetState>,
        })
    }

    /// As [`WorkerBuilder::connector`], from a file.
    #[must_use]
    pub fn connector_file(mut self, connector: ConnectorFile) -> Self {
        self.connectors.push(connector);
        self
    }

    /// Uses these plugins instead of [`plugins`].
    #[must_use]
    pub fn plugins(mut self, plugins: Plugins) -> Self {
        self.plugins = Some(plugins);
        self
    }

    /// Lets the REST API show and set what is logged. Without it `/admin/loggers` is not there.
    #[must_use]
    pub fn log_levels(mut self, levels: LogLevels) -> Self {
        self.log_levels = Some(levels);
        self
    }

    /// Lets the REST API tell what was logged about a connector. Whoever sets up the log writes the book.
    #[must_use]
    pub fn log_book(mut self, book: LogBook) -> Self {
        self.log_book = Some(book);
        self
    }

    /// Serves the REST API on `listeners`. The `klamm` binary does; a service that embeds a worker has the
    /// [`Herder`] at hand and needs it only for outside tools.
    #[must_use]
    pub fn with_rest(mut self) -> Self {
        self.has_rest = true;
        self
    }

    /// Keeps nothing in `state.dir`: for services that bring all connectors along at every start.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.is_in_memory = true;
        self
    }

    /// Starts the worker on the present tokio runtime. It does not wait for Kafka: a worker whose Kafka is away runs,
    /// waits and says so.
    ///
    /// # Errors
    /// Wrong settings, a `state.dir` or listener that cannot be used, a connector that is refused.
    pub async fn start(self) -> Result<Worker, StartError> {
        let plugins = self.plugins.unwrap_or_else(plugins);
        let providers = Providers::open(&self.properties, &plugins)?;
        let properties = providers.resolve_worker(&self.properties).await?;
        let mut config = WorkerConfig::from_properties(&properties)?.with_providers(providers);
        for line in config.warnings() {
            warn!("{line}");
        }
        if self.is_in_memory {
            config = config.in_memory();
        }
        config.check_plugins(&plugins)?;
        let rest = if self.has_rest {
            Some(RestServer::bind(&config.rest).await?)
        } else {
            None
        };
        let addresses = rest.as_ref().map(RestServer::addresses).unwrap_or_default();
        let runtime = klamm_runtime::Worker::start(config, plugins).await?;

        let stop = CancellationToken::new();
        let mut worker = Worker {
            runtime,
            addresses,
            stop: stop.clone().drop_guard(),
            tasks: JoinSet::new(),
        };
        for connector in self.connectors {
            let ConnectorFile {
                name,
                config,
                initial_state,
            } = connector;
            if let Err(source) = worker.herder().apply(&name, config, initial_state).await {
                worker.shutdown().await;
                return Err(StartError::Connector { name, source });
            }
        }
        worker.runtime.begin().await;
        // Whoever gets an answer finds every connector that was given at the start.
        if let Some(rest) = rest {
            let about = About {
                version: env!("CARGO_PKG_VERSION"),
                commit: option_env!("KLAMM_COMMIT").unwrap_or("unknown"),
                worker_id: rest.advertised().1,
                kafka_cluster_id: worker.runtime.cluster_id(),
                observe: worker.runtime.observe(),
                dead_letters: worker.runtime.dead_letters(),
                live_checks: worker.runtime.live_checks(),
                log_levels: self.log_levels,
                log_book: self.log_book,
            };
            let stop = stop.cancelled_owned();
            let served = rest.serve(worker.runtime.herder().clone(), about, Handle::current(), stop);
            let ended = on_own_thread(served).map_err(StartError::Thread)?;
            worker.tasks.spawn(async move {
                // Its sender is dropped as the thread ends.
                drop(ended.await);
            });
        }
        Ok(worker)
    }
}

/// Runs the REST API on a thread of its own: what clients send there takes no thread from delivery.
fn on_own_thread(served: impl Future<Output = ()> + Send + 'static) -> std::io::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ends, ended) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("klamm-rest".to_owned())
        .spawn(move || {
            runtime.block_on(served);
            drop(ends);
        })?;
    Ok(ended)
}

/// A running worker.
///
/// Dropping it aborts everything at once: records in flight will be delivered again. [`Worker::shutdown`] ends it
/// without that.
#[derive(Debug)]
pub struct Worker {
    runtime: klamm_runtime::Worker,
    addresses: Vec<SocketAddr>,
    /// Ends the REST API, which has a thread of its own.
    stop: DropGuard,
    tasks: JoinSet<()>,
}

impl Worker {
    /// Starts to describe a worker.
    #[must_use]
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::default()
    }

    /// Creates, changes and watches connectors.
    #[must_use]
    pub fn herder(&self) -> &Herder {
        self.runtime.herder()
    }

    /// Where the REST API listens; empty without it.
    #[must_use]
    pub fn rest_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends the worker: no new requests, then tasks finish what is in flight within
    /// `task.shutdown.graceful.timeout.ms`, commit and leave their groups.
    pub async fn shutdown(mut self) {
        drop(self.stop);
        self.runtime.shutdown().await;
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(panic) = ended {
                error!(error = %panic, "REST API ended badly");
            }
        }
    }
}
