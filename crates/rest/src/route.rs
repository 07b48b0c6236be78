//! From a request line to the resource that is meant.

use std::str::FromStr;

use axum::http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::error::ApiError;
use crate::operations::Path;

/// What a path means. Names are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resource {
    Root,
    Health,
    Metrics,
    OpenApi,
    Connectors,
    Connector(String),
    Config(String),
    Status(String),
    Restart(String),
    Pause(String),
    Resume(String),
    Stop(String),
    Preview(String),
    DeadLetters(String),
    DeadLetterRecords(String),
    Redrive(String),
    Tasks(String),
    TaskStatus(String, i32),
    TaskRestart(String, i32),
    Topics(String),
    TopicsReset(String),
    Offsets(String),
    Logs(String),
    Plugins,
    PluginConfig(String),
    PluginValidate(String),
    PluginPreview(String),
    Loggers,
    Logger(String),
}

/// The path of the table that a request's path follows, and what it means.
///
/// # Errors
/// 404 for a path that means nothing, 400 for one that cannot be read.
pub(crate) fn find(path: &str) -> Result<(&'static Path, Resource), ApiError> {
    Path::of(&segments(path)?)
}

/// As Java's `Integer` reads it: a sign and zeros in front are fine.
pub(crate) fn task_number(text: &str) -> Result<i32, ApiError> {
    text.parse()
        .map_err(|_| ApiError::plain(StatusCode::NOT_FOUND).with_content_type())
}

/// The decoded parts of a path. One slash at the end means nothing, nor do matrix parameters (`;x=1`).
pub(crate) fn segments(path: &str) -> Result<Vec<String>, ApiError> {
    let inner = path
        .strip_prefix('/')
        .ok_or_else(|| ApiError::plain(StatusCode::NOT_FOUND))?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() && path != "//" {
        return Ok(Vec::new());
    }
    inner.split('/').map(segment).collect()
}

fn segment(raw: &str) -> Result<String, ApiError> {
    let raw = raw.split(';').next().unwrap_or(raw);
    if raw.is_empty() {
        return Err(ApiError::bad_request(
            "The path has an empty part: remove the doubled slash",
        ));
    }
    if raw == "." || raw == ".." {
        return Err(ApiError::plain(StatusCode::NOT_FOUND));
    }
    let has_bad_escape = raw.split('%').skip(1).any(|rest| {
        let digits = rest.as_bytes();
        digits.len() < 2 || !digits.iter().take(2).all(u8::is_ascii_hexdigit)
    });
    if has_bad_escape {
        return Err(ApiError::bad_request(
            "The path has a `%` that two hexadecimal digits do not follow: write `%25` for a percent sign",
        ));
    }
    let decoded = percent_decode_str(raw).decode_utf8();
    let decoded = decoded.map_err(|_| ApiError::bad_request("The escapes in the path are not UTF-8"))?;
    if decoded == "." || decoded == ".." {
        return Err(ApiError::bad_request("`.` and `..` cannot be names in a path"));
    }
    Ok(decoded.into_owned())
}

/// The parameters of a query, decoded, in order.
pub(crate) fn query(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

/// A parameter that is a number.
///
/// # Errors
/// It is none, or negative.
pub(crate) fn number<T: FromStr>(query: &[(String, String)], name: &str) -> Result<Option<T>, ApiError> {
    let Some((_, value)) = query.iter().find(|(key, _)| key == name) else {
        return Ok(None);
    };
    let number = value.parse().ok().filter(|_| !value.starts_with('-'));
    let refused = || ApiError::bad_request(format!("Parameter `{name}` must be a number that is not negative"));
    number.map(Some).ok_or_else(refused)
}

/// The first value of a parameter.
pub(crate) fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// A boolean parameter as Java reads it: anything but `true` is false, and an empty one is the default.
pub(crate) fn flag(query: &[(String, String)], name: &str, default: bool) -> bool {
    match parameter(query, name) {
        None | Some("") => default,
        Some(value) => value.eq_ignore_ascii_case("true"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_and_one_slash_at_the_end_means_nothing() {
        let cases = [
            ("/", Resource::Root),
            ("/connectors/", Resource::Connectors),
            ("/connectors;x=1", Resource::Connectors),
            ("/connectors/a%2Fb", Resource::Connector("a/b".to_owned())),
            ("/connectors/100%25", Resource::Connector("100%".to_owned())),
            ("/connectors/a+b/config/", Resource::Config("a+b".to_owned())),
            ("/connectors/%C3%BC", Resource::Connector("ü".to_owned())),
            ("/connectors/a/tasks/+0/status", Resource::TaskStatus("a".to_owned(), 0)),
        ];
        for (path, wanted) in cases {
            assert_eq!(find(path).unwrap().1, wanted, "{path}");
        }
    }

    #[test]
    fn flags_are_read_as_java_reads_them() {
        let query = query("a=TRUE&b=yes&c=&d");
        assert!(flag(&query, "a", false), "any case");
        assert!(!flag(&query, "b", true), "anything else is false");
        assert!(
            flag(&query, "c", true) && flag(&query, "d", true) && flag(&query, "e", true),
            "the default"
        );
    }
}
