//! Topics and records, made by rskafka: a client that is not ours.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rskafka::chrono::{DateTime, Utc};
use rskafka::client::partition::{OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use tokio::time::timeout;

pub use rskafka::client::partition::Compression;

use crate::wait::LIMIT;

/// Records sent in one request.
const BATCH: usize = 500;

/// Every compression that Kafka knows.
pub const CODECS: [Compression; 5] = [
    Compression::NoCompression,
    Compression::Gzip,
    Compression::Lz4,
    Compression::Snappy,
    Compression::Zstd,
];

/// Key and value of a record; `None` is null.
pub type KeyValue = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A record that the broker has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Produced {
    /// The partition it went to.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// The id in its value.
    pub id: u64,
}

/// Creates topics and produces records.
#[derive(Debug)]
pub struct Producer {
    client: Client,
}

impl Producer {
    /// Connects to a cluster.
    ///
    /// # Errors
    /// No broker answers in time.
    pub async fn connect(bootstrap: &str) -> anyhow::Result<Self> {
        let brokers = bootstrap.split(',').map(str::to_owned).collect();
        let connecting = ClientBuilder::new(brokers).client_id("klamm-tests").build();
        let client = timeout(LIMIT, connecting)
            .await
            .with_context(|| format!("no answer from {bootstrap}"))??;
        Ok(Self { client })
    }

    /// Creates a topic and waits until its partitions have leaders.
    ///
    /// # Errors
    /// It exists already, or the broker refuses it or does not answer in time.
    pub async fn create_topic(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let creating = async {
            self.client
                .controller_client()?
                .create_topic(topic, partitions, 1, 10_000)
                .await?;
            for partition in 0..partitions {
                self.partition(topic, partition)
                    .await?
                    .get_offset(OffsetAt::Latest)
                    .await?;
            }
            anyhow::Ok(())
        };
        timeout(LIMIT, creating)
            .await
            .with_context(|| format!("topic `{topic}` is not ready in time"))?
    }

    /// Produces `{"id": n, "text": "record n"}` with the key `key-<n % 10>` for each id, round-robin over the partitions,
    /// and returns where each went, in the order of ids.
    ///
    /// # Errors
    /// The broker refuses a record or does not answer in time.
    pub async fn produce_json(
        &self,
        topic: &str,
        partitions: i32,
        ids: Range<u64>,
        compression: Compression,
    ) -> anyhow::Result<Vec<Produced>> {
        let record = |id: u64| {
            let value = serde_json::json!({"id": id, "text": format!("record {id}")});
            (
                Some(format!("key-{}", id % 10).into_bytes()),
                Some(value.to_string().into_bytes()),
            )
        };
        let count = u64::try_from(partitions).context("partitions must be positive")?;
        let mut produced = Vec::new();
        for partition in 0..partitions {
            let residue = u64::try_from(partition)?;
            let ids: Vec<u64> = ids.clone().filter(|id| id % count == residue).collect();
            let records = ids.iter().map(|&id| record(id)).collect();
            let offsets = self.produce(topic, partition, records, compression).await?;
            produced.extend(
                ids.iter()
                    .zip(offsets)
                    .map(|(&id, offset)| Produced { partition, offset, id }),
            );
        }
        produced.sort_by_key(|record| record.id);
        Ok(produced)
    }

    /// Produces records of these keys and values to one partition, and returns their offsets.
    ///
    /// # Errors
    /// The broker refuses a record or does not answer in time.
    pub async fn produce(
        &self,
        topic: &str,
        partition: i32,
        records: Vec<KeyValue>,
        compression: Compression,
    ) -> anyhow::Result<Vec<i64>> {
        let timestamp = now();
        let mut records = records
            .into_iter()
            .map(|(key, value)| Record {
                key,
                value,
                headers: BTreeMap::new(),
                timestamp,
            })
            .peekable();
        let client = self.partition(topic, partition).await?;
        let mut offsets = Vec::new();
        while records.peek().is_some() {
            let batch = records.by_ref().take(BATCH).collect();
            offsets.extend(send(&client, batch, compression).await?);
        }
        Ok(offsets)
    }

    /// Produces records with headers, timestamps and all to one partition, in one request, and returns their offsets.
    ///
    /// # Errors
    /// The broker refuses a record or does not answer in time.
    pub async fn produce_records(
        &self,
        topic: &str,
        partition: i32,
        records: Vec<Record>,
        compression: Compression,
    ) -> anyhow::Result<Vec<i64>> {
        send(&self.partition(topic, partition).await?, records, compression).await
    }

    async fn partition(&self, topic: &str, partition: i32) -> anyhow::Result<PartitionClient> {
        let finding = self
            .client
            .partition_client(topic, partition, UnknownTopicHandling::Retry);
        Ok(timeout(LIMIT, finding)
            .await
            .with_context(|| format!("{topic}-{partition} has no leader in time"))??)
    }
}

async fn send(client: &PartitionClient, batch: Vec<Record>, compression: Compression) -> anyhow::Result<Vec<i64>> {
    let sending = client.produce(batch, compression);
    let answer = timeout(LIMIT, sending).await.with_context(|| {
        format!(
            "{}-{} did not acknowledge records in time",
            client.topic(),
            client.partition()
        )
    })?;
    Ok(answer?)
}

/// The wall clock: the broker deletes what is older than its retention and refuses what is far ahead.
///
/// # Panics
/// The clock stands before 1970 or beyond what a timestamp can hold.
#[expect(clippy::disallowed_methods, reason = "records on a real broker need real timestamps")]
pub fn now() -> DateTime<Utc> {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    let millis = i64::try_from(since_epoch.as_millis()).expect("a clock that fits a timestamp");
    DateTime::from_timestamp_millis(millis).expect("a clock that fits a timestamp")
}
