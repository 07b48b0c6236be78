//! The condition in `[?( … )]`.

use std::borrow::Cow;

use klamm_connect_api::Value;
use klamm_java_compat::Pattern;

use super::operand::{Literal, Members, Operand, Side};
use super::select::{Misses, Search};
use super::{JsonPath, Selection, Start, Stop};

#[derive(Debug, Clone)]
pub(super) enum Filter {
    /// `||`
    Any(Vec<Self>),
    /// `&&`
    All(Vec<Self>),
    /// `!( … )`
    Not(Box<Self>),
    /// A path alone: there is something, if only null.
    Present(Box<JsonPath>),
    /// `!` and a path: there is nothing.
    Absent(Box<JsonPath>),
    Compare(Box<Comparison>),
}

#[derive(Debug, Clone)]
pub(super) struct Comparison {
    left: Side,
    operator: Operator,
    right: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    SameKindEqual,
    NotSameKindEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    In,
    NotIn,
    SubsetOf,
    AnyOf,
    NoneOf,
    Contains,
    Size,
    Empty,
}

impl Operator {
    pub(super) const NAMES: [(&'static str, Self); 17] = [
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("===", Self::SameKindEqual),
        ("!==", Self::NotSameKindEqual),
        ("<", Self::Less),
        ("<=", Self::LessOrEqual),
        (">", Self::Greater),
        (">=", Self::GreaterOrEqual),
        ("=~", Self::Matches),
        ("in", Self::In),
        ("nin", Self::NotIn),
        ("subsetof", Self::SubsetOf),
        ("anyof", Self::AnyOf),
        ("noneof", Self::NoneOf),
        ("contains", Self::Contains),
        ("size", Self::Size),
        ("empty", Self::Empty),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, operator)| *operator)
    }
}

impl Filter {
    pub(super) fn any(terms: Vec<Self>) -> Self {
        Self::one_or(terms, Self::Any)
    }

    pub(super) fn all(terms: Vec<Self>) -> Self {
        Self::one_or(terms, Self::All)
    }

    fn one_or(mut terms: Vec<Self>, several: fn(Vec<Self>) -> Self) -> Self {
        match terms.pop() {
            Some(term) if terms.is_empty() => term,
            Some(last) => {
                terms.push(last);
                several(terms)
            }
            None => several(terms),
        }
    }

    /// Whether `item` passes. What does not fit the data somewhere makes the whole filter say no.
    pub(super) fn accepts(&self, item: &Value, search: &Search<'_>, misses: Misses) -> Result<bool, Stop> {
        match self.holds(item, search, misses) {
            Err(Stop::NotFound | Stop::Unfit(_)) => Ok(false),
            other => other,
        }
    }

    fn holds(&self, item: &Value, search: &Search<'_>, misses: Misses) -> Result<bool, Stop> {
        match self {
            Self::Any(terms) => {
                for term in terms {
                    if term.holds(item, search, misses)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::All(terms) => {
                for term in terms {
                    if !term.holds(item, search, misses)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Not(term) => term.holds(item, search, misses).map(|holds| !holds),
            Self::Present(path) => is_present(path, item, search),
            Self::Absent(path) => is_present(path, item, search).map(|is_present| !is_present),
            Self::Compare(comparison) => comparison.holds(item, search, misses),
        }
    }
}

/// A path that selects any number of values is present even if it selects none: only a member that some of them lack
/// makes a difference.
fn is_present(path: &JsonPath, item: &Value, search: &Search<'_>) -> Result<bool, Stop> {
    match search.select_with(path, item, Misses::Stop) {
        Ok(_) => Ok(true),
        Err(Stop::NotFound) => Ok(false),
        Err(stop) => Err(stop),
    }
}

impl Comparison {
    /// # Errors
    /// Sides that the operator can never be true for.
    pub(super) fn try_new(left: Side, operator: Operator, right: Side) -> Result<Self, String> {
        let is_pattern = |side: &Side| matches!(side, Side::Literal(Literal::Pattern(_)));
        match operator {
            Operator::Matches if is_pattern(&left) == is_pattern(&right) => {
                Err("`=~` compares with one pattern: /…/".to_owned())
            }
            Operator::Matches => Ok(()),
            _ if is_pattern(&left) || is_pattern(&right) => Err("a pattern /…/ is compared with `=~`".to_owned()),
            Operator::Empty if !matches!(right, Side::Literal(Literal::Boolean(_)) | Side::Path(_)) => {
                Err("`empty` is followed by true or false".to_owned())
            }
            Operator::Size if !matches!(right, Side::Literal(Literal::Number(_)) | Side::Path(_)) => {
                Err("`size` is followed by a number".to_owned())
            }
            _ => Ok(()),
        }?;
        Ok(Self { left, operator, right })
    }

    fn holds(&self, item: &Value, search: &Search<'_>, misses: Misses) -> Result<bool, Stop> {
        let left = operand(&self.left, item, search, misses)?;
        let right = operand(&self.right, item, search, misses)?;
        let ordering = || left.compare(&right);
        Ok(match self.operator {
            Operator::Equal => left.equals(&right),
            Operator::NotEqual => !left.equals(&right),
            Operator::SameKindEqual => left.is_same_kind(&right) && left.equals(&right),
            Operator::NotSameKindEqual => !(left.is_same_kind(&right) && left.equals(&right)),
            Operator::Less => ordering().is_some_and(std::cmp::Ordering::is_lt),
            Operator::LessOrEqual => ordering().is_some_and(std::cmp::Ordering::is_le),
            Operator::Greater => ordering().is_some_and(std::cmp::Ordering::is_gt),
            Operator::GreaterOrEqual => ordering().is_some_and(std::cmp::Ordering::is_ge),
            Operator::Matches => match (&left, &right) {
                (Operand::Pattern(pattern), text) | (text, Operand::Pattern(pattern)) => {
                    matches(pattern, text, search)?
                }
                _ => false,
            },
            Operator::In | Operator::NotIn => {
                let is_in = match list(&right)? {
                    Some(elements) => search.charge(elements.len()).map(|()| left.is_among(elements))?,
                    None => false,
                };
                is_in == (self.operator == Operator::In)
            }
            Operator::SubsetOf | Operator::AnyOf | Operator::NoneOf => {
                let Some(right) = list(&right)? else {
                    return Ok(false);
                };
                let Some(left) = list(&left)? else {
                    return Ok(false);
                };
                search.charge(left.len().saturating_mul(right.len()))?;
                let mut are_among = left
                    .iter()
                    .map(|element| Operand::of_value(Cow::Borrowed(element)).is_among(right));
                match self.operator {
                    Operator::SubsetOf => are_among.all(|is_among| is_among),
                    Operator::AnyOf => are_among.any(|is_among| is_among),
                    _ => !are_among.any(|is_among| is_among),
                }
            }
            Operator::Contains => match (&left, &right, left.elements()) {
                (Operand::Text(text), Operand::Text(part), _) => text.contains(&**part),
                (_, _, Some(elements)) => search.charge(elements.len()).map(|()| right.is_among(elements))?,
                _ => false,
            },
            Operator::Size => match (size(&left), &right) {
                (Some(size), Operand::Number(wanted)) => {
                    Operand::Number(Cow::Borrowed(wanted)).equals(&Operand::of_value(Cow::Owned(Value::Int64(size))))
                }
                _ => false,
            },
            Operator::Empty => match (&left, &right) {
                (Operand::Text(text), Operand::Boolean(wanted)) => text.is_empty() == *wanted,
                (Operand::Json(value), Operand::Boolean(wanted)) => {
                    let is_empty = left
                        .elements()
                        .map_or_else(|| Members::of(value).len() == 0, <[Value]>::is_empty);
                    is_empty == *wanted
                }
                (Operand::Text(_) | Operand::Json(_), _) => {
                    return Err(Stop::Unfit("`empty` is compared with no boolean"));
                }
                _ => false,
            },
        })
    }
}

/// The elements of the list that an operator needs; none if it gets an object.
fn list<'o>(operand: &'o Operand<'_>) -> Result<Option<&'o [Value]>, Stop> {
    match operand {
        Operand::Json(_) => Ok(operand.elements()),
        _ => Err(Stop::Unfit("a list is compared with something else")),
    }
}

fn operand<'o>(side: &'o Side, item: &'o Value, search: &Search<'o>, misses: Misses) -> Result<Operand<'o>, Stop> {
    let path = match side {
        Side::Literal(literal) => return Ok(Operand::of_literal(literal)),
        Side::Path(path) => path,
    };
    let document = match path.start {
        Start::Root => search.root(),
        Start::Item => item,
    };
    match search.select_with(path, document, misses) {
        Ok(Selection::One(value)) => Ok(Operand::of_value(value)),
        Ok(Selection::Many(values)) => {
            let values = values.into_iter().map(|value| search.owned(value));
            let values = Value::Array(values.collect::<Result<_, _>>()?);
            Ok(Operand::of_value(Cow::Owned(values)))
        }
        Err(Stop::NotFound) => Ok(Operand::Undefined),
        Err(stop) => Err(stop),
    }
}

fn matches(pattern: &Pattern, operand: &Operand<'_>, search: &Search<'_>) -> Result<bool, Stop> {
    let one = |text: &str| {
        search.charge_match(pattern, text)?;
        let matched = pattern.matches(text);
        matched.map_err(|_| Stop::Failed("a pattern takes too many steps: avoid nested repetitions"))
    };
    let Some(elements) = operand.elements() else {
        return one(&operand.matched_text());
    };
    for element in elements {
        if one(&Operand::of_value(Cow::Borrowed(element)).matched_text())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Length of a text in UTF-16 units, or of an array.
fn size(operand: &Operand<'_>) -> Option<i64> {
    let size = match operand {
        Operand::Text(text) => text.encode_utf16().count(),
        Operand::Json(_) => operand.elements()?.len(),
        _ => return None,
    };
    i64::try_from(size).ok()
}
