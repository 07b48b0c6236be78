//! The scripted stand-in for the Lambda Invoke API.
//!
//! The way of a call: [`server`] (connections) → [`invoke`] (request to answer, limits) → [`signature`] (who calls) →
//! [`log`] (what was asked) → [`answer`] (what the script says), whose errors come from the table in [`crate::api`].

mod answer;
mod body;
mod invoke;
mod log;
mod server;
mod signature;

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

pub use answer::{Answer, Gate};
pub use log::{Counts, Invocation, Log, Outcome, Recorded, Recording};
pub use signature::Credentials;

/// A server on loopback that speaks the Lambda Invoke API and answers as scripted.
///
/// It ends, with its connections, when it is dropped or [shut down](Self::shutdown).
#[derive(Debug)]
pub struct FakeLambda {
    shared: Arc<Shared>,
    address: SocketAddr,
    wait_limit: Duration,
    is_away: watch::Sender<bool>,
    /// The accept loop, which owns the connections; dropping the set ends them all.
    tasks: JoinSet<()>,
}

/// Settings of a [`FakeLambda`].
#[derive(Clone, Debug)]
pub struct Builder {
    port: u16,
    recording: Recording,
    credentials: Option<Credentials>,
    wait_limit: Duration,
}

impl Builder {
    /// The port to listen on; 0, the default, takes a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// How much is remembered of each call; by default the newest 100,000 calls.
    #[must_use]
    pub fn recording(mut self, recording: Recording) -> Self {
        self.recording = recording;
        self
    }

    /// Checks the Signature Version 4 of every request against these credentials; by default none is asked for.
    ///
    /// The age of a signature is not checked: script
    /// [`Exception::InvalidSignatureException`](crate::Exception::InvalidSignatureException) for a clock that is off.
    #[must_use]
    pub fn verify_signatures(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// The longest that [`FakeLambda::wait_for`] waits; 30 s by default.
    #[must_use]
    pub fn wait_limit(mut self, limit: Duration) -> Self {
        self.wait_limit = limit;
        self
    }

    /// Binds the port and starts to answer.
    ///
    /// # Errors
    /// The port could not be bound.
    pub async fn start(self) -> std::io::Result<FakeLambda> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                functions: HashMap::new(),
                log: Log::new(self.recording),
            }),
            changed: Notify::new(),
            recording: self.recording,
            credentials: self.credentials,
        });
        let mut tasks = JoinSet::new();
        let (is_away, away) = watch::channel(false);
        tasks.spawn(server::run(listener, address, away, Arc::clone(&shared)));
        Ok(FakeLambda {
            shared,
            address,
            wait_limit: self.wait_limit,
            is_away,
            tasks,
        })
    }
}

/// The state that a test waited for did not come about.
#[derive(Debug, thiserror::Error)]
#[error("waited {limit:?} for {what}; seen so far: {seen}")]
pub struct WaitError {
    what: String,
    limit: Duration,
    seen: String,
}

impl FakeLambda {
    /// Settings to start a server with.
    pub fn builder() -> Builder {
        Builder {
            port: 0,
            recording: Recording::Full { limit: 100_000 },
            credentials: None,
            wait_limit: Duration::from_secs(30),
        }
    }

    /// Starts a server with the default settings.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start() -> std::io::Result<Self> {
        Self::builder().start().await
    }

    /// The base URL of the API, without a slash at its end.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The function with this bare name; it exists from now on and answers `null` until told otherwise.
    pub fn function(&self, name: &str) -> Function {
        let mut state = self.shared.lock();
        let name: Arc<str> = match state.functions.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => {
                let name: Arc<str> = name.into();
                state.functions.insert(Arc::clone(&name), FunctionState::default());
                name
            }
        };
        drop(state);
        Function {
            shared: Arc::clone(&self.shared),
            name,
        }
    }

    /// Deletes a function: calls are refused with `ResourceNotFoundException` from now on.
    pub fn remove_function(&self, name: &str) {
        self.shared.lock().functions.remove(name);
    }

    /// Looks at the calls so far. The log is locked meanwhile: `look` must not call this server's methods.
    pub fn with_log<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.shared.lock().log)
    }

    /// Waits until `reached` holds, looking whenever a call arrives or ends. `what` names the state for the message.
    ///
    /// The log is locked while `reached` looks at it: it must not call this server's methods.
    ///
    /// # Errors
    /// The state was not reached within the [limit](Builder::wait_limit).
    pub async fn wait_for(&self, what: &str, mut reached: impl FnMut(&Log) -> bool) -> Result<(), WaitError> {
        let waiting = async {
            loop {
                // Registered before the look, so that no change between look and wait is missed.
                let mut changed = std::pin::pin!(self.shared.changed.notified());
                changed.as_mut().enable();
                if self.with_log(&mut reached) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(self.wait_limit, waiting)
            .await
            .map_err(|_elapsed| WaitError {
                what: what.to_owned(),
                limit: self.wait_limit,
                seen: self.with_log(Log::summary),
            })
    }

    /// Refuses connections, and ends those that are there, until told otherwise: a host whose service is down.
    pub fn refuse_connections(&self, refuse: bool) {
        self.is_away.send_replace(refuse);
    }

    /// Ends the server and all connections, and returns when they are closed.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

/// A function of a [`FakeLambda`]. Clones are the same function.
#[derive(Clone, Debug)]
pub struct Function {
    shared: Arc<Shared>,
    name: Arc<str>,
}

impl Function {
    /// The bare name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Answers this way whenever the script is empty.
    pub fn respond(&self, answer: Answer) -> &Self {
        self.change(|function| function.default = Responder::Fixed(answer))
    }

    /// Lets a closure answer whenever the script is empty. It runs on the server's task and must not block.
    pub fn respond_with(&self, respond: impl Fn(&Invocation) -> Answer + Send + Sync + 'static) -> &Self {
        self.change(|function| function.default = Responder::Closure(Arc::new(respond)))
    }

    /// Appends answers to the script: each is given to one call, in order of arrival, before the default answers again.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) -> &Self {
        self.change(|function| function.script.extend(answers))
    }

    /// Refuses calls above this number in flight with
    /// [`crate::ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded`]; `None` lifts the limit.
    pub fn reserve_concurrency(&self, limit: Option<u64>) -> &Self {
        self.change(|function| function.concurrency = limit)
    }

    /// Tells whoever asks for the function's configuration that it may run this long; until then nobody may ask.
    pub fn time_out_s(&self, seconds: u64) -> &Self {
        self.change(|function| function.time_out_s = Some(seconds))
    }

    /// Answers of the script that no call has taken yet.
    pub fn script_left(&self) -> usize {
        self.shared
            .lock()
            .functions
            .get(&self.name)
            .map_or(0, |function| function.script.len())
    }

    /// The counters of this function.
    pub fn counts(&self) -> Counts {
        self.shared.lock().log.counts(&self.name)
    }

    fn change<T>(&self, change: impl FnOnce(&mut FunctionState) -> T) -> &Self {
        if let Some(function) = self.shared.lock().functions.get_mut(&self.name) {
            change(function);
        }
        self
    }
}

/// What the connections and the test's handles share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    recording: Recording,
    credentials: Option<Credentials>,
}

impl Shared {
    /// Held for a few lines, never across an await. A panic of a test's closure under the lock leaves whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State {
    functions: HashMap<Arc<str>, FunctionState>,
    log: Log,
}

#[derive(Debug, Default)]
struct FunctionState {
    script: VecDeque<Answer>,
    default: Responder,
    concurrency: Option<u64>,
    /// `Timeout` of its configuration; none refuses to say.
    time_out_s: Option<u64>,
    /// Calls that hold concurrency now: admitted synchronous ones.
    running: u64,
}

#[derive(Clone)]
enum Responder {
    Fixed(Answer),
    Closure(Arc<dyn Fn(&Invocation) -> Answer + Send + Sync>),
}

impl Default for Responder {
    fn default() -> Self {
        Self::Fixed(Answer::success("null"))
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(answer) => answer.fmt(f),
            Self::Closure(_) => f.write_str("Closure"),
        }
    }
}
