//! The settings of a registry client, under the names that Confluent's converters have for them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    BoxFuture, ConfigError, ConfigErrors, ConfigKey, ConfigType, Importance, ParsedConfig, Secret,
};
use percent_encoding::percent_decode_str;
use tokio::time::sleep;
use tracing::debug;

use crate::auth::{Authentication, OAuth};
use crate::error::RegistryError;
use crate::tls::{self, TlsPlan};

const GROUP: &str = "Schema Registry";

pub(crate) const URL: &str = "schema.registry.url";
const CONTEXT: &str = "schema.context";
const BASIC_SOURCE: &str = "basic.auth.credentials.source";
const USER_INFO: &str = "basic.auth.user.info";
const JAAS: &str = "sasl.jaas.config";
const BEARER_SOURCE: &str = "bearer.auth.credentials.source";
const BEARER_TOKEN: &str = "bearer.auth.token";
const ISSUER: &str = "bearer.auth.issuer.endpoint.url";
const CLIENT_ID: &str = "bearer.auth.client.id";
const CLIENT_SECRET: &str = "bearer.auth.client.secret";
const SCOPE: &str = "bearer.auth.scope";
const LOGICAL_CLUSTER: &str = "bearer.auth.logical.cluster";
const IDENTITY_POOL: &str = "bearer.auth.identity.pool.id";
const EXPIRY_BUFFER: &str = "bearer.auth.cache.expiry.buffer.seconds";
const PROXY_HOST: &str = "proxy.host";
const PROXY_PORT: &str = "proxy.port";
const CONNECT_TIMEOUT: &str = "http.connect.timeout.ms";
const READ_TIMEOUT: &str = "http.read.timeout.ms";
const MAX_RETRIES: &str = "max.retries";
const RETRY_WAIT: &str = "retries.wait.ms";
const RETRY_MAX_WAIT: &str = "retries.max.wait.ms";
const MAX_SCHEMAS: &str = "max.schemas.per.subject";
const LATEST_TTL: &str = "latest.cache.ttl.sec";
/// A setting per header: its name is what follows.
pub(crate) const HEADER_PREFIX: &str = "request.header.";

/// The settings of a registry client. Headers are set by `request.header.<name>`, which a definition takes by
/// [`ConfigDef::prefix`](klamm_connect_api::ConfigDef::prefix).
#[must_use]
pub fn config_keys() -> Vec<ConfigKey> {
    use ConfigType::{Int, List, Long, Password, String};
    use Importance::{High, Low, Medium};
    let key = |name: &str, config_type, importance, documentation: &str| {
        ConfigKey::new(name, config_type, importance, documentation).group(GROUP)
    };
    let text = |name: &str, documentation: &str| key(name, String, Medium, documentation).optional();
    let secret = |name: &str, documentation: &str| key(name, Password, Medium, documentation).optional();
    let mut keys =
        vec![
        key(
            URL,
            List,
            High,
            "URLs of the schema registry, separated by commas; the next one is asked when one does not answer.",
        )
        .validator(Validator::new(is_url)),
        text(
            CONTEXT,
            "The registry's context in which schemas are looked up, such as `.staging`; without it the default one.",
        )
        .aliases(&["schema.context.name"]),
        key(
            BASIC_SOURCE,
            String,
            Medium,
            "Where user and password come from: URL (`https://user:password@host`), USER_INFO \
             (`basic.auth.user.info`) or SASL_INHERIT (`sasl.jaas.config`).",
        )
        .default("URL")
        .validator(Validator::one_of(&["URL", "USER_INFO", "SASL_INHERIT"])),
        secret(USER_INFO, "User and password as `user:password`.").aliases(&["schema.registry.basic.auth.user.info"]),
        secret(JAAS, "The login module whose user name and password SASL_INHERIT takes."),
        text(
            BEARER_SOURCE,
            "Where the bearer token comes from: STATIC_TOKEN (`bearer.auth.token`) or OAUTHBEARER (client credentials, \
             asked for at `bearer.auth.issuer.endpoint.url`). Without it no token is sent.",
        )
        .validator(Validator::one_of(&["STATIC_TOKEN", "OAUTHBEARER"])),
        secret(BEARER_TOKEN, "The bearer token.").aliases(&["schema.registry.bearer.auth.token"]),
        text(ISSUER, "URL of the endpoint that issues tokens.").validator(Validator::new(is_url)),
        text(CLIENT_ID, "Client id for the token endpoint."),
        secret(CLIENT_SECRET, "Client secret for the token endpoint."),
        text(SCOPE, "Scope to ask the token endpoint for."),
        text(
            LOGICAL_CLUSTER,
            "Confluent Cloud's logical cluster of the registry, sent as `target-sr-cluster`.",
        ),
        text(
            IDENTITY_POOL,
            "Confluent Cloud's identity pool, sent as `Confluent-Identity-Pool-Id`.",
        ),
        key(
            EXPIRY_BUFFER,
            Long,
            Low,
            "A token is replaced this many seconds before it expires.",
        )
        .default("300")
        .validator(Validator::at_least(0)),
        text(PROXY_HOST, "Host of an HTTP proxy through which the registry is asked."),
        key(PROXY_PORT, Int, Medium, "Port of the proxy.")
            .optional()
            .validator(Validator::between(1, 65535)),
        key(CONNECT_TIMEOUT, Int, Low, "How long connecting may take.")
            .default("60000")
            .validator(Validator::at_least(1)),
        key(READ_TIMEOUT, Int, Low, "How long an answer may take.")
            .default("60000")
            .validator(Validator::at_least(1)),
        key(
            MAX_RETRIES,
            Int,
            Low,
            "How often a request that may succeed later is tried again at once; after that the partition waits and \
             comes back.",
        )
        .default("3")
        .validator(Validator::at_least(0)),
        key(
            RETRY_WAIT,
            Int,
            Low,
            "Wait before the first such attempt; it doubles with each.",
        )
        .default("1000")
        .validator(Validator::at_least(0)),
        key(RETRY_MAX_WAIT, Int, Low, "Longest wait between two attempts.")
            .default("20000")
            .validator(Validator::at_least(0)),
        key(MAX_SCHEMAS, Int, Low, "How many schemas are kept in memory.")
            .default("1000")
            .validator(Validator::at_least(1)),
        key(
            LATEST_TTL,
            Int,
            Low,
            "After how many seconds the latest version of a subject is asked for again; -1 is never.",
        )
        .default("-1")
        .validator(Validator::at_least(-1)),
    ];
    keys.extend(tls::config_keys(GROUP));
    keys
}

pub(crate) fn is_url(text: &str) -> Result<(), String> {
    endpoint(text).map(drop)
}

/// A URL and the credentials that stand in it.
fn endpoint(text: &str) -> Result<(String, Option<Secret>), String> {
    let wrong = || "must be a URL such as https://registry.example.com:8081".to_owned();
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    if !matches!(scheme, "http" | "https") {
        return Err(wrong());
    }
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(authority_end).ok_or_else(wrong)?;
    let (user_info, host) = match authority.rsplit_once('@') {
        Some((user_info, host)) => (Some(user_info), host),
        None => (None, authority),
    };
    let url = format!("{scheme}://{host}{}", path.trim_end_matches('/'));
    let parsed: http::Uri = url.parse().map_err(|_| wrong())?;
    if parsed.host().is_none_or(str::is_empty) || parsed.query().is_some() {
        return Err(wrong());
    }
    let user_info = user_info.map(|text| Secret::new(percent_decode_str(text).decode_utf8_lossy()));
    Ok((url, user_info))
}

/// Everything that a client needs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// URLs without credentials and without a slash at the end; never empty.
    pub(crate) urls: Vec<String>,
    /// Path in front of every request: the context.
    pub(crate) context: Option<String>,
    pub(crate) authentication: Authentication,
    /// Headers of every request but those of authentication.
    pub(crate) headers: HeaderMap,
    pub(crate) http: HttpSettings,
    pub(crate) retries: Retries,
    pub(crate) max_schemas: usize,
    /// None: for ever.
    pub(crate) latest_lives: Option<Duration>,
}

/// How connections are made.
#[derive(Debug, Clone)]
pub(crate) struct HttpSettings {
    /// Authority of the proxy.
    pub(crate) proxy: Option<http::Uri>,
    /// None if nothing is asked over TLS.
    pub(crate) tls: Option<TlsPlan>,
    pub(crate) connect_timeout: Duration,
    pub(crate) read_timeout: Duration,
}

/// How often and when a request is tried again at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retries {
    pub(crate) count: usize,
    pub(crate) wait: Duration,
    pub(crate) max_wait: Duration,
}

impl HttpSettings {
    pub(crate) fn new(config: &ParsedConfig, proxy: Option<http::Uri>, tls: Option<TlsPlan>) -> Self {
        Self {
            proxy,
            tls,
            connect_timeout: millis(config, CONNECT_TIMEOUT),
            read_timeout: millis(config, READ_TIMEOUT),
        }
    }
}

fn millis(config: &ParsedConfig, key: &str) -> Duration {
    config.millis(key).unwrap_or(Duration::from_secs(60))
}

impl Retries {
    pub(crate) fn of(config: &ParsedConfig) -> Self {
        Self {
            count: config.usize(MAX_RETRIES).unwrap_or(3),
            wait: millis(config, RETRY_WAIT),
            max_wait: millis(config, RETRY_MAX_WAIT),
        }
    }

    /// The answer. A failure that may pass is tried again, after the wait that it asks for or one that grows.
    pub(crate) async fn run<'a, T>(
        self,
        ask: impl Fn() -> BoxFuture<'a, Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        let mut wait = self.wait;
        let mut round = 0;
        loop {
            let failure = match ask().await {
                Err(failure) if failure.is_retriable() && round < self.count => failure,
                answer => return answer,
            };
            let delay = failure.retry_after().unwrap_or(wait).min(self.max_wait);
            debug!(round, delay_ms = delay.as_millis(), error = %failure, "the schema registry is asked again");
            sleep(delay).await;
            wait = wait.saturating_mul(2).min(self.max_wait);
            round += 1;
        }
    }
}

impl Settings {
    pub(crate) fn try_new(config: &ParsedConfig) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let mut urls = Vec::new();
        let mut in_url = None;
        for text in config.list(URL).iter().filter(|text| !text.is_empty()) {
            match endpoint(text) {
                Ok((url, user_info)) => {
                    urls.push(url);
                    in_url = in_url.or(user_info);
                }
                Err(why) => errors.push(ConfigError::new(URL, why)),
            }
        }
        if urls.is_empty() && errors.is_empty() {
            errors.push(ConfigError::new(URL, "names no URL"));
        }
        let authentication = authentication(config, in_url, &mut errors);
        let headers = headers(config, &mut errors);
        let proxy = proxy(config, &mut errors);
        let is_https = |url: &str| url.starts_with("https:");
        let needs_tls = urls.iter().any(|url| is_https(url)) || config.str(ISSUER).is_some_and(is_https);
        let tls = TlsPlan::try_new(config).unwrap_or_else(|error| {
            errors.push(error);
            TlsPlan::default()
        });
        ConfigErrors::check(errors)?;
        Ok(Self {
            urls,
            context: config.str(CONTEXT).filter(|name| !name.is_empty()).map(context_path),
            authentication: authentication.unwrap_or(Authentication::None),
            headers,
            http: HttpSettings::new(config, proxy, needs_tls.then_some(tls)),
            retries: Retries::of(config),
            max_schemas: config.usize(MAX_SCHEMAS).unwrap_or(1000),
            latest_lives: config
                .int(LATEST_TTL)
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
        })
    }
}

/// The registry writes the context `.staging` as `:.staging:`.
fn context_path(name: &str) -> String {
    let name = name.trim_matches(':').trim_start_matches('.');
    format!("/contexts/:.{}:", crate::rest::encoded(name))
}

fn authentication(
    config: &ParsedConfig,
    in_url: Option<Secret>,
    errors: &mut Vec<ConfigError>,
) -> Option<Authentication> {
    let mut missing = |key: &str, why: String| errors.push(ConfigError::new(key, why));
    match config.str(BEARER_SOURCE) {
        Some("STATIC_TOKEN") => {
            let Some(token) = config.secret(BEARER_TOKEN) else {
                missing(BEARER_TOKEN, format!("is needed by `{BEARER_SOURCE}=STATIC_TOKEN`"));
                return None;
            };
            let header = sensitive(&format!("Bearer {}", token.reveal()));
            if header.is_none() {
                missing(BEARER_TOKEN, "has characters that no HTTP header can hold".to_owned());
            }
            return header.map(Authentication::Token);
        }
        Some("OAUTHBEARER") => {
            let mut given = |key| {
                let value = config.str(key).filter(|text| !text.is_empty()).map(str::to_owned);
                if value.is_none() {
                    missing(key, format!("is needed by `{BEARER_SOURCE}=OAUTHBEARER`"));
                }
                value
            };
            let (issuer, client_id) = (given(ISSUER), given(CLIENT_ID));
            let Some(client_secret) = config.secret(CLIENT_SECRET).cloned() else {
                missing(CLIENT_SECRET, format!("is needed by `{BEARER_SOURCE}=OAUTHBEARER`"));
                return None;
            };
            return Some(Authentication::OAuth(OAuth {
                issuer: issuer?,
                client_id: client_id?,
                client_secret,
                scope: config.str(SCOPE).filter(|scope| !scope.is_empty()).map(str::to_owned),
                replace_before: Duration::from_secs(
                    config
                        .int(EXPIRY_BUFFER)
                        .and_then(|s| u64::try_from(s).ok())
                        .unwrap_or(300),
                ),
            }));
        }
        _ => {}
    }
    let user_info = match config.str(BASIC_SOURCE) {
        Some("USER_INFO") => {
            let given = config.secret(USER_INFO).cloned();
            if given.is_none() {
                missing(USER_INFO, format!("is needed by `{BASIC_SOURCE}=USER_INFO`"));
            }
            (
                given?,
                "`basic.auth.user.info`, and that this user may read the subject",
            )
        }
        Some("SASL_INHERIT") => {
            let jaas = config.secret(JAAS).map(Secret::reveal).unwrap_or_default();
            let Some((user, password)) = jaas_option(jaas, "username").zip(jaas_option(jaas, "password")) else {
                missing(
                    JAAS,
                    format!("has no `username` and `password`, which `{BASIC_SOURCE}=SASL_INHERIT` takes"),
                );
                return None;
            };
            (
                Secret::new(format!("{user}:{password}")),
                "`sasl.jaas.config`, and that this user may read the subject",
            )
        }
        _ => match in_url {
            Some(user_info) => (
                user_info,
                "the credentials in `schema.registry.url`, and that this user may read the subject",
            ),
            None => return Some(Authentication::None),
        },
    };
    let (user_info, check) = user_info;
    let user = user_info.reveal().split(':').next().unwrap_or_default().to_owned();
    let header = sensitive(&format!("Basic {}", BASE64.encode(user_info.reveal())))?;
    Some(Authentication::Basic { user, header, check })
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The value of `name="value"` in a JAAS login module.
fn jaas_option(jaas: &str, name: &str) -> Option<String> {
    let mut rest = jaas;
    loop {
        let (before, after) = rest.split_once(name)?;
        rest = after;
        let starts_a_word = before.chars().next_back().is_none_or(char::is_whitespace);
        let Some(value) = after.trim_start().strip_prefix('=').map(str::trim_start) else {
            continue;
        };
        if !starts_a_word {
            continue;
        }
        let Some(quoted) = value.strip_prefix('"') else {
            let end = value.find(|char: char| char.is_whitespace() || char == ';');
            return value.get(..end.unwrap_or(value.len())).map(str::to_owned);
        };
        let mut text = String::new();
        let mut chars = quoted.chars();
        while let Some(char) = chars.next() {
            match char {
                '"' => return Some(text),
                '\\' => text.extend(chars.next()),
                char => text.push(char),
            }
        }
        return None;
    }
}

fn headers(config: &ParsedConfig, errors: &mut Vec<ConfigError>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in config.prefixed(HEADER_PREFIX) {
        let header = HeaderName::try_from(name).ok().zip(sensitive(value.reveal()));
        match header {
            Some((name, value)) => {
                headers.insert(name, value);
            }
            None => errors.push(ConfigError::new(
                format!("{HEADER_PREFIX}{name}"),
                "name or value cannot be a header of HTTP",
            )),
        }
    }
    let cloud = [
        (LOGICAL_CLUSTER, HeaderName::from_static("target-sr-cluster")),
        (IDENTITY_POOL, HeaderName::from_static("confluent-identity-pool-id")),
    ];
    for (key, name) in cloud {
        let Some(value) = config.str(key).filter(|value| !value.is_empty()) else {
            continue;
        };
        match HeaderValue::from_str(value) {
            Ok(value) => {
                headers.insert(name, value);
            }
            Err(_) => errors.push(ConfigError::new(key, "has characters that no HTTP header can hold")),
        }
    }
    headers
}

fn proxy(config: &ParsedConfig, errors: &mut Vec<ConfigError>) -> Option<http::Uri> {
    let host = config.str(PROXY_HOST).filter(|host| !host.is_empty())?;
    let Some(port) = config.int(PROXY_PORT) else {
        errors.push(ConfigError::new(PROXY_PORT, "is needed with `proxy.host`"));
        return None;
    };
    let uri = format!("http://{host}:{port}").parse().ok();
    if uri.is_none() {
        errors.push(ConfigError::new(PROXY_HOST, "is not the name of a host"));
    }
    uri
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::{ConfigDef, RawConfig};

    use super::*;

    fn settings(entries: &[(&str, &str)]) -> Result<Settings, String> {
        let mut raw = RawConfig::from([(URL.to_owned(), "http://a:1/, https://b/api".to_owned())]);
        raw.extend(
            entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let parsed = ConfigDef::new().with(config_keys()).prefix(HEADER_PREFIX).parse(&raw);
        parsed
            .and_then(|parsed| Settings::try_new(&parsed))
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn urls_lose_their_credentials_which_serve_as_basic_authentication() {
        let settings = settings(&[(URL, "https://us%40er:p%3Ass@h:1,http://i")]).unwrap();
        assert_eq!(settings.urls, ["https://h:1", "http://i"]);
        let Authentication::Basic { user, header, .. } = &settings.authentication else {
            panic!("{:?}", settings.authentication)
        };
        assert_eq!(user, "us@er");
        assert_eq!(header, &format!("Basic {}", BASE64.encode("us@er:p:ss")));
        assert!(!format!("{settings:?}").contains("p:ss"));
    }

    #[test]
    fn mistakes_name_the_setting_and_what_is_missing() {
        let cases: [(&[(&str, &str)], &str); 8] = [
            (&[(URL, "mock://x")], "schema.registry.url"),
            (&[(URL, "")], "`schema.registry.url`: names no URL"),
            (&[(BASIC_SOURCE, "USER_INFO")], "`basic.auth.user.info`: is needed"),
            (
                &[(BASIC_SOURCE, "SASL_INHERIT"), (JAAS, "X required;")],
                "`sasl.jaas.config`: has no",
            ),
            (&[(BEARER_SOURCE, "STATIC_TOKEN")], "`bearer.auth.token`: is needed"),
            (&[(BEARER_SOURCE, "OAUTHBEARER")], "`bearer.auth.client.id`: is needed"),
            (&[(PROXY_HOST, "p")], "`proxy.port`: is needed"),
            (&[("request.header.a b", "x")], "`request.header.a b`"),
        ];
        for (entries, wanted) in cases {
            let error = settings(entries).unwrap_err();
            assert!(error.contains(wanted), "{entries:?}: {error}");
        }
    }

    #[test]
    fn login_modules_give_user_and_password() {
        let jaas =
            r#"org.apache.kafka.common.security.plain.PlainLoginModule required username="a" password="p\"w=;";"#;
        assert_eq!(jaas_option(jaas, "username").as_deref(), Some("a"));
        assert_eq!(jaas_option(jaas, "password").as_deref(), Some("p\"w=;"));
        assert_eq!(jaas_option("X required username=a;", "username").as_deref(), Some("a"));
        assert_eq!(jaas_option("X required username=\"a", "username"), None);
    }

    #[test]
    fn headers_and_context_are_those_of_the_settings() {
        let settings = settings(&[
            ("request.header.X-Team", "a"),
            (LOGICAL_CLUSTER, "lsrc-1"),
            (IDENTITY_POOL, "pool-1"),
            (CONTEXT, ".staging"),
        ])
        .unwrap();
        assert_eq!(settings.headers["x-team"], "a");
        assert_eq!(settings.headers["target-sr-cluster"], "lsrc-1");
        assert_eq!(settings.headers["confluent-identity-pool-id"], "pool-1");
        assert_eq!(settings.context.as_deref(), Some("/contexts/:.staging:"));
    }
}
