//! `klamm topic write`.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use klamm_kafka::{Delivery, ProduceError, Producer, RecordMetadata};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::cluster::{Cluster, ClusterArgs};
use super::input::{Form, parse};
use super::output;

/// Lines that wait to be sent; those that wait for Kafka are bounded by `buffer.memory`.
const QUEUE: usize = 16;

/// Where to write, and how.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// The topic, which must exist
    topic: String,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`, as `compression.type`
    #[arg(long, value_name = "CODEC")]
    compression: Option<String>,
    /// Every line is JSON
    #[arg(long, conflicts_with = "text")]
    json: bool,
    /// Every line is text: a value, or key and value with a tab between
    #[arg(long)]
    text: bool,
}

impl WriteArgs {
    pub(super) fn lines(topic: String, cluster: ClusterArgs, json: bool) -> Self {
        Self {
            topic,
            cluster,
            compression: None,
            json,
            text: !json,
        }
    }
}

/// Writes the lines of standard input, and prints how many records Kafka has acknowledged.
///
/// # Errors
/// The first line that is no record, or that could not be written.
pub(crate) async fn write(cluster: &Arc<Cluster>, args: &WriteArgs) -> anyhow::Result<()> {
    let config = cluster.producer_config(args.compression.as_deref())?;
    let name = &args.topic;
    let topic = cluster
        .first(async { cluster.told(cluster.client().topic(name).await) })
        .await?;
    let topic = topic.ok_or_else(|| anyhow!("topic `{name}` does not exist"))?.name;
    let form = match (args.json, args.text) {
        (true, _) => Form::Json,
        (false, true) => Form::Text,
        (false, false) => Form::Either,
    };
    let producer = Producer::new(cluster.client(), config);
    let mut acknowledged = 0_u64;
    let outcome = send(&producer, &topic, form, &mut acknowledged).await;
    let mut out = output::stdout();
    writeln!(out, "acknowledged {acknowledged} records")?;
    out.flush()?;
    outcome
}

/// Sends until the first failure or the end of the input, and counts what was acknowledged, also beside the failure.
async fn send(producer: &Producer, topic: &Arc<str>, form: Form, acknowledged: &mut u64) -> anyhow::Result<()> {
    let (tx, mut lines) = mpsc::channel(QUEUE);
    let mut reader = JoinSet::new();
    reader.spawn(read_lines(tx));
    let mut waiting = FuturesUnordered::new();
    let mut failure = None;
    let mut note =
        |(number, outcome): (u64, Result<RecordMetadata, ProduceError>), failure: &mut Option<_>| match outcome {
            Ok(_) => *acknowledged += 1,
            Err(error) => {
                failure.get_or_insert_with(|| anyhow::Error::new(error).context(format!("line {number}")));
            }
        };
    let mut number = 0_u64;
    while failure.is_none() {
        tokio::select! {
            biased;
            Some(done) = waiting.next() => note(done, &mut failure),
            line = lines.recv() => {
                let Some(line) = line else { break };
                number += 1;
                match enqueue(producer, topic, line, form).await {
                    Ok(delivery) => waiting.push(async move { (number, delivery.await) }),
                    Err(error) => failure = Some(error.context(format!("line {number}"))),
                }
            }
        }
    }
    producer.flush().await;
    while let Some(done) = waiting.next().await {
        note(done, &mut failure);
    }
    failure.map_or(Ok(()), Err)
}

async fn enqueue(
    producer: &Producer,
    topic: &Arc<str>,
    line: std::io::Result<Vec<u8>>,
    form: Form,
) -> anyhow::Result<Delivery> {
    let line = line.context("standard input cannot be read")?;
    Ok(producer.enqueue(parse(topic, &line, form)?).await?)
}

/// Sends the lines of standard input, without their ends, until nobody wants more.
async fn read_lines(lines: mpsc::Sender<std::io::Result<Vec<u8>>>) {
    let mut input = BufReader::with_capacity(256 * 1024, tokio::io::stdin());
    loop {
        let mut line = Vec::new();
        let read = input.read_until(b'\n', &mut line).await;
        if matches!(read, Ok(0)) {
            return;
        }
        for end in [b'\n', b'\r'] {
            line.pop_if(|last| *last == end);
        }
        let has_failed = read.is_err();
        if lines.send(read.map(|_| line)).await.is_err() || has_failed {
            return;
        }
    }
}
