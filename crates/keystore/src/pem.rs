//! Certificates and keys out of PEM, as Kafka reads it.
//!
//! Line ends mean nothing, as in Kafka (KIP-651): a value in a properties file that goes on with `\` is one long line.
//! **Invariant:** nothing of a text that cannot be read is in the error, since it may be a key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use crate::derivation::check_cost;

/// All certificates of a PEM text, in its order.
///
/// # Errors
/// What is wrong, in words that follow the name of the text.
pub fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = sections(bytes, &["CERTIFICATE"])?
        .into_iter()
        .map(|(_, der)| CertificateDer::from(der))
        .collect();
    if found.is_empty() {
        return Err("it holds no `-----BEGIN CERTIFICATE-----`".to_owned());
    }
    Ok(found)
}

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const KEYS: &[&str] = &[ENCRYPTED, "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// The first private key of a PEM text.
///
/// # Errors
/// What is wrong, in words that follow the name of the text.
pub fn key(bytes: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    if String::from_utf8_lossy(bytes).contains("Proc-Type: 4,ENCRYPTED") {
        return Err("its key is encrypted in OpenSSL's old way: rewrite it with `openssl pkcs8 -topk8`".to_owned());
    }
    let first = sections(bytes, KEYS)?.into_iter().next();
    let (label, der) = first.ok_or("it holds no private key")?;
    Ok(match label {
        ENCRYPTED => {
            let password = password.ok_or("its key is encrypted: set `ssl.key.password`")?;
            decrypt(&der, password)?
        }
        "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der).into(),
        "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der).into(),
        _ => PrivatePkcs8KeyDer::from(der).into(),
    })
}

/// The decoded sections with one of these labels; what stands between sections is comment.
fn sections(bytes: &[u8], labels: &[&'static str]) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
    let text = String::from_utf8_lossy(bytes);
    let mut found = Vec::new();
    let mut rest = &*text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let unreadable = || "it is no PEM that can be read: a `-----BEGIN …-----` is cut off".to_owned();
        let (label, body) = begun.split_once("-----").ok_or_else(unreadable)?;
        let Some(label) = labels.iter().find(|wanted| **wanted == label) else {
            rest = body;
            continue;
        };
        let end = format!("-----END {label}-----");
        let (body, after) = body
            .split_once(&end)
            .ok_or_else(|| format!("it is no PEM that can be read: `{end}` is missing"))?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD
            .decode(body)
            .map_err(|_| format!("it is no PEM that can be read: what stands before `{end}` is not base64"))?;
        found.push((*label, der));
        rest = after;
    }
    Ok(found)
}

fn decrypt(der: &[u8], password: &str) -> Result<PrivateKeyDer<'static>, String> {
    check_cost(der).map_err(|reason| format!("its encrypted key cannot be opened: {reason}"))?;
    let encrypted = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|err| format!("its encrypted key cannot be read: {err}"))?;
    let key = encrypted
        .decrypt(password)
        .map_err(|_| "`ssl.key.password` does not open its key".to_owned())?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_mean_nothing() {
        let cases = [
            (
                "-----BEGIN CERTIFICATE-----\nAQID\nBAUG\n-----END CERTIFICATE-----\n",
                "as openssl writes it",
            ),
            (
                "-----BEGIN CERTIFICATE-----\r\nAQID\r\nBAUG\r\n-----END CERTIFICATE-----",
                "Windows",
            ),
            (
                "-----BEGIN CERTIFICATE----- AQID BAUG -----END CERTIFICATE-----",
                "lines that go on with ` \\`",
            ),
            (
                "-----BEGIN CERTIFICATE-----AQIDBAUG-----END CERTIFICATE-----",
                "lines that go on with `\\`",
            ),
            (
                "Bag Attributes\n  friendlyName: a\n-----BEGIN EC PARAMETERS-----\n?\n-----END EC PARAMETERS-----\n\
                 -----BEGIN CERTIFICATE-----\nAQIDBAUG\n-----END CERTIFICATE-----\n# end",
                "comments, and sections of other kinds",
            ),
        ];
        for (text, why) in cases {
            let found = certificates(text.as_bytes()).unwrap_or_else(|err| panic!("{why}: {err}"));
            let found: Vec<_> = found.iter().map(AsRef::as_ref).collect();
            assert_eq!(found, [[1, 2, 3, 4, 5, 6]], "{why}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_is_not_told() {
        let cases = [
            (
                "-----BEGIN PRIVATE KEY-----\nAQID\n",
                "`-----END PRIVATE KEY-----` is missing",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAQ*ID\n-----END PRIVATE KEY-----",
                "is not base64",
            ),
            ("-----BEGIN PRIVATE KEY", "is cut off"),
            ("AQID", "it holds no private key"),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAQID\n-----END ENCRYPTED PRIVATE KEY-----",
                "set `ssl.key.password`",
            ),
        ];
        for (text, wanted) in cases {
            let told = key(text.as_bytes(), None).unwrap_err();
            assert!(told.contains(wanted), "{text}: {told}");
            assert!(!told.contains("ID") && !told.contains("65"), "{text}: {told}");
        }
    }
}
