//! A cache of answers that somebody has to be asked for.

use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use indexmap::{Equivalent, IndexMap};
use tokio::time::Instant;

/// What a [`Cache`] keeps, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries at most; the one that was not used for the longest time makes room. At least one.
    pub entries: usize,
    /// How long an answer is used; none: for ever.
    pub answers_live: Option<Duration>,
}

/// Answers by key, fetched once however many ask at a time.
///
/// An answer stays, a failure is only passed on to those who ask within the time that it says itself: whoever asks
/// later makes a new attempt.
pub struct Cache<K, V, E> {
    limits: Limits,
    /// Counts insertions: coarse time for "used last".
    now: AtomicU64,
    entries: RwLock<Entries<K, V, E>>,
}

type Entries<K, V, E> = IndexMap<K, Arc<Entry<V, E>>, RandomState>;

struct Entry<V, E> {
    last_used: AtomicU64,
    /// Set once there is an answer, with the end of its life if it has one. One that is too old goes with its entry.
    answer: OnceLock<(V, Option<Instant>)>,
    /// Held by the one who fetches: the last failure and when it stops to hold.
    fetch: tokio::sync::Mutex<Option<(E, Instant)>>,
}

impl<K, V, E> fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone, V: Clone, E: Clone> Cache<K, V, E> {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            now: AtomicU64::new(0),
            entries: RwLock::new(IndexMap::default()),
        }
    }

    /// The answer, if it is there.
    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(key)?;
        entry
            .last_used
            .store(self.now.load(Ordering::Relaxed), Ordering::Relaxed);
        self.answer_of(entry)
    }

    fn answer_of(&self, entry: &Entry<V, E>) -> Option<V> {
        let (value, until) = entry.answer.get()?;
        match until {
            Some(until) if Instant::now() >= *until => None,
            _ => Some(value.clone()),
        }
    }

    /// The answer; if it is not there, what `fetch` brings. Of all who ask for one key at a time one fetches, the others
    /// wait for it. `holds` says how long a failure is the answer for others.
    ///
    /// # Errors
    /// The failure of the fetch, or of one a moment ago.
    ///
    /// # Cancel safety
    /// Safe: if the one who fetches is dropped, the next one who waits fetches.
    pub async fn get_or_fetch<F>(&self, key: &K, holds: impl Fn(&E) -> Duration, fetch: F) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let life = self.limits.answers_live;
        self.get_or_fetch_for_a_time(key, holds, async { Ok((fetch.await?, life)) })
            .await
    }

    /// As [`Cache::get_or_fetch`] with a life of the answer's own, none for one that is kept for good.
    ///
    /// # Errors
    /// As [`Cache::get_or_fetch`].
    pub async fn get_or_fetch_for_a_time<F>(&self, key: &K, holds: impl Fn(&E) -> Duration, fetch: F) -> Result<V, E>
    where
        F: Future<Output = Result<(V, Option<Duration>), E>>,
    {
        let entry = self.entry(key);
        if let Some(answer) = self.answer_of(&entry) {
            return Ok(answer);
        }
        let mut failure = entry.fetch.lock().await;
        if let Some(answer) = self.answer_of(&entry) {
            return Ok(answer);
        }
        if let Some((error, until)) = &*failure
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        match fetch.await {
            Ok((value, life)) => {
                *failure = None;
                let until = life.map(|life| Instant::now() + life);
                let (answer, _) = entry.answer.get_or_init(|| (value, until));
                Ok(answer.clone())
            }
            Err(error) => {
                *failure = Some((error.clone(), Instant::now() + holds(&error)));
                Err(error)
            }
        }
    }

    fn entry(&self, key: &K) -> Arc<Entry<V, E>> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(key) {
            let is_old = entry.answer.get().is_some() && self.answer_of(entry).is_none();
            if !is_old {
                return Arc::clone(entry);
            }
            entries.swap_remove(key);
        }
        if entries.len() >= self.limits.entries.max(1) {
            let oldest = entries
                .values()
                .enumerate()
                .min_by_key(|(_, entry)| entry.last_used.load(Ordering::Relaxed))
                .map(|(index, _)| index);
            if let Some(index) = oldest {
                entries.swap_remove_index(index);
            }
        }
        let entry = Arc::new(Entry {
            last_used: AtomicU64::new(self.now.fetch_add(1, Ordering::Relaxed) + 1),
            answer: OnceLock::new(),
            fetch: tokio::sync::Mutex::new(None),
        });
        entries.insert(key.clone(), Arc::clone(&entry));
        entry
    }

    /// Number of keys that were asked for and not forgotten.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing was asked for yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn cache(entries: usize) -> Cache<u32, u32, &'static str> {
        Cache::new(Limits {
            entries,
            answers_live: None,
        })
    }

    const HOLDS: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn one_fetches_for_all_who_ask_at_a_time() {
        let cache = cache(10);
        let fetches = AtomicUsize::new(0);
        let ask = || {
            cache.get_or_fetch(&7, |_| HOLDS, async {
                fetches.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(70)
            })
        };
        let answers = tokio::join!(ask(), ask(), ask());
        assert_eq!(answers, (Ok(70), Ok(70), Ok(70)));
        assert_eq!(fetches.into_inner(), 1);
        assert_eq!(cache.get(&7), Some(70));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_holds_for_its_time_and_is_no_answer() {
        let cache = cache(10);
        let fail = cache.get_or_fetch(&7, |_| HOLDS, async { Err("away") }).await;
        assert_eq!(fail, Err("away"));
        assert_eq!(cache.get(&7), None);
        let held = cache.get_or_fetch(&7, |_| HOLDS, async { Ok(70) }).await;
        assert_eq!(held, Err("away"), "nobody asks again so soon");
        tokio::time::advance(HOLDS).await;
        let found = cache.get_or_fetch(&7, |_| HOLDS, async { Ok(70) }).await;
        assert_eq!(found, Ok(70));
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_goes_away_leaves_the_fetch_to_the_next() {
        let cache = cache(10);
        let never = cache.get_or_fetch(&7, |_| HOLDS, std::future::pending());
        assert!(tokio::time::timeout(HOLDS, never).await.is_err());
        assert_eq!(cache.get_or_fetch(&7, |_| HOLDS, async { Ok(70) }).await, Ok(70));
    }

    #[tokio::test]
    async fn what_was_not_used_for_longest_makes_room() {
        let cache = cache(3);
        for key in 1..=3 {
            cache
                .get_or_fetch(&key, |_| HOLDS, async move { Ok(key) })
                .await
                .unwrap();
        }
        assert_eq!(cache.get(&1), Some(1), "used, so it stays");
        cache.get_or_fetch(&4, |_| HOLDS, async { Ok(4) }).await.unwrap();
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&4)), (Some(1), None, Some(4)));
        assert_eq!(cache.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_have_a_life_of_its_own() {
        let cache = cache(3);
        for (key, life) in [(1, None), (2, Some(HOLDS))] {
            let fetch = async move { Ok((key, life)) };
            let fetched = cache.get_or_fetch_for_a_time(&key, |_| HOLDS, fetch).await;
            assert_eq!(fetched, Ok(key));
        }
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), Some(2)));
        tokio::time::advance(HOLDS).await;
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_with_a_life_is_asked_for_again() {
        let cache: Cache<u32, u32, ()> = Cache::new(Limits {
            entries: 3,
            answers_live: Some(HOLDS),
        });
        for wanted in [1, 2] {
            let fetched = cache.get_or_fetch(&7, |()| HOLDS, async move { Ok(wanted) }).await;
            assert_eq!(fetched, Ok(wanted));
            tokio::time::advance(HOLDS).await;
            assert_eq!(cache.get(&7), None);
        }
    }
}
