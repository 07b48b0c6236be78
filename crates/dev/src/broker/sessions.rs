//! Incremental fetch sessions (KIP-227): a broker remembers what a client asks for, and both send only what changed.

use std::collections::HashMap;
use std::sync::Mutex;

use indexmap::IndexMap;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;

use super::cluster::TopicRef;
use super::lock;

/// Sessions of a node; beyond, the one that was used least lately goes.
const MAX_SESSIONS: usize = 1_000;

/// What a client asks for of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) offset: i64,
    pub(crate) max_bytes: i32,
    pub(crate) known_epoch: Option<i32>,
    pub(crate) last_fetched_epoch: Option<i32>,
}

/// What the client was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start_offset: i64,
}

pub(crate) type Key = (TopicRef, i32);

/// The partitions of a fetch, in the order in which they are served.
pub(crate) type Partitions = IndexMap<Key, (Asked, Option<Told>)>;

/// A fetch, whether it belongs to a session or not.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) partitions: Partitions,
    pub(crate) session: Option<Opened>,
}

/// The session of a running fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) id: i32,
    /// Only what changed is answered.
    pub(crate) is_incremental: bool,
}

#[derive(Debug)]
struct Session {
    partitions: Partitions,
    /// Of the next request.
    epoch: i32,
    used: u64,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<(i32, i32), Session>,
    clock: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Table>);

impl Sessions {
    /// Brings the session of a request up to date.
    ///
    /// # Errors
    /// There is no such session, or the request is not its next.
    pub(crate) fn begin(
        &self,
        node: i32,
        request: &FetchRequest,
        new_id: impl FnOnce() -> i32,
    ) -> Result<Fetch, ResponseError> {
        const FINAL_EPOCH: i32 = -1;
        const INITIAL_EPOCH: i32 = 0;
        let mut table = lock(&self.0);
        table.clock += 1;
        let now = table.clock;
        if matches!(request.session_epoch, FINAL_EPOCH | INITIAL_EPOCH) {
            table.sessions.remove(&(node, request.session_id));
            let mut partitions = Partitions::new();
            take_changes(&mut partitions, request);
            let session = (request.session_epoch == INITIAL_EPOCH).then(|| {
                make_room(&mut table.sessions, node);
                let id = new_id();
                let session = Session {
                    partitions: partitions.clone(),
                    epoch: 1,
                    used: now,
                };
                table.sessions.insert((node, id), session);
                Opened {
                    id,
                    is_incremental: false,
                }
            });
            return Ok(Fetch { partitions, session });
        }
        let session = table
            .sessions
            .get_mut(&(node, request.session_id))
            .ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.epoch != request.session_epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        // 0 begins a session anew, so it is left out when the epochs start again.
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        session.used = now;
        take_changes(&mut session.partitions, request);
        Ok(Fetch {
            partitions: session.partitions.clone(),
            session: Some(Opened {
                id: request.session_id,
                is_incremental: true,
            }),
        })
    }

    /// Remembers what was told; partitions that got records go to the end, so that none is starved.
    pub(crate) fn end(&self, node: i32, session: Opened, told: &[(Key, Option<Told>, bool)]) {
        let mut table = lock(&self.0);
        let Some(session) = table.sessions.get_mut(&(node, session.id)) else {
            return;
        };
        for (key, told, has_records) in told {
            let Some(at) = session.partitions.get_index_of(key) else {
                continue;
            };
            if let Some((_, (_, known))) = session.partitions.get_index_mut(at) {
                *known = *told;
            }
            if *has_records {
                let last = session.partitions.len() - 1;
                session.partitions.move_index(at, last);
            }
        }
    }

    /// A node restarts: its sessions are gone.
    pub(crate) fn forget_node(&self, node: i32) {
        lock(&self.0).sessions.retain(|(of, _), _| *of != node);
    }
}

fn make_room(sessions: &mut HashMap<(i32, i32), Session>, node: i32) {
    let own = sessions.iter().filter(|((of, _), _)| *of == node);
    if own.clone().count() < MAX_SESSIONS {
        return;
    }
    if let Some(oldest) = own.min_by_key(|(_, session)| session.used).map(|(key, _)| *key) {
        sessions.remove(&oldest);
    }
}

fn take_changes(partitions: &mut Partitions, request: &FetchRequest) {
    let epoch = |epoch: i32| Some(epoch).filter(|epoch| *epoch >= 0);
    for topic in &request.topics {
        let name = TopicRef::of(&topic.topic, topic.topic_id);
        for partition in &topic.partitions {
            let asked = Asked {
                offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                known_epoch: epoch(partition.current_leader_epoch),
                last_fetched_epoch: epoch(partition.last_fetched_epoch),
            };
            let entry = partitions.entry((name.clone(), partition.partition));
            entry.and_modify(|(known, _)| *known = asked).or_insert((asked, None));
        }
    }
    for topic in &request.forgotten_topics_data {
        let name = TopicRef::of(&topic.topic, topic.topic_id);
        for partition in &topic.partitions {
            partitions.shift_remove(&(name.clone(), *partition));
        }
    }
}
