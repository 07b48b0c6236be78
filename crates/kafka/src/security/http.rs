//! One HTTP/1.1 request over a connection of its own: tokens and AWS credentials are asked for rarely.
//!
//! The connection lives and ends with the call, so no task outlives whoever asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tls::{Tls, tls_failure};

/// Longest answer of a token or credentials endpoint.
const ANSWER_BYTES: usize = 1024 * 1024;

/// Sends `request`, whose URI is absolute, and reads the whole answer.
///
/// # Errors
/// Why there is none, without anything of the request but its host.
pub(super) async fn exchange(
    request: Request<Full<Bytes>>,
    tls: &Tls,
    connect: Duration,
    read: Duration,
) -> Result<Response<Bytes>, String> {
    let uri = request.uri();
    let is_tls = uri.scheme_str() == Some("https");
    let host = uri.host().ok_or("the URL names no host")?.to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let failed = |err: &dyn std::fmt::Display| format!("{host}:{port}: {err}");
    let connecting = async {
        let stream = TcpStream::connect((bare.as_str(), port))
            .await
            .map_err(|err| failed(&err))?;
        stream.set_nodelay(true).map_err(|err| failed(&err))?;
        Ok::<_, String>(stream)
    };
    let late = |what: &str, after: Duration| failed(&format!("{what} within {} ms", after.as_millis()));
    let stream = timeout(connect, connecting)
        .await
        .map_err(|_| late("no connection", connect))??;
    let answered = async {
        if !is_tls {
            return over(stream, request).await.map_err(|err| failed(&err));
        }
        let config: Arc<rustls::ClientConfig> = tls.config().await?;
        let name = ServerName::try_from(bare.clone()).map_err(|err| failed(&err))?;
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|err| failed(&endpoint_words(tls_failure(&err).unwrap_or_else(|| err.to_string()))))?;
        over(stream, request).await.map_err(|err| failed(&err))
    };
    timeout(read, answered).await.map_err(|_| late("no answer", read))?
}

/// The TLS texts speak of brokers.
fn endpoint_words(text: String) -> String {
    text.replace("the broker", "the endpoint")
}

async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, String> {
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    *request.uri_mut() = path.parse().map_err(|_| "the URL's path is not valid".to_owned())?;
    if !request.headers().contains_key(header::HOST) {
        let host = HeaderValue::from_str(&authority).map_err(|err| err.to_string())?;
        request.headers_mut().insert(header::HOST, host);
    }
    request
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|err| err.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|err| err.to_string())?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES)
            .collect()
            .await
            .map_err(|err| format!("its answer cannot be read: {err}"))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    };
    tokio::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection may end with the last byte, before the answer was taken.
        _ = &mut connection => answer.await,
    }
}
