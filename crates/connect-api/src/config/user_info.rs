use std::borrow::Cow;

/// The text without user and password of the URLs in it: `https://user:password@host` is shown as `https://***@host`.
///
/// ```
/// use klamm_connect_api::config::without_user_info;
///
/// assert_eq!(without_user_info("see https://me:secret@host/a@b"), "see https://***@host/a@b");
/// assert_eq!(without_user_info("https://host/a@b"), "https://host/a@b");
/// ```
#[must_use]
pub fn without_user_info(text: &str) -> Cow<'_, str> {
    const MASK: &str = "***";
    let mut shown: Option<String> = None;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let authority = after.split(['/', '?', '#', ',', ' ']).next().unwrap_or_default();
        rest = after;
        let Some((_, host)) = authority.rsplit_once('@') else {
            if let Some(shown) = &mut shown {
                shown.push_str(before);
                shown.push_str("://");
            }
            continue;
        };
        let shown = shown.get_or_insert_with(|| {
            let so_far = text.len() - after.len() - "://".len() - before.len();
            text.get(..so_far).unwrap_or_default().to_owned()
        });
        shown.push_str(before);
        shown.push_str("://");
        shown.push_str(MASK);
        shown.push('@');
        rest = after.get(authority.len() - host.len()..).unwrap_or_default();
    }
    match shown {
        None => Cow::Borrowed(text),
        Some(mut shown) => {
            shown.push_str(rest);
            Cow::Owned(shown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_hidden_wherever_a_url_stands() {
        let cases = [
            ("https://u:p@h/q", "https://***@h/q", "a password"),
            ("https://u@h", "https://***@h", "a user alone"),
            ("https://u:p@s@h/q", "https://***@h/q", "an at in the password"),
            (
                "`https://u:p@h/1/q` is no http://x and http://v:w@i",
                "`https://***@h/1/q` is no http://x and http://***@i",
                "several in a text",
            ),
            ("http://a,http://u:p@b", "http://a,http://***@b", "a list"),
            ("arn:aws:s3:::b/a@b", "arn:aws:s3:::b/a@b", "no URL"),
            ("s3://bucket/a@b", "s3://bucket/a@b", "behind the host"),
            ("://", "://", "nothing"),
        ];
        for (text, wanted, why) in cases {
            assert_eq!(without_user_info(text), wanted, "{why}");
        }
    }
}
