//! Kafka's own config providers: files of properties, folders of files, environment variables.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use klamm_connect_api::provider::{Asker, ConfigProvider, ConfigProviderPlugin, NotProvided, Provided};
use klamm_connect_api::{BoxFuture, ConfigError, ConfigErrors, RawConfig, Secret};
use klamm_java_compat::{Pattern, properties};

/// A file of settings is some kilobytes; what is larger is some other file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const ALLOWED_PATHS: &str = "allowed.paths";
const ALLOWLIST: &str = "allowlist.pattern";
const TTL: &str = "ttl.ms";
/// How long until a file is looked at again.
const FILE_TTL_MS: u64 = 60_000;

/// The providers that every worker has.
pub(super) fn plugins() -> [Arc<dyn ConfigProviderPlugin>; 3] {
    [Arc::new(FilePlugin), Arc::new(DirectoryPlugin), Arc::new(EnvPlugin)]
}

fn unknown_params(params: &RawConfig, known: &[&str]) -> Vec<ConfigError> {
    let unknown = params.keys().filter(|key| !known.contains(&key.as_str()));
    unknown
        .map(|key| {
            ConfigError::new(
                key.clone(),
                format!("is no setting of this provider: it has {}", known.join(", ")),
            )
        })
        .collect()
}

fn ttl(params: &RawConfig, errors: &mut Vec<ConfigError>) -> Option<Duration> {
    let Some(text) = params.get(TTL) else {
        return Some(Duration::from_millis(FILE_TTL_MS));
    };
    match text.trim().parse::<u64>() {
        Ok(0) => None,
        Ok(millis) => Some(Duration::from_millis(millis.max(1000))),
        Err(_) => {
            errors.push(ConfigError::new(
                TTL,
                "Value must be a number of milliseconds; 0 never looks again",
            ));
            None
        }
    }
}

/// Which files may be read for connectors.
#[derive(Debug)]
struct AllowedPaths(Option<Vec<PathBuf>>);

impl AllowedPaths {
    fn read(params: &RawConfig, errors: &mut Vec<ConfigError>) -> Self {
        let Some(text) = params.get(ALLOWED_PATHS) else {
            return Self(None);
        };
        let paths = text
            .split(',')
            .map(str::trim)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let paths: Vec<PathBuf> = paths.collect();
        for path in paths.iter().filter(|path| !path.is_absolute() || !path.exists()) {
            let text = format!("{} is no absolute path of something that exists", path.display());
            errors.push(ConfigError::new(ALLOWED_PATHS, text));
        }
        Self(Some(paths))
    }

    /// The real path, free of links, if `asker` may read what is there.
    fn check(&self, path: &Path, asker: Asker) -> Result<PathBuf, NotProvided> {
        let refused = |what: &str| NotProvided::Refused(format!("{} {what}", path.display()));
        let denied = || refused("is not below `allowed.paths` of the provider");
        match (&self.0, asker) {
            (None, Asker::Worker) => {}
            (None, Asker::Connector) => {
                return Err(refused(
                    "may not be read for connectors: the provider has no `allowed.paths`, which names the folders that may",
                ));
            }
            // Before anything is looked up, so that nobody learns what exists elsewhere.
            (Some(allowed), _) => {
                let has_parent = path.components().any(|part| part == std::path::Component::ParentDir);
                if has_parent || !allowed.iter().any(|allowed| path.starts_with(allowed)) {
                    return Err(denied());
                }
            }
        }
        if !path.is_absolute() {
            return Err(refused("is no absolute path"));
        }
        let real = path.canonicalize().map_err(|error| cannot_read(path, &error))?;
        if let Some(allowed) = &self.0 {
            let mut allowed = allowed.iter().filter_map(|allowed| allowed.canonicalize().ok());
            if !allowed.any(|allowed| real.starts_with(allowed)) {
                return Err(denied());
            }
        }
        Ok(real)
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> NotProvided {
    // A secret that is being replaced is gone for a moment; a person has to look if it stays away.
    NotProvided::Refused(format!("{} cannot be read: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, NotProvided> {
    let metadata = fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Err(NotProvided::Refused(format!(
            "{} is no file of at most {MAX_FILE_BYTES} bytes",
            path.display()
        )));
    }
    fs::read_to_string(path).map_err(|error| cannot_read(path, &error))
}

/// Files are read where waiting for a disk holds up nobody.
fn blocking<'a>(
    get: impl FnOnce() -> Result<Provided, NotProvided> + Send + 'static,
) -> BoxFuture<'a, Result<Provided, NotProvided>> {
    Box::pin(async move {
        let got = tokio::task::spawn_blocking(get).await;
        got.unwrap_or_else(|error| Err(NotProvided::Now(format!("it cannot be read: {error}"))))
    })
}

#[derive(Debug)]
struct FilePlugin;

impl ConfigProviderPlugin for FilePlugin {
    fn classes(&self) -> &'static [&'static str] {
        &["org.apache.kafka.common.config.provider.FileConfigProvider"]
    }

    fn open(&self, params: &RawConfig) -> Result<Arc<dyn ConfigProvider>, ConfigErrors> {
        let mut errors = unknown_params(params, &[ALLOWED_PATHS, TTL]);
        let allowed = Arc::new(AllowedPaths::read(params, &mut errors));
        let lease = ttl(params, &mut errors);
        ConfigErrors::check(errors)?;
        Ok(Arc::new(FileProvider { allowed, lease }))
    }
}

#[derive(Debug)]
struct FileProvider {
    allowed: Arc<AllowedPaths>,
    lease: Option<Duration>,
}

impl ConfigProvider for FileProvider {
    fn get<'a>(&'a self, path: &'a str, key: &'a str, asker: Asker) -> BoxFuture<'a, Result<Provided, NotProvided>> {
        let (allowed, lease) = (Arc::clone(&self.allowed), self.lease);
        let (path, key) = (PathBuf::from(path), key.to_owned());
        blocking(move || {
            let text = read(&allowed.check(&path, asker)?)?;
            let refused = |what: String| NotProvided::Refused(format!("{} {what}", path.display()));
            let properties = properties::parse(&text).map_err(|what| refused(format!("is not valid: {what}")))?;
            let value = properties
                .get(&key)
                .ok_or_else(|| refused(format!("has no key `{key}`")))?;
            Ok(Provided {
                value: Secret::new(value.as_str()),
                lease,
            })
        })
    }
}

#[derive(Debug)]
struct DirectoryPlugin;

impl ConfigProviderPlugin for DirectoryPlugin {
    fn classes(&self) -> &'static [&'static str] {
        &["org.apache.kafka.common.config.provider.DirectoryConfigProvider"]
    }

    fn open(&self, params: &RawConfig) -> Result<Arc<dyn ConfigProvider>, ConfigErrors> {
        let mut errors = unknown_params(params, &[ALLOWED_PATHS, TTL]);
        let allowed = Arc::new(AllowedPaths::read(params, &mut errors));
        let lease = ttl(params, &mut errors);
        ConfigErrors::check(errors)?;
        Ok(Arc::new(DirectoryProvider { allowed, lease }))
    }
}

#[derive(Debug)]
struct DirectoryProvider {
    allowed: Arc<AllowedPaths>,
    lease: Option<Duration>,
}

impl ConfigProvider for DirectoryProvider {
    fn get<'a>(&'a self, path: &'a str, key: &'a str, asker: Asker) -> BoxFuture<'a, Result<Provided, NotProvided>> {
        let (allowed, lease) = (Arc::clone(&self.allowed), self.lease);
        let (path, key) = (PathBuf::from(path), key.to_owned());
        blocking(move || {
            // A file of the folder itself, as in Kafka.
            if key.contains('/') || key == ".." || key == "." {
                return Err(NotProvided::Refused(format!(
                    "`{key}` is no name of a file in {}",
                    path.display()
                )));
            }
            // The link of a mounted secret leads to a folder beside, so it is the real file that must be allowed.
            let text = read(&allowed.check(&path.join(&key), asker)?)?;
            Ok(Provided {
                value: Secret::new(text),
                lease,
            })
        })
    }
}

#[derive(Debug)]
struct EnvPlugin;

impl ConfigProviderPlugin for EnvPlugin {
    fn classes(&self) -> &'static [&'static str] {
        &["org.apache.kafka.common.config.provider.EnvVarConfigProvider"]
    }

    fn open(&self, params: &RawConfig) -> Result<Arc<dyn ConfigProvider>, ConfigErrors> {
        let mut errors = unknown_params(params, &[ALLOWLIST]);
        let pattern = params.get(ALLOWLIST).map(|text| Pattern::try_new(text)).transpose();
        let pattern = pattern.unwrap_or_else(|error| {
            errors.push(ConfigError::new(ALLOWLIST, error.to_string()));
            None
        });
        ConfigErrors::check(errors)?;
        Ok(Arc::new(EnvProvider { pattern }))
    }
}

#[derive(Debug)]
struct EnvProvider {
    pattern: Option<Pattern>,
}

impl ConfigProvider for EnvProvider {
    fn get<'a>(&'a self, path: &'a str, key: &'a str, asker: Asker) -> BoxFuture<'a, Result<Provided, NotProvided>> {
        let refused = |what: &str| Err(NotProvided::Refused(format!("variable {key} {what}")));
        let got = match (&self.pattern, asker) {
            _ if !path.is_empty() => refused("has no path: write `${provider:NAME}`"),
            (None, Asker::Connector) => refused(
                "may not be read for connectors: the provider has no `allowlist.pattern`, which names those that may",
            ),
            (Some(pattern), _) if !pattern.matches(key).unwrap_or(false) => {
                refused("does not match `allowlist.pattern` of the provider")
            }
            _ => match std::env::var(key) {
                Ok(value) => Ok(Provided {
                    value: Secret::new(value),
                    // A process never sees its environment change.
                    lease: None,
                }),
                Err(std::env::VarError::NotPresent) => refused("is not set"),
                Err(std::env::VarError::NotUnicode(_)) => refused("is not UTF-8"),
            },
        };
        Box::pin(std::future::ready(got))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Provider, settings, and what is said of them.
    type Case<'a> = (&'a dyn ConfigProviderPlugin, &'a [(&'a str, &'a str)], &'a str);

    fn params(given: &[(&str, &str)]) -> RawConfig {
        given
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    async fn get(provider: &dyn ConfigProvider, path: &str, key: &str, asker: Asker) -> Result<String, String> {
        let got = provider.get(path, key, asker).await;
        got.map(|provided| provided.value.reveal().to_owned())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn files_are_read_below_the_allowed_paths_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("in")).unwrap();
        fs::create_dir_all(root.join("inside-not")).unwrap();
        for folder in ["in", "inside-not", "."] {
            fs::write(root.join(folder).join("a.properties"), "pw=s3cret\n").unwrap();
        }
        std::os::unix::fs::symlink(root.join("a.properties"), root.join("in/link")).unwrap();
        let path = |name: &str| root.join(name).display().to_string();
        let allowed = path("in");
        let file = FilePlugin.open(&params(&[(ALLOWED_PATHS, &allowed)])).unwrap();
        let directory = DirectoryPlugin.open(&params(&[(ALLOWED_PATHS, &allowed)])).unwrap();
        let open = FilePlugin.open(&params(&[])).unwrap();
        let connector = Asker::Connector;
        assert_eq!(
            get(&*file, &path("in/a.properties"), "pw", connector).await.as_deref(),
            Ok("s3cret")
        );
        assert_eq!(
            get(&*directory, &path("in"), "a.properties", connector)
                .await
                .as_deref(),
            Ok("pw=s3cret\n")
        );
        let denied = [
            (path("in/a.properties"), "no", "has no key `no`"),
            (path("a.properties"), "pw", "is not below `allowed.paths`"),
            (path("in/../a.properties"), "pw", "is not below `allowed.paths`"),
            (path("in/link"), "pw", "is not below `allowed.paths`"),
            (path("inside-not/a.properties"), "pw", "is not below `allowed.paths`"),
            (path("nothing"), "pw", "is not below `allowed.paths`"),
            (path("in"), "pw", "is no file"),
            (path("in/nothing"), "pw", "cannot be read"),
            ("in/a.properties".to_owned(), "pw", "is not below `allowed.paths`"),
        ];
        for (path, key, wanted) in denied {
            let error = get(&*file, &path, key, connector).await.unwrap_err();
            assert!(error.contains(wanted) && !error.contains("s3cret"), "{path}: {error}");
        }
        for key in ["../a.properties", "..", "link"] {
            assert!(get(&*directory, &path("in"), key, connector).await.is_err(), "{key}");
        }
        // Without a list connectors read nothing, and the worker's own settings everything.
        let error = get(&*open, &path("a.properties"), "pw", connector).await.unwrap_err();
        assert!(error.contains("has no `allowed.paths`"), "{error}");
        assert_eq!(
            get(&*open, &path("a.properties"), "pw", Asker::Worker).await.as_deref(),
            Ok("s3cret")
        );
    }

    #[tokio::test]
    async fn variables_are_read_if_the_pattern_matches_them() {
        let env = EnvPlugin.open(&params(&[(ALLOWLIST, "CARGO_PKG_.*")])).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let name = "CARGO_PKG_VERSION";
        assert_eq!(get(&*env, "", name, Asker::Connector).await.as_deref(), Ok(version));
        let open = EnvPlugin.open(&params(&[])).unwrap();
        assert_eq!(get(&*open, "", name, Asker::Worker).await.as_deref(), Ok(version));
        let cases = [
            (&env, "", "PATH", "does not match `allowlist.pattern`"),
            (&env, "", "CARGO_PKG_NOTHING", "is not set"),
            (&env, "x", name, "has no path"),
            (&open, "", name, "has no `allowlist.pattern`"),
        ];
        for (provider, path, key, wanted) in cases {
            let error = get(&**provider, path, key, Asker::Connector).await.unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        let cases: [Case<'_>; 4] = [
            (&FilePlugin, &[("allowed.path", "/")], "`allowed.path`: is no setting"),
            (&FilePlugin, &[(ALLOWED_PATHS, "relative")], "no absolute path"),
            (&DirectoryPlugin, &[(TTL, "soon")], "number of milliseconds"),
            (&EnvPlugin, &[(ALLOWLIST, "(")], ALLOWLIST),
        ];
        for (plugin, given, wanted) in cases {
            let error = plugin.open(&params(given)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
