//! A member and what it holds, following the events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use klamm_kafka::{
    Assigned, ConsumerConfig, GroupEvent, GroupEvents, GroupMember, KafkaClient, MemberPhase, MemberState,
    Subscription, TopicPartition,
};

use super::PATIENCE;

#[derive(Debug)]
pub struct Follower {
    pub member: GroupMember,
    pub events: GroupEvents,
    pub held: Vec<Assigned>,
    pub state: MemberState,
    /// Assignments, revocations and losses so far.
    pub changes: usize,
}

impl Follower {
    pub fn join(client: &Arc<KafkaClient>, group: &str, subscription: Subscription) -> Self {
        Self::join_as(client, config(group), subscription)
    }

    pub fn join_as(client: &Arc<KafkaClient>, config: ConsumerConfig, subscription: Subscription) -> Self {
        let (member, events) = GroupMember::join(client, config, subscription);
        Self {
            member,
            events,
            held: Vec::new(),
            state: MemberState::default(),
            changes: 0,
        }
    }

    pub async fn step(&mut self) {
        let event = self.events.recv().await.expect("the member lives");
        self.follow(event);
    }

    /// Revocations are acknowledged at once.
    pub fn follow(&mut self, event: GroupEvent) {
        match event {
            GroupEvent::State(state) => {
                self.state = state;
                return;
            }
            GroupEvent::Assign { partitions } => self.held.extend(partitions),
            GroupEvent::Revoke { partitions, ack } => {
                self.drop(&partitions);
                ack.done();
            }
            GroupEvent::Lost { partitions } => self.drop(&partitions),
        }
        self.changes += 1;
    }

    /// Only what is held can go.
    pub fn drop(&mut self, partitions: &[TopicPartition]) {
        for gone in partitions {
            let is_gone = |held: &Assigned| held.topic == gone.topic && held.partition == gone.partition;
            let place = self.held.iter().position(is_gone).expect("it was held");
            self.held.remove(place);
        }
    }

    pub async fn until(&mut self, is_there: impl Fn(&Self) -> bool) {
        let reached = async {
            while !is_there(self) {
                self.step().await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "holds {:?} in {:?}", self.names(), self.state);
    }

    pub async fn until_holds(&mut self, count: usize) {
        self.until(|follower| follower.held.len() == count && follower.state.phase == MemberPhase::Stable)
            .await;
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.held
            .iter()
            .map(|p| format!("{}-{}", p.topic, p.partition))
            .collect()
    }

    /// Indexes of what is held, for tests with one topic.
    pub fn partitions(&self) -> BTreeSet<i32> {
        self.held.iter().map(|held| held.partition).collect()
    }
}

/// Both follow their events until together they hold `count` partitions, and each has some.
pub async fn until_shared(first: &mut Follower, second: &mut Follower, count: usize) {
    let shared = async {
        while first.held.len() + second.held.len() != count || first.held.is_empty() || second.held.is_empty() {
            tokio::select! {
                () = first.step() => {}
                () = second.step() => {}
            }
        }
    };
    let shared = tokio::time::timeout(PATIENCE, shared).await;
    assert!(shared.is_ok(), "{:?} and {:?}", first.names(), second.names());
    assert!(first.names().is_disjoint(&second.names()));
}

/// Heartbeats are frequent, so that tests are.
pub fn config(group: &str) -> ConsumerConfig {
    let mut config = ConsumerConfig::new(group);
    config.heartbeat_interval = Duration::from_millis(100);
    config
}
