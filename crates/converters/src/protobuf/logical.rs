//! The messages that stand for one value: points in time, dates, times of day, decimals.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use klamm_connect_api::DataError;

use super::scan::{Parts, Scanner, number32};
use super::types::MessageId;

const DAY_MS: i64 = 86_400_000;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, between which a timestamp has to be.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS: std::ops::RangeInclusive<i64> = 0..=999_999_999;

/// The unscaled bytes and the scale of a decimal.
pub(super) struct Decimal<'a> {
    pub(super) unscaled: &'a [u8],
    pub(super) scale: i32,
}

impl<'a> Scanner<'a> {
    /// The raw values of a message's fields, zero for those that are not there.
    fn raw<const N: usize>(&mut self, id: MessageId, parts: Parts) -> Result<[u64; N], DataError> {
        let frame = self.open(id, parts)?;
        let raw = std::array::from_fn(|slot| self.slot(frame, slot).raw);
        self.close(frame);
        Ok(raw)
    }

    /// The value inside of a wrapper.
    pub(super) fn wrapped(&mut self, id: MessageId, parts: Parts) -> Result<u64, DataError> {
        let [raw] = self.raw(id, parts)?;
        Ok(raw)
    }

    /// Seconds and nanoseconds of a length of time.
    pub(super) fn seconds(&mut self, id: MessageId, parts: Parts) -> Result<(i64, i32), DataError> {
        let [seconds, nanos] = self.raw(id, parts)?;
        Ok((seconds.cast_signed(), number32(nanos)))
    }

    /// Milliseconds since 1970.
    pub(super) fn timestamp(&mut self, id: MessageId, parts: Parts) -> Result<i64, DataError> {
        let [seconds, nanos] = self.raw(id, parts)?;
        let (seconds, nanos) = (seconds.cast_signed(), i64::from(number32(nanos)));
        if !SECONDS.contains(&seconds) || !NANOS.contains(&nanos) {
            return Err(DataError::data("a timestamp that is not within the years 1 to 9999"));
        }
        Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
    }

    /// Days since 1970.
    pub(super) fn date(&mut self, id: MessageId, parts: Parts) -> Result<i64, DataError> {
        let raw: [u64; 3] = self.raw(id, parts)?;
        let [year, month, day] = raw.map(number32);
        days(year, month, day)
            .ok_or_else(|| DataError::data("a date without a year, month or day, or that does not exist"))
    }

    /// Milliseconds since midnight.
    pub(super) fn time_of_day(&mut self, id: MessageId, parts: Parts) -> Result<i64, DataError> {
        let raw: [u64; 4] = self.raw(id, parts)?;
        let [hours, minutes, seconds, nanos] = raw.map(|raw| i64::from(number32(raw)));
        let is_within_day = (0..24).contains(&hours)
            && (0..60).contains(&minutes)
            && (0..60).contains(&seconds)
            && NANOS.contains(&nanos);
        if !is_within_day {
            return Err(DataError::data("a time of day that is not within a day"));
        }
        let minutes = hours.saturating_mul(60).saturating_add(minutes);
        let seconds = minutes.saturating_mul(60).saturating_add(seconds);
        Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
    }

    pub(super) fn decimal(&mut self, id: MessageId, parts: Parts) -> Result<Decimal<'a>, DataError> {
        let [unscaled, _precision, scale] = self.raw(id, parts)?;
        match self.bytes(unscaled) {
            [] => Err(DataError::data("a decimal without bytes")),
            unscaled => Ok(Decimal {
                unscaled,
                scale: number32(scale),
            }),
        }
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i32, month: i32, day: i32) -> Option<i64> {
    let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day last.
    let (year, month) = if month > 2 {
        (year, month.checked_sub(3)?)
    } else {
        (year.checked_sub(1)?, month.checked_add(9)?)
    };
    let leap_days = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    let before_month = month.checked_mul(153)?.checked_add(2)? / 5;
    year.checked_mul(365)?
        .checked_add(leap_days)?
        .checked_add(before_month)?
        .checked_add(day)?
        .checked_sub(719_469)
}

/// A date as Connect has it.
pub(super) fn date_ms(days: i64) -> i64 {
    days.saturating_mul(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_since_1970() {
        let cases = [
            ((1970, 1, 1), Some(0)),
            ((2026, 11, 20), Some(20_777)),
            ((2020, 1, 1), Some(18_262)),
            ((2000, 2, 29), Some(11_016)),
            ((1969, 12, 31), Some(-1)),
            ((1, 1, 1), Some(-719_162)),
            ((9999, 12, 31), Some(2_932_896)),
            ((1900, 2, 29), None),
            ((2024, 4, 31), None),
            ((2024, 13, 1), None),
            ((0, 1, 1), None),
            ((2024, 0, 1), None),
            ((2024, 1, -1), None),
        ];
        for ((year, month, day), wanted) in cases {
            assert_eq!(days(year, month, day), wanted, "{year}-{month}-{day}");
        }
    }
}
