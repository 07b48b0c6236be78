//! The server on real sockets, with clients that misbehave.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::net::SocketAddr;

use klamm_rest::RestServer;
use klamm_runtime::Listener;
use support::{about, herder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinSet<()>,
}

async fn server() -> Server {
    let server = RestServer::bind(&[Listener::parse("http://127.0.0.1:0").unwrap()])
        .await
        .unwrap();
    let address = server.addresses()[0];
    let (stop, stopped) = oneshot::channel::<()>();
    let herder = herder().await;
    let mut served = JoinSet::new();
    served.spawn(async move { server.serve(herder, about(), async { drop(stopped.await) }).await });
    Server { address, stop, served }
}

/// Sends bytes and reads until the server closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A server that refuses a body may reset the connection once it has answered.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn malformed_and_oversized_requests_are_refused_and_hurt_no_one_else() {
    let mut server = server().await;
    let head = "POST /connectors HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let big = format!("{head}Content-Length: 10000000\r\n\r\n{}", " ".repeat(10_000_000));
    let long_head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let cases = [
        ("no HTTP", b"\x16\x03\x01\x00\xff\r\n\r\n".to_vec(), " 400 "),
        (
            "bad length",
            format!("{head}Content-Length: x\r\n\r\n").into_bytes(),
            " 400 ",
        ),
        (
            "bad chunk",
            format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n").into_bytes(),
            "{\"error_code\":400",
        ),
        ("big body", big.into_bytes(), "{\"error_code\":413"),
        ("long head", long_head.into_bytes(), " 431 "),
    ];
    for (what, bytes, wanted) in cases {
        let answer = exchange(server.address, &bytes).await;
        assert!(answer.contains(wanted), "{what}: {answer}");
        let health = exchange(server.address, HEALTH).await;
        assert!(
            health.starts_with("HTTP/1.1 200 OK") && health.contains("healthy"),
            "after {what}: {health}"
        );
    }
    server.stop.send(()).unwrap();
    server.served.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_its_request_is_cut() {
    let server = server().await;
    // Time is paused and passes only while everyone waits: the read ends when the server gives up.
    assert!(exchange(server.address, b"GET /health HTT").await.is_empty());
    let body = b"POST /connectors HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    let answer = exchange(server.address, body).await;
    assert!(answer.contains("{\"error_code\":408"), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_shutdown() {
    let mut server = server().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    server.stop.send(()).unwrap();
    server.served.join_next().await.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = server().await;
    let listener = format!("http://{}", server.address);
    let error = RestServer::bind(&[Listener::parse(&listener).unwrap()])
        .await
        .unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().contains(&listener), "{error}");
    assert!(source.contains("in use"), "{source}");
}
