//! KIP-848: the broker assigns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use klamm_kafka::{CommitError, ConsumerConfig, GroupProtocol, KafkaClient, MemberPhase, OffsetToCommit, Subscription};

use crate::support::follower::{Follower, until_shared};
use crate::support::{client, raw, unique};

fn config(group: &str) -> ConsumerConfig {
    ConsumerConfig {
        protocol: GroupProtocol::Consumer { remote_assignor: None },
        ..ConsumerConfig::new(group)
    }
}

fn join(client: &Arc<KafkaClient>, group: &str, topic: &str) -> Follower {
    Follower::join_as(client, config(group), Subscription::topics([topic]))
}

fn commit_of(topic: &str, partition: i32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: topic.into(),
        partition,
        offset,
        leader_epoch: None,
        metadata: String::new(),
    }
}

#[tokio::test]
async fn members_share_commit_and_inherit() {
    crate::fast_broker();
    let (topic, group) = (unique("k848"), unique("group"));
    raw::create_topic(&topic, 5, &[]);
    let client = client();
    let mut first = join(&client, &group, &topic);
    first.until_holds(5).await;
    let epochs: BTreeSet<_> = first.held.iter().map(|held| held.epoch).collect();
    let mut second = join(&client, &group, &topic);
    until_shared(&mut first, &mut second, 5).await;
    assert!(
        first.held.iter().all(|held| epochs.contains(&held.epoch)),
        "what stays, stays"
    );

    let partition = second.held[0].partition;
    second
        .member
        .commit(vec![commit_of(&topic, partition, 7)])
        .await
        .unwrap();
    let foreign = first.member.commit(vec![commit_of(&topic, partition, 8)]).await;
    assert!(foreign.as_ref().is_err_and(CommitError::is_fenced), "{foreign:?}");
    second.member.leave().await;
    first.until_holds(5).await;
    let inherited = first.held.iter().find(|held| held.partition == partition).unwrap();
    assert_eq!(inherited.committed.as_ref().map(|committed| committed.offset), Some(7));
    client.shutdown().await;
}

#[tokio::test]
async fn a_pattern_without_a_topic_waits_for_one() {
    crate::fast_broker();
    let (stem, group) = (unique("k848-later"), unique("group"));
    let client = client();
    let pattern = Subscription::pattern(&format!("{stem}\\..*")).unwrap();
    let mut member = Follower::join_as(&client, config(&group), pattern);
    member.until(|m| m.state.phase == MemberPhase::Stable).await;
    raw::create_topic(&format!("{stem}.a"), 2, &[]);
    member.until_holds(2).await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_member_that_the_broker_dropped_loses_everything_and_comes_back() {
    crate::fast_broker();
    let (topic, group) = (unique("k848-fenced"), unique("group"));
    raw::create_topic(&topic, 1, &[]);
    let client = client();
    let mut member = join(&client, &group, &topic);
    member.until_holds(1).await;
    let epoch = member.held[0].epoch;
    let id = member.state.member_id.clone().unwrap();
    client.leave_stale_member(&group, &id).await.unwrap();
    member
        .until(|m| m.held.first().is_some_and(|held| held.epoch != epoch))
        .await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_member_that_was_killed_is_replaced_at_once_when_its_id_is_known() {
    crate::fast_broker();
    let (topic, group) = (unique("k848-killed"), unique("group"));
    raw::create_topic(&topic, 1, &[]);
    let first = client();
    let mut killed = join(&first, &group, &topic);
    killed.until_holds(1).await;
    let id = killed.state.member_id.clone().unwrap();
    // Ends without leaving: the session of 45 s goes on, which is most of what the test has.
    first.shutdown().await;
    let second = client();
    let began = tokio::time::Instant::now();
    let mut next = join(&second, &group, &topic);
    second.leave_stale_member(&group, &id).await.unwrap();
    next.until_holds(1).await;
    assert!(began.elapsed().as_secs() < 30, "it waited for the session");
    second.shutdown().await;
}

// Only a member that had been told its epoch left: one that stopped before was given partitions until its session of 45 s
// ended.
#[tokio::test]
async fn a_member_that_stops_while_it_joins_leaves_nothing_behind() {
    crate::fast_broker();
    let (topic, group) = (unique("k848-stopped"), unique("group"));
    raw::create_topic(&topic, 2, &[]);
    let client = client();
    client.topic(&topic).await.unwrap();
    for wait_ms in 0..20 {
        let mut stopped = join(&client, &group, &topic);
        stopped.until(|m| m.state.phase == MemberPhase::Joining).await;
        // Anywhere between sending the first heartbeat and getting its answer.
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        stopped.member.leave().await;
    }
    let began = tokio::time::Instant::now();
    let mut next = join(&client, &group, &topic);
    next.until_holds(2).await;
    assert!(began.elapsed().as_secs() < 30, "it waited for the session of another");
    client.shutdown().await;
}

#[tokio::test]
async fn a_static_member_that_restarts_finds_its_partitions_and_a_double_waits() {
    crate::fast_broker();
    let (topic, group) = (unique("k848-static"), unique("group"));
    raw::create_topic(&topic, 4, &[]);
    let client = client();
    let join_as = |name: &str| {
        let config = ConsumerConfig {
            group_instance_id: Some(name.into()),
            ..config(&group)
        };
        Follower::join_as(&client, config, Subscription::topics([topic.as_str()]))
    };
    let (mut first, mut second) = (join_as("one"), join_as("two"));
    until_shared(&mut first, &mut second, 4).await;
    first.until_holds(2).await;
    second.until_holds(2).await;
    let (had, changes) = (first.names(), second.changes);
    first.member.leave().await;
    let mut first = join_as("one");
    tokio::select! {
        () = first.until_holds(2) => {}
        () = second.until(|_| false) => {}
    }
    assert_eq!(first.names(), had);
    assert_eq!(second.changes, changes, "the other member noticed");

    let mut double = join_as("one");
    double.until(|m| m.state.detail.contains("`group.instance.id`")).await;
    assert!(double.held.is_empty());
    client.shutdown().await;
}

#[tokio::test]
async fn an_assignor_that_the_broker_lacks_is_named_in_the_state() {
    crate::fast_broker();
    let (topic, group) = (unique("k848-assignor"), unique("group"));
    let client = client();
    let config = ConsumerConfig {
        protocol: GroupProtocol::Consumer {
            remote_assignor: Some("mine".into()),
        },
        ..config(&group)
    };
    let mut member = Follower::join_as(&client, config, Subscription::topics([topic.as_str()]));
    member.until(|m| m.state.phase == MemberPhase::Waiting).await;
    let detail = &member.state.detail;
    assert!(
        detail.contains(&format!("group `{group}`")) && detail.contains("set `group.remote.assignor`"),
        "{detail}"
    );
    client.shutdown().await;
}
