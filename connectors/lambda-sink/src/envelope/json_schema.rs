//! A Connect schema as JSON, as the envelope of Connect's `JsonConverter` has it with `schemas.enable=true`.

use klamm_connect_api::{DataError, Rendering, Schema, SchemaAndValue, SchemaRef, SchemaType, json};

use super::write_integer;

/// Deeper ones are refused: they would run the stack out.
const MAX_DEPTH: usize = 200;

/// Appends the schema.
pub(super) fn write(schema: &SchemaRef, rendering: Rendering, out: &mut Vec<u8>) -> Result<(), DataError> {
    write_at(schema, None, rendering, 0, out)
}

fn write_at(
    schema: &SchemaRef,
    field: Option<&str>,
    rendering: Rendering,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    if depth > MAX_DEPTH {
        return Err(DataError::data(format!(
            "the schema is nested more than {MAX_DEPTH} levels deep"
        )));
    }
    out.extend_from_slice(br#"{"type":""#);
    out.extend_from_slice(type_name(schema.schema_type()).as_bytes());
    out.push(b'"');
    write_inner(schema, rendering, depth, out)?;
    out.extend_from_slice(br#","optional":"#);
    out.extend_from_slice(if schema.is_optional() { b"true" } else { b"false" });
    if let Some(name) = schema.name() {
        out.extend_from_slice(br#","name":"#);
        json::write_string(name, out);
    }
    if let Some(version) = schema.version() {
        out.extend_from_slice(br#","version":"#);
        write_integer(version, out);
    }
    if let Some(doc) = schema.doc() {
        out.extend_from_slice(br#","doc":"#);
        json::write_string(doc, out);
    }
    if !schema.parameters().is_empty() {
        out.extend_from_slice(br#","parameters":{"#);
        for (index, (key, value)) in schema.parameters().iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            json::write_string(key, out);
            out.push(b':');
            json::write_string(value, out);
        }
        out.push(b'}');
    }
    if let Some(default) = schema.default() {
        out.extend_from_slice(br#","default":"#);
        let data = SchemaAndValue::new(SchemaRef::clone(schema), default.clone());
        json::write(&data, rendering, out)?;
    }
    if let Some(field) = field {
        out.extend_from_slice(br#","field":"#);
        json::write_string(field, out);
    }
    out.push(b'}');
    Ok(())
}

/// The schemas inside.
fn write_inner(schema: &Schema, rendering: Rendering, depth: usize, out: &mut Vec<u8>) -> Result<(), DataError> {
    let inner = |name: &str, inner: Option<&SchemaRef>, out: &mut Vec<u8>| {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match inner {
            Some(inner) => write_at(inner, None, rendering, depth + 1, out),
            None => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        }
    };
    match schema.schema_type() {
        SchemaType::Array => inner("items", schema.value_schema(), out),
        SchemaType::Map => {
            inner("keys", schema.key_schema(), out)?;
            inner("values", schema.value_schema(), out)
        }
        SchemaType::Struct => {
            out.extend_from_slice(br#","fields":["#);
            for (index, field) in schema.fields().iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_at(&field.schema, Some(&field.name), rendering, depth + 1, out)?;
            }
            out.push(b']');
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The names of `JsonSchema`, which calls floating-point numbers otherwise than Connect does elsewhere.
fn type_name(schema_type: SchemaType) -> &'static str {
    match schema_type {
        SchemaType::Float32 => "float",
        SchemaType::Float64 => "double",
        other => other.name(),
    }
}

#[cfg(test)]
mod tests {
    use klamm_connect_api::{Value, logical};

    use super::*;

    #[test]
    fn schemas_read_as_connects_json_converter_writes_them() {
        let schema = Schema::structure()
            .name("com.acme.Order")
            .version(3)
            .doc("an \"order\"")
            .field("id", Schema::int64())
            .field("price", logical::decimal(2).optional().build().unwrap())
            .field("tags", Schema::array(Schema::string()).build().unwrap())
            .field(
                "rates",
                Schema::map(Schema::string(), Schema::float64()).build().unwrap(),
            )
            .field(
                "state",
                Schema::builder(SchemaType::String)
                    .default_value(Value::String("new".into()))
                    .build()
                    .unwrap(),
            )
            .build()
            .unwrap();
        let mut out = Vec::new();
        write(&schema, Rendering::Connect, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},"#,
                r#"{"type":"bytes","optional":true,"name":"org.apache.kafka.connect.data.Decimal","version":1,"#,
                r#""parameters":{"scale":"2"},"field":"price"},"#,
                r#"{"type":"array","items":{"type":"string","optional":false},"optional":false,"field":"tags"},"#,
                r#"{"type":"map","keys":{"type":"string","optional":false},"values":{"type":"double","optional":false},"#,
                r#""optional":false,"field":"rates"},"#,
                r#"{"type":"string","optional":false,"default":"new","field":"state"}],"#,
                r#""optional":false,"name":"com.acme.Order","version":3,"doc":"an \"order\""}"#,
            )
        );
    }
}
