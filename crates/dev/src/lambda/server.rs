//! The accept loop and the connections.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::Shared;
use super::invoke;

/// Beyond this, new connections wait in the listener's backlog until one ends.
const CONNECTIONS: usize = 8_192;

/// Why a connection is cut without an answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Cut {
    #[error("the connection is closed, as scripted")]
    Close,
    #[error("the connection is reset, as scripted")]
    Reset,
    #[error("the request could not be read to its end")]
    Unreadable,
}

/// Connections that wait to be accepted; tokio's own default.
const BACKLOG: u32 = 1_024;

/// Serves connections while it is not away, until it is dropped, which drops them too.
pub(super) async fn run(
    mut listener: TcpListener,
    address: SocketAddr,
    mut is_away: watch::Receiver<bool>,
    shared: Arc<Shared>,
) {
    loop {
        tokio::select! {
            () = accept(listener, &shared) => return,
            gone = is_away.wait_for(|away| *away) => if gone.is_err() { return },
        }
        // The port stays ours: a socket that is bound and does not listen refuses connections.
        let place = match reserve(address) {
            Ok(place) => place,
            Err(err) => {
                warn!(error = %err, %address, "fake lambda has lost its port");
                return;
            }
        };
        if is_away.wait_for(|away| !*away).await.is_err() {
            return;
        }
        listener = match place.listen(BACKLOG) {
            Ok(listener) => listener,
            Err(err) => {
                warn!(error = %err, %address, "fake lambda cannot listen again");
                return;
            }
        };
    }
}

fn reserve(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves connections until it is dropped, which drops them too.
async fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(serve(stream, Arc::clone(shared)));
                }
                // Such as too many open files: the next connection to end makes room.
                Err(err) => {
                    warn!(error = %err, "fake lambda cannot accept a connection");
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

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Small answers must not wait for the acknowledgement of the one before.
    if let Err(err) = stream.set_nodelay(true) {
        debug!(error = %err, "fake lambda cannot set TCP_NODELAY");
    }
    // Boxed because the connection gives its socket back only for futures that may move.
    let service = service_fn(|request| Box::pin(invoke::answer(&shared, request)));
    let mut connection = http1::Builder::new()
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);
    let ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let stream = connection.into_parts().io.into_inner();
    match ended {
        Ok(()) => {}
        Err(err) => {
            let cut = err.source().and_then(|source| source.downcast_ref::<Cut>()).copied();
            if matches!(cut, Some(Cut::Reset))
                && let Err(err) = stream.set_zero_linger()
            {
                warn!(error = %err, "fake lambda cannot reset a connection, it is closed instead");
            }
            debug!(error = %err, "fake lambda connection ended");
        }
    }
    // Dropping the socket closes it: in order, or with a reset when told so above.
    drop(stream);
}
