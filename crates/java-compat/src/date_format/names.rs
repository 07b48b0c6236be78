//! Names of the locale `en`.

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// From Sunday on, as Java counts.
pub(super) const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

pub(super) const AM_PM: [&str; 2] = ["AM", "PM"];

/// With the long names, which are only read.
pub(super) const ERAS: [[&str; 2]; 2] = [["BC", "Before Christ"], ["AD", "Anno Domini"]];

/// Months and days are shortened to three letters.
pub(super) fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}
