//! AWS Signature Version 4 where it is needed thousands of times a second: the same signature as [`sign_request`] gives,
//! with a key that is derived once a day and not for each request.
//!
//! The key and the signature come from the AWS SDK's signer; what is written here is the text in between, the canonical
//! request, in one pass over headers and body.
//!
//! [`sign_request`]: crate::sign_request

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use aws_smithy_runtime_api::client::identity::Identity;
use http::header::{AUTHORIZATION, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::http_client::host;
use crate::{CannotSign, Service};

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// What somebody on the way may change, and the signature itself.
const UNSIGNED: [HeaderName; 4] = [
    AUTHORIZATION,
    USER_AGENT,
    TRANSFER_ENCODING,
    HeaderName::from_static("x-amzn-trace-id"),
];

/// All but what stands for itself.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Signs requests to Lambda in one region.
pub struct Signer {
    region: String,
    /// Of the credentials that were used last.
    key: Mutex<Option<Arc<Key>>>,
}

/// A key for one day.
struct Key {
    credentials: Credentials,
    /// `20150830`
    day: String,
    /// `20150830/eu-west-1/lambda/aws4_request`
    scope: String,
    key: Vec<u8>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer without a key.
    #[must_use]
    pub fn lambda(region: &str) -> Self {
        Self {
            region: region.to_owned(),
            key: Mutex::new(None),
        }
    }

    /// Signs a request to an absolute URI, and adds the headers that carry the signature.
    ///
    /// # Errors
    /// The request or the credentials are not what a signature can be made of.
    pub fn sign<B>(
        &self,
        identity: &Identity,
        now: SystemTime,
        request: &mut Request<B>,
        body: &[u8],
    ) -> Result<(), CannotSign> {
        let failed = |why: &str| CannotSign(format!("it cannot be signed: {why}"));
        let credentials = identity
            .data::<Credentials>()
            .ok_or_else(|| failed("the credentials are no access key"))?;
        let time = date_time(now);
        let key = self.key(credentials, now, &time);
        if !request.headers().contains_key(HOST) {
            let host = host(request.uri()).ok_or_else(|| failed("the URI has no host"))?;
            request.headers_mut().insert(HOST, host);
        }
        let headers = request.headers_mut();
        headers.insert(
            DATE,
            HeaderValue::from_str(&time).map_err(|_| failed("the time is no text for a header"))?,
        );
        if let Some(token) = credentials.session_token() {
            let mut token =
                HeaderValue::from_str(token).map_err(|_| failed("the session token is no text for a header"))?;
            token.set_sensitive(true);
            headers.insert(TOKEN, token);
        }
        let (canonical, signed_headers) = canonical(request.method().as_str(), request.uri(), request.headers(), body);
        let mut to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{}\n", key.scope);
        write_hash(canonical.as_bytes(), &mut to_sign);
        let signature = calculate_signature(&key.key, to_sign.as_bytes());
        let (id, scope) = (credentials.access_key_id(), &key.scope);
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed_headers}, Signature={signature}");
        let authorization =
            HeaderValue::try_from(authorization).map_err(|_| failed("the access key's id is no text for a header"))?;
        request.headers_mut().insert(AUTHORIZATION, authorization);
        Ok(())
    }

    fn key(&self, credentials: &Credentials, now: SystemTime, time: &str) -> Arc<Key> {
        let (day, _) = time.split_at_checked(8).unwrap_or((time, ""));
        let mut key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*key
            && key.day == day
            && key.credentials.secret_access_key() == credentials.secret_access_key()
        {
            return Arc::clone(key);
        }
        let service = Service::Lambda.name();
        let derived = generate_signing_key(credentials.secret_access_key(), now, &self.region, service);
        let new = Arc::new(Key {
            credentials: credentials.clone(),
            day: day.to_owned(),
            scope: format!("{day}/{}/{service}/aws4_request", self.region),
            key: derived.as_ref().to_vec(),
        });
        *key = Some(Arc::clone(&new));
        new
    }
}

/// The canonical request, and the names of the headers in it.
fn canonical(method: &str, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> (String, String) {
    // A value that is no text is sent, but not signed.
    let mut signed: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| !UNSIGNED.contains(name))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    // Stable: the values of one name stay in their order.
    signed.sort_by_key(|(name, _)| *name);
    let mut out = String::with_capacity(1024);
    let mut names = String::with_capacity(128);
    out.push_str(method);
    out.push('\n');
    write_path(uri.path(), &mut out);
    out.push('\n');
    write_query(uri.query().unwrap_or_default(), &mut out);
    out.push('\n');
    for of_name in signed.chunk_by(|(one, _), (next, _)| one == next) {
        for (index, (name, value)) in of_name.iter().enumerate() {
            if index == 0 {
                names.push_str(if names.is_empty() { "" } else { ";" });
                names.push_str(name);
                out.push_str(name);
            }
            out.push(if index == 0 { ':' } else { ',' });
            write_value(value, &mut out);
        }
        out.push('\n');
    }
    out.push('\n');
    out.push_str(&names);
    out.push('\n');
    write_hash(body, &mut out);
    (out, names)
}

/// A path without empty and dot segments (RFC 3986, 5.2.4), percent-encoded once more: it is encoded already.
fn write_path(path: &str, out: &mut String) {
    let mut segments: Vec<&str> = Vec::with_capacity(8);
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    for segment in &segments {
        out.push('/');
        out.extend(utf8_percent_encode(segment, RESERVED));
    }
    let ends_in_folder = matches!(path.rsplit('/').next(), Some("" | "." | ".."));
    if segments.is_empty() || ends_in_folder {
        out.push('/');
    }
}

/// The parameters, decoded and encoded, in the order of what comes out.
fn write_query(query: &str, out: &mut String) {
    let encoded = |text: &str| {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8_lossy();
        utf8_percent_encode(&decoded, RESERVED).to_string()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    pairs.sort();
    for (index, (name, value)) in pairs.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "&" });
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
}

/// Without spaces around it, and with one where several follow each other.
fn write_value(value: &str, out: &mut String) {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    out.extend(words.next());
    for word in words {
        out.push(' ');
        out.push_str(word);
    }
}

/// The SHA-256 of bytes, in hexadecimal.
fn write_hash(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    out.extend(digits.map(|digit| char::from(DIGITS[usize::from(digit)])));
}

/// `20150830T123600Z`
fn date_time(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::sign_request;

    fn identity(id: &str, secret: &str, token: Option<&str>) -> Identity {
        Credentials::new(id, secret, token.map(str::to_owned), None, "test").into()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[derive(Debug, Clone)]
    struct Case {
        method: &'static str,
        uri: String,
        headers: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
        secret: String,
        token: Option<String>,
        seconds: u64,
    }

    /// Names with and without qualifier as the Invoke API has them, and whatever else a URI may hold.
    fn path_and_query() -> impl Strategy<Value = String> {
        let function = prop_oneof![
            "[a-zA-Z0-9_-]{1,20}",
            "arn%3Aaws%3Alambda%3Aeu-west-1%3A[0-9]{12}%3Afunction%3A[a-z]{1,9}",
        ];
        let qualifier = prop_oneof![Just(String::new()), "\\?Qualifier=([a-z0-9_-]{1,9}|%24LATEST)"];
        prop_oneof![
            (function, qualifier)
                .prop_map(|(function, qualifier)| format!("/2015-03-31/functions/{function}/invocations{qualifier}")),
            "(/|[a-z]|\\.|%[0-9A-F]{2}|[-_~!$&'()*+,;=:@]){0,20}(\\?([ab]|=|&|\\+|/|\\?|%[0-9A-F]{2}|[-_~!$'()*,;:@]){0,20})?"
                .prop_map(|rest| format!("/{rest}")),
        ]
    }

    fn case() -> impl Strategy<Value = Case> {
        let endpoint = prop_oneof![
            Just("https://lambda.eu-west-1.amazonaws.com"),
            Just("http://127.0.0.1:9001"),
            Just("https://proxy.example:443"),
            Just("http://proxy.example:80"),
            Just("http://proxy.example:443"),
            Just("http://[::1]:9001/base"),
        ];
        let name = prop_oneof![
            Just("content-type".to_owned()),
            Just("x-amz-client-context".to_owned()),
            Just("x-amz-tenant-id".to_owned()),
            Just("x-amzn-trace-id".to_owned()),
            Just("user-agent".to_owned()),
            Just("host".to_owned()),
            "x-[a-z0-9-]{1,8}",
        ];
        let value = prop_oneof!["[ -~]{0,30}", "[a ]{0,9}", Just("\t".to_owned())];
        let value = prop_oneof![9 => value.prop_map(String::into_bytes), 1 => Just(b"\xc3\xa4".to_vec())];
        (
            prop_oneof![Just("POST"), Just("GET")],
            (endpoint, path_and_query()).prop_map(|(endpoint, path)| format!("{endpoint}{path}")),
            prop::collection::vec((name, value), 0..8),
            prop::collection::vec(any::<u8>(), 0..100),
            "[ab]{1,2}",
            prop::option::of("[a-zA-Z0-9/+=]{1,40}"),
            0..4_102_444_800_u64,
        )
            .prop_map(|(method, uri, headers, body, secret, token, seconds)| Case {
                method,
                uri,
                headers,
                body,
                secret,
                token,
                seconds,
            })
    }

    fn request(case: &Case) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = case.method.parse().unwrap();
        *request.uri_mut() = case.uri.parse().unwrap();
        for (name, value) in &case.headers {
            let name: HeaderName = name.parse().unwrap();
            // A second host is no request.
            let value = HeaderValue::from_bytes(value).unwrap();
            if name != HOST || value.to_str().is_ok() && !request.headers().contains_key(HOST) {
                request.headers_mut().append(name, value);
            }
        }
        request
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// One signer for all of them, so that a key that no longer fits would show.
        #[test]
        fn it_signs_as_the_sdk_does(cases in prop::collection::vec(case(), 1..4)) {
            let signer = Signer::lambda("eu-west-1");
            for case in cases {
                let (token, now) = (case.token.as_deref(), at(case.seconds));
                let identity = identity("AKIDEXAMPLE", &case.secret, token);
                let mut ours = request(&case);
                signer.sign(&identity, now, &mut ours, &case.body).unwrap();
                let mut theirs = request(&case);
                let (method, uri) = (theirs.method().clone(), case.uri.as_str());
                sign_request(Service::Lambda, &identity, "eu-west-1", now, &method, uri, theirs.headers_mut(), &case.body)
                    .unwrap();
                // The SDK leaves it to hyper, and signs what hyper will write.
                let host = ours.headers().get(HOST).unwrap().clone();
                theirs.headers_mut().entry(HOST).or_insert(host);
                prop_assert_eq!(ours.headers(), theirs.headers());
            }
        }
    }

    #[test]
    fn a_key_serves_one_day_and_one_secret() {
        let signer = Signer::lambda("eu-west-1");
        let key = |secret: &str, seconds: u64| {
            let identity = identity("id", secret, None);
            let now = at(seconds);
            signer.key(identity.data().unwrap(), now, &date_time(now))
        };
        let first = key("secret", 86_399);
        assert!(Arc::ptr_eq(&first, &key("secret", 0)), "the same day");
        assert!(!Arc::ptr_eq(&first, &key("secret", 86_400)), "the next day");
        assert!(!Arc::ptr_eq(&first, &key("other", 0)), "another secret");
    }

    #[test]
    fn what_no_header_can_carry_is_refused() {
        let signer = Signer::lambda("eu-west-1");
        let refused = |identity: &Identity| {
            let mut request = Request::get("http://h/").body(()).unwrap();
            let CannotSign(why) = signer.sign(identity, at(0), &mut request, b"").unwrap_err();
            why
        };
        assert_eq!(
            refused(&identity("id", "secret", Some("a\nb"))),
            "it cannot be signed: the session token is no text for a header"
        );
        assert_eq!(
            refused(&identity("i\nd", "secret", None)),
            "it cannot be signed: the access key's id is no text for a header"
        );
    }
}
