//! Tokens for OAUTHBEARER: where they come from, how long they are shown, when they are renewed.
//!
//! One token serves all connections of a client. It is renewed by whoever needs it after its refresh time, one at a
//! time; while that fails, the old one serves until it expires.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::oauth::{Claim, OAuthSettings, RefreshSettings, TokenSource};
use super::tls::Tls;
use super::{Secret, http as client, said, wall_clock};
use crate::backoff::Backoff;
use crate::client::lock;

/// A longer token is none: brokers refuse SASL messages above 512 KiB.
const MAX_TOKEN_BYTES: usize = 500_000;

#[derive(Debug)]
pub(super) struct Tokens {
    settings: OAuthSettings,
    /// TLS of the token endpoint.
    tls: Tls,
    current: Mutex<Option<Token>>,
    /// Held by the one who asks for a new one.
    asking: tokio::sync::Mutex<()>,
}

/// A token with what its claims say.
#[derive(Clone, Debug)]
pub(super) struct Token {
    text: Secret,
    principal: Option<Arc<str>>,
    expires: SystemTime,
    renew: SystemTime,
}

impl Tokens {
    pub(super) fn new(settings: OAuthSettings) -> Self {
        let tls = match &settings.source {
            TokenSource::ClientCredentials { tls, .. } => tls.clone(),
            TokenSource::File(_) | TokenSource::Unsecured { .. } => super::tls::TlsSettings::default(),
        };
        Self {
            settings,
            tls: Tls::new(tls),
            current: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Whom the last token was made for.
    pub(super) fn principal(&self) -> Option<Arc<str>> {
        lock(&self.current).as_ref()?.principal.clone()
    }

    /// Forgets a token that was refused.
    pub(super) fn forget(&self) {
        *lock(&self.current) = None;
    }

    fn current(&self, good: impl Fn(&Token) -> bool) -> Option<Secret> {
        let current = lock(&self.current);
        current
            .as_ref()
            .filter(|token| good(token))
            .map(|token| token.text.clone())
    }

    /// A token that has not expired.
    ///
    /// # Errors
    /// Why there is none. Never the token, never the client's secret.
    pub(super) async fn token(&self) -> Result<Secret, String> {
        if let Some(token) = self.current(|token| wall_clock() < token.renew) {
            return Ok(token);
        }
        let _asking = match (
            self.asking.try_lock(),
            self.current(|token| wall_clock() < token.expires),
        ) {
            (Ok(asking), _) => asking,
            // Somebody asks for a new one already, and the old one still serves.
            (Err(_), Some(token)) => return Ok(token),
            (Err(_), None) => self.asking.lock().await,
        };
        if let Some(token) = self.current(|token| wall_clock() < token.renew) {
            return Ok(token);
        }
        match self.fetch().await {
            Ok(token) => {
                let text = token.text.clone();
                *lock(&self.current) = Some(token);
                Ok(text)
            }
            Err(reason) => self.current(|token| wall_clock() < token.expires).ok_or(reason),
        }
    }

    async fn fetch(&self) -> Result<Token, String> {
        match &self.settings.source {
            TokenSource::Unsecured { claims, lifetime } => {
                let text = unsecured(claims, *lifetime, wall_clock())?;
                self.read(text, None)
            }
            TokenSource::File(path) => {
                let shown = path.display().to_string();
                let path = Arc::clone(path);
                let bytes = tokio::task::spawn_blocking(move || klamm_keystore::read_file(&path))
                    .await
                    .map_err(|err| err.to_string())?;
                let bytes = bytes.map_err(|reason| format!("token file {shown}: {reason}"))?;
                let text = String::from_utf8(bytes).map_err(|_| format!("token file {shown}: it is no text"))?;
                let mut token = self
                    .read(text.trim().to_owned(), None)
                    .map_err(|reason| format!("token file {shown}: {reason}"))?;
                // Whoever renews the file decides when: it is looked into each time.
                token.renew = UNIX_EPOCH;
                Ok(token)
            }
            TokenSource::ClientCredentials { .. } => self.ask_with_retry().await,
        }
    }

    /// As in Kafka (KIP-768): tries again until `sasl.login.retry.backoff.max.ms` are over.
    async fn ask_with_retry(&self) -> Result<Token, String> {
        let limits = self.settings.limits;
        let mut backoff = Backoff::new(limits.backoff, limits.backoff_max);
        let end = Instant::now() + limits.backoff_max;
        loop {
            match self.ask().await {
                Ok(token) => return Ok(token),
                Err(Refusal::Final(reason)) => return Err(reason),
                Err(Refusal::Passing(reason)) => {
                    let next = Instant::now() + backoff.next();
                    if next >= end {
                        return Err(reason);
                    }
                    tokio::time::sleep_until(next).await;
                }
            }
        }
    }

    async fn ask(&self) -> Result<Token, Refusal> {
        let TokenSource::ClientCredentials {
            url,
            client_id,
            client_secret,
            scope,
            url_encode,
            ..
        } = &self.settings.source
        else {
            return Err(Refusal::Final("no token endpoint is set".to_owned()));
        };
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut body = "grant_type=client_credentials".to_owned();
        if let Some(scope) = scope {
            body.push_str("&scope=");
            body.push_str(&encoded(scope));
        }
        let basic = if *url_encode {
            format!("{}:{}", encoded(client_id), encoded(client_secret.reveal()))
        } else {
            format!("{client_id}:{}", client_secret.reveal())
        };
        let asked = |what: String| format!("token endpoint {}: {what}", shown(url));
        let request = Request::post(&**url)
            .header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(basic)))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body)))
            .map_err(|err| Refusal::Final(asked(err.to_string())))?;
        let limits = self.settings.limits;
        let answer = client::exchange(request, &self.tls, limits.connect, limits.read)
            .await
            .map_err(|reason| Refusal::Passing(asked(reason)))?;
        self.answered(answer.status(), answer.body())
            .map_err(|refusal| match refusal {
                Refusal::Passing(reason) => Refusal::Passing(asked(reason)),
                Refusal::Final(reason) => Refusal::Final(asked(reason)),
            })
    }

    /// What a token endpoint answered (RFC 6749 5.1, 5.2).
    pub(super) fn answered(&self, status: StatusCode, body: &[u8]) -> Result<Token, Refusal> {
        if !status.is_success() {
            let reason = format!("{status}{}", error_code(body));
            let passes = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
                || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
            return Err(if passes {
                Refusal::Passing(reason)
            } else {
                let advice = "check the client's id and secret, the scope and the URL";
                Refusal::Final(format!("{reason}: {advice}"))
            });
        }
        let answer: Option<Value> = serde_json::from_slice(body).ok();
        let field = |name: &str| answer.as_ref().and_then(|answer| answer.get(name));
        // Some endpoints give an id_token only, as Kafka knows.
        let text = field("access_token")
            .or_else(|| field("id_token"))
            .and_then(Value::as_str);
        let text = text.ok_or_else(|| Refusal::Final("its answer holds no `access_token`".to_owned()))?;
        let lifetime = field("expires_in").and_then(Value::as_u64).map(Duration::from_secs);
        self.read(text.to_owned(), lifetime).map_err(Refusal::Final)
    }

    /// A token by its claims, as far as it is a JWT.
    fn read(&self, text: String, lifetime: Option<Duration>) -> Result<Token, String> {
        if text.is_empty() || text.len() > MAX_TOKEN_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("it gives no token".to_owned());
        }
        let now = wall_clock();
        let claims = claims(&text).unwrap_or_default();
        let expires = match claims.get("exp").and_then(Value::as_f64) {
            Some(seconds) => at(seconds).ok_or("the token's `exp` is no time")?,
            // Not a JWT: the endpoint said how long it lives.
            None => {
                let lifetime = lifetime.ok_or("its token is no JWT with `exp`, and it does not say `expires_in`")?;
                let expires = now.checked_add(lifetime).filter(|expires| *expires < end_of_time());
                expires.ok_or("the `expires_in` of its answer is no time")?
            }
        };
        if expires <= now {
            return Err("its token has expired: renew it, and compare the clocks".to_owned());
        }
        if claims
            .get(&*self.settings.scope_claim)
            .is_some_and(|scope| !(scope.is_string() || scope.is_array()))
        {
            return Err(format!(
                "the token's `{}` is neither text nor a list",
                self.settings.scope_claim
            ));
        }
        let start = claims
            .get("iat")
            .and_then(Value::as_f64)
            .and_then(at)
            .unwrap_or(now)
            .min(now);
        let random = u16::from_be_bytes(super::random_bytes()?);
        let principal = claims
            .get(&*self.settings.sub_claim)
            .and_then(Value::as_str)
            .map(Arc::from);
        Ok(Token {
            text: Secret::new(text),
            principal,
            expires,
            renew: renew_at(start, expires, now, &self.settings.refresh, random),
        })
    }
}

/// Why a token endpoint gave none.
#[derive(Debug)]
pub(super) enum Refusal {
    Passing(String),
    Final(String),
}

/// When to renew a token, by Kafka's rules (KIP-255, `ExpiringCredentialRefreshingLogin`): after a share of its life,
/// but before its last `buffer`, and not within `min_period` from now; both count only if there is time for both.
fn renew_at(
    start: SystemTime,
    expires: SystemTime,
    now: SystemTime,
    settings: &RefreshSettings,
    random: u16,
) -> SystemTime {
    let life = expires.duration_since(start).unwrap_or_default();
    let jitter = f64::from(settings.jitter_permille) * f64::from(random) / f64::from(u16::MAX);
    let factor = (f64::from(settings.window_permille) + jitter) / 1000.0;
    let candidate = start + life.mul_f64(factor.min(1.0));
    let left = expires.duration_since(now).unwrap_or_default();
    if left <= settings.min_period + settings.buffer {
        return candidate;
    }
    candidate.min(expires - settings.buffer).max(now + settings.min_period)
}

/// A time in seconds since 1970.
fn at(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    UNIX_EPOCH.checked_add(since).filter(|time| *time < end_of_time())
}

/// The end of year 9999: beyond it, reckoning with times overflows on some systems.
fn end_of_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(253_402_300_800)
}

/// The claims of a JWT. Its signature is the broker's business.
fn claims(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_, payload) = (parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// An unsigned JWT (`alg` `none`).
fn unsecured(
    claims: &std::collections::BTreeMap<String, Claim>,
    lifetime: Duration,
    now: SystemTime,
) -> Result<String, String> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut all = Map::new();
    all.insert("iat".to_owned(), now.into());
    all.insert("exp".to_owned(), now.saturating_add(lifetime.as_secs()).into());
    for (name, claim) in claims {
        let value = match claim {
            Claim::Text(text) => text.clone().into(),
            Claim::Number(digits) => {
                let number: Result<Value, _> = serde_json::from_str(digits);
                number.map_err(|_| format!("claim `{name}` is no number"))?
            }
            Claim::List(list) => list.clone().into(),
        };
        all.insert(name.clone(), value);
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    Ok(format!(
        "{}.{}.",
        part(&json!({"alg": "none"})),
        part(&Value::Object(all))
    ))
}

/// The `error` of an OAuth 2.0 answer (RFC 6749 5.2), which is a word of a small vocabulary.
fn error_code(body: &[u8]) -> String {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let error = body.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
    error.map_or_else(String::new, |error| format!(" ({})", said(error)))
}

/// A URL as far as it holds no secret: without user, password and query.
pub(super) fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    // The last one, as a password may hold more of them, or a question mark.
    let rest = rest.rsplit('@').next().unwrap_or_default();
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let cases = [
            ("https://idp:8443/token", "https://idp:8443/token"),
            ("https://idp/token?key=pw", "https://idp/token"),
            ("https://me:pw@idp:8443/token?key=pw", "https://idp:8443/token"),
            ("https://me:p@w@idp/token#pw", "https://idp/token"),
            ("https://me:p?/w@idp", "https://idp"),
            ("me:pw@idp/token", "://idp/token"),
        ];
        for (url, wanted) in cases {
            assert_eq!(shown(url), wanted, "{url}");
        }
    }

    #[test]
    fn a_token_is_renewed_by_kafkas_rules() {
        let settings = RefreshSettings {
            window_permille: 800,
            jitter_permille: 50,
            min_period: Duration::from_secs(60),
            buffer: Duration::from_secs(300),
        };
        let cases: &[(u64, u64, u16, u64, &str)] = &[
            // life, age, random, renewed at, why
            (10_000, 0, 0, 8_000, "at the window factor"),
            (10_000, 0, u16::MAX, 8_500, "later by the whole jitter"),
            (1_000, 0, 0, 700, "before the buffer at its end"),
            (10_000, 9_000, 0, 9_060, "not within the shortest period from now"),
            (300, 0, 0, 240, "too short for period and buffer: the factor alone"),
        ];
        for (life, age, random, wanted, why) in cases {
            let start = UNIX_EPOCH + Duration::from_secs(1_000_000);
            let at = |seconds: u64| start + Duration::from_secs(seconds);
            let found = renew_at(start, at(*life), at(*age), &settings, *random);
            assert_eq!(found, at(*wanted), "{why}");
        }
    }

    #[test]
    fn an_unsecured_token_has_the_claims_that_were_set() {
        let wanted = [
            ("sub".to_owned(), Claim::Text("alice".to_owned())),
            ("n".to_owned(), Claim::Number("1.5".to_owned())),
            ("scope".to_owned(), Claim::List(vec!["a".to_owned(), "b".to_owned()])),
        ];
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let token = unsecured(&wanted.into_iter().collect(), Duration::from_secs(60), now).unwrap();
        let found = Value::Object(claims(&token).unwrap());
        assert_eq!(
            found,
            json!({"iat": 1000, "exp": 1060, "sub": "alice", "n": 1.5, "scope": ["a", "b"]})
        );
        assert!(
            token.starts_with("eyJhbGciOiJub25lIn0.") && token.ends_with('.'),
            "{token}"
        );
    }

    #[test]
    fn a_lifetime_without_end_is_refused() {
        let tokens = crate::security::fuzzing::tokens();
        for seconds in [u64::MAX, i64::MAX.unsigned_abs() - 2_000_000_000] {
            let body = json!({"access_token": "opaque", "expires_in": seconds}).to_string();
            let Err(Refusal::Final(refused)) = tokens.answered(StatusCode::OK, body.as_bytes()) else {
                panic!("{seconds} s is refused");
            };
            assert_eq!(refused, "the `expires_in` of its answer is no time");
        }
    }

    proptest! {
        #[test]
        fn any_token_is_read_or_refused(token in "[ -~]{0,80}", claims_json in ".{0,60}") {
            drop(claims(&token));
            drop(claims(&format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims_json))));
        }
    }
}
