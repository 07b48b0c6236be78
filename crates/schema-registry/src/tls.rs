//! TLS towards the registry: which certificates are trusted, and the client's own.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use klamm_connect_api::config::Validator;
use klamm_connect_api::{ConfigError, ConfigKey, ConfigType, Importance, ParsedConfig, Secret};
use klamm_keystore::{KeyAndChain, StoreType, key_and_chain, pem, read_file, trusted};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tracing::info;

const TRUST_LOCATION: &str = "schema.registry.ssl.truststore.location";
const TRUST_TYPE: &str = "schema.registry.ssl.truststore.type";
const TRUST_PASSWORD: &str = "schema.registry.ssl.truststore.password";
const TRUST_CERTIFICATES: &str = "schema.registry.ssl.truststore.certificates";
const KEYSTORE_LOCATION: &str = "schema.registry.ssl.keystore.location";
const KEYSTORE_TYPE: &str = "schema.registry.ssl.keystore.type";
const KEYSTORE_PASSWORD: &str = "schema.registry.ssl.keystore.password";
const KEY_PASSWORD: &str = "schema.registry.ssl.key.password";
const KEYSTORE_CHAIN: &str = "schema.registry.ssl.keystore.certificate.chain";
const KEYSTORE_KEY: &str = "schema.registry.ssl.keystore.key";
const IDENTIFICATION: &str = "schema.registry.ssl.endpoint.identification.algorithm";

pub(crate) fn config_keys(group: &'static str) -> Vec<ConfigKey> {
    use ConfigType::{Password, String};
    let key = |name: &str, config_type, documentation: &str| {
        ConfigKey::new(name, config_type, Importance::Medium, documentation)
            .group(group)
            .optional()
    };
    let format = |name: &str, documentation: &str| {
        key(name, String, documentation).validator(Validator::one_of(&["JKS", "PKCS12", "PEM"]))
    };
    vec![
        key(
            TRUST_LOCATION,
            String,
            "File with the certificates that are trusted; without it those of the machine.",
        ),
        format(
            TRUST_TYPE,
            "Format of the trust store: JKS, PKCS12 or PEM. Default: what the file looks like.",
        ),
        key(TRUST_PASSWORD, Password, "Password of the trust store."),
        key(
            TRUST_CERTIFICATES,
            Password,
            "The certificates that are trusted, in PEM, in place of a file.",
        ),
        key(
            KEYSTORE_LOCATION,
            String,
            "File with the client's private key and certificate chain, for registries that want one.",
        ),
        format(
            KEYSTORE_TYPE,
            "Format of the key store: JKS, PKCS12 or PEM. Default: what the file looks like.",
        ),
        key(KEYSTORE_PASSWORD, Password, "Password of the key store."),
        key(
            KEY_PASSWORD,
            Password,
            "Password of the private key; without it that of the key store.",
        ),
        key(
            KEYSTORE_CHAIN,
            Password,
            "The client's certificate chain in PEM, in place of a file.",
        ),
        key(
            KEYSTORE_KEY,
            Password,
            "The client's private key in PEM (PKCS#8), in place of a file.",
        ),
        key(
            IDENTIFICATION,
            String,
            "How the registry's host name is checked against its certificate. It always is.",
        )
        .default("https")
        .validator(Validator::one_of(&["https"])),
    ]
}

/// What the settings say.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsPlan {
    /// None: the machine's.
    roots: Option<Arc<RootCertStore>>,
    client: Option<ClientCertificate>,
}

#[derive(Clone)]
struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(***)")
    }
}

impl TlsPlan {
    /// What to set, if `failure` is one of a TLS handshake that settings can mend.
    pub(crate) fn advice(&self, failure: &(dyn Error + 'static)) -> Option<String> {
        let client = match self.client {
            Some(_) => format!("check the client certificate of `{KEYSTORE_LOCATION}` or `{KEYSTORE_CHAIN}`"),
            None => format!(
                "for a registry that wants a client certificate set `{KEYSTORE_LOCATION}`, or `{KEYSTORE_CHAIN}` and \
                 `{KEYSTORE_KEY}`"
            ),
        };
        match tls_error(failure) {
            Some(rustls::Error::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::HandshakeFailure
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied,
            )) => Some(client),
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::InvalidPurpose,
            )) => Some(format!(
                "set `{TRUST_LOCATION}` to the certificate of whoever signed the registry's, or put that into \
                 `{TRUST_CERTIFICATES}`"
            )),
            Some(_) => None,
            // Some servers end the connection without a word, or before their word arrives.
            None => breaks_off(failure).then(|| format!("if that goes on: {client}")),
        }
    }

    pub(crate) fn try_new(config: &ParsedConfig) -> Result<Self, ConfigError> {
        let roots = match trust(config)? {
            None => None,
            Some((key, certificates)) => Some(Arc::new(roots(key, certificates)?)),
        };
        let client = identity(config)?.map(|KeyAndChain { key, chain }| ClientCertificate {
            chain,
            key: Arc::new(key),
        });
        let plan = Self { roots, client };
        if plan.roots.is_some() && plan.client.is_some() {
            // What can be checked without reading the machine's certificates is checked with the configuration.
            plan.client_config()
                .map_err(|error| ConfigError::new(KEYSTORE_LOCATION, error))?;
        }
        Ok(plan)
    }

    /// For a client that asks nothing over TLS.
    pub(crate) fn trusting_nobody() -> Result<ClientConfig, String> {
        let plan = Self {
            roots: Some(Arc::new(RootCertStore::empty())),
            client: None,
        };
        plan.client_config()
    }

    /// The configuration of connections. Reading the machine's certificates takes milliseconds.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, String> {
        let roots = match &self.roots {
            Some(roots) => Arc::clone(roots),
            None => Arc::new(machine_roots()),
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        match &self.client {
            None => Ok(builder.with_no_client_auth()),
            Some(client) => builder
                .with_client_auth_cert(client.chain.clone(), client.key.clone_key())
                .map_err(|error| format!("the client's key and certificate cannot be used: {error}")),
        }
    }
}

/// The causes of an error, itself first; those inside of I/O errors as well.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inside {
            Some(inside) => Some(inside as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|error| error.downcast_ref())
}

fn breaks_off(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            )
        })
}

fn secret<'a>(config: &'a ParsedConfig, key: &str) -> Option<&'a str> {
    config.secret(key).map(Secret::reveal).filter(|text| !text.is_empty())
}

/// A PEM text in a setting. One line is how properties files hold it.
fn inline(config: &ParsedConfig, key: &str) -> Option<String> {
    secret(config, key).map(|text| text.replace("\\n", "\n"))
}

/// The store in a file: where it is for errors, its bytes and its format.
fn store(
    config: &ParsedConfig,
    location: &'static str,
    store_type: &'static str,
) -> Result<Option<(String, Vec<u8>, StoreType)>, ConfigError> {
    let Some(path) = config.str(location).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let bytes = read_file(Path::new(path)).map_err(|reason| ConfigError::new(location, format!("{path}: {reason}")))?;
    let kind = match config.str(store_type) {
        Some(name) if name.eq_ignore_ascii_case("PEM") => StoreType::Pem,
        Some(_) => StoreType::Java,
        None => StoreType::of(&bytes),
    };
    Ok(Some((path.to_owned(), bytes, kind)))
}

/// The certificates to trust, and the setting that names them.
fn trust(config: &ParsedConfig) -> Result<Option<(&'static str, Vec<CertificateDer<'static>>)>, ConfigError> {
    if let Some(text) = inline(config, TRUST_CERTIFICATES) {
        let found = pem::certificates(text.as_bytes());
        let found = found.map_err(|reason| ConfigError::new(TRUST_CERTIFICATES, reason))?;
        return Ok(Some((TRUST_CERTIFICATES, found)));
    }
    let Some((path, bytes, kind)) = store(config, TRUST_LOCATION, TRUST_TYPE)? else {
        return Ok(None);
    };
    match trusted(&bytes, kind, secret(config, TRUST_PASSWORD)) {
        Ok(found) => Ok(Some((TRUST_LOCATION, found))),
        Err(reason) => Err(ConfigError::new(TRUST_LOCATION, format!("{path}: {reason}"))),
    }
}

/// The client's key with its certificates.
fn identity(config: &ParsedConfig) -> Result<Option<KeyAndChain>, ConfigError> {
    let key_password = secret(config, KEY_PASSWORD);
    match (inline(config, KEYSTORE_CHAIN), inline(config, KEYSTORE_KEY)) {
        (Some(chain), Some(key)) => {
            let chain = pem::certificates(chain.as_bytes());
            let key = pem::key(key.as_bytes(), key_password);
            return Ok(Some(KeyAndChain {
                chain: chain.map_err(|reason| ConfigError::new(KEYSTORE_CHAIN, reason))?,
                key: key.map_err(|reason| ConfigError::new(KEYSTORE_KEY, reason))?,
            }));
        }
        (Some(_), None) => {
            return Err(ConfigError::new(
                KEYSTORE_CHAIN,
                format!("needs `{KEYSTORE_KEY}` with it"),
            ));
        }
        (None, Some(_)) => {
            return Err(ConfigError::new(
                KEYSTORE_KEY,
                format!("needs `{KEYSTORE_CHAIN}` with it"),
            ));
        }
        (None, None) => {}
    }
    let Some((path, bytes, kind)) = store(config, KEYSTORE_LOCATION, KEYSTORE_TYPE)? else {
        return Ok(None);
    };
    match key_and_chain(&bytes, kind, secret(config, KEYSTORE_PASSWORD), key_password) {
        Ok(found) => Ok(Some(found)),
        Err(reason) => Err(ConfigError::new(KEYSTORE_LOCATION, format!("{path}: {reason}"))),
    }
}

fn roots(key: &str, certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| ConfigError::new(key, format!("has a certificate that cannot be trusted: {error}")))?;
    }
    Ok(roots)
}

/// The machine's, or Mozilla's where it has none.
fn machine_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        info!("the machine has no root certificates, using Mozilla's");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::{ConfigDef, RawConfig};

    use super::*;

    fn seed(name: &str) -> String {
        format!("{}/../kafka/src/fuzzing/seeds/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    fn plan(entries: &[(&str, &str)]) -> Result<TlsPlan, String> {
        let raw: RawConfig = entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let parsed = ConfigDef::new().with(config_keys("TLS")).parse(&raw);
        let parsed = parsed.map_err(|errors| errors.to_string())?;
        TlsPlan::try_new(&parsed).map_err(|error| format!("`{}`: {}", error.key, error.message))
    }

    #[test]
    fn stores_of_java_clients_open_with_their_password_and_need_no_type() {
        for (name, store_type) in [
            ("trust.jks", None),
            ("trust.jks", Some("JKS")),
            ("trust.p12", Some("pkcs12")),
        ] {
            let (location, mut entries) = (seed(name), vec![(TRUST_PASSWORD, "secret")]);
            entries.push((TRUST_LOCATION, &location));
            entries.extend(store_type.map(|store_type| (TRUST_TYPE, store_type)));
            let plan = plan(&entries).unwrap();
            assert!(!plan.roots.unwrap().is_empty(), "{name}");
        }
        for name in ["key.jks", "key.p12"] {
            let location = seed(name);
            let entries = [(KEYSTORE_LOCATION, location.as_str()), (KEYSTORE_PASSWORD, "secret")];
            let client = plan(&entries).unwrap().client.unwrap();
            assert!(!client.chain.is_empty(), "{name}");
        }
    }

    #[test]
    fn mistakes_name_the_setting_the_file_and_the_way_out() {
        let jks = seed("trust.jks");
        let cases: [(&[(&str, &str)], &str); 6] = [
            (
                &[(TRUST_LOCATION, "/nowhere")],
                "`schema.registry.ssl.truststore.location`: /nowhere: it cannot be read",
            ),
            (
                &[(TRUST_LOCATION, &jks), (TRUST_PASSWORD, "sesame")],
                "the password does not open it",
            ),
            (
                &[(TRUST_LOCATION, &jks), (TRUST_TYPE, "PEM")],
                "it holds no `-----BEGIN CERTIFICATE-----`",
            ),
            (
                &[(TRUST_CERTIFICATES, "x")],
                "`schema.registry.ssl.truststore.certificates`: it holds no",
            ),
            (
                &[(KEYSTORE_KEY, "x")],
                "`schema.registry.ssl.keystore.key`: needs `schema.registry.ssl.keystore.certificate.chain`",
            ),
            (&[(KEYSTORE_TYPE, "BKS")], "must be one of: JKS, PKCS12, PEM"),
        ];
        for (entries, wanted) in cases {
            let error = plan(entries).unwrap_err();
            assert!(error.contains(wanted) && !error.contains("sesame"), "{error}");
        }
    }
}
