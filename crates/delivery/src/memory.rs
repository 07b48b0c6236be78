//! The worker-wide bound on memory that engines hold.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use klamm_connect_api::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Memory that all engines of a worker share. An engine takes bytes before it takes records in, and gives them back
/// when the records are settled or dropped.
pub trait MemoryBudget: Send + Sync + fmt::Debug {
    /// Takes the bytes if the bound permits it.
    fn try_acquire(&self, bytes: usize) -> bool;

    /// Takes the bytes whether or not the bound permits it: the one chunk that every partition may always hold.
    fn acquire_over(&self, bytes: usize);

    /// Waits until the bound permits the bytes, and takes them.
    ///
    /// # Cancel safety
    /// Safe: a future that is dropped before it resolves has taken nothing.
    fn acquire(&self, bytes: usize) -> BoxFuture<'_, ()>;

    /// Gives bytes back.
    fn release(&self, bytes: usize);

    /// Whether somebody waits for bytes, or was refused some within the last second.
    fn is_short(&self) -> bool;
}

/// How long a refusal counts.
const REFUSED: Duration = Duration::from_secs(1);

/// A [`MemoryBudget`] with a fixed bound.
#[derive(Debug)]
pub struct WorkerMemory {
    bound_bytes: usize,
    used_bytes: AtomicUsize,
    released: Notify,
    waiting: AtomicUsize,
    refused: Mutex<Option<Instant>>,
}

/// Somebody who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl WorkerMemory {
    /// A bound of `bound_bytes`.
    #[must_use]
    pub fn new(bound_bytes: usize) -> Self {
        Self {
            bound_bytes,
            used_bytes: AtomicUsize::new(0),
            released: Notify::new(),
            waiting: AtomicUsize::new(0),
            refused: Mutex::new(None),
        }
    }

    /// The bound.
    #[must_use]
    pub fn bound_bytes(&self) -> usize {
        self.bound_bytes
    }

    /// Bytes taken now. Above the bound only by what [`MemoryBudget::acquire_over`] took.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Acquire)
    }
}

impl MemoryBudget for WorkerMemory {
    fn try_acquire(&self, bytes: usize) -> bool {
        let is_acquired = self
            .used_bytes
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.bound_bytes)
            })
            .is_ok();
        if !is_acquired {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        is_acquired
    }

    fn acquire_over(&self, bytes: usize) {
        self.used_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn acquire(&self, bytes: usize) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let _waiting = Waiting(&self.waiting);
            loop {
                // Listens before it looks: a release in between is not missed.
                let mut released = std::pin::pin!(self.released.notified());
                released.as_mut().enable();
                if self.try_acquire(bytes) {
                    return;
                }
                released.await;
            }
        })
    }

    fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.used_bytes.fetch_sub(bytes, Ordering::SeqCst);
            // Who starts to wait after this look has counted himself before he looks at the bytes, and finds these.
            if self.waiting.load(Ordering::SeqCst) > 0 {
                self.released.notify_waiters();
            }
        }
    }

    fn is_short(&self) -> bool {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.load(Ordering::Acquire) > 0 || refused.is_some_and(|refused| refused.elapsed() < REFUSED)
    }
}
