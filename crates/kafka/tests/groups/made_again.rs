//! Topics that are deleted, and perhaps made again, while a member holds their partitions.

use std::sync::Arc;
use std::time::Duration;

use klamm_kafka::{
    CommitError, ConsumerConfig, GroupProtocol, KafkaClient, MemberPhase, OffsetToCommit, Subscription, TopicInfo, Uuid,
};

use crate::support::follower::{Follower, config};
use crate::support::{client, raw, unique};

fn commit_of(topic: &str, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: topic.into(),
        partition: 0,
        offset,
        leader_epoch: None,
        metadata: String::new(),
    }
}

/// Asks until the client knows the topic as wanted; what a broker has deleted it may know for a moment longer.
async fn until_known(client: &Arc<KafkaClient>, topic: &str, wanted: impl Fn(Option<TopicInfo>) -> bool) {
    while !wanted(client.topic(topic).await.unwrap()) {}
}

/// Deletes and makes the topic, tries to commit for the old one, and has the client notice. Returns the new id.
async fn made_again(client: &Arc<KafkaClient>, member: &Follower, topic: &str) -> Option<Uuid> {
    let old = member.held[0].topic_id;
    raw::delete_topic(topic);
    // Deleting takes a moment, during which the name is still taken.
    while raw::try_create_topic(topic, 1, &[]).is_some() {
        tokio::task::yield_now().await;
    }
    // Nobody has told the client yet, so that it is taken for a commit of the new topic, or refused.
    drop(member.member.commit(vec![commit_of(topic, 5)]).await);
    until_known(client, topic, |now| now.is_some_and(|now| now.id != old)).await;
    client.topic(topic).await.unwrap().unwrap().id
}

#[tokio::test]
async fn a_topic_made_again_is_read_from_its_start_whatever_was_committed_too_late() {
    crate::fast_broker();
    let (topic, group) = (unique("again"), unique("group"));
    raw::create_topic(&topic, 1, &[]);
    let client = client();
    let mut member = Follower::join(&client, &group, Subscription::topics([topic.as_str()]));
    member.until_holds(1).await;
    let new = made_again(&client, &member, &topic).await;
    member
        .until(|m| m.held.first().is_some_and(|held| held.topic_id == new))
        .await;
    let committed = member.held[0].committed.as_ref().map(|committed| committed.offset);
    assert_eq!(committed, Some(0));
    client.shutdown().await;
}

#[tokio::test]
async fn the_broker_assigns_a_topic_made_again_before_anybody_holds_it() {
    crate::fast_broker();
    let (topic, group) = (unique("k848-again"), unique("group"));
    raw::create_topic(&topic, 1, &[]);
    let client = client();
    let config = ConsumerConfig {
        protocol: GroupProtocol::Consumer { remote_assignor: None },
        ..config(&group)
    };
    let mut member = Follower::join_as(&client, config, Subscription::topics([topic.as_str()]));
    member.until_holds(1).await;
    let new = made_again(&client, &member, &topic).await;
    member
        .until(|m| m.held.first().is_some_and(|held| held.topic_id == new) && m.state.phase == MemberPhase::Stable)
        .await;
    // What the coordinator has not assigned would be given back before it comes for good.
    while let Ok(()) = tokio::time::timeout(Duration::from_millis(500), member.step()).await {}
    assert_eq!(member.changes, 3, "assigned, lost, assigned");
    client.shutdown().await;
}

#[tokio::test]
async fn a_deleted_topic_holds_up_no_commit_of_others_made_again_or_not() {
    crate::fast_broker();
    let (stays, goes, group) = (unique("stays"), unique("goes"), unique("group"));
    raw::create_topic(&stays, 1, &[]);
    raw::create_topic(&goes, 1, &[]);
    let client = client();
    let mut member = Follower::join(&client, &group, Subscription::topics([stays.as_str(), &goes]));
    member.until_holds(2).await;
    raw::delete_topic(&goes);
    until_known(&client, &goes, |now| now.is_none()).await;
    // `request.timeout.ms` is what a commit would be tried for.
    let commit = member.member.commit(vec![commit_of(&stays, 7), commit_of(&goes, 7)]);
    let refused = tokio::time::timeout(Duration::from_secs(10), commit).await.unwrap();
    let Err(CommitError::Unavailable { partitions, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(partitions.len(), 1);
    assert_eq!(&*partitions[0].topic, goes);
    let committed = client.fetch_committed(&group, None).await.unwrap();
    let committed: Vec<_> = committed.iter().map(|(at, of)| (&*at.topic, of.offset)).collect();
    assert_eq!(committed, [(stays.as_str(), 7)]);
    client.shutdown().await;
}
