//! From an address to a connection that is ready for requests. Security steps in here.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Message, StrBytes, VersionRange};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::serve::Serving;
use super::{Connection, Inner, QUEUE};
use crate::error::code_of;
use crate::{ClientConfig, KafkaError, SecurityProtocol};

/// An answer larger than this, beyond what a fetch was allowed to return, is not Kafka.
pub(crate) const FRAME_SLACK_BYTES: usize = 100 * 1024 * 1024;

/// Opens connections; every socket lives on the net runtime and ends with the client.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) net: tokio::runtime::Handle,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// Larger answers close the connection unread.
    pub(crate) max_frame: usize,
}

impl Dialer {
    /// Connects to `address` (`host:port`), agrees on versions, and leaves the socket to a task of its own.
    pub(crate) async fn dial(&self, address: Arc<str>) -> Result<Connection, KafkaError> {
        let (opened, open) = oneshot::channel();
        let (config, stop, max_frame) = (Arc::clone(&self.config), self.stop.clone(), self.max_frame);
        // The socket must be made on the net runtime, whoever asks for it.
        self.tasks.spawn_on(
            async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = connect_and_serve(config, address, max_frame, opened) => {}
                }
            },
            &self.net,
        );
        open.await.unwrap_or(Err(KafkaError::ShutDown))
    }
}

async fn connect_and_serve(
    config: Arc<ClientConfig>,
    address: Arc<str>,
    max_frame: usize,
    opened: oneshot::Sender<Result<Connection, KafkaError>>,
) {
    let stream = match connect(&config, &address).await {
        Ok(stream) => stream,
        Err(err) => {
            // Whoever asked may have gone meanwhile.
            drop(opened.send(Err(err)));
            return;
        }
    };
    let (requests, incoming) = mpsc::channel(QUEUE);
    let mut inner = Inner {
        address: Arc::clone(&address),
        client_id: StrBytes::from_string(config.client_id.to_string()),
        // ApiVersions itself is known: version 3 first (KIP-511), 0 if the broker does not know it.
        versions: vec![(18, ApiVersionsRequest::VERSIONS)],
        correlation: 0.into(),
        requests,
    };
    let serving = Serving {
        address,
        idle: config.connections_max_idle,
        max_frame,
    };
    let negotiate = async move {
        let first = Connection {
            inner: Arc::new(Inner {
                versions: inner.versions.clone(),
                requests: inner.requests.clone(),
                address: Arc::clone(&inner.address),
                client_id: inner.client_id.clone(),
                correlation: 0.into(),
            }),
        };
        let result = api_versions(&first, config.connection_setup_timeout.max(config.request_timeout)).await;
        drop(first);
        let connection = result.map(|versions| {
            inner.versions = versions;
            inner.correlation = 16.into();
            Connection { inner: Arc::new(inner) }
        });
        drop(opened.send(connection));
    };
    // Both run here: the negotiation asks, the serving answers; it goes on alone until the last handle is dropped.
    tokio::join!(negotiate, serving.run(stream, incoming));
}

/// The transport under the protocol. TLS and SASL stand between this and the first request.
async fn connect(config: &ClientConfig, address: &Arc<str>) -> Result<TcpStream, KafkaError> {
    match config.security_protocol {
        SecurityProtocol::Plaintext => {}
    }
    let failed = |source: std::io::Error| KafkaError::Connect {
        address: Arc::clone(address),
        source: Arc::new(source),
    };
    let stream = tokio::time::timeout(config.connection_setup_timeout, TcpStream::connect(&**address))
        .await
        .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    // Requests are small and waited for: never hold one back to fill a packet.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

async fn api_versions(connection: &Connection, timeout: Duration) -> Result<Vec<(i16, VersionRange)>, KafkaError> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("klamm"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    // A broker that does not know version 3 answers UNSUPPORTED_VERSION in version 0, which cannot be read as
    // version 3 (KIP-511): both end here, and version 0 is asked instead.
    let response = match connection.request_version(&request, 3, timeout).await {
        Ok(response) if code_of(response.error_code) == Some(ResponseError::UnsupportedVersion) => {
            connection
                .request_version(&ApiVersionsRequest::default(), 0, timeout)
                .await?
        }
        Err(KafkaError::Malformed { .. }) => {
            connection
                .request_version(&ApiVersionsRequest::default(), 0, timeout)
                .await?
        }
        other => other?,
    };
    if let Some(code) = code_of(response.error_code) {
        return Err(KafkaError::broker(
            format!("asking {} for its versions", connection.inner.address),
            code,
        ));
    }
    Ok(ranges(&response))
}

fn ranges(response: &ApiVersionsResponse) -> Vec<(i16, VersionRange)> {
    let range = |api: &kafka_protocol::messages::api_versions_response::ApiVersion| VersionRange {
        min: api.min_version,
        max: api.max_version,
    };
    response.api_keys.iter().map(|api| (api.api_key, range(api))).collect()
}
