//! `klamm connectors apply`: the files are what is wanted, the worker is made so.
//!
//! Idempotent: what is as wanted already is not sent. Secrets come back masked, so whether a stored one is the wanted one
//! cannot be seen here: a configuration with secrets is sent, and a worker that finds nothing new restarts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use http::Method;
use klamm::{ConnectorFile, MASK, SubmittedConfig};
use serde_json::{Value, json};

use super::api::{Api, path};
use super::connectors::{config_of, creation};
use super::wait::{Goal, WaitArgs};
use super::{BadInput, Exit, Run, members, print_json, say};

/// What to apply.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Files, or directories whose `.json` and `.properties` files are all connectors
    #[arg(short, long = "file", required = true, value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Show the differences and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also delete connectors that are in no file
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// What becomes of a connector.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Create,
    /// Setting → stored value, wanted value.
    Update(BTreeMap<String, (Option<String>, Option<String>)>),
    /// Nothing that can be seen, but there are secrets.
    Resend,
    None,
    Delete,
}

impl Change {
    fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update(_) => "update",
            Self::Resend => "unchanged, secrets are sent again",
            Self::None => "unchanged",
            Self::Delete => "delete",
        }
    }

    fn differs(&self) -> bool {
        !matches!(self, Self::Resend | Self::None)
    }
}

/// The connectors that files and directories describe, by name.
///
/// # Errors
/// A file that describes none, or two that describe the same.
pub(super) fn files(paths: &[PathBuf]) -> Result<BTreeMap<String, ConnectorFile>, BadInput> {
    let mut connectors = BTreeMap::new();
    let mut places: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in paths {
        for file in within(path)? {
            let connector = ConnectorFile::read(&file)?;
            if let Some(other) = places.insert(connector.name.clone(), file.clone()) {
                return Err(BadInput(anyhow!(
                    "{} and {} both describe connector {}: keep one of them",
                    other.display(),
                    file.display(),
                    connector.name
                )));
            }
            connectors.insert(connector.name.clone(), connector);
        }
    }
    Ok(connectors)
}

/// The file itself, or the connector files of a directory in the order of their names, not those of its directories.
fn within(path: &Path) -> Result<Vec<PathBuf>, BadInput> {
    let unreadable = || format!("{} cannot be read", path.display());
    if !std::fs::metadata(path).with_context(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(path).with_context(unreadable)? {
        let file = entry.with_context(unreadable)?.path();
        let is_connector = file
            .extension()
            .is_some_and(|kind| kind == "json" || kind == "properties");
        if is_connector && file.is_file() {
            found.insert(file);
        }
    }
    if found.is_empty() {
        return Err(BadInput(anyhow!(
            "{} holds no .json or .properties file",
            path.display()
        )));
    }
    Ok(found.into_iter().collect())
}

/// How the stored configuration differs from the wanted one.
fn compare(stored: Option<&Value>, wanted: &SubmittedConfig) -> Change {
    let Some(stored) = stored else {
        return Change::Create;
    };
    let stored: BTreeMap<&str, &str> = members(stored, "")
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect();
    // The name is stored with the settings, whether the file says it or not.
    let keys = stored.keys().copied().chain(wanted.keys().map(String::as_str));
    let keys: BTreeSet<&str> = keys.filter(|key| *key != "name").collect();
    let mut differences = BTreeMap::new();
    let mut has_secrets = false;
    for key in keys {
        let (old, new) = (stored.get(key).copied(), wanted.get(key).and_then(Option::as_deref));
        if old == Some(MASK) && new.is_some() {
            has_secrets |= new != Some(MASK);
        } else if old != new {
            differences.insert(key.to_owned(), (old.map(str::to_owned), new.map(str::to_owned)));
        }
    }
    match (differences.is_empty(), has_secrets) {
        (false, _) => Change::Update(differences),
        (true, true) => Change::Resend,
        (true, false) => Change::None,
    }
}

/// Values of settings that are secret wherever they stand: the worker masks what it stores, the file's are plain.
fn shown(key: &str, value: &str) -> String {
    let key = key.to_ascii_lowercase();
    let is_secret = [
        "password",
        "secret",
        "token",
        "jaas",
        "credential",
        "private",
        "access.key",
        "user.info",
    ]
    .iter()
    .any(|part| key.contains(part));
    if is_secret && !value.starts_with("${") {
        MASK.to_owned()
    } else {
        value.to_owned()
    }
}

fn lines(name: &str, change: &Change, wanted: Option<&ConnectorFile>) -> Vec<String> {
    let mut lines = vec![format!("{name}: {}", change.name())];
    let line = |sign: char, key: &str, value: &str| format!("  {sign} {key}: {}", shown(key, value));
    match change {
        Change::Update(differences) => {
            for (key, (old, new)) in differences {
                lines.extend(old.iter().map(|old| line('-', key, old)));
                lines.extend(new.iter().map(|new| line('+', key, new)));
            }
        }
        Change::Create => {
            let settings = wanted.into_iter().flat_map(|wanted| &wanted.config);
            lines.extend(settings.filter_map(|(key, value)| Some(line('+', key, value.as_deref()?))));
        }
        Change::Resend | Change::None | Change::Delete => {}
    }
    lines
}

impl Run for ApplyArgs {
    async fn run(&self, api: &Api) -> anyhow::Result<Exit> {
        let wanted = files(&self.files)?;
        let mut plan: Vec<(String, Change)> = Vec::new();
        for (name, file) in &wanted {
            let stored = api.find(&path(&["connectors", name, "config"])).await?;
            plan.push((name.clone(), compare(stored.as_ref(), &file.config)));
        }
        if self.prune {
            let there = api.get("/connectors").await?;
            let there = there.as_array().into_iter().flatten().filter_map(Value::as_str);
            plan.extend(
                there
                    .filter(|name| !wanted.contains_key(*name))
                    .map(|name| (name.to_owned(), Change::Delete)),
            );
        }
        let mut report = Vec::new();
        let mut exit = Exit::Done;
        for (name, change) in &plan {
            let file = wanted.get(name);
            for line in lines(name, change, file) {
                say(api, &line)?;
            }
            if !self.dry_run {
                carry_out(api, name, change, file).await?;
            } else if change.differs() {
                exit = Exit::Differs;
            }
            report.push(json!({"name": name, "change": change.name(), "settings": settings(change)}));
        }
        if !self.dry_run {
            for (name, change) in &plan {
                let goal = if *change == Change::Delete {
                    Goal::Gone
                } else {
                    Goal::Settled
                };
                exit = exit.and(self.wait.until(api, name, goal).await?);
            }
        }
        if api.is_json {
            print_json(&Value::Array(report))?;
        }
        Ok(exit)
    }
}

/// The keys that change.
fn settings(change: &Change) -> Vec<&str> {
    match change {
        Change::Update(differences) => differences.keys().map(String::as_str).collect(),
        Change::Create | Change::Resend | Change::None | Change::Delete => Vec::new(),
    }
}

async fn carry_out(api: &Api, name: &str, change: &Change, file: Option<&ConnectorFile>) -> anyhow::Result<()> {
    let config = path(&["connectors", name, "config"]);
    match (change, file) {
        (Change::None, _) => return Ok(()),
        (Change::Create, Some(file)) => api.send(Method::POST, "/connectors", Some(&creation(file))).await,
        (_, Some(file)) => api.send(Method::PUT, &config, Some(&config_of(file))).await,
        (_, None) => api.send(Method::DELETE, &path(&["connectors", name]), None).await,
    }
    .with_context(|| format!("{name}: {} failed, connectors after it are not touched", change.name()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &[(&str, &str)]) -> SubmittedConfig {
        settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())))
            .collect()
    }

    #[test]
    fn only_what_can_be_seen_to_differ_is_a_difference() {
        let stored = json!({"name": "a", "topics": "t", "x.password": MASK});
        let cases = [
            (config(&[("topics", "t"), ("x.password", MASK)]), Change::None),
            (
                config(&[("name", "a"), ("topics", "t"), ("x.password", "p")]),
                Change::Resend,
            ),
            (
                config(&[("topics", "u"), ("x.password", "p"), ("y", "1")]),
                Change::Update(BTreeMap::from([
                    ("topics".to_owned(), (Some("t".to_owned()), Some("u".to_owned()))),
                    ("y".to_owned(), (None, Some("1".to_owned()))),
                ])),
            ),
            (
                config(&[("topics", "t")]),
                Change::Update(BTreeMap::from([(
                    "x.password".to_owned(),
                    (Some(MASK.to_owned()), None),
                )])),
            ),
        ];
        for (wanted, change) in cases {
            assert_eq!(compare(Some(&stored), &wanted), change, "{wanted:?}");
        }
        assert_eq!(compare(None, &config(&[])), Change::Create);
    }

    #[test]
    fn a_difference_shows_no_secret_but_references() {
        let wanted = config(&[
            ("aws.secret.access.key", "hush"),
            ("x.password", "${file:/x:y}"),
            ("topics", "t"),
        ]);
        let file = ConnectorFile {
            name: "a".to_owned(),
            config: wanted,
            initial_state: None,
        };
        let mut lines = lines("a", &Change::Create, Some(&file));
        lines.sort();
        assert_eq!(
            lines,
            [
                "  + aws.secret.access.key: [hidden]",
                "  + topics: t",
                "  + x.password: ${file:/x:y}",
                "a: create"
            ]
        );
    }

    #[test]
    fn a_directory_is_its_connector_files_and_names_are_given_once() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("a.json", r#"{"name":"a","topics":"t"}"#);
        write("b.properties", "name=b\ntopics=t\n");
        write("README.md", "no connector");
        let paths = [dir.path().to_owned()];
        assert_eq!(files(&paths).unwrap().into_keys().collect::<Vec<_>>(), ["a", "b"]);
        write("c.json", r#"{"name":"a"}"#);
        let error = files(&paths).unwrap_err().to_string();
        assert!(
            error.ends_with("both describe connector a: keep one of them"),
            "{error}"
        );
    }
}
