//! Who asks Glue: keys of the settings or of the AWS SDKs' default chain, and the role that they take on.

use std::sync::Arc;
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use klamm_connect_api::Secret;
use tokio::sync::Mutex;

use super::sign::now;
use crate::error::RegistryError;
use crate::http_client::HttpClient;

/// Credentials are replaced this long before they expire.
const REPLACE_BEFORE: Duration = Duration::from_secs(300);
/// How long a request of the chain may take if it does not say so itself.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where credentials come from.
#[derive(Debug, Clone)]
pub(crate) struct CredentialsPlan {
    /// None: the default chain.
    pub(crate) keys: Option<Keys>,
    /// The role to take on with them.
    pub(crate) role: Option<Role>,
}

#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) id: Secret,
    pub(crate) secret: Secret,
    pub(crate) session_token: Option<Secret>,
}

#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) arn: String,
    pub(crate) session: String,
    pub(crate) external_id: Option<String>,
    /// None: the region's own.
    pub(crate) sts_endpoint: Option<String>,
}

/// Credentials, kept until shortly before they expire.
#[derive(Debug)]
pub(super) struct Credentials {
    plan: CredentialsPlan,
    region: Region,
    http: Arc<HttpClient>,
    /// Held by the one who fetches.
    current: Mutex<Option<Identity>>,
}

impl Credentials {
    pub(super) fn new(plan: CredentialsPlan, region: &str, http: &Arc<HttpClient>) -> Self {
        Self {
            plan,
            region: Region::new(region.to_owned()),
            http: Arc::clone(http),
            current: Mutex::new(None),
        }
    }

    /// Who asks, for error texts.
    pub(super) fn principal(&self) -> String {
        let source = match self.plan.keys {
            Some(_) => "`aws.access.key.id`",
            None => "the credentials of the AWS default chain",
        };
        match &self.plan.role {
            Some(role) => format!("role {} by {source}", role.arn),
            None => source.to_owned(),
        }
    }

    /// What to sign with.
    pub(super) async fn identity(&self) -> Result<Identity, RegistryError> {
        let lives = |identity: &Identity, after: Duration| {
            identity
                .expiration()
                .is_none_or(|expiration| now() + after < expiration)
        };
        let mut current = self.current.lock().await;
        if let Some(identity) = current.as_ref().filter(|identity| lives(identity, REPLACE_BEFORE)) {
            return Ok(identity.clone());
        }
        match self.fetch().await {
            Ok(identity) => Ok(current.insert(identity).clone()),
            // Those at hand may last until the next attempt.
            Err(reason) => match current.as_ref().filter(|identity| lives(identity, Duration::ZERO)) {
                Some(identity) => Ok(identity.clone()),
                None => Err(RegistryError::Credentials {
                    principal: self.principal(),
                    reason,
                }),
            },
        }
    }

    /// Forgets credentials that were refused. Says whether the next request may have others.
    pub(super) async fn refuse(&self, refused: &Identity) -> bool {
        if self.plan.keys.is_some() && self.plan.role.is_none() {
            return false;
        }
        let mut current = self.current.lock().await;
        let access_key = |identity: &Identity| {
            identity
                .data::<aws_credential_types::Credentials>()
                .map(|credentials| credentials.access_key_id().to_owned())
        };
        current.take_if(|identity| access_key(identity) == access_key(refused));
        true
    }

    async fn fetch(&self) -> Result<Identity, String> {
        // A new chain each time, so that a profile that was written since is read.
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(self.region.clone())
            .http_client(shared_http_client(&self.http));
        if let Some(keys) = &self.plan.keys {
            loader = loader.credentials_provider(aws_credential_types::Credentials::new(
                keys.id.reveal(),
                keys.secret.reveal(),
                keys.session_token.as_ref().map(|token| token.reveal().to_owned()),
                None,
                "converter settings",
            ));
        }
        let config = loader.load().await;
        let provider = match &self.plan.role {
            None => config.credentials_provider().ok_or("the default chain is empty")?,
            Some(role) => SharedCredentialsProvider::new(role.provider(&self.region, &config).await),
        };
        let credentials = provider.provide_credentials().await;
        credentials.map(Identity::from).map_err(|error| crate::chain(&error))
    }
}

impl Role {
    async fn provider(&self, region: &Region, config: &SdkConfig) -> AssumeRoleProvider {
        let mut sts = config.to_builder();
        sts.set_endpoint_url(
            self.sts_endpoint
                .clone()
                .or_else(|| config.endpoint_url().map(str::to_owned)),
        );
        let mut builder = AssumeRoleProvider::builder(&self.arn)
            .session_name(&self.session)
            .region(region.clone());
        if let Some(external_id) = &self.external_id {
            builder = builder.external_id(external_id);
        }
        builder.configure(&sts.build()).build().await
    }
}

/// Lets the chain send its requests through the registry's own HTTP client.
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
        // Whoever waits for an instance's metadata where there is none must learn so soon.
        let limit = match (self.settings.connect_timeout(), self.settings.read_timeout()) {
            (None, None) => TIMEOUT,
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
        .map_err(|error| ConnectorError::user(error.into()))?
        .map(|body| body.bytes().map(Bytes::copy_from_slice).unwrap_or_default());
    let response = http
        .exchange(request)
        .await
        .map_err(|reason| ConnectorError::io(reason.into()))?;
    HttpResponse::try_from(response.map(SdkBody::from)).map_err(|error| ConnectorError::other(error.into(), None))
}
