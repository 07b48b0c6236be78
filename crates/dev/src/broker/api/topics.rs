//! Topics: made, deleted, grown.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse,
};

use super::super::cluster::{NewTopic, Refusal, TopicRef};
use super::super::configs::{DEFINITIONS, TopicConfigs};
use super::super::wire::{count, text};
use super::Call;

fn refused(code: ResponseError) -> Refusal {
    (code, code.to_string())
}

pub(super) async fn create(call: &Call<'_>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut seen = HashSet::new();
    let topics = request.topics.iter().map(|topic| {
        let is_first = seen.insert(topic.name.to_string());
        let result = CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_num_partitions(-1)
            .with_replication_factor(-1);
        let made = if is_first {
            create_one(call, topic, request.validate_only)
        } else {
            Err((ResponseError::InvalidRequest, "Duplicate topic name.".to_owned()))
        };
        match made {
            Ok((partitions, replication_factor, configs, id)) => result
                .with_topic_id(id)
                .with_num_partitions(partitions)
                .with_replication_factor(replication_factor)
                .with_configs(Some(shown(&configs))),
            Err((code, reason)) => result
                .with_error_code(code.code())
                .with_error_message(Some(text(&reason))),
        }
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

fn create_one(
    call: &Call<'_>,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<(i32, i16, TopicConfigs, uuid::Uuid), Refusal> {
    call.check_fault().map_err(refused)?;
    let mut configs = TopicConfigs::default();
    for config in &topic.configs {
        if let Some(value) = &config.value {
            let set = configs.set(&config.name, value);
            set.map_err(|reason| (ResponseError::InvalidConfig, reason))?;
        }
    }
    let (partitions, replication_factor) = if topic.assignments.is_empty() {
        (topic.num_partitions, topic.replication_factor)
    } else {
        // Where the replicas are is this broker's choice; how many there are is not.
        let replicas = topic.assignments.first().map_or(0, |first| first.broker_ids.len());
        (
            count(topic.assignments.len()),
            i16::try_from(replicas).unwrap_or(i16::MAX),
        )
    };
    let new = NewTopic {
        name: topic.name.to_string(),
        partitions,
        replication_factor,
        configs,
    };
    let (partitions, replication_factor) = call.cluster.check_new(&new)?;
    if validate_only {
        return Ok((partitions, replication_factor, new.configs, uuid::Uuid::nil()));
    }
    let id = call.cluster.create_topic(&new)?.id;
    Ok((partitions, replication_factor, new.configs, id))
}

fn shown(configs: &TopicConfigs) -> Vec<CreatableTopicConfigs> {
    /// Where a value comes from, as in DescribeConfigs.
    const FROM_TOPIC: i8 = 1;
    const FROM_DEFAULT: i8 = 5;
    let all = DEFINITIONS.iter().map(|definition| {
        let explicit = configs.explicit(definition.name);
        CreatableTopicConfigs::default()
            .with_name(text(definition.name))
            .with_value(Some(text(explicit.unwrap_or(definition.default))))
            .with_config_source(explicit.map_or(FROM_DEFAULT, |_| FROM_TOPIC))
    });
    all.collect()
}

pub(super) async fn delete(call: &Call<'_>, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = request
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState::default().with_name(Some(name)));
    let responses = request.topics.into_iter().chain(by_name).map(|topic| {
        let reference = match &topic.name {
            Some(name) => TopicRef::Name(name.to_string()),
            None => TopicRef::Id(topic.topic_id),
        };
        let deleted = call
            .check_fault()
            .map_err(refused)
            .and_then(|()| call.cluster.delete_topic(&reference));
        match deleted {
            Ok(deleted) => DeletableTopicResult::default()
                .with_name(Some(text(&deleted.name).into()))
                .with_topic_id(deleted.id),
            Err((code, reason)) => DeletableTopicResult::default()
                .with_name(topic.name)
                .with_topic_id(topic.topic_id)
                .with_error_code(code.code())
                .with_error_message(Some(text(&reason))),
        }
    });
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

pub(super) async fn create_partitions(call: &Call<'_>, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let results = request.topics.into_iter().map(|topic| {
        let grown = call
            .check_fault()
            .map_err(refused)
            .and_then(|()| call.cluster.grow_topic(&topic.name, topic.count, request.validate_only));
        let result = CreatePartitionsTopicResult::default().with_name(topic.name);
        match grown {
            Ok(()) => result,
            Err((code, reason)) => result
                .with_error_code(code.code())
                .with_error_message(Some(text(&reason))),
        }
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}
