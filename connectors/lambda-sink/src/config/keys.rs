//! The definition: every key, connector-wide and per route.

use klamm_connect_api::config::Validator;
use klamm_connect_api::delivery::config_keys;
use klamm_connect_api::{ConfigDef, ConfigKey, ConfigType, Importance, RawConfig, Rendering};
use klamm_java_compat::Pattern;

use super::function::{FunctionRef, is_region};
use super::{Flavour, MAX_ANSWER_BYTES};

const LAMBDA: &str = "AWS Lambda";
const ROUTES: &str = "Routes";

/// The whole definition for one configuration: the aliases in `routes` bring their keys, the class its defaults.
pub(crate) fn definition(raw: &RawConfig) -> ConfigDef {
    let flavour = Flavour::of(raw);
    let mut def = ConfigDef::new()
        .with(destination_keys())
        .with(shared_keys(flavour))
        .with(Rendering::config_keys())
        .with(delivery_keys(flavour))
        .key(
            key(
                "routes",
                ConfigType::List,
                Importance::Medium,
                "Aliases of the routes, each configured under `routes.<alias>.`: `topics` or `topics.regex`, `function`, \
                 `invocation.type`, and any setting that differs from the connector's.",
            )
            .optional()
            .validator(Validator::new(check_alias))
            .group(ROUTES),
        );
    for alias in aliases(raw) {
        def = def.with(route_keys(&alias, flavour));
    }
    def
}

/// The valid aliases that `routes` lists, each once.
pub(super) fn aliases(raw: &RawConfig) -> Vec<String> {
    let mut aliases = Vec::new();
    for alias in raw
        .get("routes")
        .into_iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
    {
        if check_alias(alias).is_ok() && !aliases.iter().any(|known| known == alias) {
            aliases.push(alias.to_owned());
        }
    }
    aliases
}

/// The keys below `routes.<alias>.`, without that prefix.
pub(super) fn route_key_names() -> Vec<String> {
    route_keys("", Flavour::Confluent)
        .into_iter()
        .filter_map(|key| key.name.strip_prefix("routes..").map(str::to_owned))
        .collect()
}

fn key(name: &str, config_type: ConfigType, importance: Importance, doc: &str) -> ConfigKey {
    ConfigKey::new(name, config_type, importance, doc).group(LAMBDA)
}

/// Which functions there are: keys that make no sense per route.
fn destination_keys() -> Vec<ConfigKey> {
    vec![
        key(
            "aws.lambda.function.name",
            ConfigType::String,
            Importance::High,
            "The function that takes the records of all topics: its name, partial or full ARN, with `:<version or alias>` \
             if need be.",
        )
        .optional()
        .validator(function_validator())
        .aliases(&["aws.lambda.function.arn"]),
        key(
            "aws.lambda.configuration.mode",
            ConfigType::String,
            Importance::Medium,
            "`single`: one function, `aws.lambda.function.name`. `multiple`: functions by topic, \
             `aws.lambda.topic2function.map`.",
        )
        .default("single")
        .validator(Validator::one_of(&["single", "multiple"]))
        .recommended(["single", "multiple"]),
        key(
            "aws.lambda.topic2function.map",
            ConfigType::List,
            Importance::High,
            "Functions by topic, as `<topic>;<function>,<topic>;<function>:<version or alias>`. A topic that stands twice \
             goes to both functions.",
        )
        .optional()
        .validator(Validator::new(|entry| parse_map_entry(entry).map(|_| ()))),
        key(
            "authentication.method",
            ConfigType::String,
            Importance::Low,
            "`Access Keys`: `aws.access.key.id` and `aws.secret.access.key`. Left out with both keys left out: the AWS \
             default chain (environment, profile, web identity, container, instance).",
        )
        .optional()
        .validator(Validator::new(|text| {
            if text.eq_ignore_ascii_case("Access Keys") {
                Ok(())
            } else {
                Err("accepted is `Access Keys`; for a role leave this and both keys out, and let the AWS default chain \
                     take it from the environment, a profile, a web identity or the instance"
                    .to_owned())
            }
        })),
    ]
}

/// Keys that stand connector-wide and, under `routes.<alias>.`, for one route.
fn shared_keys(flavour: Flavour) -> Vec<ConfigKey> {
    let event_format = key(
        "event.format",
        ConfigType::String,
        Importance::Medium,
        "What a function gets: `confluent`, an array of `{\"payload\": …}`; or `esm`, the event of Lambda's own event source \
         mapping for Kafka, with `batchItemFailures` understood in the answer.",
    )
    .validator(Validator::new(|text| match text.to_ascii_lowercase().as_str() {
        "confluent" | "esm" => Ok(()),
        "nordstrom" | "raw" | "cloudevents" => {
            Err("this format is not supported yet: accepted are `confluent` and `esm`".to_owned())
        }
        _ => Err("accepted are `confluent` and `esm`".to_owned()),
    }))
    .recommended(["confluent", "esm"]);
    vec![
        key(
            "aws.lambda.region",
            ConfigType::String,
            Importance::High,
            "Region of the functions. Default: that of the function's ARN, else AWS_REGION or AWS_DEFAULT_REGION.",
        )
        .optional()
        .aliases(&["aws.region"])
        .validator(Validator::new(|text| {
            if is_region(text) { Ok(()) } else { Err("accepted is a region's id, such as `eu-central-1`".to_owned()) }
        })),
        key("aws.access.key.id", ConfigType::Password, Importance::High, "Id of a static access key.").optional(),
        key("aws.secret.access.key", ConfigType::Password, Importance::High, "Secret of the static access key.").optional(),
        key("aws.session.token", ConfigType::Password, Importance::Low, "Session token of a temporary access key.").optional(),
        key(
            "aws.lambda.invocation.type",
            ConfigType::String,
            Importance::Medium,
            "`sync`: a call ends when the function has, and its failures are seen. `async`: Lambda queues the records, and \
             what it does afterwards is not seen.",
        )
        .default("sync")
        .validator(Validator::one_of(&["sync", "async"]))
        .recommended(["sync", "async"])
        .aliases(&["aws.lambda.invocation.mode"]),
        key(
            "aws.lambda.socket.timeout",
            ConfigType::Int,
            Importance::Medium,
            "Longest wait for an answer, in milliseconds. Longer than the function's own time-out, or a call that still runs \
             is sent again.",
        )
        .default(if flavour == Flavour::Nordstrom { "300000" } else { "50000" })
        .validator(Validator::between(1000, 900_000))
        .aliases(&["aws.lambda.invocation.timeout.ms"]),
        key(
            "aws.lambda.endpoint",
            ConfigType::String,
            Importance::Low,
            "Base URL of the Invoke API. Default: AWS_ENDPOINT_URL_LAMBDA or AWS_ENDPOINT_URL, else the region's own.",
        )
        .optional()
        .validator(Validator::new(|text| super::parse_endpoint(text).map(|_| ()))),
        key(
            "aws.lambda.response.max.bytes",
            ConfigType::Int,
            Importance::Low,
            "Bytes of an answer that are read; the rest is skipped. Default: 65536, and 6291456 for `event.format=esm`, whose \
             answers are parsed.",
        )
        .optional()
        .validator(Validator::between(1024, MAX_ANSWER_BYTES)),
        key(
            "record.converter.class",
            ConfigType::String,
            Importance::Low,
            "How `event.format=confluent` shows keys and values without a schema: `JsonKeyValueConverter` as JSON, \
             `EscapedJsonKeyValueConverter` as JSON text inside a string.",
        )
        .default("io.confluent.connect.aws.lambda.converters.JsonKeyValueConverter")
        .validator(Validator::new(|text| super::parse_record_converter(text).map(|_| ()))),
        match flavour {
            // Nordstrom's functions expect a payload of their own, so none is chosen for them.
            Flavour::Nordstrom => event_format.optional(),
            Flavour::Confluent | Flavour::Cloud => event_format.default("confluent"),
        },
        key(
            "esm.event.source.arn",
            ConfigType::String,
            Importance::Low,
            "`eventSourceArn` of `event.format=esm`, such as an MSK cluster's ARN: the event is then that of \
             `aws:kafka`, else that of `SelfManagedKafka`.",
        )
        .optional()
        .validator(Validator::non_empty()),
    ]
}

fn delivery_keys(flavour: Flavour) -> Vec<ConfigKey> {
    let error_policy = if flavour == Flavour::Cloud { "log" } else { "fail" };
    config_keys(&["aws.lambda.batch.size"], error_policy)
        .into_iter()
        .map(|key| match key.name.as_str() {
            "delivery.retry.backoff.ms" => key.aliases(&["retry.backoff.millis"]),
            _ => key,
        })
        .collect()
}

fn route_keys(alias: &str, flavour: Flavour) -> Vec<ConfigKey> {
    let named = |name: &str, config_type, doc: &str| {
        ConfigKey::new(format!("routes.{alias}.{name}"), config_type, Importance::Medium, doc).group(ROUTES)
    };
    let mut keys = vec![
        named("topics", ConfigType::List, "Topics whose records take this route.").optional(),
        named(
            "topics.regex",
            ConfigType::String,
            "Regular expression of the topics whose records take this route.",
        )
        .optional()
        .validator(Validator::new(|text| topic_regex(text).map(|_| ()))),
        named(
            "function",
            ConfigType::String,
            "The route's function: name, partial or full ARN.",
        )
        .validator(function_validator()),
    ];
    let shared = [shared_keys(flavour), Rendering::config_keys(), delivery_keys(flavour)];
    for mut key in shared.into_iter().flatten() {
        let name = match key.name.as_str() {
            "aws.lambda.invocation.type" => "invocation.type",
            name => name,
        };
        key.documentation = format!("`{}` of this route.", key.name);
        key.name = format!("routes.{alias}.{name}");
        // Without a default, so that what is not set here falls back on the connector's setting.
        key.default = None;
        key.aliases = &[];
        keys.push(key.optional().group(ROUTES));
    }
    keys
}

fn check_alias(alias: &str) -> Result<(), String> {
    if !alias.is_empty()
        && alias
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    {
        Ok(())
    } else {
        Err(format!(
            "`{alias}` is no alias: accepted are letters, digits, `-` and `_`"
        ))
    }
}

fn function_validator() -> Validator {
    Validator::new(|text| FunctionRef::parse(text).map(|_| ()))
}

/// A regular expression that a whole topic name has to match, as Kafka's `topics.regex`.
pub(super) fn topic_regex(text: &str) -> Result<Pattern, String> {
    Pattern::try_new(text)
        .map_err(|error| format!("`{text}` is no regular expression: {}", one_line(&error.to_string())))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One entry of `aws.lambda.topic2function.map`.
pub(super) fn parse_map_entry(entry: &str) -> Result<(&str, FunctionRef), String> {
    const ACCEPTED: &str = "accepted is `<topic>;<function>`, with commas between entries";
    let Some((topic, function)) = entry.split_once(';') else {
        return Err(format!("entry `{entry}` names no function: {ACCEPTED}"));
    };
    let (topic, function) = (topic.trim(), function.trim());
    let is_topic_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if topic.is_empty() || topic.len() > 249 || !topic.bytes().all(is_topic_byte) {
        return Err(format!("entry `{entry}` names no topic: {ACCEPTED}"));
    }
    if function.is_empty() {
        return Err(format!("entry `{entry}` names no function: {ACCEPTED}"));
    }
    Ok((
        topic,
        FunctionRef::parse(function).map_err(|error| format!("entry `{entry}`: {error}"))?,
    ))
}
