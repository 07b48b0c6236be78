//! AWS_MSK_IAM: the payload is a presigned `kafka-cluster:Connect`, as aws-msk-iam-auth writes it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Map, Value};

use super::config::MskSettings;
use super::tls::{Tls, TlsSettings};
use super::{http as client, wall_clock};
use crate::client::lock;

/// Version of the payload, from aws-msk-iam-auth.
const PAYLOAD_VERSION: &str = "2020_10_22";
/// How long a signature is good for: the longest that MSK accepts.
const EXPIRES: Duration = Duration::from_secs(900);
/// Credentials are replaced this long before they expire.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// The credentials of one client, and the region of its brokers.
#[derive(Debug)]
pub(super) struct MskCredentials {
    settings: MskSettings,
    current: Mutex<Option<Current>>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Current {
    credentials: Credentials,
    /// That of the environment or profile.
    region: Option<String>,
}

/// How good credentials have to be.
#[derive(Clone, Copy)]
enum Need {
    /// Not to be replaced yet.
    Fresh,
    /// Not expired.
    Valid,
}

impl MskCredentials {
    pub(super) fn new(settings: MskSettings) -> Self {
        Self {
            settings,
            current: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Whom the last payload was signed for; access key ids are no secrets.
    pub(super) fn access_key_id(&self) -> Option<Arc<str>> {
        let current = lock(&self.current);
        current
            .as_ref()
            .map(|current| current.credentials.access_key_id().into())
    }

    /// What to show to the broker at `host`.
    ///
    /// # Errors
    /// No credentials or no region, with what was tried.
    pub(super) async fn payload(&self, host: &str) -> Result<Vec<u8>, String> {
        let Current { credentials, region } = self.credentials().await?;
        let region = region_of(host).map(str::to_owned).or(region).ok_or_else(|| {
            format!("the broker's name `{host}` holds no AWS region: set the environment variable `AWS_REGION`")
        })?;
        payload(host, &region, credentials, wall_clock())
    }

    fn current(&self, need: Need) -> Option<Current> {
        let current = lock(&self.current);
        let will_do = |current: &&Current| {
            current.credentials.expiry().is_none_or(|expiry| match need {
                Need::Valid => wall_clock() < expiry,
                Need::Fresh => wall_clock() + RENEW_BEFORE < expiry,
            })
        };
        current.as_ref().filter(will_do).cloned()
    }

    async fn credentials(&self) -> Result<Current, String> {
        // Without an end they may still be rotated in the profile or environment: reading those again is cheap, and a
        // connection is made rarely.
        let fresh = || {
            self.current(Need::Fresh)
                .filter(|current| current.credentials.expiry().is_some())
        };
        if let Some(current) = fresh() {
            return Ok(current);
        }
        let _asking = self.asking.lock().await;
        if let Some(current) = fresh() {
            return Ok(current);
        }
        match self.fetch().await {
            Ok(current) => {
                *lock(&self.current) = Some(current.clone());
                Ok(current)
            }
            Err(reason) => self.current(Need::Valid).ok_or(reason),
        }
    }

    async fn fetch(&self) -> Result<Current, String> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client());
        if let Some(profile) = &self.settings.profile {
            loader = loader.profile_name(&**profile);
        }
        let config = loader.load().await;
        let credentials = match &self.settings.role_arn {
            Some(role) => self.assume(role, &config).await?,
            None => {
                let chain = config
                    .credentials_provider()
                    .ok_or("AWS: the credentials chain is empty")?;
                let found = chain.provide_credentials().await;
                found.map_err(|err| format!("AWS credentials: {}", crate::client::chain(&err)))?
            }
        };
        Ok(Current {
            credentials,
            region: config.region().map(ToString::to_string),
        })
    }

    async fn assume(&self, role: &str, config: &SdkConfig) -> Result<Credentials, String> {
        let settings = &self.settings;
        let session = settings.role_session_name.as_deref().unwrap_or("klamm");
        let mut provider = AssumeRoleProvider::builder(role)
            .configure(config)
            .session_name(session);
        if let Some(external) = &settings.role_external_id {
            provider = provider.external_id(external.reveal());
        }
        match (&settings.sts_region, config.region()) {
            (Some(region), _) => provider = provider.region(Region::new(region.to_string())),
            (None, Some(region)) => provider = provider.region(region.clone()),
            (None, None) => {
                return Err(format!(
                    "AWS role {role}: no region for STS: set `awsStsRegion` in `sasl.jaas.config`, or `AWS_REGION`"
                ));
            }
        }
        let found = provider.build().await.provide_credentials().await;
        found.map_err(|err| format!("AWS role {role}: {}", crate::client::chain(&err)))
    }
}

/// The region in a broker's name: `….kafka.<region>.amazonaws.com`, `….kafka-serverless.<region>.amazonaws.com`.
fn region_of(host: &str) -> Option<&str> {
    let (rest, _) = host.split_once(".amazonaws.com")?;
    let mut labels = rest.rsplit('.');
    let region = labels.next()?;
    matches!(labels.next()?, "kafka" | "kafka-serverless").then_some(region)
}

/// The JSON that the broker checks.
fn payload(host: &str, region: &str, credentials: Credentials, now: SystemTime) -> Result<Vec<u8>, String> {
    let failed = |err: &dyn std::fmt::Display| format!("the request cannot be signed: {err}");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(EXPIRES);
    let identity = Identity::from(credentials);
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("kafka-cluster")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|err| failed(&err))?
        .into();
    let uri = format!("https://{host}/?Action=kafka-cluster%3AConnect");
    let none = std::iter::empty::<(&str, &str)>();
    let request = SignableRequest::new("GET", uri, none, SignableBody::Bytes(&[])).map_err(|err| failed(&err))?;
    let (signed, _) = sign(request, &params).map_err(|err| failed(&err))?.into_parts();
    let mut payload = Map::new();
    let user_agent = concat!("klamm/", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        ("version", PAYLOAD_VERSION),
        ("host", host),
        ("user-agent", user_agent),
        ("action", "kafka-cluster:Connect"),
    ] {
        payload.insert(name.to_owned(), value.into());
    }
    for (name, value) in signed.params() {
        payload.insert(name.to_ascii_lowercase(), value.to_string().into());
    }
    Ok(Value::Object(payload).to_string().into_bytes())
}

/// Lets the credentials chain send its requests without an HTTP stack of its own.
fn http_client() -> SharedHttpClient {
    let tls = Arc::new(Tls::new(TlsSettings::default()));
    http_client_fn(move |settings, _components| {
        SharedHttpConnector::new(ChainConnector {
            tls: Arc::clone(&tls),
            settings: settings.clone(),
        })
    })
}

#[derive(Debug)]
struct ChainConnector {
    tls: Arc<Tls>,
    settings: HttpConnectorSettings,
}

impl HttpConnector for ChainConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let tls = Arc::clone(&self.tls);
        let connect = self.settings.connect_timeout().unwrap_or(Duration::from_secs(3));
        let read = self.settings.read_timeout().unwrap_or(Duration::from_secs(10));
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|err| ConnectorError::user(err.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.bytes().map(Bytes::copy_from_slice).unwrap_or_default();
            let request = http::Request::from_parts(parts, Full::new(body));
            let answer = client::exchange(request, &tls, connect, read)
                .await
                .map_err(|reason| ConnectorError::io(reason.into()))?;
            HttpResponse::try_from(answer.map(SdkBody::from)).map_err(|err| ConnectorError::other(err.into(), None))
        })
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn mac(key: &[u8], text: &str) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    /// Signature Version 4 by its documentation, step by step, without the SDK.
    fn signature(query: &str, host: &str, secret: &str, region: &str) -> String {
        let canonical = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{}", hex(&Sha256::digest(b"")));
        let scope = format!("20240102/{region}/kafka-cluster/aws4_request");
        let hashed = hex(&Sha256::digest(canonical));
        let to_sign = format!("AWS4-HMAC-SHA256\n20240102T030405Z\n{scope}\n{hashed}");
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in ["20240102", region, "kafka-cluster", "aws4_request"] {
            key = mac(&key, part);
        }
        hex(&mac(&key, &to_sign))
    }

    #[test]
    fn the_payload_is_the_presigned_connect_of_the_aws_library() {
        let host = "b-1.demo.abc123.c2.kafka.eu-central-1.amazonaws.com";
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_164_645); // 2024-01-02T03:04:05Z
        for token in [None, Some("FwoG/token+with=signs")] {
            let credentials = Credentials::new("AKIDEXAMPLE", "secret", token.map(str::to_owned), None, "test");
            let bytes = payload(host, "eu-central-1", credentials, now).unwrap();
            let found: Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
            let scope = "20240102%2Feu-central-1%2Fkafka-cluster%2Faws4_request";
            let token_part = token.map_or("", |_| "&X-Amz-Security-Token=FwoG%2Ftoken%2Bwith%3Dsigns");
            let query = format!(
                "Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256\
                 &X-Amz-Credential=AKIDEXAMPLE%2F{scope}&X-Amz-Date=20240102T030405Z&X-Amz-Expires=900{token_part}\
                 &X-Amz-SignedHeaders=host"
            );
            let mut wanted = serde_json::json!({
                "version": "2020_10_22",
                "host": host,
                "user-agent": concat!("klamm/", env!("CARGO_PKG_VERSION")),
                "action": "kafka-cluster:Connect",
                "x-amz-algorithm": "AWS4-HMAC-SHA256",
                "x-amz-credential": "AKIDEXAMPLE/20240102/eu-central-1/kafka-cluster/aws4_request",
                "x-amz-date": "20240102T030405Z",
                "x-amz-expires": "900",
                "x-amz-signedheaders": "host",
                "x-amz-signature": signature(&query, host, "secret", "eu-central-1"),
            });
            if let Some(token) = token {
                wanted["x-amz-security-token"] = token.into();
            }
            assert_eq!(Value::Object(found), wanted);
        }
    }

    #[test]
    fn the_region_stands_in_the_brokers_name() {
        let cases = [
            (
                "b-1.demo.abc123.c2.kafka.us-east-1.amazonaws.com",
                Some("us-east-1"),
                "provisioned",
            ),
            (
                "boot-x.c1.kafka-serverless.eu-west-1.amazonaws.com",
                Some("eu-west-1"),
                "serverless",
            ),
            (
                "b-1.d.a.c2.kafka.cn-north-1.amazonaws.com.cn",
                Some("cn-north-1"),
                "China",
            ),
            ("kafka.example.com", None, "a name of one's own"),
            ("s3.eu-west-1.amazonaws.com", None, "another service"),
        ];
        for (host, wanted, why) in cases {
            assert_eq!(region_of(host), wanted, "{why}");
        }
    }
}
