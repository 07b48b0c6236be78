//! The cluster that a tool works on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use klamm_connect_api::config::KeysOnly;
use klamm_kafka::{
    ClientConfig, ClusterHealth, ConsumerConfig, FetchSettings, IsolationLevel, KafkaClient, KafkaError, ProducerConfig,
};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Until the first answers are there. A person waits, so it is shorter than a worker's patience.
const FIRST_ANSWERS: Duration = Duration::from_secs(17);

/// Where a tool differs from Kafka's defaults.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "klamm-tool"),
    // Leaves room to say why, within `FIRST_ANSWERS`.
    ("default.api.timeout.ms", "12000"),
    ("max.block.ms", "17000"),
    // Reading needs no group; its settings are read as a consumer's.
    ("group.id", "klamm-tool"),
];

/// These go together: a delivery takes as long as a request at least.
const PATIENCE: &[(&str, &str)] = &[("request.timeout.ms", "10000"), ("delivery.timeout.ms", "17000")];

/// Where the cluster is and how to get in.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Brokers, as `bootstrap.servers`
    #[arg(long, visible_alias = "bootstrap-servers", value_name = "HOST:PORT,...")]
    bootstrap_server: Option<String>,
    /// Settings of a Kafka client, such as `security.protocol`, as Java properties
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// Any other setting of a Kafka client; wins over the file
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::key_value)]
    set: Vec<(String, String)>,
}

/// A client of the cluster, and the properties it was made from.
pub(crate) struct Cluster {
    client: Arc<KafkaClient>,
    properties: BTreeMap<String, String>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("properties", &KeysOnly(&self.properties))
            .finish_non_exhaustive()
    }
}

impl ClusterArgs {
    /// These brokers, with nothing to get past.
    pub(crate) fn at(bootstrap_server: String) -> Self {
        Self {
            bootstrap_server: Some(bootstrap_server),
            command_config: None,
            set: Vec::new(),
        }
    }

    /// A client of the cluster; it connects when it is first asked something.
    ///
    /// # Errors
    /// The file or one of its settings.
    pub(crate) fn connect(&self, net: Handle) -> anyhow::Result<Cluster> {
        let mut properties = match &self.command_config {
            Some(path) => klamm::read_properties(path)?,
            None => BTreeMap::new(),
        };
        properties.extend(self.set.iter().cloned());
        if let Some(servers) = &self.bootstrap_server {
            properties.insert("bootstrap.servers".to_owned(), servers.clone());
        }
        if !properties.contains_key("bootstrap.servers") {
            return Err(anyhow!(
                "no brokers are given: use --bootstrap-server, or bootstrap.servers in the file of --command-config"
            ));
        }
        let is_patience_set = ["request.timeout.ms", "delivery.timeout.ms", "linger.ms"]
            .iter()
            .any(|key| properties.contains_key(*key));
        let defaults = DEFAULTS.iter().chain(PATIENCE.iter().filter(|_| !is_patience_set));
        for (key, value) in defaults {
            properties
                .entry((*key).to_owned())
                .or_insert_with(|| (*value).to_owned());
        }
        let (config, unknown) = ClientConfig::from_properties(&properties)?;
        for unknown in unknown.iter().filter(|unknown| !unknown.java_only) {
            tracing::warn!(key = unknown.key, "setting is not known and ignored");
        }
        let client = KafkaClient::new(config, net);
        Ok(Cluster { client, properties })
    }
}

impl Cluster {
    pub(crate) fn client(&self) -> &Arc<KafkaClient> {
        &self.client
    }

    /// The consumer's `fetch.*`, `isolation.level` and so on, as the properties set them.
    ///
    /// # Errors
    /// A value that is not accepted.
    pub(crate) fn fetch_settings(&self, isolation: Option<IsolationLevel>) -> anyhow::Result<FetchSettings> {
        let (consumer, _) = ConsumerConfig::from_properties(&self.properties)?;
        let mut settings = Arc::unwrap_or_clone(consumer.fetch);
        if let Some(isolation) = isolation {
            settings.isolation_level = isolation;
        }
        Ok(settings)
    }

    /// How to write, as the properties say.
    ///
    /// # Errors
    /// A value that is not accepted.
    pub(crate) fn producer_config(&self, compression: Option<&str>) -> anyhow::Result<ProducerConfig> {
        let mut properties = self.properties.clone();
        if let Some(compression) = compression {
            properties.insert("compression.type".to_owned(), compression.to_owned());
        }
        Ok(ProducerConfig::from_properties(&properties)?.0)
    }

    /// Waits for `work`, which is the first that the cluster is asked, at most [`FIRST_ANSWERS`], and no longer once all
    /// brokers have refused: a person at a terminal renews no certificate while he waits.
    ///
    /// # Errors
    /// Why there is no answer, as far as it is known.
    pub(crate) async fn first<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let mut health = self.client.health();
        let refused = health.wait_for(|health| match health {
            ClusterHealth::Unreachable { error, .. } => error.is_refusal() || !error.is_retriable(),
            ClusterHealth::Idle | ClusterHealth::Reachable => false,
        });
        let outcome = async {
            tokio::select! {
                outcome = work => Some(outcome),
                Ok(_) = refused => None,
            }
        };
        match timeout(FIRST_ANSWERS, outcome).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(self.why().unwrap_or_else(|| {
                anyhow!(
                    "Kafka at {} did not answer within {} s",
                    self.client.config().bootstrap_servers.join(","),
                    FIRST_ANSWERS.as_secs()
                )
            })),
        }
    }

    /// The outcome of a call, with the reason behind a time-out.
    ///
    /// # Errors
    /// That of the call.
    pub(crate) fn told<T>(&self, outcome: Result<T, KafkaError>) -> anyhow::Result<T> {
        outcome.map_err(|error| match error {
            KafkaError::TimedOut { .. } => self.why().unwrap_or_else(|| error.into()),
            error => error.into(),
        })
    }

    /// Why no broker answers, if none does.
    fn why(&self) -> Option<anyhow::Error> {
        match &*self.client.health().borrow() {
            ClusterHealth::Unreachable { error, .. } => Some(error.clone().into()),
            ClusterHealth::Idle | ClusterHealth::Reachable => None,
        }
    }
}
