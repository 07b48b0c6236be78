//! Numbers of header literals: the smallest type that holds them.

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use klamm_connect_api::{Schema, SchemaAndValue, Value, logical};

/// A longer text is a string: arithmetic on it costs more than linear time.
const MAX_CHARACTERS: usize = 1000;

/// An integral number (`1.0` and `1e3` are) of at most 64 bits is the smallest integer type that holds it. Others are
/// FLOAT32 if that is finite, however many digits it drops, else FLOAT64, else Decimal; a plainly written integer
/// beyond 64 bits is a Decimal.
pub(super) fn parse(text: &str) -> Option<SchemaAndValue> {
    if text.len() > MAX_CHARACTERS || !is_number(text) {
        return None;
    }
    let decimal: BigDecimal = text.trim_start_matches('+').parse().ok()?;
    let (digits, scale) = decimal.as_bigint_and_exponent();
    // Java's scale has 32 bits.
    let scale = i32::try_from(scale).ok()?;
    if let Some(integer) = integral(digits, scale) {
        return Some(smallest(integer));
    }
    if scale != 0 {
        let float: f32 = text.parse().ok()?;
        if float.is_finite() {
            return Some(SchemaAndValue::new(Schema::float32(), Value::Float32(float)));
        }
        let double: f64 = text.parse().ok()?;
        if double.is_finite() {
            return Some(SchemaAndValue::new(Schema::float64(), Value::Float64(double)));
        }
    }
    let schema = logical::decimal(scale).build().ok()?;
    Some(SchemaAndValue::new(schema, Value::Decimal(Box::new(decimal))))
}

/// The grammar of Java's `BigDecimal`, for a text that starts with a digit or a sign; digits of ASCII only.
fn is_number(text: &str) -> bool {
    if !text.starts_with(|first: char| first.is_ascii_digit() || first == '+' || first == '-') {
        return false;
    }
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).map(str::to_owned);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let mantissa = unsigned(mantissa).unwrap_or_else(|| mantissa.to_owned());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((&mantissa, ""));
    let has_digits = !(whole.is_empty() && fraction.is_empty());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = unsigned(exponent).unwrap_or_else(|| exponent.to_owned());
        !digits.is_empty() && is_digits(&digits)
    });
    has_digits && is_digits(whole) && is_digits(fraction) && exponent_fits
}

/// The number as an integer of 64 bits, if it is one. Never writes out an exponent: `1e999999999` is short.
fn integral(digits: BigInt, scale: i32) -> Option<i64> {
    let ten_to = |exponent: u32| BigInt::from(10).pow(exponent);
    if digits == BigInt::ZERO {
        return Some(0);
    }
    match u32::try_from(scale) {
        // 1000 characters at most, so a greater scale leaves a fraction.
        Ok(scale) if usize::try_from(scale).is_ok_and(|scale| scale <= MAX_CHARACTERS) => {
            let unit = ten_to(scale);
            if &digits % &unit == BigInt::ZERO {
                i64::try_from(digits / unit).ok()
            } else {
                None
            }
        }
        Ok(_) => None,
        Err(_) if scale >= -18 => i64::try_from(digits * ten_to(scale.unsigned_abs())).ok(),
        Err(_) => None,
    }
}

fn smallest(integer: i64) -> SchemaAndValue {
    if let Ok(integer) = i8::try_from(integer) {
        SchemaAndValue::new(Schema::int8(), Value::Int8(integer))
    } else if let Ok(integer) = i16::try_from(integer) {
        SchemaAndValue::new(Schema::int16(), Value::Int16(integer))
    } else if let Ok(integer) = i32::try_from(integer) {
        SchemaAndValue::new(Schema::int32(), Value::Int32(integer))
    } else {
        SchemaAndValue::new(Schema::int64(), Value::Int64(integer))
    }
}
