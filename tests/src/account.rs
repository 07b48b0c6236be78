//! Accounting for records: what was produced against what the functions accepted.

use std::collections::{BTreeMap, BTreeSet};

use klamm_dev::payload::each_of_confluent;
use klamm_dev::{Log, Outcome};

use crate::produce::Produced;

/// Partition and offset of a record of one topic.
pub type Position = (i32, i64);

/// How often each record of `topic` was accepted by `function`, from payloads in Confluent's format.
///
/// # Panics
/// A payload is not in that format, or calls were forgotten.
pub fn accepted(log: &Log, function: &str, topic: &str) -> BTreeMap<Position, usize> {
    assert_eq!(log.forgotten(), 0, "the log is too small to account for every record");
    let mut times = BTreeMap::new();
    for call in log
        .invocations_of(function)
        .filter(|call| call.outcome == Outcome::Accepted)
    {
        each_of_confluent(&call.body, |record| {
            if record.topic == topic {
                *times.entry((record.partition, record.offset)).or_default() += 1;
            }
        })
        .expect("a payload in Confluent's format");
    }
    times
}

/// Where the records are.
pub fn positions(produced: &[Produced]) -> BTreeSet<Position> {
    produced
        .iter()
        .map(|record| (record.partition, record.offset))
        .collect()
}

/// Whether `function` accepted each of these records of `topic` at least once.
pub fn has_all(log: &Log, function: &str, topic: &str, produced: &[Produced]) -> bool {
    let accepted = accepted(log, function, topic);
    positions(produced)
        .iter()
        .all(|position| accepted.contains_key(position))
}
