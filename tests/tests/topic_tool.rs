//! `klamm topic` and `klamm group` as a script sees them: what it prints, how it ends, what it says when it fails.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use klamm_tests::clients::{json_lines, klamm, klamm_read, python};
use klamm_tests::kafka::Broker;
use klamm_tests::worker::{binary, free_port};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

/// Until a tool that cannot reach its cluster has said so.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `klamm`, which must fail with exit code 1, nothing on standard output and one line on standard error, and
/// returns the line.
async fn refusal(args: &[&str]) -> String {
    let began = Instant::now();
    let output = klamm(args, &[]).await.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        began.elapsed() < PATIENCE,
        "{args:?} took {:?}: {errors}",
        began.elapsed()
    );
    assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
    assert!(output.stdout.is_empty(), "{args:?}");
    let line = errors.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{args:?}: more than one line: {errors}");
    line.to_owned()
}

#[tokio::test]
async fn a_cluster_that_cannot_be_reached_is_a_line_that_says_why() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let nobody = format!("127.0.0.1:{}", free_port().unwrap());
    let list = ["topic", "list", "--bootstrap-server", &nobody];
    let read = ["topic", "read", "t", "--bootstrap-servers", "klamm.invalid:9092"];
    let wait = ["topic", "read", "t", "--bootstrap-server", &silent, "--json"];
    let (refused, unknown, unanswered) = tokio::join!(refusal(&list), refusal(&read), refusal(&wait));
    assert!(
        refused.contains(&nobody) && refused.contains("Connection refused"),
        "{refused}"
    );
    assert!(unknown.contains("klamm.invalid:9092"), "{unknown}");
    assert!(
        unanswered.contains(&silent) && unanswered.contains("not answer"),
        "{unanswered}"
    );
}

#[tokio::test]
async fn what_does_not_exist_and_what_makes_no_sense_is_refused() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "tool-refusals";
    let ops = [json!({ "op": "create", "topic": topic, "partitions": 2 })];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let with = |args: &[&'static str]| -> Vec<&str> { [args, &["--bootstrap-server", kafka.bootstrap()]].concat() };
    let cases = [
        (
            vec!["topic", "read", "tool-nowhere"],
            "topic `tool-nowhere` does not exist",
        ),
        (
            vec!["topic", "read", topic, "--partition", "2"],
            "topic `tool-refusals` has no partition 2: its partitions are 0 to 1",
        ),
        (
            vec!["topic", "read", topic, "--from", "1700000000000"],
            "offset 1700000000000 is beyond the end of `tool-refusals`, which is 0; a time is `timestamp:1700000000000`",
        ),
        (
            vec!["topic", "list", "--command-config", "/nowhere/client.properties"],
            "/nowhere/client.properties cannot be read: No such file or directory (os error 2)",
        ),
    ];
    let more = [
        (
            vec!["topic", "write", "tool-nowhere"],
            "topic `tool-nowhere` does not exist",
        ),
        (
            vec!["group", "describe", "tool-nobody"],
            "group `tool-nobody` does not exist",
        ),
    ];
    for (args, wanted) in cases.into_iter().chain(more) {
        assert_eq!(refusal(&with(&args)).await, format!("klamm: {wanted}"));
    }
    let bare = refusal(&["topic", "list"]).await;
    assert!(bare.contains("--bootstrap-server"), "{bare}");
}

#[tokio::test]
async fn topics_are_listed_by_name() {
    let Some(kafka) = Broker::shared() else { return };
    let ops = ["tool-list-b", "tool-list-a"].map(|topic| json!({ "op": "create", "topic": topic }));
    python(kafka.bootstrap(), &ops).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("client.properties");
    std::fs::write(
        &config,
        format!("bootstrap.servers={}\nclient.id=lister\n", kafka.bootstrap()),
    )
    .unwrap();
    let output = klamm(&["topic", "list", "--command-config", config.to_str().unwrap()], &[])
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let listed: Vec<_> = text.lines().filter(|name| name.starts_with("tool-list-")).collect();
    assert_eq!(
        (output.status.code(), listed),
        (Some(0), vec!["tool-list-a", "tool-list-b"])
    );
    assert!(!text.contains("__consumer_offsets"));
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "tool-head";
    let ops = [
        json!({ "op": "create", "topic": topic, "partitions": 4 }),
        json!({ "op": "produce", "topic": topic, "records": [{ "count": 100_000, "value": "djE=" }] }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let mut tool = Command::new(binary().unwrap())
        .args(["topic", "read", topic, "--bootstrap-server", kafka.bootstrap()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    // The reader is dropped with its end of the pipe.
    BufReader::new(tool.stdout.take().unwrap())
        .read_line(&mut line)
        .await
        .unwrap();
    assert!(
        line.starts_with("tool-head-0@0\t") && line.ends_with("\tnull\tv10\n"),
        "{line}"
    );
    let output = tool.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[tokio::test]
async fn following_goes_on_with_what_is_written_later() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "tool-follow";
    let produce = |value: &str| json!({ "op": "produce", "topic": topic, "records": [{ "value": value }] });
    let ops = [json!({ "op": "create", "topic": topic }), produce("AAAA")];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let mut tool = Command::new(binary().unwrap())
        .args([
            "topic",
            "read",
            topic,
            "--follow",
            "--json",
            "--bootstrap-server",
            kafka.bootstrap(),
        ])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tool.stdout.take().unwrap()).lines();
    let next = async |lines: &mut tokio::io::Lines<_>| -> Value {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap();
        serde_json::from_str(&line.unwrap().unwrap()).unwrap()
    };
    assert_eq!(next(&mut lines).await["value"], "AAAA");
    assert_eq!(
        klamm_read(kafka.bootstrap(), topic, &[]).await.unwrap().len(),
        1,
        "without it, this was the end"
    );
    python(kafka.bootstrap(), &[produce("BBBB")]).await.unwrap();
    assert_eq!(next(&mut lines).await["value"], "BBBB");
    tool.kill().await.unwrap();
}

#[tokio::test]
async fn lines_are_written_until_the_first_that_cannot_be() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "tool-write";
    let ops = [json!({ "op": "create", "topic": topic, "partitions": 1 })];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let args = ["topic", "write", topic, "--bootstrap-server", kafka.bootstrap()];
    let cases = [
        ("k\tv\nv\n", 0, 2, ""),
        (
            "one\n{\"a\":1}\ntwo\n",
            1,
            1,
            "line 2: not a record as `topic read --json` prints it",
        ),
        (
            "one\n{\"partition\":7,\"key\":null,\"value\":null}\n",
            1,
            1,
            "line 2: topic `tool-write` has 1 partitions",
        ),
    ];
    for (input, code, acknowledged, error) in cases {
        let output = klamm(&args, input.as_bytes()).await.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{input}: {errors}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, format!("acknowledged {acknowledged} records\n"), "{input}");
        assert!(
            errors.contains(error) && errors.lines().count() <= 1,
            "{input}: {errors}"
        );
    }
    let found = klamm_read(kafka.bootstrap(), topic, &[]).await.unwrap();
    let values: Vec<_> = found.iter().map(|record| record["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["dg==", "dg==", "b25l", "b25l"]);
}

#[tokio::test]
async fn groups_are_listed_and_described() {
    let Some(kafka) = Broker::shared() else { return };
    let (topic, group) = ("tool-groups", "tool-group");
    let ops = [
        json!({ "op": "create", "topic": topic, "partitions": 2 }),
        json!({ "op": "produce", "topic": topic, "records": [{ "count": 5, "value": "djE=" }] }),
        json!({ "op": "commit", "group": group, "topic": topic, "partition": 0, "offset": 3 }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let run = async |args: &[&str]| {
        let args = [args, &["--bootstrap-server", kafka.bootstrap()]].concat();
        let output = klamm(&args, &[]).await.unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["group", "list"]).await.lines().any(|line| line == group));
    let listed = run(&["group", "list", "--json"]).await;
    let listed = json_lines(listed.as_bytes()).unwrap();
    let found = listed.iter().find(|listed| listed["group"] == group).unwrap();
    assert_eq!((&found["state"], &found["type"]), (&json!("Empty"), &json!("classic")));
    let described: Value = serde_json::from_str(&run(&["group", "describe", group, "--json"]).await).unwrap();
    assert_eq!(
        (&described["state"], &described["members"]),
        (&json!("Empty"), &json!([]))
    );
    let wanted = json!([
        { "topic": topic, "partition": 0, "committed": 3, "end": 5, "lag": 2, "memberId": null },
    ]);
    assert_eq!(described["partitions"], wanted);
    let text = run(&["group", "describe", group]).await;
    assert!(
        text.contains("partition tool-groups-0 committed 3 end 5 lag 2 member -\n"),
        "{text}"
    );
}
