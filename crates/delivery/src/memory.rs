//! The worker-wide bound on memory that engines hold.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use klamm_connect_api::BoxFuture;
use tokio::sync::Notify;

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
}

/// A [`MemoryBudget`] with a fixed bound.
#[derive(Debug)]
pub struct WorkerMemory {
    bound_bytes: usize,
    used_bytes: AtomicUsize,
    released: Notify,
}

impl WorkerMemory {
    /// A bound of `bound_bytes`.
    #[must_use]
    pub fn new(bound_bytes: usize) -> Self {
        Self {
            bound_bytes,
            used_bytes: AtomicUsize::new(0),
            released: Notify::new(),
        }
    }

    /// Bytes taken now. Above the bound only by what [`MemoryBudget::acquire_over`] took.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Acquire)
    }
}

impl MemoryBudget for WorkerMemory {
    fn try_acquire(&self, bytes: usize) -> bool {
        self.used_bytes
            .try_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.bound_bytes)
            })
            .is_ok()
    }

    fn acquire_over(&self, bytes: usize) {
        self.used_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn acquire(&self, bytes: usize) -> BoxFuture<'_, ()> {
        Box::pin(async move {
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
            self.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
            self.released.notify_waiters();
        }
    }
}
