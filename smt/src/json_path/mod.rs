//! JSONPath in the dialect of Jayway's JsonPath, which Connect's users know from Confluent's transforms. It is not that
//! of RFC 9535: above all, a filter on an object tests the object itself.
//!
//! `parse` reads paths and the filters in them, `select` walks the data, `filter` decides filters, `operand` compares.

mod filter;
mod operand;
mod parse;
mod select;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use klamm_connect_api::Value;

use self::filter::Filter;
use self::select::Search;

/// Longest path that is read.
const MAX_LENGTH: usize = 4096;

/// A parsed path.
///
/// It is definite if it names one place at most: one that is missing is [`Stop::NotFound`] then. Other paths select
/// any number of values, none included.
#[derive(Debug, Clone)]
pub(crate) struct JsonPath {
    text: Arc<str>,
    start: Start,
    steps: Vec<Step>,
    is_definite: bool,
}

/// Where a path starts; it only matters within filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// `$`
    Root,
    /// `@`
    Item,
}

#[derive(Debug, Clone)]
struct Step {
    token: Token,
    /// Whether the path up to here, this step excluded, names one place at most.
    follows_definite: bool,
}

#[derive(Debug, Clone)]
enum Token {
    /// `.name`, `['a','b']`
    Names(Vec<Arc<str>>),
    /// `[0,-1]`
    Indexes(Vec<i64>),
    /// `[1:3]`, with at least one of both
    Slice(Option<i64>, Option<i64>),
    /// `.*`, `[*]`
    Wildcard,
    /// `..`: the next step applies to the value and everything inside of it.
    Scan,
    /// `[?(…)]`
    Filter(Filter),
    /// `.length()`
    Function(Function),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Length,
    Keys,
    Min,
    Max,
    Avg,
    Sum,
    StdDev,
    First,
    Last,
}

/// What a path selects.
#[derive(Debug)]
pub(crate) enum Selection<'a> {
    /// Of a definite path: the value, which may be null.
    One(Cow<'a, Value>),
    /// Of any other path: all values.
    Many(Vec<Cow<'a, Value>>),
}

/// Why a path has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The place is not there.
    NotFound,
    /// The path does not fit the data, for example a filter on a number. Within a filter this means no.
    Unfit(&'static str),
    /// The path or the data are more than is looked at, or an aggregate has no numbers.
    Failed(&'static str),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is nothing at that path"),
            Self::Unfit(why) | Self::Failed(why) => f.write_str(why),
        }
    }
}

impl JsonPath {
    /// Reads a path. A `$` that is missing in front is supplied.
    ///
    /// # Errors
    /// What is wrong, or not supported, and where.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        parse::path(text)
    }

    /// Whether the path names one place at most.
    pub(crate) fn is_definite(&self) -> bool {
        self.is_definite
    }

    /// What the path selects in `root`. The work is bounded.
    ///
    /// # Errors
    /// As [`Stop`] says.
    pub(crate) fn select<'a>(&'a self, root: &'a Value) -> Result<Selection<'a>, Stop> {
        Search::new(root).select(self, root)
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
