//! `klamm validate`: what a worker says of connectors that are not there yet.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use http::Method;
use klamm::ConnectorFile;
use serde_json::{Value, json};

use super::api::{Api, path};
use super::apply::files;
use super::connectors::config_of;
use super::{BadInput, Exit, Run, list, print_json, say, text};

/// What to validate.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Files, or directories of them, as for `connectors apply`
    #[arg(required = true, value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Also ask what the connector talks to: brokers, topics, registry, functions
    #[arg(long)]
    live: bool,
}

/// What is wrong with a configuration, and what is strange.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub(super) errors: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    fn of(answer: &Value) -> Self {
        let mut findings = Self::default();
        for setting in list(answer, "/configs") {
            let name = text(setting, "/value/name");
            let errors = list(setting, "/value/errors").filter_map(Value::as_str);
            findings.errors.extend(errors.map(|error| format!("{name}: {error}")));
        }
        for warning in list(answer, "/extensions/warnings") {
            findings.warnings.push(match warning.as_str() {
                Some(text) => text.to_owned(),
                None => format!("{}: {}", text(warning, "/name"), text(warning, "/message")),
            });
        }
        for check in list(answer, "/extensions/live") {
            if text(check, "/ok") == "false" {
                findings
                    .errors
                    .push(format!("{}: {}", text(check, "/check"), text(check, "/message")));
            }
        }
        findings
    }
}

/// What the worker says of a connector.
///
/// # Errors
/// The worker, or a connector without a class.
pub(super) async fn validate(api: &Api, file: &ConnectorFile, is_live: bool) -> anyhow::Result<(Value, Findings)> {
    let class = file.config.get("connector.class").cloned().flatten();
    let class = class.ok_or_else(|| BadInput(anyhow!("connector {}: `connector.class` is missing", file.name)))?;
    let mut config = config_of(file);
    config["name"] = file.name.as_str().into();
    let request = path(&["connector-plugins", class.trim(), "config", "validate"]);
    let live = if is_live { "&live=true" } else { "" };
    let answer = api
        .send(Method::PUT, &format!("{request}?extensions=true{live}"), Some(&config))
        .await?;
    let findings = Findings::of(&answer);
    Ok((answer, findings))
}

impl Run for ValidateArgs {
    async fn run(&self, api: &Api) -> anyhow::Result<Exit> {
        let mut exit = Exit::Done;
        let mut answers = Vec::new();
        for (name, file) in files(&self.files)? {
            let (answer, findings) = validate(api, &file, self.live).await?;
            for error in &findings.errors {
                say(api, &format!("{name}: error: {error}"))?;
            }
            for warning in &findings.warnings {
                say(api, &format!("{name}: warning: {warning}"))?;
            }
            if findings.errors.is_empty() {
                say(api, &format!("{name}: valid"))?;
            } else {
                exit = Exit::Bad;
            }
            answers.push(json!({"name": name, "validation": answer}));
        }
        if api.is_json {
            print_json(&Value::Array(answers))?;
        }
        Ok(exit)
    }
}
