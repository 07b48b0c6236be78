//! A reader over bytes that cannot run over the end.

use super::DecodeReason;

/// Position in a slice. Every read checks the end; on an error the position is undefined.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Read<T> = Result<T, DecodeReason>;

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Read<u8> {
        let byte = *self.bytes.get(self.at).ok_or(END)?;
        self.at = self.at.wrapping_add(1);
        Ok(byte)
    }

    /// Zigzag varint of at most 32 bits.
    #[inline]
    pub(super) fn varint(&mut self) -> Read<i32> {
        // One byte is the rule: lengths below 64 and small deltas.
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(zigzag32(u32::from(first)));
        }
        let mut value = u32::from(first & 0x7f);
        for shift in [7_u32, 14, 21, 28] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(zigzag32(value));
            }
        }
        Err(DecodeReason::Malformed("a varint is longer than five bytes"))
    }

    /// Zigzag varint of at most 64 bits.
    #[inline]
    pub(super) fn varlong(&mut self) -> Read<i64> {
        let mut value = 0_u64;
        for shift in [0_u32, 7, 14, 21, 28, 35, 42, 49, 56, 63] {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg());
            }
        }
        Err(DecodeReason::Malformed("a varint is longer than ten bytes"))
    }

    /// The range of the next `length` bytes, which exist.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Read<std::ops::Range<usize>> {
        let end = self
            .at
            .checked_add(length)
            .filter(|end| *end <= self.bytes.len())
            .ok_or(END)?;
        let start = std::mem::replace(&mut self.at, end);
        Ok(start..end)
    }

    /// A length-prefixed range; a negative length is null.
    #[inline]
    pub(super) fn nullable(&mut self) -> Read<Option<std::ops::Range<usize>>> {
        match usize::try_from(self.varint()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }
}

const END: DecodeReason = DecodeReason::Malformed("a record ends beyond its batch");

#[inline]
fn zigzag32(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

/// Big-endian numbers at fixed places of a header whose length was checked.
pub(super) fn be<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}
