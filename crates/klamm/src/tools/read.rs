//! `klamm topic read`.

use std::io::{self, Write};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use futures_util::future::try_join_all;
use klamm_kafka::IsolationLevel;

use super::cluster::{Cluster, ClusterArgs};
use super::from::From;
use super::output;
use super::reading::{Reading, Selection};
use super::record::{HeaderKeys, write_json, write_text};

/// What to read, and how to print it.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// The topic
    topic: String,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    /// Only this partition; may be given several times
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Where to start: `earliest`, `latest`, an offset (`42`, `offset:42`), or a time (`timestamp:1700000000000`,
    /// `2023-11-14T22:13:20Z`), in each partition
    #[arg(long, default_value = "earliest")]
    from: From,
    /// Where to stop: at the end as it is when the reading starts
    #[arg(long, default_value = "end", conflicts_with = "follow")]
    to: To,
    /// Go on with what is written later
    #[arg(long)]
    follow: bool,
    /// Whether records of open and aborted transactions are left out [default: `isolation.level`, else
    /// `read_uncommitted`]
    #[arg(long)]
    isolation: Option<Isolation>,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// One JSON object a record, with bytes in base64
    #[arg(long)]
    json: bool,
    /// Adds `keyBase64` to headers whose key is not UTF-8, so that `topic write` can write them as they were
    #[arg(long, requires = "json")]
    header_key_bytes: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum To {
    End,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

impl std::convert::From<Isolation> for IsolationLevel {
    fn from(isolation: Isolation) -> Self {
        match isolation {
            Isolation::ReadUncommitted => Self::ReadUncommitted,
            Isolation::ReadCommitted => Self::ReadCommitted,
        }
    }
}

/// Prints the records.
///
/// # Errors
/// No answer, no such topic or partition, damaged records, or standard output.
pub(crate) async fn read(cluster: &Arc<Cluster>, args: &ReadArgs) -> anyhow::Result<()> {
    let selection = Selection {
        topic: &args.topic,
        partitions: &args.partition,
        from: args.from,
        isolation: args.isolation.map(Into::into),
        follow: args.follow,
    };
    let reading = Reading::begin(cluster, &selection).await?;
    let keys = if args.header_key_bytes {
        HeaderKeys::Exact
    } else {
        HeaderKeys::Lossy
    };
    let form = if args.json { Shape::Json(keys) } else { Shape::Text };
    print(reading, form, args.max, &mut output::stdout()).await
}

/// Prints the records of several topics from their beginning, and goes on with what is written later.
///
/// # Errors
/// As for [`read`].
pub(crate) async fn tail(cluster: &Arc<Cluster>, topics: &[String], json: bool) -> anyhow::Result<()> {
    let tails = topics.iter().map(async |topic| {
        let selection = Selection {
            topic,
            partitions: &[],
            from: From::Earliest,
            isolation: None,
            follow: true,
        };
        let reading = Reading::begin(cluster, &selection).await?;
        let form = if json { Shape::Json(HeaderKeys::Lossy) } else { Shape::Text };
        // Not locked: each topic writes whole lines into a buffer of its own.
        print(reading, form, None, &mut io::BufWriter::new(io::stdout())).await
    });
    try_join_all(tails).await.map(drop)
}

/// How a record is printed.
#[derive(Clone, Copy)]
enum Shape {
    Json(HeaderKeys),
    Text,
}

async fn print<W: Write>(reading: Reading, shape: Shape, limit: Option<u64>, out: &mut W) -> anyhow::Result<()> {
    let mut line = Vec::new();
    let print = async |out: &mut W, partition: &_, record: &_| {
        line.clear();
        match shape {
            Shape::Json(keys) => write_json(partition, record, keys, &mut line),
            Shape::Text => write_text(partition, record, &mut line),
        }
        out.write_all(&line)?;
        Ok(())
    };
    reading.each(limit, out, print).await
}
