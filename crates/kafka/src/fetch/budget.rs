//! Memory for responses, reserved before they are asked for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::client::lock;

/// Where the memory for fetch responses comes from; the owner of the pool decides how much there is.
pub trait FetchBudget: Send + Sync + fmt::Debug {
    /// Waits until `bytes` are free and takes them. Dropping the future gives up the place in the queue.
    fn reserve(&self, bytes: usize) -> BoxFuture<'_, Reservation>;
}

/// Takes back what a [`Reservation`] held.
pub trait Account: Send + Sync + fmt::Debug {
    /// `bytes` are free again.
    fn release(&self, bytes: usize);
    /// `bytes` more are in use than were reserved: a single record was larger than the bound of a response.
    fn overdraw(&self, bytes: usize);
}

/// Bytes taken from a budget; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    bytes: usize,
    account: Arc<dyn Account>,
}

impl Reservation {
    /// A reservation of `bytes`, which `account` has already set aside.
    pub fn new(bytes: usize, account: Arc<dyn Account>) -> Self {
        Self { bytes, account }
    }

    /// How much is held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it hold exactly `bytes`: gives back what is too much, takes what is missing without waiting.
    pub fn resize(&mut self, bytes: usize) {
        if bytes < self.bytes {
            self.account.release(self.bytes - bytes);
        } else if bytes > self.bytes {
            self.account.overdraw(bytes - self.bytes);
        }
        self.bytes = bytes;
    }

    /// Moves up to `bytes` into a reservation of their own.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            bytes,
            account: Arc::clone(&self.account),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.release(self.bytes);
        }
    }
}

/// A fixed number of bytes, handed out in the order of asking.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    total: i64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Below zero while overdrawn.
    free: i64,
    waiting: VecDeque<(i64, oneshot::Sender<Reservation>)>,
}

impl ByteBudget {
    /// A budget of `total_bytes`.
    pub fn new(total_bytes: usize) -> Self {
        let total = i64::try_from(total_bytes).unwrap_or(i64::MAX);
        Self {
            shared: Arc::new(Shared {
                total,
                state: Mutex::new(State {
                    free: total,
                    waiting: VecDeque::new(),
                }),
            }),
        }
    }

    /// What nobody holds at the moment.
    pub fn free_bytes(&self) -> usize {
        usize::try_from(lock(&self.shared.state).free).unwrap_or(0)
    }
}

impl FetchBudget for ByteBudget {
    fn reserve(&self, bytes: usize) -> BoxFuture<'_, Reservation> {
        // A request beyond the whole budget gets the whole budget, else it would wait for ever.
        let wanted = i64::try_from(bytes).unwrap_or(i64::MAX).min(self.shared.total);
        let (granted, grant) = oneshot::channel();
        lock(&self.shared.state).waiting.push_back((wanted, granted));
        Shared::serve(&self.shared);
        Box::pin(async move {
            match grant.await {
                Ok(reservation) => reservation,
                // Only a grant removes a waiter from the queue, and the queue lives as long as `self`.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

impl Shared {
    /// Grants to the front of the queue what is free.
    fn serve(self: &Arc<Self>) {
        loop {
            let (grant, granted) = {
                let mut state = lock(&self.state);
                let Some((wanted, _)) = state.waiting.front() else {
                    return;
                };
                if *wanted > state.free {
                    return;
                }
                let Some((wanted, granted)) = state.waiting.pop_front() else {
                    return;
                };
                state.free -= wanted;
                let bytes = usize::try_from(wanted).unwrap_or(0);
                (Reservation::new(bytes, Arc::new(Handle(Arc::clone(self)))), granted)
            };
            // If nobody waits any more the reservation comes back and is released here, outside the lock.
            drop(granted.send(grant));
        }
    }
}

/// The budget as a reservation sees it.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Account for Handle {
    fn release(&self, bytes: usize) {
        lock(&self.0.state).free += i64::try_from(bytes).unwrap_or(i64::MAX);
        Shared::serve(&self.0);
    }

    fn overdraw(&self, bytes: usize) {
        lock(&self.0.state).free -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn reservations_wait_their_turn_and_come_back() {
        let budget = ByteBudget::new(100);
        let mut first = budget.reserve(80).now_or_never().unwrap();
        let mut second = budget.reserve(50);
        assert!((&mut second).now_or_never().is_none(), "20 are free");
        let mut third = budget.reserve(10);
        assert!(
            (&mut third).now_or_never().is_none(),
            "whoever asked first is served first"
        );
        first.resize(40);
        assert_eq!(second.now_or_never().unwrap().bytes(), 50);
        assert_eq!(third.now_or_never().unwrap().bytes(), 10);
        let part = first.split(30);
        drop(first);
        assert_eq!(budget.free_bytes(), 70, "the part is still held");
        drop(part);
        assert_eq!(budget.free_bytes(), 100);
    }

    #[test]
    fn a_waiter_that_gave_up_takes_nothing() {
        let budget = ByteBudget::new(10);
        let all = budget.reserve(1_000).now_or_never().unwrap();
        assert_eq!(all.bytes(), 10, "more than there is means all");
        drop(budget.reserve(5));
        drop(all);
        assert_eq!(budget.free_bytes(), 10);
    }

    #[test]
    fn an_oversized_answer_is_paid_back() {
        let budget = ByteBudget::new(10);
        let mut taken = budget.reserve(10).now_or_never().unwrap();
        taken.resize(25);
        assert_eq!(budget.free_bytes(), 0);
        drop(taken);
        assert_eq!(budget.free_bytes(), 10);
    }
}
