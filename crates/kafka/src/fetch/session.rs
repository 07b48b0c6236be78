//! One fetch session: a broker, one set of settings, each partition at most once.
//!
//! Two connections. The *main* one carries the session's long polls. A partition that wants data while the main one is
//! parked is asked for without a session on the *side* one, which never waits long, and joins the session when the
//! long poll returns. So a new partition delivers at once while the others idle.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::PartitionData;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};
use uuid::Uuid;

use super::intake::{Intake, Position};
use super::request::{Answer, Ask, Plan, Sender, Wire, sessionless};
use super::router::Hub;
use super::section::Response;
use super::{FetchError, FetchedSection, Remedy, remedy};
use crate::backoff::Backoff;
use crate::client::{Leader, lock};
use crate::connection::Link;
use crate::error::code_of;
use crate::records::{AbortedTransaction, is_damaged, scan};
use crate::{FetchSettings, KafkaClient, KafkaError, OffsetReset, OffsetSpec, TopicPartition};

/// A reader that takes its section within this time makes it into the next long poll.
const GRACE: Duration = Duration::from_millis(1);
/// The longest poll while some partition is about to come back, so that it does not wait out a long one.
const SHORT_WAIT: Duration = Duration::from_millis(25);
/// A partition is about to come back if it delivered so recently.
const RECENT: Duration = Duration::from_secs(1);
/// How often waiting sections are looked after.
const SWEEP: Duration = Duration::from_millis(500);
/// An empty session keeps its connections this long.
const LINGER: Duration = Duration::from_secs(10);

/// What partitions of one session have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SessionKey {
    pub(super) node: i32,
    pub(super) settings: Arc<FetchSettings>,
    pub(super) has_topic_ids: bool,
}

/// How others reach a session.
#[derive(Debug, Default)]
pub(super) struct Shared {
    door: Mutex<Door>,
    woken: Notify,
}

#[derive(Debug, Default)]
struct Door {
    /// Came in, not seen by the session yet.
    joining: Vec<Arc<Intake>>,
    /// All partitions that have a reader here.
    held: HashSet<TopicPartition>,
}

impl Shared {
    /// Takes the intake in unless its partition already has a reader here.
    pub(super) fn try_join(self: &Arc<Self>, intake: &Arc<Intake>) -> bool {
        let mut door = lock(&self.door);
        if !door.held.insert(intake.partition.clone()) {
            return false;
        }
        door.joining.push(Arc::clone(intake));
        drop(door);
        let mut state = intake.state();
        if intake.closed.is_cancelled() {
            // The reader was dropped before it could know where to leave.
            drop(state);
            self.leave(&intake.partition);
        } else {
            state.home = Some(Arc::clone(self));
            drop(state);
            self.wake();
        }
        true
    }

    /// Makes room for another reader of the partition.
    pub(super) fn leave(&self, partition: &TopicPartition) {
        lock(&self.door).held.remove(partition);
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.door).held.is_empty()
    }
}

/// Where a partition is being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    Main { ticket: u64, offset: i64 },
    Side { ticket: u64, offset: i64 },
}

#[derive(Debug)]
struct Member {
    intake: Arc<Intake>,
    asked: Asked,
    /// Not asked for since it joined, was sought, or delivered: its data may be waiting.
    is_fresh: bool,
}

type InFlight = Option<Pin<Box<dyn Future<Output = Result<Answer, KafkaError>> + Send>>>;

pub(super) struct Session {
    client: Arc<KafkaClient>,
    hub: Arc<Hub>,
    key: SessionKey,
    shared: Arc<Shared>,
    sender: Sender,
    main_link: Arc<Link>,
    side_link: Arc<Link>,
    members: HashMap<TopicPartition, Member>,
    names: HashMap<Uuid, Arc<str>>,
    wire: Wire,
    backoff: Backoff,
    not_before: Instant,
    side_not_before: Instant,
    empty_since: Option<Instant>,
}

enum Event {
    Stop,
    Main(Result<Answer, KafkaError>),
    Side(Result<Answer, KafkaError>),
    Woken,
    Metadata,
    Clock,
}

impl Session {
    pub(super) fn new(client: Arc<KafkaClient>, hub: Arc<Hub>, key: SessionKey, shared: Arc<Shared>) -> Self {
        let max_bytes = usize::try_from(key.settings.max_bytes).unwrap_or(0);
        let config = client.config();
        Self {
            sender: Sender {
                client: Arc::clone(&client),
                hub: Arc::clone(&hub),
                node: key.node,
                settings: Arc::clone(&key.settings),
                has_topic_ids: key.has_topic_ids,
            },
            main_link: Arc::new(client.own_link(max_bytes)),
            side_link: Arc::new(client.own_link(max_bytes)),
            members: HashMap::new(),
            names: HashMap::new(),
            wire: Wire::default(),
            backoff: Backoff::new(config.retry_backoff, config.retry_backoff_max),
            not_before: Instant::now(),
            side_not_before: Instant::now(),
            empty_since: None,
            client,
            hub,
            key,
            shared,
        }
    }

    /// Runs until the pool stops, or the session was empty for a while.
    pub(super) async fn run(mut self) {
        let stop = self.hub.stop.clone();
        let shared = Arc::clone(&self.shared);
        let mut changes = self.client.metadata().changes();
        let mut main: InFlight = None;
        let mut side: InFlight = None;
        let mut next_sweep = Instant::now() + SWEEP;
        loop {
            self.admit();
            let now = Instant::now();
            if main.is_none()
                && now >= self.not_before
                && let Some(plan) = self.plan_main()
            {
                main = Some(Box::pin(self.sender.clone().send(Arc::clone(&self.main_link), plan)));
            }
            if main.is_some()
                && side.is_none()
                && now >= self.side_not_before
                && let Some(plan) = self.plan_side()
            {
                side = Some(Box::pin(self.sender.clone().send(Arc::clone(&self.side_link), plan)));
            }
            if main.is_none() && side.is_none() && self.is_over() {
                return;
            }
            let mut wake = next_sweep;
            for not_before in [self.not_before, self.side_not_before]
                .into_iter()
                .filter(|at| *at > now)
            {
                wake = wake.min(not_before);
            }
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => Event::Stop,
                answer = arrival(&mut main) => Event::Main(answer),
                answer = arrival(&mut side) => Event::Side(answer),
                () = shared.woken.notified() => Event::Woken,
                Ok(()) = changes.changed() => Event::Metadata,
                () = sleep_until(wake) => Event::Clock,
            };
            match event {
                Event::Stop => return,
                Event::Main(answer) => {
                    main = None;
                    self.main_answered(answer);
                }
                Event::Side(answer) => {
                    side = None;
                    self.side_answered(answer);
                }
                Event::Woken => self.grace_ended(),
                Event::Metadata => self.follow_leaders(),
                Event::Clock if Instant::now() >= next_sweep => {
                    next_sweep = Instant::now() + SWEEP;
                    let is_starving = self.hub.starving.load(Ordering::Relaxed) > 0;
                    for member in self.members.values() {
                        member.intake.sweep(is_starving);
                    }
                }
                Event::Clock => {}
            }
        }
    }

    /// Takes in who joined, lets go of who closed.
    fn admit(&mut self) {
        self.members.retain(|_, member| !member.intake.closed.is_cancelled());
        let joining = std::mem::take(&mut lock(&self.shared.door).joining);
        for intake in joining.into_iter().filter(|intake| !intake.closed.is_cancelled()) {
            if let Some(id) = intake.state().topic_id {
                self.names.insert(id, Arc::clone(&intake.partition.topic));
            }
            let member = Member {
                intake: Arc::clone(&intake),
                asked: Asked::No,
                is_fresh: true,
            };
            self.members.insert(intake.partition.clone(), member);
        }
    }

    /// Whether the session was empty long enough and is no longer to be found.
    fn is_over(&mut self) -> bool {
        if !self.members.is_empty() {
            self.empty_since = None;
            return false;
        }
        let since = *self.empty_since.get_or_insert_with(Instant::now);
        since.elapsed() >= LINGER && self.hub.retire(&self.key, &self.shared)
    }

    /// The next long poll; `None` while nobody wants anything.
    fn plan_main(&mut self) -> Option<Plan> {
        let mut wanted = Vec::with_capacity(self.members.len());
        let mut is_one_coming_back = false;
        for (partition, member) in &mut self.members {
            let state = member.intake.state();
            match (state.wants(), member.asked) {
                (Some(offset), Asked::No) => {
                    member.asked = Asked::Main {
                        ticket: state.ticket,
                        offset,
                    };
                    member.is_fresh = false;
                    wanted.push((partition.clone(), ask(&state, offset)));
                }
                (Some(_), _) => is_one_coming_back = true,
                (None, _) => {
                    let delivered = state.delivered.is_some_and(|at| at.elapsed() < RECENT);
                    is_one_coming_back |= delivered && !state.is_paused;
                }
            }
        }
        if wanted.is_empty() {
            return None;
        }
        let max_wait = if is_one_coming_back {
            self.short_wait()
        } else {
            self.key.settings.max_wait
        };
        Some(self.wire.plan(&wanted, max_wait))
    }

    /// What the side connection asks for while the long poll is out.
    fn plan_side(&mut self) -> Option<Plan> {
        let mut wanted = Vec::new();
        let mut has_fresh = false;
        for (partition, member) in &mut self.members {
            let state = member.intake.state();
            if let (Some(offset), Asked::No) = (state.wants(), member.asked) {
                member.asked = Asked::Side {
                    ticket: state.ticket,
                    offset,
                };
                let is_fresh = std::mem::take(&mut member.is_fresh);
                has_fresh |= is_fresh;
                wanted.push((is_fresh, (partition.clone(), ask(&state, offset))));
            }
        }
        if wanted.is_empty() {
            return None;
        }
        // The response is filled in this order.
        wanted.sort_by_key(|(is_fresh, _)| !is_fresh);
        let wanted = wanted.into_iter().map(|(_, ask)| ask).collect();
        Some(sessionless(
            wanted,
            if has_fresh { Duration::ZERO } else { self.short_wait() },
        ))
    }

    fn short_wait(&self) -> Duration {
        // Whoever asks for larger responses accepts to wait for them.
        let max_wait = self.key.settings.max_wait;
        if self.key.settings.min_bytes > 1 {
            max_wait
        } else {
            max_wait.min(SHORT_WAIT)
        }
    }

    fn main_answered(&mut self, answer: Result<Answer, KafkaError>) {
        let asked: HashMap<_, _> = self
            .members
            .iter_mut()
            .filter_map(|(partition, member)| match member.asked {
                Asked::Main { ticket, offset } => {
                    member.asked = Asked::No;
                    Some((partition.clone(), (ticket, offset)))
                }
                Asked::No | Asked::Side { .. } => None,
            })
            .collect();
        match answer {
            Ok(answer) => match self.wire.answered(&answer.response) {
                Ok(()) => {
                    self.backoff.reset();
                    let throttle = throttle(&answer);
                    let delivered = self.deliver(answer, &asked);
                    let pause = if delivered { throttle.max(GRACE) } else { throttle };
                    self.not_before = Instant::now() + pause;
                }
                Err(code) => {
                    tracing::debug!(node = self.key.node, ?code, "fetch session starts again");
                    if !matches!(
                        code,
                        ResponseError::FetchSessionIdNotFound | ResponseError::InvalidFetchSessionEpoch
                    ) {
                        self.client.request_refresh();
                        self.not_before = Instant::now() + self.backoff.next();
                    }
                }
            },
            Err(err) => {
                self.wire.lost();
                self.note_failure(&err);
                self.not_before = Instant::now() + self.backoff.next();
            }
        }
    }

    fn side_answered(&mut self, answer: Result<Answer, KafkaError>) {
        let asked: HashMap<_, _> = self
            .members
            .iter_mut()
            .filter_map(|(partition, member)| match member.asked {
                Asked::Side { ticket, offset } => {
                    member.asked = Asked::No;
                    Some((partition.clone(), (ticket, offset)))
                }
                Asked::No | Asked::Main { .. } => None,
            })
            .collect();
        match answer {
            Ok(answer) => {
                self.side_not_before = Instant::now() + throttle(&answer);
                if let Some(code) = code_of(answer.response.error_code) {
                    tracing::debug!(node = self.key.node, ?code, "fetch without a session refused");
                    self.client.request_refresh();
                    self.side_not_before = Instant::now() + self.backoff.next();
                } else {
                    self.deliver(answer, &asked);
                }
            }
            Err(err) => {
                self.note_failure(&err);
                self.side_not_before = Instant::now() + self.backoff.next();
            }
        }
    }

    fn note_failure(&self, err: &KafkaError) {
        tracing::debug!(node = self.key.node, error = %crate::client::chain(err), "fetch failed, will be sent again");
        // The leaders may be elsewhere by now; this also shows an outage in the client's health.
        self.client.request_refresh();
    }

    /// After a delivery the next long poll waits a moment for the readers; it need not wait for those that are back.
    fn grace_ended(&mut self) {
        let all_back = self.members.values().all(|member| {
            let state = member.intake.state();
            state.ready.is_none() || state.delivered.is_none_or(|at| at.elapsed() > GRACE)
        });
        if all_back && self.not_before.saturating_duration_since(Instant::now()) <= GRACE {
            self.not_before = Instant::now();
        }
    }

    /// Hands each partition its part of the answer; whether anybody got records.
    fn deliver(&mut self, answer: Answer, asked: &HashMap<TopicPartition, (u64, i64)>) -> bool {
        let Answer {
            response,
            mut reservation,
        } = answer;
        let mut total = 0;
        let mut parts = Vec::new();
        for topic in response.responses {
            let name = match self.names.get(&topic.topic_id) {
                Some(name) => Arc::clone(name),
                None => Arc::from(topic.topic.as_str()),
            };
            for data in topic.partitions {
                total += data.records.as_ref().map_or(0, |records| records.len());
                let partition = TopicPartition::new(Arc::clone(&name), data.partition_index);
                // What nobody asked for, or whose reader is gone, is dropped here.
                if let Some((ticket, offset)) = asked.get(&partition) {
                    parts.push((partition, *ticket, *offset, data));
                }
            }
        }
        reservation.resize(total);
        let share = Response::new(total);
        let mut has_delivered = false;
        for (partition, ticket, offset, data) in parts {
            let Some(member) = self.members.get_mut(&partition) else {
                continue;
            };
            match accept(&member.intake, ticket, offset, data, &mut reservation, &share) {
                Accepted::Section => {
                    has_delivered = true;
                    member.is_fresh = true;
                }
                Accepted::Nothing => {}
                Accepted::Stale => member.is_fresh = true,
                Accepted::Moved(leader) => {
                    if let Some(leader) = leader {
                        self.client.metadata().learn_leader(&partition, leader);
                    }
                    self.reroute(&partition);
                }
            }
        }
        has_delivered
    }

    /// Sends the partition back to the router.
    fn reroute(&mut self, partition: &TopicPartition) {
        if let Some(member) = self.members.remove(partition) {
            member.intake.state().home = None;
            self.shared.leave(partition);
            self.hub.submit(member.intake);
        }
    }

    /// The metadata changed: partitions whose leader or topic is another now leave.
    fn follow_leaders(&mut self) {
        let mut moved = Vec::new();
        for (partition, member) in &self.members {
            let (Some(leader), Some(info)) = (
                self.client.metadata().leader(partition),
                self.client.metadata().topic(&partition.topic),
            ) else {
                continue; // known again soon, or the broker says what is wrong
            };
            let mut state = member.intake.state();
            let is_near = state
                .preferred
                .is_some_and(|(node, until)| node == self.key.node && until > Instant::now());
            if info.id != state.topic_id || (leader.node != self.key.node && !is_near) {
                moved.push(partition.clone());
            } else {
                state.leader_epoch = leader.epoch;
            }
        }
        for partition in moved {
            self.reroute(&partition);
        }
    }
}

/// The answer of what is in flight; pending while nothing is.
async fn arrival(in_flight: &mut InFlight) -> Result<Answer, KafkaError> {
    match in_flight {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}

fn ask(state: &super::intake::State, offset: i64) -> Ask {
    Ask {
        offset,
        leader_epoch: state.leader_epoch,
        topic_id: state.topic_id,
    }
}

/// A broker that throttles answers at once and expects the client to wait (KIP-219).
fn throttle(answer: &Answer) -> Duration {
    const LONGEST: Duration = Duration::from_secs(30);
    Duration::from_millis(u64::try_from(answer.response.throttle_time_ms).unwrap_or(0)).min(LONGEST)
}

enum Accepted {
    Section,
    /// No records this time, or an error that the reader was told.
    Nothing,
    /// The position changed meanwhile.
    Stale,
    /// To be routed again; perhaps the broker knows the leader.
    Moved(Option<Leader>),
}

/// Takes one partition's part of an answer.
fn accept(
    intake: &Arc<Intake>,
    ticket: u64,
    offset: i64,
    data: PartitionData,
    reservation: &mut super::Reservation,
    share: &Arc<Response>,
) -> Accepted {
    let mut state = intake.state();
    if state.ticket != ticket || intake.closed.is_cancelled() || state.ready.is_some() {
        return Accepted::Stale;
    }
    if let Some(code) = code_of(data.error_code) {
        let leader = Some(Leader {
            node: data.current_leader.leader_id.0,
            epoch: data.current_leader.leader_epoch,
        });
        return match remedy(code) {
            Remedy::Reroute => {
                state.errors = state.errors.saturating_add(1);
                state.preferred = None;
                tracing::debug!(partition = %intake.partition, offset, ?code, "fetch refused, finding the leader again");
                Accepted::Moved(leader.filter(|leader| leader.node >= 0))
            }
            // A follower may lag behind or have deleted more: only the leader's word counts.
            Remedy::Reset if state.preferred.take().is_some() => Accepted::Moved(None),
            Remedy::Reset => {
                let spec = match intake.reset {
                    OffsetReset::Earliest => OffsetSpec::Earliest,
                    OffsetReset::Latest => OffsetSpec::Latest,
                    OffsetReset::None => {
                        drop(state);
                        let partition = intake.partition.clone();
                        intake.fail(FetchError::OffsetOutOfRange { partition, offset });
                        return Accepted::Nothing;
                    }
                };
                tracing::warn!(partition = %intake.partition, offset, reset = ?intake.reset, "offset is out of range");
                state.position = Position::Unresolved(spec);
                state.ticket += 1;
                Accepted::Moved(None)
            }
            Remedy::Tell => {
                drop(state);
                let partition = intake.partition.clone();
                intake.fail(match code {
                    ResponseError::TopicAuthorizationFailed => {
                        FetchError::TopicAuthorization { topic: partition.topic }
                    }
                    code => FetchError::Corrupt {
                        partition,
                        offset,
                        reason: format!("the broker answers {code:?}"),
                    },
                });
                Accepted::Nothing
            }
        };
    }
    state.errors = 0;
    state.watermarks = Some((data.high_watermark, data.last_stable_offset));
    let records = data.records.unwrap_or_default();
    let Some(found) = scan(&records) else {
        if data.preferred_read_replica.0 >= 0 {
            // The leader sends nothing but the advice to read elsewhere.
            let until = Instant::now() + PREFERRED_FOR;
            state.preferred = Some((data.preferred_read_replica.0, until));
            return Accepted::Moved(None);
        }
        if is_damaged(&records) {
            drop(state);
            let partition = intake.partition.clone();
            let reason = "a batch has a length below one".to_owned();
            intake.fail(FetchError::Corrupt {
                partition,
                offset,
                reason,
            });
            return Accepted::Nothing;
        }
        // Nothing, or an incomplete batch: the response was full with other partitions' records.
        return Accepted::Nothing;
    };
    let aborted = data.aborted_transactions.unwrap_or_default();
    let section = FetchedSection {
        partition: intake.partition.clone(),
        epoch: intake.epoch,
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        log_start_offset: data.log_start_offset,
        start_offset: offset,
        next_offset: found.next_offset.max(offset),
        reservation: reservation.split(found.bytes),
        share: Some(share.share(found.bytes)),
        records: records.slice(..found.bytes),
        aborted: aborted
            .iter()
            .map(|transaction| AbortedTransaction {
                producer_id: transaction.producer_id.0,
                first_offset: transaction.first_offset,
            })
            .collect(),
        isolation: intake.settings.isolation_level,
        check_crcs: intake.settings.check_crcs,
    };
    state.position = Position::At(section.next_offset);
    state.delivered = Some(Instant::now());
    state.ready = Some((section, Instant::now()));
    drop(state);
    intake.arrived.notify_one();
    Accepted::Section
}

/// How long a leader's advice to read from a replica holds (`metadata.max.age.ms` in Kafka's consumer).
const PREFERRED_FOR: Duration = Duration::from_secs(300);
