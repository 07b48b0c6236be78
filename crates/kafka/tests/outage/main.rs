//! The broker is killed and comes back, the network goes silent: nobody fails, nothing is lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "test code"
)]

#[path = "../support/mod.rs"]
mod support;

mod proxy;
mod silence;

/// Brokers of the cluster under test.
pub const BROKERS: u32 = 1;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use klamm_kafka::{
    ClientConfig, ClusterHealth, ConsumerConfig, GroupEvent, GroupMember, KafkaClient, MemberPhase, OffsetToCommit,
    StartPosition, Subscription,
};
use support::{PATIENCE, broker, client, from, net, offsets, pool, produce, raw, read_to, record};
use tokio::sync::{Mutex, MutexGuard};

/// Each test needs the one broker to itself.
pub async fn alone() -> MutexGuard<'static, ()> {
    static BROKER: OnceLock<Mutex<()>> = OnceLock::new();
    BROKER.get_or_init(Mutex::default).lock().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_members_outlive_a_killed_broker() {
    let _alone = alone().await;
    let bootstrap = proxy::proxy().address.as_str();
    raw::create_topic("t", 2, &[]);
    produce("t", 0, (0..10).map(|i| record(i.to_string())).collect()).await;
    let first = client();
    let pool = pool(&first);
    let mut reader = pool.open(from("t", StartPosition::Earliest));
    assert_eq!(offsets(&read_to(&mut reader, 10).await), (0..10).collect::<Vec<_>>());
    let mut config = ConsumerConfig::new("g");
    config.heartbeat_interval = Duration::from_millis(100);
    let (member, mut events) = GroupMember::join(&first, config, Subscription::topics(["t"]));
    let held = async {
        loop {
            if let GroupEvent::Assign { partitions } = events.recv().await.unwrap() {
                break partitions;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, held).await.unwrap().len(), 2);

    broker().run(&["kill", "1"]);

    // A client that starts now waits and says so; so does the one that was there before.
    let mut config = ClientConfig::new([bootstrap]);
    config.metadata_max_age = Duration::from_millis(500);
    let second = KafkaClient::new(config, net());
    let waiting = {
        let second = Arc::clone(&second);
        tokio::task::JoinSet::from_iter([async move { second.topic("t").await }])
    };
    for (client, bootstrap) in [(&first, broker().bootstrap.as_str()), (&second, bootstrap)] {
        let mut health = client.health();
        let away = health.wait_for(|health| matches!(health, ClusterHealth::Unreachable { .. }));
        let text = tokio::time::timeout(PATIENCE, away).await.unwrap().unwrap().to_string();
        assert!(
            text.starts_with(&format!("waiting for Kafka at {bootstrap} since ")),
            "{text}"
        );
    }
    let mut next = Box::pin(reader.next());
    assert!(futures_util::poll!(&mut next).is_pending());

    broker().run(&["start", "1"]);

    let found = tokio::time::timeout(PATIENCE, waiting.join_all()).await.unwrap();
    assert_eq!(found.into_iter().next().unwrap().unwrap().unwrap().partitions, 2);
    produce("t", 0, vec![record("after")]).await;
    let section = tokio::time::timeout(PATIENCE, next).await.unwrap().unwrap();
    let records: Vec<_> = section.records().map(Result::unwrap).collect();
    assert_eq!(offsets(&records), [10], "neither lost nor twice");

    // The member may go on as it was, or have to join again; either way it ends up able to commit.
    let commit = || {
        vec![OffsetToCommit {
            topic: "t".into(),
            partition: 0,
            offset: 11,
            leader_epoch: None,
            metadata: String::new(),
        }]
    };
    let committed = async {
        while member.commit(commit()).await.is_err() {
            match events.recv().await.unwrap() {
                GroupEvent::Revoke { ack, .. } => ack.done(),
                GroupEvent::Assign { .. } | GroupEvent::Lost { .. } | GroupEvent::State(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, committed).await.unwrap();
    assert_eq!(member.state().phase, MemberPhase::Stable);
    assert_eq!(second.fetch_committed("g", None).await.unwrap().len(), 1);
    member.leave().await;
    first.shutdown().await;
    second.shutdown().await;
}
