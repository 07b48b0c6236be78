#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

use bytes::Bytes;
use proptest::prelude::*;

use super::batch::Scan;
use super::*;
use crate::fuzzing::encode::{CODECS, TestBatch, TestCodec, TestRecord};
use crate::{IsolationLevel, TopicPartition};

fn decode(section: &[u8], from: i64) -> Vec<Result<ConsumedRecord, DecodeError>> {
    decode_as(section, from, IsolationLevel::ReadUncommitted, &[])
}

fn decode_as(
    section: &[u8],
    from: i64,
    isolation: IsolationLevel,
    aborted: &[AbortedTransaction],
) -> Vec<Result<ConsumedRecord, DecodeError>> {
    let partition = TopicPartition::new("t", 0);
    Records::new(
        partition,
        Bytes::copy_from_slice(section),
        from,
        isolation,
        aborted,
        true,
    )
    .collect()
}

fn offsets(records: &[Result<ConsumedRecord, DecodeError>]) -> Vec<i64> {
    records.iter().map(|record| record.as_ref().unwrap().offset).collect()
}

fn values(texts: &[&str]) -> Vec<TestRecord> {
    let record = |text: &&str| TestRecord {
        value: Some(text.as_bytes().to_vec()),
        ..TestRecord::default()
    };
    texts.iter().map(record).collect()
}

fn control(base_offset: i64, producer: i64, kind: u8) -> Vec<u8> {
    let marker = TestRecord {
        key: Some(vec![0, 0, 0, kind]),
        value: Some(vec![0; 6]),
        ..TestRecord::default()
    };
    let mut batch = TestBatch::new(base_offset, vec![marker]);
    (batch.is_control, batch.is_transactional, batch.producer.0) = (true, true, producer);
    batch.encode()
}

fn transactional(base_offset: i64, producer: i64, count: usize) -> Vec<u8> {
    let mut batch = TestBatch::new(base_offset, values(&vec!["x"; count]));
    (batch.is_transactional, batch.producer.0) = (true, producer);
    batch.encode()
}

#[test]
fn every_codec_gives_back_keys_values_and_headers() {
    let headers = vec![
        (b"a".to_vec(), Some(b"1".to_vec())),
        (b"a".to_vec(), None),
        (b"\xff".to_vec(), Some(Vec::new())),
    ];
    let records = vec![
        TestRecord {
            key: Some(b"\xfe\xff".to_vec()),
            value: Some(vec![b'v'; 300]),
            timestamp_delta: -5,
            headers,
            ..TestRecord::default()
        },
        TestRecord::default(),
    ];
    for codec in CODECS {
        let mut batch = TestBatch::new(40, records.clone());
        batch.codec = codec;
        let decoded = decode(&batch.encode(), 0);
        assert_eq!(offsets(&decoded), [40, 41], "{codec:?}");
        let first = decoded[0].as_ref().unwrap();
        assert_eq!(
            (first.timestamp, first.timestamp_type),
            (995, TimestampType::CreateTime),
            "{codec:?}"
        );
        assert_eq!(first.key.as_deref(), Some(&b"\xfe\xff"[..]), "{codec:?}");
        assert_eq!(first.value.as_deref(), Some(&[b'v'; 300][..]), "{codec:?}");
        assert_eq!(first.leader_epoch, Some(7), "{codec:?}");
        let found: Vec<_> = first.headers.iter().map(|(k, v)| (k.as_ref(), v.as_deref())).collect();
        assert_eq!(
            found,
            [(&b"a"[..], Some(&b"1"[..])), (b"a", None), (b"\xff", Some(b""))],
            "{codec:?}"
        );
        let second = decoded[1].as_ref().unwrap();
        assert_eq!(
            (second.key.as_ref(), second.value.as_ref()),
            (None, None),
            "{codec:?}: nulls stay nulls"
        );
        assert_eq!(second.headers.capacity(), 0, "no headers, no allocation");
    }
}

#[test]
fn log_append_time_stands_for_every_record_of_the_batch() {
    let mut batch = TestBatch::new(0, values(&["a", "b"]));
    batch.is_log_append_time = true;
    for record in decode(&batch.encode(), 0) {
        let record = record.unwrap();
        assert_eq!(
            (record.timestamp, record.timestamp_type),
            (9_000, TimestampType::LogAppendTime)
        );
    }
}

#[test]
fn holes_and_a_start_inside_a_batch_are_respected_and_the_position_passes_them() {
    let mut batch = TestBatch::new(10, values(&["a", "b", "c"]));
    for (record, delta) in batch.records.iter_mut().zip([0, 4, 5]) {
        record.offset_delta = delta;
    }
    batch.last_offset_delta = 9; // the last records were compacted away
    let mut section = batch.encode();
    section.extend(TestBatch::new(25, values(&["d"])).encode());
    let mut empty = TestBatch::new(26, Vec::new());
    empty.last_offset_delta = 3;
    section.extend(empty.encode());
    assert_eq!(offsets(&decode(&section, 14)), [14, 15, 25]);
    let scan = scan(&section).unwrap();
    assert_eq!((scan.next_offset, scan.bytes), (30, section.len()));
    let partition = TopicPartition::new("t", 0);
    let mut records = Records::new(
        partition,
        Bytes::from(section),
        14,
        IsolationLevel::ReadUncommitted,
        &[],
        true,
    );
    while records.next().is_some() {}
    assert_eq!(records.next_offset(), 30);
}

#[test]
fn an_incomplete_last_batch_is_left_for_the_next_fetch() {
    let first = TestBatch::new(0, values(&["a"])).encode();
    let second = TestBatch::new(1, values(&["b"])).encode();
    let mut section = first.clone();
    section.extend(&second);
    for cut in 0..second.len() {
        let cut_off = &section[..first.len() + cut];
        assert_eq!(offsets(&decode(cut_off, 0)), [0], "cut at {cut}");
        assert_eq!(
            scan(cut_off),
            Some(Scan {
                next_offset: 1,
                bytes: first.len(),
                leader_epoch: Some(7),
            }),
            "cut at {cut}"
        );
        assert_eq!(scan(&second[..cut]), None, "cut at {cut}");
    }
}

#[test]
fn aborted_transactions_are_skipped_only_under_read_committed() {
    // Producer 1 aborts, then commits; producer 2 commits in between; somebody without transactions writes too.
    let mut section = Vec::new();
    section.extend(transactional(0, 1, 2)); // 0, 1 aborted
    section.extend(transactional(2, 2, 1)); // 2
    section.extend(TestBatch::new(3, values(&["plain"])).encode()); // 3
    section.extend(transactional(4, 1, 1)); // 4 aborted
    section.extend(control(5, 1, 0)); // abort of 1
    section.extend(transactional(6, 1, 1)); // 6
    section.extend(control(7, 1, 1)); // commit of 1
    section.extend(control(8, 2, 1)); // commit of 2
    let aborted = [AbortedTransaction {
        producer_id: 1,
        first_offset: 0,
    }];
    assert_eq!(
        offsets(&decode_as(&section, 0, IsolationLevel::ReadCommitted, &aborted)),
        [2, 3, 6]
    );
    assert_eq!(
        offsets(&decode_as(&section, 0, IsolationLevel::ReadUncommitted, &aborted)),
        [0, 1, 2, 3, 4, 6]
    );
    assert_eq!(
        scan(&section).unwrap().next_offset,
        9,
        "the position passes the markers"
    );
}

#[test]
fn damage_is_reported_with_its_place() {
    let mut section = TestBatch::new(3, values(&["good"])).encode();
    let good = section.len();
    section.extend(TestBatch::new(4, values(&["bad"])).encode());
    *section.last_mut().unwrap() ^= 1;
    let decoded = decode(&section, 0);
    assert_eq!(decoded[0].as_ref().unwrap().offset, 3);
    let text = decoded[1].as_ref().unwrap_err().to_string();
    assert!(
        text.starts_with("record batch at t-0@4 cannot be read: CRC-32C is 0x"),
        "{text}"
    );
    assert_eq!(decoded.len(), 2, "nothing comes after an error");

    section.truncate(good);
    section[16] = 1;
    let text = decode(&section, 0)[0].as_ref().unwrap_err().to_string();
    assert_eq!(
        text,
        "record batch at t-0@3 cannot be read: record format 1; only format 2 (Kafka 0.11 and later) can be read"
    );
}

#[test]
fn a_small_batch_cannot_expand_without_bound() {
    let huge = vec![0_u8; MAX_BATCH_BYTES + 1];
    let record = TestRecord {
        value: Some(huge),
        ..TestRecord::default()
    };
    for codec in [TestCodec::Gzip, TestCodec::Lz4] {
        let mut batch = TestBatch::new(0, vec![record.clone()]);
        batch.codec = codec;
        let decoded = decode(&batch.encode(), 0);
        let reason = &decoded[0].as_ref().unwrap_err().reason;
        assert!(matches!(reason, DecodeReason::TooLarge { .. }), "{codec:?}: {reason}");
    }
}

#[test]
fn zstd_cannot_hoard_a_window_before_it_hands_out_a_byte() {
    // 64 MiB of blocks that repeat one byte, four bytes each, under a window of a TiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (40 - 10) << 3];
    for _ in 0..512 {
        frame.extend([0x02, 0, 0x10, 0]); // a run (type 1) of 131,072 bytes
    }
    frame.extend([1, 0, 0]); // an empty last block
    let decoded = decode(&with_body(TestCodec::Zstd, &frame), 0);
    let text = decoded[0].as_ref().unwrap_err();
    assert_eq!(text.reason, DecodeReason::TooLarge { codec: "zstd" });
    frame[5] = (23 - 10) << 3; // 8 MiB, as zstd's highest ordinary level asks for: read, and found to be no records
    let decoded = decode(&with_body(TestCodec::Zstd, &frame), 0);
    let reason = &decoded[0].as_ref().unwrap_err().reason;
    assert!(matches!(reason, DecodeReason::Malformed(_)), "{reason}");
}

// Only the first was read, and the batch counted as cut off.
#[test]
fn zstd_frames_of_one_batch_are_read_one_after_the_other() {
    let plain = TestBatch::new(0, values(&["one value in two frames"]))
        .encode()
        .split_off(61);
    let (first, second) = plain.split_at(plain.len() / 2);
    let compressed = |part| ruzstd::encoding::compress_to_vec(part, ruzstd::encoding::CompressionLevel::Fastest);
    let body = [compressed(first), compressed(second)].concat();
    let decoded = decode(&with_body(TestCodec::Zstd, &body), 0);
    assert_eq!(
        decoded[0].as_ref().unwrap().value.as_deref(),
        Some(&b"one value in two frames"[..])
    );
}

/// A batch of one record whose body is `body`, whatever that is.
fn with_body(codec: TestCodec, body: &[u8]) -> Vec<u8> {
    let mut batch = TestBatch::new(0, values(&[""]));
    batch.codec = codec;
    let mut bytes = batch.encode();
    bytes.truncate(61);
    bytes.extend(body);
    let length = i32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn every_kind_of_lz4_frame_is_read() {
    use std::io::Write as _;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let mut batch = TestBatch::new(0, values(&["some text, "; 3]));
    batch.records[1].value = Some(
        (0..200_000_u32)
            .map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8)
            .collect(),
    );
    batch.records[2].value = Some(vec![b'x'; 200_000]);
    let plain = batch.encode().split_off(61);
    let base = FrameInfo::new().block_size(BlockSize::Max64KB);
    for (info, why) in [
        (base.clone(), "as Kafka's producers write it"),
        (base.clone().block_mode(BlockMode::Linked), "linked blocks"),
        (base.clone().content_checksum(true), "a checksum of the content"),
        (base.clone().block_checksums(true), "checksums of the blocks"),
        (base.content_size(Some(plain.len() as u64)), "its size"),
    ] {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&plain).unwrap();
        let mut bytes = with_body(TestCodec::Lz4, &encoder.finish().unwrap());
        bytes[23..27].copy_from_slice(&2_i32.to_be_bytes()); // last offset delta
        bytes[57..61].copy_from_slice(&3_i32.to_be_bytes()); // number of records
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let decoded = decode(&bytes, 0);
        assert_eq!(offsets(&decoded), [0, 1, 2], "{why}");
        for (decoded, written) in decoded.iter().zip(&batch.records) {
            assert_eq!(
                decoded.as_ref().unwrap().value.as_deref(),
                written.value.as_deref(),
                "{why}"
            );
        }
    }
}

#[test]
fn offsets_that_do_not_grow_are_refused() {
    let mut within = TestBatch::new(5, values(&["a", "b", "c"]));
    for (record, delta) in within.records.iter_mut().zip([0, 2, 1]) {
        record.offset_delta = delta;
    }
    let mut across = TestBatch::new(5, values(&["a", "b"])).encode();
    across.extend(TestBatch::new(6, values(&["b again"])).encode());
    for (section, good) in [(within.encode(), [5, 7]), (across, [5, 6])] {
        let decoded = decode(&section, 0);
        assert_eq!(offsets(&decoded[..2]), good);
        let reason = &decoded[2].as_ref().unwrap_err().reason;
        assert_eq!(
            *reason,
            DecodeReason::Malformed("a record's offset is not above the one before")
        );
    }
}

#[test]
fn records_behind_the_declared_number_are_not_lost_in_silence() {
    let mut bytes = TestBatch::new(5, values(&["a", "b"])).encode();
    bytes[60] = 1;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let decoded = decode(&bytes, 0);
    assert_eq!(decoded[0].as_ref().unwrap().offset, 5);
    assert_eq!(
        decoded[1].as_ref().unwrap_err().reason,
        DecodeReason::Malformed("a batch goes on behind its last record")
    );
}

fn any_record() -> impl Strategy<Value = TestRecord> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..80));
    let header = (prop::collection::vec(any::<u8>(), 0..8), bytes());
    (
        bytes(),
        bytes(),
        prop::collection::vec(header, 0..4),
        -1_000_i64..1_000_000_000_000,
    )
        .prop_map(|(key, value, headers, timestamp_delta)| TestRecord {
            offset_delta: 0,
            timestamp_delta,
            key,
            value,
            headers,
        })
}

fn any_batch() -> impl Strategy<Value = TestBatch> {
    (
        0_i64..1_000_000,
        prop::collection::vec(any_record(), 1..12),
        0..CODECS.len(),
    )
        .prop_map(|(base, records, codec)| {
            let mut batch = TestBatch::new(base, records);
            batch.codec = CODECS[codec];
            batch
        })
}

proptest! {
    #[test]
    fn what_was_written_comes_back(batch in any_batch()) {
        let decoded = decode(&batch.encode(), 0);
        prop_assert_eq!(decoded.len(), batch.records.len());
        for (decoded, written) in decoded.into_iter().zip(&batch.records) {
            let decoded = decoded.unwrap();
            prop_assert_eq!(decoded.offset, batch.base_offset + i64::from(written.offset_delta));
            prop_assert_eq!(decoded.timestamp, batch.base_timestamp + written.timestamp_delta);
            prop_assert_eq!(decoded.key.as_deref(), written.key.as_deref());
            prop_assert_eq!(decoded.value.as_deref(), written.value.as_deref());
            let headers: Vec<_> =
                decoded.headers.iter().map(|(k, v)| (k.to_vec(), v.as_ref().map(|v| v.to_vec()))).collect();
            prop_assert_eq!(&headers, &written.headers);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(decode(&bytes, 0));
        scan(&bytes);
    }

    #[test]
    fn mutated_batches_never_panic_nor_loop(
        batch in any_batch(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        fix_crc in any::<bool>(),
    ) {
        let mut bytes = batch.encode();
        for (at, with) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        if fix_crc {
            // Behind the checksum, everything is reached.
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let decoded = decode_as(&bytes, 0, IsolationLevel::ReadCommitted, &[]);
        // Every record takes at least a byte of what was written, compressed at most a thousandfold.
        prop_assert!(decoded.len() <= bytes.len() * 1_100);
        scan(&bytes);
    }
}
