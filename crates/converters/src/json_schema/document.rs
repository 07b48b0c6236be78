//! The JSON documents of a schema, and what a `$ref` in them refers to.
#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use klamm_connect_api::DataError;
use klamm_schema_registry::RegisteredSchema;
use percent_encoding::percent_decode_str;

use super::types::MAX_DEPTH;
use crate::json::scan::{Kind, Scanner};

/// Bytes of a schema with everything that it refers to, at most.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Values in them, at most: each takes some hundred bytes of memory.
const MAX_VALUES: usize = 500_000;
/// Arrays and objects inside each other, at most: schemas take up to three of them for each level.
const MAX_NESTED: usize = 3 * MAX_DEPTH;
/// Bytes of a URI, at most: relative ones inside each other add up.
const MAX_URI: usize = 4096;

/// A URI against which others are resolved. Most of a document has the same one.
pub(super) type Base = Arc<str>;

/// A JSON value that remembers its text: numbers and defaults keep every digit.
#[derive(Debug)]
pub(super) struct Json<'a> {
    pub(super) raw: &'a str,
    pub(super) node: Node<'a>,
}

#[derive(Debug)]
pub(super) enum Node<'a> {
    Null,
    Boolean(bool),
    Number,
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Object<'a>),
}

pub(super) type Object<'a> = IndexMap<Cow<'a, str>, Json<'a>>;

impl<'a> Json<'a> {
    /// The schema's own document alone, without what it refers to.
    ///
    /// # Errors
    /// As [`Documents::parse`].
    pub(super) fn alone(text: &'a str) -> Result<Self, DataError> {
        let mut left = MAX_VALUES;
        Self::parse(text, &mut left)
    }

    /// The value of a text; as everywhere in JSON Schema the last of equal names counts.
    ///
    /// # Errors
    /// No JSON, nested too deeply, or of more values than are `left`; those that it has are taken off.
    fn parse(text: &'a str, left: &mut usize) -> Result<Self, DataError> {
        Self::read(&mut Scanner::new(text), left, 0)
    }

    fn read(scanner: &mut Scanner<'a>, left: &mut usize, depth: usize) -> Result<Self, DataError> {
        if depth > MAX_NESTED {
            return Err(DataError::data(format!(
                "the JSON Schema is nested more than {MAX_NESTED} levels deep"
            )));
        }
        *left = left.checked_sub(1).ok_or_else(|| {
            DataError::data(format!(
                "the JSON Schema and what it refers to have more than {MAX_VALUES} values"
            ))
        })?;
        let kind = scanner.kind()?;
        let start = scanner.at();
        let node = match kind {
            Kind::Null => scanner.null().map(|()| Node::Null)?,
            Kind::Boolean => Node::Boolean(scanner.boolean()?),
            Kind::Number => scanner.number().map(|_| Node::Number)?,
            Kind::String => Node::String(scanner.string()?),
            Kind::Array => {
                let mut items = Vec::new();
                scanner.enter_array()?;
                while scanner.next_element(items.is_empty())? {
                    items.push(Self::read(scanner, left, depth + 1)?);
                }
                Node::Array(items)
            }
            Kind::Object => {
                let mut members = Object::new();
                let mut is_first = true;
                scanner.enter_object()?;
                while let Some(name) = scanner.next_member(is_first)? {
                    is_first = false;
                    members.insert(name, Self::read(scanner, left, depth + 1)?);
                }
                Node::Object(members)
            }
        };
        Ok(Self {
            raw: scanner.text_from(start),
            node,
        })
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.node {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_object(&self) -> Option<&Object<'a>> {
        match &self.node {
            Node::Object(members) => Some(members),
            _ => None,
        }
    }

    pub(super) fn as_array(&self) -> Option<&[Self]> {
        match &self.node {
            Node::Array(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }
}

/// The schema and all that it refers to.
#[derive(Debug)]
pub(super) struct Documents<'a> {
    /// The schema itself, with its URI.
    schema: (Base, Json<'a>),
    /// What it refers to, by URI.
    referenced: Vec<(Base, Json<'a>)>,
}

/// What a reference leads to, and the URI against which references in there are resolved.
#[derive(Debug)]
pub(super) struct Target<'d, 'a> {
    pub(super) json: &'d Json<'a>,
    pub(super) base: Base,
}

impl<'a> Documents<'a> {
    pub(super) fn parse(schema: &'a RegisteredSchema) -> Result<Self, DataError> {
        let texts = schema.references.iter().map(|reference| reference.document.text.len());
        let bytes = texts.fold(schema.document.text.len(), usize::saturating_add);
        if bytes > MAX_BYTES {
            return Err(DataError::data(format!(
                "the JSON Schema and what it refers to have {bytes} bytes, more than {MAX_BYTES}"
            )));
        }
        let mut left = MAX_VALUES;
        let json = Json::parse(&schema.document.text, &mut left)?;
        let base = own_base(&json, &Base::from(""))?;
        let mut referenced = Vec::with_capacity(schema.references.len());
        for reference in &schema.references {
            let at = |error: DataError| error.at(&format!("reference `{}`", reference.name));
            let json = Json::parse(&reference.document.text, &mut left).map_err(at)?;
            referenced.push((resolve(&base, &reference.name).map_err(at)?, json));
        }
        Ok(Self {
            schema: (base, json),
            referenced,
        })
    }

    pub(super) fn root(&self) -> Target<'_, 'a> {
        let (base, json) = &self.schema;
        Target {
            json,
            base: Arc::clone(base),
        }
    }

    /// The documents that the schema refers to, by URI.
    pub(super) fn referenced(&self) -> impl Iterator<Item = (&Base, &Json<'a>)> {
        self.referenced.iter().map(|(uri, json)| (uri, json))
    }

    /// All places that can be named without a pointer: documents, `$id`s and anchors.
    ///
    /// # Errors
    /// A `$id` that is too long.
    pub(super) fn index(&self) -> Result<Index<'_, 'a>, DataError> {
        let mut index = Index::default();
        for (uri, json) in std::iter::once(&self.schema).chain(&self.referenced) {
            index.add(json, uri)?;
            // The name under which a document is registered counts, whatever `$id` it has.
            index.documents.insert(Arc::clone(uri), (json, own_base(json, uri)?));
        }
        Ok(index)
    }
}

/// See [`Documents::index`].
#[derive(Debug, Default)]
pub(super) struct Index<'d, 'a> {
    /// By URI.
    documents: HashMap<Base, Place<'d, 'a>>,
    /// By the document's URI and their own name.
    anchors: HashMap<(Base, &'d str), Place<'d, 'a>>,
}

/// What can be named, with the URI against which references in there are resolved.
type Place<'d, 'a> = (&'d Json<'a>, Base);

impl<'d, 'a> Index<'d, 'a> {
    /// Takes up what is in a document.
    fn add(&mut self, json: &'d Json<'a>, base: &Base) -> Result<(), DataError> {
        match &json.node {
            Node::Object(members) => {
                let base = own_base(json, base)?;
                let place = || (json, Arc::clone(&base));
                if id_of(json).is_some() {
                    self.documents.entry(Arc::clone(&base)).or_insert_with(place);
                }
                let anchors = ["$anchor", "$dynamicAnchor", "$id", "id"];
                for anchor in anchors.iter().filter_map(|key| members.get(*key)?.as_str()) {
                    let anchor = anchor.strip_prefix('#').unwrap_or(anchor);
                    self.anchors.entry((Arc::clone(&base), anchor)).or_insert_with(place);
                }
                members.values().try_for_each(|member| self.add(member, &base))
            }
            Node::Array(items) => items.iter().try_for_each(|item| self.add(item, base)),
            Node::Null | Node::Boolean(_) | Node::Number | Node::String(_) => Ok(()),
        }
    }

    /// What `reference` refers to, read at a place whose URI is `base`. Nothing is fetched from anywhere.
    pub(super) fn find(&self, base: &Base, reference: &str) -> Result<Target<'d, 'a>, DataError> {
        let unknown = |why: &str| {
            DataError::data(format!(
                "`$ref` to `{reference}` {why}: name the schema that it refers to in the references of this one"
            ))
        };
        let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let uri = if uri.is_empty() {
            Arc::clone(base)
        } else {
            resolve(base, uri)?
        };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            let (json, base) = self
                .anchors
                .get(&(uri, fragment))
                .ok_or_else(|| unknown("leads to no anchor"))?;
            return Ok(Target {
                json,
                base: Arc::clone(base),
            });
        }
        let (mut json, mut base) = self
            .documents
            .get(&uri)
            .map(|(json, base)| (*json, Arc::clone(base)))
            .ok_or_else(|| unknown("leads to no document"))?;
        for token in fragment.split('/').skip(1) {
            let token = percent_decode_str(token)
                .decode_utf8_lossy()
                .replace("~1", "/")
                .replace("~0", "~");
            json = match &json.node {
                Node::Object(members) => members.get(token.as_str()),
                Node::Array(items) => token.parse::<usize>().ok().and_then(|index| items.get(index)),
                Node::Null | Node::Boolean(_) | Node::Number | Node::String(_) => None,
            }
            .ok_or_else(|| unknown(&format!("has nothing at `{token}`")))?;
            base = own_base(json, &base)?;
        }
        Ok(Target { json, base })
    }
}

/// The identifier of a schema, if it names a document rather than an anchor.
fn id_of<'d>(json: &'d Json<'_>) -> Option<&'d str> {
    // `id` is what draft 4 has.
    let id = json.get("$id").or_else(|| json.get("id"))?.as_str()?;
    (!id.starts_with('#') && !id.is_empty()).then_some(id)
}

/// The URI against which references in `json` are resolved.
///
/// # Errors
/// A URI that is too long.
pub(super) fn own_base(json: &Json<'_>, base: &Base) -> Result<Base, DataError> {
    match id_of(json) {
        None => Ok(Arc::clone(base)),
        Some(id) => resolve(base, id),
    }
}

/// A reference as an absolute URI, see [`absolute`].
///
/// # Errors
/// One that is too long.
fn resolve(base: &str, reference: &str) -> Result<Base, DataError> {
    let too_long = |length: usize| {
        DataError::data(format!(
            "a URI in the JSON Schema has {length} bytes, more than {MAX_URI}"
        ))
    };
    if reference.len() > MAX_URI {
        return Err(too_long(reference.len()));
    }
    let uri = absolute(base, reference);
    if uri.len() > MAX_URI {
        return Err(too_long(uri.len()));
    }
    Ok(Base::from(uri))
}

/// A reference as an absolute URI (RFC 3986 section 5.2), or as it is where there is nothing absolute to start from.
fn absolute(base: &str, reference: &str) -> String {
    let reference = reference.split('#').next().unwrap_or_default();
    let base = base.split(['#', '?']).next().unwrap_or_default();
    if reference.is_empty() {
        return base.to_owned();
    }
    let has_scheme = reference
        .split_once(':')
        .is_some_and(|(scheme, _)| !scheme.is_empty() && !scheme.contains(['/', '?', '.']));
    let Some((scheme, rest)) = base.split_once("://").filter(|_| !has_scheme) else {
        return match base.rsplit_once('/') {
            // Names such as `dir/a.json`, which are no URIs.
            Some((folder, _)) if !has_scheme && !base.contains(':') && !reference.starts_with('/') => {
                without_dots(&format!("{folder}/{reference}"))
            }
            _ => reference.to_owned(),
        };
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = if let Some(absolute) = reference.strip_prefix('/') {
        absolute.to_owned()
    } else {
        match path.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{reference}"),
            None => reference.to_owned(),
        }
    };
    format!("{scheme}://{authority}/{}", without_dots(&path))
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    kept.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_its_uri_once() {
        let mut left = MAX_VALUES;
        let json = Json::parse(r#"{"$id":"http://x/a","b":{"$anchor":"c"},"d":{"$id":"e"}}"#, &mut left).unwrap();
        let base = own_base(&json, &Base::from("")).unwrap();
        let inner = own_base(json.get("b").unwrap(), &base).unwrap();
        assert!(Arc::ptr_eq(&inner, &base), "a copy for each value would be quadratic");
        let other = own_base(json.get("d").unwrap(), &base).unwrap();
        assert_eq!((&*base, &*other), ("http://x/a", "http://x/e"));
        let mut index = Index::default();
        index.add(&json, &Base::from("")).unwrap();
        assert!(
            index
                .anchors
                .keys()
                .any(|(uri, name)| (&**uri, *name) == ("http://x/a", "c"))
        );
        assert_eq!(left, MAX_VALUES - 6);
    }

    #[test]
    fn references_are_resolved_against_the_place_where_they_stand() {
        let cases = [
            ("", "a.json", "a.json", "nothing to start from"),
            ("http://x/y/z.json", "a.json#/b", "http://x/y/a.json", "beside"),
            ("http://x/y/z.json", "../a.json", "http://x/a.json", "above"),
            ("http://x/y/z.json", "/a.json", "http://x/a.json", "from the top"),
            ("http://x", "a.json", "http://x/a.json", "a host alone"),
            ("http://x/y", "urn:a:b", "urn:a:b", "absolute by itself"),
            ("dir/a.json", "b.json", "dir/b.json", "names with folders"),
            ("a.json", "#/definitions/B", "a.json", "the same document"),
        ];
        for (base, reference, wanted, why) in cases {
            assert_eq!(absolute(base, reference), wanted, "{why}");
        }
    }
}
