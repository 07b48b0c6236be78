//! JSON as schemaless Connect data: integers are INT64, other numbers FLOAT64.

use klamm_connect_api::{DataError, Map, Value};

use super::scan::{Kind, Number, Scanner};

/// The value that begins at the scanner's place. Recursion is bounded by the scanner.
pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    match scanner.kind()? {
        Kind::Object => object(scanner),
        Kind::Array => array(scanner),
        Kind::String => Ok(Value::from(&*scanner.string()?)),
        Kind::Number => Ok(number(scanner.number()?)),
        Kind::Boolean => Ok(Value::Boolean(scanner.boolean()?)),
        Kind::Null => scanner.null().map(|()| Value::Null),
    }
}

fn object(scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    scanner.enter_object()?;
    let mut map = Map::new();
    let mut is_first = true;
    while let Some(name) = scanner.next_member(is_first)? {
        is_first = false;
        map.insert(&*name, read(scanner)?);
    }
    Ok(Value::Map(map))
}

fn array(scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    scanner.enter_array()?;
    let mut items = Vec::new();
    while scanner.next_element(items.is_empty())? {
        items.push(read(scanner)?);
    }
    Ok(Value::Array(items))
}

fn number(number: Number<'_>) -> Value {
    if number.is_integer {
        Value::Int64(low_64_bits(number.text))
    } else {
        // Beyond the range of a double: infinite, as in Java.
        Value::Float64(number.text.parse().unwrap_or(f64::NAN))
    }
}

/// An integer beyond 64 bits keeps its low bits, as `BigInteger.longValue` does.
fn low_64_bits(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| {
        let low = text.bytes().filter(u8::is_ascii_digit).fold(0_i64, |low, digit| {
            low.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'))
        });
        if text.starts_with('-') { low.wrapping_neg() } else { low }
    })
}
