//! What the end-to-end tests of the worker share.

#![allow(dead_code, reason = "each test binary uses its own part")]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use klamm_tests::clients::python;
use klamm_tests::kafka::Broker;
use klamm_tests::wait;
use klamm_tests::worker::Worker;
use serde_json::{Value, json};

/// Waits until the connector's tasks show these states.
pub(crate) async fn tasks_are(worker: &Worker, connector: &str, wanted: &[&str]) -> Value {
    let path = format!("/connectors/{connector}/status");
    let what = format!("tasks of {connector} to be {wanted:?}");
    let reached = wait::until(&what, wait::LIMIT, || async {
        let status = worker.rest().get(&path).await.ok()?.json();
        let states: Vec<&str> = status["tasks"]
            .as_array()?
            .iter()
            .map(|task| task["state"].as_str().unwrap())
            .collect();
        (states == wanted).then_some(status)
    });
    match reached.await {
        Ok(status) => status,
        Err(error) => panic!("{error:#}\n{}", worker.log()),
    }
}

/// Creates a connector.
pub(crate) async fn create(worker: &Worker, name: &str, config: &Value) {
    worker
        .rest()
        .put(&format!("/connectors/{name}/config"), config)
        .await
        .unwrap()
        .expect(201)
        .unwrap();
}

/// Waits until the group has committed this offset of a partition.
pub(crate) async fn committed(kafka: &Broker, group: &str, topic: &str, partition: &str, offset: &str) {
    let what = format!("{group} to commit {topic}-{partition} at {offset}");
    let reached = wait::until(&what, wait::LIMIT, || async {
        let rows = kafka.tool("groups", &["--describe", "--group", group]).await.ok()?;
        let row = rows.lines().find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            (columns.get(1) == Some(&topic) && columns.get(2) == Some(&partition)).then(|| columns[3].to_owned())
        });
        (row? == offset).then_some(())
    });
    reached.await.unwrap();
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes)
}

/// Base64 of text, as text.
pub(crate) fn plain(value: &Value) -> String {
    String::from_utf8(BASE64.decode(value.as_str().unwrap()).unwrap()).unwrap()
}

/// Keys and values of headers as text.
pub(crate) fn text(headers: &[Value]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|header| (header["key"].as_str().unwrap().to_owned(), plain(&header["value"])))
        .collect()
}

/// Waits until a topic holds that many records, as an independent client reads them.
pub(crate) async fn filled(bootstrap: &str, topic: &str, count: usize) -> Vec<Value> {
    let what = format!("{count} records in {topic}");
    wait::until(&what, wait::LIMIT, || async {
        let read = [json!({ "op": "read", "topic": topic })];
        let found = python(bootstrap, &read).await.ok()?;
        (found.len() >= count).then_some(found)
    })
    .await
    .unwrap()
}

/// Has the configuration refused as that of a connector `refused`: with one error, under this key, whose text holds `wanted`.
pub(crate) async fn is_refused(worker: &Worker, config: &Value, key: &str, wanted: &str) {
    let mut config = config.clone();
    config["name"] = "refused".into();
    let path = "/connector-plugins/AwsLambdaSink/config/validate";
    let answer = worker.rest().put(path, &config).await.unwrap().expect(200).unwrap();
    let errors: Vec<(&str, &str)> = answer["configs"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|entry| {
            let name = entry["value"]["name"].as_str().unwrap();
            let errors = entry["value"]["errors"].as_array().unwrap();
            errors.iter().map(move |error| (name, error.as_str().unwrap()))
        })
        .collect();
    assert!(
        matches!(errors.as_slice(), [(at, text)] if *at == key && text.contains(wanted)),
        "{config:#}: {errors:?}"
    );
}
