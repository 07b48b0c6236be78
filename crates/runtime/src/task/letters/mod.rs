//! What a task keeps of records before they are done: dead letters in a Kafka topic (`errors.deadletterqueue.*`, KIP-298)
//! and in a destination that is no topic, reports of results and errors (`reporter.*`), and results that are forwarded.
//!
//! **Owns** the topics, the producers, the form of what is written. **Does not know** who gave a record up, nor what
//! follows, nor what a destination is.
//! **Invariants:** key, value, headers and timestamp of a dead letter are those of the consumed record, byte for byte;
//! what may pass is waited for and shown, never an error.
//!
//! The way of a letter: `original` keeps what is needed → `headers` or `report` make its form → `topic` or `destination`
//! write it, with `patience`.

mod destination;
mod headers;
mod original;
mod patience;
mod report;
mod topic;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use klamm_connect_api::delivery::ErrorPolicy;
use klamm_connect_api::failures::{FailedDelivery, FailedRecord};
use klamm_connect_api::sink::{EncodeError, Route, RouteIndex};
use klamm_connect_api::{BoxFuture, Datum, Origin, Rendering};
use klamm_delivery::{About, GivenUp, Letter, LetterRefused, Letters};
use klamm_kafka::{ConsumedRecord, ProduceRecord, Producer};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::pipeline::RecordFailure;
use super::waits::Waits;
use crate::clusters::Clusters;
use crate::config::{KeptTopic, LettersConfig, ReportConfig, ReportFormat};
use destination::DestinationWriter;
use original::{Keep, Original};
use patience::{Patience, Task};
use topic::{Refused, TopicWriter};

/// Everything that one task keeps.
pub(super) struct LetterBox {
    task: Task,
    bootstrap_servers: Arc<str>,
    has_context_headers: bool,
    dead_letters: Option<TopicWriter>,
    destinations: Vec<DestinationWriter>,
    results: Option<Reports>,
    errors: Option<Reports>,
    forward: Option<Reports>,
    /// What each route keeps.
    routes: Vec<RouteKeeps>,
    /// The routes' destinations by their own names.
    resources: HashMap<Arc<str>, Arc<str>>,
}

#[derive(Debug)]
struct Reports {
    topic: TopicWriter,
    key_format: ReportFormat,
    value_format: ReportFormat,
}

/// Whether the records of a route need their originals.
#[derive(Debug, Clone, Copy)]
struct RouteKeeps {
    original: bool,
    value: bool,
    json_key: bool,
}

/// Makes the writers of a task.
struct Maker<'a> {
    task: Task,
    waits: &'a Waits,
    clusters: &'a Clusters,
    rng: &'a mut StdRng,
    /// Topics that are written alike share a producer.
    producers: Vec<(KeptTopic, Arc<Producer>)>,
}

impl Maker<'_> {
    fn patience(&mut self, name: String) -> Patience {
        let wait = self.waits.of_keeper(&name);
        let rng = StdRng::seed_from_u64(self.rng.random());
        Patience::new(self.task.clone(), name, wait, rng)
    }

    fn topic(&mut self, config: &KeptTopic, what: &str) -> TopicWriter {
        let cluster = self.clusters.of(&config.client);
        let patience = self.patience(format!("{what} `{}`", config.topic));
        let mut known = self.producers.iter();
        let known = known.find(|(other, _)| other.client == config.client && other.producer == config.producer);
        let producer = known.map(|(_, producer)| Arc::clone(producer));
        let producer = producer.unwrap_or_else(|| {
            let made = Arc::new(Producer::new(&cluster.client, config.producer.clone()));
            self.producers.push((config.clone(), Arc::clone(&made)));
            made
        });
        TopicWriter::new(config, producer, cluster, patience)
    }

    fn reports(&mut self, config: Option<&ReportConfig>, what: &str) -> Option<Reports> {
        config.map(|config| Reports {
            topic: self.topic(&config.topic, what),
            key_format: config.key_format,
            value_format: config.value_format,
        })
    }
}

impl fmt::Debug for LetterBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LetterBox")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

impl LetterBox {
    /// What a task keeps; nothing is asked of anybody yet.
    pub(super) fn new(
        config: &LettersConfig,
        bootstrap_servers: &[Arc<str>],
        routes: &[Route],
        clusters: &Clusters,
        (connector, number): (Arc<str>, u32),
        waits: &Waits,
        rng: &mut StdRng,
    ) -> Self {
        let mut maker = Maker {
            task: Task { connector, number },
            waits,
            clusters,
            rng,
            producers: Vec::new(),
        };
        let dead_letters = config.dead_letters.as_ref();
        let dead_letters = dead_letters.map(|topic| maker.topic(topic, "dead letter queue"));
        let results = maker.reports(config.results.as_ref(), "result topic");
        let errors = maker.reports(config.errors.as_ref(), "error topic");
        let forward = maker.reports(config.forward.as_ref(), "forward topic");
        let destinations = config.destinations.iter();
        let destinations = destinations
            .map(|destination| {
                let patience = maker.patience(destination.name().to_owned());
                DestinationWriter::new(Arc::clone(destination), patience)
            })
            .collect();
        let keeps = |route: &Route| {
            let policy = route.delivery.error_policy;
            let is_dead = policy == ErrorPolicy::DeadLetter;
            let is_error = errors.is_some() && (is_dead || policy == ErrorPolicy::Log);
            RouteKeeps {
                original: is_dead || is_error || results.is_some() || forward.is_some(),
                value: is_dead,
                json_key: is_error || results.is_some(),
            }
        };
        Self {
            routes: routes.iter().map(keeps).collect(),
            resources: routes
                .iter()
                .map(|route| (Arc::clone(&route.name), Arc::clone(&route.resource)))
                .collect(),
            bootstrap_servers: bootstrap_servers.join(",").into(),
            has_context_headers: config.has_context_headers,
            dead_letters,
            destinations,
            results,
            errors,
            forward,
            task: maker.task,
        }
    }

    /// Makes the topics unless they are there, as Connect does when a task starts. Waits for what may pass.
    ///
    /// # Errors
    /// The trace of a task one of whose topics is refused.
    pub(super) async fn open(&self) -> Result<(), String> {
        let reports = [&self.results, &self.errors, &self.forward].into_iter().flatten();
        let topics = self.dead_letters.iter().chain(reports.map(|report| &report.topic));
        for topic in topics {
            topic.open().await?;
        }
        Ok(())
    }

    /// Whether records that are skipped under `behavior.on.error=log` are reported.
    pub(super) fn reports_skipped(&self) -> bool {
        self.errors.is_some()
    }

    /// A record as its routes need it: see [`klamm_delivery::Delivery::original`]. `key` is what it has after the
    /// transforms.
    ///
    /// # Errors
    /// A key that has no JSON form, for a report.
    pub(super) fn keep(
        &self,
        record: &ConsumedRecord,
        key: &Datum,
        routes: &[RouteIndex],
    ) -> Result<Option<Bytes>, EncodeError> {
        let of = |needs: fn(&RouteKeeps) -> bool| {
            let mut keeps = routes.iter().filter_map(|route| self.routes.get(route.0));
            keeps.any(needs)
        };
        if !of(|route| route.original) {
            return Ok(None);
        }
        let json_key = if of(|route| route.json_key) {
            let mut text = Vec::new();
            key.write_json(Rendering::Connect, &mut text)
                .map_err(EncodeError::Key)?;
            Some(Bytes::from(text))
        } else {
            None
        };
        let keep = Keep {
            value: of(|route| route.value),
            json_key,
            context: None,
        };
        Ok(Some(original::pack(record, &keep)))
    }

    /// The dead letter of a record that failed before delivery: see [`klamm_delivery::Delivery::dead_letter`].
    pub(super) fn letter(&self, record: &ConsumedRecord, failure: &RecordFailure) -> Bytes {
        let keep = Keep {
            value: true,
            json_key: None,
            context: Some(&headers::context(failure)),
        };
        original::pack(record, &keep)
    }

    /// What is written to the dead letter queue. Kafka's producer chooses the partition, by the key.
    fn dead_letter(&self, topic: &TopicWriter, origin: &Origin, original: Original, about: &About) -> ProduceRecord {
        let mut record = topic.record();
        record.timestamp = original.timestamp;
        record.key = original.key;
        record.value = original.value;
        record.headers = original.headers;
        if self.has_context_headers {
            let context = match (about.given_up(), original.context) {
                (Some(given_up), _) => headers::of_delivery(&self.task, origin, given_up),
                (None, Some(context)) => headers::of_failure(&self.task, origin, context),
                (None, None) => Vec::new(),
            };
            record.headers.extend(context);
        }
        record
    }

    /// The same for a destination that is no topic.
    fn failed_record(&self, origin: &Origin, original: Original, about: &About) -> FailedRecord {
        let text = |bytes: &Bytes| Arc::from(String::from_utf8_lossy(bytes));
        let (stage, class, message) = match (about.given_up(), &original.context) {
            (Some(given_up), _) => (
                Arc::from(super::pipeline::Stage::TaskPut.name()),
                Arc::clone(&given_up.failure.class),
                Arc::clone(&given_up.failure.message),
            ),
            (None, Some(context)) => (text(&context.stage), text(&context.exception), text(&context.message)),
            (None, None) => ("".into(), "".into(), "".into()),
        };
        FailedRecord {
            connector: Arc::clone(&self.task.connector),
            task: self.task.number,
            bootstrap_servers: Arc::clone(&self.bootstrap_servers),
            failed_at: crate::wall_clock::now_ms(),
            origin: origin.clone(),
            timestamp: original.timestamp,
            timestamp_type: original.timestamp_type,
            key: original.key,
            value: original.value,
            headers: original.headers,
            stage,
            class,
            message,
            delivery: about.given_up().map(|given_up| self.failed_delivery(given_up)),
        }
    }

    fn failed_delivery(&self, given_up: &GivenUp) -> FailedDelivery {
        let resource = self.resources.get(&given_up.route);
        FailedDelivery {
            route: Arc::clone(&given_up.route),
            resource: Arc::clone(resource.unwrap_or(&given_up.destination)),
            attempts: given_up.attempts,
            request_id: given_up.failure.request_id.clone(),
            answered: given_up.failure.answered.clone(),
        }
    }

    /// Writes letters to everybody who is to have them, one after the other.
    async fn deliver(&self, letters: &[Letter]) -> Result<(), Refused> {
        let unpacked = |letter: &Letter| {
            original::unpack(letter.record.clone()).expect("packed by `keep` or `letter`, which made all of them")
        };
        let is_dead = |letter: &Letter| matches!(letter.about, About::Failed | About::GivenUp(_));
        if let Some(topic) = &self.dead_letters {
            let form = |letter: &Letter| {
                is_dead(letter).then(|| self.dead_letter(topic, &letter.origin, unpacked(letter), &letter.about))
            };
            let shorter = |record: &ProduceRecord| {
                let headers = headers::without_trace(&record.headers)?;
                Some(ProduceRecord {
                    headers,
                    ..record.clone()
                })
            };
            write(topic, letters, form, shorter).await?;
        }
        for destination in &self.destinations {
            let (indices, records): (Vec<usize>, Vec<FailedRecord>) = letters
                .iter()
                .enumerate()
                .filter(|(_, letter)| is_dead(letter))
                .map(|(index, letter)| {
                    (
                        index,
                        self.failed_record(&letter.origin, unpacked(letter), &letter.about),
                    )
                })
                .unzip();
            let written = destination.write(records).await;
            written.map_err(|refused| of_letter(refused, &indices))?;
        }
        if let Some(reports) = &self.errors {
            let form = |letter: &Letter| {
                let given_up = letter.about.given_up()?;
                let (original, record) = (unpacked(letter), reports.topic.record());
                let (key, value) = (reports.key_format, reports.value_format);
                Some(report::of_error(
                    record,
                    &letter.origin,
                    &original,
                    given_up,
                    key,
                    value,
                ))
            };
            write(&reports.topic, letters, form, |_| None).await?;
        }
        let result = |letter: &'_ Letter| match &letter.about {
            About::Answered { result, .. } => Some(result.clone()),
            About::Failed | About::GivenUp(_) | About::Skipped(_) => None,
        };
        if let Some(reports) = &self.results {
            let form = |letter: &Letter| {
                let (original, record) = (unpacked(letter), reports.topic.record());
                let key = reports.key_format;
                Some(report::of_result(
                    record,
                    &letter.origin,
                    &original,
                    &result(letter)?,
                    key,
                ))
            };
            write(&reports.topic, letters, form, |_| None).await?;
        }
        if let Some(reports) = &self.forward {
            let form = |letter: &Letter| {
                let result = result(letter)?;
                report::forwarded(reports.topic.record(), unpacked(letter), &result, reports.value_format)
            };
            write(&reports.topic, letters, form, |_| None).await?;
        }
        Ok(())
    }
}

/// Bytes of values that are made for one write: an answer that a whole batch shares is in the report of each record.
const WRITE_BYTES: usize = 1024 * 1024;

/// Writes what `form` makes of letters to a topic.
async fn write(
    topic: &TopicWriter,
    letters: &[Letter],
    form: impl Fn(&Letter) -> Option<ProduceRecord>,
    shorter: impl Fn(&ProduceRecord) -> Option<ProduceRecord> + Send + Sync,
) -> Result<(), Refused> {
    let (mut indices, mut records, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (index, letter) in letters.iter().enumerate() {
        if let Some(record) = form(letter) {
            bytes += record.value.as_ref().map_or(0, Bytes::len);
            indices.push(index);
            records.push(record);
        }
        let is_last = index + 1 == letters.len();
        if !records.is_empty() && (is_last || bytes >= WRITE_BYTES) {
            let written = topic.write(std::mem::take(&mut records), &shorter).await;
            written.map_err(|refused| of_letter(refused, &indices))?;
            indices.clear();
            bytes = 0;
        }
    }
    Ok(())
}

/// The refusal of a record as that of the letter that it was made of.
fn of_letter(refused: Refused, indices: &[usize]) -> Refused {
    Refused {
        index: indices.get(refused.index).copied().unwrap_or_default(),
        ..refused
    }
}

impl Letters for LetterBox {
    fn write(&self, letters: Vec<Letter>) -> BoxFuture<'_, Result<(), LetterRefused>> {
        Box::pin(async move {
            let delivered = self.deliver(&letters).await;
            delivered.map_err(|Refused { index, message }| LetterRefused { index, message })
        })
    }
}
