//! Settings of topics: shown and changed. Those of brokers are shown only.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResourceResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::super::cluster::{Refusal, Topic, TopicRef};
use super::super::configs::{DEFINITIONS, TopicConfigs, definition, items};
use super::super::wire::text;
use super::Call;

/// What a setting belongs to.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value comes from.
const FROM_TOPIC: i8 = 1;
const FROM_BROKER: i8 = 4;
const FROM_DEFAULT: i8 = 5;
/// Types of values.
const BOOL: i8 = 1;
const STRING: i8 = 2;
const INT: i8 = 3;
const LONG: i8 = 5;

pub(super) async fn describe(call: &Call<'_>, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.into_iter().map(|resource| {
        let described = described(call, &resource, request.include_synonyms);
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name);
        match described {
            Ok(configs) => result.with_configs(configs),
            Err((code, reason)) => result
                .with_error_code(code.code())
                .with_error_message(Some(text(&reason))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn described(
    call: &Call<'_>,
    resource: &DescribeConfigsResource,
    includes_synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    call.check_fault().map_err(refused)?;
    let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
    let is_wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name));
    match resource.resource_type {
        TOPIC => {
            let configs = topic(call, &resource.resource_name)?.configs();
            let wanted = DEFINITIONS.iter().filter(|definition| is_wanted(definition.name));
            Ok(wanted
                .map(|definition| {
                    let explicit = configs.explicit(definition.name);
                    let value = explicit.unwrap_or(definition.default);
                    let source = explicit.map_or(FROM_DEFAULT, |_| FROM_TOPIC);
                    config(
                        call,
                        definition.name,
                        value,
                        source,
                        definition.wire_type(),
                        includes_synonyms,
                    )
                })
                .collect())
        }
        BROKER => {
            let all = broker_configs(call).into_iter().filter(|(name, _, _)| is_wanted(name));
            Ok(all
                .map(|(name, value, kind)| {
                    let shown = config(call, name, &value, FROM_BROKER, kind, includes_synonyms);
                    shown.with_read_only(true)
                })
                .collect())
        }
        other => Err(unsupported(other)),
    }
}

fn config(
    call: &Call<'_>,
    name: &str,
    value: &str,
    source: i8,
    kind: i8,
    includes_synonyms: bool,
) -> DescribeConfigsResourceResult {
    let synonym = || {
        DescribeConfigsSynonym::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_source(source)
    };
    let shown = DescribeConfigsResourceResult::default()
        .with_name(text(name))
        .with_value(Some(text(value)))
        .with_config_source(source)
        .with_synonyms(if includes_synonyms { vec![synonym()] } else { Vec::new() });
    if call.version >= 3 {
        shown.with_config_type(kind)
    } else {
        shown
    }
}

/// What clients and tools look for.
fn broker_configs(call: &Call<'_>) -> Vec<(&'static str, String, i8)> {
    let settings = &call.cluster.settings;
    let dirs = settings
        .data_dir
        .as_ref()
        .map(|dir| dir.display().to_string())
        .unwrap_or_default();
    let replication = call.cluster.nodes().len().min(3).to_string();
    vec![
        (
            "auto.create.topics.enable",
            settings.auto_create_topics.to_string(),
            BOOL,
        ),
        ("broker.id", call.node.to_string(), INT),
        ("default.replication.factor", replication, INT),
        ("log.dirs", dirs, STRING),
        ("log.retention.bytes", settings.topic_bytes.to_string(), LONG),
        ("node.id", call.node.to_string(), INT),
        ("num.partitions", settings.default_partitions.to_string(), INT),
        ("socket.request.max.bytes", settings.max_request_bytes.to_string(), INT),
    ]
}

fn refused(code: ResponseError) -> Refusal {
    (code, code.to_string())
}

fn unsupported(resource_type: i8) -> Refusal {
    let reason = format!("a development broker has no settings of resources of type {resource_type}");
    (ResponseError::InvalidRequest, reason)
}

fn topic(call: &Call<'_>, name: &str) -> Result<Arc<Topic>, Refusal> {
    let found = call.cluster.find(&TopicRef::Name(name.to_owned()));
    found.map_err(|code| (code, format!("The topic '{name}' does not exist.")))
}

pub(super) async fn alter(call: &Call<'_>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let responses = request.resources.into_iter().map(|resource| {
        let altered = change(
            call,
            resource.resource_type,
            &resource.resource_name,
            request.validate_only,
            |configs| {
                // What is not named has its default again.
                configs.clear();
                resource.configs.iter().try_for_each(|config| {
                    config
                        .value
                        .as_ref()
                        .map_or(Ok(()), |value| configs.set(&config.name, value))
                })
            },
        );
        let (code, reason) = outcome(altered);
        AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_error_code(code)
            .with_error_message(reason.as_deref().map(text))
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

pub(super) async fn alter_incrementally(
    call: &Call<'_>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let responses = request.resources.into_iter().map(|resource| {
        let altered = change(
            call,
            resource.resource_type,
            &resource.resource_name,
            request.validate_only,
            |configs| {
                resource
                    .configs
                    .iter()
                    .try_for_each(|config| alter_one(configs, config))
            },
        );
        let (code, reason) = outcome(altered);
        IncrementalResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_error_code(code)
            .with_error_message(reason.as_deref().map(text))
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn outcome(altered: Result<(), Refusal>) -> (i16, Option<String>) {
    match altered {
        Ok(()) => (0, None),
        Err((code, reason)) => (code.code(), Some(reason)),
    }
}

fn change(
    call: &Call<'_>,
    resource_type: i8,
    name: &str,
    validate_only: bool,
    change: impl FnOnce(&mut TopicConfigs) -> Result<(), String>,
) -> Result<(), Refusal> {
    call.check_fault().map_err(refused)?;
    if resource_type != TOPIC {
        return Err(unsupported(resource_type));
    }
    let topic = topic(call, name)?;
    let mut configs = TopicConfigs::clone(&topic.configs());
    change(&mut configs).map_err(|reason| (ResponseError::InvalidConfig, reason))?;
    if validate_only {
        return Ok(());
    }
    call.cluster.set_configs(&topic, configs)
}

/// One of SET, DELETE, APPEND, SUBTRACT (KIP-339).
fn alter_one(configs: &mut TopicConfigs, config: &AlterableConfig) -> Result<(), String> {
    let name = config.name.as_str();
    let known = definition(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    let value = || config.value.as_deref().ok_or_else(|| format!("no value for {name}"));
    let current = || configs.explicit(name).unwrap_or(known.default).to_owned();
    match config.config_operation {
        0 => configs.set(name, value()?),
        1 => {
            configs.remove(name);
            Ok(())
        }
        2 | 3 if !known.is_list() => Err(format!("{name} is no list")),
        2 => {
            let current = current();
            let mut all: Vec<&str> = items(&current).collect();
            all.extend(items(value()?).filter(|item| !items(&current).any(|has| has == *item)));
            configs.set(name, &all.join(","))
        }
        3 => {
            let (current, value) = (current(), value()?);
            let left: Vec<&str> = items(&current)
                .filter(|item| !items(value).any(|goes| goes == *item))
                .collect();
            configs.set(name, &left.join(","))
        }
        other => Err(format!("{other} is no operation on a setting")),
    }
}
