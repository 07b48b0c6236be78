//! Which message of its schema a record holds: positions among the file's messages, then among those inside.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use bytes::{Buf as _, Bytes};
use klamm_connect_api::{DataError, DataErrorKind};
use smallvec::{SmallVec, smallvec};

/// Messages inside each other, at most: more than any schema has.
const MAX_PATH: usize = 64;

pub(super) type Path = SmallVec<[usize; 4]>;

/// Takes the path off the front of `bytes`: how many positions, and each of them, as zigzag numbers. No position at
/// all stands for the first message.
pub(super) fn take(bytes: &mut Bytes) -> Result<Path, DataError> {
    let count = number(bytes)?;
    if count == 0 {
        return Ok(smallvec![0]);
    }
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= MAX_PATH)
        .ok_or_else(|| malformed(format!("it begins with {count} message indexes")))?;
    let mut path = Path::new();
    for _ in 0..count {
        let position = number(bytes)?;
        let position = usize::try_from(position).map_err(|_| malformed(format!("a message index is {position}")))?;
        path.push(position);
    }
    Ok(path)
}

/// Takes AWS's index of a message off the front of `bytes`.
pub(super) fn take_glue(bytes: &mut Bytes) -> Result<usize, DataError> {
    let index = varint(bytes)?;
    usize::try_from(index).map_err(|_| malformed(format!("its message index is {index}")))
}

fn number(bytes: &mut Bytes) -> Result<i32, DataError> {
    let number = varint(bytes)?;
    Ok((number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg())
}

fn varint(bytes: &mut Bytes) -> Result<u32, DataError> {
    let mut number = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        if !bytes.has_remaining() {
            return Err(malformed("it ends within its message indexes".to_owned()));
        }
        let byte = bytes.get_u8();
        number |= u32::from(byte & 0x7f).wrapping_shl(shift);
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(malformed("a message index of more than five bytes".to_owned()))
}

fn malformed(what: String) -> DataError {
    DataError::new(
        DataErrorKind::Serialization,
        format!("the record does not say which Protobuf message it holds: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes, path, what is left, why.
    type Case = (&'static [u8], &'static [usize], &'static [u8], &'static str);

    #[test]
    fn paths_are_zigzag_numbers_after_their_count() {
        let cases: [Case; 5] = [
            (&[0, 9], &[0], &[9], "the short form of the first message"),
            (&[2, 0, 9], &[0], &[9], "its long form"),
            (&[4, 2, 4, 9], &[1, 2], &[9], "a message inside another one"),
            (&[2, 0x80, 0x02], &[128], &[], "two bytes"),
            (&[0x80, 0x00], &[0], &[], "a number may be longer than it has to"),
        ];
        for (bytes, path, rest, why) in cases {
            let mut bytes = Bytes::from_static(bytes);
            assert_eq!(take(&mut bytes).unwrap().as_slice(), path, "{why}");
            assert_eq!(bytes.as_ref(), rest, "{why}");
        }
    }

    #[test]
    fn other_paths_are_refused() {
        let cases: [(&'static [u8], &str); 6] = [
            (&[], "ends within"),
            (&[4, 0], "ends within"),
            (&[1], "begins with -1 message indexes"),
            (&[2, 1], "a message index is -1"),
            (
                &[0xfe, 0xff, 0xff, 0xff, 0x0f],
                "begins with 2147483647 message indexes",
            ),
            (&[0xff; 8], "more than five bytes"),
        ];
        for (bytes, wanted) in cases {
            let error = take(&mut Bytes::from_static(bytes)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
