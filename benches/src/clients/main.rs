//! `make bench`, second part: what the Kafka client alone costs, beside rdkafka (librdkafka) and rskafka.
//!
//! Each client reads in a process of its own, all of them the same topic of the same broker; the figures are that
//! process's CPU time (user and kernel) per record. The idle client holds 10,000 partitions in 1,000 groups.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod idle;
mod measure;
mod read;

use std::process::Stdio;

use anyhow::{Context as _, bail};
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};

use crate::measure::Measured;

const RUNS: usize = 5;
/// Of each client of the comparison; the first measured run comes after one that warms up.
const CLIENTS: &[&str] = &[
    "klamm",
    #[cfg(feature = "compare")]
    "rdkafka",
    #[cfg(feature = "compare")]
    "rskafka",
];

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => parent(true, true),
        ["read"] => parent(true, false),
        ["idle"] => parent(false, true),
        ["child", "idle", bootstrap] => idle::run(bootstrap).map(|measured| println!("{measured}")),
        ["child", client, bootstrap] => read::run(client, bootstrap).map(|measured| println!("{measured}")),
        _ => bail!("usage: bench-clients [read|idle]"),
    }
}

#[tokio::main]
async fn parent(with_read: bool, with_idle: bool) -> anyhow::Result<()> {
    println!("| Client | What | CPU | Goal | Rate by the clock | Resident |");
    println!("|---|---|---|---|---|---|");
    if with_read {
        compare().await?;
    }
    if with_idle {
        let kafka = Broker::own(&["--brokers", "3"]).context("Kafka did not start")?;
        idle::create_topics(kafka.bootstrap()).await?;
        let idle = child("idle", kafka.bootstrap()).await?;
        println!(
            "| klamm | idle: {} partitions in {} groups on three brokers | {:.1} % of a core | 10 % | | {:.0} MiB (goal: 300) |",
            idle::GROUPS * idle::PARTITIONS,
            idle::GROUPS,
            100.0 * idle.cpu.as_secs_f64() / idle.elapsed.as_secs_f64(),
            measure::mib(idle.resident_bytes),
        );
    }
    Ok(())
}

async fn compare() -> anyhow::Result<()> {
    let kafka = Broker::own(&[]).context("Kafka did not start")?;
    let producer = Producer::connect(kafka.bootstrap()).await?;
    producer.create_topic(read::TOPIC, read::PARTITIONS).await?;
    for partition in 0..read::PARTITIONS {
        let share = read::RECORDS / u64::from(read::PARTITIONS.unsigned_abs());
        let record = |_| (Some(b"key".to_vec()), Some(vec![b'x'; read::RECORD_BYTES]));
        for _ in 0..share / 1_000 {
            let records = (0..1_000).map(record).collect();
            producer.produce(read::TOPIC, partition, records, CODECS[0]).await?;
        }
    }
    // Turn by turn, so that other load on the machine meets them all.
    let mut runs: Vec<Vec<Measured>> = vec![Vec::new(); CLIENTS.len()];
    for _ in 0..RUNS {
        for (client, runs) in CLIENTS.iter().zip(&mut runs) {
            runs.push(child(client, kafka.bootstrap()).await?);
        }
    }
    for (client, mut runs) in CLIENTS.iter().zip(runs) {
        runs.sort_by_key(|run| run.cpu);
        let shown: Vec<String> = runs
            .iter()
            .map(|run| format!("{:.2}", run.cpu_us_per_record()))
            .collect();
        let median = &runs[RUNS / 2];
        println!(
            "| {client} | read 1 KB records, uncompressed | {:.2} µs a record ({}) | {} | {:.0} records/s | {:.0} MiB |",
            median.cpu_us_per_record(),
            shown.join(", "),
            if *client == "klamm" { "0.3 µs" } else { "" },
            median.per_second(),
            measure::mib(median.resident_bytes),
        );
    }
    Ok(())
}

/// Runs this program again as a client.
async fn child(what: &str, bootstrap: &str) -> anyhow::Result<Measured> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let output = tokio::process::Command::new(program)
        .args(["child", what, bootstrap])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("client `{what}` cannot be started"))?;
    if !output.status.success() {
        bail!("client `{what}` ended with {}", output.status);
    }
    String::from_utf8(output.stdout)?.trim().parse()
}
