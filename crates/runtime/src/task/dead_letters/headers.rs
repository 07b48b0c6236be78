//! The headers that tell where a dead letter comes from and why: Connect's ten (KIP-298), and Klamm's own.

use bytes::Bytes;
use klamm_connect_api::{DataError, Origin};
use klamm_delivery::GivenUp;

use super::original::RawHeader;
use crate::task::pipeline::{RecordFailure, Stage};

/// Connect's name for whoever took the record in stage `TASK_PUT`.
const SINK_TASK: &str = "org.apache.kafka.connect.sink.SinkTask";

/// The task that dead-letters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) connector: &'a str,
    pub(super) number: u32,
}

/// Headers of a record that failed before delivery.
pub(super) fn of_failure(task: Task<'_>, failure: &RecordFailure) -> Vec<RawHeader> {
    let class = match failure.stage {
        Stage::TaskPut => SINK_TASK,
        Stage::KeyConverter | Stage::ValueConverter | Stage::HeaderConverter | Stage::Transformation => failure.class,
    };
    let exception = failure.error.kind().java_class();
    connect(
        task,
        &failure.origin,
        failure.stage,
        class,
        exception,
        DataError::to_string(&failure.error),
    )
}

/// Headers of a record whose delivery was given up.
pub(super) fn of_delivery(task: Task<'_>, origin: &Origin, given_up: &GivenUp) -> Vec<RawHeader> {
    let GivenUp {
        route,
        destination,
        attempts,
        failure,
    } = given_up;
    let message = failure.message.to_string();
    let mut headers = connect(task, origin, Stage::TaskPut, SINK_TASK, &failure.class, message);
    headers.push(header("__klamm.errors.route", route.to_string()));
    headers.push(header("__klamm.errors.function", destination.to_string()));
    headers.push(header("__klamm.errors.attempts", attempts.to_string()));
    headers.push(header("__klamm.errors.class", failure.class.to_string()));
    if let Some(id) = &failure.request_id {
        headers.push(header("__klamm.errors.request.id", id.to_string()));
    }
    headers
}

/// In Connect's order. Where Java has a stack trace there is its first line, which says what failed; there is no stack.
fn connect(
    task: Task<'_>,
    origin: &Origin,
    stage: Stage,
    class: &str,
    exception: &str,
    message: String,
) -> Vec<RawHeader> {
    let trace = format!("{exception}: {message}\n");
    [
        ("__connect.errors.topic", origin.topic_partition.topic().to_owned()),
        (
            "__connect.errors.partition",
            origin.topic_partition.partition().to_string(),
        ),
        ("__connect.errors.offset", origin.offset.to_string()),
        ("__connect.errors.connector.name", task.connector.to_owned()),
        ("__connect.errors.task.id", task.number.to_string()),
        ("__connect.errors.stage", stage.name().to_owned()),
        ("__connect.errors.class.name", class.to_owned()),
        ("__connect.errors.exception.class.name", exception.to_owned()),
        ("__connect.errors.exception.message", message),
        ("__connect.errors.exception.stacktrace", trace),
    ]
    .map(|(key, value)| header(key, value))
    .into()
}

fn header(key: &'static str, value: String) -> RawHeader {
    (Bytes::from_static(key.as_bytes()), Some(Bytes::from(value)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use klamm_connect_api::TopicPartition;
    use klamm_connect_api::sink::Failure;

    use super::*;

    const TASK: Task<'static> = Task {
        connector: "orders-sink",
        number: 3,
    };

    fn origin() -> Origin {
        Origin {
            topic_partition: TopicPartition::new("orders", 7),
            offset: 42,
        }
    }

    fn text(headers: &[RawHeader]) -> Vec<(&str, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        headers
            .iter()
            .map(|(key, value)| (text(key), text(value.as_ref().unwrap())))
            .collect()
    }

    #[test]
    fn a_failed_conversion_has_connects_ten_headers_in_its_order() {
        let failure = RecordFailure {
            origin: origin(),
            timestamp: None,
            stage: Stage::ValueConverter,
            class: "org.apache.kafka.connect.json.JsonConverter",
            error: DataError::data("no JSON"),
        };
        let data_exception = "org.apache.kafka.connect.errors.DataException";
        assert_eq!(
            text(&of_failure(TASK, &failure)),
            [
                ("__connect.errors.topic", "orders"),
                ("__connect.errors.partition", "7"),
                ("__connect.errors.offset", "42"),
                ("__connect.errors.connector.name", "orders-sink"),
                ("__connect.errors.task.id", "3"),
                ("__connect.errors.stage", "VALUE_CONVERTER"),
                (
                    "__connect.errors.class.name",
                    "org.apache.kafka.connect.json.JsonConverter"
                ),
                ("__connect.errors.exception.class.name", data_exception),
                ("__connect.errors.exception.message", "no JSON"),
                (
                    "__connect.errors.exception.stacktrace",
                    "org.apache.kafka.connect.errors.DataException: no JSON\n"
                ),
            ]
        );
    }

    #[test]
    fn a_failed_delivery_has_klamms_own_headers_behind_them() {
        let mut given_up = GivenUp {
            route: "audit".into(),
            destination: "audit-fn (sync)".into(),
            attempts: 5,
            failure: Failure {
                class: "ValueError".into(),
                message: "the function failed".into(),
                request_id: Some(Arc::from("r-1")),
            },
        };
        let headers = of_delivery(TASK, &origin(), &given_up);
        let headers = text(&headers);
        assert_eq!(headers[5], ("__connect.errors.stage", "TASK_PUT"));
        assert_eq!(headers[6], ("__connect.errors.class.name", SINK_TASK));
        assert_eq!(headers[7], ("__connect.errors.exception.class.name", "ValueError"));
        assert_eq!(
            headers[8],
            ("__connect.errors.exception.message", "the function failed")
        );
        assert_eq!(
            headers[10..],
            [
                ("__klamm.errors.route", "audit"),
                ("__klamm.errors.function", "audit-fn (sync)"),
                ("__klamm.errors.attempts", "5"),
                ("__klamm.errors.class", "ValueError"),
                ("__klamm.errors.request.id", "r-1"),
            ]
        );
        given_up.failure.request_id = None;
        assert_eq!(of_delivery(TASK, &origin(), &given_up).len(), 14, "no call, no id");
    }
}
