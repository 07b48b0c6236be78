//! An execution environment: one version of a function, one call at a time.
//!
//! A process that failed to load, timed out, ended, or holds old code is replaced at the next call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tokio::time::Instant;

use super::clock;
use super::function::Version;
use super::happening::{CallOutcome, Happening, Watcher};
use super::process::{Process, RESPONSE_LIMIT_BYTES, Told, exit_text};
use super::runtime_api::Work;

/// A call, as it reaches an environment.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) request_id: Arc<str>,
    /// As it was called: with the qualifier, if there was one.
    pub(super) arn: String,
    pub(super) payload: Bytes,
    pub(super) trace_id: String,
    /// The JSON of `X-Amz-Client-Context`, decoded.
    pub(super) client_context: Option<String>,
}

/// How a call ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: CallOutcome,
    /// `X-Amz-Function-Error`, if it is one.
    pub(super) error_kind: Option<&'static str>,
    pub(super) log_tail: Vec<u8>,
    pub(super) duration: Duration,
    pub(super) init: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Environment {
    version: Arc<Version>,
    process: Option<Process>,
}

impl Environment {
    pub(super) fn new(version: Arc<Version>) -> Self {
        Self { version, process: None }
    }

    pub(super) fn is_of(&self, version: &Arc<Version>) -> bool {
        Arc::ptr_eq(&self.version, version)
    }

    /// Loads the code as it is now, unless a process holds it already. What went wrong is a function error.
    pub(super) async fn load(&mut self, watcher: &Watcher) -> Result<(), Bytes> {
        let told = match self.fresh_process(watcher).await {
            Ok(process) => process.load().await.map(drop),
            Err(document) => return Err(document),
        };
        match told {
            Ok(()) => Ok(()),
            Err(told) => {
                self.end().await;
                Err(failure_to_load("", &told))
            }
        }
    }

    /// Runs one call.
    ///
    /// # Cancel safety
    /// Safe: the process ends with the environment.
    pub(super) async fn run(&mut self, request: &Request, watcher: &Watcher) -> Ended {
        let id = &*request.request_id;
        let version = Arc::clone(&self.version);
        let (log, began, init, told) = loop {
            let mut began = Instant::now();
            let process = match self.fresh_process(watcher).await {
                Ok(process) => process,
                Err(document) => {
                    return Ended {
                        outcome: CallOutcome::FunctionError(document),
                        error_kind: Some(UNHANDLED),
                        log_tail: Vec::new(),
                        duration: began.elapsed(),
                        init: None,
                    };
                }
            };
            let log = Arc::clone(&process.log);
            let loaded = process.load().await;
            log.catch_up();
            log.note(&format!("START RequestId: {id} Version: {}", version.number));
            match loaded {
                Ok(init) => {
                    began = Instant::now();
                    let work = work(request, version.timeout);
                    match process.work(id, work, began + version.timeout).await {
                        // It was there from the call before, and on its way out: a new one takes the call.
                        Told::EndedBefore(_) if init.is_none() => self.end().await,
                        told => break (log, began, init, Ok(told)),
                    }
                }
                Err(told) => break (log, began, None, Err(told)),
            }
        };
        let duration = began.elapsed();
        log.catch_up();
        let memory_mb = self.process.as_ref().and_then(Process::max_memory_mb);

        let (outcome, error_kind, status) = match &told {
            Ok(Told::Answer(body)) => (CallOutcome::Success(body.clone()), None, None),
            Ok(Told::Error { kind, body }) => {
                let kind = match kind.as_deref() {
                    Some("Handled") => "Handled",
                    _ => UNHANDLED,
                };
                let body = if body.is_empty() {
                    document("Runtime.Unknown", "Unknown")
                } else {
                    body.clone()
                };
                (CallOutcome::FunctionError(body), Some(kind), None)
            }
            Ok(Told::TooLarge) => {
                let text = format!(
                    "Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT_BYTES} bytes)."
                );
                let document = document("Function.ResponseSizeTooLarge", &text);
                (CallOutcome::FunctionError(document), Some(UNHANDLED), None)
            }
            Ok(Told::TimedOut) => {
                let text = timeout_text(version.timeout);
                log.note(&format!("{} {id} {text}", clock::timestamp()));
                let document = document("Sandbox.Timedout", &format!("RequestId: {id} Error: {text}"));
                (CallOutcome::FunctionError(document), Some(UNHANDLED), Some("timeout"))
            }
            Ok(Told::Exited(status) | Told::EndedBefore(status)) => {
                let text = format!("RequestId: {id} Error: {}", exit_text(*status));
                log.note(&text);
                let document = document("Runtime.ExitError", &text);
                (CallOutcome::FunctionError(document), Some(UNHANDLED), Some("error"))
            }
            Err(told) => (
                CallOutcome::FunctionError(failure_to_load(id, told)),
                Some(UNHANDLED),
                Some("error"),
            ),
        };
        log.note(&format!("END RequestId: {id}"));
        log.note(&report(id, &version, duration, init, memory_mb, status));
        let log_tail = log.end_call();
        // An answer and an error of the handler leave the process as it was.
        if !matches!(told, Ok(Told::Answer(_) | Told::Error { .. } | Told::TooLarge)) {
            self.end().await;
        }
        Ended {
            outcome,
            error_kind,
            log_tail,
            duration,
            init,
        }
    }

    /// The process with the code as it is now.
    async fn fresh_process(&mut self, watcher: &Watcher) -> Result<&mut Process, Bytes> {
        let fingerprint = self.version.code.fingerprint().await;
        if let Some(mut process) = self.process.take() {
            let is_current = process.fingerprint == fingerprint;
            if is_current && process.is_alive() {
                return Ok(self.process.insert(process));
            }
            if !is_current {
                let function = Arc::clone(&self.version.function);
                watcher.tell(&Happening::Reloaded { function });
            }
            process.end().await;
        }
        match Process::start(&self.version, fingerprint, watcher).await {
            Ok(process) => Ok(self.process.insert(process)),
            Err(err) => Err(document(
                "Runtime.InvalidEntrypoint",
                &format!("{} cannot be started: {err}", self.version.handler.program.display()),
            )),
        }
    }

    /// Ends the process, if there is one.
    pub(super) async fn end(&mut self) {
        if let Some(process) = self.process.take() {
            process.end().await;
        }
    }
}

const UNHANDLED: &str = "Unhandled";

fn document(kind: &str, message: &str) -> Bytes {
    json!({"errorType": kind, "errorMessage": message}).to_string().into()
}

fn timeout_text(timeout: Duration) -> String {
    format!("Task timed out after {:.2} seconds", timeout.as_secs_f64())
}

fn failure_to_load(request_id: &str, told: &Told) -> Bytes {
    let text = |text: &str| {
        if request_id.is_empty() {
            text.to_owned()
        } else {
            format!("RequestId: {request_id} Error: {text}")
        }
    };
    match told {
        Told::Error { body, .. } if !body.is_empty() => body.clone(),
        Told::Exited(status) | Told::EndedBefore(status) => document("Runtime.ExitError", &text(&exit_text(*status))),
        Told::TimedOut => document(
            "Sandbox.Timedout",
            &text("the handler was not loaded within 10.00 seconds"),
        ),
        Told::Answer(_) | Told::Error { .. } | Told::TooLarge => document("Runtime.Unknown", &text("Unknown")),
    }
}

fn work(request: &Request, timeout: Duration) -> Work {
    let deadline_ms = (clock::now() + timeout).as_millis();
    let texts = [
        ("lambda-runtime-aws-request-id", Some(request.request_id.to_string())),
        ("lambda-runtime-deadline-ms", Some(deadline_ms.to_string())),
        ("lambda-runtime-invoked-function-arn", Some(request.arn.clone())),
        ("lambda-runtime-trace-id", Some(request.trace_id.clone())),
        ("lambda-runtime-client-context", request.client_context.clone()),
        ("content-type", Some("application/json".to_owned())),
    ];
    let mut headers = HeaderMap::new();
    for (name, text) in texts {
        // The texts are ours, or were checked where they came in.
        if let Some(text) = text
            && let Ok(value) = HeaderValue::from_str(&text)
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Work {
        headers,
        payload: request.payload.clone(),
    }
}

/// The REPORT line. As since August 2025, loading is billed.
fn report(
    id: &str,
    version: &Version,
    duration: Duration,
    init: Option<Duration>,
    memory_mb: Option<u64>,
    status: Option<&str>,
) -> String {
    let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    let billed = (duration + init.unwrap_or_default()).as_micros().div_ceil(1_000);
    let mut line = format!(
        "REPORT RequestId: {id}\tDuration: {:.2} ms\tBilled Duration: {billed} ms\tMemory Size: {} MB\t",
        ms(duration),
        version.memory_mb
    );
    if let Some(memory_mb) = memory_mb {
        line += &format!("Max Memory Used: {memory_mb} MB\t");
    }
    if let Some(init) = init {
        line += &format!("Init Duration: {:.2} ms\t", ms(init));
    }
    if let Some(status) = status {
        line += &format!("Status: {status}\t");
    }
    line
}
