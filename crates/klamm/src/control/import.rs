//! `klamm import`: connectors of a Java Connect, from its REST API or its config topic, into a worker.
//!
//! It only tells what it would do until `--yes` is given. Imported connectors are stopped: while the old cluster still
//! runs a connector of the same name, both would share its consumer group. The offsets need no import, they are in that
//! group.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};
use clap::Args;
use http::Method;
use klamm::{ConnectorFile, MASK, SubmittedConfig, TargetState};
use serde_json::{Value, json};

use super::api::{Api, ApiArgs};
use super::connectors::creation;
use super::validate::validate;
use super::{BadInput, Exit, Run, members, print_json, say, text};
use crate::tools::ClusterArgs;

/// Where from, and what.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// REST API of the Connect cluster; credentials of its own by `IMPORT_USER` (NAME:PASSWORD)
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "from_topic",
        conflicts_with = "from_topic"
    )]
    from_rest: Option<String>,
    /// Its config topic (`config.storage.topic`), which also holds what its API masks
    #[arg(long, value_name = "TOPIC")]
    from_topic: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Only these connectors [default: all sinks whose class the worker has]
    #[arg(long, value_name = "NAME")]
    connector: Vec<String>,
    /// The state of what is imported: `stopped`, `paused` or `running`
    #[arg(long, value_name = "STATE", default_value = "stopped", value_parser = state)]
    state: TargetState,
    /// Create them; without it nothing is changed
    #[arg(long)]
    yes: bool,
}

fn state(text: &str) -> Result<TargetState, String> {
    match text.to_ascii_lowercase().as_str() {
        "running" => Ok(TargetState::Started),
        "paused" => Ok(TargetState::Paused),
        "stopped" => Ok(TargetState::Stopped),
        _ => Err("accepted: stopped, paused, running".to_owned()),
    }
}

/// A connector as the other cluster has it.
type Found = BTreeMap<String, SubmittedConfig>;

fn submitted(config: &Value) -> SubmittedConfig {
    let setting = |(key, value): (&String, &Value)| (key.clone(), value.as_str().map(str::to_owned));
    members(config, "").map(setting).collect()
}

/// The connectors that a config topic holds after all of its records: keys `connector-NAME`, the newest counts, null
/// deletes.
fn replay(records: impl IntoIterator<Item = (String, Option<Vec<u8>>)>) -> anyhow::Result<Found> {
    let mut found = Found::new();
    for (key, value) in records {
        let Some(name) = key.strip_prefix("connector-") else {
            continue;
        };
        let Some(value) = value else {
            found.remove(name);
            continue;
        };
        let value: Value = serde_json::from_slice(&value)
            .with_context(|| format!("the record of connector {name} is no JSON: is this the config topic?"))?;
        // With `schemas.enable` the converter wraps what it writes.
        let value = value.pointer("/payload").unwrap_or(&value);
        let properties = value
            .get("properties")
            .ok_or_else(|| anyhow!("the record of connector {name} has no `properties`: is this the config topic?"))?;
        found.insert(name.to_owned(), submitted(properties));
    }
    Ok(found)
}

impl ImportArgs {
    async fn found(&self) -> anyhow::Result<Found> {
        if let Some(url) = &self.from_rest {
            let other = ApiArgs::of(url, std::env::var("IMPORT_USER").ok()).connect()?;
            let all = other.get("/connectors?expand=info").await?;
            let config = |(name, connector): (&String, &Value)| {
                (
                    name.clone(),
                    submitted(connector.pointer("/info/config").unwrap_or(&Value::Null)),
                )
            };
            return Ok(members(&all, "").map(config).collect());
        }
        let topic = self.from_topic.as_deref().unwrap_or_default();
        let records = crate::tools::keyed_records(&self.cluster, topic).await?;
        replay(records)
    }
}

/// Settings that cannot be imported: the other cluster does not tell them.
fn masked(config: &SubmittedConfig) -> Vec<&str> {
    let is_masked = |value: &Option<String>| matches!(value.as_deref(), Some(MASK | "******"));
    config
        .iter()
        .filter(|(_, value)| is_masked(value))
        .map(|(key, _)| key.as_str())
        .collect()
}

impl Run for ImportArgs {
    async fn run(&self, api: &Api) -> anyhow::Result<Exit> {
        let found = self.found().await?;
        for name in &self.connector {
            if !found.contains_key(name) {
                return Err(BadInput(anyhow!("connector {name} is not there: {}", names(&found))).into());
            }
        }
        let known = api.get("/connector-plugins").await?;
        let known: Vec<_> = super::list(&known, "").map(|plugin| text(plugin, "/class")).collect();
        let existing = api.get("/connectors").await?;
        let existing: Vec<_> = super::list(&existing, "").filter_map(Value::as_str).collect();

        let mut report = Vec::new();
        let mut exit = Exit::Done;
        for (name, config) in found {
            let class = config.get("connector.class").cloned().flatten().unwrap_or_default();
            let is_named = self.connector.contains(&name);
            if !is_named && !self.connector.is_empty() {
                continue;
            }
            let file = ConnectorFile {
                name: name.clone(),
                config,
                initial_state: Some(self.state),
            };
            let outcome = if existing.contains(&name.as_str()) {
                "is there already: left as it is".to_owned()
            } else {
                self.bring(api, &file, &class, &known, is_named, &mut exit).await?
            };
            say(api, &format!("{name} ({class}): {outcome}"))?;
            report.push(json!({"name": name, "class": class, "outcome": outcome}));
        }
        if report.is_empty() {
            say(api, "there is no connector to import")?;
        }
        if api.is_json {
            print_json(&Value::Array(report))?;
        }
        Ok(exit)
    }
}

impl ImportArgs {
    async fn bring(
        &self,
        api: &Api,
        file: &ConnectorFile,
        class: &str,
        known: &[String],
        is_named: bool,
        exit: &mut Exit,
    ) -> anyhow::Result<String> {
        let masked = masked(&file.config);
        if !masked.is_empty() {
            *exit = exit.and(Exit::Bad);
            return Ok(format!(
                "cannot be imported: `{}` is masked: use --from-topic",
                masked.join("`, `")
            ));
        }
        let (_, findings) = match validate(api, file, false).await {
            Ok(validated) => validated,
            // The worker does not have the class, under none of its names.
            Err(error) if !is_named && !error.is::<BadInput>() && !known.iter().any(|known| known == class) => {
                return Ok("is skipped: the worker has no such class".to_owned());
            }
            Err(error) => return Err(error),
        };
        if !findings.errors.is_empty() {
            *exit = exit.and(Exit::Bad);
            return Ok(format!("cannot be imported: {}", findings.errors.join("; ")));
        }
        let warnings: String = findings
            .warnings
            .iter()
            .map(|warning| format!("; warning: {warning}"))
            .collect();
        if !self.yes {
            *exit = exit.and(Exit::Differs);
            return Ok(format!("would be imported{warnings}"));
        }
        api.send(Method::POST, "/connectors", Some(&creation(file))).await?;
        Ok(format!("imported{warnings}"))
    }
}

fn names(found: &Found) -> String {
    if found.is_empty() {
        return "there is none".to_owned();
    }
    format!("there are {}", found.keys().cloned().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_record_of_a_connector_counts() {
        let record = |key: &str, value: Option<&str>| (key.to_owned(), value.map(|value| value.as_bytes().to_vec()));
        let found = replay([
            record("connector-a", Some(r#"{"properties":{"topics":"t","x":null}}"#)),
            record("connector-b", Some(r#"{"properties":{"topics":"t"}}"#)),
            record("task-a-0", Some(r#"{"properties":{}}"#)),
            record("commit-a", Some(r#"{"tasks":1}"#)),
            record("connector-b", None),
            record(
                "connector-c",
                Some(r#"{"schema":null,"payload":{"properties":{"topics":"u"}}}"#),
            ),
            record("connector-a", Some(r#"{"properties":{"topics":"v"}}"#)),
        ])
        .unwrap();
        let topics: Vec<_> = found
            .iter()
            .map(|(name, config)| (name.as_str(), config["topics"].as_deref()))
            .collect();
        assert_eq!(topics, [("a", Some("v")), ("c", Some("u"))]);
        let error = replay([record("connector-a", Some("{}"))]).unwrap_err();
        assert!(error.to_string().contains("is this the config topic?"));
    }
}
