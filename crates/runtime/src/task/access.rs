//! What stands between the task and Kafka or its destinations, as its status shows it.

use std::time::Duration;

use klamm_delivery::{EngineStatus, RouteHealth};
use klamm_kafka::{ClusterHealth, MemberPhase, MemberState};
use tokio::time::Instant;

/// A broker that restarts, a leader that moves, or a throttle that passes is not worth a word.
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

/// What keeps the member from its group, or from reading, since when.
#[derive(Debug, Default)]
pub(super) struct Membership(Option<(Instant, String)>);

impl Membership {
    /// The member does something else now.
    pub(super) fn note(&mut self, state: &MemberState) {
        self.0 = match state.phase {
            MemberPhase::Waiting => {
                let since = self.0.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                Some((since, state.detail.clone()))
            }
            // It tries again; whether that helps is not known yet.
            MemberPhase::Joining => self.0.take(),
            MemberPhase::Stable | MemberPhase::Fenced | MemberPhase::Left => None,
        };
    }

    pub(super) fn waits(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn text(&self) -> Option<String> {
        let (since, detail) = self.0.as_ref()?;
        (since.elapsed() >= WORTH_TELLING).then(|| format!("the consumer group's member waits: {detail}"))
    }
}

/// What destinations are waited for.
pub(super) fn destinations(status: &EngineStatus) -> Option<String> {
    let told = status.routes.iter().filter_map(|route| {
        let (why, since, failure) = match &route.health {
            RouteHealth::Up => return None,
            RouteHealth::Throttled { since, failure, .. } => ("is throttled", since, failure),
            RouteHealth::Unreachable { since, failure } => ("cannot be reached", since, failure),
            RouteHealth::Unusable { since, failure } => ("cannot be used", since, failure),
        };
        (*since >= WORTH_TELLING).then(|| {
            format!(
                "route `{}` waits and tries again, no record is skipped: {} {why}: {failure}",
                route.name, route.destination
            )
        })
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use klamm_kafka::KafkaError;
    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_keeps_a_member_out_is_told_after_a_while() {
        let mut membership = Membership::default();
        let state = |phase, detail: &str| MemberState {
            phase,
            detail: detail.to_owned(),
            ..MemberState::default()
        };
        membership.note(&state(MemberPhase::Waiting, "denied"));
        assert_eq!((membership.waits(), membership.text()), (true, None));
        advance(WORTH_TELLING).await;
        membership.note(&state(MemberPhase::Joining, ""));
        membership.note(&state(MemberPhase::Waiting, "denied again"));
        assert_eq!(
            membership.text().unwrap(),
            "the consumer group's member waits: denied again",
            "since it began to wait"
        );
        membership.note(&state(MemberPhase::Stable, ""));
        assert_eq!((membership.waits(), membership.text()), (false, None));
    }

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
