//! The delivery engine: orders records in lanes, packs batches, sends, retries, and knows what may be committed.
//!
//! One [`Engine`] serves one task. It is an actor that owns all state; the handles ([`Engine`], [`Intake`]) talk to it
//! through bounded queues and read what it publishes. The way of a record: [`Intake::push`] waits for room and memory
//! → the ledger notes the offset → the record waits in its lane for each of its routes → a batch takes it → the call →
//! the verdict decides → the ledger completes the offset → [`Engine::committable`].
//!
//! **Owns** lanes, batches, attempts, limits, the ledger.
//! **Does not know** Kafka, Lambda, JSON, settings by name. Offsets are opaque numbers that only grow.
//!
//! Before each call a route takes three permits: its own, its function's and its account's. The latter two are
//! [`WorkerLimits`]: all engines of a worker share them, and they adapt to what destinations take. They go back with the
//! answer, so nothing that waits for another attempt holds one. A destination that takes nothing at all opens the
//! route's breaker: then only probes go.
//!
//! **Invariants**
//! - An offset is committable only when every record up to it is done on every route.
//! - A lane never has two calls in flight.
//! - A payload never exceeds the route's `batch_bytes`.
//! - What is held never exceeds the bounds of partition and worker, except that a partition that holds nothing may
//!   always take one chunk. While the worker's memory is short, a partition that stands still gives back what waits
//!   there, and its reader goes back ([`PushError::Rewound`]).
//! - Every record pushed counts exactly once: delivered, filtered, skipped, failed, dead-lettered, given back by a
//!   revocation or to be read again, or settled by an earlier assignment.
//! - A record given up, or whose answer is kept, is done when its letter is acknowledged, and holds its lane until then.
//!   None is written for a partition that was given back.
//!
//! # What the owner of an engine does
//! 1. [`Engine::start`], with the `JoinSet` that will own the actor.
//! 2. [`Engine::assign`] for each partition, or [`Engine::resume`] with the [`Progress`] that was committed with its
//!    position, and [`Intake::push`] from the partition's reader.
//! 3. On a timer or after [`Engine::done_records`]: commit what [`Engine::committable`] returns, and tell
//!    [`Engine::committed`] when the broker has acknowledged it. What was not acknowledged is returned again.
//! 4. On revocation [`Engine::revoke`] (commit the answer), on loss [`Engine::lost`].
//! 5. On [`EngineEvent::Failed`]: the engine has stopped sending and every intake is closed; call
//!    [`Engine::shutdown`], which answers with what may still be committed.
#![forbid(unsafe_code)]

mod actor;
mod batch;
mod breaker;
mod distribution;
mod engine;
mod event;
mod intake;
mod lanes;
mod ledger;
mod letters;
mod limit;
mod memory;
mod partition;
mod retry;
mod route;
mod status;

pub use distribution::Distribution;
pub use engine::{Committable, Engine, EngineConfig, EngineMonitor, PartitionLimits, WallClock};
pub use event::{EngineEvent, TaskFailure};
pub use intake::{Delivery, Destinations, Intake, IntakeClosed, PushError};
pub use ledger::{Progress, RouteProgress};
pub use letters::{About, GivenUp, LETTERS_AT_ONCE, Letter, LetterRefused, Letters};
pub use limit::{LimitSettings, LimitStatus, LimitThrottled, WorkerLimits};
pub use memory::{MemoryBudget, WorkerMemory};
pub use status::{EngineStatus, LastFailure, PartitionStatus, RouteHealth, RouteStatus};
