//! What values stand for where Connect has no logical type for it, and dates and times of all kinds as ISO 8601 text.

use crate::logical;
use crate::schema::Schema;

/// What a value stands for.
///
/// Connect's own logical types are [`Logical`](crate::logical::Logical); what formats have beyond them is a plain number,
/// BYTES or STRUCT in Connect. A schema may carry this besides, see
/// [`SchemaBuilder::semantic`](crate::SchemaBuilder::semantic); only the natural rendering looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Semantic {
    /// INT32: days since 1970-01-01.
    Date,
    /// A number: time since midnight. Debezium writes MySQL's, which may be negative or longer than a day.
    Time(Unit),
    /// A number: time since the epoch, UTC.
    Timestamp(Unit),
    /// A number: time since 1970-01-01T00:00 in a time zone that the data does not name.
    LocalTimestamp(Unit),
    /// 16 bytes.
    Uuid,
    /// 12 bytes: months, days and milliseconds, each an unsigned 32-bit number in little endian (Avro's duration).
    Duration,
    /// INT64: the number without a sign that has the same bits.
    Unsigned,
    /// Any value: null (Protobuf's `NullValue`).
    Null,
    /// A STRUCT: its field that is set; null if none is (Protobuf's `Struct`, `Value`, `ListValue` and wrappers).
    Held,
    /// A STRUCT of INT64 seconds and INT32 nanos: a length of time (Protobuf's `Duration`).
    Seconds,
    /// A STRUCT of an ARRAY of STRING: names of fields (Protobuf's `FieldMask`).
    FieldMask,
    /// A STRUCT: its fields. It was made of another one and has its name and parameters, but is no union even if they
    /// are those of one.
    Rewritten,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// 1/1,000 s
    Millis,
    /// 1/1,000,000 s
    Micros,
    /// 1/1,000,000,000 s
    Nanos,
}

impl Unit {
    fn per_second(self) -> i64 {
        match self {
            Self::Millis => 1_000,
            Self::Micros => 1_000_000,
            Self::Nanos => 1_000_000_000,
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Millis => 3,
            Self::Micros => 6,
            Self::Nanos => 9,
        }
    }
}

const DAY_SECONDS: i64 = 86_400;

impl Semantic {
    /// What values of `schema` stand for: what its reader noted, or what the schema's name says (Connect's and
    /// Debezium's dates and times).
    #[must_use]
    pub fn of(schema: &Schema) -> Option<Self> {
        schema.semantic().or_else(|| Self::by_name(schema.name()?))
    }

    fn by_name(name: &str) -> Option<Self> {
        use Unit::{Micros, Millis, Nanos};
        Some(match name {
            logical::DATE => Self::Date,
            logical::TIME => Self::Time(Millis),
            logical::TIMESTAMP => Self::Timestamp(Millis),
            _ => match name.strip_prefix("io.debezium.time.")? {
                "Date" => Self::Date,
                "Time" => Self::Time(Millis),
                "MicroTime" => Self::Time(Micros),
                "NanoTime" => Self::Time(Nanos),
                "Timestamp" => Self::LocalTimestamp(Millis),
                "MicroTimestamp" => Self::LocalTimestamp(Micros),
                "NanoTimestamp" => Self::LocalTimestamp(Nanos),
                _ => return None,
            },
        })
    }

    /// Appends what a number stands for as ISO 8601 text, without quotes. Fractions have all digits of the unit, years
    /// beyond four digits a sign and at least six. Answers whether it stands for anything; if not, nothing was written.
    pub(crate) fn write_number(self, number: i64, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Date => write_date(number, out),
            Self::Time(unit) => {
                if number < 0 {
                    out.push(b'-');
                }
                write_clock(number.unsigned_abs(), unit, out);
            }
            Self::Timestamp(unit) | Self::LocalTimestamp(unit) => {
                let day = DAY_SECONDS * unit.per_second();
                write_date(number.div_euclid(day), out);
                out.push(b'T');
                write_clock(number.rem_euclid(day).unsigned_abs(), unit, out);
                if matches!(self, Self::Timestamp(_)) {
                    out.push(b'Z');
                }
            }
            Self::Uuid
            | Self::Duration
            | Self::Unsigned
            | Self::Null
            | Self::Held
            | Self::Seconds
            | Self::FieldMask
            | Self::Rewritten => return false,
        }
        true
    }

    /// Appends what bytes stand for as text, without quotes. Answers whether they stand for anything; if not, nothing
    /// was written.
    pub(crate) fn write_bytes(self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        match self {
            Self::Uuid => match <&[u8; 16]>::try_from(bytes) {
                Ok(bytes) => write_uuid(bytes, out),
                Err(_) => return false,
            },
            Self::Duration => match bytes.as_chunks::<4>() {
                ([months, days, ms], []) => {
                    write_duration([months, days, ms].map(|part| u32::from_le_bytes(*part)), out);
                }
                _ => return false,
            },
            Self::Date
            | Self::Time(_)
            | Self::Timestamp(_)
            | Self::LocalTimestamp(_)
            | Self::Unsigned
            | Self::Null
            | Self::Held
            | Self::Seconds
            | Self::FieldMask
            | Self::Rewritten => return false,
        }
        true
    }
}

fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    if (0..=9999).contains(&year) {
        write_padded(year.unsigned_abs(), 4, out);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        write_padded(year.unsigned_abs(), 6, out);
    }
    out.push(b'-');
    write_padded(month, 2, out);
    out.push(b'-');
    write_padded(day, 2, out);
}

/// Year, month and day of a day in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, u64, u64) {
    // 400 years are 146,097 days. Counted from 1 March of the year 0 the leap day is the last one of its year.
    const CYCLE_DAYS: i64 = 146_097;
    let from_march = days.saturating_add(719_468);
    let cycle = from_march.div_euclid(CYCLE_DAYS);
    let day_of_cycle = from_march.rem_euclid(CYCLE_DAYS);
    // A leap day every 4 years (1,461 days), none every 100 (36,524), one every 400.
    let leap_days = day_of_cycle / 1_460 - day_of_cycle / 36_524 + day_of_cycle / (CYCLE_DAYS - 1);
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // Months from March on are 153 days in five, whichever five begin in March, August or January.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let is_next_year = month_from_march >= 10;
    let month = if is_next_year {
        month_from_march - 9
    } else {
        month_from_march + 3
    };
    let year = cycle * 400 + year_of_cycle + i64::from(is_next_year);
    (year, month.unsigned_abs(), day.unsigned_abs())
}

fn write_clock(time: u64, unit: Unit, out: &mut Vec<u8>) {
    let per_second = unit.per_second().unsigned_abs();
    let seconds = time / per_second;
    write_padded(seconds / 3600, 2, out);
    out.push(b':');
    write_padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    write_padded(seconds % 60, 2, out);
    out.push(b'.');
    write_padded(time % per_second, unit.digits(), out);
}

fn write_padded(number: u64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number).as_bytes();
    out.resize(out.len() + width.saturating_sub(digits.len()), b'0');
    out.extend_from_slice(digits);
}

fn write_uuid(bytes: &[u8; 16], out: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 0xf)]);
    }
}

/// ISO 8601 durations leave out what is zero; nothing at all is `PT0S`.
fn write_duration([months, days, ms]: [u32; 3], out: &mut Vec<u8>) {
    out.push(b'P');
    for (count, letter) in [(months, b'M'), (days, b'D')] {
        if count > 0 {
            write_padded(count.into(), 1, out);
            out.push(letter);
        }
    }
    if ms > 0 {
        out.push(b'T');
        write_padded((ms / 1000).into(), 1, out);
        out.push(b'.');
        write_padded((ms % 1000).into(), 3, out);
        out.push(b'S');
    } else if months == 0 && days == 0 {
        out.extend_from_slice(b"T0S");
    }
}

/// Appends a length of time as Protobuf's JSON has it, without quotes: `1.500s`, with 0, 3, 6 or 9 digits after the
/// point. Answers whether it is one; if not, nothing was written.
pub(crate) fn write_seconds(seconds: i64, nanos: i32, out: &mut Vec<u8>) -> bool {
    // 10,000 years.
    const MAX_SECONDS: u64 = 315_576_000_000;
    let is_negative = seconds < 0 || nanos < 0;
    let fits = seconds.unsigned_abs() <= MAX_SECONDS && nanos.unsigned_abs() < 1_000_000_000;
    if !fits || (is_negative && (seconds > 0 || nanos > 0)) {
        return false;
    }
    if is_negative {
        out.push(b'-');
    }
    write_padded(seconds.unsigned_abs(), 1, out);
    let nanos = u64::from(nanos.unsigned_abs());
    let (fraction, digits) = match nanos {
        0 => (0, 0),
        _ if nanos % 1_000_000 == 0 => (nanos / 1_000_000, 3),
        _ if nanos % 1_000 == 0 => (nanos / 1_000, 6),
        _ => (nanos, 9),
    };
    if digits > 0 {
        out.push(b'.');
        write_padded(fraction, digits, out);
    }
    out.push(b's');
    true
}

/// Appends a path of field names as Protobuf's JSON has it: `user.displayName`. Answers whether it can be read back; if
/// not, a part of it may have been written.
pub(crate) fn write_path(path: &str, out: &mut Vec<u8>) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'_' => match bytes.next() {
                Some(letter @ b'a'..=b'z') => letter.to_ascii_uppercase(),
                _ => return false,
            },
            b'a'..=b'z' | b'0'..=b'9' | b'.' => byte,
            _ => return false,
        });
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_protobufs_json() {
        let cases = [
            ((0, 0), Some("0s")),
            ((1, 500_000_000), Some("1.500s")),
            ((-1, -340_012), Some("-1.000340012s")),
            ((0, -1_000), Some("-0.000001s")),
            ((315_576_000_000, 999_999_999), Some("315576000000.999999999s")),
            ((315_576_000_001, 0), None),
            ((i64::MIN, 0), None),
            ((1, -1), None),
            ((-1, 1), None),
            ((0, 1_000_000_000), None),
            ((0, i32::MIN), None),
        ];
        for ((seconds, nanos), wanted) in cases {
            let mut out = Vec::new();
            let is_one = write_seconds(seconds, nanos, &mut out);
            assert_eq!(
                is_one.then_some(&*String::from_utf8(out).unwrap()),
                wanted,
                "{seconds} {nanos}"
            );
        }
    }

    #[test]
    fn paths_are_camel_case_if_they_can_be_read_back() {
        let cases = [
            ("user.display_name", Some("user.displayName")),
            ("photo", Some("photo")),
            ("a_b_c2", Some("aBC2")),
            ("displayName", None),
            ("a__b", None),
            ("a_", None),
            ("a_1", None),
            ("a,b", None),
            ("é", None),
        ];
        for (path, wanted) in cases {
            let mut out = Vec::new();
            let is_one = write_path(path, &mut out);
            assert_eq!(is_one.then_some(&*String::from_utf8(out).unwrap()), wanted, "{path}");
        }
    }

    fn number(semantic: Semantic, number: i64) -> String {
        let mut out = Vec::new();
        assert!(semantic.write_number(number, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_iso_8601() {
        use Semantic::{Date, LocalTimestamp, Time, Timestamp};
        use Unit::{Micros, Millis, Nanos};
        let cases = [
            (Date, 0, "1970-01-01"),
            (Date, -1, "1969-12-31"),
            (Date, 11_016, "2000-02-29"),
            (Date, 47_541, "2100-03-01"),
            (Date, -719_528, "0000-01-01"),
            (Date, -719_529, "-000001-12-31"),
            (Date, 2_932_897, "+010000-01-01"),
            (Time(Millis), 0, "00:00:00.000"),
            (Time(Millis), 86_400_000, "24:00:00.000"),
            (Time(Micros), 36_930_000_005, "10:15:30.000005"),
            (Time(Micros), -1, "-00:00:00.000001"),
            (Time(Nanos), 3_599_999_999_999, "00:59:59.999999999"),
            (Timestamp(Millis), 1_714_558_830_123, "2024-05-01T10:20:30.123Z"),
            (Timestamp(Micros), -1, "1969-12-31T23:59:59.999999Z"),
            (LocalTimestamp(Nanos), 1, "1970-01-01T00:00:00.000000001"),
            (Timestamp(Millis), i64::MAX, "+292278994-08-17T07:12:55.807Z"),
            (Timestamp(Millis), i64::MIN, "-292275055-05-16T16:47:04.192Z"),
            (Timestamp(Nanos), i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        ];
        for (semantic, given, wanted) in cases {
            assert_eq!(number(semantic, given), wanted, "{semantic:?} {given}");
        }
    }

    /// Counts days by walking through the months.
    #[test]
    fn every_day_follows_the_one_before() {
        let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let (mut year, mut month, mut day) = (1600, 1, 1);
        for days in -135_140..160_000 {
            assert_eq!(civil(days), (year, month, day));
            let length = match month {
                2 if is_leap(year) => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn bytes_are_what_they_stand_for_if_they_are_as_many() {
        let uuid: Vec<u8> = (0..16).map(|index| index * 17).collect();
        let duration = |months: u32, days: u32, ms: u32| [months, days, ms].map(u32::to_le_bytes).concat();
        let cases = [
            (Semantic::Uuid, uuid, Some("00112233-4455-6677-8899-aabbccddeeff")),
            (Semantic::Uuid, vec![0; 15], None),
            (Semantic::Duration, duration(14, 3, 7_004), Some("P14M3DT7.004S")),
            (Semantic::Duration, duration(1, 0, 0), Some("P1M")),
            (Semantic::Duration, duration(0, 0, u32::MAX), Some("PT4294967.295S")),
            (Semantic::Duration, duration(0, 0, 0), Some("PT0S")),
            (Semantic::Duration, vec![0; 13], None),
            (Semantic::Date, vec![0; 4], None),
        ];
        for (semantic, bytes, wanted) in cases {
            let mut out = Vec::new();
            let written = semantic.write_bytes(&bytes, &mut out);
            assert_eq!(written, wanted.is_some());
            assert_eq!(
                String::from_utf8(out).unwrap(),
                wanted.unwrap_or_default(),
                "{semantic:?} {bytes:?}"
            );
        }
    }
}
