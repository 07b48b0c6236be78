//! One connection, driven by who uses it.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Body;
use super::pool::{Pool, Server};

pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Both ends of hyper's connection: the one that takes requests, and the one that reads and writes when it is polled.
pub(super) struct Connection {
    requests: SendRequest<Body>,
    /// None once it has ended: a request that still waits in it comes back when it is dropped, and only then.
    driver: Option<http1::Connection<Stream, Body>>,
}

impl Connection {
    pub(super) async fn open(stream: Stream) -> Result<Box<Self>, hyper::Error> {
        let (requests, driver) = http1::handshake(stream).await?;
        Ok(Box::new(Self {
            requests,
            driver: Some(driver),
        }))
    }

    /// The request comes back with the error if nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        let mut response = pin!(self.requests.try_send_request(request));
        poll_fn(|cx| {
            drive(&mut self.driver, cx);
            response.as_mut().poll(cx)
        })
        .await
    }

    /// Whether it takes another request.
    fn is_ready(&self) -> bool {
        self.driver.is_some() && self.requests.is_ready()
    }
}

/// Reads and writes what can be read and written now. An error is told to who waits for the response or its body.
fn drive(driver: &mut Option<http1::Connection<Stream, Body>>, cx: &mut Context<'_>) {
    if driver
        .as_mut()
        .is_some_and(|driver| Pin::new(driver).poll(cx).is_ready())
    {
        *driver = None;
    }
}

/// The body of an answer, with the connection that it comes over. When it was read to its end, the connection goes back to
/// the pool; else it is closed.
pub struct AnswerBody {
    incoming: Incoming,
    lease: Option<Lease>,
}

struct Lease {
    connection: Box<Connection>,
    server: Server,
    pool: Arc<Pool>,
}

impl AnswerBody {
    pub(super) fn new(incoming: Incoming, connection: Box<Connection>, server: Server, pool: &Arc<Pool>) -> Self {
        let lease = Lease {
            connection,
            server,
            pool: Arc::clone(pool),
        };
        let mut body = Self {
            incoming,
            lease: Some(lease),
        };
        if hyper::body::Body::is_end_stream(&body.incoming) {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
        if let Some(Lease {
            connection,
            server,
            pool,
        }) = self.lease.take()
            && connection.is_ready()
        {
            pool.put(server, connection);
        }
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerBody").finish_non_exhaustive()
    }
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        // Asks for data, which the connection then reads.
        let mut frame = Pin::new(&mut this.incoming).poll_frame(cx);
        if frame.is_pending()
            && let Some(Lease { connection, .. }) = &mut this.lease
        {
            drive(&mut connection.driver, cx);
            frame = Pin::new(&mut this.incoming).poll_frame(cx);
        }
        if let Poll::Ready(None) = frame {
            this.give_back();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
