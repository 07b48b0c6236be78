//! The client of one endpoint.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use klamm_connect_api::BoxFuture;
use tokio::time::{Instant, timeout_at};

use super::credentials::CredentialsCache;
use super::http_client::{CONNECT_TIMEOUT, HttpClient, SendError, chain};
use super::sign::sign_request;
use super::{Answer, Invoke, InvokeError, Target};

const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("klamm/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Bytes of an answer that are read at most to keep a connection usable; above, it is closed instead. Longer than
/// any answer that Lambda gives.
const DRAIN_BYTES: usize = 8 * 1024 * 1024;

/// Invokes functions of one endpoint with one set of credentials.
pub(super) struct LambdaClient {
    pub(super) http: Arc<HttpClient>,
    pub(super) endpoint: String,
    pub(super) region: String,
    pub(super) credentials: CredentialsCache,
    pub(super) clock: fn() -> SystemTime,
}

impl fmt::Debug for LambdaClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LambdaClient")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl LambdaClient {
    async fn call(&self, target: &Target, body: Bytes) -> Result<Answer, InvokeError> {
        let send_by = Instant::now() + target.send_within;
        let identity = timeout_at(send_by, self.credentials.identity()).await.map_err(|_| {
            let waited_ms = target.send_within.as_millis();
            InvokeError::Credentials(format!("their source did not answer within {waited_ms} ms"))
        })??;
        let uri = format!("{}{}", self.endpoint, target.path_and_query);
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(INVOCATION_TYPE, HeaderValue::from_static(target.invocation.header()));
        sign_request(&identity, &self.region, (self.clock)(), &uri, &mut headers, &body)?;
        headers.insert(USER_AGENT, AGENT);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::try_from(uri).map_err(|error| InvokeError::Request(error.to_string()))?;
        *request.headers_mut() = headers;
        let connect_by = send_by.min(Instant::now() + CONNECT_TIMEOUT);
        let response = self
            .http
            .request(request, connect_by)
            .await
            .map_err(|error| match error {
                SendError::NotSent(reason) => InvokeError::Connect {
                    endpoint: self.endpoint.clone(),
                    reason,
                },
                SendError::Broken(reason) => self.broken(reason),
            })?;
        self.read(response, target.answer_bytes).await
    }

    async fn read(&self, response: Response<Incoming>, limit: usize) -> Result<Answer, InvokeError> {
        let (head, mut incoming) = response.into_parts();
        let text = |name| head.headers.get(name)?.to_str().ok().map(str::to_owned);
        let mut answer = Answer {
            status: head.status.as_u16(),
            function_error: head.headers.contains_key(FUNCTION_ERROR),
            error_type: text(ERROR_TYPE),
            request_id: text(REQUEST_ID),
            retry_after: text(RETRY_AFTER)
                .and_then(|text| text.trim().parse().ok())
                .map(Duration::from_secs),
            ..Answer::default()
        };
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| self.broken(chain(&error)))?;
            let Some(data) = frame.data_ref() else { continue };
            let room = limit.saturating_sub(body.len());
            body.extend_from_slice(data.get(..room).unwrap_or(data));
            answer.body_bytes = answer.body_bytes.saturating_add(data.len());
            if answer.body_bytes > DRAIN_BYTES {
                break;
            }
        }
        answer.body = Bytes::from(body);
        Ok(answer)
    }

    fn broken(&self, reason: String) -> InvokeError {
        InvokeError::Broken {
            endpoint: self.endpoint.clone(),
            reason,
        }
    }
}

impl Invoke for LambdaClient {
    fn invoke<'a>(&'a self, target: &'a Target, body: Bytes) -> BoxFuture<'a, Result<Answer, InvokeError>> {
        Box::pin(self.call(target, body))
    }

    fn refuse_credentials(&self) -> bool {
        self.credentials.refuse()
    }
}
