//! Walks the data along a path.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

use klamm_connect_api::{Map, Value, json};
use klamm_java_compat::Pattern;

use super::operand::{Members, member};
use super::parse::has_scan_first;
use super::{Function, JsonPath, Selection, Step, Stop, Token};

/// What one evaluation may cost, in values that are looked at: more than any record holds.
const MAX_COST: usize = 2_000_000;
/// A pattern that backtracks may take many steps for one text.
const BACKTRACKING_COST: usize = 1000;
/// Values inside of each other, with those of filters on the way.
const MAX_DEPTH: usize = json::MAX_DEPTH + 200;

/// What follows from a member that is missing at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misses {
    /// The path selects one value less.
    Skip,
    /// The path selects nothing: so it is where a filter asks whether there is something.
    Stop,
}

/// One evaluation of a path, with those of the filters in it.
#[derive(Debug)]
pub(super) struct Search<'a> {
    root: &'a Value,
    cost: Cell<usize>,
    depth: Cell<usize>,
}

impl<'a> Search<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self {
            root,
            cost: Cell::new(0),
            depth: Cell::new(0),
        }
    }

    pub(super) fn root(&self) -> &'a Value {
        self.root
    }

    pub(super) fn charge(&self, cost: usize) -> Result<(), Stop> {
        let cost = self.cost.get().saturating_add(cost);
        if cost > MAX_COST {
            return Err(Stop::Failed("the path takes too many steps on this record"));
        }
        self.cost.set(cost);
        Ok(())
    }

    /// What a function makes of a value; it looks at all that is in it.
    fn applied<'v>(&self, function: Function, value: &'v Value) -> Result<Cow<'v, Value>, Stop> {
        let size = match value {
            Value::Array(items) => items.len(),
            value => Members::of(value).count(),
        };
        self.charge(size)?;
        function.apply(value)
    }

    pub(super) fn charge_match(&self, pattern: &Pattern, text: &str) -> Result<(), Stop> {
        let cost = if pattern.backtracks_on(text) {
            BACKTRACKING_COST
        } else {
            1
        };
        self.charge(cost + text.len() / 16)
    }

    /// A value of its own, which costs what it holds.
    pub(super) fn owned(&self, value: Cow<'_, Value>) -> Result<Value, Stop> {
        if let Cow::Borrowed(value) = &value {
            self.charge(weight(value))?;
        }
        Ok(value.into_owned())
    }

    pub(super) fn select<'v>(&self, path: &JsonPath, document: &'v Value) -> Result<Selection<'v>, Stop> {
        self.select_with(path, document, Misses::Skip)
    }

    pub(super) fn select_with<'v>(
        &self,
        path: &JsonPath,
        document: &'v Value,
        misses: Misses,
    ) -> Result<Selection<'v>, Stop> {
        let mut walk = Walk {
            search: self,
            misses,
            found: Vec::new(),
        };
        match path.steps.split_last() {
            // A function at the end of a scan takes all that is found.
            Some((
                Step {
                    token: Token::Function(function),
                    ..
                },
                before,
            )) if has_scan_first(before) => {
                walk.visit(before, document)?;
                let found = walk.found.into_iter().map(|value| self.owned(value));
                let all = Value::Array(found.collect::<Result<_, _>>()?);
                let result = self.applied(*function, &all)?.into_owned();
                Ok(Selection::One(Cow::Owned(result)))
            }
            _ => {
                walk.visit(&path.steps, document)?;
                if !path.is_definite {
                    return Ok(Selection::Many(walk.found));
                }
                walk.found.pop().map(Selection::One).ok_or(Stop::NotFound)
            }
        }
    }
}

/// The values that one path has found so far.
struct Walk<'s, 'r, 'v> {
    search: &'s Search<'r>,
    misses: Misses,
    found: Vec<Cow<'v, Value>>,
}

impl<'v> Walk<'_, '_, 'v> {
    fn deeper(&mut self, go: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        self.search.charge(1)?;
        let depth = self.search.depth.get();
        if depth >= MAX_DEPTH {
            return Err(Stop::Failed("the record is nested too deeply for this path"));
        }
        self.search.depth.set(depth + 1);
        let gone = go(self);
        self.search.depth.set(depth);
        gone
    }

    fn visit(&mut self, steps: &[Step], value: &'v Value) -> Result<(), Stop> {
        let Some((step, rest)) = steps.split_first() else {
            self.found.push(Cow::Borrowed(value));
            return Ok(());
        };
        self.deeper(|walk| walk.step(step, rest, value))
    }

    fn step(&mut self, step: &Step, rest: &[Step], value: &'v Value) -> Result<(), Stop> {
        match &step.token {
            Token::Names(names) => self.names(step, names, rest, value),
            Token::Indexes(indexes) => match array(step, value)? {
                Some(items) => indexes.iter().try_for_each(|index| self.index(*index, items, rest)),
                None => Ok(()),
            },
            Token::Slice(from, to) => match array(step, value)? {
                Some(items) => slice(*from, *to, items.len()).try_for_each(|index| self.index(index, items, rest)),
                None => Ok(()),
            },
            Token::Wildcard => self.wildcard(rest, value),
            Token::Scan => self.scan(rest, value),
            Token::Filter(filter) => match value {
                Value::Map(_) | Value::Struct(_) => {
                    if filter.accepts(value, self.search, self.misses)? {
                        self.visit(rest, value)?;
                    }
                    Ok(())
                }
                Value::Array(items) => {
                    for item in items {
                        self.search.charge(1)?;
                        if filter.accepts(item, self.search, self.misses)? {
                            self.visit(rest, item)?;
                        }
                    }
                    Ok(())
                }
                _ if step.follows_definite => Err(Stop::Unfit("a filter applies to objects and arrays only")),
                _ => Ok(()),
            },
            Token::Function(function) => match self.search.applied(*function, value)? {
                Cow::Borrowed(result) => self.visit(rest, result),
                Cow::Owned(result) => {
                    let mut inner = Walk {
                        search: self.search,
                        misses: self.misses,
                        found: Vec::new(),
                    };
                    inner.visit(rest, &result)?;
                    for value in inner.found {
                        self.found.push(Cow::Owned(self.search.owned(value)?));
                    }
                    Ok(())
                }
            },
        }
    }

    fn names(&mut self, step: &Step, names: &[Arc<str>], rest: &[Step], value: &'v Value) -> Result<(), Stop> {
        if !matches!(value, Value::Map(_) | Value::Struct(_)) {
            return if step.follows_definite {
                Err(Stop::NotFound)
            } else {
                Ok(())
            };
        }
        if names.len() > 1 && rest.is_empty() {
            let mut merged = Map::new();
            for name in names {
                match member(value, name) {
                    Some(value) => {
                        merged.insert(&**name, self.search.owned(Cow::Borrowed(value))?);
                    }
                    None if self.misses == Misses::Stop => return Err(Stop::NotFound),
                    None => {}
                }
            }
            self.found.push(Cow::Owned(Value::Map(merged)));
            return Ok(());
        }
        for name in names {
            match member(value, name) {
                Some(value) => self.visit(rest, value)?,
                None if self.misses == Misses::Stop => return Err(Stop::NotFound),
                None if !rest.is_empty() && step.follows_definite && names.len() == 1 => return Err(Stop::NotFound),
                None => {}
            }
        }
        Ok(())
    }

    /// An index outside of the array selects nothing.
    fn index(&mut self, index: i64, items: &'v [Value], rest: &[Step]) -> Result<(), Stop> {
        let index = if index < 0 { index + length(items) } else { index };
        match usize::try_from(index).ok().and_then(|index| items.get(index)) {
            Some(item) => self.visit(rest, item),
            None => Ok(()),
        }
    }

    fn wildcard(&mut self, rest: &[Step], value: &'v Value) -> Result<(), Stop> {
        let child = |walk: &mut Self, child| match walk.visit(rest, child) {
            Err(Stop::NotFound) if walk.misses == Misses::Skip => Ok(()),
            other => other,
        };
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| child(self, item)),
            value => Members::of(value).try_for_each(|(_, value)| child(self, value)),
        }
    }

    /// The value itself and all that is inside of it, in document order.
    fn scan(&mut self, rest: &[Step], value: &'v Value) -> Result<(), Stop> {
        let Some(next) = rest.first() else {
            return Ok(());
        };
        if !matches!(value, Value::Array(_) | Value::Map(_) | Value::Struct(_)) {
            return Ok(());
        }
        let applies = match &next.token {
            Token::Names(names) if names.len() > 1 && rest.len() > 1 => !matches!(value, Value::Array(_)),
            Token::Names(names) => names.iter().all(|name| member(value, name).is_some()),
            Token::Indexes(_) | Token::Slice(..) => matches!(value, Value::Array(_)),
            Token::Wildcard => true,
            Token::Filter(filter) => filter.accepts(value, self.search, self.misses)?,
            Token::Scan | Token::Function(_) => false,
        };
        if applies {
            self.visit(rest, value)?;
        }
        match value {
            Value::Array(items) => items
                .iter()
                .try_for_each(|item| self.deeper(|walk| walk.scan(rest, item))),
            value => Members::of(value).try_for_each(|(_, value)| self.deeper(|walk| walk.scan(rest, value))),
        }
    }
}

/// The elements, if `value` is an array; an error if it is the one place of a definite path and is none.
fn array<'v>(step: &Step, value: &'v Value) -> Result<Option<&'v [Value]>, Stop> {
    match value {
        Value::Array(items) => Ok(Some(items)),
        _ if step.follows_definite => Err(Stop::NotFound),
        _ => Ok(None),
    }
}

/// How many values there are in one, itself included.
fn weight(value: &Value) -> usize {
    let below: usize = match value {
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Map(map) => map.iter().map(|(_, value)| weight(value)).sum(),
        Value::Struct(data) => data.values().iter().map(weight).sum(),
        _ => 0,
    };
    below + 1
}

fn length(items: &[Value]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}

/// The indexes of a slice. With both ends, negative ones are taken one by one, so that `[0:-1]` is empty.
fn slice(from: Option<i64>, to: Option<i64>, length: usize) -> std::ops::Range<i64> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let from_end = |end: i64| if end < 0 { length + end } else { end };
    match (from, to) {
        (Some(from), Some(to)) => from.max(-length)..to.min(length),
        (Some(from), None) => from_end(from).max(0)..length,
        (None, Some(to)) => 0..from_end(to).min(length),
        (None, None) => 0..0,
    }
}

impl Function {
    fn apply(self, value: &Value) -> Result<Cow<'_, Value>, Stop> {
        let items = match value {
            Value::Array(items) => items.as_slice(),
            _ => &[],
        };
        let none = || Stop::Failed("a function takes an array with elements, and has none");
        Ok(match self {
            Self::Length => Cow::Owned(match value {
                Value::Array(items) => Value::Int64(length(items)),
                Value::Map(_) | Value::Struct(_) => {
                    Value::Int64(i64::try_from(Members::of(value).len()).unwrap_or(i64::MAX))
                }
                _ => Value::Null,
            }),
            Self::Keys => Cow::Owned(match value {
                Value::Map(_) | Value::Struct(_) => {
                    Value::Array(Members::of(value).map(|(name, _)| Value::from(name)).collect())
                }
                _ => Value::Null,
            }),
            Self::First => Cow::Borrowed(items.first().ok_or_else(none)?),
            Self::Last => Cow::Borrowed(items.last().ok_or_else(none)?),
            Self::Min | Self::Max | Self::Avg | Self::Sum | Self::StdDev => {
                let numbers: Vec<f64> = items.iter().filter_map(as_f64).collect();
                Cow::Owned(Value::Float64(self.aggregate(&numbers).ok_or_else(none)?))
            }
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of elements in memory")]
    fn aggregate(self, numbers: &[f64]) -> Option<f64> {
        let count = numbers.len() as f64;
        let sum: f64 = numbers.iter().sum();
        match self {
            _ if numbers.is_empty() => None,
            Self::Min => numbers.iter().copied().reduce(f64::min),
            Self::Max => numbers.iter().copied().reduce(f64::max),
            Self::Avg => Some(sum / count),
            Self::Sum => Some(sum),
            Self::StdDev => {
                let squares: f64 = numbers.iter().map(|number| number * number).sum();
                Some((squares / count - sum * sum / count / count).sqrt())
            }
            Self::Length | Self::Keys | Self::First | Self::Last => None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "as Java's `doubleValue`")]
fn as_f64(value: &Value) -> Option<f64> {
    match value {
        Value::Int8(number) => Some(f64::from(*number)),
        Value::Int16(number) => Some(f64::from(*number)),
        Value::Int32(number) => Some(f64::from(*number)),
        Value::Int64(number) => Some(*number as f64),
        Value::Float32(number) => Some(f64::from(*number)),
        Value::Float64(number) => Some(*number),
        Value::Decimal(decimal) => Some(klamm_java_compat::number::decimal_to_f64(decimal)),
        _ => None,
    }
}
