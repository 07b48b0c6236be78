//! Membership: sharing, rebalancing, commits.

use std::collections::BTreeSet;
use std::time::Duration;

use klamm_kafka::{CommitError, ConsumerConfig, GroupEvent, MemberPhase, OffsetToCommit, Subscription, TopicPartition};

use crate::support::follower::Follower;
use crate::support::{PATIENCE, client, raw, unique};

fn commit_of(topic: &str, partition: i32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: topic.into(),
        partition,
        offset,
        leader_epoch: None,
        metadata: "m".to_owned(),
    }
}

#[tokio::test]
async fn two_members_share_and_one_inherits_when_the_other_leaves() {
    let (topic, group) = (unique("share"), unique("group"));
    raw::create_topic(&topic, 5, &[]);
    let client = client();
    let mut first = Follower::join(&client, &group, Subscription::topics([topic.as_str()]));
    first.until_holds(5).await;
    let epochs: BTreeSet<_> = first.held.iter().map(|partition| partition.epoch).collect();
    assert_eq!(epochs.len(), 5, "every assignment has an epoch of its own");

    let mut second = Follower::join(&client, &group, Subscription::topics([topic.as_str()]));
    let both = async {
        while first.held.len() + second.held.len() != 5 || first.held.len() == 5 {
            tokio::select! {
                () = first.step() => {}
                () = second.step() => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert!(first.names().is_disjoint(&second.names()));
    assert!(
        first.held.iter().all(|partition| epochs.contains(&partition.epoch)),
        "what stays is the same assignment"
    );
    assert!(
        second.held.iter().all(|partition| !epochs.contains(&partition.epoch)),
        "a new assignment, a new epoch"
    );

    second.member.leave().await;
    first.until_holds(5).await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_topic_that_is_made_later_and_grows_is_noticed() {
    let (topic, group) = (unique("grows"), unique("group"));
    let client = client();
    let mut member = Follower::join(&client, &group, Subscription::topics([topic.as_str()]));
    member.until(|m| m.state.phase == MemberPhase::Stable).await;
    assert_eq!(
        member.state.detail,
        format!("0 partitions assigned, waiting for topic `{topic}` to be created")
    );
    raw::create_topic(&topic, 1, &[]);
    member.until_holds(1).await;
    raw::add_partitions(&topic, 3);
    member.until_holds(3).await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_pattern_finds_topics_of_now_and_later() {
    let (stem, group) = (unique("pattern"), unique("group"));
    raw::create_topic(&format!("{stem}.a"), 1, &[]);
    raw::create_topic(&format!("x{stem}.a"), 1, &[]);
    let client = client();
    let pattern = Subscription::pattern(&format!("{stem}\\..*")).unwrap();
    let mut member = Follower::join(&client, &group, pattern);
    member.until_holds(1).await;
    raw::create_topic(&format!("{stem}.b"), 2, &[]);
    member.until_holds(3).await;
    let wanted = [format!("{stem}.a-0"), format!("{stem}.b-0"), format!("{stem}.b-1")];
    assert_eq!(member.names(), BTreeSet::from(wanted));
    client.shutdown().await;
}

#[tokio::test]
async fn commits_come_back_with_the_next_assignment() {
    let (topic, group) = (unique("commit"), unique("group"));
    raw::create_topic(&topic, 2, &[]);
    let client = client();
    let mut member = Follower::join(&client, &group, Subscription::topics([topic.as_str()]));
    member.until_holds(2).await;
    assert!(member.held.iter().all(|partition| partition.committed.is_none()));
    member.member.commit(vec![commit_of(&topic, 1, 42)]).await.unwrap();
    let partition = TopicPartition::new(topic.as_str(), 1);
    let committed = client.fetch_committed(&group, None).await.unwrap();
    assert_eq!((committed.len(), committed[&partition].offset), (1, 42));

    let foreign = member.member.commit(vec![commit_of("other", 0, 1)]).await.unwrap_err();
    assert!(foreign.is_fenced(), "{foreign}");
    // The offset counts, whatever the broker thinks of the text beside it, and what is not too long beside it.
    let oversized = OffsetToCommit {
        metadata: "m".repeat(5_000),
        ..commit_of(&topic, 1, 43)
    };
    member
        .member
        .commit(vec![commit_of(&topic, 0, 7), oversized])
        .await
        .unwrap();

    member.member.leave().await;
    let mut next = Follower::join(&client, &group, Subscription::topics([topic.as_str()]));
    next.until_holds(2).await;
    let found: Vec<_> = next
        .held
        .iter()
        .map(|p| p.committed.as_ref().map(|c| (c.offset, c.metadata.as_str())))
        .collect();
    assert_eq!(found, [Some((7, "m")), Some((43, ""))]);
    client.shutdown().await;
}

#[tokio::test]
async fn a_member_that_was_killed_is_replaced_at_once_when_its_id_is_known() {
    let (topic, group) = (unique("killed"), unique("group"));
    raw::create_topic(&topic, 1, &[]);
    let first = client();
    let mut killed = Follower::join(&first, &group, Subscription::topics([topic.as_str()]));
    killed.until_holds(1).await;
    let member_id = killed.state.member_id.clone().unwrap();
    // Ends without leaving: the coordinator still waits for the session of 15 s.
    first.shutdown().await;

    let second = client();
    second.leave_stale_member(&group, &member_id).await.unwrap();
    second
        .leave_stale_member(&group, &member_id)
        .await
        .expect("gone already is fine");
    let began = tokio::time::Instant::now();
    let mut next = Follower::join(&second, &group, Subscription::topics([topic.as_str()]));
    next.until_holds(1).await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it waited for the session: {:?}",
        began.elapsed()
    );
    second.shutdown().await;
}

#[tokio::test]
async fn a_member_that_the_coordinator_dropped_loses_its_partitions_and_comes_back() {
    let (topic, group) = (unique("fenced"), unique("group"));
    raw::create_topic(&topic, 1, &[]);
    let client = client();
    let mut member = Follower::join(&client, &group, Subscription::topics([topic.as_str()]));
    member.until_holds(1).await;
    let old = member.state.member_id.clone().unwrap();
    let epoch = member.held[0].epoch;
    client.leave_stale_member(&group, &old).await.unwrap();
    let fenced = member.member.commit(vec![commit_of(&topic, 0, 1)]).await;
    assert!(fenced.as_ref().is_err_and(CommitError::is_fenced), "{fenced:?}");
    member
        .until(|m| m.held.first().is_some_and(|partition| partition.epoch != epoch))
        .await;
    assert_ne!(member.member.state().member_id, Some(old));
    client.shutdown().await;
}

#[tokio::test]
async fn static_members_keep_their_partitions_over_a_restart_and_are_fenced_by_a_double() {
    let (topic, group) = (unique("static"), unique("group"));
    raw::create_topic(&topic, 1, &[]);
    let client = client();
    let mut config = ConsumerConfig::new(group.as_str());
    config.heartbeat_interval = Duration::from_millis(100);
    config.group_instance_id = Some("one".into());
    let join = || Follower::join_as(&client, config.clone(), Subscription::topics([topic.as_str()]));
    let mut first = join();
    first.until_holds(1).await;
    let mut double = join();
    double.until_holds(1).await;
    first.until(|m| m.state.phase == MemberPhase::Fenced).await;
    assert!(first.held.is_empty(), "what the double holds was reported as lost");
    client.shutdown().await;
}

#[tokio::test]
async fn a_slow_revocation_keeps_the_membership_and_a_dropped_ack_ends_it() {
    let (topic, group) = (unique("slow"), unique("group"));
    raw::create_topic(&topic, 2, &[]);
    let client = client();
    let mut first = Follower::join(&client, &group, Subscription::topics([topic.as_str()]));
    first.until_holds(2).await;
    let mut second = Follower::join(&client, &group, Subscription::topics([topic.as_str()]));
    let (revoked, ack) = loop {
        match tokio::time::timeout(PATIENCE, first.events.recv())
            .await
            .unwrap()
            .unwrap()
        {
            GroupEvent::Revoke { partitions, ack } => break (partitions, ack),
            GroupEvent::State(_) => {}
            other => panic!("{other:?}"),
        }
    };
    // Until the acknowledgement the partitions are still ours to commit.
    first
        .member
        .commit(vec![commit_of(&topic, 0, 7), commit_of(&topic, 1, 7)])
        .await
        .unwrap();
    assert!(second.held.is_empty());
    drop(ack);
    first.drop(&revoked);
    let both = async {
        while first.held.len() != 1 || second.held.len() != 1 {
            tokio::select! {
                () = first.step() => {}
                () = second.step() => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert_eq!(
        second.held[0].committed.as_ref().map(|committed| committed.offset),
        Some(7)
    );
    client.shutdown().await;
}
