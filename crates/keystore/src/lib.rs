//! Certificates and keys out of keystores as Java clients have them: PEM, PKCS12 and JKS.
//!
//! **Owns** the three formats, and the bounds of size and work for files that say themselves how often to hash.
//! **Does not know** settings, Kafka or HTTP: whoever asks names the file and the password.
//! **Invariants:** any bytes are read or refused, in bounded time and memory; no error holds a key or a password.
#![forbid(unsafe_code)]

mod derivation;
mod jks;
pub mod pem;

use std::path::Path;

use p12_keystore::Pkcs12Archive;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

pub use self::derivation::MAX_SCRYPT_BYTES;
use self::derivation::check_cost;
pub use self::jks::MAGIC as JKS_MAGIC;

/// A keystore is some kilobytes; what is larger is some other file.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Certificates that are shown to a broker: chains have three or four, and OpenSSL takes no more than 100.
const MAX_CHAIN: usize = 100;

/// The format of a store, as `ssl.truststore.type` and `ssl.keystore.type` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreType {
    /// `PEM`
    Pem,
    /// `JKS` or `PKCS12`. Which of both a file is shows in its first bytes, as in Java
    /// (`keystore.type.compat`).
    Java,
}

impl StoreType {
    /// The format that a file seems to have: the keystores of Java clients begin with their own bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(&jks::MAGIC) || bytes.first() == Some(&0x30) {
            Self::Java
        } else {
            Self::Pem
        }
    }
}

/// A private key with its certificates, leaf first.
#[derive(Debug)]
pub struct KeyAndChain {
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// The certificates.
    pub chain: Vec<CertificateDer<'static>>,
}

/// The bytes of a file that holds certificates or keys.
///
/// # Errors
/// What is wrong, in words that follow the name of the file.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let cannot = |err: std::io::Error| format!("it cannot be read: {err}");
    // Opening a pipe would wait for whoever writes into it.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("it cannot be read: it is no file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err("it is larger than 16 MiB, so it holds no certificates".to_owned());
    }
    Ok(bytes)
}

/// The trusted certificates in a truststore.
///
/// # Errors
/// What is wrong, in words that follow the name of the file.
pub fn trusted(bytes: &[u8], kind: StoreType, password: Option<&str>) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<CertificateDer<'static>> = match kind {
        StoreType::Pem => pem::certificates(bytes)?,
        StoreType::Java if bytes.starts_with(&jks::MAGIC) => jks::read(bytes, password)?
            .trusted
            .into_iter()
            .map(CertificateDer::from)
            .collect(),
        StoreType::Java => {
            let archive = pkcs12(bytes, password)?;
            let all = !archive.certs.iter().any(|bag| bag.trusted);
            // Java marks what it trusts; other tools (openssl) mark nothing and mean everything that is no key's own.
            let trusted = archive
                .certs
                .iter()
                .filter(|bag| bag.trusted || (all && bag.local_key_id.is_none()));
            trusted
                .map(|bag| CertificateDer::from(bag.cert.as_der().to_vec()))
                .collect()
        }
    };
    if found.is_empty() {
        return Err("it holds no trusted certificate".to_owned());
    }
    Ok(found)
}

/// The first private key in a keystore with its chain.
///
/// # Errors
/// What is wrong, in words that follow the name of the file.
pub fn key_and_chain(
    bytes: &[u8],
    kind: StoreType,
    password: Option<&str>,
    key_password: Option<&str>,
) -> Result<KeyAndChain, String> {
    let no_key = || "it holds no private key".to_owned();
    match kind {
        StoreType::Pem => Ok(KeyAndChain {
            key: pem::key(bytes, key_password)?,
            chain: pem::certificates(bytes)?,
        }),
        StoreType::Java if bytes.starts_with(&jks::MAGIC) => {
            let store = jks::read(bytes, password)?;
            let key = store.keys.first().ok_or_else(no_key)?;
            let key_password = key_password.or(password).unwrap_or_default();
            Ok(KeyAndChain {
                key: PrivatePkcs8KeyDer::from(key.open(key_password)?).into(),
                chain: key.chain.iter().cloned().map(CertificateDer::from).collect(),
            })
        }
        StoreType::Java => {
            let archive = pkcs12(bytes, password)?;
            let key = archive.keys.first().ok_or_else(no_key)?;
            let id = key.local_key_id.as_ref().map(AsRef::as_ref);
            let mut chain = Vec::new();
            // The leaf carries the key's id; each further one is the issuer of the last.
            let mut next = archive
                .certs
                .iter()
                .find(|bag| id.is_some() && bag.local_key_id.as_deref() == id)
                .or_else(|| archive.certs.first());
            while let Some(bag) = next.take().filter(|_| chain.len() < archive.certs.len().min(MAX_CHAIN)) {
                chain.push(CertificateDer::from(bag.cert.as_der().to_vec()));
                let self_signed = bag.cert.subject() == bag.cert.issuer();
                next = archive
                    .certs
                    .iter()
                    .find(|other| !self_signed && other.cert.subject() == bag.cert.issuer());
            }
            Ok(KeyAndChain {
                key: PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()).into(),
                chain,
            })
        }
    }
}

fn pkcs12(bytes: &[u8], password: Option<&str>) -> Result<Pkcs12Archive, String> {
    if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Err("it is a PEM file: set the store's `type` to `PEM`".to_owned());
    }
    if bytes.first() != Some(&0x30) {
        // JCEKS and others, with the words of the reader that would take them
        return match jks::read(bytes, None) {
            Err(reason) if reason.contains("JCEKS") => Err(reason),
            _ => Err("it is neither a PKCS12 nor a JKS keystore".to_owned()),
        };
    }
    check_cost(bytes)?;
    let password = password.unwrap_or_default();
    // What stands inside an encrypted part was not seen by `check_cost`: pkcs5 panics at a scrypt cost of zero.
    let archive = std::panic::catch_unwind(|| Pkcs12Archive::from_pkcs12(bytes, password));
    let archive = archive.map_err(|_| "it is no PKCS12 keystore that can be read".to_owned())?;
    archive.map_err(|err| match err {
        p12_keystore::error::Error::MacError(_) | p12_keystore::error::Error::Pkcs5Error(_) => {
            "the password does not open it".to_owned()
        }
        p12_keystore::error::Error::UnsupportedEncryptionScheme => {
            "it is encrypted in a way that is not supported: write it anew with a current keytool or openssl".to_owned()
        }
        other => format!("it is no PKCS12 keystore that can be read ({other}), or the password is wrong"),
    })
}

/// When a file was last changed and how long it is; `None` while it cannot be seen.
pub fn stamp(path: &Path) -> Option<(std::time::SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha1::{Digest as _, Sha1};

    use super::*;

    /// A JKS truststore with one certificate.
    fn jks_store(certificate: &[u8], password: &str) -> Vec<u8> {
        let mut store = jks::MAGIC.to_vec();
        store.extend([
            0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 5,
        ]);
        store.extend(b"X.509");
        store.extend(u32::try_from(certificate.len()).unwrap().to_be_bytes());
        store.extend(certificate);
        let mut sha = Sha1::new();
        sha.update(password.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>());
        sha.update(b"Mighty Aphrodite");
        sha.update(&store);
        store.extend(sha.finalize());
        store
    }

    #[test]
    fn a_jks_truststore_opens_with_its_password_or_none() {
        let store = jks_store(b"certificate", "secret");
        let open = |password: Option<&str>| trusted(&store, StoreType::Java, password);
        assert_eq!(open(Some("secret")).unwrap()[0].as_ref(), b"certificate");
        assert_eq!(open(None).unwrap()[0].as_ref(), b"certificate");
        let wrong = open(Some("wrong")).unwrap_err();
        assert_eq!(wrong, "the password does not open it, or it is damaged");
    }

    #[test]
    fn other_files_are_told_from_keystores() {
        let cases: &[(&[u8], &str)] = &[
            (b"-----BEGIN CERTIFICATE-----", "it is a PEM file"),
            (&[0xce, 0xce, 0xce, 0xce, 0, 0, 0, 2], "it is a JCEKS keystore"),
            (b"", "neither a PKCS12 nor a JKS keystore"),
            (b"0", "no PKCS12 keystore that can be read"),
            (&jks::MAGIC, "too short for a JKS keystore"),
        ];
        for (bytes, wanted) in cases {
            let refused = trusted(bytes, StoreType::Java, None).unwrap_err();
            assert!(refused.contains(wanted), "{bytes:?}: {refused}");
        }
    }

    fn pkcs12_store() -> Vec<u8> {
        p12_keystore::KeyStore::new()
            .writer("secret")
            .encryption_iterations(10)
            .mac_iterations(10)
            .write()
            .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), at: usize, byte: u8) {
            for password in [None, Some("secret")] {
                for valid in [jks_store(b"certificate", "secret"), pkcs12_store(), bytes.clone()] {
                    let mut store = valid;
                    if !store.is_empty() {
                        let at = at % store.len();
                        store[at] = byte;
                    }
                    for kind in [StoreType::Java, StoreType::Pem] {
                        drop(trusted(&store, kind, password));
                        drop(key_and_chain(&store, kind, password, None));
                    }
                    let half = store.len() / 2;
                    drop(trusted(&store[..half], StoreType::Java, password));
                }
            }
        }
    }
}
