//! Connections, straight to the registry or through a proxy.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::config::HttpSettings;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes connections. Through a proxy `https` goes by a tunnel, and `http` by asking the proxy for the whole URL.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    direct: HttpConnector,
    proxy: Option<Proxy>,
}

#[derive(Debug, Clone)]
struct Proxy {
    uri: Uri,
    tunnel: Tunnel<HttpConnector>,
}

impl Connector {
    pub(crate) fn new(settings: &HttpSettings) -> Self {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        direct.set_connect_timeout(Some(settings.connect_timeout));
        let proxy = settings.proxy.clone().map(|uri| Proxy {
            tunnel: Tunnel::new(uri.clone(), direct.clone()),
            uri,
        });
        Self { direct, proxy }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let is_tls = uri.scheme_str() == Some("https");
        let mut direct = self.direct.clone();
        let proxy = self.proxy.clone().filter(|_| !is_link_local(&uri));
        Box::pin(async move {
            let (io, is_proxied) = match proxy {
                None => (direct.call(uri).await?, false),
                Some(mut proxy) if is_tls => (proxy.tunnel.call(uri).await?, false),
                Some(proxy) => (direct.call(proxy.uri).await?, true),
            };
            Ok(Stream { io, is_proxied })
        })
    }
}

/// Whether only this machine reaches it: metadata and credentials of an instance or container in AWS.
fn is_link_local(uri: &Uri) -> bool {
    let is_link_local = |host: &str| host.starts_with("169.254.") || host.starts_with("[fd00:ec2:");
    uri.host().is_some_and(is_link_local)
}

/// A connection that knows whether its other end is a proxy that wants to be told the whole URL.
#[derive(Debug)]
pub(crate) struct Stream {
    io: TokioIo<TcpStream>,
    is_proxied: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.is_proxied)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
