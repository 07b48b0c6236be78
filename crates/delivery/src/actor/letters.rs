//! Hands records that were given up to the dead letters, and settles them once they are acknowledged.
//!
//! A letter waits in its partition's queue => it is part of the one write of its partition => acknowledged (done) |
//! refused (the task fails) | given back with its partition. It holds its lane throughout.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use tokio::task::{AbortHandle, JoinError};
use tokio::time::Instant;

use super::outcome::Fate;
use super::{Actor, Phase};
use crate::batch::{Item, Part};
use crate::dead_letters::{DeadLetter, GivenUp, LETTERS_AT_ONCE, LetterRefused};
use crate::event::TaskFailure;
use crate::partition::Room;
use crate::status::count;

/// A record on its way to the dead letters.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) item: Item,
    /// The route that gave it up, and why; none if it failed before delivery.
    pub(super) given_up: Option<(usize, Arc<GivenUp>)>,
    /// What was left of the part that it was the last record of: later pieces of its lane go when it is settled.
    pub(super) rest: Option<Part>,
}

impl Letter {
    fn route(&self) -> Option<usize> {
        self.given_up.as_ref().map(|(route, _)| *route)
    }
}

/// The write of a partition that is out. Dropping the task that writes takes back what it has not begun.
#[derive(Debug)]
pub(super) struct Writing {
    id: u64,
    letters: Vec<Letter>,
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
    pub(super) fn post(&mut self, partition: usize, letters: impl IntoIterator<Item = Letter>) {
        for mut letter in letters {
            if self.partitions[partition].phase != Phase::Running {
                self.count_letters(letter.route(), 1);
                self.drop_letter(letter);
                continue;
            }
            // Only the original is needed from here on.
            let bytes = std::mem::take(&mut letter.item.encoded.bytes).len();
            self.release(partition, bytes);
            self.count_letters(letter.route(), 1);
            self.partitions[partition].letters.push_back(letter);
        }
        self.write_letters(partition);
    }

    /// Starts the next write of a partition, unless one is out.
    fn write_letters(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        if self.has_failed || partition.phase != Phase::Running || partition.writing.is_some() {
            return;
        }
        let taken = partition.letters.len().min(LETTERS_AT_ONCE);
        let letters: Vec<Letter> = partition.letters.drain(..taken).collect();
        let Some(first) = letters.first() else { return };
        let origin = first.item.origin.clone();
        let records: Option<Vec<DeadLetter>> = letters.iter().map(dead_letter).collect();
        let (Some(records), Some(dead_letters)) = (records, self.config.dead_letters.clone()) else {
            partition.letters.extend(letters);
            let what = "a record was given up, but not handed over with its original or nobody keeps dead letters";
            return self.fail_internally(Some(origin), None, "NoDeadLetters", what);
        };
        self.next_write += 1;
        let id = self.next_write;
        let task = self.writes.spawn(async move {
            let write = AssertUnwindSafe(async { dead_letters.write(records).await });
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
                for letter in letters {
                    let route = letter.route();
                    self.count_letters(route, -1);
                    if let Some(rest) = letter.rest {
                        self.follow(rest);
                    }
                    self.settle(route, [letter.item], Fate::DeadLettered);
                }
                self.write_letters(partition);
            }
            Outcome::Refused(LetterRefused { index, message }) => {
                let failed = letters.get(index).map(|letter| self.refusal(letter, &message));
                for (at, letter) in letters.into_iter().enumerate() {
                    if at == index {
                        self.count_letters(letter.route(), -1);
                        count(&self.shared.failed_records, 1);
                        self.release_item(letter.route(), letter.item);
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
                self.fail_internally(origin, None, "Panic", "writing dead letters panicked");
            }
        }
    }

    fn refusal(&self, letter: &Letter, message: &str) -> TaskFailure {
        let failure = |last: Option<&GivenUp>| klamm_connect_api::sink::Failure {
            class: "DeadLetterRefused".into(),
            message: match last {
                Some(last) => format!("{message} (the record was given up for: {})", last.failure).into(),
                None => message.into(),
            },
            request_id: None,
        };
        let given_up = letter.given_up.as_ref().map(|(_, given_up)| &**given_up);
        TaskFailure {
            origin: Some(letter.item.origin.clone()),
            records: 1,
            route: given_up.map_or_else(|| "".into(), |given_up| Arc::clone(&given_up.route)),
            destination: given_up.map_or_else(|| "".into(), |given_up| Arc::clone(&given_up.destination)),
            attempts: given_up.map_or(0, |given_up| given_up.attempts),
            elapsed: self.now.saturating_duration_since(letter.item.arrived),
            failure: failure(given_up),
        }
    }

    /// Lets go of the letters of a partition that wait.
    pub(super) fn purge_letters(&mut self, partition: usize) {
        for letter in std::mem::take(&mut self.partitions[partition].letters) {
            self.drop_letter(letter);
        }
    }

    /// Takes back the write of a partition that is out.
    pub(super) fn take_back_letters(&mut self, partition: usize) {
        if let Some(Writing { letters, task, .. }) = self.partitions[partition].writing.take() {
            task.abort();
            letters.into_iter().for_each(|letter| self.drop_letter(letter));
        }
    }

    fn drop_letter(&mut self, letter: Letter) {
        let route = letter.route();
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
            let waiting = &self.shared.routes[route].dead_letters_waiting;
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
        partition.sent == 0 && (partition.writing.is_none() || letters_until <= self.now)
    }
}

fn dead_letter(letter: &Letter) -> Option<DeadLetter> {
    Some(DeadLetter {
        origin: letter.item.origin.clone(),
        record: letter.item.original.clone()?,
        given_up: letter.given_up.as_ref().map(|(_, given_up)| Arc::clone(given_up)),
    })
}
