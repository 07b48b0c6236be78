//! TLS: settings, material that is read again when its files change, and failures in words.

use std::path::Path;
use std::sync::Arc;

use klamm_keystore::{self as keystore, KeyAndChain, StoreType, pem};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore,
    SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use super::{Secret, SecurityProtocol};
use crate::config::{ConfigError, invalid};

/// `ssl.enabled.protocols`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum TlsVersion {
    V12,
    V13,
}

/// What a store is read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct StoreFile {
    pub(super) kind: StoreType,
    pub(super) path: Arc<Path>,
    pub(super) password: Option<Secret>,
}

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    /// The machine's certificate authorities.
    System,
    /// `ssl.truststore.certificates`
    Pem(Arc<str>),
    /// `ssl.truststore.location`
    File(StoreFile),
}

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// `ssl.keystore.certificate.chain`, `ssl.keystore.key`
    Pem {
        chain: Arc<str>,
        key: Secret,
        key_password: Option<Secret>,
    },
    /// `ssl.keystore.location`
    File {
        file: StoreFile,
        key_password: Option<Secret>,
    },
}

/// `ssl.*`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TlsSettings {
    pub(super) trust: Trust,
    pub(super) identity: Option<Identity>,
    /// `ssl.endpoint.identification.algorithm` is `https`.
    pub(super) check_host: bool,
    pub(super) versions: Vec<TlsVersion>,
    /// `ssl.cipher.suites`; none stands for all.
    pub(super) cipher_suites: Vec<Arc<str>>,
}

impl Default for TlsSettings {
    /// The system's authorities, no certificate of our own, host names checked.
    fn default() -> Self {
        Self {
            trust: Trust::System,
            identity: None,
            check_host: true,
            versions: vec![TlsVersion::V12, TlsVersion::V13],
            cipher_suites: Vec::new(),
        }
    }
}

/// Makes an error of what is wrong with a file or text.
type Wrong<'a> = Box<dyn Fn(&str) -> ConfigError + 'a>;

/// Java's name of a suite: that of the RFCs, where rustls writes `TLS13_` for those of TLS 1.3.
fn suite_name(suite: SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

pub(super) fn cipher_suite(name: &str) -> Option<SupportedCipherSuite> {
    ring::ALL_CIPHER_SUITES
        .iter()
        .copied()
        .find(|suite| suite_name(*suite) == name)
}

pub(super) fn cipher_suite_names() -> String {
    let names: Vec<String> = ring::ALL_CIPHER_SUITES
        .iter()
        .map(|suite| format!("`{}`", suite_name(*suite)))
        .collect();
    names.join(", ")
}

impl TlsSettings {
    /// Opens everything once. The system's certificates are left out: reading them takes long, and no setting of ours
    /// makes them right.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.load(&match &self.trust {
            Trust::System => RootCertStore::empty(),
            _ => self.roots()?,
        }) {
            Ok(_) => Ok(()),
            Err(err) => Err(err),
        }
    }

    /// What connections need. Reads files.
    fn connect_with(&self) -> Result<ClientConfig, ConfigError> {
        self.load(&self.roots()?)
    }

    fn roots(&self) -> Result<RootCertStore, ConfigError> {
        let (certificates, wrong): (_, Wrong<'_>) = match &self.trust {
            Trust::System => {
                let found = rustls_native_certs::load_native_certs();
                let wrong = |reason: &str| {
                    let text = format!("{reason}: name a truststore here, or install ca-certificates");
                    invalid("ssl.truststore.location", "", text)
                };
                if found.certs.is_empty() {
                    return Err(wrong("the machine has no trusted certificates"));
                }
                (found.certs, Box::new(wrong))
            }
            Trust::Pem(pem) => {
                let wrong = |reason: &str| invalid("ssl.truststore.certificates", "[PEM]", reason);
                let found = pem::certificates(pem.as_bytes()).map_err(|reason| wrong(&reason))?;
                (found, Box::new(wrong))
            }
            Trust::File(file) => {
                let wrong = |reason: &str| store_error("ssl.truststore", &file.path, reason);
                let bytes = keystore::read_file(&file.path).map_err(|reason| wrong(&reason))?;
                let found = keystore::trusted(&bytes, file.kind, file.password.as_ref().map(Secret::reveal));
                (found.map_err(|reason| wrong(&reason))?, Box::new(wrong))
            }
        };
        let mut roots = RootCertStore::empty();
        // As elsewhere, one strange certificate among the machine's many spoils none of the others.
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(wrong("none of its certificates can be read"));
        }
        Ok(roots)
    }

    fn load(&self, roots: &RootCertStore) -> Result<ClientConfig, ConfigError> {
        let mut provider = ring::default_provider();
        if !self.cipher_suites.is_empty() {
            provider.cipher_suites = self
                .cipher_suites
                .iter()
                .filter_map(|name| cipher_suite(name))
                .collect();
        }
        let provider = Arc::new(provider);
        let versions: Vec<&'static SupportedProtocolVersion> = self
            .versions
            .iter()
            .map(|version| match version {
                TlsVersion::V12 => &rustls::version::TLS12,
                TlsVersion::V13 => &rustls::version::TLS13,
            })
            .collect();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|err| {
                let names = self.cipher_suites.join(",");
                let text = format!("it does not go with `ssl.enabled.protocols` ({err})");
                invalid("ssl.cipher.suites", &names, text)
            })?;
        let builder = if self.check_host || roots.is_empty() {
            builder.with_root_certificates(roots.clone())
        } else {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots.clone()), Arc::clone(&provider))
                .build()
                .map_err(|err| invalid("ssl.truststore.location", "", err.to_string()))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyHost(verifier)))
        };
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some(identity) => {
                let key = identity.load(&provider)?;
                Ok(builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key))))
            }
        }
    }

    fn files(&self) -> Vec<Arc<Path>> {
        let trust = match &self.trust {
            Trust::File(file) => Some(Arc::clone(&file.path)),
            Trust::System | Trust::Pem(_) => None,
        };
        let identity = match &self.identity {
            Some(Identity::File { file, .. }) => Some(Arc::clone(&file.path)),
            Some(Identity::Pem { .. }) | None => None,
        };
        trust.into_iter().chain(identity).collect()
    }
}

fn store_error(store: &str, path: &Path, reason: &str) -> ConfigError {
    let advice = if reason.contains("the key's password") {
        ": check `ssl.key.password`".to_owned()
    } else if reason.contains("the password") {
        format!(": check `{store}.password`")
    } else if reason.contains("it is a PEM file") {
        format!(" (`{store}.type=PEM`)")
    } else {
        String::new()
    };
    invalid(
        &format!("{store}.location"),
        &path.display().to_string(),
        format!("{reason}{advice}"),
    )
}

impl Identity {
    fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey, ConfigError> {
        let (loaded, wrong): (_, Wrong<'_>) = match self {
            Self::Pem {
                chain,
                key,
                key_password,
            } => {
                let pem = pem::certificates(chain.as_bytes())
                    .map_err(|reason| invalid("ssl.keystore.certificate.chain", "[PEM]", reason))?;
                let wrong = |reason: &str| invalid("ssl.keystore.key", "[hidden]", reason);
                let key = pem::key(key.reveal().as_bytes(), key_password.as_ref().map(Secret::reveal));
                let key = key.map_err(|reason| wrong(&reason))?;
                (KeyAndChain { key, chain: pem }, Box::new(wrong))
            }
            Self::File { file, key_password } => {
                let wrong = |reason: &str| store_error("ssl.keystore", &file.path, reason);
                let bytes = keystore::read_file(&file.path).map_err(|reason| wrong(&reason))?;
                let password = file.password.as_ref().map(Secret::reveal);
                let key_password = key_password.as_ref().map(Secret::reveal);
                let loaded = keystore::key_and_chain(&bytes, file.kind, password, key_password);
                (loaded.map_err(|reason| wrong(&reason))?, Box::new(wrong))
            }
        };
        let KeyAndChain { key, chain } = loaded;
        CertifiedKey::from_der(chain, key, provider).map_err(|err| {
            wrong(&match err {
                rustls::Error::InconsistentKeys(_) => {
                    "the private key does not belong to the first certificate: put the client's own certificate first"
                        .to_owned()
                }
                other => format!("its key and certificates cannot be used: {other}"),
            })
        })
    }
}

/// TLS for the connections of one client.
#[derive(Debug)]
pub(crate) struct Tls {
    settings: Arc<TlsSettings>,
    current: Mutex<Option<Loaded>>,
}

type Stamps = Vec<Option<(std::time::SystemTime, u64)>>;

#[derive(Debug)]
struct Loaded {
    /// The files as they were when they were last looked into, whether they were usable or not.
    stamps: Stamps,
    config: Arc<ClientConfig>,
}

impl Tls {
    pub(super) fn new(settings: TlsSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            current: Mutex::new(None),
        }
    }

    /// Whether there is a certificate to show.
    pub(super) fn has_identity(&self) -> bool {
        self.settings.identity.is_some()
    }

    /// What to connect with: files that changed since (rotated certificates) are read again. If they cannot be used,
    /// the last ones that could stay.
    ///
    /// # Errors
    /// The material was never usable.
    pub(super) async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let mut current = self.current.lock().await;
        let known = current.as_ref().map(|loaded| loaded.stamps.clone());
        let settings = Arc::clone(&self.settings);
        // Reads files and works off the rounds of a password: nothing for the thread that answers heartbeats.
        let looked = tokio::task::spawn_blocking(move || {
            let stamps: Stamps = settings.files().iter().map(|file| keystore::stamp(file)).collect();
            if known.as_ref() == Some(&stamps) {
                return (stamps, None);
            }
            let loaded = settings.connect_with();
            (stamps, Some(loaded))
        });
        let (stamps, loaded) = looked.await.map_err(|err| err.to_string())?;
        match (loaded, current.as_mut()) {
            (None, Some(known)) => Ok(Arc::clone(&known.config)),
            (Some(Ok(config)), _) => {
                let config = Arc::new(config);
                *current = Some(Loaded {
                    stamps,
                    config: Arc::clone(&config),
                });
                Ok(config)
            }
            (Some(Err(error)), Some(known)) => {
                warn!(%error, "changed certificates cannot be used, the last ones stay in use");
                known.stamps = stamps;
                Ok(Arc::clone(&known.config))
            }
            (Some(Err(error)), None) => Err(error.to_string()),
            (None, None) => Err("certificates were never read".to_owned()),
        }
    }

    /// Makes `stream` secure, for the host of `address`.
    ///
    /// # Errors
    /// Why not, with what to do.
    pub(crate) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        address: &str,
        protocol: SecurityProtocol,
    ) -> Result<TlsStream<S>, String> {
        let config = self.config().await?;
        let host = host_of(address);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is no host name"))?;
        TlsConnector::from(config).connect(name, stream).await.map_err(|err| {
            tls_failure(&err).unwrap_or_else(|| match err.kind() {
                std::io::ErrorKind::UnexpectedEof
                | std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::BrokenPipe => {
                    format!(
                        "the broker closed the connection in the handshake: {}",
                        plaintext(protocol)
                    )
                }
                _ => err.to_string(),
            })
        })
    }
}

/// `host` of `host:port`, without the brackets of an IPv6 address.
pub(crate) fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn plaintext(protocol: SecurityProtocol) -> String {
    let plain = match protocol {
        SecurityProtocol::SaslSsl | SecurityProtocol::SaslPlaintext => SecurityProtocol::SaslPlaintext,
        SecurityProtocol::Ssl | SecurityProtocol::Plaintext => SecurityProtocol::Plaintext,
    };
    format!("it may speak plaintext at this port: check the port, or set `security.protocol={plain}`")
}

/// What the first bytes of an answer say about who speaks another protocol at this port.
pub(crate) fn mismatch(first: [u8; 4]) -> Option<&'static str> {
    match &first {
        // A TLS record: alert or handshake, version 3.x.
        [0x15 | 0x16, 0x03, ..] => Some(
            "the broker speaks TLS at this port: set `security.protocol=SSL`, or `SASL_SSL` where it asks for SASL",
        ),
        b"HTTP" => Some("a web server speaks HTTP at this port: check the host and the port of `bootstrap.servers`"),
        _ => None,
    }
}

/// What went wrong in TLS with what to do, if `err` comes from there.
pub(crate) fn tls_failure(err: &std::io::Error) -> Option<String> {
    let err = err.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match err {
        rustls::Error::InvalidCertificate(reason) => certificate(reason),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the broker does not answer in TLS: it may speak plaintext at this port: check the port, or set \
             `security.protocol` to `PLAINTEXT` or `SASL_PLAINTEXT`"
                .to_owned()
        }
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate => format!(
                "the broker asks for a client certificate ({alert:?}): set `ssl.keystore.location`, with a certificate \
                 that it trusts"
            ),
            AlertDescription::UnknownCA | AlertDescription::CertificateUnknown => format!(
                "the broker does not trust the client's certificate ({alert:?}): use one that its truststore knows, \
                 with its whole chain, in `ssl.keystore.location`"
            ),
            AlertDescription::CertificateExpired => {
                "the client's certificate has expired: renew the one in `ssl.keystore.location`".to_owned()
            }
            AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => format!(
                "the broker accepts none of the client's TLS versions and cipher suites, or asks for a client \
                 certificate ({alert:?}): compare `ssl.enabled.protocols` and `ssl.cipher.suites` with the broker's, \
                 and set `ssl.keystore.location` if it asks for one"
            ),
            other => format!("the broker ended the handshake ({other:?}); its log says why"),
        },
        rustls::Error::PeerIncompatible(reason) => format!(
            "the broker offers no TLS version or cipher suite that this client has ({reason:?}): TLS 1.2 or 1.3 with \
             an ECDHE suite is needed"
        ),
        other => other.to_string(),
    })
}

fn certificate(reason: &CertificateError) -> String {
    match reason {
        CertificateError::UnknownIssuer => {
            "the broker's certificate comes from an unknown authority: name a truststore \
             that holds its CA in `ssl.truststore.location`"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            if presented.is_empty() {
                format!(
                    "the broker's certificate has no subject alternative name, so it cannot be for `{expected}` (a \
                     common name alone does not count): issue it with one, or switch the check off with an empty \
                     `ssl.endpoint.identification.algorithm`"
                )
            } else {
                format!(
                    "the broker's certificate is not for `{expected}` but for {}: use that name, have the certificate \
                     issued for this one, or switch the check off with an empty `ssl.endpoint.identification.algorithm`",
                    presented.join(", ")
                )
            }
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the broker's certificate has expired: renew it ({reason})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the broker's certificate is not valid yet: check the clocks of both machines ({reason})")
        }
        other => format!("the broker's certificate is not accepted: {other}"),
    }
}

/// Checks everything about a certificate but for which host it is: `ssl.endpoint.identification.algorithm` is empty.
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name is checked last, after the chain and its dates.
        match self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
