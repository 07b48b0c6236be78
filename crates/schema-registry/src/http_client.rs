//! One request, one answer.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::config::HttpSettings;
use crate::connector::Connector;
use crate::tls::TlsPlan;

/// Longest answer that is read: longer than any schema that a registry takes.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Connections that are not used for this long are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A longer `Retry-After` is not believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

type Body = Full<Bytes>;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Whether the same request may be answered otherwise in a while.
    pub(crate) fn is_retriable(&self) -> bool {
        matches!(self.status, 408 | 429 | 500..)
    }
}

/// A pool of connections. Their tasks live on the runtime of the caller and end with the connection, at the latest when
/// it was idle for a minute or the client is dropped.
pub(crate) struct HttpClient {
    settings: HttpSettings,
    /// Made with the first request: reading the machine's root certificates takes milliseconds.
    client: OnceCell<Client<HttpsConnector<Connector>, Body>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl HttpClient {
    pub(crate) fn new(settings: HttpSettings) -> Self {
        Self {
            settings,
            client: OnceCell::new(),
        }
    }

    /// The answer, read to its end within the read timeout; or why there is none.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Answer, String> {
        let limit = self.settings.connect_timeout + self.settings.read_timeout;
        let response = match timeout(limit, self.exchange(request)).await {
            Ok(response) => response?,
            Err(_) => return Err(format!("no answer within {} ms", limit.as_millis())),
        };
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after,
            body: response.into_body(),
        })
    }

    /// The answer, read to its end, however long that takes.
    pub(crate) async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let client = self.client.get_or_try_init(|| self.connect()).await?;
        let is_tls = request.uri().scheme() == Some(&Scheme::HTTPS);
        let response = client.request(request.map(Full::new)).await.map_err(|error| {
            let reason = crate::chain(&error);
            let plan = self.settings.tls.as_ref().filter(|_| is_tls);
            match plan.and_then(|plan| plan.advice(&error)) {
                Some(advice) => format!("{reason}; {advice}"),
                None => reason,
            }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| format!("the answer breaks off or is longer than {ANSWER_BYTES} bytes: {error}"))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    async fn connect(&self) -> Result<Client<HttpsConnector<Connector>, Body>, String> {
        let tls = self.settings.tls.clone();
        let config = tokio::task::spawn_blocking(move || match tls {
            Some(plan) => plan.client_config(),
            None => TlsPlan::trusting_nobody(),
        });
        let config = config
            .await
            .map_err(|error| error.to_string())
            .flatten()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector::new(&self.settings));
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector))
    }
}
