//! What Apache Kafka Connect answered, request by request.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test code")]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::time::Duration;

use serde_json::Value;
use support::{Answer, about, herder, send};

/// Sections of paths that there are here.
const SECTIONS: [&str; 10] = [
    "root",
    "list-empty",
    "create",
    "names",
    "list",
    "config",
    "delete",
    "status",
    "lifecycle",
    "tasks",
];

/// Requests that are answered differently on purpose: id, our status, why.
const DEVIATIONS: &[(&str, u16, &str)] = &[
    (
        "root.double-slash",
        400,
        "Jetty's own page in HTML; here every error has the JSON body",
    ),
    (
        "root.double-slash-end",
        400,
        "Jetty's own page in HTML; here every error has the JSON body",
    ),
    (
        "root.encoded-dots",
        400,
        "Jetty's own page in HTML; here every error has the JSON body",
    ),
    (
        "root.bad-escape",
        400,
        "Jetty's own page in HTML; here every error has the JSON body",
    ),
    (
        "root.backslash",
        404,
        "a name may hold a backslash, and can be asked for here",
    ),
    (
        "config.put-wrapped",
        400,
        "a request that is wrong is the client's fault, not ours",
    ),
    (
        "config.put-array",
        400,
        "a request that is wrong is the client's fault, not ours",
    ),
    (
        "config.put-bad-json",
        400,
        "a request that is wrong is the client's fault, not ours",
    ),
    (
        "config.put-empty-body",
        400,
        "a request that is wrong is the client's fault, not ours",
    ),
    (
        "config.put-null",
        400,
        "a request that is wrong is the client's fault, not ours",
    ),
    ("config.options", 200, "PATCH is not there"),
    ("delete.offsets-404", 404, "offsets are not there"),
    ("tasks.internal-unsigned", 405, "workers do not call each other"),
];

fn deviation(id: &str) -> Option<u16> {
    DEVIATIONS
        .iter()
        .find(|(listed, ..)| *listed == id)
        .map(|(_, status, _)| *status)
}

/// Why an answer is not the recorded one.
fn difference(id: &str, wanted: &Value, answer: &Answer) -> Option<String> {
    if let Some(status) = deviation(id) {
        return (answer.status != status).then(|| format!("status {}, deviation says {status}", answer.status));
    }
    let status = wanted["status"].as_u64().unwrap();
    if u64::from(answer.status) != status {
        return Some(format!("status {} instead of {status}: {}", answer.status, answer.body));
    }
    let header = |name: &str| wanted["headers"].get(name).and_then(Value::as_str).map(str::to_owned);
    let json = header("content-type").map(|kind| kind.replace(";charset=utf-8", ""));
    if answer.content_type != json {
        return Some(format!("content type {:?} instead of {json:?}", answer.content_type));
    }
    if answer.location != header("location") {
        return Some(format!(
            "location {:?} instead of {:?}",
            answer.location,
            header("location")
        ));
    }
    let mut body = wanted
        .get("body")
        .or_else(|| wanted.get("body_text"))
        .cloned()
        .unwrap_or_default();
    let mut ours = answer.body.clone();
    for body in [&mut body, &mut ours] {
        normalize(body);
    }
    (body != ours).then(|| format!("{ours}\n   instead of {body}"))
}

/// The order of names means nothing, our texts of wrong settings are our own, and the tasks here have no Java class.
fn normalize(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(normalize);
            items.sort_by_key(Value::to_string);
        }
        Value::Object(fields) => {
            fields.shift_remove("task.class");
            let message = fields.get("message").and_then(Value::as_str).unwrap_or_default();
            let is_own = [
                "Connector configuration is invalid",
                "Connector config {",
                "Failed to find any class",
            ]
            .iter()
            .any(|start| message.starts_with(start));
            if is_own || message.starts_with("Connector config contains") {
                fields.insert("message".to_owned(), Value::Null);
            }
            fields.values_mut().for_each(normalize);
        }
        _ => {}
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_as_apache_kafka_connect_answers_them() {
    let router = klamm_rest::router(herder().await, about());
    let transcript = include_str!("../../../tests/golden/rest/transcript.jsonl");
    let mut differences = Vec::new();
    let mut compared = 0;
    for line in transcript.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let (Some(id), Some(request)) = (entry["id"].as_str(), entry.get("request")) else {
            continue;
        };
        if !SECTIONS.contains(&entry["section"].as_str().unwrap()) {
            continue;
        }
        let text = |name: &str| request[name].as_str().unwrap();
        let headers: Vec<(&str, &str)> = request["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str().unwrap()))
            .collect();
        let body = match (request.get("body_text"), request.get("body")) {
            (Some(text), _) => text.as_str().unwrap().to_owned(),
            (None, Some(body)) => body.to_string(),
            (None, None) => String::new(),
        };
        // A state takes a moment to come about: reads are repeated until they are as recorded. Time is paused.
        let tries = if text("method") == "GET" { 50 } else { 1 };
        let mut last = None;
        for _ in 0..tries {
            let answer = send(&router, text("method"), text("path"), &headers, body.clone()).await;
            last = difference(id, &entry["response"], &answer);
            if last.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        compared += 1;
        differences.extend(last.map(|why| format!("{id} {} {}: {why}", text("method"), text("path"))));
    }
    assert!(compared > 300, "{compared} requests compared");
    assert!(
        differences.is_empty(),
        "{} of {compared} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
