//! Whether Kafka can be reached and lets the task in, as its status shows it.

use std::time::Duration;

use klamm_kafka::ClusterHealth;

/// A broker that restarts, or a leader that moves, is not worth a word.
const WORTH_TELLING: Duration = Duration::from_secs(5);
/// What is refused for so long takes a person: a wrong password or certificate, not a token service that restarts.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// What a task has to say about its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing.
    Fine,
    /// It waits, for this reason; nothing is lost meanwhile.
    Waiting(String),
    /// Kafka refuses the login or the certificates, and goes on doing so. The task keeps trying all the same.
    Refused(String),
}

impl From<&ClusterHealth> for Access {
    fn from(health: &ClusterHealth) -> Self {
        match health {
            ClusterHealth::Idle | ClusterHealth::Reachable => Self::Fine,
            ClusterHealth::Unreachable { since, error, .. } => match since.elapsed() {
                since if error.is_refusal() && since >= REFUSED_FOR => Self::Refused(crate::chain(error)),
                since if since >= WORTH_TELLING => Self::Waiting(format!("waiting for Kafka: {}", crate::chain(error))),
                _ => Self::Fine,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use klamm_kafka::KafkaError;
    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_and_a_refusal_fails_the_task_after_a_while() {
        let since = Instant::now();
        let of = |error: &KafkaError| {
            Access::from(&ClusterHealth::Unreachable {
                bootstrap: "b:1".into(),
                since,
                error: error.clone(),
            })
        };
        let away = KafkaError::Connect {
            address: "b:1".into(),
            source: Arc::new(std::io::ErrorKind::ConnectionRefused.into()),
        };
        let refused = KafkaError::Authentication {
            address: "b:1".into(),
            protocol: klamm_kafka::SecurityProtocol::SaslSsl,
            mechanism: "PLAIN",
            user: "alice".into(),
            reason: "no".into(),
        };
        assert_eq!((of(&away), of(&refused)), (Access::Fine, Access::Fine));
        advance(WORTH_TELLING).await;
        let Access::Waiting(told) = of(&away) else {
            panic!("an outage is told")
        };
        assert!(
            told.starts_with("waiting for Kafka: cannot connect to Kafka at b:1: "),
            "{told}"
        );
        assert!(matches!(of(&refused), Access::Waiting(_)), "it may pass");
        advance(REFUSED_FOR).await;
        assert!(matches!(of(&away), Access::Waiting(_)), "an outage never fails a task");
        assert!(matches!(of(&refused), Access::Refused(_)));
        assert_eq!(Access::from(&ClusterHealth::Reachable), Access::Fine);
    }
}
