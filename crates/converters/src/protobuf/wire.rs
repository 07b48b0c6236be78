//! Protobuf's wire format, token by token.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use klamm_connect_api::{DataError, DataErrorKind};

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

    pub(super) fn of(self, payload: &[u8]) -> &[u8] {
        payload
            .get((self.0 >> 32) as usize..(self.0 & 0xffff_ffff) as usize)
            .unwrap_or_default()
    }
}

/// A place in a part of a payload.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    /// Where `rest` ends in the payload.
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(payload: &'a [u8], span: Span) -> Self {
        Self {
            rest: span.of(payload),
            end: (span.0 & 0xffff_ffff) as usize,
        }
    }

    pub(super) fn over(payload: &'a [u8]) -> Self {
        Self {
            rest: payload,
            end: payload.len(),
        }
    }

    pub(super) fn remaining(&self) -> Span {
        Span::new(self.position(), self.end)
    }

    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    fn position(&self) -> usize {
        self.end.saturating_sub(self.rest.len())
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        match self.rest.split_first() {
            Some((byte, rest)) if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    /// Of the tenth byte only one bit has room; the others are dropped, as all readers do.
    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut number = 0_u64;
        for index in 0..10_u32 {
            let (byte, rest) = self.rest.split_first().ok_or(Fault::Truncated)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f).wrapping_shl(index.saturating_mul(7));
            if *byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Fault::LongNumber)
    }

    #[inline]
    pub(super) fn fixed32(&mut self) -> Result<u32, Fault> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    #[inline]
    pub(super) fn fixed64(&mut self) -> Result<u64, Fault> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// The bytes behind their length.
    #[inline]
    pub(super) fn length(&mut self) -> Result<Span, Fault> {
        let length = usize::try_from(self.varint()?).map_err(|_| Fault::Truncated)?;
        let rest = self.rest.get(length..).ok_or(Fault::Truncated)?;
        let start = self.position();
        self.rest = rest;
        Ok(Span::new(start, self.position()))
    }

    /// The number of the next field, and how it is written.
    #[inline]
    pub(super) fn tag(&mut self) -> Result<(u32, Wire), Fault> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a tag has 32 bits, the others are dropped"
        )]
        let tag = self.varint()? as u32;
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
        let start = self.position();
        loop {
            let end = self.position();
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
