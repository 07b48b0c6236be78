//! Text to instant, as lenient as `SimpleDateFormat`.

use super::pattern::{Item, Number};
use super::resolve::{Field, Fields};
use super::{DateFormat, names, zone};
use crate::number::digit;

/// Years of one century.
const CENTURY: i64 = 100;

pub(super) fn parse(format: &DateFormat, text: &str) -> Option<i64> {
    let mut reader = Reader {
        rest: text,
        fields: Fields::default(),
        is_ambiguous: false,
    };
    for (index, item) in format.items.iter().enumerate() {
        let next = format.items.get(index + 1);
        reader.read(format, *item, next.is_some_and(|next| next.is_numeric()))?;
    }
    let instant = reader.fields.instant();
    // The two digits are those of the year in which the century begins: before that very day they mean its end.
    if reader.is_ambiguous && instant < format.century_start_ms {
        reader.fields.add_year(CENTURY);
        return Some(reader.fields.instant());
    }
    Some(instant)
}

struct Reader<'a> {
    rest: &'a str,
    fields: Fields,
    is_ambiguous: bool,
}

impl<'a> Reader<'a> {
    /// `is_counted`: a number follows without anything between, so this one has as many digits as letters.
    fn read(&mut self, format: &DateFormat, item: Item, is_counted: bool) -> Option<()> {
        if let Item::Literal(char) = item {
            self.rest = self.rest.strip_prefix(char)?;
            return Some(());
        }
        let unskipped = self.rest;
        self.rest = unskipped.trim_start_matches([' ', '\t']);
        // A field that blanks run into is missing.
        if self.rest.is_empty() {
            return None;
        }
        let count = |count| is_counted.then_some(count);
        match item {
            Item::Literal(_) => {}
            Item::Year(letters) => {
                let year = self.year(format, letters, unskipped, count(letters))?;
                self.fields.set(Field::Year, year);
            }
            Item::WeekYear(letters) => {
                let year = self.year(format, letters, unskipped, count(letters))?;
                self.fields.set(Field::WeekYear, year);
            }
            Item::Number(what, letters) => {
                let value = self.number(unskipped, count(letters))?;
                self.set_number(what, value);
            }
            // Blanks in front of names are not skipped.
            Item::Era => {
                let [before, after] = names::ERAS;
                let names = before.into_iter().map(|name| (name, 0));
                self.name(
                    unskipped,
                    names.chain(after.into_iter().map(|name| (name, 1))),
                    Field::Era,
                )?;
            }
            Item::MonthName { .. } => self.name(unskipped, long_and_short(&names::MONTHS, 0), Field::Month)?,
            Item::DayName { .. } => self.name(unskipped, long_and_short(&names::DAYS, 1), Field::DayOfWeek)?,
            Item::AmPm => self.name(unskipped, names::AM_PM.into_iter().zip(0..), Field::AmPm)?,
            Item::ZoneName { .. } | Item::ZoneOffset => {
                // `GMT+2:00` is one text only without blanks in front.
                let is_first = unskipped.len() == self.rest.len();
                self.zone(zone::general(self.rest, is_first)?);
            }
            Item::IsoZone(count) => self.zone(zone::iso(self.rest, count)?),
        }
        Some(())
    }

    fn zone(&mut self, (offset, rest): (i64, &'a str)) {
        self.fields.zone_offset = offset;
        self.rest = rest;
    }

    /// The longest name counts.
    fn name(&mut self, text: &'a str, names: impl Iterator<Item = (&'static str, i64)>, field: Field) -> Option<()> {
        let starts_with = |name: &str| {
            text.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        let (name, value) = names
            .filter(|(name, _)| starts_with(name))
            .max_by_key(|(name, _)| name.len())?;
        self.fields.set(field, value);
        self.rest = text.get(name.len()..).unwrap_or_default();
        Some(())
    }

    /// Two digits that stand alone are a year of the current hundred years, unless three letters or more say otherwise.
    fn year(&mut self, format: &DateFormat, letters: usize, unskipped: &str, count: Option<usize>) -> Option<i64> {
        let text = self.rest;
        let value = self.number(unskipped, count)?;
        let read = text.strip_suffix(self.rest).unwrap_or_default();
        let is_short = letters <= 2 && read.chars().count() == 2 && read.chars().all(|char| digit(char).is_some());
        if !is_short {
            return Some(value);
        }
        let start = format.century_start_year;
        let ambiguous = start.rem_euclid(CENTURY);
        self.is_ambiguous = value == ambiguous;
        let later = if value < ambiguous { CENTURY } else { 0 };
        Some(value + start - ambiguous + later)
    }

    fn set_number(&mut self, what: Number, value: i64) {
        let (field, value) = match what {
            Number::Month => (Field::Month, value - 1),
            Number::Day => (Field::Day, value),
            Number::DayOfYear => (Field::DayOfYear, value),
            Number::WeekOfYear => (Field::WeekOfYear, value),
            Number::WeekOfMonth => (Field::WeekOfMonth, value),
            Number::DayOfWeekInMonth => (Field::DayOfWeekInMonth, value),
            // Monday is 1 here and 2 there; what is out of range stays as it is.
            Number::IsoDay if (1..=7).contains(&value) => (Field::DayOfWeek, value % 7 + 1),
            Number::IsoDay => (Field::DayOfWeek, value),
            Number::Hour0 => (Field::Hour, value),
            Number::Hour1 => (Field::Hour, if value == 24 { 0 } else { value }),
            Number::HalfHour0 => (Field::HalfHour, value),
            Number::HalfHour1 => (Field::HalfHour, if value == 12 { 0 } else { value }),
            Number::Minute => (Field::Minute, value),
            Number::Second => (Field::Second, value),
            Number::Millisecond => (Field::Millisecond, value),
        };
        self.fields.set(field, value);
    }

    /// `NumberFormat.parse(text).intValue()`. With a count the digits end there, blanks in front included.
    fn number(&mut self, unskipped: &str, count: Option<usize>) -> Option<i64> {
        let blanks = unskipped.len() - self.rest.len();
        let text = match count {
            Some(count) => {
                let end = unskipped
                    .char_indices()
                    .nth(count)
                    .map_or(unskipped.len(), |(end, _)| end);
                if unskipped.chars().count() < count {
                    return None;
                }
                unskipped.get(blanks..end)?
            }
            None => self.rest,
        };
        let (value, length) = integer(text)?;
        self.rest = self.rest.get(length..).unwrap_or_default();
        Some(i64::from(value))
    }
}

fn long_and_short(names: &'static [&'static str], first: i64) -> impl Iterator<Item = (&'static str, i64)> {
    let names = names.iter().copied().zip(first..);
    names.flat_map(|(name, value)| [(name, value), (names::short(name), value)])
}

/// What Java's `DecimalFormat` for integers reads at the beginning of a text, as an `int`, and the length of it: a sign,
/// digits, and even an exponent. Beyond 64 bits the number saturates, beyond 32 it wraps around.
#[expect(
    clippy::cast_possible_truncation,
    reason = "Long.intValue keeps the low bits, Double.intValue saturates"
)]
fn integer(text: &str) -> Option<(i32, usize)> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let is_negative = unsigned.len() < text.len();
    let sign = usize::from(is_negative);
    for (name, value) in [("NaN", 0), ("\u{fffd}", 0), ("∞", i32::MAX)] {
        if unsigned.starts_with(name) && !(is_negative && value == 0) {
            return Some((if is_negative { i32::MIN } else { value }, sign + name.len()));
        }
    }
    let (digits, mut length) = digits(unsigned);
    if digits.is_empty() {
        return None;
    }
    let mut exponent = 0;
    if let Some(power) = unsigned.get(length..).and_then(|rest| rest.strip_prefix('E')) {
        let (magnitude, more, is_minus) = match power.strip_prefix('-') {
            Some(power) => (self::digits(power), 2, true),
            None => (self::digits(power), 1, false),
        };
        if !magnitude.0.is_empty()
            && let Ok(power) = magnitude.0.parse::<i64>()
        {
            exponent = if is_minus { -power } else { power };
            length += more + magnitude.1;
        }
    }
    // An int of the exponent, as Java casts it.
    let exponent = exponent as i32;
    let text = format!("{}{digits}e{exponent}", if is_negative { "-" } else { "" });
    let value = match exact(&digits, exponent, is_negative) {
        Some(long) => long as i32,
        None => text.parse::<f64>().ok()? as i32,
    };
    Some((value, sign + length))
}

/// The digits at the beginning of a text, in ASCII, and their length there.
fn digits(text: &str) -> (String, usize) {
    let mut digits = String::new();
    let mut length = 0;
    for char in text.chars() {
        let Some(digit) = digit(char).and_then(|digit| char::from_digit(digit, 10)) else {
            break;
        };
        digits.push(digit);
        length += char.len_utf8();
    }
    (digits, length)
}

/// The number if it is an integer of 64 bits.
fn exact(digits: &str, exponent: i32, is_negative: bool) -> Option<i64> {
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let trimmed = digits.trim_end_matches('0');
    let power = i64::from(exponent) + i64::try_from(digits.len() - trimmed.len()).ok()?;
    let power = u32::try_from(power).ok().filter(|power| *power < 20)?;
    let magnitude = trimmed.parse::<i128>().ok()?.checked_mul(10_i128.checked_pow(power)?)?;
    i64::try_from(if is_negative { -magnitude } else { magnitude }).ok()
}
