//! Protobuf's wire format, token by token.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use klamm_connect_api::{DataError, DataErrorKind};

use crate::failure::Failure;
use crate::json_text::Part;

/// Why bytes are no Protobuf. It fits a register, which the functions below are called too often to do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Truncated,
    LongNumber,
    NoField,
    NoWireType,
    NoGroup,
    OtherGroup,
    TooDeep,
}

impl From<Fault> for Failure {
    #[cold]
    fn from(fault: Fault) -> Self {
        DataError::from(fault).into()
    }
}

impl From<Fault> for DataError {
    #[cold]
    fn from(fault: Fault) -> Self {
        malformed(match fault {
            Fault::Truncated => "the bytes end before the value does",
            Fault::LongNumber => "a number of more than ten bytes",
            Fault::NoField => "a field of number 0",
            Fault::NoWireType => "a field of a wire type that does not exist",
            Fault::NoGroup => "the end of a group that has not begun",
            Fault::OtherGroup => "the end of another group than the one that has begun",
            Fault::TooDeep => "messages are nested more than 100 levels deep",
        })
    }
}

/// Messages and groups inside each other, at most: the bound of Protobuf's own readers, the record's message aside.
pub(super) const MAX_DEPTH: usize = 100;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Varint,
    Fixed64,
    Length,
    Group,
    EndGroup,
    Fixed32,
}

impl Wire {
    /// A field of that number, written this way, as it stands in front of its value.
    pub(super) fn tag(self, number: u32) -> u32 {
        let wire = match self {
            Self::Varint => 0,
            Self::Fixed64 => 1,
            Self::Length => 2,
            Self::Group => 3,
            Self::EndGroup => 4,
            Self::Fixed32 => 5,
        };
        number.wrapping_shl(3) | wire
    }
}

/// A part of a payload of less than 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(u64);

impl Span {
    fn new(start: usize, end: usize) -> Self {
        Self((start as u64) << 32 | (end as u64 & 0xffff_ffff))
    }

    /// A span as the raw value of a field.
    pub(super) fn raw(self) -> u64 {
        self.0
    }

    pub(super) fn of_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Where it begins and ends.
    #[inline]
    fn ends(self) -> (usize, usize) {
        ((self.0 >> 32) as usize, (self.0 & 0xffff_ffff) as usize)
    }

    #[inline]
    pub(super) fn of(self, payload: &[u8]) -> &[u8] {
        let (start, end) = self.ends();
        payload.get(start..end).unwrap_or_default()
    }

    /// The same, in its place.
    #[inline]
    pub(super) fn part(self, payload: &[u8]) -> Part<'_> {
        let (start, end) = self.ends();
        let from_start = payload.get(start..).unwrap_or_default();
        Part::of(from_start, end.saturating_sub(start)).unwrap_or_default()
    }
}

/// A place in a part of a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    payload: &'a [u8],
    at: usize,
    /// Where the part ends; never beyond the payload.
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(payload: &'a [u8], span: Span) -> Self {
        let (start, end) = span.ends();
        Self {
            payload,
            at: start,
            end: end.min(payload.len()),
        }
    }

    pub(super) fn over(payload: &'a [u8]) -> Self {
        Self {
            payload,
            at: 0,
            end: payload.len(),
        }
    }

    pub(super) fn remaining(&self) -> Span {
        Span::new(self.at, self.end)
    }

    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// Goes past `count` bytes, if there are so many; where they begin.
    #[inline]
    fn advance(&mut self, count: usize) -> Result<usize, Fault> {
        let start = self.at;
        if count > self.end.saturating_sub(start) {
            return Err(Fault::Truncated);
        }
        self.at = start.saturating_add(count);
        Ok(start)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        let at = self.advance(1)?;
        self.payload.get(at).copied().ok_or(Fault::Truncated)
    }

    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        match self.payload.get(self.at) {
            Some(byte) if *byte < 0x80 && self.at < self.end => {
                self.at = self.at.saturating_add(1);
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    /// Of the tenth byte only one bit has room; the others are dropped, as all readers do.
    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut number = 0_u64;
        for index in 0..10_u32 {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).wrapping_shl(index.saturating_mul(7));
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Fault::LongNumber)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let start = self.advance(N)?;
        let rest = self.payload.get(start..).unwrap_or_default();
        rest.first_chunk().copied().ok_or(Fault::Truncated)
    }

    #[inline]
    pub(super) fn fixed32(&mut self) -> Result<u32, Fault> {
        self.chunk().map(u32::from_le_bytes)
    }

    #[inline]
    pub(super) fn fixed64(&mut self) -> Result<u64, Fault> {
        self.chunk().map(u64::from_le_bytes)
    }

    /// The bytes behind their length.
    #[inline]
    pub(super) fn length(&mut self) -> Result<Span, Fault> {
        let length = usize::try_from(self.varint()?).map_err(|_| Fault::Truncated)?;
        let start = self.advance(length)?;
        Ok(Span::new(start, self.at))
    }

    /// The number of the next field and how it is written, as they stand there.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a tag has 32 bits, the others are dropped"
    )]
    pub(super) fn raw_tag(&mut self) -> Result<u32, Fault> {
        self.varint().map(|tag| tag as u32)
    }

    /// The number of the next field, and how it is written.
    #[inline]
    pub(super) fn tag(&mut self) -> Result<(u32, Wire), Fault> {
        let tag = self.raw_tag()?;
        let wire = match tag & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Length,
            3 => Wire::Group,
            4 => Wire::EndGroup,
            5 => Wire::Fixed32,
            _ => return Err(Fault::NoWireType),
        };
        match tag >> 3 {
            0 => Err(Fault::NoField),
            number => Ok((number, wire)),
        }
    }

    /// Goes past a value; `depth` counts what it is inside of.
    pub(super) fn skip(&mut self, number: u32, wire: Wire, depth: usize) -> Result<(), Fault> {
        match wire {
            Wire::Varint => self.varint().map(drop),
            Wire::Fixed64 => self.fixed64().map(drop),
            Wire::Fixed32 => self.fixed32().map(drop),
            Wire::Length => self.length().map(drop),
            Wire::Group => self.group(number, depth).map(drop),
            Wire::EndGroup => Err(Fault::NoGroup),
        }
    }

    /// What stands between a group's two ends.
    pub(super) fn group(&mut self, number: u32, depth: usize) -> Result<Span, Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        let start = self.at;
        loop {
            let end = self.at;
            let (inner, wire) = self.tag()?;
            match wire {
                Wire::EndGroup if inner == number => return Ok(Span::new(start, end)),
                Wire::EndGroup => return Err(Fault::OtherGroup),
                _ => self.skip(inner, wire, depth.saturating_add(1))?,
            }
        }
    }
}

#[cold]
pub(super) fn malformed(what: &str) -> DataError {
    DataError::new(
        DataErrorKind::Serialization,
        format!("the bytes are no Protobuf message of this type: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_to_their_last_bit() {
        let cases: [(&[u8], Option<u64>); 7] = [
            (&[0], Some(0)),
            (&[0xac, 0x02], Some(300)),
            (&[0x80, 0x00], Some(0)),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                Some(u64::MAX),
            ),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
                Some(u64::MAX),
            ),
            (&[0xff; 11], None),
            (&[0x80], None),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(Cursor::over(bytes).varint().ok(), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_skipped_is_checked() {
        let group = |levels: usize| [vec![0x0b; levels], vec![0x0c; levels]].concat();
        let cases: [(Vec<u8>, &str); 9] = [
            (
                vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                "end before",
            ),
            (vec![0x0a, 2, 0], "end before"),
            (vec![0x0b, 0x08, 1], "end before"),
            (vec![0x0b, 0x14], "end of another group"),
            (vec![0x0c], "has not begun"),
            (vec![0x0e], "wire type that does not exist"),
            (vec![0x02], "number 0"),
            (vec![0x09, 0, 0], "end before"),
            (group(101), "nested more than 100"),
        ];
        for (bytes, wanted) in cases {
            let mut cursor = Cursor::over(&bytes);
            let error = cursor
                .tag()
                .and_then(|(number, wire)| cursor.skip(number, wire, 1))
                .unwrap_err();
            let error = DataError::from(error).to_string();
            assert!(error.contains(wanted), "{bytes:?}: {error}");
        }
        let bytes = group(100);
        let mut cursor = Cursor::over(&bytes);
        let (number, wire) = cursor.tag().unwrap();
        assert_eq!(cursor.skip(number, wire, 1), Ok(()));
        assert!(cursor.is_done());
    }
}
