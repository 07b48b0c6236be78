//! `EventPattern`: a predicate in the language of Amazon EventBridge's event patterns, on key, value, headers and
//! metadata.
//!
//! `parse` reads patterns, `rule` decides single values; walking the record is here.

mod parse;
mod rule;

use std::sync::Arc;

use klamm_connect_api::config::Validator;
use klamm_connect_api::{
    ConfigDef, ConfigError, ConfigKey, ConfigType, DataError, Headers, Importance, Predicate, PredicatePlugin, Record,
    Struct, Value,
};

use self::rule::Rule;
use crate::predicates::plugin;

const PATTERN: &str = "pattern";

pub(crate) fn predicate() -> PredicatePlugin {
    plugin("io.klamm.transforms.predicates.EventPattern", config_def, |config| {
        let pattern = parse::pattern(config.str(PATTERN).unwrap_or_default())
            .map_err(|message| ConfigError::new(PATTERN, message))?;
        Ok(Arc::new(EventPattern(pattern)))
    })
}

fn config_def() -> ConfigDef {
    ConfigDef::new().key(
        ConfigKey::new(
            PATTERN,
            ConfigType::String,
            Importance::High,
            "A pattern in the language of Amazon EventBridge, as JSON, on an object with the members `key`, `value`, \
             `headers`, `topic`, `partition`, `offset` and `timestamp` (milliseconds): for example \
             `{\"value\": {\"state\": [\"paid\", {\"prefix\": \"ship\"}], \"total\": [{\"numeric\": [\">\", 100]}]}}`. \
             Objects lead to nested fields and all their members have to match; of the rules in a list one has to. Rules \
             are a text, number, true, false or null, and `prefix`, `suffix`, `equals-ignore-case`, `wildcard`, \
             `anything-but`, `numeric`, `cidr` and `exists`; `$or` takes a list of objects. A list in the record matches \
             if one of its elements does, and so do headers of one name. Numbers compare by value; a member that is \
             missing, or of another kind than the rule, does not match.",
        )
        .validator(Validator::new(|text| parse::pattern(text).map(|_| ()))),
    )
}

#[derive(Debug)]
struct EventPattern(Fields);

/// The members of an object that have to match, all of them.
#[derive(Debug, Default)]
struct Fields {
    members: Vec<(Arc<str>, Node)>,
    /// Of each list one has to match (`$or`).
    alternatives: Vec<Vec<Self>>,
}

#[derive(Debug)]
enum Node {
    Object(Fields),
    Leaf(Vec<Rule>),
}

impl Predicate for EventPattern {
    fn test(&self, record: &mut Record) -> Result<bool, DataError> {
        if self.0.mentions("key") {
            record.key.decoded()?;
        }
        if self.0.mentions("value") {
            record.value.decoded()?;
        }
        if self.0.mentions("headers") {
            for header in record.headers.iter_mut() {
                header.value.decoded()?;
            }
        }
        let metadata = Metadata {
            topic: Value::from(&record.topic),
            partition: record.partition.map_or(Value::Null, Value::Int32),
            offset: Value::Int64(record.origin().offset),
            timestamp: record.timestamp.map_or(Value::Null, Value::Int64),
        };
        Ok(self.0.matches(&Target::Record(record, &metadata)))
    }
}

struct Metadata {
    topic: Value,
    partition: Value,
    offset: Value,
    timestamp: Value,
}

/// A place in a record.
enum Target<'a> {
    Missing,
    Record(&'a Record, &'a Metadata),
    Headers(&'a Headers),
    /// All headers of a name.
    Header(&'a Headers, &'a str),
    Value(&'a Value),
}

impl<'a> Target<'a> {
    fn of_datum(datum: &'a klamm_connect_api::Datum) -> Self {
        match datum {
            klamm_connect_api::Datum::Decoded(data) => Self::Value(&data.value),
            // Whatever the pattern mentions has been decoded.
            klamm_connect_api::Datum::Encoded { .. } => Self::Missing,
        }
    }

    fn member(&self, name: &'a str) -> Self {
        match self {
            Self::Record(record, metadata) => match name {
                "key" => Self::of_datum(&record.key),
                "value" => Self::of_datum(&record.value),
                "headers" => Self::Headers(&record.headers),
                "topic" => Self::Value(&metadata.topic),
                "partition" => Self::Value(&metadata.partition),
                "offset" => Self::Value(&metadata.offset),
                "timestamp" => Self::Value(&metadata.timestamp),
                _ => Self::Missing,
            },
            Self::Headers(headers) => Self::Header(headers, name),
            Self::Value(Value::Map(map)) => map.get(name).map_or(Self::Missing, Self::Value),
            Self::Value(Value::Struct(data)) => member(data, name),
            Self::Missing | Self::Header(..) | Self::Value(_) => Self::Missing,
        }
    }

    /// Whether `matches` says so of one of the values here: the elements of lists, and all headers of a name.
    fn any(&self, matches: &mut dyn FnMut(&Target<'_>) -> bool) -> bool {
        match self {
            Self::Value(Value::Array(items)) => items.iter().any(|item| Target::Value(item).any(matches)),
            Self::Header(headers, name) => headers
                .iter()
                .filter(|header| &*header.key == *name)
                .any(|header| Target::of_datum(&header.value).any(matches)),
            Self::Missing => false,
            Self::Record(..) | Self::Headers(_) | Self::Value(_) => matches(self),
        }
    }

    /// The value, if it is none that holds others.
    fn leaf(&self) -> Option<&Value> {
        match self {
            Self::Value(Value::Map(_) | Value::Struct(_) | Value::Array(_)) => None,
            Self::Value(value) => Some(value),
            Self::Missing | Self::Record(..) | Self::Headers(_) | Self::Header(..) => None,
        }
    }
}

fn member<'a>(data: &'a Struct, name: &str) -> Target<'a> {
    data.get(name).map_or(Target::Missing, Target::Value)
}

impl Fields {
    /// Whether the outermost level has a member of that name.
    fn mentions(&self, name: &str) -> bool {
        self.members.iter().any(|(known, _)| **known == *name)
            || self.alternatives.iter().flatten().any(|fields| fields.mentions(name))
    }

    fn matches(&self, target: &Target<'_>) -> bool {
        self.members
            .iter()
            .all(|(name, node)| node.matches(&target.member(name)))
            && self
                .alternatives
                .iter()
                .all(|fields| fields.iter().any(|fields| fields.matches(target)))
    }

    /// Whether an object that has no members would match.
    fn matches_nothing(&self) -> bool {
        self.matches(&Target::Missing)
    }
}

impl Node {
    fn matches(&self, target: &Target<'_>) -> bool {
        match self {
            // One element of a list has to match as a whole.
            Self::Object(fields) => {
                target.any(&mut |target| fields.matches(target)) || {
                    // `{"a": {"b": [{"exists": false}]}}` also says that there is no `a`.
                    matches!(target, Target::Missing) && fields.matches_nothing()
                }
            }
            Self::Leaf(rules) => rules.iter().any(|rule| match rule {
                Rule::Exists(wanted) => target.any(&mut |target| target.leaf().is_some()) == *wanted,
                rule => target.any(&mut |target| target.leaf().is_some_and(|value| rule.matches(value))),
            }),
        }
    }
}
