//! Java's `GregorianCalendar`: Julian up to 4 October 1582, Gregorian from 15 October 1582 on; weeks begin on Sunday and
//! the first one holds 1 January. Days are counted from 1970-01-01.

pub(super) const DAY_MS: i64 = 86_400_000;
/// 15 October 1582.
pub(super) const CUTOVER_DAY: i64 = -141_427;
pub(super) const CUTOVER_YEAR: i64 = 1582;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    Julian,
    Gregorian,
}

/// A day. Year 0 is 1 BC; months count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    /// Days since 1970-01-01.
    pub(super) number: i64,
}

/// The day of a date whose month, from 0 to 11, is in range and whose day may not be.
pub(super) fn day_number(rules: Rules, year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one.
    let (year, month) = if month < 2 {
        (year - 1, month + 10)
    } else {
        (year, month - 2)
    };
    let days = year * 365 + year.div_euclid(4) + (153 * month + 2) / 5 + day - 1;
    match rules {
        Rules::Julian => days - 719_470,
        Rules::Gregorian => days - year.div_euclid(100) + year.div_euclid(400) - 719_468,
    }
}

impl Date {
    pub(super) fn of_ms(ms: i64) -> Self {
        Self::of_day(ms.div_euclid(DAY_MS))
    }

    pub(super) fn of_day(number: i64) -> Self {
        let is_julian = number < CUTOVER_DAY;
        // 400 Gregorian or four Julian years are a whole number of days.
        let (rules, cycle_days, cycle_years, start) = if is_julian {
            (Rules::Julian, 1_461, 4, 719_470)
        } else {
            (Rules::Gregorian, 146_097, 400, 719_468)
        };
        let from_march_of_0 = number + start;
        let cycle = from_march_of_0.div_euclid(cycle_days);
        let day_of_cycle = from_march_of_0.rem_euclid(cycle_days);
        let leap_days = match rules {
            Rules::Julian => day_of_cycle / 1_460,
            Rules::Gregorian => day_of_cycle / 1_460 - day_of_cycle / 36_524 + day_of_cycle / 146_096,
        };
        let year = (day_of_cycle - leap_days) / 365;
        let before_year = match rules {
            Rules::Julian => year * 365 + year / 4,
            Rules::Gregorian => year * 365 + year / 4 - year / 100,
        };
        let day_of_year = day_of_cycle - before_year;
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let year = cycle * cycle_years + year;
        let (year, month) = if month < 10 {
            (year, month + 2)
        } else {
            (year + 1, month - 10)
        };
        Self {
            year,
            month,
            day,
            number,
        }
    }

    /// 1 January of a year.
    fn new_year(year: i64) -> i64 {
        let rules = if year > CUTOVER_YEAR {
            Rules::Gregorian
        } else {
            Rules::Julian
        };
        day_number(rules, year, 0, 1)
    }

    pub(super) fn day_of_year(self) -> i64 {
        self.number - Self::new_year(self.year) + 1
    }

    /// The week of its year, and that year: the last days of December belong to week 1 of the next year if the week
    /// holds 1 January.
    pub(super) fn week_of_year(self) -> (i64, i64) {
        let week = week_start(self.number);
        let next = Self::new_year(self.year + 1);
        if week_start(next) == week {
            return (1, self.year + 1);
        }
        ((week - week_start(Self::new_year(self.year))) / 7 + 1, self.year)
    }

    pub(super) fn week_of_month(self) -> i64 {
        (week_start(self.number) - week_start(self.first_of_month())) / 7 + 1
    }

    /// Which of its weekdays in the month it is, from 1.
    pub(super) fn weekday_in_month(self) -> i64 {
        (self.number - self.first_of_month()) / 7 + 1
    }

    fn first_of_month(self) -> i64 {
        if self.year == CUTOVER_YEAR && self.month == 9 {
            day_number(Rules::Julian, self.year, self.month, 1)
        } else {
            self.number - self.day + 1
        }
    }

    /// From Sunday, 0.
    pub(super) fn weekday(self) -> i64 {
        weekday(self.number)
    }
}

/// 1970-01-01 was a Thursday; Sunday is 0.
fn weekday(day: i64) -> i64 {
    (day + 4).rem_euclid(7)
}

/// The Sunday on or before a day.
fn week_start(day: i64) -> i64 {
    day - weekday(day)
}

/// The last day on or before `day` whose weekday is `weekday`: 1 is Sunday, and what is out of range rolls over.
pub(super) fn weekday_on_or_before(day: i64, weekday: i64) -> i64 {
    day - (day + 4 - (weekday - 1)).rem_euclid(7)
}
