//! Failed records -> SQS, SNS, S3: one request for each record, with the document of AWS's own event source mapping.
//!
//! The way of a record: `document` makes the text, `request` the request, and [`crate::service`] sends it once and judges
//! the answer.

mod document;
mod request;

use std::sync::Arc;

use klamm_connect_api::Secret;
use klamm_connect_api::config::Validator;
use klamm_connect_api::failures::{FailedRecord, FailureDestination, FailureDestinations, NotTaken};
use klamm_connect_api::{
    BoxFuture, ConfigDef, ConfigError, ConfigKey, ConfigType, Importance, ParsedConfig, RawConfig,
};

use crate::service::client::Client;
use crate::service::target::{Place, Target};
use crate::service::{Declined, SettingKeys, answer, endpoint_of_environment};
use crate::{CredentialsCache, CredentialsPlan, Environment, HttpClient, RolePlan, parse_endpoint, regional_endpoint};
use document::Payload;

const DESTINATION: &str = "errors.deadletterqueue.destination";
const REGION: &str = "errors.deadletterqueue.destination.region";
const ENDPOINT: &str = "errors.deadletterqueue.destination.endpoint";
const PAYLOAD: &str = "errors.deadletterqueue.destination.payload.enable";
const KEY_ID: &str = "aws.access.key.id";
const SECRET_KEY: &str = "aws.secret.access.key";
const SESSION_TOKEN: &str = "aws.session.token";
const ROLE_ARN: &str = "aws.role.arn";
const ROLE_SESSION: &str = "aws.role.session.name";
const ROLE_EXTERNAL_ID: &str = "aws.role.external.id";

/// SQS queues, SNS topics and S3 buckets as destinations of failed records.
#[derive(Debug)]
pub struct FailureQueues {
    environment: Environment,
    http: Arc<HttpClient>,
}

impl FailureQueues {
    /// Destinations that take region and endpoint from `environment` where a configuration names none.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            http: Arc::new(HttpClient::new()),
        }
    }
}

impl FailureDestinations for FailureQueues {
    fn config_def(&self) -> ConfigDef {
        let key = |name: &str, config_type, doc: &str| {
            ConfigKey::new(name, config_type, Importance::Medium, doc).group("Error Handling")
        };
        ConfigDef::new()
            .key(
                key(
                    DESTINATION,
                    ConfigType::String,
                    "SQS queue, SNS topic or S3 bucket for the same records as `errors.deadletterqueue.topic.name`, beside the \
                     topic or instead of it: its ARN (of a bucket with `/<prefix>` behind it), a queue's URL, or \
                     `s3://<bucket>/<prefix>`. Credentials are `aws.access.key.id` and its kin, else the AWS default chain, and the role of \
                     `aws.role.arn` if there is one.",
                )
                .optional()
                .validator(Validator::new(|text| Target::parse(text).map(|_| ()))),
            )
            .key(
                key(
                    REGION,
                    ConfigType::String,
                    "Region of the destination. Default: that of its ARN or URL, else AWS_REGION or AWS_DEFAULT_REGION.",
                )
                .optional()
                .validator(Validator::non_empty()),
            )
            .key(
                key(
                    ENDPOINT,
                    ConfigType::String,
                    "Base URL of the destination's API. Default: AWS_ENDPOINT_URL_SQS, _SNS or _S3, or AWS_ENDPOINT_URL, else \
                     the region's own.",
                )
                .optional()
                .validator(Validator::new(|text| parse_endpoint(text).map(|_| ()))),
            )
            .key(
                key(
                    PAYLOAD,
                    ConfigType::Boolean,
                    "Whether messages to SQS and SNS carry the record as well, where it fits. Objects in S3 always do.",
                )
                .default("false"),
            )
    }

    fn key(&self) -> &'static str {
        DESTINATION
    }

    fn open(
        &self,
        raw: &RawConfig,
        parsed: &ParsedConfig,
    ) -> Result<Option<Arc<dyn FailureDestination>>, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let named = parsed.str(DESTINATION).filter(|text| !text.is_empty());
        let Some(target) = named.and_then(|text| Target::parse(text).ok()) else {
            for key in [REGION, ENDPOINT] {
                if parsed.str(key).is_some() {
                    let message = format!("has no effect without `{DESTINATION}`: set that, or leave this out");
                    errors.push(ConfigError::new(key, message));
                }
            }
            return if errors.is_empty() { Ok(None) } else { Err(errors) };
        };
        let region = self.region(&target, parsed).map_err(|error| errors.push(error)).ok();
        let endpoint = self.endpoint(&target, parsed).map_err(|error| errors.push(error)).ok();
        let credentials = credentials(raw).map_err(|error| errors.push(error)).ok();
        let (Some(region), Some(endpoint), Some(credentials)) = (region, endpoint, credentials) else {
            return Err(errors);
        };
        let service = target.place.service();
        let base = endpoint
            .clone()
            .unwrap_or_else(|| regional_endpoint(service.name(), &region));
        let clock = self.environment.clock();
        let client = Client {
            http: Arc::clone(&self.http),
            credentials: CredentialsCache::new(&credentials, &region, &self.http, clock),
            clock,
            service,
            name: target.place.name(&region),
            region,
            keys: SettingKeys {
                destination: DESTINATION,
                region: REGION,
                endpoint: ENDPOINT,
            },
        };
        let payload = match &target.place {
            Place::Bucket { .. } => Payload::Always,
            Place::Queue { .. } | Place::Topic { .. } if parsed.bool(PAYLOAD) == Some(true) => Payload::WhereItFits,
            Place::Queue { .. } | Place::Topic { .. } => Payload::Never,
        };
        Ok(Some(Arc::new(FailureQueue {
            client,
            place: target.place,
            base,
            is_regional: endpoint.is_none(),
            payload,
        })))
    }
}

impl FailureQueues {
    fn region(&self, target: &Target, parsed: &ParsedConfig) -> Result<String, ConfigError> {
        match (parsed.str(REGION), &target.region) {
            (Some(set), Some(own)) if set != own => Err(ConfigError::new(
                REGION,
                format!("is {set}, but `{DESTINATION}` is in {own}: leave this out"),
            )),
            (Some(region), _) => Ok(region.to_owned()),
            (None, Some(region)) => Ok(region.clone()),
            (None, None) => {
                let region = self.environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]);
                region.map(str::to_owned).ok_or_else(|| {
                    ConfigError::new(
                        REGION,
                        format!("`{DESTINATION}` does not tell its region, and AWS_REGION is not set: set this"),
                    )
                })
            }
        }
    }

    /// The endpoint that is set, or that a queue's URL or the environment names.
    fn endpoint(&self, target: &Target, parsed: &ParsedConfig) -> Result<Option<String>, ConfigError> {
        if let Some(endpoint) = parsed.str(ENDPOINT) {
            return parse_endpoint(endpoint)
                .map(Some)
                .map_err(|why| ConfigError::new(ENDPOINT, why));
        }
        if let Some(endpoint) = &target.endpoint {
            return Ok(Some(endpoint.clone()));
        }
        endpoint_of_environment(&self.environment, &target.place).map_err(|why| ConfigError::new(ENDPOINT, why))
    }
}

/// The connector's own credentials. Half a pair is wrong for a sink of AWS, which says so itself, and here.
fn credentials(raw: &RawConfig) -> Result<CredentialsPlan, ConfigError> {
    let secret = |key: &str| {
        let text = raw.get(key).map(|text| text.trim()).filter(|text| !text.is_empty());
        text.map(Secret::new)
    };
    let base = match (secret(KEY_ID), secret(SECRET_KEY)) {
        (Some(key_id), Some(secret_key)) => CredentialsPlan::Static {
            key_id,
            secret_key,
            session_token: secret(SESSION_TOKEN),
        },
        (None, None) => CredentialsPlan::DefaultChain,
        _ => {
            return Err(ConfigError::new(
                DESTINATION,
                format!("needs both `{KEY_ID}` and `{SECRET_KEY}`, or none of them for the AWS default chain"),
            ));
        }
    };
    let text = |key: &str| secret(key).map(|text| text.reveal().to_owned());
    Ok(match text(ROLE_ARN) {
        None => base,
        Some(arn) => CredentialsPlan::Role(
            Box::new(base),
            RolePlan {
                arn,
                session_name: text(ROLE_SESSION).unwrap_or_else(|| "klamm".to_owned()),
                external_id: text(ROLE_EXTERNAL_ID),
            },
        ),
    })
}

/// One destination.
#[derive(Debug)]
struct FailureQueue {
    client: Client,
    place: Place,
    base: String,
    /// `base` is the region's own.
    is_regional: bool,
    payload: Payload,
}

impl FailureQueue {
    async fn put(&self, record: &FailedRecord) -> Result<(), NotTaken> {
        let document = document::write(record, self.payload, self.place.limit_bytes());
        let has_payload = document.has_payload;
        match self.send(record, document.text).await {
            Err(Declined::TooLong(_)) if has_payload && self.payload == Payload::WhereItFits => {
                // The queue's or topic's own limit is lower than the service's.
                let short = document::write(record, Payload::Never, self.place.limit_bytes());
                self.send(record, short.text).await.map_err(not_taken)
            }
            outcome => outcome.map_err(not_taken),
        }
    }

    async fn send(&self, record: &FailedRecord, document: String) -> Result<(), Declined> {
        let request = request::of(
            &self.place,
            &self.base,
            self.is_regional,
            &self.client.region,
            record,
            document,
        );
        let answer = self.client.send(request).await?;
        answer::judge(&self.client, &self.place, &answer)
    }
}

fn not_taken(declined: Declined) -> NotTaken {
    match declined {
        Declined::Throttled(text) | Declined::Later(text) => NotTaken::Now(text),
        Declined::Refused(text) | Declined::TooLong(text) => NotTaken::Refused(text),
    }
}

impl FailureDestination for FailureQueue {
    fn name(&self) -> &str {
        &self.client.name
    }

    fn write<'a>(&'a self, record: &'a FailedRecord) -> BoxFuture<'a, Result<(), NotTaken>> {
        Box::pin(self.put(record))
    }
}

#[cfg(test)]
mod tests;
