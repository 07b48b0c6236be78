//! `java.util.regex`: patterns and the replacement texts that go with them.

mod replacement;
mod translate;

use fancy_regex::{Regex, RegexBuilder};

use self::translate::{Texts, Translated};

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
    plain: Compiled,
    /// For other texts than those of [`Texts::Plain`], if that makes a difference.
    any: Option<Compiled>,
}

#[derive(Debug, Clone)]
struct Compiled {
    whole: Regex,
    part: Regex,
    backtracks: bool,
}

impl Compiled {
    fn try_new(Translated { pattern, backtracks }: &Translated) -> Result<Self, PatternError> {
        let compile = |pattern: &str| {
            RegexBuilder::new(pattern)
                .backtrack_limit(BACKTRACK_LIMIT)
                .build()
                .map_err(|error| PatternError(format!("Invalid regex: {error}")))
        };
        Ok(Self {
            part: compile(pattern)?,
            whole: compile(&format!("\\A(?:{pattern})\\z"))?,
            backtracks: *backtracks,
        })
    }
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// If Java would refuse it, or it uses one of the few constructs that have no equal here: the message says which.
    pub fn try_new(java: &str) -> Result<Self, PatternError> {
        let plain = translate::pattern(java, Texts::Plain)?;
        let any = translate::pattern(java, Texts::Any)?;
        let differs = any.pattern != plain.pattern;
        Ok(Self {
            plain: Compiled::try_new(&plain)?,
            any: differs.then(|| Compiled::try_new(&any)).transpose()?,
        })
    }

    fn compiled(&self, text: &str) -> &Compiled {
        match &self.any {
            Some(any)
                if !text
                    .bytes()
                    .all(|byte| byte.is_ascii() && !matches!(byte, b'\n' | b'\r')) =>
            {
                any
            }
            _ => &self.plain,
        }
    }

    /// Whether a match on this text may take more than time in proportion to it: with look-around, back-references,
    /// atomic groups and possessive repetitions. It is bounded even so.
    #[must_use]
    pub fn backtracks_on(&self, text: &str) -> bool {
        self.compiled(text).backtracks
    }

    /// Whether the whole text matches (`Matcher.matches`).
    ///
    /// # Errors
    /// If the match takes too long.
    pub fn matches(&self, text: &str) -> Result<bool, MatchError> {
        self.compiled(text).whole.is_match(text).map_err(|_| MatchError)
    }

    /// Whether the pattern matches anywhere in the text (`Matcher.find`).
    ///
    /// # Errors
    /// If the match takes too long.
    pub fn is_found_in(&self, text: &str) -> Result<bool, MatchError> {
        self.compiled(text).part.is_match(text).map_err(|_| MatchError)
    }

    /// Reads a replacement text, in which `$1` and `${name}` stand for groups and `\` makes the next character stand
    /// for itself.
    ///
    /// # Errors
    /// What Java would say at the first match: a group that the pattern does not have, a `$` or `\` without what
    /// belongs to it.
    pub fn replacement(&self, text: &str) -> Result<Replacement, PatternError> {
        Replacement::try_new(text, &self.plain.part)
    }

    /// The text with the first match of the pattern replaced (`Matcher.replaceFirst`), which may be shorter than the
    /// text even where the whole text matches.
    ///
    /// # Errors
    /// If the match takes too long.
    pub fn replace_first(&self, text: &str, replacement: &Replacement) -> Result<String, MatchError> {
        let captures = self.compiled(text).part.captures(text).map_err(|_| MatchError)?;
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
