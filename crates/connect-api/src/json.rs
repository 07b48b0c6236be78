//! Connect data as JSON text, the way Connect's `JsonConverter` with `schemas.enable=false` writes it.
//!
//! Structs are objects in field order with defaults in place of null, maps with other keys than strings are arrays
//! of pairs, bytes and Decimals are base64, Date, Time and Timestamp are integers, and what JSON has no number for
//! (`NaN`, the infinities) is text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bigdecimal::BigDecimal;

use crate::datum::SchemaAndValue;
use crate::error::DataError;
use crate::java_number;
use crate::logical::{self, Logical};
use crate::schema::{SchemaRef, SchemaType};
use crate::value::{Map, Value};

/// Arrays and objects inside each other, at most: Jackson's bound, and ours against a stack overflow.
pub const MAX_DEPTH: usize = 1000;

const DAY_MS: i64 = 86_400_000;

/// Appends the value as JSON text. On an error `out` may hold a part of the text; the caller cuts it off.
///
/// # Errors
/// A value that has no JSON form, such as an instant without a schema; one that does not fit its schema; nesting
/// beyond [`MAX_DEPTH`].
pub fn write(data: &SchemaAndValue, out: &mut Vec<u8>) -> Result<(), DataError> {
    write_value(data.schema.as_ref(), &data.value, out, 0)
}

/// Appends `text` as a JSON string with its quotes. Only what must be escaped is.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    while !rest.is_empty() {
        let (plain, tail) = rest.split_at(plain_prefix(rest));
        out.extend_from_slice(plain);
        rest = tail;
        if let Some((byte, tail)) = rest.split_first() {
            escape(*byte, out);
            rest = tail;
        }
    }
    out.push(b'"');
}

/// Appends `bytes` as a JSON string of base64 (standard alphabet, padded).
pub fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // Four bytes for every three, the last ones padded, are what the text takes: this cannot fail.
    let written = BASE64.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    debug_assert_eq!(start + written, out.len());
    out.push(b'"');
}

#[inline]
fn must_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Length of the part before the first byte that cannot stand in a JSON string as it is: a quote, a backslash or a
/// control character.
#[must_use]
#[inline]
pub fn plain_prefix(bytes: &[u8]) -> usize {
    // Compilers turn the comparison of 16 bytes into a few vector instructions; a search byte by byte they do not.
    let (blocks, tail) = bytes.as_chunks::<16>();
    for (i, block) in blocks.iter().enumerate() {
        let mut found = [0_u8; 16];
        for (found, byte) in found.iter_mut().zip(block) {
            *found = if must_escape(*byte) { 0xff } else { 0 };
        }
        let found = u128::from_le_bytes(found);
        if found != 0 {
            return i * 16 + (found.trailing_zeros() / 8) as usize;
        }
    }
    blocks.len() * 16 + tail.iter().position(|byte| must_escape(*byte)).unwrap_or(tail.len())
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 0xf)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn write_value(schema: Option<&SchemaRef>, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), DataError> {
    if depth > MAX_DEPTH {
        return Err(DataError::data(format!(
            "the value is nested more than {MAX_DEPTH} levels deep"
        )));
    }
    if let Some(schema) = schema {
        if value.is_null() {
            return write_null(schema, out, depth);
        }
        if let Some(logical) = Logical::of(schema) {
            return write_logical(logical, schema, value, out);
        }
        if !is_of(value, schema.schema_type()) {
            return Err(unfit(value, schema));
        }
    }
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Int8(number) => write_integer(i64::from(*number), out),
        Value::Int16(number) => write_integer(i64::from(*number), out),
        Value::Int32(number) => write_integer(i64::from(*number), out),
        Value::Int64(number) => write_integer(*number, out),
        Value::Float32(number) => write_float(number.is_finite(), out, |out| java_number::write_f32(*number, out)),
        Value::Float64(number) => write_float(number.is_finite(), out, |out| java_number::write_f64(*number, out)),
        Value::String(text) => write_string(text, out),
        Value::Bytes(bytes) => write_base64(bytes, out),
        Value::Decimal(_) | Value::Instant(_) => {
            return Err(DataError::data(format!(
                "{} {} without a schema that names it has no JSON form",
                if matches!(value, Value::Decimal(_)) { "a" } else { "an" },
                value.type_name()
            )));
        }
        Value::Array(items) => {
            let of = schema.and_then(|schema| schema.value_schema());
            out.push(b'[');
            separated(items, out, |item, out| write_value(of, item, out, depth + 1))?;
            out.push(b']');
        }
        Value::Map(map) => write_map(schema, map, out, depth)?,
        Value::Struct(data) => {
            if let Some(schema) = schema
                && !schema.accepts_struct_of(data.schema())
            {
                return Err(DataError::data(
                    "the struct's schema differs from the one declared here",
                ));
            }
            out.push(b'{');
            let fields = data.schema().fields().iter().zip(data.values());
            separated(fields, out, |(field, value), out| {
                write_string(&field.name, out);
                out.push(b':');
                write_value(Some(&field.schema), value, out, depth + 1)
                    .map_err(|error| error.at(&format!("field `{}`", field.name)))
            })?;
            out.push(b'}');
        }
    }
    Ok(())
}

/// Writes the items with commas between them.
fn separated<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(item, out)?;
    }
    Ok(())
}

fn write_null(schema: &SchemaRef, out: &mut Vec<u8>, depth: usize) -> Result<(), DataError> {
    match schema.default() {
        Some(default) => write_value(Some(schema), default, out, depth + 1),
        None if schema.is_optional() => {
            out.extend_from_slice(b"null");
            Ok(())
        }
        None => Err(DataError::data(format!(
            "null for a required {} without a default",
            schema.schema_type()
        ))),
    }
}

fn write_integer(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_float(is_number: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if is_number {
        return write(out);
    }
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn write_map(schema: Option<&SchemaRef>, map: &Map, out: &mut Vec<u8>, depth: usize) -> Result<(), DataError> {
    let keys = schema.and_then(|schema| schema.key_schema());
    let values = schema.and_then(|schema| schema.value_schema());
    let is_object = match keys {
        Some(keys) => keys.schema_type() == SchemaType::String,
        None => map.iter().all(|(key, _)| key.as_str().is_some()),
    };
    if is_object {
        out.push(b'{');
        separated(map.iter(), out, |(key, value), out| {
            write_string(key.as_str().unwrap_or("null"), out);
            out.push(b':');
            write_value(values, value, out, depth + 1)
        })?;
        out.push(b'}');
    } else {
        out.push(b'[');
        separated(map.iter(), out, |(key, value), out| {
            out.push(b'[');
            write_value(keys, key, out, depth + 2)?;
            out.push(b',');
            write_value(values, value, out, depth + 2)?;
            out.push(b']');
            Ok(())
        })?;
        out.push(b']');
    }
    Ok(())
}

fn write_logical(logical: Logical, schema: &SchemaRef, value: &Value, out: &mut Vec<u8>) -> Result<(), DataError> {
    match (logical, value) {
        (Logical::Decimal, Value::Decimal(decimal)) => write_decimal(schema, decimal, out),
        (Logical::Timestamp, Value::Instant(ms)) => {
            write_integer(*ms, out);
            Ok(())
        }
        (Logical::Date, Value::Instant(ms)) if ms % DAY_MS == 0 => {
            write_integer(ms / DAY_MS, out);
            Ok(())
        }
        (Logical::Date, Value::Instant(_)) => Err(DataError::data("a Date may not have a time of day other than 0")),
        // The end of the day is accepted, as in Connect.
        (Logical::Time, Value::Instant(ms)) if (0..=DAY_MS).contains(ms) => {
            write_integer(*ms, out);
            Ok(())
        }
        (Logical::Time, Value::Instant(_)) => Err(DataError::data("a Time may not have a day other than 1970-01-01")),
        _ => Err(unfit(value, schema)),
    }
}

fn write_decimal(schema: &SchemaRef, decimal: &BigDecimal, out: &mut Vec<u8>) -> Result<(), DataError> {
    let scale = logical::decimal_scale(schema)
        .ok_or_else(|| DataError::data("the Decimal schema has no parameter `scale` with a number"))?;
    let (unscaled, value_scale) = decimal.as_bigint_and_exponent();
    if value_scale != i64::from(scale) {
        return Err(DataError::data(format!(
            "the Decimal has scale {value_scale} where its schema has scale {scale}"
        )));
    }
    write_base64(&unscaled.to_signed_bytes_be(), out);
    Ok(())
}

fn is_of(value: &Value, schema_type: SchemaType) -> bool {
    matches!(
        (value, schema_type),
        (Value::Boolean(_), SchemaType::Boolean)
            | (Value::Int8(_), SchemaType::Int8)
            | (Value::Int16(_), SchemaType::Int16)
            | (Value::Int32(_), SchemaType::Int32)
            | (Value::Int64(_), SchemaType::Int64)
            | (Value::Float32(_), SchemaType::Float32)
            | (Value::Float64(_), SchemaType::Float64)
            | (Value::String(_), SchemaType::String)
            | (Value::Bytes(_), SchemaType::Bytes)
            | (Value::Array(_), SchemaType::Array)
            | (Value::Map(_), SchemaType::Map)
            | (Value::Struct(_), SchemaType::Struct)
    )
}

fn unfit(value: &Value, schema: &SchemaRef) -> DataError {
    let declared = schema.name().unwrap_or(schema.schema_type().name());
    DataError::data(format!("{} where {declared} is declared", value.type_name()))
}

#[cfg(test)]
mod tests;
