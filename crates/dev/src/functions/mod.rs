//! Functions on this machine: Lambda's Invoke API over real handlers.
//!
//! The way of a call: `http` (connections) → `invoke` (request to answer) → for events `events` (queue and retries) →
//! `runner` (who may run, in which environment) → `environment` (one execution environment, one call at a time) →
//! `process` (the child and its Runtime API). What goes by is told to a [`Watcher`].
//!
//! It stands in for Lambda while one develops: signatures are not checked, and code runs with the rights of the user who
//! started it.
//!
//! ```no_run
//! use klamm_dev::functions::{FunctionConfig, Functions, FunctionsConfig};
//!
//! # async fn run() -> Result<(), klamm_dev::functions::StartError> {
//! let mut config = FunctionsConfig::new("examples/orders");
//! config.functions.push(FunctionConfig::new("order-fn", "functions/order.py:handler"));
//! let functions = Functions::start(config).await?;
//! println!("AWS_ENDPOINT_URL_LAMBDA={}", functions.endpoint());
//! functions.stop().await;
//! # Ok(())
//! # }
//! ```

mod clock;
mod code;
mod config;
mod describe;
mod environment;
mod events;
mod function;
mod handler;
mod happening;
mod http;
mod invoke;
mod log;
mod process;
mod runner;
mod runtime_api;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use config::{FunctionConfig, FunctionsConfig};
pub use handler::HandlerError;
pub use happening::{Call, CallOutcome, Happening, Watcher};

use runner::Runner;

/// Why functions cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting of a function is wrong.
    #[error("function {function}: {what}")]
    Function {
        /// Its name.
        function: String,
        /// What is wrong and what is accepted.
        what: String,
    },
    /// The handler is not there, or what runs it.
    #[error("function {function}")]
    Handler {
        /// The function's name.
        function: String,
        /// Why.
        #[source]
        source: HandlerError,
    },
    /// A handler cannot be loaded: see [`Functions::warm_up`].
    #[error("function {function} cannot be loaded: {what}")]
    Load {
        /// The function's name.
        function: String,
        /// What and where, on one line.
        what: String,
    },
    /// The address cannot be used.
    #[error("functions cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// An endpoint with Lambda's Invoke API on loopback, and the functions behind it.
///
/// Dropping it ends the endpoint and every process; [`Functions::stop`] does so and waits until they are gone.
#[derive(Debug)]
pub struct Functions {
    runner: Arc<Runner>,
    address: SocketAddr,
    stop: CancellationToken,
    /// Ends everything if `stop` is never called.
    _stop_at_drop: DropGuard,
}

impl Functions {
    /// Checks the configuration, binds the port and starts to answer. Processes are started by the first calls.
    ///
    /// # Errors
    /// A wrong setting, a handler or its runtime that is not there, a port that cannot be bound.
    pub async fn start(config: FunctionsConfig) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let port = config.port;
        let runner = Arc::new(Runner::try_new(config, stop.clone())?);
        let listen = |source| StartError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        // The tasks hold the runner that tracks them: a circle that `stop` breaks.
        let service = invoke::Service {
            runner: Arc::clone(&runner),
        };
        runner.spawn(http::serve(listener, service));
        runner.spawn(runner::reap(Arc::clone(&runner)));
        Ok(Self {
            runner,
            address,
            _stop_at_drop: stop.clone().drop_guard(),
            stop,
        })
    }

    /// The base URL of the API, without a slash at its end.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What runs for each function, in order of configuration: its name, the handler's file and the program that runs it.
    #[must_use]
    pub fn handlers(&self) -> Vec<(&str, &Path, &Path)> {
        let functions = self.runner.functions().iter();
        let latest = functions.filter_map(|function| function.version(None));
        latest
            .map(|version| {
                let handler = &version.handler;
                (&*version.function, &*handler.file, &*handler.program)
            })
            .collect()
    }

    /// Events that wait, run, or will be tried again.
    #[must_use]
    pub fn waiting_events(&self) -> usize {
        self.runner.waiting_events()
    }

    /// Loads every version of every function, so that the first calls find running processes.
    ///
    /// # Errors
    /// The first function, in order of configuration, whose handler cannot be loaded.
    pub async fn warm_up(&self) -> Result<(), StartError> {
        self.runner.warm_up().await
    }

    /// Ends the endpoint, running calls and queued events, and waits until all processes are gone.
    pub async fn stop(self) {
        self.stop.cancel();
        self.runner.ended().await;
    }
}
