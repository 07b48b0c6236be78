use fancy_regex::{Captures, Regex};

use super::PatternError;

/// A replacement text, read for one pattern.
#[derive(Debug, Clone)]
pub struct Replacement(Vec<Piece>);

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Replacement {
    pub(super) fn try_new(text: &str, pattern: &Regex) -> Result<Self, PatternError> {
        let error = |message: String| Err(PatternError(message));
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(char) = rest.next() {
            match char {
                '\\' => match rest.next() {
                    Some(escaped) => literal.push(escaped),
                    None => return error("character to be escaped is missing after the last `\\`".to_owned()),
                },
                '$' => {
                    let group = if let Some(named) = rest.as_str().strip_prefix('{') {
                        let Some((name, after)) = named.split_once('}') else {
                            return error(format!(
                                "named capturing group is missing trailing '}}' in `${{{named}`"
                            ));
                        };
                        rest = after.chars();
                        named_group(name, pattern)?
                    } else {
                        let (group, length) = numbered_group(rest.as_str(), pattern)?;
                        // The digits are ASCII, a byte each.
                        rest = rest.as_str().get(length..).unwrap_or_default().chars();
                        group
                    };
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Group(group));
                }
                other => literal.push(other),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// A group that took no part in the match is empty.
    pub(super) fn expand(&self, captures: &Captures<'_>, out: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Group(group) => out.push_str(captures.get(*group).map_or("", |found| found.as_str())),
            }
        }
    }
}

fn named_group(name: &str, pattern: &Regex) -> Result<usize, PatternError> {
    pattern
        .capture_names()
        .position(|known| known == Some(name))
        .filter(|_| !name.is_empty())
        .ok_or_else(|| PatternError(format!("No group with name {{{name}}}")))
}

/// The group and how many digits name it: further ones count only while such a group exists.
fn numbered_group(text: &str, pattern: &Regex) -> Result<(usize, usize), PatternError> {
    let groups = pattern.captures_len();
    let mut digits = text
        .chars()
        .map_while(|char| char.to_digit(10).map(|digit| digit as usize));
    let Some(mut group) = digits.next() else {
        let message = "Illegal group reference: `$` takes a number or {name}; write `\\$` for the character";
        return Err(PatternError(message.to_owned()));
    };
    if group >= groups {
        return Err(PatternError(format!("No group {group}")));
    }
    let mut length = 1;
    for digit in digits {
        let longer = group * 10 + digit;
        if longer >= groups {
            break;
        }
        group = longer;
        length += 1;
    }
    Ok((group, length))
}
