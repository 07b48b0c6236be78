use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use klamm_connect_api::RawConfig;
use klamm_connect_api::config::KeysOnly;

use crate::config_log::{ConfigRecord, Restart, TargetState};

/// What the config log says about one connector.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ConnectorEntry {
    pub(crate) config: Arc<RawConfig>,
    /// Counts the configurations, so that a change is told from a repetition.
    pub(crate) version: u64,
    pub(crate) target: TargetState,
}

impl fmt::Debug for ConnectorEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorEntry")
            .field("config", &KeysOnly(&self.config))
            .field("version", &self.version)
            .field("target", &self.target)
            .finish()
    }
}

/// The state that replaying the config log gives. Deterministic: the same records give the same state.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigState {
    connectors: BTreeMap<String, ConnectorEntry>,
    /// Target states whose connector has no configuration yet: they are written first, so that a connector which is
    /// created stopped never runs.
    waiting_targets: BTreeMap<String, TargetState>,
    versions: u64,
}

/// What a record asks the worker to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The wish for the connector changed: look it up.
    Connector(String),
    /// Restart what runs of the connector.
    Restart(String, Restart),
}

impl ConfigState {
    pub(crate) fn connectors(&self) -> &BTreeMap<String, ConnectorEntry> {
        &self.connectors
    }

    pub(crate) fn get(&self, name: &str) -> Option<&ConnectorEntry> {
        self.connectors.get(name)
    }

    pub(crate) fn apply(&mut self, record: ConfigRecord) -> Change {
        match record {
            ConfigRecord::Connector {
                name,
                config: Some(config),
            } => {
                self.versions += 1;
                let target = match self.connectors.get(&name) {
                    Some(entry) => entry.target,
                    None => self.waiting_targets.remove(&name).unwrap_or_default(),
                };
                let entry = ConnectorEntry {
                    config: Arc::new(config),
                    version: self.versions,
                    target,
                };
                self.connectors.insert(name.clone(), entry);
                Change::Connector(name)
            }
            ConfigRecord::Connector { name, config: None } => {
                self.connectors.remove(&name);
                self.waiting_targets.remove(&name);
                Change::Connector(name)
            }
            ConfigRecord::TargetState { name, state } => {
                match (self.connectors.get_mut(&name), state) {
                    (Some(entry), state) => entry.target = state.unwrap_or_default(),
                    (None, Some(state)) => drop(self.waiting_targets.insert(name.clone(), state)),
                    (None, None) => drop(self.waiting_targets.remove(&name)),
                }
                Change::Connector(name)
            }
            ConfigRecord::Restart { name, restart } => Change::Restart(name, restart),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, config: Option<&str>) -> ConfigRecord {
        let config = config.map(|topics| [("topics".to_owned(), topics.to_owned())].into());
        ConfigRecord::Connector {
            name: name.to_owned(),
            config,
        }
    }

    fn target(name: &str, state: Option<TargetState>) -> ConfigRecord {
        ConfigRecord::TargetState {
            name: name.to_owned(),
            state,
        }
    }

    #[test]
    fn target_states_outlive_configurations_and_end_with_their_connector() {
        let mut state = ConfigState::default();
        let cases = [
            (
                target("a", Some(TargetState::Stopped)),
                None,
                "waits for the configuration",
            ),
            (config("a", Some("t")), Some(TargetState::Stopped), "created stopped"),
            (
                config("a", Some("u")),
                Some(TargetState::Stopped),
                "a new configuration keeps the target",
            ),
            (
                target("a", Some(TargetState::Paused)),
                Some(TargetState::Paused),
                "changed",
            ),
            (config("a", None), None, "deleted"),
            (target("a", None), None, "the tombstone of a deleted connector's target"),
            (
                config("a", Some("t")),
                Some(TargetState::Started),
                "created again: the old wish is forgotten",
            ),
        ];
        for (record, wanted, why) in cases {
            assert_eq!(state.apply(record), Change::Connector("a".to_owned()));
            assert_eq!(state.get("a").map(|entry| entry.target), wanted, "{why}");
        }
    }
}
