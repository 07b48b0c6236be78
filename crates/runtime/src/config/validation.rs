use std::collections::BTreeMap;

use klamm_connect_api::config::Evaluated;
use klamm_connect_api::{ConfigError, ConfigErrors, ConfigKey, RawConfig};

use super::providers::{Resolved, has_reference};
use super::secrets::{MASK, Secrets};

/// One key of a validation answer.
#[derive(Debug, Clone)]
pub struct ValidatedKey {
    /// Full name of the key.
    pub name: String,
    /// Its definition; none for a key that nobody defines and that is listed only for its errors.
    pub definition: Option<ConfigKey>,
    /// Group, such as `Transforms: unwrap`.
    pub group: String,
    /// Place in its group, from 1.
    pub order_in_group: usize,
    /// The text it is set to, or its default; secrets are masked.
    pub value: Option<String>,
    /// What is wrong with it.
    pub errors: Vec<String>,
}

/// What is right and wrong with a connector's configuration, key by key.
#[derive(Debug, Clone, Default)]
pub struct Validation {
    keys: Vec<ValidatedKey>,
    in_group: BTreeMap<String, usize>,
    warnings: Vec<ConfigError>,
}

impl Validation {
    /// The keys in the order in which they are shown.
    #[must_use]
    pub fn keys(&self) -> &[ValidatedKey] {
        &self.keys
    }

    /// What keeps the connector from nothing and is probably not meant: under the key that it is about, empty if it is
    /// about none.
    #[must_use]
    pub fn warnings(&self) -> &[ConfigError] {
        &self.warnings
    }

    /// Number of error texts.
    #[must_use]
    pub fn error_count(&self) -> usize {
        self.keys.iter().map(|key| key.errors.len()).sum()
    }

    /// Everything that is wrong.
    ///
    /// # Errors
    /// The errors, if there are any.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let errors = self.keys.iter().flat_map(|key| {
            key.errors
                .iter()
                .map(|message| ConfigError::new(key.name.clone(), message.clone()))
        });
        ConfigErrors::check(errors.collect())
    }

    /// Adds what is probably not meant.
    pub(crate) fn warn(&mut self, warnings: impl IntoIterator<Item = ConfigError>) {
        for warning in warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// Adds the keys of a definition under `prefix`; `group` is used instead of the definition's own group.
    pub(crate) fn add(&mut self, prefix: &str, group: Option<&str>, evaluated: &Evaluated<'_>) {
        for key in &evaluated.keys {
            let mut definition = key.key.clone();
            definition.name = format!("{prefix}{}", key.name);
            let group = group.unwrap_or(key.key.group).to_owned();
            self.add_key(definition, group, key.value.clone(), key.errors_under(prefix));
        }
    }

    /// Adds one key under its full name.
    pub(crate) fn add_key(&mut self, definition: ConfigKey, group: String, value: Option<String>, errors: Vec<String>) {
        let order = self.in_group.entry(group.clone()).or_default();
        *order += 1;
        self.keys.push(ValidatedKey {
            name: definition.name.clone(),
            definition: Some(definition),
            group,
            order_in_group: *order,
            value,
            errors,
        });
    }

    /// Tells what a listed key is when it is not set, where the definition cannot know it.
    pub(crate) fn set_default(&mut self, key: &str, default: &str) {
        let Some(listed) = self.keys.iter_mut().find(|listed| listed.name == key) else {
            return;
        };
        listed.value.get_or_insert_with(|| default.to_owned());
        if let Some(definition) = &mut listed.definition {
            definition.default = Some(default.to_owned());
        }
    }

    /// A class that is not there is no value, as in Connect; the error quotes it.
    pub(crate) fn forget_value(&mut self, key: &str) {
        if let Some(listed) = self.keys.iter_mut().find(|listed| listed.name == key) {
            listed.value = None;
        }
    }

    /// As [`Validation::set_default`], for the version of a plugin: there is one of each.
    pub(crate) fn set_version(&mut self, plugin: &str, version: &'static str) {
        let key = format!("{plugin}.plugin.version");
        self.set_default(&key, version);
        let listed = self.keys.iter_mut().find(|listed| listed.name == key);
        if let Some(definition) = listed.and_then(|listed| listed.definition.as_mut()) {
            definition.recommended = vec![version.to_owned()];
        }
    }

    /// Masks the values of secret keys, also where an error quotes them.
    pub(crate) fn mask(&mut self, secrets: &Secrets) {
        for key in &mut self.keys {
            let Some(value) = key.value.as_mut().filter(|value| secrets.covers(&key.name, value)) else {
                continue;
            };
            let secret = std::mem::replace(value, MASK.to_owned());
            if !secret.is_empty() {
                key.errors
                    .iter_mut()
                    .for_each(|error| *error = error.replace(&secret, MASK));
            }
        }
    }

    /// Puts the references of `given` back in the place of what they stand for, also where an error quotes it, and adds
    /// those that stand for nothing. Secrets are masked before.
    pub(crate) fn unresolve(&mut self, given: &RawConfig, resolved: &Resolved, secrets: &Secrets) {
        for key in &mut self.keys {
            match given.get(&key.name).filter(|text| has_reference(text)) {
                // What a validator says of a value may quote any part of it.
                Some(text) => {
                    let shown = if secrets.covers(&key.name, text) { MASK } else { text };
                    key.value = Some(shown.to_owned());
                    let is_missing = resolved.missing.iter().any(|missing| missing.key == key.name);
                    if is_missing {
                        key.errors.clear();
                    } else if !key.errors.is_empty() {
                        key.errors =
                            vec!["what the config provider has for this setting is not valid for it".to_owned()];
                    }
                }
                None => key.errors.iter_mut().for_each(|error| *error = resolved.hide(error)),
            }
        }
        self.errors("", resolved.errors());
    }

    /// Puts an error at a key; one that is not listed yet is added without a definition.
    pub(crate) fn error(&mut self, key: &str, message: impl Into<String>) {
        let message = message.into();
        match self.keys.iter_mut().find(|listed| listed.name == key) {
            Some(listed) if listed.errors.contains(&message) => {}
            Some(listed) => listed.errors.push(message),
            None => self.keys.push(ValidatedKey {
                name: key.to_owned(),
                definition: None,
                group: String::new(),
                order_in_group: 0,
                value: None,
                errors: vec![message],
            }),
        }
    }

    /// Puts errors at keys under `prefix`.
    pub(crate) fn errors(&mut self, prefix: &str, errors: impl IntoIterator<Item = ConfigError>) {
        for error in errors {
            self.error(&format!("{prefix}{}", error.key), error.message);
        }
    }
}
