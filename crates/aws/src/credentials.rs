//! Credentials: static ones, those of the AWS SDKs' default chain, or those of a role assumed with either; kept until
//! shortly before they expire.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use klamm_connect_api::Secret;
use tokio::time::Instant;
use tracing::debug;

use crate::http_client::{CONNECT_TIMEOUT, HttpClient, SendError, chain};

/// Credentials are replaced this long before they expire.
const REFRESH_BEFORE: Duration = Duration::from_secs(300);
/// Credentials are not replaced again so soon, however short they live.
const REFRESH_HOLDS: Duration = Duration::from_secs(30);
/// After a failure nobody asks the chain again for this long: calls in flight would ask one after the other.
const FAILURE_HOLDS: Duration = Duration::from_secs(1);
/// Credentials that were refused are replaced at most this often.
const REFUSAL_HOLDS: Duration = Duration::from_secs(60);
/// Longest answer of a credentials endpoint.
const ANSWER_BYTES: usize = 1024 * 1024;

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialsPlan {
    /// From the configuration.
    Static {
        /// Id of the access key.
        key_id: Secret,
        /// The access key's secret.
        secret_key: Secret,
        /// Of a temporary key.
        session_token: Option<Secret>,
    },
    /// The default chain of the AWS SDKs.
    DefaultChain,
    /// A role, taken on with the credentials of another plan.
    Role(Box<Self>, RolePlan),
}

impl CredentialsPlan {
    /// Whose they are, as far as the configuration says it: never to be shown.
    pub fn identity(&self) -> &str {
        match self {
            Self::Static { key_id, .. } => key_id.reveal(),
            Self::DefaultChain => "",
            Self::Role(_, role) => &role.arn,
        }
    }

    /// The account that they are of, if the configuration says it.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Static { .. } | Self::DefaultChain => None,
            Self::Role(_, role) => role.arn.split(':').nth(4).filter(|account| !account.is_empty()),
        }
    }
}

/// A role that is taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolePlan {
    /// The role.
    pub arn: String,
    /// Who takes it on, for its log.
    pub session_name: String,
    /// What the role's trust policy may ask for.
    pub external_id: Option<String>,
}

/// There are no credentials to sign with, for this reason.
#[derive(Debug)]
pub struct NoCredentials(pub String);

/// The credentials of one client.
pub struct CredentialsCache(Source);

impl std::fmt::Debug for CredentialsCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialsCache").finish_non_exhaustive()
    }
}

enum Source {
    Static(Identity),
    Chain(Box<Chain>),
}

impl CredentialsCache {
    /// Credentials by a plan; nothing is asked for yet. `region` is where a chain looks roles up.
    #[must_use]
    pub fn new(plan: &CredentialsPlan, region: &str, http: &Arc<HttpClient>, clock: fn() -> SystemTime) -> Self {
        Self(match given(plan) {
            Some(given) => Source::Static(Identity::from(given)),
            None => Source::Chain(Box::new(Chain {
                plan: plan.clone(),
                region: region.to_owned(),
                http: Arc::clone(http),
                clock,
                current: Mutex::new(None),
                refresh: tokio::sync::Mutex::new(None),
            })),
        })
    }

    /// What to sign with, if nothing has to be fetched for it.
    pub fn at_hand(&self) -> Option<Identity> {
        match &self.0 {
            Source::Static(identity) => Some(identity.clone()),
            Source::Chain(chain) => chain.current(Need::Fresh),
        }
    }

    /// What to sign with.
    ///
    /// # Errors
    /// Where they come from has none now.
    pub async fn identity(&self) -> Result<Identity, NoCredentials> {
        match &self.0 {
            Source::Static(identity) => Ok(identity.clone()),
            Source::Chain(chain) => chain.identity().await,
        }
    }

    /// Forgets credentials that were refused in a call that began then. Says whether the next call gets new ones.
    pub fn refuse(&self, call_began: Instant) -> bool {
        match &self.0 {
            Source::Static(_) => false,
            Source::Chain(chain) => chain.refuse(call_began),
        }
    }
}

/// The credentials that a plan holds; none if they have to be fetched.
fn given(plan: &CredentialsPlan) -> Option<Credentials> {
    match plan {
        CredentialsPlan::Static {
            key_id,
            secret_key,
            session_token,
        } => Some(Credentials::new(
            key_id.reveal(),
            secret_key.reveal(),
            session_token.as_ref().map(|token| token.reveal().to_owned()),
            None,
            "connector configuration",
        )),
        CredentialsPlan::DefaultChain | CredentialsPlan::Role(..) => None,
    }
}

/// The default chain (environment, profile, web identity, container, instance), or a role. Asked first when the first
/// call is made.
struct Chain {
    plan: CredentialsPlan,
    region: String,
    http: Arc<HttpClient>,
    clock: fn() -> SystemTime,
    current: Mutex<Option<Current>>,
    /// Held by the one who fetches: the last failure, if the last fetch failed.
    refresh: tokio::sync::Mutex<Option<(Instant, String)>>,
}

/// How good credentials have to be.
#[derive(Clone, Copy)]
enum Need {
    /// Not to be replaced yet.
    Fresh,
    /// Not expired.
    Valid,
}

struct Current {
    identity: Identity,
    since: Instant,
}

impl Chain {
    async fn identity(&self) -> Result<Identity, NoCredentials> {
        if let Some(identity) = self.current(Need::Fresh) {
            return Ok(identity);
        }
        let mut last_failure = match (self.refresh.try_lock(), self.current(Need::Valid)) {
            (Ok(refresh), _) => refresh,
            // Somebody fetches new ones already, and the old ones still serve.
            (Err(_), Some(identity)) => return Ok(identity),
            (Err(_), None) => self.refresh.lock().await,
        };
        if let Some(identity) = self.current(Need::Fresh) {
            return Ok(identity);
        }
        let failure = match &*last_failure {
            Some((at, failure)) if at.elapsed() < FAILURE_HOLDS => failure.clone(),
            _ => match self.fetch().await {
                Ok(identity) => {
                    *last_failure = None;
                    return Ok(identity);
                }
                Err(failure) => {
                    // Each attempt comes here. The delivery engine warns of the outage, with the connector and this text.
                    debug!(error = %failure, "AWS credentials cannot be fetched");
                    *last_failure = Some((Instant::now(), failure.clone()));
                    failure
                }
            },
        };
        self.current(Need::Valid).ok_or(NoCredentials(failure))
    }

    /// The credentials at hand, if they will do.
    fn current(&self, need: Need) -> Option<Identity> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Current { identity, since } = current.as_ref()?;
        let will_do = identity.expiration().is_none_or(|expiration| {
            let now = (self.clock)();
            match need {
                Need::Valid => now < expiration,
                Need::Fresh if since.elapsed() < REFRESH_HOLDS => now < expiration,
                Need::Fresh => now + REFRESH_BEFORE < expiration,
            }
        });
        will_do.then(|| identity.clone())
    }

    async fn fetch(&self) -> Result<Identity, String> {
        // A new chain each time, so that a profile that was written since is read.
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .http_client(shared_http_client(&self.http));
        let role = match &self.plan {
            CredentialsPlan::Role(base, role) => {
                if let Some(given) = given(base) {
                    loader = loader.credentials_provider(given);
                }
                Some(role)
            }
            CredentialsPlan::Static { .. } | CredentialsPlan::DefaultChain => None,
        };
        let config = loader.load().await;
        let credentials = match role {
            None => {
                let provider = config.credentials_provider().ok_or("the default chain is empty")?;
                provider.provide_credentials().await.map_err(|error| chain(&error))?
            }
            Some(RolePlan {
                arn,
                session_name,
                external_id,
            }) => {
                let mut role = AssumeRoleProvider::builder(arn)
                    .session_name(session_name)
                    .configure(&config);
                if let Some(external_id) = external_id {
                    role = role.external_id(external_id);
                }
                let assumed = role.build().await.provide_credentials().await;
                assumed.map_err(|error| format!("role {arn} cannot be assumed: {}", chain(&error)))?
            }
        };
        let identity = Identity::from(credentials);
        let current = Current {
            identity: identity.clone(),
            since: Instant::now(),
        };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current);
        Ok(identity)
    }

    fn refuse(&self, call_began: Instant) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // What has come since the call began was not refused, or not alone: it is tried.
        if current.as_ref().is_some_and(|current| current.since > call_began) {
            return true;
        }
        let stale = current
            .as_ref()
            .is_none_or(|current| current.since.elapsed() >= REFUSAL_HOLDS);
        if stale {
            *current = None;
        }
        stale
    }
}

/// Lets the chain send its requests through the process's own HTTP client.
fn shared_http_client(http: &Arc<HttpClient>) -> SharedHttpClient {
    let http = Arc::clone(http);
    http_client_fn(move |settings, _components| {
        SharedHttpConnector::new(ChainConnector {
            http: Arc::clone(&http),
            settings: settings.clone(),
        })
    })
}

#[derive(Debug)]
struct ChainConnector {
    http: Arc<HttpClient>,
    settings: HttpConnectorSettings,
}

impl HttpConnector for ChainConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = Arc::clone(&self.http);
        // One bound for connecting and reading together: whoever waits for an instance's metadata where there is none
        // must learn so soon.
        let limit = match (self.settings.connect_timeout(), self.settings.read_timeout()) {
            (None, None) => Duration::from_secs(10),
            (connect, read) => connect.unwrap_or_default() + read.unwrap_or_default(),
        };
        HttpConnectorFuture::new(async move {
            match tokio::time::timeout(limit, exchange(&http, request)).await {
                Ok(response) => response,
                Err(elapsed) => Err(ConnectorError::timeout(elapsed.into())),
            }
        })
    }
}

async fn exchange(http: &HttpClient, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    let (parts, body) = request.into_parts();
    let body = body.bytes().map(Bytes::copy_from_slice).unwrap_or_default();
    let response = http
        .request(
            http::Request::from_parts(parts, Full::new(body)),
            Instant::now() + CONNECT_TIMEOUT,
        )
        .await;
    let response = response.map_err(|error| match error {
        SendError::NotSent(reason) | SendError::Broken(reason) => ConnectorError::io(reason.into()),
    })?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES)
        .collect()
        .await
        .map_err(ConnectorError::io)?;
    let response = http::Response::from_parts(parts, SdkBody::from(body.to_bytes()));
    HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const NOW: fn() -> SystemTime = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);

    /// Credentials without an end that a chain found just now.
    pub(crate) fn found() -> CredentialsCache {
        CredentialsCache(Source::Chain(Box::new(chain_with(None))))
    }

    fn chain_with(lives: Option<Duration>) -> Chain {
        let expiration = lives.map(|lives| NOW() + lives);
        let identity = Identity::from(Credentials::new("id", "secret", None, expiration, "test"));
        Chain {
            plan: CredentialsPlan::DefaultChain,
            region: "eu-west-1".to_owned(),
            http: Arc::new(HttpClient::new()),
            clock: NOW,
            current: Mutex::new(Some(Current {
                identity,
                since: Instant::now(),
            })),
            refresh: tokio::sync::Mutex::new(None),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_replaced_before_they_expire_and_not_all_the_time() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let cases = [
            // time to live, age, fresh, valid, why
            (None, 1_000_000, true, true, "without an end"),
            (seconds(301), 60, true, true, "far from its end"),
            (seconds(299), 60, false, true, "near its end"),
            (seconds(299), 29, true, true, "near its end, and just fetched"),
            (seconds(0), 29, false, false, "expired"),
        ];
        for (lives, age, fresh, valid, why) in cases {
            let chain = chain_with(lives);
            tokio::time::advance(Duration::from_secs(age)).await;
            let found = (
                chain.current(Need::Fresh).is_some(),
                chain.current(Need::Valid).is_some(),
            );
            assert_eq!(found, (fresh, valid), "{why}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refused_credentials_are_dropped_once_a_minute() {
        let chain = chain_with(None);
        let began = Instant::now();
        assert!(!chain.refuse(began), "they were just fetched");
        assert!(chain.current(Need::Valid).is_some());
        tokio::time::advance(REFUSAL_HOLDS).await;
        assert!(chain.refuse(began));
        assert!(chain.current(Need::Valid).is_none());
    }

    // A call that was out when credentials were renewed was refused for the old ones, and its task failed.
    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_of_the_credentials_that_its_call_had() {
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        let renewed = chain_with(None);
        assert!(renewed.refuse(began), "the next call has the new ones");
        assert!(renewed.current(Need::Valid).is_some(), "which nobody refused");
        assert!(!renewed.refuse(Instant::now()), "now somebody has");
    }
}
