//! CPU per record of the record-batch decoder, checksums included: batches of 100 records without headers.
//!
//! Goals: 0.2 µs for 200 bytes uncompressed, 0.6 µs for 1 KB in lz4.

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

/// JSON of `bytes` bytes that compresses to about a third, as orders and events do.
fn json(id: i64, bytes: usize) -> Vec<u8> {
    let mut text = format!(r#"{{"id":{id},"lines":["#);
    let mut number = id.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while text.len() + 44 < bytes {
        number = number.wrapping_mul(0xd129_0b2e_f6a3_a5c9).rotate_left(17);
        let (sku, count) = (number >> 40, number % 7);
        text.push_str(&format!(r#"{{"sku":"A-{sku:08}","count":{count}}},"#));
    }
    text.push_str(&format!(
        r#"0],"note":"{}"}}"#,
        "x".repeat(bytes.saturating_sub(text.len() + 13))
    ));
    text.into_bytes()
}

fn section(codec: TestCodec, bytes: usize) -> Bytes {
    let mut section = Vec::new();
    for base in (0..RECORDS).step_by(100) {
        let record = |id| TestRecord {
            key: Some(format!("key-{}", id % 1_000).into_bytes()),
            value: Some(json(id, bytes)),
            ..TestRecord::default()
        };
        let mut batch = TestBatch::new(base, (base..base + 100).map(record).collect());
        batch.codec = codec;
        section.extend(batch.encode());
    }
    Bytes::from(section)
}

fn decode(c: &mut Criterion) {
    let codecs = [
        ("none", TestCodec::None),
        ("gzip", TestCodec::Gzip),
        ("snappy", TestCodec::SnappyRaw),
        ("lz4", TestCodec::Lz4),
        ("zstd", TestCodec::Zstd),
    ];
    for bytes in [200, 1024] {
        let mut group = c.benchmark_group(format!("decode 1,000 records of {bytes} bytes"));
        group.throughput(Throughput::Elements(RECORDS.unsigned_abs()));
        for (name, codec) in codecs {
            let section = section(codec, bytes);
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
}

criterion_group!(benches, decode);
criterion_main!(benches);
