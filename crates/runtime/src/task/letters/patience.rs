//! Writes that are tried until they succeed or are refused for good, while the status says what is waited for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::task::waits::KeeperWait;

/// A write that takes longer is worth a word in the status.
const WORTH_TELLING: Duration = Duration::from_secs(5);
/// First wait before a write that failed is tried again; doubles.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Longest of these waits.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// At most one line about a place that takes nothing in this time.
const WAIT_LOG: Duration = Duration::from_secs(60);

/// The task that writes.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) connector: Arc<str>,
    pub(super) number: u32,
}

/// Why an attempt did not succeed.
#[derive(Debug)]
pub(super) enum Trouble<E> {
    /// May pass, with the reason.
    Passing(String),
    /// Will not.
    Final(E),
    /// The worker ends, and this task with it: nobody decides any more.
    WorkerEnds,
}

/// The waiting for one place.
#[derive(Debug)]
pub(super) struct Patience {
    task: Task,
    /// The place for people.
    name: String,
    wait: KeeperWait,
    /// Writes that wait longer than is worth a word.
    stalled: AtomicUsize,
    /// When the last line about waiting was written.
    told: Mutex<Option<Instant>>,
    rng: Mutex<StdRng>,
}

impl Patience {
    pub(super) fn new(task: Task, name: String, wait: KeeperWait, rng: StdRng) -> Self {
        Self {
            task,
            name,
            wait,
            stalled: AtomicUsize::new(0),
            told: Mutex::default(),
            rng: Mutex::new(rng),
        }
    }

    pub(super) fn task(&self) -> &Task {
        &self.task
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Tries until it succeeds or is refused for good. `look` tells why an attempt takes long, as far as known.
    pub(super) async fn persist<E, A, L>(&self, attempt: impl Fn() -> A, look: impl Fn() -> L) -> Result<(), E>
    where
        A: Future<Output = Result<(), Trouble<E>>>,
        L: Future<Output = String>,
    {
        let mut stall = Stall {
            patience: self,
            since: Instant::now(),
            is_told: false,
        };
        let mut delay = RETRY_DELAY;
        loop {
            let outcome = {
                let mut attempt = std::pin::pin!(attempt());
                loop {
                    let looking = async {
                        sleep(WORTH_TELLING).await;
                        look().await
                    };
                    tokio::select! {
                        outcome = &mut attempt => break outcome,
                        reason = looking => stall.tell(&reason),
                    }
                }
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(Trouble::WorkerEnds) => return std::future::pending().await,
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing(reason)) => stall.tell(&reason),
            }
            let drawn = self
                .rng
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .random_range(delay / 2..=delay);
            sleep(drawn).await;
            delay = delay.saturating_mul(2).min(RETRY_DELAY_MAX);
        }
    }
}

/// A write that waits, until it is dropped.
struct Stall<'a> {
    patience: &'a Patience,
    since: Instant,
    is_told: bool,
}

impl Stall<'_> {
    /// Shows in the status what is waited for; in the log once in a while.
    fn tell(&mut self, reason: &str) {
        let patience = self.patience;
        let waited = self.since.elapsed();
        if waited < WORTH_TELLING {
            return;
        }
        if !std::mem::replace(&mut self.is_told, true) {
            patience.stalled.fetch_add(1, Ordering::SeqCst);
        }
        patience.wait.set(reason.to_owned());
        let now = Instant::now();
        let mut told = patience.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|last| now >= last + WAIT_LOG) {
            *told = Some(now);
            let Task { connector, number } = &patience.task;
            let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            warn!(
                connector = &**connector,
                task = number,
                place = patience.name,
                waited_ms,
                error = reason,
                "records wait to be kept"
            );
        }
    }
}

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        if self.is_told && self.patience.stalled.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.patience.wait.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use klamm_connect_api::TopicPartition;
    use rand::SeedableRng;

    use super::*;
    use crate::task::waits::Waits;

    fn patience(waits: &Waits) -> Patience {
        let task = Task {
            connector: "c".into(),
            number: 0,
        };
        Patience::new(
            task,
            "queue `q`".to_owned(),
            waits.of_keeper("queue `q`"),
            StdRng::seed_from_u64(1),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_and_shown_until_it_is_over() {
        let mut waits = Waits::new();
        let patience = patience(&waits);
        let attempts = AtomicU32::new(0);
        let attempt = || async {
            if attempts.fetch_add(1, Ordering::SeqCst) < 12 {
                Err(Trouble::<()>::Passing("it is away".to_owned()))
            } else {
                Ok(())
            }
        };
        let writing = patience.persist(attempt, || async { String::new() });
        let watching = async {
            waits.changed().await;
            waits.text()
        };
        let (written, shown) = tokio::join!(writing, watching);
        written.unwrap();
        let shown = shown.unwrap();
        assert!(shown.contains("queue `q`") && shown.contains("it is away"), "{shown}");
        assert_eq!(waits.text(), None, "it is over");
        let partition = waits.of(&TopicPartition::new("t", 0));
        partition.set("x".to_owned());
        assert!(waits.text().is_some(), "the board still works");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_takes_long_says_why_and_a_refusal_ends_it() {
        let mut waits = Waits::new();
        let patience = patience(&waits);
        let attempt = || async {
            sleep(Duration::from_secs(20)).await;
            Err(Trouble::Final("refused"))
        };
        let writing = patience.persist(attempt, || async { "no answer yet".to_owned() });
        let watching = async {
            waits.changed().await;
            waits.text()
        };
        let (written, shown) = tokio::join!(writing, watching);
        assert_eq!(written, Err("refused"));
        assert!(shown.unwrap().contains("no answer yet"));
    }
}
