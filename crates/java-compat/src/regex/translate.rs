//! Rewrites a Java pattern so that `fancy-regex` means the same by it.
#![warn(clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use super::PatternError;

type Result<T> = std::result::Result<T, PatternError>;

/// A pattern in the words of `fancy-regex`.
pub(super) struct Translated {
    pub(super) pattern: String,
    /// Whether it takes more than an automaton to match it.
    pub(super) backtracks: bool,
}

/// The texts that a translation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// ASCII without line ends: names of topics.
    Plain,
    /// Any. Lines end in five ways, and only the letters of ASCII have two cases.
    Any,
}

const LINE_ENDS: &str = "\\n\\r\\x{85}\\x{2028}\\x{2029}";

pub(super) fn pattern(java: &str, texts: Texts) -> Result<Translated> {
    let mut translator = Translator {
        rest: java.chars().peekable(),
        out: String::with_capacity(java.len() + 16),
        texts,
        groups: 0,
        names: Vec::new(),
        flags: Flags::default(),
        outer: Vec::new(),
        backtracks: false,
        repeats: false,
    };
    translator.pattern()?;
    Ok(Translated {
        pattern: translator.out,
        backtracks: translator.backtracks,
    })
}

/// The flags that are on.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of Java's")]
struct Flags {
    ignore_case: bool,
    unicode_case: bool,
    multiline: bool,
    dot_all: bool,
    unix_lines: bool,
}

fn error<T>(message: impl Into<String>) -> Result<T> {
    Err(PatternError(format!("Invalid regex: {}", message.into())))
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    texts: Texts,
    /// Capturing groups opened so far.
    groups: usize,
    /// The names among them, each with the `>` that ends it.
    names: Vec<String>,
    flags: Flags,
    /// The flags outside of each open group.
    outer: Vec<Flags>,
    backtracks: bool,
    /// Whether a repetition has just been read: a `+` now makes it possessive.
    repeats: bool,
}

impl Translator<'_> {
    fn pattern(&mut self) -> Result<()> {
        while let Some(char) = self.rest.next() {
            let repeats = matches!(char, '*' | '+' | '?' | '{');
            if char == '+' && self.repeats {
                self.backtracks = true;
            }
            self.repeats = repeats && !self.repeats;
            match char {
                '\\' => self.escape(false)?,
                '[' => {
                    let start = self.out.len();
                    self.class()?;
                    self.end_class(start);
                }
                '(' => self.group()?,
                ')' => {
                    if let Some(flags) = self.outer.pop() {
                        self.flags = flags;
                    }
                    self.out.push(char);
                }
                '{' => self.repetition()?,
                '*' | '+' | '?' | '|' => self.out.push(char),
                '.' if self.texts == Texts::Any => self.dot(),
                '^' if self.texts == Texts::Any => self.caret(),
                '$' if self.texts == Texts::Any => self.dollar(),
                '.' | '^' | '$' => self.out.push(char),
                other => self.literal(other),
            }
        }
        Ok(())
    }

    /// Any character, or any that does not end a line.
    fn dot(&mut self) {
        match (self.flags.dot_all, self.flags.unix_lines) {
            (true, _) => self.out.push_str("(?s:.)"),
            (false, true) => self.members("\\n", true),
            (false, false) => self.members(LINE_ENDS, true),
        }
    }

    /// The start, or that of each line: there is none after a line end at the end of the text.
    fn caret(&mut self) {
        match (self.flags.multiline, self.flags.unix_lines) {
            (false, _) => self.out.push_str("\\A"),
            (true, true) => self.lookaround("(?:\\A|(?<=\\n)(?!\\z))"),
            (true, false) => {
                self.lookaround("(?:\\A|(?<=[\\n\\x{85}\\x{2028}\\x{2029}])(?!\\z)|(?<=\\r)(?!\\n|\\z))");
            }
        }
    }

    /// The end, also before a line end there; or that of each line.
    fn dollar(&mut self) {
        let end = if self.flags.multiline { "" } else { "\\z" };
        let line_end = match self.flags.unix_lines {
            true => format!("\\n{end}"),
            false => format!("(?:\\r\\n|(?<!\\r)\\n|[\\r\\x{{85}}\\x{{2028}}\\x{{2029}}]){end}"),
        };
        self.lookaround(&format!("(?:\\z|(?={line_end}))"));
    }

    /// Writes what no automaton matches.
    fn lookaround(&mut self, assertion: &str) {
        self.backtracks = true;
        self.out.push_str(assertion);
    }

    /// Whether case is ignored in a way of Java's own, so that it has to be written out.
    fn writes_out_case(&self) -> bool {
        self.texts == Texts::Any && self.flags.ignore_case
    }

    fn literal(&mut self, char: char) {
        if !self.writes_out_case() || !char.is_alphabetic() {
            self.plain(char);
        } else if self.flags.unicode_case {
            self.out.push_str("(?i:");
            self.plain(char);
            self.out.push(')');
        } else if char.is_ascii() {
            self.out.push('[');
            self.out.push(char.to_ascii_lowercase());
            self.out.push(char.to_ascii_uppercase());
            self.out.push(']');
        } else {
            self.plain(char);
        }
    }

    /// Closes what has been written since `start`, a class: without `u` only the letters of ASCII have two cases.
    fn end_class(&mut self, start: usize) {
        if !self.writes_out_case() {
            return;
        }
        let class = self.out.split_off(start);
        let folded = if self.flags.unicode_case {
            format!("(?i:{class})")
        } else {
            self.backtracks = true;
            format!("(?:(?=[\\x00-\\x7F])(?i:{class})|(?![\\x00-\\x7F]){class})")
        };
        self.out.push_str(&folded);
    }

    fn plain(&mut self, char: char) {
        // `\<` and `\>` are word boundaries there.
        if char.is_ascii_punctuation() && !matches!(char, '<' | '>') {
            self.out.push('\\');
        }
        self.out.push(char);
    }

    fn take_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        self.rest.next_if(|char| wanted(*char))
    }

    /// `{n}`, `{n,}` or `{n,m}`: nothing else may follow an opening brace.
    fn repetition(&mut self) -> Result<()> {
        let mut text = String::from("{");
        while let Some(char) = self.take_if(|char| char.is_ascii_digit() || char == ',') {
            text.push(char);
        }
        let counts = text.trim_start_matches('{');
        let is_repetition = counts.starts_with(|first: char| first.is_ascii_digit()) && counts.matches(',').count() < 2;
        if !is_repetition || self.take_if(|char| char == '}').is_none() {
            return error("`{` starts a repetition such as {2} or {2,5}; write `\\{` for the character");
        }
        self.out.push_str(&text);
        self.out.push('}');
        Ok(())
    }

    /// After an opening parenthesis.
    fn group(&mut self) -> Result<()> {
        self.outer.push(self.flags);
        if self.take_if(|char| char == '?').is_none() {
            self.groups += 1;
            self.out.push('(');
            return Ok(());
        }
        self.out.push_str("(?");
        match self.rest.next() {
            Some(':') => self.out.push(':'),
            Some(kind @ ('=' | '!' | '>')) => {
                self.backtracks = true;
                self.out.push(kind);
            }
            Some('<') => {
                self.out.push('<');
                match self.rest.next() {
                    Some(kind @ ('=' | '!')) => {
                        self.backtracks = true;
                        self.out.push(kind);
                    }
                    Some(first) if first.is_ascii_alphabetic() => {
                        self.groups += 1;
                        let start = self.out.len();
                        self.out.push(first);
                        self.group_name()?;
                        let name = self.out.get(start..).unwrap_or_default().to_owned();
                        if self.names.contains(&name) {
                            return error(format!("the group `(?<{name}` is defined twice"));
                        }
                        self.names.push(name);
                    }
                    _ => return error("`(?<` is followed by `=`, `!` or the name of a group"),
                }
            }
            Some(first) => self.flags(first)?,
            None => return error("the pattern ends in `(?`"),
        }
        Ok(())
    }

    /// A name up to its `>`.
    fn group_name(&mut self) -> Result<()> {
        while let Some(char) = self.take_if(|char| char.is_ascii_alphanumeric()) {
            self.out.push(char);
        }
        match self.take_if(|char| char == '>') {
            Some(end) => self.out.push(end),
            None => return error("the name of a group takes letters and digits and ends in `>`"),
        }
        Ok(())
    }

    /// `(?i)`, `(?s-m:` and the like. What Unix lines and Unicode case mean is written out where it matters.
    fn flags(&mut self, first: char) -> Result<()> {
        let mut flags = String::new();
        let mut next = Some(first);
        let mut sets = true;
        loop {
            match next {
                Some('-') => {
                    sets = false;
                    flags.push('-');
                }
                Some(flag @ ('i' | 'm' | 's' | 'd' | 'u')) => {
                    match flag {
                        'i' => self.flags.ignore_case = sets,
                        'm' => self.flags.multiline = sets,
                        's' => self.flags.dot_all = sets,
                        'd' => self.flags.unix_lines = sets,
                        _ => self.flags.unicode_case = sets,
                    }
                    let is_written_out = self.texts == Texts::Any && flag == 'i';
                    if !matches!(flag, 'd' | 'u') && !is_written_out {
                        flags.push(flag);
                    }
                }
                Some(end @ (')' | ':')) => {
                    let flags = flags.trim_end_matches('-');
                    if flags.is_empty() {
                        // `(?)` sets nothing: an empty group says the same.
                        self.out.push(':');
                    } else {
                        self.out.push_str(flags);
                    }
                    if end == ')' {
                        // The flags hold to the end of the group around.
                        self.outer.pop();
                        self.out.push(')');
                    } else if !flags.is_empty() {
                        self.out.push(':');
                    }
                    return Ok(());
                }
                Some(other) => return error(format!("the flag or group `(?{other}` is not supported")),
                None => return error("the pattern ends within `(?`"),
            }
            next = self.rest.next();
        }
    }

    /// After a backslash.
    fn escape(&mut self, in_class: bool) -> Result<()> {
        let Some(char) = self.rest.next() else {
            return error("the pattern ends in a single `\\`");
        };
        let start = self.out.len();
        match char {
            'Q' => self.quoted(in_class),
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'h' | 'H' | 'v' | 'V' => self.shorthand(char),
            't' | 'n' | 'r' | 'f' | 'a' => {
                self.out.push('\\');
                self.out.push(char);
            }
            'e' => self.code(0x1b)?,
            '0' => self.octal()?,
            'x' => self.hexadecimal()?,
            'u' => {
                let digits = self.hex_digits(4);
                self.hex_code(&digits)?;
            }
            'c' => match self.rest.next() {
                Some(control) => self.code(u32::from(control) ^ 64)?,
                None => return error("the pattern ends in `\\c`"),
            },
            'p' | 'P' => self.property(char == 'P', in_class)?,
            'b' | 'B' | 'A' | 'z' if !in_class => {
                self.out.push('\\');
                self.out.push(char);
            }
            'Z' if !in_class => {
                self.lookaround("(?=(?:\\r\\n|(?<!\\r)\\n|[\\r\\x{85}\\x{2028}\\x{2029}])?\\z)");
            }
            'R' if !in_class => {
                self.lookaround("(?>\\r\\n|[\\n\\x0B\\f\\r\\x{85}\\x{2028}\\x{2029}])");
            }
            'k' if !in_class => {
                if self.take_if(|char| char == '<').is_none() {
                    return error("`\\k` is followed by `<name>`");
                }
                self.backtracks = true;
                self.out
                    .push_str(if self.writes_out_case() { "(?i:\\k<" } else { "(?:\\k<" });
                self.group_name()?;
                self.out.push(')');
            }
            '1'..='9' if !in_class => self.back_reference(char),
            other if other.is_ascii_alphanumeric() => return error(format!("`\\{other}` is not supported")),
            other if in_class => self.plain(other),
            other => self.literal(other),
        }
        if !in_class && matches!(char, '0' | 'x' | 'u' | 'c') {
            // A character by its number is a class of one.
            self.end_class(start);
        }
        Ok(())
    }

    /// Up to `\E` every character stands for itself.
    fn quoted(&mut self, in_class: bool) {
        while let Some(char) = self.rest.next() {
            if char == '\\' && self.take_if(|char| char == 'E').is_some() {
                return;
            }
            if in_class {
                self.plain(char);
            } else {
                self.literal(char);
            }
        }
    }

    /// Java's shorthands know ASCII only.
    fn shorthand(&mut self, name: char) {
        let members = match name.to_ascii_lowercase() {
            'd' => "0-9",
            'w' => "a-zA-Z0-9_",
            's' => " \\t\\n\\x0B\\f\\r",
            'h' => " \\t\\x{A0}\\x{1680}\\x{180e}\\x{2000}-\\x{200a}\\x{202f}\\x{205f}\\x{3000}",
            _ => "\\n\\x0B\\f\\r\\x{85}\\x{2028}\\x{2029}",
        };
        self.members(members, name.is_ascii_uppercase());
    }

    /// A class of its own, which may stand inside another one.
    fn members(&mut self, members: &str, is_negated: bool) {
        self.out.push_str(if is_negated { "[^" } else { "[" });
        self.out.push_str(members);
        self.out.push(']');
    }

    fn code(&mut self, code: u32) -> Result<()> {
        if char::from_u32(code).is_none() {
            return error(format!("{code:#x} is no character"));
        }
        // Writing to a String cannot fail.
        write!(self.out, "\\x{{{code:x}}}").unwrap_or_default();
        Ok(())
    }

    fn hex_digits(&mut self, most: usize) -> String {
        let mut digits = String::new();
        while digits.len() < most
            && let Some(digit) = self.take_if(|char| char.is_ascii_hexdigit())
        {
            digits.push(digit);
        }
        digits
    }

    fn hex_code(&mut self, digits: &str) -> Result<()> {
        match u32::from_str_radix(digits, 16) {
            Ok(code) => self.code(code),
            Err(_) => error("hexadecimal digits are missing"),
        }
    }

    fn hexadecimal(&mut self) -> Result<()> {
        let digits = if self.take_if(|char| char == '{').is_some() {
            let digits = self.hex_digits(6);
            if self.take_if(|char| char == '}').is_none() {
                return error("`\\x{` takes up to six hexadecimal digits and `}`");
            }
            digits
        } else {
            self.hex_digits(2)
        };
        self.hex_code(&digits)
    }

    /// `\0n`, `\0nn` or, up to 0377, `\0nnn`.
    fn octal(&mut self) -> Result<()> {
        let mut code = 0;
        let mut digits = 0;
        while digits < 3 {
            let fits = |char: char| char.to_digit(8).is_some_and(|digit| code * 8 + digit <= 0o377);
            let Some(digit) = self.take_if(fits).and_then(|char| char.to_digit(8)) else {
                break;
            };
            code = code * 8 + digit;
            digits += 1;
        }
        if digits == 0 {
            return error("`\\0` takes octal digits");
        }
        self.code(code)
    }

    /// More digits belong to the reference only while there is such a group.
    fn back_reference(&mut self, first: char) {
        let mut group = first.to_digit(10).map_or(0, |digit| digit as usize);
        while let Some(next) = self.rest.peek().and_then(|char| char.to_digit(10)) {
            let longer = group * 10 + next as usize;
            if longer > self.groups {
                break;
            }
            group = longer;
            self.rest.next();
        }
        self.backtracks = true;
        let flag = if self.writes_out_case() { "i" } else { "" };
        write!(self.out, "(?{flag}:\\{group})").unwrap_or_default();
    }

    /// `\p{Lower}`, `\pL`; a class of ASCII for the names of POSIX.
    fn property(&mut self, is_negated: bool, in_class: bool) -> Result<()> {
        let start = self.out.len();
        let name: String = if self.take_if(|char| char == '{').is_some() {
            let mut name = String::new();
            while let Some(char) = self.take_if(|char| char != '}') {
                name.push(char);
            }
            self.rest.next();
            name
        } else {
            self.rest.next().into_iter().collect()
        };
        let ascii = match name.as_str() {
            "Lower" => "a-z",
            "Upper" => "A-Z",
            "ASCII" => "\\x00-\\x7F",
            "Alpha" => "a-zA-Z",
            "Digit" => "0-9",
            "Alnum" => "a-zA-Z0-9",
            "Punct" => "!-/:-@\\[-`{-\\~",
            "Graph" => "!-\\~",
            "Print" => " -\\~",
            "Blank" => " \\t",
            "Cntrl" => "\\x00-\\x1F\\x7F",
            "XDigit" => "0-9a-fA-F",
            "Space" => " \\t\\n\\x0B\\f\\r",
            category if is_category(category.trim_start_matches("Is")) => {
                let sign = if is_negated { 'P' } else { 'p' };
                let category = category.trim_start_matches("Is");
                // Upper and lower case are one where case is ignored, and not in ASCII alone.
                if self.writes_out_case() && !in_class {
                    write!(self.out, "(?i:\\{sign}{{{category}}})").unwrap_or_default();
                } else {
                    write!(self.out, "\\{sign}{{{category}}}").unwrap_or_default();
                }
                return Ok(());
            }
            _ => return error(format!("the class `\\p{{{name}}}` is not supported")),
        };
        self.members(ascii, is_negated);
        if !in_class {
            self.end_class(start);
        }
        Ok(())
    }

    /// After an opening bracket.
    fn class(&mut self) -> Result<()> {
        self.out.push('[');
        if let Some(not) = self.take_if(|char| char == '^') {
            self.out.push(not);
        }
        let mut is_empty = true;
        loop {
            let Some(char) = self.rest.next() else {
                return error("Unclosed character class");
            };
            match char {
                ']' if !is_empty => {
                    self.out.push(']');
                    return Ok(());
                }
                '[' if self.rest.peek() == Some(&':') => {
                    return error("`[[:` begins no class of POSIX in Java: write \\p{Alpha} and the like");
                }
                '[' => self.class()?,
                '\\' => self.escape(true)?,
                '&' if self.take_if(|char| char == '&').is_some() => {
                    if is_empty || matches!(self.rest.peek(), Some(']' | '&')) {
                        return error("`&&` in a character class needs members on both sides: escape it otherwise");
                    }
                    self.out.push_str("&&");
                }
                '-' if self.rest.peek() == Some(&'-') => {
                    return error("`--` in a character class is not supported: escape the hyphens");
                }
                '-' | '^' => self.out.push(char),
                other => self.plain(other),
            }
            is_empty = false;
        }
    }
}

/// A general category of Unicode: a letter, or two.
fn is_category(name: &str) -> bool {
    let mut chars = name.chars();
    let group = chars.next().is_some_and(|char| "LMNPSZC".contains(char));
    group && name.len() <= 2 && chars.all(|char| char.is_ascii_lowercase())
}
