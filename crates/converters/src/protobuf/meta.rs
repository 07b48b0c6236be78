//! The parameters in an option `(confluent.field_meta) = { params: [{ key: "scale", value: "2" }] }`.
//!
//! Schemas that Confluent's converter has written use the option without importing the file that declares it, so it is
//! read by its form: Protobuf's text format, of which anything but the parameters is skipped.

#[derive(Debug, PartialEq, Eq, Clone)]
enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

/// The parameters of a whole `confluent.Meta`.
pub(super) fn params(text: &str) -> Vec<(String, String)> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut rest = tokens.as_slice();
    let mut depth = 0_usize;
    while let Some((token, tail)) = rest.split_first() {
        rest = tail;
        match token {
            Token::Mark('{' | '<' | '[') => depth = depth.saturating_add(1),
            Token::Mark('}' | '>' | ']') => depth = depth.saturating_sub(1),
            Token::Word(word) if depth == 0 && word == "params" => rest = entries(tail, &mut found),
            _ => {}
        }
    }
    found
}

/// The one parameter of an entry: `key: "scale" value: "2"`.
pub(super) fn entry(text: &str) -> Option<(String, String)> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    members(&tokens, &mut found);
    found.pop()
}

/// One entry or a list of them, after a colon or not; what follows it is returned.
fn entries<'a>(mut rest: &'a [Token], found: &mut Vec<(String, String)>) -> &'a [Token] {
    let mut is_list = false;
    while let Some((token, tail)) = rest.split_first() {
        match token {
            Token::Mark(':' | ',') => rest = tail,
            Token::Mark('[') => {
                is_list = true;
                rest = tail;
            }
            Token::Mark('{' | '<') => {
                rest = members(tail, found);
                if !is_list {
                    return rest;
                }
            }
            Token::Mark(']') => return tail,
            _ => return rest,
        }
    }
    rest
}

/// What stands inside an entry's braces; what follows them is returned.
fn members<'a>(mut rest: &'a [Token], found: &mut Vec<(String, String)>) -> &'a [Token] {
    let (mut key, mut value) = (String::new(), String::new());
    let mut name = "";
    while let Some((token, tail)) = rest.split_first() {
        rest = tail;
        match token {
            Token::Word(word) => name = word,
            Token::Text(text) if name == "key" => key.push_str(text),
            Token::Text(text) if name == "value" => value.push_str(text),
            Token::Text(_) => {}
            Token::Mark('}' | '>') => break,
            Token::Mark(_) => {}
        }
    }
    found.push((key, value));
    rest
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' | '\'' => {
                let mut text = String::new();
                while let Some(next) = chars.next() {
                    match next {
                        _ if next == char => break,
                        // Parameters are names and numbers, so no escape has a meaning of its own.
                        '\\' => text.extend(chars.next()),
                        _ => text.push(next),
                    }
                }
                tokens.push(Token::Text(text));
            }
            _ if char.is_alphanumeric() || char == '_' => {
                let mut word = String::from(char);
                while let Some(next) = chars.next_if(|next| next.is_alphanumeric() || matches!(next, '_' | '.')) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            _ if char.is_whitespace() => {}
            _ => tokens.push(Token::Mark(char)),
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_in_every_form_of_the_text() {
        let cases = [
            (r#"params: [{key: "scale", value: "2"}]"#, "scale=2"),
            (r#"params : [ { value : "2" , key : "scale" } ]"#, "scale=2"),
            (
                r#"doc: "params {" params { key: "precision" value: "9" } params < key: 'scale' value: '2' >"#,
                "precision=9,scale=2",
            ),
            (
                r#"tags: [ "params" ] other { params { key: "a" value: "b" } } params: { key: "c" value: "d" "e" }"#,
                "c=de",
            ),
            ("params", ""),
            ("params: [", ""),
            ("params: {", "="),
            ("]}>", ""),
        ];
        for (text, wanted) in cases {
            let found: Vec<String> = params(text)
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            assert_eq!(found.join(","), wanted, "{text}");
        }
        assert_eq!(
            entry(r#"key: "scale" value: "2""#),
            Some(("scale".to_owned(), "2".to_owned()))
        );
    }
}
