//! AWS Glue Schema Registry: the schema of a version id, by signed requests to Glue's API.

mod config;
mod credentials;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request};
use klamm_connect_api::BoxFuture;
use serde::Deserialize;

pub(crate) use self::config::Settings;
pub use self::config::config_keys;
use self::credentials::Credentials;
use crate::config::Retries;
use crate::error::RegistryError;
use crate::http_client::{Answer, HttpClient};
use crate::registry::Backend;
use crate::rest::AGENT;
use crate::schema::{Document, Lookup, SchemaType};

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const OPERATION: HeaderValue = HeaderValue::from_static("AWSGlue.GetSchemaVersion");
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
/// Characters of Glue's message that are shown.
const MESSAGE_CHARS: usize = 300;
const SETTINGS: &str = "`region` and `endpoint`";

/// The client of Glue's registries in one region.
#[derive(Debug)]
pub(crate) struct GlueClient {
    /// Without a slash at its end.
    endpoint: String,
    region: String,
    credentials: Credentials,
    http: Arc<HttpClient>,
    retries: Retries,
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Passes: a throttle, an outage.
    Busy,
    /// Credentials that Glue does not accept: others may do.
    Credentials,
    /// Credentials that may not do it.
    Permission,
    /// Anything else: no such version, above all.
    Request,
}

impl Refusal {
    /// By the error's type, which says more than the status: Glue has 400 for nearly everything.
    fn of(error_type: &str, answer: &Answer) -> Self {
        match error_type {
            "ThrottlingException"
            | "Throttling"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "ServiceUnavailableException"
            | "InternalServiceException"
            | "InternalFailure"
            | "OperationTimeoutException" => Self::Busy,
            "UnrecognizedClientException"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignatureException"
            | "MissingAuthenticationTokenException" => Self::Credentials,
            "AccessDeniedException" | "AccessDenied" => Self::Permission,
            _ if answer.is_retriable() => Self::Busy,
            _ if matches!(answer.status, 401 | 403) => Self::Permission,
            // Not Glue's: an endpoint or a proxy that leads elsewhere.
            "" if answer.status == 404 => Self::Busy,
            _ => Self::Request,
        }
    }
}

impl GlueClient {
    pub(crate) fn new(settings: Settings) -> Self {
        let http = Arc::new(HttpClient::new(settings.http));
        Self {
            credentials: Credentials::new(settings.credentials, &settings.region, &http),
            endpoint: settings.endpoint,
            region: settings.region,
            http,
            retries: settings.retries,
        }
    }

    async fn ask(&self, what: &str, body: &Bytes) -> Result<SchemaVersion, RegistryError> {
        let mut is_first = true;
        loop {
            let identity = self.credentials.identity().await?;
            let request = self
                .request(&identity, body)
                .map_err(|reason| self.no_answer(what, reason))?;
            let answer = self
                .http
                .send(request)
                .await
                .map_err(|reason| RegistryError::Unreachable {
                    url: self.endpoint.clone(),
                    reason,
                })?;
            if answer.status == 200 {
                return serde_json::from_slice(&answer.body).map_err(|error| {
                    // Serde's text would hold pieces of the answer.
                    let (line, column) = (error.line(), error.column());
                    self.no_answer(
                        what,
                        format!("no JSON of a schema version, line {line} column {column}"),
                    )
                });
            }
            let (error_type, message) = problem(&answer.body);
            let refusal = Refusal::of(&error_type, &answer);
            if refusal == Refusal::Credentials && is_first && self.credentials.refuse(&identity).await {
                is_first = false;
                continue;
            }
            return Err(self.failure(refusal, what, &answer, message));
        }
    }

    fn request(
        &self,
        identity: &aws_smithy_runtime_api::client::identity::Identity,
        body: &Bytes,
    ) -> Result<Request<Bytes>, String> {
        let mut request = Request::new(body.clone());
        *request.method_mut() = Method::POST;
        let uri = format!("{}/", self.endpoint);
        *request.uri_mut() = uri
            .parse()
            .map_err(|error| format!("it cannot be asked for: {error}"))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, MEDIA_TYPE);
        headers.insert(TARGET, OPERATION);
        sign::sign(identity, &self.region, &uri, headers, body)?;
        // Proxies may change it, so it is not signed.
        headers.insert(USER_AGENT, AGENT);
        Ok(request)
    }

    fn no_answer(&self, what: &str, reason: String) -> RegistryError {
        RegistryError::Answer {
            url: self.endpoint.clone(),
            what: what.to_owned(),
            reason,
            settings: SETTINGS,
        }
    }

    fn failure(&self, refusal: Refusal, what: &str, answer: &Answer, message: String) -> RegistryError {
        let (url, what, status) = (self.endpoint.clone(), what.to_owned(), answer.status);
        match refusal {
            Refusal::Busy => RegistryError::Unavailable {
                url,
                what,
                status,
                answer: message,
                retry_after: answer.retry_after,
            },
            Refusal::Credentials | Refusal::Permission => RegistryError::Refused {
                url,
                what,
                status,
                principal: format!("with {}", self.credentials.principal()),
                check: if refusal == Refusal::Credentials {
                    "that these credentials exist, have not expired, and that the clock of this machine is right"
                } else {
                    "that this principal's policies allow `glue:GetSchemaVersion`, which takes the resource `*`"
                },
                answer: message,
            },
            Refusal::Request => RegistryError::NotFound {
                url,
                what,
                status,
                code: None,
                answer: message,
                check: "`region` (or `endpoint`), that the credentials are of the account whose registry the producer \
                        uses (or set `assumeRoleArn`), and that the version was not deleted",
            },
        }
    }
}

impl Backend for GlueClient {
    fn document<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Document, RegistryError>> {
        Box::pin(async move {
            let what = lookup.to_string();
            let Lookup::VersionId(id) = lookup else {
                return Err(self.no_answer(&what, "AWS Glue has schemas by version id only".to_owned()));
            };
            let body = Bytes::from(format!(r#"{{"SchemaVersionId":"{id}"}}"#));
            let answer = self.retries.run(|| Box::pin(self.ask(&what, &body))).await?;
            let Some(schema_type) = SchemaType::of(Some(&answer.data_format)) else {
                let reason = "its data format is none of AVRO, JSON and PROTOBUF".to_owned();
                return Err(self.no_answer(&what, reason));
            };
            Ok(Document {
                id: None,
                subject: None,
                version: answer.version_number,
                schema_type,
                text: answer.schema_definition,
                references: Vec::new(),
            })
        })
    }

    fn version<'a>(
        &'a self,
        _subject: &'a str,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Option<i32>, RegistryError>> {
        Box::pin(async move { Ok(document.version) })
    }

    fn failure_holds(&self) -> Duration {
        self.retries.wait
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SchemaVersion {
    schema_definition: String,
    data_format: String,
    version_number: Option<i32>,
}

/// The type of an error, and what Glue says, cut to a length that fits into a status.
fn problem(body: &[u8]) -> (String, String) {
    #[derive(Deserialize)]
    struct Problem {
        #[serde(rename = "__type")]
        error_type: String,
        message: Option<String>,
        #[serde(rename = "Message")]
        capital_message: Option<String>,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => {
            // `com.amazonaws.glue#EntityNotFoundException`
            let name = problem.error_type.rsplit('#').next().unwrap_or_default().to_owned();
            let message = problem.message.or(problem.capital_message).unwrap_or_default();
            let text = format!("{name}: {message}").chars().take(MESSAGE_CHARS).collect();
            (name, text)
        }
        Err(_) => (String::new(), "nothing that AWS says".to_owned()),
    }
}
