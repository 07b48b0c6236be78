//! `sasl.jaas.config`, read as Kafka reads it: `module.Class required key="value" …;`, one module.
//!
//! Words stand bare (letters, digits, `_`, `-`, `.`, `$`) or quoted in `"` or `'` with C's escapes; `//` and `/* */`
//! are comments. Errors name keys, never values: any of them may be the password.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use super::Secret;

/// One login module with its options.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Jaas {
    /// Class of the login module.
    pub(super) module: String,
    /// Its options. All count as secret.
    pub(super) options: BTreeMap<String, Secret>,
}

const SHAPE: &str = "written as `module.Class required key=\"value\" …;`";

enum Token {
    Word(String),
    Equals,
    Semicolon,
    Other,
}

impl Jaas {
    /// # Errors
    /// What is wrong, without any value.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut chars = text.chars().peekable();
        let Some(Token::Word(module)) = next(&mut chars)? else {
            return Err(format!("it names no login module: it is {SHAPE}"));
        };
        match next(&mut chars)? {
            Some(Token::Word(flag))
                if ["required", "requisite", "sufficient", "optional"]
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(&flag)) => {}
            _ => return Err(format!("`required` is missing after the login module: it is {SHAPE}")),
        }
        let mut options = BTreeMap::new();
        loop {
            match next(&mut chars)? {
                Some(Token::Semicolon) => break,
                Some(Token::Word(key)) => {
                    let Some(Token::Equals) = next(&mut chars)? else {
                        return Err(format!(
                            "after {} options, one has no `=`: write `key=\"value\"`, and quote values with spaces or \
                             special characters",
                            options.len()
                        ));
                    };
                    let Some(Token::Word(value)) = next(&mut chars)? else {
                        return Err(format!(
                            "option `{key}` has no value that can be read: put it in double quotes"
                        ));
                    };
                    options.insert(key, Secret::new(value));
                }
                None => return Err("the `;` at its end is missing".to_owned()),
                Some(Token::Equals | Token::Other) => {
                    return Err(format!(
                        "after {} options comes a character that must stand in quotes: put values in double quotes",
                        options.len()
                    ));
                }
            }
        }
        if next(&mut chars)?.is_some() {
            return Err("it goes on after its `;`: exactly one login module is allowed".to_owned());
        }
        Ok(Self { module, options })
    }

    /// An option that is not empty.
    pub(super) fn option(&self, key: &str) -> Option<&str> {
        self.options
            .get(key)
            .map(Secret::reveal)
            .filter(|value| !value.is_empty())
    }

    /// The class without its package.
    pub(super) fn simple_module(&self) -> &str {
        self.module.rsplit('.').next().unwrap_or(&self.module)
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$') || c >= '\u{a0}'
}

fn next(chars: &mut Peekable<Chars<'_>>) -> Result<Option<Token>, String> {
    loop {
        let Some(c) = chars.next() else { return Ok(None) };
        return Ok(Some(match c {
            c if c <= ' ' => continue,
            '/' => match chars.next() {
                Some('/') => {
                    chars.by_ref().find(|c| *c == '\n');
                    continue;
                }
                Some('*') => {
                    let mut last = ' ';
                    if !chars
                        .by_ref()
                        .any(|c| std::mem::replace(&mut last, c) == '*' && c == '/')
                    {
                        return Err("a `/*` comment does not end".to_owned());
                    }
                    continue;
                }
                _ => Token::Other,
            },
            '=' => Token::Equals,
            ';' => Token::Semicolon,
            '"' | '\'' => Token::Word(quoted(chars, c)?),
            c if is_word(c) => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| is_word(*c)) {
                    word.push(c);
                }
                Token::Word(word)
            }
            _ => Token::Other,
        }));
    }
}

/// The rest of a quoted word, with the escapes of Java's `StreamTokenizer`.
fn quoted(chars: &mut Peekable<Chars<'_>>, quote: char) -> Result<String, String> {
    let open = || "a quoted value does not end on its line".to_owned();
    let mut word = String::new();
    loop {
        match chars.next().ok_or_else(open)? {
            c if c == quote => return Ok(word),
            '\n' | '\r' => return Err(open()),
            '\\' => word.push(match chars.next().ok_or_else(open)? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'a' => '\u{7}',
                'v' => '\u{b}',
                first @ '0'..='7' => octal(chars, first),
                other => other,
            }),
            c => word.push(c),
        }
    }
}

/// Up to three octal digits, at most `\377`.
fn octal(chars: &mut Peekable<Chars<'_>>, first: char) -> char {
    let mut value = first.to_digit(8).unwrap_or(0);
    let more = if first <= '3' { 2 } else { 1 };
    for _ in 0..more {
        let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else {
            break;
        };
        chars.next();
        value = value * 8 + digit;
    }
    char::from_u32(value).unwrap_or('\u{fffd}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text, the options in it, and why.
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

    #[test]
    fn configurations_are_read_as_users_write_them() {
        let cases: &[Case] = &[
            (
                "a.b.PlainLoginModule required username=\"alice\" password=\"alice-secret\";",
                &[("username", "alice"), ("password", "alice-secret")],
                "as in Kafka's documentation",
            ),
            (
                "a.b.PlainLoginModule required\n  username=\"bob\"\n  password=\"p@ss\\\"w=rd,; x\";\n",
                &[("username", "bob"), ("password", "p@ss\"w=rd,; x")],
                "several lines, escapes, `=`, `;` and spaces in a value",
            ),
            (
                "M REQUIRED user='it\"s' n=12 dashed-value=a-b_c.d$e ;",
                &[("user", "it\"s"), ("n", "12"), ("dashed-value", "a-b_c.d$e")],
                "single quotes, bare words, space before the end",
            ),
            (
                "M required // who\n a=\"1\" /* b=\"2\" * / */ c = \"\\\\\\t\\101\\x\";",
                &[("a", "1"), ("c", "\\\tAx")],
                "comments, spaces around `=`, escapes as in C, unknown escapes stand for themselves",
            ),
            ("M optional;", &[], "no options"),
        ];
        for (text, wanted, why) in cases {
            let jaas = Jaas::parse(text).unwrap_or_else(|err| panic!("{why}: {err}"));
            let found: BTreeMap<&str, &str> = jaas.options.iter().map(|(k, v)| (k.as_str(), v.reveal())).collect();
            assert_eq!(found, wanted.iter().copied().collect(), "{why}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_any_value() {
        let cases = [
            ("", "it names no login module"),
            ("M;", "`required` is missing"),
            ("M required password=\"hunter2\"", "the `;` at its end is missing"),
            (
                "M required password=\"hunter2",
                "a quoted value does not end on its line",
            ),
            (
                "M required password=\"hunter2\n\";",
                "a quoted value does not end on its line",
            ),
            (
                "M required password=hunter2@;",
                "comes a character that must stand in quotes",
            ),
            (
                "M required password=@hunter2;",
                "option `password` has no value that can be read",
            ),
            ("M required hunter2;", "one has no `=`"),
            ("M required; N required;", "it goes on after its `;`"),
            ("M required /* ;", "comment does not end"),
        ];
        for (text, wanted) in cases {
            let err = Jaas::parse(text).unwrap_err();
            assert!(err.contains(wanted), "{text}: {err}");
            assert!(!err.contains("hunter2"), "{text}: {err}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            drop(Jaas::parse(&text));
        }

        #[test]
        fn a_quoted_value_comes_back(value in "[^\n\r]{0,40}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let jaas = Jaas::parse(&format!("M required k=\"{escaped}\";")).unwrap();
            prop_assert_eq!(jaas.options["k"].reveal(), value.as_str());
        }
    }
}
