//! Connect data as JSON text, in either [`Rendering`].
//!
//! In both, structs are objects in field order with defaults in place of null, bytes are base64, and what JSON has no
//! number for (`NaN`, the infinities) is text. What differs is shown side by side in `docs/converters.md`: in Connect's
//! rendering maps with other keys than strings are arrays of pairs, Decimals are base64, Date, Time and Timestamp are
//! integers, and unions are structs.

mod plain;
mod schema;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::{BigInt, Sign};

use crate::datum::SchemaAndValue;
use crate::error::DataError;
use crate::java_number;
use crate::logical::{self, Logical};
use crate::map::Map;
use crate::rendering::{Decimals, Natural, Rendering, Timestamps};
use crate::schema::{Schema, SchemaRef, SchemaType};
use crate::semantic::{self, Semantic, Unit};
use crate::value::{Struct, Value};

pub use self::schema::{MAX_SCHEMA_BYTES, WriteDefault, schema_type_name, write_envelope, write_schema};

pub use plain::plain_prefix;

/// Arrays and objects inside each other, at most: Jackson's bound, and ours against a stack overflow.
pub const MAX_DEPTH: usize = 1000;

/// Bytes that one record may have in JSON, at most. A few bytes of a record can stand for many: names of fields that are
/// absent, defaults, symbols.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

const DAY_MS: i64 = 86_400_000;
/// Bits of a Decimal whose digits are written, at most: working them out takes time that grows with the square.
const MAX_DECIMAL_BITS: u64 = 4096 * 8;
/// Zeros that a Decimal's scale may add to its digits; with more of them it has an exponent.
const MAX_ZEROS: u32 = 100;

/// Appends the value as JSON text. On an error `out` may hold a part of the text; the caller cuts it off.
///
/// # Errors
/// A value that has no JSON form, such as an instant without a schema; one that does not fit its schema; nesting
/// beyond [`MAX_DEPTH`]; text beyond [`MAX_BYTES`].
pub fn write(data: &SchemaAndValue, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
    let start = out.len();
    Writer { rendering, start }.value(data.schema.as_ref(), &data.value, out, 0)?;
    check_length(start, out)
}

/// Checks what was written of a record so far, from `start` on.
///
/// # Errors
/// More than [`MAX_BYTES`].
#[inline]
pub fn check_length(start: usize, out: &[u8]) -> Result<(), DataError> {
    if out.len().saturating_sub(start) > MAX_BYTES {
        return Err(too_long());
    }
    Ok(())
}

#[cold]
fn too_long() -> DataError {
    DataError::data(format!("the record has more than {MAX_BYTES} bytes in JSON"))
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

/// Appends a number that stands for a date or time: in digits, or as the rendering shows what it stands for.
pub fn write_time(semantic: Semantic, number: i64, rendering: Rendering, out: &mut Vec<u8>) {
    match rendering.natural() {
        Some(Natural {
            timestamps: Timestamps::Iso,
            ..
        }) => {
            out.push(b'"');
            if semantic.write_number(number, out) {
                out.push(b'"');
            } else {
                out.pop();
                write_integer(number, out);
            }
        }
        _ => write_integer(number, out),
    }
}

/// Appends the number without a sign that has the same bits.
pub fn write_unsigned(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number.cast_unsigned()).as_bytes());
}

/// Appends a length of time as Protobuf's JSON has it: `"1.500s"`. Answers whether it is one; if not, nothing is appended.
pub fn write_seconds(seconds: i64, nanos: i32, out: &mut Vec<u8>) -> bool {
    out.push(b'"');
    let is_one = semantic::write_seconds(seconds, nanos, out);
    if is_one {
        out.push(b'"');
    } else {
        out.pop();
    }
    is_one
}

/// Appends paths of field names as Protobuf's JSON has them: `"user.displayName,photo"`. Answers whether they can be read
/// back from that; if not, nothing is appended.
pub fn write_field_mask<'a>(paths: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.push(b'"');
    for (index, path) in paths.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if !semantic::write_path(path, out) {
            out.truncate(start);
            return false;
        }
    }
    out.push(b'"');
    true
}

/// Appends bytes that may stand for something: in base64, or as the rendering shows what they stand for.
pub fn write_bytes(semantic: Option<Semantic>, bytes: &[u8], rendering: Rendering, out: &mut Vec<u8>) {
    if let Some(semantic) = semantic
        && rendering.natural().is_some()
    {
        out.push(b'"');
        if semantic.write_bytes(bytes, out) {
            out.push(b'"');
            return;
        }
        out.pop();
    }
    write_base64(bytes, out);
}

/// Appends the number `unscaled` * 10^-`scale`: base64 of the unscaled value, or digits. Beyond 100 zeros they have an
/// exponent.
///
/// # Errors
/// A number of more than 4,096 bytes whose digits are wanted.
pub fn write_decimal(unscaled: &BigInt, scale: i32, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
    let Some(natural) = rendering.natural() else {
        write_base64(&unscaled.to_signed_bytes_be(), out);
        return Ok(());
    };
    if unscaled.bits() > MAX_DECIMAL_BITS {
        return Err(DataError::data(format!(
            "a Decimal of more than {} bytes is not written in digits",
            MAX_DECIMAL_BITS / 8
        )));
    }
    match natural.decimals {
        Decimals::Number => write_digits(unscaled, scale, out),
        Decimals::String => {
            out.push(b'"');
            write_digits(unscaled, scale, out);
            out.push(b'"');
        }
    }
    Ok(())
}

fn write_digits(unscaled: &BigInt, scale: i32, out: &mut Vec<u8>) {
    if unscaled.sign() == Sign::Minus {
        out.push(b'-');
    }
    let digits = unscaled.magnitude().to_string();
    let digits = digits.as_bytes();
    let places = usize::try_from(scale.unsigned_abs()).unwrap_or(usize::MAX);
    let zeros = |out: &mut Vec<u8>, count: usize| out.resize(out.len() + count, b'0');
    let is_plain = scale.unsigned_abs() <= MAX_ZEROS || (scale > 0 && places < digits.len());
    match digits.len().checked_sub(places) {
        _ if !is_plain => {
            out.extend_from_slice(digits);
            out.push(b'E');
            write_integer(-i64::from(scale), out);
        }
        _ if scale <= 0 => {
            out.extend_from_slice(digits);
            if unscaled.sign() != Sign::NoSign {
                zeros(out, places);
            }
        }
        Some(whole) if whole > 0 => {
            out.extend_from_slice(digits.get(..whole).unwrap_or_default());
            out.push(b'.');
            out.extend_from_slice(digits.get(whole..).unwrap_or_default());
        }
        _ => {
            out.extend_from_slice(b"0.");
            zeros(out, places - digits.len());
            out.extend_from_slice(digits);
        }
    }
}

/// Makes the JSON text from `start` on the name of a member: what is no text yet gets quotes. This is how a map's key
/// is written, null included.
pub fn quote_from(start: usize, out: &mut Vec<u8>) {
    if out.get(start) != Some(&b'"') {
        out.insert(start, b'"');
        out.push(b'"');
    }
}

/// How the natural rendering shows a struct that stands for a sum type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sum {
    /// As the value of the branch that is set.
    Value,
    /// The same; and where it is a field of a struct, the branch is the member in its place, under its own name, as in
    /// Protobuf's JSON.
    Member,
}

impl Sum {
    fn of(schema: &Schema) -> Option<Self> {
        if schema.semantic() == Some(Semantic::Rewritten) {
            return None;
        }
        let parameters = schema.parameters();
        if schema.semantic() == Some(Semantic::Held)
            || parameters.contains_key("org.apache.kafka.connect.data.Union")
            || parameters.contains_key("com.amazonaws.services.schemaregistry.kafkaconnect.jsonschema.OneOf")
        {
            return Some(Self::Value);
        }
        // AWS's converter of Protobuf.
        if parameters.get("protobuf.type").is_some_and(|kind| kind == "oneof") {
            return Some(Self::Member);
        }
        match schema.name()? {
            "io.confluent.connect.avro.Union"
            | "com.amazonaws.services.schemaregistry.kafkaconnect.avrodata.Union"
            | "io.confluent.connect.json.OneOf" => Some(Self::Value),
            name if name.starts_with("io.confluent.connect.protobuf.Union.") => Some(Self::Member),
            _ => None,
        }
    }
}

/// The field of a sum type's struct that is set.
fn branch(data: &Struct) -> Option<(&str, &SchemaRef, &Value)> {
    let set = data.values().iter().position(|value| !value.is_null())?;
    let field = data.schema().fields().get(set)?;
    Some((&field.name, &field.schema, data.values().get(set)?))
}

/// Appends a struct that stands for one text. Answers whether it does; if not, nothing is appended.
fn noted(data: &Struct, out: &mut Vec<u8>) -> bool {
    match (data.schema().semantic(), data.values()) {
        (Some(Semantic::Seconds), [Value::Int64(seconds), Value::Int32(nanos)]) => write_seconds(*seconds, *nanos, out),
        (Some(Semantic::FieldMask), [Value::Array(paths)]) if paths.iter().all(|path| path.as_str().is_some()) => {
            write_field_mask(paths.iter().filter_map(Value::as_str), out)
        }
        _ => false,
    }
}

#[derive(Clone, Copy)]
struct Writer {
    rendering: Rendering,
    /// Where the record begins in the output.
    start: usize,
}

impl Writer {
    fn value(
        self,
        schema: Option<&SchemaRef>,
        value: &Value,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), DataError> {
        if depth > MAX_DEPTH {
            return Err(DataError::data(format!(
                "the value is nested more than {MAX_DEPTH} levels deep"
            )));
        }
        check_length(self.start, out)?;
        if let Some(schema) = schema {
            if value.is_null() {
                return self.null(schema, out, depth);
            }
            if let Some(logical) = Logical::of(schema) {
                return self.logical(logical, schema, value, out);
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
            Value::Int32(number) => self.integer(schema, i64::from(*number), out),
            Value::Int64(number) => self.integer(schema, *number, out),
            Value::Float32(number) => write_float(number.is_finite(), out, |out| java_number::write_f32(*number, out)),
            Value::Float64(number) => write_float(number.is_finite(), out, |out| java_number::write_f64(*number, out)),
            Value::String(_) if self.is_null(schema) => out.extend_from_slice(b"null"),
            Value::String(text) => write_string(text, out),
            Value::Bytes(bytes) => {
                let semantic = schema.and_then(|schema| Semantic::of(schema));
                write_bytes(semantic, bytes, self.rendering, out);
            }
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
                separated(items, out, |item, out| self.value(of, item, out, depth + 1))?;
                out.push(b']');
            }
            Value::Map(map) => self.map(schema, map, out, depth)?,
            Value::Struct(data) => {
                if let Some(schema) = schema
                    && !schema.accepts_struct_of(data.schema())
                {
                    return Err(DataError::data(
                        "the struct's schema differs from the one declared here",
                    ));
                }
                self.structure(data, out, depth)?;
            }
        }
        Ok(())
    }

    fn integer(self, schema: Option<&SchemaRef>, number: i64, out: &mut Vec<u8>) {
        let semantic = match self.rendering {
            Rendering::Connect => None,
            Rendering::Natural(_) => schema.and_then(|schema| Semantic::of(schema)),
        };
        match semantic {
            None => write_integer(number, out),
            Some(Semantic::Unsigned) => write_unsigned(number, out),
            Some(Semantic::Null) => out.extend_from_slice(b"null"),
            Some(semantic) => write_time(semantic, number, self.rendering, out),
        }
    }

    /// Whether a value stands for null.
    fn is_null(self, schema: Option<&SchemaRef>) -> bool {
        self.rendering.natural().is_some() && schema.is_some_and(|schema| schema.semantic() == Some(Semantic::Null))
    }

    fn structure(self, data: &Struct, out: &mut Vec<u8>, depth: usize) -> Result<(), DataError> {
        let is_natural = self.rendering.natural().is_some();
        if is_natural && noted(data, out) {
            return Ok(());
        }
        if is_natural && Sum::of(data.schema()).is_some() {
            return match branch(data) {
                None => {
                    out.extend_from_slice(b"null");
                    Ok(())
                }
                Some((name, schema, value)) => self
                    .value(Some(schema), value, out, depth + 1)
                    .map_err(|error| error.at(&format!("branch `{name}`"))),
            };
        }
        out.push(b'{');
        let fields = data.schema().fields().iter().zip(data.values());
        let members = fields.filter_map(|(field, value)| {
            if is_natural && Sum::of(&field.schema) == Some(Sum::Member) {
                match value {
                    // A oneof of which nothing is set is no member at all.
                    Value::Null => return None,
                    Value::Struct(data) => return branch(data),
                    // Does not fit, which is noticed below.
                    _ => {}
                }
            }
            Some((&*field.name, &field.schema, value))
        });
        separated(members, out, |(name, schema, value), out| {
            write_string(name, out);
            out.push(b':');
            self.value(Some(schema), value, out, depth + 1)
                .map_err(|error| error.at(&format!("field `{name}`")))
        })?;
        out.push(b'}');
        Ok(())
    }

    fn null(self, schema: &SchemaRef, out: &mut Vec<u8>, depth: usize) -> Result<(), DataError> {
        match schema.default() {
            Some(default) => self.value(Some(schema), default, out, depth + 1),
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

    fn map(self, schema: Option<&SchemaRef>, map: &Map, out: &mut Vec<u8>, depth: usize) -> Result<(), DataError> {
        let keys = schema.and_then(|schema| schema.key_schema());
        let values = schema.and_then(|schema| schema.value_schema());
        if self.is_object(keys, map) {
            out.push(b'{');
            separated(map.iter(), out, |(key, value), out| {
                let start = out.len();
                match key {
                    Value::Null => out.extend_from_slice(b"null"),
                    key => self.value(keys, key, out, depth + 1)?,
                }
                quote_from(start, out);
                out.push(b':');
                self.value(values, value, out, depth + 1)
            })?;
            out.push(b'}');
        } else {
            out.push(b'[');
            separated(map.iter(), out, |(key, value), out| {
                out.push(b'[');
                self.value(keys, key, out, depth + 2)?;
                out.push(b',');
                self.value(values, value, out, depth + 2)?;
                out.push(b']');
                Ok(())
            })?;
            out.push(b']');
        }
        Ok(())
    }

    /// Whether a map is an object; else it is an array of pairs.
    fn is_object(self, keys: Option<&SchemaRef>, map: &Map) -> bool {
        match (self.rendering, keys) {
            (Rendering::Connect, Some(keys)) => keys.schema_type() == SchemaType::String,
            (Rendering::Connect, None) => map.iter().all(|(key, _)| key.as_str().is_some()),
            (Rendering::Natural(_), Some(keys)) => keys.schema_type().is_primitive(),
            // Keys of different types, such as 1 and "1", could be the same name.
            (Rendering::Natural(_), None) => {
                let mut keys = map.iter().map(|(key, _)| key);
                keys.next().is_none_or(|first| {
                    let is_composite = matches!(first, Value::Array(_) | Value::Map(_) | Value::Struct(_));
                    let first = std::mem::discriminant(first);
                    !is_composite && keys.all(|key| std::mem::discriminant(key) == first)
                })
            }
        }
    }

    fn logical(self, logical: Logical, schema: &SchemaRef, value: &Value, out: &mut Vec<u8>) -> Result<(), DataError> {
        let (semantic, number) = match (logical, value) {
            (Logical::Decimal, Value::Decimal(decimal)) => return self.decimal(schema, decimal, out),
            (Logical::Timestamp, Value::Instant(ms)) => (Semantic::Timestamp(Unit::Millis), *ms),
            (Logical::Date, Value::Instant(ms)) if ms % DAY_MS == 0 => (Semantic::Date, ms / DAY_MS),
            (Logical::Date, Value::Instant(_)) => {
                return Err(DataError::data("a Date may not have a time of day other than 0"));
            }
            // The end of the day is accepted, as in Connect.
            (Logical::Time, Value::Instant(ms)) if (0..=DAY_MS).contains(ms) => (Semantic::Time(Unit::Millis), *ms),
            (Logical::Time, Value::Instant(_)) => {
                return Err(DataError::data("a Time may not have a day other than 1970-01-01"));
            }
            _ => return Err(unfit(value, schema)),
        };
        write_time(semantic, number, self.rendering, out);
        Ok(())
    }

    fn decimal(self, schema: &SchemaRef, decimal: &BigDecimal, out: &mut Vec<u8>) -> Result<(), DataError> {
        let scale = logical::decimal_scale(schema)
            .ok_or_else(|| DataError::data("the Decimal schema has no parameter `scale` with a number"))?;
        let (unscaled, value_scale) = decimal.as_bigint_and_exponent();
        if value_scale != i64::from(scale) {
            return Err(DataError::data(format!(
                "the Decimal has scale {value_scale} where its schema has scale {scale}"
            )));
        }
        write_decimal(&unscaled, scale, self.rendering, out)
    }
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
