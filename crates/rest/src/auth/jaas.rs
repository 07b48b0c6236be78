//! The JAAS file of Connect's basic authentication: `KafkaConnect { module.Class required file="/users.properties"; };`.
//!
//! Words stand bare or quoted; `//` and `/* */` are comments. Other entries are other programs'.

use std::iter::Peekable;
use std::path::PathBuf;
use std::str::Chars;

/// The entry that Connect's extension looks for.
const ENTRY: &str = "KafkaConnect";
/// The login module that ships with it.
const MODULE: &str = "PropertyFileLoginModule";

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(char),
}

/// The file with `user=password` lines that the JAAS file names.
///
/// # Errors
/// What is wrong, in words that follow the name of the file.
pub(super) fn users_file(text: &str) -> Result<PathBuf, String> {
    let tokens = tokens(text)?;
    let mut tokens = tokens.iter();
    let mut file = None;
    while let Some(token) = tokens.next() {
        let (Token::Word(entry), Some(Token::Symbol('{'))) = (token, tokens.next()) else {
            return Err("it does not consist of entries such as `KafkaConnect { … };`".to_owned());
        };
        let inside: Vec<&Token> = tokens
            .by_ref()
            .take_while(|token| **token != Token::Symbol('}'))
            .collect();
        if tokens.next() != Some(&Token::Symbol(';')) {
            return Err(format!("its entry `{entry}` does not end with `}};`"));
        }
        if entry == ENTRY {
            file = Some(module_file(&inside)?);
        }
    }
    file.ok_or_else(|| format!("it has no entry `{ENTRY}`"))
}

fn module_file(inside: &[&Token]) -> Result<PathBuf, String> {
    let [Token::Word(module), Token::Word(_), options @ ..] = inside else {
        return Err(format!(
            "its entry `{ENTRY}` names no login module with a flag such as `required`"
        ));
    };
    if module.rsplit('.').next() != Some(MODULE) {
        return Err(format!(
            "its entry `{ENTRY}` names the login module {module}, which is Java: only {MODULE} is known"
        ));
    }
    let [options @ .., Token::Symbol(';')] = options else {
        return Err(format!("the login module in its entry `{ENTRY}` does not end with `;`"));
    };
    if options.contains(&&Token::Symbol(';')) {
        return Err(format!("its entry `{ENTRY}` names more than one login module"));
    }
    let file = options.windows(3).find_map(|option| match option {
        [Token::Word(key), Token::Symbol('='), Token::Word(value)] if key == "file" => Some(value),
        _ => None,
    });
    file.map(PathBuf::from)
        .ok_or_else(|| format!("the login module in its entry `{ENTRY}` has no option `file`"))
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut chars = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '/' => comment(&mut chars)?,
            '"' | '\'' => tokens.push(Token::Word(quoted(&mut chars, c)?)),
            '{' | '}' | ';' | '=' => tokens.push(Token::Symbol(c)),
            c => {
                let mut word = String::from(c);
                let is_word = |c: &char| !c.is_whitespace() && !"{};=\"'".contains(*c);
                while let Some(c) = chars.next_if(is_word) {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

fn comment(chars: &mut Peekable<Chars<'_>>) -> Result<(), String> {
    match chars.next() {
        Some('/') => {
            chars.by_ref().find(|c| *c == '\n');
            Ok(())
        }
        Some('*') => {
            let mut last = ' ';
            let ends = chars
                .by_ref()
                .any(|c| std::mem::replace(&mut last, c) == '*' && c == '/');
            ends.then_some(())
                .ok_or_else(|| "a comment in it does not end".to_owned())
        }
        _ => Err("it has a `/` outside of quotes: paths stand in quotes".to_owned()),
    }
}

fn quoted(chars: &mut Peekable<Chars<'_>>, quote: char) -> Result<String, String> {
    let open = || "a quoted value in it does not end on its line".to_owned();
    let mut word = String::new();
    loop {
        match chars.next().ok_or_else(open)? {
            c if c == quote => return Ok(word),
            '\n' => return Err(open()),
            '\\' => word.push(chars.next().ok_or_else(open)?),
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_file_of_connects_entry_is_found() {
        let cases = [
            (
                "KafkaConnect {\n  org.apache.kafka.connect.rest.basic.auth.extension.PropertyFileLoginModule required\n  file=\"/etc/users\";\n};",
                "as in Connect's documentation",
            ),
            (
                "// users\nKafkaClient { a.B required x=1; };\nKafkaConnect { PropertyFileLoginModule optional debug=true file = '/etc/users' ; } ; /* end */",
                "other entries, options and comments",
            ),
        ];
        for (text, why) in cases {
            assert_eq!(users_file(text), Ok(PathBuf::from("/etc/users")), "{why}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let cases = [
            ("", "no entry `KafkaConnect`"),
            ("KafkaServer { M required; };", "no entry `KafkaConnect`"),
            ("KafkaConnect { M required", "does not end with `};`"),
            (
                "KafkaConnect { com.sun.security.auth.module.LdapLoginModule required; };",
                "LdapLoginModule, which is Java",
            ),
            (
                "KafkaConnect { PropertyFileLoginModule required; };",
                "no option `file`",
            ),
            (
                "KafkaConnect { PropertyFileLoginModule required file=\"/a\" };",
                "does not end with `;`",
            ),
            (
                "KafkaConnect { PropertyFileLoginModule required file=\"/a\"; B required; };",
                "more than one",
            ),
            (
                "KafkaConnect { PropertyFileLoginModule required file=/a; };",
                "paths stand in quotes",
            ),
            (
                "KafkaConnect { PropertyFileLoginModule required file=\"/a; };",
                "does not end on its line",
            ),
            ("KafkaConnect /* {", "a comment in it does not end"),
        ];
        for (text, wanted) in cases {
            let error = users_file(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            drop(users_file(&text));
        }
    }
}
