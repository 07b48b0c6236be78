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
        1 => read_all("gzip", flate2::read::MultiGzDecoder::new(body.as_ref()), body.len()),
        2 => snappy(body),
        3 => lz4(body),
        4 => zstd(body),
        unknown => Err(DecodeReason::Codec(unknown)),
    }
}

fn damaged(codec: &'static str, err: &dyn std::fmt::Display) -> DecodeReason {
    DecodeReason::Decompress {
        codec,
        detail: err.to_string(),
    }
}

/// All that `from` holds behind what `out` holds, which is bounded together.
fn read_bounded(codec: &'static str, from: impl Read, out: &mut Vec<u8>) -> Result<(), DecodeReason> {
    let room = MAX_BATCH_BYTES.saturating_add(1).saturating_sub(out.len());
    from.take(u64::try_from(room).unwrap_or(u64::MAX))
        .read_to_end(out)
        .map_err(|err| damaged(codec, &err))?;
    if out.len() > MAX_BATCH_BYTES {
        return Err(DecodeReason::TooLarge { codec });
    }
    Ok(())
}

/// All that `from` holds.
fn read_all(codec: &'static str, from: impl Read, compressed: usize) -> Result<Bytes, DecodeReason> {
    let mut out = with_room(compressed);
    read_bounded(codec, from, &mut out)?;
    Ok(Bytes::from(out))
}

fn with_room(compressed: usize) -> Vec<u8> {
    Vec::with_capacity(compressed.saturating_mul(4).min(1024 * 1024))
}

/// One frame after the other, as all of them together are the records.
fn zstd(body: &[u8]) -> Result<Bytes, DecodeReason> {
    let mut rest = body;
    let mut out = with_room(body.len());
    loop {
        // The decoder keeps a whole window to itself before it hands out a byte.
        if zstd_window(rest).is_some_and(|window| window > MAX_BATCH_BYTES as u64) {
            return Err(DecodeReason::TooLarge { codec: "zstd" });
        }
        let frame = ruzstd::decoding::StreamingDecoder::new(&mut rest).map_err(|err| damaged("zstd", &err))?;
        read_bounded("zstd", frame, &mut out)?;
        if rest.is_empty() {
            return Ok(Bytes::from(out));
        }
    }
}

/// The frames that Kafka's producers write, block by block into place; any other goes through the general decoder.
fn lz4(body: &Bytes) -> Result<Bytes, DecodeReason> {
    let blocks = lz4_blocks(body);
    let room = blocks
        .as_ref()
        .and_then(|(blocks, block_bytes)| blocks.len().checked_mul(*block_bytes));
    let (Some((blocks, block_bytes)), Some(room @ ..=MAX_BATCH_BYTES)) = (blocks, room) else {
        return read_all("lz4", lz4_flex::frame::FrameDecoder::new(body.as_ref()), body.len());
    };
    let mut out = vec![0; room];
    let mut end = 0_usize;
    for block in blocks {
        let target = out.get_mut(end..end.saturating_add(block_bytes)).unwrap_or_default();
        let written = match block {
            Lz4Block::Compressed(bytes) => {
                lz4_flex::block::decompress_into(bytes, target).map_err(|err| damaged("lz4", &err))?
            }
            Lz4Block::Plain(bytes) => {
                let target = target.get_mut(..bytes.len());
                let target = target.ok_or_else(|| damaged("lz4", &"a block is larger than the frame allows"))?;
                target.copy_from_slice(bytes);
                bytes.len()
            }
        };
        end = end.saturating_add(written);
    }
    // Records keep the whole of it alive, so what was not needed goes back.
    out.truncate(end);
    out.shrink_to_fit();
    Ok(Bytes::from(out))
}

enum Lz4Block<'a> {
    Compressed(&'a [u8]),
    Plain(&'a [u8]),
}

/// The blocks of a frame and the most that each expands to; `None` for frames with linked blocks, checksums beside that
/// of the header (the batch has its own), sizes or dictionaries, for several frames, and for damaged ones.
fn lz4_blocks(frame: &[u8]) -> Option<(Vec<Lz4Block<'_>>, usize)> {
    const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
    const VERSION_1_INDEPENDENT: u8 = 0b0110_0000;
    let [m0, m1, m2, m3, VERSION_1_INDEPENDENT, size, _checksum] = be(frame, 0)? else {
        return None;
    };
    let block_bytes = match size >> 4 & 0b111 {
        size @ 4..=7 if [m0, m1, m2, m3] == MAGIC => {
            1_usize.wrapping_shl(u32::from(size).wrapping_mul(2).wrapping_add(8))
        }
        _ => return None,
    };
    let mut blocks = Vec::new();
    let mut rest = frame.get(7..)?;
    loop {
        const IS_PLAIN: u32 = 1 << 31;
        let header = u32::from_le_bytes(be(rest, 0)?);
        if header == 0 {
            return (rest.len() == 4).then_some((blocks, block_bytes));
        }
        let length = usize::try_from(header & !IS_PLAIN).ok()?;
        let (block, behind) = rest.get(4..)?.split_at_checked(length)?;
        blocks.push(if header & IS_PLAIN == 0 {
            Lz4Block::Compressed(block)
        } else {
            Lz4Block::Plain(block)
        });
        rest = behind;
    }
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
