//! How settings name fields: at the top level only, or as paths (KIP-821).

use std::fmt;
use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigError, ConfigErrors, ConfigKey, ConfigType, DataError, Importance, Map, ParsedConfig, SchemaRef, SchemaType,
    Struct, Value,
};

use crate::part::Nulls;

/// The version of the notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldSyntax {
    /// The whole text is the name of a field at the top.
    V1,
    /// Steps with dots between them; backticks around a name that holds dots.
    V2,
}

impl FieldSyntax {
    pub(crate) const KEY: &str = "field.syntax.version";

    pub(crate) fn key() -> ConfigKey {
        ConfigKey::new(
            Self::KEY,
            ConfigType::String,
            Importance::High,
            "How field names are read: `V1` takes them literally, at the top level; `V2` takes paths such as `a.b`, \
             in which backticks enclose names that hold dots.",
        )
        .default("V1")
        .validator(Self::validator())
    }

    pub(crate) fn validator() -> Validator {
        Validator::one_of(&["V1", "V2"])
    }

    pub(crate) fn of(config: &ParsedConfig) -> Self {
        match config.str(Self::KEY) {
            Some(version) if version.eq_ignore_ascii_case("V2") => Self::V2,
            _ => Self::V1,
        }
    }

    /// The path that `text`, a part of the setting `key`, names.
    ///
    /// # Errors
    /// A backtick without its partner, an empty path.
    pub(crate) fn path(self, key: &str, text: &str) -> Result<FieldPath, ConfigErrors> {
        let steps = match self {
            Self::V1 => vec![Arc::from(text)],
            Self::V2 => steps(text).map_err(|message| ConfigError::new(key, message))?,
        };
        Ok(FieldPath { steps })
    }
}

/// Where a field is. There is at least one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldPath {
    steps: Vec<Arc<str>>,
}

impl FieldPath {
    pub(crate) fn steps(&self) -> &[Arc<str>] {
        &self.steps
    }

    /// The name of the field itself.
    pub(crate) fn last(&self) -> &Arc<str> {
        self.steps
            .last()
            .expect("there is at least one step: checked by `FieldSyntax::path`")
    }

    fn above(&self) -> &[Arc<str>] {
        self.steps.split_last().map_or(&[], |(_, above)| above)
    }

    /// The value in schemaless data; null if it or anything above it is missing or null.
    ///
    /// # Errors
    /// Something above it that is no map.
    pub(crate) fn in_map(&self, map: &Map) -> Result<Value, DataError> {
        let mut map = map;
        for step in self.above() {
            map = match map.get(step) {
                None | Some(Value::Null) => return Ok(Value::Null),
                Some(Value::Map(inner)) => inner,
                Some(other) => return Err(no_container(step, "a map", other)),
            };
        }
        Ok(map.get(self.last()).cloned().unwrap_or(Value::Null))
    }

    /// The schema of the field; none if there is no such field.
    ///
    /// # Errors
    /// Something above it that is no struct.
    pub(crate) fn in_schema<'a>(&self, schema: &'a SchemaRef) -> Result<Option<&'a SchemaRef>, DataError> {
        let mut schema = schema;
        for step in &self.steps {
            if schema.schema_type() != SchemaType::Struct {
                return Err(DataError::data(format!(
                    "field `{step}` is looked for in a {}, which has no fields",
                    schema.schema_type()
                )));
            }
            match schema.field(step) {
                Some(field) => schema = &field.schema,
                None => return Ok(None),
            }
        }
        Ok(Some(schema))
    }

    /// The value in a struct; null if anything above it is null or missing.
    ///
    /// # Errors
    /// Something above it that is no struct.
    pub(crate) fn in_struct(&self, source: &Struct, nulls: Nulls) -> Result<Value, DataError> {
        let mut source = source;
        for step in self.above() {
            source = match source.get(step) {
                None | Some(Value::Null) => return Ok(Value::Null),
                Some(Value::Struct(inner)) => inner,
                Some(other) => return Err(no_container(step, "a struct", other)),
            };
        }
        let value = match nulls {
            Nulls::Replaced => source.get(self.last()),
            Nulls::Kept => source.get_without_default(self.last()),
        };
        Ok(value.cloned().unwrap_or(Value::Null))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.steps.join("."))
    }
}

pub(crate) fn no_container(step: &str, wanted: &str, found: &Value) -> DataError {
    DataError::data(format!(
        "field `{step}` has to be {wanted}, and is: {}",
        found.type_name()
    ))
}

/// The steps of a path. A step in backticks ends at the next backtick that a dot or the end follows; one that a
/// backslash precedes is a backtick of the name.
fn steps(path: &str) -> Result<Vec<Arc<str>>, String> {
    if path.is_empty() {
        return Err("the path is empty: name a field".to_owned());
    }
    let mut steps = Vec::new();
    let mut rest = Some(path);
    while let Some(text) = rest {
        let Some(enclosed) = text.strip_prefix('`') else {
            let (step, after) = text
                .split_once('.')
                .map_or((text, None), |(step, after)| (step, Some(after)));
            steps.push(Arc::from(step));
            rest = after;
            continue;
        };
        let (step, after) = enclosed_step(enclosed).ok_or_else(|| {
            let at = path.len() - text.len();
            format!(
                "Incomplete backtick pair in path: [{path}], consider adding a backslash before backtick at position \
                 {at} to escape it"
            )
        })?;
        steps.push(step);
        rest = after;
    }
    Ok(steps)
}

fn enclosed_step(text: &str) -> Option<(Arc<str>, Option<&str>)> {
    let mut step = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((_, char)) = chars.next() {
        let ends_here = char == '`' && chars.peek().is_none_or(|(_, next)| *next == '.');
        if !ends_here {
            step.push(char);
            continue;
        }
        let dot = chars.next().map(|(dot, _)| dot);
        if step.ends_with('\\') {
            // At the end of the path nothing is left to close the step.
            dot?;
            step.pop();
            step.push_str("`.");
            continue;
        }
        let after = dot.and_then(|dot| text.get(dot + 1..));
        return Some((step.into(), after));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_in_connect() {
        let cases: [(&str, &[&str]); 11] = [
            ("a.b.c", &["a", "b", "c"]),
            ("`a.b`.c", &["a.b", "c"]),
            ("a.`b.c`", &["a", "b.c"]),
            ("a..b", &["a", "", "b"]),
            (".a", &["", "a"]),
            ("a.", &["a", ""]),
            (r"a.`b\`.c`", &["a", "b`.c"]),
            ("``a``", &["`a`"]),
            ("a`b`c", &["a`b`c"]),
            ("`a`.", &["a", ""]),
            ("`é`.ü", &["é", "ü"]),
        ];
        for (path, wanted) in cases {
            let got = steps(path).unwrap();
            assert_eq!(got.iter().map(|step| &**step).collect::<Vec<_>>(), wanted, "{path}");
        }
        for path in ["", "`a", "`a`b", "`a`b.c", r"`a\`", "`"] {
            assert!(steps(path).is_err(), "{path}");
        }
    }
}
