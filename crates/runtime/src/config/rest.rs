//! The worker's settings for its REST API: read here with all the others, acted upon by whoever serves the API.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use klamm_connect_api::config::{Scope, Validator};
use klamm_connect_api::{ConfigError, ConfigErrors, ConfigKey, ConfigType, Importance, RawConfig, Secret};

/// The class that Connect has for HTTP basic authentication.
const BASIC_AUTH: &str = "org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension";
/// Java's name for the file that names a login module.
const JAAS_FILE: &str = "java.security.auth.login.config";
/// What is safe to show to everybody.
const PUBLIC_PATHS: [&str; 3] = ["/", "/health", "/metrics"];
const TLS_VERSIONS: &[&str] = &["TLSv1.2", "TLSv1.3"];

/// How a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As a URL begins.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// An address that the REST API listens on, from `listeners` or `admin.listeners`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// In clear or over TLS.
    pub scheme: Scheme,
    /// Host name or address; `0.0.0.0` is every interface.
    pub host: String,
    /// Port; 0 takes any free one.
    pub port: u16,
}

impl Listener {
    /// Reads `http://host:port` or `https://host:port`; an empty host is every interface.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let accepted = "Value must be `http://host:port` or `https://host:port`, for example `http://127.0.0.1:8083`";
        let (scheme, rest) = text.trim().split_once("://").ok_or(accepted)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(accepted.to_owned()),
        };
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or(accepted)?;
        let port = port
            .parse()
            .map_err(|_| format!("the port is not a number from 0 to 65535. {accepted}"))?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        Ok(Self {
            scheme,
            host: if host.is_empty() { "0.0.0.0" } else { host }.to_owned(),
            port,
        })
    }

    /// Whether only this machine can connect.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        address.map_or_else(|_| self.host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback())
    }

    /// Whether it listens on every interface.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        let scheme = scheme.name();
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

/// `admin.listeners`: where what watches and tunes the worker itself is served, `/admin` and `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminListeners {
    /// Not set: beside everything else.
    WithRest,
    /// Empty: nowhere.
    Off,
    /// There and nowhere else.
    On(Vec<Listener>),
}

/// `rest.advertised.*`: how others reach this worker, where that differs from how it listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advertised {
    /// `rest.advertised.host.name`
    pub host: Option<String>,
    /// `rest.advertised.port`
    pub port: Option<u16>,
    /// `rest.advertised.listener`
    pub scheme: Option<Scheme>,
}

/// `ssl.client.auth`: whether clients show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They do not.
    #[default]
    None,
    /// Those that have one; it is checked.
    Requested,
    /// All.
    Required,
}

/// A file with certificates or keys: PEM, PKCS12 or JKS, as its first bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeystoreFile {
    /// Where it is.
    pub path: PathBuf,
    /// What opens it.
    pub password: Option<Secret>,
}

/// Certificates, from a file or as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// `ssl.keystore.location`, `ssl.truststore.location`
    File(KeystoreFile),
    /// The certificates in PEM, and the key that belongs to the first; none in a truststore.
    Pem {
        /// `ssl.keystore.certificate.chain`, `ssl.truststore.certificates`
        certificates: Secret,
        /// `ssl.keystore.key`
        key: Option<Secret>,
    },
}

/// The TLS settings of the `https` listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// What its keys begin with, for error texts.
    pub prefix: &'static str,
    /// The worker's key and certificates.
    pub identity: Store,
    /// `ssl.key.password`
    pub key_password: Option<Secret>,
    /// Whose clients are believed.
    pub trust: Option<Store>,
    /// `ssl.client.auth`
    pub client_auth: ClientAuth,
    /// `ssl.enabled.protocols`: whether TLS 1.2 is spoken beside 1.3.
    pub allows_tls12: bool,
    /// `ssl.enabled.protocols`: whether TLS 1.3 is spoken beside 1.2.
    pub allows_tls13: bool,
}

/// Who may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authentication {
    /// `rest.auth.users.file`
    pub users: Option<PathBuf>,
    /// `rest.auth.tokens.file`
    pub tokens: Option<PathBuf>,
    /// The JAAS file of Connect's basic authentication, if `rest.extension.classes` names that.
    pub jaas: Option<PathBuf>,
    /// `rest.auth.public.paths`
    pub public_paths: Vec<String>,
}

impl Authentication {
    /// Whether callers have to say who they are.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.users.is_some() || self.tokens.is_some() || self.jaas.is_some()
    }
}

/// What one client, and all together, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestLimits {
    /// `rest.connections.max`
    pub connections: usize,
    /// `rest.client.connections.max`
    pub connections_per_client: usize,
    /// `rest.client.requests.per.second`
    pub requests_per_second: u32,
}

/// The settings of the REST API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestConfig {
    /// `listeners`
    pub listeners: Vec<Listener>,
    /// `admin.listeners`
    pub admin: AdminListeners,
    /// `listeners.https.*`; set if a listener is `https`.
    pub tls: Option<ListenerTls>,
    /// `admin.listeners.https.*`; set if an admin listener is `https`.
    pub admin_tls: Option<ListenerTls>,
    /// `rest.advertised.*`
    pub advertised: Advertised,
    /// `access.control.allow.origin`; empty is no CORS.
    pub allowed_origins: Vec<String>,
    /// `access.control.allow.methods`
    pub allowed_methods: Vec<String>,
    /// `response.http.headers.config`, as given.
    pub response_headers: String,
    /// Who may call.
    pub authentication: Authentication,
    /// What callers may take.
    pub limits: RestLimits,
    /// `rest.show.secrets`
    pub show_secrets: bool,
}

const LISTENERS_PREFIX: &str = "listeners.https.";
const ADMIN_PREFIX: &str = "admin.listeners.https.";

/// The definitions of all these settings.
pub(super) fn rest_keys() -> Vec<ConfigKey> {
    use ConfigType::{Boolean, Int, List, String};
    let key = |name: &str, kind, importance, doc: &str| ConfigKey::new(name, kind, importance, doc);
    let listener = || Validator::new(|listener| Listener::parse(listener).map(drop));
    let mut keys = vec![
        key(
            "listeners",
            List,
            Importance::High,
            "Where the REST API listens: `http://host:port` or `https://host:port`, several with commas between them. An \
             empty host or `0.0.0.0` is every interface.",
        )
        .default("http://127.0.0.1:8083")
        .validator(listener()),
        key(
            "admin.listeners",
            List,
            Importance::Low,
            "Where `/admin` and `/metrics` are served, in the form of `listeners`, and then only there; empty switches them \
             off. Default: beside the rest of the API.",
        )
        .optional()
        .validator(listener()),
        key(
            "rest.advertised.host.name",
            String,
            Importance::Low,
            "Host name under which others reach this worker. Default: that of the listener.",
        )
        .optional()
        .validator(Validator::non_empty()),
        key(
            "rest.advertised.port",
            Int,
            Importance::Low,
            "Port under which others reach this worker. Default: that of the listener.",
        )
        .optional()
        .validator(Validator::between(1, 65_535)),
        key(
            "rest.advertised.listener",
            String,
            Importance::Low,
            "Which listener others use: `http` or `https`. Default: `http` if there is one.",
        )
        .optional()
        .validator(Validator::one_of(&["http", "https"])),
        key(
            "rest.auth.users.file",
            String,
            Importance::High,
            "File with the users of HTTP basic authentication, a line each: `name:hash:role`, with a hash of bcrypt or \
             Argon2 and a role of `read`, `operate`, `admin`. Read again when it changes.",
        )
        .optional()
        .validator(Validator::non_empty()),
        key(
            "rest.auth.tokens.file",
            String,
            Importance::High,
            "File with bearer tokens, a line each: `name:hash:role`, with the SHA-256 of the token in hexadecimal digits. \
             Read again when it changes.",
        )
        .optional()
        .validator(Validator::non_empty()),
        key(
            "rest.auth.public.paths",
            List,
            Importance::Low,
            "What anybody may read who is not authenticated: `/`, `/health`, `/metrics`.",
        )
        .default("")
        .validator(Validator::new(|path| {
            PUBLIC_PATHS
                .contains(&path)
                .then_some(())
                .ok_or_else(|| format!("Value must be one of {}", PUBLIC_PATHS.join(", ")))
        })),
        key(
            "rest.extension.classes",
            List,
            Importance::Low,
            "Accepted for Connect's basic authentication, `BasicAuthSecurityRestExtension`: its users are those of the \
             file that `java.security.auth.login.config` names.",
        )
        .default("")
        .validator(Validator::new(|class| {
            is_basic_auth(class).then_some(()).ok_or_else(|| {
                format!(
                    "extensions in Java cannot be loaded, and one that guards the API must not be missing unnoticed: only \
                     {BASIC_AUTH} is known"
                )
            })
        })),
        key(
            JAAS_FILE,
            String,
            Importance::Low,
            "JAAS file with the entry `KafkaConnect`, for Connect's basic authentication: Java's system property of this \
             name, also taken from `KAFKA_OPTS`.",
        )
        .optional()
        .validator(Validator::non_empty()),
        key(
            "rest.show.secrets",
            Boolean,
            Importance::Low,
            "Whether the API answers stored passwords and keys as they are, as Connect does, instead of `[hidden]`.",
        )
        .default("false"),
        key(
            "rest.connections.max",
            Int,
            Importance::Low,
            "Connections to the REST API at once; others wait.",
        )
        .default("256")
        .validator(Validator::between(1, 65_536)),
        key(
            "rest.client.connections.max",
            Int,
            Importance::Low,
            "Connections at once from one address; further ones are closed.",
        )
        .default("64")
        .validator(Validator::between(1, 65_536)),
        key(
            "rest.client.requests.per.second",
            Int,
            Importance::Low,
            "Requests a second from one address, twice as many for a moment; further ones are answered with 429.",
        )
        .default("1000")
        .validator(Validator::between(1, 1_000_000)),
        key(
            "access.control.allow.origin",
            List,
            Importance::Low,
            "Web origins whose pages may call the API (CORS), such as `https://ui.example.com`; `*` is any. Empty: none.",
        )
        .default(""),
        key(
            "access.control.allow.methods",
            List,
            Importance::Low,
            "Methods that pages of those origins may use. Empty: GET, POST and HEAD.",
        )
        .default(""),
        key(
            "response.http.headers.config",
            String,
            Importance::Low,
            "Headers of every answer: `action name:value` with commas between them, where the action is `set`, `add`, \
             `setDate` or `addDate`; a rule with a comma stands in double quotes.",
        )
        .default(""),
        client_auth_key("ssl.client.auth", "the listeners that take the worker's own `ssl.*` settings"),
    ];
    for (prefix, of) in [(LISTENERS_PREFIX, "`listeners`"), (ADMIN_PREFIX, "`admin.listeners`")] {
        keys.extend(tls_keys(prefix, of));
    }
    keys
}

fn client_auth_key(name: &str, of: &str) -> ConfigKey {
    let doc = format!(
        "Whether clients of {of} show a certificate (mTLS): `required`, `requested`, `none`. It is checked against the \
         truststore."
    );
    ConfigKey::new(name, ConfigType::String, Importance::Medium, doc)
        .default("none")
        .validator(Validator::one_of(&["required", "requested", "none"]))
}

fn tls_keys(prefix: &str, of: &str) -> Vec<ConfigKey> {
    use ConfigType::{List, Password, String};
    let key = |name: &str, kind, doc: std::string::String| {
        ConfigKey::new(format!("{prefix}{name}"), kind, Importance::Medium, doc).optional()
    };
    let format = |name, doc| key(name, String, doc).validator(Validator::one_of(&["JKS", "PKCS12", "PEM"]));
    let kept = "Default: what the file looks like.";
    vec![
        key(
            "ssl.keystore.location",
            String,
            format!(
                "File with the key and the certificate chain of the `https` listeners in {of}; read again when it changes. \
                 Without any setting of this prefix the worker's own `ssl.*` settings count."
            ),
        ),
        format(
            "ssl.keystore.type",
            format!("Format of the key store: JKS, PKCS12 or PEM. {kept}"),
        ),
        key(
            "ssl.keystore.password",
            Password,
            "Password of the key store.".to_owned(),
        ),
        key(
            "ssl.key.password",
            Password,
            "Password of the private key; without it that of the key store.".to_owned(),
        ),
        key(
            "ssl.keystore.certificate.chain",
            Password,
            "The certificate chain in PEM, in place of a file.".to_owned(),
        ),
        key(
            "ssl.keystore.key",
            Password,
            "The private key in PEM (PKCS#8), in place of a file.".to_owned(),
        ),
        key(
            "ssl.truststore.location",
            String,
            "File with the certificates of whoever signed those of the clients.".to_owned(),
        ),
        format(
            "ssl.truststore.type",
            format!("Format of the trust store: JKS, PKCS12 or PEM. {kept}"),
        ),
        key(
            "ssl.truststore.password",
            Password,
            "Password of the trust store.".to_owned(),
        ),
        key(
            "ssl.truststore.certificates",
            Password,
            "The certificates of whoever signed those of the clients, in PEM, in place of a file.".to_owned(),
        ),
        client_auth_key(&format!("{prefix}ssl.client.auth"), of),
        ConfigKey::new(
            format!("{prefix}ssl.enabled.protocols"),
            List,
            Importance::Low,
            "Versions of TLS that are spoken: TLSv1.2, TLSv1.3.",
        )
        .default("TLSv1.2,TLSv1.3")
        .validator(Validator::one_of(TLS_VERSIONS)),
    ]
}

fn is_basic_auth(class: &str) -> bool {
    class == BASIC_AUTH || BASIC_AUTH.rsplit('.').next() == Some(class)
}

impl RestConfig {
    /// Reads the settings; `config` is what the definitions made of `raw`.
    ///
    /// # Errors
    /// What no single key shows to be wrong.
    pub(super) fn try_new(config: Scope<'_>, raw: &RawConfig) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let listeners = |key| -> Vec<Listener> {
            let given = config.list(key).iter();
            given.filter_map(|text| Listener::parse(text).ok()).collect()
        };
        let admin = match raw.get("admin.listeners") {
            None => AdminListeners::WithRest,
            Some(text) if text.trim().is_empty() => AdminListeners::Off,
            Some(_) => AdminListeners::On(listeners("admin.listeners")),
        };
        let rest = listeners("listeners");
        if rest.is_empty() {
            errors.push(ConfigError::new("listeners", "Value must not be empty"));
        }
        let has_https = |listeners: &[Listener]| listeners.iter().any(|listener| listener.scheme == Scheme::Https);
        let mut tls = |wanted: bool, prefix| {
            let read = wanted.then(|| listener_tls(config, raw, prefix)).transpose();
            read.unwrap_or_else(|error| {
                errors.push(error);
                None
            })
        };
        let rest_tls = tls(has_https(&rest), LISTENERS_PREFIX);
        let admin_tls = match &admin {
            AdminListeners::On(listeners) => tls(has_https(listeners), ADMIN_PREFIX),
            AdminListeners::WithRest | AdminListeners::Off => None,
        };
        let path = |key| config.str(key).map(PathBuf::from);
        let mut jaas = None;
        if !config.list("rest.extension.classes").is_empty() {
            jaas = path(JAAS_FILE);
            if jaas.is_none() {
                errors.push(ConfigError::new(
                    JAAS_FILE,
                    "is missing: it names the JAAS file with the users of `rest.extension.classes`",
                ));
            }
        }
        let scheme = config.str("rest.advertised.listener").map(|name| match name {
            "https" => Scheme::Https,
            _ => Scheme::Http,
        });
        if let Some(wanted) = scheme.filter(|wanted| !rest.iter().any(|listener| listener.scheme == *wanted)) {
            errors.push(ConfigError::new(
                "rest.advertised.listener",
                format!("none of `listeners` is `{}`", wanted.name()),
            ));
        }
        ConfigErrors::check(errors)?;
        let number = |key| config.int(key).unwrap_or_default();
        Ok(Self {
            listeners: rest,
            admin,
            tls: rest_tls,
            admin_tls,
            advertised: Advertised {
                host: config.str("rest.advertised.host.name").map(str::to_owned),
                port: config
                    .int("rest.advertised.port")
                    .and_then(|port| u16::try_from(port).ok()),
                scheme,
            },
            allowed_origins: config.list("access.control.allow.origin").to_vec(),
            allowed_methods: config.list("access.control.allow.methods").to_vec(),
            response_headers: config
                .str("response.http.headers.config")
                .unwrap_or_default()
                .to_owned(),
            authentication: Authentication {
                users: path("rest.auth.users.file"),
                tokens: path("rest.auth.tokens.file"),
                jaas,
                public_paths: config.list("rest.auth.public.paths").to_vec(),
            },
            limits: RestLimits {
                connections: config.usize("rest.connections.max").unwrap_or_default(),
                connections_per_client: config.usize("rest.client.connections.max").unwrap_or_default(),
                requests_per_second: u32::try_from(number("rest.client.requests.per.second")).unwrap_or_default(),
            },
            show_secrets: config.bool("rest.show.secrets").unwrap_or_default(),
        })
    }

    /// One line for each listener that strangers can reach and that asks nobody who they are.
    pub(super) fn warnings(&self) -> Vec<String> {
        let admin = match &self.admin {
            AdminListeners::On(listeners) => listeners.as_slice(),
            AdminListeners::WithRest | AdminListeners::Off => &[],
        };
        let known = |listener: &Listener, tls: &Option<ListenerTls>| {
            let asks = tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Required);
            listener.is_loopback() || self.authentication.is_on() || (listener.scheme == Scheme::Https && asks)
        };
        let rest = self.listeners.iter().map(|listener| (listener, &self.tls));
        let admin = admin.iter().map(|listener| (listener, &self.admin_tls));
        let open = rest.chain(admin).filter(|(listener, tls)| !known(listener, tls));
        let mut lines: Vec<String> = open
            .map(|(listener, _)| {
                format!(
                    "whoever reaches {listener} may change connectors: set `rest.auth.users.file`, ask for client \
                     certificates, or listen on 127.0.0.1"
                )
            })
            .collect();
        if self.authentication.is_on() {
            let clear = self.listeners.iter();
            let clear = clear.filter(|listener| listener.scheme == Scheme::Http && !listener.is_loopback());
            lines.extend(clear.map(|listener| {
                format!("passwords and tokens cross the network in clear to {listener}: use an `https` listener")
            }));
        }
        lines
    }
}

/// The settings under `prefix`, or the worker's own if there are none, as in Connect.
fn listener_tls(config: Scope<'_>, raw: &RawConfig, prefix: &'static str) -> Result<ListenerTls, ConfigError> {
    let has_own = raw
        .range(prefix.to_owned()..)
        .next()
        .is_some_and(|(key, _)| key.starts_with(prefix));
    let prefix = if has_own { prefix } else { "" };
    let get = |name: &str| {
        let value = raw.get(&format!("{prefix}{name}"))?;
        (!value.trim().is_empty()).then_some(value)
    };
    let secret = |name: &str| get(name).map(|value| Secret::new(value.as_str()));
    let file = |store: &str| {
        get(&format!("{store}.location")).map(|path| {
            Store::File(KeystoreFile {
                path: PathBuf::from(path.trim()),
                password: secret(&format!("{store}.password")),
            })
        })
    };
    let pem = |certificates: &str, key: Option<&str>| {
        Some(Store::Pem {
            certificates: secret(certificates)?,
            key: key.and_then(&secret),
        })
    };
    let missing = |name: &str, what: &str| {
        Err(ConfigError::new(
            format!("{prefix}{name}"),
            format!("is missing: {what}"),
        ))
    };
    let keystore = pem("ssl.keystore.certificate.chain", Some("ssl.keystore.key"));
    let Some(identity) = keystore.or_else(|| file("ssl.keystore")) else {
        return missing(
            "ssl.keystore.location",
            "an `https` listener needs a key and a certificate",
        );
    };
    let client_auth = match config.str(&format!("{prefix}ssl.client.auth")) {
        Some("required") => ClientAuth::Required,
        Some("requested") => ClientAuth::Requested,
        _ => ClientAuth::None,
    };
    let trust = pem("ssl.truststore.certificates", None).or_else(|| file("ssl.truststore"));
    if client_auth != ClientAuth::None && trust.is_none() {
        return missing(
            "ssl.truststore.location",
            "`ssl.client.auth` needs the certificates of whoever signed those of the clients",
        );
    }
    // The worker's own versions are read, and refused, by the Kafka client.
    let versions = get("ssl.enabled.protocols")
        .map(String::as_str)
        .unwrap_or("TLSv1.2,TLSv1.3");
    let has = |version: &str| versions.split(',').any(|given| given.trim() == version);
    Ok(ListenerTls {
        prefix,
        identity,
        key_password: secret("ssl.key.password"),
        trust,
        client_auth,
        allows_tls12: has("TLSv1.2"),
        allows_tls13: has("TLSv1.3"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WorkerConfig;

    /// Settings, what is warned of, and why.
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>, &'a str);

    fn config(settings: &[(&str, &str)]) -> Result<WorkerConfig, String> {
        let mut raw = RawConfig::from([("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned())]);
        raw.extend(
            settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        WorkerConfig::from_properties(&raw).map_err(|errors| errors.to_string())
    }

    #[test]
    fn listeners_are_read_or_refused_with_the_reason() {
        let cases = [
            (
                "http://127.0.0.1:8083",
                Ok("http://127.0.0.1:8083"),
                "as in the default",
            ),
            (
                "HTTP://:0/",
                Ok("http://0.0.0.0:0"),
                "every interface, as Connect's own file writes it",
            ),
            ("http://[::1]:80", Ok("http://[::1]:80"), "an address of version 6"),
            ("https://a:1", Ok("https://a:1"), "TLS"),
            ("a:1", Err("`http://host:port`"), "no scheme"),
            ("ftp://a:1", Err("`http://host:port`"), "another scheme"),
            ("http://a", Err("`http://host:port`"), "no port"),
            ("http://a:x", Err("not a number"), "no number"),
        ];
        for (text, wanted, why) in cases {
            match (Listener::parse(text), wanted) {
                (Ok(listener), Ok(shown)) => assert_eq!(listener.to_string(), shown, "{why}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{why}: {error}"),
                (found, _) => panic!("{text}: {found:?}, {why}"),
            }
        }
    }

    #[test]
    fn admin_listeners_are_shared_off_or_their_own() {
        let on = AdminListeners::On(vec![Listener::parse("http://127.0.0.1:9").unwrap()]);
        let cases: [(&[(&str, &str)], AdminListeners); 3] = [
            (&[], AdminListeners::WithRest),
            (&[("admin.listeners", "")], AdminListeners::Off),
            (&[("admin.listeners", "http://127.0.0.1:9")], on),
        ];
        for (settings, wanted) in cases {
            assert_eq!(config(settings).unwrap().rest.admin, wanted);
        }
    }

    #[test]
    fn what_would_leave_the_api_open_or_deaf_is_refused() {
        let https = ("listeners", "https://127.0.0.1:1");
        let keystore = ("listeners.https.ssl.keystore.location", "/k");
        let basic = ("rest.extension.classes", "BasicAuthSecurityRestExtension");
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[https], "`ssl.keystore.location`: is missing"),
            (
                &[https, ("ssl.keystore.location", "/k"), ("ssl.client.auth", "required")],
                "`ssl.truststore.location`: is missing",
            ),
            (
                &[https, keystore, ("listeners.https.ssl.client.auth", "required")],
                "`listeners.https.ssl.truststore.location`: is missing",
            ),
            (
                &[("rest.extension.classes", "io.acme.Guard")],
                "extensions in Java cannot be loaded",
            ),
            (&[basic], "`java.security.auth.login.config`: is missing"),
            (
                &[("rest.advertised.listener", "https")],
                "none of `listeners` is `https`",
            ),
        ];
        for (settings, wanted) in cases {
            let error = config(settings).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn a_listener_that_strangers_reach_is_warned_about() {
        let open = ("listeners", "http://0.0.0.0:8083");
        let mtls = [
            ("listeners", "https://0.0.0.0:1"),
            ("listeners.https.ssl.keystore.location", "/k"),
            ("listeners.https.ssl.truststore.location", "/t"),
            ("listeners.https.ssl.client.auth", "required"),
        ];
        let cases: [Case<'_>; 5] = [
            (&[], None, "loopback"),
            (
                &[open],
                Some("whoever reaches http://0.0.0.0:8083"),
                "no authentication",
            ),
            (
                &[open, ("rest.auth.users.file", "/u")],
                Some("in clear to http://0.0.0.0:8083"),
                "authentication without TLS",
            ),
            (&mtls, None, "client certificates"),
            (
                &[("admin.listeners", "http://:1")],
                Some("whoever reaches http://0.0.0.0:1"),
                "the admin listener",
            ),
        ];
        for (settings, wanted, why) in cases {
            let warnings = config(settings).unwrap().warnings().join("\n");
            match wanted {
                Some(wanted) => assert!(warnings.contains(wanted), "{why}: {warnings}"),
                None => assert!(warnings.is_empty(), "{why}: {warnings}"),
            }
        }
    }
}
