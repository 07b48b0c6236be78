//! Records and steps for people: a line a part, values close to JSON, schemas in a short form.

use std::fmt::Write as _;

use klamm_connect_api::json::{MAX_SCHEMA_BYTES, schema_type_name, write_string};
use klamm_connect_api::logical::{Logical, decimal_scale};
use klamm_connect_api::{Datum, Origin, Record, Schema, SchemaRef, SchemaType, Value};
use klamm_java_compat::number::decimal_to_string;
use klamm_smt::{Stage, StageOutcome};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Outcome, Step};

/// Arrays, objects and schemas inside each other that are shown.
const MAX_DEPTH: usize = 100;

/// Parts of a record: a label and what is there.
type Parts = Vec<(String, String)>;

/// The parts of a record that there are, one a line: a label, then what it holds.
#[must_use]
pub fn describe(record: &Record) -> String {
    lines(&parts(record))
}

/// Tells what happens to a record, step by step: after each transform only what it changed.
#[derive(Debug)]
pub struct Story {
    text: String,
    before: Parts,
}

impl Story {
    /// The story of the record that is there.
    #[must_use]
    pub fn of(origin: &Origin) -> Self {
        Self {
            text: format!("record {origin}\n"),
            before: Parts::new(),
        }
    }

    /// Tells a step.
    pub fn add(&mut self, step: &Step<'_>) {
        match step {
            Step::Converted(record) => {
                self.before = parts(record);
                self.text.push_str("converted\n");
                self.text.push_str(&lines(&self.before));
            }
            Step::Stage(stage, outcome) => self.stage(stage, outcome),
        }
    }

    fn stage(&mut self, stage: &Stage, outcome: &StageOutcome<'_>) {
        let what = match outcome {
            StageOutcome::Skipped => "skipped",
            StageOutcome::Applied(None) => "drops the record",
            StageOutcome::Applied(Some(record)) => {
                let after = parts(record);
                let changes = differences(&self.before, &after);
                self.before = after;
                self.line(
                    stage,
                    outcome,
                    if changes.is_empty() {
                        "changes nothing"
                    } else {
                        "changes"
                    },
                );
                self.text.push_str(&lines(&changes));
                return;
            }
        };
        self.line(stage, outcome, what);
    }

    fn line(&mut self, stage: &Stage, outcome: &StageOutcome<'_>, what: &str) {
        let (alias, class) = (stage.alias(), stage.class());
        let why = match stage.condition() {
            Some((predicate, _)) if matched(stage, outcome) => format!(", as predicate {predicate} matches"),
            Some((predicate, _)) => format!(", as predicate {predicate} does not match"),
            None => String::new(),
        };
        // Writing to a String cannot fail.
        writeln!(self.text, "transform {alias} ({class}) {what}{why}").ok();
    }

    /// The whole story.
    #[must_use]
    pub fn end(mut self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Record(_) => self.text.push_str("=> record\n"),
            Outcome::Dropped => self.text.push_str("=> dropped\n"),
            Outcome::Failed(failure) => {
                writeln!(self.text, "=> error in stage {}: {failure}", failure.stage()).ok();
            }
        }
        self.text
    }
}

/// Whether the stage's predicate matched.
pub(super) fn matched(stage: &Stage, outcome: &StageOutcome<'_>) -> bool {
    let negate = stage.condition().is_some_and(|(_, negate)| negate);
    matches!(outcome, StageOutcome::Skipped) == negate
}

fn lines(parts: &Parts) -> String {
    let width = parts.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let line = |(label, text): &(String, String)| {
        let pad = width - label.chars().count();
        format!("  {label}{}  {text}\n", " ".repeat(pad))
    };
    parts.iter().map(line).collect()
}

/// The parts after a step that are not as before, and what is gone.
fn differences(before: &Parts, after: &Parts) -> Parts {
    let changed = after.iter().filter(|part| !before.contains(part)).cloned();
    let gone = before
        .iter()
        .filter(|(label, _)| !after.iter().any(|(other, _)| other == label))
        .map(|(label, _)| (label.clone(), "(none)".to_owned()));
    changed.chain(gone).collect()
}

fn parts(record: &Record) -> Parts {
    let mut parts = vec![("topic".to_owned(), record.topic.to_string())];
    let partition = match record.partition {
        Some(partition) => partition.to_string(),
        None => "(none)".to_owned(),
    };
    parts.push(("partition".to_owned(), partition));
    if let Some(timestamp) = record.timestamp {
        let text = format!("{} ({})", instant(timestamp), record.timestamp_type.constant_name());
        parts.push(("timestamp".to_owned(), text));
    }
    for (label, datum) in [("key", &record.key), ("value", &record.value)] {
        parts.push((label.to_owned(), datum_text(datum)));
        if let Ok(Some(schema)) = datum.decode().map(|data| data.schema) {
            parts.push((format!("{label} schema"), schema_text(&schema)));
        }
    }
    for header in &record.headers {
        let mut text = datum_text(&header.value);
        if let Ok(Some(schema)) = header.value.decode().map(|data| data.schema) {
            write!(text, " ({})", schema_text(&schema)).ok();
        }
        parts.push((format!("header {}", header.key), text));
    }
    parts
}

/// A datum close to JSON; what JSON has no form for is there in a readable one.
pub(super) fn datum_text(datum: &Datum) -> String {
    let mut out = Vec::new();
    match datum.decode() {
        Ok(data) => write_value(&data.value, &mut out, 0),
        Err(error) => out.extend_from_slice(format!("({error})").as_bytes()),
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn instant(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    // Beyond the year 9999 there is no text.
    time.ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| ms.to_string())
}

fn write_value(value: &Value, out: &mut Vec<u8>, depth: usize) {
    if depth > MAX_DEPTH {
        out.extend_from_slice("…".as_bytes());
        return;
    }
    match value {
        Value::Instant(ms) => write_string(&instant(*ms), out),
        Value::Decimal(decimal) => out.extend_from_slice(decimal_to_string(decimal).as_bytes()),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                separate(i, out);
                write_value(item, out, depth + 1);
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            for (i, (key, value)) in map.iter().enumerate() {
                separate(i, out);
                write_value(key, out, depth + 1);
                out.extend_from_slice(b": ");
                write_value(value, out, depth + 1);
            }
            out.push(b'}');
        }
        Value::Struct(data) => {
            out.push(b'{');
            for (i, (field, value)) in data.schema().fields().iter().zip(data.values()).enumerate() {
                separate(i, out);
                write_string(&field.name, out);
                out.extend_from_slice(b": ");
                write_value(value, out, depth + 1);
            }
            out.push(b'}');
        }
        scalar => {
            // Scalars without a schema always have a JSON form.
            klamm_connect_api::json::write(
                &klamm_connect_api::SchemaAndValue::schemaless(scalar.clone()),
                klamm_connect_api::Rendering::Connect,
                out,
            )
            .ok();
        }
    }
}

fn separate(i: usize, out: &mut Vec<u8>) {
    if i > 0 {
        out.extend_from_slice(b", ");
    }
}

/// A schema on one line: `struct Order {id: int64, note: string?}`.
fn schema_text(schema: &SchemaRef) -> String {
    let mut out = String::new();
    write_schema(Some(schema), &mut out, 0);
    out
}

fn write_schema(schema: Option<&SchemaRef>, out: &mut String, depth: usize) {
    // Schemas that refer to themselves share their parts: written out they may have no end to speak of.
    let is_too_much = depth > MAX_DEPTH || out.len() > MAX_SCHEMA_BYTES;
    let Some(schema) = schema.filter(|_| !is_too_much) else {
        out.push_str(if is_too_much { "…" } else { "any" });
        return;
    };
    match Logical::of(schema) {
        Some(Logical::Decimal) => {
            let scale = decimal_scale(schema).map(|scale| format!("({scale})"));
            write!(out, "Decimal{}", scale.unwrap_or_default()).ok();
        }
        Some(Logical::Date) => out.push_str("Date"),
        Some(Logical::Time) => out.push_str("Time"),
        Some(Logical::Timestamp) => out.push_str("Timestamp"),
        None => write_type(schema, out, depth),
    }
    if schema.is_optional() {
        out.push('?');
    }
    if let Some(default) = schema.default() {
        let mut text = Vec::new();
        write_value(default, &mut text, depth);
        write!(out, " = {}", String::from_utf8_lossy(&text)).ok();
    }
}

fn write_type(schema: &Schema, out: &mut String, depth: usize) {
    out.push_str(schema_type_name(schema.schema_type()));
    if let Some(name) = schema.name() {
        write!(out, " {name}").ok();
    }
    if let Some(version) = schema.version() {
        write!(out, " v{version}").ok();
    }
    match schema.schema_type() {
        SchemaType::Struct => {
            out.push_str(" {");
            for (i, field) in schema.fields().iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write!(out, "{}: ", field.name).ok();
                write_schema(Some(&field.schema), out, depth + 1);
            }
            out.push('}');
        }
        SchemaType::Array => {
            out.push_str(" of ");
            write_schema(schema.value_schema(), out, depth + 1);
        }
        SchemaType::Map => {
            out.push_str(" of ");
            write_schema(schema.key_schema(), out, depth + 1);
            out.push_str(" to ");
            write_schema(schema.value_schema(), out, depth + 1);
        }
        _ => {}
    }
}
