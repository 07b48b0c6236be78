//! Values of any type as Confluent's converter has them: in the binary form of a Variant, as Parquet defines it
//! (`VariantEncoding.md` of apache/parquet-format), in a struct of metadata and value.
#![warn(clippy::indexing_slicing)]

use std::str::FromStr as _;

use bigdecimal::BigDecimal;
use bytes::Bytes;
use indexmap::IndexSet;
use klamm_connect_api::{DataError, Schema, SchemaBuilder, SchemaRef, Struct, Value};

use crate::json::scan::{Kind, Scanner};

pub(super) const NAME: &str = "org.apache.kafka.connect.data.Variant";

/// A builder for the schema of a Variant.
pub(super) fn builder() -> SchemaBuilder {
    Schema::structure()
        .name(NAME)
        .field("metadata", Schema::bytes())
        .field("value", Schema::bytes())
}

/// The Variant of the JSON value at the scanner's place.
pub(super) fn read(schema: &SchemaRef, scanner: &mut Scanner<'_>) -> Result<Value, DataError> {
    let mut encoder = Encoder::default();
    let mut value = Vec::new();
    encoder.value(scanner, &mut value)?;
    let mut data = Struct::try_new(SchemaRef::clone(schema))?;
    data.put("metadata", Value::Bytes(Bytes::from(encoder.metadata()?)))?;
    data.put("value", Value::Bytes(Bytes::from(value)))?;
    Ok(Value::Struct(Box::new(data)))
}

/// Header bytes of primitive types: the type's number, and 0 in the two lowest bits.
const NULL: u8 = 0 << 2;
const TRUE: u8 = 1 << 2;
const FALSE: u8 = 2 << 2;
const INT32: u8 = 5 << 2;
const INT64: u8 = 6 << 2;
const DOUBLE: u8 = 7 << 2;
const DECIMAL4: u8 = 8 << 2;
const DECIMAL8: u8 = 9 << 2;
const DECIMAL16: u8 = 10 << 2;
const STRING: u8 = 16 << 2;
const SHORT_STRING: u8 = 1;
const OBJECT: u8 = 2;
const ARRAY: u8 = 3;
/// Strings below this length have it in their header.
const SHORT: usize = 64;

#[derive(Debug, Default)]
struct Encoder {
    /// All names, in the order in which they came.
    names: IndexSet<String>,
}

impl Encoder {
    fn metadata(&self) -> Result<Vec<u8>, DataError> {
        let total = self.names.iter().map(String::len).sum::<usize>();
        let width = width(total.max(self.names.len()))?;
        let mut out = vec![1 | u8::try_from(width - 1).unwrap_or(3) << 6];
        number(self.names.len(), width, &mut out);
        let mut offset = 0;
        number(0, width, &mut out);
        for name in &self.names {
            offset += name.len();
            number(offset, width, &mut out);
        }
        for name in &self.names {
            out.extend_from_slice(name.as_bytes());
        }
        Ok(out)
    }

    /// Recursion is bounded by the scanner.
    fn value(&mut self, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
        match scanner.kind()? {
            Kind::Object => self.object(scanner, out),
            Kind::Array => self.array(scanner, out),
            Kind::String => string(&scanner.string()?, out),
            Kind::Number => {
                let number = scanner.number()?;
                numeric(number.text, number.is_integer, out)
            }
            Kind::Boolean => {
                out.push(if scanner.boolean()? { TRUE } else { FALSE });
                Ok(())
            }
            Kind::Null => {
                out.push(NULL);
                scanner.null()
            }
        }
    }

    fn object(&mut self, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
        let mut members: indexmap::IndexMap<usize, Vec<u8>> = indexmap::IndexMap::new();
        scanner.enter_object()?;
        let mut is_first = true;
        while let Some(name) = scanner.next_member(is_first)? {
            is_first = false;
            let (id, _) = self.names.insert_full(name.into_owned());
            let mut value = Vec::new();
            self.value(scanner, &mut value)?;
            members.insert(id, value);
        }
        // Values stand in the order in which they came, ids and offsets in the order of their names.
        let mut fields = Vec::with_capacity(members.len());
        let mut size = 0;
        for (id, value) in &members {
            fields.push((
                self.names.get_index(*id).map(String::as_str).unwrap_or_default(),
                *id,
                size,
            ));
            size += value.len();
        }
        fields.sort_unstable();
        let is_large = members.len() > 255;
        let ids = width(members.keys().copied().max().unwrap_or(0))?;
        let offsets = width(size)?;
        let bits = |width: usize| u8::try_from(width - 1).unwrap_or(3);
        out.push((u8::from(is_large) << 4 | bits(ids) << 2 | bits(offsets)) << 2 | OBJECT);
        number(members.len(), if is_large { 4 } else { 1 }, out);
        for (_, id, _) in &fields {
            number(*id, ids, out);
        }
        for (_, _, offset) in &fields {
            number(*offset, offsets, out);
        }
        number(size, offsets, out);
        members.values().for_each(|value| out.extend_from_slice(value));
        Ok(())
    }

    fn array(&mut self, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
        let mut values = Vec::new();
        let mut ends = Vec::new();
        scanner.enter_array()?;
        while scanner.next_element(ends.is_empty())? {
            self.value(scanner, &mut values)?;
            ends.push(values.len());
        }
        let is_large = ends.len() > 255;
        let offsets = width(values.len())?;
        out.push((u8::from(is_large) << 2 | u8::try_from(offsets - 1).unwrap_or(3)) << 2 | ARRAY);
        number(ends.len(), if is_large { 4 } else { 1 }, out);
        number(0, offsets, out);
        for end in ends {
            number(end, offsets, out);
        }
        out.extend_from_slice(&values);
        Ok(())
    }
}

/// How many bytes hold numbers up to `largest`.
fn width(largest: usize) -> Result<usize, DataError> {
    match largest {
        0..=0xff => Ok(1),
        0x100..=0xffff => Ok(2),
        0x1_0000..=0xff_ffff => Ok(3),
        0x100_0000..=0xffff_ffff => Ok(4),
        _ => Err(DataError::data("a value of any type that takes more than 4 GiB")),
    }
}

fn number(number: usize, width: usize, out: &mut Vec<u8>) {
    out.extend(number.to_le_bytes().iter().take(width));
}

fn string(text: &str, out: &mut Vec<u8>) -> Result<(), DataError> {
    if text.len() < SHORT {
        out.push(u8::try_from(text.len()).unwrap_or(0) << 2 | SHORT_STRING);
    } else {
        width(text.len())?;
        out.push(STRING);
        number(text.len(), 4, out);
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Integers of 32 or 64 bits; everything else is a decimal, as long as one holds it.
fn numeric(text: &str, is_integer: bool, out: &mut Vec<u8>) -> Result<(), DataError> {
    if is_integer && let Ok(number) = text.parse::<i64>() {
        match i32::try_from(number) {
            Ok(small) => {
                out.push(INT32);
                out.extend_from_slice(&small.to_le_bytes());
            }
            Err(_) => {
                out.push(INT64);
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        return Ok(());
    }
    let wrong = || DataError::data("a number that cannot be read");
    let (unscaled, scale) = BigDecimal::from_str(text)
        .map_err(|_| wrong())?
        .into_bigint_and_exponent();
    let digits = unscaled.magnitude().to_string().len();
    match (u8::try_from(scale), i128::try_from(&unscaled)) {
        (Ok(scale), Ok(unscaled)) if scale <= 38 && digits <= 38 => {
            let (header, width) = match (usize::from(scale)).max(digits) {
                0..=9 => (DECIMAL4, 4),
                10..=18 => (DECIMAL8, 8),
                _ => (DECIMAL16, 16),
            };
            out.extend_from_slice(&[header, scale]);
            out.extend(unscaled.to_le_bytes().iter().take(width));
        }
        _ => {
            let number: f64 = text.parse().map_err(|_| wrong())?;
            out.push(DOUBLE);
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> (Vec<u8>, Vec<u8>) {
        let mut encoder = Encoder::default();
        let mut value = Vec::new();
        encoder.value(&mut Scanner::new(text), &mut value).unwrap();
        (encoder.metadata().unwrap(), value)
    }

    #[test]
    fn values_are_encoded_as_parquet_defines_it() {
        let none: &[u8] = &[1, 0, 0];
        let cases: [(&str, &[u8], &[u8]); 9] = [
            ("null", none, &[0]),
            ("true", none, &[4]),
            ("1", none, &[0x14, 1, 0, 0, 0]),
            ("4294967296", none, &[0x18, 0, 0, 0, 0, 1, 0, 0, 0]),
            ("-1.5", none, &[0x20, 1, 0xf1, 0xff, 0xff, 0xff]),
            ("\"ab\"", none, &[9, b'a', b'b']),
            ("[true,null]", none, &[3, 2, 0, 1, 2, 4, 0]),
            ("{\"b\":1}", &[1, 1, 0, 1, b'b'], &[2, 1, 0, 0, 5, 0x14, 1, 0, 0, 0]),
            (
                "{\"b\":null,\"a\":true}",
                &[1, 2, 0, 1, 2, b'b', b'a'],
                &[2, 2, 1, 0, 1, 0, 2, 0, 4],
            ),
        ];
        for (text, metadata, value) in cases {
            let got = encoded(text);
            assert_eq!((got.0.as_slice(), got.1.as_slice()), (metadata, value), "{text}");
        }
        assert_eq!(encoded("1e400").1.first(), Some(&DOUBLE));
        assert_eq!(encoded("0.12345678901234567890").1.get(..2), Some(&[DECIMAL16, 20][..]));
    }
}
