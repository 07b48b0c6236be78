//! The two sides of a comparison, and what is equal to what.

use std::borrow::Cow;
use std::cmp::Ordering;

use bigdecimal::BigDecimal;
use klamm_connect_api::{Struct, Value};
use klamm_java_compat::{Pattern, number};

use super::JsonPath;

/// One side of a comparison as it is written.
#[derive(Debug, Clone)]
pub(super) enum Side {
    Path(Box<JsonPath>),
    Literal(Literal),
}

#[derive(Debug, Clone)]
pub(super) enum Literal {
    Null,
    Boolean(bool),
    Number(Number),
    Text(String),
    /// An array or object.
    Json(Value),
    Pattern(Box<Pattern>),
}

/// A number, exact.
#[derive(Debug, Clone)]
pub(super) enum Number {
    Integer(i64),
    /// Keeps its scale, which shows in its text.
    Decimal(BigDecimal),
}

impl Number {
    pub(super) fn of_decimal(decimal: BigDecimal) -> Self {
        match decimal.as_bigint_and_exponent() {
            (unscaled, 0) => i64::try_from(unscaled).map_or(Self::Decimal(decimal), Self::Integer),
            _ => Self::Decimal(decimal),
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (a, b) => number::compare_decimals(&a.decimal(), &b.decimal()),
        }
    }

    fn decimal(&self) -> Cow<'_, BigDecimal> {
        match self {
            Self::Integer(integer) => Cow::Owned(BigDecimal::from(*integer)),
            Self::Decimal(decimal) => Cow::Borrowed(decimal),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Integer(integer) => integer.to_string(),
            Self::Decimal(decimal) => number::decimal_to_string(decimal),
        }
    }
}

/// One side of a comparison with its value.
#[derive(Debug)]
pub(super) enum Operand<'a> {
    /// There is nothing at the path: equal to nothing, not even null.
    Undefined,
    Null,
    Boolean(bool),
    Number(Cow<'a, Number>),
    Text(Cow<'a, str>),
    /// An array, map or struct.
    Json(Cow<'a, Value>),
    Pattern(&'a Pattern),
    /// Bytes, and floats that are no number: equal to nothing.
    Opaque,
}

impl<'a> Operand<'a> {
    pub(super) fn of_literal(literal: &'a Literal) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Boolean(value) => Self::Boolean(*value),
            Literal::Number(number) => Self::Number(Cow::Borrowed(number)),
            Literal::Text(text) => Self::Text(Cow::Borrowed(text)),
            Literal::Json(value) => Self::Json(Cow::Borrowed(value)),
            Literal::Pattern(pattern) => Self::Pattern(pattern),
        }
    }

    pub(super) fn of_value(value: Cow<'a, Value>) -> Self {
        let integer = |integer: i64| Self::Number(Cow::Owned(Number::Integer(integer)));
        // A float is the decimal number that its text names.
        let float = |text: String| match number::parse_decimal(&text) {
            Some(decimal) => Self::Number(Cow::Owned(Number::of_decimal(decimal))),
            None => Self::Opaque,
        };
        match &*value {
            Value::Null => Self::Null,
            Value::Boolean(value) => Self::Boolean(*value),
            Value::Int8(number) => integer(i64::from(*number)),
            Value::Int16(number) => integer(i64::from(*number)),
            Value::Int32(number) => integer(i64::from(*number)),
            Value::Int64(number) | Value::Instant(number) => integer(*number),
            Value::Float32(number) => float(number::f32_to_string(*number)),
            Value::Float64(number) => float(number::f64_to_string(*number)),
            Value::Decimal(decimal) => Self::Number(Cow::Owned(Number::of_decimal((**decimal).clone()))),
            Value::String(text) => match &value {
                Cow::Borrowed(Value::String(text)) => Self::Text(Cow::Borrowed(text)),
                _ => Self::Text(Cow::Owned(text.to_string())),
            },
            Value::Bytes(_) => Self::Opaque,
            Value::Array(_) | Value::Map(_) | Value::Struct(_) => Self::Json(value),
        }
    }

    /// Java's `left.equals(right)`, which reads a text on the right of a number as a number, and a number on the right
    /// of a text as its text.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a.compare(b).is_eq(),
            (Self::Number(a), Self::Text(b)) => {
                number::parse_decimal(b).is_some_and(|b| a.compare(&Number::Decimal(b)).is_eq())
            }
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Text(a), Self::Number(b)) => **a == b.text(),
            (Self::Json(a), Self::Json(b)) => is_same(a, b),
            _ => false,
        }
    }

    /// Java's `left.compareTo(right)`, for two numbers and for two texts.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => Some(a.compare(b)),
            // By UTF-16 units, as Java orders.
            (Self::Text(a), Self::Text(b)) => Some(a.encode_utf16().cmp(b.encode_utf16())),
            _ => None,
        }
    }

    pub(super) fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// What a pattern is matched with.
    pub(super) fn matched_text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.text()),
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
            Self::Undefined | Self::Null | Self::Json(_) | Self::Pattern(_) | Self::Opaque => Cow::Borrowed(""),
        }
    }

    /// The elements of an array.
    pub(super) fn elements(&self) -> Option<&[Value]> {
        match self {
            Self::Json(value) => match &**value {
                Value::Array(items) => Some(items),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether one of `elements` equals this.
    pub(super) fn is_among(&self, elements: &[Value]) -> bool {
        elements
            .iter()
            .any(|element| self.equals(&Operand::of_value(Cow::Borrowed(element))))
    }
}

/// Whether two values are the same JSON: widths of integers and kinds of objects aside.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (Value::Map(_) | Value::Struct(_), Value::Map(_) | Value::Struct(_)) => {
            let mut members = Members::of(a);
            members.len() == Members::of(b).len()
                && members.all(|(name, a)| member(b, name).is_some_and(|b| is_same(a, b)))
        }
        (Value::Float32(_) | Value::Float64(_), Value::Float32(_) | Value::Float64(_)) => {
            Operand::of_value(Cow::Borrowed(a)).equals(&Operand::of_value(Cow::Borrowed(b)))
        }
        (a, b) => match (integer(a), integer(b)) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        },
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int8(number) => Some(i64::from(*number)),
        Value::Int16(number) => Some(i64::from(*number)),
        Value::Int32(number) => Some(i64::from(*number)),
        Value::Int64(number) => Some(*number),
        _ => None,
    }
}

/// The member of a map or struct, its default in place of null; none also if `object` is neither.
pub(super) fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    match object {
        Value::Map(map) => map.get(name),
        Value::Struct(data) => data.get(name),
        _ => None,
    }
}

/// Names and values of a map or struct; nothing for other values.
pub(super) enum Members<'a> {
    None,
    Map(Box<dyn ExactSizeIterator<Item = (&'a Value, &'a Value)> + 'a>),
    Struct(&'a Struct, usize),
}

impl<'a> Members<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Map(map) => Self::Map(Box::new(map.iter())),
            Value::Struct(data) => Self::Struct(data, 0),
            _ => Self::None,
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Map(entries) => entries.len(),
            Self::Struct(data, next) => data.values().len().saturating_sub(*next),
        }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::None => None,
            Self::Map(entries) => entries
                .next()
                .map(|(key, value)| (key.as_str().unwrap_or_default(), value)),
            Self::Struct(data, next) => {
                let field = data.schema().fields().get(*next)?;
                let value = match data.values().get(*next)? {
                    Value::Null => field.schema.default().unwrap_or(&Value::Null),
                    value => value,
                };
                *next += 1;
                Some((&field.name, value))
            }
        }
    }
}
