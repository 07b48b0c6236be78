//! The REST API of a worker, as a client sees it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use clap::Args;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::time::timeout;

/// Until a connection stands; a person waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer for many thousand connectors stays far below.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// What stays readable in a path's segment; everything else is escaped, `/` and `%` too.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where the worker is, and how to get in.
#[derive(Args, Clone)]
pub(crate) struct ApiArgs {
    /// REST API of a worker; of several the first that can be reached is asked
    #[arg(
        long,
        global = true,
        env = "KLAMM_URL",
        value_name = "URL,...",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8083",
        hide_env_values = true
    )]
    url: Vec<String>,
    /// Who asks, for basic authentication; better by the environment, where no list of processes shows it
    #[arg(
        long,
        global = true,
        env = "KLAMM_USER",
        value_name = "NAME:PASSWORD",
        hide_env_values = true,
        conflicts_with = "token"
    )]
    user: Option<String>,
    /// The bearer token of who asks; better by the environment
    #[arg(
        long,
        global = true,
        env = "KLAMM_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// Certificates in PEM that vouch for the worker, instead of the system's
    #[arg(
        long,
        global = true,
        env = "KLAMM_CACERT",
        value_name = "FILE",
        hide_env_values = true
    )]
    cacert: Option<PathBuf>,
    /// The client's own certificate and key in PEM, for workers that ask for one
    #[arg(long, global = true, env = "KLAMM_CERT", value_name = "FILE", hide_env_values = true)]
    cert: Option<PathBuf>,
    /// Seconds until an answer must be there
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 95)]
    timeout: u64,
    /// JSON for scripts instead of tables
    #[arg(long, global = true)]
    json: bool,
}

impl fmt::Debug for ApiArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiArgs").finish_non_exhaustive()
    }
}

/// A request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No worker took the request.
    #[error("no worker can be reached: {0}: start one, or name another with --url or KLAMM_URL")]
    Unreachable(String),
    /// The worker took it and did not answer.
    #[error("{method} {path}: {what}: look with `klamm connectors status` whether it was done")]
    NoAnswer { method: Method, path: String, what: String },
    /// The worker answered that it cannot be done.
    #[error("{message} ({method} {path}: {status}){advice}")]
    Refused {
        method: Method,
        path: String,
        status: StatusCode,
        message: String,
        advice: &'static str,
    },
}

impl ApiError {
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable(_) | Self::NoAnswer { .. } => None,
        }
    }
}

/// A client of one worker or several of a cluster.
pub(crate) struct Api {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    urls: Vec<Uri>,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    /// Whether answers are for scripts.
    pub(crate) is_json: bool,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// A path of the API from its segments.
pub(crate) fn path(segments: &[&str]) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        path.extend(utf8_percent_encode(segment, SEGMENT));
    }
    path
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().map_err(|error| anyhow::anyhow!("{error}"));
    let certificates = certificates.with_context(|| format!("certificates cannot be read from {}", path.display()))?;
    if certificates.is_empty() {
        bail!("{} holds no certificate in PEM", path.display());
    }
    Ok(certificates)
}

impl ApiArgs {
    /// Another server than the one that the command line names.
    pub(super) fn of(url: &str, user: Option<String>) -> Self {
        Self {
            url: vec![url.to_owned()],
            user,
            token: None,
            cacert: None,
            cert: None,
            timeout: 95,
            json: false,
        }
    }

    /// # Errors
    /// An address, certificate or credential that cannot be used.
    pub(crate) fn connect(&self) -> anyhow::Result<Api> {
        let urls = self.url.iter().map(|url| base(url)).collect::<anyhow::Result<_>>()?;
        let authorization = match (&self.user, &self.token) {
            (Some(user), _) if !user.contains(':') => bail!("--user (or KLAMM_USER) is NAME:PASSWORD"),
            (Some(user), _) => Some(format!("Basic {}", BASE64.encode(user))),
            (None, Some(token)) => Some(format!("Bearer {}", token.trim())),
            (None, None) => None,
        };
        let authorization = authorization
            .map(|text| {
                let mut value =
                    HeaderValue::try_from(text).context("the token has characters that no header can hold")?;
                value.set_sensitive(true);
                anyhow::Ok(value)
            })
            .transpose()?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(self.tls()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Api {
            client: Client::builder(TokioExecutor::new()).build(https),
            urls,
            authorization,
            timeout: Duration::from_secs(self.timeout),
            is_json: self.json,
        })
    }

    fn tls(&self) -> anyhow::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &self.cacert {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .with_context(|| format!("a certificate of {} cannot be used", path.display()))?;
                }
            }
            None => {
                // Those of the system that cannot be read are none; without any, TLS fails and says so.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_root_certificates(roots);
        let Some(path) = &self.cert else {
            return Ok(builder.with_no_client_auth());
        };
        let key = PrivateKeyDer::from_pem_file(path).map_err(|error| anyhow::anyhow!("{error}"));
        let key = key.with_context(|| format!("no private key can be read from {}", path.display()))?;
        builder
            .with_client_auth_cert(certificates(path)?, key)
            .with_context(|| format!("certificate and key of {} do not go together", path.display()))
    }
}

/// `host:port` is enough; a path before the API's own stays, such as behind a proxy.
fn base(url: &str) -> anyhow::Result<Uri> {
    let url = url.trim().trim_end_matches('/');
    let with_scheme = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let uri: Uri = with_scheme
        .parse()
        .with_context(|| format!("`{url}` is no address such as https://host:8083"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        bail!("`{url}` is no address such as https://host:8083");
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        bail!("an address holds no credentials: use KLAMM_USER or KLAMM_TOKEN");
    }
    Ok(uri)
}

impl Api {
    /// # Errors
    /// As [`Api::send`].
    pub(crate) async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.send(Method::GET, path, None).await
    }

    /// What is there, or nothing for 404.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Value>, ApiError> {
        match self.get(path).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request; an empty answer is null.
    ///
    /// # Errors
    /// No worker took it, or none answered in time, or the answer is not of the kind 2xx.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let mut unreachable = Vec::new();
        for url in &self.urls {
            let no_answer = |what: String| ApiError::NoAnswer {
                method: method.clone(),
                path: path.to_owned(),
                what,
            };
            let request = self
                .request(url, &method, path, body)
                .map_err(|error| no_answer(format!("{error:#}")))?;
            let answer = match timeout(self.timeout, self.client.request(request)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) if error.is_connect() => {
                    unreachable.push(format!("{url}: {}", klamm_aws::chain(&error)));
                    continue;
                }
                Ok(Err(error)) => return Err(no_answer(klamm_aws::chain(&error))),
                Err(_) => return Err(no_answer(format!("no answer within {} s", self.timeout.as_secs()))),
            };
            let status = answer.status();
            let reading = timeout(self.timeout, Limited::new(answer.into_body(), ANSWER_BYTES).collect());
            let body = match reading.await {
                Ok(Ok(body)) => body.to_bytes(),
                Ok(Err(error)) => return Err(no_answer(format!("the answer broke off: {error}"))),
                Err(_) => {
                    return Err(no_answer(format!(
                        "no whole answer within {} s",
                        self.timeout.as_secs()
                    )));
                }
            };
            if !status.is_success() {
                return Err(refusal(method, path, status, &body));
            }
            if body.is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&body)
                .map_err(|error| no_answer(format!("{url} answers with no JSON, so it is no worker ({error})")));
        }
        Err(ApiError::Unreachable(unreachable.join("; ")))
    }

    fn request(
        &self,
        url: &Uri,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let uri: Uri = format!("{}{path}", url.to_string().trim_end_matches('/')).parse()?;
        let host = uri.authority().context("the address has no host")?.as_str().to_owned();
        let mut request = Request::builder()
            .method(method.clone())
            .uri(uri)
            .header(HOST, host)
            .header(ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(serde_json::to_vec(body)?)
            }
            None => Bytes::new(),
        };
        Ok(request.body(Full::new(body))?)
    }
}

fn refusal(method: Method, path: &str, status: StatusCode, body: &[u8]) -> ApiError {
    let message = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|body| Some(body.get("message")?.as_str()?.to_owned()))
        .unwrap_or_else(|| "the worker gives no reason".to_owned());
    let advice = match status {
        StatusCode::UNAUTHORIZED => ": say who asks with KLAMM_USER or KLAMM_TOKEN",
        _ => "",
    };
    ApiError::Refused {
        method,
        path: path.to_owned(),
        status,
        message,
        advice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_kind_are_one_segment() {
        assert_eq!(path(&["connectors", "a/b %c.ä"]), "/connectors/a%2Fb%20%25c.%C3%A4");
    }

    #[test]
    fn addresses_are_short_or_whole_and_hold_no_credentials() {
        let cases = [
            ("localhost:8083", Ok("http://localhost:8083/")),
            ("https://k.example/connect/", Ok("https://k.example/connect")),
            ("ftp://x", Err("`ftp://x` is no address such as https://host:8083")),
            (
                "http://me:secret@host",
                Err("an address holds no credentials: use KLAMM_USER or KLAMM_TOKEN"),
            ),
        ];
        for (url, wanted) in cases {
            let found = base(url).map(|uri| uri.to_string()).map_err(|error| error.to_string());
            assert_eq!(found, wanted.map(str::to_owned).map_err(str::to_owned), "{url}");
        }
    }
}
