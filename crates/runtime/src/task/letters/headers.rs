//! The headers that tell where a dead letter comes from and why: Connect's ten (KIP-298), and Klamm's own.

use bytes::Bytes;
use klamm_connect_api::Origin;
use klamm_delivery::GivenUp;

use super::original::{Context, RawHeader};
use super::patience::Task;
use crate::task::pipeline::{RecordFailure, Stage};

/// Connect's name for whoever took the record in stage `TASK_PUT`.
const SINK_TASK: &str = "org.apache.kafka.connect.sink.SinkTask";

/// Connect's header that repeats what failed, and the first to go where a dead letter is too large.
pub(super) const TRACE: &str = "__connect.errors.exception.stacktrace";

/// Why a record failed before delivery.
pub(super) fn context(failure: &RecordFailure) -> Context {
    let class = match failure.stage {
        Stage::TaskPut => SINK_TASK,
        Stage::KeyConverter | Stage::ValueConverter | Stage::HeaderConverter | Stage::Transformation => failure.class,
    };
    Context {
        stage: Bytes::from_static(failure.stage.name().as_bytes()),
        class: Bytes::from_static(class.as_bytes()),
        exception: Bytes::from_static(failure.error.kind().java_class().as_bytes()),
        message: Bytes::from(failure.error.to_string()),
    }
}

/// Headers of a record that failed before delivery.
pub(super) fn of_failure(task: &Task, origin: &Origin, context: Context) -> Vec<RawHeader> {
    connect(task, origin, context)
}

/// Headers of a record whose delivery was given up.
pub(super) fn of_delivery(task: &Task, origin: &Origin, given_up: &GivenUp) -> Vec<RawHeader> {
    let GivenUp {
        route,
        destination,
        attempts,
        failure,
    } = given_up;
    let context = Context {
        stage: Bytes::from_static(Stage::TaskPut.name().as_bytes()),
        class: Bytes::from_static(SINK_TASK.as_bytes()),
        exception: Bytes::from(failure.class.to_string()),
        message: Bytes::from(failure.message.to_string()),
    };
    let mut headers = connect(task, origin, context);
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
fn connect(task: &Task, origin: &Origin, context: Context) -> Vec<RawHeader> {
    let Context {
        stage,
        class,
        exception,
        message,
    } = context;
    let trace = [&exception, &b": "[..], &message, b"\n"].concat();
    let text = |text: String| Bytes::from(text);
    [
        (
            "__connect.errors.topic",
            text(origin.topic_partition.topic().to_owned()),
        ),
        (
            "__connect.errors.partition",
            text(origin.topic_partition.partition().to_string()),
        ),
        ("__connect.errors.offset", text(origin.offset.to_string())),
        ("__connect.errors.connector.name", text(task.connector.to_string())),
        ("__connect.errors.task.id", text(task.number.to_string())),
        ("__connect.errors.stage", stage),
        ("__connect.errors.class.name", class),
        ("__connect.errors.exception.class.name", exception),
        ("__connect.errors.exception.message", message),
        (TRACE, Bytes::from(trace)),
    ]
    .map(|(key, value)| (Bytes::from_static(key.as_bytes()), Some(value)))
    .into()
}

fn header(key: &'static str, value: String) -> RawHeader {
    (Bytes::from_static(key.as_bytes()), Some(Bytes::from(value)))
}

/// The same headers without the trace's text; none if there is nothing to cut.
pub(super) fn without_trace(headers: &[RawHeader]) -> Option<Vec<RawHeader>> {
    let at = headers.iter().rposition(|(key, _)| key == TRACE)?;
    let has_text = headers[at].1.as_ref().is_some_and(|trace| !trace.is_empty());
    has_text.then(|| {
        let mut cut = headers.to_vec();
        cut[at].1 = Some(Bytes::new());
        cut
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use klamm_connect_api::sink::Failure;
    use klamm_connect_api::{DataError, TopicPartition};

    use super::*;

    fn task() -> Task {
        Task {
            connector: "orders-sink".into(),
            number: 3,
        }
    }

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
            text(&of_failure(&task(), &origin(), context(&failure))),
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
                answered: None,
            },
        };
        let headers = of_delivery(&task(), &origin(), &given_up);
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
        assert_eq!(of_delivery(&task(), &origin(), &given_up).len(), 14, "no call, no id");
    }

    #[test]
    fn the_trace_is_the_first_to_go_and_only_once() {
        let context = Context {
            stage: "TRANSFORMATION".into(),
            class: "c".into(),
            exception: "e".into(),
            message: "m".into(),
        };
        let own = (
            Bytes::from_static(TRACE.as_bytes()),
            Some(Bytes::from_static(b"of its own")),
        );
        let mut headers = vec![own.clone()];
        headers.extend(of_failure(&task(), &origin(), context));
        let cut = without_trace(&headers).unwrap();
        assert_eq!(cut[0], own, "the record's own headers stay");
        assert_eq!(cut[10].1, Some(Bytes::new()));
        assert_eq!(cut[..10], headers[..10]);
        assert_eq!(without_trace(&cut), None);
        assert_eq!(without_trace(&[]), None);
    }
}
