//! What other clients wrote, read by `klamm topic read`, and compared with what they read themselves; and what `klamm
//! topic write` wrote, read by them.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_tests::clients::{klamm, klamm_read, python};
use klamm_tests::kafka::Broker;
use klamm_tests::wait;
use serde_json::{Value, json};

const ISOLATIONS: [&str; 2] = ["read_uncommitted", "read_committed"];

fn b64(text: impl AsRef<[u8]>) -> String {
    BASE64.encode(text)
}

/// A record of Python's, with text for key and value.
fn record(key: &str, value: &str) -> Value {
    json!({ "key": b64(key), "value": b64(value) })
}

fn place(record: &Value) -> (i64, i64) {
    (
        record["partition"].as_i64().unwrap(),
        record["offset"].as_i64().unwrap(),
    )
}

/// Ours, as the others print them, after what only we say is checked.
fn comparable(mut ours: Vec<Value>) -> Vec<Value> {
    let mut last: HashMap<i64, i64> = HashMap::new();
    for record in &mut ours {
        let (partition, offset) = place(record);
        let before = last.insert(partition, offset);
        assert!(before.is_none_or(|before| before < offset), "in the order of the log");
        let epoch = record.as_object_mut().unwrap().remove("leaderEpoch").unwrap();
        assert!(epoch.as_i64().unwrap() >= 0, "a broker of today knows the epoch");
    }
    ours.sort_by_key(place);
    ours
}

/// Asserts that what we read is what `client` reads, and returns it.
async fn reads_the_same(kafka: &Broker, topic: &str, client: &str, isolation: &str) -> Vec<Value> {
    let ops = [json!({ "op": "read", "topic": topic, "client": client, "isolation": isolation })];
    let args = ["--isolation", isolation];
    let (theirs, ours) = tokio::join!(
        python(kafka.bootstrap(), &ops),
        klamm_read(kafka.bootstrap(), topic, &args)
    );
    let (theirs, ours) = (theirs.unwrap(), comparable(ours.unwrap()));
    assert_eq!(ours.len(), theirs.len(), "{topic}, {client}, {isolation}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{client}, {isolation}");
    }
    ours
}

#[tokio::test]
async fn every_codec_of_every_client_is_read() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "interop-codecs";
    let mut ops = vec![json!({ "op": "create", "topic": topic, "partitions": 3 })];
    for client in ["confluent", "kafka-python"] {
        for (partition, codec) in (0..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
            let key = match client {
                "confluent" => "compression.type",
                _ => "compression_type",
            };
            let records = [json!({
                "count": 300, "partition": partition % 3, "key": b64(codec), "value": b64(format!("{client} {codec} ").repeat(20)),
            })];
            ops.push(
                json!({ "op": "produce", "client": client, "topic": topic, "config": { key: codec }, "records": records }),
            );
        }
    }
    python(kafka.bootstrap(), &ops).await.unwrap();
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        java_produce(kafka, topic, &["--compression-codec", codec], 100, codec)
            .await
            .unwrap();
    }
    for client in ["confluent", "kafka-python"] {
        let found = reads_the_same(kafka, topic, client, "read_uncommitted").await;
        assert_eq!(found.len(), 2 * 5 * 300 + 4 * 100);
    }
}

/// Records of Java's console producer.
async fn java_produce(kafka: &Broker, topic: &str, args: &[&str], count: usize, text: &str) -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let lines: String = (0..count).map(|i| format!("{text}{i}\t{text} value {i}\n")).collect();
    std::fs::write(file.path(), lines)?;
    let mut all = vec!["--topic", topic, "--reader-property", "parse.key=true"];
    all.extend(args);
    kafka.tool_with_input("console-producer", &all, file.path()).await?;
    Ok(())
}

#[tokio::test]
async fn transactions_are_read_as_the_isolation_level_says() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "interop-transactions";
    let produce = |id: &str, end: Option<&str>, partition: i32, text: &str| {
        let mut op = json!({
            "op": "produce", "topic": topic,
            "records": [{ "count": 20, "partition": partition, "key": b64(text), "value": b64(text) }],
        });
        if let Some(end) = end {
            op["config"] = json!({ "transactional.id": format!("{topic}-{id}") });
            op["transaction"] = json!(end);
        }
        op
    };
    let ops = [
        json!({ "op": "create", "topic": topic, "partitions": 5 }),
        // 0: all kinds after each other, the last one open, and more behind it
        produce("a", Some("commit"), 0, "committed"),
        produce("b", Some("abort"), 0, "aborted"),
        produce("n", None, 0, "plain"),
        produce("a", Some("abort"), 0, "aborted by the same"),
        produce("a", Some("commit"), 0, "committed by the same"),
        produce("c", Some("open"), 0, "open"),
        produce("n", None, 0, "behind the open one"),
        // 1 and 2: the last offset is a marker; 3: nothing else; 4: nothing at all
        produce("d", Some("commit"), 1, "ends with a commit"),
        produce("e", Some("commit"), 2, "ends with an abort"),
        produce("f", Some("abort"), 2, "ends with an abort"),
        produce("g", Some("abort"), 3, "nothing else"),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    for (isolation, wanted) in [
        ("read_uncommitted", 7 * 20 + 20 + 40 + 20),
        ("read_committed", 3 * 20 + 20 + 20),
    ] {
        let found = reads_the_same(kafka, topic, "confluent", isolation).await;
        assert_eq!(found.len(), wanted, "{isolation}");
    }
    reads_the_same(kafka, topic, "kafka-python", "read_committed").await;
}

#[tokio::test]
async fn a_compacted_topic_is_read_past_its_holes() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "interop-compacted";
    let config = json!({
        "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001",
        "max.compaction.lag.ms": "100", "delete.retention.ms": "0",
    });
    let mut ops = vec![json!({ "op": "create", "topic": topic, "partitions": 2, "config": config })];
    let produce = |partition: i32, record: Value| {
        let mut record = record;
        record["partition"] = json!(partition);
        json!({ "op": "produce", "topic": topic, "records": [record] })
    };
    for round in 0..3 {
        for key in ["a", "b", "c"] {
            ops.push(produce(0, record(key, &format!("{key}{round}"))));
            ops.push(produce(1, record(key, &format!("{key}{round}"))));
        }
    }
    // In partition 1 nothing is to stay behind `a`: its last offsets hold tombstones, which are dropped.
    for key in ["b", "c"] {
        ops.push(produce(1, json!({ "key": b64(key), "value": null })));
    }
    python(kafka.bootstrap(), &ops).await.unwrap();
    // The cleaner runs when it likes, and never in the newest segment: a record rolls it when it comes late enough.
    let left = wait::until("the cleaner", wait::LIMIT, || async {
        let more = [
            produce(0, record("z", "z")),
            produce(1, json!({ "key": b64("c"), "value": null })),
        ];
        python(kafka.bootstrap(), &more).await.unwrap();
        let left = klamm_read(kafka.bootstrap(), topic, &[]).await.unwrap();
        let rest = |partition| left.iter().filter(|record| record["partition"] == partition).count();
        (rest(0) < 8 && rest(1) < 4).then_some(left.len())
    })
    .await
    .unwrap();
    assert!(left >= 4);
    for isolation in ISOLATIONS {
        reads_the_same(kafka, topic, "confluent", isolation).await;
    }
}

#[tokio::test]
async fn headers_keys_and_values_are_any_bytes() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "interop-bytes";
    let headers = json!([
        { "key": "twice", "value": b64("1") }, { "key": "twice", "value": b64("2") },
        { "key": "null", "value": null }, { "key": "empty", "value": "" }, { "key": "", "value": b64([0xff, 0, 0xfe]) },
        { "key": "tö\"\n", "value": b64("ü") },
    ]);
    let records = json!([
        { "key": b64("k"), "value": b64("v"), "headers": headers, "timestamp": 1_700_000_000_000_i64 },
        { "key": "", "value": "" },
        { "key": null, "value": b64([0xc3, 0x28]) },
        { "key": b64("tombstone"), "value": null },
        { "key": null, "value": null, "headers": [{ "key": "only", "value": b64("headers") }] },
    ]);
    let lossy = json!([{ "key": null, "value": "", "headers": [
        { "keyBase64": b64([0xff, b'x']), "value": b64("lossy") }, { "key": "plain", "value": "" },
    ]}]);
    // kafka-python writes no null in a header, and no record of nothing but headers.
    let mut without_null = records.clone();
    without_null[0]["headers"].as_array_mut().unwrap().remove(2);
    without_null.as_array_mut().unwrap().pop();
    let ops = [
        json!({ "op": "create", "topic": topic, "config": { "retention.ms": "-1" } }),
        json!({ "op": "create", "topic": format!("{topic}-lossy") }),
        json!({ "op": "produce", "topic": topic, "records": records }),
        json!({ "op": "produce", "topic": topic, "client": "kafka-python", "records": without_null }),
        json!({ "op": "produce", "topic": format!("{topic}-lossy"), "client": "kafka-python", "records": lossy }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    for client in ["confluent", "kafka-python"] {
        let found = reads_the_same(kafka, topic, client, "read_uncommitted").await;
        assert_eq!(found.len(), 5 + 4);
        // The others agree with us; this is what all of them should have read.
        assert_eq!(found[0]["headers"], headers);
        assert_eq!((&found[1]["key"], &found[1]["value"]), (&json!(""), &json!("")));
        assert_eq!(
            (&found[3]["key"], &found[3]["value"]),
            (&json!(b64("tombstone")), &Value::Null)
        );
    }
    // Neither of the others reads a header key that is not UTF-8.
    let found = klamm_read(kafka.bootstrap(), &format!("{topic}-lossy"), &["--header-key-bytes"])
        .await
        .unwrap();
    let wanted = json!([
        { "key": "\u{fffd}x", "value": b64("lossy"), "keyLossy": true, "keyBase64": b64([0xff, b'x']) },
        { "key": "plain", "value": "" },
    ]);
    assert_eq!(found[0]["headers"], wanted);
}

#[tokio::test]
async fn the_brokers_time_stamps_and_the_bounds_of_the_log_are_kept() {
    let Some(kafka) = Broker::shared() else { return };
    let (stamped, cut, again) = ("interop-append-time", "interop-cut", "interop-again");
    let batch = |topic: &str, text: &str| json!({ "op": "produce", "topic": topic, "records": [{ "count": 50, "key": b64(text), "value": b64(text) }] });
    let ops = [
        json!({ "op": "create", "topic": stamped, "config": { "message.timestamp.type": "LogAppendTime" } }),
        batch(stamped, "stamped"),
        json!({ "op": "create", "topic": cut }),
        batch(cut, "cut"),
        json!({ "op": "delete_records", "topic": cut, "before": 20 }),
        json!({ "op": "create", "topic": again, "partitions": 2 }),
        batch(again, "first life"),
        json!({ "op": "delete", "topic": again }),
        json!({ "op": "create", "topic": again }),
        batch(again, "second life"),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let found = reads_the_same(kafka, stamped, "confluent", "read_uncommitted").await;
    assert!(found.iter().all(|record| record["timestampType"] == "LogAppendTime"));
    let found = reads_the_same(kafka, cut, "confluent", "read_uncommitted").await;
    assert_eq!((found.len(), &found[0]["offset"]), (30, &json!(20)));
    let found = reads_the_same(kafka, again, "confluent", "read_uncommitted").await;
    assert_eq!((found.len(), &found[0]["value"]), (50, &json!(b64("second life0"))));

    // Where a reading starts: an offset that is gone means the first that exists.
    let first_time = found[0]["timestamp"].as_i64().unwrap();
    let cases = [
        (cut, "5".to_owned(), 30, "before the log's start"),
        (cut, "offset:49".to_owned(), 1, "the last"),
        (cut, "latest".to_owned(), 0, "the end"),
        (again, format!("timestamp:{first_time}"), 50, "a time"),
        (again, "timestamp:4000000000000".to_owned(), 0, "a time to come"),
    ];
    for (topic, from, wanted, why) in cases {
        let found = klamm_read(kafka.bootstrap(), topic, &["--from", &from, "--to", "end"]).await;
        assert_eq!(found.unwrap().len(), wanted, "{why}");
    }
}

#[tokio::test]
async fn records_of_5_mb_come_through() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "interop-large";
    // Bytes that compress badly, so that the compressed ones are large as well.
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(5_000_000)
    .collect();
    let produce = |codec: &str| {
        let config = json!({ "message.max.bytes": 10_000_000, "compression.type": codec });
        json!({ "op": "produce", "topic": topic, "config": config, "records": [
            record("small", "before"), { "key": b64(codec), "value": b64(&noise) }, record("small", "behind"),
        ]})
    };
    let ops = [
        json!({ "op": "create", "topic": topic, "config": { "max.message.bytes": "10000000" } }),
        produce("none"),
        produce("zstd"),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let found = reads_the_same(kafka, topic, "confluent", "read_committed").await;
    let sizes: Vec<_> = found
        .iter()
        .map(|record| record["value"].as_str().unwrap().len() / 4 * 3)
        .collect();
    assert_eq!(
        sizes,
        [6, 5_000_001, 6, 6, 5_000_001, 6],
        "in base64, whose blocks are of three bytes"
    );
}

#[tokio::test]
async fn a_hundred_partitions_are_read_at_once() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "interop-wide";
    let records: Vec<_> = (0..100)
        .map(
            |partition| json!({ "count": 100, "partition": partition, "key": b64("k"), "value": b64("v".repeat(500)) }),
        )
        .collect();
    let ops = [
        json!({ "op": "create", "topic": topic, "partitions": 100 }),
        json!({ "op": "produce", "topic": topic, "records": records }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    for isolation in ISOLATIONS {
        let found = reads_the_same(kafka, topic, "confluent", isolation).await;
        assert_eq!(found.len(), 10_000);
    }
    let args = ["--partition", "7", "--partition", "9", "--max", "150"];
    let found = klamm_read(kafka.bootstrap(), topic, &args).await.unwrap();
    assert_eq!(found.len(), 150);
    assert!(found.iter().all(|record| [7, 9].contains(&place(record).0)));
}

/// Runs `klamm topic write`, which must acknowledge so many records.
async fn writes(kafka: &Broker, topic: &str, args: &[&str], input: &[u8], wanted: usize) {
    let mut all = vec!["topic", "write", topic, "--bootstrap-server", kafka.bootstrap()];
    all.extend(args);
    let output = klamm(&all, input).await.unwrap();
    let (said, errors) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(
        (said, errors),
        (format!("acknowledged {wanted} records\n"), String::new())
    );
    assert_eq!(output.status.code(), Some(0));
}

fn lines(records: &[Value]) -> Vec<u8> {
    records
        .iter()
        .flat_map(|record| format!("{record}\n").into_bytes())
        .collect()
}

#[tokio::test]
async fn what_is_written_in_every_codec_is_read_by_every_client() {
    let Some(kafka) = Broker::shared() else { return };
    let topic = "interop-written";
    // Old timestamps, and the testbed looks for old records every second.
    let config = json!({ "retention.ms": "-1" });
    let ops = [json!({ "op": "create", "topic": topic, "partitions": 5, "config": config })];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let mut all = Vec::new();
    for (partition, codec) in (0..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let mut records: Vec<_> = (0..500)
            .map(|i| {
                json!({
                    "partition": partition, "timestamp": 1_700_000_000_000_i64 + i, "key": b64(format!("{codec}{i}")),
                    "value": b64(format!("{codec} value {i} ").repeat(10)), "headers": [],
                })
            })
            .collect();
        records.push(json!({
            "partition": partition, "timestamp": 1, "key": null, "value": b64([0xff, 0]), "headers": [
                { "key": "twice", "value": b64("1") }, { "key": "twice", "value": null },
                { "key": "", "value": "" }, { "key": "tö", "value": b64([0xfe]) },
            ],
        }));
        records.push(json!({ "partition": partition, "timestamp": 2, "key": "", "value": null, "headers": [] }));
        writes(kafka, topic, &["--compression", codec], &lines(&records), records.len()).await;
        all.extend(records);
    }
    for client in ["confluent", "kafka-python"] {
        let found = reads_the_same(kafka, topic, client, "read_committed").await;
        assert_eq!(found.len(), all.len());
        for (found, wanted) in found.iter().zip(&all) {
            for (field, wanted) in wanted.as_object().unwrap() {
                assert_eq!(&found[field], wanted, "{client}, {field} of {found}");
            }
        }
    }
    let count = all.len().to_string();
    let java = java_read(kafka, topic, &["--max-messages", &count]).await;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let line = format!(
            "CreateTime:1700000000499\tNO_HEADERS\t{codec}499\t{}",
            format!("{codec} value 499 ").repeat(10)
        );
        assert!(java.lines().any(|found| found == line), "{codec}");
    }
    assert_eq!(
        java.matches("twice:1,twice:null,:,t\u{f6}:").count(),
        5,
        "{}",
        java.lines().last().unwrap()
    );
}

/// What Java's console consumer prints, a line a record.
async fn java_read(kafka: &Broker, topic: &str, args: &[&str]) -> String {
    let mut all = vec!["--topic", topic, "--from-beginning"];
    for property in ["print.timestamp", "print.headers", "print.key"] {
        all.extend(["--formatter-property", property]);
    }
    let all: Vec<String> = all
        .into_iter()
        .map(|arg| {
            if arg.starts_with("print.") {
                format!("{arg}=true")
            } else {
                arg.to_owned()
            }
        })
        .chain(args.iter().map(|arg| (*arg).to_owned()))
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    kafka.tool("console-consumer", &all).await.unwrap()
}

#[tokio::test]
async fn a_copied_topic_holds_the_same_records() {
    let Some(kafka) = Broker::shared() else { return };
    let (from, to) = ("interop-copy-from", "interop-copy-to");
    let records = json!([
        { "key": null, "value": "", "headers": [{ "keyBase64": b64([0xff, b'x']), "value": b64("1") }] },
        { "key": b64([0x80]), "value": null, "partition": 1, "timestamp": 7 },
    ]);
    let ops = [
        json!({ "op": "create", "topic": from, "partitions": 2, "config": { "retention.ms": "-1" } }),
        json!({ "op": "create", "topic": to, "partitions": 2, "config": { "retention.ms": "-1" } }),
        json!({ "op": "produce", "topic": from, "client": "kafka-python", "records": records }),
    ];
    python(kafka.bootstrap(), &ops).await.unwrap();
    let mut wanted = comparable(
        klamm_read(kafka.bootstrap(), from, &["--header-key-bytes"])
            .await
            .unwrap(),
    );
    writes(kafka, to, &["--json"], &lines(&wanted), 2).await;
    for record in &mut wanted {
        record["topic"] = json!(to);
    }
    let found = comparable(
        klamm_read(kafka.bootstrap(), to, &["--header-key-bytes"])
            .await
            .unwrap(),
    );
    assert_eq!(found, wanted);
}
