//! `java.util.regex`: patterns and the replacement texts that go with them.

mod replacement;
mod translate;

use fancy_regex::{Regex, RegexBuilder};

pub use self::replacement::Replacement;

/// Steps that a backtracking match may take: far above what a topic name needs, and a fraction of a second.
const BACKTRACK_LIMIT: usize = 1_000_000;

/// A pattern or replacement that Java would refuse, or that has no equal here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub(crate) String);

/// A match took more steps than it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the regular expression takes too many steps on this text: avoid nested repetitions")]
pub struct MatchError;

/// A compiled Java pattern.
///
/// Classes such as `\d`, `\w` and `\s` are those of ASCII, as in Java.
///
/// ```
/// let pattern = klamm_java_compat::Pattern::try_new(r"(.*)-v\d+").unwrap();
/// let replacement = pattern.replacement("$1").unwrap();
/// assert!(pattern.matches("orders-v12").unwrap());
/// assert_eq!(pattern.replace_first("orders-v12", &replacement).unwrap(), "orders");
/// ```
#[derive(Debug, Clone)]
pub struct Pattern {
    whole: Regex,
    part: Regex,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// If Java would refuse it, or it uses one of the few constructs that have no equal here: the message says which.
    pub fn try_new(java: &str) -> Result<Self, PatternError> {
        let translated = translate::pattern(java)?;
        let compile = |pattern: &str| {
            RegexBuilder::new(pattern)
                .backtrack_limit(BACKTRACK_LIMIT)
                .build()
                .map_err(|error| PatternError(format!("Invalid regex: {error}")))
        };
        Ok(Self {
            part: compile(&translated)?,
            whole: compile(&format!("\\A(?:{translated})\\z"))?,
        })
    }

    /// Whether the whole text matches (`Matcher.matches`).
    ///
    /// # Errors
    /// If the match takes too long.
    pub fn matches(&self, text: &str) -> Result<bool, MatchError> {
        self.whole.is_match(text).map_err(|_| MatchError)
    }

    /// Reads a replacement text, in which `$1` and `${name}` stand for groups and `\` makes the next character stand
    /// for itself.
    ///
    /// # Errors
    /// What Java would say at the first match: a group that the pattern does not have, a `$` or `\` without what
    /// belongs to it.
    pub fn replacement(&self, text: &str) -> Result<Replacement, PatternError> {
        Replacement::try_new(text, &self.part)
    }

    /// The text with the first match of the pattern replaced (`Matcher.replaceFirst`), which may be shorter than the
    /// text even where the whole text matches.
    ///
    /// # Errors
    /// If the match takes too long.
    pub fn replace_first(&self, text: &str, replacement: &Replacement) -> Result<String, MatchError> {
        let captures = self.part.captures(text).map_err(|_| MatchError)?;
        let Some((captures, found)) = captures.and_then(|captures| captures.get(0).map(|found| (captures, found)))
        else {
            return Ok(text.to_owned());
        };
        let mut out = String::with_capacity(text.len());
        out.push_str(text.get(..found.start()).unwrap_or_default());
        replacement.expand(&captures, &mut out);
        out.push_str(text.get(found.end()..).unwrap_or_default());
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
