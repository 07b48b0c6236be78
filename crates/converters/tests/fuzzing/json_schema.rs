//! JSON Schema: any schema, with JSON that is nearly of it.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Map, Value, json};

use super::check::{Check, Record};
use super::damage::{self, damaged, damaged_text};
use super::framing::{self, Frame};

const CLASS: &str = "io.confluent.connect.json.JsonSchemaConverter";
const GLUE: &str = "com.amazonaws.services.schemaregistry.kafkaconnect.jsonschema.JsonSchemaConverter";
const FLAGS: [&str; 5] = [
    "use.optional.for.nonrequired",
    "json.fail.invalid.schema",
    "generalized.sum.type.support",
    "ignore.modern.dialects",
    "preserve.additional.properties",
];
const DIALECTS: [&str; 4] = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
];
const LOGICAL: [(&str, &str, &str); 4] = [
    ("integer", "int32", "org.apache.kafka.connect.data.Date"),
    ("integer", "int32", "org.apache.kafka.connect.data.Time"),
    ("integer", "int64", "org.apache.kafka.connect.data.Timestamp"),
    ("number", "bytes", "org.apache.kafka.connect.data.Decimal"),
];

/// A schema, and a value that is mostly of it.
fn any(rng: &mut StdRng, depth: usize) -> (Value, Value) {
    let most = if depth > 4 { 7 } else { 14 };
    match rng.random_range(0..most) {
        0_u8 => (json!({"type": "string", "maxLength": 20}), json!(damage::text(rng))),
        1 => (json!({"type": "boolean"}), json!(rng.random::<bool>())),
        2 => {
            let sizes = ["int8", "int16", "int32", "int64", "float32", "float64"];
            let size = *sizes.choose(rng).unwrap();
            let name = if size.starts_with('i') { "integer" } else { "number" };
            (
                json!({"type": name, "connect.type": size}),
                json!(rng.random_range(-100..100)),
            )
        }
        3 => (json!({"type": "integer"}), json!(damage::long(rng))),
        4 => (json!({"type": "number"}), json!(damage::double(rng))),
        5 => {
            let (base, size, name) = *LOGICAL.choose(rng).unwrap();
            let schema = json!({"type": base, "connect.type": size, "title": name, "connect.name": name, "connect.parameters": {"scale": "2"}});
            (schema, json!(rng.random_range(0..80_000)))
        }
        6 => (json!({"type": "string", "enum": ["A", "B"]}), json!("A")),
        7 => {
            let (items, item) = any(rng, depth + 1);
            let count = rng.random_range(0..4);
            (
                json!({"type": "array", "items": items}),
                Value::Array(vec![item; count]),
            )
        }
        8 => {
            let (values, value) = any(rng, depth + 1);
            let members: Map<String, Value> = (0..rng.random_range(0..3))
                .map(|n| (format!("k{n}"), value.clone()))
                .collect();
            (
                json!({"type": "object", "connect.type": "map", "additionalProperties": values}),
                Value::Object(members),
            )
        }
        9 => {
            let (values, value) = any(rng, depth + 1);
            let entries = vec![json!({"key": 1, "value": value}); rng.random_range(0..2)];
            (
                json!({"type": "array", "connect.type": "map", "items": {"type": "object", "properties": {"key": {"type": "integer"}, "value": values}}}),
                Value::Array(entries),
            )
        }
        10 => {
            let parts: Vec<(Value, Value)> = (0..rng.random_range(1..4)).map(|_| any(rng, depth + 1)).collect();
            let value = parts.choose(rng).unwrap().1.clone();
            let mut schemas: Vec<Value> = parts.into_iter().map(|(schema, _)| schema).collect();
            if rng.random() {
                schemas.insert(0, json!({"type": "null"}));
            }
            let key = *["oneOf", "anyOf", "allOf"].choose(rng).unwrap();
            (json!({ key: schemas }), value)
        }
        11 => (json!({"oneOf": [{"type": "null"}, {"$ref": "#"}]}), Value::Null),
        _ => {
            let mut properties = Map::new();
            let mut members = Map::new();
            for index in 0..rng.random_range(0..5) {
                let (mut schema, value) = any(rng, depth + 1);
                if rng.random_bool(0.2)
                    && let Some(schema) = schema.as_object_mut()
                {
                    schema.insert("default".to_owned(), value.clone());
                }
                properties.insert(format!("p{index}"), schema);
                if rng.random_bool(0.9) {
                    members.insert(format!("p{index}"), value);
                }
            }
            if rng.random_bool(0.2) {
                members.insert("unknown".to_owned(), json!({"x": [1, "y", null]}));
            }
            (
                json!({"type": "object", "title": format!("T{depth}"), "properties": properties, "required": ["p0"]}),
                Value::Object(members),
            )
        }
    }
}

pub(crate) fn run(check: &mut Check, rng: &mut StdRng) -> Result<(), String> {
    let (mut schema, value) = any(rng, 0);
    if rng.random_bool(0.5)
        && let Some(schema) = schema.as_object_mut()
    {
        schema.insert("$schema".to_owned(), json!(DIALECTS.choose(rng).unwrap()));
    }
    let mut text = schema.to_string();
    if rng.random_range(0..8_u8) == 0 {
        text = damaged_text(&text, rng);
    }
    let is_glue = rng.random_bool(0.3);
    let settings = Check::flags(if is_glue { &FLAGS[..2] } else { &FLAGS }, rng);
    let (converter, settings) = check.converter(if is_glue { GLUE } else { CLASS }, &settings);
    let id = check.registry.add("JSON", text.clone(), None);
    let valid = value.to_string().into_bytes();
    for _ in 0..30 {
        let payload = if rng.random_bool(0.1) {
            valid.clone()
        } else {
            damaged(&valid, rng)
        };
        let Frame {
            headers,
            bytes,
            inflated,
        } = framing::frame(id, &payload, is_glue, rng);
        check.read(&Record {
            converter: &converter,
            settings: &settings,
            schema: &text,
            headers: &headers,
            bytes,
            inflated,
            is_passed_on: false,
        })?;
    }
    Ok(())
}
