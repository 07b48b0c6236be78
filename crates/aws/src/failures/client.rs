//! Sends a request, signed, once.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use klamm_connect_api::failures::NotTaken;
use tokio::time::{Instant, timeout};

use super::request::Unsigned;
use crate::{
    CONNECT_TIMEOUT, CannotSign, CredentialsCache, HttpClient, NoCredentials, SendError, Service, sign_request,
};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("klamm/", env!("CARGO_PKG_VERSION")));
/// Longest wait for an answer, credentials included.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const ANSWER_BYTES: usize = 64 * 1024;

/// What one destination is asked through.
pub(super) struct Client {
    pub(super) http: Arc<HttpClient>,
    pub(super) credentials: CredentialsCache,
    pub(super) clock: fn() -> SystemTime,
    pub(super) service: Service,
    /// The destination for people.
    pub(super) name: String,
    pub(super) region: String,
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
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Client {
    /// All that stands between a request and its answer may pass.
    pub(super) async fn send(&self, request: Unsigned) -> Result<Answer, NotTaken> {
        let host = request.uri.split('/').nth(2).unwrap_or_default().to_owned();
        match timeout(LIMIT, self.exchange(request, &host)).await {
            Ok(answer) => answer,
            Err(_) => Err(NotTaken::Now(format!(
                "{host} did not answer within {} ms",
                LIMIT.as_millis()
            ))),
        }
    }

    async fn exchange(&self, request: Unsigned, host: &str) -> Result<Answer, NotTaken> {
        let Unsigned {
            method,
            uri,
            mut headers,
            body,
        } = request;
        let identity = self.credentials.identity().await;
        let identity = identity.map_err(|NoCredentials(why)| NotTaken::Now(format!("no AWS credentials: {why}")))?;
        let unusable = |why: String| NotTaken::Refused(format!("the request cannot be made: {why}"));
        let now = (self.clock)();
        sign_request(
            self.service,
            &identity,
            &self.region,
            now,
            &method,
            &uri,
            &mut headers,
            &body,
        )
        .map_err(|CannotSign(why)| unusable(why))?;
        headers.insert(USER_AGENT, AGENT);
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
                SendError::NotSent(reason) => NotTaken::Now(format!("{host} cannot be reached: {reason}")),
                SendError::Broken(reason) => NotTaken::Now(format!("connection to {host} broke: {reason}")),
            })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| NotTaken::Now(format!("{host} answered {}: {error}", head.status.as_u16())))?;
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
        })
    }
}
