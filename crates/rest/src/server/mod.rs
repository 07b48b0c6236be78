//! The HTTP server: sockets, TLS, connections, and the bounds on all of them.

mod stream;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use klamm_runtime::{AdminListeners, Advertised, Herder, Listener, RestConfig, Scheme};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use self::stream::ImpatientStream;
use self::tls::Tls;
use crate::clients::Connections;
use crate::guard::{Answers, Guard, Peer, Surface};
use crate::reload::{Reload, look_from_time_to_time};
use crate::{About, RestError, router};

/// How long a client may take to send the head of a request, and to be idle between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take for its part of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that a request's head may have.
const MAX_HEAD: usize = 64 * 1024;
/// Headers that a request may have.
const MAX_HEADERS: usize = 100;
/// How long requests may take to end once the worker shuts down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The bound listeners.
pub struct RestServer {
    listeners: Vec<Bound>,
    /// Where `admin.listeners` begin.
    admin_from: usize,
    guard: Guard,
    connections_per_client: usize,
    advertised: Advertised,
}

impl fmt::Debug for RestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestServer")
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}

struct Bound {
    listener: Listener,
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    surface: Surface,
    /// Connections at once: who watches the worker gets in whatever happens to the rest of the API.
    permits: Arc<Semaphore>,
}

impl RestServer {
    /// Binds every listener, and reads the files with certificates, users and tokens.
    ///
    /// # Errors
    /// A listener cannot be bound, or a file not be used; the error names it.
    pub async fn bind(config: &RestConfig) -> Result<Self, RestError> {
        let guard = Guard::try_new(config, now)?;
        let surface = Surface::of_listeners(&config.admin);
        let tls = |settings: &Option<_>| settings.as_ref().map(tls::tls).transpose().map(|tls| tls.map(Arc::new));
        let permits = || Arc::new(Semaphore::new(config.limits.connections));
        let mut listeners = bind_all(&config.listeners, surface, tls(&config.tls)?, permits()).await?;
        let admin_from = listeners.len();
        if let AdminListeners::On(admin) = &config.admin {
            listeners.extend(bind_all(admin, Surface::Admin, tls(&config.admin_tls)?, permits()).await?);
        }
        Ok(Self {
            listeners,
            admin_from,
            guard,
            connections_per_client: config.limits.connections_per_client,
            advertised: config.advertised.clone(),
        })
    }

    /// Where it listens, in the order of `listeners`, and then of `admin.listeners`.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|bound| bound.address).collect()
    }

    /// How others reach it: scheme, and `host:port`.
    #[must_use]
    pub fn advertised(&self) -> (Scheme, String) {
        let rest = self.listeners.get(..self.admin_from).unwrap_or_default();
        let of = |scheme| rest.iter().find(|bound| bound.listener.scheme == scheme);
        let wanted = match self.advertised.scheme {
            Some(scheme) => of(scheme),
            None => of(Scheme::Http).or_else(|| of(Scheme::Https)),
        };
        let Some(bound) = wanted else {
            return (Scheme::Http, String::new());
        };
        let host = match &self.advertised.host {
            Some(host) => host.clone(),
            None if bound.listener.is_wildcard() => host_name().unwrap_or_else(|| bound.listener.host.clone()),
            None => bound.listener.host.clone(),
        };
        let port = self.advertised.port.unwrap_or(bound.address.port());
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        (bound.listener.scheme, format!("{host}:{port}"))
    }

    /// Serves until `shutdown` resolves, then lets requests that are under way end, for 5 s at most.
    ///
    /// Sockets, TLS and everything before a request is answered run where this runs, the answers on `work`: what the herder
    /// starts belongs there.
    pub async fn serve(self, herder: Herder, about: About, work: Handle, shutdown: impl Future<Output = ()>) {
        let tls = self.listeners.iter().filter_map(|bound| bound.tls.clone());
        let mut reloads = self.guard.reloads();
        reloads.extend(tls.map(|tls| tls as Arc<dyn Reload>));
        let mut tasks = JoinSet::new();
        tasks.spawn(look_from_time_to_time(reloads));

        let shared = Arc::new(Shared {
            answers: Answers {
                router: router(herder, about),
                work,
            },
            guard: self.guard,
            clients: Arc::new(Connections::new(self.connections_per_client)),
        });
        let (stop, stopped) = watch::channel(false);
        let mut acceptors = JoinSet::new();
        for bound in self.listeners {
            acceptors.spawn(accept(Arc::new(bound), Arc::clone(&shared), stopped.clone()));
        }
        shutdown.await;
        stop.send_replace(true);
        let ended = timeout(SHUTDOWN_TIMEOUT, async {
            while acceptors.join_next().await.is_some() {}
        })
        .await;
        if ended.is_err() {
            warn!(
                timeout_ms = SHUTDOWN_TIMEOUT.as_millis(),
                "REST requests did not end in time and were cut"
            );
            acceptors.shutdown().await;
        }
        tasks.shutdown().await;
    }
}

async fn bind_all(
    listeners: &[Listener],
    surface: Surface,
    tls: Option<Arc<Tls>>,
    permits: Arc<Semaphore>,
) -> Result<Vec<Bound>, RestError> {
    let mut all = Vec::new();
    for listener in listeners {
        let failed = |source| RestError::Bind {
            listener: listener.to_string(),
            source,
        };
        let socket = TcpListener::bind((listener.host.as_str(), listener.port))
            .await
            .map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        info!(%address, scheme = listener.scheme.name(), "REST API listens");
        all.push(Bound {
            listener: listener.clone(),
            socket,
            address,
            tls: tls.clone().filter(|_| listener.scheme == Scheme::Https),
            surface,
            permits: Arc::clone(&permits),
        });
    }
    Ok(all)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time of day in headers, which nothing here depends on"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    (!name.is_empty()).then_some(name)
}

/// What all connections share.
struct Shared {
    answers: Answers,
    guard: Guard,
    clients: Arc<Connections>,
}

/// Takes connections until told to stop, then waits for them to end. Its end cuts those that are left.
async fn accept(bound: Arc<Bound>, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed: without a permit there is nothing to accept with.
            let permit = Arc::clone(&bound.permits).acquire_owned().await.ok();
            (bound.socket.accept().await, permit)
        };
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            (accepted, permit) = next => match accepted {
                Ok((stream, address)) => {
                    // One that has too many is closed without a word: an answer would cost what it is to save.
                    let Some(connection) = shared.clients.open(address.ip()) else { continue };
                    let served = serve_connection(stream, address, Arc::clone(&bound), Arc::clone(&shared), stopped.clone());
                    connections.spawn(async move {
                        served.await;
                        drop((connection, permit));
                    });
                }
                Err(error) => {
                    warn!(%error, "REST API cannot accept a connection, trying again");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
        }
    }
    drop(bound);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(
    stream: TcpStream,
    address: SocketAddr,
    bound: Arc<Bound>,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let surface = bound.surface;
    let tls = bound.tls.clone();
    let scheme = bound.listener.scheme;
    // The socket closes with the acceptor, however long connections last.
    drop(bound);
    let stream = ImpatientStream::new(stream);
    let mut peer = Peer {
        address,
        scheme,
        certificate: None,
    };
    let Some(tls) = tls else {
        return serve_stream(stream, peer, surface, shared, stopped).await;
    };
    let handshake = TlsAcceptor::from(tls.current()).accept(stream);
    let secured = tokio::select! {
        secured = timeout(HANDSHAKE_TIMEOUT, handshake) => secured,
        _ = stopped.changed() => return,
    };
    match secured.unwrap_or_else(|late| Err(io::Error::from(late))) {
        Ok(stream) => {
            let certificates = stream.get_ref().1.peer_certificates();
            peer.certificate = certificates.and_then(<[_]>::first).map(|certificate| {
                let digest = Sha256::digest(certificate);
                digest.iter().map(|byte| format!("{byte:02x}")).collect()
            });
            serve_stream(stream, peer, surface, shared, stopped).await;
        }
        Err(error) => debug!(%error, client = %peer.address, "TLS handshake of the REST API failed"),
    }
}

async fn serve_stream<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: Peer,
    surface: Surface,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(|request: Request<Incoming>| async {
        let response = shared.guard.answer(&shared.answers, surface, &peer, request).await;
        Ok::<_, std::convert::Infallible>(response)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        result = connection.as_mut() => Some(result),
        _ = stopped.changed() => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "REST connection ended");
    }
}
