//! Values as the text of a header (`org.apache.kafka.connect.data.Values.convertToString`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use klamm_connect_api::Value;

use crate::{instant_to_string, number};

/// The text of a value: strings as they are, and quoted inside of lists, maps and structs; bytes in base64; a null in a
/// struct as its field's default. None for null.
#[must_use]
pub fn to_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.to_string()),
        Value::Bytes(bytes) => Some(BASE64.encode(bytes)),
        value => {
            let mut out = String::new();
            write(value, &mut out);
            Some(out)
        }
    }
}

/// Writes a value that stands in another one.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int8(number) => out.push_str(&number.to_string()),
        Value::Int16(number) => out.push_str(&number.to_string()),
        Value::Int32(number) => out.push_str(&number.to_string()),
        Value::Int64(number) => out.push_str(&number.to_string()),
        Value::Float32(number) => out.push_str(&number::f32_to_string(*number)),
        Value::Float64(number) => out.push_str(&number::f64_to_string(*number)),
        Value::Decimal(number) => out.push_str(&number::decimal_to_string(number)),
        Value::Instant(ms) => out.push_str(&instant_to_string(*ms)),
        Value::String(text) => write_quoted(text, out),
        Value::Bytes(bytes) => write_quoted(&BASE64.encode(bytes), out),
        Value::Array(items) => separated('[', ']', items, out, write),
        Value::Map(map) => separated('{', '}', map.iter(), out, |(key, value), out| {
            write(key, out);
            out.push(':');
            write(value, out);
        }),
        Value::Struct(data) => separated('{', '}', data.schema().fields(), out, |field, out| {
            write_quoted(&field.name, out);
            out.push(':');
            write(data.get(&field.name).unwrap_or(&Value::Null), out);
        }),
    }
}

fn separated<T>(
    open: char,
    close: char,
    items: impl IntoIterator<Item = T>,
    out: &mut String,
    mut write: impl FnMut(T, &mut String),
) {
    out.push(open);
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
}
