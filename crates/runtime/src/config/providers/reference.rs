//! `${provider:[path:]key}` in a value (KIP-297).

/// One reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    /// Alias of the provider.
    pub(crate) provider: String,
    /// Empty if there is none.
    pub(crate) path: String,
    pub(crate) key: String,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { provider, path, key } = self;
        // A colon in the key would end a path that is left out.
        if path.is_empty() && !key.contains(':') {
            write!(f, "${{{provider}:{key}}}")
        } else {
            write!(f, "${{{provider}:{path}:{key}}}")
        }
    }
}

/// A value, cut into what stands there and what is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Reference(Reference),
}

/// The pieces of a value, in order. As in Connect there are neither escapes nor references in references; further colons
/// belong to the key.
pub(crate) fn pieces(value: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = value;
    while let Some((before, inside, after)) = next(rest) {
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let (provider, key) = inside;
        let (path, key) = key.split_once(':').unwrap_or(("", key));
        pieces.push(Piece::Reference(Reference {
            provider: provider.to_owned(),
            path: path.to_owned(),
            key: key.to_owned(),
        }));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// What stands before the first reference, its provider and what follows, and what stands behind it.
fn next(text: &str) -> Option<(&str, (&str, &str), &str)> {
    let mut from = 0;
    loop {
        let rest = text.get(from..)?;
        let begin = from + rest.find("${")?;
        let (inside, after) = text.get(begin + 2..)?.split_once('}')?;
        if let Some(inside) = inside.split_once(':') {
            return Some((text.get(..begin)?, inside, after));
        }
        from = begin + 2;
    }
}

/// Whether the value holds a reference.
pub(crate) fn has_reference(value: &str) -> bool {
    next(value).is_some()
}

/// Whether the value is one reference and nothing else: it holds no secret itself.
pub(crate) fn is_reference(value: &str) -> bool {
    matches!(pieces(value.trim()).as_slice(), [Piece::Reference(_)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(provider: &str, path: &str, key: &str) -> Piece<'static> {
        Piece::Reference(Reference {
            provider: provider.to_owned(),
            path: path.to_owned(),
            key: key.to_owned(),
        })
    }

    #[test]
    fn references_are_found_as_connect_finds_them() {
        let text = Piece::Text;
        let cases = [
            ("", vec![], "empty"),
            ("plain", vec![text("plain")], "none"),
            ("${env:A}", vec![reference("env", "", "A")], "without a path"),
            (
                "${file:/a/b.properties:k}",
                vec![reference("file", "/a/b.properties", "k")],
                "with one",
            ),
            ("${ssm::/a/b}", vec![reference("ssm", "", "/a/b")], "with an empty one"),
            (
                "${s:p:a:b}",
                vec![reference("s", "p", "a:b")],
                "further colons belong to the key",
            ),
            (
                "u:${env:A}@${env:B}!",
                vec![
                    text("u:"),
                    reference("env", "", "A"),
                    text("@"),
                    reference("env", "", "B"),
                    text("!"),
                ],
                "several",
            ),
            ("${topic}-${x", vec![text("${topic}-${x")], "no colon, no end"),
            (
                "${topic}${env:A}",
                vec![text("${topic}"), reference("env", "", "A")],
                "after one that is none",
            ),
            ("${a${env:A}", vec![reference("a${env", "", "A")], "the first begins it"),
        ];
        for (value, wanted, why) in cases {
            assert_eq!(pieces(value), wanted, "{value}: {why}");
            assert_eq!(
                has_reference(value),
                wanted.iter().any(|piece| matches!(piece, Piece::Reference(_)))
            );
        }
        assert!(is_reference(" ${env:A} ") && !is_reference("x${env:A}") && !is_reference("${env:A}${env:B}"));
    }

    proptest! {
        #[test]
        fn a_value_that_is_put_together_again_means_the_same(value in "([${}:]|[a-c]){0,30}") {
            let found = pieces(&value);
            let shown: String = found.iter().map(|piece| match piece {
                Piece::Text(text) => (*text).to_owned(),
                Piece::Reference(reference) => reference.to_string(),
            }).collect();
            prop_assert_eq!(pieces(&shown), found);
        }
    }
}
