//! Configs of topics, brokers and groups.

use std::sync::Arc;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::{Request, StrBytes};

use super::{PerItem, Submission, arc, text};
use crate::client::Purpose;
use crate::error::code_of;
use crate::{KafkaClient, KafkaError};

/// Something that has configs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic.
    Topic(Arc<str>),
    /// A broker, by id; `None` for what all brokers share.
    Broker(Option<i32>),
    /// A group (Kafka 4.0).
    Group(Arc<str>),
}

impl ConfigResource {
    /// Kafka's number of the kind, and the name.
    fn key(&self) -> (i8, StrBytes) {
        match self {
            Self::Topic(name) => (2, text(name)),
            Self::Broker(id) => (4, id.map(|id| text(&id.to_string())).unwrap_or_default()),
            Self::Group(name) => (32, text(name)),
        }
    }

    fn parse(kind: i8, name: &StrBytes) -> Option<Self> {
        match kind {
            2 => Some(Self::Topic(arc(name))),
            4 if name.is_empty() => Some(Self::Broker(None)),
            4 => name.parse().ok().map(|id| Self::Broker(Some(id))),
            32 => Some(Self::Group(arc(name))),
            _ => None,
        }
    }

    /// The broker that must be asked; any for the others.
    fn node(&self) -> Option<i32> {
        match self {
            Self::Broker(id) => *id,
            Self::Topic(_) | Self::Group(_) => None,
        }
    }
}

impl std::fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic `{name}`"),
            Self::Broker(Some(id)) => write!(f, "broker {id}"),
            Self::Broker(None) => f.write_str("all brokers"),
            Self::Group(name) => write!(f, "group `{name}`"),
        }
    }
}

/// Where a config's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on this resource: topic, group, or broker.
    Resource,
    /// Set for all brokers at run time.
    AllBrokers,
    /// The broker's properties file.
    BrokerFile,
    /// Nobody set it.
    Default,
    /// One that this client does not know.
    Other(i8),
}

impl ConfigSource {
    fn parse(number: i8) -> Self {
        match number {
            1 | 2 | 8 => Self::Resource,
            3 => Self::AllBrokers,
            4 => Self::BrokerFile,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

/// A config and its value.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's key, such as `retention.ms`.
    pub name: Arc<str>,
    /// The value; `None` for a secret, which Kafka does not tell, and where none is set.
    pub value: Option<Arc<str>>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed at run time.
    pub is_read_only: bool,
    /// Whether it is a secret.
    pub is_sensitive: bool,
}

impl std::fmt::Debug for ConfigEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = if self.is_sensitive {
            Some("***")
        } else {
            self.value.as_deref()
        };
        f.debug_struct("ConfigEntry")
            .field("name", &self.name)
            .field("value", &value)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// A change of one config (KIP-339).
#[derive(Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// To this value.
    Set(String, String),
    /// Back to the default.
    Delete(String),
    /// This value more, in a list.
    Append(String, String),
    /// This value less, in a list.
    Subtract(String, String),
}

impl std::fmt::Debug for ConfigChange {
    /// The value may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (operation, key, _) = self.parts();
        write!(f, "{operation} {key}")
    }
}

impl ConfigChange {
    /// Kafka's number of the operation, key, value.
    fn parts(&self) -> (i8, &str, Option<&str>) {
        match self {
            Self::Set(key, value) => (0, key, Some(value)),
            Self::Delete(key) => (1, key, None),
            Self::Append(key, value) => (2, key, Some(value)),
            Self::Subtract(key, value) => (3, key, Some(value)),
        }
    }
}

impl KafkaClient {
    /// All configs of the resources, by name. Needs DescribeConfigs version 1 (Kafka 1.1).
    ///
    /// # Errors
    /// When nothing could be asked; each resource has its own result.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
    ) -> Result<PerItem<ConfigResource, Vec<ConfigEntry>>, KafkaError> {
        self.for_each(
            "DescribeConfigs",
            resources.to_vec(),
            |left: Vec<ConfigResource>| async move {
                let mut answers = PerItem::new();
                for (node, resources) in by_node(left) {
                    let asked = resources.iter().map(|resource| {
                        let (kind, name) = resource.key();
                        DescribeConfigsResource::default()
                            .with_resource_type(kind)
                            .with_resource_name(name)
                            .with_configuration_keys(None)
                    });
                    let request = DescribeConfigsRequest::default().with_resources(asked.collect());
                    let response = self.request_node_or_any(node, &request).await?;
                    for answer in &response.results {
                        let Some(resource) = ConfigResource::parse(answer.resource_type, &answer.resource_name) else {
                            continue;
                        };
                        let result = match code_of(answer.error_code) {
                            Some(code) => Err(self.refused_saying(
                                "DESCRIBE_CONFIGS",
                                &resource.to_string(),
                                answer.error_message.as_ref(),
                                code,
                            )),
                            None => {
                                let mut entries: Vec<_> = answer.configs.iter().map(entry).collect();
                                entries.sort_by(|a, b| a.name.cmp(&b.name));
                                Ok(entries)
                            }
                        };
                        answers.push((resource, result));
                    }
                }
                Ok(answers)
            },
        )
        .await
    }

    /// Changes single configs and leaves all others as they are. Needs IncrementalAlterConfigs (Kafka 2.3).
    ///
    /// # Errors
    /// When nothing could be asked; each resource has its own result, and all of its changes happen or none.
    pub async fn alter_configs(
        &self,
        changes: &[(ConfigResource, Vec<ConfigChange>)],
        submission: Submission,
    ) -> Result<PerItem<ConfigResource, ()>, KafkaError> {
        let resources = changes.iter().map(|(resource, _)| resource.clone()).collect();
        self.for_each(
            "IncrementalAlterConfigs",
            resources,
            |left: Vec<ConfigResource>| async move {
                let mut answers = PerItem::new();
                for (node, resources) in by_node(left) {
                    let wanted = changes.iter().filter(|(resource, _)| resources.contains(resource));
                    let altered = wanted.map(|(resource, changes)| {
                        let (kind, name) = resource.key();
                        let configs = changes.iter().map(|change| {
                            let (operation, key, value) = change.parts();
                            AlterableConfig::default()
                                .with_name(text(key))
                                .with_config_operation(operation)
                                .with_value(value.map(text))
                        });
                        AlterConfigsResource::default()
                            .with_resource_type(kind)
                            .with_resource_name(name)
                            .with_configs(configs.collect())
                    });
                    let request = IncrementalAlterConfigsRequest::default()
                        .with_resources(altered.collect())
                        .with_validate_only(submission == Submission::ValidateOnly);
                    let response = self.request_node_or_any(node, &request).await?;
                    for answer in &response.responses {
                        let Some(resource) = ConfigResource::parse(answer.resource_type, &answer.resource_name) else {
                            continue;
                        };
                        let result = code_of(answer.error_code).map_or(Ok(()), |code| {
                            let message = answer.error_message.as_ref();
                            Err(self.refused_saying("ALTER_CONFIGS", &resource.to_string(), message, code))
                        });
                        answers.push((resource, result));
                    }
                }
                Ok(answers)
            },
        )
        .await
    }

    async fn request_node_or_any<R: Request>(&self, node: Option<i32>, request: &R) -> Result<R::Response, KafkaError> {
        let Some(node) = node else {
            return self.request_any(request).await;
        };
        let cluster = self.cluster_once().await?;
        let broker = cluster.broker(node).ok_or(KafkaError::UnknownBroker(node))?;
        self.request_at(&broker.address(), Purpose::Admin, request).await
    }
}

/// Resources by the broker that must be asked.
fn by_node(resources: Vec<ConfigResource>) -> std::collections::BTreeMap<Option<i32>, Vec<ConfigResource>> {
    let mut by_node: std::collections::BTreeMap<_, Vec<_>> = std::collections::BTreeMap::new();
    for resource in resources {
        by_node.entry(resource.node()).or_default().push(resource);
    }
    by_node
}

fn entry(config: &kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: arc(&config.name),
        value: config.value.as_ref().map(arc),
        source: ConfigSource::parse(config.config_source),
        is_read_only: config.read_only,
        is_sensitive: config.is_sensitive,
    }
}
