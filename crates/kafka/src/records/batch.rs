//! The fixed header of a record batch.

use bytes::Bytes;

use super::cursor::be;
use super::{DecodeReason, TimestampType};

/// Offset and length, which stand in front of every format.
const PREFIX: usize = 12;
/// A whole header of format 2, up to the first record.
const HEADER: usize = 61;
/// Where the checksummed part begins.
const CRC_FROM: usize = 21;

/// A batch of format 2, its header read.
pub(super) struct Batch {
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    pub(super) leader_epoch: Option<i32>,
    pub(super) codec: i16,
    pub(super) timestamp_type: TimestampType,
    pub(super) is_transactional: bool,
    pub(super) is_control: bool,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) count: i32,
    /// The records, still compressed.
    pub(super) body: Bytes,
}

/// First offset and whole length of the next batch; `None` when no complete one is left.
///
/// A broker cuts a response at its byte bound, so the last batch may be incomplete.
fn extent(bytes: &[u8]) -> Result<Option<(i64, usize)>, DecodeReason> {
    let (Some(offset), Some(length)) = (be(bytes, 0), be(bytes, 8)) else {
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes(length))
        .ok()
        .filter(|length| *length > 0)
        .and_then(|length| length.checked_add(PREFIX))
        .ok_or(DecodeReason::Malformed("a batch has a length below one"))?;
    Ok((length <= bytes.len()).then(|| (i64::from_be_bytes(offset), length)))
}

/// Takes the next complete batch off `bytes`; `None` at the end. On an error the offset where it stands, if known.
pub(super) fn next_batch(bytes: &mut Bytes, check_crc: bool) -> Result<Option<Batch>, (Option<i64>, DecodeReason)> {
    let Some((base_offset, length)) = extent(bytes).map_err(|reason| (None, reason))? else {
        return Ok(None);
    };
    let batch = bytes.split_to(length);
    parse(&batch, base_offset, check_crc)
        .map(Some)
        .map_err(|reason| (Some(base_offset), reason))
}

fn parse(batch: &Bytes, base_offset: i64, check_crc: bool) -> Result<Batch, DecodeReason> {
    const SHORT: DecodeReason = DecodeReason::Malformed("a batch is shorter than its header");
    let magic = i8::from_be_bytes(be(batch, 16).ok_or(SHORT)?);
    if magic != 2 {
        return Err(DecodeReason::Magic(magic));
    }
    if batch.len() < HEADER {
        return Err(SHORT);
    }
    if check_crc {
        let stored = u32::from_be_bytes(be(batch, 17).ok_or(SHORT)?);
        let actual = crc32c::crc32c(batch.get(CRC_FROM..).ok_or(SHORT)?);
        if stored != actual {
            return Err(DecodeReason::Crc { stored, actual });
        }
    }
    let attributes = i16::from_be_bytes(be(batch, 21).ok_or(SHORT)?);
    let last_offset_delta = i32::from_be_bytes(be(batch, 23).ok_or(SHORT)?);
    let count = i32::from_be_bytes(be(batch, 57).ok_or(SHORT)?);
    let last_offset = base_offset
        .checked_add(i64::from(last_offset_delta))
        .filter(|last| last_offset_delta >= 0 && base_offset >= 0 && *last < i64::MAX)
        .ok_or(DecodeReason::Malformed("a batch has impossible offsets"))?;
    if count < 0 {
        return Err(DecodeReason::Malformed("a batch has a negative number of records"));
    }
    Ok(Batch {
        base_offset,
        last_offset,
        leader_epoch: Some(i32::from_be_bytes(be(batch, 12).ok_or(SHORT)?)).filter(|epoch| *epoch >= 0),
        codec: attributes & 0b111,
        timestamp_type: if attributes & 0b1000 == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        },
        is_transactional: attributes & 0b1_0000 != 0,
        is_control: attributes & 0b10_0000 != 0,
        base_timestamp: i64::from_be_bytes(be(batch, 27).ok_or(SHORT)?),
        max_timestamp: i64::from_be_bytes(be(batch, 35).ok_or(SHORT)?),
        producer_id: i64::from_be_bytes(be(batch, 43).ok_or(SHORT)?),
        count,
        body: batch.slice(HEADER..),
    })
}

/// Whether the first batch's length makes no sense, so that no fetch will ever get past it.
pub(crate) fn is_damaged(section: &[u8]) -> bool {
    extent(section).is_err()
}

/// What the batch headers alone tell about a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The offset behind the last complete batch: where to read on.
    pub(crate) next_offset: i64,
    /// Bytes of complete batches; what follows is an incomplete one.
    pub(crate) bytes: usize,
    /// Leader epoch of the last complete batch; formats 0 and 1 have none.
    pub(crate) leader_epoch: Option<i32>,
}

/// Walks the batch headers of a section without touching records; `None` when there is no complete batch.
///
/// Stops in front of a batch whose length makes no sense: decoding meets it again and reports it.
pub(crate) fn scan(section: &[u8]) -> Option<Scan> {
    let mut found: Option<Scan> = None;
    loop {
        let at = found.map_or(0, |scan| scan.bytes);
        let rest = section.get(at..)?;
        let Ok(Some((base_offset, length))) = extent(rest) else {
            return found;
        };
        // Formats 0 and 1 carry the last offset of a compressed set in front.
        let (delta, leader_epoch) = match be(rest, 16).map(i8::from_be_bytes) {
            Some(2) => (
                be(rest, 23).map_or(0, i32::from_be_bytes).max(0),
                be(rest, 12).map(i32::from_be_bytes).filter(|epoch| *epoch >= 0),
            ),
            _ => (0, None),
        };
        found = Some(Scan {
            next_offset: base_offset.saturating_add(i64::from(delta)).saturating_add(1),
            bytes: at.checked_add(length)?,
            leader_epoch,
        });
    }
}

/// First offset and leader epoch of each complete batch, as far as they are known.
pub(crate) fn batch_epochs(section: &[u8]) -> impl Iterator<Item = (i64, i32)> {
    let mut rest = section;
    std::iter::from_fn(move || {
        let (base_offset, length) = extent(rest).ok().flatten()?;
        let (batch, behind) = rest.split_at_checked(length)?;
        rest = behind;
        let epoch = match be(batch, 16).map(i8::from_be_bytes) {
            Some(2) => be(batch, 12).map(i32::from_be_bytes),
            _ => None,
        };
        Some((base_offset, epoch.unwrap_or(-1)))
    })
    .filter(|(_, epoch)| *epoch >= 0)
}
