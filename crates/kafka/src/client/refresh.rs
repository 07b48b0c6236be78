//! Keeping the metadata fresh: one task, one question at a time, about the topics that somebody is interested in.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::health::chain;
use super::{ClusterHealth, KafkaClient, lock};
use crate::KafkaError;
use crate::backoff::Backoff;
use crate::error::code_of;

/// While Kafka is away, one line in the log per this time.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// What to ask about, and who waits for the answer.
#[derive(Debug)]
pub(super) struct Refresh {
    topics: Arc<Mutex<Interest>>,
    wanted: Arc<Notify>,
    /// Number of the round that was started last.
    started: AtomicU64,
    /// Number of the round that was finished last.
    finished: watch::Sender<u64>,
}

impl Default for Refresh {
    fn default() -> Self {
        Self {
            topics: Arc::default(),
            wanted: Arc::default(),
            started: AtomicU64::new(0),
            finished: watch::Sender::new(0),
        }
    }
}

#[derive(Debug, Default)]
struct Interest {
    all: usize,
    topics: BTreeMap<Arc<str>, usize>,
}

/// Keeps topics in the metadata while it lives.
#[derive(Debug)]
pub(crate) struct TopicInterest {
    shared: Arc<Mutex<Interest>>,
    /// `None` for all topics.
    topics: Option<Vec<Arc<str>>>,
}

impl Drop for TopicInterest {
    fn drop(&mut self) {
        let mut interest = lock(&self.shared);
        match &self.topics {
            None => interest.all -= 1,
            Some(topics) => {
                for topic in topics {
                    if let Some(count) = interest.topics.get_mut(topic) {
                        *count -= 1;
                        if *count == 0 {
                            interest.topics.remove(topic);
                        }
                    }
                }
            }
        }
    }
}

impl KafkaClient {
    /// From the next round on the metadata covers these topics.
    pub(crate) fn interest(&self, topics: impl IntoIterator<Item = Arc<str>>) -> TopicInterest {
        let topics: Vec<_> = topics.into_iter().collect();
        let mut interest = lock(&self.refresh.topics);
        for topic in &topics {
            *interest.topics.entry(Arc::clone(topic)).or_default() += 1;
        }
        TopicInterest {
            shared: Arc::clone(&self.refresh.topics),
            topics: Some(topics),
        }
    }

    /// From the next round on the metadata covers all topics.
    pub(crate) fn interest_in_all(&self) -> TopicInterest {
        lock(&self.refresh.topics).all += 1;
        TopicInterest {
            shared: Arc::clone(&self.refresh.topics),
            topics: None,
        }
    }

    /// Asks for a round without waiting for it. Many requests make one round.
    pub(crate) fn request_refresh(&self) {
        self.refresh.wanted.notify_one();
    }

    /// Waits for a round that began after this call; as long as Kafka is away.
    pub(crate) async fn refreshed(&self) -> Result<(), KafkaError> {
        let mut finished = self.refresh.finished.subscribe();
        let wanted = self.refresh.started.load(Ordering::SeqCst) + 1;
        self.request_refresh();
        tokio::select! {
            () = self.stop().cancelled() => Err(KafkaError::ShutDown),
            done = finished.wait_for(|finished| *finished >= wanted) => done.map(drop).map_err(|_| KafkaError::ShutDown),
        }
    }

    async fn round(&self) -> Result<(), KafkaError> {
        let (is_complete, topics) = {
            let interest = lock(&self.refresh.topics);
            (interest.all > 0, interest.topics.keys().cloned().collect::<Vec<_>>())
        };
        if !is_complete {
            return self.ask(Some(topics)).await.map(drop);
        }
        // An answer about all leaves out what may not be seen. Whoever waits for such a topic by name is to know why.
        let answered = self.ask(None).await?;
        let left_out = left_out(topics, &answered);
        if !left_out.is_empty() {
            self.ask(Some(left_out)).await?;
        }
        Ok(())
    }

    /// Asks about these topics, or all, and takes the answer over.
    async fn ask(&self, topics: Option<Vec<Arc<str>>>) -> Result<MetadataResponse, KafkaError> {
        let is_complete = topics.is_none();
        let named = |name: Arc<str>| {
            MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.to_string()))))
        };
        let request = MetadataRequest::default()
            .with_topics(topics.map(|topics| topics.into_iter().map(named).collect()))
            .with_allow_auto_topic_creation(false);
        let response = self.request_any(&request).await?;
        if let Some(code) = code_of(response.error_code) {
            return Err(KafkaError::broker("asking for metadata", code));
        }
        self.metadata().merge(&response, is_complete);
        Ok(response)
    }
}

/// The topics that the answer does not name.
fn left_out(mut topics: Vec<Arc<str>>, answer: &MetadataResponse) -> Vec<Arc<str>> {
    let names = answer.topics.iter().filter_map(|topic| topic.name.as_ref());
    let names: HashSet<&str> = names.map(|name| name.as_str()).collect();
    topics.retain(|topic| !names.contains(&**topic));
    topics
}

/// The task behind it: waits until somebody asks, then every `metadata.max.age.ms` and whenever asked.
pub(super) async fn run(client: Weak<KafkaClient>, stop: CancellationToken) {
    let Some((wanted, config)) = client
        .upgrade()
        .map(|c| (Arc::clone(&c.refresh.wanted), Arc::clone(&c.config)))
    else {
        return;
    };
    let work = async {
        wanted.notified().await;
        let mut backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max);
        let mut away: Option<Away> = None;
        while let Some(client) = client.upgrade() {
            let began = Instant::now();
            let round = client.refresh.started.fetch_add(1, Ordering::SeqCst) + 1;
            let result = client.round().await;
            match result {
                Ok(()) => {
                    backoff.reset();
                    if let Some(away) = away.take() {
                        let after_s = away.since.elapsed().as_secs();
                        tracing::info!(bootstrap = %away.bootstrap, after_s, "kafka is back");
                    }
                    client.health.send_if_modified(|health| {
                        let changed = !matches!(health, ClusterHealth::Reachable);
                        *health = ClusterHealth::Reachable;
                        changed
                    });
                    client.refresh.finished.send_replace(round);
                    drop(client);
                    // Whatever goes wrong elsewhere ends up asking here, so rounds keep a distance.
                    sleep_until(began + config.retry_backoff).await;
                    tokio::select! {
                        () = wanted.notified() => {}
                        () = sleep(config.metadata_max_age) => {}
                    }
                }
                Err(err) => {
                    let away = away.get_or_insert_with(|| Away::new(&config.bootstrap_servers));
                    away.note(&client, err);
                    drop(client);
                    sleep(backoff.next()).await;
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// An outage, for the status and the log.
struct Away {
    bootstrap: Arc<str>,
    since: Instant,
    logged: Option<Instant>,
}

impl Away {
    fn new(bootstrap: &[Arc<str>]) -> Self {
        Self {
            bootstrap: bootstrap.join(",").into(),
            since: Instant::now(),
            logged: None,
        }
    }

    fn note(&mut self, client: &KafkaClient, error: KafkaError) {
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
            self.logged = Some(Instant::now());
            let since_s = self.since.elapsed().as_secs();
            tracing::warn!(bootstrap = %self.bootstrap, since_s, error = chain(&error), "waiting for kafka");
        }
        client.health.send_replace(ClusterHealth::Unreachable {
            bootstrap: Arc::clone(&self.bootstrap),
            since: self.since,
            error,
        });
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::MetadataResponseTopic;

    use super::*;

    // With one subscription to a pattern nothing was asked by name any more, and a topic that may not be seen read as one
    // that does not exist yet.
    #[test]
    fn what_an_answer_about_all_topics_leaves_out_is_asked_by_name() {
        let topic = |name| MetadataResponseTopic::default().with_name(Some(TopicName(StrBytes::from_static_str(name))));
        let answer = MetadataResponse::default().with_topics(vec![topic("a"), topic("c")]);
        let wanted = ["a", "b", "c", "d"].map(Arc::from).to_vec();
        assert_eq!(left_out(wanted, &answer).join(" "), "b d");
    }
}
