//! A child process and its Runtime API, from its start to its end.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::function::Version;
use super::happening::Watcher;
use super::log::Log;
use super::runtime_api::{Message, Service, Taken, Work};
use super::{http, runtime_api};

/// Runs the program in its arguments. Beside it a watcher waits for the end of standard input, a pipe that only the parent
/// holds open, and kills the whole process group: so nothing outlives the parent, however it ends. The watcher holds the
/// log's pipe open: once that ends, everything is gone.
const SUPERVISE: &str = r#"exec 3<&0; ( (read -r _ <&3; kill -KILL 0) & ); exec "$@" </dev/null 3<&-"#;

/// How long a handler may take to load, as in Lambda.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// How long a killed process group may take to be gone. Only a kernel that is stuck needs it.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// A process that runs one version of a function.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Closing it ends the process group.
    lifeline: Option<ChildStdin>,
    pub(super) log: Arc<Log>,
    messages: mpsc::Receiver<Message>,
    api: JoinSet<()>,
    reader: JoinSet<()>,
    /// Of the code that it loaded.
    pub(super) fingerprint: u64,
    started: Instant,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// It loads.
    Starting,
    /// It has asked for work, and waits for it.
    Parked(oneshot::Sender<Work>),
    /// It works, or has answered and will ask.
    Working,
}

/// What a process did with a call, or instead of loading.
#[derive(Debug)]
pub(super) enum Told {
    Answer(Bytes),
    Error {
        kind: Option<String>,
        body: Bytes,
    },
    TooLarge,
    Exited(ExitStatus),
    /// It ended by itself before it took the call, such as after it told of the failure of the call before.
    EndedBefore(ExitStatus),
    TimedOut,
}

impl Process {
    /// Starts the program; [`Process::load`] waits until it is ready.
    pub(super) async fn start(version: &Version, fingerprint: u64, watcher: &Watcher) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (service, messages) = Service::new();
        // One pipe for both outputs keeps their order.
        let (output, input) = io::pipe()?;
        let mut child = {
            let mut command = Command::new("/bin/sh");
            command
                .args(["-c", SUPERVISE, "klamm-function"])
                .arg(&version.handler.program)
                .args(&version.handler.arguments)
                .env_clear()
                .envs(version.environment.iter().map(|(name, value)| (name, value)))
                .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
                .current_dir(&version.handler.root)
                .stdin(Stdio::piped())
                .stdout(input.try_clone()?)
                .stderr(input)
                .process_group(0)
                .kill_on_drop(true);
            // The command is dropped here, and with it our copies of the pipe's writing end.
            command.spawn()?
        };
        let lifeline = child.stdin.take();
        let (log, reader_of_log) = Log::try_new(output, Arc::clone(&version.function), watcher.clone())?;
        let (mut api, mut reader) = (JoinSet::new(), JoinSet::new());
        api.spawn(http::serve(listener, service));
        reader.spawn(reader_of_log.run());
        Ok(Self {
            child,
            lifeline,
            log,
            messages,
            api,
            reader,
            fingerprint,
            started: Instant::now(),
            phase: Phase::Starting,
        })
    }

    /// Whether it can take a call.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until the handler is loaded. Some duration, if that happened only now; what went wrong instead.
    pub(super) async fn load(&mut self) -> Result<Option<Duration>, Told> {
        if !matches!(self.phase, Phase::Starting) {
            return Ok(None);
        }
        let deadline = self.started + INIT_LIMIT;
        loop {
            match self.event(deadline).await {
                Event::Message(Message::Next(work)) => {
                    self.phase = Phase::Parked(work);
                    return Ok(Some(self.started.elapsed()));
                }
                Event::Message(Message::InitError { body, taken }) => {
                    reply(taken, Taken::Yes);
                    return Err(Told::Error { kind: None, body });
                }
                Event::Message(Message::Response { taken, .. } | Message::Error { taken, .. }) => {
                    reply(taken, Taken::UnknownId);
                }
                Event::Exited(status) => return Err(Told::Exited(status)),
                Event::Deadline => return Err(Told::TimedOut),
            }
        }
    }

    /// Gives a call to the runtime and waits for what becomes of it.
    pub(super) async fn work(&mut self, request_id: &str, work: Work, deadline: Instant) -> Told {
        let mut to_give = Some(work);
        if let Phase::Parked(next) = std::mem::replace(&mut self.phase, Phase::Working) {
            to_give = give(next, to_give);
        }
        loop {
            match self.event(deadline).await {
                // A runtime whose connection broke asks again. One that was given the call has to answer it first.
                Event::Message(Message::Next(next)) => to_give = give(next, to_give),
                Event::Message(Message::Response {
                    request_id: id,
                    body,
                    taken,
                }) => match body {
                    _ if id != request_id || to_give.is_some() => reply(taken, Taken::UnknownId),
                    Some(body) => {
                        self.log.catch_up();
                        reply(taken, Taken::Yes);
                        return Told::Answer(body);
                    }
                    None => {
                        self.log.catch_up();
                        reply(taken, Taken::TooLarge);
                        return Told::TooLarge;
                    }
                },
                Event::Message(Message::Error {
                    request_id: id,
                    kind,
                    body,
                    taken,
                }) => {
                    if id == request_id && to_give.is_none() {
                        self.log.catch_up();
                        reply(taken, Taken::Yes);
                        return Told::Error { kind, body };
                    }
                    reply(taken, Taken::UnknownId);
                }
                Event::Message(Message::InitError { taken, .. }) => reply(taken, Taken::UnknownId),
                Event::Exited(status) if to_give.is_some() => return Told::EndedBefore(status),
                Event::Exited(status) => return Told::Exited(status),
                Event::Deadline => return Told::TimedOut,
            }
        }
    }

    async fn event(&mut self, deadline: Instant) -> Event {
        tokio::select! {
            // What it told before it ended comes first.
            biased;
            Some(message) = self.messages.recv() => Event::Message(message),
            status = self.child.wait() => Event::Exited(status.unwrap_or_else(|_| ExitStatus::from_raw(0))),
            () = tokio::time::sleep_until(deadline) => Event::Deadline,
        }
    }

    /// The most memory that it ever held, where the system says so.
    pub(super) fn max_memory_mb(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes.div_ceil(1024))
    }

    /// Ends the process and all that it started, and waits until they are gone.
    pub(super) async fn end(mut self) {
        drop(self.lifeline.take());
        let ended = tokio::time::timeout(GONE_LIMIT, async {
            // The watcher kills the group; this is for a process that left it.
            if let Err(err) = self.child.kill().await {
                tracing::debug!(error = %err, "a function's process cannot be killed");
            }
            while self.reader.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            tracing::warn!(pid = self.child.id(), "a function's process is killed and does not end");
        }
        self.api.shutdown().await;
    }
}

/// What a process can be waited for.
enum Event {
    Message(Message),
    Exited(ExitStatus),
    Deadline,
}

/// Hands the call over; it stays if it was handed over before, or if nobody waits any more.
fn give(next: oneshot::Sender<Work>, work: Option<Work>) -> Option<Work> {
    work.and_then(|work| next.send(work).err())
}

fn reply(taken: oneshot::Sender<Taken>, is_taken: Taken) {
    // What it told counts all the same.
    if taken.send(is_taken).is_err() {
        tracing::debug!("a runtime went away before it was told that its answer was taken");
    }
}

/// What Lambda says of a process that ended in the midst of a call.
pub(super) fn exit_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "Runtime exited without providing a reason".to_owned(),
        (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
        (None, Some(9)) => "Runtime exited with error: signal: killed".to_owned(),
        (None, Some(signal)) => format!("Runtime exited with error: signal: {signal}"),
        (None, None) => "Runtime exited".to_owned(),
    }
}

pub(super) use runtime_api::RESPONSE_LIMIT_BYTES;
