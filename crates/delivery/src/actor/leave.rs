//! Gives partitions back, and ends the engine.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Actor, Command, Phase, ways};
use crate::batch::{BatchId, Item, OpenBatch, Part};
use crate::partition::{PartitionHandle, Slot};
use crate::route::RouteState;
use crate::status::count;

/// Longest wait for letters by who leaves: a queue that takes nothing is not waited for, as little as a destination
/// that takes nothing.
const LETTERS: Duration = Duration::from_secs(5);

/// A revocation that waits for calls.
#[derive(Debug)]
pub(super) struct Drain {
    partitions: Vec<usize>,
    until: Instant,
    letters_until: Instant,
    reply: oneshot::Sender<()>,
}

impl Drain {
    /// When it looks again by itself.
    pub(super) fn due(&self, now: Instant) -> Instant {
        if self.letters_until > now {
            self.letters_until
        } else {
            self.until
        }
    }
}

/// A shutdown that waits for everything.
#[derive(Debug)]
pub(super) struct Ending {
    until: Instant,
    /// No call starts after it, so that those that are out by then have as long again.
    calls_until: Instant,
    letters_until: Instant,
    replies: Vec<oneshot::Sender<()>>,
}

impl Ending {
    /// When it looks again by itself.
    pub(super) fn due(&self, now: Instant) -> Instant {
        let times = [self.letters_until, self.calls_until];
        times.into_iter().filter(|at| *at > now).min().unwrap_or(self.until)
    }
}

impl Actor {
    /// Running => Draining.
    pub(super) fn revoke(&mut self, handles: &[Arc<PartitionHandle>], until: Instant, reply: oneshot::Sender<()>) {
        let mut partitions = Vec::new();
        for handle in handles {
            if let Some(replaced) = handle.replaced() {
                self.lose(&replaced);
            }
            match *handle.slot.get_or_init(|| Slot::GivenBack) {
                Slot::GivenBack => {}
                Slot::Entry(index) => {
                    if self.is_entry_of(index, handle) && self.partitions[index].phase == Phase::Running {
                        self.partitions[index].phase = Phase::Draining;
                        partitions.push(index);
                    }
                }
            }
        }
        self.purge(&partitions);
        self.drains.push(Drain {
            partitions,
            until,
            letters_until: until.min(self.now + LETTERS),
            reply,
        });
    }

    /// Running or Draining => `GivenBack`, at once.
    pub(super) fn lose(&mut self, handle: &Arc<PartitionHandle>) {
        if let Slot::Entry(index) = *handle.slot.get_or_init(|| Slot::GivenBack)
            && self.is_entry_of(index, handle)
            && self.partitions[index].phase != Phase::GivenBack
        {
            self.partitions[index].phase = Phase::GivenBack;
            self.given_back += 1;
            self.take_back_letters(index);
            self.purge(&[index]);
            for drain in &mut self.drains {
                drain.partitions.retain(|partition| *partition != index);
            }
            self.reap();
        }
    }

    /// An answer may come long after the leave began, and has the time of a letter all the same.
    pub(super) fn give_answers_time(&mut self, partition: usize) {
        let needed = self.now + LETTERS;
        for drain in &mut self.drains {
            if drain.partitions.contains(&partition) {
                drain.letters_until = drain.until.min(needed);
            }
        }
        if let Some(ending) = &mut self.ending {
            ending.letters_until = ending.until.min(needed);
        }
    }

    fn is_entry_of(&self, index: usize, handle: &Arc<PartitionHandle>) -> bool {
        self.partitions
            .get(index)
            .is_some_and(|partition| Arc::ptr_eq(&partition.handle, handle))
    }

    /// Drops every record of the partitions that is not in a call.
    fn purge(&mut self, leaving: &[usize]) {
        if leaving.is_empty() {
            return;
        }
        for &index in leaving {
            self.purge_letters(index);
        }
        for route in 0..self.routes.len() {
            for &index in leaving {
                self.purge_queue(route, index);
            }
            let state = &mut self.routes[route];
            state.active.retain(|index| !leaving.contains(index));
            state.lingering.retain(|(_, index)| !leaving.contains(index));
            for part in std::mem::take(&mut state.ready) {
                if let Some(part) = self.shed_or_abandon(part) {
                    self.routes[route].ready.push_back(part);
                }
            }
            for (at, mut waiting) in std::mem::take(&mut self.routes[route].waiting) {
                if let Some(part) = self.shed_or_abandon(waiting.part) {
                    waiting.part = part;
                    self.routes[route].waiting.insert(at, waiting);
                }
            }
            self.touch(route);
        }
    }

    /// As `shed`, but a part that waits is kept when the engine has failed: only what leaves is dropped.
    fn shed_or_abandon(&mut self, part: Part) -> Option<Part> {
        if part.items.iter().all(|item| self.may_send(item.partition)) {
            return Some(part);
        }
        self.shed(part)
    }

    fn purge_queue(&mut self, route: usize, index: usize) {
        let mut items: Vec<Item> = Vec::new();
        let queue = &mut self.partitions[index].queues[route];
        queue.is_active = false;
        queue.linger_until = None;
        let next = BatchId(queue.open.id.0);
        items.append(&mut queue.open.take(next));
        queue.lanes.clear(&mut items);
        let open: &mut OpenBatch = &mut self.routes[route].open;
        items.extend(open.forget(index));
        self.drop_items(route, items);
    }

    /// Draining => `GivenBack` for partitions whose calls have ended or whose time is up.
    pub(super) fn finish_drains(&mut self) {
        let mut index = 0;
        while index < self.drains.len() {
            let drain = &self.drains[index];
            let (is_over, letters_until) = (drain.until <= self.now, drain.letters_until);
            let is_finished = |partition: &usize| is_over || self.is_quiet(*partition, letters_until);
            let finished: Vec<usize> = drain.partitions.iter().copied().filter(is_finished).collect();
            self.drains[index]
                .partitions
                .retain(|partition| !finished.contains(partition));
            for &partition in &finished {
                self.take_back_letters(partition);
                let partition = &mut self.partitions[partition];
                partition.phase = Phase::GivenBack;
                self.given_back += 1;
                if partition.sent > 0 {
                    let (connector, task) = (&*self.config.connector, self.config.task);
                    let topic_partition = &partition.handle.topic_partition;
                    warn!(
                        connector,
                        task,
                        topic = topic_partition.topic(),
                        partition = topic_partition.partition(),
                        records = partition.sent,
                        "partition given back while calls are out: their records may be delivered twice"
                    );
                }
            }
            if self.drains[index].partitions.is_empty() {
                let drain = self.drains.swap_remove(index);
                // An error means that nobody waits for the answer any more.
                drain.reply.send(()).ok();
            } else {
                index += 1;
            }
            if !finished.is_empty() {
                self.reap();
            }
        }
    }

    pub(super) fn begin_end(&mut self, until: Instant, reply: oneshot::Sender<()>) {
        let ending = self.ending.get_or_insert(Ending {
            until,
            calls_until: until,
            letters_until: until.min(self.now + LETTERS),
            replies: Vec::new(),
        });
        ending.until = ending.until.min(until);
        ending.calls_until = self.now + ending.until.saturating_duration_since(self.now) / 2;
        ending.replies.push(reply);
        // What lingers goes now.
        for route in 0..self.routes.len() {
            for (_, partition) in std::mem::take(&mut self.routes[route].lingering) {
                self.partitions[partition].queues[route].linger_until = None;
                self.activate(route, partition);
            }
            self.touch(route);
        }
    }

    /// Records of a destination in an outage do not hold the end, nor do dead letters that nobody acknowledges and what
    /// waits behind them: they are not committed, so they are read again.
    pub(super) fn has_ended(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| {
            let is_late = ending.letters_until <= self.now;
            let is_over = !self.may_call();
            let is_done = if self.has_failed {
                self.calls.is_empty() && (is_late || self.writes.is_empty())
            } else {
                let waits_in_vain = |route: &RouteState| {
                    route.waits_for_destination()
                        || is_over
                        || is_late
                            && (route.is_held_back
                                || route.letters > 0 && route.ready.is_empty() && route.waiting.is_empty())
                };
                let is_left = |route: &RouteState| route.items == 0 || self.calls.is_empty() && waits_in_vain(route);
                (is_late || self.letters == 0) && self.routes.iter().all(is_left)
            };
            is_done || ending.until <= self.now
        })
    }

    /// Whether calls may start: not in the second half of the time that there is for an end, which is for their answers.
    pub(super) fn may_call(&self) -> bool {
        !self.has_failed && self.ending.as_ref().is_none_or(|ending| ending.calls_until > self.now)
    }

    /// Abandons calls that are out, and gives back all memory.
    pub(super) fn end(mut self, mut commands: mpsc::Receiver<Command>) {
        if !self.calls.is_empty() {
            let (connector, task, calls) = (&*self.config.connector, self.config.task, self.calls.len());
            warn!(
                connector,
                task, calls, "delivery ended while calls are out: their records may be delivered twice"
            );
        }
        self.calls.abort_all();
        self.writes.abort_all();
        let undelivered = self.routes.iter().map(|route| route.items).sum::<usize>() + self.unrouted_letters();
        if undelivered > 0 {
            let (connector, task) = (&*self.config.connector, self.config.task);
            info!(
                connector,
                task,
                records = undelivered,
                "delivery ended with records that are not delivered: they are read again"
            );
        }
        count(&self.shared.dropped_records, undelivered);
        for (_, partition) in &mut self.partitions {
            partition.handle.release(std::mem::take(&mut partition.held));
        }
        commands.close();
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Records {
                    handle, records, room, ..
                } => {
                    count(&self.shared.dropped_records, records.iter().map(ways).sum());
                    handle.release(room);
                }
                Command::Revoke { reply, .. } | Command::Shutdown { reply, .. } => {
                    reply.send(()).ok();
                }
            }
        }
        for drain in std::mem::take(&mut self.drains) {
            drain.reply.send(()).ok();
        }
        for reply in self.ending.take().into_iter().flat_map(|ending| ending.replies) {
            reply.send(()).ok();
        }
    }
}
