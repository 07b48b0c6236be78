//! What is known about the cluster.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use tokio::sync::watch;
use uuid::Uuid;

use super::lock;
use crate::TopicPartition;
use crate::error::code_of;

/// A topic as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; brokers before 2.8 have none. A topic that is deleted and made again gets another.
    pub id: Option<Uuid>,
    /// Number of partitions.
    pub partitions: i32,
    /// Whether it belongs to Kafka itself, such as `__consumer_offsets`.
    pub is_internal: bool,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) node: i32,
    /// −1 when the broker is too old to tell, as the protocol writes it.
    pub(crate) epoch: i32,
}

/// What is known about the cluster. Shared; readers see whole updates.
#[derive(Debug)]
pub(crate) struct Metadata {
    view: Mutex<View>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct View {
    cluster_id: Option<Arc<str>>,
    brokers: BTreeMap<i32, Arc<str>>,
    /// The address that answered last is asked first.
    last_good: Option<Arc<str>>,
    /// The address whose answer was too old is asked last.
    doubted: Option<Arc<str>>,
    topics: HashMap<Arc<str>, Topic>,
    /// What [`Metadata::topics`] returned last; dropped when topics change.
    listed: Option<Arc<[TopicInfo]>>,
    /// Topics that were asked about and that the principal may not see.
    denied: HashSet<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Topic {
    id: Option<Uuid>,
    is_internal: bool,
    /// By index; the epoch is the newest seen, also while there is no leader.
    partitions: Vec<(Option<i32>, i32)>,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            view: Mutex::default(),
            version: watch::Sender::new(0),
        }
    }
}

impl Metadata {
    /// Fires whenever brokers, topics or leaders are others than before.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn cluster_id(&self) -> Option<Arc<str>> {
        lock(&self.view).cluster_id.clone()
    }

    pub(crate) fn broker(&self, node: i32) -> Option<Arc<str>> {
        lock(&self.view).brokers.get(&node).cloned()
    }

    /// Addresses to try, the most promising first, each once.
    pub(super) fn candidates(&self, bootstrap: &[Arc<str>]) -> Vec<Arc<str>> {
        let view = lock(&self.view);
        let mut candidates: Vec<Arc<str>> = Vec::new();
        for address in view.last_good.iter().chain(view.brokers.values()).chain(bootstrap) {
            if !candidates.contains(address) {
                candidates.push(Arc::clone(address));
            }
        }
        // A stable sort: everybody else stays where he is.
        candidates.sort_by_key(|address| view.doubted.as_ref() == Some(address));
        candidates
    }

    /// What was answered last is old: another broker is asked first from now on.
    pub(crate) fn doubt(&self) {
        let view = &mut *lock(&self.view);
        if let Some(last) = view.last_good.take() {
            view.doubted = Some(last);
        }
    }

    pub(super) fn answered(&self, address: Arc<str>) {
        lock(&self.view).last_good = Some(address);
    }

    pub(crate) fn topic(&self, name: &str) -> Option<TopicInfo> {
        let view = lock(&self.view);
        view.topics.get_key_value(name).map(|(name, topic)| topic.info(name))
    }

    /// All known topics, by name. Shared: a thousand members look at one list.
    pub(crate) fn topics(&self) -> Arc<[TopicInfo]> {
        let view = &mut *lock(&self.view);
        let listed = view.listed.get_or_insert_with(|| {
            let mut topics: Vec<_> = view.topics.iter().map(|(name, topic)| topic.info(name)).collect();
            topics.sort_by(|a, b| a.name.cmp(&b.name));
            topics.into()
        });
        Arc::clone(listed)
    }

    /// Whether the brokers refuse to say anything about `topic`: the principal lacks DESCRIBE on it.
    pub(crate) fn is_denied(&self, topic: &str) -> bool {
        lock(&self.view).denied.contains(topic)
    }

    /// The partition's leader; `None` if unknown or if there is none now.
    pub(crate) fn leader(&self, partition: &TopicPartition) -> Option<Leader> {
        let view = lock(&self.view);
        let topic = view.topics.get(&partition.topic)?;
        let (node, epoch) = topic.partitions.get(usize::try_from(partition.partition).ok()?)?;
        node.map(|node| Leader { node, epoch: *epoch })
    }

    /// Takes over what a broker said about a leader outside of a metadata answer (KIP-951).
    pub(crate) fn learn_leader(&self, partition: &TopicPartition, leader: Leader) {
        let mut guard = lock(&self.view);
        let view = &mut *guard;
        if !view.brokers.contains_key(&leader.node) {
            return;
        }
        let index = usize::try_from(partition.partition).unwrap_or(usize::MAX);
        let known = view
            .topics
            .get_mut(&partition.topic)
            .and_then(|topic| topic.partitions.get_mut(index))
            .filter(|known| leader.epoch > known.1);
        if let Some(known) = known {
            *known = (Some(leader.node), leader.epoch);
            drop(guard);
            self.version.send_modify(|version| *version += 1);
        }
    }

    /// Takes over where a broker is that no metadata answer has named yet (KIP-951).
    pub(crate) fn learn_broker(&self, node: i32, address: Arc<str>) {
        lock(&self.view).brokers.entry(node).or_insert(address);
    }

    /// Takes over a metadata answer. `is_complete` when it was about all topics.
    ///
    /// A partition keeps what it has if the answer is older by leader epoch: brokers learn of changes at different
    /// times (KIP-320).
    pub(super) fn merge(&self, response: &MetadataResponse, is_complete: bool) {
        let mut view = lock(&self.view);
        let mut has_changed = false;
        if let Some(id) = &response.cluster_id
            && view.cluster_id.as_deref() != Some(id.as_str())
        {
            view.cluster_id = Some(id.as_str().into());
            has_changed = true;
        }
        if !response.brokers.is_empty() {
            let brokers = response.brokers.iter();
            let brokers: BTreeMap<_, Arc<str>> = brokers
                .map(|broker| (broker.node_id.0, host_port(&broker.host, broker.port)))
                .collect();
            if view.brokers != brokers {
                view.brokers = brokers;
                has_changed = true;
            }
        }
        if is_complete {
            let named: HashSet<&str> = response
                .topics
                .iter()
                .filter_map(|topic| topic.name.as_ref().map(|name| name.as_str()))
                .collect();
            let before = view.topics.len();
            view.topics.retain(|name, _| named.contains(&**name));
            has_changed |= view.topics.len() != before;
        }
        for answer in &response.topics {
            let Some(name) = answer.name.as_ref().map(|name| name.as_str()) else {
                continue;
            };
            let code = code_of(answer.error_code);
            let is_denied = code == Some(ResponseError::TopicAuthorizationFailed);
            if is_denied != view.denied.contains(name) {
                has_changed = true;
                if is_denied {
                    view.denied.insert(name.into());
                } else {
                    view.denied.remove(name);
                }
            }
            match code {
                None | Some(ResponseError::LeaderNotAvailable) => {
                    let old = view.topics.get(name);
                    let merged = Topic::merged(old, answer);
                    if old != Some(&merged) {
                        view.topics.insert(name.into(), merged);
                        has_changed = true;
                    }
                }
                Some(
                    ResponseError::UnknownTopicOrPartition
                    | ResponseError::UnknownTopicId
                    | ResponseError::InvalidTopicException,
                ) => has_changed |= view.topics.remove(name).is_some(),
                // Not allowed, or a passing failure: what is known stays.
                Some(_) => {}
            }
        }
        if has_changed {
            view.listed = None;
            drop(view);
            self.version.send_modify(|version| *version += 1);
        }
    }
}

/// `host:port`, with an IPv6 address in brackets.
pub(crate) fn host_port(host: &str, port: i32) -> Arc<str> {
    if host.contains(':') {
        format!("[{host}]:{port}").into()
    } else {
        format!("{host}:{port}").into()
    }
}

impl Topic {
    fn info(&self, name: &Arc<str>) -> TopicInfo {
        TopicInfo {
            name: Arc::clone(name),
            id: self.id,
            partitions: i32::try_from(self.partitions.len()).unwrap_or(i32::MAX),
            is_internal: self.is_internal,
        }
    }

    fn merged(old: Option<&Self>, answer: &MetadataResponseTopic) -> Self {
        let id = Some(answer.topic_id).filter(|id| !id.is_nil());
        let mut partitions = old
            .filter(|old| old.id == id)
            .map(|old| old.partitions.clone())
            .unwrap_or_default();
        for partition in &answer.partitions {
            let Ok(index) = usize::try_from(partition.partition_index) else {
                continue;
            };
            // A topic has at most some ten thousand partitions; an answer that claims more must not fill memory.
            if index >= 1_000_000 {
                continue;
            }
            if partitions.len() <= index {
                partitions.resize(index + 1, (None, -1));
            }
            let node = Some(partition.leader_id.0).filter(|node| *node >= 0);
            if let Some(known) = partitions.get_mut(index)
                && (partition.leader_epoch < 0 || partition.leader_epoch >= known.1)
            {
                *known = (node, partition.leader_epoch);
            }
        }
        Self {
            id,
            is_internal: answer.is_internal,
            partitions,
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition};
    use kafka_protocol::messages::{BrokerId, TopicName};
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn answer(id: u128, leader: i32, epoch: i32) -> MetadataResponse {
        let partition = MetadataResponsePartition::default()
            .with_partition_index(0)
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(epoch);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
            .with_topic_id(Uuid::from_u128(id))
            .with_partitions(vec![partition]);
        let broker = |id| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(id))
                .with_host(StrBytes::from_static_str("h"))
                .with_port(id)
        };
        MetadataResponse::default()
            .with_brokers(vec![broker(1), broker(2), broker(3)])
            .with_topics(vec![topic])
    }

    #[test]
    fn a_broker_whose_answer_was_too_old_is_asked_last() {
        let metadata = Metadata::default();
        let bootstrap: [Arc<str>; 3] = ["a:1", "b:1", "c:1"].map(Arc::from);
        let order = || metadata.candidates(&bootstrap).join(" ");
        metadata.answered(Arc::clone(&bootstrap[1]));
        assert_eq!(order(), "b:1 a:1 c:1");
        metadata.doubt();
        assert_eq!(order(), "a:1 c:1 b:1");
        metadata.answered(Arc::clone(&bootstrap[2]));
        assert_eq!(order(), "c:1 a:1 b:1");
    }

    #[test]
    fn older_metadata_never_replaces_newer() {
        let metadata = Metadata::default();
        let partition = TopicPartition::new("t", 0);
        let steps = [
            // answer, wanted leader and epoch, why
            (answer(7, 1, 5), Some((1, 5)), "the first answer counts"),
            (answer(7, 2, 4), Some((1, 5)), "an older epoch is ignored"),
            (answer(7, 2, 6), Some((2, 6)), "a newer epoch counts"),
            (answer(7, -1, 7), None, "there is no leader for now"),
            (answer(7, 2, 6), None, "the election is newer than this answer"),
            (
                answer(8, 3, 0),
                Some((3, 0)),
                "a topic made again starts its epochs again",
            ),
        ];
        for (answer, wanted, why) in steps {
            metadata.merge(&answer, false);
            assert_eq!(
                metadata.leader(&partition).map(|leader| (leader.node, leader.epoch)),
                wanted,
                "{why}"
            );
        }
        let leader = |node, epoch| Leader { node, epoch };
        let found = || metadata.leader(&partition).unwrap().node;
        metadata.learn_leader(&partition, leader(9, 1));
        assert_eq!(found(), 3, "a broker without a known address is no use");
        metadata.learn_leader(&partition, leader(1, 1));
        assert_eq!(found(), 1);
        metadata.learn_broker(9, "new:1".into());
        metadata.learn_leader(&partition, leader(9, 2));
        assert_eq!(
            (found(), metadata.broker(9).as_deref()),
            (9, Some("new:1")),
            "told with its address"
        );
        metadata.learn_leader(&partition, leader(1, 2));
        assert_eq!(found(), 9, "not newer");
    }

    #[test]
    fn only_what_is_new_wakes_anybody() {
        let metadata = Metadata::default();
        let mut changes = metadata.changes();
        let denied = |code: i16| {
            let mut denied = answer(7, 1, 5);
            denied.topics[0].error_code = code;
            denied
        };
        let steps = [
            // answer, whether it wakes, whether the topic may be seen, why
            (answer(7, 1, 5), true, true, "the first answer"),
            (answer(7, 1, 5), false, true, "the same again"),
            (answer(7, 2, 4), false, true, "older"),
            (answer(7, 2, 6), true, true, "another leader"),
            (denied(29), true, false, "a permission was taken away"),
            (denied(29), false, false, "and is still missing"),
            (answer(7, 2, 6), true, true, "it is back"),
        ];
        for (answer, wakes, is_seen, why) in steps {
            metadata.merge(&answer, false);
            assert_eq!(changes.has_changed().unwrap(), wakes, "{why}");
            assert_eq!(metadata.is_denied("t"), !is_seen, "{why}");
            assert_eq!(metadata.topics().len(), 1, "what is known stays: {why}");
            changes.mark_unchanged();
        }
    }

    #[test]
    fn a_complete_answer_forgets_topics_that_are_gone() {
        let metadata = Metadata::default();
        metadata.merge(&answer(7, 1, 5), false);
        assert!(metadata.topic("t").is_some());
        metadata.merge(&MetadataResponse::default(), false);
        assert!(
            metadata.topic("t").is_some(),
            "an answer about other topics says nothing about this one"
        );
        metadata.merge(&MetadataResponse::default(), true);
        assert!(metadata.topic("t").is_none());
    }
}
