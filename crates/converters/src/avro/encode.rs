//! Avro data made here: what a resolution writes, and the defaults of fields.
#![warn(clippy::indexing_slicing)]

use klamm_connect_api::{DataError, Value};

use super::schema::{Field, Kind, TypeId, Types};

/// Values inside each other in a default, at most.
const MAX_DEPTH: usize = 300;
/// Values that a default may be made of, those that it is worked out from included.
const DEFAULT_STEPS: usize = 100_000;

pub(super) fn long(number: i64, out: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest > 0x7f {
        out.extend(u8::try_from(rest & 0x7f | 0x80));
        rest >>= 7;
    }
    out.extend(u8::try_from(rest));
}

pub(super) fn count(number: usize, out: &mut Vec<u8>) {
    long(i64::try_from(number).unwrap_or(i64::MAX), out);
}

pub(super) fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    count(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// A field's default as Avro data.
///
/// # Errors
/// If it has none, or one that does not fit or takes too many values to work out.
pub(super) fn default(types: &Types, field: &Field) -> Result<Vec<u8>, DataError> {
    let (mut out, mut steps) = (Vec::new(), DEFAULT_STEPS);
    encode_default(types, field, &mut out, 0, &mut steps)?;
    Ok(out)
}

fn encode_default(
    types: &Types,
    field: &Field,
    out: &mut Vec<u8>,
    depth: usize,
    steps: &mut usize,
) -> Result<(), DataError> {
    match (&field.default, field.has_null_default) {
        (Some(json), _) => encode(types, field.type_id, json, out, depth, steps),
        (None, true) => encode(types, field.type_id, &Value::Null, out, depth, steps),
        (None, false) => Err(DataError::data(
            "it was not written, and the later schema has no default for it",
        )),
    }
}

fn encode(
    types: &Types,
    id: TypeId,
    json: &Value,
    out: &mut Vec<u8>,
    depth: usize,
    steps: &mut usize,
) -> Result<(), DataError> {
    let type_ = types.get(id);
    let unfit = || DataError::data(format!("its default does not fit the type {}", type_.kind.word()));
    if depth > MAX_DEPTH {
        return Err(unfit());
    }
    // Defaults of records may use defaults of their fields, again and again.
    *steps = steps.checked_sub(1).ok_or_else(|| {
        DataError::data(format!(
            "its default takes more than {DEFAULT_STEPS} values to work out"
        ))
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a default that is written as an integer")]
    let float = || match json {
        Value::Float64(number) => Ok(*number),
        Value::Int64(number) => Ok(*number as f64),
        _ => Err(unfit()),
    };
    let raw = |text: &str| -> Result<Vec<u8>, DataError> {
        // Each character stands for the byte of its number.
        text.chars()
            .map(|char| u8::try_from(char).map_err(|_| unfit()))
            .collect()
    };
    match (&type_.kind, json) {
        (Kind::Null, Value::Null) => {}
        (Kind::Boolean, Value::Boolean(value)) => out.push(u8::from(*value)),
        (Kind::Int | Kind::Long, Value::Int64(number)) => long(*number, out),
        #[expect(clippy::cast_possible_truncation, reason = "rounded to the type's width")]
        (Kind::Float, _) => out.extend_from_slice(&(float()? as f32).to_le_bytes()),
        (Kind::Double, _) => out.extend_from_slice(&float()?.to_le_bytes()),
        (Kind::String, Value::String(text)) => bytes(text.as_bytes(), out),
        (Kind::Bytes, Value::String(text)) => bytes(&raw(text)?, out),
        (Kind::Fixed { size, .. }, Value::String(text)) => {
            let raw = raw(text)?;
            if raw.len() != *size {
                return Err(unfit());
            }
            out.extend_from_slice(&raw);
        }
        (Kind::Enum { symbols, .. }, Value::String(text)) => {
            let position = symbols.iter().position(|symbol| **symbol == **text).ok_or_else(unfit)?;
            count(position, out);
        }
        (Kind::Array(items), Value::Array(values)) => {
            for value in values {
                count(1, out);
                encode(types, *items, value, out, depth + 1, steps)?;
            }
            out.push(0);
        }
        (Kind::Map(values), Value::Map(entries)) => {
            for (key, value) in entries.iter() {
                count(1, out);
                bytes(key.as_str().ok_or_else(unfit)?.as_bytes(), out);
                encode(types, *values, value, out, depth + 1, steps)?;
            }
            out.push(0);
        }
        (Kind::Record { fields, .. }, Value::Map(members)) => {
            for field in fields {
                match members.get(&field.name) {
                    Some(json) => encode(types, field.type_id, json, out, depth + 1, steps)?,
                    None => encode_default(types, field, out, depth + 1, steps)?,
                }
            }
        }
        (Kind::Union(branches), _) => {
            // A default is of the first branch; newer versions of Avro take any that fits.
            for (index, branch) in branches.iter().enumerate() {
                let start = out.len();
                count(index, out);
                if encode(types, *branch, json, out, depth + 1, steps).is_ok() {
                    return Ok(());
                }
                out.truncate(start);
            }
            return Err(unfit());
        }
        _ => return Err(unfit()),
    }
    Ok(())
}
