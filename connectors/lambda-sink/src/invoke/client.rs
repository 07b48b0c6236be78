//! The client of one endpoint.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use klamm_aws::{AnswerBody, CONNECT_TIMEOUT, CredentialsCache, HttpClient, SendError, Signer, chain};
use klamm_connect_api::BoxFuture;
use tokio::time::{Instant, timeout_at};

use super::{Answer, Invoke, InvokeError, Request};
use crate::usage::Billed;

const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const TENANT_ID: HeaderName = HeaderName::from_static("x-amz-tenant-id");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("x-amz-client-context");
const EXECUTION_NAME: HeaderName = HeaderName::from_static("x-amz-durable-execution-name");
const LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("klamm/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Bytes of an answer that are read at most to keep a connection usable; above, it is closed instead. Longer than
/// any answer that Lambda gives.
const DRAIN_BYTES: usize = 8 * 1024 * 1024;

/// A function's configuration is asked for in passing.
const DESCRIBE_WITHIN: Duration = Duration::from_secs(5);
/// Environment variables and layers make it longer than it looks.
const DESCRIPTION_BYTES: usize = 64 * 1024;

/// Invokes functions of one endpoint with one set of credentials.
pub(super) struct LambdaClient {
    pub(super) http: Arc<HttpClient>,
    pub(super) endpoint: String,
    pub(super) region: String,
    pub(super) credentials: CredentialsCache,
    pub(super) signer: Signer,
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
    async fn call(&self, request: Request<'_>) -> Result<Answer, InvokeError> {
        let Request {
            target,
            path_and_query,
            client_context,
            execution_name,
            body,
        } = request;
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(INVOCATION_TYPE, HeaderValue::from_static(target.invocation.header()));
        let optional = [
            (TENANT_ID, target.tenant_id.clone()),
            (CLIENT_CONTEXT, client_context),
            (EXECUTION_NAME, execution_name),
            (LOG_TYPE, target.asks_log.then(|| HeaderValue::from_static("Tail"))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        let response = self
            .send(Method::POST, path_and_query, headers, body, target.send_within)
            .await?;
        self.read(response, target.answer_bytes).await
    }

    /// Signs a request and sends it, once.
    async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
        within: Duration,
    ) -> Result<Response<AnswerBody>, InvokeError> {
        let send_by = Instant::now() + within;
        let identity = timeout_at(send_by, self.credentials.identity()).await.map_err(|_| {
            let waited_ms = within.as_millis();
            InvokeError::Credentials(format!("their source did not answer within {waited_ms} ms"))
        })??;
        let uri = format!("{}{path_and_query}", self.endpoint);
        let mut request = http::Request::new(Full::new(body.clone()));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(uri).map_err(|error| InvokeError::Request(error.to_string()))?;
        *request.headers_mut() = headers;
        self.signer.sign(&identity, (self.clock)(), &mut request, &body)?;
        request.headers_mut().insert(USER_AGENT, AGENT);
        let connect_by = send_by.min(Instant::now() + CONNECT_TIMEOUT);
        let sent = self.http.request(request, connect_by).await;
        sent.map_err(|error| match error {
            SendError::NotSent(reason) => InvokeError::Connect {
                endpoint: self.endpoint.clone(),
                reason,
            },
            SendError::Broken(reason) => self.broken(reason),
        })
    }

    async fn description(&self, path_and_query: &str) -> Result<Answer, InvokeError> {
        let response = self
            .send(
                Method::GET,
                path_and_query,
                HeaderMap::new(),
                Bytes::new(),
                DESCRIBE_WITHIN,
            )
            .await?;
        self.read(response, DESCRIPTION_BYTES).await
    }

    async fn read(&self, response: Response<AnswerBody>, limit: usize) -> Result<Answer, InvokeError> {
        let (head, mut incoming) = response.into_parts();
        let text = |name| head.headers.get(name)?.to_str().ok().map(str::to_owned);
        let mut answer = Answer {
            status: head.status.as_u16(),
            function_error: head.headers.contains_key(FUNCTION_ERROR),
            error_type: text(ERROR_TYPE),
            request_id: text(REQUEST_ID),
            executed_version: text(EXECUTED_VERSION),
            retry_after: text(RETRY_AFTER)
                .and_then(|text| text.trim().parse().ok())
                .map(Duration::from_secs),
            billed: head
                .headers
                .get(LOG_RESULT)
                .and_then(|log| Billed::read(log.as_bytes())),
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
    fn invoke<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Answer, InvokeError>> {
        Box::pin(self.call(request))
    }

    fn describe<'a>(&'a self, path_and_query: &'a str) -> BoxFuture<'a, Result<Answer, InvokeError>> {
        Box::pin(self.description(path_and_query))
    }

    fn refuse_credentials(&self, sent_at: Instant) -> bool {
        self.credentials.refuse(sent_at)
    }
}
