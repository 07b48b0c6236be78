//! Fetch: sessions, long polls, isolation.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use indexmap::IndexMap;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::super::cluster::TopicRef;
use super::super::log::{Isolation, Slice};
use super::super::partition::{Partition, State};
use super::super::sessions::{Asked, Fetch, Key, Told};
use super::Call;

/// The most that one answer holds (`fetch.max.bytes`), but for a single batch.
const MAX_BYTES: usize = 55 * 1024 * 1024;
/// No long poll is longer.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Since this version a request may belong to a session.
const HAS_SESSIONS: i16 = 7;
/// Since this version a broker that does not lead says who does (KIP-951 by way of KIP-595).
const TELLS_LEADER: i16 = 12;

/// What a partition has to tell.
#[derive(Debug)]
struct Section {
    told: Option<Told>,
    code: Option<ResponseError>,
    leader: Option<(i32, i32)>,
    diverging: Option<(i32, i64)>,
    slice: Slice,
}

pub(super) async fn fetch(call: &Call<'_>, request: FetchRequest) -> FetchResponse {
    let begun = check_session_fault(call).and_then(|()| {
        let new_id = || call.cluster.random_session_id();
        call.cluster.sessions.begin(call.node, &request, new_id)
    });
    let fetch = match begun {
        Ok(fetch) => fetch,
        Err(code) => return FetchResponse::default().with_error_code(code.code()),
    };
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + wait.min(MAX_WAIT);
    let wanted = usize::try_from(request.min_bytes).unwrap_or(0);
    let mut sections = gather(call, &fetch, &request);
    if !is_enough(&sections, wanted) && !wait.is_zero() {
        let waiting = Waiting::register(call, &fetch);
        loop {
            // What came before it was registered woke nobody.
            sections = gather(call, &fetch, &request);
            if is_enough(&sections, wanted) || Instant::now() >= deadline {
                break;
            }
            tokio::select! {
                () = waiting.notify.notified() => {}
                () = sleep_until(deadline) => {}
            }
        }
    }
    respond(call, &fetch, &request, sections)
}

/// Some codes belong to the session, the others to each partition.
fn check_session_fault(call: &Call<'_>) -> Result<(), ResponseError> {
    match call.check_fault() {
        Err(
            code @ (ResponseError::FetchSessionIdNotFound
            | ResponseError::InvalidFetchSessionEpoch
            | ResponseError::FetchSessionTopicIdError),
        ) if call.version >= HAS_SESSIONS => Err(code),
        _ => Ok(()),
    }
}

/// Those who fetch are woken by each of their partitions, until this is dropped.
struct Waiting {
    id: u64,
    notify: Arc<Notify>,
    partitions: Vec<Arc<Partition>>,
}

impl Waiting {
    fn register(call: &Call<'_>, fetch: &Fetch) -> Self {
        let waiting = Self {
            id: call.cluster.next_waiter(),
            notify: Arc::new(Notify::new()),
            partitions: fetch
                .partitions
                .keys()
                .filter_map(|(topic, index)| call.cluster.find_partition(topic, *index).ok())
                .map(|(_, partition)| partition)
                .collect(),
        };
        for partition in &waiting.partitions {
            partition.wait(waiting.id, &waiting.notify);
        }
        waiting
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.forget(self.id);
        }
    }
}

fn is_enough(sections: &[Section], wanted: usize) -> bool {
    let urgent = |section: &Section| section.code.is_some() || section.diverging.is_some();
    let size: usize = sections.iter().map(|section| section.slice.size).sum();
    size >= wanted || sections.iter().any(urgent)
}

fn gather(call: &Call<'_>, fetch: &Fetch, request: &FetchRequest) -> Vec<Section> {
    let isolation = Isolation::of_level(request.isolation_level);
    let mut left = usize::try_from(request.max_bytes).unwrap_or(0).min(MAX_BYTES);
    let mut has_any = false;
    let sections = fetch.partitions.iter().map(|((topic, index), (asked, _))| {
        let section = section(call, topic, *index, asked, isolation, left, !has_any);
        left = left.saturating_sub(section.slice.size);
        has_any |= section.slice.size > 0;
        section
    });
    sections.collect()
}

fn section(
    call: &Call<'_>,
    topic: &TopicRef,
    index: i32,
    asked: &Asked,
    isolation: Isolation,
    left: usize,
    takes_any_first: bool,
) -> Section {
    let failed = |code, leader| Section {
        told: None,
        code: Some(code),
        leader,
        diverging: None,
        slice: Slice::default(),
    };
    let found = call
        .check_fault()
        .and_then(|()| call.cluster.find_partition(topic, index));
    let partition = match found {
        Ok((_, partition)) => partition,
        Err(code) => return failed(code, None),
    };
    let state = match partition.led_by(call.node, asked.known_epoch) {
        Ok(state) => state,
        Err(code) => {
            let state = partition.lock();
            let leader = (state.leader.unwrap_or(-1), state.leader_epoch);
            return failed(code, Some(leader).filter(|_| call.version >= TELLS_LEADER));
        }
    };
    let told = Some(Told {
        high_watermark: state.log.end_offset(),
        last_stable_offset: state.log.last_stable_offset(),
        log_start_offset: state.log.start_offset(),
    });
    let limit = usize::try_from(asked.max_bytes).unwrap_or(0).min(left);
    let diverging = asked
        .last_fetched_epoch
        .and_then(|epoch| diverges(&state, epoch, asked.offset));
    if diverging.is_some() {
        return Section {
            told,
            code: None,
            leader: None,
            diverging,
            slice: Slice::default(),
        };
    }
    match state.log.read(asked.offset, limit, takes_any_first, isolation) {
        Ok(slice) => Section {
            told,
            code: None,
            leader: None,
            diverging: None,
            slice,
        },
        Err(code) => Section {
            told,
            ..failed(code, None)
        },
    }
}

/// Where the logs of client and leader part (KIP-320).
fn diverges(state: &State, last_fetched_epoch: i32, offset: i64) -> Option<(i32, i64)> {
    let (epoch, end) = state.log.epoch_end(last_fetched_epoch)?;
    (epoch < last_fetched_epoch || end < offset).then_some((epoch, end))
}

fn respond(call: &Call<'_>, fetch: &Fetch, request: &FetchRequest, sections: Vec<Section>) -> FetchResponse {
    let is_incremental = fetch.session.is_some_and(|session| session.is_incremental);
    let isolation = Isolation::of_level(request.isolation_level);
    let mut topics: IndexMap<&TopicRef, Vec<PartitionData>> = IndexMap::new();
    let mut told: Vec<(Key, Option<Told>, bool)> = Vec::new();
    for ((key, (_, before)), section) in fetch.partitions.iter().zip(sections) {
        let has_records = section.slice.size > 0;
        let is_news = has_records
            || section.code.is_some()
            || section.diverging.is_some()
            || before.is_none()
            || *before != section.told;
        if is_incremental && !is_news {
            continue;
        }
        // An error is told again until it is over.
        let now_told = section.told.filter(|_| section.code.is_none());
        told.push((key.clone(), now_told, has_records));
        topics
            .entry(&key.0)
            .or_default()
            .push(partition_data(key.1, section, isolation));
    }
    if let Some(session) = fetch.session {
        call.cluster.sessions.end(call.node, session, &told);
    }
    let responses = topics.into_iter().map(|(topic, partitions)| {
        let response = FetchableTopicResponse::default().with_partitions(partitions);
        match topic {
            TopicRef::Name(name) => response.with_topic(super::text(name).into()),
            TopicRef::Id(id) => response.with_topic_id(*id),
        }
    });
    FetchResponse::default()
        .with_session_id(fetch.session.map_or(0, |session| session.id))
        .with_responses(responses.collect())
}

fn partition_data(index: i32, section: Section, isolation: Isolation) -> PartitionData {
    let mut data = PartitionData::default()
        .with_partition_index(index)
        .with_error_code(section.code.map_or(0, |code| code.code()))
        .with_high_watermark(section.told.map_or(-1, |told| told.high_watermark))
        .with_last_stable_offset(section.told.map_or(-1, |told| told.last_stable_offset))
        .with_log_start_offset(section.told.map_or(-1, |told| told.log_start_offset))
        .with_preferred_read_replica((-1).into())
        .with_records(Some(joined(section.slice.batches)));
    if isolation == Isolation::Committed {
        let aborted = section.slice.aborted.iter().map(|aborted| {
            AbortedTransaction::default()
                .with_producer_id(aborted.producer_id.into())
                .with_first_offset(aborted.first_offset)
        });
        data = data.with_aborted_transactions(Some(aborted.collect()));
    } else {
        data = data.with_aborted_transactions(None);
    }
    if let Some((epoch, end_offset)) = section.diverging {
        data = data.with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset));
    }
    if let Some((leader, epoch)) = section.leader {
        let leader = LeaderIdAndEpoch::default()
            .with_leader_id(leader.into())
            .with_leader_epoch(epoch);
        data = data.with_current_leader(leader);
    }
    data
}

/// One batch goes out without a copy.
fn joined(batches: Vec<Bytes>) -> Bytes {
    if let [only] = batches.as_slice() {
        return only.clone();
    }
    let mut all = BytesMut::with_capacity(batches.iter().map(Bytes::len).sum());
    for batch in batches {
        all.extend_from_slice(&batch);
    }
    all.freeze()
}
