use proptest::prelude::*;

use super::*;

/// 2026-11-21
const NOW: i64 = 1_795_219_200_000;

fn compiled(pattern: &str) -> DateFormat {
    DateFormat::try_new(pattern, NOW).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

#[test]
fn instants_are_written_as_by_java() {
    const AT: i64 = 1_714_558_830_007;
    const MIDNIGHT: i64 = 1_714_521_600_000;
    const YEAR_END: i64 = 1_735_516_800_000;
    let cases = [
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", AT, "2024-05-01T10:20:30.007Z"),
        ("y yy yyy yyyyy", AT, "2024 24 2024 02024"),
        ("M MM MMM MMMM L LLLL", AT, "5 05 May May 5 May"),
        ("d dd D DDD E EEEE u", AT, "1 01 122 122 Wed Wednesday 3"),
        ("F W w ww Y", AT, "1 1 18 18 2024"),
        ("H k K h a S SS SSSSSS G", AT, "10 10 10 10 AM 7 07 000007 AD"),
        ("''yyyy'' 'o''clock' [#_", AT, "'2024' o'clock [#_"),
        ("z zzzz Z X XX XXX", AT, "UTC Coordinated Universal Time +0000 Z Z Z"),
        ("KK kk HH hh a", MIDNIGHT, "00 24 00 12 AM"),
        ("YYYY-'W'ww-u yyyy", YEAR_END, "2025-W01-1 2024"),
        ("yyyy-MM-dd G", -62_135_769_600_001, "0001-12-31 BC"),
        ("yyyy-MM-dd", -12_219_292_800_001, "1582-10-04"),
        ("yyyy-MM-dd", -12_219_292_800_000, "1582-10-15"),
    ];
    for (pattern, ms, wanted) in cases {
        assert_eq!(compiled(pattern).format(ms), wanted, "{pattern}");
    }
    for pattern in ["T", "yyyy-MM-ddTHH", "XXXX", "n", "x", "'open"] {
        assert!(DateFormat::try_new(pattern, NOW).is_err(), "{pattern}");
    }
}

#[test]
fn texts_are_read_as_by_java() {
    let at = |text: &str| compiled("yyyy-MM-dd'T'HH:mm:ss.SSS").parse(text);
    let day = |text: &str| at(&format!("{text}T00:00:00.000"));
    let cases = [
        ("yyyy-MM-dd", "2024-05-01T99", day("2024-05-01"), "the rest is ignored"),
        ("yyyy-MM-dd", " 2024-5-1", day("2024-05-01"), "blanks before a number"),
        ("yyyy-MM-dd", "2024-13-45", day("2025-02-14"), "rolls over"),
        ("yyyy-MM-dd", "24-05-01", day("0024-05-01"), "a year as it stands"),
        ("yy-MM-dd", "24-05-01", day("2024-05-01"), "two digits"),
        ("yy-MM-dd", "47-05-01", day("1947-05-01"), "80 years ago"),
        (
            "yy-MM-dd",
            "46-11-20",
            day("2046-11-20"),
            "before the day the century begins",
        ),
        ("yy-MM-dd", "46-11-21", day("1946-11-21"), "that day"),
        ("yy-MM-dd", "2024-05-01", day("2024-05-01"), "four digits"),
        ("yyyy-MM-dd", "2024/05/01", None, "literals are exact"),
        ("yyyy-MM-dd", "", None, "nothing"),
        ("yyyyMMdd", "20240501", day("2024-05-01"), "counted"),
        ("yyyyMMdd", "2024501", day("2028-02-01"), "the month has two digits"),
        ("yyyyMMddHHmmss", "202405011020", None, "too short"),
        ("yyyy-DDD", "2024-122", day("2024-05-01"), "day of the year"),
        ("s", "1714558830", at("2024-05-01T10:20:30.000"), "seconds"),
        (
            "yyyy-MM-dd HH:mm:ss.SSS",
            "2024-05-01 10:20:30.5",
            at("2024-05-01T10:20:30.005"),
            "milliseconds",
        ),
        ("HH:mm:ss z", "10:20:30 PST", Some(66_030_000), "an abbreviation"),
        ("HH:mm:ss z", "10:20:30 GMT+2:00", Some(30_030_000), "an offset"),
        ("HH:mm:ss z", "10:20:30 GMT+3", None, "without minutes"),
        ("HH:mm:ssZ", "10:20:30+0200", Some(30_030_000), "digits"),
        ("HH:mm:ssZ", "10:20:30+02:00", None, "no colon"),
        ("HH:mm:ssX", "10:20:30+02:00", Some(30_030_000), "the rest is ignored"),
        ("HH:mm:ssXXX", "10:20:30Z", Some(37_230_000), "Z"),
        ("dd MMM yyyy", "01 MAY 2024", day("2024-05-01"), "any case"),
        ("hh:mm a", "01:30 pm", Some(48_600_000), "afternoon"),
        ("hh:mm a", "12:30 AM", Some(1_800_000), "after midnight"),
        ("YYYY-'W'ww-u", "2025-W01-1", day("2024-12-30"), "a week year"),
        ("yyyy-MM-dd G", "0001-01-01 BC", Some(-62_167_392_000_000), "an era"),
        ("yyyy", "2E3", day("2000-01-01"), "an exponent"),
        (
            "yyyy-MM-dd",
            "-5-01-01",
            at("0001-01-01T00:00:00.000").map(|ms| ms - 6 * 365 * DAY_MS - 2 * DAY_MS),
            "a sign",
        ),
    ];
    for (pattern, text, wanted, why) in cases {
        assert_eq!(compiled(pattern).parse(text), wanted, "{pattern} on {text}: {why}");
    }
}

#[test]
fn instants_are_shown_by_their_value_alone() {
    let cases = [
        (0, "00:00:00.000Z"),
        (-1, "23:59:59.999Z"),
        (86_400_000, "1970-01-02"),
        (1_714_558_830_123, "2024-05-01T10:20:30.123Z"),
    ];
    for (ms, wanted) in cases {
        assert_eq!(instant_to_string(ms), wanted);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(ms in -200_000_000_000_000_i64..400_000_000_000_000) {
        for pattern in [
            "G yyyy-MM-dd HH:mm:ss.SSS",
            "G yyyy DDD hh:mm:ss.SSS a",
            "EEE, d MMMM yyyy kk:mm:ss.SSS Z G",
        ] {
            let format = compiled(pattern);
            let text = format.format(ms);
            prop_assert_eq!(format.parse(&text), Some(ms), "{} as {}", text, pattern);
        }
    }

    #[test]
    fn any_pattern_is_compiled_or_refused_and_reads_any_text(
        pattern in "[GyYMLwWDdFEuaHkKhmsSzZX' :.-]{0,12}",
        text in "[-+0-9E:. ZGMTPSapmNa∞]{0,24}",
        ms: i64,
    ) {
        if let Ok(format) = DateFormat::try_new(&pattern, NOW) {
            std::hint::black_box(format.format(ms));
            std::hint::black_box(format.parse(&text));
        }
    }
}
