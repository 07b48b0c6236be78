//! Brings Avro data from the schema that it was written with to a later one, by Avro's rules for schema resolution
//! (Avro specification, "Schema Resolution").
//!
//! The result is Avro data again, of the later schema: reading and transcoding know nothing of it. `resolver` works out
//! beforehand what is done here. What does not fit is an error when it is met, as Avro asks, so that the branches of a
//! union that do fit can be read.
#![warn(clippy::indexing_slicing)]

use klamm_connect_api::DataError;

use super::cursor::{Blocks, Cursor};
use super::encode::{bytes, count, long};
use super::resolver::Resolver;
use super::schema::{Kind, TypeId, Types};

/// Bytes of a record in its later schema, at most: small records may have large defaults, many times.
const BROUGHT_BYTES: usize = 64 * 1024 * 1024;

pub(super) type StepId = usize;

/// How data of one schema becomes data of another.
#[derive(Debug)]
pub(super) struct Resolution {
    steps: Vec<Step>,
    root: StepId,
    /// A root of bytes is written without its length, on either side.
    written_raw: bool,
    read_raw: bool,
}

/// How data of one type becomes data of another.
#[derive(Debug)]
pub(super) enum Step {
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
pub(super) struct WrittenField {
    pub(super) name: String,
    pub(super) step: StepId,
    pub(super) is_kept: bool,
}

#[derive(Debug)]
pub(super) enum ReadField {
    /// By its position among the written fields.
    Written(usize),
    /// Encoded.
    Default(Vec<u8>),
}

impl Resolution {
    pub(super) fn new(writer: (&Types, TypeId), reader: (&Types, TypeId)) -> Result<Self, DataError> {
        let (steps, root) = Resolver::new(writer.0, reader.0).steps(writer.1, reader.1)?;
        Ok(Self {
            steps,
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
