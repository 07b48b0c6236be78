//! Config providers: `config.providers` of the worker, and the references to them in every configuration.
//!
//! **Invariant:** what a reference stands for exists only where it is used. Configurations are stored, shown and compared
//! with their references.

mod local;
mod reference;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::config::KeysOnly;
use klamm_connect_api::provider::{Asker, ConfigProvider, ConfigProviderPlugin, NotProvided, Provided};
use klamm_connect_api::{ConfigError, ConfigErrors, RawConfig, Secret};
use tokio::time::timeout;

use self::reference::{Piece, Reference, pieces};
pub(crate) use self::reference::{has_reference, is_reference};
use super::stripped;
use crate::plugins::Plugins;

/// Most bytes that the references of a configuration may stand for: a short one may be there many thousand times.
const MAX_BYTES: usize = 4 * 1024 * 1024;

const PROVIDERS: &str = "config.providers";
/// How long one provider may take for one value.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A value that is shorter is found in any text.
const MIN_HIDDEN: usize = 4;

/// The worker's config providers.
#[derive(Clone, Default)]
pub struct Providers(Arc<BTreeMap<String, Arc<dyn ConfigProvider>>>);

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A configuration with what its references stand for.
#[derive(Clone, Default)]
pub(crate) struct Resolved {
    /// With values in place of references; a reference that stands for nothing is still there.
    pub(crate) config: RawConfig,
    /// The references that stand for nothing, by key.
    pub(crate) missing: Vec<Missing>,
    /// When to look again whether values changed; none is never.
    pub(crate) lease: Option<Duration>,
    /// Values with the references that stand for them.
    values: Vec<(Secret, String)>,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved")
            .field("config", &KeysOnly(&self.config))
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// A reference that stands for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The setting that holds it.
    pub(crate) key: String,
    /// What is wrong, with the reference.
    pub(crate) message: String,
    /// Whether it may be there later without anybody's doing.
    pub(crate) may_pass: bool,
}

impl Resolved {
    /// The text without the values of references, which stand in their place: errors may quote them.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, reference) in &self.values {
            // Files end with a line's end, and settings are trimmed before they are used and quoted.
            for shown in [value.reveal(), value.reveal().trim()] {
                if shown.len() >= MIN_HIDDEN && text.contains(shown) {
                    text = text.replace(shown, reference);
                }
            }
        }
        text
    }

    /// What is missing, as errors of its keys.
    pub(crate) fn errors(&self) -> Vec<ConfigError> {
        let errors = self.missing.iter();
        errors
            .map(|missing| ConfigError::new(missing.key.clone(), missing.message.clone()))
            .collect()
    }
}

impl Providers {
    /// The providers that the worker's properties name.
    ///
    /// # Errors
    /// An unknown class, or a setting that is wrong.
    pub fn open(properties: &RawConfig, plugins: &Plugins) -> Result<Self, ConfigErrors> {
        let mut providers = BTreeMap::new();
        let mut errors = Vec::new();
        let aliases = properties.get(PROVIDERS).map(String::as_str).unwrap_or_default();
        for alias in aliases.split(',').map(str::trim).filter(|alias| !alias.is_empty()) {
            let prefix = format!("{PROVIDERS}.{alias}.");
            let class_key = format!("{prefix}class");
            let Some(class) = properties.get(&class_key) else {
                errors.push(ConfigError::new(
                    class_key,
                    "is missing: it says what kind of config provider this is",
                ));
                continue;
            };
            let Some(plugin) = find(class.trim(), plugins) else {
                let text = format!(
                    "config provider {} is not known: there are {}",
                    class.trim(),
                    known(plugins)
                );
                errors.push(ConfigError::new(class_key, text));
                continue;
            };
            let param = format!("{prefix}param.");
            match plugin.open(&stripped(properties, &param)) {
                Ok(provider) => drop(providers.insert(alias.to_owned(), provider)),
                Err(wrong) => {
                    let wrong = wrong.as_slice().iter();
                    errors.extend(
                        wrong.map(|error| ConfigError::new(format!("{param}{}", error.key), error.message.clone())),
                    );
                }
            }
        }
        ConfigErrors::check(errors)?;
        Ok(Self(Arc::new(providers)))
    }

    /// The worker's properties with what their references stand for.
    ///
    /// # Errors
    /// A reference that stands for nothing.
    pub async fn resolve_worker(&self, properties: &RawConfig) -> Result<RawConfig, ConfigErrors> {
        let resolved = self.resolve(properties, Asker::Worker).await;
        ConfigErrors::check(resolved.errors())?;
        Ok(resolved.config)
    }

    /// The configuration with what its references stand for.
    pub(crate) async fn resolve(&self, config: &RawConfig, asker: Asker) -> Resolved {
        let mut resolved = Resolved::default();
        // A secret with several keys is asked for once for each of them; a reference that stands twice, once.
        let mut known: HashMap<Reference, Result<Provided, NotProvided>> = HashMap::new();
        let mut taken = 0;
        for (key, value) in config {
            let mut text = String::with_capacity(value.len());
            for piece in pieces(value) {
                let reference = match piece {
                    Piece::Text(plain) => {
                        text.push_str(plain);
                        continue;
                    }
                    Piece::Reference(reference) => reference,
                };
                if !known.contains_key(&reference) {
                    let got = self.get(&reference, asker).await;
                    known.insert(reference.clone(), got);
                }
                match known.get(&reference) {
                    Some(Ok(provided)) if taken + provided.value.reveal().len() > MAX_BYTES => {
                        resolved.missing.push(Missing {
                            key: key.clone(),
                            message: format!(
                                "`{reference}`: what the references of a configuration stand for takes more than \
                                 {MAX_BYTES} bytes"
                            ),
                            may_pass: false,
                        });
                        // One is enough to refuse it.
                        return resolved;
                    }
                    Some(Ok(provided)) => {
                        taken += provided.value.reveal().len();
                        text.push_str(provided.value.reveal());
                    }
                    Some(Err(error)) => {
                        text.push_str(&reference.to_string());
                        resolved.missing.push(Missing {
                            key: key.clone(),
                            message: format!("`{reference}` stands for nothing: {error}"),
                            may_pass: matches!(error, NotProvided::Now(_)),
                        });
                    }
                    None => {}
                }
            }
            resolved.config.insert(key.clone(), text);
        }
        for (reference, got) in known {
            let Ok(provided) = got else { continue };
            resolved.lease = [resolved.lease, provided.lease].into_iter().flatten().min();
            resolved.values.push((provided.value, reference.to_string()));
        }
        // The longest first: one value may be a part of another.
        resolved
            .values
            .sort_by_key(|(value, _)| std::cmp::Reverse(value.reveal().len()));
        resolved
    }

    async fn get(&self, reference: &Reference, asker: Asker) -> Result<Provided, NotProvided> {
        let Reference { provider, path, key } = reference;
        let Some(found) = self.0.get(provider) else {
            return Err(NotProvided::Refused(format!(
                "the worker has no config provider `{provider}`: `{PROVIDERS}` names those that it has"
            )));
        };
        match timeout(TIMEOUT, found.get(path, key, asker)).await {
            Ok(got) => got,
            Err(_) => Err(NotProvided::Now(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }
}

fn all(plugins: &Plugins) -> Vec<Arc<dyn ConfigProviderPlugin>> {
    local::plugins()
        .into_iter()
        .chain(plugins.config_providers().iter().cloned())
        .collect()
}

/// As with other plugins: the class, or its name without the package.
fn find(class: &str, plugins: &Plugins) -> Option<Arc<dyn ConfigProviderPlugin>> {
    let means = |known: &&str| *known == class || known.rsplit('.').next() == Some(class);
    all(plugins)
        .into_iter()
        .find(|plugin| plugin.classes().iter().any(means))
}

fn known(plugins: &Plugins) -> String {
    let classes = all(plugins);
    let first = classes.iter().filter_map(|plugin| plugin.classes().first().copied());
    first.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn raw(given: &[(&str, &str)]) -> RawConfig {
        given
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[tokio::test]
    async fn references_stand_for_a_bounded_number_of_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap().display().to_string();
        fs::write(dir.path().join("k"), "x".repeat(MAX_BYTES / 8)).unwrap();
        let properties = raw(&[
            ("config.providers", "d"),
            ("config.providers.d.class", "DirectoryConfigProvider"),
            ("config.providers.d.param.allowed.paths", &folder),
        ]);
        let providers = Providers::open(&properties, &Plugins::new()).unwrap();
        let reference = format!("${{d:{folder}:k}}");
        let resolve = async |times| {
            let config = raw(&[("a", &reference.repeat(times))]);
            providers.resolve(&config, Asker::Connector).await
        };
        let fits = resolve(8).await;
        assert_eq!((fits.missing.len(), fits.config["a"].len()), (0, MAX_BYTES));
        let more = resolve(10_000).await;
        assert_eq!(more.missing.len(), 1);
        assert!(
            more.missing[0].message.contains("takes more than"),
            "{}",
            more.missing[0].message
        );
    }

    #[tokio::test]
    async fn references_are_replaced_and_errors_name_the_key_and_never_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let file = folder.join("a.properties").display().to_string();
        fs::write(&file, "user=ada\npassword=s3cret\n").unwrap();
        let properties = raw(&[
            ("config.providers", "file, env"),
            ("config.providers.file.class", "FileConfigProvider"),
            (
                "config.providers.file.param.allowed.paths",
                &folder.display().to_string(),
            ),
            ("config.providers.file.param.ttl.ms", "5000"),
            (
                "config.providers.env.class",
                "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
            ),
        ]);
        let providers = Providers::open(&properties, &Plugins::new()).unwrap();
        let config = raw(&[
            ("plain", "1"),
            ("both", &format!("${{file:{file}:user}}:${{file:{file}:password}}")),
            ("gone", &format!("${{file:{file}:gone}}")),
            ("env", "${env:PATH}"),
            ("none", "${vault:a:b}"),
            ("topic", "${topic}"),
        ]);
        let resolved = providers.resolve(&config, Asker::Connector).await;
        assert_eq!(resolved.config["plain"], "1");
        assert_eq!(resolved.config["both"], "ada:s3cret");
        assert_eq!(resolved.config["topic"], "${topic}", "no reference");
        assert_eq!(resolved.config["gone"], config["gone"], "still there");
        assert_eq!(resolved.lease, Some(Duration::from_secs(5)));
        let missing: Vec<_> = resolved
            .missing
            .iter()
            .map(|missing| (&*missing.key, &*missing.message))
            .collect();
        let wanted = [
            (
                "env",
                "`${env:PATH}` stands for nothing: variable PATH may not be read for connectors",
            ),
            ("gone", "a.properties has no key `gone`"),
            (
                "none",
                "`${vault:a:b}` stands for nothing: the worker has no config provider `vault`",
            ),
        ];
        assert_eq!(missing.len(), wanted.len(), "{missing:?}");
        for ((key, message), (wanted_key, wanted)) in missing.iter().zip(wanted) {
            assert!(*key == wanted_key && message.contains(wanted), "{key}: {message}");
        }
        let shown = resolved.hide("login as ada:s3cret failed");
        assert_eq!(
            shown,
            format!("login as ada:${{file:{file}:password}} failed"),
            "short values are everywhere"
        );
        assert!(!format!("{resolved:?}").contains("s3cret"));
    }

    #[test]
    fn providers_that_are_unknown_or_wrong_are_refused_by_their_keys() {
        let cases: [(&[(&str, &str)], &str); 3] = [
            (&[("config.providers", "x")], "`config.providers.x.class`: is missing"),
            (
                &[("config.providers", "x"), ("config.providers.x.class", "io.acme.Vault")],
                "io.acme.Vault is not known: there are org.apache",
            ),
            (
                &[
                    ("config.providers", "x"),
                    ("config.providers.x.class", "EnvVarConfigProvider"),
                    ("config.providers.x.param.allowlist.pattern", "("),
                ],
                "config.providers.x.param.allowlist.pattern",
            ),
        ];
        for (given, wanted) in cases {
            let error = Providers::open(&raw(given), &Plugins::new()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
