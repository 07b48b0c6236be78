//! A topic, or a part of it, record by record, up to where it ended when the reading began.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use klamm_kafka::{
    ByteBudget, ConsumedRecord, FetchPool, FetchSettings, IsolationLevel, OffsetSpec, TopicInfo, TopicPartition,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::from::From;
use super::scan::{Found, Scanner, scan};

/// What fetched records may take, however many partitions there are.
const MEMORY_BYTES: usize = 64 * 1024 * 1024;

/// Sections that wait to be printed; their bytes are within [`MEMORY_BYTES`].
const QUEUE: usize = 64;

/// What of a topic is read.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    pub(crate) topic: &'a str,
    /// None are all.
    pub(crate) partitions: &'a [i32],
    pub(crate) from: From,
    /// What the settings say if there is none.
    pub(crate) isolation: Option<IsolationLevel>,
    /// Whether to go on with what is written later.
    pub(crate) follow: bool,
}

/// A partition to read, from and to (exclusive).
#[derive(Debug)]
struct Range {
    partition: TopicPartition,
    start: i64,
    end: i64,
}

/// A reading that has begun.
#[derive(Debug)]
pub(crate) struct Reading {
    sections: mpsc::Receiver<Found>,
    /// Where each partition ends, exclusive.
    ends: HashMap<i32, i64>,
    /// Their owner: they end with the reading.
    _scans: JoinSet<()>,
}

impl Reading {
    /// Looks where the topic begins and ends, and begins to read.
    ///
    /// # Errors
    /// No answer, no such topic or partition.
    pub(crate) async fn begin(cluster: &Arc<Cluster>, selection: &Selection<'_>) -> anyhow::Result<Self> {
        let settings = cluster.fetch_settings(selection.isolation)?;
        let (topic, ranges) = cluster.first(ranges(cluster, selection, &settings)).await?;
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
        let (found, sections) = mpsc::channel::<Found>(QUEUE);
        let mut scans = JoinSet::new();
        let mut ends = HashMap::new();
        for Range { partition, start, end } in ranges {
            let end = (!selection.follow).then_some(end);
            if end.is_none_or(|end| start < end) {
                ends.insert(partition.partition, end.unwrap_or(i64::MAX));
                scans.spawn(scan(Arc::clone(&scanner), partition, start, end, found.clone()));
            }
        }
        Ok(Self {
            sections,
            ends,
            _scans: scans,
        })
    }

    /// Hands at most `limit` records to `write`, which writes them to `out`: in the order of their coming, which is that of
    /// the log within each partition. Flushes `out` before it waits, and at the end.
    ///
    /// # Errors
    /// Damaged records, what ended the reading early, or `write`.
    pub(crate) async fn each<W: Write>(
        mut self,
        limit: Option<u64>,
        out: &mut W,
        mut write: impl AsyncFnMut(&mut W, &TopicPartition, &ConsumedRecord) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let outcome = self.hand_over(limit, out, &mut write).await;
        out.flush()?;
        outcome
    }

    async fn hand_over<W: Write>(
        &mut self,
        limit: Option<u64>,
        out: &mut W,
        write: &mut impl AsyncFnMut(&mut W, &TopicPartition, &ConsumedRecord) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut left = limit.unwrap_or(u64::MAX);
        while left > 0
            && let Some(section) = self.sections.recv().await
        {
            let section = section?;
            let partition = &section.partition;
            let end = self.ends.get(&partition.partition).copied().unwrap_or(i64::MAX);
            for record in section.records() {
                let record = record?;
                if left == 0 || record.offset >= end {
                    break;
                }
                write(out, partition, &record).await?;
                left -= 1;
            }
            if self.sections.is_empty() {
                out.flush()?;
            }
        }
        Ok(())
    }
}

/// The topic, and what of it is to be read.
async fn ranges(
    cluster: &Cluster,
    selection: &Selection<'_>,
    settings: &FetchSettings,
) -> anyhow::Result<(TopicInfo, Vec<Range>)> {
    let name = selection.topic;
    let topic = cluster.told(cluster.client().topic(name).await)?;
    let topic = topic.ok_or_else(|| anyhow!("topic `{name}` does not exist"))?;
    let mut wanted = selection.partitions.to_vec();
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
    let asked = match selection.from {
        From::Timestamp(ms) => list(OffsetSpec::Timestamp(ms)).await?,
        From::Earliest | From::Latest | From::Offset(_) => vec![None; partitions.len()],
    };
    let mut ranges = Vec::with_capacity(partitions.len());
    for (((partition, first), end), asked) in partitions.into_iter().zip(firsts).zip(ends).zip(asked) {
        let (Some(first), Some(end)) = (first, end) else {
            bail!("{partition} has no offsets");
        };
        let start = match selection.from {
            From::Earliest => first,
            From::Latest => end,
            From::Offset(offset) => offset.max(first),
            // Nothing so young: there is nothing to read.
            From::Timestamp(_) => asked.map_or(end, |asked| asked.max(first)),
        };
        ranges.push(Range { partition, start, end });
    }
    let furthest = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    if let From::Offset(offset) = selection.from
        && offset > furthest
    {
        bail!("offset {offset} is beyond the end of `{name}`, which is {furthest}; a time is `timestamp:{offset}`");
    }
    Ok((topic, ranges))
}
