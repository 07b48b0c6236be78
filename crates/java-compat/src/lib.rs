//! What Java does where Connect's behaviour depends on it: regular expressions.
//!
//! **Owns** the translation of `java.util.regex` patterns and replacements.
//! **Does not know** Connect: it depends on no other crate of the project.
//! **Invariant:** a pattern that would mean something else here than in Java is refused, never run.
#![forbid(unsafe_code)]

mod regex;

pub use regex::{MatchError, Pattern, PatternError, Replacement};
