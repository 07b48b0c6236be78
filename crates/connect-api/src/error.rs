use std::fmt;

/// What kind of failure a converter, transform or predicate reports: decides the class that Connect would name,
/// and whether the runtime may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataErrorKind {
    /// The data does not fit: Connect's `org.apache.kafka.connect.errors.DataException`.
    Data,
    /// The bytes cannot be read: `org.apache.kafka.common.errors.SerializationException`, seen wrapped in a
    /// `DataException`.
    Serialization,
    /// A schema could not be built: `org.apache.kafka.connect.errors.SchemaBuilderException`.
    SchemaBuilder,
    /// A setting only turned out wrong with this record: `org.apache.kafka.common.config.ConfigException`.
    Config,
    /// May pass by itself, for example a registry that does not answer:
    /// `org.apache.kafka.connect.errors.RetriableException`.
    Retriable,
    /// The converter lacks something that it has to fetch first, such as a schema: call
    /// [`Converter::prepare`](crate::Converter::prepare), then convert again. Never the fate of a record.
    NotReady,
    /// Any other failure, where Java throws a class of its own (`java.*`).
    Other,
}

impl DataErrorKind {
    /// The Java class that Connect names for this failure, as it stands in status traces and dead letter headers.
    #[must_use]
    pub fn java_class(self) -> &'static str {
        match self {
            Self::Data | Self::Serialization => "org.apache.kafka.connect.errors.DataException",
            Self::SchemaBuilder => "org.apache.kafka.connect.errors.SchemaBuilderException",
            Self::Config => "org.apache.kafka.common.config.ConfigException",
            Self::Retriable | Self::NotReady => "org.apache.kafka.connect.errors.RetriableException",
            Self::Other => "org.apache.kafka.connect.errors.ConnectException",
        }
    }
}

/// A record could not be converted or transformed.
///
/// The message says what failed and with which field or type, and never contains the payload itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DataError {
    kind: DataErrorKind,
    message: String,
}

impl DataError {
    /// A failure of the given kind.
    pub fn new(kind: DataErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// The data does not fit ([`DataErrorKind::Data`]).
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(DataErrorKind::Data, message)
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> DataErrorKind {
        self.kind
    }

    /// Whether trying again may help without anybody changing anything.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.kind == DataErrorKind::Retriable
    }

    /// Puts a place (such as a field path) in front of the message.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

/// One thing that is wrong with one configuration key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key as the user knows it, with its prefix.
    pub key: String,
    /// What is wrong, with the value unless it is secret, and what is accepted.
    pub message: String,
}

impl ConfigError {
    /// An error of `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.key, self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with a configuration, in the order it was found. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `Ok` if nothing was found, else all of it.
    ///
    /// # Errors
    /// The errors given, if there are any.
    pub fn check(errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// The errors.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl IntoIterator for ConfigErrors {
    type Item = ConfigError;
    type IntoIter = std::vec::IntoIter<ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
