//! `JsonConverter`: plain JSON, envelopes with schemas, and texts of a schema in the settings.

use bytes::Bytes;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Map, Value, json};

use super::check::{Check, Record};
use super::damage::{self, damaged};

const CLASS: &str = "org.apache.kafka.connect.json.JsonConverter";
const NUMBERS: [&str; 10] = [
    "0",
    "-0",
    "007",
    "1e5",
    "-1.5E-300",
    "9223372036854775807",
    "9223372036854775808",
    "NaN",
    "-Infinity",
    "123456789012345678901234567890.5",
];

/// Any JSON, some of it as only lenient readers take it.
fn plain(rng: &mut StdRng, depth: usize, out: &mut String) {
    let most = if depth > 5 { 5 } else { 8 };
    match rng.random_range(0..most) {
        0_u8 => out.push_str("null"),
        1 => out.push_str(if rng.random() { "true" } else { "false" }),
        2 => out.push_str(NUMBERS.choose(rng).unwrap()),
        3 => out.push_str(&json!(damage::double(rng)).to_string()),
        4 => out.push_str(&json!(damage::text(rng)).to_string()),
        5 => {
            out.push('[');
            for index in 0..rng.random_range(0..4) {
                if index > 0 {
                    out.push(',');
                }
                plain(rng, depth + 1, out);
            }
            out.push(']');
        }
        _ => {
            out.push('{');
            for index in 0..rng.random_range(0..4) {
                if index > 0 {
                    out.push_str(" ,\n");
                }
                out.push_str(&json!(damage::text(rng)).to_string());
                out.push(':');
                plain(rng, depth + 1, out);
            }
            out.push('}');
        }
    }
}

/// A schema as an envelope has it, with a payload of it.
fn typed(rng: &mut StdRng, depth: usize) -> (Value, Value) {
    let most = if depth > 4 { 8 } else { 12 };
    let (mut schema, payload) = match rng.random_range(0..most) {
        0_u8 => (json!({"type": "string"}), json!(damage::text(rng))),
        1 => (json!({"type": "boolean"}), json!(true)),
        2 => {
            let sizes = ["int8", "int16", "int32", "int64"];
            (
                json!({"type": sizes.choose(rng).unwrap()}),
                json!(rng.random_range(-120..120)),
            )
        }
        3 => (json!({"type": "int64"}), json!(damage::long(rng))),
        4 => {
            let sizes = ["float", "double"];
            (json!({"type": sizes.choose(rng).unwrap()}), json!(damage::double(rng)))
        }
        5 => (json!({"type": "bytes"}), json!("AAH/")),
        6 => (
            json!({"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}}),
            if rng.random() { json!("BOI=") } else { json!(12.5) },
        ),
        7 => {
            let (base, name) = *[("int32", "Date"), ("int32", "Time"), ("int64", "Timestamp")]
                .choose(rng)
                .unwrap();
            let name = format!("org.apache.kafka.connect.data.{name}");
            (
                json!({"type": base, "name": name}),
                json!(rng.random_range(0..80_000_000)),
            )
        }
        8 => {
            let (items, item) = typed(rng, depth + 1);
            (json!({"type": "array", "items": items}), json!([item]))
        }
        9 => {
            let (values, value) = typed(rng, depth + 1);
            (
                json!({"type": "map", "keys": {"type": "string"}, "values": values}),
                json!({ "k": value }),
            )
        }
        10 => {
            let (keys, key) = typed(rng, depth + 2);
            let (values, value) = typed(rng, depth + 2);
            (
                json!({"type": "map", "keys": keys, "values": values}),
                json!([[key, value]]),
            )
        }
        _ => {
            let mut fields = Vec::new();
            let mut members = Map::new();
            for index in 0..rng.random_range(0..5) {
                let (mut schema, value) = typed(rng, depth + 1);
                schema["field"] = json!(format!("f{index}"));
                fields.push(schema);
                members.insert(format!("f{index}"), value);
            }
            (
                json!({"type": "struct", "name": "S", "fields": fields}),
                Value::Object(members),
            )
        }
    };
    let payload = if rng.random_bool(0.2) {
        schema["optional"] = json!(true);
        if rng.random() { Value::Null } else { payload }
    } else {
        payload
    };
    if rng.random_bool(0.1) && !payload.is_null() {
        schema["default"] = payload.clone();
    }
    (schema, payload)
}

pub(crate) fn run(check: &mut Check, rng: &mut StdRng) -> Result<(), String> {
    let how = rng.random_range(0..3_u8);
    let (schema, payload) = typed(rng, 0);
    let content = schema.to_string();
    let valid = match how {
        0 => {
            let mut text = String::new();
            plain(rng, 0, &mut text);
            text
        }
        1 => json!({"schema": schema, "payload": payload}).to_string(),
        _ => payload.to_string(),
    };
    let mut settings = Check::flags(&["replace.null.with.default"], rng);
    settings.push(("schemas.enable", if how == 0 { "false" } else { "true" }));
    if how == 2 {
        settings.push(("schema.content", content.as_str()));
    }
    // A default that the schema does not allow is found when the settings are read.
    let Ok((converter, settings)) = check.try_converter(CLASS, &settings) else {
        return Ok(());
    };
    for _ in 0..50 {
        let bytes = if rng.random_bool(0.1) {
            valid.clone().into_bytes()
        } else {
            damaged(valid.as_bytes(), rng)
        };
        check.read(&Record {
            converter: &converter,
            settings: &settings,
            schema: if how == 2 { &content } else { "" },
            headers: &[],
            bytes: Bytes::from(bytes),
            inflated: 0,
            is_passed_on: how == 0,
        })?;
    }
    Ok(())
}
