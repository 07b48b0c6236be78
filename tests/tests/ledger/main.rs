//! Every record is accounted for, whatever breaks: functions that fail in every way, workers that are killed, brokers that
//! restart, members that come and go, a dead letter queue that takes nothing for a while.
//!
//! The short form runs with all tests; `make soak` goes on for `KLAMM_SOAK_SECONDS`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    reason = "test code, which tells how it went"
)]

mod account;
mod load;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use klamm_dev::{Answer, FakeLambda, Recording};
use klamm_tests::clients::python;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};

use account::{Account, Position, fault, records};
use load::LoadTask;

pub const TOPIC: &str = "ledger";
pub const PARTITIONS: i32 = 6;
const LETTERS: &str = "ledger-letters";
const FUNCTION: &str = "ledger-fn";
const GROUP: &str = "connect-ledger";
/// The function's caller waits this long.
const CALL_TIMEOUT: Duration = Duration::from_millis(2_000);
/// Calls of a worker in flight, and records in each.
const IN_FLIGHT: usize = 32;
const BATCH: usize = 50;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KillWorker,
    RollBrokers,
    ThirdWorker,
    LettersRefused,
    EndpointAway,
    AllThrottled,
}

/// How the function answers, beside its faults by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Working,
    Throttled,
}

/// A cluster, a function and two workers that share a connector.
struct World {
    kafka: Broker,
    lambda: FakeLambda,
    account: Arc<Account>,
    mood: watch::Sender<Mood>,
    workers: Vec<Option<Worker>>,
    kills: u64,
}

impl World {
    async fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let kafka = Broker::own(&["--brokers", "3"])?;
        for (topic, partitions) in [(TOPIC, "6"), (LETTERS, "1")] {
            let create = [
                "--create",
                "--topic",
                topic,
                "--partitions",
                partitions,
                "--replication-factor",
                "3",
            ];
            let durable = ["--config", "min.insync.replicas=2"];
            kafka.tool("topics", &[&create[..], &durable].concat()).await.unwrap();
        }
        let lambda = FakeLambda::builder()
            .recording(Recording::CountOnly)
            .start()
            .await
            .unwrap();
        let account = Arc::new(Account::default());
        let (mood, moods) = watch::channel(Mood::Working);
        let accounts = Arc::clone(&account);
        lambda.function(FUNCTION).respond_with(move |call| {
            match *moods.borrow() {
                Mood::Working => {}
                Mood::Throttled => {
                    let reason = klamm_dev::ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
                    return Answer::throttled(reason, None);
                }
            }
            let records = records(&call.body);
            if let Some((answer, is_too_late)) = fault(call.sequence, CALL_TIMEOUT + Duration::from_millis(500)) {
                if is_too_late && !records.iter().any(|record| record.value.poison) {
                    accounts.accept(&records, true);
                }
                return answer;
            }
            if records.iter().any(|record| record.value.poison) {
                return Answer::function_error("ValueError", "poison");
            }
            accounts.accept(&records, false);
            Answer::success("null").after(Duration::from_millis(call.sequence % 20))
        });
        let mut world = Self {
            kafka,
            lambda,
            account,
            mood,
            workers: Vec::new(),
            kills: 0,
        };
        for _ in 0..2 {
            let worker = world.worker(settings).await;
            world.workers.push(Some(worker));
        }
        Some(world)
    }

    /// Another worker with the same connector, so another member of its group.
    async fn worker(&self, settings: &[(&str, &str)]) -> Worker {
        let worker = Worker::builder(self.kafka.bootstrap()).start().await.unwrap();
        let timeout_ms = CALL_TIMEOUT.as_millis().to_string();
        let (in_flight, batch) = (IN_FLIGHT.to_string(), BATCH.to_string());
        let all = [
            ("aws.lambda.function.name", FUNCTION),
            ("aws.lambda.socket.timeout", &timeout_ms),
            ("delivery.ordering", "key"),
            ("delivery.max.in.flight", &in_flight),
            ("delivery.batch.size", &batch),
            ("consumer.override.session.timeout.ms", "6000"),
            ("consumer.override.heartbeat.interval.ms", "500"),
        ];
        let config = lambda_sink(&self.lambda, TOPIC, &[&all[..], settings].concat());
        let reply = worker.rest().put("/connectors/ledger/config", &config).await.unwrap();
        reply.expect(201).unwrap();
        worker
    }

    /// Makes it, and waits until records are delivered again after it.
    async fn survive(&mut self, fault: Fault, settings: &[(&str, &str)]) {
        let began = Instant::now();
        match fault {
            Fault::KillWorker => {
                let place = usize::try_from(self.kills % 2).unwrap();
                self.kills += 1;
                let settings = self.workers[place].take().unwrap().kill().await.unwrap();
                self.progress(1_000).await;
                self.workers[place] = Some(settings.start().await.unwrap());
            }
            Fault::RollBrokers => {
                for broker in 1..=3 {
                    self.kafka.stop(broker).await.unwrap();
                    self.kafka.start_again(broker).await.unwrap();
                }
            }
            Fault::ThirdWorker => {
                let third = self.worker(settings).await;
                wait::until("partitions for the third worker", wait::LIMIT, || async {
                    let reply = third.rest().get("/metrics").await.ok();
                    drop(reply);
                    third.log().contains("partition assigned").then_some(())
                })
                .await
                .unwrap();
                self.progress(1_000).await;
                third.terminate().await.unwrap();
            }
            Fault::LettersRefused => {
                self.min_insync_replicas(4).await;
                sleep(Duration::from_secs(15)).await;
                self.min_insync_replicas(2).await;
            }
            // How long these two last is the fault itself.
            Fault::EndpointAway => {
                self.lambda.refuse_connections(true);
                sleep(Duration::from_secs(30)).await;
                self.lambda.refuse_connections(false);
            }
            Fault::AllThrottled => {
                self.mood.send_replace(Mood::Throttled);
                sleep(Duration::from_secs(20)).await;
                self.mood.send_replace(Mood::Working);
            }
        }
        let (made, over) = (began.elapsed(), Instant::now());
        self.progress(1_000).await;
        println!(
            "{fault:?}: {} ms, then {} ms until a thousand more were delivered; {:?}",
            made.as_millis(),
            over.elapsed().as_millis(),
            self.account.totals()
        );
    }

    /// More than there are replicas: nothing can be written durably.
    async fn min_insync_replicas(&self, count: u32) {
        let config = format!("min.insync.replicas={count}");
        let of_topic = [
            "--alter",
            "--entity-type",
            "topics",
            "--entity-name",
            LETTERS,
            "--add-config",
            &config,
        ];
        self.kafka.tool("configs", &of_topic).await.unwrap();
    }

    /// Waits until so many more records were accepted.
    async fn progress(&self, records: usize) {
        let before = self.account.accepted();
        let moving = wait::until("records to be delivered again", Duration::from_secs(90), || async {
            (self.account.accepted() >= before + records).then_some(())
        });
        if let Err(error) = moving.await {
            self.give_up(&error.to_string());
        }
    }

    fn give_up(&self, why: &str) -> ! {
        let logs: Vec<String> = self.workers.iter().flatten().map(Worker::log).collect();
        let tails: Vec<String> = logs
            .iter()
            .map(|log| {
                log.lines()
                    .rev()
                    .take(60)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect::<Vec<_>>()
                    .join("\n")
            })
            .collect();
        panic!("{why}; {:?}\n{}", self.account.totals(), tails.join("\n\n"));
    }

    /// Ends of the partitions, as Kafka's own tool tells them.
    async fn ends(&self) -> Vec<i64> {
        let lines = self.kafka.tool("get-offsets", &["--topic", TOPIC]).await.unwrap();
        let mut ends = vec![0; PARTITIONS.unsigned_abs() as usize];
        for line in lines.lines() {
            let mut fields = line.trim().rsplit(':');
            let (end, partition) = (fields.next().unwrap(), fields.next().unwrap());
            ends[partition.parse::<usize>().unwrap()] = end.parse().unwrap();
        }
        ends
    }

    /// What stands in the dead letter queue, by where it came from.
    async fn letters(&self) -> Vec<(Position, String)> {
        let found = python(self.kafka.bootstrap(), &[json!({"op": "read", "topic": LETTERS})])
            .await
            .unwrap();
        let text = |value: &Value| String::from_utf8(BASE64.decode(value.as_str().unwrap()).unwrap()).unwrap();
        let letter = |record: &Value| {
            let header = |name: &str| {
                let headers = record["headers"].as_array().unwrap();
                text(&headers.iter().find(|header| header["key"] == name).unwrap()["value"])
            };
            let position = (
                header("__connect.errors.partition").parse().unwrap(),
                header("__connect.errors.offset").parse().unwrap(),
            );
            (position, text(&record["value"]))
        };
        found.iter().map(letter).collect()
    }

    /// Waits until everything is accounted for: accepted, or dead-lettered if it is poison.
    async fn finish(mut self, sent: u64, poison: &[Position]) {
        let ends = self.ends().await;
        let in_log: i64 = ends.iter().sum();
        let poison: BTreeSet<Position> = poison.iter().copied().collect();
        let done = wait::until("every record", Duration::from_secs(120), || async {
            (self.account.missing(&ends).len() <= poison.len()).then_some(())
        });
        if done.await.is_err() {
            let lost: Vec<_> = self
                .account
                .missing(&ends)
                .difference(&poison)
                .take(5)
                .copied()
                .collect();
            self.give_up(&format!("not delivered: {lost:?} …"));
        }
        // Committed to the end: the dead letters are acknowledged, and nothing is left to do.
        wait::until("the group to be at the end", wait::LIMIT, || async {
            let rows = self
                .kafka
                .tool("groups", &["--describe", "--group", GROUP])
                .await
                .ok()?;
            let lags: Vec<&str> = rows
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>())
                .filter(|columns| columns.get(1) == Some(&TOPIC))
                .map(|columns| columns[5])
                .map(|lag| if lag == "0" { "0" } else { "more" })
                .collect();
            (lags.len() == ends.len() && lags.iter().all(|lag| *lag == "0")).then_some(())
        })
        .await
        .unwrap();
        for worker in self.workers.drain(..).flatten() {
            worker.terminate().await.unwrap();
        }
        let letters = self.letters().await;
        let lettered: BTreeSet<Position> = letters.iter().map(|(position, _)| *position).collect();
        let missing = self.account.missing(&ends);
        let totals = self.account.totals();
        let disorders = self.account.disorders();
        // Unknown outcomes by script, and for each kill what was in flight or done since the last commit.
        let bound = totals.too_late + self.kills * (5_000 + (IN_FLIGHT * BATCH) as u64);
        println!(
            "sent {sent} (in the log {in_log}), delivered {}, dead-lettered {} (written {}), lost {}, duplicates {} \
             (bound {bound}, of unknown outcome {}), out of order {}",
            totals.accepted,
            lettered.len(),
            letters.len(),
            missing.difference(&lettered).count(),
            totals.duplicates,
            totals.too_late,
            disorders.len(),
        );
        assert_eq!(
            missing, lettered,
            "what is not delivered is in the dead letter queue, and nothing else"
        );
        assert!(lettered.is_superset(&poison));
        assert!(
            letters.iter().all(|(_, value)| value.contains("poison")),
            "a good record is a dead letter"
        );
        assert_eq!(disorders, Vec::<String>::new());
        assert!(totals.duplicates <= bound, "{totals:?}, bound {bound}");
    }
}

const NOTHING_IS_GIVEN_UP: [(&str, &str); 1] = [("delivery.retry.max.attempts", "100")];
const POISON_IS_LETTERED: [(&str, &str); 4] = [
    ("behavior.on.error", "dlq"),
    ("errors.deadletterqueue.topic.name", LETTERS),
    ("errors.deadletterqueue.context.headers.enable", "true"),
    // Chance must not give up a good record: with a share of 2 % a record fails alone 12 times once in 10^20.
    ("delivery.retry.max.attempts", "12"),
];

/// Two clusters of three brokers at once are more than a small machine carries.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Runs faults under load, one after the other.
async fn account_for(
    per_second: u64,
    settings: &[(&str, &str)],
    has_poison: bool,
    faults: impl IntoIterator<Item = Fault>,
) {
    let _turn = ONE_AT_A_TIME.lock().await;
    let Some(mut world) = World::start(settings).await else {
        return;
    };
    let load = LoadTask::start(world.kafka.bootstrap(), per_second);
    world.progress(2_000).await;
    let mut poison = Vec::new();
    for fault in faults {
        if has_poison {
            poison.extend(load::poison(world.kafka.bootstrap()).await);
        }
        world.survive(fault, settings).await;
    }
    let sent = timeout(Duration::from_secs(60), load.stop())
        .await
        .expect("brokers that take records");
    world.finish(sent, &poison).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_accounted_for() {
    let faults = [
        Fault::KillWorker,
        Fault::RollBrokers,
        Fault::ThirdWorker,
        Fault::KillWorker,
    ];
    account_for(1_000, &NOTHING_IS_GIVEN_UP, false, faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_poison_is_dead_lettered() {
    let faults = [Fault::LettersRefused, Fault::KillWorker];
    account_for(1_000, &POISON_IS_LETTERED, true, faults).await;
}

/// For so many seconds, in halves: without and with poison.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes KLAMM_SOAK_SECONDS: make soak"]
async fn soak() {
    let seconds = std::env::var("KLAMM_SOAK_SECONDS").map_or(600, |seconds| seconds.parse().unwrap());
    let per_second = std::env::var("KLAMM_SOAK_RATE").map_or(2_000, |rate| rate.parse().unwrap());
    use Fault::{AllThrottled, EndpointAway, KillWorker, LettersRefused, RollBrokers, ThirdWorker};
    for (settings, has_poison) in [(&NOTHING_IS_GIVEN_UP[..], false), (&POISON_IS_LETTERED[..], true)] {
        let end = Instant::now() + Duration::from_secs(seconds / 2);
        let rounds = [
            KillWorker,
            RollBrokers,
            KillWorker,
            ThirdWorker,
            KillWorker,
            LettersRefused,
            EndpointAway,
            KillWorker,
            AllThrottled,
        ];
        let faults = rounds.into_iter().cycle().take_while(|_| Instant::now() < end);
        account_for(per_second, settings, has_poison, faults).await;
    }
}
