//! Brings Avro data from the schema that it was written with to a later one, by Avro's rules for schema resolution
//! (Avro specification, "Schema Resolution").
//!
//! The result is Avro data again, of the later schema: reading and transcoding know nothing of it. What does not fit is
//! an error when it is met, as Avro asks, so that the branches of a union that do fit can be read.
#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;

use klamm_connect_api::{DataError, Value};

use super::cursor::{Blocks, Cursor};
use super::schema::{Field, Kind, Type, TypeId, Types};

/// Types inside each other, at most.
const MAX_DEPTH: usize = 300;
/// Values that a default may be made of, those that it is worked out from included.
const DEFAULT_STEPS: usize = 100_000;
/// Bytes of a record in its later schema, at most: small records may have large defaults, many times.
const BROUGHT_BYTES: usize = 64 * 1024 * 1024;

type StepId = usize;

/// How data of one schema becomes data of another.
#[derive(Debug)]
pub(super) struct Resolution {
    steps: Vec<Step>,
    root: StepId,
    /// A root of bytes is written without its length, on either side.
    written_raw: bool,
    read_raw: bool,
}

#[derive(Debug)]
enum Step {
    Pending,
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Fixed(usize),
    IntToLong,
    IntToFloat,
    IntToDouble,
    LongToFloat,
    LongToDouble,
    FloatToDouble,
    /// For each symbol as written its position now.
    Enum(Vec<Option<usize>>),
    Array(StepId),
    Map(StepId),
    Record {
        written: Vec<WrittenField>,
        read: Vec<ReadField>,
    },
    /// A union as written: a step for each branch.
    OneOf(Vec<StepId>),
    /// A union now: the branch for it.
    Branch(usize, StepId),
    /// Data of this type cannot be brought to the other one.
    Never(String),
}

#[derive(Debug)]
struct WrittenField {
    name: String,
    step: StepId,
    is_kept: bool,
}

#[derive(Debug)]
enum ReadField {
    /// By its position among the written fields.
    Written(usize),
    /// Encoded.
    Default(Vec<u8>),
}

impl Resolution {
    pub(super) fn new(writer: (&Types, TypeId), reader: (&Types, TypeId)) -> Result<Self, DataError> {
        let mut resolver = Resolver {
            writer: writer.0,
            reader: reader.0,
            steps: Vec::new(),
            records: HashMap::new(),
            depth: 0,
        };
        let root = resolver.to(false, writer.1, reader.1)?;
        Ok(Self {
            steps: resolver.steps,
            root,
            written_raw: matches!(writer.0.get(writer.1).kind, Kind::Bytes),
            read_raw: matches!(reader.0.get(reader.1).kind, Kind::Bytes),
        })
    }

    #[expect(clippy::indexing_slicing, reason = "ids are handed out by `Resolver::push` only")]
    fn step(&self, id: StepId) -> &Step {
        &self.steps[id]
    }

    /// The data as the later schema has it.
    pub(super) fn bring(&self, payload: &[u8]) -> Result<Vec<u8>, DataError> {
        let mut framed = Vec::new();
        let written = if self.written_raw {
            bytes(payload, &mut framed);
            framed.as_slice()
        } else {
            payload
        };
        let mut out = Vec::with_capacity(payload.len());
        self.write(self.root, &mut Cursor::new(written), &mut out)?;
        if self.read_raw {
            return Ok(Cursor::new(&out).bytes()?.to_vec());
        }
        Ok(out)
    }

    fn write(&self, id: StepId, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
        match self.step(id) {
            Step::Record { written, read } => self.record(written, read, cursor, out),
            Step::Array(items) => self.blocks(*items, false, cursor, out),
            Step::Map(values) => self.blocks(*values, true, cursor, out),
            Step::OneOf(branches) => {
                let index = cursor.index(branches.len(), "branch")?;
                match branches.get(index) {
                    Some(branch) => self.write(*branch, cursor, out),
                    None => Ok(()),
                }
            }
            Step::Branch(index, step) => {
                count(*index, out);
                self.write(*step, cursor, out)
            }
            scalar => write_scalar(scalar, cursor, out),
        }
    }

    fn record(
        &self,
        written: &[WrittenField],
        read: &[ReadField],
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        cursor.enter()?;
        let mut values = Vec::new();
        let mut places = Vec::with_capacity(written.len());
        for field in written {
            let from = values.len();
            if let Err(error) = self.write(field.step, cursor, &mut values) {
                return Err(error.at(&format!("field `{}`", field.name)));
            }
            if !field.is_kept {
                values.truncate(from);
            }
            places.push(from..values.len());
        }
        for field in read {
            match field {
                ReadField::Written(index) => {
                    let place = places.get(*index).cloned().unwrap_or_default();
                    out.extend_from_slice(values.get(place).unwrap_or_default());
                }
                ReadField::Default(encoded) => out.extend_from_slice(encoded),
            }
        }
        if out.len() > BROUGHT_BYTES {
            return Err(DataError::data(format!(
                "brought to the later schema the record has more than {BROUGHT_BYTES} bytes, most of them defaults"
            )));
        }
        cursor.leave();
        Ok(())
    }

    /// Each item goes out as a block of its own: how many there are is only known at the end.
    fn blocks(
        &self,
        items: StepId,
        has_keys: bool,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let mut blocks = Blocks::default();
        cursor.enter()?;
        while cursor.next_item(&mut blocks)? {
            count(1, out);
            if has_keys {
                bytes(cursor.bytes()?, out);
            }
            self.write(items, cursor, out)?;
        }
        out.push(0);
        cursor.leave();
        Ok(())
    }
}

fn write_scalar(step: &Step, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DataError> {
    match step {
        Step::Null => {}
        Step::Boolean => out.push(u8::from(cursor.boolean()?)),
        Step::Int | Step::IntToLong => long(i64::from(cursor.int()?), out),
        Step::Long => long(cursor.long()?, out),
        Step::Float => out.extend_from_slice(&cursor.float()?.to_le_bytes()),
        Step::Double => out.extend_from_slice(&cursor.double()?.to_le_bytes()),
        Step::Bytes => bytes(cursor.bytes()?, out),
        Step::Fixed(size) => out.extend_from_slice(cursor.fixed(*size)?),
        #[expect(clippy::cast_precision_loss, reason = "Avro's promotion to float rounds")]
        Step::IntToFloat => out.extend_from_slice(&(cursor.int()? as f32).to_le_bytes()),
        Step::IntToDouble => out.extend_from_slice(&f64::from(cursor.int()?).to_le_bytes()),
        #[expect(clippy::cast_precision_loss, reason = "Avro's promotion to float rounds")]
        Step::LongToFloat => out.extend_from_slice(&(cursor.long()? as f32).to_le_bytes()),
        #[expect(clippy::cast_precision_loss, reason = "Avro's promotion to double rounds")]
        Step::LongToDouble => out.extend_from_slice(&(cursor.long()? as f64).to_le_bytes()),
        Step::FloatToDouble => out.extend_from_slice(&f64::from(cursor.float()?).to_le_bytes()),
        Step::Enum(positions) => {
            let index = cursor.index(positions.len(), "symbol")?;
            match positions.get(index).copied().flatten() {
                Some(position) => count(position, out),
                None => {
                    return Err(DataError::data(format!(
                        "symbol {index} of the enum is not in the later schema, which has no default for it"
                    )));
                }
            }
        }
        Step::Never(why) => return Err(DataError::data(why.clone())),
        Step::Pending | Step::Array(_) | Step::Map(_) | Step::Record { .. } | Step::OneOf(_) | Step::Branch(..) => {
            return Err(DataError::data("a type that was not worked out"));
        }
    }
    Ok(())
}

fn long(number: i64, out: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest > 0x7f {
        out.extend(u8::try_from(rest & 0x7f | 0x80));
        rest >>= 7;
    }
    out.extend(u8::try_from(rest));
}

fn count(number: usize, out: &mut Vec<u8>) {
    long(i64::try_from(number).unwrap_or(i64::MAX), out);
}

fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    count(bytes.len(), out);
    out.extend_from_slice(bytes);
}

struct Resolver<'a> {
    writer: &'a Types,
    reader: &'a Types,
    steps: Vec<Step>,
    /// Records that have a step already, by both types; those that are only skipped have themselves as the later type.
    records: HashMap<(TypeId, TypeId, bool), StepId>,
    depth: usize,
}

impl<'a> Resolver<'a> {
    fn push(&mut self, step: Step) -> StepId {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// The step from a written type to one of the later schema, or to one of the same schema where data is skipped.
    fn to(&mut self, skips: bool, written: TypeId, read: TypeId) -> Result<StepId, DataError> {
        if self.depth > MAX_DEPTH {
            return Err(DataError::data(format!(
                "the Avro schema is nested more than {MAX_DEPTH} levels deep"
            )));
        }
        self.depth += 1;
        let step = self.work_out(skips, written, read)?;
        self.depth -= 1;
        Ok(step)
    }

    fn target(&self, skips: bool, id: TypeId) -> &'a Type {
        if skips {
            self.writer.get(id)
        } else {
            self.reader.get(id)
        }
    }

    fn work_out(&mut self, skips: bool, written: TypeId, read: TypeId) -> Result<StepId, DataError> {
        let writer = self.writer.get(written);
        let reader = self.target(skips, read);
        if let Kind::Union(branches) = &writer.kind {
            let mut steps = Vec::with_capacity(branches.len());
            for (index, branch) in branches.iter().enumerate() {
                // Skipped data is brought to nothing but itself.
                let read = match &reader.kind {
                    Kind::Union(own) if skips => own.get(index).copied().unwrap_or(read),
                    _ => read,
                };
                steps.push(self.to(skips, *branch, read)?);
            }
            return Ok(self.push(Step::OneOf(steps)));
        }
        if let Kind::Union(branches) = &reader.kind {
            let fits = |id: &TypeId, promotes: bool| fit(writer, self.target(skips, *id), promotes);
            let same = branches.iter().position(|id| fits(id, false));
            let branch = same.or_else(|| branches.iter().position(|id| fits(id, true)));
            return Ok(match branch.and_then(|index| Some((index, *branches.get(index)?))) {
                Some((index, branch)) => {
                    let step = self.to(skips, written, branch)?;
                    self.push(Step::Branch(index, step))
                }
                None => self.never(writer, reader),
            });
        }
        let step = match (&writer.kind, &reader.kind) {
            (Kind::Record { .. }, Kind::Record { .. }) => return self.record(skips, written, read),
            (Kind::Array(written), Kind::Array(read)) => Step::Array(self.to(skips, *written, *read)?),
            (Kind::Map(written), Kind::Map(read)) => Step::Map(self.to(skips, *written, *read)?),
            (Kind::Enum { symbols, .. }, Kind::Enum { symbols: known, .. }) if same_name(writer, reader) => {
                let default = reader.text("default");
                let position = |symbol: &str| known.iter().position(|known| known == symbol);
                Step::Enum(
                    symbols
                        .iter()
                        .map(|symbol| position(symbol).or_else(|| position(default?)))
                        .collect(),
                )
            }
            (Kind::Fixed { size, .. }, Kind::Fixed { size: wanted, .. })
                if size == wanted && same_name(writer, reader) =>
            {
                Step::Fixed(*size)
            }
            (Kind::Null, Kind::Null) => Step::Null,
            (Kind::Boolean, Kind::Boolean) => Step::Boolean,
            (Kind::Int, Kind::Int) => Step::Int,
            (Kind::Int, Kind::Long) => Step::IntToLong,
            (Kind::Int, Kind::Float) => Step::IntToFloat,
            (Kind::Int, Kind::Double) => Step::IntToDouble,
            (Kind::Long, Kind::Long) => Step::Long,
            (Kind::Long, Kind::Float) => Step::LongToFloat,
            (Kind::Long, Kind::Double) => Step::LongToDouble,
            (Kind::Float, Kind::Float) => Step::Float,
            (Kind::Float, Kind::Double) => Step::FloatToDouble,
            (Kind::Double, Kind::Double) => Step::Double,
            (Kind::Bytes | Kind::String, Kind::Bytes | Kind::String) => Step::Bytes,
            _ => return Ok(self.never(writer, reader)),
        };
        Ok(self.push(step))
    }

    fn never(&mut self, writer: &Type, reader: &Type) -> StepId {
        let name = |type_: &Type| match type_.kind.name() {
            Some(name) => format!("{} `{}`", type_.kind.word(), name.full()),
            None => type_.kind.word().to_owned(),
        };
        self.push(Step::Never(format!(
            "a value that was written as {} cannot be read as {} of the later schema",
            name(writer),
            name(reader)
        )))
    }

    fn record(&mut self, skips: bool, written: TypeId, read: TypeId) -> Result<StepId, DataError> {
        if let Some(known) = self.records.get(&(written, read, skips)) {
            return Ok(*known);
        }
        let id = self.push(Step::Pending);
        self.records.insert((written, read, skips), id);
        let types = self.writer;
        let (Kind::Record { fields: had, .. }, Kind::Record { fields: wanted, name }) =
            (&types.get(written).kind, &self.target(skips, read).kind)
        else {
            return Ok(id);
        };
        let mut fields = Vec::with_capacity(had.len());
        // Each written field is one later field, and the other way round.
        let becomes: Vec<Option<usize>> = had
            .iter()
            .map(|field| {
                wanted
                    .iter()
                    .position(|later| is_field(later, &field.name, had, wanted))
            })
            .collect();
        for (field, later) in had.iter().zip(&becomes) {
            let later = later.and_then(|index| wanted.get(index));
            let step = match later {
                Some(later) => self.to(skips, field.type_id, later.type_id)?,
                None => self.to(true, field.type_id, field.type_id)?,
            };
            fields.push(WrittenField {
                name: field.name.clone(),
                step,
                is_kept: later.is_some(),
            });
        }
        let mut missing = None;
        let mut order = Vec::with_capacity(wanted.len());
        for (index, field) in wanted.iter().enumerate() {
            let place = becomes.iter().position(|later| *later == Some(index));
            let source = match place {
                Some(index) => ReadField::Written(index),
                None => {
                    let mut encoded = Vec::new();
                    let mut steps = DEFAULT_STEPS;
                    match default(
                        if skips { types } else { self.reader },
                        field,
                        &mut encoded,
                        0,
                        &mut steps,
                    ) {
                        Ok(()) => ReadField::Default(encoded),
                        Err(error) => {
                            missing
                                .get_or_insert_with(|| format!("field `{}` of `{}`: {error}", field.name, name.full()));
                            continue;
                        }
                    }
                }
            };
            order.push(source);
        }
        let step = match missing {
            Some(why) => Step::Never(why),
            None => Step::Record {
                written: fields,
                read: order,
            },
        };
        if let Some(slot) = self.steps.get_mut(id) {
            *slot = step;
        }
        Ok(id)
    }
}

/// Whether the later field `later` is what was written under `name`: by its own name, or by an alias unless either side
/// has a field of the other's name.
fn is_field(later: &Field, name: &str, written: &[Field], wanted: &[Field]) -> bool {
    let has = |fields: &[Field], name: &str| fields.iter().any(|field| field.name == name);
    later.name == name
        || (later.aliases.iter().any(|alias| alias == name) && !has(written, &later.name) && !has(wanted, name))
}

fn same_name(writer: &Type, reader: &Type) -> bool {
    let (Some(written), Some(read)) = (writer.kind.name(), reader.kind.name()) else {
        return false;
    };
    written.short == read.short
        || reader
            .texts("aliases")
            .any(|alias| alias == written.full() || alias == written.short)
}

/// Whether a value as written can be one of a union's branches.
fn fit(writer: &Type, branch: &Type, promotes: bool) -> bool {
    use Kind::{Array, Boolean, Bytes, Double, Enum, Fixed, Float, Int, Long, Map, Null, Record, String};
    match (&writer.kind, &branch.kind) {
        (Record { .. }, Record { .. }) | (Enum { .. }, Enum { .. }) | (Fixed { .. }, Fixed { .. }) => {
            same_name(writer, branch)
        }
        (Null, Null)
        | (Boolean, Boolean)
        | (Int, Int)
        | (Long, Long)
        | (Float, Float)
        | (Double, Double)
        | (Bytes, Bytes)
        | (String, String)
        | (Array(_), Array(_))
        | (Map(_), Map(_)) => true,
        (Int, Long | Float | Double) | (Long, Float | Double) | (Float, Double) | (Bytes, String) | (String, Bytes) => {
            promotes
        }
        _ => false,
    }
}

/// A field's default as Avro data.
fn default(types: &Types, field: &Field, out: &mut Vec<u8>, depth: usize, steps: &mut usize) -> Result<(), DataError> {
    match (&field.default, field.has_null_default) {
        (Some(json), _) => encode(types, field.type_id, json, out, depth, steps),
        (None, true) => encode(types, field.type_id, &Value::Null, out, depth, steps),
        (None, false) => Err(DataError::data(
            "it was not written, and the later schema has no default for it",
        )),
    }
}

fn encode(
    types: &Types,
    id: TypeId,
    json: &Value,
    out: &mut Vec<u8>,
    depth: usize,
    steps: &mut usize,
) -> Result<(), DataError> {
    let type_ = types.get(id);
    let unfit = || DataError::data(format!("its default does not fit the type {}", type_.kind.word()));
    if depth > MAX_DEPTH {
        return Err(unfit());
    }
    // Defaults of records may use defaults of their fields, again and again.
    *steps = steps.checked_sub(1).ok_or_else(|| {
        DataError::data(format!(
            "its default takes more than {DEFAULT_STEPS} values to work out"
        ))
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a default that is written as an integer")]
    let float = || match json {
        Value::Float64(number) => Ok(*number),
        Value::Int64(number) => Ok(*number as f64),
        _ => Err(unfit()),
    };
    let raw = |text: &str| -> Result<Vec<u8>, DataError> {
        // Each character stands for the byte of its number.
        text.chars()
            .map(|char| u8::try_from(char).map_err(|_| unfit()))
            .collect()
    };
    match (&type_.kind, json) {
        (Kind::Null, Value::Null) => {}
        (Kind::Boolean, Value::Boolean(value)) => out.push(u8::from(*value)),
        (Kind::Int | Kind::Long, Value::Int64(number)) => long(*number, out),
        #[expect(clippy::cast_possible_truncation, reason = "rounded to the type's width")]
        (Kind::Float, _) => out.extend_from_slice(&(float()? as f32).to_le_bytes()),
        (Kind::Double, _) => out.extend_from_slice(&float()?.to_le_bytes()),
        (Kind::String, Value::String(text)) => bytes(text.as_bytes(), out),
        (Kind::Bytes, Value::String(text)) => bytes(&raw(text)?, out),
        (Kind::Fixed { size, .. }, Value::String(text)) => {
            let raw = raw(text)?;
            if raw.len() != *size {
                return Err(unfit());
            }
            out.extend_from_slice(&raw);
        }
        (Kind::Enum { symbols, .. }, Value::String(text)) => {
            let position = symbols.iter().position(|symbol| **symbol == **text).ok_or_else(unfit)?;
            count(position, out);
        }
        (Kind::Array(items), Value::Array(values)) => {
            for value in values {
                count(1, out);
                encode(types, *items, value, out, depth + 1, steps)?;
            }
            out.push(0);
        }
        (Kind::Map(values), Value::Map(entries)) => {
            for (key, value) in entries.iter() {
                count(1, out);
                bytes(key.as_str().ok_or_else(unfit)?.as_bytes(), out);
                encode(types, *values, value, out, depth + 1, steps)?;
            }
            out.push(0);
        }
        (Kind::Record { fields, .. }, Value::Map(members)) => {
            for field in fields {
                match members.get(&field.name) {
                    Some(json) => encode(types, field.type_id, json, out, depth + 1, steps)?,
                    None => default(types, field, out, depth + 1, steps)?,
                }
            }
        }
        (Kind::Union(branches), _) => {
            // A default is of the first branch; newer versions of Avro take any that fits.
            for (index, branch) in branches.iter().enumerate() {
                let start = out.len();
                count(index, out);
                if encode(types, *branch, json, out, depth + 1, steps).is_ok() {
                    return Ok(());
                }
                out.truncate(start);
            }
            return Err(unfit());
        }
        _ => return Err(unfit()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolution(writer: &str, reader: &str) -> Resolution {
        let (mut written, mut read) = (Types::default(), Types::default());
        let (from, to) = (written.read(writer).unwrap(), read.read(reader).unwrap());
        Resolution::new((&written, from), (&read, to)).unwrap()
    }

    // Both later fields took the bytes of the written one, each as its own type.
    #[test]
    fn a_written_field_becomes_one_later_field_by_its_own_name_first() {
        let writer = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
        let reader = r#"{"type":"record","name":"R","fields":[
            {"name":"c","aliases":["a"],"type":"double","default":0.0},
            {"name":"a","type":"int"},
            {"name":"d","aliases":["a"],"type":"int","default":7}]}"#;
        let brought = resolution(writer, reader).bring(&[6]).unwrap();
        assert_eq!(brought, [0, 0, 0, 0, 0, 0, 0, 0, 6, 14]);
    }

    #[test]
    fn defaults_that_multiply_come_to_an_end() {
        let mut inner = r#""int""#.to_owned();
        for level in 0..40 {
            let default = if level == 0 { "1" } else { "{}" };
            inner = format!(
                r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{inner},"default":{default}}},
                    {{"name":"b","type":{},"default":{default}}}]}}"#,
                if level == 0 {
                    r#""int""#.to_owned()
                } else {
                    format!("\"R{}\"", level - 1)
                }
            );
        }
        let reader =
            format!(r#"{{"type":"record","name":"T","fields":[{{"name":"x","type":{inner},"default":{{}}}}]}}"#);
        let writer = r#"{"type":"record","name":"T","fields":[]}"#;
        let error = resolution(writer, &reader).bring(&[]).unwrap_err();
        assert!(error.to_string().contains("more than 100000 values"), "{error}");
    }

    #[test]
    fn data_is_brought_to_the_later_schema() {
        let record = |fields: &str| format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
        let enumeration =
            |symbols: &str| format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}],"default":"B"}}"#);
        let field = |name: &str, rest: &str| format!(r#"{{"name":"{name}",{rest}}}"#);
        let ab = record(&[field("a", r#""type":"int""#), field("b", r#""type":"string""#)].join(","));
        type Case = (String, String, &'static [u8], &'static [u8], &'static str);
        let cases: Vec<Case> = vec![
            (
                ab.clone(),
                record(&[field("b", r#""type":"string""#), field("a", r#""type":"long""#)].join(",")),
                &[2, 2, b'x'],
                &[2, b'x', 2],
                "another order, and a promotion",
            ),
            (
                ab.clone(),
                record(&field("c", r#""type":"string","aliases":["b"]"#)),
                &[2, 2, b'x'],
                &[2, b'x'],
                "an alias, and a field that is gone",
            ),
            (
                ab.clone(),
                record(
                    &[
                        field("a", r#""type":"int""#),
                        field("n", r#""type":["null","int"],"default":null"#),
                    ]
                    .join(","),
                ),
                &[2, 2, b'x'],
                &[2, 0],
                "a default that is null",
            ),
            (
                ab,
                record(&field("n", r#""type":{"type":"array","items":"int"},"default":[7]"#)),
                &[2, 2, b'x'],
                &[2, 14, 0],
                "a default that is a list",
            ),
            (
                r#""int""#.into(),
                r#"["null","double"]"#.into(),
                &[2],
                &[2, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
                "a union by promotion",
            ),
            (
                r#"["int","string"]"#.into(),
                r#""long""#.into(),
                &[0, 2],
                &[2],
                "a branch that fits",
            ),
            (
                enumeration(r#""A","B","X""#),
                enumeration(r#""B","A""#),
                &[0],
                &[2],
                "a symbol elsewhere",
            ),
            (
                enumeration(r#""A","B","X""#),
                enumeration(r#""B","A""#),
                &[4],
                &[0],
                "a symbol that is gone: the default",
            ),
            (
                r#""bytes""#.into(),
                r#""string""#.into(),
                b"xy",
                &[4, b'x', b'y'],
                "bytes at the top have no length",
            ),
            (
                r#"{"type":"map","values":"int"}"#.into(),
                r#"{"type":"map","values":"long"}"#.into(),
                &[3, 10, 2, b'k', 2, 2, b'l', 4, 0],
                &[2, 2, b'k', 2, 2, 2, b'l', 4, 0],
                "a block with its size",
            ),
        ];
        for (writer, reader, data, wanted, why) in cases {
            let got = resolution(&writer, &reader).bring(data);
            assert_eq!(got.unwrap(), wanted, "{why}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_when_it_is_met() {
        let one = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
        let two = r#"{"type":"record","name":"R","fields":[{"name":"z","type":"int"}]}"#;
        let cases: [(&str, &str, &[u8], &str); 4] = [
            (
                r#"["int","string"]"#,
                r#""long""#,
                &[2, 2, b'x'],
                "written as string cannot be read as long",
            ),
            (one, two, &[2], "field `z` of `R`: it was not written"),
            (
                r#""string""#,
                r#""int""#,
                &[2, b'x'],
                "written as string cannot be read as int",
            ),
            (r#""int""#, r#""long""#, &[], "the bytes end"),
        ];
        for (writer, reader, data, wanted) in cases {
            let error = resolution(writer, reader).bring(data).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn a_record_inside_itself_is_resolved_once() {
        let list = |value: &str| {
            format!(
                r#"{{"type":"record","name":"L","fields":[{{"name":"v","type":"{value}"}},{{"name":"n","type":["null","L"]}}]}}"#
            )
        };
        let got = resolution(&list("int"), &list("long")).bring(&[2, 2, 4, 0]).unwrap();
        assert_eq!(got, [2, 2, 4, 0]);
    }
}
