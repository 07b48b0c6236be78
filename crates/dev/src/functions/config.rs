//! What functions are started with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::happening::Watcher;

/// Settings of [`Functions`](super::Functions).
#[derive(Clone, Debug)]
pub struct FunctionsConfig {
    /// The folder from which handlers are named.
    pub root: PathBuf,
    /// The port on loopback; 0, the default, takes a free one.
    pub port: u16,
    /// The region in ARNs and in the functions' environment.
    pub region: String,
    /// The account in ARNs.
    pub account: String,
    /// Calls that run at once of all functions without reserved concurrency, and idle processes that are kept: 32 by
    /// default. Above it synchronous calls get a 429, as above an account's limit.
    pub concurrency: usize,
    /// An idle process ends after this time: 5 minutes by default.
    pub idle_timeout: Duration,
    /// Events (asynchronous calls) that wait or run at once: 10,000 by default. Above it they get a 429.
    pub queued_events: usize,
    /// Who is told what happens: nobody by default.
    pub watcher: Watcher,
    /// The functions.
    pub functions: Vec<FunctionConfig>,
}

impl FunctionsConfig {
    /// Settings with defaults and no function.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            port: 0,
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            concurrency: 32,
            idle_timeout: Duration::from_secs(5 * 60),
            queued_events: 10_000,
            watcher: Watcher::default(),
            functions: Vec::new(),
        }
    }
}

/// Settings of one function; the defaults are Lambda's own unless told otherwise.
#[derive(Clone, Debug)]
pub struct FunctionConfig {
    /// Its bare name.
    pub name: String,
    /// What runs: `file.py:handler`, `file.mjs:handler`, `module.handler` in Lambda's notation, or the path of an
    /// executable that was built with a Lambda runtime library.
    pub handler: String,
    /// Handlers that run instead if what runs those before is not there, such as `node`: `$LATEST` only.
    pub alternatives: Vec<String>,
    /// The program that runs a Python or Node handler; by default `python3` or `node` of the `PATH`.
    pub runtime: Option<String>,
    /// How long a call may take: 3 s.
    pub timeout: Duration,
    /// What the function is told about its memory: 128. Nothing is limited.
    pub memory_mb: u32,
    /// Environment variables beside those that the parent and Lambda give.
    pub environment: BTreeMap<String, String>,
    /// Calls that may run at once; 0 switches the function off.
    pub reserved_concurrency: Option<u32>,
    /// Published versions by number, each with a handler of its own.
    pub versions: BTreeMap<u32, String>,
    /// Names for versions: a number or `$LATEST`.
    pub aliases: BTreeMap<String, String>,
    /// Further attempts for an event whose function fails: 2.
    pub event_retries: u32,
    /// The wait before the first of them, doubling: 1 s here, where Lambda waits a minute.
    pub event_retry_delay: Duration,
    /// Events that are older are dropped: 6 hours.
    pub event_max_age: Duration,
}

impl FunctionConfig {
    /// Settings with defaults.
    pub fn new(name: impl Into<String>, handler: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            handler: handler.into(),
            alternatives: Vec::new(),
            runtime: None,
            timeout: Duration::from_secs(3),
            memory_mb: 128,
            environment: BTreeMap::new(),
            reserved_concurrency: None,
            versions: BTreeMap::new(),
            aliases: BTreeMap::new(),
            event_retries: 2,
            event_retry_delay: Duration::from_secs(1),
            event_max_age: Duration::from_secs(6 * 60 * 60),
        }
    }
}
