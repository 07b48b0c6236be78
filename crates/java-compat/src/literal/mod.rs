//! The grammar of header literals (`org.apache.kafka.connect.data.Values.parseString`), and the way back.
//!
//! One deliberate difference, as proposed for Connect itself (KAFKA-20892): a number or a time has to be the whole
//! text. `10:20:30` and `1,2,3` are strings here, where Connect reads the INT8 10 and 1 and forgets the rest.
#![warn(clippy::indexing_slicing)]

mod merge;
mod number;
mod temporal;
mod text;

use klamm_connect_api::{Schema, SchemaAndValue, Value};

pub use self::text::to_text;

use self::merge::Element;

/// A deeper literal is a string. A bound that no header comes near, far below what a stack holds.
pub const MAX_DEPTH: usize = 100;

/// Connect trims what Java's `String.trim` trims.
fn is_blank(char: char) -> bool {
    char <= ' '
}

/// What `text` stands for; a string if it is nothing else.
#[must_use]
pub fn parse(text: &str) -> SchemaAndValue {
    let string = || SchemaAndValue::new(Schema::string(), Value::from(text));
    let trimmed = text.trim_matches(is_blank);
    match trimmed.chars().next() {
        None => string(),
        Some('[' | '{') => Parser {
            rest: trimmed,
            depth: 0,
        }
        .value()
        .map_or_else(string, |Element(data)| data),
        Some(_) if trimmed == "null" => SchemaAndValue::NULL,
        Some(_) => scalar(trimmed).unwrap_or_else(string),
    }
}

/// A boolean, number or time that is all of `text`.
fn scalar(text: &str) -> Option<SchemaAndValue> {
    match text {
        "true" => return Some(SchemaAndValue::new(Schema::boolean(), Value::Boolean(true))),
        "false" => return Some(SchemaAndValue::new(Schema::boolean(), Value::Boolean(false))),
        _ => {}
    }
    temporal::parse(text).or_else(|| number::parse(text))
}

/// Reads one value at the start of `rest`, which it shortens. `None` means that the text is no literal at all.
struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, delimiter: char) -> bool {
        let rest = self.rest.trim_start_matches(is_blank);
        match rest.strip_prefix(delimiter) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Option<Element> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let value = if self.eat('[') {
            self.array()
        } else if self.eat('{') {
            self.map()
        } else if self.eat('"') {
            self.quoted()
        } else {
            self.bare()
        };
        self.depth -= 1;
        value
    }

    /// A comma may follow the last element.
    fn array(&mut self) -> Option<Element> {
        let mut items = Vec::new();
        while !self.eat(']') {
            if !items.is_empty() && !self.eat(',') {
                return None;
            }
            if !items.is_empty() && self.eat(']') {
                break;
            }
            items.push(self.value()?);
        }
        merge::array(items)
    }

    /// Commas between entries may be missing.
    fn map(&mut self) -> Option<Element> {
        let mut keys = Vec::new();
        let mut values = Vec::new();
        while !self.eat('}') {
            let key = self.value()?;
            if key.is_null() || !self.eat(':') {
                return None;
            }
            keys.push(key);
            values.push(self.value()?);
            self.eat(',');
        }
        merge::map(keys, values)
    }

    /// Up to the next quote that no backslash precedes; the backslashes stay.
    fn quoted(&mut self) -> Option<Element> {
        let (content, rest) = self.split_before(|char| char == '"')?;
        self.rest = rest.strip_prefix('"')?;
        let data =
            temporal::parse(content).unwrap_or_else(|| SchemaAndValue::new(Schema::string(), Value::from(content)));
        Some(data.into())
    }

    /// Up to the next delimiter that no backslash precedes. A time contains colons, so it is looked for first.
    fn bare(&mut self) -> Option<Element> {
        self.rest = self.rest.trim_start_matches(is_blank);
        for length in temporal::LENGTHS_WITH_COLONS {
            if let Some((text, rest)) = self.rest.split_at_checked(length)
                && let Some(time) = temporal::parse(text)
                && rest.trim_start_matches(is_blank).starts_with([',', ':', ']', '}'])
            {
                self.rest = rest;
                return Some(time.into());
            }
        }
        let (token, rest) = self.split_before(|char| matches!(char, ':' | ',' | '{' | '}' | '[' | ']' | '"'))?;
        self.rest = rest;
        match token.trim_matches(is_blank) {
            "null" => Some(SchemaAndValue::NULL.into()),
            token => scalar(token).map(Element::from),
        }
    }

    fn split_before(&self, is_end: impl Fn(char) -> bool) -> Option<(&'a str, &'a str)> {
        let mut is_escaped = false;
        for (at, char) in self.rest.char_indices() {
            if is_end(char) && !is_escaped {
                return self.rest.split_at_checked(at);
            }
            is_escaped = char == '\\' && !is_escaped;
        }
        None
    }
}
