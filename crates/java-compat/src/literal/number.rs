//! Numbers of header literals: the smallest type that holds them.

use bigdecimal::num_bigint::BigInt;
use klamm_connect_api::{Schema, SchemaAndValue, Value, logical};

use crate::number::{decimal_to_f32, decimal_to_f64, digit, parse_decimal};

/// An integral number (`1.0` and `1e3` are) of at most 64 bits is the smallest integer type that holds it. Others are
/// FLOAT32 if that is finite, however many digits it drops, else FLOAT64, else Decimal; a plainly written integer
/// beyond 64 bits is a Decimal.
pub(super) fn parse(text: &str) -> Option<SchemaAndValue> {
    let is_start = |first: char| digit(first).is_some() || first == '+' || first == '-';
    if !text.starts_with(is_start) {
        return None;
    }
    let decimal = parse_decimal(text)?;
    let (digits, scale) = decimal.as_bigint_and_exponent();
    let scale = i32::try_from(scale).ok()?;
    if let Some(integer) = integral(digits, scale) {
        return Some(smallest(integer));
    }
    if scale != 0 {
        let float = decimal_to_f32(&decimal);
        if float.is_finite() {
            return Some(SchemaAndValue::new(Schema::float32(), Value::Float32(float)));
        }
        let double = decimal_to_f64(&decimal);
        if double.is_finite() {
            return Some(SchemaAndValue::new(Schema::float64(), Value::Float64(double)));
        }
    }
    let schema = logical::decimal(scale).build().ok()?;
    Some(SchemaAndValue::new(schema, Value::Decimal(Box::new(decimal))))
}

/// The number as an integer of 64 bits, if it is one. Never writes out an exponent: `1e999999999` is short.
fn integral(digits: BigInt, scale: i32) -> Option<i64> {
    let ten_to = |exponent: u32| BigInt::from(10).pow(exponent);
    if digits == BigInt::ZERO {
        return Some(0);
    }
    match u32::try_from(scale) {
        // The digits are 1,000 at most, so a greater scale leaves a fraction.
        Ok(scale @ ..=1000) => {
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
