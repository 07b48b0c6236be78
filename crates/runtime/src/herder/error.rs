use crate::config_log::ConfigLogError;

/// Why the herder refuses or cannot do what it was asked for. [`HerderError::kind`] maps to the HTTP status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HerderError {
    /// There is no such connector, task, status or plugin. The text is Connect's.
    #[error("{0}")]
    NotFound(String),
    /// A connector of that name exists.
    #[error("Connector {0} already exists")]
    AlreadyExists(String),
    /// The request or the configuration is wrong; the text names each key and what is accepted.
    #[error("{0}")]
    BadRequest(String),
    /// The worker's settings switch that off.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Offsets cannot be read or moved: Kafka is away or refuses, or the consumer group has members.
    #[error("{0}")]
    Offsets(String),
    /// Others changed the configuration again and again meanwhile: worth another try.
    #[error(
        "Cannot complete request because of a conflicting operation (the configuration changed meanwhile), try again"
    )]
    Conflict,
    /// The worker ends and takes no more requests.
    #[error("Worker is shutting down")]
    ShuttingDown,
    /// The config log cannot be read or written.
    #[error("{0}")]
    Log(#[from] ConfigLogError),
}

/// What kind of refusal a [`HerderError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HerderErrorKind {
    /// 404
    NotFound,
    /// 409
    Conflict,
    /// 400
    BadRequest,
    /// 403
    Forbidden,
    /// 500
    Internal,
}

impl HerderError {
    /// What kind of refusal this is.
    #[must_use]
    pub fn kind(&self) -> HerderErrorKind {
        match self {
            Self::NotFound(_) => HerderErrorKind::NotFound,
            Self::AlreadyExists(_) | Self::Conflict => HerderErrorKind::Conflict,
            Self::BadRequest(_) => HerderErrorKind::BadRequest,
            Self::Forbidden(_) => HerderErrorKind::Forbidden,
            Self::Offsets(_) | Self::ShuttingDown | Self::Log(_) => HerderErrorKind::Internal,
        }
    }
}
