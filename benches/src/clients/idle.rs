//! A thousand groups of ten partitions that nothing is written to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use klamm_kafka::{
    ByteBudget, ClientConfig, ConsumerConfig, FetchPool, GroupEvent, GroupMember, KafkaClient, NewTopic, OffsetReset,
    PartitionReader, PartitionRequest, StartPosition, Submission, Subscription,
};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::measure::{Measured, Running};

pub(crate) const GROUPS: usize = 1_000;
pub(crate) const PARTITIONS: usize = 10;
/// Until all members have joined and found their positions.
const PATIENCE: Duration = Duration::from_secs(180);
/// Lets go by what starting leaves behind.
const SETTLE: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(30);

fn topic(group: usize) -> String {
    format!("idle-{group}")
}

/// Makes the topics; in the parent, so that the client that is measured holds nothing but what it uses.
pub(crate) async fn create_topics(bootstrap: &str) -> anyhow::Result<()> {
    /// A request that makes more keeps the brokers busy beyond its time-out.
    const AT_ONCE: usize = 100;
    let client = KafkaClient::new(
        ClientConfig::new(bootstrap.split(',')),
        tokio::runtime::Handle::current(),
    );
    let partitions = i32::try_from(PARTITIONS)?;
    let topics: Vec<NewTopic> = (0..GROUPS)
        .map(|group| {
            NewTopic::new(topic(group))
                .with_partitions(partitions)
                .with_replication_factor(1)
        })
        .collect();
    for topics in topics.chunks(AT_ONCE) {
        for (topic, created) in client.create_topics(topics, Submission::Apply).await? {
            created.with_context(|| format!("topic `{topic}` cannot be made"))?;
        }
    }
    client.shutdown().await;
    Ok(())
}

/// Runs in the child process.
pub(crate) fn run(bootstrap: &str) -> anyhow::Result<Measured> {
    let net = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let work = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = KafkaClient::new(ClientConfig::new(bootstrap.split(',')), net.handle().clone());
    let pool = FetchPool::new(Arc::clone(&client), Arc::new(ByteBudget::new(64 * 1024 * 1024)));
    let measured = work.block_on(async {
        let mut joining = JoinSet::new();
        for group in 0..GROUPS {
            joining.spawn(join(Arc::clone(&client), pool.clone(), group));
        }
        let mut idle = Vec::new();
        timeout(PATIENCE, async {
            while let Some(member) = joining.join_next().await {
                idle.push(member.context("a member panicked")??);
            }
            anyhow::Ok(())
        })
        .await
        .with_context(|| format!("not all of {GROUPS} members joined within {PATIENCE:?}"))??;
        let mut readers = JoinSet::new();
        let mut members = Vec::new();
        for (member, events, partitions) in idle {
            members.push((member, events));
            for mut reader in partitions {
                // Nothing ever comes; what is wrong does.
                readers.spawn(async move { reader.next().await.map(drop) });
            }
        }
        sleep(SETTLE).await;
        let running = Running::start();
        tokio::select! {
            () = sleep(WINDOW) => {}
            Some(read) = readers.join_next() => bail!("an idle partition is not idle: {read:?}"),
        }
        running.stop(0)
    })?;
    // Leaving one by one would take longer than anybody wants to wait; their sessions expire.
    net.shutdown_background();
    Ok(measured)
}

type Idle = (GroupMember, klamm_kafka::GroupEvents, Vec<PartitionReader>);

async fn join(client: Arc<KafkaClient>, pool: FetchPool, group: usize) -> anyhow::Result<Idle> {
    let config = ConsumerConfig::new(format!("group-{group}"));
    let settings = Arc::clone(&config.fetch);
    let (member, mut events) = GroupMember::join(&client, config, Subscription::topics([topic(group)]));
    let mut readers: Vec<PartitionReader> = Vec::new();
    while readers.len() < PARTITIONS {
        let event = events.recv().await.context("the member ended")?;
        let GroupEvent::Assign { partitions } = event else {
            continue;
        };
        readers.extend(partitions.into_iter().map(|assigned| {
            pool.open(PartitionRequest {
                topic: assigned.topic,
                topic_id: assigned.topic_id,
                partition: assigned.partition,
                start: StartPosition::Offset(0),
                reset: OffsetReset::Earliest,
                settings: Arc::clone(&settings),
                epoch: assigned.epoch,
            })
        }));
    }
    Ok((member, events, readers))
}
