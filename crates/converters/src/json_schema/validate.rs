//! What a data contract asks of a record before it is converted.
//!
//! Today that is the JSON Schema itself, with `json.fail.invalid.schema=true`. Rules on single fields, such as the
//! conditions of a rule set that the registry keeps beside a schema, belong here too: they are compiled with the schema
//! ([`Contract::try_new`]) and asked for each record ([`Contract::check`]), whose error follows `errors.*`.
#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::fmt;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use klamm_connect_api::DataError;

use super::document::{Base, Documents, Index, Json, Node, own_base};
use super::types::{Dialect, MAX_DEPTH};

/// Problems of a record that an error names.
const PROBLEMS: usize = 3;

/// Schemas that may apply inside each other while a record is checked: the validator recurses.
const MAX_NESTED: usize = 4000;
/// Steps back that a pattern may take on one string: some for each character, unless repetitions in repetitions multiply
/// them. Patterns without look-around and back references take none.
const MAX_STEPS_BACK: usize = 50_000;
/// Keywords whose schemas apply to the same value as the schema that has them.
const IN_PLACE: [&str; 9] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependencies",
    "dependentSchemas",
];
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// The checks of one schema.
pub(super) struct Contract {
    validator: Validator,
    /// How many schemas apply to one value inside each other, at most.
    chain: usize,
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract").finish_non_exhaustive()
    }
}

impl Contract {
    /// The checks of a schema. Nothing is fetched: what it refers to is in its references.
    pub(super) fn try_new(documents: &Documents<'_>, ignore_modern: bool) -> Result<Self, DataError> {
        let parse = |json: &Json<'_>| {
            serde_json::from_str::<serde_json::Value>(json.raw)
                .map_err(|error| DataError::data(format!("the JSON Schema cannot be used to validate: {error}")))
        };
        let root = documents.root();
        let mut known = HashMap::new();
        for (uri, json) in documents.referenced() {
            known.insert(uri.to_string(), parse(json)?);
        }
        let draft = match Dialect::of(root.json, ignore_modern) {
            Dialect::Draft4 => jsonschema::Draft::Draft4,
            Dialect::Draft6 => jsonschema::Draft::Draft6,
            Dialect::Draft7 => jsonschema::Draft::Draft7,
            Dialect::Modern => {
                let uri = root.json.get("$schema").and_then(Json::as_str).unwrap_or_default();
                if uri.contains("2019-09") {
                    jsonschema::Draft::Draft201909
                } else {
                    jsonschema::Draft::Draft202012
                }
            }
        };
        let mut chains = Chains {
            index: documents.index()?,
            lengths: HashMap::new(),
        };
        chains.all(root.json, &root.base)?;
        for (uri, json) in documents.referenced() {
            chains.all(json, uri)?;
        }
        let chain = chains.lengths.values().copied().flatten().max().unwrap_or(1);
        let validator = jsonschema::options()
            .with_draft(draft)
            .with_retriever(References(known))
            .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(MAX_STEPS_BACK))
            .build(&parse(root.json)?)
            .map_err(|error| DataError::data(format!("the JSON Schema cannot be used to validate: {error}")))?;
        Ok(Self { validator, chain })
    }

    /// Whether a record is as its schema asks.
    ///
    /// # Errors
    /// Where it is not, and by which keyword; never what stands there.
    pub(super) fn check(&self, text: &str) -> Result<(), DataError> {
        let mut texts = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
        let value = match texts.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                return Err(DataError::data(format!(
                    "the record cannot be validated: line {} column {}: {}",
                    error.line(),
                    error.column(),
                    // Its text names no part of the record for these.
                    match error.classify() {
                        serde_json::error::Category::Eof => "the text ends too early",
                        _ => "no JSON, or nested more than 127 levels deep",
                    }
                )));
            }
            None => return Err(DataError::data("the record cannot be validated: it is empty")),
        };
        if depth(&value).saturating_mul(self.chain) > MAX_NESTED {
            return Err(DataError::data(format!(
                "the record is nested too deeply to be validated by a schema that nests {} schemas for one value",
                self.chain
            )));
        }
        let mut problems = Vec::new();
        for problem in self.validator.iter_errors(&value).take(PROBLEMS) {
            let place = problem.instance_path().to_string();
            let place = if place.is_empty() { "/".to_owned() } else { place };
            if matches!(problem.kind(), ValidationErrorKind::BacktrackLimitExceeded { .. }) {
                return Err(DataError::data(format!(
                    "the record cannot be validated: `{}` takes more than {MAX_STEPS_BACK} steps back for {place}: write \
                     the pattern without repetitions of repetitions",
                    problem.schema_path()
                )));
            }
            problems.push(format!("{place} breaks `{}`", problem.schema_path()));
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(DataError::data(format!(
            "the record is not valid by its JSON Schema (json.fail.invalid.schema=true): {}",
            problems.join("; ")
        )))
    }
}

/// Levels of a value, the outermost one included.
fn depth(value: &serde_json::Value) -> usize {
    let inside = match value {
        serde_json::Value::Array(items) => items.iter().map(depth).max(),
        serde_json::Value::Object(members) => members.values().map(depth).max(),
        _ => None,
    };
    inside.unwrap_or(0) + 1
}

/// How long the chains of schemas are that apply to one value.
struct Chains<'d, 'a> {
    index: Index<'d, 'a>,
    /// By schema; none while it is being followed.
    lengths: HashMap<*const Json<'a>, Option<usize>>,
}

impl<'d, 'a> Chains<'d, 'a> {
    /// Follows the chains that begin anywhere in a document: whatever is an object may be a schema.
    fn all(&mut self, json: &'d Json<'a>, base: &Base) -> Result<(), DataError> {
        match &json.node {
            Node::Object(members) => {
                self.length(json, base, 0)?;
                let base = own_base(json, base)?;
                members.values().try_for_each(|member| self.all(member, &base))
            }
            Node::Array(items) => items.iter().try_for_each(|item| self.all(item, base)),
            Node::Null | Node::Boolean(_) | Node::Number | Node::String(_) => Ok(()),
        }
    }

    fn length(&mut self, json: &'d Json<'a>, base: &Base, depth: usize) -> Result<usize, DataError> {
        let endless = || {
            DataError::data("the JSON Schema refers to itself for one and the same value: it cannot be validated by")
        };
        let Some(members) = json.as_object() else {
            return Ok(1);
        };
        match self.lengths.get(&std::ptr::from_ref(json)) {
            Some(Some(length)) => return Ok(*length),
            Some(None) => return Err(endless()),
            None if depth > MAX_DEPTH => return Err(endless()),
            None => {}
        }
        self.lengths.insert(std::ptr::from_ref(json), None);
        let base = own_base(json, base)?;
        let mut longest = 0;
        for key in IN_PLACE {
            let inside = match members.get(key).map(|json| (&json.node, json)) {
                Some((Node::Array(items), _)) => items.iter().collect(),
                Some((Node::Object(members), _)) if key.starts_with("depend") => members.values().collect(),
                Some((_, json)) => vec![json],
                None => Vec::new(),
            };
            for json in inside {
                longest = longest.max(self.length(json, &base, depth + 1)?);
            }
        }
        for reference in REFERENCES.iter().filter_map(|key| members.get(*key)?.as_str()) {
            // One that leads nowhere is the validator's to report.
            if let Ok(target) = self.index.find(&base, reference) {
                longest = longest.max(self.length(target.json, &target.base, depth + 1)?);
            }
        }
        self.lengths.insert(std::ptr::from_ref(json), Some(longest + 1));
        Ok(longest + 1)
    }
}

/// The documents that a schema refers to.
struct References(HashMap<String, serde_json::Value>);

impl Retrieve for References {
    fn retrieve(&self, uri: &Uri<String>) -> Result<serde_json::Value, Box<dyn std::error::Error + Send + Sync>> {
        let uri = uri.as_str().trim_end_matches('#');
        // A schema without `$id` has a base of the validator's own.
        let name = uri.strip_prefix("json-schema:///").unwrap_or(uri);
        let document = self.0.get(uri).or_else(|| self.0.get(name));
        document
            .cloned()
            .ok_or_else(|| format!("`{name}` is not among the schema's references").into())
    }
}
