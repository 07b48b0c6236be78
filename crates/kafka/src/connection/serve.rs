//! The task that owns a socket: writes requests, matches answers, watches the clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Outgoing;
use crate::KafkaError;

pub(super) struct Serving {
    pub(super) address: Arc<str>,
    pub(super) idle: Duration,
    pub(super) max_frame: usize,
}

enum Event {
    Request(Option<Outgoing>),
    Frame(Result<Bytes, String>),
    /// The oldest deadline passed, or nothing happened for the idle time.
    Clock,
}

impl Serving {
    /// Serves until the last handle is dropped and all is answered, or the socket fails.
    pub(super) async fn run(self, stream: TcpStream, mut requests: mpsc::Receiver<Outgoing>) {
        let (read, mut write) = stream.into_split();
        let mut frames = Frames::new(read, self.max_frame);
        let mut in_flight: VecDeque<Outgoing> = VecDeque::new();
        let mut last_used = Instant::now();
        let mut has_handles = true;
        let reason = loop {
            let wake = in_flight
                .iter()
                .map(|sent| sent.deadline)
                .min()
                .unwrap_or(last_used + self.idle);
            let event = tokio::select! {
                frame = frames.next() => Event::Frame(frame),
                request = requests.recv(), if has_handles => Event::Request(request),
                () = sleep_until(wake) => Event::Clock,
            };
            match event {
                Event::Request(Some(request)) if request.answer.is_closed() => {} // nobody waits any more
                Event::Request(Some(request)) => {
                    let written = timeout_at(request.deadline, write.write_all(&request.frame)).await;
                    in_flight.push_back(request);
                    match written {
                        Ok(Ok(())) => last_used = Instant::now(),
                        Ok(Err(err)) => break err.to_string(),
                        Err(_) => break "a request could not be written in time".to_owned(),
                    }
                }
                Event::Request(None) if in_flight.is_empty() => return,
                Event::Request(None) => has_handles = false,
                Event::Frame(Ok(frame)) => {
                    last_used = Instant::now();
                    let Some(sent) = in_flight.pop_front() else {
                        break "an answer came without a request".to_owned();
                    };
                    if frame.first_chunk() != Some(&sent.correlation_id.to_be_bytes()) {
                        in_flight.push_front(sent);
                        break "an answer belongs to another request".to_owned();
                    }
                    drop(sent.answer.send(Ok(frame))); // whoever asked may have stopped waiting
                    if in_flight.is_empty() && !has_handles {
                        return;
                    }
                }
                Event::Frame(Err(reason)) => break reason,
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
                        break "an earlier request timed out".to_owned();
                    }
                    None if in_flight.is_empty() && last_used.elapsed() >= self.idle => break "it was idle".to_owned(),
                    None => {}
                },
            }
        };
        requests.close();
        let reason: Arc<str> = reason.into();
        while let Ok(waiting) = requests.try_recv() {
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

/// Memory that a claimed length gets at once; beyond it, only what was received earns more.
const TRUSTED_BYTES: usize = 16 * 1024 * 1024;

/// Cuts the byte stream into frames, each in a buffer of its size.
pub(crate) struct Frames<R> {
    read: BufReader<R>,
    max: usize,
    length: [u8; 4],
    length_read: usize,
    body: Option<(Vec<u8>, usize)>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) fn new(read: R, max: usize) -> Self {
        Self {
            read: BufReader::with_capacity(4 * 1024, read),
            max,
            length: [0; 4],
            length_read: 0,
            body: None,
        }
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
                Ok(0) => return Err("the broker closed it".to_owned()),
                Ok(_) => {}
                Err(err) => return Err(err.to_string()),
            }
        }
    }
}
