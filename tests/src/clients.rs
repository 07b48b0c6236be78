//! Kafka clients that are not ours, and the product's own tools as processes.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::testbed;
use crate::worker::binary;

/// No tool and no script of a test takes longer.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs operations of `client.py` with confluent-kafka and kafka-python, in order, and returns the records that were
/// read.
///
/// # Errors
/// An operation failed; the message holds what Python said.
pub async fn python(bootstrap: &str, ops: &[Value]) -> anyhow::Result<Vec<Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clients/client.py");
    let mut command = Command::new(testbed().join("clients"));
    command.arg("python").arg(script);
    let input = json!([{ "bootstrap.servers": bootstrap }, ops]).to_string();
    let output = run(command, input.as_bytes()).await?;
    ensure!(
        output.status.success(),
        "client.py failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    json_lines(&output.stdout)
}

/// Runs a check of `groups.py`, and returns what it prints.
///
/// # Errors
/// The check failed; the message holds what Python said.
pub async fn check(bootstrap: &str, check: &str) -> anyhow::Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clients/groups.py");
    let mut command = Command::new(testbed().join("clients"));
    command.arg("python").arg(script).arg(bootstrap).arg(check);
    let output = run(command, &[]).await?;
    ensure!(
        output.status.success(),
        "groups.py {check} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut lines = json_lines(&output.stdout)?;
    lines.pop().with_context(|| format!("groups.py {check} printed nothing"))
}

/// Runs one of Kafka's own tools against any broker, and returns its output. Takes seconds: a JVM starts.
///
/// # Errors
/// The tool failed; the message holds what it said.
pub async fn kafka_tool(bootstrap: &str, tool: &str, args: &[&str], input: &[u8]) -> anyhow::Result<String> {
    let dir = tempfile::tempdir().context("cannot make a folder")?;
    // Where the script looks for the broker that it is to talk to.
    std::fs::write(dir.path().join("env"), format!("KAFKA_BOOTSTRAP='{bootstrap}'\n"))?;
    let mut command = Command::new(testbed().join("kafka"));
    command.arg(tool).arg("--dir").arg(dir.path()).args(args);
    let output = run(command, input).await?;
    ensure!(
        output.status.success(),
        "kafka {tool} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Records of Confluent's Avro, JSON Schema and Protobuf serializers, which register their schemas with this registry: for
/// each its format as `topic`, its `value`, and its `headers` as pairs, in base64.
///
/// # Errors
/// A serializer failed; the message holds what Python said.
pub async fn serialized(registry: &str) -> anyhow::Result<Vec<Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clients/serializers.py");
    let mut command = Command::new(testbed().join("clients"));
    command.arg("python").arg(script).arg(registry);
    let output = run(command, &[]).await?;
    ensure!(
        output.status.success(),
        "serializers.py failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    json_lines(&output.stdout)
}

/// What AWS's own client (`python` or `node`) gets from functions at this endpoint: one document of several calls.
///
/// # Errors
/// A call failed that should not; the message holds what the client said.
pub async fn aws_sdk(language: &str, endpoint: &str) -> anyhow::Result<Value> {
    let name = if language == "node" { "sdk.cjs" } else { "boto.py" };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clients").join(name);
    let mut command = Command::new(testbed().join("aws-sdk"));
    command.arg(language).arg(script).arg(endpoint);
    let output = run(command, &[]).await?;
    ensure!(
        output.status.success(),
        "{name} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs `klamm` with these arguments and this input, and waits for its end.
///
/// # Errors
/// It is not built, or does not end.
pub async fn klamm(args: &[&str], input: &[u8]) -> anyhow::Result<Output> {
    let mut command = Command::new(binary()?);
    command.args(args).env_remove("KLAMM_LOG");
    run(command, input).await
}

/// The records that `klamm topic read … --json` prints.
///
/// # Errors
/// It failed, wrote to standard error, or printed what is no JSON.
pub async fn klamm_read(bootstrap: &str, topic: &str, args: &[&str]) -> anyhow::Result<Vec<Value>> {
    let mut all = vec!["topic", "read", topic, "--bootstrap-server", bootstrap, "--json"];
    all.extend(args);
    let output = klamm(&all, &[]).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && errors.is_empty(),
        "{}: {errors}",
        output.status
    );
    json_lines(&output.stdout)
}

/// One JSON value a line.
///
/// # Errors
/// A line that is none.
pub fn json_lines(text: &[u8]) -> anyhow::Result<Vec<Value>> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).with_context(|| String::from_utf8_lossy(line).into_owned()))
        .collect()
}

async fn run(mut command: Command, input: &[u8]) -> anyhow::Result<Output> {
    let what = format!("{:?}", command.as_std());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {what}"))?;
    let stdin = child.stdin.take();
    let writing = async {
        if let Some(mut stdin) = stdin {
            // Whoever has read enough closes early; its exit code tells.
            stdin.write_all(input).await.ok();
        }
    };
    let both = async { tokio::join!(writing, child.wait_with_output()).1 };
    let output = timeout(LIMIT, both)
        .await
        .with_context(|| format!("{what} did not end within {LIMIT:?}"))?;
    output.with_context(|| format!("cannot wait for {what}"))
}
