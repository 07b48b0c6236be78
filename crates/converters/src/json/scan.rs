//! Reads JSON text the way Jackson does for Connect, one token at a time.
//!
//! Not `serde_json`, because the rules differ where records depend on them: leading zeros are accepted, text after
//! the first value is ignored, nesting goes to 1000, the digits of a number are kept for Decimals and for integers
//! beyond 64 bits, and a schema is known by its raw text. A scan that keeps nothing also costs a third.
#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;

use klamm_connect_api::json::{MAX_DEPTH, plain_prefix};
use klamm_connect_api::{DataError, DataErrorKind};

/// Longest number that Jackson reads, in characters.
const MAX_NUMBER: usize = 1000;

/// What begins at the scanner's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
        }
    }
}

/// A number as it was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    pub(super) text: &'a str,
    /// Neither a fraction nor an exponent.
    pub(super) is_integer: bool,
}

/// A place in a JSON text.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    is_strict: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            is_strict: true,
        }
    }

    /// Offset of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Whether everything read so far was JSON by the RFC, without leading zeros.
    pub(super) fn is_strict(&self) -> bool {
        self.is_strict
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The text from `start` up to here. Both stand next to an ASCII character, so neither splits another one.
    pub(super) fn text_from(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn expected(&self, what: &str) -> DataError {
        let message = if self.at >= self.text.len() {
            format!("not JSON: the text ends at byte {} where {what} is due", self.at)
        } else {
            format!("not JSON: {what} is due at byte {}", self.at)
        };
        DataError::new(DataErrorKind::Serialization, message)
    }

    /// Steps over blanks.
    pub(super) fn blank(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Whether nothing but blanks is left.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.blank();
        self.at >= self.text.len()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// The kind of the value that begins here, blanks skipped.
    pub(super) fn kind(&mut self) -> Result<Kind, DataError> {
        self.blank();
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.expected("a value")),
        }
    }

    fn enter(&mut self) -> Result<(), DataError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("the JSON text is nested more than {MAX_DEPTH} levels deep");
            return Err(DataError::new(DataErrorKind::Serialization, message));
        }
        self.at += 1;
        Ok(())
    }

    /// Enters the array that begins here.
    pub(super) fn enter_array(&mut self) -> Result<(), DataError> {
        self.enter()
    }

    /// Steps to the next element of the array, or out of it.
    pub(super) fn next_element(&mut self, is_first: bool) -> Result<bool, DataError> {
        self.blank();
        if self.eat(b']') {
            self.depth -= 1;
            return Ok(false);
        }
        if is_first || self.eat(b',') {
            return Ok(true);
        }
        Err(self.expected("`,` or `]`"))
    }

    /// Enters the object that begins here.
    pub(super) fn enter_object(&mut self) -> Result<(), DataError> {
        self.enter()
    }

    /// Steps to the value of the object's next member and gives its name, or steps out of the object.
    pub(super) fn next_member(&mut self, is_first: bool) -> Result<Option<Cow<'a, str>>, DataError> {
        match self.skip_name(is_first)? {
            Some(name) => name.text().map(Some),
            None => Ok(None),
        }
    }

    fn skip_name(&mut self, is_first: bool) -> Result<Option<RawString<'a>>, DataError> {
        self.blank();
        if self.eat(b'}') {
            self.depth -= 1;
            return Ok(None);
        }
        if !is_first {
            if !self.eat(b',') {
                return Err(self.expected("`,` or `}`"));
            }
            self.blank();
        }
        if self.peek() != Some(b'"') {
            return Err(self.expected("a name in double quotes"));
        }
        let name = self.raw_string()?;
        self.blank();
        if !self.eat(b':') {
            return Err(self.expected("`:`"));
        }
        Ok(Some(name))
    }

    /// The string that begins here.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, DataError> {
        self.raw_string()?.text()
    }

    fn raw_string(&mut self) -> Result<RawString<'a>, DataError> {
        self.at += 1;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            self.at += plain_prefix(self.rest());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    self.at += match self.rest() {
                        [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
                        [_, b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => 6,
                        _ => return Err(self.expected("a JSON escape")),
                    };
                }
                Some(_) => return Err(self.expected("an escaped control character")),
                None => return Err(self.expected("the end of a string")),
            }
        }
        let raw = self.text_from(start);
        self.at += 1;
        Ok(RawString { raw, has_escapes })
    }

    fn digits(&mut self) -> usize {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    /// The number that begins here.
    pub(super) fn number(&mut self) -> Result<Number<'a>, DataError> {
        let start = self.at;
        self.eat(b'-');
        let leads_with_zero = self.peek() == Some(b'0');
        match self.digits() {
            0 => return Err(self.expected("a digit")),
            1 => {}
            _ if leads_with_zero => self.is_strict = false,
            _ => {}
        }
        let mut is_integer = true;
        if self.eat(b'.') {
            is_integer = false;
            if self.digits() == 0 {
                return Err(self.expected("a digit"));
            }
        }
        if self.eat(b'e') || self.eat(b'E') {
            is_integer = false;
            if !self.eat(b'-') {
                self.eat(b'+');
            }
            if self.digits() == 0 {
                return Err(self.expected("a digit"));
            }
        }
        if self.at - start > MAX_NUMBER {
            let message = format!("not JSON: the number at byte {start} has more than {MAX_NUMBER} characters");
            return Err(DataError::new(DataErrorKind::Serialization, message));
        }
        let is_at_top = self.depth == 0;
        if is_at_top && !matches!(self.peek(), None | Some(b' ' | b'\n' | b'\r' | b'\t')) {
            return Err(self.expected("a blank after a number"));
        }
        Ok(Number {
            text: self.text_from(start),
            is_integer,
        })
    }

    /// The boolean that begins here.
    pub(super) fn boolean(&mut self) -> Result<bool, DataError> {
        let value = self.peek() == Some(b't');
        self.word(if value { b"true" } else { b"false" })?;
        Ok(value)
    }

    /// Steps over the null that begins here.
    pub(super) fn null(&mut self) -> Result<(), DataError> {
        self.word(b"null")
    }

    fn word(&mut self, word: &[u8]) -> Result<(), DataError> {
        let Some(after) = self.rest().strip_prefix(word) else {
            return Err(self.expected("`true`, `false` or `null`"));
        };
        if after
            .first()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii())
        {
            return Err(self.expected("`true`, `false` or `null`"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Steps over the value that begins here, checking all of it. Does not recurse.
    pub(super) fn skip(&mut self) -> Result<(), DataError> {
        let mut nesting = Nesting::default();
        loop {
            match self.kind()? {
                Kind::Object => {
                    self.enter_object()?;
                    nesting.push(true);
                    if self.skip_name(true)?.is_some() {
                        continue;
                    }
                    nesting.pop();
                }
                Kind::Array => {
                    self.enter_array()?;
                    nesting.push(false);
                    if self.next_element(true)? {
                        continue;
                    }
                    nesting.pop();
                }
                Kind::String => {
                    self.raw_string()?;
                }
                Kind::Number => {
                    self.number()?;
                }
                Kind::Boolean => {
                    self.boolean()?;
                }
                Kind::Null => self.null()?,
            }
            // A value has ended: leave what ends with it, up to where another value is due.
            loop {
                let goes_on = match nesting.top() {
                    None => return Ok(()),
                    Some(true) => self.skip_name(false)?.is_some(),
                    Some(false) => self.next_element(false)?,
                };
                if goes_on {
                    break;
                }
                nesting.pop();
            }
        }
    }
}

/// A string between its quotes, escapes checked and not resolved.
#[derive(Debug, Clone, Copy)]
struct RawString<'a> {
    raw: &'a str,
    has_escapes: bool,
}

impl<'a> RawString<'a> {
    fn text(self) -> Result<Cow<'a, str>, DataError> {
        if self.has_escapes {
            Ok(Cow::Owned(unescape(self.raw)))
        } else {
            Ok(Cow::Borrowed(self.raw))
        }
    }
}

/// Resolves escapes that have been checked. Half of a surrogate pair becomes U+FFFD: Java can hold it, UTF-8 cannot.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut pieces = raw.split('\\');
    text.push_str(pieces.next().unwrap_or_default());
    let mut high: Option<u16> = None;
    while let Some(piece) = pieces.next() {
        let (unit, rest) = match piece.as_bytes().first() {
            // Two backslashes: the empty piece between them, then what follows stands for itself.
            None => (u16::from(b'\\'), pieces.next().unwrap_or_default()),
            Some(b'u') => {
                let code = piece.get(1..5).and_then(|hex| u16::from_str_radix(hex, 16).ok());
                (code.unwrap_or(0xfffd), piece.get(5..).unwrap_or_default())
            }
            Some(letter) => (u16::from(escaped(*letter)), piece.get(1..).unwrap_or_default()),
        };
        match (high.take(), unit) {
            (Some(first), 0xdc00..=0xdfff) => text.extend(pair(first, unit)),
            (first, _) => {
                text.extend(first.map(|_| char::REPLACEMENT_CHARACTER));
                match unit {
                    0xd800..=0xdbff if rest.is_empty() => high = Some(unit),
                    _ => text.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
        }
        text.push_str(rest);
    }
    text.extend(high.map(|_| char::REPLACEMENT_CHARACTER));
    text
}

fn pair(high: u16, low: u16) -> impl Iterator<Item = char> {
    char::decode_utf16([high, low]).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
}

fn escaped(letter: u8) -> u8 {
    match letter {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => other,
    }
}

/// Which of the nested values are objects, as a stack of bits.
#[derive(Debug)]
struct Nesting {
    bits: [u64; MAX_DEPTH.div_ceil(64)],
    len: usize,
}

impl Default for Nesting {
    fn default() -> Self {
        Self {
            bits: [0; MAX_DEPTH.div_ceil(64)],
            len: 0,
        }
    }
}

impl Nesting {
    /// The scanner has checked the depth before.
    fn push(&mut self, is_object: bool) {
        if let Some(word) = self.bits.get_mut(self.len / 64) {
            let bit = 1 << (self.len % 64);
            *word = if is_object { *word | bit } else { *word & !bit };
        }
        self.len += 1;
    }

    fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }

    fn top(&self) -> Option<bool> {
        let last = self.len.checked_sub(1)?;
        self.bits.get(last / 64).map(|word| word >> (last % 64) & 1 == 1)
    }
}
