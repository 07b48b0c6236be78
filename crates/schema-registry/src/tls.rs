//! TLS towards the registry: which certificates are trusted, and the client's own.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{ConfigError, ConfigKey, ConfigType, Importance, ParsedConfig, Secret};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tracing::info;

const TRUST_LOCATION: &str = "schema.registry.ssl.truststore.location";
const TRUST_TYPE: &str = "schema.registry.ssl.truststore.type";
const TRUST_CERTIFICATES: &str = "schema.registry.ssl.truststore.certificates";
const KEYSTORE_LOCATION: &str = "schema.registry.ssl.keystore.location";
const KEYSTORE_TYPE: &str = "schema.registry.ssl.keystore.type";
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
        key(name, String, documentation)
            .default("PEM")
            .validator(Validator::one_of(&["PEM"]))
    };
    vec![
        key(
            TRUST_LOCATION,
            String,
            "File with the certificates that are trusted; without it those of the machine.",
        ),
        format(
            TRUST_TYPE,
            "Format of the trust store. Convert others with `keytool -exportcert -rfc`.",
        ),
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
            "Format of the key store. Convert PKCS12 with `openssl pkcs12 -nodes`.",
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
    pub(crate) fn try_new(config: &ParsedConfig) -> Result<Self, ConfigError> {
        let roots = match pem(config, TRUST_CERTIFICATES, TRUST_LOCATION)? {
            None => None,
            Some((key, text)) => Some(Arc::new(roots(key, &text)?)),
        };
        let chain = pem(config, KEYSTORE_CHAIN, KEYSTORE_LOCATION)?;
        let key = pem(config, KEYSTORE_KEY, KEYSTORE_LOCATION)?;
        let client = match (chain, key) {
            (None, None) => None,
            (Some((chain_key, chain)), Some((key_key, key))) => Some(ClientCertificate {
                chain: certificates(chain_key, &chain)?,
                key: Arc::new(PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| {
                    ConfigError::new(
                        key_key,
                        format!("has no private key in PEM that is not encrypted: {error}"),
                    )
                })?),
            }),
            (Some((key, _)), None) => {
                return Err(ConfigError::new(key, format!("needs `{KEYSTORE_KEY}` with it")));
            }
            (None, Some((key, _))) => {
                return Err(ConfigError::new(key, format!("needs `{KEYSTORE_CHAIN}` with it")));
            }
        };
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

/// The text of an inline setting, or else of a file.
fn pem(
    config: &ParsedConfig,
    inline: &'static str,
    location: &'static str,
) -> Result<Option<(&'static str, String)>, ConfigError> {
    if let Some(text) = config
        .secret(inline)
        .map(Secret::reveal)
        .filter(|text| !text.is_empty())
    {
        // One line is how properties files hold it.
        return Ok(Some((inline, text.replace("\\n", "\n"))));
    }
    match config.str(location).filter(|path| !path.is_empty()) {
        None => Ok(None),
        Some(path) => match std::fs::read_to_string(Path::new(path)) {
            Ok(text) => Ok(Some((location, text))),
            Err(error) => Err(ConfigError::new(
                location,
                format!("{path} cannot be read as PEM: {error}"),
            )),
        },
    }
}

fn certificates(key: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(ConfigError::new(key, "has no certificate in PEM")),
        Err(error) => Err(ConfigError::new(key, format!("is not PEM: {error}"))),
    }
}

fn roots(key: &str, text: &str) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, text)? {
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
