//! Which versions of a plugin a request accepts (KIP-891): `1.0` is that one alone, ranges are Maven's, such as
//! `[1.0,2.0)` or `(,1.0],[1.2,)`.

use std::cmp::Ordering;
use std::fmt;

/// What versions are accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Versions(Vec<Range>);

#[derive(Debug, PartialEq, Eq)]
struct Range {
    low: Option<Bound>,
    high: Option<Bound>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bound {
    version: String,
    is_included: bool,
}

impl Versions {
    /// None for a text that is no specification.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        if !rest.is_empty() && !rest.contains(['[', ']', '(', ')', ',']) {
            return Some(Self(vec![Range::only(rest)]));
        }
        let mut ranges = Vec::new();
        loop {
            let end = rest.find([']', ')'])?;
            let (range, after) = rest.split_at_checked(end + 1)?;
            ranges.push(Range::parse(range)?);
            rest = after.trim_start();
            if rest.is_empty() {
                return Some(Self(ranges));
            }
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }

    pub(crate) fn include(&self, version: &str) -> bool {
        self.0.iter().any(|range| range.includes(version))
    }
}

impl Range {
    fn only(version: &str) -> Self {
        let bound = Some(Bound {
            version: version.to_owned(),
            is_included: true,
        });
        Self {
            low: bound.clone(),
            high: bound,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let opens = text.strip_prefix('[').map(|rest| (true, rest));
        let (low_is_included, rest) = opens.or_else(|| text.strip_prefix('(').map(|rest| (false, rest)))?;
        let closes = rest.strip_suffix(']').map(|inner| (true, inner));
        let (high_is_included, inner) = closes.or_else(|| rest.strip_suffix(')').map(|inner| (false, inner)))?;
        if inner.contains(['[', '(']) {
            return None;
        }
        let bound = |text: &str, is_included| {
            let version = text.trim().to_owned();
            (!version.is_empty()).then_some(Bound { version, is_included })
        };
        let Some((low, high)) = inner.split_once(',') else {
            let is_exact = low_is_included && high_is_included && !inner.trim().is_empty();
            return is_exact.then(|| Self::only(inner.trim()));
        };
        if high.contains(',') {
            return None;
        }
        let range = Self {
            low: bound(low, low_is_included),
            high: bound(high, high_is_included),
        };
        let is_ordered = match (&range.low, &range.high) {
            (Some(low), Some(high)) => compare(&low.version, &high.version) != Ordering::Greater,
            _ => true,
        };
        is_ordered.then_some(range)
    }

    fn includes(&self, version: &str) -> bool {
        let above = self
            .low
            .as_ref()
            .is_none_or(|low| match compare(version, &low.version) {
                Ordering::Greater => true,
                Ordering::Equal => low.is_included,
                Ordering::Less => false,
            });
        let below = self
            .high
            .as_ref()
            .is_none_or(|high| match compare(version, &high.version) {
                Ordering::Less => true,
                Ordering::Equal => high.is_included,
                Ordering::Greater => false,
            });
        above && below
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let is_included = |bound: &Option<Bound>| bound.as_ref().is_some_and(|bound| bound.is_included);
            let version =
                |bound: &'_ Option<Bound>| bound.as_ref().map(|bound| bound.version.clone()).unwrap_or_default();
            let comma = if i > 0 { "," } else { "" };
            let open = if is_included(&range.low) { '[' } else { '(' };
            let close = if is_included(&range.high) { ']' } else { ')' };
            write!(
                f,
                "{comma}{open}{},{}{close}",
                version(&range.low),
                version(&range.high)
            )?;
        }
        Ok(())
    }
}

/// Part by part, numbers as numbers; `1.0` is `1`, and `1.0-rc1` comes before it.
fn compare(one: &str, other: &str) -> Ordering {
    let mut parts = (one.split(['.', '-', '_', '+']), other.split(['.', '-', '_', '+']));
    loop {
        let (one, other) = match (parts.0.next(), parts.1.next()) {
            (None, None) => return Ordering::Equal,
            (one, other) => (one.unwrap_or("0"), other.unwrap_or("0")),
        };
        let ordering = match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            (Ok(_), Err(_)) => Ordering::Greater,
            (Err(_), Ok(_)) => Ordering::Less,
            (Err(_), Err(_)) => one.to_ascii_lowercase().cmp(&other.to_ascii_lowercase()),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_mavens_and_a_bare_version_is_that_one() {
        let cases = [
            ("4.3.1", true),
            ("4.3.1.0", true),
            ("4.3", false),
            ("[1.0,99.0)", true),
            ("[4.3.1]", true),
            ("(4.3.1,)", false),
            ("(,4.3.1)", false),
            ("(,1.0],[4.3.1,)", true),
            ("(,1.0],[1.2,4.10)", true),
            ("[4.3.1-rc1,4.3.1)", false),
            ("[4.3.1-rc1,4.3.1]", true),
        ];
        for (text, wanted) in cases {
            assert_eq!(Versions::parse(text).unwrap().include("4.3.1"), wanted, "{text}");
        }
        for bad in [
            "", "[[[", "[1,2", "1,2", "(1.0)", "[]", "[2,1]", "[1,2]x", "[1,2],", "[1,2,3]", "[1[,2]",
        ] {
            assert_eq!(Versions::parse(bad), None, "{bad}");
        }
        assert_eq!(Versions::parse("0.0.9").unwrap().to_string(), "[0.0.9,0.0.9]");
        assert_eq!(Versions::parse("(,1],[2,)").unwrap().to_string(), "(,1],[2,)");
    }
}
