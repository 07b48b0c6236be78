//! Objects in an S3 bucket.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use klamm_connect_api::Origin;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::service::client::{Client, Unsigned};
use crate::service::target::{Place, Target};
use crate::service::{Declined, SettingKeys, answer, endpoint_of_environment};
use crate::{CredentialsCache, CredentialsPlan, Environment, HttpClient, parse_endpoint, regional_endpoint};

/// What RFC 3986 does not reserve stays as it is.
pub(crate) const IN_FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const IN_PATH: &AsciiSet = &IN_FORM.remove(b'/');

/// Where objects go, and with whose credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPlace {
    /// The bucket.
    pub bucket: String,
    /// In front of every key; empty, or with a slash at its end.
    pub prefix: String,
    /// The bucket's region.
    pub region: String,
    /// Base URL of the API, if it is not the region's own.
    pub endpoint: Option<String>,
}

impl ObjectPlace {
    /// Reads `s3://<bucket>/<prefix>` or a bucket's ARN with `/<prefix>` behind it. Where `endpoint` names none, the
    /// environment may.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str, region: &str, endpoint: Option<&str>, environment: &Environment) -> Result<Self, String> {
        let (bucket, prefix) = parse_bucket(text)?;
        let place = Place::Bucket {
            bucket: bucket.clone(),
            prefix: prefix.clone(),
        };
        let endpoint = match endpoint {
            Some(endpoint) => Some(parse_endpoint(endpoint)?),
            None => endpoint_of_environment(environment, &place)?,
        };
        Ok(Self {
            bucket,
            prefix,
            region: region.to_owned(),
            endpoint,
        })
    }
}

/// Bucket and prefix of `s3://<bucket>/<prefix>` or of a bucket's ARN with `/<prefix>` behind it.
///
/// # Errors
/// It names no bucket.
pub fn parse_bucket(text: &str) -> Result<(String, String), String> {
    match Target::parse(text).map(|target| target.place) {
        Ok(Place::Bucket { bucket, prefix }) => Ok((bucket, prefix)),
        Ok(Place::Queue { .. } | Place::Topic { .. }) | Err(_) => Err(
            "it names no bucket: accepted are `s3://<bucket>/<prefix>` and the ARN of an S3 bucket with `/<prefix>` behind it"
                .to_owned(),
        ),
    }
}

/// Puts objects into a bucket.
#[derive(Debug)]
pub struct ObjectStore {
    client: Client,
    place: Place,
    bucket: String,
    endpoint: Option<String>,
}

impl ObjectStore {
    /// A store; nothing is asked of anybody yet. `keys` are what messages name.
    #[must_use]
    pub fn new(
        place: &ObjectPlace,
        credentials: &CredentialsPlan,
        http: &Arc<HttpClient>,
        clock: fn() -> SystemTime,
        keys: SettingKeys,
    ) -> Self {
        let bucket = Place::Bucket {
            bucket: place.bucket.clone(),
            prefix: place.prefix.clone(),
        };
        Self {
            client: Client {
                http: Arc::clone(http),
                credentials: CredentialsCache::new(credentials, &place.region, http, clock),
                clock,
                service: bucket.service(),
                name: bucket.name(&place.region),
                region: place.region.clone(),
                keys,
            },
            bucket: place.bucket.clone(),
            endpoint: place.endpoint.clone(),
            place: bucket,
        }
    }

    /// The bucket and where it is, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.client.name
    }

    /// Puts an object, once, and resolves when it is durable. One that is there is replaced.
    ///
    /// # Errors
    /// It was not taken, or nobody knows.
    ///
    /// # Cancel safety
    /// Whether the object was put is then unknown.
    pub async fn put(&self, key: &str, content_type: &'static str, content: Bytes) -> Result<(), Declined> {
        let base = self.endpoint.as_deref();
        let request = put(&self.bucket, base, &self.client.region, key, content_type, content);
        let answer = self.client.send(request).await?;
        answer::judge(&self.client, &self.place, &answer)
    }
}

/// The URI of an object, for who reads it: `s3://<bucket>/<key>`.
#[must_use]
pub fn object_uri(bucket: &str, key: &str) -> String {
    format!("s3://{bucket}/{}", utf8_percent_encode(key, IN_PATH))
}

/// The beginning of the key of an object that a record has: `<prefix><connector>/<topic>/<partition>/<offset>`.
#[must_use]
pub fn key_of(prefix: &str, connector: &str, origin: &Origin) -> String {
    let of = &origin.topic_partition;
    // A connector's name may be anything, also longer than a key.
    let connector: String = connector.chars().take(100).collect();
    format!(
        "{prefix}{connector}/{}/{}/{:020}",
        of.topic(),
        of.partition(),
        origin.offset
    )
}

/// The request that puts an object; `base` is the endpoint if it is not the region's own.
pub(crate) fn put(
    bucket: &str,
    base: Option<&str>,
    region: &str,
    key: &str,
    content_type: &'static str,
    body: Bytes,
) -> Unsigned {
    let key = utf8_percent_encode(key, IN_PATH);
    let own = regional_endpoint("s3", region);
    let uri = match base {
        Some(base) => format!("{base}/{bucket}/{key}"),
        // A bucket has a host name of its own where the certificate covers it.
        None if bucket.contains('.') => format!("{own}/{bucket}/{key}"),
        None => format!("https://{bucket}.{}/{key}", own.trim_start_matches("https://")),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Unsigned {
        method: Method::PUT,
        uri,
        headers,
        body,
    }
}
