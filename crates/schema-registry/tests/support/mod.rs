//! A scripted HTTP server.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What the server does with its next request.
#[derive(Clone)]
pub(crate) enum Answer {
    Status(u16, &'static str),
    Header(u16, &'static str, &'static str),
    Close,
}

/// Answers in order, the last one for ever; keeps the heads of the requests.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<VecDeque<Answer>>> = Arc::new(Mutex::new(script.into_iter().collect()));
        let seen = Arc::clone(&requests);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                connections.spawn(async move {
                    let mut bytes = Vec::new();
                    loop {
                        let mut chunk = [0; 4096];
                        match stream.read(&mut chunk).await {
                            Ok(0) | Err(_) => return,
                            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                        }
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else {
                            continue;
                        };
                        let length = head
                            .lines()
                            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())
                            .unwrap_or(0);
                        if body.len() < length {
                            continue;
                        }
                        seen.lock().unwrap().push(format!("{head}\n\n{body}"));
                        bytes.clear();
                        let answer = {
                            let mut script = script.lock().unwrap();
                            if script.len() > 1 {
                                script.pop_front().unwrap()
                            } else {
                                script.front().cloned().unwrap()
                            }
                        };
                        let (status, header, body) = match answer {
                            Answer::Close => return,
                            Answer::Status(status, body) => (status, "", body),
                            Answer::Header(status, header, body) => (status, header, body),
                        };
                        let answer = format!(
                            "HTTP/1.1 {status} x\r\n{header}content-length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self {
            url,
            requests,
            _tasks: tasks,
        }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The values of a header, one for each request that has it.
    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        let prefix = format!("{name}: ");
        let value = |request: &String| {
            request
                .lines()
                .find_map(|line| line.strip_prefix(&prefix))
                .map(str::to_owned)
        };
        self.requests().iter().filter_map(value).collect()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        let path = |request: &String| request.split(' ').nth(1).unwrap().to_owned();
        self.requests().iter().map(path).collect()
    }
}
