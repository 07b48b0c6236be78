use std::collections::HashSet;

use klamm_connect_api::config::without_user_info;
use klamm_connect_api::{ConfigDef, ConfigError, ConfigErrors, ConfigType, RawConfig};

use super::SubmittedConfig;
use super::providers::{has_reference, is_reference};
use crate::plugins::Plugins;

/// What stands in for a secret in every answer.
pub const MASK: &str = "[hidden]";

/// Parts of names whose values are secret whatever defines them: client and converter settings that pass through, and
/// keys that nobody defines. Access key ids count as secrets.
const SECRET_NAMES: [&str; 12] = [
    "license",
    "password",
    "secret",
    "jaas.config",
    "keystore.key",
    "user.info",
    "access.key",
    "bearer.auth.token",
    "session.token",
    "api.key",
    "private.key",
    "request.header.",
];

/// The settings of a connector that are never shown: what its plugins declare as secret, wherever it is set.
#[derive(Debug)]
pub(crate) struct Secrets {
    names: HashSet<String>,
    prefixes: Vec<String>,
}

impl Secrets {
    /// What the plugins that `raw` names declare.
    pub(crate) fn of(raw: &RawConfig, plugins: &Plugins) -> Self {
        let mut secrets = Self {
            names: HashSet::new(),
            prefixes: Vec::new(),
        };
        let class = |key: &str| raw.get(key).map(|class| class.trim());
        if let Some(sink) = class("connector.class").and_then(|class| plugins.sink(class)) {
            secrets.add("", &sink.config_def(raw));
        }
        for key in ["key.converter", "value.converter", "header.converter"] {
            if let Some(def) = class(key).and_then(|class| plugins.config_def(class)) {
                secrets.add(&format!("{key}."), &def);
            }
        }
        for kind in ["transforms", "predicates"] {
            for alias in raw.get(kind).into_iter().flat_map(|aliases| aliases.split(',')) {
                let prefix = format!("{kind}.{}.", alias.trim());
                if let Some(def) = class(&format!("{prefix}type")).and_then(|class| plugins.config_def(class)) {
                    secrets.add(&prefix, &def);
                }
            }
        }
        secrets
    }

    fn add(&mut self, prefix: &str, def: &ConfigDef) {
        let passwords = def.keys().iter().filter(|key| key.config_type == ConfigType::Password);
        for key in passwords {
            let names = std::iter::once(&*key.name).chain(key.aliases.iter().copied());
            self.names.extend(names.map(|name| format!("{prefix}{name}")));
        }
        self.prefixes
            .extend(def.prefixes().iter().map(|keys| format!("{prefix}{keys}")));
    }

    /// Whether `value` must never be shown as the value of `key`. A reference to a config provider is no secret.
    pub(crate) fn covers(&self, key: &str, value: &str) -> bool {
        if is_reference(value) {
            return false;
        }
        let lower = key.to_ascii_lowercase();
        SECRET_NAMES.iter().any(|name| lower.contains(name))
            || self.names.contains(key)
            || self.prefixes.iter().any(|prefix| key.starts_with(prefix))
            || without_user_info(value) != value
    }
}

/// The configuration with every secret masked.
pub(crate) fn mask(raw: &RawConfig, plugins: &Plugins) -> RawConfig {
    let secrets = Secrets::of(raw, plugins);
    let shown = |(key, value): (&String, &String)| {
        let value = if secrets.covers(key, value) { MASK } else { value };
        (key.clone(), value.to_owned())
    };
    raw.iter().map(shown).collect()
}

/// Puts the stored value in the place of each mask that was sent back.
///
/// # Errors
/// A mask where nothing is stored.
pub(crate) fn unmask(submitted: &mut SubmittedConfig, stored: Option<&RawConfig>) -> Result<(), ConfigErrors> {
    let mut errors = Vec::new();
    for (key, value) in submitted.iter_mut().filter(|(_, value)| value.as_deref() == Some(MASK)) {
        match stored.and_then(|stored| stored.get(key)) {
            Some(secret) => *value = Some(secret.clone()),
            None => errors.push(ConfigError::new(
                key,
                format!(
                    "`{MASK}` stands for a stored secret, and none is stored under this key: send the secret itself"
                ),
            )),
        }
    }
    ConfigErrors::check(errors)
}

/// As [`unmask`], for a configuration that is only tried and leaves no trace: a stored secret goes nowhere but where it was
/// meant to go. So next to a mask, or to a reference to a config provider, nothing may differ from what is stored, but for
/// transforms and predicates.
///
/// # Errors
/// As [`unmask`]; a mask next to a setting that was changed.
pub(crate) fn unmask_for_trial(
    submitted: &mut SubmittedConfig,
    stored: Option<&RawConfig>,
) -> Result<(), ConfigErrors> {
    let is_mask = |value: &Option<String>| value.as_deref() == Some(MASK);
    let is_transform = |key: &str| key.starts_with("transforms") || key.starts_with("predicates");
    // References of transforms are not resolved for a trial: its outcomes would show what they stand for.
    let has_outside =
        |key: &str, value: &Option<String>| !is_transform(key) && value.as_deref().is_some_and(has_reference);
    let changed = match stored {
        Some(stored) => {
            let differs = |(key, value): &(&String, &Option<String>)| {
                !is_transform(key) && !is_mask(value) && value.as_ref() != stored.get(*key)
            };
            let changed = submitted.iter().find(differs);
            changed.map(|(key, _)| format!("`{key}` differs"))
        }
        None if submitted.iter().any(|(key, value)| has_outside(key, value)) => {
            Some("nothing is stored here".to_owned())
        }
        None => None,
    };
    let Some(changed) = changed else {
        return unmask(submitted, stored);
    };
    let secrets = submitted
        .iter()
        .filter(|(key, value)| is_mask(value) || has_outside(key, value));
    let errors = secrets.map(|(key, value)| {
        let what = if is_mask(value) { MASK } else { "${…}" };
        let message = format!(
            "`{what}` stands for a secret only beside the settings that it is stored with, and {changed}: send the secret \
             itself"
        );
        ConfigError::new(key, message)
    });
    ConfigErrors::check(errors.collect())
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::{ConfigKey, ConverterPlugin, Importance, PluginInfo, PluginKind};

    use super::*;

    fn plugins() -> Plugins {
        let converter = ConverterPlugin {
            info: PluginInfo {
                kind: PluginKind::Converter,
                class: "io.acme.AcmeConverter",
                aliases: &[],
                version: "1",
            },
            config_def: || {
                ConfigDef::new()
                    .key(ConfigKey::new("pin", ConfigType::Password, Importance::Low, "").aliases(&["old.pin"]))
                    .prefix("request.header.")
            },
            create: |_, _| Err(ConfigErrors::check(vec![ConfigError::new("pin", "unused")]).unwrap_err()),
        };
        Plugins::new().with_converters([converter])
    }

    // A preview sent the stored password of a registry to whatever URL its caller named.
    #[test]
    fn a_trial_sends_no_stored_secret_elsewhere() {
        let stored = RawConfig::from([
            ("value.converter.pin".to_owned(), "s3cret".to_owned()),
            ("value.converter.url".to_owned(), "https://a".to_owned()),
        ]);
        let tried = |url: &str, transforms: &str| {
            let mut submitted = SubmittedConfig::from([
                ("value.converter.pin".to_owned(), Some(MASK.to_owned())),
                ("value.converter.url".to_owned(), Some(url.to_owned())),
                ("transforms".to_owned(), Some(transforms.to_owned())),
            ]);
            unmask_for_trial(&mut submitted, Some(&stored)).map(|()| submitted)
        };
        let unmasked = tried("https://a", "t").unwrap();
        assert_eq!(
            unmasked["value.converter.pin"].as_deref(),
            Some("s3cret"),
            "transforms may change"
        );
        let error = tried("https://b", "t").unwrap_err().to_string();
        assert!(error.contains("`value.converter.url` differs"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }

    // Only the sink was asked what is secret: a registry's `Authorization` header and the password in its URL were shown.
    #[test]
    fn what_any_plugin_declares_as_secret_is_masked_and_so_are_credentials_in_urls() {
        let cases = [
            // key, value, masked, why
            ("value.converter.pin", "1", true, "declared by the converter"),
            ("value.converter.old.pin", "1", true, "an alias of it"),
            (
                "value.converter.request.header.Authorization",
                "Bearer t",
                true,
                "a prefix of it",
            ),
            (
                "key.converter.pin",
                "1",
                false,
                "no converter of that name is set there",
            ),
            ("a.password", "1", true, "by its name"),
            (
                "key.converter.request.header.Authorization",
                "t",
                true,
                "whatever reads it, and if nothing does",
            ),
            (
                "request.header.Authorization",
                "t",
                true,
                "for all converters, as with Cloud's formats",
            ),
            ("x.url", "https://a, https://user:pw@b/c", true, "credentials in a URL"),
            ("x.url", "https://b/c@d?e@f", false, "no credentials"),
            ("topics", "a,b", false, "shown"),
        ];
        for (key, value, masked, why) in cases {
            let mut raw = RawConfig::from([("value.converter".to_owned(), "Acme".to_owned())]);
            raw.insert(key.to_owned(), value.to_owned());
            let shown = mask(&raw, &plugins());
            assert_eq!(shown[key], if masked { MASK } else { value }, "{why}");
        }
    }
}
