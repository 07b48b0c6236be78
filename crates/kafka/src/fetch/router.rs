//! Finds the broker for each partition, resolves where to start, and hands it to a session there.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::intake::{Intake, Position};
use super::session::{Session, SessionKey, Shared};
use super::{FetchBudget, FetchError};
use crate::backoff::Backoff;
use crate::client::{Leader, lock};
use crate::{KafkaClient, OffsetReset, OffsetSpec};

/// The longest wait between two looks for a topic that does not exist or a partition without a leader.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Owner of the pool's tasks; dropping it ends them.
#[derive(Debug)]
pub(super) struct Router {
    hub: Arc<Hub>,
}

/// What router and sessions share.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) budget: Arc<dyn FetchBudget>,
    /// Fetches that wait for memory at the moment.
    pub(super) starving: AtomicUsize,
    pub(super) stop: CancellationToken,
    // Bounded by the number of open readers: each is in one place only.
    inbox: Mutex<Vec<Arc<Intake>>>,
    submitted: Notify,
    sessions: Mutex<HashMap<SessionKey, Vec<Arc<Shared>>>>,
}

impl Drop for Router {
    fn drop(&mut self) {
        self.hub.stop.cancel();
    }
}

impl Router {
    pub(super) fn start(client: &Arc<KafkaClient>, budget: Arc<dyn FetchBudget>) -> Arc<Self> {
        let hub = Arc::new(Hub {
            budget,
            starving: AtomicUsize::new(0),
            stop: client.stop().child_token(),
            inbox: Mutex::default(),
            submitted: Notify::new(),
            sessions: Mutex::default(),
        });
        client.spawn(run(Arc::clone(client), Arc::clone(&hub)));
        Arc::new(Self { hub })
    }

    pub(super) fn submit(&self, intake: Arc<Intake>) {
        self.hub.submit(intake);
    }
}

impl Hub {
    /// Has the intake routed (again).
    pub(super) fn submit(&self, intake: Arc<Intake>) {
        lock(&self.inbox).push(intake);
        self.submitted.notify_one();
    }

    /// Puts the intake into the first session of its key that does not hold the partition yet.
    fn attach(self: &Arc<Self>, client: &Arc<KafkaClient>, node: i32, intake: Arc<Intake>) {
        let key = SessionKey {
            node,
            settings: Arc::clone(&intake.settings),
            has_topic_ids: intake.state().topic_id.is_some(),
        };
        let mut sessions = lock(&self.sessions);
        let same_key = sessions.entry(key.clone()).or_default();
        if same_key.iter().any(|session| session.try_join(&intake)) {
            return;
        }
        let shared = Arc::new(Shared::default());
        if !shared.try_join(&intake) {
            // A new session holds nothing, so this does not happen; routing again is right in any case.
            self.submit(intake);
            return;
        }
        same_key.push(Arc::clone(&shared));
        drop(sessions);
        let session = Session::new(Arc::clone(client), Arc::clone(self), key, shared);
        client.spawn(session.run());
    }

    /// Removes an empty session; `false` if somebody joined it meanwhile.
    pub(super) fn retire(&self, key: &SessionKey, session: &Arc<Shared>) -> bool {
        let mut sessions = lock(&self.sessions);
        if !session.is_empty() {
            return false;
        }
        if let Some(same_key) = sessions.get_mut(key) {
            same_key.retain(|other| !Arc::ptr_eq(other, session));
            if same_key.is_empty() {
                sessions.remove(key);
            }
        }
        true
    }
}

async fn run(client: Arc<KafkaClient>, hub: Arc<Hub>) {
    let mut routes = JoinSet::new();
    loop {
        tokio::select! {
            () = hub.stop.cancelled() => return, // dropping the set ends the routes
            () = hub.submitted.notified() => {}
            Some(_) = routes.join_next() => {}
        }
        let submitted = std::mem::take(&mut *lock(&hub.inbox));
        for intake in submitted {
            intake.state().home = None;
            let (client, hub) = (Arc::clone(&client), Arc::clone(&hub));
            routes.spawn(async move {
                let closed = intake.closed.clone();
                tokio::select! {
                    () = closed.cancelled() => {}
                    () = route(client, hub, intake) => {}
                }
            });
        }
    }
}

/// What stands between an intake and its session.
enum Obstacle {
    /// Ask the metadata again.
    Metadata,
    /// The reader was told; it has to ask again.
    Failed(FetchError),
}

async fn route(client: Arc<KafkaClient>, hub: Arc<Hub>, intake: Arc<Intake>) {
    let config = client.config();
    let mut backoff = Backoff::new(config.retry_backoff, LONGEST_WAIT);
    // What failed in a session goes on waiting here.
    let errors = intake.state().errors;
    for _ in 1..errors {
        backoff.next();
    }
    if errors > 1 {
        sleep(backoff.next().min(config.retry_backoff_max)).await;
    }
    let mut is_fresh = errors == 0;
    loop {
        if !is_fresh && client.refreshed().await.is_err() {
            return; // shut down
        }
        is_fresh = false;
        match find(&client, &intake).await {
            Ok(node) => return hub.attach(&client, node, intake),
            Err(Obstacle::Metadata) => sleep(backoff.next()).await,
            Err(Obstacle::Failed(failure)) => {
                intake.fail(failure);
                intake.retry.notified().await;
            }
        }
    }
}

/// The broker to fetch from, once id and position are settled.
async fn find(client: &KafkaClient, intake: &Intake) -> Result<i32, Obstacle> {
    let partition = &intake.partition;
    let Some(info) = client.metadata().topic(&partition.topic) else {
        return Err(Obstacle::Metadata);
    };
    let recreated = {
        let mut state = intake.state();
        let recreated = matches!((state.topic_id, info.id), (Some(known), Some(now)) if known != now);
        // Told once; asking again means to go on with the topic as it is.
        state.topic_id = info.id.or(state.topic_id);
        if recreated && intake.reset != OffsetReset::None {
            // Everything in the new topic is unread, whatever the policy for lost positions says.
            state.position = Position::Unresolved(OffsetSpec::Earliest);
            state.ticket += 1;
        }
        recreated
    };
    if recreated {
        tracing::warn!(%partition, reset = ?intake.reset, "topic was deleted and created again");
        if intake.reset == OffsetReset::None {
            let topic = Arc::clone(&partition.topic);
            return Err(Obstacle::Failed(FetchError::TopicRecreated { topic }));
        }
    }
    let leader = client.metadata().leader(partition).ok_or(Obstacle::Metadata)?;
    let (unresolved, ticket) = {
        let mut state = intake.state();
        state.leader_epoch = leader.epoch;
        match state.position {
            Position::At(_) => (None, state.ticket),
            Position::Unresolved(spec) => (Some(spec), state.ticket),
        }
    };
    if let Some(spec) = unresolved {
        let offset = resolve(client, intake, leader, spec).await?;
        let mut state = intake.state();
        if state.ticket == ticket {
            state.position = Position::At(offset);
            // Whoever waits to know where the reading starts.
            intake.arrived.notify_one();
        }
    }
    let state = intake.state();
    let preferred = state
        .preferred
        .filter(|(_, until)| *until > Instant::now())
        .map(|(node, _)| node);
    Ok(preferred.unwrap_or(leader.node))
}

async fn resolve(client: &KafkaClient, intake: &Intake, leader: Leader, spec: OffsetSpec) -> Result<i64, Obstacle> {
    let partition = &intake.partition;
    let wanted = [(partition.clone(), leader)];
    let listed = client
        .list_offsets_at(leader.node, &wanted, spec, intake.settings.isolation_level)
        .await;
    let answer = listed.and_then(|answers| {
        let answer = answers.into_iter().find(|(listed, _)| listed == partition);
        answer.map_or(Err(crate::KafkaError::NoLeader(partition.clone())), |(_, answer)| {
            answer
        })
    });
    match answer {
        Ok(listed) => listed.offset.ok_or(Obstacle::Metadata),
        Err(err) if err.code() == Some(ResponseError::TopicAuthorizationFailed) => {
            let topic = Arc::clone(&partition.topic);
            Err(Obstacle::Failed(FetchError::TopicAuthorization { topic }))
        }
        Err(err) if err.is_retriable() => {
            tracing::debug!(%partition, error = %err, "start offset not available yet");
            Err(Obstacle::Metadata)
        }
        Err(source) => Err(Obstacle::Failed(FetchError::Refused {
            partition: partition.clone(),
            source,
        })),
    }
}
