//! Dates and times of header literals, read the lenient way of Java's `SimpleDateFormat`: `2024-13-01` is
//! 2025-01-01. The time zone is always UTC, where Connect takes that of its JVM.

use klamm_connect_api::{SchemaAndValue, Value, logical};

const DAY_MS: i64 = 86_400_000;

/// `HH:mm:ss.SSSZ` and `yyyy-MM-ddTHH:mm:ss.SSSZ`
pub(super) const LENGTHS_WITH_COLONS: [usize; 2] = [13, 24];

/// A Date of 10 characters, a Time of 13 or a Timestamp of 24, told apart by their length. Colons may be escaped.
pub(super) fn parse(text: &str) -> Option<SchemaAndValue> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) || text.len() > 2 * LENGTHS_WITH_COLONS[1] {
        return None;
    }
    let text = text.replace("\\:", ":");
    let mut fields = Fields(&text);
    let (schema, instant) = match text.len() {
        10 => (logical::date(), fields.date()?.checked_mul(DAY_MS)?),
        13 => {
            // Hours beyond the day would make a Time that nothing can write.
            let time = fields.time().filter(|time| (0..=DAY_MS).contains(time))?;
            (logical::time(), time)
        }
        24 => {
            let days = fields.date()?;
            fields.literal("T")?;
            (
                logical::timestamp(),
                days.checked_mul(DAY_MS)?.checked_add(fields.time()?)?,
            )
        }
        _ => return None,
    };
    if !fields.0.is_empty() {
        return None;
    }
    Some(SchemaAndValue::new(schema.build().ok()?, Value::Instant(instant)))
}

/// What is left of the text.
struct Fields<'a>(&'a str);

impl Fields<'_> {
    fn literal(&mut self, literal: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    /// All digits that follow, with a sign.
    fn number(&mut self) -> Option<i64> {
        let unsigned = self.0.strip_prefix('-').unwrap_or(self.0);
        let end = unsigned
            .find(|char: char| !char.is_ascii_digit())
            .unwrap_or(unsigned.len());
        let (digits, rest) = self.0.split_at_checked(self.0.len() - unsigned.len() + end)?;
        self.0 = rest;
        // Up to 24 characters: what does not fit is out of any calendar.
        digits.parse().ok().filter(|number| i32::try_from(*number).is_ok())
    }

    /// Days since 1970-01-01.
    fn date(&mut self) -> Option<i64> {
        let year = self.number()?;
        self.literal("-")?;
        let month = self.number()?;
        self.literal("-")?;
        let day = self.number()?;
        Some(days_of(year, month, day))
    }

    /// Milliseconds since midnight.
    fn time(&mut self) -> Option<i64> {
        let hours = self.number()?;
        self.literal(":")?;
        let minutes = self.number()?;
        self.literal(":")?;
        let seconds = self.number()?;
        self.literal(".")?;
        let millis = self.number()?;
        self.literal("Z")?;
        Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis)
    }
}

/// Days since 1970-01-01 in the Gregorian calendar; months and days out of range roll over.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one.
    let months = year * 12 + (month - 1) - 2;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days_to_month = (153 * month + 2) / 5;
    year * 365 + leap_days + days_to_month + (day - 1) - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        let cases = [
            ((1970, 1, 1), 0),
            ((1969, 12, 31), -1),
            ((2000, 2, 29), 11_016),
            ((2024, 5, 1), 19_844),
            ((2024, 13, 1), 20_089),
            ((2024, 3, 0), 19_782),
        ];
        for ((year, month, day), wanted) in cases {
            assert_eq!(days_of(year, month, day), wanted, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn what_is_no_time_of_a_day_is_none() {
        for text in [
            "10:20:30",
            "2024-05-01T10:20:30Z",
            "24:00:00.001Z",
            "2024-05-0x",
            "é2345678",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let noon = parse("12\\:00\\:00.000Z").unwrap();
        assert_eq!(noon.value, Value::Instant(DAY_MS / 2));
        assert_eq!(noon.schema, Some(logical::time().build().unwrap()));
    }
}
