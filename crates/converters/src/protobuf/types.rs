//! The messages and enums of a schema and of everything that it imports, with their names resolved.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, HashMap, HashSet};

use klamm_connect_api::DataError;
use klamm_schema_registry::RegisteredSchema;

use super::descriptor::{self, File};
use super::known;

pub(super) type MessageId = usize;
pub(super) type EnumId = usize;

/// The greatest number that a field may have.
const MAX_NUMBER: u32 = (1 << 29) - 1;
const LABEL_REQUIRED: i32 = 2;
const LABEL_REPEATED: i32 = 3;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Float,
    Int64,
    Uint64,
    Int32,
    Fixed64,
    Fixed32,
    Bool,
    String,
    Group(MessageId),
    Message(MessageId),
    Bytes,
    Uint32,
    Enum(EnumId),
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a property of its own that a .proto file may give a field"
)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) is_repeated: bool,
    pub(super) is_required: bool,
    /// The word `optional` stands in a proto3 file, which is the way to tell zero from absent there.
    pub(super) is_proto3_optional: bool,
    pub(super) is_proto2: bool,
    /// Its oneof in [`Message::oneofs`].
    pub(super) oneof: Option<usize>,
    pub(super) default: Option<String>,
    /// An enum of which other numbers than those declared are as good as absent.
    pub(super) is_closed: bool,
    /// Parameters of Confluent's option.
    pub(super) params: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) name: String,
    pub(super) full: String,
    /// In the order in which they are declared.
    pub(super) fields: Vec<Field>,
    /// Names of the oneofs, without those that stand for a proto3 `optional`.
    pub(super) oneofs: Vec<String>,
    /// What stands for a map's entry, rather than having been declared.
    pub(super) is_map_entry: bool,
    /// The messages declared inside, without the entries of maps.
    children: Vec<MessageId>,
}

#[derive(Debug)]
pub(super) struct Enum {
    pub(super) name: String,
    pub(super) full: String,
    /// Names and numbers in the order in which they are declared.
    pub(super) values: Vec<(String, i32)>,
    is_proto2: bool,
}

/// The types of a schema.
#[derive(Debug, Default)]
pub(super) struct Types {
    pub(super) messages: Vec<Message>,
    pub(super) enums: Vec<Enum>,
    /// The messages at the top of the schema's own file.
    roots: Vec<MessageId>,
    /// How many messages that file has: they come first.
    own: usize,
    /// Its package.
    pub(super) package: String,
}

impl Types {
    /// Reads a schema, its references and the well-known files that they import.
    ///
    /// An import that is not there is no mistake as long as nothing of it is used: schemas that Confluent's converter
    /// has written import less than they use, and others more.
    pub(super) fn read(schema: &RegisteredSchema) -> Result<Self, DataError> {
        let mut files = vec![];
        let mut main = descriptor::parse("the schema", &schema.document.text)?;
        let own = main.pop().unwrap_or_default();
        for reference in &schema.references {
            let parsed = descriptor::parse(&reference.name, &reference.document.text)
                .map_err(|error| error.at(&format!("reference `{}`", reference.name)))?;
            files.extend(parsed);
        }
        files.extend(main);
        let mut wanted = own.imports.clone();
        wanted.extend(files.iter().flat_map(|file| file.imports.iter().cloned()));
        let mut names: HashSet<String> = files.iter().filter_map(|file| file.name.clone()).collect();
        let mut missing = Vec::new();
        while let Some(import) = wanted.pop() {
            if !names.insert(import.clone()) {
                continue;
            }
            match known::text(&import) {
                Some(text) => {
                    let parsed = descriptor::parse(&import, text)?;
                    wanted.extend(parsed.iter().flat_map(|file| file.imports.iter().cloned()));
                    files.extend(parsed);
                }
                None => missing.push(import),
            }
        }
        Linker::default().link(own, files, &missing)
    }

    #[expect(clippy::indexing_slicing, reason = "ids are handed out by the linker only")]
    pub(super) fn message(&self, id: MessageId) -> &Message {
        &self.messages[id]
    }

    #[expect(clippy::indexing_slicing, reason = "ids are handed out by the linker only")]
    pub(super) fn enumeration(&self, id: EnumId) -> &Enum {
        &self.enums[id]
    }

    /// The first message of the schema's own file.
    pub(super) fn first(&self) -> Option<&Message> {
        self.roots.first().map(|id| self.message(*id))
    }

    /// All messages of the schema's own file by their full name, the entries of maps included: the order in which AWS
    /// counts them.
    pub(super) fn by_name(&self) -> Vec<MessageId> {
        let mut ids: Vec<MessageId> = (0..self.own).collect();
        ids.sort_by_key(|id| &self.message(*id).full);
        ids
    }

    /// The message at a path of positions: among the file's messages, among those declared in that one, and so on.
    pub(super) fn at(&self, path: &[usize]) -> Option<MessageId> {
        let (first, rest) = path.split_first()?;
        let root = *self.roots.get(*first)?;
        rest.iter()
            .try_fold(root, |id, position| self.message(id).children.get(*position).copied())
    }
}

#[derive(Debug, Clone, Copy)]
enum TypeId {
    Message(MessageId),
    Enum(EnumId),
}

#[derive(Default)]
struct Linker {
    types: Types,
    by_name: HashMap<String, TypeId>,
    /// What the fields of each message were declared as, until all names are known.
    declared: Vec<(descriptor::Message, bool)>,
}

impl Linker {
    fn link(mut self, mut own: File, files: Vec<File>, missing: &[String]) -> Result<Types, DataError> {
        own.name = None;
        let mut seen: Vec<File> = vec![own.clone()];
        self.types.package = own.package.clone().unwrap_or_default();
        self.types.roots = self.file(own)?;
        self.types.own = self.types.messages.len();
        for mut file in files {
            // One document may be referred to under several names.
            file.name = None;
            if seen.contains(&file) {
                continue;
            }
            seen.push(file.clone());
            self.file(file)?;
        }
        for (id, (message, is_proto2)) in std::mem::take(&mut self.declared).into_iter().enumerate() {
            let fields = self.fields(id, &message, is_proto2, missing)?;
            if let Some(message) = self.types.messages.get_mut(id) {
                message.fields = fields;
            }
        }
        Ok(self.types)
    }

    /// Takes up what a file declares; its messages at the top are returned.
    fn file(&mut self, file: File) -> Result<Vec<MessageId>, DataError> {
        let scope = file.package.unwrap_or_default();
        let is_proto2 = file.syntax.as_deref() != Some("proto3");
        for declared in file.enums {
            self.enumeration(&scope, declared, is_proto2)?;
        }
        file.messages
            .into_iter()
            .map(|declared| self.message(&scope, declared, is_proto2))
            .collect()
    }

    fn message(
        &mut self,
        scope: &str,
        mut declared: descriptor::Message,
        is_proto2: bool,
    ) -> Result<MessageId, DataError> {
        let name = declared.name.clone().unwrap_or_default();
        let full = within(scope, &name);
        let id = self.types.messages.len();
        self.name(&full, TypeId::Message(id))?;
        // Those that stand for a proto3 `optional` have no other member.
        let is_real = |index: usize| {
            let member_of = |field: &descriptor::Field| {
                field.oneof.and_then(|oneof| usize::try_from(oneof).ok()) == Some(index)
                    && field.proto3_optional != Some(true)
            };
            declared.fields.iter().any(member_of)
        };
        let oneofs = (0..declared.oneofs.len())
            .take_while(|index| is_real(*index))
            .filter_map(|index| declared.oneofs.get(index))
            .map(|oneof| oneof.name.clone().unwrap_or_default())
            .collect();
        self.types.messages.push(Message {
            name,
            full: full.clone(),
            fields: Vec::new(),
            oneofs,
            is_map_entry: declared
                .options
                .as_ref()
                .is_some_and(|options| options.map_entry == Some(true)),
            children: Vec::new(),
        });
        let (nested, enums) = (
            std::mem::take(&mut declared.messages),
            std::mem::take(&mut declared.enums),
        );
        self.declared.push((declared, is_proto2));
        for nested in enums {
            self.enumeration(&full, nested, is_proto2)?;
        }
        for nested in nested {
            let child = self.message(&full, nested, is_proto2)?;
            let is_entry = self.types.message(child).is_map_entry;
            if !is_entry && let Some(message) = self.types.messages.get_mut(id) {
                message.children.push(child);
            }
        }
        Ok(id)
    }

    fn enumeration(&mut self, scope: &str, declared: descriptor::Enum, is_proto2: bool) -> Result<(), DataError> {
        let name = declared.name.unwrap_or_default();
        let full = within(scope, &name);
        self.name(&full, TypeId::Enum(self.types.enums.len()))?;
        if declared.values.is_empty() {
            return Err(DataError::data(format!("the Protobuf enum `{full}` has no values")));
        }
        let values = declared.values.into_iter();
        self.types.enums.push(Enum {
            name,
            full,
            values: values
                .map(|value| (value.name.unwrap_or_default(), value.number.unwrap_or_default()))
                .collect(),
            is_proto2,
        });
        Ok(())
    }

    fn name(&mut self, full: &str, id: TypeId) -> Result<(), DataError> {
        match self.by_name.insert(full.to_owned(), id) {
            None => Ok(()),
            Some(_) => Err(DataError::data(format!("the Protobuf schema defines `{full}` twice"))),
        }
    }

    fn fields(
        &self,
        id: MessageId,
        declared: &descriptor::Message,
        is_proto2: bool,
        missing: &[String],
    ) -> Result<Vec<Field>, DataError> {
        let message = self.types.message(id);
        let mut numbers = HashSet::new();
        let mut fields = Vec::with_capacity(declared.fields.len());
        for field in &declared.fields {
            let name = field.name.clone().unwrap_or_default();
            let wrong = |what: String| DataError::data(format!("message `{}`, field `{name}`: {what}", message.full));
            let number = field.number.unwrap_or_default();
            let number = u32::try_from(number)
                .ok()
                .filter(|number| (1..=MAX_NUMBER).contains(number))
                .ok_or_else(|| wrong(format!("no field can have the number {number}")))?;
            if !numbers.insert(number) {
                return Err(wrong(format!("another field has the number {number} too")));
            }
            let kind = self.kind(&message.full, field, missing).map_err(wrong)?;
            let is_proto3_optional = field.proto3_optional == Some(true);
            let oneof = match field.oneof.filter(|_| !is_proto3_optional) {
                None => None,
                Some(oneof) => Some(
                    usize::try_from(oneof)
                        .ok()
                        .filter(|oneof| *oneof < message.oneofs.len())
                        .ok_or_else(|| wrong(format!("there is no oneof {oneof}")))?,
                ),
            };
            let is_closed = match kind {
                Kind::Enum(id) => is_proto2 || self.types.enumeration(id).is_proto2,
                _ => false,
            };
            fields.push(Field {
                number,
                kind,
                is_repeated: field.label == Some(LABEL_REPEATED),
                is_required: field.label == Some(LABEL_REQUIRED),
                is_proto3_optional,
                is_proto2,
                oneof,
                default: field.default.clone(),
                is_closed,
                params: field.params(),
                name,
            });
        }
        Ok(fields)
    }

    fn kind(&self, scope: &str, field: &descriptor::Field, missing: &[String]) -> Result<Kind, String> {
        Ok(match field.kind {
            Some(1) => Kind::Double,
            Some(2) => Kind::Float,
            Some(3) => Kind::Int64,
            Some(4) => Kind::Uint64,
            Some(5) => Kind::Int32,
            Some(6) => Kind::Fixed64,
            Some(7) => Kind::Fixed32,
            Some(8) => Kind::Bool,
            Some(9) => Kind::String,
            Some(12) => Kind::Bytes,
            Some(13) => Kind::Uint32,
            Some(15) => Kind::Sfixed32,
            Some(16) => Kind::Sfixed64,
            Some(17) => Kind::Sint32,
            Some(18) => Kind::Sint64,
            None | Some(10 | 11 | 14) => {
                let name = field.type_name.as_deref().unwrap_or_default();
                match (self.resolve(scope, name), field.kind) {
                    (Some(TypeId::Message(id)), Some(10)) => Kind::Group(id),
                    (Some(TypeId::Message(id)), None | Some(11)) => Kind::Message(id),
                    (Some(TypeId::Enum(id)), None | Some(14)) => Kind::Enum(id),
                    (Some(_), _) => return Err(format!("its type `{name}` is of another sort than it says")),
                    (None, _) if missing.is_empty() => return Err(format!("its type `{name}` is not defined")),
                    (None, _) => {
                        let missing = missing.join("`, `");
                        return Err(format!(
                            "its type `{name}` is not defined, and the schema imports `{missing}`, which are neither \
                             among its references nor well known"
                        ));
                    }
                }
            }
            Some(number) => return Err(format!("there is no type {number}")),
        })
    }

    /// The type that a name stands for inside of `scope`: the innermost one, as in C++.
    fn resolve(&self, scope: &str, name: &str) -> Option<TypeId> {
        if let Some(absolute) = name.strip_prefix('.') {
            return self.by_name.get(absolute).copied();
        }
        let mut scope = scope;
        loop {
            if let Some(found) = self.by_name.get(&within(scope, name)) {
                return Some(*found);
            }
            if scope.is_empty() {
                return None;
            }
            scope = scope.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
    }
}

fn within(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        name.to_owned()
    } else {
        format!("{scope}.{name}")
    }
}
