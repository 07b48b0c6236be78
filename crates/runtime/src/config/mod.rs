//! What users configure: the worker and its connectors.

mod connector;
mod definition;
mod format;
mod letters;
mod overrides;
mod providers;
mod rest;
mod secrets;
mod validation;
mod warnings;
mod worker;

pub(crate) use connector::Tolerance;
pub(crate) use connector::{ConfiguredConverter, ConnectorConfig, Conversion, effective_group_id};
pub use definition::connector_config_def;
pub(crate) use letters::{KeptTopic, LettersConfig, ReportConfig, ReportFormat};
pub use providers::Providers;
pub(crate) use providers::Resolved;
pub use rest::{
    AdminListeners, Advertised, Authentication, ClientAuth, KeystoreFile, Listener, ListenerTls, RestConfig,
    RestLimits, Scheme, Store,
};
pub use secrets::MASK;
pub(crate) use secrets::{Secrets, mask, unmask, unmask_for_trial};
pub use validation::{ValidatedKey, Validation};
pub use worker::{WorkerConfig, worker_config_def};

use std::collections::BTreeMap;

use klamm_connect_api::RawConfig;

/// A configuration as it was submitted: a value may be JSON's null, which is refused with the key named.
pub type SubmittedConfig = BTreeMap<String, Option<String>>;

/// The entries under `prefix`, without it.
pub(crate) fn stripped(raw: &RawConfig, prefix: &str) -> RawConfig {
    let under = raw
        .range(prefix.to_owned()..)
        .take_while(|(key, _)| key.starts_with(prefix));
    under
        .filter_map(|(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone())))
        .collect()
}

/// The key that a setting of the Kafka client was refused for.
pub(crate) fn config_error_key(error: &klamm_kafka::ConfigError) -> String {
    match error {
        klamm_kafka::ConfigError::Invalid { key, .. } | klamm_kafka::ConfigError::Missing { key, .. } => key.clone(),
        _ => String::new(),
    }
}
