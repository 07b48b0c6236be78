/// Eight bytes of 1.
const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES << 7;

/// Bytes of a long text that are looked at together.
const BLOCK: usize = 64;

/// Length of the part before the first byte that cannot stand in a JSON string as it is: a quote, a backslash or a
/// control character.
#[must_use]
#[inline]
pub fn plain_prefix(bytes: &[u8]) -> usize {
    match bytes.split_first_chunk::<32>() {
        None => plain_words(bytes),
        Some((first, rest)) => match plain_words(first) {
            32 => 32 + long_plain_prefix(rest),
            found => found,
        },
    }
}

/// The same for what follows in a long text: by vectors, which the compiler makes of comparing all bytes of a block.
#[inline(never)]
fn long_plain_prefix(bytes: &[u8]) -> usize {
    let must_escape = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let is_plain = |block: &&[u8; BLOCK]| !block.iter().fold(false, |found, byte| found | must_escape(byte));
    let plain = blocks.iter().take_while(is_plain).count() * BLOCK;
    plain + plain_words(bytes.get(plain..).unwrap_or_default())
}

/// The same by words of eight bytes rather than vectors: most strings end in their first ones, and what is found in a
/// vector takes long to come out of it.
#[inline]
fn plain_words(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = must_escape(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let mut last = [b' '; 8];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    let found = must_escape(u64::from_le_bytes(last));
    words.len() * 8 + tail.len().min((found.trailing_zeros() / 8) as usize)
}

/// The high bit of each byte that must be escaped. One after the first of them may be wrong.
#[inline]
fn must_escape(word: u64) -> u64 {
    let (quotes, backslashes) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
    let found = (word.wrapping_sub(ONES * 0x20) & !word)
        | (quotes.wrapping_sub(ONES) & !quotes)
        | (backslashes.wrapping_sub(ONES) & !backslashes);
    found & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts each byte in every place, alone and before another one that is found.
    fn check(lengths: &[usize], bytes: impl Iterator<Item = u8> + Clone) {
        for &length in lengths {
            let mut text = vec![b'a'; length];
            assert_eq!(plain_prefix(&text), length);
            for place in 0..length {
                for byte in bytes.clone() {
                    for after in [b'a', b'"'] {
                        text.fill(b'a');
                        text[place] = byte;
                        if let Some(next) = text.get_mut(place + 1) {
                            *next = after;
                        }
                        let is_escaped = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
                        let first = text.iter().position(is_escaped).unwrap_or(length);
                        assert_eq!(plain_prefix(&text), first, "{text:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_byte_that_must_be_escaped_is_found() {
        check(&[0, 1, 7, 8, 9, 15, 16, 17, 40], 0..=u8::MAX);
    }

    #[test]
    fn it_is_found_in_long_texts() {
        let bytes = *b"\x00\x1f\x20\x21\"#[\\]\x7f\x80\x9f\xa2\xdc\xff";
        check(&[31, 32, 33, 95, 96, 97, 159, 160, 161, 170], bytes.into_iter());
    }
}
