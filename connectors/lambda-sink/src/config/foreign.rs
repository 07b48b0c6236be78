//! Keys of the connectors that a configuration may come from, which have no meaning here. What would change how or
//! whether records arrive is refused; the rest is named once in the log.

use klamm_connect_api::{ConfigError, RawConfig};

/// What happens to a foreign key.
pub(super) enum Treatment {
    /// Harmless: named in the log.
    Ignored(&'static str),
    /// Would change what is delivered: the text says what to do.
    Refused(&'static str),
    /// Says what happens here anyway.
    Agrees,
}
use Treatment::{Agrees, Ignored, Refused};

/// The foreign keys that `raw` sets and that are refused.
pub(super) fn errors(raw: &RawConfig) -> Vec<ConfigError> {
    raw.iter()
        .filter_map(|(key, value)| match treatment(raw, key, value.trim())? {
            Refused(what_to_do) => Some(ConfigError::new(key, what_to_do)),
            Ignored(_) | Agrees => None,
        })
        .collect()
}

/// What happens to a foreign key; none if the key is not foreign.
pub(super) fn treatment(raw: &RawConfig, key: &str, value: &str) -> Option<Treatment> {
    let unless_blank = |why| if value.is_empty() { Agrees } else { Refused(why) };
    let is_false = value.eq_ignore_ascii_case("false");
    let treatment = match key {
        // The runtime makes the converters, and takes the registry's settings with them.
        "input.data.format" | "input.key.format" => Agrees,
        "schema.context.name" if has_format(raw) => Agrees,
        _ if has_format(raw) && REGISTRY.iter().any(|start| key.starts_with(start)) => Agrees,
        "aws.lambda.proxy.user" | "aws.lambda.proxy.password" if is_blank(raw, "aws.lambda.proxy.url") => Agrees,
        "aws.lambda.proxy.url"
        | "aws.lambda.proxy.user"
        | "aws.lambda.proxy.password"
        | "http.proxy.host"
        | "http.proxy.port" => {
            unless_blank("proxies are not supported yet: leave it out and let the worker reach the endpoint directly")
        }
        "provider.integration.id" => unless_blank(
            "provider integrations exist in Confluent Cloud only: use `aws.access.key.id` and `aws.secret.access.key`, or \
             leave the keys out for the AWS default chain",
        ),
        "secret.manager.enabled" if is_false => Agrees,
        "secret.manager.enabled"
        | "secret.manager"
        | "secret.manager.managed.configs"
        | "secret.manager.provider.integration.id" => {
            if raw
                .get("secret.manager.enabled")
                .is_none_or(|text| text.trim().eq_ignore_ascii_case("false"))
            {
                Agrees
            } else {
                Refused("secret managers exist in Confluent Cloud only: give the secret itself")
            }
        }
        "schema.context.name" if value == "default" => Agrees,
        "schema.context.name" => unless_blank("schema contexts are not supported here: set them on the converter"),
        "aws.credentials.provider.class" => {
            let simple = value.rsplit('.').next().unwrap_or(value);
            let takes_a_role = simple.eq_ignore_ascii_case("AwsAssumeRoleCredentialsProvider");
            if matches!(
                simple,
                "" | "DefaultCredentialsProvider" | "DefaultAWSCredentialsProviderChain"
            ) || takes_a_role && ROLE_KEYS.iter().any(|key| !is_blank(raw, key))
            {
                Agrees
            } else {
                Refused(
                    "classes cannot be loaded: leave it out for the AWS default chain, and set `aws.role.arn` for a role to \
                     assume",
                )
            }
        }
        "aws.lambda.invocation.failure.mode" if value.eq_ignore_ascii_case("stop") => Agrees,
        "aws.lambda.invocation.failure.mode" => {
            Refused("accepted is STOP: to drop what cannot be delivered set `behavior.on.error=log` or `ignore`")
        }
        "aws.lambda.batch.enabled" if is_false => {
            let is_batched = |key: &&str| raw.get(*key).is_some_and(|size| size.trim() != "1");
            if ["delivery.batch.size", "aws.lambda.batch.size"].iter().any(is_batched) {
                Refused("`delivery.batch.size` says otherwise: leave one of them out")
            } else {
                // It is what the batch size defaults to 1 for.
                Agrees
            }
        }
        "aws.lambda.batch.enabled" => Agrees,
        "retries.max" => {
            Refused("set `delivery.retry.max.attempts` instead, which counts the first call too: one more than retries")
        }
        "retriable.error.codes" => Ignored("server errors and throttles are always sent again"),
        "kafka.auth.mode" | "kafka.api.key" | "kafka.api.secret" | "kafka.service.account.id" => {
            Ignored("the worker's own Kafka settings and `consumer.override.*` count")
        }
        "auto.restart.on.user.error" => Ignored("set `task.restart.policy=backoff` to have failed tasks started again"),
        "connector.egress.whitelist" => Ignored("the worker's own network decides what it reaches"),
        "max.poll.interval.ms" | "max.poll.records" => {
            Ignored("there is no poll loop here: the `delivery.*` settings bound what is held and sent")
        }
        "delivery.buffer.bytes"
        | "delivery.buffer.records"
        | "delivery.window.records"
        | "delivery.limit.function.max"
        | "delivery.limit.account.max"
        | "delivery.limit.latency" => Ignored("it is a setting of the worker"),
        "aws.lambda.user.agent" => Ignored("the user agent is fixed"),
        _ if is_role_alias(key) => return None,
        _ if key.starts_with("aws.credentials.provider.") => {
            Refused("settings of a provider class are not supported: for a role set `aws.role.arn`")
        }
        "camel.kamelet.aws-lambda-sink.useDefaultCredentialsProvider"
        | "camel.kamelet.aws-lambda-sink.useSessionCredentials"
        | "camel.kamelet.aws-lambda-sink.overrideEndpoint" => Agrees,
        "camel.kamelet.aws-lambda-sink.useProfileCredentialsProvider" if is_false => Agrees,
        "camel.kamelet.aws-lambda-sink.useProfileCredentialsProvider"
        | "camel.kamelet.aws-lambda-sink.profileCredentialsName" => {
            unless_blank("profiles are chosen for the worker: start it with AWS_PROFILE, and leave this out")
        }
        _ if CAMEL_KEYS.contains(&key) => return None,
        _ if key.starts_with("camel.") => Refused("settings of Camel itself are not supported: leave it out"),
        _ if key.starts_with("aws.lambda.response.") && key != "aws.lambda.response.max.bytes" => {
            Refused("was replaced by `reporter.result.topic.name`, or `results.forward.topic.name`: set one of these")
        }
        _ if key.starts_with("reporter.admin.") => Ignored("topics are made through the producer's connections"),
        _ if key.starts_with("reporter.") && key.ends_with(".schemas.cache.size") => Ignored("reports have no schemas"),
        // Anything but false is refused where reports are checked.
        _ if key.starts_with("reporter.") && key.ends_with(".schemas.enable") => Agrees,
        _ if key.starts_with("confluent.") => Ignored("there is no licence to store"),
        _ => return None,
    };
    Some(treatment)
}

/// Beginnings of settings that the converters of Cloud's formats share.
const REGISTRY: [&str; 3] = ["schema.registry.", "basic.auth.", "bearer.auth."];

/// Camel's names of our settings.
const CAMEL_KEYS: [&str; 6] = [
    "camel.kamelet.aws-lambda-sink.function",
    "camel.kamelet.aws-lambda-sink.region",
    "camel.kamelet.aws-lambda-sink.accessKey",
    "camel.kamelet.aws-lambda-sink.secretKey",
    "camel.kamelet.aws-lambda-sink.sessionToken",
    "camel.kamelet.aws-lambda-sink.uriEndpointOverride",
];

/// Names of the role's ARN.
const ROLE_KEYS: [&str; 3] = [
    "aws.role.arn",
    "aws.credentials.provider.role.arn",
    "aws.credentials.provider.sts.role.arn",
];

/// Whether a provider class's setting is another name of one of ours.
fn is_role_alias(key: &str) -> bool {
    let Some(name) = key.strip_prefix("aws.credentials.provider.") else {
        return false;
    };
    matches!(
        name,
        "role.arn" | "session.name" | "external.id" | "sts.role.arn" | "sts.role.session.name" | "sts.role.external.id"
    )
}

fn has_format(raw: &RawConfig) -> bool {
    !is_blank(raw, "input.data.format") || !is_blank(raw, "input.key.format")
}

fn is_blank(raw: &RawConfig, key: &str) -> bool {
    raw.get(key).is_none_or(|value| value.trim().is_empty())
}
