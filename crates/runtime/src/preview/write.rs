//! Outcomes and records as JSON, in the form that [`PreviewRecord::parse`](super::PreviewRecord::parse) reads.

use klamm_connect_api::json::{write_base64, write_string};
use klamm_connect_api::logical::Logical;
use klamm_connect_api::{
    DataError, Datum, Record, Rendering, Schema, SchemaRef, SchemaType, Struct, Value, java_number, json,
};

use super::read::DAY_MS;
use super::text::datum_text;
use super::{Failure, Outcome};

/// What Connect names when a configuration is refused.
const CONFIG_EXCEPTION: &str = "org.apache.kafka.common.config.ConfigException";
/// What is said of a line that is no record.
const DATA_EXCEPTION: &str = "org.apache.kafka.connect.errors.DataException";

/// Appends `"name":`, with a comma in front unless it is the first member of an object.
pub(super) fn member(name: &str, out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'{' | b'[')) {
        out.push(b',');
    }
    write_string(name, out);
    out.push(b':');
}

pub(super) fn text_member(name: &str, text: &str, out: &mut Vec<u8>) {
    member(name, out);
    write_string(text, out);
}

fn integer(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

impl Outcome {
    /// Appends the outcome's members, without the braces of the object.
    pub(super) fn write_members(&self, out: &mut Vec<u8>) {
        match self {
            Self::Record(record) => {
                member("record", out);
                write_record(record, out);
            }
            Self::Dropped => {
                member("dropped", out);
                out.extend_from_slice(b"true");
            }
            Self::Failed(failure) => {
                member("error", out);
                out.push(b'{');
                failure.write_members(out);
                out.push(b'}');
            }
        }
    }
}

impl Failure {
    fn write_members(&self, out: &mut Vec<u8>) {
        text_member("stage", self.stage(), out);
        text_member("class", self.class(), out);
        text_member("message", &self.to_string(), out);
        match self {
            Self::Input(_) => {}
            Self::Config(errors) => {
                member("errors", out);
                out.push(b'{');
                let errors = errors.as_slice();
                let mut keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
                keys.sort_unstable();
                keys.dedup();
                for key in keys {
                    member(key, out);
                    out.push(b'[');
                    let of_key = errors.iter().filter(|error| error.key == key);
                    for (i, error) in of_key.enumerate() {
                        if i > 0 {
                            out.push(b',');
                        }
                        write_string(&error.message, out);
                    }
                    out.push(b']');
                }
                out.push(b'}');
            }
            Self::Convert { part, .. } => text_member("part", part.name(), out),
            Self::Transform { failure, .. } => text_member("transform", &failure.alias, out),
            Self::Encode { part, text, .. } => {
                text_member("part", part.name(), out);
                text_member("text", text, out);
            }
        }
    }

    /// The Java class that Connect names for such a failure.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Input(_) => DATA_EXCEPTION,
            Self::Config(_) => CONFIG_EXCEPTION,
            Self::Convert { error, .. } | Self::Encode { error, .. } => error.kind().java_class(),
            Self::Transform { failure, .. } => failure.error.kind().java_class(),
        }
    }
}

/// Appends the record; a datum that JSON cannot hold as its text.
pub(super) fn write_record(record: &Record, out: &mut Vec<u8>) {
    let origin = record.origin();
    out.push(b'{');
    text_member("topic", &record.topic, out);
    if *record.topic != *origin.topic_partition.topic() {
        text_member("originalTopic", origin.topic_partition.topic(), out);
    }
    member("partition", out);
    optional(record.partition, out);
    member("offset", out);
    integer(origin.offset, out);
    member("timestamp", out);
    optional(record.timestamp, out);
    text_member("timestampType", record.timestamp_type.constant_name(), out);
    member("key", out);
    datum(&record.key, out);
    member("value", out);
    datum(&record.value, out);
    member("headers", out);
    out.push(b'[');
    for (i, header) in record.headers.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.push(b'{');
        text_member("name", &header.key, out);
        member("value", out);
        datum(&header.value, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

fn optional(number: Option<impl itoa::Integer>, out: &mut Vec<u8>) {
    match number {
        Some(number) => integer(number, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn datum(datum: &Datum, out: &mut Vec<u8>) {
    let start = out.len();
    // The check bounds the depth as well.
    if check(datum, &mut Vec::new()).and_then(|()| exact(datum, out)).is_err() {
        out.truncate(start);
        out.push(b'{');
        text_member("text", &datum_text(datum), out);
        out.push(b'}');
    }
}

/// Whether the JSON converter could write the datum.
pub(super) fn check(datum: &Datum, scratch: &mut Vec<u8>) -> Result<(), DataError> {
    scratch.clear();
    datum.write_json(Rendering::Connect, scratch)?;
    // The exact form takes less: nothing is replaced by a default there. It comes from the decoded value.
    json::write(&datum.decode()?, Rendering::Connect, scratch)
}

fn exact(datum: &Datum, out: &mut Vec<u8>) -> Result<(), DataError> {
    let data = datum.decode()?;
    out.push(b'{');
    member("schema", out);
    match &data.schema {
        Some(schema) => write_schema(schema, out)?,
        None => out.extend_from_slice(b"null"),
    }
    member("payload", out);
    write_value(data.schema.as_ref(), &data.value, out)?;
    out.push(b'}');
    Ok(())
}

fn write_schema(schema: &SchemaRef, out: &mut Vec<u8>) -> Result<(), DataError> {
    json::write_schema(
        schema,
        &|schema, default, out| write_value(Some(schema), default, out),
        out,
    )
}

fn boolean(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn no_form(value: &Value) -> DataError {
    DataError::data(format!("{} does not fit its schema", value.type_name()))
}

fn write_value(schema: Option<&SchemaRef>, value: &Value, out: &mut Vec<u8>) -> Result<(), DataError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(value) => boolean(*value, out),
        Value::Int8(number) => integer(*number, out),
        Value::Int16(number) => integer(*number, out),
        Value::Int32(number) => integer(*number, out),
        Value::Int64(number) => integer(*number, out),
        Value::Float32(number) => float(number.is_finite(), out, |out| java_number::write_f32(*number, out)),
        Value::Float64(number) => float(number.is_finite(), out, |out| java_number::write_f64(*number, out)),
        Value::String(text) => write_string(text, out),
        Value::Bytes(bytes) => write_base64(bytes, out),
        Value::Decimal(decimal) => {
            schema.ok_or_else(|| no_form(value))?;
            write_base64(&decimal.as_bigint_and_exponent().0.to_signed_bytes_be(), out);
        }
        Value::Instant(ms) => match schema.and_then(|schema| Logical::of(schema)) {
            Some(Logical::Date) => integer(ms.div_euclid(DAY_MS), out),
            Some(Logical::Time | Logical::Timestamp) => integer(*ms, out),
            Some(Logical::Decimal) | None => return Err(no_form(value)),
        },
        Value::Array(items) => {
            let of = schema.and_then(|schema| schema.value_schema());
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(of, item, out)?;
            }
            out.push(b']');
        }
        Value::Map(map) => write_map(schema.map(|schema| &**schema), map, out)?,
        Value::Struct(data) => write_struct(data, out)?,
    }
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

fn write_struct(data: &Struct, out: &mut Vec<u8>) -> Result<(), DataError> {
    out.push(b'{');
    for (field, value) in data.schema().fields().iter().zip(data.values()) {
        member(&field.name, out);
        write_value(Some(&field.schema), value, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_map(schema: Option<&Schema>, map: &klamm_connect_api::Map, out: &mut Vec<u8>) -> Result<(), DataError> {
    let keys = schema.and_then(Schema::key_schema);
    let values = schema.and_then(Schema::value_schema);
    // As the JSON converter decides.
    let is_object = match keys {
        Some(keys) => keys.schema_type() == SchemaType::String,
        None => true,
    } && map.iter().all(|(key, _)| key.as_str().is_some());
    out.push(if is_object { b'{' } else { b'[' });
    for (i, (key, value)) in map.iter().enumerate() {
        match key.as_str().filter(|_| is_object) {
            Some(key) => {
                member(key, out);
                write_value(values, value, out)?;
            }
            None => {
                if i > 0 {
                    out.push(b',');
                }
                out.push(b'[');
                write_value(keys, key, out)?;
                out.push(b',');
                write_value(values, value, out)?;
                out.push(b']');
            }
        }
    }
    out.push(if is_object { b'}' } else { b']' });
    Ok(())
}
