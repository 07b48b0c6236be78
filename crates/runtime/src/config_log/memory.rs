use std::sync::{Mutex, PoisonError};

use klamm_connect_api::BoxFuture;
use tokio::sync::watch;

use super::{Appended, ConfigLog, ConfigLogError, ConfigRecord, LogPosition};

/// A config log that ends with the process: for tests and for embedding services that keep their own configuration.
#[derive(Debug)]
pub struct MemoryConfigLog {
    records: Mutex<Vec<ConfigRecord>>,
    end: watch::Sender<LogPosition>,
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
        let (end, _) = watch::channel(position(&records));
        Self {
            records: Mutex::new(records),
            end,
        }
    }

    pub(super) fn read_now(&self, from: LogPosition) -> (Vec<ConfigRecord>, LogPosition) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let from = usize::try_from(from.0).unwrap_or(usize::MAX).min(records.len());
        (records[from..].to_vec(), position(&records))
    }

    /// Appends under the lock. `persist` runs before the records become visible and may refuse.
    pub(super) fn append_now(
        &self,
        expected_end: LogPosition,
        new: Vec<ConfigRecord>,
        persist: impl FnOnce(&[ConfigRecord]) -> Result<(), ConfigLogError>,
    ) -> Result<Appended, ConfigLogError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let end = position(&records);
        if end != expected_end {
            return Ok(Appended::Conflict(end));
        }
        persist(&new)?;
        records.extend(new);
        let end = position(&records);
        self.end.send_replace(end);
        Ok(Appended::At(end))
    }
}

fn position(records: &[ConfigRecord]) -> LogPosition {
    LogPosition(records.len() as u64)
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
        Box::pin(async move { self.append_now(expected_end, records, |_| Ok(())) })
    }

    fn end(&self) -> watch::Receiver<LogPosition> {
        self.end.subscribe()
    }
}
