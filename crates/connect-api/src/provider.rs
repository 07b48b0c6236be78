//! Config providers (KIP-297): places outside of configurations that values come from.
//!
//! A value `${provider:path:key}` in a configuration stays as it is wherever the configuration is stored or shown, and is
//! replaced only where it is used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::BoxFuture;
use crate::config::{RawConfig, Secret};
use crate::error::ConfigErrors;

/// Whose configuration holds a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// The worker's, which whoever runs the process wrote.
    Worker,
    /// A connector's, which may come from whoever reaches the REST API: it gets what the provider's allow lists name.
    Connector,
}

/// What a provider has under a path and a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provided {
    /// The value.
    pub value: Secret,
    /// When to look again whether it changed; none is never.
    pub lease: Option<Duration>,
}

/// Why a provider has no value to give. No text holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotProvided {
    /// May pass: away, or throttled.
    #[error("{0}")]
    Now(String),
    /// A person has to change something; the text says what.
    #[error("{0}")]
    Refused(String),
}

/// A config provider with its settings.
pub trait ConfigProvider: Send + Sync + fmt::Debug {
    /// The value under `key` in `path`; `path` is empty in `${provider:key}`.
    ///
    /// # Errors
    /// There is none, or not now, or `asker` may not have it.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    fn get<'a>(&'a self, path: &'a str, key: &'a str, asker: Asker) -> BoxFuture<'a, Result<Provided, NotProvided>>;
}

/// A kind of config providers that workers can name in `config.providers.<alias>.class`.
pub trait ConfigProviderPlugin: Send + Sync + fmt::Debug {
    /// The classes that mean it.
    fn classes(&self) -> &'static [&'static str];

    /// A provider with the settings of `config.providers.<alias>.param.*`, without that prefix. Does no I/O.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    fn open(&self, params: &RawConfig) -> Result<Arc<dyn ConfigProvider>, ConfigErrors>;
}
