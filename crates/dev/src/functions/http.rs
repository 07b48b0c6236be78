//! Connections of both APIs.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// Beyond this, new connections wait in the listener's backlog until one ends.
const CONNECTIONS: usize = 1_024;

pub(super) type Answer = Response<Full<Bytes>>;

/// Serves connections until it is dropped, which drops them too.
pub(super) async fn serve<S>(listener: TcpListener, service: S)
where
    S: hyper::service::Service<Request<Incoming>, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    // Small answers must not wait for the acknowledgement of the one before.
                    if let Err(err) = stream.set_nodelay(true) {
                        debug!(error = %err, "TCP_NODELAY cannot be set");
                    }
                    let service = service.clone();
                    connections.spawn(async move {
                        let connection = http1::Builder::new()
                            .pipeline_flush(true)
                            .serve_connection(TokioIo::new(stream), service);
                        if let Err(err) = connection.await {
                            debug!(error = %err, "a connection ended early");
                        }
                    });
                }
                // Such as too many open files: the next connection to end makes room.
                Err(err) => {
                    warn!(error = %err, "functions cannot accept a connection");
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
