//! One assigned partition: reads, takes each record through the pipeline, hands over to delivery.

use std::sync::Arc;
use std::time::Duration;

use klamm_connect_api::{DataErrorKind, TopicPartition};
use klamm_delivery::{About, Delivery, Engine, Intake, Letter, Letters as _, Progress, PushError};
use klamm_kafka::records::Records;
use klamm_kafka::{AssignmentEpoch, ConsumedRecord, FetchedSection, PartitionReader};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, warn};

use super::letters::LetterBox;
use super::pipeline::{Consequence, Pipeline, RecordFailure};
use super::progress::HandedOver;
use super::tally::Tally;
use super::waits::PartitionWait;

/// Records handed over in one step: large enough to cost little each, small enough that a partition which may hold one
/// step only (all memory in use) still holds little.
const CHUNK_RECORDS: usize = 500;
/// Encoded bytes handed over in one step.
const CHUNK_BYTES: usize = 512 * 1024;
/// A partition that delivery has had no room for in this long gives its fetched records back and fetches them again.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(5);
/// First delay before a conversion or transform that may pass is tried again (KIP-298).
const RETRY_DELAY: Duration = Duration::from_millis(300);
/// Longest wait for the dead letter of a record that fails its task: the record is read again anyway.
const LAST_LETTER: Duration = Duration::from_secs(10);
/// Longest delay before converters are asked again to fetch what they lack.
const PREPARE_DELAY_MAX: Duration = Duration::from_secs(5);

/// Runs one partition until it is dropped.
pub(super) struct Partition {
    pub(super) topic_partition: TopicPartition,
    pub(super) reader: PartitionReader,
    pub(super) pipeline: Pipeline,
    /// Records before it were counted.
    pub(super) counted_to: i64,
    pub(super) engine: Engine,
    pub(super) epoch: u64,
    /// Connector and task, for logs.
    pub(super) connector: Arc<str>,
    pub(super) task: u32,
    /// Whether the connector is paused.
    pub(super) paused: watch::Receiver<bool>,
    /// Where the status learns what is waited for.
    pub(super) wait: PartitionWait,
    /// What was committed as settled beyond the offset that it starts at.
    pub(super) settled: Option<Settled>,
    /// Where commits learn of which leader epoch they are.
    pub(super) handed_over: HandedOver,
    /// Of the last record that went through the pipeline.
    pub(super) leader_epoch: Option<i32>,
    pub(super) rng: StdRng,
}

/// What routes settled beyond a committed offset, as long as the log is the one that they had.
#[derive(Debug)]
pub(super) struct Settled {
    from: i64,
    progress: Progress,
    /// After the last settled record.
    end: i64,
    /// No record before `end` was written in a later one.
    leader_epoch: i32,
}

impl Settled {
    pub(super) fn new(from: i64, progress: Progress, leader_epoch: i32) -> Self {
        Self {
            from,
            end: progress.end().unwrap_or(from),
            progress,
            leader_epoch,
        }
    }

    /// Whether this record shows that the log was cut and written anew. Leader epochs only grow along a log.
    fn is_refuted_by(&self, record: &ConsumedRecord) -> bool {
        record.offset < self.end && record.leader_epoch.is_none_or(|epoch| epoch > self.leader_epoch)
    }
}

/// Why a partition's actor ends by itself.
enum End {
    /// Delivery takes no more: the partition was given up, or delivery has failed and says why itself.
    DeliveryClosed,
    /// The trace of a task that this partition makes fail.
    Failed(String),
}

/// Records to hand over in one step, the reader's position after them, and what comes then.
struct Chunk {
    deliveries: Vec<Delivery>,
    tally: Tally,
    position: i64,
    then: Then,
}

enum Then {
    /// The section has more records.
    GoOn,
    /// It was the section's last.
    SectionEnds,
    /// The record at `position` fails the task.
    Fail(Failed),
    /// The record at `position` waits for what a converter has to fetch.
    Wait(ConsumedRecord),
    /// The record at `position` shows that what counted as settled is of another log.
    Unsettled,
}

/// Why a record goes no further now.
enum Stop {
    Failed(Box<RecordFailure>),
    /// What a converter has to fetch takes long.
    NotReady,
}

impl From<Box<RecordFailure>> for Stop {
    fn from(failure: Box<RecordFailure>) -> Self {
        Self::Failed(failure)
    }
}

/// A record that fails the task.
struct Failed {
    trace: String,
    /// To be written before.
    letter: Option<Letter>,
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
        match self.read_on().await {
            End::DeliveryClosed => Ok(()),
            End::Failed(trace) => Err(trace),
        }
    }

    async fn read_on(&mut self) -> End {
        let mut position = match self.reader.started().await {
            Ok(position) => position,
            Err(error) => return self.cannot_be_read(&error),
        };
        // At once, not with the first record: where a group starts is committed, so that one that starts at the end of a
        // topic does not skip what comes while it is away.
        self.settled.take_if(|settled| settled.from != position);
        let progress = self.settled.as_ref().map(|settled| settled.progress.clone());
        let partition = self.topic_partition.clone();
        let mut intake = self
            .engine
            .resume(partition, self.epoch, position, progress.unwrap_or_default());
        self.handed_over
            .note(self.epoch, self.settled.as_ref().map(|settled| settled.leader_epoch));
        loop {
            self.while_paused().await;
            let section = tokio::select! {
                section = self.reader.next() => section,
                _ = self.paused.changed() => continue,
                to = intake.rewound() => {
                    position = self.go_back(to, &mut intake).await;
                    continue;
                }
            };
            let section = match section {
                Ok(section) => section,
                Err(error) => return self.cannot_be_read(&error),
            };
            if section.start_offset() < position {
                // The log was truncated, or the topic made again: for delivery this is another assignment, since
                // offsets only grow within one. It starts where something is not done, which may be before the cut.
                let start = section.start_offset().min(intake.committable());
                warn!(partition = %self.topic_partition, position, start, "the log starts again before what was read");
                let is_here = start == section.start_offset();
                intake = self.assign_again(start);
                position = start;
                if !is_here {
                    drop(section);
                    self.reader.seek(start);
                    continue;
                }
            }
            position = match self.deliver(section, &mut intake).await {
                Ok(position) => position,
                Err(end) => return end,
            };
        }
    }

    /// For delivery another assignment, with nothing settled beyond `position`.
    fn assign_again(&mut self, position: i64) -> Intake {
        self.settled = None;
        self.counted_to = self.counted_to.min(position);
        self.epoch = AssignmentEpoch::next().get();
        self.handed_over.note(self.epoch, None);
        self.engine.assign(self.topic_partition.clone(), self.epoch, position)
    }

    async fn while_paused(&mut self) {
        if *self.paused.borrow_and_update() {
            self.reader.pause();
            // An error means that the task is gone, and this actor is about to be dropped with it.
            while *self.paused.borrow_and_update() && self.paused.changed().await.is_ok() {}
            self.reader.resume();
        }
    }

    /// Hands a section over and returns the position after what was handed over: the end of the section, or less if
    /// the rest was given back.
    async fn deliver(&mut self, section: FetchedSection, intake: &mut Intake) -> Result<i64, End> {
        let mut records = section.records();
        loop {
            let chunk = self.next_chunk(&mut records, section.next_offset()).await;
            let position = chunk.position;
            let leader_epoch = match &self.settled {
                Some(settled) if settled.end > position => Some(settled.leader_epoch),
                _ => self.leader_epoch,
            };
            self.handed_over.note(self.epoch, leader_epoch);
            let pushed = {
                let mut push = std::pin::pin!(intake.push(chunk.deliveries, position));
                let pushed = timeout(GIVE_BACK_AFTER, &mut push).await;
                if matches!(pushed, Ok(Ok(()))) && matches!(chunk.then, Then::GoOn) {
                    self.count(chunk.tally, position);
                    self.settled.take_if(|settled| settled.end <= position);
                    continue;
                }
                // Kafka is the buffer: what waits here would take memory from partitions that move.
                drop(records);
                drop(section);
                if matches!(chunk.then, Then::GoOn | Then::Wait(_) | Then::Unsettled) {
                    debug!(partition = %self.topic_partition, position, "fetched records are given back");
                    self.reader.pause();
                    self.reader.seek(position);
                }
                match pushed {
                    Ok(pushed) => pushed,
                    Err(_) => push.await,
                }
            };
            match pushed {
                Ok(()) => {
                    self.count(chunk.tally, position);
                    drop(self.settled.take_if(|settled| settled.end <= position));
                }
                // The partition was given up, or delivery has failed.
                Err(PushError::Closed(_)) => return Err(End::DeliveryClosed),
                // Whatever comes after this chunk comes again.
                Err(PushError::Rewound { position }) => return Ok(self.go_back(position, intake).await),
            }
            return match chunk.then {
                Then::GoOn => {
                    self.reader.resume();
                    Ok(position)
                }
                Then::Wait(record) => {
                    // What it has to say, it says when the record is read again.
                    self.prepare(&record).await.ok();
                    self.reader.resume();
                    Ok(position)
                }
                Then::SectionEnds => Ok(position),
                Then::Unsettled => {
                    let start = intake.committable();
                    warn!(partition = %self.topic_partition, position, start, "the log was cut and written anew: what was settled of it counts no more");
                    *intake = self.assign_again(start);
                    self.reader.seek(start);
                    self.reader.resume();
                    Ok(start)
                }
                Then::Fail(failed) => Err(self.fail(failed).await),
            };
        }
    }

    /// The records before `position` were handed over.
    fn count(&mut self, tally: Tally, position: i64) {
        self.pipeline.counters().add(tally);
        self.counted_to = self.counted_to.max(position);
    }

    /// Delivery gave back what waited there, since the partition stands still and others need the memory: it is read again
    /// when the partition moves.
    async fn go_back(&mut self, position: i64, intake: &mut Intake) -> i64 {
        debug!(partition = %self.topic_partition, position, "records are read again once the partition moves");
        self.reader.pause();
        self.reader.seek(position);
        intake.moved().await;
        self.reader.resume();
        position
    }

    /// The next records of a section that ends at `end`. What comes before a bad record is handed over, so that the
    /// commit ends exactly at it.
    async fn next_chunk(&mut self, records: &mut Records, end: i64) -> Chunk {
        let mut deliveries = Vec::with_capacity(CHUNK_RECORDS);
        let mut skipped = Vec::new();
        let mut bytes = 0;
        let (position, then) = loop {
            if deliveries.len() == CHUNK_RECORDS || bytes >= CHUNK_BYTES {
                let last = deliveries.last().map(|delivery: &Delivery| delivery.origin.offset);
                break (last.map_or(end, |offset| offset + 1), Then::GoOn);
            }
            match records.next() {
                None => break (end, Then::SectionEnds),
                Some(Err(error)) => {
                    let trace = format!(
                        "partition {} cannot be read: {}",
                        self.topic_partition,
                        crate::chain(&error)
                    );
                    break (error.offset, Then::Fail(Failed { trace, letter: None }));
                }
                Some(Ok(record))
                    if self
                        .settled
                        .as_ref()
                        .is_some_and(|settled| settled.is_refuted_by(&record)) =>
                {
                    break (record.offset, Then::Unsettled);
                }
                Some(Ok(record)) => match self.process(&record, &mut skipped).await {
                    Ok(delivery) => {
                        bytes += delivery.size_bytes();
                        deliveries.push(delivery);
                        self.leader_epoch = record.leader_epoch;
                    }
                    Err(Some(failed)) => break (record.offset, Then::Fail(failed)),
                    Err(None) => break (record.offset, Then::Wait(record.detached())),
                },
            }
        };
        Chunk {
            tally: Tally::of(&deliveries, &skipped, self.counted_to),
            deliveries,
            position,
            then,
        }
    }

    /// Takes one record through the pipeline, under `errors.*`; notes in `skipped` if that skips it. An error of nothing is a
    /// record that waits.
    async fn process(&mut self, record: &ConsumedRecord, skipped: &mut Vec<i64>) -> Result<Delivery, Option<Failed>> {
        let outcome = match self.attempt(record).await {
            Err(Stop::Failed(failure)) if failure.error.is_retriable() => self.retry(record, failure).await,
            outcome => outcome,
        };
        let failure = match outcome {
            Ok(delivery) => return Ok(delivery),
            Err(Stop::NotReady) => return Err(None),
            Err(Stop::Failed(failure)) => failure,
        };
        // One that is read again after it was given back has been counted.
        if record.offset >= self.counted_to {
            self.pipeline.counters().failed(&failure);
        }
        let consequence = failure.consequence(self.pipeline.config(), self.pipeline.sink());
        self.log(&failure, consequence);
        let letter = |letters: &Arc<LetterBox>| letters.letter(record, &failure);
        match consequence {
            Consequence::Fail { is_reported } => {
                let letters = self.pipeline.letters().filter(|_| is_reported);
                Err(Some(Failed {
                    trace: failure.to_string(),
                    letter: letters.map(|letters| Letter {
                        origin: failure.origin.clone(),
                        record: letter(letters),
                        about: About::Failed,
                    }),
                }))
            }
            Consequence::Skip { .. } => {
                skipped.push(record.offset);
                Ok(self.pipeline.nothing(record))
            }
            Consequence::DeadLetter { .. } => match self.pipeline.letters() {
                Some(letters) => Ok(Delivery {
                    dead_letter: Some(letter(letters)),
                    ..self.pipeline.nothing(record)
                }),
                None => Err(Some(Failed {
                    trace: format!(
                        "{failure}; there is no dead letter queue for it: set `errors.deadletterqueue.topic.name`"
                    ),
                    letter: None,
                })),
            },
        }
    }

    /// As in Connect, a record that fails its task is reported to the dead letter queue first. Its offset is not
    /// committed, so this is a copy: a queue that does not take it in time does not hold the failure.
    async fn fail(&self, failed: Failed) -> End {
        let Failed { trace, letter } = failed;
        if let (Some(letters), Some(letter)) = (self.pipeline.letters(), letter) {
            let (connector, task) = (&*self.connector, self.task);
            match timeout(LAST_LETTER, letters.write(vec![letter])).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    warn!(connector, task, %error, "the failed record was not written to the dead letter queue");
                }
                Err(_) => warn!(
                    connector,
                    task, "the dead letter queue did not take the failed record in time"
                ),
            }
        }
        End::Failed(trace)
    }

    /// Takes one record through the pipeline once, after the converters have what they need for it.
    async fn attempt(&mut self, record: &ConsumedRecord) -> Result<Delivery, Stop> {
        loop {
            match self.pipeline.process(record) {
                Err(failure) if failure.error.kind() == DataErrorKind::NotReady => {
                    let prepared = timeout(GIVE_BACK_AFTER, self.prepare(record)).await;
                    prepared.unwrap_or(Err(Stop::NotReady))?;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Has the converters fetch what they lack. What may pass is waited for, whatever `errors.*` say, and the status
    /// shows it: a registry that is away must not cost a record.
    async fn prepare(&mut self, record: &ConsumedRecord) -> Result<(), Stop> {
        let mut delay = RETRY_DELAY;
        loop {
            let failure = match self.pipeline.prepare(record).await {
                Err(failure) if failure.error.is_retriable() => failure,
                outcome => {
                    self.wait.clear();
                    return Ok(outcome?);
                }
            };
            let (connector, task, error) = (&*self.connector, self.task, &failure.error);
            if delay == RETRY_DELAY {
                warn!(connector, task, partition = %self.topic_partition, stage = failure.stage.name(), %error, "partition waits and tries again");
            }
            self.wait.set(format!("{}: {error}", failure.class));
            sleep(self.rng.random_range(delay / 2..=delay)).await;
            delay = delay.saturating_mul(2).min(PREPARE_DELAY_MAX);
        }
    }

    /// Tries again what may pass, with Connect's delays: 300 ms doubling, beyond the cap a random one below it.
    async fn retry(&mut self, record: &ConsumedRecord, mut failure: Box<RecordFailure>) -> Result<Delivery, Stop> {
        let errors = self.pipeline.config().errors.clone();
        let deadline = errors.retry_timeout.map(|timeout| Instant::now() + timeout);
        let mut doubled = RETRY_DELAY;
        loop {
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) || !failure.error.is_retriable() {
                return Err(Stop::Failed(failure));
            }
            let mut delay = doubled;
            if delay > errors.retry_delay_max {
                delay = self.rng.random_range(Duration::ZERO..errors.retry_delay_max);
            }
            sleep(deadline.map_or(delay, |deadline| delay.min(deadline - now))).await;
            doubled = doubled.saturating_mul(2);
            match self.attempt(record).await {
                Err(Stop::Failed(again)) => failure = again,
                outcome => return outcome,
            }
        }
    }

    fn log(&self, failure: &RecordFailure, consequence: Consequence) {
        let fate = match consequence {
            // The task's own failure is logged with its trace.
            Consequence::Fail { .. } | Consequence::Skip { log: false } | Consequence::DeadLetter { log: false } => {
                return;
            }
            Consequence::Skip { log: true } => "skipped",
            Consequence::DeadLetter { log: true } => "dead letter queue",
        };
        let (connector, task) = (&*self.connector, self.task);
        let (stage, class, error) = (failure.stage.name(), failure.class, &failure.error);
        if self.pipeline.config().errors.log_messages {
            error!(connector, task, origin = %failure.origin, timestamp = failure.timestamp, stage, class, fate, %error, "record failed");
        } else {
            error!(connector, task, stage, class, fate, %error, "record failed");
        }
    }

    fn cannot_be_read(&self, error: &klamm_kafka::FetchError) -> End {
        End::Failed(format!(
            "partition {} cannot be read: {}",
            self.topic_partition,
            crate::chain(error)
        ))
    }
}

#[cfg(test)]
mod tests {
    use klamm_delivery::RouteProgress;
    use klamm_kafka::records::TimestampType;

    use super::*;

    #[test]
    fn a_record_of_a_later_epoch_refutes_what_was_settled_before_it() {
        let progress = Progress {
            routes: vec![RouteProgress {
                route: None,
                done: vec![10..12, 15..20],
            }],
        };
        let settled = Settled::new(8, progress, 3);
        let record = |offset, leader_epoch| ConsumedRecord {
            offset,
            timestamp: 0,
            timestamp_type: TimestampType::CreateTime,
            key: None,
            value: None,
            headers: Vec::new(),
            leader_epoch,
        };
        for (offset, epoch, wanted, why) in [
            (8, Some(3), false, "the log that it was"),
            (8, Some(2), false, "an older part of it"),
            (19, Some(4), true, "written anew"),
            (13, Some(4), true, "what comes after it is anew, too"),
            (20, Some(4), false, "behind all that was settled"),
            (9, None, true, "nothing tells"),
        ] {
            assert_eq!(settled.is_refuted_by(&record(offset, epoch)), wanted, "{why}");
        }
    }
}
