use std::collections::{BTreeMap, HashMap};
use std::fmt;

use klamm_connect_api::RawConfig;
use klamm_connect_api::config::KeysOnly;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a user wants a connector to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TargetState {
    /// Run.
    #[default]
    Started,
    /// Keep the partitions, consume nothing.
    Paused,
    /// Run no tasks and leave the consumer group.
    Stopped,
}

impl TargetState {
    fn name(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Started, Self::Paused, Self::Stopped]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// A wish to restart a connector (KIP-745).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restart {
    /// Whether tasks are restarted too.
    pub include_tasks: bool,
    /// Whether only what is FAILED is restarted.
    pub only_failed: bool,
}

/// One record of the config log.
#[derive(Clone, PartialEq, Eq)]
pub enum ConfigRecord {
    /// `connector-<name>`: the connector's configuration; none deletes it.
    Connector {
        /// Name of the connector.
        name: String,
        /// Its configuration.
        config: Option<RawConfig>,
    },
    /// `target-state-<name>`; none means the default.
    TargetState {
        /// Name of the connector.
        name: String,
        /// What it should do.
        state: Option<TargetState>,
    },
    /// `restart-connector-<name>`. Not acted upon when it is replayed at start.
    Restart {
        /// Name of the connector.
        name: String,
        /// What to restart.
        restart: Restart,
    },
}

impl fmt::Debug for ConfigRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connector { name, config } => {
                let config = config.as_ref().map(KeysOnly);
                f.debug_struct("Connector")
                    .field("name", name)
                    .field("config", &config)
                    .finish()
            }
            Self::TargetState { name, state } => f
                .debug_struct("TargetState")
                .field("name", name)
                .field("state", state)
                .finish(),
            Self::Restart { name, restart } => f
                .debug_struct("Restart")
                .field("name", name)
                .field("restart", restart)
                .finish(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Properties {
    properties: BTreeMap<String, String>,
}

impl ConfigRecord {
    /// Key and value as they stand in Connect's config topic.
    #[must_use]
    pub fn encode(&self) -> (String, Value) {
        match self {
            Self::Connector { name, config } => (
                format!("connector-{name}"),
                config
                    .as_ref()
                    .map_or(Value::Null, |config| json!({ "properties": config })),
            ),
            Self::TargetState { name, state } => {
                let value = state.map_or(Value::Null, |state| {
                    // Readers older than KIP-875 know no STOPPED: the old member says PAUSED for it.
                    let old = if state == TargetState::Stopped {
                        TargetState::Paused
                    } else {
                        state
                    };
                    json!({ "state": old.name(), "state.v2": state.name() })
                });
                (format!("target-state-{name}"), value)
            }
            Self::Restart { name, restart } => (
                format!("restart-connector-{name}"),
                json!({ "include-tasks": restart.include_tasks, "only-failed": restart.only_failed }),
            ),
        }
    }

    /// The record of a key and value.
    ///
    /// # Errors
    /// A text that says what is wrong with them.
    pub fn decode(key: &str, value: Value) -> Result<Self, String> {
        if let Some(name) = key.strip_prefix("restart-connector-") {
            let restart = serde_json::from_value(value).map_err(|e| format!("value of key `{key}`: {e}"))?;
            Ok(Self::Restart {
                name: name.to_owned(),
                restart,
            })
        } else if let Some(name) = key.strip_prefix("target-state-") {
            let state = match value {
                Value::Null => None,
                value => {
                    let text = value
                        .get("state.v2")
                        .or_else(|| value.get("state"))
                        .and_then(Value::as_str);
                    let state = text.and_then(TargetState::parse);
                    Some(state.ok_or_else(|| format!("value of key `{key}` names no target state"))?)
                }
            };
            Ok(Self::TargetState {
                name: name.to_owned(),
                state,
            })
        } else if let Some(name) = key.strip_prefix("connector-") {
            let config = serde_json::from_value::<Option<Properties>>(value)
                .map_err(|e| format!("value of key `{key}`: {e}"))?
                .map(|properties| properties.properties);
            Ok(Self::Connector {
                name: name.to_owned(),
                config,
            })
        } else {
            Err(format!("unknown key `{key}`"))
        }
    }
}

/// What a replay would end with: the last record of each key; deleted connectors and old restarts left out.
pub(super) fn compacted(records: Vec<ConfigRecord>) -> Vec<ConfigRecord> {
    let mut last = HashMap::new();
    let mut has_config = HashMap::new();
    for (i, record) in records.iter().enumerate() {
        last.insert(record.encode().0, i);
        if let ConfigRecord::Connector { name, config } = record {
            has_config.insert(name.clone(), config.is_some());
        }
    }
    let is_live = |(i, record): &(usize, ConfigRecord)| {
        let is_wanted = match record {
            ConfigRecord::Connector { config, .. } => config.is_some(),
            ConfigRecord::TargetState { name, state } => state.is_some() && has_config.get(name) == Some(&true),
            ConfigRecord::Restart { .. } => false,
        };
        is_wanted && last.get(&record.encode().0) == Some(i)
    };
    records
        .into_iter()
        .enumerate()
        .filter(is_live)
        .map(|(_, record)| record)
        .collect()
}
