//! One request to SQS, SNS or S3, and what its answer means.
//!
//! `target` reads which queue, topic or bucket a setting names, `client` sends a request once, `answer` judges.

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod target;

use crate::{Environment, parse_endpoint};
use target::Place;

/// The settings by which a person names a destination: what messages say has to be changed.
#[derive(Debug, Clone, Copy)]
pub struct SettingKeys {
    /// The destination itself.
    pub destination: &'static str,
    /// Its region.
    pub region: &'static str,
    /// Base URL of its API.
    pub endpoint: &'static str,
}

/// Why a service did not take what it was sent, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Declined {
    /// Too much at once.
    #[error("{0}")]
    Throttled(String),
    /// It passes by itself.
    #[error("{0}")]
    Later(String),
    /// A person has to change something; the text says what.
    #[error("{0}")]
    Refused(String),
    /// It is longer than the service takes.
    #[error("{0}")]
    TooLong(String),
}

/// The base URL that the environment names for a service.
///
/// # Errors
/// One that is none.
pub(crate) fn endpoint_of_environment(environment: &Environment, place: &Place) -> Result<Option<String>, String> {
    let own = match place {
        Place::Queue { .. } => "AWS_ENDPOINT_URL_SQS",
        Place::Topic { .. } => "AWS_ENDPOINT_URL_SNS",
        Place::Bucket { .. } => "AWS_ENDPOINT_URL_S3",
    };
    for name in [own, "AWS_ENDPOINT_URL"] {
        if let Some(endpoint) = environment.first(&[name]) {
            let endpoint = parse_endpoint(endpoint);
            return endpoint
                .map(Some)
                .map_err(|why| format!("the environment's {name} is wrong: {why}"));
        }
    }
    Ok(None)
}
