//! JSON Schema as the types that Confluent's converter tells apart.
//!
//! Its reader makes of each schema object one type, or a combination of all of them where several keywords say
//! something: `{"type":"string","enum":["A"]}` is the combination of a string and an enumeration. What Connect makes of
//! a schema follows from that form, so it is kept here.
#![warn(clippy::indexing_slicing)]

use std::collections::{HashMap, HashSet};

use klamm_connect_api::DataError;

use super::document::{Base, Documents, Index, Json, Node, Object, Target, own_base};

pub(super) type TypeId = usize;

/// Schemas inside each other, at most: also through references.
pub(super) const MAX_DEPTH: usize = 128;

#[derive(Debug)]
pub(super) struct Type<'d, 'a> {
    pub(super) kind: Kind<'d>,
    /// The object that has title, description, default and Connect's own keywords of this type.
    pub(super) source: Option<&'d Object<'a>>,
}

#[derive(Debug)]
pub(super) enum Kind<'d> {
    Boolean,
    Number {
        is_integer: bool,
    },
    String,
    Null,
    /// The symbols as text.
    Enum(Vec<String>),
    Const,
    /// Any value: `{}` or `true`.
    Any,
    /// A keyword that says nothing about the type, such as `not`.
    Other(&'static str),
    Array {
        /// The schema of all elements, if there is one.
        items: Option<TypeId>,
    },
    Object(ObjectType<'d>),
    Combined {
        how: Criterion,
        parts: Vec<TypeId>,
    },
    Reference(TypeId),
    /// Only while the types are read.
    Pending,
}

#[derive(Debug, Default)]
pub(super) struct ObjectType<'d> {
    pub(super) properties: Vec<(&'d str, TypeId)>,
    pub(super) required: HashSet<&'d str>,
    pub(super) additional: Option<TypeId>,
    pub(super) admits_additional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Criterion {
    All,
    Any,
    One,
}

/// What the drafts differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dialect {
    Draft4,
    Draft6,
    Draft7,
    /// 2019-09 and 2020-12.
    Modern,
}

impl Dialect {
    /// The dialect of a document; draft 7 if it does not say.
    pub(super) fn of(json: &Json<'_>, ignore_modern: bool) -> Self {
        let uri = json.get("$schema").and_then(Json::as_str).unwrap_or_default();
        let uri = uri.trim_end_matches('#');
        if uri.ends_with("draft-04/schema") {
            Self::Draft4
        } else if uri.ends_with("draft-06/schema") {
            Self::Draft6
        } else if !ignore_modern && (uri.ends_with("2019-09/schema") || uri.ends_with("2020-12/schema")) {
            Self::Modern
        } else {
            Self::Draft7
        }
    }
}

const NUMBER_KEYS: [&str; 5] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];
const STRING_KEYS: [&str; 3] = ["minLength", "maxLength", "pattern"];
const ARRAY_KEYS: [&str; 5] = ["items", "additionalItems", "minItems", "maxItems", "uniqueItems"];
const MODERN_ARRAY_KEYS: [&str; 2] = ["prefixItems", "unevaluatedItems"];
const OBJECT_KEYS: [&str; 7] = [
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "dependencies",
    "patternProperties",
    "additionalProperties",
];
const MODERN_OBJECT_KEYS: [&str; 3] = ["dependentRequired", "dependentSchemas", "unevaluatedProperties"];

/// The types of a schema.
#[derive(Debug)]
pub(super) struct Types<'d, 'a> {
    types: Vec<Type<'d, 'a>>,
    pub(super) root: TypeId,
}

impl<'d, 'a> Types<'d, 'a> {
    pub(super) fn read(documents: &'d Documents<'a>, ignore_modern: bool) -> Result<Self, DataError> {
        let root = documents.root();
        let mut reader = Reader {
            index: documents.index()?,
            dialect: Dialect::of(root.json, ignore_modern),
            types: Vec::new(),
            referenced: HashMap::new(),
            depth: 0,
        };
        let root = reader.schema(root.json, &root.base)?;
        Ok(Self {
            types: reader.types,
            root,
        })
    }

    #[expect(clippy::indexing_slicing, reason = "ids are handed out by `Reader::push` only")]
    pub(super) fn get(&self, id: TypeId) -> &Type<'d, 'a> {
        &self.types[id]
    }
}

struct Reader<'d, 'a> {
    index: Index<'d, 'a>,
    dialect: Dialect,
    types: Vec<Type<'d, 'a>>,
    /// What a reference led to already, by place: one type however often it is referred to.
    referenced: HashMap<*const Json<'a>, TypeId>,
    depth: usize,
}

impl<'d, 'a> Reader<'d, 'a> {
    fn push(&mut self, kind: Kind<'d>) -> TypeId {
        self.types.push(Type { kind, source: None });
        self.types.len() - 1
    }

    fn set(&mut self, id: TypeId, kind: Kind<'d>, source: Option<&'d Object<'a>>) {
        if let Some(slot) = self.types.get_mut(id) {
            *slot = Type { kind, source };
        }
    }

    fn schema(&mut self, json: &'d Json<'a>, base: &Base) -> Result<TypeId, DataError> {
        let id = self.push(Kind::Pending);
        if self.dialect == Dialect::Modern {
            // There a reference to a place that was read is that place; before, it is read once more.
            self.referenced.entry(std::ptr::from_ref(json)).or_insert(id);
        }
        self.fill(id, json, base)?;
        Ok(id)
    }

    fn fill(&mut self, id: TypeId, json: &'d Json<'a>, base: &Base) -> Result<(), DataError> {
        if self.depth > MAX_DEPTH {
            return Err(DataError::data(format!(
                "the JSON Schema is nested more than {MAX_DEPTH} levels deep"
            )));
        }
        self.depth += 1;
        match &json.node {
            Node::Boolean(true) => self.set(id, Kind::Any, None),
            Node::Boolean(false) => self.set(id, Kind::Other("false"), None),
            Node::Object(keywords) => self.object(id, keywords, &own_base(json, base)?)?,
            Node::Null | Node::Number | Node::String(_) | Node::Array(_) => {
                return Err(DataError::data("a JSON Schema is an object or a boolean"));
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn object(&mut self, id: TypeId, keywords: &'d Object<'a>, base: &Base) -> Result<(), DataError> {
        for key in ["title", "description"] {
            if keywords.get(key).is_some_and(|value| value.as_str().is_none()) {
                return Err(DataError::data(format!("`{key}` of a JSON Schema is no text")));
            }
        }
        let is_modern = self.dialect == Dialect::Modern;
        let mut parts = Vec::new();
        let references = ["$ref", "$dynamicRef", "$recursiveRef"];
        for key in references.iter().take(if is_modern { 3 } else { 1 }) {
            if let Some(reference) = keywords.get(*key) {
                let reference = reference
                    .as_str()
                    .ok_or_else(|| DataError::data(format!("`{key}` of a JSON Schema is no text")))?;
                let target = self.reference(reference, base)?;
                parts.push(Kind::Reference(target));
            }
        }
        // Before 2019-09 nothing beside a reference counts.
        if is_modern || parts.is_empty() {
            self.keywords(keywords, base, &mut parts)?;
        }
        let kind = match parts.len() {
            0 => Kind::Any,
            1 => parts.swap_remove(0),
            _ => Kind::Combined {
                how: Criterion::All,
                parts: parts.into_iter().map(|kind| self.push(kind)).collect(),
            },
        };
        self.set(id, kind, Some(keywords));
        Ok(())
    }

    fn reference(&mut self, reference: &str, base: &Base) -> Result<TypeId, DataError> {
        let Target { json, base } = self.index.find(base, reference)?;
        let place = std::ptr::from_ref(json);
        if let Some(id) = self.referenced.get(&place) {
            return Ok(*id);
        }
        let id = self.push(Kind::Pending);
        self.referenced.insert(place, id);
        self.fill(id, json, &base)
            .map_err(|error| error.at(&format!("`$ref` to `{reference}`")))?;
        Ok(id)
    }

    /// The types that the keywords speak of, each once.
    fn keywords(&mut self, keywords: &'d Object<'a>, base: &Base, parts: &mut Vec<Kind<'d>>) -> Result<(), DataError> {
        if let Some(values) = keywords.get("enum") {
            let values = values
                .as_array()
                .ok_or_else(|| DataError::data("`enum` of a JSON Schema is no array"))?;
            parts.push(Kind::Enum(values.iter().map(java_text).collect()));
        }
        for (key, how) in [
            ("allOf", Criterion::All),
            ("oneOf", Criterion::One),
            ("anyOf", Criterion::Any),
        ] {
            if let Some(schemas) = keywords.get(key) {
                parts.push(self.combined(key, how, schemas, base)?);
            }
        }
        if keywords.contains_key("not") {
            parts.push(Kind::Other("not"));
        }
        if self.dialect > Dialect::Draft4 && keywords.contains_key("const") {
            parts.push(Kind::Const);
        }
        let mut declared: Vec<&str> = Vec::new();
        match keywords.get("type").map(|json| &json.node) {
            None => {}
            Some(Node::String(name)) => {
                declared.push(name);
                parts.push(self.declared(name, keywords, base)?);
            }
            Some(Node::Array(names)) => {
                let mut members = Vec::new();
                for name in names {
                    let name = name
                        .as_str()
                        .ok_or_else(|| DataError::data("`type` of a JSON Schema holds something else than text"))?;
                    declared.push(name);
                    let kind = self.declared(name, keywords, base)?;
                    members.push(self.push(kind));
                }
                parts.push(Kind::Combined {
                    how: Criterion::Any,
                    parts: members,
                });
            }
            Some(_) => return Err(DataError::data("`type` of a JSON Schema is neither text nor an array")),
        }
        self.implied(keywords, &declared, base, parts)
    }

    /// Keywords of types that `type` does not declare imply the type.
    fn implied(
        &mut self,
        keywords: &'d Object<'a>,
        declared: &[&str],
        base: &Base,
        parts: &mut Vec<Kind<'d>>,
    ) -> Result<(), DataError> {
        let is_modern = self.dialect == Dialect::Modern;
        let has = |keys: &[&str]| keys.iter().any(|key| keywords.contains_key(*key));
        let from_6 = self.dialect >= Dialect::Draft6;
        if !declared.contains(&"array")
            && (has(&ARRAY_KEYS) || from_6 && has(&["contains"]) || is_modern && has(&MODERN_ARRAY_KEYS))
        {
            parts.push(self.declared("array", keywords, base)?);
        }
        if !declared.contains(&"object")
            && (has(&OBJECT_KEYS) || from_6 && has(&["propertyNames"]) || is_modern && has(&MODERN_OBJECT_KEYS))
        {
            parts.push(self.declared("object", keywords, base)?);
        }
        let is_number = declared.contains(&"number") || declared.contains(&"integer");
        if !is_number && has(&NUMBER_KEYS) {
            parts.push(Kind::Number { is_integer: false });
        }
        // From 2019-09 on a format is a remark.
        if !declared.contains(&"string") && (has(&STRING_KEYS) || !is_modern && has(&["format"])) {
            parts.push(Kind::String);
        }
        if self.dialect >= Dialect::Draft7 && has(&["if", "then", "else"]) {
            parts.push(Kind::Other("if"));
        }
        Ok(())
    }

    fn combined(
        &mut self,
        key: &str,
        how: Criterion,
        schemas: &'d Json<'a>,
        base: &Base,
    ) -> Result<Kind<'d>, DataError> {
        let schemas = schemas
            .as_array()
            .ok_or_else(|| DataError::data(format!("`{key}` of a JSON Schema is no array")))?;
        let mut parts = Vec::with_capacity(schemas.len());
        for (index, schema) in schemas.iter().enumerate() {
            let id = self
                .schema(schema, base)
                .map_err(|error| error.at(&format!("`{key}` {index}")))?;
            parts.push(id);
        }
        // Combinations come first, as in Confluent's reader. It goes on by hash codes that differ from one JVM to the
        // next; the order of the document stays.
        parts.sort_by_key(|id| !matches!(self.types.get(*id).map(|part| &part.kind), Some(Kind::Combined { .. })));
        Ok(Kind::Combined { how, parts })
    }

    fn declared(&mut self, name: &str, keywords: &'d Object<'a>, base: &Base) -> Result<Kind<'d>, DataError> {
        Ok(match name {
            "string" => Kind::String,
            "integer" => Kind::Number { is_integer: true },
            "number" => Kind::Number { is_integer: false },
            "boolean" => Kind::Boolean,
            "null" => Kind::Null,
            "array" => Kind::Array {
                items: self.items(keywords, base)?,
            },
            "object" => Kind::Object(self.members(keywords, base)?),
            _ => {
                return Err(DataError::data(format!(
                    "`type` of a JSON Schema is `{name}`, which is no type"
                )));
            }
        })
    }

    fn items(&mut self, keywords: &'d Object<'a>, base: &Base) -> Result<Option<TypeId>, DataError> {
        let is_modern = self.dialect == Dialect::Modern;
        match keywords.get("items") {
            Some(items) if items.as_array().is_some() => Ok(None),
            Some(items) if is_modern && (items.as_object().is_none() || keywords.contains_key("prefixItems")) => {
                Ok(None)
            }
            Some(items) => self.schema(items, base).map(Some).map_err(|error| error.at("`items`")),
            None => Ok(None),
        }
    }

    fn members(&mut self, keywords: &'d Object<'a>, base: &Base) -> Result<ObjectType<'d>, DataError> {
        let mut object = ObjectType {
            admits_additional: true,
            ..ObjectType::default()
        };
        if let Some(properties) = keywords.get("properties") {
            let properties = properties
                .as_object()
                .ok_or_else(|| DataError::data("`properties` of a JSON Schema is no object"))?;
            for (name, schema) in properties {
                let id = self
                    .schema(schema, base)
                    .map_err(|error| error.at(&format!("property `{name}`")))?;
                object.properties.push((name, id));
            }
        }
        // Draft 3 had a boolean here, which nobody refuses.
        let required = keywords.get("required").and_then(Json::as_array).unwrap_or_default();
        object.required = required.iter().filter_map(Json::as_str).collect();
        match keywords.get("additionalProperties").map(|json| (&json.node, json)) {
            Some((Node::Boolean(admits), _)) => object.admits_additional = *admits,
            Some((_, schema)) => {
                let id = self
                    .schema(schema, base)
                    .map_err(|error| error.at("`additionalProperties`"))?;
                object.additional = Some(id);
            }
            None => {}
        }
        Ok(object)
    }
}

/// A value as Java prints it.
fn java_text(json: &Json<'_>) -> String {
    match &json.node {
        Node::Null => "<NULL>".to_owned(),
        Node::Boolean(_) | Node::Number => json.raw.to_owned(),
        Node::String(text) => text.to_string(),
        Node::Array(items) => format!("[{}]", items.iter().map(java_text).collect::<Vec<_>>().join(", ")),
        Node::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("{name}={}", java_text(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
    }
}
