//! A sink and dead letters that answer from a script, record everything, and notice when the engine breaks a promise.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering as Atomic};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use klamm_connect_api::delivery::{BatchScope, DeliverySettings, ErrorPolicy, Ordering, RetrySettings};
use klamm_connect_api::sink::{
    Attachment, Call, EncodeError, Encoded, Failure, LimitKey, LimitKeys, Outcome, PayloadBuilder, Route, RouteError,
    RouteIndex, Sink, ThrottleScope, Verdict,
};
use klamm_connect_api::{BoxFuture, Origin, Record, TopicPartition};
use klamm_delivery::{
    About, Committable, Delivery, Engine, EngineConfig, EngineEvent, LETTERS_AT_ONCE, Letter, LetterRefused, Letters,
    LimitSettings, PartitionLimits, Progress, WorkerLimits, WorkerMemory,
};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What the destination does with one call.
#[derive(Debug, Clone)]
pub enum Reply {
    After(Duration, Verdict),
    Panic,
    /// Never answers.
    Hang,
}

pub fn now(verdict: Verdict) -> Reply {
    Reply::After(Duration::ZERO, verdict)
}

pub fn failure(class: &str) -> Failure {
    Failure {
        class: class.into(),
        message: "scripted".into(),
        request_id: None,
        answered: None,
    }
}

pub fn failed() -> Verdict {
    Verdict::Failed {
        failure: failure("FunctionError"),
    }
}

pub fn throttled() -> Verdict {
    throttled_by(ThrottleScope::Function, None)
}

pub fn throttled_by(by: ThrottleScope, after: Option<Duration>) -> Verdict {
    Verdict::Throttled {
        by,
        after,
        failure: failure("TooManyRequests"),
        lasting: Some("switched off"),
    }
}

pub fn unreachable() -> Verdict {
    Verdict::Retry {
        after: None,
        outcome: Outcome::NotRun,
        failure: failure("Connect"),
    }
}

pub fn reset() -> Verdict {
    Verdict::Retry {
        after: None,
        outcome: Outcome::MayHaveRun,
        failure: failure("Reset"),
    }
}

pub fn poison() -> Verdict {
    Verdict::Poison {
        failure: failure("Poison"),
    }
}

pub fn unusable() -> Verdict {
    Verdict::Unusable {
        failure: failure("ResourceNotFound"),
    }
}

/// A call as the destination saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub route: usize,
    pub at_ms: u64,
    pub partition: i32,
    /// Offsets, with their partition.
    pub records: Vec<(i32, i64)>,
    /// Size of the body.
    pub bytes: usize,
}

impl Seen {
    pub fn offsets(&self) -> Vec<i64> {
        self.records.iter().map(|(_, offset)| *offset).collect()
    }
}

type Script = Box<dyn FnMut(&Seen) -> Reply + Send>;
type StoreScript = Box<dyn FnMut(&[Arc<Attachment>]) -> (Duration, Result<(), Verdict>) + Send>;

#[derive(Default)]
pub struct Log {
    pub calls: Vec<Seen>,
    replies: Vec<(Seen, String)>,
    /// Lanes with a call in flight, by route.
    in_flight: HashSet<(usize, Lane)>,
    pub calls_in_flight: BTreeMap<usize, usize>,
    /// What was accepted, and how often.
    pub accepted: BTreeMap<(usize, i32, i64), usize>,
    /// Records of calls that were dropped without an answer.
    pub unknown: BTreeSet<(usize, i32, i64)>,
    last_accepted: BTreeMap<(usize, Lane), i64>,
    /// Attachments that were stored, by route.
    pub stored: BTreeSet<(usize, String)>,
    pub violations: Vec<String>,
    /// A partial success lets later records pass earlier ones, and after a reassignment old offsets come again.
    pub has_restarts: bool,
    /// Partitions that were given away: no call for them may start.
    pub away: BTreeSet<i32>,
    /// Largest offset sent, by lane. Within an assignment, records of a lane are first sent in offset order.
    first_sent: BTreeMap<(usize, Lane), i64>,
    sent: BTreeSet<(usize, i32, i64)>,
    /// What was committed as settled when the partition was assigned: not to be sent again.
    settled: BTreeMap<(usize, i32), Vec<Range<i64>>>,
}

impl Log {
    /// A new assignment of the partition: offsets may come again.
    pub fn restart(&mut self, partition: i32, settled: &Progress) {
        self.away.remove(&partition);
        self.settled.retain(|(_, other), _| *other != partition);
        for of in &settled.routes {
            if let Some(route) = of.route {
                self.settled.insert((route.0, partition), of.done.clone());
            }
        }
        self.first_sent.retain(|(_, lane), _| lane.0 != partition);
        self.sent.retain(|(_, other, _)| *other != partition);
        self.last_accepted.retain(|(_, lane), _| lane.0 != partition);
    }
}

type Lane = (i32, Option<u64>, Option<i64>);

pub struct FakeSink {
    routes: Vec<Route>,
    script: Mutex<Script>,
    store: Mutex<StoreScript>,
    log: Mutex<Log>,
    started: Instant,
    changed: Notify,
    key_of: fn(i64) -> Option<u64>,
}

impl fmt::Debug for FakeSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeSink")
    }
}

pub fn key_of(offset: i64) -> Option<u64> {
    (offset % 4 != 3).then(|| (offset as u64).wrapping_mul(7) % 5)
}

/// What records and routes of a [`FakeSink`] look like.
#[derive(Clone, Copy)]
pub struct Shape {
    /// A record's key, by offset.
    pub key_of: fn(i64) -> Option<u64>,
    /// A route's function, by index.
    pub function_of: fn(usize) -> usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            key_of,
            function_of: |route| route,
        }
    }
}

/// Something that takes so many calls at once, and throttles the others.
pub struct Capacity {
    pub calls: usize,
    pub by: ThrottleScope,
    ends: Vec<Instant>,
    /// Most calls at once that it was asked for since this was last reset.
    pub most: usize,
    pub throttled: usize,
}

impl Capacity {
    pub fn new(calls: usize, by: ThrottleScope) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            calls,
            by,
            ends: Vec::new(),
            most: 0,
            throttled: 0,
        }))
    }

    /// Whether it takes one more call, which is then out for so long.
    pub fn take(&mut self, takes: Duration) -> Result<(), Verdict> {
        let now = Instant::now();
        self.ends.retain(|end| *end > now);
        self.most = self.most.max(self.ends.len() + 1);
        if self.ends.len() >= self.calls {
            self.throttled += 1;
            return Err(throttled_by(self.by, None));
        }
        self.ends.push(now + takes);
        Ok(())
    }
}

/// A function that takes its time, within a capacity.
pub fn limited(capacity: &Arc<Mutex<Capacity>>, takes: Duration) -> impl FnMut(&Seen) -> Reply + Send + use<> {
    let capacity = Arc::clone(capacity);
    move |_| match capacity.lock().unwrap().take(takes) {
        Ok(()) => Reply::After(takes, Verdict::Accepted),
        Err(throttled) => Reply::After(Duration::from_millis(2), throttled),
    }
}

impl FakeSink {
    pub fn new(settings: Vec<DeliverySettings>, script: impl FnMut(&Seen) -> Reply + Send + 'static) -> Arc<Self> {
        Self::shaped(settings, Shape::default(), script)
    }

    pub fn shaped(
        settings: Vec<DeliverySettings>,
        shape: Shape,
        script: impl FnMut(&Seen) -> Reply + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            routes: settings
                .into_iter()
                .enumerate()
                .map(|(index, delivery)| Route {
                    name: format!("route-{index}").into(),
                    destination: format!("function-{index}").into(),
                    resource: format!("function-{index}").into(),
                    delivery,
                    limits: LimitKeys {
                        function: LimitKey::new(format!("function-{}", (shape.function_of)(index))),
                        account: LimitKey::new("account"),
                    },
                })
                .collect(),
            script: Mutex::new(Box::new(script)),
            store: Mutex::new(Box::new(|_| (Duration::ZERO, Ok(())))),
            log: Mutex::default(),
            started: Instant::now(),
            changed: Notify::new(),
            key_of: shape.key_of,
        })
    }

    pub fn set_script(&self, script: impl FnMut(&Seen) -> Reply + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub fn set_store(
        &self,
        script: impl FnMut(&[Arc<Attachment>]) -> (Duration, Result<(), Verdict>) + Send + 'static,
    ) {
        *self.store.lock().unwrap() = Box::new(script);
    }

    pub fn log<T>(&self, look: impl FnOnce(&mut Log) -> T) -> T {
        look(&mut self.log.lock().unwrap())
    }

    pub fn calls(&self) -> Vec<Seen> {
        self.log(|log| log.calls.clone())
    }

    /// The calls that held a record, with their answers.
    pub fn calls_of(&self, route: usize, partition: i32, offset: i64) -> Vec<(Seen, String)> {
        self.log(|log| {
            let is_of = |seen: &Seen| seen.route == route && seen.records.contains(&(partition, offset));
            log.replies.iter().filter(|(seen, _)| is_of(seen)).cloned().collect()
        })
    }

    /// Waits until the log is as wanted.
    pub async fn until(&self, what: &str, mut wanted: impl FnMut(&Log) -> bool) {
        let wait = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if self.log(|log| wanted(log)) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(7200), wait).await.is_err() {
            panic!("never came: {what}; calls: {:#?}", self.calls());
        }
    }

    fn lane(&self, route: usize, origin: &Origin) -> Lane {
        let partition = origin.topic_partition.partition();
        match self.routes[route].delivery.ordering {
            Ordering::Partition => (partition, None, None),
            Ordering::Key => match (self.key_of)(origin.offset) {
                Some(key) => (partition, Some(key), None),
                None => (partition, None, Some(origin.offset)),
            },
            Ordering::None => (partition, None, Some(origin.offset)),
        }
    }
}

/// Ends a call in the log whether it is answered or dropped.
struct InFlight<'a> {
    sink: &'a FakeSink,
    call: Call,
    is_answered: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let route = self.call.route.0;
        self.sink.log(|log| {
            for origin in self.call.origins.iter() {
                log.in_flight.remove(&(route, self.sink.lane(route, origin)));
                if !self.is_answered {
                    log.unknown
                        .insert((route, origin.topic_partition.partition(), origin.offset));
                }
            }
            *log.calls_in_flight.entry(route).or_default() -= 1;
        });
        self.sink.changed.notify_waiters();
    }
}

impl Sink for FakeSink {
    fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn route(&self, _: &mut Record, _: &mut Vec<RouteIndex>) -> Result<(), RouteError> {
        Ok(())
    }

    fn encode(&self, _: RouteIndex, _: &Record) -> Result<Encoded, EncodeError> {
        Ok(Encoded::from(Vec::new()))
    }

    fn payload_builder(&self, _: RouteIndex) -> Box<dyn PayloadBuilder> {
        Box::new(Joined(Vec::new()))
    }

    fn store<'a>(
        &'a self,
        route: RouteIndex,
        attachments: &'a [Arc<Attachment>],
    ) -> BoxFuture<'a, Result<(), Verdict>> {
        Box::pin(async move {
            let (takes, outcome) = (self.store.lock().unwrap())(attachments);
            tokio::time::sleep(takes).await;
            if outcome.is_ok() {
                let names = attachments.iter().map(|attachment| (route.0, attachment.name.clone()));
                self.log(|log| log.stored.extend(names));
            }
            outcome
        })
    }

    fn send(&self, call: Call) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            let route = call.route.0;
            let settings = &self.routes[route].delivery;
            let seen = Seen {
                route,
                at_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap(),
                partition: call.origins[0].topic_partition.partition(),
                records: call
                    .origins
                    .iter()
                    .map(|o| (o.topic_partition.partition(), o.offset))
                    .collect(),
                bytes: call.body.len(),
            };
            self.log(|log| {
                let mut wrong = Vec::new();
                if call.body.len() > settings.batch_bytes {
                    wrong.push(format!("body of {} bytes", call.body.len()));
                }
                if call.origins.len() > settings.batch_records {
                    wrong.push(format!("{} records in a call", call.origins.len()));
                }
                let lanes: BTreeSet<_> = call.origins.iter().map(|origin| self.lane(route, origin)).collect();
                for lane in lanes {
                    if !log.in_flight.insert((route, lane)) {
                        wrong.push(format!("lane {lane:?} has two calls in flight"));
                    }
                }
                let mut last = BTreeMap::new();
                for origin in call.origins.iter() {
                    if last
                        .insert(self.lane(route, origin), origin.offset)
                        .is_some_and(|before| before >= origin.offset)
                    {
                        wrong.push(format!("{origin} is out of order in its call"));
                    }
                }
                for origin in call.origins.iter() {
                    let lane = (route, self.lane(route, origin));
                    let before = log.first_sent.entry(lane).or_insert(i64::MIN);
                    if origin.offset > *before {
                        *before = origin.offset;
                    } else if !log
                        .sent
                        .contains(&(route, origin.topic_partition.partition(), origin.offset))
                    {
                        wrong.push(format!("{origin} is first sent after {before} of its lane"));
                    }
                    log.sent
                        .insert((route, origin.topic_partition.partition(), origin.offset));
                    let settled = log.settled.get(&(route, origin.topic_partition.partition()));
                    if settled.is_some_and(|done| done.iter().any(|range| range.contains(&origin.offset))) {
                        wrong.push(format!("{origin} is sent again, though it was committed as settled"));
                    }
                    if log.away.contains(&origin.topic_partition.partition()) {
                        wrong.push(format!("{origin} is sent after its partition was given back"));
                    }
                }
                let partitions: BTreeSet<_> = seen.records.iter().map(|(partition, _)| partition).collect();
                if settings.batch_scope == BatchScope::Partition && partitions.len() > 1 {
                    wrong.push("a call mixes partitions".to_owned());
                }
                let in_flight = log.calls_in_flight.entry(route).or_default();
                *in_flight += 1;
                if *in_flight > settings.max_in_flight {
                    wrong.push(format!("{in_flight} calls in flight"));
                }
                log.violations
                    .extend(wrong.into_iter().map(|what| format!("{what}: {seen:?}")));
                log.calls.push(seen.clone());
            });
            self.changed.notify_waiters();
            let mut guard = InFlight {
                sink: self,
                call,
                is_answered: false,
            };
            let reply = (self.script.lock().unwrap())(&seen);
            self.log(|log| log.replies.push((seen.clone(), format!("{reply:?}"))));
            let verdict = match reply {
                Reply::After(delay, verdict) => {
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    verdict
                }
                Reply::Panic => panic!("scripted panic"),
                Reply::Hang => std::future::pending().await,
            };
            let refused: &[usize] = match &verdict {
                Verdict::Accepted => &[],
                Verdict::PartlyAccepted { failed, .. } => failed,
                Verdict::Answered { rest, .. } => rest.as_ref().map_or(&[], |(failed, _)| failed),
                Verdict::Retry { .. }
                | Verdict::Failed { .. }
                | Verdict::Throttled { .. }
                | Verdict::Poison { .. }
                | Verdict::Unusable { .. } => {
                    guard.is_answered = true;
                    return verdict;
                }
            };
            guard.is_answered = true;
            self.log(|log| {
                for (index, origin) in guard.call.origins.iter().enumerate() {
                    if refused.contains(&index) {
                        continue;
                    }
                    let partition = origin.topic_partition.partition();
                    *log.accepted.entry((route, partition, origin.offset)).or_default() += 1;
                    // Accepted before it: only records of the lane with smaller offsets. A partial success lets later
                    // records of the call pass the named ones.
                    let lane = (route, self.lane(route, origin));
                    let before = log.last_accepted.insert(lane, origin.offset);
                    if before.is_some_and(|before| before > origin.offset) && !log.has_restarts {
                        log.violations
                            .push(format!("{origin} was accepted after {before:?} of its lane"));
                    }
                }
            });
            drop(guard);
            verdict
        })
    }

    fn unrouted_policy(&self) -> ErrorPolicy {
        ErrorPolicy::Fail
    }
}

/// Panics when it is asked for the cost of this record.
pub const PANIC_ON_COST: &[u8] = b"panic on cost";

struct Joined(Vec<u8>);

impl PayloadBuilder for Joined {
    fn cost(&self, _: &Origin, record: &Encoded) -> usize {
        assert!(record.bytes != PANIC_ON_COST, "scripted panic in the builder");
        record.bytes.len() + 1
    }

    fn push(&mut self, _: &Origin, record: &Encoded) {
        self.0.extend_from_slice(&record.bytes);
        self.0.push(b',');
    }

    fn finish(&mut self) -> Bytes {
        let mut body = vec![b'['];
        body.append(&mut self.0);
        body.push(b']');
        Bytes::from(body)
    }

    fn overhead(&self) -> usize {
        2
    }
}

pub fn settings() -> DeliverySettings {
    DeliverySettings {
        ordering: Ordering::Partition,
        batch_records: 100,
        batch_bytes: 1 << 20,
        batch_scope: BatchScope::Partition,
        linger: Duration::ZERO,
        max_in_flight: 8,
        call_timeout: Duration::from_secs(50),
        retry: RetrySettings {
            max_attempts: 5,
            timeout: None,
            backoff: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
        },
        record_max_age: None,
        bisect: true,
        error_policy: ErrorPolicy::Log,
        is_required: true,
    }
}

pub fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

pub fn sized(partition: i32, offset: i64, routes: &[usize], bytes: usize) -> Delivery {
    Delivery {
        origin: Origin {
            topic_partition: tp(partition),
            offset,
        },
        timestamp: Some(offset),
        key_hash: key_of(offset),
        original: None,
        dead_letter: None,
        routes: routes
            .iter()
            .map(|route| (RouteIndex(*route), Encoded::from(vec![b'x'; bytes])))
            .collect(),
    }
}

pub fn record(partition: i32, offset: i64) -> Delivery {
    sized(partition, offset, &[0], 10)
}

pub fn records(partition: i32, offsets: std::ops::Range<i64>) -> Vec<Delivery> {
    offsets.map(|offset| record(partition, offset)).collect()
}

/// The same with something to be stored before it is sent, so many bytes long.
pub fn attached(mut delivery: Delivery, bytes: usize) -> Delivery {
    let offset = delivery.origin.offset;
    for (_, encoded) in &mut delivery.routes {
        encoded.attachment = Some(Arc::new(Attachment {
            name: offset.to_string(),
            content_type: "text/plain",
            content: vec![b'x'; bytes].into(),
        }));
    }
    delivery
}

/// The same with an original, as routes that dead-letter need it.
pub fn with_original(mut delivery: Delivery) -> Delivery {
    delivery.original = Some(original(delivery.origin.offset));
    delivery
}

/// A record that failed before delivery.
pub fn undeliverable(partition: i32, offset: i64) -> Delivery {
    let mut delivery = sized(partition, offset, &[], 0);
    delivery.dead_letter = Some(original(offset));
    delivery
}

pub fn original(offset: i64) -> Bytes {
    Bytes::from(format!("original {offset:>10}"))
}

/// What the queue does with one write.
#[derive(Debug, Clone)]
pub enum LetterReply {
    After(Duration),
    Refuse(usize),
    Panic,
}

type LetterScript = Box<dyn FnMut(&[Letter]) -> LetterReply + Send>;

/// A keeper of letters that answers from a script.
pub struct FakeLetters {
    sink: Arc<FakeSink>,
    script: Mutex<LetterScript>,
    /// What was acknowledged, in order.
    kept: Mutex<Vec<Letter>>,
    /// Partitions with a write that is out.
    writing: Mutex<BTreeSet<i32>>,
}

impl fmt::Debug for FakeLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeLetters")
    }
}

impl FakeLetters {
    pub fn set_script(&self, script: impl FnMut(&[Letter]) -> LetterReply + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub fn kept(&self) -> Vec<Letter> {
        self.kept.lock().unwrap().clone()
    }

    pub fn kept_offsets(&self, partition: i32) -> Vec<i64> {
        let is_of = |letter: &&Letter| letter.origin.topic_partition.partition() == partition;
        self.kept()
            .iter()
            .filter(is_of)
            .map(|letter| letter.origin.offset)
            .collect()
    }

    /// Lanes that the letters hold, by route.
    fn lanes(&self, letters: &[Letter]) -> BTreeSet<(usize, Lane)> {
        let lane = |letter: &Letter| {
            let route = match &letter.about {
                // The records that a partial success leaves may be sent again meanwhile.
                About::Failed | About::Answered { .. } => return None,
                About::GivenUp(given_up) | About::Skipped(given_up) => &given_up.route,
            };
            let route = route.strip_prefix("route-")?.parse().ok()?;
            Some((route, self.sink.lane(route, &letter.origin)))
        };
        letters.iter().filter_map(lane).collect()
    }
}

/// A write that is out holds its lanes until it ends, however it ends.
struct Held<'a> {
    letters: &'a FakeLetters,
    partition: i32,
    lanes: BTreeSet<(usize, Lane)>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.letters.writing.lock().unwrap().remove(&self.partition);
        self.letters.sink.log(|log| {
            for lane in &self.lanes {
                log.in_flight.remove(lane);
            }
        });
    }
}

impl Letters for FakeLetters {
    fn write(&self, letters: Vec<Letter>) -> BoxFuture<'_, Result<(), LetterRefused>> {
        Box::pin(async move {
            let partition = letters[0].origin.topic_partition.partition();
            let lanes = self.lanes(&letters);
            self.sink.log(|log| {
                let mut wrong = Vec::new();
                if letters.len() > LETTERS_AT_ONCE {
                    wrong.push(format!("{} letters at once", letters.len()));
                }
                if !self.writing.lock().unwrap().insert(partition) {
                    wrong.push(format!("two writes of partition {partition}"));
                }
                if log.away.contains(&partition) {
                    wrong.push(format!("a letter of partition {partition} after it was given back"));
                }
                for lane in &lanes {
                    if !log.in_flight.insert(*lane) {
                        wrong.push(format!("a letter of lane {lane:?} while a call holds it"));
                    }
                }
                for letter in &letters {
                    let of = &letter.origin;
                    if of.topic_partition.partition() != partition {
                        wrong.push(format!("{of} in a write of partition {partition}"));
                    }
                    if letter.record != original(of.offset) {
                        wrong.push(format!("{of} has another record's original"));
                    }
                }
                log.violations.extend(wrong);
            });
            let held = Held {
                letters: self,
                partition,
                lanes,
            };
            let reply = (self.script.lock().unwrap())(&letters);
            match reply {
                LetterReply::After(delay) => {
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                }
                LetterReply::Refuse(index) => {
                    return Err(LetterRefused {
                        index,
                        message: "scripted refusal".to_owned(),
                    });
                }
                LetterReply::Panic => panic!("scripted panic"),
            }
            self.kept.lock().unwrap().extend(letters);
            drop(held);
            Ok(())
        })
    }
}

/// An engine with its surroundings.
pub struct World {
    pub limits: Arc<WorkerLimits>,
    pub letters: Arc<FakeLetters>,
    pub engine: Engine,
    pub events: mpsc::Receiver<EngineEvent>,
    pub sink: Arc<FakeSink>,
    pub memory: Arc<WorkerMemory>,
    pub actors: JoinSet<()>,
    pub clock: Arc<AtomicI64>,
}

impl World {
    pub fn new(sink: &Arc<FakeSink>) -> Self {
        Self::with(sink, PartitionLimits::default(), 64 << 20, 1)
    }

    pub fn with(sink: &Arc<FakeSink>, limits: PartitionLimits, memory_bytes: usize, seed: u64) -> Self {
        Self::start(sink, limits, memory_bytes, seed, false)
    }

    /// Records that are skipped are reported.
    pub fn reporting(sink: &Arc<FakeSink>) -> Self {
        Self::start(sink, PartitionLimits::default(), 64 << 20, 1, true)
    }

    fn start(
        sink: &Arc<FakeSink>,
        limits: PartitionLimits,
        memory_bytes: usize,
        seed: u64,
        reports_skipped: bool,
    ) -> Self {
        let memory = Arc::new(WorkerMemory::new(memory_bytes));
        let worker_limits = Arc::new(WorkerLimits::new(LimitSettings::default()));
        Self::build(sink, "test", limits, &memory, &worker_limits, seed, reports_skipped)
    }

    /// One of several connectors of a worker.
    pub fn on_worker(
        sink: &Arc<FakeSink>,
        connector: &str,
        limits: PartitionLimits,
        memory: &Arc<WorkerMemory>,
        worker_limits: &Arc<WorkerLimits>,
        seed: u64,
    ) -> Self {
        Self::build(sink, connector, limits, memory, worker_limits, seed, false)
    }

    fn build(
        sink: &Arc<FakeSink>,
        connector: &str,
        limits: PartitionLimits,
        memory: &Arc<WorkerMemory>,
        worker_limits: &Arc<WorkerLimits>,
        seed: u64,
        reports_skipped: bool,
    ) -> Self {
        let memory = Arc::clone(memory);
        let clock = Arc::new(AtomicI64::new(0));
        let time = Arc::clone(&clock);
        let letters = Arc::new(FakeLetters {
            sink: Arc::clone(sink),
            script: Mutex::new(Box::new(|_| LetterReply::After(Duration::ZERO))),
            kept: Mutex::default(),
            writing: Mutex::default(),
        });
        let config = EngineConfig {
            connector: connector.into(),
            task: 0,
            limits,
            worker_limits: Arc::clone(worker_limits),
            seed,
            wall_clock: Arc::new(move || time.load(Atomic::Relaxed)),
            letters: Some(Arc::<FakeLetters>::clone(&letters)),
            reports_skipped,
        };
        let mut actors = JoinSet::new();
        let (engine, events) = Engine::start(
            config,
            Arc::<FakeSink>::clone(sink),
            Arc::<WorkerMemory>::clone(&memory),
            &mut actors,
        );
        Self {
            limits: Arc::clone(worker_limits),
            letters,
            engine,
            events,
            sink: Arc::clone(sink),
            memory,
            actors,
            clock,
        }
    }

    /// Waits until everything up to the offset is done.
    pub async fn committable(&self, partition: i32, offset: i64) {
        for _ in 0..1_000_000 {
            let status = self.engine.status();
            let found = status
                .partitions
                .iter()
                .find(|status| status.topic_partition == tp(partition));
            if found.is_some_and(|status| status.committable == offset) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{offset} never became committable: {:#?}", self.engine.status());
    }

    pub fn offset_of(&self, partition: i32) -> Option<i64> {
        offset_in(&self.engine.committable(), partition)
    }

    pub fn assert_no_violations(&self) {
        let violations = self.sink.log(|log| log.violations.clone());
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

pub fn offset_in(committable: &[Committable], partition: i32) -> Option<i64> {
    committable
        .iter()
        .find(|committable| committable.topic_partition == tp(partition))
        .map(|committable| committable.offset)
}
