/// Eight bytes of 1.
const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES << 7;

/// Length of the part before the first byte that cannot stand in a JSON string as it is: a quote, a backslash or a
/// control character.
#[must_use]
#[inline]
pub fn plain_prefix(bytes: &[u8]) -> usize {
    // Eight bytes in a number rather than a vector of them: most strings end in their first ones, and what is found in a
    // vector takes long to come out of it.
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

    /// Every byte in every place, alone and before another one that is found.
    #[test]
    fn the_first_byte_that_must_be_escaped_is_found() {
        for length in [0, 1, 7, 8, 9, 15, 16, 17, 40] {
            let mut text = vec![b'a'; length];
            assert_eq!(plain_prefix(&text), length);
            for place in 0..length {
                for byte in 0..=u8::MAX {
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
}
