//! Calls that the broker parks: JoinGroup and SyncGroup are answered once all members of a group are in.
//!
//! A connection that carries one carries nothing else meanwhile, since a broker answers the requests of a connection one
//! at a time. So a thousand members that join at once would take a thousand connections; they queue instead. A hard
//! bound is no way out: members of one group may hold every slot, and wait for the very member that is queued. The
//! first in the queue therefore waits for a slot only for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::protocol::Request;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::{KafkaClient, lock};
use crate::KafkaError;
use crate::connection::Connection;

/// Calls at one broker that do not wait for each other.
const SLOTS: usize = 64;
/// How long the first in the queue waits for a slot before it goes without: at most 50 connections a second come on top.
/// MSK takes 100 a second with IAM.
const PATIENCE: Duration = Duration::from_millis(20);
/// Connections to a broker that stay open after use while nobody is queued.
const KEPT: usize = 4;

/// The parked calls of a client.
#[derive(Debug, Default)]
pub(super) struct Parking {
    lots: Mutex<HashMap<Arc<str>, Arc<Lot>>>,
}

impl Parking {
    fn lot(&self, address: &Arc<str>) -> Arc<Lot> {
        let mut lots = lock(&self.lots);
        Arc::clone(lots.entry(Arc::clone(address)).or_default())
    }
}

/// The parked calls at one broker.
#[derive(Debug)]
struct Lot {
    slots: Semaphore,
    /// Held by the first in the queue.
    queue: tokio::sync::Mutex<()>,
    idle: Mutex<Vec<Connection>>,
}

impl Default for Lot {
    fn default() -> Self {
        Self {
            slots: Semaphore::new(SLOTS),
            queue: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
        }
    }
}

impl Lot {
    /// Returns when a call may go, first come, first served; with its slot, unless it goes without.
    async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Some(slot);
        }
        let _first = self.queue.lock().await;
        timeout(PATIENCE, self.slots.acquire()).await.ok()?.ok()
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|connection| !connection.is_closed());
        idle.pop()
    }

    /// Keeps a connection for the next call.
    fn put_back(&self, connection: Connection) {
        let is_queued = self.queue.try_lock().is_err();
        let mut idle = lock(&self.idle);
        idle.push(connection);
        if !is_queued {
            idle.retain(|connection| !connection.is_closed());
            idle.truncate(KEPT);
        }
    }
}

impl KafkaClient {
    /// One attempt over a connection that nothing else uses meanwhile: for calls that the broker parks.
    pub(super) async fn request_parking<R: Request>(
        &self,
        address: &Arc<str>,
        client_id: Option<&Arc<str>>,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, KafkaError> {
        let lot = self.parking.lot(address);
        let _slot = lot.enter().await;
        let connection = match lot.take() {
            Some(connection) => connection,
            None => self.dialer.dial(Arc::clone(address)).await?,
        };
        let response = connection.request_as(client_id, request, timeout).await;
        lot.put_back(connection);
        response
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn calls_beyond_the_slots_go_one_by_one_or_when_a_slot_is_free() {
        let lot = Lot::default();
        let started = Instant::now();
        let mut held: Vec<_> = (0..SLOTS)
            .map(|_| lot.enter().now_or_never().expect("no wait").expect("a slot"))
            .collect();
        let mut queued: Vec<_> = (0..4).map(|_| Box::pin(lot.enter())).collect();
        for call in &mut queued {
            assert!(call.as_mut().now_or_never().is_none(), "all slots are taken");
        }
        // The members that are parked may wait for those that are queued.
        let mut queued = queued.into_iter();
        for place in 1..=2 {
            assert!(queued.next().expect("four calls").await.is_none(), "no slot is free");
            assert!(started.elapsed() >= PATIENCE * place, "the {place}. in the queue");
        }
        held.truncate(SLOTS - 2);
        let freed: Vec<_> = queued.map(|mut call| call.as_mut().now_or_never()).collect();
        assert!(
            freed.iter().all(|slot| matches!(slot, Some(Some(_)))),
            "at once, with the freed slots"
        );
    }
}
