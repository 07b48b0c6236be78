//! TLS of the `https` listeners.

use std::path::PathBuf;
use std::sync::Arc;

use klamm_connect_api::Secret;
use klamm_keystore::{self as keystore, KeyAndChain, StoreType, pem};
use klamm_runtime::{ClientAuth, KeystoreFile, ListenerTls, Store};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::RestError;
use crate::reload::Reloaded;

/// What connections are secured with.
pub(crate) type Tls = Reloaded<ServerConfig>;

/// Reads the files that the settings name, now and whenever they change.
///
/// # Errors
/// They cannot be used.
pub(super) fn tls(settings: &ListenerTls) -> Result<Tls, RestError> {
    let stores = std::iter::once(&settings.identity).chain(&settings.trust);
    let files: Vec<PathBuf> = stores
        .filter_map(|store| match store {
            Store::File(file) => Some(file.path.clone()),
            Store::Pem { .. } => None,
        })
        .collect();
    let load = settings.clone();
    Reloaded::try_new(
        "certificates of the REST API",
        move || files.clone(),
        move || server_config(&load),
    )
    .map_err(|what| RestError::Setting {
        key: format!("{}ssl", settings.prefix),
        what,
    })
}

fn server_config(settings: &ListenerTls) -> Result<ServerConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let versions: Vec<&'static SupportedProtocolVersion> = [
        (settings.allows_tls13, &rustls::version::TLS13),
        (settings.allows_tls12, &rustls::version::TLS12),
    ]
    .into_iter()
    .filter_map(|(is_allowed, version)| is_allowed.then_some(version))
    .collect();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| format!("`ssl.enabled.protocols` leaves no version of TLS: {error}"))?;
    let builder = match (settings.client_auth, &settings.trust) {
        (ClientAuth::None, _) | (_, None) => builder.with_no_client_auth(),
        (asked, Some(trust)) => {
            let roots = Arc::new(trusted(trust)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
            let verifier = match asked {
                ClientAuth::Required => verifier,
                ClientAuth::Requested | ClientAuth::None => verifier.allow_unauthenticated(),
            };
            let verifier = verifier
                .build()
                .map_err(|error| format!("the truststore cannot be used: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let KeyAndChain { key, chain } = identity(settings)?;
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            "the private key does not belong to the first certificate of the keystore".to_owned()
        }
        other => format!("the key and the certificates of the keystore cannot be used: {other}"),
    })?;
    let mut config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn reveal(secret: Option<&Secret>) -> Option<&str> {
    secret.map(Secret::reveal)
}

fn read(file: &KeystoreFile) -> Result<Vec<u8>, String> {
    keystore::read_file(&file.path).map_err(|reason| named(file, &reason))
}

fn named(file: &KeystoreFile, reason: &str) -> String {
    format!("{}: {reason}", file.path.display())
}

fn identity(settings: &ListenerTls) -> Result<KeyAndChain, String> {
    let key_password = reveal(settings.key_password.as_ref());
    match &settings.identity {
        Store::File(file) => {
            let bytes = read(file)?;
            let password = reveal(file.password.as_ref());
            keystore::key_and_chain(&bytes, StoreType::of(&bytes), password, key_password)
                .map_err(|reason| named(file, &reason))
        }
        Store::Pem { certificates, key } => {
            let chain = pem::certificates(certificates.reveal().as_bytes())
                .map_err(|reason| format!("`ssl.keystore.certificate.chain`: {reason}"))?;
            let key = key
                .as_ref()
                .ok_or("`ssl.keystore.key` is missing: it belongs to `ssl.keystore.certificate.chain`")?;
            let key = pem::key(key.reveal().as_bytes(), key_password)
                .map_err(|reason| format!("`ssl.keystore.key`: {reason}"))?;
            Ok(KeyAndChain { key, chain })
        }
    }
}

fn trusted(store: &Store) -> Result<RootCertStore, String> {
    let found: Vec<CertificateDer<'static>> = match store {
        Store::File(file) => {
            let bytes = read(file)?;
            keystore::trusted(&bytes, StoreType::of(&bytes), reveal(file.password.as_ref()))
                .map_err(|reason| named(file, &reason))?
        }
        Store::Pem { certificates, .. } => pem::certificates(certificates.reveal().as_bytes())
            .map_err(|reason| format!("`ssl.truststore.certificates`: {reason}"))?,
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found);
    if added == 0 {
        return Err("none of the certificates in the truststore can be read".to_owned());
    }
    Ok(roots)
}
