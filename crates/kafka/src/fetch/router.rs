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
use uuid::Uuid;

use super::intake::{Intake, Position};
use super::session::{Session, SessionKey, Shared};
use super::stats::{Counters, FetchStats, add};
use super::{FetchBudget, FetchError};
use crate::backoff::Backoff;
use crate::client::{EpochEnd, Leader, chain, lock};
use crate::{KafkaClient, KafkaError, OffsetReset, OffsetSpec, TopicPartition};

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
    pub(super) counters: Counters,
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
            counters: Counters::default(),
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

    pub(super) fn stats(&self) -> FetchStats {
        self.hub.counters.read()
    }

    #[cfg(test)]
    pub(super) fn hub(&self) -> Arc<Hub> {
        Arc::clone(&self.hub)
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
        add(&hub.counters.routes, submitted.len());
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
    /// So does this, and another broker: the one that answered last is behind, or the position is of another topic.
    Behind {
        /// Leader epoch of the record before the position.
        position: i32,
        /// Leader epoch by the metadata.
        leader: i32,
    },
    /// The reader was told; it has to ask again.
    Failed(FetchError),
}

async fn route(client: Arc<KafkaClient>, hub: Arc<Hub>, intake: Arc<Intake>) {
    let config = client.config();
    let mut backoff = Backoff::new(config.retry_backoff, LONGEST_WAIT);
    // What failed in a session goes on waiting here.
    let (errors, checked) = {
        let state = intake.state();
        (state.errors, state.leader_epoch)
    };
    for _ in 1..errors {
        backoff.next();
    }
    if errors > 1 {
        sleep(backoff.next().min(config.retry_backoff_max)).await;
    }
    // The broker that refused may have told who leads now (KIP-951).
    let is_newer = |leader: Leader| leader.epoch > checked;
    let mut is_fresh = errors == 0 || client.metadata().leader(&intake.partition).is_some_and(is_newer);
    let mut is_first = true;
    let mut behind_since = None;
    loop {
        if !is_fresh && client.refreshed().await.is_err() {
            return; // shut down
        }
        is_fresh = false;
        match find(&client, &intake).await {
            Ok(node) => return hub.attach(&client, node, intake),
            // What nobody has asked about yet is asked about at once.
            Err(Obstacle::Metadata) if is_first => {}
            Err(Obstacle::Metadata) => sleep(backoff.next()).await,
            Err(Obstacle::Behind { position, leader }) => {
                client.metadata().doubt();
                let since = behind_since.get_or_insert_with(|| (Instant::now(), false));
                if since.0.elapsed() >= LONGEST_WAIT && !std::mem::replace(&mut since.1, true) {
                    tracing::warn!(
                        partition = %intake.partition,
                        position_epoch = position,
                        leader_epoch = leader,
                        "no broker knows a leader as new as the record before the position, waiting for one; if the \
                         topic was deleted and created again, commit an offset of the new one"
                    );
                }
                sleep(backoff.next()).await;
            }
            Err(Obstacle::Failed(failure)) => {
                intake.fail(failure);
                intake.retry.notified().await;
            }
        }
        is_first = false;
    }
}

/// The broker to fetch from, once id and position are settled.
async fn find(client: &KafkaClient, intake: &Intake) -> Result<i32, Obstacle> {
    let partition = &intake.partition;
    let Some(info) = client.metadata().topic(&partition.topic) else {
        let denied = client.denied(&partition.topic);
        return Err(denied.map_or(Obstacle::Metadata, |err| obstacle(partition, err)));
    };
    follow_topic(intake, info.id)?;
    let leader = client.metadata().leader(partition).ok_or(Obstacle::Metadata)?;
    follow_epoch(intake, leader)?;
    validate(client, intake, leader).await?;
    resolve(client, intake, leader).await?;
    let mut state = intake.state();
    state.preferred = state.preferred.filter(|(_, until)| *until > Instant::now());
    Ok(state.preferred.map_or(leader.node, |(node, _)| node))
}

/// Takes note of the topic's id: another one means that the topic was made again.
fn follow_topic(intake: &Intake, id: Option<Uuid>) -> Result<(), Obstacle> {
    let partition = &intake.partition;
    let mut state = intake.state();
    let is_recreated = matches!((state.topic_id, id), (Some(known), Some(now)) if known != now);
    // Told once; asking again means to go on with the topic as it is.
    state.topic_id = id.or(state.topic_id);
    if !is_recreated {
        return Ok(());
    }
    // The new topic's leader epochs have nothing to do with those before.
    (state.last_epoch, state.leader_epoch, state.preferred) = (None, -1, None);
    tracing::warn!(%partition, reset = ?intake.reset, "topic was deleted and created again");
    if intake.reset == OffsetReset::None {
        let topic = Arc::clone(&partition.topic);
        return Err(Obstacle::Failed(FetchError::TopicRecreated { topic }));
    }
    // Everything in the new topic is unread, whatever the policy for lost positions says.
    state.go_to(Position::Unresolved(OffsetSpec::Earliest), None);
    Ok(())
}

/// Refuses a leader that is older than the record before the position: cut off from the cluster it may still answer, but
/// knows neither that record nor its epoch, and would say that all was lost. Epochs never go back, unless the topic was
/// made again, which only shows where topics have ids.
fn follow_epoch(intake: &Intake, leader: Leader) -> Result<(), Obstacle> {
    let state = intake.state();
    match (state.position, state.last_epoch) {
        (Position::At(_), Some(position)) if state.topic_id.is_some() && (0..position).contains(&leader.epoch) => {
            Err(Obstacle::Behind {
                position,
                leader: leader.epoch,
            })
        }
        _ => Ok(()),
    }
}

/// Checks the position against the log of a leader that is new to it: whether the log still holds what was read up to
/// there, or was cut and went on differently, as after an unclean leader election (KIP-320).
async fn validate(client: &KafkaClient, intake: &Intake, leader: Leader) -> Result<(), Obstacle> {
    let partition = &intake.partition;
    let (offset, epoch, ticket) = {
        let mut state = intake.state();
        match (state.position, state.last_epoch) {
            (Position::At(offset), Some(epoch)) if leader.epoch >= 0 && state.leader_epoch != leader.epoch => {
                (offset, epoch, state.ticket)
            }
            _ => {
                state.leader_epoch = leader.epoch;
                return Ok(());
            }
        }
    };
    let end = match client.epoch_end(partition, leader, epoch).await {
        Ok(end) => end,
        // Kafka's consumers do without the check on such brokers, too.
        Err(KafkaError::UnsupportedVersion { .. }) => Some(EpochEnd { epoch, offset }),
        Err(err) => return Err(obstacle(partition, err)),
    };
    let mut state = intake.state();
    if state.ticket != ticket || state.position != Position::At(offset) {
        return Err(Obstacle::Metadata); // sought meanwhile: once more
    }
    if end.is_some_and(|end| end.offset >= offset) {
        state.leader_epoch = leader.epoch;
        return Ok(());
    }
    // What waits for the reader came from the old log. The reader itself stands in front of it.
    state.take_back();
    let Position::At(reached) = state.position else {
        return Err(Obstacle::Metadata);
    };
    if end.is_some_and(|end| end.offset >= reached) {
        state.leader_epoch = leader.epoch;
        return Ok(());
    }
    let diverged = end.map(|end| (end.epoch, end.offset));
    let position = match (intake.reset, end) {
        (OffsetReset::None, _) => {
            let partition = partition.clone();
            return Err(Obstacle::Failed(FetchError::LogTruncated {
                partition,
                offset: reached,
                diverged,
            }));
        }
        (_, Some(end)) => Position::At(end.offset),
        (OffsetReset::Earliest, None) => Position::Unresolved(OffsetSpec::Earliest),
        (OffsetReset::Latest, None) => Position::Unresolved(OffsetSpec::Latest),
    };
    tracing::warn!(
        %partition,
        offset = reached,
        diverging_offset = end.map(|end| end.offset),
        diverging_epoch = end.map(|end| end.epoch),
        reset = ?intake.reset,
        "the log was cut behind what was read: records were lost or replaced, reading goes on where the logs part"
    );
    state.go_to(position, end.map(|end| end.epoch));
    state.leader_epoch = leader.epoch;
    Ok(())
}

/// Asks the leader for a position that is known only as "the start" or "the end".
async fn resolve(client: &KafkaClient, intake: &Intake, leader: Leader) -> Result<(), Obstacle> {
    let partition = &intake.partition;
    let (spec, ticket) = {
        let state = intake.state();
        match state.position {
            Position::At(_) => return Ok(()),
            Position::Unresolved(spec) => (spec, state.ticket),
        }
    };
    let wanted = [(partition.clone(), leader)];
    let listed = client
        .list_offsets_at(leader.node, &wanted, spec, intake.settings.isolation_level)
        .await;
    let answer = listed.and_then(|answers| {
        let answer = answers.into_iter().find(|(listed, _)| listed == partition);
        answer.map_or(Err(KafkaError::NoLeader(partition.clone())), |(_, answer)| answer)
    });
    let listed = answer.map_err(|err| obstacle(partition, err))?;
    let offset = listed.offset.ok_or(Obstacle::Metadata)?;
    let mut state = intake.state();
    if state.ticket == ticket {
        state.position = Position::At(offset);
        state.last_epoch = listed.leader_epoch;
        // Whoever waits to know where the reading starts.
        intake.arrived.notify_one();
    }
    Ok(())
}

/// Answers of a leader to how it was asked, which another time will not change.
const LASTING: [ResponseError; 4] = [
    ResponseError::InvalidRequest,
    ResponseError::InvalidTopicException,
    ResponseError::UnsupportedForMessageFormat,
    ResponseError::UnsupportedVersion,
];

/// What a failed question to the leader means for the reader.
fn obstacle(partition: &TopicPartition, err: KafkaError) -> Obstacle {
    if err.code() == Some(ResponseError::TopicAuthorizationFailed) {
        let topic = Arc::clone(&partition.topic);
        return Obstacle::Failed(FetchError::TopicAuthorization { topic, source: err });
    }
    match &err {
        // As Kafka's consumers do: whatever else a leader says may pass, such as trouble with its disk.
        KafkaError::Broker { code, .. } if !LASTING.contains(code) => {
            if !err.is_retriable() {
                tracing::warn!(%partition, error = %chain(&err), "the leader refuses, it will be asked again");
            }
            return Obstacle::Metadata;
        }
        err if err.is_retriable() => {
            tracing::debug!(%partition, error = %chain(err), "the leader cannot be asked yet");
            return Obstacle::Metadata;
        }
        _ => {}
    }
    Obstacle::Failed(FetchError::Refused {
        partition: partition.clone(),
        source: err,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AssignmentEpoch;
    use crate::fetch::{PartitionRequest, StartPosition};

    // An old leader that was cut off from the cluster was asked where a newer epoch ends. It knows nothing of it, which
    // read as "all is lost": the whole topic came again.
    #[test]
    fn a_leader_older_than_what_was_read_is_not_asked() {
        let cases = [
            // epoch of the commit, of the leader, topic id, is refused, why
            (Some(7), 6, Some(1), true, "the leader is behind"),
            (Some(7), 0, Some(1), true, "also in its first epoch"),
            (Some(7), 7, Some(1), false, "the same leader"),
            (Some(7), 8, Some(1), false, "a newer leader"),
            (Some(7), -1, Some(1), false, "the broker does not tell epochs"),
            (None, 6, Some(1), false, "the committer knew no epoch"),
            (
                Some(7),
                6,
                None,
                false,
                "without ids the topic may have been made again",
            ),
        ];
        for (committed, leader, id, is_refused, why) in cases {
            let intake = Intake::new(&PartitionRequest {
                topic: "t".into(),
                topic_id: id.map(Uuid::from_u128),
                partition: 0,
                start: StartPosition::Committed {
                    offset: 100,
                    leader_epoch: committed,
                },
                reset: OffsetReset::Earliest,
                settings: Arc::default(),
                epoch: AssignmentEpoch::next(),
            });
            let found = follow_epoch(&intake, Leader { node: 1, epoch: leader });
            assert_eq!(found.is_err(), is_refused, "{why}");
        }
    }

    // UNKNOWN_SERVER_ERROR is no code that is "retriable" by Kafka's book, and ended the reading.
    #[test]
    fn a_passing_error_of_the_leader_does_not_reach_the_reader() {
        let partition = TopicPartition::new("t", 0);
        let of = |code| obstacle(&partition, KafkaError::broker("listing offsets", code));
        for code in [
            ResponseError::UnknownServerError,
            ResponseError::KafkaStorageError,
            ResponseError::NotLeaderOrFollower,
        ] {
            assert!(matches!(of(code), Obstacle::Metadata), "{code:?}");
        }
        assert!(matches!(
            of(ResponseError::TopicAuthorizationFailed),
            Obstacle::Failed(FetchError::TopicAuthorization { .. })
        ));
        for code in LASTING {
            assert!(
                matches!(of(code), Obstacle::Failed(FetchError::Refused { .. })),
                "{code:?}"
            );
        }
        let obsolete = KafkaError::UnsupportedVersion {
            address: "b:1".into(),
            api: "ListOffsets",
            offered: "0..0".to_owned(),
            needed: "1..9".to_owned(),
        };
        assert!(matches!(
            obstacle(&partition, obsolete),
            Obstacle::Failed(FetchError::Refused { .. })
        ));
    }
}
