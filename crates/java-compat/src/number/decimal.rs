//! `java.math.BigDecimal`.

use std::cmp::Ordering;

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::{BigInt, Sign};

use super::digit;

/// A longer text is no number here: reading one costs more than linear time.
const MAX_CHARACTERS: usize = 1000;

/// `new BigDecimal(text)`: sign, digits of any script with a point, exponent. None also for more than 1,000 characters.
#[must_use]
pub fn parse_decimal(text: &str) -> Option<BigDecimal> {
    if text.len() > MAX_CHARACTERS {
        return None;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
        None => (text, 0),
    };
    let is_negative = mantissa.starts_with('-');
    let unsigned = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut digits = Vec::with_capacity(unsigned.len());
    for char in whole.chars().chain(fraction.chars()) {
        digits.push(u8::try_from(digit(char)?).ok()?);
    }
    if digits.is_empty() {
        return None;
    }
    let sign = if is_negative { Sign::Minus } else { Sign::Plus };
    let unscaled = BigInt::from_radix_be(sign, &digits, 10)?;
    let places = i64::try_from(fraction.chars().count()).ok()?;
    // Java's scale has 32 bits.
    let scale = i32::try_from(places.checked_sub(exponent)?).ok()?;
    Some(BigDecimal::new(unscaled, i64::from(scale)))
}

/// Up to ten digits, leading zeros aside.
fn exponent_of(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let significant = digits.trim_start_matches(|char| digit(char) == Some(0));
    if digits.is_empty() || significant.chars().count() > 10 {
        return None;
    }
    let magnitude = significant
        .chars()
        .try_fold(0_i64, |number, char| Some(number * 10 + i64::from(digit(char)?)))?;
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// `BigDecimal.toString`: with an exponent if the scale is negative or the number is below 10⁻⁶.
#[must_use]
pub fn decimal_to_string(decimal: &BigDecimal) -> String {
    let (unscaled, scale) = decimal.as_bigint_and_exponent();
    let digits = unscaled.magnitude().to_string();
    let sign = if unscaled.sign() == Sign::Minus { "-" } else { "" };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let exponent = length - 1 - scale;
    if scale > 0 && exponent >= -6 {
        let width = usize::try_from(scale).unwrap_or_default() + 1;
        let padded = format!("{digits:0>width$}");
        let (whole, fraction) = padded.split_at(padded.len() + 1 - width);
        return format!("{sign}{whole}.{fraction}");
    }
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    match exponent {
        0 => format!("{sign}{first}{point}{rest}"),
        _ => format!("{sign}{first}{point}{rest}E{exponent:+}"),
    }
}

/// `BigDecimal.compareTo`: by value, whatever the scales. Takes no longer than the digits need, however far the scales
/// are apart.
#[must_use]
pub fn compare_decimals(a: &BigDecimal, b: &BigDecimal) -> Ordering {
    let (a_unscaled, a_scale) = a.as_bigint_and_exponent();
    let (b_unscaled, b_scale) = b.as_bigint_and_exponent();
    let signs = sign(&a_unscaled).cmp(&sign(&b_unscaled));
    if signs.is_ne() || a_unscaled.sign() == Sign::NoSign {
        return signs;
    }
    let by_magnitude = match (magnitude(&a_unscaled, a_scale), magnitude(&b_unscaled, b_scale)) {
        ((a_least, _), (_, b_most)) if a_least > b_most => Ordering::Greater,
        ((_, a_most), (b_least, _)) if a_most < b_least => Ordering::Less,
        // About the same size: so the scales differ by no more than the digits do.
        _ => {
            let shift = u32::try_from(a_scale.abs_diff(b_scale)).unwrap_or_default();
            let shift = BigInt::from(10).pow(shift).magnitude().clone();
            let (a, b) = (a_unscaled.magnitude(), b_unscaled.magnitude());
            if a_scale < b_scale {
                (a * shift).cmp(b)
            } else {
                a.cmp(&(b * shift))
            }
        }
    };
    if a_unscaled.sign() == Sign::Minus {
        by_magnitude.reverse()
    } else {
        by_magnitude
    }
}

fn sign(number: &BigInt) -> i8 {
    match number.sign() {
        Sign::Minus => -1,
        Sign::NoSign => 0,
        Sign::Plus => 1,
    }
}

/// Bounds of the logarithm of base ten of a number that is not 0.
#[expect(clippy::cast_precision_loss, reason = "bounds that are wide enough for it")]
fn magnitude(unscaled: &BigInt, scale: i64) -> (f64, f64) {
    let bits = unscaled.bits() as f64;
    let scale = scale as f64;
    (
        (bits - 1.0) * std::f64::consts::LOG10_2 - scale - 1.0,
        bits * std::f64::consts::LOG10_2 - scale + 1.0,
    )
}

/// `BigDecimal.longValue`: the low 64 bits of the integral part.
#[must_use]
pub fn decimal_to_i64(decimal: &BigDecimal) -> i64 {
    let (unscaled, scale) = decimal.as_bigint_and_exponent();
    let ten_to = |exponent: u32| BigInt::from(10).pow(exponent);
    // Below 0.1 to the power of its own digits a number has no integral part; ten to the power of 64 and more ends in
    // 64 zero bits.
    let most_digits = i64::try_from(unscaled.bits() / 3 + 1).unwrap_or(i64::MAX);
    let integral = match u32::try_from(scale) {
        Ok(scale) if i64::from(scale) <= most_digits => unscaled / ten_to(scale),
        Err(_) if scale > -64 => unscaled * ten_to(u32::try_from(-scale).unwrap_or_default()),
        _ => return 0,
    };
    let bytes = integral.to_signed_bytes_le();
    let fill = if integral.sign() == Sign::Minus { 0xFF } else { 0 };
    let mut low = [fill; 8];
    for (low, byte) in low.iter_mut().zip(&bytes) {
        *low = *byte;
    }
    i64::from_le_bytes(low)
}

/// `BigDecimal.doubleValue`: the nearest, or an infinity.
#[must_use]
pub fn decimal_to_f64(decimal: &BigDecimal) -> f64 {
    // Rust reads every text that is written here.
    decimal_to_string(decimal).parse().unwrap_or(f64::NAN)
}

/// `BigDecimal.floatValue`: the nearest, or an infinity.
#[must_use]
pub fn decimal_to_f32(decimal: &BigDecimal) -> f32 {
    decimal_to_string(decimal).parse().unwrap_or(f32::NAN)
}
