//! The development broker as other clients see it: confluent-kafka (librdkafka), kafka-python, kcat, Java's console
//! tools, rskafka; and the product's own tools.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_dev::broker::{Broker, Settings};
use klamm_tests::clients::{check, kafka_tool, klamm, klamm_read, python};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

async fn broker(brokers: u16) -> Broker {
    let settings = Settings {
        brokers,
        consumer_heartbeat_interval: Duration::from_millis(200),
        ..Settings::default()
    };
    Broker::start(settings).await.unwrap()
}

fn b64(text: impl AsRef<[u8]>) -> String {
    BASE64.encode(text)
}

/// What both Python clients read of a topic, which must be the same.
async fn read_by_both(bootstrap: &str, topic: &str, isolation: &str) -> Vec<Value> {
    let mut read = Vec::new();
    for client in ["confluent", "kafka-python"] {
        let op = json!({ "op": "read", "topic": topic, "client": client, "isolation": isolation });
        read.push(python(bootstrap, &[op]).await.unwrap());
    }
    let (second, first) = (read.pop().unwrap(), read.pop().unwrap());
    assert_eq!(first, second, "{topic}, {isolation}");
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_reads_what_every_client_writes_in_every_codec() {
    let broker = broker(1).await;
    let bootstrap = &broker.bootstrap();
    let topic = "codecs";
    let mut ops = vec![json!({ "op": "create", "topic": topic, "partitions": 5 })];
    for client in ["confluent", "kafka-python"] {
        let key = if client == "confluent" {
            "compression.type"
        } else {
            "compression_type"
        };
        for (partition, codec) in (0..).zip(CODECS) {
            let records = [json!({
                "count": 200, "partition": partition, "key": b64(codec), "value": b64(format!("{client} {codec} ").repeat(20)),
            })];
            ops.push(json!({
                "op": "produce", "client": client, "topic": topic, "config": { key: codec }, "records": records,
            }));
        }
    }
    python(bootstrap, &ops).await.unwrap();
    for codec in CODECS {
        let lines: String = (0..100)
            .map(|number| format!("{codec}{number}\tjava {number}\n"))
            .collect();
        let args = [
            "--topic",
            topic,
            "--reader-property",
            "parse.key=true",
            "--compression-codec",
            codec,
        ];
        kafka_tool(bootstrap, "console-producer", &args, lines.as_bytes())
            .await
            .unwrap();
    }
    let wanted = 2 * 5 * 200 + 5 * 100;
    for isolation in ["read_uncommitted", "read_committed"] {
        assert_eq!(read_by_both(bootstrap, topic, isolation).await.len(), wanted);
    }
    let ours = klamm_read(bootstrap, topic, &[]).await.unwrap();
    assert_eq!(ours.len(), wanted);
    let max = wanted.to_string();
    let args = ["--topic", topic, "--from-beginning", "--max-messages", &max];
    let java = kafka_tool(bootstrap, "console-consumer", &args, &[]).await.unwrap();
    assert_eq!(java.lines().count(), wanted);
    assert_eq!(java.matches("java 99\n").count(), 5);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_read_as_the_isolation_level_says() {
    let broker = broker(2).await;
    let bootstrap = &broker.bootstrap();
    let topic = "transactions";
    let produce = |id: &str, end: Option<&str>, partition: i32| {
        let mut op = json!({
            "op": "produce", "topic": topic,
            "records": [{ "count": 20, "partition": partition, "key": b64(id), "value": b64(id) }],
        });
        if let Some(end) = end {
            op["config"] = json!({ "transactional.id": id });
            op["transaction"] = json!(end);
        }
        op
    };
    let ops = [
        json!({ "op": "create", "topic": topic, "partitions": 3 }),
        produce("a", Some("commit"), 0),
        produce("b", Some("abort"), 0),
        produce("n", None, 0),
        produce("a", Some("abort"), 0),
        produce("a", Some("commit"), 0),
        produce("c", Some("open"), 0),
        produce("n", None, 0),
        produce("d", Some("commit"), 1),
        produce("e", Some("abort"), 2),
    ];
    python(bootstrap, &ops).await.unwrap();
    for (isolation, wanted) in [("read_uncommitted", 9 * 20), ("read_committed", 4 * 20)] {
        let ops = [json!({ "op": "read", "topic": topic, "isolation": isolation })];
        assert_eq!(python(bootstrap, &ops).await.unwrap().len(), wanted, "{isolation}");
        let ours = klamm_read(bootstrap, topic, &["--isolation", isolation]).await.unwrap();
        assert_eq!(ours.len(), wanted, "ours, {isolation}");
    }
    let done = check(bootstrap, "transactions").await.unwrap();
    assert_eq!(done, json!({ "done": 10, "committed": 10, "fenced": true }));
    let listed = kafka_tool(bootstrap, "transactions", &["list"], &[]).await.unwrap();
    assert!(listed.contains("py-txn"), "{listed}");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_librdkafka_rebalance_eagerly_cooperatively_and_by_the_broker() {
    let broker = broker(2).await;
    let bootstrap = &broker.bootstrap();
    let settled = json!({ "state": ["STABLE", 1], "committed": [30, 30, 30, 30, 30, 30], "read": 180 });
    for protocol in ["eager", "cooperative", "consumer_protocol"] {
        assert_eq!(check(bootstrap, protocol).await.unwrap(), settled, "{protocol}");
    }
    assert_eq!(check(bootstrap, "static").await.unwrap(), json!({ "kept": 2 }));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_kafka_python_rebalance() {
    let broker = broker(1).await;
    let done = check(&broker.bootstrap(), "kafka_python").await.unwrap();
    assert_eq!(done, json!({ "read": 40, "committed": 40 }));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_make_change_and_delete_topics() {
    let broker = broker(3).await;
    let seen = check(&broker.bootstrap(), "administration").await.unwrap();
    let wanted = json!({
        "refused": "INVALID_CONFIG", "twice": "TOPIC_ALREADY_EXISTS", "partitions": 5, "policy": "delete,compact",
        "retention": "604800000", "too_large": ["MSG_SIZE_TOO_LARGE"], "offsets": [12, 30, 12], "latest_time": true,
        "nodes": 3,
    });
    assert_eq!(seen, wanted);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn javas_tools_work() {
    let broker = broker(3).await;
    let bootstrap = &broker.bootstrap();
    let tool = |tool: &'static str, args: &'static str| async move {
        let args: Vec<&str> = args.split(' ').collect();
        kafka_tool(bootstrap, tool, &args, &[]).await.unwrap()
    };
    tool(
        "topics",
        "--create --topic java --partitions 4 --replication-factor 3 --config retention.ms=5000000",
    )
    .await;
    let described = tool("topics", "--describe --topic java").await;
    assert!(
        described.contains("PartitionCount: 4") && described.contains("retention.ms=5000000"),
        "{described}"
    );
    tool("topics", "--alter --topic java --partitions 6").await;
    tool(
        "configs",
        "--alter --entity-type topics --entity-name java --add-config max.message.bytes=70000",
    )
    .await;
    let described = tool("configs", "--describe --entity-type topics --entity-name java").await;
    assert!(described.contains("max.message.bytes=70000"), "{described}");
    let input = b"one\ntwo\nthree\n";
    kafka_tool(bootstrap, "console-producer", &["--topic", "java"], input)
        .await
        .unwrap();
    for protocol in ["classic", "consumer"] {
        let setting = format!("group.protocol={protocol}");
        let args = [
            "--topic",
            "java",
            "--from-beginning",
            "--max-messages",
            "3",
            "--group",
            protocol,
            "--command-property",
            &setting,
        ];
        let read = kafka_tool(bootstrap, "console-consumer", &args, &[]).await.unwrap();
        let mut lines: Vec<_> = read.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["one", "three", "two"], "{protocol}");
    }
    let groups = tool("groups", "--describe --all-groups --offsets").await;
    for group in ["classic", "consumer"] {
        // Group, topic, partition, current offset, end of the log.
        let of_group = groups.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let of_group: Vec<_> = of_group
            .filter(|line| line.len() > 4 && line[..2] == [group, "java"])
            .collect();
        assert!(
            of_group.iter().all(|line| line[3] == line[4] || line[3] == "-"),
            "{groups}"
        );
        let sum: u32 = of_group.iter().filter_map(|line| line[3].parse::<u32>().ok()).sum();
        assert_eq!(sum, 3, "{groups}");
    }
    let offsets = tool("get-offsets", "--topic java --time latest").await;
    let sum: u32 = offsets
        .lines()
        .filter_map(|line| line.rsplit(':').next()?.parse::<u32>().ok())
        .sum();
    assert_eq!(sum, 3, "{offsets}");
    tool("topics", "--delete --topic java").await;
    assert_eq!(tool("topics", "--list").await.trim(), "");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kcat_writes_and_reads() {
    let found = tokio::process::Command::new("kcat")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .await;
    if found.is_err() {
        let line = "SKIPPED: kcat is not installed\n";
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
        return;
    }
    let broker = broker(1).await;
    let bootstrap = broker.bootstrap();
    for codec in CODECS {
        let mut kcat = tokio::process::Command::new("kcat")
            .args(["-P", "-b", &bootstrap, "-t", "kcat", "-z", codec, "-K", ":"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = kcat.stdin.take().unwrap();
        stdin
            .write_all(format!("{codec}:value of {codec}\n").as_bytes())
            .await
            .unwrap();
        drop(stdin);
        assert!(kcat.wait().await.unwrap().success());
    }
    let args = [
        "-C",
        "-b",
        &bootstrap,
        "-t",
        "kcat",
        "-o",
        "beginning",
        "-e",
        "-q",
        "-f",
        "%o %k %s\n",
    ];
    let read = tokio::process::Command::new("kcat").args(args).output().await.unwrap();
    let read = String::from_utf8(read.stdout).unwrap();
    let wanted: String = (0..)
        .zip(CODECS)
        .map(|(at, codec)| format!("{at} {codec} value of {codec}\n"))
        .collect();
    assert_eq!(read, wanted);
    let listed = tokio::process::Command::new("kcat")
        .args(["-L", "-b", &bootstrap])
        .output()
        .await
        .unwrap();
    assert!(
        String::from_utf8(listed.stdout)
            .unwrap()
            .contains("topic \"kcat\" with 1 partitions")
    );
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rskafka_and_our_tools_work() {
    let broker = broker(1).await;
    let bootstrap = broker.bootstrap();
    let producer = klamm_tests::produce::Producer::connect(&bootstrap).await.unwrap();
    producer.create_topic("rs", 2).await.unwrap();
    producer
        .produce_json("rs", 2, 0..100, Default::default())
        .await
        .unwrap();
    assert_eq!(klamm_read(&bootstrap, "rs", &[]).await.unwrap().len(), 100);
    let args = [
        "topic",
        "write",
        "rs",
        "--bootstrap-server",
        &bootstrap,
        "--compression",
        "zstd",
    ];
    let lines = b"{\"key\":null,\"value\":\"YQ==\"}\n{\"key\":null,\"value\":\"Yg==\"}\n";
    let written = klamm(&args, lines).await.unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    assert_eq!(read_by_both(&bootstrap, "rs", "read_committed").await.len(), 102);
    broker.stop().await.unwrap();
}
