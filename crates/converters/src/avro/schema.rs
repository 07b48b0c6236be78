//! Avro schemas as they are written: types by number, names resolved.
#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;

use klamm_connect_api::{DataError, Map, Value};

use crate::json::parse_text;

/// Types inside each other, at most.
const MAX_DEPTH: usize = 300;

/// Number of a type in its schema.
pub(super) type TypeId = usize;

/// The types of a schema and of everything that it refers to.
#[derive(Debug, Default)]
pub(super) struct Types {
    types: Vec<Type>,
    names: HashMap<String, TypeId>,
}

/// A type with the attributes that stand beside it.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) kind: Kind,
    /// Everything that the schema's object says; empty for a bare name.
    attributes: Map,
}

#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(TypeId),
    Map(TypeId),
    Record { name: Name, fields: Vec<Field> },
    Enum { name: Name, symbols: Vec<String> },
    Fixed { name: Name, size: usize },
    Union(Vec<TypeId>),
}

impl Kind {
    /// Avro's word for it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Record { .. } => "record",
            Self::Enum { .. } => "enum",
            Self::Fixed { .. } => "fixed",
            Self::Union(_) => "union",
        }
    }

    pub(super) fn name(&self) -> Option<&Name> {
        match self {
            Self::Record { name, .. } | Self::Enum { name, .. } | Self::Fixed { name, .. } => Some(name),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) type_id: TypeId,
    pub(super) doc: Option<String>,
    /// A default of null is none to Connect; see [`Field::has_null_default`].
    pub(super) default: Option<Value>,
    pub(super) has_null_default: bool,
    /// Names that the field had before.
    pub(super) aliases: Vec<String>,
}

/// Name of a record, enum or fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) short: String,
}

impl Name {
    /// With dots, the name holds its namespace.
    fn new(name: &str, namespace: &str) -> Self {
        match name.rsplit_once('.') {
            Some((namespace, short)) => Self {
                namespace: namespace.to_owned(),
                short: short.to_owned(),
            },
            None => Self {
                namespace: namespace.to_owned(),
                short: name.to_owned(),
            },
        }
    }

    pub(super) fn full(&self) -> String {
        if self.namespace.is_empty() {
            self.short.clone()
        } else {
            format!("{}.{}", self.namespace, self.short)
        }
    }
}

impl Type {
    /// An attribute that is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?.as_str()
    }

    /// The texts of an attribute that is a list.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        texts(self.attributes.get(name))
    }

    /// An attribute that is not null.
    pub(super) fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn attributes(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.attributes
            .iter()
            .filter_map(|(name, value)| Some((name.as_str()?, value)))
    }
}

impl Types {
    /// Reads a schema whose named types may be those of schemas read before.
    ///
    /// # Errors
    /// If it is not an Avro schema: what is wrong and where.
    pub(super) fn read(&mut self, text: &str) -> Result<TypeId, DataError> {
        let json = parse_text(text).map_err(|error| error.at("the Avro schema is not JSON"))?;
        self.add(&json, "", 0)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "ids are handed out by `push` only, and types are never removed"
    )]
    pub(super) fn get(&self, id: TypeId) -> &Type {
        &self.types[id]
    }

    fn push(&mut self, kind: Kind, attributes: Map) -> TypeId {
        self.types.push(Type { kind, attributes });
        self.types.len() - 1
    }

    fn add(&mut self, json: &Value, namespace: &str, depth: usize) -> Result<TypeId, DataError> {
        if depth > MAX_DEPTH {
            return Err(DataError::data(format!(
                "the Avro schema is nested more than {MAX_DEPTH} levels deep"
            )));
        }
        match json {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => self.union(branches, namespace, depth),
            Value::Map(object) => self.object(object, namespace, depth),
            _ => Err(DataError::data(
                "the Avro schema has neither a name, a list nor an object where a type is expected",
            )),
        }
    }

    fn union(&mut self, branches: &[Value], namespace: &str, depth: usize) -> Result<TypeId, DataError> {
        let mut types = Vec::with_capacity(branches.len());
        for branch in branches {
            let id = self.add(branch, namespace, depth + 1)?;
            if matches!(self.get(id).kind, Kind::Union(_)) {
                return Err(DataError::data("the Avro schema has a union inside a union"));
            }
            types.push(id);
        }
        Ok(self.push(Kind::Union(types), Map::new()))
    }

    fn named(&mut self, name: &str, namespace: &str) -> Result<TypeId, DataError> {
        if let Some(kind) = primitive(name) {
            return Ok(self.push(kind, Map::new()));
        }
        self.names
            .get(&Name::new(name, namespace).full())
            .or_else(|| self.names.get(name))
            .copied()
            .ok_or_else(|| {
                DataError::data(format!(
                    "the Avro schema names a type `{name}` that is not defined before"
                ))
            })
    }

    fn object(&mut self, object: &Map, namespace: &str, depth: usize) -> Result<TypeId, DataError> {
        let Some(type_name) = object.get("type") else {
            return Err(DataError::data("the Avro schema has an object without `type`"));
        };
        match type_name.as_str() {
            Some("array") => {
                let items = self.add(attribute(object, "items")?, namespace, depth + 1)?;
                Ok(self.push(Kind::Array(items), object.clone()))
            }
            Some("map") => {
                let values = self.add(attribute(object, "values")?, namespace, depth + 1)?;
                Ok(self.push(Kind::Map(values), object.clone()))
            }
            Some("record" | "error") => {
                let (id, name) = self.define(object, namespace)?;
                let fields = self.fields(attribute(object, "fields")?, &name, depth)?;
                Ok(self.complete(id, Kind::Record { name, fields }))
            }
            Some("enum") => {
                let (id, name) = self.define(object, namespace)?;
                let symbols = strings(attribute(object, "symbols")?)?;
                Ok(self.complete(id, Kind::Enum { name, symbols }))
            }
            Some("fixed") => {
                let (id, name) = self.define(object, namespace)?;
                let size = size(attribute(object, "size")?, &name)?;
                Ok(self.complete(id, Kind::Fixed { name, size }))
            }
            Some(name) => match primitive(name) {
                Some(kind) => Ok(self.push(kind, object.clone())),
                None => self.named(name, namespace),
            },
            // `{"type": {"type": ...}}`
            None => self.add(type_name, namespace, depth + 1),
        }
    }

    fn complete(&mut self, id: TypeId, kind: Kind) -> TypeId {
        if let Some(defined) = self.types.get_mut(id) {
            defined.kind = kind;
        }
        id
    }

    /// Gives a name its number, so that the type can refer to itself.
    fn define(&mut self, object: &Map, namespace: &str) -> Result<(TypeId, Name), DataError> {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let Some(short) = text("name").filter(|name| !name.is_empty()) else {
            return Err(DataError::data(
                "the Avro schema has a record, enum or fixed without a name",
            ));
        };
        let name = Name::new(short, text("namespace").unwrap_or(namespace));
        let id = self.push(Kind::Null, object.clone());
        match self.names.insert(name.full(), id) {
            None => Ok((id, name)),
            Some(_) => Err(DataError::data(format!(
                "the Avro schema defines `{}` twice",
                name.full()
            ))),
        }
    }

    fn fields(&mut self, json: &Value, record: &Name, depth: usize) -> Result<Vec<Field>, DataError> {
        let Value::Array(items) = json else {
            return Err(DataError::data(format!(
                "the fields of the Avro type `{}` are no list",
                record.full()
            )));
        };
        items.iter().map(|item| self.field(item, record, depth)).collect()
    }

    fn field(&mut self, json: &Value, record: &Name, depth: usize) -> Result<Field, DataError> {
        let member = |name: &str| match json {
            Value::Map(members) => members.get(name),
            _ => None,
        };
        let (Some(name), Some(field_type)) = (member("name").and_then(Value::as_str), member("type")) else {
            return Err(DataError::data(format!(
                "the Avro type `{}` has a field without name or type",
                record.full()
            )));
        };
        let type_id = match self.add(field_type, &record.namespace, depth + 1) {
            Ok(type_id) => type_id,
            Err(error) => return Err(error.at(&format!("record `{}`, field `{name}`", record.full()))),
        };
        Ok(Field {
            type_id,
            name: name.to_owned(),
            doc: member("doc").and_then(Value::as_str).map(str::to_owned),
            default: member("default").filter(|value| !value.is_null()).cloned(),
            has_null_default: member("default").is_some_and(Value::is_null),
            aliases: texts(member("aliases")).map(str::to_owned).collect(),
        })
    }
}

fn texts(json: Option<&Value>) -> impl Iterator<Item = &str> {
    let items = match json {
        Some(Value::Array(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter().filter_map(Value::as_str)
}

fn attribute<'a>(object: &'a Map, name: &str) -> Result<&'a Value, DataError> {
    object
        .get(name)
        .ok_or_else(|| DataError::data(format!("the Avro schema has a type without `{name}`")))
}

fn size(json: &Value, name: &Name) -> Result<usize, DataError> {
    let size = match json {
        Value::Int64(size) => usize::try_from(*size).ok(),
        _ => None,
    };
    size.ok_or_else(|| DataError::data(format!("the Avro type `{}` has no size", name.full())))
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

fn strings(json: &Value) -> Result<Vec<String>, DataError> {
    let texts = match json {
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    texts.ok_or_else(|| DataError::data("the symbols of an Avro enum are no list of texts"))
}
