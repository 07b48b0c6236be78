//! What Java and Connect's own value parser do where configurations and records depend on it: regular expressions,
//! numbers, dates, literals, files of properties.
//!
//! **Owns** the translation of `java.util.regex` patterns and replacements, numbers as text, `SimpleDateFormat`, and
//! the literals of header values.
//! **Does not know** transforms, converters or sinks: of the project it knows the data model only.
//! **Invariant:** a pattern that would mean something else here than in Java is refused, never run.
#![forbid(unsafe_code)]

mod date_format;
pub mod literal;
pub mod number;
pub mod properties;
mod regex;

pub use date_format::{DateFormat, DateFormatError, instant_to_string};
pub use regex::{MatchError, Pattern, PatternError, Replacement};
