//! Every decoder of bytes from outside, behind one face: for the hostile-bytes tests and the fuzz loop of this crate.
//! Not part of its API.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "test code that needs the crate's inside"
)]

mod answers;
#[path = "../../tests/support/encode.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with the integration tests")]
pub(crate) mod encode;
mod mutate;
mod properties;

use bytes::Bytes;
use futures_util::FutureExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use self::encode::{CODECS, TestBatch, TestRecord};
use crate::connection::Frames;
use crate::records::{AbortedTransaction, Records, scan};
use crate::security::fuzzing as security;
use crate::{IsolationLevel, TopicPartition};

pub use mutate::mutate;

/// A decoder.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    /// Makes an input that the decoder accepts.
    pub valid: fn(&mut StdRng) -> Vec<u8>,
    /// Puts right what a mutation made wrong at the front, such as a checksum, so that the rest is reached.
    pub mend: fn(&mut [u8]),
    /// Decodes: how many things were found, or the error's text.
    pub read: fn(&Bytes) -> Result<usize, String>,
    /// Bytes that decoding may hold at once, for an input of this length.
    pub memory: fn(usize) -> usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "records",
        valid: valid_section,
        mend: mend_crc,
        read: read_section,
        // A batch may expand far beyond its size; the bound is the one of `MAX_BATCH_BYTES`, which the tests of the
        // codecs look at. What small inputs can do is bounded by the codecs' own ratio.
        memory: |length| 16 * 1024 * 1024 + 40_000 * length,
    },
    Target {
        name: "answers",
        valid: answers::valid,
        mend: |_| {},
        read: answers::read,
        memory: |length| 512 * 1024 + 1_500 * length,
    },
    Target {
        name: "frames",
        valid: valid_frames,
        mend: |_| {},
        read: read_frames,
        memory: |length| MAX_TEST_FRAME + 64 * 1024 + 2 * length,
    },
    Target {
        name: "members",
        valid: valid_member,
        mend: |_| {},
        read: |bytes| crate::group::read_member_bytes(bytes),
        memory: |length| 64 * 1024 + 200 * length,
    },
    security::JAAS,
    security::SCRAM,
    security::PKCS12,
    security::JKS,
    security::PEM,
    security::TOKENS,
    Target {
        name: "properties",
        valid: properties::valid,
        mend: |_| {},
        read: properties::read,
        memory: |length| 1024 * 1024 + 200 * length,
    },
];

/// A generator whose numbers follow from `seed`.
pub fn seeded(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

fn any_bytes(rng: &mut StdRng, longest: usize) -> Vec<u8> {
    let length = rng.random_range(0..=longest);
    // Few different bytes, so that codecs find something to do.
    (0..length).map(|_| rng.random_range(b'a'..b'f')).collect()
}

fn any_record(rng: &mut StdRng) -> TestRecord {
    let some = |rng: &mut StdRng, longest| rng.random_bool(0.8).then(|| any_bytes(rng, longest));
    TestRecord {
        offset_delta: 0,
        timestamp_delta: rng.random_range(-1_000..1_000_000),
        key: some(rng, 20),
        value: some(rng, 200),
        headers: (0..rng.random_range(0..3_u8))
            .map(|_| (any_bytes(rng, 8), some(rng, 8)))
            .collect(),
    }
}

fn valid_section(rng: &mut StdRng) -> Vec<u8> {
    let mut section = Vec::new();
    let mut base = rng.random_range(0..100);
    for _ in 0..rng.random_range(1..4_u8) {
        let records = (0..rng.random_range(1..20_u8)).map(|_| any_record(rng)).collect();
        let mut batch = TestBatch::new(base, records);
        batch.codec = CODECS[rng.random_range(0..CODECS.len())];
        batch.is_log_append_time = rng.random_bool(0.1);
        batch.is_transactional = rng.random_bool(0.3);
        batch.is_control = rng.random_bool(0.1);
        batch.producer.0 = rng.random_range(-1..2);
        base += i64::from(batch.last_offset_delta) + 1;
        section.extend(batch.encode());
    }
    section
}

/// The checksums of all batches that can be told apart.
fn mend_crc(section: &mut [u8]) {
    let mut at = 0;
    while let Some(length) = section.get(at + 8..at + 12) {
        let length = i32::from_be_bytes(length.try_into().unwrap());
        let end = usize::try_from(length).map_or(0, |length| at + 12 + length);
        let Some(checked) = section.get(at + 21..end) else {
            return;
        };
        let crc = crc32c::crc32c(checked);
        section[at + 17..at + 21].copy_from_slice(&crc.to_be_bytes());
        at = end;
    }
}

fn read_section(section: &Bytes) -> Result<usize, String> {
    let read = |isolation, check_crcs| {
        let aborted = [AbortedTransaction {
            producer_id: 1,
            first_offset: 3,
        }];
        let partition = TopicPartition::new("fuzz", 0);
        let mut records = Records::new(partition, section.clone(), 3, isolation, &aborted, check_crcs);
        let mut count = 0;
        let mut last = i64::MIN;
        for record in records.by_ref() {
            let record = record.map_err(|err| {
                let text = crate::client::chain(&err).to_string();
                assert!(text.contains("fuzz-0@"), "an error says where: {text}");
                text
            })?;
            assert!(record.offset >= 3, "what lies below the start is skipped");
            last = last.max(record.offset);
            count += 1;
        }
        assert!(records.next_offset() > last, "the position passes what was returned");
        Ok(count)
    };
    if let Some(scan) = scan(section) {
        assert!(scan.bytes <= section.len(), "a scan ends within the section");
    }
    let all = read(IsolationLevel::ReadUncommitted, true);
    drop(read(IsolationLevel::ReadCommitted, false));
    all
}

/// Largest frame in the tests.
const MAX_TEST_FRAME: usize = 256 * 1024;

fn valid_frames(rng: &mut StdRng) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..rng.random_range(1..5_u8) {
        let mut frame = any_bytes(rng, 100);
        frame.extend([0; 4]);
        stream.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
        stream.extend(frame);
    }
    stream
}

fn read_frames(stream: &Bytes) -> Result<usize, String> {
    let mut frames = Frames::new(stream.as_ref(), MAX_TEST_FRAME);
    let mut count = 0;
    let mut bytes = 0;
    loop {
        // A slice is always ready.
        match frames.next().now_or_never().unwrap() {
            Ok(frame) => {
                assert!(
                    (4..=MAX_TEST_FRAME).contains(&frame.len()),
                    "frames have the size they claim"
                );
                bytes += frame.len() + 4;
                count += 1;
            }
            Err(reason) if reason == "the broker closed it" && bytes == stream.len() => return Ok(count),
            Err(reason) => return Err(reason),
        }
    }
}

fn valid_member(rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0, rng.random_range(0..4)];
    let topics = rng.random_range(0..4_u8);
    bytes.extend(u32::from(topics).to_be_bytes());
    for _ in 0..topics {
        let name = any_bytes(rng, 12);
        bytes.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        bytes.extend(name);
        if rng.random_bool(0.5) {
            bytes.extend([0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]); // partitions 0 and 1
        }
    }
    bytes.extend([0xff; 4]); // no user data
    bytes
}
