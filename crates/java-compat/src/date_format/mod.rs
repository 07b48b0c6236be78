//! `java.text.SimpleDateFormat` for the locale `en` and UTC: its pattern letters, its lenient reading, and the calendar
//! behind it.

mod calendar;
mod format;
mod names;
mod parse;
mod pattern;
mod resolve;
mod zone;

use self::calendar::{DAY_MS, Date};
use self::pattern::Item;

pub use self::pattern::DateFormatError;

/// A compiled `SimpleDateFormat` pattern.
///
/// ```
/// let format = klamm_java_compat::DateFormat::try_new("yyyy-MM-dd'T'HH:mm", 0).unwrap();
/// assert_eq!(format.format(1_714_558_830_123), "2024-05-01T10:20");
/// assert_eq!(format.parse("2024-05-01T10:20:30Z"), Some(1_714_558_800_000));
/// ```
#[derive(Debug, Clone)]
pub struct DateFormat {
    items: Vec<Item>,
    /// A year of two digits lies within the hundred years from here on.
    century_start_ms: i64,
    century_start_year: i64,
}

/// `SimpleDateFormat` begins the century of two-digit years this long ago.
const CENTURY_YEARS_AGO: i64 = 80;

impl DateFormat {
    /// Compiles a pattern. `now_ms` is the current time: years of two digits are read as within 80 years before and 20
    /// years after it.
    ///
    /// # Errors
    /// A letter that means nothing, or a quote that is not closed.
    pub fn try_new(pattern: &str, now_ms: i64) -> Result<Self, DateFormatError> {
        let now = Date::of_ms(now_ms);
        let start = resolve::millis_of_date(now.year - CENTURY_YEARS_AGO, now.month, now.day);
        Ok(Self {
            items: pattern::compile(pattern)?,
            century_start_ms: start + now_ms.rem_euclid(DAY_MS),
            century_start_year: now.year - CENTURY_YEARS_AGO,
        })
    }

    /// The instant as text, in UTC.
    #[must_use]
    pub fn format(&self, ms: i64) -> String {
        format::format(&self.items, ms)
    }

    /// The instant at the beginning of `text`, in milliseconds since the epoch; what follows the pattern is ignored.
    /// None if the text does not fit.
    #[must_use]
    pub fn parse(&self, text: &str) -> Option<i64> {
        parse::parse(self, text)
    }
}

/// The text that Connect makes of a Date, Time or Timestamp (`Values.dateFormatFor`): of the value alone, so instants
/// within or before the first day are times, and midnights are dates.
#[must_use]
pub fn instant_to_string(ms: i64) -> String {
    const TIME: [Item; 8] = [
        Item::Number(pattern::Number::Hour0, 2),
        Item::Literal(':'),
        Item::Number(pattern::Number::Minute, 2),
        Item::Literal(':'),
        Item::Number(pattern::Number::Second, 2),
        Item::Literal('.'),
        Item::Number(pattern::Number::Millisecond, 3),
        Item::Literal('Z'),
    ];
    const DATE: [Item; 5] = [
        Item::Year(4),
        Item::Literal('-'),
        Item::Number(pattern::Number::Month, 2),
        Item::Literal('-'),
        Item::Number(pattern::Number::Day, 2),
    ];
    if ms < DAY_MS {
        format::format(&TIME, ms)
    } else if ms % DAY_MS == 0 {
        format::format(&DATE, ms)
    } else {
        format!("{}T{}", format::format(&DATE, ms), format::format(&TIME, ms))
    }
}

#[cfg(test)]
mod tests;
