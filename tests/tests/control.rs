//! `klamm connectors`, `offsets`, `plugins`, `validate` and `import` as a user runs them against a real worker.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod support;

use std::path::Path;

use klamm_dev::FakeLambda;
use klamm_tests::clients::klamm;
use klamm_tests::connector::lambda_sink;
use klamm_tests::kafka::Broker;
use klamm_tests::produce::{CODECS, Producer};
use klamm_tests::worker::{Worker, free_port};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a command printed, and how it ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// It ended with this exit code.
    fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

async fn run(url: &str, args: &[&str]) -> Ran {
    let output = klamm(&[args, &["--url", url]].concat(), &[]).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn write(dir: &TempDir, name: &str, config: &Value) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, config.to_string()).unwrap();
    text(&path).to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_connector_lives_on_the_command_line() {
    let Some(kafka) = Broker::shared() else { return };
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic("cli", 2).await.unwrap();
    producer.produce_json("cli", 2, 0..10, CODECS[0]).await.unwrap();
    let lambda = FakeLambda::start().await.unwrap();
    lambda.function("cli-fn");
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let url = worker.url();
    let dir = TempDir::new().unwrap();
    let mut config = lambda_sink(&lambda, "cli", &[("aws.lambda.function.name", "cli-fn")]);
    let file = write(&dir, "cli.json", &json!({"name": "cli", "config": config}));

    run(&url, &["validate", &file]).await.ended(0);
    run(&url, &["connectors", "create", &file, "--wait"]).await.ended(0);
    let again = run(&url, &["connectors", "create", &file]).await.ended(1);
    assert!(again.err.contains("already exists"), "{again:?}");
    let list = run(&url, &["connectors", "list"]).await.ended(0);
    assert!(
        list.out
            .lines()
            .any(|line| line.starts_with("cli ") && line.contains("RUNNING")),
        "{list:?}"
    );
    lambda
        .wait_for("the records", |log| {
            klamm_tests::account::accepted(log, "cli-fn", "cli").len() == 10
        })
        .await
        .unwrap();
    let status = run(&url, &["connectors", "status", "cli"]).await.ended(0);
    assert!(
        status.out.contains("task 0") && status.out.contains("cli-0"),
        "{status:?}"
    );

    for (action, state) in [("pause", "PAUSED"), ("resume", "RUNNING"), ("stop", "STOPPED")] {
        run(&url, &["connectors", action, "cli", "--wait"]).await.ended(0);
        let status = run(&url, &["connectors", "status", "cli", "--json"])
            .await
            .ended(0)
            .json();
        assert_eq!(status["connector"]["state"], state);
    }
    let offsets = run(&url, &["offsets", "get", "cli", "--json"]).await.ended(0).json();
    let ends: i64 = offsets["offsets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["offset"]["kafka_offset"].as_i64().unwrap())
        .sum();
    assert_eq!(ends, 10);
    run(&url, &["offsets", "set", "cli", "cli:0=1", "cli:1=none"])
        .await
        .ended(0);
    let offsets = run(&url, &["offsets", "get", "cli"]).await.ended(0);
    assert_eq!(offsets.out, "TOPIC  PARTITION  OFFSET\ncli    0          1\n");
    run(&url, &["offsets", "set", "cli", "cli:0=2020-01-01T00:00:00Z"])
        .await
        .ended(0);
    run(&url, &["offsets", "reset", "cli"]).await.ended(0);

    // Files are what is wanted: nothing to do, then a difference, then nothing again.
    let path = dir.path();
    let apply = ["connectors", "apply", "-f", text(path)];
    let dry = [&apply[..], &["--dry-run"]].concat();
    run(&url, &apply).await.ended(0);
    config["aws.lambda.batch.size"] = "7".into();
    write(&dir, "cli.json", &json!({"name": "cli", "config": config}));
    let difference = run(&url, &dry).await.ended(5);
    assert!(difference.out.contains("+ aws.lambda.batch.size: 7"), "{difference:?}");
    run(&url, &apply).await.ended(0);
    run(&url, &dry).await.ended(0);
    let stored = run(&url, &["connectors", "get", "cli"]).await.ended(0).json();
    assert_eq!(stored["aws.lambda.batch.size"], "7");

    let logs = run(&url, &["connectors", "logs", "cli"]).await.ended(0);
    assert!(logs.out.contains("connector created"), "{logs:?}");
    run(&url, &["connectors", "delete", "cli", "--wait"]).await.ended(0);
    run(&url, &["connectors", "status", "cli"]).await.ended(1);
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_line_with_its_exit_code() {
    let Some(kafka) = Broker::shared() else { return };
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let url = worker.url();
    let dir = TempDir::new().unwrap();
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    let unreachable = run(&nobody, &["connectors", "list"]).await.ended(3);
    assert!(unreachable.err.contains("no worker can be reached"), "{unreachable:?}");
    assert_eq!(unreachable.err.lines().count(), 1);
    // A worker that is away does not matter while another answers.
    run(&format!("{nobody},{url}"), &["connectors", "list"]).await.ended(0);

    let file = write(
        &dir,
        "bad.json",
        &json!({"name": "bad", "config": {"connector.class": "AwsLambdaSink", "topics": "t", "aws.lambda.batch.size": "many"}}),
    );
    let refused = run(&url, &["validate", &file]).await.ended(1);
    assert!(
        refused.out.contains("bad: error: aws.lambda.batch.size:"),
        "{refused:?}"
    );
    run(&url, &["connectors", "create", &file]).await.ended(1);
    run(&url, &["connectors", "create", "/nowhere.json"]).await.ended(2);
    run(&url, &["connectors", "pause", "nobody"]).await.ended(1);
    let plugins = run(&url, &["plugins", "list"]).await.ended(0);
    for class in [
        "AwsLambdaSinkConnector",
        "JsonConverter",
        "InsertField",
        "TopicNameMatches",
    ] {
        assert!(plugins.out.contains(class), "{class} in {plugins:?}");
    }
    run(&url, &["plugins", "config", "AwsLambdaSink"]).await.ended(0);
    worker.terminate().await.unwrap();
}

/// What a Connect cluster's config topic holds, with one record more that deletes.
#[tokio::test]
async fn connectors_of_a_java_cluster_are_imported_after_a_dry_run() {
    let Some(kafka) = Broker::shared() else { return };
    let lambda = FakeLambda::start().await.unwrap();
    let producer = Producer::connect(kafka.bootstrap()).await.unwrap();
    producer.create_topic("import-configs", 1).await.unwrap();
    let record = |key: &str, value: Option<Value>| {
        (
            Some(key.as_bytes().to_vec()),
            value.map(|value| value.to_string().into_bytes()),
        )
    };
    let config = lambda_sink(&lambda, "t", &[("aws.lambda.function.name", "f"), ("name", "sink")]);
    let records = vec![
        record("connector-sink", Some(json!({"properties": config}))),
        record(
            "connector-files",
            Some(json!({"properties": {"connector.class": "FileStreamSource", "name": "files"}})),
        ),
        record("connector-gone", Some(json!({"properties": config}))),
        record("task-sink-0", Some(json!({"properties": {}}))),
        record("connector-gone", None),
    ];
    producer.produce("import-configs", 0, records, CODECS[0]).await.unwrap();
    let worker = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let url = worker.url();
    let from = [
        "import",
        "--from-topic",
        "import-configs",
        "--bootstrap-server",
        kafka.bootstrap(),
    ];

    let dry = run(&url, &from).await.ended(5);
    assert!(
        dry.out.contains("sink (") && dry.out.contains("would be imported"),
        "{dry:?}"
    );
    assert!(dry.out.contains("files (FileStreamSource): is skipped"), "{dry:?}");
    assert!(!dry.out.contains("gone"), "{dry:?}");
    assert_eq!(
        run(&url, &["connectors", "list", "--json"]).await.ended(0).json(),
        json!({})
    );

    run(&url, &[&from[..], &["--yes"]].concat()).await.ended(0);
    run(&url, &["connectors", "status", "sink", "--wait"]).await.ended(0);
    let stopped = run(&url, &["connectors", "status", "sink", "--json"])
        .await
        .ended(0)
        .json();
    assert_eq!(
        stopped["connector"]["state"], "STOPPED",
        "the old cluster may still run it"
    );
    let again = run(&url, &[&from[..], &["--yes"]].concat()).await.ended(0);
    assert!(again.out.contains("is there already"), "{again:?}");

    // From worker to worker by REST: what is masked cannot be taken along, and that is said.
    let other = Worker::builder(kafka.bootstrap()).start().await.unwrap();
    let by_rest = run(&other.url(), &["import", "--from-rest", &url]).await.ended(1);
    assert!(by_rest.out.contains("is masked: use --from-topic"), "{by_rest:?}");
    other.terminate().await.unwrap();
    worker.terminate().await.unwrap();
}

#[tokio::test]
async fn a_shell_gets_its_completion() {
    for shell in ["bash", "zsh", "fish"] {
        let output = klamm(&["completion", shell], &[]).await.unwrap();
        assert!(output.status.success());
        assert!(
            String::from_utf8(output.stdout).unwrap().contains("connectors"),
            "{shell}"
        );
    }
}
