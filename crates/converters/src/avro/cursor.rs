//! Avro's binary encoding, token by token.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use klamm_connect_api::{DataError, DataErrorKind};

use crate::failure::Failure;
use crate::json_text::Part;

/// Values inside each other, at most.
const MAX_DEPTH: usize = 250;
/// Values that a payload may hold for each of its bytes, and in any case: types that take no bytes, such as records
/// without fields, would else let a few bytes stand for values without end.
const VALUES_PER_BYTE: usize = 16;
const VALUES: usize = 100_000;

/// A place in a payload.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    depth: usize,
    deepest: usize,
    values_left: usize,
}

/// How many items of an array or map are left in its blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    left: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self {
            rest: payload,
            depth: 0,
            deepest: 0,
            values_left: payload.len().saturating_mul(VALUES_PER_BYTE).saturating_add(VALUES),
        }
    }

    /// Counts a value that has others inside it. Every call is followed by one of [`Cursor::leave`].
    #[inline]
    pub(super) fn enter(&mut self) -> Result<(), Failure> {
        self.depth = self.depth.saturating_add(1);
        self.deepest = self.deepest.max(self.depth);
        if self.depth > MAX_DEPTH {
            return Err(too_deep());
        }
        self.count_value()
    }

    #[inline]
    fn count_value(&mut self) -> Result<(), Failure> {
        let left = self.values_left.checked_sub(1);
        self.values_left = left.ok_or_else(|| malformed("more values than the bytes can stand for"))?;
        Ok(())
    }

    #[inline]
    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// How deep values were inside each other so far.
    pub(super) fn deepest(&self) -> usize {
        self.deepest
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Failure> {
        let (byte, rest) = self.rest.split_first().ok_or_else(truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    pub(super) fn boolean(&mut self) -> Result<bool, Failure> {
        Ok(self.byte()? == 1)
    }

    #[inline]
    pub(super) fn int(&mut self) -> Result<i32, Failure> {
        let number = self.varint(5)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "five bytes hold three bits more than an int; Avro drops them"
        )]
        let number = number as u32;
        Ok((number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg())
    }

    #[inline(always)]
    pub(super) fn long(&mut self) -> Result<i64, Failure> {
        let number = self.varint(10)?;
        Ok((number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg())
    }

    #[inline(always)]
    fn varint(&mut self, max_bytes: u32) -> Result<u64, Failure> {
        match self.rest.split_first() {
            Some((byte, rest)) if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(max_bytes),
        }
    }

    fn long_varint(&mut self, max_bytes: u32) -> Result<u64, Failure> {
        let mut number = 0;
        for index in 0..max_bytes {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).wrapping_shl(index.saturating_mul(7));
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(malformed("a number that goes on for more bytes than its type has"))
    }

    #[inline]
    pub(super) fn float(&mut self) -> Result<f32, Failure> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(truncated)?;
        self.rest = rest;
        Ok(f32::from_le_bytes(*bytes))
    }

    #[inline]
    pub(super) fn double(&mut self) -> Result<f64, Failure> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(truncated)?;
        self.rest = rest;
        Ok(f64::from_le_bytes(*bytes))
    }

    /// Bytes behind their length.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Failure> {
        let length = self.length()?;
        self.take(length)
    }

    /// The same, in their place.
    #[inline(always)]
    pub(super) fn part(&mut self) -> Result<Part<'a>, Failure> {
        let length = self.length()?;
        let part = Part::of(self.rest, length).ok_or_else(truncated)?;
        self.rest = self.rest.get(length..).unwrap_or_default();
        Ok(part)
    }

    #[inline(always)]
    fn length(&mut self) -> Result<usize, Failure> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| malformed("a negative length"))
    }

    /// Bytes of a fixed, of which none may be there: then it counts, as a record of them alone takes no bytes.
    #[inline]
    pub(super) fn fixed(&mut self, length: usize) -> Result<&'a [u8], Failure> {
        if length == 0 {
            self.count_value()?;
        }
        self.take(length)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Failure> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The position of an enum's symbol or a union's branch among `count`.
    #[inline(always)]
    pub(super) fn index(&mut self, count: usize, what: &str) -> Result<usize, Failure> {
        let index = self.long()?;
        usize::try_from(index)
            .ok()
            .filter(|index| *index < count)
            .ok_or_else(|| no_such(what, index, count))
    }

    /// Whether the array or map has another item. Blocks may say how many bytes they have, which is not needed.
    #[inline]
    pub(super) fn next_item(&mut self, blocks: &mut Blocks) -> Result<bool, Failure> {
        if blocks.left == 0 {
            let count = self.long()?;
            if count < 0 {
                self.long()?;
            }
            blocks.left = count.unsigned_abs();
            if count == 0 {
                return Ok(false);
            }
        }
        blocks.left = blocks.left.saturating_sub(1);
        // Items may take no bytes at all: null, or a fixed of none.
        self.count_value()?;
        Ok(true)
    }
}

#[cold]
fn too_deep() -> Failure {
    DataError::data(format!("the value is nested more than {MAX_DEPTH} levels deep")).into()
}

#[cold]
fn no_such(what: &str, index: i64, count: usize) -> Failure {
    malformed(&format!("{what} {index} of {count}"))
}

#[cold]
fn truncated() -> Failure {
    malformed("the bytes end before the value does")
}

#[cold]
fn malformed(what: &str) -> Failure {
    DataError::new(
        DataErrorKind::Serialization,
        format!("the bytes are no Avro data of this schema: {what}"),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_zigzag() {
        let cases: [(&[u8], i64); 6] = [
            (&[0], 0),
            (&[1], -1),
            (&[2], 1),
            (&[0x80, 0x01], 64),
            (&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], i64::MAX),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], i64::MIN),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(Cursor::new(bytes).long(), Ok(wanted));
        }
        assert_eq!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).int(), Ok(i32::MIN));
        assert!(Cursor::new(&[0xff; 5]).int().is_err());
        assert!(Cursor::new(&[0xff; 10]).long().is_err());
        assert!(Cursor::new(&[0x80]).long().is_err());
    }

    #[test]
    fn items_that_take_no_bytes_come_to_an_end() {
        let mut cursor = Cursor::new(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        let mut blocks = Blocks::default();
        let mut items = 0_usize;
        while let Ok(has_item) = cursor.next_item(&mut blocks) {
            assert!(has_item);
            items = items.saturating_add(1);
        }
        assert_eq!(items, VALUES + 9 * VALUES_PER_BYTE);
    }

    #[test]
    fn lengths_beyond_the_end_reserve_nothing() {
        for bytes in [
            &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0][..],
            &[1],
            &[4, 0],
        ] {
            assert!(Cursor::new(bytes).bytes().is_err());
        }
    }
}
