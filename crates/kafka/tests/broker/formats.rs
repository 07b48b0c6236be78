//! What is in a partition comes out as it was written.

use std::sync::Arc;

use klamm_kafka::{FetchSettings, IsolationLevel, StartPosition, TimestampType};
use rskafka::client::partition::Compression;

use crate::support::encode::{CODECS, TestBatch, TestRecord};
use crate::support::raw::{self, Transactions};
use crate::support::{client, from, now_ms, offsets, pool, produce_with, read_to, record, unique};

fn texts(texts: &[&str]) -> Vec<TestRecord> {
    let record = |text: &&str| TestRecord {
        value: Some(text.as_bytes().to_vec()),
        ..TestRecord::default()
    };
    texts.iter().map(record).collect()
}

fn committed_only() -> Arc<FetchSettings> {
    Arc::new(FetchSettings {
        isolation_level: IsolationLevel::ReadCommitted,
        ..FetchSettings::default()
    })
}

#[tokio::test]
async fn all_codecs_of_another_client_can_be_read() {
    let topic = unique("codecs");
    raw::create_topic(&topic, 1, &[]);
    let codecs = [
        Compression::NoCompression,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for compression in codecs {
        let records = (0..20)
            .map(|i| record(format!("{compression:?}-{i}-{}", "x".repeat(500))))
            .collect();
        produce_with(&topic, 0, records, compression).await;
    }
    let client = client();
    let mut reader = pool(&client).open(from(&topic, StartPosition::Earliest));
    let records = read_to(&mut reader, 100).await;
    assert_eq!(offsets(&records), (0..100).collect::<Vec<_>>());
    for (compression, records) in codecs.iter().zip(records.chunks(20)) {
        for (i, record) in records.iter().enumerate() {
            let wanted = format!("{compression:?}-{i}-{}", "x".repeat(500));
            assert_eq!(record.value.as_deref(), Some(wanted.as_bytes()));
            assert_eq!(
                (record.timestamp, record.timestamp_type),
                (1_700_000_000_123, TimestampType::CreateTime)
            );
        }
    }
    client.shutdown().await;
}

#[tokio::test]
async fn headers_keys_and_nulls_come_through_in_every_codec_the_broker_accepts() {
    let topic = unique("headers");
    raw::create_topic(&topic, 1, &[]);
    let written = TestRecord {
        key: Some(vec![0xff, 0]),
        value: None,
        headers: vec![
            (b"a".to_vec(), Some(b"1".to_vec())),
            (b"a".to_vec(), None),
            (vec![0xfe], Some(Vec::new())),
        ],
        ..TestRecord::default()
    };
    for codec in CODECS {
        let mut batch = TestBatch::new(0, vec![written.clone()]);
        batch.codec = codec;
        raw::produce(&topic, &batch);
    }
    let client = client();
    let mut reader = pool(&client).open(from(&topic, StartPosition::Earliest));
    let records = read_to(&mut reader, 6).await;
    assert_eq!(records.len(), 6);
    for record in records {
        assert_eq!((record.key.as_deref(), record.value), (Some(&[0xff, 0][..]), None));
        let headers: Vec<_> = record
            .headers
            .into_iter()
            .map(|(k, v)| (k.to_vec(), v.map(|v| v.to_vec())))
            .collect();
        assert_eq!(headers, written.headers);
    }
    client.shutdown().await;
}

#[tokio::test]
async fn aborted_transactions_are_hidden_under_read_committed_only() {
    let topic = unique("transactions");
    raw::create_topic(&topic, 1, &[]);
    let mut transactions = Transactions::new(&unique("producer"));
    transactions.produce(&topic, TestBatch::new(0, texts(&["a0", "a1"]))); // 0, 1
    transactions.end(false); // 2: the marker
    let first = transactions.produce(&topic, TestBatch::new(0, texts(&["c0"])));
    transactions.end(true);
    raw::produce(&topic, &TestBatch::new(0, texts(&["plain"])));
    transactions.produce(&topic, TestBatch::new(0, texts(&["a2"])));
    transactions.end(false);
    let client = client();
    let pool = pool(&client);
    let end = first + 5; // c0, marker, plain, a2, marker

    let mut everything = pool.open(from(&topic, StartPosition::Earliest));
    let records = read_to(&mut everything, end).await;
    let values: Vec<_> = records.iter().map(|record| record.value.clone().unwrap()).collect();
    assert_eq!(values, ["a0", "a1", "c0", "plain", "a2"]);

    let mut request = from(&topic, StartPosition::Earliest);
    request.settings = committed_only();
    let mut committed = pool.open(request);
    let records = read_to(&mut committed, end).await;
    let values: Vec<_> = records.iter().map(|record| record.value.clone().unwrap()).collect();
    assert_eq!(values, ["c0", "plain"]);
    assert_eq!(
        committed.position(),
        Some(end),
        "the position passes markers and aborted records: lag is 0"
    );
    client.shutdown().await;
}

#[tokio::test]
async fn an_open_transaction_holds_readers_of_committed_records_back() {
    let topic = unique("open-transaction");
    raw::create_topic(&topic, 1, &[]);
    let mut transactions = Transactions::new(&unique("producer"));
    raw::produce(&topic, &TestBatch::new(0, texts(&["before"])));
    transactions.produce(&topic, TestBatch::new(0, texts(&["pending"])));
    raw::produce(&topic, &TestBatch::new(0, texts(&["after"])));
    let client = client();
    let mut request = from(&topic, StartPosition::Earliest);
    request.settings = committed_only();
    let mut reader = pool(&client).open(request);
    assert_eq!(offsets(&read_to(&mut reader, 1).await), [0]);
    assert_eq!(reader.watermarks().map(|(_, stable)| stable), Some(1));
    transactions.end(true);
    assert_eq!(offsets(&read_to(&mut reader, 4).await), [1, 2]);
    client.shutdown().await;
}

#[tokio::test]
async fn compaction_leaves_holes_that_are_passed() {
    let topic = unique("compacted");
    raw::create_topic(
        &topic,
        1,
        &[
            ("cleanup.policy", "compact"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0.001"),
            ("max.compaction.lag.ms", "100"),
        ],
    );
    let keyed = |value: usize| TestRecord {
        key: Some(b"k".to_vec()),
        value: Some(value.to_string().into_bytes()),
        ..TestRecord::default()
    };
    let client = client();
    let pool = pool(&client);
    let mut written = 0;
    // The cleaner runs when it likes: write until it has.
    loop {
        let mut batch = TestBatch::new(0, vec![keyed(written)]);
        (batch.base_timestamp, batch.max_timestamp) = (now_ms(), now_ms());
        raw::produce(&topic, &batch);
        written += 1;
        let end = i64::try_from(written).unwrap();
        let records = read_to(&mut pool.open(from(&topic, StartPosition::Earliest)), end).await;
        let mut found = offsets(&records);
        assert_eq!(found.last(), Some(&(end - 1)), "the newest record of a key stays");
        found.dedup();
        assert_eq!(found.len(), records.len(), "no record twice");
        if records.len() < written {
            break;
        }
        assert!(written < 5_000, "the cleaner never ran");
    }
    client.shutdown().await;
}

#[tokio::test]
async fn log_append_time_is_the_brokers() {
    let topic = unique("append-time");
    raw::create_topic(&topic, 1, &[("message.timestamp.type", "LogAppendTime")]);
    raw::produce(&topic, &TestBatch::new(0, texts(&["a", "b"])));
    let client = client();
    let mut reader = pool(&client).open(from(&topic, StartPosition::Earliest));
    let records = read_to(&mut reader, 2).await;
    for record in &records {
        assert_eq!(record.timestamp_type, TimestampType::LogAppendTime);
        assert!(record.timestamp > 1_700_000_000_000, "{}", record.timestamp);
    }
    assert_eq!(records[0].timestamp, records[1].timestamp);
    client.shutdown().await;
}
