//! The transaction coordinator: transactional ids, their producers, and what is part of their open transaction.
//!
//! Records of a transaction are appended under the coordinator's lock, and a transaction ends under it, so none comes
//! behind its marker. The end of a transaction is therefore whole when it is answered: no client ever meets
//! `CONCURRENT_TRANSACTIONS`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use kafka_protocol::ResponseError;

use super::batch::Ending;
use super::cluster::Cluster;
use super::lock;
use super::partition::Partition;

/// Transactional ids that are remembered at once; beyond, one without a transaction goes.
const MAX_IDS: usize = 10_000;
/// `transaction.max.timeout.ms`.
const MAX_TIMEOUT_MS: i32 = 15 * 60 * 1000;

/// A producer as it names itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// What is open.
#[derive(Debug)]
struct Open {
    started_ms: i64,
    partitions: BTreeMap<(String, i32), Arc<Partition>>,
    groups: BTreeSet<String>,
}

#[derive(Debug)]
struct Transaction {
    producer: Producer,
    /// Who it was before its epoch was raised, and how its last transaction ended: an answer that got lost is given
    /// again.
    before: Option<(Producer, Option<Ending>)>,
    last_ending: Option<Ending>,
    timeout_ms: i32,
    open: Option<Open>,
}

/// What is shown of a transactional id.
#[derive(Clone, Debug)]
pub(crate) struct TransactionSnapshot {
    pub(crate) id: String,
    pub(crate) state: &'static str,
    pub(crate) producer: Producer,
    pub(crate) timeout_ms: i32,
    pub(crate) started_ms: Option<i64>,
    pub(crate) partitions: Vec<(String, i32)>,
}

#[derive(Debug, Default)]
struct Table {
    by_id: BTreeMap<String, Transaction>,
    next_producer_id: i64,
}

impl Table {
    fn new_producer(&mut self) -> Producer {
        let id = self.next_producer_id;
        self.next_producer_id = id.saturating_add(1);
        Producer { id, epoch: 0 }
    }

    /// The next epoch, or, after the last, a new id.
    fn next_epoch(&mut self, producer: Producer) -> Producer {
        match producer.epoch.checked_add(1) {
            // The last epoch is left for fencing.
            Some(epoch) if epoch < i16::MAX => Producer { epoch, ..producer },
            _ => self.new_producer(),
        }
    }

    /// # Errors
    /// The id is not known, or another producer has it now.
    fn find(&mut self, id: &str, producer: Producer) -> Result<&mut Transaction, ResponseError> {
        let transaction = self.by_id.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        if transaction.producer.id != producer.id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        if transaction.producer.epoch != producer.epoch {
            return Err(ResponseError::ProducerFenced);
        }
        Ok(transaction)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Transactions(Mutex<Table>);

impl Transactions {
    pub(crate) fn restore(&self, next_producer_id: i64) {
        lock(&self.0).next_producer_id = next_producer_id;
    }

    pub(crate) fn next_producer_id(&self) -> i64 {
        lock(&self.0).next_producer_id
    }

    /// An idempotent producer without transactions.
    pub(crate) fn new_producer(&self) -> Producer {
        lock(&self.0).new_producer()
    }

    /// A producer takes over a transactional id: what its predecessor left open is aborted, and the predecessor fenced.
    /// `current` is what a producer believes to be that wants to go on after an error (KIP-360).
    ///
    /// # Errors
    /// The time-out is too long, or the producer is not the current one.
    pub(crate) fn init(
        &self,
        cluster: &Cluster,
        id: &str,
        timeout_ms: i32,
        current: Option<Producer>,
        now_ms: i64,
    ) -> Result<Producer, ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        if !(1..=MAX_TIMEOUT_MS).contains(&timeout_ms) {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        let mut table = lock(&self.0);
        let known = table
            .by_id
            .get(id)
            .map(|transaction| (transaction.producer, transaction.before));
        let producer = match (known, current) {
            (None, _) => {
                make_room(&mut table.by_id)?;
                table.new_producer()
            }
            (Some((known, before)), Some(current)) if current != known => {
                // The same question again: its answer got lost.
                if before.is_some_and(|(before, _)| before == current) {
                    return Ok(known);
                }
                return Err(ResponseError::ProducerFenced);
            }
            (Some((known, _)), _) => table.next_epoch(known),
        };
        if let Some(transaction) = table.by_id.get_mut(id) {
            // The marker carries the new epoch, so that the partitions refuse the old one from now on.
            let marker = if transaction.producer.id == producer.id {
                producer
            } else {
                transaction.producer
            };
            close(cluster, transaction, marker, Ending::Abort, now_ms);
        }
        let transaction = Transaction {
            producer,
            // Only who said what it was may ask again; whoever was taken over is fenced.
            before: current.map(|current| (current, None)),
            last_ending: None,
            timeout_ms,
            open: None,
        };
        table.by_id.insert(id.to_owned(), transaction);
        Ok(producer)
    }

    /// # Errors
    /// The producer is not the current one.
    pub(crate) fn add_partitions(
        &self,
        id: &str,
        producer: Producer,
        partitions: impl IntoIterator<Item = ((String, i32), Arc<Partition>)>,
        now_ms: i64,
    ) -> Result<(), ResponseError> {
        let mut table = lock(&self.0);
        table.find(id, producer)?.opened(now_ms).partitions.extend(partitions);
        Ok(())
    }

    /// Whether the partitions are part of the open transaction.
    ///
    /// # Errors
    /// The producer is not the current one, or the partition is not part of it.
    pub(crate) fn verify(&self, id: &str, producer: Producer, of: &(String, i32)) -> Result<(), ResponseError> {
        let mut table = lock(&self.0);
        let open = table.find(id, producer)?.open.as_ref();
        match open {
            Some(open) if open.partitions.contains_key(of) => Ok(()),
            _ => Err(ResponseError::TransactionAbortable),
        }
    }

    /// # Errors
    /// The producer is not the current one.
    pub(crate) fn add_group(
        &self,
        id: &str,
        producer: Producer,
        group: &str,
        now_ms: i64,
    ) -> Result<(), ResponseError> {
        let mut table = lock(&self.0);
        table.find(id, producer)?.opened(now_ms).groups.insert(group.to_owned());
        Ok(())
    }

    /// Does `append` within the transaction that `partition` is part of; `adds` makes it part (KIP-890).
    ///
    /// # Errors
    /// The producer is not the current one, or the partition is not part of its transaction.
    pub(crate) fn within<T>(
        &self,
        id: &str,
        producer: Producer,
        partition: (&(String, i32), &Arc<Partition>),
        adds: bool,
        now_ms: i64,
        append: impl FnOnce() -> Result<T, ResponseError>,
    ) -> Result<T, ResponseError> {
        let (of, partition) = partition;
        let mut table = lock(&self.0);
        let transaction = table.find(id, producer).map_err(as_produce_error)?;
        if adds {
            let partitions = &mut transaction.opened(now_ms).partitions;
            if !partitions.contains_key(of) {
                partitions.insert(of.clone(), Arc::clone(partition));
            }
        } else if !transaction
            .open
            .as_ref()
            .is_some_and(|open| open.partitions.contains_key(of))
        {
            return Err(ResponseError::InvalidTxnState);
        }
        append()
    }

    /// Does `commit` of offsets within the transaction that `group` is part of; `adds` makes it part (KIP-890).
    ///
    /// # Errors
    /// As for [`Transactions::within`].
    pub(crate) fn within_group<T>(
        &self,
        id: &str,
        producer: Producer,
        group: &str,
        adds: bool,
        now_ms: i64,
        commit: impl FnOnce() -> Result<T, ResponseError>,
    ) -> Result<T, ResponseError> {
        let mut table = lock(&self.0);
        let transaction = table.find(id, producer).map_err(as_produce_error)?;
        if adds {
            transaction.opened(now_ms).groups.insert(group.to_owned());
        } else if !transaction
            .open
            .as_ref()
            .is_some_and(|open| open.groups.contains(group))
        {
            return Err(ResponseError::InvalidTxnState);
        }
        commit()
    }

    /// Ends a transaction. `raises_epoch`: the producer gets a new epoch for its next (KIP-890).
    ///
    /// # Errors
    /// The producer is not the current one, or has nothing to end.
    pub(crate) fn end(
        &self,
        cluster: &Cluster,
        id: &str,
        producer: Producer,
        ending: Ending,
        raises_epoch: bool,
        now_ms: i64,
    ) -> Result<Producer, ResponseError> {
        let mut table = lock(&self.0);
        let known = table
            .by_id
            .get(id)
            .map(|transaction| (transaction.producer, transaction.before));
        if let Some((current, Some((before, Some(ended))))) = known
            && raises_epoch
            && before == producer
            && ended == ending
        {
            return Ok(current);
        }
        let transaction = table.find(id, producer)?;
        if transaction.open.is_none() && !raises_epoch {
            // The same question again: its answer got lost.
            return match transaction.last_ending {
                Some(last) if last == ending => Ok(producer),
                _ => Err(ResponseError::InvalidTxnState),
            };
        }
        if transaction.open.is_none() && ending == Ending::Commit {
            return Err(ResponseError::InvalidTxnState);
        }
        let next = if raises_epoch {
            table.next_epoch(producer)
        } else {
            producer
        };
        let transaction = table.find(id, producer)?;
        let marker = if next.id == producer.id { next } else { producer };
        close(cluster, transaction, marker, ending, now_ms);
        transaction.producer = next;
        transaction.last_ending = Some(ending);
        if raises_epoch {
            transaction.before = Some((producer, Some(ending)));
        }
        Ok(next)
    }

    /// Aborts what is open for longer than it may, and fences who left it.
    pub(crate) fn abort_overdue(&self, cluster: &Cluster, now_ms: i64) {
        let mut table = lock(&self.0);
        let overdue: Vec<String> = table
            .by_id
            .iter()
            .filter(|(_, transaction)| {
                let since = transaction
                    .open
                    .as_ref()
                    .map(|open| now_ms.saturating_sub(open.started_ms));
                since.is_some_and(|since| since > i64::from(transaction.timeout_ms))
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in overdue {
            let Some(producer) = table.by_id.get(&id).map(|transaction| transaction.producer) else {
                continue;
            };
            let next = table.next_epoch(producer);
            if let Some(transaction) = table.by_id.get_mut(&id) {
                tracing::info!(
                    transactional_id = id,
                    "a transaction that was open for too long is aborted"
                );
                let marker = if next.id == producer.id { next } else { producer };
                close(cluster, transaction, marker, Ending::Abort, now_ms);
                transaction.producer = next;
                transaction.before = None;
                transaction.last_ending = None;
            }
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<TransactionSnapshot> {
        let table = lock(&self.0);
        let shown = table.by_id.iter().map(|(id, transaction)| TransactionSnapshot {
            id: id.clone(),
            state: match (&transaction.open, transaction.last_ending) {
                (Some(_), _) => "Ongoing",
                (None, Some(Ending::Commit)) => "CompleteCommit",
                (None, Some(Ending::Abort)) => "CompleteAbort",
                (None, None) => "Empty",
            },
            producer: transaction.producer,
            timeout_ms: transaction.timeout_ms,
            started_ms: transaction.open.as_ref().map(|open| open.started_ms),
            partitions: transaction
                .open
                .as_ref()
                .map(|open| open.partitions.keys().cloned().collect())
                .unwrap_or_default(),
        });
        shown.collect()
    }
}

impl Transaction {
    fn opened(&mut self, now_ms: i64) -> &mut Open {
        self.open.get_or_insert_with(|| Open {
            started_ms: now_ms,
            partitions: BTreeMap::new(),
            groups: BTreeSet::new(),
        })
    }
}

/// Writes the markers and settles the offsets of what is open.
fn close(cluster: &Cluster, transaction: &mut Transaction, marker: Producer, ending: Ending, now_ms: i64) {
    let Some(open) = transaction.open.take() else {
        return;
    };
    for partition in open.partitions.values() {
        partition.end_transaction(marker.id, marker.epoch, ending, now_ms);
    }
    for group in &open.groups {
        cluster
            .groups
            .end_transaction(group, marker.id, ending == Ending::Commit);
    }
}

/// Produce and TxnOffsetCommit know the error by its older name.
fn as_produce_error(error: ResponseError) -> ResponseError {
    match error {
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
        other => other,
    }
}

/// # Errors
/// There are as many as there may be, and all of them have a transaction open.
fn make_room(by_id: &mut BTreeMap<String, Transaction>) -> Result<(), ResponseError> {
    if by_id.len() < MAX_IDS {
        return Ok(());
    }
    let idle = by_id.iter().find(|(_, transaction)| transaction.open.is_none());
    let idle = idle.map(|(id, _)| id.clone());
    by_id.remove(&idle.ok_or(ResponseError::CoordinatorNotAvailable)?);
    Ok(())
}
