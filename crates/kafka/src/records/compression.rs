//! The codecs of record batches, each bounded.

use std::io::Read;

use bytes::Bytes;

use super::DecodeReason;
use super::cursor::be;

/// The most that one batch may expand to. Brokers accept batches of about 1 MB (`message.max.bytes`) by default, so
/// this is far beyond honest data and far below what a hostile batch could claim.
pub const MAX_BATCH_BYTES: usize = 128 * 1024 * 1024;

/// Expands `body` by the codec number of the batch's attributes.
pub(super) fn decompress(codec: i16, body: &Bytes) -> Result<Bytes, DecodeReason> {
    match codec {
        0 => Ok(body.clone()),
        1 => read_bounded("gzip", flate2::read::MultiGzDecoder::new(body.as_ref()), body.len()),
        2 => snappy(body),
        3 => read_bounded("lz4", lz4_flex::frame::FrameDecoder::new(body.as_ref()), body.len()),
        4 => {
            // The decoder keeps a whole window to itself before it hands out a byte.
            if zstd_window(body).is_some_and(|window| window > MAX_BATCH_BYTES as u64) {
                return Err(DecodeReason::TooLarge { codec: "zstd" });
            }
            let decoder =
                ruzstd::decoding::StreamingDecoder::new(body.as_ref()).map_err(|err| damaged("zstd", &err))?;
            read_bounded("zstd", decoder, body.len())
        }
        unknown => Err(DecodeReason::Codec(unknown)),
    }
}

fn damaged(codec: &'static str, err: &dyn std::fmt::Display) -> DecodeReason {
    DecodeReason::Decompress {
        codec,
        detail: err.to_string(),
    }
}

fn read_bounded(codec: &'static str, from: impl Read, compressed: usize) -> Result<Bytes, DecodeReason> {
    let limit = u64::try_from(MAX_BATCH_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut out = Vec::with_capacity(compressed.saturating_mul(4).min(1024 * 1024));
    from.take(limit)
        .read_to_end(&mut out)
        .map_err(|err| damaged(codec, &err))?;
    if out.len() > MAX_BATCH_BYTES {
        return Err(DecodeReason::TooLarge { codec });
    }
    Ok(Bytes::from(out))
}

/// Window size that a zstd frame asks for (RFC 8878, section 3.1.1.1); `None` if the header is cut off.
fn zstd_window(frame: &[u8]) -> Option<u64> {
    let descriptor = *frame.get(4)?;
    let is_single_segment = descriptor & 0b10_0000 != 0;
    if !is_single_segment {
        let [byte] = be(frame, 5)?;
        let base = 1_u64 << (10 + u32::from(byte >> 3));
        return base.checked_add((base >> 3).checked_mul(u64::from(byte & 0b111))?);
    }
    // The window is the content, whose size stands behind the dictionary's id.
    let at = match descriptor & 0b11 {
        0 => 5,
        1 => 6,
        2 => 7,
        _ => 9,
    };
    match descriptor >> 6 {
        0 => frame.get(at).map(|byte| u64::from(*byte)),
        1 => be(frame, at).map(|size| u64::from(u16::from_le_bytes(size)).saturating_add(256)),
        2 => be(frame, at).map(|size| u64::from(u32::from_le_bytes(size))),
        _ => be(frame, at).map(u64::from_le_bytes),
    }
}

/// Raw snappy as librdkafka and others write it, or the framing of snappy-java: a 16-byte header, then blocks with a
/// big-endian length in front.
fn snappy(body: &Bytes) -> Result<Bytes, DecodeReason> {
    const JAVA_MAGIC: &[u8] = b"\x82SNAPPY\0";
    if !body.starts_with(JAVA_MAGIC) {
        let mut out = Vec::new();
        snappy_block(body, &mut out)?;
        return Ok(Bytes::from(out));
    }
    let mut rest = body
        .get(16..)
        .ok_or(DecodeReason::Malformed("the header of framed snappy data is cut off"))?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let length = be(rest, 0)
            .map(u32::from_be_bytes)
            .and_then(|length| usize::try_from(length).ok());
        let block = length.and_then(|length| rest.get(4..)?.get(..length));
        let block = block.ok_or(DecodeReason::Malformed("a block of framed snappy data is cut off"))?;
        snappy_block(block, &mut out)?;
        rest = rest.get(block.len().saturating_add(4)..).unwrap_or_default();
    }
    Ok(Bytes::from(out))
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeReason> {
    let start = out.len();
    let length = snap::raw::decompress_len(block).map_err(|err| damaged("snappy", &err))?;
    // Snappy cannot expand beyond about 21 to 1; without this a few bytes could claim 4 GiB.
    if length > block.len().saturating_mul(64) {
        return Err(DecodeReason::Decompress {
            codec: "snappy",
            detail: format!("{} bytes claim to expand to {length}", block.len()),
        });
    }
    let end = start.checked_add(length).filter(|end| *end <= MAX_BATCH_BYTES);
    let end = end.ok_or(DecodeReason::TooLarge { codec: "snappy" })?;
    out.resize(end, 0);
    let target = out.get_mut(start..).unwrap_or_default();
    snap::raw::Decoder::new()
        .decompress(block, target)
        .map_err(|err| damaged("snappy", &err))?;
    Ok(())
}
