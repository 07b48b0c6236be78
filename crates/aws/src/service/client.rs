//! Sends a request, signed, once.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::{Instant, timeout};

use super::{Declined, SettingKeys};
use crate::{
    CONNECT_TIMEOUT, CannotSign, CredentialsCache, HttpClient, NoCredentials, SendError, Service, sign_request,
};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("klamm/", env!("CARGO_PKG_VERSION")));
/// Longest wait for an answer, credentials included.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest answer that is read: a secret of 64 KiB, escaped in JSON.
const ANSWER_BYTES: usize = 256 * 1024;

/// Bodies of this size are hashed for the signature in less time than a thread takes to wake.
const SIGNED_AT_ONCE_BYTES: usize = 64 * 1024;

/// What one destination is asked through.
pub(crate) struct Client {
    pub(crate) http: Arc<HttpClient>,
    pub(crate) credentials: CredentialsCache,
    pub(crate) clock: fn() -> SystemTime,
    pub(crate) service: Service,
    /// The destination for people.
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) keys: SettingKeys,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// When the request began.
    pub(crate) asked_at: Instant,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A request that is not signed yet.
#[derive(Debug)]
pub(crate) struct Unsigned {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    /// All that stands between a request and its answer may pass.
    pub(crate) async fn send(&self, request: Unsigned) -> Result<Answer, Declined> {
        let host = request.uri.split('/').nth(2).unwrap_or_default().to_owned();
        match timeout(LIMIT, self.exchange(request, &host)).await {
            Ok(answer) => answer,
            Err(_) => Err(Declined::Later(format!(
                "{host} did not answer within {} ms",
                LIMIT.as_millis()
            ))),
        }
    }

    async fn exchange(&self, request: Unsigned, host: &str) -> Result<Answer, Declined> {
        let later = Declined::Later;
        let asked_at = Instant::now();
        let identity = self.credentials.identity().await;
        let identity = identity.map_err(|NoCredentials(why)| later(format!("no AWS credentials: {why}")))?;
        let unusable = |why: String| Declined::Refused(format!("the request cannot be made: {why}"));
        let Unsigned {
            method,
            uri,
            headers,
            body,
        } = self.sign(request, identity).await.map_err(unusable)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(uri).map_err(|error| unusable(error.to_string()))?;
        *request.headers_mut() = headers;
        let connect_by = Instant::now() + CONNECT_TIMEOUT;
        let response = self
            .http
            .request(request, connect_by)
            .await
            .map_err(|error| match error {
                SendError::NotSent(reason) => later(format!("{host} cannot be reached: {reason}")),
                SendError::Broken(reason) => later(format!("connection to {host} broke: {reason}")),
            })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| later(format!("{host} answered {}: {error}", head.status.as_u16())))?;
        Ok(Answer {
            asked_at,
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    /// The request with its signature.
    async fn sign(&self, mut request: Unsigned, identity: Identity) -> Result<Unsigned, String> {
        let (service, region, now) = (self.service, self.region.clone(), (self.clock)());
        let is_short = request.body.len() <= SIGNED_AT_ONCE_BYTES;
        let sign = move || {
            let Unsigned {
                method,
                uri,
                headers,
                body,
            } = &mut request;
            sign_request(service, &identity, &region, now, method, uri, headers, body)
                .map_err(|CannotSign(why)| why)?;
            headers.insert(USER_AGENT, AGENT);
            Ok(request)
        };
        // The signature covers a hash of the body.
        if is_short {
            sign()
        } else {
            let signing = tokio::task::spawn_blocking(sign);
            signing.await.map_err(|error| error.to_string())?
        }
    }
}
