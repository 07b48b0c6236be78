//! A member of a group whose coordinator answers some calls and not others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use klamm_kafka::{
    ClientConfig, ConsumerConfig, GroupEvent, GroupEvents, GroupMember, KafkaClient, OffsetToCommit, Subscription,
};

use crate::answers::PATIENCE;
use crate::server::{Bad, Server};

/// With the time-outs of the default settings, except those of the session.
fn join(server: &Server) -> (Arc<KafkaClient>, GroupMember, GroupEvents) {
    let config = ClientConfig::new([server.address.to_string()]);
    let client = KafkaClient::new(config, tokio::runtime::Handle::current());
    let mut config = ConsumerConfig::new("g");
    config.session_timeout = Duration::from_secs(2);
    config.heartbeat_interval = Duration::from_millis(50);
    let (member, events) = GroupMember::join(&client, config, Subscription::topics(["t"]));
    (client, member, events)
}

async fn assigned(events: &mut GroupEvents) {
    let assigned = async { while !matches!(events.recv().await, Some(GroupEvent::Assign { .. })) {} };
    tokio::time::timeout(PATIENCE, assigned).await.unwrap();
}

// Both went over one connection, whose requests a broker serves one by one: a commit that waited for its replicas kept
// the heartbeats of all groups waiting.
#[tokio::test]
async fn a_commit_that_takes_its_time_delays_no_heartbeat() {
    let heartbeats = Arc::new(AtomicUsize::new(0));
    let script = {
        let heartbeats = Arc::clone(&heartbeats);
        move |asked: ApiKey, count| {
            if asked == ApiKey::Heartbeat {
                heartbeats.store(count, Ordering::Relaxed);
            }
            (asked == ApiKey::OffsetCommit).then_some(Bad::Stuck)
        }
    };
    let server = Server::start(Bytes::new(), Arc::new(script)).await;
    let (client, member, mut events) = join(&server);
    assigned(&mut events).await;
    let commit = member.commit(vec![OffsetToCommit {
        topic: "t".into(),
        partition: 0,
        offset: 1,
        leader_epoch: None,
        metadata: String::new(),
    }]);
    let beating = async {
        // The commit is out.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = heartbeats.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
        heartbeats.load(Ordering::Relaxed) - before
    };
    tokio::select! {
        committed = commit => panic!("it is not answered: {committed:?}"),
        beats = beating => assert!(beats >= 3, "{beats}"),
    }
    client.shutdown().await;
}

// A call that waits for the other members was given up after `max.poll.interval.ms`, five minutes, whatever became of
// the coordinator.
#[tokio::test]
async fn a_coordinator_that_falls_silent_under_a_join_is_noticed_within_a_session() {
    // The first attempt to join, and the first question whether the coordinator is one still; the first of all finds it.
    let script = |asked: ApiKey, count| match (asked, count) {
        (ApiKey::JoinGroup, 0) | (ApiKey::FindCoordinator, 1) => Some(Bad::Stuck),
        _ => None,
    };
    let server = Server::start(Bytes::new(), Arc::new(script)).await;
    let (client, member, mut events) = join(&server);
    assigned(&mut events).await;
    member.leave().await;
    client.shutdown().await;
}
