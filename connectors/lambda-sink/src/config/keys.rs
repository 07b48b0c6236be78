//! The definition: every key, connector-wide and per route.

use klamm_connect_api::config::Validator;
use klamm_connect_api::delivery::config_keys;
use klamm_connect_api::{ConfigDef, ConfigKey, ConfigType, Importance, RawConfig, Rendering};
use klamm_java_compat::Pattern;

use super::function::{FunctionRef, FunctionTemplate, is_region, parse_weighted};
use super::plan::credentials::{ROLE_ARN, ROLE_EXTERNAL_ID, ROLE_SESSION};
use super::{EventFormat, Flavour, MAX_ANSWER_BYTES, cloud_events};
use crate::claim;

/// Whether functions are asked before there are records for them.
pub(crate) const PREFLIGHT: &str = "aws.lambda.preflight";
/// Other connectors' names for `aws.lambda.function.name`.
pub(super) const FUNCTION_ALIASES: [&str; 2] = ["aws.lambda.function.arn", "camel.kamelet.aws-lambda-sink.function"];
/// Other connectors' names for `aws.lambda.region`.
pub(super) const REGION_ALIASES: [&str; 2] = ["aws.region", "camel.kamelet.aws-lambda-sink.region"];
const LAMBDA: &str = "AWS Lambda";
const ROUTES: &str = "Routes";

/// The whole definition for one configuration: the aliases in `routes` bring their keys, the class its defaults.
pub(crate) fn definition(raw: &RawConfig) -> ConfigDef {
    let flavour = Flavour::of(raw);
    let mut def = ConfigDef::new()
        .with(destination_keys())
        .with(shared_keys(flavour))
        .with(Rendering::config_keys())
        .with(delivery_keys(raw, flavour))
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
        def = def.with(route_keys(&alias, raw, flavour));
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
    route_keys("", &RawConfig::new(), Flavour::Confluent)
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
        .aliases(&FUNCTION_ALIASES),
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
            PREFLIGHT,
            ConfigType::Boolean,
            Importance::Low,
            "Whether functions are asked, by a call that does not run them (`DryRun`), if they may be called: when the \
             configuration is checked or stored, and when the connector starts. Where `lambda:GetFunctionConfiguration` is \
             granted their time-outs are compared with `aws.lambda.socket.timeout`.",
        )
        .default("false"),
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
                Err("accepted is `Access Keys`; for a role leave this out and set `aws.role.arn`, or let the AWS default chain \
                     take it from a profile, a web identity or the instance"
                    .to_owned())
            }
        })),
    ]
}

/// Keys that stand connector-wide and, under `routes.<alias>.`, for one route.
fn shared_keys(flavour: Flavour) -> Vec<ConfigKey> {
    let shared = vec![
        key(
            "aws.lambda.region",
            ConfigType::String,
            Importance::High,
            "Region of the functions. Default: that of the function's ARN, else AWS_REGION or AWS_DEFAULT_REGION.",
        )
        .optional()
        .aliases(&REGION_ALIASES)
        .validator(Validator::new(check_region)),
        key("aws.access.key.id", ConfigType::Password, Importance::High, "Id of a static access key.")
            .optional()
            .aliases(&["camel.kamelet.aws-lambda-sink.accessKey"]),
        key("aws.secret.access.key", ConfigType::Password, Importance::High, "Secret of the static access key.")
            .optional()
            .aliases(&["camel.kamelet.aws-lambda-sink.secretKey"]),
        key("aws.session.token", ConfigType::Password, Importance::Low, "Session token of a temporary access key.")
            .optional()
            .aliases(&["camel.kamelet.aws-lambda-sink.sessionToken"]),
        key(
            ROLE_ARN,
            ConfigType::String,
            Importance::Medium,
            "ARN of a role that is assumed, with these credentials or those of the default chain, to call the functions.",
        )
        .optional()
        .aliases(&["aws.credentials.provider.role.arn", "aws.credentials.provider.sts.role.arn"])
        .validator(Validator::new(check_role_arn)),
        key(
            ROLE_SESSION,
            ConfigType::String,
            Importance::Low,
            "Name of the role's sessions, as CloudTrail shows it. Default: `klamm`.",
        )
        .optional()
        .aliases(&[
            "aws.credentials.provider.session.name",
            "aws.credentials.provider.sts.role.session.name",
        ])
        .validator(Validator::new(|text| check_sts_name(text, 2..=64, ""))),
        key(
            ROLE_EXTERNAL_ID,
            ConfigType::String,
            Importance::Low,
            "External id that the role's trust policy asks for.",
        )
        .optional()
        .aliases(&[
            "aws.credentials.provider.external.id",
            "aws.credentials.provider.sts.role.external.id",
        ])
        .validator(Validator::new(|text| check_sts_name(text, 2..=1224, ":/"))),
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
        .aliases(&["camel.kamelet.aws-lambda-sink.uriEndpointOverride"])
        .validator(Validator::new(|text| klamm_aws::parse_endpoint(text).map(|_| ()))),
        key(
            "aws.lambda.response.max.bytes",
            ConfigType::Int,
            Importance::Low,
            "Bytes of an answer that are read; the rest is skipped. Default: 65536, and 6291456 where \
             `response.format` reads answers, or they are reported or forwarded.",
        )
        .optional()
        .validator(Validator::between(1024, MAX_ANSWER_BYTES)),
        key(
            "aws.lambda.log.tail",
            ConfigType::Boolean,
            Importance::Low,
            "Whether synchronous calls ask for the end of the function's log, whose last line says for how long the call is \
             billed: the status extension and the metrics then tell billed time. Nothing else of the log is read.",
        )
        .default("false"),
        price(
            "aws.lambda.price.request",
            "Price of one call, for the estimated cost in the status extension and the metrics, in any currency, such as \
             `0.0000002`. Needs `aws.lambda.log.tail`.",
        ),
        price(
            "aws.lambda.price.gb.second",
            "Price of a second with one GB of memory, for the estimated cost in the status extension and the metrics, in the \
             currency of `aws.lambda.price.request`, such as `0.0000166667`. Needs `aws.lambda.log.tail`.",
        ),
        key(
            "record.converter.class",
            ConfigType::String,
            Importance::Low,
            "How `event.format=confluent` shows keys and values without a schema: `JsonKeyValueConverter` as JSON, \
             `EscapedJsonKeyValueConverter` as JSON text inside a string.",
        )
        .default("io.confluent.connect.aws.lambda.converters.JsonKeyValueConverter")
        .validator(Validator::new(|text| super::parse_record_converter(text).map(|_| ()))),
        key(
            "event.format",
            ConfigType::String,
            Importance::Medium,
            "What a function gets: `confluent`, an array of `{\"payload\": …}`; `esm`, the event of Lambda's own event source \
             mapping for Kafka; `nordstrom`, the records of Nordstrom's connector; `raw`, the values; `cloudevents`, CloudEvents \
             1.0. The last three are an array, or one record alone with `delivery.batch.size=1`. Default: `confluent`; \
             `nordstrom` for Nordstrom's class, `raw` for Camel's.",
        )
        .default(match flavour {
            Flavour::Confluent | Flavour::Cloud => "confluent",
            Flavour::Nordstrom => "nordstrom",
            Flavour::Camel => "raw",
        })
        .validator(Validator::one_of(&EventFormat::NAMES))
        .recommended(EventFormat::NAMES),
        key(
            "esm.event.source.arn",
            ConfigType::String,
            Importance::Low,
            "`eventSourceArn` of `event.format=esm`, such as an MSK cluster's ARN: the event is then that of \
             `aws:kafka`, else that of `aws:SelfManagedKafka`.",
        )
        .optional()
        .validator(Validator::non_empty()),
        key(
            "payload.formatter.class",
            ConfigType::String,
            Importance::Low,
            "How `event.format=nordstrom` shows keys and values: `PlainPayloadFormatter` as text, `JsonPayloadFormatter` as \
             JSON.",
        )
        .default("com.nordstrom.kafka.connect.formatters.PlainPayloadFormatter")
        .validator(Validator::new(|text| super::parse_formatter(text).map(|_| ()))),
        visibility_key("key"),
        visibility_key("value"),
        key(
            "payload.compression",
            ConfigType::String,
            Importance::Low,
            "`gzip`: a function gets `{\"encoding\":\"gzip+base64\",\"data\":\"…\"}` with the payload inside. Batches are cut as if \
             nothing compressed.",
        )
        .default("none")
        .validator(Validator::one_of(&["none", "gzip"]))
        .recommended(["none", "gzip"]),
        key(
            "response.format",
            ConfigType::String,
            Importance::Medium,
            "What a function's answer says about single records: `ignore`, nothing; `failures`, `batchItemFailures` names those \
             that failed; `results`, a list of `{\"payload\":{\"topic\",\"partition\",\"offset\",\"result\"}}` names those that did \
             not. What failed is sent again; an answer that cannot be understood fails the batch. Default: `failures` for \
             `event.format=esm`, else `ignore`.",
        )
        .optional()
        .validator(Validator::one_of(&["ignore", "failures", "results"]))
        .recommended(["ignore", "failures", "results"]),
        key(
            "aws.lambda.client.context",
            ConfigType::Boolean,
            Importance::Low,
            "Whether functions that are called synchronously find the batch in their client context (`custom`): `batchId`, \
             `connector`, `route`, `records`, `coordinates`, and `traceparent` and `tracestate` of the first record's headers.",
        )
        .default("false"),
        key(
            "aws.lambda.durable.execution",
            ConfigType::Boolean,
            Importance::Low,
            "Whether calls name a durable execution after the batch, so that a batch that is sent again finds the execution \
             that it has. For durable functions only.",
        )
        .default("false"),
        key(
            "aws.lambda.tenant.id",
            ConfigType::String,
            Importance::Low,
            "Tenant in whose environment a function with tenant isolation runs.",
        )
        .optional()
        .validator(Validator::new(check_tenant)),
    ];
    let claim_check = vec![
        key(
            claim::KEYS.destination,
            ConfigType::String,
            Importance::Medium,
            "S3 bucket for values that are too large for a call: `s3://<bucket>/<prefix>`, or the bucket's ARN with \
             `/<prefix>` behind it. They are put there before the call, and the record carries a reference in the value's \
             place. The credentials are those that call the function.",
        )
        .optional()
        // A route may have none where the connector has one.
        .validator(Validator::new(|text| if text.is_empty() { Ok(()) } else { klamm_aws::parse_bucket(text).map(|_| ()) })),
        key(
            claim::MIN_BYTES,
            ConfigType::Int,
            Importance::Low,
            "Records that are encoded to more bytes go to `claim.check.destination` although they would fit into a call. \
             Default: only those that do not.",
        )
        .optional()
        .validator(Validator::at_least(0)),
        key(
            claim::KEYS.region,
            ConfigType::String,
            Importance::Low,
            "Region of the bucket. Default: that of the function.",
        )
        .optional()
        .validator(Validator::new(check_region)),
        key(
            claim::KEYS.endpoint,
            ConfigType::String,
            Importance::Low,
            "Base URL of the bucket's API. Default: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, else the region's own.",
        )
        .optional()
        .validator(Validator::new(|text| klamm_aws::parse_endpoint(text).map(|_| ()))),
    ];
    let claim_check = claim_check.into_iter();
    let cloud_events = cloud_events::keys().into_iter().map(|key| key.group(LAMBDA));
    shared.into_iter().chain(claim_check).chain(cloud_events).collect()
}

/// What something costs; none means that no cost is estimated.
fn price(name: &str, doc: &str) -> ConfigKey {
    key(name, ConfigType::Double, Importance::Low, doc)
        .optional()
        .validator(Validator::new(|text| match text.parse::<f64>() {
            Ok(price) if price.is_finite() && price >= 0.0 => Ok(()),
            _ => Err("accepted is a number that is not negative".to_owned()),
        }))
}

/// `payload.formatter.{key,value}.schema.visibility`
fn visibility_key(part: &str) -> ConfigKey {
    key(
        &format!("payload.formatter.{part}.schema.visibility"),
        ConfigType::String,
        Importance::Low,
        &format!(
            "How much of the {part}'s schema `JsonPayloadFormatter` shows: `none`; `min`, name and version; `all`, the {part} in \
             Connect's envelope of schema and payload besides."
        ),
    )
    .default("min")
    .validator(Validator::one_of(&["none", "min", "all"]))
    .recommended(["none", "min", "all"])
}

fn delivery_keys(raw: &RawConfig, flavour: Flavour) -> Vec<ConfigKey> {
    let is_unbatched = raw
        .get("aws.lambda.batch.enabled")
        .is_some_and(|text| text.trim().eq_ignore_ascii_case("false"));
    let error_policy = if flavour == Flavour::Cloud { "log" } else { "fail" };
    config_keys(&["aws.lambda.batch.size"], error_policy)
        .into_iter()
        .map(|key| match key.name.as_str() {
            "delivery.retry.backoff.ms" => key.aliases(&["retry.backoff.millis"]),
            // Camel's connector knows no batches.
            "delivery.batch.size" if is_unbatched || flavour == Flavour::Camel => key.default("1"),
            _ => key,
        })
        .collect()
}

fn route_keys(alias: &str, raw: &RawConfig, flavour: Flavour) -> Vec<ConfigKey> {
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
            "The route's function: name, partial or full ARN, with `:<version or alias>` if need be. May hold `${topic}`, the \
             topic as consumed, together with `function.allow`.",
        )
        .optional()
        .validator(Validator::new(|text| {
            if FunctionTemplate::is_one(text) {
                FunctionTemplate::parse(text).map(|_| ())
            } else {
                FunctionRef::parse(text).map(|_| ())
            }
        })),
        named(
            "function.allow",
            ConfigType::String,
            "Regular expression of the functions that a `function` with `${topic}` may come to. A topic whose function it does \
             not match has none.",
        )
        .optional()
        .validator(Validator::new(|text| topic_regex(text).map(|_| ()))),
        named(
            "functions",
            ConfigType::List,
            "Several functions, versions or aliases that share the records by weight, as `<function>;<weight>`: \
             `order-fn:blue;9,order-fn:green;1`. A key's records all go to the same one. Needs `delivery.ordering` `key` or \
             `none`.",
        )
        .optional()
        .validator(Validator::new(|entry| parse_weighted(entry).map(|_| ()))),
        named(
            "predicate",
            ConfigType::String,
            "Name of a predicate in `predicates`: the route takes only records for which it holds.",
        )
        .optional(),
        named(
            "required",
            ConfigType::Boolean,
            "`false`: a shadow, whose failures hold no offsets. Its calls are made once, without splitting, unless the route \
             sets `delivery.retry.max.attempts` or `delivery.bisect`; throttles, outages and missing functions count as \
             failures too, and what fails is skipped with a line in the log, or as the route's `behavior.on.error` says, which \
             may not be `fail`.",
        )
        .optional(),
        named("negate", ConfigType::Boolean, "Take only records for which `predicate` does not hold.").optional(),
        named(
            "pattern",
            ConfigType::String,
            "An event pattern as of Amazon EventBridge, in the words of the predicate `EventPattern`: the route takes only \
             records that match it, such as `{\"value\":{\"state\":[\"paid\"]}}`.",
        )
        .optional(),
    ];
    let shared = [
        shared_keys(flavour),
        Rendering::config_keys(),
        delivery_keys(raw, flavour),
    ];
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

fn check_region(text: &str) -> Result<(), String> {
    if is_region(text) {
        Ok(())
    } else {
        Err("accepted is a region's id, such as `eu-central-1`".to_owned())
    }
}

fn check_role_arn(text: &str) -> Result<(), String> {
    let is_role = match text.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "iam", "", account, role] => {
            partition.starts_with("aws")
                && account.len() == 12
                && account.bytes().all(|byte| byte.is_ascii_digit())
                && role.strip_prefix("role/").is_some_and(|name| !name.is_empty())
        }
        _ => false,
    };
    if is_role {
        Ok(())
    } else {
        Err("accepted is a role's ARN, such as `arn:aws:iam::123456789012:role/lambda-caller`".to_owned())
    }
}

/// The names that STS takes: letters, digits and `_+=,.@-`, some with more.
fn check_sts_name(text: &str, length: std::ops::RangeInclusive<usize>, more: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) || more.contains(c);
    if length.contains(&text.len()) && text.chars().all(is_fine) {
        Ok(())
    } else {
        Err(format!(
            "accepted are {} to {} letters, digits and any of `_+=,.@-{more}`",
            length.start(),
            length.end()
        ))
    }
}

/// What `X-Amz-Tenant-Id` takes.
fn check_tenant(text: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "._:/=+-@ ".contains(c);
    if (1..=256).contains(&text.len()) && text.chars().all(is_fine) {
        Ok(())
    } else {
        Err("accepted are 1 to 256 letters, digits, spaces and any of `._:/=+-@`".to_owned())
    }
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
