//! What one value has to be.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use bigdecimal::BigDecimal;
use klamm_connect_api::Value;
use klamm_java_compat::number;

#[derive(Debug)]
pub(super) enum Rule {
    Null,
    Boolean(bool),
    Number(BigDecimal),
    Text(TextRule),
    /// None of them.
    AnythingBut(Vec<Self>),
    /// All of them, each as comparison and bound.
    Numeric(Vec<(Comparison, BigDecimal)>),
    Cidr(Network),
    /// There is, or is not, a value that holds no others. Not a matter of one value: whoever walks the record decides.
    Exists(bool),
}

#[derive(Debug)]
pub(super) enum TextRule {
    Equals(Arc<str>),
    /// In lower case.
    EqualsIgnoreCase(String),
    Prefix(String),
    PrefixIgnoreCase(String),
    Suffix(String),
    SuffixIgnoreCase(String),
    /// The parts between asterisks.
    Wildcard(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A block of addresses.
#[derive(Debug)]
pub(super) struct Network {
    first: IpAddr,
    prefix_bits: u32,
}

impl Rule {
    pub(super) fn matches(&self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Boolean(wanted) => matches!(value, Value::Boolean(value) if value == wanted),
            Self::Number(wanted) => {
                decimal(value).is_some_and(|value| number::compare_decimals(&value, wanted).is_eq())
            }
            Self::Text(rule) => value.as_str().is_some_and(|text| rule.matches(text)),
            Self::AnythingBut(rules) => !rules.iter().any(|rule| rule.matches(value)),
            Self::Numeric(bounds) => decimal(value).is_some_and(|value| {
                let holds = |(comparison, bound): &(Comparison, BigDecimal)| {
                    comparison.holds(number::compare_decimals(&value, bound))
                };
                bounds.iter().all(holds)
            }),
            Self::Cidr(network) => value.as_str().is_some_and(|text| network.contains(text)),
            Self::Exists(wanted) => *wanted,
        }
    }
}

impl TextRule {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equals(wanted) => text == &**wanted,
            Self::EqualsIgnoreCase(wanted) => text.to_lowercase() == *wanted,
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::PrefixIgnoreCase(prefix) => text.to_lowercase().starts_with(prefix),
            Self::Suffix(suffix) => text.ends_with(suffix),
            Self::SuffixIgnoreCase(suffix) => text.to_lowercase().ends_with(suffix),
            Self::Wildcard(parts) => matches_wildcard(parts, text),
        }
    }
}

/// Each part is taken where it comes first: later places leave no more to the parts that follow.
fn matches_wildcard(parts: &[String], text: &str) -> bool {
    let (Some((first, others)), Some(last)) = (parts.split_first(), parts.last()) else {
        return false;
    };
    if others.is_empty() {
        return text == first;
    }
    let Some(mut rest) = text.strip_prefix(first.as_str()) else {
        return false;
    };
    for part in others.iter().take(others.len() - 1) {
        match rest.split_once(part.as_str()) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

impl Comparison {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "=" => Self::Equal,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Network {
    /// `10.0.0.0/8`, `2001:db8::/32`
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let first: IpAddr = address.parse().ok()?;
        let prefix_bits = bits.parse().ok()?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        (prefix_bits <= most).then_some(Self { first, prefix_bits })
    }

    fn contains(&self, text: &str) -> bool {
        match (self.first, text.parse()) {
            (IpAddr::V4(first), Ok(IpAddr::V4(address))) => {
                let differs = first.to_bits() ^ address.to_bits();
                differs.leading_zeros() >= self.prefix_bits
            }
            (IpAddr::V6(first), Ok(IpAddr::V6(address))) => {
                let differs = first.to_bits() ^ address.to_bits();
                differs.leading_zeros() >= self.prefix_bits
            }
            _ => false,
        }
    }
}

/// The number that a value is, exactly.
pub(super) fn decimal(value: &Value) -> Option<BigDecimal> {
    match value {
        Value::Int8(number) => Some(BigDecimal::from(*number)),
        Value::Int16(number) => Some(BigDecimal::from(*number)),
        Value::Int32(number) => Some(BigDecimal::from(*number)),
        Value::Int64(number) | Value::Instant(number) => Some(BigDecimal::from(*number)),
        Value::Float32(number) => number::parse_decimal(&number::f32_to_string(*number)),
        Value::Float64(number) => number::parse_decimal(&number::f64_to_string(*number)),
        Value::Decimal(decimal) => Some((**decimal).clone()),
        _ => None,
    }
}
