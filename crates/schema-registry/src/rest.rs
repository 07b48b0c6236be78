//! Confluent's REST API: requests that go to the next URL when one does not answer, and are tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use klamm_connect_api::BoxFuture;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::auth::Authenticator;
use crate::config::{Retries, Settings};
use crate::error::RegistryError;
use crate::http_client::{Answer, HttpClient};
use crate::registry::Backend;
use crate::schema::{Document, Lookup, Reference, SchemaType};

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.schemaregistry.v1+json");
pub(crate) const AGENT: HeaderValue = HeaderValue::from_static(concat!("klamm/", env!("CARGO_PKG_VERSION")));
/// Characters of a registry's message that are shown.
const MESSAGE_CHARS: usize = 300;
const SETTINGS: &str = "`schema.registry.url`";
/// Codes of the registry: no such subject, no such version, no such schema.
const NOT_THERE: [i64; 3] = [40401, 40402, 40403];
/// What RFC 3986 lets stand in a part of a path or query.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `text` as a part of a path, a query or a form.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The client of one registry.
#[derive(Debug)]
pub(crate) struct RestClient {
    urls: Vec<String>,
    /// Index of the URL that answered last.
    answers: AtomicUsize,
    context: String,
    authenticator: Authenticator,
    headers: HeaderMap,
    http: HttpClient,
    retries: Retries,
}

impl RestClient {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            urls: settings.urls,
            answers: AtomicUsize::new(0),
            context: settings.context.unwrap_or_default(),
            authenticator: Authenticator::new(settings.authentication),
            headers: settings.headers,
            http: HttpClient::new(settings.http),
            retries: settings.retries,
        }
    }

    /// The answer of the first URL that has one. What may pass is tried again, all URLs each time.
    async fn ask(
        &self,
        what: &str,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<(usize, Bytes), RegistryError> {
        self.retries
            .run(|| Box::pin(self.ask_all(what, method, path, body)))
            .await
    }

    async fn ask_all(
        &self,
        what: &str,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<(usize, Bytes), RegistryError> {
        let first = self.answers.load(Ordering::Relaxed);
        let mut failure = None;
        for offset in 0..self.urls.len() {
            let index = (first + offset) % self.urls.len();
            match self.ask_one(index, what, method, path, body).await {
                Ok(body) => {
                    self.answers.store(index, Ordering::Relaxed);
                    return Ok((index, body));
                }
                Err(error) if error.is_retriable() => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(failure.unwrap_or_else(|| RegistryError::Unreachable {
            url: String::new(),
            reason: "no URL is configured".to_owned(),
        }))
    }

    async fn ask_one(
        &self,
        index: usize,
        what: &str,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<Bytes, RegistryError> {
        let url = self.url(index);
        let uri = format!("{url}{}{path}", self.context);
        let mut is_first = true;
        loop {
            let authorization = self.authenticator.header(&self.http).await?;
            let mut request = Request::new(body.clone());
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.parse().map_err(|error| RegistryError::Answer {
                url: url.clone(),
                what: what.to_owned(),
                reason: format!("it cannot be asked for: {error}"),
                settings: SETTINGS,
            })?;
            let headers = request.headers_mut();
            headers.clone_from(&self.headers);
            headers.insert(ACCEPT, MEDIA_TYPE);
            headers.insert(CONTENT_TYPE, MEDIA_TYPE);
            headers.insert(USER_AGENT, AGENT);
            if let Some(value) = &authorization {
                headers.insert(AUTHORIZATION, value.clone());
            }
            let answer = match self.http.send(request).await {
                Ok(answer) => answer,
                Err(reason) => return Err(RegistryError::Unreachable { url, reason }),
            };
            if answer.status == 200 {
                return Ok(answer.body);
            }
            let may_ask_again = answer.status == 401 && is_first;
            if may_ask_again && self.authenticator.refused(authorization.as_ref()).await {
                is_first = false;
                continue;
            }
            return Err(self.failure(url, what, &answer));
        }
    }

    fn url(&self, index: usize) -> String {
        self.urls.get(index).cloned().unwrap_or_default()
    }

    fn failure(&self, url: String, what: &str, answer: &Answer) -> RegistryError {
        let (what, status) = (what.to_owned(), answer.status);
        let problem = Problem::of(&answer.body);
        let code = problem.as_ref().and_then(|problem| problem.error_code);
        let text = problem.map_or_else(
            || "nothing that a schema registry says".to_owned(),
            |problem| problem.text(),
        );
        // A registry that does not know something says so with a code of its own, such as 40403. Without one, or with
        // 404, which it has for paths that it does not serve, nobody has looked: to take that for "there is no such
        // schema" would give records up that can be read once the gateway finds its registry again.
        let is_of_registry = code.is_some_and(|code| (40_400..40_500).contains(&code));
        let is_of_gateway = status == 404 && !is_of_registry;
        if answer.is_retriable() || is_of_gateway {
            return RegistryError::Unavailable {
                url,
                what,
                status,
                answer: if is_of_gateway {
                    format!("{text}, so {SETTINGS} may lead elsewhere")
                } else {
                    text
                },
                retry_after: answer.retry_after,
            };
        }
        match status {
            401 | 403 => RegistryError::Refused {
                url,
                what,
                status,
                principal: self.authenticator.principal(),
                check: self.authenticator.check(),
                answer: text,
            },
            400..=499 => RegistryError::NotFound {
                url,
                what,
                status,
                code,
                answer: text,
                check: "`schema.registry.url` and `schema.context`, and that the producer registers its schemas in this \
                        registry",
            },
            _ => RegistryError::Answer {
                url,
                what,
                reason: format!("status {status}"),
                settings: SETTINGS,
            },
        }
    }

    async fn read<T: for<'a> Deserialize<'a>>(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, RegistryError> {
        let (index, body) = self.ask(what, &method, path, &body).await?;
        serde_json::from_slice(&body).map_err(|error| RegistryError::Answer {
            url: self.url(index),
            what: what.to_owned(),
            // Serde's text would hold pieces of the answer.
            reason: format!("no JSON of a schema, line {} column {}", error.line(), error.column()),
            settings: SETTINGS,
        })
    }
}

impl Backend for RestClient {
    fn document<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Document, RegistryError>> {
        Box::pin(async move {
            let what = lookup.to_string();
            let path = match lookup {
                Lookup::Id { id, subject: None } => format!("/schemas/ids/{id}"),
                Lookup::Id {
                    id,
                    subject: Some(subject),
                } => format!("/schemas/ids/{id}?subject={}", encoded(subject)),
                Lookup::Guid(guid) => format!("/schemas/guids/{guid}"),
                Lookup::Version { subject, version } => format!("/subjects/{}/versions/{version}", encoded(subject)),
                Lookup::Latest { subject } => format!("/subjects/{}/versions/latest", encoded(subject)),
                Lookup::LatestWith { subject, metadata } => {
                    let mut path = format!("/subjects/{}/metadata", encoded(subject));
                    for (index, (name, value)) in metadata.iter().enumerate() {
                        let sign = if index == 0 { '?' } else { '&' };
                        path.push_str(&format!("{sign}key={}&value={}", encoded(name), encoded(value)));
                    }
                    path
                }
                Lookup::VersionId(_) => {
                    return Err(RegistryError::Answer {
                        url: self.url(0),
                        what,
                        reason: "only AWS Glue has schemas by version id".to_owned(),
                        settings: SETTINGS,
                    });
                }
            };
            let answer: SchemaAnswer = self.read(&what, Method::GET, &path, Bytes::new()).await?;
            let Some(schema_type) = SchemaType::of(answer.schema_type.as_deref()) else {
                return Err(RegistryError::Answer {
                    url: self.url(self.answers.load(Ordering::Relaxed)),
                    what,
                    reason: "its schema type is none of AVRO, JSON and PROTOBUF".to_owned(),
                    settings: SETTINGS,
                });
            };
            let (asked, subject) = match lookup {
                Lookup::Id { id, subject } => (Some(*id), subject.clone()),
                Lookup::Guid(_)
                | Lookup::VersionId(_)
                | Lookup::Version { .. }
                | Lookup::Latest { .. }
                | Lookup::LatestWith { .. } => (None, None),
            };
            Ok(Document {
                id: asked.or(answer.id),
                subject: answer.subject.map(Arc::from).or(subject),
                version: answer.version,
                schema_type,
                text: answer.schema,
                references: answer
                    .references
                    .unwrap_or_default()
                    .into_iter()
                    .map(Into::into)
                    .collect(),
            })
        })
    }

    fn version<'a>(
        &'a self,
        subject: &'a str,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Option<i32>, RegistryError>> {
        Box::pin(async move {
            let what = format!("the version of a schema in subject {subject}");
            let schema_type = document.schema_type.to_string();
            let body = VersionRequest {
                schema: &document.text,
                schema_type: &schema_type,
                references: document.references.iter().map(Into::into).collect(),
            };
            let body = serde_json::to_vec(&body).map_err(|error| RegistryError::Answer {
                url: self.url(0),
                what: what.clone(),
                reason: error.to_string(),
                settings: SETTINGS,
            })?;
            let path = format!("/subjects/{}", encoded(subject));
            let answer: Result<SchemaVersion, _> = self.read(&what, Method::POST, &path, Bytes::from(body)).await;
            match answer {
                Ok(answer) => Ok(answer.version),
                Err(RegistryError::NotFound { code: Some(code), .. }) if NOT_THERE.contains(&code) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn failure_holds(&self) -> Duration {
        self.retries.wait
    }
}

/// What the registry says in an error.
#[derive(Deserialize)]
struct Problem {
    error_code: Option<i64>,
    message: String,
}

impl Problem {
    fn of(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Cut to a length that fits into a status.
    fn text(&self) -> String {
        let mut text: String = self.message.chars().take(MESSAGE_CHARS).collect();
        if let Some(code) = self.error_code {
            text.push_str(&format!(" (error code {code})"));
        }
        text
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaAnswer {
    schema: String,
    schema_type: Option<String>,
    id: Option<i32>,
    subject: Option<String>,
    version: Option<i32>,
    references: Option<Vec<ReferenceAnswer>>,
}

#[derive(Deserialize)]
struct SchemaVersion {
    version: Option<i32>,
}

#[derive(Deserialize, Serialize)]
struct ReferenceAnswer {
    name: String,
    subject: String,
    version: i32,
}

impl From<ReferenceAnswer> for Reference {
    fn from(answer: ReferenceAnswer) -> Self {
        Self {
            name: answer.name,
            subject: answer.subject.into(),
            version: answer.version,
        }
    }
}

impl From<&Reference> for ReferenceAnswer {
    fn from(reference: &Reference) -> Self {
        Self {
            name: reference.name.clone(),
            subject: reference.subject.to_string(),
            version: reference.version,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionRequest<'a> {
    schema: &'a str,
    schema_type: &'a str,
    references: Vec<ReferenceAnswer>,
}
