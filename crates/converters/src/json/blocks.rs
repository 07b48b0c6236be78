//! Checks JSON text in blocks of 64 bytes, with one bit for each byte, and hardly a branch for what stands in them.
//!
//! Which bytes are inside of strings follows from the quotes by a sum modulo two over all bits before. Of the rest, the
//! grammar is checked by what may follow what, for all tokens of a block at the same time: adding a mask of blanks (of
//! digits, of strings) to bits at their beginnings carries each bit to the first byte behind them. Only brackets are
//! looked at one by one, with all commas and colons between two of them at once. What goes on in the next block is a
//! carry of one bit.
//!
//! **Invariant:** what this accepts, [`Scanner`](super::scan::Scanner) accepts as strict JSON, to the last byte. What it
//! does not accept is for the scanner to judge: it knows what is wrong where, what Jackson takes beyond JSON, and rare
//! forms that are left out here (a value that is no object or array, more than 63 levels, numbers that fill a block).
#![warn(clippy::indexing_slicing)]

use std::ops::Range;

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x64};

const BLOCK: usize = 64;

/// Where the text has an object or an array, in JSON by the RFC and in UTF-8, with nothing but blanks around it. `None`
/// leaves open what it is.
pub(super) fn document(text: &[u8]) -> Option<Range<usize>> {
    let is_part = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let start = text.iter().position(is_part)?;
    let end = text.iter().rposition(is_part)? + 1;
    is_document(text.get(start..end)?).then_some(start..end)
}

/// Whether the text is an object or an array from its first byte to its last, in JSON by the RFC and in UTF-8. `false`
/// leaves it open.
fn is_document(text: &[u8]) -> bool {
    // An opening bracket is what the grammar below takes for granted.
    matches!(text, [b'{' | b'[', ..]) && dispatch!(Level::new(), simd => are_blocks_valid(simd, text))
}

#[inline(always)]
fn are_blocks_valid<S: Simd>(simd: S, text: &[u8]) -> bool {
    let mut check = Check::new(text);
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        if !check.block(simd, index * BLOCK, block) {
            return false;
        }
    }
    if !rest.is_empty() {
        let mut last = [b' '; BLOCK];
        if let Some(start) = last.get_mut(..rest.len()) {
            start.copy_from_slice(rest);
        }
        if !check.block(simd, blocks.len() * BLOCK, &last) {
            return false;
        }
    }
    check.is_complete()
}

/// What a block leaves to the next one. A carry is one bit, for the first byte of the block.
#[derive(Debug)]
struct Check<'a> {
    text: &'a [u8],
    /// All bits if the block begins in a string.
    in_string: u64,
    is_escaped: u64,
    /// Where the characters begin that are not ASCII and not checked yet.
    unchecked: Option<usize>,
    /// What comes first, blanks aside, is due to a token before.
    after_colon: u64,
    after_comma: u64,
    after_open: u64,
    after_name: u64,
    /// The block begins in a string that may be a name.
    in_name: u64,
    in_scalar: u64,
    /// The bytes of a word that began in the block before.
    word: u64,
    after_word: u64,
    numbers: Numbers,
    /// Below a 1: which of the nested values are objects, the innermost in the lowest bit.
    nesting: u64,
}

/// What numbers leave to the next block.
#[derive(Debug, Default)]
struct Numbers {
    after_digit: u64,
    after_zero: u64,
    after_minus: u64,
    after_e: u64,
    /// Behind a dot and its digits.
    in_fraction: u64,
    /// Behind an `e`, its sign and its digits.
    in_exponent: u64,
}

/// The bits one to the left, and the one carried in; what falls out is carried on.
#[inline(always)]
fn next(bits: u64, carry: &mut u64) -> u64 {
    let shifted = bits << 1 | *carry;
    *carry = bits >> 63;
    shifted
}

/// The first byte at or behind each of `starts` that is not in `runs`. No run has more than one start.
#[inline(always)]
fn end_of(starts: u64, runs: u64, carry: &mut u64) -> u64 {
    let (sum, goes_on) = runs.overflowing_add(starts | *carry);
    *carry = u64::from(goes_on);
    sum & !runs
}

/// The first byte behind each of `tokens` that is not in `runs`.
#[inline(always)]
fn behind(tokens: u64, runs: u64, carry: &mut u64) -> u64 {
    let is_last = tokens >> 63;
    let end = end_of(tokens << 1, runs, carry);
    *carry |= is_last;
    end
}

/// The bits with an odd number of ones up to them.
#[inline(always)]
fn parity(mut bits: u64) -> u64 {
    for distance in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << distance;
    }
    bits
}

/// The bytes of a block, and which of them are what.
#[derive(Clone, Copy)]
struct Bytes<S: Simd>(u8x64<S>);

impl<S: Simd> Bytes<S> {
    #[inline(always)]
    fn are(self, byte: u8) -> u64 {
        self.0.simd_eq(byte).to_bitmask()
    }

    /// A byte that has bit 5, or the one that differs in that bit only: a brace or the bracket of the same side, a letter
    /// in lower or upper case.
    #[inline(always)]
    fn are_either(self, lower: u8) -> u64 {
        (self.0 | 0x20).simd_eq(lower).to_bitmask()
    }

    #[inline(always)]
    fn are_digits(self) -> u64 {
        (self.0 - b'0').simd_le(9).to_bitmask()
    }

    #[inline(always)]
    fn are_controls(self) -> u64 {
        self.0.simd_lt(0x20).to_bitmask()
    }

    #[inline(always)]
    fn are_beyond_ascii(self) -> u64 {
        self.0.simd_ge(0x80).to_bitmask()
    }

    /// Whether there are escapes, control characters or any beyond ASCII.
    #[inline(always)]
    fn are_special(self) -> bool {
        let (first_plain, plain) = (0x20, 0x60);
        ((self.0 - first_plain).simd_ge(plain) | self.0.simd_eq(b'\\')).any_true()
    }
}

/// The escaped bytes of a block with these backslashes, and the carry; nothing if one begins no escape of JSON. (A
/// backslash outside of strings is refused with what is no number.)
///
/// Like the next one a function of values alone, so that what a block leaves to the next one can stay in registers.
#[inline(never)]
fn escapes(text: &[u8], at: usize, mut backslashes: u64) -> Option<(u64, u64)> {
    let (mut escaped, mut carry) = (0, 0);
    while backslashes != 0 {
        let place = backslashes.trailing_zeros();
        let is_escape = match text.get(at + place as usize + 1..)? {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => true,
            [b'u', digits @ ..] => digits.first_chunk::<4>()?.iter().all(u8::is_ascii_hexdigit),
            _ => false,
        };
        if !is_escape {
            return None;
        }
        let pair = 3 << place;
        escaped |= pair & !(1 << place);
        carry = u64::from(place == 63);
        backslashes &= !pair;
    }
    Some((escaped, carry))
}

/// Whether a part of the text, next to ASCII characters on both sides, is UTF-8.
#[inline(never)]
fn is_utf8(text: &[u8], start: usize, end: usize) -> bool {
    text.get(start..end)
        .is_some_and(|part| std::str::from_utf8(part).is_ok())
}

impl<'a> Check<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            in_string: 0,
            is_escaped: 0,
            unchecked: None,
            // A value is due.
            after_colon: 1,
            after_comma: 0,
            after_open: 0,
            after_name: 0,
            in_name: 0,
            in_scalar: 0,
            word: 0,
            after_word: 0,
            numbers: Numbers::default(),
            nesting: 1,
        }
    }

    /// Every bracket is closed, the first one by the last byte of the text.
    fn is_complete(&self) -> bool {
        self.nesting == 1
            && self
                .unchecked
                .is_none_or(|start| is_utf8(self.text, start, self.text.len()))
    }

    #[inline(always)]
    fn block<S: Simd>(&mut self, simd: S, at: usize, block: &[u8; BLOCK]) -> bool {
        let bytes = Bytes(u8x64::load_array_ref(simd, block));
        let mut controls = 0;
        let was_escaped = std::mem::take(&mut self.is_escaped);
        let mut escaped = was_escaped;
        if bytes.are_special() {
            controls = bytes.are_controls();
            match (bytes.are_beyond_ascii() != 0, self.unchecked) {
                (true, None) => self.unchecked = Some(at),
                (false, Some(start)) if !is_utf8(self.text, start, at) => return false,
                (false, _) => self.unchecked = None,
                (true, Some(_)) => {}
            }
            let backslashes = bytes.are(b'\\') & !was_escaped;
            if backslashes != 0 {
                let Some((found, carry)) = escapes(self.text, at, backslashes) else {
                    return false;
                };
                escaped |= found;
                self.is_escaped = carry;
            }
        } else if let Some(start) = self.unchecked.take()
            && !is_utf8(self.text, start, at)
        {
            return false;
        }
        let quotes = bytes.are(b'"') & !escaped;

        // From each opening quote to before the closing one.
        let strings = parity(quotes) ^ self.in_string;
        if controls & strings != 0 {
            return false;
        }
        if strings == u64::MAX && quotes == 0 {
            return true;
        }
        self.in_string = 0_u64.wrapping_sub(strings >> 63);
        self.tokens(at, block, bytes, strings, quotes, controls)
    }

    /// Checks what follows what, outside of strings.
    #[inline(always)]
    fn tokens<S: Simd>(
        &mut self,
        at: usize,
        block: &[u8; BLOCK],
        bytes: Bytes<S>,
        strings: u64,
        quotes: u64,
        controls: u64,
    ) -> bool {
        let outside = !(strings | quotes);
        let mut blanks = bytes.are(b' ');
        if controls != 0 {
            blanks |= bytes.are(b'\t') | bytes.are(b'\n') | bytes.are(b'\r');
        }
        blanks &= outside;
        let colons = bytes.are(b':') & outside;
        let commas = bytes.are(b',') & outside;
        let open = bytes.are_either(b'{') & outside;
        let close = bytes.are_either(b'}') & outside;
        let scalars = outside & !(blanks | colons | commas | open | close);
        let has_scalars = scalars | self.in_scalar != 0;
        let scalar_starts = scalars & !next(scalars, &mut self.in_scalar);
        let opening = quotes & strings;

        // A value stands behind a colon, a comma or an opening bracket and nowhere else, but for a bracket that is closed
        // at once. So whatever stands elsewhere is a colon, a comma or a closing bracket.
        let values = open | opening | scalar_starts;
        let after_colon = behind(colons, blanks, &mut self.after_colon);
        let after_comma = behind(commas, blanks, &mut self.after_comma);
        let after_open = behind(open, blanks, &mut self.after_open);
        let items = after_comma | after_open;
        let mut wrong = values ^ ((after_colon | items) & !(close & after_open));

        // A name is a string that is an item, with a colon behind it; there is no other colon.
        let names = end_of(opening & items, strings, &mut self.in_name);
        let after_name = behind(names, blanks, &mut self.after_name);
        wrong |= colons & !after_name;
        // Where one sees that these are elements of an array.
        let elements = (after_name & !colons) | (items & !opening & !close);

        wrong == 0
            && (!has_scalars || self.scalars(at, bytes, scalars, scalar_starts))
            && self.brackets(at, block, open, close, colons, elements)
    }

    /// Enters and leaves objects and arrays, and checks that each holds what it may.
    #[inline(always)]
    fn brackets(
        &mut self,
        at: usize,
        block: &[u8; BLOCK],
        open: u64,
        close: u64,
        mut members: u64,
        mut elements: u64,
    ) -> bool {
        let mut brackets = open | close;
        let mut wrong = 0;
        while brackets != 0 {
            let place = brackets.trailing_zeros();
            let bit = 1_u64 << place;
            let up_to_here = bit | (bit - 1);
            wrong |= up_to_here & if self.nesting & 1 == 1 { elements } else { members };
            members &= !up_to_here;
            elements &= !up_to_here;
            brackets &= !up_to_here;
            // Braces and brackets differ in bit 5.
            let kind = block.get(place as usize).map_or(0, |byte| u64::from(byte >> 5 & 1));
            if open & bit != 0 {
                wrong |= self.nesting >> 63;
                self.nesting = self.nesting << 1 | kind;
            } else {
                wrong |= (self.nesting ^ kind) & 1;
                self.nesting >>= 1;
                if self.nesting == 1 {
                    return wrong == 0 && at + place as usize + 1 == self.text.len();
                }
            }
        }
        wrong |= if self.nesting & 1 == 1 { elements } else { members };
        wrong == 0
    }

    /// Checks numbers and words: all that is neither a string nor punctuation.
    #[inline(always)]
    fn scalars<S: Simd>(&mut self, at: usize, bytes: Bytes<S>, scalars: u64, starts: u64) -> bool {
        let digits = bytes.are_digits() & scalars;
        let mut words = std::mem::take(&mut self.word);
        let mut minuses = starts & !digits;
        let mut left = minuses;
        while left != 0 {
            let place = left.trailing_zeros();
            let bit = left & left.wrapping_neg();
            left ^= bit;
            let [first, rest @ ..] = self.text.get(at + place as usize..).unwrap_or_default() else {
                return false;
            };
            if *first == b'-' {
                continue;
            }
            let Some(word) = word(*first, rest) else {
                return false;
            };
            minuses ^= bit;
            words |= word << place;
            // In two steps, as the first place would be shifted by all 64.
            self.word = word >> (63 - place) >> 1;
        }
        let numbers = scalars & !words;
        let goes_on = next(words, &mut self.after_word) & numbers;
        goes_on == 0 && self.numbers.block(bytes, numbers, digits, starts & digits, minuses)
    }
}

/// A bit for each byte of `true`, `false` or `null`.
#[inline(always)]
fn word(first: u8, rest: &[u8]) -> Option<u64> {
    let is_word = match (first, rest) {
        (b't', [b'r', b'u', b'e', ..]) | (b'n', [b'u', b'l', b'l', ..]) => 0b1111,
        (b'f', [b'a', b'l', b's', b'e', ..]) => 0b1_1111,
        _ => return None,
    };
    Some(is_word)
}

impl Numbers {
    /// Checks the numbers of a block. `digits` are all theirs; each begins with a digit or a minus.
    #[inline(always)]
    fn block<S: Simd>(&mut self, bytes: Bytes<S>, numbers: u64, digits: u64, starts: u64, minuses: u64) -> bool {
        let whole = starts | next(minuses, &mut self.after_minus);
        let after_digit = next(digits, &mut self.after_digit);
        let mut wrong = whole & !digits;
        if whole << 1 & digits | whole >> 63 | self.after_zero != 0 {
            wrong |= next(whole & bytes.are(b'0'), &mut self.after_zero) & digits;
        }
        let others = numbers & !(digits | minuses);
        if others | self.in_fraction | self.in_exponent != 0 {
            let dots = bytes.are(b'.') & others;
            let es = bytes.are_either(b'e') & others;
            let signs = others & !(dots | es);
            let is_sign = bytes.are(b'+') | bytes.are(b'-');
            wrong |= signs & !(is_sign & next(es, &mut self.after_e));
            // What ends before a dot, before an `e` or before the end of the number ends with a digit; no part stands twice.
            let after_fraction = behind(dots, digits, &mut self.in_fraction);
            let after_exponent = behind(es, digits | signs, &mut self.in_exponent);
            wrong |= (dots | es | after_fraction | after_exponent) & !after_digit;
            wrong |= (after_fraction & dots) | (after_exponent & (dots | es));
        }
        // A number that fills a block may be too long.
        wrong == 0 && numbers != u64::MAX
    }
}

#[cfg(test)]
mod tests;
