//! What is said of a call's batch beside its payload: an id that stays the same when the batch is sent again, and the
//! client context.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use klamm_connect_api::Origin;
use klamm_connect_api::sink::Call;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Longest `X-Amz-Client-Context` (API reference of `Invoke`).
const CONTEXT_BYTES: usize = 3583;

/// Trace context of the W3C, as headers carry it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trace<'a> {
    pub(crate) parent: &'a str,
    /// Empty for none.
    pub(crate) state: &'a str,
}

/// The batch's id, which is a valid name of a durable execution: the same records of the same route have the same, whoever
/// sends them, and other records have another, also those at the same offsets of a topic that was made again.
pub(crate) fn id(connector: &str, route: &str, call: &Call) -> String {
    let mut hasher = Sha256::new();
    let mut text = |text: &str| {
        hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(text);
    };
    text(connector);
    text(route);
    for (origin, timestamp) in call.origins.iter().zip(&*call.timestamps) {
        text(origin.topic_partition.topic());
        let partition = origin.topic_partition.partition();
        text(&format!("{partition}@{}@{}", origin.offset, timestamp.unwrap_or(-1)));
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut id = "klamm-".to_owned();
    for byte in digest.iter().take(20) {
        // Writing to a text cannot fail.
        write!(id, "{byte:02x}").unwrap_or_default();
    }
    id
}

#[derive(Serialize)]
struct ClientContext<'a> {
    custom: Custom<'a>,
}

/// Texts only: Lambda's runtimes for Java, Go and .NET take nothing else here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Custom<'a> {
    batch_id: &'a str,
    connector: &'a str,
    route: &'a str,
    records: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    coordinates: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
}

/// The client context in base64. What makes it too long is left out: the coordinates first.
pub(crate) fn client_context(
    connector: &str,
    route: &str,
    batch_id: &str,
    origins: &[Origin],
    trace: Option<Trace<'_>>,
) -> String {
    let mut context = ClientContext {
        custom: Custom {
            batch_id,
            connector,
            route,
            records: origins.len().to_string(),
            coordinates: Some(coordinates(origins)),
            traceparent: trace.map(|trace| trace.parent),
            tracestate: trace.map(|trace| trace.state).filter(|state| !state.is_empty()),
        },
    };
    let written = |context: &ClientContext<'_>| {
        let json = serde_json::to_vec(context).unwrap_or_default();
        STANDARD.encode(json)
    };
    let whole = written(&context);
    if whole.len() <= CONTEXT_BYTES {
        return whole;
    }
    context.custom.coordinates = None;
    let shorter = written(&context);
    if shorter.len() <= CONTEXT_BYTES {
        return shorter;
    }
    context.custom = Custom {
        connector: "",
        route: "",
        tracestate: None,
        ..context.custom
    };
    written(&context)
}

/// `orders-0@7-9,orders-1@4`: the first and last offset of each partition's runs of records that follow each other in
/// the batch.
fn coordinates(origins: &[Origin]) -> String {
    let mut text = String::new();
    for run in origins.chunk_by(|one, next| one.topic_partition == next.topic_partition) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&first.to_string());
        if run.len() > 1 {
            // Writing to a text cannot fail.
            write!(text, "-{}", last.offset).unwrap_or_default();
        }
        if text.len() > CONTEXT_BYTES {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use klamm_connect_api::TopicPartition;
    use klamm_connect_api::sink::RouteIndex;

    use super::*;

    fn origins(coordinates: &[(&str, i32, i64)]) -> Vec<Origin> {
        let origin = |(topic, partition, offset): &(&str, i32, i64)| Origin {
            topic_partition: TopicPartition::new(*topic, *partition),
            offset: *offset,
        };
        coordinates.iter().map(origin).collect()
    }

    /// A call with the records, each written at the time of its offset in seconds after `start_s`.
    fn call(coordinates: &[(&str, i32, i64)], start_s: i64) -> Call {
        let timestamp = |(_, _, offset): &(&str, i32, i64)| Some((start_s + offset) * 1000);
        Call {
            route: RouteIndex(0),
            body: Bytes::new(),
            origins: origins(coordinates).into(),
            timestamps: coordinates.iter().map(timestamp).collect(),
        }
    }

    #[test]
    fn a_batch_keeps_its_id_and_no_other_has_it() {
        let coordinates = [("a", 0, 1), ("a", 0, 2)];
        let batch = call(&coordinates, 0);
        let same = id("c", "r", &batch);
        assert_eq!(same, id("c", "r", &batch));
        assert_eq!(
            same, "klamm-e88e5297732e4bebaaf5f5abb15fbf793d11a7fc",
            "and through versions"
        );
        let others = [
            id("c2", "r", &batch),
            id("c", "r2", &batch),
            id("cr", "", &batch),
            id("c", "r", &call(&[("a", 0, 1)], 0)),
            id("c", "r", &call(&[("a", 0, 1), ("a", 0, 3)], 0)),
            id("c", "r", &call(&[("a", 0, 1), ("a", 1, 2)], 0)),
            id("c", "r", &call(&[("b", 0, 1), ("a", 0, 2)], 0)),
            id("c", "r", &call(&coordinates, 1)),
        ];
        assert!(others.iter().all(|other| *other != same), "{others:?}");
        let is_name =
            |id: &str| id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        assert!(is_name(&same), "what a durable execution may be called");
    }

    #[test]
    fn the_client_context_says_what_the_batch_holds_and_stays_within_its_limit() {
        let decoded = |context: &str| -> serde_json::Value {
            assert!(context.len() <= CONTEXT_BYTES, "{}", context.len());
            serde_json::from_slice(&STANDARD.decode(context).unwrap()).unwrap()
        };
        let batch = origins(&[("orders", 0, 7), ("orders", 0, 9), ("orders", 1, 4)]);
        let trace = Trace {
            parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            state: "a=b",
        };
        let context = client_context("c", "r", "klamm-1", &batch, Some(trace));
        assert_eq!(
            decoded(&context),
            serde_json::json!({"custom": {
                "batchId": "klamm-1", "connector": "c", "route": "r", "records": "3",
                "coordinates": "orders-0@7-9,orders-1@4", "traceparent": trace.parent, "tracestate": "a=b",
            }})
        );
        let many: Vec<_> = (0..1000).map(|partition| ("orders", partition, 0)).collect();
        let context = decoded(&client_context("c", "r", "klamm-1", &origins(&many), None));
        assert_eq!(context["custom"]["records"], "1000");
        assert_eq!(context["custom"].get("coordinates"), None, "too many");
        let long = "x".repeat(5000);
        let context = decoded(&client_context(&long, "r", "klamm-1", &batch, Some(trace)));
        assert_eq!(context["custom"]["batchId"], "klamm-1");
        assert_eq!(context["custom"]["traceparent"], trace.parent);
    }
}
