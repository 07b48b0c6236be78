//! What the end-to-end tests of the worker share.

#![allow(dead_code, reason = "each test binary uses its own part")]

use klamm_tests::kafka::Broker;
use klamm_tests::wait;
use klamm_tests::worker::Worker;

/// Waits until the connector's tasks show these states.
pub(crate) async fn tasks_are(worker: &Worker, connector: &str, wanted: &[&str]) -> serde_json::Value {
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
pub(crate) async fn create(worker: &Worker, name: &str, config: &serde_json::Value) {
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
