//! Avro data as JSON text, without values in between.
#![warn(clippy::indexing_slicing)]

use bigdecimal::num_bigint::BigInt;
use klamm_connect_api::{DataError, Rendering, SchemaType, Semantic, Unit, java_number, json};

use super::cursor::{Blocks, Cursor};
use super::plan::{Branch, Keys, Node, NodeId, Plan, RecordField};
use super::read::{decimal_bytes, int, time};
use crate::charset::utf8;
use crate::failure::Failure;
use crate::json_text::{Part, write_boolean, write_integer};

/// Writes the data of a plan as JSON, the same bytes that [`json::write`] makes of its Connect data.
#[derive(Clone, Copy)]
pub(super) struct Transcoder<'a> {
    pub(super) plan: &'a Plan,
    pub(super) rendering: Rendering,
    /// Where the record begins in the output.
    pub(super) start: usize,
}

impl Transcoder<'_> {
    /// Appends the value at the cursor.
    #[inline]
    pub(super) fn write(self, id: NodeId, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut node = self.plan.node(id);
        if let Node::Nullable {
            null_branch,
            other,
            null,
        } = node
        {
            if cursor.index(2, "branch")? == *null_branch {
                null.write(self.rendering, out)?;
                return Ok(());
            }
            node = self.plan.node(*other);
        }
        // What most fields are costs no call.
        match node {
            Node::String => {
                string(cursor.part()?, out);
                Ok(())
            }
            other => self.other(other, cursor, out),
        }
    }

    /// It is on the stack once for each level, so what it calls keeps its variables to itself.
    #[inline(never)]
    fn other(self, node: &Node, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        match node {
            Node::Boolean => write_boolean(cursor.boolean()?, out),
            Node::Int(SchemaType::Int32, None) => write_integer(i64::from(cursor.int()?), out),
            Node::Long(None) => write_integer(cursor.long()?, out),
            Node::Record(fields) => return self.record(fields, cursor, out),
            Node::Array(items) => return self.array(*items, cursor, out),
            Node::Map(values) => return self.map(*values, cursor, out),
            Node::Entries { key, value, keys } => return self.entries(*key, *value, *keys, cursor, out),
            Node::Union(branches) => return self.union(branches, cursor, out),
            Node::Nullable { .. } => return Err(DataError::data("a union right inside of another one").into()),
            Node::Single(inner) => {
                cursor.index(1, "branch")?;
                return self.write(*inner, cursor, out);
            }
            scalar => return self.scalar(scalar, cursor, out),
        }
        Ok(())
    }

    #[inline(never)]
    fn scalar(self, node: &Node, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        match node {
            Node::Boolean => write_boolean(cursor.boolean()?, out),
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
            Node::String => string(cursor.part()?, out),
            Node::Enum(symbols) => {
                let index = cursor.index(symbols.len(), "symbol")?;
                match symbols.get(index) {
                    Some(symbol) => symbol.json.write(out),
                    None => out.extend_from_slice(b"null"),
                }
            }
            Node::Array(_)
            | Node::Map(_)
            | Node::Entries { .. }
            | Node::Record(_)
            | Node::Nullable { .. }
            | Node::Single(_)
            | Node::Union(_)
            | Node::Pending => return Err(DataError::data("a type that was not worked out").into()),
        }
        Ok(())
    }

    #[inline]
    fn number(self, semantic: Option<Semantic>, number: i64, out: &mut Vec<u8>) {
        match (self.rendering, semantic) {
            (Rendering::Connect, _) | (_, None) => write_integer(number, out),
            (Rendering::Natural(_), Some(semantic)) => json::write_time(semantic, number, self.rendering, out),
        }
    }

    pub(super) fn decimal(self, unscaled: &[u8], scale: i32, out: &mut Vec<u8>) -> Result<(), Failure> {
        // Java writes the shortest two's complement: bytes that only repeat the sign go.
        let repeats_sign = matches!(unscaled, [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..]);
        if self.rendering == Rendering::Connect && !repeats_sign {
            json::write_base64(unscaled, out);
            return Ok(());
        }
        let unscaled = BigInt::from_signed_bytes_be(unscaled);
        json::write_decimal(&unscaled, scale, self.rendering, out)?;
        Ok(())
    }

    #[inline(never)]
    fn array(self, items: NodeId, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        items_of(self.start, cursor, out, b'[', b']', |cursor, out| {
            self.write(items, cursor, out)
        })
    }

    #[inline(never)]
    fn map(self, values: NodeId, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        items_of(self.start, cursor, out, b'{', b'}', |cursor, out| {
            string(cursor.part()?, out);
            out.push(b':');
            self.write(values, cursor, out).map_err(|error| error.at("map value"))
        })
    }

    #[inline(never)]
    fn record(self, fields: &[RecordField], cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        cursor.enter()?;
        json::check_length(self.start, out)?;
        if fields.is_empty() {
            out.push(b'{');
        }
        for field in fields {
            field.json.write(out);
            if let Err(error) = self.write(field.node, cursor, out) {
                return Err(in_field(error, field));
            }
        }
        out.push(b'}');
        cursor.leave();
        Ok(())
    }

    #[inline(never)]
    fn union(self, branches: &[Branch], cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let index = cursor.index(branches.len(), "branch")?;
        let (node, before, after) = match branches.get(index) {
            None => return Ok(()),
            Some(Branch::Null(null)) => return Ok(null.write(self.rendering, out)?),
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

    #[inline(never)]
    fn entries(
        self,
        key: NodeId,
        value: NodeId,
        keys: Keys,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let is_object = keys.make_an_object(self.rendering);
        let (open, close) = if is_object { (b'{', b'}') } else { (b'[', b']') };
        items_of(self.start, cursor, out, open, close, |cursor, out| {
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

#[cold]
fn in_field(failure: Failure, field: &RecordField) -> Failure {
    failure.at(&format!("field `{}`", field.name))
}

fn items_of(
    start: usize,
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    open: u8,
    close: u8,
    mut item: impl FnMut(&mut Cursor<'_>, &mut Vec<u8>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut blocks = Blocks::default();
    cursor.enter()?;
    out.push(open);
    let mut is_first = true;
    while cursor.next_item(&mut blocks)? {
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        json::check_length(start, out)?;
        item(cursor, out)?;
    }
    out.push(close);
    cursor.leave();
    Ok(())
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
fn string(part: Part<'_>, out: &mut Vec<u8>) {
    if !part.write_plain(out) {
        json::write_string(&utf8(part.bytes()), out);
    }
}
