//! Cooperative and mixed rebalances, static members.

use std::collections::HashMap;
use std::sync::Arc;

use klamm_kafka::{
    Assigned, Assignor, ByteBudget, ConsumerConfig, FetchPool, FetchSettings, GroupEvent, GroupProtocol, OffsetReset,
    PartitionRequest, StartPosition, Subscription,
};

use crate::support::follower::{Follower, config, until_shared};
use crate::support::{PATIENCE, client, next, produce, raw, record, unique};

fn offering(group: &str, assignors: &[Assignor]) -> ConsumerConfig {
    ConsumerConfig {
        protocol: GroupProtocol::Classic {
            assignors: assignors.to_vec(),
        },
        ..config(group)
    }
}

fn request(assigned: &Assigned) -> PartitionRequest {
    PartitionRequest {
        topic: Arc::clone(&assigned.topic),
        topic_id: assigned.topic_id,
        partition: assigned.partition,
        start: StartPosition::Earliest,
        reset: OffsetReset::Earliest,
        settings: Arc::new(FetchSettings::default()),
        epoch: assigned.epoch,
    }
}

#[tokio::test]
async fn partitions_that_stay_are_read_while_others_are_given_up() {
    crate::fast_broker();
    let (topic, group) = (unique("stays"), unique("group"));
    raw::create_topic(&topic, 4, &[]);
    let client = client();
    let pool = FetchPool::new(Arc::clone(&client), Arc::new(ByteBudget::new(64 << 20)));
    let mut first = Follower::join(&client, &group, Subscription::topics([topic.as_str()]));
    first.until_holds(4).await;
    let readers = first.held.iter().map(|held| (held.partition, pool.open(request(held))));
    let mut readers: HashMap<i32, _> = readers.collect();

    let mut second = Follower::join(&client, &group, Subscription::topics([topic.as_str()]));
    let (given_up, ack) = loop {
        match tokio::time::timeout(PATIENCE, first.events.recv())
            .await
            .unwrap()
            .unwrap()
        {
            GroupEvent::Revoke { partitions, ack } => break (partitions, ack),
            other => first.follow(other),
        }
    };
    assert_eq!(given_up.len(), 2);
    first.drop(&given_up);
    // The rebalance waits for us now.
    for stays in first.partitions() {
        produce(&topic, stays, vec![record("meanwhile")]).await;
        let section = next(readers.get_mut(&stays).unwrap()).await;
        assert_eq!(section.records().count(), 1);
    }
    let offset = klamm_kafka::OffsetToCommit {
        topic: topic.as_str().into(),
        partition: *first.partitions().first().unwrap(),
        offset: 1,
        leader_epoch: None,
        metadata: String::new(),
    };
    first.member.commit(vec![offset.clone()]).await.unwrap();
    ack.done();
    until_shared(&mut first, &mut second, 4).await;
    first
        .member
        .commit(vec![offset])
        .await
        .expect("in the next generation, too");
    client.shutdown().await;
}

#[tokio::test]
async fn range_next_to_cooperative_sticky_shares_with_members_that_only_know_range() {
    crate::fast_broker();
    let (topic, group) = (unique("mixed"), unique("group"));
    raw::create_topic(&topic, 5, &[]);
    let client = client();
    let both = offering(&group, &[Assignor::Range, Assignor::CooperativeSticky]);
    let mut first = Follower::join_as(&client, both, Subscription::topics([topic.as_str()]));
    first.until_holds(5).await;
    let before: Vec<_> = first.held.iter().map(|held| held.epoch).collect();
    let range = offering(&group, &[Assignor::Range]);
    let mut second = Follower::join_as(&client, range, Subscription::topics([topic.as_str()]));
    until_shared(&mut first, &mut second, 5).await;
    let runs = [first.partitions(), second.partitions()];
    assert!(
        runs.contains(&(0..3).collect()) && runs.contains(&(3..5).collect()),
        "{runs:?}"
    );
    assert!(
        first.held.iter().all(|held| !before.contains(&held.epoch)),
        "eager: everything was given up"
    );

    let alone = offering(&group, &[Assignor::RoundRobin]);
    let mut stranger = Follower::join_as(&client, alone, Subscription::topics([topic.as_str()]));
    stranger
        .until(|m| m.state.detail.contains("partition.assignment.strategy"))
        .await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_static_member_that_restarts_finds_its_partitions_and_nobody_notices() {
    crate::fast_broker();
    let (topic, group) = (unique("restart"), unique("group"));
    raw::create_topic(&topic, 4, &[]);
    let client = client();
    let join = |name: &str| {
        let config = ConsumerConfig {
            group_instance_id: Some(name.into()),
            ..config(&group)
        };
        Follower::join_as(&client, config, Subscription::topics([topic.as_str()]))
    };
    let (mut first, mut second) = (join("one"), join("two"));
    until_shared(&mut first, &mut second, 4).await;
    first.until_holds(2).await;
    second.until_holds(2).await;
    // Either of them leads.
    for (restarts, stays) in [("one", "two"), ("two", "one")] {
        let (old, other) = if restarts == "one" {
            (&mut first, &mut second)
        } else {
            (&mut second, &mut first)
        };
        let (had, changes, generation) = (old.names(), other.changes, old.state.generation);
        let before = std::mem::replace(old, join(restarts));
        before.member.leave().await;
        tokio::select! {
            () = old.until_holds(2) => {}
            () = other.until(|_| false) => {}
        }
        assert_eq!(old.names(), had);
        assert_eq!(
            old.state.generation, generation,
            "no rebalance when {restarts} came back"
        );
        assert_eq!(other.changes, changes, "{stays} noticed");
    }
    client.shutdown().await;
}
