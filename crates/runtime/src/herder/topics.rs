//! Active topics (KIP-558): those that a connector has read something from.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The topics that a connector has converted a record of, since it was created or they were reset.
#[derive(Debug)]
pub struct ActiveTopics {
    topics: Mutex<BTreeSet<Arc<str>>>,
    /// Counts the resets, from 1.
    life: AtomicU64,
}

impl Default for ActiveTopics {
    fn default() -> Self {
        Self {
            topics: Mutex::default(),
            life: AtomicU64::new(1),
        }
    }
}

impl ActiveTopics {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Arc<str>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn list(&self) -> Vec<String> {
        self.lock().iter().map(ToString::to_string).collect()
    }

    pub(crate) fn reset(&self) {
        let mut topics = self.lock();
        topics.clear();
        self.life.fetch_add(1, Ordering::Relaxed);
    }
}

/// One reader's note of its topic. A record costs it one look at a counter.
#[derive(Debug)]
pub struct ActiveTopic {
    topics: Arc<ActiveTopics>,
    topic: Arc<str>,
    /// The life in which the topic was noted last; 0 is none.
    noted: u64,
}

impl ActiveTopic {
    /// A reader of `topic` that has read nothing yet.
    pub fn new(topics: Arc<ActiveTopics>, topic: impl Into<Arc<str>>) -> Self {
        Self {
            topics,
            topic: topic.into(),
            noted: 0,
        }
    }

    /// A record of the topic was converted.
    pub fn note(&mut self) {
        if self.noted != self.topics.life.load(Ordering::Relaxed) {
            let mut topics = self.topics.lock();
            // Under the lock, so that a reset comes before or after both.
            self.noted = self.topics.life.load(Ordering::Relaxed);
            topics.insert(Arc::clone(&self.topic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_noted_once_in_each_life() {
        let topics = Arc::new(ActiveTopics::default());
        let mut a = ActiveTopic::new(Arc::clone(&topics), "a");
        let mut b = ActiveTopic::new(Arc::clone(&topics), "b");
        assert!(topics.list().is_empty(), "nothing was read");
        b.note();
        a.note();
        a.note();
        assert_eq!(topics.list(), ["a", "b"]);
        topics.reset();
        assert!(topics.list().is_empty());
        a.note();
        assert_eq!(topics.list(), ["a"], "what is read after a reset is active again");
    }
}
