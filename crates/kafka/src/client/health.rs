//! Whether the cluster can be reached, in words for a status.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use crate::KafkaError;

/// Whether the cluster can be reached.
#[derive(Clone, Debug)]
pub enum ClusterHealth {
    /// Nothing was asked of it yet.
    Idle,
    /// The last question for metadata was answered.
    Reachable,
    /// No broker answers; the client keeps trying.
    Unreachable {
        /// `bootstrap.servers`.
        bootstrap: Arc<str>,
        /// When the first attempt failed.
        since: Instant,
        /// How the last attempt failed.
        error: KafkaError,
    },
}

impl fmt::Display for ClusterHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("not connected to Kafka yet"),
            Self::Reachable => f.write_str("connected to Kafka"),
            Self::Unreachable {
                bootstrap,
                since,
                error,
            } => write!(
                f,
                "waiting for Kafka at {bootstrap} since {} s: {}",
                since.elapsed().as_secs(),
                chain(error)
            ),
        }
    }
}

/// An error and its sources on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(err) = source {
        text.push_str(": ");
        text.push_str(&err.to_string());
        source = err.source();
    }
    text
}
