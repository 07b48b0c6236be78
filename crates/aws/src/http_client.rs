//! The HTTP client that all clients of a process share: HTTP/1.1 with keep-alive, TLS by rustls.
//!
//! A connection belongs to the request that uses it, and moves when whoever waits for the answer is polled: no task of its
//! own stands between the two, so an answer wakes one task and not three. Afterwards it goes back to the pool.

mod connection;
mod pool;

use std::error::Error;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;
use tracing::info;

use connection::{Connection, Stream};
use pool::{Pool, Server};

pub use connection::AnswerBody;

/// Longest wait for a connection: name, TCP and TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Well below the 350 s after which NAT gateways drop an idle flow: a synchronous call may wait 15 minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);

type Body = Full<Bytes>;

/// A pool of connections per server. A connection that is not used for a minute is closed.
#[derive(Debug)]
pub struct HttpClient {
    plain: HttpConnector,
    /// Made when the first `https` request goes out: reading the machine's root certificates takes milliseconds.
    tls: OnceCell<HttpsConnector<HttpConnector>>,
    pool: Arc<Pool>,
}

/// Why a request has no response.
#[derive(Debug)]
pub enum SendError {
    /// Nothing was sent.
    NotSent(String),
    /// The request, or a part of it, may have been read by the other side.
    Broken(String),
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpClient {
    /// A client without connections.
    #[must_use]
    pub fn new() -> Self {
        Self {
            plain: connector(),
            tls: OnceCell::new(),
            pool: Arc::default(),
        }
    }

    /// Sends a request with an absolute URI, over a connection that is there until `connect_by`. The answer may take
    /// for ever.
    ///
    /// # Errors
    /// There is no answer: the error says whether the other side may have seen the request.
    ///
    /// # Cancel safety
    /// The connection is closed, and whether the other side acts on the request is unknown.
    pub async fn request(
        &self,
        mut request: Request<Body>,
        connect_by: Instant,
    ) -> Result<Response<AnswerBody>, SendError> {
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = std::mem::replace(request.uri_mut(), path.into());
        let server = Server::of(&uri).ok_or_else(|| SendError::NotSent(format!("`{uri}` names no server")))?;
        if !request.headers().contains_key(HOST) {
            let host = host(&uri).ok_or_else(|| SendError::NotSent(format!("`{uri}` names no host")))?;
            request.headers_mut().insert(HOST, host);
        }
        loop {
            let idle = self.pool.take(&server);
            let is_reused = idle.is_some();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.connect(&uri, connect_by).await?,
            };
            let mut error = match connection.send(request).await {
                Ok(response) => {
                    let lease = |incoming| AnswerBody::new(incoming, connection, server, &self.pool);
                    return Ok(response.map(lease));
                }
                Err(error) => error,
            };
            let unsent = error.take_message();
            let is_sent = unsent.is_none();
            match unsent {
                // The other side closed it while it was idle.
                Some(unsent) if is_reused => request = unsent,
                _ => {
                    let reason = chain(&error.into_error());
                    return Err(if is_sent {
                        SendError::Broken(reason)
                    } else {
                        SendError::NotSent(reason)
                    });
                }
            }
        }
    }

    async fn connect(&self, uri: &Uri, connect_by: Instant) -> Result<Box<Connection>, SendError> {
        let connected = async {
            let stream = if uri.scheme_str() == Some("http") {
                let stream = dial(&mut self.plain.clone(), uri).await?;
                Stream::Http(stream)
            } else {
                let tls = self.tls.get_or_try_init(tls_connector).await?;
                dial(&mut tls.clone(), uri).await?
            };
            Connection::open(stream).await.map_err(|error| chain(&error))
        };
        match timeout_at(connect_by, connected).await {
            Ok(connected) => connected.map_err(SendError::NotSent),
            Err(_) => Err(SendError::NotSent("no connection in time".to_owned())),
        }
    }
}

async fn dial<C>(connector: &mut C, uri: &Uri) -> Result<C::Response, String>
where
    C: Service<Uri>,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let failed = |error: C::Error| chain(&*error.into());
    poll_fn(|cx| connector.poll_ready(cx)).await.map_err(failed)?;
    connector.call(uri.clone()).await.map_err(failed)
}

/// The `Host` header of requests to a URI: with its port, unless that is the scheme's own.
pub(crate) fn host(uri: &Uri) -> Option<HeaderValue> {
    let authority = uri.authority()?;
    let is_default = matches!(
        (uri.scheme_str(), uri.port_u16()),
        (Some("http"), Some(80)) | (Some("https"), Some(443))
    );
    let host = if is_default {
        authority.host()
    } else {
        authority.as_str()
    };
    HeaderValue::from_str(host).ok()
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE));
    connector
}

async fn tls_connector() -> Result<HttpsConnector<HttpConnector>, String> {
    let built = tokio::task::spawn_blocking(|| {
        let provider = rustls::crypto::ring::default_provider;
        let builder = match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider()) {
            Ok(builder) => builder,
            Err(error) => {
                info!(%error, "the machine has no root certificates, using Mozilla's");
                HttpsConnectorBuilder::new()
                    .with_provider_and_webpki_roots(provider())
                    .map_err(|error| error.to_string())?
            }
        };
        Ok::<_, String>(builder.https_only().enable_http1().wrap_connector(connector()))
    });
    let built = built.await.unwrap_or_else(|error| Err(error.to_string()));
    built.map_err(|error| format!("TLS cannot be set up: {error}"))
}

/// An error with its causes on one line.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some types print their source as well.
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
