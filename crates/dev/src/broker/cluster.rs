//! What all virtual brokers share: who is there, which topics exist, and who leads their partitions.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use kafka_protocol::ResponseError;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use uuid::Uuid;

use super::clock::now_ms;
use super::configs::TopicConfigs;
use super::faults::Faults;
use super::groups::Groups;
use super::partition::{Partition, Usage, is_over};
use super::sessions::Sessions;
use super::settings::Settings;
use super::storage::{SavedTopic, Storage};
use super::transactions::Transactions;
use super::{lock, read, write};

/// Partitions that a topic may have.
const MAX_PARTITIONS: i32 = 10_000;
/// Topics that there may be.
const MAX_TOPICS: usize = 10_000;
/// As Kafka bounds the names of topics.
const MAX_NAME: usize = 249;

/// A virtual broker.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) port: u16,
    pub(crate) is_up: bool,
}

impl Node {
    /// Each has one of its own.
    pub(crate) fn rack(&self) -> String {
        format!("rack-{}", self.id)
    }
}

#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) replication_factor: i16,
    pub(crate) usage: Usage,
    configs: RwLock<Arc<TopicConfigs>>,
    partitions: RwLock<Vec<Arc<Partition>>>,
}

impl Topic {
    pub(crate) fn configs(&self) -> Arc<TopicConfigs> {
        Arc::clone(&read(&self.configs))
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        read(&self.partitions).clone()
    }

    pub(crate) fn partition_count(&self) -> usize {
        read(&self.partitions).len()
    }

    pub(crate) fn partition(&self, index: i32) -> Option<Arc<Partition>> {
        let index = usize::try_from(index).ok()?;
        read(&self.partitions).get(index).map(Arc::clone)
    }

    pub(crate) fn is_internal(&self) -> bool {
        self.name.starts_with("__")
    }
}

/// How a request refers to a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TopicRef {
    Name(String),
    Id(Uuid),
}

impl TopicRef {
    /// From the two fields of a message, of which its version has one.
    pub(crate) fn of(name: &str, id: Uuid) -> Self {
        if id.is_nil() {
            Self::Name(name.to_owned())
        } else {
            Self::Id(id)
        }
    }
}

/// A topic to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    /// −1: the broker's default.
    pub(crate) partitions: i32,
    /// −1: the broker's default.
    pub(crate) replication_factor: i16,
    pub(crate) configs: TopicConfigs,
}

/// Why a change was refused: the code, and what is said with it.
pub(crate) type Refusal = (ResponseError, String);

#[derive(Debug, Default)]
struct Topics {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) id: String,
    pub(crate) faults: Faults,
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
    pub(crate) sessions: Sessions,
    nodes: RwLock<Vec<Node>>,
    topics: RwLock<Topics>,
    total: Arc<AtomicU64>,
    random: Mutex<StdRng>,
    storage: Option<Storage>,
    waiters: AtomicU64,
}

impl Cluster {
    /// # Errors
    /// The data directory cannot be read.
    pub(crate) fn open(settings: Settings, ports: &[u16]) -> Result<Self, std::io::Error> {
        let nodes = (1..).zip(ports).map(|(id, port)| Node {
            id,
            port: *port,
            is_up: true,
        });
        let storage = settings.data_dir.clone().map(Storage::open).transpose()?;
        let cluster = Self {
            groups: Groups::new(&settings),
            transactions: Transactions::default(),
            sessions: Sessions::default(),
            faults: Faults::default(),
            id: "klamm-dev-broker-00000".to_owned(),
            nodes: RwLock::new(nodes.collect()),
            topics: RwLock::default(),
            total: Arc::default(),
            random: Mutex::new(StdRng::from_os_rng()),
            storage,
            waiters: AtomicU64::new(0),
            settings,
        };
        if let Some(storage) = &cluster.storage {
            let saved = storage.load()?;
            for topic in saved.topics {
                cluster.restore(storage, topic)?;
            }
            cluster.groups.restore(saved.offsets);
            cluster.transactions.restore(saved.next_producer_id);
        }
        Ok(cluster)
    }

    fn restore(&self, storage: &Storage, saved: SavedTopic) -> std::io::Result<()> {
        let usage = Usage::new(&self.total);
        let mut configs = TopicConfigs::default();
        for (name, value) in &saved.configs {
            if let Err(reason) = configs.set(name, value) {
                tracing::warn!(topic = saved.name, reason, "a saved setting is left out");
            }
        }
        let mut partitions = Vec::new();
        for index in 0..saved.partitions.clamp(1, MAX_PARTITIONS) {
            let (log, file) = storage.open_log(saved.id, index, now_ms())?;
            let replicas = self.replicas(&saved.name, index, saved.replication_factor);
            partitions.push(Arc::new(Partition::new(
                index,
                replicas,
                usage.clone(),
                log,
                Some(file),
            )));
        }
        let topic = Arc::new(Topic {
            name: saved.name,
            id: saved.id,
            replication_factor: saved.replication_factor,
            usage,
            configs: RwLock::new(Arc::new(configs)),
            partitions: RwLock::new(partitions),
        });
        for partition in topic.partitions() {
            self.elect(&partition);
            // Nobody is left who could end them.
            partition.abort_open(now_ms());
        }
        let mut topics = write(&self.topics);
        topics.by_id.insert(topic.id, Arc::clone(&topic));
        topics.by_name.insert(topic.name.clone(), topic);
        Ok(())
    }

    // === nodes ===

    pub(crate) fn nodes(&self) -> Vec<Node> {
        read(&self.nodes).clone()
    }

    pub(crate) fn live_nodes(&self) -> Vec<Node> {
        read(&self.nodes).iter().filter(|node| node.is_up).cloned().collect()
    }

    /// Whichever lives and has the lowest id.
    pub(crate) fn controller(&self) -> i32 {
        self.live_nodes().first().map_or(-1, |node| node.id)
    }

    /// The node that coordinates a group or a transactional id.
    pub(crate) fn coordinator(&self, key: &str) -> Option<Node> {
        let live = self.live_nodes();
        let at = spread(key).checked_rem(live.len())?;
        live.get(at).cloned()
    }

    /// # Errors
    /// Another node is the coordinator.
    pub(crate) fn check_coordinator(&self, key: &str, node: i32) -> Result<(), ResponseError> {
        match self.coordinator(key) {
            Some(coordinator) if coordinator.id == node => Ok(()),
            _ => Err(ResponseError::NotCoordinator),
        }
    }

    /// A node goes or comes: partitions move to whoever may lead them.
    pub(crate) fn set_up(&self, id: i32, is_up: bool) {
        if let Some(node) = write(&self.nodes).iter_mut().find(|node| node.id == id) {
            node.is_up = is_up;
        }
        self.sessions.forget_node(id);
        for topic in self.topics() {
            for partition in topic.partitions() {
                let leads = partition.lock().leader == Some(id);
                if leads || partition.replicas.contains(&id) {
                    self.elect(&partition);
                }
            }
        }
    }

    /// Keeps the leader while it lives, else the first replica that does.
    fn elect(&self, partition: &Partition) {
        let live = self.live_nodes();
        let lives = |id: &i32| live.iter().any(|node| node.id == *id);
        let current = partition.lock().leader.filter(lives);
        let next = current.or_else(|| partition.replicas.iter().copied().find(lives));
        partition.lead(next);
    }

    fn replicas(&self, topic: &str, index: i32, replication_factor: i16) -> Vec<i32> {
        let ids: Vec<i32> = read(&self.nodes).iter().map(|node| node.id).collect();
        let first = spread(topic).wrapping_add(usize::try_from(index).unwrap_or(0));
        let count = usize::try_from(replication_factor).unwrap_or(1).min(ids.len());
        (0..count)
            .filter_map(|next| ids.get(first.wrapping_add(next).checked_rem(ids.len())?).copied())
            .collect()
    }

    // === topics ===

    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        read(&self.topics).by_name.values().map(Arc::clone).collect()
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        read(&self.topics).by_name.get(name).map(Arc::clone)
    }

    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        read(&self.topics).by_id.get(&id).map(Arc::clone)
    }

    /// # Errors
    /// There is none.
    pub(crate) fn find(&self, topic: &TopicRef) -> Result<Arc<Topic>, ResponseError> {
        match topic {
            TopicRef::Name(name) => self.topic(name).ok_or(ResponseError::UnknownTopicOrPartition),
            TopicRef::Id(id) => self.topic_by_id(*id).ok_or(ResponseError::UnknownTopicId),
        }
    }

    /// # Errors
    /// The topic or its partition does not exist.
    pub(crate) fn find_partition(
        &self,
        topic: &TopicRef,
        index: i32,
    ) -> Result<(Arc<Topic>, Arc<Partition>), ResponseError> {
        let topic = self.find(topic)?;
        let partition = topic.partition(index).ok_or(ResponseError::UnknownTopicOrPartition)?;
        Ok((topic, partition))
    }

    /// # Errors
    /// The name, the numbers or the settings are not taken, or the topic exists.
    pub(crate) fn check_new(&self, new: &NewTopic) -> Result<(i32, i16), Refusal> {
        check_name(&new.name).map_err(|reason| (ResponseError::InvalidTopicException, reason))?;
        let topics = read(&self.topics);
        if topics.by_name.contains_key(&new.name) {
            let reason = format!("Topic '{}' already exists.", new.name);
            return Err((ResponseError::TopicAlreadyExists, reason));
        }
        if topics.by_name.len() >= MAX_TOPICS {
            let reason = format!("there are {MAX_TOPICS} topics, more than a development broker takes");
            return Err((ResponseError::PolicyViolation, reason));
        }
        let partitions = match new.partitions {
            -1 => self.settings.default_partitions,
            partitions => partitions,
        };
        if !(1..=MAX_PARTITIONS).contains(&partitions) {
            let reason = format!("Number of partitions must be from 1 to {MAX_PARTITIONS}, not {partitions}.");
            return Err((ResponseError::InvalidPartitions, reason));
        }
        let nodes = i16::try_from(read(&self.nodes).len()).unwrap_or(i16::MAX);
        let replication_factor = match new.replication_factor {
            -1 => nodes.min(3),
            factor => factor,
        };
        if !(1..=nodes).contains(&replication_factor) {
            let reason =
                format!("Unable to replicate the partition {replication_factor} time(s): there are {nodes} broker(s).");
            return Err((ResponseError::InvalidReplicationFactor, reason));
        }
        Ok((partitions, replication_factor))
    }

    /// # Errors
    /// See [`Cluster::check_new`]; or the data directory cannot be written.
    pub(crate) fn create_topic(&self, new: &NewTopic) -> Result<Arc<Topic>, Refusal> {
        let (partitions, replication_factor) = self.check_new(new)?;
        let id = self.random_uuid();
        let usage = Usage::new(&self.total);
        let topic = Arc::new(Topic {
            name: new.name.clone(),
            id,
            replication_factor,
            usage,
            configs: RwLock::new(Arc::new(new.configs.clone())),
            partitions: RwLock::default(),
        });
        self.add_partitions(&topic, partitions)?;
        {
            let mut topics = write(&self.topics);
            // Another connection may have made it meanwhile.
            if topics.by_name.contains_key(&topic.name) {
                if let Some(storage) = &self.storage {
                    storage.delete(id);
                }
                let reason = format!("Topic '{}' already exists.", topic.name);
                return Err((ResponseError::TopicAlreadyExists, reason));
            }
            topics.by_id.insert(id, Arc::clone(&topic));
            topics.by_name.insert(topic.name.clone(), Arc::clone(&topic));
        }
        self.save_topics()?;
        self.groups.topics_changed();
        Ok(topic)
    }

    /// # Errors
    /// There is none, or the data directory cannot be written.
    pub(crate) fn delete_topic(&self, topic: &TopicRef) -> Result<Arc<Topic>, Refusal> {
        let found = self.find(topic).map_err(|code| (code, code.to_string()))?;
        {
            let mut topics = write(&self.topics);
            topics.by_id.remove(&found.id);
            topics.by_name.remove(&found.name);
        }
        for partition in found.partitions() {
            partition.delete();
        }
        self.groups.topic_deleted(&found.name);
        self.groups.topics_changed();
        self.save_topics()?;
        if let Some(storage) = &self.storage {
            storage.delete(found.id);
        }
        Ok(found)
    }

    /// # Errors
    /// There is no such topic, or it has as many already.
    pub(crate) fn grow_topic(&self, name: &str, count: i32, validate_only: bool) -> Result<(), Refusal> {
        let topic = self.topic(name).ok_or_else(|| {
            (
                ResponseError::UnknownTopicOrPartition,
                "This server does not host this topic.".to_owned(),
            )
        })?;
        let current = i32::try_from(topic.partition_count()).unwrap_or(i32::MAX);
        if count <= current || count > MAX_PARTITIONS {
            let reason = format!(
                "Topic currently has {current} partitions, which is no less than {count}, or that are too many."
            );
            return Err((ResponseError::InvalidPartitions, reason));
        }
        if !validate_only {
            self.add_partitions(&topic, count)?;
            self.save_topics()?;
            self.groups.topics_changed();
        }
        Ok(())
    }

    fn add_partitions(&self, topic: &Topic, count: i32) -> Result<(), Refusal> {
        let mut partitions = write(&topic.partitions);
        let first = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        for index in first..count {
            let (log, file) = match &self.storage {
                None => (super::log::Log::default(), None),
                Some(storage) => {
                    let (log, file) = storage
                        .open_log(topic.id, index, now_ms())
                        .map_err(|err| (ResponseError::KafkaStorageError, err.to_string()))?;
                    (log, Some(file))
                }
            };
            let replicas = self.replicas(&topic.name, index, topic.replication_factor);
            let partition = Partition::new(index, replicas, topic.usage.clone(), log, file);
            self.elect(&partition);
            partitions.push(Arc::new(partition));
        }
        Ok(())
    }

    /// # Errors
    /// The data directory cannot be written.
    pub(crate) fn set_configs(&self, topic: &Topic, configs: TopicConfigs) -> Result<(), Refusal> {
        *write(&topic.configs) = Arc::new(configs);
        self.save_topics()
    }

    fn save_topics(&self) -> Result<(), Refusal> {
        let Some(storage) = &self.storage else {
            return Ok(());
        };
        let topics = self.topics();
        let saved = topics.iter().map(|topic| SavedTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions: i32::try_from(topic.partition_count()).unwrap_or(i32::MAX),
            replication_factor: topic.replication_factor,
            configs: topic.configs().all_explicit().clone(),
        });
        storage
            .save_topics(saved.collect())
            .map_err(|err| (ResponseError::KafkaStorageError, err.to_string()))
    }

    /// Writes what may be a second old: commits of groups, the producer ids.
    ///
    /// # Errors
    /// The data directory cannot be written.
    pub(crate) fn save_coordinators(&self) -> std::io::Result<()> {
        let Some(storage) = &self.storage else {
            return Ok(());
        };
        if let Some(offsets) = self.groups.take_unsaved() {
            storage.save_offsets(offsets)?;
        }
        storage.save_next_producer_id(self.transactions.next_producer_id())
    }

    // === memory ===

    /// Brings a topic, and all of them, within their bounds. Called after every append.
    ///
    /// # Errors
    /// All that is left belongs to topics that are only compacted: nothing more can be taken.
    pub(crate) fn reclaim(&self, topic: &Topic) -> Result<(), ResponseError> {
        let configs = topic.configs();
        if configs.is_deleted() && configs.retention_bytes().is_none() {
            let limit = self.settings.topic_bytes;
            while topic.usage.topic() > limit
                && drop_from_largest(&topic.partitions(), topic.usage.topic().saturating_sub(limit))
            {}
        }
        let limit = self.settings.total_bytes;
        while self.total_bytes() > limit {
            let all = self.topics().into_iter();
            let droppable: Vec<_> = all
                .filter(|topic| topic.configs().is_deleted())
                .flat_map(|topic| topic.partitions())
                .collect();
            if !drop_from_largest(&droppable, self.total_bytes().saturating_sub(limit)) {
                return Err(ResponseError::KafkaStorageError);
            }
        }
        Ok(())
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// What time does to logs: old records go, keys are compacted, idle producers are forgotten.
    pub(crate) fn maintain(&self, now_ms: i64) {
        for topic in self.topics() {
            let configs = topic.configs();
            for partition in topic.partitions() {
                partition.maintain(|log| {
                    log.forget_idle_producers(now_ms);
                    if let Some(retention_ms) = configs.retention_ms().filter(|_| configs.is_deleted()) {
                        log.drop_front(|_, first| now_ms.saturating_sub(first.max_timestamp) > retention_ms);
                    }
                    let rules = configs.compaction();
                    if configs.is_compacted() && log.needs_compaction(&rules, now_ms) {
                        log.compact(&rules, now_ms);
                    }
                });
            }
        }
    }

    // === names ===

    pub(crate) fn random_uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        lock(&self.random).fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    pub(crate) fn random_session_id(&self) -> i32 {
        let number = lock(&self.random).next_u32() >> 1;
        i32::try_from(number).unwrap_or(1).max(1)
    }

    pub(crate) fn next_waiter(&self) -> u64 {
        self.waiters.fetch_add(1, Ordering::Relaxed)
    }
}

/// Takes `excess` bytes, or what there is, from the front of the largest partition; of each the last batch stays.
fn drop_from_largest(partitions: &[Arc<Partition>], excess: u64) -> bool {
    let droppable = partitions.iter().filter_map(|partition| {
        let state = partition.lock();
        (state.log.batch_count() > 1).then(|| (state.log.size(), partition))
    });
    let largest = droppable.max_by_key(|(size, _)| *size).map(|(_, partition)| partition);
    let Some(largest) = largest else {
        return false;
    };
    largest.maintain(|log| {
        let before = log.size();
        let limit = before.saturating_sub(excess);
        log.drop_front(|size, first| is_over(size, first, limit));
        log.size() < before
    })
}

pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name == "." || name == ".." {
        return Err("Topic name is invalid: it is empty, '.' or '..'".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!(
            "Topic name is invalid: the length is longer than the max length {MAX_NAME}"
        ));
    }
    if !name.chars().all(is_legal) {
        return Err(
            "Topic name is invalid: it contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
                .to_owned(),
        );
    }
    Ok(())
}

/// The same number for the same text in every run (FNV-1a).
fn spread(text: &str) -> usize {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    usize::try_from(hash).unwrap_or(0)
}
