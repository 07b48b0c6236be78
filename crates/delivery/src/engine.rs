//! The handle of an engine.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klamm_connect_api::sink::Sink;
use klamm_connect_api::{Timestamp, TopicPartition};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::actor::{Actor, Command};
use crate::event::EngineEvent;
use crate::intake::Intake;
use crate::ledger::{Ledger, Progress};
use crate::letters::Letters;
use crate::limit::{Gate, WorkerLimits};
use crate::memory::MemoryBudget;
use crate::partition::{PartitionHandle, Room};
use crate::status::{EngineStatus, RouteBoard};

/// How long all routes must have been unusable before [`EngineEvent::AllRoutesUnusable`].
pub(crate) const UNUSABLE_FOR: Duration = Duration::from_secs(60);

/// Chunks and orders on their way to the actor. Room is reserved before a chunk is queued, so this bounds wake-ups,
/// not memory.
const COMMANDS: usize = 256;
const EVENTS: usize = 16;

/// Milliseconds since the epoch.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a partition may hold. A partition that holds nothing may always take one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionLimits {
    /// Records that are not done (`delivery.buffer.records`).
    pub buffer_records: usize,
    /// Bytes held for them (`delivery.buffer.bytes`).
    pub buffer_bytes: usize,
    /// Records from the oldest undone one on, done ones included (`delivery.window.records`).
    pub window_records: usize,
}

impl Default for PartitionLimits {
    fn default() -> Self {
        Self {
            buffer_records: 20_000,
            buffer_bytes: 4 * 1024 * 1024,
            window_records: 100_000,
        }
    }
}

/// What an engine is started with.
#[derive(Clone)]
pub struct EngineConfig {
    /// Name of the connector, for logs.
    pub connector: Arc<str>,
    /// Number of the task, for logs.
    pub task: u32,
    /// What a partition may hold.
    pub limits: PartitionLimits,
    /// How many calls destinations take, shared with the other engines of the worker.
    pub worker_limits: Arc<WorkerLimits>,
    /// Seed of the backoff's randomness.
    pub seed: u64,
    /// The time of day, for `delivery.record.max.age.ms`.
    pub wall_clock: WallClock,
    /// Where records go that are given up under `behavior.on.error=dlq` or failed before delivery, and answers that are
    /// kept.
    pub letters: Option<Arc<dyn Letters>>,
    /// Whether records that are skipped under `behavior.on.error=log` go there, too.
    pub reports_skipped: bool,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("connector", &self.connector)
            .field("task", &self.task)
            .field("limits", &self.limits)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// An offset that may be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committable {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// Epoch of its assignment.
    pub epoch: u64,
    /// The offset to read next: every record before it is done.
    pub offset: i64,
    /// What is settled beyond it.
    pub progress: Progress,
    /// Of which state of the ledger.
    pub(crate) revision: u64,
}

/// What handles and actor share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) routes: Vec<RouteBoard>,
    partitions: Mutex<HashMap<TopicPartition, Arc<PartitionHandle>>>,
    /// No more records: failed or shut down.
    is_closed: AtomicBool,
    pub(crate) filtered_records: AtomicU64,
    pub(crate) resumed_records: AtomicU64,
    pub(crate) dead_lettered_records: AtomicU64,
    pub(crate) failed_records: AtomicU64,
    pub(crate) dropped_records: AtomicU64,
    pub(crate) rewound_records: AtomicU64,
    pub(crate) late_records: AtomicU64,
    /// Routes whose destination takes nothing now.
    pub(crate) outages: watch::Sender<usize>,
    done: AtomicU64,
    wake_at: AtomicU64,
    done_enough: Notify,
}

impl Shared {
    fn partitions(&self) -> MutexGuard<'_, HashMap<TopicPartition, Arc<PartitionHandle>>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> EngineStatus {
        let now = Instant::now();
        // Each is looked at without the list's lock, which intakes and commits need.
        let partitions: Vec<_> = self.partitions().values().map(Arc::clone).collect();
        EngineStatus {
            routes: self.routes.iter().map(|route| route.status(now)).collect(),
            partitions: partitions.iter().map(|handle| handle.status(now)).collect(),
            filtered_records: self.filtered_records.load(Ordering::Relaxed),
            resumed_records: self.resumed_records.load(Ordering::Relaxed),
            dead_lettered_records: self.dead_lettered_records.load(Ordering::Relaxed),
            failed_records: self.failed_records.load(Ordering::Relaxed),
            dropped_records: self.dropped_records.load(Ordering::Relaxed),
            rewound_records: self.rewound_records.load(Ordering::Relaxed),
            late_records: self.late_records.load(Ordering::Relaxed),
        }
    }

    /// Closes every intake, present and future.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        for handle in self.partitions().values() {
            handle.close();
        }
    }

    /// Counts records that are done on all routes.
    pub(crate) fn count_done(&self, records: usize) {
        let done = self.done.fetch_add(records as u64, Ordering::SeqCst) + records as u64;
        if done >= self.wake_at.load(Ordering::SeqCst) {
            self.wake_at.store(u64::MAX, Ordering::SeqCst);
            self.done_enough.notify_waiters();
        }
    }
}

/// The handle of an engine. Cheap to clone; the engine ends with [`Engine::shutdown`], or when all its handles and
/// intakes are dropped, or with the task that its owner spawned it as.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    memory: Arc<dyn MemoryBudget>,
    limits: PartitionLimits,
}

impl Engine {
    /// Starts an engine whose actor is spawned into `actors`. The receiver must be read: events that do not fit wait
    /// in the engine. Plugin panics come as [`EngineEvent::Failed`]; if the actor's task itself ends with a panic, that
    /// is a defect of the engine: every intake is closed then, and nothing more is committed.
    pub fn start(
        config: EngineConfig,
        sink: Arc<dyn Sink>,
        memory: Arc<dyn MemoryBudget>,
        actors: &mut JoinSet<()>,
    ) -> (Self, mpsc::Receiver<EngineEvent>) {
        let routes = sink.routes();
        let turn = Arc::new(Notify::new());
        let gates: Vec<Gate> = routes
            .iter()
            .map(|route| config.worker_limits.gate(&route.limits, &config.connector, &turn))
            .collect();
        let shared = Arc::new(Shared {
            routes: routes
                .iter()
                .zip(&gates)
                .map(|(route, gate)| RouteBoard::new(Arc::clone(&route.name), Arc::clone(&route.destination), gate))
                .collect(),
            partitions: Mutex::new(HashMap::new()),
            is_closed: AtomicBool::new(false),
            filtered_records: AtomicU64::new(0),
            resumed_records: AtomicU64::new(0),
            dead_lettered_records: AtomicU64::new(0),
            failed_records: AtomicU64::new(0),
            dropped_records: AtomicU64::new(0),
            rewound_records: AtomicU64::new(0),
            late_records: AtomicU64::new(0),
            outages: watch::Sender::new(0),
            done: AtomicU64::new(0),
            wake_at: AtomicU64::new(u64::MAX),
            done_enough: Notify::new(),
        });
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let (events, event_queue) = mpsc::channel(EVENTS);
        let limits = config.limits;
        let actor = Actor::new(config, sink, Arc::clone(&shared), events, gates, turn);
        actors.spawn(actor.run(command_queue));
        let engine = Self {
            shared,
            commands,
            memory,
            limits,
        };
        (engine, event_queue)
    }

    /// Opens the intake of a partition that was assigned under `epoch`, to be read from `position`.
    ///
    /// An earlier assignment of the same partition that was not revoked counts as lost.
    #[must_use]
    pub fn assign(&self, topic_partition: TopicPartition, epoch: u64, position: i64) -> Intake {
        self.resume(topic_partition, epoch, position, Progress::default())
    }

    /// As [`Engine::assign`], with what was settled beyond `position` before: no route gets it again.
    #[must_use]
    pub fn resume(&self, topic_partition: TopicPartition, epoch: u64, position: i64, settled: Progress) -> Intake {
        let mut partitions = self.shared.partitions();
        let replaces = partitions.remove(&topic_partition);
        let is_replacement = replaces.is_some();
        if let Some(replaced) = &replaces {
            replaced.close();
        }
        let handle = Arc::new(PartitionHandle::new(
            topic_partition.clone(),
            epoch,
            Ledger::new(position, settled),
            self.limits,
            Arc::clone(&self.memory),
            replaces,
        ));
        partitions.insert(topic_partition, Arc::clone(&handle));
        // Under the lock, so that `close` either sees the new partition or is seen here.
        if self.shared.is_closed.load(Ordering::SeqCst) {
            handle.close();
        }
        drop(partitions);
        if is_replacement {
            // Tells the actor at once; if its queue is full, the first chunk does.
            let command = Command::Records {
                handle: Arc::clone(&handle),
                records: Vec::new(),
                room: Room::default(),
                position,
                rewinds: 0,
            };
            self.commands.try_send(command).ok();
        }
        Intake {
            handle,
            commands: self.commands.clone(),
            has_gap: false,
            rewinds: 0,
        }
    }

    /// Gives partitions back: drops what is not in a call, waits at most `timeout` for the calls, and answers with
    /// what may be committed and has not been acknowledged. Nothing is sent for these partitions afterwards, and no dead
    /// letter written; answers that come later are counted, never committed. Dead letters are waited for at most 5 s.
    ///
    /// # Cancel safety
    /// The partitions are given back even if the future is dropped; only the answer is lost.
    pub async fn revoke(&self, topic_partitions: Vec<TopicPartition>, timeout: Duration) -> Vec<Committable> {
        let handles = self.take(&topic_partitions);
        let (reply, drained) = oneshot::channel();
        let command = Command::Revoke {
            handles: handles.clone(),
            until: deadline(timeout),
            reply,
        };
        if self.commands.send(command).await.is_ok() {
            // An error means that the engine ended meanwhile: its ledgers are then final.
            drained.await.ok();
        }
        handles.iter().filter_map(|handle| handle.committable()).collect()
    }

    /// Drops partitions that another member may own already: there is nothing to commit.
    pub async fn lost(&self, topic_partitions: Vec<TopicPartition>) {
        self.revoke(topic_partitions, Duration::ZERO).await;
    }

    /// Takes partitions out of the registry and closes their intakes.
    fn take(&self, topic_partitions: &[TopicPartition]) -> Vec<Arc<PartitionHandle>> {
        let mut partitions = self.shared.partitions();
        let handles: Vec<_> = topic_partitions
            .iter()
            .filter_map(|topic_partition| partitions.remove(topic_partition))
            .collect();
        for handle in &handles {
            handle.close();
        }
        handles
    }

    /// What may be committed and was not acknowledged yet ([`Engine::committed`]), starting positions included: a
    /// group that starts at the end of a topic must not skip what comes while it is away. Starts the count of
    /// [`Engine::done_records`] again.
    #[must_use]
    pub fn committable(&self) -> Vec<Committable> {
        self.shared.done.store(0, Ordering::SeqCst);
        self.shared
            .partitions()
            .values()
            .filter_map(|handle| handle.committable())
            .collect()
    }

    /// The broker has acknowledged these commits.
    pub fn committed(&self, acknowledged: &[Committable]) {
        let partitions = self.shared.partitions();
        for committed in acknowledged {
            if let Some(handle) = partitions.get(&committed.topic_partition)
                && handle.epoch == committed.epoch
            {
                handle.confirm(committed.offset, committed.revision);
            }
        }
    }

    /// Waits until so many records are done since the last [`Engine::committable`].
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub async fn done_records(&self, records: u64) {
        loop {
            let mut enough = std::pin::pin!(self.shared.done_enough.notified());
            enough.as_mut().enable();
            self.shared.wake_at.fetch_min(records, Ordering::SeqCst);
            if self.shared.done.load(Ordering::SeqCst) >= records {
                return;
            }
            enough.await;
        }
    }

    /// Closes all intakes, sends what they hold without lingering, waits at most `timeout`, and ends the engine. Calls
    /// that have no answer by then are abandoned. Answers with what may be committed and has not been acknowledged.
    ///
    /// Nothing is sent to a destination that is throttled, unreachable or unusable, and its records do not hold the end:
    /// they are not committed, and are read again. Nor do dead letters that are not acknowledged within 5 s.
    ///
    /// A failed engine sends nothing more: it only waits for the calls that are out.
    ///
    /// # Cancel safety
    /// The engine ends even if the future is dropped; only the answer is lost.
    pub async fn shutdown(&self, timeout: Duration) -> Vec<Committable> {
        self.shared.close();
        let (reply, ended) = oneshot::channel();
        let command = Command::Shutdown {
            until: deadline(timeout),
            reply,
        };
        if self.commands.send(command).await.is_ok() {
            ended.await.ok();
        }
        self.committable()
    }

    /// Follows how many routes have a destination that takes nothing now; [`Engine::status`] says why.
    #[must_use]
    pub fn outages(&self) -> watch::Receiver<usize> {
        self.shared.outages.subscribe()
    }

    /// Whether routes wait for a limit that was throttled within the last minute, on account of whichever connector.
    #[must_use]
    pub fn is_slowed_down(&self) -> bool {
        let now = Instant::now();
        self.shared.routes.iter().any(|route| route.is_slowed_down(now))
    }

    /// What the engine does, and how it is.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        self.shared.status()
    }

    /// What shows the status and does not keep the engine going.
    #[must_use]
    pub fn monitor(&self) -> EngineMonitor {
        EngineMonitor(Arc::clone(&self.shared))
    }
}

/// Looks at an engine, also after its end.
#[derive(Debug, Clone)]
pub struct EngineMonitor(Arc<Shared>);

impl EngineMonitor {
    /// What the engine does, and how it is.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        self.0.status()
    }
}

/// A time-out of any length; the longest ones end in some decades.
fn deadline(timeout: Duration) -> Instant {
    const DECADES: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    Instant::now() + timeout.min(DECADES)
}
