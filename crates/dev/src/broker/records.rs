//! The records inside of a batch: what compaction and look-ups by time need of them, no more.

use std::borrow::Cow;
use std::io::Read;

use super::batch::{HEADER_BYTES, Header, Invalid};

/// The most that one batch may expand to.
const MAX_BODY_BYTES: usize = 128 * 1024 * 1024;

/// A record where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// All of it, with its length in front.
    pub(crate) raw: &'a [u8],
    pub(crate) offset_delta: i32,
    pub(crate) timestamp_delta: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) is_tombstone: bool,
}

/// The records of a batch as bytes, expanded.
pub(crate) fn expand<'a>(batch: &'a [u8], header: &Header) -> Result<Cow<'a, [u8]>, Invalid> {
    let body = batch.get(HEADER_BYTES..).ok_or(Invalid::Short)?;
    match header.codec() {
        0 => Ok(Cow::Borrowed(body)),
        1 => read_all(flate2::read::MultiGzDecoder::new(body)).map(Cow::Owned),
        2 => snappy(body).map(Cow::Owned),
        3 => read_all(lz4_flex::frame::FrameDecoder::new(body)).map(Cow::Owned),
        4 => {
            let frame = ruzstd::decoding::StreamingDecoder::new(body).map_err(|_| Invalid::Decompress)?;
            read_all(frame).map(Cow::Owned)
        }
        unknown => Err(Invalid::Codec(unknown)),
    }
}

/// Calls `each` for every record, until it says stop by `false`.
pub(crate) fn for_each<'a>(
    body: &'a [u8],
    header: &Header,
    mut each: impl FnMut(Record<'a>) -> bool,
) -> Result<(), Invalid> {
    let mut rest = body;
    for _ in 0..header.records {
        let start = rest;
        let length = usize::try_from(varint(&mut rest)?).map_err(|_| Invalid::Records)?;
        let (mut fields, behind) = rest.split_at_checked(length).ok_or(Invalid::Records)?;
        rest = behind;
        let raw = start.get(..start.len() - rest.len()).ok_or(Invalid::Records)?;
        let (_attributes, after) = fields.split_first().ok_or(Invalid::Records)?;
        fields = after;
        let timestamp_delta = varint(&mut fields)?;
        let offset_delta = i32::try_from(varint(&mut fields)?).map_err(|_| Invalid::Records)?;
        let key = nullable(&mut fields)?;
        let value = nullable(&mut fields)?;
        let record = Record {
            raw,
            offset_delta,
            timestamp_delta,
            key,
            is_tombstone: value.is_none(),
        };
        if !each(record) {
            return Ok(());
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(Invalid::Records) }
}

fn nullable<'a>(fields: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Invalid> {
    let length = varint(fields)?;
    if length < 0 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| Invalid::Records)?;
    let (bytes, behind) = fields.split_at_checked(length).ok_or(Invalid::Records)?;
    *fields = behind;
    Ok(Some(bytes))
}

/// A zigzag varint of up to 64 bits.
fn varint(bytes: &mut &[u8]) -> Result<i64, Invalid> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = bytes.split_first().ok_or(Invalid::Records)?;
        *bytes = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            let sign = (value & 1).wrapping_neg();
            return Ok(((value >> 1) ^ sign).cast_signed());
        }
    }
    Err(Invalid::Records)
}

fn read_all(from: impl Read) -> Result<Vec<u8>, Invalid> {
    let mut out = Vec::new();
    let limit = u64::try_from(MAX_BODY_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    from.take(limit)
        .read_to_end(&mut out)
        .map_err(|_| Invalid::Decompress)?;
    if out.len() > MAX_BODY_BYTES {
        return Err(Invalid::Decompress);
    }
    Ok(out)
}

/// Plain snappy, as librdkafka writes it, or the framing of Java's snappy library.
fn snappy(body: &[u8]) -> Result<Vec<u8>, Invalid> {
    const JAVA: &[u8] = b"\x82SNAPPY\0";
    let Some(rest) = body.strip_prefix(JAVA) else {
        return snappy_block(body, MAX_BODY_BYTES);
    };
    // Two version numbers, then blocks with their lengths.
    let mut rest = rest.get(8..).ok_or(Invalid::Decompress)?;
    let mut out = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Invalid::Decompress)?;
        let (block, behind) = behind.split_at_checked(length).ok_or(Invalid::Decompress)?;
        out.extend(snappy_block(block, MAX_BODY_BYTES - out.len())?);
        rest = behind;
    }
    if rest.is_empty() {
        Ok(out)
    } else {
        Err(Invalid::Decompress)
    }
}

fn snappy_block(block: &[u8], limit: usize) -> Result<Vec<u8>, Invalid> {
    let expanded = snap::raw::decompress_len(block).map_err(|_| Invalid::Decompress)?;
    if expanded > limit {
        return Err(Invalid::Decompress);
    }
    snap::raw::Decoder::new()
        .decompress_vec(block)
        .map_err(|_| Invalid::Decompress)
}
