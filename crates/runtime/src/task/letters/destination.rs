//! Writes failed records to a destination that is no topic.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use klamm_connect_api::failures::{FailedRecord, FailureDestination, NotTaken};

use super::patience::{Patience, Trouble};
use super::topic::Refused;

/// Requests at once.
const AT_ONCE: usize = 16;

#[derive(Debug)]
pub(super) struct DestinationWriter {
    destination: Arc<dyn FailureDestination>,
    patience: Patience,
}

impl DestinationWriter {
    pub(super) fn new(destination: Arc<dyn FailureDestination>, patience: Patience) -> Self {
        Self { destination, patience }
    }

    /// Writes the records, and resolves when all are taken. Each stands alone: they may arrive in any order.
    ///
    /// # Errors
    /// The first that is refused for good.
    ///
    /// # Cancel safety
    /// Once the future is dropped, no write starts that had not started.
    pub(super) async fn write(&self, records: Vec<FailedRecord>) -> Result<(), Refused> {
        // What is taken is not written again when others of the write are.
        let left = Mutex::new((0..records.len()).collect::<Vec<usize>>());
        let left = || left.lock().unwrap_or_else(PoisonError::into_inner);
        let (records, left) = (&records, &left);
        let attempt = || async move {
            let mut passing: Option<String> = None;
            let indices: Vec<usize> = left().clone();
            for some in indices.chunks(AT_ONCE) {
                let writes = some.iter().map(|index| self.destination.write(&records[*index]));
                let outcomes = join_all(writes).await;
                for (index, outcome) in some.iter().zip(outcomes) {
                    match outcome {
                        Ok(()) => left().retain(|other| other != index),
                        Err(NotTaken::Now(reason)) => passing = Some(reason),
                        Err(NotTaken::Refused(reason)) => {
                            let message = format!("{} does not take the record: {reason}", self.patience.name());
                            return Err(Trouble::Final(Refused { index: *index, message }));
                        }
                    }
                }
                // The others would wait for the same.
                if let Some(reason) = passing {
                    return Err(Trouble::Passing(reason));
                }
            }
            Ok(())
        };
        let look = || std::future::ready("no answer yet".to_owned());
        self.patience.persist(attempt, look).await
    }
}
