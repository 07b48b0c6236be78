//! Who waits for a limit, and who is next: one connector after the other, within a connector one route after the other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

/// A route that waits.
#[derive(Debug)]
struct Waiter {
    seat: u64,
    /// Turns that it waits for.
    wanted: usize,
    /// Wakes who runs the route.
    wake: Arc<Notify>,
}

/// Routes that wait, each at most once.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Connectors with waiters, in the order of their turns.
    connectors: VecDeque<Arc<str>>,
    waiting: HashMap<Arc<str>, VecDeque<Waiter>>,
}

impl Turns {
    /// Routes that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connectors.is_empty()
    }

    /// Has the route wait for so many turns, at least one; if it waits already it keeps its place.
    pub(super) fn want(&mut self, connector: &Arc<str>, seat: u64, wanted: usize, wake: &Arc<Notify>) {
        let waiting = self.waiting.entry(Arc::clone(connector)).or_default();
        if let Some(waiter) = waiting.iter_mut().find(|waiter| waiter.seat == seat) {
            waiter.wanted = wanted.max(1);
            return;
        }
        if waiting.is_empty() {
            self.connectors.push_back(Arc::clone(connector));
        }
        waiting.push_back(Waiter {
            seat,
            wanted: wanted.max(1),
            wake: Arc::clone(wake),
        });
    }

    /// Wakes who is next, and says who it is. Its connector's other routes, and its own other turns, wait until all other
    /// connectors had a turn.
    pub(super) fn serve(&mut self) -> Option<u64> {
        let connector = self.connectors.pop_front()?;
        let waiting = self.waiting.get_mut(&connector)?;
        let mut next = waiting.pop_front()?;
        let seat = next.seat;
        next.wake.notify_one();
        next.wanted -= 1;
        if next.wanted > 0 {
            waiting.push_back(next);
        }
        if waiting.is_empty() {
            self.waiting.remove(&connector);
        } else {
            self.connectors.push_back(connector);
        }
        Some(seat)
    }

    /// Wakes all, who keep their places: there is something new to know.
    pub(super) fn wake_all(&self) {
        for waiter in self.waiting.values().flatten() {
            waiter.wake.notify_one();
        }
    }

    pub(super) fn remove(&mut self, connector: &Arc<str>, seat: u64) {
        let Some(waiting) = self.waiting.get_mut(connector) else {
            return;
        };
        waiting.retain(|waiter| waiter.seat != seat);
        if waiting.is_empty() {
            self.waiting.remove(connector);
            self.connectors.retain(|other| other != connector);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connectors_take_turns_and_their_routes_within() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let wake = Arc::new(Notify::new());
        let mut turns = Turns::default();
        for seat in 1..=4 {
            turns.want(&a, seat, 2, &wake);
        }
        turns.want(&b, 9, 1, &wake);
        turns.want(&b, 9, 5, &wake);
        assert_eq!(turns.len(), 5);
        let served: Vec<u64> = (0..8).filter_map(|_| turns.serve()).collect();
        assert_eq!(served, [1, 9, 2, 9, 3, 9, 4, 9]);
        turns.remove(&b, 9);
        turns.remove(&a, 2);
        turns.remove(&a, 77);
        let rest: Vec<u64> = std::iter::from_fn(|| turns.serve()).collect();
        assert_eq!((rest, turns.len(), turns.is_empty()), (vec![1, 3, 4], 0, true));
    }
}
