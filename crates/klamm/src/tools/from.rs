//! Where a reading starts, as it is written on the command line.

use std::str::FromStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Where a reading starts, in every partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// At the oldest record.
    Earliest,
    /// At the end.
    Latest,
    /// At this offset, or the first that still exists after it.
    Offset(i64),
    /// At the first record that is not older, in milliseconds since 1970.
    Timestamp(i64),
}

/// How it may be written.
const ACCEPTED: &str = "accepted: `earliest`, `latest`, an offset such as `42` or `offset:42`, a time such as \
                        `timestamp:1700000000000` (milliseconds since 1970) or `2023-11-14T22:13:20Z`";

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().ok().filter(|number| *number >= 0);
        let found = match text {
            "earliest" => Some(Self::Earliest),
            "latest" => Some(Self::Latest),
            _ => match text.split_once(':') {
                Some(("offset", offset)) => number(offset).map(Self::Offset),
                Some(("timestamp", time)) => number(time).or_else(|| millis(time)).map(Self::Timestamp),
                _ => number(text)
                    .map(Self::Offset)
                    .or_else(|| millis(text).map(Self::Timestamp)),
            },
        };
        found.ok_or_else(|| ACCEPTED.to_owned())
    }
}

/// Milliseconds since 1970 of a time as RFC 3339 writes it; before 1970 there are no records.
fn millis(text: &str) -> Option<i64> {
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    i64::try_from(nanos.div_euclid(1_000_000)).ok().filter(|ms| *ms >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_and_a_time_cannot_be_mistaken_for_each_other() {
        let cases = [
            ("earliest", Some(From::Earliest), "a word"),
            ("latest", Some(From::Latest), "a word"),
            ("42", Some(From::Offset(42)), "a bare number is an offset"),
            (
                "1700000000000",
                Some(From::Offset(1_700_000_000_000)),
                "however large it is",
            ),
            ("offset:42", Some(From::Offset(42)), "said aloud"),
            (
                "timestamp:1700000000000",
                Some(From::Timestamp(1_700_000_000_000)),
                "milliseconds",
            ),
            (
                "2023-11-14T22:13:20.5Z",
                Some(From::Timestamp(1_700_000_000_500)),
                "a time needs no name",
            ),
            (
                "timestamp:2023-11-14T23:13:20+01:00",
                Some(From::Timestamp(1_700_000_000_000)),
                "but may have it",
            ),
            ("-1", None, "no sentinels"),
            ("offset:-2", None, "no sentinels"),
            ("1969-12-31T23:59:59Z", None, "before the first timestamp"),
            ("2023-11-14", None, "of which time zone?"),
            ("end", None, "not a start"),
        ];
        for (text, wanted, why) in cases {
            assert_eq!(text.parse::<From>().ok(), wanted, "{text}: {why}");
        }
    }
}
