//! Instant to text.

use std::fmt::Write as _;

use super::calendar::{DAY_MS, Date};
use super::names;
use super::pattern::{Item, Number};

pub(super) fn format(items: &[Item], ms: i64) -> String {
    let date = Date::of_ms(ms);
    let time = ms.rem_euclid(DAY_MS);
    let mut out = String::with_capacity(items.len() * 2);
    for item in items {
        match *item {
            Item::Literal(char) => out.push(char),
            Item::Era => out.push_str(names::ERAS[usize::from(date.year > 0)][0]),
            Item::Year(count) => year(year_of_era(date.year), count, &mut out),
            Item::WeekYear(count) => year(date.week_of_year().1, count, &mut out),
            Item::MonthName { is_long } => name(&names::MONTHS, date.month, is_long, &mut out),
            Item::DayName { is_long } => name(&names::DAYS, date.weekday(), is_long, &mut out),
            Item::AmPm => out.push_str(names::AM_PM[usize::from(time >= DAY_MS / 2)]),
            Item::Number(what, width) => padded(number(what, date, time), width, &mut out),
            Item::ZoneName { is_long: true } => out.push_str("Coordinated Universal Time"),
            Item::ZoneName { is_long: false } => out.push_str("UTC"),
            Item::ZoneOffset => out.push_str("+0000"),
            Item::IsoZone(_) => out.push('Z'),
        }
    }
    out
}

fn year_of_era(year: i64) -> i64 {
    if year > 0 { year } else { 1 - year }
}

fn year(year: i64, count: usize, out: &mut String) {
    if count == 2 {
        padded(year % 100, 2, out);
    } else {
        padded(year, count, out);
    }
}

/// A sign is not counted.
fn padded(number: i64, width: usize, out: &mut String) {
    if number < 0 {
        out.push('-');
    }
    // Writing to a String cannot fail.
    write!(out, "{:0width$}", number.unsigned_abs()).unwrap_or_default();
}

fn name(names: &[&str], index: i64, is_long: bool, out: &mut String) {
    let name = usize::try_from(index).ok().and_then(|index| names.get(index));
    let name = name.copied().unwrap_or_default();
    out.push_str(if is_long { name } else { names::short(name) });
}

fn number(what: Number, date: Date, time: i64) -> i64 {
    let hour = time / 3_600_000;
    // The hour 0 is written as the last one.
    let or_last = |hour, last| if hour == 0 { last } else { hour };
    match what {
        Number::Month => date.month + 1,
        Number::Day => date.day,
        Number::DayOfYear => date.day_of_year(),
        Number::WeekOfYear => date.week_of_year().0,
        Number::WeekOfMonth => date.week_of_month(),
        Number::DayOfWeekInMonth => date.weekday_in_month(),
        Number::IsoDay => or_last(date.weekday(), 7),
        Number::Hour0 => hour,
        Number::Hour1 => or_last(hour, 24),
        Number::HalfHour0 => hour % 12,
        Number::HalfHour1 => or_last(hour % 12, 12),
        Number::Minute => time / 60_000 % 60,
        Number::Second => time / 1000 % 60,
        Number::Millisecond => time % 1000,
    }
}
