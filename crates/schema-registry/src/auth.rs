//! Who asks: the credentials of a request.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use klamm_connect_api::Secret;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::RegistryError;
use crate::http_client::{Answer, HttpClient};
use crate::rest::encoded;

/// A token that does not say how long it lives is used for so long.
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);
const OAUTH_SETTINGS: &str = "`bearer.auth.client.id`, `bearer.auth.client.secret` and `bearer.auth.scope`";

/// How requests are authenticated.
#[derive(Debug, Clone)]
pub(crate) enum Authentication {
    None,
    Basic {
        user: String,
        /// Marked sensitive, so that `Debug` does not show it.
        header: HeaderValue,
        /// Where the credentials come from, and what else to check.
        check: &'static str,
    },
    Token(HeaderValue),
    OAuth(OAuth),
}

/// OAuth 2.0 client credentials.
#[derive(Debug, Clone)]
pub(crate) struct OAuth {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    pub(crate) scope: Option<String>,
    /// A token is replaced this long before it expires.
    pub(crate) replace_before: Duration,
}

/// Hands out the header of a request, with a token that is kept until shortly before it expires.
#[derive(Debug)]
pub(crate) struct Authenticator {
    authentication: Authentication,
    token: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    use_until: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("use_until", &self.use_until)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct TokenError {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Authenticator {
    pub(crate) fn new(authentication: Authentication) -> Self {
        Self {
            authentication,
            token: Mutex::new(None),
        }
    }

    /// Who asks and by what, for error texts.
    pub(crate) fn principal(&self) -> String {
        match &self.authentication {
            Authentication::None => "without credentials".to_owned(),
            Authentication::Basic { user, .. } => format!("with basic authentication as `{user}`"),
            Authentication::Token(_) => "with a static bearer token".to_owned(),
            Authentication::OAuth(oauth) => {
                format!("with a token of {} for client `{}`", oauth.issuer, oauth.client_id)
            }
        }
    }

    /// What to check if the registry does not accept the request.
    pub(crate) fn check(&self) -> &'static str {
        match &self.authentication {
            Authentication::None => "whether the registry wants `basic.auth.*` or `bearer.auth.*`",
            Authentication::Basic { check, .. } => check,
            Authentication::Token(_) => "`bearer.auth.token`, and that its owner may read the subject",
            Authentication::OAuth(_) => {
                "`bearer.auth.client.id`, `bearer.auth.client.secret` and `bearer.auth.scope`, and that this client may \
                 read the subject"
            }
        }
    }

    pub(crate) async fn header(&self, http: &HttpClient) -> Result<Option<HeaderValue>, RegistryError> {
        match &self.authentication {
            Authentication::None => Ok(None),
            Authentication::Basic { header, .. } | Authentication::Token(header) => Ok(Some(header.clone())),
            Authentication::OAuth(oauth) => {
                let mut token = self.token.lock().await;
                if let Some(token) = &*token
                    && Instant::now() < token.use_until
                {
                    return Ok(Some(token.header.clone()));
                }
                let fetched = oauth.fetch(http).await?;
                Ok(Some(token.insert(fetched).header.clone()))
            }
        }
    }

    /// Forgets a token that was refused. Says whether the next request has another one.
    pub(crate) async fn refused(&self, header: Option<&HeaderValue>) -> bool {
        if !matches!(self.authentication, Authentication::OAuth(_)) {
            return false;
        }
        let mut token = self.token.lock().await;
        token.take_if(|token| Some(&token.header) == header);
        true
    }
}

impl OAuth {
    async fn fetch(&self, http: &HttpClient) -> Result<Token, RegistryError> {
        let asked = Instant::now();
        let mut body = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.scope {
            body = format!("{body}&scope={}", encoded(scope));
        }
        // RFC 6749, 2.3.1: both are form-encoded before they are joined.
        let credentials = format!("{}:{}", encoded(&self.client_id), encoded(self.client_secret.reveal()));
        let wrong = |reason: &str| RegistryError::Answer {
            url: self.issuer.clone(),
            what: "a token".to_owned(),
            reason: reason.to_owned(),
            settings: "`bearer.auth.issuer.endpoint.url`",
        };
        let mut authorization = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(credentials)))
            .map_err(|_| wrong("the client's credentials cannot be sent"))?;
        authorization.set_sensitive(true);
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.issuer)
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Bytes::from(body))
            .map_err(|_| wrong("the URL cannot be asked"))?;
        let answer = http.send(request).await.map_err(|reason| RegistryError::Unreachable {
            url: self.issuer.clone(),
            reason,
        })?;
        if answer.status != 200 {
            return Err(self.failure(&answer));
        }
        let token: TokenAnswer = serde_json::from_slice(&answer.body).map_err(|_| wrong("it has no `access_token`"))?;
        let mut header = HeaderValue::from_str(&format!("Bearer {}", token.access_token))
            .map_err(|_| wrong("its token cannot be sent"))?;
        header.set_sensitive(true);
        let life = token.expires_in.map_or(UNKNOWN_LIFE, Duration::from_secs);
        // A token that lives shorter than that is used for half of its life.
        let used = life
            .checked_sub(self.replace_before)
            .map_or(life / 2, |used| used.max(life / 2));
        Ok(Token {
            header,
            use_until: asked + used,
        })
    }

    fn failure(&self, answer: &Answer) -> RegistryError {
        let text = match serde_json::from_slice::<TokenError>(&answer.body) {
            Ok(error) => format!("{} {}", error.error, error.error_description),
            Err(_) => "no error that OAuth knows".to_owned(),
        };
        let text = text.trim().to_owned();
        if answer.is_retriable() {
            return RegistryError::Unavailable {
                url: self.issuer.clone(),
                what: "a token".to_owned(),
                status: answer.status,
                answer: text,
                retry_after: answer.retry_after,
            };
        }
        RegistryError::Token {
            url: self.issuer.clone(),
            status: answer.status,
            settings: OAUTH_SETTINGS,
            answer: text,
        }
    }
}
