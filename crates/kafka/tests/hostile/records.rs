//! A broker that sends hostile records: the reader gets an error that says where, and nothing grows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_kafka::{
    AssignmentEpoch, ByteBudget, FetchPool, FetchSettings, OffsetReset, PartitionRequest, StartPosition,
};

use crate::answers::{PATIENCE, client};
use crate::encode::{TestBatch, TestCodec, TestRecord};
use crate::server::Server;

fn batch(base: i64, codec: TestCodec, value: Vec<u8>) -> Vec<u8> {
    let record = TestRecord {
        value: Some(value),
        ..TestRecord::default()
    };
    let mut batch = TestBatch::new(base, vec![record]);
    batch.codec = codec;
    batch.encode()
}

/// A batch whose bytes behind the checksum were changed, the checksum put right.
fn changed(at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = batch(10, TestCodec::None, b"value".to_vec());
    bytes[at..at + with.len()].copy_from_slice(with);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// What a reader at offset 10 is told.
async fn told(records: Vec<u8>) -> String {
    let server = Server::start(Bytes::from(records), Arc::new(|_, _| None)).await;
    let client = client(&server);
    let pool = FetchPool::new(Arc::clone(&client), Arc::new(ByteBudget::new(1024 * 1024)));
    let mut reader = pool.open(PartitionRequest {
        topic: "t".into(),
        topic_id: None,
        partition: 0,
        start: StartPosition::Offset(10),
        reset: OffsetReset::None,
        settings: Arc::new(FetchSettings {
            max_wait: Duration::from_millis(10),
            ..FetchSettings::default()
        }),
        epoch: AssignmentEpoch::next(),
    });
    let told = match tokio::time::timeout(PATIENCE, reader.next()).await.expect("an end") {
        Err(err) => err.to_string(),
        Ok(section) => {
            let failure = section.records().find_map(Result::err).expect("an error");
            format!(
                "{failure}: {}",
                std::error::Error::source(&failure).map_or(String::new(), ToString::to_string)
            )
        }
    };
    drop((reader, pool));
    client.shutdown().await;
    told
}

#[tokio::test]
async fn each_kind_of_bad_record_is_told_with_its_place() {
    let mut bad_crc = batch(10, TestCodec::None, b"value".to_vec());
    *bad_crc.last_mut().unwrap() ^= 1;
    let mut old = batch(10, TestCodec::None, b"value".to_vec());
    old[16] = 1;
    let mut no_length = batch(10, TestCodec::None, b"value".to_vec());
    no_length[8..12].copy_from_slice(&[0; 4]);
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (
            bad_crc,
            "record batch at t-0@10 cannot be read: CRC-32C is",
            "a flipped bit",
        ),
        (
            old,
            "t-0@10 cannot be read: record format 1; only format 2",
            "written before Kafka 0.11",
        ),
        (
            no_length,
            "records at t-0@10 are damaged: a batch has a length below one",
            "no fetch gets past it",
        ),
        (
            changed(57, &[0x7f; 4]),
            "t-0@11 cannot be read: a record ends beyond its batch",
            "2 billion records",
        ),
        (
            changed(57, &[0xff; 4]),
            "t-0@10 cannot be read: a batch has a negative number",
            "-1 records",
        ),
        (
            changed(61, &[0xff; 5]),
            "t-0@10 cannot be read: a varint is longer than five bytes",
            "an endless varint",
        ),
        (
            changed(61, &[0x01]),
            "t-0@10 cannot be read: a record has a negative length",
            "a record of -1 bytes",
        ),
        (
            changed(22, &[0x07]),
            "t-0@10 cannot be read: compression codec 7 is unknown",
            "a future codec",
        ),
        (
            changed(22, &[0x03]),
            "t-0@10 cannot be read: lz4 data is damaged",
            "no lz4",
        ),
        (
            batch(10, TestCodec::Lz4, vec![0; 129 * 1024 * 1024]),
            "t-0@10 cannot be read: lz4 data expands beyond 134217728 bytes",
            "a bomb of half a MiB",
        ),
    ];
    for (records, wanted, why) in cases {
        let told = told(records).await;
        assert!(told.contains(wanted), "{why}: {told}");
    }
}
