//! Sending a planned fetch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::StrBytes;

use super::budget::Reservation;
use super::router::Hub;
use super::stats::add;
use super::wire::Plan;
use crate::client::topic_name;
use crate::connection::Link;
use crate::{FetchSettings, IsolationLevel, KafkaClient, KafkaError};

/// An answer, and the memory that is set aside for it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: FetchResponse,
    pub(super) reservation: Reservation,
}

/// How much the next answer may bring: a few times what the last did, and little less than the one before might. A
/// session whose partitions idle sets hardly any memory aside for its long poll; one with a backlog soon asks for all it
/// may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    least: usize,
    bytes: usize,
}

impl Window {
    const LEAST_BYTES: i32 = 64 * 1024;
    const GROWTH: usize = 4;

    /// A broker waits for no more than an answer may bring, so that is at least `fetch.min.bytes`.
    pub(super) fn new(settings: &FetchSettings) -> Self {
        let least = usize::try_from(settings.min_bytes.max(Self::LEAST_BYTES)).unwrap_or(0);
        Self { least, bytes: least }
    }

    /// An answer brought `bytes`.
    pub(super) fn answered(&mut self, bytes: usize) {
        // Long polls come back empty also between two large answers, so one of them says little.
        self.bytes = bytes.saturating_mul(Self::GROWTH).max(self.bytes / 2).max(self.least);
    }

    /// No answer came.
    pub(super) fn failed(&mut self) {
        self.bytes = self.least;
    }
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
    /// Connects, reserves memory, asks. Nothing is set aside for a broker that cannot be reached.
    pub(super) async fn send(self, link: Arc<Link>, plan: Plan, window: Window) -> Result<Answer, KafkaError> {
        let address = self
            .client
            .metadata()
            .broker(self.node)
            .ok_or(KafkaError::UnknownBroker(self.node))?;
        let connection = link.get(&address).await?;
        let per_partition = usize::try_from(self.settings.max_partition_bytes).unwrap_or(0);
        let response_bound = usize::try_from(self.settings.max_bytes).unwrap_or(0);
        // A response cannot be larger than its partitions may be, so a few partitions reserve less.
        let max_bytes = per_partition
            .saturating_mul(plan.partitions.max(1))
            .min(response_bound)
            .min(window.bytes);
        self.hub.starving.fetch_add(1, Ordering::Relaxed);
        let starving = Starving(&self.hub);
        let reservation = self.hub.budget.reserve(max_bytes).await;
        drop(starving);
        let max_bytes = reservation.bytes();
        // From version 13 on topics go by id alone (KIP-516).
        let version = connection.version::<FetchRequest>(if self.has_topic_ids { i16::MAX } else { 12 })?;
        let timeout = self.client.config().request_timeout + plan.max_wait;
        let counters = &self.hub.counters;
        add(&counters.asked, plan.asks.len());
        let request = self.request(plan, max_bytes, version);
        let response = connection.request_version(&request, version, timeout).await?;
        add(&counters.fetches, 1);
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
                // A session remembers it beyond this request, whose own bound counts in any case.
                .with_partition_max_bytes(self.settings.max_partition_bytes);
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

    #[test]
    fn a_window_follows_what_comes() {
        let mut window = Window::new(&FetchSettings::default());
        let mut after = |bytes| {
            window.answered(bytes);
            window.bytes
        };
        assert_eq!(after(60_000), 240_000, "a backlog gets more each time");
        assert_eq!(after(240_000), 960_000);
        assert_eq!(after(0), 480_000, "one empty answer says little");
        assert_eq!([after(0), after(0), after(0)], [240_000, 120_000, 64 * 1024]);
        after(1 << 20);
        window.failed();
        assert_eq!(window.bytes, 64 * 1024, "a broker that hangs shall not keep much");
        let settings = FetchSettings {
            min_bytes: 1 << 20,
            ..FetchSettings::default()
        };
        assert_eq!(Window::new(&settings).bytes, 1 << 20, "what the broker shall wait for");
    }
}
