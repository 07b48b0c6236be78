use std::time::Duration;

use klamm_connect_api::{DataError, DataErrorKind};

/// Why a schema could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No answer came: name resolution, connection, TLS, a timeout.
    #[error("the schema registry at {url} does not answer: {reason}")]
    Unreachable {
        /// URL without credentials.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The registry cannot answer now: 408, 429 or 5xx; or a 404 that is none of its own words, but those of a gateway
    /// that does not find the registry.
    #[error("the schema registry at {url} answered {status} to the request for {what}: {answer}")]
    Unavailable {
        /// URL without credentials.
        url: String,
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// The registry's message.
        answer: String,
        /// How long the registry asks to wait.
        retry_after: Option<Duration>,
    },
    /// The registry, or the one who issues tokens, does not accept who asks: 401 or 403.
    #[error(
        "the schema registry at {url} answered {status} to the request for {what} made {principal}: {answer}. Check \
         {check}"
    )]
    Refused {
        /// URL without credentials.
        url: String,
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// How the request was authenticated, such as "with basic authentication as `key`".
        principal: String,
        /// What to check.
        check: &'static str,
        /// The registry's message.
        answer: String,
    },
    /// There is no such schema, or the registry cannot make sense of the request: any other 4xx.
    #[error("the schema registry at {url} has no {what}: it answered {status}: {answer}. Check {check}")]
    NotFound {
        /// URL without credentials.
        url: String,
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// The registry's own code, which says more than the status.
        code: Option<i64>,
        /// The registry's message.
        answer: String,
        /// What to check.
        check: &'static str,
    },
    /// The answer is not what a registry says: no JSON, no schema, too long.
    #[error("the answer of {url} to the request for {what} is not a schema registry's: {reason}. Check {settings}")]
    Answer {
        /// URL without credentials.
        url: String,
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
        /// The settings to check.
        settings: &'static str,
    },
    /// AWS has no credentials for the request, at the moment.
    #[error("no AWS credentials for the schema registry, by {principal}: {reason}")]
    Credentials {
        /// Whose they would be.
        principal: String,
        /// What happened.
        reason: String,
    },
    /// The references of a schema cannot be followed: a cycle, or too many.
    #[error("the references of {what} cannot be followed: {reason}")]
    References {
        /// Which schema.
        what: String,
        /// What is wrong with them.
        reason: String,
    },
    /// No token could be had.
    #[error("no token for the schema registry: {url} answered {status}: {answer}. Check {settings}")]
    Token {
        /// The token endpoint, without credentials.
        url: String,
        /// HTTP status.
        status: u16,
        /// The settings to check.
        settings: &'static str,
        /// The endpoint's error.
        answer: String,
    },
}

impl RegistryError {
    /// Whether this may pass by itself.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Unavailable { .. } | Self::Credentials { .. }
        )
    }

    /// How long the registry asks to wait before the next attempt.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What kind of failure of a record this is.
    #[must_use]
    pub fn kind(&self) -> DataErrorKind {
        match self {
            Self::Unreachable { .. } | Self::Unavailable { .. } | Self::Credentials { .. } => DataErrorKind::Retriable,
            Self::Refused { .. } | Self::Token { .. } => DataErrorKind::Config,
            Self::NotFound { .. } | Self::Answer { .. } | Self::References { .. } => DataErrorKind::Data,
        }
    }
}

impl From<RegistryError> for DataError {
    fn from(error: RegistryError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}
