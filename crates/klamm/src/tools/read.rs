//! `klamm topic read`.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};
use klamm_kafka::{ByteBudget, FetchPool, FetchSettings, IsolationLevel, OffsetSpec, TopicInfo, TopicPartition};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::cluster::{Cluster, ClusterArgs};
use super::from::From;
use super::output;
use super::record::{HeaderKeys, write_json, write_text};
use super::scan::{Found, Scanner, scan};

/// What fetched records may take, however many partitions there are.
const MEMORY_BYTES: usize = 64 * 1024 * 1024;

/// Sections that wait to be printed; their bytes are within [`MEMORY_BYTES`].
const QUEUE: usize = 64;

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

/// A partition to read, from and to (exclusive).
#[derive(Debug)]
struct Range {
    partition: TopicPartition,
    start: i64,
    end: i64,
}

/// Prints the records.
///
/// # Errors
/// No answer, no such topic or partition, damaged records, or standard output.
pub(crate) async fn read(cluster: &Arc<Cluster>, args: &ReadArgs) -> anyhow::Result<()> {
    let settings = cluster.fetch_settings(args.isolation.map(Into::into))?;
    let (topic, ranges) = cluster.first(ranges(cluster, args, &settings)).await?;
    let scanner = Arc::new(Scanner {
        cluster: Arc::clone(cluster),
        pool: FetchPool::new(Arc::clone(cluster.client()), Arc::new(ByteBudget::new(MEMORY_BYTES))),
        topic_id: topic.id,
        close_settings: Arc::new(FetchSettings {
            client_rack: None,
            min_bytes: 1,
            max_wait: Duration::ZERO,
            ..settings.clone()
        }),
        settings: Arc::new(settings),
        looks: Semaphore::new(1),
    });
    let (found, mut sections) = mpsc::channel::<Found>(QUEUE);
    let mut scans = JoinSet::new();
    let mut ends = HashMap::new();
    for Range { partition, start, end } in ranges {
        let end = (!args.follow).then_some(end);
        if end.is_none_or(|end| start < end) {
            ends.insert(partition.partition, end.unwrap_or(i64::MAX));
            scans.spawn(scan(Arc::clone(&scanner), partition, start, end, found.clone()));
        }
    }
    drop(found);
    print(args, &ends, &mut sections).await
}

/// Prints sections in the order of their coming, which is that of the log within each partition.
async fn print(args: &ReadArgs, ends: &HashMap<i32, i64>, sections: &mut mpsc::Receiver<Found>) -> anyhow::Result<()> {
    let keys = if args.header_key_bytes {
        HeaderKeys::Exact
    } else {
        HeaderKeys::Lossy
    };
    let mut left = args.max.unwrap_or(u64::MAX);
    let mut out = output::stdout();
    let mut line = Vec::new();
    while left > 0
        && let Some(section) = sections.recv().await
    {
        let section = match section {
            Ok(section) => section,
            Err(error) => {
                out.flush()?;
                return Err(error);
            }
        };
        let end = ends.get(&section.partition.partition).copied().unwrap_or(i64::MAX);
        for record in section.records() {
            let record = match record {
                Ok(record) if left > 0 && record.offset < end => record,
                Ok(_) => break,
                Err(error) => {
                    out.flush()?;
                    return Err(error.into());
                }
            };
            line.clear();
            if args.json {
                write_json(&section.partition, &record, keys, &mut line);
            } else {
                write_text(&section.partition, &record, &mut line);
            }
            out.write_all(&line)?;
            left -= 1;
        }
        if sections.is_empty() {
            out.flush()?;
        }
    }
    out.flush()?;
    Ok(())
}

/// The topic, and what of it is to be read.
async fn ranges(
    cluster: &Cluster,
    args: &ReadArgs,
    settings: &FetchSettings,
) -> anyhow::Result<(TopicInfo, Vec<Range>)> {
    let name = &args.topic;
    let topic = cluster.told(cluster.client().topic(name).await)?;
    let topic = topic.ok_or_else(|| anyhow!("topic `{name}` does not exist"))?;
    let mut wanted = args.partition.clone();
    wanted.sort_unstable();
    wanted.dedup();
    if let Some(partition) = wanted.iter().find(|partition| **partition >= topic.partitions) {
        bail!(
            "topic `{name}` has no partition {partition}: its partitions are 0 to {}",
            topic.partitions - 1
        );
    }
    if wanted.is_empty() {
        wanted.extend(0..topic.partitions);
    }
    let partitions: Vec<_> = wanted
        .into_iter()
        .map(|partition| TopicPartition::new(Arc::clone(&topic.name), partition))
        .collect();
    let list = async |spec| {
        let listed = cluster
            .client()
            .list_offsets(&partitions, spec, settings.isolation_level);
        let listed = cluster.told(listed.await)?;
        let offsets = partitions
            .iter()
            .map(|partition| listed.get(partition).and_then(|listed| listed.offset));
        anyhow::Ok(offsets.collect::<Vec<_>>())
    };
    let firsts = list(OffsetSpec::Earliest).await?;
    let ends = list(OffsetSpec::Latest).await?;
    let asked = match args.from {
        From::Timestamp(ms) => list(OffsetSpec::Timestamp(ms)).await?,
        From::Earliest | From::Latest | From::Offset(_) => vec![None; partitions.len()],
    };
    let mut ranges = Vec::with_capacity(partitions.len());
    for (((partition, first), end), asked) in partitions.into_iter().zip(firsts).zip(ends).zip(asked) {
        let (Some(first), Some(end)) = (first, end) else {
            bail!("{partition} has no offsets");
        };
        let start = match args.from {
            From::Earliest => first,
            From::Latest => end,
            From::Offset(offset) => offset.max(first),
            // Nothing so young: there is nothing to read.
            From::Timestamp(_) => asked.map_or(end, |asked| asked.max(first)),
        };
        ranges.push(Range { partition, start, end });
    }
    let furthest = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    if let From::Offset(offset) = args.from
        && offset > furthest
    {
        bail!("offset {offset} is beyond the end of `{name}`, which is {furthest}; a time is `timestamp:{offset}`");
    }
    Ok((topic, ranges))
}
