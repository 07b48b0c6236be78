//! Acts on the answers to calls: settles records, tries again, splits, gives up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_connect_api::Origin;
use klamm_connect_api::delivery::ErrorPolicy;
use klamm_connect_api::sink::{Failure, Outcome, RouteIndex, Verdict};
use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::{debug, error};

use super::dispatch::{Answer, Called};
use super::letters::Outgoing;
use super::{Actor, Phase};
use crate::batch::{Item, Part};
use crate::breaker::CallNumber;
use crate::event::{EngineEvent, TaskFailure};
use crate::letters::{About, GivenUp};
use crate::limit::Signal;
use crate::partition::Room;
use crate::retry::{self, Next};
use crate::route::Cause;
use crate::status::{LastFailure, Outage, count};

/// How a record left the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    Skipped,
    /// Its dead letter was acknowledged.
    DeadLettered,
}

/// What came of the calls of records that are given up.
#[derive(Debug)]
pub(super) struct Attempted {
    /// Those that count.
    pub(super) attempts: u32,
    pub(super) first_call: Option<Instant>,
    pub(super) failure: Failure,
}

impl Actor {
    pub(super) fn on_called(&mut self, called: Result<Called, JoinError>) {
        let Called {
            part,
            number,
            started,
            passage,
            answer,
        } = match called {
            Ok(called) => called,
            Err(error) => {
                // The call catches panics, so this one came from dropping what the sink left behind.
                return self.fail_internally(None, None, "Panic", &error.to_string());
            }
        };
        let route = part.route;
        passage.end(&signal(&answer), self.now);
        let took = self.now.saturating_duration_since(started).as_micros();
        self.shared.routes[route]
            .call_micros
            .add(u64::try_from(took).unwrap_or(u64::MAX));
        self.routes[route].permits.give_back();
        self.touch(route);
        for run in part.items.chunk_by(|a, b| a.partition == b.partition) {
            self.partitions[run[0].partition].sent -= run.len();
        }
        match answer {
            Answer::Verdict(verdict) => self.on_verdict(part, number, verdict),
            Answer::TimedOut => {
                let timeout_ms = self.routes[route].settings.call_timeout.as_millis();
                let failure = Failure {
                    class: "CallTimeout".into(),
                    message: format!(
                        "no answer within {timeout_ms} ms; whether the destination did the work is unknown: it may \
                         need a smaller `delivery.batch.size` or a longer time-out"
                    )
                    .into(),
                    request_id: None,
                    answered: None,
                };
                count(&self.shared.routes[route].possible_duplicates, part.items.len());
                // Records are held as long as a call is out: where nobody needs the answer, not again and again.
                if !self.routes[route].settings.is_required {
                    self.note_outage(route, number, Outage::Unreachable, None, &failure);
                    self.routes[route].breaker.rest(self.now);
                }
                self.on_attempt(part, failure, None);
            }
            Answer::Broken { class, what } => {
                let origin = part.items.first().map(|item| item.origin.clone());
                self.abandon(part);
                self.fail_internally(origin, Some(route), class, &what);
            }
        }
        self.reap();
    }

    fn on_verdict(&mut self, mut part: Part, number: CallNumber, verdict: Verdict) {
        let route = part.route;
        match verdict {
            Verdict::Accepted => {
                self.recover(route);
                let items = std::mem::take(&mut part.items);
                self.follow(part);
                self.settle(Some(route), items, Fate::Delivered);
            }
            Verdict::PartlyAccepted { failed, failure } => {
                self.recover(route);
                let accepted = take_accepted(&mut part, &failed);
                self.settle(Some(route), accepted.into_iter().map(|(_, item)| item), Fate::Delivered);
                if part.items.is_empty() {
                    return self.follow(part);
                }
                self.on_attempt(part, failure, None);
            }
            Verdict::Answered { results, rest } => {
                self.recover(route);
                self.keep_answers(part, results, rest);
            }
            Verdict::Failed { failure } => {
                self.recover(route);
                self.on_attempt(part, failure, None);
            }
            Verdict::Retry {
                after,
                outcome: Outcome::MayHaveRun,
                failure,
            } => {
                count(&self.shared.routes[route].possible_duplicates, part.items.len());
                self.on_attempt(part, failure, after);
            }
            Verdict::Retry {
                after,
                outcome: outcome @ (Outcome::NotRun | Outcome::Unknown),
                failure,
            } => {
                if outcome == Outcome::Unknown {
                    count(&self.shared.routes[route].possible_duplicates, part.items.len());
                }
                self.wait_for_destination(part, number, Outage::Unreachable, after, failure);
            }
            Verdict::Throttled {
                by,
                after,
                failure,
                lasting,
            } => {
                count(&self.shared.routes[route].throttled_calls, 1);
                let failure = self.lasting_throttle(route, failure, lasting);
                self.wait_for_destination(part, number, Outage::Throttled(by), after, failure);
            }
            Verdict::Poison { failure } => {
                self.recover(route);
                self.note_failure(route, &part.items, &failure);
                part.last_failure = Some(failure);
                let next = if self.routes[route].settings.is_required {
                    retry::after_refusal(&part)
                } else {
                    Next::GiveUp
                };
                self.go_on(part, next, None);
            }
            Verdict::Unusable { failure } => {
                self.wait_for_destination(part, number, Outage::Unusable, None, failure);
            }
        }
    }

    /// Records were accepted, and are done when what was said of them is kept.
    fn keep_answers(&mut self, mut part: Part, mut results: Vec<Option<Bytes>>, rest: Option<(Vec<usize>, Failure)>) {
        let route = part.route;
        if results.len() != part.items.len() {
            let what = format!("{} results for {} records", results.len(), part.items.len());
            let origin = part.items.first().map(|item| item.origin.clone());
            self.abandon(part);
            return self.fail_internally(origin, Some(route), "ResultCount", &what);
        }
        let failed = rest.as_ref().map_or(&[][..], |(failed, _)| failed);
        let accepted = take_accepted(&mut part, failed);
        let name = Arc::clone(&self.routes[route].name);
        let (mut done, mut letters) = (Vec::new(), Vec::<Outgoing>::new());
        for (index, item) in accepted {
            let Some(result) = results[index].take() else {
                done.push(item);
                continue;
            };
            // Records that share one answer share its memory.
            let is_shared = letters.last().is_some_and(|before| match &before.about {
                About::Answered { result: other, .. } => std::ptr::eq(other.as_ptr(), result.as_ptr()),
                About::Failed | About::GivenUp(_) | About::Skipped(_) => false,
            });
            letters.push(Outgoing {
                item,
                route: Some(route),
                answer_bytes: if is_shared { 0 } else { result.len() },
                about: About::Answered {
                    route: Arc::clone(&name),
                    result,
                },
                rest: None,
            });
        }
        self.settle(Some(route), done, Fate::Delivered);
        match (part.items.is_empty(), rest) {
            (false, Some((_, failure))) => {
                self.post_all(letters, None);
                self.on_attempt(part, failure, None);
            }
            _ if letters.is_empty() => self.follow(part),
            _ => self.post_all(letters, Some(part)),
        }
    }

    /// A call failed in a way that counts.
    fn on_attempt(&mut self, mut part: Part, failure: Failure, after: Option<Duration>) {
        part.attempts += 1;
        self.note_failure(part.route, &part.items, &failure);
        part.last_failure = Some(failure);
        let next = retry::after_attempt(&part, &self.routes[part.route].settings);
        self.go_on(part, next, after);
    }

    /// `next` was decided over all records of the call: a record that only stands alone because the others' partitions
    /// left has not been sent alone yet.
    fn go_on(&mut self, part: Part, next: Next, after: Option<Duration>) {
        let Some(mut part) = self.shed(part) else { return };
        let state = &mut self.routes[part.route];
        if state.is_expired(&part, self.now) {
            return self.give_up_late(part);
        }
        match next {
            Next::Backoff => {
                let delay = retry::delay(&state.settings.retry, part.delays, after, &mut self.rng);
                part.delays = part.delays.saturating_add(1);
                self.put_aside(part, delay, Cause::Records);
            }
            Next::Split => {
                for piece in part.split(state.settings.ordering) {
                    state.watch_expiry(&piece);
                    state.ready.push_back(piece);
                }
            }
            Next::GiveUp => self.give_up(part),
        }
    }

    /// A call failed because of the destination's state: not an attempt. While the breaker is open the part waits for a
    /// probe to succeed, perhaps as the next probe itself; else it waits its own time. A route that is not required waits
    /// for no destination: there it is an attempt.
    fn wait_for_destination(
        &mut self,
        mut part: Part,
        number: CallNumber,
        outage: Outage,
        after: Option<Duration>,
        failure: Failure,
    ) {
        let is_throttled = matches!(outage, Outage::Throttled(_));
        let is_open = self.note_outage(part.route, number, outage, after, &failure);
        if !self.routes[part.route].settings.is_required {
            return self.on_attempt(part, failure, after);
        }
        self.note_failure(part.route, &part.items, &failure);
        part.last_failure = Some(failure);
        let Some(mut part) = self.shed(part) else { return };
        let state = &mut self.routes[part.route];
        if is_open {
            state.watch_expiry(&part);
            state.ready.push_back(part);
            return;
        }
        // A throttled destination's own wish is its limit's: that closes.
        let after = after.filter(|_| !is_throttled);
        let delay = retry::delay(&state.settings.retry, part.delays, after, &mut self.rng);
        part.delays = part.delays.saturating_add(1);
        self.put_aside(part, delay, Cause::Destination);
    }

    /// The one place where a failure on a route is counted and shown.
    pub(super) fn note_failure(&self, route: usize, items: &[Item], failure: &Failure) {
        self.shared.routes[route].fails(LastFailure {
            at: (self.config.wall_clock)(),
            origin: items.first().map(|item| item.origin.clone()),
            records: items.len(),
            failure: failure.clone(),
        });
    }

    /// The part is settled: the next piece of its lane may go, unless its partition left while the part was in a call.
    pub(super) fn follow(&mut self, mut part: Part) {
        if let Some(next) = part.next_of_lane().and_then(|next| self.shed(next)) {
            self.routes[part.route].ready.push_front(next);
            self.touch(part.route);
        }
    }

    /// Drops records of partitions that are leaving; answers with what may be sent again.
    pub(super) fn shed(&mut self, mut part: Part) -> Option<Part> {
        if self.has_failed {
            self.abandon(part);
            return None;
        }
        if part.items.iter().all(|item| self.may_send(item.partition)) {
            return Some(part);
        }
        let leaving: Vec<Item> = part
            .items
            .extract_if(.., |item| !self.may_send(item.partition))
            .collect();
        self.drop_items(part.route, leaving);
        if part.items.is_empty() {
            // Followers are of the same lane, so of the same partition.
            self.abandon(part);
            return None;
        }
        Some(part)
    }

    /// Lets go of records that are not done.
    pub(super) fn abandon(&mut self, mut part: Part) {
        let mut parts = VecDeque::from(std::mem::take(&mut part.followers));
        parts.push_front(part);
        for mut part in parts {
            self.drop_items(part.route, std::mem::take(&mut part.items));
        }
    }

    /// Time ran out while it waited.
    pub(super) fn give_up_late(&mut self, mut part: Part) {
        let timeout_ms = self.routes[part.route]
            .settings
            .retry
            .timeout
            .map_or(0, |timeout| timeout.as_millis());
        part.last_failure = part.last_failure.map(|last| Failure {
            message: format!(
                "not accepted within `delivery.retry.timeout.ms`={timeout_ms}; last: {}",
                last.message
            )
            .into(),
            ..last
        });
        self.give_up(part);
    }

    /// The error policy decides over all records of the part.
    pub(super) fn give_up(&mut self, mut part: Part) {
        let items = std::mem::take(&mut part.items);
        let failure = part.last_failure.clone().unwrap_or_else(|| Failure {
            class: "Unknown".into(),
            message: "delivery was given up before a call".into(),
            request_id: None,
            answered: None,
        });
        let (attempts, first_call) = (part.attempts, part.first_call);
        let given_up = Attempted {
            attempts,
            first_call,
            failure,
        };
        self.give_up_items(part.route, items, given_up, Some(part));
    }

    /// The error policy decides over these records; `rest` is what is left of their part if they were the last of it.
    pub(super) fn give_up_items(&mut self, route: usize, items: Vec<Item>, attempted: Attempted, rest: Option<Part>) {
        let Attempted {
            attempts,
            first_call,
            failure,
        } = attempted;
        // A dead letter holds its lane until it is acknowledged, and the later pieces of the lane with it.
        let policy = self.routes[route].settings.error_policy;
        let is_reported = policy == ErrorPolicy::Log && self.config.reports_skipped;
        let rest = match policy {
            ErrorPolicy::DeadLetter => rest,
            ErrorPolicy::Log if is_reported => rest,
            ErrorPolicy::Fail | ErrorPolicy::Log | ErrorPolicy::Ignore => {
                rest.into_iter().for_each(|rest| self.follow(rest));
                None
            }
        };
        let Some(origin) = items.first().map(|item| item.origin.clone()) else {
            return;
        };
        let state = &mut self.routes[route];
        match state.settings.error_policy {
            ErrorPolicy::Fail => {
                let failure = TaskFailure {
                    origin: Some(origin),
                    records: items.len(),
                    route: Arc::clone(&state.name),
                    destination: Arc::clone(&state.destination),
                    attempts,
                    elapsed: first_call.map_or(Duration::ZERO, |first| self.now.saturating_duration_since(first)),
                    failure,
                };
                count(&self.shared.failed_records, items.len());
                self.release_items(route, items);
                self.fail(failure);
            }
            ErrorPolicy::Log => {
                if let Some(held_back) = state.may_log_skip(self.now) {
                    let (connector, task) = (&*self.config.connector, self.config.task);
                    error!(connector, task, topic = origin.topic_partition.topic(),
                        partition = origin.topic_partition.partition(), offset = origin.offset, route = &*state.name,
                        records = items.len(), class = &*failure.class, attempts, held_back, error = %failure,
                        "records skipped after delivery failed");
                }
                if is_reported {
                    let given_up = Arc::new(GivenUp {
                        route: Arc::clone(&state.name),
                        destination: Arc::clone(&state.destination),
                        attempts,
                        failure,
                    });
                    self.post_items(route, items, &About::Skipped(given_up), rest);
                } else {
                    self.settle(Some(route), items, Fate::Skipped);
                }
            }
            ErrorPolicy::Ignore => self.settle(Some(route), items, Fate::Skipped),
            ErrorPolicy::DeadLetter => {
                if let Some(held_back) = state.may_log_skip(self.now) {
                    let (connector, task) = (&*self.config.connector, self.config.task);
                    error!(connector, task, topic = origin.topic_partition.topic(),
                        partition = origin.topic_partition.partition(), offset = origin.offset, route = &*state.name,
                        records = items.len(), class = &*failure.class, attempts, held_back, error = %failure,
                        "records go to the dead letter queue after delivery failed");
                }
                let given_up = Arc::new(GivenUp {
                    route: Arc::clone(&state.name),
                    destination: Arc::clone(&state.destination),
                    attempts,
                    failure,
                });
                self.post_items(route, items, &About::GivenUp(given_up), rest);
            }
        }
    }

    fn post_items(&mut self, route: usize, items: Vec<Item>, about: &About, rest: Option<Part>) {
        let letters = items.into_iter().map(|item| Outgoing {
            item,
            route: Some(route),
            about: about.clone(),
            answer_bytes: 0,
            rest: None,
        });
        self.post_all(letters.collect(), rest);
    }

    /// Hands letters over, each partition's to its own queue. `rest` is what is left of their part if they are the last
    /// of it.
    fn post_all(&mut self, mut letters: Vec<Outgoing>, rest: Option<Part>) {
        // Only parts of one lane, so of one partition, have followers.
        if let Some(last) = letters.last_mut() {
            last.rest = rest;
        }
        let mut letters = letters.into_iter().peekable();
        while let Some(partition) = letters.peek().map(|letter| letter.item.partition) {
            let own = std::iter::from_fn(|| letters.next_if(|letter| letter.item.partition == partition));
            let own: Vec<Outgoing> = own.collect();
            self.post(partition, own);
        }
    }

    /// The task fails: nothing more is sent.
    pub(super) fn fail(&mut self, failure: TaskFailure) {
        if std::mem::replace(&mut self.has_failed, true) {
            return;
        }
        let (connector, task) = (&*self.config.connector, self.config.task);
        // The owner of the task writes the line that a person acts on.
        debug!(connector, task, error = %failure, "delivery failed, the task stops");
        self.shared.close();
        self.tell(EngineEvent::Failed(failure));
        for route in 0..self.routes.len() {
            self.touch(route);
        }
    }

    /// Something that must not happen, happened: in the sink, or in who feeds the engine.
    pub(super) fn fail_internally(
        &mut self,
        origin: Option<Origin>,
        route: Option<usize>,
        class: &'static str,
        what: &str,
    ) {
        let (name, destination) = match route.map(|route| &self.routes[route]) {
            Some(state) => (Arc::clone(&state.name), Arc::clone(&state.destination)),
            None => ("".into(), "".into()),
        };
        self.fail(TaskFailure {
            records: usize::from(origin.is_some()),
            origin,
            route: name,
            destination,
            attempts: 0,
            elapsed: Duration::ZERO,
            failure: Failure {
                class: class.into(),
                message: format!("{what}: a defect of the connector; restart the task, and report it").into(),
                request_id: None,
                answered: None,
            },
        });
    }

    /// Records are done on this route, or before they had one. The one place where a fate is counted.
    pub(super) fn settle(&mut self, route: Option<usize>, items: impl IntoIterator<Item = Item>, fate: Fate) {
        let mut items = items.into_iter().peekable();
        let (mut settled, mut late, mut done) = (0, 0, 0);
        while let Some(first) = items.peek() {
            let index = first.partition;
            let partition = &mut self.partitions[index];
            let is_late = partition.phase == Phase::GivenBack;
            let is_running = partition.phase == Phase::Running;
            let mut ledger = partition.handle.ledger();
            let bit = ledger.bit(route.map(RouteIndex));
            let window_before = ledger.window();
            let mut freed = Room::default();
            let mut has_free_lane = false;
            let mut run = 0;
            while let Some(item) = items.next_if(|item| item.partition == index) {
                run += 1;
                freed.bytes += item.size_bytes();
                if is_running && let Some(route) = route {
                    has_free_lane |= partition.queues[route].lanes.settle(item.key_hash);
                }
                if !is_late && ledger.complete(item.ticket, bit) {
                    freed.records += 1;
                }
            }
            freed.window = window_before - ledger.window();
            drop(ledger);
            if freed.records > 0 {
                partition.moved_at = self.now;
                partition.handle.moved();
            }
            partition.held.records -= freed.records;
            partition.held.bytes -= freed.bytes;
            partition.held.window -= freed.window;
            partition.handle.release(freed);
            if let Some(route) = route {
                self.routes[route].items -= run;
                if has_free_lane {
                    self.activate(route, index);
                    self.touch(route);
                }
            }
            done += freed.records;
            if is_late {
                late += run;
            } else {
                settled += run;
            }
        }
        let shared = &self.shared;
        let counter = match (fate, route.map(|route| &shared.routes[route])) {
            (Fate::Delivered, Some(board)) => &board.delivered_records,
            (Fate::Skipped, Some(board)) => &board.skipped_records,
            (Fate::DeadLettered, Some(board)) => &board.dead_lettered_records,
            (Fate::Delivered | Fate::Skipped | Fate::DeadLettered, None) => &shared.dead_lettered_records,
        };
        count(counter, settled);
        count(&self.shared.late_records, late);
        if done > 0 {
            self.shared.count_done(done);
        }
    }

    /// Lets go of records that are not done, and counts them as given back.
    pub(super) fn drop_items(&mut self, route: usize, items: Vec<Item>) {
        count(&self.shared.dropped_records, items.len());
        self.release_items(route, items);
    }

    fn release_items(&mut self, route: usize, items: Vec<Item>) {
        for item in items {
            self.release_item(Some(route), item);
        }
    }

    /// Forgets partitions that were given back and have no record in a call any more.
    pub(super) fn reap(&mut self) {
        if self.given_back > 0 {
            let before = self.partitions.len();
            self.partitions
                .retain(|_, partition| partition.phase != Phase::GivenBack || partition.sent > 0);
            self.given_back -= before - self.partitions.len();
        }
    }
}

/// Takes the records out of a part that are not among `failed`, each with its index; the part keeps the others. Indices
/// that make no sense name nothing: then all records count as failed.
fn take_accepted(part: &mut Part, failed: &[usize]) -> Vec<(usize, Item)> {
    let is_valid = failed.is_sorted_by(|a, b| a < b) && failed.last().is_none_or(|last| *last < part.items.len());
    if !is_valid {
        return Vec::new();
    }
    let mut failed = failed.iter().peekable();
    let (refused, accepted): (Vec<_>, Vec<_>) = std::mem::take(&mut part.items)
        .into_iter()
        .enumerate()
        .partition(|(index, _)| failed.next_if_eq(&index).is_some());
    part.items = refused.into_iter().map(|(_, item)| item).collect();
    accepted
}

/// What the answer tells about the limits that the call went through.
fn signal(answer: &Answer) -> Signal<'_> {
    match answer {
        Answer::Verdict(
            Verdict::Accepted
            | Verdict::Answered { .. }
            | Verdict::PartlyAccepted { .. }
            | Verdict::Failed { .. }
            | Verdict::Poison { .. },
        ) => Signal::Took,
        Answer::Verdict(Verdict::Throttled { by, after, failure, .. }) => Signal::Throttled {
            by: *by,
            after: after.map(|after| after.min(retry::MAX_RETRY_AFTER)),
            failure,
        },
        Answer::Verdict(Verdict::Retry { .. } | Verdict::Unusable { .. })
        | Answer::TimedOut
        | Answer::Broken { .. } => Signal::Nothing,
    }
}
