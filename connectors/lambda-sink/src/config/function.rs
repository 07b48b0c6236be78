use std::fmt;

use klamm_java_compat::Pattern;

use crate::template::{Piece, Placeholder, Template};

/// A function as a configuration names it: its name, a partial or a full ARN, each with an optional version or alias.
///
/// The accepted forms are those of the Invoke API's `FunctionName`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FunctionRef {
    text: String,
    name: String,
    qualifier: Option<String>,
    region: Option<String>,
    account: Option<String>,
}

const ACCEPTED: &str = "accepted are a function's name, `<account>:function:<name>` or an ARN, \
                        each with `:<version or alias>` behind it if need be";

impl FunctionRef {
    /// Reads a function reference.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = |why: &str| Err(format!("`{text}` {why}: {ACCEPTED}"));
        if text.len() > 256 {
            return invalid("is longer than 256 characters");
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (region, account, name, qualifier) = match parts.as_slice() {
            [
                "arn",
                partition,
                "lambda",
                region,
                account,
                "function",
                name,
                qualifier @ ..,
            ] if qualifier.len() < 2 => {
                if !partition.starts_with("aws") || !is_region(region) || !is_account(account) {
                    return invalid("is not the ARN of a function");
                }
                (Some(*region), Some(*account), *name, qualifier.first())
            }
            ["arn", ..] => return invalid("is not the ARN of a function"),
            [account, "function", name, qualifier @ ..] if qualifier.len() < 2 => {
                if !is_account(account) {
                    return invalid("does not begin with an account's twelve digits");
                }
                (None, Some(*account), *name, qualifier.first())
            }
            [name] => (None, None, *name, None),
            [name, qualifier] => (None, None, *name, Some(qualifier)),
            _ => return invalid("names no function"),
        };
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_name_byte) {
            return invalid("has no valid function name (1 to 64 letters, digits, `-` and `_`)");
        }
        if qualifier.is_some_and(|qualifier| !is_qualifier(qualifier)) {
            return invalid("has no valid version or alias");
        }
        Ok(Self {
            text: text.to_owned(),
            name: name.to_owned(),
            qualifier: qualifier.map(|&qualifier| qualifier.to_owned()),
            region: region.map(str::to_owned),
            account: account.map(str::to_owned),
        })
    }

    /// Name with version or alias: how people call it.
    pub(crate) fn label(&self) -> String {
        match &self.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", self.name),
            None => self.name.clone(),
        }
    }

    /// Name without version or alias.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Account of an ARN, full or partial.
    pub(crate) fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// Region of a full ARN.
    pub(crate) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Path and query of the Invoke API's request.
    pub(crate) fn path_and_query(&self) -> String {
        self.path("invocations")
    }

    /// Path and query of `GetFunctionConfiguration`.
    pub(crate) fn configuration_path(&self) -> String {
        self.path("configuration")
    }

    /// Path and query of an operation on the function. Only `:` and `$` need encoding: the rest was checked by `parse`.
    fn path(&self, operation: &str) -> String {
        let unqualified = match &self.qualifier {
            Some(qualifier) => self
                .text
                .strip_suffix(qualifier.as_str())
                .map_or(self.text.as_str(), |text| text.strip_suffix(':').unwrap_or(text)),
            None => &self.text,
        };
        let path = format!("/2015-03-31/functions/{}/{operation}", unqualified.replace(':', "%3A"));
        match &self.qualifier {
            Some(qualifier) => format!("{path}?Qualifier={}", qualifier.replace('$', "%24")),
            None => path,
        }
    }
}

impl fmt::Display for FunctionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A function for each topic: `fn-${topic}`, restricted to names that a pattern allows.
#[derive(Debug, Clone)]
pub(crate) struct FunctionTemplate {
    template: Template,
    allow: Pattern,
    allow_text: String,
}

impl FunctionTemplate {
    /// Whether `text` names functions by topic.
    pub(crate) fn is_one(text: &str) -> bool {
        text.contains("${")
    }

    /// Checks a template, with a topic in it that fits everywhere.
    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        let template = Template::parse(text, &[Placeholder::Topic])?;
        FunctionRef::parse(&filled_in(&template, "t"))?;
        Ok(template)
    }

    pub(crate) fn new(template: Template, allow: Pattern, allow_text: String) -> Self {
        Self {
            template,
            allow,
            allow_text,
        }
    }

    /// The function of a topic.
    pub(crate) fn of(&self, topic: &str) -> Result<FunctionRef, String> {
        let text = filled_in(&self.template, topic);
        if !self.allow.matches(&text).unwrap_or(false) {
            return Err(format!("`{text}` is no function that `{}` allows", self.allow_text));
        }
        FunctionRef::parse(&text)
    }
}

fn filled_in(template: &Template, topic: &str) -> String {
    let pieces = template.pieces().iter().map(|piece| match piece {
        Piece::Literal(text) => text,
        Piece::FilledIn(_) => topic,
    });
    pieces.collect()
}

impl PartialEq for FunctionTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.template == other.template && self.allow_text == other.allow_text
    }
}

impl Eq for FunctionTemplate {}

impl fmt::Display for FunctionTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.template.fmt(f)
    }
}

/// A function and its share of the records: `<function>;<weight>`.
pub(super) fn parse_weighted(entry: &str) -> Result<(FunctionRef, u32), String> {
    const ACCEPTED: &str =
        "accepted is `<function>;<weight>`, with a weight from 1 to 1000000 and commas between entries";
    let (function, weight) = entry
        .split_once(';')
        .ok_or_else(|| format!("entry `{entry}` has no weight: {ACCEPTED}"))?;
    let weight = weight
        .trim()
        .parse()
        .ok()
        .filter(|weight| (1..=1_000_000).contains(weight));
    let weight = weight.ok_or_else(|| format!("entry `{entry}` has no valid weight: {ACCEPTED}"))?;
    Ok((
        FunctionRef::parse(function.trim()).map_err(|error| format!("entry `{entry}`: {error}"))?,
        weight,
    ))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `text` looks like a region's id, such as `eu-central-1`.
pub(crate) fn is_region(text: &str) -> bool {
    text.contains('-')
        && text.len() <= 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_qualifier(text: &str) -> bool {
    let name = match text.strip_prefix('$') {
        Some(rest) => return rest == "LATEST" || rest == "LATEST.PUBLISHED",
        None => text,
    };
    !name.is_empty() && name.len() <= 128 && name.bytes().all(is_name_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_invoke_api_is_read_and_addressed() {
        let cases = [
            // given, label, region, path and query
            ("f", "f", None, "f/invocations"),
            ("f:prod", "f:prod", None, "f/invocations?Qualifier=prod"),
            ("f:$LATEST", "f:$LATEST", None, "f/invocations?Qualifier=%24LATEST"),
            ("f-1:f", "f-1:f", None, "f-1/invocations?Qualifier=f"),
            (
                "123456789012:function:f",
                "f",
                None,
                "123456789012%3Afunction%3Af/invocations",
            ),
            (
                "123456789012:function:f:7",
                "f:7",
                None,
                "123456789012%3Afunction%3Af/invocations?Qualifier=7",
            ),
            (
                "arn:aws:lambda:eu-west-1:123456789012:function:f",
                "f",
                Some("eu-west-1"),
                "arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Af/invocations",
            ),
            (
                "arn:aws-us-gov:lambda:us-gov-east-1:123456789012:function:f:live",
                "f:live",
                Some("us-gov-east-1"),
                "arn%3Aaws-us-gov%3Alambda%3Aus-gov-east-1%3A123456789012%3Afunction%3Af/invocations?Qualifier=live",
            ),
        ];
        for (given, label, region, path) in cases {
            let function = FunctionRef::parse(given).unwrap();
            assert_eq!(function.label(), label, "{given}");
            assert_eq!(function.region(), region, "{given}");
            assert_eq!(
                function.path_and_query(),
                format!("/2015-03-31/functions/{path}"),
                "{given}"
            );
            assert_eq!(function.to_string(), given);
        }
    }

    #[test]
    fn what_names_no_function_is_refused_with_the_accepted_forms() {
        let cases = [
            ("", "empty"),
            (":prod", "no name"),
            ("f:", "empty qualifier"),
            ("f/../g", "a path"),
            ("f g", "a space"),
            ("f:$OLD", "an unknown $ qualifier"),
            ("a:b:c", "neither name nor ARN"),
            ("1234:function:f", "a short account"),
            ("arn:aws:s3:::bucket", "another service's ARN"),
            (
                "arn:aws:lambda:eu-west-1:123456789012:function",
                "an ARN without a name",
            ),
            ("arn:aws:lambda:eu-west-1:123456789012:function:f:1:2", "two qualifiers"),
            ("arn:aws:lambda:EU:123456789012:function:f", "no region"),
            ("üben", "not ASCII"),
        ];
        for (given, why) in cases {
            let error = FunctionRef::parse(given).expect_err(why);
            assert!(
                error.contains(&format!("`{given}`")) && error.contains("accepted are"),
                "{why}: {error}"
            );
        }
        assert!(
            FunctionRef::parse(&"f".repeat(65)).is_err(),
            "longer than a name may be"
        );
    }
}
