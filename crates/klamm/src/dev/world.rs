//! Everything of a local world, from its start to its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use klamm::{ConnectorFile, Environment, LogLevels, StartError, Worker};
use klamm_dev::broker::{Broker, Settings};
use klamm_dev::functions::{self, Functions, FunctionsConfig, Watcher};
use klamm_dev::world::{ConnectorSource, DevFile};
use klamm_kafka::KafkaClient;
use serde_json::Value;
use tokio::runtime::Handle;

use super::show::Show;
use super::{KAFKA_PORT, samples, start_context};
use crate::tools::{Cluster, ClusterArgs};
use crate::{EXIT_SETTINGS, EXIT_START, Failure};

/// Ports that are looked for where people expect them.
const FUNCTIONS_PORT: u16 = 9001;
const REST_PORT: u16 = 8083;
/// In the functions' ARNs, and where connectors look for them.
const REGION: &str = "us-east-1";
/// The class names of the Lambda sink end in one of these.
const LAMBDA_CLASSES: [&str; 2] = ["LambdaSinkConnector", "LambdaSink"];

/// A world that runs.
#[derive(Debug)]
pub(super) struct World {
    pub(super) worker: Worker,
    pub(super) functions: Functions,
    broker: Broker,
    cluster: Arc<Cluster>,
    /// Consumer group by connector.
    pub(super) groups: BTreeMap<String, Arc<str>>,
    /// Topics that a connector names, by connector; none for a pattern.
    pub(super) topics: BTreeMap<String, Vec<String>>,
    /// Sample records that were written.
    pub(super) samples: usize,
    watch: Vec<String>,
}

impl World {
    /// Starts it and writes the sample records. What has started ends with an error.
    ///
    /// # Cancel safety
    /// Safe: dropping ends what has started.
    pub(super) async fn start(file: DevFile, is_once: bool, show: &Show, levels: LogLevels) -> Result<Self, Failure> {
        let connectors = connectors(&file)?;
        // Who comes and goes takes ports that nobody else wants.
        let port = |wanted: Option<u16>, usual| wanted.unwrap_or(if is_once { 0 } else { usual });

        let settings = Settings {
            ports: vec![port(file.ports.kafka, KAFKA_PORT)],
            ..Settings::default()
        };
        let broker = start_context(Broker::start(settings).await, "the broker cannot start")?;
        let mut config = FunctionsConfig::new(&file.root);
        config.port = port(file.ports.functions, FUNCTIONS_PORT);
        config.region = REGION.to_owned();
        config.functions.clone_from(&file.functions);
        for function in &mut config.functions {
            // A function that reads or writes topics itself finds them here and, by its own setting, elsewhere.
            let variable = function.environment.entry("BOOTSTRAP_SERVERS".to_owned());
            variable.or_insert_with(|| broker.bootstrap());
        }
        let board = show.board();
        config.watcher = Watcher::new(move |happening| board.happened(happening));
        let functions = Functions::start(config).await.map_err(function_failure)?;

        for topic in &file.topics {
            let settings: Vec<_> = topic
                .settings
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            broker
                .create_topic_with(&topic.name, topic.partitions, &settings)
                .map_err(|error| wrong(format!("{}: topics.{}: {error}", file.path.display(), topic.name)))?;
        }
        let cluster = ClusterArgs::at(broker.bootstrap()).connect(Handle::current());
        let cluster = Arc::new(start_context(cluster, "no client of the broker")?);

        // Loading interpreters takes most of the time.
        let (loaded, written) = tokio::join!(functions.warm_up(), samples::write(&cluster, &file.topics));
        loaded.map_err(function_failure)?;
        let samples = written.map_err(|error| Failure {
            error,
            code: EXIT_SETTINGS,
        })?;

        let environment = Environment::process()
            .with("AWS_ENDPOINT_URL_LAMBDA", functions.endpoint())
            .with("AWS_REGION", REGION);
        let rest = port(file.ports.rest, REST_PORT);
        let mut builder = Worker::builder()
            .plugins(klamm::plugins_in(environment))
            .in_memory()
            .log_levels(levels)
            .with_rest()
            .property("listeners", format!("http://127.0.0.1:{rest}"))
            // Sample records come first and are read from their beginning; progress is what commits say.
            .property("offset.flush.interval.ms", "100")
            .properties(file.worker.clone())
            .property("bootstrap.servers", broker.bootstrap());
        let groups = connectors.iter().map(|connector| (connector.name.clone(), group(connector)));
        let groups = groups.collect();
        let topics = connectors.iter().map(|connector| (connector.name.clone(), topics(connector)));
        let topics = topics.collect();
        for connector in connectors {
            builder = builder.connector_file(connector);
        }
        let worker = builder.start().await.map_err(|error| Failure {
            code: match &error {
                StartError::Config(_) | StartError::Connector { .. } => EXIT_SETTINGS,
                _ => EXIT_START,
            },
            error: error.into(),
        })?;
        Ok(Self {
            watch: file.topics.iter().map(|topic| topic.name.clone()).collect(),
            worker,
            functions,
            broker,
            cluster,
            groups,
            topics,
            samples,
        })
    }

    /// Where everything is.
    pub(super) fn places(&self) -> Vec<String> {
        let rest = self.worker.rest_addresses().iter();
        let rest: Vec<_> = rest.map(|address| format!("http://{address}")).collect();
        let handlers = self.functions.handlers().into_iter().map(|(name, file, program)| {
            format!("function   {name}: {} by {}", file.display(), program.display())
        });
        let mut places = vec![
            format!("kafka      {}", self.broker.bootstrap()),
            format!("functions  {}", self.functions.endpoint()),
            format!("rest       {}", rest.join(", ")),
        ];
        places.extend(handlers);
        places.push(format!("ready: {} sample records in {}", self.samples, self.watch.join(", ")));
        places
    }

    pub(super) fn client(&self) -> &Arc<KafkaClient> {
        self.cluster.client()
    }

    /// Ends it: the worker finishes what is in flight and commits while functions and broker are still there.
    pub(super) async fn stop(self) {
        self.worker.shutdown().await;
        self.functions.stop().await;
        self.cluster.client().shutdown().await;
        if let Err(error) = self.broker.stop().await {
            tracing::warn!(%error, "the broker ended badly");
        }
    }
}

fn wrong(what: String) -> Failure {
    Failure {
        error: anyhow::Error::msg(what),
        code: EXIT_SETTINGS,
    }
}

fn function_failure(error: functions::StartError) -> Failure {
    let code = match &error {
        functions::StartError::Listen { .. } => EXIT_START,
        _ => EXIT_SETTINGS,
    };
    Failure {
        error: error.into(),
        code,
    }
}

/// The connectors, set to call the functions of this world.
fn connectors(file: &DevFile) -> Result<Vec<ConnectorFile>, Failure> {
    let mut connectors = Vec::with_capacity(file.connectors.len());
    for source in &file.connectors {
        let mut connector = match source {
            ConnectorSource::File(path) => ConnectorFile::read(path)?,
            ConnectorSource::Inline { name, config } => {
                ConnectorFile::from_json(&file.path, name.clone(), Value::Object(config.clone()))?
            }
        };
        let class = connector.config.get("connector.class").cloned().flatten();
        let is_lambda = class.is_some_and(|class| LAMBDA_CLASSES.iter().any(|name| class.trim().ends_with(name)));
        if is_lambda {
            // Local functions take any: a developer needs no account. What a connector sets itself stays.
            for key in ["aws.access.key.id", "aws.secret.access.key"] {
                connector
                    .config
                    .entry(key.to_owned())
                    .or_insert_with(|| Some("local".to_owned()));
            }
        }
        connectors.push(connector);
    }
    Ok(connectors)
}

fn setting<'c>(connector: &'c ConnectorFile, key: &str) -> Option<&'c str> {
    connector.config.get(key)?.as_deref()
}

/// Its consumer group, as the worker names it.
fn group(connector: &ConnectorFile) -> Arc<str> {
    match setting(connector, "consumer.override.group.id") {
        Some(group) => group.into(),
        None => format!("connect-{}", connector.name).into(),
    }
}

fn topics(connector: &ConnectorFile) -> Vec<String> {
    let named = setting(connector, "topics").unwrap_or_default().split(',');
    named.map(|topic| topic.trim().to_owned()).filter(|topic| !topic.is_empty()).collect()
}
