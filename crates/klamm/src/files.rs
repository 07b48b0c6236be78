//! Files that users bring along: worker properties and connectors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::{fmt, fs};

use klamm_connect_api::config::KeysOnly;
use klamm_runtime::{SubmittedConfig, TargetState};
use serde_json::Value;

/// A connector as a file on the command line describes it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectorFile {
    /// Name of the connector.
    pub name: String,
    /// Its configuration.
    pub config: SubmittedConfig,
    /// What it does when it is created.
    pub initial_state: Option<TargetState>,
}

impl fmt::Debug for ConnectorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorFile")
            .field("name", &self.name)
            .field("config", &KeysOnly(&self.config))
            .field("initial_state", &self.initial_state)
            .finish()
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An environment variable is no text.
    #[error("environment variable {name} is not UTF-8: a property is text")]
    Variable {
        /// The variable.
        name: String,
    },
    /// It is not what its name says.
    #[error("{path} is not valid: {what}")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong and what is accepted.
        what: String,
    },
}

fn invalid(path: &Path, what: impl Into<String>) -> FileError {
    FileError::Invalid {
        path: path.display().to_string(),
        what: what.into(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Unreadable {
        path: path.display().to_string(),
        source,
    })
}

/// Reads a file of Java properties.
///
/// # Errors
/// It cannot be read, or has a malformed escape.
pub fn read_properties(path: &Path) -> Result<BTreeMap<String, String>, FileError> {
    let bytes = read(path)?;
    // Java's own reader takes properties as ISO-8859-1; its users write UTF-8.
    let text = String::from_utf8(bytes).map_err(|_| invalid(path, "it is not UTF-8 text"))?;
    klamm_java_compat::properties::parse(&text).map_err(|what| invalid(path, what))
}

/// The worker property that an environment variable sets: `CONNECT_` and the key in capitals with `_` for each dot, `__`
/// for `_` and `___` for `-`, as in Confluent's container images.
fn property_of_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix("CONNECT_").filter(|rest| !rest.is_empty())?;
    // The longest runs first; the placeholders cannot occur in the name of a variable.
    let key = rest
        .replace("___", "\0")
        .replace("__", "\x01")
        .replace('_', ".")
        .replace('\0', "-")
        .replace('\x01', "_");
    Some(key.to_ascii_lowercase())
}

/// Java's system property with the JAAS file, a property of the worker here.
const JAAS_FILE: &str = "java.security.auth.login.config";

/// The JAAS file that the options of a Java virtual machine name: `-Djava.security.auth.login.config=/etc/jaas.conf`.
fn jaas_file_of_options(options: &str) -> Option<String> {
    let options = options.split_ascii_whitespace();
    let mut files = options.filter_map(|option| option.strip_prefix("-D")?.strip_prefix(JAAS_FILE)?.strip_prefix('='));
    // As Java does, the last one counts; `==` replaces what Java itself has configured, which is nothing here.
    files
        .next_back()
        .map(|file| file.trim_start_matches('=').trim_matches('"').to_owned())
}

/// The worker properties that the environment sets: `CONNECT_BOOTSTRAP_SERVERS` is `bootstrap.servers`, `__` stands for
/// `_` and `___` for `-`, as in Confluent's container images. `KAFKA_OPTS` sets the JAAS file, as it does for Java's worker.
///
/// # Errors
/// A property's value is not UTF-8. Variables that set no property may be anything.
pub fn properties_of_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, FileError> {
    let mut properties = BTreeMap::new();
    for (name, value) in variables {
        if name == "KAFKA_OPTS" {
            let file = value.to_str().and_then(jaas_file_of_options);
            properties.extend(file.map(|file| (JAAS_FILE.to_owned(), file)));
            continue;
        }
        let Some(property) = name.to_str().and_then(property_of_variable) else {
            continue;
        };
        let value = value.into_string().map_err(|_| FileError::Variable {
            name: name.to_string_lossy().into_owned(),
        })?;
        properties.insert(property, value);
    }
    Ok(properties)
}

impl ConnectorFile {
    /// Reads a connector: `.properties`, a flat JSON object, or the shape of `POST /connectors`.
    ///
    /// # Errors
    /// The file cannot be read, is none of these, or names no connector.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let (name, config, initial_state) = parts(path)?;
        Ok(Self {
            name: name.ok_or_else(|| invalid(path, "`name` is missing: it names the connector"))?,
            config,
            initial_state,
        })
    }

    /// A connector that a file holds beside other things: its settings, or the shape of `POST /connectors`. `path` is
    /// named in errors; `name` counts unless the configuration has one.
    ///
    /// # Errors
    /// The value is neither of the shapes.
    pub fn from_json(path: &Path, name: String, value: Value) -> Result<Self, FileError> {
        let (own, mut config, initial_state) = parts_of_json(path, value)?;
        let name = own.unwrap_or(name);
        config.insert("name".to_owned(), Some(name.clone()));
        Ok(Self {
            name,
            config,
            initial_state,
        })
    }

    /// Reads the configuration alone, of a connector that may have no name.
    ///
    /// # Errors
    /// The file cannot be read, or is neither of the shapes.
    pub fn read_config(path: &Path) -> Result<SubmittedConfig, FileError> {
        parts(path).map(|(_, config, _)| config)
    }
}

/// Name, configuration and initial state of a connector.
type Parts = (Option<String>, SubmittedConfig, Option<TargetState>);

fn parts(path: &Path) -> Result<Parts, FileError> {
    if path.extension().is_some_and(|extension| extension == "properties") {
        let config = read_properties(path)?
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        return Ok(flat(config));
    }
    let value = serde_json::from_slice(&read(path)?).map_err(|error| invalid(path, error.to_string()))?;
    parts_of_json(path, value)
}

fn parts_of_json(path: &Path, value: Value) -> Result<Parts, FileError> {
    let Value::Object(mut object) = value else {
        return Err(invalid(path, "a connector is a JSON object"));
    };
    // Unknown members beside `name` and `config` are tolerated here, as in Connect.
    match object.remove("config") {
        Some(Value::Object(config)) => {
            let config = texts(path, config)?;
            let name = object
                .get("name")
                .and_then(Value::as_str)
                .map(|name| name.trim().to_owned());
            let initial_state = match object.get("initial_state") {
                None | Some(Value::Null) => None,
                Some(state) => Some(initial_state(path, state)?),
            };
            Ok((name, config, initial_state))
        }
        Some(_) => Err(invalid(path, "`config` is a JSON object of settings")),
        None => Ok(flat(texts(path, object)?)),
    }
}

fn flat(config: SubmittedConfig) -> Parts {
    let name = config.get("name").cloned().flatten();
    (name.filter(|name| !name.trim().is_empty()), config, None)
}

fn initial_state(path: &Path, state: &Value) -> Result<TargetState, FileError> {
    let states = [
        ("RUNNING", TargetState::Started),
        ("PAUSED", TargetState::Paused),
        ("STOPPED", TargetState::Stopped),
    ];
    let found = states
        .iter()
        .find(|(name, _)| state.as_str().is_some_and(|text| text.eq_ignore_ascii_case(name)));
    found
        .map(|(_, state)| *state)
        .ok_or_else(|| invalid(path, "`initial_state` is one of RUNNING, PAUSED, STOPPED"))
}

fn texts(path: &Path, object: serde_json::Map<String, Value>) -> Result<SubmittedConfig, FileError> {
    let text = |(key, value): (String, Value)| match value {
        Value::Null => Ok((key, None)),
        Value::String(text) => Ok((key, Some(text))),
        Value::Bool(_) | Value::Number(_) => Ok((key, Some(value.to_string()))),
        Value::Array(_) | Value::Object(_) => Err(invalid(
            path,
            format!("the value of `{key}` is an array or an object: settings are text, numbers, true or false"),
        )),
    };
    object.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> Result<ConnectorFile, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        ConnectorFile::read(&path).map_err(|error| error.to_string().replace(&path.display().to_string(), name))
    }

    #[test]
    fn properties_of_windows_are_the_same_properties() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.properties");
        fs::write(&path, "\u{feff}a=1\r\nb=x \\\r\n  y\r\n").unwrap();
        let wanted = [("a", "1"), ("b", "x y")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(read_properties(&path).unwrap(), BTreeMap::from(wanted));
    }

    #[test]
    fn a_connector_file_has_one_of_three_shapes() {
        let wanted = ConnectorFile {
            name: "a".to_owned(),
            config: [("name", "a"), ("tasks.max", "2"), ("topics", "tö")]
                .map(|(key, value)| (key.to_owned(), Some(value.to_owned())))
                .into(),
            initial_state: None,
        };
        assert_eq!(
            file("a.properties", "name=a\ntasks.max = 2\ntopics=tö\n"),
            Ok(wanted.clone())
        );
        assert_eq!(
            file("a.json", r#"{"name":"a","tasks.max":2,"topics":"tö"}"#),
            Ok(wanted.clone())
        );
        let post = r#"{"name":"a","config":{"name":"a","tasks.max":2,"topics":"tö"},"initial_state":"stopped","x":1}"#;
        assert_eq!(
            file("a.json", post),
            Ok(ConnectorFile {
                initial_state: Some(TargetState::Stopped),
                ..wanted
            })
        );
    }

    #[test]
    fn environment_variables_name_properties() {
        let cases = [
            ("CONNECT_BOOTSTRAP_SERVERS", Some("bootstrap.servers"), "dots"),
            ("CONNECT_A__B___C_D", Some("a_b-c.d"), "underscores and dashes"),
            ("CONNECT_", None, "no key"),
            ("PATH", None, "not ours"),
        ];
        for (variable, wanted, why) in cases {
            assert_eq!(property_of_variable(variable).as_deref(), wanted, "{why}");
        }
    }

    #[test]
    fn the_jaas_file_of_a_java_worker_is_taken_over() {
        let options = "-Xmx1g -Djava.security.auth.login.config=/a -Djava.security.auth.login.config=\"/b\" -Dx=y";
        let properties = properties_of_environment([("KAFKA_OPTS".into(), options.into())]).unwrap();
        assert_eq!(
            properties,
            BTreeMap::from([("java.security.auth.login.config".to_owned(), "/b".to_owned())])
        );
        let none = properties_of_environment([("KAFKA_OPTS".into(), "-Xmx1g".into())]).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn variables_that_are_no_text_matter_only_if_they_set_a_property() {
        use std::os::unix::ffi::OsStringExt as _;
        let bad = || OsString::from_vec(vec![0xff]);
        let fine = properties_of_environment([(bad(), bad()), ("CONNECT_GROUP_ID".into(), "g".into())]).unwrap();
        assert_eq!(fine, BTreeMap::from([("group.id".to_owned(), "g".to_owned())]));
        let error = properties_of_environment([("CONNECT_GROUP_ID".into(), bad())]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "environment variable CONNECT_GROUP_ID is not UTF-8: a property is text"
        );
    }

    #[test]
    fn a_bad_file_is_refused_with_what_is_accepted() {
        let cases = [
            ("[1]", "a.json is not valid: a connector is a JSON object"),
            (
                r#"{"topics":"t"}"#,
                "a.json is not valid: `name` is missing: it names the connector",
            ),
            (
                r#"{"config":{}}"#,
                "a.json is not valid: `name` is missing: it names the connector",
            ),
            (
                r#"{"name":"a","topics":["t"]}"#,
                "a.json is not valid: the value of `topics` is an array or an object: settings are text, numbers, true or false",
            ),
            (
                r#"{"name":"a","config":{},"initial_state":"up"}"#,
                "a.json is not valid: `initial_state` is one of RUNNING, PAUSED, STOPPED",
            ),
        ];
        for (text, wanted) in cases {
            assert_eq!(file("a.json", text).unwrap_err(), wanted);
        }
    }
}
