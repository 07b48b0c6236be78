//! The settings that every connector has, whatever its class.

use klamm_connect_api::config::{Validator, Width};
use klamm_connect_api::{ConfigDef, ConfigKey, ConfigType, Importance};

use super::format::InputFormat;
use super::letters::report_def;
use crate::plugins::Plugins;

/// Confluent Cloud's short forms for converters.
pub(super) const VALUE_FORMAT: &str = "input.data.format";
pub(super) const KEY_FORMAT: &str = "input.key.format";

fn format_key(name: &str, doc: &str) -> ConfigKey {
    ConfigKey::new(name, ConfigType::String, Importance::Medium, doc)
        .optional()
        .validator(Validator::new(|format| match InputFormat::of(format) {
            Some(_) => Ok(()),
            None => Err(InputFormat::known()),
        }))
}

/// What every connector has, before the connector's own settings.
pub(super) fn common_def(plugins: &Plugins) -> ConfigDef {
    let key = |name: &str, config_type, importance, doc: &str| ConfigKey::new(name, config_type, importance, doc);
    let converters: Vec<&str> = plugins.converters().iter().map(|plugin| plugin.info.class).collect();
    let header_converters: Vec<&str> = plugins
        .header_converters()
        .iter()
        .map(|plugin| plugin.info.class)
        .collect();
    ConfigDef::new()
        .key(
            key("name", ConfigType::String, Importance::High, "Name of the connector; unique.")
                .validator(Validator::new(check_name))
                .display("Connector name", Width::Medium),
        )
        .key(
            key("connector.class", ConfigType::String, Importance::High, "Class name or alias of the connector.")
                .display("Connector class", Width::Long),
        )
        .key(
            key("connector.plugin.version", ConfigType::String, Importance::Medium, "Version of the connector. There is one of each, so this changes nothing.")
                .optional()
                .display("Connector version", Width::Medium),
        )
        .key(
            key("tasks.max", ConfigType::Int, Importance::High, "Most tasks of this connector. One task can use every call that its routes allow; more tasks spread the partitions over workers.")
                .default("1")
                .validator(Validator::between(1, 10_000))
                .display("Tasks max", Width::Short),
        )
        .key(
            key("tasks.max.enforce", ConfigType::Boolean, Importance::Low, "Accepted for Connect's sake: there are never more tasks than `tasks.max`.")
                .default("true")
                .display("Enforce tasks max", Width::Short),
        )
        .key(
            key("task.restart.policy", ConfigType::String, Importance::Medium, "What follows the failure of a task: `none`, it stays FAILED until a person restarts it, as in Connect; `backoff`, it starts again after 1 minute, which doubles with each failure up to 30.")
                .default("none")
                .validator(Validator::one_of(&["none", "backoff"]))
                .display("Task restart policy", Width::Short),
        )
        .key(
            key("key.converter", ConfigType::Class, Importance::Low, "Converter of record keys; the worker's if not set.")
                .optional()
                .recommended(converters.clone())
                .display("Key converter class", Width::Short),
        )
        .key(
            key("key.converter.plugin.version", ConfigType::String, Importance::Low, "Version of the converter. There is one of each, so this changes nothing.")
                .optional()
                .display("Key converter version", Width::Short),
        )
        .key(
            key("value.converter", ConfigType::Class, Importance::Low, "Converter of record values; the worker's if not set.")
                .optional()
                .recommended(converters)
                .display("Value converter class", Width::Short),
        )
        .key(
            key("value.converter.plugin.version", ConfigType::String, Importance::Low, "Version of the converter. There is one of each, so this changes nothing.")
                .optional()
                .display("Value converter version", Width::Short),
        )
        .key(
            key("header.converter", ConfigType::Class, Importance::Low, "Converter of header values; the worker's if not set.")
                .optional()
                .recommended(header_converters)
                .display("Header converter class", Width::Short),
        )
        .key(
            key("header.converter.plugin.version", ConfigType::String, Importance::Low, "Version of the converter. There is one of each, so this changes nothing.")
                .optional()
                .display("Header converter version", Width::Short),
        )
        .key(format_key(
            VALUE_FORMAT,
            "Confluent Cloud's short form for `value.converter` and its settings: AVRO, JSON_SR, PROTOBUF, JSON (without \
             schema), STRING or BYTES. Settings of the schema registry are taken from `schema.registry.url` and its kin \
             beside it, from `value.converter.*`, or else from the worker's converter.",
        ))
        .key(format_key(
            KEY_FORMAT,
            "Confluent Cloud's short form for `key.converter` and its settings, as `input.data.format`.",
        ))
        .key(
            key("config.action.reload", ConfigType::String, Importance::Low, "What follows a change of an outside configuration: `restart` or `none`.")
                .default("restart")
                .validator(Validator::one_of(&["none", "restart"]))
                .display("Reload Action", Width::Medium),
        )
}

/// `errors.*`
pub(super) fn error_def() -> ConfigDef {
    let key = |name: &str, config_type, doc: &str| {
        ConfigKey::new(name, config_type, Importance::Medium, doc).group("Error Handling")
    };
    ConfigDef::new()
        .key(
            key("errors.retry.timeout", ConfigType::Long, "How long a conversion or transform that may pass is tried again, in milliseconds; -1 is for ever.")
                .default("0")
                .validator(Validator::at_least(-1))
                .display("Retry Timeout for Errors", Width::Medium),
        )
        .key(
            key("errors.retry.delay.max.ms", ConfigType::Long, "Longest delay between two such tries, in milliseconds.")
                .default("60000")
                .validator(Validator::at_least(1))
                .display("Maximum Delay Between Retries for Errors", Width::Medium),
        )
        .key(
            key("errors.tolerance", ConfigType::String, "What happens to a record that cannot be converted or transformed: `none` fails the task, `all` writes the record to the dead letter queue, or skips it if there is none.")
                .default("none")
                .validator(Validator::one_of(&["none", "all"]))
                .display("Error Tolerance", Width::Short),
        )
        .key(
            key("errors.log.enable", ConfigType::Boolean, "Whether each such record has a line in the log.")
                .default("false")
                .display("Log Errors", Width::Short),
        )
        .key(
            key("errors.log.include.messages", ConfigType::Boolean, "Whether the line names topic, partition, offset and timestamp of the record.")
                .default("false")
                .display("Log Error Details", Width::Short),
        )
}

/// What every sink connector has.
pub(super) fn sink_def() -> ConfigDef {
    ConfigDef::new()
        .key(
            ConfigKey::new("topics", ConfigType::List, Importance::High, "Topics to consume, with commas between them.")
                .default("")
                .display("Topics", Width::Long),
        )
        .key(
            ConfigKey::new("topics.regex", ConfigType::String, Importance::High, "Java regular expression that matches the whole name of each topic to consume.")
                .default("")
                .display("Topics regex", Width::Long),
        )
        .key(
            ConfigKey::new("errors.deadletterqueue.topic.name", ConfigType::String, Importance::Medium, "Topic for records that cannot be converted or transformed under `errors.tolerance=all`, or delivered under `behavior.on.error=dlq`. Empty: none. It is made with one partition if it is not there.")
                .group("Error Handling")
                .default("")
                .display("Dead Letter Queue Topic Name", Width::Medium),
        )
        .key(
            ConfigKey::new("errors.deadletterqueue.topic.replication.factor", ConfigType::Short, Importance::Medium, "Replicas of the dead letter queue's topic if it has to be made; -1 is the broker's default.")
                .group("Error Handling")
                .default("3")
                .validator(Validator::at_least(-1))
                .display("Dead Letter Queue Topic Replication Factor", Width::Medium),
        )
        .key(
            ConfigKey::new("errors.deadletterqueue.context.headers.enable", ConfigType::Boolean, Importance::Medium, "Whether dead letters tell where they come from and why, in headers `__connect.errors.*` and `__klamm.errors.*` behind their own.")
                .group("Error Handling")
                .default("false")
                .display("Enable Error Context Headers", Width::Medium),
        )
}

/// The settings that every connector has, whatever its class.
#[must_use]
pub fn connector_config_def(plugins: &Plugins) -> ConfigDef {
    let mut keys = vec![
        common_def(plugins),
        klamm_smt::chain_config_def(),
        error_def(),
        sink_def(),
        report_def(),
    ];
    keys.extend(plugins.failure_destinations().iter().map(|kind| kind.config_def()));
    ConfigDef::new().with(keys.iter().flat_map(|def| def.keys().iter().cloned()))
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("String may not be empty".to_owned());
    }
    let control: Vec<String> = name
        .chars()
        .filter(|c| (*c as u32) < 32 || *c as u32 == 127)
        .map(|c| (c as u32).to_string())
        .collect();
    if control.is_empty() {
        return Ok(());
    }
    Err(format!(
        "String may not contain control sequences but had the following ASCII chars: {}",
        control.join(", ")
    ))
}
