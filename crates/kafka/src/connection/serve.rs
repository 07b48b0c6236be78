//! The task that owns a socket: writes requests, matches answers, watches the clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::{End, Outgoing};
use crate::KafkaError;
use crate::security::{mismatch, tls_failure};

/// Whether requests of the handles go out.
#[derive(Clone, Debug)]
pub(super) enum Gate {
    /// They go out.
    Open,
    /// They wait, for a login that is under way.
    Held,
    /// They never will again, for this reason.
    Closed(Arc<str>),
}

pub(super) struct Serving {
    pub(super) address: Arc<str>,
    pub(super) idle: Duration,
    pub(super) max_frame: usize,
    /// What it may mean that the broker hangs up before it answered any request of a handle.
    pub(super) hint: Option<&'static str>,
    /// Requests of the handles; they wait for the gate.
    pub(super) requests: mpsc::Receiver<Outgoing>,
    /// Requests of the login; they do not.
    pub(super) login: mpsc::Receiver<Outgoing>,
    pub(super) gate: watch::Receiver<Gate>,
    pub(super) end: End,
}

enum Event {
    Request(Option<Outgoing>),
    Login(Outgoing),
    Gate(Gate),
    /// All of a request is written, or no more can be.
    Written(Result<(), String>),
    Frame(Result<Bytes, String>),
    /// The oldest deadline passed, or nothing happened for the idle time.
    Clock,
}

impl Serving {
    /// Serves until the last handle is dropped and all is answered, or the socket fails.
    ///
    /// It reads also while it writes: a broker takes nothing while it sends an answer, so each would wait for the other
    /// for ever once a large request meets a large answer.
    pub(super) async fn run(mut self, read: impl AsyncRead + Unpin, write: impl AsyncWrite + Unpin) {
        let mut frames = Frames::new(read, self.max_frame);
        let mut outbox = Outbox::new(write);
        let mut in_flight: VecDeque<Outgoing> = VecDeque::new();
        let mut last_used = Instant::now();
        let mut has_handles = true;
        let mut is_open = false;
        let mut answered = false;
        let reason: Arc<str> = loop {
            let wake = in_flight
                .iter()
                .map(|sent| sent.deadline)
                .min()
                .unwrap_or(last_used + self.idle);
            let event = tokio::select! {
                frame = frames.next() => Event::Frame(frame),
                Ok(()) = self.gate.changed() => Event::Gate(self.gate.borrow_and_update().clone()),
                written = outbox.written(), if outbox.is_busy => Event::Written(written),
                Some(request) = self.login.recv(), if !outbox.is_busy => Event::Login(request),
                request = self.requests.recv(), if has_handles && is_open && !outbox.is_busy => Event::Request(request),
                () = sleep_until(wake) => Event::Clock,
            };
            match event {
                Event::Gate(Gate::Open) => is_open = true,
                Event::Gate(Gate::Held) => is_open = false,
                Event::Gate(Gate::Closed(reason)) => break reason,
                Event::Request(Some(request)) if request.answer.is_closed() => {} // nobody waits any more
                // Its time passed at the gate: it fails alone, where a late answer would end the connection.
                Event::Request(Some(request)) if request.deadline <= Instant::now() => {
                    let late = KafkaError::TimedOut {
                        address: Arc::clone(&self.address),
                        api: request.api,
                        after: request.timeout,
                    };
                    drop(request.answer.send(Err(late)));
                }
                Event::Request(Some(request)) => {
                    last_used = Instant::now();
                    outbox.put(&request.frame);
                    in_flight.push_back(request);
                }
                Event::Login(mut request) => {
                    // Its message may be seen before the gate's: nothing else goes out between the parts of a login.
                    is_open = false;
                    // The broker answers in order: a call that it parks delays a login without being its fault.
                    let before = in_flight.iter().map(|sent| sent.deadline).max();
                    let waits_until = before.unwrap_or_else(Instant::now) + request.timeout;
                    request.deadline = request.deadline.max(waits_until);
                    outbox.put(&request.frame);
                    in_flight.push_back(request);
                }
                Event::Written(Ok(())) => {}
                Event::Written(Err(reason)) => break frames.last_words(reason).await.into(),
                Event::Request(None) if in_flight.is_empty() => return,
                Event::Request(None) => has_handles = false,
                Event::Frame(Ok(frame)) => {
                    if is_open {
                        last_used = Instant::now();
                        answered = true;
                    }
                    let Some(sent) = in_flight.pop_front() else {
                        break "an answer came without a request".into();
                    };
                    if frame.first_chunk() != Some(&sent.correlation_id.to_be_bytes()) {
                        in_flight.push_front(sent);
                        break "an answer belongs to another request".into();
                    }
                    drop(sent.answer.send(Ok(frame))); // whoever asked may have stopped waiting
                    if in_flight.is_empty() && !has_handles && is_open {
                        return;
                    }
                }
                Event::Frame(Err(reason)) => {
                    break match self.hint.filter(|_| !answered && reason == HUNG_UP) {
                        Some(hint) => format!("{reason} {hint}").into(),
                        None => reason.into(),
                    };
                }
                Event::Clock => match in_flight.iter().position(|sent| sent.deadline <= Instant::now()) {
                    // Later answers would be out of step with what is waited for, so the connection goes (as in
                    // Kafka's clients).
                    Some(late) => {
                        if let Some(sent) = in_flight.remove(late) {
                            let late = KafkaError::TimedOut {
                                address: Arc::clone(&self.address),
                                api: sent.api,
                                after: sent.timeout,
                            };
                            drop(sent.answer.send(Err(late)));
                        }
                        break "an earlier request timed out".into();
                    }
                    None if in_flight.is_empty() && last_used.elapsed() >= self.idle => break "it was idle".into(),
                    None => {}
                },
            }
        };
        self.end.set(&reason);
        self.requests.close();
        self.login.close();
        while let Ok(waiting) = self.requests.try_recv() {
            in_flight.push_back(waiting);
        }
        for sent in in_flight {
            let closed = KafkaError::Disconnected {
                address: Arc::clone(&self.address),
                reason: Arc::clone(&reason),
            };
            drop(sent.answer.send(Err(closed)));
        }
    }
}

/// The request that is being written.
struct Outbox<W> {
    write: W,
    /// What of it is left.
    frame: Bytes,
    is_busy: bool,
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    fn new(write: W) -> Self {
        Self {
            write,
            frame: Bytes::new(),
            is_busy: false,
        }
    }

    /// Takes the next request, when the one before is written.
    fn put(&mut self, frame: &Bytes) {
        self.frame = frame.clone();
        self.is_busy = true;
    }

    /// Writes what is left.
    ///
    /// # Cancel safety
    /// Safe: what was written is no longer in `self`.
    async fn written(&mut self) -> Result<(), String> {
        while !self.frame.is_empty() {
            match self.write.write_buf(&mut self.frame).await {
                Ok(0) => return Err(HUNG_UP.to_owned()),
                Ok(_) => {}
                Err(err) => return Err(words(&err)),
            }
        }
        // TLS keeps what the socket did not take.
        self.write.flush().await.map_err(|err| words(&err))?;
        self.is_busy = false;
        Ok(())
    }
}

/// An error of the socket, or of TLS with what to do.
fn words(err: &std::io::Error) -> String {
    match err.kind() {
        std::io::ErrorKind::ConnectionReset
        | std::io::ErrorKind::BrokenPipe
        | std::io::ErrorKind::ConnectionAborted
        | std::io::ErrorKind::UnexpectedEof => HUNG_UP.to_owned(),
        _ => tls_failure(err).unwrap_or_else(|| err.to_string()),
    }
}

const HUNG_UP: &str = "the broker closed it";

/// Nothing more comes from a socket that was closed: what is there is read at once.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Memory that a claimed length gets at once; beyond it, only what was received earns more.
const TRUSTED_BYTES: usize = 16 * 1024 * 1024;

/// Cuts the byte stream into frames, each in a buffer of its size.
pub(crate) struct Frames<R> {
    read: BufReader<R>,
    max: usize,
    length: [u8; 4],
    length_read: usize,
    is_first: bool,
    body: Option<(Vec<u8>, usize)>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) fn new(read: R, max: usize) -> Self {
        Self {
            read: BufReader::with_capacity(4 * 1024, read),
            max,
            length: [0; 4],
            length_read: 0,
            is_first: true,
            body: None,
        }
    }

    /// Why the broker hung up, which a write noticed first: what it said last, such as a TLS alert, may still be there
    /// to be read.
    async fn last_words(&mut self, reason: String) -> String {
        if reason != HUNG_UP {
            return reason;
        }
        let rest = async {
            loop {
                if let Err(reason) = self.next().await {
                    break reason;
                }
            }
        };
        timeout(LAST_WORDS, rest).await.unwrap_or(reason)
    }

    /// The next frame, without its length.
    ///
    /// # Cancel safety
    /// Safe: what was read stays in `self`.
    pub(crate) async fn next(&mut self) -> Result<Bytes, String> {
        loop {
            let read = if let Some((body, length)) = &mut self.body {
                let left = *length - body.len();
                if left == 0 {
                    let body = Bytes::from(std::mem::take(body));
                    self.body = None;
                    self.length_read = 0;
                    return Ok(body);
                }
                if body.len() == body.capacity() {
                    body.reserve_exact(left.min(body.len()));
                }
                self.read.read_buf(&mut body.limit(left)).await
            } else if self.length_read < self.length.len() {
                let read = self.read.read(&mut self.length[self.length_read..]).await;
                self.length_read += *read.as_ref().unwrap_or(&0);
                read
            } else {
                if let Some(reason) = mismatch(self.length).filter(|_| self.is_first) {
                    return Err(reason.to_owned());
                }
                self.is_first = false;
                let length = i32::from_be_bytes(self.length);
                let length = usize::try_from(length)
                    .ok()
                    .filter(|length| (4..=self.max).contains(length));
                let Some(length) = length else {
                    let bytes = self.length;
                    return Err(format!(
                        "the answer starts with {bytes:02x?}, which is no length that Kafka sends"
                    ));
                };
                self.body = Some((Vec::with_capacity(length.min(TRUSTED_BYTES)), length));
                continue;
            };
            match read {
                Ok(0) => return Err(HUNG_UP.to_owned()),
                Ok(_) => {}
                Err(err) => return Err(words(&err)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::MetadataRequest;
    use kafka_protocol::protocol::{Request as _, StrBytes, VersionRange};

    use super::super::{Connection, Inner};
    use super::*;

    /// A served end of a connection to a broker that has said `said` and hung up.
    fn hung_up(said: &'static [u8]) -> (Serving, Connection, impl AsyncRead + AsyncWrite + Unpin) {
        let (serving, connection) = served(Gate::Held);
        (serving, connection, tokio::io::join(said, Closed))
    }

    fn served(gate: Gate) -> (Serving, Connection) {
        let (requests, incoming) = mpsc::channel(2);
        let (_, login) = mpsc::channel(1);
        let (_, mut gate) = watch::channel(gate);
        gate.mark_changed();
        let end = End::default();
        let inner = Inner {
            address: "broker:9092".into(),
            client_id: StrBytes::from_static_str("test"),
            versions: vec![(MetadataRequest::KEY, VersionRange { min: 1, max: 1 })],
            correlation: 0.into(),
            requests,
            end: end.clone(),
        };
        let serving = Serving {
            address: "broker:9092".into(),
            idle: Duration::from_secs(60),
            max_frame: 1 << 24,
            hint: None,
            requests: incoming,
            login,
            gate,
            end,
        };
        let connection = Connection { inner: Arc::new(inner) };
        (serving, connection)
    }

    /// Takes no writes.
    struct Closed;

    impl AsyncWrite for Closed {
        fn poll_write(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::task::Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn poll_shutdown(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }

    // A broker that wants a client certificate says so and hangs up after the handshake, at times before the first
    // request is there: that request failed without the reason.
    #[tokio::test]
    async fn a_request_after_the_end_tells_why_it_came() {
        let (serving, connection, stream) = hung_up(b"HTTP");
        let (read, write) = tokio::io::split(stream);
        serving.run(read, write).await;
        let error = connection
            .request(&MetadataRequest::default(), Duration::from_secs(1))
            .await
            .unwrap_err();
        let wanted = mismatch(*b"HTTP").unwrap();
        assert!(error.to_string().contains(wanted), "{error}");
    }

    #[tokio::test]
    async fn what_the_broker_said_last_is_read_after_a_write_that_failed() {
        let (_, _, stream) = hung_up(b"HTTP");
        let mut frames = Frames::new(stream, 1024);
        assert_eq!(frames.last_words(HUNG_UP.to_owned()).await, mismatch(*b"HTTP").unwrap());
        assert_eq!(frames.last_words("too late".to_owned()).await, "too late");
    }

    // A broker reads nothing while it sends an answer, and nothing was read while a request was written: both waited
    // until the time-out.
    #[tokio::test]
    async fn a_large_request_and_a_large_answer_pass_each_other() {
        const LARGE: usize = 1 << 20;
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let (serving, connection) = served(Gate::Open);
        let requests = connection.inner.requests.clone();
        let (read, write) = tokio::io::split(ours);
        let broker = async move {
            for (request, answer, id) in [(16, LARGE, 1_i32), (LARGE, 16, 2)] {
                theirs.read_exact(&mut vec![0; request]).await.unwrap();
                // The next request is under way by now.
                tokio::time::sleep(Duration::from_millis(1)).await;
                let mut frame = u32::try_from(answer).unwrap().to_be_bytes().to_vec();
                frame.extend(id.to_be_bytes());
                frame.resize(answer + 4, 0);
                theirs.write_all(&frame).await.unwrap();
            }
            theirs
        };
        let user = async move {
            let mut waiting = Vec::new();
            for (size, correlation_id) in [(16, 1), (LARGE, 2)] {
                let (answer, answered) = tokio::sync::oneshot::channel();
                let outgoing = Outgoing {
                    correlation_id,
                    frame: Bytes::from(vec![0; size]),
                    api: "test",
                    timeout: Duration::from_secs(5),
                    deadline: Instant::now() + Duration::from_secs(5),
                    answer,
                };
                assert!(requests.send(outgoing).await.is_ok());
                waiting.push(answered);
            }
            let mut sizes = Vec::new();
            for answered in waiting {
                sizes.push(answered.await.unwrap().unwrap().len());
            }
            drop((requests, connection));
            sizes
        };
        let ((), sizes, _theirs) = tokio::join!(serving.run(read, write), user, broker);
        assert_eq!(sizes, [LARGE, 16]);
    }
}
