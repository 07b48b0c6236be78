//! Writing record batches of format 2 (KIP-98): headers exact, in order, with duplicates, nulls and any bytes.

use std::io::Write;

use bytes::{Bytes, BytesMut};

use super::{ConsumedRecord, DecodeError, Records};
use crate::{Compression, IsolationLevel, ProduceRecord, TopicPartition};

/// The fixed header in front of the records.
pub(crate) const BATCH_OVERHEAD_BYTES: usize = 61;
/// The most that the numbers around a record's bytes take: length, attributes, timestamp, offset, key and value length,
/// number of headers.
const RECORD_OVERHEAD_BYTES: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
/// Bytes of each block in snappy-java's framing.
const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;

/// What a record takes in a batch at most, before compression.
pub(crate) fn max_encoded_len(record: &ProduceRecord) -> usize {
    let headers = record.headers.iter().map(|(name, value)| {
        let value = value.as_ref().map_or(0, Bytes::len);
        name.len().saturating_add(value).saturating_add(10)
    });
    let fields = [record.key.as_ref(), record.value.as_ref()];
    let fields = fields.into_iter().flatten().map(Bytes::len);
    fields.chain(headers).fold(RECORD_OVERHEAD_BYTES, usize::saturating_add)
}

/// Collects the records of a batch.
#[derive(Debug, Default)]
pub(crate) struct RecordsBuilder {
    body: BytesMut,
    scratch: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl RecordsBuilder {
    /// Appends a record whose time is `timestamp`, milliseconds since 1970.
    pub(crate) fn push(&mut self, record: &ProduceRecord, timestamp: i64) {
        if self.count == 0 {
            (self.base_timestamp, self.max_timestamp) = (timestamp, timestamp);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let out = &mut self.scratch;
        out.clear();
        out.push(0); // no attributes are defined for records
        varint(out, timestamp.wrapping_sub(self.base_timestamp));
        varint(out, i64::from(self.count));
        nullable(out, record.key.as_deref());
        nullable(out, record.value.as_deref());
        varint(out, length(record.headers.len()));
        for (name, value) in &record.headers {
            nullable(out, Some(name));
            nullable(out, value.as_deref());
        }
        let mut prefix = Vec::with_capacity(5);
        varint(&mut prefix, length(self.scratch.len()));
        self.body.extend_from_slice(&prefix);
        self.body.extend_from_slice(&self.scratch);
        self.count = self.count.saturating_add(1);
    }

    /// Bytes of the batch as it stands, before compression.
    pub(crate) fn len(&self) -> usize {
        BATCH_OVERHEAD_BYTES.saturating_add(self.body.len())
    }

    /// Ends the batch.
    pub(crate) fn build(self) -> PlainRecords {
        PlainRecords {
            body: self.body.freeze(),
            count: self.count,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
        }
    }
}

/// The records of a batch, encoded and not yet compressed. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PlainRecords {
    body: Bytes,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

/// Who writes a batch, for brokers to tell it from repeated ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    /// Number of the batch's first record in its partition.
    pub(crate) sequence: i32,
    pub(crate) is_transactional: bool,
}

impl PlainRecords {
    /// Number of records.
    pub(crate) fn count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch without compression.
    pub(crate) fn len(&self) -> usize {
        BATCH_OVERHEAD_BYTES.saturating_add(self.body.len())
    }

    /// The records in two batches of half as many each (the first rounded down); both may be empty.
    ///
    /// # Errors
    /// None in practice: it reads back what was written here.
    pub(crate) fn halves(&self, partition: &TopicPartition) -> Result<[Self; 2], DecodeError> {
        let batch = self.encode(Compression::None, None).unwrap_or_default();
        let records = Records::new(partition.clone(), batch, 0, IsolationLevel::ReadUncommitted, &[], false);
        let mut halves = [RecordsBuilder::default(), RecordsBuilder::default()];
        let [first, second] = &mut halves;
        for (index, record) in (0..).zip(records) {
            let ConsumedRecord {
                timestamp,
                key,
                value,
                headers,
                ..
            } = record?;
            let record = ProduceRecord {
                key,
                value,
                headers,
                ..ProduceRecord::new(std::sync::Arc::clone(&partition.topic))
            };
            let half = if index < self.count / 2 {
                &mut *first
            } else {
                &mut *second
            };
            half.push(&record, timestamp);
        }
        Ok(halves.map(RecordsBuilder::build))
    }

    /// The whole batch. Takes CPU time when it compresses.
    ///
    /// # Errors
    /// What the codec said.
    pub(crate) fn encode(&self, compression: Compression, stamp: Option<Stamp>) -> std::io::Result<Bytes> {
        let (codec, body) = compress(compression, &self.body)?;
        let transactional = stamp.is_some_and(|stamp| stamp.is_transactional);
        let attributes = codec | if transactional { 0b1_0000 } else { 0 };
        let stamp = stamp.unwrap_or(Stamp {
            producer_id: -1,
            epoch: -1,
            sequence: -1,
            is_transactional: false,
        });
        let mut checked = Vec::with_capacity(40);
        checked.extend(attributes.to_be_bytes());
        checked.extend(self.count.saturating_sub(1).to_be_bytes());
        checked.extend(self.base_timestamp.to_be_bytes());
        checked.extend(self.max_timestamp.to_be_bytes());
        checked.extend(stamp.producer_id.to_be_bytes());
        checked.extend(stamp.epoch.to_be_bytes());
        checked.extend(stamp.sequence.to_be_bytes());
        checked.extend(self.count.to_be_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&checked), &body);
        // Behind the length stand leader epoch, magic and checksum (9 bytes) and what the checksum covers.
        let batch_len = i32::try_from(checked.len().saturating_add(body.len()).saturating_add(9))
            .map_err(|_| std::io::Error::other("a batch cannot be larger than 2 GiB"))?;
        let mut batch = BytesMut::with_capacity(BATCH_OVERHEAD_BYTES.saturating_add(body.len()));
        batch.extend_from_slice(&0_i64.to_be_bytes()); // the broker assigns offsets
        batch.extend_from_slice(&batch_len.to_be_bytes());
        batch.extend_from_slice(&(-1_i32).to_be_bytes()); // the broker knows the leader epoch
        batch.extend_from_slice(&[2]);
        batch.extend_from_slice(&crc.to_be_bytes());
        batch.extend_from_slice(&checked);
        batch.extend_from_slice(&body);
        Ok(batch.freeze())
    }
}

/// The codec's number in the batch's attributes, and the compressed records.
fn compress(compression: Compression, plain: &Bytes) -> std::io::Result<(i16, Bytes)> {
    Ok(match compression {
        Compression::None => (0, plain.clone()),
        Compression::Gzip(level) => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
            encoder.write_all(plain)?;
            (1, encoder.finish()?.into())
        }
        Compression::Snappy => (2, snappy(plain)?.into()),
        Compression::Lz4 => {
            // Java reads independent blocks only, which are lz4_flex's default too.
            let frame = lz4_flex::frame::FrameInfo::new()
                .block_mode(lz4_flex::frame::BlockMode::Independent)
                .block_size(lz4_flex::frame::BlockSize::Max64KB);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
            encoder.write_all(plain)?;
            (3, encoder.finish().map_err(std::io::Error::other)?.into())
        }
        Compression::Zstd => {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            (4, ruzstd::encoding::compress_to_vec(plain.as_ref(), level).into())
        }
    })
}

/// The framing of snappy-java, which every client reads: magic, version 1, compatible with 1, then blocks with their
/// lengths in front.
fn snappy(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    let mut encoder = snap::raw::Encoder::new();
    for chunk in plain.chunks(SNAPPY_BLOCK_BYTES) {
        let block = encoder.compress_vec(chunk).map_err(std::io::Error::other)?;
        let length = u32::try_from(block.len()).map_err(std::io::Error::other)?;
        out.extend(length.to_be_bytes());
        out.extend(block);
    }
    Ok(out)
}

/// Lengths stay below 2 GiB, which the caller's bound on a record's size sees to.
fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Zigzag varint.
fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or_default() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or_default());
}

fn nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint(out, -1),
        Some(bytes) => {
            varint(out, length(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "test code")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::records::TimestampType;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip(6),
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn decode(batch: Bytes) -> Vec<ConsumedRecord> {
        let partition = TopicPartition::new("t", 0);
        Records::new(partition, batch, 0, IsolationLevel::ReadUncommitted, &[], true)
            .map(Result::unwrap)
            .collect()
    }

    fn any_bytes(max: usize) -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
    }

    fn any_record() -> impl Strategy<Value = (ProduceRecord, i64)> {
        let header = (any_bytes(5), proptest::option::of(any_bytes(9)));
        let headers = proptest::collection::vec(header, 0..5);
        let bytes = || proptest::option::of(any_bytes(300));
        (bytes(), bytes(), headers, 0..i64::MAX).prop_map(|(key, value, headers, timestamp)| {
            let mut record = ProduceRecord::new("t");
            (record.key, record.value, record.headers) = (key, value, headers);
            (record, timestamp)
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_again(
            records in proptest::collection::vec(any_record(), 1..30),
            codec in proptest::sample::select(&CODECS),
        ) {
            let mut builder = RecordsBuilder::default();
            for (record, timestamp) in &records {
                let before = builder.len();
                builder.push(record, *timestamp);
                prop_assert!(builder.len() - before <= max_encoded_len(record), "the estimate is an upper bound");
            }
            let stamp = Stamp { producer_id: 7, epoch: 3, sequence: 11, is_transactional: false };
            let batch = builder.build().encode(codec, Some(stamp)).unwrap();
            let decoded = decode(batch);
            prop_assert_eq!(decoded.len(), records.len());
            for (offset, (found, (record, timestamp))) in (0..).zip(decoded.iter().zip(&records)) {
                prop_assert_eq!(found.offset, offset);
                prop_assert_eq!(found.timestamp, *timestamp);
                prop_assert_eq!(found.timestamp_type, TimestampType::CreateTime);
                prop_assert_eq!(&found.key, &record.key);
                prop_assert_eq!(&found.value, &record.value);
                prop_assert_eq!(&found.headers, &record.headers);
            }
        }
    }

    #[test]
    fn large_records_come_back_from_every_codec() {
        for codec in CODECS {
            let mut record = ProduceRecord::new("t");
            let value: Vec<u8> = (0..2_000_000_u32).flat_map(|i| (i / 7).to_be_bytes()).collect();
            record.value = Some(value.into());
            let mut builder = RecordsBuilder::default();
            builder.push(&record, 5);
            let decoded = decode(builder.build().encode(codec, None).unwrap());
            assert!(decoded[0].value == record.value, "{codec:?}");
        }
    }

    #[test]
    fn the_header_says_who_wrote_the_batch() {
        let mut builder = RecordsBuilder::default();
        builder.push(&ProduceRecord::new("t"), 5);
        builder.push(&ProduceRecord::new("t"), 4);
        let stamp = Stamp {
            producer_id: 0x0102_0304,
            epoch: 9,
            sequence: 77,
            is_transactional: true,
        };
        let batch = builder.build().encode(Compression::Gzip(1), Some(stamp)).unwrap();
        let at = |from: usize, to: usize| batch[from..to].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
        assert_eq!(at(8, 12), u64::try_from(batch.len()).unwrap() - 12, "length");
        assert_eq!(at(21, 23), 0b1_0001, "gzip, transactional");
        assert_eq!(at(23, 27), 1, "last offset delta");
        assert_eq!((at(27, 35), at(35, 43)), (5, 5), "first and largest timestamp");
        assert_eq!((at(43, 51), at(51, 53), at(53, 57)), (0x0102_0304, 9, 77));
        assert_eq!(at(57, 61), 2, "number of records");
    }
}
