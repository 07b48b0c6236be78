//! The header of a record batch (message format 2), read and changed in place.

use bytes::{BufMut as _, BytesMut};

/// Bytes before the records.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes before those that `length` counts.
const PREFIX_BYTES: usize = 12;
const EPOCH_AT: usize = 12;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;
const RECORDS_AT: usize = 57;

const CODEC: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Why bytes are no record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("a batch ends before its header or its length does")]
    Short,
    #[error("message format {0} is not taken, only 2")]
    Magic(u8),
    #[error("the checksum does not match")]
    Crc,
    #[error("the records do not match the header")]
    Records,
    #[error("codec {0} is not known")]
    Codec(i16),
    #[error("the records cannot be decompressed")]
    Decompress,
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base_offset: i64,
    /// Bytes of the whole batch.
    pub(crate) size: usize,
    pub(crate) leader_epoch: i32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) records: i32,
}

impl Header {
    /// Reads the header of the first batch in `bytes`, which must hold all of it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let length = i32::from_be_bytes(at(bytes, 8)?);
        let [magic] = at(bytes, 16)?;
        if magic != 2 {
            return Err(Invalid::Magic(magic));
        }
        let size = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(PREFIX_BYTES))
            .filter(|size| (HEADER_BYTES..=bytes.len()).contains(size))
            .ok_or(Invalid::Short)?;
        Ok(Self {
            base_offset: i64::from_be_bytes(at(bytes, 0)?),
            size,
            leader_epoch: i32::from_be_bytes(at(bytes, EPOCH_AT)?),
            attributes: i16::from_be_bytes(at(bytes, ATTRIBUTES_AT)?),
            last_offset_delta: i32::from_be_bytes(at(bytes, 23)?),
            base_timestamp: i64::from_be_bytes(at(bytes, 27)?),
            max_timestamp: i64::from_be_bytes(at(bytes, MAX_TIMESTAMP_AT)?),
            producer_id: i64::from_be_bytes(at(bytes, 43)?),
            producer_epoch: i16::from_be_bytes(at(bytes, 51)?),
            base_sequence: i32::from_be_bytes(at(bytes, 53)?),
            records: i32::from_be_bytes(at(bytes, RECORDS_AT)?),
        })
    }

    pub(crate) fn codec(&self) -> i16 {
        self.attributes & CODEC
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(crate) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub(crate) fn has_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }
}

/// Whether the checksum of the batch, which must be whole, is right.
pub(crate) fn has_valid_crc(batch: &[u8]) -> bool {
    let (Ok(crc), Some(covered)) = (at(batch, CRC_AT), batch.get(ATTRIBUTES_AT..)) else {
        return false;
    };
    crc32c::crc32c(covered) == u32::from_be_bytes(crc)
}

/// Sets what the leader of the partition decides; neither is under the checksum.
pub(crate) fn place(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    put(batch, 0, base_offset.to_be_bytes());
    put(batch, EPOCH_AT, leader_epoch.to_be_bytes());
}

/// Gives all records the time of their arrival.
pub(crate) fn stamp(batch: &mut [u8], header: &mut Header, now_ms: i64) {
    header.attributes |= LOG_APPEND_TIME;
    header.max_timestamp = now_ms;
    put(batch, ATTRIBUTES_AT, header.attributes.to_be_bytes());
    put(batch, MAX_TIMESTAMP_AT, now_ms.to_be_bytes());
    sign(batch);
}

/// A batch with the same header and offsets as `original`, but these records only, uncompressed.
pub(crate) fn rebuild(original: &[u8], header: &Header, records: i32, body: &[u8]) -> Option<BytesMut> {
    let mut batch = BytesMut::with_capacity(HEADER_BYTES.saturating_add(body.len()));
    batch.put_slice(original.get(..HEADER_BYTES)?);
    batch.put_slice(body);
    let length = i32::try_from(batch.len().checked_sub(PREFIX_BYTES)?).ok()?;
    put(&mut batch, 8, length.to_be_bytes());
    put(&mut batch, ATTRIBUTES_AT, (header.attributes & !CODEC).to_be_bytes());
    put(&mut batch, RECORDS_AT, records.to_be_bytes());
    sign(&mut batch);
    Some(batch)
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Abort,
    Commit,
}

/// The control batch that ends a producer's transaction in a partition.
pub(crate) fn marker(producer_id: i64, producer_epoch: i16, ending: Ending, now_ms: i64) -> BytesMut {
    let kind: u8 = match ending {
        Ending::Abort => 0,
        Ending::Commit => 1,
    };
    // Length 16, no attributes, both deltas 0, key of 4 bytes (version, type), value of 6 (version, coordinator's
    // epoch), no headers; lengths are zigzag varints.
    let record = [32, 0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 0, 0, 0, 0, 0];
    let mut batch = BytesMut::with_capacity(HEADER_BYTES.saturating_add(record.len()));
    batch.put_i64(0);
    batch.put_i32(i32::try_from(HEADER_BYTES - PREFIX_BYTES + record.len()).unwrap_or(0));
    batch.put_i32(0);
    batch.put_u8(2);
    batch.put_u32(0);
    batch.put_i16(TRANSACTIONAL | CONTROL);
    batch.put_i32(0);
    batch.put_i64(now_ms);
    batch.put_i64(now_ms);
    batch.put_i64(producer_id);
    batch.put_i16(producer_epoch);
    batch.put_i32(-1);
    batch.put_i32(1);
    batch.put_slice(&record);
    sign(&mut batch);
    batch
}

fn sign(batch: &mut [u8]) {
    let crc = crc32c::crc32c(batch.get(ATTRIBUTES_AT..).unwrap_or_default());
    put(batch, CRC_AT, crc.to_be_bytes());
}

fn at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Invalid> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(Invalid::Short)
}

fn put<const N: usize>(batch: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = batch.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value;
    }
}
