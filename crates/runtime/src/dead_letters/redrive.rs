//! Redrives: dead letters go back to the topics that they came from.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klamm_kafka::{Delivery, KafkaClient, OffsetToCommit, ProduceError, ProduceRecord, Producer, ResponseError};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::letter::{original, read};
use super::queue::{KafkaDeadLetters, Queue, answered, unavailable};
use super::{DeadLetter, DeadLetterPartition, DeadLettersError, LetterError, Redrive, RedriveState, RedriveStatus};

/// Redrives of a worker at once.
const MAX_JOBS: usize = 4;
/// Records that are written in one step, and after which the position is committed.
const STEP_RECORDS: usize = 100;
/// Bytes of keys and values that end a step before.
const STEP_BYTES: usize = 1024 * 1024;
/// How long records may take to come that were there when the redrive began.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// How long a dry run may take, since somebody waits for it.
const DRY_RUN_WITHIN: Duration = Duration::from_secs(60);
/// How long the end of the worker waits for a step that is under way.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(5);

/// A redrive that is, or was.
#[derive(Debug)]
pub(super) struct Job {
    status: Mutex<RedriveStatus>,
    stop: CancellationToken,
}

/// What becomes of a letter.
enum Fate {
    /// To where it came from, a topic with so many partitions.
    Goes(Box<LetterError>, i32),
    Returned,
    OfOthers,
    WithoutOrigin,
    OfOtherTopics,
    Refused,
}

/// Where a job ended.
type Ended = Result<RedriveState, DeadLettersError>;

impl Job {
    fn new(redrive: Redrive, stop: CancellationToken, partitions: &[DeadLetterPartition]) -> Self {
        let found = partitions
            .iter()
            .map(|partition| partition.end - partition.redriven)
            .sum::<i64>();
        let status = RedriveStatus {
            state: RedriveState::Running,
            redrive,
            started: crate::wall_clock::now_ms(),
            ended: None,
            found: u64::try_from(found).unwrap_or(0),
            passed: 0,
            redriven: 0,
            returned: 0,
            of_others: 0,
            without_origin: 0,
            of_other_topics: 0,
            refused: 0,
        };
        Self {
            status: Mutex::new(status),
            stop,
        }
    }

    pub(super) fn status(&self) -> RedriveStatus {
        self.lock().clone()
    }

    /// Says whether it was under way.
    pub(super) fn stop(&self) -> bool {
        self.stop.cancel();
        self.lock().state == RedriveState::Running
    }

    fn lock(&self) -> MutexGuard<'_, RedriveStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&self) -> bool {
        self.lock().state == RedriveState::Running
    }

    fn end(&self, ended: Ended) {
        let mut status = self.lock();
        status.state = ended.unwrap_or_else(|error| RedriveState::Failed(error.to_string()));
        status.ended = Some(crate::wall_clock::now_ms());
    }
}

/// Sees to it that a job whose task is gone does not look as if it ran.
struct EndsJob(Arc<Job>);

impl Drop for EndsJob {
    fn drop(&mut self) {
        if self.0.is_running() {
            self.0.end(Ok(RedriveState::Stopped));
        }
    }
}

impl KafkaDeadLetters {
    pub(super) fn job(&self, connector: &str) -> Option<Arc<Job>> {
        lock(&self.jobs).get(connector).cloned()
    }

    pub(super) async fn begin_redrive(
        &self,
        connector: &str,
        redrive: Redrive,
    ) -> Result<RedriveStatus, DeadLettersError> {
        let queue = self.queue(connector).await?;
        if !queue.says_where_from() {
            let text = format!(
                "Dead letters of connector {connector} do not say where they came from: set \
                 `errors.deadletterqueue.context.headers.enable=true`; those that were written before cannot be redriven"
            );
            return Err(DeadLettersError::Refused(text));
        }
        // Positions are read when no other redrive moves them.
        let begins = self.begins.lock().await;
        if !redrive.dry_run && self.job(connector).is_some_and(|job| job.is_running()) {
            let text = format!("A redrive of connector {connector} is under way");
            return Err(DeadLettersError::Busy(text));
        }
        let missing = || DeadLettersError::NotFound(format!("Topic {} does not exist", queue.topic.topic));
        let partitions = queue.partitions().await?.ok_or_else(missing)?;
        let stop = self.stop.child_token();
        let job = Arc::new(Job::new(redrive, stop, &partitions));
        if redrive.dry_run {
            drop(begins);
            let run = Run::new(queue, Arc::clone(&job));
            let ended = timeout(DRY_RUN_WITHIN, run.all(partitions, || true)).await;
            // What was counted by then is told, and so is that it is not all.
            job.end(ended.unwrap_or(Ok(RedriveState::Stopped)));
            return Ok(job.status());
        }
        {
            let mut jobs = lock(&self.jobs);
            jobs.retain(|name, job| job.is_running() || self.is_known(name));
            if self.stop.is_cancelled() {
                return Err(DeadLettersError::Busy("Worker is shutting down".to_owned()));
            }
            if jobs.values().filter(|job| job.is_running()).count() >= MAX_JOBS {
                let text = format!("{MAX_JOBS} redrives are under way on this worker: wait for one of them to end");
                return Err(DeadLettersError::Busy(text));
            }
            jobs.insert(connector.to_owned(), Arc::clone(&job));
        }
        info!(connector, topic = %queue.topic.topic, "redrive of dead letters begins");
        let run = Run::new(queue, Arc::clone(&job));
        let is_wanted = self.existence_of(connector);
        let ends = EndsJob(Arc::clone(&job));
        let task = async move {
            let connector = run.queue.connector.clone();
            let ended = run.all(partitions, is_wanted).await;
            ends.0.end(ended);
            let RedriveStatus { state, redriven, .. } = ends.0.status();
            match state {
                RedriveState::Failed(error) => {
                    warn!(
                        connector,
                        redriven, error, "redrive of dead letters failed, the next one goes on there"
                    );
                }
                RedriveState::Running | RedriveState::Done | RedriveState::Stopped => {
                    info!(connector, redriven, state = ?state, "redrive of dead letters ended");
                }
            }
        };
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
        drop(tasks);
        Ok(job.status())
    }

    pub(super) async fn end_redrives(&self) {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let ended = timeout(SHUTDOWN_WITHIN, async { while tasks.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tasks.shutdown().await;
        }
    }
}

/// One redrive, being done.
struct Run {
    queue: Queue,
    job: Arc<Job>,
    producer: Producer,
    /// Partitions of the topics that records go to.
    topics: HashMap<String, Option<i32>>,
    /// When the next step may be written.
    next: Instant,
}

/// Records that are written in one step.
#[derive(Default)]
struct Step {
    records: Vec<ProduceRecord>,
    bytes: usize,
}

impl Run {
    fn new(queue: Queue, job: Arc<Job>) -> Self {
        let producer = Producer::new(&queue.source.client, queue.topic.producer.clone());
        Self {
            queue,
            job,
            producer,
            topics: HashMap::new(),
            next: Instant::now(),
        }
    }

    fn redrive(&self) -> Redrive {
        self.job.lock().redrive
    }

    /// Whether so many were redriven that no more are wanted.
    fn has_enough(&self, more: usize) -> bool {
        let status = self.job.lock();
        let sum = status.redriven.saturating_add(more as u64);
        status.redrive.max_records.is_some_and(|most| sum >= most)
    }

    async fn all(mut self, partitions: Vec<DeadLetterPartition>, is_wanted: impl Fn() -> bool) -> Ended {
        let stop = self.job.stop.clone();
        for partition in partitions {
            // A step is finished; what comes between steps is given up.
            match self.partition(partition, &stop, &is_wanted).await? {
                RedriveState::Running => {}
                ended => return Ok(ended),
            }
        }
        Ok(RedriveState::Done)
    }

    /// Redrives what is there of a partition. `Running` is that there may be others.
    async fn partition(
        &mut self,
        partition: DeadLetterPartition,
        stop: &CancellationToken,
        is_wanted: &impl Fn() -> bool,
    ) -> Ended {
        let mut position = partition.redriven;
        if position >= partition.end {
            return Ok(RedriveState::Running);
        }
        let number = partition.partition;
        let mut reader = self.queue.reader(number, position);
        let mut step = Step::default();
        while position < partition.end {
            let section = tokio::select! {
                section = timeout(READ_WITHIN, reader.next()) => section,
                () = stop.cancelled() => return Ok(RedriveState::Stopped),
            };
            let Ok(section) = section else {
                return Err(DeadLettersError::Unavailable(format!(
                    "nothing came from partition {number} at offset {position} within {} s, although it went up to {}: Kafka \
                     cannot be reached, or the records were deleted meanwhile",
                    READ_WITHIN.as_secs(),
                    partition.end
                )));
            };
            let section = section.map_err(|error| unavailable(&error))?;
            let next = section.next_offset().min(partition.end);
            for record in section.records() {
                let record = record.map_err(|error| unavailable(&error))?;
                if record.offset >= partition.end {
                    break;
                }
                if self.has_enough(step.records.len()) {
                    self.write(&mut step, number, &mut position, record.offset).await?;
                    return Ok(RedriveState::Done);
                }
                let after = record.offset + 1;
                self.add(read(number, record.detached()), &mut step).await?;
                let most = STEP_RECORDS.min(usize::try_from(self.redrive().records_per_second).unwrap_or(STEP_RECORDS));
                if step.records.len() >= most.max(1) || step.bytes >= STEP_BYTES {
                    self.write(&mut step, number, &mut position, after).await?;
                    if !self.may_go_on(stop, is_wanted).await {
                        return Ok(RedriveState::Stopped);
                    }
                }
            }
            self.write(&mut step, number, &mut position, next).await?;
            if !self.may_go_on(stop, is_wanted).await {
                return Ok(RedriveState::Stopped);
            }
        }
        Ok(RedriveState::Running)
    }

    /// Waits for the rate; false if it is to end.
    async fn may_go_on(&self, stop: &CancellationToken, is_wanted: &impl Fn() -> bool) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = sleep_until(self.next) => is_wanted(),
        }
    }

    async fn fate(&mut self, letter: &DeadLetter) -> Result<Fate, DeadLettersError> {
        let Some(error) = &letter.error else {
            return Ok(Fate::WithoutOrigin);
        };
        if error.connector != self.queue.connector {
            return Ok(Fate::OfOthers);
        }
        if letter.redrives >= self.redrive().max_redrives {
            return Ok(Fate::Returned);
        }
        // Headers can say anything: nothing is written where the connector does not read.
        if !self.queue.subscription.includes(&error.topic) {
            return Ok(Fate::OfOtherTopics);
        }
        // One letter of a topic that is gone must not hold up those behind it for ever.
        Ok(match self.partitions_of(&error.topic).await? {
            Some(partitions) => Fate::Goes(Box::new(error.clone()), partitions),
            None => Fate::Refused,
        })
    }

    async fn add(&mut self, letter: DeadLetter, step: &mut Step) -> Result<(), DeadLettersError> {
        let (error, partitions) = match self.fate(&letter).await? {
            Fate::Goes(error, partitions) => (error, partitions),
            other => {
                let mut status = self.job.lock();
                match other {
                    Fate::Returned => status.returned += 1,
                    Fate::OfOthers => status.of_others += 1,
                    Fate::OfOtherTopics => status.of_other_topics += 1,
                    Fate::Refused => status.refused += 1,
                    Fate::WithoutOrigin | Fate::Goes(..) => status.without_origin += 1,
                }
                return Ok(());
            }
        };
        let partition = (0..partitions).contains(&error.partition).then_some(error.partition);
        let size = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
        step.bytes += size(&letter.key) + size(&letter.value);
        step.records.push(original(letter, &error, partition));
        Ok(())
    }

    /// How many partitions a topic has that records go back to; none if it does not exist.
    async fn partitions_of(&mut self, topic: &str) -> Result<Option<i32>, DeadLettersError> {
        if let Some(known) = self.topics.get(topic) {
            return Ok(*known);
        }
        let client: &KafkaClient = &self.queue.source.client;
        let found = answered(client.topic(topic)).await?.map(|topic| topic.partitions);
        // As many as the connector reads.
        self.topics.insert(topic.to_owned(), found);
        Ok(found)
    }

    /// Writes what was gathered, and then commits that everything before `after` is done.
    async fn write(
        &mut self,
        step: &mut Step,
        partition: i32,
        position: &mut i64,
        after: i64,
    ) -> Result<(), DeadLettersError> {
        let Step { records, .. } = std::mem::take(step);
        let mut count = records.len() as u64;
        let redrive = self.redrive();
        if !redrive.dry_run {
            let refused = self.write_all(records).await?;
            count -= refused;
            self.job.lock().refused += refused;
            if after > *position {
                self.commit(partition, after).await?;
            }
        }
        {
            let mut status = self.job.lock();
            status.redriven += count;
            status.passed += u64::try_from(after - *position).unwrap_or(0);
        }
        *position = after.max(*position);
        if count > 0 && !redrive.dry_run {
            let pause = Duration::from_secs(count) / redrive.records_per_second.max(1);
            self.next = self.next.max(Instant::now()) + pause;
        }
        Ok(())
    }

    /// Writes records, and tells how many of them Kafka does not take, ever: those stay in the queue, and the others go on.
    async fn write_all(&self, records: Vec<ProduceRecord>) -> Result<u64, DeadLettersError> {
        let mut deliveries = Vec::with_capacity(records.len());
        for record in records {
            deliveries.push((record.clone(), self.producer.enqueue(record).await));
        }
        let mut suspects = Vec::new();
        for (record, delivery) in deliveries {
            match acknowledged(delivery).await {
                Ok(()) => {}
                // Kafka refuses a whole batch for one of its records.
                Err(error) if is_for_good(&error) => suspects.push(record),
                Err(error) => return Err(not_written(&error)),
            }
        }
        let mut refused = 0;
        for record in suspects {
            match acknowledged(self.producer.enqueue(record).await).await {
                Ok(()) => {}
                Err(error) if is_for_good(&error) => {
                    warn!(
                        connector = self.queue.connector,
                        error = crate::chain(&error),
                        "a dead letter is not taken where it came from, it stays in the queue"
                    );
                    refused += 1;
                }
                Err(error) => return Err(not_written(&error)),
            }
        }
        Ok(refused)
    }

    async fn commit(&self, partition: i32, offset: i64) -> Result<(), DeadLettersError> {
        let commit = OffsetToCommit {
            topic: Arc::clone(&self.queue.topic.topic),
            partition,
            offset,
            leader_epoch: None,
            metadata: String::new(),
        };
        let group = self.queue.group();
        answered(self.queue.cluster.client.alter_group_offsets(&group, vec![commit])).await
    }
}

async fn acknowledged(delivery: Result<Delivery, ProduceError>) -> Result<(), ProduceError> {
    delivery?.await.map(drop)
}

/// Whether it is the record that is wrong, and not the topic or the moment.
fn is_for_good(error: &ProduceError) -> bool {
    match error {
        ProduceError::TooLarge { .. } => true,
        ProduceError::Refused { source, .. } => matches!(
            source.code(),
            Some(ResponseError::InvalidTimestamp | ResponseError::InvalidRecord | ResponseError::MessageTooLarge)
        ),
        _ => false,
    }
}

fn not_written(error: &ProduceError) -> DeadLettersError {
    let why = crate::chain(error);
    DeadLettersError::Unavailable(format!(
        "a record was not written to where it came from, so that its step is written again by the next redrive: {why}"
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
