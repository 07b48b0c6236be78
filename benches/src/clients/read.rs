//! One client reads the whole topic twice; the second time counts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use klamm_kafka::{
    AssignmentEpoch, ByteBudget, ClientConfig, FetchPool, FetchSettings, KafkaClient, OffsetReset, PartitionRequest,
    StartPosition,
};
use tokio::task::JoinSet;

use crate::measure::{Measured, Running};

pub(crate) const TOPIC: &str = "read";
pub(crate) const PARTITIONS: i32 = 4;
pub(crate) const RECORDS: u64 = 400_000;
pub(crate) const RECORD_BYTES: usize = 1024;

/// Runs in the child process.
pub(crate) fn run(client: &str, bootstrap: &str) -> anyhow::Result<Measured> {
    match client {
        "klamm" => klamm(bootstrap),
        #[cfg(feature = "compare")]
        "rdkafka" => compare::rdkafka(bootstrap),
        #[cfg(feature = "compare")]
        "rskafka" => compare::rskafka(bootstrap),
        other => bail!("`{other}` is no client of this build"),
    }
}

/// Every value counts, so that none can be skipped.
fn check(records: u64, bytes: usize) -> anyhow::Result<()> {
    ensure!(
        records == RECORDS && u64::try_from(bytes)? == RECORDS * u64::try_from(RECORD_BYTES)?,
        "{records} records with {bytes} bytes were read instead of {RECORDS}"
    );
    Ok(())
}

/// Sockets on a thread of their own, as in a worker; decoding on this one.
fn klamm(bootstrap: &str) -> anyhow::Result<Measured> {
    let net = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let work = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = KafkaClient::new(ClientConfig::new(bootstrap.split(',')), net.handle().clone());
    let pool = FetchPool::new(Arc::clone(&client), Arc::new(ByteBudget::new(64 * 1024 * 1024)));
    let settings = Arc::new(FetchSettings::default());
    let pass = || async {
        let mut partitions = JoinSet::new();
        for partition in 0..PARTITIONS {
            let mut reader = pool.open(PartitionRequest {
                topic: TOPIC.into(),
                topic_id: None,
                partition,
                start: StartPosition::Offset(0),
                reset: OffsetReset::None,
                settings: Arc::clone(&settings),
                epoch: AssignmentEpoch::next(),
            });
            partitions.spawn(async move {
                let (mut records, mut bytes) = (0_u64, 0);
                while records < RECORDS / u64::from(PARTITIONS.unsigned_abs()) {
                    let section = reader.next().await?;
                    for record in section.records() {
                        records += 1;
                        bytes += record?.value.map_or(0, |value| value.len());
                    }
                }
                anyhow::Ok((records, bytes))
            });
        }
        let (mut records, mut bytes) = (0, 0);
        while let Some(partition) = partitions.join_next().await {
            let (read, size) = partition.context("a reader panicked")??;
            records += read;
            bytes += size;
        }
        check(records, bytes)
    };
    work.block_on(pass())?;
    let running = Running::start();
    work.block_on(pass())?;
    let measured = running.stop(RECORDS)?;
    work.block_on(client.shutdown());
    net.shutdown_timeout(Duration::from_secs(1));
    Ok(measured)
}

#[cfg(feature = "compare")]
mod compare {
    use std::time::Duration;

    use anyhow::Context as _;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::{ClientConfig, Offset, TopicPartitionList};
    use rskafka::client::ClientBuilder;
    use rskafka::client::partition::UnknownTopicHandling;

    use super::{PARTITIONS, RECORDS, TOPIC, check};
    use crate::measure::{Measured, Running};

    pub(super) fn rdkafka(bootstrap: &str) -> anyhow::Result<Measured> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            // As the others do; off by default in librdkafka.
            .set("check.crcs", "true")
            .create()?;
        let pass = || {
            let mut partitions = TopicPartitionList::new();
            for partition in 0..PARTITIONS {
                partitions.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
            }
            consumer.assign(&partitions)?;
            let (mut records, mut bytes) = (0, 0);
            while records < RECORDS {
                let message = consumer
                    .poll(Duration::from_secs(30))
                    .context("no record within 30 s")??;
                records += 1;
                bytes += message.payload_len();
            }
            consumer.unassign()?;
            check(records, bytes)
        };
        pass()?;
        let running = Running::start();
        pass()?;
        running.stop(RECORDS)
    }

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn rskafka(bootstrap: &str) -> anyhow::Result<Measured> {
        let brokers = bootstrap.split(',').map(str::to_owned).collect();
        let client = ClientBuilder::new(brokers).build().await?;
        let mut partitions = Vec::new();
        for partition in 0..PARTITIONS {
            partitions.push(
                client
                    .partition_client(TOPIC, partition, UnknownTopicHandling::Error)
                    .await?,
            );
        }
        let pass = || async {
            let (mut records, mut bytes) = (0, 0);
            for partition in &partitions {
                let mut offset = 0;
                loop {
                    let (read, end) = partition.fetch_records(offset, 1..1024 * 1024, 500).await?;
                    for record in &read {
                        records += 1;
                        bytes += record.record.value.as_ref().map_or(0, Vec::len);
                    }
                    offset = read.last().map_or(offset, |last| last.offset + 1);
                    if offset >= end {
                        break;
                    }
                }
            }
            check(records, bytes)
        };
        pass().await?;
        let running = Running::start();
        pass().await?;
        running.stop(RECORDS)
    }
}
