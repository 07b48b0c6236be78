//! Avro: any schema, with data of it.

use std::collections::HashSet;

use bytes::Bytes;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::check::{Check, Record};
use super::damage::{self, damaged, damaged_text, zigzag};
use super::framing::{self, Frame};

const CLASS: &str = "io.confluent.connect.avro.AvroConverter";
const GLUE: &str = "com.amazonaws.services.schemaregistry.kafkaconnect.AWSKafkaAvroConverter";
const FLAGS: [&str; 5] = [
    "enhanced.avro.schema.support",
    "connect.meta.data",
    "flatten.singleton.unions",
    "generalized.sum.type.support",
    "discard.type.doc.default",
];
/// Records inside each other, about, before data ends where it can.
const DEEP: usize = 6;

#[derive(Clone)]
enum Type {
    Primitive(&'static str),
    /// A base type with a logical type.
    Logical(&'static str, &'static str),
    Fixed(usize, usize),
    Enum(usize, usize),
    Array(Box<Self>),
    Map(Box<Self>),
    Union(Vec<Self>),
    Record(usize),
}

#[derive(Clone)]
struct Schema {
    records: Vec<Vec<(String, Type)>>,
    root: Type,
    names: usize,
}

const LOGICAL: [(&str, &str); 13] = [
    ("int", "date"),
    ("int", "time-millis"),
    ("long", "time-micros"),
    ("long", "timestamp-millis"),
    ("long", "timestamp-micros"),
    ("long", "timestamp-nanos"),
    ("long", "local-timestamp-millis"),
    ("long", "local-timestamp-micros"),
    ("string", "uuid"),
    ("bytes", r#"decimal","precision":6,"scale":2,"x":""#),
    ("fixed16", "uuid"),
    ("fixed12", "duration"),
    ("fixed4", r#"decimal","precision":4,"scale":1,"x":""#),
];

impl Schema {
    fn any(rng: &mut StdRng) -> Self {
        let mut schema = Self {
            records: Vec::new(),
            root: Type::Primitive("null"),
            names: 0,
        };
        schema.root = if rng.random_bool(0.8) {
            schema.record(rng, 0)
        } else {
            schema.any_type(rng, 0)
        };
        schema
    }

    fn record(&mut self, rng: &mut StdRng, depth: usize) -> Type {
        let id = self.records.len();
        self.records.push(Vec::new());
        let count = rng.random_range(0..5);
        let fields = (0..count)
            .map(|index| {
                let type_ = if rng.random_bool(0.1) {
                    // Itself, or a record around it.
                    let other = Type::Record(rng.random_range(0..=id));
                    match rng.random_range(0..3_u8) {
                        0 => Type::Array(Box::new(other)),
                        1 => Type::Map(Box::new(other)),
                        _ => Type::Union(vec![Type::Primitive("null"), other]),
                    }
                } else {
                    self.any_type(rng, depth + 1)
                };
                (format!("f{index}"), type_)
            })
            .collect();
        self.records[id] = fields;
        Type::Record(id)
    }

    fn name(&mut self) -> usize {
        self.names += 1;
        self.names
    }

    fn any_type(&mut self, rng: &mut StdRng, depth: usize) -> Type {
        let primitives = ["boolean", "int", "long", "float", "double", "bytes", "string"];
        let most = if depth > 3 { 5 } else { 12 };
        match rng.random_range(0..most) {
            0..=2_u8 => Type::Primitive(primitives.choose(rng).unwrap()),
            3 => {
                let (base, logical) = *LOGICAL.choose(rng).unwrap();
                Type::Logical(base, logical)
            }
            4 => match rng.random() {
                true => Type::Fixed(self.name(), rng.random_range(0..5)),
                false => Type::Enum(self.name(), rng.random_range(1..4)),
            },
            5 | 6 => Type::Array(Box::new(self.any_type(rng, depth + 1))),
            7 => Type::Map(Box::new(self.any_type(rng, depth + 1))),
            8 | 9 => {
                let mut branches: Vec<Type> = ["null", "int", "string", "double", "bytes"]
                    .iter()
                    .filter(|_| rng.random_bool(0.4))
                    .map(|name| Type::Primitive(name))
                    .collect();
                if rng.random_bool(0.4) {
                    branches.push(self.record(rng, depth + 1));
                }
                if branches.is_empty() {
                    branches.push(Type::Enum(self.name(), 2));
                }
                Type::Union(branches)
            }
            _ => self.record(rng, depth + 1),
        }
    }

    fn json(&self) -> String {
        self.json_of(&self.root, &mut HashSet::new())
    }

    fn json_of(&self, type_: &Type, defined: &mut HashSet<usize>) -> String {
        match type_ {
            Type::Primitive(name) => format!(r#""{name}""#),
            Type::Logical(base, logical) => match base.strip_prefix("fixed") {
                // Each place has a type of its own.
                Some(size) => format!(
                    r#"{{"type":"fixed","name":"L{}","size":{size},"logicalType":"{logical}"}}"#,
                    {
                        defined.insert(1_000_000 + defined.len());
                        defined.len()
                    }
                ),
                None => format!(r#"{{"type":"{base}","logicalType":"{logical}"}}"#),
            },
            Type::Fixed(name, size) => format!(r#"{{"type":"fixed","name":"F{name}","size":{size}}}"#),
            Type::Enum(name, symbols) => {
                let symbols: Vec<String> = (0..*symbols).map(|symbol| format!(r#""S{symbol}""#)).collect();
                format!(
                    r#"{{"type":"enum","name":"E{name}","symbols":[{}]}}"#,
                    symbols.join(",")
                )
            }
            Type::Array(items) => format!(r#"{{"type":"array","items":{}}}"#, self.json_of(items, defined)),
            Type::Map(values) => format!(r#"{{"type":"map","values":{}}}"#, self.json_of(values, defined)),
            Type::Union(branches) => {
                let branches: Vec<String> = branches.iter().map(|branch| self.json_of(branch, defined)).collect();
                format!("[{}]", branches.join(","))
            }
            Type::Record(id) if !defined.insert(*id) => format!(r#""n.R{id}""#),
            Type::Record(id) => {
                let fields: Vec<String> = self.records[*id]
                    .iter()
                    .map(|(name, type_)| {
                        let default = match type_ {
                            Type::Primitive("int" | "long" | "double") if id % 2 == 0 => r#","default":7"#,
                            Type::Primitive("string") if id % 2 == 0 => r#","default":"d""#,
                            Type::Array(_) if id % 2 == 0 => r#","default":[]"#,
                            Type::Union(branches) if matches!(branches.first(), Some(Type::Primitive("null"))) => {
                                r#","default":null"#
                            }
                            _ => "",
                        };
                        format!(
                            r#"{{"name":"{name}","type":{}{default}}}"#,
                            self.json_of(type_, defined)
                        )
                    })
                    .collect();
                format!(
                    r#"{{"type":"record","name":"R{id}","namespace":"n","fields":[{}]}}"#,
                    fields.join(",")
                )
            }
        }
    }

    fn data(&self, rng: &mut StdRng) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&self.root, rng, 0, &mut out);
        out
    }

    fn write(&self, type_: &Type, rng: &mut StdRng, depth: usize, out: &mut Vec<u8>) {
        match type_ {
            Type::Primitive(name) => primitive(name, rng, out),
            Type::Logical(base, _) => match base.strip_prefix("fixed") {
                Some(size) => out.extend((0..size.parse::<usize>().unwrap()).map(|_| rng.random::<u8>())),
                None if *base == "bytes" => {
                    out.push(4);
                    out.extend([rng.random::<u8>(), rng.random()]);
                }
                // Small enough for dates and times of a day.
                None if *base == "string" => primitive(base, rng, out),
                None => zigzag(rng.random_range(0..80_000_000), out),
            },
            Type::Fixed(_, size) => out.extend((0..*size).map(|_| rng.random::<u8>())),
            Type::Enum(_, symbols) => zigzag(rng.random_range(0..*symbols as i64), out),
            Type::Array(items) => self.blocks(rng, depth, out, |rng, out| self.write(items, rng, depth + 1, out)),
            Type::Map(values) => self.blocks(rng, depth, out, |rng, out| {
                primitive("string", rng, out);
                self.write(values, rng, depth + 1, out);
            }),
            Type::Union(branches) => {
                let null = branches
                    .iter()
                    .position(|branch| matches!(branch, Type::Primitive("null")));
                let index = match null {
                    Some(null) if depth > DEEP => null,
                    _ => rng.random_range(0..branches.len()),
                };
                zigzag(index as i64, out);
                self.write(&branches[index], rng, depth + 1, out);
            }
            Type::Record(id) => {
                for (_, type_) in &self.records[*id] {
                    self.write(type_, rng, depth + 1, out);
                }
            }
        }
    }

    fn blocks(&self, rng: &mut StdRng, depth: usize, out: &mut Vec<u8>, item: impl Fn(&mut StdRng, &mut Vec<u8>)) {
        let blocks = if depth > DEEP { 0 } else { rng.random_range(0..3_u8) };
        for _ in 0..blocks {
            let count = rng.random_range(1..4_i64);
            let mut block = Vec::new();
            for _ in 0..count {
                item(rng, &mut block);
            }
            if rng.random() {
                zigzag(-count, out);
                zigzag(block.len() as i64, out);
            } else {
                zigzag(count, out);
            }
            out.extend(block);
        }
        out.push(0);
    }

    /// A later version of it: fields that come, go, move, or get wider types.
    fn evolved(&self, rng: &mut StdRng) -> Self {
        let mut next = self.clone();
        for fields in &mut next.records {
            fields.retain(|_| rng.random_bool(0.9));
            for (_, type_) in fields.iter_mut() {
                *type_ = match &*type_ {
                    Type::Primitive("int") if rng.random() => Type::Primitive("long"),
                    Type::Primitive("long") if rng.random() => Type::Primitive("double"),
                    Type::Primitive("string") if rng.random() => Type::Primitive("bytes"),
                    Type::Primitive(name) if rng.random_bool(0.2) => {
                        Type::Union(vec![Type::Primitive("null"), Type::Primitive(name)])
                    }
                    other => other.clone(),
                };
            }
            if rng.random_bool(0.3) {
                fields.reverse();
            }
            if rng.random_bool(0.3) {
                let branches = vec![Type::Primitive("null"), Type::Primitive("string")];
                fields.push(("added".to_owned(), Type::Union(branches)));
            }
        }
        next
    }
}

fn primitive(name: &str, rng: &mut StdRng, out: &mut Vec<u8>) {
    match name {
        "boolean" => out.push(rng.random_range(0..2)),
        "int" => zigzag(i64::from(damage::long(rng) as i32), out),
        "long" => zigzag(damage::long(rng), out),
        "float" => out.extend((damage::double(rng) as f32).to_le_bytes()),
        "double" => out.extend(damage::double(rng).to_le_bytes()),
        "bytes" | "string" => {
            let text = damage::text(rng);
            zigzag(text.len() as i64, out);
            out.extend(text.as_bytes());
        }
        _ => {}
    }
}

pub(crate) fn run(check: &mut Check, rng: &mut StdRng) -> Result<(), String> {
    let schema = Schema::any(rng);
    let mut text = schema.json();
    if rng.random_range(0..10_u8) == 0 {
        text = damaged_text(&text, rng);
    }
    let is_glue = rng.random_bool(0.2);
    let flags = if is_glue { &FLAGS[..2] } else { &FLAGS[..] };
    let settings = Check::flags(flags, rng);
    let (converter, settings) = check.converter(if is_glue { GLUE } else { CLASS }, &settings);
    let id = check.registry.add("AVRO", text.clone(), None);
    for _ in 0..30 {
        let valid = schema.data(rng);
        let payload = if rng.random_bool(0.2) {
            valid
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

/// Data that is brought to a later version of its schema.
pub(crate) fn run_resolved(check: &mut Check, rng: &mut StdRng) -> Result<(), String> {
    let schema = Schema::any(rng);
    let later = schema.evolved(rng).json();
    let text = schema.json();
    // A converter keeps the latest version that it found.
    let settings = [("use.latest.version", "true")];
    let (converter, settings) = check.try_converter(CLASS, &settings).unwrap();
    let id = check.registry.add("AVRO", text.clone(), Some(later.clone()));
    let both = format!("{text} brought to {later}");
    for _ in 0..30 {
        let valid = schema.data(rng);
        let payload = if rng.random_bool(0.3) {
            valid
        } else {
            damaged(&valid, rng)
        };
        let bytes = Bytes::from([&[0][..], &id.to_be_bytes(), &payload].concat());
        check.read(&Record {
            converter: &converter,
            settings: &settings,
            schema: &both,
            headers: &[],
            bytes,
            inflated: 0,
            is_passed_on: false,
        })?;
    }
    Ok(())
}
