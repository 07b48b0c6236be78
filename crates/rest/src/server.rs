//! The HTTP server: sockets, connections, and the bounds on both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use klamm_runtime::{Herder, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::{About, RestError, router};

/// Clients at once. Others wait in the system's queue.
const MAX_CONNECTIONS: usize = 256;
/// How long a client may take to send the head of a request, and to be idle between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that a request's head may have.
const MAX_HEAD: usize = 64 * 1024;
/// How long requests may take to end once the worker shuts down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The bound listeners.
#[derive(Debug)]
pub struct RestServer {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl RestServer {
    /// Binds every listener.
    ///
    /// # Errors
    /// A listener cannot be bound; the error names it.
    pub async fn bind(listeners: &[Listener]) -> Result<Self, RestError> {
        let mut server = Self {
            listeners: Vec::new(),
            addresses: Vec::new(),
        };
        for listener in listeners {
            let failed = |source| RestError::Bind {
                listener: listener.to_string(),
                source,
            };
            let socket = TcpListener::bind((listener.host.as_str(), listener.port))
                .await
                .map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            info!(%address, "REST API listens");
            server.listeners.push(socket);
            server.addresses.push(address);
        }
        Ok(server)
    }

    /// Where it listens, in the order of the listeners.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Serves until `shutdown` resolves, then lets requests that are under way end, for 5 s at most.
    pub async fn serve(self, herder: Herder, about: About, shutdown: impl Future<Output = ()>) {
        let router = router(herder, about);
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let (stop, stopped) = watch::channel(false);
        let mut acceptors = JoinSet::new();
        for listener in self.listeners {
            acceptors.spawn(accept(listener, router.clone(), Arc::clone(&permits), stopped.clone()));
        }
        shutdown.await;
        stop.send_replace(true);
        let ended = tokio::time::timeout(SHUTDOWN_TIMEOUT, async {
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
    }
}

/// Takes connections until told to stop, then waits for them to end. Its end cuts those that are left.
async fn accept(listener: TcpListener, router: Router, permits: Arc<Semaphore>, mut stopped: watch::Receiver<bool>) {
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed: without a permit there is nothing to accept with.
            let permit = Arc::clone(&permits).acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            (accepted, permit) = next => match accepted {
                Ok((stream, _)) => {
                    let served = serve_connection(stream, router.clone(), stopped.clone());
                    connections.spawn(async move {
                        served.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    warn!(%error, "REST API cannot accept a connection, trying again");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
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
