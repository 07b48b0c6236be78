//! Packs batches and sends them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use klamm_connect_api::delivery::BatchScope;
use klamm_connect_api::sink::{Attachment, Call, Failure, RouteIndex, Sink, Verdict};
use tokio::time::Instant;

use super::outcome::Attempted;
use super::{Actor, Phase};
use crate::batch::{Item, OpenBatch, Part};
use crate::breaker::CallNumber;
use crate::limit::Passage;
use crate::route::{Cause, Queue, RouteState};
use crate::status::count;

/// What is said of a panic. Its own words may quote a record, so they stay where Rust writes them: on standard error.
const PANICKED: &str = "the sink panicked, and standard error says where";

/// A call that has ended, with the records it sent.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) part: Part,
    pub(super) number: CallNumber,
    pub(super) started: Instant,
    pub(super) passage: Passage,
    pub(super) answer: Answer,
}

#[derive(Debug)]
pub(super) enum Answer {
    Verdict(Verdict),
    TimedOut,
    /// The sink panicked, or its payload builder broke its promise.
    Broken {
        class: &'static str,
        what: String,
    },
}

/// What filling a batch came upon.
#[derive(Debug, Default)]
struct Filled {
    /// Records too large for any call, with the size of the payload each would need.
    too_large: Vec<(Item, usize)>,
    /// The payload builder panicked.
    panic: Option<String>,
    /// Largest offset that left its lane.
    taken_to: Option<i64>,
}

impl Actor {
    pub(super) fn dispatch_touched(&mut self) {
        while let Some(route) = self.touched.pop() {
            self.routes[route].is_touched = false;
            self.dispatch(route);
            self.publish_route(route);
        }
    }

    /// Sends what may be sent now.
    fn dispatch(&mut self, route: usize) {
        let is_ending = self.ending.is_some();
        while self.may_call() && !self.routes[route].is_held_back {
            let state = &mut self.routes[route];
            if !state.permits.is_free() || !state.has_candidate(is_ending, self.now) {
                break;
            }
            // Before the batch is sealed, which fills up while the route waits.
            let wanted = state.wanted_calls();
            let Some(passage) = state.gate.try_pass(wanted, self.now) else {
                self.skip_in_outage(route);
                return;
            };
            let Some(part) = self.next_part(route) else { break };
            // A record too large for any call, met while the part was filled, may have failed the task.
            if self.has_failed {
                self.abandon(part);
                break;
            }
            self.start(part, passage);
        }
        self.skip_in_outage(route);
        self.routes[route].gate.leave(self.now);
    }

    /// What a route that is not required has at hand while its destination takes nothing goes to the error policy, with
    /// what is known of the outage.
    fn skip_in_outage(&mut self, route: usize) {
        while !self.has_failed && !self.routes[route].is_held_back && self.routes[route].skips() {
            let Some(mut part) = self.next_part(route) else {
                return;
            };
            if part.last_failure.is_none() {
                part.last_failure = self.shared.routes[route].failure();
            }
            self.give_up(part);
        }
    }

    fn next_part(&mut self, route: usize) -> Option<Part> {
        let state = &mut self.routes[route];
        let is_probe = state.breaker.is_open();
        let waiting = |state: &mut RouteState| state.waiting.pop_first().map(|(_, waiting)| waiting.part);
        state
            .ready
            .pop_front()
            .or_else(|| if is_probe { waiting(state) } else { None })
            .or_else(|| self.seal(route))
    }

    /// Moves what has waited its time to where it may be sent.
    pub(super) fn wake(&mut self, route: usize) {
        let now = self.now;
        self.tell_of_outage(route);
        for part in self.routes[route].take_expired(now) {
            self.give_up_late(part);
        }
        let state = &mut self.routes[route];
        while let Some(first) = state.waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            state.ready.push_back(first.remove().part);
        }
        while let Some((_, partition)) = self.routes[route]
            .lingering
            .first()
            .copied()
            .filter(|(at, _)| *at <= now)
        {
            self.routes[route].lingering.pop_first();
            self.partitions[partition].queues[route].linger_until = None;
            self.activate(route, partition);
        }
    }

    /// The next batch that is full or has lingered long enough.
    fn seal(&mut self, route: usize) -> Option<Part> {
        let items = match self.routes[route].settings.batch_scope {
            BatchScope::Partition => self.seal_of_partition(route),
            BatchScope::Route => self.seal_of_route(route),
        }?;
        Some(Part::sealed(route, items))
    }

    fn seal_of_partition(&mut self, route: usize) -> Option<Vec<Item>> {
        while let Some(index) = self.routes[route].active.pop_front() {
            let next_batch = self.new_batch();
            let is_ending = self.ending.is_some();
            let (state, queue) = (&mut self.routes[route], &mut self.partitions[index].queues[route]);
            queue.is_active = false;
            let Queue { lanes, open, .. } = queue;
            let filled = fill(state, lanes, open);
            let sealed = if is_sealed(state, open, is_ending, self.now) {
                if let Some(at) = queue.linger_until.take() {
                    state.lingering.remove(&(at, index));
                }
                let items = queue.open.take(next_batch);
                if queue.lanes.has_next(next_batch) {
                    queue.is_active = true;
                    state.active.push_back(index);
                }
                Some(items)
            } else {
                let until = open.oldest().map(|oldest| oldest + state.settings.linger);
                if queue.linger_until != until {
                    if let Some(at) = queue.linger_until.take() {
                        state.lingering.remove(&(at, index));
                    }
                    state.lingering.extend(until.map(|until| (until, index)));
                    queue.linger_until = until;
                }
                None
            };
            self.after_fill(route, index, filled);
            if sealed.is_some() {
                return sealed;
            }
        }
        None
    }

    fn seal_of_route(&mut self, route: usize) -> Option<Vec<Item>> {
        // Taken out, so that a record that is too large can be settled meanwhile.
        let next_batch = self.new_batch();
        let mut open = std::mem::replace(&mut self.routes[route].open, OpenBatch::new(next_batch));
        while !open.is_full && open.items.len() < self.routes[route].settings.batch_records {
            let Some(index) = self.routes[route].active.pop_front() else {
                break;
            };
            let (state, queue) = (&mut self.routes[route], &mut self.partitions[index].queues[route]);
            queue.is_active = false;
            let filled = fill(state, &mut queue.lanes, &mut open);
            if queue.lanes.has_next(open.id) {
                queue.is_active = true;
                state.active.push_back(index);
            }
            let is_broken = filled.panic.is_some();
            self.after_fill(route, index, filled);
            if is_broken {
                break;
            }
        }
        if is_sealed(&self.routes[route], &open, self.ending.is_some(), self.now) {
            return Some(open.items);
        }
        self.routes[route].open = open;
        None
    }

    fn after_fill(&mut self, route: usize, partition: usize, filled: Filled) {
        let taken_to = &mut self.partitions[partition].taken_to;
        *taken_to = filled.taken_to.map_or(*taken_to, |offset| offset.max(*taken_to));
        for (item, size) in filled.too_large {
            let failure = Failure {
                class: "RecordTooLarge".into(),
                message: format!(
                    "the record alone needs {size} bytes, above the {} that a call may have: drop fields, or raise \
                     `delivery.batch.bytes` if it is set below the destination's limit",
                    self.routes[route].settings.batch_bytes
                )
                .into(),
                request_id: None,
                answered: None,
            };
            self.note_failure(route, std::slice::from_ref(&item), &failure);
            let never = Attempted {
                attempts: 0,
                first_call: None,
                failure,
            };
            self.give_up_items(route, vec![item], never, None);
        }
        if let Some(what) = filled.panic {
            self.fail_internally(None, Some(route), "Panic", &what);
        }
    }

    /// Sends a part, unless its records have grown too old.
    fn start(&mut self, part: Part, passage: Passage) {
        let route = part.route;
        if self.routes[route].is_expired(&part, self.now) {
            return self.give_up_late(part);
        }
        let Some(mut part) = self.drop_aged(part) else { return };
        let state = &mut self.routes[route];
        state.permits.take();
        let number = self.next_call;
        self.next_call += 1;
        state.breaker.sent(number, self.now);
        part.first_call.get_or_insert(self.now);
        for run in part.items.chunk_by(|a, b| a.partition == b.partition) {
            self.partitions[run[0].partition].sent += run.len();
        }
        let board = &self.shared.routes[route];
        count(&board.calls, 1);
        if part.last_failure.is_some() {
            count(&board.retried_calls, 1);
        }
        let bounds = Bounds {
            timeout: state.settings.call_timeout,
            body_bytes: state.settings.batch_bytes,
        };
        board.call_records.add(part.items.len() as u64);
        let (sink, started) = (Arc::clone(&self.sink), self.now);
        self.calls.spawn(async move {
            let answer = call(&*sink, &part, bounds).await;
            Called {
                part,
                number,
                started,
                passage,
                answer,
            }
        });
    }

    /// Hands records older than `record_max_age` to the error policy; answers with what is left to send.
    fn drop_aged(&mut self, mut part: Part) -> Option<Part> {
        let route = part.route;
        let Some(max_age) = self.routes[route].settings.record_max_age else {
            return Some(part);
        };
        let max_age_ms = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
        let oldest_allowed = (self.config.wall_clock)().saturating_sub(max_age_ms);
        let is_aged = |item: &mut Item| item.timestamp.is_some_and(|timestamp| timestamp < oldest_allowed);
        let aged: Vec<Item> = part.items.extract_if(.., is_aged).collect();
        if aged.is_empty() {
            return Some(part);
        }
        let failure = Failure {
            class: "RecordTooOld".into(),
            message: match &part.last_failure {
                Some(last) => format!("older than `delivery.record.max.age.ms`={max_age_ms}; last failure: {last}"),
                None => format!("older than `delivery.record.max.age.ms`={max_age_ms}"),
            }
            .into(),
            request_id: None,
            answered: None,
        };
        self.note_failure(route, &aged, &failure);
        let attempted = Attempted {
            attempts: part.attempts,
            first_call: part.first_call,
            failure,
        };
        if part.items.is_empty() {
            self.give_up_items(route, aged, attempted, Some(part));
            return None;
        }
        self.give_up_items(route, aged, attempted, None);
        if self.has_failed {
            self.abandon(part);
            return None;
        }
        Some(part)
    }

    /// Puts a part aside until `delay` has passed.
    pub(super) fn put_aside(&mut self, part: Part, delay: Duration, cause: Cause) {
        let state = &mut self.routes[part.route];
        state.watch_expiry(&part);
        self.next_wait += 1;
        state.waiting.insert(
            (self.now + delay, self.next_wait),
            crate::route::Waiting { part, cause },
        );
    }

    /// Shows the route's state, and sees to it that the actor wakes when it needs to.
    fn publish_route(&mut self, route: usize) {
        let is_ending = self.ending.is_some();
        let state = &mut self.routes[route];
        let due = if self.has_failed {
            None
        } else {
            state.next_due(is_ending)
        };
        if due != state.due {
            if let Some(before) = state.due {
                self.due.remove(&(before, route));
            }
            self.due.extend(due.map(|due| (due, route)));
            state.due = due;
        }
        let board = &self.shared.routes[route];
        board
            .waits_for_limit
            .store(state.gate.waits().is_some(), Ordering::Relaxed);
        board
            .calls_in_flight
            .store(state.permits.in_flight(), Ordering::Relaxed);
        board
            .batches_waiting
            .store(state.ready.len() + state.waiting.len(), Ordering::Relaxed);
    }

    /// Whether records of the partition may still be sent.
    pub(super) fn may_send(&self, partition: usize) -> bool {
        self.partitions[partition].phase == Phase::Running
    }
}

/// Takes records that fit into the batch, from lanes that nothing else holds.
fn fill(state: &RouteState, lanes: &mut crate::lanes::Lanes, open: &mut OpenBatch) -> Filled {
    let mut filled = Filled::default();
    let limit = state.settings.batch_bytes;
    while !open.is_full && open.items.len() < state.settings.batch_records {
        let mut cost = 0;
        let mut does_not_fit = false;
        let taken = lanes.take_if(open.id, |item| {
            // A plugin's panic must not take the engine along.
            match catch_unwind(AssertUnwindSafe(|| state.builder.cost(&item.origin, &item.encoded))) {
                Ok(bytes) => cost = bytes,
                Err(_) => {
                    filled.panic = Some(PANICKED.to_owned());
                    return false;
                }
            }
            let alone = state.overhead_bytes.saturating_add(cost);
            does_not_fit = alone.saturating_add(open.payload_bytes) > limit;
            !does_not_fit || alone > limit
        });
        let Some(item) = taken else {
            open.is_full |= does_not_fit;
            break;
        };
        filled.taken_to = filled.taken_to.max(Some(item.origin.offset));
        let alone = state.overhead_bytes.saturating_add(cost);
        if alone > limit {
            filled.too_large.push((item, alone));
        } else {
            open.push(item, cost);
        }
    }
    filled
}

fn is_sealed(state: &RouteState, open: &OpenBatch, is_ending: bool, now: Instant) -> bool {
    let Some(oldest) = open.oldest() else { return false };
    is_ending
        || open.is_full
        || open.items.len() >= state.settings.batch_records
        || oldest + state.settings.linger <= now
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    timeout: Duration,
    body_bytes: usize,
}

/// Builds the payload and sends it. A panic of the sink ends here.
async fn call(sink: &dyn Sink, part: &Part, bounds: Bounds) -> Answer {
    let attempt = AssertUnwindSafe(attempt(sink, part, bounds)).catch_unwind().await;
    attempt.unwrap_or_else(|_| Answer::Broken {
        class: "Panic",
        what: PANICKED.to_owned(),
    })
}

async fn attempt(sink: &dyn Sink, part: &Part, bounds: Bounds) -> Answer {
    let route = RouteIndex(part.route);
    let body = {
        let mut builder = sink.payload_builder(route);
        // A byte between records, and what stands around all of them.
        let records = part.items.iter().map(|item| item.encoded.bytes.len() + 1);
        builder.expect(records.sum::<usize>() + builder.overhead());
        for item in &part.items {
            builder.push(&item.origin, &item.encoded);
        }
        builder.finish()
    };
    if body.len() > bounds.body_bytes {
        return Answer::Broken {
            class: "PayloadTooLarge",
            what: format!(
                "the payload has {} bytes, above the {} that its parts were said to need at most",
                body.len(),
                bounds.body_bytes
            ),
        };
    }
    let call = Call {
        route,
        body,
        origins: part.items.iter().map(|item| item.origin.clone()).collect(),
        timestamps: part.items.iter().map(|item| item.timestamp).collect(),
    };
    let attachments = part.items.iter().filter_map(|item| item.encoded.attachment.clone());
    let attachments: Vec<Arc<Attachment>> = attachments.collect();
    if !attachments.is_empty()
        && let Err(verdict) = sink.store(route, &attachments).await
    {
        return Answer::Verdict(verdict);
    }
    match tokio::time::timeout(bounds.timeout, sink.send(call)).await {
        Ok(verdict) => Answer::Verdict(verdict),
        Err(_) => Answer::TimedOut,
    }
}
