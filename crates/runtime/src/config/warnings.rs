//! What a configuration says that keeps it from nothing, and that is probably not meant.

use std::time::Duration;

use klamm_connect_api::config::nearest;
use klamm_connect_api::delivery::ErrorPolicy;
use klamm_connect_api::{ConfigDef, ConfigError, RawConfig};

use super::connector::{ConnectorConfig, Tolerance};
use crate::herder::RestartPolicy;

/// A line about a key that begins with it, as logs have it.
pub(super) fn of_line(line: &str) -> ConfigError {
    let quoted = line.strip_prefix('`').and_then(|rest| rest.split_once('`'));
    let key = quoted.map_or("", |(key, _)| key.split('=').next().unwrap_or(key));
    ConfigError::new(key, line)
}

/// Settings under a plugin's prefix that it does not have, a line each.
pub(super) fn unknown_settings(raw: &RawConfig, prefix: &str, def: &ConfigDef) -> Vec<String> {
    let names: Vec<&str> = def
        .keys()
        .iter()
        .flat_map(|key| std::iter::once(key.name.as_str()).chain(key.aliases.iter().copied()))
        .collect();
    let is_known = |name: &str| names.contains(&name) || def.prefixes().iter().any(|prefix| name.starts_with(prefix));
    let own = raw.keys().filter_map(|key| Some((key, key.strip_prefix(prefix)?)));
    let unknown = own.filter(|(_, name)| !is_known(name));
    unknown
        .map(|(key, name)| {
            let meant = nearest(name, names.iter().copied());
            let meant = meant.map_or_else(String::new, |meant| format!(": did you mean `{prefix}{meant}`?"));
            format!("`{key}` is no setting of this converter{meant}")
        })
        .collect()
}

/// What settings say together.
pub(super) fn across_keys(raw: &RawConfig, config: &ConnectorConfig) -> Vec<ConfigError> {
    let mut warnings = Vec::new();
    let mut warn = |key: &str, message: &str| warnings.push(ConfigError::new(key, message));
    let letters = &config.letters;
    let sends_letters = ErrorPolicy::dead_letter_key(&config.sink_config).is_some();
    let tolerates = config.errors.tolerance == Tolerance::All;
    if tolerates && !letters.keeps_failures() {
        warn(
            "errors.tolerance",
            "`all` without a dead letter queue: records that cannot be converted or transformed are skipped and only \
             counted; set `errors.deadletterqueue.topic.name` to keep them",
        );
    }
    if letters.keeps_failures() && !tolerates && !sends_letters {
        warn(
            "errors.deadletterqueue.topic.name",
            "nothing but the record that fails the task goes there: set `errors.tolerance=all` for records that cannot be \
             converted or transformed, and `behavior.on.error=dlq` for those that cannot be delivered",
        );
    }
    if sends_letters && !tolerates {
        warn(
            "errors.tolerance",
            "`none`: a record that cannot be converted or transformed fails the task, whatever `behavior.on.error` says",
        );
    }
    if letters.dead_letters.is_some() && !letters.has_context_headers && (tolerates || sends_letters) {
        warn(
            "errors.deadletterqueue.context.headers.enable",
            "`false`: dead letters do not say where they came from and why, and cannot be redriven",
        );
    }
    let scope = config.sink_config.scope();
    let millis = |key| scope.millis(key);
    if let (Some(linger), Some(age)) = (millis("delivery.linger.ms"), millis("delivery.record.max.age.ms"))
        && linger >= age
    {
        warn(
            "delivery.linger.ms",
            "is not below `delivery.record.max.age.ms`: records grow too old while they wait for a fuller call",
        );
    }
    if let (Some(first), Some(most)) = (
        millis("delivery.retry.backoff.ms"),
        millis("delivery.retry.backoff.max.ms"),
    ) && first > most
    {
        warn(
            "delivery.retry.backoff.ms",
            "is above `delivery.retry.backoff.max.ms`, which counts",
        );
    }
    if let Some(timeout) = millis("delivery.retry.timeout.ms")
        && timeout < Duration::from_secs(1)
    {
        warn(
            "delivery.retry.timeout.ms",
            "is below a second: a single throttle or lost connection hands records to the error policy",
        );
    }
    if config.restart == RestartPolicy::Backoff
        && !tolerates
        && raw
            .get("behavior.on.error")
            .is_none_or(|policy| policy.trim() == "fail")
    {
        warn(
            "task.restart.policy",
            "`backoff` with `errors.tolerance=none` and `behavior.on.error=fail`: a bad record fails the task again after each \
             restart, and records behind it wait; a dead letter queue lets them pass",
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_filed_under_the_key_that_it_begins_with() {
        assert_eq!(of_line("`a.b` has no effect").key, "a.b");
        assert_eq!(of_line("`a.b=c` has no effect").key, "a.b");
        assert_eq!(of_line("something else").key, "");
    }

    #[test]
    fn misspelt_settings_of_a_converter_are_told_with_what_was_meant() {
        use klamm_connect_api::{ConfigKey, ConfigType, Importance};

        let def = ConfigDef::new()
            .key(ConfigKey::new(
                "schemas.enable",
                ConfigType::Boolean,
                Importance::Low,
                "",
            ))
            .prefix("request.header.");
        let raw: RawConfig = [
            "value.converter",
            "value.converter.schema.enable",
            "value.converter.schemas.enable",
            "value.converter.request.header.x",
            "key.converter.schema.enable",
        ]
        .map(|key| (key.to_owned(), String::new()))
        .into();
        assert_eq!(
            unknown_settings(&raw, "value.converter.", &def),
            [
                "`value.converter.schema.enable` is no setting of this converter: did you mean \
              `value.converter.schemas.enable`?"
            ]
        );
    }
}
