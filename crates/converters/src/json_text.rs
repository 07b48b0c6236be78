//! Pieces of JSON text that are appended for every field of a record, in blocks of fixed size: a copy whose length the
//! compiler knows is a few instructions, any other is a call.

use std::cell::Cell;

use klamm_connect_api::DataError;

/// Bytes that are read, compared and written at once.
const BLOCK: usize = 16;
/// Bytes of a [`Literal`] that are copied as one.
const HEAD: usize = 32;

/// Text that a schema settles, such as `,"name":`.
#[derive(Debug)]
pub(crate) struct Literal {
    head: [u8; HEAD],
    /// Bytes of the head that are not text.
    padding: usize,
    /// What the head has no room for.
    tail: Box<[u8]>,
}

impl Literal {
    pub(crate) fn new(text: &[u8]) -> Self {
        let (start, tail) = text.split_at(text.len().min(HEAD));
        let mut head = [0; HEAD];
        for (to, from) in head.iter_mut().zip(start) {
            *to = *from;
        }
        Self {
            head,
            padding: HEAD - start.len(),
            tail: tail.into(),
        }
    }

    /// Appends the text.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.truncate(out.len() - self.padding);
        if !self.tail.is_empty() {
            out.extend_from_slice(&self.tail);
        }
    }
}

/// A part of a payload, with what follows it there: so it can be read in whole blocks.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Part<'a> {
    from_start: &'a [u8],
    length: usize,
}

impl<'a> Part<'a> {
    /// The first `length` bytes, if there are so many.
    #[inline]
    pub(crate) fn of(from_start: &'a [u8], length: usize) -> Option<Self> {
        (length <= from_start.len()).then_some(Self { from_start, length })
    }

    #[inline]
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.from_start.get(..self.length).unwrap_or_default()
    }

    /// Appends the bytes as a JSON string if that takes no more than quotes around them: if they are ASCII and none has
    /// to be escaped. If not, nothing is appended. A part at the very end of its payload counts as one that is not.
    #[inline]
    pub(crate) fn write_plain(self, out: &mut Vec<u8>) -> bool {
        let (blocks, _) = self.from_start.as_chunks::<BLOCK>();
        let Some((full, last)) = blocks.get(..self.length / BLOCK).zip(blocks.get(self.length / BLOCK)) else {
            return false;
        };
        let start = out.len();
        out.push(b'"');
        let mut special = [0_u8; BLOCK];
        for block in full {
            out.extend_from_slice(block);
            for (special, byte) in special.iter_mut().zip(block) {
                *special |= is_special(*byte);
            }
        }
        out.extend_from_slice(last);
        let counts = first_ones(self.length % BLOCK);
        for ((special, byte), counts) in special.iter_mut().zip(last).zip(counts) {
            *special |= is_special(*byte) & counts;
        }
        let is_plain = u128::from_ne_bytes(special) == 0;
        if is_plain {
            out.truncate(start + 1 + self.length);
            out.push(b'"');
        } else {
            out.truncate(start);
        }
        is_plain
    }
}

/// All bits, if a byte is no ASCII or cannot stand in a JSON string as it is.
#[inline]
fn is_special(byte: u8) -> u8 {
    // Bytes that are no ASCII are negative, so that one comparison finds them and the control characters.
    if (byte.cast_signed() < 0x20) | (byte == b'"') | (byte == b'\\') {
        0xff
    } else {
        0
    }
}

/// All bits of the first `count` bytes of a block.
#[inline]
fn first_ones(count: usize) -> &'static [u8; BLOCK] {
    static ONES_AND_ZEROS: [u8; 2 * BLOCK] = {
        let mut bytes = [0; 2 * BLOCK];
        let mut index = 0;
        while index < BLOCK {
            bytes[index] = 0xff;
            index += 1;
        }
        bytes
    };
    let from_here = ONES_AND_ZEROS
        .get(BLOCK.saturating_sub(count)..)
        .and_then(<[u8]>::first_chunk);
    from_here.unwrap_or(&[0; BLOCK])
}

/// Appends a whole number.
#[inline]
pub(crate) fn write_integer(number: i64, out: &mut Vec<u8>) {
    if let Ok(digit @ 0..10) = u8::try_from(number) {
        out.push(b'0' | digit);
        return;
    }
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `true` or `false`.
#[inline]
pub(crate) fn write_boolean(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true\0" } else { b"false" });
    out.truncate(out.len() - usize::from(value));
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::json;

    use super::*;

    #[test]
    fn literals_of_any_length_are_whole() {
        for length in [0, 1, 16, 31, 32, 33, 100] {
            let text: Vec<u8> = (b'0'..=b'z').cycle().take(length).collect();
            let mut out = b"before".to_vec();
            Literal::new(&text).write(&mut out);
            assert_eq!(out, [b"before".as_slice(), &text].concat());
        }
    }

    /// Every length around a block, with every byte in every place, and as much after it.
    #[test]
    fn what_is_plain_is_written_as_it_is_and_nothing_else_is() {
        for length in [0, 1, 7, 15, 16, 17, 31, 32, 33] {
            let plain = vec![b'a'; length];
            let mut payload = [plain.as_slice(), &[0xff; BLOCK]].concat();
            let mut out = b"x".to_vec();
            assert!(Part::of(&payload, length).unwrap().write_plain(&mut out));
            assert_eq!(out, [b"x\"".as_slice(), &plain, b"\""].concat());
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    payload[place] = byte;
                    let mut out = b"x".to_vec();
                    let written = Part::of(&payload, length).unwrap().write_plain(&mut out);
                    let is_plain = byte.is_ascii() && json::plain_prefix(&[byte]) == 1;
                    assert_eq!(written, is_plain, "{byte} at {place} of {length}");
                    assert_eq!(out.len(), if written { length + 3 } else { 1 });
                }
                payload[place] = b'a';
            }
        }
        assert!(Part::of(b"abc", 4).is_none());
        assert!(!Part::of(b"abc", 3).unwrap().write_plain(&mut Vec::new()));
    }

    #[test]
    fn numbers_and_booleans() {
        let mut out = Vec::new();
        for number in [0, 9, -1, 10, i64::MAX, i64::MIN] {
            write_integer(number, &mut out);
            out.push(b' ');
        }
        write_boolean(true, &mut out);
        write_boolean(false, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "0 9 -1 10 9223372036854775807 -9223372036854775808 truefalse"
        );
    }
}

/// What the branches of a schema's unions have around their values in JSON, which grows with the square of their number.
#[derive(Debug)]
pub(crate) struct UnionText {
    left: Cell<usize>,
}

/// Bytes of it that one schema may have.
const MAX_UNION_TEXT: usize = 16 * 1024 * 1024;

impl Default for UnionText {
    fn default() -> Self {
        Self {
            left: Cell::new(MAX_UNION_TEXT),
        }
    }
}

impl UnionText {
    /// Counts the bytes around the value of one more branch of `union`.
    pub(crate) fn take(&self, bytes: usize, union: &str) -> Result<(), DataError> {
        match self.left.get().checked_sub(bytes) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(DataError::data(format!(
                "the union `{union}` has too many branches: with those of the schema's other unions they take more than \
                 {MAX_UNION_TEXT} bytes of JSON around their values"
            ))),
        }
    }
}
