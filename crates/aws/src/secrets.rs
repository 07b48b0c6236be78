//! Config providers: AWS Secrets Manager and the parameters of AWS Systems Manager.
//!
//! Classes, settings and references are those of the providers that AWS offers for Kafka Connect:
//! `${alias:<secret>:<key>}` is a key of a secret that holds a JSON object, `${alias:<secret>:}` the whole secret, and
//! `${alias::<parameter>}` a parameter.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use klamm_connect_api::provider::{Asker, ConfigProvider, ConfigProviderPlugin, NotProvided, Provided};
use klamm_connect_api::{BoxFuture, ConfigError, ConfigErrors, RawConfig, Secret};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::service::answer::is_of_credentials;
use crate::service::client::{Answer, Client, Unsigned};
use crate::{
    CredentialsCache, CredentialsPlan, Declined, Environment, HttpClient, Service, SettingKeys, parse_endpoint,
    regional_endpoint,
};

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
/// How long an answer serves: a connector with several keys of a secret, and many connectors that start at once, ask once.
const KEPT: Duration = Duration::from_secs(10);
/// Secrets that are kept.
const MAX_KEPT: usize = 1000;
const DEFAULT_TTL: Duration = Duration::from_secs(300);

const REGION: &str = "region";
const ENDPOINT: &str = "endpoint";
const TTL: &str = "ttl.ms";
/// The name that another widespread provider has for it.
const SECRET_TTL: &str = "secret.ttl.ms";

/// The config providers of AWS, with their region and endpoint from `environment` where nothing else is set.
pub fn config_providers(environment: &Environment) -> [Arc<dyn ConfigProviderPlugin>; 2] {
    let http = Arc::new(HttpClient::new());
    [Kind::Secret, Kind::Parameter].map(|kind| {
        let plugin = Plugin {
            kind,
            http: Arc::clone(&http),
            environment: environment.clone(),
        };
        Arc::new(plugin) as Arc<dyn ConfigProviderPlugin>
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of Secrets Manager.
    Secret,
    /// Of Systems Manager.
    Parameter,
}

impl Kind {
    fn service(self) -> Service {
        match self {
            Self::Secret => Service::SecretsManager,
            Self::Parameter => Service::Ssm,
        }
    }

    fn action(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Secret => "secretsmanager.GetSecretValue",
            Self::Parameter => "AmazonSSM.GetParameter",
        })
    }

    fn permission(self) -> &'static str {
        match self {
            Self::Secret => "secretsmanager:GetSecretValue",
            Self::Parameter => "ssm:GetParameter",
        }
    }
}

struct Plugin {
    kind: Kind,
    http: Arc<HttpClient>,
    environment: Environment,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl ConfigProviderPlugin for Plugin {
    fn classes(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Secret => &[
                "com.amazonaws.kafka.config.providers.SecretsManagerConfigProvider",
                "com.github.jcustenborder.kafka.config.aws.SecretsManagerConfigProvider",
            ],
            Kind::Parameter => &[
                "com.amazonaws.kafka.config.providers.SsmParamStoreConfigProvider",
                "com.github.jcustenborder.kafka.config.aws.ParameterStoreConfigProvider",
            ],
        }
    }

    fn open(&self, params: &RawConfig) -> Result<Arc<dyn ConfigProvider>, ConfigErrors> {
        let mut errors = Vec::new();
        for key in params
            .keys()
            .filter(|key| ![REGION, ENDPOINT, TTL, SECRET_TTL].contains(&key.as_str()))
        {
            let text = format!("is no setting of this provider: it has {REGION}, {ENDPOINT}, {TTL}");
            errors.push(ConfigError::new(key.clone(), text));
        }
        let text = |key: &str| params.get(key).map(|text| text.trim()).filter(|text| !text.is_empty());
        let region = text(REGION).or_else(|| self.environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        if region.is_none() {
            errors.push(ConfigError::new(REGION, "is missing, and AWS_REGION is not set"));
        }
        let own = match self.kind {
            Kind::Secret => "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            Kind::Parameter => "AWS_ENDPOINT_URL_SSM",
        };
        let given = text(ENDPOINT).or_else(|| self.environment.first(&[own, "AWS_ENDPOINT_URL"]));
        let endpoint = given.map(parse_endpoint).transpose().unwrap_or_else(|what| {
            errors.push(ConfigError::new(ENDPOINT, what));
            None
        });
        let ttl = match text(TTL).or_else(|| text(SECRET_TTL)).map(str::parse::<u64>) {
            None => Some(DEFAULT_TTL),
            Some(Ok(0)) => None,
            Some(Ok(millis)) => Some(Duration::from_millis(millis.max(1000))),
            Some(Err(_)) => {
                errors.push(ConfigError::new(
                    TTL,
                    "Value must be a number of milliseconds; 0 never looks again",
                ));
                None
            }
        };
        ConfigErrors::check(errors)?;
        let region = region.unwrap_or_default();
        let base = endpoint.unwrap_or_else(|| regional_endpoint(self.kind.service().name(), region));
        let (http, clock) = (Arc::clone(&self.http), self.environment.clock());
        let credentials = CredentialsCache::new(&CredentialsPlan::DefaultChain, region, &http, clock);
        let client = client(self.kind, region, credentials, http, clock);
        Ok(Arc::new(Provider::new(self.kind, base, client, ttl)))
    }
}

fn client(
    kind: Kind,
    region: &str,
    credentials: CredentialsCache,
    http: Arc<HttpClient>,
    clock: fn() -> SystemTime,
) -> Client {
    Client {
        http,
        credentials,
        clock,
        service: kind.service(),
        name: kind.service().name().to_owned(),
        region: region.to_owned(),
        keys: SettingKeys {
            destination: "config.providers",
            region: REGION,
            endpoint: ENDPOINT,
        },
    }
}

struct Provider {
    kind: Kind,
    base: String,
    client: Client,
    ttl: Option<Duration>,
    kept: Mutex<HashMap<String, (Instant, Secret)>>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("kind", &self.kind)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl ConfigProvider for Provider {
    fn get<'a>(&'a self, path: &'a str, key: &'a str, _asker: Asker) -> BoxFuture<'a, Result<Provided, NotProvided>> {
        // Whom the credentials may read for, and what, is said in IAM.
        Box::pin(async move {
            // A key may carry a time of its own, as `password?ttl=60000`.
            let (key, ttl) = match key.rsplit_once("?ttl=") {
                Some((key, millis)) => {
                    let millis: u64 = millis
                        .parse()
                        .map_err(|_| refused("`ttl` is no number of milliseconds"))?;
                    (key, Some(Duration::from_millis(millis.max(1000))))
                }
                None => (key, self.ttl),
            };
            let value = match self.kind {
                Kind::Parameter if path.is_empty() => self.secret(key).await?,
                Kind::Parameter => return Err(refused("a parameter has no path: write `${provider::/name}`")),
                Kind::Secret if path.is_empty() => return Err(refused("write `${provider:secret:key}`")),
                Kind::Secret => field(&self.secret(&decoded(path)?).await?, key)?,
            };
            Ok(Provided { value, lease: ttl })
        })
    }
}

fn refused(what: &str) -> NotProvided {
    NotProvided::Refused(what.to_owned())
}

/// ARNs have colons, which end a path: they stand there percent-encoded.
fn decoded(path: &str) -> Result<String, NotProvided> {
    let decoded = percent_decode_str(path).decode_utf8();
    Ok(decoded
        .map_err(|_| refused("the secret's name is not UTF-8"))?
        .into_owned())
}

/// A member of the secret's object; the whole secret without a key.
fn field(secret: &Secret, key: &str) -> Result<Secret, NotProvided> {
    if key.is_empty() {
        return Ok(secret.clone());
    }
    // serde's text would quote the secret.
    let object: Value = serde_json::from_str(secret.reveal())
        .map_err(|_| refused("the secret is no JSON object, so it has no keys: leave the key empty"))?;
    match object.get(key) {
        Some(Value::String(text)) => Ok(Secret::new(text.as_str())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Secret::new(value.to_string())),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) => Err(refused("the value under this key is no text")),
        None => Err(refused("the secret has no such key")),
    }
}

impl Provider {
    fn new(kind: Kind, base: String, client: Client, ttl: Option<Duration>) -> Self {
        Self {
            kind,
            base,
            client,
            ttl,
            kept: Mutex::default(),
        }
    }

    async fn secret(&self, name: &str) -> Result<Secret, NotProvided> {
        if let Some(secret) = self.kept(name) {
            return Ok(secret);
        }
        let secret = self.ask(name).await?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (since, _)| since.elapsed() < KEPT);
        if kept.len() < MAX_KEPT {
            kept.insert(name.to_owned(), (Instant::now(), secret.clone()));
        }
        Ok(secret)
    }

    fn kept(&self, name: &str) -> Option<Secret> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, secret) = kept.get(name)?;
        (since.elapsed() < KEPT).then(|| secret.clone())
    }

    async fn ask(&self, name: &str) -> Result<Secret, NotProvided> {
        let body = match self.kind {
            Kind::Secret => json!({ "SecretId": name }),
            Kind::Parameter => json!({ "Name": name, "WithDecryption": true }),
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
        headers.insert(TARGET, self.kind.action());
        let request = Unsigned {
            method: Method::POST,
            uri: format!("{}/", self.base),
            headers,
            body: body.to_string().into(),
        };
        let answer = self.client.send(request).await.map_err(|declined| match declined {
            Declined::Throttled(text) | Declined::Later(text) => NotProvided::Now(text),
            Declined::Refused(text) | Declined::TooLong(text) => NotProvided::Refused(text),
        })?;
        self.answer(&answer)
    }

    /// What an answer means. No text holds a part of a good one.
    fn answer(&self, answered: &Answer) -> Result<Secret, NotProvided> {
        let status = answered.status;
        let answer: Option<Value> = serde_json::from_slice(&answered.body).ok();
        if status == 200 {
            let value = answer.as_ref().and_then(|answer| match self.kind {
                Kind::Secret => answer.get("SecretString")?.as_str(),
                Kind::Parameter => answer.get("Parameter")?.get("Value")?.as_str(),
            });
            return value
                .map(Secret::new)
                .ok_or_else(|| refused("the answer holds no text: secrets of bytes are not supported"));
        }
        let text = |key: &str| {
            answer
                .as_ref()
                .and_then(|answer| answer.get(key)?.as_str())
                .unwrap_or_default()
        };
        let kind = text("__type");
        let kind = kind.rsplit('#').next().unwrap_or(kind);
        // The service's own words name who asked and for what.
        let words = [text("message"), text("Message")].join("");
        let said = format!("{} answered {status} {kind}: {words}", self.base);
        let may_pass = status >= 500
            || status == 429
            || [
                "ThrottlingException",
                "TooManyRequestsException",
                "ExpiredTokenException",
            ]
            .contains(&kind);
        // Keys of a profile have no end: only a refusal tells that they were rotated.
        let has_new = is_of_credentials(kind) && self.client.credentials.refuse(answered.asked_at);
        match kind {
            _ if may_pass || has_new => Err(NotProvided::Now(said)),
            "AccessDeniedException" => {
                let advice = format!("{said}: the worker's role needs `{}`", self.kind.permission());
                Err(NotProvided::Refused(advice))
            }
            _ => Err(NotProvided::Refused(said)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::Request;
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::credentials::tests::found;

    /// Provider, settings, and what is said of them.
    type Case<'a> = (&'a Arc<dyn ConfigProviderPlugin>, &'a [(&'a str, &'a str)], &'a str);

    /// An endpoint that answers each request with the next of its answers, and notes what it was asked.
    struct Endpoint {
        url: String,
        asked: Arc<Mutex<Vec<(String, Value)>>>,
        _served: JoinSet<()>,
    }

    async fn endpoint(answers: Vec<(u16, Value)>) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        let mut served = JoinSet::new();
        served.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (notes, answers) = (Arc::clone(&notes), Arc::clone(&answers));
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (notes, answers) = (Arc::clone(&notes), Arc::clone(&answers));
                    async move {
                        let target = request.headers()[&TARGET].to_str().unwrap().to_owned();
                        assert!(request.headers().contains_key(http::header::AUTHORIZATION), "signed");
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        notes
                            .lock()
                            .unwrap()
                            .push((target, serde_json::from_slice(&body).unwrap()));
                        let (status, answer) = answers.lock().unwrap().next().unwrap();
                        let response = http::Response::builder().status(status);
                        Ok::<_, Infallible>(response.body(Full::new(Bytes::from(answer.to_string()))).unwrap())
                    }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                drop(connection.await);
            }
        });
        Endpoint {
            url,
            asked,
            _served: served,
        }
    }

    fn provider(kind: Kind, url: &str) -> Provider {
        let http = Arc::new(HttpClient::new());
        let plan = CredentialsPlan::Static {
            key_id: Secret::new("AKID"),
            secret_key: Secret::new("key"),
            session_token: None,
        };
        let clock = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let credentials = CredentialsCache::new(&plan, "eu-central-1", &http, clock);
        let client = client(kind, "eu-central-1", credentials, http, clock);
        Provider::new(kind, url.to_owned(), client, Some(DEFAULT_TTL))
    }

    async fn get(provider: &Provider, path: &str, key: &str) -> Result<(String, Option<u64>), NotProvided> {
        let provided = provider.get(path, key, Asker::Connector).await?;
        Ok((
            provided.value.reveal().to_owned(),
            provided.lease.map(|lease| lease.as_secs()),
        ))
    }

    /// What a service says when the keys of a profile were rotated under the worker.
    #[tokio::test]
    async fn refused_credentials_are_looked_up_anew() {
        let clock = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let http = Arc::new(HttpClient::new());
        let client = client(Kind::Secret, "eu-central-1", found(), http, clock);
        let provider = Provider::new(Kind::Secret, String::new(), client, None);
        let answered = |asked_at| Answer {
            asked_at,
            status: 400,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{\"__type\":\"UnrecognizedClientException\"}"),
        };
        let now = tokio::time::Instant::now();
        let first = provider.answer(&answered(now)).unwrap_err();
        assert!(
            matches!(first, NotProvided::Refused(_)),
            "they were just found: {first:?}"
        );
        // A call that began before they were found had others.
        let before = now.checked_sub(Duration::from_secs(60)).unwrap();
        let second = provider.answer(&answered(before)).unwrap_err();
        assert!(matches!(second, NotProvided::Now(_)), "{second:?}");
    }

    #[tokio::test]
    async fn a_secret_is_asked_for_once_for_all_its_keys() {
        let secret = json!({ "SecretString": r#"{"user":"ada","port":5432,"deep":{}}"# });
        let endpoint = endpoint(vec![(200, secret)]).await;
        let provider = provider(Kind::Secret, &endpoint.url);
        let arn = "arn%3Aaws%3Asecretsmanager%3Aeu-central-1%3A1%3Asecret%3Adb";
        assert_eq!(get(&provider, arn, "user").await, Ok(("ada".to_owned(), Some(300))));
        assert_eq!(
            get(&provider, arn, "port?ttl=60000").await,
            Ok(("5432".to_owned(), Some(60)))
        );
        let whole = get(&provider, arn, "").await.unwrap().0;
        assert!(whole.starts_with("{\"user\""), "{whole}");
        for (key, wanted) in [("no", "no such key"), ("deep", "no text"), ("user?ttl=x", "no number")] {
            let error = get(&provider, arn, key).await.unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains("ada"), "{error}");
        }
        let asked = endpoint.asked.lock().unwrap().clone();
        let wanted = json!({ "SecretId": "arn:aws:secretsmanager:eu-central-1:1:secret:db" });
        assert_eq!(asked, [("secretsmanager.GetSecretValue".to_owned(), wanted)]);
    }

    #[tokio::test]
    async fn parameters_are_read_decrypted() {
        let endpoint = endpoint(vec![(200, json!({ "Parameter": { "Value": "s3cret" } }))]).await;
        let provider = provider(Kind::Parameter, &endpoint.url);
        assert_eq!(
            get(&provider, "", "/db/password").await,
            Ok(("s3cret".to_owned(), Some(300)))
        );
        assert!(matches!(get(&provider, "a", "b").await, Err(NotProvided::Refused(_))));
        let asked = endpoint.asked.lock().unwrap().clone();
        let wanted = json!({ "Name": "/db/password", "WithDecryption": true });
        assert_eq!(asked, [("AmazonSSM.GetParameter".to_owned(), wanted)]);
    }

    #[tokio::test]
    async fn what_may_pass_is_told_from_what_a_person_must_mend() {
        let denied = json!({ "__type": "AccessDeniedException", "Message": "User x is not authorized" });
        let cases = [
            (400, denied, false, "needs `secretsmanager:GetSecretValue`"),
            (
                400,
                json!({ "__type": "ResourceNotFoundException", "Message": "no" }),
                false,
                "ResourceNotFoundException",
            ),
            (
                400,
                json!({ "__type": "com.amazon#ThrottlingException" }),
                true,
                "ThrottlingException",
            ),
            (
                400,
                json!({ "__type": "ExpiredTokenException" }),
                true,
                "ExpiredTokenException",
            ),
            (503, json!("away"), true, "503"),
            (200, json!({ "SecretBinary": "c2VjcmV0" }), false, "holds no text"),
            (200, json!({ "SecretString": "hunter2" }), false, "no JSON object"),
        ];
        for (status, answer, may_pass, wanted) in cases {
            let endpoint = endpoint(vec![(status, answer)]).await;
            let error = get(&provider(Kind::Secret, &endpoint.url), "s", "k").await.unwrap_err();
            assert_eq!(matches!(error, NotProvided::Now(_)), may_pass, "{error}");
            assert!(
                error.to_string().contains(wanted) && !error.to_string().contains("hunter2"),
                "{error}"
            );
        }
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = get(&provider(Kind::Secret, &format!("http://{nobody}")), "s", "k")
            .await
            .unwrap_err();
        assert!(matches!(error, NotProvided::Now(_)), "{error}");
    }

    #[test]
    fn settings_are_read_or_refused() {
        let environment = Environment::new([("AWS_REGION", "eu-west-1")], || SystemTime::UNIX_EPOCH);
        let bare = Environment::new(std::iter::empty::<(&str, &str)>(), || SystemTime::UNIX_EPOCH);
        let params = |given: &[(&str, &str)]| -> RawConfig {
            given
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let [secrets, parameters] = config_providers(&environment);
        let shown = |plugin: &Arc<dyn ConfigProviderPlugin>| format!("{:?}", plugin.open(&params(&[])).unwrap());
        assert!(shown(&secrets).contains("https://secretsmanager.eu-west-1.amazonaws.com"));
        assert!(shown(&parameters).contains("https://ssm.eu-west-1.amazonaws.com"));
        let [unset, _] = config_providers(&bare);
        let cases: [Case<'_>; 4] = [
            (&unset, &[], "`region`: is missing"),
            (&secrets, &[("ttl.ms", "soon")], "number of milliseconds"),
            (&secrets, &[("endpoint", "x")], "base URL"),
            (&secrets, &[("secret.prefix", "x")], "is no setting"),
        ];
        for (plugin, given, wanted) in cases {
            let error = plugin.open(&params(given)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
