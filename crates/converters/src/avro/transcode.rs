//! Avro data as JSON text, without values in between.
#![warn(clippy::indexing_slicing)]

use bigdecimal::num_bigint::BigInt;
use klamm_connect_api::{DataError, Rendering, Semantic, Unit, java_number, json};

use super::cursor::{Blocks, Cursor};
use super::plan::{Branch, Keys, Node, NodeId, Plan, RecordField};
use super::read::{decimal_bytes, int, time};
use crate::charset::utf8;

/// Writes the data of a plan as JSON, the same bytes that [`json::write`] makes of its Connect data.
#[derive(Clone, Copy)]
pub(super) struct Transcoder<'a> {
    pub(super) plan: &'a Plan,
    pub(super) rendering: Rendering,
}

impl Transcoder<'_> {
    /// Appends the value at the cursor.
    ///
    /// It is on the stack once for each level, so what has no others inside it is written by a function of its own.
    pub(super) fn write(self, id: NodeId, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
        match self.plan.node(id) {
            Node::String => {
                string(cursor.bytes()?, out);
                Ok(())
            }
            Node::Nullable {
                null_branch,
                other,
                null,
            } => {
                if cursor.index(2, "branch")? == *null_branch {
                    return null.write(self.rendering, out);
                }
                self.write(*other, cursor, out)
            }
            Node::Record(fields) => self.record(fields, cursor, out),
            Node::Array(items) => items_of(cursor, out, b'[', b']', |cursor, out| self.write(*items, cursor, out)),
            Node::Map(values) => items_of(cursor, out, b'{', b'}', |cursor, out| {
                string(cursor.bytes()?, out);
                out.push(b':');
                self.write(*values, cursor, out).map_err(|error| error.at("map value"))
            }),
            Node::Entries { key, value, keys } => self.entries(*key, *value, *keys, cursor, out),
            Node::Union(branches) => self.union(branches, cursor, out),
            Node::Single(inner) => {
                cursor.index(1, "branch")?;
                self.write(*inner, cursor, out)
            }
            scalar => self.scalar(scalar, cursor, out),
        }
    }

    fn scalar(self, node: &Node, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
        match node {
            Node::Boolean => out.extend_from_slice(if cursor.boolean()? { b"true" } else { b"false" }),
            Node::Int(schema_type, semantic) => {
                let number = i64::from(cursor.int()?);
                int(*schema_type, number)?;
                self.number(*semantic, number, out);
            }
            Node::Long(semantic) => self.number(*semantic, cursor.long()?, out),
            Node::Date => self.number(Some(Semantic::Date), i64::from(cursor.int()?), out),
            Node::Time => self.number(Some(Semantic::Time(Unit::Millis)), time(cursor.int()?)?, out),
            Node::Timestamp => self.number(Some(Semantic::Timestamp(Unit::Millis)), cursor.long()?, out),
            Node::Float => {
                let number = cursor.float()?;
                float(number.is_finite(), out, |out| java_number::write_f32(number, out));
            }
            Node::Double => {
                let number = cursor.double()?;
                float(number.is_finite(), out, |out| java_number::write_f64(number, out));
            }
            Node::Bytes => json::write_base64(cursor.bytes()?, out),
            Node::Fixed(size, semantic) => json::write_bytes(*semantic, cursor.fixed(*size)?, self.rendering, out),
            Node::Decimal { size, scale } => self.decimal(decimal_bytes(cursor, *size)?, *scale, out)?,
            Node::String => string(cursor.bytes()?, out),
            Node::Enum(symbols) => {
                let index = cursor.index(symbols.len(), "symbol")?;
                out.extend_from_slice(symbols.get(index).map_or(b"null", |symbol| &symbol.json));
            }
            Node::Array(_)
            | Node::Map(_)
            | Node::Entries { .. }
            | Node::Record(_)
            | Node::Nullable { .. }
            | Node::Single(_)
            | Node::Union(_)
            | Node::Pending => return Err(DataError::data("a type that was not worked out")),
        }
        Ok(())
    }

    #[inline]
    fn number(self, semantic: Option<Semantic>, number: i64, out: &mut Vec<u8>) {
        match (self.rendering, semantic) {
            (Rendering::Connect, _) | (_, None) => integer(number, out),
            (Rendering::Natural(_), Some(semantic)) => json::write_time(semantic, number, self.rendering, out),
        }
    }

    pub(super) fn decimal(self, unscaled: &[u8], scale: i32, out: &mut Vec<u8>) -> Result<(), DataError> {
        // Java writes the shortest two's complement: bytes that only repeat the sign go.
        let repeats_sign = matches!(unscaled, [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..]);
        if self.rendering == Rendering::Connect && !repeats_sign {
            json::write_base64(unscaled, out);
            return Ok(());
        }
        json::write_decimal(&BigInt::from_signed_bytes_be(unscaled), scale, self.rendering, out)
    }

    fn record(self, fields: &[RecordField], cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
        cursor.enter()?;
        if fields.is_empty() {
            out.push(b'{');
        }
        for field in fields {
            out.extend_from_slice(&field.json);
            if let Err(error) = self.write(field.node, cursor, out) {
                return Err(error.at(&format!("field `{}`", field.name)));
            }
        }
        out.push(b'}');
        cursor.leave();
        Ok(())
    }

    fn union(self, branches: &[Branch], cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
        let index = cursor.index(branches.len(), "branch")?;
        let (node, before, after) = match branches.get(index) {
            None => return Ok(()),
            Some(Branch::Null(null)) => return null.write(self.rendering, out),
            Some(Branch::Value {
                node, before, after, ..
            }) => (*node, before, after),
        };
        let is_struct = self.rendering == Rendering::Connect;
        if is_struct {
            out.extend_from_slice(before);
        }
        cursor.enter()?;
        self.write(node, cursor, out)
            .map_err(|error| error.at(&format!("branch {index}")))?;
        cursor.leave();
        if is_struct {
            out.extend_from_slice(after);
        }
        Ok(())
    }

    fn entries(
        self,
        key: NodeId,
        value: NodeId,
        keys: Keys,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let is_object = keys.make_an_object(self.rendering);
        let (open, close) = if is_object { (b'{', b'}') } else { (b'[', b']') };
        items_of(cursor, out, open, close, |cursor, out| {
            if !is_object {
                out.push(b'[');
            }
            let start = out.len();
            self.write(key, cursor, out).map_err(|error| error.at("map key"))?;
            if is_object {
                json::quote_from(start, out);
            }
            out.push(if is_object { b':' } else { b',' });
            self.write(value, cursor, out).map_err(|error| error.at("map value"))?;
            if !is_object {
                out.push(b']');
            }
            Ok(())
        })
    }
}

fn items_of(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    open: u8,
    close: u8,
    mut item: impl FnMut(&mut Cursor<'_>, &mut Vec<u8>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut blocks = Blocks::default();
    cursor.enter()?;
    out.push(open);
    let mut is_first = true;
    while cursor.next_item(&mut blocks)? {
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        item(cursor, out)?;
    }
    out.push(close);
    cursor.leave();
    Ok(())
}

#[inline]
fn integer(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn float(is_number: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if is_number {
        return write(out);
    }
    out.push(b'"');
    write(out);
    out.push(b'"');
}

#[inline]
pub(super) fn string(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => json::write_string(text, out),
        Err(_) => json::write_string(&utf8(bytes), out),
    }
}
