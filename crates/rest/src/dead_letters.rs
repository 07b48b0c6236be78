//! The shapes of answers about dead letters.

use std::collections::BTreeMap;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_runtime::{DeadLetter, DeadLetterQueues, DeadLetterTopic, LetterError, RedriveState, RedriveStatus};
use schemars::JsonSchema;
use serde::Serialize;

use crate::extensions::instant;

/// `GET /connectors/{name}/dead-letters`
#[derive(Serialize, JsonSchema)]
pub(crate) struct QueuesAnswer {
    topics: Vec<TopicAnswer>,
    /// Queues that are no topics; they are read with their own tools.
    destinations: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct TopicAnswer {
    name: String,
    exists: bool,
    /// Whether letters say where they came from, as a redrive needs.
    context_headers: bool,
    redrive_group: String,
    /// Offsets that are there, and of these, offsets that no redrive has passed.
    records: i64,
    not_redriven: i64,
    partitions: Vec<PartitionAnswer>,
}

#[derive(Serialize, JsonSchema)]
struct PartitionAnswer {
    partition: i32,
    start_offset: i64,
    end_offset: i64,
    redriven_offset: i64,
}

impl QueuesAnswer {
    pub(crate) fn new(queues: DeadLetterQueues) -> Self {
        let topic = |topic: DeadLetterTopic| TopicAnswer {
            name: topic.name,
            exists: topic.exists,
            context_headers: topic.has_context_headers,
            redrive_group: topic.group,
            records: topic.partitions.iter().map(|found| found.end - found.start).sum(),
            not_redriven: topic.partitions.iter().map(|found| found.end - found.redriven).sum(),
            partitions: topic
                .partitions
                .into_iter()
                .map(|found| PartitionAnswer {
                    partition: found.partition,
                    start_offset: found.start,
                    end_offset: found.end,
                    redriven_offset: found.redriven,
                })
                .collect(),
        };
        Self {
            topics: queues.topic.into_iter().map(topic).collect(),
            destinations: queues.destinations,
        }
    }
}

/// One of `GET /connectors/{name}/dead-letters/records`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LetterAnswer {
    partition: i32,
    offset: i64,
    timestamp: Option<String>,
    /// `topic-partition@offset` of the original.
    origin: Option<String>,
    error: Option<BTreeMap<&'static str, String>>,
    redrives: u32,
    key_bytes: Option<usize>,
    value_bytes: Option<usize>,
    header_names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<PayloadAnswer>,
}

/// Only where it is asked for and allowed. Bytes are `{"base64": …}`, as in a preview.
#[derive(Serialize, JsonSchema)]
struct PayloadAnswer {
    key: Option<Base64>,
    value: Option<Base64>,
    headers: Vec<HeaderAnswer>,
}

#[derive(Serialize, JsonSchema)]
struct HeaderAnswer {
    key: String,
    value: Option<Base64>,
}

#[derive(Serialize, JsonSchema)]
struct Base64 {
    base64: String,
}

impl Base64 {
    fn of(bytes: &Bytes) -> Self {
        Self {
            base64: BASE64.encode(bytes),
        }
    }
}

impl LetterAnswer {
    pub(crate) fn new(letter: DeadLetter, shows_payload: bool) -> Self {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let payload = || PayloadAnswer {
            key: letter.key.as_ref().map(Base64::of),
            value: letter.value.as_ref().map(Base64::of),
            headers: letter
                .headers
                .iter()
                .map(|(key, value)| HeaderAnswer {
                    key: text(key),
                    value: value.as_ref().map(Base64::of),
                })
                .collect(),
        };
        let origin = |error: &LetterError| format!("{}-{}@{}", error.topic, error.partition, error.offset);
        Self {
            partition: letter.partition,
            offset: letter.offset,
            timestamp: letter.timestamp.and_then(instant),
            origin: letter.error.as_ref().map(origin),
            redrives: letter.redrives,
            key_bytes: letter.key.as_ref().map(Bytes::len),
            value_bytes: letter.value.as_ref().map(Bytes::len),
            header_names: letter.headers.iter().map(|(key, _)| text(key)).collect(),
            payload: shows_payload.then(payload),
            error: letter.error.map(error),
        }
    }
}

fn error(error: LetterError) -> BTreeMap<&'static str, String> {
    let LetterError {
        topic: _,
        partition: _,
        offset: _,
        connector,
        stage,
        exception,
        message,
        route,
        function,
        attempts,
        request_id,
    } = error;
    let always = [
        ("connector", connector),
        ("stage", stage),
        ("exception", exception),
        ("message", message),
    ];
    let of_delivery = [
        ("route", route),
        ("function", function),
        ("attempts", attempts),
        ("request_id", request_id),
    ];
    let of_delivery = of_delivery.into_iter().filter_map(|(key, value)| Some((key, value?)));
    always.into_iter().chain(of_delivery).collect()
}

/// A redrive.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RedriveAnswer {
    /// `RUNNING`, `DONE`, `STOPPED` or `FAILED`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    dry_run: bool,
    records_per_second: u32,
    max_records: Option<u64>,
    max_redrives: u32,
    started_at: Option<String>,
    ended_at: Option<String>,
    found: u64,
    passed: u64,
    redriven: u64,
    skipped: SkippedAnswer,
}

/// Why records stay in the queue.
#[derive(Serialize, JsonSchema)]
struct SkippedAnswer {
    returned: u64,
    of_other_connectors: u64,
    of_other_topics: u64,
    without_origin: u64,
    refused: u64,
}

impl RedriveAnswer {
    pub(crate) fn new(status: &RedriveStatus) -> Self {
        let (state, error) = match &status.state {
            RedriveState::Running => ("RUNNING", None),
            RedriveState::Done => ("DONE", None),
            RedriveState::Stopped => ("STOPPED", None),
            RedriveState::Failed(error) => ("FAILED", Some(error.clone())),
        };
        Self {
            state,
            error,
            dry_run: status.redrive.dry_run,
            records_per_second: status.redrive.records_per_second,
            max_records: status.redrive.max_records,
            max_redrives: status.redrive.max_redrives,
            started_at: instant(status.started),
            ended_at: status.ended.and_then(instant),
            found: status.found,
            passed: status.passed,
            redriven: status.redriven,
            skipped: SkippedAnswer {
                returned: status.returned,
                of_other_connectors: status.of_others,
                of_other_topics: status.of_other_topics,
                without_origin: status.without_origin,
                refused: status.refused,
            },
        }
    }
}
