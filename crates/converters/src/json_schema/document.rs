//! The JSON documents of a schema, and what a `$ref` in them refers to.
#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;
use std::collections::HashMap;

use indexmap::IndexMap;
use klamm_connect_api::DataError;
use klamm_schema_registry::RegisteredSchema;
use percent_encoding::percent_decode_str;

use crate::json::scan::{Kind, Scanner};

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
    /// The value of a text; as everywhere in JSON Schema the last of equal names counts.
    pub(super) fn parse(text: &'a str) -> Result<Self, DataError> {
        Self::read(&mut Scanner::new(text))
    }

    fn read(scanner: &mut Scanner<'a>) -> Result<Self, DataError> {
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
                    items.push(Self::read(scanner)?);
                }
                Node::Array(items)
            }
            Kind::Object => {
                let mut members = Object::new();
                let mut is_first = true;
                scanner.enter_object()?;
                while let Some(name) = scanner.next_member(is_first)? {
                    is_first = false;
                    members.insert(name, Self::read(scanner)?);
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
    schema: (String, Json<'a>),
    /// What it refers to, by URI.
    referenced: Vec<(String, Json<'a>)>,
}

/// What a reference leads to, and the URI against which references in there are resolved.
#[derive(Debug)]
pub(super) struct Target<'d, 'a> {
    pub(super) json: &'d Json<'a>,
    pub(super) base: String,
}

impl<'a> Documents<'a> {
    pub(super) fn parse(schema: &'a RegisteredSchema) -> Result<Self, DataError> {
        let json = Json::parse(&schema.document.text)?;
        let base = id_of(&json).map(|id| resolve("", id)).unwrap_or_default();
        let mut referenced = Vec::with_capacity(schema.references.len());
        for reference in &schema.references {
            let json = Json::parse(&reference.document.text)
                .map_err(|error| error.at(&format!("reference `{}`", reference.name)))?;
            referenced.push((resolve(&base, &reference.name), json));
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
            base: base.clone(),
        }
    }

    /// The documents that the schema refers to, by URI.
    pub(super) fn referenced(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.referenced.iter().map(|(uri, json)| (uri.as_str(), json))
    }

    /// All places that can be named without a pointer: documents, `$id`s and anchors.
    pub(super) fn index(&self) -> Index<'_, 'a> {
        let mut places = HashMap::new();
        for (uri, json) in std::iter::once(&self.schema).chain(&self.referenced) {
            index(json, uri, &mut places);
            // The name under which a document is registered counts, whatever `$id` it has.
            places.insert(uri.clone(), (json, own_base(json, uri)));
        }
        Index { places }
    }
}

/// See [`Documents::index`].
#[derive(Debug)]
pub(super) struct Index<'d, 'a> {
    places: HashMap<String, (&'d Json<'a>, String)>,
}

impl<'d, 'a> Index<'d, 'a> {
    /// What `reference` refers to, read at a place whose URI is `base`. Nothing is fetched from anywhere.
    pub(super) fn find(&self, base: &str, reference: &str) -> Result<Target<'d, 'a>, DataError> {
        let unknown = |why: &str| {
            DataError::data(format!(
                "`$ref` to `{reference}` {why}: name the schema that it refers to in the references of this one"
            ))
        };
        let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let uri = if uri.is_empty() {
            base.to_owned()
        } else {
            resolve(base, uri)
        };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            let (json, base) = self
                .places
                .get(&format!("{uri}#{fragment}"))
                .ok_or_else(|| unknown("leads to no anchor"))?;
            return Ok(Target {
                json,
                base: base.clone(),
            });
        }
        let (mut json, mut base) = self
            .places
            .get(&uri)
            .map(|(json, base)| (*json, base.clone()))
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
            base = own_base(json, &base);
        }
        Ok(Target { json, base })
    }
}

/// The identifier of a schema, if it names a document rather than an anchor.
pub(super) fn id_of<'d>(json: &'d Json<'_>) -> Option<&'d str> {
    // `id` is what draft 4 has.
    let id = json.get("$id").or_else(|| json.get("id"))?.as_str()?;
    (!id.starts_with('#') && !id.is_empty()).then_some(id)
}

/// The URI against which references in `json` are resolved.
pub(super) fn own_base(json: &Json<'_>, base: &str) -> String {
    id_of(json).map_or_else(|| base.to_owned(), |id| resolve(base, id))
}

fn index<'d, 'a>(json: &'d Json<'a>, base: &str, places: &mut HashMap<String, (&'d Json<'a>, String)>) {
    match &json.node {
        Node::Object(members) => {
            let base = own_base(json, base);
            if id_of(json).is_some() {
                places.entry(base.clone()).or_insert_with(|| (json, base.clone()));
            }
            let anchors = ["$anchor", "$dynamicAnchor", "$id", "id"];
            for anchor in anchors.iter().filter_map(|key| members.get(*key)?.as_str()) {
                let anchor = anchor.strip_prefix('#').unwrap_or(anchor);
                places
                    .entry(format!("{base}#{anchor}"))
                    .or_insert_with(|| (json, base.clone()));
            }
            for member in members.values() {
                index(member, &base, places);
            }
        }
        Node::Array(items) => {
            for item in items {
                index(item, base, places);
            }
        }
        Node::Null | Node::Boolean(_) | Node::Number | Node::String(_) => {}
    }
}

/// A reference as an absolute URI (RFC 3986 section 5.2), or as it is where there is nothing absolute to start from.
pub(super) fn resolve(base: &str, reference: &str) -> String {
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
            assert_eq!(resolve(base, reference), wanted, "{why}");
        }
    }
}
