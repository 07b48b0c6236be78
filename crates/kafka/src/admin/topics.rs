//! Making, extending and deleting topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};
use uuid::Uuid;

use super::{CONTROLLER_TIMEOUT_MS, ConfigResource, PerItem, arc, text, topic_name};
use crate::error::code_of;
use crate::{KafkaClient, KafkaError};

/// A topic to make.
///
/// ```
/// let topic = klamm_kafka::NewTopic::new("klamm-configs").with_config("cleanup.policy", "compact");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions; `None` is the broker's `num.partitions` (brokers from 2.4 on).
    pub partitions: Option<i32>,
    /// How many replicas; `None` is the broker's `default.replication.factor` (brokers from 2.4 on).
    pub replication_factor: Option<i16>,
    /// Its configs, such as `cleanup.policy`; all others are the broker's defaults.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            partitions: None,
            replication_factor: None,
            configs: BTreeMap::new(),
        }
    }

    /// With that many partitions.
    #[must_use]
    pub fn with_partitions(self, partitions: i32) -> Self {
        Self {
            partitions: Some(partitions),
            ..self
        }
    }

    /// With that many replicas.
    #[must_use]
    pub fn with_replication_factor(self, replication_factor: i16) -> Self {
        Self {
            replication_factor: Some(replication_factor),
            ..self
        }
    }

    /// With that config.
    #[must_use]
    pub fn with_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(key.into(), value.into());
        self
    }
}

/// A topic that was made, as far as the broker told (from 2.4 on).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; brokers before 2.8 have none.
    pub id: Option<Uuid>,
    /// How many partitions it has.
    pub partitions: Option<i32>,
    /// How many replicas each has.
    pub replication_factor: Option<i16>,
}

/// Whether a request is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Submission {
    /// Do it.
    #[default]
    Apply,
    /// Only check whether it would be done (`validate_only`).
    ValidateOnly,
}

/// What a topic that is there already must be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Anything.
    #[default]
    MayDiffer,
    /// It must have the partitions and configs that are named.
    MustMatch,
}

impl KafkaClient {
    /// Makes topics. Needs CreateTopics version 2 (Kafka 1.0); defaults for partitions and replicas need 2.4.
    ///
    /// # Errors
    /// When nothing could be asked; each topic has its own result.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        submission: Submission,
    ) -> Result<PerItem<Arc<str>, CreatedTopic>, KafkaError> {
        let names = topics.iter().map(|topic| Arc::clone(&topic.name)).collect();
        self.for_each("CreateTopics", names, |left: Vec<Arc<str>>| async move {
            let creatable = topics.iter().filter(|topic| left.contains(&topic.name)).map(creatable);
            let request = CreateTopicsRequest::default()
                .with_topics(creatable.collect())
                .with_timeout_ms(CONTROLLER_TIMEOUT_MS)
                .with_validate_only(submission == Submission::ValidateOnly);
            let response = self.request_controller(&request).await?;
            let answers = response.topics.iter().map(|answer| {
                let resource = format!("topic `{}`", answer.name.as_str());
                let result = match code_of(answer.error_code) {
                    Some(code) => Err(self.refused_saying("CREATE", &resource, answer.error_message.as_ref(), code)),
                    None => Ok(CreatedTopic {
                        id: Some(answer.topic_id).filter(|id| !id.is_nil()),
                        partitions: Some(answer.num_partitions).filter(|partitions| *partitions > 0),
                        replication_factor: Some(answer.replication_factor).filter(|factor| *factor > 0),
                    }),
                };
                (arc(&answer.name), result)
            });
            Ok(answers.collect())
        })
        .await
    }

    /// Gives topics more partitions: each the total that is named. Keys hash to other partitions from then on.
    ///
    /// # Errors
    /// When nothing could be asked; each topic has its own result.
    pub async fn create_partitions(
        &self,
        totals: &[(Arc<str>, i32)],
        submission: Submission,
    ) -> Result<PerItem<Arc<str>, ()>, KafkaError> {
        let names = totals.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.for_each("CreatePartitions", names, |left: Vec<Arc<str>>| async move {
            let wanted = totals.iter().filter(|(name, _)| left.contains(name));
            let topics = wanted.map(|(name, total)| {
                CreatePartitionsTopic::default()
                    .with_name(topic_name(name))
                    .with_count(*total)
                    .with_assignments(None)
            });
            let request = CreatePartitionsRequest::default()
                .with_topics(topics.collect())
                .with_timeout_ms(CONTROLLER_TIMEOUT_MS)
                .with_validate_only(submission == Submission::ValidateOnly);
            let response = self.request_controller(&request).await?;
            let answers = response.results.iter().map(|answer| {
                let resource = format!("topic `{}`", answer.name.as_str());
                let result = code_of(answer.error_code).map_or(Ok(()), |code| {
                    Err(self.refused_saying("ALTER", &resource, answer.error_message.as_ref(), code))
                });
                (arc(&answer.name), result)
            });
            Ok(answers.collect())
        })
        .await
    }

    /// Deletes topics with all their records.
    ///
    /// # Errors
    /// When nothing could be asked; each topic has its own result.
    pub async fn delete_topics(&self, names: &[Arc<str>]) -> Result<PerItem<Arc<str>, ()>, KafkaError> {
        self.for_each("DeleteTopics", names.to_vec(), |left: Vec<Arc<str>>| async move {
            // Version 6 has the names in another field, and neither field may be filled in the other's versions.
            let request = DeleteTopicsRequest::default().with_timeout_ms(CONTROLLER_TIMEOUT_MS);
            let named = |name: &Arc<str>| DeleteTopicState::default().with_name(Some(topic_name(name)));
            let new = request.clone().with_topics(left.iter().map(named).collect());
            let old = request.with_topic_names(left.iter().map(|name| topic_name(name)).collect());
            let response = self
                .request_controller_by(|version| if version >= 6 { &new } else { &old })
                .await?;
            let answers = response.responses.iter().map(|answer| {
                let name: Arc<str> = answer.name.as_ref().map(|name| arc(name)).unwrap_or_default();
                let resource = format!("topic `{name}`");
                let result = code_of(answer.error_code).map_or(Ok(()), |code| {
                    Err(self.refused_saying("DELETE", &resource, answer.error_message.as_ref(), code))
                });
                (name, result)
            });
            Ok(answers.collect())
        })
        .await
    }

    /// Makes the topic if it is not there, and returns how many partitions it has.
    ///
    /// # Errors
    /// A refusal by Kafka, or [`KafkaError::TopicMismatch`] with what differs, if `existing` asks for it.
    pub async fn ensure_topic(&self, topic: &NewTopic, existing: Existing) -> Result<i32, KafkaError> {
        let answers = self
            .create_topics(std::slice::from_ref(topic), Submission::Apply)
            .await?;
        let mut is_new = true;
        for (_, answer) in answers {
            match answer {
                Ok(_) => {}
                Err(err) if err.code() == Some(ResponseError::TopicAlreadyExists) => is_new = false,
                Err(err) => return Err(err),
            }
        }
        // Brokers learn of a new topic one after the other.
        let known = async {
            let _interest = self.interest([Arc::clone(&topic.name)]);
            loop {
                self.refreshed().await?;
                if let Some(found) = self.metadata().topic(&topic.name).filter(|found| found.partitions > 0) {
                    return Ok(found.partitions);
                }
            }
        };
        let partitions = self.within(known, "Metadata").await??;
        if !is_new && existing == Existing::MustMatch {
            self.check_topic(topic, partitions).await?;
        }
        Ok(partitions)
    }

    /// Compares a topic with what it should be: partitions and configs, as far as `wanted` names them.
    async fn check_topic(&self, wanted: &NewTopic, partitions: i32) -> Result<(), KafkaError> {
        let mut differences = Vec::new();
        if let Some(wanted) = wanted.partitions.filter(|wanted| *wanted != partitions) {
            differences.push(format!("{partitions} partitions where {wanted} are needed"));
        }
        let resource = ConfigResource::Topic(Arc::clone(&wanted.name));
        for (_, found) in self.describe_configs(&[resource]).await? {
            for entry in found? {
                let value = entry.value.as_deref().unwrap_or_default();
                if let Some(wanted) = wanted.configs.get(&*entry.name).filter(|wanted| *wanted != value) {
                    differences.push(format!("{}={value} where `{wanted}` is needed", entry.name));
                }
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(KafkaError::TopicMismatch {
            topic: Arc::clone(&wanted.name),
            difference: differences.join(", "),
        })
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let config = |(key, value): (&String, &String)| {
        CreatableTopicConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)))
    };
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.partitions.unwrap_or(-1))
        .with_replication_factor(topic.replication_factor.unwrap_or(-1))
        .with_configs(topic.configs.iter().map(config).collect())
}
