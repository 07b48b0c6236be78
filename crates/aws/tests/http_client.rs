//! The HTTP client against a server of a few lines, over real sockets.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use klamm_aws::{AnswerBody, HttpClient, SendError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull";

/// A server that answers by a script, one connection like the other.
struct Server {
    endpoint: String,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    accepted: AtomicUsize,
    requests: AtomicUsize,
    closed: AtomicUsize,
    changed: Notify,
}

impl State {
    fn count(&self, counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    async fn reaches(&self, counter: &AtomicUsize, wanted: usize) {
        loop {
            let changed = self.changed.notified();
            if counter.load(Ordering::SeqCst) >= wanted {
                return;
            }
            changed.await;
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Script {
    Answer(&'static str),
    /// One byte a write.
    Trickle(&'static str),
    /// Closes without a word when a request has come.
    Break,
    AnswerAndClose,
    Silence,
}

impl Server {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        let of_server = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                of_server.count(&of_server.accepted);
                let state = Arc::clone(&of_server);
                connections.spawn(async move {
                    serve(stream, script, &state).await;
                    state.count(&state.closed);
                });
            }
        });
        Self {
            endpoint,
            state,
            _tasks: tasks,
        }
    }

    fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

/// Ends when the connection does. Requests end with `}`.
async fn serve(mut stream: TcpStream, script: Script, state: &State) {
    let mut buffer = [0; 1024];
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => request.extend_from_slice(&buffer[..read]),
            }
        }
        state.count(&state.requests);
        let answered = match script {
            Script::Answer(text) => stream.write_all(text.as_bytes()).await,
            Script::Trickle(text) => {
                let mut written = Ok(());
                for byte in text.as_bytes() {
                    written = stream.write_all(&[*byte]).await;
                    tokio::task::yield_now().await;
                }
                written
            }
            Script::Break => return,
            Script::AnswerAndClose => return stream.write_all(OK.as_bytes()).await.unwrap(),
            Script::Silence => Ok(()),
        };
        if answered.is_err() {
            return;
        }
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

async fn request(client: &HttpClient, server: &Server) -> Result<Response<AnswerBody>, SendError> {
    let request = Request::post(format!("{}/a?b=c", server.endpoint));
    let request = request.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
    client.request(request, soon()).await
}

async fn call(client: &HttpClient, server: &Server) -> Bytes {
    let response = request(client, server).await.unwrap();
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    const EMPTY: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
    const CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nnul\r\n1\r\nl\r\n0\r\n\r\n";
    let cases = [
        (Script::Answer(OK), "null", "one write"),
        (Script::Trickle(OK), "null", "byte by byte"),
        (Script::Answer(EMPTY), "", "no body"),
        (Script::Answer(CHUNKS), "null", "chunks"),
        (Script::Trickle(CHUNKS), "null", "chunks byte by byte"),
    ];
    for (script, wanted, why) in cases {
        let server = Server::start(script).await;
        let client = HttpClient::new();
        for _ in 0..10 {
            assert_eq!(call(&client, &server).await, wanted, "{why}");
        }
        assert_eq!(server.accepted(), 1, "{why}");
    }
}

#[tokio::test]
async fn calls_at_once_have_a_connection_each_and_the_next_ones_use_these() {
    let server = Server::start(Script::Answer(OK)).await;
    let client = HttpClient::new();
    for _ in 0..3 {
        let call = || call(&client, &server);
        futures_util::future::join3(call(), call(), call()).await;
    }
    assert_eq!(server.accepted(), 3);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_replaced() {
    let server = Server::start(Script::AnswerAndClose).await;
    let client = HttpClient::new();
    for calls in 1..5 {
        assert_eq!(call(&client, &server).await, "null");
        server.state.reaches(&server.state.closed, calls).await;
    }
    assert_eq!(server.accepted(), 4);
}

/// The server closes a connection that is idle in the pool, and the client has seen the end of it before the next call.
#[tokio::test]
async fn a_connection_that_was_closed_while_it_was_idle_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    let answer = async || {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull")
            .await
            .unwrap();
        stream
    };
    let client = HttpClient::new();
    let ask = async || {
        let request = Request::get(&uri).body(Full::default()).unwrap();
        let answer = client.request(request, soon()).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    };
    let (body, stream) = tokio::join!(ask(), answer());
    assert_eq!(body, "null");
    // The reactor tells of what happened in its order: who sees the end of the second stream could have seen that of the first.
    let (witness, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    drop(stream);
    drop(accepted);
    assert_eq!(witness.unwrap().read(&mut [0]).await.unwrap(), 0);
    let again = tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(ask(), answer()) });
    assert_eq!(again.await.expect("the call does not hang").0, "null");
}

#[tokio::test]
async fn a_request_that_was_written_is_not_sent_again() {
    let server = Server::start(Script::Break).await;
    let client = HttpClient::new();
    let error = request(&client, &server).await.unwrap_err();
    assert!(matches!(error, SendError::Broken(_)), "{error:?}");
    assert_eq!(server.state.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_has_seen_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for uri in [endpoint.as_str(), "/no-server"] {
        let request = Request::get(uri).body(Full::default()).unwrap();
        let error = HttpClient::new().request(request, soon()).await.unwrap_err();
        assert!(matches!(error, SendError::NotSent(_)), "{uri}: {error:?}");
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_takes_its_connection_along() {
    let client = HttpClient::new();
    let server = Server::start(Script::Silence).await;
    tokio::select! {
        _ = request(&client, &server) => panic!("nobody answers"),
        () = server.state.reaches(&server.state.requests, 1) => {}
    }
    server.state.reaches(&server.state.closed, 1).await;

    let server = Server::start(Script::Answer(OK)).await;
    let unread = request(&client, &server).await.unwrap();
    drop(unread);
    server.state.reaches(&server.state.closed, 1).await;
    call(&client, &server).await;
    assert_eq!(
        server.accepted(),
        2,
        "an answer that nobody has read is still in the first one"
    );
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed_after_a_minute() {
    let server = Server::start(Script::Answer(OK)).await;
    let client = HttpClient::new();
    for round in 1..3 {
        call(&client, &server).await;
        assert_eq!(server.accepted(), round);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(59)).await;
        tokio::time::resume();
        call(&client, &server).await;
        assert_eq!(server.accepted(), round, "not yet");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
        server.state.reaches(&server.state.closed, round).await;
    }
}

#[tokio::test]
async fn the_host_header_names_the_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = HttpClient::new();
    let request = Request::get(format!("http://{address}")).body(Full::default()).unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(OK.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    };
    let (answer, head) = futures_util::future::join(client.request(request, soon()), serve).await;
    answer.unwrap();
    assert_eq!(head, format!("GET / HTTP/1.1\r\nhost: {address}\r\n\r\n"));
}
