//! Signed requests to AWS services, and the destinations for failed records among them.
//!
//! **Owns** the HTTP client and the credentials that everything here shares, the signature, endpoints; and the
//! [`FailureQueues`]: SQS queues, SNS topics and S3 buckets as destinations of failed records; objects in S3; and the config
//! providers for AWS Secrets Manager and the parameters of AWS Systems Manager.
//! **Does not know** Kafka, Lambda, retries: a request is sent once, and whoever asked decides what follows.
//! **Invariant:** no credential and no part of a record reaches a log or an error text.
#![forbid(unsafe_code)]

mod credentials;
mod endpoint;
mod environment;
mod failures;
mod http_client;
mod objects;
mod secrets;
mod service;
mod sign;
mod signer;

pub use credentials::{CredentialsCache, CredentialsPlan, NoCredentials, RolePlan};
pub use endpoint::{parse_endpoint, regional_endpoint};
pub use environment::Environment;
pub use failures::FailureQueues;
pub use http_client::{AnswerBody, CONNECT_TIMEOUT, HttpClient, SendError, chain};
pub use objects::{ObjectPlace, ObjectStore, key_of, object_uri, parse_bucket};
pub use secrets::config_providers;
pub use service::{Declined, SettingKeys};
pub use sign::{CannotSign, Service, sign_request};
pub use signer::Signer;
