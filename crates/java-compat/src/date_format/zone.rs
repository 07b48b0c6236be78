//! Time zones in texts: offsets, `GMT+2:00`, and the abbreviations in common use.

/// Abbreviations of `en` whose offset is the same all year, in minutes. Where several zones share one, Java's choice.
const ABBREVIATIONS: [(&str, i64); 72] = [
    ("UTC", 0),
    ("UCT", 0),
    ("GMT", 0),
    ("WET", 0),
    ("WEST", 60),
    ("BST", 60),
    ("CET", 60),
    ("CEST", 120),
    ("MET", 60),
    ("MEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("MSD", 180),
    ("TRT", 180),
    ("SAMT", 240),
    ("YEKT", 300),
    ("OMST", 360),
    ("NOVT", 420),
    ("KRAT", 420),
    ("IRKT", 480),
    ("YAKT", 540),
    ("VLAT", 600),
    ("MAGT", 660),
    ("NST", -210),
    ("NDT", -150),
    ("AST", -240),
    ("ADT", -180),
    ("EST", -300),
    ("EDT", -240),
    ("CST", -360),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("AKST", -540),
    ("AKDT", -480),
    ("HST", -600),
    ("HAST", -600),
    ("SST", -660),
    ("BRT", -180),
    ("ART", -180),
    ("UYT", -180),
    ("CLT", -240),
    ("BOT", -240),
    ("VET", -240),
    ("COT", -300),
    ("PET", -300),
    ("ECT", -300),
    ("WAT", 60),
    ("CAT", 120),
    ("SAST", 120),
    ("EAT", 180),
    ("IST", 120),
    ("IDT", 180),
    ("GST", 240),
    ("PKT", 300),
    ("NPT", 345),
    ("BDT", 360),
    ("ICT", 420),
    ("WIB", 420),
    ("SGT", 480),
    ("HKT", 480),
    ("AWST", 480),
    ("JST", 540),
    ("KST", 540),
    ("ACST", 570),
    ("AEST", 600),
    ("AEDT", 660),
    ("NZST", 720),
    ("NZDT", 780),
];

/// Offset in milliseconds and what is left of the text: of `z` and `Z`, which read the same.
/// `GMT` alone is an abbreviation as well.
pub(super) fn general(text: &str, takes_gmt_offset: bool) -> Option<(i64, &str)> {
    if let Some((sign, rest)) = sign(text) {
        return offset(rest, Form::Digits).map(|(ms, rest)| (sign * ms, rest));
    }
    if takes_gmt_offset && text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("GMT")) {
        let rest = text.get(3..).unwrap_or_default();
        return match sign(rest) {
            Some((sign, rest)) => offset(rest, Form::Colon).map(|(ms, rest)| (sign * ms, rest)),
            None => Some((0, rest)),
        };
    }
    let matches = |name: &str| {
        text.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    let (name, minutes) = ABBREVIATIONS
        .iter()
        .filter(|(name, _)| matches(name))
        .max_by_key(|(name, _)| name.len())?;
    Some((minutes * 60_000, text.get(name.len()..).unwrap_or_default()))
}

/// Offset in milliseconds and what is left of the text: of one to three `X`.
pub(super) fn iso(text: &str, count: usize) -> Option<(i64, &str)> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some((0, rest));
    }
    let (sign, rest) = sign(text)?;
    let form = match count {
        1 => Form::Hours,
        2 => Form::Digits,
        _ => Form::TwoDigitsColon,
    };
    offset(rest, form).map(|(ms, rest)| (sign * ms, rest))
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// `hh`
    Hours,
    /// `hhmm`
    Digits,
    /// `h:mm` or `hh:mm`
    Colon,
    /// `hh:mm`
    TwoDigitsColon,
}

fn sign(text: &str) -> Option<(i64, &str)> {
    match text.split_at_checked(1)? {
        ("+", rest) => Some((1, rest)),
        ("-", rest) => Some((-1, rest)),
        _ => None,
    }
}

fn digit(text: &str) -> Option<(i64, &str)> {
    let (first, rest) = text.split_at_checked(1)?;
    first.parse().ok().filter(|_| first != "+").map(|digit| (digit, rest))
}

fn offset(text: &str, form: Form) -> Option<(i64, &str)> {
    let (mut hours, mut rest) = digit(text)?;
    match digit(rest) {
        Some((second, after)) => (hours, rest) = (hours * 10 + second, after),
        None if form == Form::Colon => {}
        None => return None,
    }
    if hours > 23 {
        return None;
    }
    let mut minutes = 0;
    if form != Form::Hours {
        if form != Form::Digits {
            rest = rest.strip_prefix(':')?;
        }
        let (tens, after) = digit(rest)?;
        let (ones, after) = digit(after)?;
        (minutes, rest) = (tens * 10 + ones, after);
        if minutes > 59 {
            return None;
        }
    }
    Some(((hours * 60 + minutes) * 60_000, rest))
}
