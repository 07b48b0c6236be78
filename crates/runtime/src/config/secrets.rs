use klamm_connect_api::{ConfigError, ConfigErrors, ConfigType, RawConfig};

use super::SubmittedConfig;
use crate::plugins::Plugins;

/// What stands in for a secret in every answer.
pub(crate) const MASK: &str = "[hidden]";

/// Parts of names whose values are secret whatever defines them: client and converter settings that pass through, and
/// keys that nobody defines. Access key ids count as secrets.
const SECRET_NAMES: [&str; 11] = [
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
];

/// Whether the value of `key` must never be shown.
pub(crate) fn is_secret(key: &str, raw: &RawConfig, plugins: &Plugins) -> bool {
    let lower = key.to_ascii_lowercase();
    if SECRET_NAMES.iter().any(|name| lower.contains(name)) {
        return true;
    }
    let Some(sink) = raw.get("connector.class").and_then(|class| plugins.sink(class.trim())) else {
        return false;
    };
    let def = sink.config_def(raw);
    let secret = def
        .keys()
        .iter()
        .filter(|defined| defined.config_type == ConfigType::Password);
    secret
        .into_iter()
        .any(|defined| defined.name == key || defined.aliases.contains(&key))
}

/// The configuration with every secret masked.
pub(crate) fn mask(raw: &RawConfig, plugins: &Plugins) -> RawConfig {
    let shown = |(key, value): (&String, &String)| {
        let value = if is_secret(key, raw, plugins) {
            MASK.to_owned()
        } else {
            value.clone()
        };
        (key.clone(), value)
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
