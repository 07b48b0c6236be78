//! Checks Signature Version 4, as the service does: it computes the signature again and compares.
//!
//! Written against AWS's "Create a signed AWS API request" instead of a signing crate, so that it is a second witness
//! for the client's signer.

use std::fmt;
use std::fmt::Write as _;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::answer::Answer;
use crate::api::Exception;

/// RFC 3986's unreserved characters stay, all others are escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// The only credentials that a server accepts.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Accepts the request, or names the refusal that AWS would answer.
pub(super) fn verify(credentials: &Credentials, request: &Parts, body: &Bytes) -> Result<(), Answer> {
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let Some(authorization) = header("authorization") else {
        let text = "Missing Authentication Token";
        return Err(Answer::exception_with(
            Exception::MissingAuthenticationTokenException,
            text,
        ));
    };
    let incomplete = |what: &str| {
        let text = format!("Authorization header requires {what}.");
        Answer::exception_with(Exception::InvalidSignatureException, &text)
    };
    let Some(fields) = authorization.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return Err(incomplete("the algorithm AWS4-HMAC-SHA256"));
    };
    let field = |name: &str| {
        fields
            .split(',')
            .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let credential = field("Credential").ok_or_else(|| incomplete("'Credential' parameter"))?;
    let signed_headers = field("SignedHeaders").ok_or_else(|| incomplete("'SignedHeaders' parameter"))?;
    let signature = field("Signature").ok_or_else(|| incomplete("'Signature' parameter"))?;
    let timestamp = header("x-amz-date").ok_or_else(|| incomplete("existence of an 'X-Amz-Date' header"))?;

    let (access_key_id, scope) = credential
        .split_once('/')
        .ok_or_else(|| incomplete("a credential scope"))?;
    let [date, region, service, "aws4_request"] = scope.split('/').collect::<Vec<_>>()[..] else {
        return Err(incomplete("a scope of date/region/lambda/aws4_request"));
    };
    if service != "lambda" || !timestamp.starts_with(date) {
        return Err(incomplete(
            "a scope with the service 'lambda' and the date of 'X-Amz-Date'",
        ));
    }
    if access_key_id != credentials.access_key_id
        || header("x-amz-security-token") != credentials.session_token.as_deref()
    {
        let text = "The security token included in the request is invalid.";
        return Err(Answer::exception_with(Exception::UnrecognizedClientException, text));
    }
    let signs = |name: &str| signed_headers.split(';').any(|signed| signed == name);
    if !signs("host") || !signs("x-amz-date") {
        return Err(incomplete("'host' and 'x-amz-date' among the signed headers"));
    }

    let canonical = canonical_request(request, signed_headers, body);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let secret = format!("AWS4{}", credentials.secret_access_key);
    let key = [date, region, service, "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    // A test double may compare in varying time.
    if hex(&hmac(&key, to_sign.as_bytes())) != signature {
        let text = "The request signature we calculated does not match the signature you provided. Check your AWS \
                    Secret Access Key and signing method. Consult the service documentation for details.";
        return Err(Answer::exception_with(Exception::InvalidSignatureException, text));
    }
    Ok(())
}

fn canonical_request(request: &Parts, signed_headers: &str, body: &Bytes) -> String {
    // All services but S3 escape the path as it was sent once more.
    let path = utf8_percent_encode(request.uri.path(), ESCAPED_IN_PATH);
    let escape = |text: &str| {
        let decoded = percent_decode_str(text).collect::<Vec<u8>>();
        percent_encoding::percent_encode(&decoded, ESCAPED).to_string()
    };
    let mut pairs: Vec<(String, String)> = request
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (escape(name), escape(value))
        })
        .collect();
    pairs.sort();
    let query = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&");

    let mut headers = String::new();
    for name in signed_headers.split(';') {
        let values = request.headers.get_all(name).iter().map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
        });
        let values = values.collect::<Vec<_>>().join(",");
        // Writing to a String cannot fail.
        let _infallible = writeln!(headers, "{name}:{values}");
    }
    let body_hash = hex(&Sha256::digest(body));
    format!(
        "{}\n{path}\n{query}\n{headers}\n{signed_headers}\n{body_hash}",
        request.method
    )
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}
