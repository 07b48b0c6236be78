//! Files of properties (`java.util.Properties`), in UTF-8.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Reads `key=value` lines with Java's comments, continuations and escapes. The last of equal keys counts.
///
/// # Errors
/// A malformed escape, by line and without its words.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    // Windows' editors begin UTF-8 with a byte order mark; taken for a part of the first key it would hide it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n').enumerate();
    let mut properties = BTreeMap::new();
    while let Some((index, line)) = lines.next() {
        let line = line.trim_start_matches(BLANKS);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while is_continued(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANKS));
        }
        let (key, value) =
            property(&logical).ok_or_else(|| format!("line {} has a malformed `\\u` escape", index + 1))?;
        properties.insert(key, value);
    }
    Ok(properties)
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Whether the line ends with a backslash that no other one escapes.
fn is_continued(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// None for a malformed escape.
fn property(line: &str) -> Option<(String, String)> {
    let mut chars = line.chars().peekable();
    let key = unescaped(&mut chars, |c| BLANKS.contains(&c) || c == '=' || c == ':')?;
    let skip_blanks = |chars: &mut Peekable<Chars<'_>>| while chars.next_if(|c| BLANKS.contains(c)).is_some() {};
    skip_blanks(&mut chars);
    if chars.next_if(|c| *c == '=' || *c == ':').is_some() {
        skip_blanks(&mut chars);
    }
    Some((key, unescaped(&mut chars, |_| false)?))
}

/// The text up to a character that ends it and is not escaped.
fn unescaped(chars: &mut Peekable<Chars<'_>>, ends: impl Fn(char) -> bool) -> Option<String> {
    // In UTF-16, of which an escape may write half a character.
    let mut units: Vec<u16> = Vec::new();
    while let Some(c) = chars.next_if(|c| !ends(*c)) {
        let c = match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('u')) => {
                let digits: String = chars.by_ref().take(4).collect();
                let is_hex = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                units.push(u16::from_str_radix(&digits, 16).ok().filter(|_| is_hex)?);
                continue;
            }
            ('\\', Some('t')) => '\t',
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('f')) => '\u{c}',
            ('\\', Some(other)) => other,
            ('\\', None) => break,
            (c, _) => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_java_reads_them() {
        let cases = [
            ("a=1\r\n", &[("a", "1")][..], "line ends of Windows"),
            ("\u{feff}a=1", &[("a", "1")], "a byte order mark"),
            (
                "# no\n  ! no\n\n a=1 ",
                &[("a", "1 ")],
                "comments, blank lines; blanks at the end count",
            ),
            (
                "a 1\nb:2\nc = 3\nd\t:\t=4",
                &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "=4")],
                "separators",
            ),
            (
                "a\\ b\\=c=1\nd=\\t\\q\\\\",
                &[("a b=c", "1"), ("d", "\tq\\")],
                "escapes",
            ),
            (
                "a=x \\\n   y\\\\\nb=1",
                &[("a", "x y\\"), ("b", "1")],
                "a continuation, and none",
            ),
            ("a=x\\\n# y", &[("a", "x# y")], "no comment within a continuation"),
            (
                "a=\\u00fc\\ud83d\\ude00ü☃😀",
                &[("a", "ü😀ü☃😀")],
                "characters as they are and escaped",
            ),
            (
                "a\nb=\na=2\nc=x\\",
                &[("a", "2"), ("b", ""), ("c", "x")],
                "no value, the last of equal keys, an end",
            ),
        ];
        for (text, wanted, why) in cases {
            let wanted = wanted
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            assert_eq!(parse(text), Ok(wanted.collect()), "{why}");
        }
        for text in [
            "\na=hunter2\\u00zz",
            "\na=hunter2\\u0",
            "\na=hunter2\\ud83d",
            "\na=hunter2\\u+123",
        ] {
            assert_eq!(
                parse(text).unwrap_err(),
                "line 2 has a malformed `\\u` escape",
                "{text}"
            );
        }
    }
}
