//! One assigned partition: reads, takes each record through the pipeline, hands over to delivery.

use std::time::Duration;

use klamm_connect_api::TopicPartition;
use klamm_delivery::{Delivery, Engine, Intake};
use klamm_kafka::{ConsumedRecord, FetchedSection, PartitionReader};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error};

use super::pipeline::{Pipeline, RecordFailure, Tolerated};

/// Records handed over in one step: large enough to cost little each, small enough that a partition which may hold one
/// step only (all memory in use) still holds little.
const CHUNK_RECORDS: usize = 500;
/// Encoded bytes handed over in one step.
const CHUNK_BYTES: usize = 512 * 1024;
/// A partition that delivery has had no room for in this long gives its fetched records back and fetches them again.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(5);
/// First delay before a conversion or transform that may pass is tried again (KIP-298).
const RETRY_DELAY: Duration = Duration::from_millis(300);

/// Runs one partition until it is dropped.
pub(super) struct Partition {
    pub(super) topic_partition: TopicPartition,
    pub(super) reader: PartitionReader,
    pub(super) pipeline: Pipeline,
    pub(super) engine: Engine,
    pub(super) epoch: u64,
    /// Whether the connector is paused.
    pub(super) paused: watch::Receiver<bool>,
    pub(super) rng: StdRng,
}

impl Partition {
    /// Reads on and on.
    ///
    /// # Errors
    /// The trace of a task that a record, or the partition itself, makes fail.
    ///
    /// # Cancel safety
    /// Safe: a record is either handed over to delivery as a whole, or will be read again from the committed offset.
    pub(super) async fn run(mut self) -> Result<(), String> {
        let mut intake = None;
        loop {
            self.while_paused().await;
            let section = tokio::select! {
                section = self.reader.next() => section.map_err(|error| self.cannot_be_read(&error))?,
                _ = self.paused.changed() => continue,
            };
            let intake = intake.get_or_insert_with(|| {
                self.engine
                    .assign(self.topic_partition.clone(), self.epoch, section.start_offset())
            });
            self.deliver(section, intake).await?;
        }
    }

    async fn while_paused(&mut self) {
        if *self.paused.borrow_and_update() {
            self.reader.pause();
            // An error means that the task is gone, and this actor is about to be dropped with it.
            while *self.paused.borrow_and_update() && self.paused.changed().await.is_ok() {}
            self.reader.resume();
        }
    }

    async fn deliver(&mut self, section: FetchedSection, intake: &mut Intake) -> Result<(), String> {
        let end = section.next_offset();
        let mut records = section.records();
        loop {
            let (chunk, position) = self.next_chunk(&mut records, intake).await?;
            let is_end = position.is_none();
            let position = position.unwrap_or(end);
            let handed_over = {
                let mut push = std::pin::pin!(intake.push(chunk, position));
                match timeout(GIVE_BACK_AFTER, &mut push).await {
                    Ok(pushed) => pushed,
                    Err(_) if is_end => push.await,
                    Err(_) => {
                        // Kafka is the buffer: what waits here would take memory from partitions that move.
                        debug!(partition = %self.topic_partition, position, "no room, fetched records are given back");
                        drop(records);
                        drop(section);
                        self.reader.pause();
                        self.reader.seek(position);
                        let pushed = push.await;
                        self.reader.resume();
                        return pushed.map_err(|_| self.engine_ended());
                    }
                }
            };
            handed_over.map_err(|_| self.engine_ended())?;
            if is_end {
                return Ok(());
            }
        }
    }

    /// The next records to hand over, and the position after them; no position at the end of the section.
    async fn next_chunk(
        &mut self,
        records: &mut impl Iterator<Item = Result<ConsumedRecord, klamm_kafka::DecodeError>>,
        intake: &mut Intake,
    ) -> Result<(Vec<Delivery>, Option<i64>), String> {
        let mut chunk = Vec::with_capacity(CHUNK_RECORDS);
        let mut bytes = 0;
        while chunk.len() < CHUNK_RECORDS && bytes < CHUNK_BYTES {
            let Some(record) = records.next() else {
                self.pipeline.counters().read(chunk.len() as u64);
                return Ok((chunk, None));
            };
            let record = record.map_err(|error| self.cannot_be_read(&error))?;
            match self.process(&record).await {
                Ok(delivery) => {
                    bytes += delivery
                        .routes
                        .iter()
                        .map(|(_, encoded)| encoded.bytes.len())
                        .sum::<usize>();
                    chunk.push(delivery);
                }
                Err(failure) => {
                    // What came before the bad record is delivered, so that the commit ends exactly at it.
                    self.pipeline.counters().read(chunk.len() as u64);
                    intake
                        .push(chunk, record.offset)
                        .await
                        .map_err(|_| self.engine_ended())?;
                    return Err(failure);
                }
            }
        }
        self.pipeline.counters().read(chunk.len() as u64);
        let position = chunk.last().map(|delivery| delivery.origin.offset + 1);
        Ok((chunk, position))
    }

    /// Takes one record through the pipeline, under `errors.*`.
    async fn process(&mut self, record: &ConsumedRecord) -> Result<Delivery, String> {
        let failure = match self.pipeline.process(record) {
            Ok(delivery) => return Ok(delivery),
            Err(failure) if failure.error.is_retriable() => match self.retry(record, failure).await {
                Ok(delivery) => return Ok(delivery),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        let tolerated = failure.tolerance(self.pipeline.config(), self.pipeline.sink());
        self.log(&failure, tolerated);
        match tolerated {
            Tolerated::No => Err(failure.to_string()),
            Tolerated::Yes { .. } => {
                self.pipeline.counters().skipped(1);
                Ok(self.pipeline.nothing(record))
            }
        }
    }

    /// Tries again what may pass, with Connect's delays: 300 ms doubling, beyond the cap a random one below it.
    async fn retry(
        &mut self,
        record: &ConsumedRecord,
        mut failure: Box<RecordFailure>,
    ) -> Result<Delivery, Box<RecordFailure>> {
        let errors = self.pipeline.config().errors.clone();
        let deadline = errors.retry_timeout.map(|timeout| Instant::now() + timeout);
        let mut doubled = RETRY_DELAY;
        loop {
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) || !failure.error.is_retriable() {
                return Err(failure);
            }
            let mut delay = doubled;
            if delay > errors.retry_delay_max {
                delay = self.rng.random_range(Duration::ZERO..errors.retry_delay_max);
            }
            sleep(deadline.map_or(delay, |deadline| delay.min(deadline - now))).await;
            doubled = doubled.saturating_mul(2);
            match self.pipeline.process(record) {
                Ok(delivery) => return Ok(delivery),
                Err(again) => failure = again,
            }
        }
    }

    fn log(&self, failure: &RecordFailure, tolerated: Tolerated) {
        let log = match tolerated {
            // The task's own failure is logged with its trace.
            Tolerated::No => return,
            Tolerated::Yes { log } => log,
        };
        if !log {
            return;
        }
        let (stage, class, error) = (failure.stage.name(), failure.class, &failure.error);
        if self.pipeline.config().errors.log_messages {
            error!(
                origin = %failure.origin, timestamp = failure.timestamp, stage, class, %error,
                "record skipped"
            );
        } else {
            error!(stage, class, %error, "record skipped");
        }
    }

    fn cannot_be_read(&self, error: &dyn std::error::Error) -> String {
        format!(
            "partition {} cannot be read: {}",
            self.topic_partition,
            crate::chain(error)
        )
    }

    fn engine_ended(&self) -> String {
        format!("delivery of partition {} ended before its reader", self.topic_partition)
    }
}
