//! `make demo`: a real Kafka and a stand-in for AWS Lambda on loopback, a worker beside them, connectors made through the
//! REST API from `examples/demo/*.json`, and records of two topics arriving in the functions of their maps, synchronously
//! and asynchronously.
//!
//! Ends by itself, or with `--stay` on Ctrl-C; nothing outlives it.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "showing what happens is what a demo is for")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use klamm_dev::payload::each_of_confluent;
use klamm_dev::{Answer, FakeLambda, Invocation, InvocationType};
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::worker::Worker;
use tokio::sync::mpsc;
use tokio::time::timeout;

const RECORDS: u64 = 100;
/// Partitions of each topic.
const TOPICS: [(&str, i32); 2] = [("orders", 2), ("clicks", 1)];
/// Files of `examples/demo`.
const CONNECTORS: [&str; 2] = ["sync", "async"];
/// Longest silence before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stays = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--stay") => true,
        Some(other) => bail!("unknown option {other}: `--stay` keeps everything up until Ctrl-C"),
    };
    let (lines, mut arrived) = mpsc::channel(1024);
    let lambda = FakeLambda::start().await.context("no port for the functions")?;
    for name in ["order-fn", "click-fn", "audit-fn"] {
        let lines = lines.clone();
        lambda.function(name).respond_with(move |invocation| {
            // A full channel only costs a line of the show.
            drop(lines.try_send(delivered(invocation)));
            Answer::success("null")
        });
    }
    println!(
        "functions order-fn, click-fn and audit-fn answer at {}",
        lambda.endpoint()
    );

    let kafka = Broker::own(&[]).context("Kafka did not start")?;
    println!("Kafka listens at {}", kafka.bootstrap());
    let producer = Producer::connect(kafka.bootstrap()).await?;
    for (topic, partitions) in TOPICS {
        producer.create_topic(topic, partitions).await?;
    }

    let worker = Worker::builder(kafka.bootstrap()).start().await?;
    println!("klamm worker answers at {}", worker.url());
    for name in CONNECTORS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("demo/{name}.json"));
        let text = std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        let mut connector: serde_json::Value = serde_json::from_str(&text)?;
        connector["config"]["aws.lambda.endpoint"] = lambda.endpoint().into();
        worker.rest().post("/connectors", &connector).await?.expect(201)?;
        println!(
            "connector created: POST {}/connectors < examples/demo/{name}.json",
            worker.url()
        );
    }

    for (topic, partitions) in TOPICS {
        producer.produce_json(topic, partitions, 0..RECORDS, CODECS[0]).await?;
        println!("produced {RECORDS} records to {topic}");
    }
    // Each record goes to a function of its topic and to the one that audits.
    let mut left: BTreeMap<&str, u64> = TOPICS.map(|(topic, _)| (topic, 2 * RECORDS)).into();
    while left.values().any(|records| *records > 0) {
        let delivered = timeout(PATIENCE, arrived.recv()).await.ok().flatten();
        let Some(delivered) = delivered else {
            bail!(
                "records missing after {PATIENCE:?} of silence: {left:?}\n{}",
                worker.log()
            );
        };
        println!("{}", delivered.line);
        for (topic, records) in &mut left {
            *records = records.saturating_sub(*delivered.records.get(*topic).unwrap_or(&0));
        }
    }
    for name in CONNECTORS {
        let path = format!("/connectors/demo-{name}/status");
        let status = worker.rest().get(&path).await?.expect(200)?;
        println!("GET {}{path}: {status}", worker.url());
    }

    if stays {
        println!("Ctrl-C ends everything. Produce more, or look around:");
        println!("  curl -s {}/connectors/demo-sync", worker.url());
        println!(
            "  KLAMM_KAFKA_DIR={} tests/testbed/kafka console-producer --topic orders",
            kafka.server().dir().display()
        );
        loop {
            tokio::select! {
                signal = tokio::signal::ctrl_c() => break signal?,
                Some(delivered) = arrived.recv() => println!("{}", delivered.line),
            }
        }
    }
    worker.terminate().await?;
    println!("worker ended in order: offsets committed, group left");
    Ok(())
}

struct Delivered {
    line: String,
    /// Records by topic.
    records: BTreeMap<String, u64>,
}

fn delivered(invocation: &Invocation) -> Delivered {
    let mut records = BTreeMap::new();
    let mut partitions = BTreeMap::new();
    let parsed = each_of_confluent(&invocation.body, |record| {
        *records.entry(record.topic.to_string()).or_default() += 1;
        *partitions
            .entry(format!("{}-{}", record.topic, record.partition))
            .or_insert(0_u64) += 1;
    });
    let how = match invocation.invocation_type {
        InvocationType::RequestResponse => "sync",
        InvocationType::Event => "async",
        InvocationType::DryRun => "dry run",
    };
    let from: Vec<String> = partitions
        .iter()
        .map(|(partition, count)| format!("{count} records of {partition}"))
        .collect();
    let line = match parsed {
        Ok(()) => format!("delivered {} to {} ({how})", from.join(" and "), invocation.function),
        Err(error) => format!("{} got a payload that is not valid: {error}", invocation.function),
    };
    Delivered { line, records }
}
