//! CPU per record of the record-batch decoder: 1 KB values, no headers, 100 records a batch.

#![allow(missing_docs, clippy::unwrap_used, reason = "bench code")]

#[path = "../tests/support/encode.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with the tests")]
mod encode;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use encode::{TestBatch, TestCodec, TestRecord};
use klamm_kafka::records::Records;
use klamm_kafka::{IsolationLevel, TopicPartition};

const RECORDS: i64 = 1_000;

fn section(codec: TestCodec) -> Bytes {
    let json = format!(r#"{{"id":12345,"name":"{}"}}"#, "some text, ".repeat(91));
    let mut section = Vec::new();
    for base in (0..RECORDS).step_by(100) {
        let record = TestRecord {
            key: Some(b"key".to_vec()),
            value: Some(json.clone().into_bytes()),
            ..TestRecord::default()
        };
        let mut batch = TestBatch::new(base, vec![record; 100]);
        batch.codec = codec;
        section.extend(batch.encode());
    }
    Bytes::from(section)
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(1_000));
    let codecs = [
        ("none", TestCodec::None),
        ("gzip", TestCodec::Gzip),
        ("snappy", TestCodec::SnappyRaw),
        ("lz4", TestCodec::Lz4),
        ("zstd", TestCodec::Zstd),
    ];
    for (name, codec) in codecs {
        let section = section(codec);
        let partition = TopicPartition::new("t", 0);
        group.bench_function(name, |b| {
            b.iter(|| {
                let isolation = IsolationLevel::ReadUncommitted;
                let records = Records::new(partition.clone(), section.clone(), 0, isolation, &[], true);
                records
                    .map(|record| record.unwrap().value.map_or(0, |value| value.len()))
                    .sum::<usize>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
