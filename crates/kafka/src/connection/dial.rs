//! From an address to a connection that is ready for requests: TCP, TLS, ApiVersions, SASL.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Message, StrBytes, VersionRange};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::authenticate::{Lease, authenticate};
use super::serve::{Gate, Serving};
use super::{Connection, End, Inner, Outgoing, QUEUE};
use crate::error::code_of;
use crate::security::Security;
use crate::{ClientConfig, KafkaError, SecurityProtocol};

/// An answer larger than this, beyond what a fetch was allowed to return, is not Kafka.
pub(crate) const FRAME_SLACK_BYTES: usize = 100 * 1024 * 1024;

/// What all connections of a client have in common.
struct Shared {
    config: Arc<ClientConfig>,
    security: Arc<Security>,
}

/// Opens connections; every socket lives on the net runtime and ends with the client.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) config: Arc<ClientConfig>,
    /// Tokens and certificates, shared by all connections.
    pub(crate) security: Arc<Security>,
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
        let (stop, max_frame) = (self.stop.clone(), self.max_frame);
        let shared = Shared {
            config: Arc::clone(&self.config),
            security: Arc::clone(&self.security),
        };
        // The socket must be made on the net runtime, whoever asks for it.
        self.tasks.spawn_on(
            async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = connect_and_serve(shared, address, max_frame, opened) => {}
                }
            },
            &self.net,
        );
        open.await.unwrap_or(Err(KafkaError::ShutDown))
    }
}

/// The socket of one connection and all who use it: the session that opens it and keeps it authenticated, and the
/// requests of its handles.
async fn connect_and_serve(
    shared: Shared,
    address: Arc<str>,
    max_frame: usize,
    opened: oneshot::Sender<Result<Connection, KafkaError>>,
) {
    let transport = match connect(&shared, &address).await {
        Ok(transport) => transport,
        Err(err) => {
            // Whoever asked may have gone meanwhile.
            drop(opened.send(Err(err)));
            return;
        }
    };
    let (requests, incoming) = mpsc::channel(QUEUE);
    let (login, login_incoming) = mpsc::channel(1);
    let (gate, gate_seen) = watch::channel(Gate::Held);
    let end = End::default();
    let serving = Serving {
        idle: shared.config.connections_max_idle,
        hint: first_close_hint(shared.security.protocol()),
        address: Arc::clone(&address),
        max_frame,
        requests: incoming,
        login: login_incoming,
        gate: gate_seen,
        end: end.clone(),
    };
    let session = Session {
        own: inner(&shared, &address, login, LOGIN_CORRELATION, end),
        shared,
        address,
        gate,
    };
    // Both run here: the session asks, the serving answers. The session ends when there is nothing more to ask, or
    // nobody to answer.
    let session = session.run(opened, requests);
    match transport {
        Transport::Plain(stream) => {
            let (read, write) = stream.into_split();
            tokio::join!(serving.run(read, write), session);
        }
        Transport::Tls(stream) => {
            let (read, write) = tokio::io::split(*stream);
            tokio::join!(serving.run(read, write), session);
        }
    }
}

/// The session's own requests are told from those of the handles in a trace.
const LOGIN_CORRELATION: i32 = 1 << 30;

fn inner(shared: &Shared, address: &Arc<str>, requests: mpsc::Sender<Outgoing>, correlation: i32, end: End) -> Inner {
    Inner {
        address: Arc::clone(address),
        client_id: StrBytes::from_string(shared.config.client_id.to_string()),
        // ApiVersions itself is known: version 3 first (KIP-511), 0 if the broker does not know it.
        versions: vec![(18, ApiVersionsRequest::VERSIONS)],
        correlation: correlation.into(),
        requests,
        end,
    }
}

/// Opens the connection for requests and, where the broker sets an end to logins, logs in again (KIP-368).
///
/// Held => Open: versions are agreed on, the broker knows us.
/// Open => Held: the login is about to end; requests wait, answers still come.
/// any => Closed: the login failed.
struct Session {
    shared: Shared,
    address: Arc<str>,
    /// Over a way of its own, past the gate.
    own: Inner,
    gate: watch::Sender<Gate>,
}

impl Session {
    async fn run(mut self, opened: oneshot::Sender<Result<Connection, KafkaError>>, requests: mpsc::Sender<Outgoing>) {
        let (versions, mut session) = match self.open().await {
            Ok(open) => open,
            Err(err) => {
                self.gate.send_replace(Gate::Closed(err.to_string().into()));
                drop(opened.send(Err(err)));
                return;
            }
        };
        let mut connection = inner(&self.shared, &self.address, requests, 0, self.own.end.clone());
        connection.versions = versions;
        let connection = Connection {
            inner: Arc::new(connection),
        };
        self.gate.send_replace(Gate::Open);
        drop(opened.send(Ok(connection)));
        let mut jitter = StdRng::from_os_rng();
        while let Some(Lease { began, length }) = session {
            let accepted_at = Instant::now() + REAUTH_MIN_INTERVAL;
            // The broker hangs up on a request that comes after the end, so none goes out any more, even if it is too
            // early for the next login: a token may have had little time left.
            for until in [began + length.mul_f64(jitter.random_range(REAUTH_WINDOW)), accepted_at] {
                tokio::select! {
                    () = sleep_until(until) => {}
                    () = self.own.requests.closed() => return, // the connection is gone
                }
                self.gate.send_replace(Gate::Held);
            }
            match self.authenticate().await {
                Ok(next) => session = next,
                Err(err) => {
                    warn!(broker = %self.address, error = %err, "the login was not renewed, the connection is closed");
                    self.gate.send_replace(Gate::Closed(err.to_string().into()));
                    return;
                }
            }
            self.gate.send_replace(Gate::Open);
        }
    }

    /// What the broker offers, and how long the login lasts.
    async fn open(&mut self) -> Result<(Vec<(i16, VersionRange)>, Option<Lease>), KafkaError> {
        let timeout = self.timeout();
        let connection = self.connection();
        let versions = api_versions(&connection, timeout).await?;
        self.own.versions.clone_from(&versions);
        let session = self.authenticate().await?;
        Ok((versions, session))
    }

    /// For each message of the handshake. Whoever waits for the connection waits for all of them.
    fn timeout(&self) -> Duration {
        self.shared.config.connection_setup_timeout
    }

    fn connection(&self) -> Connection {
        Connection {
            inner: Arc::new(Inner {
                address: Arc::clone(&self.own.address),
                client_id: self.own.client_id.clone(),
                versions: self.own.versions.clone(),
                correlation: LOGIN_CORRELATION.into(),
                requests: self.own.requests.clone(),
                end: self.own.end.clone(),
            }),
        }
    }

    async fn authenticate(&self) -> Result<Option<Lease>, KafkaError> {
        match &self.shared.security.login {
            Some(login) => {
                let protocol = self.shared.security.protocol();
                // Credentials come from elsewhere, and are kept: their time is not the broker's.
                let credentials_timeout = self.shared.config.request_timeout.max(self.timeout());
                authenticate(&self.connection(), login, protocol, credentials_timeout, self.timeout()).await
            }
            None => Ok(None),
        }
    }
}

/// When to log in again, as a share of the login's life; drawn anew each time, so that a client's connections do not do
/// it all at once (Kafka's clients: 85 to 95 %).
const REAUTH_WINDOW: std::ops::RangeInclusive<f64> = 0.85..=0.95;

/// Brokers take no two logins of a connection within a second (KIP-368); one after its end they do take.
const REAUTH_MIN_INTERVAL: Duration = Duration::from_millis(1_100);

/// What it may mean that a broker hangs up before it answered anything but ApiVersions.
fn first_close_hint(protocol: SecurityProtocol) -> Option<&'static str> {
    match protocol {
        SecurityProtocol::Plaintext => Some(
            "before it answered a request: it may ask for TLS or SASL at this port: check `security.protocol` and \
             the port",
        ),
        SecurityProtocol::Ssl => Some(
            "before it answered a request: it may ask for SASL (`security.protocol=SASL_SSL`) or for a client \
             certificate (`ssl.keystore.location`) at this port",
        ),
        SecurityProtocol::SaslPlaintext => Some(
            "before it answered a request: it may ask for TLS (`security.protocol=SASL_SSL`) or know no SASL \
             (`PLAINTEXT`) at this port",
        ),
        SecurityProtocol::SaslSsl => None,
    }
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The transport under the protocol.
async fn connect(shared: &Shared, address: &Arc<str>) -> Result<Transport, KafkaError> {
    let failed = |source: std::io::Error| KafkaError::Connect {
        address: Arc::clone(address),
        source: Arc::new(source),
    };
    let timeout = shared.config.connection_setup_timeout;
    let reached = async { reach(lookup_host(&**address).await?.collect()).await };
    let stream = tokio::time::timeout(timeout, reached)
        .await
        .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    // Requests are small and waited for: never hold one back to fill a packet.
    stream.set_nodelay(true).map_err(failed)?;
    // Some answers take minutes. A host that is gone says nothing, so the kernel asks whether it is there.
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    SockRef::from(&stream).set_tcp_keepalive(&probes).map_err(failed)?;
    let Some(tls) = &shared.security.tls else {
        return Ok(Transport::Plain(stream));
    };
    let protocol = shared.security.protocol();
    let refused = |reason: String| KafkaError::Tls {
        address: Arc::clone(address),
        protocol,
        reason: reason.into(),
    };
    let secured = tokio::time::timeout(timeout, tls.secure(stream, address, protocol)).await;
    let secured = secured.map_err(|_| {
        let after = timeout.as_millis();
        refused(format!(
            "the handshake was not answered within {after} ms: the broker may speak plaintext at this port"
        ))
    })?;
    Ok(Transport::Tls(Box::new(secured.map_err(refused)?)))
}

/// How long an address may keep silent before the next is tried as well (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// A connection to one of the addresses of a name; the first are tried first, but do not keep the others waiting: behind
/// a name may be several brokers or load balancers, one of which is away (`client.dns.lookup=use_all_dns_ips`).
async fn reach(addresses: Vec<SocketAddr>) -> std::io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    loop {
        match addresses.next() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let has_more = addresses.len() > 0;
        tokio::select! {
            Some(reached) = attempts.next() => match reached {
                Ok(stream) => return Ok(stream),
                Err(err) => last = err,
            },
            () = sleep(NEXT_ADDRESS), if has_more => {}
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    // All addresses of a name shared one time-out, which the first could use up.
    #[tokio::test]
    async fn an_address_that_answers_nothing_does_not_hide_the_next() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind(any).unwrap();
        let full = full.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        // The kernel takes no more connections once so many wait to be accepted.
        let mut waiting = Vec::new();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(silent)).await {
            waiting.push(stream.unwrap());
        }
        let works = tokio::net::TcpListener::bind(any).await.unwrap();
        let address = works.local_addr().unwrap();
        let reached = tokio::time::timeout(Duration::from_secs(5), reach(vec![silent, address])).await;
        assert_eq!(reached.unwrap().unwrap().peer_addr().unwrap(), address);

        drop(works);
        let refused = reach(vec![address, address]).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(reach(Vec::new()).await.is_err());
    }
}
