use std::collections::HashMap;
use std::time::Duration;

use super::Secret;

/// A value of the type its key declares.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigValue {
    /// BOOLEAN
    Boolean(bool),
    /// STRING and CLASS
    String(String),
    /// INT, SHORT and LONG
    Integer(i64),
    /// DOUBLE
    Double(f64),
    /// LIST
    List(Vec<String>),
    /// PASSWORD
    Secret(Secret),
}

/// A configuration whose values have been parsed: given ones and defaults. A key that is not set and has no default
/// is absent, and so is one with an error.
///
/// The typed getters answer `None` for an absent key and for a key of another type.
#[derive(Debug, Clone, Default)]
pub struct ParsedConfig {
    values: HashMap<String, ConfigValue>,
}

impl ParsedConfig {
    pub(super) fn set(&mut self, key: &str, value: ConfigValue) {
        self.values.insert(key.to_owned(), value);
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&ConfigValue> {
        self.values.get(key)
    }

    /// Text of a STRING or CLASS key.
    #[must_use]
    pub fn str(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            ConfigValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// The STRING and CLASS keys with their texts, in no order.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().filter_map(|(key, value)| match value {
            ConfigValue::String(text) => Some((key.as_str(), text.as_str())),
            _ => None,
        })
    }

    /// A BOOLEAN key.
    #[must_use]
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            ConfigValue::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// An INT, SHORT or LONG key.
    #[must_use]
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.get(key)? {
            ConfigValue::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// An integer key that is not negative.
    #[must_use]
    pub fn usize(&self, key: &str) -> Option<usize> {
        usize::try_from(self.int(key)?).ok()
    }

    /// An integer key in milliseconds; none if it is negative, which is how Kafka writes "no limit".
    #[must_use]
    pub fn millis(&self, key: &str) -> Option<Duration> {
        u64::try_from(self.int(key)?).ok().map(Duration::from_millis)
    }

    /// A DOUBLE key.
    #[must_use]
    pub fn double(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            ConfigValue::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// A LIST key; empty if it is absent.
    #[must_use]
    pub fn list(&self, key: &str) -> &[String] {
        match self.get(key) {
            Some(ConfigValue::List(items)) => items,
            _ => &[],
        }
    }

    /// The keys that begin with `prefix`, without it, and their texts: what
    /// [`ConfigDef::prefix`](super::ConfigDef::prefix) takes. In the order of their names.
    #[must_use]
    pub fn prefixed(&self, prefix: &str) -> Vec<(&str, &Secret)> {
        let mut found: Vec<_> = self
            .values
            .iter()
            .filter_map(|(key, value)| match value {
                ConfigValue::Secret(secret) => Some((key.strip_prefix(prefix)?, secret)),
                _ => None,
            })
            .collect();
        found.sort_unstable_by_key(|(name, _)| *name);
        found
    }

    /// A PASSWORD key.
    #[must_use]
    pub fn secret(&self, key: &str) -> Option<&Secret> {
        match self.get(key)? {
            ConfigValue::Secret(secret) => Some(secret),
            _ => None,
        }
    }
}

/// A view on a configuration in which keys under a prefix, such as `routes.orders.`, win over the same keys without it.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    config: &'a ParsedConfig,
    prefix: &'a str,
}

impl<'a> Scope<'a> {
    /// The view of `prefix`, which ends in a dot or is empty.
    #[must_use]
    pub fn new(config: &'a ParsedConfig, prefix: &'a str) -> Self {
        Self { config, prefix }
    }

    /// The full name under which `key` is set in this view: with the prefix if it is set there.
    #[must_use]
    pub fn key(&self, key: &str) -> String {
        let prefixed = format!("{}{key}", self.prefix);
        if self.config.get(&prefixed).is_some() {
            prefixed
        } else {
            key.to_owned()
        }
    }

    /// As [`ParsedConfig::str`].
    #[must_use]
    pub fn str(&self, key: &str) -> Option<&'a str> {
        self.config.str(&self.key(key))
    }

    /// As [`ParsedConfig::bool`].
    #[must_use]
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.config.bool(&self.key(key))
    }

    /// As [`ParsedConfig::int`].
    #[must_use]
    pub fn int(&self, key: &str) -> Option<i64> {
        self.config.int(&self.key(key))
    }

    /// As [`ParsedConfig::usize`].
    #[must_use]
    pub fn usize(&self, key: &str) -> Option<usize> {
        self.config.usize(&self.key(key))
    }

    /// As [`ParsedConfig::millis`].
    #[must_use]
    pub fn millis(&self, key: &str) -> Option<Duration> {
        self.config.millis(&self.key(key))
    }

    /// As [`ParsedConfig::double`].
    #[must_use]
    pub fn double(&self, key: &str) -> Option<f64> {
        self.config.double(&self.key(key))
    }

    /// As [`ParsedConfig::list`].
    #[must_use]
    pub fn list(&self, key: &str) -> &'a [String] {
        self.config.list(&self.key(key))
    }

    /// As [`ParsedConfig::secret`].
    #[must_use]
    pub fn secret(&self, key: &str) -> Option<&'a Secret> {
        self.config.secret(&self.key(key))
    }
}
