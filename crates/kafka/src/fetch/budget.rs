//! Memory for responses, reserved before they are asked for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::client::lock;

/// Where the memory for fetch responses comes from; the owner of the pool decides how much there is.
pub trait FetchBudget: Send + Sync + fmt::Debug {
    /// Waits until there is memory and takes some, at most `bytes`: as much as is fair to those who ask next. Dropping
    /// the future gives up the place in the queue.
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

/// What is free is shared with those who ask next: one request gets an eighth of it.
const SHARE: i64 = 8;

/// But not less than this, or than this part of a small budget.
const LEAST_BYTES: i64 = 64 * 1024;
const LEAST_SHARE: i64 = 64;

/// A fixed number of bytes, handed out in the order of asking.
///
/// Nobody waits for a number of bytes of his own: whoever is at the front takes what can be spared, so a large request
/// holds up no small one, and a few who keep what they got (their broker hangs) leave enough for the others.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// As long as so much is free, the front of the queue is served.
    least: i64,
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
                least: LEAST_BYTES.min(total / LEAST_SHARE),
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
        let wanted = i64::try_from(bytes).unwrap_or(i64::MAX);
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
                if state.free < self.least {
                    return;
                }
                let Some((wanted, granted)) = state.waiting.pop_front() else {
                    return;
                };
                let spared = wanted.min((state.free / SHARE).max(self.least));
                state.free -= spared;
                let bytes = usize::try_from(spared).unwrap_or(0);
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

    /// A budget of which an eighth is `share`.
    fn budget(share: usize) -> ByteBudget {
        ByteBudget::new(8 * share)
    }

    // A request beyond what is free waited at the front until nobody held a byte, and everybody behind it with it.
    #[test]
    fn a_large_request_takes_what_can_be_spared_and_holds_up_nobody() {
        let budget = budget(4 << 20);
        let _held = budget.reserve(69).now_or_never().unwrap();
        let large = budget.reserve(50 << 20).now_or_never().unwrap();
        assert_eq!(large.bytes(), ((32 << 20) - 69) / 8);
        assert_eq!(budget.reserve(1 << 20).now_or_never().unwrap().bytes(), 1 << 20);
    }

    #[test]
    fn those_who_keep_what_they_got_leave_some_for_the_others() {
        let budget = budget(4 << 20);
        let hung: Vec<_> = (0..16)
            .map(|_| budget.reserve(8 << 20).now_or_never().unwrap())
            .collect();
        let next = budget.reserve(8 << 20).now_or_never().unwrap();
        assert!(next.bytes() >= 256 * 1024, "{}", next.bytes());
        drop((hung, next));
        assert_eq!(budget.free_bytes(), 32 << 20);
    }

    #[test]
    fn reservations_wait_their_turn_and_come_back() {
        let least = 64 * 1024;
        let budget = budget(8 * least);
        let mut taken = Vec::new();
        while let Some(reservation) = budget.reserve(usize::MAX).now_or_never() {
            taken.push(reservation);
        }
        assert!(budget.free_bytes() < least);
        let (mut second, mut third) = (budget.reserve(1), budget.reserve(1));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        let mut last = taken.pop().unwrap();
        last.resize(last.bytes() - (least - budget.free_bytes()));
        assert_eq!(second.now_or_never().unwrap().bytes(), 1);
        assert!((&mut third).now_or_never().is_some(), "the second gave its byte back");
        taken.push(last.split(30));
        drop(last);
        let held: usize = taken.iter().map(Reservation::bytes).sum();
        assert_eq!(budget.free_bytes(), 64 * least - held, "the part is still held");
        drop(taken);
        assert_eq!(budget.free_bytes(), 64 * least);
    }

    #[test]
    fn a_waiter_that_gave_up_takes_nothing() {
        let budget = budget(10);
        let mut all = budget.reserve(10).now_or_never().unwrap();
        all.resize(80);
        drop(budget.reserve(5));
        drop(all);
        assert_eq!(budget.free_bytes(), 80);
    }

    #[test]
    fn an_oversized_answer_is_paid_back() {
        let budget = budget(10);
        let mut taken = budget.reserve(10).now_or_never().unwrap();
        taken.resize(85);
        assert_eq!(budget.free_bytes(), 0);
        assert!(budget.reserve(1).now_or_never().is_none());
        drop(taken);
        assert_eq!(budget.free_bytes(), 80);
    }
}
