//! What a data contract asks of a record before it is converted.
//!
//! Today that is the JSON Schema itself, with `json.fail.invalid.schema=true`. Rules on single fields, such as the
//! conditions of a rule set that the registry keeps beside a schema, belong here too: they are compiled with the schema
//! ([`Contract::try_new`]) and asked for each record ([`Contract::check`]), whose error follows `errors.*`.
#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::fmt;

use jsonschema::{Retrieve, Uri, Validator};
use klamm_connect_api::DataError;

use super::document::{Documents, Json};
use super::types::Dialect;

/// Problems of a record that an error names.
const PROBLEMS: usize = 3;

/// The checks of one schema.
pub(super) struct Contract {
    validator: Validator,
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
            known.insert(uri.to_owned(), parse(json)?);
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
        let validator = jsonschema::options()
            .with_draft(draft)
            .with_retriever(References(known))
            .build(&parse(root.json)?)
            .map_err(|error| DataError::data(format!("the JSON Schema cannot be used to validate: {error}")))?;
        Ok(Self { validator })
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
        let mut problems = Vec::new();
        for problem in self.validator.iter_errors(&value).take(PROBLEMS) {
            let place = problem.instance_path().to_string();
            let place = if place.is_empty() { "/".to_owned() } else { place };
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
