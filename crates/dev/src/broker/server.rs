//! Listeners and connections of a virtual broker.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::api::{self, Call};
use super::cluster::Cluster;
use super::groups::classic::Client;
use super::wire::{Envelope, Unanswerable};

/// What is read from a socket at once at least.
const READ_BYTES: usize = 16 * 1024;

/// A virtual broker that listens. Dropping it ends its connections.
#[derive(Debug)]
pub(crate) struct NodeServer {
    tasks: JoinSet<()>,
}

impl NodeServer {
    pub(crate) fn start(node: i32, listener: TcpListener, cluster: Arc<Cluster>) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(node, listener, cluster));
        Self { tasks }
    }

    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Serves connections until it is dropped, which drops them too.
async fn accept(node: i32, listener: TcpListener, cluster: Arc<Cluster>) {
    let limit = cluster.settings.max_connections.max(1);
    let permits = cluster.settings.in_flight_bytes.max(cluster.settings.max_request_bytes);
    let in_flight = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= limit {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        node,
                        stream,
                        peer,
                        buffer: BytesMut::new(),
                        cluster: Arc::clone(&cluster),
                        in_flight: Arc::clone(&in_flight),
                    };
                    connections.spawn(connection.run());
                }
                // Such as too many open files: the next connection to end makes room.
                Err(err) => {
                    warn!(error = %err, "the broker cannot accept a connection");
                    if connections.join_next().await.is_none() {
                        tokio::task::yield_now().await;
                    }
                }
            },
            // Finished connections are reaped; the branch is off while there is none.
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the client closed it")]
    Closed,
    #[error("a request of {0} bytes is larger than is taken")]
    TooLarge(i32),
    #[error("a fault was injected")]
    Injected,
    #[error(transparent)]
    Unanswerable(#[from] Unanswerable),
    #[error(transparent)]
    Socket(#[from] std::io::Error),
}

struct Connection {
    node: i32,
    stream: TcpStream,
    peer: SocketAddr,
    buffer: BytesMut,
    cluster: Arc<Cluster>,
    in_flight: Arc<Semaphore>,
}

impl Connection {
    async fn run(mut self) {
        if let Err(err) = self.stream.set_nodelay(true) {
            debug!(error = %err, "cannot set TCP_NODELAY");
        }
        let Err(end) = Box::pin(self.serve()).await;
        match end {
            End::Closed | End::Injected | End::Socket(_) => {
                debug!(peer = %self.peer, reason = %end, "connection ended");
            }
            End::TooLarge(_) | End::Unanswerable(_) => {
                warn!(peer = %self.peer, reason = %end, "a connection is closed");
            }
        }
    }

    /// One request after the other, as brokers do: a parked request holds up what comes behind it.
    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            let size = self.frame_size().await?;
            let permits = u32::try_from(size).unwrap_or(u32::MAX);
            let in_flight = Arc::clone(&self.in_flight);
            let _permit = in_flight.acquire_many(permits).await.map_err(|_| End::Closed)?;
            let envelope = Envelope::parse(self.frame(size).await?)?;
            let injected = self.cluster.faults.take(self.node, envelope.api);
            if let Some(delay) = injected.delay {
                tokio::time::sleep(delay).await;
            }
            if injected.disconnects {
                return Err(End::Injected);
            }
            let call = Call::new(
                &self.cluster,
                self.node,
                &envelope,
                Client {
                    id: envelope.client_id.clone(),
                    host: format!("/{}", self.peer.ip()),
                },
                injected.error,
            );
            let answer = tokio::select! {
                biased;
                answer = api::answer(&call, &envelope) => answer?,
                () = closed(&self.stream) => return Err(End::Closed),
            };
            if injected.loses_answer {
                return Err(End::Injected);
            }
            if let Some(answer) = answer {
                self.stream.write_all(&answer).await?;
            }
        }
    }

    async fn frame_size(&mut self) -> Result<usize, End> {
        self.fill(4).await?;
        let size = self.buffer.get_i32();
        let limit = self.cluster.settings.max_request_bytes;
        let size = usize::try_from(size).map_err(|_| End::TooLarge(size))?;
        if size > limit {
            return Err(End::TooLarge(i32::try_from(size).unwrap_or(i32::MAX)));
        }
        Ok(size)
    }

    async fn frame(&mut self, size: usize) -> Result<Bytes, End> {
        self.fill(size).await?;
        Ok(self.buffer.split_to(size).freeze())
    }

    /// Reads until the buffer holds so much.
    async fn fill(&mut self, size: usize) -> Result<(), End> {
        while self.buffer.len() < size {
            self.buffer.reserve((size - self.buffer.len()).max(READ_BYTES));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(End::Closed);
            }
        }
        Ok(())
    }
}

/// Returns when the client is gone, while its request is parked.
async fn closed(stream: &TcpStream) {
    let mut byte = [0];
    match stream.peek(&mut byte).await {
        Ok(0) | Err(_) => {}
        // It has sent the next request, and no more can be known without reading that.
        Ok(_) => std::future::pending().await,
    }
}
