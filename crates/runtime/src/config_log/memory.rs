use std::sync::{Mutex, PoisonError};

use klamm_connect_api::BoxFuture;
use tokio::sync::watch;

use super::record::compacted;
use super::{Appended, ConfigLog, ConfigLogError, ConfigRecord, LogPosition};

/// Records beyond twice those that still count before the others are dropped.
const FOLD_AFTER: usize = 1000;

/// A config log that ends with the process: for tests and for embedding services that keep their own configuration.
#[derive(Debug)]
pub struct MemoryConfigLog {
    records: Mutex<Records>,
    end: watch::Sender<LogPosition>,
}

/// What was appended, without what no longer counts among the older part of it.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// What is left of the records before `base`.
    folded: Vec<ConfigRecord>,
    base: u64,
    /// The records from `base` on.
    recent: Vec<ConfigRecord>,
}

impl Records {
    /// All that are left, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = &ConfigRecord> {
        self.folded.iter().chain(&self.recent)
    }

    fn end(&self) -> LogPosition {
        LogPosition(self.base + self.recent.len() as u64)
    }

    /// Whoever appends has read what there was: nobody needs to be told again of what was replaced since.
    fn fold(&mut self) {
        if self.recent.len() > 2 * self.folded.len() + FOLD_AFTER {
            let end = self.end();
            let all = std::mem::take(&mut self.folded)
                .into_iter()
                .chain(std::mem::take(&mut self.recent));
            self.folded = compacted(all.collect());
            self.base = end.0;
        }
    }
}

impl Default for MemoryConfigLog {
    fn default() -> Self {
        Self::with_records(Vec::new())
    }
}

impl MemoryConfigLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn with_records(records: Vec<ConfigRecord>) -> Self {
        let records = Records {
            recent: records,
            ..Records::default()
        };
        let (end, _) = watch::channel(records.end());
        Self {
            records: Mutex::new(records),
            end,
        }
    }

    pub(super) fn read_now(&self, from: LogPosition) -> (Vec<ConfigRecord>, LogPosition) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let end = records.end();
        let Some(from) = from.0.checked_sub(records.base) else {
            return (records.all().cloned().collect(), end);
        };
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(records.recent.len());
        (records.recent[from..].to_vec(), end)
    }

    /// Appends under the lock. `persist` is given what there is and what is new, runs before that becomes visible, and may
    /// refuse.
    pub(super) fn append_now(
        &self,
        expected_end: LogPosition,
        new: Vec<ConfigRecord>,
        persist: impl FnOnce(&Records, &[ConfigRecord]) -> Result<(), ConfigLogError>,
    ) -> Result<Appended, ConfigLogError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let end = records.end();
        if end != expected_end {
            return Ok(Appended::Conflict(end));
        }
        persist(&records, &new)?;
        records.fold();
        records.recent.extend(new);
        let end = records.end();
        self.end.send_replace(end);
        Ok(Appended::At(end))
    }
}

impl ConfigLog for MemoryConfigLog {
    fn read(&self, position: LogPosition) -> BoxFuture<'_, Result<(Vec<ConfigRecord>, LogPosition), ConfigLogError>> {
        Box::pin(async move { Ok(self.read_now(position)) })
    }

    fn append_if(
        &self,
        expected_end: LogPosition,
        records: Vec<ConfigRecord>,
    ) -> BoxFuture<'_, Result<Appended, ConfigLogError>> {
        Box::pin(async move { self.append_now(expected_end, records, |_, _| Ok(())) })
    }

    fn end(&self) -> watch::Receiver<LogPosition> {
        self.end.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Every configuration that was ever sent stayed in memory.
    #[tokio::test]
    async fn what_was_replaced_is_dropped_and_positions_go_on() {
        let log = MemoryConfigLog::new();
        let connector = |name: &str, topics: usize| ConfigRecord::Connector {
            name: name.to_owned(),
            config: Some([("topics".to_owned(), topics.to_string())].into()),
        };
        let mut seen = LogPosition(0);
        let mut read = Vec::new();
        for n in 0..10_000 {
            let name = if n % 2 == 0 { "a" } else { "b" };
            let appended = log
                .append_if(LogPosition(n), vec![connector(name, usize::try_from(n).unwrap())])
                .await;
            assert_eq!(appended.unwrap(), Appended::At(LogPosition(n + 1)));
            let (records, end) = log.read(seen).await.unwrap();
            read.extend(records);
            seen = end;
        }
        assert_eq!(read.len(), 10_000, "who follows misses nothing and gets nothing twice");
        let (records, end) = log.read(LogPosition(0)).await.unwrap();
        assert!(records.len() <= 2 * FOLD_AFTER, "{}", records.len());
        assert_eq!(end, LogPosition(10_000));
        assert_eq!(compacted(records), [connector("a", 9998), connector("b", 9999)]);
    }
}
