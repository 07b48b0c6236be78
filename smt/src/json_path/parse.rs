//! Reads paths and filters.
#![warn(clippy::indexing_slicing)]

use std::sync::Arc;

use klamm_converters::parse_json;
use klamm_java_compat::{Pattern, number};

use super::filter::{Comparison, Filter, Operator};
use super::operand::{Literal, Number, Side};
use super::{Function, JsonPath, MAX_LENGTH, Start, Step, Token};

type Result<T> = std::result::Result<T, String>;

/// Filters and parentheses inside each other.
const MAX_DEPTH: usize = 32;
/// Steps of a path.
const MAX_STEPS: usize = 100;

pub(super) fn path(text: &str) -> Result<JsonPath> {
    if text.len() > MAX_LENGTH {
        return Err(format!("the path has more than {MAX_LENGTH} bytes"));
    }
    path_within(text, 0)
}

/// A path that stands within `depth` filters.
fn path_within(text: &str, depth: usize) -> Result<JsonPath> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the path is empty: `$` is the whole".to_owned());
    }
    let chars: Vec<char> = if text.starts_with(['$', '@']) {
        text.chars().collect()
    } else {
        "$.".chars().chain(text.chars()).collect()
    };
    if chars.last() == Some(&'.') {
        return Err("a path must not end with `.`".to_owned());
    }
    let start = if chars.first() == Some(&'@') {
        Start::Item
    } else {
        Start::Root
    };
    let mut reader = Reader {
        chars: &chars,
        at: 1,
        depth,
    };
    let mut tokens = Vec::new();
    while reader.peek().is_some() {
        reader.token(&mut tokens)?;
        if tokens.len() > MAX_STEPS {
            return reader.error(&format!("the path has more than {MAX_STEPS} steps"));
        }
    }
    let mut steps: Vec<Step> = Vec::with_capacity(tokens.len());
    let mut is_definite = true;
    let count = tokens.len();
    for (index, token) in tokens.into_iter().enumerate() {
        let is_last = index + 1 == count;
        let keeps_definite = match &token {
            // Several names at the end are one object of their values.
            Token::Names(names) => names.len() == 1 || is_last,
            Token::Indexes(indexes) => indexes.len() == 1,
            Token::Function(_) => true,
            Token::Slice(..) | Token::Wildcard | Token::Scan | Token::Filter(_) => false,
        };
        // A function at the end of a scan takes all that is found, and so has one result.
        let takes_all = is_last && matches!(token, Token::Function(_)) && has_scan_first(&steps);
        steps.push(Step {
            token,
            follows_definite: is_definite,
        });
        is_definite = (is_definite && keeps_definite) || takes_all;
    }
    Ok(JsonPath {
        text: text.into(),
        start,
        steps,
        is_definite,
    })
}

pub(super) fn has_scan_first(steps: &[Step]) -> bool {
    matches!(steps.first().map(|step| &step.token), Some(Token::Scan))
}

/// A place in the text of a path or filter.
struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += 1;
        Some(char)
    }

    fn blanks(&mut self) {
        while self.peek() == Some(' ') {
            self.at += 1;
        }
    }

    /// Takes `wanted`, with blanks before it.
    fn takes(&mut self, wanted: char) -> bool {
        let start = self.at;
        self.blanks();
        if self.peek() == Some(wanted) {
            self.at += 1;
            return true;
        }
        self.at = start;
        false
    }

    fn text(&self, from: usize) -> String {
        self.chars.get(from..self.at).unwrap_or_default().iter().collect()
    }

    fn error<T>(&self, message: &str) -> Result<T> {
        Err(format!("{message}, at character {}", self.at + 1))
    }

    /// A step, with the dot or bracket it starts with.
    fn token(&mut self, tokens: &mut Vec<Token>) -> Result<()> {
        match self.peek() {
            Some('[') => tokens.push(self.bracket()?),
            Some('.') => {
                self.at += 1;
                if self.peek() == Some('.') {
                    self.at += 1;
                    tokens.push(Token::Scan);
                }
                match self.peek() {
                    Some('[') => tokens.push(self.bracket()?),
                    None | Some('.') => return self.error("there is a `.` too many"),
                    _ => tokens.push(self.name_or_function()?),
                }
            }
            _ => return self.error("`.` or `[` is expected"),
        }
        Ok(())
    }

    fn name_or_function(&mut self) -> Result<Token> {
        let start = self.at;
        while let Some(char) = self.peek() {
            match char {
                '.' | '[' => break,
                ' ' => return self.error("a name with blanks is written ['my name']"),
                '(' => return self.function(start),
                _ => self.at += 1,
            }
        }
        match self.text(start).as_str() {
            "" => self.error("a name is expected"),
            "*" => Ok(Token::Wildcard),
            name if name.starts_with('*') => self.error("`*` stands alone"),
            name => Ok(Token::Names(vec![name.into()])),
        }
    }

    fn function(&mut self, start: usize) -> Result<Token> {
        let name = self.text(start);
        self.at += 1;
        if self.next() != Some(')') {
            return self.error("functions with arguments are not supported");
        }
        let function = match name.as_str() {
            "length" | "size" => Function::Length,
            "keys" => Function::Keys,
            "min" => Function::Min,
            "max" => Function::Max,
            "avg" => Function::Avg,
            "sum" => Function::Sum,
            "stddev" => Function::StdDev,
            "first" => Function::First,
            "last" => Function::Last,
            _ => {
                return self.error(&format!(
                    "there is no function `{name}()`: length, keys, min, max, avg, sum, stddev, first and last are \
                     supported"
                ));
            }
        };
        Ok(Token::Function(function))
    }

    fn bracket(&mut self) -> Result<Token> {
        self.at += 1;
        self.blanks();
        match self.peek() {
            Some(quote @ ('\'' | '"')) => self.names(quote),
            Some('*') => {
                self.at += 1;
                self.closes(Token::Wildcard)
            }
            Some('?') => {
                self.at += 1;
                if !self.takes('(') {
                    return self.error("a filter is written `[?( … )]`");
                }
                let filter = self.within(Self::disjunction)?;
                if !self.takes(')') {
                    return self.error("`)` is expected at the end of the filter");
                }
                self.closes(Token::Filter(filter))
            }
            Some('0'..='9' | '-' | ':') => self.places(),
            _ => self.error("a quoted name, an index, `*` or `?(` is expected after `[`"),
        }
    }

    fn closes(&mut self, token: Token) -> Result<Token> {
        if self.takes(']') {
            return Ok(token);
        }
        self.error("`]` is expected")
    }

    fn within<T>(&mut self, read: fn(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return self.error("filters and parentheses are nested too deeply");
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn names(&mut self, quote: char) -> Result<Token> {
        let mut names: Vec<Arc<str>> = Vec::new();
        loop {
            self.blanks();
            if self.peek() != Some(quote) {
                return self.error("a quoted name is expected, all with the same quotes");
            }
            names.push(self.quoted()?.into());
            if self.takes(']') {
                return Ok(Token::Names(names));
            }
            if !self.takes(',') {
                return self.error("`,` or `]` is expected after a name");
            }
        }
    }

    /// Text in quotes, its escapes resolved.
    fn quoted(&mut self) -> Result<String> {
        let quote = self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None => return self.error("a quote is not closed"),
                Some('\\') => text.push(self.escaped()?),
                char if char == quote => return Ok(text),
                Some(char) => text.push(char),
            }
        }
    }

    fn escaped(&mut self) -> Result<char> {
        Ok(match self.next() {
            None => return self.error("a quote is not closed"),
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let mut unit = || {
                    let start = self.at;
                    self.at += 4;
                    u16::from_str_radix(&self.text(start), 16).ok()
                };
                let first = unit();
                let second = match first {
                    Some(0xd800..0xdc00) if self.chars.get(self.at..self.at + 2) == Some(&['\\', 'u']) => {
                        self.at += 2;
                        let start = self.at;
                        self.at += 4;
                        u16::from_str_radix(&self.text(start), 16).ok()
                    }
                    _ => None,
                };
                let units = first.into_iter().chain(second);
                match char::decode_utf16(units).next() {
                    Some(Ok(char)) => char,
                    _ => return self.error("`\\u` takes four hexadecimal digits of a character"),
                }
            }
            Some(other) => other,
        })
    }

    /// `[1]`, `[0,-1]`, `[1:3]`
    fn places(&mut self) -> Result<Token> {
        let start = self.at;
        while self.peek().is_some_and(|char| char != ']') {
            self.at += 1;
        }
        let text = self.text(start);
        let text = text.trim();
        let index = |text: &str| match text.parse::<i32>() {
            Ok(index) if !text.starts_with('+') => Ok(i64::from(index)),
            _ => Err(format!("`{text}` is no index, at character {}", start + 1)),
        };
        let token = if text.contains(':') {
            let mut ends = text.split(':').map(|end| match end {
                "" => Ok(None),
                end => index(end).map(Some),
            });
            let from = ends.next().transpose()?.flatten();
            let to = ends.next().transpose()?.flatten();
            if ends.next().is_some() || (from, to) == (None, None) {
                return self.error("a slice is written `[from:to]`, `[from:]` or `[:to]`");
            }
            Token::Slice(from, to)
        } else {
            Token::Indexes(text.split(',').map(str::trim).map(index).collect::<Result<_>>()?)
        };
        self.closes(token)
    }

    /// Terms with `||` between them.
    fn disjunction(&mut self) -> Result<Filter> {
        let mut terms = vec![self.conjunction()?];
        while self.takes_twice('|') {
            terms.push(self.conjunction()?);
        }
        Ok(Filter::any(terms))
    }

    /// Terms with `&&` between them.
    fn conjunction(&mut self) -> Result<Filter> {
        let mut terms = vec![self.term()?];
        while self.takes_twice('&') {
            terms.push(self.term()?);
        }
        Ok(Filter::all(terms))
    }

    fn takes_twice(&mut self, char: char) -> bool {
        let start = self.at;
        if self.takes(char) && self.peek() == Some(char) {
            self.at += 1;
            return true;
        }
        self.at = start;
        false
    }

    fn term(&mut self) -> Result<Filter> {
        let start = self.at;
        if self.takes('!') {
            self.blanks();
            if !matches!(self.peek(), Some('$' | '@')) {
                return Ok(Filter::Not(Box::new(self.within(Self::term)?)));
            }
            // The mark belongs to the path.
            self.at = start;
        }
        if self.takes('(') {
            let filter = self.within(Self::disjunction)?;
            if !self.takes(')') {
                return self.error("`)` is expected");
            }
            return Ok(filter);
        }
        self.comparison()
    }

    /// `left operator right`, or a path alone: whether it is there, or with `!` is not.
    fn comparison(&mut self) -> Result<Filter> {
        let is_negated = self.takes('!');
        let left = self.side()?;
        let start = self.at;
        if let Some(operator) = self.operator()? {
            // Jayway does not look at the mark of a path that is compared: `!@.a == 1` is `@.a == 1` there. Whoever
            // writes that means another thing.
            if is_negated {
                return self.error("`!` before a comparison needs parentheses: `!(@.a == 1)`");
            }
            let right = self.side()?;
            return Ok(Filter::Compare(Box::new(Comparison::try_new(left, operator, right)?)));
        }
        self.at = start;
        match left {
            Side::Path(path) if is_negated => Ok(Filter::Absent(path)),
            Side::Path(path) => Ok(Filter::Present(path)),
            Side::Literal(_) => self.error("a literal alone says nothing: compare it with a path"),
        }
    }

    fn operator(&mut self) -> Result<Option<Operator>> {
        self.blanks();
        let start = self.at;
        let is_sign = |char: char| matches!(char, '<' | '>' | '=' | '~' | '!');
        match self.peek() {
            None | Some(')' | '&' | '|') => return Ok(None),
            Some(char) if is_sign(char) => {
                while self.peek().is_some_and(is_sign) {
                    self.at += 1;
                }
            }
            Some(_) => {
                while self.peek().is_some_and(|char| char != ' ') {
                    self.at += 1;
                }
            }
        }
        let name = self.text(start);
        match Operator::named(&name) {
            Some(operator) => Ok(Some(operator)),
            None => {
                self.at = start;
                self.error(&format!(
                    "there is no operator `{name}`: {} are supported, and `&&`, `||`, `!` between comparisons",
                    Operator::NAMES.map(|(name, _)| name).join(" ")
                ))
            }
        }
    }

    fn side(&mut self) -> Result<Side> {
        self.blanks();
        let literal = match self.peek() {
            Some('$' | '@') => return self.path(),
            Some('\'' | '"') => Literal::Text(self.quoted()?),
            Some('{' | '[') => self.json()?,
            Some('/') => self.pattern()?,
            Some('t' | 'f' | 'n') => self.word()?,
            _ => self.number()?,
        };
        Ok(Side::Literal(literal))
    }

    /// A path within a filter goes on to the next blank, operator or closing parenthesis.
    fn path(&mut self) -> Result<Side> {
        let start = self.at;
        self.at += 1;
        while let Some(char) = self.peek() {
            match char {
                '[' => self.at = self.end_of_brackets('[', ']')?,
                '(' if self.chars.get(self.at + 1) == Some(&')') => self.at += 2,
                ' ' | ')' | '<' | '>' | '=' | '~' | '!' => break,
                '&' | '|' if self.chars.get(self.at + 1) == Some(&char) => break,
                _ => self.at += 1,
            }
        }
        let path = path_within(&self.text(start), self.depth + 1);
        let path = path.map_err(|error| format!("{error} of the path at character {}", start + 1))?;
        Ok(Side::Path(Box::new(path)))
    }

    /// The place after the bracket that closes the one here. Brackets in quotes do not count.
    fn end_of_brackets(&self, open: char, close: char) -> Result<usize> {
        let mut depth = 0_usize;
        let mut quote = None;
        let mut at = self.at;
        while let Some(&char) = self.chars.get(at) {
            at += 1;
            match (quote, char) {
                (Some(_), '\\') => at += 1,
                (Some(open), char) if open == char => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(char),
                (None, char) if char == open => depth += 1,
                (None, char) if char == close => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(at);
                    }
                }
                (None, _) => {}
            }
        }
        self.error(&format!("`{open}` is not closed"))
    }

    /// An array or object. Single quotes are taken for double ones, as Jayway's reader does.
    fn json(&mut self) -> Result<Literal> {
        let start = self.at;
        let (open, close) = if self.peek() == Some('{') {
            ('{', '}')
        } else {
            ('[', ']')
        };
        let end = self.end_of_brackets(open, close)?;
        let mut text = String::new();
        while self.at < end {
            match self.peek() {
                Some('\'' | '"') => push_json_string(&self.quoted()?, &mut text),
                Some(char) => {
                    text.push(char);
                    self.at += 1;
                }
                None => break,
            }
        }
        match parse_json(&text) {
            Ok(value) => Ok(Literal::Json(value)),
            Err(error) => Err(format!("{error} in the literal at character {}", start + 1)),
        }
    }

    /// `/…/flags`
    fn pattern(&mut self) -> Result<Literal> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.next() {
                None => return self.error("the pattern is not closed with `/`"),
                Some('\\') => self.at += 1,
                Some('/') => break,
                Some(_) => {}
            }
        }
        let pattern: String = self.chars.get(start..self.at - 1).unwrap_or_default().iter().collect();
        let flags_start = self.at;
        while self.peek().is_some_and(|char| char.is_ascii_alphabetic()) {
            self.at += 1;
        }
        let flags = self.text(flags_start);
        let java = match flags.as_str() {
            "" => pattern,
            flags => format!("(?{flags}){pattern}"),
        };
        let pattern = Pattern::try_new(&java).map_err(|error| format!("{error} in the pattern /{java}/"))?;
        Ok(Literal::Pattern(Box::new(pattern)))
    }

    fn word(&mut self) -> Result<Literal> {
        let start = self.at;
        while self.peek().is_some_and(|char| char.is_ascii_alphabetic()) {
            self.at += 1;
        }
        match self.text(start).as_str() {
            "true" => Ok(Literal::Boolean(true)),
            "false" => Ok(Literal::Boolean(false)),
            "null" => Ok(Literal::Null),
            word => Err(format!(
                "`{word}` is no value, at character {}: texts have quotes",
                start + 1
            )),
        }
    }

    fn number(&mut self) -> Result<Literal> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|char| matches!(char, '0'..='9' | '-' | '.' | 'e' | 'E'))
        {
            self.at += 1;
        }
        match number::parse_decimal(&self.text(start)) {
            Some(decimal) => Ok(Literal::Number(Number::of_decimal(decimal))),
            None => self.error("a path or value is expected: texts have quotes"),
        }
    }
}

fn push_json_string(text: &str, out: &mut String) {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    klamm_connect_api::json::write_string(text, &mut bytes);
    out.push_str(&String::from_utf8_lossy(&bytes));
}
