//! The HTTP client that all clients of a process share: HTTP/1.1 with keep-alive, TLS by rustls.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connect, HttpConnector, capture_connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep_until};
use tracing::info;

/// Longest wait for a connection: name, TCP and TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Well below the 350 s after which NAT gateways drop an idle flow: a synchronous call may wait 15 minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Connections that are not used for this long are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

type Body = Full<Bytes>;

/// A pool of connections per host. Connection tasks live on the runtime of the caller and end with their connection,
/// at the latest when it was idle for a minute or the client is dropped.
#[derive(Debug)]
pub struct HttpClient {
    plain: Client<HttpConnector, Body>,
    /// Made when the first `https` request goes out: reading the machine's root certificates takes milliseconds.
    tls: OnceCell<Client<HttpsConnector<HttpConnector>, Body>>,
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
            plain: pool().build(connector()),
            tls: OnceCell::new(),
        }
    }

    /// Sends a request with an absolute URI, over a connection that is there until `connect_by`. The answer may take
    /// for ever.
    ///
    /// # Errors
    /// There is no answer: the error says whether the other side may have seen the request.
    ///
    /// # Cancel safety
    /// Whether the other side acts on the request is then unknown.
    pub async fn request(&self, request: Request<Body>, connect_by: Instant) -> Result<Response<Incoming>, SendError> {
        let response = if request.uri().scheme_str() == Some("http") {
            send(&self.plain, request, connect_by).await
        } else {
            let client = self.tls.get_or_try_init(tls_client).await?;
            send(client, request, connect_by).await
        };
        let Some(response) = response else {
            return Err(SendError::NotSent("no connection in time".to_owned()));
        };
        response.map_err(|error| {
            let reason = chain(&error);
            let hyper_error = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
            let not_sent =
                error.is_connect() || hyper_error.is_some_and(|error| error.is_canceled() || error.is_closed());
            if not_sent {
                SendError::NotSent(reason)
            } else {
                SendError::Broken(reason)
            }
        })
    }
}

/// None if there was no connection in time. Whoever waits for the answer must be able to tell that from a call that
/// takes long: the other side has seen nothing of it.
async fn send<C: Connect + Clone + Send + Sync + 'static>(
    client: &Client<C, Body>,
    mut request: Request<Body>,
    connect_by: Instant,
) -> Option<Result<Response<Incoming>, ClientError>> {
    let mut connection = capture_connection(&mut request);
    let connected = async { connection.wait_for_connection_metadata().await.is_some() };
    let mut response = std::pin::pin!(client.request(request));
    tokio::select! {
        biased;
        response = &mut response => return Some(response),
        // False is the end of the request, which its own future tells.
        true = connected => {}
        () = sleep_until(connect_by) => return None,
    }
    Some(response.await)
}

fn pool() -> hyper_util::client::legacy::Builder {
    let mut pool = Client::builder(TokioExecutor::new());
    pool.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT);
    pool
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    // Also for a connection that hyper makes by itself, after one from its pool turned out to be closed.
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE));
    connector
}

async fn tls_client() -> Result<Client<HttpsConnector<HttpConnector>, Body>, SendError> {
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
        Ok::<_, String>(pool().build(builder.https_only().enable_http1().wrap_connector(connector())))
    });
    match built.await {
        Ok(client) => client.map_err(|error| SendError::NotSent(format!("TLS cannot be set up: {error}"))),
        Err(error) => Err(SendError::NotSent(format!("TLS cannot be set up: {error}"))),
    }
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
