//! Functions on this machine, called over a plain hyper connection; the handlers are real processes.
#![allow(clippy::unwrap_used, reason = "test code")]

mod api;
mod handlers;
mod processes;

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use klamm_dev::functions::{FunctionConfig, Functions, FunctionsConfig, Happening, Watcher};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The longest that a test waits for a state.
const LIMIT: Duration = Duration::from_secs(30);

/// Functions with a folder of their own for their code.
struct World {
    folder: TempDir,
    functions: Functions,
    happenings: mpsc::Receiver<Happening>,
}

/// Starts functions over these files, settled by `settle`.
async fn world(files: &[(&str, &str)], settle: impl FnOnce(&mut FunctionsConfig)) -> World {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut config = FunctionsConfig::new(folder.path());
    settle(&mut config);
    let (watcher, happenings) = watcher();
    config.watcher = watcher;
    let functions = Functions::start(config).await.unwrap();
    World {
        folder,
        functions,
        happenings,
    }
}

/// What happens, as a queue that has room for all of a test.
fn watcher() -> (Watcher, mpsc::Receiver<Happening>) {
    let (told, happenings) = mpsc::channel(10_000);
    let watcher = Watcher::new(move |happening| {
        // A test that has ended listens no more.
        drop(told.try_send(happening.clone()));
    });
    (watcher, happenings)
}

/// One function `f` from one Python file.
async fn python(code: &str, settle: impl FnOnce(&mut FunctionConfig)) -> World {
    world(&[("app.py", code)], |config| {
        let mut function = FunctionConfig::new("f", "app.py:handler");
        // A cold start of an interpreter on a busy machine is not what is tested.
        function.timeout = Duration::from_secs(20);
        settle(&mut function);
        config.functions.push(function);
    })
    .await
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {:?}", self.body))
    }

    /// The answer of a call that worked.
    fn success(&self) -> Value {
        assert_eq!(
            (self.status, self.header("x-amz-function-error")),
            (StatusCode::OK, None),
            "{:?}",
            self.body
        );
        self.json()
    }

    /// `errorType` and `errorMessage` of a function error.
    fn function_error(&self) -> (String, String) {
        assert_eq!(
            self.header("x-amz-function-error"),
            Some("Unhandled"),
            "{:?}",
            self.body
        );
        let document = self.json();
        let text = |name: &str| document[name].as_str().unwrap().to_owned();
        (text("errorType"), text("errorMessage"))
    }

    fn log(&self) -> String {
        let tail = self.header("x-amz-log-result").unwrap();
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(tail).unwrap()).unwrap()
    }
}

struct Call {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

fn call(function: &str) -> Call {
    Call {
        method: Method::POST,
        path: format!("/2015-03-31/functions/{function}/invocations"),
        headers: vec![("host", "localhost".to_owned())],
        body: Bytes::new(),
    }
}

fn get(path: &str) -> Call {
    Call {
        method: Method::GET,
        path: format!("/2015-03-31/functions/{path}"),
        ..call("")
    }
}

impl Call {
    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    async fn send(self, functions: &Functions) -> Reply {
        let address = functions.address();
        let sending = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            let mut driver = JoinSet::new();
            driver.spawn(connection);
            let mut request = Request::builder().method(self.method).uri(self.path);
            for (name, value) in self.headers {
                request = request.header(name, value);
            }
            let response = sender
                .send_request(request.body(Full::new(self.body)).unwrap())
                .await
                .unwrap();
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Reply {
                status: parts.status,
                headers: parts.headers,
                body,
            }
        };
        tokio::time::timeout(LIMIT, sending).await.expect("an answer in time")
    }
}

/// Waits for a happening that `wanted` makes something of.
async fn told<T>(happenings: &mut mpsc::Receiver<Happening>, mut wanted: impl FnMut(&Happening) -> Option<T>) -> T {
    let waiting = async {
        loop {
            let happening = happenings.recv().await.unwrap();
            if let Some(found) = wanted(&happening) {
                return found;
            }
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("it happens in time")
}

/// Waits until a file holds something, and returns it.
async fn written(path: &Path) -> String {
    let waiting = async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .expect("it is written in time")
}
