//! A member of a group that reads and commits, and checks every record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use klamm_kafka::{
    Assigned, AssignmentEpoch, CommitError, ConsumerConfig, FetchPool, FetchSettings, FetchedSection, GroupEvent,
    GroupEvents, GroupMember, KafkaClient, LeaderEpochs, OffsetReset, OffsetToCommit, PartitionRequest, StartPosition,
    Subscription,
};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::support::pool;
use crate::{GROUP, PARTITIONS, TOPIC};

/// Only ends a test that would hang: a broker takes half a minute to come back on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Records of a partition between two commits.
const COMMIT_EVERY: i64 = 50;

pub struct Consumer {
    client: Arc<KafkaClient>,
    pool: FetchPool,
    member: Arc<GroupMember>,
    events: GroupEvents,
    sections: (mpsc::Sender<FetchedSection>, mpsc::Receiver<FetchedSection>),
    held: HashMap<i32, Held>,
    readers: JoinSet<()>,
    commits: JoinSet<(i32, i64, Result<(), CommitError>)>,
    /// By partition: how far it was ever read, and what the coordinator has acknowledged.
    reached: Vec<i64>,
    acknowledged: Vec<i64>,
    read: u64,
    again: u64,
}

/// A partition of this assignment.
struct Held {
    epoch: AssignmentEpoch,
    next: i64,
    commit_sent: i64,
    epochs: LeaderEpochs,
    reader: AbortHandle,
}

enum Event {
    Group(GroupEvent),
    Section(FetchedSection),
    Committed(i32, i64, Result<(), CommitError>),
}

impl Consumer {
    pub fn start() -> Self {
        let client = crate::client();
        let mut config = ConsumerConfig::new(GROUP);
        config.session_timeout = Duration::from_secs(6);
        config.heartbeat_interval = Duration::from_millis(500);
        let (member, events) = GroupMember::join(&client, config, Subscription::topics([TOPIC]));
        let partitions = usize::try_from(PARTITIONS).unwrap();
        Self {
            pool: pool(&client),
            client,
            member: Arc::new(member),
            events,
            sections: mpsc::channel(8),
            held: HashMap::new(),
            readers: JoinSet::new(),
            commits: JoinSet::new(),
            reached: vec![0; partitions],
            acknowledged: vec![0; partitions],
            read: 0,
            again: 0,
        }
    }

    /// Records read for the first time.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Records that came again, since they had not been committed.
    pub fn read_again(&self) -> u64 {
        self.again
    }

    pub async fn read_more(&mut self, records: u64) {
        let goal = self.read + records;
        self.until("more records come", |consumer| consumer.read >= goal).await;
    }

    /// Until every partition has brought something new.
    pub async fn read_some_of_each(&mut self) {
        let before = self.reached.clone();
        self.until("every partition brings more", |consumer| {
            consumer.reached.iter().zip(&before).all(|(now, before)| now > before)
        })
        .await;
    }

    /// Reads to the end, commits, leaves; afterwards everything is read and committed.
    pub async fn finish(mut self, written: &[i64]) {
        self.until("everything is read", |consumer| consumer.reached == written)
            .await;
        for partition in self.held.keys().copied().collect::<Vec<_>>() {
            self.commit(partition);
        }
        while self.acknowledged != written || !self.commits.is_empty() {
            tokio::time::timeout(PATIENCE, self.step()).await.unwrap();
            if self.commits.is_empty() && self.acknowledged != written {
                for partition in self.held.keys().copied().collect::<Vec<_>>() {
                    self.commit(partition);
                }
            }
        }
        self.readers.shutdown().await;
        let member = Arc::into_inner(self.member).expect("no commit is under way");
        member.leave().await;
        self.client.shutdown().await;
    }

    async fn until(&mut self, what: &str, is_reached: impl Fn(&Self) -> bool) {
        let work = async {
            while !is_reached(self) {
                self.step().await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, work).await.is_ok();
        let (state, health) = (self.member.state(), self.client.health().borrow().to_string());
        assert!(done, "{what}: read to {:?}; {state:?}; {health}", self.reached);
    }

    /// Deals with one event.
    pub async fn step(&mut self) {
        let event = tokio::select! {
            event = self.events.recv() => Event::Group(event.expect("the member goes on")),
            Some(section) = self.sections.1.recv() => Event::Section(section),
            Some(Err(ended)) = self.readers.join_next() => {
                // Given up, or it has failed the test.
                if ended.is_panic() {
                    std::panic::resume_unwind(ended.into_panic());
                }
                return;
            }
            Some(committed) = self.commits.join_next() => {
                let (partition, offset, result) = committed.unwrap();
                Event::Committed(partition, offset, result)
            }
        };
        match event {
            Event::Group(GroupEvent::Assign { partitions }) => partitions.into_iter().for_each(|p| self.assign(p)),
            Event::Group(GroupEvent::Revoke { partitions, ack }) => {
                for partition in &partitions {
                    self.held.remove(&partition.partition).unwrap().reader.abort();
                }
                ack.done();
            }
            Event::Group(GroupEvent::Lost { partitions }) => {
                for partition in &partitions {
                    self.held.remove(&partition.partition).unwrap().reader.abort();
                }
            }
            Event::Group(_) => {}
            Event::Section(section) => self.check(&section),
            Event::Committed(partition, offset, Ok(())) => {
                let acknowledged = &mut self.acknowledged[usize::try_from(partition).unwrap()];
                *acknowledged = offset.max(*acknowledged);
            }
            // It goes out again with the next, or what was read is read again.
            Event::Committed(partition, _, Err(_)) => {
                if let Some(held) = self.held.get_mut(&partition) {
                    held.commit_sent = 0;
                }
            }
        }
    }

    fn assign(&mut self, assigned: Assigned) {
        let index = usize::try_from(assigned.partition).unwrap();
        let committed = assigned.committed.as_ref().map_or(0, |committed| committed.offset);
        assert!(
            committed >= self.acknowledged[index],
            "partition {index}: {committed} is committed where {} was acknowledged",
            self.acknowledged[index]
        );
        let start = match assigned.committed {
            Some(committed) => StartPosition::Committed {
                offset: committed.offset,
                leader_epoch: committed.leader_epoch,
            },
            None => StartPosition::Earliest,
        };
        let mut reader = self.pool.open(PartitionRequest {
            topic: assigned.topic,
            topic_id: assigned.topic_id,
            partition: assigned.partition,
            start,
            // Whatever goes wrong with a position is a failure here.
            reset: OffsetReset::None,
            settings: Arc::new(FetchSettings::default()),
            epoch: assigned.epoch,
        });
        let epochs = reader.leader_epochs();
        let sections = self.sections.0.clone();
        let reader = self.readers.spawn(async move {
            loop {
                let section = reader.next().await.unwrap();
                if sections.send(section).await.is_err() {
                    return;
                }
            }
        });
        let held = Held {
            epoch: assigned.epoch,
            next: committed,
            commit_sent: committed,
            epochs,
            reader,
        };
        assert!(self.held.insert(assigned.partition, held).is_none(), "assigned twice");
    }

    /// Every record stands at the offset that is its number, right behind the one before.
    fn check(&mut self, section: &FetchedSection) {
        let partition = section.partition.partition;
        let index = usize::try_from(partition).unwrap();
        let Some(held) = self.held.get_mut(&partition).filter(|held| held.epoch == section.epoch) else {
            return; // it was on its way when the partition went
        };
        for record in section.records() {
            let record = record.unwrap();
            assert_eq!(
                record.offset, held.next,
                "partition {partition}: lost, twice or out of order"
            );
            assert_eq!(record.value.as_deref(), Some(record.offset.to_string().as_bytes()));
            held.next += 1;
            if record.offset < self.reached[index] {
                self.again += 1;
            } else {
                self.reached[index] = held.next;
                self.read += 1;
            }
        }
        if held.next - held.commit_sent >= COMMIT_EVERY {
            self.commit(partition);
        }
    }

    fn commit(&mut self, partition: i32) {
        let Some(held) = self.held.get_mut(&partition) else {
            return;
        };
        let offset = held.next;
        held.commit_sent = offset;
        let commit = OffsetToCommit {
            topic: TOPIC.into(),
            partition,
            offset,
            leader_epoch: held.epochs.before(offset),
            metadata: String::new(),
        };
        let member = Arc::clone(&self.member);
        self.commits
            .spawn(async move { (partition, offset, member.commit(vec![commit]).await) });
    }
}
