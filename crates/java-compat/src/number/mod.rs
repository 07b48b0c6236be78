//! Numbers as Java reads, narrows and writes them.

mod decimal;
mod float;

use klamm_connect_api::java_number;

pub use self::decimal::{
    compare_decimals, decimal_to_f32, decimal_to_f64, decimal_to_i64, decimal_to_string, parse_decimal,
};
pub use self::float::{parse_f32, parse_f64};

/// Zeros of the scripts whose digits `Character.digit` knows within 16 bits (Unicode 15).
const ZEROS: [u32; 37] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
    0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620,
    0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

/// The value of a decimal digit of any script (`Character.digit(char, 10)`).
#[must_use]
pub fn digit(char: char) -> Option<u32> {
    if char.is_ascii() {
        return char.to_digit(10);
    }
    let code = u32::from(char);
    let zero = ZEROS[..ZEROS.partition_point(|zero| *zero <= code)].last()?;
    Some(code - zero).filter(|digit| *digit < 10)
}

/// `Long.parseLong`: an optional sign and digits of any script, nothing else. The narrower parsers take the same texts
/// in their range.
#[must_use]
pub fn parse_i64(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    digits.chars().try_fold(0_i64, |number, char| {
        let digit = i64::from(digit(char)?);
        let number = number.checked_mul(10)?;
        if is_negative {
            number.checked_sub(digit)
        } else {
            number.checked_add(digit)
        }
    })
}

/// `Double.toString`.
#[must_use]
pub fn f64_to_string(number: f64) -> String {
    written(|out| java_number::write_f64(number, out))
}

/// `Float.toString`.
#[must_use]
pub fn f32_to_string(number: f32) -> String {
    written(|out| java_number::write_f32(number, out))
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(24);
    write(&mut out);
    out.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests;
