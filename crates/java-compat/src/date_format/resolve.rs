//! From what a text said to an instant: which of contradicting fields count, and how values out of range roll over
//! (`java.util.GregorianCalendar`, lenient).

use super::calendar::{CUTOVER_DAY, CUTOVER_YEAR, DAY_MS, Date, Rules, day_number, weekday_on_or_before};

/// What a pattern can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Era,
    Year,
    WeekYear,
    Month,
    Day,
    DayOfYear,
    WeekOfYear,
    WeekOfMonth,
    /// Sunday is 1.
    DayOfWeek,
    DayOfWeekInMonth,
    AmPm,
    HalfHour,
    Hour,
    Minute,
    Second,
    Millisecond,
}

const FIELDS: usize = 16;

/// The fields that were set. Of two that contradict each other the one that was set last counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fields {
    /// When each field was set, from 1, and its value.
    set: [Option<(u32, i64)>; FIELDS],
    clock: u32,
    /// Milliseconds east of UTC.
    pub(super) zone_offset: i64,
}

impl Fields {
    pub(super) fn set(&mut self, field: Field, value: i64) {
        self.clock += 1;
        self.set[field as usize] = Some((self.clock, value));
    }

    /// Moves the year, if one was set.
    pub(super) fn add_year(&mut self, years: i64) {
        for field in [Field::Year, Field::WeekYear] {
            if let Some((_, year)) = &mut self.set[field as usize] {
                *year += years;
            }
        }
    }

    fn get(&self, field: Field) -> Option<i64> {
        self.set[field as usize].map(|(_, value)| value)
    }

    /// 0 if the field was never set.
    fn stamp(&self, field: Field) -> u32 {
        self.set[field as usize].map_or(0, |(stamp, _)| stamp)
    }

    /// The later of two fields that only count together.
    fn both(&self, a: Field, b: Field) -> u32 {
        match (self.stamp(a), self.stamp(b)) {
            (0, _) | (_, 0) => 0,
            (a, b) => a.max(b),
        }
    }

    /// Milliseconds since the epoch. Java's arithmetic wraps around.
    pub(super) fn instant(mut self) -> i64 {
        let time = self.time_of_day();
        let mut day = self.day(time.div_euclid(DAY_MS));
        if self.stamp(Field::WeekYear) > self.stamp(Field::Year) {
            self.apply_week_date(Date::of_day(day).year > 0);
            day = self.day(time.div_euclid(DAY_MS));
        }
        day.wrapping_mul(DAY_MS)
            .wrapping_add(time.rem_euclid(DAY_MS))
            .wrapping_sub(self.zone_offset)
    }

    fn time_of_day(&self) -> i64 {
        let hour = self.stamp(Field::Hour);
        let half = match self.both(Field::HalfHour, Field::AmPm) {
            0 if hour == 0 => self.stamp(Field::HalfHour).max(self.stamp(Field::AmPm)),
            both => both,
        };
        let value = |field| self.get(field).unwrap_or(0);
        let hours = if half > hour {
            value(Field::HalfHour) + 12 * value(Field::AmPm)
        } else {
            value(Field::Hour)
        };
        ((hours * 60 + value(Field::Minute)) * 60 + value(Field::Second)) * 1000 + value(Field::Millisecond)
    }

    /// A week year turns week and weekday into a date. Its era is that of the other fields, as in Java.
    fn apply_week_date(&mut self, is_ad: bool) {
        let mut week = self.get(Field::WeekOfYear).unwrap_or(1);
        let mut weekday = self.get(Field::DayOfWeek).unwrap_or(1);
        if weekday >= 8 {
            week += (weekday - 1) / 7;
            weekday = (weekday - 1) % 7 + 1;
            weekday = weekday % 7 + 1;
        } else if weekday <= 0 {
            week -= (7 - weekday) / 7;
            weekday = (weekday - 1).rem_euclid(7) + 1;
            weekday = weekday % 7 + 1;
        }
        let year = self.get(Field::WeekYear).unwrap_or(1970);
        let year = if is_ad { year } else { 1 - year };
        let rules = if year > CUTOVER_YEAR {
            Rules::Gregorian
        } else {
            Rules::Julian
        };
        let first = weekday_on_or_before(day_number(rules, year, 0, 1), 1);
        let date = Date::of_day(first + weekday - 1 + weeks(week - 1));
        self.set(Field::Era, i64::from(date.year > 0));
        self.set(Field::Year, if date.year > 0 { date.year } else { 1 - date.year });
        self.set(Field::Month, date.month);
        self.set(Field::Day, date.day);
    }

    /// Days since 1970-01-01, `more` days later.
    fn day(&self, more: i64) -> i64 {
        let year = match (self.get(Field::Year).unwrap_or(1970), self.get(Field::Era)) {
            (year, Some(0)) => 1 - year,
            (year, _) => year,
        };
        let choice = self.choice();
        let julian = self.day_by(choice, Rules::Julian, year) + more;
        let gregorian = self.day_by(choice, Rules::Gregorian, year) + more;
        if year < CUTOVER_YEAR && julian < CUTOVER_DAY {
            return julian;
        }
        if year == CUTOVER_YEAR && matches!(choice, Choice::DayOfYear | Choice::WeekOfYear) {
            return julian;
        }
        // Days that both calendars have are Gregorian, the ten that neither has are read by the Julian one.
        if gregorian >= CUTOVER_DAY && (julian >= CUTOVER_DAY || year >= CUTOVER_YEAR) {
            gregorian
        } else {
            julian
        }
    }

    /// Which fields make the date: the combination that was completed last.
    fn choice(&self) -> Choice {
        let day = self.stamp(Field::Day);
        let weekday = self.stamp(Field::DayOfWeek);
        let by_year = self.stamp(Field::DayOfYear);
        let mut week_of_month = self.both(Field::WeekOfMonth, Field::DayOfWeek);
        let mut in_month = self.both(Field::DayOfWeekInMonth, Field::DayOfWeek);
        let mut week_of_year = self.both(Field::WeekOfYear, Field::DayOfWeek);
        let mut by_day = day;
        let mut best = day.max(week_of_month).max(in_month).max(by_year).max(week_of_year);
        if best == 0 {
            // No complete combination: a week alone, or a weekday alone, which is the first one of the month.
            week_of_month = self.stamp(Field::WeekOfMonth);
            in_month = self.stamp(Field::DayOfWeekInMonth).max(weekday);
            week_of_year = self.stamp(Field::WeekOfYear);
            best = week_of_month.max(in_month).max(week_of_year);
            if best == 0 {
                by_day = self.stamp(Field::Month);
                best = by_day;
            }
        }
        let of_year = self.stamp(Field::WeekOfYear);
        if best == by_day {
            Choice::Day
        } else if best == week_of_month && self.stamp(Field::WeekOfMonth) >= of_year {
            let is_week =
                in_month != week_of_month || self.stamp(Field::WeekOfMonth) >= self.stamp(Field::DayOfWeekInMonth);
            if is_week {
                Choice::WeekOfMonth
            } else {
                Choice::DayOfWeekInMonth
            }
        } else if best == in_month && self.stamp(Field::DayOfWeekInMonth) >= of_year {
            Choice::DayOfWeekInMonth
        } else if best == by_year {
            Choice::DayOfYear
        } else {
            Choice::WeekOfYear
        }
    }

    fn day_by(&self, choice: Choice, rules: Rules, year: i64) -> i64 {
        let weekday = self.get(Field::DayOfWeek);
        let month = match choice {
            Choice::DayOfYear | Choice::WeekOfYear => 0,
            Choice::Day | Choice::WeekOfMonth | Choice::DayOfWeekInMonth => self.get(Field::Month).unwrap_or(0),
        };
        let (year, month) = (year + month.div_euclid(12), month.rem_euclid(12));
        let first = day_number(rules, year, month, 1);
        // The week that holds the first day.
        let week = weekday_on_or_before(first, 1);
        match choice {
            Choice::Day => first + self.get(Field::Day).map_or(0, |day| day - 1),
            Choice::DayOfYear => first + self.get(Field::DayOfYear).map_or(0, |day| day - 1),
            Choice::WeekOfMonth => {
                let start = weekday.map_or(week, |weekday| weekday_on_or_before(week + 6, weekday));
                start + weeks(self.get(Field::WeekOfMonth).unwrap_or(0) - 1)
            }
            Choice::WeekOfYear => {
                let start = weekday.map_or(week, |weekday| weekday_on_or_before(week + 6, weekday));
                start + 7 * (self.get(Field::WeekOfYear).unwrap_or(0) - 1)
            }
            Choice::DayOfWeekInMonth => {
                let weekday = weekday.unwrap_or(1);
                match self.get(Field::DayOfWeekInMonth).unwrap_or(1) {
                    count @ 0.. => weekday_on_or_before(first + weeks(count) - 1, weekday),
                    count => {
                        let length = day_number(rules, year + i64::from(month == 11), (month + 1) % 12, 1) - first;
                        weekday_on_or_before(first + length + weeks(count + 1) - 1, weekday)
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Day,
    WeekOfMonth,
    DayOfWeekInMonth,
    DayOfYear,
    WeekOfYear,
}

/// Days of so many weeks, in Java's 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "wraps around as in Java")]
fn weeks(count: i64) -> i64 {
    i64::from((count as i32).wrapping_mul(7))
}

/// The beginning of a day, in milliseconds since the epoch.
pub(super) fn millis_of_date(year: i64, month: i64, day: i64) -> i64 {
    let mut fields = Fields::default();
    fields.set(Field::Year, year);
    fields.set(Field::Month, month);
    fields.set(Field::Day, day);
    fields.instant()
}
