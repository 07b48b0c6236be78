//! Reads JSON text the way Jackson does for Connect, one token at a time.
//!
//! Not `serde_json`, because the rules differ where records depend on them: leading zeros are accepted, text after
//! the first value is ignored, nesting goes to 1000, the digits of a number are kept for Decimals and for integers
//! beyond 64 bits, and a schema is known by its raw text. A scan that keeps nothing also costs a third.
#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;

use klamm_connect_api::json::{MAX_DEPTH, plain_prefix};
use klamm_connect_api::{DataError, DataErrorKind, Schema, Value};

/// Longest number that Jackson reads, in characters.
const MAX_NUMBER: usize = 1000;

/// Fields that structs may have together beyond those that a text has bytes for: an object of two bytes stands for all
/// fields of its schema.
const FIELDS: usize = 1_000_000;

/// Names that are looked at byte by byte, in bytes.
const SHORT_NAME: usize = 24;

/// Which bytes end a string or have to be looked at.
#[expect(clippy::indexing_slicing, reason = "worked out when it is compiled")]
const ENDS_PLAIN: [bool; 256] = {
    let mut ends = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        ends[byte] = byte < 0x20 || byte == 0x22 || byte == 0x5c;
        byte += 1;
    }
    ends
};

/// What begins at the scanner's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
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
pub(crate) struct Number<'a> {
    pub(crate) text: &'a str,
    /// Neither a fraction nor an exponent.
    pub(crate) is_integer: bool,
}

/// What is missing or too much at the scanner's place. One byte, so that the hot path moves no error about.
#[derive(Debug, Clone, Copy)]
enum Due {
    Value,
    CommaOrBracket,
    CommaOrBrace,
    Name,
    Colon,
    EscapedControl,
    Escape,
    Digit,
    BlankAfterNumber,
    Word,
    LessDepth,
    ShorterNumber,
}

impl Due {
    #[cold]
    fn at(self, at: usize, len: usize) -> DataError {
        let what = match self {
            Self::Value => "a value",
            Self::CommaOrBracket => "`,` or `]`",
            Self::CommaOrBrace => "`,` or `}`",
            Self::Name => "a name in double quotes",
            Self::Colon => "`:`",
            Self::EscapedControl if at >= len => "the end of a string",
            Self::EscapedControl => "an escaped control character",
            Self::Escape => "a JSON escape",
            Self::Digit => "a digit",
            Self::BlankAfterNumber => "a blank after a number",
            Self::Word => "`true`, `false` or `null`",
            Self::LessDepth => {
                let message = format!("the JSON text is nested more than {MAX_DEPTH} levels deep");
                return DataError::new(DataErrorKind::Serialization, message);
            }
            Self::ShorterNumber => {
                let message =
                    format!("not JSON: the number that ends at byte {at} has more than {MAX_NUMBER} characters");
                return DataError::new(DataErrorKind::Serialization, message);
            }
        };
        let message = if at >= len {
            format!("not JSON: the text ends at byte {at} where {what} is due")
        } else {
            format!("not JSON: {what} is due at byte {at}")
        };
        DataError::new(DataErrorKind::Serialization, message)
    }
}

#[cold]
fn too_many_fields() -> DataError {
    DataError::data("more fields, most of them absent, than a record can be written with")
}

/// How many values a value has inside it, all levels together.
pub(crate) fn inner_values(value: &Value) -> usize {
    let with_itself = |value| inner_values(value) + 1;
    match value {
        Value::Array(items) => items.iter().map(with_itself).sum(),
        Value::Map(map) => map
            .iter()
            .map(|(key, value)| inner_values(key) + with_itself(value))
            .sum(),
        Value::Struct(data) => data.values().iter().map(with_itself).sum(),
        _ => 0,
    }
}

/// A place in a JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    is_strict: bool,
    fields_left: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            is_strict: true,
            fields_left: text.len().saturating_add(FIELDS),
        }
    }

    /// Counts the fields of a struct, present or not.
    pub(crate) fn count_fields(&mut self, count: usize) -> Result<(), DataError> {
        self.fields_left = self.fields_left.checked_sub(count).ok_or_else(too_many_fields)?;
        Ok(())
    }

    /// Counts the values inside of a default that stands for null.
    pub(crate) fn count_default(&mut self, schema: &Schema) -> Result<(), DataError> {
        self.count_fields(schema.default().map_or(0, inner_values))
    }

    /// Offset of the next byte.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Whether everything read so far was JSON by the RFC, without leading zeros.
    pub(crate) fn is_strict(&self) -> bool {
        self.is_strict
    }

    /// The text from `start` up to here. Both stand next to an ASCII character, so neither splits another one.
    pub(crate) fn text_from(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Steps over blanks.
    #[inline]
    pub(crate) fn blank(&mut self) {
        if self.byte() > b' ' {
            return;
        }
        while let b' ' | b'\n' | b'\r' | b'\t' = self.byte() {
            self.at += 1;
        }
    }

    /// Whether nothing but blanks is left.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.blank();
        self.at >= self.text.len()
    }

    /// The kind of the value that begins here, blanks skipped.
    pub(crate) fn kind(&mut self) -> Result<Kind, DataError> {
        self.blank();
        match self.byte() {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'"' => Ok(Kind::String),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            b't' | b'f' => Ok(Kind::Boolean),
            b'n' => Ok(Kind::Null),
            _ => Err(self.error(Due::Value)),
        }
    }

    /// Enters the array that begins here.
    pub(crate) fn enter_array(&mut self) -> Result<(), DataError> {
        self.enter().map_err(|due| self.error(due))
    }

    /// Steps to the next element of the array, or out of it.
    pub(crate) fn next_element(&mut self, is_first: bool) -> Result<bool, DataError> {
        self.step_in_array(is_first).map_err(|due| self.error(due))
    }

    /// Enters the object that begins here.
    pub(crate) fn enter_object(&mut self) -> Result<(), DataError> {
        self.enter().map_err(|due| self.error(due))
    }

    /// Steps to the value of the object's next member and gives its name, or steps out of the object.
    pub(crate) fn next_member(&mut self, is_first: bool) -> Result<Option<Cow<'a, str>>, DataError> {
        if !self.step_in_object(is_first).map_err(|due| self.error(due))? {
            return Ok(None);
        }
        let name = self.string()?;
        self.colon().map_err(|due| self.error(due))?;
        Ok(Some(name))
    }

    /// The string that begins here.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, DataError> {
        let start = self.at + 1;
        let has_escapes = self.skip_string().map_err(|due| self.error(due))?;
        let raw = self.text.get(start..self.at - 1).unwrap_or_default();
        Ok(if has_escapes {
            Cow::Owned(unescape(raw))
        } else {
            Cow::Borrowed(raw)
        })
    }

    /// The number that begins here.
    pub(crate) fn number(&mut self) -> Result<Number<'a>, DataError> {
        let start = self.at;
        let is_integer = self.skip_number().map_err(|due| self.error(due))?;
        Ok(Number {
            text: self.text_from(start),
            is_integer,
        })
    }

    /// The boolean that begins here.
    pub(crate) fn boolean(&mut self) -> Result<bool, DataError> {
        let value = self.byte() == b't';
        self.word(if value { b"true" } else { b"false" })
            .map_err(|due| self.error(due))?;
        Ok(value)
    }

    /// Steps over the null that begins here.
    pub(crate) fn null(&mut self) -> Result<(), DataError> {
        self.word(b"null").map_err(|due| self.error(due))
    }

    /// Steps over the value that begins here, checking all of it.
    pub(crate) fn skip(&mut self) -> Result<(), DataError> {
        let mut hot = self.clone();
        let result = hot.skip_value();
        *self = hot;
        result.map_err(|due| self.error(due))
    }

    fn error(&self, due: Due) -> DataError {
        due.at(self.at, self.text.len())
    }
}

/// The hot part: small results, nothing kept, no recursion.
impl Scanner<'_> {
    /// The byte here; 0, which stands nowhere in JSON, at the end.
    #[inline]
    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }

    #[inline]
    fn rest(&self) -> &[u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        if self.byte() != byte {
            return false;
        }
        self.at += 1;
        true
    }

    #[inline]
    fn enter(&mut self) -> Result<(), Due> {
        if self.depth >= MAX_DEPTH {
            return Err(Due::LessDepth);
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn step_in_array(&mut self, is_first: bool) -> Result<bool, Due> {
        self.blank();
        if !is_first && self.eat(b',') {
            return Ok(true);
        }
        if self.eat(b']') {
            self.depth -= 1;
            return Ok(false);
        }
        if is_first { Ok(true) } else { Err(Due::CommaOrBracket) }
    }

    /// Steps to the quote of the next name, or out of the object.
    #[inline]
    fn step_in_object(&mut self, is_first: bool) -> Result<bool, Due> {
        self.blank();
        if !is_first && self.eat(b',') {
            self.blank();
        } else if self.eat(b'}') {
            self.depth -= 1;
            return Ok(false);
        } else if !is_first {
            return Err(Due::CommaOrBrace);
        }
        if self.byte() == b'"' { Ok(true) } else { Err(Due::Name) }
    }

    #[inline]
    fn colon(&mut self) -> Result<(), Due> {
        self.blank();
        if self.eat(b':') { Ok(()) } else { Err(Due::Colon) }
    }

    /// Steps over a string; whether it has escapes.
    #[inline(always)]
    fn skip_string(&mut self) -> Result<bool, Due> {
        self.at += 1;
        self.at += plain_prefix(self.rest());
        if self.eat(b'"') {
            return Ok(false);
        }
        // A function of the position alone, so that the scanner can stay in registers.
        let (at, result) = skip_escapes(self.text.as_bytes(), self.at);
        self.at = at;
        result.map(|()| true)
    }

    /// Steps over a name. Names are short, and the same in all records of a topic: the processor learns where each ends,
    /// which a search in blocks would have it wait for.
    #[inline(always)]
    fn skip_name(&mut self) -> Result<(), Due> {
        let rest = self.text.as_bytes().get(self.at + 1..).unwrap_or_default();
        for (index, byte) in rest.iter().take(SHORT_NAME).enumerate() {
            if ENDS_PLAIN.get(usize::from(*byte)).copied().unwrap_or_default() {
                if *byte != b'"' {
                    break;
                }
                self.at += index + 2;
                return Ok(());
            }
        }
        self.skip_string().map(drop)
    }

    #[inline]
    fn digits(&mut self) -> Result<usize, Due> {
        let start = self.at;
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start {
            Err(Due::Digit)
        } else {
            Ok(self.at - start)
        }
    }

    /// Steps over a number; whether it is an integer.
    #[inline]
    fn skip_number(&mut self) -> Result<bool, Due> {
        let start = self.at;
        self.eat(b'-');
        let leads_with_zero = self.byte() == b'0';
        if self.digits()? > 1 && leads_with_zero {
            self.is_strict = false;
        }
        let mut is_integer = true;
        if self.eat(b'.') {
            is_integer = false;
            self.digits()?;
        }
        if let b'e' | b'E' = self.byte() {
            self.at += 1;
            is_integer = false;
            if let b'+' | b'-' = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        if self.at - start > MAX_NUMBER {
            return Err(Due::ShorterNumber);
        }
        let is_at_top = self.depth == 0;
        if is_at_top && self.at < self.text.len() && !matches!(self.byte(), b' ' | b'\n' | b'\r' | b'\t') {
            return Err(Due::BlankAfterNumber);
        }
        Ok(is_integer)
    }

    #[inline(always)]
    fn word(&mut self, word: &[u8]) -> Result<(), Due> {
        let Some(after) = self.rest().strip_prefix(word) else {
            return Err(Due::Word);
        };
        let next = after.first().copied().unwrap_or(b' ');
        if next.is_ascii_alphanumeric() || next == b'_' || !next.is_ascii() {
            return Err(Due::Word);
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn skip_value(&mut self) -> Result<(), Due> {
        let mut nesting = Nesting::default();
        let mut name_is_due = false;
        loop {
            if name_is_due {
                self.skip_name()?;
                self.colon()?;
                name_is_due = false;
            }
            self.blank();
            match self.byte() {
                b'"' => {
                    self.skip_string()?;
                }
                b'{' => {
                    self.enter()?;
                    name_is_due = self.step_in_object(true)?;
                    if name_is_due {
                        nesting.push(true);
                        continue;
                    }
                }
                b'[' => {
                    self.enter()?;
                    if self.step_in_array(true)? {
                        nesting.push(false);
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => {
                    self.skip_number()?;
                }
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => return Err(Due::Value),
            }
            // A value has ended: leave what ends with it, up to where another value is due.
            while let Some(is_object) = nesting.top() {
                self.blank();
                match self.byte() {
                    b',' if is_object => {
                        self.at += 1;
                        self.blank();
                        if self.byte() != b'"' {
                            return Err(Due::Name);
                        }
                        name_is_due = true;
                        break;
                    }
                    b',' => {
                        self.at += 1;
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ if is_object => return Err(Due::CommaOrBrace),
                    _ => return Err(Due::CommaOrBracket),
                }
                self.at += 1;
                self.depth -= 1;
                nesting.pop();
            }
            if nesting.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Goes on from the first byte of a string that is not plain, to behind its end or to what is wrong with it.
fn skip_escapes(text: &[u8], mut at: usize) -> (usize, Result<(), Due>) {
    loop {
        let rest = text.get(at..).unwrap_or_default();
        at += match rest {
            [b'"', ..] => return (at + 1, Ok(())),
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'\\', b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => 6,
            [b'\\', ..] => return (at, Err(Due::Escape)),
            _ => return (at, Err(Due::EscapedControl)),
        };
        at += plain_prefix(text.get(at..).unwrap_or_default());
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

/// Which of the nested values are objects, as a stack of bits; the uppermost word is at hand.
#[derive(Debug)]
struct Nesting {
    full: [u64; MAX_DEPTH.div_ceil(64)],
    top: u64,
    len: usize,
}

impl Default for Nesting {
    fn default() -> Self {
        Self {
            full: [0; MAX_DEPTH.div_ceil(64)],
            top: 0,
            len: 0,
        }
    }
}

impl Nesting {
    /// The scanner has checked the depth before.
    #[inline]
    fn push(&mut self, is_object: bool) {
        if self.len.is_multiple_of(64)
            && let Some(full) = self.full.get_mut(self.len / 64)
        {
            *full = self.top;
        }
        self.top = self.top << 1 | u64::from(is_object);
        self.len += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.len -= 1;
        self.top >>= 1;
        if self.len.is_multiple_of(64)
            && let Some(full) = self.full.get(self.len / 64)
        {
            self.top = *full;
        }
    }

    #[inline]
    fn top(&self) -> Option<bool> {
        if self.len == 0 { None } else { Some(self.top & 1 == 1) }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.len == 0
    }
}
