//! What a configuration sets without effect, and what it leaves to a default that surprises.

use klamm_connect_api::config::nearest;
use klamm_connect_api::{ConfigDef, ConfigError, RawConfig};

use super::{Flavour, foreign};

/// Keys that belong to the framework: Connect's own as Connect spells them, and those of what is kept of records.
const FRAMEWORK: [&str; 36] = [
    "name",
    "connector.class",
    "connector.plugin.version",
    "tasks.max",
    "tasks.max.enforce",
    "task.restart.policy",
    "topics",
    "topics.regex",
    "config.action.reload",
    "errors.retry.timeout",
    "errors.retry.delay.max.ms",
    "errors.tolerance",
    "errors.log.enable",
    "errors.log.include.messages",
    "errors.deadletterqueue.topic.name",
    "errors.deadletterqueue.topic.replication.factor",
    "errors.deadletterqueue.context.headers.enable",
    "errors.deadletterqueue.destination",
    "errors.deadletterqueue.destination.region",
    "errors.deadletterqueue.destination.endpoint",
    "errors.deadletterqueue.destination.payload.enable",
    "reporter.bootstrap.servers",
    "reporter.result.topic.name",
    "reporter.result.topic.replication.factor",
    "reporter.result.topic.partitions",
    "reporter.result.topic.key.format",
    "reporter.result.topic.value.format",
    "reporter.error.topic.name",
    "reporter.error.topic.replication.factor",
    "reporter.error.topic.partitions",
    "reporter.error.topic.key.format",
    "reporter.error.topic.value.format",
    "results.forward.topic.name",
    "results.forward.topic.replication.factor",
    "results.forward.topic.partitions",
    "results.forward.value.format",
];
/// These and every key below them: plugins define those.
const FRAMEWORK_FAMILIES: [&str; 5] = [
    "key.converter",
    "value.converter",
    "header.converter",
    "transforms",
    "predicates",
];
/// Every key below these: client settings.
const CLIENTS: [&str; 4] = [
    "consumer.override.",
    "producer.override.",
    "admin.override.",
    "reporter.producer.",
];

/// Keys that are accepted and have no effect, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Notices {
    /// Nobody defines them.
    pub(crate) unknown: Vec<String>,
    /// Those of other connectors, each with the reason behind it.
    pub(crate) without_effect: Vec<String>,
}

/// The keys that `raw` sets without effect.
pub(crate) fn notices(raw: &RawConfig, def: &ConfigDef) -> Notices {
    let mut notices = Notices::default();
    for (key, value) in raw {
        if let Some(treatment) = foreign::treatment(raw, key, value.trim()) {
            if let foreign::Treatment::Ignored(why) = treatment {
                notices.without_effect.push(format!("{key} ({why})"));
            }
        } else if !is_of_framework(key) && !is_defined(def, key) {
            notices.unknown.push(key.clone());
        }
    }
    notices
}

/// The same for whoever has the configuration checked, a line for each key, with what was probably meant.
pub(crate) fn lines(raw: &RawConfig, def: &ConfigDef) -> Vec<ConfigError> {
    let Notices {
        unknown,
        without_effect,
    } = notices(raw, def);
    let known: Vec<&str> = def
        .keys()
        .iter()
        .flat_map(|key| std::iter::once(key.name.as_str()).chain(key.aliases.iter().copied()))
        .chain(FRAMEWORK)
        .collect();
    let unknown = unknown.into_iter().map(|key| {
        let meant = nearest(&key, known.iter().copied());
        let meant = meant.map_or_else(String::new, |meant| format!(": did you mean `{meant}`?"));
        ConfigError::new(key, format!("there is no such setting{meant}"))
    });
    let without_effect = without_effect.into_iter().map(|line| {
        let (key, why) = line.split_once(" (").unwrap_or((&line, ""));
        let why = why.strip_suffix(')').unwrap_or(why);
        ConfigError::new(key, format!("has no effect here: {why}"))
    });
    let skips = skips_by_default(raw).then(|| {
        ConfigError::new(
            "behavior.on.error",
            "is not set: under this class records whose attempts run out are skipped with a line in the log; set `fail` to \
             stop the task instead",
        )
    });
    unknown.chain(without_effect).chain(skips).collect()
}

/// Whether records are skipped when attempts run out although no setting says so: the default of Cloud's class alone.
pub(crate) fn skips_by_default(raw: &RawConfig) -> bool {
    Flavour::of(raw) == Flavour::Cloud
        && raw
            .get("behavior.on.error")
            .is_none_or(|policy| policy.trim().is_empty())
}

fn is_defined(def: &ConfigDef, name: &str) -> bool {
    def.keys()
        .iter()
        .any(|key| key.name == name || key.aliases.contains(&name))
}

fn is_of_framework(key: &str) -> bool {
    let is_in_family = |family: &&str| {
        key.strip_prefix(*family)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    FRAMEWORK.contains(&key)
        || FRAMEWORK_FAMILIES.iter().any(is_in_family)
        || CLIENTS.iter().any(|client| key.starts_with(client))
}
