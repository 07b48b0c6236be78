//! Batches are made here byte by byte, so that nothing vouches for itself.

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::ResponseError;

use super::*;
use crate::broker::batch::has_valid_crc;
use crate::broker::partition::{Partition, Usage, is_over};

const NOW: i64 = 1_700_000_000_000;

/// What a test says of a batch; −1 as a producer means none.
#[derive(Clone, Copy)]
struct By {
    producer: i64,
    epoch: i16,
    sequence: i32,
    is_transactional: bool,
}

const ANYBODY: By = By {
    producer: -1,
    epoch: -1,
    sequence: -1,
    is_transactional: false,
};

fn by(producer: i64, epoch: i16, sequence: i32) -> By {
    By {
        producer,
        epoch,
        sequence,
        is_transactional: false,
    }
}

fn in_transaction(producer: i64, sequence: i32) -> By {
    By {
        is_transactional: true,
        ..by(producer, 0, sequence)
    }
}

/// Zigzag, for numbers below 64.
fn short(number: i64) -> u8 {
    u8::try_from((number << 1) ^ (number >> 63)).unwrap()
}

/// A batch of records, each a key, a value (`None`: a tombstone) and a time after the batch's.
fn batch_at(time: i64, by: By, records: &[(&str, Option<&str>, i64)]) -> (BytesMut, Header) {
    let mut body = Vec::new();
    for (delta, (key, value, after)) in (0_i64..).zip(records) {
        let mut record = vec![0, short(*after), short(delta)];
        record.push(short(i64::try_from(key.len()).unwrap()));
        record.extend(key.bytes());
        match value {
            None => record.push(short(-1)),
            Some(value) => {
                record.push(short(i64::try_from(value.len()).unwrap()));
                record.extend(value.bytes());
            }
        }
        record.push(0);
        body.push(short(i64::try_from(record.len()).unwrap()));
        body.extend(record);
    }
    let count = i32::try_from(records.len()).unwrap();
    let mut covered = BytesMut::new();
    covered.put_i16(if by.is_transactional { 1 << 4 } else { 0 });
    covered.put_i32(count - 1);
    covered.put_i64(time);
    covered.put_i64(time + records.iter().map(|(_, _, after)| *after).max().unwrap());
    covered.put_i64(by.producer);
    covered.put_i16(by.epoch);
    covered.put_i32(by.sequence);
    covered.put_i32(count);
    covered.put_slice(&body);
    let mut batch = BytesMut::new();
    batch.put_i64(77);
    batch.put_i32(i32::try_from(9 + covered.len()).unwrap());
    batch.put_i32(-1);
    batch.put_u8(2);
    batch.put_u32(crc32c::crc32c(&covered));
    batch.put_slice(&covered);
    let header = Header::parse(&batch).unwrap();
    (batch, header)
}

fn append(log: &mut Log, by: By, keys: &[&str]) -> Result<Appended, ResponseError> {
    let records: Vec<_> = keys.iter().map(|key| (*key, Some("v"), 0)).collect();
    let (batch, header) = batch_at(NOW, by, &records);
    log.append(batch, header, Timestamps::Create, 0, NOW)
}

fn log() -> Log {
    let mut log = Log::default();
    log.begin_epoch(0);
    log
}

fn all(log: &Log) -> Vec<Bytes> {
    let slice = log.read(log.start_offset(), usize::MAX, true, Isolation::Uncommitted);
    slice.unwrap().batches
}

/// Offsets and keys of all records.
fn keys(log: &Log) -> Vec<(i64, String)> {
    let mut keys = Vec::new();
    for stored in log.batches() {
        assert!(has_valid_crc(&stored.bytes));
        if stored.header.is_control() {
            continue;
        }
        let body = records::expand(&stored.bytes, &stored.header).unwrap();
        records::for_each(&body, &stored.header, |record| {
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            keys.push((stored.header.base_offset + i64::from(record.offset_delta), key));
            true
        })
        .unwrap();
    }
    keys
}

#[test]
fn a_batch_is_kept_as_it_came_but_for_its_place() {
    let mut log = log();
    log.begin_epoch(7);
    append(&mut log, ANYBODY, &["a", "b"]).unwrap();
    let (sent, header) = batch_at(NOW, ANYBODY, &[("c", None, 3)]);
    let appended = log.append(sent.clone(), header, Timestamps::Create, 7, NOW).unwrap();
    assert_eq!((appended.base_offset, appended.log_append_time_ms), (2, None));
    let kept = all(&log)[1].clone();
    assert!(has_valid_crc(&kept));
    assert_eq!(kept[16..], sent[16..], "all that the checksum covers");
    let header = Header::parse(&kept).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (2, 7));
    assert_eq!(log.end_offset(), 3);
}

#[test]
fn the_time_of_arrival_is_signed() {
    let mut log = log();
    let (sent, header) = batch_at(NOW, ANYBODY, &[("c", None, 3)]);
    let appended = log.append(sent, header, Timestamps::Append, 0, NOW + 99).unwrap();
    assert_eq!(appended.log_append_time_ms, Some(NOW + 99));
    let kept = all(&log)[0].clone();
    let header = Header::parse(&kept).unwrap();
    assert!(has_valid_crc(&kept) && header.has_log_append_time());
    assert_eq!(header.max_timestamp, NOW + 99);
    assert_eq!(log.find_time(NOW + 99, Isolation::Uncommitted).unwrap().offset, 0);
}

#[test]
fn a_producers_sequence_goes_on_without_gaps() {
    let mut log = log();
    append(&mut log, by(5, 0, 0), &["a", "b"]).unwrap();
    append(&mut log, by(5, 0, 2), &["c"]).unwrap();
    let again = append(&mut log, by(5, 0, 0), &["a", "b"]).unwrap();
    assert!(again.is_duplicate && again.base_offset == 0);
    assert_eq!(log.end_offset(), 3, "nothing came twice");
    let cases = [
        (by(5, 0, 4), Err(ResponseError::OutOfOrderSequenceNumber), "a gap"),
        (
            by(5, 0, 1),
            Err(ResponseError::OutOfOrderSequenceNumber),
            "back, and no duplicate",
        ),
        (
            by(5, 1, 3),
            Err(ResponseError::OutOfOrderSequenceNumber),
            "a new epoch begins with 0",
        ),
        (by(5, 1, 0), Ok(3), "as this does"),
        (
            by(5, 0, 3),
            Err(ResponseError::InvalidProducerEpoch),
            "the old epoch is over",
        ),
        (by(6, 0, 9), Ok(4), "a producer that wrote long ago"),
        (by(7, 0, i32::MAX), Ok(5), "the last number"),
        (by(7, 0, 0), Ok(6), "and the first again"),
    ];
    for (by, wanted, why) in cases {
        let appended = append(&mut log, by, &["x"]);
        assert_eq!(appended.map(|appended| appended.base_offset), wanted, "{why}");
    }
}

#[test]
fn five_batches_are_recognised() {
    let mut log = log();
    for sequence in 0..7 {
        append(&mut log, by(5, 0, sequence), &["a"]).unwrap();
    }
    assert!(append(&mut log, by(5, 0, 2), &["a"]).unwrap().is_duplicate);
    assert_eq!(
        append(&mut log, by(5, 0, 1), &["a"]),
        Err(ResponseError::OutOfOrderSequenceNumber)
    );
}

#[test]
fn read_committed_stops_at_what_is_open_and_names_what_is_aborted() {
    let mut log = log();
    append(&mut log, in_transaction(1, 0), &["a"]).unwrap();
    append(&mut log, ANYBODY, &["b"]).unwrap();
    append(&mut log, in_transaction(2, 0), &["c"]).unwrap();
    assert_eq!(log.last_stable_offset(), 0);
    log.append_marker(1, 0, Ending::Abort, 0, NOW);
    assert_eq!(log.last_stable_offset(), 2);
    let slice = log.read(0, usize::MAX, true, Isolation::Committed).unwrap();
    assert_eq!(slice.batches.len(), 2);
    let aborted = Aborted {
        producer_id: 1,
        first_offset: 0,
        last_offset: 3,
    };
    assert_eq!(slice.aborted, [aborted]);
    log.append_marker(2, 0, Ending::Commit, 0, NOW);
    assert_eq!((log.last_stable_offset(), log.end_offset()), (5, 5));
    let slice = log.read(4, usize::MAX, true, Isolation::Committed).unwrap();
    assert_eq!((slice.batches.len(), slice.aborted.len()), (1, 0));
    // All of it comes back from the bytes alone.
    let mut again = Log::default();
    for stored in log.batches() {
        assert!(again.restore(stored.bytes.clone(), stored.header, NOW));
    }
    assert_eq!(again.aborted, log.aborted);
    assert_eq!((again.last_stable_offset(), again.end_offset()), (5, 5));
    assert!(append(&mut again, in_transaction(1, 0), &["a"]).unwrap().is_duplicate);
}

#[test]
fn what_a_restart_finds_open_is_aborted() {
    let mut log = log();
    append(&mut log, in_transaction(1, 0), &["a"]).unwrap();
    append(&mut log, ANYBODY, &["b"]).unwrap();
    let partition = Partition::new(0, vec![1], Usage::default(), log, None);
    partition.abort_open(NOW);
    let state = partition.lock();
    assert_eq!((state.log.last_stable_offset(), state.log.end_offset()), (3, 3));
    assert_eq!(state.log.aborted.len(), 1);
}

#[test]
fn a_fetch_gets_whole_batches_within_its_limit_but_at_least_one() {
    let mut log = log();
    for _ in 0..4 {
        append(&mut log, ANYBODY, &["a", "b"]).unwrap();
    }
    let size = all(&log)[0].len();
    let cases = [
        (0, 2 * size, true, 2),
        (0, 2 * size + 1, true, 2),
        (3, 1, true, 1),
        (3, 1, false, 0),
        (8, usize::MAX, true, 0),
    ];
    for (offset, limit, takes_any_first, wanted) in cases {
        let slice = log
            .read(offset, limit, takes_any_first, Isolation::Uncommitted)
            .unwrap();
        assert_eq!(slice.batches.len(), wanted, "{limit} bytes from {offset}");
    }
    for outside in [-1, 9] {
        let read = log.read(outside, 1, true, Isolation::Uncommitted);
        assert_eq!(read.unwrap_err(), ResponseError::OffsetOutOfRange);
    }
}

#[test]
fn records_are_found_by_their_time_inside_of_batches() {
    let mut log = log();
    for (time, after) in [(NOW, [0, 20, 10]), (NOW + 30, [0, 5, 5])] {
        let records = after.map(|after| ("k", Some("v"), after));
        let (batch, header) = batch_at(time, ANYBODY, &records);
        log.append(batch, header, Timestamps::Create, 0, NOW).unwrap();
    }
    let cases = [
        (NOW - 1, Some(0)),
        (NOW + 1, Some(1)),
        (NOW + 21, Some(3)),
        (NOW + 35, Some(4)),
        (NOW + 36, None),
    ];
    for (time, wanted) in cases {
        let found = log.find_time(time, Isolation::Uncommitted);
        assert_eq!(found.map(|found| found.offset), wanted, "{}", time - NOW);
    }
    let latest = log.find_max_timestamp().unwrap();
    assert_eq!((latest.offset, latest.timestamp_ms), (4, NOW + 35));
    log.delete_before(1).unwrap();
    assert_eq!(log.find_time(0, Isolation::Uncommitted).unwrap().offset, 1);
}

#[test]
fn old_records_go_from_the_front_and_never_the_last_batch() {
    let mut log = log();
    for _ in 0..10 {
        append(&mut log, ANYBODY, &["a", "b"]).unwrap();
    }
    let limit = log.size() / 2;
    log.drop_front(|size, first| is_over(size, first, limit));
    assert_eq!((log.start_offset(), log.size()), (10, limit));
    log.drop_front(|size, first| is_over(size, first, 0));
    assert_eq!((log.start_offset(), log.end_offset()), (18, 20));
    log.delete_before(20).unwrap();
    assert_eq!((log.start_offset(), log.size()), (20, 0));
    assert_eq!(log.delete_before(21), Err(ResponseError::OffsetOutOfRange));
}

#[test]
fn epochs_tell_where_logs_part() {
    let mut log = log();
    append(&mut log, ANYBODY, &["a", "b"]).unwrap();
    for epoch in [1, 2, 4] {
        log.begin_epoch(epoch);
    }
    append(&mut log, ANYBODY, &["c"]).unwrap();
    log.begin_epoch(6);
    let cases = [
        (0, Some((0, 2))),
        (1, Some((0, 2))),
        (4, Some((4, 3))),
        (5, Some((4, 3))),
        (6, Some((6, 3))),
        (7, None),
    ];
    for (epoch, wanted) in cases {
        assert_eq!(log.epoch_end(epoch), wanted, "epoch {epoch}");
    }
    assert_eq!((log.epoch_of(1), log.epoch_of(2)), (0, 4));
    log.truncate(2, NOW);
    assert_eq!((log.end_offset(), log.epoch_end(4)), (2, None));
}

fn rules() -> CompactionRules {
    CompactionRules {
        min_dirty_ratio: 0.5,
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        delete_retention_ms: 1_000,
    }
}

#[test]
fn compaction_keeps_the_last_of_each_key_where_it_was() {
    let mut log = log();
    for batch in [["a", "b"], ["a", "c"], ["b", "c"]] {
        append(&mut log, ANYBODY, &batch).unwrap();
    }
    append(&mut log, in_transaction(1, 0), &["a"]).unwrap();
    log.append_marker(1, 0, Ending::Abort, 0, NOW);
    append(&mut log, ANYBODY, &["z"]).unwrap();
    assert!(log.needs_compaction(&rules(), NOW));
    assert!(log.compact(&rules(), NOW));
    let left: Vec<_> = keys(&log);
    let wanted = [(2, "a"), (4, "b"), (5, "c"), (8, "z")].map(|(offset, key)| (offset, key.to_owned()));
    assert_eq!(left, wanted, "what is aborted is gone, and hides nothing");
    assert_eq!((log.start_offset(), log.end_offset()), (0, 9));
    assert!(!log.needs_compaction(&rules(), NOW), "until more is written");
    assert!(!log.compact(&rules(), NOW), "nothing goes twice");
    let from_a_hole = log.read(3, usize::MAX, true, Isolation::Uncommitted).unwrap();
    assert_eq!(
        from_a_hole.batches.len(),
        4,
        "the batch that held it, b and c, the marker, z"
    );
}

#[test]
fn tombstones_stay_for_a_while() {
    let mut log = log();
    append(&mut log, ANYBODY, &["a"]).unwrap();
    let (batch, header) = batch_at(NOW, ANYBODY, &[("a", None, 0)]);
    log.append(batch, header, Timestamps::Create, 0, NOW).unwrap();
    append(&mut log, ANYBODY, &["z"]).unwrap();
    log.compact(&rules(), NOW + 999);
    assert_eq!(keys(&log).len(), 2, "the tombstone and z");
    log.compact(&rules(), NOW + 1_000);
    assert_eq!(keys(&log).len(), 1, "z");
}

#[test]
fn bytes_that_are_no_batch_are_refused() {
    let (batch, header) = batch_at(NOW, ANYBODY, &[("a", Some("v"), 0)]);
    assert_eq!(header.size, batch.len());
    for length in 0..batch.len() {
        assert!(Header::parse(&batch[..length]).is_err(), "cut at {length}");
    }
    for at in 21..batch.len() {
        let mut damaged = batch.clone();
        damaged[at] ^= 1;
        assert!(!has_valid_crc(&damaged), "byte {at}");
    }
}
