//! What stands between the task and Kafka or its destinations, as its status shows it.

use std::time::Duration;

use klamm_delivery::{EngineStatus, LimitThrottled, RouteHealth, RouteStatus};
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

/// What destinations are waited for, and what slows the others down.
pub(super) fn destinations(status: &EngineStatus) -> Option<String> {
    let told = status.routes.iter().filter_map(|route| {
        let (why, since, failure) = match &route.health {
            RouteHealth::Up => return slowed_down(route),
            RouteHealth::Throttled { since, failure, .. } => ("is throttled", since, failure),
            RouteHealth::Unreachable { since, failure } => ("cannot be reached", since, failure),
            RouteHealth::Unusable { since, failure } => ("cannot be used", since, failure),
        };
        (*since >= WORTH_TELLING).then(|| {
            format!(
                "route `{}` waits and tries again, no record is skipped: {} {why} for {} s: {failure}",
                route.name,
                route.destination,
                since.as_secs()
            )
        })
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Which limits are held down by throttles. Those of a route that waits for none slow down others.
fn slowed_down(route: &RouteStatus) -> Option<String> {
    if !route.waits_for_limit {
        return None;
    }
    let limits = [
        (&route.function_limit, ""),
        (&route.account_limit, "the account and region of "),
    ];
    let told = limits.into_iter().filter_map(|(limit, whose)| {
        let LimitThrottled { since, failure } = limit.throttled.as_ref()?;
        (*since >= WORTH_TELLING && limit.routes_waiting > 0).then(|| {
            format!(
                "route `{}` is slowed down, no record is skipped: {whose}{} is throttled for {} s, {} calls at once go \
                 there now: {failure}",
                route.name,
                route.destination,
                since.as_secs(),
                limit.limit
            )
        })
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use klamm_connect_api::sink::Failure;
    use klamm_delivery::LimitStatus;
    use klamm_kafka::KafkaError;
    use tokio::time::{Instant, advance};

    use super::*;

    fn limit(throttled_s: Option<u64>, routes_waiting: usize) -> LimitStatus {
        LimitStatus {
            limit: 7,
            max: 100,
            calls_in_flight: 7,
            routes_waiting,
            closed_for: None,
            throttled: throttled_s.map(|since| LimitThrottled {
                since: Duration::from_secs(since),
                failure: Failure {
                    class: "TooMany".into(),
                    message: "why".into(),
                    request_id: None,
                    answered: None,
                },
            }),
        }
    }

    #[test]
    fn what_slows_a_route_down_is_told_after_a_while_and_only_while_it_waits() {
        let told_if = |waits_for_limit, function_limit, account_limit| {
            destinations(&EngineStatus {
                routes: vec![RouteStatus {
                    name: "orders".into(),
                    destination: "order-fn (sync)".into(),
                    health: RouteHealth::Up,
                    function_limit,
                    account_limit,
                    waits_for_limit,
                    calls_in_flight: 7,
                    batches_waiting: 0,
                    calls: 0,
                    retried_calls: 0,
                    throttled_calls: 0,
                    delivered_records: 0,
                    skipped_records: 0,
                    dead_lettered_records: 0,
                    letters_waiting: 0,
                    possible_duplicates: 0,
                    failures: std::collections::BTreeMap::new(),
                    last_failure: None,
                    call_micros: klamm_delivery::Distribution::default(),
                    call_records: klamm_delivery::Distribution::default(),
                }],
                partitions: Vec::new(),
                filtered_records: 0,
                resumed_records: 0,
                dead_lettered_records: 0,
                failed_records: 0,
                dropped_records: 0,
                rewound_records: 0,
                late_records: 0,
            })
        };
        let told = |function_limit, account_limit| told_if(true, function_limit, account_limit);
        let open = || limit(None, 0);
        // Another route had used up the account, and one that had nothing to send was called slowed down.
        assert_eq!(
            told_if(false, open(), limit(Some(12), 1)),
            None,
            "others wait, not this one"
        );
        assert_eq!(
            told(limit(Some(12), 1), open()).unwrap(),
            "route `orders` is slowed down, no record is skipped: order-fn (sync) is throttled for 12 s, 7 calls at once \
             go there now: TooMany: why"
        );
        let of_account = told(open(), limit(Some(12), 1)).unwrap();
        assert!(
            of_account.contains("the account and region of order-fn (sync) is throttled"),
            "{of_account}"
        );
        assert_eq!(told(limit(Some(4), 1), open()), None, "it may pass");
        assert_eq!(told(limit(Some(12), 0), open()), None, "nothing waits");
        assert_eq!(told(limit(None, 1), open()), None, "the setting's maximum is no fault");
    }

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
