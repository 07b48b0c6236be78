//! The engine's invariants under random load, faults, revocations and settings. Time is paused and all randomness is
//! seeded, so a failing case repeats.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]
#![allow(clippy::cast_sign_loss, reason = "offsets of tests are small and positive")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use klamm_connect_api::delivery::{BatchScope, DeliverySettings, ErrorPolicy, Ordering};
use klamm_connect_api::sink::{ThrottleScope, Verdict};
use klamm_delivery::{
    About, Committable, Delivery, Intake, LimitSettings, PartitionLimits, Progress, PushError, WorkerLimits,
    WorkerMemory,
};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::*;

const PARTITIONS: i32 = 4;
const LARGEST_CHUNK: usize = 40;
const RECORD_BYTES: usize = 40;
const MEMORY: usize = 20_000;
const MAX_ATTEMPTS: u32 = 60;
/// Of [`original`].
const ORIGINAL_BYTES: usize = 19;

#[derive(Debug, Clone)]
enum Step {
    Push { partition: i32, records: usize },
    Wait { ms: u64 },
    Commit,
    Revoke { partition: i32 },
    Lose { partition: i32 },
}

#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    routes: Vec<DeliverySettings>,
    /// Of 100 calls so many are answered with a fault.
    faults: u32,
    /// Longest time that a write of dead letters takes.
    letters_ms: u64,
    steps: Vec<Step>,
    /// A destination in an outage does not hold a shutdown, so one that comes at once may leave records undone.
    waits_for_the_end: bool,
    /// What the destination says is kept before records are done.
    keeps_answers: bool,
}

fn route() -> impl Strategy<Value = DeliverySettings> {
    (
        prop_oneof![Just(Ordering::Partition), Just(Ordering::Key), Just(Ordering::None)],
        prop_oneof![Just(BatchScope::Partition), Just(BatchScope::Route)],
        1..12_usize,
        200..600_usize,
        prop_oneof![Just(0_u64), Just(30)],
        1..6_usize,
        any::<bool>(),
        prop_oneof![Just(ErrorPolicy::Ignore), Just(ErrorPolicy::DeadLetter)],
        prop_oneof![3 => Just(true), 1 => Just(false)],
    )
        .prop_map(
            |(
                ordering,
                batch_scope,
                batch_records,
                batch_bytes,
                linger_ms,
                max_in_flight,
                bisect,
                error_policy,
                is_required,
            )| {
                let mut settings = settings();
                settings.is_required = is_required;
                settings.ordering = ordering;
                settings.batch_scope = batch_scope;
                settings.batch_records = batch_records;
                settings.batch_bytes = batch_bytes;
                settings.linger = Duration::from_millis(linger_ms);
                settings.max_in_flight = max_in_flight;
                settings.call_timeout = Duration::from_secs(2);
                settings.retry.max_attempts = MAX_ATTEMPTS;
                settings.retry.backoff_max = Duration::from_secs(2);
                settings.bisect = bisect;
                settings.error_policy = error_policy;
                settings
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..PARTITIONS, 0..=LARGEST_CHUNK).prop_map(|(partition, records)| Step::Push { partition, records }),
        4 => (1..400_u64).prop_map(|ms| Step::Wait { ms }),
        2 => Just(Step::Commit),
        1 => (0..PARTITIONS).prop_map(|partition| Step::Revoke { partition }),
        1 => (0..PARTITIONS).prop_map(|partition| Step::Lose { partition }),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    (
        any::<u64>(),
        prop::collection::vec(route(), 1..3),
        prop_oneof![Just(0), 1..60_u32],
        prop_oneof![Just(0), 1..100_u64, Just(20_000)],
        prop::collection::vec(step(), 1..60),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(seed, routes, faults, letters_ms, steps, waits_for_the_end, keeps_answers)| Case {
                seed,
                routes,
                faults,
                letters_ms,
                steps,
                waits_for_the_end,
                keeps_answers,
            },
        )
}

/// The content of this record is refused, always.
fn is_poison(partition: i32, offset: i64) -> bool {
    (offset * 31 + i64::from(partition)) % 23 == 0
}

/// Where a record goes: nowhere, to one route, or to all.
fn routes_of(offset: i64, routes: usize) -> Vec<usize> {
    if is_undeliverable(offset) {
        return Vec::new();
    }
    match offset % 7 {
        0 => Vec::new(),
        1 => vec![0],
        _ => (0..routes).collect(),
    }
}

/// Fails before delivery, and goes to the dead letters.
fn is_undeliverable(offset: i64) -> bool {
    offset % 13 == 7
}

/// Compaction holes.
fn exists(offset: i64) -> bool {
    offset % 9 != 4
}

/// What is said of the records that are accepted, all but `failed`.
fn accepting(seen: &Seen, failed: Option<Vec<usize>>, keeps_answers: bool) -> Verdict {
    let failed = failed.map(|failed| (failed, failure("Item")));
    match (keeps_answers, failed) {
        (true, rest) => Verdict::Answered {
            results: seen
                .offsets()
                .into_iter()
                .map(|offset| Some(offset.to_string().into()))
                .collect(),
            rest,
        },
        (false, None) => Verdict::Accepted,
        (false, Some((failed, failure))) => Verdict::PartlyAccepted { failed, failure },
    }
}

/// What the functions of two connectors, and their account, take at once. Beyond it they throttle.
#[derive(Clone)]
struct Shared {
    functions: Vec<Arc<Mutex<Capacity>>>,
    account: Arc<Mutex<Capacity>>,
}

impl Shared {
    fn new(function: usize, account: usize) -> Self {
        Self {
            functions: vec![
                Capacity::new(function, ThrottleScope::Function),
                Capacity::new(function, ThrottleScope::Function),
            ],
            account: Capacity::new(account, ThrottleScope::Account),
        }
    }

    fn take(&self, route: usize, takes: Duration) -> Result<(), Verdict> {
        self.functions[route].lock().unwrap().take(takes)?;
        self.account.lock().unwrap().take(takes)
    }
}

fn faulty(seed: u64, faults: u32, keeps_answers: bool, shared: Option<Shared>) -> impl FnMut(&Seen) -> Reply + Send {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut counted: HashMap<(usize, i32, i64), u32> = HashMap::new();
    move |seen| {
        let delay = Duration::from_millis(rng.random_range(0..80));
        let has_poison = seen
            .records
            .iter()
            .any(|(partition, offset)| is_poison(*partition, *offset));
        if !rng.random_ratio(faults.min(100), 100) {
            if let Some(Err(throttled)) = shared.as_ref().map(|shared| shared.take(seen.route, delay)) {
                return Reply::After(delay, throttled);
            }
            let verdict = if has_poison {
                poison()
            } else {
                accepting(seen, None, keeps_answers)
            };
            return Reply::After(delay, verdict);
        }
        // A good record must never run out of attempts, so that its fate is known.
        let may_count = seen
            .records
            .iter()
            .all(|(partition, offset)| counted.get(&(seen.route, *partition, *offset)).is_none_or(|n| *n < 20));
        let kind = rng.random_range(0..if may_count { 7 } else { 3 });
        if kind >= 3 {
            for (partition, offset) in &seen.records {
                *counted.entry((seen.route, *partition, *offset)).or_default() += 1;
            }
        }
        match kind {
            0 => Reply::After(delay, throttled()),
            1 => Reply::After(delay, unreachable()),
            2 => Reply::After(delay, unusable()),
            3 => Reply::After(delay, failed()),
            4 => Reply::After(delay, reset()),
            5 => Reply::Hang,
            _ if has_poison => Reply::After(delay, failed()),
            _ => {
                let failed = (0..seen.records.len()).filter(|_| rng.random_bool(0.3)).collect();
                Reply::After(delay, accepting(seen, Some(failed), keeps_answers))
            }
        }
    }
}

/// A partition as its consumer group sees it.
struct Reader {
    intake: Option<Intake>,
    position: i64,
    committed: i64,
    /// What was committed with it.
    settled: Progress,
}

struct Simulation {
    world: World,
    case: Case,
    readers: BTreeMap<i32, Reader>,
    epoch: u64,
    /// Records pushed, once per route, and those without a route.
    pushed: u64,
    filtered: u64,
}

impl Simulation {
    fn new(case: Case) -> Self {
        let limits = Arc::new(WorkerLimits::new(LimitSettings::default()));
        Self::on_worker(case, "test", &limits, None)
    }

    fn on_worker(case: Case, connector: &str, worker_limits: &Arc<WorkerLimits>, shared: Option<Shared>) -> Self {
        let sink = FakeSink::new(
            case.routes.clone(),
            faulty(case.seed, case.faults, case.keeps_answers, shared),
        );
        sink.log(|log| log.has_restarts = true);
        let limits = PartitionLimits {
            buffer_records: 60,
            buffer_bytes: 9_000,
            window_records: 150,
        };
        let memory = Arc::new(WorkerMemory::new(MEMORY));
        let world = World::on_worker(&sink, connector, limits, &memory, worker_limits, case.seed);
        let (mut rng, longest) = (StdRng::seed_from_u64(case.seed), case.letters_ms);
        world
            .letters
            .set_script(move |_| LetterReply::After(Duration::from_millis(rng.random_range(0..=longest))));
        Self {
            world,
            case,
            readers: BTreeMap::new(),
            epoch: 0,
            pushed: 0,
            filtered: 0,
        }
    }

    fn assigned(&mut self, partition: i32) -> &mut Reader {
        let reader = self.readers.entry(partition).or_insert(Reader {
            intake: None,
            position: 0,
            committed: 0,
            settled: Progress::default(),
        });
        if reader.intake.is_none() {
            self.epoch += 1;
            reader.position = reader.committed;
            self.world.sink.log(|log| log.restart(partition, &reader.settled));
            let (position, settled) = (reader.position, reader.settled.clone());
            reader.intake = Some(self.world.engine.resume(tp(partition), self.epoch, position, settled));
        }
        reader
    }

    async fn run(mut self) -> Result<(), TestCaseError> {
        for step in self.case.steps.clone() {
            match step {
                Step::Push { partition, records } => self.push(partition, records).await?,
                Step::Wait { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
                Step::Commit => self.commit()?,
                Step::Revoke { partition } => {
                    let timeout = Duration::from_secs(60);
                    let commits = self.world.engine.revoke(vec![tp(partition)], timeout).await;
                    self.note_commits(&commits)?;
                    self.give_back(partition);
                }
                Step::Lose { partition } => {
                    self.world.engine.lost(vec![tp(partition)]).await;
                    self.give_back(partition);
                    // The old calls end before the partition may come back, so that lanes can be watched.
                    tokio::time::sleep(Duration::from_secs(3)).await;
                }
            }
            self.check()?;
        }
        self.finish().await
    }

    fn give_back(&mut self, partition: i32) {
        if let Some(reader) = self.readers.get_mut(&partition) {
            reader.intake = None;
            self.world.sink.log(|log| log.away.insert(partition));
        }
    }

    async fn push(&mut self, partition: i32, records: usize) -> Result<(), TestCaseError> {
        let routes = self.case.routes.len();
        let reader = self.assigned(partition);
        let mut chunk: Vec<Delivery> = Vec::new();
        let mut position = reader.position;
        while chunk.len() < records {
            if exists(position) {
                let size = usize::try_from(position).unwrap() * 7 % RECORD_BYTES;
                chunk.push(if is_undeliverable(position) {
                    undeliverable(partition, position)
                } else {
                    with_original(sized(partition, position, &routes_of(position, routes), size))
                });
            }
            position += 1;
        }
        let sent = chunk
            .iter()
            .map(|delivery| delivery.routes.len() + usize::from(delivery.dead_letter.is_some()))
            .sum::<usize>();
        let filtered = chunk
            .iter()
            .filter(|delivery| delivery.routes.is_empty() && delivery.dead_letter.is_none())
            .count();
        reader.position = position;
        let intake = reader.intake.as_mut().unwrap();
        match tokio::time::timeout(Duration::from_secs(3600), intake.push(chunk, position)).await {
            Ok(Ok(())) => {}
            Ok(Err(PushError::Rewound { position })) => {
                reader.position = position;
                return Ok(());
            }
            stuck => prop_assert!(false, "{stuck:?}, never got in: {:#?}", self.world.engine.status()),
        }
        self.pushed += sent as u64;
        self.filtered += filtered as u64;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), TestCaseError> {
        let commits = self.world.engine.committable();
        self.note_commits(&commits)?;
        self.world.engine.committed(&commits);
        Ok(())
    }

    /// An offset is never committable before every record up to it is done on every route, and none counts as settled
    /// beyond it that is not.
    fn note_commits(&mut self, commits: &[Committable]) -> Result<(), TestCaseError> {
        let routes = self.case.routes.len();
        for commit in commits {
            let partition = commit.topic_partition.partition();
            let reader = &self.readers[&partition];
            prop_assert!(
                commit.offset >= reader.committed,
                "{commit:?} goes back behind {}",
                reader.committed
            );
            prop_assert!(
                commit.offset <= reader.position,
                "{commit:?} is ahead of {}",
                reader.position
            );
            for offset in (reader.committed..commit.offset).filter(|offset| exists(*offset)) {
                let ways = routes_of(offset, routes).into_iter().map(Some);
                for route in ways.chain(is_undeliverable(offset).then_some(None)) {
                    prop_assert!(
                        self.is_done(route, partition, offset),
                        "{commit:?}, but {partition}@{offset} is not done on route {route:?}"
                    );
                }
            }
            for of in &commit.progress.routes {
                let route = of.route.map(|route| route.0);
                for offset in of.done.iter().cloned().flatten().filter(|offset| exists(*offset)) {
                    prop_assert!(offset >= commit.offset, "{commit:?} goes back to {offset}");
                    let is_for_it = match route {
                        Some(route) => routes_of(offset, routes).contains(&route),
                        None => is_undeliverable(offset),
                    };
                    prop_assert!(
                        !is_for_it || self.is_done(route, partition, offset),
                        "{commit:?}, but {partition}@{offset} is not settled on route {route:?}"
                    );
                }
            }
            if let Some(reader) = self.readers.get_mut(&partition) {
                reader.committed = commit.offset;
                reader.settled = commit.progress.clone();
            }
        }
        Ok(())
    }

    /// Accepted, or given up in the way that the route's policy wants.
    fn is_done(&self, route: Option<usize>, partition: i32, offset: i64) -> bool {
        let is_kept = |about: &dyn Fn(&About) -> bool| {
            let kept = self.world.letters.kept();
            kept.iter().any(|letter| {
                letter.origin.topic_partition == tp(partition) && letter.origin.offset == offset && about(&letter.about)
            })
        };
        let Some(route) = route else {
            return is_kept(&|about| matches!(about, About::Failed));
        };
        let alias = format!("route-{route}");
        let is_answered = || is_kept(&|about| matches!(about, About::Answered { route, .. } if **route == *alias));
        let is_given_up = || is_kept(&|about| about.given_up().is_some_and(|given_up| *given_up.route == *alias));
        let accepted = |log: &mut Log| log.accepted.contains_key(&(route, partition, offset));
        let is_accepted = self.world.sink.log(accepted) && (!self.case.keeps_answers || is_answered());
        let settings = &self.case.routes[route];
        let ignores = settings.error_policy == ErrorPolicy::Ignore;
        // A route that is not required gives up whatever its destination does not take.
        let may_give_up = is_poison(partition, offset) || !settings.is_required;
        is_accepted || may_give_up && (ignores || is_given_up())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let violations = self.world.sink.log(|log| log.violations.clone());
        prop_assert!(violations.is_empty(), "{violations:#?}");
        // The bound, and one chunk for each partition that holds nothing else.
        let chunk = LARGEST_CHUNK * self.case.routes.len() * (128 + RECORD_BYTES + ORIGINAL_BYTES);
        let most = MEMORY + chunk * usize::try_from(PARTITIONS).unwrap();
        let used = self.world.memory.used_bytes();
        prop_assert!(used <= most, "{used} bytes are held, at most {most} may be");
        for route in self.world.engine.status().routes {
            for limit in [&route.function_limit, &route.account_limit] {
                prop_assert!((1..=limit.max).contains(&limit.limit), "{limit:?}");
            }
        }
        for partition in self.world.engine.status().partitions {
            prop_assert!(partition.buffered_records <= 60.max(LARGEST_CHUNK), "{partition:?}");
            prop_assert!(partition.buffered_bytes <= 9_000.max(chunk), "{partition:?}");
        }
        Ok(())
    }

    /// Readers that have nothing to push learn that they have to go back.
    fn go_back(&mut self) {
        for reader in self.readers.values_mut() {
            let rewound = reader
                .intake
                .as_mut()
                .and_then(|intake| intake.rewound().now_or_never());
            reader.position = rewound.unwrap_or(reader.position);
        }
    }

    /// Waits until everything assigned is done.
    async fn all_done(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..100_000 {
            self.go_back();
            let status = self.world.engine.status();
            let is_done = |(partition, reader): (&i32, &Reader)| {
                let mut found = status.partitions.iter();
                reader.intake.is_none()
                    || found
                        .any(|status| status.topic_partition == tp(*partition) && status.committable == reader.position)
            };
            if self.readers.iter().all(is_done) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err(TestCaseError::fail(format!(
            "never done: {:#?}",
            self.world.engine.status()
        )))
    }

    /// Everything assigned is delivered in the end, and every record pushed is accounted for exactly once.
    async fn finish(mut self) -> Result<(), TestCaseError> {
        if self.case.waits_for_the_end {
            self.all_done().await?;
        }
        self.go_back();
        let commits = self.world.engine.shutdown(Duration::from_secs(100_000)).await;
        self.note_commits(&commits)?;
        self.check()?;
        for (partition, reader) in &self.readers {
            if self.case.waits_for_the_end && reader.intake.is_some() {
                let committed = (reader.committed, reader.position);
                prop_assert_eq!(committed.0, committed.1, "partition {} was not finished", partition);
            }
        }
        prop_assert!(
            self.world.actors.join_next().await.unwrap().is_ok(),
            "the actor panicked"
        );
        self.readers.clear();
        prop_assert_eq!(self.world.memory.used_bytes(), 0);
        let status = self.world.engine.status();
        let settled: u64 = status
            .routes
            .iter()
            .map(|r| r.delivered_records + r.skipped_records + r.dead_lettered_records)
            .sum();
        let settled = settled + status.dead_lettered_records;
        let resumed = status.resumed_records;
        prop_assert_eq!(
            settled + resumed + status.dropped_records + status.rewound_records + status.late_records,
            self.pushed
        );
        prop_assert_eq!(status.filtered_records, self.filtered);
        prop_assert_eq!(status.failed_records, 0);
        let delivered: u64 = status.routes.iter().map(|route| route.delivered_records).sum();
        let accepted: usize = self.world.sink.log(|log| log.accepted.values().sum());
        prop_assert!(delivered <= accepted as u64);
        // An answer that is not kept gives its record back.
        if status.late_records == 0 && !self.case.keeps_answers {
            prop_assert_eq!(delivered, accepted as u64);
        }
        // Only records that nobody takes are dead letters, each counted once it was acknowledged.
        let kept = self.world.letters.kept();
        for letter in &kept {
            let (partition, offset) = (letter.origin.topic_partition.partition(), letter.origin.offset);
            let is_right = match &letter.about {
                About::GivenUp(given_up) | About::Skipped(given_up) => {
                    let route = given_up.route.strip_prefix("route-").unwrap().parse::<usize>().unwrap();
                    is_poison(partition, offset) || !self.case.routes[route].is_required
                }
                About::Failed => is_undeliverable(offset),
                About::Answered { result, .. } => !is_poison(partition, offset) && *result == offset.to_string(),
            };
            prop_assert!(is_right, "{letter:?} could have been delivered");
        }
        let letters = status
            .routes
            .iter()
            .map(|route| route.dead_lettered_records)
            .sum::<u64>();
        prop_assert!(letters + status.dead_lettered_records <= kept.len() as u64);
        prop_assert!(
            status
                .routes
                .iter()
                .all(|route| route.letters_waiting == 0 || !self.case.waits_for_the_end)
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_whatever_happens(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async { Simulation::new(case).run().await })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn they_hold_for_connectors_that_share_functions_and_an_account(
        cases in (case(), case()),
        function in 1..6_usize,
        account in 1..8_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let limits = Arc::new(WorkerLimits::new(LimitSettings::default()));
            let shared = Shared::new(function, account);
            let a = Simulation::on_worker(cases.0, "a", &limits, Some(shared.clone()));
            let b = Simulation::on_worker(cases.1, "b", &limits, Some(shared));
            tokio::try_join!(a.run(), b.run())?;
            // What was abandoned ends at the next chance.
            tokio::time::sleep(Duration::from_secs(60)).await;
            prop_assert_eq!(limits.in_use(), (0, 0));
            Ok(())
        })?;
    }
}
