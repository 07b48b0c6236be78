//! `security.protocol`, `ssl.*` and `sasl.*`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use klamm_keystore::StoreType;

use super::jaas::Jaas;
use super::oauth::OAuthSettings;
use super::tls::{Identity, StoreFile, TlsSettings, TlsVersion, Trust, cipher_suite, cipher_suite_names};
use super::{Mechanism, Secret};
use crate::config::{ConfigError, Properties, invalid};

/// `security.protocol`: how connections are secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SecurityProtocol {
    /// No encryption, no authentication.
    #[default]
    Plaintext,
    /// TLS; the client may show a certificate.
    Ssl,
    /// SASL in clear.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl std::fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Who the client is to the brokers and whom it trusts. Without settings: `PLAINTEXT`.
///
/// `Debug` shows no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SecurityConfig {
    protocol: SecurityProtocol,
    pub(super) tls: Option<TlsSettings>,
    pub(super) sasl: Option<SaslSettings>,
}

/// `sasl.*`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SaslSettings {
    pub(super) mechanism: Mechanism,
    pub(super) credentials: Credentials,
}

/// What a mechanism proves who we are with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Credentials {
    /// PLAIN and SCRAM.
    Password {
        username: Arc<str>,
        password: Secret,
        /// `tokenauth="true"`: the two are id and HMAC of a delegation token (KIP-48).
        is_token: bool,
    },
    OAuth(Box<OAuthSettings>),
    MskIam(MskSettings),
}

/// Options of `software.amazon.msk.auth.iam.IAMLoginModule`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct MskSettings {
    /// `awsProfileName`
    pub(super) profile: Option<Arc<str>>,
    /// `awsRoleArn`
    pub(super) role_arn: Option<Arc<str>>,
    /// `awsRoleSessionName`
    pub(super) role_session_name: Option<Arc<str>>,
    /// `awsRoleExternalId`
    pub(super) role_external_id: Option<Secret>,
    /// `awsStsRegion`
    pub(super) sts_region: Option<Arc<str>>,
}

impl SecurityConfig {
    /// `security.protocol`
    pub fn protocol(&self) -> SecurityProtocol {
        self.protocol
    }

    /// Reads the settings, and the files that they name: what does not open is refused here, not at the first
    /// connection.
    ///
    /// # Errors
    /// The first key that is wrong, with the path and what to do.
    pub(crate) fn from_properties(p: &Properties<'_>) -> Result<Self, ConfigError> {
        let protocol = p.choice(
            "security.protocol",
            &[
                SecurityProtocol::Plaintext,
                SecurityProtocol::Ssl,
                SecurityProtocol::SaslPlaintext,
                SecurityProtocol::SaslSsl,
            ]
            .map(|protocol| (protocol.name(), protocol)),
            SecurityProtocol::Plaintext,
        )?;
        Ok(Self {
            protocol,
            tls: protocol.has_tls().then(|| tls_settings(p)).transpose()?,
            sasl: protocol.has_sasl().then(|| sasl_settings(p)).transpose()?,
        })
    }
}

fn missing(key: &str, accepted: impl Into<String>) -> ConfigError {
    ConfigError::Missing {
        key: key.to_owned(),
        accepted: accepted.into(),
    }
}

fn secret(p: &Properties<'_>, key: &str) -> Option<Secret> {
    // Passwords are taken as they stand, with the blanks at their ends.
    p.verbatim(key).filter(|value| !value.is_empty()).map(Secret::new)
}

const HIDDEN: &str = "[hidden]";

/// The TLS settings, with everything that they name opened once.
pub(super) fn tls_settings(p: &Properties<'_>) -> Result<TlsSettings, ConfigError> {
    let settings = TlsSettings {
        trust: trust(p)?,
        identity: identity(p)?,
        check_host: match p.verbatim("ssl.endpoint.identification.algorithm").map(str::trim) {
            None => true,
            Some("") => false,
            Some(https) if https.eq_ignore_ascii_case("https") => true,
            Some(other) => {
                return Err(invalid(
                    "ssl.endpoint.identification.algorithm",
                    other,
                    "`https` checks the broker's host name, nothing (an empty value) does not",
                ));
            }
        },
        versions: versions(p)?,
        cipher_suites: cipher_suites(p)?,
    };
    settings.check()?;
    Ok(settings)
}

fn store_type(p: &Properties<'_>, key: &str) -> Result<StoreType, ConfigError> {
    p.choice(
        key,
        &[
            ("PEM", StoreType::Pem),
            ("PKCS12", StoreType::Java),
            ("JKS", StoreType::Java),
        ],
        StoreType::Java,
    )
}

fn store_file(p: &Properties<'_>, store: &str) -> Result<Option<StoreFile>, ConfigError> {
    let kind = store_type(p, &format!("{store}.type"))?;
    let Some(path) = p.text(&format!("{store}.location")) else {
        return Ok(None);
    };
    let key = format!("{store}.password");
    let password = secret(p, &key);
    if kind == StoreType::Pem && password.is_some() {
        let encrypted = "PEM stores have no password: remove it (a key in it may have `ssl.key.password`)";
        return Err(invalid(&key, HIDDEN, encrypted));
    }
    Ok(Some(StoreFile {
        kind,
        path: Arc::from(Path::new(path)),
        password,
    }))
}

fn must_be_pem(p: &Properties<'_>, key: &str, store: &str) -> Result<(), ConfigError> {
    let kind = format!("{store}.type");
    if store_type(p, &kind)? != StoreType::Pem {
        return Err(invalid(key, HIDDEN, format!("needs `{kind}=PEM`")));
    }
    if p.text(&format!("{store}.location")).is_some() {
        let either = format!("give either this or `{store}.location`");
        return Err(invalid(key, HIDDEN, either));
    }
    Ok(())
}

fn trust(p: &Properties<'_>) -> Result<Trust, ConfigError> {
    if let Some(pem) = p.text("ssl.truststore.certificates") {
        must_be_pem(p, "ssl.truststore.certificates", "ssl.truststore")?;
        return Ok(Trust::Pem(pem.into()));
    }
    Ok(store_file(p, "ssl.truststore")?.map_or(Trust::System, Trust::File))
}

fn identity(p: &Properties<'_>) -> Result<Option<Identity>, ConfigError> {
    let key_password = secret(p, "ssl.key.password");
    let (chain_key, key_key) = ("ssl.keystore.certificate.chain", "ssl.keystore.key");
    match (p.text(chain_key), p.text(key_key)) {
        (None, None) => Ok(store_file(p, "ssl.keystore")?.map(|file| Identity::File { file, key_password })),
        (Some(chain), Some(key)) => {
            must_be_pem(p, key_key, "ssl.keystore")?;
            Ok(Some(Identity::Pem {
                chain: chain.into(),
                key: Secret::new(key),
                key_password,
            }))
        }
        (Some(_), None) => Err(missing(key_key, "it belongs to `ssl.keystore.certificate.chain`")),
        (None, Some(_)) => Err(missing(chain_key, "it belongs to `ssl.keystore.key`")),
    }
}

fn versions(p: &Properties<'_>) -> Result<Vec<TlsVersion>, ConfigError> {
    let key = "ssl.protocol";
    let cap = match p.text(key) {
        None | Some("TLS" | "TLSv1.3") => TlsVersion::V13,
        Some("TLSv1.2") => TlsVersion::V12,
        Some(other) => return Err(invalid(key, other, "accepted: `TLSv1.3`, `TLSv1.2`, `TLS`")),
    };
    let key = "ssl.enabled.protocols";
    let Some(text) = p.text(key) else {
        return Ok(match cap {
            TlsVersion::V12 => vec![TlsVersion::V12],
            TlsVersion::V13 => vec![TlsVersion::V12, TlsVersion::V13],
        });
    };
    let mut versions = Vec::new();
    for name in list(text) {
        versions.push(match name {
            "TLSv1.2" => TlsVersion::V12,
            "TLSv1.3" => TlsVersion::V13,
            _ => {
                let accepted = format!(
                    "accepted: `TLSv1.2`, `TLSv1.3`; `{name}` is not supported (older versions are not secure)"
                );
                return Err(invalid(key, text, accepted));
            }
        });
    }
    versions.sort_unstable();
    versions.dedup();
    Ok(versions)
}

fn cipher_suites(p: &Properties<'_>) -> Result<Vec<Arc<str>>, ConfigError> {
    let key = "ssl.cipher.suites";
    let mut suites: Vec<Arc<str>> = Vec::new();
    for name in list(p.text(key).unwrap_or_default()) {
        if cipher_suite(name).is_none() {
            let accepted = format!("`{name}` is not supported: accepted: {}", cipher_suite_names());
            return Err(invalid(key, p.text(key).unwrap_or_default(), accepted));
        }
        suites.push(name.into());
    }
    Ok(suites)
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn sasl_settings(p: &Properties<'_>) -> Result<SaslSettings, ConfigError> {
    let key = "sasl.mechanism";
    let supported = || {
        let names = Mechanism::ALL.map(|mechanism| format!("`{}`", mechanism.name()));
        names.join(", ")
    };
    let mechanism = match p.text(key) {
        None => {
            let accepted = format!(
                "Kafka's default GSSAPI (Kerberos) is not supported: give one of {}",
                supported()
            );
            return Err(missing(key, accepted));
        }
        Some(name) => Mechanism::ALL
            .into_iter()
            .find(|mechanism| mechanism.name() == name)
            .ok_or_else(|| match name {
                "GSSAPI" => invalid(
                    key,
                    name,
                    format!("Kerberos is not supported: accepted: {}", supported()),
                ),
                _ => invalid(key, name, format!("accepted: {}", supported())),
            })?,
    };
    if let Some((kerberos, value)) = p.under("sasl.kerberos.").next() {
        return Err(invalid(
            kerberos,
            value,
            "Kerberos (GSSAPI) is not supported: remove it",
        ));
    }
    let key = "sasl.jaas.config";
    let jaas = match p.text(key) {
        Some(text) => Some(Jaas::parse(text).map_err(|reason| invalid(key, HIDDEN, reason))?),
        None => None,
    };
    if let Some(jaas) = jaas.as_ref().filter(|jaas| jaas.simple_module() != mechanism.module()) {
        let accepted = format!(
            "its login module `{}` is not that of `sasl.mechanism={}`: use `{}`",
            jaas.module,
            mechanism.name(),
            mechanism.module_class()
        );
        return Err(invalid(key, HIDDEN, accepted));
    }
    let credentials = match mechanism {
        Mechanism::Plain | Mechanism::ScramSha256 | Mechanism::ScramSha512 => password(mechanism, jaas.as_ref())?,
        Mechanism::OAuthBearer => Credentials::OAuth(Box::new(OAuthSettings::from_properties(p, jaas.as_ref())?)),
        Mechanism::AwsMskIam => Credentials::MskIam(msk(jaas.as_ref())?),
    };
    Ok(SaslSettings { mechanism, credentials })
}

fn password(mechanism: Mechanism, jaas: Option<&Jaas>) -> Result<Credentials, ConfigError> {
    let key = "sasl.jaas.config";
    let example = || {
        format!(
            "give `{} required username=\"…\" password=\"…\";`",
            mechanism.module_class()
        )
    };
    let jaas = jaas.ok_or_else(|| missing(key, example()))?;
    let option = |name: &str| {
        jaas.option(name)
            .ok_or_else(|| invalid(key, HIDDEN, format!("it has no `{name}`: {}", example())))
    };
    Ok(Credentials::Password {
        username: option("username")?.into(),
        password: Secret::new(option("password")?),
        is_token: mechanism != Mechanism::Plain
            && jaas
                .option("tokenauth")
                .is_some_and(|value| value.eq_ignore_ascii_case("true")),
    })
}

fn msk(jaas: Option<&Jaas>) -> Result<MskSettings, ConfigError> {
    let option = |name: &str| jaas.and_then(|jaas| jaas.option(name)).map(Arc::from);
    let settings = MskSettings {
        profile: option("awsProfileName"),
        role_arn: option("awsRoleArn"),
        role_session_name: option("awsRoleSessionName"),
        role_external_id: option("awsRoleExternalId").map(Secret::new),
        sts_region: option("awsStsRegion"),
    };
    let known = [
        "awsProfileName",
        "awsRoleArn",
        "awsRoleSessionName",
        "awsRoleExternalId",
        "awsStsRegion",
        "awsDebugCreds",
        "awsMaxRetries",
        "awsMaxBackOffTimeMs",
    ];
    let unknown = jaas.and_then(|jaas| jaas.options.keys().find(|name| !known.contains(&name.as_str())));
    match unknown {
        // An access key that is ignored would mean another identity than the one that was meant.
        Some(name) => Err(invalid(
            "sasl.jaas.config",
            HIDDEN,
            format!(
                "option `{name}` is not supported: accepted: `{}`",
                known[..5].join("`, `")
            ),
        )),
        None => Ok(settings),
    }
}

/// How long asking for a token may take, and how its failures are repeated (KIP-768).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LoginLimits {
    /// `sasl.login.connect.timeout.ms` (10,000)
    pub(super) connect: Duration,
    /// `sasl.login.read.timeout.ms` (10,000)
    pub(super) read: Duration,
    /// `sasl.login.retry.backoff.ms` (100)
    pub(super) backoff: Duration,
    /// `sasl.login.retry.backoff.max.ms` (10,000)
    pub(super) backoff_max: Duration,
}

impl LoginLimits {
    pub(super) fn from_properties(p: &Properties<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            connect: p.millis("sasl.login.connect.timeout.ms", 10_000, 1)?,
            read: p.millis("sasl.login.read.timeout.ms", 10_000, 1)?,
            backoff: p.millis("sasl.login.retry.backoff.ms", 100, 0)?,
            backoff_max: p.millis("sasl.login.retry.backoff.max.ms", 10_000, 0)?,
        })
    }
}
