//! The group coordinator: groups of either protocol, what they committed, and the clock that moves them.

pub(crate) mod assignor;
pub(crate) mod classic;
pub(crate) mod consumer;
pub(crate) mod offsets;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::lock;
use super::settings::Settings;
use super::storage::SavedOffset;
use classic::{ClassicGroup, Identity, Join, JoinAnswer, NotJoined, Phase, Sync, SyncAnswer};
use consumer::{Beat, BeatAnswer, ConsumerGroup, Refused, Topics};
use offsets::{Committed, Offsets, TopicPartition};

/// Groups that there may be.
const MAX_GROUPS: usize = 10_000;
/// Deadlines are looked for no more often than this.
const RESOLUTION: Duration = Duration::from_millis(5);
/// Sessions may not be longer (`group.max.session.timeout.ms`).
const MAX_SESSION: Duration = Duration::from_secs(30 * 60);

#[derive(Debug)]
pub(crate) enum Membership {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) membership: Membership,
    pub(crate) offsets: Offsets,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            membership: Membership::Classic(ClassicGroup::default()),
            offsets: Offsets::default(),
        }
    }
}

impl Group {
    pub(crate) fn has_members(&self) -> bool {
        match &self.membership {
            Membership::Classic(group) => group.has_members(),
            Membership::Consumer(group) => !group.members().is_empty(),
        }
    }

    /// A group that nobody is in may go on by the other protocol.
    fn as_classic(&mut self) -> Result<&mut ClassicGroup, ResponseError> {
        if matches!(self.membership, Membership::Consumer(_)) {
            if self.has_members() {
                return Err(ResponseError::InconsistentGroupProtocol);
            }
            self.membership = Membership::Classic(ClassicGroup::default());
        }
        match &mut self.membership {
            Membership::Classic(group) => Ok(group),
            Membership::Consumer(_) => Err(ResponseError::InconsistentGroupProtocol),
        }
    }

    fn as_consumer(&mut self) -> Result<&mut ConsumerGroup, ResponseError> {
        if matches!(self.membership, Membership::Classic(_)) {
            if self.has_members() {
                return Err(ResponseError::GroupIdNotFound);
            }
            self.membership = Membership::Consumer(ConsumerGroup::default());
        }
        match &mut self.membership {
            Membership::Consumer(group) => Ok(group),
            Membership::Classic(_) => Err(ResponseError::GroupIdNotFound),
        }
    }
}

/// Who commits, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Committer<'a> {
    pub(crate) identity: Identity<'a>,
    pub(crate) generation: i32,
}

#[derive(Debug)]
pub(crate) struct Groups {
    groups: Mutex<BTreeMap<String, Group>>,
    changed: Notify,
    topics_version: AtomicU64,
    has_unsaved: AtomicBool,
    initial_delay: Duration,
    min_session: Duration,
    consumer_session: Duration,
}

impl Groups {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            groups: Mutex::default(),
            changed: Notify::new(),
            topics_version: AtomicU64::new(0),
            has_unsaved: AtomicBool::new(false),
            initial_delay: settings.initial_rebalance_delay,
            min_session: settings.min_session_timeout,
            consumer_session: settings.consumer_session_timeout,
        }
    }

    /// Does what time makes due, until it is dropped.
    pub(crate) async fn run(&self) {
        loop {
            let due = self.advance(Instant::now());
            let sleeping = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleeping => {}
                () = self.changed.notified() => {}
            }
            sleep(RESOLUTION).await;
        }
    }

    fn advance(&self, now: Instant) -> Option<Instant> {
        let mut groups = lock(&self.groups);
        for group in groups.values_mut() {
            match &mut group.membership {
                Membership::Classic(group) => group.advance(now),
                Membership::Consumer(group) => group.advance(now),
            }
        }
        // What has neither members nor commits nor a past is no group.
        groups.retain(|_, group| group.has_members() || !group.offsets.is_empty() || has_past(group));
        let deadlines = groups.values().filter_map(|group| match &group.membership {
            Membership::Classic(group) => group.next_deadline(),
            Membership::Consumer(group) => group.next_deadline(),
        });
        deadlines.min()
    }

    pub(crate) fn topics_changed(&self) {
        self.topics_version.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn topics_version(&self) -> u64 {
        self.topics_version.load(Ordering::Relaxed)
    }

    pub(crate) fn topic_deleted(&self, topic: &str) {
        for group in lock(&self.groups).values_mut() {
            group.offsets.remove_topic(topic);
        }
        self.has_unsaved.store(true, Ordering::Relaxed);
    }

    /// Shows a group.
    pub(crate) fn with<T>(&self, id: &str, show: impl FnOnce(&Group) -> T) -> Option<T> {
        lock(&self.groups).get(id).map(show)
    }

    pub(crate) fn for_each(&self, mut show: impl FnMut(&str, &Group)) {
        for (id, group) in lock(&self.groups).iter() {
            show(id, group);
        }
    }

    /// Changes a group, which is made if it is not there.
    fn change<T>(
        &self,
        id: &str,
        change: impl FnOnce(&mut Group) -> Result<T, ResponseError>,
    ) -> Result<T, ResponseError> {
        let mut groups = lock(&self.groups);
        make_room(&mut groups, id).map_err(|()| ResponseError::CoordinatorNotAvailable)?;
        change(groups.entry(id.to_owned()).or_default())
    }

    /// Something may be due earlier than the clock knows. Heartbeats and commits only put things off.
    fn wake_clock(&self) {
        self.changed.notify_one();
    }

    // === members by the classic protocol ===

    /// Answers when the group has agreed.
    pub(crate) async fn join(&self, id: &str, join: Join) -> JoinAnswer {
        let not_joined = |error, member_id| NotJoined { error, member_id };
        let member_id = join.member_id.clone();
        if id.is_empty() {
            return Err(not_joined(ResponseError::InvalidGroupId, member_id));
        }
        if !(self.min_session..=MAX_SESSION).contains(&join.session_timeout) {
            return Err(not_joined(ResponseError::InvalidSessionTimeout, member_id));
        }
        let (reply, answer) = oneshot::channel();
        self.change(id, |group| {
            group
                .as_classic()?
                .join(join, self.initial_delay, Instant::now(), reply);
            Ok(())
        })
        .map_err(|error| not_joined(error, member_id.clone()))?;
        self.wake_clock();
        // A group that is deleted meanwhile takes the sender along.
        answer
            .await
            .unwrap_or_else(|_| Err(not_joined(ResponseError::UnknownMemberId, member_id)))
    }

    /// Answers when the leader has assigned.
    pub(crate) async fn sync(&self, id: &str, sync: Sync) -> SyncAnswer {
        let (reply, answer) = oneshot::channel();
        self.with_classic(id, |group| {
            group.sync(sync, Instant::now(), reply);
            Ok(())
        })?;
        self.wake_clock();
        answer.await.unwrap_or(Err(ResponseError::UnknownMemberId))
    }

    pub(crate) fn heartbeat(&self, id: &str, identity: Identity<'_>, generation: i32) -> Result<(), ResponseError> {
        self.with_classic(id, |group| group.heartbeat(identity, generation, Instant::now()))
    }

    pub(crate) fn leave(&self, id: &str, identity: Identity<'_>) -> Result<(), ResponseError> {
        let left = self.with_classic(id, |group| group.leave(identity, Instant::now()));
        self.wake_clock();
        left
    }

    fn with_classic<T>(
        &self,
        id: &str,
        change: impl FnOnce(&mut ClassicGroup) -> Result<T, ResponseError>,
    ) -> Result<T, ResponseError> {
        let mut groups = lock(&self.groups);
        match groups.get_mut(id).map(|group| &mut group.membership) {
            Some(Membership::Classic(group)) => change(group),
            Some(Membership::Consumer(_)) | None => Err(ResponseError::UnknownMemberId),
        }
    }

    // === members by KIP-848 ===

    pub(crate) fn consumer_heartbeat(&self, id: &str, beat: Beat, topics: &impl Topics) -> Result<BeatAnswer, Refused> {
        if id.is_empty() {
            return Err((ResponseError::InvalidRequest, "GroupId can't be empty.".to_owned()));
        }
        let mut groups = lock(&self.groups);
        let is_missing = beat.epoch != 0 && !groups.contains_key(id);
        if is_missing || make_room(&mut groups, id).is_err() {
            return Err((
                ResponseError::GroupIdNotFound,
                format!("Consumer group {id} not found."),
            ));
        }
        let group = groups.entry(id.to_owned()).or_default();
        let group = group
            .as_consumer()
            .map_err(|code| (code, format!("Group {id} is not a consumer group.")))?;
        let answer = group.heartbeat(beat, topics, self.consumer_session, Instant::now());
        if answer.as_ref().is_ok_and(|answer| answer.assignment.is_some()) {
            self.wake_clock();
        }
        answer
    }

    // === offsets ===

    /// # Errors
    /// The committer may not, or not now.
    pub(crate) fn commit(
        &self,
        id: &str,
        by: Committer<'_>,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<(), ResponseError> {
        self.change(id, |group| {
            check_committer(group, by)?;
            for (of, committed) in offsets {
                group.offsets.commit(of, committed);
            }
            Ok(())
        })?;
        self.has_unsaved.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps offsets until the producer's transaction ends.
    ///
    /// # Errors
    /// The committer may not, or not now.
    pub(crate) fn commit_pending(
        &self,
        id: &str,
        by: Committer<'_>,
        producer_id: i64,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<(), ResponseError> {
        self.change(id, |group| {
            let is_anonymous = by.generation < 0 && by.identity.member_id.is_empty();
            // Producers may commit for a group without saying for whom (before KIP-447).
            if !is_anonymous {
                check_committer(group, by)?;
            }
            for (of, committed) in offsets {
                group.offsets.add_pending(producer_id, of, committed);
            }
            Ok(())
        })
    }

    pub(crate) fn end_transaction(&self, id: &str, producer_id: i64, commits: bool) {
        if let Some(group) = lock(&self.groups).get_mut(id) {
            group.offsets.end_transaction(producer_id, commits);
        }
        self.has_unsaved.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// There is no such group, or somebody is in it.
    pub(crate) fn delete(&self, id: &str) -> Result<(), ResponseError> {
        let mut groups = lock(&self.groups);
        match groups.get(id) {
            None => Err(ResponseError::GroupIdNotFound),
            Some(group) if group.has_members() => Err(ResponseError::NonEmptyGroup),
            Some(_) => {
                groups.remove(id);
                self.has_unsaved.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// # Errors
    /// There is no such group. For each partition: somebody in the group is subscribed to it.
    pub(crate) fn delete_offsets(
        &self,
        id: &str,
        of: &[TopicPartition],
    ) -> Result<Vec<Result<(), ResponseError>>, ResponseError> {
        let mut groups = lock(&self.groups);
        let group = groups.get_mut(id).ok_or(ResponseError::GroupIdNotFound)?;
        self.has_unsaved.store(true, Ordering::Relaxed);
        let delete = |of: &TopicPartition| {
            if is_subscribed(group, &of.0) {
                return Err(ResponseError::GroupSubscribedToTopic);
            }
            group.offsets.remove(of);
            Ok(())
        };
        Ok(of.iter().map(delete).collect())
    }

    pub(crate) fn restore(&self, saved: Vec<SavedOffset>) {
        let mut groups = lock(&self.groups);
        for saved in saved {
            let committed = Committed {
                offset: saved.offset,
                leader_epoch: saved.leader_epoch,
                metadata: saved.metadata,
                committed_ms: saved.committed_ms,
            };
            let group = groups.entry(saved.group).or_default();
            group.offsets.commit((saved.topic, saved.partition), committed);
        }
    }

    /// All commits, if they are others than at the last call.
    pub(crate) fn take_unsaved(&self) -> Option<Vec<SavedOffset>> {
        if !self.has_unsaved.swap(false, Ordering::Relaxed) {
            return None;
        }
        let mut saved = Vec::new();
        self.for_each(|id, group| {
            saved.extend(
                group
                    .offsets
                    .all()
                    .iter()
                    .map(|((topic, partition), committed)| SavedOffset {
                        group: id.to_owned(),
                        topic: topic.clone(),
                        partition: *partition,
                        offset: committed.offset,
                        leader_epoch: committed.leader_epoch,
                        metadata: committed.metadata.clone(),
                        committed_ms: committed.committed_ms,
                    }),
            );
        });
        Some(saved)
    }
}

/// # Errors
/// There are as many groups as there may be, and all of them have members or commits.
fn make_room(groups: &mut BTreeMap<String, Group>, id: &str) -> Result<(), ()> {
    if groups.len() < MAX_GROUPS || groups.contains_key(id) {
        return Ok(());
    }
    groups.retain(|_, group| group.has_members() || !group.offsets.is_empty());
    if groups.len() < MAX_GROUPS { Ok(()) } else { Err(()) }
}

fn has_past(group: &Group) -> bool {
    match &group.membership {
        Membership::Classic(group) => group.generation > 0,
        Membership::Consumer(group) => group.epoch > 0,
    }
}

fn check_committer(group: &mut Group, by: Committer<'_>) -> Result<(), ResponseError> {
    match &mut group.membership {
        Membership::Classic(group) => group.check_commit(by.identity, by.generation, Instant::now()),
        Membership::Consumer(group) => group.check_commit(by.identity.member_id, by.generation),
    }
}

fn is_subscribed(group: &Group, topic: &str) -> bool {
    match &group.membership {
        Membership::Consumer(group) => group.is_subscribed(topic),
        Membership::Classic(group) => {
            group.phase() != Phase::Empty
                && (group.protocol_type != "consumer"
                    || group
                        .members()
                        .values()
                        .any(|member| subscribes(&member.metadata(&group.protocol), topic)))
        }
    }
}

/// Whether the metadata of a consumer names the topic: a version, and the names as an array.
fn subscribes(metadata: &[u8], topic: &str) -> bool {
    let Some((count, mut rest)) = metadata.get(2..).and_then(|rest| rest.split_first_chunk::<4>()) else {
        return false;
    };
    for _ in 0..i32::from_be_bytes(*count) {
        let Some((length, behind)) = rest.split_first_chunk::<2>() else {
            return false;
        };
        let length = usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0);
        let Some((name, behind)) = behind.split_at_checked(length) else {
            return false;
        };
        if name == topic.as_bytes() {
            return true;
        }
        rest = behind;
    }
    false
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use classic::Client;

    use super::*;

    fn join(id: &str, new_id: &str) -> Join {
        Join {
            client: Client::default(),
            member_id: id.to_owned(),
            instance_id: None,
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(30),
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::new())],
            takes_id_first: false,
            takes_skipped_assignment: false,
            new_member_id: new_id.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_member_waits_for_others_and_the_silent_one_is_out() {
        let settings = Settings {
            initial_rebalance_delay: Duration::from_secs(3),
            ..Settings::default()
        };
        let groups = Groups::new(&settings);
        let members = async {
            let begun = Instant::now();
            let (first, second) = tokio::join!(groups.join("g", join("", "a")), groups.join("g", join("", "b")));
            let (first, second) = (first.unwrap(), second.unwrap());
            assert_eq!((first.generation, second.generation), (1, 1));
            assert_eq!(begun.elapsed().as_secs(), 3);
            let begun = Instant::now();
            // `b` says nothing any more. `a` hears of it when the session is over.
            let alone = loop {
                sleep(Duration::from_secs(1)).await;
                let identity = Identity {
                    member_id: "a",
                    instance_id: None,
                };
                if groups.heartbeat("g", identity, 1) == Err(ResponseError::RebalanceInProgress) {
                    break groups.join("g", join("a", "")).await.unwrap();
                }
            };
            assert_eq!((alone.generation, alone.members.len()), (2, 1));
            // The heartbeat of the tenth second came just before.
            assert_eq!(begun.elapsed().as_secs(), 11);
        };
        tokio::select! {
            () = members => {}
            () = groups.run() => unreachable!("it runs until it is dropped"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn offsets_in_a_transaction_are_unstable_until_it_ends() {
        let groups = Groups::new(&Settings::default());
        let by = Committer {
            identity: Identity {
                member_id: "",
                instance_id: None,
            },
            generation: -1,
        };
        let of = ("t".to_owned(), 0);
        let at = |offset| Committed {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            committed_ms: 0,
        };
        groups.commit("g", by, vec![(of.clone(), at(1))]).unwrap();
        let seen = |groups: &Groups| {
            let show = |group: &Group| {
                (
                    group.offsets.get(&of).map(|at| at.offset),
                    group.offsets.is_unstable(&of),
                )
            };
            groups.with("g", show).unwrap()
        };
        for (commits, before, after) in [(false, 1, 1), (true, 1, 7)] {
            groups.commit_pending("g", by, 5, vec![(of.clone(), at(7))]).unwrap();
            assert_eq!(seen(&groups), (Some(before), true));
            groups.end_transaction("g", 5, commits);
            assert_eq!(seen(&groups), (Some(after), false));
        }
        assert_eq!(groups.take_unsaved().unwrap().len(), 1);
        assert!(groups.take_unsaved().is_none(), "until something changes");
    }
}
