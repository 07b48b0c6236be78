//! The task that owns all state of an engine.
//!
//! `mod.rs` wakes up and takes records in, `dispatch.rs` packs and sends, `outcome.rs` acts on answers, `outage.rs`
//! shows which destinations take none, `reclaim.rs` gives memory back that others want, `letters.rs` hands over what was given up, `leave.rs` gives partitions back and
//! ends.

mod dispatch;
mod leave;
mod letters;
mod outage;
mod outcome;
mod reclaim;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use klamm_connect_api::sink::{Encoded, RouteIndex, Sink};
use rand::SeedableRng;
use rand::rngs::StdRng;
use slab::Slab;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::batch::{BatchId, Item, OpenBatch};
use crate::breaker::CallNumber;
use crate::engine::{EngineConfig, Shared};
use crate::event::EngineEvent;
use crate::intake::Delivery;
use crate::lanes::Lanes;
use crate::ledger::Pending;
use crate::letters::About;
use crate::limit::Gate;
use crate::partition::{PartitionHandle, Room, Slot};
use crate::route::{Queue, RouteState};
use crate::status::count;

use dispatch::Called;
use leave::{Drain, Ending};
use letters::{Outgoing, Writing, Written};

/// Most orders that are taken in before batches are packed.
const COMMANDS_AT_ONCE: usize = 64;

/// What handles ask of the actor.
#[derive(Debug)]
pub(crate) enum Command {
    /// Records whose room is taken.
    Records {
        handle: Arc<PartitionHandle>,
        records: Vec<Delivery>,
        room: Room,
        position: i64,
        /// Of the partition, when room was taken: what was read before another one is void.
        rewinds: u64,
    },
    /// Give partitions back; their intakes are closed.
    Revoke {
        handles: Vec<Arc<PartitionHandle>>,
        until: Instant,
        reply: oneshot::Sender<()>,
    },
    /// Finish and end; all intakes are closed.
    Shutdown { until: Instant, reply: oneshot::Sender<()> },
}

/// Everything that can wake the actor.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, for one turn of the loop; a box for each call costs more"
)]
enum Event {
    Called(Result<Called, JoinError>),
    /// Dead letters were acknowledged or refused.
    Written(Result<Written, JoinError>),
    Command(Command),
    /// A shared limit lets go a route that waited for it.
    Turn,
    /// A time that something waits for has come.
    Due,
    /// There is room for an event.
    Outbox,
    /// All handles are gone.
    Abandoned,
}

/// The actor's part of a partition.
#[derive(Debug)]
struct Partition {
    handle: Arc<PartitionHandle>,
    phase: Phase,
    /// One for each route.
    queues: Vec<Queue>,
    /// Records in calls, counted once per route. The entry stays until they are back.
    sent: usize,
    /// Records that wait for the next write of letters.
    letters: VecDeque<Outgoing>,
    writing: Option<Writing>,
    /// Room that its records take.
    held: Room,
    /// Largest offset that ever left its lanes, for a batch or the dead letters.
    taken_to: i64,
    /// When a record was last done.
    moved_at: Instant,
    /// How often records were given back to the reader.
    rewinds: u64,
}

/// Running => Draining (revoked) => `GivenBack`; Running => `GivenBack` (lost).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing is sent any more; answers still count.
    Draining,
    /// Answers are late.
    GivenBack,
}

#[derive(Debug)]
pub(crate) struct Actor {
    config: EngineConfig,
    sink: Arc<dyn Sink>,
    shared: Arc<Shared>,
    events: mpsc::Sender<EngineEvent>,
    outbox: VecDeque<EngineEvent>,
    rng: StdRng,
    routes: Vec<RouteState>,
    /// Routes that something happened to since they were last dispatched.
    touched: Vec<usize>,
    /// [`RouteState::due`] of all routes.
    due: BTreeSet<(Instant, usize)>,
    partitions: Slab<Partition>,
    /// Entries that were given back and wait for their records in calls.
    given_back: usize,
    calls: JoinSet<Called>,
    writes: JoinSet<Written>,
    /// Records on their way to be kept, of all partitions.
    letters: usize,
    /// Bytes of their answers.
    answer_bytes: usize,
    next_write: u64,
    drains: Vec<Drain>,
    ending: Option<Ending>,
    has_failed: bool,
    /// When [`EngineEvent::AllRoutesUnusable`] is due.
    all_unusable_at: Option<Instant>,
    /// It was sent, and [`EngineEvent::Usable`] was not.
    is_unusable_announced: bool,
    /// Wakes when a route's turn has come at a shared limit.
    turn: Arc<Notify>,
    /// When to see again whether partitions that stand still hold memory that others want.
    reclaim_at: Instant,
    next_call: CallNumber,
    next_batch: u64,
    next_wait: u64,
    now: Instant,
}

impl Actor {
    pub(crate) fn new(
        config: EngineConfig,
        sink: Arc<dyn Sink>,
        shared: Arc<Shared>,
        events: mpsc::Sender<EngineEvent>,
        gates: Vec<Gate>,
        turn: Arc<Notify>,
    ) -> Self {
        let mut next_batch = 0;
        let routes = sink
            .routes()
            .iter()
            .zip(gates)
            .enumerate()
            .map(|(index, (route, gate))| {
                next_batch += 1;
                RouteState::new(
                    Arc::clone(&route.name),
                    Arc::clone(&route.destination),
                    route.delivery.clone(),
                    sink.payload_builder(RouteIndex(index)),
                    gate,
                    BatchId(next_batch),
                )
            })
            .collect();
        Self {
            rng: StdRng::seed_from_u64(config.seed),
            config,
            sink,
            shared,
            events,
            outbox: VecDeque::new(),
            routes,
            touched: Vec::new(),
            due: BTreeSet::new(),
            partitions: Slab::new(),
            given_back: 0,
            calls: JoinSet::new(),
            writes: JoinSet::new(),
            letters: 0,
            answer_bytes: 0,
            next_write: 0,
            drains: Vec::new(),
            ending: None,
            has_failed: false,
            all_unusable_at: None,
            is_unusable_announced: false,
            turn,
            reclaim_at: Instant::now(),
            next_call: 0,
            next_batch,
            next_wait: 0,
            now: Instant::now(),
        }
    }

    /// Runs until the shutdown is done or all handles are dropped.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut sleep = std::pin::pin!(tokio::time::sleep_until(self.now));
        loop {
            let due = self.next_due();
            if let Some(due) = due
                && due != sleep.deadline()
            {
                sleep.as_mut().reset(due);
            }
            let event = tokio::select! {
                biased;
                Some(called) = self.calls.join_next() => Event::Called(called),
                Some(written) = self.writes.join_next() => Event::Written(written),
                () = self.turn.notified() => Event::Turn,
                command = commands.recv() => command.map_or(Event::Abandoned, Event::Command),
                () = &mut sleep, if due.is_some() => Event::Due,
                Ok(permit) = self.events.reserve(), if !self.outbox.is_empty() => {
                    if let Some(event) = self.outbox.pop_front() {
                        permit.send(event);
                    }
                    Event::Outbox
                }
            };
            self.now = Instant::now();
            match event {
                Event::Called(called) => self.on_called(called),
                Event::Written(written) => self.on_written(written),
                Event::Command(command) => self.on_command(command),
                Event::Turn => self.take_turns(),
                Event::Due => {}
                Event::Outbox => {}
                Event::Abandoned => return,
            }
            // Every time: an actor that always has something at hand must not forget what waits its time.
            self.on_due();
            // Whatever has come meanwhile joins the batches that are packed now.
            for _ in 0..COMMANDS_AT_ONCE {
                let Ok(command) = commands.try_recv() else { break };
                self.on_command(command);
            }
            while let Some(called) = self.calls.try_join_next() {
                self.on_called(called);
            }
            while let Some(written) = self.writes.try_join_next() {
                self.on_written(written);
            }
            if self.reclaim_at <= self.now {
                self.reclaim();
            }
            self.dispatch_touched();
            self.finish_drains();
            if self.has_ended() {
                return self.end(commands);
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let routes = self.due.first().map(|(at, _)| *at);
        let drains = self.drains.iter().map(|drain| drain.due(self.now));
        let ending = self.ending.as_ref().map(|ending| ending.due(self.now));
        let holds_records = self.routes.iter().any(|route| route.items > 0);
        let reclaim = (holds_records && !self.has_failed && self.ending.is_none()).then_some(self.reclaim_at);
        routes
            .into_iter()
            .chain(drains)
            .chain(ending)
            .chain(reclaim)
            .chain(self.all_unusable_at)
            .min()
    }

    fn on_due(&mut self) {
        while let Some((_, route)) = self.due.first().copied().filter(|(at, _)| *at <= self.now) {
            self.due.pop_first();
            self.routes[route].due = None;
            self.wake(route);
            self.touch(route);
        }
        if self.all_unusable_at.is_some_and(|at| at <= self.now) {
            self.announce_unusable();
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Records {
                handle,
                records,
                room,
                position,
                rewinds,
            } => self.take_in(&handle, records, room, position, rewinds),
            Command::Revoke { handles, until, reply } => self.revoke(&handles, until, reply),
            Command::Shutdown { until, reply } => self.begin_end(until, reply),
        }
    }

    /// The entry of an assignment that is not given back, made if this is its first chunk.
    fn entry(&mut self, handle: &Arc<PartitionHandle>) -> Option<usize> {
        match handle.slot.get() {
            Some(Slot::GivenBack) => None,
            Some(&Slot::Entry(index)) => self
                .partitions
                .get(index)
                .is_some_and(|partition| Arc::ptr_eq(&partition.handle, handle) && partition.phase == Phase::Running)
                .then_some(index),
            None => {
                if let Some(replaced) = handle.replaced() {
                    self.lose(&replaced);
                }
                let queues = self
                    .routes
                    .iter()
                    .map(|route| {
                        self.next_batch += 1;
                        Queue {
                            lanes: Lanes::new(route.settings.ordering),
                            open: OpenBatch::new(BatchId(self.next_batch)),
                            is_active: false,
                            linger_until: None,
                        }
                    })
                    .collect();
                let index = self.partitions.insert(Partition {
                    handle: Arc::clone(handle),
                    phase: Phase::Running,
                    queues,
                    sent: 0,
                    letters: VecDeque::new(),
                    writing: None,
                    held: Room::default(),
                    taken_to: i64::MIN,
                    moved_at: self.now,
                    rewinds: 0,
                });
                handle.slot.get_or_init(|| Slot::Entry(index));
                Some(index)
            }
        }
    }

    fn take_in(
        &mut self,
        handle: &Arc<PartitionHandle>,
        records: Vec<Delivery>,
        room: Room,
        position: i64,
        rewinds: u64,
    ) {
        let entry = self.entry(handle);
        let Some(index) = entry.filter(|index| self.partitions[*index].rewinds == rewinds) else {
            let gone = match entry {
                Some(_) => &self.shared.rewound_records,
                None => &self.shared.dropped_records,
            };
            count(gone, records.iter().map(ways).sum());
            handle.release(room);
            return;
        };
        let mut broken = None;
        let mut filtered = 0;
        let mut done = 0;
        let mut resumed = 0;
        let partition = &mut self.partitions[index];
        let mut ledger = handle.ledger();
        let window_before = ledger.window();
        let mut freed_bytes = 0;
        let mut letters = Vec::new();
        for mut record in records {
            let offset = record.origin.offset;
            let ways_before = ways(&record);
            let mut pending = Pending::default();
            if ledger.resumes() {
                let bytes_before = record.size_bytes();
                let mut is_settled = |route| {
                    let is_settled = ledger.is_settled(route, offset);
                    if is_settled {
                        pending.add_settled(ledger.bit(route));
                    }
                    is_settled
                };
                record.dead_letter.take_if(|_| is_settled(None));
                record.routes.retain(|(route, _)| !is_settled(Some(*route)));
                let settled = ways_before - ways(&record);
                if settled > 0 {
                    // Known to be settled only as long as it is not read again.
                    partition.taken_to = partition.taken_to.max(offset);
                }
                resumed += settled;
                freed_bytes += bytes_before - record.size_bytes();
            }
            for (route, _) in &record.routes {
                pending.add(ledger.bit(Some(*route)));
            }
            if record.dead_letter.is_some() {
                pending.add(ledger.bit(None));
            }
            let ticket = match ledger.arrive(offset, pending, self.now) {
                Ok(ticket) => ticket,
                Err(error) => {
                    let what = format!(
                        "the reader handed over {}, but offset {} is next",
                        record.origin, error.expected
                    );
                    broken.get_or_insert((record.origin, "OffsetOrder", what));
                    continue;
                }
            };
            if pending.is_done() {
                filtered += usize::from(ways_before == 0);
                done += 1;
                continue;
            }
            let item = |origin, encoded, original| Item {
                origin,
                encoded,
                original,
                ticket,
                partition: index,
                key_hash: record.key_hash,
                timestamp: record.timestamp,
                arrived: self.now,
            };
            if let Some(letter) = record.dead_letter {
                partition.taken_to = partition.taken_to.max(record.origin.offset);
                letters.push(Outgoing {
                    item: item(record.origin.clone(), Encoded::from(Vec::new()), Some(letter)),
                    route: None,
                    about: About::Failed,
                    answer_bytes: 0,
                    rest: None,
                });
            }
            let shared = std::iter::repeat_n((record.origin, record.original), record.routes.len());
            for ((route, encoded), (origin, original)) in record.routes.into_iter().zip(shared) {
                let item = item(origin, encoded, original);
                let Some(queue) = partition.queues.get_mut(route.0) else {
                    let what = format!(
                        "a record was routed to number {}, which the sink does not have",
                        route.0
                    );
                    freed_bytes += item.size_bytes();
                    broken.get_or_insert((item.origin, "UnknownRoute", what));
                    continue;
                };
                queue.lanes.arrive(item);
                let state = &mut self.routes[route.0];
                state.items += 1;
                if !queue.is_active {
                    queue.is_active = true;
                    state.active.push_back(index);
                }
                if !state.is_touched {
                    state.is_touched = true;
                    self.touched.push(route.0);
                }
            }
        }
        ledger.advance(position);
        let freed = Room {
            records: done,
            bytes: freed_bytes,
            // Done at once and behind no undone record: such a record never enters the window.
            window: room.window - (ledger.window() - window_before),
        };
        if partition.held.records == 0 {
            // It had nothing to move.
            partition.moved_at = self.now;
        }
        partition.held.records += room.records - freed.records;
        partition.held.bytes += room.bytes - freed.bytes;
        partition.held.window += room.window - freed.window;
        drop(ledger);
        handle.release(freed);
        count(&self.shared.filtered_records, filtered);
        count(&self.shared.resumed_records, resumed);
        if done > 0 {
            self.shared.count_done(done);
        }
        if !letters.is_empty() {
            self.post(index, letters);
        }
        if let Some((origin, class, what)) = broken {
            self.fail_internally(Some(origin), None, class, &what);
        }
    }

    /// Routes that wait for a shared limit ask again.
    fn take_turns(&mut self) {
        for route in 0..self.routes.len() {
            if self.routes[route].gate.waits().is_some() {
                self.touch(route);
            }
        }
    }

    fn touch(&mut self, route: usize) {
        if !self.routes[route].is_touched {
            self.routes[route].is_touched = true;
            self.touched.push(route);
        }
    }

    /// The partition's lanes may have records for the route.
    fn activate(&mut self, route: usize, partition: usize) {
        let queue = &mut self.partitions[partition].queues[route];
        if !queue.is_active {
            queue.is_active = true;
            self.routes[route].active.push_back(partition);
        }
    }

    /// At most three events wait: a `Usable` takes back an `AllRoutesUnusable` that was not read yet.
    fn tell(&mut self, event: EngineEvent) {
        let takes_back = matches!(event, EngineEvent::Usable { .. })
            && matches!(self.outbox.back(), Some(EngineEvent::AllRoutesUnusable { .. }));
        if takes_back {
            self.outbox.pop_back();
        } else {
            self.outbox.push_back(event);
        }
    }

    fn new_batch(&mut self) -> BatchId {
        self.next_batch += 1;
        BatchId(self.next_batch)
    }
}

/// How many times the record is settled.
fn ways(record: &Delivery) -> usize {
    record.routes.len() + usize::from(record.dead_letter.is_some())
}

/// However the actor ends, nobody waits for room that it will never give back.
impl Drop for Actor {
    fn drop(&mut self) {
        self.shared.close();
    }
}
