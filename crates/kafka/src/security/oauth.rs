//! OAUTHBEARER: settings, and the messages of RFC 7628.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::config::{LoginLimits, tls_settings};
use super::jaas::Jaas;
use super::tls::TlsSettings;
use super::token::shown;
use super::{Secret, said};
use crate::config::{ConfigError, Properties, invalid};

/// `sasl.oauthbearer.*`, `sasl.login.*` and the options in `sasl.jaas.config`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OAuthSettings {
    pub(super) source: TokenSource,
    /// SASL extensions: `extension_<name>` in JAAS (KIP-342).
    pub(super) extensions: BTreeMap<String, String>,
    /// `sasl.oauthbearer.scope.claim.name` (`scope`): what it holds is not checked here, but it must have the right type.
    pub(super) scope_claim: Arc<str>,
    /// `sasl.oauthbearer.sub.claim.name` (`sub`): who we are.
    pub(super) sub_claim: Arc<str>,
    pub(super) refresh: RefreshSettings,
    pub(super) limits: LoginLimits,
}

/// Where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TokenSource {
    /// `unsecuredLoginStringClaim_sub` and its kin: a token that proves nothing, for tests.
    Unsecured {
        claims: BTreeMap<String, Claim>,
        lifetime: Duration,
    },
    /// `sasl.oauthbearer.token.endpoint.url=file:…`
    File(Arc<Path>),
    /// The client-credentials grant (KIP-768).
    ClientCredentials {
        url: Arc<str>,
        client_id: Arc<str>,
        client_secret: Secret,
        scope: Option<Arc<str>>,
        /// `sasl.oauthbearer.header.urlencode`
        url_encode: bool,
        tls: TlsSettings,
    },
}

/// A claim of an unsecured token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Claim {
    Text(String),
    /// Digits, as JSON has them.
    Number(String),
    List(Vec<String>),
}

/// When a token is renewed (KIP-255). Factors in thousandths, so that settings compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RefreshSettings {
    /// `sasl.login.refresh.window.factor` (0.8)
    pub(super) window_permille: u32,
    /// `sasl.login.refresh.window.jitter` (0.05)
    pub(super) jitter_permille: u32,
    /// `sasl.login.refresh.min.period.seconds` (60)
    pub(super) min_period: Duration,
    /// `sasl.login.refresh.buffer.seconds` (300)
    pub(super) buffer: Duration,
}

const JAAS: &str = "sasl.jaas.config";
const HIDDEN: &str = "[hidden]";

impl OAuthSettings {
    pub(super) fn from_properties(p: &Properties<'_>, jaas: Option<&Jaas>) -> Result<Self, ConfigError> {
        handler(p)?;
        let settings = Self {
            source: source(p, jaas)?,
            extensions: extensions(jaas)?,
            scope_claim: p.text("sasl.oauthbearer.scope.claim.name").unwrap_or("scope").into(),
            sub_claim: p.text("sasl.oauthbearer.sub.claim.name").unwrap_or("sub").into(),
            refresh: RefreshSettings {
                window_permille: p.permille("sasl.login.refresh.window.factor", 800, 500..=1000)?,
                jitter_permille: p.permille("sasl.login.refresh.window.jitter", 50, 0..=250)?,
                min_period: seconds(p, "sasl.login.refresh.min.period.seconds", 60, 900)?,
                buffer: seconds(p, "sasl.login.refresh.buffer.seconds", 300, 3600)?,
            },
            limits: LoginLimits::from_properties(p)?,
        };
        Ok(settings)
    }
}

fn seconds(p: &Properties<'_>, key: &str, default: i32, max: i32) -> Result<Duration, ConfigError> {
    let value = p.int(key, default, 0)?;
    if value > max {
        return Err(invalid(key, &value.to_string(), format!("seconds from 0 to {max}")));
    }
    Ok(Duration::from_secs(u64::try_from(value).unwrap_or_default()))
}

/// `sasl.login.callback.handler.class`: the other settings say what to do, so it only must not mean something else.
fn handler(p: &Properties<'_>) -> Result<(), ConfigError> {
    for (key, known) in [
        (
            "sasl.login.callback.handler.class",
            &[
                "OAuthBearerLoginCallbackHandler",
                "OAuthBearerUnsecuredLoginCallbackHandler",
            ][..],
        ),
        (
            "sasl.oauthbearer.jwt.retriever.class",
            &[
                "DefaultJwtRetriever",
                "ClientCredentialsJwtRetriever",
                "FileJwtRetriever",
            ][..],
        ),
    ] {
        let Some(class) = p.text(key) else { continue };
        if !known.contains(&class.rsplit('.').next().unwrap_or(class)) {
            let accepted = format!("this client knows `{}`", known.join("`, `"));
            return Err(invalid(key, class, accepted));
        }
    }
    Ok(())
}

fn source(p: &Properties<'_>, jaas: Option<&Jaas>) -> Result<TokenSource, ConfigError> {
    let key = "sasl.oauthbearer.token.endpoint.url";
    let option = |name: &str| jaas.and_then(|jaas| jaas.option(name));
    let Some(url) = p.text(key) else {
        if option("unsecuredLoginStringClaim_sub").is_some() {
            return unsecured(jaas);
        }
        return Err(ConfigError::Missing {
            key: key.to_owned(),
            accepted: "give the token endpoint (`https://…`), a token file (`file:///…`), or for tests \
                       `unsecuredLoginStringClaim_sub` in `sasl.jaas.config`"
                .to_owned(),
        });
    };
    if let Some(path) = url.strip_prefix("file:") {
        // `file:/p` and `file:///p` are both written.
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = PathBuf::from(path);
        klamm_keystore::read_file(&path).map_err(|reason| invalid(key, url, reason))?;
        return Ok(TokenSource::File(path.into()));
    }
    let parsed: http::Uri = url
        .parse()
        .map_err(|err| invalid(key, &shown(url), format!("it is no URL: {err}")))?;
    if !matches!(parsed.scheme_str(), Some("http" | "https")) || parsed.host().is_none() {
        return Err(invalid(
            key,
            &shown(url),
            "accepted: `https://…`, `http://…`, `file:///…`",
        ));
    }
    let either = |property: &str, name: &str| {
        p.text(property)
            .or_else(|| option(name))
            .ok_or_else(|| ConfigError::Missing {
                key: property.to_owned(),
                accepted: format!("give it here, or as `{name}` in `sasl.jaas.config`"),
            })
    };
    Ok(TokenSource::ClientCredentials {
        url: url.into(),
        client_id: either("sasl.oauthbearer.client.credentials.client.id", "clientId")?.into(),
        client_secret: Secret::new(either(
            "sasl.oauthbearer.client.credentials.client.secret",
            "clientSecret",
        )?),
        scope: p
            .text("sasl.oauthbearer.scope")
            .or_else(|| option("scope"))
            .map(Arc::from),
        url_encode: p.boolean("sasl.oauthbearer.header.urlencode", false)?,
        tls: endpoint_tls(jaas)?,
    })
}

/// The TLS settings of the token endpoint: the `ssl.*` options in JAAS, as in Kafka; without them the system's
/// authorities count.
fn endpoint_tls(jaas: Option<&Jaas>) -> Result<TlsSettings, ConfigError> {
    let options: BTreeMap<String, String> = jaas
        .into_iter()
        .flat_map(|jaas| &jaas.options)
        .filter(|(name, _)| name.starts_with("ssl."))
        .map(|(name, value)| (name.clone(), value.reveal().to_owned()))
        .collect();
    if options.is_empty() {
        return Ok(TlsSettings::default());
    }
    tls_settings(&Properties(&options)).map_err(|err| invalid(JAAS, HIDDEN, format!("for the token endpoint: {err}")))
}

fn unsecured(jaas: Option<&Jaas>) -> Result<TokenSource, ConfigError> {
    let mut claims = BTreeMap::new();
    let mut lifetime = Duration::from_secs(3600);
    for (name, value) in jaas.into_iter().flat_map(|jaas| &jaas.options) {
        let value = value.reveal();
        let wrong = || invalid(JAAS, HIDDEN, format!("option `{name}` is no number"));
        if let Some(claim) = name.strip_prefix("unsecuredLoginStringClaim_") {
            claims.insert(claim.to_owned(), Claim::Text(value.to_owned()));
        } else if let Some(claim) = name.strip_prefix("unsecuredLoginNumberClaim_") {
            value.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(wrong)?;
            claims.insert(claim.to_owned(), Claim::Number(value.to_owned()));
        } else if let Some(claim) = name.strip_prefix("unsecuredLoginListClaim_") {
            // The first character says what separates the rest.
            let mut chars = value.chars();
            let parts = match chars.next() {
                Some(separator) => chars.as_str().split(separator).map(str::to_owned).collect(),
                None => Vec::new(),
            };
            claims.insert(claim.to_owned(), Claim::List(parts));
        } else if name == "unsecuredLoginLifetimeSeconds" {
            lifetime = Duration::from_secs(value.parse().map_err(|_| wrong())?);
        }
    }
    Ok(TokenSource::Unsecured { claims, lifetime })
}

fn extensions(jaas: Option<&Jaas>) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut extensions = BTreeMap::new();
    for (option, value) in jaas.into_iter().flat_map(|jaas| &jaas.options) {
        let Some(name) = option.strip_prefix("extension_") else {
            continue;
        };
        let value = value.reveal();
        // RFC 7628 3.1; `auth` is the token itself.
        let printable = |c: char| matches!(c, '\u{21}'..='\u{7e}' | ' ' | '\t' | '\r' | '\n');
        if name == "auth" || name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic()) {
            let accepted = format!("`{option}`: the name of an extension has letters only, and is not `auth`");
            return Err(invalid(JAAS, HIDDEN, accepted));
        }
        if value.is_empty() || !value.chars().all(printable) {
            let accepted = format!("`{option}` has a character that an extension cannot carry");
            return Err(invalid(JAAS, HIDDEN, accepted));
        }
        extensions.insert(name.to_owned(), value.to_owned());
    }
    Ok(extensions)
}

/// `n,,^Aauth=Bearer <token>^A<name>=<value>^A^A`
pub(super) fn client_first(token: &Secret, extensions: &BTreeMap<String, String>) -> Vec<u8> {
    let mut message = format!("n,,\u{1}auth=Bearer {}\u{1}", token.reveal());
    for (name, value) in extensions {
        message.push_str(&format!("{name}={value}\u{1}"));
    }
    message.push('\u{1}');
    message.into_bytes()
}

/// What the broker does not like about a token: `{"status":"invalid_token", …}`.
pub(super) fn refusal(challenge: &[u8]) -> String {
    let status = serde_json::from_slice::<serde_json::Value>(challenge)
        .ok()
        .and_then(|json| {
            let status = json.get("status")?.as_str()?;
            Some(said(status))
        });
    match status {
        Some(status) => format!("the broker refuses the token ({status})"),
        None => "the broker refuses the token".to_owned(),
    }
}
