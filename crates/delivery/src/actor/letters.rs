//! Hands over records that were given up and answers that are kept, and settles them once they are acknowledged.
//!
//! A letter waits in its partition's queue => it is part of the one write of its partition => acknowledged (done) |
//! refused (the task fails) | given back with its partition. It holds its lane throughout.
//!
//! A partition that is being given back starts no letter of a record that was given up: its next owner decides again. An
//! answer is still written within the time that letters have: without it the destination would do its work twice.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use klamm_connect_api::sink::Failure;
use tokio::task::{AbortHandle, JoinError};
use tokio::time::Instant;

use super::outcome::Fate;
use super::{Actor, Phase};
use crate::batch::{Item, Part};
use crate::event::TaskFailure;
use crate::letters::{About, LETTERS_AT_ONCE, Letter, LetterRefused};
use crate::partition::Room;
use crate::status::count;

/// A record that is handed over.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) item: Item,
    /// The route that it had; none if it failed before delivery.
    pub(super) route: Option<usize>,
    pub(super) about: About,
    /// Bytes that are held for its answer.
    pub(super) answer_bytes: usize,
    /// What was left of the part that it was the last record of: later pieces of its lane go when it is settled.
    pub(super) rest: Option<Part>,
}

impl Outgoing {
    fn is_answer(&self) -> bool {
        matches!(self.about, About::Answered { .. })
    }

    fn fate(&self) -> Fate {
        match self.about {
            About::Failed | About::GivenUp(_) => Fate::DeadLettered,
            About::Skipped(_) => Fate::Skipped,
            About::Answered { .. } => Fate::Delivered,
        }
    }
}

/// The write of a partition that is out. Dropping the task that writes takes back what it has not begun.
#[derive(Debug)]
pub(super) struct Writing {
    id: u64,
    letters: Vec<Outgoing>,
    task: AbortHandle,
}

/// A write that has ended.
#[derive(Debug)]
pub(super) struct Written {
    partition: usize,
    id: u64,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Acknowledged,
    Refused(LetterRefused),
    Panicked,
}

impl Actor {
    /// Takes letters of one partition into its queue.
    pub(super) fn post(&mut self, partition: usize, letters: impl IntoIterator<Item = Outgoing>) {
        for mut letter in letters {
            self.count_letters(letter.route, 1);
            // Only the original is needed from here on, and the answer.
            let encoded = std::mem::replace(&mut letter.item.encoded, Vec::new().into());
            let bytes = encoded.size_bytes();
            self.release(partition, bytes);
            self.hold_answer(partition, letter.answer_bytes);
            let may_be_written = match self.partitions[partition].phase {
                Phase::Running => true,
                Phase::Draining => letter.is_answer(),
                Phase::GivenBack => false,
            };
            if may_be_written {
                if letter.is_answer() {
                    self.give_answers_time(partition);
                }
                self.partitions[partition].letters.push_back(letter);
            } else {
                self.drop_letter(letter);
            }
        }
        self.write_letters(partition);
    }

    /// Answers come when they come: while those that wait take as much as a partition may hold, no call starts.
    fn hold_answer(&mut self, partition: usize, bytes: usize) {
        if bytes > 0 {
            let partition = &mut self.partitions[partition];
            partition.held.bytes += bytes;
            partition.handle.take_over(bytes);
            self.answer_bytes += bytes;
            self.hold_calls_back();
        }
    }

    fn release_answer(&mut self, letter: &mut Outgoing) {
        let bytes = std::mem::take(&mut letter.answer_bytes);
        if bytes > 0 {
            self.release(letter.item.partition, bytes);
            self.answer_bytes -= bytes;
            self.hold_calls_back();
        }
    }

    fn hold_calls_back(&mut self) {
        let is_full = self.answer_bytes >= self.config.limits.buffer_bytes;
        // All routes have the same answer.
        if self.routes.first().is_none_or(|route| route.is_held_back == is_full) {
            return;
        }
        for route in 0..self.routes.len() {
            self.routes[route].is_held_back = is_full;
            self.touch(route);
        }
    }

    /// Starts the next write of a partition, unless one is out.
    fn write_letters(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        if self.has_failed || partition.phase == Phase::GivenBack || partition.writing.is_some() {
            return;
        }
        let taken = partition.letters.len().min(LETTERS_AT_ONCE);
        let letters: Vec<Outgoing> = partition.letters.drain(..taken).collect();
        let Some(first) = letters.first() else { return };
        let origin = first.item.origin.clone();
        let sealed: Option<Vec<Letter>> = letters.iter().map(seal).collect();
        let (Some(sealed), Some(keeper)) = (sealed, self.config.letters.clone()) else {
            partition.letters.extend(letters);
            let what = "a record was to be kept, but was not handed over with its original, or nobody keeps any";
            return self.fail_internally(Some(origin), None, "NoDeadLetters", what);
        };
        self.next_write += 1;
        let id = self.next_write;
        let task = self.writes.spawn(async move {
            let write = AssertUnwindSafe(async { keeper.write(sealed).await });
            let outcome = match write.catch_unwind().await {
                Ok(Ok(())) => Outcome::Acknowledged,
                Ok(Err(refused)) => Outcome::Refused(refused),
                Err(_) => Outcome::Panicked,
            };
            Written {
                partition: index,
                id,
                outcome,
            }
        });
        self.partitions[index].writing = Some(Writing { id, letters, task });
    }

    pub(super) fn on_written(&mut self, written: Result<Written, JoinError>) {
        // An error is a write that was taken back: its letters were let go of then.
        let Ok(Written { partition, id, outcome }) = written else {
            return;
        };
        let ended = self
            .partitions
            .get_mut(partition)
            .and_then(|entry| entry.writing.take_if(|writing| writing.id == id));
        let Some(Writing { letters, .. }) = ended else { return };
        match outcome {
            Outcome::Acknowledged => {
                for mut letter in letters {
                    self.count_letters(letter.route, -1);
                    self.release_answer(&mut letter);
                    let fate = letter.fate();
                    if let Some(rest) = letter.rest {
                        self.follow(rest);
                    }
                    self.settle(letter.route, [letter.item], fate);
                }
                self.write_letters(partition);
            }
            Outcome::Refused(LetterRefused { index, message }) => {
                let failed = letters.get(index).map(|letter| self.refusal(letter, &message));
                for (at, mut letter) in letters.into_iter().enumerate() {
                    if at == index {
                        self.count_letters(letter.route, -1);
                        self.release_answer(&mut letter);
                        count(&self.shared.failed_records, 1);
                        self.release_item(letter.route, letter.item);
                        // The task fails: its followers go with it.
                        letter.rest.into_iter().for_each(|rest| self.abandon(rest));
                    } else {
                        self.drop_letter(letter);
                    }
                }
                match failed {
                    Some(failure) => self.fail(failure),
                    None => self.fail_internally(None, None, "DeadLetterRefused", &message),
                }
            }
            Outcome::Panicked => {
                let origin = letters.first().map(|letter| letter.item.origin.clone());
                letters.into_iter().for_each(|letter| self.drop_letter(letter));
                self.fail_internally(origin, None, "Panic", "writing letters panicked");
            }
        }
    }

    fn refusal(&self, letter: &Outgoing, message: &str) -> TaskFailure {
        let given_up = letter.about.given_up().map(|given_up| &**given_up);
        let class = if letter.is_answer() {
            "ResultRefused"
        } else {
            "DeadLetterRefused"
        };
        let failure = Failure {
            class: class.into(),
            message: match given_up {
                Some(last) => format!("{message} (the record was given up for: {})", last.failure).into(),
                None => message.into(),
            },
            request_id: None,
            answered: None,
        };
        let route = letter.route.map(|route| &self.routes[route]);
        TaskFailure {
            origin: Some(letter.item.origin.clone()),
            records: 1,
            route: route.map_or_else(|| "".into(), |route| Arc::clone(&route.name)),
            destination: route.map_or_else(|| "".into(), |route| Arc::clone(&route.destination)),
            attempts: given_up.map_or(0, |given_up| given_up.attempts),
            elapsed: self.now.saturating_duration_since(letter.item.arrived),
            failure,
        }
    }

    /// Lets go of the letters of a partition that wait; answers stay while it drains.
    pub(super) fn purge_letters(&mut self, partition: usize) {
        let entry = &mut self.partitions[partition];
        let is_draining = entry.phase == Phase::Draining;
        let waiting = std::mem::take(&mut entry.letters);
        let (kept, dropped): (VecDeque<Outgoing>, VecDeque<Outgoing>) = waiting
            .into_iter()
            .partition(|letter| is_draining && letter.is_answer());
        entry.letters = kept;
        dropped.into_iter().for_each(|letter| self.drop_letter(letter));
    }

    /// Takes back what of a partition is not acknowledged.
    pub(super) fn take_back_letters(&mut self, partition: usize) {
        let entry = &mut self.partitions[partition];
        let waiting = std::mem::take(&mut entry.letters);
        let out = entry.writing.take().map(|Writing { letters, task, .. }| {
            task.abort();
            letters
        });
        for letter in out.into_iter().flatten().chain(waiting) {
            self.drop_letter(letter);
        }
    }

    fn drop_letter(&mut self, mut letter: Outgoing) {
        let route = letter.route;
        self.release_answer(&mut letter);
        self.count_letters(route, -1);
        count(&self.shared.dropped_records, 1);
        self.release_item(route, letter.item);
        letter.rest.into_iter().for_each(|rest| self.abandon(rest));
    }

    /// One more or one less on its way.
    fn count_letters(&mut self, route: Option<usize>, change: isize) {
        self.letters = self.letters.saturating_add_signed(change);
        if let Some(route) = route {
            let state = &mut self.routes[route];
            state.letters = state.letters.saturating_add_signed(change);
            let waiting = &self.shared.routes[route].letters_waiting;
            waiting.store(state.letters, Ordering::Relaxed);
        }
    }

    /// Letters that no route counts among its records.
    pub(super) fn unrouted_letters(&self) -> usize {
        self.letters - self.routes.iter().map(|route| route.letters).sum::<usize>()
    }

    fn release(&mut self, partition: usize, bytes: usize) {
        let partition = &mut self.partitions[partition];
        partition.held.bytes -= bytes;
        partition.handle.release(Room {
            bytes,
            ..Room::default()
        });
    }

    /// Gives back the bytes of a record that is not done. Its place in the ledger and the window stays, so that no
    /// commit passes it.
    pub(super) fn release_item(&mut self, route: Option<usize>, item: Item) {
        if let Some(route) = route {
            self.routes[route].items -= 1;
        }
        self.release(item.partition, item.size_bytes());
    }

    /// Whether nothing of a partition is out: no call, and no write that is still waited for.
    pub(super) fn is_quiet(&self, partition: usize, letters_until: Instant) -> bool {
        let partition = &self.partitions[partition];
        let has_letters = partition.writing.is_some() || !partition.letters.is_empty();
        partition.sent == 0 && (!has_letters || letters_until <= self.now)
    }
}

fn seal(letter: &Outgoing) -> Option<Letter> {
    Some(Letter {
        origin: letter.item.origin.clone(),
        record: letter.item.original.clone()?,
        about: letter.about.clone(),
    })
}
