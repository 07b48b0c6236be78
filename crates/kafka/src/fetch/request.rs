//! The wire side of a fetch session: which request comes next, and sending it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::budget::Reservation;
use super::router::Hub;
use crate::client::topic_name;
use crate::connection::Link;
use crate::error::code_of;
use crate::{FetchSettings, IsolationLevel, KafkaClient, KafkaError, TopicPartition};

/// A partition as the broker is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) topic_id: Option<Uuid>,
}

/// What the broker remembers of a session (KIP-227).
#[derive(Debug, Default)]
pub(super) struct Wire {
    id: i32,
    /// 0 starts a new session, which also ends the one with `id`.
    epoch: i32,
    sent: HashMap<TopicPartition, Ask>,
}

/// A request without what depends on the negotiated version.
#[derive(Debug, Default)]
pub(super) struct Plan {
    session_id: i32,
    session_epoch: i32,
    asks: Vec<(TopicPartition, Ask)>,
    forgotten: Vec<(TopicPartition, Option<Uuid>)>,
    /// All partitions that the answer may carry, for bounding it.
    partitions: usize,
    pub(super) max_wait: Duration,
}

impl Wire {
    /// The next request of the session: only what changed since the last.
    pub(super) fn plan(&mut self, wanted: &[(TopicPartition, Ask)], max_wait: Duration) -> Plan {
        if self.epoch == 0 {
            self.sent.clear();
        }
        let asks: Vec<_> = wanted
            .iter()
            .filter(|(partition, ask)| self.sent.get(partition) != Some(ask))
            .cloned()
            .collect();
        let mut sent = HashMap::with_capacity(wanted.len());
        for (partition, ask) in wanted {
            self.sent.remove(partition);
            sent.insert(partition.clone(), ask.clone());
        }
        let left = std::mem::replace(&mut self.sent, sent);
        Plan {
            session_id: self.id,
            session_epoch: self.epoch,
            asks,
            forgotten: left
                .into_iter()
                .map(|(partition, ask)| (partition, ask.topic_id))
                .collect(),
            partitions: wanted.len(),
            max_wait,
        }
    }

    /// Takes note of the answer; an error means that the answer carries nothing.
    pub(super) fn answered(&mut self, response: &FetchResponse) -> Result<(), ResponseError> {
        match code_of(response.error_code) {
            None if response.session_id == 0 => {
                // The broker has no room for the session: every request names everything.
                *self = Self::default();
                Ok(())
            }
            None => {
                self.id = response.session_id;
                self.epoch = self.epoch.checked_add(1).unwrap_or(1);
                Ok(())
            }
            Some(ResponseError::FetchSessionIdNotFound) => {
                *self = Self::default();
                Err(ResponseError::FetchSessionIdNotFound)
            }
            Some(code) => {
                self.epoch = 0;
                Err(code)
            }
        }
    }

    /// The answer never came: what the broker remembers is unknown.
    pub(super) fn lost(&mut self) {
        self.epoch = 0;
    }
}

/// A request outside of any session.
pub(super) fn sessionless(wanted: Vec<(TopicPartition, Ask)>, max_wait: Duration) -> Plan {
    Plan {
        session_id: 0,
        session_epoch: -1,
        partitions: wanted.len(),
        asks: wanted,
        forgotten: Vec::new(),
        max_wait,
    }
}

/// An answer, and the memory that is set aside for it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: FetchResponse,
    pub(super) reservation: Reservation,
}

/// Who sends: the same for every request of a session.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) client: Arc<KafkaClient>,
    pub(super) hub: Arc<Hub>,
    pub(super) node: i32,
    pub(super) settings: Arc<FetchSettings>,
    pub(super) has_topic_ids: bool,
}

impl Sender {
    /// Reserves memory, then asks.
    pub(super) async fn send(self, link: Arc<Link>, plan: Plan) -> Result<Answer, KafkaError> {
        let per_partition = usize::try_from(self.settings.max_partition_bytes).unwrap_or(0);
        let response_bound = usize::try_from(self.settings.max_bytes).unwrap_or(0);
        // A response cannot be larger than its partitions may be, so a few partitions reserve less.
        let max_bytes = per_partition.saturating_mul(plan.partitions.max(1)).min(response_bound);
        self.hub.starving.fetch_add(1, Ordering::Relaxed);
        let starving = Starving(&self.hub);
        let reservation = self.hub.budget.reserve(max_bytes).await;
        drop(starving);
        let address = self
            .client
            .metadata()
            .broker(self.node)
            .ok_or(KafkaError::UnknownBroker(self.node))?;
        let connection = link.get(&address).await?;
        // From version 13 on topics go by id alone (KIP-516).
        let version = connection.version::<FetchRequest>(if self.has_topic_ids { i16::MAX } else { 12 })?;
        let timeout = self.client.config().request_timeout + plan.max_wait;
        let request = self.request(plan, max_bytes, version);
        let response = connection.request_version(&request, version, timeout).await?;
        Ok(Answer { response, reservation })
    }

    fn request(&self, plan: Plan, max_bytes: usize, version: i16) -> FetchRequest {
        let max_bytes = i32::try_from(max_bytes).unwrap_or(i32::MAX);
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (partition, ask) in plan.asks {
            let asked = FetchPartition::default()
                .with_partition(partition.partition)
                .with_current_leader_epoch(ask.leader_epoch)
                .with_fetch_offset(ask.offset)
                .with_partition_max_bytes(self.settings.max_partition_bytes.min(max_bytes));
            // Neighbours of one topic share an entry; the order is the order of service.
            match topics
                .last_mut()
                .filter(|last| last.topic.as_str() == &*partition.topic)
            {
                Some(last) => last.partitions.push(asked),
                None => topics.push(
                    FetchTopic::default()
                        .with_topic(topic_name(&partition.topic))
                        .with_topic_id(ask.topic_id.unwrap_or_default())
                        .with_partitions(vec![asked]),
                ),
            }
        }
        let forgotten = plan.forgotten.into_iter().map(|(partition, topic_id)| {
            ForgottenTopic::default()
                .with_topic(topic_name(&partition.topic))
                .with_topic_id(topic_id.unwrap_or_default())
                .with_partitions(vec![partition.partition])
        });
        let request = FetchRequest::default()
            .with_max_wait_ms(i32::try_from(plan.max_wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(self.settings.min_bytes)
            .with_max_bytes(max_bytes)
            .with_isolation_level(match self.settings.isolation_level {
                IsolationLevel::ReadUncommitted => 0,
                IsolationLevel::ReadCommitted => 1,
            })
            .with_topics(topics);
        // Version 7 (Kafka 1.1) brought sessions, 11 (2.3) racks.
        let request = if version >= 7 {
            request
                .with_session_id(plan.session_id)
                .with_session_epoch(plan.session_epoch)
                .with_forgotten_topics_data(forgotten.collect())
        } else {
            request
        };
        match &self.settings.client_rack {
            Some(rack) if version >= 11 => request.with_rack_id(StrBytes::from_string(rack.to_string())),
            _ => request,
        }
    }
}

/// Counts a fetch that waits for memory, also when it is given up.
struct Starving<'a>(&'a Hub);

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.0.starving.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(offset: i64) -> Ask {
        Ask {
            offset,
            leader_epoch: 0,
            topic_id: None,
        }
    }

    fn names(asks: &[(TopicPartition, Ask)]) -> Vec<(i32, i64)> {
        asks.iter()
            .map(|(partition, ask)| (partition.partition, ask.offset))
            .collect()
    }

    #[test]
    fn a_session_sends_only_what_changed() {
        let wait = Duration::from_millis(1);
        let [a, b] = [0, 1].map(|index| TopicPartition::new("t", index));
        let created = FetchResponse::default().with_session_id(7);
        let mut wire = Wire::default();

        let plan = wire.plan(&[(a.clone(), ask(1)), (b.clone(), ask(1))], wait);
        assert_eq!(
            (plan.session_id, plan.session_epoch, names(&plan.asks)),
            (0, 0, vec![(0, 1), (1, 1)])
        );
        wire.answered(&created).unwrap();

        let plan = wire.plan(&[(a.clone(), ask(1)), (b.clone(), ask(5))], wait);
        assert_eq!(
            (plan.session_id, plan.session_epoch, names(&plan.asks)),
            (7, 1, vec![(1, 5)]),
            "b moved on"
        );
        assert!(plan.forgotten.is_empty());
        wire.answered(&created).unwrap();

        let plan = wire.plan(&[(b.clone(), ask(5))], wait);
        assert_eq!(
            (plan.session_epoch, names(&plan.asks), plan.forgotten),
            (2, vec![], vec![(a.clone(), None)])
        );
        wire.answered(&created).unwrap();

        let plan = wire.plan(&[(a.clone(), ask(1)), (b.clone(), ask(5))], wait);
        assert_eq!(names(&plan.asks), [(0, 1)], "a comes back with its offset");
        wire.lost();
        let plan = wire.plan(&[(b.clone(), ask(5))], wait);
        assert_eq!(
            (plan.session_id, plan.session_epoch, names(&plan.asks)),
            (7, 0, vec![(1, 5)]),
            "a new session"
        );
        assert!(plan.forgotten.is_empty());

        let gone = FetchResponse::default().with_error_code(ResponseError::FetchSessionIdNotFound.code());
        wire.answered(&gone).unwrap_err();
        let plan = wire.plan(&[(b, ask(5))], wait);
        assert_eq!((plan.session_id, plan.session_epoch, plan.asks.len()), (0, 0, 1));
    }
}
