//! Text with places for what a record holds: `${value.customer.id}-${topic}`.

use klamm_connect_api::{DataError, Record, Value};
use klamm_java_compat::{instant_to_string, number};

use crate::field_path::{FieldPath, FieldSyntax};
use crate::part::{Nulls, Part};

#[derive(Debug, Clone)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Place { source: Source, text: String },
}

#[derive(Debug, Clone)]
enum Source {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Header(String),
    Whole(Part),
    Field(Part, FieldPath),
}

impl Template {
    /// # Errors
    /// A place that is not closed or names nothing that a record has.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                literal.push_str(before);
                literal.push_str("${");
                rest = after;
                continue;
            }
            literal.push_str(before);
            let end = end_of_place(after).ok_or_else(|| format!("`${{{after}` is not closed with `}}`"))?;
            let (name, tail) = after.split_at(end);
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Place {
                source: Source::parse(name)?,
                text: name.to_owned(),
            });
            rest = tail.strip_prefix('}').unwrap_or(tail);
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces })
    }

    /// The text for a record; the first place that is missing or null, if there is one.
    ///
    /// # Errors
    /// Data that cannot be decoded, or has no text.
    pub(super) fn expand(&self, record: &mut Record) -> Result<Result<String, &str>, DataError> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Place { source, text } => {
                    let value = source
                        .value(record)
                        .map_err(|error| error.at(&format!("`${{{text}}}`")))?;
                    match rendered(&value) {
                        Some(rendered) => out.push_str(&rendered),
                        None if value.is_null() => return Ok(Err(text)),
                        None => {
                            let message = format!("`${{{text}}}` has no text, being of type {}", value.type_name());
                            return Err(DataError::data(message));
                        }
                    }
                }
            }
        }
        Ok(Ok(out))
    }
}

/// A closing brace in backticks belongs to a name.
fn end_of_place(text: &str) -> Option<usize> {
    let mut is_enclosed = false;
    text.char_indices().find_map(|(at, char)| match char {
        '`' => {
            is_enclosed = !is_enclosed;
            None
        }
        '}' if !is_enclosed => Some(at),
        _ => None,
    })
}

impl Source {
    fn parse(name: &str) -> Result<Self, String> {
        let (first, path) = match name.split_once('.') {
            Some((first, path)) => (first, Some(path)),
            None => (name, None),
        };
        let field = |part, path| {
            FieldSyntax::V2
                .path("", path)
                .map(|path| Self::Field(part, path))
                .map_err(|errors| {
                    let messages = errors.into_iter().map(|error| error.message);
                    format!("`${{{name}}}`: {}", messages.collect::<Vec<_>>().join("; "))
                })
        };
        match (first, path) {
            ("topic", None) => Ok(Self::Topic),
            ("partition", None) => Ok(Self::Partition),
            ("offset", None) => Ok(Self::Offset),
            ("timestamp", None) => Ok(Self::Timestamp),
            ("key", None) => Ok(Self::Whole(Part::Key)),
            ("value", None) => Ok(Self::Whole(Part::Value)),
            ("key", Some(path)) => field(Part::Key, path),
            ("value", Some(path)) => field(Part::Value, path),
            ("headers", Some(header)) if !header.is_empty() => Ok(Self::Header(header.to_owned())),
            _ => Err(format!(
                "`${{{name}}}` names nothing of a record: there are topic, partition, offset, timestamp, key, value, \
                 key.FIELD, value.FIELD and headers.NAME, with dots between nested fields and backticks around a name \
                 that holds one"
            )),
        }
    }

    fn value(&self, record: &mut Record) -> Result<Value, DataError> {
        Ok(match self {
            Self::Topic => Value::from(&record.topic),
            Self::Partition => record.partition.map_or(Value::Null, Value::Int32),
            Self::Offset => Value::Int64(record.origin().offset),
            Self::Timestamp => record.timestamp.map_or(Value::Null, Value::Int64),
            Self::Header(name) => match record.headers.last(name) {
                Some(header) => header.value.decode()?.value,
                None => Value::Null,
            },
            Self::Whole(part) => part.of(record).decoded()?.value.clone(),
            Self::Field(part, path) => {
                let data = part.of(record).decoded()?;
                match &data.value {
                    Value::Null => Value::Null,
                    Value::Map(map) => path.in_map(map)?,
                    Value::Struct(data) => path.in_struct(data, Nulls::Replaced)?,
                    other => return Err(part.neither_map_nor_struct(data.schema.is_some(), other)),
                }
            }
        })
    }
}

fn rendered(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Int8(number) => number.to_string(),
        Value::Int16(number) => number.to_string(),
        Value::Int32(number) => number.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Float32(number) => number::f32_to_string(*number),
        Value::Float64(number) => number::f64_to_string(*number),
        Value::Decimal(decimal) => number::decimal_to_string(decimal),
        Value::Instant(ms) => instant_to_string(*ms),
        Value::Null | Value::Bytes(_) | Value::Array(_) | Value::Map(_) | Value::Struct(_) => return None,
    })
}
