//! What can go wrong between this client and a broker.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;

use crate::{Principal, SecurityProtocol};

/// A failed exchange with Kafka. Cheap to clone, since several waiters may share one failure.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// No connection came about.
    #[error("cannot connect to Kafka at {address}")]
    Connect {
        /// `host:port`
        address: Arc<str>,
        /// What the operating system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Nothing was answered in time.
    #[error("Kafka at {address} did not answer {api} within {} ms", .after.as_millis())]
    TimedOut {
        /// `host:port`
        address: Arc<str>,
        /// Name of the request.
        api: &'static str,
        /// The time that was given.
        after: Duration,
    },
    /// The connection ended before the answer came.
    #[error("connection to Kafka at {address} closed: {reason}")]
    Disconnected {
        /// `host:port`
        address: Arc<str>,
        /// Why, as far as known.
        reason: Arc<str>,
    },
    /// No secure connection came about.
    #[error("no TLS connection to Kafka at {address} (`security.protocol={protocol}`): {reason}")]
    Tls {
        /// `host:port`
        address: Arc<str>,
        /// `security.protocol`
        protocol: SecurityProtocol,
        /// What went wrong and what to do.
        reason: Arc<str>,
    },
    /// The broker does not take us for who we say we are, or cannot prove who it is, or there is nothing to say: no
    /// token, no credentials.
    #[error("login to Kafka at {address} as `{user}` failed ({protocol}, {mechanism}): {reason}")]
    Authentication {
        /// `host:port`
        address: Arc<str>,
        /// `security.protocol`
        protocol: SecurityProtocol,
        /// `sasl.mechanism`
        mechanism: &'static str,
        /// The user name, the token's subject, or the access key id; `unknown` before there is one.
        user: Arc<str>,
        /// What the broker said and what to do.
        reason: Arc<str>,
    },
    /// The broker speaks no version of this request that this client speaks.
    #[error("Kafka at {address} offers {api} in versions {offered}, this client needs {needed}")]
    UnsupportedVersion {
        /// `host:port`
        address: Arc<str>,
        /// Name of the request.
        api: &'static str,
        /// What the broker has.
        offered: String,
        /// What this client has.
        needed: String,
    },
    /// Bytes that are no Kafka answer.
    #[error("answer to {api} from {address} cannot be read: {reason}")]
    Malformed {
        /// `host:port`
        address: Arc<str>,
        /// Name of the request.
        api: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A request that cannot be written in the negotiated version.
    #[error("{api} cannot be encoded in version {version}: {reason}")]
    Encode {
        /// Name of the request.
        api: &'static str,
        /// The negotiated version.
        version: i16,
        /// What is wrong with it.
        reason: String,
    },
    /// Kafka answered with an error code.
    #[error("{what}: {code}")]
    Broker {
        /// What was asked, and of what.
        what: String,
        /// Kafka's code.
        code: ResponseError,
    },
    /// Kafka knows who asks, and does not allow it.
    #[error(
        "{principal} ({mechanism}) may not {operation} {resource} ({code:?}): grant it {operation} on {resource}{}",
        including(.operation)
    )]
    Authorization {
        /// In whose name it was asked. Boxed, so that every result stays small.
        principal: Box<Principal>,
        /// `sasl.mechanism`, or `security.protocol` where there is no SASL.
        mechanism: &'static str,
        /// The operation that Kafka's ACLs lack, such as `READ`.
        operation: &'static str,
        /// On what: kind and name.
        resource: Arc<str>,
        /// Kafka's code.
        code: ResponseError,
    },
    /// A topic is there, but is not what is needed.
    #[error("topic `{topic}` exists with {difference}: change it, or name another")]
    TopicMismatch {
        /// Name of the topic.
        topic: Arc<str>,
        /// What differs.
        difference: String,
    },
    /// A group has members where it must have none.
    #[error("group `{group}` is {state} with {} members ({}): stop them first", .members.len(), .members.join(", "))]
    GroupNotEmpty {
        /// The group.
        group: Arc<str>,
        /// Kafka's word for its state.
        state: Arc<str>,
        /// Client id and host of each member.
        members: Vec<Arc<str>>,
    },
    /// A broker id that the metadata does not know (yet).
    #[error("broker {0} is not in the cluster's metadata")]
    UnknownBroker(i32),
    /// The topic does not exist, or not yet.
    #[error("topic `{0}` does not exist")]
    UnknownTopic(Arc<str>),
    /// The partition has no leader at the moment.
    #[error("{0} has no leader")]
    NoLeader(crate::TopicPartition),
    /// The client was shut down.
    #[error("the Kafka client is shut down")]
    ShutDown,
}

impl KafkaError {
    /// Whether to go on trying.
    ///
    /// A failure of TLS or of the login is among them, although it seldom passes by itself: users, certificates and
    /// tokens are renewed elsewhere, and the client must notice without a restart. [`KafkaError::is_refusal`] tells
    /// them apart for whoever would rather not wait.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Tls { .. } | Self::Authentication { .. } => true,
            Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::Disconnected { .. }
            | Self::UnknownBroker(_)
            | Self::UnknownTopic(_)
            | Self::NoLeader(_) => true,
            // A broker in the middle of an upgrade may offer it soon, but waiting for that is not a plan.
            Self::Authorization { .. }
            | Self::TopicMismatch { .. }
            | Self::GroupNotEmpty { .. }
            | Self::UnsupportedVersion { .. }
            | Self::Malformed { .. }
            | Self::Encode { .. }
            | Self::ShutDown => false,
            Self::Broker { code, .. } => code.is_retriable() || *code == ResponseError::BrokerNotAvailable,
        }
    }

    /// Whether the broker, or the check of the broker, refused the connection: most likely a person must change
    /// something.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Authentication { .. })
    }

    pub(crate) fn broker(what: impl Into<String>, code: ResponseError) -> Self {
        Self::Broker {
            what: what.into(),
            code,
        }
    }

    /// The broker's code, if this is an answer of a broker.
    pub fn code(&self) -> Option<ResponseError> {
        match self {
            Self::Broker { code, .. } | Self::Authorization { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// READ and WRITE are what is wanted in the end, mostly; whoever grants them need not come back.
fn including(operation: &str) -> &'static str {
    if operation == "DESCRIBE" {
        " (READ and WRITE include it)"
    } else {
        ""
    }
}

/// Whether Kafka's authorizer refused, for the want of a permission.
pub(crate) fn is_denial(code: ResponseError) -> bool {
    matches!(
        code,
        ResponseError::TopicAuthorizationFailed
            | ResponseError::GroupAuthorizationFailed
            | ResponseError::ClusterAuthorizationFailed
            | ResponseError::TransactionalIdAuthorizationFailed
    )
}

/// The code of a response, or `None` for success.
pub(crate) fn code_of(error_code: i16) -> Option<ResponseError> {
    ResponseError::try_from_code(error_code)
}
