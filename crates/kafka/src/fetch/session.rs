//! One fetch session: a broker, one set of settings, each partition at most once.
//!
//! Two connections. The *main* one carries the session's long polls. A partition that wants data while the main one is
//! parked is asked for without a session on the *side* one, which never waits long, and joins the session when the
//! long poll returns. So a new partition delivers at once while the others idle.
//!
//! Its work grows with what changes, not with what it holds: whoever changes a reader's state puts the partition on a
//! list, and only these are looked at. No partition has a timer or a task of its own.
//!
//! Fairness: partitions are asked for in the order in which they were served last, and within a session the broker
//! moves those with records to the end, so a large backlog never starves its neighbours.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchResponse;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};
use uuid::Uuid;

use super::accept::{Accepted, Source, accept};
use super::intake::{Home, Intake, State};
use super::request::{Answer, Sender, Window};
use super::router::Hub;
use super::section::Response;
use super::stats::add;
use super::wire::{Ask, Plan, Wire};
use crate::backoff::Backoff;
use crate::client::{host_port, lock};
use crate::connection::Link;
use crate::error::code_of;
use crate::{FetchSettings, KafkaClient, KafkaError, TopicPartition};

/// A reader that takes its section within this time makes it into the next long poll.
const GRACE: Duration = Duration::from_millis(1);
/// The longest poll while some partition is about to come back, so that it does not wait out a long one; and the longest
/// that the side connection may be parked, since whoever comes next waits for it.
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
    /// To be looked at again; at most once each for who is in, and for who left.
    changed: Vec<TopicPartition>,
    /// All partitions that have a reader here.
    held: HashSet<TopicPartition>,
}

impl Shared {
    /// Takes the intake in unless its partition already has a reader here.
    pub(super) fn try_join(self: &Arc<Self>, intake: &Arc<Intake>) -> bool {
        // Held until the home is known: whoever leaves or moves looks for it there.
        let mut state = intake.state();
        if intake.closed.is_cancelled() {
            return true; // nobody reads any more
        }
        let mut door = lock(&self.door);
        if !door.held.insert(intake.partition.clone()) {
            return false;
        }
        door.joining.push(Arc::clone(intake));
        drop(door);
        state.home = Some(Home {
            session: Arc::clone(self),
            is_noted: false,
        });
        drop(state);
        self.woken.notify_one();
        true
    }

    /// Makes room for another reader of the partition.
    pub(super) fn leave(&self, partition: &TopicPartition) {
        // In one step: whoever joins next is seen by the session together with this, or after it.
        let mut door = lock(&self.door);
        door.held.remove(partition);
        door.changed.push(partition.clone());
        drop(door);
        self.woken.notify_one();
    }

    /// The partition is to be looked at again.
    pub(super) fn changed(&self, partition: &TopicPartition) {
        lock(&self.door).changed.push(partition.clone());
        self.woken.notify_one();
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.door).held.is_empty()
    }
}

/// What a partition was asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    ticket: u64,
    offset: i64,
}

#[derive(Debug)]
struct Member {
    intake: Arc<Intake>,
    /// When it was served last, in sections of the session; 0 for never.
    turn: u64,
    /// What the side connection asks for.
    side: Option<Claim>,
    /// On which lists it stands.
    lists: Lists,
}

#[derive(Debug, Default)]
struct Lists {
    /// The next long poll may have to ask differently.
    is_changed: bool,
    /// It wants records that nothing in flight asks for.
    is_hungry: bool,
    /// A section waits for the reader.
    is_waiting: bool,
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
    window: Window,
    members: HashMap<TopicPartition, Member>,
    names: HashMap<Uuid, Arc<str>>,
    wire: Wire,
    /// Grows with each section.
    turn: u64,
    changed: Vec<TopicPartition>,
    hungry: Vec<TopicPartition>,
    waiting: Vec<TopicPartition>,
    /// What the side connection asks for.
    on_side: Vec<TopicPartition>,
    /// Deliveries of the last second whose readers have not come back, and perhaps some that have.
    recent: VecDeque<(Instant, TopicPartition)>,
    /// Readers that the next long poll waits a moment for.
    graced: HashSet<TopicPartition>,
    /// When the first advice to read here, from a replica, ends.
    advice_ends: Option<Instant>,
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

/// Which connection an answer came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Main,
    Side,
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
            window: Window::new(&key.settings),
            members: HashMap::new(),
            names: HashMap::new(),
            wire: Wire::default(),
            turn: 0,
            changed: Vec::new(),
            hungry: Vec::new(),
            waiting: Vec::new(),
            on_side: Vec::new(),
            recent: VecDeque::new(),
            graced: HashSet::new(),
            advice_ends: None,
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
            self.look();
            let now = Instant::now();
            if main.is_none()
                && now >= self.not_before
                && let Some(plan) = self.plan_main()
            {
                self.graced.clear();
                let (sender, link) = (self.sender.clone(), Arc::clone(&self.main_link));
                main = Some(Box::pin(sender.send(link, plan, self.window)));
            }
            if main.is_some()
                && side.is_none()
                && now >= self.side_not_before
                && let Some(plan) = self.plan_side()
            {
                let (sender, link) = (self.sender.clone(), Arc::clone(&self.side_link));
                side = Some(Box::pin(sender.send(link, plan, self.window)));
            }
            if main.is_none() && side.is_none() && self.is_over() {
                return;
            }
            if self.waiting.is_empty() {
                next_sweep = now + SWEEP;
            }
            let wake = self.next_wake(now, next_sweep);
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => Event::Stop,
                answer = arrival(&mut main) => Event::Main(answer),
                answer = arrival(&mut side) => Event::Side(answer),
                () = shared.woken.notified() => Event::Woken,
                Ok(()) = changes.changed() => Event::Metadata,
                () = clock(wake) => Event::Clock,
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
                Event::Woken => {}
                Event::Metadata => self.follow_leaders(),
                Event::Clock => {
                    let now = Instant::now();
                    if now >= next_sweep {
                        next_sweep = now + SWEEP;
                        self.sweep();
                    }
                    if self.advice_ends.is_some_and(|ends| ends <= now) {
                        self.end_advice();
                    }
                }
            }
        }
    }

    /// When to wake up without any event; `None` while nothing is due, such as when all partitions idle.
    fn next_wake(&self, now: Instant, next_sweep: Instant) -> Option<Instant> {
        let pauses = [self.not_before, self.side_not_before]
            .into_iter()
            .filter(|at| *at > now);
        let sweep = (!self.waiting.is_empty()).then_some(next_sweep);
        let over = self.empty_since.map(|since| since + LINGER);
        pauses.chain(sweep).chain(over).chain(self.advice_ends).min()
    }

    /// Takes in who joined, lets go of who left, and looks at whose state changed.
    fn look(&mut self) {
        let was_graced = !self.graced.is_empty();
        let (joining, changed) = {
            let mut door = lock(&self.shared.door);
            (std::mem::take(&mut door.joining), std::mem::take(&mut door.changed))
        };
        add(&self.hub.counters.visits, joining.len() + changed.len());
        // Leaving comes first: whoever joins may be the next reader of the same partition.
        for partition in &changed {
            if self
                .members
                .get(partition)
                .is_some_and(|m| m.intake.closed.is_cancelled())
            {
                self.remove(partition);
            }
        }
        for intake in joining.into_iter().filter(|intake| !intake.closed.is_cancelled()) {
            let partition = intake.partition.clone();
            {
                let state = intake.state();
                if let Some(id) = state.topic_id {
                    self.names.insert(id, Arc::clone(&partition.topic));
                }
                let ends = state.preferred.map(|(_, until)| until);
                self.advice_ends = self.advice_ends.into_iter().chain(ends).min();
                if state.ready.is_some() {
                    self.waiting.push(partition.clone());
                }
            }
            self.empty_since = None;
            // Whatever was asked for belongs to the reader before.
            self.remove(&partition);
            let member = Member {
                intake,
                turn: 0,
                side: None,
                lists: Lists::default(),
            };
            self.members.insert(partition.clone(), member);
            self.note(&partition);
        }
        for partition in &changed {
            self.note(partition);
        }
        // The next long poll need not wait for readers that are back.
        if was_graced && self.graced.is_empty() && self.not_before.saturating_duration_since(Instant::now()) <= GRACE {
            self.not_before = Instant::now();
        }
    }

    /// Puts a partition on the lists that its state asks for.
    fn note(&mut self, partition: &TopicPartition) {
        let Some(member) = self.members.get_mut(partition) else {
            return;
        };
        let (wants, is_back) = {
            let mut state = member.intake.state();
            if let Some(home) = &mut state.home {
                home.is_noted = false;
            }
            (state.wants().is_some(), state.ready.is_none())
        };
        if is_back {
            self.graced.remove(partition);
        }
        if !std::mem::replace(&mut member.lists.is_changed, true) {
            self.changed.push(partition.clone());
        }
        if wants && !std::mem::replace(&mut member.lists.is_hungry, true) {
            self.hungry.push(partition.clone());
        }
    }

    fn remove(&mut self, partition: &TopicPartition) -> Option<Member> {
        let member = self.members.remove(partition)?;
        self.wire.release(partition);
        Some(member)
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
        let changed = std::mem::take(&mut self.changed);
        add(&self.hub.counters.visits, changed.len());
        for partition in &changed {
            let Some(member) = self.members.get_mut(partition) else {
                continue;
            };
            member.lists.is_changed = false;
            let mut state = member.intake.state();
            match state.wants().filter(|_| member.side.is_none()) {
                Some(offset) => {
                    state.is_urgent = false;
                    self.wire
                        .hold(partition, ask(&state, offset), state.ticket, member.turn);
                }
                None => self.wire.release(partition),
            }
        }
        if self.wire.is_empty() {
            return None;
        }
        // Asked in any case: it also forgets those whose time is over.
        let is_one_coming_back = self.awaits_reader() || !self.on_side.is_empty();
        let max_wait = self.key.settings.max_wait;
        // Whoever asks for larger responses accepts to wait for them.
        let is_short = is_one_coming_back && self.key.settings.min_bytes <= 1;
        Some(
            self.wire
                .plan(if is_short { max_wait.min(SHORT_WAIT) } else { max_wait }),
        )
    }

    /// Whether a partition that delivered a moment ago is likely to want more soon.
    fn awaits_reader(&mut self) -> bool {
        while let Some((at, partition)) = self.recent.front() {
            let is_away = at.elapsed() < RECENT
                && self.members.get(partition).is_some_and(|member| {
                    let state = member.intake.state();
                    state.ready.is_some() && !state.is_paused
                });
            if is_away {
                return true;
            }
            self.recent.pop_front();
        }
        false
    }

    /// What the side connection asks for while the long poll is out.
    fn plan_side(&mut self) -> Option<Plan> {
        let mut wanted = Vec::new();
        let mut is_urgent = false;
        let hungry = std::mem::take(&mut self.hungry);
        add(&self.hub.counters.visits, hungry.len());
        for partition in hungry {
            let Some(member) = self.members.get_mut(&partition) else {
                continue;
            };
            member.lists.is_hungry = false;
            let mut state = member.intake.state();
            let Some(offset) = state.wants().filter(|_| member.side.is_none()) else {
                continue;
            };
            let claim = Claim {
                ticket: state.ticket,
                offset,
            };
            let held = self.wire.held(&partition);
            if held.is_some_and(|held| (held.ticket, held.ask.offset) == (claim.ticket, claim.offset)) {
                continue; // the long poll brings it
            }
            if !state.is_urgent && self.key.settings.min_bytes > 1 {
                continue; // it waits for the next long poll, which waits for enough bytes
            }
            is_urgent |= std::mem::take(&mut state.is_urgent);
            member.side = Some(claim);
            wanted.push((member.turn, (partition, ask(&state, offset))));
        }
        if wanted.is_empty() {
            return None;
        }
        // The response is filled in this order.
        wanted.sort_by_key(|(turn, _)| *turn);
        let wanted: Vec<_> = wanted.into_iter().map(|(_, ask)| ask).collect();
        self.on_side
            .extend(wanted.iter().map(|(partition, _)| partition.clone()));
        let max_wait = if is_urgent {
            Duration::ZERO
        } else {
            self.key.settings.max_wait.min(SHORT_WAIT)
        };
        Some(Plan::sessionless(wanted, max_wait))
    }

    fn main_answered(&mut self, answer: Result<Answer, KafkaError>) {
        match answer {
            Ok(answer) => match self.wire.answered(&answer.response) {
                Ok(()) => {
                    self.backoff.reset();
                    let throttle = throttle(&answer.response);
                    self.deliver(answer, Over::Main);
                    let grace = if self.graced.is_empty() { Duration::ZERO } else { GRACE };
                    self.not_before = Instant::now() + throttle.max(grace);
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
                self.failed(&err);
                self.not_before = Instant::now() + self.backoff.next();
            }
        }
    }

    fn side_answered(&mut self, answer: Result<Answer, KafkaError>) {
        match answer {
            Ok(answer) => {
                self.side_not_before = Instant::now() + throttle(&answer.response);
                if let Some(code) = code_of(answer.response.error_code) {
                    tracing::debug!(node = self.key.node, ?code, "fetch without a session refused");
                    self.client.request_refresh();
                    self.side_not_before = Instant::now() + self.backoff.next();
                } else {
                    self.deliver(answer, Over::Side);
                }
            }
            Err(err) => {
                self.failed(&err);
                self.side_not_before = Instant::now() + self.backoff.next();
            }
        }
        for partition in std::mem::take(&mut self.on_side) {
            if let Some(member) = self.members.get_mut(&partition) {
                member.side = None;
            }
            self.note(&partition);
        }
    }

    fn failed(&mut self, err: &KafkaError) {
        self.window.failed();
        tracing::debug!(node = self.key.node, error = %crate::client::chain(err), "fetch failed, will be sent again");
        // The leaders may be elsewhere by now; this also shows an outage in the client's health.
        self.client.request_refresh();
        // The leaders of those that read a replica here may be well.
        if self.advice_ends.is_some() {
            self.leave_replica(|_| true);
        }
    }

    /// Hands each partition its part of the answer.
    fn deliver(&mut self, answer: Answer, over: Over) {
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
                let claim = match over {
                    Over::Main => self.wire.held(&partition).map(|held| Claim {
                        ticket: held.ticket,
                        offset: held.ask.offset,
                    }),
                    Over::Side => self.members.get(&partition).and_then(|member| member.side),
                };
                if let Some(claim) = claim {
                    parts.push((partition, claim, data));
                }
            }
        }
        let counters = &self.hub.counters;
        add(&counters.bytes, total);
        add(&counters.visits, parts.len());
        reservation.resize(total);
        self.window.answered(total);
        let share = Response::new(total);
        let now = Instant::now();
        let mut sections = 0;
        let mut source = Source {
            node: self.key.node,
            reservation: &mut reservation,
            share: &share,
            advice_holds: self.client.config().metadata_max_age,
        };
        for (partition, claim, data) in parts {
            let Some(member) = self.members.get_mut(&partition) else {
                continue;
            };
            match accept(
                &self.client,
                &member.intake,
                claim.ticket,
                claim.offset,
                data,
                &mut source,
            ) {
                Accepted::Section => {
                    sections += 1;
                    self.turn += 1;
                    member.turn = self.turn;
                    if !std::mem::replace(&mut member.lists.is_waiting, true) {
                        self.waiting.push(partition.clone());
                    }
                    self.recent.push_back((now, partition.clone()));
                    if over == Over::Main {
                        self.graced.insert(partition.clone());
                    }
                    self.note(&partition);
                }
                // What it asks for may be another thing now, or nothing: an error is told once.
                Accepted::Nothing | Accepted::Stale => self.note(&partition),
                Accepted::Moved(leader) => {
                    if let Some(leader) = leader {
                        let endpoints = &response.node_endpoints;
                        let metadata = self.client.metadata();
                        if let Some(at) = endpoints.iter().find(|endpoint| endpoint.node_id.0 == leader.node) {
                            metadata.learn_broker(leader.node, host_port(&at.host, at.port));
                        }
                        metadata.learn_leader(&partition, leader);
                    }
                    self.reroute(&partition);
                }
            }
        }
        add(&self.hub.counters.sections, sections);
    }

    /// Sends the partition back to the router.
    fn reroute(&mut self, partition: &TopicPartition) {
        if let Some(member) = self.remove(partition) {
            self.graced.remove(partition);
            // Without a home the reader was dropped and leaves by itself: the place may be another's by then.
            let home = member.intake.state().home.take();
            if home.is_some() {
                self.shared.leave(partition);
                self.hub.submit(member.intake);
            }
        }
    }

    /// The metadata changed: partitions whose leader, leader epoch or topic is another now are routed again. Another
    /// epoch, even of the same broker, means an election: the position has to be checked (KIP-320).
    fn follow_leaders(&mut self) {
        add(&self.hub.counters.visits, self.members.len());
        let mut moved = Vec::new();
        let mut ids = HashSet::new();
        for (partition, member) in &self.members {
            ids.extend(member.intake.state().topic_id);
            let (Some(leader), Some(info)) = (
                self.client.metadata().leader(partition),
                self.client.metadata().topic(&partition.topic),
            ) else {
                continue; // known again soon, or the broker says what is wrong
            };
            let state = member.intake.state();
            let is_here = leader.node == self.key.node || is_near(&state, self.key.node);
            if info.id != state.topic_id || !is_here || leader.epoch > state.leader_epoch {
                moved.push(partition.clone());
            }
        }
        // Topics come and go.
        self.names.retain(|id, _| ids.contains(id));
        for partition in moved {
            self.reroute(&partition);
        }
    }

    /// The advice to read here has ended for some: their leaders are asked again.
    fn end_advice(&mut self) {
        let now = Instant::now();
        self.leave_replica(|until| until <= now);
    }

    fn leave_replica(&mut self, ends: impl Fn(Instant) -> bool) {
        let mut leaving = Vec::new();
        self.advice_ends = None;
        for (partition, member) in &self.members {
            let mut state = member.intake.state();
            if let Some((_, until)) = state.preferred {
                if ends(until) {
                    state.preferred = None;
                    leaving.push(partition.clone());
                } else {
                    self.advice_ends = self.advice_ends.into_iter().chain([until]).min();
                }
            }
        }
        for partition in leaving {
            self.reroute(&partition);
        }
    }

    /// Looks after the sections that wait for their readers.
    fn sweep(&mut self) {
        let is_starving = self.hub.starving.load(Ordering::Relaxed) > 0;
        let members = &mut self.members;
        self.waiting.retain(|partition| {
            let Some(member) = members.get_mut(partition) else {
                return false;
            };
            member.lists.is_waiting = member.intake.sweep(is_starving);
            member.lists.is_waiting
        });
    }
}

/// The answer of what is in flight; pending while nothing is.
async fn arrival(in_flight: &mut InFlight) -> Result<Answer, KafkaError> {
    match in_flight {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}

async fn clock(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn ask(state: &State, offset: i64) -> Ask {
    Ask {
        offset,
        leader_epoch: state.leader_epoch,
        topic_id: state.topic_id,
    }
}

/// Whether the leader's advice to read from `node` holds.
fn is_near(state: &State, node: i32) -> bool {
    state
        .preferred
        .is_some_and(|(near, until)| near == node && until > Instant::now())
}

/// A broker that throttles answers at once and expects the client to wait (KIP-219).
fn throttle(response: &FetchResponse) -> Duration {
    const LONGEST: Duration = Duration::from_secs(30);
    Duration::from_millis(u64::try_from(response.throttle_time_ms).unwrap_or(0)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::protocol::StrBytes;

    use super::*;
    use crate::fetch::budget::ByteBudget;
    use crate::fetch::router::Router;
    use crate::fetch::{PartitionRequest, StartPosition};
    use crate::{AssignmentEpoch, ClientConfig, OffsetReset};

    fn session() -> Session {
        let client = KafkaClient::new(ClientConfig::new(["localhost:1"]), tokio::runtime::Handle::current());
        let router = Router::start(&client, Arc::new(ByteBudget::new(1 << 20)));
        let key = SessionKey {
            node: 1,
            settings: Arc::new(FetchSettings::default()),
            has_topic_ids: false,
        };
        Session::new(client, router.hub(), key, Arc::default())
    }

    fn reader(session: &Session, offset: i64) -> Arc<Intake> {
        let intake = Arc::new(Intake::new(&PartitionRequest {
            topic: "t".into(),
            topic_id: None,
            partition: 0,
            start: StartPosition::Offset(offset),
            reset: OffsetReset::None,
            settings: Arc::clone(&session.key.settings),
            epoch: AssignmentEpoch::next(),
        }));
        assert!(session.shared.try_join(&intake));
        intake
    }

    async fn answer(session: &Session, data: PartitionData) -> Answer {
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(vec![data]);
        Answer {
            response: FetchResponse::default().with_responses(vec![topic]),
            reservation: session.hub.budget.reserve(1).await,
        }
    }

    // A reader left and another came while a long poll was out; the session looked in between the two steps in which a
    // place was given up. The answer to the first then reached the second, which stood elsewhere.
    #[tokio::test]
    async fn what_was_asked_for_a_reader_never_reaches_the_next_of_its_partition() {
        let mut session = session();
        let first = reader(&session, 0);
        session.look();
        assert!(session.plan_main().is_some());
        first.closed.cancel();
        lock(&session.shared.door).held.clear(); // the first of two steps
        let second = reader(&session, 50);
        session.look();
        let out_of_range = PartitionData::default().with_error_code(ResponseError::OffsetOutOfRange.code());
        let answer = answer(&session, out_of_range).await;
        session.deliver(answer, Over::Main);
        assert!(second.take_failure().is_none(), "it was the first one's");
        assert_eq!(second.position(), Some(50));
        session.client.shutdown().await;
    }
}
