//! Pattern letters.

use std::iter::Peekable;
use std::str::Chars;

/// A pattern that `SimpleDateFormat` refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DateFormatError {
    /// An ASCII letter outside quotes that is no pattern letter.
    #[error("Illegal pattern character '{0}': letters that stand for themselves are put in single quotes")]
    Letter(char),
    /// More than three `X`.
    #[error("invalid ISO 8601 format: length={0}; `X` stands one to three times")]
    IsoZone(usize),
    /// A quote without its partner.
    #[error("Unterminated quote")]
    Quote,
}

/// A piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Literal(char),
    Era,
    /// `y`, with its count.
    Year(usize),
    /// `Y`, with its count.
    WeekYear(usize),
    /// `MMM` and `MMMM`
    MonthName {
        is_long: bool,
    },
    DayName {
        is_long: bool,
    },
    AmPm,
    /// A number with its least number of digits.
    Number(Number, usize),
    /// `z`
    ZoneName {
        is_long: bool,
    },
    /// `Z`
    ZoneOffset,
    /// `X`, with its count.
    IsoZone(usize),
}

/// What is a number and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Month,
    Day,
    DayOfYear,
    WeekOfYear,
    WeekOfMonth,
    DayOfWeekInMonth,
    /// `u`: Monday is 1.
    IsoDay,
    /// `H`: 0 to 23.
    Hour0,
    /// `k`: 1 to 24.
    Hour1,
    /// `K`: 0 to 11.
    HalfHour0,
    /// `h`: 1 to 12.
    HalfHour1,
    Minute,
    Second,
    Millisecond,
}

impl Item {
    /// Whether a number in front of it is read by the count of its letters.
    pub(super) fn is_numeric(self) -> bool {
        matches!(self, Self::Year(_) | Self::WeekYear(_) | Self::Number(..))
    }
}

pub(super) fn compile(pattern: &str) -> Result<Vec<Item>, DateFormatError> {
    let mut items = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '\'' => quoted(&mut rest, &mut items)?,
            letter if letter.is_ascii_alphabetic() => {
                let mut count = 1;
                while rest.next_if_eq(&letter).is_some() {
                    count += 1;
                }
                items.push(item(letter, count)?);
            }
            other => items.push(Item::Literal(other)),
        }
    }
    Ok(items)
}

/// After a quote: two of them are the character itself, inside as outside.
fn quoted(rest: &mut Peekable<Chars<'_>>, items: &mut Vec<Item>) -> Result<(), DateFormatError> {
    if rest.next_if_eq(&'\'').is_some() {
        items.push(Item::Literal('\''));
        return Ok(());
    }
    loop {
        match rest.next() {
            Some('\'') if rest.next_if_eq(&'\'').is_none() => return Ok(()),
            Some(char) => items.push(Item::Literal(char)),
            None => return Err(DateFormatError::Quote),
        }
    }
}

fn item(letter: char, count: usize) -> Result<Item, DateFormatError> {
    let number = match letter {
        'G' => return Ok(Item::Era),
        'y' => return Ok(Item::Year(count)),
        'Y' => return Ok(Item::WeekYear(count)),
        'M' | 'L' if count > 2 => return Ok(Item::MonthName { is_long: count > 3 }),
        'E' => return Ok(Item::DayName { is_long: count > 3 }),
        'a' => return Ok(Item::AmPm),
        'z' => return Ok(Item::ZoneName { is_long: count > 3 }),
        'Z' => return Ok(Item::ZoneOffset),
        'X' if count > 3 => return Err(DateFormatError::IsoZone(count)),
        'X' => return Ok(Item::IsoZone(count)),
        'M' | 'L' => Number::Month,
        'd' => Number::Day,
        'D' => Number::DayOfYear,
        'w' => Number::WeekOfYear,
        'W' => Number::WeekOfMonth,
        'F' => Number::DayOfWeekInMonth,
        'u' => Number::IsoDay,
        'H' => Number::Hour0,
        'k' => Number::Hour1,
        'K' => Number::HalfHour0,
        'h' => Number::HalfHour1,
        'm' => Number::Minute,
        's' => Number::Second,
        'S' => Number::Millisecond,
        other => return Err(DateFormatError::Letter(other)),
    };
    Ok(Item::Number(number, count))
}
