//! `response.http.headers.config`: headers of every answer (KIP-577).

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderRule {
    is_added: bool,
    name: HeaderName,
    value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(HeaderValue),
    /// So long after the answer.
    Date(Duration),
}

impl HeaderRule {
    /// Reads `action name:value` rules with commas between them; one with a comma stands in double quotes.
    ///
    /// # Errors
    /// Which rule is wrong and why.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let rules = split(text)?;
        let rules = rules.iter().map(|rule| rule.trim()).filter(|rule| !rule.is_empty());
        rules
            .map(|rule| Self::parse(rule).map_err(|what| format!("rule `{rule}`: {what}")))
            .collect()
    }

    fn parse(rule: &str) -> Result<Self, String> {
        let shape = || "it is not `action name:value`".to_owned();
        let (action, rest) = rule.split_once(char::is_whitespace).ok_or_else(shape)?;
        let (name, value) = rest.split_once(':').ok_or_else(shape)?;
        let (name, value) = (name.trim(), value.trim());
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of a header"))?;
        let (is_added, is_date) = match action.to_ascii_lowercase().as_str() {
            "set" => (false, false),
            "add" => (true, false),
            "setdate" => (false, true),
            "adddate" => (true, true),
            _ => return Err(format!("`{action}` is none of `set`, `add`, `setDate`, `addDate`")),
        };
        let value = if is_date {
            let millis = value
                .parse()
                .map_err(|_| format!("`{value}` is no number of milliseconds"))?;
            Value::Date(Duration::from_millis(millis))
        } else {
            Value::Text(HeaderValue::from_str(value).map_err(|_| "its value is no text of a header".to_owned())?)
        };
        Ok(Self {
            is_added,
            name: header,
            value,
        })
    }

    /// Adds the header to an answer that is given `now`.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, now: fn() -> SystemTime) {
        let value = match &self.value {
            Value::Text(value) => Some(value.clone()),
            Value::Date(after) => now()
                .checked_add(*after)
                .and_then(|date| HeaderValue::from_str(&httpdate::fmt_http_date(date)).ok()),
        };
        let Some(value) = value else { return };
        if self.is_added {
            headers.append(self.name.clone(), value);
        } else {
            headers.insert(self.name.clone(), value);
        }
    }
}

/// The parts between commas that stand in no quotes.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let mut is_quoted = false;
    for c in text.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => parts.push(String::new()),
            c => parts.iter_mut().next_back().into_iter().for_each(|part| part.push(c)),
        }
    }
    if is_quoted {
        return Err("a double quote does not end".to_owned());
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_applied_in_order() {
        let text = "set X-Frame-Options:DENY,\"add Cache-Control:no-cache, no-store\", add Cache-Control:private,\
                    setDate Expires:86400000,set Content-Security-Policy:default-src https://a";
        let mut headers = HeaderMap::new();
        for rule in HeaderRule::parse_all(text).unwrap() {
            rule.apply(&mut headers, || SystemTime::UNIX_EPOCH);
        }
        let values = |name: &str| -> Vec<_> {
            headers
                .get_all(name)
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect()
        };
        assert_eq!(values("x-frame-options"), ["DENY"]);
        assert_eq!(values("cache-control"), ["no-cache, no-store", "private"]);
        assert_eq!(values("expires"), ["Fri, 02 Jan 1970 00:00:00 GMT"]);
        assert_eq!(
            values("content-security-policy"),
            ["default-src https://a"],
            "a colon in a value, which Connect refuses"
        );
        assert_eq!(HeaderRule::parse_all(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let cases = [
            ("remove X:1", "none of `set`"),
            ("set X", "not `action name:value`"),
            ("set X Y:1", "no name of a header"),
            ("setDate X:soon", "no number of milliseconds"),
            ("set X:a\u{7}", "no text of a header"),
            ("\"set X:1", "does not end"),
        ];
        for (text, wanted) in cases {
            let error = HeaderRule::parse_all(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
