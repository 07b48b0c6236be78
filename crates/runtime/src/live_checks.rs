//! Asks the world whether a configuration would work: Kafka, its topics, registries, destinations. One line each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use klamm_connect_api::sink::PreflightError;
use klamm_connect_api::{BoxFuture, Converter, RawConfig};
use klamm_kafka::{AssignmentEpoch, KafkaError, OffsetReset, PartitionRequest, StartPosition};
use tokio::time::timeout;

use crate::clusters::{Cluster, Clusters};
use crate::config::{ConnectorConfig, SubmittedConfig};
use crate::herder::{Herder, HerderError};

/// How long each of them may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How long a topic may take to refuse to be read. One that does not by then has no records now.
const REFUSES_WITHIN: Duration = Duration::from_secs(2);
/// Topics that are looked at, together.
const MAX_TOPICS: usize = 20;

/// Checks configurations against what they name.
pub trait LiveChecks: Send + Sync + fmt::Debug {
    /// What came of asking, in a settled order. Nothing is written or delivered.
    ///
    /// # Errors
    /// The connector class is missing or unknown.
    ///
    /// # Cancel safety
    /// Safe: it only asks.
    fn check(&self, config: SubmittedConfig) -> BoxFuture<'_, Result<Vec<LiveCheck>, HerderError>>;
}

/// One thing that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveCheck {
    /// What kind of thing: `configuration`, `kafka`, `topic`, `group`, `dead_letters`, `registry` or `destination`.
    pub check: &'static str,
    /// Which one.
    pub subject: String,
    /// What it said.
    pub outcome: Result<String, String>,
}

impl LiveCheck {
    fn new(check: &'static str, subject: impl Into<String>, outcome: Result<String, String>) -> Self {
        Self {
            check,
            subject: subject.into(),
            outcome,
        }
    }
}

/// Asks the clusters that connectors use.
pub(crate) struct WorldChecks {
    pub(crate) herder: Herder,
    pub(crate) clusters: Arc<Clusters>,
}

impl fmt::Debug for WorldChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorldChecks").finish_non_exhaustive()
    }
}

impl LiveChecks for WorldChecks {
    fn check(&self, config: SubmittedConfig) -> BoxFuture<'_, Result<Vec<LiveCheck>, HerderError>> {
        Box::pin(async move {
            let name = config.get("name").cloned().flatten().unwrap_or_default();
            let (resolved, config) = match self.herder.trial(config).await? {
                Ok(trial) => trial,
                Err(errors) => {
                    let text = format!("nothing was asked, since the configuration is wrong: {errors}");
                    return Ok(vec![LiveCheck::new("configuration", name, Err(text))]);
                }
            };
            let mut checks = self.ask(name.trim(), &resolved.config, &config).await;
            for check in &mut checks {
                // What references stand for is in no answer.
                check.subject = resolved.hide(&check.subject);
                let outcome = check.outcome.as_mut();
                let text = outcome.unwrap_or_else(|error| error);
                *text = resolved.hide(text);
            }
            Ok(checks)
        })
    }
}

impl WorldChecks {
    async fn ask(&self, name: &str, raw: &RawConfig, config: &ConnectorConfig) -> Vec<LiveCheck> {
        let cluster = self.clusters.of(&config.client);
        let kafka = kafka(&cluster);
        let topics = topics(&cluster, raw, config);
        let group = group(&cluster, config);
        let dead_letters = self.dead_letters(config);
        let registries = async {
            let key = registry("key.converter", &config.key_converter.1).await;
            let value = registry("value.converter", &config.value_converter.1).await;
            key.into_iter().chain(value)
        };
        let destinations = destinations(name, raw, config);
        let (kafka, topics, group, dead_letters, registries, destinations) =
            tokio::join!(kafka, topics, group, dead_letters, registries, destinations);
        std::iter::once(kafka)
            .chain(topics)
            .chain([group])
            .chain(dead_letters)
            .chain(registries)
            .chain(destinations)
            .collect()
    }

    async fn dead_letters(&self, config: &ConnectorConfig) -> Option<LiveCheck> {
        let queue = config.letters.dead_letters.as_ref()?;
        let cluster = self.clusters.of(&queue.client);
        let found = in_time(cluster.client.topic(&queue.topic)).await;
        let outcome = found.map(|found| match found {
            Some(topic) => format!("exists, {} partitions", topic.partitions),
            None => format!(
                "does not exist: it is made when the connector starts, with {} replicas",
                queue.replication_factor
            ),
        });
        Some(LiveCheck::new("dead_letters", &*queue.topic, outcome))
    }
}

async fn kafka(cluster: &Cluster) -> LiveCheck {
    let servers = cluster.client.config().bootstrap_servers.join(",");
    let outcome = in_time(cluster.client.describe_cluster()).await;
    let outcome = outcome.map(|found| format!("{} brokers", found.brokers.len()));
    LiveCheck::new("kafka", servers, outcome)
}

async fn topics(cluster: &Cluster, raw: &RawConfig, config: &ConnectorConfig) -> Vec<LiveCheck> {
    let subject = ["topics", "topics.regex"].iter().find_map(|key| raw.get(*key));
    let subject = subject.cloned().unwrap_or_default();
    let all = match in_time(cluster.client.topics()).await {
        Ok(topics) => topics,
        Err(error) => return vec![LiveCheck::new("topic", subject, Err(error))],
    };
    let named: Vec<Arc<str>> = match config.subscription.names() {
        Some(names) => names.iter().cloned().collect(),
        None => {
            let matching = all.iter().filter(|topic| config.subscription.includes(&topic.name));
            matching.map(|topic| Arc::clone(&topic.name)).collect()
        }
    };
    if named.is_empty() {
        let text = "no topic matches now: the connector waits for one".to_owned();
        return vec![LiveCheck::new("topic", subject, Ok(text))];
    }
    let looks = named.iter().take(MAX_TOPICS).map(|name| {
        let found = all.iter().find(|topic| topic.name == *name);
        look_at(cluster, config, Arc::clone(name), found.map(|topic| topic.partitions))
    });
    join_all(looks.collect::<Vec<_>>()).await
}

async fn look_at(cluster: &Cluster, config: &ConnectorConfig, topic: Arc<str>, partitions: Option<i32>) -> LiveCheck {
    let outcome = match partitions {
        Some(partitions) => readable(cluster, config, &topic, partitions).await,
        None => Err("does not exist, or may not be seen: create it, or grant DESCRIBE and READ on it".to_owned()),
    };
    LiveCheck::new("topic", &*topic, outcome)
}

/// Fetches from the end of a partition: who may not read is told so at once.
async fn readable(
    cluster: &Cluster,
    config: &ConnectorConfig,
    topic: &Arc<str>,
    partitions: i32,
) -> Result<String, String> {
    let mut reader = cluster.pool.open(PartitionRequest {
        topic: Arc::clone(topic),
        topic_id: None,
        partition: 0,
        start: StartPosition::Latest,
        reset: OffsetReset::Latest,
        settings: Arc::clone(&config.consumer.fetch),
        epoch: AssignmentEpoch::next(),
    });
    match timeout(WITHIN, reader.started()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(crate::chain(&error)),
        Err(_) => return Err(late()),
    }
    match timeout(REFUSES_WITHIN, reader.next()).await {
        Ok(Err(error)) => Err(crate::chain(&error)),
        Ok(Ok(_)) | Err(_) => Ok(format!("readable, {partitions} partitions")),
    }
}

async fn group(cluster: &Cluster, config: &ConnectorConfig) -> LiveCheck {
    let group = &config.consumer.group_id;
    let outcome = in_time(cluster.client.group_offsets(group)).await;
    let outcome = outcome.map(|offsets| format!("{} partitions have committed offsets", offsets.len()));
    LiveCheck::new("group", &**group, outcome)
}

/// None for a converter that asks nobody.
async fn registry(key: &'static str, converter: &Arc<dyn Converter>) -> Option<LiveCheck> {
    let outcome = match timeout(WITHIN, converter.probe()?).await {
        Ok(answered) => answered
            .map(|()| "answers".to_owned())
            .map_err(|error| error.to_string()),
        Err(_) => Err(late()),
    };
    Some(LiveCheck::new("registry", key, outcome))
}

async fn destinations(name: &str, raw: &RawConfig, config: &ConnectorConfig) -> Vec<LiveCheck> {
    let context = config.sink_context(name, 0, raw);
    let found = config.sink.probe(context).await;
    if found.is_empty() {
        return vec![LiveCheck::new(
            "destination",
            "",
            Ok("would take deliveries".to_owned()),
        )];
    }
    let line =
        |PreflightError { error, .. }: PreflightError| LiveCheck::new("destination", error.key, Err(error.message));
    found.into_iter().map(line).collect()
}

async fn in_time<T>(asking: impl Future<Output = Result<T, KafkaError>>) -> Result<T, String> {
    match timeout(WITHIN, asking).await {
        Ok(answered) => answered.map_err(|error| crate::chain(&error)),
        Err(_) => Err(late()),
    }
}

fn late() -> String {
    format!("did not answer within {} s", WITHIN.as_secs())
}
