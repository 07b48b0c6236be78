//! A JSON client for the worker's REST API.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

use crate::wait::LIMIT;

/// Calls one base URL.
#[derive(Clone, Debug)]
pub struct Rest {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body as text.
    pub text: String,
}

impl Reply {
    /// The body as JSON; null when it is empty or no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The body as JSON, if the status is the one expected.
    ///
    /// # Errors
    /// The status is another; the message holds the body.
    pub fn expect(&self, status: u16) -> anyhow::Result<Value> {
        ensure!(
            self.status == status,
            "expected status {status}, got {}: {}",
            self.status,
            self.text
        );
        Ok(self.json())
    }
}

impl Rest {
    /// A client for a base URL without a slash at its end.
    pub fn new(base: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// GET.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::GET, path, None).await
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// PUT with a JSON body.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// DELETE.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::DELETE, path, None).await
    }

    /// Any method, with a JSON body or none.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let bytes = body.map(|body| Bytes::from(body.to_string()));
        self.send_bytes(method, path, bytes).await
    }

    /// Any method, with exactly these bytes as its JSON body, or none.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn send_bytes(&self, method: Method, path: &str, body: Option<Bytes>) -> anyhow::Result<Reply> {
        let uri = format!("{}{path}", self.base);
        let what = format!("{method} {uri}");
        let mut request = Request::builder().method(method).uri(uri);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .with_context(|| what.clone())?;
        let answering = async {
            let (parts, body) = self.client.request(request).await?.into_parts();
            let bytes = body.collect().await?.to_bytes();
            anyhow::Ok(Reply {
                status: parts.status,
                text: String::from_utf8_lossy(&bytes).into_owned(),
            })
        };
        timeout(LIMIT, answering)
            .await
            .with_context(|| what.clone())?
            .context(what)
    }
}
