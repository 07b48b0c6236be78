//! `make bench`: what the `klamm` binary costs, on a real broker and a stand-in for Lambda on the same machine.
//!
//! Everything is CPU time of the worker's process alone (user and kernel), which other load on the machine disturbs
//! least; each figure is the median of several runs of one process. Names of parts (`batch-100`, `batch-1`, `async`, `busy`,
//! `latency`, `stalled`, `start`, `idle`) run these alone.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod bare;
mod flight;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use klamm_dev::payload::each_of_confluent;
use klamm_dev::{Answer, FakeLambda, Recording};
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

const FUNCTION: &str = "bench-fn";
const PARTITIONS: i32 = 8;
const RUNS: usize = 3;
const RECORD_BYTES: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(300);

/// One way to deliver, measured in records per CPU-second.
struct Throughput {
    /// How the command line names it.
    part: &'static str,
    name: &'static str,
    batch: u32,
    invocation_type: &'static str,
    records: u64,
    goal: f64,
}

const THROUGHPUT: [Throughput; 3] = [
    Throughput {
        part: "batch-100",
        name: "1 KB JSON, batch 100, sync",
        batch: 100,
        invocation_type: "sync",
        records: 400_000,
        goal: 500_000.0,
    },
    Throughput {
        part: "batch-1",
        name: "1 KB JSON, batch 1, sync",
        batch: 1,
        invocation_type: "sync",
        records: 40_000,
        goal: 50_000.0,
    },
    Throughput {
        part: "async",
        name: "1 KB JSON, batch 100, async",
        batch: 100,
        invocation_type: "async",
        records: 400_000,
        goal: 500_000.0,
    },
];

impl Throughput {
    fn topic(&self) -> &'static str {
        if self.records > 100_000 { "large" } else { "small" }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [what, bootstrap, endpoint, topic, records] = &args[..]
        && what == "bare"
    {
        let cpu = bare::run(bootstrap, endpoint, topic, PARTITIONS, records.parse()?).await?;
        println!("{}", cpu.as_micros());
        return Ok(());
    }
    let kafka = Broker::own(&[]).context("Kafka did not start")?;
    let producer = Producer::connect(kafka.bootstrap()).await?;
    let bench = Bench {
        kafka,
        delivered: Arc::new(Delivered::default()),
        lambda: start_lambda().await?,
    };
    let delivered = Arc::clone(&bench.delivered);
    bench.lambda.function(FUNCTION).respond_with(move |invocation| {
        let mut records = 0;
        // A payload that does not parse counts nothing, and the run does not end well.
        drop(each_of_confluent(&invocation.body, |_| records += 1));
        delivered.add(records);
        Answer::success("null")
    });

    println!("| Measure | Median | Runs | Goal |");
    println!("|---|---|---|---|");
    for topic in ["large", "small"] {
        producer.create_topic(topic, PARTITIONS).await?;
    }
    fill(&producer, "large", 400_000).await?;
    fill(&producer, "small", 40_000).await?;
    let is_asked = |part: &str| args.is_empty() || args.iter().any(|arg| arg == part);
    for throughput in THROUGHPUT.iter().filter(|throughput| is_asked(throughput.part)) {
        let per_second = bench.throughput(throughput).await?;
        if throughput.part == "batch-100" {
            bench.bare_loop(throughput.records, per_second).await?;
        }
    }
    if is_asked("busy") {
        bench.busy().await?;
    }
    if is_asked("latency") {
        bench.latency(&producer).await?;
    }
    if is_asked("stalled") {
        bench.stalled().await?;
    }
    producer.create_topic("one", 1).await?;
    fill_partition(&producer, "one", 0, 1).await?;
    if is_asked("start") {
        bench.start_to_first_invoke().await?;
    }
    if is_asked("idle") {
        bench.idle().await?;
    }
    bench.lambda.shutdown().await;
    Ok(())
}

async fn start_lambda() -> anyhow::Result<FakeLambda> {
    FakeLambda::builder()
        .recording(Recording::CountOnly)
        .start()
        .await
        .context("no port for the functions")
}

/// Records that reached the function.
#[derive(Debug, Default)]
struct Delivered {
    records: AtomicU64,
    changed: Notify,
}

impl Delivered {
    fn add(&self, records: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Waits until `records` more than at `from` were delivered.
    async fn reaches(&self, from: u64, records: u64) -> anyhow::Result<()> {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                if self.total() >= from + records {
                    return;
                }
                changed.await;
            }
        };
        timeout(PATIENCE, reached)
            .await
            .with_context(|| format!("{} of {records} records delivered in {PATIENCE:?}", self.total() - from))
    }

    fn total(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }
}

struct Bench {
    kafka: Broker,
    lambda: FakeLambda,
    delivered: Arc<Delivered>,
}

impl Bench {
    fn connector(&self, name: &str, topic: &str, batch: u32, invocation_type: &str) -> Value {
        json!({
            "name": name,
            "connector.class": "AwsLambdaSink",
            "topics": topic,
            "aws.lambda.function.name": FUNCTION,
            "aws.lambda.invocation.type": invocation_type,
            "aws.lambda.batch.size": batch.to_string(),
            "aws.lambda.endpoint": self.lambda.endpoint(),
            "aws.lambda.region": "eu-central-1",
            "aws.access.key.id": "bench",
            "aws.secret.access.key": "bench",
        })
    }

    /// The least that the same job can cost, in a process of its own.
    async fn bare_loop(&self, records: u64, of_worker: f64) -> anyhow::Result<()> {
        self.lambda.function("bare-fn");
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let output = Command::new(std::env::current_exe()?)
                .args(["bare", self.kafka.bootstrap(), &self.lambda.endpoint(), "large"])
                .arg(records.to_string())
                .output()
                .await?;
            let text = String::from_utf8_lossy(&output.stdout);
            let cpu: u64 = text
                .trim()
                .parse()
                .with_context(|| format!("the bare loop failed: {}", String::from_utf8_lossy(&output.stderr)))?;
            runs.push(per_second(records, Duration::from_micros(cpu)));
        }
        runs.sort_by(f64::total_cmp);
        let bare = runs[RUNS / 2];
        let shown: Vec<String> = runs.iter().map(|run| format!("{run:.0}")).collect();
        println!(
            "| bare loop, batch 100: records per CPU-second | {bare:.0} | {} | |",
            shown.join(", ")
        );
        println!("| worker ÷ bare loop | {:.0} % | | 55 % |", 100.0 * of_worker / bare);
        Ok(())
    }

    async fn throughput(&self, what: &Throughput) -> anyhow::Result<f64> {
        let worker = Worker::builder(self.kafka.bootstrap()).start().await?;
        let mut runs = Vec::new();
        for run in 0..RUNS {
            let name = format!("{}-{}-{run}", what.invocation_type, what.batch);
            let connector = self.connector(&name, what.topic(), what.batch, what.invocation_type);
            let (from, cpu, clock) = (self.delivered.total(), worker.cpu_time()?, Instant::now());
            worker
                .rest()
                .put(&format!("/connectors/{name}/config"), &connector)
                .await?
                .expect(201)?;
            self.delivered.reaches(from, what.records).await?;
            let cpu = worker.cpu_time()?.saturating_sub(cpu);
            ensure!(
                self.delivered.total() == from + what.records,
                "records were delivered twice without a fault"
            );
            runs.push((per_second(what.records, cpu), per_second(what.records, clock.elapsed())));
            worker
                .rest()
                .delete(&format!("/connectors/{name}"))
                .await?
                .expect(204)?;
        }
        let resident = worker.resident_bytes()?;
        worker.terminate().await?;
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let shown: Vec<String> = runs.iter().map(|(cpu, _)| format!("{cpu:.0}")).collect();
        let (median, by_clock) = runs[RUNS / 2];
        println!(
            "| {}: records per CPU-second | {median:.0} | {} | {:.0} |",
            what.name,
            shown.join(", "),
            what.goal
        );
        println!(
            "| {}: CPU per record | {:.2} µs | | {:.2} µs |",
            what.name,
            1e6 / median,
            1e6 / what.goal
        );
        println!("| {}: records per second by the clock | {by_clock:.0} | | |", what.name);
        println!("| {}: resident after it | {:.1} MiB | | |", what.name, mib(resident));
        Ok(median)
    }

    async fn start_to_first_invoke(&self) -> anyhow::Result<()> {
        let mut runs = Vec::new();
        for run in 0..RUNS {
            let settings = Worker::builder(self.kafka.bootstrap());
            let file = settings.dir().join("connector.json");
            std::fs::write(
                &file,
                self.connector(&format!("start-{run}"), "one", 1, "sync").to_string(),
            )?;
            let from = self.delivered.total();
            let clock = Instant::now();
            let worker = settings.arg(file.display().to_string()).spawn()?;
            self.delivered.reaches(from, 1).await?;
            runs.push(clock.elapsed());
            worker.kill().await?;
        }
        runs.sort();
        let shown: Vec<String> = runs.iter().map(|run| run.as_millis().to_string()).collect();
        println!(
            "| start to first invoke | {} ms | {} | 1000 ms |",
            runs[RUNS / 2].as_millis(),
            shown.join(", ")
        );
        Ok(())
    }

    async fn idle(&self) -> anyhow::Result<()> {
        let worker = Worker::builder(self.kafka.bootstrap()).start().await?;
        let from = self.delivered.total();
        worker
            .rest()
            .put("/connectors/idle/config", &self.connector("idle", "one", 1, "sync"))
            .await?
            .expect(201)?;
        self.delivered.reaches(from, 1).await?;
        wait::until("the connector to run", wait::LIMIT, || async {
            let status = worker.rest().get("/connectors/idle/status").await.ok()?.json();
            (status["tasks"][0]["state"] == "RUNNING").then_some(())
        })
        .await?;
        let cpu = worker.cpu_time()?;
        let watched = Duration::from_secs(10);
        sleep(watched).await;
        let cpu = worker.cpu_time()?.saturating_sub(cpu);
        println!(
            "| idle: resident | {:.1} MiB | | 25 MiB |",
            mib(worker.resident_bytes()?)
        );
        println!(
            "| idle: CPU | {:.2} % of a core | | |",
            100.0 * cpu.as_secs_f64() / watched.as_secs_f64()
        );
        worker.terminate().await?;
        Ok(())
    }
}

async fn fill(producer: &Producer, topic: &str, records: u64) -> anyhow::Result<()> {
    let share = records / u64::from(PARTITIONS.unsigned_abs());
    for partition in 0..PARTITIONS {
        fill_partition(producer, topic, partition, share).await?;
    }
    Ok(())
}

async fn fill_partition(producer: &Producer, topic: &str, partition: i32, records: u64) -> anyhow::Result<()> {
    let record = |id: u64| {
        let mut value = json!({
            "id": id, "customer": format!("customer-{}", id % 997), "amount": 12.5, "currency": "EUR", "paid": true,
            "lines": [{ "sku": "A-1", "count": 2 }, { "sku": "B-7", "count": 1 }], "note": "",
        });
        let missing = RECORD_BYTES.saturating_sub(value.to_string().len());
        value["note"] = "x".repeat(missing).into();
        (
            Some(format!("key-{}", id % 1000).into_bytes()),
            Some(value.to_string().into_bytes()),
        )
    };
    const STEP: u64 = 10_000;
    for from in (0..records).step_by(usize::try_from(STEP)?) {
        let chunk = (from..records.min(from + STEP)).map(record).collect();
        producer.produce(topic, partition, chunk, CODECS[0]).await?;
    }
    Ok(())
}

fn per_second(records: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let records = records as f64;
    records / time.as_secs_f64()
}

fn mib(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}
