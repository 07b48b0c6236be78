//! Every example as its README tells to run it, in a copy of its folder.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use klamm_tests::process::testbed;
use klamm_tests::worker::{binary, free_port};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// The first run of an example with packages fetches them.
const LIMIT: Duration = Duration::from_secs(240);

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        // Packages of an earlier run by hand are large, and not what is tested.
        if entry.file_name() == ".packages" || entry.file_name() == "__pycache__" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// A copy of the example, beside what the examples share.
fn example(name: &str) -> (TempDir, PathBuf) {
    let examples = testbed().join("../../examples");
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join(name);
    copy(&examples.join(name), &folder);
    std::fs::copy(examples.join("packages.sh"), dir.path().join("packages.sh")).unwrap();
    (dir, folder)
}

/// What it prints until it ends by itself, with exit code 0.
async fn runs(mut command: Command) -> String {
    command
        .env_remove("KLAMM_LOG")
        .env("KLAMM", binary().unwrap())
        .kill_on_drop(true);
    let output = timeout(LIMIT, command.output())
        .await
        .expect("it ends by itself")
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

async fn once(name: &str) -> String {
    let (_dir, folder) = example(name);
    let script = folder.join("run.sh");
    let mut command = if script.exists() {
        Command::new(script)
    } else {
        let mut command = Command::new(binary().unwrap());
        command.arg("dev").arg(&folder);
        command
    };
    command.arg("--once");
    runs(command).await
}

/// Records that went to this destination, by the lines that tell so.
fn delivered(out: &str, to: &str) -> u64 {
    let lines = out.lines().filter(|line| line.ends_with(to));
    let counts = lines.filter_map(|line| line.strip_prefix("delivered ")?.split(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

#[tokio::test]
async fn orders_go_to_three_functions() {
    let out = once("orders").await;
    for to in [" to order-fn (sync)", " to click-fn (sync)", " to audit-fn (async)"] {
        assert!(delivered(&out, to) > 0, "{to} in {out}");
    }
}

#[tokio::test]
async fn three_log_records_are_anomalies() {
    let out = once("anomaly-scoring").await;
    assert_eq!(delivered(&out, " to score (sync)"), 60, "{out}");
    let alerts: Vec<_> = out.lines().filter(|line| line.contains("ALERT score")).collect();
    assert_eq!(alerts.len(), 3, "{alerts:?}");
    for origin in ["access-log-0@20", "access-log-0@37", "access-log-0@55"] {
        assert!(
            alerts.iter().any(|line| line.contains(origin)),
            "{origin} in {alerts:?}"
        );
    }
}

#[tokio::test]
async fn avro_arrives_as_json() {
    let out = once("avro-registry").await;
    assert!(
        out.contains("order 1 of Customer 1: 23.49, PAID, 2026-03-02T10:00:01.000Z"),
        "{out}"
    );
    assert_eq!(delivered(&out, " to ship (sync)"), 10, "{out}");
}

#[tokio::test]
async fn each_order_is_stored_with_its_last_status() {
    let out = once("dynamodb-sink").await;
    let stored: Vec<_> = out.lines().filter(|line| line.starts_with("order-")).collect();
    assert_eq!(stored.len(), 10, "{out}");
    assert!(stored.iter().all(|line| line.contains(": SHIPPED ")), "{stored:?}");
}

#[tokio::test]
async fn a_function_of_the_event_source_mapping_runs_unchanged() {
    let out = once("esm-migration").await;
    let refusals = out.lines().filter(|line| line.contains("refused: order 7")).count();
    assert_eq!(refusals, 2, "alone the second time: {out}");
    for id in (0..12).filter(|id| *id != 7) {
        let line = format!("order {id} of ");
        assert_eq!(out.matches(&line).count(), 1, "{line} in {out}");
    }
}

#[tokio::test]
async fn a_function_writes_to_kafka() {
    let out = once("produce-from-function").await;
    assert_eq!(delivered(&out, " to enrich (sync)"), 16, "{out}");
    assert!(out.contains("records written to orders-enriched"), "{out}");
}

#[tokio::test]
async fn dead_letters_are_redriven_after_the_function_was_mended() {
    let (_dir, folder) = example("dead-letters");
    let port = free_port().unwrap();
    let file = folder.join("klamm.dev.json");
    let mut world: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    world["ports"] = serde_json::json!({"kafka": 0, "functions": 0, "rest": port});
    std::fs::write(&file, world.to_string()).unwrap();
    let mut dev = Command::new(binary().unwrap())
        .args(["dev", "--plain"])
        .arg(&folder)
        .env_remove("KLAMM_LOG")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
    let url = format!("http://127.0.0.1:{port}");
    let klamm = async |args: &[&str]| {
        let mut command = Command::new(binary().unwrap());
        command.args(args).args(["--url", &url]);
        runs(command).await
    };
    let mut saw = async |what: &str| {
        let seen = async { while !lines.next_line().await.unwrap().expect("it goes on").contains(what) {} };
        timeout(LIMIT, seen).await.unwrap_or_else(|_| panic!("no `{what}`"));
    };
    saw("charged payment-14").await;
    let letters = timeout(LIMIT, async {
        loop {
            let found = klamm(&["dlq", "peek", "charge", "--json"]).await;
            let found: Value = serde_json::from_str(&found).unwrap();
            if found.as_array().is_some_and(|letters| letters.len() == 2) {
                return found;
            }
        }
    });
    let letters = letters.await.expect("two dead letters");
    assert_eq!(letters[0]["origin"], "payments-0@4");
    let handler = folder.join("charge.py");
    let text = std::fs::read_to_string(&handler).unwrap();
    let mended = text.replace("float(text)", "float(text.replace(\",\", \".\"))");
    assert_ne!(mended, text);
    std::fs::write(&handler, mended).unwrap();
    let out = klamm(&["dlq", "redrive", "charge"]).await;
    assert!(out.contains("2 redriven"), "{out}");
    saw("charged payment-11: 12.50").await;
}
