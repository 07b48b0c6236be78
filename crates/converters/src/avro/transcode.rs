//! Avro data as JSON text, without values in between.
#![warn(clippy::indexing_slicing)]

use bigdecimal::num_bigint::BigInt;
use klamm_connect_api::{DataError, java_number, json};

use super::cursor::{Blocks, Cursor};
use super::plan::{Branch, Node, NodeId, Plan, RecordField};
use super::read::{decimal_bytes, int, time};
use crate::charset::utf8;

/// Appends the value at the cursor as JSON, the same bytes that Connect's `JsonConverter` writes for its Connect data.
///
/// It is on the stack once for each level, so what has no others inside it is written by a function of its own.
pub(super) fn write(plan: &Plan, id: NodeId, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
    match plan.node(id) {
        Node::String => {
            string(cursor.bytes()?, out);
            Ok(())
        }
        Node::Nullable {
            null_branch,
            other,
            null_json,
        } => {
            if cursor.index(2, "branch")? == *null_branch {
                out.extend_from_slice(null_json);
                return Ok(());
            }
            write(plan, *other, cursor, out)
        }
        Node::Record(fields) => record(plan, fields, cursor, out),
        Node::Array(items) => items_of(cursor, out, b'[', b']', |cursor, out| write(plan, *items, cursor, out)),
        Node::Map(values) => items_of(cursor, out, b'{', b'}', |cursor, out| {
            string(cursor.bytes()?, out);
            out.push(b':');
            write(plan, *values, cursor, out).map_err(|error| error.at("map value"))
        }),
        Node::Entries { key, value, is_object } => entries(plan, *key, *value, *is_object, cursor, out),
        Node::Union(branches) => union(plan, branches, cursor, out),
        Node::Single(inner) => {
            cursor.index(1, "branch")?;
            write(plan, *inner, cursor, out)
        }
        scalar => write_scalar(scalar, cursor, out),
    }
}

fn write_scalar(node: &Node, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
    match node {
        Node::Boolean => out.extend_from_slice(if cursor.boolean()? { b"true" } else { b"false" }),
        Node::Int(schema_type) => {
            let number = i64::from(cursor.int()?);
            int(*schema_type, number)?;
            integer(number, out);
        }
        Node::Long | Node::Timestamp => integer(cursor.long()?, out),
        Node::Date => integer(i64::from(cursor.int()?), out),
        Node::Time => integer(time(cursor.int()?)?, out),
        Node::Float => {
            let number = cursor.float()?;
            float(number.is_finite(), out, |out| java_number::write_f32(number, out));
        }
        Node::Double => {
            let number = cursor.double()?;
            float(number.is_finite(), out, |out| java_number::write_f64(number, out));
        }
        Node::Bytes => json::write_base64(cursor.bytes()?, out),
        Node::Fixed(size) => json::write_base64(cursor.fixed(*size)?, out),
        Node::Decimal { size, .. } => decimal(decimal_bytes(cursor, *size)?, out),
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

fn record(plan: &Plan, fields: &[RecordField], cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
    cursor.enter()?;
    if fields.is_empty() {
        out.push(b'{');
    }
    for field in fields {
        out.extend_from_slice(&field.json);
        if let Err(error) = write(plan, field.node, cursor, out) {
            return Err(error.at(&format!("field `{}`", field.name)));
        }
    }
    out.push(b'}');
    cursor.leave();
    Ok(())
}

fn union(plan: &Plan, branches: &[Branch], cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
    let index = cursor.index(branches.len(), "branch")?;
    let Some(branch) = branches.get(index) else {
        return Ok(());
    };
    out.extend_from_slice(&branch.before);
    let Some(node) = branch.node else {
        return Ok(());
    };
    cursor.enter()?;
    write(plan, node, cursor, out).map_err(|error| error.at(&format!("branch {index}")))?;
    cursor.leave();
    out.extend_from_slice(&branch.after);
    Ok(())
}

fn entries(
    plan: &Plan,
    key: NodeId,
    value: NodeId,
    is_object: bool,
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    let (open, close) = if is_object { (b'{', b'}') } else { (b'[', b']') };
    items_of(cursor, out, open, close, |cursor, out| {
        if !is_object {
            out.push(b'[');
        }
        let start = out.len();
        write(plan, key, cursor, out).map_err(|error| error.at("map key"))?;
        if is_object && out.get(start) != Some(&b'"') {
            // The name of a null key, as `JsonConverter` writes it.
            out.insert(start, b'"');
            out.push(b'"');
        }
        out.push(if is_object { b':' } else { b',' });
        write(plan, value, cursor, out).map_err(|error| error.at("map value"))?;
        if !is_object {
            out.push(b']');
        }
        Ok(())
    })
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

/// Base64 of the shortest two's complement, as Java writes it: bytes that only repeat the sign go.
pub(super) fn decimal(bytes: &[u8], out: &mut Vec<u8>) {
    let repeats_sign = matches!(bytes, [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..]);
    if repeats_sign {
        json::write_base64(&BigInt::from_signed_bytes_be(bytes).to_signed_bytes_be(), out);
    } else {
        json::write_base64(bytes, out);
    }
}
