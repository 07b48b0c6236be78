//! Texts with placeholders that a record fills in: `fn-${topic}`.

use std::fmt;

/// What a placeholder stands for. Topic, partition and offset are those of the record as consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Placeholder {
    Topic,
    Partition,
    Offset,
    Key,
}

impl Placeholder {
    fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Partition => "partition",
            Self::Offset => "offset",
            Self::Key => "key",
        }
    }
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Piece {
    Literal(String),
    FilledIn(Placeholder),
}

/// A text with placeholders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Template {
    text: String,
    pieces: Vec<Piece>,
}

impl Template {
    /// Reads a template that may use the placeholders given.
    ///
    /// # Errors
    /// What is wrong, with the placeholders that are accepted.
    pub(crate) fn parse(text: &str, accepted: &[Placeholder]) -> Result<Self, String> {
        let names = || {
            let names = accepted.iter().map(|known| format!("`${{{}}}`", known.name()));
            names.collect::<Vec<_>>().join(", ")
        };
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            if !before.is_empty() {
                pieces.push(Piece::Literal(before.to_owned()));
            }
            let Some((name, after)) = behind.split_once('}') else {
                return Err(format!(
                    "`{text}` opens a placeholder that does not end: accepted are {}",
                    names()
                ));
            };
            let Some(placeholder) = accepted.iter().find(|known| known.name() == name) else {
                return Err(format!(
                    "`${{{name}}}` in `{text}` is not known here: accepted are {}",
                    names()
                ));
            };
            pieces.push(Piece::FilledIn(*placeholder));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            pieces,
        })
    }

    /// The parts in order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_text_and_unknown_ones_are_refused() {
        let literal = |text: &str| Piece::Literal(text.to_owned());
        let template = Template::parse("fn-${topic}-x", &[Placeholder::Topic]).unwrap();
        let wanted = [literal("fn-"), Piece::FilledIn(Placeholder::Topic), literal("-x")];
        assert_eq!(template.pieces(), wanted);
        assert_eq!(Template::parse("a$b}{", &[]).unwrap().pieces(), [literal("a$b}{")]);
        let cases = [
            (
                "fn-${key}",
                "`${key}` in `fn-${key}` is not known here: accepted are `${topic}`",
            ),
            (
                "fn-${",
                "`fn-${` opens a placeholder that does not end: accepted are `${topic}`",
            ),
            (
                "${topic",
                "`${topic` opens a placeholder that does not end: accepted are `${topic}`",
            ),
        ];
        for (text, wanted) in cases {
            assert_eq!(Template::parse(text, &[Placeholder::Topic]).unwrap_err(), wanted);
        }
    }
}
