//! Protobuf: any schema, with messages of it.

use std::fmt::Write as _;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::check::{Check, Record};
use super::damage::{self, damaged, damaged_text, varint, zigzag};
use super::framing::{self, Frame};

const CLASS: &str = "io.confluent.connect.protobuf.ProtobufConverter";
const GLUE: &str = "com.amazonaws.services.schemaregistry.kafkaconnect.protobuf.ProtobufSchemaConverter";
const FLAGS: [&str; 10] = [
    "enhanced.protobuf.schema.support",
    "generalized.sum.type.support",
    "int.for.enums",
    "optional.for.nullables",
    "optional.for.proto2",
    "wrapper.for.nullables",
    "wrapper.for.raw.primitives",
    "generate.struct.for.nulls",
    "generate.index.for.unions",
    "flatten.unions",
];
const SCALARS: [&str; 15] = [
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32",
    "sfixed64", "bool", "string", "bytes",
];
const KNOWN: [&str; 9] = [
    "google.protobuf.Timestamp",
    "google.type.Date",
    "google.type.TimeOfDay",
    "google.protobuf.Int32Value",
    "google.protobuf.StringValue",
    "google.protobuf.DoubleValue",
    "google.protobuf.Struct",
    "google.protobuf.Duration",
    "confluent.type.Decimal",
];
const IMPORTS: &str = r#"import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/duration.proto";
import "google/type/date.proto";
import "google/type/timeofday.proto";
import "confluent/type/decimal.proto";
"#;

#[derive(Clone, Copy, PartialEq)]
enum Label {
    Plain,
    Optional,
    Repeated,
    Required,
    Oneof,
    Map(&'static str),
}

#[derive(Clone, Copy)]
enum Kind {
    Scalar(&'static str),
    Enum,
    Message(usize),
    Known(&'static str),
}

struct Field {
    number: u64,
    label: Label,
    kind: Kind,
}

/// Messages `M0` and so on; those after the first three are declared inside of the first.
struct Schema {
    is_proto2: bool,
    messages: Vec<Vec<Field>>,
}

const TOP: usize = 3;

fn full(message: usize) -> String {
    if message < TOP {
        format!("p.M{message}")
    } else {
        format!("p.M0.M{message}")
    }
}

impl Schema {
    fn any(rng: &mut StdRng) -> Self {
        let is_proto2 = rng.random_bool(0.3);
        let count = rng.random_range(TOP..7);
        let messages = (0..count).map(|_| Self::fields(is_proto2, count, rng)).collect();
        Self { is_proto2, messages }
    }

    fn fields(is_proto2: bool, messages: usize, rng: &mut StdRng) -> Vec<Field> {
        let mut number = 0;
        (0..rng.random_range(0..7))
            .map(|_| {
                number += if rng.random_bool(0.1) {
                    rng.random_range(1..3000)
                } else {
                    1
                };
                let label = match rng.random_range(0..10_u8) {
                    0 | 1 => Label::Repeated,
                    2 => Label::Optional,
                    3 | 4 => Label::Oneof,
                    5 => Label::Map(["string", "int32", "bool", "sint64", "fixed32"].choose(rng).unwrap()),
                    6 if is_proto2 && rng.random_bool(0.2) => Label::Required,
                    _ if is_proto2 => Label::Optional,
                    _ => Label::Plain,
                };
                let kind = match rng.random_range(0..10_u8) {
                    0 => Kind::Enum,
                    1 | 2 => Kind::Message(rng.random_range(0..messages)),
                    3 => Kind::Known(KNOWN.choose(rng).unwrap()),
                    _ => Kind::Scalar(SCALARS.choose(rng).unwrap()),
                };
                // A message that has to hold itself has no data.
                let kind = match (label, kind) {
                    (Label::Required, Kind::Message(_)) => Kind::Enum,
                    (_, kind) => kind,
                };
                Field { number, label, kind }
            })
            .collect()
    }

    fn text(&self) -> String {
        let syntax = if self.is_proto2 { "proto2" } else { "proto3" };
        let mut out = format!("syntax = \"{syntax}\";\npackage p;\n{IMPORTS}enum E {{ A = 0; B = 1; C = -5; }}\n");
        for message in 0..TOP {
            self.message(message, &mut out);
        }
        out
    }

    fn message(&self, id: usize, out: &mut String) {
        writeln!(out, "message M{id} {{").unwrap();
        let mut oneof = String::new();
        for field in &self.messages[id] {
            let kind = match field.kind {
                Kind::Scalar(name) | Kind::Known(name) => name.to_owned(),
                Kind::Enum => "E".to_owned(),
                Kind::Message(id) => format!(".{}", full(id)),
            };
            let declared = format!("{kind} f{0} = {0}", field.number);
            match field.label {
                Label::Plain => writeln!(out, "  {declared};"),
                Label::Optional => writeln!(out, "  optional {declared};"),
                Label::Repeated => writeln!(out, "  repeated {declared};"),
                Label::Required => writeln!(out, "  required {declared};"),
                Label::Map(key) => writeln!(out, "  map<{key}, {kind}> f{0} = {0};", field.number),
                Label::Oneof => writeln!(oneof, "    {declared};"),
            }
            .unwrap();
        }
        if !oneof.is_empty() {
            writeln!(out, "  oneof choice {{\n{oneof}  }}").unwrap();
        }
        if id == 0 {
            for nested in TOP..self.messages.len() {
                self.message(nested, out);
            }
        }
        out.push_str("}\n");
    }

    /// The names of all messages and map entries, as AWS counts them.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = (0..self.messages.len()).map(full).collect();
        for (id, fields) in self.messages.iter().enumerate() {
            let maps = fields.iter().filter(|field| matches!(field.label, Label::Map(_)));
            names.extend(maps.map(|field| format!("{}.F{}Entry", full(id), field.number)));
        }
        names.sort();
        names
    }

    fn data(&self, id: usize, rng: &mut StdRng, depth: usize) -> Vec<u8> {
        let mut parts = Vec::new();
        for field in &self.messages[id] {
            let is_deep = depth > 5 && matches!(field.kind, Kind::Message(_));
            let count = match field.label {
                Label::Required => 1,
                _ if is_deep => 0,
                Label::Repeated | Label::Map(_) => rng.random_range(0..4),
                Label::Plain | Label::Optional | Label::Oneof => rng.random_range(0..2),
            };
            let is_packed = field.label == Label::Repeated && rng.random();
            if let (true, Kind::Scalar(name)) = (is_packed, field.kind)
                && wire(name) != 2
            {
                let run: Vec<u8> = (0..count).flat_map(|_| scalar(name, rng)).collect();
                parts.push(tagged(field.number, 2, &run));
                continue;
            }
            for _ in 0..count {
                let (wire, value) = self.value(field.kind, rng, depth);
                parts.push(match field.label {
                    Label::Map(key) => {
                        let key = tagged(1, self::wire(key), &scalar(key, rng));
                        tagged(field.number, 2, &[key, tagged(2, wire, &value)].concat())
                    }
                    _ => tagged(field.number, wire, &value),
                });
            }
        }
        if rng.random_bool(0.1) {
            parts.push(tagged(rng.random_range(1..5000), 2, b"unknown"));
        }
        parts.shuffle(rng);
        parts.concat()
    }

    fn value(&self, kind: Kind, rng: &mut StdRng, depth: usize) -> (u64, Vec<u8>) {
        match kind {
            Kind::Scalar(name) => (wire(name), scalar(name, rng)),
            Kind::Enum => {
                let mut out = Vec::new();
                varint(*[0, 1, 7, u64::MAX - 4].choose(rng).unwrap(), &mut out);
                (0, out)
            }
            Kind::Message(id) => (2, self.data(id, rng, depth + 1)),
            Kind::Known(name) => (2, known(name, rng)),
        }
    }
}

fn known(name: &str, rng: &mut StdRng) -> Vec<u8> {
    let number = |field, value: u64| {
        let mut out = Vec::new();
        varint(value, &mut out);
        tagged(field, 0, &out)
    };
    match name {
        "google.type.Date" => [
            number(1, 2024),
            number(2, rng.random_range(1..13)),
            number(3, rng.random_range(1..29)),
        ]
        .concat(),
        "google.type.TimeOfDay" => number(1, rng.random_range(0..24)),
        "google.protobuf.StringValue" => tagged(1, 2, damage::text(rng).as_bytes()),
        "google.protobuf.DoubleValue" => tagged(1, 1, &damage::double(rng).to_le_bytes()),
        "confluent.type.Decimal" => tagged(1, 2, &[rng.random(), rng.random()]),
        "google.protobuf.Struct" => {
            let text = tagged(3, 2, b"x");
            tagged(1, 2, &[tagged(1, 2, b"k"), tagged(2, 2, &text)].concat())
        }
        _ => number(1, rng.random_range(0..1 << 31)),
    }
}

fn wire(name: &str) -> u64 {
    match name {
        "double" | "fixed64" | "sfixed64" => 1,
        "float" | "fixed32" | "sfixed32" => 5,
        "string" | "bytes" => 2,
        _ => 0,
    }
}

fn scalar(name: &str, rng: &mut StdRng) -> Vec<u8> {
    let mut out = Vec::new();
    match name {
        "double" => out.extend(damage::double(rng).to_le_bytes()),
        "float" => out.extend((damage::double(rng) as f32).to_le_bytes()),
        "fixed64" | "sfixed64" => out.extend(damage::long(rng).to_le_bytes()),
        "fixed32" | "sfixed32" => out.extend((damage::long(rng) as i32).to_le_bytes()),
        "string" | "bytes" => out.extend(damage::text(rng).as_bytes()),
        "bool" => out.push(rng.random_range(0..2)),
        "sint32" => zigzag(i64::from(damage::long(rng) as i32), &mut out),
        "sint64" => zigzag(damage::long(rng), &mut out),
        "uint32" => varint(u64::from(damage::long(rng) as u32), &mut out),
        "int32" => varint(i64::from(damage::long(rng) as i32) as u64, &mut out),
        _ => varint(damage::long(rng) as u64, &mut out),
    }
    out
}

fn tagged(number: u64, wire: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3 | wire, &mut out);
    if wire == 2 {
        varint(value.len() as u64, &mut out);
    }
    out.extend(value);
    out
}

pub(crate) fn run(check: &mut Check, rng: &mut StdRng) -> Result<(), String> {
    let schema = Schema::any(rng);
    let mut text = schema.text();
    if rng.random_range(0..20_u8) == 0 {
        text = damaged_text(&text, rng);
    }
    let is_glue = rng.random_bool(0.3);
    let settings = Check::flags(if is_glue { &[] } else { &FLAGS }, rng);
    let (converter, settings) = check.converter(if is_glue { GLUE } else { CLASS }, &settings);
    let id = check.registry.add("PROTOBUF", text.clone(), None);
    let names = schema.names();
    for _ in 0..30 {
        let message = rng.random_range(0..schema.messages.len());
        let mut valid = Vec::new();
        if is_glue {
            let index = names.iter().position(|name| *name == full(message)).unwrap();
            varint(index as u64, &mut valid);
        } else if message < TOP {
            zigzag(1, &mut valid);
            zigzag(message as i64, &mut valid);
        } else {
            zigzag(2, &mut valid);
            zigzag(0, &mut valid);
            zigzag((message - TOP) as i64, &mut valid);
        }
        let front = valid.len();
        valid.extend(schema.data(message, rng, 0));
        let payload = match rng.random_range(0..10_u8) {
            0 | 1 => valid,
            2 => damaged(&valid, rng),
            // Which message it is stays.
            _ => [&valid[..front], &damaged(&valid[front..], rng)].concat(),
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
