//! Reads patterns.

use klamm_connect_api::{Map, Value};
use klamm_converters::parse_json;

use super::rule::{Comparison, Network, Rule, TextRule, decimal};
use super::{Fields, Node};

type Result<T> = std::result::Result<T, String>;

/// Lambda's limit for a pattern.
const MAX_LENGTH: usize = 4096;
/// Objects inside of each other.
const MAX_DEPTH: usize = 100;
/// What a pattern can speak of at its outermost level.
const MEMBERS: [&str; 7] = ["key", "value", "headers", "topic", "partition", "offset", "timestamp"];

pub(super) fn pattern(text: &str) -> Result<Fields> {
    if text.len() > MAX_LENGTH {
        return Err(format!("the pattern has more than {MAX_LENGTH} bytes"));
    }
    let Value::Map(map) = parse_json(text).map_err(|error| format!("the pattern is no JSON: {error}"))? else {
        return Err("the pattern has to be a JSON object".to_owned());
    };
    let fields = fields(&map, "", MAX_DEPTH)?;
    check_members(&fields)?;
    Ok(fields)
}

fn check_members(fields: &Fields) -> Result<()> {
    for (name, node) in &fields.members {
        let is_object = matches!(node, Node::Object(_));
        match (&**name, is_object) {
            (name, _) if !MEMBERS.contains(&name) => {
                return Err(format!("a record has no `{name}`: there are {}", MEMBERS.join(", ")));
            }
            ("topic" | "partition" | "offset" | "timestamp", true) => {
                return Err(format!("`{name}` takes a list of rules: it has no members"));
            }
            ("headers", false) => return Err("`headers` takes an object: name a header".to_owned()),
            _ => {}
        }
    }
    fields.alternatives.iter().flatten().try_for_each(check_members)
}

/// `at` is the path of the object, for texts.
fn fields(map: &Map, at: &str, depth: usize) -> Result<Fields> {
    if depth == 0 {
        return Err(format!("the pattern is nested more than {MAX_DEPTH} levels deep"));
    }
    let mut fields = Fields::default();
    for (name, value) in map.iter() {
        let name = name.as_str().unwrap_or_default();
        let path = if at.is_empty() {
            name.to_owned()
        } else {
            format!("{at}.{name}")
        };
        match value {
            Value::Array(items) if name == "$or" => fields.alternatives.push(alternatives(items, at, depth)?),
            Value::Map(map) => {
                let node = Node::Object(self::fields(map, &path, depth - 1)?);
                fields.members.push((name.into(), node));
            }
            Value::Array(items) if !items.is_empty() => {
                let rules = items.iter().map(|item| rule(item, &path)).collect::<Result<_>>()?;
                fields.members.push((name.into(), Node::Leaf(rules)));
            }
            Value::Array(_) => return Err(format!("`{path}`: the list of rules is empty, so nothing matches")),
            _ => {
                return Err(format!(
                    "`{path}` takes a list of rules, such as [\"a\", {{\"prefix\": \"b\"}}], or an object"
                ));
            }
        }
    }
    if fields.members.is_empty() && fields.alternatives.is_empty() {
        let place = if at.is_empty() { "the pattern" } else { at };
        return Err(format!("`{place}`: the object is empty"));
    }
    Ok(fields)
}

fn alternatives(items: &[Value], at: &str, depth: usize) -> Result<Vec<Fields>> {
    if items.len() < 2 {
        return Err("`$or` takes a list of at least two objects".to_owned());
    }
    let one = |item: &Value| match item {
        Value::Map(map) => fields(map, at, depth - 1),
        _ => Err("`$or` takes a list of objects".to_owned()),
    };
    items.iter().map(one).collect()
}

fn rule(item: &Value, at: &str) -> Result<Rule> {
    match item {
        Value::Map(map) => named(map, at),
        Value::Array(_) => Err(format!("`{at}`: a rule is no list")),
        scalar => {
            self::scalar(scalar).ok_or_else(|| format!("`{at}`: a rule is a text, number, boolean, null or object"))
        }
    }
}

fn scalar(value: &Value) -> Option<Rule> {
    match value {
        Value::Null => Some(Rule::Null),
        Value::Boolean(value) => Some(Rule::Boolean(*value)),
        Value::String(text) => Some(Rule::Text(TextRule::Equals(text.as_str().into()))),
        number => decimal(number).map(Rule::Number),
    }
}

/// `{"prefix": "a"}`
fn named(map: &Map, at: &str) -> Result<Rule> {
    let mut entries = map.iter();
    let (Some((name, value)), None) = (entries.next(), entries.next()) else {
        return Err(format!(
            "`{at}`: a rule is an object with one member, such as {{\"prefix\": \"a\"}}"
        ));
    };
    let name = name.as_str().unwrap_or_default();
    if let Some(rule) = text_rule(name, value, at)? {
        return Ok(Rule::Text(rule));
    }
    match (name, value) {
        ("exists", Value::Boolean(wanted)) => Ok(Rule::Exists(*wanted)),
        ("exists", _) => Err(format!("`{at}`: `exists` takes true or false")),
        ("numeric", Value::Array(items)) => numeric(items, at),
        ("numeric", _) => Err(format!("`{at}`: `numeric` takes a list such as [\">\", 0, \"<=\", 5]")),
        ("cidr", Value::String(text)) => match Network::parse(text) {
            Some(network) => Ok(Rule::Cidr(network)),
            None => Err(format!("`{at}`: `cidr` takes a block such as \"10.0.0.0/24\"")),
        },
        ("anything-but", but) => anything_but(but, at),
        _ => Err(format!(
            "`{at}`: there is no rule `{name}`: there are prefix, suffix, equals-ignore-case, wildcard, anything-but, \
             numeric, cidr and exists"
        )),
    }
}

/// The rules on texts; none if `name` is another rule.
fn text_rule(name: &str, value: &Value, at: &str) -> Result<Option<TextRule>> {
    let ignored_case = |value: &Value| match value {
        Value::Map(map) if map.len() == 1 => {
            let text = map.get("equals-ignore-case").and_then(Value::as_str);
            text.map(str::to_lowercase)
        }
        _ => None,
    };
    let text = value.as_str();
    let rule = match (name, text, ignored_case(value)) {
        ("prefix", Some(text), _) => TextRule::Prefix(text.to_owned()),
        ("prefix", _, Some(text)) => TextRule::PrefixIgnoreCase(text),
        ("suffix", Some(text), _) => TextRule::Suffix(text.to_owned()),
        ("suffix", _, Some(text)) => TextRule::SuffixIgnoreCase(text),
        ("equals-ignore-case", Some(text), _) => TextRule::EqualsIgnoreCase(text.to_lowercase()),
        ("wildcard", Some(text), _) => TextRule::Wildcard(wildcard(text, at)?),
        ("prefix" | "suffix" | "equals-ignore-case" | "wildcard", _, _) => {
            return Err(format!("`{at}`: `{name}` takes a text"));
        }
        _ => return Ok(None),
    };
    Ok(Some(rule))
}

/// The parts between asterisks; `\*` and `\\` stand for the characters.
fn wildcard(text: &str, at: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    let mut was_asterisk = false;
    while let Some(char) = chars.next() {
        let is_asterisk = char == '*';
        if is_asterisk && was_asterisk {
            return Err(format!("`{at}`: `wildcard` takes no two `*` in a row"));
        }
        was_asterisk = is_asterisk;
        let literal = match char {
            '*' => {
                parts.push(String::new());
                continue;
            }
            '\\' => match chars.next() {
                Some(escaped @ ('*' | '\\')) => escaped,
                _ => return Err(format!("`{at}`: in `wildcard` a backslash precedes `*` or another one")),
            },
            other => other,
        };
        if let Some(part) = parts.last_mut() {
            part.push(literal);
        }
    }
    Ok(parts)
}

/// A text, number, boolean, null, a list of them, or a rule on texts with one text or a list.
fn anything_but(but: &Value, at: &str) -> Result<Rule> {
    let wrong = || format!("`{at}`: `anything-but` takes a value, a list of values, or a rule on texts");
    let rules = match but {
        Value::Array(items) if !items.is_empty() => {
            items.iter().map(scalar).collect::<Option<Vec<_>>>().ok_or_else(wrong)?
        }
        Value::Map(map) => {
            let mut entries = map.iter();
            let (Some((name, value)), None) = (entries.next(), entries.next()) else {
                return Err(wrong());
            };
            let name = name.as_str().unwrap_or_default();
            let values = match value {
                Value::Array(items) => items.as_slice(),
                value => std::slice::from_ref(value),
            };
            let one = |value: &Value| text_rule(name, value, at)?.map(Rule::Text).ok_or_else(wrong);
            values.iter().map(one).collect::<Result<Vec<_>>>()?
        }
        value => vec![scalar(value).ok_or_else(wrong)?],
    };
    if rules.is_empty() {
        return Err(wrong());
    }
    Ok(Rule::AnythingBut(rules))
}

fn numeric(items: &[Value], at: &str) -> Result<Rule> {
    let wrong = || format!("`{at}`: `numeric` takes a list such as [\">\", 0, \"<=\", 5]");
    let (pairs, rest) = items.as_chunks::<2>();
    if pairs.is_empty() || pairs.len() > 2 || !rest.is_empty() {
        return Err(wrong());
    }
    let one = |[comparison, bound]: &[Value; 2]| {
        let comparison = comparison.as_str().and_then(Comparison::parse);
        comparison.zip(decimal(bound)).ok_or_else(wrong)
    };
    pairs.iter().map(one).collect::<Result<_>>().map(Rule::Numeric)
}
