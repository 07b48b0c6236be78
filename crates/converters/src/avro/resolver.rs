//! What becomes of the data of one schema in another one: the rules of Avro's schema resolution.
#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;

use klamm_connect_api::DataError;

use super::encode::default;
use super::resolve::{ReadField, Step, StepId, WrittenField};
use super::schema::{Field, Kind, Type, TypeId, Types};

/// Types inside each other, at most.
const MAX_DEPTH: usize = 300;

/// Works out the steps from one schema to another.
pub(super) struct Resolver<'a> {
    writer: &'a Types,
    reader: &'a Types,
    steps: Vec<Step>,
    /// Records that have a step already, by both types; those that are only skipped have themselves as the later type.
    records: HashMap<(TypeId, TypeId, bool), StepId>,
    depth: usize,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(writer: &'a Types, reader: &'a Types) -> Self {
        Self {
            writer,
            reader,
            steps: Vec::new(),
            records: HashMap::new(),
            depth: 0,
        }
    }

    /// All steps, and the one from the type `written` to the type `read`.
    pub(super) fn steps(mut self, written: TypeId, read: TypeId) -> Result<(Vec<Step>, StepId), DataError> {
        let root = self.to(false, written, read)?;
        Ok((self.steps, root))
    }

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
                None => match default(if skips { types } else { self.reader }, field) {
                    Ok(encoded) => ReadField::Default(encoded),
                    Err(error) => {
                        missing.get_or_insert_with(|| format!("field `{}` of `{}`: {error}", field.name, name.full()));
                        continue;
                    }
                },
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
